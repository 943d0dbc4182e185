"""Adaptive augmentation: nothing at probability 0, everything at 1, gradients throughout, and a p that follows."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch
from torch import Tensor

from core.albedo import augment as ada
from core.albedo.augment import NUMBERS, augment, next_probability
from core.atlas import atlas_lookup, positions
from core.head import load_head

KINDS = ("flip", "shift", "brightness", "contrast", "saturation", "hue", "cutout")
NEVER, ALWAYS = -20.0, 20.0  # a choice is taken where ndtr(number) < p


def maps(batch: int = 5, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype) * 1.6 - 0.8


def numbers(batch: int = 5, seed: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, NUMBERS, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def only(kind: str, batch: int = 5) -> Tensor:
    """Numbers that choose one kind of change alone, at any probability strictly between 0 and 1."""
    chosen = numbers(batch)
    chosen[:, :7] = ALWAYS
    chosen[:, KINDS.index(kind)] = NEVER
    chosen[:, 7:9] = chosen[:, 7:9].sign() * 1.5  # a shift of a whole texel at least, on small maps
    return chosen


def test_probability_zero_changes_no_bit():
    images = maps()
    assert torch.equal(augment(images, torch.tensor(0.0), numbers()), images)


def test_the_share_of_changed_maps_is_the_probability():
    images = maps(4000, 4)
    draws = numbers(4000)
    draws[:, 1:7] = ALWAYS
    flipped = (augment(images, torch.tensor(0.3), draws) == images.flip(3)).flatten(1).all(1)
    assert flipped.float().mean() == pytest.approx(0.3, abs=0.025)  # 3.4 standard deviations


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_every_chosen_map_and_nothing_else_of_it(kind: str):
    images = maps()
    changed = augment(images, torch.tensor(0.5), only(kind))
    assert (changed != images).flatten(1).any(1).all()
    luma, before = changed.mean(1), images.mean(1)
    if kind == "flip":
        assert torch.equal(changed, images.flip(3))
    if kind == "shift":  # no new colour appears
        assert all(set(c.flatten().tolist()) <= set(i.flatten().tolist()) for c, i in zip(changed, images, strict=True))
    if kind == "brightness":
        step = (changed - images).flatten(1)
        torch.testing.assert_close(step, step[:, :1].expand_as(step))
    if kind == "contrast":
        factor = (changed / images).flatten(1)
        assert (factor > 0).all()
        torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-4, atol=1e-5)
    if kind in ("saturation", "hue"):
        torch.testing.assert_close(luma, before)
    if kind == "hue":
        length = (images - before[:, None]).norm(dim=1)
        torch.testing.assert_close((changed - luma[:, None]).norm(dim=1), length)
    if kind == "cutout":
        cut = (changed == 0).all(1)
        assert torch.equal(torch.where(cut[:, None], images, changed), images)
        assert (cut.flatten(1).sum(1) <= 8 * 8).all() and (cut.flatten(1).sum(1) >= 16).all()


def test_a_third_of_a_turn_permutes_the_channels():
    """An independent sense of hue: 120 degrees take red to green."""
    matrix = ada._rotation(torch.tensor([2 * math.pi / 3 / ada.HUE_RAD]))[0]
    torch.testing.assert_close(matrix @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    assert colorsys.rgb_to_hsv(0, 1, 0)[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_gradients_reach_the_images(probability: float):
    images = maps(3, 6, torch.float64).requires_grad_()
    p, draws = torch.tensor(probability, dtype=torch.float64), numbers(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: augment(x, p, draws), (images,))


def test_the_atlas_is_symmetric():
    """Why the mirror image is one of the changes."""
    head = load_head()
    where = positions(head, head.template, 128)
    inside = atlas_lookup(head, 128).inside
    both = inside & inside.flip(1)
    assert both.sum() > 0.99 * inside.sum()  # texels whose centre lies on the outline go either way
    mirrored = where.flip(1) * torch.tensor([-1.0, 1.0, 1.0])
    assert (where - mirrored)[both].norm(dim=-1).max() < 1e-4


@pytest.mark.parametrize(
    ("mean_sign", "start", "expected"),
    [(0.9, 0.2, 0.3), (0.1, 0.2, 0.1), (0.6, 0.2, 0.2), (-1.0, 0.05, 0.0), (1.0, 0.79, 0.8), (math.nan, 0.2, 0.2)],
)
def test_the_probability_follows_the_discriminator(mean_sign: float, start: float, expected: float):
    after = next_probability(torch.tensor(start), torch.tensor(mean_sign), 0.6, 64, 640)
    assert float(after) == pytest.approx(expected, abs=1e-6)
