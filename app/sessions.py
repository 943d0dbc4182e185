"""What the server knows of a visitor, in memory and only while they are there.

A visitor is known by the session that Gradio draws at random for each page or API client. Everything of theirs goes
when they leave, and when they have given no sign for `IDLE_S`: these are people's faces. The bytes that their browser
may fetch are in `Files`, whose paths nobody can guess.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.files import Files
from app.making import Person, Wish
from app.protocol import SetPhoto, SetWords
from core.errors import LikenessError

if TYPE_CHECKING:
    from core.avatar import Avatar
    from editing.edit import Editor, TextEdit

# A visitor whose connection broke without a goodbye is forgotten after this long.
IDLE_S = 2 * 3600
# The maps of a photo's head with its detail weigh 19 MB here, of a random head 7; a visitor may have one of each, and
# four files of 2.3 MB in `Files`. Of more visitors than this, whoever has been idle longest is forgotten first.
VISITORS = 40
# Edits that can be undone.
HISTORY = 100
# What words have read of a head is some 30 MB: it is kept for the visitors who were here last.
EDITORS = 4
SWEEP_EVERY_S = 60.0
# In glibc's malloc.h.
M_ARENA_MAX = -8

GONE = (
    "The server no longer has this head, because it was restarted or you were away for long. "
    "What you see can still be downloaded; to change it, make it again."
)
NO_HEAD = (
    "There is no head here to change: none was made yet, or the server has forgotten it, because it was restarted or "
    "you were away for long. Make one first, from a photo or at random."
)
NO_PHOTO = SetPhoto(None, 0, 0, [], 0, 0, 0, [], reading=False)
NO_WORDS = SetWords([], [], 0.5, [], "mixed", "bundled", [], {}, None, [], [])


@dataclass(frozen=True)
class Photo:
    """A photo that may still be needed (another face, side views). path: in `Files`. scale: pixels of what is kept
    there for one pixel of what was uploaded; below 1 where it was reduced."""

    name: str
    path: Path
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Head:
    """A head before any edit. wish, person: of a random head, None for one of a photo. photo: what the viewer shows of
    it. picture: that photo's path in `Files`. lines, report: what was said of it, for the page and for the API.
    finished: no detail is still to be added (`Maker.detail`), because it is there, was not wanted or cannot be had."""

    avatar: Avatar
    wish: Wish | None
    person: Person | None
    photo: SetPhoto
    picture: Path | None
    lines: tuple[Any, ...]
    report: Mapping[str, Any]
    finished: bool = False


@dataclass(frozen=True)
class Edit:
    """A step of the history: which head (a random one, None: the photo's), changed by which words (None: by none), and
    with which amounts of shape on top."""

    wish: Wish | None
    amounts: Mapping[str, float] = field(default_factory=dict)
    words: TextEdit | None = None


@dataclass(frozen=True)
class Published:
    """A GLB in `Files`. original, final: as in `LoadHead`."""

    path: Path
    original: bool
    final: bool


@dataclass(eq=False)
class Visitor:
    """One visitor. head: the one on show; photo_head: the one of the photo, while the history leads back to it.
    photos: "front", "left", "right". published: GLBs in `Files`. words: what the page was told of the words that made
    the head on show; editor: what applies words to that head, once there were any. reading: whether their viewer shows
    a photo being read; first: an unfinished head."""

    session: str
    seen_s: float
    head: Head | None = None
    photo_head: Head | None = None
    photos: dict[str, Photo] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    words: SetWords = NO_WORDS
    editor: Editor | None = None
    history: list[Edit] = field(default_factory=list)
    at: int = -1
    reading: bool = False
    first: bool = False
    closed: bool = False

    @property
    def edit(self) -> Edit:
        """The step on show. Raises LikenessError where there is none."""
        if not self.history:
            raise LikenessError(GONE)
        return self.history[self.at]

    def record(self, edit: Edit) -> None:
        """A new step after the one on show; what was undone is gone."""
        if self.history and self.history[self.at] == edit:
            return
        self.history = [*self.history[: self.at + 1], edit][-HISTORY:]
        self.at = len(self.history) - 1
        if all(step.wish is not None for step in self.history):
            self.photo_head = None


class Sessions:
    """All visitors. Thread-safe; a visitor's own fields are changed by their one job at a time."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._lock = threading.Lock()
        self._visitors: dict[str, Visitor] = {}
        self._wake = threading.Event()
        self._stopped = False

    def visitor(self, session: str) -> Visitor:
        """A visitor, new or known, who has just given a sign of life."""
        with self._lock:
            visitor = self._visitors.pop(session, None) or Visitor(session, 0)
            visitor.seen_s = time.monotonic()
            self._visitors[session] = visitor  # last: the longest idle stand first
            surplus = list(self._visitors)[:-VISITORS]
        for old in surplus:
            self.close(old)
        return visitor

    def known(self, session: str) -> Visitor:
        """A visitor with a head. Raises LikenessError for anybody else."""
        visitor = self.visitor(session)
        if visitor.head is None:
            raise LikenessError(GONE)
        return visitor

    def keep_editor(self, visitor: Visitor, editor: Editor) -> None:
        """Hold what applies words to a visitor's head, and let go of that of whoever was here longest ago."""
        with self._lock:
            if visitor.closed:
                raise LikenessError(GONE)
            visitor.editor = editor
            holders = [other for other in self._visitors.values() if other.editor is not None and other is not visitor]
            for other in holders[: max(len(holders) - EDITORS + 1, 0)]:
                other.editor = None

    def publish(self, visitor: Visitor, data: bytes, name: str) -> Path:
        """Hold something for a visitor to fetch; see `Files.publish`. Raises LikenessError for one who has left."""
        with self._lock:
            if visitor.closed:
                raise LikenessError(GONE)
            return self.files.publish(visitor.session, data, name)

    def close(self, session: str) -> None:
        """Forget a visitor. Closing twice, or an unknown session, does nothing."""
        with self._lock:
            visitor = self._visitors.pop(session, None)
            if visitor is not None:
                visitor.closed = True
            self.files.forget(session)
        self._wake.set()

    def sweep(self, now_s: float | None = None) -> int:
        """Forget whoever has been idle for `IDLE_S`, and uploads that nobody claimed; returns how many visitors went.

        now_s: on the clock of time.monotonic; None for now.
        """
        now_s = time.monotonic() if now_s is None else now_s
        self.files.sweep(now_s)
        with self._lock:
            idle = [visitor.session for visitor in self._visitors.values() if now_s - visitor.seen_s > IDLE_S]
        for session in idle:
            self.close(session)
        return len(idle)

    def start(self) -> None:
        """Sweep from time to time, and give memory back to the system when somebody has left."""
        threading.Thread(target=self._keep_house, name="sessions", daemon=True).start()

    def tidy(self) -> None:
        """Something large has just been done: give its memory back to the system, in the background."""
        self._wake.set()

    def close_all(self) -> None:
        """Forget everybody: the process ends."""
        self._stopped = True
        with self._lock:
            sessions = list(self._visitors)
        for session in sessions:
            self.close(session)

    def _keep_house(self) -> None:
        while not self._stopped:
            woken = self._wake.wait(SWEEP_EVERY_S)
            if woken:
                time.sleep(1)  # several leave at once, and their work is just ending
            self._wake.clear()
            if self.sweep() or woken:
                gc.collect()
                trim()


def few_arenas() -> None:
    """Let threads share their heaps, where the C library can be told to (glibc): call it before there are any.

    Each thread that works would otherwise get one of its own and keep what it once needed: reconstructions in threads
    of their own added up to 3.8 GB, which is 0.8 GB in shared heaps. Only one works at a time, so none waits for it.
    """
    _tell_malloc(lambda library: library.mallopt(M_ARENA_MAX, 2))


def trim() -> None:
    """Give freed memory back to the system, where the C library can be told to (glibc); a hundredth of a second."""
    _tell_malloc(lambda library: library.malloc_trim(0))


def _tell_malloc(tell: Callable[[ctypes.CDLL], int]) -> None:
    try:
        tell(ctypes.CDLL(None))
    except (AttributeError, OSError, TypeError):
        return
