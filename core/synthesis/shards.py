"""Many synthetic heads as files: written by any number of processes or machines, resumed, read back at random.

A shard is one safetensors file of stacked tensors, not a tar of small files as in webdataset. Training shuffles and
looks single samples up, which a memory-mapped slice answers without unpacking; the header is checked against the
file's length, so a cut file is noticed when it is opened; types and shapes are in the file; and nothing has to be
installed for it. What a tar does better, streaming from a web server in order, nobody here needs. Pixels are not
compressed: decoding would cost more than reading.

A shard's bytes depend only on its settings and its number, not on who makes it, when, or what was made before. So
finished shards are kept when a run is repeated, and a run that was cut off goes on where it stopped. "Same bytes" holds
for the same code and libraries on the same kind of processor: the last bit of a float differs between kinds.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from core.camera import Camera
from core.checkpoints import WEIGHTS, sha256_of, write_whole
from core.errors import FileError, LikenessError
from core.head import HeadModel, load_head
from core.shading import Light
from core.synthesis.captions import captions
from core.synthesis.heads import SyntheticHead, as_bytes, sample_head
from core.synthesis.people import LABEL_NAMES, LATENT_NAMES, label_vector
from core.synthesis.photo import GroundTruth, render_truth, sample_photo
from core.synthesis.skins import SkinSources, load_sources

FORMAT_VERSION = 1
KINDS = ("maps", "photos")
SIZE_RANGE = (32, 2048)
CAPTIONS = 4  # per sample
OPEN_SHARDS = 64  # memory maps that a dataset holds at once
TRIES = 3  # of a shard on a Ray cluster, whose machines may go away

# What floats become in a photo's shard, and back.
NORMAL_STEPS = 127
UV_STEPS = 65535

Progress = Callable[[int, int], None]
Encoded = dict[str, bytes]  # kind -> a shard's file


@dataclass(frozen=True)
class ShardSettings:
    """What a shard's content depends on, besides its number.

    seed: of sample 0; sample i of the whole set is the person of seed + i. size: texels a side of the maps, pixels a
    side of the photos. shard_size: samples per shard. relief: whether maps shards hold displacement, specular and
    roughness too. sources: sha256 of the file of skins, or "procedural". head: sha256 of the head model. code: of the
    files that draw people (`code_version`).
    """

    seed: int
    size: int
    shard_size: int
    relief: bool
    sources: str
    head: str
    code: str


@functools.cache
def code_version() -> str:
    """Sixteen hex digits that change with any file which decides what a seed looks like: this package, the painters
    of eyes and mouth, the renderer."""
    core = Path(__file__).resolve().parent.parent
    files = sorted(core.joinpath("synthesis").glob("*.py")) + [
        core / f"{n}.py" for n in ("materials", "render", "atlas")
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------- writing


def write_shards(
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 512,
    shard_size: int = 32,
    workers: int = 1,
    what: Sequence[str] = ("maps",),
    relief: bool = False,
    sources: Path | None = None,
    ray_address: str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write `count` people to ``KIND-NUMBER.safetensors`` in the folder `out`; returns all files, old and new.

    what: "maps" (the maps of the head), "photos" (a picture of each with its ground truth), or both. workers: processes
    on this machine; 1 works in this process. ray_address: "local" starts a Ray cluster of so many workers here and
    ends it; another address is that of a running cluster, whose machines need this version of the project on their
    Python path, and nothing else: the skins travel to them and the shards back. sources: see `skins.load_sources`.
    progress: called with samples done and samples in all.

    Shards that are there already and whose settings agree are kept, others made; a larger `count` adds to a folder.
    Raises LikenessError for impossible arguments, for a folder that holds samples with other settings or more of them,
    and where Ray or a worker fails; FileError for files that cannot be read or written. What was finished stays.
    """
    kinds = _check_request(count, seed, size, shard_size, workers, what)
    settings = ShardSettings(
        seed,
        size,
        shard_size,
        relief,
        "procedural" if sources is None else _sources_sha256(sources),
        WEIGHTS["head"].sha256 or "",
        code_version(),
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"The folder {out} could not be made ({error.strerror}). Choose another place.") from error
    for cut_off in out.glob(".*.safetensors.*part"):
        cut_off.unlink()
    shard_count = math.ceil(count / shard_size)
    samples = [min(shard_size, count - i * shard_size) for i in range(shard_count)]
    jobs: list[_Job] = []
    for index in range(shard_count):
        if missing := tuple(kind for kind in kinds if not _is_finished(out, kind, index, settings, samples[index])):
            jobs.append(_Job(settings, index, samples[index], missing))
    _check_nothing_beyond(out, kinds, shard_count, count)

    files = [_path(out, kind, index) for kind in kinds for index in range(shard_count)]
    done = count - sum(job.samples for job in jobs)
    if progress is not None:
        progress(done, count)
    if not jobs:
        return files
    loaded = None if sources is None else load_sources(sources)
    if ray_address is not None:
        results = _on_ray(jobs, loaded, ray_address, workers)
    elif workers > 1 and len(jobs) > 1:
        results = _in_processes(jobs, sources, min(workers, len(jobs)))
    else:
        results = ((job, _make_shard(job, loaded)) for job in jobs)
    with closing(results):  # ends processes and clusters where writing fails
        for job, encoded in results:
            for kind, content in encoded.items():
                try:
                    write_whole(_path(out, kind, job.index), content)
                except FileError as error:
                    raise FileError(
                        f"{error} The shards that are finished stay, and the same command goes on with the rest."
                    ) from error
            done += job.samples
            if progress is not None:
                progress(done, count)
    return files


@dataclass(frozen=True)
class _Job:
    settings: ShardSettings
    index: int
    samples: int
    kinds: tuple[str, ...]


Made = Generator[tuple[_Job, Encoded], None, None]


def _check_request(
    count: int, seed: int, size: int, shard_size: int, workers: int, what: Sequence[str]
) -> tuple[str, ...]:
    """The kinds asked for, in the order of `KINDS`."""
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("shard size", shard_size, 1)):
        if value < least:
            raise LikenessError(f"The {name} is {value}, but it has to be {least} or more.")
    if workers < 1:
        raise LikenessError(f"The number of workers is {workers}, but it takes at least 1 to make anything.")
    if not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        low, high = SIZE_RANGE
        raise LikenessError(f"The size is {size}, but maps and photos have {low} to {high} pixels a side.")
    if not what or (unknown := sorted(set(what) - set(KINDS))):
        named = f"{', '.join(unknown)} cannot be made" if what else "Nothing to make was named"
        raise LikenessError(f"{named}. Choose among {' and '.join(KINDS)}.")
    return tuple(kind for kind in KINDS if kind in what)


def _sources_sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise FileError(
            f"The skins in {path} could not be read ({error.strerror}). Name a file written by `python -m "
            "recipes.makehuman_skins --sources FILE`, or none for the procedural skin."
        ) from error


def _path(folder: Path, kind: str, index: int) -> Path:
    return folder / f"{kind}-{index:06d}.safetensors"


def _is_finished(out: Path, kind: str, index: int, settings: ShardSettings, samples: int) -> bool:
    """Whether a file is there, whole and the one that would be made. A damaged one, or one of fewer samples, is not.

    Raises LikenessError where a shard was made with other settings, FileError where the file is something else.
    """
    path = _path(out, kind, index)
    try:
        header = _read_header(path)
    except _DamagedShard:
        return False
    found, wanted = header["settings"], _settings_of(kind, settings)
    if found != wanted:
        raise LikenessError(
            f"{path} was made with other settings: {_differences(found, wanted)}. One folder holds one set: choose "
            "another folder, ask for what is in this one, or delete its shards."
        )
    return header["samples"] == samples


def _settings_of(kind: str, settings: ShardSettings) -> dict[str, Any]:
    """Those that matter to one kind: photos hold no relief."""
    return asdict(settings) | {"relief": settings.relief and kind == "maps"}


def _check_nothing_beyond(out: Path, kinds: Iterable[str], shard_count: int, count: int) -> None:
    for kind in kinds:
        beyond = [
            p for p in out.glob(f"{kind}-*.safetensors") if p not in {_path(out, kind, i) for i in range(shard_count)}
        ]
        if beyond:
            raise LikenessError(
                f"{out} holds {len(beyond)} {kind} shards more than {count} samples fill, such as {min(beyond).name}. "
                "Ask for as many samples as it holds or more, choose another folder, or delete them."
            )


# ------------------------------------------------------------------------------------------------ who makes them


_process_sources: SkinSources | None = None  # of a worker process, which makes one set


def _start_process(sources: Path | None) -> None:
    global _process_sources
    Thread(target=_end_with_parent, daemon=True).start()
    _process_sources = None if sources is None else load_sources(sources)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, which would wait for work, and hold their memory, for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_in_process(job: _Job) -> Encoded:
    return _make_shard(job, _process_sources)


def _in_processes(jobs: list[_Job], sources: Path | None, workers: int) -> Made:
    # Not forked: torch's threads do not survive a fork.
    executor = ProcessPoolExecutor(workers, get_context("spawn"), _start_process, (sources,))
    waiting, running = list(reversed(jobs)), {}
    try:
        while waiting or running:
            # Few ahead of the workers, because finished shards wait in memory.
            while waiting and len(running) < 2 * workers:
                job = waiting.pop()
                running[executor.submit(_make_in_process, job)] = job
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), _result(future)
    finally:
        executor.shutdown(cancel_futures=True)


def _result(future: Future[Encoded]) -> Encoded:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise LikenessError(
            "A worker process ended unexpectedly, most often for lack of memory. The shards that are finished stay: "
            "run the same command again, with fewer workers."
        ) from error


def _on_ray(jobs: list[_Job], sources: SkinSources | None, address: str, workers: int) -> Made:
    """One Ray task per shard, in a cluster that is left as it was found."""
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError as error:
        raise LikenessError(
            f"Ray is not installed ({error}), which spreads the work over several machines. Install it with "
            "`pip install ray`, or leave the address out to use processes of this machine."
        ) from error
    # The bundled dashboard and the copies of the workers' output are of no use to a command that reports by itself.
    local = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        _check_listening(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (RayError, ImportError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise LikenessError(
            f"The Ray cluster at {address!r} could not be reached or started ({error}). Name the address of a running "
            "cluster, such as 192.0.2.1:6379, or 'local' to start one on this machine."
        ) from error
    try:
        shared = ray.put(sources)
        task = ray.remote(num_cpus=1, max_retries=TRIES)(_make_shard)
        ahead = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        waiting, running = list(reversed(jobs)), {}
        while waiting or running:
            while waiting and len(running) < ahead:
                job = waiting.pop()
                running[task.remote(job, shared)] = job
            (finished,), _ = ray.wait(list(running))
            yield running.pop(finished), ray.get(finished)
    except RayTaskError as error:
        # What a task raised arrives inside an exception that quotes the task's traceback.
        cause = error.cause
        raise (LikenessError(str(cause)) if isinstance(cause, LikenessError) else error) from error
    except RayError as error:
        raise LikenessError(
            f"The Ray cluster at {address!r} lost the work ({error}). The shards that are finished stay: run the same "
            "command again."
        ) from error
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """OSError where nobody answers at HOST:PORT; Ray itself goes on trying for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


# ---------------------------------------------------------------------------------------------- what is in a shard


def _make_shard(job: _Job, sources: SkinSources | None) -> Encoded:
    """The files of one shard, by kind. In one thread, since sums taken by several round differently."""
    if job.settings.code != code_version():
        raise LikenessError(
            f"A worker has another version of the project ({code_version()} instead of {job.settings.code}), so its "
            "samples would differ. Install the same version on every machine."
        )
    head = load_head()
    first = job.settings.seed + job.index * job.settings.shard_size
    columns: dict[str, dict[str, list[Tensor]]] = {kind: {} for kind in job.kinds}
    sentences: list[list[str]] = []
    with _one_thread(), torch.no_grad():
        for seed in range(first, first + job.samples):
            made = sample_head(head, seed, job.settings.size, sources, normals="photos" in job.kinds)
            sentences.append(list(captions(made.person.labels, np.random.default_rng([seed, 2]), CAPTIONS)))
            for kind in job.kinds:
                encode = encode_maps if kind == "maps" else encode_photo
                for name, value in encode(head, made, job.settings).items():
                    columns[kind].setdefault(name, []).append(value)
    return {kind: _encode(job, kind, stacks, sentences) for kind, stacks in columns.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def encode_maps(head: HeadModel, made: SyntheticHead, settings: ShardSettings) -> dict[str, Tensor]:
    """One person's row of a maps shard. Displacement is in millimetres, float16: to 1 um below 2 mm."""
    row = _encode_person(made) | {"albedo": made.albedo}
    if settings.relief:
        row["displacement_mm"] = (made.relief.displacement_m * 1000).half()
        row["specular"] = as_bytes(made.relief.specular)
        row["roughness"] = as_bytes(made.relief.roughness)
        row["translucency"] = as_bytes(made.relief.translucency)
    return row


def encode_photo(head: HeadModel, made: SyntheticHead, settings: ShardSettings) -> dict[str, Tensor]:
    """One photo's row of a photos shard."""
    photo = sample_photo(head, made.person.seed, size=settings.size, person=made)
    truth = render_truth(head, photo)
    return _encode_person(made) | {
        "picture": torch.from_numpy(photo.pixels).permute(2, 0, 1),
        "expression": photo.parameters.expression[0],
        "part": truth.part,
        "depth_m": truth.depth_m,
        "normals": (truth.normals * NORMAL_STEPS).round().to(torch.int8),
        "uv": (truth.uv * UV_STEPS).round().to(torch.uint16),
        "face_index": truth.face_index.to(torch.int32),
        "landmarks_m": truth.landmarks_m,
        "landmarks_px": truth.landmarks_px,
        "landmarks_visible": truth.landmarks_visible,
        "T_camera_head": photo.camera.T_camera_head[0],
        "focal_px": photo.camera.focal_px[0],
        "principal_px": photo.camera.principal_px[0],
        "light_sh": photo.light.sh[0],
        "light_directions": photo.light.directions[0],
        "light_colors": photo.light.colors[0],
    }


def _encode_person(made: SyntheticHead) -> dict[str, Tensor]:
    person = made.person
    return {
        "seed": torch.tensor(person.seed),
        "latent": person.latent,
        "labels": label_vector(person.labels),
        "shape": person.shape,
    }


def _encode(job: _Job, kind: str, stacks: dict[str, list[Tensor]], sentences: list[list[str]]) -> bytes:
    from safetensors.torch import save

    header = {
        "format": "likeness shard",
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "index": job.index,
        "samples": job.samples,
        "settings": _settings_of(kind, job.settings),
        "latent_names": LATENT_NAMES,
        "label_names": LABEL_NAMES,
        "captions": sentences,
    }
    tensors = {name: torch.stack(rows).contiguous() for name, rows in stacks.items()}
    # One entry: safetensors writes several in no particular order.
    return save(tensors, {"shard": json.dumps(header, ensure_ascii=False, sort_keys=True)})


# ------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class MapSample:
    """One person's maps. displacement_mm (along the normal, out is positive), specular, roughness and translucency
    (0..255) where the dataset was asked for them. latent, labels: `people.LATENT_NAMES`, `people.LABEL_NAMES`."""

    seed: int
    latent: Float[Tensor, "D"]
    labels: Float[Tensor, "N"]
    shape: Float[Tensor, "K"]
    albedo: UInt8[Tensor, "3 U U"]
    displacement_mm: Float[Tensor, "U U"] | None = None
    specular: UInt8[Tensor, "U U"] | None = None
    roughness: UInt8[Tensor, "U U"] | None = None
    translucency: UInt8[Tensor, "U U"] | None = None


@dataclass(frozen=True, eq=False)
class PhotoSample:
    """One photo and its ground truth; camera and light are batches of one."""

    seed: int
    latent: Float[Tensor, "D"]
    labels: Float[Tensor, "N"]
    shape: Float[Tensor, "K"]
    expression: Float[Tensor, "E"]
    picture: UInt8[Tensor, "3 H W"]
    truth: GroundTruth
    camera: Camera
    light: Light


Sample = TypeVar("Sample")


class _ShardDataset(Dataset[Sample], Generic[Sample]):
    """The samples of all shards of one kind in a folder, in order; shards are mapped when they are first needed.

    Reading is lazy and by sample, so a set may be larger than memory. Works in the processes of a DataLoader. Raises
    FileError for a folder without shards, for a damaged shard, and for shards that do not belong together.
    """

    kind = ""
    required: tuple[str, ...] = ()

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.files = sorted(self.folder.glob(f"{self.kind}-*.safetensors"))
        if not self.files:
            raise FileError(
                f"{self.folder} holds no {self.kind} shards. Name a folder that `python -m app synthesize --what "
                f"{self.kind} --out FOLDER` wrote."
            )
        headers = [_read_header(file) for file in self.files]
        first = headers[0]
        self.settings = ShardSettings(**first["settings"])
        for file, header in zip(self.files, headers, strict=True):
            if differences := _differences(header["settings"], first["settings"]):
                raise FileError(
                    f"{file} does not belong to the same set as {self.files[0].name}: {differences}. Move one of the "
                    "sets to another folder."
                )
            if missing := [name for name in self.required if name not in header["tensors"]]:
                raise FileError(
                    f"{file} lacks {', '.join(missing)}. Make the set again with them "
                    "(`python -m app synthesize --relief` for the relief), or do not ask for them."
                )
        self.latent_names: tuple[str, ...] = tuple(first["latent_names"])
        self.label_names: tuple[str, ...] = tuple(first["label_names"])
        self.ends = np.cumsum([header["samples"] for header in headers])
        self._open: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Memory maps stay in the process that opened them."""
        return self.__dict__ | {"_open": OrderedDict()}

    def captions(self, i: int) -> tuple[str, ...]:
        """What sample i is called, in several wordings."""
        shard, row = self._locate(i)
        return tuple(_read_header(self.files[shard])["captions"][row])

    def _locate(self, i: int) -> tuple[int, int]:
        """Shard and row of a sample."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"There is no sample {i}; the set in {self.folder} has {len(self)}.")
        i %= len(self)
        shard = int(np.searchsorted(self.ends, i, side="right"))
        return shard, i - (int(self.ends[shard - 1]) if shard else 0)

    def _read(self, i: int, names: Iterable[str]) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        shard, row = self._locate(i)
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(str(self.files[shard]), framework="pt")
                if len(self._open) > OPEN_SHARDS:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return {name: self._open[shard].get_slice(name)[row] for name in names}
        except (SafetensorError, OSError) as error:
            raise _damaged(self.files[shard], error) from error


class MapDataset(_ShardDataset[MapSample]):
    """The people of the maps shards in a folder. relief: read what `MapSample` has of it too."""

    kind = "maps"

    def __init__(self, folder: Path | str, relief: bool = False) -> None:
        names = tuple(field.name for field in fields(MapSample))
        self.required = names if relief else names[: names.index("displacement_mm")]
        super().__init__(folder)

    def __getitem__(self, i: int) -> MapSample:
        row = self._read(i, self.required)
        return MapSample(seed=int(row.pop("seed")), **row)


class PhotoDataset(_ShardDataset[PhotoSample]):
    """The photos of the photos shards in a folder.

    Normals were rounded to 1/127 and made unit again, texture coordinates to 1/65535; the rest is as it was rendered.
    """

    kind = "photos"
    required = (
        *("seed", "latent", "labels", "shape", "expression", "picture"),
        *("part", "depth_m", "normals", "uv", "face_index", "landmarks_m", "landmarks_px", "landmarks_visible"),
        *("T_camera_head", "focal_px", "principal_px", "light_sh", "light_directions", "light_colors"),
    )

    def __getitem__(self, i: int) -> PhotoSample:
        row = self._read(i, self.required)
        height, width = row["part"].shape
        truth = GroundTruth(
            part=row["part"],
            depth_m=row["depth_m"],
            normals=torch.nn.functional.normalize(row["normals"].float(), dim=-1),
            uv=row["uv"].float() / UV_STEPS,
            face_index=row["face_index"].long(),
            landmarks_m=row["landmarks_m"],
            landmarks_px=row["landmarks_px"],
            landmarks_visible=row["landmarks_visible"],
        )
        batches = {name: row[name][None] for name in ("T_camera_head", "focal_px", "principal_px")}
        light = Light(row["light_sh"][None], row["light_directions"][None], row["light_colors"][None])
        own = {name: row[name] for name in ("latent", "labels", "shape", "expression", "picture")}
        return PhotoSample(
            seed=int(row["seed"]), truth=truth, camera=Camera(**batches, height=height, width=width), light=light, **own
        )


def _read_header(path: Path) -> dict[str, Any]:
    """What a shard says of itself, and the names of its tensors. Raises FileError for what is no whole shard."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, tensors = file.metadata() or {}, tuple(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if "shard" not in metadata:
        raise FileError(f"{path} is not a shard of synthetic heads: it lacks the entry 'shard'. Move it elsewhere.")
    header = json.loads(metadata["shard"])
    if header.get("format_version") != FORMAT_VERSION:
        raise FileError(
            f"{path} has the format {header.get('format_version')}, but this version reads {FORMAT_VERSION}. Make the "
            "set again with `python -m app synthesize`."
        )
    return header | {"tensors": tensors}


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {found.get(name)!s:.16} instead of {value!s:.16}"
        for name, value in wanted.items()
        if found.get(name) != value
    )


class _DamagedShard(FileError):
    """A shard that is missing, cut off or damaged, and may be made anew."""


def _damaged(path: Path, error: Exception) -> FileError:
    return _DamagedShard(
        f"The shard {path} could not be read ({error}). It is missing, cut off or damaged: run the same "
        "`python -m app synthesize` command again, which makes such shards anew and keeps the others."
    )
