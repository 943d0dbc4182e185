"""The measures of the generator's benchmark, where they are known."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from benchmarks import generation, training
from benchmarks.generation import (
    EditRow,
    covered_modes,
    diversity_row,
    edit_rows,
    edit_summary,
    edit_table,
    label_ends,
    nearest,
    nearest_people,
    precision_recall,
)
from core.albedo.gan_training import PRESETS
from core.albedo.label_reader import LabelReader, Look, Parts
from core.errors import LikenessError
from core.synthesis.people import LABEL_NAMES, label_range
from recipes import tables


def cloud(count: int, seed: int, *, at: float = 0.0, size: float = 1.0) -> Tensor:
    return at + size * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_precision_and_recall_of_known_sets():
    real = cloud(300, 0)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, cloud(300, 1, at=50)) == (0, 0)
    precision, recall = precision_recall(real, cloud(300, 1))
    assert precision > 0.8 and recall > 0.8 and abs(precision - recall) < 0.1
    precision, recall = precision_recall(real, cloud(300, 1, size=0.2))
    assert precision > 0.9 and recall < 0.3, "all alike: real, but not all that there is"
    half = torch.cat([cloud(150, 1), cloud(150, 2, at=50)])
    precision, recall = precision_recall(real, half)
    assert precision == pytest.approx(0.5, abs=0.1) and recall > 0.6
    # By hand: points on a line, reach to the 1st neighbour.
    line, other = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[1.9], [5.1]])
    assert precision_recall(line, other, neighbours=1) == (0.5, 1.0)


def test_modes_are_bins_that_real_people_fill():
    real = torch.linspace(0, 1, 400)[:, None].expand(-1, 2)
    assert covered_modes(real, real) == 1
    assert covered_modes(real, 0.45 * real) == pytest.approx(0.5)
    made = torch.stack([real[:, 0], torch.full((400,), 0.55)], 1)
    assert covered_modes(real, made) == pytest.approx(0.55, abs=0.01), "one label has collapsed to a bin of ten"
    # A bin that hardly any real person fills is not missed.
    two = torch.cat([torch.zeros(199, 1), torch.ones(1, 1), torch.full((200, 1), 2.0)])
    assert covered_modes(two, torch.tensor([[0.0], [2.0]])) == 1


def reader(labels: int = len(LABEL_NAMES)) -> LabelReader:
    """Labels are the shape's coefficients; the embedding is they."""
    count = 4
    nothing = Parts(torch.zeros(1), torch.zeros(1, 0))
    slopes = torch.zeros(labels, count)
    slopes[:count] = torch.eye(count) * math.sqrt(count)
    explained = torch.zeros(labels)
    explained[:count] = torch.tensor([0.9, 0.5, 0.31, 0.1])
    return LabelReader(nothing, nothing, torch.zeros(labels), slopes, explained)


def look(shape: Tensor) -> Look:
    return Look(torch.zeros(len(shape), 1), torch.zeros(len(shape), 1), shape)


def test_copies_show():
    trained, held_out = cloud(400, 1), cloud(100, 2)
    judge = reader()
    real = diversity_row("real", judge, look(cloud(100, 3)), look(held_out), judge.embed(look(trained)))
    assert real.spread == pytest.approx(1, abs=0.1) and real.nearest == pytest.approx(1, abs=0.2)
    assert real.precision > 0.8 and real.recall > 0.8 and real.modes > 0.9
    copies = diversity_row("copies", judge, look(trained[:100] + 0.01), look(held_out), judge.embed(look(trained)))
    assert copies.nearest < 0.1 and copies.precision > 0.8
    alike = diversity_row("alike", judge, look(cloud(100, 3, size=0.1)), look(held_out), judge.embed(look(trained)))
    assert alike.spread == pytest.approx(0.1, abs=0.02) and alike.recall < 0.2 and alike.modes < 0.4


def test_the_likeliest_copies_are_named():
    shapes, made = cloud(50, 1), cloud(6, 2)
    made[4] = shapes[17] + 1e-4
    trained, held_out = (
        generation.People(
            tuple(range(first, first + 50)),
            torch.zeros(50, 1),
            torch.zeros(50, 1),
            look(shape),
            torch.zeros(0, 3, 1, 1),
        )
        for first, shape in ((1000, shapes), (9000, cloud(50, 3)))
    )
    material = generation.Material(trained, held_out, torch.zeros(3, 1, 1), False)
    found = nearest_people(reader(), look(made), range(6), material, count=3)
    assert (found[0].seed, found[0].training_seed) == (4, 1017) and found[0].distance < 0.01
    assert [pair.distance for pair in found] == sorted(pair.distance for pair in found)
    distance, index = nearest(made, shapes)
    assert int(index[4]) == 17 and torch.equal(distance, (made - shapes[index]).norm(dim=1))


def test_ends_lie_within_the_range():
    labels = torch.rand(200, len(LABEL_NAMES), generator=torch.Generator().manual_seed(0)) ** 3
    labels[:, 0] = 18 + 67 * labels[:, 0]
    ends, deviation = label_ends(labels)
    for i, name in enumerate(LABEL_NAMES):
        (low, high), (least, most) = ends[name], label_range(name)
        assert least <= low < high <= most and high - low <= 2 * float(deviation[i]) + 1e-5


def test_edits_are_judged_where_the_reader_can_see():
    """Of the four labels that the reader knows it can judge three; one way of editing spills, one fails for a label."""
    judge, deviation = reader(), torch.full((len(LABEL_NAMES),), 0.5)
    ends = {name: (0.25, 0.75) for name in LABEL_NAMES}

    def clean(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        shape = torch.full((4,), float(seed))
        shape[LABEL_NAMES.index(label)] += value
        return torch.zeros(3, 64, 64), shape

    def spilling(seed: int, label: str, value: float) -> tuple[Tensor, Tensor]:
        if label == LABEL_NAMES[1]:
            raise LikenessError("It cannot be changed.")
        picture, shape = clean(seed, label, value)
        shape[1] += 0.4 * value
        return picture, shape

    rows = edit_rows({"clean": clean, "spilling": spilling}, blind_to_maps(judge), ends, deviation, range(2))
    assert [(row.label, row.method) for row in rows] == [
        (name, method) for method in ("clean", "spilling") for name in LABEL_NAMES[:3]
    ]
    first = rows[0]
    assert first.own == pytest.approx(1) and first.worst == pytest.approx(0, abs=1e-5) and first.explained > 0.89
    assert rows[3].worst == pytest.approx(0.4, abs=1e-5) and rows[3].worst_label == LABEL_NAMES[1]
    assert rows[3].mean == pytest.approx(0.2, abs=1e-5)
    assert rows[4].own is None
    summary = edit_summary(rows)
    assert summary.rows == (("clean", "3", "1.00", "0.00", "0.00"), ("spilling", "2", "1.00", "0.40", "0.20"))
    table = edit_table(rows)
    assert table.header[2:] == ("clean: own / worst", "spilling: own / worst")
    assert table.rows[0][3] == "1.00 / +0.40 gender" and table.rows[1][3] == "n/a"


def blind_to_maps(judge: LabelReader) -> LabelReader:
    """For real looks, whose colours and contrasts have their own sizes."""
    blank = look_sizes()
    return LabelReader(
        Parts(torch.zeros(blank[0]), torch.zeros(blank[0], 0)),
        Parts(torch.zeros(blank[1]), torch.zeros(blank[1], 0)),
        judge.offset,
        judge.slopes,
        judge.explained,
    )


def look_sizes() -> tuple[int, int]:
    from core.albedo.label_reader import look_of

    some = look_of(torch.zeros(1, 3, 64, 64), torch.zeros(1, 4))
    return some.colour.shape[1], some.contrast.shape[1]


def test_no_edit_at_all_has_no_summary():
    rows = [EditRow("age_years", "W", 0.9, None, None, "", None)]
    assert edit_summary(rows).rows == (("W", "0", "n/a", "n/a", "n/a"),)
    assert edit_table(rows).rows == (("age years", "0.90", "n/a"),)


def test_every_size_of_the_supervised_phase_is_timed():
    for settings in PRESETS.values():
        stages = training._stages(settings)
        assert [size for size, _ in stages] == [*(size for size, _ in settings.growth), settings.size]
        assert stages[0][1] == 0 and [done for _, done in stages] == sorted(done for _, done in stages)


def test_documents_get_the_tables_that_were_printed():
    """Through a JSON file, as the commands do it."""
    speed = generation.GenerationSpeed(9, 256, 1.5, 3.25, 80.4, 0.31, 912.0, 2345.0, 200.0, 700.0, 10.8, 5_000_000)
    shown = {"speed": asdict(generation.speed_table(speed))}
    shown["maps"] = asdict(generation.map_table([generation.MapRow("mean map", 12.346, 20.0)]))
    shown["shapes"] = asdict(generation.shape_table([generation.ShapeRow("mean shape", 0.0, 3.21)]))
    shown["diversity"] = asdict(
        generation.diversity_table([generation.DiversityRow("generator", 0.9, 0.8, 0.7, 1.01, 1.0)])
    )
    rows = [EditRow("age_years", "W", 0.9, 1.0, -0.25, "grey", 0.1)]
    shown |= {"edit_summary": asdict(edit_summary(rows)), "edits": asdict(edit_table(rows))}
    rates = [training.Rate("sampler of people", 2.346, 512, 1), training.Rate("generator, supervised", 123.4, 16, 8)]
    results = {
        "machine": {"cpus": 2},
        "generation": {"about": "256 held-out people", "tables": shown, "unread": ["iris_green"]},
        "training": {"device": "cpu", "tables": {"training": asdict(training.rate_table(rates))}},
    }
    sections = tables.benchmark_sections(json.loads(json.dumps(results)))
    text = tables.BENCHMARKS.read_text(encoding="utf-8")
    for name, cell in {
        "generation_speed": "| random head, skin and shape, whole | 912 ms |",
        "generation_fidelity": "| mean map | 12.35 | 20.00 |",
        "generation_diversity": "| generator | 0.90 | 0.80 | 0.70 | 1.01 | 1.00 |",
        "generation_edits": "| age years | 0.90 | 1.00 / -0.25 grey |",
        "training": "| generator, supervised | 16 | 8 | 123 |",
    }.items():
        assert cell in sections[name]
        assert f"<!-- begin {name} -->" in text and f"<!-- end {name} -->" in text
    assert "iris green" in sections["generation_edits"] and "| 2.35 |" in sections["training"]
