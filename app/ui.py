"""The page: what is where. What things do is in `handlers`; what the viewer does is in `static/`.

The three.js viewer runs in an iframe of its own on a static page with an import map, so there is no
bundler and Gradio's styles and scripts do not reach it. The panels for expression, pose, detail, light and view are
mounted by `static/page.js` and act in the browser; only what makes or changes a head asks the server.
"""

from __future__ import annotations

import html
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Telemetry is decided when Gradio is imported. People's selfies pass through here: nothing is reported anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# A visitor may name a text-image model; gigabytes are not fetched for that. HF_HUB_OFFLINE=0 allows it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
import spaces
from gradio import themes
from gradio.utils import get_upload_folder

from app import api, gate, making
from app.api import session_of
from app.files import UPLOAD_BYTES, Files
from app.handlers import Handlers, PageUpdate, StageRow
from app.making import Maker
from app.sessions import Sessions, few_arenas
from core.errors import LikenessError

STATIC = Path(__file__).resolve().parent / "static"
EXAMPLES = STATIC / "examples"
# Every visitor who waits holds a thread; `work.WAITING_LIMIT` of them may, and each may move a slider too.
THREADS = 96
# Requests that Gradio has taken and not begun.
QUEUE_SIZE = 96
# A reconstruction on a GPU, with room for a cold start.
GPU_SECONDS = 30
# Seeds that a person can read out and type again.
SEED_LIMIT = 1_000_000
# Controls of the shape: attributes of the head model, and what their two ends are called.
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
# The panels beside the viewer, in their order: id -> label.
PANELS = {
    "expression": "Expression",
    "pose": "Pose",
    "person": "Person",
    "shape": "Shape",
    "detail": "Detail",
    "light": "Relight",
    "view": "View",
}
# Of the clear change that 1 is. Beyond 2 faces stop being plausible.
ATTRIBUTE_LIMIT = 2
# Photos to try, in the order shown: file name -> what it shows.
EXAMPLE_PHOTOS = {
    "astronaut.jpg": "Eileen Collins, astronaut (NASA, public domain)",
    "synthetic-1.jpg": "A synthetic portrait: this person does not exist",
    "synthetic-2.jpg": "Another synthetic portrait: this person does not exist",
}
# After the last movement of a Shape slider, so long until the head follows. A mouse, a finger and arrow keys all count,
# which Gradio's `release` does not.
SETTLE_MS = 180
ONLY_HEARD = (
    "position: absolute; width: 1px; height: 1px; padding: 0; border: 0; overflow: hidden; clip-path: inset(50%)"
)


def photo_input(label: str, elem_id: str, height: int, placeholder: str) -> gr.Image:
    """An image input that hands over the path of the upload.

    Gradio's own would decode it first, answer a broken one with a traceback, and lose the camera's
    EXIF record (orientation, focal length) on the way. Replaced on the instance, because Gradio
    writes a stub file beside any module that subclasses a component.
    """
    photo = gr.Image(
        label=label,
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        height=height,
        buttons=[],
        # Two side by side fit beside the viewer.
        min_width=100,
        elem_id=elem_id,
        placeholder=placeholder,
    )
    photo.preprocess = lambda payload: None if payload is None else payload.path
    return photo


def file_address(path: Path) -> str:
    """The address, relative to the page, under which a file is served that may be."""
    return f"gradio_api/file={quote(str(path))}"


def status_html(update: PageUpdate) -> str:
    """The status: the stages of the work at hand or just done, then what is to be said. Texts are escaped: a file's
    name may be in them."""
    stages = _stages_html(update.stages)
    # The list of stages shows what is going on; the sentence is then for those who listen.
    only_heard = f' style="{ONLY_HEARD}"' if stages else ""
    lines = "".join(
        f'<p class="{line.kind}"{only_heard if line.kind == "busy" else ""}>{html.escape(line.text)}</p>'
        for line in update.lines or ()
    )
    made = [
        f"{what} in {seconds:.1f} s"
        for what, seconds in (("made", update.total_s), ("detail", update.detail_s))
        if seconds is not None
    ]
    if stages and made:
        stages = f"<details><summary>{', '.join(made).capitalize()}</summary>{stages}</details>"
        return _status(f"{lines}{stages}")
    progress = ""
    if update.fraction is not None:
        progress = f'<progress max="1" value="{update.fraction:.3f}" aria-label="Progress"></progress>'
    return _status(f"{stages}{progress}{lines}")


def _status(content: str) -> str:
    return f'<div id="likeness-status" role="status" aria-live="polite">{content}</div>'


def _stages_html(stages: tuple[StageRow, ...]) -> str:
    rows = []
    for stage in stages:
        if stage.seconds is None:
            rows.append(f'<li class="now"><span>{html.escape(stage.text)} …</span></li>')
        else:
            rows.append(
                f'<li class="done"><span>✓ {html.escape(stage.text)}</span> <span>{stage.seconds:.2f} s</span></li>'
            )
    # Read out, it would drown the sentence that says what is going on.
    return f'<ol class="stages" aria-live="off">{"".join(rows)}</ol>' if rows else ""


def build(actions: Handlers) -> gr.Blocks:
    """Arrange the page and connect it to `actions`."""
    gr.set_static_paths([STATIC])
    # Gradio's components import page.js themselves, so it is there before the viewer starts.
    page_module = f'import(new URL("{file_address(STATIC / "page.js")}", document.baseURI).href)'
    mount = f'{page_module}.then(({{ mountPanel }}) => mountPanel("NAME", element));'
    viewer_address = json.dumps(file_address(STATIC / "index.html"))

    with gr.Blocks(title="Likeness", analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(
            "<header><h1>Likeness</h1><p>A photo in, a 3D head out: rigged, textured, yours to keep.</p>"
            '<button type="button" id="likeness-theme">Dark theme</button></header>',
            elem_id="likeness-title",
        )
        with gr.Row(elem_id="likeness-columns", equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_id="likeness-controls"):
                photo = photo_input(
                    "Photo", "likeness-photo", 210, "Drop a photo of one face here\n\nor click to choose one"
                )
                gr.HTML(_examples_html(), elem_id="likeness-examples")
                with gr.Row(elem_classes="buttons"):
                    random_button = gr.Button("Random head", elem_id="likeness-random", min_width=120)
                    cancel = gr.Button("Cancel", visible=False, elem_id="likeness-cancel", min_width=120)
                status = gr.HTML(_status(""), elem_id="likeness-report")
                with gr.Accordion("Add a side view", open=False, visible=False, elem_id="likeness-side") as side:
                    gr.HTML("<p>The same person, turned a little to each side, in the same light. One is enough.</p>")
                    with gr.Row():
                        side_left = photo_input("Left side", "likeness-side-left", 150, "Optional")
                        side_right = photo_input("Right side", "likeness-side-right", 150, "Optional")
                    combine = gr.Button("Use all photos", elem_id="likeness-combine")
                with gr.Row(elem_classes="buttons", elem_id="likeness-history"):
                    undo = gr.Button("Undo", interactive=False, elem_id="likeness-undo", min_width=80)
                    redo = gr.Button("Redo", interactive=False, elem_id="likeness-redo", min_width=80)
                    restore = gr.Button("Reset head", interactive=False, elem_id="likeness-restore", min_width=100)
                save = gr.Button("Download GLB", variant="primary", interactive=False, elem_id="likeness-save")
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
            with gr.Column(scale=2, min_width=300, elem_id="likeness-side-column"):
                gr.HTML(
                    "",
                    html_template="<div></div>",
                    js_on_load=mount.replace("NAME", "words"),
                    elem_id="likeness-words",
                )
                with gr.Tabs(elem_id="likeness-panels"):
                    for name, label in PANELS.items():
                        with gr.Tab(label, id=name):
                            if name == "shape":
                                with gr.Column(elem_id="likeness-panel-shape"):
                                    sliders = [_slider(key, label) for key, label in ATTRIBUTES.items()]
                            else:
                                gr.HTML(
                                    "",
                                    html_template="<div></div>",
                                    js_on_load=mount.replace("NAME", name),
                                    elem_id=f"likeness-panel-{name}",
                                )
        gr.HTML(
            "<p>Photos and heads are held in the server's memory only while you are here, never on a disk: taking the "
            "photo away deletes it, leaving the page deletes everything. Nothing is sent anywhere else.</p>",
            elem_id="likeness-foot",
        )
        # Messages from the server to the viewer and the page pass through the first; through the second only faces to
        # choose from, which may come at the same moment. What page.js asks for leaves by all of them. Nobody sees them.
        mailbox, faces_mailbox, words_mailbox = (
            gr.HTML(
                "",
                html_template="<span></span>",
                js_on_load=f"""
                    const page = {page_module};
                    const deliver = () => page.then(({{ deliver }}) => deliver(props.value));
                    page.then(({{ connect }}) => connect("{asks}", (wish) => trigger("submit", {{ wish }})));
                    watch("value", deliver);
                    deliver();
                """,
                visible="hidden",
                elem_id=elem_id,
                elem_classes="mailbox",
            )
            for asks, elem_id in (
                ("draw", "likeness-mailbox"),
                ("faces", "likeness-faces-mailbox"),
                ("edit", "likeness-words-mailbox"),
            )
        )
        # Clicked by the sliders once they have settled, so that their values are read at that moment.
        reshape = gr.Button("Apply the shape", visible="hidden", elem_id="likeness-reshape")

        outputs = [status, mailbox, save, cancel, undo, redo, restore, side, *sliders]
        # `Work` has the queue and is fair to visitors; Gradio only has to pass everything on at once.
        listen: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "trigger_mode": "multiple",
            "concurrency_limit": None,
        }

        def on_photo(path: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
            yield from _rows(actions.from_photo(path, session_of(request)))

        def on_side(side: str) -> Callable[..., Iterator[tuple[Any, ...]]]:
            def chosen(path: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
                yield from _rows(actions.side_photo(side, path, session_of(request)))

            return chosen

        def on_face(event: gr.SelectData, request: gr.Request) -> Iterator[tuple[Any, ...]]:
            x, y = event.index
            yield from _rows(actions.choose_face((x, y), session_of(request)))

        def on_random(request: gr.Request, *amounts: float) -> Iterator[tuple[Any, ...]]:
            seed = secrets.randbelow(SEED_LIMIT)
            yield from _rows(actions.random_head(session_of(request), seed, _amounts(amounts)))

        def on_draw(event: gr.EventData, request: gr.Request, *amounts: float) -> Iterator[tuple[Any, ...]]:
            wish = _wish(event)
            seed = api.whole(wish.get("seed"), "seed")
            yield from _rows(actions.random_head(session_of(request), seed, _amounts(amounts), *_people(wish)))

        def on_faces(event: gr.EventData, request: gr.Request) -> Iterator[tuple[Any, ...]]:
            wish = _wish(event)
            seeds = wish.get("seeds")
            seeds = [api.whole(seed, "seed") for seed in (seeds if isinstance(seeds, list) else [])]
            for row in _rows(actions.faces(session_of(request), seeds, *_people(wish))):
                # The second mailbox in place of the first.
                yield row[:2]

        def on_edit(event: gr.EventData, request: gr.Request) -> Iterator[tuple[Any, ...]]:
            wish = _wish(event)
            yield from _rows(actions.edit(session_of(request), api.prompt_of(wish.get("prompt")), api.words_of(wish)))

        def on_reshape(request: gr.Request, *amounts: float) -> Iterator[tuple[Any, ...]]:
            yield from _rows(actions.reshape(session_of(request), _amounts(amounts)))

        def on_step(action: Callable[[str], Iterator[PageUpdate]]) -> Callable[..., Iterator[tuple[Any, ...]]]:
            def step(request: gr.Request) -> Iterator[tuple[Any, ...]]:
                yield from _rows(action(session_of(request)))

            return step

        def on_cancel(request: gr.Request) -> None:
            actions.cancel(session_of(request))

        def on_unload(request: gr.Request) -> None:
            actions.leave(session_of(request))

        # First, because Gradio begins an event's next function when the one before has ended: behind `on_photo` it
        # would take away a side view that was added as soon as the head was there. In the browser only, because an
        # output of a server's function is made anew, without the `preprocess` of ours.
        photo.input(None, None, [side_left, side_right], js="() => [null, null]")
        photo.input(on_photo, photo, outputs, **listen)
        photo.select(on_face, None, outputs, **listen)
        side_left.input(on_side("left"), side_left, outputs, **listen)
        side_right.input(on_side("right"), side_right, outputs, **listen)
        combine.click(on_step(actions.combine), None, outputs, **listen)
        random_button.click(on_random, sliders, outputs, **listen)
        mailbox.submit(on_draw, sliders, outputs, **listen)
        faces_mailbox.submit(on_faces, None, [status, faces_mailbox], **listen)
        words_mailbox.submit(on_edit, None, outputs, **listen)
        cancel.click(on_cancel, None, None, **listen)
        reshape.click(on_reshape, sliders, outputs, **listen)
        for button, action in ((undo, actions.undo), (redo, actions.redo), (restore, actions.restore)):
            button.click(on_step(action), None, outputs, **listen)
        settle = f"""() => {{
            clearTimeout(window.likenessShape);
            window.likenessShape = setTimeout(() => document.getElementById("likeness-reshape").click(), {SETTLE_MS});
        }}"""
        for slider in sliders:
            slider.input(None, None, None, js=settle)
        demo.load(on_step(actions.welcome), None, outputs, **{**listen, "trigger_mode": "once"})
        demo.unload(on_unload)
        api.publish(actions)
    return demo


def _wish(event: gr.EventData) -> Mapping[str, Any]:
    """What page.js asks for, as it came; see person.js."""
    wish = event._data.get("wish") if isinstance(event._data, Mapping) else None
    return wish if isinstance(wish, Mapping) else {}


def _people(wish: Mapping[str, Any]) -> tuple[dict[str, float], float]:
    """What is fixed of people, and how far they may be from the average."""
    return api.numbers(wish.get("traits"), "trait"), api.number(wish.get("truncation"), "truncation")


def _amounts(values: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(ATTRIBUTES, values, strict=True))


def _rows(updates: Iterable[PageUpdate]) -> Iterator[tuple[Any, ...]]:
    """Every update as values of the components in `outputs`, and at least one: Gradio empties the components that a
    generator gave nothing for, down to the words on the buttons."""
    rows = iter(updates)
    yield _outputs(next(rows, PageUpdate()))
    yield from map(_outputs, rows)


def _outputs(update: PageUpdate) -> tuple[Any, ...]:
    """A page update as values of the components in `outputs`."""
    problems = [line.text for line in update.lines or () if line.kind == "problem"]
    if update.problem in problems:
        gr.Warning(html.escape(update.problem), title="That did not work", duration=10)
    # The time makes every letter new: the same message twice is still delivered twice.
    letter = json.dumps({"sent": time.time_ns(), "messages": [message.wire() for message in update.messages]})
    shape = update.shape
    # Undo, redo, restore, the side views, the sliders.
    controls: tuple[Any, ...] = (gr.skip(),) * (4 + len(ATTRIBUTES))
    if shape is not None:
        buttons = (gr.Button(interactive=possible) for possible in (shape.undo, shape.redo, shape.restore))
        controls = (*buttons, gr.Accordion(visible=shape.photo), *(shape.amounts.get(name, 0) for name in ATTRIBUTES))
    return (
        gr.skip() if update.lines is None else status_html(update),
        letter if update.messages else gr.skip(),
        gr.skip() if update.can_save is None else gr.Button(interactive=update.can_save),
        gr.skip() if update.busy is None else gr.Button(visible=update.busy),
        *controls,
    )


def _slider(name: str, label: str) -> gr.Slider:
    return gr.Slider(
        -ATTRIBUTE_LIMIT, ATTRIBUTE_LIMIT, 0, step=0.1, label=label, elem_id=f"likeness-{name}", buttons=[]
    )


def _examples_html() -> str:
    buttons = []
    for name, text in EXAMPLE_PHOTOS.items():
        address = html.escape(file_address(EXAMPLES / name))
        buttons.append(
            f'<button type="button" data-src="{address}" data-name="{name}" title="{html.escape(text)}" '
            f'aria-label="Try this photo: {html.escape(text)}">'
            f'<img src="{address}" alt="" width="56" height="56"></button>'
        )
    return f'<div role="group" aria-label="Photos to try"><span>Or try one of these:</span>{"".join(buttons)}</div>'


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


# On a ZeroGPU Space in another process; elsewhere this does nothing. A Space looks for such functions when it starts.
on_gpu = spaces.GPU(duration=GPU_SECONDS)(making.reconstruct)


def _maker() -> Maker:
    return replace(making.core_maker(), reconstruct=on_gpu)


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
    few_arenas()
    # Inside Gradio's upload folder, which is where Gradio takes files from; but nothing ever exists there.
    files = Files(Path(get_upload_folder()) / f"likeness-{secrets.token_urlsafe(12)}")
    sessions = Sessions(files)
    detail = os.environ.get("LIKENESS_DETAIL", "1") != "0"
    actions = Handlers(_maker, sessions, file_address, detail=detail)
    demo = build(actions).queue(max_size=QUEUE_SIZE)
    # On a Space, Gradio's page would fetch fonts and the Space's likes from other hosts, for a header of its own.
    demo.space_id = None
    sessions.start()
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
            footer_links=["api"],
            favicon_path=STATIC / "favicon.svg",
            max_file_size=UPLOAD_BYTES,
            max_threads=THREADS,
            app_kwargs={"middleware": gate.middleware(files, STATIC, host)},
            # Node.js renders nothing here that the browser cannot, and would be a second server to keep alive.
            ssr_mode=False,
            pwa=False,
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
