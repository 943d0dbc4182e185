"""Assemble the folder that a Hugging Face Space is pushed from: `make space` or `python -m recipes.space --out FOLDER`.

A Space builds nothing by itself: it installs packages.txt and requirements.txt, each read alone, and starts the file
that the README's front matter names. So the folder holds what runs and nothing else: the tracked files of the app, the
three.js modules that `make setup` vendors (git ignores them, a Space runs no npm), every pin in one requirements.txt,
and the README with the pictures that it shows. docs/hosting.md says how to push it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from core.errors import LikenessError

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "space"
VENDOR = "app/static/vendor/three"

FOLDERS = ("app", "core", "editing", "assets")
FILES = ("app.py", "LICENSE", "NOTICE", "packages.txt")
BUILD_ONLY = ("app/vendor_three.mjs",)  # fills VENDOR, with npm

# The headings of constraints.txt under which the versions stand that a Space installs.
SECTIONS = ("Below requirements.txt", "Added on a Space")
# The builder brings a version of its own of this one, and adds it to the same pip command: a pin would contradict it.
UNPINNED = ("spaces",)

MARK = "# Written by `make space`. A Space reads this file alone, so it holds every version.\n"
# The Hub takes no binary file in a plain git push.
ATTRIBUTES = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("jpg", "safetensors"))


def requirements() -> str:
    """requirements.txt and the sections of constraints.txt that belong to it, one exact pin per line."""
    sections = dict(
        re.findall(r"^# ([^\n]+)\n((?:#[^\n]*\n|[^#\s][^\n]*\n)+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    )
    texts = [(ROOT / "requirements.txt").read_text("utf-8")]
    for wanted in SECTIONS:
        (found,) = [text for heading, text in sections.items() if heading.startswith(wanted)]
        texts.append(found)
    pins = re.findall(r"^[A-Za-z][^\s#]*", "\n".join(texts), re.M)
    names = {pin: pin.split("==")[0] for pin in pins}
    return MARK + "".join(f"{names[pin] if names[pin] in UNPINNED else pin}\n" for pin in pins)


def tracked() -> list[str]:
    """The files in git that belong to the app; LikenessError where there is no git, or files that it does not know."""

    def git(*words: str) -> list[str]:
        command = ["git", "-C", str(ROOT), "ls-files", "-z", *words, "--", *FOLDERS, *FILES]
        try:
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise LikenessError(
                f"git could not list the project's files ({error}). A Space is assembled from the files in git: "
                "run `make space` in a clone of the repository, with git installed."
            ) from error
        return sorted(filter(None, answer.split("\0")))

    if stray := git("--others", "--exclude-standard"):
        raise LikenessError(
            f"Git does not know {', '.join(stray)}. A Space is assembled from the files in git: "
            "add what belongs to the app, remove what does not, then run `make space` again."
        )
    return [path for path in git("--cached") if path not in BUILD_ONLY]


def vendored() -> list[str]:
    """The three.js modules and their licence; LikenessError where they were not set up."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / VENDOR).rglob("*") if path.is_file())
    if not found:
        raise LikenessError(
            f"The 3D viewer's three.js modules are missing from {VENDOR}. Run `make setup`, which fetches them with "
            "npm, then run `make space` again."
        )
    return found


def readme(files: Sequence[str]) -> tuple[str, list[str]]:
    """The README with the links that lead out of the folder turned into plain text, and the pictures it shows."""
    text = (ROOT / "README.md").read_text("utf-8")
    pictures = sorted(set(re.findall(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)", text)))

    def keep(link: re.Match[str]) -> str:
        return link[0] if link[2].split("#")[0] in {*files, ""} else link[1]

    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:)([^)\s]+)\)", keep, text), pictures


def assemble(out: Path) -> list[str]:
    """Write the folder anew and return its files, sorted. A `.git` in it stays.

    Raises LikenessError where something is missing, or where `out` holds files that this command did not write.
    """
    out = out.resolve()
    copied = [*tracked(), *vendored()]
    page, pictures = readme(copied)
    copied += pictures
    written = {"README.md": page, "requirements.txt": requirements(), ".gitattributes": ATTRIBUTES}

    present = [path for path in out.iterdir() if path.name != ".git"] if out.is_dir() else []
    mark = out / "requirements.txt"
    if present and not (mark.is_file() and mark.read_text("utf-8").startswith(MARK)):
        raise LikenessError(
            f"{out} holds files that `make space` did not write. It replaces the whole folder, so name an empty one: "
            "make space SPACE=folder."
        )
    for path in present:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in copied:
        target = out / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    for name, text in written.items():
        (out / name).write_text(text, "utf-8")
    return sorted([*copied, *written])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.space", description="Assemble the folder that a Space is pushed from."
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the folder to write (default: out/space)")
    options = parser.parse_args(arguments)
    try:
        files = assemble(options.out)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum((options.out / name).stat().st_size for name in files)
    print(
        f"{len(files)} files, {size / 1e6:.1f} MB in {options.out}. docs/hosting.md says how to push them to a Space."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
