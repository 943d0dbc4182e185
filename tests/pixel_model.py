"""A text-image model without a network, for tests: pictures are projected, and the texts' places are told."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from editing.text_image import TextImageModel

SIDE, WIDTH = 8, 48


class PixelModel(TextImageModel):
    """places: what a text that contains a key is moved by, from where texts of which nothing is known lie. seed:
    another one is another model."""

    def __init__(self, places: Mapping[str, Tensor] | None = None, seed: int = 0, name: str = "pixels") -> None:
        third = (0.5, 0.5, 0.5)
        super().__init__(
            name, nn.Linear(1, 1), lambda texts: torch.zeros(len(texts), 1).long(), SIDE, third, third, True
        )
        random = torch.Generator().manual_seed(seed)
        self.projection = torch.randn(3 * SIDE * SIDE, WIDTH, generator=random) / WIDTH**0.5
        self.origin = functional.normalize(torch.randn(WIDTH, generator=random), dim=0)
        self.places = dict(places or {})

    def embed_images(self, pictures: Tensor) -> Tensor:
        """The projection of a thumbnail, as a small departure from one place, so that differences are about linear."""
        small = functional.adaptive_avg_pool2d(pictures, SIDE).flatten(1)
        return functional.normalize(self.origin + 0.02 * small @ self.projection, dim=1)

    def embed_text(self, texts: list[str]) -> Tensor:
        """The origin, and the places of all keys that a text contains."""
        rows = [
            self.origin + sum((p for key, p in self.places.items() if key in text), 0 * self.origin) for text in texts
        ]
        return functional.normalize(torch.stack(rows), dim=1)
