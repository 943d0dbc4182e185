"""Wrinkles that come and go with expressions: which families of lines an expression folds, where, and how they look.

Skin folds across the pull of the muscle below it: level lines over the raised brow, upright ones between brows that
are drawn together, a fan beside the squinting eye. Each such *family* has a soft mask over the head's vertices and a
gain for each ARKit expression that folds it. What the families add at their fullest is drawn once, in two layers of
displacement whose lines would cross each other (level and upright ones between the brows, say), and blended by vertex:

    weight of a layer = clamp(sum over its families of mask * activity, 0, 1)
    activity of a family = clamp(sum over ARKit names of gain * weight, 0, 1)
    displacement = the neutral face's + sum over the layers of weight * what the layer adds

which is cheap enough for a viewer to do per frame. The twenty key expressions are FaceScape's (Yang et al. 2020,
"FaceScape: a large-scale high quality 3D face dataset and detailed riggable 3D face prediction", table of its twenty
specified expressions), each as a combination of ARKit values; FaceScape predicts one displacement map for each of them
and blends those, here they follow from the two layers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int16
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter
from torch import Tensor
from torch.nn import functional

from core.atlas import interpolate
from core.head import HeadModel, SameHead
from core.materials import DISPLACEMENT_UNIT_M, Materials
from core.synthesis.painting import smooth_step
from core.synthesis.wrinkles import FOLDS, Grooves, atlas_mm, fold_grooves, groove_depth

LAYERS = 2


@dataclass(frozen=True)
class Family:
    """Lines that appear together. layer: 0 or 1, the map in which they are drawn. gains: ARKit name -> how strongly a
    weight of 1 folds them; below 0 where the expression stretches the skin instead."""

    name: str
    layer: int
    gains: Mapping[str, float]


def _paired(name: str, layer: int, gains: Mapping[str, float]) -> tuple[Family, Family]:
    """A family on either side of the face; "*" in an ARKit name stands for its own side."""
    left, right = (
        Family(name + side, layer, MappingProxyType({key.replace("*", side): gain for key, gain in gains.items()}))
        for side in ("Left", "Right")
    )
    return left, right


def _middle(name: str, layer: int, gains: Mapping[str, float]) -> Family:
    """A family across the middle; "*" stands for both sides."""
    both = {key.replace("*", side): gain for key, gain in gains.items() for side in ("Left", "Right")}
    return Family(name, layer, MappingProxyType(both))


# The order is that of the masks in exported files: four to a vertex attribute.
FAMILIES: tuple[Family, ...] = (
    _middle("foreheadInner", 0, {"browInnerUp": 1.0, "browOuterUp*": 0.25, "browDown*": -0.3}),
    *_paired("foreheadOuter", 0, {"browOuterUp*": 1.0, "browInnerUp": 0.3, "browDown*": -0.4}),
    _middle("glabella", 1, {"browDown*": 0.55, "noseSneer*": 0.15, "browOuterUp*": -0.1}),
    *_paired("bunny", 0, {"noseSneer*": 1.0, "mouthUpperUp*": 0.25, "browDown*": 0.15}),
    *_paired("crowsFeet", 0, {"cheekSquint*": 0.8, "eyeSquint*": 0.7, "mouthSmile*": 0.5, "eyeBlink*": 0.15}),
    *_paired(
        "lowerLid",
        0,
        {"eyeSquint*": 0.8, "cheekSquint*": 0.6, "mouthSmile*": 0.25, "noseSneer*": 0.3, "eyeBlink*": 0.15}
        | {"eyeWide*": -0.4},
    ),
    *_paired(
        "nasolabial",
        1,
        {"mouthSmile*": 0.9, "mouthUpperUp*": 0.7, "noseSneer*": 0.5, "mouthDimple*": 0.6, "mouthStretch*": 0.45}
        | {"cheekSquint*": 0.35, "mouth*": 0.5, "cheekPuff": -0.8, "mouthFunnel": -0.3},
    ),
    _middle(
        "lips",
        0,
        {"mouthPucker": 1.0, "mouthFunnel": 0.45, "mouthShrugUpper": 0.4, "mouthRollUpper": 0.35}
        | {"mouthRollLower": 0.35, "mouthPress*": 0.2, "jawOpen": -0.3},
    ),
    *_paired(
        "mouthCorner",
        1,
        {"mouthFrown*": 1.0, "mouthStretch*": 0.5, "mouthPress*": 0.5, "mouthDimple*": 0.4, "mouthLowerDown*": 0.3}
        | {"mouth*": 0.35, "jaw*": 0.3, "mouthShrugLower": 0.3, "cheekPuff": -0.5},
    ),
    _middle(
        "chin",
        0,
        {"mouthShrugLower": 1.0, "mouthPucker": 0.4, "mouthRollLower": 0.35, "mouthFrown*": 0.2, "mouthPress*": 0.15}
        | {"mouthClose": 0.3, "jawOpen": -0.4},
    ),
)

# What folds no skin that is drawn here: eyes that look about, a tongue, a jaw that only moves forward.
FOLDLESS: frozenset[str] = frozenset(
    [f"eyeLook{way}{side}" for way in ("Up", "Down", "In", "Out") for side in ("Left", "Right")]
    + ["jawForward", "tongueOut"]
)


def _both(**gains: float) -> Mapping[str, float]:
    """ARKit weights; a trailing underscore stands for both sides."""
    weights = {
        name.rstrip("_") + side: weight
        for name, weight in gains.items()
        for side in (("Left", "Right") if name.endswith("_") else ("",))
    }
    return MappingProxyType(weights)


KEY_EXPRESSIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "neutral": _both(),
        "smile": _both(mouthSmile_=0.8, cheekSquint_=0.4),
        "mouth stretch": _both(jawOpen=0.9, mouthStretch_=0.5, mouthLowerDown_=0.4),
        "anger": _both(browDown_=1.0, noseSneer_=0.6, eyeSquint_=0.5, mouthPress_=0.5),
        "jaw left": _both(jawLeft=1.0),
        "jaw right": _both(jawRight=1.0),
        "jaw forward": _both(jawForward=1.0, mouthShrugLower=0.2),
        "mouth left": _both(mouthLeft=1.0),
        "mouth right": _both(mouthRight=1.0),
        "dimpler": _both(mouthDimple_=1.0, mouthPress_=0.3),
        "chin raiser": _both(mouthShrugLower=1.0, mouthShrugUpper=0.4),
        "lip puckerer": _both(mouthPucker=1.0),
        "lip funneler": _both(mouthFunnel=1.0, jawOpen=0.2),
        "sadness": _both(browInnerUp=0.9, browDown_=0.2, mouthFrown_=0.9, mouthShrugLower=0.3),
        "lip roll": _both(mouthRollUpper=1.0, mouthRollLower=1.0),
        "grin": _both(mouthSmile_=0.7, mouthStretch_=0.5, mouthUpperUp_=0.6, mouthLowerDown_=0.6, cheekSquint_=0.5),
        "cheek blowing": _both(cheekPuff=1.0, mouthPucker=0.2, mouthPress_=0.5),
        "eyes closed": _both(eyeBlink_=1.0, eyeSquint_=0.6, cheekSquint_=0.4),
        "brow raiser": _both(browInnerUp=1.0, browOuterUp_=1.0, eyeWide_=0.3),
        "brow lower": _both(browDown_=1.0),
    }
)


# --------------------------------------------------------------------------------------------------------- run time


def family_activity(weights: Mapping[str, float]) -> Float[Tensor, "F"]:
    """How strongly each of `FAMILIES` is folded, 0..1. weights: ARKit name -> 0..1; names that are absent are 0, names
    that no family knows count for nothing."""
    sums = [sum(gain * float(weights.get(name, 0.0)) for name, gain in family.gains.items()) for family in FAMILIES]
    return torch.tensor(sums).clamp(0, 1)


def layer_weights(head: HeadModel, weights: Mapping[str, float]) -> Float[Tensor, "V 2"]:
    """How much of each layer of wrinkles shows at each vertex, 0..1."""
    masked = family_masks(head) * family_activity(weights).to(head.template.device)
    layers = torch.tensor([family.layer for family in FAMILIES], device=masked.device)
    return torch.stack([masked[:, layers == layer].sum(1) for layer in range(LAYERS)], 1).clamp(0, 1)


def displacement_of(
    head: HeadModel, materials: Materials, weights: Mapping[str, float], size: int
) -> Float[Tensor, "{size} {size}"]:
    """How far the skin stands out along the normal under an expression, in metres: the neutral face's relief and the
    wrinkles of the expression. Maps of another size are resampled; a map that the materials lack counts as flat."""
    out = torch.zeros(size, size, device=head.template.device)
    if materials.skin_displacement is not None:
        out = out + _resized(_metres(materials.skin_displacement), size).to(out.device)[0]
    if materials.skin_wrinkles is None or not (shown := layer_weights(head, weights)).any():
        return out
    layers = _resized(_metres(materials.skin_wrinkles), size).to(out.device)
    return out + (interpolate(head, shown, size).permute(2, 0, 1) * layers).sum(0)


def _metres(micrometres: Tensor) -> Tensor:
    return micrometres.float() * DISPLACEMENT_UNIT_M


def _resized(maps: Tensor, size: int) -> Tensor:
    """Maps ``[C, W, W]`` at another size: averaged where they shrink, bilinear where they grow."""
    if maps.shape[-1] == size:
        return maps
    if maps.shape[-1] > size:
        return functional.interpolate(maps[None], size=(size, size), mode="area")[0]
    return functional.interpolate(maps[None], size=(size, size), mode="bilinear")[0]


# ------------------------------------------------------------------------------------------------------------ masks


def family_masks(head: HeadModel) -> Float[Tensor, "V F"]:
    """Where each of `FAMILIES` folds, 0..1 over all vertices of the head and 0 off the skin. Sides mirror each other
    exactly. All zeros for a head without "mediapipe" landmarks, whose anatomy is not known."""
    return _masks(SameHead(head))


@functools.lru_cache(maxsize=4)
def _masks(key: SameHead) -> Float[Tensor, "V F"]:
    head = key.head
    result = head.template.new_zeros(len(head.template), len(FAMILIES))
    if "mediapipe" not in head.landmarks:
        return result
    skin = torch.zeros(len(head.template), dtype=torch.bool, device=result.device)
    skin[head.faces[head.part_faces("skin")]] = True
    place = head.template * 1000
    points = head.landmark_points("mediapipe", head.template) * 1000
    # On the right side: MediaPipe's lower numbers lie there.
    right = _right_masks(place * place.new_tensor([-1, 1, 1]), points * points.new_tensor([-1, 1, 1]))
    for column, family in enumerate(FAMILIES):
        own = family.name.removesuffix("Left").removesuffix("Right")
        mask = right[own]
        if family.name.endswith("Left"):
            mask = mask[head.mirror]
        elif not family.name.endswith("Right"):
            mask = (mask + mask[head.mirror]) / 2
        result[:, column] = mask * skin
    return result


def _along(x: Tensor, knots: list[tuple[float, float]]) -> Tensor:
    """A piecewise linear function through (x, value), constant beyond its ends."""
    at, value = np.array(sorted(knots)).T
    return torch.from_numpy(np.interp(x.cpu().double().numpy(), at, value)).to(x)


def _right_masks(place: Float[Tensor, "V 3"], points: Float[Tensor, "L 3"]) -> dict[str, Tensor]:
    """Masks of the families of the right side, and of those in the middle, by name without side. Both arguments in
    millimetres, mirrored so that x grows outwards on the right."""
    out, y, z = place.unbind(1)
    p = points.tolist()
    away = out.abs()
    side = smooth_step(-9.0, 9.0, out)
    front = smooth_step(p[9][2] - 75, p[9][2] - 55, z)

    brow = _along(away, [(0.0, p[9][1]), *((p[k][0], p[k][1]) for k in (107, 105, 63, 70))])
    hair = p[10][1]
    forehead = smooth_step(-4.0, 5.0, y - brow) * smooth_step(hair + 14, hair + 2, y)
    forehead = forehead * smooth_step(p[70][0] + 11, p[70][0] - 3, away) * front
    outer = smooth_step(10.0, 32.0, away)

    glabella = smooth_step(p[55][0] + 12, p[55][0] + 1, away)
    glabella = glabella * smooth_step(p[168][1] - 4, p[8][1] - 3, y) * smooth_step(p[9][1] + 18, p[9][1] + 6, y) * front

    bridge, tip = p[168][1], p[4][1]
    bunny = side * smooth_step(p[129][0] + 3, p[129][0] - 6, away)
    bunny = bunny * smooth_step(tip - 1, tip + 9, y) * smooth_step(bridge + 8, bridge + 1, y) * front

    corner = torch.tensor(p[33]).to(place)
    distance = (place - corner).norm(dim=1)
    crows_feet = smooth_step(40.0, 26.0, distance) * smooth_step(-3.0, 5.0, out - corner[0])
    crows_feet = crows_feet * smooth_step(-34.0, -22.0, y - corner[1]) * smooth_step(22.0, 12.0, y - corner[1])

    lid = _along(out, [(p[k][0], p[k][1]) for k in (133, 145, 33)])
    lower_lid = smooth_step(2.0, -4.0, y - lid) * smooth_step(p[119][1] - 3, p[230][1], y)
    lower_lid = lower_lid * smooth_step(p[133][0] - 8, p[133][0] - 1, out) * smooth_step(54.0, 44.0, out) * front

    fold = _along(y, [(p[k][1], p[k][0]) for k in (49, 203, 206, 216, 212, 202)])
    nasolabial = smooth_step(-10.0, -5.0, out - fold) * smooth_step(64.0, 50.0, out)
    nasolabial = nasolabial * smooth_step(p[202][1] - 5, p[202][1] + 7, y) * front
    nasolabial = nasolabial * smooth_step(p[49][1] + 8, p[49][1], y)

    mouth = (p[0][1] + p[17][1]) / 2
    lips = smooth_step(1.0, 0.74, torch.hypot(out / 38, (y - mouth) / 24)) * front

    down = _along(y, [(p[k][1], p[k][0]) for k in (57, 202, 210, 169)])
    mouth_corner = smooth_step(16.0, 9.0, (out - down).abs()) * front
    mouth_corner = mouth_corner * smooth_step(p[61][1] + 3, p[61][1] - 5, y)
    mouth_corner = mouth_corner * smooth_step(p[152][1] - 2, p[152][1] + 10, y)

    chin = smooth_step(1.0, 0.7, torch.hypot(out / 32, (y - (p[200][1] - 3)) / 20)) * front
    return {
        "foreheadInner": forehead * (1 - outer),
        "foreheadOuter": forehead * outer * (out > 0),
        "glabella": glabella,
        "bunny": bunny,
        "crowsFeet": crows_feet,
        "lowerLid": lower_lid,
        "nasolabial": nasolabial,
        "lips": lips,
        "mouthCorner": mouth_corner,
        "chin": chin,
    }


# -------------------------------------------------------------------------------------------------------- the maps

BULGE_MM = (2.6, 7.0)  # the skin of a fold bulges beside its groove, so far from a sharp and from a soft one ...
BULGE = (0.85, 0.7)  # ... with so much of the groove's volume, on a child, in old age
FIELD_SIDE = 128  # texels of the maps from which curves read masks and texels the lines' direction
LINE_MM = 0.6  # a person's own lines are looked for after a blur of this size; pores are gone then
LINE_DEPTH_MM = (0.03, 0.14)  # from what depth a furrow is taken for a line, and from what depth without doubt
DEEPENED = 1.2  # a line of one's own sinks by so much of what drawn ones beside it would reach
APART_MM = 2.2  # a drawn line gives way where one of the person's own is about this near ...
GIVE_WAY = {False: 0.85, True: 0.35}  # ... to this share, sharp lines and soft ones


def draw_wrinkles(
    head: HeadModel, strength: float, seed: int, displacement_m: Float[Tensor, "U U"], size: int
) -> Int16[Tensor, "2 {size} {size}"]:
    """`Materials.skin_wrinkles`: what expressions add at their fullest, micrometres along the normal, in two layers.

    strength: 0 the shallow, round folds of a child, 1 the deep, sharp ones of old age. seed: draws the lines' places.
    displacement_m: the neutral relief of the person, whose own lines deepen, while drawn ones give way beside them.
    Grooves sink and what they displace bulges beside them. All zeros for a head without "mediapipe" landmarks.
    """
    strength = min(max(float(strength), 0.0), 1.0)
    folds = fold_grooves(head, strength, seed)
    if not any(folds.values()):
        return torch.zeros(LAYERS, size, size, dtype=torch.int16, device=head.template.device)
    texel_mm = atlas_mm(head) / size
    shares = _fold_shares(SameHead(head))
    own = _own_lines(_resized(displacement_m[None], size)[0].cpu().numpy() * 1000, texel_mm)
    layers = []
    for layer in range(LAYERS):
        names = [name for name in FOLDS if _layer_of(name) == layer]
        grooves = [
            replace(g, depth_mm=g.depth_mm * _sampled(shares[name], g.points)) for name in names for g in folds[name]
        ]
        region = shares[names[0]] * 0
        for name in names:
            region = np.maximum(region, shares[name])
        reach = _reach(grooves, region, texel_mm * size / FIELD_SIDE)
        lines = _along_the_folds(own, grooves, region, texel_mm)
        beside = _blurred(lines, APART_MM / texel_mm)
        # The blur of one line of about LINE_MM half width, beside it.
        beside = np.clip(beside / (0.35 * LINE_MM / APART_MM), 0, 1)
        grooves = [
            replace(g, depth_mm=g.depth_mm * (1 - GIVE_WAY[g.soft] * _sampled(beside, g.points))) for g in grooves
        ]
        sharp, soft = (depth.cpu().numpy() for depth in groove_depth(head, grooves, size))
        sharp = np.maximum(sharp, DEEPENED * _resize(reach, size) * lines)
        bulge = _blurred(sharp, BULGE_MM[0] / texel_mm) + _blurred(soft, BULGE_MM[1] / texel_mm)
        layers.append(np.interp(strength, (0, 1), BULGE) * bulge - sharp - soft)
    micrometres = torch.from_numpy(np.stack(layers)) * 1000
    return micrometres.round().clamp(-32768, 32767).to(torch.int16).to(head.template.device)


def _layer_of(fold: str) -> int:
    return next(family.layer for family in FAMILIES if family.name.startswith(fold))


@functools.lru_cache(maxsize=4)
def _fold_shares(key: SameHead) -> dict[str, NDArray[np.float32]]:
    """Per fold of `FOLDS` a map 0..1 of where its lines may be: where its families are and no other of its layer is
    stronger, so that the lines of one do not come up with another."""
    masks = family_masks(key.head)
    maps = interpolate(key.head, masks, FIELD_SIDE).permute(2, 0, 1).cpu()
    shares = {}
    for name in FOLDS:
        mates = [index for index, family in enumerate(FAMILIES) if family.layer == _layer_of(name)]
        own = maps[[index for index in mates if FAMILIES[index].name.startswith(name)]].sum(0)
        share = own / maps[mates].sum(0).clamp_min(1e-3)
        shares[name] = (smooth_step(0.3, 0.7, share) * smooth_step(0.0, 0.15, own)).numpy()
    return shares


def _sampled(field: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """A map at atlas points ``[..., 2]``, v upwards."""
    side = len(field)
    at = np.stack([(1 - points[..., 1]) * side - 0.5, points[..., 0] * side - 0.5])
    values = map_coordinates(field, at.reshape(2, -1), order=1, mode="nearest")
    return values.astype(np.float32).reshape(points.shape[:-1])


def _resize(field: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return _resized(torch.from_numpy(field)[None], size)[0].numpy()


def _blurred(field: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """A Gaussian blur of `radius` texels, worked out on a map as coarse as the blur allows."""
    size = len(field)
    small = max(round(size / max(radius / 2, 1)), 1)
    blurred = gaussian_filter(_resize(field, small), radius * small / size, truncate=3)
    return _resize(np.asarray(blurred, np.float32), size)


def _reach(grooves: list[Grooves], region: NDArray[np.float32], field_mm: float) -> NDArray[np.float32]:
    """How deep lines get near each place of a region, millimetres: what the person's own lines there deepen by."""
    reach = np.zeros((FIELD_SIDE, FIELD_SIDE), np.float32)
    for groove in grooves:
        if not groove.soft:
            np.maximum.at(reach, _cells(groove.points), groove.depth_mm.astype(np.float32))
    near = maximum_filter(reach, 2 * round(6.0 / field_mm) + 1)
    return region * gaussian_filter(np.maximum(near, 0.3 * near.max()), 3.0 / field_mm)


def _cells(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the texels of a small map in which atlas points lie."""
    cells = np.clip((np.stack([1 - points[..., 1], points[..., 0]]) * FIELD_SIDE).astype(np.int64), 0, FIELD_SIDE - 1)
    return cells[0], cells[1]


@dataclass(frozen=True, eq=False)
class _OwnLines:
    """A person's own lines. depth_mm: ``[U, U]`` of furrows below their surroundings. presence: ``[U, U]`` 0..1, how
    surely one is a line. cosine, sine: of twice the angle at which it runs (x right, y down)."""

    depth_mm: NDArray[np.float32]
    presence: NDArray[np.float32]
    cosine: NDArray[np.float32]
    sine: NDArray[np.float32]


def _own_lines(displacement_mm: NDArray[np.float32], texel_mm: float) -> _OwnLines:
    """Furrows of 0.5 to 3 mm: places lower than their surroundings that curve across one direction, not all round as
    pores do."""
    sigma = LINE_MM / texel_mm
    smooth = gaussian_filter(displacement_mm, sigma, truncate=3)
    depth = _blurred(displacement_mm, 3 * sigma) - smooth
    by_y, by_x = np.gradient(smooth)
    yy, xy = np.gradient(by_y)
    xx = np.gradient(by_x, axis=1)
    half_difference, mean = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2
    most, least = mean + half_difference, mean - half_difference
    lineness = np.clip((most - np.abs(least)) / np.maximum(most, 1e-9), 0, 1) * (most > 0)
    low, high = LINE_DEPTH_MM
    presence = np.clip((depth - low) / (high - low), 0, 1) * np.clip(2 * lineness - 0.4, 0, 1)
    # The furrow runs across the direction in which it curves most.
    length = np.maximum(2 * half_difference, 1e-12)
    return _OwnLines(np.maximum(depth, 0), presence, -(xx - yy) / length, -2 * xy / length)


def _along_the_folds(
    own: _OwnLines, grooves: list[Grooves], region: NDArray[np.float32], texel_mm: float
) -> NDArray[np.float32]:
    """The own lines that run as the folds of a layer do, within its region: 1 at the bottom of a line, falling off as
    its flanks do. Specks go out, gaps in a line are bridged."""
    size = len(own.presence)
    cosine, sine, weight = np.zeros((3, FIELD_SIDE, FIELD_SIDE))
    for groove in grooves:
        middle, step = groove.points[:, 1:] + groove.points[:, :-1], np.diff(groove.points, axis=1) * [1, -1]
        angle = 2 * np.arctan2(step[..., 1], step[..., 0])
        cells = _cells(middle / 2)
        amount = np.hypot(step[..., 0], step[..., 1]) * groove.depth_mm[:, 1:]
        for field, part in ((cosine, np.cos(angle)), (sine, np.sin(angle)), (weight, 1.0)):
            np.add.at(field, cells, amount * part)
    reach = 5.0 / (texel_mm * size / FIELD_SIDE)
    cosine, sine, weight = (gaussian_filter(field, reach) for field in (cosine, sine, weight))
    known = np.maximum(np.hypot(cosine, sine), 1e-9)
    # The clearer the common direction, the more it counts; pebbles have none.
    clear = np.clip(known / np.maximum(weight, 1e-9) * 1.5, 0, 1)
    fields = [_resize(f.astype(np.float32), size) for f in (cosine / known, sine / known, clear, region)]
    cosine, sine, clear, region = fields
    agreement = clear * (own.cosine * cosine + own.sine * sine) + (1 - clear) * 0.5
    presence = own.presence * np.clip(1.6 * agreement - 0.3, 0, 1) * region

    # A line goes on: its mean along its own direction bridges gaps and forgets specks.
    smoothing = 1.2 / texel_mm
    cosine = _blurred(presence * own.cosine, smoothing) + 0.01 * cosine
    sine = _blurred(presence * own.sine, smoothing) + 0.01 * sine
    row, column = np.nonzero(_blurred(presence, smoothing) > 0.01)
    angle = np.arctan2(sine[row, column], cosine[row, column]) / 2
    total = np.zeros(len(row), np.float32)
    steps = np.linspace(-6.0, 6.0, 13)
    weights = np.exp(-0.5 * (steps / 3.0) ** 2)
    for step, share in zip(steps / texel_mm, weights / weights.sum(), strict=True):
        at_row = np.clip(np.rint(row + step * np.sin(angle)).astype(np.int64), 0, size - 1)
        at_column = np.clip(np.rint(column + step * np.cos(angle)).astype(np.int64), 0, size - 1)
        total += share * presence[at_row, at_column]
    result = np.zeros((size, size), np.float32)
    result[row, column] = np.clip(1.5 * total - 0.2, 0, 1)
    return gaussian_filter(result, 0.55 / texel_mm).astype(np.float32)


def expression_displacements(
    head: HeadModel, materials: Materials, size: int
) -> Iterator[tuple[str, Float[Tensor, "U U"]]]:
    """The maps of all `KEY_EXPRESSIONS`, one after the other: name and displacement in metres, as `displacement_of`."""
    for name, weights in KEY_EXPRESSIONS.items():
        yield name, displacement_of(head, materials, weights, size)


# --------------------------------------------------------------------------------------------------- near neutral

# ARKit name without its side -> what a person would call it.
MOVEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "browDown": "lowered brows",
        "browInnerUp": "raised inner brows",
        "browOuterUp": "raised outer brows",
        "cheekPuff": "puffed cheeks",
        "cheekSquint": "raised cheeks",
        "eyeBlink": "closed eyes",
        "eyeSquint": "squinting eyes",
        "eyeWide": "widened eyes",
        "jawForward": "the jaw pushed forward",
        "jawLeft": "the jaw moved to the left",
        "jawRight": "the jaw moved to the right",
        "jawOpen": "an open mouth",
        "mouthClose": "lips closed over an open jaw",
        "mouthDimple": "dimpled corners of the mouth",
        "mouthFrown": "lowered corners of the mouth",
        "mouthFunnel": "rounded lips",
        "mouthLeft": "the mouth moved to the left",
        "mouthRight": "the mouth moved to the right",
        "mouthLowerDown": "a lowered lower lip",
        "mouthPress": "pressed lips",
        "mouthPucker": "puckered lips",
        "mouthRollLower": "the lower lip rolled in",
        "mouthRollUpper": "the upper lip rolled in",
        "mouthShrugLower": "a raised chin",
        "mouthShrugUpper": "a raised upper lip",
        "mouthSmile": "a smile",
        "mouthStretch": "a stretched mouth",
        "mouthUpperUp": "a lifted upper lip",
        "noseSneer": "a wrinkled nose",
        "tongueOut": "the tongue stuck out",
    }
)
NEUTRAL_LIMIT = 0.35  # of a weight: beyond it folds are seen, or smoothed away, that the relaxed face does not show
HARMLESS_SHARE = 0.5  # how much a half-closed or wide eye counts: it moves little skin beyond the lids


def near_neutral(expression: Mapping[str, float]) -> tuple[bool, str]:
    """Whether a photo's expression, ARKit name -> weight, is near enough to the relaxed face for what is seen in it to
    be taken as the relaxed face's relief; and a sentence that says so, with the strongest movement and what to do.

    Where the eyes look does not count, and lids count half (`HARMLESS_SHARE`).
    """
    weighed = {
        name: weight * (HARMLESS_SHARE if name.startswith(("eyeBlink", "eyeWide")) else 1.0)
        for name, weight in expression.items()
        if not name.startswith("eyeLook")
    }
    strongest = max(weighed, key=lambda name: weighed[name], default=None)
    if strongest is None or weighed[strongest] <= NEUTRAL_LIMIT:
        return True, "The face in the photo is relaxed enough for wrinkles that follow its expressions."
    stem = strongest if strongest in MOVEMENTS else strongest.removesuffix("Left").removesuffix("Right")
    return False, (
        f"The face in the photo is not relaxed: it shows {MOVEMENTS.get(stem, stem)} "
        f"({strongest} {expression[strongest]:.2f}; at most {NEUTRAL_LIMIT:.2f} is near neutral). Folds of that "
        "expression may stay on the relaxed face. Use a photo with a relaxed face, eyes open and lips closed."
    )
