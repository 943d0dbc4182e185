"""Nearest points are exact, and maps that are known on both sides arrive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from tiny_head import tiny_head
from torch import Tensor

from core.atlas import atlas_lookup, interpolate, positions
from core.errors import LikenessError
from core.head import PARTS
from core.mesh import Mesh
from core.surface_transfer import (
    TransferredMap,
    TransferSettings,
    bent_to,
    from_atlas,
    nearest_on_mesh,
    to_atlas,
    windowed,
)


def random_mesh(seed: int, count: int = 60) -> tuple[Tensor, Tensor]:
    """A soup of triangles of sizes from 0.001 to 1, one of them without area."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(-3, 0, (count, 1, 1))
    corners = rng.uniform(-1, 1, (count, 1, 3)) + size * rng.normal(size=(count, 3, 3))
    corners[0] = corners[0, :1]
    return torch.from_numpy(corners.reshape(-1, 3)), torch.arange(3 * count).reshape(-1, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nearest_points_equal_an_independent_implementation(seed: int):
    """Against trimesh's triangle test over all triangles, one by one."""
    vertices, faces = random_mesh(seed)
    points = torch.from_numpy(np.random.default_rng(seed + 9).uniform(-1.5, 1.5, (300, 3)))
    hit = nearest_on_mesh(points, vertices, faces)
    triangles = vertices[faces].numpy()
    least = np.full(len(points), np.inf)
    for triangle in triangles[1:]:
        near = trimesh.triangles.closest_point(np.repeat(triangle[None], len(points), 0), points.numpy())
        least = np.minimum(least, np.linalg.norm(near - points.numpy(), axis=1))
    least = np.minimum(least, np.linalg.norm(triangles[0, 0] - points.numpy(), axis=1))
    np.testing.assert_allclose(hit.distance.numpy(), least, atol=1e-9)
    place = (vertices[faces[hit.face]] * hit.barycentric[..., None]).sum(1)
    np.testing.assert_allclose((place - points).norm(dim=1).numpy(), least, atol=1e-9)
    assert (hit.barycentric >= 0).all() and torch.allclose(hit.barycentric.sum(1), torch.ones(300).double())


def test_points_on_the_surface_find_themselves_and_borders_are_told():
    vertices = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    points = torch.tensor([[0.7, 0.2, 0.0], [0.5, 0.5, 0.3], [2.0, 0.5, 0.0], [0.5, -1.0, 0.2]])
    hit = nearest_on_mesh(points, vertices, faces)
    assert torch.allclose(hit.distance, torch.tensor([0.0, 0.3, 1.0, 1.04**0.5]))
    # The diagonal is an edge too, but of both triangles.
    assert hit.on_border.tolist() == [False, False, True, True]


def test_bending_meets_the_targets_and_keeps_affine_maps():
    rng = torch.Generator().manual_seed(0)
    landmarks, vertices = (torch.randn(n, 3, generator=rng) for n in (20, 50))
    matrix, move = torch.randn(3, 3, generator=rng), torch.randn(3, generator=rng)
    bent = bent_to(vertices, landmarks, landmarks @ matrix.T + move)
    assert torch.allclose(bent, vertices @ matrix.T + move, atol=1e-4)
    targets = landmarks + 0.1 * torch.randn(20, 3, generator=rng)
    assert torch.allclose(bent_to(landmarks, landmarks, targets), targets, atol=1e-5)
    # Twice the same landmark: the mean of both targets.
    doubled = bent_to(landmarks, landmarks[[*range(20), 0]], torch.cat([targets, targets[:1] + 0.2]))
    assert torch.allclose(doubled[0], targets[0] + 0.1, atol=1e-5)
    for few in (landmarks[:3], landmarks * torch.tensor([1.0, 1.0, 0.0])):
        with pytest.raises(LikenessError, match="cannot be bent"):
            bent_to(vertices, few, few)


def foreign_ball(head, radius: float = 1.0) -> Mesh:
    """The head's own skin, cut differently: finer, with the axes' angles swapped in its texture space."""
    ball = trimesh.creation.icosphere(subdivisions=5)
    points = np.asarray(ball.vertices)
    front = points[np.asarray(ball.faces)].mean(1)[:, 2] > 0.1
    # An orthographic map of the front: u from y, v from x.
    uv = np.stack([0.5 + 0.45 * points[:, 1], 0.5 + 0.45 * points[:, 0]], 1)
    faces = torch.from_numpy(np.asarray(ball.faces)[front].astype(np.int64))
    return Mesh(torch.from_numpy(points * 0.1 * radius).float(), faces, torch.from_numpy(uv).float(), faces)


def wave(points: Tensor) -> Tensor:
    """A smooth function of the place on the ball."""
    return (30 * points).sin().sum(-1) + 20 * points[..., 0]


def foreign_image(side: int = 512) -> Tensor:
    """`wave` in the foreign texture space, from its formula."""
    v, u = torch.meshgrid(1 - (torch.arange(side) + 0.5) / side, (torch.arange(side) + 0.5) / side, indexing="ij")
    y, x = (u - 0.5) / 0.45, (v - 0.5) / 0.45
    z = (1 - x**2 - y**2).clamp_min(0).sqrt()
    return wave(0.1 * torch.stack([x, y, z], -1))[None]


def test_a_known_field_arrives_in_the_atlas():
    head = tiny_head()
    vertices = head.template
    result = to_atlas(head, vertices, foreign_ball(head), foreign_image(), 96)
    expected = wave(positions(head, vertices, 96))
    assert (result.values[0] - expected)[result.valid].abs().max() < 0.05
    assert (result.values[0][~result.valid] == 0).all()
    z = positions(head, vertices, 96)[..., 2]
    inside = atlas_lookup(head, 96).inside
    assert result.valid[inside & (z > 0.02)].all() and not result.valid[(z < 0.005) | ~inside].any()


def test_a_known_field_arrives_in_the_foreign_map():
    head = tiny_head()
    field = interpolate(head, wave(head.template)[:, None], 256).permute(2, 0, 1)
    result = from_atlas(head, head.template, foreign_ball(head), field, 128)
    away = (result.values[0] - foreign_image(128)[0])[result.valid].abs()
    # The ball of ours is coarse: linear between vertices 14 degrees apart.
    assert away.max() < 0.5 and away.median() < 0.05
    centre = torch.stack(torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij"), -1) + 0.5 - 64
    radius = centre.norm(dim=-1) / 64 / 0.9
    assert result.valid[radius < 0.9].all() and not result.valid[radius > 1].any()


def test_there_and_back_is_where_it_was():
    head = tiny_head()
    foreign = foreign_ball(head)
    field = interpolate(head, wave(head.template)[:, None], 256).permute(2, 0, 1)
    there = from_atlas(head, head.template, foreign, field, 512)
    back = to_atlas(head, head.template, foreign, there.values, 256, known=there.valid)
    assert back.valid.float().mean() > 0.2
    assert (back.values - field)[:, back.valid].abs().max() < 0.1


def test_what_is_far_or_turned_away_is_not_valid():
    head = tiny_head()
    settings = TransferSettings(max_distance_m=0.005)
    ones = torch.ones(1, 8, 8)
    assert to_atlas(head, head.template, foreign_ball(head, 1.04), ones, 48, settings=settings).valid.any()
    assert not to_atlas(head, head.template, foreign_ball(head, 1.2), ones, 48, settings=settings).valid.any()
    flipped = foreign_ball(head)
    flipped = Mesh(flipped.vertices, flipped.faces.flip(1), flipped.uv, flipped.uv_faces)
    assert not to_atlas(head, head.template, flipped, ones, 48).valid.any()
    assert not from_atlas(head, head.template, flipped, ones, 48).valid.any()
    known = torch.zeros(8, 8, dtype=torch.bool)
    assert not to_atlas(head, head.template, foreign_ball(head), ones, 48, known=known).valid.any()


def test_only_skin_is_read():
    """The eyeballs of the tiny head stick out; nothing of their texture space may be sampled."""
    head = tiny_head()
    only = torch.zeros(head.template.shape[0], 1)
    only[head.faces[head.face_part != PARTS.index("skin")].unique()] = 1
    field = interpolate(head, only, 64).permute(2, 0, 1)
    assert from_atlas(head, head.template, foreign_ball(head), field, 64).values.abs().max() == 0


def test_a_window_is_a_part_of_the_map():
    head = tiny_head()
    whole, image = foreign_ball(head), foreign_image(512)
    part = windowed(whole, 0.25, 0.125, 0.75, 0.875)
    expected = to_atlas(head, head.template, whole, image, 64)
    found = to_atlas(head, head.template, part, image[:, 64:448, 128:384], 64)
    both = expected.valid & found.valid
    assert both.sum() > 0.3 * expected.valid.sum() and (found.valid <= expected.valid).all()
    assert (found.values - expected.values)[:, both].abs().median() < 1e-6


def test_impossible_transfers_are_sentences():
    head, foreign = tiny_head(), foreign_ball(tiny_head())
    with pytest.raises(LikenessError, match="0 texels a side"):
        to_atlas(head, head.template, foreign, torch.zeros(1, 2, 2), 0)
    with pytest.raises(LikenessError, match="no texture coordinates"):
        from_atlas(head, head.template, Mesh(foreign.vertices, foreign.faces), torch.zeros(1, 2, 2), 8)


def test_metres_become_the_micrometres_of_the_materials():
    values = torch.tensor([[0.0, 1e-6], [-2.6e-6, 1.0]])[None]
    result = TransferredMap(values, torch.ones(2, 2, dtype=torch.bool)).displacement()
    assert result.dtype == torch.int16 and result[0].tolist() == [[0, 1], [-3, 32767]]
