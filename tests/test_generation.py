"""Random heads: what is asked is had, what the painter and the generator each give is in the map."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core import generation
from core.albedo.model import log_albedo, srgb_from_log
from core.albedo.stylegan2 import Generator
from core.albedo.stylegan_albedo import ShapeHead, StyleGanAlbedo
from core.errors import LikenessError
from core.generation import TRAITS, GeneratedHead, Wish, generate_head, labels_from, person_of, refined
from core.head import load_head
from core.materials import DISPLACEMENT_UNIT_M
from core.synthesis.features import draw_features
from core.synthesis.heads import as_bytes
from core.synthesis.people import ANCESTRIES, LABEL_NAMES, LATENT_NAMES, label_range, label_vector, sample_person
from core.synthesis.relief import normal_map, paint_relief

HEAD = load_head()
SIZE = 64
RELIEF_MAPS = (
    *("skin_normal", "skin_diffuse_normal", "skin_displacement"),
    *("skin_specular", "skin_roughness", "skin_translucency"),
)


def test_what_is_drawn_on_the_skin_is_the_painters():
    """A beard that the generator has not heard of keeps its darkness; the skin around it gets the generator's tone."""
    skin = smooth_map(128, 4)
    beard = torch.zeros(128, 128)
    beard[70:120, 30:90] = 1
    log = log_albedo(skin)
    painted = as_bytes(srgb_from_log(log - 0.9 * beard))
    generated = srgb_from_log(torch.nn.functional.avg_pool2d(log[None] - 0.3, 4)[0])
    change = log_albedo(refined(generated, painted, beard) / 255) - log_albedo(painted / 255)
    assert float((change + 0.3).abs().max()) < 0.02
    unaware = log_albedo(refined(generated, painted, torch.zeros_like(beard)) / 255) - log_albedo(painted / 255)
    assert float(unaware[:, 95, 60].mean()) > 0.3


@functools.cache
def small_model() -> StyleGanAlbedo:
    """A generator that has learnt nothing, but is one."""
    torch.manual_seed(0)
    generator = Generator(32, style_dim=256, n_mlp=1, channel_max=8).eval()
    people = [sample_person(HEAD, seed) for seed in range(40)]
    latents, labels = torch.stack([p.latent for p in people]), torch.stack([label_vector(p.labels) for p in people])
    return StyleGanAlbedo.from_training(generator, ShapeHead(256, 120), latents, labels, LABEL_NAMES, LATENT_NAMES)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "albedo_gan", small_model)
    monkeypatch.setattr(generation, "CUTOFF_TEXELS", 1.0)  # of a map of 32


# ------------------------------------------------------------------------------------------------------------- people


def test_a_person_has_what_was_asked_and_is_else_as_the_seed_has_them():
    wish = Wish(11, {"age_years": 70.0, "beard_chin": 1.0, "melanin": 0.125, "asian": 0.5})
    asked, plain = person_of(HEAD, wish), person_of(HEAD, Wish(11))
    for name, value in wish.labels.items():
        assert getattr(asked.labels, name) == pytest.approx(value, abs=1e-6), name
    assert asked.labels.gender == plain.labels.gender and asked.labels.iris_green == plain.labels.iris_green
    moved = [n for n, a, b in zip(LATENT_NAMES, asked.latent, plain.latent, strict=True) if a != b]
    assert set(moved) <= {"age_years", "beard_chin", "melanin", *ANCESTRIES}


def test_truncation_draws_people_to_the_mean_and_labels_stay_exact():
    full = sample_person(HEAD, 4)
    for truncation in (0.0, 0.5, 1.0):
        person = person_of(HEAD, Wish(4, truncation=truncation))
        torch.testing.assert_close(person.latent, truncation * full.latent)
        assert person_of(HEAD, Wish(4, {"weight": 0.9}, truncation)).labels.weight == pytest.approx(0.9, abs=1e-6)
    assert person_of(HEAD, Wish(4, truncation=0.0)).labels == person_of(HEAD, Wish(5, truncation=0.0)).labels


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(-1), "seed -1 cannot be used"),
        (Wish(1 << 63), "seed 9223372036854775808 cannot be used"),
        (Wish(1, truncation=1.01), "truncation is 1.01"),
        (Wish(1, truncation=math.nan), "truncation is nan"),
        (Wish(1, {"mood": 1.0}), "'mood' is not a label"),
        (Wish(1, {"beard_chin": math.nan}), "beard_chin was set to nan"),
        (Wish(1, {"age_years": 12.0}), "age_years was set to 12. Give a number from 18 to 85"),
        (Wish(1, {"african": 0.7, "asian": 0.7}), "sum to 1.4"),
    ],
)
def test_a_wish_that_cannot_be_is_a_sentence(wish: Wish, said: str):
    with pytest.raises(LikenessError, match=said.replace(".", r"\.")):
        generate_head(HEAD, wish, SIZE)


# ------------------------------------------------------------------------------------------------------------- traits


@settings(max_examples=40)
@given(st.sampled_from(sorted(TRAITS)), st.floats(0, 1), st.integers(0, 3))
def test_what_a_trait_sets_is_read_back(name: str, share: float, seed: int):
    trait = TRAITS[name]
    value = trait.low + share * (trait.high - trait.low)
    labels = labels_from({name: value})
    assert all(low <= labels[n] <= high for n in labels for low, high in [label_range(n)])
    person = person_of(HEAD, Wish(seed, labels))
    assert trait.read(person.labels) == pytest.approx(value, abs=1e-4 * (trait.high - trait.low))
    assert all(t.low <= t.read(person.labels) <= t.high + 1e-6 for t in TRAITS.values())


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda shares: sum(shares) > 0))
def test_shares_of_ancestry_are_weights(shares: list[float]):
    labels = labels_from(dict(zip((f"{name}_ancestry" for name in ANCESTRIES), shares, strict=True)))
    assert sum(labels.values()) == pytest.approx(1)
    assert all(labels[n] * sum(shares) == pytest.approx(s) for n, s in zip(ANCESTRIES, shares, strict=True))
    assert labels_from({"african_ancestry": 0.4}) == {"african": 0.4}  # the others as the seed has them
    assert labels_from({"african_ancestry": 1.0, "asian_ancestry": 1.0}) == {"african": 0.5, "asian": 0.5}


def test_labels_pass_and_win_over_traits():
    assert labels_from({"stubble": 0.2, "beard": 0.0})["stubble"] == 0.2
    assert labels_from({"beard": 0.0})["stubble"] == 0.0
    everything = {name: label_range(name)[1] for name in LABEL_NAMES if name not in ANCESTRIES}
    assert labels_from(everything) == everything and labels_from({}) == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mood": 1.0}, "no trait or label 'mood'.*beard.*age_years"),
        ({"age": 17.0}, "age was set to 17. Give a number from 18 to 85"),
        ({"beard": math.nan}, "beard was set to nan. Give a number from 0 to 1"),
        ({"melanin": -0.1}, "melanin was set to -0.1. Give a number from 0 to 1"),
        ({f"{name}_ancestry": 0.0 for name in ANCESTRIES}, "were set to 0. Raise at least one"),
    ],
)
def test_values_that_cannot_be_are_sentences(values: dict[str, float], said: str):
    with pytest.raises(LikenessError, match=said):
        labels_from(values)


# --------------------------------------------------------------------------------------------------------------- maps


def smooth_map(size: int, seed: int) -> Tensor:
    """Skin of many tones, sRGB 0..1, much coarser than any cut-off."""
    y, x = torch.meshgrid(*(torch.linspace(0, 3, size),) * 2, indexing="ij")
    waves = torch.stack([torch.sin(x + seed + c) * torch.cos(y - c) for c in range(3)])
    return 0.5 + 0.15 * waves


def test_a_generator_that_agrees_with_the_painter_changes_nothing():
    painted = as_bytes((smooth_map(128, 1) + 0.1 * torch.randn(3, 128, 128)).clamp(0.2, 0.9))
    log = log_albedo(painted / 255)
    agreeing = srgb_from_log(torch.nn.functional.avg_pool2d(log[None], 4)[0])
    assert int((refined(agreeing, painted, torch.zeros(128, 128)).int() - painted.int()).abs().max()) <= 1


def test_a_tone_comes_from_the_generator_and_detail_from_the_painter():
    """Twice as dark in the logarithm everywhere, borders and spots included: there is no halo and no frame."""
    base = smooth_map(128, 2)
    spots = log_albedo(base)
    spots[:, 60:63, 40:43] -= 0.8
    spots[:, 0, :] -= 0.3
    painted = as_bytes(srgb_from_log(spots))
    generated = srgb_from_log(torch.nn.functional.avg_pool2d(log_albedo(painted / 255)[None], 4)[0] - 0.4)
    change = log_albedo(refined(generated, painted, torch.zeros(128, 128)) / 255) - log_albedo(painted / 255)
    assert float((change + 0.4).abs().max()) < 0.02


def test_what_is_coarse_is_the_generators():
    """Hairs and grain that the generator has are left out, its tone is kept: whatever the painter's tone is."""
    wanted, other = smooth_map(32, 3), as_bytes(smooth_map(128, 5))
    noisy = (wanted + 0.05 * torch.randn(3, 32, 32)).clamp(0, 1)
    for generated in (wanted, noisy):
        made = torch.nn.functional.avg_pool2d(refined(generated, other, torch.zeros(128, 128))[None] / 255, 8)[0]
        assert float((made - torch.nn.functional.avg_pool2d(wanted[None], 2)[0]).abs().mean()) < 0.012
    # A picture smaller than the generator's map is made as well.
    assert refined(wanted, as_bytes(smooth_map(16, 5)), torch.zeros(16, 16)).shape == (3, 16, 16)


@functools.cache
def made(seed: int) -> GeneratedHead:
    return generate_head(HEAD, Wish(seed), SIZE)


def maps(one: GeneratedHead) -> list[Tensor]:
    return [m for m in vars(one.materials).values() if m is not None]


def test_the_same_wish_is_the_same_head_bit_for_bit():
    again = generate_head(HEAD, Wish(5), SIZE)
    assert all(torch.equal(a, b) for a, b in zip(maps(again), maps(made(5)), strict=True))
    assert torch.equal(again.latent, made(5).latent) and torch.equal(again.shape, made(5).shape)
    assert not torch.equal(made(6).materials.skin_albedo, made(5).materials.skin_albedo)
    assert not torch.equal(made(6).shape, made(5).shape)


def test_a_slider_at_its_end_leads_the_generator_no_further_than_people_go():
    """At weight 0 the coordinate lies five deviations out: the shape is the person's, and the map that of three."""
    one = generate_head(HEAD, Wish(5, {"weight": 0.0}), SIZE)
    far = one.person.latent[LATENT_NAMES.index("weight")]
    assert far < -4 and torch.equal(one.shape, person_of(HEAD, Wish(5, {"weight": 0.0})).shape)
    near = one.person.latent.clone()
    near[LATENT_NAMES.index("weight")] = -3.0
    assert torch.equal(one.latent, small_model().from_person(near.clamp(-3, 3), 5))


def test_one_latent_is_the_person_the_map_and_the_shape():
    model, one = small_model(), made(5)
    assert torch.equal(one.latent, model.from_person(one.person.latent.clamp(-3, 3), 5))
    assert one.person.seed == 5 and torch.equal(one.shape, person_of(HEAD, Wish(5)).shape)
    albedo = one.materials.skin_albedo
    assert albedo.shape == (3, SIZE, SIZE) and one.materials.skin_normal is not None
    far, generated = (
        torch.nn.functional.avg_pool2d(log_albedo(image)[None], image.shape[-1] // 4)
        for image in (albedo / 255, model.decode(one.latent))
    )
    assert float((far - generated).abs().mean()) < 0.1


def test_a_preview_is_the_same_person_with_less():
    preview = generate_head(HEAD, Wish(5), SIZE, preview=True)
    assert torch.equal(preview.materials.skin_albedo, made(5).materials.skin_albedo)
    assert torch.equal(preview.shape, made(5).shape) and preview.materials.skin_normal is None
    assert preview.materials.eye_albedo.shape[-1] < made(5).materials.eye_albedo.shape[-1]
    assert preview.materials.skin_displacement is None and preview.materials.skin_specular is None


def test_the_relief_is_the_painters_and_the_maps_belong_together():
    """Each map is what the painter drew, to its rounding; scattering softens and never sharpens."""
    materials = made(5).materials
    person = made(5).person
    fine = paint_relief(HEAD, person, draw_features(HEAD, person, SIZE))
    height = materials.skin_displacement
    assert height is not None and height.shape == (1, SIZE, SIZE) and height.dtype == torch.int16
    assert float((height[0] * DISPLACEMENT_UNIT_M - fine.displacement_m).abs().max()) <= 0.51 * DISPLACEMENT_UNIT_M
    for stored, painted in (
        (materials.skin_specular, fine.specular),
        (materials.skin_translucency, fine.translucency),
        (materials.skin_roughness, fine.roughness),
    ):
        assert stored is not None
        assert float((stored[0] / 255 - painted).abs().max()) <= 0.51 / 255
    vertices = HEAD.rest_vertices(person.shape[None], torch.zeros(1, len(HEAD.expression_names)))[0]
    sharp, soft = materials.skin_normal, materials.skin_diffuse_normal
    assert sharp is not None and soft is not None
    assert torch.equal(sharp, normal_map(HEAD, fine.displacement_m, vertices))
    tilt = [float((normals[:2].float() - 127.5).square().mean()) for normals in (sharp, soft)]
    assert 0 < tilt[1] < tilt[0]


def test_maps_larger_than_the_relief_need_hold_it_no_finer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(generation, "RELIEF_PX", SIZE // 2)
    materials = generate_head(HEAD, Wish(5), SIZE).materials
    relief = {name: image for name, image in vars(materials).items() if name in RELIEF_MAPS}
    assert len(relief) == 6 and {image.shape[-1] for image in relief.values()} == {SIZE // 2}
    assert materials.skin_albedo.shape[-1] == SIZE
