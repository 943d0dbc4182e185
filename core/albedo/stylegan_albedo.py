"""The trained albedo GAN as an `AlbedoModel`: one latent is one person, who can be drawn, edited and fitted to a photo.

A latent is one w for each layer of the generator, ``[L, W]`` ("W+": Abdal, Qin and Wonka 2019, "Image2StyleGAN"). The
latents of people have the same w in all layers ("W"); fitting lets the layers differ a little. README.md says why
fitting and editing work in coordinates in which w is standard normal.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from core.albedo.model import check_map, resize_map
from core.albedo.stylegan2 import (
    EqualLinear,
    Generator,
    assign_weights,
    config_of_file,
    storable,
)
from core.checkpoints import read_safetensors
from core.errors import FileError, LikenessError

FORMAT = "likeness.stylegan_albedo/1"
CURE = "Restore it from the repository, or train one anew (`python -m app train gan`) and pass its result."

LOOK_SIDE = 16  # of the thumbnails that a fit starts from
DRAWS = 8192  # of w, for its mean and spread
LOOKS = 2048  # people whose maps are made for the linear look
SMALL = 10_000  # numbers; statistics up to this size are kept in full precision

# Least share of a label's variance that w must explain before edits of that label are offered: below it a step of one
# deviation would lead far out of what the generator has seen.
LEAST_EXPLAINED = 0.05
# Of an edit's effect on the map, what the channels that an edit in S moves account for.
STYLE_SHARE = 0.8


# ------------------------------------------------------------------------------------------------- networks


class ShapeHead(nn.Sequential):
    """w to the coefficients of the head's shape, which are about standard normal. Linear: what bends, the mapping from
    people to w has bent."""

    def __init__(self, style_dim: int, shape_count: int) -> None:
        super().__init__(EqualLinear(style_dim, shape_count))


class JointGenerator(nn.Module):
    """Albedo map and shape from one w. The first numbers of z are the person's latent, where it was trained so."""

    def __init__(self, generator: Generator, shape_head: ShapeHead) -> None:
        super().__init__()
        self.generator, self.shape_head = generator, shape_head

    def maps(
        self, w: Float[Tensor, "B L W"], detail: bool = True, shift: Float[Tensor, "B S"] | None = None
    ) -> Float[Tensor, "B 3 U U"]:
        """Albedo, sRGB in -1..1 and a little beyond. detail: with the noise kept beside the weights, which draws what
        w does not determine; without, none. shift: added to the styles that w gives (`Generator.styles`)."""
        noise = None if detail else [w.new_zeros(1, 1, 1, 1)] * self.generator.num_layers
        return self.generator([w], input_is_latent=True, noise=noise, randomize_noise=False, shift=shift)[0]


# ------------------------------------------------------------------------------------------------- what is linear


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """w as a cloud: its mean, its principal axes (columns) and its standard deviation along each of them."""

    mean: Float[Tensor, "W"]
    axes: Float[Tensor, "W W"]
    spread: Float[Tensor, "W"]

    def whiten(self, w: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        """Coordinates in which w is about standard normal. Axes along which w hardly varies count as not at all."""
        steady = self.spread < 1e-3 * self.spread.max()
        return ((w - self.mean) @ self.axes / self.spread.clamp_min(1e-12)).masked_fill(steady, 0)

    def unwhiten(self, u: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        return self.mean + u * self.spread @ self.axes.T


@dataclass(frozen=True, eq=False)
class LinearLabels:
    """The best linear guess of each label from whitened w: mean + slopes u. In the label's own units.

    deviation: of the label over people. explained: share of its variance that the guess predicts, cross-validated.
    """

    mean: Float[Tensor, "N"]
    slopes: Float[Tensor, "N W"]
    deviation: Float[Tensor, "N"]
    explained: Float[Tensor, "N"]


@dataclass(frozen=True, eq=False)
class LinearLook:
    """The best linear guess of a thumbnail, -1..1, from whitened w: mean + sum_k basis_k u_k. variance: of errors."""

    mean: Float[Tensor, "3 S S"]
    basis: Float[Tensor, "W 3 S S"]
    variance: Float[Tensor, "3 S S"]


_STATISTICS = {"space": LatentSpace, "labels": LinearLabels, "look": LinearLook}  # by their field in StyleGanAlbedo


def latent_space(w: Float[Tensor, "N W"]) -> LatentSpace:
    """Principal components of many w."""
    mean = w.double().mean(0)
    centred = w.double() - mean
    variance, axes = torch.linalg.eigh(centred.T @ centred / max(len(w) - 1, 1))
    return LatentSpace(mean.float(), axes.float(), variance.clamp_min(0).sqrt().float())


def fit_directions(u: Float[Tensor, "B W"], labels: Float[Tensor, "B N"]) -> LinearLabels:
    """Ridge regression of labels on whitened w. A label that does not vary gets no slope."""
    mean, deviation = labels.mean(0), labels.std(0, correction=0)
    steady = deviation < 1e-6 * labels.abs().amax(0).clamp_min(1e-6)
    scaled = ((labels - mean) / deviation.clamp_min(1e-12)).masked_fill(steady, 0)
    offset, slopes, error = ridge(u, scaled)
    explained = (1 - error).clamp(0, 1).masked_fill(steady, 0)
    slopes = (slopes * deviation[:, None]).masked_fill(steady[:, None], 0)
    return LinearLabels(mean + offset * deviation, slopes, deviation, explained)


def fit_look(u: Float[Tensor, "B W"], maps: Float[Tensor, "B 3 U U"]) -> LinearLook:
    """Ridge regression of thumbnails on whitened w."""
    small = functional.adaptive_avg_pool2d(maps, LOOK_SIDE)
    mean, slopes, variance = ridge(u, small.flatten(1))
    shape = small.shape[1:]
    return LinearLook(mean.reshape(shape), slopes.T.reshape(-1, *shape).contiguous(), variance.reshape(shape))


def ridge(
    x: Float[Tensor, "B W"], y: Float[Tensor, "B N"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N W"], Float[Tensor, "N"]]:
    """offset, slopes and expected square error of the regression y = offset + slopes x.

    The penalty of each column of y is the one with the least generalised cross-validation error (Golub, Heath and
    Wahba 1979), which is also the error returned: what to expect of new people, not of those seen.
    """
    x_mean, y_mean = x.double().mean(0), y.double().mean(0)
    x, y = x.double() - x_mean, y.double() - y_mean
    # The singular value decomposition of x, by its small side.
    squared, right = torch.linalg.eigh(x.T @ x)
    singular = squared.clamp_min(0).sqrt()
    inverse = torch.where(squared > 1e-10 * squared.max(), 1 / singular.clamp_min(1e-300), 0)
    projected = inverse[:, None] * (right.T @ (x.T @ y))
    rest = (y.square().sum(0) - projected.square().sum(0)).clamp_min(0)  # what no penalty can explain
    # From hardly any penalty to one that leaves the mean alone.
    penalties = len(x) * torch.logspace(-4, 4, 25, dtype=torch.float64, device=x.device)
    shrink = singular.square() / (singular.square() + penalties[:, None])
    left_over = torch.einsum("pk,kn->pn", (1 - shrink).square(), projected.square()) + rest
    freedom = (1 - (shrink.sum(1) + 1) / len(x)).clamp_min(1e-3)
    error = left_over / len(x) / freedom[:, None].square()
    best = error.argmin(0)
    slopes = (right @ (shrink[best].T * inverse[:, None] * projected)).T
    offset = y_mean - slopes @ x_mean
    return offset.float(), slopes.float(), error.gather(0, best[None])[0].float()


# ------------------------------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class FitSettings:
    """How a latent is fitted. Losses are in units of the map's range -1..1, priors per whitened coordinate."""

    evaluations: int = 16  # of loss and gradient, about three decodings each; more fit what is seen, not what is hidden
    levels: int = 5  # of the pyramid
    # Of the mean square of the common w. The mode of a posterior would have W / 2 times the mean error over the number
    # of independent texels, about this.
    prior: float = 0.02
    layer_prior: float = 0.1  # of the mean square departure of layers: dearer, as it tells nothing of what is hidden
    trust: float = 0.1  # share of independent texels in a thumbnail's errors, which neighbours have in common


@dataclass(frozen=True, eq=False)
class Inversion:
    """A fitted latent, and how far its map is from what was seen: mean absolute difference, sRGB 0..1, at the end and
    where the fit started from."""

    latent: Float[Tensor, "L W"]
    residual: float
    start_residual: float


@dataclass(frozen=True, eq=False)
class StyleGanAlbedo:
    """An `AlbedoModel`. Latents are ``[L, W]``.

    latent_names: of the first numbers of z (core.synthesis.people.LATENT_NAMES when it was trained). label_names: of
    the rows of `labels` (core.synthesis.people.LABEL_NAMES).
    """

    joint: JointGenerator
    space: LatentSpace
    labels: LinearLabels
    look: LinearLook
    label_names: tuple[str, ...]
    latent_names: tuple[str, ...]

    name = "StyleGAN2"

    @property
    def size(self) -> int:
        return self.joint.generator.size

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(L, W)."""
        return self.joint.generator.n_latent, self.joint.generator.style_dim

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells this generator's latents from another's: 16 hexadecimal digits of the statistics that are measured on
        a trained generator, its latents, labels and maps, and the same on every device and after saving."""
        digest = hashlib.sha256()
        for value in (self.space.mean, self.labels.mean, self.look.mean):
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    # --- making and keeping ---

    @staticmethod
    def from_training(
        generator: Generator,
        shape_head: ShapeHead,
        latents: Float[Tensor, "B D"],
        labels: Float[Tensor, "B N"],
        label_names: Sequence[str],
        latent_names: Sequence[str],
        seed: int = 0,
    ) -> StyleGanAlbedo:
        """What training gives, with the statistics that sampling, editing and fitting need.

        latents, labels: of many people, tens of thousands where that is easy: what is known of a label is limited by
        their number over style_dim. The maps of the first `LOOKS` are made, which takes minutes on a CPU. The networks
        become this model's own: they are put into evaluation mode and no longer learn.
        """
        if len(label_names) != labels.shape[1] or len(latent_names) != latents.shape[1] or len(latents) < 2:
            raise LikenessError(
                f"{len(latents)} people with {latents.shape[1]} latent coordinates and {labels.shape[1]} labels do not "
                f"go with {len(latent_names)} and {len(label_names)} names. Pass a row for each of at least two people "
                "and a name for each column."
            )
        joint = JointGenerator(generator, shape_head).eval().requires_grad_(False)
        random = torch.Generator().manual_seed(seed)
        device = generator.input.input.device
        with torch.no_grad():
            w = generator.style(torch.randn(DRAWS, generator.style_dim, generator=random).to(device))
            space = latent_space(w)
            generator.latent_avg = space.mean[None].clone()
            rest = torch.randn(len(latents), generator.style_dim - latents.shape[1], generator=random)
            w = generator.style(torch.cat([latents.cpu(), rest], 1).to(device))
            u = space.whiten(w)
            some = w[:LOOKS, None].expand(-1, generator.n_latent, -1)
            thumbs = [
                functional.adaptive_avg_pool2d(joint.maps(part, detail=False), LOOK_SIDE) for part in some.split(8)
            ]
            look = fit_look(u[:LOOKS], torch.cat(thumbs))
            linear = fit_directions(u, labels.to(device))
        return StyleGanAlbedo(joint, space, linear, look, tuple(label_names), tuple(latent_names))

    def save(self, path: Path) -> None:
        """As safetensors, networks and bulky statistics in half floats. Raises LikenessError for weights that are not
        finite."""
        from safetensors.torch import save_file

        tensors = storable(self.joint.state_dict())
        for name, kind in _STATISTICS.items():
            for field in fields(kind):
                value = getattr(getattr(self, name), field.name)
                bulky = value.numel() > SMALL
                tensors |= storable({f"{name}.{field.name}": value}, torch.float16 if bulky else torch.float32)
        metadata = {
            "format": FORMAT,
            "config": json.dumps(asdict(self.joint.generator.config)),
            "label_names": json.dumps(self.label_names),
            "latent_names": json.dumps(self.latent_names),
        }
        save_file(tensors, path, metadata)

    @staticmethod
    def load(path: Path) -> StyleGanAlbedo:
        """Read what `save` wrote, on the CPU. Raises FileError for a file that is missing, damaged, of another kind or
        version, or whose weights have wrong names or shapes or are not finite."""
        path = Path(path)
        tensors, metadata = read_safetensors(path, cure=CURE)
        if metadata.get("format") != FORMAT:
            raise FileError(
                f"{path} holds no albedo generator of this version: its format is {metadata.get('format')!r}, "
                f"{FORMAT!r} was expected. {CURE}"
            )
        label_names, latent_names = (_names(metadata, key, path) for key in ("label_names", "latent_names"))
        of_generator = {k.removeprefix("generator."): t for k, t in tensors.items() if k.startswith("generator.")}
        config = config_of_file(of_generator, metadata, path)
        name = "shape_head.0.weight"
        count = tensors[name].shape[0] if name in tensors and tensors[name].ndim else 1
        with torch.random.fork_rng(devices=()):  # the random weights are replaced at once
            joint = JointGenerator(Generator(**asdict(config)), ShapeHead(config.style_dim, count))
        statistics = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in _STATISTICS}
        assign_weights(joint, {name: t for name, t in tensors.items() if name not in statistics}, path)

        width, labels, side = config.style_dim, len(label_names), LOOK_SIDE
        layout = nn.Module()  # so that names, shapes and values are checked as the networks' are
        for name, shape in {
            "space": {"mean": (width,), "axes": (width, width), "spread": (width,)},
            "labels": {"mean": (labels,), "slopes": (labels, width), "deviation": (labels,), "explained": (labels,)},
            "look": {"mean": (3, side, side), "basis": (width, 3, side, side), "variance": (3, side, side)},
        }.items():
            part = nn.Module()
            for key, expected in shape.items():
                part.register_buffer(key, torch.empty(expected))
            layout.add_module(name, part)
        assign_weights(layout, statistics, path)
        parts = {name: kind(**dict(layout.get_submodule(name).named_buffers())) for name, kind in _STATISTICS.items()}
        joint.generator.latent_avg = parts["space"].mean[None].clone()
        return StyleGanAlbedo(
            joint.eval().requires_grad_(False), label_names=label_names, latent_names=latent_names, **parts
        )

    def to(self, device: torch.device | str) -> StyleGanAlbedo:
        """The same model on another device; the networks move along."""
        parts = {
            name: kind(**{f.name: getattr(getattr(self, name), f.name).to(device) for f in fields(kind)})
            for name, kind in _STATISTICS.items()
        }
        return replace(self, joint=self.joint.to(device), **parts)

    # --- the AlbedoModel ---

    def sample(self, seed: int, truncation: float = 1.0) -> Float[Tensor, "L W"]:
        """The latent of a random person."""
        z = torch.randn(1, self.latent_shape[1], generator=torch.Generator().manual_seed(seed))
        return self.truncate(self._from_z(z), truncation)

    def from_person(self, person_latent: Float[Tensor, "D"], seed: int) -> Float[Tensor, "L W"]:
        """The latent of a person of core.synthesis.people; the seed draws what the person's latent leaves open.

        z is divided by its length, which for drawn people hardly varies. So that a person whose latent was moved, to
        the mean by truncation or by a slider, is not blown up or shrunk by that, what the seed draws takes up the
        difference. A latent longer than that leaves nothing to the seed.

        Raises LikenessError where the coordinates of people have changed since the generator was trained.
        """
        from core.synthesis import people

        if self.latent_names != people.LATENT_NAMES or len(person_latent) != len(self.latent_names):
            raise LikenessError(
                f"A person of {len(person_latent)} coordinates was given, but the albedo generator was trained on "
                f"people of {len(self.latent_names)}, and this version's people have {len(people.LATENT_NAMES)}. "
                "All three must be the same: use the weights that came with this version, or train anew."
            )
        width = self.latent_shape[1]
        rest = torch.randn(width - len(person_latent), generator=torch.Generator().manual_seed(seed))
        left = (width - person_latent.cpu().square().sum()).clamp_min(0)
        rest = rest * (left / rest.square().sum().clamp_min(1e-12)).sqrt()
        return self._from_z(torch.cat([person_latent.cpu(), rest])[None])

    def decode(
        self, latent: Float[Tensor, "..."], style_step: Float[Tensor, "S"] | None = None
    ) -> Float[Tensor, "3 U U"]:
        """The map of a latent, sRGB 0..1. style_step: an edit in S, see `style_direction`."""
        self._check_latent(latent)
        shift = None if style_step is None else style_step[None].to(self.space.mean)
        with torch.no_grad():
            image = self.joint.maps(latent[None].to(self.space.mean), shift=shift)[0]
        return ((image + 1) / 2).clamp(0, 1)

    def shape(self, latent: Float[Tensor, "..."]) -> Float[Tensor, "K"]:
        """The head's shape coefficients; where the layers differ, those of their mean."""
        self._check_latent(latent)
        with torch.no_grad():
            return self.joint.shape_head(latent.to(self.space.mean).mean(0, keepdim=True))[0]

    def fit(self, albedo: Float[Tensor, "..."], mask: Float[Tensor, "..."]) -> Float[Tensor, "L W"]:
        return self.invert(albedo, mask).latent

    def invert(
        self, albedo: Float[Tensor, "..."], mask: Float[Tensor, "..."], settings: FitSettings | None = None
    ) -> Inversion:
        """Fit a latent to the part of a map that `mask` shows; the rest follows from what people are like.

        The start is the most likely w given the visible part of a thumbnail, in closed form. Then L-BFGS lowers the
        mean absolute difference on a pyramid, with a Gaussian prior on the common w and on each layer's departure from
        it (the regularisation to W of Tov et al. 2021, "Designing an encoder for StyleGAN image manipulation"). Noise
        is off: the map's own pores are not the generator's. Deterministic. Maps of another size are resized. Raises
        LikenessError as `check_map` does.
        """
        settings = settings or FitSettings()
        check_map(albedo, mask, albedo.shape[-1])
        like = self.space.mean
        albedo, mask = resize_map(albedo.clamp(0, 1).to(like), mask.clamp(0, 1).to(like), self.size)
        target = 2 * albedo - 1
        common = self._likely_start(target, mask, settings.trust).requires_grad_(True)
        layers = like.new_zeros(self.latent_shape).requires_grad_(True)

        def image() -> Float[Tensor, "3 U U"]:
            return self.joint.maps(self.space.unwhiten(common + layers)[None], detail=False)[0]

        def residual() -> float:
            with torch.no_grad():
                return float(((image().clamp(-1, 1) - target).abs().mean(0) * mask).sum() / mask.sum()) / 2

        before = residual()
        if settings.evaluations == 0:
            return Inversion(self.space.unwhiten(common + layers).detach(), before, before)
        # With its line search, not Adam: in a dozen steps Adam, which moves every coordinate alike, moves those that
        # the map says nothing about as far as the others, and ends behind its start.
        optimiser = torch.optim.LBFGS(
            [common, layers],
            max_iter=settings.evaluations,
            max_eval=settings.evaluations,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimiser.zero_grad(set_to_none=True)
            value = pyramid_difference(image(), target, mask, settings.levels)
            value = value + settings.prior * common.square().mean() + settings.layer_prior * layers.square().mean()
            value.backward()
            return value

        optimiser.step(loss)
        return Inversion(self.space.unwhiten(common + layers).detach(), residual(), before)

    def _likely_start(
        self, target: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"], trust: float
    ) -> Float[Tensor, "W"]:
        """The mode of u ~ N(0, I) given thumbnail = mean + basis u + error, where it is seen."""
        small, seen = resize_map(target, mask, LOOK_SIDE)
        weight = (trust * seen / self.look.variance.clamp_min(1e-6)).flatten()
        basis = self.look.basis.flatten(1)
        precision = (basis * weight) @ basis.T
        precision.diagonal().add_(1)
        return torch.linalg.solve(precision, basis @ (weight * (small - self.look.mean).flatten()))

    # --- moving about ---

    def truncate(self, latent: Float[Tensor, "L W"], truncation: float) -> Float[Tensor, "L W"]:
        """Towards the mean person: 1 leaves the latent as it is, 0 is the mean."""
        return torch.lerp(self.space.mean.expand_as(latent), latent, float(truncation))

    def interpolate(self, first: Float[Tensor, "L W"], second: Float[Tensor, "L W"], t: float) -> Float[Tensor, "L W"]:
        """On the straight line in W, which the path-length regularisation has made even: 0 the first, 1 the second."""
        return torch.lerp(first, second, float(t))

    def read_labels(self, latent: Float[Tensor, "L W"]) -> Float[Tensor, "N"]:
        """The linear guess of the labels; `LinearLabels.explained` says how good it is for each."""
        self._check_latent(latent)
        return self.labels.mean + self.labels.slopes @ self.space.whiten(latent.to(self.space.mean).mean(0))

    def direction(self, label: str, free: Sequence[str] = ()) -> Float[Tensor, "W"]:
        """The step in W that raises a label by one unit and leaves the others, but for the `free` ones, as they are.

        Of all such steps the shortest in whitened w, that is, the most likely one: with a free label, it takes along
        as much of it as people have in common. For two labels this is the conditional manipulation of Shen et al.
        2020 ("Interpreting the latent space of GANs", section 2.2), in whitened coordinates. Labels that depend on each
        other exactly, such as proportions, share the change evenly.

        Raises LikenessError for unknown labels and for those that w says too little about.
        """
        rows = [self._row(name) for name in (label, *free)]
        explained = float(self.labels.explained[rows[0]])
        if explained < LEAST_EXPLAINED:
            raise LikenessError(
                f'The albedo generator has not learnt "{label}": it explains {100 * explained:.0f} % of what people '
                f"differ in there, at least {100 * LEAST_EXPLAINED:.0f} % are needed for an edit. Choose another label."
            )
        known = self.labels.explained >= LEAST_EXPLAINED
        held = [i for i in range(len(known)) if bool(known[i]) and (i == rows[0] or i not in rows)]
        slopes = (self.labels.slopes / self.labels.deviation.clamp_min(1e-12)[:, None])[held].double()
        which = held.index(rows[0])
        # Beyond this conditioning, labels count as one thing said twice.
        steps = torch.linalg.pinv(slopes, rtol=1e-2)[:, which]
        u = steps / (slopes[which] @ steps) / self.labels.deviation[rows[0]]
        return self.space.unwhiten(u.float()) - self.space.mean

    def edit(
        self, latent: Float[Tensor, "L W"], label: str, amount: float, free: Sequence[str] = ()
    ) -> Float[Tensor, "L W"]:
        """The same person with a label changed by `amount` (in its unit, years for the age), see `direction`."""
        self._check_latent(latent)
        if not math.isfinite(amount):
            raise LikenessError(f'"{label}" cannot be changed by {amount}: a finite number was expected.')
        return latent + float(amount) * self.direction(label, free)

    # --- styles ---

    def styles(self, latent: Float[Tensor, "L W"]) -> Float[Tensor, "S"]:
        """The latent in S: how much each channel of each convolution counts (`Generator.styles`)."""
        self._check_latent(latent)
        with torch.no_grad():
            return self.joint.generator.styles(latent[None].to(self.space.mean))[0]

    def style_relevance(self, label: str, free: Sequence[str] = ()) -> Float[Tensor, "S"]:
        """The share of each channel of S in what an edit of the label does to the map; the shares sum to 1.

        S is affine in w, so how far a channel moves in an edit is known (`direction`). What its move does is the
        gradient of the map at both ends of an edit from one deviation below the mean person to one above, along the
        change of the map between the two (integrated gradients, Sundararajan, Taly and Yan 2017, by the trapezoid
        rule). Takes the time of a few decodings. Raises LikenessError as `direction`, and for labels that do not show
        in the map.
        """
        step = float(self.labels.deviation[self._row(label)]) * self.direction(label, free)
        ends = torch.stack([self.space.mean + step, self.space.mean - step])
        ends = ends[:, None].expand(-1, *self.latent_shape)
        with torch.no_grad():
            styles = self.joint.generator.styles(ends)
        shift = torch.zeros_like(styles).requires_grad_(True)
        up, down = self.joint.maps(ends, detail=False, shift=shift)
        change = (up - down).detach()
        gradient = torch.autograd.grad(((up + down) * change).sum() / 2, shift)[0].sum(0)
        effect = gradient * (styles[0] - styles[1])
        total = float(effect.sum())
        if total <= 1e-6 * change.numel():  # a change of less than a thousandth of the range
            raise LikenessError(
                f'"{label}" does not show in the skin\'s colours, so no edit of its styles can change it. Edit the '
                "latent, which the shape follows too, or choose another label."
            )
        return effect / total

    def style_direction(self, label: str, free: Sequence[str] = (), share: float = STYLE_SHARE) -> Float[Tensor, "S"]:
        """The step in S that raises a label by one unit, in as few channels as make up `share` of the whole effect.

        After Wu, Lischinski and Shechtman 2021 ("StyleSpace analysis"): some channels of some layers draw a beard and
        nothing else, while w moves all. The channels of the greatest `style_relevance` move in proportion to what an
        edit in W does to them, farther, so that they alone have its effect. Such a step fits every latent:
        ``decode(latent, years * style_direction("age_years"))``. It changes the map alone, not the shape; what to
        store is the latent and the amount for each label. Raises LikenessError as `style_relevance`.
        """
        relevance = self.style_relevance(label, free)
        ordered, order = relevance.sort(descending=True)
        reached = ordered.cumsum(0)
        # All shares together reach 1, but for rounding.
        count = int((reached < min(share, float(reached.max()))).sum()) + 1
        direction = self.direction(label, free).expand(self.latent_shape)
        step = self.styles(self.space.mean + direction) - self.styles(self.space.mean.expand(self.latent_shape))
        kept = torch.zeros_like(step)
        kept[order[:count]] = step[order[:count]] / reached[count - 1]
        return kept

    # --- checks ---

    def _from_z(self, z: Float[Tensor, "1 W"]) -> Float[Tensor, "L W"]:
        with torch.no_grad():
            w = self.joint.generator.style(z.to(self.space.mean))
        return w.expand(self.latent_shape).clone()

    def _row(self, label: str) -> int:
        if label not in self.label_names:
            raise LikenessError(f'There is no label "{label}". The labels are: {", ".join(self.label_names)}.')
        return self.label_names.index(label)

    def _check_latent(self, latent: Tensor) -> None:
        if tuple(latent.shape) != self.latent_shape:
            raise LikenessError(
                f"A latent of the shape {tuple(latent.shape)} was given, but this albedo generator needs "
                f"{self.latent_shape}. It was made by another generator: fit or draw it anew."
            )
        if not bool(latent.isfinite().all()):
            raise LikenessError("The latent has values that are no numbers (NaN or infinite). Fit or draw it anew.")


def pyramid_difference(
    image: Float[Tensor, "3 U U"], target: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"], levels: int
) -> Float[Tensor, ""]:
    """Mean absolute difference of what is seen, averaged over the levels of a pyramid of means (level k: squares of 2^k
    texels): the coarse ones say from afar which way to go. A square counts by how much of it is seen."""
    difference, seen = ((image - target) * mask)[None], mask[None, None]
    losses = []
    for level in range(min(levels, mask.shape[-1].bit_length())):
        if level:
            difference, seen = functional.avg_pool2d(difference, 2), functional.avg_pool2d(seen, 2)
        losses.append(difference.abs().sum() / (3 * seen.sum()))
    return torch.stack(losses).mean()


def measure_disentanglement(
    draw: Callable[[int, str, float], tuple[Float[Tensor, "3 U U"], Float[Tensor, "K"]]],
    read_labels: Callable[[Float[Tensor, "B 3 U U"], Float[Tensor, "B K"]], Float[Tensor, "B N"]],
    label_names: Sequence[str],
    deviation: Float[Tensor, "N"],
    ends: Mapping[str, tuple[float, float]],
    seeds: Sequence[int],
) -> Float[Tensor, "N N"]:
    """What edits really do: row i is the change of every label when label i goes from one of its `ends` to the other,
    per unit asked for, averaged over seeds; in deviations of the labels over people. Ideal is the identity matrix.

    draw: (seed, label, value) -> map (sRGB 0..1) and shape of the seed's person, edited until the label has the value.
    A LikenessError from it says that the label cannot be edited: its row is NaN, as are the columns of labels that do
    not vary. read_labels: from maps and shapes to labels, by whatever does not know the edit
    (core.albedo.label_reader), in their own units.
    """
    steady = deviation <= 0
    scale = deviation.clamp_min(1e-12)
    rows = []
    for i, label in enumerate(label_names):
        low, high = ends[label]
        try:
            drawn = [draw(seed, label, value) for seed in seeds for value in (low, high)]
        except LikenessError:
            rows.append(torch.full_like(deviation, math.nan))
            continue
        read = read_labels(torch.stack([map_ for map_, _ in drawn]), torch.stack([shape for _, shape in drawn]))
        change = (read[1::2] - read[::2]).mean(0) / scale / ((high - low) / scale[i])
        rows.append(change.masked_fill(steady, math.nan))
    return torch.stack(rows)


def _names(metadata: dict[str, str], key: str, path: Path) -> tuple[str, ...]:
    try:
        names = json.loads(metadata[key])
    except (KeyError, ValueError) as error:
        raise FileError(f"{path} does not name its {key.replace('_', ' ')}. It is damaged. {CURE}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileError(f"{path} has {key.replace('_', ' ')} that are no list of words. It is damaged. {CURE}")
    return tuple(names)
