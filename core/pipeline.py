"""Whole heads: `reconstruct` from a photo, `generate` from a seed, `reshape` either. Start reading here."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from core.albedo.bundled import albedo_gan
from core.avatar import Avatar, Provenance, QualityReport
from core.camera import look_at_head
from core.errors import LikenessError, PhotoError
from core.fitting import FitResult, LandmarkFit, fit_photos, head_angles
from core.generation import TRUNCATION, Wish, generate_head, labels_from
from core.head import HeadModel, load_head
from core.landmarks import Face, Landmarks, detect_faces, landmarks, person_mask, pick_face
from core.materials import Materials, paint_eye, paint_lashes, paint_mouth
from core.photo import Photo, load_photo
from core.quality import Finding, confidence, findings, measure
from core.render import render_head
from core.texture import Seen, View, build_materials
from core.transfer import with_latent


@dataclass(frozen=True, eq=False)
class Stage:
    """Where `reconstruct` is. What was found is told once, in the first stage that follows; None before and after.

    name: of the stage at work: read, detect, landmarks, fit, refine, texture, quality. fraction: of the whole that is
    done, 0..1, never falling. seconds: of the stages that are finished, by name, in the order in which they began.
    photo_index: which photo is at work, 0 for the one from the front. photo_size_px: width and height of that photo,
    upright, and landmarks_px: the points found on the face, in its pixels; both come together. avatar: the head
    without its skin, with the camera of the photo.
    """

    name: str
    fraction: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    photo_index: int = 0
    photo_size_px: tuple[int, int] | None = None
    landmarks_px: Float[Tensor, "478 2"] | None = None
    avatar: Avatar | None = None


# May raise: the exception passes through `reconstruct` untouched, which is how a caller ends the work.
Progress = Callable[[Stage], None]

SKIN_PX = 1024
# Thumbnails: maps about as fine as their pictures; the camera of a portrait; how much of the head is in the picture.
THUMBNAIL_MAP_PX = 128
THUMBNAIL_DISTANCE_M, THUMBNAIL_HEIGHT_M, THUMBNAIL_YAW = 1.0, 0.27, 0.3
ATTRIBUTE_LIMIT = 3.0  # times the clear change that +-1 is
# Residual of the landmarks over the face's size above which the shape is a guess.
LOOSE_FIT = 0.035
# Photos from the side: turned less than this from the first, they add little; less likely than this (natural log
# odds) to show the first photo's person, they deserve a warning; a part is added where this share of it is new.
BARELY_TURNED_DEG = 12.0
DOUBTFUL_AGREEMENT = -4.0
ADDED_SHARE = 0.15
COVERED_SHARE = 0.15  # of the visible face left out as hair, glasses, hands: worth a word above this


Source = str | Path | bytes | IO[bytes] | Image.Image | np.ndarray


def reconstruct(
    source: Source,
    progress: Progress | None = None,
    face_point_px: tuple[float, float] | None = None,
    name: str | None = None,
    sides: Sequence[Source] = (),
) -> Avatar:
    """The head of the person in a photo.

    source: anything `load_photo` reads. progress: called in this thread as stages begin and several times a second
    within them (see `Stage`, `Progress`). face_point_px: a point on the face that is meant, where the photo shows
    several; else the largest. sides: more photos of the same person, turned to a side by some 20 to 50 degrees, in
    any order: one shape is fitted to all, and each adds the skin that it shows best; camera, expression and light of
    the head are those of `source`. The same photos give the same head. Raises PhotoError, in sentences that name the
    photo where there are several, where no good head can come of one of them, FileError where bundled weights are
    missing.
    """
    steps = _Steps(progress)
    count = 1 + len(sides)
    views: list[_Prepared] = []
    for i, one in enumerate((source, *sides)):
        try:
            views.append(_prepare(one, i, count, name if i == 0 else None, face_point_px if i == 0 else None, steps))
        except PhotoError as error:
            if i == 0:
                raise
            where = f" ({Path(one).name})" if isinstance(one, str | Path) else ""
            raise PhotoError(f"The {_ordinal(i)} photo{where} cannot be used. {error}") from error
    head = load_head()
    front = views[0]
    identity = _photo_name(front.photo, name)

    def fitting(share: float, i: int, landmark_fit: LandmarkFit | None) -> None:
        fraction = 0.25 + 0.35 * share
        if landmark_fit is None:
            steps.at(fraction, i)
        elif i == 0:
            steps.begin("refine", fraction, avatar=_untextured(head, identity, landmark_fit))

    steps.begin("fit", 0.25)
    joint = fit_photos([view.photo for view in views], head, [view.points for view in views], report=fitting)
    fit = joint.fits[0]
    steps.begin("texture", 0.6)
    seen = [
        View(view.photo, head.vertices(own.parameters)[0], own.camera, view.points, view.mask)
        for view, own in zip(views, joint.fits, strict=True)
    ]
    texture = build_materials(head, seen, SKIN_PX, report=lambda share, i: steps.at(0.6 + 0.38 * share, i))
    steps.begin("quality", 0.98)

    residual = fit.residual_px / front.face.size_px
    found = (*front.found, *_fit_findings(residual, texture.covered_fraction), *_notes(front.photo))
    trust = confidence(found)
    for i in range(1, count):
        found += _side_findings(i, views[i], joint.fits[i], fit, joint.agreement[i - 1], texture.seen)
    avatar = Avatar(
        name=identity,
        head_model=head.name,
        shape=fit.parameters.shape[0],
        expression=fit.parameters.expression[0],
        joint_rotations=fit.parameters.joint_rotations[0],
        materials=texture.materials,
        camera=fit.camera,
        light=texture.light_sh.float(),
        provenance=Provenance("photo", seconds=steps.seconds),
        quality=QualityReport(
            trust,
            found,
            _summary(trust, found),
            {
                "landmarks_px": float(fit.residual_px),
                "landmarks_of_face": float(residual),
                "face_px": float(front.face.size_px),
                "seen_of_face": float(texture.seen_fraction),
                "covered_of_face": float(texture.covered_fraction),
                # Too little skin to learn light from leaves no common objective, and no number to save.
                **({"objective": float(fit.objective[-1])} if fit.objective else {}),
                **({"photos": float(count), "seen_of_portrait": texture.seen[-1].portrait} if count > 1 else {}),
            },
        ),
    )
    return with_latent(avatar)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A photo that was looked at. mask: the person's outline ``[H, W]``."""

    photo: Photo
    face: Face
    points: Landmarks
    found: tuple[Finding, ...]
    mask: Tensor


def _prepare(
    source: Source, index: int, count: int, name: str | None, point_px: tuple[float, float] | None, steps: _Steps
) -> _Prepared:
    """Read a photo and find the face. Raises PhotoError where it cannot be used."""

    def share(x: float) -> float:
        return (index + x) / count * 0.25

    steps.begin("read", share(0.0), index)
    photo = load_photo(source, name)
    if index == 0:
        load_head()
    steps.begin("detect", share(0.2), index)
    faces = detect_faces(photo)
    face = pick_face(faces, point_px)
    steps.begin("landmarks", share(0.6), index)
    points = landmarks(photo, face)
    steps.at(share(0.8), index, photo_size_px=(photo.width, photo.height), landmarks_px=points.points_px)
    found = findings(measure(photo, face, points, len(faces)))
    fatal = next((finding for finding in found if finding.severity == "error"), None)
    if fatal is not None:
        # A photo from the side may be turned, but not so far that the far eye is lost.
        advice = fatal.advice
        if index > 0 and fatal.code == "profile":
            advice = "Turn the head less, by 30 to 50 degrees, so that both eyes can be seen."
        raise PhotoError(f"{fatal.sentence} {advice}")
    return _Prepared(photo, face, points, found, _person(photo, face.box_px))


def _ordinal(index: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth", "sixth")
    return words[index] if index < len(words) else f"{index + 1}th"


def _side_findings(
    index: int, view: _Prepared, fit: FitResult, front: FitResult, agreement: float, seen: Sequence[Seen]
) -> tuple[Finding, ...]:
    """What a further photo brought, and what is the matter with it."""
    which = _ordinal(index)
    yaw, base = (math.degrees(float(head_angles(f.camera.T_camera_head[0, :3, :3])[0])) for f in (fit, front))
    turn = abs(yaw - base)
    before, after = seen[index - 1], seen[index]
    added = [
        f"the {own} {part}"
        for own, part, gain in (
            ("left", "cheek", after.left_side - before.left_side),
            ("right", "cheek", after.right_side - before.right_side),
            ("left", "ear", after.left_ear - before.left_ear),
            ("right", "ear", after.right_ear - before.right_ear),
        )
        if gain > ADDED_SHARE
    ]
    found = []
    if turn < BARELY_TURNED_DEG:
        found.append(
            Finding(
                "barely-turned",
                "warning",
                f"The {which} photo shows the head turned by only {turn:.0f} degrees from the first, so it adds "
                f"little: {after.portrait:.0%} of the face and its sides are seen instead of {before.portrait:.0%}.",
                "Turn the head by 30 to 50 degrees for a photo from the side.",
            )
        )
    else:
        what = f" adds {_listed(added)}:" if added else " makes the shape surer:"
        found.append(
            Finding(
                "side-photo",
                "info",
                f"The {which} photo, turned by {turn:.0f} degrees,{what} {after.portrait:.0%} of the face "
                f"and its sides are now seen instead of {before.portrait:.0%}.",
                "Nothing needs to be done.",
            )
        )
    if agreement < DOUBTFUL_AGREEMENT:
        found.append(
            Finding(
                "other-person",
                "warning",
                f"The face in the {which} photo has other proportions than the one in the first; "
                "it may be another person.",
                "Use photos of one person, taken with the same lens from about the same distance.",
            )
        )
    loose = fit.residual_px / view.face.size_px
    if loose > LOOSE_FIT:
        found.append(
            Finding(
                "side-loose-fit",
                "warning",
                f"The head fits the {which} photo only loosely ({loose:.1%} of the face).",
                "Keep the expression of the first photo, and take it from farther away.",
            )
        )
    for finding in (*view.found, *_notes(view.photo)):
        # Turned is what it should be.
        if finding.code != "turned":
            found.append(replace(finding, code=f"side-{finding.code}", sentence=f"{which.capitalize()} photo: "
                                 f"{finding.sentence}"))  # fmt: skip
    return tuple(found)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


class _Steps:
    """Tells the caller of `reconstruct` where it is, and keeps the time."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._name, self._fraction = "", 0.0
        self._clock = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def begin(self, name: str, fraction: float, index: int = 0, **found: Any) -> None:
        """The stage before is finished, and `name` begins."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._clock
        self._name, self._clock = name, now
        self.at(fraction, index, **found)

    def at(self, fraction: float, index: int = 0, **found: Any) -> None:
        """Still at the same stage. index: the photo at work. found: what this moment has for a `Stage`."""
        self._fraction = max(self._fraction, fraction)
        if self._progress is not None:
            self._progress(Stage(self._name, self._fraction, dict(self.seconds), index, **found))


def generate(
    seed: int, labels: Mapping[str, float] | None = None, truncation: float = TRUNCATION, name: str | None = None
) -> Avatar:
    """A random adult, who is nobody. The same arguments give the same head.

    labels: what the person should have, by names of `core.generation.TRAITS` or of `core.synthesis.people.LABEL_NAMES`,
    in their own units; the rest is as the seed has it. truncation: how much of the variety of people that is drawn
    from, 0 the mean person .. 1 all of it. Raises LikenessError for names and values that are none and for a seed that
    is not from 0 to 2^63 - 1, FileError where the generator's weights are missing.
    """
    started = time.perf_counter()
    head = load_head()
    wish = Wish(seed, labels_from(labels or {}), truncation)
    made = generate_head(head, wish, SKIN_PX)
    neutral = head.neutral()
    return Avatar(
        name=name or f"random {seed}",
        head_model=head.name,
        shape=made.shape,
        expression=neutral.expression[0],
        joint_rotations=neutral.joint_rotations[0],
        materials=made.materials,
        camera=None,
        light=None,
        provenance=Provenance(
            "generated",
            seed,
            seconds={"generate": time.perf_counter() - started},
            labels=wish.labels,
            truncation=float(truncation),
        ),
        quality=QualityReport(1.0, (), f"A random head, drawn with seed {seed}; it is nobody's likeness."),
        latent=made.latent,
        generator=albedo_gan().fingerprint,
    )


def thumbnails(wishes: Sequence[Wish], size_px: int = 160) -> list[UInt8[Tensor, "3 H W"]]:
    """Small pictures of the heads that `generate` would make, a little from the side, sRGB, in the order of the wishes.

    Raises as `generate` does. A wish's labels are labels, not traits (`core.generation.labels_from`).
    """
    head = load_head()
    # From where the face fills the picture, as tall as wide.
    middle = torch.tensor([0.0, -0.025, -0.04])
    focal_px = size_px * THUMBNAIL_DISTANCE_M / THUMBNAIL_HEIGHT_M
    camera = look_at_head(
        torch.tensor([THUMBNAIL_YAW]), torch.zeros(1), THUMBNAIL_DISTANCE_M, middle, focal_px, size_px, size_px
    )
    pictures = []
    for wish in wishes:
        made = generate_head(head, wish, THUMBNAIL_MAP_PX, preview=True)
        vertices = head.rest_vertices(made.shape[None], made.shape.new_zeros(1, len(head.expression_names)))
        with torch.no_grad():
            picture = render_head(head, vertices, made.materials, camera, shadows=False)[0]
        pictures.append((picture * 255).round().to(torch.uint8))
    return pictures


def reshape(avatar: Avatar, attributes: Mapping[str, float]) -> Avatar:
    """The same person with another shape: attribute amounts are added to the head's own.

    attributes: name -> amount, in units of `HeadModel.attribute_directions`, counted from `avatar`. Skin, expression,
    camera, light and quality report are those of `avatar`; its provenance counts the amounts up. Raises LikenessError
    for an unknown attribute or an amount that is no number within +-3, FileError where the avatar belongs to another
    head model.
    """
    head = load_head()
    avatar.check_fits(head)
    _check_attributes(head, attributes)
    total = dict(avatar.provenance.attributes)
    for key, amount in attributes.items():
        total[key] = total.get(key, 0.0) + float(amount)
    # A saved head may leave out the last coefficients, which are then zero.
    shape = torch.nn.functional.pad(avatar.shape, (0, head.shape_count - len(avatar.shape)))
    provenance = replace(avatar.provenance, attributes={key: amount for key, amount in total.items() if amount})
    return replace(avatar, shape=_moved(head, shape, attributes), provenance=provenance)


def _check_attributes(head: HeadModel, attributes: Mapping[str, float]) -> None:
    for key, amount in attributes.items():
        if key not in head.attribute_names:
            raise LikenessError(f"There is no attribute {key!r}. The attributes are {', '.join(head.attribute_names)}.")
        if not (math.isfinite(amount) and abs(amount) <= ATTRIBUTE_LIMIT):
            raise LikenessError(
                f"The attribute {key} is {amount}; use a number from -{ATTRIBUTE_LIMIT:g} to {ATTRIBUTE_LIMIT:g}."
            )


def _moved(head: HeadModel, shape: Float[Tensor, "K"], attributes: Mapping[str, float]) -> Float[Tensor, "K"]:
    for key, amount in attributes.items():
        shape = shape + amount * head.attribute_directions[head.attribute_names.index(key)]
    return shape


def _photo_name(photo: Photo, name: str | None) -> str:
    """The file's name without its ending, which names nothing a person would."""
    return name or Path(photo.name).stem or "photo"


def _person(photo: Photo, box_px: tuple[float, float, float, float]) -> torch.Tensor:
    """The person's outline over the whole photo ``[H, W]``, looked for around the face; 0 elsewhere."""
    left, top, right, bottom = box_px
    size = max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2
    # Twice the face each way shows hair and shoulders, which the network needs to tell person from wall.
    window = (
        max(0, int(x - 1.6 * size)),
        max(0, int(y - 1.6 * size)),
        min(photo.width, int(x + 1.6 * size) + 1),
        min(photo.height, int(y + 1.6 * size) + 1),
    )
    whole = torch.zeros(photo.height, photo.width)
    whole[window[1] : window[3], window[0] : window[2]] = person_mask(photo, window)
    return whole


@functools.lru_cache(maxsize=1)
def _plain_materials() -> Materials:
    return Materials(
        skin_albedo=torch.full((3, 8, 8), 186, dtype=torch.uint8),
        skin_roughness=torch.full((1, 8, 8), 150, dtype=torch.uint8),
        eye_albedo=paint_eye(),
        mouth_albedo=paint_mouth(),
        lash_albedo=paint_lashes(),
    )


def _untextured(head: HeadModel, name: str, fit: LandmarkFit) -> Avatar:
    """What can be shown while the skin is being painted: the shape in one plain tone."""
    return Avatar(
        name=name,
        head_model=head.name,
        shape=fit.parameters.shape[0],
        expression=fit.parameters.expression[0],
        joint_rotations=fit.parameters.joint_rotations[0],
        materials=_plain_materials(),
        camera=fit.camera,
        light=None,
        provenance=Provenance("photo"),
        quality=QualityReport(0.5, (), "The shape is known; the skin is still being painted."),
    )


def _fit_findings(residual_of_face: float, covered: float) -> tuple[Finding, ...]:
    found = []
    if residual_of_face > LOOSE_FIT:
        found.append(
            Finding(
                "loose-fit",
                "warning",
                f"The head fits the face's outline only loosely ({residual_of_face:.1%} of the face).",
                "An upright, unobstructed photo with a relaxed face gives a closer shape.",
            )
        )
    if covered > COVERED_SHARE:
        found.append(
            Finding(
                "hidden-skin",
                "info",
                f"About {covered:.0%} of the visible face is covered by hair, glasses or something else; "
                "the skin there was filled in.",
                "Take off glasses and brush hair aside for a truer skin.",
            )
        )
    return tuple(found)


def _notes(photo: Photo) -> tuple[Finding, ...]:
    return tuple(Finding("file", "info", note, "Nothing needs to be done.") for note in photo.notes)


def _summary(trust: float, found: tuple[Finding, ...]) -> str:
    if trust >= 0.85:
        return "A good photo: the head should be a close likeness."
    worst = next((f for f in found if f.severity == "warning"), found[0] if found else None)
    reason = "" if worst is None else f" {worst.sentence}"
    if trust >= 0.5:
        return f"A usable photo: expect a recognisable head.{reason}"
    return f"A difficult photo: treat the head as a rough likeness.{reason}"
