"""Small pictures of heads: gradients, sides, and labelled pictures that repeat by their seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import FileError, LikenessError
from core.head import HeadModel, load_head
from core.synthesis.people import Labels, label_vector
from core.synthesis.shards import MapSample
from editing import pairs
from editing.attributes import ATTRIBUTES, COUNT, GROUPS, INDEX, part_values
from editing.pairs import (
    MIXES,
    mirrored_attributes,
    picture_pairs,
    read_pairs,
    sample_expression,
    sample_light,
    write_pairs,
)
from editing.views import BACKGROUND_SRGB, render_views


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def person(seed: int = 3, shade: int = 150) -> MapSample:
    """Somebody of one colour."""
    head = load_head()
    shape = torch.randn(head.shape_count, generator=torch.Generator().manual_seed(seed)) * 0.5
    albedo = torch.full((3, 64, 64), shade, dtype=torch.uint8)
    return MapSample(seed, torch.zeros(4), label_vector(Labels(age_years=40.0)), shape, albedo)


def view(head: HeadModel, yaws: Sequence[float] = (0.0,), **given: Tensor) -> Tensor:
    eye = torch.full((3, 16, 16), 0.4)
    shape, expression = torch.zeros(head.shape_count), torch.zeros(len(head.expression_names))
    plain = {"shape": shape, "expression": expression, "albedo": torch.full((3, 32, 32), 0.6), "eye_albedo": eye}
    return render_views(head, **(plain | given), yaws=torch.tensor(list(yaws)), size=48)


# ------------------------------------------------------------------------------------------------------- views


def test_a_view_shows_a_head_in_the_middle_before_grey(head: HeadModel):
    picture = view(head)[0]
    corners = picture[:, [0, 0], [0, -1]]
    torch.testing.assert_close(corners, torch.full_like(corners, BACKGROUND_SRGB), atol=1e-3, rtol=0)
    seen = (picture - BACKGROUND_SRGB).abs().sum(0) > 0.05
    rows, columns = torch.nonzero(seen).unbind(1)
    assert 0 <= int(rows.min()) <= 4 and int(rows.max()) == 47  # the crown, and the neck goes on below
    assert float(columns.float().mean()) == pytest.approx(23.5, abs=1)
    assert 0.25 < float(seen.float().mean()) < 0.7


def test_turning_the_camera_turns_the_head_the_other_way(head: HeadModel):
    """The mean head is symmetrical, but the studio is not: silhouettes mirror, not pictures."""
    left, right = ((view(head, (yaw,))[0] - BACKGROUND_SRGB).abs().sum(0) > 0.05 for yaw in (0.5, -0.5))
    assert float((left ^ right.flip(1)).float().mean()) < 0.01
    assert float((left ^ right).float().mean()) > 0.03


def test_each_view_is_what_it_is_alone(head: HeadModel):
    together = view(head, (-0.4, 0.0, 0.4))
    torch.testing.assert_close(together[2:], view(head, (0.4,)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["shape", "expression", "albedo"])
def test_gradients_agree_with_differences(head: HeadModel, name: str):
    start = {
        "shape": torch.zeros(head.shape_count),
        "expression": torch.zeros(len(head.expression_names)),
        "albedo": torch.full((3, 32, 32), 0.6),
    }[name]
    pattern = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    pattern = torch.nn.functional.avg_pool2d(pattern, 9, 1, 4)  # smooth, so that the sum changes smoothly

    def value(x: Tensor) -> Tensor:
        return (view(head, (0.0,), **{name: x}) * pattern).sum()

    x = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(x), x)
    assert slope.isfinite().all() and float(slope.norm()) > 0
    along = slope / slope.norm()
    # Expressions by longer steps: a pixel that an eyelid wins is won at once.
    step = {"shape": 0.05, "expression": 0.2, "albedo": 0.02}[name]
    with torch.no_grad():
        difference = float(value(start + step * along) - value(start - step * along)) / (2 * step)
    assert difference == pytest.approx(float(slope.norm()), rel=0.3)


def test_a_finer_map_looks_the_same(head: HeadModel):
    coarse = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2)) * 0.5 + 0.2
    fine = torch.nn.functional.interpolate(coarse[None], size=(256, 256), mode="bilinear")[0]
    other = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.2
    near, far = (float((view(head, albedo=fine) - view(head, albedo=x)).abs().mean()) for x in (coarse, other))
    assert near < 0.3 * far


# ------------------------------------------------------------------------------------------------------- pairs


def test_pairs_repeat_by_seed_and_differ_by_person_and_seed(head: HeadModel):
    first, again = (picture_pairs(head, person(), 2, 7, 32) for _ in range(2))
    assert torch.equal(first.pictures, again.pictures)
    torch.testing.assert_close(first.values, again.values)
    for other in (picture_pairs(head, person(), 2, 8, 32), picture_pairs(head, person(4), 2, 7, 32)):
        assert not torch.equal(first.pictures, other.pictures) and not torch.equal(first.values, other.values)


def test_values_are_what_the_picture_shows(head: HeadModel):
    who = person()
    made = picture_pairs(head, who, 12, 1, 16)
    assert made.values.shape == (12, COUNT) and len(made) == 12
    assert torch.equal(made.values[:, GROUPS["person"]], who.labels.expand(12, -1))
    moved = made.values[:, GROUPS["part"]] - part_values(head, who.shape)
    # Parts that were not moved keep the person's value, moved ones differ; limits cut off a few.
    kept = (moved.abs() < 1e-3).float().mean()
    assert 0.5 < float(kept) < 0.9 and float(moved.abs().max()) > 0.5
    expressions = made.values[:, GROUPS["expression"]]
    assert float(expressions.min()) >= 0 and float(expressions.max()) <= 1 and bool((expressions.amax(1) == 0).any())
    assert torch.equal(made.values[:, INDEX["detail"]], torch.ones(12))
    # The coverage is that of a head.
    assert 0.2 < float((made.pictures[:, 3] > 127).float().mean()) < 0.8


def test_every_mix_moves_the_face_and_names_what_exists(head: HeadModel):
    for name, mix in MIXES.items():
        for shape, share in mix.items():
            sides = ("Left", "Right") if shape.endswith("*") else ("",)
            assert all(shape.rstrip("*") + side in head.expression_names for side in sides), name
            assert 0 < share <= 1, name
    rng = np.random.default_rng(0)
    drawn = torch.stack([sample_expression(head, rng) for _ in range(400)])
    assert float((drawn.amax(1) == 0).float().mean()) == pytest.approx(pairs.NEUTRAL_SHARE, abs=0.08)
    assert int((drawn.amax(0) > 0.3).sum()) > 40  # nearly every one of the 52 occurs


def test_lights_vary_and_stay_lights():
    lights = [sample_light(np.random.default_rng(i)) for i in range(20)]
    for light in lights:
        torch.testing.assert_close(light.directions.norm(dim=-1), torch.ones(1, 3))
        assert bool((light.colors >= 0).all()) and bool((light.sh[:, 0] > 0).all())
    assert torch.stack([light.directions for light in lights]).std(0).max() > 0.2


def test_mirroring_swaps_sides_and_nothing_else():
    rows = mirrored_attributes()
    assert [rows[row] for row in rows] == list(range(COUNT))
    moved = {ATTRIBUTES[i].name for i in range(COUNT) if rows[i] != i}
    assert {"mouthSmileLeft", "jawRight", "eyeLookInLeft"} <= moved
    assert all(name.endswith(("Left", "Right")) for name in moved)


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    people = [person(seed) for seed in range(3)]
    monkeypatch.setattr(pairs, "MapDataset", lambda folder: people)
    monkeypatch.setattr(pairs, "PICTURE_SIZE", 16)
    done: list[tuple[int, int]] = []
    files = write_pairs(tmp_path, tmp_path / "out", 2, people_per_file=2, progress=lambda *x: done.append(x))
    assert [file.name for file in files] == ["pairs-00000.safetensors", "pairs-00001.safetensors"]
    assert done == [(2, 3), (3, 3)]
    before = files[0].stat().st_mtime_ns
    whole = read_pairs(files)
    assert len(whole) == 6
    files[1].unlink()
    again = write_pairs(tmp_path, tmp_path / "out", 2, people_per_file=2)
    assert files[0].stat().st_mtime_ns == before and torch.equal(read_pairs(again).pictures, whole.pictures)


def test_what_cannot_be_made_or_read_is_told_in_a_sentence(tmp_path: Path):
    with pytest.raises(LikenessError, match="0 pictures a person were asked for"):
        write_pairs(tmp_path, tmp_path, 0)
    (tmp_path / "pairs-00000.safetensors").write_bytes(b"no")
    with pytest.raises(FileError, match="could not be read"):
        read_pairs([tmp_path / "pairs-00000.safetensors"])
