"""Random people: the labels are the truth, a seed is a person, and every picture is plausible."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.atlas import positions
from core.camera import Camera
from core.fitting import head_angles
from core.head import PARTS, load_head
from core.raster import rasterize, sample_texture
from core.synthesis import photo as synthesis
from core.synthesis.heads import sample_head
from core.synthesis.photo import (
    GroundTruth,
    SyntheticPhoto,
    contact_sheet,
    render_truth,
    sample_expression,
    sample_photo,
)

SEEDS = range(100, 105)


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
    assert torch.equal(render_truth(head, light).mask, covered)
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


# ------------------------------------------------------------------------------------------------ a given person


def test_a_photo_of_a_synthetic_head_shows_that_person() -> None:
    """Shape, skin and eyes are the head's; expression, pose, camera and surroundings stay the seed's."""
    head, first = load_head(), sample(100)
    person = sample_head(head, 7, 64, normals=False)
    photo = sample_photo(head, 100, size=96, person=person)
    assert photo.materials is person.materials
    assert torch.equal(photo.parameters.shape[0], person.person.shape)
    assert torch.equal(photo.parameters.expression, first.parameters.expression)
    assert torch.equal(photo.camera.T_camera_head, first.camera.T_camera_head)
    assert torch.equal(photo.light.directions, first.light.directions)
    assert torch.equal(photo.vertices, head.vertices(photo.parameters)[0])


def test_a_centred_photo_is_filled_by_the_head() -> None:
    head = load_head()
    for seed in SEEDS[:3]:
        photo = sample_photo(head, seed, size=96, centred=True, yaw_range_deg=(-35.0, 35.0))
        first = sample_photo(head, seed, size=96, yaw_range_deg=(-35.0, 35.0))
        assert torch.equal(photo.camera.centre, first.camera.centre)  # cut, not moved
        seen = render_truth(head, photo)
        above_chin = photo.vertices[head.template[:, 1] > synthesis.CHIN_M]
        x, y, _ = photo.camera.project(above_chin[None])[0].unbind(-1)
        low, high = min(float(x.min()), float(y.min())), max(float(x.max()), float(y.max()))
        margin = 96 * synthesis.MARGIN / (1 + 2 * synthesis.MARGIN)
        assert low == pytest.approx(margin, abs=0.1) and high == pytest.approx(96 - margin, abs=0.1)
        assert seen.mask[:4].sum() == 0 and float(seen.mask.double().mean()) > 0.4


def test_a_contact_sheet_is_photos_side_by_side() -> None:
    head = load_head()
    reports: list[tuple[int, int]] = []
    sheet = contact_sheet(head, [7, 8, 9], tile=32, columns=2, map_size=64, progress=lambda *now: reports.append(now))
    assert sheet.shape == (64, 64, 3) and (sheet[32:, 32:] == 255).all()
    person = sample_head(head, 8, 64)
    photo = sample_photo(
        head, 8, yaw_range_deg=synthesis.SHEET_YAW_DEG, size=32, supersample=2, person=person, centred=True
    )
    assert np.array_equal(sheet[:32, 32:], photo.pixels)
    assert reports == [(1, 3), (2, 3), (3, 3)]


# ---------------------------------------------------------------------------------------------------- ground truth


@functools.cache
def truth(seed: int, size: int = 96) -> GroundTruth:
    return render_truth(load_head(), sample(seed, size))


def rays(camera: Camera) -> torch.Tensor:
    """What each pixel's centre looks along, scaled to depth 1: ``[H, W, 3]``, camera frame."""
    x = (torch.arange(camera.width) + 0.5 - camera.principal_px[0, 0]) / camera.focal_px[0]
    y = (torch.arange(camera.height) + 0.5 - camera.principal_px[0, 1]) / camera.focal_px[0]
    return torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(camera.height, camera.width)], dim=-1)


def surface(photo: SyntheticPhoto, seen: GroundTruth) -> torch.Tensor:
    """The points that the depth map shows, head frame: ``[N, 3]``, one per covered pixel."""
    transform = photo.camera.T_camera_head[0]
    points = (rays(photo.camera) * seen.depth_m[..., None])[seen.mask]
    return (points - transform[:3, 3]) @ transform[:3, :3]


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_is_that_of_the_face_seen(seed: int) -> None:
    """Each reprojected point lies on its triangle: in the plane, and within the corners."""
    photo, seen, head = sample(seed), truth(seed), load_head()
    corners = photo.vertices[head.faces[seen.face_index[seen.mask]]].double()
    point = surface(photo, seen).double()
    # Areas of the triangles between the point and each edge, over the face's own: they sum to 1 within it.
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = normal.norm(dim=1)
    assert float(((point - corners[:, 0]) * normal).sum(1).div(length).abs().max()) < 1e-4
    to_corners = corners - point[:, None]
    areas = torch.linalg.cross(to_corners.roll(-1, 1), to_corners.roll(-2, 1))
    weights = (areas * normal[:, None]).sum(2) / length[:, None] ** 2
    assert float(weights.min()) > -0.01 and float(weights.sum(dim=1).max()) < 1.01


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_nearer_than_the_depth(seed: int) -> None:
    """No vertex lies in front of the surface seen around it."""
    photo, seen, head = sample(seed), truth(seed), load_head()
    solid = torch.unique(head.faces[head.face_part != PARTS.index("lashes")])
    x, y, depth = photo.camera.project(photo.vertices[None])[0][solid].unbind(-1)
    inside = (x >= 1) & (x < 95) & (y >= 1) & (y < 95)
    around = torch.nn.functional.max_pool2d(seen.depth_m[None, None], 3, stride=1, padding=1)[0, 0]
    nearest = torch.nn.functional.max_pool2d(-seen.depth_m[None, None], 3, stride=1, padding=1)[0, 0].neg()
    x, y, depth = x[inside].long(), y[inside].long(), depth[inside]
    assert bool((depth > nearest[y, x] - 0.004).all())
    touching = (depth < around[y, x] + 1e-3).double().mean()
    assert float(touching) > 0.2  # the near side of the head is what the map shows


@pytest.mark.parametrize("seed", SEEDS)
def test_texture_coordinates_and_depth_name_the_same_point(seed: int) -> None:
    photo, seen, head = sample(seed), truth(seed), load_head()
    skin = seen.part == 1 + PARTS.index("skin")
    place = positions(head, photo.vertices, 1024).permute(2, 0, 1)[None]
    by_uv = sample_texture(place, seen.uv[None])[0].permute(1, 2, 0)[skin]
    error = (by_uv - surface(photo, seen)[skin[seen.mask]]).norm(dim=1)
    # Bilinear lookups cut the corner where triangles meet at an angle, and at the atlas' seams.
    assert float(error.quantile(0.95)) < 1e-4
    assert float((error > 1e-3).double().mean()) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_unit_face_the_camera_and_follow_the_depth(seed: int) -> None:
    photo, seen = sample(seed), truth(seed)
    normals, view = seen.normals[seen.mask], rays(photo.camera)[seen.mask]
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(normals)), atol=1e-5)
    assert float(((normals * view).sum(-1) > 0).double().mean()) < 0.01
    # The slope of the depth map, where it is smooth.
    points = rays(photo.camera) * seen.depth_m[..., None].nan_to_num(posinf=10.0)
    right, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    slope = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    smooth = (right.norm(dim=-1) < 0.02) & (down.norm(dim=-1) < 0.02) & seen.mask[1:-1, 1:-1]
    cosine = (slope * seen.normals[1:-1, 1:-1]).sum(-1)[smooth]
    assert int(smooth.sum()) > 500 and float(cosine.median()) > math.cos(math.radians(4))


@pytest.mark.parametrize("seed", SEEDS)
def test_outside_the_person_there_is_nothing(seed: int) -> None:
    seen = truth(seed)
    outside = ~seen.mask
    assert bool(outside.any()) and bool(seen.mask.any())
    assert bool((seen.depth_m == torch.inf).eq(outside).all()) and bool((seen.face_index < 0).eq(outside).all())
    assert not seen.normals[outside].any() and not seen.uv[outside].any()
    part = load_head().face_part[seen.face_index[seen.mask]]
    assert torch.equal(part + 1, seen.part[seen.mask].long())
    assert PARTS.index("lashes") not in part


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_landmarks_lie_on_the_person_and_are_seen_where_nothing_hides_them(seed: int) -> None:
    photo, seen, head = sample(seed), truth(seed), load_head()
    expected = photo.camera.project(head.landmark_points("mediapipe", photo.vertices[None]))[0]
    assert torch.equal(seen.landmarks_px, expected[:, :2])
    x, y = (expected[:, :2].long().clamp(0, 95)).unbind(-1)
    around = torch.nn.functional.max_pool2d(seen.mask.float()[None, None], 3, stride=1, padding=1)[0, 0]
    visible = seen.landmarks_visible
    assert bool((around[y, x][visible] > 0).all())
    # Against a depth map eight times as fine: what is visible lies on the surface seen there, what is hidden does not.
    camera = photo.camera.crop_and_resize(0.0, 0.0, 8.0, 8 * 96, 8 * 96)
    fine = render_truth(head, replace(photo, camera=camera)).depth_m
    inside = (expected[:, :2] >= 0).all(dim=1) & (expected[:, :2] < 96).all(dim=1)
    x, y = (8 * expected[inside, :2]).long().unbind(-1)
    on_surface = (expected[inside, 2] - fine[y, x]) < 0.0015
    assert float((on_surface == visible[inside]).double().mean()) > 0.95
    assert not visible[~inside].any()
    assert 60 < int(visible.sum()) < 478


def test_a_head_that_turns_away_hides_its_far_side() -> None:
    """Of a head turned to its left by 75 degrees, the camera sees its right cheek and not its left one."""
    head = load_head()
    photo = sample_photo(head, 100, size=96, yaw_range_deg=(75.0, 75.0))
    seen = render_truth(head, photo)
    left = seen.landmarks_m[:, 0] > 0.03
    right = seen.landmarks_m[:, 0] < -0.03
    assert float(seen.landmarks_visible[right].double().mean()) > 0.8
    assert float(seen.landmarks_visible[left].double().mean()) < 0.2
