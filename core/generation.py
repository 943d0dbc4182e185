"""Random heads: a person is drawn, whose labels give the shape; the albedo generator gives the colour, the painter what
is finer.

The generator knows what people look like as a whole, on a small map; which hair and which pore, it cannot know, since
no number of the latent says so. The painter draws those from the seed, of the same person. What each is better at meets
in the logarithm of albedo, at `CUTOFF_TEXELS`; what is drawn on the skin, hair, spots and make-up, is the painter's
whole, and the skin below it gets what the generator gives the skin around it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor
from torch.nn import functional

from core.albedo.bundled import albedo_gan
from core.albedo.model import log_albedo, srgb_from_log
from core.errors import LikenessError
from core.head import HeadModel
from core.materials import DISPLACEMENT_UNIT_M, Materials, paint_lashes, paint_mouth
from core.reflectance.estimate import softened_normals
from core.synthesis.features import Features, draw_features
from core.synthesis.heads import EYE_SIZE, as_bytes, paint_eyes, rest_vertices
from core.synthesis.people import (
    ANCESTRIES,
    LABEL_NAMES,
    OLDEST,
    YOUNGEST,
    Labels,
    Person,
    label_range,
    person_from_latent,
    person_with,
    sample_person,
)
from core.synthesis.relief import normal_map, paint_relief
from core.synthesis.skins import paint_albedo

# Share of the spread of people: at 1 one head in a few looks odd, at 0.5 all look related.
TRUNCATION = 0.8
RELIEF_PX = 512  # of relief and roughness, at most: finer ones take seconds and show nothing more at arm's length
PLAIN_ROUGHNESS, PREVIEW_EYE_PX = 0.55, 96
# Standard deviation, in texels of the generator's map of 256, of the Gaussian that divides the generator's share of the
# picture from the painter's: about where the generator stops following people's maps better than the painter of the
# procedural skin does. The error of the whole hardly changes from 4 to 8; below, brows and lips lose contrast.
CUTOFF_TEXELS = 5.0
# What of `Features` the generator learns least: it knows that somebody has a beard, and paints a grey chin.
DRAWN = (
    *("freckles", "moles", "age_spots", "blemishes", "scars", "flush", "under_eye"),
    *("brows", "scalp", "stubble", "beard", "lipstick", "eyeliner", "eyeshadow", "blush"),
)
FAR_SHARE = 0.02  # of bare skin in a neighbourhood, where the whole face counts as much as it
# Of a person's latent. For a label at the end of its range it may be 5 or more, where the generator has seen nobody.
LARGEST_COORDINATE = 3.0
LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Wish:
    """What is asked of a random head. The same wish gives the same head.

    seed: 0 .. 2^63 - 1. labels: of `core.synthesis.people.LABEL_NAMES`, in their own units; the person has exactly
    these values, and what is not named is as the seed has it. truncation: how much of the variety of people the rest
    is drawn from, 0 the mean person .. 1 all of it.
    """

    seed: int
    labels: Mapping[str, float] = field(default_factory=dict)
    truncation: float = TRUNCATION


@dataclass(frozen=True, eq=False)
class GeneratedHead:
    """A random head. person: who was drawn, with the head's shape. latent: the same person in the albedo generator,
    whose own reading of the shape (`StyleGanAlbedo.shape`) is what edits of the latent move along."""

    person: Person
    latent: Float[Tensor, "L W"]
    materials: Materials

    @property
    def shape(self) -> Float[Tensor, "K"]:
        """Coefficients of the head."""
        return self.person.shape


def person_of(head: HeadModel, wish: Wish) -> Person:
    """The person of a wish. Raises LikenessError for a seed or a truncation out of range, and as `person_with` does
    for labels."""
    if not 0 <= wish.seed <= LARGEST_SEED:
        raise LikenessError(f"The seed {wish.seed} cannot be used. Choose a whole number from 0 to 2^63 - 1.")
    if not 0 <= wish.truncation <= 1:  # also true of NaN
        raise LikenessError(
            f"The truncation is {wish.truncation}. Give a number from 0, the mean person, to 1, the full variety."
        )
    drawn = sample_person(head, wish.seed)
    return person_with(person_from_latent(head, wish.truncation * drawn.latent, wish.seed), head, **wish.labels)


def generate_head(head: HeadModel, wish: Wish, size: int = 1024, preview: bool = False) -> GeneratedHead:
    """The head of a wish, its albedo map of `size` texels a side, relief and what goes with it of at most `RELIEF_PX`:
    all of `Materials` but what expressions and the head's own shade add (`core.detail`).

    preview: for a picture from afar, in a fraction of the time: the skin without relief and equally rough all over,
    small maps of the eyes.
    Raises LikenessError as `person_of` does, FileError where the generator's weights are missing or belong to another
    version of the labels.
    """
    person = person_of(head, wish)
    latent = generator_latent(person)
    albedo, features = skin_of(head, person, albedo_gan().decode(latent), size)
    materials = Materials(
        skin_albedo=albedo,
        skin_roughness=as_bytes(torch.full((1, 8, 8), PLAIN_ROUGHNESS)),
        eye_albedo=paint_eyes(head, person, PREVIEW_EYE_PX if preview else EYE_SIZE),
        mouth_albedo=paint_mouth(EYE_SIZE),
        lash_albedo=paint_lashes(EYE_SIZE),
    )
    if not preview:
        materials = replace(materials, **relief_maps(head, person, features))
    return GeneratedHead(person, latent, materials)


def generator_latent(person: Person) -> Float[Tensor, "L W"]:
    """A person in the albedo generator, no farther out than it has seen people. Raises FileError where its weights are
    missing, LikenessError where they belong to other people."""
    return albedo_gan().from_person(person.latent.clamp(-LARGEST_COORDINATE, LARGEST_COORDINATE), person.seed)


def skin_of(
    head: HeadModel, person: Person, generated: Float[Tensor, "3 G G"], size: int
) -> tuple[UInt8[Tensor, "3 {size} {size}"], Features]:
    """The albedo map of a person whom the generator has drawn as `generated` (sRGB 0..1), and what is on the skin."""
    features = draw_features(head, person, size)
    painted = paint_albedo(head, person, features, size, None)
    return refined(generated, painted, covered(features)), features


def covered(features: Features) -> Float[Tensor, "U U"]:
    """The share of each texel that is covered by what only the painter knows."""
    return functools.reduce(torch.maximum, (getattr(features, name) for name in DRAWN))


def relief_of(
    head: HeadModel, person: Person, features: Features
) -> tuple[UInt8[Tensor, "1 R R"], UInt8[Tensor, "3 R R"]]:
    """Roughness and normals of a person's skin, of at most `RELIEF_PX`."""
    fine = paint_relief(head, person, _reduced(features, RELIEF_PX))
    return as_bytes(fine.roughness[None]), normal_map(
        head, fine.displacement_m, rest_vertices(head, person.shape[None])
    )


def relief_maps(head: HeadModel, person: Person, features: Features) -> dict[str, Tensor]:
    """How a person's skin takes light and its relief, by the fields of `Materials`, of at most `RELIEF_PX`."""
    fine = paint_relief(head, person, _reduced(features, RELIEF_PX))
    normal, diffuse_normal = softened_normals(head, rest_vertices(head, person.shape[None]), fine.displacement_m * 1000)
    return {
        "skin_roughness": as_bytes(fine.roughness[None]),
        "skin_normal": normal,
        "skin_diffuse_normal": diffuse_normal,
        "skin_specular": as_bytes(fine.specular[None]),
        "skin_translucency": as_bytes(fine.translucency[None]),
        "skin_displacement": _micrometres(fine.displacement_m),
    }


def _micrometres(displacement_m: Float[Tensor, "U U"]) -> Int16[Tensor, "1 U U"]:
    """Metres as `Materials.skin_displacement` holds them."""
    return (displacement_m[None] / DISPLACEMENT_UNIT_M).round().clamp(-32767, 32767).to(torch.int16)


def refined(
    generated: Float[Tensor, "3 G G"], painted: UInt8[Tensor, "3 U U"], drawn: Float[Tensor, "U U"]
) -> UInt8[Tensor, "3 U U"]:
    """What is coarser than `CUTOFF_TEXELS` of `generated` (sRGB 0..1), and what is finer of `painted`, sRGB.

    drawn: share of a texel, 0..1, that is covered by what only the painter knows; there the skin changes as it does
    nearby, and far from bare skin as it does on the whole. Pigments add in the logarithm, so a painted freckle darkens
    a generated skin as much as it did the painted one.
    """
    size = painted.shape[-1]
    side = min(generated.shape[-1], size)
    log, uncovered = log_albedo(painted.float() / 255), (1 - drawn)[None]
    of_skin, bare, wanted = (
        functional.interpolate(image[None], size=(side, side), mode="area")
        for image in (log * uncovered, uncovered, log_albedo(generated))
    )
    coarse, sigma = of_skin / bare.clamp_min(1e-6), CUTOFF_TEXELS * side / generated.shape[-1]
    shift = bare * (wanted - coarse)
    far = shift.sum((2, 3), keepdim=True) / bare.sum().clamp_min(1e-6)
    near, share = _blurred(shift, sigma), _blurred(bare.expand_as(shift), sigma)
    change = (near + FAR_SHARE * far) / (share + FAR_SHARE)
    wide = functional.interpolate(change, size=(size, size), mode="bicubic")[0]
    return as_bytes(srgb_from_log(log + wide))


def _blurred(image: Float[Tensor, "1 3 G G"], sigma: float) -> Float[Tensor, "1 3 G G"]:
    """A Gaussian; beyond the border the map is taken to go on as it ends."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2).to(image)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = functional.pad(image, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel[..., None], groups=3), kernel[:, :, None], groups=3)


def _reduced(features: Features, size: int) -> Features:
    """The same features on a map of at most `size` texels a side."""
    if len(features.wrinkles) <= size:
        return features
    maps = torch.stack([getattr(features, f.name) for f in fields(features)])
    small = functional.interpolate(maps[None], size=(size, size), mode="area")[0]
    return Features(*small)


# ------------------------------------------------------------------------------------------------------------ traits


@dataclass(frozen=True)
class Trait:
    """A property of a person as people name it, which sets one label or several.

    title: for people. low, high: its range; ends: what the two are called. labels: a value -> values of labels.
    read: what a person has of it; what `labels` sets is read back.
    """

    name: str
    title: str
    ends: tuple[str, str]
    labels: Callable[[float], Mapping[str, float]]
    read: Callable[[Labels], float]
    low: float = 0.0
    high: float = 1.0


def _of_label(name: str, title: str, ends: tuple[str, str], label: str, low: float = 0.0, high: float = 1.0) -> Trait:
    return Trait(name, title, ends, lambda x: {label: x}, lambda labels: getattr(labels, label), low, high)


def _ramp(low: float, high: float, x: float) -> float:
    return min(max((x - low) / (high - low), 0.0), 1.0)


# The part of the beard's range in which each of its labels grows: the shadow of stubble, then hair, on chin and lip
# before the cheeks.
_BEARD = {"stubble": (0.0, 0.4), "beard_chin": (0.25, 0.9), "moustache": (0.25, 1.0), "beard_cheeks": (0.4, 1.0)}


def _read_beard(labels: Labels) -> float:
    """Where on the range the label that is grown farthest stands."""
    grown = ((name, getattr(labels, name)) for name in _BEARD)
    return max((_BEARD[name][0] + (_BEARD[name][1] - _BEARD[name][0]) * x for name, x in grown if x > 0), default=0.0)


# Shares of ancestry are weights here: any of them may be given, and they are scaled to sum to one where they must be.
_ANCESTRY_TRAITS = tuple(f"{name}_ancestry" for name in ANCESTRIES)

TRAITS: dict[str, Trait] = {
    trait.name: trait
    for trait in (
        _of_label("age", "Age", ("18 years", "85 years"), "age_years", YOUNGEST, OLDEST),
        _of_label("gender", "Gender", ("feminine", "masculine"), "gender"),
        _of_label("weight", "Weight", ("thin", "heavy"), "weight"),
        *(
            _of_label(trait, f"{label.capitalize()} ancestry", ("none", "all"), label)
            for trait, label in zip(_ANCESTRY_TRAITS, ANCESTRIES, strict=True)
        ),
        _of_label("skin_tone", "Skin tone", ("light", "dark"), "melanin"),
        _of_label("redness", "Redness", ("pale", "ruddy"), "haemoglobin"),
        _of_label("freckles", "Freckles", ("none", "many"), "freckles"),
        _of_label("wrinkles", "Wrinkles", ("none", "deep"), "wrinkles"),
        Trait(
            "beard",
            "Beard",
            ("shaved", "full"),
            lambda x: {name: _ramp(low, high, x) for name, (low, high) in _BEARD.items()},
            _read_beard,
        ),
        Trait(
            "brows",
            "Eyebrows",
            ("thin", "bushy"),
            lambda x: {"brow_density": x, "brow_thickness": x},
            lambda labels: (labels.brow_density + labels.brow_thickness) / 2,
        ),
        _of_label("hair_colour", "Hair colour", ("blond", "black"), "hair_melanin"),
        _of_label("red_hair", "Red hair", ("none", "ginger"), "hair_redness"),
        _of_label("grey_hair", "Grey hair", ("none", "white"), "grey"),
        _of_label("eye_colour", "Eye colour", ("blue", "dark brown"), "iris_melanin"),
        _of_label("green_eyes", "Green in the eyes", ("none", "green or amber"), "iris_green"),
        _of_label("lipstick", "Lipstick", ("none", "strong"), "lipstick"),
        Trait(
            "make_up",
            "Eye make-up",
            ("none", "strong"),
            lambda x: {"eyeliner": x, "eyeshadow": 0.7 * x},
            lambda labels: max(labels.eyeliner, labels.eyeshadow / 0.7 if labels.eyeshadow < 0.7 else 1.0),
        ),
    )
}


def labels_from(values: Mapping[str, float]) -> dict[str, float]:
    """Values of `TRAITS` and of labels as values of labels. A label that is named itself wins over a trait.

    Shares of ancestry among the traits are scaled to sum to one where all three are given or their sum is larger.
    Raises LikenessError for an unknown name, a value out of its range and three shares of 0. Proportions of ancestry
    given as labels are checked where a person is made of them (`person_of`).
    """
    labels: dict[str, float] = {}
    for name, value in values.items():
        trait = TRAITS.get(name)
        if trait is None and name not in LABEL_NAMES:
            raise LikenessError(
                f"There is no trait or label {name!r}. The traits are {', '.join(TRAITS)}; "
                f"the labels are {', '.join(LABEL_NAMES)}."
            )
        low, high = label_range(name) if trait is None else (trait.low, trait.high)
        if not low <= value <= high:  # also true of NaN
            raise LikenessError(f"{name} was set to {value:g}. Give a number from {low:g} to {high:g}.")
        if trait is not None:
            labels |= trait.labels(float(value))
    shares = {n: float(values[trait]) for n, trait in zip(ANCESTRIES, _ANCESTRY_TRAITS, strict=True) if trait in values}
    total = sum(shares.values())
    if len(shares) == len(ANCESTRIES) and total == 0:
        raise LikenessError(f"All of {', '.join(_ANCESTRY_TRAITS)} were set to 0. Raise at least one of them.")
    if total > 1 or len(shares) == len(ANCESTRIES):
        labels |= {name: share / total for name, share in shares.items()}
    return labels | {name: float(value) for name, value in values.items() if name in LABEL_NAMES}
