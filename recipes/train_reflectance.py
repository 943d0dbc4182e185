"""Train what finds how a skin takes light, from MakeHuman's skins to the weights in assets/:
``python -m recipes.train_reflectance --work FOLDER``.

Steps, each of which can also be had alone (``--only``): sources (the CC0 skins without their light), maps (people who
do not exist, with their relief), train (the networks, on heads that are lit anew for every step), tone (what reads how
bright a skin is, on many more people), install (weights into assets/, with their checksum). Everything lies in
FOLDER; the same command goes on where it was stopped, training from its checkpoint. ``record.json`` there says what was
done and how long it took.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from core.checkpoints import ASSETS, WEIGHTS, write_whole
from core.errors import LikenessError
from core.head import load_head
from core.reflectance.lit_heads import geometry_of
from core.reflectance.network import WORK_PX, load_network, save_network
from core.reflectance.training import TrainingSettings, load_people, train, train_tone
from core.synthesis.heads import rest_vertices
from core.synthesis.people import sample_person
from core.synthesis.shards import write_shards
from core.synthesis.skins import load_sources
from recipes import checksums
from recipes.train_albedo import SKINS, Plan, make_sources
from recipes.train_albedo import Work as AlbedoWork

log = logging.getLogger("train_reflectance")

STEPS = ("sources", "maps", "train", "tone", "install")
FIRST_SEED, SHARD_SIZE = 700_000, 16


@dataclass(frozen=True)
class Work:
    """folder: of what is made. skins: MakeHuman's. settings: of the training. workers: processes that light heads.
    people: of the maps. tone_people, tone_shapes: skins and head shapes that the reader of tones sees."""

    folder: Path
    skins: Path
    settings: TrainingSettings
    workers: int
    people: int = 288
    tone_people: int = 2400
    tone_shapes: int = 24

    @property
    def sources(self) -> Path:
        """The skins to mix, where there are any."""
        return self.folder / "sources.safetensors"

    @property
    def network(self) -> Path:
        """The networks before they are installed."""
        return self.folder / "run" / "network.safetensors"


def make_the_sources(work: Work) -> dict[str, Any]:
    """The CC0 skins, as in `recipes.train_albedo`."""
    return make_sources(Plan(source_size=WORK_PX), AlbedoWork(work.folder), work.skins, log.info)


def make_maps(work: Work) -> dict[str, Any]:
    """The people, the last of whom are held out."""
    sources = work.sources if work.sources.exists() else None
    cores = len(os.sched_getaffinity(0))
    folder = work.folder / "maps"
    write_shards(folder, work.people, FIRST_SEED, WORK_PX, SHARD_SIZE, cores, relief=True, sources=sources)
    return {"people": work.people, "first_seed": FIRST_SEED}


def make_network(work: Work) -> dict[str, Any]:
    """The networks; goes on from the checkpoint."""
    head = load_head()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    people = load_people(head, work.folder / "maps", work.settings.shapes, log.info)

    def report(progress: Any) -> None:
        log.info("step %d: %s", progress.step, json.dumps(progress.parts))

    train(
        head,
        people,
        work.network.parent,
        work.settings,
        resume=True,
        workers=work.workers,
        report=report,
        device=device,
    )
    return {"settings": asdict(work.settings), "device": device}


def make_tone(work: Work) -> dict[str, Any]:
    """The reader of tones, on many other people seen from afar."""
    head, net = load_head(), load_network(work.network)
    net.tone.requires_grad_(True)
    sources = load_sources(work.sources) if work.sources.exists() else None
    shapes = (sample_person(head, FIRST_SEED + i).shape for i in range(work.tone_shapes))
    geometries = [geometry_of(head, rest_vertices(head, shape[None])) for shape in shapes]

    def report(done: int) -> None:
        if done % 200 == 0:
            log.info("tone: %d of %d people", done, work.tone_people)

    errors = train_tone(head, net, geometries, sources, work.tone_people, report=report)
    log.info("error of a whole skin's tone: %s", errors)
    record: dict[str, object] = {"steps": work.settings.steps, "training": asdict(work.settings), "people": work.people}
    save_network(net, work.network, record | {"tone": errors})
    return errors


def install(work: Work) -> dict[str, Any]:
    """Copy the weights into assets/, and their sum to the places that name it."""
    if not work.network.is_file():
        raise LikenessError(f"{work.network} is missing. Run the step `train` first.")
    write_whole(ASSETS / WEIGHTS["reflectance"].file, work.network.read_bytes())
    checksums.main(["--write"])
    return {}


DOES: dict[str, Callable[[Work], dict[str, Any]]] = {
    "sources": make_the_sources,
    "maps": make_maps,
    "train": make_network,
    "tone": make_tone,
    "install": install,
}


def run(work: Work, steps: Sequence[str], command: str = "") -> dict[str, Any]:
    """Do steps in the order of `STEPS`; the record. Raises LikenessError and FileError where a step does."""
    work.folder.mkdir(parents=True, exist_ok=True)
    path = work.folder / "record.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"steps": {}}
    record |= {"command": command, "cores": len(os.sched_getaffinity(0))}
    record |= {"python": platform.python_version(), "torch": torch.__version__}
    for step in (step for step in STEPS if step in steps):
        log.info("%s ...", step)
        began = time.monotonic()
        facts = DOES[step](work)
        record["steps"][step] = {"seconds": round(time.monotonic() - began, 1)} | facts
        write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.train_reflectance", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("reflectance_training"), help="folder of what is made")
    parser.add_argument("--skins", type=Path, default=SKINS, help="folder with MakeHuman's skins/ and eyebrows/")
    parser.add_argument("--steps", type=int, default=TrainingSettings.steps, help="of training")
    parser.add_argument("--workers", type=int, default=1, help="processes that light heads")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps alone")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    command = shlex.join(["python", "-m", "recipes.train_reflectance", *(arguments or sys.argv[1:])])
    try:
        settings = TrainingSettings(steps=options.steps)
        run(Work(options.work, options.skins, settings, options.workers), options.only, command)
    except LikenessError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
