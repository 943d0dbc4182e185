"""Who a synthetic person is: every factor as a number, drawn jointly.

A person is a deterministic function of a latent of independent standard normal coordinates: one per label, then the
weights by which the CC0 skins mix, then the head's shape. A label follows from its own coordinate and from its parents
in a small causal graph (`GRAPH`), and is monotone in its own coordinate:

    label = curve(base + sum of weight * feature of a parent + own * coordinate)

So a face with a grey beard is likelier old and male, but every combination exists, and a generator that is given
the latent knows everything that was painted. The strengths are ours, set by eye to the direction and rough size of
what is published where a source is named, and otherwise plausible; they describe no census.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.errors import LikenessError
from core.head import HeadModel
from core.materials import IRIS_COLOURS


@dataclass(frozen=True)
class Labels:
    """Every factor of a synthetic person. 0..1 unless a unit says otherwise; each is exactly what was painted.

    Person
        age_years: 18..85. gender: 0 female .. 1 male, how dimorphic. weight: 0 thin .. 1 heavy. african, asian,
        european: proportions that sum to 1.
    Skin
        melanin, haemoglobin: overall pigment (`painting.skin_tone`). mottling: uneven pigment. pores: their depth.
        oiliness: shine. freckles, moles, age_spots, blemishes, scars: how many and how strong. wrinkles: depth of all
        lines; with `sag` (folds: nasolabial, marionette, under the eyes). under_eye: darkness below the eyes. flush:
        natural redness of cheeks and nose. lip_redness: 0.5 as in the mean skin.
    Hair
        hair_melanin: 0 blond .. 1 black. hair_redness: 0 none .. 1 ginger. grey: share of white hairs. brow_density,
        brow_thickness, brow_arch, brow_length. scalp_hair: how much a shaved scalp shows of its hair. recession: of
        the hairline, 0 none .. 1 bald on top. stubble: shaved beard's shadow. beard_chin, beard_cheeks, moustache:
        coverage by a short beard.
    Eyes
        iris_melanin: 0 blue .. 1 black-brown. iris_green: 0 blue-grey .. 1 green or amber.
    Make-up
        lipstick, lipstick_hue (0 nude .. 0.5 red .. 1 plum), eyeliner, eyeshadow, blush: amounts.
    """

    age_years: float = 35.0
    gender: float = 0.5
    weight: float = 0.5
    african: float = 1 / 3
    asian: float = 1 / 3
    european: float = 1 / 3

    melanin: float = 0.25
    haemoglobin: float = 0.45
    mottling: float = 0.5
    pores: float = 0.5
    oiliness: float = 0.4
    freckles: float = 0.0
    moles: float = 0.0
    age_spots: float = 0.0
    blemishes: float = 0.0
    scars: float = 0.0
    wrinkles: float = 0.0
    sag: float = 0.0
    under_eye: float = 0.2
    flush: float = 0.3
    lip_redness: float = 0.5

    hair_melanin: float = 0.8
    hair_redness: float = 0.0
    grey: float = 0.0
    brow_density: float = 0.6
    brow_thickness: float = 0.5
    brow_arch: float = 0.5
    brow_length: float = 0.5
    scalp_hair: float = 0.35
    recession: float = 0.0
    stubble: float = 0.0
    beard_chin: float = 0.0
    beard_cheeks: float = 0.0
    moustache: float = 0.0

    iris_melanin: float = 0.8
    iris_green: float = 0.2

    lipstick: float = 0.0
    lipstick_hue: float = 0.5
    eyeliner: float = 0.0
    eyeshadow: float = 0.0
    blush: float = 0.0


LABEL_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Labels))
ANCESTRIES = ("african", "asian", "european")
YOUNGEST, OLDEST = 18.0, 85.0


def label_range(name: str) -> tuple[float, float]:
    """The least and the largest value of a label. Raises LikenessError for an unknown name."""
    _check_name(name)
    return (YOUNGEST, OLDEST) if name == "age_years" else (0.0, 1.0)


def label_vector(labels: Labels) -> Float[Tensor, "N"]:
    """The labels as float32 in the order of `LABEL_NAMES`, in their own units (years for the age)."""
    return torch.tensor([getattr(labels, name) for name in LABEL_NAMES], dtype=torch.float32)


def labels_from_vector(vector: Float[Tensor, "N"]) -> Labels:
    """The inverse of `label_vector`. Raises LikenessError for another length, NaN or values out of range."""
    if len(vector) != len(LABEL_NAMES):
        raise LikenessError(
            f"A label vector of {len(vector)} numbers was given, but a person has {len(LABEL_NAMES)} labels. "
            "Make the vector with label_vector of this version."
        )
    values = dict(zip(LABEL_NAMES, vector.double().tolist(), strict=True))
    for name, value in values.items():
        _check_value(name, value)
    return Labels(**values)


# ---------------------------------------------------------------------------------------------- the causal graph


@dataclass(frozen=True)
class Curve:
    """A monotone map from the whole line onto 0..1 that reaches both ends, and its inverse strictly between them."""

    at: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    inverse: Callable[[float], float]


# A logistic curve whose ends are cut: 2 % below 0 and above 1, so that 0 and 1 are values, not limits (at -+3.93).
_OVERSHOOT = 0.02
SQUASH = Curve(
    lambda x: np.clip((1 + 2 * _OVERSHOOT) / (1 + np.exp(-x)) - _OVERSHOOT, 0, 1),
    lambda v: math.log((v + _OVERSHOOT) / (1 + _OVERSHOOT - v)),
)
# The identity, cut at 0 and 1: for what most people have nothing of. Below 0 lies how far someone is from having it.
RAMP = Curve(lambda x: np.clip(x, 0, 1), lambda v: v)


@dataclass(frozen=True)
class Factor:
    """How one label comes about (the formula of this module's docstring); weights by the names of `FEATURES`."""

    label: str
    curve: Curve
    own: float
    base: float
    weights: Mapping[str, float]

    @property
    def parents(self) -> tuple[str, ...]:
        """The labels that this one is drawn given."""
        return tuple(dict.fromkeys(parent for name in self.weights for parent in FEATURES[name][0]))


Values = dict[str, NDArray[np.float64]]


def _fair(v: Values) -> NDArray[np.float64]:
    """1 without melanin, 0 from an olive skin on: who burns, freckles and ages by the sun."""
    return np.clip(1 - 2.2 * v["melanin"], 0, 1)


def _manly(v: Values) -> NDArray[np.float64]:
    """0 for women, 1 for men, both ends reached: facial hair and make-up know less between than faces do."""
    return np.clip((v["gender"] - 0.35) / 0.3, 0, 1)


# What labels lend to their children: the labels read, and how. Every other label lends itself.
FEATURES: dict[str, tuple[tuple[str, ...], Callable[[Values], NDArray[np.float64]]]] = {
    **{name: ((name,), lambda v, name=name: v[name]) for name in LABEL_NAMES},
    "aged": (("age_years",), lambda v: (v["age_years"] - YOUNGEST) / (OLDEST - YOUNGEST)),
    "fair": (("melanin",), _fair),
    "manly": (("gender",), _manly),
    "aged_manly": (
        ("age_years", "gender"),
        lambda v: _manly(v) * (v["age_years"] - YOUNGEST) / (OLDEST - YOUNGEST),
    ),
    "fair_european": (("european", "melanin"), lambda v: _fair(v) * v["european"]),
    "not_european": (("european",), lambda v: 1 - v["european"]),
}

# Parents stand before their children. Ancestry, which is three labels that sum to one, comes before all (`_ancestry`).
GRAPH: tuple[Factor, ...] = (
    # Nearly uniform between 18 and 85; its mean and spread are those of the heads that the shape basis is learnt from.
    Factor("age_years", SQUASH, 1.42, -0.15, {}),
    # Two humps: most people are near one of the ends.
    Factor("gender", SQUASH, 4.0, 0.0, {}),
    Factor("weight", SQUASH, 0.75, 0.0, {}),
    # Skin. Tone overlaps widely between ancestries.
    Factor("melanin", SQUASH, 0.85, -0.05, {"african": 0.9, "asian": -0.85, "european": -2.0}),
    Factor("haemoglobin", SQUASH, 0.8, -0.2, {}),
    Factor("mottling", SQUASH, 0.75, -0.5, {"aged": 0.9}),
    Factor("oiliness", SQUASH, 0.8, 0.0, {"aged": -0.8}),
    Factor("pores", SQUASH, 0.7, -0.8, {"manly": 0.5, "aged": 0.6, "oiliness": 0.5}),
    Factor("moles", RAMP, 0.25, 0.0, {"fair": 0.2}),
    Factor("age_spots", RAMP, 0.22, -0.55, {"aged": 0.95, "fair": 0.25}),
    Factor("blemishes", RAMP, 0.3, -0.2, {"aged": -0.35, "oiliness": 0.4}),
    Factor("scars", RAMP, 0.42, -0.55, {"manly": 0.1}),
    # Fair skin wrinkles earlier and more (reviewed by Rawlings 2006, "Ethnic skin types: are there differences in skin
    # structure and function?"); how much earlier is ours.
    Factor("wrinkles", RAMP, 0.16, -0.2, {"aged": 0.85, "fair": 0.14}),
    Factor("sag", RAMP, 0.16, -0.3, {"aged": 0.7, "weight": 0.3}),
    Factor("under_eye", SQUASH, 0.75, -1.5, {"aged": 1.0}),
    Factor("flush", SQUASH, 0.75, -0.9, {"fair": 0.6}),
    Factor("lip_redness", SQUASH, 0.7, 0.0, {}),
    # Hair. Light and red hair hardly exist outside European ancestry; greying starts earlier and goes faster within it
    # (Panhard, Lozano and Loussouarn 2012, "Greying of the human hair"). Men lose hair with age: over fifty, most are
    # bald on top (Hamilton 1951, "Patterned loss of hair in man": 58 % as others quote it).
    Factor("hair_melanin", SQUASH, 1.15, -0.1, {"not_european": 2.6, "melanin": 1.5}),
    Factor("hair_redness", RAMP, 0.45, -1.0, {"fair_european": 0.85}),
    Factor("freckles", RAMP, 0.45, -0.65, {"fair": 0.7, "hair_redness": 0.5}),
    Factor("grey", RAMP, 0.3, -0.95, {"aged": 1.9, "not_european": -0.15}),
    Factor("brow_density", SQUASH, 0.7, 0.4, {"manly": 0.5, "aged": -0.5}),
    Factor("brow_thickness", SQUASH, 0.7, -0.35, {"manly": 0.7}),
    Factor("brow_arch", SQUASH, 0.7, 0.3, {"manly": -0.6}),
    Factor("brow_length", SQUASH, 0.7, 0.0, {}),
    Factor("scalp_hair", SQUASH, 0.75, -0.6, {}),
    Factor("recession", RAMP, 0.3, -0.75, {"manly": 0.4, "aged_manly": 0.9}),
    Factor("stubble", RAMP, 0.35, -1.2, {"manly": 1.4}),
    Factor("beard_chin", RAMP, 0.6, -1.9, {"manly": 1.65}),
    Factor("beard_cheeks", RAMP, 0.45, -1.9, {"manly": 1.4, "beard_chin": 0.85}),
    Factor("moustache", RAMP, 0.5, -1.9, {"manly": 1.5, "beard_chin": 0.7}),
    # Eyes go with skin and hair; two of three people of European ancestry here have light or mixed eyes.
    Factor("iris_melanin", SQUASH, 1.2, -1.7, {"not_european": 2.7, "melanin": 1.5, "hair_melanin": 1.2}),
    Factor("iris_green", SQUASH, 0.9, -0.6, {}),
    # Make-up: who wears some wears more of it.
    Factor("lipstick", RAMP, 0.5, -0.15, {"manly": -1.5}),
    Factor("lipstick_hue", SQUASH, 1.1, -0.1, {}),
    Factor("eyeliner", RAMP, 0.45, -0.25, {"manly": -1.3, "lipstick": 0.35}),
    Factor("eyeshadow", RAMP, 0.45, -0.35, {"manly": -1.3, "eyeliner": 0.4}),
    Factor("blush", RAMP, 0.4, -0.3, {"manly": -1.2, "lipstick": 0.35}),
)
_FACTOR_NAMES = (*(factor.label for factor in GRAPH), *ANCESTRIES)
assert sorted(_FACTOR_NAMES) == sorted(LABEL_NAMES)


@functools.cache
def followers(name: str) -> frozenset[str]:
    """The labels that may change when this one does and no coordinate but its own: its descendants in the graph.

    Proportions of ancestry sum to one, so each is among the others' followers. Raises LikenessError for an unknown
    name.
    """
    _check_name(name)
    found: set[str] = set(ANCESTRIES) if name in ANCESTRIES else {name}
    for factor in GRAPH:
        if found.intersection(factor.parents):
            found.add(factor.label)
    return frozenset(found - {name})


# ---------------------------------------------------------------------------------------------- the latent

# The CC0 skins in the order of their sorted file names, with what was painted: age and sex by name, melanin by the
# angle of the chest's tone (`painting.skin_tone`).
SKINS: tuple[tuple[str, float, float, float], ...] = (
    # file (without .png), age in years, gender, melanin
    ("middleage_darkskinned_female_diffuse", 45, 0, 0.74),
    ("middleage_darkskinned_male_diffuse", 45, 1, 0.78),
    ("middleage_lightskinned_female_diffuse2", 45, 0, 0.06),
    ("middleage_lightskinned_male_diffuse", 45, 1, 0.09),
    ("middleage_lightskinned_male_diffuse2", 45, 1, 0.09),
    ("old_darkskinned_female_diffuse", 70, 0, 0.75),
    ("old_darkskinned_male_diffuse", 70, 1, 0.72),
    ("old_lightskinned_male_diffuse2", 70, 1, 0.28),
    ("young_darkskinned_male_diffuse", 25, 1, 0.92),
    ("young_lightskinned_female_diffuse2", 25, 0, 0.11),
    ("young_lightskinned_female_diffuse3", 25, 0, 0.12),
    ("young_lightskinned_male_diffuse", 25, 1, 0.12),
    ("young_lightskinned_male_diffuse2", 25, 1, 0.08),
    ("young_lightskinned_male_diffuse3", 25, 1, 0.08),
)
MIX_REGIONS, MIX_SKINS = 6, len(SKINS)
# How unlike a skin may be before its weight falls by e^-0.5: of the same sex and tone most of all. Then the spread
# of chance in the logarithm of a weight.
MIX_AGE_YEARS, MIX_GENDER, MIX_MELANIN, MIX_SPREAD = 18.0, 0.6, 0.25, 1.8

SHAPE_COUNT = 120
LATENT_NAMES: tuple[str, ...] = (
    *_FACTOR_NAMES,
    *(f"mix_{region}_{skin}" for region in range(MIX_REGIONS) for skin in range(MIX_SKINS)),
    *(f"shape_{k}" for k in range(SHAPE_COUNT)),
)
LATENT_SIZE = len(LATENT_NAMES)
_MIX = slice(len(_FACTOR_NAMES), len(_FACTOR_NAMES) + MIX_REGIONS * MIX_SKINS)
_SHAPE = slice(_MIX.stop, LATENT_SIZE)

# Spread of the ancestry coordinates before they are projected onto the simplex. The proportions' deviation is then
# 0.28, as in the heads that the shape basis is learnt from; one person in twenty is of a single ancestry.
_ANCESTRY_SPREAD = 0.45
# How far beyond the point where a label reaches 0 or 1 its coordinate is put, so that rounding does not undo it.
_BEYOND = 1e-4


@dataclass(frozen=True, eq=False)
class Person:
    """A synthetic person. seed: draws what the labels only count (which hair, which pore).

    latent: `LATENT_NAMES`, float32; for a sampled person independent standard normal. labels: float32 values.
    mix: weight of each of `SKINS` in each region of the face, rows sum to 1. shape: coefficients of the head.
    """

    seed: int
    latent: Float[Tensor, "D"]
    labels: Labels
    mix: Float[Tensor, "R S"]
    shape: Float[Tensor, "K"]


def sample_person(head: HeadModel, seed: int) -> Person:
    """A random person. The same seed gives the same person for a head. Raises LikenessError for a negative seed."""
    if seed < 0:
        raise LikenessError(f"The seed of a person was {seed}. Use a whole number from 0 on.")
    # A stream of its own: whoever else starts from this seed does not repeat these numbers.
    rng = np.random.default_rng((_STREAM, seed))
    return person_from_latent(head, torch.from_numpy(rng.standard_normal(LATENT_SIZE).astype(np.float32)), seed)


_STREAM = 0x70656F70  # "peop"


def person_from_latent(head: HeadModel, latent: Float[Tensor, "D"], seed: int) -> Person:
    """The person whom the latent describes: a pure function of it; `seed` is only handed on.

    Raises LikenessError for a latent of another length or with a number that is not finite.
    """
    if len(latent) != LATENT_SIZE:
        raise LikenessError(
            f"A latent of {len(latent)} numbers was given, but a person has {LATENT_SIZE} coordinates. "
            "It was made by another version; sample the person again."
        )
    if not bool(torch.isfinite(latent).all()):
        bad = LATENT_NAMES[int((~torch.isfinite(latent)).nonzero()[0, 0])]
        raise LikenessError(f"The latent's coordinate {bad} is not a finite number. Give finite numbers throughout.")
    coordinates = latent.detach().cpu().double().numpy()
    values = labels_of_latents(coordinates[None])
    labels = Labels(**{name: float(values[name][0]) for name in LABEL_NAMES})
    mix = torch.from_numpy(_mix(labels, coordinates[_MIX])).to(latent)
    shape = torch.from_numpy(_shape(head, labels, coordinates[_SHAPE])).to(head.template)
    return Person(seed, latent, labels, mix, shape)


def person_with(person: Person, head: HeadModel, **labels: float) -> Person:
    """The same person with some labels set to given values, exactly (to float32).

    Only the coordinates of these labels move, each to the nearest place that gives the value; all values of
    `label_range` can be had. Other labels keep their coordinates, so they stay what they are unless they are
    `followers` of what was set: wrinkles follow age as they would have in this person. Set followers too to hold them.
    Shape and mixing weights follow age, gender, weight, ancestry and tone. Of one or two proportions of ancestry the
    rest is shared by the others as their coordinates stand.

    Raises LikenessError for unknown labels, values that are no numbers or out of range, and proportions whose sum is
    impossible.
    """
    for name, value in labels.items():
        _check_value(name, value)
    latent = person.latent.clone()
    coordinates = latent.detach().cpu().double().numpy()[None]
    moved = _solve(coordinates[:, : len(_FACTOR_NAMES)], labels)[1]
    latent[: len(_FACTOR_NAMES)] = torch.from_numpy(moved[0]).to(latent)
    return person_from_latent(head, latent, person.seed)


def labels_of_latents(latents: Float[np.ndarray, "N D"]) -> Values:
    """Label name -> ``[N]`` values of many people at once, as `person_from_latent` gives them one by one."""
    return _solve(latents[:, : len(_FACTOR_NAMES)].astype(np.float64), {})[0]


def _solve(coordinates: NDArray[np.float64], wanted: Mapping[str, float]) -> tuple[Values, NDArray[np.float64]]:
    """The labels of factor coordinates ``[N, F]``, parents first, and the coordinates; those of wanted labels are moved
    so that the labels come out as wanted."""
    z = coordinates.astype(np.float32).astype(np.float64)
    values: Values = {}
    first = _FACTOR_NAMES.index(ANCESTRIES[0])
    _ancestry_to(z[:, first:], {name: float(wanted[name]) for name in ANCESTRIES if name in wanted})
    proportions = _onto_simplex(_ANCESTRY_SPREAD * z[:, first:])
    for index, name in enumerate(ANCESTRIES):
        values[name] = _rounded(proportions[:, index])
    for column, factor in enumerate(GRAPH):
        low, high = label_range(factor.label)
        centre = factor.base + sum(
            (weight * FEATURES[name][1](values) for name, weight in factor.weights.items()), np.zeros(len(z))
        )
        if factor.label in wanted:
            share = (float(wanted[factor.label]) - low) / (high - low)
            x = centre + factor.own * z[:, column]
            if share <= 0:
                x = np.minimum(x, factor.curve.inverse(0.0) - _BEYOND)
            elif share >= 1:
                x = np.maximum(x, factor.curve.inverse(1.0) + _BEYOND)
            else:
                x = np.full(len(z), factor.curve.inverse(share))
            z[:, column] = ((x - centre) / factor.own).astype(np.float32)
        values[factor.label] = _rounded(low + (high - low) * factor.curve.at(centre + factor.own * z[:, column]))
    return values, z


def _rounded(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """To float32, in which labels are stored: what is read back is what was painted."""
    return value.astype(np.float32).astype(np.float64)


def _onto_simplex(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest ``[N, M]`` rows that sum to 1 without negative numbers (Duchi et al. 2008, figure 1)."""
    ordered = -np.sort(-x, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1) / np.arange(1, x.shape[1] + 1)
    count = (ordered > excess).sum(axis=1)
    return np.maximum(x - excess[np.arange(len(x)), count - 1][:, None], 0)


def _ancestry_to(z: NDArray[np.float64], wanted: Mapping[str, float]) -> None:
    """Moves the ancestry coordinates ``[N, 3]`` of the wanted proportions, in place; the projection takes the same
    threshold off every coordinate that stays positive, so a wanted one lies its value above that threshold."""
    total = sum(wanted.values())
    if total > 1 + 1e-6 or (len(wanted) == len(ANCESTRIES) and abs(total - 1) > 1e-6):
        given = ", ".join(f"{name} {value:g}" for name, value in wanted.items())
        raise LikenessError(
            f"Proportions of ancestry were given that sum to {total:g} ({given}), but they are shares of 1. "
            "Lower them, or give fewer and leave the rest open."
        )
    if not wanted:
        return
    set_columns = [index for index, name in enumerate(ANCESTRIES) if name in wanted]
    free = [index for index in range(len(ANCESTRIES)) if index not in set_columns]
    x = _ANCESTRY_SPREAD * z
    rest = 1 - total
    if not free:
        threshold = (x.sum(axis=1) - 1) / len(ANCESTRIES)
    elif rest > 1e-6:
        threshold = (x[:, free] - rest * _onto_simplex(x[:, free] / rest)).max(axis=1)
    else:
        threshold = x[:, free].max(axis=1) + _BEYOND
    for index in set_columns:
        value = wanted[ANCESTRIES[index]]
        x[:, index] = threshold + value if value > 0 else np.minimum(x[:, index], threshold - _BEYOND)
        z[:, index] = (x[:, index] / _ANCESTRY_SPREAD).astype(np.float32)


def _mix(labels: Labels, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights ``[R, S]``: a softmax of chance and of how alike the skin and the person are."""
    age, gender, melanin = np.array([traits[1:] for traits in SKINS]).T
    unlike = (
        ((labels.age_years - age) / MIX_AGE_YEARS) ** 2
        + ((labels.gender - gender) / MIX_GENDER) ** 2
        + ((labels.melanin - melanin) / MIX_MELANIN) ** 2
    )
    logits = MIX_SPREAD * coordinates.reshape(MIX_REGIONS, MIX_SKINS) - unlike / 2
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------------------------------------- shape

# Which labels move the head's shape along its attribute directions: the population's mean, and the change at +1 as
# in recipes/prior.py. A proportion of ancestry rises there by 0.6 while both others fall by 0.3; moving three
# proportions by their own directions adds such steps up to 0.9 for each.
SHAPE_LABELS: dict[str, tuple[str, float, float]] = {
    # attribute: label, mean, step
    "age": ("age_years", 49.0, 25.0),
    "gender": ("gender", 0.5, 0.5),
    "weight": ("weight", 0.5, 0.3),
    "african": ("african", 1 / 3, 0.9),
    "asian": ("asian", 1 / 3, 0.9),
    "european": ("european", 1 / 3, 0.9),
}
# Age and gender can be read off a head of the prior, so the labels would explain all of the shape's variance along
# their directions. A little is left to chance: two people of one age differ in how old their heads look.
SHAPE_EXPLAINED = 0.9
SHAPE_LIMIT = 2.5  # coefficients beyond are not trusted: one in eighty


def _shape(head: HeadModel, labels: Labels, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients ``[K]``: what the labels imply by the head's attribute directions, plus chance that makes up what is
    missing to a covariance of one over people. A head without such attributes gets chance alone; a head with other
    than `SHAPE_COUNT` coefficients gets the first of them, the rest is 0."""
    directions, deviation = _shape_parts(head.attribute_directions, head.attribute_names)
    count = min(head.shape_count, SHAPE_COUNT)
    chance = np.zeros(head.shape_count)
    chance[:count] = coordinates[:count]
    shape = deviation @ chance
    for name, direction in directions.items():
        label, mean, step = SHAPE_LABELS[name]
        shape = shape + (getattr(labels, label) - mean) / step * direction
    return np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT)


@functools.lru_cache(maxsize=8)  # tensors hash by identity, and the cache keeps them alive
def _shape_parts(
    attributes: Float[Tensor, "A K"], names: tuple[str, ...]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """The directions of `SHAPE_LABELS` that the head has, shortened where they would explain more than
    `SHAPE_EXPLAINED`, and the symmetric root ``[K, K]`` of the covariance that they leave to chance."""
    rows = attributes.detach().cpu().double().numpy()
    named = [name for name in SHAPE_LABELS if name in names]
    count = rows.shape[1]
    if not named:
        return {}, np.eye(count)
    people = labels_of_latents(np.random.default_rng(0).standard_normal((8192, LATENT_SIZE)))
    change = np.stack([(people[label] - mean) / step for label, mean, step in (SHAPE_LABELS[name] for name in named)])
    directions = np.stack([rows[names.index(name)] for name in named])
    covariance = np.cov(change).reshape(len(named), len(named))
    values, vectors = np.linalg.eigh(directions.T @ covariance @ directions)
    values = np.maximum(values, 0)
    shrink = np.minimum(1, np.sqrt(SHAPE_EXPLAINED / np.maximum(values, 1e-12)))
    directions = directions @ (vectors * shrink) @ vectors.T
    left = (vectors * np.sqrt(1 - values * shrink**2)) @ vectors.T
    return dict(zip(named, directions, strict=True)), np.asarray(left, dtype=np.float64)


# ---------------------------------------------------------------------------------------------- colours

# Absorption of eumelanin and pheomelanin at the display primaries per unit of concentration (d'Eon, Francois, Hill,
# Letteri and Aubry 2011, as renderers quote them), the colour of a tuft without pigment, and light off the hairs'
# surface. The concentrations are those that bring flaxen, brown and black tufts to the colours of brows and beards in
# photographs.
EUMELANIN_ABSORPTION = (0.419, 0.697, 1.37)
PHEOMELANIN_ABSORPTION = (0.187, 0.4, 1.05)
WHITE_HAIR = (0.45, 0.42, 0.37)
HAIR_SURFACE = 0.006


def hair_colour(labels: Labels) -> tuple[float, float, float]:
    """Mean linear RGB of the person's hair: a tuft of pigmented hairs and white ones in the share of `grey`.

    Beer-Lambert: the logarithm of the colour falls linearly with either pigment.
    """
    eumelanin = (0.7 + 9.3 * labels.hair_melanin**1.6) * (1 - 0.35 * labels.hair_redness)
    pheomelanin = 4.0 * labels.hair_redness
    absorption = eumelanin * np.array(EUMELANIN_ABSORPTION) + pheomelanin * np.array(PHEOMELANIN_ABSORPTION)
    white = np.array(WHITE_HAIR)
    pigmented = HAIR_SURFACE + (1 - HAIR_SURFACE) * white * np.exp(-absorption)
    red, green, blue = ((1 - labels.grey) * pigmented + labels.grey * white).tolist()
    return red, green, blue


# Colours of the iris by melanin: for iris_green 0 and 1. What lies between blue and hazel is grey.
_IRIS_STEPS = (0.0, 0.4, 0.72, 1.0)
_IRIS_COLD = ("blue", "hazel", "brown", "dark brown")
_IRIS_WARM = ("green", "amber", "brown", "dark brown")


def iris_colour(labels: Labels) -> tuple[float, float, float]:
    """Mean linear RGB of the iris, mixed from `materials.IRIS_COLOURS`: blue, grey or green without pigment, hazel or
    amber with some, then brown to nearly black."""
    cold, warm = (np.array([IRIS_COLOURS[name] for name in names]).T for names in (_IRIS_COLD, _IRIS_WARM))
    mixed = (1 - labels.iris_green) * cold + labels.iris_green * warm
    red, green, blue = (float(np.interp(labels.iris_melanin, _IRIS_STEPS, channel)) for channel in mixed)
    return red, green, blue


# ---------------------------------------------------------------------------------------------- checks


def _check_name(name: str) -> None:
    if name not in LABEL_NAMES:
        raise LikenessError(f"{name!r} is not a label of a person. The labels are {', '.join(LABEL_NAMES)}.")


def _check_value(name: str, value: float) -> None:
    low, high = label_range(name)
    # "not (a <= b)" instead of "a > b": it is true of NaN.
    if not (low <= value <= high):
        raise LikenessError(f"{name} was set to {value:g}. Give a number from {low:g} to {high:g}.")
