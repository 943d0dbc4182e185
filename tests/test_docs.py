"""The documentation keeps its promises: links lead somewhere, commands and options exist, the Python in it runs."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from recipes import checksums, drawing, pictures, screens, tables

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "assets/README.md",
    ROOT / "core/albedo/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
MAX_PICTURE_BYTES, MAX_SCREEN_BYTES, MAX_PICTURES_BYTES = 200_000, 150_000, 3_600_000

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def links(text: str) -> Iterator[tuple[bool, str, str]]:
    """(is a picture, text, target) of every Markdown link outside code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for mark, label, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", prose):
        yield mark == "!", label, target


def fences(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command line: lines of blocks without a language or with sh, and code within lines."""
    blocks = [line for language in ("", "sh") for block in fences(text, language) for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in [*blocks, *spans]:
        for part in line.split("#")[0].split("&&"):
            if re.match(r"(make|python -m|\.venv/bin/python -m) ", part.strip() + " "):
                yield shlex.split(part.strip())


# ------------------------------------------------------------------------------------------------- links, pictures


@each_document
def test_links_lead_to_files(document: Path):
    for _, _, target in links(document.read_text("utf-8")):
        if not re.match(r"https?://", target):
            assert (document.parent / target.split("#")[0]).exists(), f"{document.name} links to {target}"


@each_document
def test_pictures_are_described(document: Path):
    for is_picture, label, target in links(document.read_text("utf-8")):
        assert not is_picture or len(label.split()) >= 4, f"{target} needs a text for those who cannot see it"


def test_pictures_are_made_by_the_command_shown_and_small():
    made = {f"{name}.jpg" for name in pictures.PICTURES}
    present = {path.name: path.stat().st_size for path in (ROOT / "docs").iterdir() if path.suffix != ".md"}
    shown = {Path(target).name for path in DOCUMENTS for _, _, target in links(path.read_text("utf-8"))}
    assert set(present) == made
    assert made <= shown
    assert max(present.values()) <= MAX_PICTURE_BYTES and sum(present.values()) <= MAX_PICTURES_BYTES
    assert max(present[f"{name}.jpg"] for name in screens.SCREENS) <= MAX_SCREEN_BYTES


def test_documents_lead_on_to_every_document():
    """Who starts at the README can reach all of them."""
    reached, left = set(), [ROOT / "README.md"]
    while left:
        document = left.pop()
        reached.add(document)
        for _, _, target in links(document.read_text("utf-8")):
            other = (document.parent / target.split("#")[0]).resolve()
            if other in DOCUMENTS and other not in reached:
                left.append(other)
    assert reached == set(DOCUMENTS)


@each_document
def test_links_to_headings_lead_to_them(document: Path):
    for _, _, target in links(document.read_text("utf-8")):
        path, _, heading = target.partition("#")
        if heading and not re.match(r"https?://", path):
            text = (document.parent / path if path else document).read_text("utf-8")
            # As GitHub makes them.
            titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


@each_document
def test_files_that_are_named_exist(document: Path):
    prose = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    for words in re.findall(r"`([^`\n]+)`", prose):
        for word in words.split():
            if re.fullmatch(r"(app|assets|benchmarks|core|docs|recipes|tests)/[\w./-]*", word):
                # The vendored modules are there after the set-up.
                assert (ROOT / word).exists() or word.startswith("app/static/vendor"), f"{document.name} names {word}"


# ------------------------------------------------------------------------------------------------- the app


def test_contributing_places_every_file_of_the_app():
    table = "\n".join(re.findall(r"^\|.*\|$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), flags=re.MULTILINE))
    named = re.findall(r"`([\w/]+\.(?:py|m?js|css|html))`", table)
    written = [path for pattern in ("*.py", "*.mjs") for path in (ROOT / "app").glob(pattern)]
    there = {path.name for path in written if not path.name.startswith("__")}
    static = {
        f"{'static/' if path.name in there else ''}{path.name}"
        for path in (ROOT / "app/static").iterdir()
        if path.suffix in (".js", ".css", ".html")
    }
    # One with the same name on the server and in the browser is told apart by its folder.
    assert sorted(named) == sorted({*there, *static, "static/protocol.js"} - {"protocol.js"})


def test_the_tour_names_what_is_on_the_page():
    """Everything bold in running text is the label of something on the page."""
    text = re.sub(r"^- \*\*.*?\*\*", "", (ROOT / "docs/tour.md").read_text("utf-8"), flags=re.MULTILINE)
    sources = "\n".join(
        (ROOT / "app" / name).read_text("utf-8")
        for name in ("ui.py", "static/panels.js", "static/person.js", "static/words.js", "static/index.html")
    )
    labels = {label.lower() for label in re.findall(r"[\">]([^\"<>\n]+)[\"<]", sources)}
    # A sentence made with a number.
    labels |= {"made in"} if '("made", update.total_s)' in sources else set()
    bold = {re.sub(r"\s+", " ", name).lower() for name in re.findall(r"\*\*(.+?)\*\*", text, flags=re.DOTALL)}
    tabs = {name for name in ("expression", "pose", "shape", "detail", "light", "view") if f'"{name}"' in sources}
    assert len(tabs) == 6 and (tabs - {"light"} | {"relight"}) < bold
    assert bold <= labels


def test_the_tour_counts_what_is_on_the_page():
    text = " ".join((ROOT / "docs/tour.md").read_text("utf-8").split())
    presets = (ROOT / "app/static/expressions.js").read_text("utf-8").split("export const PRESETS")[1]
    panels = (ROOT / "app/static/panels.js").read_text("utf-8")
    entries = {name: body for name, body in re.findall(r"^const (\w+) = [{[](.*?)[}\]];$", panels, flags=re.M | re.S)}
    numbers = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    faces = numbers[len(re.findall(r"\blabel: \"", presets))]
    surfaces, zooms = (numbers[len(re.findall(r"\w+: ", entries[name]))] for name in ("STYLES", "ZOOMS"))
    places = numbers[len(re.findall(r"\[", entries["VIEWS"]))]
    assert f"{faces} faces to press" in text
    assert f"{surfaces} surfaces, {places} places for the camera and {zooms} distances" in text


@pytest.mark.slow
def test_a_picture_is_drawn(tmp_path: Path):
    assert pictures.main(["--only", "embedding", "--out", str(tmp_path)]) == 0
    with Image.open(ROOT / "docs/embedding.jpg") as committed, Image.open(tmp_path / "embedding.jpg") as drawn:
        assert drawn.size == committed.size
        image = drawn.convert("RGB")
    # The dots of the landmarks and the colours of the regions are there, on the wall.
    colours = {colour for _, colour in image.getcolors(1 << 24) or ()}
    assert any(b > r + 100 for r, _, b in colours) and any(r > b + 100 for r, _, b in colours)
    assert any(max(abs(a - b) for a, b in zip(colour, drawing.WALL, strict=True)) <= 2 for colour in colours)


def test_a_sheet_keeps_every_tile():
    colours = ["red", "lime", "blue"]
    whole = pictures.sheet([Image.new("RGB", (40, 40), colour) for colour in colours], 2, ("a", "b", "c"))
    assert [whole.getpixel(at) for at in ((20, 20), (66, 20), (20, 96))] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


# ------------------------------------------------------------------------------------------------- commands, code


def test_readme_opens_with_a_sentence_a_picture_and_two_commands():
    _, _, body = (ROOT / "README.md").read_text("utf-8").split("---\n", 2)
    title, sentence, picture, block, *_ = re.split(r"\n\n+", body.strip())
    assert title == "# Likeness"
    assert sentence.endswith(".") and sentence.count(". ") == 0
    assert picture.startswith("![")
    assert [line.split("#")[0].strip() for line in block.splitlines()[1:-1]] == ["make run", "make test"]


@each_document
def test_commands_exist(document: Path):
    from app.cli import cli

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    group: Any = typer.main.get_command(cli)
    for words in commands(document.read_text("utf-8")):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            assert set(named) <= targets, f"make has no {named}"
            continue
        if words[2] == "torch.distributed.run":  # what it starts has a -m of its own
            words = words[words.index("-m", 2) - 1 :]
        module, rest = words[2], words[3:]
        if module == "pip":
            continue
        spec = importlib.util.find_spec(module)
        assert spec is not None, f"there is no module {module}"
        options = [word for word in rest if word.startswith("--")]
        if module == "app":
            # `python -m app X` alone stands for any command.
            command = group.commands[rest[0]]
            if hasattr(command, "commands") and rest[1:]:  # a group of its own: `train gan`
                command = command.commands[rest[1]]
            known = {option for parameter in command.params for option in parameter.opts}
            assert set(options) <= known | {"--help"}, f"{shlex.join(words)}: not an option"
        else:
            package = Path(spec.origin or "")
            source = (package.parent / "__main__.py" if package.name == "__init__.py" else package).read_text("utf-8")
            assert all(f'"{option}"' in source for option in options), f"{shlex.join(words)}: not an option"


def test_readme_shows_every_command_of_the_program_in_its_own_grammar():
    from app.cli import cli, spread_numbers

    group: Any = typer.main.get_command(cli)
    shown = [words[3:] for words in commands((ROOT / "README.md").read_text("utf-8")) if words[2:3] == ["app"]]
    assert {name for name, *_ in shown} == set(group.commands)
    for name, *rest in shown:
        command = group.commands[name]
        if hasattr(command, "commands"):  # a group of its own: `train gan`
            command, rest = command.commands[rest[0]], rest[1:]
        # Reads the words as the program would, without running it; raises for what it would refuse.
        with command.make_context(name, spread_numbers(rest)) as context:
            assert context.params


@pytest.mark.slow
def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (example,) = fences((ROOT / "README.md").read_text("utf-8"), "python")
    photo = pytest.importorskip("skimage.data").astronaut()
    Image.fromarray(photo).save(tmp_path / "anna.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert re.search(r"\. [01]\.\d\d\n$", capsys.readouterr().out)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {"anna.jpg", "anna.glb", "nobody.likeness", "nobody.stl"}
    assert written["anna.glb"][:4] == b"glTF" and written["nobody.likeness"][:2] == b"PK"
    # Binary STL: 80 bytes of header, the number of triangles, 50 bytes each.
    assert len(written["nobody.stl"]) == 84 + 50 * int.from_bytes(written["nobody.stl"][80:84], "little")


@each_document
def test_no_machine_is_named(document: Path):
    assert not re.findall(r"(?:^|[\s`'\"(=])(/[\w.-]+/[\w./-]*)", document.read_text("utf-8"), flags=re.MULTILINE)


# ------------------------------------------------------------------------------------------------- sums and tables


def test_assets_readme_names_the_files_that_are_there():
    sums = checksums.checksums()
    text = (ROOT / "assets/README.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `([^`]+\.safetensors)` \|", text, flags=re.MULTILINE))
    assert rows == set(sums)
    assert checksums.in_readme(text, sums) == text, (
        "After a rebuild: python -m recipes.checksums --write. The sums are\n"
        + "\n".join(f"{digest}  {file}" for file, digest in sums.items())
    )


def test_checksums_go_to_their_own_rows():
    source = 'A(\n    file="a.x",\n    sha256=None,\n), A(\n    file="b.x",\n    sha256="00ff",\n)'
    sums = {"a.x": "12", "b.x": "34"}
    updated = checksums.in_table(source, sums)
    assert updated == source.replace("None", '"12"').replace("00ff", "34")
    assert checksums.in_table(updated, sums) == updated
    readme = "| file | sha256 | what |\n| `a.x` | | one |\n| `b.x` | `00ff` | two |\n"
    assert checksums.in_readme(readme, sums) == readme.replace("| | one", "| `12` | one").replace("00ff", "34")
    for update in (checksums.in_table, checksums.in_readme):
        with pytest.raises(ValueError, match=r"c\.x"):
            update(source, {"c.x": "56"})


def test_every_table_has_its_place_and_its_numbers():
    for document, markers in {
        tables.README: ("numbers",),
        tables.HEAD_MODEL: ("texels",),
        tables.ASSETS_README: ("facts", "albedo"),
        ROOT / "docs/albedo.md": ("training", "quality", "curves"),
        tables.EDITING: ("editing_results", "editing_oracles", "text_image_retrieval", "text_image_zero_shot"),
        tables.BENCHMARKS: ("machine", "speed", "rasterisers", "fidelity", "focal"),
    }.items():
        text = document.read_text("utf-8")
        for marker in markers:
            assert tables.replace_section(text, marker, "NEW").count("NEW") == text.count("NEW") + 1
            (content,) = re.findall(rf"<!-- begin {marker} -->\n(.*?)<!-- end {marker} -->", text, flags=re.DOTALL)
            assert re.search(r"\d", content), f"{document.name}: the table {marker} is empty"


def test_a_section_without_its_comments_is_an_error():
    with pytest.raises(ValueError, match="begin speed"):
        tables.replace_section("nothing here", "speed", "NEW")


def test_benchmark_tables_leave_out_what_was_not_measured():
    row = {
        "estimator": "full fit",
        "yaw_deg": None,
        "heads": 3,
        "failures": 1,
        "error": {"median_mm": 0.75, "mean_mm": 1.0, "std_mm": 0.5, "count": 9},
        "ratio_median": 0.5,
        "ratio_mean": 0.625,
    }
    mean = row | {"estimator": "mean head", "error": row["error"] | {"median_mm": 1.5}, "ratio_median": 1.0}
    turned = row | {"yaw_deg": [0.0, 15.0], "error": None, "ratio_median": None, "ratio_mean": None}
    results = {
        "machine": {"cpus": 2},
        "quick": True,
        "speed": {"error": "It failed."},
        "fidelity": [mean, row, turned],
        "photos": None,
    }
    sections = tables.benchmark_sections(results)
    assert set(sections) == {"machine", "fidelity"}
    assert "quick run" in sections["machine"]
    lines = sections["fidelity"].splitlines()
    assert lines[3] == "| full fit | all | 3 | 1 | 0.75 | 1.00 | 0.50 | 0.50 | 0.62 |"
    assert lines[4] == "|  | 0-15 | 3 | 1 | n/a | n/a | n/a | n/a | n/a |"
    lines = tables.headline(results).splitlines()
    assert len(lines) == 3 and "0.75 mm; the mean head has 1.50 mm (ratio 0.50)" in lines[2]
    name = lines[2].split(" | ")[0]
    before = f"| on 2 CPU cores |  |\n| --- | --- |\n| memory | 9 MB |\n{name} | 0.80 mm |"
    assert tables.headline(results, before).splitlines() == [*lines[:2], "| memory | 9 MB |", lines[2]]
