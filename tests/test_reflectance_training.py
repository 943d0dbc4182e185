"""Training the networks of reflectance: it lowers the loss, goes on where it stopped, and refuses what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.atlas import atlas_lookup
from core.errors import FileError, LikenessError
from core.head import HeadModel, load_head
from core.reflectance.lit_heads import LitHead, LitHeads, Person, geometry_of
from core.reflectance.network import COARSE_PX, WORK_PX, NetworkSettings, ReflectanceNet, load_network
from core.reflectance.training import Progress, TrainingSettings, load_people, loss_of, predict_tiles, train
from core.synthesis.heads import as_bytes, sample_head
from core.synthesis.shards import write_shards

NETWORK = NetworkSettings((8, 16, 16), (8, 16), context=2, place=2)
SETTINGS = TrainingSettings(steps=4, heads=1, tiles=1, shapes=1, held_out=1)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def people(head: HeadModel) -> list[Person]:
    geometry, made = geometry_of(head, head.template), []
    for seed in (11, 12):
        one = sample_head(head, seed, WORK_PX, None, normals=False)
        relief = one.relief
        surface = torch.stack([as_bytes(m) for m in (relief.specular, relief.roughness, relief.translucency)])
        made.append(Person.of(one.albedo, relief.displacement_m * 1000, surface, geometry))
    return made


@pytest.fixture(scope="module")
def inside(head: HeadModel) -> torch.Tensor:
    return atlas_lookup(head, COARSE_PX).inside.float()[None, None]


@pytest.fixture(scope="module")
def batch(head: HeadModel, people: list[Person]) -> list[LitHead]:
    data = LitHeads(head, people, 2, tiles=1)
    return [data[0], data[1]]


def test_the_loss_falls_on_what_is_shown(batch: list[LitHead], inside: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = ReflectanceNet(NETWORK)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    values = []
    for _ in range(12):
        value, parts = loss_of(net, batch, inside, SETTINGS, np.random.default_rng(0))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.7 * values[0]
    assert set(parts) == {"coarse", "albedo", "height", "slope", "surface", "picture"}


def test_the_truth_costs_nothing(batch: list[LitHead], inside: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that are right have no loss in any part: the pictures they make are the true ones."""
    from core.reflectance import training
    from core.reflectance.network import SkinMaps

    def truth(net: ReflectanceNet, heads: list[LitHead], _: torch.Tensor):
        maps = [SkinMaps(h.tiles.log_albedo, h.tiles.height_mm, *h.tiles.surface.split(1, 1)) for h in heads]
        return torch.stack([h.log_albedo for h in heads]), maps

    monkeypatch.setattr(training, "predict_tiles", truth)
    value, parts = loss_of(ReflectanceNet(NETWORK), batch, inside, SETTINGS, np.random.default_rng(0))
    assert float(value) < 1e-5 and max(parts.values()) < 1e-5


def test_heads_do_not_mix(batch: list[LitHead], inside: torch.Tensor) -> None:
    torch.manual_seed(1)
    net = ReflectanceNet(NETWORK).eval()
    with torch.no_grad():
        both = predict_tiles(net, batch, inside)[1]
        alone = predict_tiles(net, batch[1:], inside)[1]
    assert torch.allclose(both[1].log_albedo, alone[0].log_albedo, atol=1e-4)


def test_a_run_that_was_cut_goes_on_to_the_same_end(head: HeadModel, people: list[Person], tmp_path: Path) -> None:
    reports: list[Progress] = []
    whole = train(head, people, tmp_path / "whole", SETTINGS, NETWORK, report=reports.append, save_every=2)
    assert reports[-1].step == 4

    class Cut(Exception):
        pass

    def cut(path: Path) -> None:
        raise Cut

    halfway = tmp_path / "cut"
    from core.reflectance import training

    original = training.save_network

    def stop_after_first(*args: object) -> None:
        original(*args)  # pyright: ignore[reportArgumentType]
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "save_network", stop_after_first)
        with pytest.raises(Cut):
            train(head, people, halfway, SETTINGS, NETWORK, save_every=2)
    resumed = train(head, people, halfway, SETTINGS, NETWORK, resume=True, save_every=2)
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name
    log = [json.loads(line) for line in (halfway / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4
    assert load_network(halfway / "network.safetensors").settings == NETWORK
    with pytest.raises(FileError, match=r"another training: settings was"):
        train(head, people, halfway, replace(SETTINGS, rate=1e-4), NETWORK, resume=True)
    (halfway / "checkpoint.safetensors").write_bytes((halfway / "network.safetensors").read_bytes())
    with pytest.raises(FileError, match="is not a checkpoint"):
        train(head, people, halfway, SETTINGS, NETWORK, resume=True)


def test_somebody_must_be_left_to_train_on(head: HeadModel, people: list[Person], tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="There are 1 people and 1 of them are held out"):
        train(head, people[:1], tmp_path, SETTINGS, NETWORK)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(LikenessError, match="needs positive numbers"):
        TrainingSettings(steps=0)
    with pytest.raises(LikenessError, match="needs positive numbers"):
        TrainingSettings(rate=0.0)


def test_people_are_read_from_maps_of_the_right_kind(head: HeadModel, tmp_path: Path) -> None:
    write_shards(tmp_path / "small", 1, size=64, shard_size=1, relief=True)
    with pytest.raises(LikenessError, match=r"64 texels a side; reflectance is learnt from 1024.*--size 1024"):
        load_people(head, tmp_path / "small", 1)
    write_shards(tmp_path / "bare", 1, size=64, shard_size=1)
    with pytest.raises(FileError, match="lacks displacement_mm"):
        load_people(head, tmp_path / "bare", 1)
