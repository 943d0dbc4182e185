"""`python -m app train`: a run from shards to a model that loads, in one process and in two, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from app.cli_train import change_settings, train
from core.albedo.coarse import CoarseAlbedo
from core.albedo.gan_training import GanSettings, checkpoints
from core.albedo.stylegan_albedo import StyleGanAlbedo
from core.synthesis.people import LABEL_NAMES, LATENT_NAMES, LATENT_SIZE
from core.synthesis.shards import write_shards

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., tuple[int, str, str]]

# As small as it gets: 8 texels, eight images in each phase.
TINY = [
    *("--size", "8", "--batch-size", "4", "--device", "cpu"),
    *(
        word
        for change in (
            *(f"style_dim={LATENT_SIZE + 3}", "mapping_layers=1", "channel_max=4", "pyramid_levels=2"),
            *("supervised_images=8", "adversarial_images=8", "log_every=1"),
        )
        for word in ("--set", change)
    ),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, 4, size=32, shard_size=2)
    return folder


@pytest.fixture
def run() -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(train, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


def test_gan_from_shards_to_a_model(shards: Path, tmp_path: Path, run: Run):
    out = tmp_path / "gan"
    code, said, _ = run("gan", "--data", shards, "--out", out, "--seed", 3, *TINY)
    assert code == 0 and said.strip() == str(out / "albedo_gan.safetensors")
    model = StyleGanAlbedo.load(out / "albedo_gan.safetensors")
    assert (model.size, model.label_names, model.latent_names) == (8, LABEL_NAMES, LATENT_NAMES)
    assert model.decode(model.sample(0)).shape == (3, 8, 8)
    record = json.loads((out / "settings.json").read_text())
    assert record["settings"]["seed"] == 3 and record["settings"]["size"] == 8 and record["maps"] == 4
    phases = [json.loads(line)["phase"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert phases == ["supervised"] * 2 + ["adversarial"] * 2
    assert [path.name for path in checkpoints(out)] == ["checkpoint-000000016.safetensors"]

    # A folder with a run in it is not written over, but gone on from.
    code, _, problem = run("gan", "--data", shards, "--out", out, *TINY)
    assert code == 1 and "holds checkpoints of an earlier run" in problem and "--resume" in problem
    code, _, _ = run("gan", "--data", shards, "--out", out, "--resume", *TINY, "--set", "adversarial_images=12")
    assert code == 0
    assert json.loads((out / "settings.json").read_text())["resumed_from"] == "checkpoint-000000016.safetensors"
    assert checkpoints(out)[-1].name == "checkpoint-000000020.safetensors"


@pytest.mark.slow
def test_gan_in_two_processes(shards: Path, tmp_path: Path):
    """Through the words that a person types, as far as app.cli knows of `train`."""
    script = tmp_path / "run.py"
    script.write_text("from app.cli_train import train\ntrain()\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    words = ["gan", "--data", str(shards), "--out", str(tmp_path / "gan"), *TINY]
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == str(tmp_path / "gan/albedo_gan.safetensors")
    assert json.loads((tmp_path / "gan/settings.json").read_text())["processes"] == 2
    assert len((tmp_path / "gan/log.jsonl").read_text().splitlines()) == 4


def test_dry_run_shows_and_writes_nothing(shards: Path, tmp_path: Path, run: Run):
    out = tmp_path / "gan"
    code, said, _ = run("gan", "--data", shards, "--out", out, "--dry-run", "--size", 32, "--device", "cpu")
    shown = json.loads(said)
    assert code == 0 and not out.exists()
    assert shown["settings"]["batch_size"] == GanSettings().batch_size
    assert shown["weights"]["generator"] > shown["weights"]["shape_head"] > 0
    for words in (("coarse", "--components", 2),):
        code, said, _ = run(*words, "--data", shards, "--out", tmp_path / "x.safetensors", "--dry-run")
        assert code == 0 and json.loads(said)["components"] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--preset", "tpu"], 2, "--preset"),
        (["--minutes", "-1"], 2, "--minutes"),
        (["--device", "abacus"], 2, "--device"),
        (["--device", "mps"], 2, "--device"),
        (["--set", "r1_gama=1"], 2, "r1_gamma"),
        (["--set", "r1_gamma=much"], 2, "--set"),
        (["--set", "batch_size=2.5"], 2, "--set"),
        (["--size", "100"], 1, "100 (--size)"),
        (["--size", "64"], 1, "32 texels a side"),
        (["--resume"], 1, "holds no checkpoint"),
        (["--data", "nowhere"], 1, "--data names nowhere"),
        (["--set", "style_dim=8", "--size", "8"], 1, "latent takes"),
    ],
)
def test_bad_options_are_named(shards: Path, tmp_path: Path, run: Run, words: list[str], code: int, says: str):
    got, _, problem = run("gan", "--data", shards, "--out", tmp_path / "gan", *words)
    assert (got, says in " ".join(problem.replace("│", " ").split())) == (code, True), problem
    assert not (tmp_path / "gan").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_said(shards: Path, tmp_path: Path, run: Run):
    code, _, problem = run("gan", "--data", shards, "--out", tmp_path / "gan", "--device", "cuda")
    assert code == 2 and "no CUDA devices" in " ".join(problem.replace("│", " ").split())


def test_an_out_that_cannot_be_is_said(shards: Path, tmp_path: Path, run: Run):
    (tmp_path / "file").write_text("")
    code, _, problem = run("gan", "--data", shards, "--out", tmp_path / "file" / "gan", *TINY)
    assert code == 1 and "--out" in problem


def test_settings_change_by_name_and_type():
    changed = change_settings(
        GanSettings(), ["r1_gamma=2", "adversarial_betas=[0.0, 0.9]", "pictures.l1=0.5", "bf16=true"]
    )
    assert (changed.r1_gamma, changed.adversarial_betas, changed.pictures.l1, changed.bf16) == (
        2.0,
        (0.0, 0.9),
        0.5,
        True,
    )
    assert isinstance(changed.r1_gamma, float)


def test_coarse_then_detail(tmp_path: Path, run: Run):
    data = tmp_path / "maps"
    write_shards(data, 4, size=256, shard_size=4)
    pca, vae = tmp_path / "coarse.safetensors", tmp_path / "detail.safetensors"
    code, said, _ = run("coarse", "--data", data, "--components", 2, "--out", pca, "--device", "cpu")
    assert code == 0 and said.strip() == str(pca)
    assert CoarseAlbedo.load(pca).count == 2
    assert json.loads(pca.with_suffix(".settings.json").read_text())["components"] == 2
    code, _, problem = run("coarse", "--data", data, "--components", 9, "--out", pca)
    assert code == 1 and "--components" in problem
    code, _, problem = run("detail", "--data", data, "--coarse", tmp_path / "no.safetensors", "--out", vae)
    assert code == 1 and "no.safetensors" in problem
