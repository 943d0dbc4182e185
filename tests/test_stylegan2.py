"""StyleGAN2: each layer against its definition, the public layout name by name, and files good and bad."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import convolve2d, correlate2d, upfirdn
from torch import Tensor, nn

from core.albedo import stylegan2
from core.albedo.stylegan2 import (
    Blur,
    Discriminator,
    EqualLinear,
    Generator,
    ModulatedConv2d,
    Upsample,
    load_checkpoint,
    minibatch_stddev,
    save_checkpoint,
)
from core.errors import FileError, LikenessError

FILTER = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def tiny(size: int = 16) -> Generator:
    """Every weight random, the noise's too, so that nothing is tested at zero."""
    torch.manual_seed(0)
    generator = Generator(size, style_dim=12, n_mlp=2, channel_max=10)
    for module in generator.modules():
        if isinstance(module, stylegan2.NoiseInjection | stylegan2.Activation | stylegan2.ToRGB):
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.3)
    return generator.eval()


# ------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_is_the_papers(upsample: bool, demodulate: bool):
    """Eqs. 1 and 3 of the 2020 paper, sample by sample, with weights of its own for each."""
    torch.manual_seed(1)
    layer = ModulatedConv2d(5, 4, 3, 7, demodulate=demodulate, upsample=upsample).double()
    x, w = torch.randn(3, 5, 6, 6, dtype=torch.float64), 3 * torch.randn(3, 7, dtype=torch.float64)
    weight = layer.weight.detach().numpy()[0] / math.sqrt(5 * 9)
    styles = w.numpy() @ layer.modulation.weight.detach().numpy().T / math.sqrt(7) + 1
    expected = []
    for sample, style in zip(x.numpy(), styles, strict=True):
        modulated = weight * style[None, :, None, None]
        if demodulate:
            modulated = modulated / np.sqrt((modulated**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        maps = []
        for kernels in modulated:
            if upsample:
                spread = np.zeros((5, 11, 11))
                spread[:, ::2, ::2] = sample
                wide = sum(convolve2d(a, k, mode="full") for a, k in zip(spread, kernels, strict=True))
                maps.append(convolve2d(np.pad(wide, 1), 4 * np.outer(FILTER, FILTER), mode="valid"))
            else:
                maps.append(sum(correlate2d(a, k, mode="same") for a, k in zip(sample, kernels, strict=True)))
        expected.append(maps)
    np.testing.assert_allclose(layer(x, w).detach().numpy(), np.array(expected), rtol=1e-9, atol=1e-11)


def test_upsampling_is_upfirdn():
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    rows = upfirdn(2 * FILTER, x.numpy(), up=2, axis=2)
    # upfirdn keeps the filter's tail: an image of n pixels becomes 2 (n - 1) + 4; one is cut at each end.
    both = upfirdn(2 * FILTER, rows, up=2, axis=3)[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(Upsample().double()(x).numpy(), both, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [1, 2])
def test_blur_is_upfirdn(stride: int, padding: int):
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    full = upfirdn(FILTER, upfirdn(FILTER, x.numpy(), axis=2), axis=3)  # what padding by 3 on each side gives
    cut = 3 - padding
    expected = full[:, :, cut : full.shape[2] - cut : stride, cut : full.shape[3] - cut : stride]
    np.testing.assert_allclose(Blur(padding, stride=stride).double()(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_learning_rates_are_equalised(rate: float):
    """Whatever the rate, the output has unit variance at first, and a step of Adam (which moves each weight by the
    same amount) moves the output in proportion to the rate."""
    torch.manual_seed(2)
    layer, x = EqualLinear(400, 300, rate=rate).requires_grad_(False), torch.randn(50, 400)
    before = layer(x)
    assert float(before.std()) == pytest.approx(1, abs=0.03)
    layer.weight += 0.02 * torch.sign(torch.randn_like(layer.weight))
    assert float((layer(x) - before).std()) == pytest.approx(0.02 * rate, rel=0.05)


def test_a_fresh_generator_keeps_unit_variance():
    torch.manual_seed(3)
    layer = ModulatedConv2d(64, 64, 3, 32)
    out = layer(torch.randn(4, 64, 32, 32), torch.randn(4, 32))
    assert out.std((0, 2, 3)).mean().item() == pytest.approx(1, abs=0.05)


def test_deviation_over_the_minibatch():
    x = torch.randn(6, 4, 3, 3)
    feature = minibatch_stddev(x)
    assert feature.shape == (6, 1, 3, 3)
    for i in range(6):  # groups of three: the largest divisor of 6 up to four
        members = [j for j in range(6) if j % 2 == i % 2]
        expected = np.mean(np.sqrt(np.var(x.numpy()[members], axis=0) + 1e-8))
        np.testing.assert_allclose(feature[i].numpy(), expected, rtol=1e-5)
    assert float(minibatch_stddev(x[:1].expand(4, -1, -1, -1)).max()) == pytest.approx(1e-4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stylegan2, "STDDEV_GROUP", 1)
        assert float(minibatch_stddev(x).max()) == pytest.approx(1e-4)


def test_discriminator_skip_drops_pixels_early():
    """Filter, 1x1 convolution, then every second pixel, as the paper draws it."""
    torch.manual_seed(4)
    block = stylegan2.ResBlock(3, 5).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    smooth = upfirdn(FILTER, upfirdn(FILTER, x.numpy(), axis=2), axis=3)[:, :, 2:-2, 2:-2]
    matrix = block.skip[1].weight.detach().numpy()[:, :, 0, 0] / math.sqrt(3)
    expected = np.einsum("oi,bihw->bohw", matrix, smooth)[:, :, ::2, ::2]
    np.testing.assert_allclose(block.skip(x).detach().numpy(), expected, atol=1e-12)
    assert block(x).shape == (2, 5, 4, 4)


# ------------------------------------------------------------------------------------------------- generator


def test_same_latent_same_image():
    generator = tiny()
    z = torch.randn(3, 12)
    with torch.no_grad():
        images, latents = generator([z], return_latents=True, randomize_noise=False)
        again, none = generator([z], randomize_noise=False)
        assert torch.equal(images, again) and none is None and images.shape == (3, 3, 16, 16)
        assert latents is not None and torch.equal(latents, generator.style(z)[:, None].expand(3, 6, 12))
        # One by one, and from w or w+ in place of z.
        for k in range(3):
            torch.testing.assert_close(generator([z[k : k + 1]], randomize_noise=False)[0][0], images[k])
        for w in (latents[:, 0], latents):
            assert torch.equal(generator([w], input_is_latent=True, randomize_noise=False)[0], images)
        assert not torch.allclose(generator([z])[0], images, atol=1e-3)
        noise = generator.make_noise()
        assert torch.equal(generator([z], noise=noise)[0], generator([z], noise=noise)[0])


def test_truncation_leads_to_the_mean():
    generator = tiny()
    mean = generator.mean_latent(64, torch.Generator().manual_seed(0))
    assert torch.equal(mean, generator.mean_latent(64, torch.Generator().manual_seed(0)))
    z = torch.randn(2, 12)

    def decode(psi: float) -> tuple[Tensor, Tensor | None]:
        return generator([z], truncation=psi, truncation_latent=mean, randomize_noise=False, return_latents=True)

    with torch.no_grad():
        of_mean = generator([mean], input_is_latent=True, randomize_noise=False)[0]
        torch.testing.assert_close(decode(0)[0], of_mean.expand(2, -1, -1, -1))
        torch.testing.assert_close(decode(0.3)[1][:, 0], mean + 0.3 * (generator.style(z) - mean))
        generator.latent_avg = mean
        assert torch.equal(generator([z], truncation=0.3, randomize_noise=False)[0], decode(0.3)[0])


def test_mixed_styles_take_their_layers():
    generator = tiny()
    z = [torch.randn(2, 12) for _ in range(3)]
    w = [generator.style(each) for each in z]
    with torch.no_grad():
        _, latents = generator(z[:2], return_latents=True, inject_index=2)
        assert torch.equal(latents, torch.stack([w[0]] * 2 + [w[1]] * 4, 1))
        _, latents = generator(z, return_latents=True, inject_index=(1, 4))
        assert torch.equal(latents, torch.stack([w[0]] + [w[1]] * 3 + [w[2]] * 2, 1))
        _, drawn = generator(z[:2], return_latents=True)
        cut = int((drawn[0] == w[0][0]).all(1).sum())
        assert 1 <= cut <= 5 and torch.equal(drawn, torch.stack([w[0]] * cut + [w[1]] * (6 - cut), 1))


@pytest.mark.parametrize("layer", range(6))
def test_each_layer_has_its_own_style(layer: int):
    """Layer i drives what the papers say: the last one the colours of the finest maps, which are all linear."""
    generator = tiny()
    w = torch.randn(1, 6, 12)
    other = w.clone()
    other[:, layer] = torch.randn(12)
    with torch.no_grad():
        change = (
            generator([other], input_is_latent=True, randomize_noise=False)[0]
            - generator([w], input_is_latent=True, randomize_noise=False)[0]
        )
        assert float(change.abs().max()) > 1e-3
        if layer == 5:
            halfway = generator([(w + other) / 2], input_is_latent=True, randomize_noise=False)[0]
            start = generator([w], input_is_latent=True, randomize_noise=False)[0]
            torch.testing.assert_close(halfway - start, change / 2, rtol=1e-3, atol=1e-5)


def test_gradients_are_those_of_differences():
    generator = tiny(8).double()
    w = torch.randn(1, 4, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w: generator([w], input_is_latent=True, randomize_noise=False)[0][..., ::3, ::3], [w]
    )


def test_second_derivatives_for_the_penalty():
    """R1 differentiates the gradient of the logits."""
    torch.manual_seed(5)
    discriminator = Discriminator(8, channel_max=3).double()
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def penalty(image: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(discriminator(image).sum(), image, create_graph=True)
        return gradient.square().sum()

    (analytic,) = torch.autograd.grad(penalty(image), image)
    direction = torch.randn_like(image)
    step = 1e-5
    difference = (penalty(image + step * direction) - penalty(image - step * direction)) / (2 * step)
    assert float((analytic * direction).sum().detach()) == pytest.approx(float(difference.detach()), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype):
    generator, discriminator = tiny(), Discriminator(16, channel_max=8)
    w = 30 * torch.randn(4, 12)  # styles far from 1, which half floats could not carry unscaled
    exact, _ = generator([w], input_is_latent=True, randomize_noise=False)
    with torch.autocast("cpu", dtype):
        half, _ = generator([w], input_is_latent=True, randomize_noise=False)
        logits = discriminator(half)
    assert half.dtype == torch.float32 and bool(logits.isfinite().all())
    assert float(((half - exact).square().mean().sqrt() / exact.std()).detach()) < 0.02
    logits.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in generator.parameters() if p.grad is not None)
    assert generator.input.input.grad is not None


# ------------------------------------------------------------------------------------------------- the public layout


def public_shapes(
    size: int, multiplier: int, style_dim: int = 512, layers: int = 8, widest: int = 512
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a generator in the public layout, written down from its description alone; `widest` is 512
    there."""
    widths = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256 * multiplier, 128: 128 * multiplier, 256: 64 * multiplier}
    widths |= {512: 32 * multiplier, 1024: 16 * multiplier}
    widths = {side: min(width, widest) for side, width in widths.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(1, layers + 1):
        shapes |= {f"style.{i}.weight": (style_dim, style_dim), f"style.{i}.bias": (style_dim,)}
    shapes["input.input"] = (1, widest, 4, 4)

    def modulated(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.conv.weight"] = (1, outputs, inputs, kernel, kernel)
        shapes[f"{name}.conv.modulation.weight"] = (inputs, style_dim)
        shapes[f"{name}.conv.modulation.bias"] = (inputs,)

    def styled(name: str, inputs: int, outputs: int) -> None:
        modulated(name, inputs, outputs, 3)
        shapes[f"{name}.noise.weight"] = (1,)
        shapes[f"{name}.activate.bias"] = (outputs,)

    def to_rgb(name: str, inputs: int) -> None:
        modulated(name, inputs, 3, 1)
        shapes[f"{name}.bias"] = (1, 3, 1, 1)

    styled("conv1", widest, widest)
    to_rgb("to_rgb1", widest)
    shapes["noises.noise_0"] = (1, 1, 4, 4)
    inputs, side, index = widest, 8, 0
    while side <= size:
        styled(f"convs.{2 * index}", inputs, widths[side])
        shapes[f"convs.{2 * index}.conv.blur.kernel"] = (4, 4)
        styled(f"convs.{2 * index + 1}", widths[side], widths[side])
        to_rgb(f"to_rgbs.{index}", widths[side])
        shapes[f"to_rgbs.{index}.upsample.kernel"] = (4, 4)
        shapes |= {f"noises.noise_{2 * index + k}": (1, 1, side, side) for k in (1, 2)}
        inputs, side, index = widths[side], 2 * side, index + 1
    return shapes


def random_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    torch.manual_seed(6)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("size", "multiplier"), [(8, 1), (64, 1), (256, 1), (512, 2), (1024, 2)])
def test_names_and_shapes_of_the_generator(size: int, multiplier: int):
    with torch.device("meta"):
        generator = Generator(size, 512, 8, channel_multiplier=multiplier)
    assert shapes_of(generator) == public_shapes(size, multiplier)


def test_parameters_of_the_papers_network():
    """Configuration F at 1024 pixels has 30 million; exactly, the sum over the layers of the public description."""
    with torch.device("meta"):
        generator, discriminator = Generator(1024, 512, 8), Discriminator(1024)
    described = public_shapes(1024, 2)
    count = sum(math.prod(s) for name, s in described.items() if "noises" not in name and "kernel" not in name)
    assert sum(p.numel() for p in generator.parameters()) == count == 30_370_060
    assert sum(p.numel() for p in discriminator.parameters()) == 29_012_513


@pytest.mark.parametrize(("size", "multiplier"), [(8, 1), (64, 2), (256, 1)])
def test_names_and_shapes_of_the_discriminator(size: int, multiplier: int):
    widths = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256 * multiplier, 128: 128 * multiplier, 256: 64 * multiplier}
    shapes: dict[str, tuple[int, ...]] = {
        "convs.0.0.weight": (widths[size], 3, 1, 1),
        "convs.0.1.bias": (widths[size],),
    }
    side, index = size, 1
    while side > 4:
        inputs, outputs, block = widths[side], widths[side // 2], f"convs.{index}"
        shapes |= {f"{block}.conv1.0.weight": (inputs, inputs, 3, 3), f"{block}.conv1.1.bias": (inputs,)}
        shapes |= {f"{block}.conv2.0.kernel": (4, 4), f"{block}.conv2.1.weight": (outputs, inputs, 3, 3)}
        shapes |= {f"{block}.conv2.2.bias": (outputs,), f"{block}.skip.0.kernel": (4, 4)}
        shapes |= {f"{block}.skip.1.weight": (outputs, inputs, 1, 1)}
        side, index = side // 2, index + 1
    shapes |= {"final_conv.0.weight": (512, 513, 3, 3), "final_conv.1.bias": (512,)}
    shapes |= {"final_linear.0.weight": (512, 8192), "final_linear.0.bias": (512,)}
    shapes |= {"final_linear.1.weight": (1, 512), "final_linear.1.bias": (1,)}
    with torch.device("meta"):
        assert shapes_of(Discriminator(size, channel_multiplier=multiplier)) == shapes


# ------------------------------------------------------------------------------------------------- files


def write(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)  # noqa: TID251, the public format
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state(public_shapes(64, 1, style_dim=8, layers=2, widest=16))


@pytest.mark.parametrize("kind", ["converted", "legacy", "training", "parallel", "bare"])
def test_public_checkpoints_load(state: dict[str, Tensor], tmp_path: Path, kind: str):
    average = torch.randn(8)
    content: object = {"g_ema": state, "latent_avg": average}
    if kind == "training":  # as that project's train.py saves: everything beside the average
        optimiser = torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict()
        options = argparse.Namespace(size=64, lr=0.002, path="data")
        content = {"g": {}, "d": {}, "g_ema": state, "g_optim": optimiser, "args": options, "ada_aug_p": 0.1}
    elif kind == "parallel":  # as the AlbedoGAN code reads them
        content = {"g": {f"module.{name}": tensor for name, tensor in state.items()}}
    elif kind == "bare":
        content = state
    generator = load_checkpoint(write(content, tmp_path / "g.pt", zipped=kind != "legacy"))
    loaded = generator.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)
    assert generator.config == stylegan2.GeneratorConfig(64, 8, 2, 16 / 256, 16) and not generator.training
    assert all(parameter.requires_grad for parameter in generator.parameters())
    if kind in ("converted", "legacy"):
        assert torch.equal(generator.latent_avg, average[None])
    else:
        expected = generator.mean_latent(4096, torch.Generator().manual_seed(0))
        torch.testing.assert_close(generator.latent_avg, expected)


def test_the_multiplier_shows_in_the_finest_maps(tmp_path: Path):
    """A narrow network of size 128: the maps of 64 pixels are cut by channel_max, those of 128 are not."""
    narrow = Generator(128, style_dim=8, n_mlp=1, channel_multiplier=0.25, channel_max=40)
    loaded = load_checkpoint(write({"g_ema": narrow.state_dict()}, tmp_path / "g.pt"))
    assert loaded.config == narrow.config and shapes_of(loaded) == shapes_of(narrow)


def test_own_files_round_trip(tmp_path: Path):
    generator = tiny(32)
    generator.latent_avg = torch.randn(1, 12)
    save_checkpoint(generator, tmp_path / "g.safetensors")
    loaded = load_checkpoint(tmp_path / "g.safetensors")
    assert loaded.config == generator.config and torch.equal(loaded.latent_avg, generator.latent_avg)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())
    z = torch.randn(2, 12)
    with torch.no_grad():
        before, after = (g([z], randomize_noise=False)[0] for g in (generator, loaded))
    assert float((before - after).square().mean().sqrt() / before.std()) < 0.01
    weights = sum(tensor.numel() for tensor in generator.state_dict().values())
    assert (tmp_path / "g.safetensors").stat().st_size < 2 * weights + 20_000


def test_diverged_weights_are_not_saved(tmp_path: Path):
    generator = tiny()
    for value in (math.nan, math.inf, 1e6):
        with torch.no_grad():
            generator.conv1.conv.weight[0, 0, 0, 0, 0] = value
        with pytest.raises(LikenessError, match=r"conv1\.conv\.weight.* diverged"):
            save_checkpoint(generator, tmp_path / "g.safetensors")
    assert not (tmp_path / "g.safetensors").exists()


def changed(name: str, tensor: Tensor | None) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {k: v for k, v in state.items() if k != name} | ({} if tensor is None else {name: tensor})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (changed("conv1.noise.weight", None), r"conv1\.noise\.weight is missing\. "),
        (changed("extra", torch.zeros(1)), r"extra is not known\. "),
        (
            changed("conv1.conv.weight", torch.zeros(1, 16, 16, 5, 5)),
            r"conv1\.conv\.weight has the shape \(1, 16, 16, 5, 5\), \(1, 16, 16, 3, 3\) was expected",
        ),
        (changed("to_rgb1.bias", torch.full((1, 3, 1, 1), math.nan)), r"not all finite: to_rgb1\.bias\. "),
        (changed("input.input", None), r"no StyleGAN2 generator in the rosinality layout: it lacks input\.input\. "),
        (changed("input.input", torch.zeros(1, 9999, 4, 4)), r"no network .* channel_max = 9999 cannot be built"),
        (changed("to_rgb1.conv.weight", torch.zeros(3)), r"it lacks to_rgb1\.conv\.weight\. "),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("to_rgbs")}, r"makes images of 4 pixels"),
        (
            lambda s: s | {f"to_rgbs.{i}.conv.weight": torch.zeros(1) for i in range(4, 12)},
            r"makes images of 16384 pixels .* 8 to 1024 can be read",
        ),
        (lambda s: {k: v for k, v in s.items() if "bias" not in k or "rgb" in k}, r"missing( and \d+ more)\. "),
        (lambda s: {"weights": 3}, r'holds no generator: a dictionary "g_ema" or "g" of tensors'),
    ],
)
def test_wrong_weights_are_named(
    state: dict[str, Tensor], tmp_path: Path, change: Callable[[dict[str, Tensor]], object], sentence: str
):
    path = write({"g_ema": change(state)}, tmp_path / "g.pt")
    with pytest.raises(FileError, match=sentence) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text and text.endswith("pass it unchanged.")
    assert text.count(" is missing") <= 10


@pytest.mark.parametrize("average", [torch.zeros(9), torch.full((8,), math.nan)])
def test_a_wrong_mean_is_refused(state: dict[str, Tensor], tmp_path: Path, average: Tensor):
    path = write({"g_ema": state, "latent_avg": average}, tmp_path / "g.pt")
    with pytest.raises(FileError, match=r"mean latent in .* has the shape \(\d,\); 8 finite numbers were expected"):
        load_checkpoint(path)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path, ("touched",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "neither a .pt file nor a .safetensors file"),
        (b"GIF89a" + bytes(99), "neither a .pt file nor a .safetensors file"),
        (b"\x80\x04\x95" + bytes(99), r"convert_weight\.py"),
        (b"PK\x03\x04" + bytes(99), "truncated or damaged"),
        (b"\x80\x02\x8a\x0a" + bytes(99), "truncated or damaged"),
        ((99).to_bytes(8, "little") + b"{", "could not be read as a safetensors file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, sentence: str):
    (tmp_path / "g.pt").write_bytes(content)
    with pytest.raises(FileError, match=sentence):
        load_checkpoint(tmp_path / "g.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_and_hostile_files_are_refused(state: dict[str, Tensor], tmp_path: Path, zipped: bool):
    path = write({"g_ema": state}, tmp_path / "g.pt", zipped)
    whole = path.read_bytes()
    for keep in (20, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:keep])
        with pytest.raises(FileError, match=r"g\.pt could not be read .* truncated or damaged"):
            load_checkpoint(path)
    with pytest.raises(FileError, match=r"was refused: it asks for pathlib\.Path, which .*\. Such files can run"):
        load_checkpoint(write({"g_ema": state, "x": Hostile()}, path, zipped))
    with pytest.raises(FileError, match=r"could not be opened .* Check the path"):
        load_checkpoint(tmp_path / "absent.pt")


@pytest.mark.parametrize("metadata", [{}, {"format": stylegan2.FORMAT}, {"format": stylegan2.FORMAT, "config": "[]"}])
def test_own_files_say_what_they_are(tmp_path: Path, metadata: dict[str, str]):
    save_file({"a": torch.zeros(1)}, tmp_path / "g.safetensors", metadata=metadata or None)
    with pytest.raises(FileError, match=r"of the kind None; 'likeness|does not say which network it holds"):
        load_checkpoint(tmp_path / "g.safetensors")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        *(({"size": size}, f"A StyleGAN2 of {size} pixels cannot be built") for size in (0, 4, 100, 2048)),
        ({"size": 8, "n_mlp": 0}, "n_mlp = 0 cannot be built: it must be positive and at most 32"),
        ({"size": 8, "style_dim": 10**9}, "style_dim = 1000000000 cannot be built"),
    ],
)
def test_impossible_networks_are_refused(tmp_path: Path, wrong: dict[str, int], sentence: str):
    with pytest.raises(LikenessError, match=sentence):
        Generator(**wrong)
    save_file(
        {"a": torch.zeros(1)}, tmp_path / "g.safetensors", {"format": stylegan2.FORMAT, "config": json.dumps(wrong)}
    )
    with pytest.raises(FileError, match=sentence):
        load_checkpoint(tmp_path / "g.safetensors")


def test_loading_draws_no_random_numbers(tmp_path: Path):
    save_checkpoint(tiny(), tmp_path / "g.safetensors")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_checkpoint(tmp_path / "g.safetensors")
    assert torch.equal(torch.rand(3), expected)
