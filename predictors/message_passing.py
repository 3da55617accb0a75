"""Message passing behind one small interface, with two back-ends that agree: dgl and plain torch.

dgl is no longer kept by its authors, so nothing outside this module knows it, and everything works without it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import torch

from predictors.errors import BackendMissing

BACKENDS = ("torch", "dgl")


class MessagePassing(Protocol):
    """The two things a model does with edges. An edge runs from `src` (neighbour) to `dst` (centre)."""

    def add_ends(self, of_source: torch.Tensor, of_target: torch.Tensor) -> torch.Tensor:
        """(n, w), (n, w) -> (e, w): for each edge the value of its source plus that of its target."""
        ...

    def sum_messages(self, messages: torch.Tensor) -> torch.Tensor:
        """(e, w) -> (n, w): for each atom the sum over its incoming edges; 0 for an isolated one."""
        ...


class TorchMessagePassing:
    """Plain torch: index_select and index_add, on any device."""

    def __init__(self, src: torch.Tensor, dst: torch.Tensor, atoms: int) -> None:
        self.src, self.dst, self.atoms = src, dst, atoms

    def add_ends(self, of_source: torch.Tensor, of_target: torch.Tensor) -> torch.Tensor:
        return of_source.index_select(0, self.src).add_(of_target.index_select(0, self.dst))

    def sum_messages(self, messages: torch.Tensor) -> torch.Tensor:
        return messages.new_zeros((self.atoms, messages.shape[1])).index_add(0, self.dst, messages)


class DglMessagePassing:
    """dgl 1.1: apply_edges and update_all, on the CPU."""

    def __init__(self, src: torch.Tensor, dst: torch.Tensor, atoms: int) -> None:
        dgl = _import_dgl()
        self.graph: Any = dgl.graph((src, dst), num_nodes=atoms)
        self.function: Any = dgl.function

    def add_ends(self, of_source: torch.Tensor, of_target: torch.Tensor) -> torch.Tensor:
        with self.graph.local_scope():
            self.graph.srcdata["source"], self.graph.dstdata["target"] = of_source, of_target
            self.graph.apply_edges(self.function.u_add_v("source", "target", "sum"))
            result: torch.Tensor = self.graph.edata["sum"]
        return result

    def sum_messages(self, messages: torch.Tensor) -> torch.Tensor:
        with self.graph.local_scope():
            self.graph.edata["message"] = messages
            self.graph.update_all(self.function.copy_e("message", "m"), self.function.sum("m", "total"))
            result: torch.Tensor = self.graph.dstdata["total"]
        return result


def message_passing(backend: str, src: torch.Tensor, dst: torch.Tensor, atoms: int) -> MessagePassing:
    """The back-end called `backend` over edges src -> dst, (e,) int64. Raise BackendMissing.

    "torch" works everywhere; "dgl" on CPUs, where it imports.
    """
    if backend == "torch":
        return TorchMessagePassing(src, dst, atoms)
    if backend == "dgl":
        return DglMessagePassing(src, dst, atoms)
    raise BackendMissing(f"no message-passing back-end is called {backend!r}: choose one of {', '.join(BACKENDS)}")


@cache
def available_backends() -> tuple[str, ...]:
    """The back-ends that work on this machine."""
    try:
        _import_dgl()
    except BackendMissing:
        return ("torch",)
    return BACKENDS


def _import_dgl() -> Any:
    try:
        import dgl
        import dgl.function
    except (ImportError, OSError) as error:  # OSError: a library built for another torch
        raise BackendMissing("dgl doesn't import here: use the back-end 'torch', which gives equal results") from error
    return dgl
