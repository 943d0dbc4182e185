"""The trained models that come with the program, read once."""

from __future__ import annotations

import functools

from core.albedo.coarse_to_fine import CoarseToFine
from core.albedo.stylegan_albedo import StyleGanAlbedo
from core.checkpoints import weights_path


@functools.cache
def albedo_gan() -> StyleGanAlbedo:
    """The bundled albedo generator. Raises FileError where its file is missing or damaged."""
    return StyleGanAlbedo.load(weights_path("albedo_gan"))


@functools.cache
def coarse_to_fine() -> CoarseToFine:
    """The bundled coarse-to-fine model. Raises FileError where one of its two files is missing or damaged."""
    return CoarseToFine.load(weights_path("albedo_coarse"), weights_path("albedo_detail"))
