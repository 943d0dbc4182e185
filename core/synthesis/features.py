"""Where a person's features are: spots, hair, redness and make-up as maps, coloured by `skins`, raised by `relief`.

Every feature is laid down in continuous coordinates of the atlas or of space, with sizes in millimetres, and only then
drawn on texels, so that a map of another size shows the same person.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from scipy.interpolate import interp1d
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, interpolate, positions
from core.head import HeadModel, SameHead
from core.synthesis.painting import BROWS, LIPS_OUTER, enlarge, noise_3d, skin_fields, smooth_step
from core.synthesis.people import Person
from core.synthesis.wrinkles import wrinkle_depth

STRIP_SHAPE = (96, 320)  # texels across and along an unrolled eyebrow
STRIP_S = (-0.25, 1.35)  # range along it ...
STRIP_T_MM = (-10.0, 14.0)  # ... and across, upwards


@dataclass(frozen=True, eq=False)
class BrowFrame:
    """Curved axes of one brow in the atlas: s runs 0..1 from the nose outwards, t upwards across it in mm.

    line, up: polynomials in s, ``[4, 2]`` (x right, y down, 0..1) of the middle line, and which sign "up" has.
    unit: atlas lengths per millimetre. length_mm: of the middle line.
    """

    line: np.ndarray
    side: float
    unit: float
    length_mm: float

    def to_atlas(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Points ``[N, 2]`` at s and t."""
        # Beyond its ends the line runs straight on: a cubic would curl.
        inner = s.clip(0, 1)[:, None]
        powers = inner ** np.arange(4)
        slopes = np.arange(1, 4) * inner ** np.arange(3) @ self.line[1:]
        point = powers @ self.line + (s - s.clip(0, 1))[:, None] * slopes
        up = self.side * np.stack([-slopes[:, 1], slopes[:, 0]], 1) / np.linalg.norm(slopes, axis=1, keepdims=True)
        return point + t[:, None] * self.unit * up

    def texels(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """s and t of every texel within the strip of this brow, and its row-major index."""
        along = np.linspace(STRIP_S[0] + 0.02, STRIP_S[1] - 0.02, 400)
        line, above = (self.to_atlas(along, np.full(400, t)) for t in (0.0, 1.0))
        reach = STRIP_T_MM[1] * self.unit
        low = np.maximum(((line.min(0) - reach) * size).astype(int), 0)
        high = np.minimum(((line.max(0) + reach) * size).astype(int) + 1, size)
        row, column = np.mgrid[low[1] : high[1], low[0] : high[0]].reshape(2, -1)
        texel = (np.stack([column, row], 1) + 0.5) / size
        distance, index = KDTree(line).query(texel, distance_upper_bound=reach)
        near = np.nonzero(np.isfinite(distance))[0]
        index = np.asarray(index)[near]
        up = (above - line)[index] / self.unit
        t = ((texel[near] - line[index]) * up).sum(1) / self.unit
        keep = (t > STRIP_T_MM[0]) & (t < STRIP_T_MM[1]) & (index > 0) & (index < len(along) - 1)
        return (
            torch.from_numpy(along[index[keep]]),
            torch.from_numpy(t[keep]),
            torch.from_numpy((row * size + column)[near[keep]]),
        )


def brow_frames(head: HeadModel) -> tuple[BrowFrame, ...]:
    """The right and the left brow's axes; none for a head without "mediapipe" landmarks."""
    if "mediapipe" not in head.landmarks:
        return ()
    points = head.landmark_points("mediapipe", head.template).double().numpy()
    atlas = landmark_atlas(head)
    frames = []
    for lower, upper in BROWS:
        middle = (atlas[list(lower)] + atlas[list(upper)]) / 2
        line = np.linalg.lstsq(np.linspace(0, 1, 5)[:, None] ** np.arange(4), middle, rcond=None)[0]
        length_mm = np.linalg.norm(np.diff((points[list(lower)] + points[list(upper)]) / 2, axis=0), axis=1).sum() * 1e3
        unit = np.linalg.norm(np.diff(middle, axis=0), axis=1).sum() / length_mm
        along = middle[-1] - middle[0]
        frames.append(BrowFrame(line, 1.0 if along[0] < 0 else -1.0, unit, float(length_mm)))
    return tuple(frames)


def landmark_atlas(head: HeadModel) -> np.ndarray:
    """Where the "mediapipe" landmarks lie in the atlas: ``[478, 2]``, x right, y down, 0..1."""
    embedding = head.landmarks["mediapipe"]
    uv = (head.uv[head.uv_faces[embedding.face_index]] * embedding.barycentric[..., None]).sum(1).double().numpy()
    return uv * [1, -1] + [0, 1]


def strip_coordinates() -> tuple[np.ndarray, np.ndarray]:
    """s and t (mm) of each texel of an unrolled eyebrow, both `STRIP_SHAPE`; row 0 is the highest."""
    rows, columns = STRIP_SHAPE
    s = STRIP_S[0] + (np.arange(columns) + 0.5) / columns * (STRIP_S[1] - STRIP_S[0])
    t = STRIP_T_MM[1] - (np.arange(rows) + 0.5) / rows * (STRIP_T_MM[1] - STRIP_T_MM[0])
    return np.broadcast_to(s[None], STRIP_SHAPE), np.broadcast_to(t[:, None], STRIP_SHAPE)


# What is drawn from a seed, each in its own stream, so that one label never moves another's features.
(
    _FRECKLES,
    _MOLES,
    _AGE_SPOTS,
    _BLEMISHES,
    _SCARS,
    _BROWS,
    _BEARD,
    _SCALP,
    _STUBBLE,
    _PORES,
    _MAKE_UP,
    NOISE,
    SOURCES,
) = range(13)

EYE_UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
EYE_LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
BANK = 3  # fields per scale; a person's noise is a mix of them, as good as fresh and far cheaper
# What a person's rows of mixing weights stand for, as regions of the head model.
REGIONS: tuple[tuple[str, ...], ...] = (
    ("forehead", "scalp"),
    ("eye_sockets", "eyelids"),
    ("nose",),
    ("cheeks",),
    ("lips", "chin"),
    ("ears", "neck"),
)
CHANCE_SIDE = 256  # spots are strewn on a map of this side, whatever the size that is painted


def person_rng(person: Person, stream: int) -> np.random.Generator:
    """The random numbers of one kind of feature."""
    return np.random.default_rng([person.seed, stream])


@dataclass(frozen=True, eq=False)
class Features:
    """What is on a person's skin and where, as maps of the atlas.

    wrinkles: depth of grooves in metres. The rest 0..1. pores: pits. freckles, moles, age_spots, blemishes, scars:
    how strongly a texel is part of one. flush, under_eye: redness and the dark below the eyes. brows, scalp, stubble,
    beard: share of the skin hidden by hair (stubble: by the shadow of cut hair). white: share of a texel's brow or
    beard hair that is white; 0 without grey or hair. lips: where lips are, whatever their
    colour. lipstick, eyeliner, eyeshadow, blush: coverage. Each map but pores, lips and wrinkles is exactly 0 where
    its label is.
    """

    wrinkles: Float[Tensor, "U U"]
    pores: Float[Tensor, "U U"]
    freckles: Float[Tensor, "U U"]
    moles: Float[Tensor, "U U"]
    age_spots: Float[Tensor, "U U"]
    blemishes: Float[Tensor, "U U"]
    scars: Float[Tensor, "U U"]
    flush: Float[Tensor, "U U"]
    under_eye: Float[Tensor, "U U"]
    brows: Float[Tensor, "U U"]
    scalp: Float[Tensor, "U U"]
    stubble: Float[Tensor, "U U"]
    beard: Float[Tensor, "U U"]
    white: Float[Tensor, "U U"]
    lips: Float[Tensor, "U U"]
    lipstick: Float[Tensor, "U U"]
    eyeliner: Float[Tensor, "U U"]
    eyeshadow: Float[Tensor, "U U"]
    blush: Float[Tensor, "U U"]


def draw_features(head: HeadModel, person: Person, size: int) -> Features:
    """Every feature of a person, drawn. Deterministic in labels and seed; at another size the same things lie at the
    same places. Growing a label only adds to what it drew before.

    A head without "mediapipe" landmarks gets pores, spots and no more: its anatomy is not known here. The scalp's
    hair is known for the bundled head only.
    """
    canvas, labels = canvas_of(head, size), person.labels
    spots = functools.partial(_spots, canvas, size=size)

    def rng(stream: int) -> np.random.Generator:
        return person_rng(person, stream)

    def noise(scale: str, stream: int) -> Tensor:
        return canvas.noise(scale, rng(stream))

    face = canvas.masks
    brows, white_brows = _brows(canvas, person, size)
    beard, white_beard = _beard(canvas, person, size)
    pits = canvas.pits(rng(_PORES)) * (0.35 + face["porous"]) * (1 - face["lips"])
    moles = spots(rng(_MOLES), "skin", 26, (0.5, 1.5), labels.moles, edge=0.35, wobble=0.12)
    age_spots = spots(rng(_AGE_SPOTS), "sunned", 80, (1.0, 4.2), labels.age_spots, edge=0.45, wobble=0.25)
    blotches = (0.75 + 0.3 * noise("mottle", _AGE_SPOTS)).clamp(0, 1)
    flushed = face["flush"] * (0.75 + 0.25 * noise("mottle", _BLEMISHES) + 0.1 * noise("fine", _BLEMISHES)).clamp(
        0, 1.3
    )
    make_up = (0.9 + 0.08 * noise("fine", _MAKE_UP)).clamp(0, 1)
    return Features(
        wrinkles=wrinkle_depth(head, labels, person.seed, size),
        pores=(labels.pores * pits).clamp(0, 1),
        freckles=spots(
            rng(_FRECKLES), "freckled", 1500, (0.28, 0.75), labels.freckles, edge=0.7, wobble=0.15, faintest=0.15
        ),
        moles=moles,
        age_spots=age_spots * blotches,
        blemishes=spots(rng(_BLEMISHES), "blemished", 36, (0.5, 1.7), labels.blemishes, edge=0.8, wobble=0.2),
        scars=_scars(canvas, rng(_SCARS), labels.scars, size),
        flush=(labels.flush * flushed).clamp(0, 1),
        under_eye=labels.under_eye * face["under_eye"],
        brows=brows,
        scalp=_scalp(canvas, person),
        stubble=_stubble(canvas, person),
        beard=beard,
        white=((white_brows + white_beard) / (brows + beard).clamp_min(1e-6)).clamp(0, 1),
        lips=face["lips"],
        lipstick=labels.lipstick * face["lipstick"] * make_up,
        eyeliner=labels.eyeliner * face["eyeliner"],
        eyeshadow=labels.eyeshadow * face["eyeshadow"] * make_up,
        blush=labels.blush * face["blush"] * make_up,
    )


# ------------------------------------------------------------------------------------------------ what a head offers


@dataclass(frozen=True, eq=False)
class Canvas:
    """What painting knows about a head at one size.

    masks: named soft maps. bank: noise of unit spread, several fields a scale, and "pits", which are 0..1.2. chance:
    where spots fall, small. scale: atlas lengths per millimetre, small. hairline: signed distance from the edge of the
    scalp in mm, > 0 in the hair. frames: `brow_frames`; brow_texels: of each brow, s and t (mm) of the texels near it
    and their row-major index. regions: weights of `REGIONS`, small, sum 1.
    """

    place: Float[Tensor, "U U 3"]
    masks: dict[str, Tensor]
    bank: dict[str, Tensor]
    chance: dict[str, np.ndarray]
    scale: np.ndarray
    hairline: Tensor
    frames: tuple[BrowFrame, ...]
    brow_texels: tuple[tuple[Tensor, Tensor, Tensor], ...]
    regions: Float[Tensor, "R C C"]

    def noise(self, scale: str, rng: np.random.Generator) -> Float[Tensor, "U U"]:
        """A field of unit spread of this person's own: a random unit vector's mix of the bank."""
        weights = rng.normal(size=BANK)
        return torch.einsum("k,kyx->yx", torch.from_numpy(weights / np.linalg.norm(weights)).float(), self.bank[scale])

    def pits(self, rng: np.random.Generator) -> Float[Tensor, "U U"]:
        """Pits of this person's own, 0..1.2: one of the bank's fields mostly, as a mean of several has no pits."""
        weights = rng.permutation([0.7, 0.2, 0.1])
        return torch.einsum("k,kyx->yx", torch.from_numpy(weights).float(), self.bank["pits"])

    def units_per_mm(self, atlas: np.ndarray) -> np.ndarray:
        """Atlas lengths per millimetre at points ``[N, 2]``."""
        return map_coordinates(self.scale, (atlas[:, ::-1] * len(self.scale) - 0.5).T, order=1, mode="nearest")


def canvas_of(head: HeadModel, size: int) -> Canvas:
    """The canvas of a head at a size; the last few are kept."""
    return _make_canvas(SameHead(head), size)


# Size of the cells, and whether they are finer than texels.
_SCALES = {
    "patches": (0.030, False),
    "mottle": (0.010, False),
    "fine": (0.0022, False),
    "pits": (0.0005, True),
    "hairs": (0.0005, True),
}


@functools.lru_cache(maxsize=5)  # a thumbnail, a preview, a relief, a photo's edit and a whole head
def _make_canvas(key: SameHead, size: int) -> Canvas:
    head = key.head
    place = positions(head, head.template, size)
    # A texel of a smaller map sees more of what is finer than itself.
    inside = _places_inside(place, min(max(2048 // size, 2), 4))
    bank = {}
    for index, (name, (cell, is_fine)) in enumerate(_SCALES.items()):
        samples = inside if is_fine else [place]
        fields = [_averaged_noise(samples, cell, 100 + 10 * index + k, name == "pits") for k in range(BANK)]
        bank[name] = torch.stack(fields)
    masks = _masks(head, place, size)
    # Chances and scale come from a map of fixed size, so that spots fall alike at every size.
    side = positions(head, head.template, CHANCE_SIDE)
    small = masks if size == CHANCE_SIDE else _masks(head, side, CHANCE_SIDE)
    inside = atlas_lookup(head, CHANCE_SIDE).inside.float()
    area = _texel_area_mm2(head)
    # Equal chance per area of skin, not per texel.
    chance = {
        name: (small[name] * inside).double().numpy() * area
        for name in ("skin", "freckled", "sunned", "blemished", "moustache", "chin", "jaw")
    }
    scale = 1 / (CHANCE_SIDE * np.sqrt(area))
    scalp = skin_fields(head, CHANCE_SIDE).scalp.numpy() > 0.4
    if scalp.any():
        away = np.asarray(distance_transform_edt(scalp)) - np.asarray(distance_transform_edt(~scalp))
        hairline_mm = gaussian_filter(away * np.sqrt(area).clip(0.3, 4), 3.5)
    else:
        hairline_mm = np.full(scalp.shape, -1000.0)
    hairline = enlarge(torch.from_numpy(hairline_mm).float()[None], size)[0]
    frames = brow_frames(head)
    near = tuple(frame.texels(size) for frame in frames)
    return Canvas(place, masks, bank, chance, scale, hairline, frames, near, _regions(head))


def _regions(head: HeadModel) -> Float[Tensor, "R C C"]:
    """Soft weights of `REGIONS`; equal where the head model knows no such regions."""
    side, masks = CHANCE_SIDE // 2, []
    for names in REGIONS:
        known = [head.region(name) for name in names if name in head.region_names]
        vertex = torch.stack(known).amax(0) if known else torch.zeros(len(head.template))
        masks.append(soften(interpolate(head, vertex[:, None], side)[..., 0], 2.5))
    stacked = torch.stack(masks) + 1e-3
    return stacked / stacked.sum(0)


def _averaged_noise(samples: list[Tensor], cell_m: float, seed: int, pits: bool) -> Float[Tensor, "U U"]:
    """Noise as a texel sees it: the mean over places inside it. pits: only what is deep of it counts."""
    total = torch.zeros(samples[0].shape[:2])
    for place in samples:
        noise = noise_3d(place, cell_m, seed)
        total += (noise - 0.25).clamp(0, 1.2) if pits else noise
    return total / len(samples)


def _places_inside(place: Float[Tensor, "U U 3"], count: int) -> list[Tensor]:
    """count^2 places spread over each texel's patch of skin."""
    if count == 1:
        return [place]
    padded = functional.pad(place.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0].permute(1, 2, 0)
    steps = []
    for difference in ((padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2):
        # Across a cut of the atlas differences are jumps, not steps along the surface.
        x, y, z = difference.unbind(-1)
        steps.append(difference * (x * x + y * y + z * z < 0.01**2)[..., None])
    offsets = [(i + 0.5) / count - 0.5 for i in range(count)]
    return [place + a * steps[0] + b * steps[1] for a in offsets for b in offsets]


def _texel_area_mm2(head: HeadModel) -> np.ndarray:
    """Skin under each texel of a map of `CHANCE_SIDE`, smoothed."""
    faces = head.part_faces("skin")
    corners, edges = head.template[head.faces[faces]], head.uv[head.uv_faces[faces]]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) * 1e6
    edges = edges[:, 1:] - edges[:, :1]
    chart = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).abs() * CHANCE_SIDE**2
    per_face = torch.zeros(len(head.faces))
    per_face[faces] = area / chart.clamp_min(1e-9)
    lookup = atlas_lookup(head, CHANCE_SIDE)
    texels = per_face[lookup.face_index.clamp_min(0)].flatten()[lookup.nearest].double().numpy()
    return gaussian_filter(np.sqrt(texels), 3.0) ** 2


def _masks(head: HeadModel, place: Float[Tensor, "U U 3"], size: int) -> dict[str, Tensor]:
    """Where things belong, 0..1; all but "skin" and "sunned" are empty where landmarks are missing."""
    names = ("porous", "freckled", "blemished", "flush", "under_eye", "moustache", "chin", "jaw", "beard", "lips",
             "lipstick", "eyeliner", "eyeshadow", "blush")  # fmt: skip
    masks: dict[str, Tensor] = dict.fromkeys(names, torch.zeros(size, size))
    masks |= dict.fromkeys(("skin", "sunned"), torch.ones(size, size))
    if "mediapipe" not in head.landmarks:
        return masks
    points, atlas = head.landmark_points("mediapipe", head.template), landmark_atlas(head)
    across = float(np.linalg.norm(atlas[291] - atlas[61])) * size
    unit = across / (1e3 * float((points[291] - points[61]).norm()))  # texels per mm
    masks |= _face_masks(head, place, size, points, polygon(atlas[list(LIPS_OUTER)], size), unit)
    masks |= _beard_masks(skin_fields(head, size).beard * (1 - masks["lipstick"]), place, points)
    return masks | _eye_masks(atlas, size, unit)


def _face_masks(
    head: HeadModel,
    place: Float[Tensor, "U U 3"],
    size: int,
    points: Float[Tensor, "L 3"],
    mouth: Float[Tensor, "U U"],
    unit: float,
) -> dict[str, Tensor]:
    """Lips, and where skin is red, porous and spotted. mouth: the lips' hard outline. unit: texels per mm."""
    x, y, z = place.unbind(-1)
    left = torch.stack([x.abs(), y, z], -1)  # both halves as if they were the left
    nose, chin, cheek, brow = points[1], points[152], points[280], (points[9] + points[10]) / 2

    def bump(centre: Tensor, shift: tuple[float, float, float], radius: tuple[float, float, float]) -> Tensor:
        return torch.exp(-(((left - centre - torch.tensor(shift)) / torch.tensor(radius)) ** 2).sum(-1))

    lips = soften(mouth, 0.8 * unit)
    front, crown = smooth_step(-0.045, -0.015, z), smooth_step(0.04, 0.09, y)
    cheeks = bump(cheek, (-0.006, 0.002, 0.0), (0.026, 0.022, 0.03))
    tip = bump(nose, (0.0, 0.002, -0.006), (0.016, 0.015, 0.02))
    wings = bump(nose * torch.tensor([0.0, 1.0, 1.0]), (0.016, -0.001, -0.018), (0.008, 0.009, 0.012))
    forehead = bump(brow, (0.0, 0.0, 0.0), (0.045, 0.025, 0.03))
    temple = bump(points[356], (-0.01, 0.01, 0.01), (0.03, 0.04, 0.04))
    chin_red = bump(chin, (0.0, 0.012, 0.0), (0.02, 0.014, 0.02))
    chin_oily = bump(chin, (0.012, 0.012, 0.0), (0.025, 0.02, 0.03))
    bridge = bump(points[5], (0.0, 0.0, 0.0), (0.02, 0.02, 0.02))
    bare = {
        "flush": 0.85 * cheeks + 0.8 * tip + 0.6 * wings + 0.35 * chin_red + 0.5 * _ears(head, size),
        "blush": bump(cheek, (0.008, 0.006, -0.008), (0.024, 0.014, 0.03)),
        "porous": 0.9 * (cheeks + tip + wings) + 0.5 * forehead,
        "freckled": (cheeks + bridge + 0.3 * forehead + 0.08) * front,
        "skin": 1 - 0.8 * skin_fields(head, size).scalp,
        "sunned": 0.5 * cheeks + temple + (0.7 + 0.6 * front) * crown + 0.03,
        "blemished": 0.8 * cheeks + chin_oily + 0.5 * tip + 0.6 * forehead + 0.05 * front,
    }
    masks = {name: value.clamp(0, 1) * (1 - lips) for name, value in bare.items()}
    return masks | {"lips": lips, "lipstick": soften(mouth, 0.45 * unit)}


def _beard_masks(
    beard: Float[Tensor, "U U"], place: Float[Tensor, "U U 3"], points: Float[Tensor, "L 3"]
) -> dict[str, Tensor]:
    """The beard's parts: above the mouth, below it, and the rest."""
    side, y = place[..., 0].abs(), place[..., 1]
    corner_x, corner_y, nose_y = float(points[291, 0]), float(points[291, 1]), float(points[2, 1])
    upper = smooth_step(corner_y - 0.010, corner_y + 0.002, y) * smooth_step(corner_x + 0.014, corner_x - 0.002, side)
    below = smooth_step(corner_y + 0.002, corner_y - 0.012, y) * smooth_step(corner_x + 0.012, corner_x - 0.004, side)
    return {
        "beard": beard,
        "moustache": beard * upper * smooth_step(nose_y + 0.006, nose_y - 0.004, y),
        "chin": beard * below,
        "jaw": beard * (1 - below) * (1 - upper),
    }


def _eye_masks(atlas: np.ndarray, size: int, unit: float) -> dict[str, Tensor]:
    """Lines of the lashes, the lids, and the crescents below. unit: texels per mm."""
    upper_lid, lower_lid, shadow, dark = (torch.zeros(size, size) for _ in range(4))
    for half in range(2):
        lash, below = atlas[list(EYE_UPPER[half])], atlas[list(EYE_LOWER[half])]
        brow = atlas[list(BROWS[half][0])][::-1]
        to_lash, to_brow, to_below = (_distance(curve, size) for curve in (lash, brow, below))
        lid = soften(polygon(np.concatenate([lash, brow[::-1]]), size), 0.5 * unit)
        shadow = shadow.maximum(lid * smooth_step(0.95, 0.25, to_lash / (to_lash + to_brow).clamp_min(1e-6)))
        upper_lid = upper_lid.maximum(smooth_step(2.0 * unit, 0.7 * unit, to_lash))
        lower_lid = lower_lid.maximum(smooth_step(1.2 * unit, 0.3 * unit, to_below))
        bag = below + [0, 13 * unit / size]
        pouch = soften(polygon(np.concatenate([below, bag[::-1]]), size), 2.4 * unit)
        dark = dark.maximum(pouch * smooth_step(14 * unit, 2 * unit, to_below))
    liner = torch.maximum(upper_lid, 0.45 * lower_lid)
    return {"eyeliner": liner, "eyeshadow": shadow, "under_eye": dark}


def _ears(head: HeadModel, size: int) -> Tensor:
    if "ears" not in head.region_names:
        return torch.zeros(size, size)
    return soften(interpolate(head, head.region("ears")[:, None], size)[..., 0], size / 100)


def polygon(corners: np.ndarray, size: int) -> Float[Tensor, "U U"]:
    """Coverage of a polygon ``[N, 2]`` in atlas coordinates."""
    canvas = Image.new("L", (4 * size, 4 * size), 0)
    ImageDraw.Draw(canvas).polygon([(float(p[0]) * 4 * size, float(p[1]) * 4 * size) for p in corners], fill=255)
    return torch.from_numpy(np.asarray(canvas.reduce(4), np.float32) / 255)


def soften(image: Float[Tensor, "U U"], radius: float) -> Float[Tensor, "U U"]:
    """A Gaussian blur, texels."""
    return torch.from_numpy(gaussian_filter(image.numpy(), radius))


def _distance(curve: np.ndarray, size: int) -> Float[Tensor, "U U"]:
    """Texels to the nearest point of a polyline ``[N, 2]``, an eighth of the map at most."""
    dense = interp1d(np.arange(len(curve)), curve * size, axis=0)(np.linspace(0, len(curve) - 1, 40 * len(curve)))
    far = size // 8
    low = np.maximum(np.floor(dense.min(0)).astype(int) - far, 0)
    high = np.minimum(np.ceil(dense.max(0)).astype(int) + far, size)
    row, column = np.mgrid[low[1] : high[1], low[0] : high[0]]
    found, _ = KDTree(dense).query(np.stack([column, row], -1) + 0.5, distance_upper_bound=far)
    distances = np.full((size, size), far, np.float32)
    distances[low[1] : high[1], low[0] : high[0]] = np.minimum(found, far)
    return torch.from_numpy(distances)


# --------------------------------------------------------------------------------------------------------- the brush


def _onset(rng: np.random.Generator, count: int, label: float, faintest: float) -> np.ndarray:
    """Strength 0..1 of each of `count` features at a label: one after the other appears, and none leaves again."""
    first = rng.uniform(0, 1, count)
    return ((label - 0.9 * first) / 0.1).clip(0, 1) * rng.uniform(faintest, 1, count)


def _strew(canvas: Canvas, rng: np.random.Generator, where: str, count: int) -> np.ndarray:
    """Random points ``[N, 2]`` of the atlas; none where the chance is 0 all over."""
    chance = canvas.chance[where].ravel()
    if chance.sum() <= 0:
        return np.zeros((0, 2))
    index = rng.choice(len(chance), count, p=chance / chance.sum())
    row, column = np.divmod(index, CHANCE_SIDE)
    return (np.stack([column, row], 1) + rng.uniform(0, 1, (count, 2))) / CHANCE_SIDE


def _spots(
    canvas: Canvas,
    rng: np.random.Generator,
    where: str,
    count: int,
    radius_mm: tuple[float, float],
    label: float,
    *,
    edge: float,
    wobble: float,
    size: int,
    faintest: float = 0.4,
) -> Float[Tensor, "U U"]:
    """Round spots with wobbling outlines, small ones more than large. edge: width of the rim over the radius."""
    if label <= 0:
        return torch.zeros(size, size)
    centre = _strew(canvas, rng, where, count)
    if len(centre) == 0:
        return torch.zeros(size, size)
    strength = _onset(rng, count, label, faintest)
    low, high = radius_mm
    unit = canvas.units_per_mm(centre) * size
    radius = (low + (high - low) * rng.uniform(0, 1, count) ** 2.5) * unit
    harmonics, phases = rng.normal(0, wobble, (count, 3)), rng.uniform(0, 2 * np.pi, (count, 3))
    seen = strength > 0
    centre, unit, radius, strength, harmonics, phases = (
        v[seen] for v in (centre * size, unit, radius, strength, harmonics, phases)
    )
    place = canvas.place.numpy()
    middle = np.stack(
        [map_coordinates(place[..., k], (centre[:, ::-1] - 0.5).T, order=1, mode="nearest") for k in range(3)], -1
    )
    # Never finer than the map can show: a smaller spot is a fainter one.
    shown = np.maximum(radius, 0.7)
    strength = strength * (radius / shown) ** 2
    total = np.zeros(size * size)
    # Spots of like size share a window.
    for low_px, high_px in itertools.pairwise((0, 2, 4, 8, 16, np.inf)):
        group = np.nonzero((shown > low_px) & (shown <= high_px))[0]
        if len(group) == 0:
            continue
        # The atlas stretches the side of the head more one way than the other: round is what is round in space.
        reach = int(np.ceil(1.7 * shown[group].max() * (1 + 1.5 * wobble + edge))) + 1
        offset = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
        texel = np.floor(centre[group])[:, ::-1, None].astype(int) + offset
        dy, dx = texel[:, 0] + 0.5 - centre[group, 1:2], texel[:, 1] + 0.5 - centre[group, 0:1]
        row, column = texel.clip(0, size - 1).transpose(1, 0, 2)
        distance = 1e3 * np.linalg.norm(place[row, column] - middle[group, None], axis=2) * unit[group, None]
        angle = np.arctan2(dy, dx)
        rim = shown[group, None] * (
            1 + sum(harmonics[group, k, None] * np.cos((k + 1) * angle + phases[group, k, None]) for k in range(3))
        )
        width = np.maximum(edge * shown[group], 0.7)[:, None]
        profile = 0.5 - 0.5 * np.tanh(1.6 * (distance - rim) / width)
        hidden = -np.log1p(-(0.98 * strength[group, None] * profile))
        keep = (texel >= 0).all(1) & (texel < size).all(1)
        total += np.bincount((texel[:, 0] * size + texel[:, 1])[keep], hidden[keep], size * size)
    return torch.from_numpy((1 - np.exp(-total)).astype(np.float32)).reshape(size, size)


def strands(points: np.ndarray, width_mm: np.ndarray, canvas: Canvas, size: int) -> Float[Tensor, "U U"]:
    """Coverage by hairs ``[N, P, 2]`` (polylines in atlas coordinates) of these widths at their roots.

    Hairs are finer than texels: each leaves its area, split between the four nearest texels, and coverage is what a
    random overlap of that area leaves. Tips taper.
    """
    if len(points) == 0:
        return torch.zeros(size, size)
    longest = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1).max() * size
    count = max(3, int(np.ceil(1.3 * longest)))
    at = np.linspace(0, points.shape[1] - 1, count)
    k = np.minimum(at.astype(int), points.shape[1] - 2)
    f = (at - k)[None, :, None]
    dense = (points[:, k] * (1 - f) + points[:, k + 1] * f) * size
    step = np.linalg.norm(np.diff(dense, axis=1), axis=2).mean(1)
    width = width_mm * canvas.units_per_mm(points[:, 0]) * size
    taper = np.clip(1.25 * (1 - np.linspace(0, 1, count)) ** 0.6, 0, 1)
    ink = (step * width)[:, None] * taper
    xy = dense - 0.5
    corner = np.floor(xy).astype(int)
    fx, fy = np.moveaxis(xy - corner, -1, 0)
    total = np.zeros(size * size)
    for i, wx in enumerate((1 - fx, fx)):
        for j, wy in enumerate((1 - fy, fy)):
            column, row = (corner[..., 0] + i).clip(0, size - 1), (corner[..., 1] + j).clip(0, size - 1)
            total += np.bincount((row * size + column).ravel(), (ink * wx * wy).ravel(), size * size)
    return torch.from_numpy((1 - np.exp(-total)).astype(np.float32)).reshape(size, size)


# ------------------------------------------------------------------------------------------------------ hair and scars


@dataclass(frozen=True)
class BrowShape:
    """How a person's brow departs from the frame's straight band: maps (s, t) of a plain brow to the frame's."""

    length: float
    thickness: float
    arch_mm: float
    lift_mm: float
    tilt_mm: float

    def place(self, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where a point of the plain brow goes."""
        wide = s * self.length
        return wide, self.thickness * t + self.bend(wide)

    def bend(self, s: np.ndarray) -> np.ndarray:
        """Height of the middle line over the frame's, mm."""
        peak = np.exp(-(((s - 0.62) / 0.3) ** 2)) - 0.35
        return self.arch_mm * peak + self.lift_mm + self.tilt_mm * (s - 0.5)


def brow_grey(person: Person) -> float:
    """Share of white hairs in the brows, which grey later than the head."""
    return person.labels.grey**1.8


def brow_shapes(person: Person) -> tuple[BrowShape, BrowShape]:
    """The right and the left brow's, alike but not the same."""
    labels, rng = person.labels, person_rng(person, _BROWS)
    lift, tilt = rng.normal(0, 0.8), rng.normal(0, 0.8)
    shapes = []
    for _ in range(2):
        a, b, c, d = rng.normal(0, 1, 4)
        shapes.append(
            BrowShape(
                length=0.82 + 0.34 * labels.brow_length + 0.012 * a,
                thickness=(0.55 + 0.95 * labels.brow_thickness) * (1 + 0.04 * b),
                arch_mm=5.0 * (labels.brow_arch - 0.5) + 0.25 * c,
                lift_mm=lift + 0.25 * d,
                tilt_mm=tilt,
            )
        )
    return shapes[0], shapes[1]


def _grizzled(
    points: np.ndarray, width_mm: np.ndarray, white: np.ndarray, canvas: Canvas, size: int
) -> tuple[Float[Tensor, "U U"], Float[Tensor, "U U"]]:
    """Coverage by hairs of which some are white, and the white ones' part of it."""
    pigmented = strands(points[~white], width_mm[~white], canvas, size)
    bright = strands(points[white], width_mm[white], canvas, size)
    total = 1 - (1 - pigmented) * (1 - bright)
    return total, total * bright / (bright + pigmented).clamp_min(1e-6)


def _brows(canvas: Canvas, person: Person, size: int) -> tuple[Float[Tensor, "U U"], Float[Tensor, "U U"]]:
    """Hairs of both brows: upright at the nose, then ever flatter outwards; those from above bend down to meet. And
    the white ones' part."""
    density = person.labels.brow_density
    if density <= 0 or not canvas.frames:
        return torch.zeros(size, size), torch.zeros(size, size)
    rng = person_rng(person, _BROWS)
    rng.normal(size=16)  # apart from the shapes' numbers
    drawn, widths, whites = [], [], []
    for frame, shape in zip(canvas.frames, brow_shapes(person), strict=True):
        count = 850
        s, t = rng.uniform(-0.02, 1.0, count), rng.uniform(-1, 1, count)
        # Half the width of a plain brow: widest a fifth of the way out, tapering to the tail.
        half = 3.3 * np.interp(s, [-0.02, 0.06, 0.25, 0.6, 0.85, 1.0], [0.55, 0.85, 1.0, 0.75, 0.42, 0.12])
        white = rng.uniform(0, 1, count)
        onset = rng.uniform(0, 1, count) * (1 + 1.1 * np.clip(0.1 - s, 0, 0.1) / 0.12 + 0.5 * np.abs(t) ** 3)
        kept = onset < 0.12 + 0.88 * density
        s, t, half, white = s[kept], t[kept], half[kept], white[kept]
        # Angle to the brow: 80 degrees at the nose, 15 outwards; upper hairs lie flatter and point down at the tail.
        angle = np.radians(np.interp(s, [0, 0.12, 0.35, 0.7, 1.0], [82, 62, 34, 16, 6]))
        angle = angle - np.radians(24) * t.clip(0, 1) * np.clip(3 * s, 0, 1) + rng.normal(0, 0.16, len(s))
        length = np.interp(s, [0, 0.2, 0.6, 1.0], [5.0, 6.5, 6.5, 4.0]) * rng.uniform(0.6, 1.1, len(s))
        curl = rng.normal(-0.25, 0.12, len(s)) * np.where(t > 0, 1.0, 0.6)
        root_t = t * half - 0.25 * length * np.sin(angle)
        points = []
        for f in (0.0, 0.35, 0.7, 1.0):
            turn = angle + curl * f
            points.append(
                frame.to_atlas(
                    *shape.place(s + f * length * np.cos(turn) / frame.length_mm, root_t + f * length * np.sin(turn))
                )
            )
        drawn.append(np.stack(points, 1))
        widths.append(rng.uniform(0.09, 0.17, len(s)) * (0.7 + 0.5 * density))
        whites.append(white < brow_grey(person))
    return _grizzled(np.concatenate(drawn), np.concatenate(widths), np.concatenate(whites), canvas, size)


def _beard(canvas: Canvas, person: Person, size: int) -> tuple[Float[Tensor, "U U"], Float[Tensor, "U U"]]:
    """Short hairs of moustache, chin and cheeks along the way they grow: down, the moustache outwards. And the white
    ones' part."""
    labels = person.labels
    drawn, widths, whites = [np.zeros((0, 4, 2))], [np.zeros(0)], [np.zeros(0, bool)]
    rng = person_rng(person, _BEARD)
    amounts = {
        "moustache": (labels.moustache, 1500),
        "chin": (labels.beard_chin, 3200),
        "jaw": (labels.beard_cheeks, 7000),
    }
    for where, (amount, count) in amounts.items():
        root = _strew(canvas, rng, where, count)
        random = rng.uniform(0, 1, (count, 4))
        turns = rng.normal(0, 1, (count, 2))
        if amount <= 0 or len(root) == 0:
            continue
        kept = random[:, 0] < 0.15 + 0.85 * amount if amount > 0.15 else random[:, 0] < 2 * amount
        root, random, turns = root[kept], random[kept], turns[kept]
        unit = canvas.units_per_mm(root)
        aside = (root[:, 0] - 0.5) / unit  # mm from the middle, towards the left
        spread = np.clip(aside / 14, -1, 1) * (1.0 if where == "moustache" else 0.35)
        angle = np.arctan2(1.0, spread) + 0.22 * turns[:, 0]
        length = (2.2 + 3.2 * amount) * (0.55 + 0.6 * random[:, 1]) * unit
        points = [root]
        for _ in range(3):
            points.append(points[-1] + (length / 3)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1))
            angle = angle + 0.12 * turns[:, 1]
        width = (0.09 + 0.06 * random[:, 2]) * (0.6 + 0.4 * min(1.0, 2 * amount))
        drawn.append(np.stack(points, 1))
        widths.append(width)
        whites.append(random[:, 3] < labels.grey)
    return _grizzled(np.concatenate(drawn), np.concatenate(widths), np.concatenate(whites), canvas, size)


def _stubble(canvas: Canvas, person: Person) -> Float[Tensor, "U U"]:
    """Shadow of a shaved beard: denser about mouth and chin, its border frayed, with the ends of hairs in it."""
    amount = person.labels.stubble
    if amount <= 0:
        return torch.zeros_like(canvas.masks["beard"])
    rng = person_rng(person, _STUBBLE)
    mask = canvas.masks["beard"]
    frayed = smooth_step(0.10, 0.85, mask + 0.10 * canvas.noise("mottle", rng) * mask * (1 - mask) * 4)
    dense = 0.72 + 0.28 * (canvas.masks["chin"] + canvas.masks["moustache"]).clamp(0, 1)
    ends = canvas.noise("hairs", rng)
    return (amount * frayed * dense * (0.55 + 0.30 * ends + 0.08 * canvas.noise("fine", rng)).clamp(0, 1)).clamp(0, 1)


def _scalp(canvas: Canvas, person: Person) -> Float[Tensor, "U U"]:
    """Hair cut to a millimetre or two: thins out over a centimetre at the hairline, recedes at temples and crown."""
    labels = person.labels
    if labels.scalp_hair <= 0 or float(canvas.hairline.max()) < 0:
        return torch.zeros_like(canvas.hairline)
    rng = person_rng(person, _SCALP)
    x, y, z = canvas.place.unbind(-1)
    top = float(y.max())
    # Male pattern: the temples first, then the crown, then all above a wreath.
    temples = torch.exp(-(((x.abs() - 0.045) / 0.022) ** 2 + ((y - 0.62 * top) / 0.035) ** 2))
    temples = temples * smooth_step(-0.05, -0.01, z)
    crown = torch.exp(-((x / 0.045) ** 2 + ((y - 0.9 * top) / 0.05) ** 2 + ((z + 0.11) / 0.05) ** 2))
    above = smooth_step(0.45 * top, 0.78 * top, y)
    bald = labels.recession
    back = 34 * smooth_step(0.0, 0.6, torch.tensor(bald)) * temples + 10 * bald * above
    ragged = 1.5 * canvas.noise("mottle", rng) + 0.7 * canvas.noise("fine", rng)
    # The painters' hairline is high: an unreceded one starts about 65 mm above the brows.
    edge = canvas.hairline + 9.0 + 2.5 * float(rng.normal()) + ragged - back
    density = smooth_step(-7.0, 15.0, edge)
    thin = (smooth_step(0.25, 0.8, torch.tensor(bald)) * crown).maximum(
        smooth_step(0.45, 1.0, torch.tensor(bald)) * above
    )
    density = density * (1 - 0.93 * thin)
    ends = 0.85 + 0.2 * canvas.noise("hairs", rng) + 0.03 * canvas.noise("fine", rng)
    return (labels.scalp_hair**0.75 * density * ends.clamp(0, 1.3)).clamp(0, 1)


def _scars(canvas: Canvas, rng: np.random.Generator, label: float, size: int) -> Float[Tensor, "U U"]:
    """Up to four thin lines, a little curved."""
    count = 4
    centre = _strew(canvas, rng, "skin", count)
    if label <= 0 or len(centre) == 0:
        return torch.zeros(size, size)
    strength = _onset(rng, count, label, 0.5)
    unit, angle = canvas.units_per_mm(centre) * size, rng.uniform(0, 2 * np.pi, count)
    length, bend, half = (
        rng.uniform(5, 22, count) * unit,
        rng.normal(0, 0.5, count),
        rng.uniform(0.3, 0.65, count) * unit,
    )
    total = torch.zeros(size, size)
    along = np.linspace(0, 1, 60)
    for i in np.nonzero(strength)[0]:
        turn = angle[i] + bend[i] * (along - 0.5)
        step = length[i] / 59 * np.stack([np.cos(turn), np.sin(turn)], 1)
        path = centre[i] * size + np.cumsum(step, 0) - step.sum(0) / 2
        low = np.maximum(np.floor(path.min(0) - 3 * half[i] - 2), 0).astype(int)
        high = np.minimum(np.ceil(path.max(0) + 3 * half[i] + 2), size).astype(int)
        row, column = np.mgrid[low[1] : high[1], low[0] : high[0]]
        distance, nearest = KDTree(path).query(np.stack([column, row], -1) + 0.5)
        # Both ends run out to a point; a line finer than a texel is a fainter one.
        wide = half[i] * np.sin(np.pi * along[nearest].clip(0.03, 0.97)) ** 0.5
        shown = np.maximum(wide, 0.6)
        profile = 0.5 - 0.5 * np.tanh((np.asarray(distance) - shown) / (0.5 * shown))
        drawn = torch.from_numpy((strength[i] * profile * wide / shown).astype(np.float32))
        window = total[low[1] : high[1], low[0] : high[0]]
        torch.maximum(window, drawn, out=window)
    return total.clamp(0, 1)
