"""Visibility and shading times of the bundled head, against PyTorch3D where it is installed.

Run `python -m benchmarks.rasteriser`, or call `measure`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.camera import look_at_head
from core.errors import FileError
from core.head import load_head
from core.raster import fragments, project, rasterize
from core.render import render
from core.shading import studio_light

THREADS = 2
TARGETS_MS = {"visibility": 25.0, "textured forward + backward": 100.0}  # at 512 px on 2 threads


@dataclass(frozen=True)
class Row:
    """One measurement. milliseconds: median of the runs, best: the fastest; target: None where there is none."""

    what: str
    size_px: int
    faces: int
    milliseconds: float
    best: float
    target: float | None


def measure(sizes_px: tuple[int, ...] = (224, 512, 1024), repeats: int = 9) -> list[Row]:
    """Times on `THREADS` threads, a head that fills about a third of the picture, 1024 px texture."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return [row for size in sizes_px for row in _measure_size(size, repeats)]
    finally:
        torch.set_num_threads(threads)


def _measure_size(size: int, repeats: int) -> list[Row]:
    vertices, faces, uv, uv_faces = _subject()
    target = vertices[0].amin(0) / 2 + vertices[0].amax(0) / 2
    camera = look_at_head(torch.tensor([0.3]), torch.tensor([0.0]), 0.6, target, 1.75 * size, size, size)
    light = studio_light()
    points_px = project(vertices, camera)
    leaf = vertices.clone().requires_grad_()
    texture = torch.rand(1, 3, 1024, 1024, requires_grad=True)

    def forward_backward() -> None:
        render(leaf, faces, camera, light, uv, uv_faces, [texture]).color_linear.sum().backward()

    jobs: dict[str, Callable[[], object]] = {
        "visibility": lambda: rasterize(points_px, faces, size, size),
        "visibility, back faces culled": lambda: rasterize(points_px, faces, size, size, cull_backfaces=True),
        "fragments": lambda: fragments(vertices, faces, camera),
        "textured forward + backward": forward_backward,
    }
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes  # noqa: F401
    except ImportError:
        pass
    else:
        from core import render_pytorch3d

        jobs["visibility, PyTorch3D"] = lambda: render_pytorch3d.rasterize(points_px, faces, size, size)
    rows = []
    for what, job in jobs.items():
        job()  # the first run pays for allocations
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            job()
            times.append(1e3 * (time.perf_counter() - start))
        limit = TARGETS_MS.get(what) if size == 512 else None
        rows.append(Row(what, size, len(faces), statistics.median(times), min(times), limit))
    return rows


def _subject() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vertices, faces, uv and uv_faces of the bundled head, or of a ball of about as many faces where it is absent."""
    try:
        head = load_head()
    except FileError:
        n = 72
        theta, phi = torch.meshgrid(
            torch.linspace(0, torch.pi, n + 1), torch.linspace(0, 2 * torch.pi, n + 1), indexing="ij"
        )
        ball = torch.stack([theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()], dim=-1).reshape(1, -1, 3)
        uv = torch.stack([phi / (2 * torch.pi), 1 - theta / torch.pi], dim=-1).reshape(-1, 2)
        corner = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).flatten()
        lower = torch.stack([corner, corner + n + 1, corner + 1], dim=1)
        upper = torch.stack([corner + 1, corner + n + 1, corner + n + 2], dim=1)
        faces = torch.cat([lower, upper])
        return 0.11 * ball, faces, uv, faces
    return head.vertices(head.neutral()), head.faces, head.uv, head.uv_faces


if __name__ == "__main__":
    print(f"{'what':32} {'px':>5} {'faces':>6} {'median':>8} {'best':>8} {'target':>8}   (ms, {THREADS} threads)")
    for row in measure():
        limit = "" if row.target is None else f"{row.target:.0f}"
        print(f"{row.what:32} {row.size_px:5} {row.faces:6} {row.milliseconds:8.1f} {row.best:8.1f} {limit:>8}")
