"""Seconds per stage, memory and file size of one reconstruction, in a process of its own.

Cold is the first photo after the start, with models still to be read; warm is the median of the photos after it. The
photo is scikit-image's public-domain portrait of the astronaut Eileen Collins. `measure` starts the process;
``python -m benchmarks.reconstruction RUNS`` is the process and prints its result as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from core.errors import LikenessError


@dataclass(frozen=True)
class Reconstruction:
    """Seconds by stage. import_s: until the program's modules are there. glb_s, glb_bytes: of the export with 52
    morphs. peak_mb: the most memory (resident set) the process ever held; rest_mb: what it held before any photo."""

    import_s: float
    cold_s: dict[str, float]
    warm_s: dict[str, float]
    cold_total_s: float
    warm_total_s: float
    runs: int
    glb_s: float
    glb_bytes: int
    rest_mb: float
    peak_mb: float


def measure(runs: int = 5) -> Reconstruction:
    """Measure in a fresh process. Raises LikenessError with its last words where it fails."""
    command = [sys.executable, "-m", "benchmarks.reconstruction", str(runs)]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LikenessError(f"The reconstruction that was to be measured failed. It said: {last}")
    return Reconstruction(**json.loads(process.stdout.strip().splitlines()[-1]))


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere


def main(runs: int) -> Reconstruction:
    """Reconstruct ``1 + runs`` times in this process."""
    start = time.perf_counter()
    import skimage.data

    from core.evaluation import medians
    from core.gltf import glb_bytes
    from core.head import load_head
    from core.pipeline import reconstruct

    import_s = time.perf_counter() - start
    photo = skimage.data.astronaut()
    rest_mb = _peak_mb()
    totals, stages = [], []
    for _ in range(1 + runs):
        start = time.perf_counter()
        avatar = reconstruct(photo, name="astronaut")
        totals.append(time.perf_counter() - start)
        stages.append(dict(avatar.provenance.seconds))
    start = time.perf_counter()
    glb = glb_bytes(load_head(), avatar)
    glb_s = time.perf_counter() - start
    return Reconstruction(
        import_s,
        stages[0],
        medians(stages[1:]),
        totals[0],
        medians([{"total": total} for total in totals[1:]])["total"],
        runs,
        glb_s,
        len(glb),
        rest_mb,
        _peak_mb(),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(main(int(sys.argv[1])))))
