"""Where a visitor's files live: one folder each, with names nobody can guess, removed when the visitor leaves.

Gradio serves whatever lies in its upload folder to whoever has the address, so an address is the
only key. A folder's name is a keyed hash of the visitor's session, known to this process alone; a
file's name is random. These are people's faces: nothing outlives the visit.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import shutil
import time
from pathlib import Path

# A visitor whose connection broke without a goodbye is forgotten after this long.
FORGET_AFTER_S = 2 * 3600


class Sessions:
    """The visitors' folders under one root, which belongs to this process alone.

    Stateless but for a random key: a session's folder follows from its name, so any thread may ask.
    """

    def __init__(self, root: Path) -> None:
        """Make the root. Folders of earlier processes in it, which lost their key, are removed."""
        self.root = root.resolve()
        self._key = secrets.token_bytes(32)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True, mode=0o700)

    def folder(self, session: str) -> Path:
        """The folder of a session (not necessarily existing)."""
        return self.root / hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()[:32]

    def write(self, session: str, data: bytes, suffix: str) -> Path:
        """Keep `data` for a session and return where.

        The session's older files of this kind are removed, except for the newest: a browser may still be
        fetching that one. So a visit holds at most two.
        """
        folder = self.folder(session)
        folder.mkdir(mode=0o700, exist_ok=True)
        older = sorted(folder.glob(f"*{suffix}"), key=lambda path: path.stat().st_mtime_ns)
        for path in older[:-1]:
            path.unlink(missing_ok=True)
        path = folder / f"{secrets.token_urlsafe(18)}{suffix}"
        path.write_bytes(data)
        return path

    def keep_photo(self, session: str, photo: Path) -> None:
        """Move a visitor's photo here under its own name, in place of the one kept before."""
        self.forget_photo(session)
        folder = self.folder(session) / "photo"
        folder.mkdir(mode=0o700, parents=True)
        shutil.move(photo, folder / photo.name)

    def photo(self, session: str) -> Path | None:
        """The photo that was kept for a visitor."""
        return next((self.folder(session) / "photo").glob("*"), None)

    def forget_photo(self, session: str) -> None:
        """Remove the photo that was kept, if there is one."""
        shutil.rmtree(self.folder(session) / "photo", ignore_errors=True)

    def close(self, session: str) -> None:
        """Forget a session: remove its folder. Closing twice, or an unknown session, does nothing."""
        shutil.rmtree(self.folder(session), ignore_errors=True)

    def sweep(self, now_s: float | None = None) -> int:
        """Remove folders in which nothing was written for `FORGET_AFTER_S`; returns how many."""
        now_s = time.time() if now_s is None else now_s
        stale = [path for path in self.root.iterdir() if now_s - path.stat().st_mtime > FORGET_AFTER_S]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        return len(stale)

    def close_all(self) -> None:
        """Forget everybody: the process ends."""
        shutil.rmtree(self.root, ignore_errors=True)
