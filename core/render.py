"""Differentiable deferred rendering in plain torch.

Three steps, each a function that can be used alone:

1. Visibility: `rasterize` finds which face each pixel sees. It has no gradient. This file's span rasteriser is the
   definition of correct; `core/render_pytorch3d.py` returns the same tensor where that library is installed.
2. `fragments` recomputes barycentric weights and depth from the face ids, with gradients to vertices and camera;
   `interpolate` and `sample_texture` read attributes and maps with them.
3. `diffuse_light` and `specular_light` shade, `antialias` blends pixels across silhouettes, which is where the
   gradient of *visibility* comes from.

`render` runs the three for fitting; `render_head` makes pictures of a whole head with its materials.

Pixel centres lie at half integers; a pixel belongs to the face that covers its centre, and centres that lie exactly
on an edge belong to the face below it or to its right (the top-left rule), so that neighbouring faces leave no
pinholes and never both claim a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from core.camera import Camera, look_at_head
from core.color import linear_to_srgb, srgb_to_linear
from core.head import PART_TEXTURE, PARTS, HeadModel
from core.materials import Materials
from core.mesh import at_corners, texture_gradients, vertex_normals

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


@dataclass(frozen=True)
class Light:
    """Distant light in the head frame, linear RGB. A batch of 1 is shared by every image.

    sh: ``[B, 9, 3]`` coefficients of the surrounding radiance in `sh_basis`. directions: ``[B, D, 3]`` unit vectors
    towards D lights (D may be 0). colors: ``[B, D, 3]`` the radiance of a white diffuse surface that faces that
    light (its irradiance over pi).
    """

    sh: Float[Tensor, "B 9 3"]
    directions: Float[Tensor, "B D 3"]
    colors: Float[Tensor, "B D 3"]

    def to(self, device: torch.device | str) -> Light:
        """The same light on another device."""
        return Light(self.sh.to(device), self.directions.to(device), self.colors.to(device))

    def rotated(self, rotation: Float[Tensor, "#B 3 3"]) -> Light:
        """The light after the whole surroundings were turned by `rotation` (new direction = rotation @ old)."""
        probes = _SH_PROBES.to(self.sh)
        # Radiance seen along p after the turn is what came along rotation^-1 p before. Nine coefficients follow
        # exactly from that function's values at enough directions, since rotation keeps each order to itself.
        before = sh_basis(torch.einsum("bji,nj->bni", rotation, probes))
        sh = torch.linalg.pinv(sh_basis(probes)) @ (before @ self.sh)
        directions = torch.einsum("bij,bdj->bdi", rotation, self.directions.expand(rotation.shape[0], -1, -1))
        batch = max(sh.shape[0], directions.shape[0])
        colors = self.colors.expand(batch, -1, -1)
        return Light(sh.expand(batch, -1, -1), directions.expand(batch, -1, -1), colors)


@dataclass(frozen=True)
class Rendering:
    """A picture and what it was made from.

    color_linear: ``[B, 3, H, W]`` over the background. alpha: ``[B, 1, H, W]`` coverage 0..1. normals:
    ``[B, H, W, 3]`` unit, head frame, turned towards the camera; zero where nothing is seen.
    """

    color_linear: Float[Tensor, "B 3 H W"]
    alpha: Float[Tensor, "B 1 H W"]
    fragments: Fragments
    normals: Float[Tensor, "B H W 3"]


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
    return _signed_area(corners_px) < 0


def _signed_area(corners_px: Tensor) -> Tensor:
    """Twice the signed area ``[...]`` of ``[..., 3, 2]``. Negative for faces seen from outside (y points down)."""
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
    return _fragments(points_px, faces, face_index)


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


def _fragments(points_px: Tensor, faces: Tensor, face_index: Tensor) -> Fragments:
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
    values = _weighted(corner_values.flatten(0, 1), rows, weights).T
    out = values.new_zeros(batch * height * width, values.shape[1]).index_copy(0, covered, values)
    return out.reshape(batch, height, width, -1)


def _weighted(corner_values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Corner values ``[F, 3, C]`` of the faces `rows` ``[N]``, summed with weights ``[N, 3]``: ``[C, N]``.

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


# ----------------------------------------------------------------------------------------------- silhouettes


def face_neighbours(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
    """The face across the edge opposite each corner; -1 at borders and where more than two faces meet."""
    count = faces.shape[0]
    edges = torch.cat([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]]).sort(dim=1).values
    code = edges[:, 0] * (int(faces.max()) + 1 if count else 1) + edges[:, 1]
    code, order = code.sort(stable=True)
    same = code[1:] == code[:-1]
    padded = functional.pad(same, (1, 1))  # padded[i]: entry i equals entry i - 1
    pair = torch.nonzero(same & ~padded[:-2] & ~padded[2:]).squeeze(1)
    a, b = order[pair], order[pair + 1]
    neighbours = torch.full_like(order, -1)
    neighbours[a], neighbours[b] = b % count, a % count
    return neighbours.reshape(3, count).T.contiguous()


def antialias(
    values: Float[Tensor, "B C H W"],
    fragments: Fragments,
    points_px: Float[Tensor, "#B V 3"],
    faces: Int[Tensor, "F 3"],
    neighbours: Int[Tensor, "F 3"] | None = None,
) -> Float[Tensor, "B C H W"]:
    """Blend pixels across silhouettes by where the edge passes between their centres (Laine et al. 2020, 3.4).

    For each pair of neighbouring pixels that see different faces, the nearer face's silhouette edge that separates
    the two centres at a fraction t from the nearer face's pixel is found. Beyond the middle (t > 1/2) the far pixel
    takes t - 1/2 of the near one's value; before it the near pixel gives up 1/2 - t. Upright edges act on
    horizontal pairs, level edges on vertical ones. The result is continuous in the vertices where the hard picture
    jumps, so it carries the gradient of visibility; a row's sum is exactly the length that upright edges enclose.
    Unlike the paper, the silhouette edges of a face's neighbours count as its own. Known limits: an outline two or
    more unseen faces away from the pixel beside it has no effect (heads seen at less than about 100 px), and where
    several edges meet in one pixel their shares are added, which can leave the range of the values slightly.
    """
    batch, channels, height, width = values.shape
    if neighbours is None:
        neighbours = face_neighbours(faces)
    face_count = faces.shape[0]
    points_px = points_px.expand(batch, -1, -1)
    corners = points_px[:, faces, :2]
    outside = front_facing(corners.detach())
    across = outside[:, neighbours.clamp_min(0).flatten()].reshape(batch, face_count, 3)
    silhouette = ((neighbours < 0) | (across != outside[..., None])).flatten(0, 1)  # [B * F, edge opposite corner]
    corners = corners.flatten(0, 1)
    # Faces at an outline are seen almost edge on, often too thin to cover a pixel: the pixel beside the outline then
    # sees the next face. So the edges of a face's neighbours count as its own.
    self_and_across = torch.cat([torch.arange(face_count, device=faces.device)[:, None], neighbours], dim=1)
    self_and_across = torch.where(self_and_across < 0, self_and_across[:, :1], self_and_across)
    near_silhouette = silhouette.any(dim=1).reshape(batch, face_count)[:, self_and_across].any(dim=2).flatten()

    flat = values.permute(0, 2, 3, 1).reshape(-1, channels)
    pixel = torch.arange(flat.shape[0], device=values.device).reshape(batch, height, width)
    of_batch = torch.arange(batch, device=values.device)[:, None, None] * face_count
    row = torch.where(fragments.face_index < 0, -1, fragments.face_index + of_batch)
    depth = fragments.depth.detach()
    result = flat
    for axis in (0, 1):  # pairs along x, along y
        first, second = _pairs(row, pixel, depth, 2 - axis)
        (row_a, pixel_a, depth_a), (row_b, pixel_b, depth_b) = first, second
        a_nearer = depth_a < depth_b
        near_row = torch.where(a_nearer, row_a, row_b)
        chosen = (row_a != row_b) & (near_row >= 0) & near_silhouette[near_row.clamp_min(0)]
        a_nearer, near_row = a_nearer[chosen], near_row[chosen]
        near = torch.where(a_nearer, pixel_a[chosen], pixel_b[chosen])
        far = torch.where(a_nearer, pixel_b[chosen], pixel_a[chosen])
        towards_far = torch.where(a_nearer, 1.0, -1.0).to(values.dtype)

        centre = torch.stack([near % width, torch.div(near, width, rounding_mode="floor") % height], dim=1) + 0.5
        first_of_batch = torch.div(near_row, face_count, rounding_mode="floor") * face_count
        candidates = (self_and_across[near_row - first_of_batch] + first_of_batch[:, None]).flatten()
        relative = corners.index_select(0, candidates).reshape(-1, 4, 3, 2) - centre[:, None, None].to(values.dtype)
        along = relative[..., axis] * towards_far[:, None, None]  # from the near centre (0) to the far one (1)
        beside = relative[..., 1 - axis]
        a_along, b_along = along.roll(-1, 2), along.roll(-2, 2)  # ends of the edge opposite each corner
        a_beside, b_beside = beside.roll(-1, 2), beside.roll(-2, 2)
        run, rise = b_along - a_along, b_beside - a_beside
        upright = rise.abs() > run.abs() if axis == 0 else rise.abs() >= run.abs()
        crosses = upright & ((a_beside < 0) != (b_beside < 0)) & silhouette[candidates].reshape(-1, 4, 3)
        t = a_along - a_beside * run / torch.where(crosses, rise, 1.0)
        crosses = crosses & (t >= 0) & (t <= 1)
        # A face narrower than a pixel can have two such edges; the farther one bounds it on the far side.
        t = torch.where(crosses, t, -1.0).flatten(1).amax(dim=1)
        hit = torch.nonzero(t >= 0).squeeze(1)
        t, near, far = t[hit, None], near[hit], far[hit]
        difference = flat.index_select(0, near) - flat.index_select(0, far)
        result = result.index_add(0, far, (t - 0.5).clamp_min(0) * difference)
        result = result.index_add(0, near, (t - 0.5).clamp_max(0) * difference)
    return result.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _pairs(row: Tensor, pixel: Tensor, depth: Tensor, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Every pixel but the last along `dim`, and the pixel that follows it."""
    count, tensors = row.shape[dim] - 1, (row, pixel, depth)
    return [t.narrow(dim, 0, count) for t in tensors], [t.narrow(dim, 1, count) for t in tensors]


# -------------------------------------------------------------------------------------------- normal mapping


def bend_normals(
    normals: Float[Tensor, "N 3"],
    along_u: Float[Tensor, "N 3"],
    along_v: Float[Tensor, "N 3"],
    tangent_space: Float[Tensor, "N 3"],
) -> Float[Tensor, "N 3"]:
    """Unit normals of a surface that carries a normal map in glTF's convention.

    normals: unit, of the surface without it. along_u, along_v: directions of rising texture coordinates
    (`core.mesh.texture_gradients`), of any length. tangent_space: what the map says, x along rising u, y along rising
    v, z outwards, of any length. The frame is that of `synthesis.relief.normal_map`: the tangent upright on the normal,
    the bitangent their cross product, on the side of rising v. Where the map has no directions the normal stays.
    """
    tangent = along_u - (along_u * normals).sum(-1, keepdim=True) * normals
    tangent = functional.normalize(tangent, dim=-1, eps=1e-12)
    bitangent = torch.linalg.cross(normals, tangent)
    bitangent = torch.where((bitangent * along_v).sum(-1, keepdim=True) < 0, -bitangent, bitangent)
    x, y, z = tangent_space.unsqueeze(-1).unbind(-2)
    return functional.normalize(x * tangent + y * bitangent + z * normals, dim=-1, eps=1e-12)


# -------------------------------------------------------------------------------------------------- lighting

# Lambertian convolution of each order over pi: albedo times this times radiance is outgoing radiance
# (Ramamoorthi and Hanrahan 2001, eq. 8: A0 = pi, A1 = 2 pi / 3, A2 = pi / 4).
LAMBERT_OVER_PI = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5

# Directions that determine nine coefficients well: a Fibonacci sphere.
_SH_PROBES = torch.tensor(
    [
        [math.sqrt(1 - z * z) * math.cos(2.399963 * i), math.sqrt(1 - z * z) * math.sin(2.399963 * i), z]
        for i, z in enumerate((i + 0.5) / 16 - 1 for i in range(32))
    ]
)


def sh_basis(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Real spherical harmonics up to order 2 of unit vectors, orthonormal over the sphere.

    Order: 1; y, z, x; xy, yz, 3z^2 - 1, xz, x^2 - y^2 (l, m ascending; Ramamoorthi and Hanrahan 2001, eq. 3), with
    x, y, z in the head frame.
    """
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.5 / math.sqrt(math.pi)),
            math.sqrt(3 / (4 * math.pi)) * y,
            math.sqrt(3 / (4 * math.pi)) * z,
            math.sqrt(3 / (4 * math.pi)) * x,
            math.sqrt(15 / (4 * math.pi)) * x * y,
            math.sqrt(15 / (4 * math.pi)) * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
            math.sqrt(15 / (4 * math.pi)) * x * z,
            math.sqrt(15 / (16 * math.pi)) * (x * x - y * y),
        ],
        dim=-1,
    )


def irradiance_basis(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """`sh_basis` convolved with the clamped cosine, over pi: its product with `Light.sh` is the diffuse shading.

    Surroundings of constant radiance 1 (first coefficient sqrt(4 pi), others 0) give 1 for every normal.
    """
    basis = sh_basis(normals)
    return basis * torch.tensor(LAMBERT_OVER_PI, dtype=basis.dtype, device=basis.device)


def diffuse_light(
    light: Light, normals: Float[Tensor, "B *pixels 3"], visibility: Float[Tensor, "B *pixels D"] | None = None
) -> Float[Tensor, "B *pixels 3"]:
    """Radiance of a white diffuse surface: albedo times this is its colour.

    visibility: the share 0..1 of each directional light that arrives (`light_visibility`); None: no shadows.
    Second-order light can be slightly negative opposite a strong source; it is clamped at 0.
    """
    flat = normals.flatten(1, -2)
    shading = (irradiance_basis(flat) @ light.sh).clamp_min(0.0)
    if light.directions.shape[1]:
        cosine = (flat @ light.directions.transpose(1, 2)).clamp_min(0.0)
        if visibility is not None:
            cosine = cosine * visibility.flatten(1, -2)
        shading = shading + cosine @ light.colors
    return shading.reshape(normals.shape)


def specular_light(
    light: Light,
    normals: Float[Tensor, "B *pixels 3"],
    view: Float[Tensor, "B *pixels 3"],
    roughness: Float[Tensor, "B *pixels 1"],
    reflectance: float = 0.028,
    visibility: Float[Tensor, "B *pixels D"] | None = None,
) -> Float[Tensor, "B *pixels 3"]:
    """Highlights of the directional lights: GGX with Smith's shadowing (Walter et al. 2007) and Schlick's Fresnel.

    view: unit vectors towards the camera. roughness: 0..1, its square is GGX's alpha (Burley 2012); values under
    0.05 count as 0.05. reflectance: at normal incidence, 0.028 for skin (index 1.4). visibility: as in
    `diffuse_light`. The surroundings (`Light.sh`) cast no highlight: second order is too smooth to.
    """
    result = torch.zeros_like(normals)
    alpha_sq = roughness.clamp(0.05, 1.0) ** 4
    facing = (normals * view).sum(-1, keepdim=True).clamp_min(1e-4)
    for i in range(light.directions.shape[1]):
        shape = (-1, *(1,) * (normals.dim() - 2), 3)
        direction, color = light.directions[:, i].reshape(shape), light.colors[:, i].reshape(shape)
        half = view + direction
        half = half * (half * half).sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()
        cosine = (normals * direction).sum(-1, keepdim=True).clamp_min(0.0)
        half_cosine = (normals * half).sum(-1, keepdim=True).clamp_min(0.0)
        distribution = alpha_sq / (math.pi * (half_cosine**2 * (alpha_sq - 1) + 1) ** 2)
        # Smith's masking and shadowing, with the 4 cos cos of the microfacet model cancelled (height-correlated,
        # Heitz 2014).
        shadowing = 0.5 / (
            cosine * torch.sqrt(facing**2 * (1 - alpha_sq) + alpha_sq)
            + facing * torch.sqrt(cosine**2 * (1 - alpha_sq) + alpha_sq)
        )
        fresnel = reflectance + (1 - reflectance) * (1 - (view * half).sum(-1, keepdim=True).clamp(0, 1)) ** 5
        if visibility is not None:
            color = color * visibility[..., i, None]
        result = result + math.pi * distribution * shadowing * fresnel * cosine * color
    return result


SHADOW_MAP_SIDE = 256
SHADOW_OFFSET_M = 3e-3  # along the normal: about two texels of a head's map, so that no surface shadows itself


@torch.no_grad()
def light_visibility(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    directions: Float[Tensor, "D 3"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
) -> Float[Tensor, "N D"]:
    """The share 0..1 of each distant light that reaches points on a mesh, by shadow maps (Williams 1978) of
    `SHADOW_MAP_SIDE` pixels, four comparisons blended (Reeves et al. 1987). No gradient.

    Casters thinner than `SHADOW_OFFSET_M` along a point's normal cast no shadow on it.
    """
    if not len(directions):
        return points.new_ones(len(points), 0)
    target = (vertices.amin(dim=0) + vertices.amax(dim=0)) / 2
    radius = float((vertices - target).norm(dim=1).max())
    distance, side = 100 * radius, SHADOW_MAP_SIDE  # so far that the rays are parallel
    x, y, z = directions.unbind(1)
    camera = look_at_head(
        torch.atan2(x, z), torch.asin(y.clamp(-1, 1)), distance, target, 0.49 * side / radius * distance, side, side
    )
    depth = fragments(vertices[None], faces, camera).depth.flatten(1)
    seen = camera.project((points + SHADOW_OFFSET_M * normals)[None])
    corner = seen[..., :2] - 0.5
    first = corner.floor()
    fraction = corner - first
    lit = torch.zeros_like(seen[..., 0])
    for right in (0, 1):
        for below in (0, 1):
            column = (first[..., 0] + right).clamp(0, side - 1).long()
            row = (first[..., 1] + below).clamp(0, side - 1).long()
            weight_x = fraction[..., 0] if right else 1 - fraction[..., 0]
            weight_y = fraction[..., 1] if below else 1 - fraction[..., 1]
            lit = lit + weight_x * weight_y * (depth.gather(1, row * side + column) >= seen[..., 2])
    return lit.T


def studio_light() -> Light:
    """A soft three-light studio in the head frame: key from the viewer's upper left, weak fill, rim from behind."""
    sh = torch.zeros(9, 3)
    sh[0] = torch.tensor([0.40, 0.41, 0.43]) * math.sqrt(4 * math.pi)  # even surroundings ...
    sh[1] = 0.13 * math.sqrt(4 * math.pi / 3)  # ... brighter above ...
    sh[2] = 0.08 * math.sqrt(4 * math.pi / 3)  # ... and in front
    directions = torch.tensor([[-0.55, 0.55, 0.75], [0.85, 0.10, 0.60], [0.55, 0.45, -0.85]])
    colors = torch.tensor([[0.62, 0.59, 0.55], [0.12, 0.13, 0.15], [0.30, 0.31, 0.33]])
    return Light(sh[None], functional.normalize(directions, dim=1)[None], colors[None])


def attach_to_camera(light: Light, camera: Camera) -> Light:
    """The light that stands to each camera as `light` stands to a camera on the +Z axis (frontal view)."""
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0])).to(camera.T_camera_head)  # OpenCV axes to the head's
    return light.rotated(camera.T_camera_head[:, :3, :3].transpose(1, 2) @ flip)


# ------------------------------------------------------------------------------------------------- renderers


@dataclass(frozen=True)
class _Surface:
    """What the covered pixels of one image see. pixels: ``[N]`` flat indices; rows: ``[N]`` faces; weights: ``[N, 3]``
    of their corners; normals ``[N, 3]`` towards the camera; position ``[N, 3]``; view ``[N, 3]`` unit vectors to the
    camera; uv: ``[N, 2]``."""

    pixels: Tensor
    rows: Tensor
    weights: Tensor
    normals: Tensor
    position: Tensor
    view: Tensor
    uv: Tensor


def _surfaces(
    seen: Fragments, points_px: Tensor, vertices: Tensor, faces: Tensor, uv: Tensor, uv_faces: Tensor, centre: Tensor
) -> list[_Surface]:
    """One `_Surface` per image. Shading only covered pixels, not the whole picture, is most of the speed."""
    attributes = at_corners(torch.cat([vertex_normals(vertices, faces), vertices], dim=2), faces)
    corner_uv = uv[uv_faces]
    inward = _signed_area(points_px[:, faces, :2].detach()) > 0
    surfaces = []
    for b in range(seen.face_index.shape[0]):
        flat = seen.face_index[b].flatten()
        pixels = torch.nonzero(flat >= 0).squeeze(1)
        rows = flat.index_select(0, pixels)
        weights = seen.barycentric[b].reshape(-1, 3).index_select(0, pixels)
        corners = torch.cat([_image(attributes, b)[0], corner_uv], dim=2)
        normals, position, pixel_uv = _weighted(corners, rows, weights).split([3, 3, 2])
        normals = torch.where(inward[b].index_select(0, rows), -normals, normals)
        view = _unit(_image(centre, b)[0, :, None] - position)
        surfaces.append(_Surface(pixels, rows, weights, _unit(normals).T, position.T, view.T, pixel_uv.T))
    return surfaces


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors ``[3, N]``. (functional.normalize is ten times slower along a leading axis.)"""
    return vectors * (vectors * vectors).sum(dim=0).clamp_min(1e-24).rsqrt()


def _image(batched: Tensor, b: int) -> Tensor:
    """Image b of a batch that may be shared, as a batch of one."""
    return batched[min(b, len(batched) - 1)][None]


def _light_of(light: Light, b: int) -> Light:
    """The light of image b alone."""
    return Light(_image(light.sh, b), _image(light.directions, b), _image(light.colors, b))


def render(
    vertices: Float[Tensor, "#B V 3"],
    faces: Int[Tensor, "F 3"],
    camera: Camera,
    light: Light | None,
    uv: Float[Tensor, "T 2"],
    uv_faces: Int[Tensor, "F 3"],
    textures_linear: Sequence[Float[Tensor, "_ 3 _ _"]],
    face_texture: Int[Tensor, "F"] | None = None,
    roughness: float | None = None,
    background: Float[Tensor, "..."] | None = None,
    face_index: Int[Tensor, "B H W"] | None = None,
    cull_backfaces: bool = False,
    smooth_edges: bool = True,
) -> Rendering:
    """Render with gradients to vertices, camera, textures and light. One set of vertices, one camera, one light and
    one map are shared by a whole batch.

    textures_linear: maps ``[1 or B, 3, U, U]`` of linear albedo; face_texture ``[F]`` says which one each face
    samples (None: all the first). light: None shows the albedo. roughness: None leaves out highlights.
    background: linear, anything that broadcasts to ``[B, 3, H, W]``; None is black. face_index: visibility computed
    elsewhere. smooth_edges: blend silhouettes (`antialias`), which gives the gradient of visibility.
    """
    points_px = project(vertices, camera)
    if face_index is None:
        face_index = rasterize(points_px, faces, camera.height, camera.width, cull_backfaces)
    seen = _fragments(points_px, faces, face_index)
    batch, height, width = face_index.shape

    behind = points_px.new_zeros(1) if background is None else background
    behind = behind.expand(batch, 3, height, width).flatten(2)
    colors, normals = [], []
    for b, surface in enumerate(_surfaces(seen, points_px, vertices, faces, uv, uv_faces, camera.centre)):
        grid = surface.uv[None, None]
        color = sample_texture(_image(textures_linear[0], b), grid)[0, :, 0]
        if face_texture is not None:
            which = face_texture.index_select(0, surface.rows)
            for i, texture in enumerate(textures_linear[1:], start=1):
                color = torch.where(which == i, sample_texture(_image(texture, b), grid)[0, :, 0], color)
        if light is not None:
            here, normal, view = _light_of(light, b), surface.normals[None], surface.view[None]
            color = color * diffuse_light(here, normal)[0].T
            if roughness is not None:
                color = color + specular_light(here, normal, view, torch.full_like(view[..., :1], roughness))[0].T
        colors.append(behind[b].index_copy(1, surface.pixels, color))
        empty = surface.normals.new_zeros(height * width, 3)
        normals.append(empty.index_copy(0, surface.pixels, surface.normals))
    color = torch.stack(colors).reshape(batch, 3, height, width)
    alpha = (face_index >= 0)[:, None].to(color.dtype)
    if smooth_edges:
        color, alpha = antialias(torch.cat([color, alpha], dim=1), seen, points_px, faces).split([3, 1], dim=1)
    return Rendering(color, alpha, seen, torch.stack(normals).reshape(batch, height, width, 3))


CLAY_SRGB = (0.80, 0.76, 0.72)  # every part of a clay head
CLAY_ROUGHNESS = 0.6
# Perceptual roughness of what has no roughness map: wet, moist, matt.
PART_ROUGHNESS = {"eyes": 0.18, "teeth": 0.3, "mouth": 0.4, "tongue": 0.4, "lashes": 1.0}
STYLES = ("textured", "albedo", "clay")


@torch.no_grad()
def render_head(
    head: HeadModel,
    vertices: Float[Tensor, "#B V 3"],
    materials: Materials | None,
    camera: Camera,
    light: Light | None = None,
    style: str = "textured",
    supersample: int = 2,
    background: tuple[float, float, float] | Float[Tensor, "3 H W"] = (0.92, 0.93, 0.94),
    shadows: bool = True,
) -> Float[Tensor, "B 3 H W"]:
    """Pictures of whole heads, sRGB 0..1, without gradients.

    style: "textured" (materials lit by `light`), "albedo" (materials without light) or "clay" (one matt colour,
    needs no materials; lashes are left out). light: in the head frame; None is `studio_light` moving with the
    camera. background: sRGB, one colour or a picture. supersample: rendered so many times larger and averaged in
    linear light. The normal map, where the materials have one, bends the light on the skin (`bend_normals`), not its
    outline. shadows: of the directional lights, cast by everything but lashes (`light_visibility`). Lashes are
    blended by their alpha over everything behind them, the nearest lash only. Raises ValueError for an unknown
    style and for one whose materials are missing.
    """
    if style not in STYLES:
        raise ValueError(f"There is no style {style!r}; choose one of {', '.join(STYLES)}.")
    if style != "clay" and materials is None:
        raise ValueError(f"The style {style!r} needs materials; only 'clay' does without.")
    fine = camera.crop_and_resize(0.0, 0.0, float(supersample), camera.height * supersample, camera.width * supersample)
    points_px = project(vertices, fine)
    batch = points_px.shape[0]
    if style == "albedo":
        light = None
    elif light is None:
        light = attach_to_camera(studio_light().to(vertices.device), camera)

    lashes = head.face_part == PARTS.index("lashes")
    casters = head.faces[~lashes]

    def layer(selected: Tensor) -> tuple[Tensor, Tensor]:
        """Colour and alpha ``[B, 4, H * W]`` and depth ``[B, H * W]`` of the nearest of the selected faces."""
        face_index = rasterize(points_px, head.faces[selected], fine.height, fine.width)
        face_index = torch.where(face_index < 0, -1, selected[face_index.clamp_min(0)])
        seen = _fragments(points_px, head.faces, face_index)
        result = points_px.new_zeros(batch, 4, fine.height * fine.width)
        surfaces = _surfaces(seen, points_px, vertices, head.faces, head.uv, head.uv_faces, fine.centre)
        for b, surface in enumerate(surfaces):
            here, vertices_b = None if light is None else _light_of(light, b), _image(vertices, b)[0]
            visibility = None
            if light is not None and shadows:
                directions = _image(light.directions, b)[0]
                visibility = light_visibility(vertices_b, casters, directions, surface.position, surface.normals)
            result[b][:, surface.pixels] = _shade_head(
                head, vertices_b, points_px[b], materials, here, visibility, style, surface
            )
        return result, seen.depth.flatten(1)

    front, depth = layer(torch.nonzero(~lashes).squeeze(1))
    if isinstance(background, Tensor):
        behind = background.repeat_interleave(supersample, dim=1).repeat_interleave(supersample, dim=2).flatten(1)
    else:
        behind = vertices.new_tensor(background)[:, None]
    color = srgb_to_linear(behind)[None]
    color = color + front[:, 3:] * (front[:, :3] - color)
    if style != "clay":
        lash, lash_depth = layer(torch.nonzero(lashes).squeeze(1))
        color = color + lash[:, 3:] * (lash_depth < depth)[:, None] * (lash[:, :3] - color)
    # Highlights above 1 are cut before averaging, or their edges would stay jagged.
    color = color.clamp(0, 1).reshape(batch, 3, fine.height, fine.width)
    return linear_to_srgb(functional.avg_pool2d(color, supersample)).clamp(0, 1)


def _shade_head(
    head: HeadModel,
    vertices: Tensor,
    points_px: Tensor,
    materials: Materials | None,
    light: Light | None,
    visibility: Tensor | None,
    style: str,
    surface: _Surface,
) -> Tensor:
    """Linear colour and alpha ``[4, N]`` of the covered pixels of one picture."""
    part = head.face_part.index_select(0, surface.rows)
    normals = surface.normals
    color = points_px.new_ones(4, part.shape[0])
    roughness = points_px.new_full((part.shape[0],), CLAY_ROUGHNESS)
    if style == "clay" or materials is None:
        color[:3] = srgb_to_linear(points_px.new_tensor(CLAY_SRGB))[:, None]
    else:
        maps = {
            "skin": materials.skin_albedo,
            "mouth": materials.mouth_albedo,
            "eye": materials.eye_albedo,
            "lash": materials.lash_albedo,
        }
        texels = _signed_area(head.uv[head.uv_faces]).abs() / _signed_area(points_px[head.faces][..., :2]).abs()
        for i, name in enumerate(PARTS):
            chosen = torch.nonzero(part == i).squeeze(1)
            if not len(chosen):
                continue
            uv, faces = surface.uv[chosen][None, None], surface.rows[chosen]
            image = maps[PART_TEXTURE[name]].to(color) / 255
            level = mip_level(texels[faces] * image.shape[-1] ** 2)[None, None]
            image = torch.cat([srgb_to_linear(image[:3]), image[3:]])
            color[: len(image), chosen] = sample_texture(image[None], uv, level)[0, :, 0]
            if name == "skin":
                roughness[chosen] = sample_texture((materials.skin_roughness.to(color) / 255)[None], uv)[0, 0, 0]
                if light is not None and materials.skin_normal is not None:
                    relief = materials.skin_normal.to(color) / 127.5 - 1
                    level = mip_level(texels[faces] * relief.shape[-1] ** 2)[None, None]
                    tangent_space = sample_texture(relief[None], uv, level)[0, :, 0].T
                    along = _directions(head, vertices, faces, surface.weights[chosen])
                    normals = normals.index_copy(0, chosen, bend_normals(normals[chosen], *along, tangent_space))
            else:
                roughness[chosen] = PART_ROUGHNESS[name]
    if light is not None:
        normals, view = normals[None], surface.view[None]
        arrives = None if visibility is None else visibility[None]
        highlights = specular_light(light, normals, view, roughness[None, :, None], visibility=arrives)
        color[:3] = color[:3] * diffuse_light(light, normals, arrives)[0].T + highlights[0].T
    return color


def _directions(head: HeadModel, vertices: Tensor, faces: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Along rising u and v ``[N, 3]`` each, at points of faces ``[N]`` of the skin."""
    skin = head.part_faces("skin")
    gradients = texture_gradients(vertices, head.faces[skin], head.uv, head.uv_faces[skin]).flatten(1)
    both = _weighted(at_corners(gradients, head.uv_faces), faces, weights).T
    return both[:, :3], both[:, 3:]
