"""The page in a real browser: the app as it is started, a photo, sliders, a random head, the downloaded file."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from core import pipeline
from core.errors import PhotoError

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VENDOR = ROOT / "app/static/vendor/three"
# For a machine that is busy with other tests. Nothing here is measured.
PATIENCE_S = 180

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.skipif(not VENDOR.is_dir(), reason="three.js is not set up: npm ci && npm run vendor"),
    # Playwright's own event loop and pipes, closed by its process rather than by Python.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL without a GPU.
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The app, started as a person would; its address and the folder of its uploads."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A visitor who leaves is noticed at the next heartbeat.
    settings = {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "GRADIO_HEARTBEAT_INTERVAL": "0.5",
    }
    with (folder / "log.txt").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + PATIENCE_S
            while not (address := re.search(r"http://127\.0\.0\.1:\d+", (folder / "log.txt").read_text())):
                assert process.poll() is None and time.monotonic() < until, (folder / "log.txt").read_text()
                time.sleep(0.1)
            assert address[0] == f"http://127.0.0.1:{port}"
            yield address[0], folder / "uploads"
        finally:
            process.terminate()
            process.wait(30)
    assert "Traceback" not in (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=BROWSER_ARGUMENTS)
        yield chromium
        chromium.close()


# What lies over the viewer's picture and is no part of it: its own buttons, the page's pop-up messages.
HIDE = "#toolbar, #progress, [class*=toast] { visibility: hidden !important }"


class Visit:
    """One visitor's page, which records what it asks for and what goes wrong in it."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self.server_calls = 0
        self.page.on("request", self._on_request)
        self.page.on("console", lambda entry: entry.type == "error" and self.errors.append(entry.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.add_init_script(
            "window.heads = []; window.addEventListener('likeness:head', (event) => heads.push(event.detail));"
        )
        self.page.goto(address)
        self.wait_for_heads(1)

    def _on_request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(parts.netloc)
        self.server_calls += request.method == "POST"

    @property
    def heads(self) -> list[dict[str, Any]]:
        return self.page.evaluate("heads")

    def wait_for_heads(self, final: int) -> None:
        """Until that many final heads have been on show; a problem in the status ends the wait.

        A problem that stands there from before must first give way to what is going on now.
        """
        enough = f"heads.filter((head) => head.final).length >= {final}"
        self.page.wait_for_function(f"{enough} || !document.querySelector('#likeness-status .problem')")
        self.page.wait_for_function(f"{enough} || document.querySelector('#likeness-status .problem')")
        assert self.page.evaluate(enough), self.status

    def picture(self) -> np.ndarray:
        """What the viewer shows, once it holds still, without its toolbar."""
        canvas = self.page.frame_locator("#likeness-viewer").locator("canvas")
        before = None
        for _ in range(100):
            data = canvas.screenshot(style=HIDE)
            pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int16)
            if before is not None and np.array_equal(pixels, before):
                return pixels
            before = pixels
            self.page.wait_for_timeout(100)
        raise AssertionError("the viewer never holds still")

    @property
    def finals(self) -> int:
        return sum(head["final"] for head in self.heads)

    def drag(self, key: str, share: float) -> None:
        """Drag a slider with the mouse to a share of its length, and let go."""
        slider = self.page.locator(f"#likeness-{key} input[type=range]")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + box["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * share, y, steps=4)
        self.page.mouse.up()

    def clear_photo(self) -> None:
        labels = ("Clear", "Remove Image")
        buttons = ", ".join(f"#likeness-photo button[aria-label='{label}']" for label in labels)
        self.page.locator(buttons).first.click()

    @staticmethod
    def until(condition: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, problem
            time.sleep(0.2)

    def slide(self, key: str, value: float) -> None:
        self.page.locator(f"#likeness-{key} input[type=range]").fill(str(value))

    def upload(self, path: Path) -> None:
        self.page.locator("#likeness-photo input[type=file]").set_input_files(path)

    @property
    def status(self) -> str:
        return self.page.locator("#likeness-status").inner_text()

    def download(self) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.locator("#likeness-save").click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def visit(server: tuple[str, Path], browser: Any) -> Iterator[Visit]:
    """The visit that the tests share, in the order in which they stand; at its end, what must hold all along."""
    visit = Visit(browser, server[0], viewport={"width": 1120, "height": 640})
    yield visit
    assert visit.errors == []
    assert visit.hosts == {urlsplit(server[0]).netloc}
    visit.context.close()


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eileen Collins, a public-domain portrait by NASA that comes with scikit-image."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save(path)
    return path


def changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which pixels differ by more than a shade."""
    return np.abs(a - b).max(axis=2) > 12


def check_glb(data: bytes, folder: Path) -> dict[str, Any]:
    """The file's JSON, after the Khronos validator (where it is installed) has found no error and no warning."""
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[4:8], "little") == 2
    assert int.from_bytes(data[8:12], "little") == len(data)
    length = int.from_bytes(data[12:16], "little")
    if (ROOT / "node_modules/gltf-validator").is_dir():
        path = folder / "head.glb"
        path.write_bytes(data)
        script = (
            "require('gltf-validator').validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))"
            ".then((report) => console.log(JSON.stringify(report.issues)))"
        )
        command = ["node", "--eval", script, str(path)]
        issues = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120).stdout)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    return json.loads(data[20 : 20 + length])


def test_a_head_greets_the_visitor(visit: Visit) -> None:
    head = visit.heads[0]
    assert head["final"]
    assert len(head["morphs"]) == 52
    assert {"neck", "head", "jaw"} <= set(head["joints"])
    pixels = visit.picture()
    # A lit face stands in the middle of the picture, before a darker wall.
    height, width, _ = pixels.shape
    rows = slice(height // 3, height // 2)
    assert pixels[rows, width * 2 // 5 : width * 3 // 5].mean() > pixels[rows, width // 50 : width // 10].mean() + 30


@pytest.mark.parametrize(
    ("key", "value", "top", "bottom"),
    # Where on the canvas most of the change must be, as shares of its height: a smile does not move the brow.
    [("jaw_open", 0.8, 0.4, 0.9), ("smile", 1, 0.35, 0.85), ("blink", 1, 0.15, 0.6), ("brows", 1, 0.1, 0.55)],
)
def test_a_slider_moves_its_part_of_the_face_without_the_server(
    visit: Visit, key: str, value: float, top: float, bottom: float
) -> None:
    rest, calls = visit.picture(), visit.server_calls
    visit.slide(key, value)
    difference = changed(visit.picture(), rest)
    assert difference.mean() > 0.001
    height = len(difference)
    assert difference[int(top * height) : int(bottom * height)].sum() > 0.9 * difference.sum()
    visit.slide(key, 0)
    assert not changed(visit.picture(), rest).any()
    assert visit.server_calls == calls


def test_reset_returns_every_slider_to_rest(visit: Visit) -> None:
    rest = visit.picture()
    for key, value in (("turn", 30), ("pucker", 1), ("gaze_yaw", 20), ("light", 120)):
        visit.slide(key, value)
    assert changed(visit.picture(), rest).mean() > 0.05
    visit.page.locator("#likeness-reset").click()
    assert not changed(visit.picture(), rest).any()
    assert {element.input_value() for element in visit.page.locator("input[type=range]").all()} == {"0"}


def test_dragging_orbits_and_the_wheel_zooms(visit: Visit) -> None:
    rest = visit.picture()
    box = visit.page.locator("#likeness-viewer").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x + 120, y, steps=5)
    visit.page.mouse.up()
    turned = visit.picture()
    assert changed(turned, rest).mean() > 0.02
    visit.page.mouse.wheel(0, -400)
    assert changed(visit.picture(), turned).mean() > 0.02
    viewer = visit.page.frame_locator("#likeness-viewer")
    viewer.get_by_role("button", name="Front").click()
    assert changed(visit.picture(), rest).mean() < 0.001
    viewer.get_by_role("button", name="Clay").click()
    assert changed(visit.picture(), rest).mean() > 0.05
    viewer.get_by_role("button", name="Textured").click()
    # The camera is back to within rounding, which edges may show.
    assert changed(visit.picture(), rest).mean() < 0.001


def test_a_random_head_is_another_head_that_can_be_kept(visit: Visit, tmp_path: Path) -> None:
    before, finals = visit.picture(), visit.finals
    visit.page.locator("#likeness-random").click()
    visit.wait_for_heads(finals + 1)
    number = re.search(r"Random head number (\d+)", visit.status)
    assert number is not None
    assert changed(visit.picture(), before).mean() > 0.02
    name, data = visit.download()
    assert name == f"head-{number[1]}.glb"
    assert len(data) <= 3 * 2**20
    assert len(check_glb(data, tmp_path)["meshes"][0]["extras"]["targetNames"]) == 52


def test_the_shape_of_the_random_head_follows_its_controls(visit: Visit) -> None:
    (number,) = re.findall(r"Random head number (\d+)", visit.status)
    before, finals = visit.picture(), visit.finals
    visit.page.get_by_text("Shape of the random head").click()
    visit.drag("weight", 0.95)
    visit.wait_for_heads(finals + 1)
    assert re.findall(r"Random head number (\d+)", visit.status) == [number]
    assert changed(visit.picture(), before).mean() > 0.02
    visit.page.get_by_text("Shape of the random head").click()


def photos(uploads: Path) -> list[Path]:
    return [path for path in uploads.rglob("*") if path.suffix in (".png", ".jpg", ".webp")]


def test_a_photo_becomes_a_head_and_is_not_kept(
    visit: Visit, server: tuple[str, Path], portrait: Path, tmp_path: Path
) -> None:
    before, finals, count = visit.picture(), visit.finals, len(visit.heads)
    visit.upload(portrait)
    visit.wait_for_heads(finals + 1)
    # The shape first, then the whole head.
    assert [head["final"] for head in visit.heads[count:]] == [False, True]
    assert changed(visit.picture(), before).mean() > 0.02
    visit.page.locator("#likeness-status p.done").wait_for()
    assert "Confidence" in visit.status
    name, data = visit.download()
    assert name == "astronaut.glb"
    assert len(data) <= 3 * 2**20
    check_glb(data, tmp_path)
    assert photos(server[1]) == []


def test_the_sliders_move_the_head_of_a_photo_too(visit: Visit) -> None:
    rest = visit.picture()
    for key, value in (("jaw_open", 0.8), ("blink", 1), ("turn", 25)):
        visit.slide(key, value)
        moved = visit.picture()
        assert changed(moved, rest).mean() > 0.001, key
        visit.slide(key, 0)
    visit.page.locator("#likeness-own").get_by_role("checkbox").uncheck()
    # She smiles on the photo.
    assert changed(visit.picture(), rest).mean() > 0.001
    visit.page.locator("#likeness-own").get_by_role("checkbox").check()
    assert not changed(visit.picture(), rest).any()


def test_a_file_that_is_no_photo_is_a_sentence_and_changes_nothing(visit: Visit, tmp_path: Path) -> None:
    rest, heads = visit.picture(), len(visit.heads)
    bad = tmp_path / "holiday.png"
    bad.write_bytes(b"This is not a picture." * 50)
    visit.clear_photo()
    visit.upload(bad)
    problem = visit.page.locator("#likeness-status p.problem")
    problem.wait_for()
    # What `reconstruct` raises is what the command line prints.
    with pytest.raises(PhotoError) as raised:
        pipeline.reconstruct(bad)
    assert problem.inner_text() == str(raised.value)
    assert len(visit.heads) == heads
    assert not changed(visit.picture(), rest).any()
    # The head from before can still be saved.
    assert visit.download()[1][:4] == b"glTF"


def test_a_click_chooses_another_face(visit: Visit, server: tuple[str, Path], portrait: Path, tmp_path: Path) -> None:
    with Image.open(portrait) as image:
        pair = Image.new("RGB", (768, 512), (90, 90, 90))
        pair.paste(image.crop((100, 0, 356, 256)).resize((512, 512)), (0, 0))
        pair.paste(image.crop((100, 0, 356, 256)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 128))
    pair.save(tmp_path / "pair.png")
    visit.clear_photo()
    finals = visit.finals
    visit.upload(tmp_path / "pair.png")
    visit.wait_for_heads(finals + 1)
    assert "2 faces were found" in visit.status
    assert len(photos(server[1])) == 1
    larger = visit.picture()
    picture = visit.page.locator("#likeness-photo img")
    box = picture.bounding_box()
    # object-fit: the picture is in the middle of its box.
    scale = min(box["width"] / 768, box["height"] / 512)
    x, y = box["width"] / 2 + (640 - 384) * scale, box["height"] / 2 + (256 - 256) * scale
    picture.click(position={"x": x, "y": y})
    visit.wait_for_heads(finals + 2)
    assert changed(visit.picture(), larger).mean() > 0.01
    visit.clear_photo()
    visit.until(lambda: photos(server[1]) == [], "the photo is still there")


def test_visitors_see_their_own_head_and_leave_nothing(server: tuple[str, Path], browser: Any) -> None:
    address, uploads = server
    folders = set(uploads.glob("likeness-*/*"))
    phone = Visit(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    (mine,) = set(uploads.glob("likeness-*/*")) - folders
    # Nothing is wider than a phone.
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.errors == []
    phone.context.close()
    Visit.until(lambda: not mine.exists(), "the visitor's folder is still there")
    assert set(uploads.glob("likeness-*/*")) == folders
