"""The command line: `python -m app reconstruct | generate | detail | edit | render | export | info | serve` and more.

Exit codes: 0 all went well; 1 something failed, with a sentence on stderr; 2 wrong usage. Results go to stdout, as JSON
with ``--json``; progress and problems to stderr. torch and everything above it is imported when a command starts to
work, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast, get_args

import typer

from app import making
from app.cli_edit import edit, evaluate
from app.cli_train import train
from core.errors import FileError, LikenessError, PhotoError

if TYPE_CHECKING:
    from core.avatar import Avatar
    from core.generation import Wish
    from core.head import HeadModel

# What a folder is searched for. A file that is named itself is tried whatever it is called.
PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff", ".gif"}
)

# Options that take several numbers after one name, which click cannot do by itself.
NUMBER_LISTS = ("--yaw",)

# How far the camera of `render` stands from the middle of the head: a portrait photographer's distance, in metres.
PORTRAIT_DISTANCE_M = 1.2
# The head's bounding sphere fills this part of the picture's side.
PORTRAIT_FILL = 0.92

Expression = Literal["fitted", "neutral"]
Style = Literal["textured", "albedo", "clay"]
Format = Literal["glb", "obj", "ply", "stl", "zip", "maps", "mp4", "gif"]
Units = Literal["m", "cm", "mm"]
What = Literal["maps", "photos", "both"]

SHEET_SIDE = 8  # photos along each side of a contact sheet
GRID_FACE_PX = 256  # of a face in the grid of random heads
# Of the time of a head that is made with its detail, on the bar.
DETAIL_SHARE = {"photo": 0.7, "generated": 0.5}

Out = Annotated[Path, typer.Option("--out", help="Folder for the results; made if it does not exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")]
Saved = Annotated[Path, typer.Argument(metavar="HEAD.likeness", help="A saved head.")]

cli = typer.Typer(
    name="likeness",
    help="From a selfie to a textured, rigged 3D head.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

cli.add_typer(train, name="train")
cli.command()(edit)
cli.command()(evaluate)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and leave the process with its exit code."""
    cli(args=spread_numbers(sys.argv[1:] if arguments is None else arguments), prog_name="python -m app")
    raise AssertionError("typer leaves the process by itself")


def spread_numbers(arguments: list[str]) -> list[str]:
    """``--yaw -30 0`` as ``--yaw=-30 --yaw=0``: every number that follows the option's name is one of its values."""
    spread: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*spread, word, *rest]
        values: list[str] = []
        while word in NUMBER_LISTS and rest and _is_number(rest[0]):
            values.append(f"{word}={rest.pop(0)}")
        spread += values or [word]
    return spread


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


# -- What every command does --------------------------------------------------------------------


@contextmanager
def sentences(as_json: bool) -> Iterator[None]:
    """A problem that a person can act on becomes its sentence on stderr and exit code 1."""
    try:
        yield
    except LikenessError as error:
        _complain(str(error))
        if as_json:
            _print_json({"error": str(error)})
        raise typer.Exit(1) from error


def _complain(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"The folder {path} could not be made ({error.strerror}). Choose another place with --out."
        ) from error
    return path


def _use_own_cores() -> None:
    """As many threads as the cores that this process may use: more of them make torch many times slower."""
    import torch

    torch.set_num_threads(_cores())


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, str, float], None]]:
    """A bar on stderr where that is a terminal. Yields a function of (heads done, what is going on, fraction 0..1)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def show(done: int, what: str, fraction: float) -> None:
            # File names may hold square brackets, which rich would take for markup.
            bar.update(task, completed=done + min(max(fraction, 0.0), 1.0), description=what.replace("[", r"\["))

        yield show


# -- reconstruct, generate ----------------------------------------------------------------------


@cli.command()
def reconstruct(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photo files, and folders of them.")],
    out: Out,
    side: Annotated[
        list[Path] | None,
        typer.Option("--side", metavar="PHOTO", help="Another photo of the same person, turned. Repeatable."),
    ] = None,
    detail: Annotated[
        bool, typer.Option(help="How the skin takes light, its relief, wrinkles of expressions. Takes longest.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Make a head from each photo: NAME.glb, NAME.likeness and NAME.json.

    A photo that cannot be used is reported and the rest go on; the exit code is then 1, as where a head had to be
    written without its detail. With --side there is one photo, from the front, and one head.
    """
    with sentences(as_json):
        paths = expand_photos(photos)
        if side and len(paths) > 1:
            raise PhotoError(
                f"--side goes with one photo from the front, but {len(paths)} were named. Make one head at a time."
            )
        _folder(out)
    from core import pipeline

    def one(path: Path, report: Callable[[str, float], None]) -> Avatar:
        return pipeline.reconstruct(
            path, progress=lambda stage: report(stage.name, stage.fraction), sides=tuple(side or ())
        )

    jobs = [(str(path), name, path) for path, name in zip(paths, _names(paths), strict=True)]
    _make_heads(jobs, one, out, as_json, detail_after="photo" if detail else None)


def _list_labels(wanted: bool) -> None:
    """What `--label` takes: the traits, with what the two ends of their range are called, and the labels."""
    if not wanted:
        return
    from core.generation import TRAITS
    from core.synthesis.people import LABEL_NAMES, label_range

    for name, trait in TRAITS.items():
        typer.echo(f"{name:18} {trait.low:g} .. {trait.high:g}  {trait.title}: {trait.ends[0]} .. {trait.ends[1]}")
    for name in LABEL_NAMES:
        if name not in TRAITS:
            low, high = label_range(name)
            typer.echo(f"{name:18} {low:g} .. {high:g}")
    raise typer.Exit


@cli.command()
def generate(
    out: Out,
    count: Annotated[int, typer.Option("--count", min=1, help="How many heads.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first head; the next ones count up.")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME=VALUE",
            help="What they all have, such as age=60, beard=0.8 or melanin=0.3. Repeatable.",
        ),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Say what --label takes, and stop.", is_eager=True, callback=_list_labels)
    ] = False,
    truncation: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="0: the mean person, 1: the full variety of people. Default: 0.8.", show_default=False
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute", metavar="NAME=AMOUNT", help="Of the shape alone: age=0.5; +-1 is a clear change. Repeatable."
        ),
    ] = None,
    detail: Annotated[bool, typer.Option(help="The head's own shade and the wrinkles of expressions too.")] = False,
    obj: Annotated[bool, typer.Option("--obj", help="OBJ, MTL and their textures too.")] = False,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE.png", help="A picture of all faces, side by side.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make random heads: the same three files each, and NAME.png, the albedo map.

    NAME.json also holds the parameters: every label, the shape's coefficients, the generator's latent. The same
    options give the same heads.
    """
    attributes, asked = _pairs(attribute or [], "--attribute", "AMOUNT"), _pairs(label or [], "--label", "VALUE")
    if grid is not None and grid.suffix.lower() != ".png":
        raise typer.BadParameter(f"{grid} does not end in .png.", param_hint="--grid")
    from core import generation, pipeline

    chosen = generation.TRUNCATION if truncation is None else truncation
    seeds = range(seed, seed + count)
    with sentences(as_json):
        wanted = generation.labels_from(asked)
        _folder(out)
        if grid is not None:
            _folder(grid.parent)
            _use_own_cores()
            _draw_grid(grid, [generation.Wish(s, wanted, chosen) for s in seeds])

    def one(own_seed: int, report: Callable[[str, float], None]) -> Avatar:
        report("generate", 0.0)
        avatar = pipeline.generate(own_seed, wanted, chosen)
        return pipeline.reshape(avatar, attributes) if attributes else avatar

    extra = functools.partial(_write_generated, with_obj=obj)
    jobs = [(f"seed {s}", f"random-{s}", s) for s in seeds]
    _make_heads(jobs, one, out, as_json, extra, "generated" if detail else None)


def _draw_grid(path: Path, wishes: list[Wish]) -> None:
    """The faces of heads in rows, as many columns as rows or one more."""
    import torch
    from PIL import Image

    from core import pipeline
    from core.checkpoints import write_whole

    faces = pipeline.thumbnails(wishes, GRID_FACE_PX)
    columns = math.ceil(math.sqrt(len(faces)))
    faces += [torch.full_like(faces[0], 255)] * (-len(faces) % columns)
    rows = [torch.cat(faces[k : k + columns], dim=2) for k in range(0, len(faces), columns)]
    buffer = io.BytesIO()
    Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy()).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


def _write_generated(
    head: HeadModel, avatar: Avatar, folder: Path, name: str, with_obj: bool
) -> tuple[list[Path], dict[str, Any]]:
    """The further files of a random head, and its parameters."""
    from PIL import Image

    from core.checkpoints import write_whole
    from core.export import export as write_file
    from core.generation import Wish, person_of
    from core.synthesis.people import LABEL_NAMES

    buffer = io.BytesIO()
    Image.fromarray(avatar.materials.skin_albedo.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    files = [folder / f"{name}.png"]
    write_whole(files[0], buffer.getvalue())
    if with_obj:
        files.append(folder / f"{name}.obj")
        write_file(head, avatar, "obj", files[1])
    provenance = avatar.provenance
    assert provenance.seed is not None and provenance.truncation is not None and avatar.latent is not None
    labels = person_of(head, Wish(provenance.seed, provenance.labels, provenance.truncation)).labels
    return files, {
        "person": {label: getattr(labels, label) for label in LABEL_NAMES},
        "shape": avatar.shape.tolist(),
        # One w, which every layer has.
        "w": avatar.latent[0].tolist(),
        "generator": avatar.generator,
    }


@cli.command()
def synthesize(
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the shards; made if it does not exist.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many people.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first person; the next ones count up.")] = 0,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Pixels a side of maps and photos.")] = 512,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one per core.", show_default=False)
    ] = None,
    what: Annotated[What, typer.Option(help="Albedo maps, photos with their ground truth, or both.")] = "maps",
    relief: Annotated[bool, typer.Option("--relief", help="With maps: displacement, specular, roughness.")] = False,
    shard_size: Annotated[int, typer.Option(min=1, help="People per file.")] = 32,
    sources: Annotated[
        Path | None,
        typer.Option("--sources", metavar="FILE", help="Skins to mix (recipes.makehuman_skins). Default: procedural."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Work on a Ray cluster: HOST:PORT, or local to start one here."),
    ] = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="FILE.png", help="A picture of the first 64 people, 8 by 8."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make people who do not exist, with every label, to train on: KIND-NUMBER.safetensors files.

    The same seed gives the same bytes with any number of workers. Run again after an interruption to go on where it
    stopped; with a larger --count to add to a folder.
    """
    if out is None and contact_sheet is None:
        raise typer.BadParameter("Name a folder for the shards, or a --contact-sheet, or both.", param_hint="--out")
    if contact_sheet is not None and contact_sheet.suffix.lower() != ".png":
        raise typer.BadParameter(f"{contact_sheet} does not end in .png.", param_hint="--contact-sheet")
    files: list[Path] = []
    with sentences(as_json):
        if out is not None:
            from core.synthesis.shards import write_shards

            with _progress(count) as show:
                files = write_shards(
                    out,
                    count,
                    seed,
                    size,
                    shard_size,
                    workers or _cores(),
                    ("maps", "photos") if what == "both" else (what,),
                    relief,
                    sources,
                    ray,
                    lambda done, _: show(done, out.name, 0.0),
                )
        if contact_sheet is not None:
            _draw_contact_sheet(contact_sheet, range(seed, seed + min(count, SHEET_SIDE**2)), sources)
            files = [*files, contact_sheet]
    if as_json:
        _print_json({"people": count, "files": [str(file) for file in files]})
    else:
        for file in files:
            typer.echo(f"{file}  {file.stat().st_size / 1e6:.2f} MB")


def _draw_contact_sheet(path: Path, seeds: range, sources: Path | None) -> None:
    from PIL import Image

    from core.checkpoints import write_whole
    from core.head import load_head
    from core.synthesis.photo import contact_sheet
    from core.synthesis.skins import load_sources

    _use_own_cores()
    _folder(path.parent)
    loaded = None if sources is None else load_sources(sources)
    with _progress(len(seeds)) as show:
        pixels = contact_sheet(
            load_head(),
            seeds,
            columns=SHEET_SIDE,
            sources=loaded,
            progress=lambda done, _: show(done, path.name, 0.0),
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


def expand_photos(named: list[str]) -> list[Path]:
    """Files as they are named, folders replaced by the photos directly in them, in order of name; each file once.

    Raises PhotoError for a folder without photos.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, named):
        if not path.is_dir():
            found.setdefault(path.resolve(), path)
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith("."))
        if not inside:
            raise PhotoError(
                f"The folder {path} holds no photos. Files that end in {', '.join(sorted(PHOTO_SUFFIXES))} were "
                "expected directly in it."
            )
        for photo in inside:
            found.setdefault(photo.resolve(), photo)
    return list(found.values())


def _names(paths: list[Path]) -> list[str]:
    """The files' stems; where two photos share one, the later is numbered, so that no result overwrites another."""
    names: list[str] = []
    for path in paths:
        stem, number = path.stem or "photo", 1
        name = stem
        while name.casefold() in {taken.casefold() for taken in names}:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _pairs(words: list[str], option: str, kind: str) -> dict[str, float]:
    """NAME=AMOUNT as numbers by name."""
    pairs: dict[str, float] = {}
    for word in words:
        name, _, amount = word.partition("=")
        if not name or not _is_number(amount):
            raise typer.BadParameter(f"{word!r} is not NAME={kind}, such as age=0.5.", param_hint=option)
        pairs[name] = float(amount)
    return pairs


def _make_heads(
    jobs: list[tuple[str, str, Any]],
    make: Callable[[Any, Callable[[str, float], None]], Avatar],
    out: Path,
    as_json: bool,
    extra: Callable[[HeadModel, Avatar, Path, str], tuple[list[Path], dict[str, Any]]] | None = None,
    detail_after: str | None = None,
) -> None:
    """Make, write and report the heads. jobs: (what people call the source, file name, what `make` takes). extra:
    writes more files of a head into the folder, by its file name; returns them and what else NAME.json says.
    detail_after: whether they get their detail too, and what they are made from (`DETAIL_SHARE`)."""
    from core.avatar import save_avatar
    from core.checkpoints import write_whole
    from core.gltf import glb_bytes
    from core.head import load_head

    _use_own_cores()
    made: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    first_share = 1 - DETAIL_SHARE[detail_after] if detail_after else 1.0
    with sentences(as_json):
        head = load_head()
    with _progress(len(jobs)) as show:
        for done, (source, name, job) in enumerate(jobs):

            def report(stage: str, fraction: float, done: int = done, source: str = source) -> None:
                show(done, f"{Path(source).name}: {stage}", fraction)

            try:
                avatar = make(job, lambda stage, share: report(stage, first_share * share))
                if detail_after:
                    try:
                        avatar = making.whole_detail(
                            avatar, lambda stage, share: report(stage, first_share + (1 - first_share) * share)
                        )
                    except LikenessError as error:
                        # It is a head without that.
                        problem = f"The head was written without some maps of its skin. {error}"
                        failed.append({"source": source, "error": problem})
                        _complain(f"{source}: {problem}")
                files = [out / f"{name}{suffix}" for suffix in (".glb", ".likeness", ".json")]
                write_whole(files[0], glb_bytes(head, avatar))
                save_avatar(avatar, files[1])
                summary = {"source": source, **summarise(avatar)}
                more, details = extra(head, avatar, out, name) if extra else ([], {})
                files += more
                document = json.dumps(summary | details, indent=2, ensure_ascii=False)
                write_whole(files[2], (document + "\n").encode("utf-8"))
            except LikenessError as error:
                failed.append({"source": source, "error": str(error)})
                _complain(f"{source}: {error}")
            except Exception as error:  # a bug of ours with one photo must not take the others down with it
                failed.append({"source": source, "error": f"Unexpected {type(error).__name__}: {error}"})
                traceback.print_exc()
                _complain(f"{source}: an unexpected error, which is a bug in Likeness. Please report the lines above.")
            else:
                made.append({**summary, "files": [str(file) for file in files]})
                if not as_json:
                    _print_head(files[0], avatar)
    if as_json:
        _print_json({"heads": made, "failures": failed})
    elif failed and len(jobs) > 1:
        _complain(f"{len(failed)} of {len(jobs)} failed.")
    if failed:
        raise typer.Exit(1)


def _print_head(file: Path, avatar: Avatar) -> None:
    seconds = sum(avatar.provenance.seconds.values())
    typer.echo(f"{file}  confidence {avatar.quality.confidence:.2f}  {seconds:.1f} s  {avatar.quality.summary}")
    for finding in avatar.quality.findings:
        if finding.severity != "info":
            typer.echo(f"  {finding.severity}: {finding.sentence} {finding.advice}".rstrip())


def summarise(avatar: Avatar) -> dict[str, Any]:
    """What NAME.json holds: where the head came from, seconds per stage, residuals and the quality report."""
    provenance, quality = avatar.provenance, avatar.quality
    return {
        "name": avatar.name,
        "version": provenance.version,
        "made_from": provenance.source,
        "seed": provenance.seed,
        "attributes": dict(provenance.attributes),
        "labels": dict(provenance.labels),
        "truncation": provenance.truncation,
        "seconds": {stage: round(duration, 4) for stage, duration in provenance.seconds.items()},
        "residuals": dict(quality.residuals),
        "quality": {
            "confidence": quality.confidence,
            "summary": quality.summary,
            "findings": [
                {"code": f.code, "severity": f.severity, "sentence": f.sentence, "advice": f.advice}
                for f in quality.findings
            ],
        },
    }


# -- detail, render, export, info, serve --------------------------------------------------------


@cli.command()
def detail(
    heads: Annotated[list[Path], typer.Argument(metavar="HEAD.likeness...", help="Saved heads.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the results. Default: each beside its head, in its place."),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option("--maps", metavar="FOLDER", help="Folder for all maps as PNG, a folder each."),
    ] = None,
    refine: Annotated[bool, typer.Option(help="Bend the relief until its shading is the photo's; slow.")] = True,
    facescape: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Your files of FaceScape: its network finds the relief (minutes)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add what a head saved without it lacks: how its skin takes light, its relief, the wrinkles of its expressions.

    Writes NAME.likeness and NAME.glb. A head that cannot be used is reported and the rest go on; the exit code is
    then 1.
    """
    with sentences(as_json):
        for folder in filter(None, (out, maps)):
            _folder(folder)
    from core.avatar import save_avatar
    from core.checkpoints import write_whole
    from core.gltf import glb_bytes
    from core.map_files import map_files

    _use_own_cores()
    made: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    names = _names(heads)
    with _progress(len(heads)) as show:
        for done, (path, name) in enumerate(zip(heads, names, strict=True)):

            def report(stage: str, fraction: float, done: int = done, path: Path = path) -> None:
                show(done, f"{path.name}: {stage}", fraction)

            try:
                avatar, model = _load(path)
                found = making.whole_detail(avatar, report, refine)
                if facescape is not None:
                    report("FaceScape's relief", 0.9)
                    found = making.facescape_relief(found, facescape)
                folder, stem = (out, name) if out is not None else (path.parent, path.stem)
                files = [folder / f"{stem}{suffix}" for suffix in (".likeness", ".glb")]
                write_whole(files[1], glb_bytes(model, found))
                save_avatar(found, files[0])
                if maps is not None:
                    _folder(maps / name)
                    for file, data in map_files(model, found).items():
                        files.append(maps / name / file)
                        write_whole(files[-1], data)
            except LikenessError as error:
                failed.append({"source": str(path), "error": str(error)})
                _complain(f"{path}: {error}")
                continue
            seconds = {stage: round(value, 4) for stage, value in found.provenance.seconds.items()}
            new = [finding for finding in found.quality.findings if finding not in avatar.quality.findings]
            made.append(
                {
                    "source": str(path),
                    "added": found is not avatar,
                    "seconds": seconds,
                    "findings": [asdict(finding) for finding in new],
                    "files": [str(file) for file in files],
                }
            )
            if not as_json:
                told = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
                typer.echo(f"{files[0]}  {told or 'It has its detail already.'}")
                for finding in new:
                    typer.echo(f"  {finding.severity}: {finding.sentence} {finding.advice}".rstrip())
    if as_json:
        _print_json({"heads": made, "failures": failed})
    if failed:
        raise typer.Exit(1)


@cli.command()
def render(
    head: Saved,
    out: Out,
    yaw: Annotated[
        list[float] | None,
        typer.Option(
            "--yaw", metavar="DEGREES...", help="One or several. Above 0 the head shows its left side. Default: 0."
        ),
    ] = None,
    pitch: Annotated[float, typer.Option(min=-85, max=85, help="Degrees. Above 0 the camera looks down.")] = 0,
    size: Annotated[int, typer.Option(min=16, max=4096, help="Pixels along each side.")] = 768,
    style: Annotated[Style, typer.Option(help="textured: with light; albedo: colours alone; clay: grey.")] = "textured",
    expression: Annotated[Expression, typer.Option(help="That of the photo, or a relaxed face.")] = "fitted",
    as_json: AsJson = False,
) -> None:
    """Draw a saved head on a plain background: NAME__YAW.png for each yaw."""
    with sentences(as_json):
        avatar, model = _load(head)
        _folder(out)
        import torch
        from PIL import Image

        from core.camera import look_at_head
        from core.checkpoints import write_whole
        from core.render import render_head

        _use_own_cores()
        with torch.no_grad():
            vertices = model.vertices(avatar.parameters(expression))
            middle = (vertices[0].amin(0) + vertices[0].amax(0)) / 2
            radius = float((vertices[0] - middle).norm(dim=1).max())
            # The tangent to the bounding sphere meets the edge of the filled part of the picture.
            tangent = radius / math.sqrt(PORTRAIT_DISTANCE_M**2 - radius**2)
            files = []
            for degrees in yaw or [0.0]:
                camera = look_at_head(
                    torch.tensor([math.radians(degrees)]),
                    torch.tensor([math.radians(pitch)]),
                    PORTRAIT_DISTANCE_M,
                    middle,
                    size / 2 * PORTRAIT_FILL / tangent,
                    size,
                    size,
                )
                picture = render_head(model, vertices, avatar.materials, camera, style=style)[0]
                pixels = (picture.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                # -0 and 0 are the same view.
                file = out / f"{head.stem}__{degrees + 0.0:g}.png"
                write_whole(file, buffer.getvalue())
                files.append(str(file))
    if as_json:
        _print_json({"files": files})
    else:
        typer.echo("\n".join(files))


@cli.command()
def export(
    head: Saved,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    format: Annotated[
        Format | None, typer.Option("--format", help="Default: what the name after --out ends in.", show_default=False)
    ] = None,
    expression: Annotated[Expression, typer.Option(help="That of the photo, or a relaxed face.")] = "neutral",
    units: Annotated[
        Units | None,
        typer.Option(help="Of obj, zip, ply and stl. Default: mm for stl (printing), else m.", show_default=False),
    ] = None,
    detailed: Annotated[
        bool,
        typer.Option("--detailed", help="Wrinkles and folds as shape, in a mesh of about 300,000 triangles."),
    ] = False,
    arkit: Annotated[
        list[str] | None,
        typer.Option(
            "--arkit",
            metavar="NAME=WEIGHT",
            help="Instead of --expression: an ARKit expression and its weight from 0 to 1, such as browInnerUp=1, or "
            "the name of a key expression, such as 'brow raiser'. May be given several times.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a saved head in another format.

    glb: everything, always in metres. obj: with MTL and textures beside it; zip: the same in one file. ply: colours at
    the vertices. stl: geometry alone. maps: all maps as PNG, in a zip with a README. mp4 and gif: a turntable.
    """
    suffix = out.suffix.lower().lstrip(".")
    if format is None and suffix not in get_args(Format):
        choices = ", ".join(get_args(Format))
        raise typer.BadParameter(f"{out} ends in none of {choices}; name the format.", param_hint="--format")
    with sentences(as_json):
        avatar, model = _load(head)
        _folder(out.parent)
        from core.export import export as write_file
        from core.export import wearing

        _use_own_cores()
        if arkit:
            avatar, expression = wearing(model, avatar, _expression_weights(arkit)), "fitted"
        chosen = format or cast(Format, suffix)
        scaled = chosen in ("obj", "zip", "ply", "stl")
        if units not in (None, "m") and not scaled:
            _complain(f"--units {units} has no effect: a {chosen} file is in metres or has no unit.")
        unit = (units or ("mm" if chosen == "stl" else "m")) if scaled else "m"
        with _progress(1) as show:
            write_file(
                model,
                avatar,
                chosen,
                out,
                expression=expression,
                units=unit,
                detail=detailed,
                progress=lambda fraction: show(0, out.name, fraction),
            )
    size = out.stat().st_size
    if as_json:
        _print_json({"file": str(out), "bytes": size})
    else:
        typer.echo(f"{out}  {size / 1e6:.2f} MB")


def _expression_weights(words: list[str]) -> dict[str, float]:
    """ARKit weights of words that are NAME=WEIGHT or name a key expression; later ones win."""
    from core.key_expressions import KEY_EXPRESSIONS

    weights: dict[str, float] = {}
    for word in words:
        weights |= KEY_EXPRESSIONS[word] if word in KEY_EXPRESSIONS else _pairs([word], "--arkit", "WEIGHT")
    return weights


@cli.command()
def info(head: Saved, as_json: AsJson = False) -> None:
    """Say what is in a saved head."""
    with sentences(as_json):
        avatar, model = _load(head)
    parameters = avatar.parameters("fitted")
    vertices = model.vertices(parameters)[0]
    extent_mm = ((vertices.amax(0) - vertices.amin(0)) * 1000).tolist()
    strongest = sorted(zip(avatar.expression.tolist(), model.expression_names, strict=True), reverse=True)[:5]
    summary = summarise(avatar)
    del summary["seconds"]  # not part of the file
    summary |= {
        "head_model": avatar.head_model,
        "size_mm": dict(zip(("width", "height", "depth"), (round(e, 1) for e in extent_mm), strict=True)),
        "expression": {name: round(weight, 3) for weight, name in strongest if weight > 0.01},
        "maps": {
            name: "x".join(str(n) for n in reversed(image.shape[1:]))
            for name, image in vars(avatar.materials).items()
            if image is not None
        },
    }
    if as_json:
        _print_json(summary)
        return
    quality = summary.pop("quality")
    for key, value in summary.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
        if value not in (None, ""):
            typer.echo(f"{key.replace('_', ' '):12} {value}")
    typer.echo(f"{'confidence':12} {quality['confidence']:.2f}. {quality['summary']}")
    for finding in quality["findings"]:
        typer.echo(f"  {finding['severity']}: {finding['sentence']} {finding['advice']}".rstrip())


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
) -> None:
    """Serve the page until it is interrupted."""
    # A container is stopped by SIGTERM: leave as after Ctrl+C, so that visitors' photos are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with sentences(as_json=False):
        from app.ui import serve as run

        _use_own_cores()
        run(host, port)


def _load(path: Path) -> tuple[Avatar, Any]:
    """A saved head and the model that it belongs to."""
    from core.avatar import load_avatar
    from core.head import load_head

    avatar, model = load_avatar(path), load_head()
    avatar.check_fits(model)
    return avatar, model
