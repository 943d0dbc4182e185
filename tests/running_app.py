"""The app as a person starts it, in a process of its own with folders of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
# What drives the browser tests; None where there is none, and they are skipped.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# For a machine that is busy with other tests. Nothing is measured.
PATIENCE_S = 180


def until(condition: Callable[[], bool], problem: str | Callable[[], str]) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, problem() if callable(problem) else problem
        time.sleep(0.1)


class RunningApp:
    """A context in which `python app.py` serves. Everything that it writes lies below `folder`.

    address: without a slash at its end. uploads: the folder that Gradio believes uploads are in.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.uploads = folder / "gradio"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "tmp").mkdir()
        self._settings = {
            "GRADIO_SERVER_PORT": str(self.port),
            "GRADIO_TEMP_DIR": str(self.uploads),
            # A visitor who leaves is noticed at the next heartbeat.
            "GRADIO_HEARTBEAT_INTERVAL": "0.5",
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder),
            "OMP_WAIT_POLICY": "PASSIVE",
            # One head on show for each that is made, and no seconds for what most tests do not look at.
            "LIKENESS_DETAIL": "0",
            **settings,
        }

    def __enter__(self) -> RunningApp:
        with (self.folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=ROOT,
                env=os.environ | self._settings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(lambda: self.process.poll() is not None or self.address in self.log, lambda: self.log)
        assert self.process.poll() is None, self.log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if kind is None:
            assert "Traceback" not in self.log, self.log

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log.txt").read_text("utf-8", "replace")

    @property
    def rss_bytes(self) -> int:
        """Memory that the server holds now (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    @property
    def files(self) -> list[Path]:
        """Everything below the folder but the log, and the list of fonts that MediaPipe's matplotlib makes."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and "matplotlib" not in path.parts]
        return [path for path in paths if path.name != "log.txt"]
