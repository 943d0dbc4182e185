"""Judges of edits: what can be measured on a head, by nothing that guides an edit.

A head is read from its shape, its maps and its expression alone: distances between landmarks in millimetres, colours
of parts of the face in CIELAB, contrasts on the skin, the expression's own numbers. What cannot be measured so (age,
gender, weight, ancestry, how much hair of what colour) is regressed from those readings, linearly, on people who were
painted for the purpose (`python -m recipes.oracles`). No rendering, no text-image model, no latent of a generator.

The unit is the spread over people, so that half a standard deviation means the same of a nose and of freckles.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.albedo.stylegan_albedo import ridge
from core.atlas import atlas_lookup, interpolate
from core.avatar import Avatar
from core.checkpoints import read_safetensors, weights_path
from core.color import individual_typology_angle_deg, luminance, srgb_to_linear
from core.errors import FileError
from core.head import HeadModel, load_head
from core.materials import IRIS_RADIUS_UV
from core.synthesis.features import canvas_of
from core.synthesis.people import Labels
from core.synthesis.wrinkles import wrinkle_depth

MAP_PX = 512  # of the skin that is read: 0.6 mm a texel on the face
# Expressions are asked for in steps of 0.3, shapes and colours in half a standard deviation.
EXPRESSION_STEP, STEP = 0.3, 0.5

Group = Literal["person", "shape", "skin", "hair", "eyes", "expression"]
How = Literal["measured", "regressed", "given"]


# ---------------------------------------------------------------------------------------------- shape

# Landmarks of the "mediapipe" embedding, right then left where there are two.
_POINTS: dict[str, int] = {
    "sellion": 6, "tip": 4, "subnasale": 2, "menton": 152, "glabella": 9, "hairline": 10, "pogonion": 199,
    "lip_top": 0, "lip_low": 17, "mouth_top": 13, "mouth_low": 14,
}  # fmt: skip
_PAIRS: dict[str, tuple[int, int]] = {
    "ala": (64, 294), "mouth": (61, 291), "gonion": (172, 397), "zygion": (234, 454), "malar": (50, 280),
    "inner_eye": (133, 362), "outer_eye": (33, 263), "upper_lid": (159, 386), "lower_lid": (145, 374),
    "brow": (105, 334), "iris": (468, 473),
}  # fmt: skip

EAR_OUT = 0.843  # of the ears' reach from the mid plane: what lies farther out is their rim or lobe


def _ear_ends(head: HeadModel) -> tuple[list[int], list[int]]:
    """The highest and the lowest vertex of what stands out of each ear's region on the mean head."""
    ears, ends = head.region("ears") > 0.9, ([], [])
    reach = float(head.template[ears, 0].abs().max())
    for sign in (-1, 1):
        auricle = torch.nonzero(ears & (head.template[:, 0] * sign > EAR_OUT * reach))[:, 0]
        heights = head.template[auricle, 1]
        ends[0].append(int(auricle[heights.argmax()]))
        ends[1].append(int(auricle[heights.argmin()]))
    return ends


def shape_readings(head: HeadModel, shape: Float[Tensor, "K"]) -> dict[str, float]:
    """Distances on the relaxed head in millimetres, by the names of the head model's parts where they have one."""
    with torch.no_grad():
        vertices = head.rest_vertices(shape[None].float(), shape.new_zeros(1, len(head.expression_names)))[0]
        points = head.landmark_points("mediapipe", vertices).double() * 1000
    at = {name: points[index] for name, index in _POINTS.items()}
    right = {name: points[pair[0]] for name, pair in _PAIRS.items()}
    left = {name: points[pair[1]] for name, pair in _PAIRS.items()}

    def across(name: str) -> float:
        return float((right[name] - left[name]).norm())

    def apart(a: Tensor, b: Tensor) -> float:
        return float((a - b).norm())

    def both(a: str, b: str) -> float:
        return (apart(right[a], right[b]) + apart(left[a], left[b])) / 2

    def height(name: str) -> float:
        return float(right[name][1] + left[name][1]) / 2

    def depth(name: str) -> float:
        return float(right[name][2] + left[name][2]) / 2

    top, bottom = _ear_ends(head)
    malar = []
    for side in (right, left):
        line = side["mouth"] - side["zygion"]
        line, offset = line / line.norm(), side["malar"] - side["zygion"]
        malar.append(float((offset - (offset @ line) * line).norm()))
    return {
        "nose_width": across("ala"),
        "nose_length": apart(at["sellion"], at["subnasale"]),
        "nose_bridge": float(at["sellion"][2]) - depth("inner_eye"),
        "nose_projection": apart(at["subnasale"], at["tip"]),
        "lip_height": apart(at["lip_top"], at["mouth_top"]) + apart(at["mouth_low"], at["lip_low"]),
        "mouth_width": across("mouth"),
        "jaw_width": across("gonion"),
        "chin_length": apart(at["lip_low"], at["menton"]),
        "chin_projection": float(at["pogonion"][2] - at["subnasale"][2]),
        "cheekbones": sum(malar) / 2,
        "eye_opening": both("upper_lid", "lower_lid"),
        "eye_width": both("inner_eye", "outer_eye"),
        "eye_spacing": across("inner_eye"),
        "brow_height": height("brow") - (height("inner_eye") + height("outer_eye")) / 2,
        "ear_height": 1000 * float((vertices[top] - vertices[bottom]).norm(dim=1).mean()),
        "face_length": apart(at["sellion"], at["menton"]),
        "face_width": across("zygion"),
        "forehead_height": apart(at["glabella"], at["hairline"]),
    }


# ---------------------------------------------------------------------------------------------- maps

# The places on the skin that are looked at. Tone is read where neither beard nor shade nor redness is.
AREAS = (
    *("tone", "cheeks", "nose", "forehead", "under_eye", "lids", "lashes", "lips", "moustache", "chin", "jaw"),
    *("brows", "scalp", "lines"),
)
BROW_MM = 2.5  # half the height of what is certainly brow
BROW_STEPS_MM = (-7.0, -4.5, -2.0, 0.5, 3.0, 5.5, 8.0)  # across a brow, from below: bins of its profile
SPOT_FAINTEST = 0.02  # of a dark spot, in the logarithm of luminance: what is fainter is the grain of the map
_LINE_LENGTH, _LINE_WIDTH = 4.0, 1.0  # sigmas in texels of what counts as a line
_ANGLES = 6


@functools.lru_cache(maxsize=1)
def areas() -> dict[str, Float[Tensor, "U U"]]:
    """Weights of each area of the bundled head on its map, each sums to 1; and the bins of the brow's profile."""
    head = load_head()
    canvas = canvas_of(head, MAP_PX)
    inside = atlas_lookup(head, MAP_PX).inside.float()
    regions = {name: interpolate(head, head.region(name)[:, None], MAP_PX)[..., 0] for name in ("cheeks", "forehead")}
    masks = canvas.masks
    strips = {"brows": torch.zeros(MAP_PX * MAP_PX), "profile": torch.zeros(len(BROW_STEPS_MM) - 1, MAP_PX * MAP_PX)}
    near = torch.zeros(MAP_PX * MAP_PX)
    for s, t, index in canvas.brow_texels:
        along = (s > 0.05) & (s < 0.85)
        strips["brows"][index[along & (t.abs() < BROW_MM)]] = 1
        near[index] = 1
        for k in range(len(BROW_STEPS_MM) - 1):
            strips["profile"][k, index[along & (t >= BROW_STEPS_MM[k]) & (t < BROW_STEPS_MM[k + 1])]] = 1
    brow = near.reshape(MAP_PX, MAP_PX)
    hairless = inside * (1 - masks["beard"]) * (1 - brow) * (1 - masks["lips"])
    wrinkled = torch.stack([wrinkle_depth(head, Labels(wrinkles=1.0, age_years=80.0), k, MAP_PX) for k in range(6)])
    lines = (wrinkled.mean(0) * 1e4).clamp(0, 1) * hairless
    blush = (masks["flush"] > 0.55).float()
    dark = masks["under_eye"]
    masks_of = {
        "tone": (regions["forehead"] + 0.7 * regions["cheeks"] * (1 - dark) * (1 - blush)) * hairless,
        "cheeks": blush * hairless * (regions["cheeks"] > 0.3),
        "nose": blush * hairless * (regions["cheeks"] <= 0.3) * (canvas.place[..., 2] > 0.02),
        "forehead": regions["forehead"] * hairless,
        "under_eye": masks["under_eye"] * inside,
        "lids": masks["eyeshadow"] * (1 - masks["eyeliner"]) * inside,
        "lashes": masks["eyeliner"] * inside,
        "lips": (masks["lips"] > 0.7) * inside,
        "moustache": masks["moustache"] * inside,
        "chin": masks["chin"] * inside,
        "jaw": masks["jaw"] * inside,
        "brows": strips["brows"].reshape(MAP_PX, MAP_PX) * inside,
        "scalp": (canvas.hairline > 12).float() * inside * (canvas.place[..., 2] > -0.08),
        "lines": lines,
    }
    masks_of |= {f"profile{k}": row.reshape(MAP_PX, MAP_PX) * inside for k, row in enumerate(strips["profile"])}
    return {name: mask / mask.sum() for name, mask in masks_of.items()}


@functools.lru_cache(maxsize=1)
def _line_kernels() -> Float[Tensor, "A 1 R R"]:
    """Filters that answer to dark lines of each direction, and hardly to spots: long along it, a second derivative
    across it. Each sums to zero; a dark line of depth 1 and of the filter's width gives about 1."""
    reach = math.ceil(2.5 * _LINE_LENGTH)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    kernels = []
    for k in range(_ANGLES):
        angle = math.pi * k / _ANGLES
        along, across = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
        profile = (across**2 / _LINE_WIDTH**2 - 1) * np.exp(-0.5 * across**2 / _LINE_WIDTH**2)
        kernel = profile * np.exp(-0.5 * along**2 / _LINE_LENGTH**2)
        kernel -= kernel.mean()
        kernels.append(kernel / np.abs(kernel).sum() * 2)
    return torch.from_numpy(np.stack(kernels)).float()[:, None]


def _blurred(image: Float[Tensor, "U U"], sigma: float) -> Float[Tensor, "U U"]:
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    padded = functional.pad(image[None, None], (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel[..., None]), kernel[:, :, None])[0, 0]


def lab(linear: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """CIELAB with a D65 white of linear sRGB."""
    matrix = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    t = (linear @ matrix.T) / torch.tensor([0.95047, 1.0, 1.08883])
    f = torch.where(t > (6 / 29) ** 3, t.clamp_min(1e-6) ** (1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def _median(values: Float[Tensor, "N C"], weight: Float[Tensor, "N"]) -> Float[Tensor, "C"]:
    """The median of each column over what has at least half the largest weight: spots and hairs do not count."""
    return values[weight >= 0.5 * weight.max()].median(0).values


def skin_readings(albedo: UInt8[Tensor, "3 U U"]) -> dict[str, float]:
    """Colours, spots, lines and contrasts of the areas of a skin map of any size, which is brought to `MAP_PX`.

    ``AREA_L``, ``_a``, ``_b``: CIELAB, over that of the tone but for the tone itself. ``_spots``: mean depth of dark
    spots of about a millimetre, ``_lines``: of dark lines, ``_grain``: root mean square of what is finer than two
    millimetres, all in the logarithm of luminance.
    """
    image = albedo[None].float() / 255
    if image.shape[-1] != MAP_PX:
        mode = "area" if image.shape[-1] > MAP_PX else "bilinear"
        image = functional.interpolate(image, size=(MAP_PX, MAP_PX), mode=mode)
    linear = srgb_to_linear(image[0])
    colour = lab(linear.flatten(1).T)
    # The offset is about the light off the surface: dark skin does not become all contrast.
    light = (luminance(linear)[0] + 0.02).log()
    fine = light - _blurred(light, 3.5)
    spots = (_blurred(light, 3.5) - _blurred(light, 0.9) - SPOT_FAINTEST).clamp_min(0)
    lines = functional.conv2d(light[None, None], _line_kernels(), padding="same")[0].amax(0).clamp_min(0)
    found: dict[str, float] = {}
    weights = areas()
    tone = _median(colour, weights["tone"].flatten())
    found |= dict(zip(("tone_L", "tone_a", "tone_b"), tone.tolist(), strict=True))
    reds = _median(linear.flatten(1).T, weights["tone"].flatten())
    found["ita_deg"] = float(individual_typology_angle_deg(reds))
    for name in AREAS:
        weight = weights[name].flatten()
        if name != "tone":
            mean = weight @ colour - tone
            found |= dict(zip((f"{name}_L", f"{name}_a", f"{name}_b"), mean.tolist(), strict=True))
        found[f"{name}_spots"] = float(weight @ spots.flatten())
        found[f"{name}_lines"] = float(weight @ lines.flatten())
        found[f"{name}_grain"] = float((weight @ fine.flatten().square()).sqrt())
    for k in range(len(BROW_STEPS_MM) - 1):
        found[f"profile{k}"] = float(weights[f"profile{k}"].flatten() @ colour[:, 0]) - float(tone[0])
    # The hairs themselves: the darkest part of what is brow.
    brow = colour[weights["brows"].flatten() > 0]
    hairs = brow[brow[:, 0] <= brow[:, 0].quantile(0.3)].mean(0)
    found |= dict(zip(("hair_L", "hair_a", "hair_b"), hairs.tolist(), strict=True))
    return found


def eye_readings(eye: UInt8[Tensor, "3 E E"]) -> dict[str, float]:
    """CIELAB of the iris beside the pupil, where no lid shades it."""
    size = eye.shape[-1]
    axis = (torch.arange(size) + 0.5) / size - 0.5
    radius = torch.hypot(axis[None], axis[:, None]) / IRIS_RADIUS_UV
    ring = (radius > 0.55) & (radius < 0.8) & (axis[:, None].abs() < 0.05)
    colour = lab(srgb_to_linear(eye.float() / 255)[:, ring].mean(1))
    return dict(zip(("iris_L", "iris_a", "iris_b"), colour.tolist(), strict=True))


def readings(
    head: HeadModel, shape: Float[Tensor, "K"], albedo: UInt8[Tensor, "3 U U"], eye: UInt8[Tensor, "3 E E"]
) -> dict[str, float]:
    """Everything that is measured on a head but its expression."""
    return {**shape_readings(head, shape), **skin_readings(albedo), **eye_readings(eye)}


# ---------------------------------------------------------------------------------------------- oracles


@dataclass(frozen=True)
class Oracle:
    """A judge of one property. title: for people. unit: of the reading. how: measured on the head, regressed from what
    is measured, or given (expressions, which are numbers of the head).

    reading, sign: of `readings`, for what is measured. label: of people, which it should follow, and which way; None
    where people have no such number. inputs: of a regression, beginnings of names of readings; ``shape`` stands for the
    head's coefficients.
    """

    name: str
    title: str
    group: Group
    unit: str
    how: How
    label: str | None = None
    label_sign: int = 1
    reading: str = ""
    sign: int = 1
    inputs: tuple[str, ...] = ()


def _mm(name: str, title: str) -> Oracle:
    return Oracle(name, title, "shape", "mm", "measured", reading=name)


def _by_shape(name: str, title: str, unit: str, label: str) -> Oracle:
    return Oracle(name, title, "person", unit, "regressed", label, inputs=("shape",))


def _by_area(name: str, title: str, group: Group, label: str, *inputs: str) -> Oracle:
    return Oracle(name, title, group, "share", "regressed", label, inputs=("tone", *inputs))


def _colour(
    name: str, title: str, group: Group, reading: str, sign: int, label: str | None, follows: int = 1
) -> Oracle:
    return Oracle(name, title, group, "CIELAB", "measured", label, follows, reading, sign)


BEARD = "beard"
APPEARANCE: tuple[Oracle, ...] = (
    Oracle("age", "age", "person", "years", "regressed", "age_years",
           inputs=("shape", "tone", "lines", "forehead", "under_eye", "brows", "hair", "profile")),
    _by_shape("gender", "masculinity", "share", "gender"),
    _by_shape("weight", "weight", "share", "weight"),
    _by_shape("african", "African ancestry", "share", "african"),
    _by_shape("asian", "Asian ancestry", "share", "asian"),
    _by_shape("european", "European ancestry", "share", "european"),
    _mm("nose_width", "width of the nose"),
    _mm("nose_length", "length of the nose"),
    _mm("nose_bridge", "height of the nose's bridge"),
    _mm("lip_height", "height of the lips"),
    _mm("mouth_width", "width of the mouth"),
    _mm("jaw_width", "width of the jaw"),
    _mm("chin_length", "length of the chin"),
    _mm("chin_projection", "projection of the chin"),
    _mm("cheekbones", "prominence of the cheekbones"),
    _mm("eye_opening", "opening of the eyes"),
    _mm("eye_width", "width of the eyes"),
    _mm("eye_spacing", "distance of the eyes"),
    _mm("brow_height", "height of the brows"),
    _mm("ear_height", "height of the ears"),
    _mm("face_length", "length of the face"),
    _mm("face_width", "width of the face"),
    _mm("forehead_height", "height of the forehead"),
    Oracle("skin_lightness", "skin tone", "skin", "degrees ITA", "measured", "melanin", -1, "ita_deg"),
    _colour("redness", "redness of the skin", "skin", "tone_a", 1, "haemoglobin"),
    Oracle("flush", "red of cheeks and nose", "skin", "share", "regressed", "flush",
           inputs=("tone_L", "cheeks_L", "cheeks_a", "nose_L", "nose_a")),
    _by_area("freckles", "freckles", "skin", "freckles", "cheeks", "nose"),
    _by_area("wrinkles", "wrinkles", "skin", "wrinkles", "lines", "forehead"),
    _by_area("under_eye", "dark under the eyes", "skin", "under_eye", "under_eye"),
    _by_area("mottling", "unevenness of the skin", "skin", "mottling", "forehead", "cheeks"),
    Oracle("detail", "contrast of the skin's detail", "skin", "log", "measured", None, reading="tone_grain"),
    _colour("lip_redness", "redness of the lips", "skin", "lips_a", 1, None),
    _by_area("eyeshadow", "eyeshadow", "skin", "eyeshadow", "lids"),
    _by_area("eyeliner", "eyeliner", "skin", "eyeliner", "lashes", "lids"),
    _by_area("brow_density", "density of the brows", "hair", "brow_density", "brows", "profile", "hair"),
    _by_area("brow_thickness", "thickness of the brows", "hair", "brow_thickness", "brows", "profile"),
    _by_area("hair_darkness", "darkness of the hair", "hair", "hair_melanin", "hair", "brows", "scalp"),
    _by_area("grey", "grey hair", "hair", "grey", "hair", "brows", "profile"),
    _by_area(BEARD, "beard", "hair", BEARD, "chin", "jaw"),
    _by_area("moustache", "moustache", "hair", "moustache", "moustache"),
    _by_area("scalp_hair", "hair of the scalp", "hair", "scalp_hair", "scalp"),
    _colour("iris_lightness", "lightness of the irises", "eyes", "iris_L", 1, "iris_melanin", -1),
    _colour("iris_blue", "blue of the irises", "eyes", "iris_b", -1, None),
    _colour("iris_green", "green of the irises", "eyes", "iris_a", -1, None),
)  # fmt: skip


def _expressions() -> tuple[Oracle, ...]:
    return tuple(Oracle(name, name, "expression", "weight", "given") for name in load_head().expression_names)


ORACLES: tuple[Oracle, ...] = (*APPEARANCE, *_expressions())
INDEX: dict[str, int] = {oracle.name: i for i, oracle in enumerate(ORACLES)}
# Actions of both sides, by the name without a side.
BOTH_SIDES: dict[str, tuple[int, ...]] = {
    name.removesuffix("Left"): (INDEX[name], INDEX[name.removesuffix("Left") + "Right"])
    for name in load_head().expression_names
    if name.endswith("Left") and name.removesuffix("Left") + "Right" in load_head().expression_names
}


def columns(name: str) -> tuple[int, ...]:
    """Which readings an oracle's name stands for: one, or those of both sides. Raises KeyError for an unknown name."""
    return BOTH_SIDES[name] if name in BOTH_SIDES else (INDEX[name],)


def truth(labels: Labels, label: str) -> float:
    """A label of a person; of a beard, how much of it can be seen: hair, or else its shadow."""
    if label == BEARD:
        return 1 - (1 - 0.5 * labels.stubble) * (1 - labels.beard_chin)
    return float(getattr(labels, label))


@dataclass(frozen=True, eq=False)
class Judge:
    """The oracles, ready to read.

    inputs: names of what goes in: readings, readings times the tone's lightness (dark skin shows less of everything)
    and coefficients of the shape; mean, deviation: of these over people. offset, slopes: of the regressed oracles, in
    the order of `APPEARANCE`, zero for those that are measured. spread: of every oracle over people, 0.3 for an
    expression; usual, unusual: its 5th and 95th percentile. validity: correlation with the true label over people who
    were kept aside, painted and generated; not a number where people have no such label.
    """

    inputs: tuple[str, ...]
    mean: Float[Tensor, "I"]
    deviation: Float[Tensor, "I"]
    offset: Float[Tensor, "A"]
    slopes: Float[Tensor, "A I"]
    spread: Float[Tensor, "O"]
    least: Float[Tensor, "O"]
    most: Float[Tensor, "O"]
    validity: Float[Tensor, "2 A"]

    def read(self, avatar: Avatar) -> Float[Tensor, "O"]:
        """What the oracles say of a head, each in its own unit, in the order of `ORACLES`. Raises FileError where the
        head belongs to another head model."""
        head = load_head()
        avatar.check_fits(head)
        shape = functional.pad(avatar.shape, (0, head.shape_count - len(avatar.shape)))
        found = readings(head, shape, avatar.materials.skin_albedo, avatar.materials.eye_albedo)
        return torch.cat([self.appearance(found, shape), avatar.expression.float()])

    def appearance(self, found: Mapping[str, float], shape: Float[Tensor, "K"]) -> Float[Tensor, "A"]:
        """`APPEARANCE` of what was measured."""
        row = (input_row(self.inputs, found, shape) - self.mean) / self.deviation
        values = self.offset + self.slopes @ row
        for i, oracle in enumerate(APPEARANCE):
            if oracle.how == "measured":
                values[i] = measured(oracle, found)
        return values


def measured(oracle: Oracle, found: Mapping[str, float]) -> float:
    """An oracle that needs no regression. What has a logarithm as its unit is a contrast."""
    value = found[oracle.reading]
    return oracle.sign * (math.log(max(value, 1e-4)) if oracle.unit == "log" else value)


def input_names(found: Sequence[str], shape_count: int) -> tuple[str, ...]:
    """Names of all inputs: the readings of the skin, the same times the tone, the shape's coefficients."""
    skin = [name for name in found if _is_skin(name)]
    return (*skin, *(f"{name}*tone_L" for name in skin), *(f"shape_{k}" for k in range(shape_count)))


def _is_skin(name: str) -> bool:
    return name.split("_")[0] in (*AREAS, "under", "hair") or name.startswith("profile")


def input_row(names: Sequence[str], found: Mapping[str, float], shape: Float[Tensor, "K"]) -> Float[Tensor, "I"]:
    """One person's inputs."""
    tone = found["tone_L"] / 50 - 1
    row = []
    for name in names:
        if name.startswith("shape_"):
            row.append(float(shape[int(name.removeprefix("shape_"))]))
        elif name.endswith("*tone_L"):
            row.append(found[name.removesuffix("*tone_L")] * tone)
        else:
            row.append(found[name])
    return torch.tensor(row)


def uses(oracle: Oracle, name: str) -> bool:
    """Whether a regressed oracle may look at an input. The tone's own products and, of age, all products are left out:
    they help little and vary much."""
    if name.startswith("shape_"):
        return "shape" in oracle.inputs
    start = next((i for i in oracle.inputs if name.startswith(i) and i != "shape"), None)
    return start is not None and not (name.endswith("*tone_L") and (start == "tone" or oracle.name == "age"))


@dataclass(frozen=True, eq=False)
class Examined:
    """People who were measured. found: a row of `readings` each. labels: what is true of them."""

    found: list[dict[str, float]]
    shapes: Float[Tensor, "B K"]
    labels: list[Labels]


def train_judge(people: Examined, aside: Examined, generated: Examined) -> Judge:
    """The judge that some people teach; its spread and validity are those of people kept aside. The same people give
    the same judge."""
    names = input_names(list(people.found[0]), people.shapes.shape[1])

    def rows(some: Examined) -> Tensor:
        return torch.stack([input_row(names, f, s) for f, s in zip(some.found, some.shapes, strict=True)])

    x = rows(people)
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / deviation
    offset, slopes = torch.zeros(len(APPEARANCE)), torch.zeros(len(APPEARANCE), len(names))
    for i, oracle in enumerate(APPEARANCE):
        if oracle.how == "regressed":
            assert oracle.label is not None
            used = torch.tensor([uses(oracle, name) for name in names])
            y = torch.tensor([truth(labels, oracle.label) for labels in people.labels])[:, None]
            own_offset, own_slopes, _ = ridge(x[:, used], y)
            offset[i], slopes[i, used] = own_offset[0], own_slopes[0]
    nothing = torch.zeros(len(ORACLES))
    judge = Judge(names, mean, deviation, offset, slopes, nothing, nothing, nothing, torch.zeros(2, len(APPEARANCE)))
    given = len(ORACLES) - len(APPEARANCE)
    read = [_read_all(judge, some) for some in (aside, generated)]
    spread = torch.cat([read[0].std(0), torch.full((given,), EXPRESSION_STEP)])
    least = torch.cat([read[0].quantile(0.05, 0), torch.zeros(given)])
    most = torch.cat([read[0].quantile(0.95, 0), torch.full((given,), 0.7)])
    validity = torch.stack([_validity(r, some) for r, some in zip(read, (aside, generated), strict=True)])
    return replace(judge, spread=spread, least=least, most=most, validity=validity)


def _read_all(judge: Judge, people: Examined) -> Float[Tensor, "B A"]:
    return torch.stack([judge.appearance(f, s) for f, s in zip(people.found, people.shapes, strict=True)])


def _validity(read: Float[Tensor, "B A"], people: Examined) -> Float[Tensor, "A"]:
    found = torch.full((len(APPEARANCE),), math.nan)
    for i, oracle in enumerate(APPEARANCE):
        if oracle.label is not None:
            true = torch.tensor([truth(labels, oracle.label) for labels in people.labels])
            found[i] = oracle.label_sign * torch.corrcoef(torch.stack([read[:, i], true]))[0, 1]
    return found


# ---------------------------------------------------------------------------------------------- the file

_TENSORS = ("mean", "deviation", "offset", "slopes", "spread", "least", "most", "validity")


def judge_bytes(judge: Judge) -> bytes:
    """The judge as a safetensors file."""
    from safetensors.torch import save

    names = {"inputs": judge.inputs, "oracles": [oracle.name for oracle in ORACLES]}
    return save({name: getattr(judge, name).contiguous() for name in _TENSORS}, {"oracles": json.dumps(names)})


@functools.lru_cache(maxsize=1)
def load_judge() -> Judge:
    """The bundled judge, shared and read-only. Raises FileError where its file is missing, damaged or of another
    version of the oracles."""
    path = weights_path("edit_oracles")
    tensors, metadata = read_safetensors(path, _TENSORS)
    names = json.loads(metadata.get("oracles", "{}"))
    if names.get("oracles") != [oracle.name for oracle in ORACLES]:
        raise FileError(f"{path} was made for other oracles. Make it again with `python -m recipes.oracles`.")
    return Judge(tuple(names["inputs"]), *(tensors[name] for name in _TENSORS))
