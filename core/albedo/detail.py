"""UVAPM's detail stage: what the coarse map leaves out - wrinkles, whiskers, pores, spots - from a variational
auto-encoder.

It works on the residual of log albedo over the coarse map, given that map. One encoder answers three questions, after
Ivanov, Figurnov and Vetrov (2019, "Variational autoencoder with arbitrary conditioning"): which latent a completely
known map has, which latents a partly seen one may have, and, with nothing seen, which go with a coarse map at all. It
is trained by asking that the second distribution, of a map hidden as a turned head hides it, contains the first. So
what is drawn for a hidden cheek agrees with the visible one, which it sees mirrored and in the mean over the map.

The decoder cannot place each pore of 0.8 million texels by some thousand latents; an L1 loss alone would answer with
blur. It gets noise to place them by, as in StyleGAN, and a loss on the local energy of four bands tells it how much.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from core.albedo.coarse import CoarseAlbedo, Maps, WithAlbedo, albedo_of
from core.albedo.completion import turned_head_masks
from core.albedo.model import bytes_to_map, log_albedo, resize_map
from core.atlas import atlas_lookup
from core.checkpoints import read_safetensors
from core.errors import FileError, LikenessError
from core.head import HeadModel, load_head

FORMAT = "likeness-albedo-detail-1"
CURE = "Train it again with `python -m app train detail`, or restore the file that came with the program."


@dataclass(frozen=True)
class DetailSettings:
    """The network's shape. size: of the maps; the grid of latents has `grid` cells a side, `channels` numbers each,
    plus `shared` numbers for the whole map (how freckled, how lined). width: channels at half the size; they double
    towards the grid, up to eight times. unit: the residual's, of log albedo; about its deviation, so that the network
    sees numbers near 1."""

    size: int = 512
    grid: int = 16
    channels: int = 8
    shared: int = 32
    width: int = 16
    unit: float = 0.15

    def __post_init__(self) -> None:
        ratio = self.size / self.grid
        if self.grid < 1 or ratio < 2 or 2 ** round(math.log2(ratio)) != ratio or self.width % 8:
            raise LikenessError(
                f"A detail model of size {self.size}, grid {self.grid} and width {self.width} cannot be built: the "
                "size must be a power of two times the grid and the width a multiple of 8, such as 512, 16 and 16."
            )

    @property
    def latent_size(self) -> int:
        return self.shared + self.channels * self.grid**2


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Independent normal latents ``[B, D]``."""

    mean: Float[Tensor, "B D"]
    log_variance: Float[Tensor, "B D"]

    def draw(self, unit_noise: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return self.mean + (0.5 * self.log_variance).exp() * unit_noise

    def divergence(self, other: Gaussian) -> Float[Tensor, "B"]:
        """Kullback-Leibler divergence of `other` from this, nats, summed over the latents."""
        ratio = (self.log_variance - other.log_variance).exp()
        distance = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return 0.5 * (ratio + distance - 1 + other.log_variance - self.log_variance).sum(1)


def standard_normal(like: Gaussian) -> Gaussian:
    """The distribution that latents are drawn towards."""
    return Gaussian(torch.zeros_like(like.mean), torch.zeros_like(like.mean))


# --- the network ------------------------------------------------------------------------------------------------------


class _Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class DetailNet(nn.Module):
    """Encoder and decoder. Residuals are in units of `DetailSettings.unit`, coarse maps in log albedo."""

    def __init__(self, settings: DetailSettings) -> None:
        super().__init__()
        self.settings = settings
        # From the full size down: level i has settings.size / 2^i texels a side.
        levels = round(math.log2(settings.size / settings.grid))
        widths = [settings.width * min(2 ** max(i - 1, 0), 8) for i in range(levels + 1)]
        deepest = widths[-1]

        self.entry = nn.Conv2d(7, widths[1], 4, stride=2, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1) for i in range(1, levels))
        self.encode_blocks = nn.ModuleList(_Block(width) for width in widths[1:])
        self.encode_place = nn.Parameter(0.2 * torch.randn(1, deepest, settings.grid, settings.grid))
        self.mix = nn.Conv2d(3 * deepest, deepest, 1)
        self.mix_block = _Block(deepest)
        self.shared_head = nn.Linear(deepest, 2 * settings.shared)
        self.from_shared = nn.Linear(settings.shared, deepest)
        self.grid_block = _Block(deepest)
        self.grid_head = nn.Conv2d(deepest, 2 * settings.channels, 1)

        self.decode_place = nn.Parameter(torch.randn(1, deepest, settings.grid, settings.grid))
        self.decode_entry = nn.Conv2d(settings.channels + settings.shared + 3, deepest, 3, padding=1)
        self.decode_block = _Block(deepest)
        # Two full convolutions down to the second-finest level; the finest, where texels are many, makes do with one.
        self.up = nn.ModuleList(nn.Conv2d(widths[i + 1] + 3, widths[i], 3, padding=1) for i in range(levels))
        self.decode_blocks = nn.ModuleList(_Block(widths[i]) for i in range(1, levels))
        self.loudness = nn.ModuleList(nn.Conv2d(widths[i], widths[i], 1) for i in range(2 if levels > 1 else 1))
        self.exit = nn.Conv2d(widths[0], 3, 3, padding=1)
        for layer in (self.shared_head, self.grid_head, self.exit):
            nn.init.normal_(layer.weight, std=1e-2)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            # At first latents say little; drawn from all of their range, they would say nothing at all.
            for layer in (self.shared_head, self.grid_head):
                assert layer.bias is not None
                layer.bias.chunk(2)[1].fill_(-3)
            for parameter in self.loudness.parameters():  # noise comes in only where it is found worth it
                parameter.zero_()

    def features(
        self, residual: Float[Tensor, "B 3 U U"], coarse: Float[Tensor, "B 3 U U"], mask: Float[Tensor, "B 1 U U"]
    ) -> Float[Tensor, "B C G G"]:
        """What the encoder sees in a residual that is known where the mask is 1."""
        x = self.entry(torch.cat([residual * mask, coarse, mask], 1))
        x = self.encode_blocks[0](x)
        for down, block in zip(self.down, list(self.encode_blocks)[1:], strict=True):
            x = block(down(x))
        # Each cell sees its mirror image and everything at once: what is hidden here is seen there.
        x = x + self.encode_place
        pooled = x.mean((2, 3), keepdim=True).expand_as(x)
        return self.mix_block(x + self.mix(torch.cat([x, x.flip(3), pooled], 1)))

    def shared(self, features: Float[Tensor, "B C G G"]) -> Gaussian:
        """The shared latents ``[B, S]`` of what was seen."""
        mean, log = self.shared_head(features.mean((2, 3))).float().chunk(2, 1)
        return Gaussian(mean, _bounded(log))

    def cells(self, features: Float[Tensor, "B C G G"], shared: Float[Tensor, "B S"]) -> Gaussian:
        """The cells' latents ``[B, channels * G * G]`` of what was seen, given the shared ones."""
        x = self.grid_block(features + self.from_shared(shared)[..., None, None])
        mean, log = self.grid_head(x).float().chunk(2, 1)
        return Gaussian(mean.flatten(1), _bounded(log).flatten(1))

    def infer(
        self,
        residual: Float[Tensor, "B 3 U U"],
        coarse: Float[Tensor, "B 3 U U"],
        mask: Float[Tensor, "B 1 U U"],
        unit_noise: Float[Tensor, "B D"],
    ) -> Float[Tensor, "B D"]:
        """Latents drawn from what a partly seen residual may have; noise of 0 gives the most probable ones."""
        features = self.features(residual, coarse, mask)
        shared = self.shared(features).draw(unit_noise[:, : self.settings.shared])
        return torch.cat([shared, self.cells(features, shared).draw(unit_noise[:, self.settings.shared :])], 1)

    def decode(
        self, latent: Float[Tensor, "B D"], coarse: Float[Tensor, "B 3 U U"], generator: torch.Generator
    ) -> Float[Tensor, "B 3 U U"]:
        """The residual; `generator` draws where pores and hairs lie that the latents do not place. One of the CPU draws
        the same on every device."""
        s = self.settings
        cells = latent[:, s.shared :].unflatten(1, (s.channels, s.grid, s.grid))
        everywhere = latent[:, : s.shared, None, None].expand(-1, -1, s.grid, s.grid)
        x = self.decode_entry(torch.cat([cells, everywhere, _at(coarse, s.grid)], 1))
        x = self.decode_block(x + self.decode_place)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, _at(coarse, x.shape[-1])], 1))
            if level < len(self.loudness):
                noise = torch.randn(len(x), 1, *x.shape[2:], generator=generator, device=generator.device).to(x)
                x = x + noise * self.loudness[level](x)
            x = functional.silu(x) if level == 0 else self.decode_blocks[level - 1](x)
        return self.exit(x)


def _bounded(log_variance: Tensor) -> Tensor:
    """Between e^-8 and e^2: neither end is ever needed, and both overflow half precision if left alone."""
    return -3 + 5 * torch.tanh(log_variance / 5 + 0.6931)


def _at(image: Tensor, size: int) -> Tensor:
    factor = image.shape[-1] // size
    return image if factor == 1 else functional.avg_pool2d(image, factor)


# --- losses -----------------------------------------------------------------------------------------------------------


def bands(image: Float[Tensor, "B C U U"], count: int = 4) -> Iterator[Float[Tensor, "B C u u"]]:
    """Laplacian pyramid (Burt and Adelson 1983) with box filters: band 0 is the finest."""
    for _ in range(count):
        if image.shape[-1] < 2:
            return
        smaller = functional.avg_pool2d(image, 2)
        yield image - functional.interpolate(smaller, scale_factor=2.0, mode="nearest")
        image = smaller


def energy_difference(made: Float[Tensor, "B C U U"], truth: Float[Tensor, "B C U U"]) -> Float[Tensor, ""]:
    """Mean difference of the local root mean square, over windows of 8 texels of each band: 0 where texture has the
    same strength everywhere, wherever its grains lie."""
    total = made.new_zeros(())
    pairs = list(zip(bands(made), bands(truth), strict=True))
    for a, b in pairs:
        window = min(8, a.shape[-1])
        total = total + (_rms(a, window) - _rms(b, window)).abs().mean()
    return total / len(pairs)


def _rms(image: Tensor, window: int) -> Tensor:
    return (functional.avg_pool2d(image.square(), window) + 1e-5).sqrt()


def gradient_difference(made: Float[Tensor, "B C U U"], truth: Float[Tensor, "B C U U"]) -> Float[Tensor, ""]:
    """Mean absolute difference of the differences between neighbours."""
    error = made - truth
    return (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2


# --- the model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DetailAlbedo:
    """A trained network in use. Residuals are log albedo over the coarse map, at `settings.size`."""

    net: DetailNet

    @property
    def settings(self) -> DetailSettings:
        return self.net.settings

    @torch.no_grad()
    def infer(
        self,
        residual: Float[Tensor, "3 U U"],
        coarse: Float[Tensor, "3 U U"],
        mask: Float[Tensor, "U U"],
        unit_noise: Float[Tensor, "D"],
    ) -> Float[Tensor, "D"]:
        """Latents drawn from those that a partly seen residual may have; with an empty mask, that go with the coarse
        map. Noise of 0 gives the most probable ones."""
        return self.net.infer(residual[None] / self.settings.unit, coarse[None], mask[None, None], unit_noise[None])[0]

    @torch.no_grad()
    def decode(self, latent: Float[Tensor, "D"], coarse: Float[Tensor, "3 U U"]) -> Float[Tensor, "3 U U"]:
        """The residual of a latent on a coarse map (log albedo). The same latent gives the same map."""
        generator = torch.Generator().manual_seed(0)
        return self.net.decode(latent[None], coarse[None], generator)[0] * self.settings.unit

    def to(self, device: torch.device | str) -> DetailAlbedo:
        """The same model on another device."""
        net = DetailNet(self.settings).to(device)
        net.load_state_dict(self.net.state_dict())
        return DetailAlbedo(net.eval().requires_grad_(False))

    def save(self, path: Path, metadata: dict[str, Any] | None = None) -> None:
        """A safetensors file in half precision."""
        header = {
            "format": FORMAT,
            "settings": json.dumps(asdict(self.settings)),
            "training": json.dumps(metadata or {}),
        }
        _write({k: v.half() for k, v in self.net.state_dict().items()}, path, header)

    @staticmethod
    def load(path: Path) -> DetailAlbedo:
        """Raises FileError for a file that is missing, damaged, of another kind or of another shape."""
        tensors, metadata = read_safetensors(path, (), CURE)
        net = DetailNet(_settings_of(path, metadata, FORMAT))
        _load_state(net, {k: v.float() for k, v in tensors.items()}, path)
        return DetailAlbedo(net.eval().requires_grad_(False))


def _settings_of(path: Path, metadata: dict[str, str], kind: str) -> DetailSettings:
    if metadata.get("format") != kind:
        raise FileError(f"{path} says that its format is {metadata.get('format')!r}; {kind!r} was expected. {CURE}")
    try:
        return DetailSettings(**json.loads(metadata["settings"]))
    except (KeyError, TypeError, ValueError, LikenessError) as error:
        raise FileError(f"{path} does not say which network it holds ({error}). {CURE}") from error


def _load_state(net: DetailNet, tensors: dict[str, Tensor], path: Path) -> None:
    """Every key must be there, none may be left over, and each must have its shape and be made of numbers."""
    own = net.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        raise FileError(
            f"{path} does not hold this network: missing {', '.join(missing) or 'nothing'}; "
            f"unknown {', '.join(unknown) or 'nothing'}. {CURE}"
        )
    for key, value in tensors.items():
        if value.shape != own[key].shape:
            raise FileError(
                f"{path} does not hold this network: {key} has the shape {tuple(value.shape)}, "
                f"{tuple(own[key].shape)} was expected. {CURE}"
            )
        if not bool(torch.isfinite(value).all()):
            raise FileError(f"{path} holds weights in {key} that are no numbers. {CURE}")
    net.load_state_dict(tensors)


def _write(tensors: dict[str, Tensor], path: Path, header: dict[str, str]) -> None:
    """All of it or nothing: a training that is ended while it writes leaves the last good file."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, str(unfinished), header)
    unfinished.replace(path)


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DetailLoss:
    """Weights of the loss, whose residuals are in units of `DetailSettings.unit`.

    l1: 1 by definition. gradient: keeps strokes sharp where the latents know them. energy: makes noise worth its L1.
    prior, partial: of the divergences from the standard normal and from what the partly hidden map tells, in nats per
    texel. The exact bound has the L1's scale, about 0.2, for the
    first; neighbouring texels err together, which is worth some times that. With ten times more latents stay unused.
    """

    gradient: float = 0.5
    energy: float = 1.0
    prior: float = 0.5
    partial: float = 1.5


@dataclass(frozen=True)
class Progress:
    """What is known after a step of training; `log.jsonl` holds one a line."""

    step: int
    epoch: float
    loss: float
    l1: float
    gradient: float
    energy: float
    prior_nats: float
    partial_nats: float
    seconds: float
    held_out_l1: float | None = None


def train_detail(
    maps: Maps,
    coarse: CoarseAlbedo,
    out: Path,
    epochs: int,
    batch_size: int,
    *,
    settings: DetailSettings | None = None,
    loss: DetailLoss | None = None,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    minutes: float | None = None,
    save_every: int = 500,
    workers: int = 0,
    head: HeadModel | None = None,
    report: Callable[[Progress], None] | None = None,
) -> DetailAlbedo:
    """Train on a data set, and write the model to `out`, whenever the checkpoint is written.

    Beside `out` stand ``<stem>.checkpoint.safetensors`` (every `save_every` steps and at the end, from which the same
    call goes on: the result is that of a training without the break) and ``<stem>.log.jsonl``. minutes: stop after
    these; call again to go on. One map in fifty, at most 64, is held out and only measured. On CUDA the network runs in
    bfloat16. workers: processes that read maps. A step whose loss is no number is left out; ten in a row end the
    training with an error. Raises LikenessError for maps that do not fit, FileError for a checkpoint of another run.
    """
    settings, loss, device = settings or DetailSettings(), loss or DetailLoss(), torch.device(device)
    if len(maps) < 2 or epochs < 1 or batch_size < 1:
        raise LikenessError(
            f"Training needs at least 2 maps, 1 epoch and a batch of 1, but was asked for {len(maps)} maps, {epochs} "
            f"epochs and a batch of {batch_size}. Synthesize some thousand maps (`python -m app synthesize`)."
        )
    head = head or load_head()
    held_out = min(64, max(1, len(maps) // 50))
    trained = len(maps) - held_out
    batch_size = min(batch_size, trained)
    steps_per_epoch = trained // batch_size
    steps = epochs * steps_per_epoch

    torch.manual_seed(seed)
    net = DetailNet(settings).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=1e-3)
    run = {
        "settings": json.dumps(asdict(settings)), "loss": json.dumps(asdict(loss)), "maps": str(len(maps)),
        "epochs": str(epochs), "batch_size": str(batch_size), "learning_rate": str(learning_rate), "seed": str(seed),
    }  # fmt: skip
    checkpoint, log_path = out.with_suffix(".checkpoint.safetensors"), out.with_suffix(".log.jsonl")
    step = _resume(checkpoint, net, optimiser, run) if checkpoint.exists() else 0

    data = _Data(maps, coarse.to(device), settings, head, device)
    reader = _reader(maps, trained, batch_size, steps, step, seed, workers)
    began, bad = time.monotonic(), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a") as log:
        for images in reader:
            # Of the step, so that resuming draws the same; noise is drawn where it is needed.
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            on_device = torch.Generator(device).manual_seed(seed * 1_000_003 + step)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * _schedule(step, steps)
            residual, over = data.residuals(_flipped(images, generator))
            mask = data.masks(len(images), generator)
            with torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext():
                value, parts = detail_loss(net, residual, over, mask, data.inside, loss, on_device)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            if bool(torch.isfinite(value)) and bool(torch.isfinite(norm)):
                optimiser.step()
                bad = 0
            else:
                bad += 1
                if bad == 10:
                    raise LikenessError(
                        f"The loss was no number in ten steps in a row, up to step {step}. The last good state is in "
                        f"{checkpoint}; delete it and train with a lower learning rate than {learning_rate:g}."
                    )
            step += 1
            late = minutes is not None and time.monotonic() - began > 60 * minutes
            last = step == steps or late
            if step % 50 == 0 or step % steps_per_epoch == 0 or last:
                at_epoch = step % steps_per_epoch == 0 or last
                progress = Progress(
                    step=step, epoch=round(step / steps_per_epoch, 3), loss=float(value.detach()), **parts,
                    seconds=round(time.monotonic() - began, 1),
                    held_out_l1=_held_out_l1(net, data, trained, held_out) if at_epoch else None,
                )  # fmt: skip
                log.write(json.dumps(asdict(progress)) + "\n")
                log.flush()
                if report:
                    report(progress)
            if step % save_every == 0 or last:
                _write(_state(net, optimiser), checkpoint, {"format": FORMAT + "-checkpoint", "step": str(step), **run})
                DetailAlbedo(net).save(out, {**run, "step": step})
            if last:
                break
    return DetailAlbedo(net.cpu().eval().requires_grad_(False))


def detail_loss(
    net: DetailNet,
    residual: Float[Tensor, "B 3 U U"],
    coarse: Float[Tensor, "B 3 U U"],
    mask: Float[Tensor, "B 1 U U"],
    inside: Bool[Tensor, "U U"],
    weights: DetailLoss,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The loss of a batch of residuals in units of `DetailSettings.unit`, and its parts. Texels outside the skin are
    worth nothing. `generator` draws latents and noise."""
    s = net.settings
    unit = torch.randn(len(residual), s.latent_size, generator=generator, device=generator.device).to(residual)
    full, part = net.features(residual, coarse, torch.ones_like(mask)), net.features(residual, coarse, mask)
    of_full, of_part = net.shared(full), net.shared(part)
    shared = of_full.draw(unit[:, : s.shared])
    # Chain rule: the cells' distributions are compared given the same shared latents.
    cells_full, cells_part = net.cells(full, shared), net.cells(part, shared)
    latent = torch.cat([shared, cells_full.draw(unit[:, s.shared :])], 1)
    made = net.decode(latent, coarse, generator).float() * inside
    truth = residual * inside
    texels = 3 * inside.sum()
    share = inside.numel() / inside.sum()
    l1 = (made - truth).abs().mean() * share
    gradient = gradient_difference(made, truth) * share
    energy = energy_difference(made, truth) * share
    prior = (of_full.divergence(standard_normal(of_full)) + cells_full.divergence(standard_normal(cells_full))).mean()
    hidden = (of_full.divergence(of_part) + cells_full.divergence(cells_part)).mean()
    value = l1 + weights.gradient * gradient + weights.energy * energy
    value = value + (weights.prior * prior + weights.partial * hidden) / texels
    parts = {"l1": l1, "gradient": gradient, "energy": energy, "prior_nats": prior, "partial_nats": hidden}
    return value, {key: round(float(part.detach()), 5) for key, part in parts.items()}


class _Data:
    """Maps of bytes to residuals over their coarse maps, in batches, on the device."""

    def __init__(
        self, maps: Maps, coarse: CoarseAlbedo, settings: DetailSettings, head: HeadModel, device: torch.device
    ) -> None:
        self.maps, self.coarse, self.settings, self.device = maps, coarse, settings, device
        self.size = settings.size
        self.inside = atlas_lookup(head, settings.size).inside.to(device)
        self.bank = turned_head_masks(head, min(settings.size, 128))

    def residuals(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals in units of `DetailSettings.unit`, and coarse maps in log albedo."""
        albedo = bytes_to_map(images.to(self.device, non_blocking=True))
        if albedo.shape[-1] < self.size:
            raise LikenessError(
                f"A training map has {albedo.shape[-1]} texels a side, but the detail model needs {self.size}. "
                "Synthesize larger maps."
            )
        return split(albedo, self.coarse, self.settings)

    def masks(self, count: int, generator: torch.Generator) -> Tensor:
        """Turned heads, one in six with nothing seen at all, each mirrored or not."""
        index = torch.randint(len(self.bank), (count,), generator=generator)
        mask = self.bank[index][:, None]
        flip, none = torch.rand(2, count, generator=generator)
        mask = torch.where((flip < 0.5)[:, None, None, None], mask.flip(3), mask) * (none > 1 / 6)[:, None, None, None]
        return functional.interpolate(mask.to(self.device), size=(self.size, self.size), mode="bilinear")


def split(albedo: Float[Tensor, "B 3 U U"], coarse: CoarseAlbedo, settings: DetailSettings) -> tuple[Tensor, Tensor]:
    """Residuals ``[B, 3, size, size]`` in the settings' unit, and coarse maps of that size in log albedo."""
    batch, side, size = len(albedo), albedo.shape[-1], settings.size
    flat, everywhere = albedo.reshape(batch * 3, side, side), albedo.new_ones(side, side)
    small = resize_map(flat, everywhere, coarse.size)[0].unflatten(0, (batch, 3))
    fine = resize_map(flat, everywhere, size)[0].unflatten(0, (batch, 3))
    over = enlarge(coarse.decode_log(coarse.project(log_albedo(small))), size)
    return (log_albedo(fine) - over) / settings.unit, over


def enlarge(coarse: Float[Tensor, "B 3 u u"], size: int) -> Float[Tensor, "B 3 {size} {size}"]:
    """A coarse map (log albedo) at the detail's size."""
    if coarse.shape[-1] == size:
        return coarse
    return functional.interpolate(coarse, size=(size, size), mode="bilinear", antialias=size < coarse.shape[-1])


def _flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half the maps mirrored: the atlas is symmetric."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def _schedule(step: int, steps: int) -> float:
    """A hundred steps of warming up, a tenth of a short training, then half a cosine down to 1 %."""
    warm = min(1.0, (step + 1) / min(100.0, 1 + steps / 10))
    return warm * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))


def _reader(
    maps: Maps, trained: int, batch_size: int, steps: int, first: int, seed: int, workers: int
) -> Iterator[Tensor]:
    """Batches of bytes from step `first` on; each epoch in an order of its own."""
    from torch.utils.data import DataLoader

    per_epoch = trained // batch_size
    orders: dict[int, list[int]] = {}

    def indices(step: int) -> list[int]:
        epoch = step // per_epoch
        if epoch not in orders:
            orders.clear()
            shuffle = torch.Generator().manual_seed(seed * 7919 + epoch)
            orders[epoch] = torch.randperm(trained, generator=shuffle).tolist()
        start = step % per_epoch * batch_size
        return orders[epoch][start : start + batch_size]

    batches = (indices(step) for step in range(first, steps))
    loader = DataLoader(maps, batch_sampler=_Once(batches, steps - first), num_workers=workers, collate_fn=_stack)  # pyright: ignore[reportArgumentType]
    yield from loader


class _Once:
    """A batch sampler over an iterator."""

    def __init__(self, batches: Iterator[list[int]], count: int) -> None:
        self.batches, self.count = batches, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        return self.batches


def _stack(items: list[Tensor | WithAlbedo]) -> Tensor:
    return torch.stack([albedo_of(item) for item in items])


@torch.no_grad()
def _held_out_l1(net: DetailNet, data: _Data, first: int, count: int) -> float:
    """Mean absolute error of log albedo where the whole map is known, on the maps kept aside."""
    total, size = 0.0, net.settings.latent_size
    for i in range(first, first + count):
        residual, over = data.residuals(_stack([data.maps[i]]))
        latent = net.infer(residual, over, torch.ones_like(residual[:, :1]), residual.new_zeros(1, size))
        made = net.decode(latent, over, torch.Generator().manual_seed(0))
        total += float(((made - residual).abs() * data.inside).mean() * data.inside.numel() / data.inside.sum())
    return round(total / count * net.settings.unit, 5)


def _state(net: DetailNet, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {f"net.{k}": v for k, v in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            state[f"optimiser.{key}.{name}"] = value
    return state


def _resume(path: Path, net: DetailNet, optimiser: torch.optim.Optimizer, run: dict[str, str]) -> int:
    """Load a checkpoint of this very run; the number of steps done."""
    cure = f"Delete {path} to start over."
    tensors, metadata = read_safetensors(path, (), cure)
    if metadata.get("format") != FORMAT + "-checkpoint":
        raise FileError(f"{path} is not a checkpoint of the detail stage. {cure}")
    changed = [f"{k} was {metadata.get(k)}, is {v}" for k, v in run.items() if metadata.get(k) != v]
    if changed:
        raise FileError(f"{path} is the checkpoint of another training: {'; '.join(changed)}. {cure}")
    _load_state(net, {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}, path)
    for name, parameter in net.named_parameters():
        mine = {
            key: tensors[f"optimiser.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimiser.{key}.{name}" in tensors
        }
        if mine:
            optimiser.state[parameter] = {
                key: value if key == "step" else value.to(parameter) for key, value in mine.items()
            }
    return int(metadata["step"])
