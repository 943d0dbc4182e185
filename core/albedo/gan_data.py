"""Labelled maps in batches, in an order that any run can take up again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from core.errors import LikenessError


class Sample(Protocol):
    """One labelled map, such as core.synthesis.shards.MapSample."""

    @property
    def latent(self) -> Tensor: ...
    @property
    def shape(self) -> Tensor: ...
    @property
    def albedo(self) -> Tensor: ...


@runtime_checkable
class Data(Protocol):
    """What torch calls a map-style data set."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class LabelledData(Data, Protocol):
    """Data whose samples also have `labels`, and that knows what the numbers mean: core.synthesis.shards.MapDataset."""

    label_names: tuple[str, ...]
    latent_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class People:
    """A batch of labelled people. albedo: sRGB in bytes."""

    latent: Float[Tensor, "B D"]
    shape: Float[Tensor, "B K"]
    albedo: UInt8[Tensor, "B 3 U U"]

    @property
    def maps(self) -> Float[Tensor, "B 3 U U"]:
        """The albedo as networks see it, -1..1."""
        return self.albedo.float() / 127.5 - 1

    def to(self, device: torch.device) -> People:
        """The same people on another device."""
        return People(*(t.to(device, non_blocking=True) for t in (self.latent, self.shape, self.albedo)))


def check_data(data: Data, size: int) -> tuple[int, int]:
    """Latent size and number of shape coefficients of labelled maps that can train a generator of `size` texels.

    Raises LikenessError for no data, and for maps that cannot be averaged down to that size.
    """
    if len(data) == 0:
        raise LikenessError("The data holds no maps. Write some with `python -m app synthesize` first.")
    sample: Sample = data[0]
    side = sample.albedo.shape[-1]
    if side % size:
        raise LikenessError(
            f"The maps have {side} texels a side, which cannot be averaged down to the {size} of the generator. "
            f"Synthesize maps of a multiple of {size}, or choose another size (--size)."
        )
    return sample.latent.shape[0], sample.shape.shape[0]


class Feed:
    """Batches in an order that depends on the seed and the number of images so far alone, so a run can resume anywhere.

    Every epoch is a new permutation. Data that fits `preload_gb` is read once and kept on the device as bytes; more is
    read by worker processes as it is used. Each process gets every world-th person of the batch.
    """

    def __init__(
        self,
        data: Data,
        size: int,
        batch_size: int,
        device: torch.device,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        preload_gb: float = 2.0,
        workers: int = 0,
    ) -> None:
        self.data, self.size, self.batch_size, self.device = data, size, batch_size, device
        self.seed, self.rank, self.world, self.workers = seed, rank, world, workers
        self._orders: dict[int, Tensor] = {}
        self._stream: Iterator[People] | None = None
        self._position = -1
        self._resident: People | None = None
        if len(data) * 3 * size**2 <= preload_gb * 1e9:
            # In chunks, so that full-size maps never lie in memory all together.
            chunks = [
                collate([data[i] for i in range(start, min(start + 256, len(data)))], size)
                for start in range(0, len(data), 256)
            ]
            columns = zip(*((c.latent, c.shape, c.albedo) for c in chunks), strict=True)
            self._resident = People(*(torch.cat(column) for column in columns)).to(device)

    def batch(self, seen: int) -> People:
        """This process's share of the batch that follows after `seen` images."""
        if self._resident is not None:
            index = self._indices(seen)
            whole = self._resident
            return People(whole.latent[index], whole.shape[index], whole.albedo[index])
        if self._stream is None or self._position != seen:
            self._stream = self._streamed(seen)
        self._position = seen + self.batch_size
        return next(self._stream).to(self.device)

    def _indices(self, seen: int) -> Tensor:
        count, wanted = len(self.data), self.batch_size
        parts = []
        while wanted:
            epoch, start = divmod(seen, count)
            part = self._order(epoch)[start : start + wanted]
            parts.append(part)
            seen, wanted = seen + len(part), wanted - len(part)
        return torch.cat(parts)[self.rank :: self.world]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.data), generator=generator)
            resident = self._resident is not None
            self._orders = {k: v for k, v in self._orders.items() if k == epoch - 1}
            self._orders[epoch] = order.to(self.device) if resident else order
        return self._orders[epoch]

    def _streamed(self, seen: int) -> Iterator[People]:
        from torch.utils.data import DataLoader

        loader = DataLoader(
            cast(Any, self.data),
            batch_sampler=cast(Any, _IndexBatches(self, seen)),
            num_workers=self.workers,
            collate_fn=_Collate(self.size),
            pin_memory=self.device.type == "cuda",
        )
        return iter(loader)


@dataclass(frozen=True)
class _IndexBatches:
    """An endless batch sampler."""

    feed: Feed
    seen: int

    def __iter__(self) -> Iterator[list[int]]:
        seen = self.seen
        while True:
            yield self.feed._indices(seen).tolist()
            seen += self.feed.batch_size


@dataclass(frozen=True)
class _Collate:
    """`collate`, as something that a worker process can be sent."""

    size: int

    def __call__(self, samples: list[Any]) -> People:
        return collate(samples, self.size)


def collate(samples: list[Any], size: int) -> People:
    """Samples as one batch, their maps averaged down to `size` texels a side."""
    albedo = torch.stack([s.albedo for s in samples])
    if (side := albedo.shape[-1]) != size:
        albedo = functional.avg_pool2d(albedo.float(), side // size).round().to(torch.uint8)
    return People(torch.stack([s.latent for s in samples]), torch.stack([s.shape for s in samples]), albedo)
