"""What each pixel sees: visibility, barycentric weights, and reading values and maps with them.

1. `rasterize` finds which face each pixel sees. It has no gradient. This file's span rasteriser is the definition of
   correct; `core/render_pytorch3d.py` returns the same tensor where that library is installed.
2. `fragments` recomputes barycentric weights and depth from the face ids, with gradients to vertices and camera;
   `interpolate` and `sample_texture` read attributes and maps with them.

Pixel centres lie at half integers; a pixel belongs to the face that covers its centre, and centres that lie exactly
on an edge belong to the face below it or to its right (the top-left rule), so that neighbouring faces leave no
pinholes and never both claim a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from core.camera import Camera
from core.mesh import at_corners

NEAR_M = 1e-3  # faces with a corner nearer than this are not drawn


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    face_index: ``[B, H, W]`` int64 row of the faces, -1 where nothing is seen. barycentric: ``[B, H, W, 3]``
    perspective-correct weights of the face's corners, summing to 1; zero where nothing is seen. depth: ``[B, H, W]``
    metres along the optical axis, infinite where nothing is seen.
    """

    face_index: Int[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]


# ---------------------------------------------------------------------------------------------- visibility


@torch.no_grad()
def rasterize(
    points_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
    cull_backfaces: bool = False,
) -> Int[Tensor, "B H W"]:
    """The face that each pixel sees, -1 for none. No gradient; any device.

    points_px: what `Camera.project` returns, (x, y) pixels and depth in metres. Where two faces have the same depth
    (to float32) the one with the smaller index wins, so the result does not depend on order of execution.
    Faces with a corner nearer than `NEAR_M`, behind the camera or not finite are dropped whole, not clipped: a
    camera inside a head shows nothing anyone wants. `cull_backfaces` drops faces seen from their inner side.

    Spans: each face becomes one entry per pixel row that it meets, each entry a run of pixels; all runs are
    scattered into the z-buffer at once. A shared edge crosses a row at bit-identical x for both its faces, because
    both compute it from the edge's upper end; half-open runs then give each pixel to exactly one of them.
    """
    return torch.stack([_rasterize_one(points, faces, height, width, cull_backfaces) for points in points_px])


def _rasterize_one(points_px: Tensor, faces: Tensor, height: int, width: int, cull_backfaces: bool) -> Tensor:
    empty = torch.iinfo(torch.int64).max  # smaller sentinels would lose pixels that are very far away
    z_buffer = torch.full((height * width,), empty, dtype=torch.int64, device=points_px.device)

    corners = points_px.double()[faces]  # [F, corner, xyz]: double, or rows of huge faces miss by pixels
    drawn = torch.isfinite(corners).all(dim=2).all(dim=1) & (corners[..., 2] > NEAR_M).all(dim=1)
    if cull_backfaces:
        drawn &= front_facing(corners[..., :2])
    # Off-screen faces go early; comparisons with NaN are false, so these must come after `drawn`.
    low, high = corners[..., :2].amin(dim=1), corners[..., :2].amax(dim=1)
    drawn &= (high > 0).all(dim=1) & (low[:, 0] < width) & (low[:, 1] < height)
    face = torch.nonzero(drawn).squeeze(1)
    corners = corners[face]
    corners = corners.gather(1, corners[..., 1].argsort(dim=1)[..., None].expand(-1, -1, 3))  # top to bottom
    (x0, x1, x2), (y0, y1, y2) = corners[..., 0].unbind(1), corners[..., 1].unbind(1)

    # 1 / depth is affine in the image (perspective projection of a plane).
    inverse = 1 / corners[..., 2]
    i0, i1, i2 = inverse.unbind(1)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    per_area = torch.where(area == 0, torch.zeros_like(area), 1 / area)
    inverse_dx = ((i1 - i0) * (y2 - y0) - (i2 - i0) * (y1 - y0)) * per_area
    inverse_dy = ((i2 - i0) * (x1 - x0) - (i1 - i0) * (x2 - x0)) * per_area
    inverse_at_origin = i0 - x0 * inverse_dx - y0 * inverse_dy
    nearest, farthest = inverse.amax(dim=1), inverse.amin(dim=1)

    # Rows: a face covers the rows whose centre line lies in [y0, y2). (index_select is several times faster than
    # indexing on a CPU.)
    first_row = _first_centre_from(y0, height)
    count = _first_centre_from(y2, height) - first_row
    owner = torch.repeat_interleave(count)
    row = torch.arange(owner.shape[0], device=owner.device) + (first_row - count.cumsum(0) + count)[owner]
    y = row + 0.5
    # A row crosses two edges: the long one, and one of the two short ones. Edges of no height have no slope and
    # are never crossed.
    long_slope, upper_slope, lower_slope = (x2 - x0) / (y2 - y0), (x1 - x0) / (y1 - y0), (x2 - x1) / (y2 - y1)
    long_x = x0[owner] + (y - y0[owner]) * long_slope[owner]
    short_x = torch.where(
        y < y1[owner],
        x0[owner] + (y - y0[owner]) * upper_slope[owner],
        x1[owner] + (y - y1[owner]) * lower_slope[owner],
    )
    start = _first_centre_from(torch.minimum(long_x, short_x), width)
    length = _first_centre_from(torch.maximum(long_x, short_x), width) - start

    # Clamping the ends of a run keeps slivers, whose plane is badly determined, within their corners' depths.
    base = inverse_at_origin[owner] + y * inverse_dy[owner]
    slope = inverse_dx[owner]
    low, high = farthest[owner], nearest[owner]
    first_inverse = (base + (start + 0.5) * slope).clamp(low, high)
    last_inverse = (base + (start + length - 0.5) * slope).clamp(low, high)
    slope = (last_inverse - first_inverse) / (length - 1).clamp_min(1)

    # Pixels: everything that grows by one (or by a slope) along a run is the running index plus an offset per run.
    run = torch.repeat_interleave(length)
    index = torch.arange(run.shape[0], device=run.device)
    begin = length.cumsum(0) - length
    pixel = index + (row * width + start - begin).index_select(0, run)
    inverse = (first_inverse - begin * slope).index_select(0, run) + index * slope.index_select(0, run)
    # The bits of a positive float32 order like the number, so depth and face fit one sortable integer.
    depth_bits = (1 / inverse).float().view(torch.int32).long()
    key = (depth_bits << 32) | face[owner].index_select(0, run)
    z_buffer.scatter_reduce_(0, pixel, key, reduce="amin")
    face_index = torch.where(z_buffer == empty, -1, z_buffer & 0xFFFFFFFF)
    return face_index.reshape(height, width)


def _first_centre_from(coordinate: Tensor, size: int) -> Tensor:
    """Index of the first pixel whose centre is at or after `coordinate`, in 0..size."""
    return (coordinate - 0.5).clamp(-1.0, size).ceil().clamp(0, size).long()


def front_facing(corners_px: Float[Tensor, "*batch 3 2"]) -> Bool[Tensor, "*batch"]:
    """Whether faces are seen from outside, from their corners in pixels. False for faces without area."""
    return signed_area(corners_px) < 0


def signed_area(corners_px: Float[Tensor, "*batch 3 2"]) -> Float[Tensor, "*batch"]:
    """Twice the signed area of triangles. Negative for faces seen from outside (y points down)."""
    edge1, edge2 = corners_px[..., 1, :] - corners_px[..., 0, :], corners_px[..., 2, :] - corners_px[..., 0, :]
    return edge1[..., 0] * edge2[..., 1] - edge1[..., 1] * edge2[..., 0]


# --------------------------------------------------------------------------- barycentrics and interpolation


def fragments(
    vertices: Float[Tensor, "#B V 3"],
    faces: Int[Tensor, "F 3"],
    camera: Camera,
    face_index: Int[Tensor, "#B H W"] | None = None,
    cull_backfaces: bool = False,
) -> Fragments:
    """Rasterise (unless `face_index` is given) and compute barycentrics and depth with gradients.

    vertices: head frame, metres; one set is seen by every camera, and one camera sees every set. The gradients are
    those of the picture at fixed visibility; `antialias` adds what happens at silhouettes.
    """
    points_px = project(vertices, camera)
    if face_index is None:
        face_index = rasterize(points_px, faces, camera.height, camera.width, cull_backfaces)
    return fragments_of(points_px, faces, face_index)


def project(vertices: Float[Tensor, "#B V 3"], camera: Camera) -> Float[Tensor, "B V 3"]:
    """`Camera.project` where either the vertices or the camera may be a batch of one."""
    batch = max(vertices.shape[0], camera.focal_px.shape[0])
    if camera.focal_px.shape[0] != batch:
        camera = replace(
            camera,
            T_camera_head=camera.T_camera_head.expand(batch, -1, -1),
            focal_px=camera.focal_px.expand(batch),
            principal_px=camera.principal_px.expand(batch, -1),
        )
    return camera.project(vertices)


def fragments_of(
    points_px: Float[Tensor, "#B V 3"], faces: Int[Tensor, "F 3"], face_index: Int[Tensor, "B H W"]
) -> Fragments:
    """`fragments` where the projection and the visibility are known."""
    batch, height, width = face_index.shape
    covered, rows = _covered(face_index, faces.shape[0], points_px.shape[0])
    corners = at_corners(points_px, faces).reshape(-1, 9).index_select(0, rows)
    x0, y0, z0, x1, y1, z1, x2, y2, z2 = corners.T.contiguous().unbind(0)  # vectors over the covered pixels
    x = (covered % width).to(corners.dtype) + 0.5
    y = (torch.div(covered, width, rounding_mode="floor") % height).to(corners.dtype) + 0.5
    x0, x1, x2, y0, y1, y2 = x0 - x, x1 - x, x2 - x, y0 - y, y1 - y, y2 - y
    # The weight of a corner is the edge function of the opposite edge over the corner's depth (Olano and Greer
    # 1997). Each comes from its own edge: 1 - a - b would round pixels on shared edges out of both faces.
    weight = torch.stack([(x1 * y2 - x2 * y1) / z0, (x2 * y0 - x0 * y2) / z1, (x0 * y1 - x1 * y0) / z2])
    total = weight.sum(dim=0)
    # A face without area is seen in a pixel only by rounding: any of its points will do.
    flat = total == 0
    weight = torch.where(flat, torch.full_like(weight, 1 / 3), weight / torch.where(flat, 1.0, total))
    depth = weight[0] * z0 + weight[1] * z1 + weight[2] * z2
    weight = weight.T
    pixels = batch * height * width
    return Fragments(
        face_index,
        weight.new_zeros(pixels, 3).index_copy(0, covered, weight).reshape(batch, height, width, 3),
        depth.new_full((pixels,), math.inf).index_copy(0, covered, depth).reshape(batch, height, width),
    )


def _covered(face_index: Tensor, face_count: int, attribute_batch: int) -> tuple[Tensor, Tensor]:
    """Flat indices of the pixels that see something, and the row of ``[attribute_batch * F]`` that each sees."""
    flat = face_index.flatten()
    covered = torch.nonzero(flat >= 0).squeeze(1)
    rows = flat[covered]
    if attribute_batch > 1:
        rows = rows + torch.div(covered, face_index[0].numel(), rounding_mode="floor") * face_count
    return covered, rows


def interpolate(fragments: Fragments, corner_values: Float[Tensor, "#B F 3 C"]) -> Float[Tensor, "B H W C"]:
    """Values given at the corners of each face (``values[:, faces]`` for values at vertices), at every pixel.

    Perspective-correct; zero where nothing is seen. Differentiable in the values and in the barycentrics.
    """
    batch, height, width = fragments.face_index.shape
    covered, rows = _covered(fragments.face_index, corner_values.shape[1], corner_values.shape[0])
    weights = fragments.barycentric.reshape(-1, 3).index_select(0, covered)
    values = weighted(corner_values.flatten(0, 1), rows, weights).T
    out = values.new_zeros(batch * height * width, values.shape[1]).index_copy(0, covered, values)
    return out.reshape(batch, height, width, -1)


def weighted(
    corner_values: Float[Tensor, "F 3 C"], rows: Int[Tensor, "N"], weights: Float[Tensor, "N 3"]
) -> Float[Tensor, "C N"]:
    """Corner values of the faces `rows`, summed with weights.

    The long axis comes last: elementwise work on a CPU is several times faster that way round.
    """
    channels = corner_values.shape[2]
    corners = corner_values.flatten(1).index_select(0, rows).T.reshape(3, channels, -1)
    return (corners * weights.T[:, None]).sum(dim=0)


def sample_texture(
    texture: Float[Tensor, "#B C U V"],
    uv: Float[Tensor, "B H W 2"],
    level: Float[Tensor, "B H W"] | None = None,
) -> Float[Tensor, "B C H W"]:
    """A texture (row 0 is v = 1) at texture coordinates: bilinear, clamped at its borders.

    level: mip level per pixel, 0 the texture itself, 1 half its size, ...: trilinear (Williams 1983). None samples
    the texture itself.
    """
    batch = uv.shape[0]
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)

    def bilinear(image: Tensor) -> Tensor:
        image = image.expand(batch, -1, -1, -1)
        return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)

    if level is None:
        return bilinear(texture)
    highest = min(math.ceil(float(level.max())), int(math.log2(min(texture.shape[-2:]))))
    level = level.clamp(0, max(highest, 0))[:, None]
    result = bilinear(texture) * (1 - level).clamp_min(0)
    for i in range(1, highest + 1):
        texture = functional.avg_pool2d(texture, 2)
        result = result + bilinear(texture) * (1 - (level - i).abs()).clamp_min(0)
    return result


def mip_level(texels_per_pixel: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The level of `sample_texture` at which a texel is as large as a pixel. Areas, not lengths: half the log2.

    A face seen edge on has infinitely many texels per pixel and gets a high level, never NaN.
    """
    return 0.5 * torch.log2(texels_per_pixel.nan_to_num(1.0).clamp(1.0, 2.0**30))
