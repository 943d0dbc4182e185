"""UVAPM: principal components for the coarse map, a variational auto-encoder for the detail on it, as one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.albedo.coarse import CoarseAlbedo
from core.albedo.detail import DetailAlbedo, enlarge
from core.albedo.model import check_map, log_albedo, resize_map, srgb_from_log

# What a partly seen map leaves open is drawn at this share of its spread: all of it would be a fair draw, none of it
# the mean of all faces that fit, which is smoother than any of them.
FIT_SPREAD = 0.7


@dataclass(frozen=True, eq=False)
class CoarseToFine:
    """An `AlbedoModel`. A latent is ``[K + D]``: the coarse coefficients, then the detail's latents.

    Maps have the detail's size. Larger ones are best had by enlarging a decoded map: the detail of a network that runs
    on an enlarged coarse map would shrink, pores to half of theirs.
    """

    coarse: CoarseAlbedo
    detail: DetailAlbedo

    name = "coarse to fine"

    @property
    def size(self) -> int:
        return self.detail.settings.size

    @staticmethod
    def load(coarse: Path, detail: Path) -> CoarseToFine:
        """Raises FileError for files that are missing, damaged or of another kind."""
        return CoarseToFine(CoarseAlbedo.load(coarse), DetailAlbedo.load(detail))

    def to(self, device: torch.device | str) -> CoarseToFine:
        """The same model on another device."""
        return CoarseToFine(self.coarse.to(device), self.detail.to(device))

    def sample(self, seed: int, truncation: float = 1.0) -> Float[Tensor, "D"]:
        coefficients = self.coarse.sample(seed, truncation)
        over = self._over(coefficients)
        nothing_seen = over.new_zeros(over.shape[1:])
        rest = self.detail.infer(torch.zeros_like(over), over, nothing_seen, truncation * self._unit(over, seed + 1))
        return torch.cat([coefficients, rest])

    def decode(self, latent: Float[Tensor, "D"]) -> Float[Tensor, "3 U U"]:
        coefficients, rest = latent[: self.coarse.count], latent[self.coarse.count :]
        over = self._over(coefficients)
        return srgb_from_log(over + self.detail.decode(rest, over))

    def fit(self, albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"]) -> Float[Tensor, "D"]:
        """The coarse map by robust least squares, then the detail that the encoder sees in what it leaves; what is not
        seen is drawn with a fixed seed. Maps of another size are resized. Raises LikenessError as `check_map`."""
        check_map(albedo, mask, albedo.shape[-1])
        albedo, mask = resize_map(albedo.clamp(0, 1), mask, self.size)
        coefficients = self.coarse.fit(albedo, mask)
        over = self._over(coefficients)
        rest = self.detail.infer(log_albedo(albedo) - over, over, mask, FIT_SPREAD * self._unit(over, 0))
        return torch.cat([coefficients, rest])

    def _over(self, coefficients: Float[Tensor, "K"]) -> Float[Tensor, "3 U U"]:
        return enlarge(self.coarse.decode_log(coefficients[None]), self.size)[0]

    def _unit(self, like: Tensor, seed: int) -> Float[Tensor, "D"]:
        """Standard normal numbers for the detail's latents, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.detail.settings.latent_size, generator=generator).to(like)
