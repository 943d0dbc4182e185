"""What a head is made of: the texture maps that belong to its parts, and painters for all but the skin.

Eyes, mouth and lashes are painted from a few numbers and a seed: what little a photo shows of them
(an iris colour) goes in as a number. The layouts belong to recipes/build_head.py.
"""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int16, UInt8
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from core.color import linear_to_srgb


@dataclass(frozen=True)
class Materials:
    """The maps of one head, as 8-bit images ``[C, H, W]`` (row 0 is the top, v = 1), sRGB where they are colours.

    skin_albedo: ``[3, U, U]`` diffuse colour without light. skin_photo: the same map with the
    photo's own light left in, None where no photo was used. skin_roughness: ``[1, U, U]`` linear.
    eye_albedo: ``[3, E, E]`` shared by both eyeballs. mouth_albedo: ``[3, M, M]`` cavity, gums, teeth, tongue.
    lash_albedo: ``[4, L, L]`` with alpha.

    How the skin takes light (AvatarMe++'s maps), each None where it is not known. skin_normal: ``[3, U, U]``
    tangent-space normals of the surface, which reflections follow. skin_diffuse_normal: those that light from below
    the surface follows, where scattering has smoothed the fine relief away. skin_specular: ``[1, U, U]`` specular
    albedo, linear, 255 for a reflectance of `SPECULAR_F0` at normal incidence (bare skin: about 89).
    skin_translucency: ``[1, U, U]`` 0..1, how far light spreads below the surface; 0.5 is a cheek's, 1 an ear's.
    skin_occlusion: ``[1, U, U]`` the share of even surroundings that reaches the relaxed face.

    How it is shaped beyond the mesh. skin_displacement: ``[1, U, U]`` micrometres along the normal. skin_wrinkles:
    ``[2, U, U]`` micrometres that expressions add at their fullest, in two layers of lines that cross each other
    (`core.key_expressions`).
    """

    skin_albedo: UInt8[Tensor, "3 U U"]
    skin_roughness: UInt8[Tensor, "1 R R"]
    eye_albedo: UInt8[Tensor, "3 E E"]
    mouth_albedo: UInt8[Tensor, "3 M M"]
    lash_albedo: UInt8[Tensor, "4 L L"]
    skin_photo: UInt8[Tensor, "3 U U"] | None = None
    skin_normal: UInt8[Tensor, "3 N N"] | None = None
    skin_diffuse_normal: UInt8[Tensor, "3 N N"] | None = None
    skin_specular: UInt8[Tensor, "1 S S"] | None = None
    skin_translucency: UInt8[Tensor, "1 T T"] | None = None
    skin_occlusion: UInt8[Tensor, "1 O O"] | None = None
    skin_displacement: Int16[Tensor, "1 D D"] | None = None
    skin_wrinkles: Int16[Tensor, "2 W W"] | None = None


SPECULAR_F0 = 0.08  # reflectance at normal incidence where `Materials.skin_specular` is full
SKIN_F0 = 0.028  # of bare skin, refractive index 1.4
DISPLACEMENT_UNIT_M = 1e-6  # of `Materials.skin_displacement` and `skin_wrinkles`


# ---------------------------------------------------------------------------------------------- eyes

EYEBALL_RADIUS_M = 0.0164  # of the bundled head's eyeballs: MakeHuman's are larger than life (12 mm)
# Visible iris diameter of adults: 11.7 mm, spread 0.5 (Rüfer, Schröder and Erb 2005).
IRIS_DIAMETER_M = 0.0117
# The front 60 degrees of the eyeball fill a radius of 0.4 of the map.
IRIS_RADIUS_UV = 0.4 * math.asin(IRIS_DIAMETER_M / 2 / EYEBALL_RADIUS_M) / (math.pi / 3)

# Mean iris colours, linear RGB, as they appear under neutral light.
IRIS_COLOURS: dict[str, tuple[float, float, float]] = {
    "dark brown": (0.040, 0.018, 0.009),
    "brown": (0.105, 0.047, 0.020),
    "amber": (0.240, 0.120, 0.035),
    "hazel": (0.175, 0.125, 0.048),
    "green": (0.150, 0.175, 0.080),
    "blue": (0.140, 0.215, 0.300),
    "grey": (0.215, 0.240, 0.255),
}


def iris_radius_uv(eyeball_radius_m: float, iris_diameter_m: float = IRIS_DIAMETER_M) -> float:
    """Radius of the iris on the eye's map for an eyeball of this size: irises hardly vary, eyeballs of heads do."""
    return 0.4 * math.asin(min(iris_diameter_m / 2 / eyeball_radius_m, 0.9)) / (math.pi / 3)


def paint_eye(
    iris: str | tuple[float, float, float] = "brown",
    size: int = 512,
    seed: int = 0,
    pupil_diameter_m: float = 0.0038,
    iris_radius_uv: float = IRIS_RADIUS_UV,
) -> UInt8[Tensor, "3 {size} {size}"]:
    """The map of an eyeball, sRGB: sclera with veins, limbus, iris with fibres and collarette, pupil.

    iris: a name of `IRIS_COLOURS` or the mean linear RGB of the iris. The gaze axis is the map's
    centre, up is up, right is away from the nose. A little of the lids' shade is painted in, since
    no light of ours casts it. iris_radius_uv: `iris_radius_uv` of the head that wears it. Raises
    KeyError for a colour without a name here.
    """
    colour = np.array(IRIS_COLOURS[iris] if isinstance(iris, str) else iris, np.float64)
    white, shade, rng = _eyeball(size, seed, iris_radius_uv)
    rng = copy.deepcopy(rng)
    x, y = _eye_plane(size)
    eye, texel = white.copy(), 1 / size / iris_radius_uv
    reach = math.ceil(1.1 * iris_radius_uv * size)
    front = (slice(max(size // 2 - reach, 0), size // 2 + reach),) * 2
    t, angle = np.hypot(x[front], y[front]) / iris_radius_uv, (np.arctan2(y[front], x[front]) / (2 * np.pi)) % 1.0
    iris_map = _iris(rng, colour, t, angle, pupil_diameter_m / IRIS_DIAMETER_M, texel)
    eye[front] = _mix(iris_map, eye[front], _step(0.94, 1.07, t))
    eye *= shade
    return _encode(eye)


def _eye_plane(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(axis, -axis)
    return x, y


@functools.lru_cache(maxsize=2)
def _eyeball(size: int, seed: int, iris_radius_uv: float) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """What eyes of all colours share: the white and its veins ``[S, S, 3]``, the shade of the lids ``[S, S, 1]``, and
    the random numbers that are left for the iris. Read-only."""
    rng = np.random.default_rng(seed)
    x, y = _eye_plane(size)
    radius = np.hypot(x, y)
    t = radius / iris_radius_uv

    # Sclera: warm white, yellower far out, pink towards the corners.
    corner = _step(0.12, 0.34, np.abs(x)) * np.exp(-((y / 0.16) ** 2))
    sclera = np.array([0.56, 0.515, 0.475]) * (1 + 0.05 * _noise(rng, size, 8)[..., None])
    sclera = _mix(sclera, np.array([0.60, 0.42, 0.36]), 0.45 * corner + 0.25 * _step(0.3, 0.42, radius))
    nasal = np.exp(-(((x + 0.33) / 0.07) ** 2) - (y / 0.08) ** 2)
    sclera = _mix(sclera, np.array([0.46, 0.19, 0.16]), 0.6 * nasal)
    veins = _veins(rng, size)
    sclera = _mix(sclera, np.array([0.46, 0.10, 0.08]), 0.55 * veins * _step(1.15, 1.9, t))

    # The limbus is no sharp border: the sclera grows over the cornea's edge within a millimetre.
    white = sclera * (1 - 0.35 * np.exp(-(((t - 1) / 0.12) ** 2)))[..., None]
    lids = 1 - 0.55 * _step(0.0, 0.15, y) - 0.28 * _step(0.08, 0.20, -y) - 0.45 * _step(0.15, 0.34, np.abs(x))
    return white, np.clip(lids, 0.2, 1)[..., None], rng


def _iris(
    rng: np.random.Generator, colour: np.ndarray, t: np.ndarray, angle: np.ndarray, pupil: float, texel: float
) -> np.ndarray:
    """Iris and pupil, linear ``[..., 3]``. t: radius over the iris radius; angle: 0..1 round the circle."""
    # Fibres run from the pupil to the limbus and waver a little; the collarette is a jagged ring at about 0.42.
    waver = angle + 0.004 * _ring_noise(rng, 23, angle, t * 3)
    fine, broad = _ring_noise(rng, 150, waver, t * 2), _ring_noise(rng, 46, waver, t * 1.4)
    fibres = 0.6 * fine + 0.55 * broad
    jag = 0.42 + 0.035 * _ring_noise(rng, 30, angle, t * 0) + 0.015 * _ring_noise(rng, 80, angle, t * 0)
    inner = _step(0.03, -0.03, t - jag)
    ridge = np.exp(-(((t - jag) / 0.045) ** 2))
    brightness = 1.0 + 0.62 * fibres + 0.45 * ridge - 0.18 * inner
    brightness *= 1 - 0.30 * np.clip(_ring_noise(rng, 9, angle, t * 2.5), 0, 1) * _step(0.45, 0.7, t)  # crypts
    # Light irides are warm inside the collarette, where pigment gathers; dark ones are warm all over.
    warm = colour * np.array([1.35, 0.95, 0.55])
    iris_map = _mix(np.broadcast_to(colour, (*t.shape, 3)), warm, 0.6 * inner + 0.15 * ridge)
    iris_map = iris_map * np.clip(brightness, 0.15, 2.4)[..., None]
    iris_map *= (1 - 0.80 * _step(0.74, 1.0, t + 0.02 * broad))[..., None]  # limbal ring
    pupil_edge = pupil * (1 + 0.015 * _ring_noise(rng, 12, angle, t * 0))
    iris_map *= (1 - 0.6 * np.exp(-(((t - pupil_edge) / 0.05) ** 2)))[..., None]
    soft = 0.025 + texel
    return _mix(iris_map, np.array([0.0025, 0.002, 0.002]), _step(pupil_edge + soft, pupil_edge - soft, t))


def _veins(rng: np.random.Generator, size: int) -> np.ndarray:
    """Strength 0..1 of thin branching vessels that wander from the far sclera towards the iris."""
    canvas = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(canvas)
    for _ in range(34):
        # Most vessels come from the corners of the eye, where they can be seen.
        heading = rng.choice([0.0, math.pi]) + rng.normal(0, 0.55)
        radius, walk = rng.uniform(0.30, 0.44), heading
        strength, end = rng.uniform(60, 190), rng.uniform(0.155, 0.25)
        previous = None
        while radius > end:
            place = ((0.5 + radius * math.cos(walk)) * size, (0.5 - radius * math.sin(walk)) * size)
            if previous is not None:
                draw.line([previous, place], fill=int(strength), width=1 if strength < 150 else 2)
            previous = place
            radius -= 0.006
            walk += rng.normal(0, 0.035)
            strength *= 0.965
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(size / 700)), np.float64) / 255


# ---------------------------------------------------------------------------------------------- mouth


@functools.lru_cache(maxsize=2)  # of one seed for everybody; whoever writes to a map copies it first
def paint_mouth(size: int = 512, seed: int = 0) -> UInt8[Tensor, "3 {size} {size}"]:
    """The map of cavity, tongue, teeth and gums, sRGB.

    Layout: the cavity is a disk in the lower left quarter, its rim behind the lips; the tongue fills the
    lower right quarter; two rows of 14 teeth above, upper jaw on top, each row with the teeth in its upper half
    (v towards the biting edge) and the gum in its lower half (v towards the teeth).
    """
    rng = np.random.default_rng(seed)
    half, quarter = size // 2, size // 4
    image = np.zeros((size, size, 3))

    axis = (np.arange(half) + 0.5) / half * 2 - 1
    x, y = np.meshgrid(axis, -axis)
    depth = _step(1.0, 0.25, np.hypot(x, y))
    cavity = _mix(np.full((half, half, 3), [0.20, 0.045, 0.040]), np.array([0.010, 0.002, 0.002]), depth)
    image[half:, :half] = cavity * (1 + 0.18 * _noise(rng, half, 10))[..., None]

    grain = 1 + 0.10 * _noise(rng, half, 6) + 0.16 * _noise(rng, half, 70)
    tongue = np.array([0.34, 0.105, 0.095]) * grain[..., None]
    papillae = _step(0.45, 0.9, _noise(rng, half, 90))
    image[half:, half:] = _mix(tongue, np.array([0.50, 0.23, 0.20]), 0.5 * papillae)

    u = (np.arange(size) + 0.5) / size * 14
    column = np.minimum(u.astype(int), 13)
    within = np.abs(u - column - 0.5) * 2  # 0 in the middle of a tooth, 1 in the gap
    v = 1 - (np.arange(quarter) + 0.5) / quarter
    for top, shade in ((0, 1.0), (quarter, 0.96)):
        crown, gum = np.clip((v - 0.5) / 0.48, 0, 1)[:, None], (v / 0.46)[:, None]
        tone = shade * (1 + 0.035 * rng.normal(size=14))[column] * (1 - 0.10 * np.abs(column - 6.5) / 6.5)
        # Ivory, yellower and darker at the neck where the enamel is thin, greyer and clearer at the edge. Brighter than
        # measured on teeth in the open: light that wanders through enamel and lips reaches them in the lips' shade.
        teeth = _mix(np.broadcast_to(np.array([0.68, 0.54, 0.38]), (quarter, size, 3)), np.array([0.90, 0.83, 0.70]),
                     _step(0.0, 0.55, crown) * np.ones_like(within))  # fmt: skip
        teeth = _mix(teeth, np.array([0.76, 0.72, 0.66]), 0.45 * _step(0.78, 1.0, crown) * np.ones_like(within))
        teeth = teeth * (tone * (1 - 0.55 * _step(0.66, 1.0, within)))[None, :, None]
        teeth *= (1 + 0.03 * _noise(rng, size, 40)[:quarter])[..., None]
        # The gum: pink, paler towards the teeth, with papillae between them.
        scallop = 0.5 + 0.5 * np.cos(np.pi * within)[None]
        pink = _mix(np.broadcast_to(np.array([0.34, 0.09, 0.085]), (quarter, size, 3)), np.array([0.47, 0.18, 0.165]),
                    _step(0.55, 1.0, gum) * (0.6 + 0.4 * scallop))  # fmt: skip
        pink = pink * (1 + 0.10 * _noise(rng, size, 30)[:quarter])[..., None]
        root = _step(0.12, 0.0, crown) * np.ones_like(within)  # what gum shines on the neck of the tooth
        row = np.where((v > 0.49)[:, None, None], _mix(teeth, pink, 0.65 * root), pink)
        image[top : top + quarter] = row
    return _encode(image)


# ---------------------------------------------------------------------------------------------- lashes

LASH_SRGB = (30, 21, 17)


@functools.lru_cache(maxsize=2)
def paint_lashes(
    size: int = 512, seed: int = 0, colour_srgb: tuple[int, int, int] = LASH_SRGB
) -> UInt8[Tensor, "4 {size} {size}"]:
    """Lash strands as RGBA: upper lid in the upper half, lower lid in the lower, roots at the bottom of each.

    Every texel has the lash colour, strand or not, so that no filter mixes in another. Strands are
    drawn three times as large and averaged, which gives them their tapering tips.
    """
    rng = np.random.default_rng(seed)
    fine = 3 * size
    canvas = Image.new("L", (fine, fine), 0)
    draw = ImageDraw.Draw(canvas)
    # Counts: about 100-150 upper and 75 lower lashes in two or three rows.
    for base, count, longest, width in ((0.5, 125, 0.44, 3.6), (0.0, 70, 0.30, 2.4)):
        for root in np.sort(rng.uniform(0.02, 0.98, count)):
            # Shorter towards the nose, longest two thirds of the way out; neighbours lean together in clumps.
            reach = longest * (0.42 + 0.58 * math.sin(math.pi * min(1, 0.22 + 0.62 * root))) * rng.uniform(0.65, 1.0)
            lean = 0.055 * (root - 0.38) + 0.010 * math.sin(root * 58) + rng.normal(0, 0.007)
            s = np.linspace(0, 1, 14)
            u = root + lean * s**1.6 * 2
            v = base + 0.012 + reach * s
            for k in range(len(s) - 1):
                thickness = width * size / 512 * 3 * 0.6 * (1 - 0.82 * s[k])
                points = [(u[k] * fine, (1 - v[k]) * fine), (u[k + 1] * fine, (1 - v[k + 1]) * fine)]
                draw.line(points, fill=255, width=max(1, round(thickness)))
        # A faint line of shade at the root, where the lashes stand densest.
        band = (np.arange(fine) + 0.5) / fine
        shade = 150 * np.exp(-(((1 - band - base) / 0.022) ** 2)) * (1.0 if base else 0.45)
        shade[(1 - band) < base] = 0
        strip = Image.fromarray(np.repeat(shade[:, None], fine, 1).astype(np.uint8))
        canvas.paste(255, (0, 0), strip)
        draw = ImageDraw.Draw(canvas)
    alpha = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.uint8)
    colour = np.broadcast_to(np.array(colour_srgb, np.uint8)[:, None, None], (3, size, size))
    return torch.from_numpy(np.concatenate([colour, alpha[None]]))


# ---------------------------------------------------------------------------------------------- painting


def _mix(a: np.ndarray, b: np.ndarray, share_of_b: np.ndarray) -> np.ndarray:
    """Blend of colours ``[..., 3]``; the share is clamped to 0..1."""
    share = np.clip(share_of_b, 0, 1)[..., None]
    return a * (1 - share) + b * share


def _step(zero: float | np.ndarray, one: float | np.ndarray, x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at `zero` to 1 at `one` (which may lie below `zero`)."""
    t = np.clip((x - zero) / (np.asarray(one) - zero), 0, 1)
    return t * t * (3 - 2 * t)


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise ``[size, size]``, about -1..1, with `cells` bumps a side."""
    grid = Image.fromarray(rng.uniform(-1, 1, (cells + 3, cells + 3)).astype(np.float32), "F")
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC), np.float64)


def _ring_noise(rng: np.random.Generator, count: int, angle: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Smooth noise about -1..1 with `count` values round the circle (angle 0..1) that drifts with `along` >= 0."""
    table = rng.uniform(-1, 1, (int(np.ceil(along.max())) + 2, count))
    a, b = (angle % 1.0) * count, along
    i, j = np.floor(a).astype(int), np.floor(b).astype(int)
    fa, fb = _step(0.0, 1.0, a - i), _step(0.0, 1.0, b - j)
    i, k = i % count, (i + 1) % count
    here, there = table[j, i] * (1 - fa) + table[j, k] * fa, table[j + 1, i] * (1 - fa) + table[j + 1, k] * fa
    return here * (1 - fb) + there * fb


def _encode(linear: np.ndarray) -> Tensor:
    """Linear ``[H, W, 3]`` to a uint8 sRGB image ``[3, H, W]``."""
    srgb = linear_to_srgb(torch.from_numpy(np.clip(linear, 0, 1)).float())
    return (srgb * 255).round().to(torch.uint8).permute(2, 0, 1).contiguous()
