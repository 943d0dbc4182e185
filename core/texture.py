"""From a fitted photo to the maps of the head: unwrap, remove the light, leave out what is not skin, complete.

The order matters and is that of `build_materials`: the photo is sampled where texels see it (`unwrap`); tone and
light come from texels that are surely skin (core/lighting.py); with both known, what cannot be skin (hair, glasses,
hands) is told from what can (`foreign`); the light is divided out (`delight`); and what no pixel showed is completed,
first from the other side of the face, then from the skin that the bundled model of people's skin imagines to go with
what is seen (`complete`).

All maps are ``[C, U, U]`` in the layout of `core.atlas`; colours are linear unless named otherwise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from core.albedo.bundled import coarse_to_fine
from core.albedo.completion import imagined
from core.atlas import atlas_lookup, interpolate, positions
from core.camera import Camera
from core.color import linear_to_srgb, srgb_to_linear
from core.fitting import light_and_tone, tone_palette
from core.head import PARTS, HeadModel, SameHead
from core.landmarks import LEFT_IRIS, RIGHT_IRIS, Landmarks
from core.lighting import Tone, TonePalette, constant_light, shading
from core.materials import Materials, paint_eye, paint_lashes, paint_mouth
from core.mesh import vertex_normals
from core.photo import Photo
from core.raster import fragments
from core.synthesis.painting import SkinLook, enlarge, paint_roughness, paint_skin, skin_tone

# Loops of mediapipe's face mesh (its published topology), in order around each feature; "right" is the person's own.
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
NOSE = (1, 2, 4, 5, 6, 19, 45, 48, 64, 94, 98, 97, 115, 168, 195, 197, 275, 278, 294, 326, 327, 344)
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148,
             176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
_NOSTRILS = (98, 327, 2, 1)

VISIBILITY_SIDE_PX = 640  # the head's longer side in the depth map that decides what is hidden
STATISTICS_SIDE = 128  # side of the map on which light and tone are fitted
MATCHED_SHARE = 0.002  # of the map that two photos must show both, for their colours to be compared
# The border of what a photo shows (`_calmed`). Side of the map on which it is judged; the least departure in log albedo
# that is let be, at the border, and how far inside any is; from where on the skin inside speaks for the border's, and
# from where on all of the photo is kept; departures between which it is less and less so.
CALM_SIDE, CALM_LEAST, CALM_MM = 256, 0.05, 25.0
CALM_FROM_MM, CALM_KEPT_MM, CALM_FOREIGN = (10.0, 22.0), (1.0, 6.0), (0.2, 0.45)
FEATURE_LOG = 0.35  # log albedo from the guide, beyond which a texel is a brow, a lip or a mole: no colour to carry on
FINER = (1.05, 1.35)  # times as fine, between which one photo takes over from another

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


# --- small tools on maps, in numpy because OpenCV is ------------------------------------------------------------------


def _smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _coarser(image: np.ndarray, sigma: float) -> int:
    """How many times smaller a picture may be for so wide a blur."""
    factor = 1
    while sigma / factor > 6 and min(image.shape[:2]) // (factor * 2) >= 8:
        factor *= 2
    return factor


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of ``[H, W]`` or ``[H, W, C]``; wide ones on a smaller picture, where they cost as little."""
    import cv2

    if (factor := _coarser(image, sigma)) > 1:
        size = (image.shape[1] // factor, image.shape[0] // factor)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT)
        return cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def _masked_blur(image: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Weighted local mean of ``[H, W, C]`` (normalised convolution, Knutsson and Westin 1993), wide ones of a smaller
    picture."""
    weighted, step = image * weight[..., None], _coarser(image, sigma)
    both = _blur(np.dstack([_shrink(weighted, step), _shrink(weight, step)]), sigma / step)
    mean = both[..., :-1] / np.maximum(both[..., -1:], 1e-4)
    return mean if step == 1 else _enlarge(mean, len(image)).reshape(image.shape)


def _shrink(image: np.ndarray, step: int) -> np.ndarray:
    """Means over blocks of `step` texels a side."""
    import cv2

    size = (image.shape[1] // step, image.shape[0] // step)
    return image if step == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _enlarge(image: np.ndarray, size: int) -> np.ndarray:
    import cv2

    return cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)


def _to_numpy(image: Tensor) -> np.ndarray:
    """``[C, H, W]`` tensor to ``[H, W, C]`` float32 array."""
    return image.detach().cpu().permute(1, 2, 0).float().contiguous().numpy()


def _to_tensor(image: np.ndarray, like: Tensor) -> Tensor:
    """``[H, W, C]`` array to ``[C, H, W]`` tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(like)


# --- what is where on the map -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Regions:
    """Soft masks ``[U, U]`` (0..1) of the map; the same for every person.

    face: inside mediapipe's face oval. centre: around eyes, nose and mouth. brows, eyes (with lids), lips, nostrils:
    around the landmarks' polygons; eye_surround: 17 mm around the eyes. beard: where beards grow. scalp: where hair
    grows; deep_scalp: that without the first 3 cm from the hairline. sockets: the inner side of the lids. inside: where
    the map shows skin. portrait: what portraits show of the skin, from ear to ear and from the hairline to the chin;
    own_left: 1 on the person's left half. texels_per_mm: in the middle of the face.
    """

    face: np.ndarray
    brows: np.ndarray
    eyes: np.ndarray
    eye_surround: np.ndarray
    lips: np.ndarray
    nostrils: np.ndarray
    beard: np.ndarray
    scalp: np.ndarray
    deep_scalp: np.ndarray
    ears: np.ndarray
    sockets: np.ndarray
    centre: np.ndarray
    portrait: np.ndarray
    own_left: np.ndarray
    inside: np.ndarray
    texels_per_mm: float

    def thinned(self, step: int) -> _Regions:
        """Every `step`-th texel."""
        maps = {k: v[step // 2 :: step, step // 2 :: step] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return _Regions(**maps, texels_per_mm=self.texels_per_mm / step)


def _regions(head: HeadModel, size: int) -> _Regions:
    return _regions_of(SameHead(head), size)


def skin_mask(head: HeadModel, size: int) -> Float[Tensor, "{size} {size}"]:
    """Where the map shows bare skin on anybody, 0..1: not the scalp, which may bear hair, nor the lids' inner side."""
    regions = _regions(head, size)
    return torch.from_numpy(regions.inside * (1 - regions.scalp) * (1 - regions.sockets))


@functools.lru_cache(maxsize=4)
def _regions_of(key: SameHead, size: int) -> _Regions:
    import cv2

    head = key.head
    uv = _landmark_uv(head).numpy()
    pixel = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], 1)
    p = positions(head, head.template, size).numpy()
    inside = atlas_lookup(head, size).inside.numpy()
    points = head.landmark_points("mediapipe", head.template).numpy()
    # Texels per millimetre in the middle of the face, from the distance between the outer eye corners.
    density = float(np.linalg.norm(pixel[263] - pixel[33]) / (np.linalg.norm(points[263] - points[33]) * 1000))

    def polygon(loop: tuple[int, ...], grow_mm: float, soft_mm: float) -> np.ndarray:
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.rint(pixel[list(loop)] * 16).astype(np.int32)], (255,), shift=4)
        if grow_mm > 0:
            radius = max(1, round(grow_mm * density))
            mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
        return np.clip(_blur(mask.astype(np.float32) / 255, soft_mm * density), 0, 1)

    span = np.linalg.norm(points[263] - points[33]) / 0.0885  # heads of other sizes and origins (FLAME)
    centre = (points[263] + points[33]) / 2
    x, y, z = np.moveaxis((p - centre) / span, 2, 0)
    z = z + 0.0115  # metres from the eyes' centres on the mean head
    # Height of the hairline above the eyes against depth: nape, behind the ear, over it, sideburn, temple, forehead.
    hairline = np.interp(
        z,
        [-0.175, -0.150, -0.125, -0.110, -0.104, -0.096, -0.080, -0.066, -0.060, -0.055, -0.046, -0.040, -0.020,
         0.000, 0.015],
        [-0.070, -0.072, -0.060, -0.045, -0.020, 0.006, 0.015, 0.012, -0.004, -0.016, -0.012, 0.012, 0.052,
         0.066, 0.068],
    )  # fmt: skip

    def region(name: str) -> np.ndarray:
        if name not in head.region_names:
            return np.zeros((size, size), np.float32)
        return interpolate(head, head.region(name)[:, None].float(), size)[..., 0].numpy()

    ears = _smoothstep(0.2, 0.7, region("ears"))
    sockets = _smoothstep(0.3, 0.8, region("eye_sockets"))
    scalp = _smoothstep(-0.008, 0.008, y - hairline)
    depth_in_scalp = _smoothstep(0.004, 0.030, y - hairline)
    face = polygon(FACE_OVAL, 0.0, 2.0)
    outline = np.concatenate([pixel[list(RIGHT_EYE)], pixel[list(LEFT_EYE)], pixel[list(LIPS)], pixel[list(NOSE)]])
    hull = cv2.convexHull(np.rint(outline).astype(np.int32))
    centre_map = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(centre_map, hull, (255,))
    centre_map = np.clip(_blur(centre_map.astype(np.float32) / 255, 4 * density), 0, 1)
    chin_y = float((points[152] - centre)[1] / span)
    nose_y = float((points[2] - centre)[1] / span)
    lips = polygon(LIPS, 1.5, 0.8)
    # Beard: below the nose and on the jaw up to the sideburns, down to the throat.
    beard = _smoothstep(nose_y + 0.006, nose_y - 0.004, y - np.maximum(0, (np.abs(x) - 0.045) * 1.6))
    beard = beard * _smoothstep(-0.085, -0.070, z) * (1 - lips) * _smoothstep(chin_y - 0.014, chin_y - 0.002, y)
    eyes = np.maximum(polygon(RIGHT_EYE, 2.5, 0.8), polygon(LEFT_EYE, 2.5, 0.8))
    surround = np.maximum(polygon(RIGHT_EYE, 17.0, 2.0), polygon(LEFT_EYE, 17.0, 2.0))
    brows = np.maximum(polygon(RIGHT_BROW, 3.0, 1.2), polygon(LEFT_BROW, 3.0, 1.2))
    nostrils = np.zeros((size, size), np.float32)
    for left, right in ((98, 97), (327, 326)):
        at = (pixel[left] + pixel[right]) / 2
        cv2.circle(nostrils, (int(at[0]), int(at[1])), max(1, round(5 * density)), (1.0,), -1)
    nostrils = _blur(nostrils, density)
    # The ears' backs lie behind 12 cm and no portrait shows them.
    portrait = _smoothstep(chin_y - 0.006, chin_y + 0.006, y) * _smoothstep(-0.120, -0.105, z)
    portrait = np.maximum(portrait * (1 - scalp), face) * (1 - sockets) * inside
    maps = [face, brows, eyes, surround, lips, nostrils, beard, scalp, depth_in_scalp, ears, sockets, centre_map,
            portrait, x > 0]  # fmt: skip
    return _Regions(*[m.astype(np.float32) for m in maps], inside=inside, texels_per_mm=density)


def _landmark_uv(head: HeadModel) -> Float[Tensor, "L 2"]:
    """Texture coordinates of the mediapipe landmarks."""
    embedding = head.landmarks["mediapipe"]
    return (head.uv[head.uv_faces[embedding.face_index]] * embedding.barycentric[..., None]).sum(1)


# --- unwrapping -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Unwrap:
    """What the photo shows of each texel. color_linear: ``[3, U, U]``, any value where the weight is 0. weight:
    ``[U, U]`` 0..1, how far to trust it: 0 hidden, turned away or outside, 1 seen well. detail: ``[U, U]`` how finely
    the photo shows the surface there, pixels per metre (geometric mean over directions)."""

    color_linear: Float[Tensor, "3 U U"]
    weight: Float[Tensor, "U U"]
    detail: Float[Tensor, "U U"]


@torch.no_grad()
def unwrap(
    photo: Photo,
    head: HeadModel,
    vertices: Float[Tensor, "V 3"],
    camera: Camera,
    person_mask: Float[Tensor, "h w"] | None = None,
    size: int = 1024,
    landmarks: Landmarks | None = None,
) -> Unwrap:
    """The photo's colours on the skin map.

    vertices: the fitted head, head frame; camera: of the whole photo, one view; person_mask: 0..1 for every pixel of
    the photo. A texel is seen where its depth agrees with a depth map of the whole head without lashes. Its weight
    falls with the angle of view (from 50 to 78 degrees), within 2 to 6 mm of an outline in the photo (where a small
    error of the fit would paint background on cheeks, or the cheek behind the nose on the nose), at the photo's
    border and outside the person. Photos with more pixels than texels are averaged first. With `landmarks`, texels
    near eyes, brows, nose and mouth are read where the detector saw the feature: what the fit left over, up to 4 % of
    the face, is taken up smoothly.
    """
    import cv2

    if (photo.height, photo.width) != (camera.height, camera.width):
        raise ValueError(
            f"The camera is of a photo of {camera.width} x {camera.height}, not {photo.width} x {photo.height} pixels."
        )
    place = positions(head, vertices, size).reshape(1, -1, 3)
    normal = interpolate(head, vertex_normals(vertices, head.faces), size).reshape(-1, 3)
    normal = torch.nn.functional.normalize(normal, dim=1)
    projected = camera.project(place)[0]
    view = torch.nn.functional.normalize(camera.centre - place[0], dim=1)
    cosine = (normal * view).sum(1).reshape(size, size).numpy()
    x, y, depth = (projected[:, i].reshape(size, size).numpy() for i in range(3))

    # Visibility on a crop of the head, at a size that does not depend on the photo's.
    corners = camera.project(vertices[None])[0, :, :2]
    low, high = corners.amin(0).clamp_min(-2.0 * max(camera.width, camera.height)), corners.amax(0)
    extent = float((high - low).max().clamp(1.0, 5.0 * max(camera.width, camera.height)))
    scale = VISIBILITY_SIDE_PX / extent
    left, top = float(low[0]) - 4 / scale, float(low[1]) - 4 / scale
    side_x, side_y = (min(int(float(d) * scale) + 9, VISIBILITY_SIDE_PX + 9) for d in high - low)
    crop = camera.crop_and_resize(left, top, scale, side_y, side_x)
    opaque = torch.nonzero(head.face_part != PARTS.index("lashes")).squeeze(1)
    seen = fragments(vertices[None], head.faces[opaque], crop)
    buffer = seen.depth[0].numpy().astype(np.float32)
    part = torch.where(seen.face_index[0] < 0, -1, head.face_part[opaque[seen.face_index[0].clamp_min(0)]]).numpy()
    buffer = np.where(np.isfinite(buffer), buffer, 1e3).astype(np.float32)
    metres_per_px = float(depth.mean()) / float(crop.focal_px)
    crop_x, crop_y = ((x - left) * scale - 0.5).astype(np.float32), ((y - top) * scale - 0.5).astype(np.float32)
    nearest = cv2.remap(buffer, crop_x, crop_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(1e3,))
    slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, 0.15)
    visible = depth < nearest + 0.0012 + metres_per_px * slope

    # Outlines: where depth jumps between pixels, except around the mouth's inside and the eyeballs, whose borders
    # are drawn by thin lids and lips that would vanish under a margin.
    kernel = np.ones((3, 3), np.uint8)
    jump = (cv2.dilate(buffer, kernel) - cv2.erode(buffer, kernel)) > max(0.006, 4 * metres_per_px)
    inner = np.isin(part, [PARTS.index(name) for name in PARTS if name not in ("skin", "lashes")]).astype(np.uint8)
    jump &= cv2.dilate(inner, np.ones((7, 7), np.uint8)) == 0
    to_outline = cv2.distanceTransform((~jump).astype(np.uint8), cv2.DIST_L2, 5) * (metres_per_px * 1000)
    margin_mm = cv2.remap(to_outline, crop_x, crop_y, cv2.INTER_LINEAR, borderValue=(0.0,))

    # In the middle of the face steep views are better than none: the mean skin's nostrils would be another person's.
    centre = _regions(head, size).centre
    weight = _smoothstep(0.2, 0.64, cosine) * _smoothstep(1.5, 6.0, margin_mm)
    weight = weight + centre * (_smoothstep(0.0, 0.35, cosine) * _smoothstep(0.5, 2.5, margin_mm) - weight)
    weight *= visible * (1 - _regions(head, size).sockets)
    weight *= _smoothstep(0.0, 4.0, np.minimum(np.minimum(x, camera.width - x), np.minimum(y, camera.height - y)))
    weight *= atlas_lookup(head, size).inside.numpy()

    if landmarks is not None:
        shift = _feature_shift(head, vertices, camera, landmarks, size)
        x, y = x + shift[..., 0], y + shift[..., 1]
        weight *= 1 - _openings(landmarks, x, y)
    if person_mask is not None:
        mask = np.ascontiguousarray(person_mask.numpy(), dtype=np.float32)
        belongs = cv2.remap(mask, (x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32), cv2.INTER_LINEAR)
        weight *= _smoothstep(0.3, 0.8, belongs)
    color = _sample(photo, x, y, weight)
    like = vertices
    return Unwrap(
        srgb_to_linear(_to_tensor(color, like)),
        torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32)).to(like),
        torch.from_numpy((np.sqrt(np.maximum(cosine, 0)) * float(camera.focal_px) / depth).astype(np.float32)).to(like),
    )


def _sample(photo: Photo, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """sRGB colours 0..1 ``[U, U, 3]`` of the photo at pixel positions, averaged where pixels outnumber texels."""
    import cv2

    sure = weight > 0.3
    if not sure[1:, 1:].any():
        return np.zeros((*x.shape, 3), np.float32)
    used = weight > 0
    left, top = (max(int(v[used].min()) - 4, 0) for v in (x, y))
    right = min(int(x[used].max()) + 5, photo.width)
    bottom = min(int(y[used].max()) + 5, photo.height)
    pixels = photo.pixels[top:bottom, left:right]
    row, column = (index + 1 for index in np.nonzero(sure[1:, 1:]))
    some = slice(None, None, max(1, len(row) // 4096))
    row, column = row[some], column[some]
    along = np.hypot(*(v[row, column] - v[row, column - 1] for v in (x, y)))
    down = np.hypot(*(v[row, column] - v[row - 1, column] for v in (x, y)))
    pixels_per_texel = float(np.median(np.sqrt(along * down)))
    fx = fy = 1.0
    if pixels_per_texel > 1.5:
        height, width = pixels.shape[:2]
        small = (max(2, round(width / pixels_per_texel)), max(2, round(height / pixels_per_texel)))
        pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        fx, fy = small[0] / width, small[1] / height
    # Enlarging, a cubic keeps edges that a linear would make into facets.
    method = cv2.INTER_CUBIC if pixels_per_texel < 0.7 else cv2.INTER_LINEAR
    map_x, map_y = ((x - left) * fx - 0.5).astype(np.float32), ((y - top) * fy - 0.5).astype(np.float32)
    image = np.ascontiguousarray(pixels).astype(np.float32) / 255
    return np.clip(cv2.remap(image, map_x, map_y, method, borderMode=cv2.BORDER_REPLICATE), 0, 1)


def _feature_shift(head: HeadModel, vertices: Tensor, camera: Camera, landmarks: Landmarks, size: int) -> np.ndarray:
    """How far each texel is from where the detector saw its feature: ``[U, U, 2]`` photo pixels.

    A kernel average over the landmarks of eyes, brows, nose and lips (sigma 6 mm on the mean head) that fades to 0
    away from them. The face's contour points are left out: they slide along the surface with the pose.
    """
    import cv2

    names = sorted({*RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE, *LEFT_EYE, *LIPS, *LIPS_INNER, *NOSE})
    points = head.landmark_points("mediapipe", vertices)[names]
    normals = vertex_normals(vertices, head.faces)
    facing = torch.nn.functional.normalize(camera.centre - points, dim=1)
    embedding = head.landmarks["mediapipe"]
    normal = (normals[head.faces[embedding.face_index]] * embedding.barycentric[..., None]).sum(1)[names]
    trust = ((normal * facing).sum(1) - 0.1).clamp(0, 0.4) / 0.4
    offset = landmarks.points_px[names] - camera.project(points[None])[0, :, :2]
    face_px = (landmarks.points_px[:468].amax(0) - landmarks.points_px[:468].amin(0)).max()
    offset = offset * (0.04 * face_px / offset.norm(dim=1, keepdim=True).clamp_min(1e-6)).clamp_max(1.0)

    coarse = 128
    place = positions(head, head.template, coarse).reshape(-1, 3)
    centres = head.landmark_points("mediapipe", head.template)[names]
    kernel = torch.exp(-0.5 * (torch.cdist(place, centres) / 0.006) ** 2) * trust
    shift = (kernel @ offset) / (kernel.sum(1, keepdim=True) + 0.3)
    return cv2.resize(shift.reshape(coarse, coarse, 2).numpy(), (size, size), interpolation=cv2.INTER_LINEAR)


def _openings(landmarks: Landmarks, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where a texel's place in the photo lies between the lids or between the lips, 0..1: eyeballs, teeth and tongue
    are other parts, and where the fitted mouth opens less than the real one they would be painted on the lips."""
    import cv2

    points = landmarks.points_px.numpy().astype(np.float64)
    result = np.zeros(x.shape, np.float32)
    for loop in (RIGHT_EYE, LEFT_EYE, LIPS_INNER):
        outline = points[list(loop)]
        low, high = outline.min(0), outline.max(0)
        scale = 128 / max(float((high - low).max()), 1.0)  # of the picture that the polygon is drawn in
        mask = np.zeros((144, 144), np.uint8)
        cv2.fillPoly(mask, [np.rint(((outline - low) * scale + 8) * 16).astype(np.int32)], (255,), shift=4)
        if loop is not LIPS_INNER:
            mask = cv2.dilate(mask, np.ones((5, 5), np.uint8))  # the lids' wet rims
        mask = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.5)
        map_x, map_y = ((x - low[0]) * scale + 8).astype(np.float32), ((y - low[1]) * scale + 8).astype(np.float32)
        result = np.maximum(result, cv2.remap(mask, map_x, map_y, cv2.INTER_LINEAR, borderValue=(0.0,)))
    return _smoothstep(0.15, 0.6, result)


# --- completing -------------------------------------------------------------------------------------------------------


def mirrored(image: Float[Tensor, "*C U U"]) -> Float[Tensor, "*C U U"]:
    """The map of the head seen in a mirror: the atlas is symmetric, u -> 1 - u."""
    return image.flip(-1)


def complete(
    known: Float[Tensor, "3 U U"],
    weight: Float[Tensor, "U U"],
    guide: Float[Tensor, "3 U U"],
    trust: Float[Tensor, "U U"] | None = None,
    reach: float = 0.12,
) -> Float[Tensor, "3 U U"]:
    """Fill a partly known map with the detail of another one and no visible seam.

    What the known map and the guide differ by is carried into the unknown as a smooth field of log ratios, and the
    guide, corrected by it, takes over as the weight falls to 0. This solves the membrane of Poisson image editing
    (Perez et al. 2003; Farbman et al. 2009) in log albedo by pyramid, "push-pull" (Gortler et al. 1996, 3.4).

    Texels of weight 1 keep their value exactly. trust: what of the known map may colour the unknown (default: the
    weight); features such as brows and lips say nothing about the skin's colour. reach: how far local differences are
    carried, as a share of the map (they fade over twice that); beyond it only their overall mean is, so that opposite
    borders of the map, which
    are one line at the back of the head, agree.
    """
    w = weight.detach().cpu().numpy().astype(np.float32)
    t = w if trust is None else trust.detach().cpu().numpy().astype(np.float32)
    if not (w > 0).any():
        return guide.clone()
    # The field is smooth: blocks of known texels are compared, at half the size.
    step = 2 if w.shape[0] >= 512 else 1
    share = _shrink(w, step)
    ours, theirs = (
        np.log(np.maximum(_shrink(_to_numpy(m) * w[..., None], step) / np.maximum(share, 1e-4)[..., None], 1e-3))
        for m in (known, guide)
    )
    difference = np.clip(ours - theirs, -1.5, 1.5)
    sure = _shrink(t * w, step)
    total = float(sure.sum())
    mean = (difference * sure[..., None]).sum((0, 1)) / total if total > 0 else np.zeros(3, np.float32)
    field = mean + _push_pull(difference - mean, sure, reach)
    filled = guide.clamp_min(1e-3) * _to_tensor(_enlarge(np.exp(field), w.shape[0]), known)
    return torch.where(weight >= 1, known, filled + weight * (known - filled))


def blended(
    albedo: Float[Tensor, "3 U U"],
    mask: Float[Tensor, "U U"],
    filling: Float[Tensor, "3 U U"],
    mirror: bool = False,
) -> Float[Tensor, "3 U U"]:
    """What is seen, continued by `filling` without a seam; with `mirror`, by the other side of the face where that is
    seen, and by `filling` elsewhere, sRGB 0..1: what `build_materials` does, for maps without a photo."""
    known, guide = srgb_to_linear(albedo), srgb_to_linear(filling)
    difference = (known.clamp_min(1e-3) / guide.clamp_min(1e-3)).log()
    middle = difference[:, mask > 0.5].median(1).values[:, None, None]
    trust = mask * ((difference - middle).abs().amax(0) < FEATURE_LOG)
    if mirror:
        guide = complete(mirrored(known), mirrored(mask), guide, mirrored(trust))
    return linear_to_srgb(complete(known, mask, guide, trust)).clamp(0, 1)


def _push_pull(values: np.ndarray, weight: np.ndarray, reach: float) -> np.ndarray:
    """Smooth extension of ``[U, U, C]`` values into where the weight is 0, fading to 0 beyond `reach` of the map."""
    import cv2

    size = values.shape[0]
    levels = []
    v, w = values * weight[..., None], weight
    while min(v.shape[:2]) > 2:
        levels.append((v, w))
        v, w = (cv2.resize(a, (a.shape[1] // 2, a.shape[0] // 2), interpolation=cv2.INTER_AREA) for a in (v, w))
    # Up again: each level keeps what it knows and takes the rest from the coarser one.
    result = np.zeros_like(v)
    for v, w in reversed(levels):
        result = cv2.resize(result, (v.shape[1], v.shape[0]), interpolation=cv2.INTER_LINEAR)
        cell = 1 / v.shape[0]
        known = np.clip(w * 4, 0, 1)[..., None]  # a quarter of a cell known is enough to speak for it
        local = v / np.maximum(w[..., None], 1e-6)
        fade = float(np.clip(1.2 - 0.5 * cell / reach, 0, 1))
        result = result + fade * known * (local - result)
        if 2 / size < cell:
            result = cv2.GaussianBlur(result, (5, 5), 0.8, borderType=cv2.BORDER_REPLICATE)
    return result


# --- removing the light -----------------------------------------------------------------------------------------------


def delight(color_linear: Float[Tensor, "3 U U"], light: Float[Tensor, "3 U U"]) -> Float[Tensor, "3 U U"]:
    """Albedo: the colour divided by the light that falls on each texel (`lighting.shading`, which has a floor)."""
    return color_linear / light


def _uneven(residual: np.ndarray, skin: np.ndarray, regions: _Regions) -> np.ndarray:
    """Light that second-order harmonics could not follow, as a log field ``[U, U, 3]``.

    residual: log of albedo over the coarse albedo. Cast shadows and the dimness of hollows are smooth and much the
    same in all channels, and faces are symmetric while light seldom is: of the residual's low frequencies (12 mm) the
    part that differs between left and right is taken for light wholly, the common part by half and not where a
    beard grows. More than a factor of two is not shadow but another material.
    """
    r = np.clip(residual, -0.9, 0.9) * skin[..., None]
    both = _blur(np.concatenate([r, skin[..., None]], 2).astype(np.float32), 12 * regions.texels_per_mm)
    support = both[..., 3:]
    low = both[..., :3] / np.maximum(support, 0.02)
    # Colour varies over a real face (nose, cheeks, forehead), so two thirds of the chroma stay.
    luma = low.mean(2, keepdims=True)
    low = luma + (low - luma) / 3
    other, other_support = low[:, ::-1], support[:, ::-1]
    shared = np.clip(np.minimum(support, other_support) / 0.15, 0, 1)
    common = low + shared * ((low + other) / 2 - low)
    beard = regions.beard[..., None]
    # Below zero and on the beard's place, the common part is a beard.
    keep = 1 - beard * (common.mean(2, keepdims=True) < 0)
    field = (low - common) + 0.5 * common * keep
    return np.clip(field, -0.7, 0.7) * np.clip(support / 0.1, 0, 1)


def _without_highlights(albedo: np.ndarray, skin: np.ndarray, regions: _Regions) -> np.ndarray:
    """Shine compressed: luminance more than 12 % above its surroundings (9 mm) is reduced to a fifth of the excess.

    Highlights on skin have the light's colour, which is white once the cast is divided out (dichromatic model,
    Shafer 1985), so what is taken away is grey; but never more than leaves the surroundings' colour.
    """
    luma = albedo @ _LUMA
    around = _masked_blur(np.minimum(albedo, 1.5), skin, 9 * regions.texels_per_mm)
    around_luma = np.maximum(around @ _LUMA, 1e-3)
    shine = np.maximum(luma - 1.12 * around_luma, 0) * skin * 0.8
    shiny = shine > 0
    result, own, luma, shine, around, around_luma = (
        albedo.copy(), albedo[shiny], luma[shiny], shine[shiny], around[shiny], around_luma[shiny]
    )  # fmt: skip
    grey = own - shine[:, None]
    target = np.maximum(luma - shine, 1e-4)
    grey_luma = np.maximum(grey @ _LUMA, 1e-4)
    # Of the two ways down, subtracting grey and taking the surroundings' hue, the less saturated.
    share = np.clip(shine / (0.5 * around_luma), 0, 1)
    by_grey = np.maximum(grey, 0.25 * own) * ((1 - share) * target / np.maximum(grey_luma, 0.25 * luma))[:, None]
    result[shiny] = by_grey + around * (share * target / around_luma)[:, None]
    return result


# --- what is not skin -------------------------------------------------------------------------------------------------


def foreign(residual: np.ndarray, weight: np.ndarray, regions: _Regions) -> np.ndarray:
    """How sure it is, 0..1 ``[U, U]``, that a texel shows hair, glasses, a hand or background instead of skin.

    residual: ``[U, U, 3]`` log of albedo over the coarse skin. Root mean square deviations over 1.5 mm are compared
    with what skin does there: a few tenths in luminance and less in colour, more on ears and throat; dark is
    suspected sooner than bright, which may be shine. Where deviations belong (brows, eyes, lips, nostrils) nothing
    is excluded, and where beards grow only what is not dark. Thin dark lines in a ring around the eyes, where there
    are many, are a frame of glasses.
    """
    import cv2

    density = regions.texels_per_mm
    luma = residual.mean(2)
    # Against the surroundings' level as well as the person's: a shaded cheek is no hair.
    red, blue = residual[..., 0] - residual[..., 1], residual[..., 2] - residual[..., 1]
    # Folds and the hollows of the eyes are darker than a forehead without hair ever is.
    sigma_luma = np.where(luma < 0, 0.30 + 0.60 * regions.centre, 0.50 + 0.3 * regions.centre)
    relaxed = np.clip(regions.ears + 0.5 * (1 - regions.face), 0, 1)
    sigma_luma = sigma_luma * (1 + 0.7 * relaxed)
    sigma_luma = sigma_luma * (1 + 3.0 * regions.beard * (luma < 0))
    sigma_color = 0.22 * (1 + 0.5 * relaxed + regions.centre + 1.5 * regions.beard * (luma < 0))
    score = (luma / sigma_luma) ** 2 + (red / sigma_color) ** 2 + (blue / (1.4 * sigma_color)) ** 2
    seen = np.clip(weight * 3, 0, 1)
    score = _masked_blur(np.minimum(score, 25)[..., None], np.maximum(seen, 1e-3), 1.5 * density)[..., 0]
    suspect = _smoothstep(1.7, 2.7, np.sqrt(score))

    # Frames: dark lines up to 6 mm wide (closing minus picture, a black top-hat), in the ring around the eyes.
    side = 2 * max(1, round(3 * density)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    smooth = _blur(luma.astype(np.float32), 0.6 * density)
    line = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, kernel) - smooth
    ring = (
        regions.eye_surround * (1 - np.clip(1.5 * regions.eyes, 0, 1)) * (1 - np.clip(1.5 * regions.brows, 0, 1)) * seen
    )
    frame = _smoothstep(0.45, 0.70, line) * (luma < 0) * ring
    glasses = frame.sum() > 0.10 * max(ring.sum(), 1.0)
    if glasses:
        suspect = np.maximum(suspect, frame)

    grow = 2 * max(1, round(1.2 * density)) + 1
    suspect = suspect.astype(np.float32)
    wide = 2 * max(1, round(4 * density)) + 1
    near = cv2.dilate(suspect, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grow, grow)))
    far = cv2.dilate(cv2.erode(suspect, np.ones((3, 3))), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide)))
    # Shadows and single hairs reach farther than what casts them; in the middle of the face nothing can be spared.
    suspect = near + (1 - regions.centre) * (np.maximum(far, near) - near)
    suspect = _blur(suspect, 0.8 * density)
    # The upper rim runs along the brows and cannot be told from them: brows behind glasses are painted anew.
    belongs = [regions.eyes, regions.lips, regions.nostrils] + ([] if glasses else [regions.brows])
    exempt = np.clip(np.maximum.reduce(belongs) * 1.3, 0, 1)
    return np.clip(suspect * (1 - exempt), 0, 1)


# --- hair -------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def _strands(key: SameHead, size: int) -> np.ndarray:
    """Noise ``[U, U]`` of mean 0 and deviation 1 in strands that run from the crown, as short hair lies.

    Drawn in (azimuth around the crown, angle from it), where a circle closes: no seam at the back.
    """
    import cv2

    head = key.head
    p = positions(head, head.template, size).numpy()
    skin = head.template[head.faces[head.part_faces("skin")].unique()]
    low, high = skin.amin(0).numpy(), skin.amax(0).numpy()
    extent = high[1] - max(low[1], high[1] - 0.32)
    centre = np.array([0, high[1] - 0.30 * extent, 0.5 * (low[2] + high[2]) - 0.02])
    axis = np.array([0, 0.75, -0.66])
    direction = p - centre
    direction = direction / np.linalg.norm(direction, axis=2, keepdims=True)
    front = np.cross([1.0, 0, 0], axis)
    angle = np.arccos(np.clip(direction @ axis, -1, 1))
    azimuth = np.arctan2(direction[..., 0], direction @ front)
    rng = np.random.default_rng(1)
    height, width = 256, 1024
    total = np.zeros((height, width), np.float32)
    for sigma_x, sigma_y, share in ((0.6, 8, 1.0), (1.6, 14, 0.6), (8, 30, 0.25)):
        noise = rng.standard_normal((height, 3 * width)).astype(np.float32)
        noise[:, :width] = noise[:, 2 * width :] = noise[:, width : 2 * width]  # periodic in azimuth
        noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)[:, width : 2 * width]
        total += share * noise / noise.std()
    total /= total.std()
    total = np.concatenate([total, total[:, :2]], 1)
    map_x = np.mod(azimuth / (2 * math.pi), 1) * width
    map_y = np.clip(angle / math.pi, 0, 1) * (height - 1)
    return cv2.remap(total, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)


def _with_hair(skin: np.ndarray, hair_linear: np.ndarray, head: HeadModel, regions: _Regions) -> np.ndarray:
    """Short hair of one colour painted over the scalp of a skin map ``[U, U, 3]``: strands, a ragged hairline."""
    strands = _strands(SameHead(head), skin.shape[0])
    hair = hair_linear * np.exp(0.20 * strands)[..., None]
    cover = _smoothstep(0.25, 0.85, regions.scalp + 0.16 * strands * (regions.scalp > 0.02))
    return skin * (1 - cover[..., None]) + hair * cover[..., None]


# --- eyes -------------------------------------------------------------------------------------------------------------

DEFAULT_IRIS = "brown"  # the colour of most people's eyes


def iris_color(
    photo: Photo, landmarks: Landmarks, light_linear: Float[Tensor, "3"]
) -> tuple[float, float, float] | None:
    """Linear colour of the person's irises without light, None where too little of them is seen.

    Taken between pupil and limbus (0.45 to 0.85 of the iris' radius), below the upper lid's shadow, inside the lids'
    opening; the median, so that highlights and lashes do not count. light_linear: irradiance over pi on the face;
    eyes lie in hollows under lids and are lit by about 0.7 of it.
    """
    pixels: list[np.ndarray] = []
    points = landmarks.points_px.numpy().astype(np.float64)
    for iris, loop in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
        centre, ring = points[iris][0], points[iris][1:]
        radius = float(np.linalg.norm(ring - centre, axis=1).mean())
        if radius < 2.5:
            continue
        found = _around_iris(photo, centre, radius, points[list(loop)], 0.45, 0.85, -0.5)
        if len(found) >= 12:
            pixels.append(found)
    if not pixels:
        return None
    colors = np.concatenate(pixels).astype(np.float32) / 255
    luma = colors.mean(1)
    kept = colors[(luma <= np.quantile(luma, 0.8)) & (luma >= np.quantile(luma, 0.1))]
    linear = srgb_to_linear(torch.from_numpy(np.median(kept, axis=0)).float()) / (0.7 * light_linear).clamp_min(0.05)
    # No iris is darker than 2 % or lighter than 35 %.
    luminance = float(linear @ torch.tensor([0.2126, 0.7152, 0.0722]))
    linear = (linear * min(max(luminance, 0.02), 0.35) / max(luminance, 1e-4)).clamp(0.005, 0.6)
    r, g, b = linear.tolist()
    return r, g, b


SCLERA_LINEAR = (0.44, 0.39, 0.36)  # the white of the eye as it is seen in the shade of the lids


def sclera_light(photo: Photo, landmarks: Landmarks) -> Float[Tensor, "3"] | None:
    """Irradiance over pi on the face, guessed from the whites of the eyes; None where too little is seen of them.

    Everybody's are nearly the same colour whatever the skin's, so they tell a dark skin from a dim light, and warm
    light from warm skin. Coarse all the same (lids shade them, vessels redden them): `fit_tone` weighs it as such.
    """
    pixels: list[np.ndarray] = []
    points = landmarks.points_px.numpy().astype(np.float64)
    for iris, loop in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
        centre, ring = points[iris][0], points[iris][1:]
        radius = float(np.linalg.norm(ring - centre, axis=1).mean())
        if radius < 4:
            continue
        found = _around_iris(photo, centre, radius, points[list(loop)], 1.15, 2.2, -0.4)
        if len(found) >= 20:
            pixels.append(found)
    if not pixels:
        return None
    colors = np.concatenate(pixels).astype(np.float32) / 255
    # Skin of the lids that the outline let in, lashes and corners have less blue, reflections more.
    blue = colors[:, 2]
    kept = colors[(blue >= np.quantile(blue, 0.75)) & (blue <= np.quantile(blue, 0.97))]
    linear = srgb_to_linear(torch.from_numpy(np.median(kept, axis=0)).float())
    # What is burnt out is a reflection, in the eye or in glasses.
    return None if float(linear.max()) > 0.8 else (linear / torch.tensor(SCLERA_LINEAR)).clamp_min(0.02)


def _around_iris(
    photo: Photo, centre: np.ndarray, radius: float, lids: np.ndarray, inner: float, outer: float, top: float
) -> np.ndarray:
    """Pixels ``[N, 3]`` between two multiples of the iris' radius, not higher than `top` radii, between the lids."""
    import cv2

    reach = outer * radius
    left, upper = np.maximum(np.floor(centre - reach).astype(int), 0)
    right, lower = np.minimum(np.ceil(centre + reach).astype(int) + 1, [photo.width, photo.height])
    if right <= left or lower <= upper:
        return np.zeros((0, 3), np.uint8)
    window = photo.pixels[upper:lower, left:right]
    rows, columns = np.mgrid[upper:lower, left:right] + 0.5
    dx, dy = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    distance = np.hypot(dx, dy)
    opening = np.zeros(window.shape[:2], np.uint8)
    cv2.fillPoly(opening, [np.rint((lids - [left + 0.5, upper + 0.5]) * 16).astype(np.int32)], (1,), shift=4)
    return window[(distance > inner) & (distance < outer) & (dy > top) & (opening > 0)]


# --- everything -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class View:
    """A fitted photo. vertices: the fitted head as it is in this photo (with its expression), head frame. camera: of
    the whole photo. landmarks: what the detector saw, in photo pixels; they correct what the fit left over near the
    features and show where the irises are. person_mask: 0..1 for every pixel of the photo."""

    photo: Photo
    vertices: Float[Tensor, "V 3"]
    camera: Camera
    landmarks: Landmarks | None = None
    person_mask: Float[Tensor, "h w"] | None = None


@dataclass(frozen=True)
class Seen:
    """Which share of the skin photos show, 0..1. portrait: of what portraits show, from ear to ear and from the
    hairline to the chin; the others: of the ears, and of the sides of the face between them and the features."""

    portrait: float
    left_ear: float
    right_ear: float
    left_side: float
    right_side: float


@dataclass(frozen=True, eq=False)
class TextureResult:
    """What `build_materials` found.

    light_sh: ``[9, 3]`` of the first photo, in the convention of `shading.Light.sh`. tone: place on the palette of skin
    colours, exposure and cast. seen_fraction: share of the face that shows photos' own texels, 0..1. weight: ``[U, U]``
    their weights. covered_fraction: share of the visible face that was left out in the first photo as hair, glasses or
    hands. hair_srgb: the hair's colour, None for bald people and where none was seen. iris_linear: None where the
    default was taken. seen: by the first photo, by the first two, and so on.
    """

    materials: Materials
    light_sh: Float[Tensor, "9 3"]
    tone: Tone
    seen_fraction: float
    covered_fraction: float
    weight: Float[Tensor, "U U"]
    hair_srgb: tuple[float, float, float] | None
    iris_linear: tuple[float, float, float] | None
    seen: tuple[Seen, ...]

    @property
    def melanin(self) -> float:
        """Of the person's skin."""
        return self.tone.melanin

    @property
    def haemoglobin(self) -> float:
        """Of the person's skin."""
        return self.tone.haemoglobin


@torch.no_grad()
def build_materials(
    head: HeadModel, views: Sequence[View], size: int = 1024, report: Callable[[float, int], None] | None = None
) -> TextureResult:
    """All maps of a head from fitted photos of it, the most important (the one from the front) first.

    Each photo gives a map of what it shows, without its light; where several show a place, the first is preferred in
    the middle of the face and the one that shows it most finely elsewhere. The rest is completed. report: called
    now and then with the share that is done, 0..1, and the photo at work; what it raises ends the work. Deterministic.
    """
    say = report or (lambda share, index: None)
    regions = _regions(head, size)
    features = np.maximum.reduce([regions.brows, regions.eyes, regions.lips, regions.nostrils])
    layers: list[_Layer] = []
    for i, view in enumerate(views):
        palette = _single_tone(layers[0].tone) if layers else tone_palette()

        def at(share: float, i: int = i) -> None:
            say((i + 0.55 * share) / (len(views) - 0.45), i)

        layers.append(_layer(head, view, regions, features, palette, size, at))
    first = layers[0]
    for i in range(1, len(layers)):
        layers[i] = _matched(layers[i], first, features)
    tone, light, coarse = first.tone, first.light, first.coarse

    # Hair: where the scalp is seen and is not skin.
    scalp_seen = [layer.weight * regions.scalp for layer in layers]
    scalp_total = sum(float(s.sum()) for s in scalp_seen)
    hair_total = sum(float((s * layer.excluded).sum()) for s, layer in zip(scalp_seen, layers, strict=True))
    has_hair = scalp_total > 0.01 * float(regions.scalp.sum()) and hair_total / max(scalp_total, 1e-6) > 0.35
    kept = [_kept(layer, regions, has_hair) for layer in layers]

    # Where a colour may be carried on from: skin next to skin, hair next to hair, not features.
    border = 4 * regions.scalp * (1 - regions.scalp)
    trust = [
        (1 - features) * (1 - layer.excluded * (1 - regions.scalp)) * (1 - border if has_hair else 1.0)
        for layer in layers
    ]
    merged = _merged(layers, kept, trust, regions)
    known = _to_tensor(merged.albedo.astype(np.float32), coarse)
    bare = torch.from_numpy(1 - regions.scalp if has_hair else np.ones_like(regions.scalp))
    guide = _guide(head, known, torch.from_numpy(merged.kept) * bare, first, regions)
    # Now that this person's skin is known, what is strange to it is told better than from the mean skin.
    strange = _strange(known, merged.kept, guide, regions) * bare.numpy()
    kept_t, trust_t, own_kept, own_trust = (
        torch.from_numpy(np.ascontiguousarray(m * (1 - strange), dtype=np.float32))
        for m in (merged.kept, merged.trust, kept[0], trust[0])
    )
    hair = None
    if has_hair:
        of_hair = [
            s * (layer.excluded > 0.9) * (regions.scalp > 0.9) for s, layer in zip(scalp_seen, layers, strict=True)
        ]
        hair = _hair_color(np.concatenate([layer.albedo for layer in layers]), np.concatenate(of_hair))
        guide = _to_tensor(_with_hair(_to_numpy(guide), hair, head, regions), coarse)
    own = regions.scalp if has_hair else np.zeros_like(regions.scalp)
    known, kept_t = _calmed(known, kept_t, trust_t, guide, own, regions)
    other_side = complete(mirrored(known), mirrored(kept_t), guide, mirrored(trust_t))
    say(0.75, 0)
    final = complete(known, kept_t, other_side, trust_t)
    say(0.83, 0)
    shown = first.seen.color_linear.clamp_min(1e-3)
    shown, own_kept = _calmed(shown, own_kept, own_trust, final * light, own, regions)
    lit = complete(shown, own_kept, final * light, own_trust)
    say(0.9, 0)

    iris = None
    if views[0].landmarks is not None:
        iris = iris_color(views[0].photo, views[0].landmarks, tone.exposure * tone.cast)
    face, covered = regions.face * regions.inside, first.weight * first.excluded
    materials = _materials(head, tone, final, lit, iris, hair)
    return TextureResult(
        materials=materials,
        light_sh=first.light_sh,
        tone=tone,
        seen_fraction=float((merged.kept * face).sum() / face.sum()),
        covered_fraction=float((covered * face).sum() / max(float((first.weight * face).sum()), 1e-6)),
        weight=kept_t,
        hair_srgb=None if hair is None else _srgb(hair),
        iris_linear=iris,
        seen=tuple(_seen(_union(kept[: i + 1]), regions) for i in range(len(kept))),
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one photo says of the skin. albedo ``[U, U, 3]``: without light and shine, any value where the weight is 0.
    weight ``[U, U]``: how far to trust it; excluded: where it is no skin (hair, glasses, hands)."""

    seen: Unwrap
    tone: Tone
    light_sh: Tensor
    light: Tensor
    coarse: Tensor
    albedo: np.ndarray
    weight: np.ndarray
    excluded: np.ndarray


def _layer(
    head: HeadModel, view: View, regions: _Regions, features: np.ndarray, palette: TonePalette, size: int,
    say: Callable[[float], None],
) -> _Layer:  # fmt: skip
    """One photo unwrapped, told from what is not skin, and freed from light and shine."""
    seen = unwrap(view.photo, head, view.vertices, view.camera, view.person_mask, size, view.landmarks)
    say(0.45)
    normals = interpolate(head, vertex_normals(view.vertices, head.faces), size)
    normals = torch.nn.functional.normalize(normals, dim=2)
    weight = seen.weight.numpy()

    tone, sh, skin = _light_and_tone(head, view, seen, normals, regions, palette)
    say(0.65)
    light = shading(normals, sh).permute(2, 0, 1)
    coarse = _mean_skin(head, tone.melanin, tone.haemoglobin, size)

    # What is light and what is foreign is smooth: judged on a map of half the size.
    step = 2 if size >= 512 else 1
    small = regions.thinned(step)
    albedo = _to_numpy(delight(seen.color_linear, light))
    residual = np.log(_shrink(np.maximum(albedo, 1e-3), step) / _shrink(_to_numpy(coarse), step).clip(1e-3))
    small_weight = _shrink(weight, step)
    uneven = _uneven(residual, small_weight * skin[step // 2 :: step, step // 2 :: step], small)
    small_excluded = foreign(residual - uneven, small_weight, small)
    small_features = features[step // 2 :: step, step // 2 :: step]
    uneven = _uneven(residual, small_weight * (1 - small_excluded) * (1 - small_features), small)
    small_excluded = np.maximum(small_excluded, _covered_brow(residual, small_weight, small))
    excluded = _enlarge(small_excluded, size)
    clean = weight * (1 - excluded) * (1 - features)
    albedo = albedo * np.exp(-_enlarge(uneven, size))
    albedo = np.clip(_without_highlights(albedo, clean, regions), 0.002, 0.98)
    say(1.0)
    return _Layer(seen, tone, sh, light, coarse, albedo, weight, excluded)


def _covered_brow(residual: np.ndarray, weight: np.ndarray, regions: _Regions) -> np.ndarray:
    """The brow of the side on which hair hangs over it, 0..1 ``[U, U]``: far darker as a whole than the other one."""
    dark = np.clip(-residual.mean(2) - 0.15, 0, 1.5)
    sides = [regions.brows * side for side in (regions.own_left, 1 - regions.own_left)]
    seen = [float((weight * side).sum() / max(float(side.sum()), 1e-6)) for side in sides]
    if min(seen) < 0.6:
        return np.zeros_like(weight)
    means = [float((dark * weight * side).sum() / (weight * side).sum()) for side in sides]
    darker = int(means[1] > means[0])
    covered = means[darker] > 0.35 + 1.5 * means[1 - darker]
    return np.clip(1.5 * sides[darker], 0, 1) if covered else np.zeros_like(weight)


def _single_tone(tone: Tone) -> TonePalette:
    """A palette with nothing to choose: other photos of one person differ in exposure and cast, not in skin."""
    return TonePalette(
        torch.tensor([tone.melanin]),
        torch.tensor([tone.haemoglobin]),
        skin_tone(tone.melanin, tone.haemoglobin).reshape(1, 1, 3),
    )


def _matched(layer: _Layer, first: _Layer, features: np.ndarray) -> _Layer:
    """The layer in the colours of the first: one gain per channel, the median over what both show of plain skin."""
    both = (
        layer.weight * (1 - layer.excluded) * first.weight * (1 - first.excluded) * (1 - features) > 0.25
    )  # fmt: skip
    if int(both.sum()) < MATCHED_SHARE * both.size:
        return layer
    ratio = np.log(first.albedo[both] / layer.albedo[both])
    gain = np.exp(np.clip(np.median(ratio, axis=0), -0.7, 0.7)).astype(np.float32)
    return replace(layer, albedo=np.clip(layer.albedo * gain, 0.002, 0.98))


def _guide(
    head: HeadModel, known: Float[Tensor, "3 U U"], seen: Float[Tensor, "U U"], first: _Layer, regions: _Regions
) -> Float[Tensor, "3 U U"]:
    """A whole skin, linear, that goes with what is seen of one: what the bundled model imagines, with the mean skin's
    pores where the map is finer than the model's.

    The model knows the bundled head's map only; other heads, and photos that show no skin at all, get the mean skin.
    """
    size = known.shape[-1]
    if head.name != "likeness" or float(seen.sum()) < 1:
        # Without brows where the photos show their own: painted ones would look out from under them.
        brows = torch.from_numpy(regions.brows * regions.inside)
        shown = float((torch.maximum(seen, mirrored(seen)) * brows).sum()) > 0.5 * float(brows.sum())
        look = SkinLook(brow_density=0.0 if shown else SkinLook().brow_density, scalp_hair=0.0, variation=0.0)
        return _mean_skin(head, first.tone.melanin, first.tone.haemoglobin, size, look)
    model = coarse_to_fine()
    skin = srgb_to_linear(imagined(model, linear_to_srgb(known.clamp(0, 1)), seen))
    if size <= model.size:
        return skin
    mean = first.coarse.clamp_min(1e-3).log()
    return skin * (mean - enlarge(enlarge(mean, model.size), size)).exp()


def _strange(
    known: Float[Tensor, "3 U U"], kept: np.ndarray, guide: Float[Tensor, "3 U U"], regions: _Regions
) -> np.ndarray:
    """`foreign` of what is known against a guide for the same person, 0..1 ``[U, U]``."""
    step = 2 if known.shape[-1] >= 512 else 1
    small, weight = regions.thinned(step), _shrink(kept, step)
    ours, theirs = (np.log(_shrink(_to_numpy(m).clip(1e-3), step)) for m in (known, guide))
    features = np.maximum.reduce([small.brows, small.eyes, small.lips, small.nostrils])
    plain = weight * (1 - features) > 0.5
    if not plain.any():
        return np.zeros_like(kept)
    residual = ours - theirs
    return _enlarge(foreign(residual - np.median(residual[plain], axis=0), weight, small), known.shape[-1])


def _calmed(
    known: Float[Tensor, "3 U U"],
    kept: Float[Tensor, "U U"],
    trust: Float[Tensor, "U U"],
    guide: Float[Tensor, "3 U U"],
    own: np.ndarray,
    regions: _Regions,
) -> tuple[Float[Tensor, "3 U U"], Float[Tensor, "U U"]]:
    """What is known, without the shadows, hair and jewellery along the border of it that no mask has caught; and what
    is kept of it, which ends more gently.

    Near the border a photo shows skin at a slant, beside hair and in its shade. How known and guide differ there may
    depart from how they differ farther in, carried outwards, by `CALM_LEAST` at the border and by anything
    `CALM_MM` inside. Only what is wider than a millimetre is held to that: pores stay. own: 0..1 ``[U, U]``, where
    nothing is changed, besides the middle of the face and its features.
    """
    import cv2

    size = known.shape[-1]
    step = max(1, size // CALM_SIDE)
    small, weight = regions.thinned(step), _shrink(kept.numpy(), step)
    ours, theirs = (np.log(_shrink(_to_numpy(m), step).clip(1e-3)) for m in (known, guide))
    inside_mm = cv2.distanceTransform((weight > 0.4).astype(np.uint8), cv2.DIST_L2, 5) / small.texels_per_mm
    sure = weight * _shrink(trust.numpy(), step)
    difference = _masked_blur(np.clip(ours - theirs, -1.5, 1.5), np.maximum(weight, 1e-4), small.texels_per_mm)
    deep = sure * (0.01 + _smoothstep(*CALM_FROM_MM, inside_mm))
    if deep.sum() < 1:
        return known, kept
    mean = (difference * deep[..., None]).sum((0, 1)) / deep.sum()
    expected = mean + _push_pull(difference - mean, deep, 0.12)
    odd = difference - expected
    free = np.maximum.reduce([small.centre, small.brows, small.eyes, small.lips, _shrink(own, step)])
    border = 1 - _smoothstep(0.8 * CALM_MM, 1.2 * CALM_MM, inside_mm)
    limit = CALM_LEAST + 0.5 * _smoothstep(4.0, CALM_MM, inside_mm) + 3 * (1 - border + free)
    oddity = np.linalg.norm(odd, axis=2) / np.sqrt(3)
    change = odd * (1 / np.sqrt(1 + (oddity / limit) ** 2) - 1)[..., None]
    calm = known * _to_tensor(np.exp(_enlarge(change, size)), known)
    # What is very odd there is no skin at all: its fine structure, hairs, should not stay either.
    skin = _smoothstep(*CALM_KEPT_MM, inside_mm) * (1 - border * _smoothstep(*CALM_FOREIGN, oddity))
    return calm, kept * torch.from_numpy(_enlarge(np.maximum(skin, np.clip(free, 0, 1)), size))


def _kept(layer: _Layer, regions: _Regions, has_hair: bool) -> np.ndarray:
    """What of a layer's texels goes into the map, 0..1."""
    if not has_hair:
        return layer.weight * (1 - layer.excluded)
    # The photo's own hair shows near the hairline; farther up it would be a smear of what stands above the skull.
    return layer.weight * (1 - layer.excluded * (1 - regions.scalp)) * (1 - 0.8 * regions.deep_scalp)


def _union(weights: Sequence[np.ndarray]) -> np.ndarray:
    total = weights[0]
    for weight in weights[1:]:
        total = 1 - (1 - total) * (1 - weight)
    return total


@dataclass(frozen=True, eq=False)
class _Merged:
    """One map of several layers: albedo ``[U, U, 3]``, what is kept of it and what may colour the rest ``[U, U]``."""

    albedo: np.ndarray
    kept: np.ndarray
    trust: np.ndarray


def _merged(
    layers: Sequence[_Layer], kept: Sequence[np.ndarray], trust: Sequence[np.ndarray], regions: _Regions
) -> _Merged:
    """The layers on top of each other, the first uppermost, with their colours carried into each other (`complete`).

    Outside the middle of the face a layer gives way to one below that shows the place `FINER` times as finely.
    """
    albedo, under, under_trust = layers[-1].albedo, kept[-1], trust[-1]
    under_detail = layers[-1].seen.detail.numpy()
    for layer, own_kept, own_trust in list(zip(layers, kept, trust, strict=True))[-2::-1]:
        detail = layer.seen.detail.numpy()
        finer = _smoothstep(*FINER, under_detail / np.maximum(detail, 1e-6)) * under * (1 - regions.centre)
        over = own_kept * (1 - finer)
        # Of what shows, the share of the upper one: all where the lower has nothing to show.
        share = over / np.maximum(over + (1 - over) * under, 1e-6)
        like = layer.seen.color_linear
        upper, lower = (_to_tensor(a.astype(np.float32), like) for a in (layer.albedo, albedo))
        share_t, sure_t = (
            torch.from_numpy(np.ascontiguousarray(m, dtype=np.float32))
            for m in (share, own_trust * under * under_trust)
        )
        albedo = _to_numpy(complete(upper, share_t, lower, sure_t))
        under_trust = share * own_trust + (1 - share) * under_trust
        under_detail = share * detail + (1 - share) * under_detail
        under = 1 - (1 - own_kept) * (1 - under)
    return _Merged(albedo, under, under_trust)


def _seen(kept: np.ndarray, regions: _Regions) -> Seen:
    def share(region: np.ndarray) -> float:
        return float((kept * region).sum() / max(float(region.sum()), 1e-6))

    ears = regions.ears * regions.portrait
    sides = regions.portrait * (1 - regions.centre) * (1 - regions.ears) * (1 - regions.face)
    left, right = regions.own_left, 1 - regions.own_left
    return Seen(
        share(regions.portrait), share(ears * left), share(ears * right), share(sides * left), share(sides * right)
    )


def _light_and_tone(
    head: HeadModel, view: View, seen: Unwrap, normals: Tensor, regions: _Regions, palette: TonePalette
) -> tuple[Tone, Tensor, np.ndarray]:
    """Tone and light in turns, on a thinned map; and the mask ``[U, U]`` of texels that are surely skin by place."""
    skin = regions.face * (1 - np.maximum.reduce([regions.brows, regions.eyes, regions.lips, regions.nostrils]))
    size = skin.shape[0]
    step = max(1, size // STATISTICS_SIDE)
    thin = (slice(step // 2, None, step), slice(step // 2, None, step))
    # Averaged before thinning: a sample stands for its surroundings.
    import cv2

    color = cv2.blur(_to_numpy(seen.color_linear), (step, step))[thin].reshape(-1, 3)
    mask = (seen.weight.numpy() * skin)[thin]
    mass = mask.reshape(-1)
    # Burnt-out and black pixels say nothing about ratios.
    mass = mass * (color.max(1) < 0.96) * (color.min(1) > 0.002)
    used = np.nonzero(mass > 0.2)[0]
    used = used[:: max(1, len(used) // 2500)]  # of many thousand neighbours, few are independent
    relief = _mean_skin(head, 0.25, 0.45, STATISTICS_SIDE) / skin_tone(0.25, 0.45)[:, None, None]
    if len(used) < 64:
        middle = palette.colors_linear.shape[0] // 3, palette.colors_linear.shape[1] // 2
        tone = Tone(float(palette.melanin[middle[0]]), float(palette.haemoglobin[middle[1]]), 1.0, torch.ones(3), 1.0)
        return tone, constant_light(torch.ones(3)), skin
    colors, weights = torch.from_numpy(color[used]), torch.from_numpy(mass[used])
    directions = normals[thin].reshape(-1, 3)[torch.from_numpy(used)]

    # How the mean skin differs from its tone at each place: rosy cheeks, pale forehead.
    grid = (torch.nn.functional.interpolate(relief[None], size=mask.shape, mode="bilinear")[0]).reshape(3, -1).T
    place = grid[torch.from_numpy(used)]
    reference = None if view.landmarks is None else sclera_light(view.photo, view.landmarks)
    return *light_and_tone(colors, directions, place, weights, palette, reference), skin


def _hair_color(albedo: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Linear colour ``[3]`` of hair: the median, since shine is no colour of hair; between 0.8 and 65 % reflectance."""
    colors = albedo[weight > 0.3 * max(float(weight.max()), 1e-6)]
    return np.clip(np.median(colors, axis=0), 0.008, 0.65).astype(np.float32)


def _srgb(linear: np.ndarray) -> tuple[float, float, float]:
    r, g, b = linear_to_srgb(torch.from_numpy(np.asarray(linear, np.float32))).tolist()
    return r, g, b


def _byte(image: Tensor) -> Tensor:
    return (linear_to_srgb(image).clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def _mean_skin(head: HeadModel, melanin: float, haemoglobin: float, size: int, look: SkinLook | None = None) -> Tensor:
    """The mean skin of a tone, linear ``[3, U, U]``.

    Unless `look` says otherwise it has no brows, stubble and hair: the photo brings its own.
    """
    bare = look or SkinLook(brow_density=0.0, stubble=0.0, scalp_hair=0.0, variation=0.0)
    return srgb_to_linear(paint_skin(head, replace(bare, melanin=melanin, haemoglobin=haemoglobin), size).float() / 255)


def _materials(
    head: HeadModel,
    tone: Tone,
    albedo: Tensor,
    lit: Tensor,
    iris: tuple[float, float, float] | None,
    hair: np.ndarray | None,
) -> Materials:
    """Maps as bytes, with the parts that no photo shows painted."""
    return Materials(
        skin_albedo=_byte(albedo),
        skin_roughness=paint_roughness(head, albedo.shape[1] // 2),
        eye_albedo=paint_eye(DEFAULT_IRIS if iris is None else iris),
        mouth_albedo=paint_mouth(),
        lash_albedo=paint_lashes(),
        skin_photo=_byte(lit),
    )
