"""The command line: what it writes, what it prints, how it exits. The core's estimation is replaced by a tiny head;
test_avatar and the browser tests run the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import core.detail
import core.export
import core.head
import core.pipeline
import core.synthesis.photo
import core.synthesis.shards
from app.cli import Format, Units, expand_photos, main, spread_numbers
from core.avatar import Avatar, Provenance, load_avatar, save_avatar
from core.errors import FileError, PhotoError
from core.generation import TRAITS, Wish, labels_from, person_of
from core.quality import Finding
from core.synthesis.people import LABEL_NAMES
from tests.tiny_head import make_avatar, make_detailed_materials, tiny_head

ROOT = Path(__file__).resolve().parent.parent

Run = Callable[..., tuple[int, str, str]]


def photo_name(source: object) -> str:
    return Path(str(source)).name


def fake_reconstruct(photo, progress=None, face_point_px=None, sides=()) -> Avatar:
    """A head for every file but those whose names say what is wrong with them; of side photos its name tells."""
    name = photo_name(photo)
    if progress is not None:
        progress(core.pipeline.Stage("detect", 0.1))
        progress(core.pipeline.Stage("texture", 0.9))
    if "dog" in name or not Path(photo).exists():
        raise PhotoError(f"No face was found in {name}. Use a photo in which a face is visible.")
    if "bug" in name:
        raise ZeroDivisionError("division by zero")
    return replace(make_avatar(tiny_head(), seed=len(name)), name="+".join(Path(p).stem for p in (name, *sides)))


def fake_generate(seed: int, labels=None, truncation=0.8) -> Avatar:
    avatar = make_avatar(tiny_head(), seed=seed)
    provenance = Provenance("generated", seed, labels=labels_from(labels or {}), truncation=truncation)
    latent = torch.full((4, 3), float(seed))
    return replace(avatar, name=f"seed {seed}", provenance=provenance, latent=latent, generator="0" * 16)


def fake_thumbnails(wishes, size_px: int) -> list[torch.Tensor]:
    return [torch.full((3, size_px, size_px), wish.seed, dtype=torch.uint8) for wish in wishes]


def fake_detailed(avatar: Avatar, report=None, refine: bool = True) -> Avatar:
    """Two maps, whose values say whether they were refined; none where the head's name says that there are no
    weights."""
    if "weightless" in avatar.name:
        raise FileError("The weights of reflectance are missing. Fetch them.")
    if avatar.materials.skin_wrinkles is not None:
        return avatar
    seconds = dict(avatar.provenance.seconds)
    for index, stage in enumerate(core.detail.STAGES):
        if report is not None:
            report(stage, index / 3)
        seconds[stage] = 0.25 * (index + 1)
    materials = replace(
        avatar.materials,
        skin_displacement=torch.full((1, 8, 8), 7 if refine else 5, dtype=torch.int16),
        skin_wrinkles=torch.zeros(2, 8, 8, dtype=torch.int16),
    )
    finding = Finding("not-neutral", "warning", "The face in the photo is not relaxed.", "Use a relaxed one.")
    quality = replace(avatar.quality, findings=(*avatar.quality.findings, finding))
    return replace(avatar, materials=materials, provenance=replace(avatar.provenance, seconds=seconds), quality=quality)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.setattr(core.pipeline, "reconstruct", fake_reconstruct)
    monkeypatch.setattr(core.pipeline, "generate", fake_generate)
    monkeypatch.setattr(core.pipeline, "thumbnails", fake_thumbnails)
    monkeypatch.setattr(core.detail, "detailed", fake_detailed)
    for module in (core.head, core.pipeline):
        monkeypatch.setattr(module, "load_head", tiny_head)
    monkeypatch.chdir(tmp_path)
    # The command sets torch's threads for a process of its own; this one is the test run's.
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)

    def command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return command


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "ada.likeness"
    save_avatar(make_avatar(tiny_head()), path)
    return path


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


# -- Words --------------------------------------------------------------------------------------


def test_several_numbers_after_one_option():
    assert spread_numbers(["--yaw", "-30", "0", "3e1", "--size", "64"]) == [
        "--yaw=-30",
        "--yaw=0",
        "--yaw=3e1",
        "--size",
        "64",
    ]
    assert spread_numbers(["--yaw", "-5", "head.likeness"]) == ["--yaw=-5", "head.likeness"]
    assert spread_numbers(["--yaw", "nan"]) == ["--yaw", "nan"]
    assert spread_numbers(["a", "--", "--yaw", "1", "2"]) == ["a", "--", "--yaw", "1", "2"]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.lists(st.sampled_from(["x", "--out"]))
)
def test_every_number_arrives_once_and_in_order(numbers: list[float], rest: list[str]):
    spread = spread_numbers(["--yaw", *map(repr, numbers), *rest])
    assert [float(word.removeprefix("--yaw=")) for word in spread[: len(numbers)]] == numbers
    assert spread[len(numbers) :] == rest


def test_help_needs_no_heavy_import():
    program = (
        "import sys, app.cli\n"
        "try: app.cli.main(['render', '--help'])\n"
        "except SystemExit as left: assert left.code == 0, left.code\n"
        "heavy = {'torch', 'numpy', 'gradio', 'mediapipe', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = os.environ | {"COLUMNS": "200"}  # or the help is wrapped
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--yaw" in done.stdout and "the head shows its left side" in done.stdout


def test_module_runs_and_exits_with_2_for_wrong_usage():
    done = subprocess.run([sys.executable, "-m", "app", "reconstruct"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "PHOTO" in done.stderr and not done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("paint",),
        ("reconstruct", "--out", "o"),
        ("reconstruct", "a.jpg"),
        ("generate", "--out", "o", "--count", "0"),
        ("generate", "--out", "o", "--attribute", "age"),
        ("generate", "--out", "o", "--attribute", "age=old"),
        ("generate", "--out", "o", "--label", "beard"),
        ("generate", "--out", "o", "--truncation", "1.5"),
        ("generate", "--out", "o", "--grid", "faces.jpg"),
        ("synthesize",),
        ("synthesize", "--out", "o", "--count", "0"),
        ("synthesize", "--out", "o", "--size", "16"),
        ("synthesize", "--out", "o", "--what", "meshes"),
        ("synthesize", "--contact-sheet", "sheet.jpg"),
        ("render", "a.likeness", "--out", "o", "--style", "oil"),
        ("render", "a.likeness", "--out", "o", "--yaw", "left"),
        ("render", "a.likeness", "--out", "o", "--yaw"),
        ("render", "a.likeness", "--out", "o", "--pitch", "90"),
        ("render", "a.likeness", "--out", "o", "--size", "0"),
        ("export", "a.likeness", "--out", "a.fbx"),
        ("export", "a.likeness", "--out", "a.ply", "--units", "inch"),
        ("info",),
        ("serve", "--port", "0"),
    ],
)
def test_wrong_usage_is_2_and_writes_nothing(run: Run, tmp_path: Path, arguments: tuple[str, ...]):
    code, out, err = run(*arguments)
    assert code == 2 and not out and err and "Traceback" not in err
    assert not files(tmp_path)


# -- reconstruct, generate ----------------------------------------------------------------------


def test_reconstruct_writes_three_files_per_photo(run: Run, tmp_path: Path):
    (tmp_path / "ada.jpg").touch()
    code, out, err = run("reconstruct", "ada.jpg", "--out", "deep/er")
    assert code == 0 and "Traceback" not in err
    folder = tmp_path / "deep/er"
    assert files(folder) == {"ada.glb", "ada.likeness", "ada.json"}
    assert "ada.glb" in out and "0.80" in out and "The head is turned by 40 degrees." in out

    expected = fake_reconstruct(tmp_path / "ada.jpg")
    assert len(pygltflib.GLTF2().load(str(folder / "ada.glb")).meshes) == 1
    assert torch.equal(load_avatar(folder / "ada.likeness").shape, expected.shape)
    summary = json.loads((folder / "ada.json").read_text("utf-8"))
    assert summary["seconds"] == {"fit": 1.25, "reflectance": 0.25, "relief": 0.5, "wrinkles": 0.75}
    assert summary["residuals"] == {"landmarks_px": 1.5}
    assert summary["quality"]["confidence"] == 0.8 and summary["made_from"] == "photo"
    assert summary["quality"]["findings"][:1] == [
        {
            "code": "turned",
            "severity": "warning",
            "sentence": "The head is turned by 40 degrees.",
            "advice": "Look straight into the camera.",
        }
    ]


def test_reconstruct_adds_detail_unless_it_is_told_not_to(run: Run, tmp_path: Path):
    for name in ("ada.jpg", "weightless.jpg"):
        (tmp_path / name).touch()
    assert run("reconstruct", "ada.jpg", "--out", "fine")[0] == 0
    assert load_avatar(tmp_path / "fine/ada.likeness").materials.skin_displacement is not None
    assert run("reconstruct", "ada.jpg", "--no-detail", "--out", "plain")[0] == 0
    plain = load_avatar(tmp_path / "plain/ada.likeness")
    assert plain.materials.skin_displacement is None and len(plain.quality.findings) == 1
    # Where it cannot be had, the head is written all the same, and the exit code says that something is missing.
    code, out, err = run("reconstruct", "weightless.jpg", "ada.jpg", "--out", "o", "--json")
    document = json.loads(out)
    assert code == 1 and [head["source"] for head in document["heads"]] == ["weightless.jpg", "ada.jpg"]
    (failure,) = document["failures"]
    assert failure["source"] == "weightless.jpg"
    assert failure["error"].startswith("The head was written without some maps of its skin. The weights of")
    assert failure["error"] in err and "Traceback" not in err
    assert load_avatar(tmp_path / "o/weightless.likeness").materials.skin_displacement is None
    assert (tmp_path / "o/weightless.glb").exists()


def test_photos_from_the_side_go_into_the_one_head(run: Run, tmp_path: Path):
    for name in ("ada.jpg", "left.jpg", "right.jpg"):
        (tmp_path / name).touch()
    code, out, _ = run("reconstruct", "ada.jpg", "--side", "left.jpg", "--side", "right.jpg", "--out", "o")
    assert code == 0 and files(tmp_path / "o") == {"ada.glb", "ada.likeness", "ada.json"}
    assert json.loads((tmp_path / "o/ada.json").read_text("utf-8"))["name"] == "ada+left+right"
    # One head at a time: whose side would it be?
    code, out, err = run("reconstruct", "ada.jpg", "left.jpg", "--side", "right.jpg", "--out", "p")
    assert code == 1 and "one photo from the front, but 2 were named" in err
    assert not out and not (tmp_path / "p").exists()


def test_one_bad_photo_is_reported_and_the_rest_go_on(run: Run, tmp_path: Path):
    for name in ("a.jpg", "dog.jpg", "z.jpg"):
        (tmp_path / name).touch()
    code, out, err = run("reconstruct", "a.jpg", "dog.jpg", "gone.jpg", "z.jpg", "--out", "o")
    assert code == 1
    assert files(tmp_path / "o") == {f"{n}.{s}" for n in "az" for s in ("glb", "likeness", "json")}
    assert "dog.jpg: No face was found in dog.jpg." in err and "gone.jpg: No face" in err and "2 of 4 failed." in err
    assert "Traceback" not in err and "dog" not in out


def test_a_bug_with_one_photo_does_not_take_the_others_down(run: Run, tmp_path: Path):
    for name in ("bug.jpg", "z.jpg"):
        (tmp_path / name).touch()
    code, _, err = run("reconstruct", "bug.jpg", "z.jpg", "--out", "o")
    assert code == 1 and "z.glb" in files(tmp_path / "o")
    assert "ZeroDivisionError" in err and "a bug in Likeness" in err


def test_json_is_one_document_and_nothing_else(run: Run, tmp_path: Path):
    for name in ("a.jpg", "dog.jpg"):
        (tmp_path / name).touch()
    code, out, _ = run("reconstruct", "a.jpg", "dog.jpg", "--out", "o", "--json")
    document = json.loads(out)
    assert code == 1
    assert [head["source"] for head in document["heads"]] == ["a.jpg"]
    assert [Path(f).name for f in document["heads"][0]["files"]] == ["a.glb", "a.likeness", "a.json"]
    assert document["failures"] == [
        {"source": "dog.jpg", "error": "No face was found in dog.jpg. Use a photo in which a face is visible."}
    ]


def test_folders_are_searched_and_named_files_are_tried(run: Run, tmp_path: Path):
    album = tmp_path / "album"
    album.mkdir()
    for name in ("b.PNG", "a.jpeg", ".hidden.jpg", "notes.txt"):
        (album / name).touch()
    (tmp_path / "odd.bin").touch()
    assert [p.name for p in expand_photos([str(album), str(album / "a.jpeg"), str(tmp_path / "odd.bin")])] == [
        "a.jpeg",
        "b.PNG",
        "odd.bin",
    ]
    code, _, _ = run("reconstruct", album, "odd.bin", "--out", "o")
    assert code == 0 and {p.stem for p in (tmp_path / "o").iterdir()} == {"a", "b", "odd"}


def test_folder_without_photos_is_a_sentence(run: Run, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    code, out, err = run("reconstruct", "empty", "--out", "o")
    assert code == 1 and "The folder empty holds no photos." in err and not out
    code, out, _ = run("reconstruct", "empty", "--out", "o", "--json")
    assert code == 1 and "holds no photos" in json.loads(out)["error"]


def test_photos_of_one_name_do_not_overwrite_each_other(run: Run, tmp_path: Path):
    for name in ("x/me.jpg", "y/me.jpg", "y/Me.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    code, _, _ = run("reconstruct", "x/me.jpg", "y", "--out", "o")
    assert code == 0 and len(files(tmp_path / "o")) == 9
    assert len({name.casefold() for name in files(tmp_path / "o")}) == 9


def test_generate_counts_seeds_up_and_repeats_itself(run: Run, tmp_path: Path):
    options = ("--label", "age=60", "--label", "beard=0", "--truncation", "0.5", "--attribute", "age=-0.5")
    assert run("generate", "--count", "2", "--seed", "5", *options, "--out", "o")[0] == 0
    names = {f"random-{seed}.{suffix}" for seed in (5, 6) for suffix in ("glb", "likeness", "json", "png")}
    assert files(tmp_path / "o") == names
    summary = json.loads((tmp_path / "o/random-6.json").read_text())
    assert (summary["made_from"], summary["seed"], summary["attributes"]) == ("generated", 6, {"age": -0.5})
    shaved = dict.fromkeys(("stubble", "beard_chin", "moustache", "beard_cheeks"), 0.0)
    assert (summary["labels"], summary["truncation"]) == ({"age_years": 60.0} | shaved, 0.5)
    assert run("generate", "--seed", "6", *options, "--out", "p")[0] == 0
    for name in files(tmp_path / "p"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "p" / name).read_bytes()


def test_generate_writes_all_parameters_and_the_albedo_map(run: Run, tmp_path: Path):
    assert run("generate", "--seed", "3", "--label", "melanin=0.25", "--out", "o")[0] == 0
    summary = json.loads((tmp_path / "o/random-3.json").read_text())
    saved = load_avatar(tmp_path / "o/random-3.likeness")
    assert summary["shape"] == saved.shape.tolist()
    assert saved.latent is not None and summary["w"] == saved.latent[0].tolist()
    person = person_of(tiny_head(), Wish(3, {"melanin": 0.25}, 0.8)).labels
    assert summary["person"] == {name: getattr(person, name) for name in LABEL_NAMES}
    assert summary["person"]["melanin"] == 0.25
    picture = np.asarray(Image.open(tmp_path / "o/random-3.png"))
    assert np.array_equal(picture, saved.materials.skin_albedo.permute(1, 2, 0).numpy())


def test_generate_adds_detail_when_asked(run: Run, tmp_path: Path):
    assert run("generate", "--seed", "3", "--out", "o")[0] == 0
    assert run("generate", "--seed", "3", "--detail", "--out", "p")[0] == 0
    plain, fine = (load_avatar(tmp_path / folder / "random-3.likeness") for folder in "op")
    assert plain.materials.skin_wrinkles is None and fine.materials.skin_wrinkles is not None


def test_generate_writes_obj_and_a_grid_when_asked(run: Run, tmp_path: Path):
    code, out, _ = run("generate", "--count", "5", "--seed", "10", "--obj", "--grid", "sheets/faces.png", "--out", "o")
    assert code == 0 and "random-14.glb" in out
    assert {f"random-{seed}.{suffix}" for seed in range(10, 15) for suffix in ("obj", "mtl")} <= files(tmp_path / "o")
    mesh = trimesh.load(tmp_path / "o/random-12.obj", process=False)
    assert len(getattr(mesh, "geometry", [mesh])) >= 1
    picture = np.asarray(Image.open(tmp_path / "sheets/faces.png"))
    side = picture.shape[0] // 2
    assert picture.shape == (2 * side, 3 * side, 3)
    shown = [int(picture[row * side, column * side, 0]) for row in range(2) for column in range(3)]
    assert shown == [10, 11, 12, 13, 14, 255]


def test_generate_lists_what_a_label_may_be(run: Run):
    code, out, err = run("generate", "--labels")
    assert code == 0 and not err
    assert {line.split()[0] for line in out.splitlines()} == {*TRAITS, *LABEL_NAMES}


@pytest.mark.parametrize("word", ["beard=2", "mood=1", "age=5", "african=-1"])
def test_a_label_that_cannot_be_is_a_sentence(run: Run, tmp_path: Path, word: str):
    code, out, err = run("generate", "--label", word, "--grid", "faces.png", "--out", "o")
    assert code == 1 and not out and word.split("=")[0] in err and "Traceback" not in err
    assert not files(tmp_path)


# -- synthesize ---------------------------------------------------------------------------------


def test_synthesize_writes_people_and_adds_to_them(run: Run, tmp_path: Path):
    """The bundled head, which `core.synthesis.shards` took hold of before the fixture replaced it."""
    options = ("--seed", 7, "--size", 32, "--workers", 1, "--shard-size", 1, "--what", "both", "--relief")
    code, out, err = run("synthesize", "--out", "deep/er", "--count", 1, *options)
    assert code == 0 and not err
    assert [line.split()[0] for line in out.splitlines()] == [
        "deep/er/maps-000000.safetensors",
        "deep/er/photos-000000.safetensors",
    ]
    first = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "deep/er").iterdir()}
    code, out, err = run("synthesize", "--out", "deep/er", "--count", 2, *options, "--json")
    document = json.loads(out)
    assert code == 0 and not err and document["people"] == 2 and len(document["files"]) == 4
    assert all((tmp_path / file).is_file() for file in document["files"])
    assert first.items() <= {p.name: p.stat().st_mtime_ns for p in (tmp_path / "deep/er").iterdir()}.items()
    dataset = core.synthesis.shards.MapDataset(tmp_path / "deep/er", relief=True)
    assert [dataset[i].seed for i in range(2)] == [7, 8] and dataset[1].albedo.shape == (3, 32, 32)


def test_synthesize_exits_with_sentences(run: Run, tmp_path: Path):
    (tmp_path / "file").touch()
    for arguments, said in (
        (("--out", "file/o"), "could not be made"),
        (("--out", "o", "--sources", "skins.safetensors"), "recipes.makehuman_skins"),
    ):
        code, out, err = run("synthesize", "--count", 1, *arguments, "--json")
        assert code == 1 and said in err and "Traceback" not in err
        assert json.loads(out) == {"error": err.strip()}


def test_synthesize_draws_a_contact_sheet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[range] = []

    def sheet(head, seeds, *, columns, sources, progress):
        asked.append(seeds)
        progress(len(seeds), len(seeds))
        return np.full((columns, 2 * columns, 3), 77, np.uint8)

    monkeypatch.setattr(core.synthesis.photo, "contact_sheet", sheet)
    code, out, err = run("synthesize", "--count", 100, "--seed", 3, "--contact-sheet", "o/sheet.png")
    assert code == 0 and out.startswith("o/sheet.png") and not err
    assert asked == [range(3, 67)]  # 8 by 8, and no shards without --out
    with Image.open(tmp_path / "o/sheet.png") as picture:
        assert picture.size == (16, 8)
    assert files(tmp_path / "o") == {"sheet.png"}


def test_output_that_cannot_be_written_is_a_sentence(run: Run, tmp_path: Path, saved: Path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "file").touch()
    for arguments in (
        ("reconstruct", "a.jpg", "--out", "file/o"),
        ("generate", "--out", "file"),
        ("render", saved, "--out", "file"),
        ("export", saved, "--out", "file/a.glb"),
    ):
        code, out, err = run(*arguments)
        assert code == 1 and "could not be made" in err and "Traceback" not in err and not out, arguments


# -- render, export, info -----------------------------------------------------------------------


def test_yaw_above_zero_shows_the_left_side(run: Run, tmp_path: Path):
    avatar = make_avatar(tiny_head())
    # The tiny head's map has its middle at u = 0.375: the person's left is red, their right is blue.
    skin = torch.zeros(3, 32, 32, dtype=torch.uint8)
    skin[0, :, 12:], skin[2, :, :12] = 255, 255
    save_avatar(replace(avatar, materials=replace(avatar.materials, skin_albedo=skin)), tmp_path / "ada.likeness")
    assert (
        run("render", "ada.likeness", "--yaw", "-60", "60", "--size", "64", "--style", "albedo", "--out", "o")[0] == 0
    )
    reddish = {}
    for yaw in (-60, 60):
        with Image.open(tmp_path / f"o/ada__{yaw}.png") as picture:
            pixels = np.asarray(picture).astype(int)
        reddish[yaw] = ((pixels[..., 0] > 200) & (pixels[..., 2] < 60)).sum() - (
            (pixels[..., 2] > 200) & (pixels[..., 0] < 60)
        ).sum()
    assert reddish[60] > 500 and reddish[-60] < -500


def test_render_names_its_pictures(run: Run, tmp_path: Path, saved: Path):
    code, out, _ = run("render", saved, "--yaw", "-30", "0", "30", "--size", "96", "--style", "clay", "--out", "o")
    assert code == 0 and files(tmp_path / "o") == {"ada__-30.png", "ada__0.png", "ada__30.png"}
    assert [Path(line).name for line in out.split()] == ["ada__-30.png", "ada__0.png", "ada__30.png"]
    for name in files(tmp_path / "o"):
        with Image.open(tmp_path / "o" / name) as picture:
            assert picture.size == (96, 96) and picture.mode == "RGB"
            pixels = np.asarray(picture).astype(int)
        # A plain background all around, and a head that fills most of the picture without touching its edge.
        frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (frame == frame[0]).all()
        covered = (np.abs(pixels - frame[0]).max(-1) > 8).any(0)
        assert 0.7 * 96 < covered.sum() < 96


@pytest.mark.parametrize("style", ["textured", "albedo", "clay"])
def test_render_styles_and_options(run: Run, tmp_path: Path, saved: Path, style: str):
    options = ("--pitch", "-10", "--size", "48", "--style", style, "--expression", "neutral", "--json")
    code, out, _ = run("render", saved, "--out", "o", "--yaw", "12.5", *options)
    assert code == 0 and json.loads(out) == {"files": [str(Path("o/ada__12.5.png"))]}


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl", "zip"])
def test_export_takes_the_format_from_the_name(run: Run, tmp_path: Path, saved: Path, suffix: str):
    target = tmp_path / "new" / f"ada.{suffix}"
    code, out, _ = run("export", saved, "--out", target, "--json")
    assert code == 0 and json.loads(out) == {"file": str(target), "bytes": target.stat().st_size}
    start = {"glb": b"glTF", "ply": b"ply", "zip": b"PK"}.get(suffix, b"")
    assert target.read_bytes().startswith(start) and target.stat().st_size > 500
    if suffix == "zip":
        assert {Path(name).suffix for name in zipfile.ZipFile(target).namelist()} >= {".obj", ".mtl"}


def bounding_height(path: Path) -> float:
    bounds = trimesh.load(path, process=False).bounds
    return float(bounds[1, 1] - bounds[0, 1])


def test_export_units(run: Run, tmp_path: Path, saved: Path):
    """Millimetres for printing unless asked otherwise; a GLB is in metres whatever is asked, and says so."""
    assert get_args(Format) == get_args(core.export.Format) and set(get_args(Units)) == set(get_args(core.export.Units))
    for name, units, per_metre in (("a.stl", (), 1000), ("b.ply", (), 1), ("c.ply", ("--units", "cm"), 100)):
        assert run("export", saved, "--out", name, *units)[0] == 0
        assert bounding_height(tmp_path / name) == pytest.approx(
            bounding_height(tmp_path / "a.stl") * per_metre / 1000, rel=1e-4
        )
    assert run("export", saved, "--out", "a.glb")[0] == 0
    code, _, err = run("export", saved, "--format", "glb", "--units", "mm", "--out", "b.glb")
    assert code == 0 and "--units mm has no effect" in err
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_export_of_maps_and_of_the_fine_mesh(run: Run, tmp_path: Path, saved: Path):
    person = replace(make_avatar(tiny_head()), materials=make_detailed_materials())
    save_avatar(person, tmp_path / "lines.likeness")
    code, out, _ = run("export", "lines.likeness", "--format", "maps", "--out", "maps.zip", "--json")
    assert code == 0 and json.loads(out)["file"] == "maps.zip"
    names = zipfile.ZipFile(tmp_path / "maps.zip").namelist()
    assert "README.txt" in names and "skin_displacement.png" in names
    code, _, err = run("export", "lines.likeness", "--detailed", "--out", "fine.ply")
    assert code == 0, err
    assert 250_000 < len(trimesh.load(tmp_path / "fine.ply", process=False).faces) < 350_000
    # A head without relief, a format without a mesh.
    code, out, err = run("export", saved, "--detailed", "--out", "no.ply")
    assert code == 1 and "python -m app detail" in err and not out and not (tmp_path / "no.ply").exists()
    code, _, err = run("export", "lines.likeness", "--detailed", "--format", "maps", "--out", "no.zip")
    assert code == 1 and "has no mesh" in err


def test_export_wears_an_expression(run: Run, tmp_path: Path, saved: Path):
    def weights(*words: str) -> dict[str, float]:
        assert run("export", saved, "--out", "a.glb", *words)[0] == 0
        (mesh,) = pygltflib.GLTF2.load(tmp_path / "a.glb").meshes
        return {name: w for name, w in zip(mesh.extras["targetNames"], mesh.weights, strict=True) if w}

    assert weights() == {}
    assert weights("--arkit", "browInnerUp=1", "--arkit", "jawOpen=0.5") == {"browInnerUp": 1, "jawOpen": 0.5}
    raised = weights("--arkit", "brow raiser", "--arkit", "browInnerUp=0.5")
    assert raised["browInnerUp"] == 0.5 and raised["browOuterUpLeft"] == 1
    for words, said in ((("smirk=1",), "no expression 'smirk'"), (("jawOpen=3",), "Give a number from 0 to 1")):
        code, _, err = run("export", saved, "--out", "b.glb", "--arkit", *words)
        assert code == 1 and said in err and not (tmp_path / "b.glb").exists()
    code, _, err = run("export", saved, "--out", "b.glb", "--arkit", "smirk")
    assert code == 2 and "NAME=WEIGHT" in err


def test_detail_by_facescape_says_which_file_is_missing(run: Run, tmp_path: Path, saved: Path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("detail", saved, "--facescape", "empty", "--out", "o")
    assert code == 1 and "FaceScape's bilinear model is missing: looked for empty/core_847_50_52.npy" in err
    assert "nju.edu.cn" in err and "Traceback" not in err and not files(tmp_path / "o")


def test_detail_is_added_to_a_saved_head_in_its_place(run: Run, tmp_path: Path, saved: Path):
    code, out, err = run("detail", saved)
    assert code == 0 and not err
    assert "reflectance 0.2 s, relief 0.5 s, wrinkles 0.8 s" in out and "not relaxed" in out
    found = load_avatar(saved).materials.skin_displacement
    assert found is not None and int(found.max()) == 7
    assert files(tmp_path) == {"ada.likeness", "ada.glb"}
    # Once more there is nothing to add, and the same file comes out.
    before = saved.read_bytes()
    code, out, _ = run("detail", saved)
    assert code == 0 and "has its detail already" in out and saved.read_bytes() == before


def test_detail_goes_elsewhere_unrefined_and_with_all_maps_as_pictures(run: Run, tmp_path: Path, saved: Path):
    before = saved.read_bytes()
    code, out, _ = run("detail", saved, "--out", "deep/er", "--maps", "pictures", "--no-refine", "--json")
    assert code == 0 and saved.read_bytes() == before
    ((head,), failures) = json.loads(out).values()
    assert failures == [] and head["added"] is True and head["source"] == str(saved)
    assert {name: head["seconds"][name] for name in core.detail.STAGES} == {
        "reflectance": 0.25, "relief": 0.5, "wrinkles": 0.75
    }  # fmt: skip
    assert [finding["code"] for finding in head["findings"]] == ["not-neutral"]
    assert all((tmp_path / file).is_file() for file in head["files"])
    found = load_avatar(tmp_path / "deep/er/ada.likeness").materials.skin_displacement
    assert found is not None and int(found.max()) == 5
    assert {"README.txt", "skin_displacement.png", "skin_wrinkles_1.png"} <= files(tmp_path / "pictures/ada")


def test_detail_of_one_bad_head_is_reported_and_the_rest_go_on(run: Run, tmp_path: Path, saved: Path):
    save_avatar(replace(make_avatar(tiny_head()), name="weightless"), tmp_path / "w.likeness")
    (tmp_path / "broken.likeness").write_bytes(b"PK")
    code, out, err = run("detail", "broken.likeness", "gone.likeness", "w.likeness", saved, "--json")
    document = json.loads(out)
    assert code == 1 and [head["source"] for head in document["heads"]] == [str(saved)]
    assert [failure["source"] for failure in document["failures"]] == [
        "broken.likeness", "gone.likeness", "w.likeness"
    ]  # fmt: skip
    assert "The weights of reflectance are missing." in err and "Traceback" not in err


def test_info_says_what_is_inside(run: Run, saved: Path):
    code, out, _ = run("info", saved)
    assert code == 0
    for part in ("Ada Löwe", "tiny", "photo", "age 0.5", "landmarks_px 1.5", "32x32", "0.80", "Look straight"):
        assert part in out, part
    code, out, _ = run("info", saved, "--json")
    document = json.loads(out)
    assert code == 0 and document["head_model"] == "tiny" and document["maps"]["skin_albedo"] == "32x32"
    assert 150 < document["size_mm"]["height"] < 300


@pytest.mark.parametrize("command", ["info", "render", "export"])
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not really", b"\x80\x04N."])
def test_bad_saved_heads_are_sentences(run: Run, tmp_path: Path, command: str, content: bytes | None):
    path = tmp_path / "bad.likeness"
    if content is not None:
        path.write_bytes(content)
    out_option = {"info": (), "render": ("--out", "o"), "export": ("--out", "o.glb")}[command]
    code, out, err = run(command, path, *out_option)
    assert code == 1 and not out and "bad.likeness" in err and "Traceback" not in err
    code, out, _ = run(command, path, *out_option, "--json")
    assert code == 1 and "bad.likeness" in json.loads(out)["error"]


def test_head_of_another_model_is_a_sentence(run: Run, tmp_path: Path):
    save_avatar(replace(make_avatar(tiny_head()), head_model="flame"), tmp_path / "flame.likeness")
    code, _, err = run("info", "flame.likeness")
    assert code == 1 and "'flame'" in err and "'tiny'" in err and "Traceback" not in err
