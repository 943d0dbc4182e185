"""The page without a browser: the protocol on both sides, the handlers, what is kept of visitors, the arrangement."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

import core.detail
from app import handlers, making, protocol, sessions, work
from app.files import Files
from app.handlers import Handlers, Line, PageUpdate
from app.making import CameraFound, Made, Maker, Order, Person, Step, Wish
from app.protocol import LoadHead
from app.work import Work
from core.errors import FileError, LikenessError, PhotoError

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "app/static"
CAMERA = CameraFound(900.0, 4.0, 3.0, [float(i) for i in range(16)])
POINTS = [1.0, 2.0, 3.0, 4.0]


def jpeg(width: int = 8, height: int = 6, colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64 * width, 64 * height), colour).save(out, "JPEG")
    return out.getvalue()


PHOTO = jpeg()


def person(wish: Wish) -> Person:
    """Somebody as old as their seed says, and as the wish has it."""
    values = {"age": float(wish.seed), "beard": 0.0, **wish.labels}
    return Person(f"somebody of {values['age']:g}", values, tuple(wish.labels), {"beard": "#fff, #000"})


def avatar(name: str = "ada", seed: int | None = None, findings: tuple[Any, ...] | None = None) -> Any:
    if findings is None:
        findings = (
            SimpleNamespace(code="turned", severity="warning", sentence="The face is turned.", advice="Look ahead."),
            SimpleNamespace(code="grey", severity="info", sentence="The photo is black and white.", advice=""),
        )
    quality = SimpleNamespace(summary="A usable photo.", confidence=0.634, findings=findings)
    return SimpleNamespace(name=name, amounts={}, quality=quality, provenance=SimpleNamespace(seed=seed))


def glb(shown: Any) -> bytes:
    """Says whose head it is, how it is shaped and whether it has its detail."""
    return f"glTF {shown.name} {dict(shown.amounts)}{' detailed' if hasattr(shown, 'detailed') else ''}".encode()


def two_stages(order: Order) -> Iterator[Step | Made | None]:
    """A core that finds a face in every photo, and names the head after it."""
    found = avatar(" ".join(Path(source.name).stem for source in (order.front, *order.sides)))
    yield Step("read", 0.0)
    yield Step("landmarks", 0.2, {"read": 0.1, "detect": 0.2}, 0, (512, 384), POINTS)
    yield None
    yield Step("refine", 0.4, {"read": 0.1, "detect": 0.2, "fit": 0.3}, glb=b"glTF first", camera=CAMERA)
    yield Made(found, glb(found), CAMERA, (512, 384), {"read": 0.1, "detect": 0.2, "fit": 0.3, "total": 0.7})


def failing(error: BaseException) -> Callable[[Order], Iterator[Step | Made | None]]:
    """A core that fails when the first head is on show already."""

    def reconstruct(order: Order) -> Iterator[Step | Made | None]:
        yield Step("landmarks", 0.2, {"read": 0.1}, 0, (512, 384), POINTS)
        yield Step("refine", 0.4, {"read": 0.1}, glb=b"glTF first", camera=CAMERA)
        raise error

    return reconstruct


@dataclasses.dataclass(frozen=True)
class Words:
    """A core's edit in words: the head's name says them, in the order of the alphabet."""

    avatar: Any

    def preview(self, edit: Any) -> Any:
        return self._edited("coarse", edit)

    def apply(self, edit: Any, progress: Any = None) -> Any:
        for text, strength in edit.clauses:
            if not -1 <= strength <= 1.5:
                raise LikenessError(f"The strength of a change is {strength:g}. Give a number from -1 to 1.5.")
            if text == "bug":
                raise ValueError(f"nobody may read {text}")
        if edit.method == "optimisation":
            for fraction in (0.25, 0.75):
                progress(self._edited(f"search {fraction}", edit).avatar, fraction)
        return self._edited("", edit)

    def _edited(self, kind: str, edit: Any) -> Any:
        clauses = [f"{text} {strength:g}" for text, strength in sorted(edit.clauses) if strength]
        if not clauses:
            return SimpleNamespace(avatar=self.avatar, moved=())
        name = " ".join(filter(None, [self.avatar.name, kind, *clauses, edit.model.removeprefix("bundled")]))
        moved = (
            SimpleNamespace(name="age_years", title="age", amount=25.6),
            SimpleNamespace(name="mouthSmile", title="mouth smile", amount=-0.55),
        )
        return SimpleNamespace(avatar=SimpleNamespace(**{**vars(self.avatar), "name": name}), moved=moved)


def read_prompt(text: str, model: str) -> Any:
    """Clauses stand between commas; those of Pokemon are not understood."""
    if not text.strip():
        problem = "Nothing was typed. Say what is to change."
        return SimpleNamespace(clauses=(), unknown=(), notes=(), problem=problem)
    parts = [part.strip() for part in text.split(",")]
    unknown = [SimpleNamespace(text=p, sentence=f"I don't know {p}.", suggestion="older") for p in parts if "chu" in p]
    clauses = [SimpleNamespace(text=part) for part in parts if "chu" not in part]
    notes = tuple(f"There is no {text} for older people." for text in parts if text == "childish")
    return SimpleNamespace(clauses=tuple(clauses), unknown=tuple(unknown), notes=notes, problem=None)


def load_model(name: str) -> None:
    if name != "ViT:here":
        raise LikenessError(f"There are no weights of {name} here.")


def expression(before: Any, after: Any) -> dict[str, float]:
    return {"mouthSmileLeft": 0.5} if "smiling" in after.name else {}


def detailed(shown: Any, report: making.Report) -> Any:
    for index, stage in enumerate(core.detail.STAGES):
        report(stage, index / 3)
        report(stage, (index + 0.5) / 3)
    return SimpleNamespace(**{**vars(shown), "detailed": True})


def maker(reconstruct: Any = two_stages) -> Maker:
    def reshape(shown: Any, amounts: Any) -> Any:
        if "horns" in amounts:
            raise LikenessError("There is no attribute 'horns'.")
        return SimpleNamespace(**{**vars(shown), "amounts": dict(amounts)})

    def generate(wish: Wish) -> Any:
        told = "".join(f" {name} {value:g}" for name, value in wish.labels.items())
        if wish.truncation != making.TRUNCATION:
            told += f" truncation {wish.truncation:g}"
        return avatar(f"random {wish.seed}{told}", wish.seed, ())

    def labels(values: Mapping[str, float]) -> dict[str, float]:
        if "horns" in values:
            raise LikenessError("There is no trait or label 'horns'.")
        return dict(values)

    def faces(wishes: Sequence[Wish]) -> list[bytes]:
        return [generate(wish).name.encode() for wish in wishes]

    return Maker(
        reconstruct=reconstruct,
        detail=detailed,
        reshape=cast(Any, reshape),
        glb=glb,
        generate=generate,
        person=person,
        faces=faces,
        labels=labels,
        read_prompt=read_prompt,
        editor=cast(Any, Words),
        load_model=load_model,
        expression=expression,
    )


class Page:
    """Handlers with a fake core, and what a browser would have of them. detail: what makes a head's, None: nothing."""

    def __init__(self, folder: Path, reconstruct: Any = two_stages, detail: Any = None) -> None:
        self.files = Files(folder / "virtual")
        self.sessions = sessions.Sessions(self.files)
        self.work = Work()
        made = dataclasses.replace(maker(reconstruct), detail=detail or detailed)
        self.handlers = Handlers(lambda: made, self.sessions, str, self.work, detail=detail is not None)

    def upload(self, data: bytes = PHOTO, name: str = "ada.jpg") -> Path:
        return self.files.take_in(name, data)

    def photo(self, session: str = "visitor", name: str = "ada.jpg", data: bytes = PHOTO) -> list[PageUpdate]:
        return list(self.handlers.from_photo(self.upload(data, name), session))

    def read(self, load: protocol.LoadHead) -> bytes:
        stored = self.files.read(load.url)
        assert stored is not None
        return stored.data

    def file(self, update: PageUpdate) -> bytes:
        """What the API hands out."""
        stored = update.file and self.files.read(update.file)
        assert stored
        return stored.data


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def messages(updates: list[PageUpdate], kind: type[Any]) -> list[Any]:
    return [message for update in updates for message in update.messages if isinstance(message, kind)]


def loads(updates: list[PageUpdate]) -> list[protocol.LoadHead]:
    return messages(updates, protocol.LoadHead)


# -- Protocol ---------------------------------------------------------------------------------------


def node(script: str, *arguments: str) -> Any:
    executable = shutil.which("node")
    if executable is None:
        pytest.skip("node is not installed")
    script = f'import * as protocol from "{(STATIC / "protocol.js").as_uri()}";\n{script}'
    command = [executable, "--input-type=module", "--eval", script, "--", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def examples() -> Iterator[protocol.Message]:
    values = {
        "str": "text",
        "str | None": None,
        "float": 0.5,
        "float | None": None,
        "bool": True,
        "list[str]": ["jawOpen"],
        "list[float]": [0.5],
        "dict[str, float]": {"jawOpen": 0.5},
        "dict[str, str]": {"skin_tone": "#fff, #000"},
    }
    for message in protocol.MESSAGES:
        yield message(**{field.name: values[str(field.type)] for field in dataclasses.fields(message)})


def test_both_sides_state_the_same_messages() -> None:
    browser = node("console.log(JSON.stringify({table: protocol.MESSAGES, version: protocol.PROTOCOL_VERSION}))")
    advice = "app/protocol.py and app/static/protocol.js differ: state the message in both"
    assert browser["table"] == protocol.schema(), advice
    assert browser["version"] == protocol.PROTOCOL_VERSION, advice


def test_every_message_class_is_listed() -> None:
    assert set(protocol.MESSAGES) == set(protocol.Message.__subclasses__())


def test_the_browser_accepts_what_python_writes_and_nothing_else() -> None:
    good = [(message.wire(), message.receiver) for message in examples()]
    bad = []
    for wire, receiver in good:
        bad.append((wire, {"viewer": "page", "page": "viewer"}[receiver]))
        bad.append(({**wire, "extra": 1}, receiver))
        bad += [({**wire, name: [None]}, receiver) for name in wire]
        bad += [({k: v for k, v in wire.items() if k != name}, receiver) for name in wire]
    # Names that every JavaScript object inherits are not messages.
    bad += [({"type": "constructor"}, "viewer"), ({"type": "__proto__"}, "viewer"), (None, "viewer"), ([], "page")]
    accepted = node(
        """
        const verdicts = JSON.parse(process.argv[1]).map(([message, receiver]) => {
          try { return protocol.checkMessage(message, receiver) === message; } catch (error) {
            if (!(error instanceof TypeError)) throw error;
            return false;
          }
        });
        console.log(JSON.stringify(verdicts));
        """,
        json.dumps(good + bad),
    )
    assert accepted == [True] * len(good) + [False] * len(bad)


def test_the_viewer_and_the_page_act_on_every_message() -> None:
    viewer, page = (STATIC / "main.js").read_text("utf-8"), (STATIC / "page.js").read_text("utf-8")
    for message in protocol.MESSAGES:
        source = viewer if message.receiver == "viewer" else page
        assert re.search(rf"^ +{message.type_name()}: ", source, re.MULTILINE), message


def test_the_import_map_leads_to_files_that_set_up_has_copied() -> None:
    if not (STATIC / "vendor/three").is_dir():
        pytest.skip("three.js is not set up: npm ci && npm run vendor")
    html = (STATIC / "index.html").read_text("utf-8")
    found = re.search(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    imports = json.loads(found[1])["imports"]
    assert (STATIC / imports["three"]).is_file()
    for module in re.findall(r'from "three/addons/(.+?)"', (STATIC / "viewer.js").read_text("utf-8")):
        assert (STATIC / imports["three/addons/"] / module).is_file(), module


# -- Handlers ---------------------------------------------------------------------------------------


def test_a_photo_shows_its_landmarks_a_first_head_and_the_final_one(page: Page) -> None:
    upload = page.upload()
    contents, updates = [], []
    for update in page.handlers.from_photo(upload, "visitor"):
        updates.append(update)
        contents += [page.read(load) for load in loads([update])]
    assert contents == [b"glTF first", b"glTF ada {}"]
    assert [(load.final, load.original, load.file_name) for load in loads(updates)] == [
        (False, True, "first.glb"),
        (True, True, "ada.glb"),
    ]
    # The first head cannot be saved; the final one can, and the progress bar goes.
    assert [update.can_save for update in updates if loads([update])] == [False, True]
    assert updates[-1].messages[-1] == protocol.ShowProgress(None, 1.0)
    fractions = [message.fraction for message in messages(updates, protocol.ShowProgress)]
    assert fractions == sorted(fractions)
    # The photo comes with its landmarks, then with its camera, then without covering the head.
    photos = messages(updates, protocol.SetPhoto)
    assert [(photo.reading, photo.points_px, photo.transform) for photo in photos] == [
        (True, POINTS, []),
        (False, POINTS, CAMERA.transform),
        (False, POINTS, CAMERA.transform),
    ]
    assert {(photo.width_px, photo.height_px) for photo in photos} == {(512, 384)}
    (url,) = {photo.url for photo in photos}
    stored = page.files.read(url)
    assert stored is not None and stored.media_type == "image/jpeg"
    with Image.open(io.BytesIO(stored.data)) as shown:
        assert shown.size == (512, 384)


def test_stages_are_listed_as_they_finish(page: Page) -> None:
    updates = page.photo()
    lists = [[(row.text, row.seconds) for row in update.stages] for update in updates if update.stages]
    assert lists[0] == [("Reading the photo", None)]
    assert lists[1] == [("Photo read", 0.1), ("Face found", 0.2), ("Finding eyes, nose and mouth", None)]
    assert lists[-1] == [("Photo read", 0.1), ("Face found", 0.2), ("Shape", 0.3)]
    assert updates[-1].total_s == 0.7
    assert [update.busy for update in updates if update.busy is not None][-2:] == [True, False]


def test_the_quality_report_is_words_in_the_order_given(page: Page) -> None:
    last = page.photo()[-1]
    assert last.lines == (
        Line("done", "A usable photo. Confidence 63 %."),
        Line("warning", "The face is turned. Look ahead."),
        Line("info", "The photo is black and white."),
    )
    assert last.report is not None
    assert (last.report["name"], last.report["confidence"], last.report["seconds"]["fit"]) == ("ada", 0.634, 0.3)
    json.dumps(last.report)


@pytest.mark.parametrize("before", ["nothing", "random", "photo"])
def test_a_failure_brings_back_what_was_there(tmp_path: Path, before: str) -> None:
    sentence = "The light could not be found. Choose another photo."
    page = Page(tmp_path)
    shown = {"random": lambda: list(page.handlers.random_head("visitor", 1, {"age": 1.0})), "photo": page.photo}
    earlier = shown[before]() if before in shown else []
    held = page.files.size_bytes("visitor")
    page.handlers._maker = lambda: maker(failing(PhotoError(sentence)))
    upload = page.upload(name="bad.jpg")
    updates = list(page.handlers.from_photo(upload, "visitor"))
    last = updates[-1]
    assert last.lines == (Line("problem", sentence),)
    assert last.problem == sentence
    assert last.busy is False
    assert messages([last], protocol.DropFirst) == [protocol.DropFirst()]
    assert not any(load.final for load in loads(updates))
    expected = messages(earlier, protocol.SetPhoto)[-1] if before != "nothing" else sessions.NO_PHOTO
    assert messages([last], protocol.SetPhoto) == [expected]
    assert messages([last], protocol.ShowProgress) == [protocol.ShowProgress(None, 0.0)]
    if earlier:
        assert last.can_save
        assert last.shape == earlier[-1].shape
        assert page.read(loads(earlier)[-1])
    # All that is left of the attempt is its upload, which the page previews, and its first head instead of another.
    first = 0 if before == "photo" else len(b"glTF first")
    assert page.files.size_bytes("visitor") == held + len(PHOTO) + first


def test_a_bug_is_logged_and_its_words_stay_on_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = Page(tmp_path, failing(ValueError("secret detail")))
    last = page.photo()[-1]
    assert last.problem is not None
    assert "secret" not in last.problem
    assert "Traceback" not in last.problem
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/hostname", "virtual/x/y.jpg", ""])
def test_a_path_that_was_not_uploaded_is_a_sentence(tmp_path: Path, path: str) -> None:
    page = Page(tmp_path, lambda order: pytest.fail("read"))
    updates = list(page.handlers.from_photo(tmp_path / path, "visitor"))
    assert [bool(update.problem) for update in updates] == [True]


def test_a_visitor_cannot_use_the_upload_of_another(page: Page) -> None:
    upload = page.upload()
    list(page.handlers.from_photo(upload, "ada"))
    (last,) = page.handlers.from_photo(upload, "bob")
    assert last.problem is not None
    assert loads([last]) == []


def test_taking_the_photo_away_deletes_it_and_keeps_the_head(page: Page) -> None:
    updates = page.photo()
    (url,) = {message.url for message in messages(updates, protocol.SetPhoto)}
    upload = page.sessions.known("visitor").photos["front"].path
    assert page.files.read(upload) and page.files.read(url)
    (last,) = page.handlers.from_photo(None, "visitor")
    assert last.messages == (sessions.NO_PHOTO,)
    assert last.shape is not None and not last.shape.photo
    assert page.files.read(upload) is None
    assert page.files.read(url) is None
    # It can still be shaped, and comes back without its photo.
    *_, shaped = page.handlers.reshape("visitor", {"age": 1.0})
    assert page.read(loads([shaped])[0]) == b"glTF ada {'age': 1.0}"
    assert messages([shaped], protocol.SetPhoto) == [sessions.NO_PHOTO]


def test_a_new_photo_takes_the_place_of_the_old_one(page: Page) -> None:
    page.photo()
    old = page.sessions.known("visitor")
    before = page.files.size_bytes("visitor")
    paths = [old.photos["front"].path, old.photo_head.picture if old.photo_head else None]
    page.photo(name="bob.jpg")
    assert [page.files.read(path) for path in paths if path] == [None, None]
    assert page.sessions.known("visitor").photos["front"].name == "bob.jpg"
    assert page.files.size_bytes("visitor") == before


def several_faces(order: Order) -> Iterator[Step | Made | None]:
    """A core that finds two faces and says in the name which was meant."""
    finding = SimpleNamespace(code="several-faces", severity="info", sentence="2 faces were found.", advice="Click.")
    found = avatar(f"{Path(order.front.name).stem} {order.point_px}", findings=(finding,))
    yield Step("landmarks", 0.2, {}, 0, (512, 384), POINTS)
    yield Made(found, glb(found), CAMERA, (512, 384))


def test_another_face_is_chosen_by_a_click_until_the_photo_goes(tmp_path: Path) -> None:
    page = Page(tmp_path, several_faces)

    def choose(session: str = "visitor") -> list[bytes]:
        return [page.read(load) for load in loads(list(page.handlers.choose_face((3, 4), session)))]

    assert choose() == []
    assert page.read(loads(page.photo())[0]) == b"glTF ada None {}"
    assert choose() == choose() == [b"glTF ada (3.0, 4.0) {}"]
    assert choose("somebody else") == []
    page.photo(name="bob.jpg")
    assert choose() == [b"glTF bob (3.0, 4.0) {}"]
    list(page.handlers.from_photo(None, "visitor"))
    assert choose() == []


def test_a_click_on_a_photo_of_one_face_does_nothing(page: Page) -> None:
    page.photo()
    assert list(page.handlers.choose_face((3, 4), "visitor")) == []


def test_side_views_go_with_the_photo_from_the_front(page: Page) -> None:
    def side(which: str, name: str | None) -> list[PageUpdate]:
        return list(page.handlers.side_photo(which, name and page.upload(name=f"{name}.jpg"), "visitor"))

    def combine() -> bytes | str:
        *_, last = page.handlers.combine("visitor")
        return page.read(loads([last])[0]) if last.problem is None else last.problem

    assert side("left", "left") == []
    assert "front" in combine()
    page.photo()
    # A new photo from the front begins anew.
    assert "No side view" in combine()
    assert side("left", "left") == side("right", "right") == []
    assert combine() == combine() == b"glTF ada left right {}"
    assert side("left", None) == []
    assert combine() == b"glTF ada right {}"
    held = page.files.size_bytes("visitor")
    # As often as one likes: nothing that is needed is pushed out by what replaced it.
    for i in range(6):
        side("left", f"left{i}")
        side("right", f"right{i}")
        assert combine() == f"glTF ada left{i} right{i} {{}}".encode()
    assert page.files.size_bytes("visitor") < held + 2 * len(PHOTO)
    page.photo(name="bob.jpg")
    assert set(page.sessions.known("visitor").photos) == {"front"}


def test_a_side_view_that_did_not_come_by_upload_is_a_sentence(page: Page, tmp_path: Path) -> None:
    page.photo()
    (last,) = page.handlers.side_photo("left", tmp_path / "left.jpg", "visitor")
    assert last.problem is not None and last.lines is not None
    assert "No side view" in str(list(page.handlers.combine("visitor"))[-1].problem)


def test_a_large_photo_is_kept_small_and_is_still_the_same_photo(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "KEPT_BYTES", 10)
    monkeypatch.setattr(making, "KEPT_SIDE_PX", 64)
    page.photo()
    photo = page.sessions.known("visitor").photos["front"]
    stored = page.files.read(photo.path)
    assert stored is not None and len(stored.data) < len(PHOTO)
    with Image.open(io.BytesIO(stored.data)) as kept:
        assert kept.size == (64, 48)
    assert photo.scale == pytest.approx(64 / 512)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_photo_keeps_its_focal_length_and_stands_upright(
    monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    photo = pytest.importorskip("core.photo")
    monkeypatch.setattr(making, "KEPT_BYTES", 10)
    monkeypatch.setattr(making, "KEPT_SIDE_PX", 256)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA405] = 28
    out = io.BytesIO()
    Image.new("RGB", (512, 384), "red").save(out, "JPEG", exif=exif)
    before = photo.load_photo(out.getvalue())
    data, scale = making.kept(making.Source("ada.jpg", out.getvalue()))
    after = photo.load_photo(data)
    assert (after.width, after.height) == (before.width // 2, before.height // 2)
    assert scale == 0.5
    assert after.focal_px == pytest.approx(before.focal_px / 2, rel=0.02)


@pytest.mark.parametrize(("side", "scale"), [(100, 1.0), (8192, 0.5)])
def test_a_click_is_a_point_of_the_photo_as_the_core_sees_it(
    monkeypatch: pytest.MonkeyPatch, side: int, scale: float
) -> None:
    pipeline = pytest.importorskip("core.pipeline")
    seen = {}

    def reconstruct(photo: Any, progress: Any, face_point_px: Any) -> Any:
        seen.update(at=face_point_px, name=photo.name, data=photo.read())
        raise PhotoError("Enough.")

    monkeypatch.setattr(pipeline, "reconstruct", reconstruct)
    out = io.BytesIO()
    Image.new("L", (side, 8)).save(out, "PNG")
    with pytest.raises(PhotoError, match="Enough"):
        list(making.reconstruct(Order(making.Source("ada.png", out.getvalue()), (), (80.0, 6.0))))
    assert seen == {"at": (80 * scale, 6 * scale), "name": "ada.png", "data": out.getvalue()}


def test_closing_a_reconstruction_ends_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pytest.importorskip("core.pipeline")
    ended = threading.Event()

    def reconstruct(photo: Any, progress: Any, face_point_px: Any) -> Any:
        try:
            while True:
                progress(pipeline.Stage("read", 0.0))
        finally:
            ended.set()

    monkeypatch.setattr(pipeline, "reconstruct", reconstruct)
    events = making.reconstruct(Order(making.Source("ada.jpg", PHOTO)))
    assert isinstance(next(events), Step)
    events.close()
    assert ended.is_set()


def test_every_stage_of_the_core_has_words_and_no_other() -> None:
    said = set(re.findall(r'steps\.begin\(\s*"(\w+)"', (ROOT / "core/pipeline.py").read_text("utf-8")))
    own = set(re.findall(r'Step\(\s*"(\w+)"', (ROOT / "app/making.py").read_text("utf-8")))
    assert said and own == {"export"}
    assert said | own == set(handlers.STAGES)
    assert tuple(handlers.DETAIL_STAGES) == (*core.detail.STAGES, "repack")


def test_a_random_head_is_named_by_its_seed_and_shaped_by_its_attributes(page: Page) -> None:
    *_, last = page.handlers.random_head("visitor", 42, {"age": 0.0, "weight": -1.5})
    (load,) = loads([last])
    assert page.read(load) == b"glTF random 42 {'weight': -1.5}"
    assert (load.file_name, load.final, load.original) == ("head-42.glb", True, True)
    assert last.lines is not None and "42" in last.lines[0].text
    assert last.report is not None and (last.report["seed"], last.report["attributes"]) == (42, {"weight": -1.5})
    # It has no photo.
    assert messages([last], protocol.SetPhoto) == [sessions.NO_PHOTO]


def told(updates: list[PageUpdate]) -> protocol.SetPerson:
    """What the page was told last of who is on show."""
    return messages(updates, protocol.SetPerson)[-1]


def test_what_is_fixed_of_a_person_stays_until_it_is_given_up(page: Page) -> None:
    go = page.handlers

    def step(updates: Iterator[PageUpdate]) -> tuple[bytes, list[str], bool]:
        *_, last = updates
        assert last.problem is None, last.problem
        (load,) = loads([last])
        return page.read(load), told([last]).fixed, load.original

    assert step(go.random_head("visitor", 5, {})) == (b"glTF random 5 {}", [], True)
    assert step(go.random_head("visitor", 5, {}, {"age": 70.0}, 0.5)) == (
        b"glTF random 5 age 70 truncation 0.5 {}",
        ["age"],
        # The same person changed: the viewer compares it with the one before.
        False,
    )
    # Another number, from the button: all that is fixed stays, and so does the shape.
    assert step(go.random_head("visitor", 6, {"weight": 1.0})) == (
        b"glTF random 6 age 70 truncation 0.5 {'weight': 1.0}",
        ["age"],
        True,
    )
    # Undo and redo lead through both.
    assert step(go.undo("visitor")) == (b"glTF random 5 age 70 truncation 0.5 {}", ["age"], True)
    assert step(go.undo("visitor")) == (b"glTF random 5 {}", [], True)
    assert step(go.redo("visitor"))[:2] == (b"glTF random 5 age 70 truncation 0.5 {}", ["age"])
    # Reset head is for words and shape; a person is as drawn with nothing fixed.
    step(go.reshape("visitor", {"weight": 1.0}))
    assert step(go.restore("visitor"))[:2] == (b"glTF random 5 age 70 truncation 0.5 {}", ["age"])
    assert step(go.random_head("visitor", 5, {}, {}, making.TRUNCATION)) == (b"glTF random 5 {}", [], True)


def test_the_page_is_told_who_is_on_show(page: Page) -> None:
    updates = list(page.handlers.random_head("visitor", 30, {}, {"beard": 0.25}))
    assert told(updates) == protocol.SetPerson(
        30, {"age": 30.0, "beard": 0.25}, ["beard"], making.TRUNCATION, {"beard": "#fff, #000"}
    )
    last = updates[-1]
    assert last.lines == (Line("done", "Random head number 30: somebody of 30. This person does not exist."),)
    assert last.report is not None
    assert last.report["person"] == "somebody of 30"
    assert (last.report["labels"], last.report["truncation"]) == ({"beard": 0.25}, making.TRUNCATION)
    json.dumps(last.report)
    # Progress is shown at once, and goes.
    progress = messages(updates, protocol.ShowProgress)
    assert progress[0].text == "Drawing random head number 30 …" and progress[-1].text is None
    # What is only reshaped is there at once.
    *waiting, ended = messages(list(page.handlers.reshape("visitor", {"age": 1.0})), protocol.ShowProgress)
    assert ended.text is None and all("in line" in str(message.text) for message in waiting)
    # A photo's head is nobody's seed, and what was fixed is forgotten with the random head.
    assert told(page.photo()).seed is None
    *_, last = page.handlers.random_head("visitor", 31, {})
    assert told([last]).fixed == []


def test_a_wish_that_cannot_be_fulfilled_is_a_sentence_and_the_sliders_return(page: Page) -> None:
    before = told(list(page.handlers.random_head("visitor", 30, {}, {"beard": 0.25})))
    *_, last = page.handlers.random_head("visitor", 30, {}, {"horns": 1.0})
    assert last.problem == "There is no trait or label 'horns'."
    assert told([last]) == before
    assert page.sessions.known("visitor").edit.wish == Wish(30, {"beard": 0.25})


def test_faces_are_drawn_as_the_heads_would_be_and_nothing_is_kept(page: Page) -> None:
    list(page.handlers.random_head("visitor", 30, {}))
    held = page.files.size_bytes("visitor")
    *_, last = page.handlers.faces("visitor", [3, 1, 2], {"beard": 0.5}, 0.25)
    (message,) = last.messages
    assert isinstance(message, protocol.SetFaces)
    assert message.seeds == [3, 1, 2]
    assert message.texts == [f"somebody of {seed}" for seed in (3, 1, 2)]
    pictures = [base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")) for uri in message.pictures]
    assert pictures == [f"random {seed} beard 0.5 truncation 0.25".encode() for seed in (3, 1, 2)]
    assert last.faces is not None and [face.picture for face in last.faces] == pictures
    assert page.files.size_bytes("visitor") == held
    # The head on show is as it was, status and buttons too.
    assert (last.lines, last.busy, last.can_save, last.shape, last.file) == (None,) * 5
    assert page.sessions.known("visitor").edit == sessions.Edit(Wish(30))


@pytest.mark.parametrize(
    ("seeds", "fixed", "problem"),
    [
        ([], {}, "0 faces were asked for. Ask for 1 to 9 at a time."),
        (range(10), {}, "10 faces were asked for. Ask for 1 to 9 at a time."),
        ([1], {"horns": 1.0}, "There is no trait or label 'horns'."),
    ],
)
def test_faces_that_cannot_be_drawn_are_a_sentence(
    page: Page, seeds: Sequence[int], fixed: dict[str, float], problem: str
) -> None:
    *_, last = page.handlers.faces("visitor", seeds, fixed)
    assert last.problem == problem and last.lines == (Line("problem", problem),)
    # The page waits no longer; no head's progress is touched.
    assert last.messages == (protocol.SetFaces([], [], []),)


def test_faces_and_heads_do_not_take_each_others_place(page: Page) -> None:
    head = page.handlers.random_head("visitor", 3, {})
    older, newer = (page.handlers.faces("visitor", [seed], {}) for seed in (1, 2))
    next(head)
    next(older)
    assert messages(list(newer), protocol.SetFaces)[0].seeds == [2]
    assert loads(list(head))
    # Newer faces do take the place of older ones, which says nothing on the page.
    assert all(not update.messages and update.lines is None for update in older)


def test_the_history_leads_back_and_forth_through_shapes_and_heads(page: Page) -> None:
    def step(action: Any, *arguments: Any) -> tuple[bytes, bool, tuple[bool, bool, bool]]:
        *_, last = action("visitor", *arguments)
        assert last.problem is None, last.problem
        shape = last.shape
        assert shape is not None
        (load,) = loads([last])
        # The sliders show what the head is made of.
        assert page.read(load).endswith(f"{dict(shape.amounts)}".encode())
        return page.read(load), load.original, (shape.undo, shape.redo, shape.restore)

    go = page.handlers
    page.photo()
    assert step(go.reshape, {"age": 1.0, "weight": 0.0}) == (b"glTF ada {'age': 1.0}", False, (True, False, True))
    assert step(go.reshape, {"age": 2.0}) == (b"glTF ada {'age': 2.0}", False, (True, False, True))
    assert step(go.undo) == (b"glTF ada {'age': 1.0}", False, (True, True, True))
    assert step(go.undo) == (b"glTF ada {}", True, (False, True, False))
    assert step(go.redo) == (b"glTF ada {'age': 1.0}", False, (True, True, True))
    assert step(go.restore) == (b"glTF ada {}", True, (True, False, False))
    assert step(go.random_head, 5, {}) == (b"glTF random 5 {}", True, (True, False, False))
    assert step(go.random_head, 6, {"age": 1.0}) == (b"glTF random 6 {'age': 1.0}", True, (True, False, True))
    assert step(go.undo)[0] == b"glTF random 5 {}"
    # Back at the photo's head, with its photo.
    *_, last = go.undo("visitor")
    assert page.read(loads([last])[0]) == b"glTF ada {}"
    (photo,) = messages([last], protocol.SetPhoto)
    assert photo.transform == CAMERA.transform and page.files.read(photo.url)
    (nothing,) = [update for update in go.redo("visitor") if update.problem] or [None]
    assert nothing is None


def test_of_the_heads_that_were_shown_few_are_held(page: Page) -> None:
    """The one on show, the one before it, and the original that the viewer compares with."""
    page.photo()
    shown = [load for i in range(1, 9) for load in loads(list(page.handlers.reshape("visitor", {"age": float(i)})))]
    held = [page.files.read(load.url) is not None for load in shown]
    assert held == [False] * 6 + [True] * 2
    original = [load for load in loads(page.photo(name="bob.jpg")) if load.final]
    for i in range(1, 5):
        list(page.handlers.reshape("visitor", {"age": float(i)}))
    assert page.read(original[0]) == b"glTF bob {}"


# -- Words ------------------------------------------------------------------------------------------


def words(*clauses: tuple[str, float], locks: Sequence[str] = (), method: str = "mixed", model: str = "bundled") -> Any:
    return making.text_edit(clauses, 0.5, locks, method, model)


class Editing:
    """A page with a photo's head on it that is changed by words, and what came of the last wish."""

    def __init__(self, page: Page) -> None:
        self.page, self.updates = page, page.photo()

    def do(self, updates: Iterator[PageUpdate]) -> bytes:
        """The file of the head that a wish leads to."""
        self.updates = list(updates)
        assert self.problem is None, self.problem
        return self.page.read(loads(self.updates)[-1])

    def edit(self, prompt: str | None, *clauses: tuple[str, float], **how: Any) -> bytes:
        return self.do(self.page.handlers.edit("visitor", prompt, words(*clauses, **how)))

    @property
    def problem(self) -> str | None:
        return self.updates[-1].problem

    @property
    def told(self) -> list[protocol.SetWords]:
        return messages(self.updates, protocol.SetWords)

    @property
    def chips(self) -> list[tuple[str, float]]:
        return list(zip(self.told[-1].clauses, self.told[-1].strengths, strict=True))


@pytest.fixture
def editing(page: Page) -> Editing:
    return Editing(page)


def test_typed_words_become_chips_at_once_then_a_coarse_head_then_the_head(editing: Editing) -> None:
    assert editing.edit("smiling, older") == b"glTF ada older 1 smiling 1 {}"
    order = [m for update in editing.updates for m in update.messages if isinstance(m, protocol.SetWords | LoadHead)]
    chips, coarse, first, fine, last = order
    assert isinstance(chips, protocol.SetWords) and (chips.clauses, chips.rest) == (["smiling", "older"], "")
    assert isinstance(first, LoadHead) and isinstance(last, LoadHead)
    assert (first.final, first.original, last.final, last.original) == (False, False, True, False)
    assert last.file_name == "ada.glb"
    # Both say how far the words have moved the expression, before the head comes and with it.
    for message, load in ((coarse, first), (fine, last)):
        assert message.expression == load.expression == {"mouthSmileLeft": 0.5}
    assert editing.told[-1].moved == ["age +26 years", "mouth smile \u22120.6"]
    # The coarse head cannot be saved, and what is typed next is nobody's answer.
    assert [update.can_save for update in editing.updates if loads([update])] == [False, True]
    assert editing.told[-1].rest is None
    report = editing.updates[-1].report
    assert report is not None
    assert report["clauses"] == [{"text": "smiling", "strength": 1.0}, {"text": "older", "strength": 1.0}]
    assert report["moved"][0] == {"name": "age_years", "title": "age", "amount": 25.6}
    assert report["remarks"] == []
    json.dumps(report)


def test_the_order_of_words_does_not_matter_and_without_them_the_head_is_as_it_was(editing: Editing) -> None:
    before = editing.page.read(loads(editing.updates)[-1])
    both = editing.edit(None, ("older", 0.5), ("smiling", -1.0))
    assert editing.edit(None, ("smiling", -1.0), ("older", 0.5)) == both == b"glTF ada older 0.5 smiling -1 {}"
    assert editing.edit(None, ("older", 0.5)) == b"glTF ada older 0.5 {}"
    # Nothing of it, and no words: the very same file. Only the second is what "before" shows.
    assert editing.edit(None, ("older", 0.0)) == before
    assert not loads(editing.updates)[-1].original
    assert editing.edit(None) == before
    assert loads(editing.updates)[-1].original and editing.chips == [] and editing.told[-1].moved == []


def test_typed_words_join_those_that_are_there_and_none_comes_twice(editing: Editing) -> None:
    assert editing.edit("Older, freckles", ("older", 0.25)) == b"glTF ada freckles 1 older 0.25 {}"
    assert editing.chips == [("older", 0.25), ("freckles", 1.0)]
    assert editing.told[0].unknown == ["\u201cOlder\u201d is there already. Its slider makes it stronger."]


def test_what_is_not_understood_is_named_and_changes_nothing(editing: Editing) -> None:
    assert editing.edit("older, pikachu") == b"glTF ada older 1 {}"
    first = editing.told[0]
    assert (first.rest, first.unknown, first.suggestions) == ("pikachu", ["I don't know pikachu."], ["older"])
    assert editing.updates[-1].report is not None and editing.updates[-1].report["remarks"] == first.unknown
    editing.updates = list(editing.page.handlers.edit("visitor", "pikachu, raichu", words(("older", 1.0))))
    assert editing.problem == "I don't know pikachu. I don't know raichu."
    assert not loads(editing.updates) and editing.told[-1].rest == "pikachu, raichu"
    # The chips are those of the head on show, whose list of what moved stays.
    assert editing.chips == [("older", 1.0)] and editing.told[-1].moved
    assert len(editing.page.sessions.known("visitor").history) == 2


@pytest.mark.parametrize(
    ("prompt", "edit", "problem"),
    [
        ("  ", {}, "Nothing was typed"),
        (", ".join(map(str, range(17))), {}, "at most 16"),
        (None, {"strength": 2.0}, "from -1 to 1.5"),
        (None, {"strength": float("nan")}, "from -1 to 1.5"),
        (None, {"model": "ViT-B-32:/etc/passwd"}, "Files are for the command line"),
        (None, {"model": "local-dir:assets"}, "Files are for the command line"),
        (None, {"model": "x" * 1000}, "as model:pretrained"),
    ],
)
def test_bad_words_are_a_sentence_and_the_head_stays(
    editing: Editing, prompt: str | None, edit: dict[str, Any], problem: str
) -> None:
    shown = editing.edit("older")
    held, history = editing.page.files.size_bytes("visitor"), editing.page.sessions.known("visitor").history
    strength = edit.pop("strength", 0.5)
    editing.updates = list(editing.page.handlers.edit("visitor", prompt, words(("smiling", strength), **edit)))
    assert problem in str(editing.problem)
    assert editing.updates[-1].lines == (Line("problem", str(editing.problem)),)
    # Chips and sliders return; a coarse head that was on show goes.
    assert editing.chips == [("older", 1.0)] and editing.told[-1].rest is None
    assert (messages(editing.updates, protocol.DropFirst) != []) == bool(loads(editing.updates))
    visitor = editing.page.sessions.known("visitor")
    assert visitor.history == history
    last = [head for head in visitor.published if head.final][-1]
    assert editing.page.read(LoadHead(str(last.path), "", True, False, {})) == shown
    assert editing.page.files.size_bytes("visitor") - held < 100


def test_words_before_there_is_a_head_are_a_sentence(page: Page) -> None:
    (last,) = page.handlers.edit("visitor", "older", words())
    assert last.problem == sessions.NO_HEAD and not last.messages[:-1]


def test_a_model_that_is_not_there_gives_way_to_the_bundled_one(editing: Editing) -> None:
    assert editing.edit("older", model="ViT:here") == b"glTF ada older 1 ViT:here {}"
    assert editing.edit("smiling", model="ViT:gone") == b"glTF ada smiling 1 {}"
    assert editing.told[-1].model == "bundled"
    (note,) = [line for line in editing.updates[-1].lines or () if line.text.startswith("There are no weights")]
    assert note == Line("warning", "There are no weights of ViT:gone here. The bundled model was used instead.")
    assert editing.updates[-1].report is not None and editing.updates[-1].report["remarks"] == [note.text]
    assert editing.page.sessions.known("visitor").edit.words == words(("smiling", 1.0))


def test_whoever_runs_the_server_may_choose_the_model(editing: Editing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_CLIP", "ViT:here")
    assert editing.edit("older") == b"glTF ada older 1 ViT:here {}"
    assert editing.told[-1].model == "ViT:here"
    # Which may be a file, that a visitor may not name.
    monkeypatch.setenv("LIKENESS_CLIP", "ViT:/models/here.pt")
    editing.edit("older", model="ViT:/models/here.pt")
    assert editing.updates[-1].problem is None
    (last,) = editing.page.handlers.edit("visitor", "older", words(model="ViT:/models/other.pt"))
    assert "Files are for the command line" in (last.problem or "")


def test_words_and_shape_are_steps_of_one_history(editing: Editing) -> None:
    go = editing.page.handlers
    editing.edit("older")
    assert editing.do(go.reshape("visitor", {"weight": 1.0})) == b"glTF ada older 1 {'weight': 1.0}"
    assert editing.edit("smiling", ("older", 1.0)) == b"glTF ada older 1 smiling 1 {'weight': 1.0}"
    assert editing.do(go.undo("visitor")) == b"glTF ada older 1 {'weight': 1.0}"
    assert editing.chips == [("older", 1.0)] and editing.told[-1].moved
    assert editing.do(go.restore("visitor")) == b"glTF ada {}"
    assert (editing.chips, loads(editing.updates)[-1].original) == ([], True)
    assert editing.updates[-1].shape is not None and not editing.updates[-1].shape.restore
    assert editing.do(go.undo("visitor")) == b"glTF ada older 1 {'weight': 1.0}"
    assert editing.updates[-1].shape is not None and editing.updates[-1].shape.restore
    # Words stay with their person: another begins without, the same one in other traits keeps them.
    assert editing.do(go.random_head("visitor", 5, {})) == b"glTF random 5 {}"
    assert editing.chips == []
    editing.edit("freckles")
    assert editing.do(go.random_head("visitor", 5, {}, {"age": 70.0})) == b"glTF random 5 age 70 freckles 1 {}"
    assert editing.do(go.random_head("visitor", 6, {})) == b"glTF random 6 age 70 {}"
    assert editing.do(go.undo("visitor")) == b"glTF random 5 age 70 freckles 1 {}"
    assert editing.chips == [("freckles", 1.0)]


def test_a_search_is_shown_on_its_way_and_can_be_cancelled(editing: Editing, monkeypatch: pytest.MonkeyPatch) -> None:
    assert editing.edit("older", method="optimisation") == b"glTF ada older 1 {}"
    drafts = [load for load in loads(editing.updates) if not load.final]
    assert len(drafts) == 3
    busy = [update for update in editing.updates if update.busy]
    assert [update.fraction for update in busy if update.fraction] == [0.25, 0.75]
    # However many heads are shown on the way, the page can return to the final one before.
    before, go_on = loads(editing.updates)[-1], threading.Event()

    def endless(self: Words, edit: Any, progress: Any) -> Any:
        while True:
            progress(self._edited("search", edit).avatar, 0.5)
            go_on.wait(60)

    monkeypatch.setattr(Words, "apply", endless)
    last = None
    for update in editing.page.handlers.edit("visitor", "smiling", words(method="optimisation")):
        # Once a draft is on show: what was never shown is not taken away either.
        if loads([update]) and not go_on.is_set():
            editing.page.handlers.cancel("visitor")
            go_on.set()
        last = update
    assert last is not None
    assert last.problem is not None and "previous head" in last.problem
    assert protocol.DropFirst() in last.messages and messages([last], protocol.SetWords)[-1].clauses == ["older"]
    assert editing.page.read(before) == b"glTF ada older 1 {}"


def test_what_people_type_is_in_no_log_and_no_file_name(editing: Editing, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    editing.edit("<b>secret</b>, ../../etc")
    assert {load.file_name for load in loads(editing.updates)} == {"preview.glb", "ada.glb"}
    editing.updates = list(editing.page.handlers.edit("visitor", "bug", words()))
    assert editing.problem is not None and "program" in editing.problem and "bug" not in editing.problem.split()
    # Where it happened is told, and what was typed is not.
    assert "A bug while changing the head by words: ValueError" in caplog.text and "in apply" in caplog.text
    assert not re.search(r"secret|etc|may read bug", caplog.text)


def test_what_applies_words_is_held_for_few_visitors_and_for_the_head_on_show(page: Page) -> None:
    names = [f"visitor {i}" for i in range(sessions.EDITORS + 2)]
    for name in names:
        page.photo(name)
        list(page.handlers.edit(name, "older", words()))
    held = [page.sessions.visitor(name).editor is not None for name in names]
    assert held == [False, False] + [True] * sessions.EDITORS
    # Once for a head, and gone with it.
    visitor = page.sessions.known(names[-1])
    editor = visitor.editor
    list(page.handlers.edit(names[-1], "smiling", words()))
    assert visitor.editor is editor is not None
    list(page.handlers.random_head(names[-1], 5, {}))
    assert visitor.editor is None


def test_the_greeting_heads_words_are_ready_for_everybody(page: Page) -> None:
    page.handlers.warm()
    for name in ("one", "other"):
        list(page.handlers.welcome(name))
        *_, last = page.handlers.edit(name, "older", words())
        assert page.read(loads([last])[-1]) == b"glTF random 7 older 1 {}"
        assert page.sessions.known(name).editor is None


def test_the_page_states_what_the_core_knows_of_words() -> None:
    edit = pytest.importorskip("editing.edit")
    latents = pytest.importorskip("editing.latents")
    prompts = pytest.importorskip("editing.prompts")
    browser = node(
        f"""
        const words = await import("{(STATIC / "words.js").as_uri()}");
        const {{ IDEAS, LOCKS, METHODS, STRENGTHS, SETTINGS, EXAMPLE }} = words;
        console.log(JSON.stringify({{ IDEAS, LOCKS, METHODS, STRENGTHS, SETTINGS, EXAMPLE }}));
        """
    )
    assert list(browser["METHODS"]) == list(edit.METHODS)
    assert set(browser["LOCKS"]) == set(latents.LOCKED)
    assert (browser["STRENGTHS"]["low"], browser["STRENGTHS"]["high"]) == edit.STRENGTHS
    usual = edit.TextEdit()
    assert browser["SETTINGS"] == {
        "keep_identity": usual.keep_identity,
        "locks": [],
        "method": usual.method,
        "model": usual.model,
    }
    assert handlers.NO_WORDS.keep_identity == usual.keep_identity and handlers.NO_WORDS.model == usual.model
    # Everything that the page proposes is understood, as one change.
    ideas = [text for texts in browser["IDEAS"].values() for text in texts]
    assert len(set(ideas)) == len(ideas) >= 12
    for text in (*ideas, *browser["EXAMPLE"].split(", ")):
        reading = prompts.read_prompt(text)
        assert (len(reading.clauses), reading.unknown, reading.problem) == (1, (), None), text
        assert reading.clauses[0].concepts, text


def test_the_ends_of_the_history_are_sentences(page: Page) -> None:
    page.photo()
    for action, word in ((page.handlers.undo, "undo"), (page.handlers.redo, "redo")):
        (last,) = action("visitor")
        assert last.problem == f"There is nothing to {word}."


def test_an_unknown_attribute_is_a_sentence_and_the_sliders_return(page: Page) -> None:
    page.photo()
    list(page.handlers.reshape("visitor", {"age": 1.0}))
    *_, last = page.handlers.reshape("visitor", {"horns": 1.0})
    assert last.problem == "There is no attribute 'horns'."
    assert last.shape is not None and last.shape.amounts == {"age": 1.0}


@pytest.mark.parametrize("action", ["undo", "redo", "restore", "reshape"])
def test_a_head_that_the_server_no_longer_has_is_a_sentence(page: Page, action: str) -> None:
    page.photo()
    page.handlers.leave("visitor")
    (last,) = getattr(page.handlers, action)("visitor", *([{}] if action == "reshape" else []))
    assert last.problem == sessions.GONE


def test_cancel_brings_back_the_previous_head_at_any_stage(tmp_path: Path) -> None:
    page = Page(tmp_path)
    (before,) = loads(list(page.handlers.random_head("visitor", 1, {})))
    for stage in range(3):
        reached, go_on = threading.Event(), threading.Event()

        def slow(order: Order, stage: int = stage, reached: Any = reached, go_on: Any = go_on) -> Iterator[Any]:
            for i, event in enumerate(two_stages(order)):
                if i == stage + 1:
                    reached.set()
                    go_on.wait(60)
                yield event

        page.handlers._maker = lambda slow=slow: maker(slow)
        thread = threading.Thread(
            target=lambda r=reached, g=go_on: (r.wait(60), page.handlers.cancel("visitor"), g.set())
        )
        thread.start()
        updates = page.photo()
        thread.join()
        assert updates[-1].lines == (Line("info", "Cancelled; your previous head is back."),)
        assert not any(load.final for load in loads(updates))
        first = bool(loads(updates))
        assert (protocol.DropFirst() in updates[-1].messages) == first
        assert page.read(before) == b"glTF random 1 {}"
        assert not page.handlers.cancel("visitor")


def test_what_is_newer_takes_the_place_of_what_is_older(tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.handlers._maker = lambda: maker(two_stages)
    older = page.handlers.from_photo(page.upload(), "visitor")
    # As far as its first head.
    for update in older:
        if loads([update]):
            break
    *_, newer = page.handlers.random_head("visitor", 3, {})
    assert page.read(loads([newer])[0]) == b"glTF random 3 {}"
    rest = list(older)
    assert loads(rest) == []
    assert all(update.lines is None for update in rest)


def test_the_welcome_head_is_made_once_for_everybody(page: Page) -> None:
    calls: list[int] = []
    made = maker()
    counting = dataclasses.replace(made, generate=lambda wish: calls.append(wish.seed) or made.generate(wish))
    page.handlers._maker = lambda: counting
    threads = [threading.Thread(target=lambda i=i: list(page.handlers.welcome(f"visitor {i}"))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page.handlers.warm()
    assert calls == [handlers.WELCOME.seed]
    for i in range(4):
        *_, last = page.handlers.reshape(f"visitor {i}", {"age": float(i + 1)})
        assert page.read(loads([last])[0]) == f"glTF random {handlers.WELCOME.seed} {{'age': {i + 1}.0}}".encode()
    assert calls == [handlers.WELCOME.seed]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Ada Lovelace", "Ada-Lovelace"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "head"),
        ("写真", "head"),
        ("a" * 99, "a" * 60),
    ],
)
def test_file_names_suit_every_system(tmp_path: Path, name: str, stem: str) -> None:
    def named(order: Order) -> Iterator[Step | Made | None]:
        yield Made(avatar(name), b"glTF", CAMERA, (8, 8))

    assert loads(Page(tmp_path, named).photo())[0].file_name == f"{stem}.glb"


# -- Detail -----------------------------------------------------------------------------------------

DETAIL_ROWS = ["Light taken out of the skin", "Relief", "Wrinkles of expressions", "Packed with its detail"]


class Held:
    """Detail that is made only when it is let go. It does not report meanwhile, as the core does not for a second or
    two. calls: names of the heads that it was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.started, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, shown: Any, report: making.Report) -> Any:
        self.calls.append(shown.name)
        if len(self.calls) > 1:
            return detailed(shown, report)
        report("reflectance", 0.0)
        self.started.set()
        try:
            assert self.go.wait(60)
            return detailed(shown, report)
        finally:
            self.ended.set()


def as_far_as_detail(updates: Iterator[PageUpdate]) -> list[PageUpdate]:
    """The updates up to the first that says that detail is at work."""
    seen = []
    for update in updates:
        seen.append(update)
        if any(row.text == handlers.DETAIL_STAGES["reflectance"][0] for row in update.stages):
            return seen
    raise AssertionError("detail was never at work")


def test_the_head_is_on_show_before_its_detail_is_made_and_then_the_same_with_it(tmp_path: Path) -> None:
    page = Page(tmp_path, detail=detailed)
    updates, contents = [], []
    for update in page.handlers.from_photo(page.upload(), "visitor"):
        updates.append(update)
        contents += [page.read(load) for load in loads([update])]
    assert contents == [b"glTF first", b"glTF ada {}", b"glTF ada {} detailed"]
    # It takes the place of the other: a new head of the same name, with nothing said of photo, person and sliders.
    plain, fine = loads(updates)[1:]
    assert (fine.final, fine.original, fine.file_name) == (True, True, "ada.glb") and fine.url != plain.url
    last = updates[-1]
    assert last.messages == (fine, protocol.ShowProgress(None, 1.0)) and last.shape is None and last.can_save
    first = next(i for i, update in enumerate(updates) if plain in update.messages)
    between = updates[first + 1 : -1]
    assert between and all(not loads([update]) and update.busy is not False for update in between)
    # What was said of the head stays to be read, and the bar begins anew.
    lines = updates[first].lines
    assert lines is not None and all(update.lines is None or update.lines[: len(lines)] == lines for update in between)
    fractions = [message.fraction for message in messages(between, protocol.ShowProgress) if message.beside]
    assert fractions == sorted(fractions) and 0 == fractions[0] < fractions[-1] < 1
    visitor = page.sessions.known("visitor")
    assert visitor.head is visitor.photo_head and visitor.head is not None and visitor.head.finished
    assert len(visitor.history) == 1 and page.work.idle()


def test_each_stage_of_the_detail_has_its_row_and_its_seconds(tmp_path: Path, ui: Any) -> None:
    page = Page(tmp_path, detail=detailed)
    updates = page.photo()
    rows = [[(row.text, row.seconds is None) for row in update.stages] for update in updates if update.stages]
    finished = [("Photo read", False), ("Face found", False), ("Shape", False)]
    start = rows.index([*finished, (handlers.DETAIL_STAGES["reflectance"][0], True)])
    for count, (name, (at_work, _)) in enumerate(handlers.DETAIL_STAGES.items()):
        expected = [*finished, *((text, False) for text in DETAIL_ROWS[:count]), (at_work, True)]
        assert expected in rows[start:], name
    last = updates[-1]
    assert [row.text for row in last.stages] == ["Photo read", "Face found", "Shape", *DETAIL_ROWS]
    seconds = [row.seconds or 0.0 for row in last.stages[3:]]
    assert last.total_s == 0.7 and last.detail_s == pytest.approx(sum(seconds))
    assert last.report is not None and last.report["detailed"] is True
    told = last.report["seconds"]
    assert told["detail"] == pytest.approx(sum(told[name] for name in handlers.DETAIL_STAGES), abs=0.003)
    assert (told["fit"], told["total"]) == (0.3, 0.7)
    html = ui.status_html(last)
    assert "<summary>Made in 0.7 s, detail in 0.0 s</summary>" in html
    assert all(text in html for text in DETAIL_ROWS)


def test_what_comes_later_is_made_of_the_detailed_head(tmp_path: Path) -> None:
    calls: list[str] = []
    page = Page(tmp_path, detail=lambda shown, report: calls.append(shown.name) or detailed(shown, report))
    page.photo()
    *_, shaped = page.handlers.reshape("visitor", {"age": 1.0})
    assert page.read(loads([shaped])[0]) == b"glTF ada {'age': 1.0} detailed"
    *_, said = page.handlers.edit("visitor", "older", words())
    assert page.read(loads([said])[0]) == b"glTF ada older 1 {'age': 1.0} detailed"
    *_, back = page.handlers.restore("visitor")
    assert page.read(loads([back])[0]) == b"glTF ada {} detailed"
    assert calls == ["ada"]


def test_a_random_head_gets_its_detail_too(tmp_path: Path) -> None:
    page = Page(tmp_path, detail=detailed)
    updates = list(page.handlers.random_head("visitor", 5, {"age": 1.0}))
    assert [page.read(load) for load in loads(updates)] == [
        b"glTF random 5 {'age': 1.0}",
        b"glTF random 5 {'age': 1.0} detailed",
    ]
    assert updates[-1].total_s is None and [row.text for row in updates[-1].stages] == DETAIL_ROWS
    # No button comes and goes for it.
    assert not any(update.busy for update in updates)
    assert updates[-1].report is not None and updates[-1].report["person"] == "somebody of 5"


def test_detail_says_that_it_waits_for_others_and_goes_on_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "TICK_S", 0.01)
    page, go, started = Page(tmp_path, detail=detailed), threading.Event(), threading.Event()

    def other(report: Any) -> None:
        started.set()
        assert go.wait(60)

    going = page.handlers.from_photo(page.upload(), "visitor")
    shown = next(update for update in going if loads([update]) and loads([update])[0].final)
    thread = threading.Thread(target=lambda: list(page.work.run("other", other)))
    thread.start()
    assert started.wait(60)
    waiting = next(update for update in going if update.lines != shown.lines and update.lines is not None)
    assert waiting.lines == (*(shown.lines or ()), Line("busy", "Detail follows when nobody waits for a head …"))
    assert waiting.messages == (protocol.ShowProgress(None, 0.0),) and waiting.busy
    go.set()
    thread.join()
    assert [page.read(load) for load in loads(list(going))] == [b"glTF ada {} detailed"]


def test_cancel_while_detail_is_made_keeps_the_head(tmp_path: Path) -> None:
    held = Held()
    page = Page(tmp_path, detail=held)
    going = page.handlers.from_photo(page.upload(), "visitor")
    before = as_far_as_detail(going)
    assert before[-1].busy is True
    assert page.handlers.cancel("visitor")
    rest = list(going)
    held.go.set()
    assert loads(rest) == [] and protocol.DropFirst() not in rest[-1].messages
    last = rest[-1]
    assert last.lines is not None and last.lines[-1] == Line("info", "Detail was left out; the head stays as it is.")
    assert last.lines[0] == Line("done", "A usable photo. Confidence 63 %.")
    assert (last.busy, last.problem, last.total_s, last.detail_s) == (False, None, 0.7, None)
    assert page.file(last) == b"glTF ada {}"
    # It is not begun again for every change of the head.
    *_, shaped = page.handlers.reshape("visitor", {"age": 1.0})
    assert page.read(loads([shaped])[0]) == b"glTF ada {'age': 1.0}"
    assert held.calls == ["ada"] and held.ended.wait(60)


def test_an_edit_while_detail_is_made_comes_first_and_gets_it_afterwards(tmp_path: Path) -> None:
    held = Held()
    page = Page(tmp_path, detail=held)
    older = page.handlers.from_photo(page.upload(), "visitor")
    as_far_as_detail(older)
    newer = page.handlers.reshape("visitor", {"age": 1.0})
    # Though what is made of the detail does not report for a while.
    shown = next(update for update in newer if loads([update]))
    assert page.read(loads([shown])[0]) == b"glTF ada {'age': 1.0}" and not held.go.is_set()
    held.go.set()
    assert held.ended.wait(60)
    late = list(older)
    assert loads(late) == [] and all(update.lines is None and update.problem is None for update in late)
    rest = list(newer)
    (load,) = loads(rest)
    assert page.read(load) == b"glTF ada {'age': 1.0} detailed"
    assert (load.final, load.original) == (True, False)
    assert rest[-1].lines is not None and rest[-1].busy is False
    # And the head below the edit has it.
    *_, back = page.handlers.undo("visitor")
    assert page.read(loads([back])[0]) == b"glTF ada {} detailed"
    assert held.calls == ["ada", "ada"]


def test_words_while_detail_is_made_come_first_and_their_remarks_stay(tmp_path: Path) -> None:
    held = Held()
    page = Page(tmp_path, detail=held)
    older = page.handlers.random_head("visitor", 1, {})
    as_far_as_detail(older)
    updates = list(page.handlers.edit("visitor", "smiling, pikachu", words()))
    held.go.set()
    assert loads(list(older)) == []
    assert [page.read(load) for load in loads(updates)[-1:]] == [b"glTF random 1 smiling 1 {} detailed"]
    assert [load.expression for load in loads(updates)][-2:] == [{"mouthSmileLeft": 0.5}] * 2
    for update in updates:
        if update.report is not None:
            assert update.report["remarks"] == ["I don't know pikachu."]
            assert update.report["clauses"] == [{"text": "smiling", "strength": 1.0}]
    visitor = page.sessions.known("visitor")
    assert visitor.editor is not None and visitor.head is not None
    assert visitor.editor.avatar is visitor.head.avatar


@pytest.mark.parametrize("wish", ["photo", "random"])
def test_a_new_head_while_detail_is_made_ends_it(tmp_path: Path, wish: str) -> None:
    held = Held()
    page = Page(tmp_path, detail=held)
    older = page.handlers.from_photo(page.upload(), "visitor")
    as_far_as_detail(older)
    newer = page.photo(name="bob.jpg") if wish == "photo" else list(page.handlers.random_head("visitor", 2, {}))
    held.go.set()
    assert loads(list(older)) == []
    name = "bob" if wish == "photo" else "random 2"
    assert [page.read(load) for load in loads(newer)[-1:]] == [f"glTF {name} {{}} detailed".encode()]
    head = page.sessions.known("visitor").head
    assert head is not None and head.avatar.name == name


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileError("The weights of reflectance are missing. Fetch them."), "The weights of reflectance are missing."),
        (ValueError("secret detail"), "Something went wrong in the program while adding detail to the head"),
    ],
)
def test_where_detail_fails_the_head_stays_and_a_sentence_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    calls: list[str] = []

    def fail(shown: Any, report: making.Report) -> Any:
        calls.append(shown.name)
        report("reflectance", 0.0)
        raise error

    page = Page(tmp_path, detail=fail)
    updates = page.photo()
    last = updates[-1]
    assert last.lines is not None and last.lines[-1].kind == "warning" and said in last.lines[-1].text
    assert "secret" not in last.lines[-1].text
    # For the page it is no problem of what was wished; for a program it is a remark beside the head.
    assert last.problem is None and last.busy is False and last.total_s == 0.7
    assert page.file(last) == b"glTF ada {}"
    assert last.report is not None and last.report["detailed"] is False
    assert last.report["remarks"] == [last.lines[-1].text]
    list(page.handlers.reshape("visitor", {"age": 1.0}))
    assert calls == ["ada"]


def test_too_little_memory_for_detail_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("sizes differ")]
    said = []
    for error in errors:

        def fail(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(core.detail, "detailed", fail)
        with pytest.raises(type(error) if error is errors[2] else LikenessError) as raised:
            making.detail(avatar(), lambda *_: None)
        said.append(str(raised.value))
    assert said[0] == said[1] and said[0].startswith("There is not enough memory")


def test_what_detail_finds_out_about_the_photo_is_in_the_report(tmp_path: Path) -> None:
    found = SimpleNamespace(code="not-neutral", severity="warning", sentence="The face smiles.", advice="Relax.")

    def smiling(shown: Any, report: making.Report) -> Any:
        quality = SimpleNamespace(**{**vars(shown.quality), "findings": (*shown.quality.findings, found)})
        return SimpleNamespace(**{**vars(detailed(shown, report)), "quality": quality})

    page = Page(tmp_path, detail=smiling)
    last = page.photo()[-1]
    line = Line("warning", "The face smiles. Relax.")
    assert last.lines is not None and last.lines.count(line) == 1 and len(last.lines) == 4
    assert last.report is not None and [f["code"] for f in last.report["findings"]] == ["turned", "grey", "not-neutral"]
    list(page.handlers.reshape("visitor", {"age": 1.0}))
    *_, back = page.handlers.undo("visitor")
    assert back.lines is not None and line in back.lines


def test_heads_without_detail_stay_so_where_nobody_wants_it(tmp_path: Path) -> None:
    for page, detail in ((Page(tmp_path), True), (Page(tmp_path, detail=detailed), False)):
        made = list(page.handlers.from_photos({"front": page.upload()}, "visitor", detail=detail))
        made += page.handlers.reshape("visitor", {"age": 1.0})
        made += page.handlers.random_head("visitor", 1, {}, detail=detail)
        assert loads(made) and not any(b"detailed" in page.read(load) for load in loads(made)[-1:])
        assert all(row.text not in DETAIL_ROWS for update in made for row in update.stages)


def test_the_greeting_head_gets_its_detail_once_for_everybody(tmp_path: Path) -> None:
    calls: list[str] = []
    page = Page(tmp_path, detail=lambda shown, report: calls.append(shown.name) or detailed(shown, report))
    page.handlers.warm()
    expected = f"glTF random {handlers.WELCOME.seed} {{}} detailed".encode()
    for session in ("ada", "bob"):
        (load,) = loads(list(page.handlers.welcome(session)))
        assert page.read(load) == expected
    list(page.handlers.random_head("ada", 3, {}))
    *_, back = page.handlers.undo("ada")
    assert page.read(loads([back])[0]) == expected
    assert calls == [f"random {handlers.WELCOME.seed}", "random 3"]


def test_who_leaves_while_detail_is_made_leaves_nothing(tmp_path: Path) -> None:
    held = Held()
    page = Page(tmp_path, detail=held)
    going = page.handlers.from_photo(page.upload(), "visitor")
    as_far_as_detail(going)
    cast(Any, going).close()
    page.handlers.leave("visitor")
    assert page.work.idle()  # before it has noticed
    held.go.set()
    assert held.ended.wait(60)
    assert page.files.size_bytes() == 0


# -- Visitors ---------------------------------------------------------------------------------------


def test_visitors_do_not_meet(page: Page) -> None:
    for session in ("ada", "bob"):
        page.photo(session, f"{session}.jpg")
        *_, last = page.handlers.reshape(session, {"age": 1.0})
        assert page.read(loads([last])[0]) == f"glTF {session} {{'age': 1.0}}".encode()
    page.handlers.leave("ada")
    page.handlers.leave("ada")
    assert page.files.size_bytes("ada") == 0
    *_, last = page.handlers.undo("bob")
    assert page.read(loads([last])[0]) == b"glTF bob {}"
    page.sessions.close_all()
    assert page.files.size_bytes() == 0


def test_who_gives_no_sign_is_forgotten(page: Page) -> None:
    page.photo()
    seen_s = page.sessions.visitor("visitor").seen_s
    assert page.sessions.sweep(seen_s + sessions.IDLE_S - 1) == 0
    assert page.files.size_bytes("visitor") > 0
    assert page.sessions.sweep(seen_s + sessions.IDLE_S + 1) == 1
    assert page.files.size_bytes("visitor") == 0


def test_nothing_is_kept_for_a_visitor_who_has_left_meanwhile(page: Page) -> None:
    visitor = page.sessions.visitor("visitor")
    page.sessions.close("visitor")
    with pytest.raises(LikenessError):
        page.sessions.publish(visitor, b"glTF", "head.glb")
    assert page.files.size_bytes() == 0


def test_of_too_many_visitors_the_longest_idle_go(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "VISITORS", 3)
    for session in ("a", "b", "c"):
        page.photo(session)
    list(page.handlers.undo("a"))
    page.photo("d")
    assert [bool(page.files.size_bytes(session)) for session in "abcd"] == [True, False, True, True]


def test_the_history_has_an_end(page: Page) -> None:
    for i in range(sessions.HISTORY + 5):
        list(page.handlers.random_head("visitor", i, {}))
    visitor = page.sessions.known("visitor")
    assert len(visitor.history) == sessions.HISTORY
    assert visitor.edit.wish == Wish(sessions.HISTORY + 4)


# -- The page ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ui() -> Any:
    return pytest.importorskip("app.ui")


@pytest.fixture(scope="module")
def config(ui: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    async def build() -> dict[str, Any]:
        return ui.build(Page(tmp_path_factory.mktemp("page")).handlers).config

    # Without a running loop Gradio makes loops of its own and never closes them.
    return asyncio.run(build())


def test_only_what_makes_or_shapes_heads_asks_the_server(ui: Any, config: dict[str, Any]) -> None:
    """The sliders themselves do not: they click a hidden button when they have settled."""
    sliders = {f"likeness-{name}" for name in ui.ATTRIBUTES}
    ids = {c["id"] for c in config["components"] if c["props"].get("elem_id") in sliders}
    listeners = [d for d in config["dependencies"] if any(target in ids for target, _ in d["targets"])]
    assert len(ids) == len(listeners) == len(ui.ATTRIBUTES)
    assert all(d["backend_fn"] is False and d["js"] for d in listeners)


def test_the_page_has_every_part_that_the_browser_looks_for(ui: Any, config: dict[str, Any]) -> None:
    ids = {c["props"].get("elem_id") for c in config["components"]}
    parts = "photo examples random cancel side side-left side-right combine undo redo restore save panels"
    panels = [f"panel-{name}" for name in ("expression", "pose", "person", "detail", "light", "view")]
    assert {f"likeness-{part}" for part in [*parts.split(), *panels, *ui.ATTRIBUTES]} <= ids
    values = " ".join(str(c["props"].get("value")) for c in config["components"])
    assert all(f'id="likeness-{part}"' in values for part in ("theme", "status", "viewer"))


def test_the_page_waits_in_our_own_line_only(config: dict[str, Any]) -> None:
    """Gradio must pass everything on at once, so that people are told their place and a newer wish wins."""
    served = [d for d in config["dependencies"] if d["backend_fn"] and d["targets"] and d["targets"][0][1] != "unload"]
    assert served
    assert {d["api_visibility"] for d in served} == {"private"}


def test_requests_without_a_session_do_not_share_one(ui: Any) -> None:
    nobody = SimpleNamespace(session_hash=None)
    assert ui.session_of(SimpleNamespace(session_hash="ada")) == "ada"
    assert len({ui.session_of(nobody) for _ in range(5)}) == 5
    assert all(len(ui.session_of(nobody)) >= 24 for _ in range(5))


def test_examples_are_there_small_and_free_of_people_who_did_not_agree(ui: Any) -> None:
    files = {path.name: path for path in ui.EXAMPLES.iterdir()}
    assert set(files) == set(ui.EXAMPLE_PHOTOS)
    assert all(path.stat().st_size < 80_000 for path in files.values())
    for name, text in ui.EXAMPLE_PHOTOS.items():
        assert "public domain" in text or "does not exist" in text
        assert name in ui._examples_html()


def test_the_controls_of_the_shape_are_attributes_of_the_head(ui: Any) -> None:
    from core import head, pipeline

    assert set(ui.ATTRIBUTES) <= set(head.load_head().attribute_names)
    assert ui.ATTRIBUTE_LIMIT <= pipeline.ATTRIBUTE_LIMIT


def test_the_sliders_of_a_person_are_traits_of_random_heads(ui: Any) -> None:
    from core import generation

    executable = shutil.which("node")
    if executable is None:
        pytest.skip("node is not installed")
    script = f"""
        import {{ ANCESTRIES, TRAITS, VARIETY }} from "{(STATIC / "person.js").as_uri()}";
        console.log(JSON.stringify({{ ANCESTRIES, VARIETY, traits: Object.assign({{}}, ...Object.values(TRAITS)) }}));
    """
    command = [executable, "--input-type=module", "--eval", script]
    browser = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    limits = {name: (trait.get("low", 0), trait.get("high", 1)) for name, trait in browser["traits"].items()}
    assert limits == {name: (trait.low, trait.high) for name, trait in generation.TRAITS.items()}
    assert browser["ANCESTRIES"] == [f"{name}_ancestry" for name in generation.ANCESTRIES]
    assert browser["VARIETY"] == making.TRUNCATION == generation.TRUNCATION


@pytest.mark.parametrize("data", [None, {}, {"wish": None}, {"wish": {"traits": 1}}, {"wish": {"truncation": "1"}}])
def test_a_wish_that_the_page_never_sends_is_a_sentence(ui: Any, data: Any) -> None:
    with pytest.raises(ui.gr.Error, match="expected"):
        ui._people(ui._wish(SimpleNamespace(_data=data)))


def test_a_person_of_the_core_is_what_was_wished() -> None:
    """Traits that are set are read back, and are those that count as fixed; colours are those of the person."""
    make = making.core_maker()
    wanted = {"age": 71.0, "beard": 0.6, "brows": 0.3, "african_ancestry": 0.2, "asian_ancestry": 0.3,
              "european_ancestry": 0.5, "skin_tone": 0.25}  # fmt: skip
    drawn = make.person(Wish(11))
    fixed = make.person(Wish(11, make.labels(wanted)))
    assert set(fixed.fixed) == set(wanted) and drawn.fixed == ()
    for name, value in wanted.items():
        assert fixed.values[name] == pytest.approx(value, abs=1e-4), name
        assert drawn.values[name] != pytest.approx(value, abs=1e-4), name
    # From light to dark, over the whole range of each.
    assert set(fixed.colours) == {"skin_tone", "hair_colour", "eye_colour"}
    for name, colours in fixed.colours.items():
        sums = [sum(bytes.fromhex(colour.removeprefix("#"))) for colour in colours.split(", ")]
        assert len(sums) == making.COLOUR_STEPS and sums == sorted(sums, reverse=True), name
        assert sums[0] > sums[-1] + 30, name


def test_threads_are_as_many_as_cores_and_sleep_while_they_wait() -> None:
    """Of a process of its own: the settings are read when torch loads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    code = "import app, os, json, torch; print(json.dumps([torch.get_num_threads(), os.environ['OMP_WAIT_POLICY']]))"
    command = [sys.executable, "-c", code]

    def settings(**chosen: str) -> list[Any]:
        environment = {key: value for key, value in os.environ.items() if key not in names} | chosen
        run = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
        return json.loads(run.stdout)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert settings() == [cores, "PASSIVE"]
    assert settings(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE") == [1, "ACTIVE"]


def test_the_viewer_names_no_other_machine() -> None:
    texts = [path.read_text("utf-8") for path in STATIC.glob("*.*")]
    # The name of SVG's namespace looks like an address and is none.
    named = {url for text in texts for url in re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z][\w./]*", text)}
    assert named <= {"http://www.w3.org/2000/svg"}


def test_an_image_reaches_the_handler_as_it_was_uploaded(ui: Any) -> None:
    photo = ui.photo_input("Photo", "photo", 100, "")
    assert photo.preprocess(SimpleNamespace(path="broken.png")) == "broken.png"
    assert photo.preprocess(None) is None


def test_texts_in_the_status_cannot_be_markup(ui: Any) -> None:
    html = ui.status_html(PageUpdate(lines=(Line("problem", "<img src=x onerror=alert(1)> & more"),)))
    assert "<img" not in html
    assert '<p class="problem">&lt;img src=x onerror=alert(1)&gt; &amp; more</p>' in html


def test_the_status_lists_stages_with_their_seconds(ui: Any, page: Page) -> None:
    texts = [re.sub("<[^>]+>", " ", ui.status_html(update)) for update in page.photo() if update.lines is not None]
    assert any("✓ Photo read   0.10 s" in text and "Refining shape and pose …" in text for text in texts)
    assert "Made in 0.7 s" in texts[-1]
    assert "…" not in texts[-1]


def test_addresses_survive_odd_folders(ui: Any) -> None:
    assert ui.file_address(Path("/a b/ü#?.glb")) == "gradio_api/file=/a%20b/%C3%BC%23%3F.glb"


def test_a_new_photo_clears_the_side_views_before_its_head_is_made(config: dict[str, Any]) -> None:
    # Gradio's page begins an event's next function when the one before has ended. Cleared last, a side view that was
    # added while the head was made would vanish.
    ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
    chosen = [d for d in config["dependencies"] if (ids["likeness-photo"], "input") in map(tuple, d["targets"])]
    assert [d["backend_fn"] for d in chosen] == [False, True]
    assert chosen[0]["outputs"] == [ids["likeness-side-left"], ids["likeness-side-right"]]
