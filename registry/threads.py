"""One thread a process, one process a core: two processes of two threads each spin against each other in OpenMP."""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def one_thread_each() -> None:
    """Set before numpy or torch is imported; what the user has set stays."""
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
