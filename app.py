"""Entry point of a Hugging Face Space, and of `python app.py`: serve the page.

On import the package `app/` shadows this file; it is only ever run.
"""

from __future__ import annotations

import sys

from app.ui import serve
from core.errors import LikenessError

if __name__ == "__main__":
    try:
        serve()
    except LikenessError as error:
        sys.exit(str(error))
