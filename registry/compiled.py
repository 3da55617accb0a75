"""How kernels are compiled with numba: one way for every room."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def entry_point(kernel: Kernel) -> Kernel:
    """Compiled at the first call and cached in NUMBA_CACHE_DIR, beside the source, or in the user's cache.

    What is cached is of use while no source changes that holds a kernel which this one may call, nor a number there
    that is imported from elsewhere. Types of kernels belong into files that hold kernels.
    Where no cache can be written, numba refuses to decorate; then every process compiles for itself.
    """
    njit: Any = numba.njit
    try:
        compiled = njit(cache=True, nogil=True, error_model="numpy")(kernel)
        _index(compiled)._source_stamp = _sources_hash(kernel)
    except (RuntimeError, AttributeError):  # AttributeError: a numba with another inside
        compiled = njit(nogil=True, error_model="numpy")(kernel)
    typed: Kernel = compiled
    return typed


def inner(kernel: Kernel) -> Kernel:
    """A kernel that only kernels call, compiled into them.

    Without wrappers for Python, which are most of the compiler's time; and without calls, which would hand over each
    array of a tuple by itself.
    """
    njit: Any = numba.njit  # its annotations don't know the last three options
    compiled: Kernel = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)(
        kernel
    )
    return compiled


def is_cached(compiled: Callable[..., Any]) -> bool:
    """Whether an entry point lies compiled in its cache, as its sources are now. Compiles nothing."""
    try:
        return bool(_index(compiled)._load_index())
    except AttributeError:
        return False


def _index(compiled: Any) -> Any:
    """What numba keeps of one function's cache; by itself it looks at the function's own file alone."""
    return compiled._cache._cache_file


def _sources_hash(kernel: Callable[..., Any]) -> str:
    """Of the file of a kernel and those of all kernels that it or another one there may call, of their numbers, and of
    the compiler's options here.
    """
    found: dict[str, dict[str, Any]] = {}
    _gather(kernel, found)
    parts = [
        Path(file).read_bytes() + repr(sorted(_numbers(names).items())).encode()
        for file, names in sorted(found.items())
    ]
    return hashlib.sha256(Path(__file__).read_bytes() + b"".join(parts)).hexdigest()


def _gather(kernel: Any, found: dict[str, dict[str, Any]]) -> None:
    if kernel.__code__.co_filename not in found:
        names = found[kernel.__code__.co_filename] = kernel.__globals__
        for value in list(names.values()):
            if hasattr(value, "py_func"):
                _gather(value.py_func, found)


def _numbers(names: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in names.items() if isinstance(value, int | float)}
