"""Everything that is promised in numbers, measured by one command.

``python -m benchmarks`` takes some minutes; ``--quick`` takes fewer heads and runs, which is enough to see whether
something broke but not to compare methods. ``--json FILE`` writes all numbers. Measurements that cannot be made here
are left out with a sentence; the exit code is 1 where one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import completion, generation, rasteriser, reconstruction, reflectance, shading, training, viewer
from core.errors import LikenessError
from core.evaluation import (
    Estimator,
    GeometryRow,
    PhotoReport,
    evaluate_geometry,
    evaluate_photos,
    landmark_estimator,
    photo_estimator,
    several_photos_estimator,
)
from core.fitting import LandmarkFitSettings
from core.head import load_head
from core.pipeline import reconstruct

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
GLB_LIMIT_MB = 3.0
RATIO_AIM = 0.6  # error over the mean head's
# Focal lengths over the photo's longer side: phone, normal, portrait, tele or a close crop.
DEFAULT_FOCALS = (0.75, 1.2, 1.5, 2.0, 3.0)

console = Console(width=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer heads, photos and runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--only", choices=list(SECTIONS), nargs="+", default=list(SECTIONS), help="these sections")
    options = parser.parse_args(arguments)

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick}
    console.print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    failed = False
    for name in options.only:
        console.rule(name)
        try:
            results[name] = SECTIONS[name](options.quick)
        except LikenessError as error:
            failed = True
            results[name] = {"error": str(error)}
            console.print(f"[red]Not measured:[/red] {error}")
        if options.json is not None:  # after each section: what was measured survives a later crash
            options.json.write_text(json.dumps(results, indent=1))
    if options.json is not None:
        console.print(f"All numbers are in {options.json}.")
    return int(failed)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "system": platform.platform(terse=True),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


# ------------------------------------------------------------------------------------------------- sections


def speed(quick: bool) -> dict[str, Any]:
    """Seconds per stage, memory, file size."""
    with console.status("reconstructing a portrait in a process of its own"):
        result = reconstruction.measure(runs=2 if quick else 5)
    table = Table("stage", "cold, s", f"warm, s (median of {result.runs})")
    for stage in dict.fromkeys([*result.cold_s, *result.warm_s]):
        table.add_row(stage, _number(result.cold_s.get(stage)), _number(result.warm_s.get(stage)))
    table.add_row("all", _number(result.cold_total_s), _number(result.warm_total_s), style="bold")
    console.print(table)
    console.print(f"Starting Python modules: {result.import_s:.1f} s. GLB export: {result.glb_s:.2f} s.")
    console.print(f"Memory: {result.rest_mb:.0f} MB before the first photo, {result.peak_mb:.0f} MB at its peak.")
    size = result.glb_bytes / 1e6
    console.print(f"GLB with 52 morphs, rig and maps: {size:.2f} MB (limit {GLB_LIMIT_MB:.0f} MB).")
    return asdict(result)


def rasterisers(quick: bool) -> list[dict[str, Any]]:
    """Visibility and shading times."""
    with console.status("rasterising"):
        rows = rasteriser.measure((512,) if quick else (224, 512, 1024), repeats=5 if quick else 9)
    table = Table("what", "px", "faces", "median, ms", "best, ms", "target, ms")
    for row in rows:
        cells = [_number(row.milliseconds, 1), _number(row.best, 1), _number(row.target, 0)]
        table.add_row(row.what, str(row.size_px), str(row.faces), *cells)
    console.print(table)
    if not any("PyTorch3D" in row.what for row in rows):
        console.print("PyTorch3D is not installed here, so there is nothing to compare with.")
    return [asdict(row) for row in rows]


def fidelity(quick: bool) -> list[dict[str, Any]]:
    """Geometry against the truth of synthetic heads."""
    head = load_head()
    estimators: dict[str, Estimator] = {
        "landmarks only": landmark_estimator(head),
        "landmarks only, focal length known": landmark_estimator(head, know_focal=True),
        "full fit": photo_estimator(head),
        "full fit, focal length known": photo_estimator(head, know_focal=True),
    }
    rows = _geometry(estimators, 6 if quick else 40)
    console.print(
        f"Scan to mesh over the face region, neutral against neutral, rigid alignment without scale. "
        f"Ratios are over the mean head's error; the aim is {RATIO_AIM} at most."
    )
    return [asdict(row) for row in rows]


def sides(quick: bool) -> list[dict[str, Any]]:
    """What photos from the side add to the shape."""
    head = load_head()
    estimators: dict[str, Estimator] = {
        "front photo alone": photo_estimator(head),
        "front and one side": several_photos_estimator(head, (40,)),
        "front and both sides": several_photos_estimator(head, (40, -40)),
    }
    rows = _geometry(estimators, 4 if quick else 20, by_yaw=False, yaw_range_deg=(-5.0, 5.0))
    console.print("The first photo within 5 degrees of straight, the others turned by 40.")
    return [asdict(row) for row in rows]


def focal(quick: bool) -> list[dict[str, Any]]:
    """How much the focal length that is assumed for photos without one matters."""
    head = load_head()
    estimators: dict[str, Estimator] = {
        f"default focal length {value:g}": landmark_estimator(head, LandmarkFitSettings(default_focal=value))
        for value in DEFAULT_FOCALS
    }
    estimators["focal length known"] = landmark_estimator(head, know_focal=True)
    rows = _geometry(estimators, 6 if quick else 30, by_yaw=False)
    console.print(
        f"The program's default is {LandmarkFitSettings().default_focal:g} times the longer side, "
        "where a photo does not say; the fit may leave it."
    )
    return [asdict(row) for row in rows]


def photos(quick: bool) -> dict[str, Any] | None:
    """Real photos: success rate and residuals."""
    if not PHOTOS.is_dir():
        console.print("Skipped: there is no folder ../shared/data/photos beside the repository.")
        return None
    with console.status("reconstructing photos") as status:
        report = evaluate_photos(
            PHOTOS, reconstruct, 6 if quick else None, lambda i, n: status.update(f"photo {i} of {n}")
        )
    _print_photos(report)
    return asdict(report)


def frames(quick: bool) -> list[dict[str, Any]]:
    """From a slider's message to the drawn frame, in a browser."""
    with console.status("moving sliders in headless Chromium"):
        rows = viewer.measure(runs=1 if quick else 3, changes=60)
    table = Table("window", "CSS px", "pixel ratio", "median, ms", "95th percentile, ms", "changes x runs")
    for row in rows:
        size = f"{row.width} x {row.height}"
        times = [_number(row.median_ms, 1), _number(row.p95_ms, 1)]
        table.add_row(row.window, size, f"{row.pixel_ratio:g}", *times, f"{row.changes} x {row.runs}")
    console.print(table)
    console.print(f"Drawn by: {rows[0].renderer}.", markup=False)
    if "SwiftShader" in rows[0].renderer or "llvmpipe" in rows[0].renderer:
        console.print("That is the processor: with any graphics card, a phone's included, frames take far less.")
    return [asdict(row) for row in rows]


SECTIONS: dict[str, Callable[[bool], Any]] = {
    "speed": speed,
    "rasterisers": rasterisers,
    "shading": shading.section,
    "frames": frames,
    "fidelity": fidelity,
    "sides": sides,
    "focal": focal,
    "photos": photos,
    "generation": generation.section,
    "training": training.section,
    "completion": completion.section,
    "reflectance": reflectance.section,
}


# ------------------------------------------------------------------------------------------------- printing


def _geometry(
    estimators: dict[str, Estimator],
    count: int,
    by_yaw: bool = True,
    yaw_range_deg: tuple[float, float] = (-45.0, 45.0),
) -> tuple[GeometryRow, ...]:
    with console.status("rendering and fitting heads") as status:
        rows = evaluate_geometry(
            load_head(),
            estimators,
            count,
            progress=lambda i, n: status.update(f"synthetic head {i} of {n}"),
            yaw_range_deg=yaw_range_deg,
        )
    table = Table(
        "estimator", "yaw, deg", "heads", "failed", "median, mm", "mean", "std", "ratio of medians", "of means",
        "s per head",
    )  # fmt: skip
    for row in rows:
        if row.yaw_deg is not None and not by_yaw:
            continue
        yaw = "all" if row.yaw_deg is None else f"{row.yaw_deg[0]:.0f}-{row.yaw_deg[1]:.0f}"
        error = (None,) * 3 if row.error is None else (row.error.median_mm, row.error.mean_mm, row.error.std_mm)
        table.add_row(
            row.estimator if row.yaw_deg is None else "",
            yaw,
            str(row.heads),
            str(row.failures),
            *(_number(value) for value in (*error, row.ratio_median, row.ratio_mean)),
            _number(row.seconds) if row.yaw_deg is None else "",
            style="bold" if row.yaw_deg is None else None,
        )
    console.print(table)
    return rows


def _print_photos(report: PhotoReport) -> None:
    done = sum(row.error is None for row in report.rows)
    console.print(f"{done} of {len(report.rows)} photos became heads ({report.success_rate:.0%}).")
    table = Table("median over those", "value")
    for name, value in report.residuals.items():
        table.add_row(name, _number(value, 4))
    for name, value in report.seconds.items():
        table.add_row(f"seconds: {name}", _number(value))
    console.print(table)
    for row in report.rows:
        if row.error is not None:
            console.print(f"Refused: {row.name}: {row.error}", markup=False)


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
