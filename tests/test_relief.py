"""Relief and shine follow the features; normal maps agree with analytic surfaces."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup, interpolate, positions
from core.head import PARTS, HeadModel, load_head
from core.materials import SKIN_F0, SPECULAR_F0
from core.mesh import vertex_normals
from core.synthesis.features import Features, draw_features
from core.synthesis.painting import paint_roughness
from core.synthesis.people import Labels, Person, sample_person
from core.synthesis.relief import Relief, normal_map, paint_relief
from tests.tiny_head import tiny_head

SIZE = 256
HALF_STEP = 0.5 / 127.5  # what rounding to 8 bits may move a component


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def person(head: HeadModel) -> Person:
    return replace(sample_person(head, 3), labels=Labels(pores=0.0, oiliness=0.4))


def bare(**maps: Tensor) -> Features:
    """A skin without features but those given."""
    blank = {field.name: torch.zeros(SIZE, SIZE) for field in fields(Features)}
    return Features(**{**blank, **maps})


def disc(head: HeadModel, landmark: int, radius_mm: float) -> Tensor:
    place = positions(head, head.template, SIZE)
    centre = head.landmark_points("mediapipe", head.template)[landmark]
    return ((place - centre).norm(dim=-1) < radius_mm / 1000).float()


def vectors(coded: Tensor) -> Tensor:
    return coded.float() / 127.5 - 1


# ------------------------------------------------------------------------------------------------------------ the maps


CHEEK = 280


def painted(head: HeadModel, person: Person, name: str, value: float = 1.0) -> tuple[Relief, Relief, Tensor]:
    """The relief with one feature on the cheek, without any, and where it is."""
    where = disc(head, CHEEK, 3.0)
    given = paint_relief(head, person, bare(**{name: value * where}))
    return given, paint_relief(head, person, bare()), where > 0


@pytest.mark.parametrize("name", ["moles", "blemishes", "age_spots", "stubble", "scalp", "brows", "beard"])
def test_what_stands_out_is_raised_only_where_it_is(head: HeadModel, person: Person, name: str):
    given, plain, where = painted(head, person, name)
    assert (given.displacement_m > plain.displacement_m)[where].all()
    assert torch.equal(given.displacement_m[~where], plain.displacement_m[~where])


def test_pores_sink_by_their_measured_depth(head: HeadModel, person: Person):
    given, plain, where = painted(head, person, "pores")
    fall_mm = (plain.displacement_m - given.displacement_m)[where] * 1000
    assert (fall_mm >= 0.02).all() and (fall_mm <= 0.1001).all()


def test_scars_of_one_person_are_all_raised_or_all_sunk(head: HeadModel, person: Person):
    signs = set()
    for seed in range(12):
        given, plain, where = painted(head, replace(person, seed=seed), "scars")
        change = (given.displacement_m - plain.displacement_m)[where]
        assert (change > 0).all() or (change < 0).all()
        signs.add(bool(change[0] > 0))
    assert signs == {True, False}


def test_a_groove_sinks_by_its_depth_and_the_skin_beside_it_rises(head: HeadModel, person: Person):
    where = disc(head, CHEEK, 1.2)
    plain = paint_relief(head, person, bare())
    given = paint_relief(head, person, bare(wrinkles=0.0005 * where))
    change_mm = (given.displacement_m - plain.displacement_m) * 1000
    assert -0.5 <= change_mm[where > 0].min() < -0.35
    beside = (disc(head, CHEEK, 3.5) > 0) & (disc(head, CHEEK, 2.2) == 0)
    assert (change_mm[beside] > 0).all() and change_mm[beside].max() < 0.2
    assert change_mm[disc(head, CHEEK, 25.0) == 0].abs().max() < 1e-6


def test_shine(head: HeadModel, person: Person):
    """F0 of skin away from the oily zone; less in grooves and pores, none under hair; lips smooth and moist."""
    plain = paint_relief(head, person, bare())
    place = positions(head, head.template, SIZE)
    back = place[..., 2] < -0.08
    assert abs(float(plain.specular[back].median()) * SPECULAR_F0 / SKIN_F0 - 1) < 0.1
    for name in ("pores", "stubble", "scars"):
        given, _, where = painted(head, person, name)
        assert (given.specular < plain.specular)[where].all()
    groove = paint_relief(head, person, bare(wrinkles=0.0005 * disc(head, CHEEK, 1.2)))
    assert (groove.specular < plain.specular)[disc(head, CHEEK, 1.2) > 0].all()
    for name in ("brows", "beard"):
        given, _, where = painted(head, person, name)
        assert given.specular[where].max() == 0 and (given.roughness > plain.roughness)[where].all()
    lips, _, where = painted(head, person, "lips")
    assert (lips.specular > plain.specular)[where].all() and (lips.roughness < plain.roughness - 0.08)[where].all()


def test_oil_shines_on_nose_and_forehead_first(head: HeadModel, person: Person):
    dry, oily = (
        paint_relief(head, replace(person, labels=replace(person.labels, oiliness=o)), bare()) for o in (0.0, 1.0)
    )
    nose, jaw = disc(head, 1, 6.0) > 0, disc(head, 172, 6.0) > 0
    smoother, shinier = dry.roughness - oily.roughness, oily.specular - dry.specular
    assert (smoother > 0.02).all() and smoother[nose].mean() > smoother[jaw].mean() + 0.05
    assert shinier[nose].mean() > shinier[jaw].mean() + 0.03


def test_roughness_agrees_with_the_painted_skin(head: HeadModel, person: Person):
    """A head from a label and one from a look are of the same material."""
    lips = draw_features(head, person, SIZE).lips
    ours = paint_relief(head, person, bare(lips=lips)).roughness
    theirs = paint_roughness(head, SIZE)[0].float() / 255
    assert (ours - theirs).abs().median() < 0.02 and torch.quantile((ours - theirs).abs().flatten(), 0.99) < 0.07


@pytest.mark.parametrize("seed", [0, 1])
def test_whole_people(head: HeadModel, seed: int):
    one = sample_person(head, seed)
    features = draw_features(head, one, SIZE)
    relief = paint_relief(head, one, features)
    again = paint_relief(head, one, features)
    for field in fields(Relief):
        values = getattr(relief, field.name)
        assert values.shape == (SIZE, SIZE) and values.isfinite().all()
        assert torch.equal(values, getattr(again, field.name))
    assert relief.displacement_m.abs().max() < 0.003
    hairless = torch.maximum(features.brows, features.beard) == 0
    roughness = relief.roughness[hairless]
    assert (roughness >= 0.28).all() and (roughness <= 0.66).all() and 0.45 < roughness.median() < 0.62
    assert (relief.specular >= 0).all() and relief.specular.max() * SPECULAR_F0 < 0.06
    other = paint_relief(head, replace(one, seed=one.seed + 1), features)
    assert not torch.equal(other.displacement_m, relief.displacement_m), "the micro relief is a person's own"


def test_another_model_gets_a_relief_too(person: Person):
    relief = paint_relief(tiny_head(), person, bare())
    assert relief.displacement_m.isfinite().all() and relief.displacement_m.abs().max() < 0.0002


# ------------------------------------------------------------------------------------------------------------- normals


def sheet(width_m: float = 0.1, flip_u: bool = False, turn: float = 0.0, cells: int = 12) -> HeadModel:
    """A head whose skin is a flat square in the plane z = 0, mapped to the whole atlas; `turn` radians of it."""
    head = tiny_head()
    row, column = torch.meshgrid(torch.arange(cells + 1), torch.arange(cells + 1), indexing="ij")
    uv = torch.stack([column, row], -1).reshape(-1, 2) / cells
    flat = (uv - 0.5) * width_m
    a = torch.tensor(turn)
    turned = torch.stack([a.cos() * flat[:, 0] - a.sin() * flat[:, 1], a.sin() * flat[:, 0] + a.cos() * flat[:, 1]], 1)
    place = torch.cat([turned, torch.zeros(len(flat), 1)], 1)
    if flip_u:
        place = place * torch.tensor([-1.0, 1.0, 1.0])
    corner = (row * (cells + 1) + column)[:-1, :-1].flatten()
    one = torch.stack([corner, corner + 1, corner + cells + 2], 1)
    two = torch.stack([corner, corner + cells + 2, corner + cells + 1], 1)
    faces = torch.cat([one, two])
    if flip_u:
        faces = faces.flip(1)
    count = len(place)
    return replace(
        head,
        template=place,
        shape_basis=torch.zeros(1, count, 3),
        joint_shape_basis=head.joint_shape_basis[:1],
        expression_basis=torch.zeros(len(head.expression_names), count, 3),
        skin_joints=torch.zeros(count, 4, dtype=torch.long),
        skin_weights=torch.full((count, 4), 0.25),
        faces=faces,
        uv=uv,
        uv_faces=faces.clone(),
        face_part=torch.full((len(faces),), PARTS.index("skin")),
        mirror=torch.arange(count),
        regions=torch.ones(1, count),
        attribute_directions=torch.eye(1, 1),
        landmarks={},
    )


def test_no_relief_is_flat_blue(head: HeadModel):
    flat = normal_map(head, torch.zeros(64, 64))
    assert torch.equal(flat.unique(dim=1).unique(dim=2)[:, 0, 0], torch.tensor([128, 128, 255], dtype=torch.uint8))
    assert (flat[2] == 255).all() and (flat[:2] == 128).all()


@pytest.mark.parametrize("turn", [0.0, 0.7, 2.5])
@pytest.mark.parametrize("flip_u", [False, True])
@pytest.mark.parametrize("slope", [(0.3, 0.0), (0.0, 0.5), (-0.4, 0.25)])
def test_a_ramp_has_its_analytic_normal(slope: tuple[float, float], flip_u: bool, turn: float):
    """Rising along u it leans against u, in any frame of space, mirrored or not: red and green speak of the map."""
    width, size = 0.1, 32
    v, u = torch.meshgrid(1 - (torch.arange(size) + 0.5) / size, (torch.arange(size) + 0.5) / size, indexing="ij")
    height = width * (slope[0] * u + slope[1] * v)
    found = vectors(normal_map(sheet(width, flip_u, turn), height))
    expected = functional.normalize(torch.tensor([-slope[0], -slope[1], 1.0]), dim=0)
    assert (found - expected[:, None, None]).abs().max() < HALF_STEP + 1e-4, "the border too"


@pytest.mark.parametrize("size", [128, 700])  # with the frame of its own size, and of a smaller one
def test_a_cap_of_a_sphere_has_the_spheres_normals(size: int):
    width, radius = 0.1, 0.06
    head = sheet(width)
    place = positions(head, head.template, size)
    height = (radius**2 - place[..., 0] ** 2 - place[..., 1] ** 2).clamp_min(1e-12).sqrt()
    within = place[..., :2].norm(dim=-1) < 0.045
    expected = torch.cat([place[..., :2], height[..., None]], -1) / radius
    found = vectors(normal_map(head, height)).permute(1, 2, 0)
    assert (found - expected)[within].abs().max() < HALF_STEP + 0.003
    assert (found.norm(dim=-1) - 1).abs().max() < 2 * HALF_STEP


def test_slopes_are_true_on_the_whole_head_without_a_seam(head: HeadModel):
    """The height a.x has the gradient a in space: its part along the surface must come back at every texel, also where
    the atlas is cut, whatever its stretch. The blue channel does not depend on the tangents."""
    size = 512
    place = positions(head, head.template, size)
    normal = functional.normalize(interpolate(head, vertex_normals(head.template, head.faces), size), dim=-1)
    inside = atlas_lookup(head, size).inside
    outside = functional.pad((~inside).float()[None, None], (1, 1, 1, 1), value=1.0)
    cut = (inside & (functional.max_pool2d(outside, 3, 1)[0, 0] > 0) & (place[..., 2] < -0.12))[inside]
    assert cut.sum() > 500, "the atlas is cut at the back of the head"
    for direction in torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.1, 0.2, 0.4]]):
        along = direction - (normal @ direction)[..., None] * normal
        blue = 1 / (1 + along.square().sum(-1)).sqrt()
        coded = vectors(normal_map(head, place @ direction))
        error = (coded[2] - blue).abs()[inside]
        # A triangle is flat where the shading normal is round, most so in the folds of lips, ears and nostrils.
        assert error.median() < 0.005 and torch.quantile(error[::3], 0.9) < 0.03
        # Half a slope, as a difference to a texel without skin would give, would be off by 0.05.
        assert error[cut].median() < 0.008 and torch.quantile(error[cut], 0.9) < 0.05
    assert (coded.norm(dim=0) - 1).abs().max() < 2 * HALF_STEP


def test_a_larger_head_has_gentler_slopes(head: HeadModel):
    height = 0.001 * torch.sin(positions(head, head.template, 128).sum(-1) * 300)
    normal, larger = (vectors(normal_map(head, height, head.template * scale)) for scale in (1.0, 2.0))
    slope, gentler = (n[:2].norm(dim=0) / n[2] for n in (normal, larger))
    steep = (slope > 0.1) & (slope < 3)
    assert steep.any() and (gentler[steep] / slope[steep] - 0.5).abs().median() < 0.02
