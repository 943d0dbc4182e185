"""Mesh geometry: exact values on known solids, invariances, alignment of known motions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from core.camera import axis_angle_to_matrix
from core.mesh import (
    Mesh,
    compact,
    edge_rows,
    face_normals,
    loop_points,
    rigid_align,
    split_edges,
    unique_edges,
    vertex_normals,
)

F64 = torch.float64


def sphere() -> tuple[torch.Tensor, torch.Tensor]:
    solid = trimesh.creation.icosphere(subdivisions=3)
    return torch.tensor(np.asarray(solid.vertices), dtype=F64), torch.tensor(np.asarray(solid.faces)).long()


def test_face_normals_have_the_direction_and_twice_the_area() -> None:
    vertices = torch.tensor([[0, 0, 0], [2, 0, 0], [0, 3, 0], [1, 0, 0]], dtype=F64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 1], [0, 3, 1]])
    weighted = face_normals(vertices, faces, normalise=False)
    assert weighted.tolist() == [[0, 0, 6], [0, 0, -6], [0, 0, 0]]
    assert face_normals(vertices, faces).tolist() == [[0, 0, 1], [0, 0, -1], [0, 0, 0]]


def test_normals_of_a_sphere_point_outwards_and_areas_sum_to_the_surface() -> None:
    vertices, faces = sphere()
    normals = vertex_normals(vertices, faces)
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(vertices), dtype=F64))
    assert (normals * vertices).sum(1).min() > math.cos(math.radians(1))
    area = face_normals(vertices, faces, normalise=False)
    assert area.sum(0).abs().max() < 1e-12  # closed
    assert area.norm(dim=1).sum() / 2 == pytest.approx(4 * math.pi, rel=0.02)


def test_vertex_normals_are_weighted_by_area_and_zero_without_faces() -> None:
    vertices = torch.tensor([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9]], dtype=F64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])  # areas 3/2 along +z and 1/2 along +x
    normals = vertex_normals(vertices, faces)
    assert torch.allclose(normals[0], torch.tensor([1.0, 0.0, 3.0], dtype=F64) / math.sqrt(10))
    assert normals[4].tolist() == [0, 0, 0]


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.floats(0.1, 10))
def test_normals_turn_with_the_mesh_and_ignore_its_size(axis_angle: list[float], scale: float) -> None:
    rotation = axis_angle_to_matrix(torch.tensor(axis_angle, dtype=F64))
    vertices, faces = sphere()
    vertices = vertices * torch.tensor([1.0, 0.5, 0.8], dtype=F64)
    moved = scale * vertices @ rotation.T + 1.7
    assert torch.allclose(vertex_normals(moved, faces), vertex_normals(vertices, faces) @ rotation.T, atol=1e-9)


def test_batches_equal_single_meshes_and_gradients_are_right() -> None:
    vertices, faces = sphere()
    batch = torch.stack([vertices, vertices * torch.tensor([1, 2, 3], dtype=F64)])
    for function in (vertex_normals, face_normals):
        together = function(batch, faces)
        assert torch.equal(together[1], function(batch[1], faces))
    corners = torch.tensor([[0, 0, 0], [1, 0.2, 0], [0.1, 1, 0], [0.3, 0.2, 1]], dtype=F64, requires_grad=True)
    solid = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, solid), corners)


def test_unique_edges_of_a_closed_surface_satisfy_euler() -> None:
    vertices, faces = sphere()
    edges = unique_edges(faces)
    assert len(vertices) - len(edges) + len(faces) == 2
    assert (edges[:, 0] < edges[:, 1]).all() and len(torch.unique(edges, dim=0)) == len(edges)
    assert torch.equal(unique_edges(faces.flip(1)), edges)


def test_compact_keeps_positions_and_texture_corners() -> None:
    vertices, faces = sphere()
    uv = torch.rand(len(vertices) + 5, 2, dtype=F64)
    uv_faces = torch.randint(0, len(uv), faces.shape, generator=torch.Generator().manual_seed(0))
    mask = vertices[faces].mean(1)[:, 0] > 0.4
    part, kept = compact(Mesh(vertices, faces, uv, uv_faces), mask)
    assert part.uv is not None and part.uv_faces is not None
    assert torch.equal(part.vertices[part.faces], vertices[faces[mask]])
    assert torch.equal(part.uv[part.uv_faces], uv[uv_faces[mask]])
    assert torch.equal(vertices[kept], part.vertices)
    assert torch.equal(part.faces.unique(), torch.arange(len(kept)))  # no vertex is unused
    bare, _ = compact(Mesh(vertices, faces), mask)
    assert bare.uv is None and bare.uv_faces is None and torch.equal(bare.faces, part.faces)
    assert len(compact(Mesh(vertices, faces), torch.zeros_like(mask))[1]) == 0


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.integers(0, 1000), st.booleans())
def test_rigid_align_recovers_a_known_motion(values: list[float], seed: int, planar: bool) -> None:
    rotation = axis_angle_to_matrix(torch.tensor(values[:3], dtype=F64))
    translation = torch.tensor(values[3:], dtype=F64)
    source = torch.randn(12, 3, dtype=F64, generator=torch.Generator().manual_seed(seed))
    if planar:
        source[:, 2] = 0.3  # a plane's mirror image is a tempting wrong answer
    found, shift = rigid_align(source, source @ rotation.T + translation)
    assert torch.allclose(found, rotation, atol=1e-7) and torch.allclose(shift, translation, atol=1e-7)


# -- Subdivision --------------------------------------------------------------------------------


def open_patch() -> tuple[torch.Tensor, torch.Tensor]:
    """Part of a bumpy ball, with a border, and vertices of many valences."""
    vertices, faces = sphere()
    # Where no face has two edges on the border: there trimesh takes an inner edge for a piece of it.
    above = vertices[faces].mean(1)[:, 2] > 0.3
    patch, _ = compact(Mesh(vertices * (1 + 0.2 * torch.sin(5 * vertices[:, :1])), faces), above)
    return patch.vertices, patch.faces


def test_edges_of_faces() -> None:
    _, faces = open_patch()
    edges, rows = edge_rows(faces)
    assert torch.equal(edges, unique_edges(faces))
    for k in range(3):
        ends = torch.stack([faces[:, k], faces[:, (k + 1) % 3]], 1).sort(1).values
        assert torch.equal(edges[rows[:, k]], ends)


@pytest.mark.parametrize("shape", [sphere, open_patch])
def test_loop_subdivision_is_trimesh_s(shape) -> None:
    vertices, faces = shape()
    points = loop_points(vertices, faces)
    expected, expected_faces = trimesh.remesh.subdivide_loop(vertices.numpy(), faces.numpy(), iterations=1)
    ours = torch.cat([points.vertices, points.middles]).numpy()
    split = split_edges(faces, faces, torch.ones(len(points.middles), dtype=torch.bool), len(vertices), len(vertices))
    assert len(split.faces) == 4 * len(faces) and torch.equal(split.faces, split.uv_faces)

    # The same triangles, each once, by their middles.
    distance, partner = cKDTree(expected[expected_faces].mean(1)).query(ours[split.faces.numpy()].mean(1))
    assert distance.max() < 1e-9 and len(set(partner)) == len(expected_faces) == len(split.faces)


@pytest.mark.parametrize("shape", [sphere, open_patch])
def test_subdividing_does_not_move_the_limit(shape) -> None:
    vertices, faces = shape()
    points = loop_points(vertices, faces)
    every = torch.ones(len(points.middles), dtype=torch.bool)
    finer = torch.cat([points.vertices, points.middles])
    again = loop_points(finer, split_edges(faces, faces, every, len(vertices), len(vertices)).faces)
    assert torch.allclose(again.limit[: len(vertices)], points.limit, atol=1e-12)
    assert (points.limit - points.vertices).norm(dim=1).max() < (points.vertices - vertices).norm(dim=1).max() * 1.5


def test_faces_that_are_not_smooth_take_no_part() -> None:
    vertices, faces = sphere()
    front = vertices[faces].mean(1)[:, 2] > 0
    part, kept = compact(Mesh(vertices, faces), front)
    whole, alone = loop_points(vertices, faces, front), loop_points(part.vertices, part.faces)
    assert torch.allclose(whole.limit[kept], alone.limit) and torch.allclose(whole.vertices[kept], alone.vertices)
    behind = torch.ones(len(vertices), dtype=torch.bool)
    behind[kept] = False
    assert torch.equal(whole.limit[behind], vertices[behind]) and torch.equal(whole.vertices[behind], vertices[behind])


@given(st.integers(0, 1000))
def test_splitting_some_edges_keeps_the_surface(seed: int) -> None:
    """Whatever is marked: the same area and the same closed surface, facing the same way, and a map split likewise."""
    vertices, faces = sphere()
    edges = edge_rows(faces)[0]
    marked = torch.rand(len(edges), generator=torch.Generator().manual_seed(seed)) < (seed % 11) / 10
    # Every face has a piece of the map to itself.
    uv, uv_faces = torch.rand(3 * len(faces), 2, dtype=F64), torch.arange(3 * len(faces)).reshape(-1, 3)
    split = split_edges(faces, uv_faces, marked, len(vertices), len(uv))
    finer = torch.cat([vertices, vertices[split.edges].mean(1)])
    assert torch.equal(split.edges, edges[marked])
    assert len(split.faces) == len(faces) + 2 * int(marked.sum())
    before, after = face_normals(vertices, faces, normalise=False), face_normals(finer, split.faces, normalise=False)
    total = torch.zeros_like(before).index_add(0, split.parent, after)
    assert torch.allclose(total, before, atol=1e-12), "each face is exactly its children"
    assert (after * before[split.parent]).sum(1).min() > 0
    solid = trimesh.Trimesh(finer.numpy(), split.faces.numpy(), process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    # A texture coordinate lies on the map where its vertex lies on the face.
    finer_uv = torch.cat([uv, uv[split.uv_edges].mean(1)])
    for child, face in enumerate(split.parent[::37].tolist()):
        solved = torch.linalg.solve(vertices[faces[face]].T, finer[split.faces[::37][child]].T)
        assert torch.allclose(solved.T @ uv[uv_faces[face]], finer_uv[split.uv_faces[::37][child]], atol=1e-9)


# -- Alignment ----------------------------------------------------------------------------------


@given(st.integers(0, 1000))
def test_rigid_align_is_optimal_proper_and_obeys_weights(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    source, target = noise(10, 3), noise(10, 3) * torch.tensor([1.0, 1.0, -1.0], dtype=F64)
    weights = noise(10).abs()

    def cost(rotation: torch.Tensor, shift: torch.Tensor) -> float:
        return float((weights * (source @ rotation.T + shift - target).square().sum(1)).sum())

    rotation, shift = rigid_align(source, target, weights)
    assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=F64), atol=1e-9)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1)
    best = cost(rotation, shift)
    for _ in range(10):
        turn = axis_angle_to_matrix(0.05 * noise(3))
        assert cost(turn @ rotation, shift) >= best - 1e-9
        assert cost(rotation, shift + 0.05 * noise(3)) >= best - 1e-9
    outlier = torch.cat([source, torch.full((1, 3), 99.0, dtype=F64)])
    ignored = torch.cat([weights, torch.zeros(1, dtype=F64)])
    again, _ = rigid_align(outlier, torch.cat([target, -outlier[-1:]]), ignored)
    assert torch.allclose(again, rotation, atol=1e-7)


def test_rigid_align_needs_three_points() -> None:
    with pytest.raises(ValueError, match="at least 3 points, got 2"):
        rigid_align(torch.rand(2, 3), torch.rand(2, 3))


def test_to_keeps_everything() -> None:
    vertices, faces = sphere()
    moved = Mesh(vertices, faces).to("cpu")
    assert torch.equal(moved.vertices, vertices) and moved.uv is None
