"""Adaptive discriminator augmentation: what lets a discriminator learn from thousands of maps instead of millions.

Karras et al. 2020, "Training generative adversarial networks with limited data" (ADA). The discriminator sees real and
generated maps only through random changes, each applied with the same probability p, so it cannot learn the training
maps by heart; p follows how much it does. As long as p stays below about 0.8 the changes do not leak into what the
generator makes (their section 3.1).

Which changes suit a skin atlas: the mirror image, exactly, because the atlas itself is symmetric to a few micrometres
and a mirrored person is a person; brightness, contrast, saturation and a little hue; small shifts; a cut-out square.
No turning and no zooming: texels have a fixed meaning, and the discriminator should know it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

# How far each change goes, in units of what it changes (ADA, appendix B, less hue and shift: the hues of skin lie
# within a few degrees and features within a few texels, so larger changes hide nothing more).
BRIGHTNESS = 0.2  # standard deviation of what is added; maps run -1..1
CONTRAST_LOG2 = 0.5  # standard deviation of log2 of the factor
SATURATION_LOG2 = 0.5
HUE_RAD = 0.3
SHIFT = 1 / 16  # largest, as a share of the side
CUTOUT = 1 / 2  # the square's side, as a share of the map's

# Standard normal numbers that one map's changes take: seven choices, eight amounts.
NUMBERS = 15  # written out in the shape that `augment` checks

# Beyond it, changes leak into the generated maps (ADA, fig. 4).
HIGHEST_PROBABILITY = 0.8


def augment(
    images: Float[Tensor, "B 3 H W"], probability: Float[Tensor, ""], numbers: Float[Tensor, "B 15"]
) -> Float[Tensor, "B 3 H W"]:
    """Change each map at random: a deterministic, differentiable function of `numbers` ~ N(0, 1).

    images: -1..1, results may leave that range. probability: of each kind of change by itself, 0..1, a tensor so that
    it never has to leave its device; at 0 the images come back bit for bit. Shifts repeat the border, which is what
    the atlas does outside the skin; cut-out squares are mid grey.
    """
    chosen = (torch.special.ndtr(numbers[:, :7]) < probability)[:, :, None, None, None]  # [B, kind, 1, 1, 1]
    flip, shift, brightness, contrast, saturation, hue, cutout = chosen.unbind(1)
    amounts = numbers[:, 7:].to(images.dtype)

    images = torch.where(flip, images.flip(3), images)
    images = torch.where(shift, _shifted(images, amounts[:, 0:2]), images)
    changed = images
    for which, matrix in ((saturation, _saturation(amounts[:, 2])), (hue, _rotation(amounts[:, 3]))):
        changed = torch.where(which, torch.einsum("bij,bjyx->biyx", matrix, changed), changed)
    factor = torch.exp2(CONTRAST_LOG2 * amounts[:, 4])[:, None, None, None]
    changed = torch.where(contrast, changed * factor, changed)
    changed = torch.where(brightness, changed + BRIGHTNESS * amounts[:, 5, None, None, None], changed)
    return torch.where(cutout & _square(images, amounts[:, 6:8]), torch.zeros_like(changed), changed)


def next_probability(
    probability: Float[Tensor, ""],
    mean_sign: Float[Tensor, ""],
    target: float,
    images: int,
    images_to_one: int,
) -> Float[Tensor, ""]:
    """The probability after a few more steps (ADA, section 3.3).

    mean_sign: E[sign(D(real))] since the last call, their r_t: 0 while the discriminator cannot tell, 1 when it knows
    every training map. Above `target` the probability rises, below it falls, by images / images_to_one; it stays
    within 0..`HIGHEST_PROBABILITY`. A mean that is not a number changes nothing.
    """
    direction = torch.sign(mean_sign - target).nan_to_num(0.0)
    return (probability + direction * (images / images_to_one)).clamp(0.0, HIGHEST_PROBABILITY)


def _shifted(images: Tensor, amounts: Tensor) -> Tensor:
    """Whole texels, evenly distributed over +-SHIFT; every texel keeps a value that was there."""
    height, width = images.shape[2:]
    share = (2 * torch.special.ndtr(amounts) - 1) * SHIFT  # [B, 2]
    down, right = (share * share.new_tensor([height, width])).round().long().unbind(1)
    rows = (torch.arange(height, device=images.device) - down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right[:, None]).clamp(0, width - 1)
    images = images.gather(2, rows[:, None, :, None].expand(images.shape))
    return images.gather(3, columns[:, None, None, :].expand(images.shape))


def _saturation(amounts: Tensor) -> Tensor:
    """[B, 3, 3] that stretch colours away from the grey axis."""
    grey = amounts.new_full((3, 3), 1 / 3)
    factor = torch.exp2(SATURATION_LOG2 * amounts)[:, None, None]
    return grey + factor * (torch.eye(3, dtype=amounts.dtype, device=amounts.device) - grey)


def _rotation(amounts: Tensor) -> Tensor:
    """[B, 3, 3] rotations about the grey axis (Rodrigues)."""
    angle = (HUE_RAD * amounts)[:, None, None]
    grey = amounts.new_full((3, 3), 1 / 3)
    cross = amounts.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    eye = torch.eye(3, dtype=amounts.dtype, device=amounts.device)
    return grey + torch.cos(angle) * (eye - grey) + torch.sin(angle) * cross


def _square(images: Tensor, amounts: Tensor) -> Tensor:
    """[B, 1, H, W] bool: a square of CUTOUT of the side, its centre anywhere on the map."""
    height, width = images.shape[2:]
    centre = torch.special.ndtr(amounts)
    y = (torch.arange(height, device=images.device) + 0.5) / height
    x = (torch.arange(width, device=images.device) + 0.5) / width
    inside_y = (y - centre[:, :1]).abs() < CUTOUT / 2
    inside_x = (x - centre[:, 1:]).abs() < CUTOUT / 2
    return inside_y[:, None, :, None] & inside_x[:, None, None, :]
