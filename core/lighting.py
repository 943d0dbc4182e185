"""Light and skin tone from the colours of a face: what of a photo is light, and what is skin.

The colour of a matt surface is albedo times irradiance, so one photo alone never separates the two: a dark face in
bright light and a light face in dim light can be the same pixels. Three things that are known beforehand decide:
skin colours lie on a two-dimensional locus (melanin and haemoglobin), light is smooth over directions and nearly
white, and cameras expose faces. Each is a prior here, with its spread written beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.shading import irradiance_basis

_LUMA = (0.2126, 0.7152, 0.0722)

# 96 directions that cover the sphere evenly, to ask a light how dark it gets.
_PROBES = torch.tensor(
    [
        [math.sqrt(1 - z * z) * math.cos(2.399963 * i), math.sqrt(1 - z * z) * math.sin(2.399963 * i), z]
        for i, z in enumerate((i + 0.5) / 48 - 1 for i in range(96))
    ]
)


@dataclass(frozen=True)
class LightPrior:
    """What light on faces is like before seeing any. Amplitudes are relative to the mean irradiance.

    order1, order2: standard deviation of the luminance coefficients of the first and second order of
    `shading.irradiance_basis`, in units of the zeroth; a single lamp has order 1 of 1.7, an overcast sky 0.6.
    chroma0, chroma: standard deviation of a channel around luminance, for the zeroth and for the higher orders: the
    light's overall colour is settled by `fit_tone`, and a lamp and a window of different colours differ by less than
    this. noise: relative error of a texel's colour (pores, misplaced features, cast shadows). effective_count: as many
    texels as are independent of each other; neighbours are not. darkest: the least irradiance of any direction, as a
    share of the mean, that is accepted without penalty.
    """

    order1: float = 0.8
    order2: float = 0.4
    chroma0: float = 0.10
    chroma: float = 0.08
    noise: float = 0.12
    effective_count: float = 400.0
    darkest: float = 0.08


def constant_light(radiance: Float[Tensor, "3"]) -> Float[Tensor, "9 3"]:
    """The light of even surroundings: `shading` is `radiance` for every normal."""
    sh = radiance.new_zeros(9, 3)
    sh[0] = radiance * math.sqrt(4 * math.pi)
    return sh


def shading(
    normals: Float[Tensor, "*batch 3"], sh: Float[Tensor, "9 3"], floor: float = 0.12
) -> Float[Tensor, "*batch 3"]:
    """Irradiance over pi of each unit normal, never darker than about `floor` of the mean over all directions.

    Second order cannot follow a strong lamp's dark side, where it may be zero or below; real dark sides get light
    from the room. The floor is soft (a hyperbola), so that dividing by this has no kinks.
    """
    mean = (sh[0] / math.sqrt(4 * math.pi)).clamp_min(1e-6)
    relative = irradiance_basis(normals) @ sh / mean - floor
    # sqrt keeps values above twice the floor within a few per cent; below it they settle at the floor.
    soft = 0.5 * (relative + torch.sqrt(relative * relative + (0.5 * floor) ** 2))
    return (soft + floor) * mean


def fit_light(
    color_linear: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    albedo_linear: Float[Tensor, "N 3"],
    weights: Float[Tensor, "N"],
    prior: LightPrior | None = None,
    mean_irradiance: Float[Tensor, "3"] | None = None,
) -> Float[Tensor, "9 3"]:
    """Second-order light that explains colours of a surface of known albedo (the convention of `shading.Light.sh`).

    Robust ridge least squares in linear RGB (reweighted, Geman and McClure): each channel is a common luminance
    light plus a small deviation, so that the colour of the skin that the coarse albedo got wrong is not turned into
    coloured light. Directions in which the light would be darker than `LightPrior.darkest` are pulled up as an active
    set. mean_irradiance: what the zeroth order is expected to be (None: the median of colour over albedo).
    normals: unit, head frame. weights: 0 leaves a sample out.
    """
    prior = prior or LightPrior()
    used = (weights > 0) & (albedo_linear.amin(1) > 1e-4)
    if int(used.sum()) < 16:
        expected = color_linear.new_ones(3) if mean_irradiance is None else mean_irradiance
        return constant_light(expected)
    color, albedo = color_linear[used].double(), albedo_linear[used].double()
    basis, weight = irradiance_basis(normals[used].double()), weights[used].double()
    luma = torch.tensor(_LUMA, dtype=torch.float64, device=color.device)

    ratio = (color / albedo) @ luma
    level = _weighted_quantile(ratio, weight, 0.5).clamp_min(1e-4)
    if mean_irradiance is None:
        expected = torch.full_like(luma, float(level))
    else:
        expected = mean_irradiance.double()
    root = math.sqrt(4 * math.pi)
    # Unknowns: luminance light [9], then each channel's deviation from it [3 x 9].
    unit = level * root
    order = torch.tensor([0] + [1] * 3 + [2] * 5)
    sigma_common = torch.tensor([0.5, prior.order1, prior.order2], dtype=torch.float64)[order]
    sigma_chroma = torch.tensor([prior.chroma0, prior.chroma, prior.chroma], dtype=torch.float64)[order]
    sigma = torch.cat([sigma_common] + [sigma_chroma] * 3).to(color.device) * unit
    mean = torch.zeros(36, dtype=torch.float64, device=color.device)
    mean[0] = (expected @ luma) * root
    mean[9::9] = (expected - expected @ luma) * root
    probes = irradiance_basis(_PROBES.to(color))

    # Residuals relative to the expected picture, so that bright and dark skin count the same.
    scale = prior.noise * level * albedo + 0.01 * level
    sh = mean[:9, None] + mean[9:].reshape(3, 9).T
    pulled = torch.zeros(len(probes), 3, dtype=torch.bool, device=color.device)
    # From even light and with tails that shorten round by round: started with equal weights, hair over a whole
    # forehead would be explained by darkness from above before it could be told from skin.
    for tail in (12.0, 9.0, 6.0, 4.0, 4.0, 4.0):
        residual = (albedo * (basis @ sh) - color) / scale
        w = weight / (1 + residual.pow(2).mean(1) / tail) ** 2
        w = w[:, None].expand_as(color)
        w = w * (prior.effective_count / w.mean(1).sum().clamp_min(1e-9)) / (scale * scale)
        hessian = torch.diag(sigma**-2)
        gradient = mean * sigma**-2
        for c in range(3):
            rows = albedo[:, c, None] * basis
            normal_matrix = rows.T @ (rows * w[:, c, None])
            right = rows.T @ (w[:, c] * color[:, c])
            if bool(pulled[:, c].any()):
                dark = probes[pulled[:, c]]
                strength = (20.0 / level) ** 2
                normal_matrix = normal_matrix + strength * dark.T @ dark
                right = right + strength * dark.sum(0) * prior.darkest * level
            part = slice(9 + 9 * c, 18 + 9 * c)
            hessian[:9, :9] += normal_matrix
            hessian[:9, part] += normal_matrix
            hessian[part, :9] += normal_matrix
            hessian[part, part] += normal_matrix
            gradient[:9] += right
            gradient[part] += right
        state = torch.linalg.solve(hessian, gradient)
        sh = state[:9, None] + state[9:].reshape(3, 9).T
        pulled = pulled | (probes @ sh < prior.darkest * level)
    return sh.to(color_linear.dtype)


def _weighted_quantile(values: Tensor, weights: Tensor, q: float) -> Tensor:
    ordered, order = values.sort()
    cumulative = weights[order].cumsum(0)
    index = torch.searchsorted(cumulative, q * cumulative[-1]).clamp_max(len(values) - 1)
    return ordered[index]


@dataclass(frozen=True)
class TonePalette:
    """The locus of skin colours: melanin ``[M]`` and haemoglobin ``[H]`` values, colors_linear ``[M, H, 3]`` albedo."""

    melanin: Float[Tensor, "M"]
    haemoglobin: Float[Tensor, "H"]
    colors_linear: Float[Tensor, "M H 3"]


@dataclass(frozen=True)
class Tone:
    """A person's skin tone and the light's level and colour that go with it.

    melanin, haemoglobin: place on the palette. exposure: mean irradiance over pi on the face, 1 means that a white
    wall there would just reach white. cast: ``[3]`` the light's colour, luminance 1. uncertainty: standard deviation
    of melanin under the priors.
    """

    melanin: float
    haemoglobin: float
    exposure: float
    cast: Float[Tensor, "3"]
    uncertainty: float


@dataclass(frozen=True)
class TonePrior:
    """What exposures and casts photos have, in natural-log units.

    How bright a face comes out is set by automatic exposure, which sees face and scene together: it follows the
    *scene* mostly and the face partly, so that dark faces are photographed brighter than their albedo and light
    faces darker. ``log exposure ~ N(level - compensation (log albedo - log 0.30), exposure^2)`` with the luminance
    albedo. A middle skin of albedo 0.30 under exposure 1.1 is displayed at 0.61 sRGB, as portrait practice has it (a
    stop over middle grey); with compensation 0.3 skin of 0.08 is displayed at 0.41 and of 0.50 at 0.71.
    warmth: spread of half of ``log R - log B`` of the light after the camera's white balance, indoor light being
    left slightly warm (mean 0.04). tint: spread of ``log G - (log R + log B) / 2``.
    melanin_spread: of melanin around the palette's middle, in units of its range: nearly flat, so that neither light
    nor dark skin is favoured; haemoglobin_spread likewise, tighter, since colour is what the cast confounds it with.
    reference_exposure, reference_warmth, reference_tint: errors of the reference light. tails: degrees of freedom of
    Student's t that all of these follow instead of a Gaussian: photos that break one of the rules are not rare.
    """

    level: float = math.log(1.10)
    compensation: float = 0.30
    exposure: float = 0.35
    warmth: float = 0.10
    warmth_mean: float = 0.04
    tint: float = 0.04
    melanin_spread: float = 0.6
    haemoglobin_spread: float = 0.22
    reference_exposure: float = 0.45
    reference_warmth: float = 0.12
    reference_tint: float = 0.06
    tails: float = 4.0


def fit_tone(
    color_linear: Float[Tensor, "N 3"],
    weights: Float[Tensor, "N"],
    palette: TonePalette,
    reference_light: Float[Tensor, "3"] | None = None,
    prior: TonePrior | None = None,
) -> Tone:
    """Skin tone, exposure and colour cast from observed skin colours, by posterior mean over the palette.

    reference_light: irradiance over pi as something of known colour in the photo shows it (the whites of the eyes),
    where there is such a thing. color_linear: skin seen in the photo, with the light's variation over directions
    already divided out or small.
    Their robust mean is one colour of three numbers; tone, exposure and cast are five, and `TonePrior` decides the
    rest. The mean over the posterior, not its peak: between equally good explanations it takes the middle.
    """
    prior = prior or TonePrior()
    log_color = color_linear.double().clamp_min(1e-4).log()
    used = weights.double()
    if float(used.sum()) <= 0:
        raise ValueError("A skin tone needs at least one sample of positive weight.")
    # Median, then a Cauchy mean around it: brows, lips and shadows that got in stay out.
    centre = torch.stack([_weighted_quantile(log_color[:, c], used, 0.5) for c in range(3)])
    for _ in range(5):
        distance = ((log_color - centre) / 0.25).pow(2).sum(1)
        w = used / (1 + distance)
        centre = (w[:, None] * log_color).sum(0) / w.sum()

    luma = torch.tensor(_LUMA, dtype=torch.float64, device=centre.device)
    albedo = palette.colors_linear.double().clamp_min(1e-5)
    light = centre - albedo.log()  # [M, H, 3] log light that each tone would need
    log_exposure = torch.log(light.exp() @ luma)
    warmth = 0.5 * (light[..., 0] - light[..., 2])
    tint = light[..., 1] - 0.5 * (light[..., 0] + light[..., 2])
    expected = prior.level - prior.compensation * (torch.log(albedo @ luma) - math.log(0.30))
    melanin, haemoglobin = palette.melanin.double(), palette.haemoglobin.double()

    def normalised(values: Tensor) -> Tensor:
        low, high = values.min(), values.max()
        return (values - (low + high) / 2) / (high - low).clamp_min(1e-9)

    def surprise(deviation: Tensor) -> Tensor:
        return (prior.tails + 1) * torch.log1p(deviation**2 / prior.tails)

    energy = (
        surprise((log_exposure - expected) / prior.exposure)
        + surprise((warmth - prior.warmth_mean) / prior.warmth)
        + surprise(tint / prior.tint)
        + (normalised(melanin)[:, None] / prior.melanin_spread) ** 2
        + (normalised(haemoglobin)[None] / prior.haemoglobin_spread) ** 2
    )
    if reference_light is not None:
        reference = reference_light.double().clamp_min(1e-4)
        r, g, b = reference.log()
        energy = (
            energy
            + surprise((log_exposure - torch.log(reference @ luma)) / prior.reference_exposure)
            + surprise((warmth - 0.5 * (r - b)) / prior.reference_warmth)
            + surprise((tint - (g - 0.5 * (r + b))) / prior.reference_tint)
        )
    posterior = torch.softmax(-0.5 * energy.flatten(), 0).reshape(energy.shape)
    m = float((posterior.sum(1) * melanin).sum())
    h = float((posterior.sum(0) * haemoglobin).sum())
    spread = float((posterior.sum(1) * (melanin - m) ** 2).sum().sqrt())
    total = (posterior[..., None] * light).sum((0, 1)).exp()
    exposure = float(total @ luma)
    return Tone(m, h, exposure, (total / exposure).to(color_linear.dtype), spread)
