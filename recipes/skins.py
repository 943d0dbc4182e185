"""Skins for the pictures that recipes render: MakeHuman's where the data is there, painted ones elsewhere."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from core.head import HeadModel
from core.materials import Materials
from core.synthesis.photo import sample_materials

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
    materials = sample_materials(head, rng, map_size=size)
    if skins and rng.random() < 0.7:
        materials = replace(materials, skin_albedo=skins[rng.integers(len(skins))])
    return materials
