"""Features of the skin: in their places, exactly absent at 0, growing with their labels, the same at every size."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from core.atlas import atlas_lookup, positions
from core.head import HeadModel, load_head
from core.synthesis.features import Features, brow_frames, canvas_of, draw_features, strands
from core.synthesis.people import MIX_REGIONS, MIX_SKINS, Labels, Person
from tests.tiny_head import tiny_head

SIZE = 256
BARE = Labels(
    mottling=0.0, pores=0.0, under_eye=0.0, flush=0.0, brow_density=0.0, scalp_hair=0.0, hair_melanin=1.0
)  # fmt: skip
EVERYTHING = Labels(
    **{
        name: 0.7
        for name in """freckles moles age_spots blemishes scars under_eye flush brow_density scalp_hair stubble
        beard_chin beard_cheeks moustache lipstick eyeliner eyeshadow blush pores grey""".split()
    }
)
# The map that a label draws.
DRAWN = {
    "pores": "pores",
    "freckles": "freckles",
    "moles": "moles",
    "age_spots": "age_spots",
    "blemishes": "blemishes",
    "scars": "scars",
    "flush": "flush",
    "under_eye": "under_eye",
    "brow_density": "brows",
    "scalp_hair": "scalp",
    "stubble": "stubble",
    "beard_chin": "beard",
    "beard_cheeks": "beard",
    "moustache": "beard",
    "lipstick": "lipstick",
    "eyeliner": "eyeliner",
    "eyeshadow": "eyeshadow",
    "blush": "blush",
}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    loaded = load_head()
    if "mediapipe" not in loaded.landmarks:
        pytest.skip("the head file has no landmarks yet: python -m recipes.embed_landmarks")
    return loaded


def person(labels: Labels, seed: int = 5) -> Person:
    mix = torch.full((MIX_REGIONS, MIX_SKINS), 1 / MIX_SKINS)
    return Person(seed, torch.zeros(1), labels, mix, torch.zeros(1))


@pytest.fixture(scope="module")
def everything(head: HeadModel) -> Features:
    return draw_features(head, person(EVERYTHING), SIZE)


def halves(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return image[:, : SIZE // 2], image.flip(1)[:, : SIZE // 2]


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.fixture(scope="module")
def nothing(head: HeadModel) -> Features:
    return draw_features(head, person(BARE), SIZE)


@pytest.mark.parametrize("label", DRAWN)
def test_a_label_at_zero_draws_nothing_and_more_of_it_draws_more(head: HeadModel, nothing: Features, label: str):
    few, more = (
        getattr(draw_features(head, person(replace(BARE, **{label: v})), SIZE), DRAWN[label]) for v in (0.4, 1.0)
    )
    assert getattr(nothing, DRAWN[label]).abs().max() == 0
    assert 0 < few.sum() < more.sum()
    if DRAWN[label] not in ("brows", "beard"):  # hairs grow longer, so their tips move
        assert (few <= more + 1e-6).all(), "nothing that was there goes away"


def test_maps_are_shares(everything: Features):
    for field in fields(Features):
        values = getattr(everything, field.name)
        assert values.isfinite().all() and values.min() >= 0 and values.max() <= 1, field.name


def test_same_person_same_maps_and_other_seed_other_places(head: HeadModel, everything: Features):
    again, other = draw_features(head, person(EVERYTHING), SIZE), draw_features(head, person(EVERYTHING, 6), SIZE)
    for field in fields(Features):
        assert torch.equal(getattr(everything, field.name), getattr(again, field.name))
    for name in ("freckles", "moles", "blemishes", "brows", "beard", "stubble", "pores"):
        assert not torch.equal(getattr(everything, name), getattr(other, name))


def test_one_label_leaves_the_other_features_where_they_are(head: HeadModel, everything: Features):
    fewer = draw_features(head, person(replace(EVERYTHING, freckles=0.2, brow_density=0.3)), SIZE)
    for name in ("moles", "age_spots", "blemishes", "beard", "stubble", "scalp", "pores"):
        assert torch.equal(getattr(everything, name), getattr(fewer, name))


def test_everything_is_where_it_belongs(head: HeadModel, everything: Features):
    place = positions(head, head.template, SIZE)
    inside = atlas_lookup(head, SIZE).inside
    points = head.landmark_points("mediapipe", head.template)
    eyes = head.template[torch.unique(head.faces[head.part_faces("eyes")])]
    eye_y, mouth, nose = float(eyes[:, 1].mean()), points[[61, 291]].mean(0), points[2]

    def where(name: str, over: float = 0.1) -> torch.Tensor:
        found = place[inside & (getattr(everything, name) > over)]
        assert len(found) > 10, name
        return found

    brows = where("brows")
    assert (brows[:, 1] > eye_y + 0.003).float().mean() > 0.97 and brows[:, 0].abs().max() < 0.075
    assert (where("under_eye")[:, 1] < eye_y).float().mean() > 0.95
    assert (where("eyeshadow")[:, 1] > eye_y - 0.004).float().mean() > 0.95
    for name in ("lips", "lipstick"):
        assert ((where(name) - mouth).norm(dim=1) < 0.045).all()
    for name in ("beard", "stubble"):
        hair = where(name)
        assert (hair[:, 1] < float(nose[1]) + 0.03).all(), "no beard above the lobes of the ears"
        assert ((hair - mouth).norm(dim=1) < 0.011).float().mean() < 0.2, "none on the lips"
    assert not ((where("scalp")[:, 1] < 0.03) & (where("scalp")[:, 2] > 0.0)).any(), "no scalp hair in the face"


def test_brows_are_alike_but_not_mirrored_copies(everything: Features):
    right, left = halves(everything.brows)
    blurred = [functional.avg_pool2d(side[None], 9, 4)[0] for side in (right, left)]
    assert correlation(*blurred) > 0.85
    assert (right - left).abs().max() > 0.1


def test_brow_labels_shape_the_brows(head: HeadModel):
    place = positions(head, head.template, SIZE)

    def brows(**labels: float) -> torch.Tensor:
        return draw_features(head, person(replace(BARE, brow_density=0.8, **labels)), SIZE).brows

    def extent(image: torch.Tensor) -> tuple[float, float]:
        """Farthest from the middle, and mean height over the outer half of the eye."""
        shown = place[image > 0.15]
        outer = shown[(shown[:, 0].abs() > 0.035) & (shown[:, 0].abs() < 0.046)]
        return float(shown[:, 0].abs().quantile(0.98)), float(outer[:, 1].mean())

    assert extent(brows(brow_length=1.0))[0] > extent(brows(brow_length=0.0))[0] + 0.003
    assert extent(brows(brow_arch=1.0))[1] > extent(brows(brow_arch=0.0))[1] + 0.001
    assert (brows(brow_thickness=1.0) > 0.15).sum() > 1.3 * (brows(brow_thickness=0.0) > 0.15).sum()


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_grey_is_the_share_of_white_hairs(head: HeadModel, grey: float):
    f = draw_features(head, person(replace(BARE, beard_chin=0.8, beard_cheeks=0.8, grey=grey)), SIZE)
    share = float((f.white * f.beard).sum() / f.beard.sum())
    assert share == pytest.approx(grey, abs=0.06 if 0 < grey < 1 else 1e-3)


def test_recession_only_takes_hair_away(head: HeadModel):
    full, receding, bald = (
        draw_features(head, person(replace(BARE, scalp_hair=0.8, recession=r)), SIZE).scalp for r in (0.0, 0.5, 1.0)
    )
    assert (receding <= full + 1e-6).all() and (bald <= receding + 1e-6).all()
    y = positions(head, head.template, SIZE)[..., 1]
    assert bald[y > 0.08].sum() < 0.15 * full[y > 0.08].sum(), "bald on top"
    assert bald[y < 0.04].sum() > 0.9 * full[y < 0.04].sum(), "a wreath stays"


def test_sizes_agree(head: HeadModel, everything: Features):
    """The same spots and hairs at the same places: a larger map averaged is the smaller one."""
    large = draw_features(head, person(EVERYTHING), 2 * SIZE)  # lines and folds are for tests/test_wrinkles.py
    for field in fields(Features):
        if field.name == "white":  # a share of hair, where there is any
            continue
        small, averaged = getattr(everything, field.name), functional.avg_pool2d(getattr(large, field.name)[None], 2)[0]
        # Pits and ends of hairs are finer than texels; their means must agree, the rest texel by texel.
        if field.name not in ("pores", "wrinkles"):
            assert correlation(small, averaged) > 0.9, field.name
        assert float(averaged.mean()) == pytest.approx(float(small.mean()), rel=0.12), field.name


def test_hairs_leave_their_area(head: HeadModel):
    """A single hair covers length times width, wherever it lies between the texels."""
    canvas = canvas_of(head, SIZE)
    start, end = np.array([0.4013, 0.3521]), np.array([0.4391, 0.3704])
    line = start + np.linspace(0, 1, 5)[:, None] * (end - start)
    width_mm = 0.05
    width = width_mm * float(canvas.units_per_mm(start[None])[0]) * SIZE
    area = np.linalg.norm(end - start) * SIZE * width
    drawn = float(strands(line[None], np.array([width_mm]), canvas, SIZE).sum())
    # The tip tapers: 1.25 (1 - x)^0.6 cut at 1 has the mean 0.741.
    assert drawn == pytest.approx(0.741 * area, rel=0.05)


def test_brow_frames_read_back_their_own_coordinates(head: HeadModel):
    for frame in brow_frames(head):
        s, t, index = frame.texels(SIZE)
        row, column = np.divmod(index.numpy(), SIZE)
        found = frame.to_atlas(s.numpy(), t.numpy()) * SIZE
        error = np.linalg.norm(found - np.stack([column + 0.5, row + 0.5], 1), axis=1)
        assert len(s) > 500 and error.max() < 0.5


def test_scale_is_the_atlas_own(head: HeadModel):
    """A millimetre on the cheek, measured by two neighbouring texels' places."""
    place = positions(head, head.template, SIZE)
    canvas = canvas_of(head, SIZE)
    row, column = SIZE // 2, int(0.32 * SIZE)
    step_mm = 1e3 * float((place[row, column + 4] - place[row, column - 4]).norm()) / 8
    found = float(canvas.units_per_mm(np.array([[(column + 0.5) / SIZE, (row + 0.5) / SIZE]]))[0])
    assert found == pytest.approx(1 / (SIZE * step_mm), rel=0.25)


@pytest.mark.parametrize("make", [tiny_head, lambda: replace(load_head(), landmarks={})])
def test_a_head_without_landmarks_gets_spots_and_no_more(make):
    bare = replace(make(), landmarks={})
    drawn = draw_features(bare, person(EVERYTHING), 64)
    for name in (
        "brows",
        "beard",
        "stubble",
        "lips",
        "lipstick",
        "eyeliner",
        "eyeshadow",
        "blush",
        "under_eye",
        "flush",
    ):
        assert getattr(drawn, name).abs().max() == 0
    assert drawn.pores.max() > 0 and drawn.moles.max() > 0


def test_a_head_without_landmarks_is_not_taken_for_the_one_with_them(head: HeadModel):
    """They share template and atlas; what was worked out for one is kept, and must not serve the other."""
    size = 48  # of no other test
    bare, whole = (draw_features(one, person(EVERYTHING), size) for one in (replace(head, landmarks={}), head))
    assert bare.brows.max() == 0 and bare.beard.max() == 0
    assert whole.brows.max() > 0 and whole.beard.max() > 0
