"""The renderer against brute force, exact areas, quadrature and central differences."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from core.atlas import atlas_lookup, positions
from core.camera import Camera, axis_angle_to_matrix, look_at_head
from core.color import linear_to_srgb, srgb_to_linear
from core.environment import environment_light
from core.head import PARTS, load_head
from core.mesh import texture_gradients, vertex_normals
from core.occlusion import light_visibility
from core.raster import (
    NEAR_M,
    fragments,
    interpolate,
    mip_level,
    project,
    rasterize,
    sample_texture,
)
from core.render import SkinMaps, antialias, face_neighbours, render, render_head, render_uv, skin_maps
from core.shading import (
    Light,
    attach_to_camera,
    bend_normals,
    diffuse_light,
    irradiance_basis,
    sh_basis,
    specular_light,
    studio_light,
)
from core.synthesis.relief import normal_map
from tests.tiny_head import make_materials, tiny_head

F64 = torch.float64


def camera_at(
    distance: float = 0.6, height: int = 32, width: int = 32, focal: float = 60.0, yaw: float = 0.0
) -> Camera:
    return look_at_head(
        torch.tensor([yaw], dtype=F64),
        torch.zeros(1, dtype=F64),
        distance,
        torch.zeros(3, dtype=F64),
        focal,
        height,
        width,
    )


def ball(subdivisions: int, radius: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return torch.tensor(np.asarray(mesh.vertices), dtype=F64)[None], torch.tensor(np.asarray(mesh.faces)).long()


def image_plane(points: list[list[float]]) -> torch.Tensor:
    """Pixel coordinates at depth 1."""
    xy = torch.tensor(points, dtype=F64)
    return torch.cat([xy, torch.ones(len(points), 1, dtype=F64)], dim=1)[None]


def brute_force(
    points_px: torch.Tensor, faces: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every face against every pixel by edge functions: the nearest face, and which pixels are a matter of rounding."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    best = torch.full((height, width), math.inf, dtype=F64)
    second = best.clone()
    result = torch.full((height, width), -1)
    doubtful = torch.zeros(height, width, dtype=torch.bool)
    for index, face in enumerate(faces.tolist()):
        p = points_px[face].double()
        if not torch.isfinite(p).all() or (p[:, 2] <= NEAR_M).any():
            continue
        edges = []
        for i in range(3):
            a, b = p[(i + 1) % 3], p[(i + 2) % 3]
            edges.append((a[0] - x) * (b[1] - y) - (b[0] - x) * (a[1] - y))
            length = float((b - a)[:2].norm()) + 1e-300
            # nearer to the line than double precision can tell for coordinates of this size
            doubtful |= edges[-1].abs() / length < 1e-9 * max(1.0, float(p[:, :2].abs().max()))
        area = sum(edges)
        if float(area.abs().max()) == 0:
            continue
        inside = torch.stack([e * area.sign() > 0 for e in edges]).all(0)
        depth = area / sum(e / p[i, 2] for i, e in enumerate(edges))
        depth = torch.where(inside, depth, math.inf)
        closer = depth < best
        second = torch.where(closer, best, torch.minimum(second, depth))
        best, result = torch.where(closer, depth, best), torch.where(closer, index, result)
    tie = torch.isfinite(second) & ((second - best) < 1e-6 * best)
    return result, doubtful | tie


# ------------------------------------------------------------------------------------------------ visibility


@pytest.mark.parametrize("kind", ["ordinary", "tiny", "huge", "off-screen", "degenerate", "near plane", "far"])
def test_rasterize_equals_brute_force(kind: str) -> None:
    generator = torch.Generator().manual_seed(len(kind))
    height, width, count = 37, 53, 40

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=F64)

    centre = uniform(count, 1, 2) * torch.tensor([width, height])
    spread = {"ordinary": 15.0, "tiny": 0.7, "huge": 1e5, "off-screen": 30.0}.get(kind, 15.0)
    if kind == "off-screen":
        centre = centre * 6 - 3 * torch.tensor([width, height])
    xy = centre + (uniform(count, 3, 2) - 0.5) * 2 * spread
    z = 0.5 + 2.5 * uniform(count, 3, 1)
    if kind == "degenerate":
        xy[::4, 1] = xy[::4, 0]  # two corners in one place
        xy[1::4, 2] = (xy[1::4, 0] + xy[1::4, 1]) / 2  # three on a line
        xy[2::4] = xy[2::4, :1]  # all in one place
    if kind == "near plane":
        z[::3, 0] = -z[::3, 0]
        z[1::6, 1] = 0.0
        z[4::6, 2] = math.nan
        xy[5::6, 2, 0] = math.inf
    if kind == "far":
        z = z * 1e12
    points = torch.cat([xy, z], dim=2).reshape(-1, 3)
    faces = torch.arange(3 * count).reshape(-1, 3)
    found = rasterize(points[None], faces, height, width)[0]
    expected, doubtful = brute_force(points, faces, height, width)
    assert doubtful.float().mean() < 0.2
    assert torch.equal(found[~doubtful], expected[~doubtful])
    assert (found >= 0).any() == (expected >= 0).any()
    if kind not in ("tiny", "off-screen"):
        assert (found >= 0).sum() > 100


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-8, 40), st.integers(-8, 40)), min_size=9, max_size=9),
    st.sampled_from([(32, 32), (17, 31), (1, 7)]),
)
def test_grid_aligned_meshes_have_no_pinholes_and_no_overlaps(
    jitter: list[tuple[int, int]], size: tuple[int, int]
) -> None:
    """A 2 x 2 mesh of quads with corners on half and whole pixels: each pixel inside is claimed exactly once."""
    height, width = size
    grid = torch.tensor([[x, y] for y in (0.0, 12.0, 24.0) for x in (0.0, 12.0, 24.0)], dtype=F64)
    # Small moves keep the quads convex; halves put corners and edges exactly on pixel centres.
    grid = grid + torch.tensor(jitter, dtype=F64).remainder(7) * 0.5
    points = image_plane(grid.tolist())
    faces = torch.tensor(
        [t for y in (0, 1) for x in (0, 1) for o in (3 * y + x,) for t in ([o, o + 3, o + 1], [o + 1, o + 3, o + 4])]
    )
    claims = sum((rasterize(points, faces[i : i + 1], height, width) >= 0).int() for i in range(len(faces)))
    assert claims.max() <= 1
    together = rasterize(points, faces, height, width) >= 0
    assert torch.equal(together, claims > 0)
    # No pinholes: the outline alone, triangulated as a fan around the middle point, covers the same pixels.
    ring = [0, 1, 2, 5, 8, 7, 6, 3]
    fan = torch.tensor([[4, ring[(i + 1) % 8], ring[i]] for i in range(8)])
    assert torch.equal(rasterize(points, fan, height, width) >= 0, together)


def test_a_shared_edge_through_pixel_centres_belongs_to_one_side() -> None:
    points = image_plane([[0, 0], [8, 0], [8, 8], [0, 8]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    face_index = rasterize(points, faces, 8, 8)[0]
    assert (face_index >= 0).all()
    assert (face_index == 0).sum() + (face_index == 1).sum() == 64
    assert (face_index.diagonal() == 0).all()  # the diagonal is the left edge of the upper right face


def test_closed_meshes_are_watertight_from_both_sides() -> None:
    """Seen through a closed surface, exactly the pixels with a front face have a back face."""
    vertices, faces = ball(3)
    for size, yaw in ((64, 0.0), (65, 0.3), (31, 1.1)):
        points = project(vertices, camera_at(height=size, width=size + 6, focal=3.0 * size, yaw=yaw))
        front = rasterize(points, faces, size, size + 6, cull_backfaces=True)
        back = rasterize(points, faces.flip(1), size, size + 6, cull_backfaces=True)
        assert (front >= 0).any()
        assert torch.equal(front >= 0, back >= 0)
        assert torch.equal(front, rasterize(points, faces, size, size + 6))
        rows = (front[0] >= 0).int()
        assert (rows.diff(dim=1).abs().sum(1) <= 2).all()  # a ball's rows are unbroken


def test_covered_area_and_depth_order() -> None:
    points = image_plane([[3.2, 4.1], [55.7, 12.9], [20.3, 60.4]])
    face_index = rasterize(points, torch.tensor([[0, 1, 2]]), 64, 64)
    a, b, c = points[0, :, :2]
    area = 0.5 * abs(float((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]))
    assert abs(int((face_index >= 0).sum()) - area) < 0.01 * area

    near_and_far = torch.cat([points, points + torch.tensor([0.0, 0.0, 1.5])], dim=1)
    both = rasterize(near_and_far, torch.tensor([[3, 4, 5], [0, 1, 2]]), 64, 64)
    assert torch.equal(both >= 0, face_index >= 0)
    assert (both[both >= 0] == 1).all()
    same_place = rasterize(points, torch.tensor([[1, 2, 0], [0, 1, 2]]), 64, 64)
    assert (same_place[same_place >= 0] == 0).all()  # ties go to the smaller index


def test_nothing_to_see() -> None:
    points = image_plane([[-30, -30], [-10, -30], [-20, -10]])
    faces = torch.tensor([[0, 1, 2]])
    assert (rasterize(points, faces, 5, 9) == -1).all()
    assert (rasterize(points, faces[:0], 5, 9) == -1).all()
    vertices, faces = ball(1)
    camera = camera_at(height=7, width=5)
    away = replace(camera, T_camera_head=torch.diag(torch.tensor([1, 1, -1, 1], dtype=F64)) @ camera.T_camera_head)
    seen = fragments(vertices, faces, away)
    assert (seen.face_index == -1).all() and (seen.barycentric == 0).all() and torch.isinf(seen.depth).all()
    uv = torch.zeros(1, 2, dtype=F64)
    uv_faces = torch.zeros_like(faces)
    texture = torch.ones(1, 3, 2, 2, dtype=F64)
    picture = render(vertices, faces, away, None, uv, uv_faces, [texture], background=torch.tensor(0.25, dtype=F64))
    assert (picture.color_linear == 0.25).all() and (picture.alpha == 0).all()


# ------------------------------------------------------------------------------ barycentrics and attributes


def test_fragments_reproduce_rays_depth_and_positions() -> None:
    vertices, faces = ball(2)
    camera = camera_at(height=41, width=47, focal=130.0, yaw=0.4)
    seen = fragments(vertices, faces, camera)
    hit = seen.face_index >= 0
    assert hit.sum() > 300
    assert torch.allclose(seen.barycentric.sum(-1)[hit], torch.ones(1, dtype=F64), atol=1e-12)
    assert seen.barycentric[hit].min() > -1e-9
    position = interpolate(seen, vertices[:, faces])
    again = project(position[hit][None], camera)[0]
    y, x = torch.nonzero(hit[0], as_tuple=True)
    assert (again[:, 0] - x - 0.5).abs().max() < 1e-9 and (again[:, 1] - y - 0.5).abs().max() < 1e-9
    assert torch.allclose(again[:, 2], seen.depth[hit], atol=1e-12)
    assert (position[~hit] == 0).all() and torch.isinf(seen.depth[~hit]).all()


def test_single_precision_barycentrics_stay_inside_at_distances_of_several_metres() -> None:
    vertices, faces = ball(4)
    camera = camera_at(distance=5.0, height=96, width=96, focal=2000.0)
    camera = replace(
        camera,
        T_camera_head=camera.T_camera_head.float(),
        focal_px=camera.focal_px.float(),
        principal_px=camera.principal_px.float(),
    )
    seen = fragments(vertices.float(), faces, camera)
    hit = seen.face_index >= 0
    assert hit.sum() > 3000 and seen.depth[hit].min() > 4.8
    assert seen.barycentric[hit].min() > -1e-2 and seen.barycentric[hit].max() < 1 + 1e-2


def test_perspective_correct_interpolation_of_a_receding_plane() -> None:
    """On a plane through known points, u as a linear function of position must come out as that function."""
    vertices = torch.tensor([[[-0.1, -0.1, 0.2], [0.1, -0.1, 0.2], [0.1, 0.1, -0.8], [-0.1, 0.1, -0.8]]], dtype=F64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    seen = fragments(vertices, faces, camera_at(distance=0.6, height=64, width=64, focal=150.0))
    position = interpolate(seen, vertices[:, faces])
    u = interpolate(seen, (vertices[..., 2:] * 3 + vertices[..., 1:2])[:, faces])[..., 0]
    hit = seen.face_index >= 0
    assert hit.sum() > 500 and seen.depth[hit].max() > 2 * seen.depth[hit].min()
    assert torch.allclose(u[hit], (position[..., 2] * 3 + position[..., 1])[hit], atol=1e-12)


def test_batches_of_heads_and_views_equal_single_ones() -> None:
    vertices, faces = ball(2)
    heads = torch.cat([vertices, vertices * torch.tensor([0.7, 1.2, 0.9], dtype=F64)])
    cameras = look_at_head(
        torch.tensor([0.0, 0.9], dtype=F64),
        torch.tensor([0.2, -0.1], dtype=F64),
        0.6,
        torch.zeros(3, dtype=F64),
        70.0,
        33,
        29,
    )
    light, texture = double(studio_light()), torch.rand(2, 3, 8, 8, dtype=F64)
    uv, uv_faces = vertices[0, :, :2] * 4 + 0.5, faces

    def one(b: int) -> Camera:
        part = {k: getattr(cameras, k)[b : b + 1] for k in ("T_camera_head", "focal_px", "principal_px")}
        return replace(cameras, **part)

    together = render(heads, faces, cameras, light, uv, uv_faces, [texture], roughness=0.4)
    for b in range(2):
        alone = render(heads[b : b + 1], faces, one(b), light, uv, uv_faces, [texture[b : b + 1]], roughness=0.4)
        assert torch.equal(together.fragments.face_index[b], alone.fragments.face_index[0])
        assert torch.allclose(together.color_linear[b], alone.color_linear[0], atol=1e-12)
        assert torch.allclose(together.alpha[b], alone.alpha[0], atol=1e-12)
    shared_camera = render(heads, faces, one(0), light, uv, uv_faces, [texture])
    shared_head = render(vertices, faces, cameras, light, uv, uv_faces, [texture[:1]])
    assert torch.equal(shared_camera.fragments.face_index[0], together.fragments.face_index[0])
    assert torch.equal(shared_head.fragments.face_index[0], together.fragments.face_index[0])
    assert shared_head.color_linear.shape == (2, 3, 33, 29)


def test_texture_convention_and_mip_levels() -> None:
    texture = torch.rand(1, 3, 8, 8, dtype=F64)
    corner = torch.tensor([[[[0.5 / 8, 1 - 0.5 / 8], [1 - 0.5 / 8, 0.5 / 8], [-3.0, 9.0]]]], dtype=F64)
    sampled = sample_texture(texture, corner)[0, :, 0]
    assert torch.allclose(sampled[:, 0], texture[0, :, 0, 0])  # row 0 is v = 1
    assert torch.allclose(sampled[:, 1], texture[0, :, -1, -1])
    assert torch.allclose(sampled[:, 2], texture[0, :, 0, 0])  # clamped at the border
    uv = torch.rand(1, 5, 6, 2, dtype=F64)
    for level in (0.0, 1.0, 2.0):
        pooled = functional.avg_pool2d(texture, 2 ** int(level)) if level else texture
        expected = sample_texture(pooled, uv)
        assert torch.allclose(sample_texture(texture, uv, torch.full((1, 5, 6), level, dtype=F64)), expected)
    far = sample_texture(texture, uv, torch.full((1, 5, 6), 30.0, dtype=F64))
    assert torch.allclose(far, texture.mean((2, 3), keepdim=True).expand_as(far))
    half = sample_texture(texture, uv, torch.full((1, 5, 6), 0.5, dtype=F64))
    assert torch.allclose(
        half, (sample_texture(texture, uv) + sample_texture(functional.avg_pool2d(texture, 2), uv)) / 2
    )
    levels = mip_level(torch.tensor([0.25, 1.0, 4.0, 16.0, math.inf, math.nan]))
    assert levels[:4].tolist() == [0, 0, 1, 2] and torch.isfinite(levels).all()


# ------------------------------------------------------------------------------------------------ silhouettes


def test_face_neighbours() -> None:
    tetrahedron = torch.tensor([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
    neighbours = face_neighbours(tetrahedron)
    for f in range(4):
        for corner in range(3):
            shared = set(tetrahedron[f].tolist()) - {int(tetrahedron[f, corner])}
            assert shared <= set(tetrahedron[neighbours[f, corner]].tolist()) and neighbours[f, corner] != f
    assert (face_neighbours(tetrahedron[:1]) == -1).all()
    fin = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])  # three faces on one edge
    assert (face_neighbours(fin) == -1).all()
    assert face_neighbours(tetrahedron[:0]).shape == (0, 3)


def trapezoid(points: torch.Tensor) -> torch.Tensor:
    """Summed anti-aliased coverage of a flat quad in a 32 x 32 picture."""
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    points_px = torch.cat([points, torch.ones(4, 1, dtype=F64)], dim=1)[None]
    camera = Camera(torch.eye(4, dtype=F64)[None], torch.ones(1, dtype=F64), torch.zeros(1, 2, dtype=F64), 32, 32)
    seen = fragments(points_px, faces, camera)  # this camera maps (x, y, 1) to the pixel (x, y)
    alpha = (seen.face_index >= 0)[:, None].double()
    return antialias(alpha, seen, points_px, faces).sum()


# Level edges on pixel borders, so that rows are sampled at their middle and their summed length is the exact area.
CORNERS = [[6.3, 4.0], [21.2, 4.0], [27.9, 27.0], [9.8, 27.0]]


def quad_area(points: torch.Tensor) -> torch.Tensor:
    x, y = points.T
    return 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum()


def test_smoothed_coverage_is_the_exact_area_and_so_is_its_gradient_across_the_sides() -> None:
    points = torch.tensor(CORNERS, dtype=F64, requires_grad=True)
    coverage, area = trapezoid(points), quad_area(points)
    assert abs(float(coverage.detach() - area.detach())) < 1e-9
    (gradient,) = torch.autograd.grad(coverage, points)
    (expected,) = torch.autograd.grad(area, points)
    assert torch.allclose(gradient[:, 0], expected[:, 0], atol=1e-9)
    assert (gradient[[0, 3], 0] < 0).all() and (gradient[[1, 2], 0] > 0).all()  # outward raises coverage


def test_smoothed_coverage_is_continuous_where_the_hard_picture_jumps() -> None:
    points = torch.tensor(CORNERS, dtype=F64)
    shift = torch.tensor([[0, 0], [1, 0], [1, 0], [0, 0]], dtype=F64)  # the right side moves out
    totals = torch.stack([trapezoid(points + s * shift) for s in torch.linspace(0, 2, 401, dtype=F64)])
    assert torch.allclose(totals.diff(), torch.full((400,), 23 * 2 / 400, dtype=F64), atol=1e-9)


def test_level_edges_and_silhouettes_against_another_surface() -> None:
    """The bottom edge of a near card in front of a far one: its downward gradient replaces far by near colour."""
    behind = [[-0.3, -0.3, 0], [0.3, -0.3, 0], [0.3, 0.3, 0], [-0.3, 0.3, 0]]
    card = [[-0.05, -0.033, 0.1], [0.05, -0.033, 0.1], [0.05, 0.05, 0.1], [-0.05, 0.05, 0.1]]
    vertices = torch.tensor(behind + card, dtype=F64)[None].requires_grad_()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    uv = torch.tensor([[0.25, 0.5], [0.75, 0.5]], dtype=F64)
    uv_faces = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]])
    texture = torch.zeros(1, 3, 2, 2, dtype=F64)
    texture[..., 1] = 1.0  # the near card is white
    picture = render(vertices, faces, camera_at(), None, uv, uv_faces, [texture])
    (gradient,) = torch.autograd.grad(picture.color_linear.sum(), vertices)
    assert (gradient[0, 4:6, 1] < 0).all() and (gradient[0, 6:, 1] > 0).all()
    assert (gradient[0, [4, 7], 0] < 0).all() and (gradient[0, 5:7, 0] > 0).all()
    # The card covers about 0.1 x 0.083 m at 0.5 m with a focal length of 60 px.
    assert abs(float(picture.color_linear[:, 0].detach().sum()) - 0.1 * 0.083 * (60 / 0.5) ** 2) < 3.0


def test_inner_edges_are_not_blended() -> None:
    vertices, faces = ball(2)
    camera = camera_at(height=64, width=64, focal=150.0)
    seen = fragments(vertices, faces, camera)
    noise = torch.rand(1, 2, 64, 64, dtype=F64)
    smooth = antialias(noise, seen, project(vertices, camera), faces)
    hit = (seen.face_index >= 0)[:, None].double()
    away_from_outline = functional.avg_pool2d(hit, 3, stride=1, padding=1).expand(-1, 2, -1, -1)
    interior = (away_from_outline == 1) | (away_from_outline == 0)
    assert torch.equal(smooth[interior], noise[interior]) and not torch.equal(smooth, noise)


# -------------------------------------------------------------------------------------------------- gradients


def double(light: Light) -> Light:
    return Light(light.sh.double(), light.directions.double(), light.colors.double())


@pytest.mark.parametrize("what", ["vertices", "texture", "sh", "directions", "colors", "pose", "focal", "background"])
def test_gradients_equal_central_differences(what: str) -> None:
    vertices, faces = ball(2)
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=F64)

    vertices = vertices * (1 + 0.1 * noise(1, vertices.shape[1], 1))
    camera, light = camera_at(height=40, width=36, focal=120.0, yaw=0.2), double(studio_light())
    uv = vertices[0, :, :2] * 4 + 0.5
    weights = noise(1, 3, 40, 36)
    inputs = {
        "vertices": vertices,
        "texture": noise(1, 3, 4, 4),
        "sh": light.sh,
        "directions": light.directions,
        "colors": light.colors,
        "pose": torch.zeros(6, dtype=F64),
        "focal": camera.focal_px,
        "background": noise(1, 3, 1, 1),
    }

    def loss(value: torch.Tensor) -> torch.Tensor:
        values = {**inputs, what: value}
        pose = torch.eye(4, dtype=F64)
        pose = torch.cat(
            [torch.cat([axis_angle_to_matrix(values["pose"][:3]), values["pose"][3:, None]], dim=1), pose[3:]], dim=0
        )
        moved = replace(camera, T_camera_head=(pose @ camera.T_camera_head), focal_px=values["focal"])
        lit = Light(values["sh"], values["directions"], values["colors"])
        picture = render(
            values["vertices"],
            faces,
            moved,
            lit,
            uv,
            faces,
            [values["texture"]],
            roughness=0.5,
            background=values["background"],
        )
        return (picture.color_linear * weights).sum() + (picture.alpha * weights[:, :1]).sum()

    value = inputs[what].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(value), value)
    assert gradient.abs().max() > 0
    for _ in range(4):
        direction = noise(*value.shape) - 0.5
        step = 1e-6
        with torch.no_grad():
            numeric = (loss(value + step * direction) - loss(value - step * direction)) / (2 * step)
        assert math.isclose(float(numeric), float((gradient * direction).sum()), rel_tol=2e-4, abs_tol=1e-6)


# --------------------------------------------------------------------------------------------------- lighting


def sphere_quadrature(n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Directions and solid angles that integrate smooth functions over the sphere (Gauss-Legendre x uniform)."""
    z, weight = np.polynomial.legendre.leggauss(n)
    phi = (np.arange(2 * n) + 0.5) * math.pi / n
    zz, pp = np.meshgrid(z, phi, indexing="ij")
    r = np.sqrt(1 - zz**2)
    directions = np.stack([r * np.cos(pp), r * np.sin(pp), zz], -1).reshape(-1, 3)
    return torch.tensor(directions), torch.tensor(np.repeat(weight, 2 * n) * math.pi / n)


def test_sh_basis_is_orthonormal() -> None:
    directions, solid_angle = sphere_quadrature(8)
    basis = sh_basis(directions)
    assert torch.allclose(torch.einsum("ni,nj,n->ij", basis, basis, solid_angle), torch.eye(9, dtype=F64), atol=1e-12)


def test_irradiance_is_the_cosine_integral_of_radiance() -> None:
    directions, solid_angle = sphere_quadrature(200)
    normals = functional.normalize(torch.randn(20, 3, dtype=F64, generator=torch.Generator().manual_seed(0)), dim=1)
    cosine = (normals @ directions.T).clamp_min(0)
    integral = torch.einsum("pn,ni,n->pi", cosine, sh_basis(directions), solid_angle) / math.pi
    assert torch.allclose(integral, irradiance_basis(normals), atol=1e-4)


def test_even_surroundings_and_facing_lights_give_one() -> None:
    normals = functional.normalize(torch.randn(1, 4, 5, 3, dtype=F64), dim=-1)
    even = Light(torch.zeros(1, 9, 3, dtype=F64), torch.zeros(1, 0, 3, dtype=F64), torch.zeros(1, 0, 3, dtype=F64))
    even.sh[:, 0] = math.sqrt(4 * math.pi)
    assert torch.allclose(diffuse_light(even, normals), torch.ones_like(normals))
    facing = Light(torch.zeros(1, 9, 3, dtype=F64), normals[:, :1, 0], torch.full((1, 1, 3), 0.7, dtype=F64))
    assert torch.allclose(diffuse_light(facing, normals)[0, 0, 0], torch.full((3,), 0.7, dtype=F64))
    assert torch.allclose(diffuse_light(facing, -normals)[0, 0, 0], torch.zeros(3, dtype=F64))


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_turning_the_light_and_the_surface_together_changes_nothing(values: list[float]) -> None:
    a, b = axis_angle_to_matrix(torch.tensor(values, dtype=F64).reshape(2, 3))[:, None]
    light = double(studio_light())
    light.sh[:] = torch.randn(1, 9, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    light.sh[:, 0] += 20  # positive everywhere: the clamp stays out of it
    normals = functional.normalize(torch.randn(1, 30, 3, dtype=F64, generator=torch.Generator().manual_seed(2)), dim=-1)
    turned = diffuse_light(light.rotated(a), torch.einsum("bij,bnj->bni", a, normals))
    assert torch.allclose(turned, diffuse_light(light, normals), atol=1e-6)
    twice, once = light.rotated(b).rotated(a), light.rotated(a @ b)
    assert torch.allclose(twice.sh, once.sh, atol=1e-5) and torch.allclose(twice.directions, once.directions, atol=1e-9)


def test_light_attached_to_the_frontal_camera_is_the_light_itself() -> None:
    light, camera = double(studio_light()), camera_at()
    same = attach_to_camera(light, camera)
    assert torch.allclose(same.sh, light.sh, atol=1e-6) and torch.allclose(
        same.directions, light.directions, atol=1e-12
    )
    left = attach_to_camera(light, camera_at(yaw=math.pi / 2))  # the camera's forward is -X, its right is -Z
    x, y, z = light.directions[0].unbind(1)
    assert torch.allclose(left.directions[0], torch.stack([z, y, -x], dim=1), atol=1e-12)


@pytest.mark.parametrize("roughness", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("elevation", [0.2, 0.7, 1.0])
def test_highlights_conserve_energy_and_are_reciprocal(roughness: float, elevation: float) -> None:
    view, solid_angle = sphere_quadrature(300)
    view, solid_angle = view[view[:, 2] > 0], solid_angle[view[:, 2] > 0]
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=F64)
    source = torch.tensor([math.sqrt(1 - elevation**2), 0.0, elevation], dtype=F64)

    def radiance(towards: torch.Tensor, viewer: torch.Tensor) -> torch.Tensor:
        light = Light(torch.zeros(1, 9, 3, dtype=F64), towards[None, None], torch.ones(1, 1, 3, dtype=F64))
        n = normal.expand_as(viewer)[None]
        return specular_light(light, n, viewer[None], torch.full_like(n[..., :1], roughness), reflectance=1.0)[0, :, 0]

    # Unit colour is an irradiance of pi on a facing surface, so pi * cos on this one.
    reflected = (radiance(source, view) * view[:, 2] * solid_angle).sum() / (math.pi * elevation)
    assert 0.3 < reflected <= 1.001
    if roughness == 0.25 and elevation > 0.5:
        assert reflected > 0.97  # one bounce loses little on a smooth mirror
    forth = radiance(source, view[1000:1001]) / elevation
    back = radiance(view[1000], source[None]) / view[1000, 2]
    assert torch.allclose(forth, back)


def test_shadows_fall_where_geometry_says() -> None:
    """A 4 cm plate 5 cm in front of a 20 cm wall: its parallel shadow is a 4 cm square, displaced by the light."""
    square = torch.tensor([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=F64)
    plate = square * 0.02 + torch.tensor([0, 0, 0.05], dtype=F64)
    vertices = torch.cat([square * 0.1, plate])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    directions = torch.tensor([[0, 0, 1], [1, 0, 1], [0, -1, 2], [0, 0, -1]], dtype=F64)
    directions = functional.normalize(directions, dim=1)
    x, y = torch.rand(2, 500, dtype=F64, generator=torch.Generator().manual_seed(5)) * 0.18 - 0.09
    points = torch.stack([x, y, torch.zeros_like(x)], dim=1)
    normals = torch.tensor([0.0, 0.0, 1.0], dtype=F64).expand_as(points)
    visible = light_visibility(vertices, faces, directions, points, normals)
    assert visible.shape == (500, 4) and visible.min() >= 0 and visible.max() <= 1
    for i, (shift_x, shift_y) in enumerate([(0.0, 0.0), (-0.05, 0.0), (0.0, 0.025)]):
        from_edge = torch.maximum((x - shift_x).abs(), (y - shift_y).abs()) - 0.02
        assert (visible[from_edge > 5e-3, i] > 0.999).all()
        assert (visible[from_edge < -5e-3, i] == 0).all() and (from_edge < -5e-3).any()
    assert (visible[:, 3] == 0).all()  # from behind the wall
    on_plate = torch.cat([points[:9, :2] * 0.1, torch.full((9, 1), 0.05, dtype=F64)], dim=1)
    assert (light_visibility(vertices, faces, directions[:3], on_plate, normals[:9]) > 0.999).all()  # no self-shadow
    assert light_visibility(vertices, faces, directions[:0], points, normals).shape == (500, 0)


def test_a_ball_shades_itself_only_where_it_faces_away() -> None:
    vertices, faces = ball(4)
    light = double(studio_light())
    points, normals = vertices[0], vertices[0] / 0.1
    visible = light_visibility(points, faces, light.directions[0], points, normals)
    cosine = normals @ light.directions[0].T
    assert (visible[cosine > 0.05] > 0.999).all() and (visible[cosine < -0.3] == 0).all()
    here = Light(torch.zeros(1, 9, 3, dtype=F64), light.directions, light.colors)
    assert torch.allclose(
        diffuse_light(here, normals[None], visible[None]), diffuse_light(here, normals[None]), atol=0.04
    )
    rough = torch.full((1, len(points), 1), 0.5, dtype=F64)
    none = torch.zeros(1, len(points), 3, dtype=F64)
    assert (specular_light(here, normals[None], normals[None], rough, visibility=none) == 0).all()


# ------------------------------------------------------------------------------------------------ whole heads


def single(camera: Camera) -> Camera:
    return replace(
        camera,
        T_camera_head=camera.T_camera_head.float(),
        focal_px=camera.focal_px.float(),
        principal_px=camera.principal_px.float(),
    )


def test_render_head_styles_and_batches() -> None:
    head, materials = tiny_head(), make_materials()
    vertices = head.vertices(head.neutral())
    camera = single(camera_at(height=48, width=40, focal=90.0))
    grey = (0.5, 0.25, 0.75)
    pictures = {
        s: render_head(head, vertices, materials, camera, style=s, background=grey)
        for s in ("textured", "albedo", "clay")
    }
    for picture in pictures.values():
        assert picture.shape == (1, 3, 48, 40) and picture.min() >= 0 and picture.max() <= 1
        assert torch.allclose(picture[0, :, 0, 0], torch.tensor(grey), atol=1e-5)
        assert not torch.allclose(picture[0, :, 24, 20], torch.tensor(grey), atol=0.02)
    assert not torch.allclose(pictures["textured"], pictures["albedo"], atol=0.02)
    assert torch.equal(pictures["clay"], render_head(head, vertices, None, camera, style="clay", background=grey))
    turned = single(camera_at(height=48, width=40, focal=90.0, yaw=0.5))
    both = replace(
        camera,
        **{
            k: torch.cat([getattr(camera, k), getattr(turned, k)])
            for k in ("T_camera_head", "focal_px", "principal_px")
        },
    )
    views = render_head(head, vertices, materials, both, background=grey)
    assert torch.allclose(views[0], pictures["textured"][0], atol=1e-5)
    assert torch.allclose(views[1], render_head(head, vertices, materials, turned, background=grey)[0], atol=1e-5)
    unlit = [render_head(head, vertices, materials, camera, style="albedo", shadows=s) for s in (True, False)]
    assert torch.equal(unlit[0], unlit[1])
    picture = torch.rand(3, 48, 40)
    over = render_head(head, vertices, materials, camera, background=picture)
    hidden = (pictures["textured"][0] - torch.tensor(grey)[:, None, None]).abs().amax(0) > 1e-4
    assert torch.allclose(over[0][:, ~hidden], picture[:, ~hidden], atol=1e-5)
    with pytest.raises(ValueError, match="wireframe"):
        render_head(head, vertices, materials, camera, style="wireframe")
    with pytest.raises(ValueError, match="materials"):
        render_head(head, vertices, None, camera)


def test_albedo_style_shows_the_maps_and_lashes_blend_by_alpha() -> None:
    head = tiny_head()
    # The lashes of this head touch its skin: lift them off so that they can be seen.
    vertices = head.vertices(head.neutral())
    vertices[:, head.faces[head.part_faces("lashes")].unique(), 2] += 0.02

    def flat(*rgb: int) -> torch.Tensor:
        return torch.tensor(rgb, dtype=torch.uint8)[:, None, None].repeat(1, 16, 16)

    skin, lash = (200, 150, 120), (20, 10, 30)
    camera = single(camera_at(height=192, width=192, focal=460.0))
    pictures = []
    for alpha in (0, 128, 255):
        materials = replace(
            make_materials(),
            skin_albedo=flat(*skin),
            skin_roughness=flat(128),
            eye_albedo=flat(*skin),
            mouth_albedo=flat(*skin),
            lash_albedo=flat(*lash, alpha),
            skin_photo=None,
            skin_normal=None,
        )
        pictures.append(render_head(head, vertices, materials, camera, style="albedo", supersample=3)[0])
    invisible, half, full = pictures
    skin_color, lash_color = torch.tensor(skin) / 255, torch.tensor(lash) / 255
    lashes = (full - lash_color[:, None, None]).abs().amax(0) < 1e-3
    assert lashes.sum() > 10
    assert torch.allclose(invisible[:, lashes], skin_color[:, None].expand(3, int(lashes.sum())), atol=1e-3)
    mixed = srgb_to_linear(skin_color) + 128 / 255 * (srgb_to_linear(lash_color) - srgb_to_linear(skin_color))
    assert torch.allclose(half[:, lashes], linear_to_srgb(mixed)[:, None].expand(3, int(lashes.sum())), atol=1e-3)
    outside = (invisible - full).abs().amax(0) == 0
    assert outside.float().mean() > 0.9  # nothing else changed


# ---------------------------------------------------------------------------------------------- normal mapping


def random_frames(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normals, and directions of u and v that are neither unit nor upright on anything; half of them left-handed."""
    random = torch.Generator().manual_seed(3)
    normals = functional.normalize(torch.randn(count, 3, dtype=F64, generator=random), dim=1)
    along_u, along_v = torch.randn(2, count, 3, dtype=F64, generator=random)
    return normals, along_u, along_v


def test_a_flat_normal_map_bends_nothing_and_a_tilted_one_turns_the_normal() -> None:
    normals, along_u, along_v = random_frames(50)
    flat = torch.tensor([0.0, 0.0, 2.5], dtype=F64).expand(50, 3)
    assert torch.allclose(bend_normals(normals, along_u, along_v, flat), normals, atol=1e-12)

    # A tilt by an angle towards u is a turn about the axis upright on normal and tangent, and so for v.
    angle = 0.4
    tangent = functional.normalize(along_u - (along_u * normals).sum(1, keepdim=True) * normals, dim=1)
    beside = torch.linalg.cross(normals, tangent)
    side = (beside * along_v).sum(1, keepdim=True).sign()
    for tilt, axis in (
        ([math.sin(angle), 0.0, math.cos(angle)], beside),
        ([0.0, math.sin(angle), math.cos(angle)], -side * tangent),
    ):
        turned = torch.einsum("nij,nj->ni", axis_angle_to_matrix(angle * axis), normals)
        bent = bend_normals(normals, along_u, along_v, torch.tensor(tilt, dtype=F64).expand(50, 3))
        assert torch.allclose(bent, turned, atol=1e-9)

    nowhere = torch.zeros_like(normals)
    tilted = torch.tensor([0.6, 0.0, 0.8], dtype=F64).expand(50, 3)
    assert torch.allclose(bend_normals(normals, nowhere, nowhere, tilted), normals, atol=1e-12)


def test_bent_normals_have_the_gradients_of_central_differences() -> None:
    normals, along_u, along_v = random_frames(4)
    tilted = torch.tensor([0.3, -0.2, 0.9], dtype=F64).repeat(4, 1)
    given = [value.requires_grad_() for value in (normals, along_u, along_v, tilted)]
    torch.autograd.gradcheck(bend_normals, given)
    vertices = torch.rand(4, 3, dtype=F64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uv = torch.tensor([[0.1, 0.1], [0.8, 0.2], [0.7, 0.9], [0.0, 0.8]], dtype=F64)
    torch.autograd.gradcheck(lambda v: texture_gradients(v, faces, uv, faces), [vertices])


def test_directions_of_an_affine_map_are_those_of_the_map() -> None:
    """A plane laid into the map by a shear, mirrored or not; a corner without faces has none."""
    places = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [5.0, 5.0]], dtype=F64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    for mirror in (1.0, -1.0):
        to_head = torch.tensor([[0.2, 0.1, 0.0], [0.05, 0.3, mirror * 0.4]], dtype=F64)
        found = texture_gradients(places @ to_head, faces, places, faces)
        assert torch.allclose(found[:4], to_head.expand(4, 2, 3), atol=1e-12)
        assert (found[4] == 0).all()


def test_a_normal_map_shades_like_the_relief_it_stands_for() -> None:
    """Waves as geometry and as a map: their pictures differ from the smooth head alike. On the forehead, which is
    smooth, so that nothing moves in the picture; long ones, as the mesh has few vertices there."""
    head = load_head()
    smooth = head.vertices(head.neutral())[0]

    def height(place: torch.Tensor) -> torch.Tensor:
        x, y = place[..., 0], place[..., 1]
        return 0.001 * (torch.sin(110 * x + 40 * y) + torch.cos(30 * x - 100 * y))

    waved = smooth + height(smooth)[:, None] * vertex_normals(smooth, head.faces)
    relief = normal_map(head, height(positions(head, smooth, 512)), smooth)

    def flat(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.uint8)[:, None, None].repeat(1, 16, 16)

    plain = replace(make_materials(), skin_albedo=flat(128, 128, 128), skin_roughness=flat(150), skin_photo=None)
    camera = single(camera_at(distance=1.0, height=128, width=128, focal=640.0))

    def picture(vertices: torch.Tensor, normals: torch.Tensor | None) -> torch.Tensor:
        materials = replace(plain, skin_normal=normals)
        return render_head(head, vertices[None], materials, camera, supersample=1, shadows=False)[0]

    before = picture(smooth, None)
    # 128 is not exactly half of 255.
    assert (picture(smooth, flat(128, 128, 255)) - before).abs().max() < 0.01
    forehead = (slice(None), slice(15, 45), slice(45, 83))
    real, mapped = ((picture(*one) - before)[forehead] for one in ((waved, None), (smooth, relief)))
    assert float((real * mapped).sum() / (real.norm() * mapped.norm())) > 0.95
    assert 0.7 < float(mapped.norm() / real.norm()) < 1.4


def test_pytorch3d_sees_the_same_faces() -> None:
    pytest.importorskip("pytorch3d", reason="PyTorch3D is not installed (it has no wheel for this platform)")
    from core import render_pytorch3d

    vertices, faces = ball(3)
    for height, width in ((64, 64), (48, 81), (81, 48)):
        points = project(vertices, camera_at(height=height, width=width, focal=150.0, yaw=0.3)).float()
        for cull in (False, True):
            ours = rasterize(points, faces, height, width, cull)
            theirs = render_pytorch3d.rasterize(points, faces, height, width, cull)
            assert (ours != theirs).float().mean() < 2e-3


def test_missing_pytorch3d_is_reported_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from core import render_pytorch3d

    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.mesh.rasterize_meshes", None)
    points, faces = image_plane([[0, 0], [1, 0], [0, 1]]), torch.tensor([[0, 1, 2]])
    with pytest.raises(ImportError, match=r"PyTorch3D, which could not be imported \(.+\)\. Install"):
        render_pytorch3d.rasterize(points, faces, 2, 2)


# --------------------------------------------------------------------------------------------------- in the atlas


def smooth_maps(size: int, seed: int = 0, batch: int = 1) -> SkinMaps:
    """Every map, random and smooth."""
    generator = torch.Generator().manual_seed(seed)

    def smooth(channels: int, low: float, high: float) -> torch.Tensor:
        coarse = low + (high - low) * torch.rand(batch, channels, 5, 5, generator=generator, dtype=F64)
        return functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(low, high)

    upwards = torch.tensor([0.0, 0.0, 1.0], dtype=F64)[:, None, None]
    return SkinMaps(
        smooth(3, 0.2, 0.8),
        smooth(1, 0.35, 0.7),
        smooth(1, 0.02, 0.06),
        smooth(3, -0.15, 0.15) + upwards,
        smooth(3, -0.05, 0.05) + upwards,
        smooth(1, 0.2, 0.9),
        smooth(1, 0.5, 1.0),
    )


def all_light() -> Light:
    """Two distant lamps, one of them wide, one at a place, and surroundings."""
    studio, generator = double(studio_light()), torch.Generator().manual_seed(4)
    room = environment_light(torch.rand(1, 3, 8, 16, generator=generator, dtype=F64), lamps=0)
    return Light(
        room.sh,
        studio.directions[:, :2],
        studio.colors[:, :2],
        torch.tensor([[[0.2, 0.1, 0.4]]], dtype=F64),
        torch.full((1, 1, 3), 0.05, dtype=F64),
        torch.tensor([[0.1, 0.0]], dtype=F64),
        room.reflections,
    )


def test_the_lit_map_is_what_a_camera_sees_of_the_skin() -> None:
    """Each pixel of the skin has the colour that `render_uv` gives its texel for this camera."""
    head, size = tiny_head(), 256
    maps = smooth_maps(size)
    assert maps.normal is not None and maps.diffuse_normal is not None and maps.reflectance is not None
    byte = {name: (value[0] * 255).round().clamp(0, 255).to(torch.uint8) for name, value in vars(maps).items()}
    materials = replace(
        make_materials(),
        skin_photo=None,
        skin_albedo=byte["albedo"],
        skin_roughness=byte["roughness"],
        skin_normal=((maps.normal[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8),
        skin_diffuse_normal=((maps.diffuse_normal[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8),
        skin_specular=(maps.reflectance[0] / 0.08 * 255).round().to(torch.uint8),
        skin_translucency=byte["translucency"],
        skin_occlusion=byte["occlusion"],
    )
    camera, light = single(camera_at(0.5, 96, 96, 200.0, 0.5)), all_light().to(torch.float32)
    picture = render_head(
        head, head.template[None], materials, camera, light, supersample=1, background=(0.0, 0.0, 0.0)
    )
    decoded = skin_maps(materials, size)
    lit = render_uv(head, head.template[None], decoded, light, camera.centre)
    seen = fragments(head.template[None], head.faces, camera)
    skin = (seen.face_index[0] >= 0) & (head.face_part[seen.face_index[0].clamp_min(0)] == 0)
    uv = interpolate(seen, head.uv[head.uv_faces][None])
    found = linear_to_srgb(sample_texture(lit, uv)).clamp(0, 1)
    error = (found - picture).abs()[0][:, skin]
    assert int(skin.sum()) > 1000
    assert error.median() < 0.005 and error.quantile(0.95) < 0.03  # shadows' edges are a texel wide
    with_gain = render_uv(head, head.template[None], decoded, light, camera.centre + torch.tensor([[0.4, 0.0, 0.0]]))
    assert (with_gain - lit).abs().mean() > 1e-4  # highlights move with the camera


def test_maps_that_are_absent_are_neutral_ones() -> None:
    head, light = tiny_head(), all_light().to(torch.float32)
    flat = torch.zeros(1, 3, 32, 32)
    flat[:, 2] = 1
    one = torch.ones(1, 1, 32, 32)
    albedo = smooth_maps(32).albedo.float()
    neutral = SkinMaps(albedo, 0.6 * one, 0.028 * one, flat, flat, 0 * one, one)
    for shadows in (True, False):
        bare, full = (
            render_uv(head, head.template[None], maps, light, shadows=shadows) for maps in (SkinMaps(albedo), neutral)
        )
        assert torch.allclose(bare, full, atol=1e-5)
    lookup = atlas_lookup(head, 32)
    assert torch.equal(bare.flatten(2), bare.flatten(2)[:, :, lookup.nearest.flatten()])


def test_a_batch_of_maps_is_lit_as_single_ones() -> None:
    head, light = tiny_head(), all_light()
    maps = smooth_maps(24, batch=2)
    vertices, centre = head.template.double()[None], torch.tensor([[0.1, 0.0, 0.5], [-0.3, 0.1, 0.4]], dtype=F64)
    both = render_uv(head, vertices, maps, light, centre)
    for b in range(2):
        single_maps = SkinMaps(*(value[b : b + 1] for value in vars(maps).values()))
        assert torch.allclose(both[b], render_uv(head, vertices, single_maps, light, centre[b : b + 1])[0])


@pytest.mark.parametrize("diffusion", [False, True])
def test_the_lit_map_has_the_gradients_of_central_differences(diffusion: bool) -> None:
    head, maps, light = tiny_head(), smooth_maps(16), all_light()
    generator = torch.Generator().manual_seed(9)
    weights = torch.rand(1, 3, 16, 16, generator=generator, dtype=F64)
    inputs = {
        **vars(maps),
        "vertices": head.template.double()[None],
        "centre": torch.tensor([[0.1, 0.0, 0.5]], dtype=F64),
    }
    inputs |= {name: value for name, value in vars(light).items() if value is not None}

    def loss(values: dict[str, torch.Tensor]) -> torch.Tensor:
        given = SkinMaps(**{name: values[name] for name in vars(maps)})
        lit = replace(light, **{name: values[name] for name in vars(light) if name in values})
        # Visibility has no gradient: without it what is measured is what is differentiated.
        picture = render_uv(head, values["vertices"], given, lit, values["centre"], shadows=False, diffusion=diffusion)
        return (picture * weights).sum()

    for what, start in inputs.items():
        value = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss({**inputs, what: value}), value)
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 0, what
        direction = torch.rand(start.shape, generator=generator, dtype=F64) - 0.5
        step = 1e-7 if what == "vertices" else 1e-6
        ahead, behind = (float(loss({**inputs, what: start + sign * step * direction})) for sign in (1, -1))
        exact = float((gradient * direction).sum())
        assert math.isclose((ahead - behind) / (2 * step), exact, rel_tol=1e-3, abs_tol=1e-5), what


def test_diffusion_blurs_red_the_farthest_and_loses_no_light() -> None:
    """The lit map of a head of 1 cm, whose texels are about as large as the blur, comes out softer, red most."""
    head, size = tiny_head(), 128
    vertices = 0.1 * head.template.double()[None]
    one = torch.ones(1, 1, size, size, dtype=F64)
    maps = SkinMaps(one.expand(-1, 3, -1, -1), one, translucency=0.5 * one)
    light = replace(all_light(), reflections=None)
    sharp, soft = (render_uv(head, vertices, maps, light, shadows=False, diffusion=on) for on in (False, True))
    inside = atlas_lookup(head, size).inside
    change = (soft - sharp).abs()[0][:, inside].mean(dim=1)
    assert change[0] > change[1] > change[2] > 0
    assert torch.allclose(soft[0][:, inside].mean(dim=1), sharp[0][:, inside].mean(dim=1), rtol=0.03)


def test_maps_of_the_skin_change_the_skin_alone() -> None:
    """Translucency, specular albedo and occlusion at work, each where it should be."""
    head, camera, materials = tiny_head(), single(camera_at(0.5, 64, 64, 130.0)), make_materials()
    light = all_light().to(torch.float32)
    full = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    seen = fragments(head.template[None], head.faces, camera).face_index[0]
    skin = (seen >= 0) & (head.face_part[seen.clamp_min(0)] == 0)

    def picture(**maps: torch.Tensor) -> torch.Tensor:
        given = replace(materials, **maps)
        return render_head(head, head.template[None], given, camera, light, supersample=1, background=(0.0, 0.0, 0.0))[
            0
        ]

    plain = picture()
    for name, brighter in (("skin_specular", True), ("skin_translucency", True), ("skin_occlusion", False)):
        changed = picture(**{name: full if brighter else full // 4})
        assert torch.allclose(changed[:, ~skin], plain[:, ~skin], atol=1e-5), name
        difference = (changed - plain)[:, skin]
        assert (difference >= -2e-3).all() if brighter else (difference <= 2e-3).all(), name
        assert difference.abs().mean() > 2e-3, name
    assert not torch.equal(
        render_head(head, head.template[None], materials, camera, light, specular_model="blinn-phong"),
        render_head(head, head.template[None], materials, camera, light),
    )


def test_light_goes_from_wall_to_wall_in_an_open_mouth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teeth in the lips' shade get some of what comes in, never more than without the shade; nothing else changes."""
    head, materials = load_head(), make_materials()
    parameters = head.neutral()
    expression = parameters.expression.clone()
    expression[0, head.expression_names.index("jawOpen")] = 0.6
    vertices = head.vertices(replace(parameters, expression=expression))
    camera = look_at_head(torch.zeros(1), torch.zeros(1), 0.5, torch.tensor([0.0, -0.03, 0.0]), 400.0, 96, 96)
    above = functional.normalize(torch.tensor([[[0.0, 0.7, 0.7]]]), dim=-1)
    light = Light(torch.zeros(1, 9, 3), above, torch.ones(1, 1, 3))
    seen = fragments(vertices, head.faces, camera).face_index[0]
    part = torch.where(seen < 0, -1, head.face_part[seen.clamp_min(0)])
    inner = torch.isin(part, torch.tensor([PARTS.index(name) for name in ("mouth", "teeth", "tongue")]))
    assert inner.sum() > 100

    def picture(shadows: bool = True) -> torch.Tensor:
        return render_head(head, vertices, materials, camera, light, supersample=1, shadows=shadows)[0]

    bounced, open_sky = picture(), picture(shadows=False)
    monkeypatch.setattr("core.render.MOUTH_ALBEDO", 0.0)
    direct = picture()
    gain = (bounced - direct)[:, inner]
    assert gain.min() > -1e-6 and gain.mean() > 0.01
    assert (bounced - open_sky)[:, inner].max() < 1e-4
    assert torch.equal(bounced[:, ~inner & (part >= 0)], direct[:, ~inner & (part >= 0)])
