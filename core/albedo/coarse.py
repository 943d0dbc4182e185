"""UVAPM's coarse stage: albedo as a mean plus principal components, fitted to what a photo shows.

The components are those of low-passed maps (`COARSE_SIZE` texels a side) in log albedo, where pigments add
(core.albedo.model). Every training map counts twice, as it is and mirrored. The covariance of such data commutes with
mirroring, so each component is either symmetric or antisymmetric, and both kinds can be found, stored and fitted on
one half of the map alone: half the memory, and a quarter of the work, without any approximation.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from core.albedo.model import bytes_to_map, check_map, log_albedo, resize_map, srgb_from_log
from core.atlas import atlas_lookup, nearest_inside
from core.checkpoints import read_safetensors
from core.errors import FileError, LikenessError
from core.head import HeadModel, load_head

COARSE_SIZE = 256
BLUR_TEXELS = 1.0  # of the low pass, at COARSE_SIZE: what is finer than about 3 mm on the face is the detail stage's
FORMAT = "likeness-albedo-coarse-1"
CURE = "Train it again with `python -m app train coarse`, or restore the file that came with the program."

# Fitting. Fit on blocks of texels: the components are smooth, so a quarter of the side tells them apart as well.
FIT_SIDE = 64
ROUNDS = 8  # of reweighting
# What components cannot explain is not white: this many blocks err together, so that many count as one.
BLOCKS_PER_SAMPLE = 4.0
# Geman-McClure's scale, in deviations of the noise: wide at first, where the fit is still far off, then close.
FIRST_SCALE, LAST_SCALE = 8.0, 2.5


@runtime_checkable
class WithAlbedo(Protocol):
    """A sample of a data set, such as core.synthesis.shards.MapSample."""

    @property
    def albedo(self) -> Tensor: ...


@runtime_checkable
class Maps(Protocol):
    """A data set of maps, or of samples that have one as `albedo`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor | WithAlbedo: ...


def albedo_of(item: Tensor | WithAlbedo) -> UInt8[Tensor, "3 U U"]:
    """The bytes of a training map. Raises LikenessError for what is not a square map of bytes."""
    image = item if isinstance(item, Tensor) else item.albedo
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or image.shape[1] != image.shape[2]:
        raise LikenessError(
            f"A training map has the shape {tuple(image.shape)} and the type {image.dtype}, but albedo maps are "
            "(3, U, U) bytes. Point the training at shards written by `python -m app synthesize`."
        )
    return image


@dataclass(frozen=True, eq=False)
class CoarseAlbedo:
    """The principal component model; a latent is ``[K]`` coefficients, about standard normal over the training maps.

    half_inside: which texels of the map's left half show skin, N of them. mean: ``[3, N]``, log albedo. components:
    ``[K, 3, N]``, one standard deviation each, the most telling first. parity: ``[K]``, +1 where the other half
    shows the same, -1 where it shows the negative. noise: ``[3, N]``, standard deviation of what the components leave.
    """

    half_inside: Bool[Tensor, "U H"]
    mean: Float[Tensor, "3 N"]
    components: Float[Tensor, "K 3 N"]
    parity: Float[Tensor, "K"]
    noise: Float[Tensor, "3 N"]

    name = "coarse"

    @property
    def size(self) -> int:
        return self.half_inside.shape[0]

    @property
    def count(self) -> int:
        """K."""
        return len(self.parity)

    @functools.cached_property
    def inside(self) -> Bool[Tensor, "U U"]:
        """Where the whole map shows skin."""
        return torch.cat([self.half_inside, self.half_inside.flip(1)], 1)

    # --- the model ---

    def sample(self, seed: int, truncation: float = 1.0) -> Float[Tensor, "K"]:
        """Random coefficients, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return (truncation * torch.randn(self.count, generator=generator)).to(self.mean.device)

    def decode(self, latent: Float[Tensor, "K"]) -> Float[Tensor, "3 U U"]:
        return srgb_from_log(self.decode_log(latent[None])[0])

    def decode_log(self, latent: Float[Tensor, "B K"]) -> Float[Tensor, "B 3 U U"]:
        """Log albedo; outside the skin the nearest texel's. Differentiable."""
        even, odd = self.parity > 0, self.parity < 0
        same = self.mean + torch.einsum("bk,kcn->bcn", latent[:, even], self.components[even])
        other = torch.einsum("bk,kcn->bcn", latent[:, odd], self.components[odd])
        both = torch.stack([same + other, same - other], -1).flatten(2)
        return both[..., self._filling].unflatten(2, (self.size, self.size))

    @functools.cached_property
    def _filling(self) -> Tensor:
        """For each texel of the whole map which of the 2 N known ones (left, its mirror image, left, ...) it shows."""
        size, half = self.size, self.size // 2
        rank = self.half_inside.flatten().cumsum(0).reshape(size, half) - 1
        known = torch.cat([2 * rank, 2 * rank.flip(1) + 1], 1)
        return known.flatten()[nearest_inside(self.inside).flatten()]

    def project(self, log: Float[Tensor, "B 3 U U"]) -> Float[Tensor, "B K"]:
        """Coefficients of completely known maps of the model's size, low-passed here; least squares with the prior
        and without any distrust. What the detail stage is trained on."""
        same, other = _halves(low_pass(log, self.inside), self.half_inside)
        # Weighted by the noise, in float64 as the two systems are small.
        coefficients = log.new_zeros(len(log), self.count)
        blocks = BLOCKS_PER_SAMPLE * (self.size / FIT_SIDE) ** 2
        weight = 2 / (blocks * self.noise.square())  # two texels, left and right
        for sign, half in ((1, same - self.mean), (-1, other)):
            which = self.parity == sign
            basis = self.components[which].flatten(1)
            weighted = basis * weight.flatten()
            system = (weighted @ basis.T).double() + torch.eye(len(basis), dtype=torch.float64, device=basis.device)
            right = (half.flatten(1) @ weighted.T).double()
            coefficients[:, which] = torch.linalg.solve(system, right.T).T.to(log)
        return coefficients

    def fit(self, albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"]) -> Float[Tensor, "K"]:
        """The most probable coefficients of a partly seen map, some of which may not be skin at all.

        Maximum a posteriori under a standard normal prior and noise of the trained size per texel, times a common
        factor that is estimated; hair, glasses and highlights are given up by Geman and McClure's weights, iteratively
        (Black and Rangarajan 1996), from a wide scale to a close one. Larger maps are averaged down. Raises
        LikenessError as `check_map`.
        """
        check_map(albedo, mask, albedo.shape[-1])
        albedo, mask = resize_map(albedo.clamp(0, 1), mask, self.size)
        weight = mask * self.inside
        log = low_pass(log_albedo(albedo)[None], weight)[0]
        values, seen = _to_blocks(log, weight)
        centre, basis, variance = self._blocks
        residual_of_mean = values - centre
        visible = seen > 0.02
        residual_of_mean, seen = residual_of_mean[:, visible], seen[visible]
        basis, variance = basis[:, :, visible], variance[:, visible]
        coefficients = basis.new_zeros(self.count)
        for i in range(ROUNDS):
            scale = FIRST_SCALE * (LAST_SCALE / FIRST_SCALE) ** (i / (ROUNDS - 1))
            residual = residual_of_mean - torch.einsum("k,kcn->cn", coefficients, basis)
            misfit = (residual.square() / variance).mean(0)
            # The median of the mean of three squared unit normals is 0.789. A photo never fits better than a map of
            # the training set, and one that is much worse is told apart from one that is partly foreign by its median.
            factor = (_weighted_median(misfit, seen) / 0.789).clamp(1, 100)
            trust = (scale**2 / (scale**2 + misfit / factor)).square() * seen
            rows = (trust / (variance * factor * BLOCKS_PER_SAMPLE)).sqrt()
            design = (basis * rows).flatten(1)
            system = (design @ design.T).double() + torch.eye(self.count, dtype=torch.float64, device=design.device)
            coefficients = torch.linalg.solve(system, (design @ (residual_of_mean * rows).flatten()).double()).float()
        return coefficients

    @functools.cached_property
    def _blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean ``[3, n]``, components ``[K, 3, n]`` and variance of the noise on the blocks that fitting uses."""
        weight = self.inside.float()

        def blocks(half: Tensor, parity: Tensor) -> Tensor:
            """``[B, 3, N]`` -> ``[B, 3, n]``."""
            both = torch.stack([half, parity[:, None, None] * half], -1).flatten(2)[..., self._filling]
            return _to_blocks(both.unflatten(2, (self.size, self.size)), weight)[0]

        one = self.parity.new_ones(1)
        components = torch.cat(
            [blocks(c, p) for c, p in zip(self.components.split(16), self.parity.split(16), strict=True)]
        )
        return blocks(self.mean[None], one)[0], components, blocks(self.noise.square()[None], one)[0]

    def to(self, device: torch.device | str) -> CoarseAlbedo:
        """The same model on another device."""
        return CoarseAlbedo(*(value.to(device) for value in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.half_inside, self.mean, self.components, self.parity, self.noise

    # --- files ---

    def save(self, path: Path, metadata: dict[str, Any] | None = None) -> None:
        """A safetensors file: components as signed bytes with a scale each, mean and noise in half precision."""
        from safetensors.torch import save_file

        scale = self.components.abs().amax((1, 2)) / 127
        tensors = {
            "half_inside": self.half_inside,
            "mean": self.mean.half(),
            "components": (self.components / scale[:, None, None]).round().to(torch.int8),
            "components_scale": scale,
            "parity": self.parity.to(torch.int8),
            "noise": self.noise.half(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"format": FORMAT, "size": str(self.size), "training": json.dumps(metadata or {})}
        save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, str(path), header)

    @staticmethod
    def load(path: Path) -> CoarseAlbedo:
        """Raises FileError for a file that is missing, damaged, of another kind or inconsistent."""
        required = ("half_inside", "mean", "components", "components_scale", "parity", "noise")
        t, metadata = read_safetensors(path, required, CURE)
        if metadata.get("format") != FORMAT:
            raise FileError(
                f"{path} says that its format is {metadata.get('format')!r}; a coarse albedo model says "
                f"{FORMAT!r}. {CURE}"
            )
        size, texels = t["half_inside"].shape[0], int(t["half_inside"].sum())
        count = len(t["parity"])
        expected = {
            "half_inside": (size, size // 2),
            "mean": (3, texels),
            "components": (count, 3, texels),
            "components_scale": (count,),
            "parity": (count,),
            "noise": (3, texels),
        }
        for key, shape in expected.items():
            if tuple(t[key].shape) != shape:
                raise FileError(
                    f"{path} does not fit together: {key} has the shape {tuple(t[key].shape)}, {shape} was expected. "
                    f"{CURE}"
                )
        floats = {key: t[key].float() for key in ("mean", "components_scale", "noise")}
        for key, value in floats.items():
            if not bool(torch.isfinite(value).all()):
                raise FileError(f"{path} holds values in {key} that are no numbers. {CURE}")
        components = t["components"].float() * floats["components_scale"][:, None, None]
        return CoarseAlbedo(
            t["half_inside"].bool(), floats["mean"], components, t["parity"].float(), floats["noise"].clamp_min(1e-3)
        )


# --- maps as the model sees them --------------------------------------------------------------------------------------


def low_pass(image: Float[Tensor, "B C U U"], weight: Shaped[Tensor, "U U"]) -> Float[Tensor, "B C U U"]:
    """Gaussian blur of `BLUR_TEXELS` (at `COARSE_SIZE`) over what has weight; the rest takes no part."""
    weight = weight.to(image)[None, None]
    sigma = BLUR_TEXELS * image.shape[-1] / COARSE_SIZE
    total = _blur(weight, sigma)
    return torch.where(total > 1e-4, _blur(image * weight, sigma) / total.clamp_min(1e-4), image)


def _blur(image: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    flat = functional.pad(image.flatten(0, 1)[:, None], (radius,) * 4)
    return functional.conv2d(functional.conv2d(flat, kernel[:, :, None]), kernel[..., None]).view_as(image)


def _halves(image: Tensor, half_inside: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, 3, U, U]`` -> the symmetric and the antisymmetric part ``[B, 3, N]`` of the left half's skin."""
    half = image.shape[-1] // 2
    left, right = image[..., :half], image.flip(-1)[..., :half]
    return ((left + right) / 2)[..., half_inside], ((left - right) / 2)[..., half_inside]


def _to_blocks(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of ``[..., U, U]`` over the blocks of a map of `FIT_SIDE` ``[..., n]``, and their weights."""
    side = max(1, image.shape[-1] // FIT_SIDE)
    shape = image.shape[:-2]
    total = functional.avg_pool2d(weight[None, None], side)[0, 0].flatten()
    mean = functional.avg_pool2d((image * weight).flatten(0, -3)[:, None], side).flatten(1)
    return (mean / total.clamp_min(1e-4)).unflatten(0, shape), total


def _weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    order = values.argsort()
    cumulative = weight[order].cumsum(0)
    return values[order[int((cumulative < cumulative[-1] / 2).sum())]]


# --- training ---------------------------------------------------------------------------------------------------------


class _Subspace:
    """Principal components of rows that arrive in batches: the merge of Ross, Lim, Lin and Yang (2008, "Incremental
    learning for robust visual tracking", 2.1), which is exact as long as nothing is truncated.

    rows: ``[R, D]``, whose product rows^T rows is the scatter of what came so far, up to the `kept` largest directions.
    """

    def __init__(self, kept: int) -> None:
        self.kept, self.count = kept, 0
        self.mean = self.squares = torch.zeros(0)
        self.rows = torch.zeros(0)

    def add(self, batch: Float[Tensor, "M D"]) -> None:
        n, m = self.count, len(batch)
        if n == 0:
            self.mean, self.squares = torch.zeros_like(batch[0]), torch.zeros_like(batch[0])
            self.rows = batch[:0]
        mean = batch.mean(0)
        step = mean - self.mean
        centred = batch - mean
        between = step * (n * m / (n + m)) ** 0.5
        self.squares = self.squares + centred.square().sum(0) + between.square()
        self.rows = torch.cat([self.rows, centred, between[None]])
        self.mean, self.count = self.mean + step * (m / (n + m)), n + m
        if len(self.rows) > self.kept:
            self.rows = self._principal(self.kept)

    def _principal(self, count: int) -> Tensor:
        """The largest directions, orthogonal, each as long as the root of its scatter."""
        # Through the small Gram matrix: its eigenvectors combine the rows.
        gram = (self.rows @ self.rows.T).double()
        vectors = torch.linalg.eigh(gram)[1].flip(1)[:, :count]
        return vectors.T.to(self.rows) @ self.rows

    def components(self) -> tuple[Tensor, Tensor]:
        """Components ``[R, D]`` of one standard deviation each, largest first, and the total variance ``[D]``."""
        return self._principal(self.kept) / self.count**0.5, self.squares / self.count


def train_coarse(
    maps: Maps,
    components: int,
    out: Path | None,
    *,
    head: HeadModel | None = None,
    size: int = COARSE_SIZE,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    report: Callable[[int], None] | None = None,
) -> CoarseAlbedo:
    """The coarse model of a set of maps, read once, in order, in little memory; written to `out`.

    maps: bytes ``[3, U, U]`` or samples that have them as `albedo`, U at least `size`. report: called with
    the number of maps read. Half as many directions again as asked for are carried along, so that what a late map
    brings is not lost. Raises LikenessError for too few or too small maps.
    """
    if components < 1 or len(maps) < components:
        raise LikenessError(
            f"{len(maps)} maps were found for {components} components, but a model needs at least one component, at "
            "least as many maps as components, and some thousand to be any good. Synthesize more maps (`python -m app "
            "synthesize`) or ask for fewer components."
        )
    head = head or load_head()
    inside = atlas_lookup(head, size).inside
    half_inside = (inside | inside.flip(1))[:, : size // 2].to(device)
    whole = torch.cat([half_inside, half_inside.flip(1)], 1)
    kept = components + components // 2 + 1
    even, odd = _Subspace(kept), _Subspace(kept)
    waiting: list[Tensor] = []

    def flush() -> None:
        log = log_albedo(torch.stack(waiting).to(device))
        same, other = _halves(low_pass(log, whole), half_inside)
        even.add(same.flatten(1))
        # Mirroring a map turns this part's sign, so its mean is 0 and each map brings its mirror image along.
        odd.add(torch.cat([other, -other]).flatten(1))
        waiting.clear()

    everywhere = torch.ones(1)
    for i in range(len(maps)):
        image = albedo_of(maps[i])
        if image.shape[-1] < size:
            raise LikenessError(
                f"A training map has {image.shape[-1]} texels a side, but the coarse model needs at least {size}. "
                "Synthesize larger maps."
            )
        waiting.append(resize_map(bytes_to_map(image), everywhere.expand(image.shape[1:]), size)[0])
        if len(waiting) == batch_size or i + 1 == len(maps):
            flush()
            if report:
                report(i + 1)

    (even_basis, even_total), (odd_basis, odd_total) = even.components(), odd.components()
    basis = torch.cat([even_basis, odd_basis])
    parity = torch.cat([basis.new_ones(len(even_basis)), -basis.new_ones(len(odd_basis))])
    best = basis.square().sum(1).argsort(descending=True)[:components]
    basis, parity = basis[best].unflatten(1, (3, -1)), parity[best]
    left = (even_total + odd_total).unflatten(0, (3, -1)) - basis.square().sum(0)
    model = CoarseAlbedo(
        half_inside=half_inside,
        mean=even.mean.unflatten(0, (3, -1)),
        components=basis,
        parity=parity,
        # 8-bit rounding alone leaves about 0.01 in dark skin.
        noise=left.clamp_min(1e-4).sqrt(),
    ).to("cpu")
    if out is not None:
        explained = float(basis.square().sum() / (even_total + odd_total).sum())
        model.save(out, {"maps": len(maps), "components": components, "explained_variance": round(explained, 4)})
    return model
