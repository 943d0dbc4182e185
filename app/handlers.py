"""What happens when a person does something on the page or a program calls the API. No Gradio here.

A handler is a generator of `PageUpdate`s: a place in line, each stage, a first head, the final one; then, in the
background, the stages of its detail and the same head with it. `Work` decides whose turn it is, `making` does the work,
`Sessions` keeps what belongs to the visitor. A problem that the person can act on becomes a sentence; the head on show
stays, and what had been shown of the new one goes.
"""

from __future__ import annotations

import base64
import functools
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app import making
from app.files import Upload
from app.making import Made, Maker, Order, PointPx, Source, Step, Wish
from app.protocol import DropFirst, LoadHead, Message, SetFaces, SetPerson, SetPhoto, SetWords, ShowProgress
from app.sessions import GONE, NO_HEAD, NO_PHOTO, NO_WORDS, Edit, Head, Photo, Published, Sessions, Visitor
from app.work import Cancelled, Finished, Replaced, Reported, Waiting, Work
from core.errors import LikenessError

if TYPE_CHECKING:
    from core.avatar import Avatar
    from editing.edit import Editor, Moved, TextEdit

logger = logging.getLogger(__name__)

# The head that greets a visitor.
WELCOME = Wish(7)
# Random faces that are drawn at once.
FACES = 9
# Changes in words that a head may have at once, and letters of a text-image model's name.
CLAUSES = 16
MODEL_LETTERS = 100
# The photos of one person. Left and right are the person's own: which side of the face the photo shows.
SIDES = ("left", "right")

# What the stages are called for people, while they are at work and in the list. `refine` goes with `fit`.
STAGES = {
    "read": ("Reading the photo", "Photo read"),
    "detect": ("Looking for a face", "Face found"),
    "landmarks": ("Finding eyes, nose and mouth", "Landmarks"),
    "fit": ("Finding the shape of the head", "Shape"),
    "refine": ("Refining shape and pose", "Refined"),
    "texture": ("Painting the skin", "Skin"),
    "quality": ("Checking the result", "Checked"),
    "export": ("Packing the file", "Packed"),
}
# The same for the detail that comes after a head is on show: stages of `core.detail`, then ours.
DETAIL_STAGES = {
    "reflectance": ("Taking the light out of the skin", "Light taken out of the skin"),
    "relief": ("Finding the relief of the skin", "Relief"),
    "wrinkles": ("Drawing the wrinkles of expressions", "Wrinkles of expressions"),
    "repack": ("Packing the detailed file", "Packed with its detail"),
}
REPACK_AT = 0.95  # of the detail's time, as the bar has it


@dataclass(frozen=True)
class Line:
    """One line of the status. kind: how it looks; text: full sentences, plain text."""

    kind: Literal["busy", "done", "info", "warning", "problem"]
    text: str


@dataclass(frozen=True)
class StageRow:
    """One row of the list of stages. seconds: None while it is at work."""

    text: str
    seconds: float | None


@dataclass(frozen=True)
class Shape:
    """The controls of a head's shape. amounts: by attribute, those left out are 0. undo, redo, restore: what is
    possible now. photo: whether the head is one of a photo."""

    amounts: Mapping[str, float]
    undo: bool
    redo: bool
    restore: bool
    photo: bool


@dataclass(frozen=True)
class Worded:
    """A head that words have changed, finished or on the way. moved: what changed, the most first. expression: as in
    `LoadHead`. fraction: of a long search that is done, None where there is none."""

    glb: bytes
    moved: tuple[Moved, ...]
    expression: Mapping[str, float]
    fraction: float | None = None


@dataclass(frozen=True)
class Face:
    """A random face to choose from. text: who it is. picture: a JPEG."""

    seed: int
    text: str
    picture: bytes

    @property
    def data_uri(self) -> str:
        """The picture inside an address: nothing has to be held for it."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.picture).decode()}"


@dataclass(frozen=True)
class PageUpdate:
    """What changes on the page; None: as before.

    lines: the status. stages, fraction: of the work going on; total_s: of the work just done, in seconds, detail_s: of
    the detail that came after it. busy: whether there is any that can be cancelled. messages: for the viewer, in order.
    can_save: whether a final head is on show after this.
    shape: the controls after it. problem: why the wish was not fulfilled. For the API: place: in line; file, report:
    of the head that was made; faces: those drawn.
    """

    lines: tuple[Line, ...] | None = None
    stages: tuple[StageRow, ...] = ()
    fraction: float | None = None
    total_s: float | None = None
    detail_s: float | None = None
    busy: bool | None = None
    messages: tuple[Message, ...] = ()
    can_save: bool | None = None
    shape: Shape | None = None
    problem: str | None = None
    place: Waiting | None = None
    file: Path | None = None
    report: Mapping[str, Any] | None = None
    faces: tuple[Face, ...] | None = None


# Nothing new; but whoever is told so is still there.
QUIET = PageUpdate()


class Handlers:
    """The actions. One object serves all visitors.

    maker is called at the first use, not here: the core is heavy. address turns a path in `Files` into the address
    that a browser fetches it from. detail: whether heads get theirs after they are on show.
    """

    def __init__(
        self,
        maker: Callable[[], Maker],
        sessions: Sessions,
        address: Callable[[Path], str],
        work: Work | None = None,
        detail: bool = True,
    ) -> None:
        self._maker = maker
        self._sessions = sessions
        self._files = sessions.files
        self._address = address
        self._work = work or Work()
        self._details = detail
        self._welcome_lock = threading.Lock()
        self._welcome: tuple[Head, bytes] | None = None
        self._welcome_editor: Editor | None = None

    # -- Photos -------------------------------------------------------------------------------------

    def from_photo(self, path: Path | str | None, session: str) -> Iterator[PageUpdate]:
        """A photo was chosen, or taken away (None)."""
        if not path:
            yield from self._forget_photo(session)
            return
        # Side views belong to the photo from the front.
        photos = self._sessions.visitor(session).photos
        for side in SIDES:
            if side in photos:
                self._files.withdraw(photos.pop(side).path)
        yield from self.from_photos({"front": path}, session)

    def side_photo(self, side: str, path: Path | str | None, session: str) -> Iterator[PageUpdate]:
        """A photo of a side was chosen, or taken away (None). It waits for `combine`."""
        visitor = self._sessions.visitor(session)
        old = visitor.photos.pop(side, None)
        try:
            if path:
                upload = self._files.claim(path, session)
                data, scale = making.kept(_source(upload))
                self._files.shrink(upload.path, data)
                visitor.photos[side] = Photo(upload.name, upload.path, scale)
        except LikenessError as error:
            yield _problem(str(error))
        if old is not None and old != visitor.photos.get(side):
            self._files.withdraw(old.path)

    def combine(self, session: str) -> Iterator[PageUpdate]:
        """The photo of the head on show with those of the sides."""
        photos = self._sessions.visitor(session).photos
        sides = {side: photos[side].path for side in SIDES if side in photos}
        if "front" not in photos:
            yield _problem("Side views go with a photo from the front, and there is none. Choose that photo first.")
        elif not sides:
            yield _problem("No side view was chosen. Add a photo from the left or from the right first.")
        else:
            yield from self.from_photos(sides, session, front=photos["front"])

    def choose_face(self, point_px: PointPx, session: str) -> Iterator[PageUpdate]:
        """A point of the photo was clicked (in pixels of the upright photo as it was uploaded): the face there
        instead, if the photo shows several."""
        visitor = self._sessions.visitor(session)
        photo = visitor.photos.get("front")
        head = visitor.photo_head
        several = head is not None and any(f["code"] == "several-faces" for f in head.report.get("findings", ()))
        if photo is not None and several:
            point_px = (point_px[0] * photo.scale, point_px[1] * photo.scale)
            yield from self.from_photos({}, session, front=photo, point_px=point_px)

    def from_photos(
        self,
        paths: Mapping[str, Path | str | None],
        session: str,
        front: Photo | None = None,
        point_px: PointPx | None = None,
        detail: bool = True,
    ) -> Iterator[PageUpdate]:
        """Reconstruct. paths: uploads by "front", "left", "right". front: the photo from the front where it is known
        already. point_px: in the pixels of what is kept of it. detail: whether to go on with the head's detail."""
        visitor = self._sessions.visitor(session)
        try:
            # The one from the front first: claiming makes the newest, and of many the oldest goes.
            wanted = {**({"front": front.path} if front else {}), **paths}
            uploads = {slot: self._files.claim(path, session) for slot, path in wanted.items() if path}
        except LikenessError as error:
            yield self._failed(visitor, error)
            return
        order = Order(
            _source(uploads["front"]),
            tuple(_source(uploads[side]) for side in SIDES if side in uploads),
            point_px,
        )
        names = ["front", *(side for side in SIDES if side in uploads)]
        pictures: dict[int, Path] = {}
        rows: dict[str, float] = {}

        def task(report: Callable[[Any], None]) -> Made:
            with closing(self._maker().reconstruct(order)) as events:
                for event in events:
                    if isinstance(event, Made):
                        return event
                    report(event)
            raise RuntimeError("The core ended without a head.")

        def picture(index: int) -> Path:
            if index not in pictures:
                upload = uploads[names[index]]
                data = making.picture(_source(upload))
                pictures[index] = self._sessions.publish(visitor, data, f"{_file_stem(upload.name)}.jpg")
            return pictures[index]

        def step(event: Step) -> PageUpdate:
            rows.update(event.seconds)
            messages: list[Message] = []
            if event.size_px is not None and event.points_px is not None:
                url = self._address(picture(event.photo_index))
                seen[event.photo_index] = _photo(url, event.size_px, event.points_px)
                messages.append(seen[event.photo_index])
                visitor.reading = True
            if event.glb is not None:
                path = self._publish_head(visitor, event.glb, "first.glb", original=False, final=False)
                messages.append(LoadHead(self._address(path), "first.glb", final=False, original=True, expression={}))
                visitor.first = True
                if event.camera is not None and 0 in seen:
                    seen[0] = _with_camera(seen[0], event.camera)
                    messages.append(seen[0])
            text = STAGES[event.stage][0]
            if len(names) > 1 and event.stage in ("read", "detect", "landmarks"):
                text += f" ({names[event.photo_index]})"
            update = _busy(text, event.fraction, (*messages,), _rows(rows, event.stage))
            return replace(update, can_save=False) if event.glb is not None else update

        def done(made: Made) -> PageUpdate:
            lines = quality_lines(made.avatar)
            message = seen.get(0, NO_PHOTO)
            if made.camera is not None and message.url is not None:
                message = _with_camera(message, made.camera)
            report = _report(made.avatar, made.seconds)
            head = Head(made.avatar, None, None, message, pictures.get(0), lines, report, finished=not detail)
            self._keep_photos(visitor, uploads, front)
            if visitor.photo_head is not None and visitor.photo_head.picture is not None:
                self._files.withdraw(visitor.photo_head.picture)
            visitor.photo_head = head
            visitor.history, visitor.at = [Edit(None)], 0
            update = self._show(visitor, head, Worded(made.glb, (), {}), original=True, name=made.avatar.name)
            return replace(update, stages=_rows(made.seconds, None), total_s=made.seconds.get("total"))

        seen: dict[int, SetPhoto] = {}
        try:
            shown = yield from self._do(visitor, task, "reconstructing the photo", done, step, quick=False)
        finally:
            self._sessions.tidy()
            # Of a photo that led to nothing the upload stays, for its preview, but a large one is not worth that.
            needed = {photo.path for photo in visitor.photos.values()}
            for upload in uploads.values():
                if upload.path not in needed and len(upload.data) > making.KEPT_BYTES:
                    self._files.withdraw(upload.path)
            for path in pictures.values():
                if visitor.photo_head is None or visitor.photo_head.picture != path:
                    self._files.withdraw(path)
        if shown is not None:
            yield from self._detail(visitor, shown)

    def _forget_photo(self, session: str) -> Iterator[PageUpdate]:
        """The photo was taken away: what is held of it goes; its head stays."""
        self._work.cancel(session)
        visitor = self._sessions.visitor(session)
        for photo in visitor.photos.values():
            self._files.withdraw(photo.path)
        visitor.photos = {}
        if visitor.photo_head is None:
            return
        if visitor.photo_head.picture is not None:
            self._files.withdraw(visitor.photo_head.picture)
        bare = replace(visitor.photo_head, photo=NO_PHOTO, picture=None)
        if visitor.head is visitor.photo_head:
            visitor.head = bare
        visitor.photo_head = bare
        yield PageUpdate(messages=(NO_PHOTO,), shape=self._shape(visitor))

    def _keep_photos(self, visitor: Visitor, uploads: Mapping[str, Upload], front: Photo | None) -> None:
        """Hold what may be needed again of the photos of a new head; what was held before and is not goes."""
        photos = dict(visitor.photos) if front is not None else {}
        for slot, upload in uploads.items():
            if slot == "front" and front is not None:
                continue
            data, scale = making.kept(_source(upload))
            self._files.shrink(upload.path, data)
            photos[slot] = Photo(upload.name, upload.path, scale)
        for photo in visitor.photos.values():
            if photo.path not in {new.path for new in photos.values()}:
                self._files.withdraw(photo.path)
        visitor.photos = photos

    # -- Random heads and edits ---------------------------------------------------------------------

    def random_head(
        self,
        session: str,
        seed: int,
        amounts: Mapping[str, float],
        fixed: Mapping[str, float] | None = None,
        truncation: float = making.TRUNCATION,
        detail: bool = True,
    ) -> Iterator[PageUpdate]:
        """Draw a head of nobody. amounts: by attribute of the shape, what to add to it. fixed: numbers by the names of
        traits or labels; None: as in the random head on show, whose truncation is kept too. Words stay with their head:
        another seed begins without. detail: whether to go on with the head's detail."""
        visitor = self._sessions.visitor(session)
        try:
            if fixed is not None:
                wish = Wish(seed, self._maker().labels(fixed), truncation)
            elif visitor.head is not None and visitor.head.wish is not None:
                wish = replace(visitor.head.wish, seed=seed)
            else:
                wish = Wish(seed)
        except LikenessError as error:
            yield self._failed(visitor, error)
            return
        edit = Edit(wish, _nonzero(amounts), _words_of(visitor, wish))
        yield from self._change(visitor, edit, "drawing a random head", visitor.record, detail)

    def faces(
        self, session: str, seeds: Sequence[int], fixed: Mapping[str, float], truncation: float = making.TRUNCATION
    ) -> Iterator[PageUpdate]:
        """Small pictures of random heads to choose from. Nothing of them is kept; the head on show stays."""
        visitor = self._sessions.visitor(session)

        def task(_: Callable[[Any], None]) -> tuple[Face, ...]:
            if not 1 <= len(seeds) <= FACES:
                raise LikenessError(f"{len(seeds)} faces were asked for. Ask for 1 to {FACES} at a time.")
            make = self._maker()
            labels = make.labels(fixed)
            wishes = [Wish(seed, labels, truncation) for seed in seeds]
            pictures = make.faces(wishes)
            return tuple(
                Face(wish.seed, make.person(wish).text, picture) for wish, picture in zip(wishes, pictures, strict=True)
            )

        def done(faces: tuple[Face, ...]) -> PageUpdate:
            message = SetFaces(list(seeds), [face.data_uri for face in faces], [face.text for face in faces])
            return PageUpdate(messages=(message,), faces=faces)

        # In a place of their own: they neither end the making of a head nor are ended by it.
        for update in self._do(visitor, task, "drawing faces", done, place=_of_faces(session)):
            if update.problem is not None and update.lines is not None:
                yield PageUpdate(lines=update.lines, messages=(SetFaces([], [], []),), problem=update.problem)
            elif update.problem is not None or update.faces is not None:
                yield update
            else:
                # Where they stand in line is no news of the head.
                yield replace(QUIET, place=update.place)

    def reshape(self, session: str, amounts: Mapping[str, float]) -> Iterator[PageUpdate]:
        """Change the shape of the visitor's head. amounts: by attribute, all of them: those left out are 0."""
        yield from self._edit(session, lambda visitor: replace(visitor.edit, amounts=_nonzero(amounts)))

    def edit(self, session: str, prompt: str | None, words: TextEdit, strength: float = 1.0) -> Iterator[PageUpdate]:
        """Change the visitor's head by words. prompt: what was typed, whose clauses are added with this strength; None:
        nothing. words: all others, with their own strengths, and how to go about it.

        What is not understood is named, and changes nothing; the other clauses of the same text do.
        """
        visitor = self._sessions.visitor(session)
        try:
            if visitor.head is None:
                raise LikenessError(NO_HEAD)
            words = _with_usual_model(words)
            told = NO_WORDS
            if prompt is not None:
                words, told = self._heard(prompt, words, strength)
        except LikenessError as error:
            yield self._failed(visitor, error)
            return
        if told.rest and told.rest == prompt:
            # Nothing of it was understood.
            answer = replace(visitor.words, rest=prompt, unknown=told.unknown, suggestions=told.suggestions)
            yield PageUpdate(messages=(answer,), problem=" ".join(told.unknown))
            return
        # The chips are there before the head is.
        expression = dict(visitor.words.expression)
        answer = replace(_set_words(words, visitor.words.moved, expression), rest=told.rest)
        yield PageUpdate(messages=(replace(answer, unknown=told.unknown, suggestions=told.suggestions),))
        edit = replace(visitor.edit, words=words if words.clauses else None)
        for update in self._change(visitor, edit, "changing the head by words", visitor.record):
            if update.report is not None:
                yield replace(update, report={**update.report, "remarks": [*told.unknown, *update.report["remarks"]]})
            else:
                yield update

    def _heard(self, prompt: str, words: TextEdit, strength: float) -> tuple[TextEdit, SetWords]:
        """The words with the clauses of a text, and what there is to be said of it: rest, unknown, suggestions."""
        reading = self._maker().read_prompt(prompt, words.model)
        if reading.problem is not None:
            raise LikenessError(reading.problem)
        said = [*(word.sentence for word in reading.unknown), *reading.notes]
        clauses = {text.casefold(): (text, amount) for text, amount in words.clauses}
        for clause in reading.clauses:
            if clause.text.casefold() in clauses:
                said.append(f"\u201c{clause.text}\u201d is there already. Its slider makes it stronger.")
            clauses.setdefault(clause.text.casefold(), (clause.text, strength))
        if len(clauses) > CLAUSES:
            raise LikenessError(
                f"With this there would be {len(clauses)} changes at once; a head has at most {CLAUSES}. "
                "Remove some of them first."
            )
        rest = ", ".join(word.text for word in reading.unknown) if reading.clauses else prompt
        meant = [word.suggestion for word in reading.unknown if word.suggestion]
        return replace(words, clauses=tuple(clauses.values())), replace(
            NO_WORDS, rest=rest, unknown=said, suggestions=meant
        )

    def restore(self, session: str) -> Iterator[PageUpdate]:
        """The head as it was before words and sliders changed it. Can be undone."""
        yield from self._edit(session, lambda visitor: Edit(visitor.edit.wish))

    def undo(self, session: str) -> Iterator[PageUpdate]:
        """One step back in the history."""
        yield from self._step(session, -1)

    def redo(self, session: str) -> Iterator[PageUpdate]:
        """One step forward again."""
        yield from self._step(session, 1)

    def _edit(self, session: str, wanted: Callable[[Visitor], Edit]) -> Iterator[PageUpdate]:
        visitor = self._sessions.visitor(session)
        try:
            edit = wanted(self._sessions.known(session))
        except LikenessError as error:
            yield self._failed(visitor, error)
            return
        yield from self._change(visitor, edit, "changing the shape", visitor.record)

    def _step(self, session: str, by: int) -> Iterator[PageUpdate]:
        visitor = self._sessions.visitor(session)
        try:
            at = self._sessions.known(session).at + by
            if not 0 <= at < len(visitor.history):
                raise LikenessError(f"There is nothing to {'undo' if by < 0 else 'redo'}.")
            edit = visitor.history[at]
        except LikenessError as error:
            yield self._failed(visitor, error)
            return
        yield from self._change(visitor, edit, "changing the head", lambda _: setattr(visitor, "at", at))

    def _change(
        self, visitor: Visitor, edit: Edit, doing: str, recorded: Callable[[Edit], None], detail: bool = True
    ) -> Iterator[PageUpdate]:
        """Show the head of a step. recorded: called once it is there, to say where in the history that is. detail:
        whether a head that is drawn anew gets its detail."""
        held = self._held(visitor, edit.wish)
        if held is None and edit.wish is not None:
            text = f"Drawing random head number {edit.wish.seed} …"
            yield PageUpdate(messages=(ShowProgress(text, 0.3),))

        def task(report: Callable[[Any], None]) -> tuple[Head, Edit, Worded, tuple[Line, ...]]:
            maker = self._maker()
            head = held
            if head is None and edit.wish is not None:
                head = replace(_random(maker, edit.wish), finished=not detail)
            if head is None:
                raise LikenessError(GONE)
            words, notes = _with_model(maker, edit.words)
            worded = functools.partial(_worded, maker, head.avatar, edit.amounts)

            def progress(avatar: Avatar, fraction: float) -> bool:
                # Raises where nobody waits for it any more.
                report(worded(avatar, (), fraction=fraction))
                return True

            if words is None:
                return head, edit, worded(head.avatar, ()), notes
            editor = self._editor(visitor, maker, head)
            if edit != visitor.edit:
                first = editor.preview(words)
                report(worded(first.avatar, first.moved))
            last = editor.apply(words, progress)
            return head, replace(edit, words=words), worded(last.avatar, last.moved), notes

        def step(draft: Worded) -> PageUpdate:
            assert edit.words is not None
            path = self._publish_head(visitor, draft.glb, "preview.glb", original=False, final=False)
            visitor.first = True
            expression = dict(draft.expression)
            messages = (
                _set_words(edit.words, _moved_texts(draft.moved), expression),
                LoadHead(self._address(path), "preview.glb", final=False, original=False, expression=expression),
            )
            if draft.fraction is None:
                return PageUpdate(messages=messages, can_save=False)
            update = _busy("Looking for the head that fits the words", draft.fraction, messages, ())
            return replace(update, can_save=False)

        def done(made: tuple[Head, Edit, Worded, tuple[Line, ...]]) -> PageUpdate:
            head, final, result, notes = made
            original = _original(visitor.head, final)
            recorded(final)
            update = self._show(visitor, head, result, original)
            assert update.lines is not None and update.report is not None
            remarks = [note.text for note in notes]
            return replace(update, lines=(*update.lines, *notes), report={**update.report, "remarks": remarks})

        quick = edit.words is None or edit.words.method != "optimisation"
        shown = yield from self._do(visitor, task, doing, done, step, quick=quick, private=edit.words is not None)
        if shown is not None:
            yield from self._detail(visitor, shown)

    def _editor(self, visitor: Visitor, maker: Maker, head: Head) -> Editor:
        """What applies words to a head: the one that is held, where it is of that head."""
        shared = self._welcome_editor
        if shared is not None and shared.avatar is head.avatar:
            return shared
        editor = visitor.editor
        if editor is None or editor.avatar is not head.avatar:
            editor = maker.editor(head.avatar)
            self._sessions.keep_editor(visitor, editor)
        return editor

    def _held(self, visitor: Visitor, wish: Wish | None) -> Head | None:
        """The head of a wish, None: of the photo, where it is there already."""
        if wish is None:
            return visitor.photo_head
        own = visitor.head if visitor.head is not None and visitor.head.wish == wish else None
        if self._welcome is not None and wish == WELCOME and not (own is not None and own.finished):
            return self._welcome[0]
        return own

    # -- Detail -------------------------------------------------------------------------------------

    def _detail(self, visitor: Visitor, shown: PageUpdate) -> Iterator[PageUpdate]:
        """What the head on show still lacks, made in the background, and the same head with it: whatever the visitor
        does next ends it, and begins at once. shown: the update that has shown the head; the last update here has a
        file and a report again, of the detailed head or of the one that stays.

        An edit is applied again to the detailed head. "Before" then shows that without its detail, until it is shown.
        """
        head, edit = visitor.head, visitor.edit if visitor.history else None
        if not self._details or head is None or edit is None or head.finished:
            return
        # A long search is not repeated for that.
        if edit.words is not None and edit.words.method == "optimisation":
            return
        photo, laps = head.wish is None, _Laps()
        assert shown.lines is not None and shown.report is not None
        lines, stages, said = shown.lines, shown.stages, shown.report

        def task(report: Callable[[Any], None]) -> tuple[Head, Worded]:
            maker = self._maker()

            def at(stage: str, fraction: float) -> None:
                laps.begin(stage)
                with laps.resting():
                    report(Step(stage, fraction, dict(laps.seconds)))

            found = self._with_detail(maker, visitor, head, lambda stage, share: at(stage, REPACK_AT * share))
            at("repack", REPACK_AT)
            if edit.words is None:
                result = _worded(maker, found.avatar, edit.amounts, found.avatar, ())
            else:
                words, _ = _with_model(maker, edit.words)
                assert words is not None
                last = self._editor(visitor, maker, found).apply(words)
                result = _worded(maker, found.avatar, edit.amounts, last.avatar, last.moved)
            laps.end()
            return found, result

        def busy(text: str, step: Step) -> PageUpdate:
            rows = (*stages, *_rows(step.seconds, step.stage, DETAIL_STAGES))
            update = _busy(text, step.fraction, (), rows, beside=True)
            assert update.lines is not None
            # A random head's is there in a moment: a button that comes and goes is worth less than one that stays.
            return replace(update, lines=(*lines, *update.lines), busy=photo or None)

        def done(found: Head, result: Worded) -> PageUpdate:
            """The detailed head in the place of the other."""
            total_s = sum(laps.seconds.values())
            report = {**(_report(found.avatar, {}) if photo else head.report), "detailed": True}
            report["seconds"] = head.report["seconds"] | _rounded({**laps.seconds, "detail": total_s})
            told = quality_lines(found.avatar) if photo else head.lines
            found = replace(found, photo=head.photo, picture=head.picture, lines=told, report=report)
            before = visitor.published[-1]
            name = before.path.name
            path = self._publish_head(visitor, result.glb, name, before.original, final=True)
            self._exchange(visitor, head, found)
            if visitor.editor is not None and visitor.editor.avatar is not found.avatar:
                visitor.editor = None
            load = LoadHead(self._address(path), name, True, before.original, dict(result.expression))
            return PageUpdate(
                lines=(*lines, *(line for line in told if line not in head.lines)),
                stages=(*stages, *_rows(laps.seconds, None, DETAIL_STAGES)),
                total_s=shown.total_s,
                detail_s=total_s,
                busy=False,
                messages=(load, ShowProgress(None, 1.0)),
                can_save=True,
                file=path,
                report={**said, **report},
            )

        def without(line: Line) -> PageUpdate:
            """The head stays as it is."""
            self._exchange(visitor, head, replace(head, finished=True))
            remarks = [*said.get("remarks", ()), line.text]
            return replace(
                shown,
                lines=(*lines, line),
                busy=False,
                messages=(ShowProgress(None, 0.0),),
                shape=None,
                report={**said, "remarks": remarks},
            )

        step, waited = Step("", 0.0), False
        try:
            with closing(self._work.run(visitor.session, task, background=True)) as events:
                for event in events:
                    if isinstance(event, Waiting) and not waited:
                        # It may be only that the thread of the head itself is just ending.
                        waited = True
                        yield QUIET
                    elif isinstance(event, Waiting):
                        update = busy("Detail follows when nobody waits for a head", step)
                        yield replace(update, messages=(ShowProgress(None, 0.0),))
                    elif isinstance(event, Reported):
                        step = event.event
                        yield busy(DETAIL_STAGES[step.stage][0], step)
                    elif isinstance(event, Finished):
                        if visitor.head is head and visitor.edit == edit:
                            yield done(*event.result)
                    else:
                        yield QUIET
        except Replaced:
            # What is newer tells the page what is going on.
            yield PageUpdate(file=shown.file, report=shown.report)
        except Cancelled:
            yield without(Line("info", "Detail was left out; the head stays as it is."))
        except LikenessError as error:
            yield without(Line("warning", f"The head stays without some maps of its skin. {error}"))
        except Exception:
            error = _bug("adding detail to the head", edit.words is not None)
            yield without(Line("warning", str(error)))
        finally:
            self._sessions.tidy()

    def _with_detail(self, maker: Maker, visitor: Visitor, head: Head, report: making.Report) -> Head:
        """A head with its detail. That of the greeting head is the same for everybody."""
        ready = self._held(visitor, head.wish)
        if ready is not None and ready is not head and ready.finished:
            return ready
        return replace(head, avatar=maker.detail(head.avatar, report), finished=True)

    def _exchange(self, visitor: Visitor, old: Head, new: Head) -> None:
        """A head of a visitor for the same one, wherever it stands."""
        if visitor.photo_head is old:
            visitor.photo_head = new
        if visitor.head is old:
            visitor.head = new

    # -- Coming and going ---------------------------------------------------------------------------

    def welcome(self, session: str) -> Iterator[PageUpdate]:
        """Somebody opened the page: show a head, made once for everybody."""
        visitor = self._sessions.visitor(session)
        try:
            while self._welcome is None:
                yield _busy("Starting", 0.1, (), ())
                if self._welcome_lock.acquire(timeout=1):
                    try:
                        self._make_welcome()
                    finally:
                        self._welcome_lock.release()
            head, glb = self._welcome
            visitor.record(Edit(WELCOME))
            shown = self._show(visitor, head, Worded(glb, (), {}), original=True)
            yield shown
            yield from self._detail(visitor, shown)
        except LikenessError as error:
            yield self._failed(visitor, error)
        except Exception:
            yield self._failed(visitor, _bug("starting"))

    def cancel(self, session: str) -> bool:
        """End what the visitor has going, in line or at work; whether there was anything. What was shown of it goes
        by the updates of the handler that did it."""
        return self._work.cancel(session)

    def leave(self, session: str) -> None:
        """The visitor closed the page."""
        self._work.cancel(session)
        self._work.cancel(_of_faces(session))
        self._sessions.close(session)

    def warm(self) -> None:
        """Load what the first visitor would otherwise wait for. Never raises: a visitor gets the sentence."""
        try:
            with self._welcome_lock:
                self._make_welcome()
            if self._details:
                self._detail_welcome()
            assert self._welcome is not None
            # What words need to know of a head, once for everybody: most people try them on this one first.
            editor = self._maker().editor(self._welcome[0].avatar)
            editor.preview(making.text_edit([("older", 1.0)], 0.5, [], "mixed", "bundled"))
            self._welcome_editor = editor
        except Exception:
            logger.exception("The core could not be warmed up.")

    def _make_welcome(self) -> None:
        if self._welcome is None:
            make = self._maker()
            head = _random(make, WELCOME)
            line = Line(
                "info",
                "Welcome! This head is drawn at random. Add a photo of a face to make one of a person, say in words "
                "what to change, choose another head under Person, or try the other panels: Expression, Pose and "
                "Relight act at once.",
            )
            self._welcome = (replace(head, lines=(line,)), make.glb(head.avatar))

    def _detail_welcome(self) -> None:
        """The greeting head with its detail from now on."""
        assert self._welcome is not None
        head = self._welcome[0]
        make = self._maker()

        def task(report: Callable[[Any], None]) -> tuple[Head, bytes]:
            avatar = make.detail(head.avatar, lambda *at: report(at))
            return replace(head, avatar=avatar, finished=True), make.glb(avatar)

        for event in self._work.run("greeting", task, background=True):
            if isinstance(event, Finished):
                self._welcome = event.result

    # -- What all have in common --------------------------------------------------------------------

    def _do(
        self,
        visitor: Visitor,
        task: Callable[[Callable[[Any], None]], Any],
        doing: str,
        done: Callable[[Any], PageUpdate],
        step: Callable[[Any], PageUpdate] | None = None,
        place: str | None = None,
        quick: bool = True,
        private: bool = False,
    ) -> Generator[PageUpdate, None, PageUpdate | None]:
        """Do the work when its turn comes. step, done: what the page is told of an event and of the result. place:
        whose place in line it takes, None: the visitor's. quick: see `Work`. private: people's words are in it, which
        no log may hold. Returns what the page was told of the result, None where there is none."""
        shown = None
        try:
            with closing(self._work.run(place or visitor.session, task, quick)) as events:
                for event in events:
                    if isinstance(event, Waiting):
                        update = _busy(event.sentence, 0.0, (), ())
                        yield replace(update, place=event)
                    elif isinstance(event, Reported) and step is not None and event.event is not None:
                        yield step(event.event)
                    elif isinstance(event, Finished):
                        shown = done(event.result)
                        yield shown
                    else:
                        yield QUIET
        except Replaced as error:
            # The newer wish tells the page what is going on.
            yield PageUpdate(problem=str(error))
        except LikenessError as error:
            yield self._failed(visitor, error)
        except Exception:
            yield self._failed(visitor, _bug(doing, private))
        return shown

    def _show(
        self, visitor: Visitor, head: Head, worded: Worded, original: bool, name: str | None = None
    ) -> PageUpdate:
        """The head of the step of the history on show."""
        stem = _file_stem(name or (f"head-{head.wish.seed}" if head.wish is not None else head.avatar.name))
        path = self._publish_head(visitor, worded.glb, f"{stem}.glb", original, final=True)
        visitor.head, visitor.reading, visitor.first = head, False, False
        words, expression = visitor.edit.words, dict(worded.expression)
        visitor.words = _set_words(words, _moved_texts(worded.moved), expression) if words is not None else NO_WORDS
        if visitor.editor is not None and visitor.editor.avatar is not head.avatar:
            visitor.editor = None
        return PageUpdate(
            lines=head.lines,
            busy=False,
            messages=(
                # Before the head: the sliders that the words have moved act at once.
                visitor.words,
                LoadHead(self._address(path), f"{stem}.glb", final=True, original=original, expression=expression),
                head.photo,
                _set_person(head),
                ShowProgress(None, 1.0),
            ),
            can_save=True,
            shape=self._shape(visitor),
            file=path,
            report={**head.report, "attributes": dict(visitor.edit.amounts), **_words_report(words, worded.moved)},
        )

    def _publish_head(self, visitor: Visitor, glb: bytes, name: str, original: bool, final: bool) -> Path:
        """Hold a head's file. Of the earlier ones stay the one before, which may still be on its way to a browser, the
        newest final one, to which the page returns where another is not finished, and the newest original, which the
        viewer compares with."""
        path = self._sessions.publish(visitor, glb, name)
        heads = [*visitor.published, Published(path, original, final)]
        originals, finals = [head for head in heads if head.original], [head for head in heads if head.final]
        needed = {*originals[-1:], *finals[-1:], *heads[-2:]}
        for old in heads:
            if old not in needed:
                self._files.withdraw(old.path)
        visitor.published = [old for old in heads if old in needed]
        return path

    def _shape(self, visitor: Visitor) -> Shape:
        edit = visitor.edit
        return Shape(
            edit.amounts,
            undo=visitor.at > 0,
            redo=visitor.at + 1 < len(visitor.history),
            restore=bool(edit.amounts) or edit.words is not None,
            photo=visitor.head is not None and visitor.head.wish is None and "front" in visitor.photos,
        )

    def _failed(self, visitor: Visitor, error: LikenessError) -> PageUpdate:
        """A sentence instead of a head, and everything as it was before."""
        messages: list[Message] = [DropFirst()] if visitor.first else []
        if visitor.reading or visitor.first:
            messages.append(visitor.head.photo if visitor.head else NO_PHOTO)
        visitor.first = visitor.reading = False
        # The sliders too: they may stand where they would have led.
        known = visitor.head is not None
        if visitor.head is not None:
            messages += [_set_person(visitor.head), visitor.words]
        return PageUpdate(
            lines=(Line("info" if isinstance(error, Cancelled) else "problem", str(error)),),
            busy=False,
            messages=(*messages, ShowProgress(None, 0.0)),
            can_save=True if known else None,
            shape=self._shape(visitor) if known else None,
            problem=str(error),
        )


def quality_lines(avatar: Avatar) -> tuple[Line, ...]:
    """The quality report of a head in words, most serious first."""
    quality = avatar.quality
    kinds: dict[str, Literal["info", "warning", "problem"]] = {
        "error": "problem",
        "warning": "warning",
        "info": "info",
    }
    summary = Line("done", f"{quality.summary} Confidence {round(100 * quality.confidence)} %.")
    return (summary, *(Line(kinds[f.severity], f"{f.sentence} {f.advice}".strip()) for f in quality.findings))


def _report(avatar: Avatar, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What the API says of a head, as plain values."""
    quality = avatar.quality
    return {
        "name": avatar.name,
        "seed": avatar.provenance.seed,
        "summary": quality.summary,
        "confidence": round(float(quality.confidence), 3),
        "findings": [
            {"code": f.code, "severity": f.severity, "sentence": f.sentence, "advice": f.advice}
            for f in quality.findings
        ],
        "seconds": _rounded(seconds),
        "detailed": False,
    }


def _worded(
    maker: Maker,
    base: Avatar,
    amounts: Mapping[str, float],
    avatar: Avatar,
    moved: tuple[Moved, ...],
    fraction: float | None = None,
) -> Worded:
    """A head that words have made of `base`, with amounts of shape on top."""
    expression = {} if avatar is base else maker.expression(base, avatar)
    shaped = maker.reshape(avatar, amounts) if amounts else avatar
    return Worded(maker.glb(shaped), moved, expression, fraction)


class _Laps:
    """How long stages take, by name, without the time in which others had the machine."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage: str | None = None
        self._since_s = 0.0

    def begin(self, stage: str) -> None:
        """The stage before is finished, unless it is this one."""
        self.end()
        self._stage, self._since_s = stage, time.perf_counter()

    def end(self) -> None:
        """Nothing is at work any more."""
        now = time.perf_counter()
        if self._stage is not None:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since_s
        self._stage = None

    @contextmanager
    def resting(self) -> Iterator[None]:
        """What happens inside does not count."""
        stage = self._stage
        self.end()
        yield
        if stage is not None:
            self.begin(stage)


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}


def _random(make: Maker, wish: Wish) -> Head:
    avatar = make.generate(wish)
    person = make.person(wish)
    line = Line("done", f"Random head number {wish.seed}: {person.text}. This person does not exist.")
    report = {**_report(avatar, {}), "person": person.text, "labels": dict(wish.labels), "truncation": wish.truncation}
    return Head(avatar, wish, person, NO_PHOTO, None, (line,), report)


def _original(before: Head | None, edit: Edit) -> bool:
    """Whether a step is a new head, or one as it was before any change, rather than a change of the one before."""
    if not edit.amounts and edit.words is None and (edit.wish is None or edit.wish == Wish(edit.wish.seed)):
        return True
    seed, seed_before = (wish and wish.seed for wish in (edit.wish, before and before.wish))
    return before is None or seed != seed_before


def _set_person(head: Head) -> SetPerson:
    if head.wish is None or head.person is None:
        return SetPerson(None, {}, [], making.TRUNCATION, {})
    person = head.person
    return SetPerson(
        head.wish.seed, dict(person.values), list(person.fixed), head.wish.truncation, dict(person.colours)
    )


def _words_of(visitor: Visitor, wish: Wish) -> TextEdit | None:
    """The words that stay where a random head is wished for: those of the same person."""
    before = visitor.edit if visitor.history else None
    same = before is not None and before.wish is not None and before.wish.seed == wish.seed
    return before.words if before is not None and same else None


def _with_usual_model(words: TextEdit) -> TextEdit:
    """The words with the model that whoever runs the server has chosen, where the visitor has named none. Raises
    LikenessError as `_check_model` does."""
    if words.model == NO_WORDS.model:
        return replace(words, model=os.environ.get("LIKENESS_CLIP") or NO_WORDS.model)
    if words.model != os.environ.get("LIKENESS_CLIP"):
        _check_model(words.model)
    return words


def _check_model(name: str) -> None:
    """Raises LikenessError for what no visitor may choose: a file of the server's."""
    if len(name) > MODEL_LETTERS or re.search(r"[\\/~]|^local-dir:", name):
        raise LikenessError(
            "A text-image model is chosen here by its name in open_clip, as model:pretrained, such as "
            "ViT-B-32:laion2b_s34b_b79k, or as bundled. Files are for the command line and for LIKENESS_CLIP."
        )


def _with_model(maker: Maker, words: TextEdit | None) -> tuple[TextEdit | None, tuple[Line, ...]]:
    """The words with a model that is there, and what is to be said where that is another."""
    if words is None or words.model == NO_WORDS.model:
        return words, ()
    try:
        maker.load_model(words.model)
    except LikenessError as error:
        note = Line("warning", f"{error} The bundled model was used instead.")
        return replace(words, model=NO_WORDS.model), (note,)
    return words, ()


def _set_words(words: TextEdit, moved: Sequence[str], expression: Mapping[str, float]) -> SetWords:
    return SetWords(
        clauses=[text for text, _ in words.clauses],
        strengths=[strength for _, strength in words.clauses],
        keep_identity=words.keep_identity,
        locks=sorted(words.locks),
        method=words.method,
        model=words.model,
        moved=list(moved),
        expression=dict(expression),
        rest=None,
        unknown=[],
        suggestions=[],
    )


def _moved_texts(moved: Sequence[Moved]) -> list[str]:
    """What changed, for people: "age +26 years", "smile +0.6"."""
    texts = []
    for entry in moved:
        years = entry.name == "age_years"
        amount = f"{entry.amount:+.0f}" if years else f"{entry.amount:+.1f}"
        texts.append(f"{entry.title} {amount.replace('-', chr(0x2212))}{' years' if years else ''}")
    return texts


def _words_report(words: TextEdit | None, moved: Sequence[Moved]) -> dict[str, Any]:
    """What the API says of words, as plain values; nothing where there are none."""
    if words is None:
        return {}
    return {
        "clauses": [{"text": text, "strength": strength} for text, strength in words.clauses],
        "keep_identity": words.keep_identity,
        "locks": sorted(words.locks),
        "method": words.method,
        "model": words.model,
        "moved": [{"name": entry.name, "title": entry.title, "amount": entry.amount} for entry in moved],
    }


def _of_faces(session: str) -> str:
    """The place in line of what a visitor chooses from."""
    return f"{session} faces"


def _busy(
    text: str, fraction: float, messages: tuple[Message, ...], stages: tuple[StageRow, ...], beside: bool = False
) -> PageUpdate:
    text = text if text.endswith(".") else f"{text} …"
    return PageUpdate(
        lines=(Line("busy", text),),
        stages=stages,
        fraction=fraction,
        busy=True,
        messages=(*messages, ShowProgress(text, fraction, beside)),
    )


def _rows(
    seconds: Mapping[str, float], at: str | None, names: Mapping[str, tuple[str, str]] = STAGES
) -> tuple[StageRow, ...]:
    """The stages that are finished, with their seconds, and the one at work."""
    done = [StageRow(names[name][1], seconds[name]) for name in names if name in seconds and name != at]
    return (*done, *([StageRow(names[at][0], None)] if at else []))


def _problem(sentence: str) -> PageUpdate:
    return PageUpdate(lines=(Line("problem", sentence),), problem=sentence)


def _bug(doing: str, private: bool = False) -> LikenessError:
    kind, _, trace = sys.exc_info()
    if private:
        # Where it happened, and not what the exception says: that may repeat what somebody typed.
        where = "".join(traceback.format_tb(trace))
        logger.error("A bug while %s: %s\n%s", doing, kind.__name__ if kind else "unknown", where)
    else:
        logger.exception("A bug while %s.", doing)
    return LikenessError(
        f"Something went wrong in the program while {doing}; the head on show has not changed. "
        "Try again; if it happens again, please report it with the server's log."
    )


def _photo(url: str, size_px: tuple[int, int], points_px: Sequence[float]) -> SetPhoto:
    return SetPhoto(url, size_px[0], size_px[1], list(points_px), 0, 0, 0, [], reading=True)


def _with_camera(photo: SetPhoto, camera: making.CameraFound) -> SetPhoto:
    """The photo put away, to be compared with its head."""
    return replace(
        photo,
        focal_px=camera.focal_px,
        principal_x_px=camera.principal_x_px,
        principal_y_px=camera.principal_y_px,
        transform=camera.transform,
        reading=False,
    )


def _source(upload: Upload) -> Source:
    return Source(upload.name, upload.data)


def _nonzero(amounts: Mapping[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in amounts.items() if amount}


def _file_stem(name: str) -> str:
    """A file name that every system accepts, as close to `name` as that allows."""
    return re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-")[:60] or "head"
