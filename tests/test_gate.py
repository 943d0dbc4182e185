"""The gate before a real Gradio server: what reaches a disk, who gets which file, which doors are shut."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from app.files import NOT_WHOLE
from app.gate import JSON_BYTES, OPEN, UPLOAD_FILES, content_security_policy
from recipes.screens import QUIET_ARGUMENTS
from tests.running_app import CHROMIUM, PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "app/static"
UPLOAD_BYTES = 2_000_000

# The client's and Playwright's event loops and pipes, which they leave to Python to close.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# A page with the photo field of `app.ui` and an event that takes a photo and gives a file back.
PROGRAM = f"""
import os, sys, threading
from pathlib import Path
from urllib.parse import quote
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
from gradio.utils import get_upload_folder
from app import gate
from app.files import Files
from core.errors import LikenessError

static = Path({str(STATIC)!r})
files = Files(Path(get_upload_folder()) / "private", upload_bytes={UPLOAD_BYTES})
released = threading.Event()

def made_from(path, request: gr.Request):
    if path is None:
        yield "nothing"
        return
    try:
        upload = files.claim(path, request.session_hash)
    except LikenessError as error:
        raise gr.Error(str(error), print_exception=False)
    yield f"working on {{upload.name}}"
    if upload.name.startswith("wait"):
        released.wait()
    made = files.publish(request.session_hash, upload.data[::-1], Path(upload.name).stem + ".glb")
    yield f'<a id="made" href="gradio_api/file={{quote(str(made))}}">{{upload.name}}</a>'

def held() -> int:
    return files.size_bytes()

def release() -> bool:
    released.set()
    return True

gr.set_static_paths([static])
with gr.Blocks(analytics_enabled=False) as demo:
    photo = gr.Image(label="Photo", sources=["upload", "webcam", "clipboard"], type="filepath", elem_id="photo")
    photo.preprocess = lambda payload: None if payload is None else payload.path
    out = gr.HTML("", elem_id="out")
    photo.input(made_from, photo, out, api_name="make", trigger_mode="always_last")
    gr.api(held, api_name="held")
    gr.api(release, api_name="release")
demo.queue(default_concurrency_limit=4).launch(
    server_port=int(sys.argv[1]),
    app_kwargs={{"middleware": gate.middleware(files, static)}},
    run_history=False,
    footer_links=[],
    ssr_mode=False,
    quiet=True,
)
"""


@dataclass
class Server:
    """The program at work. folder: everything that it could write to lies in it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def uploads(self) -> str:
        return str(self.folder / "uploads/private")

    def written(self) -> dict[str, int]:
        """Every file in the folder but the program's own output, with its size."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.name != "log.txt")
        return {str(path): path.stat().st_size for path in found}

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; the path goes out as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def upload(self, *files: tuple[str, bytes], **headers: str) -> tuple[int, dict[str, str], bytes]:
        body, kind = form(*files)
        return self.ask("POST", "/gradio_api/upload", body, {"Content-Type": kind, **headers})

    def take_in(self, name: str, data: bytes) -> str:
        status, _, body = self.upload((name, data))
        assert status == 200, body
        return json.loads(body)[0]


def form(*files: tuple[str, bytes], field: str = "files") -> tuple[bytes, str]:
    """A multipart form and its content type."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def begin_upload(connection: socket.socket, body: bytes, kind: str, count: int) -> None:
    """Send an upload's head and the first `count` bytes of its body."""
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body[:count])


@contextlib.contextmanager
def start(folder: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {name: folder / place for name, place in (("HOME", "home"), ("TMPDIR", "tmp"))}
    for place in (*places.values(), folder / "here"):
        place.mkdir(parents=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "XDG_"))},
        **{name: str(place) for name, place in places.items()},
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "GRADIO_HEARTBEAT_INTERVAL": "0.5",
        # Gradio imports it in the background, and it lists the machine's fonts.
        "MPLCONFIGDIR": f"{folder}-matplotlib",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port)],
            cwd=folder / "here",
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Server(port, folder, process)
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                if server.ask("GET", "/gradio_api/startup-events")[0] == 200:
                    break
            assert process.poll() is None and time.monotonic() < until, server.log
            time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start(tmp_path_factory.mktemp("gate")) as server:
        yield server
        assert "Traceback" not in server.log, server.log


@pytest.fixture
def client(server: Server) -> Any:
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(server.url, verbose=False)


def wait_until(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return value


# Files in and out


def test_an_upload_is_answered_as_by_gradio_and_served_back(server: Server):
    data = os.urandom(100_000)
    status, headers, body = server.upload(("ä (1).png", data), ("b.html", b"<script>"))
    paths = json.loads(body)
    assert status == 200 and headers["content-type"] == "application/json" and len(paths) == 2
    assert [Path(path).name for path in paths] == ["ä (1).png", "b.html"]
    assert all(path.startswith(server.uploads) for path in paths) and not Path(paths[0]).exists()
    for route in ("/gradio_api/file=", "/gradio_api/file/", "/file="):
        status, headers, body = server.ask("GET", route + quote(paths[0]))
        assert (status, body) == (200, data)
        assert headers["content-type"] == "image/png" and headers["content-length"] == "100000"
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        assert headers["content-disposition"] == "inline; filename*=UTF-8''%C3%A4%20%281%29.png"
    status, headers, body = server.ask("HEAD", "/gradio_api/file=" + quote(paths[0]))
    assert (status, body, headers["content-length"]) == (200, b"", "100000")
    status, headers, body = server.ask("GET", "/gradio_api/file=" + quote(paths[1]))
    assert (status, body, headers["content-type"]) == (200, b"<script>", "application/octet-stream")
    assert headers["content-disposition"].startswith("attachment;")
    # The folder alone, and another folder with the same name, are no keys.
    for wrong in (str(Path(paths[0]).parent), str(Path(paths[1]).parent / Path(paths[0]).name), paths[0] + "/"):
        assert server.ask("GET", "/gradio_api/file=" + quote(wrong))[0] == 404


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("10-19", 10, 19), ("990-", 990, 999), ("-5", 995, 999), ("0-5000", 0, 999), ("-5000", 0, 999)],
)
def test_a_range(server: Server, asked: str, first: int, last: int):
    data = os.urandom(1000)
    address = "/gradio_api/file=" + quote(server.take_in("a.png", data))
    status, headers, body = server.ask("GET", address, headers={"Range": f"bytes={asked}"})
    assert (status, body) == (206, data[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/1000"


def test_a_range_outside_and_a_range_that_is_none(server: Server):
    address = "/gradio_api/file=" + quote(server.take_in("a.png", b"0123456789"))
    status, headers, _ = server.ask("GET", address, headers={"Range": "bytes=10-"})
    assert (status, headers["content-range"]) == (416, "bytes */10")
    for text in ("bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"):
        status, _, body = server.ask("GET", address, headers={"Range": text})
        assert (status, body) == (200, b"0123456789"), text


def test_the_static_folder_is_open(server: Server):
    status, headers, body = server.ask("GET", f"/gradio_api/file={STATIC}/page.js")
    assert status == 200 and body == (STATIC / "page.js").read_bytes()
    status, headers, body = server.ask("GET", f"/gradio_api/file={STATIC}/index.html")
    nonce = re.search(r"'nonce-([\w-]+)'", headers["content-security-policy"])
    assert status == 200 and nonce and int(headers["content-length"]) == len(body)
    assert body.replace(b' nonce="%s"' % nonce[1].encode(), b"") == (STATIC / "index.html").read_bytes()


def raw(server: Server, target: bytes, host: str = "") -> tuple[bytes, bytes]:
    """Status line and body of a GET whose target no client has tidied up."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        name = host or f"127.0.0.1:{server.port}"
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: " + name.encode() + b"\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


SECRETS = [
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    f"{ROOT}/app.py",
    f"{ROOT}/app/files.py",
    f"{ROOT}/requirements.txt",
    *map(str, sorted((ROOT / "assets").rglob("*.safetensors"))[:2]),
    str(STATIC),
    f"{STATIC}/",
    f"{STATIC}/../files.py",
    f"{STATIC}/./page.js",
    f"{STATIC}/vendor/../../files.py",
    f"{STATIC}\\..\\files.py",
    f"{STATIC}/page.js/../../files.py",
    f"{STATIC}/page.js\0.png",
    f"{STATIC}x/page.js",
    "../app.py",
    "app.py",
    ".",
    "..",
    "",
    "~/.bashrc",
    "file:///etc/passwd",
    "http://127.0.0.1:{port}/likeness/alive",
    "http:/127.0.0.1:{port}/likeness/alive",
    "https://huggingface.co/robots.txt",
    "{uploads}",
    "{uploads}/..",
    "{uploads}/../../../../../../../../etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\127.0.0.1\\share\\x",
]


def encodings(path: str) -> set[str]:
    """Ways to write a path that something on the way might undo."""
    every = "".join(f"%{byte:02x}" for byte in path.encode())
    dots = quote(path).replace(".", "%2e").replace("/", "%2f")
    return {quote(path), quote(path, safe=""), every, dots, dots.upper(), quote(dots), quote(quote(dots)), dots + "%00"}


@pytest.mark.parametrize("secret", SECRETS)
def test_no_other_file_and_no_address_can_be_had(server: Server, secret: str):
    path = secret.format(port=server.port, uploads=server.uploads)
    for text in encodings(path):
        for route in ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/file/", "/gradio_api/%66ile%3D"):
            line, body = raw(server, (route + text).encode())
            assert line == b"HTTP/1.1 404 Not Found", (route + text, line)
            assert body == b"There is no such file here, or it has been deleted.", (route + text, body[:200])


@pytest.mark.parametrize(
    "target",
    [
        "/gradio_api/proxy=http://127.0.0.1:{port}/likeness/alive",
        "/gradio_api/proxy=https://a.hf.space/",
        "/static/..%2f..%2f..%2froutes.py",
        "/static/%2e%2e/%2e%2e/%2e%2e/routes.py",
        "/assets/../../../routes.py",
        "/assets/..%5c..%5croutes.py",
        "/static//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/svelte/..%2f..%2froutes.py",
        "/gradio_api/call/../file=/etc/passwd",
        "/gradio_api/queue/../file=/etc/passwd",
        "/likeness/../gradio_api/file=/etc/passwd",
        "//gradio_api/file=/etc/passwd",
        "/GRADIO_API/FILE=/etc/passwd",
        "/gradio_api//file=/etc/passwd",
        "http://127.0.0.1:{port}/gradio_api/file=/etc/passwd",
        "/gradio_api/stream/a/b/1/playlist-file",
    ],
)
def test_no_way_around(server: Server, target: str):
    line, body = raw(server, target.format(port=server.port).encode())
    assert line.split()[1] in (b"400", b"403", b"404"), line
    assert b"root:" not in body and b"import " not in body and server.ask("GET", "/likeness/alive")[2] not in body


# What a request may bring


def test_every_route_of_this_gradio_is_open_on_purpose():
    """A route that a new Gradio brings is shut until somebody looks at it and changes this list."""
    from gradio import Blocks
    from gradio.routes import App

    with Blocks() as demo:
        pass
    demo.run_history = False

    def walk(routes: Any) -> Iterator[tuple[str, str]]:
        for route in routes:
            if hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)
            else:
                yield from ((method, route.path) for method in route.methods)

    routes = set(walk(App.create_app(demo).routes))
    fill = {"{path:path}": "x", "{session_hash}": "x", "{api_name}": "x", "{event_id}": "x"}
    reached = set()
    for method, path in routes:
        asked = re.sub(r"\{[^}]+\}", lambda match: fill.get(match[0], "x"), path)
        if (pattern := OPEN.get("GET" if method == "HEAD" else method)) and pattern.fullmatch(asked):
            reached.add(path.removeprefix("/gradio_api").rstrip("/"))
    assert reached == {
        "",
        "/api/{api_name}",
        "/app_id",
        "/assets/{path:path}",
        "/call/v2/{api_name}",
        "/call/v2/{api_name}/{event_id}",
        "/call/{api_name}",
        "/call/{api_name}/{event_id}",
        "/cancel",
        "/config",
        "/favicon.ico",
        "/heartbeat/{session_hash}",
        "/info",
        "/manifest.json",
        "/openapi.json",
        "/queue/data",
        "/queue/join",
        "/queue/status",
        "/reset",
        "/robots.txt",
        "/run/{api_name}",
        "/startup-events",
        "/static/{path:path}",
        "/theme.css",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/stream/x"),
        ("POST", "/login"),
        ("GET", "/gradio_api/deep_link?session_hash=x"),
        ("GET", "/gradio_api/dev/reload"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/custom_component/a/client/b/c.js"),
        ("GET", "/monitoring/summary"),
        ("GET", "/openapi.json"),
        ("GET", "/pwa_icon/100000"),
        ("PUT", "/gradio_api/upload"),
        ("DELETE", "/"),
        ("PATCH", "/gradio_api/queue/join"),
        ("TRACE", "/"),
    ],
)
def test_shut(server: Server, method: str, path: str):
    status, headers, body = server.ask(method, path)
    assert (status, body) == (404, b"There is no such page here.")
    assert headers["content-security-policy"] == content_security_policy(False)


def test_an_upload_that_is_too_large_is_refused_with_a_sentence(server: Server):
    sentence = "“big.png” is larger than 2 MB, the most that is taken in."
    status, headers, body = server.upload(("big.png", bytes(UPLOAD_BYTES + 1)))
    assert status == 413 and headers["content-type"].startswith("text/plain") and sentence in body.decode()
    # By its length alone, before a byte is looked at.
    status, _, body = server.upload(*((f"{i}.png", bytes(UPLOAD_BYTES)) for i in range(UPLOAD_FILES + 1)))
    assert status == 413 and "is larger than 8 MB" in body.decode()
    status, _, body = server.upload(*((f"{i}.png", b"x") for i in range(UPLOAD_FILES + 1)))
    assert status == 413 and f"more than {UPLOAD_FILES} files" in body.decode()
    assert server.upload(*((f"{i}.png", b"x") for i in range(UPLOAD_FILES)))[0] == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=edge"),
        (b"garbage", "multipart/form-data; boundary=edge"),
        (form(("a.png", b"x"))[0][:-9], "multipart/form-data; boundary=edge"),
        (form(("a.png", b"x"))[0], "multipart/form-data; boundary=other"),
        (form(("a.png", b"x"))[0], "multipart/form-data"),
        (form(("a.png", b"x"))[0], "text/plain"),
        (b'{"files": []}', "application/json"),
        (form(("a.png", b"x"))[0], "multipart/form-data; boundary=" + "x" * 300),
        (b"--edge\r\n" + b"A: b\r\n" * 5000, "multipart/form-data; boundary=edge"),
        (b"--edge\r\nA: " + b"b" * 100_000, "multipart/form-data; boundary=edge"),
    ],
)
def test_what_is_no_form_is_refused_with_a_sentence(server: Server, body: bytes, kind: str):
    status, _, text = server.ask("POST", "/gradio_api/upload", body, {"Content-Type": kind})
    assert status == 400 and "not a whole form" in text.decode()


def test_a_field_that_is_no_file_is_not_kept(server: Server, client: Any):
    before = client.predict(api_name="/held")
    body, kind = form(("a.png", b"x" * 1000), field="other")
    status, _, text = server.ask("POST", "/gradio_api/upload", body, {"Content-Type": kind})
    assert (status, json.loads(text)) == (200, [])
    body, kind = form(("a.png", b"x" * 100_000), field="other")
    status, _, text = server.ask("POST", "/gradio_api/upload", body, {"Content-Type": kind})
    assert status == 413 and "more in it than files" in text.decode()
    assert client.predict(api_name="/held") == before


def test_an_upload_that_breaks_off_leaves_nothing(server: Server, client: Any):
    before = client.predict(api_name="/held")
    body, kind = form(("a.png", bytes(1_500_000)))
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        begin_upload(connection, body, kind, 1_000_000)
        wait_until(lambda: client.predict(api_name="/held") > before + 500_000)
    wait_until(lambda: client.predict(api_name="/held") <= before)


def test_progress_is_told_while_an_upload_comes_in(server: Server):
    body, kind = form(("a.png", bytes(1_500_000)))
    upload = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    upload.putrequest("POST", "/gradio_api/upload?upload_id=abc")
    upload.putheader("Content-Type", kind)
    upload.putheader("Content-Length", str(len(body)))
    upload.endheaders(body[:1_000_000])
    watch = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    watch.request("GET", "/gradio_api/upload_progress?upload_id=abc")
    events = watch.getresponse()
    assert events.status == 200 and events.headers["content-type"].startswith("text/event-stream")
    told = json.loads(events.readline().removeprefix(b"data: "))
    assert told["msg"] == "update" and told["orig_name"] == "a.png" and 0 < told["chunk_size"] <= 1_000_000
    upload.send(body[1_000_000:])
    assert upload.getresponse().status == 200
    rest = [json.loads(line.removeprefix(b"data: ")) for line in events.read().split(b"\n") if line]
    assert rest[-1] == {"msg": "done"}
    assert told["chunk_size"] + sum(event.get("chunk_size", 0) for event in rest) <= 1_500_000
    upload.close()
    watch.close()
    # Nobody is left waiting for an upload that is over.
    assert server.ask("GET", "/gradio_api/upload_progress?upload_id=abc")[2] == b'data: {"msg": "done"}\n\n'


@pytest.mark.parametrize("route", ["queue/join", "call/make", "call/v2/make", "run/make", "api/make", "cancel"])
def test_a_request_that_is_too_large_or_no_json(server: Server, route: str):
    status, _, body = server.ask("POST", f"/gradio_api/{route}", b'"' + b"x" * JSON_BYTES + b'"')
    assert status == 413 and "larger than 1 MB" in json.loads(body)["detail"]
    for text in (b"{", b"\xff", b"[" * 200_000, b'{"a": NaN'):
        status, _, body = server.ask("POST", f"/gradio_api/{route}", text)
        assert status == 400 and "not JSON" in json.loads(body)["detail"]


def test_a_request_without_a_length_is_bounded_too(server: Server):
    pieces = (b"x" * 100_000 for _ in range(JSON_BYTES // 100_000 + 2))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("POST", "/gradio_api/queue/join", pieces, {}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("route", ["queue/join", "call/make", "run/make"])
def test_a_photo_that_did_not_come_by_upload_is_refused_and_never_fetched(server: Server, route: str):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/me.png"
        for path in (address, "/etc/passwd", str(STATIC / "page.js"), "data:image/png;base64,AA", "me.png"):
            file = {"path": path, "url": address, "meta": {"_type": "gradio.FileData"}}
            request = {"data": [file], "fn_index": 0, "session_hash": "x"}
            status, _, body = server.ask(
                "POST", f"/gradio_api/{route}", json.dumps(request).encode(), {"Content-Type": "application/json"}
            )
            assert status == 400 and json.loads(body)["detail"].startswith("The photo did not come by upload.")
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_photo_that_is_gone_is_a_sentence(server: Server):
    path = f"{server.uploads}/{'x' * 24}/me.png"
    request = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
    headers = {"Content-Type": "application/json"}
    status, _, body = server.ask("POST", "/gradio_api/call/make", json.dumps(request).encode(), headers)
    assert status == 200
    _, _, events = server.ask("GET", f"/gradio_api/call/make/{json.loads(body)['event_id']}")
    told = json.loads(re.findall(rb"event: error\ndata: (.*)", events)[0])
    assert told["error"] == NOT_WHOLE


# Who asks


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/cancel"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1.elsewhere.example"},
        {"Origin": "http://localhost:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"},
        {"Origin": "https://elsewhere.example", "X-Forwarded-Host": "elsewhere.example"},
    ],
)
def test_a_foreign_page_may_not_act(server: Server, path: str, headers: dict[str, str]):
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    status, _, body = server.ask("POST", path, b"{}", sent)
    assert status == 403 and "may not use this server" in body.decode()


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://127.0.0.1:{port}"}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy"}]
)
def test_our_own_page_and_programs_may(server: Server, headers: dict[str, str]):
    assert server.upload(("a.png", b"x"), **{k: v.format(port=server.port) for k, v in headers.items()})[0] == 200


def test_only_names_of_this_machine_are_answered_to(server: Server):
    for host in ("elsewhere.example", "127.0.0.1.elsewhere.example", "", "evil@127.0.0.1", "[::2]"):
        line, body = raw(server, b"/", host or " ")
        assert line.split()[1] == b"403" and b"address of this machine only" in body, host
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:7860"):
        assert raw(server, b"/likeness/alive", host)[0].split()[1] == b"200", host


def test_every_answer_has_the_security_headers(server: Server):
    answers = [
        server.ask("GET", "/"),
        server.ask("HEAD", "/"),
        server.ask("GET", "/config"),
        server.ask("GET", "/nowhere"),
        server.ask("GET", "/likeness/alive"),
        server.ask("GET", f"/gradio_api/file={STATIC}/page.js"),
        server.ask("POST", "/gradio_api/queue/join", b"{}"),
        server.ask("GET", "/gradio_api/upload_progress?upload_id=none"),
        server.upload(("a.png", b"x")),
        server.upload(("a.png", b"x"), Origin="https://elsewhere.example"),
    ]
    for _, headers, _ in answers:
        policy = re.sub(r" 'nonce-[\w-]{16,}'", "", headers["content-security-policy"])
        assert policy == content_security_policy(False)
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["permissions-policy"].startswith("camera=(self), ")
    first, second = (re.search(r"'nonce-[\w-]+'", answer[1]["content-security-policy"]) for answer in answers[:2])
    assert first and second and first[0] != second[0]


def test_the_policy_names_no_other_site_unless_embedded():
    assert "'unsafe-inline'" not in content_security_policy(False).split("script-src")[1].split(";")[0]
    assert "http" not in content_security_policy(False) and "*" not in content_security_policy(False)
    embedded = content_security_policy(True)
    assert embedded.endswith("frame-ancestors 'self' https://huggingface.co https://*.hf.space")
    assert embedded.count("http") == 2


def test_alive_names_this_process(server: Server):
    status, headers, body = server.ask("GET", "/likeness/alive")
    assert status == 200 and headers["cache-control"] == "no-store" and len(json.loads(body)["server"]) >= 16
    assert server.ask("GET", "/likeness/alive")[2] == body


# Whole visits


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "me ü.png"
    Image.effect_noise((60, 80), 90).save(path)
    return path


def test_a_program_uploads_and_gets_its_file(server: Server, client: Any, picture: Path):
    gradio_client = pytest.importorskip("gradio_client")
    before = server.written()
    job = client.submit(gradio_client.handle_file(picture), api_name="/make")
    made = re.search(r'href="/?([^"]+)"', job.result(PATIENCE_S))
    assert job.outputs()[0] == "working on me ü.png"
    assert made and server.ask("GET", "/" + made[1])[2] == picture.read_bytes()[::-1]
    assert server.written() == before


def test_answers_stream_as_they_come(server: Server, client: Any, picture: Path):
    gradio_client = pytest.importorskip("gradio_client")
    waiting = picture.rename(picture.with_name("wait.png"))
    job = client.submit(gradio_client.handle_file(waiting), api_name="/make")
    wait_until(lambda: job.outputs())
    assert job.outputs() == ["working on wait.png"] and not job.done()
    client.predict(api_name="/release")
    assert "wait.png</a>" in job.result(PATIENCE_S)


def test_a_killed_server_leaves_nothing(tmp_path: Path, picture: Path):
    """Killed with one upload half way, one whole and one at work."""
    gradio_client = pytest.importorskip("gradio_client")
    with start(tmp_path / "server") as server:
        before = server.written()
        client = gradio_client.Client(server.url, verbose=False)
        data = picture.read_bytes()
        waiting = picture.rename(picture.with_name("wait.png"))
        server.take_in("whole.png", data)
        body, kind = form(("half.png", bytes(1_500_000)))
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
            begin_upload(connection, body, kind, 1_000_000)
            job = client.submit(gradio_client.handle_file(waiting), api_name="/make")
            wait_until(lambda: job.outputs())
            wait_until(lambda: client.predict(api_name="/held") > 2 * len(data) + 500_000)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(30)
        assert server.written() == before
    with contextlib.suppress(Exception):
        job.result(PATIENCE_S)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_uploads_pastes_and_takes_a_picture(server: Server, picture: Path, tmp_path: Path):
    playwright = pytest.importorskip("playwright.sync_api")
    before = server.written()
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM,
            headless=True,
            args=[*QUIET_ARGUMENTS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        context = chromium.new_context(permissions=["camera", "clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        problems: list[str] = []
        page.on("console", lambda entry: entry.type == "error" and problems.append(entry.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith("http") and hosts.add(request.url.split("/")[2]))
        hosts: set[str] = set()
        page.goto(server.url)

        def made(name: str) -> list[int]:
            """Bytes of the file that came back."""
            page.wait_for_function(f"document.querySelector('#made')?.innerText === {json.dumps(name)}")
            page.wait_for_function("document.querySelector('#photo img')?.naturalWidth > 0")
            return page.evaluate("async () => [...(await (await fetch(document.querySelector('#made').href)).bytes())]")

        def clear() -> None:
            page.click("#photo button[aria-label='Remove Image']")
            page.wait_for_function("document.querySelector('#out').innerText.includes('nothing')")

        page.set_input_files("#photo input[type=file]", picture)
        assert bytes(made("me ü.png")) == picture.read_bytes()[::-1]
        clear()
        page.evaluate(
            """async (data) => {
                const item = new ClipboardItem({"image/png": new Blob([new Uint8Array(data)], {type: "image/png"})});
                await navigator.clipboard.write([item]);
            }""",
            list(picture.read_bytes()),
        )
        page.click("#photo button[aria-label='Paste from clipboard']")
        page.wait_for_selector("#made")
        page.wait_for_function("document.querySelector('#photo img')?.naturalWidth === 60")
        clear()
        page.click("#photo button[aria-label='Capture from camera']")
        page.click("#photo button:has-text('Click to Access Webcam')")
        # Before the first frame there is nothing to capture.
        page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
        page.click("#photo button[aria-label='capture photo']")
        assert bytes(made("image.png"))[::-1].startswith(b"\x89PNG")
        clear()
        assert hosts == {f"127.0.0.1:{server.port}"}
        assert problems == []
        page.click("#photo button[aria-label='Upload file']")
        large = tmp_path / "large.png"
        large.write_bytes(bytes(UPLOAD_BYTES + 1))
        page.set_input_files("#photo input[type=file]", large)
        page.wait_for_function("document.body.innerText.includes('“large.png” is larger than 2 MB, the most that is')")
        chromium.close()
    assert server.written() == before
