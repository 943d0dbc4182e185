"""Weight files: what is there matches the table, and what is wrong is said in sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core import checkpoints
from core.checkpoints import WEIGHTS, read_safetensors, sha256_of, weights_path
from core.errors import FileError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "head.safetensors"
    save_file({"template": torch.arange(6.0).reshape(2, 3)}, path, metadata={"head": "{}"})
    return path


def test_reads_what_was_written(file: Path):
    tensors, metadata = read_safetensors(file, required=("template",))
    assert torch.equal(tensors["template"], torch.arange(6.0).reshape(2, 3)) and metadata == {"head": "{}"}


def test_lists_every_missing_key(file: Path):
    with pytest.raises(FileError, match=r"head\.safetensors .* lacks shape_basis, uv\b"):
        read_safetensors(file, required=("shape_basis", "template", "uv"))


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_truncated_file_is_named(file: Path, keep: int):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FileError, match=r"head\.safetensors could not be read"):
        read_safetensors(file)


@pytest.mark.parametrize("content", [b"\x80\x04N.", b"\xff" * 64, b"GIF89a" + bytes(64)])
def test_foreign_file_is_named(file: Path, content: bytes):
    file.write_bytes(content)
    with pytest.raises(FileError, match=r"head\.safetensors could not be read"):
        read_safetensors(file)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileError, match=r"nothing\.safetensors"):
        read_safetensors(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("name", WEIGHTS)
def test_missing_weights_say_feature_path_cure_and_what_works(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    with pytest.raises(FileError) as caught:
        weights_path(name)
    entry = WEIGHTS[name]
    for part in (entry.feature, str(tmp_path / entry.file), entry.how_to_get, entry.without_it):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", WEIGHTS)
def test_files_match_the_table(name: str):
    entry = WEIGHTS[name]
    path = checkpoints.ASSETS / entry.file
    found = sha256_of(path)
    assert entry.sha256 == found, (
        f'{entry.file} has sha256="{found}"; after a rebuild, the table in core/checkpoints.py says so'
    )


def test_every_asset_has_its_entry_in_the_readme():
    """Origin, licence and command for each file, as assets/README.md promises."""
    text = (checkpoints.ASSETS / "README.md").read_text("utf-8")
    files = {p.relative_to(checkpoints.ASSETS).as_posix() for p in checkpoints.ASSETS.rglob("*") if p.is_file()}
    assert not [f for f in files - {"README.md"} if f"`{f}`" not in text]
