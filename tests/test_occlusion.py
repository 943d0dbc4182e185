"""Shadows and ambient occlusion against closed forms: balls, walls, ditches and the bundled head."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, positions
from core.head import load_head
from core.mesh import vertex_normals
from core.occlusion import HIDDEN, ambient_occlusion, lamp_shadows, light_visibility, sky_visibility
from core.shading import Light
from tests.tiny_head import BALLS, tiny_head

F64 = torch.float64


def ball(radius: float = 0.1) -> tuple[Tensor, Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return torch.tensor(np.asarray(mesh.vertices), dtype=F64), torch.tensor(np.asarray(mesh.faces)).long()


def square(side: float, centre: tuple[float, float, float]) -> Tensor:
    corners = torch.tensor([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=F64)
    return corners * side / 2 + torch.tensor(centre, dtype=F64)


SQUARE_FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
UP = torch.tensor([0.0, 0.0, 1.0], dtype=F64)


def wall_points(count: int, reach: float) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    xy = (torch.rand(count, 2, dtype=F64, generator=generator) * 2 - 1) * reach
    return torch.cat([xy, torch.zeros(count, 1, dtype=F64)], dim=1)


# ------------------------------------------------------------------------------------------------------ lamps


@pytest.mark.parametrize("height", [0.12, 0.8])
def test_a_lamp_at_a_place_casts_the_central_shadow(height: float) -> None:
    """A 4 cm plate 5 cm before a wall, a lamp on the axis: a square, enlarged by h / (h - 5 cm). The near lamp is
    inside the ball about the mesh, the far one outside, which are drawn differently."""
    vertices = torch.cat([square(0.4, (0, 0, 0)), square(0.04, (0, 0, 0.05))])
    faces = torch.cat([SQUARE_FACES, SQUARE_FACES + 4])
    points = wall_points(600, 0.1)
    lamp = torch.tensor([[0.0, 0.0, height]], dtype=F64)
    none = torch.zeros(0, 3, dtype=F64)
    lit = light_visibility(vertices, faces, none, points, UP.expand_as(points), lamp)[:, 0]
    half = 0.02 * height / (height - 0.05)
    from_edge = points[:, :2].abs().amax(dim=1) - half
    assert (lit[from_edge > 6e-3] > 0.999).all() and (lit[from_edge < -6e-3] == 0).all()
    assert (from_edge > 6e-3).any() and (from_edge < -6e-3).any()
    behind = light_visibility(vertices, faces, none, points, UP.expand_as(points), -lamp)[:, 0]
    assert (behind == 0).all()


def test_a_lamp_far_away_shades_like_a_distant_one_and_any_direction_will_do() -> None:
    vertices, faces = ball()
    normals = vertices / 0.1
    up = torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    directions = torch.stack([up, -up, functional.normalize(torch.tensor([0.3, 0.5, 0.8], dtype=F64), dim=0)])
    distant = light_visibility(vertices, faces, directions, vertices, normals)
    near = light_visibility(vertices, faces, directions[:0], vertices, normals, 20 * directions)
    cosine = normals @ directions.T
    clear = (cosine > 0.1) | (cosine < -0.4)  # between, what is lifted off a ball still sees the lamp
    assert torch.isfinite(distant).all() and torch.equal(distant[clear].round(), near[clear].round())
    assert (distant[cosine > 0.1] > 0.99).all() and (distant[cosine < -0.4] == 0).all()


def test_wide_lamps_have_soft_shadows_as_wide_as_they() -> None:
    """Behind an edge at height h a lamp of angular radius s is partly hidden over 2 h tan s."""
    vertices = torch.cat([square(0.6, (0, 0, 0)), square(0.3, (-0.15, 0, 0.1))])
    faces = torch.cat([SQUARE_FACES, SQUARE_FACES + 4])
    x = torch.linspace(-0.06, 0.06, 121, dtype=F64)
    points = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1)
    spread = math.radians(12)

    def lit(radius: float) -> Tensor:
        spreads = torch.tensor([radius], dtype=F64)
        return light_visibility(vertices, faces, UP[None], points, UP.expand_as(points), spreads=spreads)[:, 0]

    hard, soft = lit(0.0), lit(spread)
    assert torch.equal(hard, light_visibility(vertices, faces, UP[None], points, UP.expand_as(points))[:, 0])
    width = 0.097 * math.tan(spread)  # of the points, which are lifted off the wall
    assert (soft[x > width + 6e-3] > 0.999).all() and (soft[x < -width - 6e-3] == 0).all()
    assert 0.3 < float(soft[60]) < 0.7 and (soft.diff() > -1e-9).all()
    partly = ((soft > 0.05) & (soft < 0.95)).sum() / ((hard > 0.05) & (hard < 0.95)).sum()
    assert partly > 5


def test_shadows_of_a_light_are_those_of_its_lamps_in_order() -> None:
    vertices, faces = ball()
    normals = vertices / 0.1
    directions = functional.normalize(torch.tensor([[0.0, 0.3, 1.0], [1.0, 0.0, 0.2]], dtype=F64), dim=1)
    places, spreads = torch.tensor([[0.0, 0.5, 0.0]], dtype=F64), torch.tensor([0.0, 0.2], dtype=F64)
    light = Light(
        torch.zeros(1, 9, 3, dtype=F64),
        directions[None],
        torch.ones(1, 2, 3, dtype=F64),
        places[None],
        torch.ones(1, 1, 3, dtype=F64),
        spreads[None],
    )
    found = lamp_shadows(light, vertices, faces, vertices, normals)
    assert found.shape == (len(vertices), 3)
    assert torch.equal(found, light_visibility(vertices, faces, directions, vertices, normals, places, spreads))
    assert torch.equal(found[:, 2:], light_visibility(vertices, faces, directions[:0], vertices, normals, places))


# ---------------------------------------------------------------------------------------------- the surroundings


def test_a_ball_hides_nothing_from_itself_and_a_cup_does() -> None:
    vertices, faces = ball()
    normals = vertices / 0.1
    assert (sky_visibility(vertices, faces, vertices, normals) > 0.97).all()
    # From within, looking in: the whole ball is in the way.
    assert (sky_visibility(vertices, faces, 0.9 * vertices, -normals) == 0).all()


def test_a_ditch_sees_as_much_as_its_walls_let_it() -> None:
    """The floor of a long ditch of width w and depth d sees sin(atan(w / 2d)) of the sky from its middle."""
    width, depth, long = 0.04, 0.03, 1.0
    strip = torch.tensor([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=F64) / 2
    floor = strip * torch.tensor([width, long, 0], dtype=F64) - depth * UP
    walls = []
    for x in (-width / 2, width / 2):
        walls.append(torch.tensor([[x, -long / 2, -depth], [x, long / 2, -depth], [x, long / 2, 0], [x, -long / 2, 0]]))
    vertices = torch.cat([floor, *(wall.double() for wall in walls)])
    faces = torch.cat([SQUARE_FACES, SQUARE_FACES + 4, SQUARE_FACES + 8])
    middle = torch.tensor([[0.0, 0.0, -depth]], dtype=F64)
    seen = sky_visibility(vertices * 0.2, faces, middle * 0.2, UP[None], 200)  # 4 mm wide: lifted to half its depth
    open_ = sky_visibility(vertices, faces, middle, UP[None], 200)
    lifted = depth - 3e-3
    assert float(open_) == pytest.approx(math.sin(math.atan(width / 2 / lifted)), abs=0.05)
    assert float(seen) > float(open_)
    top = torch.tensor([[0.0, 0.0, 0.001]], dtype=F64)
    assert float(sky_visibility(vertices, faces, top, UP[None], 100)) > 0.98


def test_a_ball_that_sticks_out_takes_from_the_ring_about_it() -> None:
    """On the tiny head everything is open but what lies beside the eyes, once those stick out of it."""
    head = tiny_head()
    vertices, eyes = head.template.clone(), torch.unique(head.faces[head.part_faces("eyes")])
    centres = torch.tensor([centre for centre, _ in BALLS["eyes"]])
    own = centres[(vertices[eyes][:, None] - centres).norm(dim=-1).argmin(dim=1)]
    vertices[eyes] = 1.1 * own + 2.5 * (vertices[eyes] - own)
    baked = ambient_occlusion(head, vertices, 64, 64)
    assert baked.shape == (1, 64, 64) and baked.min() >= 0 and baked.max() <= 1
    lookup, place = atlas_lookup(head, 64), positions(head, head.template, 64)
    distance = (place[..., None, :] - 0.1 * functional.normalize(centres, dim=-1)).norm(dim=-1).amin(dim=-1)
    assert baked[0][lookup.inside & (distance > 0.02) & (distance < 0.045)].mean() < 0.985
    assert (baked[0][lookup.inside & (distance > 0.09)] > 0.999).all()
    assert torch.equal(baked[0], baked[0].flatten()[lookup.nearest].reshape(64, 64))  # off the skin the nearest


def test_larger_maps_are_the_same_picture() -> None:
    head = tiny_head()
    import core.occlusion as module

    small = ambient_occlusion(head, head.template, 48, 24)
    original = module.BAKED_SIDE
    module.BAKED_SIDE = 48
    try:
        large = ambient_occlusion(head, head.template, 96, 24)
    finally:
        module.BAKED_SIDE = original
    assert large.shape == (1, 96, 96)
    assert (functional.avg_pool2d(large, 2) - small).abs().mean() < 0.02


@pytest.fixture(scope="module")
def baked() -> Tensor:
    head = load_head()
    return ambient_occlusion(head, head.template, 192, 48)[0]


def test_a_face_is_open_where_it_bulges_and_shaded_where_it_is_hollow(baked: Tensor) -> None:
    head = load_head()
    lookup = atlas_lookup(head, 192)
    place = head.template[head.faces[lookup.face_index.clamp_min(0)]].mean(dim=2)
    normal = vertex_normals(head.template, head.faces)[head.faces[lookup.face_index.clamp_min(0)]].mean(dim=2)
    nose = int(head.template[:, 2].argmax())
    tip = lookup.inside & ((place - head.template[nose]).norm(dim=-1) < 8e-3)
    forehead = lookup.inside & (place[..., 1] > 0.04) & (place[..., 2] > 0.0) & (normal[..., 2] > 0.5)
    below_chin = lookup.inside & (place[..., 1] < -0.12) & (normal[..., 1] < -0.3) & (place[..., 2] > -0.05)
    assert baked[tip].median() > 0.85 and baked[forehead].median() > 0.95
    assert baked[below_chin].median() < baked[forehead].median() - 0.04


def test_nothing_on_the_skin_is_black(baked: Tensor) -> None:
    """What lies in the mouth or behind the lids repeats the skin beside it, so that no filter mixes in a dark seam."""
    assert baked.min() > HIDDEN
    head = load_head()
    lookup = atlas_lookup(head, 192)
    outside = ~lookup.inside
    assert torch.equal(baked[outside], baked.flatten()[lookup.nearest[outside]])


def test_occlusion_follows_the_shape() -> None:
    """A head that is twice as large, or mirrored, is hidden from as much, up to what the lifted points pass over."""
    head = tiny_head()
    small = ambient_occlusion(head, head.template, 32, 48)[0]
    moved = head.template + torch.tensor([0.3, -0.2, 0.5])
    assert (ambient_occlusion(head, moved, 32, 48)[0] - small).abs().mean() < 0.01
    alone = replace(head, faces=head.faces[head.part_faces("skin")], face_part=head.face_part[head.part_faces("skin")],
                    uv_faces=head.uv_faces[head.part_faces("skin")])  # fmt: skip
    assert (ambient_occlusion(alone, head.template, 32, 48)[0] > 0.95).all()
