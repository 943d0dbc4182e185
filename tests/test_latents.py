"""The editable latent: packing, limits, locks and the way from a change of attributes to it."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch

from core import pipeline
from core.errors import LikenessError
from core.head import load_head
from editing.attributes import COUNT, GROUPS, INDEX, LOW, Subject, read_subject
from editing.latents import (
    LOCKED,
    SHAPE_LIMIT,
    SHAPE_RADIUS,
    EditLatent,
    GroupName,
    distance,
    interpolated,
    latent_of,
    layout,
    locked,
    moved,
    pack,
    plausible,
    unpack,
    values_in,
)


@pytest.fixture(scope="module")
def subject() -> Subject:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SKIN_PX", 256)  # quicker, and the same person
        return read_subject(pipeline.generate(3))


def change(**amounts: float) -> torch.Tensor:
    values = torch.zeros(COUNT)
    for name, amount in amounts.items():
        values[INDEX[name]] = amount
    return values


def test_groups_tile_the_vector_and_packing_has_an_inverse(subject):
    where = list(layout().values())
    assert tuple(layout()) == get_args(GroupName)
    assert where[0].start == 0 and all(a.stop == b.start for a, b in itertools.pairwise(where))
    latent = EditLatent(torch.randn(where[-1].stop, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(pack(unpack(latent)).vector, latent.vector)
    for name in layout():
        other = latent.replaced(**{name: torch.zeros_like(latent.group(name))})
        assert not other.group(name).any()
        assert all(torch.equal(other.group(rest), latent.group(rest)) for rest in layout() if rest != name)
    with pytest.raises(LikenessError, match="iris is missing"):
        pack({name: value for name, value in unpack(latent).items() if name != "iris"})
    with pytest.raises(LikenessError, match="726 numbers were expected"):
        EditLatent(torch.zeros(7))


def test_no_change_is_the_head_itself_and_attributes_are_read_back(subject):
    base = latent_of(subject)
    assert torch.equal(moved(subject, change()).vector, base.vector)
    assert torch.allclose(values_in(base), subject.values, atol=1e-5)
    wanted = change(age_years=20, freckles=0.5, nose_width=1.0, jawOpen=0.6, iris_melanin=-0.3, grey=0.4)
    read = values_in(moved(subject, wanted)) - subject.values
    for name in ("age_years", "freckles", "jawOpen", "iris_melanin", "grey"):
        assert float(read[INDEX[name]]) == pytest.approx(float(wanted[INDEX[name]]), abs=1e-3), name
    assert float(read[INDEX["nose_width"]]) == pytest.approx(1.0, abs=0.35)  # ageing moves the nose a little too
    untouched = [i for i in range(GROUPS["person"].stop) if wanted[i] == 0]
    assert float(read[untouched].abs().max()) < 1e-4


def test_changes_stay_in_range(subject):
    far = moved(subject, torch.full((COUNT,), 1e6))
    labels = far.labels()
    assert labels["age_years"] == 85 and labels["beard_chin"] == 1
    assert float(far.group("expression").max()) == 1 and float(far.group("detail")) == 2
    assert torch.equal(moved(subject, -torch.full((COUNT,), 1e6)).group("expression"), torch.zeros(52))
    assert float(LOW[INDEX["age_years"]]) == 18


def test_shape_goes_on_where_a_label_ends(subject):
    head = load_head()
    manly = head.attribute_directions[head.attribute_names.index("gender")]
    end = moved(subject, change(gender=1 - float(subject.values[INDEX["gender"]])))
    beyond = moved(subject, change(gender=1.3 - float(subject.values[INDEX["gender"]])))
    assert end.labels()["gender"] == beyond.labels()["gender"] == 1
    step = beyond.group("shape") - end.group("shape")
    assert float(torch.cosine_similarity(step, manly, dim=0)) > 0.999
    assert float(step @ manly / manly.square().sum()) == pytest.approx(0.3, abs=1e-3)  # half of 0.3 over steps of 0.5


def test_implausible_heads_are_drawn_back_on_the_straight_way(subject):
    base = latent_of(subject)
    near = moved(subject, change(age_years=10))
    assert torch.equal(plausible(base, near).vector, near.vector)
    direction = torch.randn(load_head().shape_count, generator=torch.Generator().manual_seed(2))
    far = base.replaced(shape=base.group("shape") + 0.3 * direction * 10, albedo=base.group("albedo") * 30)
    back = plausible(base, far)
    assert float(back.group("shape").square().mean().sqrt()) <= SHAPE_RADIUS + 1e-4
    assert float(back.group("shape").abs().max()) <= SHAPE_LIMIT
    step, way = back.group("shape") - base.group("shape"), far.group("shape") - base.group("shape")
    assert float(torch.cosine_similarity(step, way, dim=0)) > 0.99
    assert float(step.norm()) < float(way.norm())
    # Less slack leaves less of the way.
    tight = plausible(base, far, slack=0.8)
    assert float((tight.group("shape") - base.group("shape")).norm()) < float(step.norm())
    # A head that is itself out of the ordinary is not moved, and may go anywhere that is no farther.
    odd = base.replaced(shape=3.0 * direction.sign())
    assert torch.equal(plausible(odd, odd).vector, odd.vector)


def test_locks_hold_their_groups_and_no_others(subject):
    base = latent_of(subject)
    other = moved(
        subject, change(age_years=20, freckles=0.5, nose_width=1, jawOpen=0.5, iris_melanin=-0.3, detail=-0.4)
    )
    for lock, groups in LOCKED.items():
        held = locked(base, other, {lock})
        for name in layout():
            expected = base if name in groups else other
            assert torch.equal(held.group(name), expected.group(name)), (lock, name)
    assert torch.equal(locked(base, other, set()).vector, other.vector)
    with pytest.raises(LikenessError, match="no lock 'hair'"):
        locked(base, other, {"hair"})


def test_interpolation_and_distance(subject):
    base = latent_of(subject)
    other = moved(subject, change(age_years=20, jawOpen=0.6))
    assert torch.equal(interpolated(base, other, 0.0).vector, base.vector)
    assert torch.equal(interpolated(base, other, 1.0).vector, other.vector)
    half = distance(base, interpolated(base, other, 0.5))
    whole = distance(base, other)
    for name in layout():
        assert half[name] == pytest.approx(whole[name] / 2, rel=1e-3, abs=1e-6), name
    assert whole["expression"] == pytest.approx(2 / 52**0.5, rel=1e-3)  # one weight by two spreads
    assert distance(other, base) == pytest.approx(whole)
    assert whole["iris"] == 0 and distance(base, base) == dict.fromkeys(layout(), 0.0)
