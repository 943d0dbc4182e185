"""The principal component model: against numpy's SVD, and coefficients recovered from what is left of a map."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.albedo.coarse import CoarseAlbedo, low_pass, train_coarse
from core.albedo.model import check_map, log_albedo, resize_map, srgb_from_log
from core.atlas import atlas_lookup
from core.errors import FileError, LikenessError
from tests.tiny_head import tiny_head

SIZE = 64


@functools.cache
def inside() -> torch.Tensor:
    mask = atlas_lookup(tiny_head(), SIZE).inside
    return mask | mask.flip(1)


@functools.cache
def maps(count: int = 60) -> torch.Tensor:
    """Skins with a tone, some smooth blotches that are not symmetric, and a little that is not smooth."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    shapes = [
        np.ones_like(x),
        np.cos(7 * x) * np.sin(5 * y),
        np.sin(9 * x + 4 * y),
        np.cos(3 * y),
        np.sin(4 * x - 6 * y),
    ]
    basis = np.stack([np.stack([s * w for w in (1.0, 1.3, 1.6)]) for s in shapes])
    deviations = np.array([0.4, 0.15, 0.1, 0.08, 0.05])
    logs = np.einsum("nk,kcyx->ncyx", rng.normal(size=(count, 5)) * deviations, basis) - 1.3
    logs = logs + rng.normal(size=logs.shape) * 0.01
    return (srgb_from_log(torch.from_numpy(logs).float()) * 255).round().to(torch.uint8)


@functools.cache
def model() -> CoarseAlbedo:
    return train_coarse(maps(), 12, None, head=tiny_head(), size=SIZE, batch_size=25)


def test_it_is_the_svd_of_the_maps_and_their_mirror_images():
    count = 9  # so few that nothing is truncated on the way, so that the merge of batches is exact
    few = maps()[:count]
    found = train_coarse(few, count, None, head=tiny_head(), size=SIZE, batch_size=4)

    log = log_albedo(few.float() / 255)
    smooth = low_pass(torch.cat([log, log.flip(-1)]), inside())[..., inside()].double().numpy().reshape(2 * count, -1)
    mean = smooth.mean(0)
    _, singular, directions = np.linalg.svd(smooth - mean, full_matrices=False)
    deviation = singular / np.sqrt(2 * count)

    zero = found.decode_log(torch.zeros(1, count))[0, :, inside()].double().numpy().ravel()
    np.testing.assert_allclose(zero, mean, atol=1e-5)
    for k in range(count):
        unit = torch.zeros(1, count)
        unit[0, k] = 1
        component = found.decode_log(unit)[0, :, inside()].double().numpy().ravel() - zero
        assert np.linalg.norm(component) == pytest.approx(deviation[k], rel=2e-3)
        assert abs(component @ directions[k]) == pytest.approx(deviation[k], rel=2e-3)
    # What is left is what numpy's other directions span.
    left = (deviation[count:, None] * directions[count:]) ** 2
    noise = found.noise.square().double().numpy()
    assert noise.sum() * 2 == pytest.approx(np.maximum(left.sum(0), 1e-4).sum(), rel=0.02)


def test_components_are_symmetric_or_antisymmetric():
    zero = model().decode_log(torch.zeros(1, model().count))[0]
    assert torch.equal(zero[:, inside()], zero.flip(-1)[:, inside()])
    assert set(model().parity.tolist()) == {1.0, -1.0}
    for k in range(model().count):
        unit = torch.zeros(1, model().count)
        unit[0, k] = 1
        change = (model().decode_log(unit)[0] - zero)[:, inside()]
        mirrored = (model().decode_log(unit)[0] - zero).flip(-1)[:, inside()]
        torch.testing.assert_close(mirrored, change * model().parity[k], atol=1e-5, rtol=0)


def test_training_maps_have_standard_normal_coefficients():
    log = log_albedo(torch.cat([maps(), maps().flip(-1)]).float() / 255)
    coefficients = model().project(log)[:, :5]
    assert coefficients.mean(0).abs().max() < 0.05
    # The prior pulls the small components in, never out.
    assert coefficients.std(0).max() < 1.02
    assert coefficients.std(0)[:2].min() > 0.9
    mixed = coefficients.T @ coefficients / len(coefficients)
    assert (mixed - mixed.diag().diag()).abs().max() < 0.05


def test_fit_recovers_coefficients_from_half_a_map_with_hair_and_shine():
    truth = torch.zeros(model().count)
    truth[:5] = torch.tensor([1.2, -0.8, 0.9, -1.1, 0.7])
    albedo = model().decode(truth)
    mask = torch.ones(SIZE, SIZE)
    mask[:, 36:] = 0
    spoilt = albedo.clone()
    spoilt[:, 5:18, 5:25] = 0.03  # hair
    spoilt[:, 40:46, 10:16] = 1.0  # shine
    spoilt[:, :, 36:] = 0.0  # not known
    found = model().fit(spoilt, mask)
    assert (model().decode(found) - albedo).abs().max() < 0.02
    # Without the weights the hair would colour the face: a plain fit of the same map is far off.
    plain = model().project(log_albedo(torch.where(mask.bool(), spoilt, albedo))[None])[0]
    assert (model().decode(plain) - albedo).abs().max() > 0.1


def test_fit_does_not_depend_on_what_the_mask_hides_nor_on_the_map_s_size():
    albedo = model().decode(model().sample(5))
    mask = torch.ones(SIZE, SIZE)
    mask[20:50, 30:] = 0
    junk = torch.where(mask.bool(), albedo, torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(model().fit(junk, mask), model().fit(albedo, mask), atol=1e-4, rtol=0)
    large = torch.nn.functional.interpolate(albedo[None], scale_factor=2, mode="nearest")[0]
    large_mask = torch.nn.functional.interpolate(mask[None, None], scale_factor=2, mode="nearest")[0, 0]
    torch.testing.assert_close(model().fit(large, large_mask), model().fit(albedo, mask), atol=1e-3, rtol=0)


def test_fit_leaves_alone_what_nothing_is_known_about():
    """With one block seen there is little to say but the tone: the coefficients stay likely under the prior."""
    albedo = model().decode(model().sample(1))
    mask = torch.zeros(SIZE, SIZE)
    mask[30:34, 30:34] = 1
    found = model().fit(albedo, mask)
    assert found.norm() < 1.2 * model().sample(1).norm()
    error = (model().decode(found) - albedo)[:, 30:34, 30:34].abs().mean()
    assert error < 0.02


def test_samples_have_the_spread_of_the_training_maps():
    coefficients = torch.stack([model().sample(seed) for seed in range(400)])
    assert coefficients.mean().abs() < 0.05
    assert coefficients.std() == pytest.approx(1, abs=0.03)
    made = model().decode_log(coefficients)[..., inside()].std(0).mean()
    trained = low_pass(log_albedo(maps().float() / 255), inside())[..., inside()].std(0).mean()
    assert made == pytest.approx(float(trained), rel=0.15)
    assert torch.equal(model().sample(7), model().sample(7))
    torch.testing.assert_close(model().sample(7, 0.5), model().sample(7) / 2)
    assert not model().sample(7, 0.0).any()


def test_decoded_maps_are_colours_everywhere_and_continue_outside_the_skin():
    made = model().decode(3 * model().sample(2))
    assert made.min() >= 0 and made.max() <= 1
    lookup = atlas_lookup(tiny_head(), SIZE)
    # A texel outside shows a value of the skin, never a hole.
    values = {tuple(v) for v in made[:, inside()].T.tolist()}
    assert all(tuple(v) in values for v in made[:, ~lookup.inside].T.tolist())


def test_a_file_holds_the_model(tmp_path: Path):
    path = tmp_path / "coarse.safetensors"
    trained = train_coarse(maps(), 12, path, head=tiny_head(), size=SIZE, batch_size=25)
    loaded = CoarseAlbedo.load(path)
    latent = model().sample(3)
    # Bytes for the components: half a step of 127 of each, twelve of them.
    step = trained.components.abs().amax((1, 2)) / 127
    assert ((loaded.components - trained.components).abs() <= step[:, None, None] / 2 + 1e-7).all()
    assert (loaded.decode(latent) - trained.decode(latent)).abs().max() < 0.01


def damaged(path: Path, **changes: torch.Tensor) -> Path:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    out = path.with_name("damaged.safetensors")
    save_file({**load_file(path), **changes}, out, metadata)
    return out


def test_bad_files_are_refused_with_a_sentence(tmp_path: Path):
    path = tmp_path / "coarse.safetensors"
    model().save(path)
    good = load_file(path)
    with pytest.raises(FileError, match=r"missing, truncated or damaged.*Train it again"):
        CoarseAlbedo.load(tmp_path / "absent.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="truncated"):
        CoarseAlbedo.load(cut)
    with pytest.raises(FileError, match=r"components has the shape \(12, 3, .*was expected"):
        CoarseAlbedo.load(damaged(path, components=good["components"][:, :, 1:].contiguous()))
    with pytest.raises(FileError, match=r"mean has the shape"):
        CoarseAlbedo.load(damaged(path, mean=good["mean"][:, 1:].contiguous()))
    with pytest.raises(FileError, match="components_scale that are no numbers"):
        CoarseAlbedo.load(damaged(path, components_scale=good["components_scale"] * float("nan")))
    other = tmp_path / "other.safetensors"
    save_file(good, other)
    with pytest.raises(FileError, match="format is None"):
        CoarseAlbedo.load(other)
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(FileError, match="lacks half_inside"):
        CoarseAlbedo.load(other)


def test_maps_that_cannot_be_trained_on_are_refused():
    with pytest.raises(LikenessError, match="60 maps were found for 61 components"):
        train_coarse(maps(), 61, None, head=tiny_head(), size=SIZE)
    with pytest.raises(LikenessError, match="64 texels a side, but the coarse model needs at least 128"):
        train_coarse(maps(), 4, None, head=tiny_head(), size=128)
    with pytest.raises(LikenessError, match=r"\(3, 64, 64\) and the type torch.float32"):
        train_coarse(maps().float(), 4, None, head=tiny_head(), size=SIZE)


def test_maps_that_cannot_be_fitted_are_refused():
    good, all_seen = torch.full((3, SIZE, SIZE), 0.5), torch.ones(SIZE, SIZE)
    broken = good.clone()
    broken[0, 3, 4] = float("nan")
    with pytest.raises(LikenessError, match="albedo map has 1 values that are no numbers"):
        model().fit(broken, all_seen)
    with pytest.raises(LikenessError, match="mask has 1 values"):
        model().fit(good, torch.where(torch.isnan(broken[0]), broken[0], all_seen))
    with pytest.raises(LikenessError, match=r"values from 0\.5 to 127, but they must lie between 0 and 1"):
        broken[0, 3, 4] = 127
        model().fit(broken, all_seen)
    with pytest.raises(LikenessError, match="hides the whole map"):
        model().fit(good, 0 * all_seen)
    with pytest.raises(LikenessError, match=r"shape \(3, 32, 64\) and its mask"):
        check_map(good[:, :32], all_seen, SIZE)


def test_log_albedo_round_trips_and_adds_pigments():
    srgb = torch.linspace(0, 1, 256)
    torch.testing.assert_close(srgb_from_log(log_albedo(srgb)), srgb, atol=2e-6, rtol=0)


def test_resizing_takes_no_colour_from_what_is_hidden():
    albedo = torch.full((3, 32, 32), 0.6)
    mask = torch.ones(32, 32)
    mask[:, 15:] = 0
    albedo[:, :, 15:] = 0
    for size in (8, 12, 64):
        smaller, weight = resize_map(albedo, mask, size)
        seen = weight > 0.05
        assert seen.any() and not seen.all()
        torch.testing.assert_close(smaller[:, seen], torch.full_like(smaller[:, seen], 0.6), atol=1e-4, rtol=0)
