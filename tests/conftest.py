"""What every test gets: runtime-checked shapes, fixed thread counts, hardware markers and the optional data."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

# Before anything imports torch or numpy. More threads than cores turn milliseconds into seconds, so the workers of
# pytest-xdist share the cores.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = max(1, len(os.sched_getaffinity(0)) // _WORKERS) if hasattr(os, "sched_getaffinity") else 1
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = str(_THREADS)
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no test leaves the machine

import jaxtyping  # noqa: E402

# Before anything imports core: every annotated function and dataclass there checks its shapes from here on.
jaxtyping.install_import_hook(["core", "editing"], "beartype.beartype")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(_THREADS)

# No deadline: tests never time. Derandomised: the same commit gives the same verdict.
hypothesis.settings.register_profile("likeness", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("likeness")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Photos and skins that are not part of the repository; the test is skipped where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the optional data folder ../shared/data is absent")
    return SHARED_DATA


@pytest.fixture(scope="module", autouse=True)
def _loops_of_others_end_here() -> Iterator[None]:
    """Gradio and playwright leave event loops to the garbage collector. Their warnings, which are errors here, would
    hit whichever test is running when it comes round, in any file after theirs."""
    yield
    if {"gradio", "gradio_client", "playwright"} & sys.modules.keys():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(autouse=True)
def _threads_stay_as_they_are() -> Iterator[None]:
    """The command line sets as many as there are cores, in this process too where a test calls it. Convolutions of
    other thread counts round differently."""
    yield
    torch.set_num_threads(_THREADS)
