"""Pictures of synthetic people and of the albedo models, for docs/albedo.md. `pictures` saves them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from core.albedo.bundled import albedo_gan, coarse_to_fine
from core.albedo.completion import turned_head_mask
from core.albedo.model import bytes_to_map, resize_map
from core.albedo.stylegan_albedo import LEAST_EXPLAINED, StyleGanAlbedo
from core.errors import FileError
from core.generation import GeneratedHead, Wish, generate_head, labels_from
from core.head import HeadModel, HeadParameters
from core.synthesis.heads import as_bytes, sample_head
from core.synthesis.painting import SkinLook, paint_skin
from core.synthesis.people import followers, label_range
from core.synthesis.photo import contact_sheet
from core.synthesis.skins import SkinSources, load_sources
from core.texture import blended
from core.transfer import transferred
from recipes.drawing import draw, fitted, labelled_rows, portrait, sheet, titled, to_image

MAP_PX = 512  # of skins in pictures of this size
GREY = 118  # where nothing is seen, sRGB byte
# Far from the seeds that anybody trains on: those start at 0.
FIRST_UNSEEN_SEED = 900_000_000


@dataclass(frozen=True)
class Given:
    """What the repository does not hold. sources: the CC0 skins (`recipes.makehuman_skins --sources`). benchmarks: what
    `python -m benchmarks --json` wrote."""

    sources: Path | None = None
    benchmarks: Path | None = None

    def skins(self) -> tuple[SkinSources | None, str]:
        """The skins to paint from, and what to call them."""
        if self.sources is None:
            return None, "the procedural skin"
        return load_sources(self.sources), "the CC0 skins"


def people(head: HeadModel, given: Given) -> Image.Image:
    """Photos of 64 synthetic people, seeds 0 to 63: not picked."""
    sources, named = given.skins()
    pixels = contact_sheet(head, range(64), tile=120, columns=8, map_size=MAP_PX, sources=sources)
    return titled(Image.fromarray(pixels), f"seeds 0 to 63, painted from {named}")


# ---------------------------------------------------------------------------------------------------- the generator


def neutral(head: HeadModel, shape: Float[Tensor, "K"]) -> HeadParameters:
    """A head of this shape, upright and without expression."""
    return replace(head.neutral(), shape=shape[None])


def drawn(head: HeadModel, made: GeneratedHead, size: int, yaw_deg: float = 20.0) -> Image.Image:
    """A random head."""
    return draw(head, neutral(head, made.shape), made.materials, size, yaw_deg=yaw_deg)


def truncations(head: HeadModel, given: Given) -> Image.Image:
    """Three people on their way from the mean person to the full variety."""
    steps = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds = (3, 4, 8)
    tiles = [drawn(head, generate_head(head, Wish(seed, {}, t), MAP_PX), 180) for seed in seeds for t in steps]
    return sheet(tiles, len(steps), tuple(f"truncation {t:g}" for t in steps) * len(seeds))


def interpolations(head: HeadModel, given: Given) -> Image.Image:
    """From one person to another on a straight line in W: what the generator draws, colour and shape, and no more."""
    model, count = albedo_gan(), 7
    tiles = []
    for first, second in ((1, 2), (5, 6), (11, 12)):
        ends = [generate_head(head, Wish(seed), MAP_PX) for seed in (first, second)]
        for i in range(count):
            t = i / (count - 1)
            w = model.interpolate(ends[0].latent, ends[1].latent, t)
            eyes = torch.lerp(ends[0].materials.eye_albedo.float(), ends[1].materials.eye_albedo.float(), t).byte()
            skin = as_bytes(model.decode(w))
            materials = replace(ends[0].materials, skin_albedo=skin, eye_albedo=eyes, skin_normal=None)
            tiles.append(draw(head, neutral(head, fitting(model, head, w)), materials, 140, yaw_deg=15))
    return sheet(tiles, count)


def fitting(model: StyleGanAlbedo, head: HeadModel, w: Float[Tensor, "L W"]) -> Float[Tensor, "K"]:
    """The generator's shape, for a head that may have more coefficients or fewer."""
    shape = model.shape(w)[: head.shape_count]
    return functional.pad(shape, (0, head.shape_count - len(shape)))


# Title -> trait, its values, and what else the person has, so that it can be seen.
TRAIT_ROWS: dict[str, tuple[str, tuple[float, ...], Mapping[str, float]]] = {
    "age": ("age", (18, 35, 50, 67, 85), {}),
    "gender": ("gender", (0, 0.25, 0.5, 0.75, 1), {}),
    "weight": ("weight", (0, 0.25, 0.5, 0.75, 1), {}),
    "skin tone": ("skin_tone", (0, 0.25, 0.5, 0.75, 1), {}),
    "freckles": ("freckles", (0, 0.25, 0.5, 0.75, 1), {"skin_tone": 0.08}),
    "wrinkles": ("wrinkles", (0, 0.25, 0.5, 0.75, 1), {"age": 55}),
    "beard": ("beard", (0, 0.25, 0.5, 0.75, 1), {"gender": 1.0, "hair_colour": 0.8}),
    "brows": ("brows", (0, 0.25, 0.5, 0.75, 1), {}),
}
SWEEP_SEED = 17


def sweeps(head: HeadModel, given: Given) -> Image.Image:
    """One person with one trait set to five values, a row for each: what the sliders do."""
    rows = {}
    for title, (trait, values, base) in TRAIT_ROWS.items():
        wishes = [Wish(SWEEP_SEED, labels_from({**base, trait: value})) for value in values]
        rows[title] = [drawn(head, generate_head(head, wish, MAP_PX), 132) for wish in wishes]
    return labelled_rows(rows)


# Title -> label, and those that may follow it.
DIRECTION_ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "age": ("age_years", tuple(sorted(followers("age_years")))),
    "gender": ("gender", ()),
    "weight": ("weight", ()),
    "skin tone": ("melanin", ()),
    "freckles": ("freckles", ()),
    "wrinkles": ("wrinkles", ()),
    "beard": ("beard_chin", ("stubble", "beard_cheeks", "moustache")),
    "brows": ("brow_density", ()),
}


def directions(head: HeadModel, given: Given) -> Image.Image:
    """One person's latent moved along the directions of the labels that were learnt, to five values over each label's
    range, the change carried over to the head."""
    model = albedo_gan()
    start = generate_head(head, Wish(SWEEP_SEED, labels_from({"skin_tone": 0.2, "gender": 0.7})), MAP_PX)
    before = model.decode(start.latent)
    rows = {}
    for title, (label, free) in DIRECTION_ROWS.items():
        if float(model.labels.explained[model.label_names.index(label)]) < LEAST_EXPLAINED:
            continue  # it cannot be edited
        low, high = label_range(label)
        tiles = []
        for i in range(5):
            amount = low + (high - low) * i / 4 - getattr(start.person.labels, label)
            w = model.edit(start.latent, label, amount, free)
            albedo, _ = transferred(start.materials.skin_albedo, before, model.decode(w))
            shape = start.shape + fitting(model, head, w) - fitting(model, head, start.latent)
            worn = replace(start.materials, skin_albedo=albedo)
            tiles.append(draw(head, neutral(head, shape), worn, 132, yaw_deg=20))
        rows[title] = tiles
    return labelled_rows(rows)


# ------------------------------------------------------------------------------------------------------- completion

COMPLETION_YAW_DEG = 42.0


def completion(head: HeadModel, given: Given) -> Image.Image:
    """What a turned head hides, completed in two ways; below, the astronaut's head from both sides."""
    sources, named = given.skins()
    size, model = 220, coarse_to_fine()
    tiles, captions = [], []
    for seed, towards in ((FIRST_UNSEEN_SEED + 1, 1), (FIRST_UNSEEN_SEED + 4, -1)):
        made = sample_head(head, seed, MAP_PX, sources)
        labels, truth = made.person.labels, bytes_to_map(made.albedo)
        mask = turned_head_mask(head, math.radians(towards * COMPLETION_YAW_DEG), MAP_PX)
        seen = truth * (mask > 0)
        look = SkinLook(labels.melanin, labels.haemoglobin, scalp_hair=0.0, variation=0.0)
        likely = model.decode(model.fit(*resize_map(seen, mask, model.size)))
        likely = resize_map(likely, likely.new_ones(likely.shape[1:]), MAP_PX)[0]
        maps = {
            "seen": torch.lerp(torch.full_like(truth, GREY / 255), truth, mask),
            "mirrored, mean skin": blended(seen, mask, bytes_to_map(paint_skin(head, look, MAP_PX)), mirror=True),
            "mirrored, fitted model": blended(seen, mask, likely, mirror=True),
            "truth": truth,
        }
        coded = {name: as_bytes(albedo) for name, albedo in maps.items()}
        tiles += [fitted(to_image(albedo.float()), size) for albedo in coded.values()]
        captions += list(coded)
        for albedo in coded.values():
            worn = replace(made.materials, skin_albedo=albedo, skin_normal=None)
            tiles.append(draw(head, neutral(head, made.person.shape), worn, size, yaw_deg=-60.0 * towards))
            captions.append("the hidden side")
    here = portrait()
    upright = replace(here.avatar.parameters("fitted"), joint_rotations=head.neutral().joint_rotations)
    tiles += [fitted(Image.fromarray(here.photo.pixels).crop(here.box_px), size)]
    tiles += [fitted(to_image(here.avatar.materials.skin_albedo.float()), size)]
    tiles += [draw(head, upright, here.avatar.materials, size, yaw_deg=yaw) for yaw in (-60.0, 60.0)]
    captions += ["a photo", "its map, completed", "-60 degrees", "60 degrees"]
    return titled(sheet(tiles, 4, tuple(captions)), f"two people whom no model has seen, painted from {named}; a photo")


# ------------------------------------------------------------------------------------------------------- neighbours


def neighbours(head: HeadModel, given: Given) -> Image.Image | None:
    """The generated people who are most like somebody in the training set, and that somebody below each. None without
    benchmarks, which find them (`benchmarks.generation`)."""
    if given.benchmarks is None:
        return None
    try:
        found = json.loads(given.benchmarks.read_text(encoding="utf-8"))["generation"]["nearest"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FileError(
            f"{given.benchmarks} does not say which people are alike ({error!r}). Name what `python -m benchmarks "
            "--json FILE` wrote, with its section generation."
        ) from error
    sources, _ = given.skins()
    pairs = found[:7]
    rows = {"generated": [], "most alike": []}
    for pair in pairs:
        rows["generated"].append(drawn(head, generate_head(head, Wish(pair["seed"], {}, 1.0), MAP_PX), 140))
        real = sample_head(head, pair["training_seed"], MAP_PX, sources)
        rows["most alike"].append(draw(head, neutral(head, real.person.shape), real.materials, 140, yaw_deg=20))
    return labelled_rows(rows)


PICTURES: dict[str, Callable[[HeadModel, Given], Image.Image | None]] = {
    "synthetic_people": people,
    "truncation": truncations,
    "interpolation": interpolations,
    "traits": sweeps,
    "directions": directions,
    "completion": completion,
    "neighbours": neighbours,
}
