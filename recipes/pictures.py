"""Make every picture of the documentation: ``python -m recipes.pictures``.

What they show comes from two sources that anyone may use: scikit-image's public-domain portrait of the astronaut
Eileen Collins (NASA), and heads that Likeness invents. The last picture is the page itself, from a real browser;
it needs Chromium and playwright (requirements-dev.txt), and stays as it is where they are missing.
"""

from __future__ import annotations

import argparse
import colorsys
import functools
import logging
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from core.albedo.parametric import paint_materials, random_look
from core.atlas import atlas_lookup, interpolate
from core.avatar import Avatar
from core.camera import Camera, look_at_head
from core.head import HeadModel, HeadParameters, load_head
from core.landmarks import Landmarks, detect_faces, landmarks, pick_face
from core.materials import Materials
from core.photo import Photo, load_photo
from core.pipeline import generate, reconstruct
from core.render import fragments, render_head

log = logging.getLogger("pictures")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

JPEG_QUALITY = 88
GAP = 6  # pixels between tiles
WALL = (235, 237, 240)  # the renderer's background, sRGB bytes
DISTANCE_M = 1.1  # a portrait photographer's
# Head frame: about the middle of the head without its neck, so that a turn keeps it in the frame.
FRAME_CENTRE_M = (0.0, -0.02, -0.07)
FRAME_HEIGHT_M = 0.27

# What a browser needs to draw WebGL without a GPU and to leave the network alone.
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
]
PATIENCE_S = 180  # for a busy machine


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


# ------------------------------------------------------------------------------------------------- drawing


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
    """Ten heads from the prior with painted skins, seeds 1 to 10: not picked."""
    tiles = []
    for seed in range(1, 11):
        avatar = generate(seed)
        tiles.append(draw(head, avatar.parameters("neutral"), avatar.materials, 240, yaw_deg=(-25, 20)[seed % 2]))
    return sheet(tiles, 5)


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


def page(_head: HeadModel) -> Image.Image | None:
    """The page with the astronaut's head on it, from a browser; None where there is none."""
    import skimage.data

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        log.info("page: left as it is; Chromium and playwright are needed to make it")
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.fromarray(skimage.data.astronaut()).save(folder / "astronaut.png")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads")}
        with (folder / "log.txt").open("w+b") as output:
            server = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=output, stderr=output
            )
            try:
                address = _address(server, folder / "log.txt")
                with sync_playwright() as driver:
                    browser = driver.chromium.launch(executable_path=chromium, headless=True, args=BROWSER_ARGUMENTS)
                    screenshot = _photograph(browser, address, folder)
                    browser.close()
            finally:
                server.terminate()
                server.wait(30)
        return Image.open(screenshot).convert("RGB")


def _address(server: subprocess.Popen[bytes], output: Path) -> str:
    """What the server says where it is, once it says so."""
    until = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", output.read_text())):
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"The app did not start. It said:\n{output.read_text()}")
        time.sleep(0.2)
    return found[0]


def _photograph(browser: object, address: str, folder: Path) -> Path:
    """Upload the photo, wait for the final head, take the picture."""
    from playwright.sync_api import Browser

    assert isinstance(browser, Browser)
    view = browser.new_page(viewport={"width": 1280, "height": 800})
    view.set_default_timeout(PATIENCE_S * 1000)
    view.add_init_script(
        "window.finals = 0; window.addEventListener('likeness:head', (event) => finals += event.detail.final);"
    )
    view.goto(address)
    view.wait_for_function("finals >= 1")
    view.locator("#likeness-photo input[type=file]").set_input_files(folder / "astronaut.png")
    view.wait_for_function("finals >= 2 || document.querySelector('#likeness-status .problem')")
    # The viewer eases into its view, and messages fade.
    view.wait_for_timeout(4000)
    path = folder / "page.png"
    view.screenshot(path=path, style="[class*=toast] { visibility: hidden !important }")
    return path


PICTURES: dict[str, Callable[[HeadModel], Image.Image | None]] = {
    "hero": hero,
    "stages": stages,
    "random_heads": random_heads,
    "expressions": expressions,
    "atlas": atlas,
    "embedding": embedding,
    "page": page,
}


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.pictures", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PICTURES), default=list(PICTURES), help="these pictures")
    parser.add_argument("--out", type=Path, default=DOCS, help="another folder than docs/")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options.out.mkdir(parents=True, exist_ok=True)
    head = load_head()
    for name in options.only:
        started = time.perf_counter()
        picture = PICTURES[name](head)
        if picture is not None:
            path = options.out / f"{name}.jpg"
            picture.save(path, quality=JPEG_QUALITY, optimize=True, progressive=True)
            size = f"{picture.width} x {picture.height}, {path.stat().st_size / 1e3:.0f} kB"
            log.info("%s: %s, %.0f s", path.name, size, time.perf_counter() - started)
    return 0


if __name__ == "__main__":
    # More threads than cores turn milliseconds into seconds.
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    sys.exit(main())
