"""What an edit does to how a head's skin takes light and to its relief, where a head has such maps (`core.detail`).

As with colours (`editing.skin`): a generated head's maps are its painter's, and change by what the painter makes of the
two people. Behind a photo's head stands a guess. What an edit adds is drawn over the head's own relief, whose own lines
deepen with it; what it takes away lies elsewhere in the photo than in the guess, so the own grooves, pits and bumps are
levelled with what surrounds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor
from torch.nn import functional

from core.detail import WRINKLES_PX, lined
from core.head import HeadModel
from core.key_expressions import draw_wrinkles
from core.materials import DISPLACEMENT_UNIT_M
from core.reflectance.estimate import softened_normals
from core.synthesis.features import Features, canvas_of, draw_features
from core.synthesis.people import Person
from core.synthesis.relief import BULGE, BULGE_MM, paint_relief
from core.texture import skin_mask
from editing.attributes import Subject
from editing.latents import person_after

# Strewn over the skin, nobody knows where on a photo: they are added where the painter has them, and calmed away.
SPOTS = ("freckles", "moles", "age_spots", "blemishes", "scars")
HAIRS = ("stubble", "beard_chin", "beard_cheeks", "moustache")
TEXELS_PER_MM = 2.1  # of the face on a map of 1024: its scale hardly varies there
LEAST_AMOUNT = 0.02  # of a photo's label, for taking it away to mean something

# What is drawn on the relief at a place of its own, and what only the shine or the depth of scattering follows.
DRAWN = ("wrinkles", "sag", "pores", *HAIRS, "brow_density", "brow_thickness", "scalp_hair", "lipstick")
SHINY = ("oiliness", "melanin")
# Labels that the maps follow on a head whose person is known; on a guess's only those above and the spots.
FORMS = (*DRAWN, *SPOTS[1:], "gender", "recession", "brow_length", "brow_arch")

PORE_MM, SPOT_MM, LINE_MM, FOLD_MM = 0.7, 2.0, 4.0, 7.0  # deviation of the surroundings that is levelled with
LEVELLED: tuple[tuple[tuple[str, ...], float], ...] = (
    (("pores",), PORE_MM),
    (("wrinkles", "scars"), LINE_MM),
    (("sag",), FOLD_MM),
)
BUMPS = ("moles", "blemishes")
BUMP_MM = 0.06  # height at which something is a bump for sure; at half of it, it may be a bulge beside a line
SHALLOW_MM = 0.015  # depth from which a groove has little say in where its surroundings lie
DEEPER = 0.8  # by which a photo's own lines deepen where wrinkles rise from none to most
LINES_MM = (0.05, 0.20)  # depth from which, and from which without doubt, a groove is a line and no pit
KNOWN_SHARE = 0.25  # of the painter's relief, root mean square, by which the own may differ and still be the painter's
# Of the change of a photo's oiliness: the maps of a photo's skin vary less over the face than the painter's.
GLOSS = 1.6
RATIO_FLOOR = 0.05  # of specular albedo and translucency, where a ratio of them is taken
HAIR_SHARE = (0.05, 0.3)  # of the specular albedo of bare skin that is missing: from where on, and for sure, hair
# The same as a mean over so many millimetres, in which lines and pits, which mirror less as well, hardly count.
OWN_HAIR, HAIR_MM = (0.2, 0.4), 3.0
# Depth of what expressions fold, over that of the deepest, on the smoothest skin and on the most lined.
FOLD_DEPTH = (0.62, 1.0)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What an edit has drawn. person, features: as they were drawn for the colours, a guess's without the spots that
    the photo may have itself. old, new: labels of the head's person before and after."""

    person: Person
    features: Features
    old: Mapping[str, float]
    new: Mapping[str, float]


def edited_surface(head: HeadModel, subject: Subject, drawn: Drawn, detail: float, quick: bool) -> dict[str, Tensor]:
    """The maps of reflectance and relief that change, by their names in `Materials`, for a head that has a relief.

    detail: strength of the fine pattern, 1 as it is. quick: leave the relief, which takes longest.
    """
    materials, old, new = subject.avatar.materials, drawn.old, drawn.new
    assert materials.skin_displacement is not None
    moved = {name for name in new if abs(new[name] - old[name]) > 1e-6}
    if detail == 1 and not moved & {*FORMS, *SHINY}:
        return {}
    found: dict[str, Tensor] = {}
    size = min(len(drawn.features.wrinkles), materials.skin_displacement.shape[-1])
    features = _reduced(drawn.features, size)
    known = not quick and _is_painters(head, subject, drawn, size)
    before = _before(head, subject, drawn, features, known or (quick and subject.exact))
    after = _painted(head, drawn.person if subject.exact else _glossier(drawn), features)
    removed: Mapping[str, float] = {}
    if not known:
        removed = {n: 1 - new[n] / old[n] for n in (*DRAWN, *SPOTS) if old[n] > LEAST_AMOUNT and new[n] < old[n]}
    found |= _reflectance(head, subject, before, after, features, removed)
    if quick:
        return found
    rise = 0.0 if known else max(new["wrinkles"] - old["wrinkles"], 0.0)
    own = materials.skin_displacement
    height = _metres(own) * 1000
    if detail != 1 or removed or rise:
        bare = bare_skin(head, features, len(height)) * (1 - _own_hair(head, materials.skin_specular, len(height)))
        height = _levelled(head, height, bare, features, removed, rise, detail)
    height = height + _enlarged(after[:1] - before[:1], own.shape[-1])[0]
    made = (height / 1000 / DISPLACEMENT_UNIT_M).round().clamp(-32767, 32767).to(torch.int16)[None]
    if torch.equal(made, own):
        return found
    return found | {"skin_displacement": made} | _normals(head, subject, made) | _wrinkles(head, subject, drawn, made)


def _metres(height: Int16[Tensor, "1 U U"]) -> Float[Tensor, "U U"]:
    return height[0].float() * DISPLACEMENT_UNIT_M


def _painted(head: HeadModel, person: Person, features: Features) -> Float[Tensor, "4 U U"]:
    """Height in millimetres, specular albedo, roughness and translucency by the painter."""
    relief = paint_relief(head, person, features)
    return torch.stack([relief.displacement_m * 1000, relief.specular, relief.roughness, relief.translucency])


def _glossier(drawn: Drawn) -> Person:
    """The person who was drawn, with more of the change of shine."""
    labels = drawn.person.labels
    more = (GLOSS - 1) * (drawn.new["oiliness"] - drawn.old["oiliness"])
    return replace(drawn.person, labels=replace(labels, oiliness=labels.oiliness + more))


def _reduced(features: Features, size: int) -> Features:
    if len(features.wrinkles) <= size:
        return features
    maps = torch.stack([getattr(features, f.name) for f in fields(features)])
    return Features(*functional.interpolate(maps[None], size=(size, size), mode="area")[0])


def _repainted(head: HeadModel, person: Person, drawn: Drawn, size: int) -> Float[Tensor, "4 U U"]:
    """What the painter makes of a person, drawn as large as the edited one was: fine lines draw otherwise on other
    maps."""
    return _painted(head, person, _reduced(draw_features(head, person, len(drawn.features.wrinkles)), size))


def _as_it_was(head: HeadModel, subject: Subject, drawn: Drawn, size: int) -> Float[Tensor, "4 U U"]:
    return kept(subject, "surface", size, lambda: _repainted(head, subject.person, drawn, size))


def _is_painters(head: HeadModel, subject: Subject, drawn: Drawn, size: int) -> bool:
    """Whether the head's relief is what the painter makes of its person."""
    if not subject.exact:
        return False

    def compared() -> Tensor:
        own = subject.avatar.materials.skin_displacement
        assert own is not None
        painted = _as_it_was(head, subject, drawn, size)[0]
        height = functional.interpolate((_metres(own) * 1000)[None, None], size=(size, size), mode="area")[0, 0]
        return (height - painted).square().mean() < KNOWN_SHARE**2 * painted.square().mean()

    return bool(kept(subject, "painter's", size, compared))


def _before(head: HeadModel, subject: Subject, drawn: Drawn, features: Features, known: bool) -> Float[Tensor, "4 U U"]:
    """What the painter makes of the person with all that the edit leaves and none of what it adds. The difference to
    what was drawn is then only what is added; what is taken away is in neither. Of a known head: the person as it was.
    """
    size, old, new = len(features.wrinkles), drawn.old, drawn.new
    if known:
        return _as_it_was(head, subject, drawn, size)
    spots = dict.fromkeys(SPOTS, 0.0) if not subject.exact else {name: min(old[name], new[name]) for name in SPOTS}
    raised = [name for name in DRAWN if new[name] > old[name] + 1e-6]
    spotted = any(new[name] > old[name] + 1e-6 for name in SPOTS)
    fallen = any(new[name] < old[name] - 1e-6 for name in (*DRAWN, *SPOTS))
    shine = {name: old[name] for name in SHINY}
    if not raised and not spotted:
        # The same things are drawn; only the shine is another.
        return _painted(head, person_after(head, drawn.person, asdict(drawn.person.labels) | shine), features)
    if not fallen:
        start = person_after(head, subject.person, dict(old) | spots)
        return kept(subject, "surface before", size, lambda: _repainted(head, start, drawn, size))
    labels = asdict(drawn.person.labels) | spots | shine | {name: old[name] for name in raised}
    person = person_after(head, drawn.person, labels)
    return _repainted(head, person, drawn, size)


# --------------------------------------------------------------------------------------------------------- reflectance


def _reflectance(
    head: HeadModel,
    subject: Subject,
    before: Float[Tensor, "4 U U"],
    after: Float[Tensor, "4 U U"],
    features: Features,
    removed: Mapping[str, float],
) -> dict[str, Tensor]:
    """Specular albedo, roughness and translucency, as far as they change. What of a photo mirrors or lets
    through little to begin with, hair, changes in proportion."""
    materials = subject.avatar.materials
    shaved = max((removed.get(name, 0.0) for name in HAIRS), default=0.0)
    bald = None
    if shaved > 0 and materials.skin_specular is not None:
        size, (low, high) = len(features.wrinkles), HAIR_SHARE
        shown = at_size(materials.skin_specular[0].float() / 255, size)
        missing = 1 - shown / after[1].clamp_min(RATIO_FLOOR)
        bald = shaved * at_size(canvas_of(head, 512).masks["beard"], size).clamp(0, 1)
        bald = bald * ((missing - low) / (high - low)).clamp(0, 1) * (1 - features.beard)
    found: dict[str, Tensor] = {}
    for row, name in enumerate(("skin_specular", "skin_roughness", "skin_translucency"), start=1):
        own = getattr(materials, name)
        if own is None:
            continue
        size = own.shape[-1]
        start, end = before[row : row + 1], after[row : row + 1]
        value = own.float() / 255
        if name == "skin_roughness" or subject.exact:
            value = value + _enlarged(end - start, size)
        else:
            value = value * _enlarged((end + RATIO_FLOOR) / (start + RATIO_FLOOR), size)
        if bald is not None:
            value = torch.lerp(value, _enlarged(end, size), _enlarged(bald[None], size))
        made = (value * 255).round().clamp(0, 255).to(torch.uint8)
        if not torch.equal(made, own):
            found[name] = made
    return found


# -------------------------------------------------------------------------------------------------------------- relief


def bare_skin(head: HeadModel, features: Features, size: int) -> Float[Tensor, "U U"]:
    """Where the face shows skin of its own, 0..1: not lips, lids and what hair is left."""
    hidden = torch.maximum(torch.maximum(features.brows, features.lips), features.beard)
    return skin_mask(head, size) * (1 - (2 * smoothed(at_size(hidden, size)[None], LINE_MM)[0]).clamp(0, 1))


def _own_hair(head: HeadModel, specular: UInt8[Tensor, "1 S S"] | None, size: int) -> Float[Tensor, "U U"] | float:
    """Where a head's own map shows hair, 0..1, which mirrors far less than skin; a guess's brows need not be there."""
    if specular is None:
        return 0.0
    shown, skin = specular[0].float() / 255, skin_mask(head, specular.shape[-1])
    missing = 1 - shown / shown[skin > 0.9].median().clamp_min(RATIO_FLOOR)
    low, high = OWN_HAIR
    return at_size(((smoothed(missing.clamp_min(0)[None], HAIR_MM)[0] - low) / (high - low)).clamp(0, 1), size)


def _levelled(
    head: HeadModel,
    height_mm: Float[Tensor, "U U"],
    bare: Float[Tensor, "U U"],
    features: Features,
    removed: Mapping[str, float],
    rise: float,
    detail: float,
) -> Float[Tensor, "U U"]:
    """A head's own relief with its grooves, pits and bumps level with their surroundings as far as they are `removed`,
    its lines deeper by the `rise` of wrinkles, and its fine pattern `detail` times as strong; where it is `bare`."""
    size, height = len(height_mm), height_mm
    for names, scale_mm in LEVELLED:
        share = max((removed.get(name, 0.0) for name in names), default=0.0)
        if share > 0:
            height = height - share * bare * _furrows(height, scale_mm)
    share = max((removed.get(name, 0.0) for name in BUMPS), default=0.0)
    if share > 0:
        bump = height - _level(height, SPOT_MM)
        height = height - share * bare * bump * ((2 * bump - BUMP_MM) / BUMP_MM).clamp(0, 1)
    shaved = max((removed.get(name, 0.0) for name in HAIRS), default=0.0)
    if shaved > 0:
        beard = at_size(canvas_of(head, 512).masks["beard"], size).clamp(0, 1) * skin_mask(head, size)
        height = height - shaved * beard * (1 - at_size(features.lips, size)) * _furrows(height, SPOT_MM)
    if rise > 0:
        furrows = _furrows(height, LINE_MM)
        low, high = LINES_MM
        sure = ((smoothed(-furrows[None].clamp(max=0), 0.5)[0] - low) / (high - low)).clamp(0, 1)
        sure = (2 * smoothed(sure[None], 1.0)[0]).clamp(0, 1)
        height = height + DEEPER * rise * bare * sure * furrows
    if detail != 1:
        height = height + (detail - 1) * bare * (height - smoothed(height[None], LINE_MM)[0])
    return height


def _furrows(height_mm: Float[Tensor, "U U"], scale_mm: float) -> Float[Tensor, "U U"]:
    """What lies below its surroundings, and above them as far as the skin that such a groove displaces does."""
    off = height_mm - _level(height_mm, scale_mm)
    beside = BULGE * smoothed(-off[None].clamp(max=0), BULGE_MM)[0]
    return torch.minimum(off, beside)


def _level(height_mm: Float[Tensor, "U U"], scale_mm: float) -> Float[Tensor, "U U"]:
    """Where the surface would lie without grooves and bumps: its mean, in which what stands out has little say."""
    level = smoothed(height_mm[None], scale_mm)[0]
    for _ in range(2):
        off = height_mm - level
        weight = 1 / (1 + (off.clamp(max=0) / SHALLOW_MM).square() + (off.clamp_min(0) / BUMP_MM).square())
        above, total = smoothed(torch.stack([weight * height_mm, weight]), scale_mm)
        level = above / total
    return level


def _normals(head: HeadModel, subject: Subject, made: Int16[Tensor, "1 U U"]) -> dict[str, UInt8[Tensor, "3 U U"]]:
    """Both kinds of normals of another relief. Where it is as it was, they keep their bytes."""
    avatar = subject.avatar
    shape = functional.pad(avatar.shape, (0, head.shape_count - len(avatar.shape)))[None]
    vertices = head.vertices(replace(avatar.parameters(), shape=shape))[0]
    own = avatar.materials.skin_displacement
    assert own is not None
    sharp, soft = softened_normals(head, vertices, _metres(made) * 1000)
    touched = (made != own)[None].float()
    found = {}
    for name, normals, reach in (("skin_normal", sharp, 1), ("skin_diffuse_normal", soft, 5)):
        before = getattr(avatar.materials, name)
        if before is not None and before.shape == normals.shape:
            near = functional.max_pool2d(touched, 2 * reach + 1, 1, reach)[0, 0] > 0
            normals = torch.where(near, normals, before)
        found[name] = normals
    return found


def _wrinkles(
    head: HeadModel, subject: Subject, drawn: Drawn, made: Int16[Tensor, "1 U U"]
) -> dict[str, Int16[Tensor, "2 W W"]]:
    """What expressions fold: drawn again for a head whose seed is known, deeper or shallower for a photo's, whose lines
    must stay where they are."""
    own, seed = subject.avatar.materials.skin_wrinkles, subject.avatar.provenance.seed
    if own is None or all(drawn.new[name] == drawn.old[name] for name in ("wrinkles", "sag")):
        return {}
    if subject.exact and seed is not None and own.shape[-1] == WRINKLES_PX:
        height = _metres(made)
        return {"skin_wrinkles": draw_wrinkles(head, lined(head, height), seed, height, WRINKLES_PX)}
    start, end = (float(np.interp(labels["wrinkles"], (0, 1), FOLD_DEPTH)) for labels in (drawn.old, drawn.new))
    return {"skin_wrinkles": (own.float() * (end / start)).round().clamp(-32767, 32767).to(torch.int16)}


def _enlarged(image: Float[Tensor, "C S S"], size: int) -> Float[Tensor, "C {size} {size}"]:
    if image.shape[-1] == size:
        return image
    antialias = size < image.shape[-1]
    return functional.interpolate(image[None], size=(size, size), mode="bilinear", antialias=antialias)[0]


# ------------------------------------------------------------------------------------------------------------- helpers


def kept(subject: Subject, name: str, size: int, make: Callable[[], Tensor]) -> Tensor:
    """What is the same for every edit of a head is worked out once."""
    if (name, size) not in subject.worked_out:
        subject.worked_out[name, size] = make()
    return subject.worked_out[name, size]


def smoothed(image: Float[Tensor, "C U U"], sigma_mm: float) -> Float[Tensor, "C U U"]:
    """A Gaussian, in millimetres on the face; wide ones on a smaller map."""
    size = image.shape[-1]
    sigma = sigma_mm * TEXELS_PER_MM * size / 1024
    step = max(int(sigma // 2), 1)
    small = functional.avg_pool2d(image[None], step) if step > 1 else image[None]
    reach = max(math.ceil(3 * sigma / step), 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) * step / max(sigma, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(len(image), 1, -1)
    padded = functional.pad(small, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel[..., None], groups=len(image))
    blurred = functional.conv2d(rows, kernel[:, :, None], groups=len(image))
    if step == 1:
        return blurred[0]
    return functional.interpolate(blurred, size=image.shape[1:], mode="bilinear", align_corners=False)[0]


def at_size(image: Float[Tensor, "S S"], size: int) -> Float[Tensor, "{size} {size}"]:
    """A map at another size."""
    if len(image) == size:
        return image
    return functional.interpolate(image[None, None], size=(size, size), mode="bilinear", antialias=True)[0, 0]
