"""What a head gets after it is on show: how its skin takes light, its relief, and the wrinkles of its expressions.

`pipeline.reconstruct` makes a head that can be looked at within seconds; `detailed` adds the maps that take as long
again. A photo's head gets them from the lit map that its photo left behind, so that a saved head can have them later
just as well. A generated head gets its painter's, which are known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor
from torch.nn import functional

from core.atlas import interpolate
from core.avatar import Avatar
from core.color import linear_to_srgb, srgb_to_linear
from core.displacement import refine_relief
from core.head import HeadModel, load_head
from core.key_expressions import draw_wrinkles, near_neutral
from core.materials import DISPLACEMENT_UNIT_M, Materials
from core.occlusion import ambient_occlusion
from core.quality import Finding
from core.reflectance.estimate import WORK_PX, softened_normals, understand, written
from core.reflectance.lit_heads import skin_for_light, softened
from core.texture import skin_mask

OCCLUSION_PX = 512
COLOUR_PX = 128  # of the map on which tones are compared
# Texels of that map over which the found albedo gives way to hair, and how fast.
BESIDE_HAIR, BESIDE_SHARE = 2.5, 2.5
HUE_SHARE = 0.75
WRINKLES_PX = 512
STAGES = ("reflectance", "relief", "wrinkles")  # what `detailed` does, in this order
# How lined a face is, from the mean depth of its furrows, micrometres: of smooth and of deeply lined synthetic skins.
SMOOTH_UM, LINED_UM = 4.0, 45.0
LEAST_LINED = 0.15  # skin folds at any age
FURROW_SIGMA = 6.0  # texels at `WORK_PX` below which a furrow is one

# Called with the name of the stage at work and the share of all that is done; what it raises ends the work.
Report = Callable[[str, float], None]


def detailed(avatar: Avatar, report: Report | None = None, refine: bool = True) -> Avatar:
    """The same head with every map of `Materials` filled in; as it is, where it has them all.

    refine: bend the relief until its shading is the photo's (`displacement.refine_relief`). A photo's head that was not
    near neutral gets a finding that says so. `provenance.seconds` counts the `STAGES`. Deterministic. Raises FileError
    where weights are missing or the head belongs to another head model.
    """
    head, say = load_head(), report or (lambda stage, share: None)
    avatar.check_fits(head)
    materials = avatar.materials
    if materials.skin_wrinkles is not None and materials.skin_occlusion is not None:
        return avatar
    seconds = dict(avatar.provenance.seconds)
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[name], began = now - began, now

    if materials.skin_displacement is None:
        say(STAGES[0], 0.0)
        materials = _from_light(head, avatar, materials, refine, say, lap)
    relaxed = head.rest_vertices(_padded(head, avatar), torch.zeros(1, len(head.expression_names)))[0]
    say(STAGES[2], 0.8)
    assert materials.skin_displacement is not None
    height_m = materials.skin_displacement[0].float() * DISPLACEMENT_UNIT_M
    occlusion = ambient_occlusion(head, relaxed, OCCLUSION_PX)
    say(STAGES[2], 0.9)
    seed = avatar.provenance.seed if avatar.provenance.seed is not None else _seed_of(avatar)
    wrinkles = draw_wrinkles(head, lined(head, height_m), seed, height_m, WRINKLES_PX)
    materials = replace(materials, skin_occlusion=(occlusion * 255).round().to(torch.uint8), skin_wrinkles=wrinkles)
    lap(STAGES[2])
    quality = avatar.quality
    if avatar.provenance.source == "photo":
        weights = dict(zip(head.expression_names, avatar.expression.tolist(), strict=True))
        fine, sentence = near_neutral(weights)
        if not fine:
            body, advice = sentence.rsplit(". ", 1)
            found = Finding("not-neutral", "warning", f"{body}.", advice)
            quality = replace(quality, findings=(*quality.findings, found))
    provenance = replace(avatar.provenance, seconds=seconds)
    say(STAGES[2], 1.0)
    return replace(avatar, materials=materials, provenance=provenance, quality=quality)


def _from_light(
    head: HeadModel, avatar: Avatar, materials: Materials, refine: bool, say: Report, lap: Callable[[str], None]
) -> Materials:
    """The maps that a lit map tells of."""
    lit = materials.skin_photo
    if lit is None:
        # Nobody's photo: the albedo as even light shows it.
        lit = materials.skin_albedo
    vertices = head.vertices(replace(avatar.parameters(), shape=_padded(head, avatar)))[0]
    found = understand(head, lit, vertices, report=lambda share: say(STAGES[0], 0.45 * share))
    lap(STAGES[0])
    height = found.maps.height_mm[0]
    if refine and materials.skin_photo is not None:
        height = refine_relief(head, found, report=lambda share: say(STAGES[1], 0.45 + 0.25 * share))
    maps = written(head, lit, vertices, found, height, report=lambda share: say(STAGES[1], 0.7 + 0.1 * share))
    lap(STAGES[1])
    return replace(
        materials,
        skin_albedo=_in_tone(head, maps.albedo, materials.skin_albedo, materials.skin_photo is not None),
        skin_roughness=maps.roughness,
        skin_normal=maps.normal,
        skin_diffuse_normal=maps.diffuse_normal,
        skin_specular=maps.specular,
        skin_translucency=maps.translucency,
        skin_displacement=maps.displacement,
    )


def _in_tone(
    head: HeadModel, found: UInt8[Tensor, "3 U U"], before: UInt8[Tensor, "3 U U"], lit: bool
) -> UInt8[Tensor, "3 U U"]:
    """The found albedo as a change of lightness and mostly of hue (`HUE_SHARE`), its mean the one that reconstruction
    settled on, which has seen the whites of the eyes as well: a head that is on show does not change its colour, and
    networks that saw paintings mistake hues on photos before they mistake shadows. Hair and brows, which they have seen
    painted only, stay as they were; so does what was no photo."""
    if not lit:
        return before
    ours, theirs = (srgb_to_linear(m.float() / 255).clamp_min(1e-3).log() for m in (before, found))
    lighter = (theirs - ours).mean(0, keepdim=True)
    change = lighter + HUE_SHARE * (theirs - ours - lighter)
    weight = skin_for_light(head, COLOUR_PX)
    mean = (functional.adaptive_avg_pool2d(change, COLOUR_PX) * weight).sum((1, 2)) / weight.sum()
    change = change - mean[:, None, None]
    # The mask's border is a line; the seam should not be one.
    brows = interpolate(head, head.region("brows")[:, None].float(), COLOUR_PX)[..., 0]
    hairy = softened(torch.maximum(1 - skin_mask(head, COLOUR_PX), brows), BESIDE_HAIR)
    bare = functional.interpolate((1 - BESIDE_SHARE * hairy).clamp(0, 1)[None, None], size=ours.shape[1:],
                                  mode="bilinear")[0]  # fmt: skip
    return (linear_to_srgb((ours + bare * change).exp().clamp(0, 1)) * 255).round().to(torch.uint8)


def lined(head: HeadModel, displacement_m: Float[Tensor, "U U"]) -> float:
    """How lined a face is, 0..1: by the depth of its furrows, on bare skin."""
    height = functional.interpolate(displacement_m[None, None], size=(WORK_PX, WORK_PX), mode="bilinear")[0, 0] * 1e6
    own = torch.stack([head.region(name) for name in ("brows", "lips", "eye_sockets")]).amax(0).clamp(0, 1)
    face = interpolate(head, (head.region("face") * (1 - own))[:, None].float(), WORK_PX)[..., 0]
    furrow = (softened(height, FURROW_SIGMA) - height).clamp_min(0)
    mean = float((furrow * face).sum() / face.sum().clamp_min(1e-6))
    return min(max((mean - SMOOTH_UM) / (LINED_UM - SMOOTH_UM), LEAST_LINED), 1.0)


def with_displacement(
    materials: Materials, head: HeadModel, vertices: Tensor, height: Int16[Tensor, "1 U U"]
) -> Materials:
    """Materials of another relief, their normals with it. vertices: of the head that carries it."""
    sharp, soft = softened_normals(head, vertices, height[0].float() * DISPLACEMENT_UNIT_M * 1000)
    return replace(materials, skin_displacement=height, skin_normal=sharp, skin_diffuse_normal=soft)


def _padded(head: HeadModel, avatar: Avatar) -> Float[Tensor, "1 K"]:
    # A saved head may leave out the last coefficients, which are then zero.
    return functional.pad(avatar.shape, (0, head.shape_count - len(avatar.shape)))[None]


def _seed_of(avatar: Avatar) -> int:
    """A number that is the same for the same skin: where a photo shows no line, its wrinkles have to come from
    somewhere."""
    small: UInt8[Tensor, "3 16 16"] = functional.adaptive_avg_pool2d(avatar.materials.skin_albedo.float(), 16).byte()
    return int((small.flatten().long() * torch.arange(1, small.numel() + 1)).sum() % (1 << 31))
