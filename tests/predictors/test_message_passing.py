from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from predictors.augmentation import PlainCrystal
from predictors.batch import BatchedGraph, batch_graphs
from predictors.errors import BackendMissing
from predictors.graph import build_graph
from predictors.message_passing import available_backends, message_passing
from predictors.published_model import PublishedConfig
from predictors.structure_model import StructureConfig

needs_dgl = pytest.mark.skipif("dgl" not in available_backends(), reason="dgl isn't installed")


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch() -> BatchedGraph:
    rng = np.random.default_rng(0)
    crystals = [
        PlainCrystal(np.eye(3) * 4.5, rng.integers(1, 90, n).astype(np.int16), rng.random((n, 3))) for n in (1, 3, 5)
    ]
    crystals.append(PlainCrystal(np.eye(3) * 40, np.array([2], dtype=np.int16), np.zeros((1, 3))))
    return batch_graphs([build_graph(c, 5.0, 24) for c in crystals])


@needs_dgl
def test_the_back_ends_agree_on_sums_and_gradients() -> None:
    graph = batch()
    results = []
    for name in ("torch", "dgl"):
        torch.manual_seed(0)
        passing = message_passing(name, graph.src, graph.dst, len(graph.numbers))
        one, other = (torch.randn(len(graph.numbers), 6, requires_grad=True) for _ in range(2))
        total = passing.sum_messages(torch.tanh(passing.add_ends(one, other)))
        total.square().sum().backward()  # type: ignore[no-untyped-call]
        assert one.grad is not None
        assert other.grad is not None
        results.append((total.detach(), one.grad, other.grad))
    for torchs, dgls in zip(*results, strict=True):
        torch.testing.assert_close(torchs, dgls, atol=1e-5, rtol=1e-5)


@needs_dgl
@pytest.mark.parametrize("config", [StructureConfig(width=16), PublishedConfig(width=16)])
def test_a_model_gives_the_same_on_both(double: None, config: StructureConfig | PublishedConfig) -> None:
    graph = batch()
    energies, gradients = [], []
    for name in ("torch", "dgl"):
        torch.manual_seed(0)
        model = config.build(backend=name)
        energy = model(graph)
        energy.square().sum().backward()
        energies.append(energy.detach())
        gradients.append(torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None]))
    assert float((energies[0] - energies[1]).abs().max()) < 1e-6
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-6


@pytest.mark.parametrize("name", available_backends())
def test_an_isolated_atom_receives_nothing(name: str) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    passing = message_passing(name, none, none, 2)
    assert passing.sum_messages(passing.add_ends(torch.ones(2, 3), torch.ones(2, 3))).tolist() == [[0.0] * 3] * 2


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(BackendMissing, match="choose one of torch, dgl"):
        message_passing("jax", torch.zeros(0), torch.zeros(0), 1)
