"""Faces and landmarks: the same face is found, in the same place, however the photo is stored, scaled or turned."""

from __future__ import annotations

import io
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw

from core.errors import PhotoError
from core.landmarks import (
    CHIN,
    FOREHEAD,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    MIN_SCORE,
    NOSE_TIP,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
    Face,
    detect_faces,
    landmarks,
    person_mask,
    pick_face,
)
from core.photo import Photo, load_photo

ASTRONAUT = skimage.data.astronaut()
FACE_PX = 109  # the size of the astronaut's face


@pytest.fixture(scope="module")
def photo() -> Photo:
    return load_photo(ASTRONAUT)


@pytest.fixture(scope="module")
def points(photo: Photo) -> np.ndarray:
    return points_of(photo)


def points_of(photo: Photo) -> np.ndarray:
    return landmarks(photo, pick_face(detect_faces(photo))).points_px.numpy()


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).sum(-1).mean()))


def test_one_face_where_it_is(photo):
    (face,) = detect_faces(photo)
    left, top, right, bottom = face.box_px
    assert 165 < left < right < 280 and 55 < top < bottom < 180
    assert abs(face.roll_rad) < math.radians(6)
    assert face.presence > 0.99 and face.score > MIN_SCORE


def test_points_have_the_order_of_a_face(points):
    assert points.shape == (478, 2)
    forehead, nose, chin = points[FOREHEAD], points[NOSE_TIP], points[CHIN]
    assert forehead[1] < nose[1] < chin[1]
    # The person's left is on the right of the photo.
    assert points[RIGHT_EYE_OUTER][0] < nose[0] < points[LEFT_EYE_OUTER][0]
    for iris, centre in ((RIGHT_IRIS, points[468]), (LEFT_IRIS, points[473])):
        ring = points[iris][1:]
        assert rms(ring.mean(0), centre) < 0.5
        radii = np.linalg.norm(ring - centre, axis=1)
        assert radii.max() < 1.5 * radii.min()
    # The pupils are the darkest spots of the eyes: the pixel below the centre is darker than the skin under the eye.
    grey = ASTRONAUT.mean(2)
    for centre, below in ((468, 230), (473, 450)):
        x, y = points[centre]
        u, v = points[below]
        assert grey[int(y), int(x)] < 0.6 * grey[int(v), int(u)]


def test_the_same_pixels_give_the_same_points(photo):
    face = pick_face(detect_faces(photo))
    first, second = landmarks(photo, face), landmarks(photo, face)
    assert torch.equal(first.points_px, second.points_px) and torch.equal(first.depth_px, second.depth_px)
    assert detect_faces(photo) == detect_faces(photo)
    assert torch.equal(person_mask(photo, (0, 0, 512, 512)), person_mask(photo, (0, 0, 512, 512)))


def test_threads_share_the_networks(photo, points):
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(points_of(photo))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(np.array_equal(result, points) for result in results)


def stored(kind: str) -> bytes | np.ndarray:
    image = Image.fromarray(ASTRONAUT)
    buffer = io.BytesIO()
    if kind == "16-bit":
        return ASTRONAUT.astype(np.uint16) * 257
    if kind == "CMYK":
        image = image.convert("CMYK")
    if kind == "grey":
        image = image.convert("L")
    if kind == "palette":
        image = image.quantize(256)
    if kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    else:
        image.save(buffer, {"JPEG": "JPEG", "WebP": "WEBP", "CMYK": "TIFF"}.get(kind, "PNG"))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "WebP", "CMYK", "grey", "palette", "16-bit", "rotated"])
def test_how_a_photo_is_stored_moves_no_point_by_more_than_a_pixel(kind, points):
    assert rms(points_of(load_photo(stored(kind))), points) < (1e-3 if kind in ("16-bit", "rotated") else 1.0)


@pytest.mark.parametrize("face_px", [64, 200, 1500, 3800])
def test_the_face_is_found_at_every_size(face_px, points):
    """And lies where it was, to 2 % of its size; the larger photos are cut to the head, as the memory limit asks."""
    scale = face_px / FACE_PX
    left, top, right, bottom = (0, 0, 512, 512) if face_px < 500 else (140, 25, 300, 195)
    image = Image.fromarray(ASTRONAUT[top:bottom, left:right])
    size = (round(image.width * scale), round(image.height * scale))
    found = points_of(load_photo(image.resize(size, Image.Resampling.LANCZOS)))
    expected = (points - [left, top]) * (np.array(size) / image.size)
    pixel_scale = np.ptp(found[:, 1]) / np.ptp(expected[:, 1])  # load_photo may have reduced it
    reduced = load_photo(image.resize(size)).width / size[0]
    assert pixel_scale == pytest.approx(reduced, rel=0.05)
    assert rms(found, expected * reduced) < 0.02 * face_px * reduced


def test_a_tiny_face_in_a_large_photo_is_found(points):
    canvas = np.full((2400, 3200, 3), 120, np.uint8)
    small = np.asarray(Image.fromarray(ASTRONAUT).resize((300, 300), Image.Resampling.LANCZOS))  # a face of 64 px
    canvas[1900:2200, 2500:2800] = small
    found = points_of(load_photo(canvas))
    assert rms(found, points * 300 / 512 + [2500, 1900]) < 0.03 * 64


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_that_lies_on_its_side_is_found_with_its_roll(turns, points):
    turned = load_photo(np.ascontiguousarray(np.rot90(ASTRONAUT, turns)))
    face = pick_face(detect_faces(turned))
    upright = math.atan2(*(points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER])[::-1])
    difference = face.roll_rad - (upright - turns * math.pi / 2)
    assert abs(math.remainder(difference, 2 * math.pi)) < math.radians(3)
    # np.rot90 turns counter-clockwise: (x, y) -> (y, 512 - x).
    expected = points
    for _ in range(turns):
        expected = np.stack([expected[:, 1], 512 - expected[:, 0]], 1)
    assert rms(points_of(turned), expected) < 0.02 * FACE_PX


@pytest.mark.parametrize("shift", [0.25, 0.5, 0.75])
def test_points_follow_the_photo_by_fractions_of_a_pixel(photo, points, shift):
    """The photo, doubled and cut so that everything moves by `shift` pixels: the corner-origin convention holds."""
    moved = Image.fromarray(ASTRONAUT).transform(
        (512, 512), Image.Transform.AFFINE, (1, 0, -shift, 0, 1, 0), Image.Resampling.BICUBIC
    )
    found = points_of(load_photo(moved))
    assert np.median(found - points, axis=0) == pytest.approx([shift, 0], abs=0.12)


def test_a_mirrored_photo_has_the_mirrored_face(points):
    found = points_of(load_photo(np.ascontiguousarray(ASTRONAUT[:, ::-1])))
    for right, left in ((33, 263), (133, 362), (61, 291), (468, 473), (234, 454)):
        assert np.abs(found[right] - [512 - points[left][0], points[left][1]]).max() < 0.03 * FACE_PX


def test_a_rough_box_drawn_by_hand_gives_the_same_points(photo, points):
    rough = Face((165.0, 45.0, 290.0, 195.0), 0.1, 1.0, 1.0, "by hand")
    assert rms(landmarks(photo, rough).points_px.numpy(), points) < 0.01 * FACE_PX


def test_a_box_without_a_face_has_no_presence(photo):
    corner = Face((380.0, 300.0, 500.0, 420.0), 0.0, 1.0, 1.0, "by hand")
    assert landmarks(photo, corner).presence < 0.5


def picture(draw) -> np.ndarray:
    image = Image.new("RGB", (400, 400), (240, 240, 235))
    draw(ImageDraw.Draw(image))
    return np.asarray(image)


def smiley(pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((80, 80, 320, 320), fill=(250, 220, 40), outline=(0, 0, 0), width=4)
    for x in (150, 250):
        pen.ellipse((x - 18, 150, x + 18, 200), fill=(0, 0, 0))
    pen.arc((130, 160, 270, 280), 20, 160, fill=(0, 0, 0), width=8)


NO_FACES = {
    "even": np.full((300, 400, 3), 127, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8),
    "smiley": picture(smiley),
    "cat": skimage.data.chelsea(),
    "coffee": skimage.data.coffee(),
    "rocket": skimage.data.rocket(),
    "strip": np.full((40, 3000, 3), 200, np.uint8),
}


@pytest.mark.parametrize("name", NO_FACES)
def test_what_has_no_face_has_none(name):
    faces = detect_faces(load_photo(NO_FACES[name]))
    assert faces == ()
    with pytest.raises(PhotoError, match="No face was found"):
        pick_face(faces)


def test_faces_are_sorted_and_picked_by_a_point():
    canvas = np.full((512, 900, 3), 90, np.uint8)
    canvas[:, :512] = ASTRONAUT
    canvas[50:434, 512:896] = np.asarray(Image.fromarray(ASTRONAUT).resize((384, 384), Image.Resampling.LANCZOS))
    large, small = detect_faces(load_photo(canvas))
    assert large.size_px == pytest.approx(small.size_px * 512 / 384, rel=0.05)
    assert pick_face((small, large)) is large
    assert pick_face((large, small), (512 + 220 * 0.75, 50 + 120 * 0.75)) is small
    assert pick_face((large, small), (220.0, 120.0)) is large
    assert pick_face((large, small), (899.0, 511.0)) is small  # the nearest to a point in none


def test_the_mask_holds_the_person_and_not_the_wall(photo, points):
    mask = person_mask(photo, (0, 0, 512, 512))
    assert mask.shape == (512, 512) and 0 <= float(mask.min()) and float(mask.max()) <= 1
    inside = points[:468].round().astype(int)
    on_face = mask[inside[:, 1], inside[:, 0]]
    assert float(on_face.min()) > 0.5 and float(on_face.mean()) > 0.98
    assert float(mask[:150, :60].mean()) < 0.2
    # A crop sees the same person at the same place.
    crop = person_mask(photo, (100, 10, 420, 330))
    assert crop.shape == (320, 320)
    assert float(((crop > 0.5) == (mask[10:330, 100:420] > 0.5)).float().mean()) > 0.93


@pytest.mark.parametrize("crop", [(0, 0, 513, 10), (-1, 0, 10, 10), (20, 20, 20, 40)])
def test_a_mask_of_nothing_is_refused(photo, crop):
    with pytest.raises(ValueError, match="not inside the photo"):
        person_mask(photo, crop)


def test_the_face_is_found_in_every_real_photo(shared_data: Path):
    for path in sorted((shared_data / "photos").iterdir()):
        photo = load_photo(path)
        faces = detect_faces(photo)
        if path.name == "dlib_dogs.jpg":  # a poster between the dogs shows a tiny human face, lying on its side
            assert all(face.size_px < 48 for face in faces)
            continue
        assert faces, path.name
        found = landmarks(photo, faces[0])
        assert found.presence > 0.5 and found.spread_px < 0.03 * faces[0].size_px, path.name
