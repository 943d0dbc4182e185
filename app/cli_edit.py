"""`python -m app edit` changes a saved head by words; `python -m app evaluate editing` measures how well that works."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

from core.errors import LikenessError

if TYPE_CHECKING:
    from PIL import Image

    from core.avatar import Avatar
    from core.head import HeadModel
    from editing.edit import Editor, TextEdit
    from editing.evaluation import Measured, Outcome

Format = Literal["glb", "likeness", "obj", "ply", "stl", "zip", "mp4", "gif"]
What = Literal["editing"]


class Lock(StrEnum):
    """What an edit may leave alone (`editing.latents.LOCKED`)."""

    SHAPE = "shape"
    SKIN = "skin"
    EXPRESSION = "expression"


class Method(StrEnum):
    """`editing.edit.METHODS`."""

    MIXED = "mixed"
    TABLE = "table"
    MAPPER = "mapper"
    DIRECTIONS = "directions"
    OPTIMISATION = "optimisation"


# The sheet: one row for each view of each prompt.
SHEET_STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
SHEET_VIEWS_DEG = (0.0, 40.0)
SHEET_TILE_PX, SHEET_GAP_PX, SHEET_TITLE_PX = 224, 4, 30
MOST_PROMPTS, LONGEST_TITLE = 64, 90

# A tenth of the suite for what takes seconds a step; see `evaluate`.
OPTIMISED_HEADS, OPTIMISED_PROMPTS = 2, 10


# -- edit ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Understood:
    """A prompt that says something. unknown: sentences about the words that say nothing."""

    prompt: str
    edit: TextEdit
    unknown: tuple[str, ...]


def edit(
    head: Annotated[Path, typer.Argument(metavar="HEAD.likeness", help="A saved head.")],
    prompts: Annotated[
        list[str],
        typer.Argument(metavar="PROMPT...", help="What to change, such as 'older, smiling'. Each makes a head."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write, in the format of its ending; with several prompts a folder."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="A picture of each prompt at strengths from -1 to 1.5."),
    ] = None,
    strength: Annotated[
        float, typer.Option(min=-1, max=1.5, help="Of every clause: 1 as the words say, below 0 the other way.")
    ] = 1.0,
    keep_identity: Annotated[
        float, typer.Option("--keep-identity", min=0, max=1, help="1: hardly change who it is. 0: anything goes.")
    ] = 0.5,
    lock: Annotated[list[Lock] | None, typer.Option("--lock", help="What stays as it is. Repeatable.")] = None,
    method: Annotated[Method, typer.Option(help="How words become changes; see docs/editing.md.")] = Method.MIXED,
    model: Annotated[
        str,
        typer.Option(metavar="NAME", envvar="LIKENESS_CLIP", help="bundled, or open_clip's model:pretrained."),
    ] = "bundled",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
) -> None:
    """Change a saved head by words: python -m app edit anna.likeness "older, smiling" --out older.glb

    Commas separate changes that are made together; several prompts make several heads, HEAD-1.glb, HEAD-1.likeness and
    so on in the folder --out. Words that are not known are named, and the rest of the prompt goes on.
    """
    suffix = "" if out is None else out.suffix.lower().lstrip(".")
    many = len(prompts) > 1 or suffix == ""
    if out is None and sheet is None:
        raise typer.BadParameter("Name a file for the head, or a --sheet, or both.", param_hint="--out")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise typer.BadParameter(f"{sheet} does not end in .png.", param_hint="--sheet")
    if len(prompts) > MOST_PROMPTS:
        raise typer.BadParameter(
            f"{len(prompts)} prompts were given, but {MOST_PROMPTS} are the most at once.", param_hint="PROMPT"
        )
    if len(prompts) > 1 and suffix:
        raise typer.BadParameter(
            f"{len(prompts)} prompts make as many heads, but {out} is one file. Name a folder.", param_hint="--out"
        )
    if suffix and suffix not in get_args(Format):
        raise typer.BadParameter(f"{out} ends in none of {', '.join(get_args(Format))}.", param_hint="--out")
    if not math.isfinite(strength) or not math.isfinite(keep_identity):
        raise typer.BadParameter("A number was expected, which nan and inf are not.", param_hint="--strength")
    from app.cli import _complain, _folder, _load, _print_json, _progress, _use_own_cores, sentences

    with sentences(as_json):
        avatar, model_of_head = _load(head)
        for folder in (out if many else out and out.parent, sheet and sheet.parent):
            if folder is not None:
                _folder(folder)
    _use_own_cores()
    from editing.edit import Editor, TextEdit

    settings = TextEdit(
        keep_identity=keep_identity, locks=frozenset(one.value for one in lock or ()), method=method.value, model=model
    )
    made: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    rows: list[tuple[str, list[list[Image.Image]]]] = []
    with sentences(as_json):
        editor = Editor(avatar)
        _ = editor.subject  # who the head is, once for all prompts
    with _progress(len(prompts)) as show:
        for i, prompt in enumerate(prompts):
            show(i, f"prompt {i + 1}", 0.0)
            try:
                understood = _understand(prompt, settings, strength)
                for sentence in understood.unknown:
                    _complain(sentence)
                started = time.perf_counter()
                edited = editor.apply(understood.edit)
                seconds = time.perf_counter() - started
                files: list[Path] = []
                if out is not None:
                    targets = [out / f"{head.stem}-{i + 1}{end}" for end in (".glb", ".likeness")] if many else [out]
                    for target in targets:
                        _write(model_of_head, edited.avatar, target)
                        files.append(target)
                if sheet is not None:
                    rows.append((prompt, _sweep(model_of_head, editor, understood.edit)))
            except LikenessError as error:
                failed.append({"prompt": prompt, "error": str(error)})
                _complain(str(error) if len(prompts) == 1 else f"Prompt {i + 1}: {error}")
                continue
            moved = [{"name": m.name, "title": m.title, "amount": m.amount} for m in edited.moved]
            clauses = [{"text": text, "strength": own} for text, own in understood.edit.clauses]
            made.append(
                {
                    "prompt": prompt,
                    "clauses": clauses,
                    "unknown": list(understood.unknown),
                    "moved": moved,
                    "seconds": round(seconds, 3),
                    "files": [str(file) for file in files],
                }
            )
            if not as_json:
                said = ", ".join(f"{m['title']} {m['amount']:+g}" for m in moved) or "nothing changed"
                typer.echo(f"{'  '.join(map(str, files)) or f'prompt {i + 1}'}  {seconds:.1f} s  {said}")
    if sheet is not None and rows:
        with sentences(as_json):
            _draw_sheet(sheet, rows)
        if not as_json:
            typer.echo(str(sheet))
    if as_json:
        _print_json({"edits": made, "failures": failed, "sheet": str(sheet) if sheet is not None and rows else None})
    if failed:
        raise typer.Exit(1)


def _understand(prompt: str, settings: TextEdit, strength: float) -> _Understood:
    """The clauses of a prompt that say something. Raises LikenessError where none does."""
    from editing.edit import clauses_of, reading_of

    whole = reading_of(prompt, settings.model)
    if whole.problem is not None and not whole.clauses:
        raise LikenessError(whole.problem)
    unknown = [word.sentence for word in whole.unknown]
    clauses = [(c.text, float(strength)) for c in whole.clauses if clauses_of(c.text, settings)]
    if not clauses:
        raise LikenessError(" ".join(unknown) or "The prompt says nothing that can be changed. Try 'older, smiling'.")
    return _Understood(prompt, replace(settings, clauses=tuple(clauses)), tuple(unknown))


def _write(model: HeadModel, avatar: Avatar, target: Path) -> None:
    """A head in the format that the file's name ends in; with its expression, which words may have asked for."""
    from core.avatar import save_avatar
    from core.export import export
    from core.gltf import glb_bytes

    suffix = target.suffix.lower().lstrip(".")
    if suffix == "likeness":
        save_avatar(avatar, target)
    elif suffix == "glb":
        from core.checkpoints import write_whole

        write_whole(target, glb_bytes(model, avatar))
    else:
        export(model, avatar, cast(Any, suffix), target, expression="fitted", units="mm" if suffix == "stl" else "m")


# -- the sheet ----------------------------------------------------------------------------------


def _sweep(model: HeadModel, editor: Editor, whole: TextEdit) -> list[list[Image.Image]]:
    """Rows of pictures, one for each view, over the strengths."""
    rows: list[list[Image.Image]] = [[] for _ in SHEET_VIEWS_DEG]
    for factor in SHEET_STRENGTHS:
        scaled = replace(whole, clauses=tuple((text, factor) for text, _ in whole.clauses))
        avatar = editor.apply(scaled).avatar
        for row, yaw_deg in zip(rows, SHEET_VIEWS_DEG, strict=True):
            row.append(portrait(model, avatar, yaw_deg, SHEET_TILE_PX))
    return rows


def portrait(model: HeadModel, avatar: Avatar, yaw_deg: float, size: int) -> Image.Image:
    """A head, upright, with its expression."""
    import torch
    from PIL import Image

    from core.render import render_head
    from editing.views import camera_of

    with torch.no_grad():
        parameters = avatar.parameters("fitted")
        parameters = replace(parameters, joint_rotations=torch.zeros_like(parameters.joint_rotations))
        camera = camera_of(torch.tensor([math.radians(yaw_deg)]), torch.zeros(1), size)
        picture = render_head(model, model.vertices(parameters), avatar.materials, camera)[0]
    return Image.fromarray((picture.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy())


def _draw_sheet(path: Path, blocks: Sequence[tuple[str, list[list[Image.Image]]]]) -> None:
    """Blocks of rows, each below its prompt, with the strengths on top."""
    from PIL import Image, ImageDraw, ImageFont

    from core.checkpoints import write_whole

    step = SHEET_TILE_PX + SHEET_GAP_PX
    width = len(SHEET_STRENGTHS) * step - SHEET_GAP_PX
    height = SHEET_TITLE_PX + len(blocks) * (SHEET_TITLE_PX + len(SHEET_VIEWS_DEG) * step)
    whole = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(17)
    for column, factor in enumerate(SHEET_STRENGTHS):
        pen.text((column * step + step / 2, SHEET_TITLE_PX / 2), f"{factor:g}", "#333", font, anchor="mm")
    y = SHEET_TITLE_PX
    for prompt, rows in blocks:
        # A picture has no lines to break: control characters would move the pen.
        title = "".join(letter if letter.isprintable() else " " for letter in prompt[:LONGEST_TITLE])
        pen.text((6, y + SHEET_TITLE_PX / 2), title, "#333", font, anchor="lm")
        y += SHEET_TITLE_PX
        for row in rows:
            for column, tile in enumerate(row):
                whole.paste(tile, (column * step, y))
            y += step
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


# -- evaluate -----------------------------------------------------------------------------------


def evaluate(
    what: Annotated[What, typer.Argument(help="What is measured.")],
    heads: Annotated[int, typer.Option(min=1, max=64, help="Of the suite, generated and reconstructed by turns.")] = 12,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Of the suite. Default: all of them.", show_default=False)
    ] = None,
    methods: Annotated[
        list[Method] | None, typer.Option("--method", help="Repeatable. Default: mixed.", show_default=False)
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="NAME", envvar="LIKENESS_CLIP", help="bundled, or open_clip's model:pretrained."),
    ] = "bundled",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one per core.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for editing.json, and for the heads, to begin sooner next time."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
) -> None:
    """Measure what prompts do to heads, by judges that guide no edit: a quarter of an hour on two cores.

    Optimisation, which takes seconds a prompt, is tried on two heads and ten prompts, or fewer if so asked.
    """
    from app.cli import _complain, _cores, _folder, _print_json, _progress, _use_own_cores, sentences

    with sentences(as_json):
        kept = None if out is None else _folder(out / "heads")
        _use_own_cores()
        from core.checkpoints import write_whole
        from editing import evaluation as e

        e.load_judge()
        with _progress(heads) as show:
            subjects = e.suite_heads(heads, kept, report=lambda done, of, name: show(done, name, 0.0))
        measured: list[Measured] = []
        outcomes: dict[str, list[Outcome]] = {}
        for method in dict.fromkeys(one.value for one in methods or [Method.MIXED]):
            slow = method == "optimisation"
            some = subjects[:OPTIMISED_HEADS] if slow else subjects
            cases = e.chosen_cases(min(prompts or OPTIMISED_PROMPTS, OPTIMISED_PROMPTS) if slow else prompts)
            _complain(f"{method}: {len(cases)} prompts on {len(some)} heads")
            with _progress(len(some) * len(cases)) as show:
                outcomes[method] = e.run_suite(
                    some, cases, method, model, workers or _cores(), lambda done, of, name: show(done, name, 0.0)
                )
            timed, exact = e.seconds(some, method, model), e.exactness(some, method, model)
            measured.append(e.summary(method, outcomes[method], timed, exact))
        results = e.document(measured, outcomes, subjects)
        if out is not None:
            file = out / "editing.json"
            write_whole(file, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
            _complain(str(file))
    if as_json:
        _print_json(results)
        return
    for one in results["methods"]:
        typer.echo("\n".join(_lines(one)))
    typer.echo("\n".join(_oracle_lines(results["oracles"])))


def _interval(estimate: Mapping[str, Any], percent: bool = False) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if percent:
        return f"{value:6.1%}  [{low:.1%}, {high:.1%}]  of {estimate['of']}"
    return f"{value:6.3f}  [{low:.3f}, {high:.3f}]"


def _lines(one: Mapping[str, Any]) -> list[str]:
    """A method's results as text."""
    lines = [f"\n{one['method']}", "  success"]
    lines += [f"    {kind:22} {_interval(value, percent=True)}" for kind, value in one["success"].items()]
    for title, key in (
        ("leakage into looks, sd", "leakage"),
        ("leakage into expressions", "expression_leakage"),
        ("shape moved, mm", "shape_mm"),
        ("skin's texture, correlation", "skin"),
        ("recognised among others", "recognised"),
    ):
        lines.append(f"  {title:28} {_interval(one[key])}")
    seconds, exact = one["seconds"], one["exact"]
    lines.append(
        f"  seconds, median: {seconds['preview']:.2f} preview, {seconds['final']:.2f} final, "
        f"{seconds['read']:.2f} to read a head once"
    )
    lines.append(f"  exact to the byte: removing {exact['removed']}, order {exact['order']}, of {exact['of']}")
    lines.append("  " + ", ".join(f"{name} {count}" for name, count in one["verdicts"].items()))
    for title, key in (("fails most", "failing"), ("leaks most", "leaking")):
        if one[key]:
            lines.append(f"  {title}: " + ", ".join(f"{name} {n}" for name, n in list(one[key].items())[:12]))
    lines += [
        f"  {'pass' if bar['passed'] else 'FAIL'}  {bar['name']}: {bar['measured']:.3f}, wanted {bar['wanted']}"
        for bar in one["bars"]
    ]
    return lines


def _oracle_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How good the judges are."""
    lines = ["\nthe judges: correlation with the truth over painted / generated people, spread"]
    for row in rows:
        known = [f"{row[name]:.2f}" if row[name] is not None else "   -" for name in ("painted", "generated")]
        lines.append(f"  {row['title']:32} {row['how']:9} {known[0]} / {known[1]}  {row['spread']:.3g} {row['unit']}")
    return lines
