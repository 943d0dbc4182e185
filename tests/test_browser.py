"""The page in a real browser, as a visitor uses it: the app as it is started, photos, every panel, keys, a phone, a
second visitor, a server that goes away. The viewer alone is in test_viewer.py."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import skimage.data
from PIL import Image
from skimage.feature import match_template
from skimage.filters import difference_of_gaussians

from core import pipeline
from core.errors import PhotoError
from core.head import load_head
from core.synthesis.photo import sample_photo
from recipes.screens import BROWSER_ARGUMENTS, QUIET_ARGUMENTS
from tests.running_app import CHROMIUM, PATIENCE_S, ROOT, RunningApp, until
from tests.test_photo import bomb_png
from tests.test_pipeline import BAD

NODE = ROOT / "node_modules"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.skipif(
        not (ROOT / "app/static/vendor/three").is_dir(), reason="three.js is not set up: npm ci && npm run vendor"
    ),
    # Playwright's own event loop and pipes, closed by its process rather than by Python.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # A real browser, drawing without a GPU, and a real server share two cores with whatever else is going on: once in
    # hundreds of steps one waits too long for the other. What is wrong fails twice.
    pytest.mark.flaky(reruns=1),
]

# What others write to the console, each with its reason.
NOISE = (
    # SwiftShader, when a picture is read back: what every screenshot does.
    r"GPU stall due to ReadPixels",
    r"GroupMarkerNotSet",
    # Gradio's client, after every upload.
    r"^Method not implemented\.$",
)

# What a page tells of itself. In the page: heads that were on show; the story of a photo; the rows of the list of
# stages as they came, and how far the bar went. In the viewer: the last message of each type.
DIARY = """
if (window === window.top) {
    Object.assign(window, { heads: [], story: [], rows: [], fractions: [], toasts: [] });
    addEventListener("likeness:head", ({ detail }) => {
        heads.push(detail);
        story.push(detail.final ? "final" : "first");
    });
    new MutationObserver(() => {
        for (const row of document.querySelectorAll("#likeness-status li.done")) {
            const text = row.textContent.replace(/\\s+/g, " ").trim();
            if (!rows.includes(text)) rows.push(text);
        }
        for (const toast of document.querySelectorAll(".toast-body")) {
            if (!toasts.includes(toast.textContent)) toasts.push(toast.textContent);
        }
        const bar = document.querySelector("#likeness-status progress");
        if (bar && fractions.at(-1) !== bar.value) fractions.push(bar.value);
    }).observe(document, { childList: true, subtree: true });
} else {
    window.said = {};
    addEventListener("message", ({ data }) => (said[data.type] = data));
    addEventListener("DOMContentLoaded", () => {
        const stage = document.querySelector("#stage");
        if (!stage) return;
        new MutationObserver(() => {
            const points = stage.querySelectorAll("circle").length;
            if (stage.classList.contains("reading")) parent.story?.push(`${points} points`);
        }).observe(stage, { attributes: true, attributeFilter: ["class"] });
    });
}
"""
PICTURE_STATE = """() => {
    const { width, clientWidth } = document.querySelector("canvas");
    const full = width >= Math.floor(clientWidth * Math.min(devicePixelRatio, 1.5));
    return { pictures: likenessViewer.statistics.pictures, full };
}"""
# What lies over the viewer's picture and is no part of it: its own buttons, the page's pop-up messages.
HIDE = "#toolbar, #mix, #wipe, #progress, #likeness-connection, [class*=toast] { visibility: hidden !important }"


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        yield driver


@contextmanager
def chromium(driver: Any, arguments: list[str]) -> Iterator[Any]:
    browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=arguments)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The app, started as a person would. At the end it has written nothing."""
    with RunningApp(tmp_path_factory.mktemp("server")) as app:
        yield app
        assert app.files == []


@pytest.fixture(scope="module")
def browser(driver: Any) -> Iterator[Any]:
    with chromium(driver, BROWSER_ARGUMENTS) as browser:
        yield browser


class Visit:
    """A visitor's page. Leaving it, as a context, checks what must hold all along: no error and no warning in the
    console but those that match `expected`, and no request to another host."""

    def __init__(
        self, browser: Any, address: str, expected: tuple[str, ...] = (), wait: bool = True, **options: Any
    ) -> None:
        self.address, self.expected = address, expected
        # Without movement, a picture is either before or after. Movement is in the tests of the modules.
        options = {"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce"} | options
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self.posts = 0
        self.page.on("request", self._on_request)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.add_init_script(DIARY)
        self.page.goto(address)
        self.viewer = self.page.frame_locator("#likeness-viewer")
        if wait:
            self.wait_for_finals(1)

    def __enter__(self) -> Visit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.context.close()
        if kind is None:
            known = (*NOISE, *self.expected)
            assert [
                text for text in self.complaints if not any(re.search(known_one, text) for known_one in known)
            ] == []
            assert self.hosts == {urlsplit(self.address).netloc}

    def _on_request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(parts.netloc)
        self.posts += request.method == "POST"

    def _on_console(self, entry: Any) -> None:
        if entry.type in ("error", "warning"):
            self.complaints.append(entry.text)

    # -- What there is to see -----------------------------------------------------------------------

    @property
    def frame(self) -> Any:
        """The viewer's window."""
        return self.page.query_selector("#likeness-viewer").content_frame()

    @property
    def heads(self) -> list[dict[str, Any]]:
        return self.page.evaluate("heads")

    @property
    def finals(self) -> int:
        return sum(head["final"] for head in self.heads)

    @property
    def status(self) -> str:
        return self.page.locator("#likeness-status").inner_text()

    def wait_for_finals(self, count: int) -> None:
        """Until that many final heads have been on show; a problem in the status ends the wait.

        A problem that stands there from before must first give way to what is going on now.
        """
        enough = f"heads.filter((head) => head.final).length >= {count}"
        self.page.wait_for_function(f"{enough} || !document.querySelector('#likeness-status .problem')")
        self.page.wait_for_function(f"{enough} || document.querySelector('#likeness-status .problem')")
        assert self.page.evaluate(enough), self.status

    @contextmanager
    def new_head(self) -> Iterator[None]:
        """What is done inside leads to another final head."""
        finals = self.finals
        yield
        self.wait_for_finals(finals + 1)

    def settle(self) -> None:
        """Until what was set is on show: frames of the page, frames of the viewer, and then nothing more to draw."""
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.page.evaluate(frames)
        viewer, before = self.frame, None
        for _ in range(200):
            viewer.evaluate(frames)
            # A picture that was drawn coarser while frames waited is drawn again after a rest.
            now = viewer.evaluate(PICTURE_STATE)
            if now == before and now["full"]:
                return
            before = now
            self.page.wait_for_timeout(100)
        raise AssertionError(f"the viewer never rests: {before}")

    def picture(self) -> np.ndarray:
        """What the viewer shows, ``[H, W, 3]``, without what lies over it."""
        self.settle()
        data = self.viewer.locator("canvas").screenshot(style=HIDE, animations="disabled")
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int16)

    def digest(self) -> str:
        """Of the file of the newest final head, as the server gives it out."""
        return hashlib.sha256(self.save()[1]).hexdigest()

    # -- What can be done ---------------------------------------------------------------------------

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def slide(self, key: str, value: float) -> None:
        self.page.locator(f"#likeness-{key} input[type=range]").fill(str(value))

    def check(self, key: str, on: bool) -> None:
        self.page.locator(f"#likeness-{key}-box").set_checked(on)

    def choose(self, key: str, label: str) -> None:
        self.page.locator(f"#likeness-{key} label").filter(has_text=label).click()

    def press(self, name: str) -> None:
        """A button of the page."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def tool(self, name: str) -> None:
        """A button of the viewer's toolbar."""
        self.viewer.get_by_role("button", name=name, exact=True).click()

    def type_words(self, text: str) -> None:
        """Change the head in words, and wait for it."""
        with self.new_head():
            self.page.locator("#likeness-prompt").fill(text)
            self.page.locator("#likeness-prompt").press("Enter")

    @property
    def chips(self) -> dict[str, float]:
        """The words that the head is changed by, and their strengths."""
        return {
            chip.locator("label").inner_text(): float(chip.locator("input").input_value())
            for chip in self.page.locator("#likeness-words .chip").all()
        }

    def clear_photo(self) -> None:
        button = self.page.locator("#likeness-photo button[aria-label='Remove Image']")
        if button.count():
            button.click()
            self.page.locator("#likeness-photo input[type=file]").wait_for(state="attached")

    def upload(self, path: Path) -> None:
        self.clear_photo()
        self.page.locator("#likeness-photo input[type=file]").set_input_files(path)

    def drop(self, path: Path) -> None:
        """Drop a file in the middle of the viewer, as the system does."""
        box = self.page.locator("#likeness-viewer").bounding_box()
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        session = self.context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
            session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})

    def paste(self, path: Path) -> None:
        """Copy a picture, and paste it with the keys."""
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page.evaluate(
            """async (data) => {
                const picture = new Blob([new Uint8Array(data)], { type: "image/png" });
                await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
            }""",
            list(path.read_bytes()),
        )
        self.page.locator("#likeness-random").focus()
        self.page.keyboard.press("Control+V")

    def example(self, _: Path) -> None:
        self.page.locator("#likeness-examples button[data-name='astronaut.jpg']").click()

    def save(self) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.locator("#likeness-save").click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def visit(server: RunningApp, browser: Any) -> Iterator[Visit]:
    """The visit that the tests share, in the order in which they stand."""
    with Visit(browser, server.address) as visit:
        yield visit


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eileen Collins, a public-domain portrait by NASA that comes with scikit-image."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which pixels differ by more than a shade."""
    return np.abs(a - b).max(axis=2) > 12


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the pictures are one but for the rounding of a camera that has been away and is back."""
    return changed(a, b).mean() < 0.001


def check_identical(a: np.ndarray, b: np.ndarray) -> None:
    """The same pixels; the browser may round the backdrop's gradient the other way after a layer has come and gone."""
    assert a.shape == b.shape
    difference = np.abs(a - b).max(axis=2)
    assert difference.max() <= 1, f"{np.count_nonzero(difference)} pixels by up to {difference.max()} of 255"


def band(mask: np.ndarray, top: float, bottom: float) -> float:
    """The share of the pixels in `mask` between two heights, which are shares of the picture's."""
    rows = slice(int(top * len(mask)), int(bottom * len(mask)))
    return float(mask[rows].sum() / max(mask.sum(), 1))


def check_glb(data: bytes, folder: Path) -> dict[str, Any]:
    """The file's JSON, after the Khronos validator (where it is installed) has found no error and no warning."""
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[4:8], "little") == 2
    assert int.from_bytes(data[8:12], "little") == len(data) <= 3 * 2**20
    length = int.from_bytes(data[12:16], "little")
    if (NODE / "gltf-validator").is_dir():
        path = folder / "head.glb"
        path.write_bytes(data)
        script = (
            "require('gltf-validator').validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))"
            ".then((report) => console.log(JSON.stringify(report.issues)))"
        )
        command = ["node", "--eval", script, str(path)]
        issues = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120).stdout)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    content = json.loads(data[20 : 20 + length])
    assert len(set(content["meshes"][0]["extras"]["targetNames"])) == 52
    return content


# ------------------------------------------------------------------------------------------- the panels


def test_a_head_greets_the_visitor(visit: Visit) -> None:
    (head,) = visit.heads
    assert head["final"]
    assert len(head["morphs"]) == 52
    assert {"neck", "head", "jaw"} <= set(head["joints"])
    pixels = visit.picture()
    # A face stands in the middle of the picture; the wall beside it is plain.
    height, width, _ = pixels.shape
    rows = slice(height // 4, height // 2)
    face, wall = pixels[rows, width * 2 // 5 : width * 3 // 5], pixels[rows, width // 50 : width // 10]
    assert face.std(axis=(0, 1)).min() > 5 * wall.std(axis=(0, 1)).max()
    assert visit.status.startswith("Welcome!")
    assert visit.page.locator("#likeness-save").is_enabled()


# Heights in the viewer's picture, of a head from the front: where on the face.
BROWS, EYES, NOSE, MOUTH, CHIN = (0.15, 0.37), (0.26, 0.44), (0.22, 0.5), (0.36, 0.65), (0.38, 0.8)


@pytest.mark.parametrize(
    ("key", "where"),
    [("browInnerUp", BROWS), ("eyeBlink", EYES), ("noseSneer", NOSE), ("mouthSmile", MOUTH), ("jawOpen", CHIN)],
)
def test_a_slider_of_each_group_moves_its_part_of_the_face(visit: Visit, key: str, where: tuple[float, float]) -> None:
    visit.tab("Expression")
    rest, posts = visit.picture(), visit.posts
    visit.slide(key, 1)
    moved = changed(visit.picture(), rest)
    assert moved.mean() > 0.0005
    assert band(moved, *where) > 0.95
    # Its number takes it back.
    visit.page.locator(f"#likeness-{key} .number").click()
    check_identical(visit.picture(), rest)
    assert visit.posts == posts


def test_left_and_right_go_together_until_they_are_unlinked(visit: Visit) -> None:
    rest = visit.picture()
    visit.slide("eyeBlink", 1)
    both = changed(visit.picture(), rest)
    middle = both.shape[1] // 2
    assert 0.3 < both[:, :middle].sum() / both.sum() < 0.7
    visit.press("Reset expression")
    visit.check("linked", False)
    visit.slide("eyeBlinkLeft", 1)
    # The person's left is on the right of the picture.
    left = changed(visit.picture(), rest)
    assert left.sum() > 0.3 * both.sum()
    assert left[:, middle:].sum() == left.sum()
    visit.press("Reset expression")
    visit.check("linked", True)
    check_identical(visit.picture(), rest)


def test_presets_are_different_faces_and_reset_returns_to_rest(visit: Visit) -> None:
    rest, posts = visit.picture(), visit.posts
    # Where each must show.
    presets = {
        "Neutral": [],
        "Smile": [MOUTH],
        "Laugh": [EYES, MOUTH],
        "Surprise": [BROWS, EYES, MOUTH],
        "Anger": [BROWS],
        "Sadness": [BROWS, MOUTH],
        "Disgust": [NOSE, MOUTH],
        "Wink": [EYES],
        "Kiss": [MOUTH],
    }
    pictures = {}
    for name, places in presets.items():
        visit.press(name)
        pictures[name] = visit.picture()
        assert visit.page.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed") == "true"
        moved = changed(pictures[name], rest)
        for place in places:
            rows = slice(*(int(height * len(moved)) for height in place))
            assert moved[rows].mean() > 0.003, (name, place)
    # A random head has no expression of its own.
    check_identical(pictures["Neutral"], rest)
    for (a, one), (b, other) in itertools.combinations(pictures.items(), 2):
        assert changed(one, other).mean() > 0.001, (a, b)
    wink = changed(pictures["Wink"], rest)
    eyes = slice(*(int(height * len(wink)) for height in EYES))
    middle = wink.shape[1] // 2
    assert wink[eyes, middle:].sum() > 2 * wink[eyes, :middle].sum()
    visit.press("Reset expression")
    check_identical(visit.picture(), rest)
    assert visit.posts == posts


def test_the_pose_panel_turns_head_gaze_and_jaw(visit: Visit) -> None:
    visit.tab("Pose")
    rest, posts = visit.picture(), visit.posts
    for key, value, where, least in (
        ("turn", 30, (0, 1), 0.05),
        ("nod", 15, (0, 1), 0.05),
        ("tilt", 15, (0, 1), 0.05),
        ("gaze_yaw", 20, EYES, 0.0005),
        ("gaze_pitch", 15, EYES, 0.0005),
        ("jaw_open", 0.8, CHIN, 0.003),
        ("jaw_side", 0.8, CHIN, 0.0005),
    ):
        visit.slide(key, value)
        one = visit.picture()
        moved = changed(one, rest)
        assert moved.mean() > least, key
        assert band(moved, *where) > 0.95, key
        if key != "jaw_open":
            visit.slide(key, -value)
            assert changed(visit.picture(), one).mean() > least, key
        visit.press("Reset pose")
        check_identical(visit.picture(), rest)
    # The pad is a second way to the two sliders of the gaze.
    box = visit.page.locator(".pad.gaze").bounding_box()
    visit.page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.2 * box["height"])
    assert float(visit.page.locator("#likeness-gaze_yaw input").input_value()) == pytest.approx(20, abs=2)
    assert float(visit.page.locator("#likeness-gaze_pitch input").input_value()) == pytest.approx(-15, abs=2)
    visit.press("Reset pose")
    check_identical(visit.picture(), rest)
    assert visit.posts == posts


def test_the_light_panel_lights_the_face(visit: Visit) -> None:
    visit.tab("Relight")
    rest, posts = visit.picture(), visit.posts
    height, width, _ = rest.shape
    face = (slice(height // 4, height * 3 // 5), slice(width * 2 // 5, width * 3 // 5))
    presets = [rest]
    for name in ("Daylight", "Dramatic"):
        visit.choose("light", name)
        presets.append(visit.picture())
    for one, other in itertools.combinations(presets, 2):
        assert changed(one, other)[face].mean() > 0.1
    visit.press("Reset light")

    def sides() -> np.ndarray:
        """Brightness of the left and the right half of the face in the picture."""
        left, right = np.array_split(visit.picture()[face], 2, axis=1)
        return np.array([left.mean(), right.mean()])

    # The studio's main light comes from the left of the picture.
    visit.slide("light_yaw", -50)
    left, right = sides()
    assert left > right + 10
    visit.slide("light_yaw", 110)
    left, right = sides()
    assert right > left + 10
    visit.press("Reset light")
    for key, values in {
        "key": (0, 1, 3),
        "environment": (0, 1, 3),
        "exposure": (0.4, 1, 2),
    }.items():
        brightness = []
        for value in values:
            visit.slide(key, value)
            brightness.append(visit.picture()[face].mean())
        assert np.diff(brightness).min() > 5, (key, brightness)
        visit.press("Reset light")
    for key, value in {"light_pitch": 50, "environment_yaw": 180}.items():
        visit.slide(key, value)
        assert np.abs(visit.picture() - rest)[face].mean() > 0.5, key
        visit.press("Reset light")
    for tone in ("filmic", "none"):
        visit.page.locator("#likeness-tone_mapping select").select_option(tone)
        assert np.abs(visit.picture() - rest)[face].mean() > 1, tone
    visit.press("Reset light")
    check_identical(visit.picture(), rest)
    assert visit.posts == posts


def test_the_view_panel_shows_surfaces_and_sides(visit: Visit) -> None:
    visit.tab("View")
    rest, posts = visit.picture(), visit.posts
    surfaces = []
    for name in ("Clay", "Wireframe", "Normals", "UV checker", "Textured"):
        visit.choose("style", name)
        surfaces.append(visit.picture())
    for one, other in itertools.combinations(surfaces, 2):
        assert changed(one, other).mean() > 0.05
    check_identical(surfaces[-1], rest)
    panel = visit.page.locator("#likeness-panel-view")
    views = {}
    for name in ("¾ right", "¾ left", "Right side", "Left side", "Above", "Face", "Eyes"):
        panel.get_by_role("button", name=name, exact=True).click()
        views[name] = visit.picture()
    for (a, one), (b, other) in itertools.combinations(views.items(), 2):
        assert changed(one, other).mean() > 0.05, (a, b)
    # From the person's right side the nose points to the right of the picture: more of the head is behind it.
    head = changed(views["Right side"], np.broadcast_to(views["Right side"][:1, :1], rest.shape))
    columns = np.nonzero(head[: len(head) // 2].any(axis=0))[0]
    assert len(columns)
    panel.get_by_role("button", name="Front", exact=True).click()
    panel.get_by_role("button", name="Head", exact=True).click()
    # The camera is back to within rounding, which edges may show.
    assert same(visit.picture(), rest)
    assert visit.posts == posts


def test_hands_move_the_camera(visit: Visit) -> None:
    rest, posts = visit.picture(), visit.posts
    box = visit.page.locator("#likeness-viewer").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x + 120, y, steps=5)
    visit.page.mouse.up()
    turned = visit.picture()
    assert changed(turned, rest).mean() > 0.02
    visit.page.mouse.wheel(0, -400)
    closer = visit.picture()
    assert changed(closer, turned).mean() > 0.02
    visit.page.mouse.down(button="right")
    visit.page.mouse.move(x + 150, y + 30, steps=5)
    visit.page.mouse.up(button="right")
    assert changed(visit.picture(), closer).mean() > 0.02
    visit.tool("Reset view")
    assert same(visit.picture(), rest)
    for name in ("Three-quarter", "Side"):
        visit.tool(name)
        one = visit.picture()
        assert changed(one, rest).mean() > 0.05
        # Once more shows the other side.
        visit.tool(name)
        assert changed(visit.picture(), one).mean() > 0.05
    visit.tool("Front")
    assert same(visit.picture(), rest)
    assert visit.posts == posts


def test_a_random_head_is_shaped_and_its_history_leads_back(visit: Visit, tmp_path: Path) -> None:
    before = visit.picture()
    with visit.new_head():
        visit.press("Random head")
    number = re.findall(r"Random head number (\d+)", visit.status)
    assert len(number) == 1
    drawn = visit.picture()
    assert changed(drawn, before).mean() > 0.02
    name, data = visit.save()
    assert name == f"head-{number[0]}.glb"
    check_glb(data, tmp_path)
    files = [hashlib.sha256(data).hexdigest()]

    visit.tab("Shape")
    pictures = [drawn]
    for key, value in (("weight", 1.5), ("nose_length", -1.5)):
        with visit.new_head():
            visit.slide(key, value)
        pictures.append(visit.picture())
        files.append(visit.digest())
        assert re.findall(r"Random head number (\d+)", visit.status) == number
        assert changed(pictures[-1], pictures[-2]).mean() > 0.01
    assert len(set(files)) == 3

    def check(step: int, redo: bool) -> None:
        assert visit.digest() == files[step]
        assert same(visit.picture(), pictures[step])
        assert visit.page.locator("#likeness-undo").is_enabled()
        assert visit.page.locator("#likeness-redo").is_enabled() == redo
        assert visit.page.locator("#likeness-restore").is_enabled() == (step > 0)
        values = {key: float(visit.page.locator(f"#likeness-{key} input[type=range]").input_value()) for key in keys}
        assert values == {"weight": 1.5 if step > 0 else 0, "nose_length": -1.5 if step > 1 else 0}

    keys = ("weight", "nose_length")
    check(2, redo=False)
    for step in (1, 0):
        with visit.new_head():
            visit.press("Undo")
        check(step, redo=True)
    with visit.new_head():
        visit.press("Redo")
    check(1, redo=True)
    # By keys, too.
    with visit.new_head():
        visit.page.keyboard.press("Control+Shift+Z")
    check(2, redo=False)
    with visit.new_head():
        visit.press("Reset head")
    assert visit.digest() == files[0]
    with visit.new_head():
        visit.page.keyboard.press("Control+Z")
    check(2, redo=True)

    # Before is the head as it was drawn; Escape or the button ends it.
    visit.tool("Before")
    assert changed(visit.picture(), pictures[2]).mean() > 0.01
    # On the button: a canvas with the focus has a ring.
    visit.viewer.get_by_role("button", name="Before").press("Escape")
    assert same(visit.picture(), pictures[2])


def test_a_face_is_chosen_and_grows_old(visit: Visit) -> None:
    page = visit.page
    visit.tab("Person")
    with visit.new_head():
        visit.press("Surprise me")
    seed = page.locator("#likeness-seed").input_value()
    assert f"Random head number {seed}: " in visit.status
    drawn = visit.picture()
    faces = page.locator("#likeness-faces label:has(input:enabled)")
    faces.nth(8).wait_for()
    sources = "[...document.querySelectorAll('#likeness-faces img')].map((image) => image.src)"
    young = page.evaluate(sources)
    assert len(set(young)) == 9
    with visit.new_head():
        faces.nth(4).click()
    assert page.locator("#likeness-seed").input_value() == faces.nth(4).locator("input").get_attribute("value") != seed
    # In words the head is the one on the picture.
    words = faces.nth(4).locator("img").get_attribute("alt")
    assert words.startswith("Face 5: ") and words.removeprefix("Face 5: ") in visit.status
    chosen, file = visit.picture(), visit.digest()
    assert changed(chosen, drawn).mean() > 0.02

    age = page.locator("#likeness-person-age")
    assert age.locator(".number").is_disabled()
    value = age.locator("input").input_value()
    other = 80 if float(value) < 50 else 20
    with visit.new_head():
        visit.slide("person-age", other)
    assert age.locator(".number").inner_text() == str(other)
    assert changed(visit.picture(), chosen).mean() > 0.005
    # The other faces follow.
    page.wait_for_function(f"(young) => ({sources}).every((source, index) => source !== young[index])", arg=young)
    with visit.new_head():
        page.keyboard.press("Control+Z")
    assert visit.digest() == file
    assert same(visit.picture(), chosen)
    assert age.locator(".number").is_disabled() and age.locator("input").input_value() == value


def test_typed_words_change_the_head_and_leave_no_trace_when_removed(visit: Visit) -> None:
    page = visit.page
    visit.tab("Expression")
    with visit.new_head():
        visit.press("Random head")
    number = re.findall(r"Random head number (\d+)", visit.status)
    before, original = visit.picture(), visit.digest()
    assert visit.chips == {} and page.locator("#likeness-mouthSmile input").input_value() == "0"
    visit.type_words("older, smiling, <b>pikachu</b>")
    assert visit.chips == {"older": 1, "smiling": 1}
    changed_both = visit.picture()
    assert changed(changed_both, before).mean() > 0.01
    # What moved is said, and the sliders of the expression have moved to show it.
    assert re.search(r"Changed: .*age \+\d+ years", page.locator("#likeness-words .changed").inner_text())
    assert float(page.locator("#likeness-mouthSmile input").input_value()) > 0.3
    # What was not understood is named as it was typed, and stays in the field.
    assert "pikachu" in page.locator("#likeness-words .unknown").inner_text()
    assert "pikachu" in page.locator("#likeness-prompt").input_value()
    assert page.locator("#likeness-words .unknown b").count() == 0
    assert re.findall(r"Random head number (\d+)", visit.status) == number
    assert "pikachu" not in "".join(head["url"] for head in visit.heads)
    both = visit.digest()

    # The head before on the left, the head after on the right, by keys.
    visit.tool("Wipe")
    divider = visit.viewer.get_by_role("slider", name="Divider between before and after")
    divider.press("End")
    assert divider.get_attribute("aria-valuenow") == "96"
    wiped = visit.picture()
    left, right = slice(0, wiped.shape[1] * 9 // 10), slice(wiped.shape[1] * 98 // 100, None)
    assert changed(wiped[:, left], changed_both[:, left]).mean() > 0.01
    assert changed(wiped[:, right], changed_both[:, right]).mean() < 0.001
    visit.tool("Wipe")
    check_identical(visit.picture(), changed_both)

    # A slider, with keys, and one away: exactly the head without it, then exactly the first one.
    with visit.new_head():
        page.locator("#likeness-word-0 input").press("Home")
    assert visit.chips == {"older": -1, "smiling": 1}
    assert visit.digest() not in (both, original)
    with visit.new_head():
        page.get_by_role("button", name="Remove older").click()
    assert visit.chips == {"smiling": 1}
    smiling = visit.digest()
    with visit.new_head():
        page.get_by_role("button", name="Remove smiling").click()
    assert visit.chips == {}
    assert visit.digest() == original
    assert same(visit.picture(), before)
    assert page.locator("#likeness-mouthSmile input").input_value() == "0"
    with visit.new_head():
        visit.press("Undo")
    assert visit.chips == {"smiling": 1} and visit.digest() == smiling
    with visit.new_head():
        visit.press("Reset head")
    assert visit.digest() == original


def test_a_snapshot_is_the_picture_on_show_and_full_screen_fills_it(visit: Visit) -> None:
    seen = visit.picture()
    height, width, _ = seen.shape
    with visit.page.expect_download() as download:
        visit.tool("Snapshot")
    assert re.fullmatch(r"head-\d+\.png", download.value.suggested_filename)
    with Image.open(download.value.path()) as image:
        assert (image.format, image.size) == ("PNG", (2 * width, 2 * height))
        taken = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX)).astype(np.int16)
    inside = (slice(20, -20), slice(20, -20))  # the page rounds the viewer's corners
    assert np.abs(taken - seen)[inside].mean() < 2
    visit.tool("Full screen")
    visit.page.wait_for_function("document.fullscreenElement?.id === 'likeness-viewer'")
    visit.frame.wait_for_function("innerWidth === 1280 && innerHeight === 720")
    assert visit.picture().shape == (720, 1280, 3)
    visit.tool("Leave full screen")
    visit.page.wait_for_function("document.fullscreenElement === null")
    visit.frame.wait_for_function(f"innerWidth === {width}")
    assert same(visit.picture(), seen)


# ------------------------------------------------------------------------------------------- photos


def test_a_photo_shows_its_stages_and_becomes_a_head(
    visit: Visit, server: RunningApp, portrait: Path, tmp_path: Path
) -> None:
    visit.tab("Expression")
    before = visit.picture()
    visit.page.evaluate("() => { story.length = rows.length = fractions.length = 0 }")
    with visit.new_head():
        visit.upload(portrait)
    # The photo with its landmarks, the untextured head, the textured one.
    story = [moment for moment, _ in itertools.groupby(visit.page.evaluate("story"))]
    assert story == ["478 points", "first", "final"]
    told = visit.page.evaluate("rows")
    rows = [re.fullmatch(r"✓ (.+) \d+\.\d\d s", row) for row in told]
    assert all(rows), told
    # Each once, in order; the last ones come with the report.
    names = [row[1] for row in rows if row]
    assert [name for name, _ in itertools.groupby(names)] == list(dict.fromkeys(names))
    wanted = ["Photo read", "Face found", "Landmarks", "Shape", "Refined", "Skin", "Packed"]
    assert list(dict.fromkeys(names)) == wanted
    fractions = visit.page.evaluate("fractions")
    assert len(fractions) > 4 and fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    # The report.
    visit.page.locator("#likeness-status p.done").wait_for()
    assert re.search(r"Confidence \d+ %", visit.status)
    assert re.search(r"Made in \d+\.\d s", visit.status)
    assert visit.page.locator("#likeness-cancel").is_hidden()
    assert changed(visit.picture(), before).mean() > 0.02
    name, data = visit.save()
    assert name == "astronaut.glb"
    check_glb(data, tmp_path)
    assert server.files == []


def test_the_panels_move_the_head_of_a_photo_too(visit: Visit) -> None:
    rest, posts = visit.picture(), visit.posts
    for tab, key, value in (("Expression", "jawOpen", 0.8), ("Expression", "eyeBlink", 1), ("Pose", "turn", 25)):
        visit.tab(tab)
        visit.slide(key, value)
        assert changed(visit.picture(), rest).mean() > 0.001, key
        visit.slide(key, 0)
    check_identical(visit.picture(), rest)
    # She smiles on the photo.
    visit.tab("Expression")
    visit.check("own", False)
    bare = changed(visit.picture(), rest)
    assert bare.mean() > 0.001
    visit.check("own", True)
    check_identical(visit.picture(), rest)
    assert visit.posts == posts


def test_the_head_lies_on_the_face_that_it_was_made_from(visit: Visit) -> None:
    rest = visit.picture()

    def compare(mix: int) -> np.ndarray:
        visit.viewer.locator("#mix input").fill(str(mix))
        return visit.picture().mean(axis=2)

    def shift_px() -> np.ndarray:
        """How far the head's face lies from the photo's, right and down, by the best match of their details."""
        photo, head = (difference_of_gaussians(compare(mix), 1, 6)[rows, columns] for mix in (0, 100))
        assert not np.array_equal(photo, head)
        inside = head[REACH:-REACH, REACH:-REACH]
        match = match_template(photo, inside)
        y, x = np.unravel_index(match.argmax(), match.shape)
        return REACH - np.array([x, y])

    REACH = 24
    photo = visit.frame.evaluate("said.set_photo")
    visit.tool("Compare with photo")
    box = visit.frame.evaluate("likenessViewer.photoBox")
    points = np.array(photo["points_px"]).reshape(-1, 2) * box["scale"] + [box["left"], box["top"]]
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    # Eyes, nose and mouth; hair is none on the head.
    rows = slice(int(top + 0.2 * (bottom - top)) - REACH, int(bottom) + REACH)
    columns = slice(int(left) - REACH, int(right) + REACH)
    assert np.abs(shift_px()).max() <= 2

    # A camera 15 mm to the side lays it that far beside the face.
    wrong = list(photo["transform"])
    wrong[3] += 0.015
    send = "message => document.getElementById('likeness-viewer').contentWindow.postMessage(message, location.origin)"
    visit.page.evaluate(send, {**photo, "transform": wrong})
    expected = 0.015 * photo["focal_px"] / wrong[11] * box["scale"]
    assert expected > 8
    assert np.abs(shift_px() - [expected, 0]).max() <= 3
    visit.page.evaluate(send, photo)
    visit.tool("Compare with photo")
    assert same(visit.picture(), rest)


@pytest.mark.parametrize(
    ("way", "moment"),
    [("drop", "story.includes('478 points')"), ("paste", "story.includes('first')"), ("example", "rows.length > 0")],
)
def test_photos_come_from_anywhere_and_cancel_brings_the_head_back(
    visit: Visit, server: RunningApp, portrait: Path, way: str, moment: str
) -> None:
    before, finals = visit.picture(), visit.finals
    visit.page.evaluate("() => { story.length = rows.length = 0 }")
    getattr(visit, way)(portrait)
    visit.page.wait_for_function(moment)
    visit.press("Cancel")
    visit.page.get_by_text("Cancelled; your previous head is back.").first.wait_for()
    visit.page.locator("#likeness-cancel").wait_for(state="hidden")
    assert visit.viewer.locator("#progress").is_hidden()
    check_identical(visit.picture(), before)
    # Nothing of it comes later.
    visit.page.wait_for_timeout(1500)
    assert visit.finals == finals
    check_identical(visit.picture(), before)
    assert visit.save()[0] == "astronaut.glb"
    assert server.files == []


def test_a_click_chooses_another_face(visit: Visit, portrait: Path, tmp_path: Path) -> None:
    with Image.open(portrait) as image:
        pair = Image.new("RGB", (768, 512), (90, 90, 90))
        pair.paste(image.crop((100, 0, 356, 256)).resize((512, 512)), (0, 0))
        pair.paste(image.crop((100, 0, 356, 256)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 128))
    pair.save(tmp_path / "pair.png")
    with visit.new_head():
        visit.upload(tmp_path / "pair.png")
    assert "2 faces were found" in visit.status
    larger = visit.picture()
    picture = visit.page.locator("#likeness-photo img")
    box = picture.bounding_box()
    # object-fit: the picture is in the middle of its box.
    scale = min(box["width"] / 768, box["height"] / 512)
    with visit.new_head():
        picture.click(position={"x": box["width"] / 2 + (640 - 384) * scale, "y": box["height"] / 2})
    assert changed(visit.picture(), larger).mean() > 0.01


def test_views_from_the_side_join_the_photo_from_the_front(visit: Visit, tmp_path: Path) -> None:
    # To the person's own left and right: what is seen is the other side.
    for name, yaw_deg in (("front", 0.0), ("right", 40.0), ("left", -40.0)):
        pixels = sample_photo(load_head(), 61, yaw_range_deg=(yaw_deg, yaw_deg), size=384).pixels
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    with visit.new_head():
        visit.upload(tmp_path / "front.png")
    alone, said = visit.picture(), visit.status
    visit.page.get_by_role("button", name="Add a side view").click()
    for side in ("left", "right"):
        visit.page.locator(f"#likeness-side-{side} input[type=file]").set_input_files(tmp_path / f"{side}.png")
        visit.page.locator(f"#likeness-side-{side} img").wait_for()
    # Nothing else on the page has changed by it.
    for name in ("Download GLB", "Undo", "Redo", "Reset head"):
        visit.page.get_by_role("button", name=name, exact=True).wait_for()
    assert visit.status == said
    with visit.new_head():
        visit.press("Use all photos")
    assert re.search(r"The second photo, turned by \d+ degrees.*\bleft cheek", visit.status), visit.status
    assert re.search(r"The third photo, turned by \d+ degrees.*\bright cheek", visit.status), visit.status
    assert changed(visit.picture(), alone).mean() > 0.002
    visit.page.get_by_role("button", name="Add a side view").click()


BAD_PHOTOS = {
    **{kind: data for kind, (data, _) in BAD.items()},
    "huge": bomb_png(30000, 30000),
    "damaged": bomb_png(64, 64),
    "video": b"\0\0\0\x20ftypisom\0\0\0\0" + bytes(200),
}


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_bad_photo_is_the_sentence_of_the_core_and_changes_nothing(visit: Visit, kind: str, tmp_path: Path) -> None:
    # Also under names that the browser knows as something else, or not at all.
    path = tmp_path / {"text": "diary.txt", "svg": "drawing.svg", "video": "me.heic"}.get(kind, f"{kind}.jpg")
    path.write_bytes(BAD_PHOTOS[kind])
    # What `reconstruct` raises is what the command line prints.
    with pytest.raises(PhotoError) as raised:
        pipeline.reconstruct(path)
    rest, heads, file = visit.picture(), len(visit.heads), visit.digest()
    visit.upload(path)
    # In passing, and to stay.
    visit.page.wait_for_function("text => toasts.some((toast) => toast.includes(text))", arg=str(raised.value))
    visit.page.locator("#likeness-status p.problem").get_by_text(str(raised.value), exact=True).wait_for()
    assert visit.page.locator("#likeness-status p.problem").count() == 1
    assert len(visit.heads) == heads
    check_identical(visit.picture(), rest)
    # The head from before can still be saved.
    assert visit.digest() == file
    # Several would be folded into one, which shows the first.
    visit.page.evaluate("document.querySelectorAll('[data-testid=toast-close]').forEach((button) => button.click())")
    visit.page.locator(".toast-body").wait_for(state="detached")


def test_after_bad_photos_the_page_works_on(visit: Visit, server: RunningApp) -> None:
    with visit.new_head():
        visit.press("Random head")
    assert visit.status.startswith("Random head number")
    visit.clear_photo()
    assert server.files == []


CLICK_TO_ALLOW = "#likeness-photo button:has-text('Click to Access Webcam')"


@pytest.mark.parametrize("who", ["nobody", "astronaut"])
def test_the_camera_takes_a_photo(server: RunningApp, driver: Any, portrait: Path, who: str, tmp_path: Path) -> None:
    film = tmp_path / "film.mjpeg"
    frame = io.BytesIO()
    with Image.open(portrait) as image:
        scene = image.crop((60, 0, 380, 240)).resize((640, 480))
        (scene if who == "astronaut" else Image.new("RGB", (640, 480), (70, 90, 110))).save(frame, "JPEG", quality=95)
    film.write_bytes(frame.getvalue() * 20)
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with (
        chromium(driver, [*BROWSER_ARGUMENTS, *camera, f"--use-file-for-fake-video-capture={film}"]) as browser,
        Visit(browser, server.address, permissions=["camera"]) as visit,
    ):
        visit.page.locator("#likeness-photo button[aria-label='Capture from camera']").click()
        visit.page.locator(CLICK_TO_ALLOW).click()
        visit.page.wait_for_function("document.querySelector('#likeness-photo video')?.videoWidth === 640")
        shutter = visit.page.locator("#likeness-photo button[aria-label='capture photo']")
        if who == "astronaut":
            with visit.new_head():
                shutter.click()
            assert "Confidence" in visit.status
        else:
            shutter.click()
            problem = visit.page.locator("#likeness-status p.problem")
            problem.wait_for()
            assert problem.inner_text().startswith("No face was found")
            assert visit.finals == 1
    assert server.files == []


# ------------------------------------------------------------------------------- other visitors, other devices


def fetched(visit: Visit, url: str) -> int:
    """The status of the server's answer to this visitor."""
    return visit.page.evaluate("async (url) => (await fetch(url)).status", url)


def test_two_visitors_see_their_own_heads_and_leave_nothing(
    server: RunningApp, browser: Any, portrait: Path, tmp_path: Path
) -> None:
    with Visit(browser, server.address, expected=("404",)) as one:
        with Visit(browser, server.address, expected=("404",)) as other:
            welcome = [visit.picture() for visit in (one, other)]
            check_identical(*welcome)
            # One waits while the other's photo is at work, and thinks better of it.
            other.upload(portrait)
            other.page.wait_for_function("rows.length > 0")
            one.upload(portrait)
            one.page.get_by_text("You are number 1 in line").first.wait_for()
            one.press("Cancel")
            one.page.get_by_text("Cancelled; your previous head is back.").first.wait_for()
            check_identical(one.picture(), welcome[0])
            other.wait_for_finals(2)
            # Both at once, each their own.
            with one.new_head(), other.new_head():
                one.press("Random head")
                other.press("Random head")
            assert (one.finals, other.finals) == (2, 3)
            urls = [visit.heads[-1]["url"] for visit in (one, other)]
            assert len({re.sub(r"head-\d+", "", url) for url in urls}) == 2
            names = [Path(url).name for url in urls]
            assert [visit.save()[0] for visit in (one, other)] == names
            assert [
                f"head-{number}.glb" for visit in (one, other) for number in re.findall(r"number (\d+)", visit.status)
            ] == names
            mine, yours = one.picture(), other.picture()
            assert changed(mine, yours).mean() > 0.02
            photo = other.page.locator("#likeness-photo img").get_attribute("src")
            kept = [url for head in other.heads if fetched(other, url := head["url"]) == 200]
            assert urls[1] in kept and fetched(other, photo) == 200
        # The other one has left.
        until(lambda: all(fetched(one, url) == 404 for url in (*kept, photo)), "what the other had is still there")
        assert fetched(one, urls[0]) == 200
        check_identical(one.picture(), mine)
        assert one.finals == 2
    assert server.files == []


PHONE = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
# Everything that is pressed, dragged or chosen, as large as what takes the touch: a box's label, a radio's.
TARGETS = """() => [...document.querySelectorAll("button, summary, select, input, [role=tab], a[href]")]
    .map((element) => (element.matches("[type=checkbox], [type=radio]") ? element.closest("label") : element))
    .filter((element) => element && element.type !== "file" && element.checkVisibility({ visibilityProperty: true }))
    .map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        return { name: element.outerHTML.slice(0, 200), x, y, width, height };
    })"""


def check_fits(visit: Visit) -> None:
    """Nothing is wider than the screen, and what is touched is large enough for a finger."""
    width = visit.page.viewport_size["width"]
    for frame in (visit.page.main_frame, visit.frame):
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), frame.url
        for target in frame.evaluate(TARGETS):
            if target["width"] == 0 or target["height"] == 0:
                continue
            assert target["x"] >= -0.5 and target["x"] + target["width"] <= width + 0.5, target
            assert min(target["width"], target["height"]) >= 39.5, target


def check_visible_at_once(visit: Visit) -> None:
    """The viewer and the photo input are on the screen without scrolling."""
    size = visit.page.viewport_size
    assert visit.page.evaluate("scrollY") == 0
    for name in ("#likeness-viewer", "#likeness-photo"):
        box = visit.page.locator(name).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= size["height"], name
        assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"], name


def test_a_phone_shows_all_in_the_dark_and_takes_touches(server: RunningApp, browser: Any) -> None:
    with Visit(browser, server.address, viewport={"width": 390, "height": 844}, color_scheme="dark", **PHONE) as visit:
        page = visit.page
        check_visible_at_once(visit)
        # Dark, as the phone is.
        corner = visit.picture()[5, 5]
        assert corner.max() < 100
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 60
        for name in ("Expression", "Pose", "Person", "Shape", "Detail", "Relight", "View"):
            tab = page.get_by_role("tab", name=name, exact=True)
            tab.tap()
            assert tab.get_attribute("aria-selected") == "true"
            closed = page.locator("#likeness-panels details:not([open]) summary:visible")
            while closed.count():
                closed.first.tap()
            check_fits(visit)
        # Words, with a finger.
        page.evaluate("scrollTo(0, 0)")
        for summary in page.locator("#likeness-words summary").all():
            summary.tap()
        check_fits(visit)
        with visit.new_head():
            page.locator("[data-idea='green eyes']").tap()
        page.get_by_role("button", name="Remove green eyes").wait_for()
        check_fits(visit)
        # A finger on a slider.
        rest = visit.picture()
        page.get_by_role("tab", name="Pose", exact=True).tap()
        slider = page.locator("#likeness-turn input")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        assert float(slider.input_value()) > 25
        assert changed(visit.picture(), rest).mean() > 0.02
        page.locator("#likeness-turn .number").tap()
        assert float(slider.input_value()) == 0
        # The other theme, and it stays.
        with visit.new_head():
            page.evaluate("scrollTo(0, 0)")
            page.locator("#likeness-random").tap()
        page.locator("#likeness-theme").tap()
        assert visit.picture()[5, 5].min() > 150
        page.reload()
        visit.wait_for_finals(1)
        assert visit.picture()[5, 5].min() > 150
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert min(map(int, re.findall(r"\d+", background)[:3])) > 200
        # On its side.
        page.set_viewport_size({"width": 844, "height": 390})
        page.evaluate("scrollTo(0, 0)")
        visit.settle()
        check_visible_at_once(visit)
        check_fits(visit)


# ------------------------------------------------------------------------------- keys alone, and those who listen

# Elements in the order in which Tab reaches them, and whether something about each looks different while it has it.
STOP = """() => {
    window.stops ??= [];
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    // Inside it something has the focus, and shows it.
    if (element.localName === "iframe") return { tag: "iframe" };
    const near = [element, element.nextElementSibling, element.parentElement, element.closest("label")];
    const look = () => JSON.stringify(near.filter(Boolean).map((part) => {
        const style = getComputedStyle(part);
        const outline = style.outlineStyle === "none" ? "" : `${style.outlineWidth} ${style.outlineColor}`;
        return [outline, style.boxShadow, style.borderColor, style.backgroundColor];
    }));
    const known = stops.findIndex((stop) => stop.element === element);
    if (known < 0) stops.push({ element, look, focused: look() });
    const label = (element.getAttribute("aria-label") ?? element.innerText ?? "").trim();
    return { id: element.id, tag: element.localName, label, inside: element.closest("[id]")?.id ?? "", known };
}"""
UNSEEN = """() => {
    document.activeElement?.blur();
    const unseen = stops.filter(({ look, focused }) => look() === focused);
    return unseen.map(({ element }) => element.outerHTML.slice(0, 200));
}"""


def tab_stop(visit: Visit) -> dict[str, Any]:
    """Press Tab; where that leads, in the page or in the viewer."""
    visit.page.keyboard.press("Tab")
    stop = visit.page.evaluate(STOP)
    if stop and stop["tag"] == "iframe":
        return {**visit.frame.evaluate(STOP), "viewer": True}
    return stop or {"id": "", "tag": "", "label": "", "inside": "", "known": -1}


def tab_to(visit: Visit, wanted: str) -> None:
    """Press Tab until an element with this id, or in an element with it, has the focus."""
    for _ in range(150):
        stop = tab_stop(visit)
        if wanted in (stop["id"], stop["inside"]):
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


def test_keys_alone_do_everything(server: RunningApp, browser: Any, tmp_path: Path) -> None:
    with Visit(browser, server.address) as visit:
        page, keyboard = visit.page, visit.page.keyboard
        rest = visit.picture()
        stops = []
        for _ in range(180):
            stop = tab_stop(visit)
            if stops and stop["known"] == 0:
                break
            stops.append(stop)
        # In the order in which they stand: photo, random head, download, the viewer, the panels.
        found = [name for stop in stops for name in (stop["id"] or stop["inside"], stop["label"]) if name]
        order = ["likeness-theme", "likeness-photo", "Random head", "Download GLB", "The 3D head", "Front", "Snapshot"]
        order += [
            "Full screen",
            "likeness-prompt",
            "Apply",
            "More ideas",
            "Expression",
            "Neutral",
            "likeness-own-box",
            "likeness-eyeBlink-range",
        ]
        places = [found.index(name) for name in order]
        assert places == sorted(places), found
        for frame in (page.main_frame, visit.frame):
            assert frame.evaluate(UNSEEN) == []

        # A random head.
        tab_to(visit, "likeness-random")
        with visit.new_head():
            keyboard.press("Enter")
        drawn = visit.picture()
        assert changed(drawn, rest).mean() > 0.02
        # Tabs are one stop, and arrows lead from one to the next.
        for _ in range(150):
            if tab_stop(visit)["label"].strip() == "Expression":
                break
        keyboard.press("ArrowRight")
        assert page.get_by_role("tab", name="Pose", exact=True).get_attribute("aria-selected") == "true"
        tab_to(visit, "likeness-turn-range")
        for _ in range(20):
            keyboard.press("ArrowRight")
        assert page.locator("#likeness-turn input").input_value() == "20"
        assert changed(visit.picture(), drawn).mean() > 0.02
        keyboard.press("Delete")
        check_identical(visit.picture(), drawn)
        # The camera.
        for _ in range(150):
            if tab_stop(visit)["label"] == "The 3D head":
                break
        keyboard.press("ArrowLeft")
        assert changed(visit.picture(), drawn).mean() > 0.02
        keyboard.press("r")
        # But for the frame that shows where the keys go.
        inside = (slice(8, -8), slice(8, -8))
        assert same(visit.picture()[inside], drawn[inside])
        tab_to(visit, "likeness-save")
        with page.expect_download() as download:
            keyboard.press("Enter")
        check_glb(Path(download.value.path()).read_bytes(), tmp_path)


# What stays: rule -> what tells it from others, in the markup or in axe's summary.
ACCEPTED = {
    # Gradio's drop zone is called "Drop an image file here to upload", whatever placeholder stands in it.
    "label-content-name-mismatch": r'class="upload-container',
    # Below what sticks to the screen's edges until the page is scrolled. Sizes are checked on the phone above.
    "target-size": r"partially obscured",
}


def axe_violations(visit: Visit) -> list[str]:
    """What axe-core finds in the page and in the viewer, but for what is accepted."""
    script = (NODE / "axe-core/axe.min.js").read_text()
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = []
    for frame in (visit.page.main_frame, visit.frame):
        # Half way from one theme to the other no contrast is right. What never ends is no transition.
        frame.wait_for_function(
            """() => document.getAnimations().every(({ playState, effect }) =>
                playState !== "running" || effect.getComputedTiming().endTime === Infinity)"""
        )
        if not frame.evaluate("'axe' in window"):
            frame.evaluate(script)
        report = frame.evaluate("(values) => axe.run({ runOnly: { type: 'tag', values }, iframes: false })", tags)
        assert len(report["passes"]) > 10
        for rule in report["violations"]:
            for node in rule["nodes"]:
                text = f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
                if not re.search(ACCEPTED.get(rule["id"], "$^"), text):
                    found.append(text)
    return found


@pytest.mark.skipif(not (NODE / "axe-core").is_dir(), reason="axe-core is not installed: npm ci")
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_those_who_cannot_see_can_use_it(server: RunningApp, browser: Any, portrait: Path, device: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", **PHONE}
    with Visit(browser, server.address, bypass_csp=True, **(phone if device == "phone" else {})) as visit:
        assert axe_violations(visit) == []
        visit.type_words("older, smiling, pikachu")
        for summary in visit.page.locator("#likeness-words summary").all():
            summary.click()
        visit.tool("Wipe")
        assert axe_violations(visit) == []
        visit.tool("Wipe")
        visit.upload(portrait)
        visit.page.wait_for_function("story.includes('478 points')")
        busy = axe_violations(visit)
        assert busy == []
        visit.wait_for_finals(3)
        visit.tool("Compare with photo")
        for name in ("Expression", "Pose", "Person", "Shape", "Detail", "Relight", "View"):
            visit.tab(name)
            assert axe_violations(visit) == [], name
        visit.page.get_by_role("button", name="Add a side view").click()
        visit.page.locator("#likeness-theme").click()
        assert axe_violations(visit) == []


# ------------------------------------------------------------------------------------------- when things go wrong


def test_the_viewer_starts_again_where_the_graphics_card_gave_up(server: RunningApp, browser: Any) -> None:
    with Visit(browser, server.address, expected=("Context Lost", "CONTEXT_LOST")) as visit:
        with visit.new_head():
            visit.press("Random head")
        visit.tab("Pose")
        visit.slide("turn", 20)
        visit.tab("Relight")
        visit.choose("light", "Daylight")
        before = visit.picture()
        visit.frame.evaluate(
            "document.querySelector('canvas').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
        )
        visit.viewer.get_by_role("alert").get_by_text("The graphics card has dropped the picture").wait_for()
        with visit.new_head():
            visit.tool("Restart the viewer")
        # With everything that was set.
        assert same(visit.picture(), before)
        assert visit.viewer.get_by_role("alert").count() == 0


def test_without_webgl_a_photo_still_becomes_a_file(
    server: RunningApp, driver: Any, portrait: Path, tmp_path: Path
) -> None:
    with (
        chromium(driver, [*QUIET_ARGUMENTS, "--disable-gpu", "--disable-3d-apis"]) as browser,
        Visit(browser, server.address, expected=("WebGL",), wait=False) as visit,
    ):
        visit.page.wait_for_function("heads.length === 1")
        assert visit.viewer.get_by_role("alert").inner_text().startswith("This browser cannot draw 3D pictures")
        visit.upload(portrait)
        visit.page.wait_for_function("heads.filter((head) => head.final).length === 2")
        assert "Confidence" in visit.status
        name, data = visit.save()
        assert name == "astronaut.glb"
        check_glb(data, tmp_path)


def test_a_network_or_a_server_that_goes_away_is_told_and_comes_back(
    tmp_path: Path, browser: Any, portrait: Path
) -> None:
    lost = ("ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET")
    lost += (
        "ERR_EMPTY_RESPONSE",
        "ERR_CONTENT_LENGTH_MISMATCH",
        "ERR_NETWORK",
        "503",
        "404",
        "Failed to fetch",
        "network error",
        "BodyStreamBuffer",
        "errored out",
    )
    app = RunningApp(tmp_path)
    with app, Visit(browser, app.address, expected=lost) as visit:
        bar = visit.page.locator("#likeness-connection")
        rest = visit.picture()
        # The network. What was asked meanwhile is done when it is back.
        visit.context.set_offline(True)
        bar.get_by_text("You are offline.").wait_for()
        visit.tab("Expression")
        visit.slide("jawOpen", 0.8)
        assert changed(visit.picture(), rest).mean() > 0.003
        file = visit.digest()
        with visit.new_head():
            visit.press("Random head")
            visit.page.wait_for_timeout(500)
            visit.context.set_offline(False)
        bar.get_by_text("You are offline.").wait_for(state="detached")
        assert visit.digest() != file
        # The server, in the middle of a photo.
        before = visit.picture()
        file = visit.digest()
        visit.upload(portrait)
        visit.page.wait_for_function("story.includes('478 points')")
        app.process.kill()
        app.process.wait()
        bar.get_by_text("The connection broke").or_(bar.get_by_text("The server does not answer")).wait_for()
        assert app.files == []
        # What was being made is gone; what was there is still there.
        visit.viewer.locator("#progress").wait_for(state="hidden")
        check_identical(visit.picture(), before)
        assert visit.digest() == file
        with app:
            bar.get_by_text("The server was restarted").wait_for()
            check_identical(visit.picture(), before)
            assert visit.digest() == file
            bar.get_by_role("button", name="Reload").click()
            visit.page.wait_for_function("heads.length === 1")
            assert bar.count() == 0
            with visit.new_head():
                visit.press("Random head")
