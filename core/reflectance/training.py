"""Training both networks at once, on synthetic heads that are lit anew for every step.

The loss is AvatarMe++'s (Lattas et al. 2021, section 4.3): the maps should be right, and a head that wears them should
look right under light that the maps were not made from. The second sees that an albedo which is too dark and a shine
which is too strong make the same picture in one light and not in another.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from core.atlas import atlas_lookup
from core.checkpoints import read_safetensors, write_whole
from core.errors import FileError, LikenessError
from core.head import HeadModel
from core.reflectance.lit_heads import (
    BORDER_PX,
    Geometry,
    LitHead,
    LitHeads,
    LitTiles,
    Person,
    enlarged_tiles,
    geometry_of,
    sample_light,
    shade,
    skin_of,
    views_of,
)
from core.reflectance.network import (
    COARSE_PX,
    WORK_PX,
    NetworkSettings,
    ReflectanceNet,
    SkinMaps,
    ToneReader,
    log_light,
    main_light,
    save_network,
)
from core.shading import Light
from core.synthesis.heads import as_bytes, rest_vertices, sample_head
from core.synthesis.shards import MapDataset
from core.synthesis.skins import SkinSources

CHECKPOINT = "likeness-reflectance-checkpoint-1"
FINE_MM, SLOPE_MM = 0.05, 0.03  # errors of height, and of its difference between texels, that count as 1
LINED_UM, LINED_SHARE = -150, 0.004  # who has furrows so deep on so much of the map is shown more often


@dataclass(frozen=True)
class TrainingSettings:
    """steps: in all. heads, tiles: lit heads per step, and tiles of each. rate: of Adam at its highest. shapes: so many
    heads' shapes are lit, since what hides what takes longest to find out; the other skins are worn by these. held_out:
    people of the folder, the last ones, that are not trained on. seed: of light and order.

    Weights of the loss, whose parts are of order 1 at first: albedo (logarithm), height and slope per texel (in
    `FINE_MM` and `SLOPE_MM`), surface (specular, roughness, translucency), picture (of the relit skin,
    display-encoded).
    """

    steps: int = 5000
    heads: int = 2
    tiles: int = 3
    rate: float = 1.5e-3
    shapes: int = 96
    held_out: int = 24
    seed: int = 0
    albedo: float = 1.0
    height: float = 0.4
    slope: float = 0.4
    surface: float = 1.5
    picture: float = 2.0

    def __post_init__(self) -> None:
        if min(self.steps, self.heads, self.tiles, self.shapes, self.held_out) < 1 or self.rate <= 0:
            raise LikenessError(f"Training needs positive numbers; it was given {asdict(self)}.")


@dataclass(frozen=True)
class Progress:
    """After `step` steps: mean parts of the loss since the last report, and seconds since the start of this run."""

    step: int
    parts: dict[str, float]
    seconds: float


def load_people(
    head: HeadModel, folder: Path, shapes: int, say: Callable[[str], None] = lambda _: None
) -> list[Person]:
    """The people of a folder that `python -m app synthesize --relief --size 1024` wrote. Raises FileError where there
    are none, LikenessError for maps of another size."""
    rows = MapDataset(folder, relief=True)
    people: list[Person] = []
    geometries: list[Geometry] = []
    for i in range(len(rows)):
        row = rows[i]
        if row.albedo.shape[-1] != WORK_PX:
            raise LikenessError(
                f"The maps in {folder} have {row.albedo.shape[-1]} texels a side; reflectance is learnt from "
                f"{WORK_PX}. Make them with `python -m app synthesize --relief --size {WORK_PX}`."
            )
        if len(geometries) < shapes:
            geometries.append(geometry_of(head, rest_vertices(head, row.shape[None])))
        people.append(Person.of_sample(row, geometries[i % len(geometries)]))
        if (i + 1) % 32 == 0 or i + 1 == len(rows):
            say(f"{i + 1} of {len(rows)} people read")
    return people


# ------------------------------------------------------------------------------------------------------------ the loss


def predict_tiles(
    net: ReflectanceNet, batch: Sequence[LitHead], inside: Float[Tensor, "1 1 C C"]
) -> tuple[Float[Tensor, "B 3 C C"], list[SkinMaps]]:
    """What the networks find: the coarse log albedo of all heads, and the maps of each head's tiles."""
    lit, fitted, normals = (torch.stack([getattr(h, name) for h in batch]) for name in ("lit", "fitted", "normals"))
    change, context = net.see_whole(lit, fitted, normals, inside)
    # The light as it is believed to be: fitted, and corrected where the albedo was.
    light = fitted.clamp_min(1e-3).log() - change
    coarse = lit.clamp_min(1e-3).log() - light
    found = []
    for i, head in enumerate(batch):
        t = head.tiles
        wide = enlarged_tiles(torch.cat([light[i], context[i]])[None], t.row, t.column, t.lit.shape[-1], WORK_PX)
        towards = main_light(head.sh, t.normal, t.tangent, t.bitangent)
        found.append(net.see_tile(t.lit, wide[:, :3], towards, wide[:, 3:]))
    return coarse, found


def loss_of(
    net: ReflectanceNet,
    batch: Sequence[LitHead],
    inside: Float[Tensor, "1 1 C C"],
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The loss of some lit heads, and its parts."""
    # Half the numbers' length: four times as fast where a processor knows it, and noise is not what errors come from.
    with torch.autocast(inside.device.type, torch.bfloat16):
        coarse, found = predict_tiles(net, batch, inside)
    truth = torch.stack([head.log_albedo for head in batch])
    parts = {"coarse": _tone_and_rest(coarse - truth, inside.expand(len(batch), -1, -1, -1))}
    for maps, head in zip(found, batch, strict=True):
        for name, value in _tile_losses(maps, head.tiles, rng).items():
            parts[name] = parts.get(name, 0 * value) + value / len(batch)
    weights = asdict(settings) | {"coarse": settings.albedo}
    total = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _tile_losses(maps: SkinMaps, tiles: LitTiles, rng: np.random.Generator) -> dict[str, Tensor]:
    inner = slice(BORDER_PX, -BORDER_PX)
    known = _inner(tiles.inside.float())
    surface = torch.cat([maps.specular, maps.roughness, maps.translucency], 1)
    off = _inner(maps.log_albedo - tiles.log_albedo)
    height = _inner(maps.height_mm - tiles.height_mm)
    slope_u, slope_v = (_huber(height.diff(dim=dim) / SLOPE_MM) for dim in (-1, -2))
    same_u, same_v = tiles.whole_u[..., inner, inner][:, None, :, : slope_u.shape[-1]], None
    same_v = tiles.whole_v[..., inner, inner][:, None, : slope_v.shape[-2]]
    albedo = _tone_and_rest(off, known) + _mean(off.diff(dim=-1).abs(), known[..., 1:])
    parts = {
        "albedo": albedo + _mean(off.diff(dim=-2).abs(), known[..., 1:, :]),
        "height": _mean(_huber(height / FINE_MM), known),
        "slope": _mean(slope_u, same_u.float()) + _mean(slope_v, same_v.float()),
        "surface": _mean(_inner(surface - tiles.surface).abs(), known),
    }
    # The photorealistic rendering loss: another light, another place to see it from; of one tile, because it takes as
    # long as the network.
    light = sample_light(rng).to(tiles.lit.device)
    around = light.surroundings.mean(0)
    sh = around.new_zeros(1, 9, 3)
    sh[0, 0] = around * len(light.surroundings) / 4 * math.sqrt(4 * math.pi)
    lamps = Light(sh, light.lamps.directions, light.lamps.colors)
    i = int(rng.integers(len(tiles.lit)))
    tile, found = tiles.one(i), (t[i : i + 1] for t in vars(maps).values())
    view = views_of(tile, light.camera)
    true = skin_of(tile, tile.log_albedo, tile.height_mm, *tile.surface.split(1, 1))
    made = skin_of(tile, *found)
    pictures = [_displayed(shade(skin, lamps, view)) for skin in (true, made)]
    difference = (pictures[1] - pictures[0]).abs().mean(1)
    side = tiles.lit.shape[-1]
    parts["picture"] = _mean(_inner(difference.reshape(-1, 1, side, side)), known[i : i + 1])
    return parts


def _tone_and_rest(off: Float[Tensor, "B C H W"], weight: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """Absolute error of log albedo with half a weight on what a whole map is off by: how bright the light was, nobody
    can tell for sure, and the error of it would drown what can be learnt of shadows and shine."""
    tone = (off * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1)
    return _mean((off - tone).abs(), weight) + 0.5 * tone.abs().mean()


def _huber(x: Tensor) -> Tensor:
    """Squares up to 3, then straight on: lines that cannot be told for sure should be drawn faintly, where absolute
    errors, whose best guess is the median, would draw none at all."""
    return torch.nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=3.0)


def _displayed(linear: Tensor) -> Tensor:
    """About as a screen encodes it, with a gradient that stays finite."""
    return (linear.clamp_min(0) + 1e-3) ** (1 / 2.2)


def _inner(x: Float[Tensor, "P C T T"]) -> Float[Tensor, "P C t t"]:
    return x[..., BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]


def _mean(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum() / (weight.sum() * (x.shape[1] / weight.shape[1])).clamp_min(1)


# ------------------------------------------------------------------------------------------------------------ the loop


def train(
    head: HeadModel,
    people: Sequence[Person],
    out: Path,
    settings: TrainingSettings,
    network: NetworkSettings | None = None,
    resume: bool = False,
    workers: int = 0,
    save_every: int = 250,
    report: Callable[[Progress], None] | None = None,
    record: dict[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> ReflectanceNet:
    """Train on all but the last `held_out` people; returns the running mean of the weights, which is what is shipped.

    Writes ``network.safetensors``, ``checkpoint.safetensors`` and ``log.jsonl`` into the folder `out`. resume: go on
    from its checkpoint. Raises LikenessError where there are too few people, FileError for a checkpoint of another run.
    """
    trained = people[: -settings.held_out]
    if len(trained) < 1:
        raise LikenessError(
            f"There are {len(people)} people and {settings.held_out} of them are held out, so none is left to "
            "train on. Synthesize more people, or hold out fewer."
        )
    # Most people have few lines: those who have some come three times.
    furrowed = [person for person in trained if float((person.displacement_um < LINED_UM).float().mean()) > LINED_SHARE]
    trained = [*trained, *furrowed, *furrowed]
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    net, mean = ReflectanceNet(network).to(device), ReflectanceNet(network).to(device)
    mean.load_state_dict(net.state_dict())
    mean.requires_grad_(False)
    net.tone.requires_grad_(False)  # has its own training, afterwards (`train_tone`); until then it says nothing
    net.tone.eval()
    learnt = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learnt, betas=(0.9, 0.98))
    run = {"settings": json.dumps(asdict(settings)), "people": str(len(people))}
    checkpoint = out / "checkpoint.safetensors"
    first = _resume(checkpoint, net, mean, optimiser, run) if resume and checkpoint.exists() else 0
    inside = atlas_lookup(head, COARSE_PX).inside.float()[None, None].to(device)
    began, sums, count = time.monotonic(), {}, 0
    with (out / "log.jsonl").open("a") as log:
        for step, batch in enumerate(_batches(head, trained, settings, first, workers), start=first):
            for group in optimiser.param_groups:
                group["lr"] = settings.rate * _schedule(step, settings.steps)
            rng = np.random.default_rng([settings.seed, 1, step])
            value, parts = loss_of(net, [head.to(device) for head in batch], inside, settings, rng)
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                keep = min(0.995, (step + 1) / (step + 10))
                for a, b in zip(mean.parameters(), net.parameters(), strict=True):
                    a.lerp_(b, 1 - keep)
            sums = {name: sums.get(name, 0.0) + part for name, part in parts.items()}
            count += 1
            last = step + 1 == settings.steps
            if (step + 1) % 50 == 0 or last:
                means = {name: round(total / count, 5) for name, total in sums.items()}
                progress = Progress(step + 1, means, round(time.monotonic() - began, 1))
                log.write(json.dumps(asdict(progress)) + "\n")
                log.flush()
                sums, count = {}, 0
                if report:
                    report(progress)
            if (step + 1) % save_every == 0 or last:
                _save(checkpoint, net, mean, optimiser, run | {"step": str(step + 1)})
                made = {
                    "steps": step + 1,
                    "training": asdict(settings),
                    "people": len(people) - settings.held_out,
                    **(record or {}),
                }
                save_network(mean, out / "network.safetensors", made)
    return mean.cpu().eval()


def train_tone(
    head: HeadModel,
    net: ReflectanceNet,
    geometries: Sequence[Geometry],
    sources: SkinSources | None,
    count: int = 4000,
    first_seed: int = 800_000,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Train the reader of tones of a network whose rest is trained and stays: on `count` other people, seen from afar
    only, so that there can be many. Returns root mean square errors of the log of a whole skin's tone, without it and
    with it, on a tenth of them that it has not seen."""
    data = LitHeads(head, [], 1)
    inside = data.coarse_inside.float()[None, None]
    net.eval()
    net.tone.last.weight.data.zero_()
    net.tone.last.bias.data.zero_()
    cells, wanted = [], []
    for i in range(count):
        made = sample_head(head, first_seed + i, COARSE_PX, sources, normals=False)
        relief = made.relief
        surface = torch.stack([as_bytes(m) for m in (relief.specular, relief.roughness, relief.translucency)])
        geometry = geometries[i % len(geometries)]
        person = Person.of(made.albedo, relief.displacement_m * 1000, surface, geometry)
        seen = data.lit_coarsely(person, np.random.default_rng([first_seed, i]))
        with torch.no_grad():
            change, _ = net.see_whole(seen.lit[None], seen.fitted[None], seen.normals[None], inside)
        log_albedo = log_light(seen.lit) - log_light(seen.fitted) + change[0]
        cells.append(ToneReader.cells(log_light(seen.lit)[None], log_albedo[None], inside)[0])
        wanted.append(((seen.log_albedo - log_albedo) * data.skin).sum((1, 2)) / data.skin.sum())
        report(i + 1)
    return fit_tone_reader(net.tone, torch.stack(cells), torch.stack(wanted))


def fit_tone_reader(
    reader: ToneReader, cells: Float[Tensor, "N C"], wanted: Float[Tensor, "N 3"], steps: int = 3000, seed: int = 0
) -> dict[str, float]:
    """Fit a reader to what it should say; as it was when it erred least on the last tenth. See `train_tone`."""
    torch.manual_seed(seed)
    kept = max(len(cells) // 10, 1)
    train_x, train_y, test_x, test_y = cells[:-kept], wanted[:-kept], cells[-kept:], wanted[-kept:]
    # Inputs of unit spread; afterwards that is part of the first layer.
    mean, spread = train_x.mean(0), train_x.std(0).clamp_min(0.05)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=0.02)
    best, state = float("inf"), {k: v.clone() for k, v in reader.state_dict().items()}
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * _schedule(step, steps)
        chosen = torch.randint(len(train_x), (128,))
        reader.train()
        error = reader((train_x[chosen] - mean) / spread) - train_y[chosen]
        optimiser.zero_grad()
        error.square().mean().backward()
        optimiser.step()
        if step % 50 == 49 or step + 1 == steps:
            reader.eval()
            with torch.no_grad():
                off = float((reader((test_x - mean) / spread) - test_y).square().mean().sqrt())
            if off < best:
                best, state = off, {k: v.clone() for k, v in reader.state_dict().items()}
    state["first.bias"] = state["first.bias"] - state["first.weight"] @ (mean / spread)
    state["first.weight"] = state["first.weight"] / spread
    reader.load_state_dict(state)
    reader.eval()
    return {"without": float(test_y.square().mean().sqrt()), "with": best}


def _batches(
    head: HeadModel, people: Sequence[Person], settings: TrainingSettings, first: int, workers: int
) -> Iterator[list[LitHead]]:
    data = LitHeads(head, people, settings.steps * settings.heads, settings.tiles, settings.seed)
    order = range(first * settings.heads, settings.steps * settings.heads)
    loader = DataLoader(data, settings.heads, sampler=order, num_workers=workers, collate_fn=list)  # pyright: ignore
    yield from loader


def _schedule(step: int, steps: int) -> float:
    """Two hundred steps of warming up, then half a cosine down to 2 %."""
    return min(1.0, (step + 1) / 200) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))


def _save(
    path: Path, net: ReflectanceNet, mean: ReflectanceNet, optimiser: torch.optim.Optimizer, run: dict[str, str]
) -> None:
    from safetensors.torch import save

    state = {f"net.{k}": v for k, v in net.state_dict().items()} | {
        f"mean.{k}": v for k, v in mean.state_dict().items()
    }
    for name, parameter in net.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            state[f"optimiser.{key}.{name}"] = value
    write_whole(path, save({k: v.contiguous() for k, v in state.items()}, {"format": CHECKPOINT, **run}))


def _resume(
    path: Path, net: ReflectanceNet, mean: ReflectanceNet, optimiser: torch.optim.Optimizer, run: dict[str, str]
) -> int:
    """Load a checkpoint of this very run; the number of steps done."""
    cure = f"Delete {path} to start over."
    tensors, metadata = read_safetensors(path, (), cure)
    if metadata.get("format") != CHECKPOINT:
        raise FileError(f"{path} is not a checkpoint of this training. {cure}")
    changed = [f"{k} was {metadata.get(k)}, is {v}" for k, v in run.items() if metadata.get(k) != v]
    if changed:
        raise FileError(f"{path} is the checkpoint of another training: {'; '.join(changed)}. {cure}")
    for prefix, module in (("net.", net), ("mean.", mean)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, parameter in net.named_parameters():
        keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"optimiser.{key}.{name}" in tensors]
        if keys:
            optimiser.state[parameter] = {key: tensors[f"optimiser.{key}.{name}"] for key in keys}
    return int(metadata["step"])
