"""Light and how surfaces return it: lamps, surroundings, and a skin of two layers. Linear light throughout.

A colour is what leaves below the surface (`diffuse_light` times the albedo) plus what is mirrored at it
(`specular_light`); `shade` adds the two with every map that is known. All of it is differentiable in light, normals,
places and maps; visibility and occlusion come from `core/occlusion.py` and have no gradient.

Light arrives from three kinds of source: surroundings, of second order (`Light.sh`) for diffuse light and blurred
pictures (`Light.reflections`, made by `core/environment.py`) for what is mirrored; distant lamps; lamps at a place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.camera import Camera
from core.materials import SKIN_F0

# ------------------------------------------------------------------------------------------------------ light

# Lambertian convolution of each order over pi: albedo times this times radiance is outgoing radiance
# (Ramamoorthi and Hanrahan 2001, eq. 8: A0 = pi, A1 = 2 pi / 3, A2 = pi / 4).
LAMBERT_OVER_PI = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5

# Directions that determine nine coefficients well: a Fibonacci sphere.
_SH_PROBES = torch.tensor(
    [
        [math.sqrt(1 - z * z) * math.cos(2.399963 * i), math.sqrt(1 - z * z) * math.sin(2.399963 * i), z]
        for i, z in enumerate((i + 0.5) / 16 - 1 for i in range(32))
    ]
)

POINT_REFERENCE_M = 1.0  # the distance at which `Light.point_colors` hold
NEAREST_POINT_M = 1e-3  # lamps nearer than this count as this far


@dataclass(frozen=True)
class Light:
    """Light in the head frame, linear RGB. A batch of 1 is shared by every image.

    sh: ``[B, 9, 3]`` coefficients of the surrounding radiance in `sh_basis`. directions: ``[B, D, 3]`` unit vectors
    towards D distant lamps (D may be 0). colors: ``[B, D, 3]`` the radiance of a white diffuse surface that faces that
    lamp (its irradiance over pi).

    The rest may be None. positions: ``[B, P, 3]`` metres, P lamps at a place. point_colors: ``[B, P, 3]`` as `colors`,
    at `POINT_REFERENCE_M` from the lamp, falling with the square of the distance. spreads: ``[B, D]`` angular radius of
    the distant lamps: it widens highlights and softens shadows. reflections: ``[B, 3, L, H, W]`` what surfaces mirror
    of the surroundings, as L pictures of all directions (`environment.prefiltered`) for roughness 0 to 1; without them
    the surroundings cast no highlight. turn: ``[B, 3, 3]`` rotation that takes the directions of these pictures into
    the head frame; None: they agree.
    """

    sh: Float[Tensor, "B 9 3"]
    directions: Float[Tensor, "B D 3"]
    colors: Float[Tensor, "B D 3"]
    positions: Float[Tensor, "B P 3"] | None = None
    point_colors: Float[Tensor, "B P 3"] | None = None
    spreads: Float[Tensor, "B D"] | None = None
    reflections: Float[Tensor, "B 3 L H W"] | None = None
    turn: Float[Tensor, "B 3 3"] | None = None

    def to(self, target: torch.device | str | torch.dtype) -> Light:
        """The same light on another device or in another precision."""
        return self._each(lambda tensor: tensor.to(target))

    def image(self, b: int) -> Light:
        """The light of image b alone, as a batch of one."""
        return self._each(lambda tensor: tensor[min(b, len(tensor) - 1)][None])

    def rotated(self, rotation: Float[Tensor, "#B 3 3"]) -> Light:
        """The light after the whole surroundings were turned by `rotation` (new direction = rotation @ old)."""
        probes = _SH_PROBES.to(self.sh)
        # Radiance seen along p after the turn is what came along rotation^-1 p before. Nine coefficients follow
        # exactly from that function's values at enough directions, since rotation keeps each order to itself.
        before = sh_basis(torch.einsum("bji,nj->bni", rotation, probes))
        sh = torch.linalg.pinv(sh_basis(probes)) @ (before @ self.sh)
        batch = max(rotation.shape[0], sh.shape[0])

        def turned(vectors: Tensor) -> Tensor:
            turned = torch.einsum("bij,bdj->bdi", rotation, vectors.expand(rotation.shape[0], -1, -1))
            return turned.expand(batch, -1, -1)

        turn = None
        if self.reflections is not None:
            turn = rotation if self.turn is None else rotation @ self.turn
            turn = turn.expand(batch, -1, -1)
        return replace(
            self._each(lambda tensor: tensor.expand(batch, *tensor.shape[1:])),
            sh=sh.expand(batch, -1, -1),
            directions=turned(self.directions),
            positions=None if self.positions is None else turned(self.positions),
            turn=turn,
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Light:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if value is not None})


def sh_basis(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Real spherical harmonics up to order 2 of unit vectors, orthonormal over the sphere.

    Order: 1; y, z, x; xy, yz, 3z^2 - 1, xz, x^2 - y^2 (l, m ascending; Ramamoorthi and Hanrahan 2001, eq. 3), with
    x, y, z in the head frame.
    """
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.5 / math.sqrt(math.pi)),
            math.sqrt(3 / (4 * math.pi)) * y,
            math.sqrt(3 / (4 * math.pi)) * z,
            math.sqrt(3 / (4 * math.pi)) * x,
            math.sqrt(15 / (4 * math.pi)) * x * y,
            math.sqrt(15 / (4 * math.pi)) * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
            math.sqrt(15 / (4 * math.pi)) * x * z,
            math.sqrt(15 / (16 * math.pi)) * (x * x - y * y),
        ],
        dim=-1,
    )


def irradiance_basis(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """`sh_basis` convolved with the clamped cosine, over pi: its product with `Light.sh` is the diffuse shading.

    Surroundings of constant radiance 1 (first coefficient sqrt(4 pi), others 0) give 1 for every normal.
    """
    basis = sh_basis(normals)
    return basis * torch.tensor(LAMBERT_OVER_PI, dtype=basis.dtype, device=basis.device)


def studio_light() -> Light:
    """A soft three-light studio in the head frame: key from the viewer's upper left, weak fill, rim from behind."""
    sh = torch.zeros(9, 3)
    sh[0] = torch.tensor([0.40, 0.41, 0.43]) * math.sqrt(4 * math.pi)  # even surroundings ...
    sh[1] = 0.13 * math.sqrt(4 * math.pi / 3)  # ... brighter above ...
    sh[2] = 0.08 * math.sqrt(4 * math.pi / 3)  # ... and in front
    directions = torch.tensor([[-0.55, 0.55, 0.75], [0.85, 0.10, 0.60], [0.55, 0.45, -0.85]])
    colors = torch.tensor([[0.62, 0.59, 0.55], [0.12, 0.13, 0.15], [0.30, 0.31, 0.33]])
    return Light(sh[None], functional.normalize(directions, dim=1)[None], colors[None])


def attach_to_camera(light: Light, camera: Camera) -> Light:
    """The light that stands to each camera as `light` stands to a camera on the +Z axis (frontal view)."""
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0])).to(camera.T_camera_head)  # OpenCV axes to the head's
    return light.rotated(camera.T_camera_head[:, :3, :3].transpose(1, 2) @ flip)


def _lamps(light: Light, points: Tensor | None, dims: int) -> Iterator[tuple[Tensor, Tensor, Tensor | float]]:
    """Unit direction, colour and spread of each lamp, distant ones first, to be broadcast over `dims` dimensions."""
    middle = (1,) * (dims - 2)
    for i in range(light.directions.shape[1]):
        spread = 0.0 if light.spreads is None else light.spreads[:, i].reshape(-1, *middle, 1)
        yield light.directions[:, i].reshape(-1, *middle, 3), light.colors[:, i].reshape(-1, *middle, 3), spread
    if light.positions is None or light.point_colors is None or not light.positions.shape[1]:
        return
    if points is None:
        raise ValueError("A lamp at a place needs `points`, the places of the surface in the head frame.")
    for i in range(light.positions.shape[1]):
        towards = light.positions[:, i].reshape(-1, *middle, 3) - points
        distance_sq = (towards * towards).sum(-1, keepdim=True).clamp_min(NEAREST_POINT_M**2)
        color = light.point_colors[:, i].reshape(-1, *middle, 3) * (POINT_REFERENCE_M**2 / distance_sq)
        yield towards * distance_sq.rsqrt(), color, 0.0


# ---------------------------------------------------------------------------------------------- below the surface

# How far beyond the terminator each colour of light still leaves skin of translucency 0.5: blood scatters red the
# furthest. The page's viewer has the same numbers (app/static/surfaces.js).
SCATTER = (0.22, 0.09, 0.06)


def scatter_wrap(translucency: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 3"]:
    """The `wrap` of `diffuse_light` of skin: 0 for none, `SCATTER` for 0.5, twice that for 1."""
    scatter = torch.tensor(SCATTER, dtype=translucency.dtype, device=translucency.device)
    return 2 * translucency * scatter


def diffuse_light(
    light: Light,
    normals: Float[Tensor, "B *pixels 3"],
    visibility: Float[Tensor, "B *pixels S"] | None = None,
    occlusion: Float[Tensor, "B *pixels 1"] | None = None,
    wrap: Float[Tensor, "B *pixels 3"] | None = None,
    points: Float[Tensor, "B *pixels 3"] | None = None,
) -> Float[Tensor, "B *pixels 3"]:
    """Radiance of a white diffuse surface: albedo times this is its colour.

    visibility: the share 0..1 of each lamp that arrives, distant lamps first, then those at a place
    (`occlusion.light_visibility`); None: no shadows. occlusion: the share of the surroundings that arrives
    (`occlusion.ambient_occlusion`). points: where the surface is, metres, for lamps at a place.
    Second-order light can be slightly negative opposite a strong source; it is clamped at 0.

    wrap: scattering below the surface, per channel (`scatter_wrap`): the cosine of a lamp becomes
    ``max(0, (cos + wrap) / (1 + wrap))`` (wrapped diffuse, Green 2004, "GPU Gems", chapter 16). A surface that faces
    the lamp stays as bright. The surroundings are convolved with the same lobe, scaled so that even ones stay
    even: Lambert's 1, 2/3, 1/4 become 1, (2 - wrap)/3, (1 - wrap)^2/4 (the lobe's zonal harmonics; Sloan et al. 2011,
    "Wrap shading"). 0 is Lambert.
    """
    flat = normals.flatten(1, -2)
    if wrap is None:
        shading = irradiance_basis(flat) @ light.sh
    else:
        wrap = wrap.flatten(1, -2)
        basis = sh_basis(flat)
        orders = [basis[..., part] @ light.sh[:, part] for part in (slice(0, 1), slice(1, 4), slice(4, 9))]
        shading = orders[0] + (2 - wrap) / 3 * orders[1] + (1 - wrap) ** 2 / 4 * orders[2]
    shading = shading.clamp_min(0.0)
    if occlusion is not None:
        shading = shading * occlusion.flatten(1, -2)
    arrives = None if visibility is None else visibility.flatten(1, -2)
    if wrap is None and light.positions is None:
        if light.directions.shape[1]:
            cosine = (flat @ light.directions.transpose(1, 2)).clamp_min(0.0)
            if arrives is not None:
                cosine = cosine * arrives
            shading = shading + cosine @ light.colors
        return shading.reshape(normals.shape)
    places = None if points is None else points.flatten(1, -2)
    for i, (direction, color, _) in enumerate(_lamps(light, places, flat.dim())):
        cosine = (flat * direction).sum(-1, keepdim=True)
        lit = cosine.clamp_min(0.0) if wrap is None else ((cosine + wrap) / (1 + wrap)).clamp_min(0.0)
        if arrives is not None:
            lit = lit * arrives[..., i, None]
        shading = shading + lit * color
    return shading.reshape(normals.shape)


# ------------------------------------------------------------------------------------------------- at the surface

SPECULAR_MODELS = ("ggx", "blinn-phong")
SMOOTHEST = 0.05  # lesser roughness counts as this: a lamp's mirror image would have no size


def shininess_of(roughness: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The exponent of Blinn and Phong whose highlight is as wide as that of a perceptual roughness: 2 / alpha^2 - 2
    (Walter et al. 2007, section 5.3, for Beckmann's and Phong's lobes)."""
    return 2 / roughness.clamp(SMOOTHEST, 1.0) ** 4 - 2


def roughness_of(shininess: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The perceptual roughness of an exponent: the inverse of `shininess_of`."""
    return (2 / (shininess.clamp_min(0.0) + 2)) ** 0.25


def specular_light(
    light: Light,
    normals: Float[Tensor, "B *pixels 3"],
    view: Float[Tensor, "B *pixels 3"],
    roughness: Float[Tensor, "B *pixels 1"],
    reflectance: float | Float[Tensor, "B *pixels c"] = SKIN_F0,
    visibility: Float[Tensor, "B *pixels S"] | None = None,
    occlusion: Float[Tensor, "B *pixels 1"] | None = None,
    points: Float[Tensor, "B *pixels 3"] | None = None,
    model: str = "ggx",
) -> Float[Tensor, "B *pixels 3"]:
    """What a surface mirrors of lamps and, where the light has `reflections`, of the surroundings.

    view: unit vectors towards the camera. roughness: perceptual, 0..1, its square is GGX's alpha (Burley 2012); values
    under `SMOOTHEST` count as that. reflectance: at normal incidence, of one channel or three; `SKIN_F0` is bare skin.
    visibility, occlusion, points: as in `diffuse_light`; of the surroundings a rough surface in a hollow loses the
    occlusion's share, a smooth one less (Lagarde and de Rousiers 2014, "Moving Frostbite to PBR", 4.10.2).

    model: "ggx", with Smith's height-correlated masking (Walter et al. 2007; Heitz 2014) and Schlick's Fresnel; or
    "blinn-phong", normalised, of the exponent `shininess_of` the roughness, with the same Fresnel (Akenine-Möller et
    al., "Real-time rendering": (s + 2) / (8 pi) cos^s). Raises ValueError for another.
    """
    if model not in SPECULAR_MODELS:
        raise ValueError(f"There is no specular model {model!r}; choose one of {', '.join(SPECULAR_MODELS)}.")
    result = torch.zeros_like(normals)
    smooth_sq = roughness.clamp(SMOOTHEST, 1.0) ** 4
    facing = (normals * view).sum(-1, keepdim=True).clamp_min(1e-4)
    for i, (direction, color, spread) in enumerate(_lamps(light, points, normals.dim())):
        half = view + direction
        half = half * (half * half).sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()
        cosine = (normals * direction).sum(-1, keepdim=True).clamp_min(0.0)
        half_cosine = (normals * half).sum(-1, keepdim=True).clamp_min(0.0)
        # A disc of angular radius s moves the half vector by at most s / 2: a variance of s^2 / 16 in each direction,
        # which adds to the lobe's, alpha^2 / 2.
        alpha_sq = (smooth_sq + spread * spread / 8).clamp_max(1.0) if isinstance(spread, Tensor) else smooth_sq
        if model == "ggx":
            distribution = alpha_sq / (math.pi * (half_cosine**2 * (alpha_sq - 1) + 1) ** 2)
            # Smith's masking and shadowing, with the 4 cos cos of the microfacet model cancelled (height-correlated,
            # Heitz 2014).
            shadowing = 0.5 / (
                cosine * torch.sqrt(facing**2 * (1 - alpha_sq) + alpha_sq)
                + facing * torch.sqrt(cosine**2 * (1 - alpha_sq) + alpha_sq)
            )
        else:
            shininess = 2 / alpha_sq - 2
            distribution = (shininess + 2) / (2 * math.pi) * half_cosine.clamp_min(1e-12) ** shininess
            shadowing = 0.25
        fresnel = reflectance + (1 - reflectance) * (1 - (view * half).sum(-1, keepdim=True).clamp(0, 1)) ** 5
        if visibility is not None:
            color = color * visibility[..., i, None]
        result = result + math.pi * distribution * shadowing * fresnel * cosine * color
    if light.reflections is None:
        return result
    mirrored = 2 * (normals * view).sum(-1, keepdim=True) * normals - view
    around = radiance_of(light, mirrored, roughness) * environment_reflectance(reflectance, roughness, facing)
    if occlusion is not None:
        sharper = torch.exp2(-16 * roughness - 1)
        around = around * ((facing + occlusion).clamp_min(1e-4) ** sharper - 1 + occlusion).clamp(0, 1)
    return result + around


def environment_reflectance(
    reflectance: float | Float[Tensor, "*batch c"],
    roughness: Float[Tensor, "*batch 1"],
    facing: Float[Tensor, "*batch 1"],
) -> Float[Tensor, "*batch c"]:
    """The share of even surroundings that GGX mirrors: the second factor of the split sum (Karis 2013, "Real shading
    in Unreal Engine 4"), by the analytic fit of Karis 2014, "Physically based shading on mobile".

    facing: cosine between normal and view.
    """
    r0, r1, r2, r3 = 1 - roughness, 0.0425 - 0.0275 * roughness, 1.04 - 0.572 * roughness, 0.022 * roughness - 0.04
    bend = torch.minimum(r0 * r0, torch.exp2(-9.28 * facing)) * r0 + r1
    return reflectance * (r2 - 1.04 * bend) + (1.04 * bend + r3)


def radiance_of(
    light: Light, directions: Float[Tensor, "B *pixels 3"], roughness: Float[Tensor, "B *pixels 1"]
) -> Float[Tensor, "B *pixels 3"]:
    """What `Light.reflections` hold along directions (of any length), blurred as for a roughness; between pictures and
    texels linear. The pictures' layout is that of `environment.directions_of`."""
    pictures = light.reflections
    if pictures is None:
        raise ValueError("The light has no reflections; make them with environment.environment_light.")
    batch, _, levels, height, width = pictures.shape
    flat, rough = directions.flatten(1, -2), roughness.flatten(1, -2)
    if light.turn is not None:
        flat = torch.einsum("bij,bni->bnj", light.turn.expand(len(flat), -1, -1), flat)
    x, y, z = flat.unbind(-1)
    length = (flat * flat).sum(-1).clamp_min(1e-24).sqrt()
    # Straight up and down have no longitude, and the angle from the pole no derivative.
    pole = x * x + z * z < 1e-20
    longitude = torch.atan2(torch.where(pole, torch.zeros_like(x), x), torch.where(pole, torch.ones_like(z), z))
    column = (0.5 - longitude / (2 * math.pi)) * width
    row = torch.acos((y / length).clamp(-1 + 1e-7, 1 - 1e-7)) / math.pi * height
    level = rough[..., 0].clamp(0, 1) * (levels - 1)
    grid = torch.stack(
        [2 * (column + 1) / (width + 2) - 1, 2 * row / height - 1, 2 * (level + 0.5) / levels - 1], dim=-1
    )
    # The first and the last column are neighbours.
    around = torch.cat([pictures[..., -1:], pictures, pictures[..., :1]], dim=-1)
    if batch == 1:
        grid = grid.flatten(0, 1)[None]
    found = functional.grid_sample(around, grid[:, None, None], padding_mode="border", align_corners=False)
    return found[:, :, 0, 0].transpose(1, 2).reshape(directions.shape)


# ------------------------------------------------------------------------------------------------------ together


@dataclass(frozen=True)
class Surface:
    """What the pixels of pictures see, linear.

    albedo: diffuse. normals: unit, followed by what is mirrored. view: unit vectors towards the camera. roughness and
    reflectance as in `specular_light`. The rest may be None. diffuse_normals: followed by the light from below the
    surface, where scattering has smoothed the relief away; None: `normals`. translucency: 0..1, `scatter_wrap` of it.
    occlusion: the share of the surroundings that arrives. points: where it is, metres, for lamps at a place.
    """

    albedo: Float[Tensor, "B *pixels 3"]
    normals: Float[Tensor, "B *pixels 3"]
    view: Float[Tensor, "B *pixels 3"]
    roughness: Float[Tensor, "B *pixels 1"]
    reflectance: float | Float[Tensor, "B *pixels c"] = SKIN_F0
    diffuse_normals: Float[Tensor, "B *pixels 3"] | None = None
    translucency: Float[Tensor, "B *pixels 1"] | None = None
    occlusion: Float[Tensor, "B *pixels 1"] | None = None
    points: Float[Tensor, "B *pixels 3"] | None = None


def shade(
    light: Light, surface: Surface, visibility: Float[Tensor, "B *pixels S"] | None = None, model: str = "ggx"
) -> Float[Tensor, "B *pixels 3"]:
    """The colour of a surface: its albedo times `light_below`, and `light_above`."""
    return surface.albedo * light_below(light, surface, visibility) + light_above(light, surface, visibility, model)


def light_below(
    light: Light, surface: Surface, visibility: Float[Tensor, "B *pixels S"] | None = None
) -> Float[Tensor, "B *pixels 3"]:
    """`diffuse_light` of a surface: what leaves it after having been below, were it white."""
    normals = surface.normals if surface.diffuse_normals is None else surface.diffuse_normals
    wrap = None if surface.translucency is None else scatter_wrap(surface.translucency)
    return diffuse_light(light, normals, visibility, surface.occlusion, wrap, surface.points)


def light_above(
    light: Light, surface: Surface, visibility: Float[Tensor, "B *pixels S"] | None = None, model: str = "ggx"
) -> Float[Tensor, "B *pixels 3"]:
    """`specular_light` of a surface."""
    return specular_light(
        light,
        surface.normals,
        surface.view,
        surface.roughness,
        surface.reflectance,
        visibility,
        surface.occlusion,
        surface.points,
        model,
    )


def bend_normals(
    normals: Float[Tensor, "N 3"],
    along_u: Float[Tensor, "N 3"],
    along_v: Float[Tensor, "N 3"],
    tangent_space: Float[Tensor, "N 3"],
) -> Float[Tensor, "N 3"]:
    """Unit normals of a surface that carries a normal map in glTF's convention.

    normals: unit, of the surface without it. along_u, along_v: directions of rising texture coordinates
    (`core.mesh.texture_gradients`), of any length. tangent_space: what the map says, x along rising u, y along rising
    v, z outwards, of any length. The frame is that of `synthesis.relief.normal_map`: the tangent upright on the normal,
    the bitangent their cross product, on the side of rising v. Where the map has no directions the normal stays.
    """
    tangent = along_u - (along_u * normals).sum(-1, keepdim=True) * normals
    tangent = functional.normalize(tangent, dim=-1, eps=1e-12)
    bitangent = torch.linalg.cross(normals, tangent)
    bitangent = torch.where((bitangent * along_v).sum(-1, keepdim=True) < 0, -bitangent, bitangent)
    x, y, z = tangent_space.unsqueeze(-1).unbind(-2)
    return functional.normalize(x * tangent + y * bitangent + z * normals, dim=-1, eps=1e-12)
