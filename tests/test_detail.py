"""The variational auto-encoder: its bound piece by piece, its training, its files."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.albedo.coarse import CoarseAlbedo, train_coarse
from core.albedo.detail import (
    DetailAlbedo,
    DetailLoss,
    DetailNet,
    DetailSettings,
    Gaussian,
    Progress,
    bands,
    detail_loss,
    energy_difference,
    gradient_difference,
    split,
    standard_normal,
    train_detail,
)
from core.albedo.model import log_albedo, srgb_from_log
from core.atlas import atlas_lookup
from core.errors import FileError, LikenessError
from tests.tiny_head import tiny_head

SETTINGS = DetailSettings(size=32, grid=8, channels=4, shared=4, width=8)


@functools.cache
def maps() -> torch.Tensor:
    """Tones with spots of some strength, of which a coarse map with one component knows nothing."""
    generator = torch.Generator().manual_seed(0)
    logs = -1.3 + 0.3 * torch.randn(9, 1, 1, 1, generator=generator).expand(-1, 3, 32, 32)
    spots = torch.zeros(32, 32)
    spots[6:12, 8:14] = spots[6:12, 18:24] = 1  # symmetric, as training mirrors maps
    logs = logs - torch.linspace(0, 0.6, 9)[torch.randperm(9, generator=generator)][:, None, None, None] * spots
    return (srgb_from_log(logs) * 255).round().to(torch.uint8)


@functools.cache
def coarse() -> CoarseAlbedo:
    return train_coarse(maps(), 1, None, head=tiny_head(), size=16)


def train(out: Path, epochs: int = 6, **options: object) -> list[Progress]:
    log: list[Progress] = []
    arguments = {"settings": SETTINGS, "head": tiny_head(), "learning_rate": 4e-3, **options}
    train_detail(maps(), coarse(), out, epochs, 4, report=log.append, **arguments)  # type: ignore[arg-type]
    return log


# --- the bound ---


def test_the_divergence_is_what_sampling_says():
    generator = torch.Generator().manual_seed(0)
    p = Gaussian(torch.tensor([[0.3, -1.0]]), torch.tensor([[-1.0, 0.4]]))
    q = Gaussian(torch.tensor([[0.0, 0.5]]), torch.tensor([[0.2, -0.3]]))

    def log_density(g: Gaussian, x: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Normal(g.mean, (0.5 * g.log_variance).exp()).log_prob(x).sum(1)

    for other in (q, standard_normal(p)):
        drawn = p.draw(torch.randn(200_000, 2, generator=generator))
        sampled = (log_density(p, drawn) - log_density(other, drawn)).mean()
        assert float(p.divergence(other)) == pytest.approx(float(sampled), rel=0.02)
    assert float(p.divergence(p)) == 0


def test_bands_add_up_to_the_image():
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rest = torch.nn.functional.avg_pool2d(image, 16)
    total = torch.nn.functional.interpolate(rest, size=(32, 32))
    for band in bands(image):
        total = total + torch.nn.functional.interpolate(band, size=(32, 32))
    torch.testing.assert_close(total, image)


def test_energy_ignores_where_grains_lie_and_the_gradient_does_not():
    first, second = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert energy_difference(first, first) == 0 and gradient_difference(first, first) == 0
    assert energy_difference(first, second) < 0.25 * energy_difference(first, 0.0 * first)
    assert gradient_difference(first, second) > gradient_difference(first, 0.0 * first)
    # Half as strong: half the root mean square of every band.
    whole = energy_difference(first, torch.zeros_like(first))
    assert float(energy_difference(first, 0.5 * first)) == pytest.approx(float(whole) / 2, rel=0.02)
    # A ramp of 1 per texel along one axis.
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert float(gradient_difference(ramp, torch.zeros_like(ramp))) == 0.5


def test_the_loss_is_the_sum_of_its_parts_and_blind_outside_the_skin():
    torch.manual_seed(0)
    net = DetailNet(SETTINGS)
    residual, over = split(maps()[:2].float() / 255, coarse(), SETTINGS)
    mask = torch.ones(2, 1, 32, 32)
    mask[..., 16:] = 0
    inside = atlas_lookup(tiny_head(), 32).inside

    def loss(weights: DetailLoss, residual: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        return detail_loss(net, residual, over, mask, inside, weights, torch.Generator().manual_seed(5))

    weights = DetailLoss()
    value, parts = loss(weights, residual)
    texels = 3 * int(inside.sum())
    expected = parts["l1"] + weights.gradient * parts["gradient"] + weights.energy * parts["energy"]
    expected += (weights.prior * parts["prior_nats"] + weights.partial * parts["partial_nats"]) / texels
    assert float(value.detach()) == pytest.approx(expected, abs=1e-4)
    # With the full view as the partial one, the two distributions are the same.
    _, same = detail_loss(net, residual, over, torch.ones_like(mask), inside, weights, torch.Generator().manual_seed(5))
    assert same["partial_nats"] < 1e-5


def test_what_the_mask_hides_is_not_seen_by_the_encoder():
    torch.manual_seed(0)
    net = DetailNet(SETTINGS).eval()
    residual, over = split(maps()[:1].float() / 255, coarse(), SETTINGS)
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 16:] = 0
    junk = torch.where(mask.bool(), residual, torch.full_like(residual, 9.0))
    noise = torch.randn(1, SETTINGS.latent_size, generator=torch.Generator().manual_seed(0))
    latent = net.infer(residual, over, mask, noise)
    assert torch.equal(net.infer(junk, over, mask, noise), latent)
    assert not torch.equal(net.infer(residual, over, torch.ones_like(mask), noise), latent)


def test_a_residual_is_what_the_coarse_map_lacks():
    albedo = maps()[:3].float() / 255
    residual, over = split(albedo, coarse(), SETTINGS)
    torch.testing.assert_close(over + SETTINGS.unit * residual, log_albedo(albedo), atol=1e-5, rtol=0)


# --- training ---


def test_minimising_the_loss_reconstructs_the_maps():
    torch.manual_seed(0)
    net = DetailNet(SETTINGS)
    residual, over = split(maps()[:8].float() / 255, coarse(), SETTINGS)
    inside, seen = atlas_lookup(tiny_head(), 32).inside, torch.ones(8, 1, 32, 32)
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3, betas=(0.9, 0.98))
    # The weights are for maps of many texels; here a nat of information is a large share of one.
    weights = DetailLoss(prior=0.02, partial=0.02)
    for step in range(150):
        value, _ = detail_loss(net, residual, over, seen, inside, weights, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    model = DetailAlbedo(net.eval().requires_grad_(False))
    no_noise = torch.zeros(SETTINGS.latent_size)
    for truth, under in zip(residual * SETTINGS.unit, over, strict=True):
        made = model.decode(model.infer(truth, under, seen[0, 0], no_noise), under)
        assert (made - truth)[:, inside].abs().mean() < max(0.6 * float(truth[:, inside].abs().mean()), 0.01)


def test_the_loss_falls_and_the_log_tells(tmp_path: Path):
    log = train(tmp_path / "detail.safetensors", epochs=12)
    assert log[-1].step == 24
    assert sum(p.loss for p in log[-3:]) < 0.9 * sum(p.loss for p in log[:3])
    assert all(p.held_out_l1 is not None for p in log)  # the ends of epochs are the only steps logged here
    lines = [json.loads(line) for line in (tmp_path / "detail.log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [p.step for p in log]


def test_training_that_was_cut_off_goes_on_to_the_same_bytes(tmp_path: Path):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(whole, epochs=4)
    first = train(parts, epochs=4, minutes=0.0)  # stops after one step
    assert first[-1].step == 1
    assert not torch.equal(load_file(parts)["exit.weight"], load_file(whole)["exit.weight"])
    assert train(parts, epochs=4)[-1].step == 8
    one, other = load_file(whole), load_file(parts)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    state, again = (load_file(path.with_suffix(".checkpoint.safetensors")) for path in (whole, parts))
    assert state.keys() == again.keys() and all(torch.equal(state[key], again[key]) for key in state)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path):
    out = tmp_path / "detail.safetensors"
    train(out, epochs=1)
    with pytest.raises(FileError, match=r"another training: learning_rate was 0\.004, is 0\.001\. Delete"):
        train(out, epochs=1, learning_rate=1e-3)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path):
    out = tmp_path / "detail.safetensors"
    broken = replace(DetailLoss(), energy=float("nan"))
    with pytest.raises(LikenessError, match=r"no number in ten steps in a row, up to step 9.*lower learning rate"):
        train(out, epochs=10, loss=broken)
    assert not out.exists()


def test_one_bad_map_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import core.albedo.detail as detail

    calls = []

    def spoilt(*arguments: object) -> tuple[torch.Tensor, dict[str, float]]:
        value, parts = detail_loss(*arguments)  # type: ignore[arg-type]
        calls.append(1)
        return (value * float("nan") if len(calls) == 2 else value), parts

    monkeypatch.setattr(detail, "detail_loss", spoilt)
    train(tmp_path / "detail.safetensors", epochs=2)
    assert all(torch.isfinite(v).all() for v in load_file(tmp_path / "detail.safetensors").values())


def test_maps_that_cannot_be_trained_on_are_refused(tmp_path: Path):
    with pytest.raises(LikenessError, match="32 texels a side, but the detail model needs 64"):
        train(tmp_path / "a.safetensors", settings=DetailSettings(size=64, grid=8, width=8))
    with pytest.raises(LikenessError, match="asked for 1 maps"):
        train_detail(maps()[:1], coarse(), tmp_path / "b.safetensors", 1, 1, head=tiny_head())
    with pytest.raises(LikenessError, match="size 48, grid 16 and width 16 cannot be built"):
        DetailSettings(size=48)


# --- the model and its files ---


def test_a_file_holds_the_network(tmp_path: Path):
    torch.manual_seed(3)
    model = DetailAlbedo(DetailNet(SETTINGS).eval().requires_grad_(False))
    path = tmp_path / "detail.safetensors"
    model.save(path)
    loaded = DetailAlbedo.load(path)
    assert loaded.settings == SETTINGS
    over = coarse().decode_log(torch.zeros(1, 1))
    over = torch.nn.functional.interpolate(over, scale_factor=2.0)[0]
    latent = torch.randn(SETTINGS.latent_size)
    torch.testing.assert_close(loaded.decode(latent, over), model.decode(latent, over), atol=2e-3, rtol=0)
    assert torch.equal(loaded.decode(latent, over), loaded.decode(latent, over))
    assert torch.equal(loaded.to("cpu").decode(latent, over), loaded.decode(latent, over))


def test_the_network_that_is_shipped_fits_its_budget():
    """At most 12 MB in half precision."""
    assert sum(p.numel() for p in DetailNet(DetailSettings()).parameters()) * 2 < 12e6


def test_bad_files_are_refused_with_a_sentence(tmp_path: Path):
    path, bad = tmp_path / "detail.safetensors", tmp_path / "bad.safetensors"
    DetailAlbedo(DetailNet(SETTINGS)).save(path)
    good = load_file(path)
    header = {"format": "likeness-albedo-detail-1", "settings": json.dumps(vars(SETTINGS))}
    with pytest.raises(FileError, match="truncated or damaged"):
        DetailAlbedo.load(tmp_path / "absent.safetensors")
    bad.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FileError, match="truncated or damaged"):
        DetailAlbedo.load(bad)
    save_file(good, bad)
    with pytest.raises(FileError, match="format is None"):
        DetailAlbedo.load(bad)
    save_file(good, bad, {**header, "settings": "{}["})
    with pytest.raises(FileError, match="does not say which network"):
        DetailAlbedo.load(bad)
    save_file({k: v for k, v in good.items() if k != "exit.bias"}, bad, header)
    with pytest.raises(FileError, match=r"missing exit\.bias; unknown nothing"):
        DetailAlbedo.load(bad)
    save_file({**good, "more": torch.zeros(2)}, bad, header)
    with pytest.raises(FileError, match="unknown more"):
        DetailAlbedo.load(bad)
    save_file({**good, "exit.bias": torch.zeros(4)}, bad, header)
    with pytest.raises(FileError, match=r"exit\.bias has the shape \(4,\), \(3,\) was expected"):
        DetailAlbedo.load(bad)
    save_file({**good, "exit.bias": good["exit.bias"] * float("nan")}, bad, header)
    with pytest.raises(FileError, match=r"exit\.bias that are no numbers"):
        DetailAlbedo.load(bad)
    save_file(good, bad, {**header, "settings": json.dumps({**vars(SETTINGS), "channels": 5})})
    with pytest.raises(FileError, match="has the shape"):
        DetailAlbedo.load(bad)
