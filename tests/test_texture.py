"""Texture from photos of heads that are known: what is seen comes back, what is not is completed without seams."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core import texture
from core.albedo.model import bytes_to_map, check_map, log_albedo, srgb_from_log
from core.atlas import atlas_lookup, interpolate, positions
from core.camera import Camera, look_at_head
from core.color import linear_to_srgb, srgb_to_linear
from core.head import PARTS, HeadModel, load_head
from core.landmarks import Landmarks
from core.lighting import constant_light, shading
from core.materials import Materials
from core.mesh import vertex_normals
from core.photo import Photo
from core.render import render, render_head
from core.shading import Light, irradiance_basis
from core.synthesis.painting import SkinLook, paint_materials
from core.texture import (
    LEFT_EYE,
    RIGHT_EYE,
    TextureResult,
    View,
    build_materials,
    complete,
    delight,
    iris_color,
    mirrored,
    sclera_light,
    unwrap,
)

SIZE = 256
TARGET = torch.tensor([0.0, -0.03, -0.05])


def camera_at(yaw_deg: float, pitch_deg: float = 0.0, side: int = 640) -> Camera:
    yaw, pitch = (torch.tensor([math.radians(v)]) for v in (yaw_deg, pitch_deg))
    return look_at_head(yaw, pitch, 0.8, TARGET, 1.9 * side, side, side)


def photo_of(srgb: Float[Tensor, "3 H W"]) -> Photo:
    pixels = (srgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return Photo(pixels, None, "synthetic", ())


def random_texture(seed: int, size: int = SIZE) -> Float[Tensor, "3 U U"]:
    """Smooth coloured noise, linear 0.1..0.8: it shows a shift of a texel and can be sampled twice."""
    noise = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic").clamp(0, 1)[0] * 0.7 + 0.1


def exact_landmarks(head: HeadModel, vertices: Tensor, camera: Camera) -> Landmarks:
    """What a perfect detector would see."""
    projected = camera.project(head.landmark_points("mediapipe", vertices)[None])[0]
    depth = projected[:, 2] - projected[:, 2].mean()
    return Landmarks(projected[:, :2], depth * camera.focal_px / projected[:, 2].mean(), 1.0, 0.0, torch.zeros(4, 2))


@functools.cache
def head() -> HeadModel:
    model = load_head()
    assert "mediapipe" in model.landmarks
    return model


# --- unwrap -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (35, 10), (-50, -8), (12, 22)])
def test_unwrapping_a_rendered_texture_gives_the_texture(yaw: float, pitch: float) -> None:
    model, camera = head(), camera_at(yaw, pitch)
    shape = 0.7 * torch.randn(1, model.shape_count, generator=torch.Generator().manual_seed(int(yaw) + 100))
    neutral = model.neutral()
    vertices = model.rest_vertices(shape, neutral.expression)[0]
    texture = random_texture(3)
    solid = model.face_part != PARTS.index("lashes")  # cards that are mostly air
    skin = (model.face_part[solid] == PARTS.index("skin")).long()
    black = torch.zeros(1, 3, 4, 4)
    picture = render(
        vertices[None],
        model.faces[solid],
        camera,
        None,
        model.uv,
        model.uv_faces[solid],
        [black, texture[None]],
        skin,
        smooth_edges=False,
    )
    seen = unwrap(photo_of(linear_to_srgb(picture.color_linear[0])), model, vertices, camera, size=SIZE)
    sure = seen.weight > 0.99
    assert float(sure.float().mean()) > 0.12, "much of the face must be seen well"
    error = (seen.color_linear - texture).abs()[:, sure]
    assert float(error.mean()) < 0.006
    assert float(error.quantile(0.99)) < 0.04
    partly = seen.weight > 0.2
    assert float((seen.color_linear - texture).abs()[:, partly].mean()) < 0.01, "no background on what is partly seen"


def test_hidden_and_averted_texels_have_no_weight() -> None:
    model = head()
    for yaw in (0.0, 60.0):
        camera = camera_at(yaw)
        seen = unwrap(photo_of(torch.rand(3, 640, 640)), model, model.template, camera, size=SIZE)
        place = positions(model, model.template, SIZE)
        normals = interpolate(model, vertex_normals(model.template, model.faces), SIZE)
        away = (normals * (camera.centre - place)).sum(-1) < -1e-4
        assert float(seen.weight[away].max()) == 0.0
        assert float(seen.weight[~atlas_lookup(model, SIZE).inside].max()) == 0.0
    # At 60 degrees the bridge of the nose hides the inner corner of the far eye, which faces the camera.
    corner = model.landmark_points("mediapipe", model.template)[133]
    near = (place - corner).norm(dim=-1) < 0.004
    assert float(seen.weight[near].mean()) < 0.35


def test_nothing_is_taken_from_outside_the_person_or_the_photo() -> None:
    model, camera = head(), camera_at(0)
    photo = photo_of(torch.rand(3, 640, 640))
    mask = torch.ones(640, 640)
    mask[:, 320:] = 0
    place = positions(model, model.template, SIZE)
    seen = unwrap(photo, model, model.template, camera, mask, size=SIZE)
    x = camera.project(place.reshape(1, -1, 3))[0, :, 0].reshape(SIZE, SIZE)
    assert float(seen.weight[x > 322].max()) == 0.0
    assert float(seen.weight[x < 315].max()) == 1.0
    cut = camera.crop_and_resize(320.0, 0.0, 1.0, 640, 320)
    half = Photo(np.ascontiguousarray(photo.pixels[:, 320:]), None, "half", ())
    seen = unwrap(half, model, model.template, cut, size=SIZE)
    assert float(seen.weight[x < 320].max()) == 0.0
    assert float(seen.weight[x > 330].max()) == 1.0


def test_a_camera_of_another_photo_is_refused() -> None:
    with pytest.raises(ValueError, match="640 x 640, not 100 x 100"):
        unwrap(photo_of(torch.rand(3, 100, 100)), head(), head().template, camera_at(0.0), size=SIZE)


def test_eyeballs_and_teeth_are_not_painted_on_lids_and_lips() -> None:
    """The real mouth and eyes open wider than the fitted ones: what shows between them is marked with pure blue."""
    model, camera = head(), camera_at(0)
    landmarks = exact_landmarks(model, model.template, camera)
    points = landmarks.points_px.clone()
    import cv2

    canvas = np.full((640, 640, 3), 128, np.uint8)
    for loop in (RIGHT_EYE, LEFT_EYE):
        centre = points[list(loop)].mean(0)
        points[list(loop)] = centre + (points[list(loop)] - centre) * torch.tensor([1.0, 2.2])
        cv2.fillPoly(canvas, [np.rint(points[list(loop)].numpy() * 16 - 8).astype(np.int32)], (0, 0, 255), shift=4)
    image = torch.from_numpy(canvas).permute(2, 0, 1).float() / 255
    wider = Landmarks(points, landmarks.depth_px, 1.0, 0.0, landmarks.crop_px)
    seen = unwrap(photo_of(image), model, model.template, camera, size=512, landmarks=wider)
    blue = seen.color_linear[2] - seen.color_linear[0]
    assert int((blue > 0.3).sum()) > 300
    assert float((blue * seen.weight).sum() / (blue > 0.3).sum()) < 0.05


# --- complete -----------------------------------------------------------------------------------------------------


def half_weight(size: int = SIZE) -> Float[Tensor, "U U"]:
    """1 left of the middle, 0 from three quarters on."""
    return (torch.linspace(3, -1, size).clamp(0, 1)).expand(size, size).contiguous()


def test_completion_changes_no_fully_visible_texel() -> None:
    known, guide = random_texture(0), random_texture(1)
    weight = half_weight()
    trust = torch.rand(SIZE, SIZE)
    done = complete(known, weight, guide, trust)
    assert torch.equal(done[:, weight >= 1], known[:, weight >= 1])
    assert bool((done > 0).all())


def test_a_guide_that_differs_by_a_tint_completes_exactly() -> None:
    guide = random_texture(2)
    known = guide * torch.tensor([0.6, 1.1, 0.8])[:, None, None]
    done = complete(known, half_weight(), guide)
    torch.testing.assert_close(done, known, rtol=2e-3, atol=1e-4)


def test_completion_leaves_no_edge() -> None:
    """Known and guide differ by a smooth field; across the border the result is no steeper than both are."""
    axis = torch.linspace(0, 1, SIZE)
    field = torch.exp(0.5 * torch.sin(3 * axis)[:, None] * torch.cos(2 * axis)[None])
    guide = torch.full((3, SIZE, SIZE), 0.3)
    known = guide * field
    weight = (torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    weight = torch.nn.functional.interpolate(weight[None, None], size=(SIZE, SIZE), mode="nearest")[0, 0]
    done = complete(known, weight, guide).log()
    step = max(float(done.diff(dim=1).abs().max()), float(done.diff(dim=2).abs().max()))
    bare = torch.where(weight > 0, known, guide).log()
    assert step < 0.3 * float(bare.diff(dim=2).abs().max())


def test_nothing_known_gives_the_guide() -> None:
    guide = random_texture(4)
    assert torch.equal(complete(random_texture(5), torch.zeros(SIZE, SIZE), guide), guide)


def test_completion_from_the_other_side_is_symmetric() -> None:
    """One half seen, under a symmetric mean skin: the result is the seen half and its mirror image."""
    known = random_texture(6)
    known = torch.where(torch.arange(SIZE) < SIZE // 2, known, torch.rand(3, SIZE, SIZE))
    weight = (torch.arange(SIZE) < SIZE // 2).float().expand(SIZE, SIZE).contiguous()
    guide = torch.full((3, SIZE, SIZE), 0.3)
    other = complete(mirrored(known), mirrored(weight), guide)
    done = complete(known, weight, other)
    difference = (done - mirrored(done)).abs() / done
    assert float(difference.mean()) < 0.03
    assert float(difference[:, :, : SIZE // 4].max()) < 0.12


# --- the whole way ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A head whose skin and light are known, and its photo."""

    photo: Photo
    camera: Camera
    landmarks: Landmarks
    materials: Materials
    light: Light
    mask: Tensor
    alpha: Tensor

    @property
    def view(self) -> View:
        return View(self.photo, head().template, self.camera, self.landmarks, self.mask)


def room(direction: tuple[float, float, float], strength: float, level: float = 0.95) -> Light:
    sh = constant_light(torch.full((3,), level))
    towards = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    sh[1:4] += (towards[[1, 2, 0]] * strength * float(sh[0, 0]))[:, None]
    return Light((sh * torch.tensor([1.04, 1.0, 0.94]))[None], torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))


@functools.cache
def scene(light_index: int = 0, yaw: float = 0.0, melanin: float = 0.25) -> Scene:
    return scene_of(
        paint_materials(head(), SkinLook(melanin=melanin, scalp_hair=0.0, seed=1), "blue", 512), light_index, yaw
    )


def scene_of(materials: Materials, light_index: int, yaw: float) -> Scene:
    model, camera = head(), camera_at(yaw)
    light = [room((0.3, 0.4, 1.0), 0.45), room((-1.0, 0.1, 0.6), 0.60), room((1.0, 0.3, 0.5), 0.60)][light_index]
    picture = render_head(
        model, model.template[None], materials, camera, light, supersample=1, background=(0.5, 0.6, 0.7), shadows=False
    )[0]
    clay = render_head(
        model, model.template[None], None, camera, style="clay", supersample=1, background=(0.0, 0.0, 1.0)
    )[0]
    person = ((clay[2] - clay[0]) < 0.5).float()
    return Scene(
        photo_of(picture), camera, exact_landmarks(model, model.template, camera), materials, light, person, person
    )


@functools.cache
def result(light_index: int = 0, yaw: float = 0.0, melanin: float = 0.25) -> TextureResult:
    s = scene(light_index, yaw, melanin)
    return build_materials(head(), [s.view], 512)


def linear(image: Tensor) -> Tensor:
    return srgb_to_linear(image.float() / 255)


def test_the_light_of_a_rendered_head_is_found() -> None:
    model = head()
    normals = torch.nn.functional.normalize(interpolate(model, vertex_normals(model.template, model.faces), 512), dim=2)
    for index in range(3):
        sure = result(index).weight > 0.9
        truth = irradiance_basis(normals[sure]) @ scene(index).light.sh[0]
        found = shading(normals[sure], result(index).light_sh)
        # Absolute exposure is a matter of priors; the light's shape is not.
        ratio = (found / truth).mean(1)
        assert float((ratio / ratio.median() - 1).abs().mean()) < 0.05
        assert 0.7 < float(ratio.median()) < 1.4


def test_albedo_under_two_lights_agrees_far_better_than_the_lit_maps() -> None:
    left, right = result(1), result(2)
    sure = (left.weight > 0.9) & (right.weight > 0.9)
    assert float(sure.float().mean()) > 0.1

    def disagreement(a: Tensor, b: Tensor) -> float:
        ratio = (linear(a).clamp_min(1e-3) / linear(b).clamp_min(1e-3)).log()[:, sure]
        return float(ratio.abs().mean())

    assert left.materials.skin_photo is not None and right.materials.skin_photo is not None
    lit = disagreement(left.materials.skin_photo, right.materials.skin_photo)
    albedo = disagreement(left.materials.skin_albedo, right.materials.skin_albedo)
    assert albedo < lit / 3, (albedo, lit)


def test_albedo_is_the_painted_one_up_to_exposure() -> None:
    r = result(1)
    sure = r.weight > 0.9
    ratio = (
        linear(r.materials.skin_albedo).clamp_min(1e-3) / linear(scene(1).materials.skin_albedo).clamp_min(1e-3)
    ).log()[:, sure]
    assert float(ratio.mean().abs()) < 0.3
    assert float((ratio - ratio.mean()).abs().mean()) < 0.09


def test_the_lit_map_keeps_the_photos_own_colours() -> None:
    s, r = scene(1), result(1)
    seen = unwrap(s.photo, head(), head().template, s.camera, s.mask, 512, s.landmarks)
    sure = r.weight >= 0.999
    assert r.materials.skin_photo is not None
    assert float((linear(r.materials.skin_photo) - seen.color_linear).abs()[:, sure].max()) < 0.01


def test_darker_people_get_more_melanin_and_darker_maps() -> None:
    light, dark = result(0, melanin=0.1), result(0, melanin=0.7)
    assert light.melanin + 0.2 < dark.melanin
    face = (light.weight > 0.9) & (dark.weight > 0.9)
    assert float(linear(light.materials.skin_albedo)[:, face].mean()) > 1.8 * float(
        linear(dark.materials.skin_albedo)[:, face].mean()
    )


@pytest.mark.parametrize("yaw", [0.0, 40.0])
def test_the_map_has_no_seam_at_the_back(yaw: float) -> None:
    """Vertices that have two places on the map, one on either border, have one colour."""
    model = head()
    albedo = linear(result(0, yaw).materials.skin_albedo)
    rows = model.part_faces("skin")
    pairs = torch.unique(torch.stack([model.faces[rows].flatten(), model.uv_faces[rows].flatten()], 1), dim=0)
    double = torch.nonzero(pairs[1:, 0] == pairs[:-1, 0]).squeeze(1)
    assert len(double) >= 15
    texel = [
        (model.uv[pairs[i, 1]] * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])) * 512
        for i in (double, double + 1)
    ]
    left, right = (albedo[:, t[:, 1].long().clamp(0, 511), t[:, 0].long().clamp(0, 511)] for t in texel)
    assert float((left / right).log().abs().mean()) < 0.06


def test_plain_skin_is_not_taken_for_anything_else() -> None:
    assert result(0).covered_fraction < 0.06
    assert result(0).hair_srgb is None
    assert result(0).seen_fraction > 0.55


def with_marks(
    s: Scene, shapes: list[tuple[str, list[tuple[float, float]], int]], color: tuple[int, int, int]
) -> Photo:
    """Polygons and lines on a photo, given in landmark-free head coordinates (x, y metres on the face's front)."""
    import cv2

    pixels = s.photo.pixels.copy()
    for kind, points, width in shapes:
        place = torch.tensor([[x, y, 0.03] for x, y in points])
        xy = np.rint(s.camera.project(place[None])[0, :, :2].numpy()).astype(np.int32)
        if kind == "fill":
            cv2.fillPoly(pixels, [xy], color)
        else:
            cv2.polylines(pixels, [xy], kind == "loop", color, width)
    return Photo(pixels, None, "marked", ())


def test_hair_over_the_forehead_is_left_out() -> None:
    s = scene(0)
    fringe = [(-0.05, 0.12), (0.05, 0.12), (0.03, 0.045), (0.0, 0.052), (-0.03, 0.045)]
    marked = with_marks(s, [("fill", fringe, 0)], (45, 30, 22))
    r = build_materials(head(), [replace(s.view, photo=marked)], 512)
    seen = unwrap(marked, head(), head().template, s.camera, s.mask, 512)
    place = positions(head(), head().template, 512)
    forehead = (place[..., 1] > 0.046) & (place[..., 1] < 0.06) & (place[..., 0].abs() < 0.025) & (place[..., 2] > 0)
    hidden = forehead & (seen.color_linear.mean(0) < 0.03) & (seen.weight > 0.5)
    assert int(hidden.sum()) > 200
    assert float(r.weight[hidden].mean()) < 0.05
    # Filled with skin, as bright as the rest of the forehead.
    cheeks = (place[..., 1] < -0.02) & (place[..., 1] > -0.04) & (place[..., 0].abs() > 0.03) & (r.weight > 0.9)
    albedo = linear(r.materials.skin_albedo).mean(0)
    assert 0.6 < float(albedo[hidden].median() / albedo[cheeks].median()) < 1.6


def test_glasses_frames_are_left_out() -> None:
    s = scene(0)

    def rim(centre: float) -> list[tuple[float, float]]:
        return [
            (centre + 0.027 * math.cos(t), -0.003 + 0.021 * math.sin(t))
            for t in torch.linspace(0, 2 * math.pi, 40).tolist()
        ]

    shapes = [("loop", rim(0.033), 6), ("loop", rim(-0.033), 6), ("line", [(-0.006, 0.0), (0.006, 0.0)], 6)]
    shapes += [("line", [(sign * 0.060, 0.0), (sign * 0.085, 0.0)], 6) for sign in (-1, 1)]
    marked = with_marks(s, shapes, (15, 15, 18))
    r = build_materials(head(), [replace(s.view, photo=marked)], 512)
    plain = unwrap(s.photo, head(), head().template, s.camera, s.mask, 512)
    seen = unwrap(marked, head(), head().template, s.camera, s.mask, 512)
    frame = (seen.color_linear.mean(0) < 0.02) & (plain.color_linear.mean(0) > 0.12) & (seen.weight > 0.6)
    below = frame & (positions(head(), head().template, 512)[..., 1] < -0.012)
    assert int(below.sum()) > 100
    assert float(r.weight[below].mean()) < 0.15


def test_iris_colours_are_told_apart() -> None:
    s = scene(0)
    blue = iris_color(s.photo, s.landmarks, torch.ones(3))
    assert blue is not None and blue[2] > blue[0]
    r, g, b = s.photo.pixels.transpose(2, 0, 1)
    brown = iris_color(Photo(np.stack([b, g, r], 2), None, "swapped", ()), s.landmarks, torch.ones(3))
    assert brown is not None and brown[0] > brown[2]


def test_eyes_too_small_to_see_give_no_colour() -> None:
    s = scene(0)
    tiny = Landmarks(s.landmarks.points_px * 0.05, s.landmarks.depth_px, 1.0, 0.0, s.landmarks.crop_px)
    assert iris_color(s.photo, tiny, torch.ones(3)) is None
    assert sclera_light(s.photo, tiny) is None


def test_dividing_out_the_light_inverts_shading() -> None:
    albedo, light = random_texture(8), random_texture(9)
    torch.testing.assert_close(delight(albedo * light, light), albedo)


@functools.cache
def from_sides(count: int) -> TextureResult:
    """The front, the left and the right, each under a light of its own."""
    return build_materials(head(), [scene(0).view, scene(1, 45.0).view, scene(2, -45.0).view][:count], 512)


def deviation(r: TextureResult) -> tuple[np.ndarray, np.ndarray]:
    """Log of the map over the painted skin ``[3, U, U]`` relative to the middle of the face, and where skin counts."""
    regions = texture._regions(head(), 512)
    features = [regions.brows, regions.eyes, regions.lips, regions.nostrils, regions.scalp, regions.sockets]
    plain = np.maximum.reduce(features) < 0.05
    truth = linear(scene(0).materials.skin_albedo)
    error = (linear(r.materials.skin_albedo).clamp_min(1e-3) / truth.clamp_min(1e-3)).log().numpy()
    error = error - np.median(error[:, (regions.centre > 0.9) & plain], axis=1)[:, None, None]
    return error, plain & (regions.portrait > 0.9) & (regions.ears < 0.1)


def test_each_side_adds_the_skin_that_it_alone_shows() -> None:
    front, left, both = from_sides(3).seen
    assert left.portrait > front.portrait + 0.08 and both.portrait > left.portrait + 0.08
    # A camera at 45 degrees shows the person's left, one at -45 the right.
    assert left.left_ear > front.left_ear + 0.3 and left.left_side > front.left_side + 0.3
    assert abs(left.right_ear - front.right_ear) < 0.05 and abs(left.right_side - front.right_side) < 0.05
    assert both.right_ear > left.right_ear + 0.3 and both.right_side > left.right_side + 0.3
    assert from_sides(1).seen == (front,) and from_sides(3).seen_fraction > from_sides(1).seen_fraction + 0.05


def test_the_skin_of_the_sides_is_truer_with_photos_of_them() -> None:
    regions = texture._regions(head(), 512)
    alone, counted = deviation(from_sides(1))
    together, _ = deviation(from_sides(3))
    for half in (regions.own_left > 0, regions.own_left == 0):
        where = counted & half & (regions.centre < 0.05)
        assert np.abs(together[:, where]).mean() < 0.85 * np.abs(alone[:, where]).mean()
    middle = counted & (regions.centre > 0.9)
    assert np.abs(together[:, middle] - alone[:, middle]).mean() < 0.02  # the front's own


def test_photos_meet_without_a_seam() -> None:
    """Over 4 mm of even skin the colour does not step, though three lights and three photos meet there."""
    reach = round(4 * texture._regions(head(), 512).texels_per_mm)
    error, counted = deviation(from_sides(3))
    counted &= from_sides(3).weight.numpy() > 0.9  # what no photo shows, such as the nostrils' inside, is imagined
    smooth = np.stack([texture._blur(channel, 2.0) for channel in error])
    across = np.abs(smooth[:, :, reach:] - smooth[:, :, :-reach]).max(0)[counted[:, reach:] & counted[:, :-reach]]
    down = np.abs(smooth[:, reach:] - smooth[:, :-reach]).max(0)[counted[reach:] & counted[:-reach]]
    assert float(counted.mean()) > 0.2
    assert max(float(np.quantile(across, 0.995)), float(np.quantile(down, 0.995))) < 0.12


class Oracle:
    """An albedo model that knows the person."""

    name, size = "oracle", 256

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth
        self.asked: list[tuple[Tensor, Tensor]] = []

    def sample(self, seed: int, truncation: float = 1.0) -> Tensor:
        raise AssertionError("nobody is drawn at random")

    def fit(self, albedo: Tensor, mask: Tensor) -> Tensor:
        check_map(albedo, mask, self.size)
        self.asked.append((albedo, mask))
        return torch.zeros(1)

    def decode(self, latent: Tensor) -> Tensor:
        return self.truth


def test_what_neither_side_shows_is_what_the_model_imagines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-profile: with a model that knows the person, ears, neck and scalp are the person's own, fine detail apart;
    and what the model is asked is what the photo shows."""
    truth = bytes_to_map(scene(0).materials.skin_albedo)
    own = srgb_from_log(log_albedo(truth) + 0.2 * torch.sin(positions(head(), head().template, 512)[..., 1] * 90))
    materials = replace(scene(0).materials, skin_albedo=(own * 255).round().to(torch.uint8))
    view = scene_of(materials, 0, 45.0).view
    oracle = Oracle(functional.avg_pool2d(own, 2))
    monkeypatch.setattr(texture, "coarse_to_fine", lambda: oracle)
    made = build_materials(head(), [view], 512)
    ((asked, mask),) = oracle.asked
    seen = mask > 0.95
    assert 0.1 < float(seen.float().mean()) < 0.5
    pairs = [log_albedo(m)[:, seen] for m in (asked, oracle.truth)]
    difference = pairs[0] - pairs[1]
    assert float((difference - difference.median(1).values[:, None]).abs().mean()) < 0.08

    regions = texture._regions(head(), 512)
    hidden = torch.from_numpy(regions.inside * (1 - regions.sockets) * (1 - regions.scalp)) > 0.9
    hidden &= (made.weight < 0.01) & (mirrored(made.weight) < 0.01)  # not even on the other side
    assert float(hidden.float().mean()) > 0.1
    error = linear(made.materials.skin_albedo).clamp_min(1e-3).log() - srgb_to_linear(own).clamp_min(1e-3).log()
    error = error[:, hidden]
    assert float((error - error.median(1).values[:, None]).abs().mean()) < 0.06  # of waves whose mean size is 0.13


def test_the_order_of_the_sides_hardly_matters() -> None:
    views = [scene(0).view, scene(2, -45.0).view, scene(1, 45.0).view]
    other = build_materials(head(), views, 512).materials.skin_albedo.float()
    assert float((other - from_sides(3).materials.skin_albedo.float()).abs().mean()) < 1.5


def test_the_same_photo_gives_the_same_bytes() -> None:
    s = scene(0)
    again = build_materials(head(), [s.view], 512)
    for name, image in vars(result(0).materials).items():
        other = getattr(again.materials, name)
        assert (image is None and other is None) or torch.equal(image, other), name


def test_a_photo_that_shows_no_face_at_all_gives_the_mean_skin() -> None:
    """The camera looks at the back of the head: nothing is known, nothing fails."""
    camera = camera_at(180)
    r = build_materials(head(), [View(photo_of(torch.rand(3, 640, 640)), head().template, camera)], 256)
    assert r.seen_fraction < 0.02
    assert r.iris_linear is None


# ------------------------------------------------------------------------------------------- the border of what is seen


def half_seen(size: int) -> torch.Tensor:
    """All of the map but the left third."""
    kept = torch.ones(size, size)
    kept[:, : size // 3] = 0
    return kept


def test_a_dark_rim_along_the_border_goes_and_the_skin_inside_stays():
    size = 256
    regions = texture._regions(head(), size)
    kept, guide = half_seen(size), torch.full((3, size, size), 0.3)
    known = guide * 1.2
    first = size // 3
    rim = slice(first, first + round(5 * regions.texels_per_mm))
    known[:, :, rim] *= 0.6  # a shade of five millimetres
    calm, left = texture._calmed(known, kept, kept, guide, np.zeros((size, size), np.float32), regions)
    free = np.maximum.reduce([regions.centre, regions.brows, regions.eyes, regions.lips]) > 0
    plain = torch.from_numpy(~free) & (kept > 0)
    ratio = (calm / guide).mean(0)
    inside = plain.clone()
    inside[:, : first + round(32 * regions.texels_per_mm)] = False
    torch.testing.assert_close(ratio[inside], torch.full_like(ratio[inside], 1.2), atol=0.01, rtol=0)
    edge = plain.clone()
    edge[:, : rim.start + 1], edge[:, rim.stop - 1 :] = False, False
    shaded = left[edge] * (ratio[edge] < 1.05)
    assert float(shaded.mean()) < 0.2  # nearly nothing dark is kept; before, all was
    assert float((known / guide).mean(0)[edge].max()) < 0.75


def test_hair_over_one_brow_is_no_brow():
    regions = texture._regions(head(), 256)
    weight, residual = np.ones((256, 256), np.float32), np.zeros((256, 256, 3), np.float32)
    residual -= 0.3 * regions.brows[..., None]
    assert texture._covered_brow(residual, weight, regions).max() == 0  # two thin brows
    residual -= 1.5 * (regions.brows * regions.own_left)[..., None]
    covered = texture._covered_brow(residual, weight, regions)
    assert covered[(regions.brows * regions.own_left) > 0.9].min() > 0.9
    assert covered[regions.own_left == 0].max() == 0
