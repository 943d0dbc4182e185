"""Every photo that arrives and every head that a browser may fetch, in memory only.

Nothing here is ever written to a disk: a process that ends, however it ends, leaves nothing of anybody. What
is held has a virtual path below a root that never exists on disk; `gate` puts uploads in and serves from here.
A path's folder is random, and knowing it is the only key; the visible file name follows it, so that Gradio's
components show it.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from core.errors import LikenessError

MB = 1_000_000
# One upload. Photos of phones are at most about 25 MB.
UPLOAD_BYTES = 40 * MB
# Uploads in all, arriving ones included, that no visitor's event has claimed yet ...
UNCLAIMED_BYTES = 160 * MB
# ... within this time. The page asks for an upload's head at once.
UNCLAIMED_S = 120
# What is published for one visitor; the photos at work are not counted.
VISITOR_BYTES = 30 * MB
# Front, left, right, and the one that replaces any of them.
VISITOR_PHOTOS = 4
# Everything: twenty visitors and the uploads on their way, with the server at rest half of the design's memory.
TOTAL_BYTES = 760 * MB
# A visitor whose connection broke without a goodbye is forgotten after this long without a sign.
FORGET_AFTER_S = 2 * 3600
# Longer names are cut: Gradio asks the system about the paths, and systems refuse names of more than 255 bytes.
NAME_BYTES = 160

# What a browser may show as it is. Anything else is only ever a download: an HTML or SVG file that somebody
# uploads would otherwise be a script of our own origin.
MEDIA_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".glb": "model/gltf-binary",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
DOWNLOAD = "application/octet-stream"
# What `secrets.token_urlsafe(18)` looks like.
_FOLDER = re.compile(r"[A-Za-z0-9_-]{24}")


@dataclass(frozen=True)
class Stored:
    """A file as it is served. media_type: one of `MEDIA_TYPES`, else `DOWNLOAD`."""

    name: str
    data: bytes
    media_type: str


@dataclass(frozen=True)
class Upload:
    """A photo that belongs to a visitor. name: as the visitor's file was called, made safe."""

    name: str
    data: bytes
    path: Path


@dataclass(frozen=True)
class _Entry:
    """One file. session: whose it is; None for an upload that nobody has claimed."""

    stored: Stored
    kind: Literal["photo", "made"]
    session: str | None
    since_s: float


@dataclass
class Arrival:
    """An upload on its way in: what has arrived of it counts as unclaimed until it is finished or dropped."""

    name: str
    files: Files
    data: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """More of it. Raises LikenessError where it grows too large or the store is full."""
        self.files.reserve(self, len(data))
        self.data += data

    def finish(self) -> Path:
        """It is whole: an upload that nobody has claimed yet."""
        return self.files.accept(self)

    def drop(self) -> None:
        """It broke off. Nothing of it stays. Does nothing after `finish`."""
        self.files.release(self)


class Files:
    """The store. One object serves the whole process; every method may be called by any thread.

    root: below which the virtual paths lie. Nothing may exist there; for Gradio to accept the paths it must lie
    inside Gradio's upload folder. The limits are those documented above.
    """

    def __init__(
        self,
        root: Path,
        *,
        upload_bytes: int = UPLOAD_BYTES,
        unclaimed_bytes: int = UNCLAIMED_BYTES,
        unclaimed_s: float = UNCLAIMED_S,
        visitor_bytes: int = VISITOR_BYTES,
        total_bytes: int = TOTAL_BYTES,
    ) -> None:
        # As Gradio will see it, which resolves links.
        self.root = root.resolve()
        self.upload_bytes = upload_bytes
        self._unclaimed_bytes = unclaimed_bytes
        self._unclaimed_s = unclaimed_s
        self._visitor_bytes = visitor_bytes
        self._total_bytes = total_bytes
        self._lock = threading.RLock()
        # By path, oldest first.
        self._entries: dict[str, _Entry] = {}
        # Bytes of each upload on its way, by identity.
        self._arriving: dict[int, int] = {}
        # When a session last gave a sign of life.
        self._seen_s: dict[str, float] = {}

    # Uploads

    def take_in(self, name: str, data: bytes) -> Path:
        """Hold an upload that nobody has claimed yet. Raises LikenessError where it is too large or the store full."""
        arrival = self.arrive(name)
        try:
            arrival.add(data)
            return arrival.finish()
        finally:
            arrival.drop()

    def arrive(self, name: str) -> Arrival:
        """Begin an upload that comes in pieces. Whoever begins it must finish or drop it."""
        return Arrival(safe_name(name, "photo"), self)

    def reserve(self, arrival: Arrival, count: int) -> None:
        """Room for `count` more bytes of an upload. Raises LikenessError."""
        with self._lock:
            size = self._arriving.get(id(arrival), 0) + count
            if size > self.upload_bytes:
                raise LikenessError(too_large(arrival.name, self.upload_bytes))
            if self._unclaimed() + count > self._unclaimed_bytes or self._used() + count > self._total_bytes:
                self.sweep()
                if self._unclaimed() + count > self._unclaimed_bytes or self._used() + count > self._total_bytes:
                    raise LikenessError(
                        f"“{arrival.name}” could not be taken in: the server is holding as many photos as it has "
                        "memory for. Wait a minute and choose it again."
                    )
            self._arriving[id(arrival)] = size

    def accept(self, arrival: Arrival) -> Path:
        """Turn what has arrived into an unclaimed upload."""
        stored = _stored(arrival.name, bytes(arrival.data))
        with self._lock:
            self.release(arrival)
            return self._put(stored, "photo", None)

    def release(self, arrival: Arrival) -> None:
        """Give back the room of an upload on its way."""
        with self._lock:
            self._arriving.pop(id(arrival), None)
            arrival.data = bytearray()

    def claim(self, path: Path | str, session: str) -> Upload:
        """An upload, which belongs to this visitor from now on.

        Claiming again is allowed. Of more than `VISITOR_PHOTOS` the oldest goes. Raises LikenessError for a path
        that is no upload, one that is gone, and one that is another visitor's (as if it were gone).
        """
        key = str(path)
        with self._lock:
            if not self.covers(key):
                raise LikenessError(NO_UPLOAD)
            entry = self._entries.get(key)
            if entry is None or entry.kind != "photo" or entry.session not in (None, session):
                raise LikenessError(NOT_WHOLE)
            self._entries.pop(key)
            self._entries[key] = _Entry(entry.stored, "photo", session, time.monotonic())
            self._touch(session)
            photos = self._keys(session, "photo")
            for old in photos[:-VISITOR_PHOTOS]:
                del self._entries[old]
        return Upload(entry.stored.name, entry.stored.data, Path(key))

    # What is made

    def publish(self, session: str, data: bytes, name: str) -> Path:
        """Hold something made for a visitor under a path that the visitor's browser may fetch.

        The visitor's oldest go where there is no room for all. Raises LikenessError where it has none alone.
        """
        stored = _stored(safe_name(name, "head"), data)
        with self._lock:
            own = self._keys(session, "made")
            sizes = {key: len(self._entries[key].stored.data) for key in own}
            if len(data) > self._visitor_bytes:
                raise LikenessError(
                    f"“{stored.name}” has {len(data) / MB:.0f} MB; the server holds at most "
                    f"{self._visitor_bytes / MB:.0f} MB for a visitor. Use a smaller photo."
                )
            while own and sum(sizes[key] for key in own) + len(data) > self._visitor_bytes:
                del self._entries[own.pop(0)]
            if self._used() + len(data) > self._total_bytes:
                self.sweep()
            while own and self._used() + len(data) > self._total_bytes:
                self._entries.pop(own.pop(0), None)
            if self._used() + len(data) > self._total_bytes:
                raise LikenessError(
                    f"“{stored.name}” could not be kept: the server is holding heads for as many visitors as it has "
                    "memory for. Try again in a few minutes."
                )
            self._touch(session)
            return self._put(stored, "made", session)

    # Both

    def covers(self, path: Path | str) -> bool:
        """Whether a path has the form of ours, so that it is or was one. Nothing on the disk is looked at."""
        text, root = str(path), f"{self.root}{os.sep}"
        folder, _, name = text.removeprefix(root).partition(os.sep)
        return text.startswith(root) and bool(_FOLDER.fullmatch(folder)) and name == safe_name(name)

    def read(self, path: Path | str) -> Stored | None:
        """A file that is held, None for any other path. Reading is a sign that its visitor is there."""
        with self._lock:
            entry = self._entries.get(str(path))
            if entry is None:
                return None
            if entry.session is not None:
                self._touch(entry.session)
            return entry.stored

    def withdraw(self, path: Path | str) -> None:
        """Forget one file. An unknown path does nothing."""
        with self._lock:
            self._entries.pop(str(path), None)

    def shrink(self, path: Path | str, data: bytes) -> None:
        """Hold a smaller JPEG in place of a photo, under the same path. An unknown path does nothing."""
        with self._lock:
            entry = self._entries.get(str(path))
            if entry is not None and len(data) < len(entry.stored.data):
                self._entries[str(path)] = replace(entry, stored=Stored(entry.stored.name, data, "image/jpeg"))

    def forget(self, session: str) -> None:
        """Forget everything of a visitor. An unknown session does nothing."""
        with self._lock:
            for key in [key for key, entry in self._entries.items() if entry.session == session]:
                del self._entries[key]
            self._seen_s.pop(session, None)

    def sweep(self, now_s: float | None = None) -> int:
        """Forget uploads that nobody claimed in time and visitors who gave no sign; returns how many files went.

        now_s: on the clock of time.monotonic; None for now.
        """
        with self._lock:
            now_s = time.monotonic() if now_s is None else now_s
            before = len(self._entries)
            for key, entry in list(self._entries.items()):
                if entry.session is None and now_s - entry.since_s > self._unclaimed_s:
                    del self._entries[key]
            for session in [s for s, seen_s in self._seen_s.items() if now_s - seen_s > FORGET_AFTER_S]:
                self.forget(session)
            return before - len(self._entries)

    def size_bytes(self, session: str | None = None) -> int:
        """What is held of a visitor, or in all (then with uploads that are still arriving)."""
        with self._lock:
            if session is None:
                return self._used()
            return sum(len(entry.stored.data) for entry in self._entries.values() if entry.session == session)

    def _put(self, stored: Stored, kind: Literal["photo", "made"], session: str | None) -> Path:
        path = self.root / secrets.token_urlsafe(18) / stored.name
        self._entries[str(path)] = _Entry(stored, kind, session, time.monotonic())
        return path

    def _touch(self, session: str) -> None:
        self._seen_s[session] = time.monotonic()

    def _keys(self, session: str, kind: str) -> list[str]:
        return [key for key, entry in self._entries.items() if entry.session == session and entry.kind == kind]

    def _unclaimed(self) -> int:
        waiting = sum(len(entry.stored.data) for entry in self._entries.values() if entry.session is None)
        return waiting + sum(self._arriving.values())

    def _used(self) -> int:
        return sum(len(entry.stored.data) for entry in self._entries.values()) + sum(self._arriving.values())


NO_UPLOAD = "The photo did not come by upload. Choose a photo with the upload field."
NOT_WHOLE = "The photo did not arrive whole, or it waited too long on the server. Choose it again."


def too_large(name: str, limit_bytes: int) -> str:
    """The sentence about an upload over the limit. It does not say the size: reading stopped before that was known."""
    return (
        f"“{name}” is larger than {limit_bytes / MB:.0f} MB, the most that is taken in. "
        "Choose a smaller file; photos of phones are smaller than that."
    )


def safe_name(name: str, otherwise: str = "file") -> str:
    """A file name without folders, control characters and what any system, address or header gives a meaning.

    Letters of every script, digits, spaces, dots, dashes, underscores and round brackets stay, and so does the
    extension. otherwise: the name where nothing is left.
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    kept = (c if unicodedata.category(c)[0] in "LMN" or c in " ._-()" else "_" for c in last)
    stem, extension = os.path.splitext("".join(kept).strip(" ."))
    extension = _cut(extension, 12).rstrip(" .")
    return f"{_cut(stem, NAME_BYTES - 12).strip(' .') or otherwise}{extension}"


def _cut(text: str, size_bytes: int) -> str:
    return text.encode()[:size_bytes].decode(errors="ignore")


def _stored(name: str, data: bytes) -> Stored:
    return Stored(name, data, MEDIA_TYPES.get(os.path.splitext(name)[1].lower(), DOWNLOAD))
