"""Completing the skin that a turned head hides: albedo models against mirroring and the mean skin."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from core.albedo.bundled import albedo_gan, coarse_to_fine
from core.albedo.completion import Completer, CompletionRow, evaluate_completion, imagined, turned_head_mask
from core.albedo.model import AlbedoModel
from core.atlas import atlas_lookup, positions
from core.color import srgb_to_linear
from core.head import HeadModel, load_head
from core.synthesis.heads import sample_head
from core.synthesis.painting import SkinLook, paint_skin, skin_tone
from core.synthesis.skins import SkinSources, load_sources
from core.texture import blended

SIZE = 512
# Far from the seeds that anybody trains on: those start at 0.
FIRST_SEED = 900_000_000
# Closer to straight, and farther round, half of the face tells nothing of the other or the whole of it.
YAW_RANGE_DEG = (20.0, 55.0)
# The file of the CC0 skins (`recipes.makehuman_skins --sources`), which is not in the repository.
SOURCES_VARIABLE = "LIKENESS_SKIN_SOURCES"

console = Console(width=120)


def section(quick: bool) -> list[dict[str, Any]]:
    """Print the table of all methods; the numbers."""
    head = load_head()
    file = os.environ.get(SOURCES_VARIABLE)
    if file is None:
        console.print(f"Without {SOURCES_VARIABLE}, maps are painted from the procedural skin, not from the CC0 skins.")
    sources = None if file is None else load_sources(Path(file))
    models = bundled_models()
    with console.status("completing") as status:
        rows = measure(
            head,
            models,
            6 if quick else 24,
            sources,
            progress=lambda i, n: status.update(f"completing map {i + 1} of {n}"),
        )
    table = Table("hidden part of", "method", "PSNR, dB", "SSIM", "texture distance", "s per map")
    for row in rows:
        numbers = (f"{row.psnr_db:.2f}", f"{row.ssim:.4f}", f"{row.texture:.3f}", f"{row.seconds:.2f}")
        table.add_row(row.region, row.method, *numbers)
    console.print(table)
    console.print(
        f"Medians over {rows[0].maps} held-out synthetic maps of {SIZE} texels; a turn of {YAW_RANGE_DEG[0]:.0f} to "
        f"{YAW_RANGE_DEG[1]:.0f} degrees hides {rows[0].hidden_share:.0%} of the skin. Texture distance: multi-scale "
        "filter-bank distance (core.albedo.completion), a stand-in for LPIPS; lower is better."
    )
    return [asdict(row) for row in rows]


def bundled_models() -> dict[str, AlbedoModel]:
    """Those that come with the program. Raises FileError where a file of theirs is missing or damaged."""
    both = coarse_to_fine()
    return {"coarse alone": both.coarse, "coarse to fine": both, "StyleGAN2 inversion": albedo_gan()}


def measure(
    head: HeadModel,
    models: Mapping[str, AlbedoModel],
    count: int,
    sources: SkinSources | None = None,
    size: int = SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[CompletionRow, ...]:
    """Rows for the whole skin and for the face alone (forward of the ears, without scalp and neck)."""
    rng = np.random.default_rng(0)
    maps = [sample_head(head, FIRST_SEED + i, size, sources).albedo.float() / 255 for i in range(count)]
    yaws = rng.uniform(*YAW_RANGE_DEG, count) * rng.choice([-1, 1], count)
    masks = [turned_head_mask(head, math.radians(yaw), size, rng) for yaw in yaws]
    methods = methods_of(head, models, size)
    inside = atlas_lookup(head, size).inside.float()
    place = positions(head, head.template, size)
    face = inside * (place[..., 2] > -0.06) * (place[..., 1] > -0.11) * (place[..., 1] < 0.06)
    return evaluate_completion(methods, maps, masks, {"the skin": inside, "the face": face}, progress)


def methods_of(head: HeadModel, models: Mapping[str, AlbedoModel], size: int) -> dict[str, Completer]:
    """All ways to complete. Each ends in `core.texture.complete`, as a reconstruction does, so that no seam is left."""
    methods: dict[str, Completer] = {
        "mean skin": lambda albedo, mask: blended(albedo, mask, mean_skin(head, albedo, mask)),
        "mirroring + mean skin": lambda albedo, mask: blended(albedo, mask, mean_skin(head, albedo, mask), mirror=True),
    }
    for name, model in models.items():
        filled = functools.partial(imagined, model)
        methods[name] = lambda albedo, mask, filled=filled: blended(albedo, mask, filled(albedo, mask))
        methods[f"mirroring + {name}"] = lambda albedo, mask, filled=filled: blended(
            albedo, mask, filled(albedo, mask), mirror=True
        )
    return methods


def mean_skin(head: HeadModel, albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"]) -> Float[Tensor, "3 U U"]:
    """The mean of the CC0 skins, without hair, in the tone of what is seen."""
    seen = srgb_to_linear(albedo)[:, mask > 0.5].median(1).values.clamp_min(1e-3).log()
    tones = [(m, h) for m in np.linspace(0, 1, 21) for h in np.linspace(0, 1, 11)]
    logs = torch.stack([skin_tone(m, h) for m, h in tones]).log()
    melanin, haemoglobin = tones[int((logs - seen).square().sum(1).argmin())]
    look = SkinLook(melanin, haemoglobin, brow_density=0.0, stubble=0.0, scalp_hair=0.0, variation=0.0)
    return paint_skin(head, look, albedo.shape[-1]).float() / 255
