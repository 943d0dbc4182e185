"""Screens of the page for the documentation: the app as a person starts it, in a real browser. `pictures` saves them.

Needs Chromium and playwright (requirements-dev.txt). The photo is the page's own example, the public-domain portrait of
the astronaut Eileen Collins (NASA).
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Frame, Page

ROOT = Path(__file__).resolve().parent.parent

# What a Chromium needs to leave the network alone, and then to draw WebGL without a GPU. The tests start theirs so too.
QUIET_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSER_ARGUMENTS = [*QUIET_ARGUMENTS, "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
PATIENCE_S = 240  # for a busy machine
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.25,
    "has_touch": True,
    "is_mobile": True,
}
# What lies over the viewer's picture.
BARE = "#toolbar, #mix, #wipe { visibility: hidden !important }"
# Counts the heads that were on show with their detail, which comes after them.
COUNT = """
window.finals = 0;
addEventListener("likeness:head", ({ detail }) => (finals += detail.final && detail.maps.includes("wrinkles")));
"""
# While the shape is sought: the landmarks are over the photo and no head is there yet.
READING = """
document.querySelectorAll("#likeness-status li.done").length >= 3 &&
document.querySelector("#likeness-viewer").contentDocument.querySelectorAll(".reading circle").length > 0
"""


@dataclass(frozen=True)
class Screen:
    """Pictures of one size that belong together, and how they are laid out. captions: none, or one for each."""

    tiles: tuple[Image.Image, ...]
    columns: int
    captions: tuple[str, ...] = ()


class Visit:
    """A visitor's page with the astronaut's head on it."""

    def __init__(self, page: Page, server: subprocess.Popen[bytes]) -> None:
        self.page = page
        self._server = server

    def read_photo(self) -> Image.Image:
        """The whole page while the photo is being read."""
        self.page.locator("#likeness-examples button[data-name='astronaut.jpg']").click()
        self.page.wait_for_function(READING)
        # The next stage would come before the picture is taken.
        self._server.send_signal(signal.SIGSTOP)
        try:
            self.page.wait_for_timeout(3000)  # the points appear one after the other
            return self.screen(settle=False)
        finally:
            self._server.send_signal(signal.SIGCONT)

    def make_head(self) -> None:
        """Press the example, and wait for its head."""
        with self.new_head():
            self.page.locator("#likeness-examples button[data-name='astronaut.jpg']").click()

    @contextmanager
    def new_head(self) -> Iterator[None]:
        """What is done inside leads to another head, and to its detail."""
        before = self.page.evaluate("finals")
        yield
        self.page.wait_for_function(f"finals > {before} || document.querySelector('#likeness-status .problem')")

    @property
    def _viewer(self) -> Frame:
        frame = self.page.locator("#likeness-viewer").element_handle().content_frame()
        assert frame is not None
        return frame

    def settle(self) -> None:
        """Until the viewer has nothing more to draw and has drawn that in full. Raises where the page complains."""
        # Away from what shows a tip under the pointer.
        self.page.mouse.move(640, 4)
        drawn = "[likenessViewer.statistics.pictures, document.querySelector('canvas').width]"
        full = "Math.floor(innerWidth * Math.min(devicePixelRatio, 1.5))"
        before: Any = None
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self.page.wait_for_timeout(500)
            now = self._viewer.evaluate(drawn)
            if now == before and now[1] >= self._viewer.evaluate(full):
                break
            before = now
        else:
            raise RuntimeError(f"The viewer does not come to rest within {PATIENCE_S} s.")
        said = self.page.locator("#likeness-status .problem, .toast-body, #likeness-connection p").all_inner_texts()
        if said:
            raise RuntimeError(f"The page complains: {said}")

    def screen(self, settle: bool = True, scroll_to: str | None = None) -> Image.Image:
        """What the visitor sees."""
        if settle:
            self.settle()
        if scroll_to is not None:
            self.page.locator(scroll_to).evaluate("element => element.scrollIntoView({ block: 'start' })")
        self.page.wait_for_timeout(500)
        return _image(self.page.screenshot())

    def stage(self, bare: bool = True) -> Image.Image:
        """The viewer alone; bare: without its buttons."""
        self.settle()
        style = BARE if bare else None
        return _image(self.page.locator("#likeness-viewer").screenshot(style=style, animations="disabled"))

    def head(self, share: float = 0.9) -> Image.Image:
        """The head in the viewer, from its top down to `share` of the picture's height, as an upright tile."""
        picture = self.stage()
        top, height = round(0.03 * picture.height), round(share * picture.height)
        width = round(0.8 * height)
        left = (picture.width - width) // 2
        return picture.crop((left, top, left + width, top + height)).resize((288, 360), Image.Resampling.LANCZOS)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def tool(self, name: str) -> None:
        """A button of the viewer's toolbar."""
        self.page.frame_locator("#likeness-viewer").get_by_role("button", name=name, exact=True).click()

    def choose(self, key: str, label: str) -> None:
        self.page.locator(f"#likeness-{key} label").filter(has_text=label).click()

    def slide(self, key: str, value: float) -> None:
        self.page.locator(f"#likeness-{key} input[type=range]").fill(str(value))


class Studio:
    """The running app and a browser."""

    def __init__(self, browser: Browser, address: str, server: subprocess.Popen[bytes]) -> None:
        self._browser, self._address, self._server = browser, address, server

    @contextmanager
    def visit(self, head: bool = True, **options: Any) -> Iterator[Visit]:
        """Open the page, on a desktop unless `options` say otherwise; head: with the astronaut's head."""
        usual: dict[str, Any] = {"color_scheme": "light", "reduced_motion": "reduce"}
        context = self._browser.new_context(**(usual | DESKTOP | options))
        try:
            page = context.new_page()
            page.set_default_timeout(PATIENCE_S * 1000)
            page.add_init_script(COUNT)
            page.goto(self._address)
            page.wait_for_function("window.finals >= 1")
            visit = Visit(page, self._server)
            if head:
                visit.make_head()
            visit.settle()
            yield visit
        finally:
            context.close()


def _image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


@contextmanager
def opened() -> Iterator[Studio | None]:
    """Start the app and a browser; None where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(Path(name) / "uploads")}
        with log.open("w+b") as output:
            server = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=output, stderr=output
            )
            try:
                address = _address(server, log)
                with sync_playwright() as driver:
                    browser = driver.chromium.launch(executable_path=chromium, headless=True, args=BROWSER_ARGUMENTS)
                    yield Studio(browser, address, server)
                    browser.close()
            finally:
                server.terminate()
                server.wait(30)


def _address(server: subprocess.Popen[bytes], output: Path) -> str:
    """What the server says where it is, once it says so."""
    until = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", output.read_text())):
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"The app did not start. It said:\n{output.read_text()}")
        time.sleep(0.2)
    return found[0]


# ------------------------------------------------------------------------------------------------- the screens


def page(studio: Studio) -> Screen:
    """The page with the head of a photo on it."""
    with studio.visit() as visit:
        return Screen((visit.screen(),), 1)


def page_dark_phone(studio: Studio) -> Screen:
    """The page on a phone, dark: the photo and its report, the expressions, the lights."""
    with studio.visit(**PHONE, color_scheme="dark") as visit:
        tiles = [visit.screen()]
        visit.tab("Expression")
        visit.press("Laugh")
        tiles.append(visit.screen(scroll_to="#likeness-panels"))
        visit.press("Reset expression")
        visit.tab("Relight")
        visit.choose("light", "Dramatic")
        tiles.append(visit.screen(scroll_to="#likeness-panels"))
        return Screen(tuple(tiles), 3)


def tour_photo(studio: Studio) -> Screen:
    """While a photo is being read."""
    with studio.visit(head=False) as visit:
        whole = visit.read_photo()
        stage = visit.page.locator("#likeness-stage").bounding_box()
        assert stage is not None
        right, bottom = round(stage["x"] + stage["width"]), round(stage["y"] + stage["height"])
        return Screen((whole.crop((0, 0, right + 12, bottom + 12)),), 1)


def tour_expressions(studio: Studio) -> Screen:
    """One head, some of the expressions that are one press away."""
    names = ("Neutral", "Smile", "Laugh", "Surprise", "Anger", "Kiss")
    with studio.visit() as visit:
        visit.tab("Expression")
        tiles = []
        for name in names:
            visit.press(name)
            tiles.append(visit.head(0.7))
        return Screen(tuple(tiles), 3, names)


def tour_light(studio: Studio) -> Screen:
    """The same head in three lights."""
    names = ("Studio", "Daylight", "Dramatic")
    with studio.visit() as visit:
        visit.tool("Three-quarter")
        visit.tab("Relight")
        tiles = []
        for name in names:
            visit.choose("light", name)
            tiles.append(visit.head())
        return Screen(tuple(tiles), 3, names)


def tour_surfaces(studio: Studio) -> Screen:
    """The same head in five surfaces."""
    names = ("Textured", "Clay", "Wireframe", "Normals", "UV checker")
    with studio.visit() as visit:
        visit.tool("Three-quarter")
        visit.tab("View")
        tiles = []
        for name in names:
            visit.choose("style", name)
            tiles.append(visit.head())
        return Screen(tuple(tiles), 5, names)


def tour_compare(studio: Studio) -> Screen:
    """The head over its photo, from the photo alone to the head alone."""
    with studio.visit() as visit:
        visit.tool("Compare with photo")
        mix = visit.page.frame_locator("#likeness-viewer").locator("#mix input")
        tiles = []
        for share in (0, 50, 100):
            mix.fill(str(share))
            tiles.append(visit.stage(bare=False))
        size = (round(0.7 * tiles[0].width), round(0.7 * tiles[0].height))
        return Screen(tuple(tile.resize(size, Image.Resampling.LANCZOS) for tile in tiles), 3)


def tour_person(studio: Studio) -> Screen:
    """Nine faces to choose from, one of them chosen."""
    with studio.visit(head=False) as visit:
        # The same nine every time.
        visit.page.evaluate("() => { crypto.getRandomValues = (seeds) => seeds.map((_, index) => index + 1); }")
        visit.tab("Person")
        faces = visit.page.locator("#likeness-faces label:has(input:enabled)")
        faces.nth(8).wait_for()
        with visit.new_head():
            faces.nth(4).click()
        return Screen((visit.screen(),), 1)


def tour_words(studio: Studio) -> Screen:
    """A head changed in words, from before to after."""
    with studio.visit() as visit:
        with visit.new_head():
            visit.page.locator("#likeness-prompt").fill("older, smiling, green eyes")
            visit.press("Apply")
        visit.tool("Wipe")
        return Screen((visit.screen(),), 1)


def tour_shape(studio: Studio) -> Screen:
    """The head as it was made, and with its shape changed."""
    with studio.visit() as visit:
        visit.tool("Three-quarter")
        visit.tab("Shape")
        tiles = [visit.head()]
        for changes in ({"age": 1.6}, {"weight": 1.6}, {"nose_length": 1.6, "jaw_width": 1.2}):
            with visit.new_head():
                for key, value in changes.items():
                    visit.slide(key, value)
            tiles.append(visit.head())
            with visit.new_head():
                visit.press("Reset head")
        return Screen(tuple(tiles), 4, ("as it was made", "older", "heavier", "longer nose, wider jaw"))


SCREENS: dict[str, Callable[[Studio], Screen]] = {
    "page": page,
    "page_dark_phone": page_dark_phone,
    "tour_photo": tour_photo,
    "tour_expressions": tour_expressions,
    "tour_light": tour_light,
    "tour_surfaces": tour_surfaces,
    "tour_compare": tour_compare,
    "tour_person": tour_person,
    "tour_words": tour_words,
    "tour_shape": tour_shape,
}
