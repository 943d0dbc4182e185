"""Synthetic heads under random light: the light is right, the truth is the head's, and nothing depends on the order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.atlas import atlas_lookup
from core.color import srgb_to_linear
from core.head import HeadModel, load_head
from core.reflectance.lit_heads import (
    BORDER_PX,
    DIRECTIONS,
    TILE_PX,
    LitHeads,
    Person,
    RandomLight,
    Skin,
    enlarged_tiles,
    fit_harmonics,
    geometry_of,
    sample_light,
    shade,
    skin_for_light,
    skin_of,
    softened,
    views_of,
)
from core.reflectance.network import COARSE_PX, WORK_PX
from core.shading import Light, sh_basis
from core.synthesis.heads import as_bytes, sample_head

SEED = 41


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def person(head: HeadModel) -> Person:
    made = sample_head(head, SEED, WORK_PX, None, normals=False)
    relief = made.relief
    surface = torch.stack([as_bytes(m) for m in (relief.specular, relief.roughness, relief.translucency)])
    return Person.of(made.albedo, relief.displacement_m * 1000, surface, geometry_of(head, head.template))


@pytest.fixture(scope="module")
def data(head: HeadModel, person: Person) -> LitHeads:
    return LitHeads(head, [person], 8, tiles=2)


def plain_skin(count: int = 64) -> Skin:
    normal = torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    zero = torch.zeros(count, 1)
    return Skin(torch.full((count, 3), 0.5), normal, normal, zero, zero + 0.5, zero)


def no_lamps() -> Light:
    return Light(torch.zeros(1, 9, 3), torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))


def test_even_surroundings_show_the_albedo() -> None:
    skin = plain_skin()
    even = torch.full((len(DIRECTIONS), 3), 4 / len(DIRECTIONS))
    shown = shade(skin, no_lamps(), skin.specular_normal, None, even, torch.ones(64, len(DIRECTIONS)))
    assert (shown - 0.5).abs().max() < 0.02  # 48 directions stand for all


def test_what_hides_all_directions_leaves_no_light() -> None:
    skin = plain_skin()
    even = torch.full((len(DIRECTIONS), 3), 4 / len(DIRECTIONS))
    assert shade(skin, no_lamps(), skin.specular_normal, None, even, torch.zeros(64, len(DIRECTIONS))).abs().max() == 0


def test_skin_without_translucency_ends_its_light_at_the_terminator() -> None:
    opaque = plain_skin()
    through = Skin(**{**vars(opaque), "translucency": torch.full((64, 1), 0.5)})
    direction = torch.tensor([[0.0, 0.0, 1.0]])
    lamp = Light(torch.zeros(1, 9, 3), direction[None], torch.ones(1, 1, 3))
    cosine = opaque.diffuse_normal[:, 2]
    # Seen from the lamp, a surface without reflectance at normal incidence mirrors nothing.
    lambert, soft = (shade(skin, lamp, direction.expand(64, 3)) for skin in (opaque, through))
    assert torch.allclose(lambert, 0.5 * cosine.clamp_min(0)[:, None].expand(-1, 3), atol=1e-6)
    beyond = (cosine < -0.01) & (cosine > -0.05)
    assert beyond.any() and (soft[beyond, 0] > soft[beyond, 2]).all()  # red goes furthest
    assert (soft[cosine < -0.25] == 0).all()


def test_a_lamp_is_seen_where_the_directions_next_to_it_are() -> None:
    light = sample_light(np.random.default_rng(3))
    towards = light.lamps.directions[0, 0]
    visibility = ((DIRECTIONS @ towards) > 0.3).float()[None]
    seen = light.lamps_seen(visibility)
    assert seen.shape == (1, 2) and seen[0, 0] > 0.95
    assert torch.allclose(light.lamps_seen(torch.ones(1, len(DIRECTIONS))), torch.ones(1, 2))


def test_lights_differ_by_seed_and_only_by_it() -> None:
    one, same, other = (sample_light(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.surroundings, same.surroundings) and torch.equal(one.camera, same.camera)
    assert not torch.allclose(one.surroundings, other.surroundings)
    assert (one.surroundings >= 0).all()
    assert torch.allclose(one.scaled(2.0).lamps.colors, 2 * one.lamps.colors)


def test_a_head_hides_what_is_behind_it(person: Person, head: HeadModel) -> None:
    seen = person.geometry.visibility.float() / 255
    from_behind = DIRECTIONS[:, 2] < -0.9
    face = skin_for_light(head, COARSE_PX) > 0.9
    assert seen[from_behind][:, face].mean() < 0.1
    assert seen[DIRECTIONS[:, 2] > 0.9][:, face].mean() > 0.9
    # Insides count as if they were open: no photo shows them, and what completes them knows no shadow.
    assert float(seen.mean(0)[atlas_lookup(head, COARSE_PX).inside].min()) > 0.08


def test_items_are_the_same_in_any_order(data: LitHeads) -> None:
    first, again = data[3], data[3]
    assert torch.equal(first.lit, again.lit) and torch.equal(first.tiles.lit, again.tiles.lit)
    assert not torch.allclose(first.lit, data[4].lit)


def test_tiles_are_pieces_of_the_head(data: LitHeads, person: Person) -> None:
    lit = data[0]
    tiles = lit.tiles
    side = TILE_PX + 2 * BORDER_PX
    assert tiles.lit.shape == (2, 3, side, side)
    for i in range(2):
        rows, columns = (slice(int(x[i]), int(x[i]) + side) for x in (tiles.row, tiles.column))
        albedo = srgb_to_linear(person.albedo[:, rows, columns].float() / 255)
        assert torch.allclose(tiles.log_albedo[i].exp(), albedo.clamp_min(1e-3), atol=1e-5)
        assert torch.equal(tiles.height_mm[i, 0], person.displacement_um[0, rows, columns].float() / 1000)
    assert torch.allclose(tiles.normal.norm(dim=1), torch.ones(2, side, side), atol=1e-4)


def test_the_whole_map_agrees_with_the_coarse_one(data: LitHeads, person: Person) -> None:
    """What the coarse network sees is what the fine one sees, from afar: one light, one head."""
    whole = data.lit(person, np.random.default_rng(5), whole=True)
    small = torch.nn.functional.adaptive_avg_pool2d(whole.tiles.lit[0], COARSE_PX)
    face = data.skin > 0.9
    ratio = (small[:, face] / whole.lit[:, face].clamp_min(1e-3)).median()
    assert 0.85 < float(ratio) < 1.15
    both = torch.stack([small[1, face], whole.lit[1, face]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_a_relief_bends_reflections_more_than_scattered_light(data: LitHeads) -> None:
    tiles = data[1].tiles
    skin = skin_of(tiles, tiles.log_albedo, tiles.height_mm, *tiles.surface.split(1, 1))
    smooth = tiles.normal.movedim(1, -1).reshape(-1, 3)
    sharp, soft = ((normal * smooth).sum(1).mean() for normal in (skin.specular_normal, skin.diffuse_normal))
    assert sharp < soft <= 1
    flat = skin_of(tiles, tiles.log_albedo, 0 * tiles.height_mm, *tiles.surface.split(1, 1))
    assert torch.allclose(flat.specular_normal, smooth, atol=1e-4)


def test_gradients_reach_every_map(data: LitHeads) -> None:
    tiles = data[2].tiles.one(0)
    maps = [tiles.log_albedo, tiles.height_mm, *tiles.surface.split(1, 1)]
    maps = [m.clone().requires_grad_(True) for m in maps]
    light = sample_light(np.random.default_rng(9))
    shade(skin_of(tiles, *maps), light.lamps, views_of(tiles, light.camera)).square().sum().backward()
    for one in maps:
        assert one.grad is not None and torch.isfinite(one.grad).all() and one.grad.abs().max() > 0


def test_views_lead_to_the_camera(data: LitHeads) -> None:
    tiles = data[1].tiles
    camera = torch.tensor([0.1, 0.2, 1.0])
    place = tiles.place.movedim(1, -1).reshape(-1, 3)
    views = views_of(tiles, camera)
    assert torch.allclose(
        place + views * (camera - place).norm(dim=1, keepdim=True), camera.expand_as(place), atol=1e-4
    )


def test_softening_keeps_means_and_removes_what_is_fine() -> None:
    ripple = torch.sin(torch.arange(64.0) * torch.pi)[None] * torch.ones(64, 1) + torch.cos(torch.arange(64.0) * 3.1)
    assert torch.allclose(softened(torch.full((32, 32), 0.3), 2.0), torch.full((32, 32), 0.3), atol=1e-6)
    assert softened(ripple, 2.0)[16:48, 16:48].std() < 0.05 * ripple.std()


def test_tiles_of_an_enlarged_map_are_cut_from_it() -> None:
    image = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(image, size=(64, 64), mode="bilinear", align_corners=False)
    rows, columns = torch.tensor([0, 13]), torch.tensor([7, 40])
    cut = enlarged_tiles(image, rows, columns, 20, 64)
    for i in range(2):
        r, c = int(rows[i]), int(columns[i])
        assert torch.allclose(cut[i], whole[0, :, r : r + 20, c : c + 20], atol=1e-5)


def test_harmonics_are_found_in_an_evenly_coloured_head(head: HeadModel, data: LitHeads) -> None:
    """A matt head of one skin tone under second-order light: what is fitted says where it comes from."""
    from core.lighting import shading
    from core.synthesis.painting import skin_tone

    normals = data[0].normals
    sh = torch.zeros(9, 3)
    sh[0], sh[3] = 3.5, 1.2  # brighter from the head's left
    lit = shading(normals.flatten(1).T, sh).T.reshape_as(normals) * skin_tone(0.3, 0.5)[:, None, None]
    found = fit_harmonics(head, lit.clamp(0, 0.95), normals, skin_for_light(head, COARSE_PX))
    assert found[3].mean() > 0.15 * found[0].mean() and found[3].mean() > 2 * found[1].mean().abs()
    assert sh_basis(torch.tensor([1.0, 0, 0])) @ found[:, 1] > sh_basis(torch.tensor([-1.0, 0, 0])) @ found[:, 1]


def test_random_light_moves_between_devices() -> None:
    light = sample_light(np.random.default_rng(0)).to("cpu")
    assert isinstance(light, RandomLight) and light.lamps.colors.device.type == "cpu"
