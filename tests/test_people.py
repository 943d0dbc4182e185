"""Synthetic people: the latent's coordinates, the causal graph, its inverse, shape, mixing weights and colours."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.color import individual_typology_angle_deg
from core.errors import LikenessError
from core.head import HeadModel, load_head
from core.materials import IRIS_COLOURS
from core.synthesis.painting import skin_tone
from core.synthesis.people import (
    ANCESTRIES,
    GRAPH,
    LABEL_NAMES,
    LATENT_NAMES,
    LATENT_SIZE,
    MIX_REGIONS,
    MIX_SKINS,
    SHAPE_COUNT,
    SKINS,
    Labels,
    Person,
    followers,
    hair_colour,
    iris_colour,
    label_range,
    label_vector,
    labels_from_vector,
    labels_of_latents,
    person_from_latent,
    person_with,
    sample_person,
)
from tests.tiny_head import tiny_head

CROWD = 10_000


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def people(head: HeadModel) -> list[Person]:
    return [sample_person(head, seed) for seed in range(1000)]


@pytest.fixture(scope="module")
def crowd() -> dict[str, NDArray[np.float64]]:
    return labels_of_latents(np.random.default_rng(5).standard_normal((CROWD, LATENT_SIZE)))


# ------------------------------------------------------------------------------------------------ latent


def test_latent_is_standard_normal(people: list[Person]) -> None:
    latents = torch.stack([person.latent for person in people]).double()
    # Five deviations of what chance allows, for 245 coordinates and their 30,000 pairs.
    count = len(people)
    assert float(latents.mean(0).abs().max()) < 5 / math.sqrt(count)
    assert float((latents.var(0) - 1).abs().max()) < 5 * math.sqrt(2 / count)
    correlation = torch.corrcoef(latents.T) - torch.eye(LATENT_SIZE)
    assert float(correlation.abs().max()) < 5 / math.sqrt(count)
    kurtosis = ((latents - latents.mean()) ** 4).mean()
    assert float(kurtosis) == pytest.approx(3, abs=0.05)


def test_names_are_the_contract() -> None:
    assert len(LATENT_NAMES) == len(set(LATENT_NAMES)) == LATENT_SIZE < 300
    assert LATENT_NAMES[: len(LABEL_NAMES)] == (*(factor.label for factor in GRAPH), *ANCESTRIES)
    assert LATENT_NAMES[-1] == f"shape_{SHAPE_COUNT - 1}" and f"mix_{MIX_REGIONS - 1}_{MIX_SKINS - 1}" in LATENT_NAMES
    assert LABEL_NAMES == tuple(field.name for field in dataclasses.fields(Labels))
    assert list(SKINS) == sorted(SKINS)


def test_graph_has_no_cycles() -> None:
    known: set[str] = set(ANCESTRIES)
    for factor in GRAPH:
        assert known.issuperset(factor.parents), factor.label
        known.add(factor.label)


def test_same_seed_same_person_other_seed_other_person(head: HeadModel) -> None:
    one, same, other = sample_person(head, 7), sample_person(head, 7), sample_person(head, 8)
    for name in ("latent", "mix", "shape"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    assert one.labels == same.labels != other.labels
    # What numpy's stream gave when this was written: everybody's person 7 is this one.
    assert one.latent[:3].tolist() == pytest.approx(PERSON_7[:3], abs=1e-6)
    assert one.labels.age_years == pytest.approx(PERSON_7[3], abs=1e-4)


PERSON_7 = (0.714612, -1.3584689, -1.3901466, 65.69047)


def test_person_is_a_function_of_its_latent(head: HeadModel, people: list[Person]) -> None:
    for person in people[:40]:
        again = person_from_latent(head, person.latent, 99)
        assert again.labels == person.labels and again.seed == 99
        assert torch.equal(again.shape, person.shape) and torch.equal(again.mix, person.mix)
        assert labels_from_vector(label_vector(person.labels)) == person.labels


def test_many_at_once_equal_one_by_one(people: list[Person]) -> None:
    values = labels_of_latents(np.stack([person.latent.numpy() for person in people]))
    for index, person in enumerate(people):
        assert {name: float(values[name][index]) for name in LABEL_NAMES} == vars(person.labels)


# ------------------------------------------------------------------------------------------------ labels


def test_labels_stay_in_range_and_fill_it(crowd: dict[str, NDArray[np.float64]]) -> None:
    for name in LABEL_NAMES:
        low, high = label_range(name)
        assert crowd[name].min() >= low and crowd[name].max() <= high
        # Every label is there in strength in at least one of five hundred people; red hair is the rarest.
        assert np.quantile(crowd[name], 0.998) > low + 0.45 * (high - low), name
    assert np.quantile(crowd["age_years"], [0.02, 0.98]) == pytest.approx([20, 82], abs=2)
    assert np.abs(sum(crowd[name] for name in ANCESTRIES) - 1).max() < 1e-6
    # Two sexes, equally many, few between.
    assert (crowd["gender"] > 0.5).mean() == pytest.approx(0.5, abs=0.02)
    assert ((crowd["gender"] > 0.35) & (crowd["gender"] < 0.65)).mean() < 0.15


def test_tones_span_human_skin(crowd: dict[str, NDArray[np.float64]]) -> None:
    tones = torch.stack(
        [skin_tone(float(m), float(h)) for m, h in zip(crowd["melanin"][:3000], crowd["haemoglobin"], strict=False)]
    )
    angle = individual_typology_angle_deg(tones).numpy()
    assert angle.min() < -50 and angle.max() > 58
    # Each of the six classes of Chardon et al. 1991 (very light .. dark) holds at least 7 % of the people.
    shares = np.histogram(angle, [-90, -30, 10, 28, 41, 55, 90])[0] / len(angle)
    assert shares.min() > 0.07, shares


def test_each_label_rises_with_its_own_coordinate(crowd: dict[str, NDArray[np.float64]]) -> None:
    rng = np.random.default_rng(1)
    for column, name in enumerate(LATENT_NAMES[: len(LABEL_NAMES)]):
        latents = np.repeat(rng.standard_normal((20, 1, LATENT_SIZE)), 81, axis=1)
        latents[:, :, column] = np.linspace(-6, 6, 81)
        values = labels_of_latents(latents.reshape(-1, LATENT_SIZE))[name].reshape(20, 81)
        steps = np.diff(values, axis=1)
        assert steps.min() >= 0, name
        low, high = label_range(name)
        strictly = (values[:, 1:] > low) & (values[:, :-1] < high)
        assert (steps[strictly] > 0).all() and strictly.sum() > 100, name


def test_causes_show(crowd: dict[str, NDArray[np.float64]]) -> None:
    women, men, = crowd["gender"] < 0.35, crowd["gender"] > 0.65  # fmt: skip
    beard = np.maximum(crowd["beard_chin"], crowd["moustache"]) > 0.1
    assert beard[women].mean() < 0.002 < 0.2 < beard[men].mean() < 0.6
    assert (crowd["stubble"] > 0.1)[women].mean() < 0.002 < 0.3 < (crowd["stubble"] > 0.1)[men].mean()
    assert (crowd["lipstick"] > 0.1)[men].mean() < 0.002 < 0.2 < (crowd["lipstick"] > 0.1)[women].mean() < 0.6
    young, old = crowd["age_years"] < 35, crowd["age_years"] > 65
    for name in ("wrinkles", "sag", "grey", "age_spots"):
        assert crowd[name][young].mean() < 0.12 < 0.25 < crowd[name][old].mean(), name
        assert 0.4 < np.corrcoef(crowd["age_years"], crowd[name])[0, 1] < 0.85, name
    assert crowd["recession"][women].mean() < 0.02 < 0.1 < crowd["recession"][men].mean()
    assert crowd["recession"][men & young].mean() + 0.15 < crowd["recession"][men & old].mean()
    fair, dark = crowd["melanin"] < 0.2, crowd["melanin"] > 0.55
    assert crowd["freckles"][dark].mean() * 3 < crowd["freckles"][fair].mean()
    assert (crowd["hair_redness"] > 0.2)[dark].mean() < 0.01 < 0.02 < (crowd["hair_redness"] > 0.2)[fair].mean()
    for name in ("hair_melanin", "iris_melanin"):
        assert crowd[name][fair].mean() + 0.15 < crowd[name][dark].mean(), name
    # Tone follows ancestry, with overlap: one in twenty of mostly European ancestry is darker than one in twenty of
    # mostly African.
    european, african = crowd["european"] > 0.7, crowd["african"] > 0.7
    assert crowd["melanin"][european].mean() + 0.2 < crowd["melanin"][african].mean()
    assert np.quantile(crowd["melanin"][european], 0.95) > np.quantile(crowd["melanin"][african], 0.05)


def test_each_label_keeps_variance_of_its_own(crowd: dict[str, NDArray[np.float64]]) -> None:
    """Share of the variance that all other labels, and their squares, tell; measured on people not regressed on.

    Ancestry is compositional: a proportion is not predicted from the other two.
    """
    half = CROWD // 2
    explained = {}
    for name in LABEL_NAMES:
        others = [other for other in LABEL_NAMES if other != name and not {name, other} <= set(ANCESTRIES)]
        inputs = np.column_stack([crowd[other] for other in others])
        inputs = (inputs - inputs.mean(0)) / inputs.std(0)
        inputs = np.column_stack([np.ones(CROWD), inputs, inputs**2])
        weights = np.linalg.lstsq(inputs[:half], crowd[name][:half], rcond=None)[0]
        rest = crowd[name][half:] - inputs[half:] @ weights
        explained[name] = 1 - rest.var() / crowd[name][half:].var()
    # Age has six children that tell it; everything else keeps at least three tenths of its variance.
    assert explained.pop("age_years") < 0.9
    assert max(explained.values()) < 0.7, explained
    assert float(np.median(list(explained.values()))) < 0.25


# ------------------------------------------------------------------------------------------------ person_with


def test_person_with_hits_the_value_and_moves_no_other_coordinate(head: HeadModel, people: list[Person]) -> None:
    for person in people[:2]:
        for name in LABEL_NAMES:
            low, high = label_range(name)
            for share in (0.0, 0.03, 0.6, 1.0):
                value = low + share * (high - low)
                moved = person_with(person, head, **{name: value})
                assert getattr(moved.labels, name) == pytest.approx(value, abs=3e-6 * (high - low)), name
                if share in (0.0, 1.0):
                    assert getattr(moved.labels, name) == value, name
                changed = torch.nonzero(moved.latent != person.latent).flatten().tolist()
                assert [LATENT_NAMES[index] for index in changed] in ([], [name])
                differing = {
                    other for other in LABEL_NAMES if getattr(moved.labels, other) != getattr(person.labels, other)
                }
                assert differing <= followers(name) | {name}
                again = person_from_latent(head, moved.latent, person.seed)
                assert again.labels == moved.labels and torch.equal(again.shape, moved.shape)


def test_person_with_what_it_is_is_the_same_person(head: HeadModel, people: list[Person]) -> None:
    for person in people[:20]:
        same = person_with(person, head, **vars(person.labels))
        assert torch.allclose(label_vector(same.labels), label_vector(person.labels), atol=1e-4)
        assert torch.allclose(same.shape, person.shape, atol=1e-4)
        assert person_with(person, head).labels == person.labels


def test_person_with_all_labels_at_once(head: HeadModel, people: list[Person]) -> None:
    """Any two people's labels can be exchanged, parents and children together."""
    for one, other in zip(people[:20], people[20:40], strict=True):
        moved = person_with(one, head, **vars(other.labels))
        assert torch.allclose(label_vector(moved.labels), label_vector(other.labels), atol=1e-4)
        assert torch.equal(moved.latent[len(LABEL_NAMES) :], one.latent[len(LABEL_NAMES) :])


@pytest.mark.parametrize(
    "shares", [{"african": 0.2, "asian": 0.5}, {"african": 0.0, "european": 1.0}, {"asian": 0.0, "european": 0.0},
               {"african": 0.25, "asian": 0.5, "european": 0.25}, {"african": 0.0, "asian": 0.4, "european": 0.6}]
)  # fmt: skip
def test_proportions_of_ancestry_together(head: HeadModel, people: list[Person], shares: dict[str, float]) -> None:
    for person in people[:30]:
        labels = person_with(person, head, **shares).labels
        for name, value in shares.items():
            assert getattr(labels, name) == pytest.approx(value, abs=1e-5)
        assert labels.african + labels.asian + labels.european == pytest.approx(1, abs=1e-6)


def test_followers_are_the_descendants() -> None:
    assert followers("lipstick_hue") == frozenset()
    assert {"wrinkles", "grey", "recession"} <= followers("age_years") and "melanin" not in followers("age_years")
    # Through melanin and hair.
    assert {"melanin", "freckles", "iris_melanin", "asian", "european"} <= followers("african")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"hat": 1.0}, "'hat' is not a label"),
        ({"age_years": 17.0}, "age_years was set to 17. Give a number from 18 to 85."),
        ({"melanin": 1.01}, "melanin was set to 1.01"),
        ({"freckles": math.nan}, "freckles was set to nan"),
        ({"grey": math.inf}, "grey was set to inf"),
        ({"african": 0.7, "asian": 0.4}, "sum to 1.1"),
        ({"african": 0.1, "asian": 0.1, "european": 0.1}, "sum to 0.3"),
    ],
)
def test_impossible_labels_are_sentences(head: HeadModel, people: list[Person], labels: dict, words: str) -> None:
    with pytest.raises(LikenessError, match=words.replace(".", r"\.")):
        person_with(people[0], head, **labels)


def test_other_bad_input_is_a_sentence(head: HeadModel) -> None:
    with pytest.raises(LikenessError, match="is not a label"):
        label_range("hat")
    with pytest.raises(LikenessError, match="is not a label"):
        followers("hat")
    with pytest.raises(LikenessError, match="seed of a person was -1"):
        sample_person(head, -1)
    with pytest.raises(LikenessError, match="latent of 10 numbers"):
        person_from_latent(head, torch.zeros(10), 0)
    latent = torch.zeros(LATENT_SIZE)
    latent[1] = math.nan
    with pytest.raises(LikenessError, match="coordinate gender is not a finite number"):
        person_from_latent(head, latent, 0)
    with pytest.raises(LikenessError, match="label vector of 3 numbers"):
        labels_from_vector(torch.zeros(3))
    with pytest.raises(LikenessError, match="age_years was set to 0"):
        labels_from_vector(torch.zeros(len(LABEL_NAMES)))


# ------------------------------------------------------------------------------------------------ shape


def test_shape_is_standard_normal_over_people(people: list[Person]) -> None:
    shapes = torch.stack([person.shape for person in people]).double().numpy()
    count, size = shapes.shape
    assert size == SHAPE_COUNT and np.abs(shapes).max() <= 2.5
    # Clipping at 2.5 costs 2 % of the deviation.
    assert np.abs(shapes.std(axis=0) - 0.985).max() < 5 / math.sqrt(2 * count)
    assert np.abs(shapes.mean(axis=0)).max() < 5 / math.sqrt(count)
    correlation = np.corrcoef(shapes.T) - np.eye(size)
    assert np.sqrt((correlation**2).sum() / (size * (size - 1))) < 1.1 / math.sqrt(count)
    # No direction is stretched or lost: the spectrum is that of as many independent draws (Marchenko-Pastur).
    spectrum = np.linalg.eigvalsh(np.cov(shapes.T))
    edge = math.sqrt(size / count)
    assert (1 - edge) ** 2 * 0.85 < spectrum[0] and spectrum[-1] < (1 + edge) ** 2 * 1.12


def test_shape_tells_the_labels(head: HeadModel, people: list[Person]) -> None:
    """Along each attribute's direction the shape follows the label, but not it alone."""
    shapes = torch.stack([person.shape for person in people])
    for attribute, label in (("age", "age_years"), ("gender", "gender"), ("weight", "weight"), ("african", "african")):
        direction = head.attribute_directions[head.attribute_names.index(attribute)]
        values = torch.tensor([getattr(person.labels, label) for person in people])
        correlation = torch.corrcoef(torch.stack([shapes @ direction, values]))[0, 1]
        assert 0.7 < float(correlation) < 0.97, attribute


def test_shape_moves_along_the_attribute_direction(head: HeadModel, people: list[Person]) -> None:
    """One step of recipes/prior.py moves a head of few extremes by the direction as stored, or by a little less where
    the labels would leave nothing to chance."""
    calm = dataclasses.replace(people[0], latent=torch.zeros(LATENT_SIZE))
    third = 1 / 3
    steps = {
        "age": ({"age_years": 30.0}, {"age_years": 55.0}),
        "gender": ({"gender": 0.2}, {"gender": 0.7}),
        "weight": ({"weight": 0.4}, {"weight": 0.7}),
        "asian": (
            {"african": third, "asian": third, "european": third},
            {"african": third - 0.3, "asian": third + 0.6, "european": third - 0.3},
        ),
    }
    for attribute, (before, after) in steps.items():
        change = person_with(calm, head, **after).shape - person_with(calm, head, **before).shape
        direction = head.attribute_directions[head.attribute_names.index(attribute)]
        assert float(torch.nn.functional.cosine_similarity(change, direction, dim=0)) > 0.99, attribute
        assert 0.8 < float(change.norm() / direction.norm()) < 1.01, attribute


def test_other_heads_get_what_fits() -> None:
    head = tiny_head()
    plain = dataclasses.replace(head, attribute_names=("nose",), attribute_directions=torch.ones(1, head.shape_count))
    person = sample_person(plain, 3)
    count = min(plain.shape_count, SHAPE_COUNT)
    chance = person.latent[LATENT_NAMES.index("shape_0") :][:count].clamp(-2.5, 2.5)
    assert person.shape.shape == (plain.shape_count,)
    assert torch.allclose(person.shape[:count], chance)
    # Labels do not depend on the head.
    assert person.labels == sample_person(head, 3).labels == sample_person(load_head(), 3).labels
    long = dataclasses.replace(plain, shape_basis=torch.zeros(150, *head.template.shape),
        joint_shape_basis=torch.zeros(150, *head.joint_template.shape),
                               attribute_directions=torch.ones(1, 150))  # fmt: skip
    assert sample_person(long, 3).shape[SHAPE_COUNT:].abs().sum() == 0
    # Directions that promise more than there is do not blow the shape up.
    wild = dataclasses.replace(
        head, attribute_names=("age",), attribute_directions=torch.full((1, head.shape_count), 9.0)
    )
    shapes = torch.stack([sample_person(wild, seed).shape for seed in range(300)])
    assert float(shapes.std(0).max()) < 1.2


# ------------------------------------------------------------------------------------------------ mix and colours


def test_mix_favours_like_skins(people: list[Person]) -> None:
    mix = torch.stack([person.mix for person in people])
    assert mix.shape[1:] == (MIX_REGIONS, MIX_SKINS) and float(mix.min()) >= 0
    assert torch.allclose(mix.sum(-1), torch.ones(mix.shape[:2]), atol=1e-6)
    female = torch.tensor([traits[2] == 0 for traits in SKINS])
    dark = torch.tensor([traits[3] > 0.5 for traits in SKINS])
    old = torch.tensor([traits[1] > 60 for traits in SKINS])

    def share(of: torch.Tensor, among: list[bool]) -> float:
        return float(mix[torch.tensor(among)][..., of].sum(-1).mean())

    labels = [person.labels for person in people]
    assert share(female, [x.gender < 0.2 for x in labels]) > 2 * share(female, [x.gender > 0.8 for x in labels])
    assert share(dark, [x.melanin > 0.6 for x in labels]) > 4 * share(dark, [x.melanin < 0.2 for x in labels])
    assert share(old, [x.age_years > 65 for x in labels]) > 3 * share(old, [x.age_years < 35 for x in labels])
    # Every skin is used, none everywhere, and regions of one face differ.
    usage = mix.mean((0, 1))
    assert float(usage.min()) > 0.02 and float(usage.max()) < 0.2
    assert float((mix[:, 0] - mix[:, 1]).abs().sum(-1).mean()) > 0.5


def test_hair_darkens_reddens_and_greys() -> None:
    def colours(**labels: float) -> np.ndarray:
        return np.array(hair_colour(Labels(**labels)))

    steps = np.linspace(0, 1, 21)
    by_melanin = np.stack([colours(hair_melanin=s) for s in steps.tolist()])
    assert (np.diff(by_melanin, axis=0) < 0).all()
    assert by_melanin[0].mean() > 0.2 and by_melanin[-1].max() < 0.02
    red = np.stack([colours(hair_melanin=0.4, hair_redness=s) for s in steps.tolist()])
    assert (np.diff(red[:, 0] / red[:, 1]) > 0).all()
    assert (np.diff(np.stack([colours(grey=s) for s in steps.tolist()]), axis=0) > 0).all()
    # Whatever pigment there was, white hair is white.
    assert colours(grey=1.0, hair_melanin=1.0) == pytest.approx(colours(grey=1.0, hair_melanin=0.0))
    # Beer-Lambert: without light off the surface, doubling an optical depth squares the colour. Two pigments multiply.
    assert all(r > g > b for r, g, b in (by_melanin[5], red[-1]))


def test_iris_passes_the_named_colours() -> None:
    for melanin, green, name in ((0, 0, "blue"), (0, 1, "green"), (0.4, 0, "hazel"), (0.4, 1, "amber"),
                                 (0.72, 0.3, "brown"), (1, 0.6, "dark brown")):  # fmt: skip
        found = iris_colour(Labels(iris_melanin=float(melanin), iris_green=float(green)))
        assert found == pytest.approx(IRIS_COLOURS[name], abs=1e-9)
    luminance = [
        np.dot(iris_colour(Labels(iris_melanin=float(m))), (0.2126, 0.7152, 0.0722)) for m in np.linspace(0, 1, 21)
    ]
    assert (np.diff(luminance) < 0).all()
