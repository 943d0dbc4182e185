"""Pictures of heads whose attributes are known: what the text-image model learns from.

Labelled people (maps shards) with random expressions, random moves of the parts of their faces, from random sides in
random light. A picture comes with the attributes it shows; captions are drawn from those while training, so that one
picture is seen under many wordings.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.checkpoints import read_safetensors, write_whole
from core.color import linear_to_srgb
from core.errors import LikenessError
from core.head import HeadModel, load_head
from core.materials import paint_eye
from core.shading import Light, attach_to_camera, studio_light
from core.synthesis.people import iris_colour, labels_from_vector
from core.synthesis.shards import MapDataset, MapSample
from editing.attributes import ATTRIBUTES, COUNT, GROUPS, values_of
from editing.views import camera_of, render_heads

PICTURE_SIZE = 128
MAP_SIZE = 256  # of the skin, texels a side: finer is lost in such a picture
_EYE_SIZE = 128
TURNED_SHARE, TURNED_LIMIT = 0.1, math.radians(60)  # of the heads, seen further from the side
YAW_SPREAD, YAW_LIMIT, PITCH_SPREAD = math.radians(18), math.radians(35), math.radians(5)

# What faces do, as ARKit weights at full strength; * stands for Left and Right.
MIXES: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile*": 0.8, "cheekSquint*": 0.3, "mouthDimple*": 0.2},
    "grin": {"mouthSmile*": 1.0, "cheekSquint*": 0.7, "eyeSquint*": 0.3, "jawOpen": 0.15, "mouthUpperUp*": 0.4},
    "laugh": {"mouthSmile*": 1.0, "cheekSquint*": 0.8, "eyeSquint*": 0.5, "jawOpen": 0.5, "mouthUpperUp*": 0.3},
    "anger": {"browDown*": 1.0, "noseSneer*": 0.5, "eyeSquint*": 0.4, "mouthPress*": 0.6, "mouthFrown*": 0.3},
    "rage": {"browDown*": 1.0, "noseSneer*": 0.8, "jawOpen": 0.4, "mouthUpperUp*": 0.5, "mouthLowerDown*": 0.6},
    "sadness": {"browInnerUp": 0.9, "mouthFrown*": 0.8, "mouthShrugLower": 0.4, "eyeSquint*": 0.2},
    "surprise": {"browInnerUp": 0.9, "browOuterUp*": 0.9, "eyeWide*": 0.9, "jawOpen": 0.5},
    "disgust": {"noseSneer*": 1.0, "mouthUpperUp*": 0.7, "browDown*": 0.5, "cheekSquint*": 0.5, "mouthFrown*": 0.3},
    "fear": {"browInnerUp": 1.0, "browOuterUp*": 0.4, "eyeWide*": 1.0, "mouthStretch*": 0.8, "jawOpen": 0.25},
    "wink left": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5},
    "wink right": {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.5},
    "blink": {"eyeBlink*": 1.0},
    "jaw open": {"jawOpen": 0.9},
    "pout": {"mouthShrugLower": 0.8, "mouthPucker": 0.4, "mouthRollUpper": 0.2},
    "kiss": {"mouthPucker": 1.0},
    "funnel": {"mouthFunnel": 1.0, "jawOpen": 0.2},
    "squint": {"eyeSquint*": 1.0, "cheekSquint*": 0.4},
    "wide eyes": {"eyeWide*": 1.0},
    "frown": {"mouthFrown*": 1.0},
    "knitted brows": {"browDown*": 1.0},
    "raised brows": {"browInnerUp": 0.9, "browOuterUp*": 1.0},
    "one brow": {"browOuterUpLeft": 1.0, "browInnerUp": 0.2},
    "tongue": {"tongueOut": 1.0, "jawOpen": 0.4},
    "puffed cheeks": {"cheekPuff": 1.0},
    "smirk left": {"mouthSmileLeft": 0.9, "mouthDimpleLeft": 0.4},
    "smirk right": {"mouthSmileRight": 0.9, "mouthDimpleRight": 0.4},
    "pressed lips": {"mouthPress*": 1.0, "mouthRollLower": 0.5, "mouthRollUpper": 0.5},
    "sneer": {"noseSneer*": 1.0, "mouthUpperUp*": 0.6},
    "tired": {"eyeBlink*": 0.45, "eyeLookDown*": 0.3, "mouthFrown*": 0.2},
    "look left": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "look right": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    "look up": {"eyeLookUp*": 1.0},
    "look down": {"eyeLookDown*": 1.0, "eyeBlink*": 0.2},
}
MOVED_SHARE = 0.3  # of the parts of a face
NEUTRAL_SHARE, SINGLE_SHARE, SECOND_SHARE = 0.4, 0.12, 0.25


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pictures and what they show. pictures: ``[N, 4, S, S]`` sRGB and coverage; values: ``[N, A]`` attributes."""

    pictures: UInt8[Tensor, "N 4 S S"]
    values: Float[Tensor, "N A"]

    def __len__(self) -> int:
        return len(self.values)


def sample_expression(head: HeadModel, rng: np.random.Generator) -> Float[Tensor, "E"]:
    """Random weights: relaxed `NEUTRAL_SHARE` of the time, else one or two of `MIXES` or single shapes."""
    weights = torch.zeros(len(head.expression_names))
    if rng.random() < NEUTRAL_SHARE:
        return weights
    for _ in range(2 if rng.random() < SECOND_SHARE else 1):
        if rng.random() < SINGLE_SHARE / (1 - NEUTRAL_SHARE):
            moved = {str(rng.choice(head.expression_names)): 1.0}
        else:
            moved = MIXES[str(rng.choice(list(MIXES)))]
        strength = rng.uniform(0.35, 1.0)
        for name, share in moved.items():
            amount = float(strength * share * rng.uniform(0.8, 1.2))
            for side in ("Left", "Right") if name.endswith("*") else ("",):
                row = head.expression_names.index(name.rstrip("*") + side)
                weights[row] = max(float(weights[row]), min(amount, 1.0))
    return weights


def sample_light(rng: np.random.Generator) -> Light:
    """The studio light turned, weakened or strengthened, tinted, and more or less contrasted; for a frontal camera."""
    studio = studio_light()
    turn = torch.tensor(rng.normal(0, 0.6))
    tilt = torch.tensor(rng.normal(0, 0.25))
    about_y = torch.tensor(
        [[turn.cos(), 0.0, turn.sin()], [0.0, 1.0, 0.0], [-turn.sin(), 0.0, turn.cos()]], dtype=torch.float32
    )
    about_x = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, tilt.cos(), -tilt.sin()], [0.0, tilt.sin(), tilt.cos()]], dtype=torch.float32
    )
    contrast = float(np.exp(rng.normal(0, 0.35)))
    level = float(np.exp(rng.normal(0, 0.15)))
    warmth = float(rng.normal(0, 0.05))
    tint = torch.tensor([math.exp(warmth), 1.0, math.exp(-warmth)]) * level
    rest = 1 + 0.5 * (1 - contrast)
    return Light(studio.sh * tint * max(rest, 0.4), studio.directions, studio.colors * tint * contrast).rotated(
        (about_y @ about_x)[None]
    )


def picture_pairs(head: HeadModel, person: MapSample, count: int, seed: int, size: int = PICTURE_SIZE) -> Pairs:
    """`count` pictures of one person in random states; the same for the same seed and person."""
    rng = np.random.default_rng([seed, person.seed])
    labels = labels_from_vector(person.labels)
    parts = head.attribute_directions[-(GROUPS["part"].stop - GROUPS["part"].start) :]
    # A few parts at a time: all at once make faces that no sentence asks for.
    moved = rng.random((count, len(parts))) < MOVED_SHARE
    moves = torch.from_numpy(rng.normal(0, 1, (count, len(parts))) * moved).float()
    shape = person.shape + moves @ parts
    expression = torch.stack([sample_expression(head, rng) for _ in range(count)])
    yaws = rng.normal(0, YAW_SPREAD, count).clip(-YAW_LIMIT, YAW_LIMIT)
    turned = rng.random(count) < TURNED_SHARE
    yaws[turned] = rng.uniform(-TURNED_LIMIT, TURNED_LIMIT, int(turned.sum()))
    camera = camera_of(
        torch.from_numpy(yaws).float(), torch.from_numpy(rng.normal(0, PITCH_SPREAD, count)).float(), size
    )
    lights = [sample_light(rng) for _ in range(count)]
    light = Light(*(torch.cat([getattr(one, name) for one in lights]) for name in ("sh", "directions", "colors")))
    albedo = person.albedo[None].float() / 255
    if albedo.shape[-1] > MAP_SIZE:
        albedo = functional.avg_pool2d(albedo, albedo.shape[-1] // MAP_SIZE)
    eye = paint_eye(iris_colour(labels), size=_EYE_SIZE, seed=int(rng.integers(1 << 31)))[None].float() / 255
    with torch.no_grad():
        seen = render_heads(head, shape, expression, albedo, eye, camera, attach_to_camera(light, camera))
        # Stored without its background, which is drawn anew whenever a picture is used.
        color = linear_to_srgb((seen.color_linear / seen.alpha.clamp_min(1e-3)).clamp(0, 1))
    pictures = (torch.cat([color, seen.alpha.clamp(0, 1)], dim=1) * 255).round().to(torch.uint8).contiguous()
    values = torch.stack([values_of(head, labels, s, e) for s, e in zip(shape, expression, strict=True)])
    return Pairs(pictures, values)


def write_pairs(
    maps: Path,
    out: Path,
    per_person: int,
    seed: int = 0,
    people_per_file: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Pictures of every person in a folder of maps shards, as ``pairs-NUMBER.safetensors`` in `out`; returns the files.

    Files that are there already are kept, so a run that was cut off goes on. progress: people done, people in all.
    Raises LikenessError for a count below 1, FileError for shards that cannot be read or files that cannot be written.
    """
    from safetensors.torch import save

    if per_person < 1:
        raise LikenessError(f"{per_person} pictures a person were asked for. Ask for 1 or more.")
    head, people = load_head(), MapDataset(maps)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for number, first in enumerate(range(0, len(people), people_per_file)):
        files.append(out / f"pairs-{number:05d}.safetensors")
        last = min(first + people_per_file, len(people))
        if not files[-1].exists():
            made = [picture_pairs(head, people[i], per_person, seed) for i in range(first, last)]
            columns = {
                "pictures": torch.cat([pairs.pictures for pairs in made]),
                "values": torch.cat([pairs.values for pairs in made]),
            }
            write_whole(files[-1], save(columns))
        if progress is not None:
            progress(last, len(people))
    return files


def read_pairs(files: list[Path]) -> Pairs:
    """The pictures of several files, in memory. Raises FileError for what cannot be read or holds something else."""
    columns = [read_safetensors(file, required=("pictures", "values"))[0] for file in files]
    return Pairs(torch.cat([c["pictures"] for c in columns]), torch.cat([c["values"] for c in columns]))


@functools.cache
def mirrored_attributes() -> tuple[int, ...]:
    """The row of each attribute's mirror image: of a picture that is flipped, ``values[mirrored_attributes()]``."""
    names = [attribute.name for attribute in ATTRIBUTES]
    swap = {"Left": "Right", "Right": "Left"}
    rows = []
    for name in names:
        side = next((side for side in swap if name.endswith(side)), None)
        rows.append(names.index(name[: -len(side)] + swap[side]) if side else names.index(name))
    assert sorted(rows) == list(range(COUNT))
    return tuple(rows)
