"""Reading a person's labels from the albedo map and the shape: a judge of generators that knows none of them.

Trained in a minute on painted maps, whose labels are known, by ridge regression on what nobody has learnt: colours,
local contrasts and shape coefficients. Random waves of these (Rahimi and Recht 2007) explain no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.albedo.model import log_albedo
from core.albedo.stylegan_albedo import ridge

COLOUR_SIDE = 64  # of the thumbnail whose colours are read
CONTRAST_SIDE, CONTRAST_LEVELS = 16, 3  # of the grid on which contrasts are averaged; levels of a pyramid
COLOUR_PARTS, CONTRAST_PARTS = 512, 768  # principal components ...
PARTS_PEOPLE = 1536  # ... of so many people
FAINT = 0.002  # contrast in sRGB below which there is nothing but rounding


@dataclass(frozen=True, eq=False)
class Look:
    """What can be seen of people. colour: log albedo of the thumbnail. contrast: logarithm of the mean absolute
    difference of neighbours, by channel, direction and level of a pyramid. shape: the head's coefficients."""

    colour: Float[Tensor, "B C"]
    contrast: Float[Tensor, "B E"]
    shape: Float[Tensor, "B K"]

    def rows(self, which: slice) -> Look:
        """Some of the people."""
        return Look(self.colour[which], self.contrast[which], self.shape[which])

    @staticmethod
    def joined(looks: Sequence[Look]) -> Look:
        """The people of all."""
        return Look(*(torch.cat([getattr(look, f) for look in looks]) for f in ("colour", "contrast", "shape")))


def look_of(maps: Float[Tensor, "B 3 U U"], shapes: Float[Tensor, "B K"]) -> Look:
    """How people look. maps: sRGB 0..1, all of one size, at least `COLOUR_SIDE`: contrasts of others do not compare."""
    colour = log_albedo(functional.adaptive_avg_pool2d(maps, COLOUR_SIDE)).flatten(1)
    contrasts = []
    for _ in range(CONTRAST_LEVELS):
        for axis in (2, 3):
            difference = maps.diff(dim=axis).abs()
            contrasts.append((functional.adaptive_avg_pool2d(difference, CONTRAST_SIDE) + FAINT).log().flatten(1))
        maps = functional.avg_pool2d(maps, 2)
    return Look(colour, torch.cat(contrasts, 1), shapes)


@dataclass(frozen=True, eq=False)
class Parts:
    """Principal components: ``(x - mean) @ axes`` is a few numbers for x, whose variances sum to at most 1."""

    mean: Float[Tensor, "D"]
    axes: Float[Tensor, "D P"]

    def __call__(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B P"]:
        return (x - self.mean) @ self.axes


def principal_parts(x: Float[Tensor, "B D"], count: int) -> Parts:
    """The `count` largest principal components (fewer where there are no more) of the first `PARTS_PEOPLE` people, in
    units in which the whole variance of x is 1. x must vary."""
    x = x[:PARTS_PEOPLE]
    mean = x.mean(0)
    centred = x - mean
    # Through the small matrix of products of people.
    squared, vectors = torch.linalg.eigh(centred @ centred.T)
    count = min(count, int((squared > 1e-6 * squared[-1]).sum()))
    axes = centred.T @ (vectors[:, -count:] * squared[-count:].rsqrt())
    return Parts(mean, axes.flip(1) / (squared.clamp_min(0).sum() / len(x)).sqrt())


@dataclass(frozen=True, eq=False)
class LabelReader:
    """Labels from looks: offset + slopes parts.

    explained: share of each label's variance over new people that the reading predicts, measured on people who were
    kept aside; 0 where it is worse than the mean.
    """

    colour: Parts
    contrast: Parts
    offset: Float[Tensor, "N"]
    slopes: Float[Tensor, "N P"]
    explained: Float[Tensor, "N"]

    def embed(self, look: Look) -> Float[Tensor, "B P"]:
        """Coordinates in which distances tell how unlike people are; colours, contrasts and shape have equal shares."""
        return _embed(self.colour, self.contrast, look)

    def read(self, look: Look) -> Float[Tensor, "B N"]:
        """The labels, in their own units."""
        return self.offset + self.embed(look) @ self.slopes.T


def _embed(colour: Parts, contrast: Parts, look: Look) -> Float[Tensor, "B P"]:
    # Shape coefficients have unit variance each.
    return torch.cat([colour(look.colour), contrast(look.contrast), look.shape / math.sqrt(look.shape.shape[1])], 1)


def train_reader(
    look: Look, labels: Float[Tensor, "B N"], test_look: Look, test_labels: Float[Tensor, "M N"]
) -> LabelReader:
    """The reader that some people teach, with how well it reads others. The same people give the same reader.

    A few thousand people are enough for most labels; a few dozen teach little but the tone.
    """
    colour = principal_parts(look.colour, COLOUR_PARTS)
    contrast = principal_parts(look.contrast, CONTRAST_PARTS)
    deviation = labels.std(0, correction=0).clamp_min(1e-9)
    offset, slopes, _ = ridge(_embed(colour, contrast, look), labels / deviation)
    offset, slopes = offset * deviation, slopes * deviation[:, None]
    wrong = test_labels - offset - _embed(colour, contrast, test_look) @ slopes.T
    spread = test_labels.std(0, correction=0)
    explained = 1 - wrong.square().mean(0) / spread.square().clamp_min(1e-12)
    explained = explained.clamp(0, 1).masked_fill(spread < 1e-6, 0)
    return LabelReader(colour, contrast, offset, slopes, explained)
