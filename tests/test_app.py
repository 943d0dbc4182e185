"""The page without a browser: the protocol on both sides, the handlers, the visitors' folders, the arrangement."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from app import handlers, protocol, sessions
from app.handlers import HeadMaker, PageUpdate
from core.errors import PhotoError

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "app/static"
FIRST_GLB, FINAL_GLB = b"glTF first", b"glTF final"


def avatar(name: str = "ada", glb: bytes = FINAL_GLB) -> Any:
    findings = (
        SimpleNamespace(code="turned", severity="warning", sentence="The face is turned.", advice="Look ahead."),
        SimpleNamespace(code="grey", severity="info", sentence="The photo is black and white.", advice=""),
    )
    quality = SimpleNamespace(summary="A usable photo.", confidence=0.634, findings=findings)
    return SimpleNamespace(name=name, glb=glb, quality=quality)


def maker(reconstruct: Any = None) -> HeadMaker:
    def two_stages(photo: Path, progress: handlers.Progress, point_px: Any) -> Any:
        assert photo.read_bytes() == b"pixels"
        progress("landmarks", 0.1, None)
        progress("refine", 0.4, avatar(glb=FIRST_GLB))
        return avatar()

    return HeadMaker(
        reconstruct=reconstruct or two_stages,
        generate=lambda seed, attributes: avatar(f"head {seed}", f"glTF {seed} {dict(attributes)}".encode()),
        glb=lambda result: cast(Any, result).glb,
    )


class Page:
    """Handlers with a fake core and an upload folder."""

    def __init__(self, folder: Path, reconstruct: Any = None) -> None:
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self.sessions = sessions.Sessions(self.uploads / "visitors")
        self.handlers = handlers.Handlers(lambda: maker(reconstruct), self.sessions, self.uploads, str)

    def upload(self, data: bytes = b"pixels") -> Path:
        path = self.uploads / "photo.jpg"
        path.write_bytes(data)
        return path


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def loads(updates: list[PageUpdate]) -> list[protocol.LoadHead]:
    return [message for update in updates for message in update.messages if isinstance(message, protocol.LoadHead)]


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
        "bool": True,
        "list[str]": ["jawOpen"],
        "dict[str, float]": {"jawOpen": 0.5},
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


def test_a_photo_shows_a_first_head_then_the_final_one(page: Page) -> None:
    upload = page.upload()
    contents, updates = [], []
    for update in page.handlers.from_photo(upload, "visitor"):
        updates.append(update)
        contents += [Path(message.url).read_bytes() for message in loads([update])]
    assert contents == [FIRST_GLB, FINAL_GLB]
    assert [(load.final, load.file_name) for load in loads(updates)] == [(False, "first.glb"), (True, "ada.glb")]
    # The first head cannot be saved; the final one can, and the progress bar goes.
    assert [update.can_save for update in updates if loads([update])] == [False, True]
    assert updates[-1].messages[-1] == protocol.ShowProgress(None, 1.0)
    fractions = [m.fraction for u in updates for m in u.messages if isinstance(m, protocol.ShowProgress)]
    assert fractions == sorted(fractions)
    assert not upload.exists()


def test_the_quality_report_is_words_in_the_order_given(page: Page) -> None:
    *_, last = page.handlers.from_photo(page.upload(), "visitor")
    assert [(line.kind, line.text) for line in last.lines] == [
        ("done", "A usable photo. Confidence 63 %."),
        ("warning", "The face is turned. Look ahead."),
        ("info", "The photo is black and white."),
    ]


def test_a_photo_without_a_face_is_a_sentence_and_the_head_on_show_stays(tmp_path: Path) -> None:
    def fail(photo: Path, progress: handlers.Progress, point_px: Any) -> Any:
        raise PhotoError("No face was found in this photo. Choose one.")

    page = Page(tmp_path, fail)
    upload = page.upload()
    updates = list(page.handlers.from_photo(upload, "visitor"))
    assert loads(updates) == []
    assert all(update.can_save is None for update in updates)
    assert updates[-1].lines == (handlers.Line("problem", "No face was found in this photo. Choose one."),)
    assert updates[-1].alert == "No face was found in this photo. Choose one."
    assert updates[-1].messages == (protocol.ShowProgress(None, 0.0),)
    assert not upload.exists()


def test_a_bug_is_logged_and_its_words_stay_on_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def crash(photo: Path, progress: handlers.Progress, point_px: Any) -> Any:
        raise ValueError("secret detail")

    page = Page(tmp_path, crash)
    *_, last = page.handlers.from_photo(page.upload(), "visitor")
    assert last.lines[0].kind == "problem"
    assert "secret" not in last.lines[0].text
    assert "Traceback" not in last.lines[0].text
    assert "secret detail" in caplog.text


def test_a_failure_after_the_first_head_brings_the_previous_head_back(tmp_path: Path) -> None:
    def half(photo: Path, progress: handlers.Progress, point_px: Any) -> Any:
        progress("refine", 0.4, avatar(glb=FIRST_GLB))
        raise PhotoError("The light could not be found. Choose another photo.")

    page = Page(tmp_path, half)
    (before,) = loads(list(page.handlers.random_head("visitor", 1, {})))
    updates = list(page.handlers.from_photo(page.upload(), "visitor"))
    (first,) = loads(updates)
    assert not first.final
    assert protocol.DropFirst() in updates[-1].messages
    assert updates[-1].can_save
    assert Path(before.url).read_bytes() == b"glTF 1 {}"
    assert not Path(first.url).exists()


def test_an_upload_that_vanished_is_a_sentence(page: Page) -> None:
    (last,) = page.handlers.from_photo(page.uploads / "gone.jpg", "visitor")
    assert last.lines[0].text.startswith("The photo did not arrive")


def test_every_stage_of_the_core_has_words_and_no_other() -> None:
    """`say` and `report` are how core/pipeline.py and app/handlers.py name a stage."""
    said = {
        call.args[0].value
        for file in ("core/pipeline.py", "app/handlers.py")
        for call in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("say", "report")
        if isinstance(call.args[0], ast.Constant)
    }
    assert said == set(handlers.STAGE_TEXT)


def several_faces(photo: Path, progress: handlers.Progress, point_px: Any) -> Any:
    """A core that finds two faces and says in the GLB which was meant and in which file."""
    found = avatar(glb=f"{photo.name} {photo.read_bytes().decode()} {point_px}".encode())
    finding = SimpleNamespace(code="several-faces", severity="info", sentence="2 faces were found.", advice="Click.")
    found.quality.findings = (finding,)
    return found


def test_another_face_is_chosen_by_a_click_until_the_photo_goes(tmp_path: Path) -> None:
    page = Page(tmp_path, several_faces)

    def choose(session: str = "visitor") -> list[bytes]:
        return [Path(load.url).read_bytes() for load in loads(list(page.handlers.choose_face((3, 4), session)))]

    assert choose() == []
    upload = page.upload()
    (load,) = loads(list(page.handlers.from_photo(upload, "visitor")))
    assert Path(load.url).read_bytes() == b"photo.jpg pixels None"
    assert not upload.exists()
    assert choose() == choose() == [b"photo.jpg pixels (3, 4)"]
    assert choose("somebody else") == []
    list(page.handlers.from_photo(page.upload(b"another"), "visitor"))
    assert choose() == [b"photo.jpg another (3, 4)"]
    assert len([path for path in page.uploads.rglob("*.jpg")]) == 1
    list(page.handlers.from_photo(None, "visitor"))
    assert choose() == []
    list(page.handlers.from_photo(page.upload(), "visitor"))
    page.handlers.leave("visitor")
    assert choose() == []
    assert [path for path in page.uploads.rglob("*.jpg")] == []


def test_a_click_on_a_photo_of_one_face_does_nothing(page: Page) -> None:
    list(page.handlers.from_photo(page.upload(), "visitor"))
    assert list(page.handlers.choose_face((3, 4), "visitor")) == []


@pytest.mark.parametrize(("side", "scale"), [(100, 1.0), (8192, 0.5)])
def test_a_click_is_a_point_of_the_photo_as_the_core_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, scale: float
) -> None:
    pipeline = pytest.importorskip("core.pipeline")
    seen = {}
    monkeypatch.setattr(pipeline, "reconstruct", lambda photo, progress, face_point_px: seen.update(at=face_point_px))
    Image.new("L", (side, 8)).save(tmp_path / "photo.png")
    handlers.core_head_maker().reconstruct(tmp_path / "photo.png", lambda *_: None, (80.0, 6.0))
    assert seen["at"] == (80 * scale, 6 * scale)


def test_no_photo_is_no_work(page: Page) -> None:
    assert list(page.handlers.from_photo(None, "visitor")) == []


@pytest.mark.parametrize("place", ["../outside.jpg", "visitors/head.glb", "../../app/static/viewer.js"])
def test_a_path_that_was_not_uploaded_is_neither_read_nor_deleted(tmp_path: Path, place: str) -> None:
    page = Page(tmp_path, lambda photo, progress, point_px: pytest.fail("read"))
    path = page.uploads / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"pixels")
    updates = list(page.handlers.from_photo(path, "visitor"))
    assert [line.kind for update in updates for line in update.lines] == ["problem"]
    assert path.read_bytes() == b"pixels"


def test_a_random_head_is_named_by_its_seed_and_shaped_by_its_attributes(page: Page) -> None:
    *_, last = page.handlers.random_head("visitor", 42, {"age": 0.0, "weight": -1.5})
    (load,) = loads([last])
    assert Path(load.url).read_bytes() == b"glTF 42 {'weight': -1.5}"
    assert load.file_name == "head-42.glb"
    assert load.final
    assert "42" in last.lines[0].text


def test_the_welcome_head_is_made_once_for_everybody(tmp_path: Path) -> None:
    calls: list[int] = []
    page = Page(tmp_path)
    make = dataclasses.replace(maker(), generate=lambda seed, attributes: calls.append(seed) or avatar())
    page.handlers = handlers.Handlers(lambda: make, page.sessions, page.uploads, str)
    threads = [threading.Thread(target=lambda i=i: list(page.handlers.welcome(f"visitor {i}"))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page.handlers.warm()
    assert calls == [handlers.WELCOME_SEED]
    assert len(list(page.sessions.root.glob("*/*.glb"))) == 4


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
def test_file_names_suit_every_system(page: Page, name: str, stem: str) -> None:
    page.handlers = handlers.Handlers(
        lambda: dataclasses.replace(maker(), reconstruct=lambda *_: avatar(name)),
        page.sessions,
        page.uploads,
        str,
    )
    *_, last = page.handlers.from_photo(page.upload(), "visitor")
    assert loads([last])[0].file_name == f"{stem}.glb"


# -- Visitors' folders ------------------------------------------------------------------------------


def test_visitors_do_not_meet_and_names_cannot_be_guessed(tmp_path: Path) -> None:
    first, second = sessions.Sessions(tmp_path / "a"), sessions.Sessions(tmp_path / "b")
    folders = {first.folder("ada"), first.folder("bob"), first.folder("../bob")}
    assert len(folders) == 3
    assert all(folder.parent == first.root for folder in folders)
    # Another process has another key: knowing the session's name is not enough.
    assert first.folder("ada").name != second.folder("ada").name
    one, two = first.write("ada", b"1", ".glb"), first.write("ada", b"1", ".glb")
    assert one.name != two.name
    assert all(len(path.stem) >= 24 for path in (one, two))
    assert one.parent.stat().st_mode & 0o077 == 0


def test_a_visit_keeps_the_two_newest_heads_and_ends_with_none(tmp_path: Path) -> None:
    visitors = sessions.Sessions(tmp_path / "visitors")
    other = visitors.write("bob", b"other", ".glb")
    paths = []
    for i in range(5):
        paths.append(visitors.write("ada", b"%d" % i, ".glb"))
        os.utime(paths[-1], ns=(i, i))
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    visitors.close("ada")
    visitors.close("ada")
    assert not visitors.folder("ada").exists()
    assert other.read_bytes() == b"other"
    visitors.close_all()
    assert not visitors.root.exists()


def test_visitors_long_gone_are_forgotten(tmp_path: Path) -> None:
    visitors = sessions.Sessions(tmp_path / "visitors")
    written = visitors.write("ada", b"x", ".glb").parent.stat().st_mtime
    assert visitors.sweep(written + sessions.FORGET_AFTER_S - 1) == 0
    assert visitors.sweep(written + sessions.FORGET_AFTER_S + 1) == 1
    assert list(visitors.root.iterdir()) == []


def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    sessions.Sessions(tmp_path / "visitors").write("ada", b"x", ".glb")
    assert list(sessions.Sessions(tmp_path / "visitors").root.iterdir()) == []


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


def test_sliders_drive_shapes_that_the_head_has(ui: Any) -> None:
    head = pytest.importorskip("core.head").load_head()
    specs = [spec for group in ui.SLIDERS.values() for spec in group]
    assert len({spec.key for spec in specs}) == len(specs)
    for spec in specs:
        assert (spec.effect.angle is None) == bool(spec.effect.up or spec.effect.down), spec.key
        # At rest every slider does nothing, and each direction that it offers does something.
        assert spec.low <= 0 < spec.high
        assert (spec.low < 0) == bool(spec.effect.down or spec.effect.angle), spec.key
        assert set(spec.effect.up) | set(spec.effect.down) <= set(head.expression_names), spec.key
    named = set().union(*(spec.effect.up.keys() | spec.effect.down.keys() for spec in specs))
    assert {name.replace("Left", "Right") for name in named} <= named | {"jawRight"}


def test_sliders_never_ask_the_server(ui: Any, config: dict[str, Any]) -> None:
    own = {f"likeness-{key}" for key in ("own", *(spec.key for group in ui.SLIDERS.values() for spec in group))}
    ids = {c["id"] for c in config["components"] if c["props"].get("elem_id") in own}
    listeners = [d for d in config["dependencies"] if any(target in ids for target, _ in d["targets"])]
    assert len(listeners) == sum(map(len, ui.SLIDERS.values())) + 1
    assert all(d["backend_fn"] is False and d["js"] for d in listeners)


def test_the_controls_of_the_random_head_are_attributes_of_the_head(ui: Any) -> None:
    from core import head, pipeline

    assert set(ui.ATTRIBUTES) <= set(head.load_head().attribute_names)
    assert ui.ATTRIBUTE_LIMIT <= pipeline.ATTRIBUTE_LIMIT


def test_the_seed_of_the_head_on_show_is_forgotten_with_it(ui: Any) -> None:
    first, final = (PageUpdate((), (protocol.LoadHead("head.glb", "head.glb", final),)) for final in (False, True))
    skip = ui.gr.skip()
    assert [ui._seed_after(update) for update in (PageUpdate(()), first, final)] == [skip, skip, None]


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
    assert [url for text in texts for url in re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]\S*", text)] == []


def test_an_image_reaches_the_handler_as_it_was_uploaded(ui: Any) -> None:
    photo = ui.photo_input()
    assert photo.preprocess(SimpleNamespace(path="broken.png")) == "broken.png"
    assert photo.preprocess(None) is None


def test_texts_in_the_status_cannot_be_markup(ui: Any) -> None:
    html = ui.status_html((handlers.Line("problem", "<img src=x onerror=alert(1)> & more"),))
    assert "<img" not in html
    assert '<p class="problem">&lt;img src=x onerror=alert(1)&gt; &amp; more</p>' in html


def test_addresses_survive_odd_folders(ui: Any) -> None:
    assert ui.file_address(Path("/a b/ü#?.glb")) == "gradio_api/file=/a%20b/%C3%BC%23%3F.glb"
