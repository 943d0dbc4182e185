"""Random people: the labels are the truth, a seed is a person, and every picture is plausible."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

from core import synthesis
from core.fitting import head_angles
from core.head import PARTS, load_head
from core.render import rasterize
from core.synthesis import SyntheticPhoto, sample_expression, sample_photo

SEEDS = range(100, 108)


@functools.cache
def sample(seed: int, size: int = 96) -> SyntheticPhoto:
    return sample_photo(load_head(), seed, size=size)


def test_a_seed_is_a_picture_bit_for_bit() -> None:
    again = sample_photo(load_head(), 100, size=96)
    assert np.array_equal(again.pixels, sample(100).pixels)
    assert torch.equal(again.vertices, sample(100).vertices)
    assert not np.array_equal(sample(100).pixels, sample(101).pixels)


def test_another_skin_size_or_yaw_range_leaves_the_person() -> None:
    """Streams are independent: what is asked of the picture does not change who is in it."""
    skin = torch.full((3, 64, 64), 170, dtype=torch.uint8)
    other = sample_photo(load_head(), 100, size=64, skin=skin, yaw_range_deg=(-5.0, 5.0))
    first = sample(100)
    assert torch.equal(other.vertices, first.vertices)
    assert torch.equal(other.light.directions, first.light.directions)
    assert (other.pitch, other.roll, other.distance_m) == (first.pitch, first.roll, first.distance_m)
    assert other.materials.skin_albedo is skin
    assert abs(other.yaw) <= math.radians(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_are_the_truth(seed: int) -> None:
    photo, head = sample(seed), load_head()
    assert torch.equal(photo.vertices, head.vertices(photo.parameters)[0])
    angles = head_angles(photo.camera.T_camera_head[0, :3, :3])
    assert [float(a) for a in angles] == pytest.approx([photo.yaw, photo.pitch, photo.roll], abs=1e-4)
    middle = photo.camera.to_camera(torch.tensor([[synthesis.FACE_CENTRE_M]]))[0, 0]
    assert float(middle[2]) == pytest.approx(photo.distance_m, rel=1e-5)
    share = float(photo.camera.focal_px) * synthesis.FACE_HEIGHT_M / photo.distance_m / photo.camera.width
    assert synthesis.FACE_SHARE_RANGE[0] <= share <= synthesis.FACE_SHARE_RANGE[1] + 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_lies_in_its_range_and_the_face_in_the_picture(seed: int) -> None:
    photo, head = sample(seed), load_head()
    assert abs(photo.yaw) <= math.radians(45) and abs(photo.pitch) <= math.radians(18)
    assert synthesis.DISTANCE_RANGE_M[0] <= photo.distance_m <= synthesis.DISTANCE_RANGE_M[1]
    assert photo.parameters.shape.abs().max() <= synthesis.SHAPE_LIMIT
    assert photo.pixels.shape == (96, 96, 3) and photo.pixels.dtype == np.uint8
    eyes_and_mouth = photo.camera.project(head.landmark_points("mediapipe", photo.vertices[None]))[0]
    inner = eyes_and_mouth[[33, 133, 362, 263, 1, 61, 291], :2]
    assert (inner > 0).all() and (inner < 96).all()


def test_the_picture_shows_the_head_where_the_camera_says() -> None:
    """A black skin against the same picture with a white one: only covered pixels change."""
    head = load_head()
    dark, light = (
        sample_photo(head, 103, size=128, skin=torch.full((3, 16, 16), level, dtype=torch.uint8)) for level in (20, 235)
    )
    changed = torch.from_numpy(np.abs(light.pixels.astype(int) - dark.pixels.astype(int)).max(axis=2) > 24)
    skin_faces = head.faces[head.face_part != PARTS.index("lashes")]
    covered = rasterize(light.camera.project(light.vertices[None]), skin_faces, 128, 128)[0] >= 0
    assert float((changed & ~covered).double().mean()) < 0.01  # the lens softens the outline
    assert float((changed & covered).sum() / covered.sum()) > 0.85


def test_people_are_drawn_from_the_prior() -> None:
    beta = torch.cat([sample(seed).parameters.shape for seed in SEEDS])
    assert float(beta.mean()) == pytest.approx(0, abs=0.1)
    assert float(beta.std()) == pytest.approx(1, abs=0.1)


def test_expressions_are_plausible() -> None:
    head, rng = load_head(), np.random.default_rng(0)
    names = head.expression_names
    drawn = torch.stack([sample_expression(head, rng) for _ in range(600)])
    column = {name: drawn[:, i] for i, name in enumerate(names)}
    neutral = (drawn == 0).all(dim=1)
    assert float(neutral.double().mean()) == pytest.approx(synthesis.NEUTRAL_SHARE, abs=0.06)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert (column["tongueOut"] == 0).all()
    assert (column["mouthClose"] <= column["jawOpen"]).all()
    for a, b in synthesis.OPPOSED:
        one, other = (
            torch.stack([column[n] for n in names if n.startswith(prefix)]).amax(dim=0) > 0 for prefix in (a, b)
        )
        if a == "eyeLookOutLeft":
            continue  # both eyes look the same way: tested below
        assert not (one & other).any(), (a, b)
    assert torch.equal(column["eyeLookOutLeft"] > 0, column["eyeLookInRight"] > 0)
    assert torch.equal(column["eyeLookInLeft"] > 0, column["eyeLookOutRight"] > 0)
    # Both cheeks smile together nearly always, and every action occurs.
    left, right = column["mouthSmileLeft"], column["mouthSmileRight"]
    assert torch.equal(left > 0, right > 0) and torch.corrcoef(torch.stack([left, right]))[0, 1] > 0.8
    unused = {name for name in names if not (column[name] > 0).any()}
    assert unused == {"tongueOut"}


def test_photos_are_exposed_as_cameras_do() -> None:
    """Neither black nor burnt out, whatever the skin."""
    for seed in SEEDS:
        photo = sample(seed)
        middle = photo.camera.project(torch.tensor([[synthesis.FACE_CENTRE_M]]))[0, 0, :2].round().int()
        x, y = int(middle[0]), int(middle[1])
        patch = photo.pixels[max(y - 12, 0) : y + 12, max(x - 12, 0) : x + 12]
        assert 25 < patch.mean() < 235, seed


def test_it_is_a_photo_without_a_focal_length() -> None:
    photo = sample(100).photo
    assert photo.focal_px is None and photo.width == photo.height == 96
    assert photo.name == "synthetic 100"
