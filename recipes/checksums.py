"""The sha256 of every file in assets/: ``python -m recipes.checksums --write`` after a recipe has made one anew.

The sums stand in two places that must agree with the files: the table of weights in core/checkpoints.py, which
refuses a file that is not the one it names, and the table in assets/README.md. Without ``--write`` the command prints
the sums and leaves with exit code 1 where a place disagrees.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from core.checkpoints import ASSETS, sha256_of

TABLE = ASSETS.parent / "core" / "checkpoints.py"
README = ASSETS / "README.md"


def checksums() -> dict[str, str]:
    """Name -> hex sha256 of every file in assets/ but its README."""
    return {path.name: sha256_of(path) for path in sorted(ASSETS.iterdir()) if path.is_file() and path != README}


def in_table(source: str, sums: dict[str, str]) -> str:
    """core/checkpoints.py with these sums. Raises ValueError for a file that has no row there."""
    for file, digest in sums.items():
        row = re.compile(rf'(file="{re.escape(file)}",.*?\n\s*sha256=)(?:None|"[0-9a-f]*")', re.DOTALL)
        source, count = row.subn(rf'\g<1>"{digest}"', source, count=1)
        if not count:
            raise ValueError(f"core/checkpoints.py has no row for {file}; add one with sha256=None first.")
    return source


def in_readme(text: str, sums: dict[str, str]) -> str:
    """assets/README.md with these sums in its table of files. Raises ValueError for a file that has no row there."""
    for file, digest in sums.items():
        row = re.compile(rf"^(\| `{re.escape(file)}` \|)[^|\n]*\|", re.MULTILINE)
        text, count = row.subn(rf"\g<1> `{digest}` |", text, count=1)
        if not count:
            raise ValueError(f"assets/README.md has no row for {file}; add one first.")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.checksums", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the sums in both places")
    options = parser.parse_args(arguments)
    sums = checksums()
    try:
        updated = {
            place: update(place.read_text(encoding="utf-8"), sums)
            for place, update in ((TABLE, in_table), (README, in_readme))
        }
    except ValueError as error:
        parser.error(str(error))
    stale = [place for place, text in updated.items() if text != place.read_text(encoding="utf-8")]
    if options.write:
        for place in stale:
            place.write_text(updated[place], encoding="utf-8")
    for file, digest in sums.items():
        print(f"{digest}  {file}")
    for place in stale:
        print(f"{place.relative_to(ASSETS.parent)} {'was updated' if options.write else 'disagrees; use --write'}.")
    return int(bool(stale) and not options.write)


if __name__ == "__main__":
    sys.exit(main())
