"""Taking the light out of skins that nobody trained on, lit as nobody trained on, and finding their relief."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from rich.console import Console
from rich.table import Table
from scipy.ndimage import binary_dilation
from torch import Tensor

from benchmarks.completion import FIRST_SEED, SOURCES_VARIABLE
from core.color import linear_to_srgb, srgb_to_linear
from core.displacement import refine_relief
from core.head import HeadModel, load_head
from core.lighting import shading
from core.reflectance.estimate import understand
from core.reflectance.lit_heads import (
    TEXELS_PER_MM,
    LitHead,
    LitHeads,
    Person,
    geometry_of,
    sample_light,
    shade,
    skin_of,
    softened,
    views_of,
)
from core.reflectance.network import WORK_PX, ReflectanceNet, SkinMaps, bundled_network, log_light
from core.synthesis.heads import as_bytes, rest_vertices, sample_head
from core.synthesis.skins import SkinSources, load_sources

WRINKLE_MM = 0.2  # what counts as a wrinkle: below its surroundings, `AROUND_MM` wide
AROUND_MM = 2.5  # how far beside a wrinkle reliefs are compared
WAYS = ("lit map as albedo", "divided by harmonics", "network", "network, refined")

console = Console(width=120)


@dataclass(frozen=True)
class Row:
    """Means over heads of one way. PSNR in dB over the skin: of the albedo (display-encoded), the same after the best
    grey factor, of the skin under another light, and of the other maps. normal_deg, wrinkle_deg: mean angle from true
    to found normals, everywhere and about wrinkles. height_um: root mean square error of the relief, high-passed as
    wrinkles are. correlation: of it with the truth about wrinkles deeper than `WRINKLE_MM`. seconds: per map of
    `WORK_PX`."""

    way: str
    albedo: float
    albedo_scaled: float
    relit: float
    specular: float
    roughness: float
    translucency: float
    diffuse_normal: float
    specular_normal: float
    normal_deg: float
    wrinkle_deg: float
    height_um: float
    correlation: float
    seconds: float


def section(quick: bool) -> dict[str, Any]:
    """Print the table; the numbers."""
    head = load_head()
    file = os.environ.get(SOURCES_VARIABLE)
    if file is None:
        console.print(
            f"Without {SOURCES_VARIABLE}, skins are painted from the procedural skin, not from the CC0 skins."
        )
    sources = None if file is None else load_sources(Path(file))
    count = 4 if quick else 24
    with console.status("lighting") as status:
        rows = measure(head, bundled_network(), count, sources, lambda i: status.update(f"head {i + 1} of {count}"))
    columns = "way albedo scaled relit specular rough transl. normal wrinkles um corr. s".split()
    table = Table(*columns, caption="normal, wrinkles: degrees, of all and about wrinkles; um: of the height")
    for row in rows:
        numbers = (row.albedo, row.albedo_scaled, row.relit, row.specular, row.roughness, row.translucency)
        angles = (f"{row.normal_deg:.2f}", f"{row.wrinkle_deg:.2f}")
        relief = (*angles, f"{row.height_um:.0f}", f"{row.correlation:.2f}", f"{row.seconds:.1f}")
        table.add_row(row.way, *(f"{x:.1f}" for x in numbers), *relief)
    console.print(table)
    found: dict[str, Any] = {"heads": count, "rows": [asdict(row) for row in rows]}
    if not quick:
        found["large"] = large_map()
        console.print(f"{LARGE_PX[1]} x {LARGE_PX[0]} texels: {found['large']}")
    return found


LARGE_PX = (6144, 4096)  # rows and columns of AvatarMe++'s largest maps
_LARGE = """
import json, resource, sys, time
import torch
from core.head import load_head
from core.reflectance.estimate import estimate
rows, columns = map(int, sys.argv[1:])
torch.manual_seed(0)
coarse = 120 + 60 * torch.rand(1, 3, 64, 64)
lit = torch.nn.functional.interpolate(coarse, size=(rows, columns), mode="bilinear")[0].to(torch.uint8)
head = load_head()
began = time.perf_counter()
estimate(head, lit, head.template)
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.perf_counter() - began, "memory_gb": kilobytes / 2**20}))
"""


def large_map() -> dict[str, Any]:
    """Seconds and peak memory of the largest map, in a process of its own, whose peak is nobody else's."""
    command = [sys.executable, "-c", _LARGE, *map(str, LARGE_PX)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"height": LARGE_PX[0], "width": LARGE_PX[1]} | json.loads(done.stdout.splitlines()[-1])


def measure(
    head: HeadModel,
    net: ReflectanceNet,
    count: int,
    sources: SkinSources | None,
    progress: Callable[[int], None] = lambda i: None,
) -> list[Row]:
    """The ways on `count` people from `FIRST_SEED` on, each under a light of its own."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for i in range(count):
        progress(i)
        person, vertices = held_out_person(head, FIRST_SEED + i, sources)
        for way, numbers in score_person(head, net, person, vertices, FIRST_SEED + i).items():
            found[way].append(numbers)

    def mean(way: str, name: str) -> float:
        values = [numbers[name] for numbers in found[way] if math.isfinite(numbers[name])]
        return float(np.mean(values)) if values else math.nan

    names = [name for name in Row.__dataclass_fields__ if name != "way"]
    return [Row(way, **{name: mean(way, name) for name in names}) for way in WAYS]


def held_out_person(head: HeadModel, seed: int, sources: SkinSources | None) -> tuple[Person, Tensor]:
    """A person whom training never saw, and their vertices."""
    made = sample_head(head, seed, WORK_PX, sources, normals=False)
    vertices = rest_vertices(head, made.person.shape[None])
    relief = made.relief
    surface = torch.stack([as_bytes(m) for m in (relief.specular, relief.roughness, relief.translucency)])
    return Person.of(made.albedo, relief.displacement_m * 1000, surface, geometry_of(head, vertices)), vertices


@torch.no_grad()
def score_person(
    head: HeadModel, net: ReflectanceNet, person: Person, vertices: Tensor, seed: int
) -> dict[str, dict[str, float]]:
    """Numbers of a `Row` by way, of one person under a light drawn from `seed`."""
    rng = np.random.default_rng([seed, 77])
    data = LitHeads(head, [person], 1)
    lit_head = data.lit(person, rng, whole=True)
    lit = as_bytes(linear_to_srgb(lit_head.tiles.lit[0]))
    linear = srgb_to_linear(lit.float()[None] / 255)
    seen = _seen(data, person)
    frame = lit_head.tiles
    harmonics = shading(frame.normal[0].flatten(1).T, lit_head.sh).T.reshape(1, 3, WORK_PX, WORK_PX)
    began = time.perf_counter()
    found = understand(head, lit, vertices, net=net)
    understood = time.perf_counter() - began
    with torch.enable_grad():
        refined = refine_relief(head, found)
    refining = time.perf_counter() - began
    ways = {
        WAYS[0]: (_plain(log_light(linear)), 0.0),
        WAYS[1]: (_plain(log_light(linear) - log_light(harmonics)), 0.0),
        WAYS[2]: (found.maps, understood),
        WAYS[3]: (SkinMaps(**{**vars(found.maps), "height_mm": refined[None]}), refining),
    }
    light = sample_light(rng)
    truth = SkinMaps(frame.log_albedo, frame.height_mm, *frame.surface.split(1, 1))
    grooves = _grooves(frame.height_mm[0, 0], seen)
    return {
        way: _numbers(lit_head, truth, maps, seen, grooves, light, seconds) for way, (maps, seconds) in ways.items()
    }


def _plain(log_albedo: Tensor) -> SkinMaps:
    """A guess of an albedo, and bare smooth skin where a way says nothing else."""
    one = log_albedo.new_ones(1, 1, WORK_PX, WORK_PX)
    return SkinMaps(log_albedo.clamp(-7, 0), 0 * one, 0.35 * one, 0.5 * one, 0.45 * one)


def _seen(data: LitHeads, person: Person) -> Bool[Tensor, "U U"]:
    """Skin that light reaches: not the insides of lips and lids."""
    open_sky = person.geometry.visibility.float().mean(0) / 255 > 0.15
    return open_sky.repeat_interleave(WORK_PX // len(open_sky), 0).repeat_interleave(WORK_PX // len(open_sky), 1) & (
        data.inside
    )


def _relief(height_mm: Tensor) -> Tensor:
    """What of a height wrinkles are: less its surroundings'."""
    return height_mm - softened(height_mm, 2 * AROUND_MM * TEXELS_PER_MM)


def _grooves(height_mm: Tensor, seen: Tensor) -> Bool[Tensor, "U U"]:
    deep = (_relief(height_mm) < -WRINKLE_MM) & seen
    wide = binary_dilation(deep.numpy(), iterations=round(AROUND_MM * TEXELS_PER_MM)) if deep.any() else deep.numpy()
    return torch.from_numpy(wide) & seen


def _numbers(
    lit: LitHead, truth: SkinMaps, maps: SkinMaps, seen: Tensor, grooves: Tensor, light: Any, seconds: float
) -> dict[str, float]:
    tiles = lit.tiles
    true, made = (skin_of(tiles, *vars(m).values()) for m in (truth, maps))
    view, mask = views_of(tiles, light.camera), seen.flatten()

    def psnr(a: Tensor, b: Tensor) -> float:
        return -10 * math.log10(max(float((a - b)[mask].square().mean()), 1e-9))

    shown = [linear_to_srgb(skin.albedo.clamp(0, 1)) for skin in (true, made)]
    grey = (log_light(true.albedo) - log_light(made.albedo))[mask].mean().exp()
    relit = [linear_to_srgb(shade(skin, light.lamps, view).clamp(0, 1)) for skin in (true, made)]
    cosine = (true.specular_normal * made.specular_normal).sum(1).clamp(-1, 1)
    angle_deg = torch.rad2deg(torch.acos(cosine))
    height = [_relief(m.height_mm[0, 0]) for m in (truth, maps)]
    off = (height[1] - height[0])[seen]
    a, b = (h[grooves] for h in height)
    # A flat guess agrees with nothing; without wrinkles there is nothing to agree with.
    correlation = 0.0 if len(a) > 100 else math.nan
    if len(a) > 100 and float(b.std()) > 0:
        correlation = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    return {
        "albedo": psnr(shown[1], shown[0]),
        "albedo_scaled": psnr(linear_to_srgb((made.albedo * grey).clamp(0, 1)), shown[0]),
        "relit": psnr(relit[1], relit[0]),
        "specular": psnr(made.specular, true.specular),
        "roughness": psnr(made.roughness, true.roughness),
        "translucency": psnr(made.translucency, true.translucency),
        "diffuse_normal": psnr(made.diffuse_normal / 2, true.diffuse_normal / 2),
        "specular_normal": psnr(made.specular_normal / 2, true.specular_normal / 2),
        "normal_deg": float(angle_deg[mask].mean()),
        "wrinkle_deg": float(angle_deg[grooves.flatten()].mean()),
        "height_um": 1000 * float(off.square().mean().sqrt()),
        "correlation": correlation,
        "seconds": seconds,
    }
