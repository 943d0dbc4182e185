"""The two ways to a head: from a photo, whatever the photo is, and from a seed."""

from __future__ import annotations

import functools
import io
import math
import re
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from core import pipeline
from core.albedo.bundled import albedo_gan
from core.albedo.model import log_albedo
from core.avatar import Avatar, load_avatar, save_avatar
from core.camera import look_at_head
from core.color import luminance, srgb_to_linear
from core.errors import FileError, LikenessError, PhotoError
from core.fitting import PhotometricSettings, fit_photos, head_angles
from core.generation import TRUNCATION, Wish
from core.head import load_head
from core.pipeline import Stage, generate, reconstruct, reshape, thumbnails
from core.render import render_head
from core.synthesis.people import SHAPE_LIMIT
from core.synthesis.photo import sample_photo
from core.texture import skin_mask
from core.transfer import move

HEAD = load_head()
ASTRONAUT = skimage.data.astronaut()
FACE_BOX = (175, 60, 280, 180)  # left, top, right, bottom: where the astronaut's face is
STAGES = ["read", "detect", "landmarks", "fit", "refine", "texture", "quality"]


def encoded(pixels: np.ndarray, format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def saved(avatar: Avatar) -> bytes:
    file = io.BytesIO()
    save_avatar(avatar, file)
    return file.getvalue()


def nose_px(avatar: Avatar) -> Tensor:
    """Where the photo shows the head's nose."""
    assert avatar.camera is not None
    vertices = HEAD.vertices(avatar.parameters())
    return avatar.camera.project(HEAD.landmark_points("mediapipe", vertices))[0, 1, :2]


@dataclass(frozen=True)
class Made:
    avatar: Avatar
    calls: list[Stage]


@pytest.fixture(scope="module")
def astronaut() -> Made:
    calls: list[Stage] = []
    return Made(reconstruct(ASTRONAUT, calls.append, name="astronaut"), calls)


# ------------------------------------------------------------------------------------------- from a photo


def test_stages_are_named_in_order_and_the_share_never_falls(astronaut):
    assert [name for name, _ in groupby(call.name for call in astronaut.calls)] == STAGES
    shares = [call.fraction for call in astronaut.calls]
    assert shares[0] == 0 and shares[-1] < 1 and all(a <= b for a, b in pairwise(shares))
    # The long stages are heard of while they last.
    for name in ("fit", "refine", "texture"):
        assert len({call.fraction for call in astronaut.calls if call.name == name}) > 2


def test_the_finished_stages_come_with_their_seconds(astronaut):
    final = astronaut.avatar.provenance.seconds
    assert list(final) == STAGES[:-1] and all(value >= 0 for value in final.values())
    for call in astronaut.calls:
        assert list(call.seconds.items()) == list(final.items())[: STAGES.index(call.name)]


def test_the_landmarks_come_once_and_first(astronaut):
    (found,) = (call for call in astronaut.calls if call.landmarks_px is not None)
    assert found.name == "landmarks" and found.photo_index == 0 and found.photo_size_px == (512, 512)
    points = found.landmarks_px
    left, top, right, bottom = FACE_BOX
    assert points[:, 0].min() > left - 30 and points[:, 0].max() < right + 30
    assert points[:, 1].min() > top - 30 and points[:, 1].max() < bottom + 30
    assert float((points[1] - nose_px(astronaut.avatar)).norm()) < 6
    for call in astronaut.calls:
        if call is not found:
            assert call.photo_size_px is None and call.landmarks_px is None


class Cancelled(Exception):
    pass


def test_whatever_progress_raises_ends_the_work_and_passes_untouched(astronaut):
    for name in STAGES:
        seen: list[str] = []
        error = Cancelled(name)

        def progress(stage: Stage, name=name, seen=seen, error=error) -> None:
            seen.append(stage.name)
            if stage.name == name:
                raise error

        with pytest.raises(Cancelled) as caught:
            reconstruct(ASTRONAUT, progress)
        assert caught.value is error and seen.count(name) == 1 and seen[-1] == name


def test_an_early_head_is_shown_once_before_its_skin(astronaut):
    ((stage, early),) = [(call.name, call.avatar) for call in astronaut.calls if call.avatar is not None]
    assert stage == "refine" and early.name == "astronaut" and early.camera is not None
    skin = early.materials.skin_albedo.flatten(1)
    assert bool((skin == skin[:, :1]).all())  # one plain tone
    assert float((nose_px(early) - nose_px(astronaut.avatar)).norm()) < 5
    assert load_avatar(saved(early)).quality.summary == early.quality.summary
    assert early.quality.confidence < astronaut.avatar.quality.confidence


def test_the_head_lies_on_the_face_and_looks_where_she_looks(astronaut):
    avatar = astronaut.avatar
    left, top, right, bottom = FACE_BOX
    x, y = nose_px(avatar).tolist()
    assert left < x < right and top < y < bottom
    assert (avatar.camera.width, avatar.camera.height) == (512, 512)
    yaw, pitch, roll = (math.degrees(float(a)) for a in head_angles(avatar.camera.T_camera_head[0, :3, :3]))
    assert abs(yaw) < 25 and abs(pitch) < 20 and abs(roll) < 10
    low, high = HEAD.expression_range
    assert low <= float(avatar.expression.min()) and float(avatar.expression.max()) <= high
    smile = [HEAD.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    assert float(avatar.expression[smile].mean()) > 0.1
    assert float(avatar.shape.abs().max()) < 4
    assert avatar.head_model == HEAD.name and avatar.provenance.source == "photo"


def test_edits_of_the_latent_can_move_a_photos_head(astronaut):
    """It is a latent of somebody who looks like her, and moving it leaves her pores where they are."""
    avatar, generator = astronaut.avatar, albedo_gan()
    assert avatar.latent is not None and avatar.generator == generator.fingerprint
    small = 64
    seen = skin_mask(HEAD, small) > 0.5
    own, likely, mean = (
        functional.interpolate(m[None], size=(small, small), mode="area")[0][:, seen]
        for m in (
            avatar.materials.skin_albedo.float() / 255,
            generator.decode(avatar.latent),
            generator.decode(generator.truncate(avatar.latent, 0.0)),
        )
    )
    assert float((likely - own).abs().mean()) < 0.8 * float((mean - own).abs().mean())
    moved = move(avatar, torch.lerp(avatar.latent, generator.sample(1), 0.5))
    fine = []
    for image in (avatar.materials.skin_albedo, moved.materials.skin_albedo):
        log = log_albedo(image.float() / 255)
        fine.append((log - functional.avg_pool2d(log[None], 5, 1, 2)[0]).flatten())
    assert not torch.equal(moved.materials.skin_albedo, avatar.materials.skin_albedo)
    assert float(torch.corrcoef(torch.stack(fine))[0, 1]) > 0.9


def test_the_report_is_in_words_and_its_numbers_are_numbers(astronaut):
    report = astronaut.avatar.quality
    assert 0.5 < report.confidence <= 1
    assert report.summary.endswith(".") and len(report.summary.split()) > 4
    for finding in report.findings:
        assert finding.severity in ("info", "warning")
        assert finding.sentence[0].isupper() and finding.sentence.endswith(".") and finding.advice.endswith(".")
    assert {"landmarks_px", "landmarks_of_face", "face_px", "objective"} <= set(report.residuals)
    assert all(math.isfinite(value) for value in report.residuals.values())
    assert 0 < report.residuals["landmarks_of_face"] < pipeline.LOOSE_FIT
    assert report.residuals["landmarks_px"] == pytest.approx(
        report.residuals["landmarks_of_face"] * report.residuals["face_px"], rel=1e-5
    )


@pytest.mark.parametrize("kind", ["path", "bytes", "pillow"])
def test_the_same_photo_gives_the_same_bytes_whatever_it_comes_in(astronaut, kind: str, tmp_path: Path):
    data = encoded(ASTRONAUT, "PNG")
    (tmp_path / "astronaut.png").write_bytes(data)
    source = {
        "path": tmp_path / "astronaut.png",
        "bytes": data,
        "pillow": Image.fromarray(ASTRONAUT),
    }[kind]
    avatar = reconstruct(source, name=None if kind == "path" else "astronaut")
    assert saved(avatar) == saved(astronaut.avatar)


def test_the_face_that_was_pointed_at_is_reconstructed(astronaut):
    """A smaller mirrored copy stands beside her."""
    copy = Image.fromarray(ASTRONAUT).resize((360, 360)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    both = np.full((512, 872, 3), 128, np.uint8)
    both[:, :512], both[76:436, 512:] = ASTRONAUT, np.asarray(copy)
    largest = reconstruct(both)
    assert float((nose_px(largest) - nose_px(astronaut.avatar)).norm()) < 5
    expected = nose_px(astronaut.avatar) * (360 / 512)
    expected = torch.tensor([512 + 360.0, 76.0]) + expected * torch.tensor([-1.0, 1.0])
    pointed = reconstruct(both, face_point_px=(expected[0].item() + 20, expected[1].item() - 30))
    assert float((nose_px(pointed) - expected).norm()) < 5
    for avatar in (largest, pointed):
        said = " ".join(f.sentence for f in avatar.quality.findings)
        assert "faces" in said
    angles = [head_angles(a.camera.T_camera_head[0, :3, :3])[0] for a in (largest, pointed)]
    assert float(angles[0] + angles[1]) == pytest.approx(0, abs=math.radians(8))  # mirrored


def test_a_head_without_photometric_fit_can_still_be_saved(monkeypatch):
    """Burnt out or tiny: no skin to learn light from, so no objective; the report holds only numbers that are."""
    blind = functools.partial(fit_photos, photometric=PhotometricSettings(face_px=10))
    monkeypatch.setattr(pipeline, "fit_photos", blind)
    avatar = reconstruct(ASTRONAUT)
    assert "objective" not in avatar.quality.residuals
    assert load_avatar(saved(avatar)).quality.residuals == pytest.approx(dict(avatar.quality.residuals))


# ------------------------------------------------------------------------------------------- several photos


def turned(seed: int, yaw_deg: float) -> np.ndarray:
    return sample_photo(HEAD, seed, yaw_range_deg=(yaw_deg, yaw_deg), size=384).pixels


@pytest.fixture(scope="module")
def from_the_side() -> Made:
    calls: list[Stage] = []
    front, side = turned(61, 0.0), turned(61, 40.0)
    return Made(reconstruct(front, calls.append, name="Ada", sides=[side]), calls)


def test_a_photo_from_the_side_goes_into_the_head_and_the_report(from_the_side):
    avatar = from_the_side.avatar
    # The camera is that of the front.
    yaw = float(head_angles(avatar.camera.T_camera_head[0, :3, :3])[0])
    assert abs(math.degrees(yaw)) < 8 and avatar.name == "Ada"
    assert avatar.quality.residuals["photos"] == 2
    (finding,) = (f for f in avatar.quality.findings if f.code == "side-photo")
    assert finding.severity == "info" and "The second photo, turned by" in finding.sentence
    numbers = [int(n) for n in re.findall(r"\d+", finding.sentence)]
    assert abs(numbers[0] - 40) < 8 and numbers[1] > numbers[2] + 5  # degrees; share now and before
    # Turned to her own left, she shows the right cheek.
    assert "the right cheek" in finding.sentence and "left" not in finding.sentence
    assert numbers[1] / 100 == pytest.approx(avatar.quality.residuals["seen_of_portrait"], abs=0.006)
    assert not any(f.code in ("other-person", "barely-turned", "side-turned") for f in avatar.quality.findings)


def test_stages_say_which_photo_is_at_work(from_the_side):
    calls = from_the_side.calls
    shares = [call.fraction for call in calls]
    assert all(a <= b for a, b in pairwise(shares)) and shares[-1] < 1
    found = [call for call in calls if call.landmarks_px is not None]
    assert [call.photo_index for call in found] == [0, 1]
    assert all(call.photo_size_px == (384, 384) for call in found)
    assert not torch.equal(found[0].landmarks_px, found[1].landmarks_px)
    assert len([call for call in calls if call.avatar is not None]) == 1
    for name in ("read", "detect", "landmarks", "fit", "refine", "texture"):
        assert {call.photo_index for call in calls if call.name == name} == {0, 1}, name
    assert list(calls[-1].seconds) == STAGES[:-1]


def test_no_photo_from_the_side_changes_nothing():
    front = turned(61, 0.0)
    assert saved(reconstruct(front, name="Ada", sides=())) == saved(reconstruct(front, name="Ada"))


def test_a_photo_from_the_side_that_cannot_be_used_is_named(astronaut, tmp_path: Path):
    (tmp_path / "left.png").write_bytes(encoded(no_face(), "PNG"))
    calls: list[Stage] = []
    with pytest.raises(PhotoError, match=r"The second photo \(left.png\) cannot be used. No face was found"):
        reconstruct(ASTRONAUT, calls.append, sides=[tmp_path / "left.png", ASTRONAUT])
    assert calls[-1].photo_index == 1 and calls[-1].name == "detect"
    with pytest.raises(PhotoError, match=r"The third photo cannot be used. .*cut short or damaged"):
        reconstruct(ASTRONAUT, sides=[ASTRONAUT, encoded(ASTRONAUT, "JPEG")[:9000]])


def test_the_same_photo_once_more_is_no_photo_from_the_side(astronaut):
    avatar = reconstruct(ASTRONAUT, sides=[ASTRONAUT])
    (finding,) = (f for f in avatar.quality.findings if f.code == "barely-turned")
    assert finding.severity == "warning" and "by only 0 degrees" in finding.sentence
    before, after = (int(n) for n in re.findall(r"(\d+)%", finding.sentence))
    assert abs(before - after) < 6
    assert float((nose_px(avatar) - nose_px(astronaut.avatar)).norm()) < 5


# ------------------------------------------------------------------------------------------- bad photos


def no_face() -> np.ndarray:
    """Fur: noise in the colours of a dog."""
    rng = np.random.default_rng(3)
    fine, coarse = rng.normal(0, 30, (256, 256, 1)), np.kron(rng.normal(0, 25, (16, 16, 1)), np.ones((16, 16, 1)))
    return (np.array([150, 110, 70]) + fine + coarse).clip(0, 255).astype(np.uint8)


def drawing() -> np.ndarray:
    image = Image.new("RGB", (300, 300), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((50, 40, 250, 260), outline="black", width=4)
    for x in (105, 180):
        pen.ellipse((x, 110, x + 15, 125), fill="black")
    pen.arc((100, 150, 200, 220), 20, 160, fill="black", width=4)
    return np.asarray(image)


BAD = {
    "fur": (encoded(no_face(), "PNG"), "No face was found"),
    "drawing": (encoded(drawing(), "PNG"), "No face was found"),
    "empty": (b"", "0 bytes"),
    "text": (b"Dear diary, this is no photo.\n" * 20, "not a photo"),
    "truncated": (encoded(ASTRONAUT, "JPEG")[:9000], "cut short or damaged"),
    "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><circle r="5"/></svg>', "an SVG drawing"),
    "one pixel": (encoded(np.zeros((1, 1, 3), np.uint8), "PNG"), "1 x 1 pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photo_is_refused_in_sentences(kind: str):
    data, said = BAD[kind]
    calls: list[Stage] = []
    with pytest.raises(PhotoError, match=said) as caught:
        reconstruct(data, calls.append, name="diary.jpg")
    sentences = str(caught.value)
    assert sentences[0].isupper() or sentences.startswith("diary.jpg")
    assert sentences.endswith(".") and len(sentences.split()) > 8  # what happened, and what to do
    assert "Traceback" not in sentences and all(call.avatar is None for call in calls)


@pytest.mark.parametrize("source", [Path("nowhere/at all.jpg"), 3.5, np.zeros((4, 4, 7), np.uint8)])
def test_what_is_no_photo_at_all_is_refused(source):
    if isinstance(source, float):  # the annotation says so before the reader does
        with pytest.raises(Exception, match=r"3\.5|float"):
            reconstruct(source)  # type: ignore[arg-type]
        return
    with pytest.raises(PhotoError, match=r"There is no file|shape \(4, 4, 7\)"):
        reconstruct(source)


# ------------------------------------------------------------------------------------------- from a seed


@functools.cache
def made(seed: int, *labels: tuple[str, float], **others) -> Avatar:
    """On small maps, which is quicker and nothing else."""
    with mock.patch.object(pipeline, "SKIN_PX", 128):
        return generate(seed, dict(labels), **others)


def test_a_seed_is_a_head_byte_for_byte():
    again = made.__wrapped__(5)
    assert again is not made(5) and saved(again) == saved(made(5))


def test_different_seeds_are_different_people():
    heads = [made(seed) for seed in range(5, 9)]
    for i, one in enumerate(heads):
        for other in heads[:i]:
            assert float((one.shape - other.shape).norm()) > 3
            assert not torch.equal(one.materials.skin_albedo, other.materials.skin_albedo)
            apart = (HEAD.vertices(one.parameters()) - HEAD.vertices(other.parameters()))[0].norm(dim=1)
            assert float(apart.mean()) > 1e-3


def test_a_generated_head_is_relaxed_plausible_and_says_where_it_came_from():
    for seed in range(5, 9):
        avatar = made(seed)
        assert bool((avatar.expression == 0).all() and (avatar.joint_rotations == 0).all())
        assert float(avatar.shape.abs().max()) <= SHAPE_LIMIT + 1e-6
        assert (avatar.camera, avatar.light, avatar.name) == (None, None, f"random {seed}")
        assert (avatar.provenance.source, avatar.provenance.seed) == ("generated", seed)
        assert (avatar.provenance.labels, avatar.provenance.truncation) == ({}, TRUNCATION)
        assert f"seed {seed}" in avatar.quality.summary and avatar.quality.findings == ()
    assert made(5, name="Ada").name == "Ada"


def test_the_latent_that_is_kept_is_the_heads():
    avatar, model = made(5), albedo_gan()
    assert avatar.latent is not None and avatar.generator == model.fingerprint
    # The head has its person's shape; the generator, which edits ask, reads the same person from the latent.
    read = model.shape(avatar.latent)
    assert float((avatar.shape - read).norm()) < 0.5 * float(avatar.shape.norm())
    assert all(float((made(seed).shape - read).norm()) > float((avatar.shape - read).norm()) for seed in range(6, 9))
    small = torch.nn.functional.adaptive_avg_pool2d
    far, generated = (small(m, 16) for m in (avatar.materials.skin_albedo / 255, model.decode(avatar.latent)))
    assert float((far - generated).abs().mean()) < 0.02
    again = load_avatar(saved(avatar))
    assert again.latent is not None and torch.equal(again.latent, avatar.latent)


def test_what_is_asked_of_a_person_shows():
    """The bundled generator has learnt it: tone and age reach the map and the shape, and only traits are asked for."""
    fair, dark = (made(5, ("skin_tone", x)) for x in (0.05, 0.95))
    light, shade = (float(luminance(srgb_to_linear(a.materials.skin_albedo / 255)).median()) for a in (fair, dark))
    assert light > 2 * shade
    assert dark.provenance.labels == {"melanin": 0.95}
    thin, heavy = (made(5, ("weight", x)) for x in (0.0, 1.0))
    wide = HEAD.region("cheeks") > 0.5
    width = [float(HEAD.vertices(a.parameters())[0, wide, 0].abs().max()) for a in (thin, heavy)]
    assert width[1] > width[0] + 1e-3
    near, far = (made(5, truncation=x).shape.norm() for x in (0.1, 1.0))
    assert float(near) < 0.7 * float(far)


def test_thumbnails_show_the_heads_that_generate_makes():
    wishes = [Wish(5), Wish(6), Wish(5, {"melanin": 0.95})]
    pictures = thumbnails(wishes, 64)
    assert all(p.shape == (3, 64, 64) and p.dtype == torch.uint8 for p in pictures)
    assert torch.equal(pictures[0], thumbnails(wishes[:1], 64)[0])
    middle = [p[:, 20:44, 24:40].float().mean() for p in pictures]
    assert not torch.equal(pictures[0], pictures[1]) and middle[2] < 0.8 * middle[0]
    with pytest.raises(LikenessError, match="seed -1"):
        thumbnails([Wish(-1)])


def test_a_reshaped_head_is_the_same_person_with_another_shape(astronaut):
    amounts = {HEAD.attribute_names[0]: 1.5, "nose_width": -3.0}
    move = sum(amount * HEAD.attribute_directions[HEAD.attribute_names.index(n)] for n, amount in amounts.items())
    for start in (astronaut.avatar, made(5)):
        after = reshape(start, amounts)
        assert torch.allclose(after.shape - start.shape, torch.as_tensor(move), atol=1e-5)
        assert after.provenance == replace(start.provenance, attributes=amounts)
        for name in set(vars(start)) - {"shape", "provenance"}:
            assert getattr(after, name) is getattr(start, name), name
        # Amounts count up, and back.
        again = reshape(after, {"nose_width": 1.0})
        assert again.provenance.attributes == amounts | {"nose_width": -2.0}
        back = reshape(after, {name: -amount for name, amount in amounts.items()})
        assert torch.allclose(back.shape, start.shape, atol=1e-5) and back.provenance.attributes == {}
        assert load_avatar(saved(again)).provenance.attributes == dict(again.provenance.attributes)


def test_only_a_head_of_the_model_in_use_is_reshaped():
    with pytest.raises(FileError, match="another model"):
        reshape(replace(made(5), head_model="another model"), {"age": 1.0})
    short = replace(made(5), shape=made(5).shape[:10])  # the rest are zero
    assert torch.allclose(reshape(short, {"age": 1.0}).shape[10:], reshape(short, {"age": 2.0}).shape[10:] / 2)


def test_a_wider_nose_is_wider():
    nose = HEAD.region("nose") > 0.5

    def width(amount: float) -> float:
        x = HEAD.vertices(reshape(made(5), {"nose_width": amount}).parameters())[0, nose, 0]
        return float(x.max() - x.min())

    assert width(-2.0) < width(0.0) - 1e-3 < width(2.0) - 2e-3


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, 3.01, -400.0])
def test_an_amount_out_of_range_is_refused_with_the_range(amount: float):
    with pytest.raises(LikenessError, match=r"attribute age is .* use a number from -3 to 3") as caught:
        reshape(made(5), {"age": amount})
    assert str(amount) in str(caught.value)


def test_an_unknown_attribute_is_refused_with_the_choices():
    with pytest.raises(LikenessError, match="no attribute 'beard'") as caught:
        reshape(made(5), {"age": 1.0, "beard": 0.5})
    assert all(name in str(caught.value) for name in HEAD.attribute_names)


def test_a_label_that_cannot_be_is_refused():
    with pytest.raises(LikenessError, match="no trait or label 'mood'"):
        generate(1, {"mood": 1.0})
    with pytest.raises(LikenessError, match=r"truncation is 1\.5"):
        generate(1, truncation=1.5)


@pytest.mark.parametrize("seed", [-1, 1 << 63])
def test_a_seed_out_of_range_is_refused(seed: int):
    with pytest.raises(LikenessError, match=f"seed {seed} cannot be used"):
        generate(seed)


def test_the_largest_seed_works():
    assert bool(torch.isfinite(made((1 << 63) - 1).shape).all())


@pytest.mark.parametrize("seed", range(5, 9))
def test_a_generated_head_looks_like_skin(seed: int):
    """Light or dark, from the front: redder than green, greener than blue, and not one flat colour."""
    avatar = made(seed)
    target = torch.tensor([0.0, -0.03, 0.06])
    camera = look_at_head(torch.zeros(1), torch.zeros(1), 1.0, target, 128 / 0.3, 128, 128)
    background = (0.0, 1.0, 0.0)
    picture = render_head(HEAD, HEAD.vertices(avatar.parameters()), avatar.materials, camera, background=background)[0]
    assert float(picture[1, 0, 0]) == pytest.approx(1.0, abs=1e-5)  # background where the head is not
    face = picture[:, 40:96, 46:82].flatten(1)
    red, green, blue = face.mean(1).tolist()
    assert red > green + 0.02 > blue + 0.02
    assert 0.1 < red < 0.98
    assert float(face.std(1).mean()) > 0.02


def test_saving_without_seconds_keeps_everything_else():
    avatar = made(5)
    again = load_avatar(saved(avatar))
    assert torch.equal(again.shape, avatar.shape) and again.provenance == avatar.provenance
    assert saved(replace(avatar, provenance=replace(avatar.provenance, seconds={}))) == saved(avatar)
