"""What stands between the network and Gradio: uploads into memory, files out of it, and who may ask for what.

Gradio writes every upload to a disk, serves whatever lies in its folders, fetches addresses for its clients and
has routes for its own hosting, recording, monitoring and code generation. Of its routes this app needs those in
`OPEN`; every other one answers 404 here. Closed in Gradio 6.31 are:

- files: `file=` and `file/` but for what `Files` holds and the viewer's static folder (so no file of the machine,
  and no http address, which Gradio would fetch), `proxy=`, `stream/...`, `custom_component/...`, `pwa_icon`
- writing: `upload` (done here instead), `component_server`, `deep_link` (saves a visitor's state), `process_recording`
- Gradio's own: `run-history/...`, `runs`, `vibe-edit`, `undo-vibe-edit`, `vibe-code`, `vibe-starter-queries`,
  `dev/reload`, `mcp/...`, `monitoring...`, `profiling/...`
- signing in, which nobody does: `login`, `login_check`, `logout`, `token`, `user`
- the API's own `/openapi.json` of FastAPI (that of `gradio_api` tells of the endpoints), `svelte/...`

A pure ASGI middleware: answers that stream are passed on as they come.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.files import DOWNLOAD, NO_UPLOAD, Files, Stored, too_large
from core.errors import LikenessError

# Files in one upload: front, left and right, and one to spare.
UPLOAD_FILES = 4
# What else a form may hold: boundaries, headers, small fields that are ignored.
FORM_BYTES = 64_000
# A request to the queue: a few numbers and the path of a photo.
JSON_BYTES = 1_000_000
# Of an upload that was refused, read and thrown away so that the browser gets to see the answer. A connection
# that is closed while the browser still sends shows as a network error.
DRAIN_BYTES = 1_000_000_000
# An upload from which nothing has come for so long, or which takes so long in all, is given up.
SILENCE_S = 30
UPLOAD_S = 600
# How often what is out of date is forgotten.
SWEEP_S = 20

API = "/gradio_api"
# What the page and gradio_client ask Gradio for.
OPEN = {
    "GET": re.compile(
        r"/|/config/?|/(assets|static)/.+|/favicon\.ico|/theme\.css|/manifest\.json|/robots\.txt|"
        rf"{API}/(theme\.css|info/?|openapi\.json|app_id/?|startup-events|"
        r"queue/(data|status)|heartbeat/[^/]+|call/.+)"
    ),
    "POST": re.compile(rf"{API}/(queue/join|cancel|reset/?|call/.+|(run|api)/.+)"),
}
FILE_ROUTE = re.compile(rf"({API})?/file[=/](?P<path>.*)", re.DOTALL)
LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}


def content_security_policy(embedded: bool, nonce: str | None = None) -> str:
    """The page's policy: everything from this server only, and of inline scripts those that were in the page sent.

    Gradio makes its event functions from text ('unsafe-eval') and its components write style attributes.
    embedded: the page is shown in a frame of the site that hosts it. nonce: what the page's script elements carry.
    """
    inline = f" 'nonce-{nonce}'" if nonce else ""
    ancestors = "'self' https://huggingface.co https://*.hf.space" if embedded else "'self'"
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self'{inline} 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "font-src 'self' data:",
            "connect-src 'self' blob:",
            "worker-src 'self' blob:",
            "frame-src 'self'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            f"frame-ancestors {ancestors}",
        )
    )


def security_headers(embedded: bool) -> dict[str, str]:
    """What every answer carries."""
    off = ("accelerometer", "geolocation", "gyroscope", "magnetometer", "microphone", "midi", "payment", "usb")
    return {
        "Content-Security-Policy": content_security_policy(embedded),
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups" if embedded else "same-origin",
        "Permissions-Policy": ", ".join(["camera=(self)", "fullscreen=(self)", *(f"{name}=()" for name in off)]),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def middleware(files: Files, static: Path, host: str | None = None) -> list[Middleware]:
    """For `launch(app_kwargs={"middleware": middleware(files, STATIC, host)})`.

    static: the folder whose files anybody may have. host: the address that is listened on, None for Gradio's
    choice. While that is this machine alone, requests must name it: a page elsewhere whose name is made to point
    here would otherwise pass for our own. A proxy in front must pass the Host header on or name itself in
    GRADIO_ROOT_PATH as a whole address.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    hosts = None
    if host in LOOPBACK:
        hosts = LOOPBACK | {name for name in [urlsplit(os.environ.get("GRADIO_ROOT_PATH", "")).hostname] if name}
    return [Middleware(Gate, files=files, static=static, hosts=hosts, embedded="SPACE_ID" in os.environ)]


@dataclass
class _Progress:
    """How far an upload is: the file at hand, and its bytes since the page was last told."""

    name: str = ""
    fresh_bytes: int = 0
    done: bool = False


class Gate:
    """The middleware.

    files: what uploads go to and files come from. static: as in `middleware`. hosts: names that the Host header may
    have, None for any. embedded: as in `content_security_policy`.
    """

    def __init__(
        self, app: ASGIApp, files: Files, static: Path, hosts: set[str] | None = None, embedded: bool = False
    ) -> None:
        self.app = app
        self.files = files
        self.server = secrets.token_urlsafe(12)
        self._static = static.resolve()
        self._hosts = hosts
        self._embedded = embedded
        self._headers = security_headers(embedded)
        self._progress: dict[str, _Progress] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] != "http":
            # Gradio has no web sockets.
            return

        guarded = _Guard(send, self._headers, self._embedded, scope["method"])
        answer = self._refusal(scope)
        if answer is None:
            answer = await self._answer(scope, receive, guarded)
        if answer is not None:
            await answer(scope, receive, guarded)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """While the server runs, forget what is out of date even when nobody asks for anything."""

        async def sweep() -> None:
            while True:
                await asyncio.sleep(SWEEP_S)
                self.files.sweep()

        sweeping = asyncio.create_task(sweep())
        try:
            await self.app(scope, receive, send)
        finally:
            sweeping.cancel()

    def _refusal(self, scope: Scope) -> Response | None:
        """An answer to who should not ask: a foreign page, or one that pretends to be this machine's."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _hostname(host) not in self._hosts:
            return _sentence(
                403, f"This server answers to the address of this machine only, not to “{_hostname(host)}”."
            )
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        # Browsers that tell where a request comes from cannot be made to lie by a page. Others tell the page's
        # origin. A program tells neither, and acts for nobody but itself.
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin")
        foreign = site not in ("same-origin", "none") if site else origin and urlsplit(origin).netloc != host
        if foreign:
            return _sentence(403, f"The page at {origin or 'another site'} may not use this server. Open it directly.")
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Our own answer, or None where Gradio's went out."""
        method, path = scope["method"], _route(scope)
        read = method in ("GET", "HEAD")
        if read and path == "/likeness/alive":
            return JSONResponse({"server": self.server}, headers={"Cache-Control": "no-store"})
        if method == "POST" and path == f"{API}/upload":
            return await self._upload(scope, receive, send)
        if read and path == f"{API}/upload_progress":
            return self._tell_progress(_query(scope, "upload_id"))
        if match := FILE_ROUTE.fullmatch(path):
            if not read:
                return _sentence(405, "Files here can only be read.")
            stored = self.files.read(match["path"])
            if stored is not None:
                return _file(stored, Headers(scope=scope))
            if not self._is_static(match["path"]):
                return _sentence(404, "There is no such file here, or it has been deleted.")
            await self.app(scope, receive, send)
            return None
        allowed = OPEN.get("GET" if method == "HEAD" else method)
        if method != "OPTIONS" and (allowed is None or not allowed.fullmatch(path)):
            return _sentence(404, "There is no such page here.")
        if method == "POST":
            return await self._request(scope, receive, send)
        await self.app(scope, receive, send)
        return None

    def _is_static(self, text: str) -> bool:
        if "\0" in text or "\\" in text or not os.path.isabs(text) or os.path.normpath(text) != text:
            return False
        path = Path(text).resolve()
        return path.is_relative_to(self._static) and path.is_file()

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """A request to the queue: bounded, and with no file in it but uploads."""
        body, incoming = bytearray(), _Body(receive)
        size = _length(scope)
        while incoming.more and size <= JSON_BYTES:
            body += await incoming.read()
            size = max(size, len(body))
        if incoming.broken:
            return None
        if size > JSON_BYTES:
            await incoming.drain()
            return _detail(
                413,
                f"The request is larger than {JSON_BYTES / 1_000_000:.0f} MB, the most that is taken in. "
                "Send a photo by upload and its path in the request.",
            )
        try:
            paths = _paths(json.loads(body or b"null"))
        except (ValueError, RecursionError):
            return _detail(400, "The request is not JSON. Send the arguments as the API's description shows.")
        if not all(self.files.covers(path) for path in paths):
            return _detail(400, NO_UPLOAD)
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, again, send)
        return None

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Take files in. The answer is Gradio's: a JSON list of paths, or a sentence as plain text."""
        upload_id, progress, incoming = _query(scope, "upload_id"), _Progress(), _Body(receive)
        if upload_id:
            self._progress[upload_id] = progress
        try:
            limit = UPLOAD_FILES * self.files.upload_bytes + FORM_BYTES
            if _length(scope) > limit:
                raise LikenessError(too_large("The upload", limit))
            form = _Form(self.files, Headers(scope=scope).get("content-type", ""), progress)
            try:
                async with asyncio.timeout(UPLOAD_S):
                    while incoming.more:
                        form.write(await incoming.read())
                if incoming.broken:
                    return None
                return JSONResponse([str(path) for path in form.finish()])
            finally:
                form.drop()
        except LikenessError as error:
            await incoming.drain()
            return _sentence(413, str(error))
        except FormParserError:
            await incoming.drain()
            return _sentence(400, "The upload is not a whole form with files. Send multipart/form-data.")
        except TimeoutError:
            return _sentence(408, "The upload stopped on its way. Check the connection and try again.")
        finally:
            progress.done = True
            if upload_id:
                self._progress.pop(upload_id, None)

    def _tell_progress(self, upload_id: str) -> Response:
        """The progress of an upload as events, in the form that Gradio's page reads."""

        async def events():
            for _ in range(30):
                if upload_id in self._progress:
                    break
                await asyncio.sleep(0.1)
            progress = self._progress.get(upload_id, _Progress(done=True))
            while not progress.done:
                if progress.fresh_bytes:
                    fresh = {"msg": "update", "orig_name": progress.name, "chunk_size": progress.fresh_bytes}
                    progress.fresh_bytes = 0
                    yield f"data: {json.dumps(fresh)}\n\n"
                await asyncio.sleep(0.1)
            # Also for an upload that was over before anybody asked.
            yield 'data: {"msg": "done"}\n\n'

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


class _Guard:
    """Sends an answer on with the security headers. In an HTML page every script gets the page's nonce.

    Whatever people bring stands escaped in Gradio's page, so that a script element in it is one of the program's.
    Uploads never pass here as HTML.
    """

    def __init__(self, send: Send, headers: Mapping[str, str], embedded: bool, method: str) -> None:
        self._send = send
        self._headers = headers
        self._embedded = embedded
        self._method = method
        # The start of a page, held back until the whole of it is there.
        self._start: Message | None = None
        self._page = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in self._headers.items():
                headers[name] = value
            message = {**message, "headers": headers.raw}
            if headers.get("content-type", "").startswith("text/html") and message["status"] == 200:
                self._start = message
                return
        elif self._start is not None:
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            nonce = secrets.token_urlsafe(16)
            page = bytes(self._page).replace(b"<script", b'<script nonce="%s"' % nonce.encode())
            headers = MutableHeaders(raw=self._start["headers"])
            headers["Content-Security-Policy"] = content_security_policy(self._embedded, nonce)
            if self._method != "HEAD":
                headers["Content-Length"] = str(len(page))
            start, self._start = {**self._start, "headers": headers.raw}, None
            await self._send(start)
            message = {"type": "http.response.body", "body": page}
        await self._send(message)


class _Body:
    """A request's body as it comes. more: whether there is any left. broken: the sender went away."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.more = True
        self.broken = False

    async def read(self) -> bytes:
        """The next piece. Raises TimeoutError where none comes for `SILENCE_S`."""
        async with asyncio.timeout(SILENCE_S):
            message = await self._receive()
        self.broken = message["type"] == "http.disconnect"
        self.more = not self.broken and message.get("more_body", False)
        return message.get("body", b"")

    async def drain(self) -> None:
        """Read the rest and throw it away, so that the sender turns to the answer."""
        left = DRAIN_BYTES
        try:
            async with asyncio.timeout(UPLOAD_S):
                while self.more and left > 0:
                    left -= len(await self.read())
        except TimeoutError:
            return


class _Form:
    """The files of a multipart form, taken in as its bytes come. Raises LikenessError and FormParserError."""

    def __init__(self, files: Files, content_type: str, progress: _Progress) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise FormParserError(f"{content_type!r} is not multipart/form-data")
        self._files = files
        self._progress = progress
        self._arrivals = []
        self._current = None
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._form_bytes = 0
        self._whole = False
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def write(self, data: bytes) -> None:
        self._parser.write(data)

    def finish(self) -> list[Path]:
        if not self._whole:
            raise FormParserError("the form breaks off")
        return [arrival.finish() for arrival in self._arrivals]

    def drop(self) -> None:
        for arrival in self._arrivals:
            arrival.drop()

    def _on_part_begin(self) -> None:
        self._current = None
        self._header = self._value = self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options or options.get(b"name") != b"files":
            return
        if len(self._arrivals) == UPLOAD_FILES:
            raise LikenessError(f"The upload has more than {UPLOAD_FILES} files. Choose fewer at once.")
        name = options[b"filename"].decode("utf-8", "replace")
        self._current = self._files.arrive(name)
        self._arrivals.append(self._current)
        self._progress.name, self._progress.fresh_bytes = name, 0

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.add(data[start:end])
            self._progress.fresh_bytes += end - start
            return
        self._form_bytes += end - start
        if self._form_bytes > FORM_BYTES:
            raise LikenessError("The upload has more in it than files. Send the files alone, under the name “files”.")

    def _on_end(self) -> None:
        self._whole = True


def _file(stored: Stored, headers: Mapping[str, str]) -> Response:
    """A file, or the one range of it that was asked for. Nobody keeps a copy, and nothing that is not known to be
    harmless is shown."""
    kind = "attachment" if stored.media_type == DOWNLOAD else "inline"
    sent = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "Content-Disposition": f"{kind}; filename*=UTF-8''{quote(stored.name, safe='')}",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    size = len(stored.data)
    match = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", headers.get("range", ""))
    if not match or match[0] == "bytes=-" or not size:
        return Response(stored.data, headers=sent, media_type=stored.media_type)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    else:
        first, last = max(0, size - int(match[2])), size - 1
    if first > last:
        return Response(status_code=416, headers={**sent, "Content-Range": f"bytes */{size}"})
    sent["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(stored.data[first : last + 1], 206, headers=sent, media_type=stored.media_type)


def _route(scope: Scope) -> str:
    """The path of a request below the prefix that a proxy may have left on it."""
    path, prefix = scope["path"], scope.get("root_path", "").rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def _query(scope: Scope, name: str) -> str:
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get(name, [""])[0]


def _length(scope: Scope) -> int:
    """What the request says about its size; 0 where it says nothing."""
    text = Headers(scope=scope).get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def _hostname(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "") if re.fullmatch(r"[\w.:\[\]-]+", host) else host


def _paths(value: Any) -> list[str]:
    """Every path of a file that a request's JSON names."""
    found, left = [], [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if isinstance(item.get("path"), str):
                found.append(item["path"])
            left += item.values()
        elif isinstance(item, list):
            left += item
    return found


def _sentence(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, headers={"Cache-Control": "no-store"})


def _detail(status: int, text: str) -> Response:
    """A sentence where Gradio's clients look for it."""
    return JSONResponse({"detail": text}, status, headers={"Cache-Control": "no-store"})
