from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pixel_model import SIDE, PixelModel

from core.errors import FileError, LikenessError
from core.head import load_head
from editing import directions
from editing.attributes import COUNT, GROUPS, HIGH, INDEX, LOW, SPREAD
from editing.directions import CHANNELS, STRIDE, Directions, Swing, measure_directions, read_directions, text_direction


def patterns() -> torch.Tensor:
    """What each channel does to a picture, told apart by few pixels."""
    random = torch.Generator().manual_seed(1)
    return 0.2 * torch.randn(len(CHANNELS), 3, SIDE, SIDE, generator=random)


def painted_swings(head: object, seed: int) -> Iterator[Swing]:
    """In place of rendered ones: the channel's pattern, more of it for channels that were moved farther, with a chance
    that differs between heads."""
    random = torch.Generator().manual_seed(seed)
    for channel, pattern in enumerate(patterns()):
        spreads = 1.0 + channel % 3
        noise = 0.02 * torch.randn(2, 3, SIDE, SIDE, generator=random)
        middle = torch.full((2, 3, SIDE, SIDE), 0.5)
        yield Swing(channel, spreads, middle - spreads * pattern / 2, middle + spreads * pattern / 2 + noise)


def channel(name: str) -> int:
    return next(i for i, names in enumerate(CHANNELS) if name in names)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> tuple[PixelModel, Directions]:
    monkeypatch.setattr(directions, "swings", painted_swings)
    model = PixelModel()
    found = measure_directions(model, (1, 2, 3))
    # Texts that lead where the pictures of these channels go.
    for name in ("beard_chin", "mouthSmileLeft", "nose_width"):
        model.places[name] = 0.4 * torch.nn.functional.normalize(found.effect[channel(name)], dim=0)
    return model, found


MIDDLE = (LOW + HIGH) / 2


def test_channels_cover_every_attribute_once_and_pair_the_sides():
    names = [name for names in CHANNELS for name in names]
    assert sorted([*names, "detail"]) == sorted(INDEX)
    assert ("mouthSmileLeft", "mouthSmileRight") in CHANNELS and ("eyeLookInLeft", "eyeLookOutRight") in CHANNELS
    assert ("jawLeft",) in CHANNELS and ("jawRight",) in CHANNELS and ("nose_width",) in CHANNELS


def test_measured_effects_are_the_mean_change_per_spread(measured: tuple[PixelModel, Directions]):
    model, found = measured
    middle = torch.full((3, SIDE, SIDE), 0.5)
    for name in ("age_years", "chin_length", "jawOpen"):
        pattern = patterns()[channel(name)]
        ends = model.embed_images(torch.stack([middle + 0.5 * pattern, middle - 0.5 * pattern]))
        assert torch.nn.functional.cosine_similarity(found.effect[channel(name)], ends[0] - ends[1], dim=0) > 0.97


def test_a_text_moves_the_channel_that_it_is_about(measured: tuple[PixelModel, Directions]):
    model, found = measured
    for name in ("beard_chin", "mouthSmileLeft", "nose_width"):
        values = MIDDLE if name != "mouthSmileLeft" else torch.zeros(COUNT)
        change = found.change(text_direction(model, name), 1.0, values, disentangle=0.9) / SPREAD
        members = [INDEX[n] for n in CHANNELS[channel(name)]]
        assert change[members].tolist() == pytest.approx([STRIDE] * len(members), rel=1e-4)
        others = [i for i in range(COUNT) if i not in members]
        assert not change[others].any()


def test_less_disentanglement_moves_more_channels_and_never_the_others_less(measured: tuple[PixelModel, Directions]):
    model, found = measured
    direction = text_direction(model, "nose_width and a beard_chin")
    before = torch.zeros(COUNT)
    for disentangle in (1.0, 0.7, 0.4, 0.1, 0.0):
        change = found.change(direction, 0.5, MIDDLE, disentangle)
        assert bool((change.abs() >= before.abs() - 1e-6).all())
        before = change
    assert int((before != 0).sum()) > 50


def test_amount_zero_changes_nothing_and_more_moves_farther(measured: tuple[PixelModel, Directions]):
    model, found = measured
    direction = text_direction(model, "beard_chin")
    assert not found.change(direction, 0.0, MIDDLE).any()
    changes = torch.stack([found.change(direction, amount, MIDDLE) for amount in (0.2, 0.5, 1.0, 1.5)])
    assert bool((changes.abs().diff(dim=0) >= 0).all())
    assert bool((changes[:, INDEX["beard_chin"]].diff() > 0).all())
    other_way = found.change(direction, -0.5, MIDDLE)
    assert other_way[INDEX["beard_chin"]] == pytest.approx(-float(changes[1, INDEX["beard_chin"]]), rel=1e-4)


def test_no_attribute_leaves_its_range(measured: tuple[PixelModel, Directions]):
    model, found = measured
    direction = text_direction(model, "nose_width beard_chin mouthSmileLeft")
    for start in (LOW, MIDDLE, HIGH):
        for amount in (-1.5, 1.5):
            end = start + found.change(direction, amount, start, disentangle=0.0)
            assert bool((end >= LOW - 1e-5).all() and (end <= HIGH + 1e-5).all())


def test_the_other_way_puts_no_expression_on(measured: tuple[PixelModel, Directions]):
    model, found = measured
    change = found.change(text_direction(model, "mouthSmileLeft"), -1.0, torch.full((COUNT,), 0.5), disentangle=0.0)
    assert bool((change[GROUPS["expression"]] <= 0).all())


def test_a_text_without_meaning_changes_nothing(measured: tuple[PixelModel, Directions]):
    model, found = measured
    assert not found.change(text_direction(model, "pikachu"), 1.0, MIDDLE).any()


def test_files_round_trip(tmp_path: Path, measured: tuple[PixelModel, Directions]):
    model, found = measured
    found.save(tmp_path / "directions.safetensors")
    again = read_directions(tmp_path / "directions.safetensors", model)
    direction = text_direction(model, "nose_width")
    one, two = (d.change(direction, 1.0, MIDDLE, 0.3) for d in (found, again))
    assert torch.allclose(one, two, atol=0.02)


def test_another_models_directions_are_refused(tmp_path: Path, measured: tuple[PixelModel, Directions]):
    measured[1].save(tmp_path / "directions.safetensors")
    with pytest.raises(FileError, match="another text-image model"):
        read_directions(tmp_path / "directions.safetensors", PixelModel(seed=1))


@pytest.mark.parametrize("damage", ["missing", "cut", "shape", "nan"])
def test_damaged_files_are_refused(tmp_path: Path, measured: tuple[PixelModel, Directions], damage: str):
    model, found = measured
    path = tmp_path / "directions.safetensors"
    effect = found.effect.clone()
    if damage == "nan":
        effect[3, 3] = torch.nan
    if damage == "shape":
        effect = effect[1:]
        object.__setattr__(found, "effect", effect)  # what the dataclass would refuse
    else:
        found = Directions(effect, found.probe)
    found.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "missing":
        path.unlink()
    with pytest.raises(FileError, match="train_editing"):
        read_directions(path, model)


def test_other_models_are_measured_once_and_tell_how_far(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def counted(head: object, seed: int) -> Iterator[Swing]:
        asked.append(seed)
        return painted_swings(head, seed)

    monkeypatch.setattr(directions, "swings", counted)
    model, shares = PixelModel(seed=5), []
    first = directions.directions_of(model, shares.append)
    assert directions.directions_of(model) is first and len(asked) == 3
    assert shares == sorted(shares) and shares[-1] == 1


def test_measuring_needs_heads():
    with pytest.raises(LikenessError, match="at least one seed"):
        measure_directions(PixelModel(), ())


def test_swings_move_one_channel_by_so_many_spreads():
    """On the real head: both ends differ, by the spreads that the range allows, and the same seed gives the same."""
    head = load_head()
    chosen = [channel(name) for name in ("lipstick", "iris_melanin", "nose_width", "jawOpen")]
    found, again = list(directions.swings(head, 2, chosen)), next(directions.swings(head, 2, chosen))
    assert torch.equal(found[0].low, again.low) and torch.equal(found[0].high, again.high)
    assert [swing.channel for swing in found] == chosen
    assert all(float((swing.high - swing.low).abs().max()) > 0.02 for swing in found)
    nose = INDEX["nose_width"]
    assert found[2].spreads == pytest.approx(float(2 * directions.REACH["part"] * (HIGH - LOW)[nose] / SPREAD[nose]))
    jaw = INDEX["jawOpen"]
    assert found[3].spreads == pytest.approx(directions.REACH["expression"] / float(SPREAD[jaw]), rel=1e-4)
    # Lips are redder with lipstick, in front of which nothing else changes.
    changed = (found[0].high - found[0].low)[0].abs().amax(0) > 0.02
    assert 0 < int(changed.sum()) < 0.05 * changed.numel()
