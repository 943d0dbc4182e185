"""Shards: the same bytes whoever makes them and however often they are cut off; what is read is what was sampled."""

from __future__ import annotations

import copy
import faulthandler
import functools
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import FileError, LikenessError
from core.head import load_head
from core.synthesis import shards
from core.synthesis.heads import SyntheticHead, as_bytes, sample_head
from core.synthesis.people import LABEL_NAMES, LATENT_NAMES, label_vector
from core.synthesis.photo import render_truth, sample_photo
from core.synthesis.shards import MapDataset, PhotoDataset, write_shards

ROOT = Path(__file__).resolve().parent.parent
SEED, SIZE, COUNT = 40, 64, 3  # a shard of two and a short one


def write(out: Path, count: int = COUNT, **options) -> list[Path]:
    return write_shards(out, count, **{"seed": SEED, "size": SIZE, "shard_size": 2} | options)


@functools.cache
def made(i: int) -> SyntheticHead:
    return sample_head(load_head(), SEED + i, SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of both kinds, made in this process. Read-only."""
    out = tmp_path_factory.mktemp("shards")
    files = write(out, what=("photos", "maps"), relief=True)
    assert [file.name for file in files] == [
        f"{kind}-00000{i}.safetensors" for kind in ("maps", "photos") for i in range(2)
    ]
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ----------------------------------------------------------------------------------------------------- what is in it


def test_maps_are_what_was_sampled(folder: Path) -> None:
    dataset = MapDataset(folder, relief=True)
    assert len(dataset) == COUNT
    assert dataset.latent_names == LATENT_NAMES and dataset.label_names == LABEL_NAMES
    for i in (2, 0, 1):  # in any order, from any shard
        sample, expected = dataset[i], made(i)
        assert sample.seed == SEED + i
        assert torch.equal(sample.latent, expected.person.latent)
        assert torch.equal(sample.labels, label_vector(expected.person.labels))
        assert torch.equal(sample.shape, expected.person.shape)
        assert torch.equal(sample.albedo, expected.albedo)
        assert sample.displacement_mm is not None and sample.specular is not None and sample.roughness is not None
        assert float((sample.displacement_mm / 1000 - expected.relief.displacement_m).abs().max()) < 1.1e-6
        assert torch.equal(sample.specular, as_bytes(expected.relief.specular))
        assert torch.equal(sample.roughness, expected.materials.skin_roughness[0])
    assert torch.equal(dataset[-1].albedo, dataset[COUNT - 1].albedo)
    assert MapDataset(folder)[0].roughness is None


def test_photos_are_what_was_taken(folder: Path) -> None:
    dataset, head = PhotoDataset(folder), load_head()
    assert len(dataset) == COUNT
    i = 2
    photo = sample_photo(head, SEED + i, size=SIZE, person=made(i))
    truth, sample = render_truth(head, photo), dataset[i]
    assert torch.equal(sample.picture.permute(1, 2, 0), torch.from_numpy(photo.pixels))
    assert torch.equal(sample.shape, photo.parameters.shape[0]) and torch.equal(sample.shape, made(i).person.shape)
    assert torch.equal(sample.expression, photo.parameters.expression[0])
    for name in ("part", "depth_m", "face_index", "landmarks_m", "landmarks_px", "landmarks_visible", "mask"):
        assert torch.equal(getattr(sample.truth, name), getattr(truth, name)), name
    assert float((sample.truth.uv - truth.uv).abs().max()) < 1e-5
    assert float((sample.truth.normals - truth.normals).abs().max()) < 0.01
    assert torch.allclose(sample.truth.normals[truth.mask].norm(dim=-1), torch.tensor(1.0))
    # Camera and light as they were: the vertices project where they did, the light is the same light.
    assert torch.equal(sample.camera.project(photo.vertices[None]), photo.camera.project(photo.vertices[None]))
    for name, value in vars(photo.light).items():
        kept = getattr(sample.light, name)
        assert (kept is None and value is None) or torch.equal(kept, value), name


def test_people_are_described(folder: Path) -> None:
    maps, photos = MapDataset(folder), PhotoDataset(folder)
    said = [maps.captions(i) for i in range(COUNT)]
    assert all(len(one) == shards.CAPTIONS and all(one) for one in said)
    assert len(set(said)) == COUNT
    assert [photos.captions(i) for i in range(COUNT)] == said


def test_a_dataset_is_read_in_other_processes(folder: Path) -> None:
    """A copy, which is what a DataLoader's process gets, opens the files itself."""
    dataset = MapDataset(folder)
    first = dataset[1]
    twin = copy.deepcopy(dataset)
    assert torch.equal(twin[1].albedo, first.albedo)
    albedos = torch.utils.data.DataLoader([one.albedo for one in (twin[i] for i in range(COUNT))], batch_size=COUNT)
    assert next(iter(albedos)).shape == (COUNT, 3, SIZE, SIZE)
    with pytest.raises(IndexError, match="There is no sample 3"):
        dataset[COUNT]
    assert len(list(dataset)) == COUNT  # type: ignore[arg-type]  # the old protocol: ends at IndexError


def test_few_files_are_open_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN_SHARDS", 1)
    dataset = MapDataset(folder)
    again = [dataset[i].albedo for i in (0, 2, 0, 1)]
    assert torch.equal(again[0], again[2]) and torch.equal(again[3], made(1).albedo)
    assert len(dataset._open) == 1


# ------------------------------------------------------------------------------------------- who makes it, how often


def test_processes_go_on_where_it_was_cut_off_with_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """One shard finished, one cut off in the middle as a full disk leaves it, one not begun."""
    expected = contents(folder)
    names = sorted(expected)
    (tmp_path / names[0]).write_bytes(expected[names[0]])
    (tmp_path / names[1]).write_bytes(expected[names[1]][: len(expected[names[1]]) // 2])
    (tmp_path / names[3]).write_bytes(b"")
    (tmp_path / f".{names[2]}.a1b2c3.part").write_bytes(expected[names[2]][:1000])
    kept = (tmp_path / names[0]).stat().st_mtime_ns
    reports: list[tuple[int, int]] = []
    write(tmp_path, what=("maps", "photos"), relief=True, workers=2, progress=lambda *now: reports.append(now))
    assert contents(tmp_path) == expected
    assert (tmp_path / names[0]).stat().st_mtime_ns == kept
    assert reports[0] == (0, COUNT) and reports[-1] == (COUNT, COUNT)
    assert sorted(reports) == reports


def test_a_finished_set_is_left_alone_and_a_longer_one_added_to(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, count=2, relief=True)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    reports: list[tuple[int, int]] = []
    write(tmp_path, count=2, relief=True, progress=lambda *now: reports.append(now))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert reports == [(2, 2)]
    write(tmp_path, relief=True)
    assert contents(tmp_path) == {k: v for k, v in contents(folder).items() if k.startswith("maps")}
    assert (tmp_path / "maps-000000.safetensors").stat().st_mtime_ns == before["maps-000000.safetensors"]
    with pytest.raises(LikenessError, match=r"holds 1 maps shards more than 2 samples fill, such as maps-000001"):
        write(tmp_path, count=2, relief=True)


def test_kinds_share_a_folder_and_not_their_settings(folder: Path, tmp_path: Path) -> None:
    """Maps with relief, then photos, are what both at once are: a person is the same in both. A short shard grows."""
    write(tmp_path, count=1, relief=True)
    write(tmp_path, count=2, relief=True)
    write(tmp_path, count=2, what=("photos",))
    expected = contents(folder)
    assert contents(tmp_path) == {name: expected[name] for name in contents(tmp_path)}
    assert len(contents(tmp_path)) == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [({"seed": 41}, "seed 40 instead of 41"), ({"size": 96}, "size 64"), ({"relief": False}, "relief")],
)
def test_other_settings_need_another_folder(folder: Path, option: dict, said: str) -> None:
    before = contents(folder)
    with pytest.raises(LikenessError, match=f"was made with other settings: .*{said}.*choose"):
        write(folder, **{"relief": True} | option)
    assert contents(folder) == before


def test_another_file_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "maps-000000.safetensors"
    save_file({"mine": torch.ones(1)}, path)
    before = path.read_bytes()
    with pytest.raises(FileError, match="is not a shard of synthetic heads"):
        write(tmp_path)
    assert path.read_bytes() == before


def test_a_worker_that_dies_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_start_process", faulthandler._sigsegv)
    with pytest.raises(LikenessError, match=r"worker process ended unexpectedly.*fewer workers"):
        write(tmp_path, workers=2)
    assert not contents(tmp_path)


def test_a_worker_of_another_version_is_a_sentence(folder: Path) -> None:
    settings = replace(MapDataset(folder).settings, code="0" * 16)
    with pytest.raises(LikenessError, match=r"another version of the project.*instead of 0000"):
        shards._make_shard(shards._Job(settings, 0, 1, ("maps",)), None)


# ------------------------------------------------------------------------------------------------------------- on Ray

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install ray")

# In a process of its own: Ray leaves threads and sockets behind. Two nodes, as two machines would be.
ON_A_CLUSTER = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from core.synthesis.shards import write_shards

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    cluster.add_node(num_cpus=1)
    write_shards(Path(sys.argv[1]), *map(int, sys.argv[2:5]), shard_size=2, relief=True, ray_address=cluster.address)
finally:
    cluster.shutdown()
"""


@needs_ray
@pytest.mark.slow
def test_a_ray_cluster_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_CLUSTER, str(tmp_path), str(COUNT), str(SEED), str(SIZE)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == {k: v for k, v in contents(folder).items() if k.startswith("maps")}


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path, address: str) -> None:
    with pytest.raises(LikenessError, match=f"The Ray cluster at '{address}' could not be reached"):
        write(tmp_path, ray_address=address)


def test_ray_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LikenessError, match=r"Ray is not installed .*pip install ray.*leave the address out"):
        write(tmp_path, ray_address="local")


# ------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "The count is 0, but it has to be 1 or more"),
        ({"seed": -1}, "The seed is -1"),
        ({"shard_size": 0}, "The shard size is 0"),
        ({"workers": 0}, "The number of workers is 0"),
        ({"size": 16}, "The size is 16, but maps and photos have 32 to 2048"),
        ({"size": 4096}, "The size is 4096"),
        ({"what": ("maps", "meshes")}, "meshes cannot be made. Choose among maps and photos"),
        ({"what": ()}, "Nothing to make was named"),
        ({"sources": Path("nowhere/skins.safetensors")}, r"nowhere/skins\.safetensors could not be read .*recipes"),
    ],
)
def test_impossible_requests_are_sentences(tmp_path: Path, options: dict, said: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(LikenessError, match=said):
        write(out, **options)
    assert not out.exists()


def test_bad_sources_and_folders_are_sentences(tmp_path: Path) -> None:
    save_file({"mine": torch.ones(1)}, tmp_path / "skins.safetensors")
    with pytest.raises(FileError, match=r"skins\.safetensors"):
        write(tmp_path / "out", sources=tmp_path / "skins.safetensors", workers=2)
    with pytest.raises(FileError, match=r"The folder .* could not be made"):
        write(tmp_path / "skins.safetensors" / "out")


def test_a_folder_without_shards_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileError, match=r"holds no maps shards.*synthesize --what maps"):
            MapDataset(place)
    (tmp_path / "maps-000000.safetensors").symlink_to(folder / "maps-000000.safetensors")
    with pytest.raises(FileError, match="holds no photos shards"):
        PhotoDataset(tmp_path)


def test_a_damaged_shard_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    content = (folder / "maps-000000.safetensors").read_bytes()
    path = tmp_path / "maps-000000.safetensors"
    for damaged in (content[:-1], content[:100], b"", b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(FileError, match=r"maps-000000.* could not be read .*makes such shards anew"):
            MapDataset(tmp_path)
    path.write_bytes(content)
    dataset = MapDataset(tmp_path)
    path.unlink()  # after the header was read
    with pytest.raises(FileError, match=r"maps-000000.* could not be read"):
        dataset[0]


def test_sets_that_do_not_belong_together_are_a_sentence(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, count=1, size=32, shard_size=1, relief=True)
    (tmp_path / "maps-000001.safetensors").symlink_to(folder / "maps-000000.safetensors")
    with pytest.raises(FileError, match=r"maps-000001.* does not belong to the same set .*size 64 instead of 32"):
        MapDataset(tmp_path)
    (tmp_path / "maps-000001.safetensors").unlink()
    MapDataset(tmp_path, relief=True)
    bare = tmp_path / "bare"
    write(bare, count=1, size=32)
    MapDataset(bare)
    with pytest.raises(FileError, match=r"lacks displacement_mm, specular, roughness, translucency.*--relief"):
        MapDataset(bare, relief=True)
