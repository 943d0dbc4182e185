"""How fast the generators of skin are trained on this machine: images per second of every phase, in short runs."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.generation import MAPS_VARIABLE, Shown, painted_sample, show, skin_sources
from core.albedo.coarse import CoarseAlbedo, train_coarse
from core.albedo.detail import Progress, train_detail
from core.albedo.gan_data import collate
from core.albedo.gan_training import PRESETS, GanSettings, Trainer, build_networks
from core.head import HeadModel, load_head
from core.synthesis.heads import sample_head
from core.synthesis.shards import MapDataset, MapSample

SIZE = 512  # of the maps
COMPONENTS, DETAIL_BATCH = 120, 8  # as `recipes.train_albedo` has them

console = Console(width=120)


@dataclass(frozen=True)
class Rate:
    """per_second: images, one process. batch: images at a time."""

    what: str
    per_second: float
    size: int
    batch: int


def section(quick: bool) -> dict[str, Any]:
    """Print the table; the numbers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = PRESETS["cpu" if device.type == "cpu" else "gpu"]
    head = load_head()
    with console.status("drawing people") as status:
        rates = [sampler_rate(head, 2 if quick else 7)]
        maps = some_maps(head, 64)
        status.update("training the coarse model")
        coarse, rate = coarse_rate(head, maps, device)
        rates.append(rate)
        status.update("training the detail model")
        rates.append(detail_rate(head, maps, coarse, device, 2 if quick else 4))
        status.update("training the generator")
        rates += gan_rates(maps, settings, device, 1 if quick else 2)
    shown = show(rate_table(rates))
    console.print(f"On: {device.type}. One process each; the sampler runs in as many as there are cores.")
    return {"device": device.type, "tables": {"training": shown}, "rates": [asdict(rate) for rate in rates]}


def rate_table(rates: Sequence[Rate]) -> Shown:
    return Shown(
        ("phase", "texels a side", "batch", "images per second"),
        tuple(
            (rate.what, str(rate.size), str(rate.batch), f"{rate.per_second:.{2 if rate.per_second < 10 else 0}f}")
            for rate in rates
        ),
    )


def some_maps(head: HeadModel, count: int) -> list[MapSample]:
    """So many people of the folder that the environment names, else eight who are painted, again and again: what they
    look like does not change how long they take."""
    folders = [folder for folder in os.environ.get(MAPS_VARIABLE, "").split(os.pathsep) if folder]
    if folders:
        data = MapDataset(Path(folders[0]))
        return [data[i % len(data)] for i in range(count)]
    sources = skin_sources()
    few = [painted_sample(head, seed, SIZE, sources) for seed in range(8)]
    return [few[i % len(few)] for i in range(count)]


def sampler_rate(head: HeadModel, count: int) -> Rate:
    """Drawing and painting people, without relief, in one thread, as a worker of `python -m app synthesize` does."""
    sources, threads = skin_sources(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sample_head(head, 0, SIZE, sources, normals=False)  # what is computed once
        seconds = [
            _timed(lambda seed=seed: sample_head(head, seed, SIZE, sources, normals=False))
            for seed in range(1, 1 + count)
        ]
    finally:
        torch.set_num_threads(threads)
    return Rate("sampler of people", 1 / statistics.median(seconds), SIZE, 1)


def coarse_rate(head: HeadModel, maps: Sequence[MapSample], device: torch.device) -> tuple[CoarseAlbedo, Rate]:
    """Principal components, with reading the maps; and the model, which is of no use."""
    components = min(COMPONENTS, len(maps) // 2)
    found: list[CoarseAlbedo] = []
    seconds = _timed(lambda: found.append(train_coarse(_Maps(maps), components, None, head=head, device=device)))
    return found[0], Rate("coarse: principal components", len(maps) / seconds, found[0].size, len(maps))


def detail_rate(
    head: HeadModel, maps: Sequence[MapSample], coarse: CoarseAlbedo, device: torch.device, steps: int
) -> Rate:
    """The detail stage, with preparing the maps."""
    reports: list[Progress] = []
    with tempfile.TemporaryDirectory() as folder:
        train_detail(
            _Maps(maps[: 1 + DETAIL_BATCH]), coarse, Path(folder) / "detail.safetensors", steps, DETAIL_BATCH,
            device=device, head=head, report=reports.append,
        )  # fmt: skip
    # Each epoch is one step, which is reported; the first warms up.
    seconds = [later.seconds - earlier.seconds for earlier, later in itertools.pairwise(reports)]
    return Rate("detail: variational auto-encoder", DETAIL_BATCH / statistics.median(seconds), SIZE, DETAIL_BATCH)


def gan_rates(maps: Sequence[MapSample], settings: GanSettings, device: torch.device, repeats: int) -> list[Rate]:
    """Both phases of the generator; the supervised one at each size that it learns.

    The adversarial phase regularises every few steps only. A step of each kind is timed and counted as often as it
    comes.
    """
    s, batch = settings, settings.batch_size
    people = collate([maps[i % len(maps)] for i in range(batch)], s.size).to(device)
    latent_size, shape_count = maps[0].latent.shape[0], maps[0].shape.shape[0]
    trainer = Trainer(build_networks(s, latent_size, shape_count), s, latent_size, device)

    def seconds(step: int) -> float:
        """Median time of the step of this number."""
        times = []
        for _ in range(1 + repeats):
            trainer.step = step
            times.append(_timed(lambda: _finished(trainer, people)))
        return statistics.median(times[1:])

    rates = []
    for size, done in _stages(s):
        trainer.supervised_done = done
        rates.append(Rate("generator, supervised", batch / seconds(1), size, batch))
    trainer.begin_adversarial_phase()
    plain, path, both = (seconds(step) for step in (1, s.path_every, s.path_every * s.r1_every))
    # Both penalties come with the step at which the rarer one is due.
    mean = plain + (path - plain) / s.path_every + (both - path) / s.r1_every
    rates.append(Rate("generator, adversarial", batch / mean, s.size, batch))
    return rates


def _stages(settings: GanSettings) -> list[tuple[int, float]]:
    """The sizes that the supervised phase learns, and how much of it is done when each begins."""
    stages, done = [], 0.0
    for size, share in settings.growth:
        if size < settings.size:
            stages.append((size, done))
        done += share
    return [*stages, (settings.size, done)]


def _finished(trainer: Trainer, people: Any) -> None:
    trainer.train_on(people)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def _timed(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


@dataclass(frozen=True)
class _Maps:
    """A list as a data set."""

    samples: Sequence[MapSample]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> MapSample:
        return self.samples[index]
