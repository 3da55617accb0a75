"""How kernels are compiled with numba: one way for every room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def entry_point(kernel: Kernel) -> Kernel:
    """Compiled at the first call and cached in NUMBA_CACHE_DIR, beside the source, or in the user's cache.

    Where none of the three can be written, numba refuses to decorate; then every process compiles for itself.
    """
    njit: Any = numba.njit
    try:
        compiled: Kernel = njit(cache=True, nogil=True, error_model="numpy")(kernel)
    except RuntimeError:
        compiled = njit(nogil=True, error_model="numpy")(kernel)
    return compiled


def inner(kernel: Kernel) -> Kernel:
    """A kernel that only kernels call: compiled without wrappers for Python, which is most of the compiler's time."""
    njit: Any = numba.njit  # its annotations don't know the last two options
    compiled: Kernel = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(kernel)
    return compiled
