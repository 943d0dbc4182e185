"""Perspective cameras (OpenCV frame) and rotations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """A batch of pinhole cameras that share one image size.

    T_camera_head: ``[B, 4, 4]`` rigid transform, head frame to camera frame (OpenCV axes).
    focal_px: ``[B]`` focal length in pixels (square pixels). principal_px: ``[B, 2]`` (x, y) in
    pixels from the top-left *corner*. height, width: pixels.
    """

    T_camera_head: Float[Tensor, "B 4 4"]
    focal_px: Float[Tensor, "B"]
    principal_px: Float[Tensor, "B 2"]
    height: int
    width: int

    def to(self, device: torch.device | str) -> Camera:
        """The same cameras on another device."""
        return replace(
            self,
            T_camera_head=self.T_camera_head.to(device),
            focal_px=self.focal_px.to(device),
            principal_px=self.principal_px.to(device),
        )

    def to_camera(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Head-frame points in the camera frame; a single set (B = 1) is seen by every camera."""
        rotation, translation = self.T_camera_head[:, :3, :3], self.T_camera_head[:, :3, 3]
        return torch.einsum("bij,bnj->bni", rotation, points.expand(rotation.shape[0], -1, -1)) + translation[:, None]

    def project(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Head-frame points to ``(x_px, y_px, depth_m)``. Points with depth <= 0 lie behind the camera; their
        pixel coordinates are computed with the depth clamped to 1e-6 m and mean nothing."""
        p = self.to_camera(points)
        depth = p[..., 2:3]
        xy = p[..., :2] / depth.clamp_min(1e-6) * self.focal_px[:, None, None] + self.principal_px[:, None]
        return torch.cat([xy, depth], dim=-1)

    def crop_and_resize(self, left: float, top: float, scale: float, height: int, width: int) -> Camera:
        """The camera of the image that results from cutting at (left, top) and then scaling by `scale`."""
        offset = torch.tensor([left, top], dtype=self.principal_px.dtype, device=self.principal_px.device)
        return replace(
            self,
            focal_px=self.focal_px * scale,
            principal_px=(self.principal_px - offset) * scale,
            height=height,
            width=width,
        )

    @property
    def centre(self) -> Float[Tensor, "B 3"]:
        """The camera centre in the head frame."""
        rotation, translation = self.T_camera_head[:, :3, :3], self.T_camera_head[:, :3, 3]
        return -torch.einsum("bji,bj->bi", rotation, translation)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation vectors (radians) to matrices (Rodrigues). Smooth at zero."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*axis_angle.shape[:-1], 3, 3)
    angle_sq = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = angle_sq < 1e-8
    safe = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe.sqrt()
    a = torch.where(small, 1 - angle_sq / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - angle_sq / 24, (1 - torch.cos(angle)) / safe)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + a * skew + b * (skew @ skew)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation matrices to rotation vectors with angle in [0, pi]. At exactly pi the axis' sign is arbitrary.

    Not meant for differentiation.
    """
    m = matrix
    # Through the quaternion, picking the largest of its four components as the pivot (Shepperd 1978).
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    squares = torch.stack([trace, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)
    pivot = squares.argmax(-1, keepdim=True)
    w = torch.stack(
        [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    candidates = [w]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        q = torch.zeros_like(w)
        q[..., 0] = m[..., k, j] - m[..., j, k]
        q[..., 1 + i] = 1 + m[..., i, i] - m[..., j, j] - m[..., k, k]
        q[..., 1 + j] = m[..., i, j] + m[..., j, i]
        q[..., 1 + k] = m[..., i, k] + m[..., k, i]
        candidates.append(q)
    stacked = torch.stack(candidates, -2)
    index = pivot[..., None].expand(*pivot.shape, 4)
    q = stacked.gather(-2, index).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., :1])
    return torch.where(sine < 1e-7, 2 * q[..., 1:], q[..., 1:] / sine.clamp_min(1e-12) * angle)


def look_at_head(
    yaw: Float[Tensor, "B"],
    pitch: Float[Tensor, "B"],
    distance: float,
    target: Float[Tensor, "3"],
    focal_px: float,
    height: int,
    width: int,
) -> Camera:
    """Cameras on a sphere around `target` (head frame), upright.

    yaw > 0 moves the camera towards the head's left (+X), so that the head shows its left side;
    pitch > 0 moves the camera up. Radians, metres, pixels. Pitch must stay within +-pi/2.
    """
    direction = torch.stack(
        [torch.sin(yaw) * torch.cos(pitch), torch.sin(pitch), torch.cos(yaw) * torch.cos(pitch)], -1
    )
    forward = -direction
    up = torch.tensor([0.0, 1.0, 0.0], dtype=yaw.dtype, device=yaw.device).expand_as(forward)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=-2)
    centre = target + direction * distance
    transform = torch.eye(4, dtype=yaw.dtype, device=yaw.device).repeat(yaw.shape[0], 1, 1)
    transform[:, :3, :3] = rotation
    transform[:, :3, 3] = -torch.einsum("bij,bj->bi", rotation, centre)
    focal = torch.full_like(yaw, focal_px)
    principal = torch.tensor([width / 2, height / 2], dtype=yaw.dtype, device=yaw.device).repeat(yaw.shape[0], 1)
    return Camera(transform, focal, principal, height, width)


def focal_from_equivalent_mm(focal_35mm: float, height: int, width: int) -> float:
    """Focal length in pixels from the 35 mm equivalent in EXIF (defined on the diagonal, 43.27 mm)."""
    return focal_35mm / 43.2666 * math.hypot(height, width)
