"""Whole heads: `reconstruct` from a photo, `generate` from a seed. Start reading here."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image

from core.albedo.parametric import paint_materials, random_look
from core.avatar import Avatar, Provenance, QualityReport
from core.errors import LikenessError, PhotoError
from core.fitting import LandmarkFit, fit_photo
from core.head import HeadModel, load_head
from core.landmarks import detect_faces, landmarks, person_mask, pick_face
from core.materials import IRIS_COLOURS, Materials, paint_eye, paint_lashes, paint_mouth
from core.photo import Photo, load_photo
from core.quality import Finding, confidence, findings, measure
from core.texture import build_materials

# stage, share of the whole done (0..1), an early head to show or None
Progress = Callable[[str, float, Avatar | None], None]

SKIN_PX = 1024
GENERATED_SHAPE_SIGMA = 0.8  # of beta: a little inside the population, where every head looks healthy
SHAPE_LIMIT = 2.2  # standard deviations of any one coefficient of a generated head
ATTRIBUTE_LIMIT = 3.0  # times the clear change that +-1 is
# Residual of the landmarks over the face's size above which the shape is a guess.
LOOSE_FIT = 0.035
COVERED_SHARE = 0.15  # of the visible face left out as hair, glasses, hands: worth a word above this


def reconstruct(
    source: str | Path | bytes | IO[bytes] | Image.Image | np.ndarray,
    progress: Progress | None = None,
    face_point_px: tuple[float, float] | None = None,
    name: str | None = None,
) -> Avatar:
    """The head of the person in a photo.

    source: anything `load_photo` reads. progress: called before and between stages, in this thread; once
    with an untextured head as soon as its shape is known. face_point_px: a point on the face that is
    meant, where the photo shows several; else the largest. The same photo gives the same head. Raises
    PhotoError, in sentences, where no good head can come of it.
    """
    say = progress or (lambda stage, fraction, early: None)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage] = now - clock
        clock = now

    say("read", 0.0, None)
    photo = load_photo(source, name)
    head = load_head()
    done("read")
    say("detect", 0.05, None)
    faces = detect_faces(photo)
    face = pick_face(faces, face_point_px)
    done("detect")
    say("landmarks", 0.15, None)
    points = landmarks(photo, face)
    measures = measure(photo, face, points, len(faces))
    found = findings(measures)
    fatal = next((finding for finding in found if finding.severity == "error"), None)
    if fatal is not None:
        raise PhotoError(f"{fatal.sentence} {fatal.advice}")
    mask = _person(photo, face.box_px)
    done("landmarks")
    say("fit", 0.25, None)
    identity = _photo_name(photo, name)

    def early(_stage: str, fit: LandmarkFit) -> None:
        say("refine", 0.4, _untextured(head, identity, fit))

    fit = fit_photo(photo, head, points, report=early)
    done("fit")
    seconds |= {f"fit.{stage}": value for stage, value in fit.seconds.items()}
    say("texture", 0.6, None)
    vertices = head.vertices(fit.parameters)[0]
    texture = build_materials(photo, head, vertices, fit.camera, points, mask, SKIN_PX)
    done("texture")

    residual = fit.residual_px / face.size_px
    found = (*found, *_fit_findings(residual, texture.covered_fraction), *_notes(photo))
    trust = confidence(found)
    say("quality", 0.95, None)
    return Avatar(
        name=identity,
        head_model=head.name,
        shape=fit.parameters.shape[0],
        expression=fit.parameters.expression[0],
        joint_rotations=fit.parameters.joint_rotations[0],
        materials=texture.materials,
        camera=fit.camera,
        light=texture.light_sh.float(),
        provenance=Provenance("photo", seconds=seconds),
        quality=QualityReport(
            trust,
            found,
            _summary(trust, found),
            {
                "landmarks_px": float(fit.residual_px),
                "landmarks_of_face": float(residual),
                "face_px": float(face.size_px),
                "seen_of_face": float(texture.seen_fraction),
                "covered_of_face": float(texture.covered_fraction),
                # Too little skin to learn light from leaves no common objective, and no number to save.
                **({"objective": float(fit.objective[-1])} if fit.objective else {}),
            },
        ),
    )


def generate(seed: int, attributes: Mapping[str, float] | None = None, name: str | None = None) -> Avatar:
    """A random adult: shape from the prior, a painted skin. Same seed and attributes, same head.

    attributes: name -> amount, in units of `HeadModel.attribute_directions`. Raises LikenessError for an
    unknown attribute or an amount that is no number within +-3.
    """
    started = time.perf_counter()
    head = load_head()
    if not 0 <= seed < 1 << 63:
        raise LikenessError(f"The seed {seed} cannot be used. Choose a whole number from 0 to 2^63 - 1.")
    wanted = dict(attributes or {})
    for key, amount in wanted.items():
        if key not in head.attribute_names:
            raise LikenessError(f"There is no attribute {key!r}. The attributes are {', '.join(head.attribute_names)}.")
        if not (math.isfinite(amount) and abs(amount) <= ATTRIBUTE_LIMIT):
            raise LikenessError(
                f"The attribute {key} is {amount}; use a number from -{ATTRIBUTE_LIMIT:g} to {ATTRIBUTE_LIMIT:g}."
            )
    rng = np.random.default_rng([seed, 0])
    beta = rng.normal(0, GENERATED_SHAPE_SIGMA, head.shape_count).clip(-SHAPE_LIMIT, SHAPE_LIMIT)
    shape = torch.from_numpy(beta).float()
    for key, amount in wanted.items():
        shape = shape + amount * head.attribute_directions[head.attribute_names.index(key)]
    look = random_look(seed)
    iris = _iris_for(look.melanin, np.random.default_rng([seed, 1]))
    materials = paint_materials(head, look, iris=iris, size=SKIN_PX)
    neutral = head.neutral()
    return Avatar(
        name=name or f"random {seed}",
        head_model=head.name,
        shape=shape,
        expression=neutral.expression[0],
        joint_rotations=neutral.joint_rotations[0],
        materials=materials,
        camera=None,
        light=None,
        provenance=Provenance("generated", seed, wanted, seconds={"generate": time.perf_counter() - started}),
        quality=QualityReport(1.0, (), f"A random head, drawn with seed {seed}; it is nobody's likeness."),
    )


def _iris_for(melanin: float, rng: np.random.Generator) -> str:
    """Dark skin goes with dark eyes; fair skin with any."""
    names = list(IRIS_COLOURS)
    dark = [n for n in names if "brown" in n]
    return str(rng.choice(dark if melanin > 0.4 else names))


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
