"""Surroundings as pictures of all directions: six that are drawn here, and any in a Radiance ``.hdr`` file.

A picture of surroundings is ``[B, 3, H, W]`` linear radiance over latitude and longitude, W = 2 H as a rule: the first
row looks straight up, the middle of the picture lies before the face (+Z), and its right side is to the *right of the
person* (-X), as a panorama looks that is taken in the person's place. `environment_light` turns it into a
`shading.Light`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from core.color import luminance, srgb_to_linear
from core.errors import FileError
from core.shading import Light, irradiance_basis, sh_basis

# ------------------------------------------------------------------------------------------------- directions


def directions_of(height: int, width: int) -> Float[Tensor, "{height} {width} 3"]:
    """Unit vectors in the head frame through the middle of each texel, float64."""
    polar = (torch.arange(height, dtype=torch.float64) + 0.5) * math.pi / height
    longitude = (0.5 - (torch.arange(width, dtype=torch.float64) + 0.5) / width) * 2 * math.pi
    around = torch.stack([longitude.sin(), torch.zeros_like(longitude), longitude.cos()], dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    return polar.sin()[:, None, None] * around + polar.cos()[:, None, None] * up


def solid_angles(height: int, width: int) -> Float[Tensor, "{height}"]:
    """Steradians of each texel of a row, float64. They sum to 4 pi over the picture."""
    edge = torch.arange(height + 1, dtype=torch.float64) * math.pi / height
    return -edge.cos().diff() * 2 * math.pi / width


def project_sh(radiance: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 9 3"]:
    """The second-order coefficients of surroundings in `sh_basis`: all that matt surfaces see of them, to a few per
    cent (Ramamoorthi and Hanrahan 2001). Differentiable."""
    height, width = radiance.shape[-2:]
    basis = sh_basis(directions_of(height, width)) * solid_angles(height, width)[:, None, None]
    return torch.einsum("bchw,hwk->bkc", radiance, basis.to(radiance))


def reduced(radiance: Float[Tensor, "B 3 H W"], height: int) -> Float[Tensor, "B 3 h w"]:
    """The same surroundings in at most `height` rows, each texel the mean over its solid angle."""
    rows, columns = radiance.shape[-2:]
    if rows <= height:
        return radiance
    width = max(1, round(height * columns / rows))
    weight = solid_angles(rows, columns).to(radiance)[:, None].expand(rows, columns)
    shape = (height, width)
    total = functional.adaptive_avg_pool2d(radiance * weight, shape)
    return total / functional.adaptive_avg_pool2d(weight[None, None], shape)


# ------------------------------------------------------------------------------------------------ reflections

REFLECTION_ROWS, REFLECTION_LEVELS = 64, 8


def prefiltered(
    radiance: Float[Tensor, "B 3 H W"], rows: int = REFLECTION_ROWS, levels: int = REFLECTION_LEVELS
) -> Float[Tensor, "B 3 {levels} h w"]:
    """`Light.reflections` of surroundings: what a surface of roughness 0, 1 / (levels - 1), ... 1 mirrors along each
    direction, as the first factor of the split sum has it (Karis 2013: view and normal along the mirrored direction).

    Each picture is the surroundings convolved with GGX's lobe. A lobe round its axis is the same at every longitude,
    so that the convolution is a product over the frequencies of each row. Differentiable.
    """
    small = reduced(radiance, rows)
    pictures = [small]
    for level in range(1, levels):
        alpha_sq = (level / (levels - 1)) ** 4

        def lobe(cosine: Tensor, alpha_sq: float = alpha_sq) -> Tensor:
            half_sq = (1 + cosine) / 2
            return alpha_sq / (half_sq * (alpha_sq - 1) + 1) ** 2 * cosine.clamp_min(0)

        pictures.append(_convolved(small, lobe))
    return torch.stack(pictures, dim=2)


def _convolved(radiance: Tensor, lobe: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of ``[B, 3, H, W]`` under a lobe (of the cosine to its axis) about each direction."""
    height, width = radiance.shape[-2:]
    polar = (torch.arange(height, dtype=torch.float64) + 0.5) * math.pi / height
    turn = torch.arange(width, dtype=torch.float64) * 2 * math.pi / width
    cosine = polar.cos()[:, None, None] * polar.cos()[:, None]
    cosine = cosine + polar.sin()[:, None, None] * polar.sin()[:, None] * turn.cos()
    kernel = lobe(cosine.clamp(-1, 1)) * solid_angles(height, width)[:, None]  # [row out, row in, longitude]
    kernel = (kernel / kernel.sum(dim=(1, 2), keepdim=True)).to(radiance)
    spectrum = torch.einsum("ijf,bcjf->bcif", torch.fft.rfft(kernel), torch.fft.rfft(radiance))
    return torch.fft.irfft(spectrum, n=width)


# ------------------------------------------------------------------------------------------------------ light

LAMP_ROWS = 64
LAMP_REACH = math.radians(28)  # what lies farther from a lamp's middle is not of the lamp
LEAST_LAMP = 0.06  # of the mean irradiance: fainter ones stay in the surroundings


def environment_light(radiance: Float[Tensor, "B 3 H W"], lamps: int = 4) -> Light:
    """The light of surroundings, for `shading` and the renderers.

    lamps: so many bright spots at most are taken out and become distant lamps, which have sharp highlights and cast
    shadows; second-order surroundings can do neither. What is left is projected to `Light.sh` and blurred for
    `Light.reflections`, so that nothing is counted twice. 0 leaves everything in the surroundings. Differentiable in
    the radiance, at fixed places of the lamps.
    """
    rest = reduced(radiance, LAMP_ROWS)
    found = [_lamps_of(one[None], lamps) for one in rest]
    count = max((len(each[1]) for each in found), default=0)
    directions, colors, spreads, left = [], [], [], []
    for remainder, each in found:
        left.append(remainder)
        pad = count - len(each)
        directions.append(torch.stack([lamp[0] for lamp in each] + [radiance.new_tensor([0.0, 0.0, 1.0])] * pad)
                          if count else radiance.new_zeros(0, 3))  # fmt: skip
        colors.append(torch.stack([lamp[1] for lamp in each] + [radiance.new_zeros(3)] * pad)
                      if count else radiance.new_zeros(0, 3))  # fmt: skip
        spreads.append(radiance.new_tensor([lamp[2] for lamp in each] + [0.0] * pad))
    rest = torch.cat(left)
    return Light(
        project_sh(rest),
        torch.stack(directions),
        torch.stack(colors),
        spreads=torch.stack(spreads),
        reflections=prefiltered(rest),
    )


def _lamps_of(radiance: Tensor, count: int) -> tuple[Tensor, list[tuple[Tensor, Tensor, float]]]:
    """What is left of one picture ``[1, 3, H, W]``, and (direction, colour, angular radius) of its brightest spots."""
    height, width = radiance.shape[-2:]
    towards = directions_of(height, width).to(radiance)
    angle = solid_angles(height, width).to(radiance)[:, None].expand(height, width)
    mean = float((radiance.detach().mean(dim=1)[0] * angle).sum() / (4 * math.pi))
    lamps: list[tuple[Tensor, Tensor, float]] = []
    for _ in range(count):
        # All colours count the same: a blue sign is as much of a lamp as a green one. And a spot counts by what it
        # sheds, not by its brightest texel.
        bright = radiance.detach().mean(dim=1, keepdim=True)
        shed = _convolved(bright, lambda cosine: (cosine > math.cos(LAMP_REACH / 2)).double())[0, 0]
        middle = towards.flatten(0, 1)[shed.argmax()]
        for _ in range(2):  # the window follows the light in it
            distance = torch.acos((towards @ middle).clamp(-1, 1))
            ring = (distance > LAMP_REACH) & (distance < 1.5 * LAMP_REACH)
            level = float((bright[0, 0] * angle * ring).sum() / (angle * ring).sum())
            share = (1 - 1.5 * max(level, mean) / bright[0, 0].clamp_min(1e-12)).clamp(0, 1)
            share = share * (2 - 2 * distance / LAMP_REACH).clamp(0, 1)
            weight = share * bright[0, 0] * angle
            if float(weight.sum()) <= 0:
                return radiance, lamps
            middle = functional.normalize((weight[..., None] * towards).sum(dim=(0, 1)), dim=0)
        color = (radiance[0] * share * angle).sum(dim=(1, 2)) / math.pi
        if float(color.detach().mean()) < LEAST_LAMP * mean:
            return radiance, lamps
        distance = torch.acos((towards @ middle).clamp(-1, 1))
        # A disc's mean square distance from its middle is half its radius squared.
        spread = math.sqrt(2 * float((weight * distance**2).sum() / weight.sum()))
        lamps.append((middle, color, spread))
        radiance = radiance * (1 - share)
    return radiance, lamps


def exposed(radiance: Float[Tensor, "B 3 H W"], level: float = 0.9) -> Float[Tensor, "B 3 H W"]:
    """The surroundings, scaled so that a white matt surface before the face's front shows this luminance in the mean:
    the exposure that a photographer would choose. Black surroundings stay black."""
    towards = directions_of(16, 32).flatten(0, 1).to(radiance)
    front = towards[:, 2].clamp_min(0) * solid_angles(16, 32).to(radiance).repeat_interleave(32)
    shading = (irradiance_basis(towards) @ project_sh(reduced(radiance, LAMP_ROWS))).clamp_min(0)
    mean = torch.einsum("bnc,n->bc", shading, front / front.sum())
    return radiance * (level / luminance(mean[..., None, None]).clamp_min(1e-9))


# ------------------------------------------------------------------------------------------------------ files

MAX_HDR_MB = 256
MAX_HDR_WIDTH, MAX_HDR_HEIGHT = 8192, 4096
_ADVICE = "Save the surroundings as a Radiance .hdr of latitude and longitude, twice as wide as high, and try again."


def read_hdr(source: str | Path | bytes, name: str = "") -> Float[Tensor, "1 3 H W"]:
    """The surroundings in a Radiance ``.hdr`` file or its bytes, in the file's own unit (see `exposed`).

    Nothing is decoded before the header has been read: more than `MAX_HDR_WIDTH` x `MAX_HDR_HEIGHT` pixels are
    refused. Raises `FileError` for that and for what is missing, damaged, cut off, of another kind or shape.
    """
    import cv2

    if isinstance(source, bytes):
        data, name = source, name or "The file"
    else:
        name = name or Path(source).name
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_HDR_MB * 1024 * 1024 + 1)
        except FileNotFoundError as error:
            raise FileError(f"There is no file {source}. Check its name and folder.") from error
        except OSError as error:
            raise FileError(f"{name} could not be read ({error}). A Radiance .hdr file was expected.") from error
    if len(data) > MAX_HDR_MB * 1024 * 1024:
        raise FileError(f"{name} has more than {MAX_HDR_MB} MB, which is the limit. Save it with fewer pixels.")
    if not data.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise FileError(f"{name} is no Radiance .hdr file: it does not begin with #?RADIANCE. {_ADVICE}")
    end = data.find(b"\n\n", 0, 65536)
    size = re.match(rb"([-+][XY]) (\d{1,9}) ([-+][XY]) (\d{1,9})\n", data[end + 2 : end + 64]) if end >= 0 else None
    if size is None:
        raise FileError(f"The header of {name} ends without the size of the picture; the file is damaged. {_ADVICE}")
    if (size[1], size[3]) != (b"-Y", b"+X"):
        raise FileError(f"{name} stores its rows as {size[0].decode().strip()!r}, not from the top left. {_ADVICE}")
    height, width = int(size[2]), int(size[4])
    if width > MAX_HDR_WIDTH or height > MAX_HDR_HEIGHT:
        raise FileError(
            f"{name} has {width} x {height} pixels; at most {MAX_HDR_WIDTH} x {MAX_HDR_HEIGHT} are read. "
            "Save it with fewer: light needs no more than 1024 x 512."
        )
    if height < 4 or not 1.9 < width / height < 2.1:
        raise FileError(f"{name} has {width} x {height} pixels, which cannot show all directions. {_ADVICE}")
    before = cv2.getLogLevel()
    cv2.setLogLevel(0)  # OpenCV prints what is wrong with a file, and returns nothing
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    finally:
        cv2.setLogLevel(before)
    if pixels is None or pixels.shape != (height, width, 3):
        raise FileError(
            f"{name} is cut off or damaged: its {width} x {height} pixels could not be read. "
            "Copy or download it again, or save it anew."
        )
    if not np.isfinite(pixels).all():
        raise FileError(f"{name} holds pixels that are no finite number. {_ADVICE}")
    return torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(2, 0, 1)[None].contiguous()


# ----------------------------------------------------------------------------------------------------- drawn here


@dataclass(frozen=True)
class Panel:
    """A shining rectangle of the surroundings, in whole degrees.

    yaw_deg, pitch_deg: where its middle is; yaw 0 before the face, positive to the head's left, pitch positive above.
    width_deg, height_deg: how large it looks. color: sRGB, as 0xRRGGBB. strength: the radiance of a white matt surface
    that faces it, in its brightest channel. panes: (columns, rows) of a window.
    """

    yaw_deg: int
    pitch_deg: int
    width_deg: int
    height_deg: int
    color: int
    strength: float
    panes: tuple[int, int] = (1, 1)


OVERSAMPLING = 4


def drawn(
    sky: int, horizon: int, ground: int, brightness: float, panels: Sequence[Panel], height: int = 64
) -> Float[Tensor, "1 3 {height} w"]:
    """A graded sky and ground (sRGB colours, as 0xRRGGBB, times the brightness) with shining panels before it. The
    page's viewer draws its surroundings in the same way (app/static/studio.js)."""
    rows = OVERSAMPLING * height
    towards = directions_of(rows, 2 * rows).float()
    up = (1.6 * towards[..., 1].abs()).clamp_max(1)[..., None]
    ends = torch.where(towards[..., 1:2] < 0, _linear(ground), _linear(sky))
    room = brightness * torch.lerp(_linear(horizon).expand_as(ends), ends, up)
    angle = solid_angles(rows, 2 * rows).float()[:, None]
    for panel in panels:
        inside = _inside(panel, towards)
        color = _linear(panel.color)
        # What arrives on a surface that faces the panel, over pi.
        facing = (towards @ _direction(panel.yaw_deg, panel.pitch_deg)).clamp_min(0)
        arrives = float((inside * facing * angle).sum()) / math.pi
        room = room + (inside * panel.strength / max(arrives, 1e-9))[..., None] * (color / color.max())
    return functional.avg_pool2d(room.permute(2, 0, 1)[None], OVERSAMPLING)


def _linear(color: int) -> Tensor:
    return srgb_to_linear(torch.tensor([(color >> shift & 255) / 255 for shift in (16, 8, 0)]))


def _direction(yaw_deg: int, pitch_deg: int) -> Tensor:
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    return torch.tensor([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])


def _inside(panel: Panel, towards: Tensor) -> Tensor:
    """1 where directions ``[H, W, 3]`` meet the panel, else 0."""
    middle = _direction(panel.yaw_deg, panel.pitch_deg)
    right = _direction(panel.yaw_deg + 90, 0)
    depth = towards @ middle
    flat = towards / depth.clamp_min(1e-6)[..., None]
    x, y = flat @ right, flat @ torch.linalg.cross(middle, right)
    half = [math.tan(math.radians(size) / 2) for size in (panel.width_deg, panel.height_deg)]
    inside = (depth > 1e-6) & (x.abs() < half[0]) & (y.abs() < half[1])
    for place, reach, count in ((x, half[0], panel.panes[0]), (y, half[1], panel.panes[1])):
        if count > 1:  # bars between the panes take a tenth
            within = (place + reach) / (2 * reach) * count
            inside &= (within - within.floor() - 0.5).abs() < 0.45
    return inside.float()


def studio(height: int = 64) -> Float[Tensor, "1 3 {height} w"]:
    """A portrait studio: a soft warm key from the upper left, a weak fill opposite, a cool rim from behind."""
    return drawn(
        0x8B8D92,
        0x5D5D60,
        0x35322F,
        0.95,
        [
            Panel(-33, 32, 22, 22, 0xFFF1E2, 0.95),
            Panel(60, 10, 14, 50, 0xE4ECFF, 0.20),
            Panel(0, 84, 36, 36, 0xFFFFFF, 0.12),
            Panel(148, 24, 16, 40, 0xDFE8FF, 0.55),
        ],
        height,
    )


def daylight(height: int = 64) -> Float[Tensor, "1 3 {height} w"]:
    """By a large window under a bright sky: light from the side and above, sent back by a pale room."""
    return drawn(
        0xC4D8F5,
        0xD0D0CC,
        0x6B5C4C,
        0.40,
        [
            Panel(50, 20, 34, 42, 0xF1F6FF, 0.85, (2, 3)),
            Panel(-80, 5, 40, 50, 0xFFF0DC, 0.10),
            Panel(-150, 30, 16, 30, 0xE6F0FF, 0.22),
        ],
        height,
    )


def dramatic(height: int = 64) -> Float[Tensor, "1 3 {height} w"]:
    """One hard lamp from the side, a cold edge from behind, almost nothing else."""
    return drawn(
        0x2A3040,
        0x24262E,
        0x171514,
        2.0,
        [Panel(-62, 24, 10, 10, 0xFFE9D2, 1.35), Panel(132, 22, 10, 36, 0xB9D3FF, 0.9)],
        height,
    )


def sunset(height: int = 64) -> Float[Tensor, "1 3 {height} w"]:
    """The golden hour: a low sun to the side, a horizon that glows under it, a blue sky above."""
    return drawn(
        0x7C97C8,
        0xD8B89C,
        0x5A4A40,
        0.62,
        [
            Panel(55, 12, 7, 7, 0xFFC894, 1.15),
            Panel(55, 8, 70, 22, 0xFFBE88, 0.18),
            Panel(-140, 12, 40, 16, 0xF0B0A8, 0.20),
        ],
        height,
    )


def overcast(height: int = 64) -> Float[Tensor, "1 3 {height} w"]:
    """Under an even layer of cloud, three times as bright above as at the horizon (Moon and Spencer 1942; CIE's
    standard overcast sky), over a grey ground."""
    towards = directions_of(height, 2 * height).float()
    elevation = towards[..., 1]
    cloud = _linear(0xF3F7FF) * 1.7 * ((1 + 2 * elevation.clamp_min(0)) / 3)[..., None]
    soil = (_linear(0x8F8A82) * 0.8).expand_as(cloud)
    return torch.where(elevation[..., None] > 0, cloud, soil).permute(2, 0, 1)[None].contiguous()


def neon(height: int = 64) -> Float[Tensor, "1 3 {height} w"]:
    """A street at night: magenta signs on one side, cyan ones on the other, violet from above."""
    return drawn(
        0x1B1730,
        0x2C2140,
        0x141018,
        0.9,
        [
            Panel(-58, 8, 12, 60, 0xFF2E88, 1.0),
            Panel(62, 12, 12, 60, 0x1FC8FF, 0.85),
            Panel(0, 62, 50, 14, 0x8A5CFF, 0.25),
            Panel(170, 10, 30, 12, 0xFF7A3C, 0.5),
            Panel(12, -38, 40, 10, 0xFF5FB0, 0.10),
        ],
        height,
    )


# As the viewer's presets.
ENVIRONMENTS: Mapping[str, Callable[[int], Tensor]] = {
    "studio": studio,
    "daylight": daylight,
    "dramatic": dramatic,
    "sunset": sunset,
    "overcast": overcast,
    "neon": neon,
}


@functools.lru_cache(maxsize=len(ENVIRONMENTS))
def named_light(name: str) -> Light:
    """The light of one of `ENVIRONMENTS`; read-only. Raises ValueError for another name."""
    if name not in ENVIRONMENTS:
        raise ValueError(f"There are no surroundings {name!r}; choose one of {', '.join(ENVIRONMENTS)}.")
    return environment_light(ENVIRONMENTS[name](64))
