"""What every source of albedo maps can do, the space they work in, and the checks they share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.color import linear_to_srgb, srgb_to_linear
from core.errors import LikenessError

# Added to linear albedo before the logarithm: about what the skin's surface reflects before light meets any pigment
# (core.synthesis.painting.SURFACE_ALBEDO) plus what 8 bits leave uncertain in the dark. Without it a hair of 1 %
# albedo would weigh in squares like four patches of skin.
LOG_FLOOR = 0.02


@runtime_checkable
class AlbedoModel(Protocol):
    """A distribution over albedo maps in the layout of `core.atlas`, which can also be fitted to a partly seen one.

    A latent is one float tensor of a fixed shape; storing it is storing the map. All methods are deterministic.
    """

    @property
    def name(self) -> str:
        """What tables call the model."""
        ...

    @property
    def size(self) -> int:
        """U, the side of the maps it makes and takes."""
        ...

    def sample(self, seed: int, truncation: float = 1.0) -> Float[Tensor, "*latent"]:
        """A random latent. truncation: 1 for the full variety, 0 for the mean map."""
        ...

    def decode(self, latent: Float[Tensor, "*latent"]) -> Float[Tensor, "3 U U"]:
        """The map of a latent, sRGB 0..1."""
        ...

    def fit(self, albedo: Float[Tensor, "3 U U"], mask: Float[Tensor, "U U"]) -> Float[Tensor, "*latent"]:
        """The latent whose map explains what is seen of `albedo` (sRGB 0..1): all of it where `mask` is 1, nothing
        where it is 0. Raises LikenessError as `check_map` does."""
        ...


def check_map(albedo: Tensor, mask: Tensor, size: int) -> None:
    """Refuse what cannot be a partly seen albedo map of side `size`, with a sentence. The mask must show something."""
    if tuple(albedo.shape) != (3, size, size) or tuple(mask.shape) != (size, size):
        raise LikenessError(
            f"The albedo map has the shape {tuple(albedo.shape)} and its mask {tuple(mask.shape)}, but this model "
            f"works on (3, {size}, {size}) and ({size}, {size}). Resize both (core.albedo.model.resize_map) first."
        )
    for name, image in (("albedo map", albedo), ("mask", mask)):
        if not bool(torch.isfinite(image).all()):
            bad = int((~torch.isfinite(image)).sum())
            raise LikenessError(
                f"The {name} has {bad} values that are no numbers (NaN or infinite). Every value must be a number "
                "between 0 and 1; fill what is not known with any colour and set the mask to 0 there."
            )
        low, high = float(image.min()), float(image.max())
        # A resampled map may overshoot by rounding.
        if low < -1e-3 or high > 1 + 1e-3:
            raise LikenessError(
                f"The {name} has values from {low:.3g} to {high:.3g}, but they must lie between 0 and 1. "
                "Divide a map of bytes by 255."
            )
    if float(mask.sum()) < 1:
        raise LikenessError(
            "The mask hides the whole map, so there is nothing to fit. Set it to 1 where the albedo is known, "
            "or draw a random map with `sample`."
        )


def log_albedo(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The space that albedo models are linear in: log(linear albedo + `LOG_FLOOR`).

    Pigments lie in the skin one behind the other, so what each takes adds in the logarithm (Beer-Lambert; Tsumura,
    Haneishi and Miyake 1999): a freckle or a blush is the same summand on any tone, which is what makes one network for
    the detail of all tones easy. For the principal components alone sRGB would do as well (60 of them, 221 synthetic
    maps: 38.4 dB on hidden skin in either).
    """
    return (srgb_to_linear(srgb) + LOG_FLOOR).log()


def srgb_from_log(log: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Inverse of `log_albedo`, cut to 0..1."""
    return linear_to_srgb((log.exp() - LOG_FLOOR).clamp(0, 1))


def bytes_to_map(image: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A map of bytes as sRGB 0..1."""
    return image.float() / 255


def resize_map(
    albedo: Float[Tensor, "C U U"], mask: Float[Tensor, "U U"], size: int
) -> tuple[Float[Tensor, "C {size} {size}"], Float[Tensor, "{size} {size}"]]:
    """Map and mask at another side. Hidden texels lend no colour to their neighbours; where all are hidden the colour
    is their plain mean."""
    if albedo.shape[-1] == size:
        return albedo, mask
    colour = _resize(albedo[None], size)[0]
    weight = _resize(mask[None, None], size)[0, 0].clamp(0, 1)
    seen = _resize((albedo * mask)[None], size)[0] / weight.clamp_min(1e-4)
    return torch.where(weight > 1e-3, seen, colour), weight


def _resize(image: Tensor, size: int) -> Tensor:
    if size < image.shape[-1] and image.shape[-1] % size == 0:
        return functional.avg_pool2d(image, image.shape[-1] // size)
    return functional.interpolate(image, size=(size, size), mode="bilinear", antialias=size < image.shape[-1])
