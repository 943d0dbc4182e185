"""The folder that a Hugging Face Space is pushed from: what it holds, what it installs, and that it runs by itself."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from core.errors import LikenessError
from recipes import space
from recipes.screens import BROWSER_ARGUMENTS
from tests.running_app import CHROMIUM, PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent
# By hand: the interpreter of a clean environment into which the folder's requirements.txt was installed.
PYTHON = os.environ.get("LIKENESS_SPACE_PYTHON", sys.executable)

# A plain git push of a larger file is refused by the Hub, unless it goes to large file storage; the folder is meant to
# stay far below what a Space may hold.
MAX_FILE_BYTES, MAX_TOTAL_BYTES = 10_000_000, 100_000_000

# https://huggingface.co/docs/hub/spaces-config-reference
FRONT_MATTER = {
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "pinned"),
    *("short_description", "license", "suggested_hardware", "fullWidth", "header"),
}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}

needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="a Space is assembled from a git clone"
)
needs_vendor = pytest.mark.skipif(
    not (ROOT / space.VENDOR).is_dir(), reason="three.js is not set up: npm ci && npm run vendor"
)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("space") / "likeness"
    assert space.main(["--out", str(out)]) == 0
    return out


# ------------------------------------------------------------------------------------------------- what it holds


@needs_git
@needs_vendor
def test_holds_what_runs_and_nothing_else(folder: Path):
    found = files_below(folder)
    tracked = git(ROOT, "ls-files").splitlines()
    code = {
        path
        for path in tracked
        if path.split("/")[0] in {"app", "core", "editing", "assets"} and not path.endswith(".mjs")
    }
    vendored = {f"{space.VENDOR}/{path}" for path in files_below(ROOT / space.VENDOR)}
    shown = set(re.findall(r"!\[[^\]]*\]\((docs/[^)]+)\)", (ROOT / "README.md").read_text("utf-8")))
    copied = code | vendored | shown | {"app.py", "LICENSE", "NOTICE", "packages.txt"}
    assert set(found) == copied | {"README.md", "requirements.txt", ".gitattributes"}
    assert all(found[path] == (ROOT / path).read_bytes() for path in copied)
    # What the viewer's page imports by name is there, with its licence.
    imports = re.findall(r'"\./(vendor/three/[^"]*)"', found["app/static/index.html"].decode())
    assert imports
    for target in imports:
        assert any(path.startswith(f"app/static/{target}") for path in found), target
    assert b"MIT" in found[f"{space.VENDOR}/LICENSE"]


@needs_git
@needs_vendor
def test_files_are_what_the_hub_takes(folder: Path):
    found = files_below(folder)
    assert sum(map(len, found.values())) <= MAX_TOTAL_BYTES
    patterns = [line.split()[0] for line in found[".gitattributes"].decode().splitlines()]
    for path, data in found.items():
        by_pattern = any(fnmatch.fnmatch(path, pattern) for pattern in patterns)
        assert by_pattern == (b"\0" in data), f"{path}: binary files, and only those, go to large file storage"
        assert by_pattern or len(data) <= MAX_FILE_BYTES, f"{path} is too large for git itself"
    assert not any(fnmatch.fnmatch(path, "*.gitignore") for path in found), "it could hide the vendored modules"


@needs_git
@needs_vendor
def test_names_no_place_of_this_machine(folder: Path):
    places = [str(ROOT), sys.prefix, str(Path.home()) + "/", f"{ROOT.parent.name}/{ROOT.name}/"]
    for path, data in files_below(folder).items():
        assert not [place for place in places if place.encode() in data], path
    assert "://" not in (folder / "requirements.txt").read_text()


@needs_git
@needs_vendor
def test_front_matter_is_what_a_space_reads(folder: Path):
    before, front, page = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    settings = yaml.safe_load(front)
    assert before == "" and set(settings) <= FRONT_MATTER
    assert settings["sdk"] == "gradio"
    # The builder adds gradio at this very version to the pip command that reads requirements.txt.
    assert f"gradio=={settings['sdk_version']}\n" in (folder / "requirements.txt").read_text()
    # Of the versions that this code runs under, the one that ZeroGPU has too.
    assert settings["python_version"] == "3.12"
    assert (folder / settings["app_file"]).is_file()
    assert len(settings["short_description"]) <= 60
    assert {settings["colorFrom"], settings["colorTo"]} <= COLOURS
    assert settings["license"] == "apache-2.0" and "Apache License" in (folder / "LICENSE").read_text()
    assert settings["suggested_hardware"] == "cpu-basic" and settings["header"] in ("mini", "default")
    # Links lead to files of the folder, or out into the world.
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        assert target.startswith(("https://", "#")) or (folder / target.split("#")[0]).is_file(), target


# ------------------------------------------------------------------------------------------------- what it installs


def pins(text: str) -> dict[str, str | None]:
    """Canonical name -> exact version, None where any version will do."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line]
    assert all(re.fullmatch(r"(==[^,*]+)?", str(one.specifier)) for one in found)
    names: dict[str, str | None] = {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==") or None for one in found
    }
    assert len(names) == len(found), "a package is named twice"
    return names


def closure(todo: list[Requirement]) -> set[str]:
    """Everything that these pull in here, by what the installed packages say of themselves."""
    seen: dict[str, set[str]] = {}
    while todo:
        one = todo.pop()
        name, extras = canonicalize_name(one.name), {"", *one.extras}
        if extras <= seen.get(name, set()):
            continue
        seen[name] = seen.get(name, set()) | extras
        for line in requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(needed)
    return set(seen)


def test_every_version_it_installs_is_pinned_and_is_the_one_tested_here():
    pinned = pins(space.requirements())
    named = [Requirement(line) for line in re.findall(r"^[\w-]+==\S+", (ROOT / "requirements.txt").read_text(), re.M)]
    needed = closure(named)
    assert needed <= set(pinned), "constraints.txt lacks these below requirements.txt"
    for name in needed:
        # "+cpu" and the like name a build, not a version.
        assert pinned[name] in (version(name).split("+")[0], None), name
    assert [name for name, exact in pinned.items() if exact is None] == ["spaces"]
    # What it pins beyond that comes from the builder's own command line.
    extra = (ROOT / "constraints.txt").read_text().split("# Added on a Space")[1].split("\n\n")[0]
    assert set(pinned) - needed == {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", extra, re.M)}


def test_pins_allow_what_the_builder_adds():
    """It runs `pip install -r requirements.txt gradio[oauth,mcp]==... "uvicorn>=0.14.0" "websockets>=10.4" spaces`."""
    pinned = pins(space.requirements())
    added = [Requirement("uvicorn>=0.14.0"), Requirement("websockets>=10.4")]
    for line in requires("gradio") or ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", "oauth", "mcp")):
            added.append(needed)
    assert {"mcp", "authlib"} <= {canonicalize_name(one.name) for one in added}
    for one in added:
        exact = pinned[canonicalize_name(one.name)]
        assert exact is not None and one.specifier.contains(exact), f"{one} does not allow {exact}"


def test_installed_packages_agree():
    """What `pip check` says, of the whole environment."""
    answer = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout


# ------------------------------------------------------------------------------------------------- how it is written


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in git, which `make space` takes for this one."""
    root = tmp_path / "project"
    texts = {
        "app.py": "print()\n",
        "app/ui.py": "",
        "app/vendor_three.mjs": "",
        "app/static/vendor/three/LICENSE": "MIT",
        "core/head.py": "",
        "assets/README.md": "",
        "tests/test_ui.py": "",
        "docs/shown.jpg": "",
        "docs/not_shown.jpg": "",
        "docs/page.md": "",
        "LICENSE": "",
        "NOTICE": "",
        "packages.txt": "",
        "requirements.txt": "# Numbers\ntorch==2.0  # why\nspaces==0.5\n",
        "constraints.txt": "# Head.\n\n# Below requirements.txt\n# Why.\na==1\nb==2\n\n# Added on a Space, so\nc==3\n"
        "\n# Below requirements-dev.txt\nd==4\n",
        "README.md": "![it](docs/shown.jpg) [here](LICENSE) [there](docs/page.md#x) [far](https://a.org/b) [up](#it)\n",
        ".gitignore": "vendor/\nout/\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root.parent, "init", "--quiet", str(root))
    git(root, "add", "--all")
    monkeypatch.setattr(space, "ROOT", root)
    return root


@needs_git
def test_takes_what_git_knows_and_the_vendored_modules(project: Path):
    out = project / "out/space"
    written = space.assemble(out)
    assert written == sorted(files_below(out))
    assert set(written) == {
        *(".gitattributes", "LICENSE", "NOTICE", "README.md", "app.py", "app/ui.py", "app/static/vendor/three/LICENSE"),
        *("assets/README.md", "core/head.py", "docs/shown.jpg", "packages.txt", "requirements.txt"),
    }
    page = "![it](docs/shown.jpg) [here](LICENSE) there [far](https://a.org/b) [up](#it)\n"
    assert (out / "README.md").read_text() == page
    assert (out / "requirements.txt").read_text() == space.MARK + "torch==2.0\nspaces\na==1\nb==2\nc==3\n"


@needs_git
def test_writes_the_same_folder_again(project: Path):
    out = project / "out/space"
    space.assemble(out)
    first = files_below(out)
    # A clone of the Space keeps its history; what is no longer part of the app goes.
    (out / ".git").mkdir()
    (out / ".git/HEAD").write_text("ref")
    (out / "core/gone.py").write_text("")
    (out / "core/__pycache__").mkdir()
    space.assemble(out)
    assert files_below(out) == first | {".git/HEAD": b"ref"}
    assert not (out / "core/__pycache__").exists()


@needs_git
def test_refuses_with_a_sentence(project: Path, capsys: pytest.CaptureFixture[str]):
    out = project / "out/space"
    for taken in (project, project / "docs"):
        with pytest.raises(LikenessError, match=r"did not write.*make space SPACE="):
            space.assemble(taken)
    assert (project / "docs/shown.jpg").exists()

    (project / "app/new.py").write_text("")
    with pytest.raises(LikenessError, match=r"Git does not know app/new\.py\."):
        space.assemble(out)
    (project / "app/new.py").unlink()

    shutil.rmtree(project / "app/static/vendor")
    assert space.main(["--out", str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("The 3D viewer's three.js modules are missing") and "make setup" in said.err
    assert said.out == "" and not out.exists()

    shutil.rmtree(project / ".git")
    with pytest.raises(LikenessError, match="in a clone of the repository"):
        space.assemble(out)


# ------------------------------------------------------------------------------------------------- that it runs


@pytest.fixture
def address(folder: Path, tmp_path: Path) -> Iterator[str]:
    """The folder, started as a Space starts it: nothing else on the path, an empty home, the platform's variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "LIKENESS_DETAIL": "0",  # the heads that are counted come once
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "SYSTEM": "spaces",
        "SPACE_ID": "someone/likeness",
    }
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    log = tmp_path / "log.txt"
    with log.open("w+b") as stream:
        process = subprocess.Popen([PYTHON, "app.py"], cwd=folder, env=environment, stdout=stream, stderr=stream)
        try:
            until = time.monotonic() + PATIENCE_S
            while f"http://127.0.0.1:{port}" not in log.read_text():
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)
    said = log.read_text()
    # An event loop of the hot reload that Gradio starts where it finds a Space: noise, known from every Space's log.
    noise = r"^Exception ignored in: <function BaseEventLoop\.__del__.*?^ValueError: Invalid file descriptor: -1$"
    assert "Traceback" not in re.sub(noise, "", said, flags=re.DOTALL | re.MULTILINE), said


@needs_git
@needs_vendor
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
# Playwright's own event loop and pipes, closed by its process rather than by Python.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shows_heads_from_that_folder_alone(address: str, tmp_path: Path):
    playwright = pytest.importorskip("playwright.sync_api")
    photo = tmp_path / "astronaut.png"
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save(photo)
    hosts: set[str] = set()
    errors: list[str] = []

    def on_request(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob"):
            hosts.add(parts.netloc)

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=BROWSER_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1120, "height": 640})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", on_request)
        page.on("console", lambda entry: entry.type == "error" and errors.append(entry.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(
            "window.finals = 0; window.addEventListener('likeness:head', ({ detail }) => { finals += detail.final; });"
        )
        page.goto(address)

        def wait_for_heads(count: int) -> None:
            page.wait_for_function(f"finals === {count} || document.querySelector('#likeness-status .problem')")
            assert page.evaluate("finals") == count, page.locator("#likeness-status").inner_text()

        # The welcome head needs the assets; the photo's needs the detector and everything below core as well.
        wait_for_heads(1)
        page.locator("#likeness-photo input[type=file]").first.set_input_files(photo)
        wait_for_heads(2)
        browser.close()
    assert errors == []
    assert hosts == {urlsplit(address).netloc}
