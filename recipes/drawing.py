"""What all pictures of the documentation have in common: the frame, tiles and their captions, the one real face."""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from core.avatar import Avatar
from core.camera import Camera, look_at_head
from core.head import HeadModel, HeadParameters
from core.landmarks import Landmarks, detect_faces, landmarks, pick_face
from core.materials import Materials
from core.photo import Photo, load_photo
from core.pipeline import reconstruct
from core.render import render_head

GAP = 6  # pixels between tiles
WALL = (235, 237, 240)  # the renderer's background, sRGB bytes
DISTANCE_M = 1.1  # a portrait photographer's
# Head frame: about the middle of the head without its neck, so that a turn keeps it in the frame.
FRAME_CENTRE_M = (0.0, -0.02, -0.07)
FRAME_HEIGHT_M = 0.27


@dataclass(frozen=True)
class Portrait:
    """The public-domain photo, the face found in it and the head made from it."""

    photo: Photo
    points: Landmarks
    box_px: tuple[int, int, int, int]
    avatar: Avatar


@functools.cache
def portrait() -> Portrait:
    """Reconstruct the astronaut, once."""
    import skimage.data

    pixels = skimage.data.astronaut()
    photo = load_photo(pixels, "astronaut")
    face = pick_face(detect_faces(photo))
    left, top, right, bottom = face.box_px
    # As much around the face as the renders show around theirs.
    half = 0.9 * face.size_px
    x, y = (left + right) / 2, (top + bottom) / 2 - 0.08 * face.size_px
    half = min(half, x, y, photo.width - x, photo.height - y)
    box = (round(x - half), round(y - half), round(x + half), round(y + half))
    return Portrait(photo, landmarks(photo, face), box, reconstruct(pixels, name="astronaut"))


def portrait_camera(size: int, yaw_deg: float = 0.0, pitch_deg: float = 0.0, zoom: float = 1.0) -> Camera:
    """The frame that all heads are shown in, so that their sizes compare."""
    return look_at_head(
        torch.tensor([math.radians(yaw_deg)]),
        torch.tensor([math.radians(pitch_deg)]),
        DISTANCE_M,
        torch.tensor(FRAME_CENTRE_M),
        zoom * size * DISTANCE_M / FRAME_HEIGHT_M,
        size,
        size,
    )


def with_expression(head: HeadModel, avatar: Avatar, weights: Mapping[str, float]) -> HeadParameters:
    """The avatar's head, upright, with these ARKit weights and no others."""
    neutral = avatar.parameters("neutral")
    expression = torch.zeros_like(neutral.expression)
    for name, weight in weights.items():
        expression[0, head.expression_names.index(name)] = weight
    return replace(neutral, expression=expression)


def draw(
    head: HeadModel,
    parameters: HeadParameters,
    materials: Materials | None,
    size: int,
    yaw_deg: float = 0.0,
    style: str = "textured",
    zoom: float = 1.0,
) -> Image.Image:
    """A square picture of a head."""
    camera = portrait_camera(size, yaw_deg, zoom=zoom)
    picture = render_head(head, head.vertices(parameters), materials, camera, style=style)[0]
    return to_image(picture * 255)


def to_image(pixels: Tensor) -> Image.Image:
    """``[3, H, W]`` in 0..255."""
    return Image.fromarray(pixels.permute(1, 2, 0).round().clamp(0, 255).byte().cpu().numpy())


def fitted(image: Image.Image, size: int) -> Image.Image:
    """The whole image, scaled to a square tile."""
    return image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def sheet(tiles: Sequence[Image.Image], columns: int, captions: Sequence[str] = ()) -> Image.Image:
    """Tiles of one size in rows; captions below them."""
    width, height = tiles[0].size
    line = 30 if captions else 0
    rows = -(-len(tiles) // columns)
    whole = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + line + GAP) - GAP), "white")
    pen = ImageDraw.Draw(whole)
    font = ImageFont.load_default(18)
    for i, tile in enumerate(tiles):
        x, y = i % columns * (width + GAP), i // columns * (height + line + GAP)
        whole.paste(tile, (x, y))
        if captions:
            pen.text((x + width / 2, y + height + line / 2), captions[i], "#333", font, anchor="mm")
    return whole


def colour_of(i: int, count: int) -> tuple[int, int, int]:
    """The i-th of `count` colours that are easy to tell apart."""
    r, g, b = colorsys.hsv_to_rgb(i * 0.618 % 1 if count > 6 else i / count, 0.62, 0.92)
    return round(255 * r), round(255 * g), round(255 * b)


def titled(image: Image.Image, title: str) -> Image.Image:
    """An image with a line below it."""
    whole = Image.new("RGB", (image.width, image.height + 26), "white")
    whole.paste(image, (0, 0))
    pen = ImageDraw.Draw(whole)
    pen.text((image.width / 2, image.height + 14), title, "#333", ImageFont.load_default(15), anchor="mm")
    return whole


def labelled_rows(rows: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Rows of tiles of one size, each with its name on the left."""
    (columns,) = {len(tiles) for tiles in rows.values()}
    tiles = sheet([tile for row in rows.values() for tile in row], columns)
    font = ImageFont.load_default(16)
    left = round(max(font.getlength(name) for name in rows)) + 3 * GAP
    whole = Image.new("RGB", (left + tiles.width, tiles.height), "white")
    whole.paste(tiles, (left, 0))
    pen, height = ImageDraw.Draw(whole), (tiles.height + GAP) / len(rows)
    for i, name in enumerate(rows):
        pen.text((left - 2 * GAP, (i + 0.5) * height - GAP / 2), name, "#333", font, anchor="rm")
    return whole
