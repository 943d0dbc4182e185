"""Wrinkles, folds and pores as heights over the mesh: shape from shading on top of what a network has found.

The network (core/reflectance) proposes a relief and divides the light out of the map, fine shading and all. The two
must agree: what was divided out as fine shading is what the relief casts under the photo's light. `refine_relief`
renders the relief in UV space and bends it until it does, near to what the network proposed (shape from shading with
a prior, as in Beeler et al. 2010 and in DECA's detail loss, Feng et al. 2021, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.atlas import interpolate
from core.head import HeadModel
from core.reflectance.estimate import Understood, slopes_of
from core.reflectance.lit_heads import TEXELS_PER_MM, softened
from core.reflectance.network import WORK_PX, log_light
from core.shading import irradiance_basis


@dataclass(frozen=True)
class RefinementSettings:
    """steps: of Adam; rate: its step, millimetres. shading: weight of the squared error of the log of fine shading, in
    units of `noise`. prior: of the squared departure from the network's relief, in units of `spread_mm`; smooth: of its
    slope per texel, likewise. fine_mm: what is wider than this is the mesh's and the light's, not the relief's.
    """

    steps: int = 24
    rate: float = 0.012
    noise: float = 0.05
    spread_mm: float = 0.10
    smooth: float = 4.0
    fine_mm: float = 2.5


def refine_relief(
    head: HeadModel,
    found: Understood,
    settings: RefinementSettings | None = None,
    report: Callable[[float], None] | None = None,
) -> Float[Tensor, "1 U U"]:
    """The network's relief, millimetres, bent towards the fine shading of the lit map. Bare skin of the face only: hair
    is no surface. Deterministic; never a worse match than the network's."""
    s, say = settings or RefinementSettings(), report or (lambda share: None)
    start = found.maps.height_mm[0].detach()
    weight = _bare_skin(head, found)
    sigma = s.fine_mm * TEXELS_PER_MM
    shown = log_light(found.lit).mean(0) - found.maps.log_albedo[0].mean(0)
    target = shown - softened(shown, sigma)
    axes = [
        functional.interpolate(axis[None], size=(WORK_PX, WORK_PX), mode="bilinear")[0]
        for axis in (found.frame.normal, found.frame.tangent, found.frame.bitangent)
    ]
    grey = found.sh.mean(1)

    def shading_of(height: Tensor) -> Tensor:
        along, across = slopes_of(head, found.frame, height[0])
        normal = functional.normalize(axes[0] - along * axes[1] - across * axes[2], dim=0)
        light = (irradiance_basis(normal.permute(1, 2, 0)) @ grey).clamp_min(0.05 * float(grey[0]))
        logarithm = light.log()
        return logarithm - softened(logarithm, sigma)

    def objective(height: Tensor) -> Tensor:
        off = height - start
        fit = (weight * ((shading_of(height) - target) / s.noise).square()).sum()
        prior = (off / s.spread_mm).square().sum()
        smooth = s.smooth * (
            (off.diff(dim=1) / s.spread_mm).square().sum() + (off.diff(dim=2) / s.spread_mm).square().sum()
        )
        return (fit + prior + smooth) / weight.sum().clamp_min(1)

    height = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([height], lr=s.rate, betas=(0.8, 0.95))
    best, least = start, float("inf")
    for step in range(s.steps):
        value = objective(height)
        if float(value.detach()) < least:
            best, least = height.detach().clone(), float(value.detach())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        say((step + 1) / s.steps)
    return best


def _bare_skin(head: HeadModel, found: Understood) -> Float[Tensor, "U U"]:
    """Where shading can be read, 0..1: on the face, not on hair, lips, lids, in the dark or where it is burnt out."""
    own = torch.stack([head.region(name) for name in ("brows", "lips", "eye_sockets")]).amax(0).clamp(0, 1)
    face = interpolate(head, (head.region("face") * (1 - own))[:, None].float(), WORK_PX)[..., 0]
    hair = ((found.maps.roughness[0, 0] - 0.6) / 0.1).clamp(0, 1)
    level = found.lit.amax(0)
    readable = ((level - 0.01) / 0.03).clamp(0, 1) * ((0.95 - level) / 0.05).clamp(0, 1)
    return face * (1 - hair) * readable
