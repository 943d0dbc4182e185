"""Albedo maps of random people: CC0 skins mixed region by region, toned by pigments, and every feature painted on.

The sources' low frequencies mix linearly. Their high frequencies - pores, creases, the grain of skin - would average
away, so they are taken mostly from the strongest source of each region, each scaled as if it stood alone. All pigment
is added in the logarithm of linear albedo (Beer-Lambert, as in `painting`); hair and make-up cover what is below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor
from torch.nn import functional

from core.checkpoints import read_safetensors
from core.color import linear_to_srgb, luminance
from core.errors import FileError
from core.head import HeadModel
from core.synthesis.features import (
    NOISE,
    SOURCES,
    STRIP_S,
    STRIP_SHAPE,
    STRIP_T_MM,
    Canvas,
    Features,
    brow_grey,
    brow_shapes,
    canvas_of,
    person_rng,
)
from core.synthesis.painting import HAEMOGLOBIN_LOG, MELANIN_LOG, enlarge, skin_fields, skin_tone
from core.synthesis.people import SKINS, Person, hair_colour

CURE = "Make it with `python -m recipes.makehuman_skins --sources FILE --size 512` (or 1024)."


@dataclass(frozen=True, eq=False)
class SkinSources:
    """The CC0 skins in the project's atlas without light and tone, and the CC0 eyebrows.

    coarse: logarithm of linear albedo relative to the face's median, smooth. fine: what the logarithm of luminance
    has beyond it, in steps of fine_scale. traits: age 0..1, gender 0 female .. 1 male, 1 for dark skin. brows: coverage
    0..255 of each eyebrow, right and left, unrolled along `features.brow_frames`.
    """

    coarse: Float[Tensor, "S 3 C C"]
    fine: Int8[Tensor, "S U U"]
    fine_scale: Float[Tensor, "S"]
    traits: Float[Tensor, "S 3"]
    brows: UInt8[Tensor, "B 2 T L"]

    @property
    def size(self) -> int:
        """Texels a side."""
        return self.fine.shape[-1]


def load_sources(path: Path) -> SkinSources:
    """The sources that `recipes.makehuman_skins` wrote.

    Raises FileError for a file that is missing, damaged, of another kind or made from other skins.
    """
    if not path.is_file():
        raise FileError(f"The file with the skins to mix is missing: looked for {path}. {CURE}")
    tensors, metadata = read_safetensors(path, ("coarse", "fine", "fine_scale", "traits", "brows"), CURE)
    names = ",".join(name for name, *_ in SKINS)
    if metadata.get("skins") != names:
        raise FileError(f"{path} was made from the skins {metadata.get('skins')}; expected were {names}. {CURE}")
    count, size, strips = len(SKINS), tensors["fine"].shape[-1], len(tensors["brows"])
    expected = {
        "coarse": (torch.float16, (count, 3, size // 4, size // 4)),
        "fine": (torch.int8, (count, size, size)),
        "fine_scale": (torch.float32, (count,)),
        "traits": (torch.float32, (count, 3)),
        "brows": (torch.uint8, (max(strips, 1), 2, *STRIP_SHAPE)),
    }
    for name, (kind, shape) in expected.items():
        found = tensors[name]
        if found.dtype != kind or tuple(found.shape) != shape:
            raise FileError(
                f"{path} is damaged or of another version: {name} is {found.dtype} of shape {tuple(found.shape)}, "
                f"expected was {kind} of shape {shape}. {CURE}"
            )
    return SkinSources(
        tensors["coarse"].float(),
        tensors["fine"],
        tensors["fine_scale"].float(),
        tensors["traits"].float(),
        tensors["brows"],
    )


def paint_albedo(
    head: HeadModel, person: Person, features: Features, size: int, sources: SkinSources | None
) -> UInt8[Tensor, "3 {size} {size}"]:
    """A person's diffuse colour without light, sRGB. Deterministic in labels, mix and seed.

    features: `draw_features` of the same head, person and size. sources: skins to mix, of any size (of the same or a
    multiple is best); None, or a head other than the bundled one, starts from the procedural skin of `painting`.
    """
    labels, canvas = person.labels, canvas_of(head, size)
    if sources is None or head.name != "likeness":
        log, cards = _procedural(head, person, size), features.brows
    else:
        log, cards = _mixed(canvas, person, size, sources), _with_card(canvas, person, features.brows, sources)
    melanin, blood = _pigments(canvas, person, features)
    by_melanin, by_blood = (torch.tensor(v)[:, None, None] for v in (MELANIN_LOG, HAEMOGLOBIN_LOG))
    tone = skin_tone(labels.melanin, labels.haemoglobin)[:, None, None]
    albedo = tone * (log - by_melanin * melanin - by_blood * blood).clamp(-4, 1).exp()
    albedo = _make_up(albedo, person, features)
    albedo = _hair(albedo, canvas, person, features, cards)
    return (linear_to_srgb(albedo).clamp(0, 1) * 255).round().to(torch.uint8)


# -------------------------------------------------------------------------------------------------------- bare skin


def _procedural(head: HeadModel, person: Person, size: int) -> Float[Tensor, "3 {size} {size}"]:
    """Log albedo over the tone from the bundled mean of the skins, light to dark."""
    fields, labels = skin_fields(head, size), person.labels
    dark = min(max((labels.melanin - 0.25) / 0.5, 0.0), 1.0)
    scores = (
        torch.from_numpy(person_rng(person, SOURCES).normal(0, 0.6, len(fields.components))).float().clamp(-1.2, 1.2)
    )
    coarse = torch.einsum("k,kcyx->cyx", scores, fields.components)
    return torch.lerp(fields.light, fields.dark, dark) + enlarge(coarse, size)


def _mixed(canvas: Canvas, person: Person, size: int, sources: SkinSources) -> Float[Tensor, "3 {size} {size}"]:
    """Log albedo over the tone from the person's mix of the sources."""
    weight = torch.einsum("rs,ryx->syx", person.mix.float(), canvas.regions)
    mirrored = person_rng(person, SOURCES).random(len(weight)) < 0.5
    flipped = [w.flip(-1) if m else w for w, m in zip(weight, mirrored, strict=True)]

    # Mirroring commutes with everything here: weights are flipped to the sources' side and the sum is flipped back.
    sharp = weight**3 / (weight**3).sum(0)
    grain = torch.zeros(2, sources.size, sources.size)
    for s, is_mirrored in enumerate(mirrored.tolist()):
        share = sharp[s].flip(-1) if is_mirrored else sharp[s]
        if float(share.max()) > 0.02:
            wide = enlarge(share[None], sources.size)[0]
            grain[int(is_mirrored)].addcmul_(wide, sources.fine[s].float(), value=float(sources.fine_scale[s]))
    fine = grain[0] + grain[1].flip(-1)

    side = sources.coarse.shape[-1]
    wide = functional.interpolate(torch.stack(flipped)[:, None], size=(side, side), mode="bilinear")
    parts = wide * sources.coarse
    turned = torch.from_numpy(mirrored)
    coarse = parts[~turned].sum(0) + parts[turned].sum(0).flip(-1)
    if sources.size > size:
        fine = enlarge(fine[None], size)[0]
    elif sources.size < size:
        fine = functional.interpolate(fine[None, None], size=(size, size), mode="bicubic")[0, 0]
    # The logarithm of dark skin was taken over an offset that flattens it.
    return enlarge(coarse, size) * (1 + 0.4 * person.labels.melanin) + fine * (1 + 1.3 * person.labels.melanin)


def _pigments(canvas: Canvas, person: Person, f: Features) -> tuple[Float[Tensor, "U U"], Float[Tensor, "U U"]]:
    """Melanin and blood over the tone, in units of `painting.skin_tone`."""
    labels, rng = person.labels, person_rng(person, NOISE)
    # What melanin has absorbed no blood can redden: on dark skin the same flush shows less.
    shown, fair = 1 - 0.55 * labels.melanin, 1 - 0.7 * labels.melanin
    patches, mottle, fine, other = (canvas.noise(name, rng) for name in ("patches", "mottle", "fine", "mottle"))
    blood = labels.mottling * (0.10 * mottle + 0.10 * fine)
    melanin = labels.mottling * (0.010 * patches + 0.010 * other + 0.006 * fine)

    grooves_mm = 1e3 * f.wrinkles
    melanin = melanin + 0.022 * f.pores + 0.10 * (1 - (-grooves_mm).exp())
    blood = blood + 0.10 * f.pores + 0.9 * (1 - (-0.8 * grooves_mm).exp())
    melanin = melanin + 0.17 * fair * f.freckles + 0.55 * (1 - 0.45 * labels.melanin) * f.moles
    melanin = melanin + 0.15 * (1 - 0.5 * labels.melanin) * f.age_spots + 0.08 * (1 - fair) * f.blemishes
    blood = blood + 1.5 * shown * f.blemishes + 1.15 * shown * f.flush
    # Veins and thin skin below the eyes: bluish dark, browner the darker the skin.
    blood = blood + 0.9 * shown * f.under_eye
    melanin = melanin + (0.06 + 0.09 * labels.melanin) * f.under_eye
    # A scar has lost melanin and is pink while it is fresh.
    melanin = melanin - (0.04 + 0.10 * labels.melanin) * f.scars
    blood = blood + 0.25 * f.scars
    # Blood shows through the thin epithelium of lips; dark skins' lips are brown. The painters' are a little rouged.
    redness = 2.0 * (labels.lip_redness - 0.5) * (1 - 0.35 * labels.melanin) - 0.35 + 0.8 * labels.melanin
    blood = blood + redness * f.lips
    melanin = melanin + 0.06 * labels.melanin * f.lips
    return melanin, blood


# ---------------------------------------------------------------------------------------------- what lies on the skin


def _over(albedo: Tensor, colour: Tensor, coverage: Tensor) -> Tensor:
    return albedo + coverage * (colour - albedo) if bool(coverage.any()) else albedo


# Linear colours of lipsticks by hue 0, 0.25 .. 1: nude, coral, red, berry, plum.
LIPSTICKS = ((0.42, 0.17, 0.13), (0.50, 0.11, 0.08), (0.40, 0.025, 0.03), (0.22, 0.02, 0.05), (0.10, 0.015, 0.045))
EYESHADOWS = ((0.14, 0.07, 0.045), (0.06, 0.05, 0.055), (0.20, 0.09, 0.07), (0.09, 0.035, 0.07), (0.05, 0.06, 0.10))


def _make_up(albedo: Tensor, person: Person, f: Features) -> Tensor:
    """Colours that cover, thinly, so that the skin's grain stays."""
    rng = np.random.default_rng([person.seed, NOISE, 1])
    shadow = torch.tensor(EYESHADOWS[rng.integers(len(EYESHADOWS))])[:, None, None]
    grain = (albedo / albedo.mean((1, 2), keepdim=True)).clamp(0.3, 1.6) ** 0.5
    albedo = _over(albedo, shadow * grain, 0.75 * f.eyeshadow)
    blush = torch.tensor((1.0, 0.52, 0.50))[:, None, None]
    albedo = albedo * (1 + 0.55 * f.blush * (blush - 1))
    at = 4 * min(max(person.labels.lipstick_hue, 0.0), 1.0)
    k = min(int(at), 3)
    table = torch.tensor(LIPSTICKS)
    stick = torch.lerp(table[k], table[k + 1], at - k)[:, None, None]
    albedo = _over(albedo, stick * grain, 0.85 * f.lipstick)
    return _over(albedo, torch.full((3, 1, 1), 0.012), 0.9 * f.eyeliner)


def _hair(albedo: Tensor, canvas: Canvas, person: Person, f: Features, brows: Tensor) -> Tensor:
    """Cut hair as a shadow in the skin, standing hair over it, some of it grey."""
    labels = person.labels
    rng = np.random.default_rng([person.seed, NOISE, 2])
    hair = torch.tensor(hair_colour(labels)).float()[:, None, None]
    # Cut hair darkens the skin by the roots that shine through, which look bluish grey in light skin; light ones less.
    fair = float((luminance(hair)[0, 0, 0] / 0.4).clamp(0, 1)) ** 0.7
    roots = albedo * torch.lerp(torch.tensor((0.40, 0.46, 0.54)), torch.tensor((0.86, 0.88, 0.90)), fair)[:, None, None]
    albedo = _over(albedo, 0.45 * hair.minimum(albedo) + 0.55 * roots, (0.9 * f.stubble).clamp(0, 0.9))
    albedo = _over(albedo, 0.75 * hair.minimum(albedo) + 0.25 * roots, f.scalp.clamp(0, 0.94))
    pigmented, white = (torch.tensor(hair_colour(replace(labels, grey=grey)))[:, None, None] for grey in (0.0, 1.0))
    standing = pigmented * (1 + 0.12 * torch.tanh(canvas.noise("hairs", rng)))
    standing = standing + f.white * (white - standing)
    # The eyebrow card's hairs have no colour of their own: where no hair was drawn they have the mean one's.
    mean = torch.lerp(pigmented, white, brow_grey(person))
    standing = torch.where(f.brows + f.beard > 0.02, standing, mean)
    return _over(_over(albedo, standing, f.beard), standing, brows)


def _with_card(canvas: Canvas, person: Person, drawn: Tensor, sources: SkinSources) -> Float[Tensor, "U U"]:
    """The drawn hairs over one of the CC0 eyebrows, bent to the person's shape; which one the seed decides."""
    density = person.labels.brow_density
    if density <= 0:
        return drawn
    size = drawn.shape[0]
    card = sources.brows[person_rng(person, SOURCES).integers(len(sources.brows))].float() / 255
    total = drawn
    for half, (s, t, index) in enumerate(canvas.brow_texels):
        shape = brow_shapes(person)[half]
        plain = s / shape.length
        across = (t - torch.from_numpy(shape.bend(s.numpy()))) / shape.thickness
        x = 2 * (plain - STRIP_S[0]) / (STRIP_S[1] - STRIP_S[0]) - 1
        y = 1 - 2 * (across - STRIP_T_MM[0]) / (STRIP_T_MM[1] - STRIP_T_MM[0])
        grid = torch.stack([x, y], -1)[None, None].float()
        strip = functional.avg_pool2d(card[half][None, None], 3, 1, 1) if size < 768 else card[half][None, None]
        cover = functional.grid_sample(strip, grid, align_corners=False)[0, 0, 0]
        flat = total.flatten().clone()
        flat[index] = 1 - (1 - flat[index]) * (1 - (0.25 + 0.55 * density) * cover)
        total = flat.reshape(size, size)
    return total
