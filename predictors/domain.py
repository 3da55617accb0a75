"""Where a model has learnt: the crystals of its training set in the first member's latent space.

A crystal is outside if it lies farther from all of them than almost all held-out crystals do, or holds an element that
hardly any of them held (those of elements that none held are refused before). The model's errors on a crystal's
neighbours in the training set tell where errors are large: best those of members that left these out of their training
(`TrainConfig.folds`); those on what was learnt are smaller, and tell less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from predictors.calibration import SMALLEST_ERROR, Floats
from predictors.graph import HEAVIEST

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

AXES = 12
NEIGHBORS = 20  # training crystals whose errors are asked for
HELD_OUT_INSIDE = 0.98  # share of the held-out crystals that lie within the threshold
FEW = 10  # training crystals that hold an element
NEAREST = 0.02  # of the threshold: nearer neighbours count no more than one at this distance
ROUNDING = 1e-5  # a crystal's latent vector depends on its batch by so much
LARGEST = 127  # of an int8
AWAY_FROM_0 = 256.0
"""Where denormal floats are flushed (`predictors.cpu.tune_cpu`), the number that follows 0 is 0; scipy's tree, which
parts points just above a coordinate, calls itself then until the stack overflows."""


@dataclass(frozen=True, eq=False)
class Domain:
    """centre: (w,); axes: (w, k) principal axes, scaled so that training crystals have coordinates of an int8
    points: (n, k) training crystals; errors: (n,) ln of the size of the model's errors on them, ln(eV/atom)
    crystals: (119,) how many training crystals held each element; threshold: the largest distance inside
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float32]
    points: NDArray[np.int8]
    errors: NDArray[np.float16]
    crystals: NDArray[np.int32]
    threshold: float

    def __post_init__(self) -> None:
        """Raise ValueError for what no fit gives."""
        width, axes = self.axes.shape  # a ValueError too, unless it has two dimensions
        shapes = (self.centre.shape, self.points.shape, self.crystals.shape)
        if shapes != ((width,), (len(self.errors), axes), (HEAVIEST + 1,)) or not len(self.errors):
            raise ValueError("its parts are of the wrong size")
        numbers = (self.centre, self.axes, self.points, self.errors, np.array(self.threshold))
        if not all(np.isfinite(part).all() for part in numbers) or self.threshold < 0 or (self.crystals < 0).any():
            raise ValueError("its numbers aren't finite or negative")

    @classmethod
    def fit(cls, latent: Floats, errors: Floats, crystals: NDArray[np.integer], held_out: Floats) -> Self:
        """(n, w) latent vectors and (n,) errors of training crystals, eV/atom; (h, w) of held-out ones, h at least 1.

        crystals: (119,) how many training crystals hold each element. The order of the crystals doesn't matter.
        """
        order = np.lexsort((errors, *latent.T))
        latent, sizes = latent[order], np.log(np.abs(errors[order]) + SMALLEST_ERROR)
        centre, axes = _principal_axes(latent)
        points = np.rint((latent - centre) @ axes).astype(np.int8)
        parts = (centre, axes, points, sizes.astype(np.float16), crystals.astype(np.int32))
        distance, _ = cls(*parts, threshold=0.0).look(held_out)
        rounded = np.sqrt(points.shape[1]) / 2  # so far may a training crystal lie from its own point
        threshold = max(float(np.quantile(distance, HELD_OUT_INSIDE)), rounded) * (1 + ROUNDING)
        return cls(*parts, threshold=threshold)

    def look(self, latent: Floats) -> tuple[Floats, Floats]:
        """(n, w) latent vectors -> (n,) distance to the nearest training crystal, (n,) ln(eV/atom) of the errors on
        the NEIGHBORS nearest, the nearer the more."""
        neighbors = min(NEIGHBORS, len(self.points))
        places = (latent - self.centre) @ self.axes.astype(np.float64) + AWAY_FROM_0
        distances, indices = self._tree.query(places, neighbors)
        distances, indices = distances.reshape(-1, neighbors), indices.reshape(-1, neighbors)
        weights = (distances + max(NEAREST * self.threshold, 1e-9)) ** -2
        return distances[:, 0], (weights * self.errors[indices]).sum(axis=1) / weights.sum(axis=1)

    @cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self.points.astype(np.float64) + AWAY_FROM_0)

    def reason(self, distance: float, elements: NDArray[np.integer]) -> str | None:
        """Why a crystal of these atomic numbers at this distance is outside; None: it isn't."""
        from ase.data import chemical_symbols

        if distance > self.threshold:
            ratio = distance / max(self.threshold, 1e-9)
            return f"out of domain: {ratio:.2f} times the distance to the training set that is trusted"
        few = [int(number) for number in elements if self.crystals[number] < FEW]
        if few:
            names = ", ".join(chemical_symbols[number] for number in few)
            return f"out of domain: fewer than {FEW} training crystals hold {names}"
        return None


def _principal_axes(latent: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre and at most AXES axes. Half whitened: full whitening counts noise as much as chemistry."""
    centre = latent.mean(axis=0).astype(np.float32)
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(latent.T, bias=True)))
    variance, axes = variance[::-1][:AXES], axes[:, ::-1][:, :AXES]
    axes = axes * np.maximum(variance, 1e-6 * max(variance[0], 1e-12)) ** -0.25
    largest = np.abs((latent - centre) @ axes).max()
    return centre, (axes * (LARGEST / max(float(largest), 1e-9))).astype(np.float32)
