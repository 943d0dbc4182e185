"""The one exception that reaches people."""

from __future__ import annotations


class LikenessError(Exception):
    """Something the person in front of the program can act on.

    The message is one or more full sentences: what happened (with the value), what was expected,
    what to do. The same sentence is shown by the CLI, the API and the page; any other exception is
    a bug of ours.
    """


class PhotoError(LikenessError):
    """A photo that cannot be used: unreadable, too large, no face in it, ..."""


class FileError(LikenessError):
    """A saved head, weight or checkpoint file that is missing, damaged or of another kind."""
