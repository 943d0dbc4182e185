"""The editable latent: everything that an edit can change of a head, as one vector with named groups.

    albedo      w of the albedo generator, common to its layers
    person      labels of the person that the painter draws by: freckles, beard, wrinkles, make-up ...
    shape       coefficients of the head model
    expression  52 ARKit weights, so that the edited head stays as animatable as it was
    iris        melanin and green of the eyes
    hair        melanin, redness and grey of brows, beard and scalp
    detail      strength of the skin's fine detail, 1 as it is

A change of attributes (`editing.attributes`) becomes one of the latent by `moved`; what is implausible is drawn back by
`plausible`, what is locked by `locked`. Groups are in units of their own; `distance` brings them together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.albedo.bundled import albedo_gan
from core.errors import LikenessError
from core.generation import generator_latent
from core.head import HeadModel, load_head
from core.synthesis.people import ANCESTRIES, LABEL_NAMES, SHAPE_LABELS, Person, person_with
from editing.attributes import (
    BEYOND,
    DETAIL_LIMIT,
    GROUPS,
    HIGH,
    INDEX,
    LEAST,
    LOW,
    MOST,
    SPREAD,
    Subject,
    labels_in,
    part_values,
)

GroupName = Literal["albedo", "person", "shape", "expression", "iris", "hair", "detail"]

IRIS_LABELS = ("iris_melanin", "iris_green")
HAIR_LABELS = ("hair_melanin", "hair_redness", "grey")
PERSON_LABELS = tuple(name for name in LABEL_NAMES if name not in (*IRIS_LABELS, *HAIR_LABELS))
LABEL_GROUPS: dict[GroupName, tuple[str, ...]] = {"person": PERSON_LABELS, "iris": IRIS_LABELS, "hair": HAIR_LABELS}
# What of a person the albedo generator draws; all else is the painter's (core.generation.DRAWN).
GENERATED = (
    *("age_years", "gender", "weight", *ANCESTRIES, "melanin", "haemoglobin", "mottling", "pores", "oiliness"),
    *("wrinkles", "sag", "lip_redness"),
)
# Which groups a lock holds. The colour of the eyes is no skin: "green eyes" with the skin locked is a fair wish.
LOCKED: dict[str, tuple[GroupName, ...]] = {
    "shape": ("shape",),
    "skin": ("albedo", "person", "hair", "detail"),
    "expression": ("expression",),
}
# Half-widths of what is plausible, as Mahalanobis distance from the mean over the square root of the number of
# coefficients, which is what people have on average.
ALBEDO_RADIUS, SHAPE_RADIUS = 1.3, 1.6
BEYOND_SHARE = 0.5
SHAPE_LIMIT = 4.0  # of one coefficient


@functools.cache
def layout() -> dict[GroupName, slice]:
    """Where each group lies in the vector; the widths are the bundled models'."""
    head = load_head()
    widths: dict[GroupName, int] = {
        "albedo": albedo_gan().latent_shape[1],
        "person": len(PERSON_LABELS),
        "shape": head.shape_count,
        "expression": len(head.expression_names),
        "iris": len(IRIS_LABELS),
        "hair": len(HAIR_LABELS),
        "detail": 1,
    }
    found: dict[GroupName, slice] = {}
    at = 0
    for name, width in widths.items():
        found[name] = slice(at, at + width)
        at += width
    return found


@dataclass(frozen=True, eq=False)
class EditLatent:
    """One vector ``[D]`` with the groups of `layout`. It is data: nothing here changes one in place."""

    vector: Float[Tensor, "D"]

    def __post_init__(self) -> None:
        expected = layout()["detail"].stop
        if self.vector.shape != (expected,):
            raise LikenessError(
                f"An edit latent of the shape {tuple(self.vector.shape)} was given; {expected} numbers were expected. "
                "It was made by another version."
            )

    def group(self, name: GroupName) -> Float[Tensor, "G"]:
        """One group."""
        return self.vector[layout()[name]]

    def replaced(self, **groups: Float[Tensor, "..."]) -> EditLatent:
        """The same latent with other values in some groups, differentiably."""
        parts = [groups.get(name, self.vector[where]) for name, where in layout().items()]
        return EditLatent(torch.cat([part.reshape(-1).to(self.vector) for part in parts]))

    def labels(self) -> dict[str, float]:
        """The labels of the person that it describes, in range."""
        values = torch.zeros(len(LOW))
        for group, names in LABEL_GROUPS.items():
            values[[INDEX[name] for name in names]] = self.group(group).detach().float().cpu()
        return labels_in(values)


def pack(groups: dict[GroupName, Float[Tensor, "..."]]) -> EditLatent:
    """All groups as one vector. Raises LikenessError where one is missing or has another width."""
    missing = [name for name in get_args(GroupName) if name not in groups]
    if missing:
        raise LikenessError(f"An edit latent has the groups {', '.join(get_args(GroupName))}; {missing[0]} is missing.")
    return EditLatent(torch.cat([groups[name].reshape(-1).float() for name in layout()]))


def unpack(latent: EditLatent) -> dict[GroupName, Float[Tensor, "G"]]:
    """The groups of a latent: the inverse of `pack`."""
    return {name: latent.group(name) for name in layout()}


def latent_of(subject: Subject) -> EditLatent:
    """A head, unedited."""
    head = load_head()
    assert subject.avatar.latent is not None
    shape = functional.pad(subject.avatar.shape.float(), (0, head.shape_count - len(subject.avatar.shape)))
    return pack(
        {
            "albedo": subject.avatar.latent.mean(0),
            "person": _labels(subject.values, PERSON_LABELS),
            "shape": shape,
            "expression": subject.avatar.expression,
            "iris": _labels(subject.values, IRIS_LABELS),
            "hair": _labels(subject.values, HAIR_LABELS),
            "detail": torch.ones(1),
        }
    )


def _labels(values: Float[Tensor, "N"], names: Collection[str]) -> Float[Tensor, "M"]:
    return values[[INDEX[name] for name in names]]


def values_in(latent: EditLatent) -> Float[Tensor, "N"]:
    """The attributes that a latent describes; parts are read off the shape."""
    values = torch.zeros(len(LOW))
    labels = latent.labels()
    values[GROUPS["person"]] = torch.tensor([labels[name] for name in LABEL_NAMES])
    values[GROUPS["part"]] = part_values(load_head(), latent.group("shape"))
    values[GROUPS["expression"]] = latent.group("expression")
    values[GROUPS["detail"]] = latent.group("detail")
    return values


def moved(subject: Subject, change: Float[Tensor, "N"]) -> EditLatent:
    """The head's latent after a change of its attributes, which stay in their ranges. No change gives `latent_of`.

    Where a label has come to its end and shape can still follow (`editing.attributes.BEYOND`), it does, half as far.

    Labels move the person, whose skin moves w as the generator's mapping has it and whose age, sex, weight and ancestry
    move the shape; parts move the shape along the model's attribute directions.
    """
    head, base = load_head(), latent_of(subject)
    wanted = (subject.values + change).clamp(LEAST, MOST)
    values = wanted.clamp(LOW, HIGH)
    person, parts = GROUPS["person"], GROUPS["part"]
    shape, albedo = base.group("shape"), base.group("albedo")
    if not torch.equal(values[person], subject.values[person]):
        labels = labels_in(values)
        other = person_after(head, subject.person, labels)
        shape = shape + (other.shape - subject.person.shape).to(shape)
        albedo = albedo + (skin_latent(head, subject.person, labels) - generator_latent(subject.person)).mean(0)
    for name in BEYOND:
        beyond = BEYOND_SHARE * float(wanted[INDEX[name]] - values[INDEX[name]])
        attribute, step = next((key, row[2]) for key, row in SHAPE_LABELS.items() if row[0] == name)
        if beyond and attribute in head.attribute_names:
            shape = shape + beyond / step * head.attribute_directions[head.attribute_names.index(attribute)]
    directions = head.attribute_directions[len(head.attribute_names) - (parts.stop - parts.start) :]
    return base.replaced(
        albedo=albedo,
        shape=shape + (values[parts] - subject.values[parts]) @ directions,
        person=_labels(values, PERSON_LABELS),
        expression=base.group("expression") + (values - subject.values)[GROUPS["expression"]],
        iris=_labels(values, IRIS_LABELS),
        hair=_labels(values, HAIR_LABELS),
        detail=values[INDEX["detail"]].reshape(1).clamp(0, DETAIL_LIMIT),
    )


def person_after(head: HeadModel, person: Person, labels: dict[str, float]) -> Person:
    """The same person with these labels; those that are as they were keep their coordinates."""
    changed = {name: value for name, value in labels.items() if abs(value - getattr(person.labels, name)) > 1e-6}
    # All are told, so that nobody's wrinkles follow an age that was asked for alone.
    return person_with(person, head, **labels) if changed else person


def skin_latent(head: HeadModel, person: Person, labels: dict[str, float]) -> Float[Tensor, "L W"]:
    """The person in the generator after a change of labels. What the painter draws and the generator hardly knows, a
    beard or freckles, does not move it: it would only tint the skin all over."""
    changed = {n: x for n, x in labels.items() if n in GENERATED and abs(x - getattr(person.labels, n)) > 1e-6}
    kept = {n: getattr(person.labels, n) for n in LABEL_NAMES if n not in changed}
    return generator_latent(person_with(person, head, **kept, **changed) if changed else person)


def plausible(base: EditLatent, latent: EditLatent, slack: float = 1.0) -> EditLatent:
    """The edited latent, drawn back towards the base where skin or shape are less likely than any person's.

    Of the way from the base to it that part is kept which ends on the ellipsoid of `ALBEDO_RADIUS` or `SHAPE_RADIUS`
    (the Mahalanobis distance under the prior), times `slack`, or on that of the base where the base lies farther out.
    Expressions stay in 0..1, labels in their ranges.
    """
    space = albedo_gan().space
    starts, ends = ((space.whiten(x.group("albedo")), x.group("shape")) for x in (base, latent))
    shares = [
        _share_inside(start, end, slack * radius)
        for start, end, radius in zip(starts, ends, (ALBEDO_RADIUS, SHAPE_RADIUS), strict=True)
    ]
    drawn_back: tuple[GroupName, GroupName] = ("albedo", "shape")
    albedo, shape = (
        latent.group(name) if share == 1 else torch.lerp(base.group(name), latent.group(name), share)
        for name, share in zip(drawn_back, shares, strict=True)
    )
    limit = base.group("shape").abs().clamp_min(SHAPE_LIMIT)
    labels = {
        name: latent.group(name).clamp(_labels(LOW, names), _labels(HIGH, names))
        for name, names in LABEL_GROUPS.items()
    }
    return latent.replaced(
        albedo=albedo,
        shape=shape.clamp(-limit, limit),
        expression=latent.group("expression").clamp(0, 1),
        detail=latent.group("detail").clamp(0, DETAIL_LIMIT),
        **labels,
    )


def _share_inside(start: Float[Tensor, "C"], end: Float[Tensor, "C"], radius: float) -> float:
    """How much of the way from start to end stays within `radius` deviations, or within the start's own distance."""
    way = (end - start).double()
    start = start.double()
    reach = max((radius**2) * len(start), float(start.square().sum()))
    a, b, c = float(way.square().sum()), float(2 * (way * start).sum()), float(start.square().sum()) - reach
    if a == 0 or a + b + c <= 0:
        return 1.0
    return max((-b + math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a), 0.0)


def locked(base: EditLatent, latent: EditLatent, locks: Collection[str]) -> EditLatent:
    """The latent with the locked groups of the base. Raises LikenessError for a lock that there is not."""
    unknown = [lock for lock in locks if lock not in LOCKED]
    if unknown:
        raise LikenessError(f"There is no lock {unknown[0]!r}. What can be kept is {', '.join(LOCKED)}.")
    held: set[GroupName] = {name for lock in locks for name in LOCKED[lock]}
    return latent.replaced(**{name: base.group(name) for name in held})


def interpolated(first: EditLatent, second: EditLatent, t: float) -> EditLatent:
    """On the straight line between two latents: 0 the first, 1 the second, exactly; beyond, the line goes on."""
    if t in (0, 1):
        return second if t else first
    return EditLatent(torch.lerp(first.vector, second.vector, float(t)))


def distance(first: EditLatent, second: EditLatent) -> dict[GroupName, float]:
    """How far apart two latents are, by group: root mean square, in standard deviations over people (of expressions:
    in weights of 0.3)."""
    space = albedo_gan().space
    change = EditLatent(second.vector - first.vector)
    scaled: dict[GroupName, Tensor] = {
        "albedo": space.whiten(second.group("albedo")) - space.whiten(first.group("albedo")),
        "person": change.group("person") / _labels(SPREAD, PERSON_LABELS),
        "shape": change.group("shape"),
        "expression": change.group("expression") / SPREAD[GROUPS["expression"]],
        "iris": change.group("iris") / _labels(SPREAD, IRIS_LABELS),
        "hair": change.group("hair") / _labels(SPREAD, HAIR_LABELS),
        "detail": change.group("detail") / SPREAD[INDEX["detail"]],
    }
    return {name: float(value.square().mean().sqrt()) for name, value in scaled.items()}
