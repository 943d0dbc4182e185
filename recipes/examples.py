"""Draw the photos that the page offers to try: `python -m recipes.examples` writes app/static/examples/.

One is scikit-image's public-domain portrait of the astronaut Eileen Collins (NASA), cropped. The others show people who
do not exist: `core.synthesis` renders them from seeds chosen by eye.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

from core.head import HeadModel, load_head
from core.synthesis.photo import sample_photo

EXAMPLES = Path(__file__).resolve().parent.parent / "app/static/examples"
SIDE_PX = 512
# Left, top, right, bottom of the portrait in scikit-image's picture.
ASTRONAUT_BOX = (76, 0, 376, 300)
SEEDS = (14, 4)


def portrait() -> Image.Image:
    """The astronaut's face and shoulders."""
    return (
        Image.fromarray(skimage.data.astronaut())
        .crop(ASTRONAUT_BOX)
        .resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    )


def synthetic(head: HeadModel, seed: int) -> Image.Image:
    """A person who does not exist, looking nearly straight ahead."""
    photo = sample_photo(head, seed, yaw_range_deg=(-12.0, 12.0), size=SIDE_PX, supersample=2)
    return Image.fromarray(np.asarray(photo.pixels))


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.examples", description=__doc__)
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="another folder")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    head = load_head()
    pictures = {"astronaut": portrait()} | {f"synthetic-{i}": synthetic(head, seed) for i, seed in enumerate(SEEDS, 1)}
    for name, picture in pictures.items():
        path = options.out / f"{name}.jpg"
        picture.save(path, quality=88, optimize=True, progressive=True)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
