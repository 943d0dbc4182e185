"""The painted skin: tone, features in their places, no seam, same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.atlas import atlas_lookup, positions
from core.color import individual_typology_angle_deg, luminance, srgb_to_linear
from core.head import HeadModel, load_head
from core.synthesis.painting import SkinLook, paint_materials, paint_roughness, paint_skin, random_look, skin_tone
from tests.tiny_head import tiny_head

SIZE = 256
PLAIN = SkinLook(variation=0.0, mottling=0.0, pores=0.0, scalp_hair=0.0, brow_density=0.0)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def linear(image: torch.Tensor) -> torch.Tensor:
    return srgb_to_linear(image.float() / 255)


def test_typology_angle_spans_human_skin():
    melanin = torch.linspace(0, 1, 21)
    angles = torch.stack([individual_typology_angle_deg(skin_tone(float(m), 0.45)) for m in melanin])
    assert (angles.diff() < 0).all(), "more melanin is darker"
    assert angles[0] > 55 and angles[-1] < -50


@pytest.mark.parametrize("melanin", [0.0, 0.5, 1.0])
def test_blood_reddens(melanin: float):
    pale, flushed = skin_tone(melanin, 0.0), skin_tone(melanin, 1.0)
    assert (flushed < pale).all(), "a pigment only takes light away"
    assert flushed[0] / flushed[1] > 1.1 * pale[0] / pale[1]


@pytest.mark.parametrize("melanin", [0.05, 0.5, 0.95])
def test_cheeks_have_the_tone_that_was_asked_for(head: HeadModel, melanin: float):
    albedo = linear(paint_skin(head, replace(PLAIN, melanin=melanin), SIZE))
    place = positions(head, head.template, SIZE)
    face = (place[..., 2] > 0) & (place[..., 1] > -0.09) & (place[..., 1] < 0.04)
    median = albedo[:, face].median(dim=1).values
    tone = skin_tone(melanin, PLAIN.haemoglobin)
    assert torch.allclose(median.log(), tone.log(), atol=0.15)


def test_same_look_same_bytes_and_other_seed_other_hairs(head: HeadModel):
    look = random_look(4)
    assert torch.equal(paint_skin(head, look, SIZE), paint_skin(head, look, SIZE))
    assert not torch.equal(paint_skin(head, look, SIZE), paint_skin(head, replace(look, seed=5), SIZE))


def test_without_hairs_and_noise_the_map_is_symmetric(head: HeadModel):
    painted = paint_skin(head, PLAIN, SIZE).int()
    assert (painted - painted.flip(2)).abs().max() <= 2


def test_no_seam_at_the_back_of_the_head(head: HeadModel):
    """Points on the cut lie at two places of the map, left and right; both must have the same colour.

    Without cut hair and pores, which are finer than the texels there.
    """
    painted = paint_skin(head, SkinLook(pores=0.0, scalp_hair=0.0, mottling=1.0), 512).float()
    skin = head.part_faces("skin")
    uv = torch.full((len(head.template), 2, 2), torch.nan)
    uv[head.faces[skin].flatten(), 0] = head.uv[head.uv_faces[skin].flatten()]
    flat_vertices, flat_uv = head.faces[skin].flatten().flip(0), head.uv[head.uv_faces[skin].flatten()].flip(0)
    left, right = flat_uv[:, 0] < 0.5, flat_uv[:, 0] > 0.5
    uv[flat_vertices[left], 0] = flat_uv[left]
    uv[flat_vertices[right], 1] = flat_uv[right]
    both = torch.nonzero(~uv.isnan().any(-1).any(-1) & ((uv[:, 0, 0] - uv[:, 1, 0]).abs() > 0.5)).squeeze(1)
    assert len(both) > 10, "the atlas is cut along the back of the head"
    texel = torch.stack([uv[..., 0], 1 - uv[..., 1]], -1)[both].mul(512).long().clamp(0, 511)
    colours = painted[:, texel[..., 1], texel[..., 0]]
    assert (colours[..., 0] - colours[..., 1]).abs().mean() < 3


@pytest.mark.parametrize("field", ["stubble", "scalp_hair", "freckles", "brow_density"])
def test_hairs_and_freckles_only_darken(head: HeadModel, field: str):
    if field != "scalp_hair" and "mediapipe" not in head.landmarks:
        pytest.skip("the head file has no landmarks yet: python -m recipes.embed_landmarks")
    bare = PLAIN if field != "freckles" else replace(PLAIN, melanin=0.1)
    without = luminance(linear(paint_skin(head, bare, SIZE)))
    given = luminance(linear(paint_skin(head, replace(bare, **{field: 0.9}), SIZE)))
    assert (given <= without + 0.02).all()
    changed = (given < without - 0.02).float().mean()
    assert 0.0005 < changed < 0.75, f"{field} touches {changed:.2%} of the map"


def test_brows_sit_above_the_eyes_and_lips_redden(head: HeadModel):
    if "mediapipe" not in head.landmarks:
        pytest.skip("the head file has no landmarks yet: python -m recipes.embed_landmarks")
    place = positions(head, head.template, SIZE)
    plain = linear(paint_skin(head, PLAIN, SIZE))
    brows = (linear(paint_skin(head, replace(PLAIN, brow_density=0.8), SIZE)) - plain).abs().sum(0) > 0.05
    eyes_y = head.template[torch.unique(head.faces[head.part_faces("eyes")])][:, 1].mean()
    where = place[brows]
    assert (where[:, 1] > eyes_y + 0.004).float().mean() > 0.97
    assert where[:, 0].abs().min() > 0.003 and where[:, 0].abs().max() < 0.075
    red = linear(paint_skin(head, replace(PLAIN, lip_redness=1.0), SIZE))
    lips = (red - plain).abs().sum(0) > 0.02
    mouth = head.landmark_points("mediapipe", head.template)[[61, 291]].mean(0)
    assert lips.any() and ((place[lips] - mouth).norm(dim=1) < 0.045).all()
    assert (red[0, lips] / red[1, lips]).mean() > 1.05 * (plain[0, lips] / plain[1, lips]).mean()


def test_texels_outside_the_atlas_continue_the_skin(head: HeadModel):
    """Nothing black for a texture filter to find past the border."""
    painted = paint_skin(head, SkinLook(), SIZE)
    outside = ~atlas_lookup(head, SIZE).inside
    assert outside.any() and painted.float().mean(0)[outside].min() > 25


def test_another_model_gets_a_plain_skin():
    painted = linear(paint_skin(tiny_head(), SkinLook(melanin=0.3), 64))
    tone = skin_tone(0.3, SkinLook().haemoglobin)
    assert torch.allclose(painted.flatten(1).median(dim=1).values, tone, rtol=0.1)


def test_materials_are_complete(head: HeadModel):
    materials = paint_materials(head, random_look(0), iris="green", size=SIZE)
    assert materials.skin_albedo.shape == (3, SIZE, SIZE) and materials.lash_albedo.shape[0] == 4
    roughness = paint_roughness(head, SIZE).float() / 255
    assert 0.25 < roughness.min() and roughness.max() < 0.8


def test_random_looks_cover_the_range():
    looks = [random_look(seed) for seed in range(200)]
    melanin = np.array([look.melanin for look in looks])
    assert melanin.min() < 0.05 and melanin.max() > 0.85
    assert all(look.freckles == 0 for look in looks if look.melanin > 0.3)
    assert random_look(3) == random_look(3)
