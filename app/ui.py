"""The page: what is where. What things do is in `handlers`; what the viewer does is in `static/`.

The three.js viewer runs in an iframe of its own on a static page with an import map, so there is no
bundler and Gradio's styles and scripts do not reach it. Sliders call `static/page.js` in the
browser and never the server.
"""

from __future__ import annotations

import html
import json
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Telemetry is decided when Gradio is imported. People's selfies pass through here: nothing is reported anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import spaces
from gradio import themes
from gradio.utils import get_upload_folder

from app import handlers
from app.handlers import Handlers, PageUpdate
from app.protocol import LoadHead
from app.sessions import Sessions
from core.errors import LikenessError

STATIC = Path(__file__).resolve().parent / "static"
# Photos of phones are at most about 25 MB.
MAX_UPLOAD = "40mb"
# More waiting visitors than this are asked to come back later.
QUEUE_SIZE = 32
# A reconstruction on a GPU, with room for a cold start.
GPU_SECONDS = 30
# Seeds that a person can read out and type again.
SEED_LIMIT = 1_000_000
# Controls of the random head: attributes of the head model, and what their two ends are called.
ATTRIBUTES = {
    "age": "Younger / older",
    "gender": "Feminine / masculine",
    "weight": "Thinner / heavier",
    "face_length": "Face shorter / longer",
    "jaw_width": "Jaw narrower / wider",
    "nose_width": "Nose narrower / wider",
    "nose_length": "Nose shorter / longer",
    "lips_fullness": "Lips thinner / fuller",
    "eye_size": "Eyes smaller / larger",
    "ears_size": "Ears smaller / larger",
}
# Of the clear change that 1 is. Beyond 2 faces stop being plausible.
ATTRIBUTE_LIMIT = 2


@dataclass(frozen=True)
class SliderEffect:
    """What a slider does in the browser. up, down: ARKit weights at +1 and at -1. angle: which angle of the
    messages (pose_*, gaze_*, light_*: see `static/page.js`) the value in degrees is added to, or None."""

    up: dict[str, float] = field(default_factory=dict)
    down: dict[str, float] = field(default_factory=dict)
    angle: str | None = None


@dataclass(frozen=True)
class SliderSpec:
    """One slider. low, high, step: in weights, or in degrees where the effect is an angle."""

    key: str
    label: str
    low: float
    high: float
    effect: SliderEffect
    step: float = 0.01


def _both(*names: str, weight: float = 1.0) -> dict[str, float]:
    return {f"{name}{side}": weight for name in names for side in ("Left", "Right")}


def _angle(key: str, label: str, limit_deg: float, angle: str) -> SliderSpec:
    return SliderSpec(key, label, -limit_deg, limit_deg, SliderEffect(angle=angle), step=1)


SLIDERS: dict[str, tuple[SliderSpec, ...]] = {
    "Mouth": (
        SliderSpec("jaw_open", "Open", 0, 1, SliderEffect({"jawOpen": 1})),
        SliderSpec(
            "smile",
            "Frown / smile",
            -1,
            1,
            # A smile that stays in the mouth looks false: the cheeks rise with it (Duchenne).
            SliderEffect(_both("mouthSmile") | _both("cheekSquint", weight=0.5), _both("mouthFrown")),
        ),
        SliderSpec("pucker", "Pucker", 0, 1, SliderEffect({"mouthPucker": 1})),
        SliderSpec("funnel", "Round", 0, 1, SliderEffect({"mouthFunnel": 1})),
        SliderSpec("jaw_side", "Jaw right / left", -1, 1, SliderEffect({"jawLeft": 1}, {"jawRight": 1})),
        SliderSpec("cheek_puff", "Puff cheeks", 0, 1, SliderEffect({"cheekPuff": 1})),
    ),
    "Eyes and brows": (
        SliderSpec("blink", "Widen / blink", -1, 1, SliderEffect(_both("eyeBlink"), _both("eyeWide"))),
        SliderSpec("squint", "Squint", 0, 1, SliderEffect(_both("eyeSquint"))),
        SliderSpec(
            "brows",
            "Brows down / up",
            -1,
            1,
            SliderEffect({"browInnerUp": 1} | _both("browOuterUp"), _both("browDown")),
        ),
        SliderSpec("sneer", "Wrinkle nose", 0, 1, SliderEffect(_both("noseSneer"))),
        _angle("gaze_yaw", "Look sideways", 25, "gaze_yaw"),
        _angle("gaze_pitch", "Look up / down", 25, "gaze_pitch"),
    ),
    "Head and light": (
        _angle("turn", "Turn", 45, "pose_yaw"),
        _angle("nod", "Nod", 25, "pose_pitch"),
        _angle("tilt", "Tilt", 25, "pose_roll"),
        _angle("light", "Move the light", 180, "light_yaw"),
    ),
}


def photo_input() -> gr.Image:
    """An image input that hands over the path of the file as it was uploaded.

    Gradio's own would decode it first, answer a broken one with a traceback, and lose the camera's
    EXIF record (orientation, focal length) on the way. Replaced on the instance, because Gradio
    writes a stub file beside any module that subclasses a component.
    """
    photo = gr.Image(
        label="Photo",
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        height=210,
        buttons=[],
        elem_id="likeness-photo",
        placeholder="Drop a photo of one face here\n\nor click to choose one",
    )
    photo.preprocess = lambda payload: None if payload is None else payload.path
    return photo


def file_address(path: Path) -> str:
    """The address, relative to the page, under which Gradio serves a file that it may serve."""
    return f"gradio_api/file={quote(str(path))}"


def status_html(lines: tuple[handlers.Line, ...]) -> str:
    """The status and quality report as HTML. Texts are escaped: a file's name may be in them."""
    rows = "".join(f'<p class="{line.kind}">{html.escape(line.text)}</p>' for line in lines)
    return f'<div id="likeness-status" role="status" aria-live="polite">{rows}</div>'


def _outputs(update: PageUpdate) -> tuple[Any, Any, Any]:
    """A page update as values of (status, mailbox, download button)."""
    if update.alert:
        gr.Warning(update.alert, title="That did not work", duration=10)
    # The time makes every letter new: the same message twice is still delivered twice.
    letter = json.dumps({"sent": time.time_ns(), "messages": [message.wire() for message in update.messages]})
    button = gr.skip() if update.can_save is None else gr.Button(interactive=update.can_save)
    return status_html(update.lines), letter if update.messages else gr.skip(), button


def _seed_after(update: PageUpdate) -> Any:
    """The seed of the head on show after an update about a photo: none once its own head is there."""
    return None if any(isinstance(m, LoadHead) and m.final for m in update.messages) else gr.skip()


def build(actions: Handlers) -> gr.Blocks:
    """Arrange the page and connect it to `actions`."""
    gr.set_static_paths([STATIC])

    @spaces.GPU(duration=GPU_SECONDS)
    def on_photo(upload: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        for update in actions.from_photo(Path(upload) if upload else None, request.session_hash or ""):
            yield *_outputs(update), _seed_after(update)

    @spaces.GPU(duration=GPU_SECONDS)
    def on_face(event: gr.SelectData, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        x, y = event.index
        for update in actions.choose_face((x, y), request.session_hash or ""):
            yield *_outputs(update), _seed_after(update)

    def random_head(seed: int, amounts: tuple[float, ...], session: str | None) -> Iterator[tuple[Any, ...]]:
        for update in actions.random_head(session or "", seed, dict(zip(ATTRIBUTES, amounts, strict=True))):
            yield *_outputs(update), seed

    @spaces.GPU(duration=GPU_SECONDS)
    def on_random(request: gr.Request, *amounts: float) -> Iterator[tuple[Any, ...]]:
        yield from random_head(secrets.randbelow(SEED_LIMIT), amounts, request.session_hash)

    @spaces.GPU(duration=GPU_SECONDS)
    def on_attribute(seed: int | None, request: gr.Request, *amounts: float) -> Iterator[tuple[Any, ...]]:
        if seed is not None:
            yield from random_head(seed, amounts, request.session_hash)

    def on_load(request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
        for update in actions.welcome(request.session_hash or ""):
            yield _outputs(update)

    def on_unload(request: gr.Request) -> None:
        actions.leave(request.session_hash or "")

    # Gradio's components import page.js themselves, so it is there before the viewer starts.
    page_module = f'import(new URL("{file_address(STATIC / "page.js")}", document.baseURI).href)'
    viewer_address = json.dumps(file_address(STATIC / "index.html"))

    with gr.Blocks(title="Likeness", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as demo:
        gr.HTML(
            "<header><h1>Likeness</h1><p>A photo in, a 3D head out: rigged, textured, yours to keep.</p></header>",
            elem_id="likeness-title",
        )
        with gr.Row(elem_id="likeness-columns", equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_id="likeness-controls"):
                photo = photo_input()
                with gr.Row(elem_classes="buttons"):
                    random_button = gr.Button("Random head", elem_id="likeness-random", min_width=120)
                    save_button = gr.Button(
                        "Download GLB", variant="primary", interactive=False, elem_id="likeness-save", min_width=120
                    )
                status = gr.HTML(status_html(()), elem_id="likeness-report")
                with gr.Accordion("Shape of the random head", open=False, elem_id="likeness-attributes"):
                    attributes = [_attribute(name, label) for name, label in ATTRIBUTES.items()]
            with gr.Column(scale=5, min_width=320, elem_id="likeness-stage"):
                gr.HTML(
                    '<iframe id="likeness-viewer" title="3D viewer" allow="fullscreen"></iframe>',
                    js_on_load=f"""
                        {page_module}.then(() => {{
                            element.querySelector("iframe").src = new URL({viewer_address}, document.baseURI).href;
                        }});
                    """,
                    elem_id="likeness-frame",
                )
            with gr.Column(scale=2, min_width=300, elem_id="likeness-sliders"):
                sliders: list[gr.Slider] = []
                for title, specs in SLIDERS.items():
                    with gr.Accordion(title):
                        sliders += [_slider(spec) for spec in specs]
                own = gr.Checkbox(True, label="Start from the expression on the photo", elem_id="likeness-own")
                own.change(None, own, None, js="(value) => { window.likeness?.keepOwn(value); }")
                reset = gr.Button("Reset sliders", size="sm", elem_id="likeness-reset")
        gr.HTML(
            "<p>A photo is deleted once its head is made (one of several people, when you choose the next or leave), "
            "a head when you leave. Nothing is sent anywhere else.</p>",
            elem_id="likeness-foot",
        )
        # Messages from the server to the viewer pass through here; nobody sees it.
        mailbox = gr.HTML(
            "",
            html_template="<span></span>",
            js_on_load=f"""
                const page = {page_module};
                const deliver = () => page.then(({{ deliver }}) => deliver(props.value));
                watch("value", deliver);
                deliver();
            """,
            visible="hidden",
            elem_id="likeness-mailbox",
        )

        # Of the random head on show, None while that of a photo is: the attributes act on it as they are moved.
        seed = gr.State(handlers.WELCOME_SEED)
        outputs = [status, mailbox, save_button, seed]
        # One head at a time for the whole server: the core uses every core of the machine by itself.
        work: dict[str, Any] = {
            "concurrency_id": "head",
            "concurrency_limit": 1,
            "show_progress": "hidden",
        }
        # A photo chosen while another is at work (or its removal) waits for its turn; by default it would be dropped.
        photo.input(on_photo, photo, outputs, api_name="reconstruct", trigger_mode="always_last", **work)
        photo.select(on_face, None, outputs, api_visibility="private", trigger_mode="always_last", **work)
        random_button.click(on_random, attributes, outputs, api_name="random_head", trigger_mode="once", **work)
        for slider in attributes:
            slider.release(
                on_attribute,
                [seed, *attributes],
                outputs,
                api_visibility="private",
                trigger_mode="always_last",
                **work,
            )
        demo.load(on_load, None, outputs[:-1], api_visibility="private", **work)
        demo.unload(on_unload)
        save_button.click(None, None, None, js="() => { window.likeness?.save(); }")
        zeros = json.dumps([0] * len(sliders))
        reset.click(None, None, sliders, js=f"() => {{ window.likeness?.reset(); return {zeros}; }}")
    return demo


def _slider(spec: SliderSpec) -> gr.Slider:
    slider = gr.Slider(
        spec.low, spec.high, 0, step=spec.step, label=spec.label, elem_id=f"likeness-{spec.key}", buttons=[]
    )
    effect = json.dumps(asdict(spec.effect))
    act = f"(value) => {{ window.likeness?.slide({json.dumps(spec.key)}, value, {effect}); }}"
    slider.change(None, slider, None, js=act)
    return slider


def _attribute(name: str, label: str) -> gr.Slider:
    return gr.Slider(
        -ATTRIBUTE_LIMIT, ATTRIBUTE_LIMIT, 0, step=0.1, label=label, elem_id=f"likeness-{name}", buttons=[]
    )


def theme() -> themes.Base:
    """Quiet, warm and dark or light as the visitor's system is. Fonts are the system's: none is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return themes.Base(
        primary_hue=themes.colors.orange,
        neutral_hue=themes.colors.stone,
        radius_size=themes.sizes.radius_lg,
        font=fonts,
        font_mono=["ui-monospace", "monospace"],
    )


def serve(host: str | None = None, port: int | None = None) -> None:
    """Run the page until it is interrupted.

    host, port: None takes GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, else 127.0.0.1 and the first
    free port from 7860. Raises LikenessError where the address cannot be listened on or the viewer's
    modules were not set up.
    """
    if not (STATIC / "vendor" / "three").is_dir():
        raise LikenessError(
            "The 3D viewer's three.js modules are missing from app/static/vendor. "
            "Run `npm ci` and then `npm run vendor` in the project's folder, or start with `make run`."
        )
    # Inside Gradio's upload folder, which is what it may serve from.
    uploads = Path(get_upload_folder())
    uploads.mkdir(parents=True, exist_ok=True)
    sessions = Sessions(Path(tempfile.mkdtemp(prefix="likeness-", dir=uploads)))
    actions = Handlers(handlers.core_head_maker, sessions, uploads, file_address)
    demo = build(actions).queue(max_size=QUEUE_SIZE)
    if threading.current_thread() is threading.main_thread():
        # A container is stopped by SIGTERM, which would otherwise end the process with the visitors' files in place.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _, url, _ = demo.launch(
            server_name=host,
            server_port=port,
            theme=theme(),
            # Not as `css`: Gradio would rewrite every rule to apply below its own containers only.
            head=f'<link rel="stylesheet" href="{file_address(STATIC / "page.css")}">',
            run_history=False,
            footer_links=[],
            max_file_size=MAX_UPLOAD,
            # Node.js renders nothing here that the browser cannot, and would be a second server to keep alive.
            ssr_mode=False,
            prevent_thread_lock=True,
            quiet=True,
        )
        sys.stdout.write(f"Likeness is running on {url.rstrip('/')} (stop it with Ctrl+C)\n")
        sys.stdout.flush()
        # Only now: imports would otherwise compete with the server for the start.
        threading.Thread(target=actions.warm, name="warm", daemon=True).start()
        demo.block_thread()
    except OSError as error:
        raise LikenessError(
            f"The server could not start: {error}. "
            "Choose another port with --port or GRADIO_SERVER_PORT, or stop the program that uses this one."
        ) from error
    finally:
        demo.close(verbose=False)
        sessions.close_all()
