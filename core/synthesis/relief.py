"""The skin's fine shape and shine: how far each texel stands out, how much it mirrors, how rough it is.

What the three maps mean and how they vary over the face follows the reflectance maps of AvatarMe++ (Lattas et al.
2021, "AvatarMe++: Facial shape and BRDF inference with photorealistic rendering-aware GANs") and the measurements of
Weyrich et al. 2006 ("Analysis of human faces using a measurement-based skin reflectance model"), in kind, not in
number: forehead and nose shine most, lips are smooth and moist, cheeks and chin dull.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, interpolate, positions
from core.head import HeadModel, SameHead
from core.materials import SKIN_F0, SPECULAR_F0
from core.mesh import texture_gradients, vertex_normals
from core.synthesis.features import Features, person_rng
from core.synthesis.painting import noise_3d, skin_fields, smooth_step
from core.synthesis.people import Person

# Heights in millimetres where the feature's map is 1; of the order that replicas of skin show (lines of the micro
# relief 0.02 to 0.2 mm deep), and otherwise by eye.
PORE_MM = 0.10
MICRO_MM = 0.035
MOLE_MM, BLEMISH_MM, AGE_SPOT_MM = 0.5, 0.3, 0.04
SCAR_MM = 0.25
LIP_LINE_MM = 0.14
STUBBLE_MM, SCALP_MM, BROW_MM, BEARD_MM = 0.06, 0.05, 0.6, 1.2
BULGE = 0.4  # the skin that a groove displaces stands beside it
BULGE_MM = 2.4  # ... as far away as this

HAIR_ROUGHNESS, HAIR_TRANSLUCENCY = 0.8, 0.1
# Translucency over a cheek's, by region.
THINNER = {"ears": 0.45, "lips": 0.25, "nose": 0.12, "eyelids": 0.15}

FRAME_SIDE = 512  # texels of the map on which the tangent frame is worked out

_MICRO_STREAM, _SCAR_STREAM = 40, 41  # of a person's random numbers


@dataclass(frozen=True, eq=False)
class Relief:
    """displacement_m: how far the skin stands out along the normal, metres. specular: specular albedo 0..1, in units of
    a reflectance of `SPECULAR_F0` at normal incidence (skin: 0.35). roughness: perceptual, 0..1, as in glTF.
    translucency: 0..1, how far light spreads below the surface; 0.5 is a fair cheek's."""

    displacement_m: Float[Tensor, "U U"]
    specular: Float[Tensor, "U U"]
    roughness: Float[Tensor, "U U"]
    translucency: Float[Tensor, "U U"]


def paint_relief(head: HeadModel, person: Person, features: Features) -> Relief:
    """The relief that belongs to features: what `skins` colours is raised or sunk here, texel by texel. The maps are
    as large as the features'. Deterministic in person and features."""
    labels, size = person.labels, features.wrinkles.shape[0]
    fields = skin_fields(head, size)
    micro, lip_lines = _micro_relief(head, person, size)
    lips = features.lips
    hair = torch.maximum(features.brows, features.beard)

    grooves = features.wrinkles * 1000
    around = _blurred(grooves, BULGE_MM * fields.texels_per_mm)
    raised_scars = person_rng(person, _SCAR_STREAM).uniform() < 0.3
    out_mm = (
        BULGE * around
        - grooves
        - PORE_MM * features.pores
        - MICRO_MM * (0.35 + 0.65 * labels.pores) * micro * (1 - lips)
        - LIP_LINE_MM * lip_lines * lips
        + MOLE_MM * features.moles
        + BLEMISH_MM * features.blemishes
        + AGE_SPOT_MM * features.age_spots
        + (SCAR_MM if raised_scars else -SCAR_MM) * features.scars
        + STUBBLE_MM * features.stubble
        + SCALP_MM * features.scalp
    )
    # Hair stands on the skin and hides its lines.
    out_mm = torch.maximum(BROW_MM * features.brows, BEARD_MM * features.beard) + (1 - hair) * out_mm

    # Grooves and pits hold no oil and see little of the light.
    hollow = ((grooves - around) / 0.3).clamp(0, 1) + 0.6 * features.pores + 0.3 * micro * (1 - lips)
    hollow = hollow.clamp(0, 1)
    oily = (fields.oily * labels.oiliness / 0.4).clamp(0, 1.6)
    matt = torch.maximum(features.stubble, features.scalp)
    specular = SKIN_F0 / SPECULAR_F0 * (1 + 0.18 * oily + 0.22 * lips)
    specular = specular * (1 - 0.45 * hollow) * (1 - 0.3 * features.scars) * (1 - 0.4 * matt) * (1 - hair)
    # At an oiliness of 0.4 these are the terms of `painting.paint_roughness`.
    roughness = 0.56 - 0.16 * lips - 0.09 * oily + 0.05 * hollow + 0.02 * fields.fine * (1 - lips)
    roughness = roughness + 0.10 * (0.4 - labels.oiliness) * (1 - lips) - 0.05 * features.lipstick
    roughness = torch.lerp(roughness.clamp(0.28, 0.66), torch.full_like(roughness, HAIR_ROUGHNESS), hair)
    # Melanin absorbs what blood and fat would scatter on; hair lets nothing in.
    covered = torch.maximum(hair, matt)
    translucency = _thinness(SameHead(head), size) * (1 - 0.35 * labels.melanin) * (1 - 0.25 * features.lipstick)
    translucency = torch.lerp(translucency, torch.full_like(translucency, HAIR_TRANSLUCENCY), covered)
    return Relief(out_mm / 1000, specular.clamp(0, 1), roughness, translucency.clamp(0, 1))


@functools.lru_cache(maxsize=4)
def _thinness(key: SameHead, size: int) -> Tensor:
    """How far light gets through the flesh of each place on fair skin, 0..1: furthest where it is thin or full of
    blood, ears before lips, wings of the nose and lids."""
    head = key.head
    total = torch.full((len(head.template),), 0.5)
    for region, more in THINNER.items():
        if region in head.region_names:
            total = torch.maximum(total, 0.5 + more * head.region(region).clamp(0, 1).cpu())
    return interpolate(head, total[:, None], size)[..., 0]


def _micro_relief(head: HeadModel, person: Person, size: int) -> tuple[Tensor, Tensor]:
    """Lines 0..1 of this person's own: the lozenges of the skin's micro relief, and the upright lines of the lips."""
    rng = person_rng(person, _MICRO_STREAM)
    rows = []
    bank_lozenges, bank_lips, resolved = _micro_bank(SameHead(head), size)
    for bank in (*bank_lozenges, bank_lips):
        weights = torch.from_numpy(rng.normal(size=len(bank))).float()
        rows.append(torch.einsum("k,kyx->yx", weights / weights.norm(), bank))
    ridges = [(1 - row.abs() / 0.55).clamp_min(0) for row in rows]
    return resolved * torch.maximum(ridges[0], ridges[1]), ridges[2]


@functools.lru_cache(maxsize=2)
def _micro_bank(key: SameHead, size: int) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Noise ``[3, U, U]`` drawn out along either of two directions, which cross, and up the lips; and where texels
    are fine enough for lines of half a millimetre, 0..1: where they are not, the lines average out."""
    head = key.head
    place = positions(head, head.template, size)
    x, y, _ = place.unbind(-1)
    # Level on the forehead, falling outwards over the cheeks, as the tension lines do.
    fall = 0.9 * smooth_step(0.0, -0.06, y) * (x / 0.015).clamp(-1, 1)
    banks = []
    for index, lean in enumerate((0.55, -0.55)):
        direction = torch.stack([torch.cos(fall + lean), -torch.sin(fall + lean), torch.zeros_like(x)], -1)
        drawn_out = place - 0.7 * (place * direction).sum(-1, keepdim=True) * direction
        banks.append(torch.stack([noise_3d(drawn_out, 0.0006, 300 + 10 * index + k) for k in range(3)]))
    upright = place * torch.tensor([1.0, 0.12, 0.12])
    banks.append(torch.stack([noise_3d(upright, 0.0011, 330 + k) for k in range(3)]))
    right, up = _texel_steps(head, head.template, size)
    resolved = smooth_step(0.0006, 0.00025, torch.maximum(right.norm(dim=-1), up.norm(dim=-1)))
    return (banks[0], banks[1]), banks[2], resolved


def _blurred(image: Float[Tensor, "U U"], radius: float) -> Float[Tensor, "U U"]:
    """A Gaussian blur of `radius` texels, worked out on a map as coarse as the blur allows."""
    size = image.shape[0]
    shrink = max(1, int(radius / 1.5))
    small = functional.avg_pool2d(image[None, None], shrink) if shrink > 1 else image[None, None]
    sigma = radius / shrink
    reach = max(1, int(np.ceil(2.5 * sigma)))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2).to(image)
    kernel = kernel / kernel.sum()
    small = functional.pad(small, (reach, reach, reach, reach), mode="replicate")
    small = functional.conv2d(functional.conv2d(small, kernel[None, None, :, None]), kernel[None, None, None])
    return functional.interpolate(small, size=(size, size), mode="bilinear")[0, 0]


# ------------------------------------------------------------------------------------------------------------- normals


def normal_map(
    head: HeadModel, displacement_m: Float[Tensor, "U U"], vertices: Float[Tensor, "V 3"] | None = None
) -> UInt8[Tensor, "3 U U"]:
    """Tangent-space normals of the displaced skin, in glTF's convention: red along rising u, green along rising v (up
    in the picture), blue outwards, each 0..255 for -1..1.

    vertices: the head that carries the relief; None is the template. Slopes are true ones, metres per metre. The
    tangent frame comes from the derivatives of place by texture coordinate, averaged over the triangles about a
    corner as MikkTSpace does: the tangent upright on the shading normal, the bitangent their cross product. Differences
    do not reach across the borders of the atlas, so that a relief without a seam has normals without one. Texels off
    the skin repeat the nearest skin; flat where the atlas has no area.
    """
    vertices = head.template if vertices is None else vertices
    size = displacement_m.shape[0]
    by_u, by_v = differences(displacement_m, *whole_steps(head, size))

    # The frame is smooth: half of a large map's texels are enough for it.
    coarse = min(size, FRAME_SIDE)
    to_slope = tangent_frame(head, vertices, coarse).to_slope * (size / coarse)
    if size > coarse:
        to_slope = functional.interpolate(to_slope[None], size=(size, size), mode="bilinear")[0]
    tilted = tilted_normals(to_slope, by_u, by_v)
    coded = ((tilted * 0.5 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
    return coded.flatten(1)[:, atlas_lookup(head, size).nearest]


@dataclass(frozen=True, eq=False)
class TangentFrame:
    """Unit axes of the skin's surface, head frame, each ``[3, U, U]``: the shading normal, the direction in which u
    rises, upright on it, and their cross product on the side of rising v. to_slope: ``[4, U, U]`` the 2x2 matrices that
    take metres of height per texel along u and v to slopes along tangent and bitangent."""

    normal: Float[Tensor, "3 U U"]
    tangent: Float[Tensor, "3 U U"]
    bitangent: Float[Tensor, "3 U U"]
    to_slope: Float[Tensor, "4 U U"]


def tangent_frame(head: HeadModel, vertices: Float[Tensor, "V 3"], size: int) -> TangentFrame:
    """The frame of `normal_map` on a head with these vertices."""
    normal = functional.normalize(interpolate(head, vertex_normals(vertices, head.faces), size), dim=-1)
    right, up = (d - (d * normal).sum(-1, keepdim=True) * normal for d in _texel_steps(head, vertices, size))
    tangent = functional.normalize(right, dim=-1)
    bitangent = torch.linalg.cross(normal, tangent)
    bitangent = torch.where(((bitangent * up).sum(-1) < 0)[..., None], -bitangent, bitangent)
    # Gradient in the tangent plane by the first fundamental form (e, f, g).
    e, f, g = (right * right).sum(-1), (right * up).sum(-1), (up * up).sum(-1)
    area = e * g - f * f
    flat = area < 1e-6 * (e + g) ** 2 + 1e-30
    area = torch.where(flat, torch.inf, area)[..., None]
    along_u, along_v = (
        (g[..., None] * right - f[..., None] * up) / area,
        (e[..., None] * up - f[..., None] * right) / area,
    )
    to_slope = torch.stack([(a * b).sum(-1) for b in (tangent, bitangent) for a in (along_u, along_v)])
    normal, tangent, bitangent = (axis.permute(2, 0, 1) for axis in (normal, tangent, bitangent))
    return TangentFrame(normal, tangent, bitangent, to_slope)


def tilted_normals(
    to_slope: Float[Tensor, "*batch 4 H W"], by_u: Float[Tensor, "*batch H W"], by_v: Float[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch 3 H W"]:
    """Unit normals in the tangent frame of a surface that rises by so much per texel. Differentiable."""
    a, b, c, d = to_slope.unbind(-3)
    along, across = a * by_u + b * by_v, c * by_u + d * by_v
    blue = (1 + along * along + across * across).rsqrt()
    return torch.stack([-along * blue, -across * blue, blue], -3)


def whole_steps(head: HeadModel, size: int) -> tuple[Bool[Tensor, "U U-1"], Bool[Tensor, "U-1 U"]]:
    """Which texels and their right (lower) neighbours lie on the same piece of the atlas."""
    return _whole_steps(SameHead(head), size)


def differences(
    height: Float[Tensor, "*batch H W"], whole_u: Bool[Tensor, "*batch H W-1"], whole_v: Bool[Tensor, "*batch H-1 W"]
) -> tuple[Float[Tensor, "*batch H W"], Float[Tensor, "*batch H W"]]:
    """Rise per texel along u and along v, across no border of the atlas (`whole_steps`). Differentiable."""
    return _difference(height, whole_u), -_difference(height.mT, whole_v.mT).mT  # rows run down, v up


def _texel_steps(
    head: HeadModel, vertices: Float[Tensor, "V 3"], size: int
) -> tuple[Float[Tensor, "U U 3"], Float[Tensor, "U U 3"]]:
    """Metres on the head per texel to the right and upwards, averaged at the atlas' corners, linear between them."""
    skin = head.part_faces("skin")
    steps = texture_gradients(vertices, head.faces[skin], head.uv, head.uv_faces[skin]).flatten(1) / size
    lookup = atlas_lookup(head, size)
    corners = steps[head.uv_faces[lookup.face_index.clamp_min(0)]]
    inside = torch.einsum("uvkc,uvk->uvc", corners, lookup.barycentric.to(steps))
    filled = inside.reshape(size * size, 6)[lookup.nearest]
    return filled[..., :3], filled[..., 3:]


@functools.lru_cache(maxsize=4)
def _whole_steps(key: SameHead, size: int) -> tuple[Bool[Tensor, "U U-1"], Bool[Tensor, "U-1 U"]]:
    head = key.head
    inside, place = atlas_lookup(head, size).inside, positions(head, head.template, size)
    right, up = (step.norm(dim=-1) for step in _texel_steps(head, head.template, size))
    # Neighbours in the map that are far apart on the head lie on different pieces.
    near_u = place.diff(dim=1).norm(dim=-1) <= 1.5 * (right[:, 1:] + right[:, :-1]) + 1e-5
    near_v = place.diff(dim=0).norm(dim=-1) <= 1.5 * (up[1:] + up[:-1]) + 1e-5
    return inside[:, 1:] & inside[:, :-1] & near_u, inside[1:] & inside[:-1] & near_v


def _difference(
    height: Float[Tensor, "*batch H W"], whole: Bool[Tensor, "*batch H W-1"]
) -> Float[Tensor, "*batch H W"]:
    """Rise per texel along the last dimension: the mean of the differences to both neighbours, or the one to that which
    lies on the same piece of the atlas; 0 where neither does."""
    rise, count = torch.where(whole, height.diff(dim=-1), 0.0), whole.to(height)
    total = functional.pad(rise, (0, 1)) + functional.pad(rise, (1, 0))
    return total / (functional.pad(count, (0, 1)) + functional.pad(count, (1, 0))).clamp_min(1)
