"""The judge of labels, on people whose labels are painted plainly."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from core.albedo.label_reader import Look, look_of, principal_parts, train_reader


def people(count: int, seed: int) -> tuple[Look, Tensor]:
    """Tone in the colours, roughness in the contrast, a length in the shape, and what nothing shows."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, 4, generator=random)
    grain = torch.rand(count, 3, 64, 64, generator=random) - 0.5
    tone = torch.tensor([0.4, 0.3, 0.2])[:, None, None] + 0.4 * labels[:, 0, None, None, None]
    maps = (tone + 0.2 * labels[:, 1, None, None, None] * grain).clamp(0, 1)
    shapes = torch.randn(count, 6, generator=random)
    shapes[:, 2] = 4 * labels[:, 2] - 2
    return look_of(maps, shapes), labels


def with_constant(labels: Tensor) -> Tensor:
    return functional.pad(labels, (0, 1), value=0.3)


def test_a_reader_reads_what_is_shown():
    (look, labels), (new_look, new_labels) = people(200, 0), people(100, 1)
    reader = train_reader(look, with_constant(labels), new_look, with_constant(new_labels))
    assert bool((reader.explained[:3] > 0.9).all()) and float(reader.explained[3]) < 0.05
    assert reader.explained[4] == 0, "nothing to explain where all are alike"
    read = reader.read(new_look)
    assert read.shape == (100, 5)
    error = (read[:, :4] - new_labels).square().mean(0) / new_labels.var(0, correction=0)
    torch.testing.assert_close((1 - error).clamp(0), reader.explained[:4], atol=1e-4, rtol=0)
    torch.testing.assert_close(read[:, 4], torch.full((100,), 0.3), atol=1e-4, rtol=0)
    # In their own units, and the same for the same people.
    again = train_reader(
        look, torch.cat([1000 * labels, labels[:, :1]], 1), new_look, torch.cat([new_labels] * 2, 1)[:, :5]
    )
    torch.testing.assert_close(again.read(new_look)[:, :3], 1000 * read[:, :3], rtol=1e-3, atol=1.0)


def test_embeddings_weigh_colour_contrast_and_shape_alike():
    look, labels = people(200, 2)
    reader = train_reader(look, labels, look, labels)
    embedded = reader.embed(look)
    colours, contrasts = reader.colour.axes.shape[1], reader.contrast.axes.shape[1]
    parts = embedded.split([colours, contrasts, 6], 1)
    variances = torch.stack([part.var(0).sum() for part in parts])
    torch.testing.assert_close(
        variances, torch.tensor([1.0, 1.0, float(look.shape.var(0).sum() / 6)]), rtol=0.02, atol=0
    )
    joined = Look.joined([look.rows(slice(0, 100)), look.rows(slice(100, None))])
    torch.testing.assert_close(reader.embed(joined), embedded)


def test_principal_parts_keep_distances():
    """As many as there are directions in the data: nothing is lost but the unit."""
    torch.manual_seed(0)
    x = torch.randn(40, 5) @ torch.randn(5, 30) + 3
    parts = principal_parts(x, 5)
    scale = math.sqrt(float((x - x.mean(0)).square().sum(1).mean()))
    torch.testing.assert_close(functional.pdist(parts(x)) * scale, functional.pdist(x), rtol=1e-3, atol=1e-3)


def test_contrast_is_of_neighbours_at_every_level():
    """Stripes one, two and four texels wide show at the level of their width and not below."""
    stripes = [torch.arange(64).div(width, rounding_mode="floor") % 2 * 0.5 for width in (1, 2, 4)]
    maps = torch.stack([row.expand(3, 64, 64) for row in stripes])
    contrast = look_of(maps, torch.zeros(3, 2)).contrast.unflatten(1, (3, 2, -1)).mean(3)  # [map, level, direction]
    vertical, horizontal = contrast.unbind(2)
    assert bool((vertical < math.log(0.0021)).all()), "no stripe lies across"
    assert horizontal[0, 0] > horizontal[1, 0] > horizontal[2, 0] > math.log(0.1)
    assert bool((horizontal[0, 1:] < math.log(0.0021)).all()), "averaged away"
    assert horizontal[1, 1] > horizontal[1, 0] and horizontal[1, 2] < math.log(0.0021)
    blurred = functional.avg_pool2d(maps, 2)
    assert float(look_of(blurred, torch.zeros(3, 2)).colour[0].std()) < 1e-6
