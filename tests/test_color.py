"""Colour conversions against the standard's fixed points, an independent library and their own inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from core.color import individual_typology_angle_deg, linear_to_srgb, luminance, srgb_to_linear


def test_srgb_fixed_points() -> None:
    encoded = torch.tensor([0.0, 0.04045, 0.5, 1.0], dtype=torch.float64)
    expected = [0.0, 0.04045 / 12.92, 0.21404114, 1.0]  # IEC 61966-2-1
    assert srgb_to_linear(encoded).tolist() == pytest.approx(expected, abs=1e-8)
    assert srgb_to_linear(torch.tensor([-0.3])).item() == 0 and linear_to_srgb(torch.tensor([-0.3])).item() == 0
    assert linear_to_srgb(torch.tensor([4.0])).item() > 1  # too bright stays too bright


def test_all_bytes_survive_the_round_trip() -> None:
    encoded = torch.arange(256, dtype=torch.float32) / 255
    assert torch.equal((linear_to_srgb(srgb_to_linear(encoded)) * 255).round(), torch.arange(256.0))


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_transfer_is_monotone_and_invertible(a: float, b: float) -> None:
    pair = torch.tensor(sorted((a, b)), dtype=torch.float64)
    for transfer, inverse in ((srgb_to_linear, linear_to_srgb), (linear_to_srgb, srgb_to_linear)):
        there = transfer(pair)
        assert there[0] <= there[1] + 1e-7  # the standard's two branches miss each other by about 1e-8
        assert torch.allclose(inverse(there), pair, atol=1e-6)


@pytest.mark.parametrize("transfer", [srgb_to_linear, linear_to_srgb])
def test_gradients_are_finite_everywhere_and_right(transfer) -> None:
    value = torch.tensor([-1.0, 0.0, 1e-12, 0.002, 0.02, 0.2, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(transfer(value).sum(), value)
    assert torch.isfinite(gradient).all() and (gradient[2:] > 0).all()
    assert torch.autograd.gradcheck(transfer, value[3:].detach().requires_grad_())


def test_luminance_is_the_green_of_the_xyz_matrix() -> None:
    assert torch.allclose(luminance(torch.ones(2, 3, 4, 5)), torch.ones(2, 1, 4, 5))
    primaries = torch.eye(3)[:, :, None, None]
    assert luminance(primaries).flatten().tolist() == pytest.approx([0.2126, 0.7152, 0.0722])
    assert luminance(torch.rand(3, 2, 2)).shape == (1, 2, 2)


def test_typology_angle_equals_skimage_lab() -> None:
    rng = np.random.default_rng(0)
    srgb = rng.uniform(0.02, 1, (200, 3))
    lab = rgb2lab(srgb)
    expected = np.degrees(np.arctan2(lab[:, 0] - 50, lab[:, 2]))
    found = individual_typology_angle_deg(srgb_to_linear(torch.tensor(srgb))).numpy()
    turn = (found - expected + 180) % 360 - 180
    assert np.abs(turn).max() < 0.2  # the libraries' white points differ in the fifth digit


def test_typology_angle_orders_skins() -> None:
    skins = torch.tensor([[240, 214, 200], [222, 184, 160], [190, 140, 110], [140, 92, 66], [82, 50, 38]]) / 255
    angles = individual_typology_angle_deg(srgb_to_linear(skins))
    assert (angles.diff() < 0).all() and angles[0] > 41 and angles[-1] < -30
    assert math.isfinite(float(individual_typology_angle_deg(torch.zeros(3))))
