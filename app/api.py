"""The same actions for programs: Gradio's named endpoints, described in docs/api.md and on the page's own API view.

An endpoint answers several times: first with no file and a dict that says how far it is (`stage`, `fraction`, and
`place` and `wait_s` while in line), then with the GLB and the report, at last with the same head in all its detail. A
problem is an error whose message is the
sentence that the page would show. What an endpoint does to "the head" it does to that of the caller's session; a
`gradio_client.Client` is one session.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.events import api

from app import making
from app.handlers import FACES, Handlers, PageUpdate

if TYPE_CHECKING:
    from editing.edit import TextEdit

Answer = tuple[dict[str, Any] | None, dict[str, Any]]


def publish(actions: Handlers) -> None:
    """Make the endpoints of the Blocks that is being built."""

    def reconstruct(
        request: gr.Request,
        photo: FileData,
        left: FileData | None = None,
        right: FileData | None = None,
        detail: bool = True,
    ) -> Iterator[Answer]:
        """Make a head from a photo of a face, and if wanted one or two more of the same person turned to a side.

        photo: a file, from the front; with gradio_client: handle_file("photo.jpg"). left, right: optional files that
        show more of the person's own left or right side. detail: go on with how the skin takes light, its relief and
        the wrinkles of expressions; without, the answer comes sooner.
        Returns the head as a GLB file, and a report: name, confidence (0 to 1), findings in words, seconds per stage.
        """
        paths = {"front": _path(photo), "left": _path(left), "right": _path(right)}
        if not paths["front"]:
            raise _error("A photo was expected. Upload one, with gradio_client by handle_file.")
        yield from _answers(actions.from_photos(paths, session_of(request), detail=truth(detail, "detail")))

    def random_head(
        request: gr.Request,
        seed: int = 1,
        attributes: dict[str, float] | None = None,
        labels: dict[str, float] | None = None,
        truncation: float = making.TRUNCATION,
        detail: bool = True,
    ) -> Iterator[Answer]:
        """Draw a head of nobody. Same arguments, same head.

        seed: a whole number from 0. attributes: what to add to the shape, by name, from -3 to 3: age, gender, weight,
        face_length, jaw_width, nose_width, nose_length, lips_fullness, eye_size, ears_size and others. labels: who it
        is to be, by name: age in years; gender, weight, skin_tone, freckles, beard, hair_colour, eye_colour and others
        from 0 to 1; what is left out is as the seed draws it. truncation: from 0, the average person, to 1, anybody.
        detail: go on with its own shade and the wrinkles of expressions; without, the answer comes sooner.
        Returns the head as a GLB file, and a report.
        """
        amounts, fixed = numbers(attributes, "attribute"), numbers(labels, "label")
        wish = (whole(seed, "seed"), amounts, fixed, number(truncation, "truncation"), truth(detail, "detail"))
        yield from _answers(actions.random_head(session_of(request), *wish))

    def faces(
        request: gr.Request,
        seed: int = 1,
        count: int = FACES,
        labels: dict[str, float] | None = None,
        truncation: float = making.TRUNCATION,
    ) -> Iterator[list[dict[str, Any]] | dict[str, Any]]:
        """Look at random heads before making one: those of `seed` and of the numbers after it.

        count: 1 to 9. labels, truncation: as for random_head.
        Returns a list with, for each, its seed, the person in words (text) and a JPEG as a data URI (picture).
        """
        seed, count = whole(seed, "seed"), whole(count, "count")
        seeds = range(seed, seed + min(count, 1_000_000))
        updates = actions.faces(session_of(request), seeds, numbers(labels, "label"), number(truncation, "truncation"))
        for update in updates:
            if update.problem is not None:
                raise _error(update.problem)
            if update.faces is not None:
                yield [{"seed": face.seed, "text": face.text, "picture": face.data_uri} for face in update.faces]
                return
            yield {"place": update.place.place, "wait_s": round(update.place.seconds, 1)} if update.place else {}

    def reshape(request: gr.Request, attributes: dict[str, float]) -> Iterator[Answer]:
        """Change the shape of the session's head.

        attributes: amounts by name, from -3 to 3, counted from the head as it was made; those left out are 0.
        Returns the head as a GLB file, and a report.
        """
        yield from _answers(actions.reshape(session_of(request), numbers(attributes, "attribute")))

    def edit(
        request: gr.Request,
        prompt: str | list[Any],
        strength: float = 1.0,
        keep_identity: float = 0.5,
        locks: list[str] | None = None,
        method: str = "mixed",
        model: str = "bundled",
    ) -> Iterator[Answer]:
        """Change the session's head in words.

        prompt: a text such as "older, smiling", or a list of changes, each a text or a pair of a text and its strength;
        these are all, so an empty list takes the words back. strength: of those that name none, from -1, the other way,
        to 1.5. keep_identity: 0 lets the person change, 1 hardly. locks: what stays: shape, skin, expression. method:
        mixed, table, mapper, directions or optimisation. model: bundled, or one of open_clip as model:pretrained.
        Returns the head as a GLB file, and a report: clauses, what moved, and remarks on what was not understood.
        """
        wish = {"keep_identity": keep_identity, "locks": locks, "method": method, "model": model}
        usual = number(strength, "strength")
        typed = prompt if isinstance(prompt, str) else None
        clauses = (
            []
            if isinstance(prompt, str)
            else [_clause(entry, usual) for entry in _list(prompt, "prompt", "A text or a list")]
        )
        yield from _answers(actions.edit(session_of(request), typed, words_of({**wish, "clauses": clauses}), usual))

    def undo(request: gr.Request) -> Iterator[Answer]:
        """Take back the last change of the session's head. Returns the head as a GLB file, and a report."""
        yield from _answers(actions.undo(session_of(request)))

    def redo(request: gr.Request) -> Iterator[Answer]:
        """Make the change again that was taken back last. Returns the head as a GLB file, and a report."""
        yield from _answers(actions.redo(session_of(request)))

    def restore(request: gr.Request) -> Iterator[Answer]:
        """The session's head as it was made, without changes. Returns it as a GLB file, and a report."""
        yield from _answers(actions.restore(session_of(request)))

    def cancel(request: gr.Request) -> bool:
        """End what the session has going, in line or at work. Returns whether there was anything."""
        return actions.cancel(session_of(request))

    for endpoint in (reconstruct, random_head, reshape, edit, undo, redo, restore):
        # Gradio takes the types of the outputs from here, one component for each; of what is yielded, not of iterators.
        endpoint.__annotations__["return"] = tuple[FileData, dict[str, Any]]
        api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)
    faces.__annotations__["return"] = list[dict[str, Any]]
    api(faces, api_name="faces", concurrency_limit=None)
    cancel.__annotations__["return"] = bool
    api(cancel, api_name="cancel", concurrency_limit=None)


def _answers(updates: Iterator[PageUpdate]) -> Iterator[Answer]:
    progress: dict[str, Any] = {}
    head: Answer | None = None
    told = False
    for update in updates:
        if update.problem is not None:
            raise _error(update.problem)
        told = update.file is not None
        if told:
            head = (_file(update), dict(update.report or {}))
            yield head
            continue
        if update.lines:
            progress = {"stage": update.lines[-1].text, "fraction": update.fraction}
        if update.place is not None:
            progress |= {"place": update.place.place, "wait_s": round(update.place.seconds, 1)}
        # Also where nothing is new: it is by sending that Gradio notices who has gone.
        yield None, progress
    if head is not None and not told:
        # Its detail did not come; the last answer is a head all the same.
        yield head


def _file(update: PageUpdate) -> dict[str, Any]:
    assert update.file is not None
    return FileData(path=str(update.file), orig_name=update.file.name, mime_type="model/gltf-binary").model_dump()


def _path(value: Any) -> str | None:
    path = value.get("path") if isinstance(value, Mapping) else None
    return path if isinstance(path, str) else None


def numbers(value: Any, what: str) -> dict[str, float]:
    """Numbers by name. what: such a one is called. Raises gr.Error for anything else; names and ranges are checked by
    the core."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _error(f'The {what}s were expected as names with numbers, such as {{"age": 1}}.')
    return {str(name): number(amount, f"{what} {name}") for name, amount in value.items()}


def prompt_of(value: Any) -> str | None:
    """What was typed, None for nothing."""
    return value if isinstance(value, str) else None


def words_of(wish: Mapping[str, Any]) -> TextEdit:
    """What is asked for in words, from plain values. Raises gr.Error for what is of another kind; texts, ranges and
    names are checked by the core."""
    clauses = [_clause(entry, 1.0) for entry in _list(wish.get("clauses"), "changes")]
    keep_identity = number(wish.get("keep_identity"), "keep_identity")
    locks = [str(lock) for lock in _list(wish.get("locks"), "locks")]
    return making.text_edit(clauses, keep_identity, locks, str(wish.get("method")), str(wish.get("model")))


def _clause(entry: Any, usual: float) -> tuple[str, float]:
    """A change and its strength, from a text or a pair."""
    text, strength = entry if isinstance(entry, list | tuple) and len(entry) == 2 else (entry, usual)
    if not isinstance(text, str):
        raise _error('Each change was expected as a text, such as "older", or as a pair such as ["older", 0.5].')
    return text, number(strength, "strength")


def _list(value: Any, what: str, expected: str = "A list") -> Sequence[Any]:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise _error(f"The {what} came as {value!r}. {expected} was expected.")
    return value


def number(value: Any, what: str) -> float:
    """A finite number. Raises gr.Error for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _error(f"The {what} is {value!r}. A number was expected.")
    return float(value)


def truth(value: Any, what: str) -> bool:
    """True or false. Raises gr.Error for anything else."""
    if not isinstance(value, bool):
        raise _error(f"The {what} is {value!r}. True or false was expected.")
    return value


def whole(value: Any, what: str) -> int:
    """A whole number. Raises gr.Error for anything else; its range is checked by the core."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _error(f"The {what} is {value!r}. A whole number from 0 was expected.")
    return value


def _error(sentence: str) -> gr.Error:
    return gr.Error(sentence, print_exception=False)


def session_of(request: gr.Request) -> str:
    """Whose request it is. One without a session is nobody's but its own."""
    return request.session_hash or secrets.token_urlsafe(18)
