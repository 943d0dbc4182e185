"""The recipe that trains all skin models, from end to end in small: it goes on where it was stopped, and its tables
say what its files and logs say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.albedo.coarse import CoarseAlbedo
from core.albedo.coarse_to_fine import CoarseToFine
from core.albedo.detail import DetailSettings
from core.albedo.gan_training import GanSettings
from core.albedo.stylegan_albedo import StyleGanAlbedo
from core.checkpoints import sha256_of
from core.errors import LikenessError
from core.synthesis.people import LATENT_SIZE
from core.synthesis.shards import MapDataset
from recipes import train_albedo
from recipes.train_albedo import Plan, Work, detail_seconds, gan_seconds, run, spoken, spread

PLAN = Plan(
    size=64,
    people=6,
    held_out=2,
    shard_size=3,
    components=3,
    coarse_size=32,
    detail=DetailSettings(size=64, grid=8, channels=2, shared=2, width=8),
    detail_epochs=1,
    detail_batch=2,
    detail_minutes=None,
    gan=GanSettings(
        size=16,
        style_dim=LATENT_SIZE + 3,
        mapping_layers=1,
        channel_max=4,
        pyramid_levels=2,
        batch_size=4,
        supervised_images=8,
        adversarial_images=8,
        log_every=1,
    ),
    gan_minutes=None,
)
ALL_BUT_TABLES = train_albedo.STEPS[:-1]


def test_from_nothing_to_weights_in_two_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train_albedo, "_surroundings", lambda: {"cores": 1, "python": "3", "torch": "2"})
    work, assets, said = Work(tmp_path / "work"), tmp_path / "assets", []
    assets.mkdir()

    def go(*steps: str, plan: Plan = PLAN) -> dict:
        said.clear()
        device = torch.device("cpu")
        return run(plan, work, steps, skins=tmp_path / "none", device=device, assets=assets, say=said.append)

    go("sources", "maps", "coarse")
    assert any("procedural" in line for line in said)
    train, held_out = MapDataset(work.maps), MapDataset(work.held_out)
    assert [one.seed for one in train] == [0, 1, 2, 3, 4, 5] and [one.seed for one in held_out] == [6, 7]

    record = go(*ALL_BUT_TABLES)
    assert [line for line in said if "done before" in line] == [f"{s}: done before." for s in ALL_BUT_TABLES[:3]]
    assert json.loads(work.record.read_text()) == record
    assert set(record["steps"]) == set(ALL_BUT_TABLES)
    assert record["steps"]["gan"]["images"] == 16 and record["device"] == "CPU" and record["cores"] == 1
    quality = record["steps"]["quality"]
    assert quality["maps"] == 2 and [row["size"] for row in quality["completion"]] == [32, 64, 16]
    # Two files that load and belong together, and one that speaks of the same people.
    paths = {name: assets / f"{name}.safetensors" for name in train_albedo.WEIGHT_NAMES}
    assert CoarseToFine.load(paths["albedo_coarse"], paths["albedo_detail"]).size == 64
    assert StyleGanAlbedo.load(paths["albedo_gan"]).label_names == train.label_names
    for name, path in paths.items():
        assert record["steps"]["install"]["files"][name]["sha256"] == sha256_of(path)
    assert CoarseAlbedo.load(paths["albedo_coarse"]).count == 3

    # Nothing is done twice, but what a changed plan asks for.
    before = {path: path.stat().st_mtime_ns for path in work.folder.rglob("*.safetensors")}
    go(*ALL_BUT_TABLES[:5])
    assert all("done before" in line for line in said)
    go("coarse", plan=replace(PLAN, components=2))
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"albedo_coarse.safetensors"}

    tables = [
        train_albedo.training_table(work, record),
        train_albedo.curve_tables(work),
        train_albedo.quality_tables(record),
        train_albedo.facts_table(work, record),
    ]
    shown = "\n".join(tables)
    assert "6 people to train on, 2 held out, 64 texels a side, from the procedural skin" in shown
    assert "| gan, supervised | 8 images" in shown and "| gan, adversarial | 8 images" in shown
    assert f"| {quality['gan_psnr_db']:.1f} dB |" in shown and "nan" not in shown
    for text in tables:
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
        assert len(columns) > 2


def test_times_add_up_over_breaks():
    detail = [{"seconds": 5.0}, {"seconds": 9.0}, {"seconds": 2.0}, {"seconds": 3.0}]
    assert detail_seconds(detail) == 12.0 and detail_seconds([]) == 0
    gan = [
        {"images": 100, "phase": "supervised", "images_per_second": 10.0},
        {"images": 300, "phase": "supervised", "images_per_second": 20.0},
        {"images": 200, "phase": "supervised", "images_per_second": 10.0},  # resumed from an older checkpoint
        {"images": 400, "phase": "adversarial", "images_per_second": 5.0},
    ]
    assert gan_seconds(gan) == 60.0 and gan_seconds(gan, "adversarial") == 40.0
    assert [spoken(s) for s in (None, 12.4, 90, 5400)] == ["n/a", "12 s", "2 min", "1.5 h"]
    assert spread(range(100), 4) == [0, 33, 66, 99] and spread([1, 2], 4) == [1, 2]


def test_what_cannot_go_on_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    work = Work(tmp_path)
    with pytest.raises(LikenessError, match=r"albedo_gan\.safetensors is missing"):
        train_albedo.install(work, tmp_path)
    work.record.write_text("{")
    assert train_albedo.main(["--work", str(tmp_path), "--only", "install"]) == 1
    assert "record.json could not be read" in caplog.text
    with pytest.raises(SystemExit):
        train_albedo.main(["--minutes", "-1"])
