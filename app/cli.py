"""The command line: `python -m app reconstruct | generate | render | export | info | serve`.

Exit codes: 0 all went well; 1 something failed, with a sentence on stderr; 2 wrong usage. Results go to stdout, as JSON
with ``--json``; progress and problems to stderr. torch and everything above it is imported when a command starts to
work, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast, get_args

import typer

from core.errors import FileError, LikenessError, PhotoError

if TYPE_CHECKING:
    from core.avatar import Avatar

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
Format = Literal["glb", "obj", "ply", "stl", "zip", "mp4", "gif"]
Units = Literal["m", "cm", "mm"]

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

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


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
    as_json: AsJson = False,
) -> None:
    """Make a head from each photo: NAME.glb, NAME.likeness and NAME.json.

    A photo that cannot be used is reported and the rest go on; the exit code is then 1. With --side there is one
    photo, from the front, and one head.
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

    _make_heads([(str(path), name, path) for path, name in zip(paths, _names(paths), strict=True)], one, out, as_json)


@cli.command()
def generate(
    out: Out,
    count: Annotated[int, typer.Option("--count", min=1, help="How many heads.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first head; the next ones count up.")] = 0,
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", metavar="NAME=AMOUNT", help="Such as age=0.5; +-1 is a clear change. Repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make random heads: the same three files each. The same seed gives the same head."""
    attributes = _attributes(attribute or [])
    with sentences(as_json):
        _folder(out)
    from core import pipeline

    def one(own_seed: int, report: Callable[[str, float], None]) -> Avatar:
        report("generate", 0.0)
        return pipeline.generate(own_seed, attributes or None)

    seeds = range(seed, seed + count)
    _make_heads([(f"seed {s}", f"random-{s}", s) for s in seeds], one, out, as_json)


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


def _attributes(words: list[str]) -> dict[str, float]:
    attributes: dict[str, float] = {}
    for word in words:
        name, _, amount = word.partition("=")
        if not name or not _is_number(amount):
            raise typer.BadParameter(f"{word!r} is not NAME=AMOUNT, such as age=0.5.", param_hint="--attribute")
        attributes[name] = float(amount)
    return attributes


def _make_heads(
    jobs: list[tuple[str, str, Any]],
    make: Callable[[Any, Callable[[str, float], None]], Avatar],
    out: Path,
    as_json: bool,
) -> None:
    """Make, write and report the heads. jobs: (what people call the source, file name, what `make` takes)."""
    from core.avatar import save_avatar, write_whole
    from core.gltf import glb_bytes
    from core.head import load_head

    _use_own_cores()
    made: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with sentences(as_json):
        head = load_head()
    with _progress(len(jobs)) as show:
        for done, (source, name, job) in enumerate(jobs):

            def report(stage: str, fraction: float, done: int = done, source: str = source) -> None:
                show(done, f"{Path(source).name}: {stage}", fraction)

            try:
                avatar = make(job, report)
                files = [out / f"{name}{suffix}" for suffix in (".glb", ".likeness", ".json")]
                write_whole(files[0], glb_bytes(head, avatar))
                save_avatar(avatar, files[1])
                summary = {"source": source, **summarise(avatar)}
                write_whole(files[2], (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
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


# -- render, export, info, serve ----------------------------------------------------------------


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

        from core.avatar import write_whole
        from core.camera import look_at_head
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
    as_json: AsJson = False,
) -> None:
    """Write a saved head in another format.

    glb: everything, always in metres. obj: with MTL and textures beside it; zip: the same in one file. ply: colours at
    the vertices. stl: geometry alone. mp4 and gif: a turntable.
    """
    suffix = out.suffix.lower().lstrip(".")
    if format is None and suffix not in get_args(Format):
        choices = ", ".join(get_args(Format))
        raise typer.BadParameter(f"{out} ends in none of {choices}; name the format.", param_hint="--format")
    with sentences(as_json):
        avatar, model = _load(head)
        _folder(out.parent)
        from core.export import export as write_file

        _use_own_cores()
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
                progress=lambda fraction: show(0, out.name, fraction),
            )
    size = out.stat().st_size
    if as_json:
        _print_json({"file": str(out), "bytes": size})
    else:
        typer.echo(f"{out}  {size / 1e6:.2f} MB")


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
