"""Make every picture of the documentation: ``python -m recipes.pictures``.

What they show comes from two sources that anyone may use: scikit-image's public-domain portrait of the astronaut
Eileen Collins (NASA), and heads that Likeness invents. Those of the page itself come from a real browser (`screens`)
and stay as they are where it is missing.
"""

from __future__ import annotations

import argparse
import colorsys
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from core.atlas import atlas_lookup, interpolate
from core.head import HeadModel, load_head
from core.materials import Materials
from core.pipeline import generate
from core.raster import fragments
from core.render import render_head
from core.synthesis.painting import paint_materials, random_look
from recipes import albedo_pictures, editing_pictures, reflectance_pictures, screens
from recipes.drawing import colour_of, draw, fitted, portrait, portrait_camera, sheet, to_image, with_expression

log = logging.getLogger("pictures")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

JPEG_QUALITY = 88
SMALL_QUALITY = 80  # sheets of many small heads
SCREEN_QUALITY = 79  # text and plain areas bear it


# ------------------------------------------------------------------------------------------------- the pictures


def hero(head: HeadModel) -> Image.Image:
    """A photo and what comes of it."""
    size, here = 400, portrait()
    avatar = here.avatar
    posed = avatar.parameters("fitted")
    upright = replace(posed, joint_rotations=torch.zeros_like(posed.joint_rotations))
    tiles = [
        fitted(Image.fromarray(here.photo.pixels).crop(here.box_px), size),
        draw(head, upright, avatar.materials, size),
        draw(head, upright, avatar.materials, size, yaw_deg=40),
        draw(head, upright, avatar.materials, size, yaw_deg=85),
        draw(head, avatar.parameters("neutral"), avatar.materials, size, yaw_deg=-20),
        draw(head, upright, avatar.materials, size, yaw_deg=-35, style="clay"),
    ]
    return sheet(tiles, 3, ("the photo", "the head", "40 degrees", "85 degrees", "face relaxed", "shape alone"))


def stages(head: HeadModel) -> Image.Image:
    """What happens between the photo and the head, one tile per stage."""
    size, here = 400, portrait()
    avatar, box = here.avatar, here.box_px
    assert avatar.camera is not None
    photo = Image.fromarray(here.photo.pixels)
    scale = size / (box[2] - box[0])
    camera = avatar.camera.crop_and_resize(float(box[0]), float(box[1]), scale, size, size)
    crop = fitted(photo.crop(box), size)

    dotted = crop.copy()
    dots(dotted, (here.points.points_px - torch.tensor([box[0], box[1]])) * scale, (64, 220, 255), 1.6)

    vertices = head.vertices(avatar.parameters("fitted"))
    backdrop = torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1).float() / 255
    over = [
        to_image(render_head(head, vertices, avatar.materials, camera, style=style, background=backdrop)[0] * 255)
        for style in ("clay", "textured")
    ]
    unwrapped = avatar.materials.skin_photo
    assert unwrapped is not None
    tiles = [
        crop,
        dotted,
        over[0],
        fitted(to_image(unwrapped.float()), size),
        fitted(to_image(avatar.materials.skin_albedo.float()), size),
        over[1],
    ]
    captions = (
        "photo",
        "478 landmarks",
        "fitted shape and camera",
        "photo unwrapped",
        "albedo, completed",
        "rendered over the photo",
    )
    return sheet(tiles, 3, captions)


def dots(image: Image.Image, points_px: Tensor, colour: tuple[int, int, int], radius: float) -> None:
    """Draw points ``[N, 2]`` into an image."""
    pen = ImageDraw.Draw(image)
    for x, y in points_px.tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def random_heads(head: HeadModel) -> Image.Image:
    """Eighteen heads from the generator, seeds 1 to 18: not picked."""
    tiles = []
    for seed in range(1, 19):
        avatar = generate(seed)
        tiles.append(draw(head, avatar.parameters("neutral"), avatar.materials, 200, yaw_deg=(-25, 20)[seed % 2]))
    return sheet(tiles, 6)


# Caption -> ARKit weights.
SHEET: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {
        "mouthSmileLeft": 0.8,
        "mouthSmileRight": 0.8,
        "cheekSquintLeft": 0.5,
        "cheekSquintRight": 0.5,
    },
    "jaw open": {"jawOpen": 0.7},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "brows up": {"browInnerUp": 1.0, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.9},
    "pucker": {"mouthPucker": 1.0},
    "look left": {"eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9},
    "frown": {
        "browDownLeft": 1.0,
        "browDownRight": 1.0,
        "mouthFrownLeft": 0.8,
        "mouthFrownRight": 0.8,
        "noseSneerLeft": 0.4,
        "noseSneerRight": 0.4,
    },
}
SHEET_SEED = 7  # the head that greets a visitor of the page


def expressions(head: HeadModel) -> Image.Image:
    """One invented head, some of its 52 expressions."""
    avatar = generate(SHEET_SEED)
    tiles = [
        draw(head, with_expression(head, avatar, weights), avatar.materials, 300, yaw_deg=12, zoom=1.1)
        for weights in SHEET.values()
    ]
    return sheet(tiles, 4, tuple(SHEET))


def checkerboard(size: int, cells: int) -> Tensor:
    """``[3, size, size]`` bytes: the hue follows u, every second cell is dark, letters show which way is up."""
    image = Image.new("RGB", (size, size))
    pen, step = ImageDraw.Draw(image), size / cells
    font = ImageFont.load_default(step * 0.42)
    for row in range(cells):
        for column in range(cells):
            hue = column / cells
            r, g, b = colorsys.hsv_to_rgb(hue, 0.45, 0.93 if (row + column) % 2 else 0.62)
            colour = (round(255 * r), round(255 * g), round(255 * b))
            pen.rectangle((column * step, row * step, (column + 1) * step, (row + 1) * step), fill=colour)
            label = f"{chr(65 + row)}{column + 1}"
            pen.text(((column + 0.5) * step, (row + 0.5) * step), label, "black", font, anchor="mm")
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def atlas(head: HeadModel) -> Image.Image:
    """The skin map, painted and as a chequered pattern, and that pattern on the head."""
    size = 400
    avatar = generate(1)
    checker = checkerboard(1024, 16)
    outside = ~atlas_lookup(head, 1024).inside
    plain = checker.clone()
    plain[:, outside] = torch.tensor([255, 255, 255], dtype=torch.uint8)[:, None]
    wearing = replace(avatar.materials, skin_albedo=checker)
    neutral = head.neutral()
    tiles = [
        fitted(to_image(avatar.materials.skin_albedo.float()), size),
        fitted(to_image(plain.float()), size),
        draw(head, neutral, wearing, size),
        draw(head, neutral, wearing, size, yaw_deg=55),
    ]
    return sheet(
        tiles, 2, ("a painted skin", "where the skin lies in the map", "the pattern on the head", "55 degrees")
    )


def embedding(head: HeadModel) -> Image.Image:
    """Landmarks and regions on the mean head."""
    size = 440
    neutral = head.neutral()
    vertices = head.vertices(neutral)
    tiles = []
    for name, yaw_deg, zoom in (("mediapipe", 0, 1.15), ("mediapipe", 50, 1.15), ("ibug", 0, 1.15)):
        tile = draw(head, neutral, None, size, yaw_deg, "clay", zoom)
        camera = portrait_camera(size, yaw_deg, zoom=zoom)
        points = camera.project(head.landmark_points(name, vertices))[0]
        depth = fragments(vertices, head.faces, camera).depth[0]
        x, y = points[:, 0].long().clamp(0, size - 1), points[:, 1].long().clamp(0, size - 1)
        # At the edge of the face the pixel's depth differs from the point's by a few millimetres.
        seen = points[:, 2] < depth[y, x] + 0.004
        iris = torch.arange(len(points)) >= 468
        dots(tile, points[seen & ~iris, :2], (20, 90, 200) if name == "mediapipe" else (200, 40, 30), 2.0)
        dots(tile, points[seen & iris, :2], (230, 120, 0), 2.0)
        tiles.append(tile)
    tiles.append(draw(head, neutral, region_materials(head), size, 25))
    captions = ("mediapipe's 468 + 10 points", "50 degrees", "iBUG's 68 points", "regions")
    return sheet(tiles, 2, captions)


def region_materials(head: HeadModel) -> Materials:
    """The mean head's skin map with each region in a colour of its own."""
    size = 512
    masks = interpolate(head, head.regions.T.contiguous(), size)  # [U, U, R]
    # Whatever covers everything tells nothing; smaller regions lie over larger ones.
    share = masks.mean((0, 1))
    painted = torch.full((size, size, 3), 190.0)
    order = [i for i in share.argsort(descending=True).tolist() if head.region_names[i] != "skin"]
    for place, i in enumerate(order):
        colour = torch.tensor(colour_of(place, len(order)), dtype=torch.float32)
        painted = painted + masks[..., i : i + 1] * (colour - painted)
    return replace(paint_materials(head, random_look(0), size=size), skin_albedo=painted.permute(2, 0, 1).byte())


# Drawn by Likeness's own renderer.
DRAWN: dict[str, Callable[[HeadModel], Image.Image]] = {
    "hero": hero,
    "stages": stages,
    "random_heads": random_heads,
    "expressions": expressions,
    "atlas": atlas,
    "embedding": embedding,
}
PICTURES = (
    *DRAWN,
    *albedo_pictures.PICTURES,
    *editing_pictures.PICTURES,
    *reflectance_pictures.PICTURES,
    *screens.SCREENS,
)
# What --only knows besides single pictures: "albedo" is whatever a new generator changes.
GROUPS: dict[str, tuple[str, ...]] = {
    "albedo": ("random_heads", "expressions", "atlas", "hero", "stages", *albedo_pictures.PICTURES),
    "editing": tuple(editing_pictures.PICTURES),
    "skin": tuple(reflectance_pictures.PICTURES),
    "screens": tuple(screens.SCREENS),
}


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.pictures", description=__doc__)
    choices = (*GROUPS, *PICTURES)
    parser.add_argument(
        "--only", nargs="+", choices=choices, default=PICTURES, help="these pictures, or groups of them"
    )
    parser.add_argument("--out", type=Path, default=DOCS, help="another folder than docs/")
    parser.add_argument("--sources", type=Path, help="the CC0 skins, as `recipes.makehuman_skins --sources` wrote them")
    parser.add_argument("--benchmarks", type=Path, help="what `python -m benchmarks --json FILE` wrote")
    options = parser.parse_args(arguments)
    chosen = dict.fromkeys(name for word in options.only for name in GROUPS.get(word, (word,)))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options.out.mkdir(parents=True, exist_ok=True)

    def save(name: str, picture: Image.Image, quality: int) -> None:
        path = options.out / f"{name}.jpg"
        picture.save(path, quality=quality, optimize=True, progressive=True)
        log.info("%s: %d x %d, %.0f kB", path.name, *picture.size, path.stat().st_size / 1e3)

    head = load_head()
    given = albedo_pictures.Given(options.sources, options.benchmarks)
    for name in chosen:
        if name in DRAWN:
            save(name, DRAWN[name](head), JPEG_QUALITY)
        elif name in editing_pictures.PICTURES:
            save(name, editing_pictures.PICTURES[name](head), SMALL_QUALITY)
        elif name in reflectance_pictures.PICTURES:
            save(name, reflectance_pictures.PICTURES[name](head), JPEG_QUALITY)
        elif name in albedo_pictures.PICTURES:
            picture = albedo_pictures.PICTURES[name](head, given)
            if picture is None:
                log.info("%s.jpg stays as it is; name the results of the benchmarks with --benchmarks.", name)
            else:
                save(name, picture, JPEG_QUALITY)
    if wanted := [name for name in chosen if name in screens.SCREENS]:
        with screens.opened() as studio:
            if studio is None:
                log.info("The page's pictures stay as they are; Chromium and playwright are needed to make them.")
                return 0
            for name in wanted:
                screen = screens.SCREENS[name](studio)
                save(name, sheet(screen.tiles, screen.columns, screen.captions), SCREEN_QUALITY)
    return 0


if __name__ == "__main__":
    # More threads than cores turn milliseconds into seconds.
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    sys.exit(main())
