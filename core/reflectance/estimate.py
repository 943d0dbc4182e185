"""From a lit, completed skin map to the maps of how the skin takes light.

The networks read the skin at `WORK_PX`, whatever the map's size. A larger map keeps its own detail: what the networks
take for light is divided out of it texel by texel, and what is finer than they see stands out as "dark is deep" has it
(Beeler et al. 2010, "High-quality single-shot capture of facial geometry", 4.4: mesoscopic augmentation). So a map of
6144 x 4096 is written tile by tile from one estimate, and no tile knows of its neighbours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor
from torch.nn import functional

from core.atlas import atlas_lookup
from core.color import linear_to_srgb, srgb_to_linear
from core.errors import LikenessError
from core.head import HeadModel
from core.lighting import shading
from core.materials import DISPLACEMENT_UNIT_M
from core.occlusion import ambient_occlusion
from core.reflectance.lit_heads import SCATTER_MM, TEXELS_PER_MM, fit_harmonics, skin_for_light, softened
from core.reflectance.network import (
    COARSE_PX,
    DARKEST,
    FINE_STRIDE,
    WORK_PX,
    ReflectanceNet,
    SkinMaps,
    bundled_network,
    log_light,
    main_light,
)
from core.synthesis.relief import TangentFrame, differences, normal_map, tangent_frame, whole_steps

FRAME_PX = 512  # of the tangent frame, which is smooth
SEES_PX = 112  # texels to either side that the fine network sees
OCCLUSION_PX = 256
SMALLEST_PX, LARGEST_TEXELS = 32, 6144 * 6144
WRITTEN_PX = 1024  # side of the tiles in which large maps are written
# Millimetres of depth per unit of log luminance, for what is finer than `WORK_PX`, and the most of it.
FINE_MM, FINEST_MM = 0.06, 0.03
# Of what is smooth and enlarged when maps are written: light, specular, roughness, translucency, height, slopes of the
# relief and of the softened relief.
CHANNELS = [3, 1, 1, 1, 1, 2, 2]


@dataclass(frozen=True, eq=False)
class Reflectance:
    """The maps of a skin, rows by columns as large as the lit map; meanings are those of `core.materials.Materials`.

    albedo: sRGB. The normals are tangent-space ones in glTF's convention.
    """

    albedo: UInt8[Tensor, "3 H W"]
    specular: UInt8[Tensor, "1 H W"]
    roughness: UInt8[Tensor, "1 H W"]
    translucency: UInt8[Tensor, "1 H W"]
    occlusion: UInt8[Tensor, "1 H W"]
    normal: UInt8[Tensor, "3 H W"]
    diffuse_normal: UInt8[Tensor, "3 H W"]
    displacement: Int16[Tensor, "1 H W"]


@dataclass(frozen=True, eq=False)
class Understood:
    """What the networks make of a lit map, at `WORK_PX`. lit: linear. maps: a batch of one. sh: the light that was
    fitted or given. frame: the tangent frame at `FRAME_PX`."""

    lit: Float[Tensor, "3 U U"]
    maps: SkinMaps
    sh: Float[Tensor, "9 3"]
    frame: TangentFrame


def estimate(
    head: HeadModel,
    lit: UInt8[Tensor, "3 H W"],
    vertices: Float[Tensor, "V 3"],
    sh: Float[Tensor, "9 3"] | None = None,
    net: ReflectanceNet | None = None,
    tile_px: int = WORK_PX,
    report: Callable[[float], None] | None = None,
) -> Reflectance:
    """The maps of a skin from its colour under one light.

    lit: sRGB, complete, in the layout of the atlas, which a map that is not square shows stretched. vertices: of the
    head as it was lit. sh: the light, where it is known (`shading.Light.sh`); None fits it. net: None is the bundled
    one. tile_px: side of the tiles in which the fine network works, for less memory; the result is the same. report:
    called with the share that is done. Raises LikenessError for maps of an impossible size, FileError without weights.
    """
    say = report or (lambda share: None)
    found = understand(head, lit, vertices, sh, net, tile_px, lambda share: say(0.7 * share))
    return written(head, lit, vertices, found, found.maps.height_mm[0], lambda share: say(0.7 + 0.3 * share))


def check_lit_map(lit: Tensor) -> None:
    """Raises LikenessError for what is no map of colours in bytes, or one that is too small or too large."""
    if lit.dtype != torch.uint8 or lit.dim() != 3 or lit.shape[0] != 3:
        raise LikenessError(
            f"The lit skin map is {tuple(lit.shape)} of {lit.dtype}; expected were three channels of bytes, "
            "[3, height, width]. Convert the picture to 8-bit RGB first."
        )
    height, width = lit.shape[1:]
    if min(height, width) < SMALLEST_PX:
        raise LikenessError(
            f"The lit skin map has {width} x {height} texels, too few to see skin; use at least "
            f"{SMALLEST_PX} x {SMALLEST_PX}, better {WORK_PX} x {WORK_PX}."
        )
    if height * width > LARGEST_TEXELS:
        need_gb = 22 * height * width / 2**30
        raise LikenessError(
            f"A skin map of {width} x {height} texels would need about {need_gb:.1f} GB of memory for its maps alone. "
            f"The limit is {LARGEST_TEXELS / 1e6:.0f} million texels, such as 6144 x 4096: reduce the map first."
        )


@torch.no_grad()
def understand(
    head: HeadModel,
    lit: UInt8[Tensor, "3 H W"],
    vertices: Float[Tensor, "V 3"],
    sh: Float[Tensor, "9 3"] | None = None,
    net: ReflectanceNet | None = None,
    tile_px: int = WORK_PX,
    report: Callable[[float], None] | None = None,
) -> Understood:
    """The networks' part of `estimate`."""
    check_lit_map(lit)
    net = net or bundled_network()
    say = report or (lambda share: None)
    work = _resized(srgb_to_linear(_resized(lit, WORK_PX, WORK_PX) / 255), WORK_PX, WORK_PX)
    small = functional.adaptive_avg_pool2d(work, COARSE_PX)
    frame = tangent_frame(head, vertices, FRAME_PX)
    normals = functional.normalize(_enlarged(frame.normal, COARSE_PX), dim=0)
    if sh is None:
        sh = fit_harmonics(head, small, normals, skin_for_light(head, COARSE_PX))
    fitted = shading(normals.flatten(1).T, sh).T.reshape(1, 3, COARSE_PX, COARSE_PX)
    inside = atlas_lookup(head, COARSE_PX).inside.float()[None, None]
    change, context = net.see_whole(small[None], fitted, normals[None], inside)
    light = log_light(fitted) - change
    say(0.3)
    wide = _enlarged(torch.cat([light, context], 1)[0], WORK_PX)
    axes = [
        functional.normalize(_enlarged(axis, WORK_PX), dim=0) for axis in (frame.normal, frame.tangent, frame.bitangent)
    ]
    towards = main_light(sh, *(axis[None] for axis in axes))[0]
    inputs = torch.cat([work, wide[:3], towards, wide[3:]])
    parts = _in_tiles(net, inputs, tile_px, lambda share: say(0.3 + 0.7 * share))
    return Understood(work, parts, sh, frame)


def _axes(frame: TangentFrame) -> tuple[Float[Tensor, "3 U U"], ...]:
    """Normal, tangent and bitangent at `WORK_PX`."""
    return tuple(
        functional.normalize(_enlarged(axis, WORK_PX), dim=0) for axis in (frame.normal, frame.tangent, frame.bitangent)
    )


def _in_tiles(net: ReflectanceNet, inputs: Tensor, tile_px: int, say: Callable[[float], None]) -> SkinMaps:
    """The fine network over a whole map. Each tile is seen with all that its texels see, and begins on the network's
    own grid, so that cutting changes nothing but the last bits."""
    step = max(FINE_STRIDE, tile_px // FINE_STRIDE * FINE_STRIDE)
    out: dict[str, Tensor] = {}
    tiles = list(_tiles(WORK_PX, WORK_PX, step))
    for done, (top, left, bottom, right) in enumerate(tiles, start=1):
        rows = slice(max(top - SEES_PX, 0), min(bottom + SEES_PX, WORK_PX))
        columns = slice(max(left - SEES_PX, 0), min(right + SEES_PX, WORK_PX))
        lit, light, towards, context = (
            part.contiguous(memory_format=torch.channels_last)
            for part in inputs[None, :, rows, columns].split([3, 3, 3, inputs.shape[0] - 9], 1)
        )
        maps = net.see_tile(lit, light, towards, context)
        for name, value in vars(maps).items():
            if name not in out:
                out[name] = value.new_empty(1, value.shape[1], WORK_PX, WORK_PX)
            inner = value[..., top - rows.start : bottom - rows.start, left - columns.start : right - columns.start]
            out[name][..., top:bottom, left:right] = inner
        say(done / len(tiles))
    return SkinMaps(**out)


def _tiles(height: int, width: int, step: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, height, step):
        for left in range(0, width, step):
            yield top, left, min(top + step, height), min(left + step, width)


# --------------------------------------------------------------------------------------------------------- writing maps


def slopes_of(head: HeadModel, frame: TangentFrame, height_mm: Float[Tensor, "U U"]) -> Float[Tensor, "2 U U"]:
    """Slopes along tangent and bitangent of a relief at `WORK_PX`, metres per metre. Differentiable."""
    by_u, by_v = differences(height_mm / 1000, *whole_steps(head, WORK_PX))
    to_slope = _enlarged(frame.to_slope, WORK_PX) * (WORK_PX / FRAME_PX)
    a, b, c, d = to_slope
    return torch.stack([a * by_u + b * by_v, c * by_u + d * by_v])


@torch.no_grad()
def written(
    head: HeadModel,
    lit: UInt8[Tensor, "3 H W"],
    vertices: Float[Tensor, "V 3"],
    found: Understood,
    height_mm: Float[Tensor, "1 U U"],
    report: Callable[[float], None] | None = None,
) -> Reflectance:
    """What was understood, as maps of the lit map's size. height_mm: the relief at `WORK_PX`, which may have been
    refined since."""
    say = report or (lambda share: None)
    rows, columns = lit.shape[1:]
    maps = found.maps
    light = log_light(found.lit) - maps.log_albedo[0]
    steep = slopes_of(head, found.frame, height_mm[0])
    soft = slopes_of(head, found.frame, softened(height_mm[0], SCATTER_MM * TEXELS_PER_MM))
    occlusion = ambient_occlusion(head, vertices, OCCLUSION_PX)
    smooth = torch.cat([light, maps.specular[0], maps.roughness[0], maps.translucency[0], height_mm, steep, soft])
    blurred = log_light(found.lit).mean(0, keepdim=True)
    inside = atlas_lookup(head, WORK_PX).inside.float()[None]

    def empty(channels: int, kind: torch.dtype = torch.uint8) -> Tensor:
        return torch.empty(channels, rows, columns, dtype=kind)

    out = Reflectance(*(empty(c) for c in (3, 1, 1, 1, 1, 3, 3)), displacement=empty(1, torch.int16))
    finer = max(rows, columns) > WORK_PX
    tiles = list(_tiles(rows, columns, WRITTEN_PX))
    for done, (top, left, bottom, right) in enumerate(tiles, start=1):
        here = (slice(None), slice(top, bottom), slice(left, right))
        window = (top, left, bottom, right, rows, columns)
        log_lit = log_light(srgb_to_linear(lit[here].float() / 255))
        at = _window(smooth, *window)
        log_light_here, specular, roughness, translucency, height, steep_here, soft_here = at.split(
            [3, 1, 1, 1, 1, 2, 2]
        )
        if finer:
            # What the networks did not see: pores and hairs of a fine photo. A texel more on every side, so that
            # slopes at the tile's border know what follows.
            above, before = min(top, 1), min(left, 1)
            wide = (top - above, left - before, min(bottom + 1, rows), min(right + 1, columns), rows, columns)
            around = log_light(srgb_to_linear(lit[:, wide[0] : wide[2], wide[1] : wide[3]].float() / 255))
            fine = (around.mean(0, keepdim=True) - _window(blurred, *wide)).clamp(-1, 1)
            bump = (FINE_MM * fine * _window(inside, *wide)).clamp(-FINEST_MM, FINEST_MM)
            inner = (slice(None), slice(above, above + bottom - top), slice(before, before + right - left))
            height = height + bump[inner]
            steep_here = steep_here + _fine_slopes(bump, found.frame, wide)[inner]
        albedo = (log_lit - log_light_here).exp().clamp(DARKEST, 0.98)
        out.albedo[here] = _bytes(linear_to_srgb(albedo))
        for target, value in ((out.specular, specular), (out.roughness, roughness), (out.translucency, translucency)):
            target[here] = _bytes(value)
        out.occlusion[here] = _bytes(_window(occlusion, *window))
        out.normal[here] = coded_normals(steep_here)
        out.diffuse_normal[here] = coded_normals(soft_here)
        micrometres = height / 1000 / DISPLACEMENT_UNIT_M
        out.displacement[here] = micrometres.round().clamp(-32767, 32767).to(torch.int16)
        say(done / len(tiles))
    return out


def softened_normals(
    head: HeadModel, vertices: Float[Tensor, "V 3"], height_mm: Float[Tensor, "U U"]
) -> tuple[UInt8[Tensor, "3 U U"], UInt8[Tensor, "3 U U"]]:
    """Specular and diffuse normals of a relief, both at its size: reflections follow the surface, scattered light what
    is left of it after scattering. vertices: of the head that carries it."""
    texels_per_mm = TEXELS_PER_MM * len(height_mm) / WORK_PX
    soft = softened(height_mm, max(SCATTER_MM * texels_per_mm, 0.4))
    sharp, smooth = (normal_map(head, height / 1000, vertices) for height in (height_mm, soft))
    return sharp, smooth


def coded_normals(slopes: Float[Tensor, "2 H W"]) -> UInt8[Tensor, "3 H W"]:
    """Tangent-space normals of slopes along tangent and bitangent, as bytes."""
    along, across = slopes
    blue = (1 + along * along + across * across).rsqrt()
    return _bytes(torch.stack([-along * blue, -across * blue, blue]) * 0.5 + 0.5)


def _fine_slopes(bump_mm: Tensor, frame: TangentFrame, window: tuple[int, ...]) -> Tensor:
    """Slopes of what is finer than `WORK_PX` in a window."""
    rows, columns = window[4:]
    by_u, by_v = (torch.gradient(bump_mm[0] / 1000, dim=dim)[0] for dim in (1, 0))
    a, b, c, d = _window(frame.to_slope, *window)
    u, v = by_u * (columns / FRAME_PX), -by_v * (rows / FRAME_PX)
    return torch.stack([a * u + b * v, c * u + d * v])


def _bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _window(image: Tensor, top: int, left: int, bottom: int, right: int, rows: int, columns: int) -> Tensor:
    """A window of a square map ``[C, U, U]`` as it would be at `rows` x `columns` texels, without making all of that.
    Bilinear; averaged first where that is smaller."""
    if (rows, columns) == image.shape[1:]:
        return image[:, top:bottom, left:right]
    if rows < image.shape[1] or columns < image.shape[2]:
        image = functional.interpolate(image[None], size=(min(rows, image.shape[1]), min(columns, image.shape[2])),
                                       mode="area")[0]  # fmt: skip
        if (rows, columns) == image.shape[1:]:
            return image[:, top:bottom, left:right]
    y = (torch.arange(top, bottom) + 0.5) / rows * 2 - 1
    x = (torch.arange(left, right) + 0.5) / columns * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[None], y[:, None]), -1)[None].to(image)
    return functional.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


def _resized(image: Tensor, rows: int, columns: int) -> Float[Tensor, "C H W"]:
    """A map at another size: means over what is finer, bilinear over what is coarser."""
    if image.shape[1:] == (rows, columns):
        return image.float()
    smaller = rows < image.shape[1] or columns < image.shape[2]
    if not smaller:
        return functional.interpolate(image[None].float(), size=(rows, columns), mode="bilinear")[0]
    # In strips, because a whole large map in floats is a gigabyte.
    strips = []
    count = math.gcd(rows, 16)
    edges = np.linspace(0, image.shape[1], count + 1).round().astype(int)
    for a, b in itertools.pairwise(edges.tolist()):
        strips.append(
            functional.interpolate(image[None, :, a:b].float(), size=(rows // count, columns), mode="area")[0]
        )
    return torch.cat(strips, 1)


def _enlarged(image: Float[Tensor, "C U V"], size: int) -> Float[Tensor, "C S S"]:
    if image.shape[-1] == size:
        return image
    smaller = size < image.shape[-1]
    return functional.interpolate(image[None], size=(size, size), mode="bilinear", antialias=smaller)[0]
