"""The head prior without anny: landmark measurements, survey targets, directions, and the document's numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from recipes import anthropometry, prior
from recipes.anthropometry import LITERATURE, MEASUREMENTS, SOURCES

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "head_prior.md"


@pytest.fixture
def landmarks() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of landmark positions, the size of a head, and their base-mesh indices."""
    indices = anthropometry.landmark_vertices()
    return np.random.default_rng(0).normal(0, 0.05, (3, len(indices), 3)), indices


def column(name: str) -> int:
    return list(MEASUREMENTS).index(name)


def test_every_target_is_measured_and_sourced() -> None:
    assert list(LITERATURE) == list(MEASUREMENTS)[: len(LITERATURE)]
    for name, survey in LITERATURE.items():
        assert survey.source in SOURCES
        assert survey.male_mean > survey.female_mean, name
        for male in (False, True):
            mean, sd = survey.mean_sd(male)
            assert 0.02 < sd / mean < 0.13, f"{name}: {mean} +- {sd} mm is no human spread"


def test_a_known_distance_reads_in_millimetres(landmarks: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, indices = landmarks
    left, right = (np.flatnonzero(indices == base)[0] for base in anthropometry.CHEILION)
    vertices[:, left], vertices[:, right] = (0.025, -0.07, 0.02), (-0.025, -0.07, 0.02)
    np.testing.assert_allclose(anthropometry.measure(vertices, indices)[:, column("mouth_width")], 50.0)


def test_measurements_follow_size_and_ignore_position(landmarks: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, indices = landmarks
    measured = anthropometry.measure(vertices, indices)
    assert measured.shape == (3, len(MEASUREMENTS)) and np.isfinite(measured).all()
    np.testing.assert_allclose(anthropometry.measure(1.1 * vertices, indices), 1.1 * measured)
    np.testing.assert_allclose(anthropometry.measure(vertices + [0.3, -1.0, 2.0], indices), measured, atol=1e-9)


def test_measurements_do_not_depend_on_vertex_order(landmarks: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, indices = landmarks
    order = np.random.default_rng(1).permutation(len(indices))
    np.testing.assert_array_equal(
        anthropometry.measure(vertices[:, order], indices[order]), anthropometry.measure(vertices, indices)
    )


def test_circumference_of_a_circle_is_its_own(landmarks: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, indices = landmarks
    ring = [np.flatnonzero(indices == base)[0] for base in anthropometry.FRONTAL_RING]
    angle = 2 * np.pi * np.arange(len(ring)) / len(ring)
    vertices[:, ring] = 0.09 * np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], axis=1)
    np.testing.assert_allclose(
        anthropometry.measure(vertices, indices)[:, column("head_circumference")], 2 * np.pi * 90, rtol=1e-9
    )


def test_age_and_squash_are_monotone_and_bounded() -> None:
    ages = prior.anny_age(np.linspace(18, 90, 200))
    assert np.all(np.diff(ages) > 0) and ages[0] > 0.6 and np.isclose(ages[-1], 1.0)
    np.testing.assert_allclose(prior.anny_age(np.array([25.0])), 2 / 3)
    values = np.linspace(-5, 5, 201)
    assert np.all(np.diff(prior.squash(values)) > 0) and np.abs(prior.squash(values)).max() <= prior.LOCAL_LIMIT
    np.testing.assert_allclose(prior.squash(np.array([-0.1, 0.1])), [-0.1, 0.1], rtol=4e-3)


def test_alignment_recovers_a_rotation() -> None:
    rng = np.random.default_rng(2)
    target = rng.normal(size=(20, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    found = prior._rotations((target @ rotation + 0.3)[None], target)
    np.testing.assert_allclose(found[0], rotation, atol=1e-9)


def synthetic_population(count: int = 3000, components: int = 40) -> tuple[np.ndarray, prior.Samples, np.ndarray]:
    """Heads whose factors and measurements are exactly linear in beta."""
    rng = np.random.default_rng(3)
    betas = rng.standard_normal((count, components))
    ancestry = rng.dirichlet((0.6, 0.6, 0.6), count)
    age = rng.uniform(18, 80, count)
    betas[:, 0] = (age - age.mean()) / age.std()
    flat = np.zeros((count, 1))
    samples = prior.Samples(
        male=betas[:, 1] > 0, gender=0.5 + 0.2 * betas[:, 1], age_years=age, weight=0.5 + 0.1 * betas[:, 2],
        muscle=np.full(count, 0.5), ancestry=ancestry, size=np.ones(count), local=flat, asymmetry=flat,
    )  # fmt: skip
    return betas, samples, betas @ rng.standard_normal((components, len(MEASUREMENTS))) + 100


def test_directions_move_what_they_name() -> None:
    betas, samples, measurements = synthetic_population()
    names, directions = prior.attribute_directions(betas, samples, measurements)
    assert names == list(prior.ATTRIBUTES) and directions.shape == (len(names), betas.shape[1])
    response = np.linalg.lstsq(betas, (measurements - measurements.mean(0)) / measurements.std(0), rcond=None)[0]
    moved = directions @ response
    for name, parts in prior.PART_CONTROLS.items():
        row = moved[names.index(name)]
        own = {column(part) for part in parts}
        if len(parts) == 1:
            assert row[column(next(iter(parts)))] == pytest.approx(prior.PART_STEP, rel=0.05), name
        controlled = {column(m) for other in prior.PART_CONTROLS.values() for m in other} - own
        free = {column(m) for other in prior.PARTS_INSIDE.get(name, ()) for m in prior.PART_CONTROLS[other]}
        paired = {column(m) for m in ("eye_width", "eye_opening", "ear_length", "ear_breadth")}
        assert max(abs(row[i]) for i in controlled - free - paired) < 0.5, name
    ages = directions[names.index("age")]
    assert ages[0] == pytest.approx(25 / samples.age_years.std(), rel=0.02)
    assert np.abs(ages[1:]).max() < 0.15


def test_ancestry_directions_cancel() -> None:
    betas, samples, measurements = synthetic_population()
    names, directions = prior.attribute_directions(betas, samples, measurements)
    total = sum(directions[names.index(name)] for name in prior.ANCESTRIES)
    np.testing.assert_allclose(total, 0, atol=1e-5)


def test_the_document_keeps_its_promise() -> None:
    """The written table, not the code: means within 0.4 and spreads within 40 % everywhere, and within the aim (0.3
    and 20 %) for all but the rows that the page explains."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = re.search(r"<!-- begin surveys -->\n(.*?)\n<!-- end surveys -->", text, re.S)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()[2:]]
    assert [row[0].replace(" ", "_") for row in rows] == list(LITERATURE)
    explained = {"head circumference", "nose protrusion", "head breadth"}
    for row in rows:
        for offset, ratio in ((float(row[3]), float(row[4])), (float(row[7]), float(row[8]))):
            assert abs(offset) <= 0.4 and 0.6 <= ratio <= 1.4, row
            if row[0] not in explained:
                assert abs(offset) <= 0.3 and 0.8 <= ratio <= 1.2, row
    for name in prior.ATTRIBUTES:
        assert f"| {name} |" in text
