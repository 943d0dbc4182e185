"""The generator of people: how fast it is, how near to the painter whom it learnt from, how varied, and what edits do.

``section`` prints the tables. Held-out people, whom no training has seen, are the measure; everything stands beside a
baseline. `benchmarks.generation SECONDS_RUNS` is the process of its own in which speed and memory are measured.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from benchmarks.completion import SOURCES_VARIABLE
from core.albedo.bundled import albedo_gan
from core.albedo.coarse import CoarseAlbedo
from core.albedo.gan_data import collate
from core.albedo.label_reader import LabelReader, Look, look_of, train_reader
from core.albedo.model import log_albedo, resize_map, srgb_from_log
from core.albedo.stylegan_albedo import StyleGanAlbedo, measure_disentanglement
from core.atlas import atlas_lookup
from core.checkpoints import weights_path
from core.errors import LikenessError
from core.generation import Wish, generate_head
from core.head import HeadModel, load_head
from core.synthesis.heads import head_from_person
from core.synthesis.people import (
    ANCESTRIES,
    LABEL_NAMES,
    followers,
    label_range,
    label_vector,
    person_with,
    sample_person,
)
from core.synthesis.shards import MapDataset, MapSample
from core.synthesis.skins import SkinSources, load_sources

# Folders of shards of maps (several are separated as in PATH), of the people trained on and of those held out:
# WORK/maps and WORK/held_out of `python -m recipes.train_albedo`.
MAPS_VARIABLE = "LIKENESS_MAPS"
FIRST_HELD_OUT = 5120  # seed from which on people are held out
# What is synthesized where there is no such folder: enough to see that all works, too few for the numbers to mean much.
FEW_TRAINED, FEW_HELD_OUT = 96, 32
NEW_SEED = 1 << 32  # of generated people: nobody trained on these

FIDELITY_PEOPLE = 128  # of those held out, whose maps are compared texel by texel
NEIGHBOURS = 3  # of precision and recall
BINS = 10  # of a label's histogram
READABLE = 0.3  # of a label's variance that the reader must explain for it to judge edits of the label

console = Console(width=140)


# ------------------------------------------------------------------------------------------------- people


@dataclass(frozen=True, eq=False)
class People:
    """People whose maps are painted. maps: averaged down to the generator's size, sRGB bytes; empty where only the look
    was kept."""

    seeds: tuple[int, ...]
    latents: Float[Tensor, "B D"]
    labels: Float[Tensor, "B N"]
    look: Look
    maps: UInt8[Tensor, "M 3 U U"]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, eq=False)
class Material:
    """What the measurements are made on. mean: of the training maps. few: synthesized here, for want of a folder."""

    trained: People
    held_out: People
    mean: Float[Tensor, "3 U U"]
    few: bool


def read_material(folders: Sequence[Path], size: int, head: HeadModel, quick: bool) -> Material:
    """The people of folders of shards, averaged down to `size` texels; without any, a few who are painted here."""
    if folders:
        sets = [MapDataset(folder) for folder in folders]
        samples = (data[i] for data in sets for i in _chosen(len(data), quick))
    else:
        sources = skin_sources()
        seeds = (*range(FEW_TRAINED), *range(FIRST_HELD_OUT, FIRST_HELD_OUT + FEW_HELD_OUT))
        samples = (painted_sample(head, seed, size, sources) for seed in seeds)
    trained, held_out = _Collected(size, keep=False), _Collected(size, keep=True)
    for sample in samples:
        (trained if sample.seed < FIRST_HELD_OUT else held_out).add(sample)
    if held_out.count <= NEIGHBOURS or trained.count <= 2 * held_out.count:
        raise LikenessError(
            f"{MAPS_VARIABLE} gives {trained.count} people with seeds below {FIRST_HELD_OUT} and {held_out.count} with "
            f"others, who are held out. More than {NEIGHBOURS} held-out people and more than twice as many others are "
            "needed. Name both folders that `python -m recipes.train_albedo` wrote, maps and held_out."
        )
    return Material(trained.people(), held_out.people(), trained.total / trained.count, not folders)


def _chosen(count: int, quick: bool) -> Sequence[int]:
    """Of so many people of a folder, those to look at: all, or some at either end."""
    return range(count) if not quick or count <= 1024 else [*range(768), *range(count - 64, count)]


class _Collected:
    """People as they are read, sixteen at a time. keep: their maps too."""

    def __init__(self, size: int, keep: bool) -> None:
        self.size, self.keep, self.count = size, keep, 0
        self.total = torch.zeros(3, size, size)
        self.rows: list[tuple[int, Tensor, Tensor]] = []
        self.looks: list[Look] = []
        self.maps: list[Tensor] = []
        self._waiting: list[Any] = []

    def add(self, sample: Any) -> None:
        self.count += 1
        self.rows.append((sample.seed, sample.latent, sample.labels))
        self._waiting.append(sample)
        if len(self._waiting) == 16:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        people = collate(self._waiting, self.size)
        maps = people.albedo.float() / 255
        self.total += maps.sum(0)
        self.looks.append(look_of(maps, people.shape))
        if self.keep:
            self.maps.append(people.albedo)
        self._waiting.clear()

    def people(self) -> People:
        self._flush()
        seeds, latents, labels = zip(*self.rows, strict=True)
        nothing = torch.zeros(0, 3, self.size, self.size, dtype=torch.uint8)
        return People(
            seeds, torch.stack(latents), torch.stack(labels), Look.joined(self.looks), torch.cat([nothing, *self.maps])
        )


def skin_sources() -> SkinSources | None:
    """The CC0 skins, where the environment names their file."""
    file = os.environ.get(SOURCES_VARIABLE)
    return None if file is None else load_sources(Path(file))


def painted_sample(head: HeadModel, seed: int, size: int, sources: SkinSources | None) -> MapSample:
    """A person as a shard would have it."""
    made = head_from_person(head, sample_person(head, seed), size, sources, normals=False)
    person = made.person
    return MapSample(seed, person.latent, label_vector(person.labels), person.shape, made.albedo)


# ------------------------------------------------------------------------------------------------- fidelity


@dataclass(frozen=True)
class MapRow:
    """Mean absolute error of maps on the skin, in steps of 8-bit sRGB; over people, its mean and 90th percentile."""

    method: str
    error: float
    error_p90: float


@dataclass(frozen=True)
class ShapeRow:
    """How well shapes are known. explained: share of the coefficients' variance. error_mm: mean distance of the
    vertices of the rest pose."""

    method: str
    explained: float
    error_mm: float


def map_fidelity(
    model: StyleGanAlbedo, coarse: CoarseAlbedo | None, head: HeadModel, material: Material
) -> list[MapRow]:
    """The map that the generator makes of a held-out person beside the one that was painted."""
    inside = atlas_lookup(head, model.size).inside
    people = material.held_out
    truth = people.maps[:FIDELITY_PEOPLE].float() / 255
    everywhere = truth.new_ones(truth.shape[-2:])

    def of_person(i: int, detail: bool) -> Tensor:
        w = model.from_person(people.latents[i], people.seeds[i])
        with torch.no_grad():
            return ((model.joint.maps(w[None], detail)[0] + 1) / 2).clamp(0, 1)

    methods: dict[str, Callable[[int], Tensor]] = {"mean map": lambda i: material.mean}
    if coarse is not None:
        filled = coarse

        def projected(i: int) -> Tensor:
            small = resize_map(truth[i], everywhere, filled.size)[0]
            made = srgb_from_log(filled.decode_log(filled.project(log_albedo(small[None])))[0])
            return resize_map(made, made.new_ones(made.shape[1:]), model.size)[0]

        methods[f"{coarse.count} principal components, fitted to the very map"] = projected
    methods["generator, from the person's latent"] = lambda i: of_person(i, True)
    methods["generator without noise"] = lambda i: of_person(i, False)
    rows = []
    for name, make in methods.items():
        errors = torch.stack([255 * (make(i) - truth[i]).abs()[:, inside].mean() for i in range(len(truth))])
        rows.append(MapRow(name, float(errors.mean()), float(errors.quantile(0.9))))
    return rows


def shape_fidelity(model: StyleGanAlbedo, head: HeadModel, material: Material) -> list[ShapeRow]:
    """The shape that the generator gives a held-out person beside the person's own."""
    people = material.held_out
    truth = people.look.shape
    made = torch.stack(
        [model.shape(model.from_person(x, s)) for x, s in zip(people.latents, people.seeds, strict=True)]
    )
    mean = material.trained.look.shape.mean(0)
    spread = (truth - mean).square().sum()
    rows = []
    for name, guess in (("mean shape", mean.expand_as(truth)), ("generator's shape head", made)):
        left = head.rest_vertices(guess - truth, truth.new_zeros(1, len(head.expression_names))) - head.template
        explained = 1 - float((guess - truth).square().sum() / spread)
        rows.append(ShapeRow(name, explained, 1000 * float(left.norm(dim=-1).mean())))
    return rows


# ------------------------------------------------------------------------------------------------- diversity


@dataclass(frozen=True)
class DiversityRow:
    """A set of people beside as many held-out ones, in the reader's embedding (`LabelReader.embed`).

    spread: mean distance of pairs over that of held-out pairs. precision, recall: share of the set within the held-out
    people's neighbourhoods, and the reverse. nearest: median distance to the nearest training person over that of
    held-out people; far below 1 means copies. modes: share of the bins of the labels' histograms that held-out people
    fill and the set fills too.
    """

    people: str
    spread: float
    precision: float
    recall: float
    nearest: float
    modes: float


def diversity_row(
    name: str, reader: LabelReader, look: Look, held_out: Look, trained: Float[Tensor, "T P"]
) -> DiversityRow:
    """trained: embedded people whom the set may have been copied from."""
    some, real = reader.embed(look), reader.embed(held_out)
    precision, recall = precision_recall(real, some)
    judged = reader.explained >= READABLE
    return DiversityRow(
        name,
        float(functional.pdist(some).mean() / functional.pdist(real).mean()),
        precision,
        recall,
        float(nearest(some, trained)[0].median() / nearest(real, trained)[0].median()),
        covered_modes(reader.read(held_out)[:, judged], reader.read(look)[:, judged]),
    )


def precision_recall(
    real: Float[Tensor, "A P"], made: Float[Tensor, "B P"], neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Share of `made` within the reach of any of `real`, and of `real` within that of any of `made`, where the reach of
    a point is the distance to its k-th neighbour in its own set (Kynkäänniemi et al. 2019, "Improved precision and
    recall metric for assessing generative models", equation 2)."""

    def within(points: Tensor, others: Tensor) -> float:
        reach = torch.cdist(others, others, compute_mode=EXACT).kthvalue(neighbours + 1, dim=1).values  # itself is one
        return float((torch.cdist(points, others, compute_mode=EXACT) <= reach).any(1).float().mean())

    return within(made, real), within(real, made)


EXACT = "donot_use_mm_for_euclid_dist"


def nearest(points: Float[Tensor, "A P"], others: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "A"], Tensor]:
    """Distance of each point to the nearest of the others, and which one that is."""
    return torch.cdist(points, others, compute_mode=EXACT).min(1)


def covered_modes(real: Float[Tensor, "A N"], made: Float[Tensor, "B N"], bins: int = BINS) -> float:
    """Share of the bins of each column's histogram, between the 1st and the 99th percentile of `real`, which at least
    2 % of `real` fill, that any of `made` fill too."""
    low, high = real.quantile(0.01, 0), real.quantile(0.99, 0)

    def filled(values: Tensor, least: float) -> Bool[Tensor, "N bins"]:
        which = ((values - low) / (high - low).clamp_min(1e-12) * bins).floor()
        counts = torch.stack([(which == k).float().sum(0) for k in range(bins)], 1)
        return counts >= max(1.0, least * len(values))

    wanted = filled(real, 0.02)
    return float((filled(made, 0.0) & wanted).sum() / wanted.sum())


@dataclass(frozen=True)
class Neighbour:
    """A generated person and the training person nearest to it. distance: over the median of held-out people."""

    seed: int
    training_seed: int
    distance: float


def nearest_people(
    reader: LabelReader, look: Look, seeds: Sequence[int], material: Material, count: int = 9
) -> list[Neighbour]:
    """Of the generated people those who are nearest to any training person, nearest first: the likeliest copies."""
    trained = reader.embed(material.trained.look)
    typical = float(nearest(reader.embed(material.held_out.look), trained)[0].median())
    distance, index = nearest(reader.embed(look), trained)
    return [
        Neighbour(seeds[i], material.trained.seeds[int(index[i])], float(distance[i]) / typical)
        for i in distance.argsort()[:count].tolist()
    ]


def generated_look(model: StyleGanAlbedo, head: HeadModel, seeds: Sequence[int]) -> Look:
    """How the people of the seeds look whom the generator alone draws, in full variety."""
    looks = []
    for seed in seeds:
        w = model.from_person(sample_person(head, seed).latent, seed)
        looks.append(look_of(_in_bytes(model.decode(w))[None], model.shape(w)[None]))
    return Look.joined(looks)


def whole_look(head: HeadModel, seeds: Sequence[int], size: int) -> Look:
    """How the same people look as the product finishes them (`core.generation`)."""
    looks = []
    for seed in seeds:
        made = generate_head(head, Wish(seed, truncation=1.0), size, preview=True)
        looks.append(look_of(made.materials.skin_albedo[None].float() / 255, made.shape[None]))
    return Look.joined(looks)


def _in_bytes(albedo: Tensor) -> Tensor:
    """Rounded to 8 bits, as the painted maps are."""
    return (albedo * 255).round() / 255


def component_look(coarse: CoarseAlbedo, size: int, count: int, shape_count: int) -> Look:
    """How people look whose map has random principal components and whose shape random coefficients."""
    random = torch.Generator().manual_seed(0)
    looks = []
    for seed in range(count):
        made = coarse.decode(coarse.sample(seed))
        made = resize_map(made, made.new_ones(made.shape[1:]), size)[0]
        looks.append(look_of(_in_bytes(made)[None], torch.randn(1, shape_count, generator=random)))
    return Look.joined(looks)


# ------------------------------------------------------------------------------------------------- edits


@dataclass(frozen=True)
class EditRow:
    """What a way of editing does to one label, per deviation asked for, in deviations of the labels over people.

    explained: of the label by the reader. own: change of the label itself, ideally 1. worst: the greatest change of
    another label that the reader can read, by amount, and `worst_label`, which. mean: of the amounts for all others.
    None where the label cannot be edited so.
    """

    label: str
    method: str
    explained: float
    own: float | None
    worst: float | None
    worst_label: str
    mean: float | None


Draw = Callable[[int, str, float], tuple[Tensor, Tensor]]


def edit_methods(
    model: StyleGanAlbedo, head: HeadModel, ends: Mapping[str, tuple[float, float]], sources: SkinSources | None
) -> dict[str, Draw]:
    """Ways to give a person another value of a label. All start from the same people, who have the middle value."""

    def start(seed: int, label: str) -> tuple[Any, Tensor, float]:
        middle = sum(ends[label]) / 2
        person = person_with(sample_person(head, seed), head, **{label: middle})
        return person, model.from_person(person.latent, seed), middle

    def in_w(seed: int, label: str, value: float, free: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
        _, w, middle = start(seed, label)
        w = model.edit(w, label, value - middle, free)
        return model.decode(w), model.shape(w)

    def in_w_alone(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        return in_w(seed, label, value, [other for other in model.label_names if other != label])

    steps: dict[str, Tensor] = {}

    def in_s(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        _, w, middle = start(seed, label)
        if label not in steps:
            steps[label] = model.style_direction(label)
        return model.decode(w, (value - middle) * steps[label]), model.shape(w)

    def changed(seed: int, label: str, value: float) -> Any:
        person = start(seed, label)[0]
        held = followers(label) - (set(ANCESTRIES) if label in ANCESTRIES else set())
        return person_with(person, head, **{label: value}, **{name: getattr(person.labels, name) for name in held})

    def by_person(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        w = model.from_person(changed(seed, label, value).latent, seed)
        return model.decode(w), model.shape(w)

    def painted(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        made = head_from_person(head, changed(seed, label, value), model.size, sources, normals=False)
        return made.albedo.float() / 255, made.person.shape

    return {
        "W, others free": in_w_alone,
        "W": in_w,
        "S": in_s,
        "person": by_person,
        "painter": painted,
    }


def edit_rows(
    methods: Mapping[str, Draw],
    reader: LabelReader,
    ends: Mapping[str, tuple[float, float]],
    deviation: Float[Tensor, "N"],
    seeds: Sequence[int],
    progress: Callable[[str], None] = lambda what: None,
) -> list[EditRow]:
    """Rows for each label that the reader can read, method by method."""
    judged = [i for i, share in enumerate(reader.explained.tolist()) if share >= READABLE and float(deviation[i]) > 0]
    names = [LABEL_NAMES[i] for i in judged]

    def read(maps: Tensor, shapes: Tensor) -> Tensor:
        return reader.read(look_of(maps, shapes))[:, judged]

    rows = []
    for method, draw in methods.items():
        progress(method)
        matrix = measure_disentanglement(draw, read, names, deviation[judged], ends, seeds)
        for row, label in enumerate(names):
            # Proportions sum to one: what one gains, the others lose.
            kin = set(ANCESTRIES) if label in ANCESTRIES else {label}
            others = [j for j, name in enumerate(names) if name not in kin]
            explained, amounts = float(reader.explained[judged[row]]), matrix[row, others].abs()
            if bool(amounts.isnan().any()):
                rows.append(EditRow(label, method, explained, None, None, "", None))
                continue
            which = others[int(amounts.argmax())]
            own, worst = float(matrix[row, row]), float(matrix[row, which])
            rows.append(EditRow(label, method, explained, own, worst, names[which], float(amounts.mean())))
    return rows


def label_ends(labels: Float[Tensor, "B N"]) -> tuple[dict[str, tuple[float, float]], Float[Tensor, "N"]]:
    """A deviation below and above the mean of each label, within its range, and the deviations."""
    mean, deviation = labels.mean(0), labels.std(0, correction=0)
    ends = {}
    for name, centre, spread in zip(LABEL_NAMES, mean.tolist(), deviation.tolist(), strict=True):
        low, high = label_range(name)
        ends[name] = (max(low, centre - spread), min(high, centre + spread))
    return ends, deviation


# ------------------------------------------------------------------------------------------------- speed


@dataclass(frozen=True)
class GenerationSpeed:
    """Medians of `runs`, in milliseconds, in a process of its own. first_s: from the start of the program's modules to
    the first random head. decode: the generator's map alone; shape: of its head. head: `core.pipeline.generate`, whole.
    grid: nine small pictures to choose from. rest_mb: memory before the first head; peak_mb: the most ever held."""

    runs: int
    size: int
    import_s: float
    first_s: float
    decode_ms: float
    shape_ms: float
    head_ms: float
    grid_ms: float
    rest_mb: float
    peak_mb: float
    weights_mb: float
    parameters: int


def measure_speed(runs: int) -> GenerationSpeed:
    """Measure in a fresh process. Raises LikenessError with its last words where it fails."""
    command = [sys.executable, "-m", "benchmarks.generation", str(runs)]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LikenessError(f"The generation that was to be measured failed. It said: {last}")
    return GenerationSpeed(**json.loads(process.stdout.strip().splitlines()[-1]))


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere


def main(runs: int) -> GenerationSpeed:
    """Generate in this process, whose modules of drawing are not loaded before they are needed."""
    begin = time.perf_counter()
    from core.pipeline import generate, thumbnails

    import_s = time.perf_counter() - begin
    rest_mb = _peak_mb()
    begin = time.perf_counter()
    generate(0)
    first_s = time.perf_counter() - begin
    model = albedo_gan()
    latents = [model.sample(seed) for seed in range(runs)]

    def median_ms(do: Callable[[int], object]) -> float:
        do(0)
        times = []
        for i in range(runs):
            start = time.perf_counter()
            do(i)
            times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)

    decode_ms = median_ms(lambda i: model.decode(latents[i]))
    shape_ms = median_ms(lambda i: model.shape(latents[i]))
    head_ms = median_ms(lambda i: generate(100 + i))
    grid_ms = median_ms(lambda i: thumbnails([Wish(9 * i + k) for k in range(9)]))
    parameters = sum(weight.numel() for weight in model.joint.parameters())
    weights_mb = weights_path("albedo_gan").stat().st_size / 1e6
    return GenerationSpeed(
        runs, model.size, import_s, first_s, decode_ms, shape_ms, head_ms, grid_ms, rest_mb, _peak_mb(), weights_mb,
        parameters,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- the section


def section(quick: bool) -> dict[str, Any]:
    """Print all tables; these, as `recipes.tables` writes them into the documents, and the numbers."""
    with console.status("generating heads in a process of its own"):
        speed = measure_speed(3 if quick else 9)
    tables = {"speed": show(speed_table(speed))}

    head, model = load_head(), albedo_gan()
    coarse = CoarseAlbedo.load(weights_path("albedo_coarse"))
    folders = [Path(folder) for folder in os.environ.get(MAPS_VARIABLE, "").split(os.pathsep) if folder]
    with console.status("reading people"):
        material = read_material(folders, model.size, head, quick)
    about = f"{len(material.held_out)} held-out people, {len(material.trained)} to train on"
    if material.few:
        about += f", painted for the purpose (no {MAPS_VARIABLE}): **too few for the numbers to mean much**"
    console.print(f"{about}.", markup=False)
    with console.status("measuring fidelity"):
        maps = map_fidelity(model, coarse, head, material)
        shapes = shape_fidelity(model, head, material)
    tables |= {"maps": show(map_table(maps)), "shapes": show(shape_table(shapes))}

    with console.status("teaching the reader of labels"):
        reader = train_reader(
            material.trained.look, material.trained.labels, material.held_out.look, material.held_out.labels
        )
    with console.status("generating people"):
        diversity, neighbours = measure_diversity(model, coarse, head, material, reader)
    tables["diversity"] = show(diversity_table(diversity))

    ends, deviation = label_ends(material.trained.labels)
    seeds = [NEW_SEED + 10_000 + i for i in range(1 if quick else 2)]
    with console.status("editing") as status:
        methods = edit_methods(model, head, ends, skin_sources())
        edits = edit_rows(methods, reader, ends, deviation, seeds, lambda what: status.update(f"editing: {what}"))
    tables |= {"edit_summary": show(edit_summary(edits)), "edits": show(edit_table(edits))}
    readable = dict(zip(LABEL_NAMES, reader.explained.tolist(), strict=True))
    unread = [name for name, share in readable.items() if share < READABLE]
    console.print(f"The reader cannot judge: {', '.join(unread) or 'none'}.")
    return {
        "about": about,
        "tables": tables,
        "unread": unread,
        "speed": asdict(speed),
        "maps": [asdict(row) for row in maps],
        "shapes": [asdict(row) for row in shapes],
        "diversity": [asdict(row) for row in diversity],
        "nearest": [asdict(row) for row in neighbours],
        "reader": readable,
        "edits": [asdict(row) for row in edits],
    }


def measure_diversity(
    model: StyleGanAlbedo, coarse: CoarseAlbedo, head: HeadModel, material: Material, reader: LabelReader
) -> tuple[list[DiversityRow], list[Neighbour]]:
    """Rows of real people, of the generator's and of random principal components; and the likeliest copies."""
    count = len(material.held_out)
    seeds = [NEW_SEED + i for i in range(count)]
    embedded = reader.embed(material.trained.look)
    held_out = material.held_out.look
    last = slice(len(material.trained) - count, None)
    whole = whole_look(head, seeds, model.size)
    sets = {
        "training people": (material.trained.look.rows(last), embedded[:-count]),
        "principal components and shape, at random": (
            component_look(coarse, model.size, count, held_out.shape.shape[1]),
            embedded,
        ),
        "generator alone": (generated_look(model, head, seeds), embedded),
        "whole heads, with the painter's fine detail": (whole, embedded),
    }
    rows = [diversity_row(name, reader, look, held_out, trained) for name, (look, trained) in sets.items()]
    return rows, nearest_people(reader, whole, seeds, material)


# ------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Shown:
    """A table as it is printed here and written into the documents."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def show(shown: Shown) -> dict[str, Any]:
    """Print a table; the same for a JSON file."""
    table = Table(*shown.header)
    for row in shown.rows:
        table.add_row(*row)
    console.print(table)
    return asdict(shown)


def speed_table(speed: GenerationSpeed) -> Shown:
    return Shown(
        ("random heads", ""),
        (
            (f"generator alone, map of {speed.size} texels", f"{speed.decode_ms:.0f} ms"),
            ("its shape", f"{speed.shape_ms:.1f} ms"),
            ("random head, skin and shape, whole", f"{speed.head_ms:.0f} ms"),
            ("the first one, with models to be read", f"{speed.first_s:.1f} s"),
            ("nine small pictures to choose from", f"{speed.grid_ms:.0f} ms"),
            ("memory before / at its peak", f"{speed.rest_mb:.0f} / {speed.peak_mb:.0f} MB"),
            ("weights", f"{speed.weights_mb:.1f} MB, {speed.parameters / 1e6:.1f} million numbers"),
        ),
    )


def map_table(rows: Sequence[MapRow]) -> Shown:
    return Shown(
        ("map of held-out people", "mean absolute error, of 255", "90th percentile over people"),
        tuple((row.method, f"{row.error:.2f}", f"{row.error_p90:.2f}") for row in rows),
    )


def shape_table(rows: Sequence[ShapeRow]) -> Shown:
    return Shown(
        ("shape of held-out people", "R2 of the coefficients", "vertices, mm"),
        tuple((row.method, f"{row.explained:.3f}", f"{row.error_mm:.2f}") for row in rows),
    )


def diversity_table(rows: Sequence[DiversityRow]) -> Shown:
    return Shown(
        ("people", "spread", "precision", "recall", "distance to the nearest of training", "modes covered"),
        tuple(
            (row.people, *(f"{value:.2f}" for value in (row.spread, row.precision, row.recall, row.nearest, row.modes)))
            for row in rows
        ),
    )


def edit_summary(rows: Sequence[EditRow]) -> Shown:
    """For each way: how many labels it can edit, and medians over those that all ways can edit."""
    by_method: dict[str, dict[str, EditRow]] = {}
    for row in rows:
        found = by_method.setdefault(row.method, {})
        if row.own is not None:
            found[row.label] = row
    common = set.intersection(*(set(found) for found in by_method.values())) if by_method else set()

    def median(found: Mapping[str, EditRow], key: str) -> str:
        return f"{statistics.median(abs(getattr(found[label], key)) for label in common):.2f}" if common else "n/a"

    return Shown(
        ("edit", "labels", "own effect", "worst on another label", "mean on others"),
        tuple(
            (method, str(len(found)), *(median(found, key) for key in ("own", "worst", "mean")))
            for method, found in by_method.items()
        ),
    )


def edit_table(rows: Sequence[EditRow]) -> Shown:
    """A line for each label: the reader's share, then for each way its own effect and the worst on another label."""
    methods = tuple(dict.fromkeys(row.method for row in rows))
    found = {(row.label, row.method): row for row in rows}

    def cell(row: EditRow) -> str:
        if row.own is None:
            return "n/a"
        return f"{row.own:.2f} / {row.worst:+.2f} {row.worst_label.replace('_', ' ')}"

    return Shown(
        ("label", "R2 of the reader", *(f"{method}: own / worst" for method in methods)),
        tuple(
            (
                label.replace("_", " "),
                f"{found[label, methods[0]].explained:.2f}",
                *(cell(found[label, method]) for method in methods),
            )
            for label in dict.fromkeys(row.label for row in rows)
        ),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(main(int(sys.argv[1])))))
