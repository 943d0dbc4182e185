"""The skin map as a picture of the surface: which point of the head each texel shows.

Painting, baking and unwrapping all start here. A texel belongs to the triangle that contains its
centre, decided in integers, so that neighbours neither overlap nor leave gaps.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from core.head import PARTS, HeadModel

# Atlas coordinates are rounded to this many steps per texel before the inside test: fine enough to move
# no edge visibly, coarse enough that the edge functions of a 16k map stay exact in 64-bit integers.
SUBTEXEL_STEPS = 256


@dataclass(frozen=True)
class AtlasLookup:
    """Texel -> point of the surface, for the skin map with side U (row 0 is v = 1).

    face_index: ``[U, U]`` rows of `HeadModel.faces`, -1 where no triangle covers the texel's
    centre. barycentric: ``[U, U, 3]``, sums to 1 inside, 0 outside. nearest: ``[U, U]`` row-major
    index of the nearest covered texel (a covered texel names itself): indexing a map with it fills
    the outside.
    """

    face_index: Int[Tensor, "U U"]
    barycentric: Float[Tensor, "U U 3"]
    nearest: Int[Tensor, "U U"]

    @property
    def inside(self) -> Bool[Tensor, "U U"]:
        """Where the map shows skin."""
        return self.face_index >= 0


def atlas_lookup(head: HeadModel, size: int) -> AtlasLookup:
    """The lookup of a head's skin map with `size` texels a side; the last few are kept. Read-only."""
    return _lookup(head.uv, head.uv_faces, head.face_part, size)


def positions(head: HeadModel, vertices: Float[Tensor, "V 3"], size: int) -> Float[Tensor, "{size} {size} 3"]:
    """Where each texel lies on the head with these vertices, in metres; outside it is the nearest texel's place."""
    return interpolate(head, vertices, size)


def interpolate(head: HeadModel, values: Float[Tensor, "V C"], size: int) -> Float[Tensor, "{size} {size} C"]:
    """Any per-vertex values as a map, linear over each triangle; outside the nearest texel's. Differentiable."""
    corners, weights = _corners(head.uv, head.faces, head.uv_faces, head.face_part, size)
    # A weighted sum over the rows of a table, which PyTorch does in one pass, ten times as fast as gathering first.
    flat = functional.embedding_bag(corners, values, mode="sum", per_sample_weights=weights.to(values))
    return flat.reshape(size, size, -1)


def dilate(image: Shaped[Tensor, "*C U U"], mask: Bool[Tensor, "U U"]) -> Shaped[Tensor, "*C U U"]:
    """Give each texel where `mask` is false the value of the nearest one where it is true.

    Texture filters reach past the border of the skin; what they find there must be skin too. An
    empty mask leaves the image as it is.
    """
    return image.flatten(-2)[..., nearest_inside(mask)]


def nearest_inside(mask: Bool[Tensor, "U U"]) -> Int[Tensor, "U U"]:
    """Row-major index of the nearest true texel for each texel; its own where the mask has none."""
    from scipy.ndimage import distance_transform_edt

    size = mask.shape[0]
    own = torch.arange(size * size, device=mask.device).reshape(size, size)
    if not bool(mask.any()):
        return own
    indices = distance_transform_edt(~mask.cpu().numpy(), return_distances=False, return_indices=True)
    rows, columns = np.asarray(indices)
    found = torch.from_numpy(rows.astype(np.int64) * size + columns).to(mask.device)
    return torch.where(mask, own, found)


# Tensors hash by identity, so the same model and size find the same lookup.
@functools.lru_cache(maxsize=6)
def _lookup(uv: Tensor, uv_faces: Tensor, face_part: Tensor, size: int) -> AtlasLookup:
    part_faces = torch.nonzero(face_part == PARTS.index("skin")).squeeze(1)
    corners = uv[uv_faces[part_faces]].double().cpu().numpy() * [1, -1] + [0, 1]
    local = rasterise_triangles(corners * size, size)
    row, column = np.nonzero(local >= 0)
    # Barycentrics are affine in the texel's place: one 3x3 matrix per triangle, [x, y, 1] -> weights.
    homogeneous = np.concatenate([corners * size, np.ones((len(corners), 3, 1))], 2)
    flat = np.abs(np.linalg.det(homogeneous)) < 1e-12
    homogeneous[flat] = np.eye(3)
    to_weight = np.linalg.inv(homogeneous)[local[row, column]]
    weight = to_weight[:, 0] * (column + 0.5)[:, None] + to_weight[:, 1] * (row + 0.5)[:, None] + to_weight[:, 2]
    # A centre that only the rounding put inside may lie a hair outside: clamp, so that no value is extrapolated.
    weight = np.maximum(weight, 0)
    barycentric = np.zeros((size, size, 3), np.float32)
    barycentric[row, column] = weight / weight.sum(1, keepdims=True)
    local = torch.from_numpy(local)
    face_index = torch.where(local >= 0, part_faces.cpu()[local.clamp_min(0)], -1)
    nearest = nearest_inside(face_index >= 0)
    return AtlasLookup(face_index.to(uv.device), torch.from_numpy(barycentric).to(uv.device), nearest.to(uv.device))


@functools.lru_cache(maxsize=6)
def _corners(uv: Tensor, faces: Tensor, uv_faces: Tensor, face_part: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Vertices and their weights ``[U * U, 3]`` of each texel, or of the nearest covered one."""
    lookup = _lookup(uv, uv_faces, face_part, size)
    nearest = lookup.nearest.flatten()
    corners = faces[lookup.face_index.flatten()[nearest].clamp_min(0)]
    return corners.int(), lookup.barycentric.reshape(-1, 3)[nearest]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def rasterise_triangles(corners: np.ndarray, size: int) -> np.ndarray:
    """Which triangle covers each texel's centre: ``[size, size]`` int64, -1 for none.

    corners: ``[F, 3, 2]`` in texels, x right, y down. A centre on a shared edge goes to exactly one
    of the two triangles (the top-left rule of graphics APIs); of overlapping triangles the last
    wins. Triangles without area cover nothing. Each triangle is filled span by span: the exact
    integer range of columns where all three edge functions hold, row after row.
    """
    fixed = np.rint(corners * SUBTEXEL_STEPS).astype(np.int64)
    area = _cross(fixed[:, 1] - fixed[:, 0], fixed[:, 2] - fixed[:, 0])
    fixed = np.where((area < 0)[:, None, None], fixed[:, ::-1], fixed)
    face = np.nonzero(area)[0]
    fixed = fixed[face]

    # Rows whose centre lies within the triangle's height; the edge functions settle the ends.
    half = SUBTEXEL_STEPS // 2
    first = np.maximum(-(-(fixed[..., 1].min(1) - half) // SUBTEXEL_STEPS), 0)
    last = np.minimum((fixed[..., 1].max(1) - half) // SUBTEXEL_STEPS, size - 1)
    rows_of = np.maximum(last - first + 1, 0)
    which = np.repeat(np.arange(len(face)), rows_of)
    row = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of)

    low, high = np.zeros(len(which), np.int64), np.full(len(which), size - 1, np.int64)
    y = row * SUBTEXEL_STEPS + half
    for k in range(3):
        start, end = fixed[which, k], fixed[which, (k + 1) % 3]
        dx, dy = (end - start).T
        # Inside where dx * (y - start_y) - dy * (x - start_x) >= bias, with 0 for a top or left edge, else 1.
        bias = np.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)
        # Over columns c, x = c * STEPS + half: constant - slope * c >= 0.
        constant = dx * (y - start[:, 1]) - dy * (half - start[:, 0]) - bias
        slope = dy * SUBTEXEL_STEPS
        safe = np.where(slope == 0, 1, slope)
        high = np.where(slope > 0, np.minimum(high, constant // safe), high)
        low = np.where(slope < 0, np.maximum(low, -(constant // -safe)), low)
        high = np.where((slope == 0) & (constant < 0), -1, high)

    length = np.maximum(high - low + 1, 0)
    span = np.repeat(np.arange(len(which)), length)
    column = low[span] + np.arange(len(span)) - np.repeat(np.cumsum(length) - length, length)
    covered = np.full((size, size), -1, np.int64)
    covered[row[span], column] = face[which[span]]
    return covered
