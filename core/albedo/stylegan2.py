"""StyleGAN2 in plain PyTorch: generator, discriminator, and the checkpoints others have trained.

Karras, Laine, Aila: A style-based generator architecture for GANs, 2019 (mapping network, truncation, style mixing,
noise). Karras, Laine, Aittala, Hellsten, Lehtinen, Aila: Analyzing and improving the image quality of StyleGAN, 2020
(modulated convolutions, skip and residual networks). Written from the papers.

The names of modules and parameters are those of the public PyTorch layout ("rosinality"), so that its weights load
without a table of names; README.md says which of the code's turns that costs. `load_checkpoint` reads

- `stylegan2_ffhq` and others made by that project: a .pt with "g_ema", some with "latent_avg";
- `albedogan` (1024) and `disp_GAN` (256), named so in the code of "Towards Realistic Generative 3D Face Models": a .pt
  with "g", each name preceded by "module.". Both get their w from stylegan2_ffhq. Of disp_GAN's three channels that
  code reads the first one: clipped to 0..1 as x, the displacement along the normal is (2 x - 1) / 255 clipped to
  +-0.004, in FLAME's metres. None of the three can be downloaded from its authors today, so this is read from their
  code, not tried on their files;
- what `save_checkpoint` here writes: safetensors of half floats.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from core.checkpoints import read_safetensors, read_torch
from core.errors import FileError, LikenessError

# Channels of the feature maps of so many pixels a side, for channel_multiplier 1; below 64 nothing multiplies them.
FINE_CHANNELS = {64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
COARSE_CHANNELS = 512
LARGEST = {"style_dim": 2048, "n_mlp": 32, "channel_multiplier": 8, "channel_max": 1024}  # a file may say anything

BLUR = (1.0, 3.0, 3.0, 1.0)  # the filter of every change of resolution, along each axis
EPSILON = 1e-8
LEAK = 0.2
GAIN = math.sqrt(2)  # restores unit variance after a leaky ReLU
MAPPING_RATE = 0.01  # the mapping network learns at this fraction of the rate of the rest (2019, appendix C)
STDDEV_GROUP = 4

FORMAT = "likeness.stylegan2/1"
CURE = "Download or copy the file again, and pass it unchanged."
LISTED = 10  # at most so many names in an error


@dataclass(frozen=True)
class GeneratorConfig:
    """What decides the shape of every weight.

    size: side of the image, a power of two, 8..1024. n_mlp: layers of the mapping network, 8 in the papers. Where z
    holds factors that are known, fewer are better: each layer, trained or not, folds w so that fewer of the factors
    can be read or moved along a line. channel_multiplier: 2 is the paper's configuration F, 1 its E; fractions are
    allowed. channel_max: cuts the widest maps, 512 in the papers.
    """

    size: int
    style_dim: int = 512
    n_mlp: int = 8
    channel_multiplier: int | float = 2
    channel_max: int = COARSE_CHANNELS

    def __post_init__(self) -> None:
        if self.size not in (8, 16, 32, *FINE_CHANNELS):
            raise LikenessError(
                f"A StyleGAN2 of {self.size} pixels cannot be built: the side must be a power of two from 8 to 1024."
            )
        for name, most in LARGEST.items():
            if not 0 < getattr(self, name) <= most:
                raise LikenessError(
                    f"A StyleGAN2 with {name} = {getattr(self, name)} cannot be built: it must be positive and at most "
                    f"{most}."
                )

    def describe(self) -> str:
        """The numbers that decide the weights, for an error."""
        widths = "-".join(str(self.channels(resolution)) for resolution in self.resolutions)
        return f"{self.size} pixels, style_dim {self.style_dim}, n_mlp {self.n_mlp}, channels {widths}"

    def channels(self, resolution: int) -> int:
        """Width of the feature maps with this side."""
        wide = int(FINE_CHANNELS.get(resolution, 0) * self.channel_multiplier) or COARSE_CHANNELS
        return min(wide, self.channel_max)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... size."""
        return tuple(2**k for k in range(2, self.size.bit_length()))


# ------------------------------------------------------------------------------------------------- layers


def _full_precision(x: Tensor) -> torch.autocast:
    """Within it, autocast leaves float32 alone: for sums whose rounding would show in every pixel."""
    return torch.autocast(x.device.type, enabled=False)


class PixelNorm(nn.Module):
    """Scales each vector to a root mean square of 1."""

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


class EqualLinear(nn.Module):
    """Affine layer whose weights keep unit variance and are scaled at run time, so that all learn at the same speed
    (Karras et al. 2018, section 4.1); `rate` scales that speed. Always in float32: it costs nothing beside the
    convolutions, and what it computes are styles."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias)))
        self.scale, self.rate, self.activate = rate / math.sqrt(inputs), rate, activate

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        with _full_precision(x):
            y = functional.linear(x.to(self.weight.dtype), self.weight * self.scale, self.bias * self.rate)
        return functional.leaky_relu(y, LEAK) * GAIN if self.activate else y


class EqualConv2d(nn.Module):
    """Convolution with a run-time scale, as in `EqualLinear`; the bias is the activation's."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        return functional.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class Activation(nn.Module):
    """Bias, leaky ReLU, gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return functional.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], LEAK) * GAIN


def _blur_kernel(gain: float = 1.0) -> Float[Tensor, "4 4"]:
    taps = torch.tensor(BLUR)
    return gain * torch.outer(taps, taps) / taps.sum() ** 2


class Blur(nn.Module):
    """The low-pass filter on zero-padded maps, then every `stride`-th pixel of the result.

    gain: 4 where zeros were inserted between pixels.
    """

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0, stride: int = 1) -> None:
        super().__init__()
        self.register_buffer("kernel", _blur_kernel(gain))
        self.padding, self.stride = padding, stride

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)
        # A symmetric kernel: correlation is convolution.
        return functional.conv2d(x, kernel, stride=self.stride, padding=self.padding, groups=channels)


class Upsample(nn.Module):
    """Twice the size: zeros between the pixels, then the low-pass filter. A transposed convolution does both."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _blur_kernel(gain=4.0))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C 2*H 2*W"]:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class ModulatedConv2d(nn.Module):
    """A convolution whose weights are w'_oik = s_i w_oik, divided by their norm over i and k (2020, eqs. 1 and 3).

    Scaling the weights by the input channel and dividing by the output channel's norm equals scaling the input and
    the output. That form needs no weights per sample, so a batch is one ordinary convolution. Two extras change
    nothing in exact arithmetic: the styles are scaled to unit mean square first, which demodulation undoes and which
    keeps half floats in range; the norms are computed in float32.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style_dim: int, demodulate: bool = True, upsample: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style_dim, inputs, bias=1.0)
        if upsample:
            self.blur = Blur(padding=1, gain=4.0)
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.padding, self.demodulate, self.upsample = kernel // 2, demodulate, upsample

    def forward(
        self, x: Float[Tensor, "B I H W"], w: Float[Tensor, "B D"], shift: Tensor | None = None
    ) -> Float[Tensor, "B O h w"]:
        """shift: what is added to the style that w gives, ``[B, I]``."""
        style = self.modulation(w)
        if shift is not None:
            style = style + shift
        weight = self.weight[0] * self.scale
        norm = None
        if self.demodulate:
            with _full_precision(x):
                unit = (style.square().mean(1, keepdim=True) + EPSILON).rsqrt()
                style = style * unit
                energy = weight.square().sum((2, 3))
                norm = (style.square() @ energy.T + EPSILON * unit.square()).rsqrt()
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.upsample:
            y = self.blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            y = functional.conv2d(x, weight, padding=self.padding)
        return y if norm is None else y * norm.to(y.dtype)[:, :, None, None]


class NoiseInjection(nn.Module):
    """Adds one learned weight times an image of noise, the same for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "B C H W"], noise: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        if noise is None:
            noise = torch.randn(x.shape[0], 1, *x.shape[2:], device=x.device, dtype=x.dtype)
        return x + self.weight.to(x.dtype) * noise.to(x.dtype)


class StyledConv(nn.Module):
    """Modulated convolution, noise, activation."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, style_dim, upsample=upsample)
        self.noise = NoiseInjection()
        self.activate = Activation(outputs)

    def forward(
        self,
        x: Float[Tensor, "B I H W"],
        w: Float[Tensor, "B D"],
        noise: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> Float[Tensor, "B O h w"]:
        return self.activate(self.noise(self.conv(x, w, shift), noise))


class ToRGB(nn.Module):
    """What a resolution adds to the image. The sum over resolutions is kept in float32."""

    def __init__(self, inputs: int, style_dim: int, upsample: bool = True) -> None:
        super().__init__()
        if upsample:
            self.upsample = Upsample()
        self.conv = ModulatedConv2d(inputs, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(
        self,
        x: Float[Tensor, "B I H W"],
        w: Float[Tensor, "B D"],
        skip: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> Float[Tensor, "B 3 H W"]:
        image = self.conv(x, w, shift).to(self.bias.dtype) + self.bias
        if skip is None:
            return image
        with _full_precision(x):
            return image + self.upsample(skip)


class ConstantInput(nn.Module):
    """The learned map that every image starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, batch: int) -> Float[Tensor, "B C 4 4"]:
        # Channels last from here on: on a CPU the transposed convolutions are ten times faster, on a GPU half floats.
        return self.input.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)


class Generator(nn.Module):
    """z -> w -> image. Layer i of `n_latent` may have its own w; the first ones decide what is coarse.

    size .. channel_max: see `GeneratorConfig`. latent_avg: the mean w, None where a checkpoint did not bring it and
    nothing computed it; it is no part of the state dict, as in the public layout.
    """

    latent_avg: Tensor | None

    def __init__(
        self,
        size: int,
        style_dim: int = 512,
        n_mlp: int = 8,
        channel_multiplier: int | float = 2,
        channel_max: int = COARSE_CHANNELS,
    ) -> None:
        super().__init__()
        self.config = config = GeneratorConfig(size, style_dim, n_mlp, channel_multiplier, channel_max)
        self.size, self.style_dim = size, style_dim

        layers = (EqualLinear(style_dim, style_dim, rate=MAPPING_RATE, activate=True) for _ in range(n_mlp))
        self.style = nn.Sequential(PixelNorm(), *layers)

        width = config.channels(4)
        self.input = ConstantInput(width)
        self.conv1 = StyledConv(width, width, style_dim)
        self.to_rgb1 = ToRGB(width, style_dim, upsample=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        for resolution in config.resolutions[1:]:
            outputs = config.channels(resolution)
            for inputs, upsample in ((width, True), (outputs, False)):
                noise = torch.randn(1, 1, resolution, resolution)
                self.noises.register_buffer(f"noise_{len(self.convs) + 1}", noise)
                self.convs.append(StyledConv(inputs, outputs, style_dim, upsample))
            self.to_rgbs.append(ToRGB(outputs, style_dim))
            width = outputs
        self.num_layers = len(self.convs) + 1
        self.n_latent = 2 * len(config.resolutions)
        self.register_buffer("latent_avg", None, persistent=False)

    def make_noise(self) -> list[Float[Tensor, "1 1 H W"]]:
        """Fresh noise for every layer."""
        return [torch.randn_like(getattr(self.noises, f"noise_{i}")) for i in range(self.num_layers)]

    @torch.no_grad()
    def mean_latent(self, n_latent: int, generator: torch.Generator | None = None) -> Float[Tensor, "1 D"]:
        """Mean w of so many draws; with a (CPU) generator the same ones each time."""
        z = torch.randn(n_latent, self.style_dim, generator=generator)
        return self.style(z.to(self.input.input.device)).mean(0, keepdim=True)

    def forward(
        self,
        styles: Sequence[Tensor],
        return_latents: bool = False,
        inject_index: int | Sequence[int] | None = None,
        truncation: int | float = 1,
        truncation_latent: Tensor | None = None,
        input_is_latent: bool = False,
        noise: Sequence[Tensor | None] | None = None,
        randomize_noise: bool = True,
        levels: int | None = None,
        shift: Tensor | None = None,
    ) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B L D"] | None]:
        """Images, about -1..1, and with `return_latents` the w of each layer.

        styles: z `[B, D]`; with input_is_latent w `[B, D]` or one w for each layer `[B, L, D]`. Several are mixed:
        the first one's w up to layer inject_index (one index fewer than styles; None: drawn), then the next one's.
        truncation: how far from truncation_latent (None: `latent_avg`) towards w, 0..1 or beyond. noise: one image
        for each layer; without it, fresh noise, or the noise kept with the weights if not randomize_noise. levels: stop
        after so many doublings of the size, for the smaller image that the next level would add to (None: all).
        shift: added to the styles that w gives, `[B, S]`, in the order of `modulations`.
        """
        latents = list(styles) if input_is_latent else [self.style(z) for z in styles]
        if truncation != 1:
            centre = self.latent_avg if truncation_latent is None else truncation_latent
            assert centre is not None, "truncation needs a truncation_latent, or latent_avg"
            latents = [torch.lerp(centre.expand_as(w), w, truncation) for w in latents]
        w = self._mix(latents, inject_index)
        if noise is None:
            kept = [getattr(self.noises, f"noise_{i}") for i in range(self.num_layers)]
            noise = [None] * self.num_layers if randomize_noise else kept

        shifts: list[Tensor | None] = [None] * (3 * len(self.to_rgbs) + 2)
        if shift is not None:
            shifts = list(shift.split([conv.modulation.bias.numel() for conv, _ in self.modulations()], 1))
        x = self.conv1(self.input(len(w)), w[:, 0], noise[0], shifts[0])
        image = self.to_rgb1(x, w[:, 1], shift=shifts[1])
        for k, to_rgb in enumerate(list(self.to_rgbs)[:levels]):
            up, across, out = shifts[3 * k + 2 : 3 * k + 5]
            x = self.convs[2 * k](x, w[:, 2 * k + 1], noise[2 * k + 1], up)
            x = self.convs[2 * k + 1](x, w[:, 2 * k + 2], noise[2 * k + 2], across)
            image = to_rgb(x, w[:, 2 * k + 3], image, out)  # the w of the next resolution's first convolution
        return image, w if return_latents else None

    def modulations(self) -> list[tuple[ModulatedConv2d, int]]:
        """Every modulated convolution, in the order in which they draw, and the layer whose w it gets. Their styles
        one after the other are S (Wu, Lischinski and Shechtman 2021, "StyleSpace analysis"), S numbers in all."""
        found = [(self.conv1.conv, 0), (self.to_rgb1.conv, 1)]
        for k, to_rgb in enumerate(self.to_rgbs):
            convs = [self.convs[2 * k], self.convs[2 * k + 1], to_rgb]
            found += [(cast(ModulatedConv2d, part.conv), 2 * k + 1 + i) for i, part in enumerate(convs)]
        return found

    def styles(self, w: Float[Tensor, "B L D"]) -> Float[Tensor, "B S"]:
        """The scale of every input channel of every modulated convolution; affine in w."""
        return torch.cat([conv.modulation(w[:, layer]) for conv, layer in self.modulations()], 1)

    def _mix(self, latents: list[Tensor], inject_index: int | Sequence[int] | None) -> Float[Tensor, "B L D"]:
        layered = [w[:, None].expand(-1, self.n_latent, -1) if w.ndim == 2 else w for w in latents]
        if len(layered) == 1:
            return layered[0]
        if inject_index is None:
            cuts = sorted((torch.randperm(self.n_latent - 1)[: len(layered) - 1] + 1).tolist())
        else:
            cuts = [inject_index] if isinstance(inject_index, int) else list(inject_index)
        assert len(cuts) == len(layered) - 1, "one index fewer than styles"
        spans = itertools.pairwise([0, *cuts, self.n_latent])
        return torch.cat([w[:, start:end] for w, (start, end) in zip(layered, spans, strict=True)], 1)


# ------------------------------------------------------------------------------------------------- discriminator


def _conv_layer(inputs: int, outputs: int, kernel: int, downsample: bool = False) -> nn.Sequential:
    if not downsample:
        return nn.Sequential(EqualConv2d(inputs, outputs, kernel, padding=kernel // 2), Activation(outputs))
    return nn.Sequential(Blur(padding=2), EqualConv2d(inputs, outputs, kernel, stride=2), Activation(outputs))


class ResBlock(nn.Module):
    """Two convolutions to half the size, and past them the filtered input; their sum with unit variance."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv_layer(inputs, inputs, 3)
        self.conv2 = _conv_layer(inputs, outputs, 3, downsample=True)
        # Dropping pixels before the 1x1 convolution rather than with it: the same numbers for a quarter of the work.
        self.skip = nn.Sequential(Blur(padding=1, stride=2), EqualConv2d(inputs, outputs, 1))

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


def minibatch_stddev(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """How much the images of a group differ: the standard deviation over the group, averaged over everything else
    (Karras et al. 2018, section 3), as one more channel. Image i shares a group with i + n, i + 2 n, ..., where n is
    the number of groups; a group has up to four members, as many as divide the batch. In float32."""
    batch, _, height, width = x.shape
    group = next(g for g in range(STDDEV_GROUP, 0, -1) if batch % g == 0)
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (group, batch // group))
    deviation = (groups.var(0, unbiased=False) + EPSILON).sqrt().mean((1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width).to(x.dtype)


class Discriminator(nn.Module):
    """Image -> how real it looks, a logit."""

    def __init__(self, size: int, channel_multiplier: int | float = 2, channel_max: int = COARSE_CHANNELS) -> None:
        super().__init__()
        config = GeneratorConfig(size, channel_multiplier=channel_multiplier, channel_max=channel_max)
        widths = [config.channels(resolution) for resolution in reversed(config.resolutions)]
        blocks = (ResBlock(*pair) for pair in itertools.pairwise(widths))
        self.convs = nn.Sequential(_conv_layer(3, widths[0], 1), *blocks)
        self.final_conv = _conv_layer(widths[-1] + 1, widths[-1], 3)
        self.final_linear = nn.Sequential(
            EqualLinear(widths[-1] * 16, widths[-1], activate=True), EqualLinear(widths[-1], 1)
        )

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1"]:
        x = self.convs(image.contiguous(memory_format=torch.channels_last))
        x = self.final_conv(torch.cat([x, minibatch_stddev(x)], 1))
        return self.final_linear(x.flatten(1))


# ------------------------------------------------------------------------------------------------- files


def save_checkpoint(generator: Generator, path: Path) -> None:
    """Write a generator as half floats: half the size of the public format, and no code in it.

    Raises LikenessError for weights that are not finite or do not fit half floats: such a training has diverged.
    """
    from safetensors.torch import save_file

    tensors = storable(generator.state_dict())
    if generator.latent_avg is not None:
        tensors["latent_avg"] = generator.latent_avg.flatten().cpu()
    metadata = {"format": FORMAT, "config": json.dumps(asdict(generator.config))}
    save_file(tensors, path, metadata=metadata)


def storable(state: dict[str, Tensor], dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The tensors on the CPU, in this precision. Raises LikenessError, naming them, for values that it cannot hold."""
    stored = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    if bad := [name for name, tensor in stored.items() if not bool(tensor.isfinite().all())]:
        raise LikenessError(
            f"These weights cannot be saved, as some are not finite or beyond {torch.finfo(dtype).max:.3g}: "
            f"{_listing(bad)}. The training has diverged: go back to an earlier checkpoint and lower the learning rate."
        )
    return stored


def load_checkpoint(path: Path) -> Generator:
    """A generator from a public .pt file or one of our own; the module's docstring names the kinds.

    Shapes decide size, channel_multiplier and the other numbers of `GeneratorConfig`. latent_avg comes from the
    file, or else is the mean of 4096 draws. In float32, on the CPU, in evaluation mode.

    Raises FileError for a file that is missing, truncated, of another kind, that holds more than tensors, whose
    weights have other names or shapes than their own size asks for, or are not finite.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise FileError(f"The checkpoint {path} could not be opened ({error.strerror}). Check the path.") from error
    # A zip, or the pickle of a number that PyTorch wrote before it used zips.
    if start.startswith((b"PK\x03\x04", b"\x80\x02\x8a\x0a")):
        state, average = _read_public(path)
        config = _config_of(state, path)
    elif start[8:9] == b"{":
        state, metadata = read_safetensors(path, cure=CURE)
        if metadata.get("format") != FORMAT:
            raise FileError(
                f"{path} is a safetensors file of the kind {metadata.get('format')!r}; {FORMAT!r} was expected. "
                "Pass the generator's own file."
            )
        average = state.pop("latent_avg", None)
        config = config_of_file(state, metadata, path)
    else:
        raise FileError(
            f"{path} is no StyleGAN2 checkpoint that can be read: it is neither a .pt file nor a .safetensors file. "
            "A .pkl file of the StyleGAN2 authors has to be converted first, with convert_weight.py of the "
            "rosinality/stylegan2-pytorch project."
        )
    with torch.random.fork_rng(devices=()):  # its random weights are replaced at once: nobody's next number changes
        generator = Generator(**asdict(config))
    assign_weights(generator, state, path)
    if average is None:
        average = generator.mean_latent(4096, torch.Generator().manual_seed(0))
    elif average.numel() != config.style_dim or not bool(average.isfinite().all()):
        raise FileError(
            f"The mean latent in {path} has the shape {tuple(average.shape)}; {config.style_dim} finite numbers were "
            f"expected. The file is damaged or of another architecture. {CURE}"
        )
    generator.latent_avg = average.float().reshape(1, -1)
    return generator.eval()


def assign_weights(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Make the file's tensors the module's weights, as float32, after checking each name, shape and value.

    Raises FileError that lists what does not match, at most ten names.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not known" for name in found if name not in expected]
    problems += [
        f"{name} has the shape {found[name]}, {shape} was expected"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        raise FileError(
            f"The weights in {path} do not fit the network that their shapes describe: {_listing(problems, '; ')}. "
            f"The file is damaged or of another architecture. {CURE}"
        )
    if bad := [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]:
        raise FileError(
            f"The weights in {path} are not all finite: {_listing(bad)}. The file is damaged or comes from a training "
            f"that diverged. {CURE}"
        )
    module.load_state_dict({name: tensor.to(torch.float32, copy=True) for name, tensor in state.items()}, assign=True)


def config_of_file(state: dict[str, Tensor], metadata: dict[str, str], path: Path) -> GeneratorConfig:
    """The config in the metadata, once the weights' shapes agree with it. Raises FileError where they do not."""
    try:
        config = GeneratorConfig(**json.loads(metadata.get("config", "")))
    except (ValueError, TypeError, LikenessError) as error:
        raise FileError(f"{path} does not say which network it holds ({error}). It is damaged. {CURE}") from error
    if (said := config.describe()) != (found := _config_of(state, path).describe()):
        raise FileError(f"{path} says that it holds a generator of {said}, but its weights are of {found}. {CURE}")
    return config


def _read_public(path: Path) -> tuple[dict[str, Tensor], Tensor | None]:
    """The generator's state dict and the mean w, where there is one."""
    content = read_torch(path, CURE)
    state: Any = content
    if isinstance(content, dict):
        state = next((content[key] for key in ("g_ema", "g") if key in content), content)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise FileError(f'{path} holds no generator: a dictionary "g_ema" or "g" of tensors was expected. {CURE}')
    average = content.get("latent_avg")
    # DataParallel puts "module." before each name.
    state = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    return state, average if isinstance(average, Tensor) else None


def _config_of(state: dict[str, Tensor], path: Path) -> GeneratorConfig:
    """Size and widths, read from the shapes."""
    needed = {"style.1.weight": 2, "input.input": 4, "to_rgb1.conv.weight": 5}
    if missing := [name for name, ndim in needed.items() if name not in state or state[name].ndim != ndim]:
        raise FileError(
            f"{path} holds no StyleGAN2 generator in the rosinality layout: it lacks {', '.join(missing)}. {CURE}"
        )
    mapping = sum(name.startswith("style.") and name.endswith(".weight") for name in state)
    size = 4 << sum(name.startswith("to_rgbs.") and name.endswith(".conv.weight") for name in state)
    if size not in (8, 16, 32, *FINE_CHANNELS):
        raise FileError(
            f"The generator in {path} makes images of {size} pixels by its number of layers; 8 to 1024 can be read. "
            f"The file is damaged or of another architecture. {CURE}"
        )
    widest = state["input.input"].shape[1]
    # Only maps of 64 pixels and more tell the multiplier, the finest one best, since `channel_max` cuts the others.
    finest = state.get(f"convs.{2 * (size.bit_length() - 3) - 1}.conv.weight")
    multiplier = 2.0
    if size in FINE_CHANNELS and finest is not None and finest.ndim == 5:
        multiplier = finest.shape[1] / FINE_CHANNELS[size]
    try:
        return GeneratorConfig(size, state["style.1.weight"].shape[1], mapping, multiplier, widest)
    except LikenessError as error:
        raise FileError(f"The weights in {path} are of no network that can be built. {error} {CURE}") from error


def _listing(names: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return separator.join(names[:LISTED]) + more
