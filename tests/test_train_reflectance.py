"""The recipe that trains the networks of reflectance, from end to end in small, in two goes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from core.checkpoints import read_safetensors
from core.reflectance.network import load_network
from core.reflectance.training import TrainingSettings
from core.synthesis.shards import MapDataset
from recipes import train_reflectance
from recipes.train_reflectance import Work, run

SMALL = TrainingSettings(steps=1, heads=1, tiles=1, shapes=1, held_out=1)


def test_from_nothing_to_a_network_in_two_goes(tmp_path: Path) -> None:
    work = Work(tmp_path / "work", tmp_path / "none", SMALL, 0, people=2, tone_people=12, tone_shapes=1)
    run(work, ("sources", "maps", "train"))
    assert len(MapDataset(work.folder / "maps", relief=True)) == 2
    last = (work.network.parent / "log.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == SMALL.steps

    # The second go adds the reader of tones, and goes on with the record.
    silent = load_network(work.network)
    assert float(silent.tone.last.weight.abs().max()) == 0
    record = run(work, ("tone",), "the command")
    assert record["command"] == "the command" and set(record["steps"]) == {"sources", "maps", "train", "tone"}
    assert all(math.isfinite(error) for error in (record["steps"]["tone"][name] for name in ("without", "with")))
    assert float(load_network(work.network).tone.last.weight.abs().max()) > 0
    _, metadata = read_safetensors(work.network, (), "")
    told = json.loads(metadata["record"])
    assert told["people"] == 2 and told["steps"] == 1 and told["tone"].items() <= record["steps"]["tone"].items()


def test_what_cannot_be_installed_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert train_reflectance.main(["--work", str(tmp_path), "--only", "install"]) == 1
    assert "network.safetensors is missing" in caplog.text
