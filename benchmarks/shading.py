"""What each feature of the shading costs, beside a plain shader: one head, many lights, forward and backward."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from core.camera import look_at_head
from core.environment import ENVIRONMENTS, environment_light
from core.head import load_head
from core.mesh import vertex_normals
from core.occlusion import ambient_occlusion, lamp_shadows
from core.raster import fragments, interpolate, sample_texture
from core.shading import Light, Surface, shade, studio_light

SIZE_PX = 512
THREADS = 2
# What pytorch3d-me reports of its shader with everything on, over PyTorch3D's.
OTHERS_PERCENT = 15

console = Console(width=120)


@dataclass(frozen=True)
class Row:
    """One kind of picture. forward_ms, both_ms: medians, without and with gradients. shading_percent: of the forward
    pass over the plain one's, shading alone; picture_percent: of the whole picture, visibility and textures too."""

    what: str
    forward_ms: float
    both_ms: float
    shading_percent: float
    picture_percent: float


def section(quick: bool) -> dict[str, Any]:
    """Print the tables; the numbers."""
    with console.status("shading"):
        rows, baked_s, shadows_ms = measure(5 if quick else 15)
    table = Table("shader", "forward, ms", "with gradients, ms", "more than plain, shading", "whole picture")
    for row in rows:
        table.add_row(
            row.what,
            f"{row.forward_ms:.1f}",
            f"{row.both_ms:.1f}",
            f"{row.shading_percent:+.0f} %",
            f"{row.picture_percent:+.0f} %",
        )
    console.print(table)
    console.print(
        f"Covered pixels of a picture of {SIZE_PX} px. Occlusion of one head, 256 texels: {baked_s:.2f} s, once. "
        f"Shadow maps of three lamps: {shadows_ms:.0f} ms. pytorch3d-me reports about {OTHERS_PERCENT} %."
    )
    return {
        "rows": [asdict(row) for row in rows],
        "occlusion_s": baked_s,
        "shadows_ms": shadows_ms,
        "size_px": SIZE_PX,
        "others_percent": OTHERS_PERCENT,
    }


def measure(repeats: int) -> tuple[list[Row], float, float]:
    """Rows, seconds to bake the occlusion, and milliseconds for the shadows of three lamps, on `THREADS` threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return _measure(repeats)
    finally:
        torch.set_num_threads(threads)


def _measure(repeats: int) -> tuple[list[Row], float, float]:
    head = load_head()
    vertices = head.vertices(head.neutral())
    target = (vertices[0].amin(0) + vertices[0].amax(0)) / 2
    camera = look_at_head(torch.tensor([0.3]), torch.tensor([0.0]), 0.6, target, 1.75 * SIZE_PX, SIZE_PX, SIZE_PX)
    seen = fragments(vertices, head.faces, camera)
    covered = seen.face_index[0] >= 0

    uv = interpolate(seen, head.uv[head.uv_faces][None])
    attributes = torch.cat([vertex_normals(vertices, head.faces), vertices], dim=2)[:, head.faces]
    normals, points = interpolate(seen, attributes)[:, covered].split([3, 3], dim=2)
    normals = functional.normalize(normals, dim=-1)
    view = functional.normalize(camera.centre[:, None] - points, dim=-1)
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 10, 512, 512, generator=generator)
    albedo, roughness, specular, translucency, occlusion, bend = (
        sample_texture(maps, uv)[:, :, covered].transpose(1, 2).split([3, 1, 1, 1, 1, 3], dim=2)
    )
    bent = functional.normalize(normals + 0.1 * (bend - 0.5), dim=-1)

    studio = studio_light()
    room = environment_light(ENVIRONMENTS["studio"](64), lamps=0)
    # One of the three lamps at a place, so that the number of lamps stays.
    lamp = Light(
        studio.sh,
        studio.directions[:, :2],
        studio.colors[:, :2],
        torch.tensor([[[0.2, 0.1, 0.4]]]),
        torch.full((1, 1, 3), 0.05),
    )
    everything = replace(lamp, reflections=room.reflections)
    plain = Surface(albedo, normals, view, 0.3 + 0.4 * roughness)
    both = replace(plain, diffuse_normals=bent)
    mapped = replace(both, reflectance=0.08 * specular)
    scattered = replace(mapped, translucency=translucency)
    shaded = replace(scattered, occlusion=0.5 + 0.5 * occlusion)
    full = replace(shaded, points=points)
    begin = time.perf_counter()
    baked = ambient_occlusion(head, vertices[0], 256)
    baked_s = time.perf_counter() - begin
    assert baked.shape[-1] == 256

    def cast() -> Tensor:
        return lamp_shadows(studio, vertices[0], head.faces, points[0], normals[0])

    arrives = cast()[None]
    jobs: dict[str, tuple[Light, Surface, Tensor | None, str]] = {
        "plain: albedo, GGX, three lamps, harmonics": (studio, plain, None, "ggx"),
        "the same with Blinn and Phong's highlights": (studio, plain, None, "blinn-phong"),
        "+ diffuse normals of their own": (studio, both, None, "ggx"),
        "+ specular albedo": (studio, mapped, None, "ggx"),
        "+ scattering": (studio, scattered, None, "ggx"),
        "+ occlusion and shadows": (studio, shaded, arrives, "ggx"),
        "+ one of the lamps at a place": (lamp, full, arrives, "ggx"),
        "+ reflected surroundings: everything": (everything, full, arrives, "ggx"),
    }

    def before() -> Tensor:
        """What a picture costs without any shading."""
        found = fragments(vertices, head.faces, camera)
        return sample_texture(maps[:, :3], interpolate(found, head.uv[head.uv_faces][None]))

    work: dict[str, Callable[[], object]] = {"before": before, "shadows": cast}
    for what, (light, surface, visible, model) in jobs.items():
        learnt = replace(
            surface,
            albedo=albedo.clone().requires_grad_(),
            roughness=surface.roughness.clone().requires_grad_(),
        )
        work[what] = functools.partial(shade, light, surface, visible, model)
        work[f"{what}, with gradients"] = functools.partial(_both_ways, light, learnt, visible, model)
    spent = _medians(work, repeats)
    base, before_ms = spent[next(iter(jobs))], spent["before"]
    rows = []
    for what in jobs:
        forward_ms = spent[what]
        whole = 100 * ((before_ms + forward_ms) / (before_ms + base) - 1)
        percent = 100 * (forward_ms / base - 1)
        rows.append(Row(what, forward_ms, spent[f"{what}, with gradients"], percent, whole))
    return rows, baked_s, spent["shadows"]


def _both_ways(light: Light, surface: Surface, visible: Tensor | None, model: str) -> None:
    shade(light, surface, visible, model).sum().backward()


def _medians(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each. Round by round, so that a busy machine slows all of them alike; the first round pays for
    allocations and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, job in work.items():
            start = time.perf_counter()
            job()
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in times.items()}
