"""`python -m app train gan | coarse | detail`: the generators of skin, trained on the maps of `app synthesize`.

Several processes, on one machine or more: `python -m torch.distributed.run --nproc-per-node 8 -m app train gan ...`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from core.errors import FileError, LikenessError

if TYPE_CHECKING:
    import torch

    from core.albedo.gan_training import GanSettings
    from core.synthesis.shards import MapDataset

Preset = Literal["cpu", "gpu"]

Data = Annotated[Path, typer.Option("--data", help="Folder of maps that `python -m app synthesize` wrote.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:NUMBER. auto: CUDA where there is one.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", min=0.01, help="Stop after these; --resume goes on.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show what would be done, and do nothing.")]

train = typer.Typer(help="Train the generators of skin.", no_args_is_help=True)


# -- What the commands share --------------------------------------------------------------------


@contextmanager
def _sentences() -> Iterator[None]:
    """`app.cli.sentences`; that file imports this one."""
    from app.cli import sentences

    with sentences(as_json=False):
        yield


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _device(name: str) -> torch.device:
    """The device that --device names. Of several processes, each takes the card of its number on its machine."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise typer.BadParameter(
            f"{name!r} is no device that can train; choose auto, cpu, cuda or cuda:NUMBER.", param_hint="--device"
        )
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        count = torch.cuda.device_count()
        if index >= count:
            raise typer.BadParameter(
                f"cuda:{index} was asked for, but {count or 'no'} CUDA devices can be used here. Choose cpu or auto.",
                param_hint="--device",
            )
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # all batches have one shape
        torch.set_float32_matmul_precision("high")
    return device


def _maps(folder: Path) -> MapDataset:
    from core.synthesis.shards import MapDataset

    if not folder.is_dir():
        raise FileError(
            f"--data names {folder}, which is no folder. Name one that `python -m app synthesize --out FOLDER` wrote."
        )
    return MapDataset(folder)


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"The folder {path} could not be made ({error.strerror}). Choose another place with --out."
        ) from error


def _record(path: Path, options: dict[str, Any]) -> None:
    """What a run was asked to do and on what, beside its weights."""
    import torch

    from core.checkpoints import write_whole

    surroundings = {"python": platform.python_version(), "torch": torch.__version__}
    text = json.dumps(options | surroundings, indent=2, ensure_ascii=False, default=str)
    write_whole(path, (text + "\n").encode())


def change_settings(settings: Any, changes: list[str]) -> Any:
    """Settings with ``NAME=VALUE`` changes applied; a dot leads into settings within settings.

    Values are read as JSON and must have the type that is there. Raises typer.BadParameter that names --set.
    """
    for change in changes:
        name, separator, text = change.partition("=")
        first, _, rest = name.partition(".")
        names = [field.name for field in fields(settings)]
        if not separator or first not in names:
            raise typer.BadParameter(
                f"{change!r} is not NAME=VALUE with a name out of {', '.join(names)}.", param_hint="--set"
            )
        now = getattr(settings, first)
        if is_dataclass(now):
            value = change_settings(now, [f"{rest}={text}"])
        else:
            value = None if rest else _value(text, now)
            if value is None:
                raise typer.BadParameter(
                    f"{change!r} has no value like {json.dumps(now)}, which {name} is now.", param_hint="--set"
                )
        settings = replace(settings, **{first: value})
    return settings


def _value(text: str, like: Any) -> Any:
    """JSON of the type that `like` has, or None."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(like, tuple):
        good = isinstance(value, list) and len(value) == len(like)
        items = [_value(json.dumps(item), one) for item, one in zip(value, like, strict=True)] if good else [None]
        return None if None in items else tuple(items)
    if isinstance(like, float) and type(value) is int:
        value = float(value)
    return value if type(value) is type(like) else None


@contextmanager
def _processes(device: torch.device) -> Iterator[tuple[int, int]]:
    """Rank and number of processes; joins the others where torchrun started this one."""
    from torch import distributed

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield distributed.get_rank(), world
    finally:
        distributed.destroy_process_group()


# -- The commands -------------------------------------------------------------------------------


@train.command()
def gan(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for weights, checkpoints, logs and sample pictures.")],
    preset: Annotated[Preset, typer.Option(help="cpu: 128 texels, narrow; gpu: 256 texels, mixed precision.")] = "cpu",
    minutes: Minutes = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of all processes together. Default: the preset's.", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=8, max=1024, help="Texels a side. Default: the preset's.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any of GanSettings, such as r1_gamma=2. Repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Train the albedo GAN (StyleGAN2): first regression of the labelled maps, then adversarially.

    Writes albedo_gan.safetensors at the end, and on the way checkpoints, samples-*.png, log.jsonl and tensorboard/.
    """
    chosen = _device(device)
    with _sentences():
        from core.albedo import gan_training
        from core.albedo.gan_data import check_data

        given = {"seed": seed, "batch_size": batch_size, "size": size}
        settings: GanSettings = change_settings(
            replace(gan_training.PRESETS[preset], **{k: v for k, v in given.items() if v is not None}), change or []
        )
        world = int(os.environ.get("WORLD_SIZE", "1"))
        # What costs nothing to check comes first.
        gan_training.check_settings(settings, 1, world)
        earlier = gan_training.checkpoints(out)
        if earlier and not resume:
            raise LikenessError(
                f"{out} holds checkpoints of an earlier run ({earlier[-1].name} is the newest). "
                "Go on from it with --resume, or choose another --out."
            )
        if resume and not earlier:
            raise LikenessError(f"--resume was asked for, but {out} holds no checkpoint. Leave it out to start anew.")
        maps = _maps(data)
        latent_size, shape_count = check_data(maps, settings.size)
        gan_training.check_settings(settings, latent_size, world)
        networks = gan_training.build_networks(settings, latent_size, shape_count)
        options = {
            "command": "train gan",
            "preset": preset,
            "data": data,
            "maps": len(maps),
            "minutes": minutes,
            "device": chosen,
            "processes": world,
            "resumed_from": earlier[-1].name if earlier else None,
            "weights": {n: sum(p.numel() for p in getattr(networks, n).parameters()) for n in _names(networks)},
            "settings": asdict(settings),
        }
        if dry_run:
            typer.echo(json.dumps(options, indent=2, default=str))
            return
        _folder(out)
        _use_cores(world)
        head = None
        if settings.pictures.on:
            from core.head import load_head

            head = load_head()
        with _processes(chosen) as (rank, _):
            if rank == 0:
                _record(out / "settings.json", options)
            trainer = gan_training.train(
                networks, maps, out, settings, chosen, minutes=minutes, resume=resume, head=head, report=_say
            )
            if rank == 0:
                _say("Measuring what the latent space is like.")
                trainer.model(maps).save(out / "albedo_gan.safetensors")
                typer.echo(str(out / "albedo_gan.safetensors"))


def _names(networks: Any) -> list[str]:
    return [field.name for field in fields(networks)]


def _use_cores(world: int) -> None:
    """All cores that this process may use, shared with the other processes of this machine."""
    import torch

    from app.cli import _use_own_cores

    _use_own_cores()
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    torch.set_num_threads(max(torch.get_num_threads() // beside, 1))


@train.command()
def coarse(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The file to write, a .safetensors.")],
    components: Annotated[int, typer.Option(min=1, help="Principal components to keep.")] = 128,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Train the coarse stage of the coarse-to-fine model: principal components of low-passed maps."""
    chosen = _device(device)
    with _sentences():
        maps = _maps(data)
        options = {"command": "train coarse", "data": data, "maps": len(maps), "components": components}
        options["device"] = chosen
        if components > len(maps):
            raise LikenessError(
                f"{components} components were asked for (--components), but {data} holds {len(maps)} maps, and at "
                "least as many are needed. Synthesize more maps or ask for fewer components."
            )
        if dry_run:
            typer.echo(json.dumps(options, indent=2, default=str))
            return
        from core.albedo.coarse import train_coarse

        _folder(out.parent)
        _use_cores(1)
        train_coarse(
            maps,
            components,
            out,
            device=chosen,
            report=lambda count: _say(f"{count} of {len(maps)} maps"),
        )
        _record(out.with_suffix(".settings.json"), options)
        typer.echo(str(out))


@train.command()
def detail(
    data: Data,
    coarse: Annotated[Path, typer.Option("--coarse", help="What `train coarse` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write, a .safetensors.")],
    epochs: Annotated[int, typer.Option(min=1, help="How often each map is shown.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    width: Annotated[int, typer.Option(min=8, help="Of the network: 8 is a fifth of the work of 16.")] = 16,
    minutes: Minutes = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read maps.")] = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Train the detail stage of the coarse-to-fine model. The same command goes on where it was stopped."""
    chosen = _device(device)
    with _sentences():
        from core.albedo.coarse import CoarseAlbedo
        from core.albedo.detail import DetailSettings, Progress, train_detail

        maps = _maps(data)
        model = CoarseAlbedo.load(coarse)
        options = {"command": "train detail", "data": data, "maps": len(maps), "coarse": coarse, "epochs": epochs}
        options |= {"batch_size": batch_size, "width": width, "minutes": minutes, "seed": seed, "device": chosen}
        if dry_run:
            typer.echo(json.dumps(options, indent=2, default=str))
            return
        _folder(out.parent)
        _use_cores(1)

        def report(progress: Progress) -> None:
            held_out = "" if progress.held_out_l1 is None else f", held out {progress.held_out_l1:.4f}"
            _say(f"step {progress.step}, epoch {progress.epoch:.2f}: loss {progress.loss:.4f}{held_out}")

        _record(out.with_suffix(".settings.json"), options)
        train_detail(
            maps,
            model,
            out,
            epochs,
            batch_size,
            settings=DetailSettings(width=width),
            seed=seed,
            device=chosen,
            minutes=minutes,
            workers=workers,
            report=report,
        )
        typer.echo(str(out))


@train.command()
def reflectance(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of maps that `python -m app synthesize --relief --size 1024` wrote.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for network.safetensors, its checkpoint and log.jsonl.")],
    steps: Annotated[int, typer.Option(min=1, help="Of training.")] = 4500,
    heads: Annotated[int, typer.Option(min=1, help="Lit heads per step.")] = 2,
    tiles: Annotated[int, typer.Option(min=1, help="Tiles of each that the fine network sees.")] = 3,
    shapes: Annotated[int, typer.Option(min=1, help="So many people's shapes are lit; others wear them.")] = 96,
    held_out: Annotated[int, typer.Option(min=1, help="People at the end of the folder to leave out.")] = 24,
    rate: Annotated[float, typer.Option(min=0.0, help="Of Adam at its highest.")] = 1.5e-3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that light heads.")] = 1,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Train the networks that find how a skin takes light, and its relief."""
    chosen = _device(device)
    with _sentences():
        from core.reflectance.training import Progress, TrainingSettings, load_people
        from core.reflectance.training import train as train_networks

        settings = TrainingSettings(steps, heads, tiles, rate, shapes, held_out, seed)
        options = {"command": "train reflectance", "data": data, "people": len(_maps(data)), **asdict(settings)}
        options["device"] = chosen
        if dry_run:
            typer.echo(json.dumps(options, indent=2, default=str))
            return
        from core.head import load_head

        _folder(out)
        _use_cores(1)
        head = load_head()
        people = load_people(head, data, shapes, _say)
        _record(out / "settings.json", options)

        def report(progress: Progress) -> None:
            parts = ", ".join(f"{name} {value:.4f}" for name, value in progress.parts.items())
            _say(f"step {progress.step} of {steps}, {progress.seconds:.0f} s: {parts}")

        train_networks(
            head, people, out, settings, resume=resume, workers=workers, report=report, device=chosen,
        )  # fmt: skip
        typer.echo(str(out / "network.safetensors"))
