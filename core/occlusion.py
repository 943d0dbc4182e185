"""What a head hides from its own light: shadows of lamps, and the share of the surroundings that arrives.

All of it by depth pictures of the mesh as the light sees it, none of it with a gradient.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, interpolate, nearest_inside, positions
from core.camera import Camera
from core.head import PARTS, HeadModel
from core.mesh import vertex_normals
from core.raster import fragments
from core.shading import Light

SHADOW_MAP_SIDE = 256
SHADOW_OFFSET_M = 3e-3  # along the normal: about two texels of a head's map, so that no surface shadows itself
PENUMBRA_SAMPLES = 9  # shadow maps of a lamp that has a size

# A point that sees less of the surroundings than this lies inside the mouth, a nostril or a fold of the lids. What is
# baked there would stay dark when an expression brings it to light, and bleeds into what is seen: it is filled instead.
HIDDEN = 0.15
HIDDEN_MARGIN = 1 / 96  # of the map's side: so near to what is hidden, too, the nearest skin farther away is repeated


def _camera_from(towards: Tensor, target: Tensor, distance: float, focal_px: float, side: int) -> Camera:
    """A square camera at `distance` from the target along the unit vector `towards`, looking at it."""
    forward = -towards
    # Any up will do that is not the line of sight.
    up = torch.eye(3, dtype=towards.dtype, device=towards.device)[1 if float(towards[1].abs()) < 0.9 else 2]
    right = functional.normalize(torch.linalg.cross(forward, up), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    transform = torch.eye(4, dtype=towards.dtype, device=towards.device)
    transform[:3, :3] = rotation
    transform[:3, 3] = -rotation @ (target + towards * distance)
    focal = towards.new_full((1,), focal_px)
    return Camera(transform[None], focal, towards.new_full((1, 2), side / 2), side, side)


def _lit(vertices: Tensor, faces: Tensor, camera: Camera, lifted: Tensor) -> Tensor:
    """The share 0..1 of points ``[N]`` that a camera sees, four comparisons with its depth picture blended (Reeves et
    al. 1987). What lies beside the picture is compared with its border."""
    side = camera.height
    depth = fragments(vertices[None], faces, camera).depth.flatten()
    seen = camera.project(lifted[None])[0]
    corner = seen[:, :2] - 0.5
    first = corner.floor()
    fraction = corner - first
    lit = torch.zeros_like(seen[:, 0])
    for right in (0, 1):
        for below in (0, 1):
            column = (first[:, 0] + right).clamp(0, side - 1).long()
            row = (first[:, 1] + below).clamp(0, side - 1).long()
            weight_x = fraction[:, 0] if right else 1 - fraction[:, 0]
            weight_y = fraction[:, 1] if below else 1 - fraction[:, 1]
            lit = lit + weight_x * weight_y * (depth.index_select(0, row * side + column) >= seen[:, 2])
    return lit


def _bounds(vertices: Tensor) -> tuple[Tensor, float]:
    middle = (vertices.amin(dim=0) + vertices.amax(dim=0)) / 2
    return middle, float((vertices - middle).norm(dim=1).max())


def _distant(vertices: Tensor, faces: Tensor, direction: Tensor, lifted: Tensor, side: int) -> Tensor:
    target, radius = _bounds(vertices)
    distance = 100 * radius  # so far that the rays are parallel
    camera = _camera_from(direction, target, distance, 0.49 * side / radius * distance, side)
    return _lit(vertices, faces, camera, lifted)


def _near(vertices: Tensor, faces: Tensor, position: Tensor, lifted: Tensor) -> Tensor:
    """As `_distant`, of a lamp at a place. Outside the mesh's ball one picture sees all; inside it takes six."""
    side = SHADOW_MAP_SIDE
    target, radius = _bounds(vertices)
    distance = float((position - target).norm())
    if distance > 1.1 * radius:
        focal = 0.49 * side * math.sqrt(distance**2 - radius**2) / radius
        camera = _camera_from((position - target) / distance, target, distance, focal, side)
        return _lit(vertices, faces, camera, lifted)
    offset = lifted - position
    axis, lit = offset.abs().argmax(dim=1), torch.ones_like(offset[:, 0])
    for i in range(3):
        for sign in (-1.0, 1.0):
            chosen = torch.nonzero((axis == i) & (offset[:, i] * sign > 0)).squeeze(1)
            if len(chosen):
                forward = torch.zeros_like(position)
                forward[i] = sign
                # A little wider than a side of the cube, so that no point lies on the picture's border.
                camera = _camera_from(-forward, position + forward, 1.0, 0.49 * side, side)
                lit[chosen] = _lit(vertices, faces, camera, lifted[chosen])
    return lit


@torch.no_grad()
def light_visibility(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    directions: Float[Tensor, "D 3"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    positions: Float[Tensor, "P 3"] | None = None,
    spreads: Float[Tensor, "D"] | None = None,
) -> Float[Tensor, "N S"]:
    """The share 0..1 of each lamp that reaches points on a mesh, distant lamps first, then those at a place, by shadow
    maps (Williams 1978) of `SHADOW_MAP_SIDE` pixels, four comparisons blended (Reeves et al. 1987). No gradient.

    spreads: angular radius of the distant lamps; where it is not 0, the mean over `PENUMBRA_SAMPLES` of the disc's
    directions. Casters thinner than `SHADOW_OFFSET_M` along a point's normal cast no shadow on it.
    """
    lifted = points + SHADOW_OFFSET_M * normals
    columns = []
    for i, direction in enumerate(directions):
        spread = 0.0 if spreads is None else float(spreads[i])
        samples = _disc(direction, spread) if spread > 0 else direction[None]
        shares = [_distant(vertices, faces, sample, lifted, SHADOW_MAP_SIDE) for sample in samples]
        columns.append(torch.stack(shares).mean(dim=0))
    for position in () if positions is None else positions:
        columns.append(_near(vertices, faces, position, lifted))
    return torch.stack(columns, dim=1) if columns else points.new_ones(len(points), 0)


def lamp_shadows(
    light: Light,
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
) -> Float[Tensor, "N S"]:
    """`light_visibility` of the lamps of a light, its first image."""
    positions = None if light.positions is None else light.positions[0]
    spreads = None if light.spreads is None else light.spreads[0]
    return light_visibility(vertices, faces, light.directions[0], points, normals, positions, spreads)


def _disc(direction: Tensor, radius: float) -> Tensor:
    """Unit directions ``[S, 3]`` evenly over a disc of this angular radius: a sunflower's."""
    up = torch.eye(3, dtype=direction.dtype, device=direction.device)[1 if float(direction[1].abs()) < 0.9 else 2]
    across = functional.normalize(torch.linalg.cross(direction, up), dim=0)
    upright = torch.linalg.cross(direction, across)
    places = []
    for i in range(PENUMBRA_SAMPLES):
        r, angle = math.tan(radius) * math.sqrt((i + 0.5) / PENUMBRA_SAMPLES), 2.399963 * i
        places.append(direction + r * (math.cos(angle) * across + math.sin(angle) * upright))
    return functional.normalize(torch.stack(places), dim=1)


# ---------------------------------------------------------------------------------------------- the surroundings


@torch.no_grad()
def sky_visibility(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    directions: int = 64,
) -> Float[Tensor, "N"]:
    """The share 0..1 of even surroundings that reaches points on a mesh, weighted by the cosine: ambient occlusion
    (Zhukov et al. 1998). No gradient.

    directions: over the whole sphere, evenly; half of them lie before a point. A depth picture of each.
    """
    lifted = points + SHADOW_OFFSET_M * normals
    seen, whole = torch.zeros_like(points[:, 0]), torch.zeros_like(points[:, 0])
    for towards in _sphere(directions).to(points):
        cosine = normals @ towards
        before = torch.nonzero(cosine > 0).squeeze(1)
        lit = _distant(vertices, faces, towards, lifted.index_select(0, before), OCCLUSION_MAP_SIDE)
        cosine = cosine.index_select(0, before)
        seen.index_add_(0, before, cosine * lit)
        whole.index_add_(0, before, cosine)
    return torch.where(whole > 0, seen / whole.clamp_min(1e-12), torch.ones_like(seen)).clamp(0, 1)


OCCLUSION_MAP_SIDE = 160  # texels of 2.5 mm, which `SHADOW_OFFSET_M` and many directions even out


@functools.lru_cache(maxsize=4)
def _sphere(count: int) -> Tensor:
    """Unit directions ``[count, 3]`` evenly over the sphere (Fibonacci's)."""
    i = np.arange(count)
    z = (i + 0.5) * 2 / count - 1
    angle = math.pi * (3 - math.sqrt(5)) * i
    r = np.sqrt(1 - z * z)
    # The spiral's axis is z; its poles, the ends of it, look forward and back.
    return torch.from_numpy(np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1))


@torch.no_grad()
def ambient_occlusion(
    head: HeadModel, vertices: Float[Tensor, "V 3"], size: int, directions: int = 64
) -> Float[Tensor, "1 {size} {size}"]:
    """The share 0..1 of even surroundings that reaches each texel of the skin map: `sky_visibility` of the head's own
    shape, cast by everything but lashes.

    What is hidden (`HIDDEN`: the insides of lips, lids and nostrils) and its edge repeat the nearest skin that is not,
    since expressions bring it to light and texture filters mix it with what is seen. Texels off the skin repeat the
    nearest skin. A map of more than `BAKED_SIDE` texels is an enlarged one of so many.
    """
    baked = min(size, BAKED_SIDE)
    lookup = atlas_lookup(head, baked)
    place = positions(head, vertices, baked)[lookup.inside]
    normals = functional.normalize(interpolate(head, vertex_normals(vertices, head.faces), baked), dim=-1)
    faces = head.faces[head.face_part != PARTS.index("lashes")]
    share = torch.zeros(baked, baked).to(vertices)
    share[lookup.inside] = sky_visibility(vertices, faces, place, normals[lookup.inside], directions)
    hidden = (lookup.inside & (share <= HIDDEN)).to(share)[None, None]
    margin = max(1, round(HIDDEN_MARGIN * baked))
    near_hidden = functional.max_pool2d(hidden, 2 * margin + 1, 1, margin)[0, 0] > 0
    seen = lookup.inside & ~near_hidden
    share = share.flatten()[nearest_inside(seen)]
    share = _smoothed(share, lookup.inside)
    share = share.flatten()[lookup.nearest]
    if size > baked:
        share = functional.interpolate(share[None, None], size=(size, size), mode="bilinear")[0, 0]
        share = share.flatten()[atlas_lookup(head, size).nearest]
    return share[None]


BAKED_SIDE = 512  # occlusion by depth pictures is no finer than this


def _smoothed(share: Tensor, inside: Bool[Tensor, "U U"]) -> Tensor:
    """The mean of a texel and its neighbours on the skin, which evens out what single directions leave."""
    weight = inside.to(share)[None, None]
    total = functional.avg_pool2d(share[None, None] * weight, 3, 1, 1)
    return torch.where(inside, (total / functional.avg_pool2d(weight, 3, 1, 1).clamp_min(1e-6))[0, 0], share)
