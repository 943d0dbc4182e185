"""Painted eyes, mouth and lashes: layout, colours and determinism."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.color import luminance, srgb_to_linear
from core.materials import (
    EYEBALL_RADIUS_M,
    IRIS_COLOURS,
    IRIS_DIAMETER_M,
    IRIS_RADIUS_UV,
    paint_eye,
    paint_lashes,
    paint_mouth,
)


def linear(image: torch.Tensor) -> torch.Tensor:
    return srgb_to_linear(image[:3].float() / 255)


def radius_of_texels(size: int) -> torch.Tensor:
    axis = (torch.arange(size) + 0.5) / size - 0.5
    return torch.hypot(axis[None, :], axis[:, None])


def test_iris_is_as_wide_as_in_life():
    """The map's radius at the limbus, taken back through the azimuthal layout of the eyeball, is half of 11.7 mm."""
    angle = IRIS_RADIUS_UV / 0.4 * math.pi / 3
    assert 2 * EYEBALL_RADIUS_M * math.sin(angle) == pytest.approx(IRIS_DIAMETER_M)


def test_eyeball_radius_is_that_of_the_bundled_head():
    from core.head import load_head

    head = load_head()
    ball = head.template[torch.unique(head.faces[head.part_faces("eyes")])]
    left = ball[ball[:, 0] > 0]
    assert (left - left.mean(0)).norm(dim=1).mean().item() == pytest.approx(EYEBALL_RADIUS_M, abs=3e-4)


@pytest.mark.parametrize("name", IRIS_COLOURS)
def test_iris_has_its_colour_between_a_black_pupil_and_a_light_sclera(name: str):
    eye = linear(paint_eye(name, size=256, seed=3))
    radius = radius_of_texels(256) / IRIS_RADIUS_UV
    colour = torch.tensor(IRIS_COLOURS[name])
    light = luminance(eye)[0]
    ring = (radius > 0.5) & (radius < 0.75)
    found = eye[:, ring].mean(1)
    # The painted lids darken the whole iris alike, so compare chromaticity, and brightness loosely.
    assert torch.allclose(found / found.sum(), colour / colour.sum(), atol=0.04)
    assert 0.4 < (found.sum() / colour.sum()).item() < 1.2
    assert light[radius < 0.25].max() < 0.01
    horizontal = torch.zeros_like(ring)
    horizontal[124:132] = True
    assert light[(radius > 1.15) & (radius < 1.5) & horizontal].min() > light[ring].mean() + 0.08


def test_limbal_ring_is_darker_than_the_iris_inside_it():
    light = luminance(linear(paint_eye("blue", size=256)))[0]
    radius = radius_of_texels(256) / IRIS_RADIUS_UV
    assert light[(radius > 0.9) & (radius < 0.97)].mean() < 0.6 * light[(radius > 0.5) & (radius < 0.75)].mean()


def test_pupil_grows_with_its_diameter():
    def dark_share(diameter_m: float) -> float:
        light = luminance(linear(paint_eye("grey", size=256, pupil_diameter_m=diameter_m)))[0]
        return (light[radius_of_texels(256) < 0.8 * IRIS_RADIUS_UV] < 0.01).float().mean().item()

    ratio = dark_share(0.006) / dark_share(0.003)
    assert ratio == pytest.approx(4, rel=0.2)


def test_an_iris_may_be_given_as_a_colour():
    assert torch.equal(paint_eye(IRIS_COLOURS["green"], seed=1), paint_eye("green", seed=1))


def test_unknown_colour_is_an_error():
    with pytest.raises(KeyError):
        paint_eye("plaid")


@pytest.mark.parametrize("paint", [paint_eye, paint_mouth, paint_lashes])
@pytest.mark.parametrize("size", [64, 256])
def test_same_seed_same_bytes(paint, size: int):
    first, again = paint(size=size, seed=5), paint(size=size, seed=5)
    assert first.dtype == torch.uint8 and first.shape[1:] == (size, size)
    assert torch.equal(first, again)
    assert not torch.equal(first, paint(size=size, seed=6))


def test_mouth_layout():
    """Each part has its colour where the atlas puts it; row 0 is v = 1."""
    mouth = linear(paint_mouth(size=256))
    light = luminance(mouth)[0]
    redness = mouth[0] / mouth.sum(0)
    deep, rim = light[180:204, 52:76], light[188:196, 4:10]
    assert deep.max() < 0.01 and rim.min() > 4 * deep.max()
    tongue, upper_gum, lower_gum = redness[136:, 132:], redness[36:62], redness[100:126]
    for pink in (tongue, upper_gum, lower_gum):
        assert pink.mean() > 0.5
    for top in (0, 64):
        middle = slice(top + 8, top + 22)
        columns = (torch.arange(14) + 0.5) / 14 * 256
        crowns = light[middle][:, columns.long()]
        assert crowns.min() > 0.35 and redness[middle][:, columns.long()].max() < 0.45
        gaps = ((torch.arange(1, 14)) / 14 * 256).long()
        assert (light[middle][:, gaps].mean() < 0.75 * crowns.mean()).item()


def test_lashes_root_at_the_bottom_and_taper():
    lashes = paint_lashes(size=512)
    alpha = lashes[3].float().numpy() / 255
    upper, lower = alpha[:256], alpha[256:]
    for half in (upper, lower):
        rows = half.mean(1)
        assert rows[-20:].mean() > 2 * rows[128:160].mean() > 0, "densest at the root"
        assert rows[:10].max() == 0, "no strand is cut off at the tip"
    assert upper.sum() > 1.5 * lower.sum()
    assert 0.02 < upper.mean() < 0.35


def test_lash_colour_is_constant_where_alpha_varies():
    colour = paint_lashes(size=128)[:3].numpy()
    assert (np.ptp(colour.reshape(3, -1), axis=1) == 0).all()
