"""What happens when a person does something on the page. No Gradio here: tests call these directly.

A handler is a generator of `PageUpdate`s, one per stage, so that a first head is on show before the
final one is ready. What the core does comes in as a `HeadMaker`, so that tests need no photo and
no model. A problem that the person can act on becomes a sentence in the status; the head on show
stays, because no message to the viewer replaces it.
"""

from __future__ import annotations

import functools
import logging
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.protocol import DropFirst, LoadHead, Message, ShowProgress
from app.sessions import Sessions
from core.errors import LikenessError

if TYPE_CHECKING:
    from core.avatar import Avatar

logger = logging.getLogger(__name__)

# The head that greets a visitor.
WELCOME_SEED = 7

Progress = Callable[[str, float, Any], None]
PointPx = tuple[float, float]


@dataclass(frozen=True)
class HeadMaker:
    """The three things of the core that the page needs; `core_head_maker` gives the real ones.

    reconstruct: photo file, a progress callback (stage, fraction 0..1, an early `Avatar` or None) and a
    point on the face that is meant (pixels of the upright photo as stored; None: the largest face) ->
    `Avatar`; raises LikenessError. generate: seed, attributes -> `Avatar`. glb: `Avatar` -> GLB bytes.
    """

    reconstruct: Callable[[Path, Progress, PointPx | None], Avatar]
    generate: Callable[[int, Mapping[str, float]], Avatar]
    glb: Callable[[Avatar], bytes]


@dataclass(frozen=True)
class Line:
    """One line of the status. kind: how it looks; text: full sentences, plain text."""

    kind: Literal["busy", "done", "info", "warning", "problem"]
    text: str


@dataclass(frozen=True)
class PageUpdate:
    """What changes on the page. lines: the new status. messages: for the viewer, in order. can_save: whether a
    final head is on show after this update; None: as before. alert: a sentence to raise above the page as well."""

    lines: tuple[Line, ...]
    messages: tuple[Message, ...] = ()
    can_save: bool | None = None
    alert: str | None = None


@dataclass(frozen=True)
class Early:
    """A stage of a reconstruction: its name, how far it all is (0..1) and a first GLB if there is one."""

    stage: str
    fraction: float
    glb: bytes | None


@dataclass(frozen=True)
class Finished:
    """The end of a reconstruction. lines: the quality report in words. choice: whether the photo shows other faces."""

    glb: bytes
    name: str
    lines: tuple[Line, ...]
    choice: bool


# What the stages of core.pipeline.reconstruct are called for people, and the one that is added here.
STAGE_TEXT = {
    "read": "Reading the photo",
    "detect": "Looking for a face",
    "landmarks": "Finding eyes, nose and mouth",
    "fit": "Finding the shape of the head",
    "refine": "Refining shape and pose",
    "texture": "Painting the skin",
    "quality": "Checking the result",
    "export": "Packing the file",
}


@functools.cache
def core_head_maker() -> HeadMaker:
    """The real core. Imports torch and MediaPipe, seconds on a cold machine: call it late or in the background."""
    from PIL import Image

    from core import gltf, pipeline
    from core.head import load_head
    from core.photo import MAX_SIDE_PX

    head = load_head()

    def reconstruct(photo: Path, progress: Progress, point_px: PointPx | None) -> Avatar:
        if point_px is not None:
            # The core reduces a larger photo before it looks for faces.
            with Image.open(photo) as stored:
                scale = min(1.0, MAX_SIDE_PX / max(stored.size))
            point_px = (point_px[0] * scale, point_px[1] * scale)
        return pipeline.reconstruct(photo, progress, face_point_px=point_px)

    return HeadMaker(reconstruct, pipeline.generate, lambda avatar: gltf.glb_bytes(head, avatar))


def reconstruct_stages(
    maker: Callable[[], HeadMaker], photo: Path, point_px: PointPx | None
) -> Iterator[Early | Finished]:
    """Reconstruct a photo, yielding each stage as it is reached and then the result. Raises LikenessError.

    The core reports by callback and the page wants a generator, so the work runs in a thread of its own.
    """
    events: queue.SimpleQueue[Early | Finished | BaseException] = queue.SimpleQueue()

    def report(stage: str, fraction: float, early: Any = None) -> None:
        events.put(Early(stage, fraction, None if early is None else make.glb(early)))

    def work() -> None:
        try:
            avatar = make.reconstruct(photo, report, point_px)
            report("export", 0.97)
            choice = any(finding.code == "several-faces" for finding in avatar.quality.findings)
            events.put(Finished(make.glb(avatar), avatar.name, quality_lines(avatar), choice))
        except BaseException as error:  # handed to the reader below, which raises it
            events.put(error)

    make = maker()
    threading.Thread(target=work, name="reconstruct", daemon=True).start()
    while True:
        event = events.get()
        if isinstance(event, BaseException):
            raise event
        yield event
        if isinstance(event, Finished):
            return


def quality_lines(avatar: Avatar) -> tuple[Line, ...]:
    """The quality report of a head in words, most serious first."""
    quality = avatar.quality
    kinds: dict[str, Literal["info", "warning", "problem"]] = {
        "error": "problem",
        "warning": "warning",
        "info": "info",
    }
    summary = Line("done", f"{quality.summary} Confidence {round(100 * quality.confidence)} %.")
    return (summary, *(Line(kinds[f.severity], f"{f.sentence} {f.advice}".strip()) for f in quality.findings))


class Handlers:
    """The page's actions. One object serves all visitors; what belongs to one of them is in `Sessions`.

    maker is called at the first use, not here: the core is heavy. uploads is the folder that photos
    arrive in. address turns a visitor's file into the address that the page fetches it from.
    """

    def __init__(
        self, maker: Callable[[], HeadMaker], sessions: Sessions, uploads: Path, address: Callable[[Path], str]
    ) -> None:
        self._maker = maker
        self._sessions = sessions
        self._uploads = uploads.resolve()
        self._address = address
        self._welcome_lock = threading.Lock()
        self._welcome: bytes | None = None

    def from_photo(self, upload: Path | None, session: str) -> Iterator[PageUpdate]:
        """A photo was chosen, or cleared (None).

        The upload is gone when this ends: deleted, or, where it shows several faces, kept among the visitor's
        files for `choose_face`, until the next photo comes or the visitor leaves.
        """
        self._sessions.forget_photo(session)
        if upload is None:
            return
        # The path is the browser's claim, and it is about to be read and deleted. Gradio lets static files through.
        upload = upload.resolve()
        if not upload.is_relative_to(self._uploads) or upload.is_relative_to(self._sessions.root):
            yield _problem("The photo did not come by upload. Choose a photo with the upload field.")
            return
        if not upload.is_file():
            yield _problem("The photo did not arrive whole. Choose it again.")
            return
        try:
            yield from self._reconstruct(upload, None, session)
        finally:
            upload.unlink(missing_ok=True)

    def choose_face(self, point_px: PointPx, session: str) -> Iterator[PageUpdate]:
        """A point of the photo was clicked: the face there instead, if the photo was kept because it shows several."""
        photo = self._sessions.photo(session)
        if photo is not None:
            yield from self._reconstruct(photo, point_px, session)

    def _reconstruct(self, photo: Path, point_px: PointPx | None, session: str) -> Iterator[PageUpdate]:
        first: Path | None = None
        try:
            yield _busy("Reading the photo", 0.02)
            for event in reconstruct_stages(self._maker, photo, point_px):
                if isinstance(event, Finished):
                    if event.choice and point_px is None:
                        self._sessions.keep_photo(session, photo)
                    yield self._show(event.glb, event.name, session, event.lines)
                    return
                if event.glb is not None:
                    first = self._sessions.write(session, event.glb, ".glb")
                yield self._stage(event, first)
        except LikenessError as error:
            yield _problem(str(error), first)
        except Exception:
            yield self._bug("reconstructing the photo", first)

    def random_head(self, session: str, seed: int, attributes: Mapping[str, float]) -> Iterator[PageUpdate]:
        """Draw a head from the prior. attributes: by name, what to add to it; see `core.pipeline.generate`."""
        try:
            yield _busy("Drawing a head", 0.2)
            make = self._maker()
            glb = make.glb(make.generate(seed, {name: amount for name, amount in attributes.items() if amount}))
            line = Line("done", f"Random head number {seed}. This person does not exist.")
            yield self._show(glb, f"head-{seed}", session, (line,))
        except LikenessError as error:
            yield _problem(str(error))
        except Exception:
            yield self._bug("drawing a random head")

    def welcome(self, session: str) -> Iterator[PageUpdate]:
        """Somebody opened the page: show a head, made once for everybody, and forget visitors long gone."""
        self._sessions.sweep()
        try:
            if self._welcome is None:
                yield _busy("Starting", 0.1)
            with self._welcome_lock:
                if self._welcome is None:
                    make = self._maker()
                    self._welcome = make.glb(make.generate(WELCOME_SEED, {}))
            line = Line("info", "This head is drawn at random. Add a photo to make one of a person.")
            yield self._show(self._welcome, f"head-{WELCOME_SEED}", session, (line,))
        except LikenessError as error:
            yield _problem(str(error))
        except Exception:
            yield self._bug("starting")

    def leave(self, session: str) -> None:
        """The visitor closed the page."""
        self._sessions.close(session)

    def warm(self) -> None:
        """Load what the first visitor would otherwise wait for. Never raises: a visitor gets the sentence."""
        try:
            make = self._maker()
            with self._welcome_lock:
                self._welcome = self._welcome or make.glb(make.generate(WELCOME_SEED, {}))
        except Exception:
            logger.exception("The core could not be warmed up.")

    def _stage(self, event: Early, first: Path | None) -> PageUpdate:
        update = _busy(STAGE_TEXT[event.stage], event.fraction)
        if event.glb is None or first is None:
            return update
        load = LoadHead(self._address(first), "first.glb", final=False)
        return replace(update, messages=(load, *update.messages), can_save=False)

    def _show(self, glb: bytes, name: str, session: str, lines: tuple[Line, ...]) -> PageUpdate:
        url = self._address(self._sessions.write(session, glb, ".glb"))
        return PageUpdate(lines, (LoadHead(url, f"{_file_stem(name)}.glb", final=True), ShowProgress(None, 1.0)), True)

    def _bug(self, doing: str, first: Path | None = None) -> PageUpdate:
        logger.exception("A bug while %s.", doing)
        return _problem(
            f"Something went wrong in the program while {doing}; the head on show has not changed. "
            "Try again; if it happens again, please report it with the server's log.",
            first,
        )


def _busy(text: str, fraction: float) -> PageUpdate:
    return PageUpdate((Line("busy", f"{text} …"),), (ShowProgress(f"{text} …", fraction),))


def _problem(sentence: str, first: Path | None = None) -> PageUpdate:
    """A sentence instead of a head. first: a first head that is on show and will not be finished; it goes."""
    update = PageUpdate((Line("problem", sentence),), (ShowProgress(None, 0.0),), alert=sentence)
    if first is None:
        return update
    first.unlink(missing_ok=True)
    # There was a final head before it, the welcome one at least, and it can be saved again.
    return replace(update, messages=(DropFirst(), *update.messages), can_save=True)


def _file_stem(name: str) -> str:
    """A file name that every system accepts, as close to `name` as that allows."""
    return re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-")[:60] or "head"
