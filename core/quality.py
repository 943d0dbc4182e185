"""What a photo allows: measures of one face in it, and the sentences they call for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from core.landmarks import (
    CHIN,
    FOREHEAD,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MIN_PRESENCE,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    Face,
    Landmarks,
)
from core.photo import Photo

# The outline of the face in the 478 points, clockwise as seen from the forehead's middle.
_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
         150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
# Pairs (right, left) that mirror each other; their mean difference is the head's sideways axis.
_PAIRS = ((33, 263), (133, 362), (234, 454), (93, 323), (132, 361), (58, 288), (127, 356), (162, 389), (21, 251),
          (54, 284), (172, 397), (136, 365), (61, 291), (50, 280), (205, 425))  # fmt: skip
# Upper and lower lid of each eye, at the middle.
_RIGHT_LIDS, _LEFT_LIDS = (159, 145), (386, 374)

# Measures look at a levelled crop of the face, reduced to this side (never enlarged).
_CROP_SIDE_PX = 384
# Forehead to chin leans by this much in a face that looks straight ahead (median over 45 photos).
_PITCH_AHEAD_RAD = math.radians(7)


@dataclass(frozen=True)
class QualityLimits:
    """Where a measure becomes worth a sentence.

    smallest_face_px: an error below it. small_face_px, modest_face_px: warn, mention. profile_rad: an error; the
    landmarks' depth understates strong turns (the one near-profile at hand, some 80 degrees, reads 63). turned_rad,
    tilted_rad: warn. outside_fraction, refused_outside_fraction: of the outline. blur_fraction: as a sharp face of 65
    pixels. dark_light, dark_fraction, bright_fraction, side_light: warn; of 45 photos the last three are at most 0.09,
    0.26 (two overexposed ones) and 4. grey: saturation over light. flat_fraction: those photos have 0.003 at most.
    closed_eyes: open eyes have 0.18 to 0.5. spread_fraction: clear faces have 0.004 to 0.009.
    """

    smallest_face_px: float = 48
    small_face_px: float = 100
    modest_face_px: float = 250
    profile_rad: float = math.radians(58)
    turned_rad: float = math.radians(35)
    tilted_rad: float = math.radians(30)
    outside_fraction: float = 0.1
    refused_outside_fraction: float = 0.5
    blur_fraction: float = 0.015
    dark_light: float = 0.09
    dark_fraction: float = 0.2
    bright_fraction: float = 0.2
    side_light: float = 6.0
    grey: float = 0.03
    flat_fraction: float = 0.1
    closed_eyes: float = 0.12
    spread_fraction: float = 0.012


_DEFAULT_LIMITS = QualityLimits()


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about a photo or a head.

    code: a stable name for programs, such as ``face-too-small``. severity: an ``error`` means that
    the result should not be trusted. sentence: what was found, with its value. advice: what to do
    about it, empty where nothing can be done.
    """

    code: str
    severity: Literal["info", "warning", "error"]
    sentence: str
    advice: str


@dataclass(frozen=True)
class PhotoMeasures:
    """Numbers about one face in a photo.

    face_px: the longer side of the box around the landmarks. yaw_rad: > 0 where the head shows its left side,
    pitch_rad: > 0 where it is seen from above (the head is bowed), roll_rad: > 0 clockwise in the photo; from the
    landmarks' relative depth, some 5 degrees accurate. outside_fraction: of the face's outline beyond the photo's
    border. blur_fraction: the radius (sigma) of the blur that the face shows, relative to face_px. light: mean and
    spread (10th to 90th percentile) of the face's sRGB-encoded luminance, 0..1. dark_fraction, bright_fraction: of the
    face without any signal left (all channels below 3 %, or one at its limit). side_light: the brighter half's median
    linear luminance over the darker half's. saturation: mean difference between a pixel's largest and smallest sRGB
    channel. flat_fraction: of the face that is one even colour, as in drawings. eye_opening: lid distance over eye
    width, the wider eye's. presence, score, spread_fraction: how sure the networks are (`Face`, `Landmarks`), the last
    relative to face_px. face_count: faces found in the photo.
    """

    face_px: float
    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    outside_fraction: float
    blur_fraction: float
    light_mean: float
    light_spread: float
    dark_fraction: float
    bright_fraction: float
    side_light: float
    saturation: float
    flat_fraction: float
    eye_opening: float
    presence: float
    score: float
    spread_fraction: float
    face_count: int


def head_angles_rad(landmarks: Landmarks) -> tuple[float, float, float]:
    """Yaw, pitch and roll of the head as in `PhotoMeasures`, from the landmarks and their relative depth.

    The sideways axis is the mean over mirrored pairs, the upward one runs from the chin to the forehead.
    """
    points = torch.cat([landmarks.points_px, landmarks.depth_px[:, None]], 1).double().numpy()
    right, left = np.array(_PAIRS).T
    across = (points[left] - points[right]).mean(0)
    up = points[FOREHEAD] - points[CHIN]
    across = across / np.linalg.norm(across)
    up = up - across * (up @ across)
    up = up / np.linalg.norm(up)
    # x right, y down, depth away from the camera: this points out of the face, towards the camera.
    out = np.cross(across, up)
    roll = math.atan2(across[1], across[0])
    # Yaw and pitch are read with the roll undone.
    level_x = math.cos(roll) * out[0] + math.sin(roll) * out[1]
    level_y = -math.sin(roll) * out[0] + math.cos(roll) * out[1]
    pitch = math.atan2(level_y, math.hypot(level_x, out[2])) - _PITCH_AHEAD_RAD
    return math.atan2(-level_x, -out[2]), pitch, roll


def measure(photo: Photo, face: Face, landmarks: Landmarks, face_count: int = 1) -> PhotoMeasures:
    """The measures of one face; `face_count` is how many `detect_faces` found."""
    import cv2

    yaw, pitch, roll = head_angles_rad(landmarks)
    points = landmarks.points_px.double().numpy()
    outline = points[list(_OVAL)]
    outside = (outline < 0).any(1) | (outline[:, 0] > photo.width) | (outline[:, 1] > photo.height)
    crop, to_crop, per_pixel = _levelled_crop(photo, points, roll)
    height, width = crop.shape[:2]
    polygon = (outline @ to_crop[:, :2].T + to_crop[:, 2]) - 0.5
    oval = np.zeros((height, width), np.uint8)
    cv2.fillPoly(oval, [np.round(polygon).astype(np.int32)], (1.0,))
    # The border of a photo is repeated beyond it; only what the photo holds counts.
    y, x = np.mgrid[:height, :width]
    back = np.linalg.inv(np.vstack([to_crop, [0, 0, 1]]))
    in_photo = np.stack([x + 0.5, y + 0.5], -1) @ back[:2, :2].T + back[:2, 2]
    inside = ((in_photo > 0) & (in_photo < [photo.width, photo.height])).all(-1)
    skin = (oval > 0) & inside
    if not skin.any():  # the face lies wholly beyond the photo's border
        skin = np.ones_like(skin)
    srgb = crop.astype(np.float64) / 255
    luma = srgb @ [0.2126, 0.7152, 0.0722]
    low, high = np.percentile(luma[skin], [10, 90])
    nose_x = (points[[6, 1, 2]] @ to_crop[:, :2].T + to_crop[:, 2])[:, 0].mean()
    linear = luma**2.2
    halves = [linear[skin & side] for side in (x + 0.5 < nose_x, x + 0.5 >= nose_x)]
    # A half that is turned away has too few pixels to be judged.
    medians = sorted(float(np.median(h)) for h in halves if h.size > 0.15 * skin.sum())
    return PhotoMeasures(
        face_px=face.size_px,
        yaw_rad=yaw,
        pitch_rad=pitch,
        roll_rad=roll,
        outside_fraction=float(outside.mean()),
        blur_fraction=_blur_sigma(luma, skin) * per_pixel / face.size_px,
        light_mean=float(luma[skin].mean()),
        light_spread=float(high - low),
        dark_fraction=float((srgb[skin].max(1) < 0.03).mean()),
        bright_fraction=float((srgb[skin].max(1) > 0.995).mean()),
        side_light=(medians[-1] + 1e-3) / (medians[0] + 1e-3) if len(medians) == 2 else 1.0,
        saturation=float((srgb[skin].max(1) - srgb[skin].min(1)).mean()),
        flat_fraction=_flat_fraction(crop, skin),
        eye_opening=_eye_opening(points),
        presence=landmarks.presence,
        score=face.score,
        spread_fraction=landmarks.spread_px / face.size_px,
        face_count=face_count,
    )


def _levelled_crop(
    photo: Photo, points: Float[np.ndarray, "478 2"], roll: float
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2 3"], float]:
    """The levelled face with a little margin, the map from photo to crop pixels, and photo pixels per crop pixel."""
    import cv2

    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    level = points[:468] @ turn.T
    low, high = level.min(0), level.max(0)
    per_pixel = max(1.0, float((high - low).max()) / _CROP_SIDE_PX)
    pad = 4
    width, height = (int(v) for v in np.ceil((high - low) / per_pixel) + 2 * pad)
    to_crop = np.concatenate([turn / per_pixel, (pad - low / per_pixel)[:, None]], 1)
    # Reduce by whole steps first so that the warp itself never skips pixels.
    factor = max(1, int(per_pixel))
    region = photo.pixels[: photo.height // factor * factor, : photo.width // factor * factor]
    if factor > 1:
        region = cv2.resize(
            region, (region.shape[1] // factor, region.shape[0] // factor), interpolation=cv2.INTER_AREA
        )
    linear, offset = to_crop[:, :2] * factor, to_crop[:, 2]
    offset = offset + linear @ [0.5, 0.5] - 0.5
    matrix = np.concatenate([linear, offset[:, None]], 1)
    crop = cv2.warpAffine(region, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop, to_crop, per_pixel


def _blur_sigma(luma: Float[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"]) -> float:
    """The sigma, in pixels, of the Gaussian blur that a picture shows.

    The gradient energy of pictures, whose power spectrum falls as 1/f^2 (Field 1987), is proportional to
    1/sigma^2. Blurring once more by sigma_1 divides it by (sigma^2 + sigma_1^2) / sigma^2, from which sigma follows;
    the idea of re-blurring to measure blur is Crete et al. 2007. A sharp picture gives about 0.6: its pixels' own.
    """
    import cv2

    sigma_1 = 1.5

    def energy(values: np.ndarray) -> float:
        return float((np.diff(values, axis=1)[:-1] ** 2 + np.diff(values, axis=0)[:, :-1] ** 2)[region[:-1, :-1]].sum())

    sharp = energy(luma)
    ratio = sharp / max(energy(cv2.GaussianBlur(luma, (0, 0), sigma_1)), 1e-12)
    return sigma_1 / math.sqrt(max(ratio - 1, 1e-3))


def _flat_fraction(crop: UInt8[np.ndarray, "h w 3"], region: Bool[np.ndarray, "h w"]) -> float:
    """The share of pixels whose 3 x 3 neighbourhood is one colour; clipped pixels are not counted."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    even = (cv2.dilate(crop, kernel) == cv2.erode(crop, kernel)).all(-1)
    countable = region & (crop.max(-1) > 8) & (crop.max(-1) < 253)
    return float(even[countable].mean()) if countable.any() else 0.0


def _eye_opening(points: Float[np.ndarray, "478 2"]) -> float:
    openings = []
    for (upper, lower), outer, inner in (
        (_RIGHT_LIDS, RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        (_LEFT_LIDS, LEFT_EYE_OUTER, LEFT_EYE_INNER),
    ):
        width = float(np.linalg.norm(points[outer] - points[inner]))
        openings.append((width, float(np.linalg.norm(points[upper] - points[lower])) / max(width, 1e-6)))
    return max(openings)[1]


def findings(measures: PhotoMeasures, limits: QualityLimits = _DEFAULT_LIMITS) -> tuple[Finding, ...]:
    """What to say about a photo, gravest first; empty for a good one."""
    m, found = measures, []

    def add(code: str, severity: Literal["error", "warning", "info"], sentence: str, advice: str) -> None:
        found.append(Finding(code, severity, sentence, advice))

    if m.presence < MIN_PRESENCE:
        add(
            "not-a-face",
            "error",
            f"What was marked does not look like a human face (certainty {m.presence:.0%}).",
            "Mark a face, or use a photo of a person's face.",
        )
    if m.face_px < limits.smallest_face_px:
        add(
            "too-small",
            "error",
            f"The face is only {m.face_px:.0f} pixels tall; at least {limits.smallest_face_px:.0f} are needed.",
            "Use a larger photo, or one taken from nearer.",
        )
    elif m.face_px < limits.small_face_px:
        add(
            "small",
            "warning",
            f"The face is only {m.face_px:.0f} pixels tall, so the skin will look soft.",
            f"Use a photo in which the face is at least {limits.modest_face_px:.0f} pixels tall.",
        )
    elif m.face_px < limits.modest_face_px:
        add(
            "modest-size",
            "info",
            f"The face is {m.face_px:.0f} pixels tall; fine detail of the skin needs more.",
            "For a sharper head, use a larger photo.",
        )
    if abs(m.yaw_rad) > limits.profile_rad:
        add(
            "profile",
            "error",
            "The face is seen in profile, so one half of it is hidden.",
            "Use a photo in which both eyes can be seen, best one from the front.",
        )
    elif abs(m.yaw_rad) > limits.turned_rad:
        side = "left" if m.yaw_rad > 0 else "right"
        add(
            "turned",
            "warning",
            f"The head is turned by about {abs(math.degrees(m.yaw_rad)):.0f} degrees and shows its {side} side; the "
            "other side will be completed from it.",
            "Use a photo taken from the front if the far side matters.",
        )
    if abs(m.pitch_rad) > limits.tilted_rad:
        view = "above" if m.pitch_rad > 0 else "below"
        add(
            "tilted",
            "warning",
            f"The face is seen from {view}, by about {abs(math.degrees(m.pitch_rad)):.0f} degrees.",
            "Hold the camera at the height of the eyes.",
        )
    if m.outside_fraction > limits.outside_fraction:
        add(
            "cut-off",
            "error" if m.outside_fraction > limits.refused_outside_fraction else "warning",
            f"The photo's border cuts off about {m.outside_fraction:.0%} of the face's outline.",
            "Use a photo that shows the whole head.",
        )
    if m.blur_fraction > limits.blur_fraction and m.face_px >= limits.small_face_px:
        add(
            "blurred",
            "warning",
            "The photo is blurred: the face shows no more detail than a sharp one of about "
            f"{1 / m.blur_fraction:.0f} pixels.",
            "Use a sharper photo; hold the camera still and tap on the face to focus.",
        )
    if m.light_mean < limits.dark_light or m.dark_fraction > limits.dark_fraction:
        add(
            "dark",
            "warning",
            "The face is so dark that its skin can hardly be told from shadow.",
            "Use a photo in brighter light, with the light in front of the face.",
        )
    if m.bright_fraction > limits.bright_fraction:
        add(
            "bright",
            "warning",
            f"About {m.bright_fraction:.0%} of the face is overexposed, and its skin colour is lost there.",
            "Use a photo with softer light or a shorter exposure.",
        )
    if m.side_light > limits.side_light:
        add(
            "side-light",
            "warning",
            f"One half of the face is about {m.side_light:.0f} times as bright as the other.",
            "Use a photo with even light from the front; the shadow cannot be removed altogether.",
        )
    if m.flat_fraction > limits.flat_fraction:
        add(
            "drawing",
            "warning",
            f"This looks like a drawing: {m.flat_fraction:.0%} of the face is of one even colour.",
            "Use a photo; of drawings, proportions and colours come out as drawn at best.",
        )
    turned = abs(m.yaw_rad) > limits.turned_rad
    if m.spread_fraction > limits.spread_fraction and not turned:
        add(
            "covered",
            "warning",
            "Parts of the face are hard to make out: hair, a hand or something else seems to cover them.",
            "Use a photo in which the whole face is free.",
        )
    if m.eye_opening < limits.closed_eyes:
        add(
            "eyes-closed",
            "warning",
            "Both eyes are closed, so their colour is a guess.",
            "Use a photo with open eyes.",
        )
    if m.saturation < limits.grey * m.light_mean:
        add(
            "grey",
            "info",
            "The photo is black and white, so the colours of skin and eyes are a guess.",
            "Use a colour photo if the colours matter.",
        )
    if m.face_count > 1:
        add(
            "several-faces",
            "info",
            f"{m.face_count} faces were found, and one of them was used.",
            "Choose another face by clicking on it, or cut the photo to one person.",
        )
    order = ("error", "warning", "info")
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def confidence(found: tuple[Finding, ...]) -> float:
    """How far the photo alone allows a good head, 0..1: 0 with an error, else each warning takes 30 %, each info 5 %.

    The fit's residuals are not in it.
    """
    if any(finding.severity == "error" for finding in found):
        return 0.0
    return math.prod(({"warning": 0.7, "info": 0.95}[finding.severity] for finding in found), start=1.0)
