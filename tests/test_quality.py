"""Measures of a photo move the way the photo was changed, and each sentence comes when it is called for."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from PIL import Image

from core.landmarks import Face, detect_faces, landmarks, pick_face
from core.photo import load_photo
from core.quality import PhotoMeasures, QualityLimits, confidence, findings, head_angles_rad, measure

# Twice its size: a face of 218 px, large enough for every measure.
ASTRONAUT = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((1024, 1024), Image.Resampling.LANCZOS))


def measures_of(pixels: np.ndarray) -> PhotoMeasures:
    photo = load_photo(np.ascontiguousarray(pixels))
    faces = detect_faces(photo)
    face = pick_face(faces)
    return measure(photo, face, landmarks(photo, face), len(faces))


def codes(measures: PhotoMeasures) -> set[str]:
    return {finding.code for finding in findings(measures)}


@pytest.fixture(scope="module")
def plain() -> PhotoMeasures:
    return measures_of(ASTRONAUT)


def test_a_good_photo_has_little_to_say(plain):
    assert codes(plain) == {"modest-size"}
    assert confidence(findings(plain)) == pytest.approx(0.95)
    assert findings(dataclasses.replace(plain, face_px=400.0)) == ()
    assert confidence(()) == 1.0


def test_the_face_looks_ahead_and_its_mirror_image_looks_back(plain):
    assert abs(plain.yaw_rad) < math.radians(6) and abs(plain.pitch_rad) < math.radians(10)
    mirrored = measures_of(ASTRONAUT[:, ::-1])
    assert mirrored.roll_rad == pytest.approx(-plain.roll_rad, abs=math.radians(1.5))
    assert mirrored.yaw_rad == pytest.approx(-plain.yaw_rad, abs=math.radians(4))
    assert mirrored.side_light == pytest.approx(plain.side_light, rel=0.1)


@pytest.mark.parametrize("yaw_deg", [-50, -20, 20, 50])
@pytest.mark.parametrize("roll_deg", [-100, 0, 30])
def test_angles_of_turned_points_are_those_they_were_turned_by(yaw_deg, roll_deg):
    """The astronaut's own points, as a rigid body: positive yaw shows the left side, which comes nearer."""
    photo = load_photo(ASTRONAUT)
    found = landmarks(photo, pick_face(detect_faces(photo)))
    yaw_0, pitch_0, roll_0 = head_angles_rad(found)
    body = np.concatenate([found.points_px.numpy(), found.depth_px.numpy()[:, None]], 1).astype(float)
    body -= body.mean(0)
    yaw, roll = math.radians(yaw_deg), math.radians(roll_deg)
    unroll, reroll = about_depth(-roll_0), about_depth(roll_0 + roll)
    about_vertical = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    turned = (body @ (reroll @ about_vertical @ unroll).T + 500).astype(np.float32)
    import torch

    moved = dataclasses.replace(
        found,
        points_px=torch.from_numpy(np.ascontiguousarray(turned[:, :2])),
        depth_px=torch.from_numpy(np.ascontiguousarray(turned[:, 2])),
    )
    yaw_1, _, _ = head_angles_rad(moved)
    assert yaw_1 - yaw_0 == pytest.approx(yaw, abs=math.radians(4))
    assert abs(pitch_0) < math.radians(10)


def about_depth(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


@pytest.mark.parametrize("sigma", [3.0, 5.0])
def test_blur_is_measured_in_pixels(plain, sigma):
    blurred = measures_of(scipy.ndimage.gaussian_filter(ASTRONAUT, (sigma, sigma, 0)))
    own = plain.blur_fraction * plain.face_px
    assert blurred.blur_fraction * blurred.face_px == pytest.approx(math.hypot(own, sigma), rel=0.3)
    assert ("blurred" in codes(blurred)) == (blurred.blur_fraction > QualityLimits().blur_fraction)
    assert "blurred" in codes(measures_of(scipy.ndimage.gaussian_filter(ASTRONAUT, (5, 5, 0))))


def changed(kind: str) -> np.ndarray:
    pixels = ASTRONAUT.astype(float)
    if kind == "dark":
        pixels *= 0.1
    if kind == "bright":
        pixels *= 2
    if kind == "side-light":
        pixels[:, :450] *= 0.25
    if kind == "grey":
        pixels[:] = pixels.mean(2, keepdims=True)
    if kind == "small":
        return np.asarray(Image.fromarray(ASTRONAUT).resize((360, 360), Image.Resampling.LANCZOS))
    if kind == "too-small":
        return np.asarray(Image.fromarray(ASTRONAUT).resize((200, 200), Image.Resampling.LANCZOS))
    if kind == "cut-off":
        return ASTRONAUT[:, 400:]
    if kind == "several-faces":
        return np.concatenate([ASTRONAUT[:400], ASTRONAUT[:400]], 1)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "kind", ["dark", "bright", "side-light", "grey", "small", "too-small", "cut-off", "several-faces"]
)
def test_what_was_done_to_the_photo_is_found(kind):
    assert kind in codes(measures_of(changed(kind)))


@pytest.mark.parametrize(
    ("values", "code", "severity"),
    [
        ({"yaw_rad": math.radians(-62)}, "profile", "error"),
        ({"yaw_rad": math.radians(40)}, "turned", "warning"),
        ({"pitch_rad": math.radians(-35)}, "tilted", "warning"),
        ({"presence": 0.1}, "not-a-face", "error"),
        ({"outside_fraction": 0.6}, "cut-off", "error"),
        ({"flat_fraction": 0.5}, "drawing", "warning"),
        ({"eye_opening": 0.05}, "eyes-closed", "warning"),
        ({"spread_fraction": 0.02}, "covered", "warning"),
    ],
)
def test_each_limit_has_its_sentence(plain, values, code, severity):
    found = findings(dataclasses.replace(plain, face_px=400.0, **values))
    assert [(finding.code, finding.severity) for finding in found] == [(code, severity)]
    assert found[0].sentence.endswith(".") and found[0].advice.endswith(".")
    assert confidence(found) == (0.0 if severity == "error" else 0.7)


def test_the_gravest_comes_first(plain):
    found = findings(dataclasses.replace(plain, yaw_rad=1.2, light_mean=0.01, face_count=3))
    assert [finding.severity for finding in found] == ["error", "warning", "info", "info"]


def test_a_face_wholly_beyond_the_border_is_measured_without_a_crash():
    photo = load_photo(ASTRONAUT)
    face = Face((2000.0, 2000.0, 2200.0, 2200.0), 0.0, 1.0, 1.0, "by hand")
    measures = measure(photo, face, landmarks(photo, face))
    assert {"not-a-face", "cut-off"} <= codes(measures)
    assert all(math.isfinite(value) for value in dataclasses.astuple(measures))
