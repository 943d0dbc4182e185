"""Skins for the pictures that recipes render: MakeHuman's where the data is there, painted ones elsewhere."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.head import HeadModel
from core.materials import IRIS_COLOURS, Materials, paint_eye, paint_lashes, paint_mouth

MAKEHUMAN = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "makehuman"


@functools.lru_cache(maxsize=1)
def baked_skins(size: int) -> tuple[Tensor, ...]:
    """All CC0 skins in the atlas, each with another eyebrow; empty where the data is absent."""
    from recipes.makehuman_skins import bake_skin

    brows = sorted(path.stem for path in (MAKEHUMAN / "eyebrows").glob("*.mhclo"))
    files = sorted((MAKEHUMAN / "skins").glob("*.png"))
    return tuple(bake_skin(f, size, brow=brows[i % len(brows)], supersample=1) for i, f in enumerate(files))


def training_materials(head: HeadModel, rng: np.random.Generator, size: int) -> Materials:
    """Materials of a random person for calibration renders."""
    skins = baked_skins(size)
    if skins and rng.random() < 1.7:
        skin = skins[rng.integers(len(skins))]
    else:
        from core.albedo.parametric import paint_skin

        skin = paint_skin(head, float(rng.random()), float(rng.uniform(0.2, 0.8)), seed=int(rng.integers(1 << 30)), size=size)
    return Materials(
        skin_albedo=skin,
        skin_roughness=torch.full((1, 8, 8), 128, dtype=torch.uint8),
        eye_albedo=paint_eye(rng.choice(list(IRIS_COLOURS))),
        mouth_albedo=paint_mouth(),
        lash_albedo=paint_lashes(),
    )
