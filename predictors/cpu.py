"""Settings of the processor that make training and prediction several times faster."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEEP_BYTES = 1 << 30


def tune_cpu(threads: int | None = None) -> None:
    """Call once per process before training or predicting.

    Gaussian edge features make denormal floats, which slow matrix products fivefold until they are flushed to zero.
    glibc gives every large tensor back to the kernel at once, and takes it again: 1.45 times slower than keeping it.
    With `threads`, torch uses that many: two processes of two threads on two cores spin against each other.
    """
    import torch

    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        _keep_memory()


def _keep_memory() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
