"""Editing and evaluating from the command line: what is written, what is said, how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from app import cli_edit
from app.cli import main
from core.avatar import Avatar, load_avatar, save_avatar
from core.generation import Wish, generate_head
from core.head import load_head
from editing import edit as editing_edit
from editing import evaluation, latents
from tests.tiny_head import make_avatar, tiny_head

Run = Callable[..., tuple[int, str, str]]
SEED = 8


@pytest.fixture(scope="module")
def plain() -> Avatar:
    """A random head with a small map, as it comes out of its file: without provenance that would draw it anew."""
    head = load_head()
    made = generate_head(head, Wish(SEED), 128, preview=True)
    return replace(
        make_avatar(tiny_head()),
        name="anna",
        head_model=head.name,
        shape=made.shape,
        expression=torch.zeros(len(head.expression_names)),
        joint_rotations=head.neutral().joint_rotations[0],
        materials=made.materials,
        camera=None,
        light=None,
    )


@pytest.fixture
def run(plain: Avatar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in a folder that holds anna.likeness: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    save_avatar(plain, tmp_path / "anna.likeness")

    def go(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        code = stopped.value.code
        assert isinstance(code, int)
        return code, out, err

    return go


def weights(avatar: Avatar) -> dict[str, float]:
    return dict(zip(load_head().expression_names, avatar.expression.tolist(), strict=True))


# ------------------------------------------------------------------------------------------------- edit


def test_a_head_is_changed_by_words(run: Run, plain: Avatar):
    code, out, err = run("edit", "anna.likeness", "smiling, wider nose", "--out", "new/happy.likeness")
    assert code == 0 and err == ""
    assert "happy.likeness" in out and "nose" in out
    happy = load_avatar(Path("new/happy.likeness"))
    assert weights(happy)["mouthSmileLeft"] > 0.3
    assert not torch.equal(happy.shape, plain.shape)
    # Neither word is about the skin.
    assert torch.equal(happy.materials.skin_albedo, plain.materials.skin_albedo)
    assert sorted(p.name for p in Path("new").iterdir()) == ["happy.likeness"]


def test_strength_nothing_is_the_same_file(run: Run):
    assert run("edit", "anna.likeness", "older", "--strength", 0, "--out", "same.likeness")[0] == 0
    same = load_avatar(Path("same.likeness"))
    assert evaluation.saved(same) == Path("same.likeness").read_bytes()
    assert torch.equal(same.shape, load_avatar(Path("anna.likeness")).shape)
    assert Path("same.likeness").read_bytes() == Path("anna.likeness").read_bytes()


def test_several_prompts_are_several_heads_named_by_number(run: Run):
    nasty = "smiling/../../etc, smiling"
    code, out, _ = run("edit", "anna.likeness", "smiling", nasty, "mouth open", "--out", "all", "--json")
    document = json.loads(out)
    assert code == 0 and document["failures"] == []
    names = sorted(p.name for p in Path("all").iterdir())
    assert names == sorted(f"anna-{k}{end}" for k in (1, 2, 3) for end in (".glb", ".likeness"))
    assert {p.name for p in Path().iterdir()} == {"anna.likeness", "all"}
    assert [edit["files"] for edit in document["edits"]] == [
        [str(Path("all") / f"anna-{k}{end}") for end in (".glb", ".likeness")] for k in (1, 2, 3)
    ]
    first = document["edits"][0]
    assert first["prompt"] == "smiling" and first["clauses"] == [{"text": "smiling", "strength": 1.0}]
    assert {"name", "title", "amount"} == set(first["moved"][0]) and first["unknown"] == []
    assert weights(load_avatar(Path("all/anna-3.likeness")))["jawOpen"] > 0.2
    assert Path("all/anna-1.glb").read_bytes()[:4] == b"glTF"


@pytest.mark.parametrize(("suffix", "start"), [("glb", b"glTF"), ("ply", b"ply"), ("zip", b"PK"), ("stl", None)])
def test_the_ending_is_the_format(run: Run, suffix: str, start: bytes | None):
    assert run("edit", "anna.likeness", "smiling", "--out", f"head.{suffix}")[0] == 0
    data = Path(f"head.{suffix}").read_bytes()
    if start is None:
        # Binary STL: 80 bytes of header, the number of triangles, 50 bytes each.
        assert len(data) == 84 + 50 * int.from_bytes(data[80:84], "little")
    else:
        assert data.startswith(start)


def test_locks_and_options_reach_the_editor(run: Run, monkeypatch: pytest.MonkeyPatch):
    asked: list[editing_edit.TextEdit] = []

    def apply(self, edit, progress=None):
        asked.append(edit)
        base = latents.latent_of(self.subject)
        return editing_edit.Edited(self.avatar, (), base)

    monkeypatch.setattr(editing_edit.Editor, "apply", apply)
    options = ("--strength", -0.5, "--keep-identity", 0.9, "--lock", "shape", "--lock", "skin", "--method", "table")
    code, out, _ = run("edit", "anna.likeness", "older, smiling", *options, "--out", "a.likeness")
    assert code == 0 and "nothing changed" in out
    (edit,) = asked
    assert edit.clauses == (("older", -0.5), ("smiling", -0.5))
    assert (edit.keep_identity, edit.locks, edit.method) == (0.9, frozenset({"shape", "skin"}), "table")


def test_the_choices_are_the_editors():
    assert {one.value for one in cli_edit.Method} == set(editing_edit.METHODS)


def test_the_sheet_shows_the_sweep(run: Run, plain: Avatar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli_edit, "SHEET_TILE_PX", 96)
    monkeypatch.setattr(cli_edit, "SHEET_STRENGTHS", (-0.5, 0.0, 1.0))
    code, out, _ = run("edit", "anna.likeness", "mouth open", "--sheet", "pictures/sweep.png")
    assert code == 0 and "sweep.png" in out
    with Image.open("pictures/sweep.png") as picture:
        assert picture.format == "PNG"
        image = picture.convert("RGB")
    step = cli_edit.SHEET_TILE_PX + cli_edit.SHEET_GAP_PX
    assert image.width == len(cli_edit.SHEET_STRENGTHS) * step - cli_edit.SHEET_GAP_PX
    top = 2 * cli_edit.SHEET_TITLE_PX

    def tile(row: int, column: int) -> Image.Image:
        x, y = column * step, top + row * step
        return image.crop((x, y, x + cli_edit.SHEET_TILE_PX, y + cli_edit.SHEET_TILE_PX))

    zero = cli_edit.SHEET_STRENGTHS.index(0)
    for row, yaw_deg in enumerate(cli_edit.SHEET_VIEWS_DEG):
        same = cli_edit.portrait(load_head(), plain, yaw_deg, cli_edit.SHEET_TILE_PX)
        assert tile(row, zero).tobytes() == same.tobytes()
        assert tile(row, zero + 1).tobytes() != same.tobytes()


def test_unknown_words_are_named_and_the_rest_goes_on(run: Run):
    code, out, err = run("edit", "anna.likeness", "smiling, pikachu", "--out", "a.likeness", "--json")
    assert code == 0 and "pikachu" in err
    (edit,) = json.loads(out)["edits"]
    assert any("pikachu" in sentence for sentence in edit["unknown"])
    assert [clause["text"] for clause in edit["clauses"]] == ["smiling"]
    assert weights(load_avatar(Path("a.likeness")))["mouthSmileLeft"] > 0.3


BAD_PROMPTS = {
    "nothing known": "pikachu",
    "empty": "",
    "blank": " \t\n ",
    "commas": ",,,",
    "emoji": "\N{PILE OF POO}\N{HATCHING CHICK}",
    "another script": "старше",
    "html": "<img src=x onerror=pikachu()>",
    "long": "zzz " * 2500,
    "control characters": "\x1b[31m\x07",
}


@pytest.mark.parametrize("prompt", BAD_PROMPTS.values(), ids=BAD_PROMPTS)
def test_a_prompt_that_says_nothing_is_a_sentence(run: Run, prompt: str):
    code, out, err = run("edit", "anna.likeness", "--out", "a.likeness", "--json", "--", prompt)
    assert code == 1 and "Traceback" not in err
    document = json.loads(out)
    (failure,) = document["failures"]
    assert document["edits"] == [] and failure["error"].endswith((".", "?", '"')) and failure["error"] in err
    assert len(failure["error"]) < 2000
    assert not Path("a.likeness").exists()


def test_one_bad_prompt_among_many_is_told_and_the_rest_are_made(run: Run):
    code, out, err = run("edit", "anna.likeness", "smiling", "pikachu", "--out", "all")
    assert code == 1 and "Prompt 2" in err and "pikachu" in err
    assert sorted(p.name for p in Path("all").iterdir()) == ["anna-1.glb", "anna-1.likeness"]
    assert "anna-1.glb" in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("edit", "anna.likeness", "older"), "--out"),
        (("edit", "anna.likeness"), "PROMPT"),
        (("edit", "anna.likeness", "older", "--out", "a.docx"), "docx"),
        (("edit", "anna.likeness", "older", "smiling", "--out", "a.glb"), "folder"),
        (("edit", "anna.likeness", "older", "--sheet", "a.gif"), ".png"),
        (("edit", "anna.likeness", "older", "--out", "a.glb", "--strength", "3"), "strength"),
        (("edit", "anna.likeness", "older", "--out", "a.glb", "--strength", "nan"), "strength"),
        (("edit", "anna.likeness", "older", "--out", "a.glb", "--keep-identity", "2"), "keep-identity"),
        (("edit", "anna.likeness", "older", "--out", "a.glb", "--lock", "hair"), "lock"),
        (("edit", "anna.likeness", "older", "--out", "a.glb", "--method", "magic"), "method"),
        (("evaluate", "everything"), "everything"),
        (("evaluate", "editing", "--heads", "0"), "heads"),
    ],
)
def test_wrong_usage_is_explained(run: Run, arguments: tuple[str, ...], word: str):
    code, _, err = run(*arguments)
    assert code == 2 and word in err
    assert {p.name for p in Path().iterdir()} == {"anna.likeness"}


def test_files_that_are_no_heads_are_sentences(run: Run):
    Path("photo.jpg").write_bytes(b"\xff\xd8 no head")
    for name in ("photo.jpg", "missing.likeness"):
        code, _, err = run("edit", name, "older", "--out", "a.glb")
        assert code == 1 and name in err and "Traceback" not in err
    Path("folder").write_text("in the way")
    code, _, err = run("edit", "anna.likeness", "smiling", "--out", "folder/a.glb")
    assert code == 1 and "folder" in err


# ------------------------------------------------------------------------------------------------- evaluate


def test_the_evaluation_says_whether_the_bars_are_passed(run: Run, plain: Avatar, monkeypatch: pytest.MonkeyPatch):
    subject = evaluation.Subject("anna", "photo", SEED, plain)
    monkeypatch.setattr(evaluation, "suite_heads", lambda count, folder, report: [subject])
    monkeypatch.setattr(evaluation, "smaller", lambda avatar: avatar)
    cases = [case for case in evaluation.SUITE if case.prompt in ("smiling", "surprised", "wider nose")]
    monkeypatch.setattr(evaluation, "chosen_cases", lambda count: cases)
    monkeypatch.setattr(evaluation, "GALLERY", 5)
    monkeypatch.setattr(evaluation, "TIMED_PROMPTS", ("smiling",))
    code, out, err = run("evaluate", "editing", "--heads", 1, "--method", "table", "--out", "kept")
    assert code == 0 and "table: 3 prompts on 1 heads" in err
    assert "pass  success on singles and synonyms: 1.000" in out and "the judges" in out
    written = json.loads(Path("kept/editing.json").read_text("utf-8"))
    (method,) = written["methods"]
    assert method["success"]["single"]["of"] == 3 and method["verdicts"] == {"moved": 3}
    assert method["exact"] == {"removed": 1, "order": 1, "of": 1}
    assert {o["prompt"] for o in written["outcomes"]["table"]} == {case.prompt for case in cases}
    assert [head["name"] for head in written["heads"]] == ["anna"] and len(written["oracles"]) > 40
