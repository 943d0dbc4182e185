"""A synthetic head is what its parts paint: the same person at any size, and what the labels say."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch

from core.color import luminance, srgb_to_linear
from core.gltf import glb_bytes
from core.head import HeadModel, load_head
from core.materials import EYEBALL_RADIUS_M, IRIS_DIAMETER_M
from core.synthesis.heads import SyntheticHead, eyeball_radius_m, head_from_person, sample_head
from core.synthesis.people import iris_colour, person_from_latent, person_with, sample_person
from core.synthesis.relief import normal_map
from tests.tiny_head import make_avatar

SIZE = 64


@functools.cache
def made(seed: int) -> SyntheticHead:
    return sample_head(load_head(), seed, SIZE)


def maps(one: SyntheticHead) -> list[torch.Tensor]:
    relief = one.relief
    return [v for v in vars(one.materials).values() if v is not None] + [
        relief.displacement_m,
        relief.specular,
        relief.roughness,
    ]


def test_a_seed_is_a_head_bit_for_bit() -> None:
    again = sample_head(load_head(), 5, SIZE)
    assert all(torch.equal(a, b) for a, b in zip(maps(again), maps(made(5)), strict=True))
    assert torch.equal(again.person.shape, made(5).person.shape)
    assert not torch.equal(made(6).albedo, made(5).albedo)
    assert not torch.equal(made(6).materials.eye_albedo, made(5).materials.eye_albedo)


def test_the_latent_and_the_seed_are_the_person() -> None:
    head, first = load_head(), made(7)
    again = head_from_person(head, person_from_latent(head, first.person.latent, 7), SIZE)
    assert all(torch.equal(a, b) for a, b in zip(maps(again), maps(first), strict=True))


def test_another_size_shows_the_same_person() -> None:
    """Smaller maps are the larger ones seen from farther away, but for what is finer than their texels."""
    head = load_head()
    small, large = made(8), sample_head(head, 8, 2 * SIZE)
    assert large.albedo.shape == (3, 2 * SIZE, 2 * SIZE) and large.relief.roughness.shape == (2 * SIZE, 2 * SIZE)
    reduced = torch.nn.functional.avg_pool2d(large.albedo.float(), 2)
    stranger = torch.nn.functional.avg_pool2d(sample_head(head, 9, 2 * SIZE).albedo.float(), 2)
    own, other = ((a - small.albedo.float()).abs().mean() for a in (reduced, stranger))
    assert float(own) < 5 and float(other) > 2 * float(own)


def test_materials_are_what_was_painted() -> None:
    head, one = load_head(), made(5)
    assert one.materials.skin_albedo is one.albedo
    assert (one.materials.skin_roughness[0].float() / 255 - one.relief.roughness).abs().max() <= 0.5 / 255 + 1e-6
    vertices = head.rest_vertices(one.person.shape[None], torch.zeros(1, 52))[0]
    assert one.materials.skin_normal is not None
    assert torch.equal(one.materials.skin_normal, normal_map(head, one.relief.displacement_m, vertices))
    without = sample_head(head, 5, SIZE, normals=False)
    assert without.materials.skin_normal is None and torch.equal(without.albedo, one.albedo)


def test_a_slider_moves_what_it_names() -> None:
    """Melanin darkens the skin and leaves the eyes' pattern; the iris follows its own labels."""
    head, person = load_head(), made(5).person
    fair, dark = (head_from_person(head, person_with(person, head, melanin=m), SIZE) for m in (0.1, 0.9))
    light, shade = (float(luminance(srgb_to_linear(one.albedo / 255.0)).median()) for one in (fair, dark))
    assert light > 2 * shade
    blue, brown = (
        head_from_person(head, replace(person, labels=replace(person.labels, iris_melanin=m)), SIZE) for m in (0.0, 1.0)
    )
    assert torch.equal(blue.albedo, brown.albedo)
    middle = slice(128 - 12, 128 + 12)
    irises = [srgb_to_linear(one.materials.eye_albedo[:, middle, middle] / 255.0).mean((1, 2)) for one in (blue, brown)]
    assert float(irises[0][2] / irises[0][0]) > 1.5 * float(irises[1][2] / irises[1][0])
    expected = [torch.tensor(iris_colour(one.person.labels)) for one in (blue, brown)]
    assert (float(irises[0].mean()) > float(irises[1].mean())) == (
        float(expected[0].mean()) > float(expected[1].mean())
    )


@pytest.mark.parametrize("seed", range(5, 9))
def test_irises_are_of_one_size_in_metres(seed: int) -> None:
    """The limbus, found again on the map as the darkest ring's outside, measures 11.7 mm on this head's eyeball."""
    head, one = load_head(), made(seed)
    radius_m = eyeball_radius_m(head, one.person.shape[None])
    assert 0.8 * EYEBALL_RADIUS_M < radius_m < 1.2 * EYEBALL_RADIUS_M
    side = one.materials.eye_albedo.shape[-1]
    axis = (torch.arange(side) + 0.5) / side - 0.5
    radius = torch.hypot(axis[None], axis[:, None])
    # Along the level line through the pupil, where the lids cast no shade.
    level = luminance(srgb_to_linear(one.materials.eye_albedo / 255.0))[0]
    row = level[side // 2 - 3 : side // 2 + 3].mean(0)
    distance = radius[side // 2]
    near = (distance > 0.08) & (distance < 0.2)
    order = distance[near].argsort()
    brightness, place = row[near][order], distance[near][order]
    steepest = float(place[:-2][(brightness[2:] - brightness[:-2]).argmax()])
    measured_m = 2 * radius_m * math.sin(steepest / 0.4 * math.pi / 3)
    assert measured_m == pytest.approx(IRIS_DIAMETER_M, abs=0.0025)


def test_the_shape_is_the_persons_and_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    head, one = load_head(), made(5)
    assert torch.equal(one.person.shape, sample_person(head, 5).shape)
    avatar = replace(make_avatar(head), shape=one.person.shape, materials=one.materials)
    assert glb_bytes(head, avatar)[:4] == b"glTF"


def test_heads_follow_their_model(tmp_path) -> None:
    """Nothing is kept from one model to the next: a copy of the head gives the same maps."""
    head = load_head()
    copy = HeadModel(**{**vars(head), "template": head.template.clone(), "uv": head.uv.clone()})
    assert torch.equal(sample_head(copy, 5, SIZE).albedo, made(5).albedo)
