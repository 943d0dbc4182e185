"""Both stages as one model: what a latent means, and what fitting may and may not change."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from core.albedo.coarse import CoarseAlbedo, train_coarse
from core.albedo.coarse_to_fine import CoarseToFine
from core.albedo.completion import completed_by
from core.albedo.detail import DetailAlbedo, DetailNet, DetailSettings, split
from core.albedo.model import AlbedoModel, log_albedo, srgb_from_log
from core.errors import FileError, LikenessError
from tests.tiny_head import tiny_head

SETTINGS = DetailSettings(size=32, grid=8, channels=4, shared=4, width=8)


@functools.cache
def maps() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logs = -1.3 + 0.3 * torch.randn(12, 3, 1, 1, generator=generator)
    smooth = torch.nn.functional.interpolate(
        torch.randn(12, 1, 3, 3, generator=generator), size=(32, 32), mode="bicubic"
    )
    return (srgb_from_log(logs + 0.1 * smooth) * 255).round().to(torch.uint8)


@functools.cache
def model() -> CoarseToFine:
    """Trained coarse maps, and a detail network that has not been trained, so that all its latents matter."""
    torch.manual_seed(4)
    net = DetailNet(SETTINGS)
    with torch.no_grad():
        for layer in (net.shared_head, net.grid_head, net.exit):
            layer.weight.mul_(30)
    coarse = train_coarse(maps(), 6, None, head=tiny_head(), size=16)
    return CoarseToFine(coarse, DetailAlbedo(net.eval().requires_grad_(False)))


def half_seen() -> torch.Tensor:
    mask = torch.ones(32, 32)
    mask[:, 20:] = 0
    return mask


def test_it_is_an_albedo_model():
    assert isinstance(model(), AlbedoModel) and isinstance(model().coarse, AlbedoModel)
    latent = model().sample(0)
    assert latent.shape == (6 + SETTINGS.latent_size,)
    assert model().decode(latent).shape == (3, model().size, model().size)
    assert model().decode(latent).min() >= 0 and model().decode(latent).max() <= 1


def test_the_first_coefficients_are_the_coarse_map_and_the_rest_is_added_in_log_albedo():
    latent = model().sample(1)
    over = model().coarse.decode_log(latent[None, :6])
    over = torch.nn.functional.interpolate(over, size=(32, 32), mode="bilinear")[0]
    expected = srgb_from_log(over + model().detail.decode(latent[6:], over))
    torch.testing.assert_close(model().decode(latent), expected)
    assert not torch.allclose(model().decode(latent), srgb_from_log(over), atol=0.01)


def test_fit_finds_the_coarse_stage_s_coefficients_whatever_the_detail():
    """The detail explains what the coarse map leaves; it moves no coefficient, so no visible texel's coarse colour."""
    albedo = maps()[3].float() / 255
    fitted = model().fit(albedo, half_seen())
    coarse_only = model().coarse.fit(albedo, half_seen())
    assert torch.equal(fitted[:6], coarse_only)
    torch.manual_seed(9)
    other = CoarseToFine(model().coarse, DetailAlbedo(DetailNet(SETTINGS).eval().requires_grad_(False)))
    assert torch.equal(other.fit(albedo, half_seen())[:6], coarse_only)


def test_fit_does_not_look_behind_the_mask_and_is_repeatable():
    albedo, mask = maps()[3].float() / 255, half_seen()
    junk = torch.where(mask.bool(), albedo, torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(model().fit(albedo, mask), model().fit(albedo, mask))
    torch.testing.assert_close(model().fit(junk, mask), model().fit(albedo, mask), atol=1e-4, rtol=0)


def test_completion_keeps_visible_texels():
    albedo, mask = maps()[3].float() / 255, half_seen()
    completed = completed_by(model())(albedo * mask, mask)
    assert torch.equal(completed[:, :, :20], albedo[:, :, :20])
    torch.testing.assert_close(completed[:, :, 20:], model().decode(model().fit(albedo, mask))[:, :, 20:])


def test_maps_of_other_sizes_are_resized():
    albedo, mask = maps()[3].float() / 255, half_seen()
    large = albedo.repeat_interleave(2, 1).repeat_interleave(2, 2)
    large_mask = mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
    torch.testing.assert_close(model().fit(large, large_mask), model().fit(albedo, mask), atol=1e-4, rtol=0)


def test_truncation_leads_to_one_map_and_seeds_lead_apart():
    assert torch.equal(model().sample(5), model().sample(5))
    assert not torch.equal(model().sample(5), model().sample(6))
    torch.testing.assert_close(model().sample(5, 0.0), model().sample(6, 0.0))
    spread = [
        torch.stack([log_albedo(model().decode(model().sample(seed, truncation))) for seed in range(12)]).std(0).mean()
        for truncation in (0.0, 0.5, 1.0)
    ]
    assert spread[0] == 0 < spread[1] < spread[2]


def test_detail_of_samples_goes_with_their_coarse_map():
    """What is drawn comes from the encoder that sees the coarse map and nothing else."""
    latent = model().sample(2)
    over = model().coarse.decode_log(latent[None, :6])
    over = torch.nn.functional.interpolate(over, size=(32, 32), mode="bilinear")[0]
    noise = torch.randn(SETTINGS.latent_size, generator=torch.Generator().manual_seed(3))
    any_residual = split(maps()[:1].float() / 255, model().coarse, SETTINGS)[0][0]
    expected = model().detail.infer(any_residual, over, torch.zeros(32, 32), noise)
    torch.testing.assert_close(latent[6:], expected)


def test_two_files_hold_the_model(tmp_path: Path):
    coarse, detail = tmp_path / "coarse.safetensors", tmp_path / "detail.safetensors"
    model().coarse.save(coarse)
    model().detail.save(detail)
    loaded = CoarseToFine.load(coarse, detail)
    latent = model().sample(3)
    assert (loaded.decode(latent) - model().decode(latent)).abs().mean() < 0.01
    assert torch.equal(loaded.to("cpu").decode(latent), loaded.decode(latent))
    with pytest.raises(FileError, match="is not the file that was expected"):
        CoarseToFine.load(detail, coarse)
    with pytest.raises(FileError, match="format is 'likeness-albedo-coarse-1'"):
        DetailAlbedo.load(coarse)
    with pytest.raises(FileError, match=r"absent\.safetensors could not be read"):
        CoarseToFine.load(coarse, tmp_path / "absent.safetensors")


def test_what_cannot_be_fitted_is_refused():
    albedo, mask = maps()[0].float() / 255, torch.ones(32, 32)
    with pytest.raises(LikenessError, match="no numbers"):
        model().fit(albedo * float("nan"), mask)
    with pytest.raises(LikenessError, match="hides the whole map"):
        model().fit(albedo, 0 * mask)
    with pytest.raises(LikenessError, match="between 0 and 1"):
        model().fit(albedo * 255, mask)


def test_the_coarse_stage_alone_is_a_model_too():
    assert isinstance(model().coarse, CoarseAlbedo)
    assert model().coarse.name != model().name
