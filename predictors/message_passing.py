"""Message passing behind one small interface, with two back-ends that agree: dgl and plain torch.

dgl is no longer kept by its authors, so nothing outside this module knows it, and everything works without it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import torch
from torch.nn.functional import embedding_bag

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
    """Plain torch, on any device."""

    def __init__(self, src: torch.Tensor, dst: torch.Tensor, atoms: int) -> None:
        self.edges = Edges(src, dst, atoms)

    def add_ends(self, of_source: torch.Tensor, of_target: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = AddEnds.apply(of_source, of_target, self.edges)  # type: ignore[no-untyped-call]
        return result

    def sum_messages(self, messages: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = SumMessages.apply(messages, self.edges)  # type: ignore[no-untyped-call]
        return result


class Edges:
    """src, dst: (e,) int64; atoms: n. Fastest where dst is sorted, as in a BatchedGraph."""

    def __init__(self, src: torch.Tensor, dst: torch.Tensor, atoms: int) -> None:
        self.src, self.dst, self.atoms = src, dst, atoms
        self.ends = torch.stack([src, dst + atoms], dim=1)
        centres, self.order = torch.sort(dst, stable=True)
        self.first = torch.searchsorted(centres, torch.arange(atoms, device=dst.device))

    def sums(self, messages: torch.Tensor) -> torch.Tensor:
        """(e, w) -> (n, w), by centre. embedding_bag is torch's only fused gather and sum: half of index_add's time."""
        return embedding_bag(self.order, messages, self.first, mode="sum")


class AddEnds(torch.autograd.Function):
    """Its own backward: that of embedding_bag sorts what is sorted already, and takes twice as long."""

    @staticmethod
    def forward(ctx: Any, of_source: torch.Tensor, of_target: torch.Tensor, edges: Edges) -> torch.Tensor:
        ctx.edges = edges
        return embedding_bag(edges.ends, torch.cat([of_source, of_target]), mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (gradient,), edges = gradients, ctx.edges
        to_source = gradient.new_zeros((edges.atoms, gradient.shape[1])).index_add_(0, edges.src, gradient)
        return to_source, edges.sums(gradient), None


class SumMessages(torch.autograd.Function):
    """The gradient of a sum is that of its atom, for each edge."""

    @staticmethod
    def forward(ctx: Any, messages: torch.Tensor, edges: Edges) -> torch.Tensor:
        ctx.edges = edges
        return edges.sums(messages)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0].index_select(0, ctx.edges.dst), None


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
