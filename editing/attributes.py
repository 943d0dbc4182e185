"""What words can move of a head, as numbers in the head's own terms: its attributes.

41 labels of the person (`core.synthesis.people`), 16 parts of the face as the head model measures them, 52 ARKit
expressions and the strength of the skin's detail. A head's state is one vector of them, and so is a change.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.albedo.bundled import albedo_gan
from core.avatar import Avatar
from core.color import srgb_to_linear
from core.generation import Wish, generator_latent, person_of
from core.head import HeadModel, load_head
from core.materials import IRIS_COLOURS, IRIS_RADIUS_UV, paint_eye
from core.synthesis.people import (
    ANCESTRIES,
    LABEL_NAMES,
    LATENT_SIZE,
    Labels,
    Person,
    iris_colour,
    label_range,
    label_vector,
    labels_of_latents,
    person_from_latent,
    person_with,
)
from core.transfer import with_latent

Group = Literal["person", "part", "expression", "detail"]

PART_LIMIT = 3.0  # of a part, where 1 is a clear change
DETAIL_LIMIT = 2.0
EXPRESSION_SPREAD = 0.3
# Of a photo's head, whose labels are read from its latent: a label that so little of is known stays what most have.
LEAST_KNOWN = 0.3
# What a photo may well show a little of, so that "no freckles" finds something to take away.
POSSIBLE = {"freckles": 0.15, "blemishes": 0.15, "scars": 0.15}
# Of a random head's latent from where its provenance says: edits move it by less, another person's lies at about 1.4.
SAME_PERSON = 0.5  # deviations, root mean square
PHOTO_SEED = 0  # draws which hair and which pore, for the person behind a photo's head


@dataclass(frozen=True)
class Attribute:
    """One number that words can move. title: for people. low, high: what it may be. spread: its standard deviation
    over people, the unit in which changes of different attributes compare."""

    name: str
    title: str
    group: Group
    low: float
    high: float
    spread: float


_TITLES = {
    "age_years": "age", "haemoglobin": "redness", "melanin": "skin tone", "sag": "sagging", "under_eye": "dark circles",
    "hair_melanin": "hair darkness", "hair_redness": "red hair", "grey": "grey hair", "beard_chin": "beard",
    "beard_cheeks": "beard on the cheeks", "iris_melanin": "eye darkness", "iris_green": "green in the eyes",
    "scalp_hair": "shaved hair", "recession": "receding hairline", "african": "African ancestry",
    "asian": "Asian ancestry", "european": "European ancestry", "gender": "masculinity",
    "lipstick_hue": "lipstick hue", "detail": "skin detail", "oiliness": "shine", "mottling": "uneven skin",
    "ears_size": "ears", "eye_size": "eyes", "lips_fullness": "lips",
}  # fmt: skip


def _title(name: str) -> str:
    """mouthSmileLeft: mouth smile left; nose_width: nose width."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return _TITLES.get(name, words.replace("_", " "))


@functools.cache
def _attributes() -> tuple[Attribute, ...]:
    head = load_head()
    values = _people()
    rows = [
        Attribute(name, _title(name), "person", *label_range(name), max(float(values[name].std()), 0.08))
        for name in LABEL_NAMES
    ]
    parts = [name for name in head.attribute_names if name not in ("age", "gender", "weight", *ANCESTRIES)]
    rows += [Attribute(name, _title(name), "part", -PART_LIMIT, PART_LIMIT, 1.0) for name in parts]
    rows += [Attribute(n, _title(n), "expression", 0.0, 1.0, EXPRESSION_SPREAD) for n in head.expression_names]
    return (*rows, Attribute("detail", _title("detail"), "detail", 0.0, DETAIL_LIMIT, 0.3))


@functools.cache
def _people() -> dict[str, np.ndarray]:
    """The labels of enough people that a spread is known to a percent."""
    return labels_of_latents(np.random.default_rng(0).standard_normal((4096, LATENT_SIZE)))


ATTRIBUTES: tuple[Attribute, ...] = _attributes()
INDEX: dict[str, int] = {attribute.name: i for i, attribute in enumerate(ATTRIBUTES)}
COUNT = len(ATTRIBUTES)
GROUPS: dict[Group, slice] = {
    group: slice(
        min(i for i, a in enumerate(ATTRIBUTES) if a.group == group),
        max(i for i, a in enumerate(ATTRIBUTES) if a.group == group) + 1,
    )
    for group in ("person", "part", "expression", "detail")
}
LOW: Float[Tensor, "N"] = torch.tensor([a.low for a in ATTRIBUTES])
HIGH: Float[Tensor, "N"] = torch.tensor([a.high for a in ATTRIBUTES])
# Of some labels the shape can follow beyond the label's ends: a man can still become more masculine.
BEYOND: dict[str, float] = {"gender": 0.4, "weight": 0.3, "age_years": 15.0}
_BEYOND = torch.tensor([BEYOND.get(a.name, 0.0) for a in ATTRIBUTES])
LEAST: Float[Tensor, "N"] = LOW - _BEYOND
MOST: Float[Tensor, "N"] = HIGH + _BEYOND
SPREAD: Float[Tensor, "N"] = torch.tensor([a.spread for a in ATTRIBUTES])


def values_of(head: HeadModel, labels: Labels, shape: Float[Tensor, "K"], expression: Float[Tensor, "E"]) -> Tensor:
    """The attributes ``[N]`` of a person with this shape and expression, whose detail is as it is."""
    return torch.cat([label_vector(labels), part_values(head, shape), expression.float(), torch.ones(1)])


def part_values(head: HeadModel, shape: Float[Tensor, "K"]) -> Float[Tensor, "P"]:
    """How far each part is from the mean head's: the shape's coordinates along the model's attribute directions, by
    least squares over all of them; what none of them can say is left out."""
    shape = torch.nn.functional.pad(shape.float(), (0, head.shape_count - len(shape)))
    amounts = torch.linalg.lstsq(head.attribute_directions.T.double(), shape.double()[:, None]).solution[:, 0].float()
    first = len(head.attribute_names) - (GROUPS["part"].stop - GROUPS["part"].start)
    return amounts[first:].clamp(-PART_LIMIT, PART_LIMIT)


def labels_in(values: Float[Tensor, "N"]) -> dict[str, float]:
    """The labels of attributes, in range, the shares of ancestry scaled to sum to one."""
    of_person = values[GROUPS["person"]].clamp(LOW[GROUPS["person"]], HIGH[GROUPS["person"]]).clone()
    rows = [LABEL_NAMES.index(name) for name in ANCESTRIES]
    shares = of_person[rows]
    total = float(shares.sum())
    of_person[rows] = shares / total if total > 1e-6 else torch.full_like(shares, 1 / len(rows))
    labels = dict(zip(LABEL_NAMES, of_person.double().tolist(), strict=True))
    # Rounding to float32 must not make the shares exceed one.
    last = ANCESTRIES[-1]
    labels[last] = max(1.0 - sum(labels[name] for name in ANCESTRIES[:-1]), 0.0)
    return labels


@dataclass(frozen=True, eq=False)
class Subject:
    """A head as edits see it. avatar: with a latent of the bundled generator. person: who is behind it, exactly for a
    random head, as far as the latent tells for a photo's. values: its attributes. exact: which of the two it is.
    worked_out: what edits of it need again, kept as long as it is."""

    avatar: Avatar
    person: Person
    values: Float[Tensor, "N"]
    exact: bool
    worked_out: dict[tuple[str, int], Tensor] = field(default_factory=dict)


def read_subject(avatar: Avatar) -> Subject:
    """Who a head is. Raises FileError where it belongs to another head model or the generator's weights are missing.

    A random head is drawn again from its provenance; one that was drawn by another version, whose latent differs, is
    read like a photo's.
    """
    head = load_head()
    avatar = with_latent(avatar)
    assert avatar.latent is not None
    source = avatar.provenance
    person, exact = None, False
    if source.source == "generated" and source.seed is not None and source.truncation is not None:
        person = person_of(head, Wish(source.seed, dict(source.labels), source.truncation))
        space = albedo_gan().space
        off = space.whiten(generator_latent(person).mean(0)) - space.whiten(avatar.latent.mean(0))
        exact = float(off.square().mean().sqrt()) < SAME_PERSON
    if person is None or not exact:
        person = person_from_latent(head, torch.zeros(LATENT_SIZE), PHOTO_SEED)
        person = person_with(person, head, **labels_in(_guessed(avatar)))
    return Subject(avatar, person, values_of(head, person.labels, avatar.shape, avatar.expression), exact)


def _guessed(avatar: Avatar) -> Float[Tensor, "N"]:
    """Labels by the generator's linear reading of the latent. What it hardly knows is as in most people."""
    generator = albedo_gan()
    assert avatar.latent is not None and generator.label_names == LABEL_NAMES
    read = generator.read_labels(avatar.latent)
    usual = torch.tensor([max(float(np.median(_people()[n])), POSSIBLE.get(n, 0.0)) for n in LABEL_NAMES])
    known = torch.where(generator.labels.explained >= LEAST_KNOWN, read.cpu(), usual)
    values = torch.zeros(COUNT)
    values[GROUPS["person"]] = known
    values[INDEX["iris_melanin"]], values[INDEX["iris_green"]] = _iris_labels(avatar.materials.eye_albedo)
    return values


def _iris_labels(eye: UInt8[Tensor, "3 E E"]) -> tuple[float, float]:
    """Melanin and green of the irises on a map of eyes: the labels whose colour is nearest, in the logarithm."""
    colour = _iris_mean(eye)
    steps = torch.linspace(0, 1, 41).tolist()
    pairs = [(melanin, green) for melanin in steps for green in steps[::4]]
    table = torch.tensor([iris_colour(Labels(iris_melanin=m, iris_green=g)) for m, g in pairs])
    off = (table.log() - (colour / _iris_shading()).log()).square().sum(1)
    return pairs[int(off.argmin())]


@functools.cache
def _iris_shading() -> Float[Tensor, "3"]:
    """What painting makes of an iris' colour in the mean: fibres, rim and the lids' shade."""
    return _iris_mean(paint_eye("hazel", 128)) / torch.tensor(IRIS_COLOURS["hazel"])


def _iris_mean(eye: UInt8[Tensor, "3 E E"]) -> Float[Tensor, "3"]:
    """Linear colour between pupil and rim."""
    size = eye.shape[-1]
    axis = (torch.arange(size) + 0.5) / size - 0.5
    radius = (axis[:, None] ** 2 + axis**2).sqrt() / IRIS_RADIUS_UV
    ring = (radius > 0.5) & (radius < 0.85)
    return srgb_to_linear(eye[:, ring].float() / 255).mean(1).clamp_min(1e-4)
