"""Wrinkle lines: none without the labels, deeper with them, where faces have them, at every size the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, positions
from core.head import HeadModel, load_head
from core.synthesis.people import Labels
from core.synthesis.wrinkles import FOLDS, atlas_mm, fold_grooves, groove_depth, wrinkle_depth
from tests.tiny_head import tiny_head

SIZE = 256
OLD = Labels(wrinkles=1.0, sag=1.0)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def points_mm(head: HeadModel) -> Tensor:
    return head.landmark_points("mediapipe", head.template) * 1000


def depth_mm(head: HeadModel, seed: int = 0, size: int = SIZE, **labels: float) -> Tensor:
    return wrinkle_depth(head, replace(Labels(), **labels), seed, size) * 1000


def gradient(head: HeadModel, depth: Tensor) -> Tensor:
    """Of a map along the surface, as vectors in space ``[U, U, 3]``, by finite differences of depth and place."""
    place = positions(head, head.template, depth.shape[0]) * 1000
    step = torch.stack([torch.gradient(place, dim=d)[0] for d in (1, 0)], -1)  # [U, U, 3, 2]
    rise = torch.stack([torch.gradient(depth, dim=d)[0] for d in (1, 0)], -1)
    metric = step.transpose(-1, -2) @ step + 1e-6 * torch.eye(2)
    return (step @ torch.linalg.solve(metric, rise)[..., None])[..., 0]


@pytest.mark.parametrize("seed", [0, 1, 77])
def test_no_wrinkles_and_no_sag_is_flat(head: HeadModel, seed: int):
    assert torch.equal(depth_mm(head, seed, wrinkles=0.0, sag=0.0), torch.zeros(SIZE, SIZE))
    assert torch.equal(depth_mm(head, seed, age_years=85.0, wrinkles=0.0, sag=0.0), torch.zeros(SIZE, SIZE))


def test_a_head_without_landmarks_stays_flat():
    assert torch.equal(wrinkle_depth(tiny_head(), OLD, 3, 64), torch.zeros(64, 64))


@pytest.mark.parametrize("seed", [0, 5])
def test_depth_never_falls_when_a_label_grows(head: HeadModel, seed: int):
    steps = (0.0, 0.35, 1.0)
    maps = [torch.stack([depth_mm(head, seed, 128, wrinkles=w, sag=s) for s in steps]) for w in steps]
    maps = torch.stack(maps)
    assert (maps >= 0).all() and maps.isfinite().all()
    assert (maps.diff(dim=0) >= -1e-6).all() and (maps.diff(dim=1) >= -1e-6).all()
    total = maps.sum((2, 3))
    assert (total.diff(dim=0) > 0).all() and (total.diff(dim=1) > 0).all(), "each step of a label shows"


def test_lines_are_as_deep_as_lemperle_measured(head: HeadModel):
    """From just perceptible, 0.1 mm, to very deep, 0.8 mm and more where folds add to lines."""
    for seed in range(2):
        assert 0.08 < depth_mm(head, seed, wrinkles=0.3).max() < 0.6
        assert 0.5 < depth_mm(head, seed, wrinkles=1.0).max() < 1.3
        assert 0.8 < depth_mm(head, seed, wrinkles=1.0, sag=1.0).max() < 2.5
        assert (depth_mm(head, seed, wrinkles=1.0, sag=1.0) > 0.8).float().mean() < 0.03


def test_same_seed_same_lines_and_only_the_named_labels_count(head: HeadModel):
    once = wrinkle_depth(head, OLD, 4, SIZE)
    assert torch.equal(once, wrinkle_depth(head, OLD, 4, SIZE))
    assert torch.equal(once, wrinkle_depth(head, replace(OLD, melanin=0.9, age_years=20.0, pores=1.0), 4, SIZE))
    assert not torch.equal(once, wrinkle_depth(head, OLD, 5, SIZE))


def test_another_size_shows_the_same_lines(head: HeadModel):
    fine, coarse = depth_mm(head, 2, 512, wrinkles=0.9, sag=0.6), depth_mm(head, 2, SIZE, wrinkles=0.9, sag=0.6)
    inside = atlas_lookup(head, SIZE).inside
    pair = torch.stack([functional.avg_pool2d(fine[None, None], 2)[0, 0][inside], coarse[inside]])
    assert torch.corrcoef(pair)[0, 1] > 0.96
    assert (pair[0].mean() / pair[1].mean() - 1).abs() < 0.1


def test_sides_are_alike_but_not_equal(head: HeadModel):
    """The atlas of the bundled head is symmetric: its mirror image is the map reversed."""
    inside = atlas_lookup(head, 128).inside
    inside = inside & inside.flip(1)
    maps = torch.stack([depth_mm(head, seed, 128, wrinkles=0.8, sag=0.6) for seed in range(10)])
    maps = functional.avg_pool2d(maps[:, None], 5, 1, 2)[:, 0]
    mean = maps.mean(0)

    def likeness(one: Tensor, other: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([one[inside], other[inside]]))[0, 1])

    assert likeness(mean, mean.flip(1)) > 0.97, "no side is favoured"
    # What is a person's own, beyond what all have, is on both sides in part.
    own = maps - mean
    sides = np.array([likeness(one, one.flip(1)) for one in own])
    persons = np.array([likeness(one, other.flip(1)) for one, other in zip(own, own.roll(1, 0), strict=True)])
    assert 0.3 < sides.mean() < 0.95 and sides.max() < 0.98
    assert abs(persons.mean()) < 0.2


def test_forehead_lines_run_level_between_brows_and_hair(head: HeadModel, points_mm: Tensor):
    place = positions(head, head.template, SIZE) * 1000
    brow, hair = points_mm[9, 1], points_mm[10, 1]
    for seed in range(3):
        depth = depth_mm(head, seed, wrinkles=1.0)
        above = (place[..., 1] > brow + 12) & (place[..., 2] > -10)
        lined = above & (depth > 0.1)
        assert lined.sum() > 200
        assert place[..., 1][lined].max() < hair + 16
        assert place[..., 0][lined].abs().max() < 65
        slope = gradient(head, depth)[lined]
        upright = slope[:, 1].square().sum() + slope[:, 2].square().sum()  # the forehead leans back
        assert upright > 4 * slope[:, 0].square().sum()


def test_frown_lines_stand_upright(head: HeadModel, points_mm: Tensor):
    place = positions(head, head.template, SIZE) * 1000
    between = (place[..., 0].abs() < 14) & ((place[..., 1] - points_mm[8, 1] - 2).abs() < 5)
    between &= place[..., 2] > 0
    level = upright = 0.0
    for seed in range(4):
        slope = gradient(head, depth_mm(head, seed, wrinkles=1.0))[between]
        level, upright = level + slope[:, 0].square().sum(), upright + slope[:, 1].square().sum()
    assert level > 2 * upright


@pytest.mark.parametrize("corner", [33, 263])
def test_crows_feet_fan_out_from_the_corner_of_the_eye(head: HeadModel, points_mm: Tensor, corner: int):
    place = positions(head, head.template, SIZE) * 1000
    centre = points_mm[corner]
    away = place - centre
    distance = away.norm(dim=-1)
    ring = (distance > 9) & (distance < 24) & (away[..., 0] * centre[0].sign() > 4) & (away[..., 1].abs() < 14)
    ring &= atlas_lookup(head, SIZE).inside
    along = across = 0.0
    for seed in range(4):
        # The crossing network has no direction of its own.
        slope = gradient(head, depth_mm(head, seed, wrinkles=0.6))[ring]
        radial = functional.normalize(away[ring], dim=1)
        share = (slope * radial).sum(1).square()
        along, across = along + share.sum(), across + (slope.square().sum(1) - share).sum()
    assert across > 3 * along, "the depth changes from line to line, not along them"


@pytest.mark.parametrize(("wing", "corner"), [(129, 61), (358, 291)])
def test_the_nasolabial_fold_runs_from_the_nose_past_the_mouth(
    head: HeadModel, points_mm: Tensor, wing: int, corner: int
):
    place = positions(head, head.template, SIZE) * 1000
    for seed in range(3):
        depth = depth_mm(head, seed, sag=1.0)
        side = (place[..., 0] * points_mm[corner, 0] > 0) & (place[..., 2] > -10)
        offsets = []
        for height in torch.linspace(float(points_mm[wing, 1]) - 4, float(points_mm[corner, 1]) + 5, 6):
            band = side & ((place[..., 1] - height).abs() < 1.2) & (place[..., 0].abs() < 55)
            deepest = torch.where(band, depth, -1.0).argmax()
            assert depth.flatten()[deepest] > 0.25
            offsets.append(float(place[..., 0].abs().flatten()[deepest]))
        assert abs(offsets[0] - float(points_mm[wing, 0].abs())) < 8, "it begins at the wing of the nose"
        assert 3 < offsets[-1] - float(points_mm[corner, 0].abs()) < 18, "it passes outside the corner of the mouth"
        assert (np.diff(offsets) > -2.5).all(), "outwards all the way"


def test_eyes_first_lips_last(head: HeadModel, points_mm: Tensor):
    """Crow's feet begin in the thirties, lines about the lips after fifty; fewer of those on men."""
    place = positions(head, head.template, SIZE) * 1000
    eyes = torch.minimum(*((place - points_mm[k]).norm(dim=-1) for k in (226, 446))) < 16
    above_lip = (place[..., 0].abs() < 12) & (place[..., 1] > points_mm[0, 1]) & (place[..., 1] < points_mm[164, 1])
    above_lip &= place[..., 2] > 0

    def mean(where: Tensor, **labels: float) -> float:
        return float(np.mean([depth_mm(head, seed, **labels)[where].mean() for seed in range(2)]))

    assert mean(eyes, wrinkles=0.28) > 1e-3
    assert mean(above_lip, wrinkles=0.28) < 0.03 * mean(eyes, wrinkles=0.28)
    assert mean(above_lip, wrinkles=0.9, gender=0.0) > 1.5 * mean(above_lip, wrinkles=0.9, gender=1.0) > 0


def test_grooves_have_soft_shoulders_and_stay_off_the_nose_and_scalp(head: HeadModel, points_mm: Tensor):
    place = positions(head, head.template, SIZE) * 1000
    depth = depth_mm(head, 1, wrinkles=1.0, sag=1.0)
    assert depth[(place - points_mm[4]).norm(dim=-1) < 10].max() < 0.02, "the tip of the nose has no lines"
    assert depth[place[..., 1] > points_mm[10, 1] + 25].max() == 0
    assert depth[place[..., 2] < -100].max() == 0
    # No two neighbouring texels differ by a whole groove: nothing is jagged.
    fine = depth_mm(head, 1, 512, wrinkles=1.0)
    assert fine.diff(dim=0).abs().max() < 0.35 and fine.diff(dim=1).abs().max() < 0.35


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_folds_are_as_deep_as_their_table(head: HeadModel, strength: float):
    folds = fold_grooves(head, strength, 3)
    assert list(folds) == list(FOLDS)
    for name, parts in FOLDS.items():
        depths = [fold.depth_mm[int(strength)] for fold in parts.values()]
        deepest = max(groove.depth_mm.max() for groove in folds[name] if not groove.soft)
        sharp = max((d for part, d in zip(parts, depths, strict=True) if not part.endswith("_fold")), default=0)
        assert deepest == pytest.approx(sharp), name
        for groove in folds[name]:
            assert groove.points.shape[:2] == groove.depth_mm.shape
            assert groove.points.min() > 0 and groove.points.max() < 1, "on the map"


def test_folds_run_where_lines_of_the_same_seed_stay(head: HeadModel):
    """The habit that folds the skin leaves the line behind."""
    stays = wrinkle_depth(head, Labels(wrinkles=1.0), 4, SIZE) * 1000
    for name in ("forehead", "crowsFeet"):
        folded = {seed: groove_depth(head, fold_grooves(head, 1.0, seed)[name], SIZE)[0] for seed in (4, 5)}
        same, other = (stays[folded[seed] > 0.25].mean() for seed in (4, 5))
        assert same > 0.1 and same > 1.7 * other, name


def test_a_fold_goes_on_where_the_permanent_line_is_broken(head: HeadModel):
    """Skin that is pushed together gives along the whole of a line: no row of dents."""
    folds = [groove for groove in fold_grooves(head, 1.0, 4)["forehead"] if not groove.soft]
    middle = folds[0].depth_mm[:, 25:65]
    shown = middle.max(axis=1) > 0.3
    assert shown.sum() >= 3
    assert (middle.min(axis=1) > 0.3 * middle.max(axis=1))[shown].all()


def test_grooves_and_bulges_are_drawn_with_opposite_signs(head: HeadModel):
    grooves = fold_grooves(head, 0.5, 0)["forehead"]
    sharp, soft = groove_depth(head, grooves, SIZE)
    assert sharp.min() == 0 and sharp.max() > 0.4 and soft.min() == 0 and soft.max() > 0.3
    raised = groove_depth(head, [replace(groove, depth_mm=-groove.depth_mm) for groove in grooves], SIZE)
    assert torch.equal(raised[0], -sharp) and torch.equal(raised[1], -soft)
    assert not groove_depth(head, [], 64)[0].any()


def test_the_atlas_is_measured_in_millimetres(head: HeadModel, points_mm: Tensor):
    """Between brows and hairline, where the map is least stretched."""
    embedding = head.landmarks["mediapipe"]
    uv = (head.uv[head.uv_faces[embedding.face_index]] * embedding.barycentric[..., None]).sum(1)
    measured = (points_mm[107] - points_mm[336]).norm() / (uv[107] - uv[336]).norm()
    assert 0.75 < measured / atlas_mm(head) < 1.35


def test_a_head_without_landmarks_has_no_folds():
    head = tiny_head()
    assert not any(fold_grooves(head, 1.0, 0).values())
    assert not groove_depth(head, [], 64)[0].any()
