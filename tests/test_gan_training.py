"""Training of the albedo GAN: each loss against hand computation, and the loop's promises (resume, several processes,
numbers that are not finite) on networks of a few texels."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from core.albedo import gan_training
from core.albedo.gan_data import Feed, People, check_data, collate
from core.albedo.gan_losses import (
    PictureLosses,
    PictureSettings,
    RandomFeatures,
    laplacian_loss,
    path_lengths,
    r1_penalty,
)
from core.albedo.gan_training import (
    GanSettings,
    Networks,
    Trainer,
    average_decay,
    build_networks,
    check_settings,
    checkpoints,
    train,
    update_average,
)
from core.errors import FileError, LikenessError
from tests.tiny_head import tiny_head

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
LATENT, SHAPE, SIDE = 4, 3, 16


@dataclass(frozen=True, eq=False)
class TinySample:
    latent: Tensor
    shape: Tensor
    albedo: Tensor


class TinyData:
    """People whose map and shape are smooth functions of their latent."""

    def __init__(self, count: int = 8, side: int = SIDE) -> None:
        generator = torch.Generator().manual_seed(0)
        self.latents = torch.randn(count, LATENT, generator=generator)
        self.side = side
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
        self.basis = torch.stack([torch.ones_like(x), x, y, x * y])

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, i: int) -> TinySample:
        tone = (self.latents[i, :, None, None] * self.basis).sum(0)
        colours = torch.tensor([0.9, 0.6, 0.4])[:, None, None]
        albedo = (255 * colours * torch.sigmoid(tone)).round().to(torch.uint8)
        return TinySample(self.latents[i], self.latents[i, :SHAPE] * 0.5, albedo)


TINY = GanSettings(
    size=SIDE,
    style_dim=8,
    mapping_layers=2,
    channel_max=8,
    batch_size=4,
    supervised_images=16,
    adversarial_images=16,
    warm_up_images=8,
    pyramid_levels=3,
    anchor_skip=1,
    r1_every=2,
    path_every=2,
    augment_every=1,
    augment_images=64,
    log_every=2,
    samples_every=16,
    checkpoint_every=16,
    bad_steps=3,
)


def networks(settings: GanSettings = TINY, seed: int = 0) -> Networks:
    return build_networks(replace(settings, seed=seed), LATENT, SHAPE)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    parts = {"g": trainer.generator, "d": trainer.discriminator, "s": trainer.shape_head, "a": trainer.average}
    return {f"{n}.{k}": v.detach().clone() for n, part in parts.items() for k, v in part.named_parameters()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


# ------------------------------------------------------------------------------------------------ growing


def test_small_maps_come_first_and_leave_the_levels_above_alone():
    trainer = Trainer(networks(), replace(TINY, growth=((4, 0.25), (8, 0.25))), LATENT, CPU)
    data = TinyData()
    before = weights(trainer)
    sizes = {
        "g.convs.0.": 8,
        "g.convs.1.": 8,
        "g.to_rgbs.0.": 8,
        "g.convs.2.": 16,
        "g.convs.3.": 16,
        "g.to_rgbs.1.": 16,
    }
    for learnt in (4, 8, 16, 16):  # of 16 supervised images, four a step
        assert trainer.learnt_size == learnt
        trainer.train_on(collate([data[i] for i in range(4)], SIDE))
        after = weights(trainer)
        for name, size in sizes.items():
            mine = [k for k in before if k.startswith(name)]
            assert len(mine) > 1
            assert all(torch.equal(before[k], after[k]) for k in mine) == (size > learnt), name
    assert trainer.learnt_size == SIDE


def test_w_holds_the_person_from_the_start():
    generator = networks().generator
    latents = torch.randn(5, LATENT, generator=torch.Generator().manual_seed(0))
    z = torch.cat([latents, torch.zeros(5, 8 - LATENT)], 1)
    w = generator.style(z).detach()
    told = (w[:, :LATENT] - w[:, LATENT : 2 * LATENT]) / z.square().mean(1, keepdim=True).rsqrt()
    factor = told / latents
    torch.testing.assert_close(factor, factor[:1, :1].expand_as(factor), rtol=1e-4, atol=1e-5)


def test_fewer_levels_are_what_the_last_level_adds_to():
    """With the last level's colours at zero, the whole map is the smaller one enlarged."""
    generator = networks().generator
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        generator.to_rgbs[-1].conv.weight.zero_()
        generator.to_rgbs[-1].bias.zero_()
        whole, _ = generator([z], randomize_noise=False)
        small, _ = generator([z], randomize_noise=False, levels=1)
        assert small.shape[-1] == SIDE // 2
        torch.testing.assert_close(whole, generator.to_rgbs[-1].upsample(small))


# -------------------------------------------------------------------------------------------------------- losses


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights():
    weight = torch.randn(1, 3 * 4 * 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    images = torch.randn(5, 3, 4, 4).requires_grad_()
    penalty = r1_penalty(images.flatten(1) @ weight.T, images)
    torch.testing.assert_close(penalty, weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * weight)


def test_r1_of_a_quadratic_discriminator():
    """D(x) = sum x^2 / 2 has the gradient x, so the penalty is the mean squared norm of the images."""
    images = torch.randn(5, 3, 4, 4).requires_grad_()
    penalty = r1_penalty(images.square().flatten(1).sum(1, keepdim=True) / 2, images)
    torch.testing.assert_close(penalty, images.detach().square().flatten(1).sum(1).mean())


def test_path_length_of_a_linear_generator():
    generator = torch.Generator().manual_seed(0)
    layers, dim, side = 3, 5, 4
    jacobian = torch.randn(layers, dim, 3 * side * side, generator=generator)
    latents = torch.randn(2, layers, dim, generator=generator, requires_grad=True)
    images = torch.einsum("bld,ldp->bp", latents, jacobian).unflatten(1, (3, side, side))
    noise = torch.randn(2, 3, side, side, generator=generator)
    pulled = torch.einsum("ldp,bp->bld", jacobian, noise.flatten(1)) / side  # J^T y
    expected = pulled.square().sum(2).mean(1).sqrt()
    torch.testing.assert_close(path_lengths(images, latents, noise), expected)


def test_path_length_of_an_isometry_times_a_does_not_depend_on_the_map():
    """Orthogonal columns of length a: |J^T y|^2 is a^2 times a chi square with as many degrees as w has numbers."""
    dim, side, a = 64, 16, 0.7
    generator = torch.Generator().manual_seed(0)
    columns = torch.linalg.qr(torch.randn(3 * side * side, dim, generator=generator))[0].T * a * side
    latents = torch.randn(200, 1, dim, generator=generator, requires_grad=True)
    images = (latents[:, 0] @ columns).unflatten(1, (3, side, side))
    lengths = path_lengths(images, latents, torch.randn(200, 3, side, side, generator=generator))
    assert float(lengths.detach().square().mean()) == pytest.approx(a**2 * dim, rel=0.05)


def test_average_decay():
    assert average_decay(32, 0, 1000, 0.05) == 0
    assert average_decay(1000, 10**9, 1000, 0.05) == pytest.approx(0.5)
    # Early on the half-life is a share of what was seen.
    assert average_decay(10, 200, 1000, 0.05) == pytest.approx(0.5)
    # Ten steps of a batch leave what one step of ten batches leaves.
    assert average_decay(8, 10**6, 500, 1.0) ** 10 == pytest.approx(average_decay(80, 10**6, 500, 1.0))


def test_update_average_is_a_weighted_mean_of_parameters():
    average, model = nn.Linear(3, 2), nn.Linear(3, 2)
    before = [p.detach().clone() for p in average.parameters()]
    update_average(average, model, 0.75)
    for now, old, new in zip(average.parameters(), before, model.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * new)
    update_average(average, model, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), model.parameters(), strict=True))


def test_laplacian_loss_by_band():
    a, b = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(laplacian_loss(a, a, 4)) == 0
    # A constant difference lives in the low pass alone, at its own size.
    assert float(laplacian_loss(a, a + 0.25, 4)) == pytest.approx(0.25, abs=1e-6)
    assert float(laplacian_loss(a, a + 0.25, 4, skip=3)) == pytest.approx(0.25, abs=1e-6)
    # With one level it is L1.
    torch.testing.assert_close(laplacian_loss(a, b, 1), (a - b).abs().mean())
    # A checkerboard is the finest band alone: skipping it leaves nothing.
    board = torch.where((torch.arange(16)[:, None] + torch.arange(16)) % 2 == 0, 0.5, -0.5).expand(2, 3, 16, 16)
    assert float(laplacian_loss(a + board, a, 4)) == pytest.approx(0.5, abs=1e-6)
    assert float(laplacian_loss(a + board, a, 4, skip=1)) == pytest.approx(0.0, abs=1e-6)


def test_random_features_see_structure_where_l1_does_not():
    generator = torch.Generator().manual_seed(0)
    grain, other = 0.1 * torch.randn(2, 1, 3, 32, 32, generator=generator)
    flat = torch.zeros(1, 3, 32, 32)
    distance = RandomFeatures()
    # Two draws of the same grain are farther apart in L1 than either is from a flat map; as structure they are nearer.
    assert (grain - other).abs().mean() > (grain - flat).abs().mean()
    assert distance.features(flat)[0].abs().max() == 0
    energies = [[f.mean() for f in distance.features(x)] for x in (grain, other, flat)]
    assert all(abs(a - b) < 0.1 * a for a, b in zip(energies[0], energies[1], strict=True))
    torch.testing.assert_close(distance(grain, grain + 0.3), torch.tensor(0.0), atol=0.2, rtol=0)
    assert torch.equal(RandomFeatures()(grain, other), distance(grain, other)), "the filters are fixed"


# ------------------------------------------------------------------------------------------- losses on pictures


def pictures(recogniser: Callable[[Tensor], Tensor] | None = None) -> PictureLosses:
    identity = 0.0 if recogniser is None else 1.0
    settings = PictureSettings(l1=1.0, features=1.0, identity=identity, size=48)
    return PictureLosses(tiny_head(), settings, RandomFeatures(), recogniser)


def test_pictures_of_the_same_map_are_the_same_and_gradients_reach_what_is_seen():
    drawn = pictures(lambda picture: picture.mean((2, 3)) - 0.1)
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(2, 3, 32, 32, generator=generator) - 0.5
    shape, numbers = torch.zeros(2, 5), torch.randn(2, PictureLosses.NUMBERS, generator=generator)
    same = drawn(real, real, shape, numbers)
    assert set(same) == {"picture", "picture_features", "identity"}
    assert all(abs(float(v)) < 1e-6 for v in same.values())
    made = (real + 0.2).requires_grad_()
    losses = drawn(made, real, shape, numbers)
    assert all(float(v.detach()) > 1e-5 for v in losses.values())
    (gradient,) = torch.autograd.grad(losses["picture"], made)
    reached = (gradient != 0).any(1).float().mean()
    assert 0.1 < reached < 0.9, "the front of the head is seen, its back is not"


def test_a_brighter_map_gives_a_larger_loss_the_brighter_it_is():
    drawn, generator = pictures(), torch.Generator().manual_seed(0)
    real, shape = torch.zeros(1, 3, 32, 32), torch.zeros(1, 5)
    numbers = torch.randn(1, PictureLosses.NUMBERS, generator=generator)
    losses = [float(drawn(real + step, real, shape, numbers)["picture"]) for step in (0.1, 0.2, 0.4)]
    assert losses[0] < losses[1] < losses[2]


def test_identity_needs_a_recogniser_and_pictures_a_head():
    with pytest.raises(LikenessError, match=r"identity loss is 0\.5, but no face recogniser"):
        PictureLosses(tiny_head(), PictureSettings(identity=0.5), RandomFeatures(), None)
    with pytest.raises(LikenessError, match="need a head model"):
        Trainer(networks(), replace(TINY, pictures=PictureSettings(l1=1.0)), LATENT, CPU)


def test_pictures_take_part_in_training():
    class Heads(TinyData):
        def __getitem__(self, i: int) -> TinySample:
            sample = super().__getitem__(i)
            return TinySample(sample.latent, torch.zeros(5), sample.albedo)

    settings = replace(TINY, pictures=PictureSettings(l1=1.0, size=32))
    trainer = Trainer(build_networks(settings, LATENT, 5), settings, LATENT, CPU, tiny_head())
    trainer.train_on(collate([Heads()[i] for i in range(4)], SIDE))
    assert trainer.read_numbers()["picture"] > 0


# ---------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("preload_gb", [1.0, 0.0])
def test_each_epoch_shows_everyone_once_in_a_new_order(preload_gb: float):
    data = TinyData(6)
    feed = Feed(data, SIDE, 4, CPU, preload_gb=preload_gb)
    shown = torch.cat([feed.batch(seen).latent[:, 0] for seen in range(0, 24, 4)])
    everyone = data.latents[:, 0].sort().values
    epochs = shown.split(6)
    assert all(torch.equal(epoch.sort().values, everyone) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    # From the middle, and as two processes would.
    assert torch.equal(Feed(data, SIDE, 4, CPU, preload_gb=preload_gb).batch(8).latent[:, 0], shown[8:12])
    halves = [Feed(data, SIDE, 4, CPU, rank=r, world=2, preload_gb=preload_gb).batch(8).latent[:, 0] for r in (0, 1)]
    assert torch.equal(torch.stack(halves, 1).flatten(), shown[8:12])


def test_maps_are_averaged_down_and_refused_where_that_is_impossible():
    data = TinyData(2, side=32)
    people = collate([data[0], data[1]], 16)
    block = data[1].albedo[:, 2:4, 6:8].float().mean((1, 2))
    torch.testing.assert_close(people.albedo[1, :, 1, 3].float(), block, atol=0.5, rtol=0)
    assert people.maps.min() >= -1 and people.maps.max() <= 1
    assert check_data(data, 16) == (LATENT, SHAPE)
    with pytest.raises(LikenessError, match=r"32 texels.*128.*--size"):
        check_data(data, 128)
    with pytest.raises(LikenessError, match="holds no maps"):
        check_data(TinyData(0), 16)


# ------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("changed", "latent", "world", "says"),
    [
        ({"size": 100}, 4, 1, r"size is 100 \(--size\)"),
        ({"batch_size": 6}, 4, 4, r"batch of 6 maps \(--batch-size\).*4 processes.*multiple of 4"),
        ({"batch_size": 0}, 4, 1, "--batch-size"),
        ({"style_dim": 8}, 9, 1, "8 numbers, but a person's latent takes 9"),
    ],
)
def test_settings_that_cannot_work_are_named(changed: dict[str, Any], latent: int, world: int, says: str):
    with pytest.raises(LikenessError, match=says):
        check_settings(replace(TINY, **changed), latent, world)


def test_presets_are_settings_that_work():
    for settings in gan_training.PRESETS.values():
        check_settings(settings, 300, 1)


# ------------------------------------------------------------------------------------------------------ training


def test_the_supervised_phase_learns_eight_maps(tmp_path: Path):
    data = TinyData(side=8)
    settings = replace(TINY, size=8, style_dim=64, channel_max=16, supervised_rate=2e-2, batch_size=8, log_every=10)
    settings = replace(settings, supervised_images=8 * 160, adversarial_images=0)
    settings = replace(settings, samples_every=10**6, checkpoint_every=10**6)
    train(networks(settings), data, tmp_path, settings, CPU)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["pyramid"] < lines[0]["pyramid"] / 4
    assert lines[-1]["shape"] < lines[0]["shape"] / 6
    # The averaged generator makes each person from the latent, whatever the rest of z is.
    trainer = Trainer(networks(settings), settings, LATENT, CPU)
    trainer.load(checkpoints(tmp_path)[-1])
    people = collate([data[i] for i in range(8)], 8)
    z = torch.cat([people.latent, torch.randn(8, 60, generator=torch.Generator().manual_seed(3))], 1)
    with torch.no_grad():
        made, _ = trainer.average[0]([z], noise=trainer._no_noise())
    distance = torch.cdist(made.flatten(1), people.maps.flatten(1))
    assert distance.diagonal().mean() < 0.4 * distance.mean()


def test_mixed_precision_takes_the_same_steps_but_for_rounding():
    people = collate([TinyData()[i] for i in range(4)], SIDE)
    found = []
    for bf16 in (False, True):
        trainer = Trainer(networks(), replace(TINY, bf16=bf16), LATENT, CPU)
        trainer.train_on(people)
        trainer.begin_adversarial_phase()
        for _ in range(2):  # with the regularisers and without
            trainer.train_on(people)
        found.append(trainer.read_numbers())
        assert all(p.dtype == torch.float32 for p in trainer.generator.parameters())
    exact, rounded = found
    assert exact.keys() == rounded.keys() and rounded["bad_steps"] == 0
    for name in ("pyramid", "discriminator", "generator", "path", "shape"):
        assert rounded[name] == pytest.approx(exact[name], rel=0.05, abs=0.01)
    # Styles and shapes are computed in float32 either way.
    assert all(rounded[name] != exact[name] for name in ("pyramid", "discriminator", "generator")), "no autocast"


def test_the_log_and_the_sheet_say_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: dict[str, list[int]] = {}

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            assert isinstance(value, float)
            written.setdefault(name, []).append(step)

        def add_image(self, name: str, image: Tensor, step: int) -> None:
            assert image.dtype == torch.uint8
            written.setdefault(name, []).append(step)

        def close(self) -> None:
            written["closed"] = []

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    said: list[str] = []
    train(networks(), TinyData(), tmp_path, TINY, CPU, report=said.append)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["images"], line["phase"]) for line in lines] == [
        (8, "supervised"),
        (16, "supervised"),
        (24, "adversarial"),
        (32, "adversarial"),
    ]
    assert {"pyramid", "features", "shape", "generator_gradient", "images_per_second", "bad_steps"} <= set(lines[0])
    assert {"discriminator", "generator", "r1", "path", "augment", "sign_of_real", "pyramid"} <= set(lines[3])
    assert written["adversarial/r1"] == [24, 32] and written["samples"] and "closed" in written
    sheet = Image.open(tmp_path / "samples-000000032.png")
    assert sheet.size == (8 * SIDE, 4 * SIDE)
    assert any("32 images, adversarial" in line for line in said)
    fourth = np.asarray(sheet)[:SIDE, 3 * SIDE : 4 * SIDE]
    assert np.array_equal(fourth.transpose(2, 0, 1), TinyData()[3].albedo.numpy())


def test_without_tensorboard_it_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    log = gan_training.Log(tmp_path, said.append)
    assert log.writer is None and "tensorboard is not installed" in said[0]
    log.numbers(8, "supervised", {"pyramid": math.nan, "shape": 0.5})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {
        "images": 8,
        "phase": "supervised",
        "pyramid": None,
        "shape": 0.5,
    }


@pytest.mark.parametrize("break_at", [8, 24])
def test_a_resumed_run_is_the_run_without_the_break(tmp_path: Path, break_at: int):
    """Bit for bit, in either phase, from the files alone: the newest is a checkpoint from the middle of a whole run."""
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    settings = replace(TINY, checkpoint_every=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_training, "KEPT_CHECKPOINTS", 100)
        whole = train(networks(), TinyData(), tmp_path / "whole", settings, CPU)
    middle = f"checkpoint-{break_at:09d}.safetensors"
    shutil.copy(tmp_path / "whole" / middle, tmp_path / "broken" / middle)
    resumed = train(networks(seed=5), TinyData(), tmp_path / "broken", settings, CPU, resume=True)
    assert resumed.images == whole.images == 32
    assert_equal(weights(resumed), weights(whole))
    assert torch.equal(resumed.random.get_state(), whole.random.get_state())
    assert torch.equal(resumed.augment_probability, whole.augment_probability)
    assert float(whole.augment_probability) > 0 and float(whole.path_mean) > 0, "the adversarial phase did its work"
    kept = checkpoints(tmp_path / "broken")
    assert [path.name for path in kept] == ["checkpoint-000000028.safetensors", "checkpoint-000000032.safetensors"]


def test_a_checkpoint_of_other_networks_or_none_is_refused(tmp_path: Path):
    path = tmp_path / "checkpoint-000000000.safetensors"
    trainer = Trainer(networks(), TINY, LATENT, CPU)
    trainer.save(path)
    wide = replace(TINY, channel_max=16)
    with pytest.raises(FileError, match=r"channel_max = 8, but this run has channel_max = 16"):
        Trainer(networks(wide), wide, LATENT, CPU).load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="truncated or damaged"):
        trainer.load(path)


def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "checkpoint-000000000.safetensors"
    trainer = Trainer(networks(), TINY, LATENT, CPU)
    trainer.save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match=r"No space left on device.*room on its disk"):
        trainer.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("phase", ["supervised", "adversarial"])
def test_a_step_that_is_not_finite_changes_nothing_and_several_stop_the_run(phase: str):
    trainer = Trainer(networks(), TINY, LATENT, CPU)
    good = collate([TinyData()[i] for i in range(4)], SIDE)
    bad = People(good.latent, torch.full_like(good.shape, math.nan), good.albedo)
    if phase == "adversarial":
        trainer.begin_adversarial_phase()
    trainer.train_on(good)
    before = {k: v for k, v in weights(trainer).items() if k[0] in "gs"}
    moments = [v.clone() for state in trainer.generator_optimiser.state.values() for v in state.values()]
    trainer.train_on(bad)
    trainer.train_on(bad)
    assert_equal({k: v for k, v in weights(trainer).items() if k[0] in "gs"}, before)
    after = [v for state in trainer.generator_optimiser.state.values() for v in state.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))
    assert trainer.read_numbers()["bad_steps"] == 2
    trainer.train_on(good)
    assert all(torch.isfinite(v).all() for v in weights(trainer).values())
    trainer.read_numbers()  # two in a row are forgiven
    for _ in range(3):
        trainer.train_on(bad)
    with pytest.raises(LikenessError, match=r"last 3 steps were not finite.*--resume"):
        trainer.read_numbers()


def test_a_poisoned_discriminator_stops_the_run(tmp_path: Path):
    nets = networks()
    next(iter(nets.discriminator.parameters())).data.fill_(math.inf)
    settings = replace(TINY, supervised_images=0, adversarial_images=400)
    with pytest.raises(LikenessError, match="not finite"):
        train(nets, TinyData(), tmp_path, settings, CPU)


def test_minutes_end_both_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A clock that runs a second per look: the supervised phase gets its share of the minutes, the other the rest."""
    clock = iter(range(10**6))
    monkeypatch.setattr(gan_training.time, "monotonic", lambda: next(clock))
    settings = replace(TINY, supervised_images=10**6, adversarial_images=10**6, supervised_share=0.5, log_every=1)
    trainer = train(networks(), TinyData(), tmp_path, settings, CPU, minutes=0.1)
    assert trainer.phase == "adversarial"
    assert 0 < trainer.adversarial_from < trainer.images < 100


# ---------------------------------------------------------------------------------------------- several processes

WORKER = textwrap.dedent(
    """
    import sys
    from dataclasses import replace
    from pathlib import Path
    import torch
    from safetensors.torch import save_file
    from torch import distributed, nn
    from core.albedo.gan_training import Networks, Trainer, train
    from tests.test_gan_training import CPU, TINY, TinyData, networks, weights

    class Plain(nn.Module):
        # No statistics over the batch, which processes do not share.
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))

        def forward(self, images):
            return self.layers(images)

    def run(out):
        torch.manual_seed(7)
        nets = networks()
        nets = Networks(nets.generator, Plain(), nets.shape_head)
        out.mkdir(exist_ok=True)
        return train(nets, TinyData(), out, TINY, CPU)

    if __name__ == "__main__":
        torch.set_num_threads(1)
        out, rank = Path(sys.argv[1]), int(sys.argv[2])
        distributed.init_process_group("gloo", init_method=f"file://{out}/meet", rank=rank, world_size=2)
        trainer = run(out / "two")
        save_file(weights(trainer), str(out / f"rank{rank}.safetensors"))
        distributed.destroy_process_group()
    """
)


def test_two_processes_train_the_weights_of_one(tmp_path: Path):
    """All terms of both phases: gradients averaged, data and random numbers shared out."""
    from safetensors.torch import load_file

    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), str(rank)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    for worker in workers:
        _, problems = worker.communicate(timeout=300)
        assert worker.returncode == 0, problems[-3000:]
    one, two = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert_equal(one, two)
    scope: dict[str, Any] = {"__name__": "worker"}
    exec(compile(WORKER, "worker", "exec"), scope)
    alone = weights(scope["run"](tmp_path / "alone"))
    start = weights(Trainer(networks(), TINY, LATENT, CPU))
    for key, value in alone.items():
        # Sums in another order: Adam turns a difference of rounding in a gradient near 0 into one of the rate's size.
        torch.testing.assert_close(one[key], value, atol=2e-3, rtol=2e-3)
        if key[0] in "gs" and key in start:
            assert not torch.equal(start[key], value) or "noise" in key
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("two", "alone")]
    assert len(logs[0]) == len(logs[1]) == 4, "one process writes the log"
