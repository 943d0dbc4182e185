"""Synthetic heads: pictures of random people whose geometry, light and camera are known exactly.

The detector's errors are measured on them, fidelity is measured on them, and networks are trained on them. What a
photo of a seed shows is drawn in independent streams, so that asking for another size or another skin leaves the
person, the pose and the light as they were.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from core.camera import Camera
from core.color import luminance, srgb_to_linear
from core.head import PARTS, HeadModel, HeadParameters
from core.materials import (
    EYEBALL_RADIUS_M,
    IRIS_COLOURS,
    IRIS_DIAMETER_M,
    Materials,
    iris_radius_uv,
    paint_eye,
    paint_lashes,
    paint_mouth,
)
from core.mesh import at_corners, vertex_normals
from core.photo import Photo
from core.raster import fragments, front_facing, interpolate, project, rasterize
from core.render import render_head
from core.shading import Light, diffuse_light
from core.synthesis.heads import IRIS_SPREAD_M, PUPIL_RANGE_M, SyntheticHead, eyeball_radius_m, sample_head
from core.synthesis.painting import paint_roughness, paint_skin, random_look
from core.synthesis.skins import SkinSources

# What photos of people are like. Selfies are taken at 0.3-0.6 m, portraits at 1-2 m: log-uniform between.
DISTANCE_RANGE_M = (0.4, 1.6)
PITCH_RANGE_DEG = (-18.0, 18.0)
ROLL_RANGE_DEG = (-15.0, 15.0)
SHEET_YAW_DEG = (-35.0, 35.0)  # of a contact sheet: both eyes are seen
# Height of the face, chin to hairline, over the picture's width; and the place and size that are meant by "face".
FACE_SHARE_RANGE = (0.6, 0.9)
FACE_CENTRE_M = (0.0, -0.03, 0.06)
FACE_HEIGHT_M = 0.19
CHIN_M = -0.115  # a little below it on the mean head
MARGIN = 0.06  # beside a head that fills the picture, in units of the head's size
SHAPE_LIMIT = 2.5  # standard deviations: rarer shapes are one in eighty per coefficient and the first to look odd
NEUTRAL_SHARE = 1 / 3
# Spread of the colours of walls and rooms, sRGB. Rooms are muted; the garish ones belong to the measurements that were
# made with them (of the detector's errors, of fidelity).
MUTED, GARISH = 0.03, 0.08

# Actions that a face does by itself, each a set of ARKit names that move together. "*" stands for both sides.
ACTIONS: tuple[tuple[str, ...], ...] = (
    ("jawOpen",),
    ("mouthSmile*",),
    ("mouthSmile*", "cheekSquint*"),
    ("mouthSmile*", "jawOpen", "mouthUpperUp*"),
    ("mouthFrown*",),
    ("mouthPucker",),
    ("mouthFunnel",),
    ("mouthLeft",),
    ("mouthRight",),
    ("jawLeft",),
    ("jawRight",),
    ("jawForward",),
    ("jawOpen", "mouthClose"),
    ("mouthRollLower", "mouthRollUpper"),
    ("mouthShrugLower", "mouthShrugUpper"),
    ("mouthPress*",),
    ("mouthDimple*",),
    ("mouthStretch*",),
    ("mouthLowerDown*",),
    ("mouthUpperUp*",),
    ("cheekPuff",),
    ("noseSneer*",),
    ("browDown*",),
    ("browInnerUp",),
    ("browOuterUp*",),
    ("browInnerUp", "browOuterUp*", "eyeWide*"),
    ("eyeBlink*",),
    ("eyeSquint*",),
    ("eyeWide*",),
    ("eyeLookUp*",),
    ("eyeLookDown*",),
    ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookInLeft", "eyeLookOutRight"),
)
# Muscles that pull against each other: the later one drawn gives way.
OPPOSED: tuple[tuple[str, str], ...] = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("mouthSmile", "mouthFrown"),
    ("mouthSmile", "mouthPucker"),
    ("mouthSmile", "mouthFunnel"),
    ("mouthStretch", "mouthPucker"),
    ("mouthStretch", "mouthFunnel"),
    ("mouthRoll", "mouthFunnel"),
    ("mouthPress", "jawOpen"),
    ("browDown", "browInnerUp"),
    ("browDown", "browOuterUp"),
    ("eyeBlink", "eyeWide"),
    ("eyeSquint", "eyeWide"),
    ("eyeLookUp", "eyeLookDown"),
    ("eyeLookOutLeft", "eyeLookInLeft"),
    ("cheekPuff", "jawOpen"),
)


@dataclass(frozen=True, eq=False)
class SyntheticPhoto:
    """A picture of a random person, and everything about it.

    pixels: ``[H, W, 3]`` uint8 sRGB. parameters: a batch of one. vertices: ``[V, 3]`` what was rendered, expression
    included, metres in the head frame. camera, light: batches of one; light is in the head frame. materials: the
    maps that the head was rendered with, true albedo. yaw, pitch, roll: radians, head relative to the optical axis:
    yaw > 0 is turned to the person's left, pitch > 0 looks up, roll > 0 leans clockwise in the picture (roll first,
    about the face's own axis; `fitting.head_angles` reads them back). distance_m:
    of the middle of the face along the optical axis. exposure: mean luminance of the light on the skin that is
    seen, 1 shows a white wall as just white.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    parameters: HeadParameters
    vertices: Float[Tensor, "V 3"]
    camera: Camera
    light: Light
    materials: Materials
    seed: int
    yaw: float
    pitch: float
    roll: float
    distance_m: float
    exposure: float

    @property
    def photo(self) -> Photo:
        """The picture as a file without a focal length in it."""
        return Photo(self.pixels, None, f"synthetic {self.seed}", ())


def sample_photo(
    head: HeadModel,
    seed: int,
    *,
    yaw_range_deg: tuple[float, float] = (-45.0, 45.0),
    size: int = 512,
    skin: UInt8[Tensor, "3 U U"] | None = None,
    supersample: int = 1,
    person: SyntheticHead | None = None,
    centred: bool = False,
) -> SyntheticPhoto:
    """A photo of a person who does not exist. Same arguments, same bytes.

    yaw_range_deg: yaw is uniform in it. size: pixels a side. skin: albedo map to use in place of a painted one.
    supersample: see `render_head`; a lens softens the picture by half a pixel at least, which hides most of what 1
    leaves jagged. person: who it shows: shape, skin and eyes; the seed draws the rest. None: somebody drawn from the
    seed too, by the simpler painters that the project's measurements were made with. centred: the whole head,
    down to the chin, fills the picture; else the face is anywhere in it. Hair, clothes and glasses are missing.
    """
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    for_shape, for_expression, for_camera, for_skin, for_light, for_picture = streams

    if person is not None:
        shape = person.person.shape[None]
    else:
        shape = torch.from_numpy(for_shape.normal(size=(1, head.shape_count))).float().clamp(-SHAPE_LIMIT, SHAPE_LIMIT)
    expression = sample_expression(head, for_expression)
    parameters = HeadParameters(shape, expression[None], head.neutral().joint_rotations)
    vertices = head.vertices(parameters)

    yaw, pitch, roll = (
        math.radians(for_camera.uniform(low, high)) for low, high in (yaw_range_deg, PITCH_RANGE_DEG, ROLL_RANGE_DEG)
    )
    nearest, farthest = DISTANCE_RANGE_M
    distance_m = nearest * (farthest / nearest) ** for_camera.random()
    camera = _place_camera(for_camera, yaw, pitch, roll, distance_m, size)
    if centred:
        camera = _centred(camera, vertices[:, head.template[:, 1] > CHIN_M])

    if person is not None:
        materials = person.materials if skin is None else replace(person.materials, skin_albedo=skin)
    else:
        materials = sample_materials(head, for_skin, skin, map_size=size, shape=shape)
    light, exposure = _sample_light(head, vertices, camera, materials.skin_albedo, for_light)
    picture = render_head(
        head,
        vertices,
        materials,
        camera,
        light,
        supersample=supersample,
        background=_background(for_picture, size, GARISH if person is None else MUTED),
    )[0]
    return SyntheticPhoto(
        _develop(picture, for_picture),
        parameters,
        vertices[0],
        camera,
        light,
        materials,
        seed,
        yaw,
        pitch,
        roll,
        distance_m,
        exposure,
    )


def contact_sheet(
    head: HeadModel,
    seeds: Sequence[int],
    tile: int = 192,
    columns: int = 8,
    map_size: int = 512,
    sources: SkinSources | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Photos of the people of some seeds, side by side in rows of `columns`; sRGB, white where a row ends early.

    tile: pixels a side of each. map_size: texels a side of the skin. progress: called with photos done and in all.
    """
    rows = math.ceil(len(seeds) / columns)
    sheet = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
    for i, seed in enumerate(seeds):
        person = sample_head(head, seed, map_size, sources)
        photo = sample_photo(
            head, seed, yaw_range_deg=SHEET_YAW_DEG, size=tile, supersample=2, person=person, centred=True
        )
        y, x = tile * (i // columns), tile * (i % columns)
        sheet[y : y + tile, x : x + tile] = photo.pixels
        if progress is not None:
            progress(i + 1, len(seeds))
    return sheet


# ---------------------------------------------------------------------------------------------------- ground truth

LANDMARKS = "mediapipe"
CLEARANCE_M = 0.0005  # what lies nearer before a landmark than this does not hide it


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What each pixel of a synthetic photo shows, and where the landmarks are.

    The surface is that at the pixel's centre, lashes left out: they are cards, transparent for the most part. Where
    nothing is seen, part is 0, depth infinite, face_index -1 and the rest 0.

    part: ``[H, W]`` 1 + index into `PARTS`. depth_m: along the optical axis. normals: unit, camera frame (x right, y
    down, z away), smoothed over the mesh as the picture's shading is and without the relief; close to an outline such a
    normal can lean away from the camera. uv: atlas coordinates, origin bottom left, of the part's own map. face_index:
    rows of `HeadModel.faces`. landmarks_m: ``[L, 3]`` of the "mediapipe" embedding, head frame. landmarks_px: x, y.
    landmarks_visible: in the picture, with nothing in front (lashes aside).
    """

    part: UInt8[Tensor, "H W"]
    depth_m: Float[Tensor, "H W"]
    normals: Float[Tensor, "H W 3"]
    uv: Float[Tensor, "H W 2"]
    face_index: Int[Tensor, "H W"]
    landmarks_m: Float[Tensor, "L 3"]
    landmarks_px: Float[Tensor, "L 2"]
    landmarks_visible: Bool[Tensor, "L"]

    @property
    def mask(self) -> Bool[Tensor, "H W"]:
        """Where the person is seen."""
        return self.part > 0


@torch.no_grad()
def render_truth(head: HeadModel, photo: SyntheticPhoto) -> GroundTruth:
    """The ground truth of a photo, aligned with its pixels."""
    camera, vertices = photo.camera, photo.vertices[None]
    solid = torch.nonzero(head.face_part != PARTS.index("lashes")).squeeze(1)
    points_px = project(vertices, camera)
    row = rasterize(points_px, head.faces[solid], camera.height, camera.width)
    face_index = torch.where(row < 0, -1, solid[row.clamp_min(0)])
    seen = fragments(vertices, head.faces, camera, face_index)

    covered = face_index >= 0
    normals = at_corners(vertex_normals(vertices, head.faces), head.faces)
    # A surface seen from its inner side, such as the mouth's lining beyond the lips, faces the camera too.
    outside = front_facing(points_px[:, head.faces, :2])
    normals = torch.where(outside[..., None, None], normals, -normals)
    normals = interpolate(seen, normals) @ camera.T_camera_head[0, :3, :3].T
    normals = functional.normalize(normals, dim=-1) * covered[..., None]

    landmarks = head.landmark_points(LANDMARKS, photo.vertices)
    landmarks_px = camera.project(landmarks[None])[0]
    x, y, _ = landmarks_px.unbind(-1)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return GroundTruth(
        part=torch.where(covered, head.face_part[face_index.clamp_min(0)] + 1, 0)[0].to(torch.uint8),
        depth_m=seen.depth[0],
        normals=normals[0],
        uv=interpolate(seen, head.uv[head.uv_faces][None])[0],
        face_index=face_index[0],
        landmarks_m=landmarks,
        landmarks_px=landmarks_px[:, :2].contiguous(),
        landmarks_visible=inside & ~_hidden(landmarks_px, points_px[0][head.faces[solid]]),
    )


def _hidden(points_px: Float[Tensor, "L 3"], triangles_px: Float[Tensor, "F 3 3"]) -> Bool[Tensor, "L"]:
    """Whether a triangle lies more than `CLEARANCE_M` in front of each point, whatever the size of a pixel."""
    hidden = torch.zeros(len(points_px), dtype=torch.bool, device=points_px.device)
    corners, inverse = triangles_px[..., :2].double(), 1 / triangles_px[..., 2].double()
    low, high = corners.amin(dim=1), corners.amax(dim=1)
    for i, (x, y, depth) in enumerate(points_px.double().tolist()):
        place = corners.new_tensor([x, y])
        near = torch.nonzero(((low <= place) & (place <= high)).all(dim=1)).squeeze(1)
        relative = corners[near] - place
        a, b = relative.roll(-1, 1), relative.roll(-2, 1)
        weight = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]  # twice the area opposite each corner
        total = weight.sum(dim=1)
        within = ((weight >= 0).all(dim=1) | (weight <= 0).all(dim=1)) & (total != 0)
        # One over the depth is linear in the picture.
        nearness = (weight * inverse[near]).sum(dim=1) / total
        hidden[i] = bool((within & (nearness * (depth - CLEARANCE_M) > 1)).any())
    return hidden


# ---------------------------------------------------------------------------------------------------- the person


def sample_expression(head: HeadModel, rng: np.random.Generator) -> Float[Tensor, "E"]:
    """A plausible expression: neutral a third of the time, else one to three of `ACTIONS`, mostly weak.

    Never the tongue, and lips never closed further than the jaw is open. A head without ARKit names stays neutral.
    """
    names = head.expression_names
    weights = np.zeros(len(names))
    available = [action for action in map(_expand, ACTIONS) if all(name in names for name in action)]
    if not available or rng.random() < NEUTRAL_SHARE:
        return torch.from_numpy(weights).float()
    done: list[str] = []
    for i in rng.choice(len(available), rng.integers(1, 4), replace=False):
        action, strength = available[i], rng.random() ** 1.5
        one_sided = rng.random() < 0.15  # a wink, a smirk
        weaker = rng.choice(["Left", "Right"])
        for name in action:
            if any(_opposed(name, other) for other in done):
                continue
            lopsided = name.endswith(weaker) and not name.startswith(("eyeLook", "jaw", "mouthLeft", "mouthRight"))
            share = (0.25 if one_sided else rng.uniform(0.8, 1.0)) if lopsided else 1.0
            column = names.index(name)
            weights[column] = max(weights[column], strength * share)
            done.append(name)
    if "mouthClose" in names and "jawOpen" in names:
        close, jaw = names.index("mouthClose"), names.index("jawOpen")
        weights[close] = min(weights[close], weights[jaw])
    return torch.from_numpy(weights.clip(*head.expression_range)).float()


def _expand(action: tuple[str, ...]) -> tuple[str, ...]:
    sides = ((name[:-1] + "Left", name[:-1] + "Right") if name.endswith("*") else (name,) for name in action)
    return tuple(name for side in sides for name in side)


def _opposed(a: str, b: str) -> bool:
    return any((a.startswith(x) and b.startswith(y)) or (a.startswith(y) and b.startswith(x)) for x, y in OPPOSED)


def sample_materials(
    head: HeadModel,
    rng: np.random.Generator,
    skin: UInt8[Tensor, "3 U U"] | None = None,
    map_size: int = 512,
    shape: Float[Tensor, "1 K"] | None = None,
) -> Materials:
    """The maps of a random person; `skin` replaces the painted skin, and dark skin goes with dark eyes.

    shape: whose eyeballs the irises are painted on (None: the mean head's). Visible irises measure 11.7 +- 0.4 mm
    whatever the size of the head (Ruefer et al. 2005), which is how a photo shows metric size.
    """
    look = random_look(int(rng.integers(1 << 31)))
    albedo = paint_skin(head, look, map_size) if skin is None else skin
    dark = float(luminance(srgb_to_linear(_thumbnail(albedo))).median()) < 0.2
    # Shares of iris colours among people of dark and of light skin, roughly.
    chances = {"dark brown": 0.75, "brown": 0.25} if dark else {
        "dark brown": 0.2, "brown": 0.28, "amber": 0.06, "hazel": 0.14, "green": 0.08, "blue": 0.16, "grey": 0.08
    }  # fmt: skip
    iris = np.array(IRIS_COLOURS[rng.choice(list(chances), p=list(chances.values()))])
    iris = iris * np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    eye = paint_eye(
        (float(iris[0]), float(iris[1]), float(iris[2])),
        size=256,
        seed=int(rng.integers(1 << 31)),
        pupil_diameter_m=float(rng.uniform(*PUPIL_RANGE_M)),
        iris_radius_uv=iris_radius_uv(
            EYEBALL_RADIUS_M if shape is None else eyeball_radius_m(head, shape),
            float(rng.normal(IRIS_DIAMETER_M, IRIS_SPREAD_M)),
        ),
    )
    mouth, lashes = _shared_maps()
    return Materials(albedo, paint_roughness(head, 256), eye, mouth, lashes)


@functools.lru_cache(maxsize=1)
def _shared_maps() -> tuple[Tensor, Tensor]:
    """Mouth and lashes, which differ little between people."""
    return paint_mouth(256), paint_lashes(256)


def _thumbnail(skin: Tensor) -> Tensor:
    """The middle of a skin map, the face, as a small sRGB picture 0..1."""
    side = skin.shape[-1]
    middle = skin[:, side // 4 : -(side // 4), side // 4 : -(side // 4)]
    return functional.adaptive_avg_pool2d(middle.float() / 255, 32)


# ---------------------------------------------------------------------------------------------- the camera, the light


def _place_camera(
    rng: np.random.Generator, yaw: float, pitch: float, roll: float, distance_m: float, size: int
) -> Camera:
    """A camera that sees the face at these angles and this size, somewhere in the picture but whole."""
    share = rng.uniform(*FACE_SHARE_RANGE)
    focal_px = share * size * distance_m / FACE_HEIGHT_M
    target = torch.tensor(FACE_CENTRE_M)
    # The head's axes in the camera's (x right, y down, z away); a face without yaw and pitch looks along -z.
    forward = torch.tensor([math.sin(yaw) * math.cos(pitch), -math.sin(pitch), -math.cos(yaw) * math.cos(pitch)])
    right = functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, -1.0, 0.0])), dim=0)
    up = math.cos(roll) * torch.linalg.cross(right, forward) - math.sin(roll) * right
    transform = torch.eye(4)
    transform[:3, :3] = torch.stack([torch.linalg.cross(up, forward), up, forward], dim=1)
    # Where the middle of the face falls: near the picture's, in units of the picture's width. The limit leaves the
    # face whole; people seldom go to it.
    place = torch.from_numpy(rng.triangular(-0.5, 0.0, 0.5, 2) * (1 - share)).float() * size / focal_px * distance_m
    transform[:3, 3] = torch.cat([place, torch.tensor([distance_m])]) - transform[:3, :3] @ target
    return Camera(transform[None], torch.tensor([focal_px]), torch.full((1, 2), size / 2), size, size)


def _centred(camera: Camera, points: Float[Tensor, "1 N 3"]) -> Camera:
    """The same camera, its picture cut so that these points fill it but for a margin."""
    seen = camera.project(points)[0, :, :2]
    low, high = seen.amin(0), seen.amax(0)
    side = float((high - low).max()) * (1 + 2 * MARGIN)
    left, top = ((low + high - side) / 2).tolist()
    return camera.crop_and_resize(left, top, camera.width / side, camera.height, camera.width)


def random_light(rng: np.random.Generator) -> Light:
    """Surroundings and two lamps, as they are where photos are taken; the second lamp is often dark. Unscaled: the
    whole is about 1."""
    key_share = rng.uniform(0.15, 0.85)  # of the light that comes from one direction: overcast to bare bulb
    ambient = _tint(rng, 0.06)
    gradient = rng.normal(0, 0.35, 3) + [0, 0.25, 0]  # brighter above; y up
    sh = np.zeros((9, 3))
    sh[0] = math.sqrt(4 * math.pi) * ambient
    sh[1:4] = math.sqrt(4 * math.pi / 3) * np.array([gradient[1], gradient[2], gradient[0]])[:, None] * ambient
    sh[4:] = rng.normal(0, 0.25, (5, 1)) * ambient
    sh *= 1 - key_share

    # People turn towards a window or a lamp, so the key comes from in front, and from above; a second lamp from aside.
    azimuth, elevation = math.radians(rng.normal(0, 50)), math.radians(rng.uniform(-10, 65))
    side = azimuth - math.copysign(math.radians(rng.uniform(60, 140)), azimuth)
    angles = [(azimuth, elevation), (side, math.radians(rng.uniform(-10, 45)))]
    towards = [[math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)] for a, e in angles]
    second_share = rng.uniform(0.1, 0.5) if rng.random() < 0.35 else 0.0
    colors = np.stack([key_share * _tint(rng, 0.08), key_share * second_share * _tint(rng, 0.10)])
    balance = np.exp(rng.normal(0.04, 0.10) * np.array([1.0, 0.0, -1.0]))  # the camera's white balance, left warm
    return Light(
        torch.from_numpy(sh * balance).float()[None],
        torch.tensor(towards)[None],
        torch.from_numpy(colors * balance).float()[None],
    )


def random_exposure(albedo: float, rng: np.random.Generator) -> float:
    """Mean luminance of the light on a face whose skin has this albedo: a camera exposes for the scene and partly for
    the face, so dark skin is photographed under more light (`lighting.TonePrior` has the same numbers)."""
    return math.exp(rng.normal(math.log(1.1), 0.30)) * (max(albedo, 0.02) / 0.30) ** -0.3


def _sample_light(
    head: HeadModel, vertices: Tensor, camera: Camera, skin: Tensor, rng: np.random.Generator
) -> tuple[Light, float]:
    """Random light, scaled as a camera exposes a face; and the exposure."""
    light = random_light(rng)
    exposure = random_exposure(float(luminance(srgb_to_linear(_thumbnail(skin))).median()), rng)
    normals = vertex_normals(vertices, head.faces)
    towards_camera = functional.normalize(camera.centre[:, None] - vertices, dim=-1)
    is_skin = torch.zeros(vertices.shape[1])
    is_skin[head.faces[head.part_faces(PARTS[0])].flatten()] = 1.0
    near = (vertices - vertices.new_tensor(FACE_CENTRE_M)).norm(dim=-1) < FACE_HEIGHT_M / 2
    seen = ((normals * towards_camera).sum(-1).clamp_min(0) * is_skin * near)[0]
    shading = luminance(diffuse_light(light, normals)[0].T[..., None])[0, :, 0]
    scale = exposure / max(float((shading * seen).sum() / seen.sum()), 1e-3)
    return Light(light.sh * scale, light.directions, light.colors * scale), exposure


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A nearly white linear colour: warm or cold by `spread` in log units, green or magenta by a third of it."""
    warmth, green = rng.normal(0, spread), rng.normal(0, spread / 3)
    return np.exp([warmth, green, -warmth])


# ----------------------------------------------------------------------------------------------------- the picture


def _background(rng: np.random.Generator, size: int, colour: float) -> Float[Tensor, "3 {size} {size}"]:
    """A plain wall, a gradient, or the blotches of a room out of focus; sRGB. colour: spread of hues."""
    kind = int(rng.integers(3))
    colours = torch.from_numpy(rng.uniform(0.08, 0.95, (4, 1)) + rng.normal(0, colour, (4, 3))).float()
    if kind == 0:
        grid = colours[:1].T.reshape(3, 1, 1)
    elif kind == 1:
        grid = colours.T.reshape(3, 2, 2)
    else:
        cells = int(rng.integers(3, 12))
        contrast = rng.uniform(0.03, 0.25)
        hue = contrast * (colour / GARISH) / 3
        blotches = rng.normal(0, contrast, (1, cells, cells)) + rng.normal(0, hue, (3, cells, cells))
        grid = colours[0, :, None, None] + torch.from_numpy(blotches).float()
    mode = "bicubic" if kind == 2 else "bilinear"
    picture = functional.interpolate(grid[None], size=(size, size), mode=mode, align_corners=kind == 1)
    return picture[0].clamp(0, 1)


def _develop(picture: Float[Tensor, "3 H W"], rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """What lens and sensor add: mild blur and grain.

    Grain is even in sRGB: the display curve is nearly a square root, which is what makes shot noise even.
    """
    size = picture.shape[-1]
    sigma = rng.uniform(0.5, 1.2) * max(size / 512, 0.5)
    reach = math.ceil(3 * sigma)
    x = torch.arange(-reach, reach + 1, dtype=picture.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = functional.pad(picture[None], (reach,) * 4, mode="replicate")
    soft = functional.conv2d(functional.conv2d(padded, kernel[:, :, None], groups=3), kernel[..., None], groups=3)[0]
    grain = rng.uniform(0.002, 0.02) * torch.from_numpy(rng.standard_normal(tuple(soft.shape), dtype=np.float32))
    return ((soft + grain).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
