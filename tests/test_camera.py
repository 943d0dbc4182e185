"""Cameras and rotations: the frame's signs, consistency of crops, and the axioms of the rotation group."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from core.camera import Camera, axis_angle_to_matrix, focal_from_equivalent_mm, look_at_head, matrix_to_axis_angle

F64 = torch.float64
EYE = torch.eye(3, dtype=F64)
vectors = st.lists(st.floats(-6, 6), min_size=3, max_size=3).map(lambda v: torch.tensor(v, dtype=F64))
small_vectors = st.lists(st.floats(-1e-4, 1e-4), min_size=3, max_size=3).map(lambda v: torch.tensor(v, dtype=F64))


def around(*, yaw: float = 0.0, pitch: float = 0.0, distance: float = 0.6) -> Camera:
    angles = torch.tensor([[yaw], [pitch]], dtype=F64)
    return look_at_head(angles[0], angles[1], distance, torch.zeros(3, dtype=F64), 500.0, 240, 320)


# ------------------------------------------------------------------------------------------------- rotations


@given(vectors)
def test_matrices_are_rotations_and_equal_scipy(vector: torch.Tensor) -> None:
    matrix = axis_angle_to_matrix(vector)
    assert torch.allclose(matrix @ matrix.T, EYE, atol=1e-12)
    assert float(torch.linalg.det(matrix)) == pytest.approx(1)
    assert torch.allclose(matrix, torch.tensor(Rotation.from_rotvec(vector.numpy()).as_matrix()), atol=1e-9)


@given(vectors, st.floats(-2, 2), st.floats(-2, 2))
def test_rotations_about_one_axis_add_up(vector: torch.Tensor, a: float, b: float) -> None:
    product = axis_angle_to_matrix(a * vector) @ axis_angle_to_matrix(b * vector)
    assert torch.allclose(product, axis_angle_to_matrix((a + b) * vector), atol=1e-9)
    assert torch.allclose(axis_angle_to_matrix(-vector), axis_angle_to_matrix(vector).T, atol=1e-12)
    assert torch.allclose(axis_angle_to_matrix(vector) @ vector, vector, atol=1e-9)  # the axis stays


@given(st.one_of(vectors, small_vectors))
def test_the_logarithm_inverts_the_exponential(vector: torch.Tensor) -> None:
    matrix = axis_angle_to_matrix(vector)
    log = matrix_to_axis_angle(matrix)
    assert float(log.norm()) <= math.pi + 1e-9
    assert torch.allclose(axis_angle_to_matrix(log), matrix, atol=1e-9)
    if float(vector.norm()) < math.pi - 1e-3:
        assert torch.allclose(log, vector, atol=1e-7)


@pytest.mark.parametrize("axis", [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.6, 0, 0.8], [-0.6, 0.64, 0.48]])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, math.pi - 1e-6, math.pi])
def test_the_logarithm_at_nothing_and_at_half_a_turn(axis: list[float], angle: float) -> None:
    matrix = axis_angle_to_matrix(angle * torch.tensor(axis, dtype=F64))
    log = matrix_to_axis_angle(matrix)
    assert float(log.norm()) == pytest.approx(angle, abs=1e-8)
    assert torch.allclose(axis_angle_to_matrix(log), matrix, atol=1e-8)


def test_rotations_take_any_batch_and_are_smooth_at_zero() -> None:
    batch = torch.randn(4, 5, 3, dtype=F64)
    matrices = axis_angle_to_matrix(batch)
    assert torch.allclose(matrices[2, 3], axis_angle_to_matrix(batch[2, 3]))
    assert torch.allclose(matrix_to_axis_angle(matrices)[1, 4], matrix_to_axis_angle(matrices[1, 4]))
    for vector in (torch.zeros(3, dtype=F64), torch.full((3,), 3e-5, dtype=F64), torch.tensor([1.0, 2, -1], dtype=F64)):
        assert torch.autograd.gradcheck(axis_angle_to_matrix, vector.requires_grad_())


# --------------------------------------------------------------------------------------------------- cameras


def test_frontal_view_has_the_stated_signs() -> None:
    points = torch.tensor([[[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]]], dtype=F64)
    origin, left_ear, up, nose = around().project(points)[0]
    assert torch.allclose(origin, torch.tensor([160, 120, 0.6], dtype=F64))
    assert left_ear[0] > origin[0]  # facing the camera, the person's left is at the picture's right
    assert up[1] < origin[1] and nose[2] == pytest.approx(0.5)


def test_yaw_shows_the_left_side_and_pitch_raises_the_camera() -> None:
    assert torch.allclose(around(yaw=math.pi / 2).centre, torch.tensor([[0.6, 0, 0]], dtype=F64), atol=1e-12)
    assert torch.allclose(around(pitch=0.3).centre[0, 1], torch.tensor(0.6 * math.sin(0.3), dtype=F64))
    left_ear = torch.tensor([[[0.07, 0, 0]]], dtype=F64)
    assert around(yaw=0.5).project(left_ear)[0, 0, 2] < 0.6 < around(yaw=-0.5).project(left_ear)[0, 0, 2]


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(0.2, 5))
def test_orbiting_cameras_are_rigid_upright_and_look_at_the_target(yaw: float, pitch: float, distance: float) -> None:
    camera = around(yaw=yaw, pitch=pitch, distance=distance)
    rotation = camera.T_camera_head[0, :3, :3]
    assert torch.allclose(rotation @ rotation.T, EYE, atol=1e-9)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1)
    assert camera.T_camera_head[0, 3].tolist() == [0, 0, 0, 1]
    assert float(camera.centre.norm()) == pytest.approx(distance)
    seen = camera.project(torch.tensor([[[0.0, 0, 0], [0, 0.01, 0]]], dtype=F64))[0]
    assert torch.allclose(seen[0], torch.tensor([160, 120, distance], dtype=F64), atol=1e-6)
    assert float(seen[1, 0]) == pytest.approx(160, abs=1e-6) and seen[1, 1] < 120  # up is up


@given(st.floats(-50, 200), st.floats(-50, 200), st.floats(0.1, 4), st.integers(0, 99))
def test_projecting_into_a_crop_is_cropping_the_projection(left: float, top: float, scale: float, seed: int) -> None:
    points = 0.1 * torch.randn(1, 20, 3, dtype=F64, generator=torch.Generator().manual_seed(seed))
    camera = around(yaw=0.4, pitch=-0.2)
    crop = camera.crop_and_resize(left, top, scale, 64, 48)
    assert (crop.height, crop.width) == (64, 48)
    whole, part = camera.project(points), crop.project(points)
    expected = (whole[..., :2] - torch.tensor([left, top], dtype=F64)) * scale
    assert torch.allclose(part[..., :2], expected, atol=1e-6) and torch.equal(part[..., 2], whole[..., 2])
    back = crop.crop_and_resize(-left * scale, -top * scale, 1 / scale, camera.height, camera.width)
    assert torch.allclose(back.principal_px, camera.principal_px) and torch.allclose(back.focal_px, camera.focal_px)


def test_one_set_of_points_is_seen_by_every_camera() -> None:
    yaw = torch.tensor([0.0, 0.5, -0.5], dtype=F64)
    cameras = look_at_head(yaw, torch.zeros(3, dtype=F64), 0.6, torch.zeros(3, dtype=F64), 500.0, 240, 320)
    points = 0.1 * torch.randn(1, 7, 3, dtype=F64)
    together = cameras.project(points)
    assert together.shape == (3, 7, 3)
    for b, angle in enumerate(yaw.tolist()):
        assert torch.allclose(together[b], around(yaw=angle).project(points)[0])


def test_points_behind_the_camera_keep_their_depth_and_stay_finite() -> None:
    seen = around().project(torch.tensor([[[0, 0, 0.6], [0.1, 0, 2.0]]], dtype=F64))
    assert torch.isfinite(seen).all()
    assert seen[0, :, 2].tolist() == pytest.approx([0, -1.4])


def test_projection_gradients() -> None:
    points = (0.05 * torch.randn(1, 4, 3, dtype=F64)).requires_grad_()
    assert torch.autograd.gradcheck(around(yaw=0.3).project, points)


def test_focal_length_from_exif() -> None:
    # A full-frame sensor is 36 x 24 mm: a 50 mm lens on 6000 x 4000 pixels has 50 * 6000 / 36.
    assert focal_from_equivalent_mm(50.0, 4000, 6000) == pytest.approx(50 * 6000 / 36, rel=1e-4)
    assert focal_from_equivalent_mm(26.0, 4032, 3024) == pytest.approx(focal_from_equivalent_mm(26.0, 3024, 4032))
