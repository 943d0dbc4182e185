"""The work itself: photos or a seed in, heads out. It knows no visitor and no page.

`reconstruct` is a plain generator of plain values, because on a ZeroGPU Space it runs in a process of its own, where
nothing of this one can be reached.
"""

from __future__ import annotations

import functools
import io
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import LikenessError

if TYPE_CHECKING:
    from core import generation
    from core.avatar import Avatar
    from core.pipeline import Stage
    from core.synthesis.people import Labels
    from editing.edit import Editor, TextEdit
    from editing.prompts import Reading

# So often, at least, does `reconstruct` yield: whoever reads it can stop in between.
TICK_S = 0.5
# A photo that is kept for a second look is reduced to this beyond so many bytes.
KEPT_BYTES = 3_000_000
KEPT_SIDE_PX = 3072
# What the viewer shows of a photo.
SHOWN_SIDE_PX = 1600
# How far random people may be from the average one: 0 is that one, 1 is anybody.
TRUNCATION = 0.8
# Of the small pictures of random heads.
FACE_SIDE_PX = 160
# How many colours stand for the range of a trait.
COLOUR_STEPS = 9

PointPx = tuple[float, float]
# Called with a stage of `core.detail.STAGES` and the share of all that is done; what it raises ends the work.
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Source:
    """A photo as it came. name: of the file; data: its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Order:
    """What to reconstruct. front: the photo that leads. sides: more of the same person, turned. point_px: on the
    face that is meant, in pixels of the upright front photo; None: the largest face."""

    front: Source
    sides: tuple[Source, ...] = ()
    point_px: PointPx | None = None


@dataclass(frozen=True)
class CameraFound:
    """A fitted camera as messages carry it: `SetPhoto` in app/protocol.py says what each field is."""

    focal_px: float
    principal_x_px: float
    principal_y_px: float
    transform: list[float]


@dataclass(frozen=True)
class Step:
    """A moment of a reconstruction. stage, fraction, seconds, photo_index: as `core.pipeline.Stage`, seconds only of
    whole stages. size_px, points_px: of the photo read, once known. glb, camera: of the untextured head, once known."""

    stage: str
    fraction: float
    seconds: dict[str, float] = field(default_factory=dict)
    photo_index: int = 0
    size_px: tuple[int, int] | None = None
    points_px: list[float] | None = None
    glb: bytes | None = None
    camera: CameraFound | None = None


@dataclass(frozen=True, eq=False)
class Made:
    """A finished head. camera, size_px: of the front photo, None for a random head. seconds: per stage."""

    avatar: Avatar
    glb: bytes
    camera: CameraFound | None = None
    size_px: tuple[int, int] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """Which random head. labels: what is fixed of the person, by the names of `core.synthesis.people.Labels`; all else
    is as the seed draws it. truncation: see `TRUNCATION`."""

    seed: int
    labels: Mapping[str, float] = field(default_factory=dict)
    truncation: float = TRUNCATION


@dataclass(frozen=True)
class Person:
    """Who a random head is. text: in words. By trait, which is what the page calls an attribute of a person: values,
    which of them the wish fixes, and for some the CSS colours along the range, separated by commas."""

    text: str
    values: Mapping[str, float] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    colours: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Maker:
    """The things of the core that the page needs; `core_maker` gives the real ones. All may raise LikenessError.

    reconstruct, detail: see the functions of these names. reshape: `Avatar`, amounts by attribute -> `Avatar`. glb:
    `Avatar` -> GLB bytes. Of random heads: generate; person: who it will be, at once; faces: JPEGs of their faces,
    drawn together because that is quicker; labels: numbers by the names of traits or labels -> labels. Of words:
    read_prompt: what somebody typed, in clauses; editor: what applies them to a head; load_model: see whether a
    text-image model is there, by its name; expression: by name, what a head's expression has over that of the one it
    was made of.
    """

    reconstruct: Callable[[Order], Generator[Step | Made | None, None, None]]
    detail: Callable[[Avatar, Report], Avatar]
    reshape: Callable[[Avatar, Mapping[str, float]], Avatar]
    glb: Callable[[Avatar], bytes]
    generate: Callable[[Wish], Avatar]
    person: Callable[[Wish], Person]
    faces: Callable[[Sequence[Wish]], list[bytes]]
    labels: Callable[[Mapping[str, float]], dict[str, float]]
    read_prompt: Callable[[str, str], Reading]
    editor: Callable[[Avatar], Editor]
    load_model: Callable[[str], object]
    expression: Callable[[Avatar, Avatar], dict[str, float]]


@functools.cache
def core_maker() -> Maker:
    """The real core. Imports torch and MediaPipe, seconds on a cold machine: call it late or in the background."""
    from core import generation, pipeline

    return Maker(
        reconstruct=reconstruct,
        detail=detail,
        reshape=pipeline.reshape,
        glb=_glb,
        generate=lambda wish: pipeline.generate(wish.seed, wish.labels, wish.truncation),
        person=_person,
        faces=_faces,
        labels=generation.labels_from,
        read_prompt=_read_prompt,
        editor=_editor,
        load_model=_load_model,
        expression=_expression,
    )


def text_edit(
    clauses: Sequence[tuple[str, float]], keep_identity: float, locks: Sequence[str], method: str, model: str
) -> TextEdit:
    """What is asked for in words. Unchecked: that is the core's, when it is applied."""
    from editing.edit import TextEdit

    return TextEdit(tuple(clauses), keep_identity, frozenset(locks), method, model)


def _read_prompt(text: str, model: str) -> Reading:
    from editing.edit import reading_of

    return reading_of(text, model)


def _editor(avatar: Avatar) -> Editor:
    from editing.edit import Editor

    return Editor(avatar)


def _load_model(name: str) -> object:
    from editing.text_image import load_model

    return load_model(name)


def _expression(before: Avatar, after: Avatar) -> dict[str, float]:
    from core.head import load_head

    change = (after.expression - before.expression).tolist()
    return {name: amount for name, amount in zip(load_head().expression_names, change, strict=True) if amount}


def _glb(avatar: Avatar) -> bytes:
    from core.gltf import glb_bytes
    from core.head import load_head

    return glb_bytes(load_head(), avatar)


def _person(wish: Wish) -> Person:
    from core import generation
    from core.head import load_head
    from core.synthesis.captions import describe

    labels = generation.person_of(load_head(), _core_wish(wish)).labels
    return Person(
        describe(labels),
        {name: trait.read(labels) for name, trait in generation.TRAITS.items()},
        tuple(name for name, trait in generation.TRAITS.items() if set(trait.labels(trait.low)) <= set(wish.labels)),
        {name: _colours(generation.TRAITS[name], labels, colour) for name, colour in _colour_functions().items()},
    )


def _core_wish(wish: Wish) -> generation.Wish:
    from core import generation

    return generation.Wish(wish.seed, wish.labels, wish.truncation)


def _colour_functions() -> dict[str, Callable[[Labels], Sequence[float]]]:
    """By trait, what part of a person it colours: linear RGB."""
    from core.synthesis.painting import skin_tone
    from core.synthesis.people import hair_colour, iris_colour

    def skin(labels: Labels) -> list[float]:
        return skin_tone(labels.melanin, labels.haemoglobin).tolist()

    return {"skin_tone": skin, "hair_colour": hair_colour, "eye_colour": iris_colour}


def _colours(trait: generation.Trait, labels: Labels, colour: Callable[[Labels], Sequence[float]]) -> str:
    """CSS colours along the range of a trait, in a person who is otherwise as given."""
    import torch

    from core.color import linear_to_srgb

    steps = [trait.low + (trait.high - trait.low) * i / (COLOUR_STEPS - 1) for i in range(COLOUR_STEPS)]
    linear = torch.tensor([colour(replace(labels, **trait.labels(x))) for x in steps])
    rows = (255 * linear_to_srgb(linear)).round().clamp(0, 255).int().tolist()
    return ", ".join("#{:02x}{:02x}{:02x}".format(*row) for row in rows)


def _faces(wishes: Sequence[Wish]) -> list[bytes]:
    from PIL import Image

    from core import pipeline

    pictures = []
    for pixels in pipeline.thumbnails([_core_wish(wish) for wish in wishes], FACE_SIDE_PX):
        out = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(out, "JPEG", quality=88)
        pictures.append(out.getvalue())
    return pictures


class _Stopped(LikenessError):
    """Nobody reads any more."""


def reconstruct(order: Order) -> Generator[Step | Made | None, None, None]:
    """The head of the person on the photos: a `Step` whenever there is news, None where there is none for `TICK_S`,
    `Made` at the end. Closing it ends the work. Raises LikenessError.

    The core reports by callback and the reader wants to stop in between, so the core runs in a thread of its own.
    """
    from core import pipeline

    events: queue.SimpleQueue[Step | Made | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    size_px: list[tuple[int, int]] = []

    def progress(stage: Stage) -> None:
        if stop.is_set():
            raise _Stopped("Nobody reads any more.")
        if stage.photo_size_px is not None and stage.photo_index == 0:
            size_px[:] = [stage.photo_size_px]
        events.put(_step(stage))

    def work() -> None:
        try:
            started = time.perf_counter()
            point_px = order.point_px and _core_point(order.front.data, order.point_px)
            sides: Any = {"sides": [_stream(side) for side in order.sides]} if order.sides else {}
            avatar = pipeline.reconstruct(_stream(order.front), progress, face_point_px=point_px, **sides)
            seconds = _whole(avatar.provenance.seconds)
            if stop.is_set():
                return
            events.put(Step("export", 0.98, seconds))
            packing = time.perf_counter()
            glb = _glb(avatar)
            seconds |= {"export": time.perf_counter() - packing, "total": time.perf_counter() - started}
            events.put(Made(avatar, glb, _camera(avatar), size_px[0], seconds))
        except BaseException as error:  # handed to the reader below, which raises it
            events.put(error)

    worker = threading.Thread(target=work, name="reconstruct", daemon=True)
    worker.start()
    try:
        while True:
            try:
                event = events.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Made):
                return
    finally:
        stop.set()
        worker.join()  # the place is free when the cores are


def detail(avatar: Avatar, report: Report) -> Avatar:
    """The same head with the maps of how its skin takes light, of its relief and of its wrinkles; itself, where it has
    them. In this process and on its CPU, also on a ZeroGPU Space, whose GPU is for what somebody waits for.

    Without `skin_diffuse_normal`, which no GLB holds and the relief tells again: visitors' heads stay in memory.
    Raises LikenessError as `whole_detail`.
    """
    made = whole_detail(avatar, report)
    if made is avatar:
        return avatar
    return replace(made, materials=replace(made.materials, skin_diffuse_normal=None))


def whole_detail(avatar: Avatar, report: Report, refine: bool = True) -> Avatar:
    """`core.detail.detailed`, whose lack of memory is a LikenessError too."""
    from core.detail import detailed

    with _memory_as_sentence():
        return detailed(avatar, report, refine)


def facescape_relief(avatar: Avatar, folder: Path) -> Avatar:
    """`core.foreign_detail.facescape_detailed`, whose lack of memory is a LikenessError too."""
    from core.foreign_detail import facescape_detailed

    with _memory_as_sentence():
        return facescape_detailed(avatar, folder)


@contextmanager
def _memory_as_sentence() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise LikenessError(
            "There is not enough memory free for the finer maps of the skin. Try again when less is going on, or on a "
            "machine with more."
        ) from error


def _step(stage: Stage) -> Step:
    return Step(
        stage.name,
        stage.fraction,
        _whole(stage.seconds),
        stage.photo_index,
        stage.photo_size_px,
        None if stage.landmarks_px is None else stage.landmarks_px.flatten().tolist(),
        None if stage.avatar is None else _glb(stage.avatar),
        None if stage.avatar is None else _camera(stage.avatar),
    )


def _whole(seconds: Mapping[str, float]) -> dict[str, float]:
    """Without the parts of stages, whose names have a dot."""
    return {name: float(value) for name, value in seconds.items() if "." not in name}


def _camera(avatar: Avatar) -> CameraFound | None:
    camera = avatar.camera
    if camera is None:
        return None
    x, y = camera.principal_px[0].tolist()
    return CameraFound(float(camera.focal_px[0]), x, y, camera.T_camera_head[0].flatten().tolist())


def _stream(source: Source) -> io.BytesIO:
    """A photo as the core takes it, an open file: by its name it tells people which one it means."""
    stream = io.BytesIO(source.data)
    stream.name = source.name
    stream.mode = "rb"  # pyright: ignore[reportAttributeAccessIssue]  # what a file that was opened has
    return stream


def _core_point(data: bytes, point_px: PointPx) -> PointPx:
    """A point of the photo as stored, in the pixels that the core sees: it reduces larger photos."""
    from PIL import Image

    from core.photo import MAX_SIDE_PX

    with Image.open(io.BytesIO(data)) as stored:
        scale = min(1.0, MAX_SIDE_PX / max(stored.size))
    return (point_px[0] * scale, point_px[1] * scale)


def picture(source: Source) -> bytes:
    """A photo as any browser shows it: an upright JPEG of moderate size. Raises PhotoError."""
    return _jpeg(source, SHOWN_SIDE_PX, 86)[0]


def kept(source: Source) -> tuple[bytes, float]:
    """A photo small enough to be held for a second look, and its pixels for one pixel of the original.

    A small file stays as it is. Of others the camera's focal length is kept (as its 35 mm equivalent).
    """
    return (source.data, 1.0) if len(source.data) <= KEPT_BYTES else _jpeg(source, KEPT_SIDE_PX, 90)


def _jpeg(source: Source, side_px: int, quality: int) -> tuple[bytes, float]:
    from PIL import ExifTags, Image

    from core.camera import focal_from_equivalent_mm
    from core.photo import load_photo

    photo = load_photo(_stream(source))
    image = Image.fromarray(photo.pixels)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    exif = Image.Exif()
    if photo.focal_px is not None:
        mm = photo.focal_px / focal_from_equivalent_mm(1.0, photo.width, photo.height)
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = max(1, round(mm))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, exif=exif)
    with Image.open(io.BytesIO(source.data)) as stored:
        return out.getvalue(), max(image.size) / max(stored.size)
