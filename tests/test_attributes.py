"""What is read of a head is what it was made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core import pipeline
from core.head import load_head
from core.materials import paint_eye
from core.synthesis.people import LABEL_NAMES, Labels, iris_colour, label_vector
from editing.attributes import (
    ATTRIBUTES,
    COUNT,
    GROUPS,
    HIGH,
    INDEX,
    LOW,
    SPREAD,
    labels_in,
    part_values,
    read_subject,
)


@pytest.fixture(scope="module")
def random_head():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SKIN_PX", 256)  # quicker, and the same person
        return pipeline.generate(3, {"freckles": 0.4})


def test_every_number_has_a_name_a_range_and_a_place():
    head = load_head()
    names = [attribute.name for attribute in ATTRIBUTES]
    assert len(set(names)) == COUNT == 110
    assert names[: len(LABEL_NAMES)] == list(LABEL_NAMES) and names[-1] == "detail"
    assert names[GROUPS["part"]] == list(head.attribute_names[6:])
    assert names[GROUPS["expression"]] == list(head.expression_names)
    assert [INDEX[name] for name in names] == list(range(COUNT))
    assert bool((LOW < HIGH).all()) and bool((SPREAD > 0).all())
    # Ages spread over the years of adults, shares over less than their range.
    assert 15 < SPREAD[INDEX["age_years"]] < 22 and float(SPREAD[INDEX["melanin"]]) < 0.3


def test_a_random_head_is_read_exactly(random_head):
    subject = read_subject(random_head)
    assert subject.exact and subject.avatar is random_head
    assert torch.equal(subject.values[GROUPS["person"]], label_vector(subject.person.labels))
    assert float(subject.values[INDEX["freckles"]]) == pytest.approx(0.4)
    assert torch.equal(subject.values[GROUPS["expression"]], random_head.expression)


def test_a_head_without_provenance_is_read_from_its_skin(random_head):
    photo = replace(
        random_head, provenance=replace(random_head.provenance, source="photo"), latent=None, generator=None
    )
    truth, subject = read_subject(random_head).values, read_subject(photo)
    assert not subject.exact and subject.avatar.latent is not None
    off = ((subject.values - truth) / SPREAD)[GROUPS["person"]].abs()
    # Better than the mean person would be for what the skin shows clearly.
    for name in ("age_years", "melanin", "gender"):
        assert float(off[LABEL_NAMES.index(name)]) < 1, name
    assert bool((subject.values >= LOW).all()) and bool((subject.values <= HIGH).all())
    # Shape and expression are the head's own, whatever is guessed of the skin.
    assert torch.allclose(subject.values[GROUPS["part"]], truth[GROUPS["part"]], atol=1e-5)


@pytest.mark.parametrize(("melanin", "green"), [(0.0, 0.0), (0.0, 1.0), (0.5, 0.2), (0.72, 0.5), (1.0, 0.5)])
def test_the_color_of_the_eyes_is_read_from_their_map(random_head, melanin, green):
    colour = iris_colour(Labels(iris_melanin=melanin, iris_green=green))
    materials = replace(random_head.materials, eye_albedo=paint_eye(colour, 200, seed=4))
    photo = replace(random_head, provenance=replace(random_head.provenance, source="photo"), materials=materials)
    labels = read_subject(photo).person.labels
    assert iris_colour(labels) == pytest.approx(colour, rel=0.25, abs=0.01)
    assert abs(labels.iris_melanin - melanin) < 0.12


def test_parts_are_read_as_they_were_moved():
    head = load_head()
    first = len(head.attribute_names) - 16
    for row, amount in ((first, 1.5), (first + 7, -2.0)):
        read = part_values(head, amount * head.attribute_directions[row])
        assert float(read[row - first]) == pytest.approx(amount, abs=1e-3)
        assert float(read.abs().sum()) == pytest.approx(abs(amount), abs=1e-2)
    assert torch.equal(part_values(head, torch.zeros(7)), torch.zeros(16))


def test_labels_are_put_in_range_and_shares_sum_to_one():
    values = torch.full((COUNT,), 9.0)
    labels = labels_in(values)
    assert labels["freckles"] == 1 and labels["age_years"] == 9 + 9  # 18 is the youngest
    assert labels["african"] + labels["asian"] + labels["european"] == 1
    values[INDEX["african"]] = values[INDEX["asian"]] = values[INDEX["european"]] = 0
    assert labels_in(values)["asian"] == pytest.approx(1 / 3)
