"""Train everything that makes skin, from the sources to the weights in assets/: ``python -m recipes.train_albedo``.

Steps, each of which can also be had alone (``--only``): sources (the CC0 skins, where their folder is there; else maps
are painted from the procedural skin), maps (labelled people to train on, and others who are held out), coarse and
detail (the coarse-to-fine model), gan (the generator), quality (figures on the people held out), install (weights into
assets/, with their checksums), card (the tables of docs/albedo.md and assets/README.md).

Everything lies in one folder. The same command goes on where it was stopped: finished steps are skipped, training goes
on from its checkpoints. ``record.json`` there says what was done on what, how long it took and how good it became; the
tables are made from it. These are the functions behind ``python -m app synthesize`` and ``python -m app train``, which
can do the long steps elsewhere: on several cards, or several machines.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.albedo import gan_training
from core.albedo.coarse import COARSE_SIZE, CoarseAlbedo, train_coarse
from core.albedo.coarse_to_fine import CoarseToFine
from core.albedo.completion import completed_by, evaluate_completion, turned_head_masks
from core.albedo.detail import DetailAlbedo, DetailSettings, train_detail
from core.albedo.gan_data import check_data
from core.albedo.gan_training import GanSettings
from core.albedo.model import AlbedoModel, bytes_to_map, log_albedo, resize_map, srgb_from_log
from core.albedo.stylegan_albedo import LEAST_EXPLAINED, StyleGanAlbedo
from core.atlas import atlas_lookup
from core.checkpoints import ASSETS, WEIGHTS, read_safetensors, sha256_of, write_whole
from core.errors import LikenessError
from core.head import load_head
from core.synthesis.shards import MapDataset, write_shards
from recipes import checksums
from recipes.tables import number, table, update

log = logging.getLogger("train_albedo")

ROOT = ASSETS.parent
SKINS = ROOT.parent / "shared" / "data" / "makehuman"
STEPS = ("sources", "maps", "coarse", "detail", "gan", "quality", "install", "card")
WEIGHT_NAMES = ("albedo_gan", "albedo_coarse", "albedo_detail")
DETAIL_SHARE = 0.35  # of the minutes that --minutes gives to both networks
QUALITY_MAPS = 48  # of the people held out; the figures below are medians or means over them
CURVE_ROWS = 10


@dataclass(frozen=True)
class Plan:
    """What is trained on what. minutes: None trains for the epochs or images that are set; else at most so long."""

    source_size: int = 1024  # texels a side of the CC0 skins that are mixed
    size: int = 512  # of the maps
    people: int = 5120  # to train on, seeds from 0 ...
    held_out: int = 256  # ... and those after them, to measure on
    shard_size: int = 64
    components: int = 120
    coarse_size: int = COARSE_SIZE
    detail: DetailSettings = field(default_factory=lambda: DetailSettings(width=8))
    detail_epochs: int = 1
    detail_batch: int = 4
    detail_minutes: float | None = None
    gan: GanSettings = gan_training.PRESETS["cpu"]
    gan_minutes: float | None = 60.0


PLANS = {
    "cpu": Plan(),
    "gpu": Plan(
        people=40_960,
        held_out=1024,
        detail=DetailSettings(),
        detail_epochs=10,
        detail_batch=32,
        detail_minutes=None,
        gan=gan_training.PRESETS["gpu"],
        gan_minutes=None,
    ),
}


@dataclass(frozen=True)
class Work:
    """The folder, and where things lie in it."""

    folder: Path

    @property
    def sources(self) -> Path:
        return self.folder / "sources.safetensors"

    @property
    def maps(self) -> Path:
        return self.folder / "maps"

    @property
    def held_out(self) -> Path:
        return self.folder / "held_out"

    @property
    def detail(self) -> Path:
        return self.folder / "detail"

    @property
    def gan(self) -> Path:
        return self.folder / "gan"

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    def weights(self, name: str) -> Path:
        """The file of one of `WEIGHT_NAMES` before it is installed."""
        folders = {"albedo_gan": self.gan, "albedo_detail": self.detail}
        return folders.get(name, self.folder) / f"{name}.safetensors"

    def read_record(self) -> dict[str, Any]:
        """What was recorded so far. Raises LikenessError for a record that cannot be read."""
        if not self.record.exists():
            return {"steps": {}}
        try:
            return json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LikenessError(
                f"{self.record} could not be read ({error}). Delete it; finished files stay, but their times are lost."
            ) from error


Say = Callable[[str], None]


def run(
    plan: Plan,
    work: Work,
    steps: Sequence[str] = STEPS,
    *,
    skins: Path = SKINS,
    device: torch.device | None = None,
    assets: Path = ASSETS,
    command: str = "",
    say: Say = log.info,
) -> dict[str, Any]:
    """Do the steps that are not done, in the order of `STEPS`; the record.

    skins: folder with MakeHuman's skins/ and eyebrows/. device: of the networks; None is CUDA where there is one.
    assets: where the weights go. A step is done when the record says so, with the same plan for it. Raises
    LikenessError and FileError where a step does.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work.folder.mkdir(parents=True, exist_ok=True)
    record = work.read_record()
    record |= {"command": command or record.get("command", ""), "device": _device_name(device), **_surroundings()}
    does: dict[str, Callable[[], dict[str, Any]]] = {
        "sources": lambda: make_sources(plan, work, skins, say),
        "maps": lambda: make_maps(plan, work, say),
        "coarse": lambda: make_coarse(plan, work, device, say),
        "detail": lambda: make_detail(plan, work, device, say),
        "gan": lambda: make_gan(plan, work, device, say),
        "quality": lambda: measure_quality(work, say),
        "install": lambda: install(work, assets),
        "card": lambda: write_card(work),
    }
    for step in STEPS:
        if step not in steps:
            continue
        planned = _planned(plan, step)
        earlier = record["steps"].get(step, {})
        # What is quick and depends on files is done each time.
        if earlier.get("plan") == planned and step not in ("quality", "install", "card"):
            say(f"{step}: done before.")
            continue
        say(f"{step} ...")
        began = time.monotonic()
        facts = does[step]()
        if step != "card":  # it writes down what the record says
            record["steps"][step] = {"plan": planned, "seconds": round(time.monotonic() - began, 1)} | facts
            write_whole(work.record, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    return record


def _planned(plan: Plan, step: str) -> dict[str, Any]:
    """The part of a plan that a step's result depends on, as JSON keeps it."""
    names = {
        "sources": ("source_size",),
        "maps": ("size", "people", "held_out", "shard_size"),
        "coarse": ("components", "coarse_size"),
        "detail": ("detail", "detail_epochs", "detail_batch"),
        "gan": ("gan",),
    }
    whole = asdict(plan)
    return json.loads(json.dumps({name: whole[name] for name in names.get(step, ())}))


def _surroundings() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "python": platform.python_version(), "torch": torch.__version__}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


# ------------------------------------------------------------------------------------------------------ the steps


def make_sources(plan: Plan, work: Work, skins: Path, say: Say) -> dict[str, Any]:
    """The CC0 skins without their light, as `synthesize --sources` takes them; nothing where they are not there."""
    if not (skins / "skins").is_dir():
        say(f"There is no {skins / 'skins'}, so maps are painted from the procedural skin in assets/.")
        return {"skins": 0}
    from safetensors.torch import save_file

    try:
        from recipes.makehuman_skins import fit_sources
    except ImportError as error:
        raise LikenessError(
            f"Reading MakeHuman's skins needs a package that is not installed ({error}). Run `pip install -r "
            "requirements-build.txt`, or name a folder without skins (--skins) to paint from the procedural skin."
        ) from error
    tensors, metadata = fit_sources(skins, plan.source_size)
    fresh = work.sources.with_suffix(".new")
    save_file({key: value.contiguous() for key, value in tensors.items()}, str(fresh), metadata)
    fresh.replace(work.sources)
    return {"skins": len(tensors["coarse"]), "bytes": work.sources.stat().st_size}


def make_maps(plan: Plan, work: Work, say: Say) -> dict[str, Any]:
    """Maps of people: seeds from 0 to train on, those that follow held out."""
    sources = work.sources if work.sources.exists() else None
    workers = _surroundings()["cores"]
    for folder, first, count in ((work.maps, 0, plan.people), (work.held_out, plan.people, plan.held_out)):

        def report(done: int, of: int, name: str = folder.name) -> None:
            if done % (8 * plan.shard_size) == 0 or done == of:
                say(f"{name}: {done} of {of}")

        write_shards(folder, count, first, plan.size, plan.shard_size, workers, sources=sources, progress=report)
    return {"workers": workers}


def make_coarse(plan: Plan, work: Work, device: torch.device, say: Say) -> dict[str, Any]:
    """Principal components of the maps."""
    data = MapDataset(work.maps)
    train_coarse(
        data,
        plan.components,
        work.weights("albedo_coarse"),
        size=plan.coarse_size,
        device=device,
        report=lambda done: say(f"{done} of {len(data)} maps"),
    )
    return {}


def make_detail(plan: Plan, work: Work, device: torch.device, say: Say) -> dict[str, Any]:
    """The auto-encoder of what the components leave; goes on from its checkpoint."""
    train_detail(
        MapDataset(work.maps),
        CoarseAlbedo.load(work.weights("albedo_coarse")),
        work.weights("albedo_detail"),
        plan.detail_epochs,
        plan.detail_batch,
        settings=plan.detail,
        device=device,
        minutes=plan.detail_minutes,
        workers=2 if device.type == "cuda" else 0,
        report=lambda p: say(f"step {p.step}, epoch {p.epoch:.2f}: loss {p.loss:.4f}"),
    )
    return {"minutes": plan.detail_minutes}


def make_gan(plan: Plan, work: Work, device: torch.device, say: Say) -> dict[str, Any]:
    """The generator, supervised and then adversarially; goes on from its newest checkpoint."""
    data = MapDataset(work.maps)
    latent_size, shape_count = check_data(data, plan.gan.size)
    gan_training.check_settings(plan.gan, latent_size)
    networks = gan_training.build_networks(plan.gan, latent_size, shape_count)
    work.gan.mkdir(parents=True, exist_ok=True)
    trainer = gan_training.train(
        networks, data, work.gan, plan.gan, device, minutes=plan.gan_minutes, resume=True, report=say
    )
    trainer.model(data).save(work.weights("albedo_gan"))
    return {"minutes": plan.gan_minutes, "images": trainer.images}


def install(work: Work, assets: Path) -> dict[str, Any]:
    """Copy the weights into assets/, and their sums to the places that name them."""
    facts = {}
    for name in WEIGHT_NAMES:
        source, target = work.weights(name), assets / WEIGHTS[name].file
        if not source.exists():
            raise LikenessError(f"{source} is missing, so there is nothing to install. Run the step that makes it.")
        fresh = target.with_suffix(".new")
        shutil.copyfile(source, fresh)
        fresh.replace(target)
        facts[name] = {"sha256": sha256_of(target), "bytes": target.stat().st_size}
    if assets == ASSETS:
        checksums.main(["--write"])
    return {"files": facts}


# ---------------------------------------------------------------------------------------------------------- quality


@torch.no_grad()
def measure_quality(work: Work, say: Say) -> dict[str, Any]:
    """Figures of each model on people it has not seen: how well it draws them when told all about them, and how well
    it completes them when a turned head hides a part (`core.albedo.completion`, without the mirroring and blending of
    a reconstruction, for which see the benchmarks)."""
    data = MapDataset(work.held_out)
    people = [data[i] for i in range(min(len(data), QUALITY_MAPS))]
    coarse = CoarseAlbedo.load(work.weights("albedo_coarse"))
    fine = CoarseToFine(coarse, DetailAlbedo.load(work.weights("albedo_detail")))
    gan = StyleGanAlbedo.load(work.weights("albedo_gan"))
    head = load_head()
    facts: dict[str, Any] = {"maps": len(people)}

    def truth(size: int) -> list[Float[Tensor, "3 U U"]]:
        maps = [bytes_to_map(one.albedo) for one in people]
        return [resize_map(one, one.new_ones(one.shape[1:]), size)[0] for one in maps]

    def median_psnr(model_size: int, made: Sequence[Tensor]) -> float:
        inside = atlas_lookup(head, model_size).inside
        return round(float(torch.tensor([_psnr(a, b, inside) for a, b in zip(made, truth(model_size), strict=True)])
                           .median()), 2)  # fmt: skip

    say("How well each model draws people whom it has not seen")
    whole = truth(coarse.size)
    latents = coarse.project(torch.stack([log_albedo(one) for one in whole]))
    facts["coarse_psnr_db"] = median_psnr(coarse.size, [srgb_from_log(coarse.decode_log(z[None])[0]) for z in latents])
    seen = torch.ones(fine.size, fine.size)
    facts["fine_psnr_db"] = median_psnr(fine.size, [fine.decode(fine.fit(one, seen)) for one in truth(fine.size)])
    w = [gan.from_person(one.latent, int(one.seed)) for one in people]
    facts["gan_psnr_db"] = median_psnr(gan.size, [gan.decode(one) for one in w])
    shapes = torch.stack([gan.shape(one) - two.shape for one, two in zip(w, people, strict=True)])
    spread = torch.stack([one.shape for one in people])
    facts["gan_shape_error"] = round(float(shapes.square().mean().sqrt() / spread.square().mean().sqrt()), 4)
    explained = dict(zip(gan.label_names, gan.labels.explained.tolist(), strict=True))
    facts["gan_labels"] = {name: round(share, 3) for name, share in explained.items()}
    facts["gan_labels_editable"] = sum(share >= LEAST_EXPLAINED for share in explained.values())

    models: tuple[AlbedoModel, ...] = (coarse, fine, gan)
    facts["completion"] = []
    for model in models:
        say(f"Completing by {model.name}")
        masks = turned_head_masks(head, model.size, len(people), seed=1)
        with torch.enable_grad():  # the generator is fitted by descent
            rows = evaluate_completion(
                {model.name: completed_by(model)},
                truth(model.size),
                list(masks),
                {"skin": atlas_lookup(head, model.size).inside.float()},
            )
        facts["completion"] += [asdict(row) | {"size": model.size} for row in rows]
    for key, value in facts.items():
        say(f"  {key}: {value}")
    return facts


def _psnr(made: Float[Tensor, "3 U U"], truth: Float[Tensor, "3 U U"], inside: Tensor) -> float:
    """Decibels over the skin, of sRGB 0..1; inf for equal maps."""
    error = float((made - truth)[:, inside].square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


# ------------------------------------------------------------------------------------------------------- the tables


def write_card(work: Work) -> dict[str, Any]:
    """The tables of docs/albedo.md and assets/README.md, from the record and the logs."""
    record = work.read_record()
    # Of the weights that are in use, wherever they were trained: a copy of a folder may lack the record of a step.
    update(
        ROOT / "docs" / "albedo.md",
        {
            "training": training_table(work, record),
            "curves": curve_tables(work),
            "quality": quality_tables(record),
        },
    )
    update(ASSETS / "README.md", {"albedo": facts_table(work, record)})
    return {}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log of training, none where there is no log."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def detail_log(work: Work) -> list[dict[str, Any]]:
    return read_log(work.weights("albedo_detail").with_suffix(".log.jsonl"))


def gan_log(work: Work) -> list[dict[str, Any]]:
    return read_log(work.gan / "log.jsonl")


def detail_seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    """Of all runs together: each counts its own from 0."""
    times = [row["seconds"] for row in rows]
    return sum(now for now, after in zip(times, [*times[1:], -1.0], strict=False) if after < now)


def gan_seconds(rows: Sequence[Mapping[str, Any]], phase: str | None = None) -> float:
    """Of all steps, or those of a phase. Steps that were done twice, after a break, count as often."""
    total, before = 0.0, 0
    for row in rows:
        images = row["images"] - before
        if images > 0 and row.get("images_per_second") and phase in (None, row["phase"]):
            total += images / row["images_per_second"]
        before = row["images"]
    return total


def spoken(seconds: float | None) -> str:
    """A time for people."""
    if seconds is None:
        return "n/a"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def training_table(work: Work, record: Mapping[str, Any]) -> str:
    """What was done, on what, for how long."""
    steps = record["steps"]
    maps, held_out = MapDataset(work.maps), MapDataset(work.held_out)
    settings = maps.settings
    detail, gan = detail_log(work), gan_log(work)
    _, of_coarse = read_safetensors(work.weights("albedo_coarse"))
    about = json.loads(of_coarse["training"])
    skins = "the CC0 skins" if settings.sources != "procedural" else "the procedural skin"
    count = steps.get("sources", {}).get("skins")

    def seconds(step: str) -> float | None:
        return steps.get(step, {}).get("seconds")

    rows = [("sources", f"{count} skins without their light" if count else skins, spoken(seconds("sources")))]
    what = f"{len(maps):,} people to train on, {len(held_out):,} held out, {settings.size} texels a side, from {skins}"
    rows.append(("maps", what, spoken(seconds("maps"))))
    kept = f"{about['components']} components of {about['maps']:,} maps, {100 * about['explained_variance']:.1f} % of "
    rows.append(("coarse", kept + "the variance", spoken(seconds("coarse"))))
    if detail:
        what = f"{detail[-1]['epoch']:.1f} epochs, {detail[-1]['step']:,} steps"
        rows.append(("detail", what, spoken(detail_seconds(detail))))
    for phase in ("supervised", "adversarial"):
        shown = [row for row in gan if row["phase"] == phase]
        if shown:
            first = next((row["images"] for row in reversed(gan) if row["phase"] != phase), 0)
            images = shown[-1]["images"] - (first if phase == "adversarial" else 0)
            rates = sorted(row["images_per_second"] for row in shown if row.get("images_per_second"))
            speed = f", {rates[len(rates) // 2]:.1f} images per second" if rates else ""
            rows.append((f"gan, {phase}", f"{images:,} images{speed}", spoken(gan_seconds(gan, phase))))
    on = f"{record.get('cores', 'n/a')} CPU cores" + (f" and {record['device']}" if record["device"] != "CPU" else "")
    machine = f"Trained on {on}, Python {record['python']}, torch {record['torch']}."
    return f"{table(('step', 'what', 'time'), rows)}\n\n{machine}"


def curve_tables(work: Work) -> str:
    """Losses on the way, of rows spread evenly over the logs."""
    parts = []
    if gan := gan_log(work):
        cells = []
        for row in spread(gan, CURVE_ROWS):
            values = [number(row.get(name), 3) for name in ("pyramid", "features", "shape")]
            values += [number(row.get(name), 2) for name in ("generator", "discriminator", "augment")]
            cells.append((f"{row['images']:,}", row["phase"], *values))
        header = ("images", "phase", "maps", "texture", "shape", "generator", "discriminator", "augmentation")
        parts.append(f"The generator:\n\n{table(header, cells)}")
    if detail := detail_log(work):
        rows = [
            (f"{row['epoch']:.2f}", *(number(row[name], 4) for name in ("loss", "l1")), number(row["held_out_l1"], 4))
            for row in [*spread([r for r in detail if r["held_out_l1"] is None], CURVE_ROWS - 2), detail[-1]]
        ]
        parts.append(f"The detail:\n\n{table(('epoch', 'loss', 'L1', 'L1, held out'), rows)}")
    return "\n\n".join(parts) or "No log was kept."


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """At most so many of the rows, evenly spread, the first and the last among them."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]


def quality_tables(record: Mapping[str, Any]) -> str:
    """How good the models are, on people held out."""
    found = record["steps"].get("quality")
    if found is None:
        return "Not measured."
    rows = [
        ("coarse: its components of a map that is seen", f"{found['coarse_psnr_db']:.1f} dB"),
        ("coarse to fine: fitted to a map that is seen", f"{found['fine_psnr_db']:.1f} dB"),
        ("StyleGAN2: drawn from what is known of the person alone", f"{found['gan_psnr_db']:.1f} dB"),
        ("StyleGAN2: error of the shape over its spread", f"{100 * found['gan_shape_error']:.1f} %"),
        ("StyleGAN2: labels that can be edited", f"{found['gan_labels_editable']} of {len(found['gan_labels'])}"),
    ]
    completion = [
        (
            row["method"],
            str(row["size"]),
            f"{100 * row['hidden_share']:.0f} %",
            number(row["psnr_db"], 1),
            number(row["ssim"], 3),
            number(row["texture"], 2),
            number(row["seconds"], 2),
        )
        for row in found["completion"]
    ]
    header = ("model", "texels", "hidden", "PSNR, dB", "SSIM", "texture distance", "seconds")
    shown = table((f"on {found['maps']} people held out, medians", ""), rows)
    return f"{shown}\n\nHidden skin, completed by the model alone:\n\n{table(header, completion)}"


def facts_table(work: Work, record: Mapping[str, Any]) -> str:
    """The short card of assets/README.md."""
    quality, detail, gan = record["steps"].get("quality", {}), detail_log(work), gan_log(work)
    maps = MapDataset(work.maps)
    figures = {
        "albedo_gan": ("gan_psnr_db", "drawn from what is known of the person", gan_seconds(gan) if gan else None),
        "albedo_coarse": ("coarse_psnr_db", "a map that is seen", record["steps"].get("coarse", {}).get("seconds")),
        "albedo_detail": ("fine_psnr_db", "a map that is seen", detail_seconds(detail) if detail else None),
    }
    rows = []
    for name in WEIGHT_NAMES:
        key, what, seconds = figures[name]
        size = f"{work.weights(name).stat().st_size / 1e6:.1f} MB"
        good = f"{quality[key]:.1f} dB ({what})" if key in quality else "not measured"
        rows.append((f"`{WEIGHTS[name].file}`", size, f"{len(maps):,} maps", spoken(seconds), good))
    device = "" if record["device"] == "CPU" else f" and {record['device']}"
    header = ("weights", "size", "trained on", f"for ({record['cores']} CPU cores{device})", "on people held out")
    return table(header, rows)


# ------------------------------------------------------------------------------------------------- the command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.train_albedo", description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "albedo", help="folder for everything on the way")
    parser.add_argument("--preset", choices=list(PLANS), default="cpu", help="cpu: two cores; gpu: one large card")
    parser.add_argument("--minutes", type=float, help="of training detail and generator together, in place of the plan")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps; the last writes tables")
    parser.add_argument("--skins", type=Path, default=SKINS, help="folder with MakeHuman's skins/ and eyebrows/")
    parser.add_argument("--device", help="cpu or cuda; default: CUDA where there is one")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.minutes is not None and not options.minutes > 0:
        parser.error(f"--minutes: {options.minutes:g} is no time to train in; give a number above 0.")
    plan = PLANS[options.preset]
    if options.minutes is not None:
        share = {"detail_minutes": DETAIL_SHARE, "gan_minutes": 1 - DETAIL_SHARE}
        plan = replace(plan, **{name: part * options.minutes for name, part in share.items()})
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        run(
            plan,
            Work(options.work),
            options.only,
            skins=options.skins,
            device=None if options.device is None else torch.device(options.device),
            command=shlex.join(["python", "-m", "recipes.train_albedo", *words]),
        )
    except LikenessError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    # More threads than cores turn milliseconds into seconds.
    torch.set_num_threads(_surroundings()["cores"])
    sys.exit(main())
