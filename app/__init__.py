"""What people touch: the page, the API (`api`) and the command line (`cli`).

`ui` arranges, `handlers` act, `work` decides whose turn it is, `making` makes heads, `sessions` and `files` keep a
visitor's things in memory and apart from everyone else's, `gate` stands between the network and Gradio, and
`protocol` states the messages that the page and the three.js viewer exchange.
"""

from __future__ import annotations

import os

import core  # noqa: F401  # first of all: it sets how OpenMP's threads wait, which torch reads when it loads

# Read once, by the OpenMP and BLAS libraries of torch, numpy and MediaPipe when they load: hence here, before any of
# them. Reconstructions run in threads of their own, each with its own OpenMP team, and a team as large as the cores
# that this process may use is enough.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ.setdefault("OMP_NUM_THREADS", str(_CORES))
