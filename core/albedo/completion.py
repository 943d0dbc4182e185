"""Filling in the skin that a photo does not show: what a turned head hides, and how good a completion is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.albedo.model import AlbedoModel, resize_map
from core.atlas import atlas_lookup, interpolate, positions
from core.color import linear_to_srgb, luminance, srgb_to_linear
from core.head import PARTS, HeadModel
from core.mesh import vertex_normals
from core.occlusion import light_visibility

# As `core.texture.unwrap` trusts a photo: fully up to this angle between the surface and the line of sight, then less.
SURE_DEG, LOST_DEG = 50.0, 78.0

# (albedo sRGB 0..1, mask) -> a whole map
Completer = Callable[[Float[Tensor, "3 U U"], Float[Tensor, "U U"]], Float[Tensor, "3 U U"]]


# --- what is hidden ---------------------------------------------------------------------------------------------------


def turned_head_mask(
    head: HeadModel, yaw: float, size: int, rng: np.random.Generator | None = None
) -> Float[Tensor, "{size} {size}"]:
    """What a distant camera sees of the mean head: 1 seen well, 0 hidden, soft between.

    yaw: radians the camera stands towards the head's left; the other side is hidden. rng: adds some pitch and lets the
    border wander by some centimetres, as a fit that is a little off and hair over the temples do. None: neither.
    """
    pitch = 0.0 if rng is None else float(rng.normal(0, math.radians(8)))
    towards = torch.tensor(
        [[math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]], dtype=head.template.dtype
    ).to(head.template)
    place = positions(head, head.template, size).reshape(-1, 3)
    normals = interpolate(head, vertex_normals(head.template, head.faces), size).reshape(-1, 3)
    normals = functional.normalize(normals, dim=1)
    cosine = (normals @ towards[0]).reshape(size, size)
    if rng is not None:
        cosine = cosine + 0.12 * _smooth_noise(place, rng).reshape(size, size).to(cosine)
    angle = _smoothstep(math.cos(math.radians(LOST_DEG)), math.cos(math.radians(SURE_DEG)), cosine)
    opaque = head.faces[head.face_part != PARTS.index("lashes")]
    lit = light_visibility(head.template, opaque, towards, place, normals)[:, 0].reshape(size, size)
    # The shadow's stairs, softened over about 3 mm.
    lit = functional.avg_pool2d(lit[None, None], 5, 1, 2, count_include_pad=False)[0, 0] if size >= 256 else lit
    return angle * lit * atlas_lookup(head, size).inside


def turned_head_masks(head: HeadModel, size: int, count: int = 32, seed: int = 0) -> Float[Tensor, "{count} S S"]:
    """Masks from all the yaws a portrait may have, up to 75 degrees to either side."""
    rng = np.random.default_rng(seed)
    yaws = np.deg2rad(np.linspace(-75, 75, count))
    return torch.stack([turned_head_mask(head, float(yaw), size, rng) for yaw in yaws])


def hidden_share(head: HeadModel, mask: Float[Tensor, "U U"]) -> float:
    """The share of the map's skin that a mask hides, soft texels in part."""
    inside = atlas_lookup(head, mask.shape[0]).inside
    return 1 - float(mask[inside].mean())


def _smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _smooth_noise(place: Tensor, rng: np.random.Generator) -> Tensor:
    """About unit spread, cells of some 3 cm: a sum of plane waves in space, so the atlas has no seams in it."""
    waves = torch.from_numpy(rng.normal(0, 60.0, (12, 3))).to(place)
    phases = torch.from_numpy(rng.uniform(0, 2 * math.pi, 12)).to(place)
    return torch.cos(place @ waves.T + phases).sum(1) * math.sqrt(2 / 12)


# --- completing -------------------------------------------------------------------------------------------------------


def paste(
    albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"], filling: Float[Tensor, "3 U U"]
) -> Float[Tensor, "3 U U"]:
    """What is seen over what was made, mixed in linear light where the mask is soft. Texels of weight 1 keep their
    value exactly. (A seam that remains is `core.texture.complete`'s to remove.)"""
    mixed = linear_to_srgb(torch.lerp(srgb_to_linear(filling), srgb_to_linear(albedo), mask))
    return torch.where(mask >= 1, albedo, mixed)


def imagined(model: AlbedoModel, albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"]) -> Float[Tensor, "3 U U"]:
    """The whole map, at the size given, that a model makes of what is seen of one (sRGB 0..1, as `AlbedoModel.fit`).
    What is seen is in it only as the model understood it. Larger than the model's it is smooth."""
    made = model.decode(model.fit(*resize_map(albedo, mask, model.size)))
    return resize_map(made, made.new_ones(made.shape[1:]), albedo.shape[-1])[0]


def completed_by(model: AlbedoModel) -> Completer:
    """Fit, decode, and paste what was seen over it."""

    def complete(albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"]) -> Float[Tensor, "3 U U"]:
        return paste(albedo, mask, imagined(model, albedo, mask))

    return complete


# --- scores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CompletionScores:
    """How a completed map compares with the truth where it was hidden. psnr_db: of sRGB values, higher is better, inf
    for equal maps. ssim: up to 1. texture: `filter_bank_distance`, 0 for equal maps, lower is better."""

    psnr_db: float
    ssim: float
    texture: float


def completion_scores(
    truth: Float[Tensor, "3 U U"], completed: Float[Tensor, "3 U U"], hidden: Float[Tensor, "U U"]
) -> CompletionScores:
    """Compare two sRGB maps, each texel counting by `hidden` (0..1). All hidden 0 gives nan."""
    total = hidden.sum()
    error = float(((truth - completed).square().mean(0) * hidden).sum() / total)
    psnr = -10 * math.log10(error) if error > 0 else (math.inf if error == 0 else math.nan)
    ssim = float((_ssim(truth, completed) * hidden).sum() / total)
    return CompletionScores(psnr, ssim, filter_bank_distance(truth, completed, hidden))


def _ssim(a: Tensor, b: Tensor) -> Float[Tensor, "U U"]:
    """Structural similarity per texel (Wang et al. 2004, eq. 13), mean over channels; Gaussian windows of 1.5 texels,
    range 1."""

    def mean(x: Tensor) -> Tensor:
        return _blur(x, 1.5)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    first, second = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + first) * (2 * covariance + second)
    return (numerator / ((mean_a**2 + mean_b**2 + first) * (variance_a + variance_b + second))).mean(0)


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of ``[C, U, U]``, edges repeated."""
    radius = min(math.ceil(3.5 * sigma), image.shape[-1] - 1)
    x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    padded = functional.pad(image[:, None], (radius,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel[:, :, None]), kernel[..., None])[:, 0]


SCALES = 4  # of the filter bank, an octave apart
ORIENTATIONS = 4
# Of a response, sRGB: that of noise of about one byte step in the finest band. Fainter texture is equal to the eye.
ENERGY_FLOOR = 0.001


def filter_bank_distance(
    truth: Float[Tensor, "3 U U"], made: Float[Tensor, "3 U U"], hidden: Float[Tensor, "U U"]
) -> float:
    """Multi-scale filter-bank distance: a stand-in for LPIPS, whose networks are not part of this project.

    Each luma is taken apart by second derivatives of Gaussians in `ORIENTATIONS` directions at `SCALES` scales
    (steerable: Freeman and Adelson 1991). What is compared is the local energy of each response, a mean over a window
    four times the filter, as the log of its ratio. So pores may lie elsewhere, but blur, whose energy is missing, and
    wrinkles that run another way are seen: 0.7 means that texture differs by a factor of two throughout. The number has
    no unit that other papers share.
    """
    pair = torch.stack([linear_to_srgb(luminance(srgb_to_linear(image)))[0] for image in (truth, made)])
    weight = hidden
    total, parts = 0.0, 0
    for scale in range(SCALES):
        if min(pair.shape[-2:]) < 16:
            break
        response = _second_derivatives(pair)
        energy = _blur(response.square().flatten(0, 1), 4.0).unflatten(0, response.shape[:2])
        strength = (energy + ENERGY_FLOOR**2).log() / 2
        difference = (strength[0] - strength[1]).abs().mean(0)
        total += float((difference * weight).sum() / weight.sum())
        parts += 1
        if scale + 1 < SCALES:
            pair = functional.avg_pool2d(_blur(pair, 0.8)[None], 2)[0]
            weight = functional.avg_pool2d(weight[None, None], 2)[0, 0]
    return total / parts


def _second_derivatives(images: Tensor) -> Tensor:
    """``[N, U, U]`` -> ``[N, ORIENTATIONS, U, U]``: second derivatives of a Gaussian of 1 texel along directions."""
    smooth = functional.pad(_blur(images, 1.0)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    centre = smooth[:, 1:-1, 1:-1]
    xx = smooth[:, 1:-1, 2:] + smooth[:, 1:-1, :-2] - 2 * centre
    yy = smooth[:, 2:, 1:-1] + smooth[:, :-2, 1:-1] - 2 * centre
    xy = (smooth[:, 2:, 2:] + smooth[:, :-2, :-2] - smooth[:, 2:, :-2] - smooth[:, :-2, 2:]) / 4
    angles = [math.pi * k / ORIENTATIONS for k in range(ORIENTATIONS)]
    return torch.stack(
        [math.cos(t) ** 2 * xx + 2 * math.cos(t) * math.sin(t) * xy + math.sin(t) ** 2 * yy for t in angles], 1
    )


@dataclass(frozen=True)
class CompletionRow:
    """Medians of one method over all maps, where a region of them was hidden; seconds per map."""

    method: str
    region: str
    maps: int
    hidden_share: float
    psnr_db: float
    ssim: float
    texture: float
    seconds: float


def evaluate_completion(
    methods: Mapping[str, Completer],
    maps: Sequence[Float[Tensor, "3 U U"]],
    masks: Sequence[Float[Tensor, "U U"]],
    regions: Mapping[str, Float[Tensor, "U U"]],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[CompletionRow, ...]:
    """Hide part of each map (`masks`: 1 seen), let every method complete it, compare where it was hidden.

    maps: sRGB 0..1, which no method was trained on. regions: which texels count, 0..1 each; a row for each region and
    method. A method sees black where the mask is 0.
    """
    import time

    scores: dict[tuple[str, str], list[CompletionScores]] = {(r, m): [] for r in regions for m in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    shares: dict[str, list[float]] = {region: [] for region in regions}
    for i, (truth, mask) in enumerate(zip(maps, masks, strict=True)):
        if progress:
            progress(i, len(maps))
        seen = truth * (mask > 0)
        for region, inside in regions.items():
            shares[region].append(float(((1 - mask) * inside).sum() / inside.sum()))
        for name, method in methods.items():
            began = time.perf_counter()
            completed = method(seen, mask)
            seconds[name].append(time.perf_counter() - began)
            for region, inside in regions.items():
                scores[region, name].append(completion_scores(truth, completed, (1 - mask) * inside))
    return tuple(
        CompletionRow(
            method=name,
            region=region,
            maps=len(maps),
            hidden_share=float(np.median(shares[region])),
            psnr_db=float(np.median([s.psnr_db for s in found])),
            ssim=float(np.median([s.ssim for s in found])),
            texture=float(np.median([s.texture for s in found])),
            seconds=float(np.median(seconds[name])),
        )
        for (region, name), found in scores.items()
    )
