"""A complete head model of a few hundred vertices, for tests that must be fast and need no asset.

A ball with two eyeballs and four smaller balls in it is anatomically poor but has everything that
the format cares about: six parts, seams in the atlas, 52 named expressions, six joints with up to
four influences per vertex.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
import trimesh

from core.avatar import Avatar, Provenance, QualityReport
from core.camera import look_at_head
from core.head import PARTS, HeadModel, LandmarkEmbedding
from core.materials import Materials
from core.quality import Finding

ARKIT_NAMES = tuple(
    """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
    jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
    mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut""".split()
)
assert len(ARKIT_NAMES) == 52

# part -> balls as (centre, radius) in metres
BALLS = {
    "skin": [((0.0, 0.0, 0.0), 0.1)],
    "mouth": [((0.0, -0.05, 0.06), 0.02)],
    "eyes": [((0.03, 0.0, 0.085), 0.012), ((-0.03, 0.0, 0.085), 0.012)],
    "teeth": [((0.0, -0.045, 0.065), 0.01)],
    "tongue": [((0.0, -0.055, 0.06), 0.01)],
    "lashes": [((0.03, 0.015, 0.09), 0.004), ((-0.03, 0.015, 0.09), 0.004)],
}
JOINTS = {
    "root": (-1, (0.0, -0.15, 0.0)),
    "neck": (0, (0.0, -0.1, -0.02)),
    "head": (1, (0.0, -0.03, -0.01)),
    "jaw": (2, (0.0, -0.03, 0.02)),
    "leftEye": (2, (0.03, 0.0, 0.085)),
    "rightEye": (2, (-0.03, 0.0, 0.085)),
}


@functools.cache
def tiny_head() -> HeadModel:
    """The model; shared, so never write to it."""
    rng = np.random.default_rng(7)
    vertices, faces, uv, uv_faces, parts = [], [], [], [], []
    for part, balls in BALLS.items():
        for centre, radius in balls:
            ball = trimesh.creation.icosphere(subdivisions=3 if part == "skin" else 1)
            v_start, t_start = sum(map(len, vertices)), sum(map(len, uv))
            ball_uv, ball_uv_faces = _unwrap(np.asarray(ball.vertices), np.asarray(ball.faces))
            vertices.append(np.asarray(ball.vertices) * radius + centre)
            faces.append(np.asarray(ball.faces) + v_start)
            uv.append(ball_uv)
            uv_faces.append(ball_uv_faces + t_start)
            parts.append(np.full(len(ball.faces), PARTS.index(part)))
    template = np.concatenate(vertices)
    count = len(template)

    joint_template = np.array([position for _, position in JOINTS.values()])
    distance = np.linalg.norm(template[:, None] - joint_template[None], axis=-1)
    skin_joints = np.argsort(distance, axis=1)[:, :4]
    skin_weights = np.exp(-np.take_along_axis(distance, skin_joints, 1) / 0.02)
    skin_weights[skin_weights < 1e-3] = 0
    skin_weights /= skin_weights.sum(1, keepdims=True)

    shape_basis = np.stack([_bump(template, rng, 0.06, 0.01) for _ in range(5)])
    expression_basis = np.stack([_bump(template, rng, 0.02, 0.015) for _ in ARKIT_NAMES])
    # One that moves everything, so that a dense target is written too, and one that moves nothing.
    expression_basis[0] = rng.normal(0, 0.002, template.shape)
    expression_basis[1] = 0
    mirror = np.argmin(np.linalg.norm(template[None] * [-1, 1, 1] - template[:, None], axis=-1), axis=0)

    def numbers(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float()

    def indices(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).long()

    return HeadModel(
        name="tiny",
        template=numbers(template),
        shape_basis=numbers(shape_basis),
        expression_basis=numbers(expression_basis),
        expression_names=ARKIT_NAMES,
        expression_range=(0.0, 1.0),
        joint_names=tuple(JOINTS),
        joint_parents=tuple(parent for parent, _ in JOINTS.values()),
        joint_template=numbers(joint_template),
        joint_shape_basis=numbers(rng.normal(0, 0.003, (5, len(JOINTS), 3))),
        skin_joints=indices(skin_joints),
        skin_weights=numbers(skin_weights),
        pose_basis=None,
        faces=indices(np.concatenate(faces)),
        uv=numbers(np.concatenate(uv)),
        uv_faces=indices(np.concatenate(uv_faces)),
        face_part=indices(np.concatenate(parts)),
        mirror=indices(mirror),
        region_names=("skin",),
        regions=torch.ones(1, count),
        attribute_names=("age",),
        attribute_directions=torch.eye(1, 5),
        landmarks={"ibug": LandmarkEmbedding(torch.arange(68), torch.full((68, 3), 1 / 3))},
    )


def _unwrap(directions: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude with a seam at the back: vertices on it get a texture coordinate per side."""
    u = 0.5 + np.arctan2(directions[:, 0], directions[:, 2]) / (2 * np.pi)
    v = 0.5 + np.arcsin(np.clip(directions[:, 1], -1, 1)) / np.pi
    uv, uv_faces, extra = list(np.stack([u, v], 1)), faces.copy(), {}
    for row in uv_faces:
        if np.ptp(u[row]) > 0.5:
            for corner in range(3):
                vertex = row[corner]
                if u[vertex] < 0.5:
                    if vertex not in extra:
                        extra[vertex] = len(uv)
                        uv.append(np.array([u[vertex] + 1, v[vertex]]))
                    row[corner] = extra[vertex]
    # Longitudes beyond a full turn must still lie in the map.
    return np.array(uv) * [0.75, 1.0], uv_faces


def _bump(template: np.ndarray, rng: np.random.Generator, reach_m: float, height_m: float) -> np.ndarray:
    """A random displacement of the vertices near a random point of the front."""
    centre = rng.normal(0, 1, 3) * [1, 1, 0.2] + [0, 0, 1]
    centre *= 0.1 / np.linalg.norm(centre)
    falloff = np.clip(1 - np.linalg.norm(template - centre, axis=1) / reach_m, 0, None) ** 2
    direction = rng.normal(0, 1, 3)
    return falloff[:, None] * direction / np.linalg.norm(direction) * height_m


def make_materials(side: int = 32, seed: int = 0) -> Materials:
    """Smooth colourful maps, every map present."""
    rng = np.random.default_rng(seed)

    def picture(channels: int) -> torch.Tensor:
        y, x = np.mgrid[0:side, 0:side] / side
        phase = rng.uniform(0, 6, (channels, 3))
        waves = [np.sin(3 * x + a) + np.sin(4 * y + b) + np.sin(2 * (x + y) + c) for a, b, c in phase]
        return torch.from_numpy(np.clip(128 + 40 * np.stack(waves), 0, 255).astype(np.uint8))

    return Materials(
        skin_albedo=picture(3),
        skin_roughness=picture(1),
        eye_albedo=picture(3),
        mouth_albedo=picture(3),
        lash_albedo=picture(4),
        skin_photo=picture(3),
        skin_normal=None,
    )


def make_detailed_materials(side: int = 32, seed: int = 0) -> Materials:
    """`make_materials` with all maps of how skin takes light and of its relief, smooth as well: heights up to a
    millimetre, normals that lean by up to 25 degrees."""
    waves = make_materials(side, seed)
    slopes = (waves.skin_albedo.float() - 128) / 300
    blue = (1 + slopes[0] ** 2 + slopes[1] ** 2).rsqrt()
    normals = torch.stack([slopes[0] * blue, slopes[1] * blue, blue])
    coded = ((normals * 0.5 + 0.5) * 255).round().to(torch.uint8)
    heights = (waves.mouth_albedo.float() - 128) * 8
    return replace(
        waves,
        skin_normal=coded,
        skin_diffuse_normal=coded,
        skin_specular=waves.eye_albedo[:1] // 2,
        skin_translucency=waves.eye_albedo[1:2],
        skin_occlusion=waves.eye_albedo[2:],
        skin_displacement=heights[:1].to(torch.int16),
        skin_wrinkles=heights[1:].to(torch.int16),
    )


def make_avatar(head: HeadModel, seed: int = 0, side: int = 32) -> Avatar:
    """A random person on any head model: shape, fitted expression, gaze, camera, light, a finding."""
    generator = torch.Generator().manual_seed(seed)
    camera = look_at_head(torch.tensor([0.2]), torch.tensor([-0.1]), 0.6, torch.zeros(3), 700.0, 480, 640)
    return Avatar(
        name="Ada Löwe",
        head_model=head.name,
        shape=torch.randn(head.shape_count, generator=generator),
        expression=torch.rand(len(head.expression_names), generator=generator) * 0.5,
        joint_rotations=torch.randn(len(head.joint_names), 3, generator=generator) * 0.2,
        materials=make_materials(side, seed),
        camera=camera,
        light=torch.randn(9, 3, generator=generator),
        provenance=Provenance("photo", None, {"age": 0.5}, seconds={"fit": 1.25}),
        quality=QualityReport(
            0.8,
            (Finding("turned", "warning", "The head is turned by 40 degrees.", "Look straight into the camera."),),
            "A good photo with a turned head.",
            {"landmarks_px": 1.5},
        ),
    )
