"""Errors in millimetres: known offsets read what they are, rigid motion changes nothing, oracles score zero."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from core.avatar import Avatar
from core.camera import axis_angle_to_matrix
from core.errors import LikenessError, PhotoError
from core.evaluation import (
    EVALUATION_SEED,
    MEAN_HEAD,
    NOW_LANDMARKS,
    GeometryRow,
    Scan,
    evaluate_geometry,
    evaluate_photos,
    face_scan,
    medians,
    scan_to_mesh_distances_mm,
    scan_to_mesh_error,
    surface_distance,
)
from core.head import HeadParameters, load_head
from core.synthesis.photo import SyntheticPhoto
from tests.tiny_head import make_avatar, tiny_head


@functools.cache
def ball(radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return torch.tensor(np.asarray(mesh.vertices)), torch.tensor(np.asarray(mesh.faces)).long()


def on_ball(radius: float) -> torch.Tensor:
    """Seven points where a face's landmarks would lie on the front of a ball."""
    x = [-0.045, -0.016, 0.016, 0.045, 0.0, -0.025, 0.025]
    y = [0.03, 0.03, 0.03, 0.03, -0.02, -0.05, -0.05]
    points = torch.tensor([x, y, [0.08] * 7], dtype=torch.float64).T
    return points / points.norm(dim=1, keepdim=True) * radius


@functools.cache
def true_head(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vertices, faces of the skin and the seven landmarks of a random neutral head, float64; -1 is the mean head."""
    head = load_head()
    zero = head.neutral()
    shape = torch.randn(1, head.shape_count, generator=torch.Generator().manual_seed(seed)) if seed >= 0 else zero.shape
    vertices = head.vertices(HeadParameters(shape, zero.expression, zero.joint_rotations))[0].double()
    embedding = head.landmarks["mediapipe"]
    points = embedding.points(vertices, head.faces)[list(NOW_LANDMARKS)]
    return vertices, head.faces[head.part_faces("skin")], points


# ------------------------------------------------------------------------------------------------- distances


def test_distance_from_one_triangle_in_every_region() -> None:
    vertices = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]])
    cases = {
        (0.25, 0.25, 0.5): 0.5,  # above the inside
        (0.25, 0.25, 0.0): 0.0,
        (0.5, -0.3, 0.4): 0.5,  # beside an edge: 3-4-5
        (1.0, 1.0, 0.0): math.sqrt(0.5),  # beside the long edge
        (-3.0, 0.0, -4.0): 5.0,  # beyond a corner
        (2.0, -1.0, 0.0): math.sqrt(2.0),
    }
    found = surface_distance(torch.tensor(list(cases), dtype=torch.float64), vertices, faces)
    assert torch.allclose(found, torch.tensor(list(cases.values()), dtype=torch.float64), atol=1e-12)


def test_a_triangle_without_area_is_the_segment_that_it_looks_like() -> None:
    vertices = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
    points = torch.tensor([[0.7, 0.2, 0.0], [1.3, 0.0, 0.4], [0.1, 0.0, 0.0]], dtype=torch.float64)
    found = surface_distance(points, vertices, torch.tensor([[0, 1, 2]]))
    assert torch.allclose(found, torch.tensor([0.2, 0.5, 0.0], dtype=torch.float64), atol=1e-12)


def test_distances_are_those_of_asking_every_triangle() -> None:
    """Sliver, huge and tiny triangles together, against minimising over a fine grid on every triangle."""
    generator = torch.Generator().manual_seed(3)
    scale = 10 ** (3 * torch.rand(60, 1, 1, generator=generator, dtype=torch.float64) - 3)
    corners = torch.randn(60, 1, 3, generator=generator, dtype=torch.float64) * 0.1
    corners = corners + scale * 0.3 * torch.randn(60, 3, 3, generator=generator, dtype=torch.float64)
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64) * 0.15
    found = surface_distance(points, corners.reshape(-1, 3), torch.arange(180).reshape(60, 3))

    n = 150
    u, v = torch.meshgrid(torch.arange(n + 1), torch.arange(n + 1), indexing="ij")
    weights = torch.stack([u, v, n - u - v], -1)[u + v <= n].double() / n
    grid = torch.einsum("gc,fcx->fgx", weights, corners)
    best = torch.stack([(grid - p).norm(dim=2).amin(dim=1) for p in points])
    step = (corners - corners.roll(1, 1)).norm(dim=2).amax(dim=1) / n
    assert (found <= best.amin(dim=1) + 1e-12).all()
    assert (found >= (best - step).amin(dim=1)).all()


def test_a_point_of_a_surface_has_no_distance_from_it() -> None:
    vertices, faces, points = true_head(1)
    assert surface_distance(face_scan(vertices, faces, points).points, vertices, faces).max() < 1e-9


# ------------------------------------------------------------------------------------------------- scans


def test_scan_points_fill_the_region_evenly_and_are_drawn_alike() -> None:
    vertices, faces = ball(0.1)
    landmarks = on_ball(0.1)
    scan = face_scan(vertices, faces, landmarks, count=8000)
    bridge, base = (landmarks[1] + landmarks[2]) / 2, landmarks[4]
    centre = base + 0.3 * (bridge - base)
    radius = 0.7 * (0.09 / torch.tensor([-0.045, 0.03, 0.08]).norm() * 0.1 + (bridge - base).norm())
    away = (scan.points - centre).norm(dim=1)
    assert away.max() < radius and (away > 0.97 * radius).any()
    # A ball around a point near the sphere cuts areas in proportion to the squared distance.
    assert float((away < radius * math.sqrt(0.5)).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.equal(scan.points, face_scan(vertices, faces, landmarks, count=8000).points)


def test_scan_is_the_face_and_nothing_that_looks_backwards() -> None:
    head = load_head()
    vertices, faces, points = true_head(-1)
    scan = face_scan(vertices, faces, points)
    low, high = scan.points.amin(dim=0), scan.points.amax(dim=0)
    nose_tip = vertices[:, 2].max()
    assert high[2] == pytest.approx(float(nose_tip), abs=2e-3)
    ears = vertices[head.region("ears") > 0.9]
    from_ears = torch.cdist(scan.points, ears).amin(dim=1)
    assert float((from_ears < 2e-3).double().mean()) < 0.02
    assert high[1] < vertices[:, 1].max() - 0.03 and low[1] > vertices[:, 1].min() + 0.01


def test_scan_without_surface_is_refused() -> None:
    vertices, faces = ball(0.1)
    with pytest.raises(ValueError, match="no surface"):
        face_scan(vertices + 5.0, faces, on_ball(0.1))


# ------------------------------------------------------------------------------------------------- errors


def test_a_ball_one_millimetre_larger_reads_one_millimetre() -> None:
    """All around: whatever the alignment does, a full sphere leaves nothing to absorb the offset."""
    vertices, faces = ball(0.100)
    outer, _ = ball(0.101)
    scan = Scan(outer, on_ball(0.101))
    error = scan_to_mesh_error(vertices, faces, on_ball(0.100), scan)
    assert error.median_mm == pytest.approx(1.0, abs=0.02)
    assert error.mean_mm == pytest.approx(1.0, abs=0.02)
    assert error.std_mm < 0.03
    assert error.count == len(outer)


def test_a_plane_offset_reads_what_no_alignment_can_remove() -> None:
    """A known relief of +-1 mm on a plane: the best plane lies in between."""
    n = 40
    axis = torch.linspace(-0.08, 0.08, n, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    vertices = torch.stack([x, y, 0 * x], -1).reshape(-1, 3)
    corner = (torch.arange(n - 1)[:, None] * n + torch.arange(n - 1)).flatten()
    faces = torch.cat(
        [torch.stack([corner, corner + 1, corner + n], 1), torch.stack([corner + 1, corner + n + 1, corner + n], 1)]
    )
    inside = (x.abs() < 0.06) & (y.abs() < 0.06)
    checker = ((torch.arange(n)[:, None] + torch.arange(n)) % 2 * 2 - 1).double() * 1e-3
    bumps = torch.stack([x, y, checker], -1)[inside]
    landmarks = on_ball(0.1) * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    distances = scan_to_mesh_distances_mm(vertices, faces, landmarks, Scan(bumps, landmarks))
    assert torch.allclose(distances, torch.ones_like(distances), atol=0.03)


@pytest.mark.parametrize("turn", [(0.3, -0.5, 1.0), (0.0, 3.0, 0.0), (-2.0, 0.1, 0.4)])
def test_moving_the_scan_rigidly_changes_nothing(turn: tuple[float, float, float]) -> None:
    vertices, faces, points = true_head(-1)
    scan = face_scan(*true_head(2))
    rotation = axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float64))
    moved = scan.moved(rotation, torch.tensor([0.3, -0.2, 1.5], dtype=torch.float64))
    still = scan_to_mesh_distances_mm(vertices, faces, points, scan)
    assert torch.allclose(scan_to_mesh_distances_mm(vertices, faces, points, moved), still, atol=1e-3)


def test_a_moved_copy_of_the_truth_has_no_error_and_a_scaled_one_has() -> None:
    vertices, faces, points = true_head(3)
    scan = face_scan(vertices, faces, points)
    rotation = axis_angle_to_matrix(torch.tensor([0.2, 0.4, -0.1], dtype=torch.float64))
    # Landmarks that are 3 mm off: the surface alignment must find the truth all the same.
    wrong = (
        points @ rotation.T + 0.003 * torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]] * 3 + [[0.0, 0.0, 1.0]]).double()
    )
    assert scan_to_mesh_error(vertices @ rotation.T, faces, wrong, scan).mean_mm < 1e-3
    assert scan_to_mesh_error(vertices * 1.05, faces, points * 1.05, scan).mean_mm > 0.5


def test_surface_alignment_never_loses_to_the_landmarks() -> None:
    vertices, faces, points = true_head(-1)
    for seed in range(3):
        scan = face_scan(*true_head(seed))
        by_landmarks = scan_to_mesh_distances_mm(vertices, faces, points, scan, iterations=0)
        refined = scan_to_mesh_distances_mm(vertices, faces, points, scan)
        assert refined.pow(2).mean() < by_landmarks.pow(2).mean()


# ------------------------------------------------------------------------------------------------- estimators


@functools.cache
def oracle_rows() -> tuple[GeometryRow, ...]:
    head = load_head()

    def truth(sample: SyntheticPhoto) -> HeadParameters:
        return sample.parameters  # with its expression, which must not count

    def halfway(sample: SyntheticPhoto) -> HeadParameters:
        return replace(sample.parameters, shape=sample.parameters.shape / 2)

    def moody(sample: SyntheticPhoto) -> HeadParameters:
        if sample.seed % 2:
            raise PhotoError("No face was found.")
        return sample.parameters

    return evaluate_geometry(head, {"truth": truth, "halfway": halfway, "moody": moody}, count=3, size=48)


def row_of(name: str) -> GeometryRow:
    return next(row for row in oracle_rows() if row.estimator == name and row.yaw_deg is None)


def test_oracles_score_what_they_must() -> None:
    mean, truth, halfway = row_of(MEAN_HEAD), row_of("truth"), row_of("halfway")
    assert mean.error is not None and truth.error is not None and halfway.error is not None
    assert oracle_rows()[0].estimator == MEAN_HEAD
    assert mean.ratio_median == mean.ratio_mean == 1.0
    assert mean.shape_spread == 0.0
    assert 0.5 < mean.error.mean_mm < 5
    assert truth.error.mean_mm < 1e-3
    assert truth.shape_spread == pytest.approx(1.0, abs=0.1)
    assert halfway.ratio_mean == pytest.approx(0.5, abs=0.12)


def test_failures_are_counted_and_compared_on_the_same_heads() -> None:
    moody = row_of("moody")
    assert (moody.heads, moody.failures) == (2, 1)
    assert moody.error is not None and moody.error.mean_mm < 1e-3


def test_yaw_groups_partition_the_heads() -> None:
    groups = [row for row in oracle_rows() if row.estimator == MEAN_HEAD and row.yaw_deg is not None]
    assert sum(row.heads for row in groups) == 3


def test_bugs_are_not_mistaken_for_refusals() -> None:
    def broken(_: SyntheticPhoto) -> HeadParameters:
        raise LikenessError("A file is missing.")

    with pytest.raises(LikenessError, match="file is missing"):
        evaluate_geometry(load_head(), {"broken": broken}, count=1, seed=EVALUATION_SEED, size=32)


# ------------------------------------------------------------------------------------------------- photos


def test_photos_are_counted_refusals_included(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.png", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not a photo")
        else:
            Image.new("RGB", (8, 8)).save(tmp_path / name, "png")
    (tmp_path / "more").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "more" / "d.png")
    avatar = make_avatar(tiny_head())

    def reconstruct(path: Path) -> Avatar:
        if path.name == "c.png":
            raise PhotoError("No face was found.")
        return avatar

    seen: list[tuple[int, int]] = []
    report = evaluate_photos(tmp_path, reconstruct, progress=lambda i, n: seen.append((i, n)))
    assert sorted(row.name for row in report.rows) == ["a.JPG", "b.png", "c.png", "d.png"]
    assert report.success_rate == 0.75
    assert [row.error for row in report.rows if row.name == "c.png"] == ["No face was found."]
    assert report.residuals == {"landmarks_px": 1.5}
    assert report.seconds == {"fit": 1.25}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(evaluate_photos(tmp_path, reconstruct, limit=2).rows) == 2


def test_a_folder_without_photos_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match=r"holds no photo.*Name a folder"):
        evaluate_photos(tmp_path, lambda path: make_avatar(tiny_head()))


def test_medians_are_over_those_that_have_the_entry() -> None:
    assert medians([{"a": 1.0, "b": 5.0}, {"a": 3.0}, {"a": 2.0}]) == {"a": 2.0, "b": 5.0}
    assert medians([]) == {}
