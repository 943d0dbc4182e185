"""The albedo GAN as a model of people: statistics, edits, fits and files, on a tiny random generator."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.albedo import stylegan2, stylegan_albedo
from core.albedo.model import AlbedoModel
from core.albedo.stylegan2 import Generator
from core.albedo.stylegan_albedo import (
    FitSettings,
    ShapeHead,
    StyleGanAlbedo,
    fit_directions,
    latent_space,
    measure_disentanglement,
    pyramid_difference,
    ridge,
)
from core.errors import FileError, LikenessError

# african to european: proportions, which sum to 1. noise: nothing that w could know. constant: the same for all.
LABELS = ("age", "melanin", "african", "asian", "european", "noise", "constant")
LATENT = tuple(f"factor_{i}" for i in range(6))
SIDE = 32


def people(count: int) -> tuple[Tensor, Tensor]:
    """Latents and labels."""
    random = torch.Generator().manual_seed(1)
    latents = torch.randn(count, 6, generator=random)
    african, asian = 0.3 + 0.1 * latents[:, 2], 0.4 + 0.1 * latents[:, 3]
    labels = [
        50 + 15 * latents[:, 0],
        0.5 + 0.2 * (0.8 * latents[:, 1] + 0.6 * latents[:, 0]),  # goes with age
        african,
        asian,
        1 - african - asian,
        torch.randn(count, generator=random),
        torch.full((count,), 0.3),
    ]
    return latents, torch.stack(labels, 1)


@functools.cache
def networks() -> tuple[Generator, ShapeHead]:
    torch.manual_seed(0)
    generator = Generator(SIDE, style_dim=24, n_mlp=1, channel_max=12).eval()
    for module in generator.modules():
        if isinstance(module, stylegan2.NoiseInjection):
            torch.nn.init.constant_(module.weight, 0.1)
        # So that maps mostly stay within -1..1, as albedo does.
        if isinstance(module, stylegan2.ToRGB):
            module.conv.weight.data *= 0.5
    return generator, ShapeHead(24, 5)


@functools.cache
def model() -> StyleGanAlbedo:
    generator, shape_head = networks()
    return StyleGanAlbedo.from_training(generator, shape_head, *people(400), LABELS, LATENT)


# ------------------------------------------------------------------------------------------------- statistics


def test_whitened_latents_are_standard_normal():
    torch.manual_seed(2)
    w = torch.randn(500, 6) @ torch.randn(6, 6) + torch.randn(6)
    w = torch.cat([w, w[:, :1]], 1)  # one axis without any spread
    space = latent_space(w)
    u = space.whiten(w)
    expected = torch.eye(7)
    expected[0, 0] = 0
    torch.testing.assert_close(torch.cov(u.T), expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(u.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(space.unwhiten(u), w, atol=1e-4, rtol=1e-4)


def test_ridge_regression_expects_what_new_people_show():
    torch.manual_seed(3)
    slopes = torch.randn(2, 40)
    slopes[1] = 0  # nothing to learn
    x = torch.randn(2000, 40)
    y = x @ slopes.T + torch.tensor([3.0, -1.0]) + torch.tensor([0.5, 2.0]) * torch.randn(2000, 2)
    offset, found, error = ridge(x[:120], y[:120])
    new = (y[120:] - offset - x[120:] @ found.T).square().mean(0)
    torch.testing.assert_close(error, new, rtol=0.25, atol=0)
    # Where there is nothing to learn, the penalty says so: plain least squares would err by half as much again.
    plain = torch.linalg.lstsq(torch.cat([x[:120], torch.ones(120, 1)], 1), y[:120]).solution
    of_plain = (y[120:] - x[120:] @ plain[:-1] - plain[-1]).square().mean(0)
    assert new[1] < 1.1 * 4.0 < 1.3 * 4.0 < of_plain[1] and new[0] < 1.02 * of_plain[0]
    offset, found, error = ridge(x, x @ slopes.T + 1)
    torch.testing.assert_close(found, slopes, atol=2e-3, rtol=0)
    assert float(error.max()) < 1e-5


def test_labels_are_explained_where_they_can_be():
    explained = dict(zip(LABELS, model().labels.explained.tolist(), strict=True))
    assert all(explained[name] > 0.5 for name in LABELS[:5])
    assert explained["noise"] < 0.05 and explained["constant"] == 0
    # Held-out people, whose w nobody has seen.
    latents, labels = people(800)
    rest = torch.randn(400, 18, generator=torch.Generator().manual_seed(9))
    w = model().joint.generator.style(torch.cat([latents[400:], rest], 1))
    read = torch.stack([model().read_labels(each.expand(model().latent_shape)) for each in w])
    error = (read - labels[400:]).var(0) / labels[400:].var(0).clamp_min(1e-9)
    torch.testing.assert_close(1 - error[:5], model().labels.explained[:5], atol=0.1, rtol=0)


def test_fits_of_labels_that_do_not_vary():
    u = torch.randn(50, 3)
    labels = fit_directions(u, torch.stack([u[:, 0], torch.full((50,), 7.0)], 1))
    assert labels.mean[1] == 7 and not labels.slopes[1].any() and labels.explained[1] == 0
    torch.testing.assert_close(labels.slopes[0], torch.tensor([1.0, 0, 0]), atol=1e-3, rtol=0)


# ------------------------------------------------------------------------------------------------- drawing people


def test_is_an_albedo_model():
    subject: AlbedoModel = model()
    latent = subject.sample(3)
    assert subject.size == SIDE and latent.shape == (8, 24) == model().latent_shape
    assert torch.equal(latent, subject.sample(3)) and not torch.equal(latent, subject.sample(4))
    image = subject.decode(latent)
    assert torch.equal(image, subject.decode(latent)) and image.shape == (3, SIDE, SIDE)
    assert float(image.min()) >= 0 and float(image.max()) <= 1 and float(image.std()) > 0.02
    assert 1e-4 < float((plain(latent) - image).abs().mean()) < 0.2  # noise draws detail, no more


def test_truncation_and_interpolation():
    subject = model()
    first, second = subject.sample(1), subject.sample(2)
    mean = subject.space.mean.expand(8, 24)
    assert torch.equal(subject.sample(1, 0.0), mean) and torch.equal(subject.truncate(first, 0.0), mean)
    torch.testing.assert_close(subject.sample(1, 0.5), (first + mean) / 2)
    assert torch.equal(subject.interpolate(first, second, 0.0), first)
    torch.testing.assert_close(subject.interpolate(first, second, 1.0), second)
    torch.testing.assert_close(subject.interpolate(first, second, 0.25), 0.75 * first + 0.25 * second)


def test_one_latent_is_one_person():
    subject = model()
    latent = subject.sample(5)
    with torch.no_grad():
        torch.testing.assert_close(subject.shape(latent), subject.joint.shape_head(latent[:1])[0])
    assert subject.shape(latent).shape == (5,)
    assert not torch.allclose(subject.shape(latent), subject.shape(subject.sample(6)))


def test_a_synthetic_person_has_a_latent(monkeypatch: pytest.MonkeyPatch):
    from core.synthesis import people as synthesis

    subject, person = model(), torch.randn(6)
    with pytest.raises(LikenessError, match=r"of 6 coordinates .* people of 6, and this version's people have"):
        subject.from_person(person, 0)
    monkeypatch.setattr(synthesis, "LATENT_NAMES", LATENT)
    latent = subject.from_person(person, 0)
    assert torch.equal(latent, subject.from_person(person, 0)) and latent.shape == (8, 24)
    assert not torch.allclose(latent, subject.from_person(person, 1))
    older = person + torch.tensor([2.0, 0, 0, 0, 0, 0])
    assert subject.read_labels(subject.from_person(older, 0))[0] > subject.read_labels(latent)[0] + 5
    with pytest.raises(LikenessError, match="of 5 coordinates"):
        subject.from_person(person[:5], 0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_person_nearer_the_mean_stays_there(monkeypatch, share: float):
    """z arrives at the mapping network with the length of drawn ones, the person's numbers in it as they were."""
    from core.synthesis import people as synthesis

    subject = model()
    monkeypatch.setattr(synthesis, "LATENT_NAMES", LATENT)
    person = share * torch.tensor([1.0, -2.0, 0.5, 1.5, 0.0, -1.0])
    seen: list[torch.Tensor] = []
    handle = subject.joint.generator.style[0].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    subject.from_person(person, 3)
    # Someone farther out than any z leaves nothing to the seed.
    far = subject.from_person(100 * torch.ones(6), 3)
    handle.remove()
    torch.testing.assert_close(seen[0][:6], person, atol=1e-6, rtol=1e-5)
    assert float(seen[0].square().mean()) == pytest.approx(1, abs=1e-5)
    assert bool((seen[1][6:] == 0).all()) and torch.equal(far, subject.from_person(100 * torch.ones(6), 4))


# ------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize(("label", "amount"), [("age", 20.0), ("age", -7.0), ("melanin", 0.1)])
def test_an_edit_changes_one_label(label: str, amount: float):
    subject = model()
    latent = subject.sample(7)
    change = subject.read_labels(subject.edit(latent, label, amount)) - subject.read_labels(latent)
    expected = torch.tensor([amount if name == label else 0.0 for name in LABELS])
    tolerance = 0.01 * subject.labels.deviation + 1e-6
    assert bool(((change - expected).abs() < tolerance)[:5].all()), change
    back = subject.edit(subject.edit(latent, label, amount), label, -amount)
    torch.testing.assert_close(back, latent, atol=1e-5, rtol=1e-4)


def test_proportions_share_a_change():
    """African, Asian and European sum to one: what one gains the others lose, evenly."""
    subject = model()
    latent = subject.sample(8)
    change = subject.read_labels(subject.edit(latent, "african", 0.2)) - subject.read_labels(latent)
    assert float(change[2]) == pytest.approx(0.2, rel=0.01)
    # Evenly in deviations: of the European proportion that is sqrt(2) times the others'.
    assert float(change[2:5].sum()) == pytest.approx(0, abs=0.02) and bool((change[3:5] < -0.02).all())
    assert bool((change[:2].abs() < 0.02 * subject.labels.deviation[:2]).all())


def test_a_free_label_follows():
    """Age and melanin go together here, and nothing goes with both: the free one takes along what they share in w."""
    subject = model()
    held, free = subject.direction("age"), subject.direction("age", free=["melanin"])
    slopes, deviation = subject.labels.slopes, subject.labels.deviation

    def change(step: Tensor) -> Tensor:
        return slopes @ (subject.space.whiten(subject.space.mean + step)) / deviation * deviation[0]

    assert float(change(held)[1]) == pytest.approx(0, abs=0.01)
    age, melanin = slopes[:2] / deviation[:2, None]
    assert float(change(free)[1]) == pytest.approx(float(age @ melanin / age.square().sum()), abs=0.1)
    assert float(change(free)[1]) > 0.4
    assert float(change(free)[0]) == pytest.approx(1, abs=0.01) and float(change(held)[0]) == pytest.approx(1, abs=0.01)
    length = [float(subject.space.whiten(subject.space.mean + step).norm()) for step in (held, free)]
    assert length[1] < length[0]


@pytest.mark.parametrize(
    ("label", "amount", "sentence"),
    [
        ("beauty", 1.0, r'There is no label "beauty"\. The labels are: age, melanin, .*constant\.'),
        ("noise", 1.0, r'has not learnt "noise": it explains \d % .* at least 5 % are needed'),
        ("constant", 1.0, r'has not learnt "constant"'),
        ("age", math.nan, r'"age" cannot be changed by nan'),
        ("age", math.inf, r'"age" cannot be changed by inf'),
    ],
)
def test_impossible_edits_are_refused(label: str, amount: float, sentence: str):
    with pytest.raises(LikenessError, match=sentence):
        model().edit(model().sample(0), label, amount)


def test_disentanglement_is_measured_in_deviations():
    """Labels written into maps and shapes: 0.01 melanin for each year of age, half of what is asked of proportions."""
    scale = torch.tensor([15.0, 0.2, 0.1, 0.1, 0.1, 1.0, 0.0])
    proportion = (0.1, 0.4)
    all_ends = ((40.0, 55.0), (0.3, 0.5), *[proportion] * 3, (0.0, 1.0), (0.3, 0.3))
    ends: dict[str, tuple[float, float]] = {label: pair for label, pair in zip(LABELS, all_ends, strict=True)}

    def draw(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        if label in ("noise", "constant"):
            raise LikenessError("It cannot be changed.")
        labels = torch.full((7,), float(seed))
        labels[LABELS.index(label)] += value if label in ("age", "melanin") else value / 2
        labels[1] += 0.01 * labels[0]
        return torch.full((3, 2, 2), float(labels[0])), labels[1:]

    def read(maps: Tensor, shapes: Tensor) -> Tensor:
        return torch.cat([maps[:, 0, 0, :1], shapes], 1)

    matrix = measure_disentanglement(draw, read, LABELS, scale, ends, seeds=range(3))
    expected = torch.diag(torch.tensor([1, 1, 0.5, 0.5, 0.5, math.nan, math.nan])).nan_to_num()
    expected[0, 1] = 0.01 * 15 / 0.2
    expected[5:] = expected[:, 6] = math.nan
    torch.testing.assert_close(matrix, expected, atol=1e-4, rtol=0, equal_nan=True)


# ------------------------------------------------------------------------------------------------- styles


def test_a_step_in_styles_is_that_in_latents():
    """S is affine in w, and S alone decides the map: whichever way one gets there."""
    subject = model()
    first, second = subject.sample(1), subject.sample(2)
    step = subject.styles(second) - subject.styles(first)
    torch.testing.assert_close(subject.decode(first, step), subject.decode(second), atol=1e-5, rtol=0)
    assert not torch.allclose(subject.decode(first), subject.decode(second), atol=0.02)
    middle = subject.styles(subject.interpolate(first, second, 0.5))
    torch.testing.assert_close(middle, subject.styles(first) + step / 2, atol=1e-5, rtol=1e-5)
    # One number for each input channel of each of the 12 modulated convolutions of the generator.
    assert step.shape == (12 * 11,)


def test_relevance_is_what_a_channel_does():
    subject, deviation = model(), 15.0
    relevance = subject.style_relevance("age")
    assert float(relevance.sum()) == pytest.approx(1, abs=1e-4)
    move = deviation * subject.direction("age")
    ends = [(subject.space.mean + sign * move).expand(subject.latent_shape) for sign in (1, -1)]
    styles = [subject.styles(end) for end in ends]

    def maps(shift: Tensor) -> Tensor:
        return torch.stack([subject.joint.maps(end[None], detail=False, shift=shift[None])[0] for end in ends])

    nothing = torch.zeros_like(styles[0])
    up, down = maps(nothing)
    # By central differences, for the channels that matter most and for one that matters little.
    order = relevance.argsort(descending=True)
    found = {}
    for channel in (*order[:3].tolist(), int(relevance.abs().argmin())):
        shift = nothing.clone()
        shift[channel] = 1e-2
        slope = (maps(shift) - maps(-shift)).sum(0) / 2e-2
        found[channel] = float((slope * (up - down)).sum() / 2 * (styles[0] - styles[1])[channel])
    ratio = torch.tensor([found[c] / float(relevance[c]) for c in order[:3].tolist()])
    torch.testing.assert_close(ratio, ratio[:1].expand(3), rtol=0.02, atol=0)
    assert abs(found[int(relevance.abs().argmin())]) < 0.05 * found[int(order[0])]


def test_few_channels_do_what_all_do():
    subject = model()
    latent = subject.sample(3, 0.0)
    for label, amount in (("age", 8.0), ("melanin", 0.1)):
        step = subject.style_direction(label, share=0.5)
        all_channels = subject.styles(subject.edit(latent, label, 1.0)) - subject.styles(latent)
        moved = step != 0
        assert 0 < int(moved.sum()) < 0.5 * len(step), "some channels matter more than others"
        ratio = step[moved] / all_channels[moved]
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-2, atol=0)
        assert 1 < float(ratio[0]) <= 2.01
        # The maps of both edits change in the same way and about as far.
        here = subject.decode(latent)
        by_w = subject.decode(subject.edit(latent, label, amount)) - here
        by_s = subject.decode(latent, amount * step) - here
        assert 0.4 < float((by_w * by_s).sum() / by_w.square().sum()) < 1.6
        assert float(torch.cosine_similarity(by_w.flatten(), by_s.flatten(), 0)) > 0.6
        back = subject.decode(latent, amount * step - amount * step)
        assert torch.equal(back, here)


def test_labels_that_do_not_show_have_no_styles():
    generator, shape_head = copy.deepcopy(networks())
    for module in generator.modules():
        if isinstance(module, stylegan2.ToRGB):
            module.conv.weight.data.zero_()
    blind = dataclasses.replace(
        model(), joint=stylegan_albedo.JointGenerator(generator, shape_head).requires_grad_(False)
    )
    with pytest.raises(LikenessError, match=r'"age" does not show in the skin'):
        blind.style_direction("age")
    with pytest.raises(LikenessError, match=r'There is no label "beauty"'):
        blind.style_direction("beauty")
    with pytest.raises(LikenessError, match=r'has not learnt "noise"'):
        blind.style_relevance("noise")


# ------------------------------------------------------------------------------------------------- fits


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()))


def half_seen() -> Tensor:
    mask = torch.zeros(SIDE, SIDE)
    mask[:, : SIDE // 2] = 1
    return mask


def target(seed: int) -> Tensor:
    return plain(model().sample(seed))


def plain(latent: Tensor) -> Tensor:
    """The map without noise, as a fit sees it."""
    return ((model().joint.maps(latent[None], detail=False)[0] + 1) / 2).clamp(0, 1)


def test_a_fit_recovers_known_people():
    """From the left half the right half follows, as both come from one latent: even here, where nothing has been
    trained and the two halves have no more in common than that."""
    subject, mask, settings = model(), half_seen(), FitSettings(evaluations=30)
    mean = plain(subject.sample(0, 0.0))
    gains = []
    for seed in (11, 14):
        truth = plain(subject.sample(seed))
        found = subject.invert(truth, mask, settings)
        fitted = plain(found.latent)
        assert found.latent.shape == subject.latent_shape and not found.latent.requires_grad
        seen = ((fitted - truth).abs().mean(0) * mask).sum() / mask.sum()
        assert found.residual == pytest.approx(float(seen), abs=1e-5)
        # The start, in closed form, is already better than the mean.
        start = float(((mean - truth).abs().mean(0) * mask).sum() / mask.sum())
        assert found.residual < found.start_residual < start
        gains.append([psnr(fitted * m, truth * m) - psnr(mean * m, truth * m) for m in (mask, 1 - mask)])
    on_seen, on_hidden = torch.tensor(gains).unbind(1)
    assert float(on_seen.mean()) > 8 and float(on_hidden.mean()) > 2 and float(on_hidden.min()) > 0, gains


def test_fits_are_deterministic():
    subject, mask, truth = model(), half_seen(), target(11)
    assert torch.equal(subject.fit(truth, mask), subject.invert(truth, mask, FitSettings()).latent)


def test_what_is_hidden_does_not_matter():
    subject, mask, truth = model(), half_seen(), target(13)
    other = torch.where(mask > 0, truth, torch.rand(3, SIDE, SIDE))
    settings = FitSettings(evaluations=4)
    assert torch.equal(subject.invert(truth, mask, settings).latent, subject.invert(other, mask, settings).latent)


def test_maps_of_other_sizes_are_resized():
    subject = model()
    mask = torch.ones(SIDE, SIDE)
    large = target(14).repeat_interleave(2, 1).repeat_interleave(2, 2)
    settings = FitSettings(evaluations=3)
    found = subject.invert(large, mask.repeat_interleave(2, 0).repeat_interleave(2, 1), settings)
    torch.testing.assert_close(found.latent, subject.invert(target(14), mask, settings).latent)


def test_layers_stay_together():
    """W+ only buys what W cannot: with a dear departure the layers agree, with a cheap one the residual falls."""
    subject, mask = model(), torch.ones(SIDE, SIDE)
    truth = target(15).flip(2)  # a mirrored map, which no w makes
    dear = subject.invert(truth, mask, FitSettings(layer_prior=1e3))
    cheap = subject.invert(truth, mask, FitSettings(layer_prior=0.0))
    assert float(subject.space.whiten(dear.latent).std(0).max()) < 0.02
    assert float(subject.space.whiten(cheap.latent).std(0).max()) > 0.1
    assert cheap.residual < dear.residual


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a, m: (a * math.nan, m), "values that are no numbers"),
        (lambda a, m: (a, m.where(m > 2, torch.tensor(math.nan))), "The mask has"),
        (lambda a, m: (a * 255, m), "Divide a map of bytes by 255"),
        (lambda a, m: (a, m * 0), "hides the whole map"),
        (lambda a, m: (a[:1], m), r"has the shape \(1, 32, 32\)"),
        (lambda a, m: (a[:, :9], m), r"has the shape \(3, 9, 32\)"),
        (lambda a, m: (a, m[:5]), r"its mask \(5, 32\)"),
    ],
)
def test_bad_maps_are_refused(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], sentence: str):
    with pytest.raises(LikenessError, match=sentence):
        model().fit(*change(torch.rand(3, SIDE, SIDE), torch.ones(SIDE, SIDE)))


@pytest.mark.parametrize("use", ["decode", "shape", "read_labels"])
def test_latents_of_other_generators_are_refused(use: str):
    for latent in (torch.zeros(8, 23), torch.zeros(10, 24)):
        with pytest.raises(LikenessError, match=r"shape \(\d+, \d+\) was given, .* needs \(8, 24\)"):
            getattr(model(), use)(latent)
    with pytest.raises(LikenessError, match="no numbers"):
        getattr(model(), use)(torch.full((8, 24), math.nan))


def test_pyramid_counts_what_is_seen():
    torch.manual_seed(4)
    image, mask = torch.randn(3, 16, 16), (torch.rand(16, 16) > 0.6).float()
    assert float(pyramid_difference(image + 0.25, image, mask, 4)) == pytest.approx(0.25, rel=1e-5)
    hidden = torch.where(mask > 0, image, torch.randn(3, 16, 16))
    assert float(pyramid_difference(hidden, image, mask, 4)) == 0
    chequers = torch.ones(16, 16)
    chequers[::2, ::2] = chequers[1::2, 1::2] = -1
    flicker, all_seen = chequers.expand(3, -1, -1), torch.ones(16, 16)
    assert float(pyramid_difference(image + flicker, image, all_seen, 4)) == pytest.approx(1 / 4, rel=1e-5)


# ------------------------------------------------------------------------------------------------- files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "albedo.safetensors"
    model().save(path)
    return path


def test_files_round_trip(file: Path):
    loaded, subject = StyleGanAlbedo.load(file), model()
    assert (loaded.label_names, loaded.latent_names) == (LABELS, LATENT)
    assert loaded.joint.generator.config == subject.joint.generator.config
    assert torch.equal(loaded.joint.generator.latent_avg[0], loaded.space.mean)
    assert not any(parameter.requires_grad for parameter in loaded.joint.parameters()) and not loaded.joint.training
    assert loaded.fingerprint == subject.fingerprint and len(loaded.fingerprint) == 16
    other = dataclasses.replace(subject, look=dataclasses.replace(subject.look, mean=subject.look.mean + 1e-3))
    assert other.fingerprint != subject.fingerprint, "the same people, drawn in another way"
    for seed in range(3):
        latent = subject.sample(seed)
        torch.testing.assert_close(loaded.sample(seed), latent, atol=5e-3, rtol=5e-3)
        assert psnr(loaded.decode(latent), subject.decode(latent)) > 40
        torch.testing.assert_close(loaded.shape(latent), subject.shape(latent), atol=1e-2, rtol=1e-2)
        torch.testing.assert_close(loaded.read_labels(latent), subject.read_labels(latent), atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(loaded.direction("age"), subject.direction("age"), atol=1e-4, rtol=1e-2)
    # A second time, nothing is rounded any more.
    loaded.save(file)
    again = StyleGanAlbedo.load(file)
    assert torch.equal(again.decode(loaded.sample(1)), loaded.decode(loaded.sample(1)))
    with safe_open(file, "pt") as tensors:
        halves = [k for k in tensors.keys() if tensors.get_tensor(k).dtype == torch.float16]
    assert {k.split(".")[0] for k in halves} == {"generator", "shape_head", "look"}


def rewrite(path: Path, tensors: dict[str, Tensor | None] | None = None, **metadata: str | None) -> None:
    with safe_open(path, "pt") as file:
        content = {key: file.get_tensor(key) for key in file.keys()} | (tensors or {})
        document = dict(file.metadata()) | metadata
    save_file(
        {k: v for k, v in content.items() if v is not None}, path, {k: v for k, v in document.items() if v is not None}
    )


@pytest.mark.parametrize(
    ("tensors", "metadata", "sentence"),
    [
        ({}, {"format": None}, r"holds no albedo generator of this version: its format is None"),
        ({}, {"format": "likeness.stylegan_albedo/9"}, r"its format is 'likeness\.stylegan_albedo/9'"),
        ({}, {"config": "{"}, "does not say which network it holds"),
        ({}, {"config": json.dumps({"size": 33})}, "33 pixels cannot be built"),
        (
            {},
            {"config": json.dumps({"size": 64, "style_dim": 24, "n_mlp": 1, "channel_max": 12})},
            r"says .* of 64 pixels, .* weights are of 32 pixels, style_dim 24, n_mlp 1",
        ),
        ({}, {"label_names": None}, "does not name its label names"),
        ({}, {"latent_names": "3"}, "latent names that are no list of words"),
        ({}, {"label_names": '["age"]'}, r"labels\.mean has the shape \(7,\), \(1,\) was expected"),
        ({"shape_head.0.weight": None}, {}, r"shape_head\.0\.weight is missing"),
        ({"generator.conv1.conv.weight": torch.zeros(1, 12, 12, 3, 1)}, {}, r"conv1\.conv\.weight has the shape"),
        ({"look.basis": torch.full((24, 3, 16, 16), math.nan)}, {}, r"not all finite: look\.basis"),
        (
            {"generator.input.input": torch.full((1, 12, 4, 4), math.inf)},
            {},
            r"not all finite: generator\.input\.input",
        ),
        ({"space.spread": None}, {}, r"space\.spread is missing"),
        ({"space.spread": torch.zeros(23)}, {}, r"space\.spread has the shape \(23,\), \(24,\) was expected"),
    ],
)
def test_bad_files_are_named(
    file: Path, tensors: dict[str, Tensor | None], metadata: dict[str, str | None], sentence: str
):
    rewrite(file, tensors, **metadata)
    with pytest.raises(FileError, match=sentence) as caught:
        StyleGanAlbedo.load(file)
    assert str(file) in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_truncated_and_missing_files_are_named(file: Path, keep: int):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FileError, match="could not be read as a safetensors file"):
        StyleGanAlbedo.load(file)
    with pytest.raises(FileError, match="could not be read"):
        StyleGanAlbedo.load(file.with_name("absent.safetensors"))


def test_statistics_need_names_and_people():
    generator, shape_head = networks()
    latents, labels = people(4)
    for wrong in (
        (latents, labels, LABELS[:3], LATENT),
        (latents, labels, LABELS, LATENT[:3]),
        (latents[:1], labels[:1], LABELS, LATENT),
    ):
        with pytest.raises(LikenessError, match=r"people with 6 latent coordinates and 7 labels do not go with"):
            StyleGanAlbedo.from_training(generator, shape_head, *wrong)


def test_statistics_are_deterministic(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stylegan_albedo, "DRAWS", 64)
    first, second = (StyleGanAlbedo.from_training(*networks(), *people(30), LABELS, LATENT, seed=5) for _ in range(2))
    for part in ("space", "labels", "look"):
        for field in dataclasses.fields(getattr(first, part)):
            assert torch.equal(getattr(getattr(first, part), field.name), getattr(getattr(second, part), field.name))
