"""The walls of the house, read from the sources: who may import whom, and which file may touch which library."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("app", "benchmarks", "core", "editing", "recipes")

# Which of our packages each may import. recipes and benchmarks are programs on top of everything below app.
MAY_IMPORT = {
    "core": {"core"},
    "editing": {"editing", "core"},
    "app": {"app", "editing", "core"},
    "recipes": {"recipes", "editing", "core"},
    "benchmarks": {"benchmarks", "app", "editing", "core"},
}

# Foreign libraries that have a home: the files (or folders) that may import them.
HOMES = {
    "gradio": ("app/", "app.py"),
    "spaces": ("app/", "app.py"),
    "typer": ("app/cli.py", "app/cli_edit.py", "app/cli_train.py"),
    "rich": ("app/cli.py", "benchmarks/"),
    "mediapipe": ("core/landmarks.py",),
    "pillow_heif": ("core/photo.py",),
    "pytorch3d": ("core/render_pytorch3d.py", "benchmarks/"),
    "anny": ("recipes/",),
    "ray": ("core/synthesis/shards.py",),
    "open_clip": ("editing/text_image.py",),
    "torchvision": ("editing/text_image.py",),
    "torch.utils.tensorboard": ("core/albedo/gan_training.py",),
}


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Path relative to the repository -> its syntax tree, for everything but the tests."""
    paths = [ROOT / "app.py", *(p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py")))]
    return {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text("utf-8"), str(p)) for p in paths if p.is_file()}


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported, lazily or not; `from a import b` yields "a.b"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide the direction; write the full name"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


LAYERED = ("core", "editing")


def rows_of(package: str) -> list[list[str]]:
    """The rows of modules that the docstring of a package lists, lowest first."""
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text("utf-8")))
    assert text is not None
    listing = text.split("which `tests/test_imports.py` reads and enforces:")[1]
    return [re.findall(r"\w+", line) for line in listing.strip().splitlines()]


def module_of(package: str, name: str) -> str | None:
    """ "render" for "core.render.render_head", None for what is not in the package."""
    parts = name.split(".")
    return parts[1] if parts[0] == package and len(parts) > 1 else None


def test_packages_import_only_downwards():
    wrong = [
        f"{path}:{line} imports {name}"
        for path, tree in sources().items()
        if "/" in path
        for line, name in imports(tree)
        if name.split(".")[0] in PACKAGES and name.split(".")[0] not in MAY_IMPORT[path.split("/")[0]]
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("package", LAYERED)
def test_every_module_has_a_row(package: str):
    listed = [name for row in rows_of(package) for name in row]
    assert len(listed) == len(set(listed)), f"a module is listed twice in {package}/__init__.py"
    children = (ROOT / package).iterdir()
    present = {p.stem for p in children if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__"}
    assert present <= set(listed), f"not listed in {package}/__init__.py: {sorted(present - set(listed))}"


@pytest.mark.parametrize("package", LAYERED)
def test_modules_import_only_from_rows_above(package: str):
    """Within a row the order is that of the listing, so that it cannot hide a cycle."""
    order = {name: i for i, name in enumerate(name for row in rows_of(package) for name in row)}
    wrong = []
    for path, tree in sources().items():
        if not path.startswith(f"{package}/") or path == f"{package}/__init__.py":
            continue
        own = path.removesuffix(".py").split("/")[1]
        for line, name in imports(tree):
            target = module_of(package, name)
            if target is None or target == own:
                continue
            if target not in order:
                wrong.append(f"{path}:{line} imports {package}.{target}, which {package}/__init__.py does not list")
            elif order[target] >= order[own]:
                wrong.append(
                    f"{path}:{line} imports {package}.{target}, which stands below it in {package}/__init__.py"
                )
    assert not wrong, wrong


def test_importing_core_costs_nothing():
    # `os`, to set an environment variable before torch loads, is there in every Python already.
    assert {name for _, name in imports(sources()["core/__init__.py"])} <= {"os"}


@pytest.mark.parametrize("library", HOMES)
def test_foreign_library_stays_home(library: str):
    wrong = [
        f"{path}:{line}"
        for path, tree in sources().items()
        if not path.startswith(HOMES[library])
        for line, name in imports(tree)
        if f"{name}.".startswith(f"{library}.")
    ]
    assert not wrong, f"{library} belongs in {HOMES[library]}, but is imported in {wrong}"


def test_pickles_are_read_in_one_file():
    """A pickle is code. Only the FLAME reader, whose unpickler admits arrays alone, may import the module."""
    users = {
        p
        for p, tree in sources().items()
        if any(
            n.split(".")[0] in {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
            for _, n in imports(tree)
        )
    }
    assert users <= {"core/flame.py"}, users


def test_no_module_of_everything():
    vague = re.compile(r"(^|_)(utils?|helpers?|misc|common)$")
    assert not [p for p in sources() if any(vague.search(part) for part in p.removesuffix(".py").split("/"))]


@pytest.mark.parametrize("package", ["app", "core", "editing"])
def test_library_code_never_prints(package: str):
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        if path.startswith(f"{package}/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "breakpoint"}
    ]
    assert not wrong, wrong


def test_requirements_are_what_is_imported():
    """requirements.txt names what app, editing and core import, no less (merely pulled in by something else is not
    enough) and no more (a Space installs it all)."""
    distribution = {
        "PIL": "pillow",
        "cv2": "opencv-contrib-python",
        "google": "protobuf",
        "open_clip": "open-clip-torch",
    }
    optional = {"pytorch3d", "ray"}
    text = (ROOT / "requirements.txt").read_text().replace("_", "-")
    pinned = set(re.findall(r"^([\w-]+)==", text, flags=re.MULTILINE))
    used: dict[str, str] = {}
    for path, tree in sources().items():
        for line, name in imports(tree):
            top = name.split(".")[0]
            if path.split("/")[0] in {"recipes", "benchmarks"} or top in sys.stdlib_module_names or top in PACKAGES:
                continue
            used[distribution.get(top, top.replace("_", "-"))] = f"{path}:{line}"
    assert not {name: place for name, place in used.items() if name not in pinned | optional}
    assert not pinned - set(used)


def test_requirements_are_exact_and_agree():
    pins: dict[str, str] = {}
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-build.txt", "constraints.txt"):
        for line in (ROOT / name).read_text().splitlines():
            line = line.split("#")[0].strip()
            if not line or line.startswith("-r "):
                continue
            match = re.fullmatch(r"([\w.-]+)==([\w.+!]+)", line)
            assert match, f"{name}: {line!r} is not an exact pin"
            key = re.sub(r"[-_.]+", "-", match[1]).lower()
            assert pins.setdefault(key, match[2]) == match[2], f"{name}: {line} contradicts {pins[key]}"
