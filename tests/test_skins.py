"""Albedo maps of random people: tone by pigment, real skin kept sharp, every label visible only where it is drawn."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from core.atlas import positions
from core.color import luminance, srgb_to_linear
from core.errors import FileError
from core.head import HeadModel, load_head
from core.synthesis.features import STRIP_SHAPE, draw_features
from core.synthesis.painting import noise_3d, skin_tone
from core.synthesis.people import MIX_REGIONS, MIX_SKINS, SKINS, Labels, Person, sample_person
from core.synthesis.skins import SkinSources, load_sources, paint_albedo
from tests.test_features import BARE, DRAWN, person
from tests.tiny_head import tiny_head

SIZE = 256
# Labels whose features take light away, and those that redden.
DARKENING = ("freckles", "moles", "age_spots", "under_eye", "brow_density", "scalp_hair", "stubble", "beard_chin",
             "beard_cheeks", "moustache", "eyeliner", "pores", "blemishes", "flush", "blush")  # fmt: skip
REDDENING = ("blemishes", "flush", "blush")


@pytest.fixture(scope="module")
def head() -> HeadModel:
    loaded = load_head()
    if "mediapipe" not in loaded.landmarks:
        pytest.skip("the head file has no landmarks yet: python -m recipes.embed_landmarks")
    return loaded


@pytest.fixture(scope="module")
def sources(head: HeadModel) -> SkinSources:
    """Stand-ins for the CC0 skins, each with waves and a grain of its own, seamless and not symmetric."""
    coarse_place, place = positions(head, head.template, SIZE // 4), positions(head, head.template, SIZE)
    smooth = [noise_3d(coarse_place, 0.04, 50 + k) * 0.08 for k in range(MIX_SKINS)]
    grain = [noise_3d(place, 0.003, 70 + k) * 30 for k in range(MIX_SKINS)]
    strips = torch.zeros(3, 2, *STRIP_SHAPE, dtype=torch.uint8)
    strips[:, :, 35:60, 60:220] = 180
    return SkinSources(
        torch.stack(smooth)[:, None].expand(-1, 3, -1, -1).contiguous(),
        torch.stack(grain).clamp(-127, 127).to(torch.int8),
        torch.full((MIX_SKINS,), 0.003),
        torch.zeros(MIX_SKINS, 3),
        strips,
    )


def paint(head: HeadModel, who: Person, sources: SkinSources | None = None, size: int = SIZE) -> torch.Tensor:
    return paint_albedo(head, who, draw_features(head, who, size), size, sources)


def linear(image: torch.Tensor) -> torch.Tensor:
    return srgb_to_linear(image.float() / 255)


def only(skin: int) -> torch.Tensor:
    mix = torch.zeros(MIX_REGIONS, MIX_SKINS)
    mix[:, skin] = 1
    return mix


@pytest.mark.parametrize("mixed", [False, True])
def test_more_melanin_is_darker_everywhere(head: HeadModel, sources: SkinSources, mixed: bool):
    maps = [
        luminance(linear(paint(head, person(replace(BARE, melanin=m)), sources if mixed else None)))
        for m in (0.0, 0.3, 0.6, 1.0)
    ]
    for lighter, darker in itertools.pairwise(maps):
        assert darker.median() < 0.8 * lighter.median()
        assert (darker < lighter).float().mean() > 0.99


@pytest.mark.parametrize("melanin", [0.05, 0.5, 0.95])
def test_cheeks_have_the_tone_that_was_asked_for(head: HeadModel, sources: SkinSources, melanin: float):
    place = positions(head, head.template, SIZE)
    cheeks = (place - head.landmark_points("mediapipe", head.template)[280]).norm(dim=-1) < 0.025
    for base in (None, sources):
        median = linear(paint(head, person(replace(BARE, melanin=melanin)), base))[:, cheeks].median(dim=1).values
        assert torch.allclose(median.log(), skin_tone(melanin, BARE.haemoglobin).log(), atol=0.2)


@pytest.mark.parametrize("mixed", [False, True])
def test_same_person_same_bytes(head: HeadModel, sources: SkinSources, mixed: bool):
    who = sample_person(head, 7)
    base = sources if mixed else None
    assert torch.equal(paint(head, who, base), paint(head, who, base))
    assert not torch.equal(paint(head, who, base), paint(head, replace(who, seed=8), base))


def test_a_bare_person_is_symmetric(head: HeadModel):
    """Without hairs and noise nothing in the procedural skin tells left from right."""
    painted = paint(head, person(replace(BARE, flush=0.0, under_eye=0.8, lipstick=0.6))).int()
    off = (painted - painted.flip(2)).abs().float()
    assert off.mean() < 0.5 and off.quantile(0.99) <= 3


def test_mirroring_flips_a_source_and_nothing_else(head: HeadModel, sources: SkinSources):
    """With one source and a bare person, any two seeds paint the same map or its mirror image."""
    maps = [paint(head, replace(person(BARE, seed), mix=only(3)), sources).int() for seed in range(4)]
    same = [float((m - maps[0]).abs().float().mean()) for m in maps]
    mirrored = [float((m - maps[0].flip(2)).abs().float().mean()) for m in maps]
    assert all(min(a, b) < 0.5 < max(a, b) for a, b in zip(same, mirrored, strict=True))
    assert min(mirrored) < 0.5, "some seed mirrors"


def test_mixing_keeps_the_grain_of_skin(head: HeadModel, sources: SkinSources):
    """The average of two skins has 0.7 of the grain of one; a mix of 0.6 and 0.4 must keep more."""

    def grain(mix: torch.Tensor) -> float:
        log = linear(paint(head, replace(person(BARE), mix=mix), sources))[1].clamp_min(1e-4).log()[None]
        return float((log - functional.avg_pool2d(log, 5, 1, 2))[:, 64:-64, 64:-64].std())

    assert grain(0.6 * only(2) + 0.4 * only(9)) > 0.75 * (grain(only(2)) + grain(only(9))) / 2
    equal = torch.full((MIX_REGIONS, MIX_SKINS), 1 / MIX_SKINS)
    assert grain(0.5 * only(2) + 0.5 * equal) > 0.75 * grain(only(2))


def test_each_region_shows_its_own_source(head: HeadModel, sources: SkinSources):
    """The mouth follows the mouth's row of the mix, the forehead does not."""
    split = only(2)
    split[4] = only(9)[4]
    plain, other, both = (
        linear(paint(head, replace(person(BARE), mix=mix), sources)) for mix in (only(2), only(9), split)
    )
    points = head.landmark_points("mediapipe", head.template)
    place = positions(head, head.template, SIZE)
    chin, forehead = ((place - points[k]).norm(dim=-1) < 0.012 for k in (18, 10))
    assert (both - other)[:, chin].abs().mean() < 0.25 * (plain - other)[:, chin].abs().mean()
    assert (both - plain)[:, forehead].abs().mean() < 0.05 * (plain - other)[:, forehead].abs().mean()


LIGHT = replace(BARE, melanin=0.15)


@pytest.fixture(scope="module")
def before(head: HeadModel) -> torch.Tensor:
    return linear(paint(head, person(LIGHT)))


@pytest.mark.parametrize("label", DRAWN)
def test_a_label_changes_only_what_it_draws(head: HeadModel, before: torch.Tensor, label: str):
    with_it = person(replace(LIGHT, **{label: 0.9}))
    features = draw_features(head, with_it, SIZE)
    after = linear(paint_albedo(head, with_it, features, SIZE, None))
    drawn = getattr(features, DRAWN[label])
    assert torch.equal(before[:, drawn == 0], after[:, drawn == 0])
    shown = drawn > 0.2 * drawn.max()
    assert (before - after)[:, shown].abs().sum(0).mean() > 0.004, f"{label} can be seen"
    if label in DARKENING:
        assert (luminance(after) <= luminance(before) + 0.004).all()
    if label in REDDENING:
        redder = (after[0] / after[1])[shown] / (before[0] / before[1])[shown]
        assert redder.mean() > 1.02 and (redder > 0.99).all()


def test_lips_redden_and_lipstick_has_its_hue(head: HeadModel):
    lips = draw_features(head, person(BARE), SIZE).lips > 0.9

    def colour(**labels: float) -> torch.Tensor:
        return linear(paint(head, person(replace(BARE, **labels))))[:, lips].median(dim=1).values

    pale, mean, red = (colour(lip_redness=v) for v in (0.0, 0.5, 1.0))
    assert pale[0] / pale[1] < mean[0] / mean[1] < red[0] / red[1]
    nude, scarlet, plum = (colour(lipstick=1.0, lipstick_hue=h) for h in (0.0, 0.5, 1.0))
    assert scarlet[0] / scarlet[1] > 1.5 * nude[0] / nude[1], "red is redder than nude"
    assert plum[2] / plum[1] > nude[2] / nude[1] and plum.sum() < nude.sum(), "plum is bluer and darker"


def test_grey_hair_is_lighter(head: HeadModel):
    bearded = replace(BARE, beard_chin=1.0, beard_cheeks=1.0, brow_density=1.0, melanin=0.5)
    covered = draw_features(head, person(bearded), SIZE).beard > 0.5
    dark, mixed, white = (
        float(luminance(linear(paint(head, person(replace(bearded, grey=g)))))[0, covered].mean())
        for g in (0.0, 0.5, 1.0)
    )
    assert dark < mixed < white


@pytest.mark.parametrize("mixed", [False, True])
def test_no_seam_at_the_back_of_the_head(head: HeadModel, sources: SkinSources, mixed: bool):
    """Points on the cut lie at two places of the map, left and right; both must have the same colour.

    Without cut hair, which is finer than the texels there.
    """
    # One source of its own on either side could not meet; the real ones are tone alone there, as here.
    flat = replace(sources, coarse=0 * sources.coarse, fine=0 * sources.fine)
    painted = paint(head, person(replace(BARE, mottling=1.0)), flat if mixed else None, 2 * SIZE).float()
    skin = head.part_faces("skin")
    vertices, uv = head.faces[skin].flatten(), head.uv[head.uv_faces[skin].flatten()]
    left, right = (torch.full((len(head.template), 2), torch.nan) for _ in range(2))
    left[vertices[uv[:, 0] < 0.5]] = uv[uv[:, 0] < 0.5]
    right[vertices[uv[:, 0] > 0.5]] = uv[uv[:, 0] > 0.5]
    both = torch.nonzero(~(left + right).isnan().any(1) & (right[:, 0] - left[:, 0] > 0.5)).squeeze(1)
    assert len(both) > 10, "the atlas is cut along the back of the head"
    colours = []
    for side in (left, right):
        texel = (side[both] * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])).mul(2 * SIZE).long()
        colours.append(painted[:, texel[:, 1], texel[:, 0]])
    assert (colours[0] - colours[1]).abs().mean() < 3


def test_sizes_agree(head: HeadModel, sources: SkinSources):
    who = sample_person(head, 11)
    large = functional.avg_pool2d(linear(paint(head, who, sources, 2 * SIZE))[None], 2)[0]
    small = linear(paint(head, who, sources))
    off = (large - small).abs().mean(0)
    assert off.mean() < 0.02 * small.mean() + 0.004 and off.quantile(0.98) < 0.06


def test_another_head_gets_a_plain_skin(sources: SkinSources):
    bare = replace(tiny_head(), landmarks={})
    painted = linear(paint(bare, person(replace(BARE, melanin=0.3)), sources, 64))
    tone = skin_tone(0.3, BARE.haemoglobin)
    assert torch.allclose(painted, tone[:, None, None].expand_as(painted), rtol=0.05)


# ------------------------------------------------------------------------------------------------------ the file


def saved(path: Path, sources: SkinSources, skins: str | None = None, **changed: torch.Tensor) -> Path:
    names = ",".join(name for name, *_ in SKINS) if skins is None else skins
    tensors = {name: getattr(sources, name) for name in ("coarse", "fine", "fine_scale", "traits", "brows")}
    tensors["coarse"] = tensors["coarse"].half()
    save_file({name: value.contiguous() for name, value in (tensors | changed).items()}, str(path), {"skins": names})
    return path


def test_sources_come_back_from_their_file(tmp_path: Path, sources: SkinSources):
    loaded = load_sources(saved(tmp_path / "sources.safetensors", sources))
    assert loaded.size == SIZE and torch.equal(loaded.fine, sources.fine) and torch.equal(loaded.brows, sources.brows)
    assert torch.allclose(loaded.coarse, sources.coarse, atol=1e-3)


def test_files_that_cannot_be_used_say_so(tmp_path: Path, sources: SkinSources):
    with pytest.raises(FileError, match=r"missing: looked for .*gone.*makehuman_skins --sources"):
        load_sources(tmp_path / "gone.safetensors")
    (tmp_path / "text.safetensors").write_text("not a file of tensors")
    with pytest.raises(FileError, match="could not be read"):
        load_sources(tmp_path / "text.safetensors")
    with pytest.raises(FileError, match=r"made from the skins a,b"):
        load_sources(saved(tmp_path / "other.safetensors", sources, skins="a,b"))
    with pytest.raises(FileError, match=r"coarse is torch.float16 of shape \(14, 3, 32, 32\), expected .*64, 64"):
        load_sources(saved(tmp_path / "small.safetensors", sources, coarse=sources.coarse[..., ::2, ::2].half()))
    with pytest.raises(FileError, match=r"fine is torch.float32"):
        load_sources(saved(tmp_path / "wide.safetensors", sources, fine=sources.fine.float()))
    with pytest.raises(FileError, match=r"brows is"):
        load_sources(saved(tmp_path / "bald.safetensors", sources, brows=sources.brows[:0]))


def test_labels_of_a_person_are_read_as_they_are(head: HeadModel):
    """Numbers at the ends of every range paint without complaint."""
    for value in (0.0, 1.0):
        ends = {name: value for name in Labels.__dataclass_fields__ if name not in ("age_years", "gender")}
        painted = paint(head, person(Labels(**ends)))
        assert painted.dtype == torch.uint8 and painted.float().std() > 1
        assert np.isfinite(painted.float().numpy()).all()
