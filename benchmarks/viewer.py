"""How long a slider takes from its message to the drawn frame, in headless Chromium.

The viewer runs on its static files with one generated head, served on loopback; a bare page sends `set_expression`
messages as `static/page.js` does. Measured in the viewer's window: from posting the message to the end of the frame
that draws it, with the graphics work waited for (a pixel is read back). A frame begins at the screen's next refresh,
so half a refresh (8 ms at 60 Hz) of every figure is waiting. Without a graphics card WebGL is drawn by the processor,
which is far slower than any phone's GPU; the result says what drew.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import LikenessError

STATIC = Path(__file__).resolve().parent.parent / "app/static"
# name -> width, height and pixel ratio of the window
WINDOWS = {"desktop": (1280, 800, 1.0), "phone": (390, 844, 3.0)}
PATIENCE_MS = 120_000
BROWSER_ARGUMENTS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--enable-unsafe-swiftshader"]

PAGE = """<!doctype html><meta name="viewport" content="width=device-width">
<title>Frame times</title><link rel="icon" href="data:,">
<style>html, body { margin: 0; height: 100% } iframe { border: 0; width: 100%; height: 100% }</style>
<iframe id="viewer"></iframe>
<script>
  window.heard = [];
  addEventListener("message", (event) => heard.push(event.data.type));
  document.getElementById("viewer").src = "static/index.html";
</script>"""

# In the page: send `count` slider positions, one after another, and return the milliseconds of each.
MEASURE = """async (count) => {
  const inner = document.getElementById("viewer").contentWindow;
  const context = inner.document.querySelector("canvas").getContext("webgl2");
  const pixel = new Uint8Array(4);
  const times = [];
  for (let i = 0; i < count; i++) {
    const weight = 0.5 + 0.5 * Math.sin(i);
    const drawn = inner.likenessViewer.statistics.pictures;
    const start = performance.now();
    inner.postMessage({ type: "set_expression", weights: { jawOpen: weight, eyeBlinkLeft: weight }, own: true }, "/");
    await new Promise((done) => {
      const look = () => {
        if (inner.likenessViewer.statistics.pictures === drawn) return inner.requestAnimationFrame(look);
        context.readPixels(0, 0, 1, 1, context.RGBA, context.UNSIGNED_BYTE, pixel);
        times.push(performance.now() - start);
        done();
      };
      inner.requestAnimationFrame(look);
    });
    // Apart, as a hand's movements are: a frame that is late does not delay the next.
    await new Promise((done) => setTimeout(done, 60));
  }
  return times;
}"""


@dataclass(frozen=True)
class FrameTimes:
    """One window. median_ms, p95_ms: medians, over the runs, of each run's median and 95th percentile from message to
    drawn frame. changes: slider changes per run. renderer: what drew, in the browser's words."""

    window: str
    width: int
    height: int
    pixel_ratio: float
    median_ms: float
    p95_ms: float
    changes: int
    runs: int
    renderer: str


def measure(runs: int = 3, changes: int = 60) -> list[FrameTimes]:
    """Measure in every window. Raises LikenessError where there is no Chromium, playwright or vendored three.js."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise LikenessError(
            "Frame times need playwright, which is not installed: pip install -r requirements-dev.txt."
        ) from error
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise LikenessError(
            "Frame times need Chromium, which is not on the path. Install it, or leave this section out."
        )
    if not (STATIC / "vendor/three").is_dir():
        raise LikenessError("three.js is not set up in app/static/vendor. Run npm ci && npm run vendor.")
    with _site() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, headless=True, args=BROWSER_ARGUMENTS)
        try:
            return [_measure_window(browser, address, name, runs, changes) for name in WINDOWS]
        finally:
            browser.close()


def _measure_window(browser: Any, address: str, name: str, runs: int, changes: int) -> FrameTimes:
    width, height, ratio = WINDOWS[name]
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=ratio, has_touch=ratio > 1, is_mobile=ratio > 1
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{address}/index.html")
    page.wait_for_function("heard.includes('ready')")
    page.evaluate(
        "url => document.getElementById('viewer').contentWindow.postMessage("
        "{type: 'load_head', url, file_name: 'head.glb', final: true, original: true}, '/')",
        f"{address}/head.glb",
    )
    page.wait_for_function("heard.includes('head_loaded')")
    page.evaluate(MEASURE, 10)  # shaders compiled, textures uploaded
    times = [sorted(page.evaluate(MEASURE, changes)) for _ in range(runs)]
    renderer = page.evaluate(
        """() => {
          const canvas = document.getElementById("viewer").contentWindow.document.querySelector("canvas");
          const context = canvas.getContext("webgl2");
          const names = context.getExtension("WEBGL_debug_renderer_info");
          return context.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : context.RENDERER);
        }"""
    )
    context.close()
    return FrameTimes(
        name,
        width,
        height,
        ratio,
        statistics.median(statistics.median(run) for run in times),
        statistics.median(run[int(0.95 * (len(run) - 1))] for run in times),
        changes,
        runs,
        renderer,
    )


@contextmanager
def _site() -> Iterator[str]:
    """The viewer's files and one head on loopback; the address."""
    from core.gltf import glb_bytes
    from core.head import load_head
    from core.pipeline import generate

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        (site / "static").symlink_to(STATIC)
        (site / "index.html").write_text(PAGE)
        (site / "head.glb").write_bytes(glb_bytes(load_head(), generate(1)))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
