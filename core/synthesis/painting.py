"""A skin from a dozen numbers: tone by pigment, features from the mean of CC0 skins, pores and hairs drawn.

Tone follows the Beer-Lambert picture of skin colour (Tsumura, Haneishi and Miyake 1999): the logarithm of
linear albedo falls linearly with melanin and with haemoglobin. Their directions in RGB come from the pigments'
absorption (Jacques 2013, "Optical properties of biological tissues"; Prahl's haemoglobin table), see
`skin_tone`. What lies over the tone - lips, sockets, redness - is the left-right symmetric mean of MakeHuman's
CC0 skins (recipes/makehuman_skins.py), light and dark ones apart, with their principal deviations.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, positions
from core.checkpoints import read_safetensors, weights_path
from core.color import linear_to_srgb, srgb_to_linear
from core.head import HeadModel, SameHead
from core.materials import Materials, paint_eye, paint_lashes, paint_mouth

# Log albedo of skin without melanin and with the least blood, and what each pigment takes from it at 1, per
# channel (R, G, B). Melanin absorbs as wavelength^-3.33 (Jacques 2013): 0.71 : 1 : 1.75 at the primaries' 610,
# 550 and 465 nm; the blue primary is broad and light that misses the melanosomes fills its shadow, so measured
# skins fall less in blue. Haemoglobin at 75 % saturation: 0.07 : 1 : 0.82 (Prahl); red light travels farther in
# the dermis, which raises its share.
BLOODLESS_LOG = (-0.20, -0.53, -0.81)
MELANIN_LOG = (2.10, 2.72, 3.25)
HAEMOGLOBIN_LOG = (0.065, 0.32, 0.25)
SURFACE_ALBEDO = 0.008  # light that leaves the skin before it meets any pigment


def skin_tone(melanin: float, haemoglobin: float) -> Float[Tensor, "3"]:
    """Linear albedo of a patch of skin. Both run 0..1; with melanin the typology angle falls from 60 to -55 degrees."""
    bloodless, by_melanin, by_blood = (torch.tensor(v) for v in (BLOODLESS_LOG, MELANIN_LOG, HAEMOGLOBIN_LOG))
    log = bloodless - melanin * by_melanin - haemoglobin * by_blood
    return SURFACE_ALBEDO + (1 - SURFACE_ALBEDO) * log.exp()


@dataclass(frozen=True)
class SkinLook:
    """What a painted skin looks like; every number but the seed is 0..1 unless it says otherwise.

    melanin, haemoglobin: overall pigment. brow_colour: sRGB 0..1. brow_density: 0 none, 1 bushy.
    lip_redness: 0.5 as in the mean skin. freckles: how many. stubble: shaved beard. scalp_hair:
    shaved hair. mottling: blotches of uneven pigment, pores: depth of pores. variation: strength of the
    random departure from the mean skin. seed: draws hairs, freckles and the departure.
    """

    melanin: float = 0.25
    haemoglobin: float = 0.45
    seed: int = 0
    brow_colour: tuple[float, float, float] = (0.16, 0.11, 0.08)
    brow_density: float = 0.6
    lip_redness: float = 0.5
    freckles: float = 0.0
    stubble: float = 0.0
    scalp_hair: float = 0.35
    mottling: float = 0.5
    pores: float = 0.5
    variation: float = 0.6


def random_look(seed: int) -> SkinLook:
    """A plausible look: hair darkens with skin, freckles go with fair skin, half the heads have a beard's shadow."""
    rng = np.random.default_rng(seed)
    melanin = float(rng.beta(1.1, 1.6))
    hair = np.array([[0.10, 0.07, 0.055], [0.18, 0.12, 0.08], [0.30, 0.21, 0.13], [0.38, 0.20, 0.10]])
    chances = np.array([0.4, 0.35, 0.18, 0.07]) if melanin < 0.35 else np.array([0.92, 0.08, 0.0, 0.0])
    colour = hair[rng.choice(4, p=chances)] * rng.uniform(0.85, 1.15)
    return SkinLook(
        melanin=melanin,
        haemoglobin=float(rng.uniform(0.2, 0.75)),
        seed=seed,
        brow_colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        brow_density=float(rng.uniform(0.4, 0.85)),
        lip_redness=float(rng.uniform(0.3, 0.7)),
        freckles=float(max(0.0, rng.normal(0, 0.35))) if melanin < 0.3 else 0.0,
        stubble=float(max(0.0, rng.uniform(-0.7, 0.7))),
        scalp_hair=float(rng.uniform(0.1, 0.6)),
        mottling=float(rng.uniform(0.3, 0.7)),
        pores=float(rng.uniform(0.3, 0.7)),
    )


def paint_skin(head: HeadModel, look: SkinLook | None = None, size: int = 1024) -> UInt8[Tensor, "3 {size} {size}"]:
    """An albedo map, sRGB. Same look, head model and size: same bytes.

    The bundled head gets all features. Another model's atlas and anatomy are not known here: it gets tone,
    mottling and pores, and what its "mediapipe" landmarks, if it has them, place (brows, lips, beard).
    """
    look = look or SkinLook()
    fields = skin_fields(head, size)
    rng = np.random.default_rng(look.seed)

    dark = min(max((look.melanin - 0.25) / 0.5, 0.0), 1.0)
    log = torch.lerp(fields.light, fields.dark, dark)
    scores = torch.from_numpy(rng.normal(size=len(fields.components))).float() * look.variation
    if look.variation:
        coarse = torch.einsum("k,kcyx->cyx", scores.clamp(-1.6, 1.6), fields.components)
        log = log + enlarge(coarse, size)

    # Noise: blotches of blood and melanin, then pores, each along its own pigment.
    melanin, haemoglobin = (torch.tensor(v)[:, None, None] for v in (MELANIN_LOG, HAEMOGLOBIN_LOG))
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], 2)).float()
    blotches = look.mottling * (0.20 * sign[0] * fields.mottle + 0.16 * fields.fine)
    log = log - haemoglobin * blotches - melanin * (0.016 * sign[1] * look.mottling * fields.patches)
    log = log - (0.09 * look.pores) * fields.pores
    if look.freckles > 0:
        log = log - melanin * (0.16 * (1 - 0.7 * look.melanin) * fields.draw_freckles(rng, look.freckles))

    # Lips: blood shows through the thin epithelium.
    lips = fields.lips * (1 - 0.35 * look.melanin)
    log = log - haemoglobin * (2.2 * (look.lip_redness - 0.5)) * lips

    tone = skin_tone(look.melanin, look.haemoglobin)
    albedo = tone[:, None, None] * log.exp()

    hair = srgb_to_linear(torch.tensor(look.brow_colour))[:, None, None]
    # Cut hair darkens the skin by the roots that shine through, which look bluish grey in light skin.
    shadow = 0.6 * hair + 0.4 * tone[:, None, None] * torch.tensor([0.42, 0.47, 0.55])[:, None, None]
    cover = look.scalp_hair * fields.scalp * (0.62 + 0.5 * fields.stubble)
    cover = torch.maximum(cover, look.stubble * fields.beard * (0.55 + 0.32 * fields.stubble))
    albedo = torch.lerp(albedo, shadow.expand_as(albedo), cover.clamp(0, 0.92))
    if fields.brows and look.brow_density > 0:
        strokes = fields.draw_brows(rng, look.brow_density)
        albedo = torch.lerp(albedo, hair.expand_as(albedo), strokes)
    return (linear_to_srgb(albedo).clamp(0, 1) * 255).round().to(torch.uint8)


def paint_roughness(head: HeadModel, size: int = 512) -> UInt8[Tensor, "1 {size} {size}"]:
    """Perceptual roughness of skin: moist lips, an oily nose and forehead, matt elsewhere, broken up by pores."""
    fields = skin_fields(head, size)
    roughness = 0.56 - 0.16 * fields.lips - 0.09 * fields.oily + 0.05 * fields.pores + 0.02 * fields.fine
    return (roughness.clamp(0.2, 0.9) * 255).round().to(torch.uint8)[None]


def paint_materials(
    head: HeadModel,
    look: SkinLook | None = None,
    iris: str | tuple[float, float, float] = "brown",
    size: int = 1024,
) -> Materials:
    """Everything a head without a photo needs."""
    look = look or SkinLook()
    return Materials(
        skin_albedo=paint_skin(head, look, size),
        skin_roughness=paint_roughness(head, size // 2),
        eye_albedo=paint_eye(iris, seed=look.seed),
        mouth_albedo=paint_mouth(),
        lash_albedo=paint_lashes(seed=look.seed),
    )


# ---------------------------------------------------------------------------------------------- the head's own fields

# MediaPipe's face mesh indices: the lips' outer contour in order, and per brow the lower and upper edge from the
# nose outwards.
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
BROWS = (((55, 65, 52, 53, 46), (107, 66, 105, 63, 70)), ((285, 295, 282, 283, 276), (336, 296, 334, 293, 300)))


@dataclass(frozen=True)
class SkinFields:
    """What depends on the head and the size only; maps are ``[size, size]`` or ``[3, size, size]``."""

    size: int
    light: Tensor
    dark: Tensor
    components: Tensor  # [K, 3, h, w], coarse
    scalp: Tensor
    lips: Tensor
    beard: Tensor
    oily: Tensor
    freckled: Tensor
    mottle: Tensor  # noise of unit spread: 12 mm ...
    patches: Tensor  # ... 30 mm ...
    fine: Tensor  # ... 2.5 mm ...
    pores: Tensor  # ... pits of 0.6 mm, 0..1 ...
    stubble: Tensor  # ... ends of cut hairs, 0.45 mm, -1..1
    texels_per_mm: float
    brows: tuple[np.ndarray, ...]  # [2, 5, 2] lower and upper edge from the nose outwards, atlas coordinates

    def draw_brows(self, rng: np.random.Generator, density: float) -> Tensor:
        """Coverage by the hairs of both brows: upright at the nose, then ever flatter outwards, as they grow."""
        fine = 2 * self.size
        canvas = Image.new("L", (fine, fine), 0)
        draw = ImageDraw.Draw(canvas)
        shade = Image.new("L", (self.size // 2, self.size // 2), 0)
        shade_draw = ImageDraw.Draw(shade)
        hair_length = 0.62 + 0.3 * density
        for edges in self.brows:
            lower, upper = edges
            ring = np.concatenate([lower, upper[::-1]]) * [1, -1] + [0, 1]
            shade_draw.polygon([tuple(p * self.size / 2) for p in ring], fill=int(150 * density))
            for _ in range(int(200 + 700 * density)):
                s, t = rng.uniform(0.0, 0.98), rng.uniform(-0.05, 0.85)
                # Thinner towards the tail and at the nose's end.
                if rng.uniform() > min(1, 0.45 + 4 * s) * (1.15 - 0.55 * s):
                    continue
                root, across, along = _brow_frame(lower, upper, s, t)
                lean = np.clip(0.30 + 1.9 * s, 0, 1.25) + rng.normal(0, 0.16)
                # Hairs from below rise, hairs from above bend down: they meet in the middle of the brow.
                rise = (1.0 - 0.85 * min(1, 1.3 * s)) - 0.75 * max(0, t - 0.45) * min(1, 2.5 * s)
                step = hair_length * rng.uniform(0.6, 1.1) * (rise * across + lean * np.linalg.norm(across) * along)
                bend = 0.22 * step[::-1] * [-1, 1] * np.sign(step[0] or 1) * -1
                points = [root, root + 0.5 * step + 0.25 * bend, root + step]
                xy = [((p[0]) * fine, (1 - p[1]) * fine) for p in points]
                draw.line(xy[:2], fill=int(rng.uniform(170, 250)), width=2 if self.size >= 768 else 1)
                draw.line(xy[1:], fill=int(rng.uniform(130, 220)), width=1)
        blur = self.texels_per_mm * 1.3 / 2
        shade = shade.filter(ImageFilter.GaussianBlur(blur)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        strokes = np.asarray(canvas.resize((self.size, self.size), Image.Resampling.BOX), np.float32) / 255
        under = np.asarray(shade, np.float32) / 255 * 0.8
        return torch.from_numpy(1 - (1 - strokes * (0.55 + 0.4 * density)) * (1 - under))

    def draw_freckles(self, rng: np.random.Generator, amount: float) -> Tensor:
        """Spots of melanin 0..1 over cheeks and nose."""
        chance = self.freckled.flatten().double().numpy()
        count = int(700 * amount)
        canvas = Image.new("L", (self.size, self.size), 0)
        if chance.sum() == 0:
            return torch.zeros(self.size, self.size)
        draw = ImageDraw.Draw(canvas)
        for index in rng.choice(len(chance), count, p=chance / chance.sum()):
            y, x = divmod(int(index), self.size)
            radius = self.texels_per_mm * rng.uniform(0.25, 0.75)
            draw.ellipse([x - radius, y - radius * 0.9, x + radius, y + radius * 0.9], fill=int(rng.uniform(60, 220)))
        canvas = canvas.filter(ImageFilter.GaussianBlur(self.texels_per_mm * 0.3))
        return torch.from_numpy(np.asarray(canvas, np.float32) / 255)


def _brow_frame(lower: np.ndarray, upper: np.ndarray, s: float, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Point at s along and t across a brow, the step across it, and the unit direction outwards."""
    k = min(int(s * 4), 3)
    f = s * 4 - k
    low, high = lower[k] * (1 - f) + lower[k + 1] * f, upper[k] * (1 - f) + upper[k + 1] * f
    along = (lower[k + 1] + upper[k + 1] - lower[k] - upper[k]) / 2
    return low + t * (high - low), high - low, along / np.linalg.norm(along)


@functools.lru_cache(maxsize=1)
def _prior() -> dict[str, Tensor]:
    """The mean of the CC0 skins, in float, whole maps: light, dark ``[3, h, w]``, components, scalp."""
    tensors, _ = read_safetensors(weights_path("skin_prior"), required=("light", "dark", "components", "scalp"))
    whole = {}
    for name in ("light", "dark", "components", "scalp"):
        half = tensors[name].float() * tensors[f"{name}_scale"]
        axis = half.ndim - (1 if name == "scalp" else 2)
        full = torch.cat([half, half.flip(axis)], axis)
        whole[name] = full if name == "scalp" else full.movedim(-1, -3)
    return whole


def enlarge(image: Tensor, size: int) -> Tensor:
    """``[C, h, w]`` to ``[C, size, size]``."""
    mode = "bicubic" if size >= image.shape[-1] else "area"
    return functional.interpolate(image[None], size=(size, size), mode=mode)[0]


def skin_fields(head: HeadModel, size: int) -> SkinFields:
    return _make_fields(SameHead(head), size)


@functools.lru_cache(maxsize=6)  # a reconstruction alone asks for four sizes
def _make_fields(key: SameHead, size: int) -> SkinFields:
    head = key.head
    lookup = atlas_lookup(head, size)
    place = positions(head, head.template, size)
    x, y, z = place.unbind(-1)
    zero = torch.zeros(size, size)

    if head.name == "likeness":
        prior = _prior()
        light, dark = enlarge(prior["light"], size), enlarge(prior["dark"], size)
        components, scalp = prior["components"], enlarge(prior["scalp"][None], size)[0].clamp(0, 1)
    else:
        light = dark = torch.zeros(3, size, size)
        components, scalp = torch.zeros(1, 3, 8, 8), zero

    faces = head.part_faces("skin")
    corners, chart = head.template[head.faces[faces]], head.uv[head.uv_faces[faces]]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    edges = chart[:, 1:] - chart[:, :1]
    chart_area = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).abs() * size**2

    lips, beard, oily, freckled, brows = zero, zero, zero, zero, ()
    texels_per_mm = float((chart_area.sum() / area.sum()).sqrt()) / 1000
    if "mediapipe" in head.landmarks:
        embedding = head.landmarks["mediapipe"]
        points = head.landmark_points("mediapipe", head.template)
        uv_corners = head.uv[head.uv_faces[embedding.face_index]]
        uv = (uv_corners * embedding.barycentric[..., None]).sum(1).double().numpy()
        # Density where the features are, for the sizes of hairs and freckles.
        near = (corners.mean(1) - points[1]).norm(dim=1) < 0.06
        texels_per_mm = float((chart_area[near].sum() / area[near].sum()).sqrt()) / 1000
        outline = [(float(u * size), float((1 - v) * size)) for u, v in uv[list(LIPS_OUTER)]]
        canvas = Image.new("L", (size, size), 0)
        ImageDraw.Draw(canvas).polygon(outline, fill=255)
        canvas = canvas.filter(ImageFilter.GaussianBlur(0.9 * texels_per_mm))
        lips = torch.from_numpy(np.asarray(canvas, np.float32) / 255)
        brows = tuple(np.stack([uv[list(lower)], uv[list(upper)]]) for lower, upper in BROWS)

        nose, chin, corner, subnasal = points[1], points[152], points[291], points[2]
        side = x.abs()
        # Upper border of the beard: below the nose, over the corner of the mouth, up to the lobe of the ear.
        lobe_y, lobe_x = float(points[361, 1]), float(points[361, 0])
        border = torch.where(
            side < corner[0],
            torch.lerp(subnasal[1] - 0.001, corner[1] + 0.010, (side / corner[0]).clamp(0, 1) ** 2),
            corner[1] + 0.010 + (lobe_y + 0.018 - corner[1] - 0.010)
            * ((side - corner[0]) / (lobe_x - corner[0])).clamp(0, 1) ** 1.5,
        )  # fmt: skip
        under = y + 0.4 * (nose[2] - z - 0.03).clamp_min(0)  # below the jaw it ends higher towards the throat
        beard = smooth_step(border + 0.009, border - 0.012, y) * smooth_step(chin[1] - 0.045, chin[1] - 0.012, under)
        beard = beard * smooth_step(-0.03, 0.0, z - float(points[361, 2])) * (1 - lips)

        def bump(centre: Tensor, radius: tuple[float, float, float]) -> Tensor:
            return torch.exp(-(((place - centre) / torch.tensor(radius)) ** 2).sum(-1))

        oily = torch.maximum(bump(nose, (0.016, 0.03, 0.03)), bump((points[9] + points[10]) / 2, (0.035, 0.025, 0.03)))
        cheeks = bump(points[50], (0.03, 0.03, 0.03)) + bump(points[280], (0.03, 0.03, 0.03))
        freckled = (cheeks + bump(points[5], (0.018, 0.018, 0.018)) + 0.12) * (z > -0.03) * (1 - lips)
        freckled = freckled * lookup.inside

    pits = noise_3d(place, 0.0006, 3)
    return SkinFields(
        size=size,
        light=light,
        dark=dark,
        components=components,
        scalp=scalp,
        lips=lips,
        beard=beard,
        oily=oily,
        freckled=freckled,
        mottle=0.7 * noise_3d(place, 0.012, 0) + 0.5 * noise_3d(place, 0.005, 5),
        patches=noise_3d(place, 0.030, 1),
        fine=noise_3d(place, 0.0025, 2),
        pores=(pits - 0.2).clamp(0, 1.1) * (1 - lips),
        stubble=(noise_3d(place, 0.00045, 4) * 0.9).clamp(-1, 1),
        texels_per_mm=texels_per_mm,
        brows=brows,
    )


def smooth_step(zero: Tensor | float, one: Tensor | float, x: Tensor) -> Tensor:
    """Smooth step from 0 at `zero` to 1 at `one` (which may lie below `zero`)."""
    t = ((x - zero) / (one - zero)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def noise_3d(place: Float[Tensor, "U U 3"], cell_m: float, seed: int) -> Float[Tensor, "U U"]:
    """Smooth noise of about unit spread, evaluated in space, so that it knows no seams of the atlas.

    A cube of random values, mirrored at its faces to fill space, read trilinearly; where the map is
    coarser than the cells the noise is only decimated, which for pores is harmless.
    """
    side = 48
    generator = torch.Generator().manual_seed(seed)
    cube = torch.randn(1, 1, side, side, side, generator=generator)
    grid = (place / (cell_m * (side - 1)) * 2)[None, None]
    noise = functional.grid_sample(cube, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    # Trilinear blending averages neighbours: its spread is (2/3)^(3/2) = 0.54 of theirs.
    return noise[0, 0, 0] / 0.544
