"""Wrinkles of expressions: who folds what, where, how deep; and that a relaxed face shows none of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.atlas import interpolate, positions
from core.head import HeadModel, load_head
from core.key_expressions import (
    FAMILIES,
    FOLDLESS,
    KEY_EXPRESSIONS,
    LAYERS,
    MOVEMENTS,
    NEUTRAL_LIMIT,
    displacement_of,
    draw_wrinkles,
    expression_displacements,
    family_activity,
    family_masks,
    layer_weights,
    near_neutral,
)
from core.materials import Materials
from core.mesh import unique_edges
from core.synthesis.painting import paint_materials
from tests.tiny_head import ARKIT_NAMES, tiny_head

SIZE = 256
NAMES = [family.name for family in FAMILIES]
DETAIL = Path(__file__).resolve().parent.parent / "docs" / "detail.md"
RAISED = {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def points_mm(head: HeadModel) -> Tensor:
    return head.landmark_points("mediapipe", head.template) * 1000


@pytest.fixture(scope="module")
def place_mm(head: HeadModel) -> Tensor:
    return positions(head, head.template, SIZE) * 1000


@pytest.fixture(scope="module")
def wrinkles(head: HeadModel) -> Tensor:
    return draw_wrinkles(head, 0.3, 5, torch.zeros(SIZE, SIZE), SIZE)


@pytest.fixture(scope="module")
def materials(head: HeadModel, wrinkles: Tensor) -> Materials:
    """A face with a relief of its own, so that nothing can hide behind zeros."""
    relief = torch.from_numpy(torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).numpy() * 50)
    painted = paint_materials(head, size=64)
    return replace(painted, skin_displacement=relief.to(torch.int16), skin_wrinkles=wrinkles)


def mirrored(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


def across(weights: Mapping[str, float]) -> dict[str, float]:
    return {mirrored(name): weight for name, weight in weights.items()}


# ------------------------------------------------------------------------------------------------- families and gains


def test_every_arkit_name_folds_something_or_is_listed_as_folding_nothing():
    folding = {name for family in FAMILIES for name in family.gains}
    assert folding | FOLDLESS == set(ARKIT_NAMES)
    assert not folding & FOLDLESS


def test_families_fit_what_files_hold():
    assert len(set(NAMES)) == len(NAMES) <= 16, "four vertex attributes of four"
    assert {family.layer for family in FAMILIES} == set(range(LAYERS))


def test_left_and_right_families_have_mirrored_gains():
    by_name = {family.name: family for family in FAMILIES}
    for family in FAMILIES:
        other = by_name[mirrored(family.name)]
        assert other.layer == family.layer
        assert across(family.gains) == other.gains


def test_activity_is_a_clamped_sum():
    generator = torch.Generator().manual_seed(1)
    for weight in torch.rand(20, len(ARKIT_NAMES), generator=generator):
        weights = {str(name): value for name, value in zip(ARKIT_NAMES, weight.tolist(), strict=True)}
        matrix = torch.tensor([[family.gains.get(name, 0.0) for name in ARKIT_NAMES] for family in FAMILIES])
        assert torch.allclose(family_activity(weights), (matrix @ weight).clamp(0, 1), atol=1e-6)
    assert torch.equal(family_activity({}), torch.zeros(len(FAMILIES)))
    assert torch.equal(family_activity({"jawForward": 1.0, "unheard of": 1.0}), torch.zeros(len(FAMILIES)))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_activity_saturates_and_never_falls_below_zero(family):
    column = NAMES.index(family.name)
    folding = {name: 1.0 for name, gain in family.gains.items() if gain > 0}
    assert family_activity(folding)[column] == 1, "some expression folds it fully"
    for name, gain in family.gains.items():
        if gain < 0:
            assert family_activity({name: 1.0})[column] == 0
            assert family_activity({**folding, name: 1.0})[column] <= 1


# ------------------------------------------------------------------------------------------------------------- masks


def test_masks_are_soft_and_on_the_skin_alone(head: HeadModel):
    masks = family_masks(head)
    assert masks.shape == (len(head.template), len(FAMILIES))
    assert masks.min() == 0 and masks.max() <= 1
    assert (masks.amax(0) > 0.95).all(), "each family shows fully somewhere"
    skin = torch.zeros(len(head.template), dtype=torch.bool)
    skin[head.faces[head.part_faces("skin")]] = True
    assert not masks[~skin].any()
    edges = unique_edges(head.faces[head.part_faces("skin")])
    length_mm = (head.template[edges[:, 0]] - head.template[edges[:, 1]]).norm(dim=1) * 1000
    slope = (masks[edges[:, 0]] - masks[edges[:, 1]]).abs() / length_mm[:, None]
    assert slope.max() < 0.35, "none goes from nothing to all within three millimetres"


def test_masks_mirror_exactly(head: HeadModel):
    masks, swapped = family_masks(head), [NAMES.index(mirrored(name)) for name in NAMES]
    assert torch.equal(masks[head.mirror][:, swapped], masks)


def test_masks_lie_where_the_face_folds(head: HeadModel, points_mm: Tensor):
    masks, vertices = family_masks(head), head.template * 1000
    centres = (masks.T @ vertices) / masks.sum(0)[:, None]
    centre = dict(zip(NAMES, centres, strict=True))
    near = {
        "foreheadInner": 151, "foreheadOuterRight": 104, "glabella": 9, "bunnyRight": 193, "crowsFeetRight": 226,
        "lowerLidRight": 230, "nasolabialRight": 206, "lips": 13, "mouthCornerRight": 202, "chin": 199,
    }  # fmt: skip
    assert {mirrored(name) for name in near} | set(near) == set(NAMES)
    for name, landmark in near.items():
        assert (centre[name] - points_mm[landmark]).norm() < 19, name
    assert all(centre[name][0] > 5 for name in NAMES if name.endswith("Left")), "the person's own left"


def test_mirrored_weights_show_mirrored_wrinkles(head: HeadModel):
    for weights in [*KEY_EXPRESSIONS.values(), {"mouthSmileLeft": 0.7, "noseSneerLeft": 0.4, "jawRight": 1.0}]:
        here, there = layer_weights(head, weights), layer_weights(head, across(weights))
        assert torch.allclose(here[head.mirror], there, atol=1e-6)
        assert here.min() >= 0 and here.max() <= 1
    assert not layer_weights(head, {}).any()


def test_a_wink_leaves_the_other_side_alone(head: HeadModel, points_mm: Tensor):
    shown = layer_weights(head, {"eyeBlinkLeft": 1.0, "eyeSquintLeft": 1.0, "cheekSquintLeft": 1.0}).amax(1)
    assert shown[head.template[:, 0] < -0.006].max() == 0
    assert shown[head.template[:, 0] > 0.02].max() > 0.9


# ------------------------------------------------------------------------------------------------------- displacement


def test_the_relaxed_face_is_exactly_its_own_relief(head: HeadModel, materials: Materials):
    assert materials.skin_displacement is not None
    own = materials.skin_displacement[0].float() * 1e-6
    assert torch.equal(displacement_of(head, materials, {}, SIZE), own)
    assert torch.equal(displacement_of(head, materials, KEY_EXPRESSIONS["neutral"], SIZE), own)
    assert torch.equal(displacement_of(head, materials, dict.fromkeys(FOLDLESS, 1.0), SIZE), own)


def test_displacement_is_relief_plus_weighted_layers(head: HeadModel, materials: Materials):
    assert materials.skin_displacement is not None and materials.skin_wrinkles is not None
    for weights in (RAISED, KEY_EXPRESSIONS["grin"]):
        shown = interpolate(head, layer_weights(head, weights), SIZE)
        expected = materials.skin_displacement[0].float()
        for layer in range(LAYERS):
            expected = expected + shown[..., layer] * materials.skin_wrinkles[layer].float()
        assert torch.allclose(displacement_of(head, materials, weights, SIZE) * 1e6, expected, atol=0.01)


def test_maps_that_are_missing_or_of_another_size(head: HeadModel, materials: Materials):
    bare = replace(materials, skin_displacement=None, skin_wrinkles=None)
    assert torch.equal(displacement_of(head, bare, RAISED, 64), torch.zeros(64, 64))
    only = replace(materials, skin_displacement=None)
    fine, coarse = displacement_of(head, only, RAISED, SIZE), displacement_of(head, only, RAISED, SIZE // 2)
    small = torch.nn.functional.avg_pool2d(fine[None, None], 2)[0, 0]
    assert torch.corrcoef(torch.stack([small.flatten(), coarse.flatten()]))[0, 1] > 0.99


def test_raised_brows_fold_the_forehead_and_nothing_else(
    head: HeadModel, materials: Materials, place_mm: Tensor, points_mm: Tensor
):
    own = displacement_of(head, materials, {}, SIZE)
    change = (displacement_of(head, materials, RAISED, SIZE) - own).abs() * 1000
    brow, hair = points_mm[[105, 334], 1].mean(), points_mm[10, 1]
    forehead = (place_mm[..., 1] > brow - 12) & (place_mm[..., 1] < hair + 16) & (place_mm[..., 2] > -50)
    assert change[~forehead].max() < 0.005, "what the border's triangles carry beyond it"
    assert change[forehead].max() > 0.4


def test_all_key_expressions_have_maps_of_their_own(head: HeadModel, materials: Materials):
    assert len(KEY_EXPRESSIONS) == 20
    assert {name for weights in KEY_EXPRESSIONS.values() for name in weights} <= set(head.expression_names)
    assert all(0 < weight <= 1 for weights in KEY_EXPRESSIONS.values() for weight in weights.values())
    maps = dict(expression_displacements(head, materials, 128))
    assert list(maps) == list(KEY_EXPRESSIONS)
    for one, other in itertools.combinations(maps, 2):
        assert (maps[one] - maps[other]).abs().max() > 2e-6, f"{one} looks like {other}"
    for name in ("jaw", "mouth"):
        left, right = KEY_EXPRESSIONS[f"{name} left"], KEY_EXPRESSIONS[f"{name} right"]
        assert across(left) == right
    for name, weights in KEY_EXPRESSIONS.items():
        if not name.endswith(("left", "right")):
            assert across(weights) == weights, f"{name} is even"


# -------------------------------------------------------------------------------------------------------- the drawing


def test_same_arguments_same_bytes(head: HeadModel, wrinkles: Tensor):
    flat = torch.zeros(SIZE, SIZE)
    assert torch.equal(wrinkles, draw_wrinkles(head, 0.3, 5, flat, SIZE))
    assert not torch.equal(wrinkles, draw_wrinkles(head, 0.3, 6, flat, SIZE))
    assert not torch.equal(wrinkles, draw_wrinkles(head, 0.8, 5, flat, SIZE))


def test_folds_are_there_in_youth_and_deepen_with_age(head: HeadModel, place_mm: Tensor, points_mm: Tensor):
    """From valley to crest, millimetres, at the fullest expression."""
    full = {"foreheadInner": 0.5, "glabella": 0.45, "crowsFeetLeft": 0.25, "nasolabialLeft": 0.8, "lips": 0.15}
    full |= {"bunnyRight": 0.25, "lowerLidRight": 0.12, "mouthCornerLeft": 0.3, "chin": 0.2}
    masks = interpolate(head, family_masks(head), SIZE)

    def heights(strength: float, seed: int) -> dict[str, float]:
        drawn = draw_wrinkles(head, strength, seed, torch.zeros(SIZE, SIZE), SIZE).float() / 1000
        found = {}
        for name in full:
            column = NAMES.index(name)
            there = drawn[FAMILIES[column].layer][masks[..., column] > 0.7]
            found[name] = float(there.max() - there.min())
        return found

    for seed in range(2):
        child, old = heights(0.0, seed), heights(1.0, seed)
        for name, least in full.items():
            assert least < child[name] < 2.2, name
            assert child[name] < old[name] + 0.05 < 3, name
        assert sum(old.values()) > 1.2 * sum(child.values())


def test_folds_move_skin_but_hardly_make_any(head: HeadModel):
    """What sinks in a groove stands beside it: within a centimetre the mean change is small."""
    drawn = draw_wrinkles(head, 0.5, 1, torch.zeros(SIZE, SIZE), SIZE).float() / 1000
    assert (drawn > 0.02).any() and (drawn < -0.2).any()
    forehead = interpolate(head, family_masks(head)[:, :1], SIZE)[..., 0] > 0.8
    assert drawn[0][forehead].mean().abs() < 0.25 * drawn[0][forehead].abs().max()


def test_lines_lie_within_their_families(head: HeadModel):
    """Beyond the soft bulges nothing is drawn where no family of the layer would show it."""
    masks = family_masks(head)
    for layer in range(LAYERS):
        shown = masks[:, [family.layer == layer for family in FAMILIES]].sum(1)
        away = interpolate(head, shown[:, None], SIZE)[..., 0] == 0
        away = -torch.nn.functional.max_pool2d(-away.float()[None], 21, 1, 10)[0] > 0
        drawn = draw_wrinkles(head, 1.0, 2, torch.zeros(SIZE, SIZE), SIZE)[layer]
        assert drawn[away].abs().max() < 100


def groove(place_mm: Tensor, distance_mm: Tensor, depth_mm: float, near: Tensor) -> Tensor:
    """A relief with one furrow along the places at distance 0, in metres."""
    return -depth_mm / 1000 * torch.exp(-0.5 * (distance_mm / 0.8) ** 2) * near


def test_own_lines_deepen_where_they_run_with_the_fold(head: HeadModel, points_mm: Tensor):
    size = 512
    place = positions(head, head.template, size) * 1000
    x, y, z = place.unbind(-1)
    forehead = (x.abs() < 25) & (z > 0) & (y > points_mm[9, 1] + 4) & (y < points_mm[10, 1])
    height = float((points_mm[9, 1] + points_mm[10, 1]) / 2)
    strength, seed = 0.2, 3
    flat = draw_wrinkles(head, strength, seed, torch.zeros(size, size), size).float() / 1000

    level = groove(place, y - height, 0.3, forehead)
    with_level = draw_wrinkles(head, strength, seed, level, size).float() / 1000
    on_line = forehead & ((y - height).abs() < 0.4) & (x.abs() < 20)
    deeper = (flat[0] - with_level[0])[on_line]
    assert with_level[0][on_line].mean() < -0.25, "it sinks all along"
    assert deeper.mean() > 0.1
    assert torch.equal(with_level[1], flat[1]), "the layer of upright lines does not see it"
    # Drawn lines beside it give way, those farther off stay.
    beside = forehead & ((y - height).abs() > 1.6) & ((y - height).abs() < 3)
    far = (y - height).abs() > 12
    assert with_level[0][beside].clamp(max=0).abs().mean() <= flat[0][beside].clamp(max=0).abs().mean() + 0.02
    assert (with_level[0] - flat[0])[far].abs().max() < 0.12

    upright = groove(place, x - 12, 0.3, forehead)
    crossing = forehead & ((x - 12).abs() < 0.4)
    with_upright = draw_wrinkles(head, strength, seed, upright, size).float() / 1000
    assert (flat[0] - with_upright[0])[crossing].mean() < 0.05, "a scar across the fold does not deepen"


def test_pores_are_no_lines(head: HeadModel, points_mm: Tensor):
    size = 512
    place = positions(head, head.template, size) * 1000
    generator = torch.Generator().manual_seed(4)
    pits = (torch.rand(size, size, generator=generator) > 0.985).float()
    pits = torch.nn.functional.avg_pool2d(pits[None, None], 3, 1, 1)[0, 0] * -0.0009
    flat = draw_wrinkles(head, 0.2, 3, torch.zeros(size, size), size).float()
    pitted = draw_wrinkles(head, 0.2, 3, pits, size).float()
    forehead = (place[..., 1] > points_mm[9, 1]) & (place[..., 2] > 0)
    difference = (pitted - flat)[0][forehead]
    assert difference.square().mean().sqrt() < 0.25 * flat[0][forehead].square().mean().sqrt()


def test_another_size_shows_the_same_lines(head: HeadModel):
    fine = draw_wrinkles(head, 0.5, 2, torch.zeros(512, 512), 512).float()
    coarse = draw_wrinkles(head, 0.5, 2, torch.zeros(128, 128), SIZE).float()
    small = torch.nn.functional.avg_pool2d(fine[None], 2)[0]
    assert torch.corrcoef(torch.stack([small.flatten(), coarse.flatten()]))[0, 1] > 0.95


def test_a_head_without_landmarks_does_not_fold():
    head = tiny_head()
    assert not family_masks(head).any()
    drawn = draw_wrinkles(head, 1.0, 0, torch.zeros(64, 64), 64)
    assert drawn.shape == (2, 64, 64) and not drawn.any()


# ------------------------------------------------------------------------------------------------------- near neutral


def test_only_an_expression_that_folds_warns():
    assert near_neutral({})[0]
    assert near_neutral(dict.fromkeys(ARKIT_NAMES, NEUTRAL_LIMIT))[0]
    assert near_neutral(dict.fromkeys([name for name in ARKIT_NAMES if name.startswith("eyeLook")], 1.0))[0]
    relaxed, sentence = near_neutral({"mouthSmileLeft": 0.72, "browInnerUp": 0.4, "jawOpen": 0.1})
    assert not relaxed
    assert "a smile (mouthSmileLeft 0.72" in sentence and "relaxed face" in sentence and sentence.endswith(".")
    for name in ARKIT_NAMES:
        relaxed, sentence = near_neutral({name: 1.0})
        assert relaxed == name.startswith("eyeLook")
        assert relaxed or f"({name} 1.00" in sentence


def test_every_movement_has_a_name():
    stems = {name if name in MOVEMENTS else re.sub("(Left|Right)$", "", name) for name in ARKIT_NAMES}
    assert {stem for stem in stems if not stem.startswith("eyeLook")} == set(MOVEMENTS)


# --------------------------------------------------------------------------------------------------------------- docs


def combination(weights: Mapping[str, float]) -> str:
    """ARKit weights as the documentation writes them: both sides at once where they are equal."""
    terms = []
    for name, weight in weights.items():
        if weights.get(mirrored(name)) == weight and mirrored(name) != name:
            if name.endswith("Right"):
                continue
            name = name.removesuffix("Left") + "*"
        terms.append(f"`{name}` {weight:g}")
    return ", ".join(terms) or "all 0"


def documented() -> list[str]:
    rows = [f"| {name} | {combination(weights)} |" for name, weights in KEY_EXPRESSIONS.items()]
    for family in FAMILIES:
        if not family.name.endswith("Right"):
            sided = family.name.endswith("Left")
            own = {str(re.sub("Left$", "^", n)) if sided else n: gain for n, gain in family.gains.items()}
            name = family.name.replace("Left", "^")
            rows.append(f"| {name} | {family.layer} | {combination(own)} |")
    return rows


def test_the_documentation_lists_the_code():
    text = DETAIL.read_text("utf-8")
    missing = [row for row in documented() if row not in text]
    assert not missing, "docs/detail.md lacks these rows:\n" + "\n".join(missing)
