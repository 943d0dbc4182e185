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
from core.reflectance.estimate import Understood
from core.reflectance.lit_heads import TEXELS_PER_MM
from core.reflectance.network import WORK_PX, log_light
from core.shading import irradiance_basis
from core.synthesis.relief import differences, whole_steps

MARGIN_PX = 16  # around the skin whose relief is bent


@dataclass(frozen=True)
class RefinementSettings:
    """steps: of Adam; rate: its step, millimetres. shading: weight of the squared error of the log of fine shading, in
    units of `noise`. prior: of the squared departure from the network's relief, in units of `spread_mm`; smooth: of its
    slope per texel, likewise. fine_mm: what is wider than this is the mesh's and the light's, not the relief's.
    """

    steps: int = 16
    rate: float = 0.01
    noise: float = 0.1
    spread_mm: float = 0.06
    smooth: float = 1.0
    fine_mm: float = 2.5


@torch.enable_grad()
def refine_relief(
    head: HeadModel,
    found: Understood,
    settings: RefinementSettings | None = None,
    report: Callable[[float], None] | None = None,
) -> Float[Tensor, "1 U U"]:
    """The network's relief, millimetres, bent towards the fine shading of the lit map. Bare skin of the face only: hair
    is no surface. Deterministic; never a worse match than the network's."""
    s, say = settings or RefinementSettings(), report or (lambda share: None)
    whole = found.maps.height_mm[0].detach()
    weight = _bare_skin(head, found)
    rows, columns = _window_of(weight)
    weight = weight[rows, columns]
    reach = round(s.fine_mm * TEXELS_PER_MM)
    shown = (log_light(found.lit).mean(0) - found.maps.log_albedo[0].mean(0))[rows, columns]
    target = shown - _surroundings(shown, reach)
    frame = torch.cat([found.frame.normal, found.frame.tangent, found.frame.bitangent, found.frame.to_slope])
    frame = functional.interpolate(frame[None], size=(WORK_PX, WORK_PX), mode="bilinear")[0][:, rows, columns]
    normal, tangent, bitangent, to_slope = frame.split([3, 3, 3, 4])
    a, b, c, d = to_slope * (WORK_PX / found.frame.normal.shape[-1]) / 1000
    same_u, same_v = whole_steps(head, WORK_PX)
    same_u, same_v = same_u[rows, columns.start : columns.stop - 1], same_v[rows.start : rows.stop - 1, columns]
    grey = found.sh.mean(1)

    def shading_of(height: Tensor) -> Tensor:
        by_u, by_v = differences(height, same_u, same_v)
        along, across = a * by_u + b * by_v, c * by_u + d * by_v
        bent = normal - along * tangent - across * bitangent
        bent = bent * bent.square().sum(0).rsqrt()
        light = irradiance_basis(bent.permute(1, 2, 0)) @ grey
        logarithm = light.clamp_min(0.05 * float(grey[0])).log()
        return logarithm - _surroundings(logarithm, reach)

    start = whole[0, rows, columns].clone()

    def objective(height: Tensor) -> Tensor:
        off = (height - start) / s.spread_mm
        fit = (weight * ((shading_of(height) - target) / s.noise).square()).sum()
        smooth = off.diff(dim=0).square().sum() + off.diff(dim=1).square().sum()
        return (fit + off.square().sum() + s.smooth * smooth) / weight.sum().clamp_min(1)

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
    bent = whole.clone()
    bent[0, rows, columns] = best
    return bent


def _window_of(weight: Float[Tensor, "U U"]) -> tuple[slice, slice]:
    """Rows and columns in which there is any weight, and a margin; the whole map where there is none."""
    there = torch.nonzero(weight > 0.02)
    if not len(there):
        return slice(0, len(weight)), slice(0, len(weight))
    low, high = (there.amin(0) - MARGIN_PX).clamp_min(0).tolist(), (there.amax(0) + MARGIN_PX + 1).tolist()
    return slice(low[0], min(high[0], len(weight))), slice(low[1], min(high[1], len(weight)))


def _surroundings(image: Float[Tensor, "H W"], reach: int) -> Float[Tensor, "H W"]:
    """Means over squares of means over squares, about a Gaussian of `reach` texels, in a fraction of the time."""
    smooth = image[None, None]
    for _ in range(2):
        smooth = functional.avg_pool2d(smooth, 2 * reach + 1, 1, reach, count_include_pad=False)
    return smooth[0, 0]


def _bare_skin(head: HeadModel, found: Understood) -> Float[Tensor, "U U"]:
    """Where shading can be read, 0..1: on the face, not on hair, lips, lids, in the dark or where it is burnt out."""
    own = torch.stack([head.region(name) for name in ("brows", "lips", "eye_sockets")]).amax(0).clamp(0, 1)
    face = interpolate(head, (head.region("face") * (1 - own))[:, None].float(), WORK_PX)[..., 0]
    hair = ((found.maps.roughness[0, 0] - 0.6) / 0.1).clamp(0, 1)
    level = found.lit.amax(0)
    readable = ((level - 0.01) / 0.03).clamp(0, 1) * ((0.95 - level) / 0.05).clamp(0, 1)
    return face * (1 - hair) * readable
