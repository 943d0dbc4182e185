"""Colour: sRGB transfer, luminance and the individual typology angle of skin."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def srgb_to_linear(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Display-encoded sRGB in 0..1 to linear light (IEC 61966-2-1). Differentiable; input is clamped at 0."""
    srgb = srgb.clamp_min(0.0)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light to display-encoded sRGB (IEC 61966-2-1). Negative light reads as black; values above 1 stay so."""
    linear = linear.clamp_min(0.0)
    # The clamp keeps the power's gradient finite at black, where the linear branch is the one in use.
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def luminance(linear: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 1 H W"]:
    """Relative luminance of linear sRGB (Rec. 709 weights)."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722], dtype=linear.dtype, device=linear.device)
    return (linear * weights[:, None, None]).sum(dim=-3, keepdim=True)


def individual_typology_angle_deg(linear: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Individual typology angle (ITA) of a skin colour in degrees.

    ``atan2(L* - 50, b*)`` in CIELAB with a D65 white (Chardon, Cretois and Hourseau 1991):
    above 55 very light, below -30 dark.
    """
    matrix = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
        dtype=linear.dtype,
        device=linear.device,
    )
    white = torch.tensor([0.95047, 1.0, 1.08883], dtype=linear.dtype, device=linear.device)
    t = torch.einsum("ij,...j->...i", matrix, linear) / white
    f = torch.where(t > (6 / 29) ** 3, t.clamp_min(1e-6) ** (1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = 116 * f[..., 1] - 16
    b = 200 * (f[..., 1] - f[..., 2])
    return torch.rad2deg(torch.atan2(lightness - 50, b))
