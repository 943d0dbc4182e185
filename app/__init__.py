"""What people touch: the page, the API (`api`) and the command line (`cli`).

`ui` arranges, `handlers` act, `work` decides whose turn it is, `making` makes heads, `sessions` and `files` keep a
visitor's things in memory and apart from everyone else's, `gate` stands between the network and Gradio, and
`protocol` states the messages that the page and the three.js viewer exchange.
"""

from __future__ import annotations

import os

# Read once, by the OpenMP and BLAS libraries of torch, numpy and MediaPipe when they load: hence here, before any of
# them. Reconstructions run in threads of their own, each with its own OpenMP team. A team as large as the cores that
# this process may use is enough, and it has to sleep while it waits: teams that spin take the cores from each other.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ.setdefault("OMP_NUM_THREADS", str(_CORES))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
