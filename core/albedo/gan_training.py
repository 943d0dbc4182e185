"""Training of the albedo GAN, from top to bottom: settings, losses, data, one step, checkpoints, the loop.

A synthetic person is a deterministic function of a latent of independent standard normal numbers
(core.synthesis.people), and every training map comes with its person's latent. So the generator need not discover
what people differ in: the first numbers of its z *are* that latent, the rest is noise. Two phases with the same code:

supervised: regress map and shape of a person from the latent. Converges in hours on two cores, where a GAN needs days
    on a GPU, but averages over what the latent does not determine: which pore, which hair.
adversarial: StyleGAN2's game (Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN") with
    adaptive augmentation (core.albedo.augment) puts that detail back. The supervised terms stay on, weaker and on
    coarse bands only, so that G(z of a person) remains that person and directions keep their meaning.

Several processes (torchrun): each draws the numbers of the whole batch from the same generator and uses its share, so
the number of processes changes no number that is drawn. Gradients are averaged here, in one message per step, rather
than by torch's wrapper: lazy regularisers take gradients of gradients of parts of the networks, which it does not
follow.
"""

from __future__ import annotations

import copy
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import UInt8
from torch import Tensor, distributed, nn
from torch.nn import functional

from core.albedo import augment
from core.albedo.gan_data import Data, Feed, LabelledData, People, check_data, collate
from core.albedo.gan_losses import (
    PictureLosses,
    PictureSettings,
    RandomFeatures,
    laplacian_loss,
    path_lengths,
    r1_penalty,
)
from core.albedo.stylegan2 import Discriminator, EqualLinear, Generator
from core.albedo.stylegan_albedo import ShapeHead, StyleGanAlbedo, ridge
from core.checkpoints import read_safetensors, write_whole
from core.errors import FileError, LikenessError
from core.head import HeadModel

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FORMAT = "likeness-gan-training-1"
CHECKPOINT_CURE = "Train without --resume to start anew, or put an undamaged checkpoint into the folder."

# ------------------------------------------------------------------------------------------------------ settings


@dataclass(frozen=True)
class GanSettings:
    """Everything that a run depends on, saved beside its weights. "Images" count maps shown, over all processes."""

    # Networks
    size: int = 256  # texels a side of the generated maps; a power of two
    style_dim: int = 512  # of z and w; the person's latent takes the first numbers of z
    mapping_layers: int = 2  # of 8 in the paper: independent normal factors need little disentangling
    channel_multiplier: float = 0.25  # of the widths from 64 texels a side on; see stylegan2.GeneratorConfig
    channel_max: int = 128  # of any width; 512 in the paper. At 192 the maps of 32 texels take twice the time

    # How long
    batch_size: int = 4  # over all processes. The supervised phase needs steps more than exact gradients
    supervised_images: int = 80_000  # then the adversarial phase begins, with time left or not ...
    adversarial_images: int = 20_000
    # Sizes of the maps that are learnt at first, each for so large a share of the supervised phase, the rest at full
    # size: what people look like from afar takes many steps, and there steps are cheap.
    growth: tuple[tuple[int, float], ...] = ()
    supervised_share: float = 0.93  # ... but after this share of the minutes at the latest, where minutes are given
    seed: int = 0

    # Supervised terms. All are means over texels of differences of maps in -1..1.
    supervised_rate: float = 0.01  # Adam's; at 0.03 maps of 64 texels stay as blurred as of 32, 0.08 diverges
    mapping_boost: float = 30.0  # of the mapping network's rate, which StyleGAN2 divides by 100 for the game's sake
    supervised_betas: tuple[float, float] = (0.9, 0.99)
    warm_up_images: int = 400  # the rate rises linearly: Adam's first steps are as long as its later ones
    pyramid_levels: int = 5  # bands of `laplacian_loss`
    features_weight: float = 0.5  # of `RandomFeatures`: as large as the pyramid's term once both have settled
    shape_weight: float = 0.1  # of the mean square error of shape coefficients, which have unit variance
    anchor_weight: float = 2.0  # of all supervised terms in the adversarial phase, whose own terms are of order 1
    anchor_skip: int = 2  # finest bands that the anchor leaves alone: the seed draws pores and hairs, not the latent
    anchor_share: int = 2  # every how many-th map of the batch is anchored

    # Adversarial terms
    generator_rate: float = 2e-3
    discriminator_rate: float = 2e-3
    adversarial_betas: tuple[float, float] = (0.0, 0.99)  # no momentum: the opponent moves (StyleGAN2)
    mixing: float = 0.9  # probability of two styles in one map, so that neighbouring layers' styles do not correlate
    r1_gamma: float = 1.0  # gradient penalty; about 0.0002 size^2 / batch (ADA, appendix C)
    r1_every: int = 16  # steps; its weight grows by as much
    path_weight: float = 2.0  # path-length regularisation
    path_every: int = 4
    path_share: int = 2  # every how many-th map of a batch: gradients of gradients take twice the memory
    path_decay: float = 0.01  # of the running mean path length

    # Adaptive augmentation
    augment_target: float = 0.6  # of E[sign(D(real))] (ADA, section 3.3)
    augment_every: int = 4  # steps between adjustments
    augment_images: int = 100_000  # until the probability could reach 1: five times ADA's speed, as runs are short

    # Losses on pictures, as in AlbedoGAN. Off by default: with maps that are known texel by texel they repeat what the
    # pyramid says, at several times its cost.
    pictures: PictureSettings = field(default_factory=PictureSettings)

    # The average of the weights that is kept as the result
    average_half_life: int = 5_000  # images
    average_ramp: float = 0.05  # half-life at most this share of the images so far, so that early weights go quickly

    # Speed
    bf16: bool = False  # mixed precision; regularisers stay in float32. Most CPUs are slower for it
    preload_gb: float = 2.0  # data up to this size is kept on the device as bytes, more is read as it is used
    loader_workers: int = 2  # processes that read it then

    # Reporting
    log_every: int = 25  # steps. Only then does the CPU wait for the device: losses, time and bad steps are read
    samples_every: int = 5_000  # images
    checkpoint_every: int = 5_000  # images
    bad_steps: int = 10  # in a row that are not finite before a run stops


PRESETS: dict[str, GanSettings] = {
    # Two cores: what an hour can teach. An eighth of the public networks' width from 64 texels on, where nearly all the
    # time goes.
    "cpu": GanSettings(growth=((16, 0.05), (32, 0.1), (64, 0.15), (128, 0.5))),
    # One Hopper card: 256 texels, ADA's "auto" widths; everything resides on the card.
    "gpu": GanSettings(
        size=256,
        channel_multiplier=1.0,
        channel_max=512,
        batch_size=32,
        growth=((16, 0.05), (32, 0.1), (64, 0.15), (128, 0.5)),
        supervised_images=600_000,
        adversarial_images=1_500_000,
        supervised_share=0.4,
        warm_up_images=10_000,
        augment_images=500_000,
        average_half_life=20_000,
        bf16=True,
        preload_gb=40.0,
        log_every=100,
        samples_every=50_000,
        checkpoint_every=100_000,
    ),
}

# People whose latents and labels give the statistics of a finished model: several for each number in w.
STATISTICS_PEOPLE = 4096

# What decides which weights there are: a checkpoint fits no run in which one of these differs.
NETWORK_FIELDS = ("size", "style_dim", "mapping_layers", "channel_multiplier", "channel_max")


def check_settings(settings: GanSettings, latent_size: int, world: int = 1) -> None:
    """Raises LikenessError for settings that cannot work together, before any time is spent on them."""
    if settings.size < 8 or settings.size & (settings.size - 1):
        raise LikenessError(f"The maps' size is {settings.size} (--size); a power of two of at least 8 was expected.")
    if settings.style_dim < latent_size:
        raise LikenessError(
            f"The generator's z has {settings.style_dim} numbers, but a person's latent takes {latent_size} of them. "
            "Raise style_dim."
        )
    share = settings.batch_size // world
    if settings.batch_size < 1 or share * world != settings.batch_size:
        raise LikenessError(
            f"A batch of {settings.batch_size} maps (--batch-size) cannot be shared evenly by {world} processes. "
            f"Choose a multiple of {world}."
        )


def average_decay(batch: int, seen: int, half_life: int, ramp: float) -> float:
    """What a step of `batch` images leaves of the average of the weights (ADA, appendix C).

    The half-life, in images, is at most the share `ramp` of the images `seen`; before the first there is nothing to
    keep, and the decay is 0.
    """
    images = min(half_life, seen * ramp)
    return 0.5 ** (batch / images) if images > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * model, parameter by parameter. Buffers are constants here."""
    lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
    lerp(list(average.parameters()), list(model.parameters()), 1 - decay)


# ------------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True, eq=False)
class Networks:
    """What is trained. generator, discriminator: as core.albedo.stylegan2. shape_head: w ``[B, W]`` to shape
    coefficients ``[B, K]``, so that one latent is one person."""

    generator: Generator
    discriminator: nn.Module
    shape_head: ShapeHead


def build_networks(settings: GanSettings, latent_size: int, shape_count: int) -> Networks:
    """New networks, the same for the same seed, so that every process starts from the same weights.

    latent_size: of people. The mapping starts from what is known: the first numbers of w are the person's latent and
    its negative, cut by the leaky ReLU, whose difference is the latent again. So labels and shape are linear in w from
    the start, where random layers would have to be taught to keep a person and to forget the noise beside.
    """
    s = settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(s.seed)
        generator = Generator(s.size, s.style_dim, s.mapping_layers, s.channel_multiplier, s.channel_max)
        with torch.no_grad():
            # At first each level adds little to the levels before, so that a late one disturbs nothing.
            for name, weight in generator.named_parameters():
                if name.startswith("to_rgb") and name.endswith("conv.weight"):
                    weight *= 0.1
            _know_people(generator, latent_size)
        return Networks(
            generator,
            Discriminator(s.size, s.channel_multiplier, s.channel_max),
            ShapeHead(s.style_dim, shape_count),
        )


@torch.no_grad()
def _know_people(generator: Generator, latent_size: int) -> None:
    """Let w begin with (x, -x) for the numbers x of a person's latent, if there is room for both."""
    width, free = generator.style_dim, generator.style_dim - 2 * latent_size
    if free < 0:
        return
    first, *others = [layer for layer in generator.style if isinstance(layer, EqualLinear)]
    wanted = torch.zeros(width, width)
    one = torch.eye(latent_size)
    wanted[:latent_size, :latent_size], wanted[latent_size : 2 * latent_size, :latent_size] = one, -one
    noise = width - latent_size
    wanted[2 * latent_size :, latent_size:] = torch.randn(free, noise) / math.sqrt(noise)
    first.weight.copy_(wanted / first.scale)
    for layer in others:
        layer.weight.copy_(torch.eye(width) / layer.scale)


class Trainer:
    """The state of a run and its steps. Everything random is drawn from `random` and `choices`, which are saved."""

    def __init__(
        self,
        networks: Networks,
        settings: GanSettings,
        latent_size: int,
        device: torch.device,
        head: HeadModel | None = None,
        recogniser: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        several = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if several else 0
        self.world = distributed.get_world_size() if several else 1
        check_settings(settings, latent_size, self.world)
        self.settings, self.latent_size, self.device = settings, latent_size, device
        self.batch = settings.batch_size // self.world

        self.generator = networks.generator.to(device)
        self.discriminator = networks.discriminator.to(device)
        self.shape_head = networks.shape_head.to(device)
        self.average = nn.ModuleList([copy.deepcopy(self.generator), copy.deepcopy(self.shape_head)])
        self.average.requires_grad_(False)
        self.features = RandomFeatures().to(device)
        self.noise_sizes = [tuple(buffer.shape[-2:]) for buffer in self.generator.noises.buffers()]

        self.pictures: PictureLosses | None = None
        if settings.pictures.on:
            if head is None:
                raise LikenessError(
                    "The losses on rendered pictures need a head model to draw, and none was given. "
                    "Pass `head`, or set the weights of `pictures` to 0."
                )
            self.pictures = PictureLosses(head.to(device), settings.pictures, self.features, recogniser)

        self.random = torch.Generator(device).manual_seed(settings.seed)  # numbers that stay on the device
        self.choices = torch.Generator().manual_seed(settings.seed)  # those that steer Python
        self.phase = "supervised"
        self.images = 0
        self.step = 0
        self.seconds = 0.0
        self.adversarial_from = 0  # images when that phase began
        self.supervised_done = 0.0  # share of the supervised phase
        # On the device, so that no step waits for them.
        self.path_mean = torch.zeros((), device=device)
        self.augment_probability = torch.zeros((), device=device)
        self.signs = torch.zeros(2, device=device)  # sum of sign(D(real)), number of summands
        self.bad_now = torch.zeros((), device=device)  # whether this step had anything that was not finite
        self.bad_in_a_row = torch.zeros((), device=device)
        self.bad_steps = torch.zeros((), device=device)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._prepare_optimisers()

    def _prepare_optimisers(self) -> None:
        """New ones at each phase: moments of one loss mean nothing to another."""
        s = self.settings
        supervised = self.phase == "supervised"
        mapping = list(self.generator.style.parameters())
        rest = [p for n, p in self.generator.named_parameters() if not n.startswith("style.")]
        self.generator_optimiser = torch.optim.Adam(
            [{"params": [*rest, *self.shape_head.parameters()]}, {"params": mapping}],
            lr=s.supervised_rate if supervised else s.generator_rate,
            betas=s.supervised_betas if supervised else s.adversarial_betas,
            fused=True,
        )
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=s.discriminator_rate, betas=s.adversarial_betas, fused=True
        )

    @property
    def learnt_size(self) -> int:
        """Texels a side of the maps that are learnt now (Karras et al. 2018, "Progressive growing of GANs"; no layer
        has to be faded in here, as the supervised phase plays no game that it could upset)."""
        if self.phase == "supervised":
            until = 0.0
            for size, share in self.settings.growth:
                until += share
                if size < self.settings.size and self.supervised_done < until:
                    return size
        return self.settings.size

    def begin_adversarial_phase(self) -> None:
        self.phase, self.adversarial_from = "adversarial", self.images
        self._prepare_optimisers()

    # --- random numbers ---

    def _normal(self, *shape: int) -> Tensor:
        """Standard normal numbers for this process's maps: its share of those of the whole batch."""
        whole = torch.randn(shape[0] * self.world, *shape[1:], generator=self.random, device=self.device)
        return whole[self.rank :: self.world]

    def _noise(self, count: int) -> list[Tensor]:
        return [self._normal(count, 1, *size) for size in self.noise_sizes]

    def _no_noise(self) -> list[Tensor]:
        """For what a latent determines: the map without the detail that noise draws."""
        return [torch.zeros(1, 1, 1, 1, device=self.device)] * len(self.noise_sizes)

    def _styles(self, count: int) -> tuple[list[Tensor], int | None]:
        """One z per map or, with the probability `mixing`, two and the layer at which the second takes over."""
        first, second = self._normal(2 * count, self.settings.style_dim).split(count)
        layers = self.generator.n_latent
        mixed = float(torch.rand((), generator=self.choices)) < self.settings.mixing
        where = int(torch.randint(1, layers, (), generator=self.choices))
        return ([first, second], where) if mixed else ([first], None)

    # --- steps ---

    def _mixed(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16)

    def train_on(self, people: People) -> None:
        """One step of the phase that the run is in."""
        if self.phase == "supervised":
            self._supervised_step(people)
        else:
            self._discriminator_step(people)
            self._generator_step(people)
        self.images += self.settings.batch_size
        self.supervised_done = max(self.supervised_done, self.images / max(self.settings.supervised_images, 1))
        self.step += 1
        self.bad_steps += self.bad_now
        self.bad_in_a_row = (self.bad_in_a_row + self.bad_now) * self.bad_now
        self.bad_now = torch.zeros_like(self.bad_now)
        decay = average_decay(
            self.settings.batch_size, self.images, self.settings.average_half_life, self.settings.average_ramp
        )
        update_average(self.average, nn.ModuleList([self.generator, self.shape_head]), decay)

    def _person_loss(self, people: People, skip: int) -> Tensor:
        """The supervised terms, weighted and summed; `skip` of the finest bands do not count."""
        s, real = self.settings, people.maps
        step = s.size // self.learnt_size
        levels = len(self.generator.to_rgbs) - int(math.log2(step))
        if step > 1:
            real = functional.avg_pool2d(real, step)
        z = torch.cat([people.latent, self._normal(len(real), s.style_dim - self.latent_size)], 1)
        with self._mixed():
            w = self.generator.style(z)
            made, _ = self.generator([w], input_is_latent=True, noise=self._no_noise(), levels=levels)
            shape = self.shape_head(w)
            # The target's filters see the same precision.
            blurred, target = (functional.avg_pool2d(m, 2**skip) if skip else m for m in (made, real))
            features = self.features(blurred, target)
        losses = {
            "pyramid": laplacian_loss(made.float(), real, s.pyramid_levels, skip),
            "features": s.features_weight * features.float(),
            "shape": s.shape_weight * (shape.float() - people.shape).square().mean(),
        }
        if self.pictures is not None:
            n = min(s.pictures.count, len(real))
            numbers = self._normal(n, PictureLosses.NUMBERS)
            losses |= self.pictures(made[:n].float(), real[:n], people.shape[:n], numbers)
        self._record(**losses)
        return torch.stack(list(losses.values())).sum()

    def _supervised_step(self, people: People) -> None:
        s = self.settings
        warm = min(1.0, (self.images + s.batch_size) / max(s.warm_up_images, 1))
        # Over the second half down to a twentieth: small batches make noisy steps.
        warm *= min(1.0, max(2 * (1 - self.supervised_done), 0.05))
        for group, boost in zip(self.generator_optimiser.param_groups, (1.0, s.mapping_boost), strict=True):
            group["lr"] = s.supervised_rate * warm * boost
        self._descend(self.generator_optimiser, self._person_loss(people, skip=0), "generator")

    def _discriminator_step(self, people: People) -> None:
        s = self.settings
        with torch.no_grad(), self._mixed():
            styles, inject = self._styles(self.batch)
            fake, _ = self.generator(styles, inject_index=inject, noise=self._noise(self.batch))
        penalised = self.step % s.r1_every == 0
        real = self._augmented(people.maps).requires_grad_(penalised)
        fake = self._augmented(fake.float())
        with self._mixed():
            fake_scores = self.discriminator(fake).float()
        if penalised:  # in float32: it is a small difference of large numbers
            real_scores = self.discriminator(real)
        else:
            with self._mixed():
                real_scores = self.discriminator(real).float()
        # Non-saturating logistic loss (Goodfellow et al. 2014).
        loss = functional.softplus(fake_scores).mean() + functional.softplus(-real_scores).mean()
        self._record(discriminator=loss, real_score=real_scores.mean(), fake_score=fake_scores.mean())
        if penalised:
            # At the augmented maps, which are the discriminator's real ones. Added to the loss rather than a step of
            # its own: one message and one step of Adam do for both.
            penalty = r1_penalty(real_scores, real)
            self._record(r1=penalty)
            loss = loss + s.r1_gamma / 2 * s.r1_every * penalty
        self._descend(self.discriminator_optimiser, loss, "discriminator")

        signs = real_scores.detach().sign()
        self.signs += torch.stack([signs.sum(), signs.new_tensor(float(signs.numel()))])
        if (self.step + 1) % s.augment_every == 0:
            total = self._summed(self.signs)
            mean_sign = total[0] / total[1]
            self.augment_probability = augment.next_probability(
                self.augment_probability,
                mean_sign,
                s.augment_target,
                s.batch_size * s.augment_every,
                s.augment_images,
            )
            self.signs.zero_()
            self._record(augment=self.augment_probability, sign_of_real=mean_sign)

    def _generator_step(self, people: People) -> None:
        s = self.settings
        with self._mixed():
            styles, inject = self._styles(self.batch)
            fake, _ = self.generator(styles, inject_index=inject, noise=self._noise(self.batch))
        fake = self._augmented(fake.float())
        self.discriminator.requires_grad_(False)
        with self._mixed():
            scores = self.discriminator(fake).float()
        loss = functional.softplus(-scores).mean()
        self._record(generator=loss)
        if s.anchor_weight > 0:
            n = math.ceil(self.batch / s.anchor_share)
            anchored = People(people.latent[:n], people.shape[:n], people.albedo[:n])
            loss = loss + s.anchor_weight * self._person_loss(anchored, s.anchor_skip)
        if self.step % s.path_every == 0 and s.path_weight > 0:
            penalty = self._path_penalty()
            loss = loss + s.path_weight * s.path_every * penalty
        self._descend(self.generator_optimiser, loss, "generator")
        self.discriminator.requires_grad_(True)

    def _path_penalty(self) -> Tensor:
        """Squared deviation of path lengths from their running mean (StyleGAN2, section 3.2), in float32."""
        s = self.settings
        count = math.ceil(self.batch / s.path_share)
        styles, inject = self._styles(count)
        images, latents = self.generator(styles, inject_index=inject, noise=self._noise(count), return_latents=True)
        lengths = path_lengths(images, latents, self._normal(count, *images.shape[1:]))
        now = self._summed(lengths.detach().mean()) / self.world
        # The first length is better than the 0 that it would otherwise take many steps to leave.
        mean = torch.where(self.path_mean == 0, now, self.path_mean.lerp(now, s.path_decay))
        self.path_mean = torch.where(torch.isfinite(mean), mean, self.path_mean)
        penalty = (lengths - self.path_mean).square().mean()
        self._record(path=penalty, path_length=now)
        return penalty

    def _augmented(self, images: Tensor) -> Tensor:
        return augment.augment(images, self.augment_probability, self._normal(len(images), augment.NUMBERS))

    def _descend(self, optimiser: torch.optim.Adam, loss: Tensor, name: str) -> None:
        """One step of Adam with the gradients' mean over all processes, unless anything is not finite."""
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        loss = loss.detach()
        if self.world > 1:
            # The loss travels along, so that all processes agree on whether the step is good.
            flat = torch.cat([*(g.flatten() for g in gradients), loss.reshape(1)])
            distributed.all_reduce(flat)
            flat /= self.world
            parts = flat.split([g.numel() for g in gradients] + [1])
            for gradient, part in zip(gradients, parts, strict=False):
                gradient.copy_(part.view(gradient.shape))
            loss = parts[-1][0]
        norm = nn.utils.get_total_norm(gradients)
        bad = (~(torch.isfinite(norm) & torch.isfinite(loss))).float()
        # What torch's gradient scaler does: the fused kernel leaves everything as it is where this is 1, and nobody
        # has to wait for it to know.
        optimiser.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue]
        optimiser.step()
        self.bad_now = torch.maximum(self.bad_now, bad)
        self._record(**{f"{name}_gradient": norm})

    def _summed(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    # --- numbers for people ---

    def _record(self, **values: Tensor) -> None:
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read_numbers(self) -> dict[str, float]:
        """The means since the last call (of this process's losses), and how many bad steps there were in all.

        Waits for the device. Raises LikenessError after `bad_steps` bad ones in a row.
        """
        names = sorted(self._sums)
        values = torch.stack([*(self._sums[name].float() for name in names), self.bad_in_a_row, self.bad_steps])
        *means, in_a_row, bad = values.tolist()
        counts, self._sums, self._counts = self._counts, {}, {}
        if in_a_row >= self.settings.bad_steps:
            raise LikenessError(
                f"Training stopped after {self.images} images: the losses or gradients of the last {in_a_row:.0f} "
                "steps were not finite, so none of them was used. The weights in the last checkpoint are good; go on "
                "from it with --resume and a lower learning rate, or look for maps that are not valid."
            )
        return {name: mean / counts[name] for name, mean in zip(names, means, strict=True)} | {"bad_steps": bad}

    @torch.no_grad()
    def sample_sheet(self, people: People) -> UInt8[Tensor, "3 H W"]:
        """Rows of maps: people of the data, what the averaged generator makes of them, two rows of random people."""
        generator = torch.Generator().manual_seed(1)
        count = len(people.latent)
        z = torch.randn(3 * count, self.settings.style_dim, generator=generator).to(self.device)
        z[:count, : self.latent_size] = people.latent
        noise = [torch.randn(3 * count, 1, *s, generator=generator).to(self.device) for s in self.noise_sizes]
        # A row at a time, which bounds the memory.
        rows = zip(*(numbers.split(count) for numbers in (z, *noise)), strict=True)
        made = torch.cat([self.average[0]([z], noise=noise)[0] for z, *noise in rows])
        made = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        sheet = torch.cat([people.albedo, made]).unflatten(0, (4, count))  # [row, column, 3, U, U]
        return sheet.permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3).cpu().contiguous()

    def model(self, data: LabelledData) -> StyleGanAlbedo:
        """The averaged networks as an albedo model, with the statistics of (a copy of) them that the data gives.

        data: of whose people at most `STATISTICS_PEOPLE` are used.
        """
        people = [data[i] for i in range(min(len(data), STATISTICS_PEOPLE))]
        generator, shape_head = copy.deepcopy(self.average).cpu()
        _solve_shape_head(cast(Generator, generator), cast(ShapeHead, shape_head), people, self.settings.seed)
        return StyleGanAlbedo.from_training(
            cast(Generator, generator),
            cast(ShapeHead, shape_head),
            torch.stack([one.latent for one in people]),
            torch.stack([one.labels for one in people]),
            data.label_names,
            data.latent_names,
            self.settings.seed,
        )

    # --- checkpoints ---

    _TENSORS = ("path_mean", "augment_probability", "signs", "bad_in_a_row", "bad_steps")
    _NUMBERS = ("phase", "images", "step", "seconds", "adversarial_from", "supervised_done")

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "shape_head": self.shape_head,
            "average": self.average,
        }

    def _optimisers(self) -> dict[str, torch.optim.Adam]:
        return {
            "generator_optimiser": self.generator_optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }

    def save(self, path: Path) -> None:
        """Everything that the next step depends on, as safetensors. A crash leaves the old file or the new one."""
        from safetensors.torch import save

        tensors = {f"{n}/{k}": v for n, network in self._networks().items() for k, v in network.state_dict().items()}
        for name, optimiser in self._optimisers().items():
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}/{index}/{key}": value for key, value in values.items()}
        tensors |= {f"state/{name}": getattr(self, name) for name in self._TENSORS}
        tensors |= {"state/random": self.random.get_state(), "state/choices": self.choices.get_state()}
        document = {
            "format": FORMAT,
            "state": json.dumps({name: getattr(self, name) for name in self._NUMBERS}),
            "settings": json.dumps(asdict(self.settings)),
        }
        whole = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
        }
        write_whole(path, save(whole, document))

    def load(self, path: Path) -> None:
        """Go on where `save` left off. Raises FileError for a file that is damaged or of other networks."""
        tensors, document = read_safetensors(path, ("state/random", "state/choices"), CHECKPOINT_CURE)
        if document.get("format") != FORMAT:
            raise FileError(f"{path} is no checkpoint of this training (its format is not {FORMAT}). {CHECKPOINT_CURE}")
        saved = json.loads(document["settings"])
        if other := [name for name in NETWORK_FIELDS if saved.get(name) != getattr(self.settings, name)]:
            was = ", ".join(f"{name} = {saved.get(name)}" for name in other)
            now = ", ".join(f"{name} = {getattr(self.settings, name)}" for name in other)
            raise FileError(
                f"{path} belongs to networks with {was}, but this run has {now}. "
                "Resume with the same preset and size, or choose another --out."
            )
        for name, value in json.loads(document["state"]).items():
            setattr(self, name, value)
        self._prepare_optimisers()
        parts: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, _, rest = key.partition("/")
            parts.setdefault(name, {})[rest] = tensor
        for name, network in self._networks().items():
            found = parts.get(name, {})
            expected = {k: v.shape for k, v in network.state_dict().items()}
            wrong = [k for k in {**expected, **found} if k not in found or expected.get(k) != found[k].shape]
            if wrong:
                raise FileError(f"{path} does not fit the {name}: {', '.join(sorted(wrong)[:5])}. {CHECKPOINT_CURE}")
            network.load_state_dict(found)
        for name, optimiser in self._optimisers().items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in parts.get(name, {}).items():
                index, _, what = key.partition("/")
                state.setdefault(int(index), {})[what] = tensor
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        for name in self._TENSORS:
            getattr(self, name).copy_(parts["state"][name])
        self.random.set_state(parts["state"]["random"])
        self.choices.set_state(parts["state"]["choices"])


@torch.no_grad()
def _solve_shape_head(generator: Generator, shape_head: ShapeHead, people: Sequence[Any], seed: int) -> None:
    """The linear shape head that gradient descent is on its way to, in closed form, for a mapping that stays."""
    latents = torch.stack([one.latent for one in people])
    rest = torch.randn(
        len(people), generator.style_dim - latents.shape[1], generator=torch.Generator().manual_seed(seed)
    )
    offset, slopes, _ = ridge(
        generator.style(torch.cat([latents, rest], 1)), torch.stack([one.shape for one in people])
    )
    layer = cast(EqualLinear, shape_head[0])
    layer.weight.copy_(slopes / layer.scale)
    layer.bias.copy_(offset / layer.rate)


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(out.glob("checkpoint-*.safetensors"))


# ------------------------------------------------------------------------------------------------------ the loop

KEPT_CHECKPOINTS = 2


class Log:
    """log.jsonl, samples-*.png and, where tensorboard is installed, its event files. Rank 0 alone has one."""

    def __init__(self, out: Path, report: Callable[[str], None]) -> None:
        self.out, self.report = out, report
        self.writer: SummaryWriter | None = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(out / "tensorboard"))
        except ImportError:
            report(
                "The package tensorboard is not installed, so losses go to log.jsonl alone. "
                "`pip install -r requirements-build.txt` brings it."
            )

    def numbers(self, images: int, phase: str, values: Mapping[str, float]) -> None:
        finite = {name: float(f"{value:.5g}") if math.isfinite(value) else None for name, value in values.items()}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"images": images, "phase": phase, **finite}, allow_nan=False) + "\n")
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{phase}/{name}", value, images)
        shown = ("pyramid", "features", "shape", "generator", "discriminator", "augment", "images_per_second")
        self.report(f"{images} images, {phase}: " + ", ".join(f"{n} {values[n]:.4g}" for n in shown if n in values))

    def sheet(self, images: int, sheet: UInt8[Tensor, "3 H W"]) -> None:
        from PIL import Image

        png = io.BytesIO()
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(png, "PNG")
        write_whole(self.out / f"samples-{images:09d}.png", png.getvalue())
        if self.writer is not None:
            self.writer.add_image("samples", sheet, images)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _silent(_: str) -> None:
    pass


def train(
    networks: Networks,
    data: Data,
    out: Path,
    settings: GanSettings,
    device: torch.device,
    *,
    minutes: float | None = None,
    resume: bool = False,
    head: HeadModel | None = None,
    recogniser: Callable[[Tensor], Tensor] | None = None,
    report: Callable[[str], None] = _silent,
) -> Trainer:
    """Train until the images of both phases, or the minutes of this call, are spent; the trainer as it then is.

    out: a folder, which gets log.jsonl, tensorboard/, samples-*.png and the last two checkpoints. resume: go on from
    its newest checkpoint, if there is one; on the CPU every weight is then what it would be without the break.
    minutes: checked, like everything that has to wait for the device, every `log_every` steps. report: gets a line
    for people now and then. Raises LikenessError for settings and data that do not fit, and after too many steps that
    were not finite.
    """
    latent_size, _ = check_data(data, settings.size)
    trainer = Trainer(networks, settings, latent_size, device, head, recogniser)
    if resume and (found := checkpoints(out)):
        trainer.load(found[-1])
    if trainer.rank == 0:
        report("Reading the data.")
    feed = Feed(
        data,
        settings.size,
        settings.batch_size,
        device,
        seed=settings.seed,
        rank=trainer.rank,
        world=trainer.world,
        preload_gb=settings.preload_gb,
        workers=settings.loader_workers,
    )
    log = Log(out, report) if trainer.rank == 0 else None
    preview = collate([data[i] for i in range(min(8, len(data)))], settings.size).to(device)
    began = last = time.monotonic()
    last_images, done, before = trainer.images, False, trainer.supervised_done

    def passed(every: int) -> bool:
        """Whether the last step crossed a multiple of `every` images."""
        return trainer.images // every != (trainer.images - settings.batch_size) // every

    try:
        while not done:
            if trainer.phase == "supervised" and trainer.images >= settings.supervised_images:
                if settings.adversarial_images == 0:
                    break
                trainer.begin_adversarial_phase()
            adversarial_images = trainer.images - trainer.adversarial_from
            if trainer.phase == "adversarial" and adversarial_images >= settings.adversarial_images:
                break
            trainer.train_on(feed.batch(trainer.images))
            if trainer.step % settings.log_every == 0:
                values = trainer.read_numbers()
                now = time.monotonic()
                trainer.seconds += now - last
                if log:
                    rate = (trainer.images - last_images) / max(now - last, 1e-9)
                    log.numbers(trainer.images, trainer.phase, values | {"images_per_second": rate})
                last, last_images = now, trainer.images
                if minutes is not None:
                    spent = _agreed((now - began) / 60 / minutes, trainer)
                    done = spent >= 1
                    # What was left of the phase when this call began, over its minutes.
                    share = before + (1 - before) * spent / settings.supervised_share
                    trainer.supervised_done = max(trainer.supervised_done, min(share, 1.0))
                    if trainer.phase == "supervised" and spent >= settings.supervised_share and not done:
                        trainer.begin_adversarial_phase()
            if log and passed(settings.samples_every):
                log.sheet(trainer.images, trainer.sample_sheet(preview))
            if log and passed(settings.checkpoint_every):
                _checkpoint(trainer, out)
        if log:
            log.sheet(trainer.images, trainer.sample_sheet(preview))
            _checkpoint(trainer, out)
    finally:
        if log:
            log.close()
    return trainer


def _agreed(value: float, trainer: Trainer) -> float:
    """Rank 0's value, so that all processes stop at the same step."""
    if trainer.world == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=trainer.device)
    distributed.broadcast(shared, 0)
    return float(shared)


def _checkpoint(trainer: Trainer, out: Path) -> None:
    trainer.save(out / f"checkpoint-{trainer.images:09d}.safetensors")
    for old in checkpoints(out)[:-KEPT_CHECKPOINTS]:
        old.unlink()
