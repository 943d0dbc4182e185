"""The fine mesh: no cracks, the map's heights along the normals, as many triangles as asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from core.avatar import Avatar
from core.checkpoints import ASSETS, WEIGHTS
from core.errors import LikenessError
from core.fine_mesh import (
    PartMesh,
    coarse_mesh,
    detailed_mesh,
    displaced,
    finer_than,
    heights_at,
    relief_of,
    smooth_mesh,
)
from core.head import PARTS, HeadModel, load_head
from core.key_expressions import KEY_EXPRESSIONS
from core.mesh import edge_rows
from tests.tiny_head import make_avatar, make_detailed_materials, tiny_head

SKIN = PARTS.index("skin")


@pytest.fixture(scope="module", params=["tiny", "bundled"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    if request.param == "tiny":
        return tiny_head()
    if not (ASSETS / WEIGHTS["head"].file).is_file():
        pytest.skip("assets/head.safetensors is absent")
    return load_head()


@pytest.fixture(scope="module")
def avatar(head: HeadModel) -> Avatar:
    return replace(make_avatar(head), materials=make_detailed_materials(64))


@pytest.fixture(scope="module")
def smooth(head: HeadModel, avatar: Avatar) -> PartMesh:
    return smooth_mesh(head, head.vertices(avatar.parameters("neutral"))[0])


def faces_at_edges(faces: torch.Tensor) -> dict[int, int]:
    """How many edges have one face, two faces, ..."""
    _, rows = edge_rows(faces)
    counts = torch.bincount(torch.bincount(rows.flatten()))
    return {faces: int(count) for faces, count in enumerate(counts.tolist()) if count and faces}


def test_as_many_triangles_as_asked_for(head: HeadModel, smooth: PartMesh):
    assert 250_000 < len(smooth.faces) < 350_000
    assert abs(len(smooth.faces) - 300_000) < 1000
    posed = head.template
    for wanted in (20_000, 33_333, 111_111):
        if wanted > len(head.faces):
            assert abs(len(smooth_mesh(head, posed, wanted).faces) - wanted) < 1000


def test_no_cracks(head: HeadModel, smooth: PartMesh):
    """Every edge has as many faces as in the head model: one at the borders, which are as many, else two."""
    before, after = faces_at_edges(head.faces), faces_at_edges(smooth.faces)
    assert set(before) == set(after)
    border = [loops(head.faces), loops(smooth.faces)]
    assert border[0] == border[1], "as many holes as before"
    assert set(smooth.faces.unique().tolist()) == set(range(len(smooth.vertices))), "no vertex is left over"
    for name in PARTS:
        part = smooth.part_faces(name)
        solid = trimesh.Trimesh(smooth.vertices.numpy(), smooth.faces[part].numpy(), process=False)
        assert solid.is_winding_consistent, name
        if name not in ("skin", "mouth"):
            assert len(part) == len(head.part_faces(name)), "the other parts stay as they are"
            was = head.faces[head.part_faces(name)].unique()
            assert torch.equal(smooth.faces[part].unique(), was), name


def loops(faces: torch.Tensor) -> int:
    """Connected pieces of the border."""
    edges, rows = edge_rows(faces)
    border = edges[torch.bincount(rows.flatten(), minlength=len(edges)) == 1].numpy()
    return len(trimesh.graph.connected_components(border)) if len(border) else 0


def test_the_surface_is_smooth_and_close_to_the_head(head: HeadModel, avatar: Avatar, smooth: PartMesh):
    posed = head.vertices(avatar.parameters("neutral"))[0]
    skin = head.faces[head.part_faces("skin")].unique()
    off = ((smooth.vertices[skin] - posed[skin]) * coarse_mesh(head, posed).normals[skin]).sum(1) * 1000
    assert off.abs().mean() < 0.3 and off.mean().abs() < 0.1
    # Angles between neighbouring faces are a fraction of the coarse mesh's.
    fine = trimesh.Trimesh(smooth.vertices.numpy(), smooth.faces[smooth.part_faces("skin")].numpy(), process=False)
    coarse = trimesh.Trimesh(posed.numpy(), head.faces[head.part_faces("skin")].numpy(), process=False)
    assert np.median(fine.face_adjacency_angles) < 0.4 * np.median(coarse.face_adjacency_angles)


def test_texture_coordinates_stay_on_their_triangles(head: HeadModel, smooth: PartMesh):
    assert smooth.uv.min() >= head.uv.min() and smooth.uv.max() <= head.uv.max()

    def area(mesh_uv: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        a, b, c = mesh_uv.double()[faces].unbind(1)
        return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2

    old, new = area(head.uv, head.uv_faces), area(smooth.uv, smooth.uv_faces)
    for part in range(len(PARTS)):
        assert new[smooth.face_part == part].sum().item() == pytest.approx(
            old[head.face_part == part].sum().item(), rel=1e-6
        )
    assert torch.equal(smooth.uv[: len(head.uv)], head.uv)
    # Vertices are about as dense all over the map: few edges of the skin are much longer than the others there.
    corners = smooth.uv[smooth.uv_faces[smooth.part_faces("skin")]]
    length = (corners - corners.roll(-1, 1)).norm(dim=-1)
    assert length.flatten()[::7].quantile(0.99) < 4 * length.median()


def test_a_constant_map_moves_every_vertex_along_its_normal(smooth: PartMesh):
    moved = displaced(smooth, torch.full((32, 32), 0.0017))
    step = moved.vertices - smooth.vertices
    skin = torch.zeros(len(smooth.vertices), dtype=torch.bool)
    skin[smooth.faces[smooth.part_faces("skin")]] = True
    assert torch.allclose(step[skin], 0.0017 * smooth.normals[skin], atol=1e-7)
    assert not step[~skin].any()
    assert (smooth.normals[skin].norm(dim=1) - 1).abs().max() < 1e-4
    assert faces_at_edges(moved.faces) == faces_at_edges(smooth.faces)
    assert torch.equal(displaced(smooth, torch.zeros(8, 8)).vertices, smooth.vertices)


def test_heights_are_the_map_s(head: HeadModel, smooth: PartMesh):
    """A ramp is read exactly between the outermost texels, right way up; at a seam vertices get the mean of its sides;
    the mean over the map's area is the map's."""
    side = 64
    centre = (torch.arange(side) + 0.5) / side
    ramp = (centre[None, :] * 2 + (1 - centre)[:, None] * 5).contiguous()
    got = heights_at(smooth, ramp)
    skin = smooth.part_faces("skin")
    vertex, uv = smooth.faces[skin].flatten(), smooth.uv_faces[skin].flatten()
    once = torch.zeros(len(smooth.vertices), dtype=torch.long).index_fill(0, vertex, -1)
    pairs = torch.stack([vertex, uv], 1).unique(dim=0)
    sides = torch.bincount(pairs[:, 0], minlength=len(once))
    u, v = smooth.uv[pairs[:, 1]].clamp(0.5 / side, 1 - 0.5 / side).unbind(1)
    expected = torch.zeros(len(once)).index_add(0, pairs[:, 0], u * 2 + v * 5) / sides.clamp_min(1)
    assert torch.allclose(got, expected, atol=1e-4)
    assert (sides > 1).any() and not got[sides == 0].any()


def test_detail_is_displacement_and_what_the_expression_folds(head: HeadModel, avatar: Avatar):
    flat = replace(avatar, materials=replace(avatar.materials, skin_wrinkles=None))
    relaxed = detailed_mesh(head, avatar, "neutral", 40_000)
    assert torch.equal(relaxed.vertices, detailed_mesh(head, flat, "neutral", 40_000).vertices)
    posed = head.vertices(avatar.parameters("neutral"))[0]
    base = smooth_mesh(head, posed, 40_000)
    heights = ((relaxed.vertices - base.vertices) * base.normals).sum(1)
    assert torch.allclose(heights, heights_at(base, relief_of(head, avatar, "neutral")), atol=1e-6)
    assert avatar.materials.skin_displacement is not None
    skin = base.faces[base.part_faces("skin")].unique()
    assert heights[skin].abs().max() <= avatar.materials.skin_displacement.abs().max() * 1e-6 + 1e-6
    weights = KEY_EXPRESSIONS["brow raiser"]
    raised = replace(avatar, expression=torch.tensor([weights.get(name, 0.0) for name in head.expression_names]))
    change = relief_of(head, raised, "fitted") - relief_of(head, raised, "neutral")
    assert bool(change.any()) == ("mediapipe" in head.landmarks), "only where it is known where a face folds"
    assert torch.equal(
        relief_of(head, replace(raised, materials=flat.materials), "fitted"), relief_of(head, flat, "neutral")
    )


def test_large_maps_are_averaged(head: HeadModel, avatar: Avatar):
    large = torch.randint(-500, 500, (1, 2048, 2048), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    person = replace(avatar, materials=replace(avatar.materials, skin_displacement=large))
    relief = relief_of(head, person, "neutral")
    assert relief.shape == (1024, 1024)
    assert torch.allclose(relief, torch.nn.functional.avg_pool2d(large.float() * 1e-6, 2)[0], atol=1e-9)


def test_the_map_is_divided_between_mesh_and_normals(smooth: PartMesh):
    """What varies over many vertices is the mesh's, what varies from texel to texel the normals'."""
    y, x = torch.meshgrid(torch.arange(1024), torch.arange(1024), indexing="ij")
    slow, quick = torch.sin(x / 60) * 1e-3, ((x + y) % 2 * 2.0 - 1) * 1e-4
    assert finer_than(smooth, slow).abs().max() < 2e-5
    assert (finer_than(smooth, quick) - quick).abs().max() < 2e-5


def test_errors_are_sentences(head: HeadModel, avatar: Avatar):
    bare = replace(avatar, materials=replace(avatar.materials, skin_displacement=None))
    with pytest.raises(LikenessError, match=r"no map of displacement.*python -m app detail"):
        detailed_mesh(head, bare)
    for triangles in (0, -5, 10**9):
        with pytest.raises(LikenessError, match=f"{triangles} triangles"):
            detailed_mesh(head, avatar, triangles=triangles)
