"""What a quality report is made of: findings in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about a photo or a head.

    code: a stable name for programs, such as ``face-too-small``. severity: an ``error`` means that
    the result should not be trusted. sentence: what was found, with its value. advice: what to do
    about it, empty where nothing can be done.
    """

    code: str
    severity: Literal["info", "warning", "error"]
    sentence: str
    advice: str
