"""What a turned head hides, and scores whose values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.metrics
import torch

from core.albedo.completion import (
    completed_by,
    completion_scores,
    evaluate_completion,
    filter_bank_distance,
    hidden_share,
    paste,
    turned_head_mask,
    turned_head_masks,
)
from core.atlas import atlas_lookup, positions
from core.head import load_head
from tests.tiny_head import tiny_head

SIZE = 64


def texture(seed: int, grain: float = 0.03) -> torch.Tensor:
    return (0.5 + grain * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


# --- masks ---


@pytest.mark.parametrize("yaw_deg", [25, 40, 55])
def test_a_turned_head_hides_a_third_to_two_thirds_and_the_side_that_is_turned_away(yaw_deg: float):
    head = load_head()
    mask = turned_head_mask(head, math.radians(yaw_deg), 128)
    assert 0.3 < hidden_share(head, mask) < 0.63
    place = positions(head, head.template, 128)
    inside = atlas_lookup(head, 128).inside
    left, right = inside & (place[..., 0] > 0.02), inside & (place[..., 0] < -0.02)
    assert mask[left].mean() > 2 * mask[right].mean()  # the camera stands on the person's left
    assert mask[~inside].max() == 0
    nape = inside & (place[..., 2] < -0.1) & (place[..., 0].abs() < 0.03)
    assert mask[nape].max() == 0  # in nobody's portrait


def test_masks_of_both_sides_mirror_each_other_and_more_yaw_hides_more():
    head = load_head()
    shares = []
    for yaw in (0.0, 0.4, 0.8, 1.2):
        there, back = turned_head_mask(head, yaw, 96), turned_head_mask(head, -yaw, 96)
        assert (there - back.flip(1)).abs().mean() < 0.01
        shares.append(hidden_share(head, there))
    assert shares == sorted(shares)


def test_on_a_ball_the_mask_is_the_angle_to_the_camera():
    head, yaw = tiny_head(), 0.7
    mask = turned_head_mask(head, yaw, SIZE)
    inside = atlas_lookup(head, SIZE).inside
    normal = torch.nn.functional.normalize(positions(head, head.template, SIZE), dim=-1)
    angle = torch.rad2deg(torch.acos((normal @ torch.tensor([math.sin(yaw), 0, math.cos(yaw)])).clamp(-1, 1)))
    in_front = positions(head, head.template, SIZE)[..., 2] < 0.03  # away from the little balls that cast shadows
    assert (mask[inside & in_front & (angle < 45)] == 1).all()
    assert (mask[inside & (angle > 82)] == 0).all()
    middle = mask[inside & (angle > 60) & (angle < 68)]
    assert 0.2 < middle.mean() < 0.8


def test_random_borders_are_the_seed_s():
    head = tiny_head()
    first, again, other = (turned_head_mask(head, 0.5, 32, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    bank = turned_head_masks(head, 32, count=6)
    assert bank.shape == (6, 32, 32) and bank.min() >= 0 and bank.max() <= 1
    assert len({round(float(mask.mean()), 4) for mask in bank}) == 6


# --- completing ---


def test_pasting_keeps_what_is_seen_to_the_last_bit():
    mask = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(3)).mul(2).clamp(0, 1)
    seen, made = texture(1), texture(2)
    result = paste(seen, mask, made)
    assert torch.equal(result[:, mask >= 1], seen[:, mask >= 1])
    torch.testing.assert_close(paste(seen, torch.zeros_like(mask), made), made, atol=1e-6, rtol=0)
    low, high = torch.minimum(seen, made), torch.maximum(seen, made)
    assert (result >= low - 1e-6).all() and (result <= high + 1e-6).all()


class Constant:
    """A model that has seen one colour only."""

    name, size = "constant", SIZE

    def sample(self, seed: int, truncation: float = 1.0) -> torch.Tensor:
        return torch.tensor([0.5])

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return latent.expand(3, SIZE, SIZE)

    def fit(self, albedo: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ((albedo * mask).sum() / (3 * mask.sum()))[None]


# --- scores ---


def test_equal_maps_have_perfect_scores_and_what_is_not_hidden_does_not_count():
    truth, hidden = texture(0), torch.zeros(SIZE, SIZE)
    hidden[:, :32] = 1
    scores = completion_scores(truth, truth, hidden)
    assert scores.psnr_db == math.inf and scores.texture == 0
    assert scores.ssim == pytest.approx(1, abs=1e-6)
    elsewhere = truth.clone()
    elsewhere[:, :, 60:] = 0  # farther than any filter reaches
    hidden[:, 20:] = 0
    assert completion_scores(truth, elsewhere, hidden).psnr_db == math.inf


@pytest.mark.parametrize("deviation", [0.01, 0.05])
def test_noise_has_the_psnr_of_its_variance(deviation: float):
    truth = torch.full((3, 256, 256), 0.5)
    noisy = truth + deviation * torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    soft = torch.rand(256, 256, generator=torch.Generator().manual_seed(1))
    assert completion_scores(truth, noisy, soft).psnr_db == pytest.approx(-20 * math.log10(deviation), abs=0.1)


def test_ssim_is_scikit_image_s():
    truth, made = texture(0, 0.1), (texture(0, 0.1) + texture(1, 0.05)) / 2
    _, expected = skimage.metrics.structural_similarity(
        truth.permute(1, 2, 0).double().numpy(),
        made.permute(1, 2, 0).double().numpy(),
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=2, full=True,
    )  # fmt: skip
    inner = torch.zeros(SIZE, SIZE)
    inner[12:-12, 12:-12] = 1  # scikit-image pads otherwise
    score = completion_scores(truth, made, inner).ssim
    assert score == pytest.approx(float(expected[12:-12, 12:-12].mean()), abs=1e-4)


def test_the_filter_bank_forgives_other_grains_but_no_blur():
    hidden = torch.ones(SIZE, SIZE)
    truth = texture(0, 0.12)
    other_grains = filter_bank_distance(truth, texture(9, 0.12), hidden)
    half = filter_bank_distance(truth, 0.5 + (truth - 0.5) / 2, hidden)
    smooth = filter_bank_distance(truth, torch.full_like(truth, 0.5), hidden)
    assert other_grains < 0.6 * half < 0.6 * smooth
    assert half == pytest.approx(math.log(2), abs=0.1)  # half the amplitude everywhere
    assert filter_bank_distance(texture(9, 0.12), truth, hidden) == pytest.approx(other_grains)
    # By squared error the blur is the better of the two.
    assert (
        completion_scores(truth, torch.full_like(truth, 0.5), hidden).psnr_db
        > completion_scores(truth, texture(9, 0.12), hidden).psnr_db
    )


def test_the_filter_bank_sees_which_way_wrinkles_run():
    x = torch.arange(SIZE) / SIZE
    across = 0.5 + 0.1 * torch.sin(60 * x).expand(3, SIZE, SIZE)
    hidden = torch.ones(SIZE, SIZE)
    shifted = 0.5 + 0.1 * torch.sin(60 * x + 2).expand(3, SIZE, SIZE)
    turned = across.transpose(1, 2)
    assert filter_bank_distance(across, shifted, hidden) < 0.25 * filter_bank_distance(across, turned, hidden)


def test_evaluation_ranks_methods_by_what_was_hidden():
    maps = [torch.full((3, SIZE, SIZE), level) for level in (0.3, 0.45, 0.6)]
    mask = torch.ones(SIZE, SIZE)
    mask[:, :24] = 0
    inside = torch.ones(SIZE, SIZE)
    seen: list[torch.Tensor] = []

    def black(albedo: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(albedo)
        return paste(albedo, mask, torch.zeros_like(albedo))

    rows = evaluate_completion(
        {"constant": completed_by(Constant()), "black": black}, maps, [mask] * 3, {"skin": inside}
    )
    constant, nothing = rows
    assert (constant.method, constant.maps, constant.region, nothing.method) == ("constant", 3, "skin", "black")
    assert constant.hidden_share == pytest.approx(24 / 64)
    assert constant.psnr_db > 100
    assert nothing.psnr_db == pytest.approx(-20 * math.log10(0.45), abs=1e-3)  # the median of the three
    assert not any(albedo[:, :, :24].any() for albedo in seen)  # nobody is shown what he has to guess
