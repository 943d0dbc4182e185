"""Texel -> surface: exact, unambiguous, symmetric."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.atlas import atlas_lookup, dilate, interpolate, nearest_inside, positions, rasterise_triangles
from core.head import HeadModel, load_head
from tests.tiny_head import tiny_head


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def brute_force(corners: np.ndarray, size: int, margin: float) -> np.ndarray:
    """How many triangles contain each texel's centre, with at least `margin` in every barycentric."""
    axis = np.arange(size) + 0.5
    p = np.stack(np.meshgrid(axis, axis), -1)
    count = np.zeros((size, size), int)
    for a, b, c in corners:
        matrix = np.stack([b - a, c - a], 1)
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        st_ = (p - a) @ np.linalg.inv(matrix).T
        count += np.minimum(st_.min(-1), 1 - st_.sum(-1)) > margin
    return count


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_one_triangle_against_brute_force(seed: int):
    corners = np.random.default_rng(seed).uniform(-6, 22, (1, 3, 2))
    found = rasterise_triangles(corners, 16) == 0
    assert (found >= (brute_force(corners, 16, 0.02) > 0)).all(), "covers what is clearly inside"
    assert (found <= (brute_force(corners, 16, -0.02) > 0)).all(), "nothing clearly outside"


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_grid_aligned_edges_neither_overlap_nor_leave_gaps(offset: float):
    """A fan of triangles whose edges run exactly through texel centres, or exactly between them."""
    ring = np.array([[2, 2], [8, 2], [14, 2], [14, 8], [14, 14], [8, 14], [2, 14], [2, 8]], float) + offset
    fan = np.stack([np.stack([np.full(2, 8.0) + offset, ring[i], ring[(i + 1) % 8]]) for i in range(8)])
    forwards, backwards = rasterise_triangles(fan, 18), rasterise_triangles(fan[::-1], 18)
    assert np.array_equal(forwards, np.where(backwards >= 0, 7 - backwards, -1)), "no texel has two owners"
    assert (forwards >= 0).sum() == 144


def test_degenerate_and_outlying_triangles_cover_nothing():
    flat, point = [[1, 1], [5, 5], [9, 9]], [[3, 3]] * 3
    before, behind = [[-9, -9], [-2, -9], [-9, -2]], [[99, 1], [120, 1], [99, 9]]
    corners = np.array([flat, point, before, behind], float)
    assert (rasterise_triangles(corners, 12) == -1).all()


def test_no_texel_of_the_head_belongs_to_two_faces(head: HeadModel):
    faces = head.part_faces("skin")
    corners = (head.uv[head.uv_faces[faces]].double().numpy() * [1, -1] + [0, 1]) * 512
    forwards, backwards = rasterise_triangles(corners, 512), rasterise_triangles(corners[::-1], 512)
    assert np.array_equal(forwards, np.where(backwards >= 0, len(corners) - 1 - backwards, -1))


@pytest.mark.parametrize("size", [200, 512])
def test_lookup_returns_the_texel_it_was_asked_for(head: HeadModel, size: int):
    """Interpolating the atlas coordinates themselves gives back each texel's own centre."""
    lookup = atlas_lookup(head, size)
    inside = lookup.inside
    uv = (head.uv[head.uv_faces[lookup.face_index[inside]]] * lookup.barycentric[inside][..., None]).sum(1)
    row, column = torch.nonzero(inside).T
    centre = torch.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], 1)
    # Half a rounding step of the rasteriser, where a centre lies on an edge.
    assert (uv - centre).abs().max() < 0.01 / size
    assert torch.allclose(lookup.barycentric[inside].sum(1), torch.ones(int(inside.sum())))
    assert (lookup.barycentric >= 0).all() and (lookup.barycentric[~inside] == 0).all()
    assert set(head.face_part[lookup.face_index[inside]].tolist()) == {0}


def test_a_linear_function_of_position_unwraps_exactly(head: HeadModel):
    slope = torch.tensor([3.0, -2.0, 5.0])
    values = interpolate(head, (head.template @ slope + 1)[:, None], 256)[..., 0]
    assert torch.allclose(values, positions(head, head.template, 256) @ slope + 1, atol=1e-6)


def test_the_map_is_mirror_symmetric(head: HeadModel):
    place = positions(head, head.template, 512)
    mirrored = place.flip(1) * torch.tensor([-1.0, 1.0, 1.0])
    inside = atlas_lookup(head, 512).inside
    assert torch.equal(inside, inside.flip(1))
    assert (place - mirrored)[inside].abs().max() < 5e-6  # metres


def test_positions_follow_the_vertices_with_gradient():
    head = tiny_head()
    vertices = head.template.clone().requires_grad_()
    positions(head, vertices, 32).sum().backward()
    assert vertices.grad is not None
    skin = torch.unique(head.faces[head.part_faces("skin")])
    assert vertices.grad[skin].abs().sum() > 0
    others = torch.ones(len(vertices), dtype=torch.bool)
    others[skin] = False
    assert (vertices.grad[others] == 0).all()


def test_lookup_is_kept(head: HeadModel):
    assert atlas_lookup(head, 64) is atlas_lookup(head, 64)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_dilate_takes_the_nearest_and_changes_no_inside(seed: int):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(12, 12, generator=generator) < 0.1
    image = torch.rand(3, 12, 12, generator=generator)
    filled = dilate(image, mask)
    assert torch.equal(filled[:, mask], image[:, mask])
    if not mask.any():
        assert torch.equal(filled, image)
        return
    inside = torch.nonzero(mask).float()
    source = nearest_inside(mask)
    assert mask.flatten()[source.flatten()].all()
    here = torch.nonzero(torch.ones(12, 12)).float()
    there = torch.stack([source.flatten() // 12, source.flatten() % 12], 1).float()
    assert torch.allclose((here - there).norm(dim=1), torch.cdist(here, inside).min(dim=1).values, atol=1e-5)
