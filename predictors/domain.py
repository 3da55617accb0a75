"""Where a model has learnt: its training set in the first member's latent space, as a few thousand landmarks.

A crystal is outside if it lies farther from every landmark than almost all held-out crystals do, or holds an element
that hardly any training crystal held (those of elements that none held are refused before).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from predictors.calibration import SMALLEST_ERROR, Floats
from predictors.graph import HEAVIEST

LANDMARKS = 4000
AXES = 16
HELD_OUT_INSIDE = 0.98  # share of the held-out crystals that lie within the threshold
FEW = 10  # training crystals that hold an element
MEAN_WEIGHT = 3.0  # crystals: errors near a landmark of few are taken to be more like those everywhere
AT_ONCE = 512
ITERATIONS = 8
ROUNDING = 1e-5  # a crystal's latent vector depends on its batch by so much


@dataclass(frozen=True, eq=False)
class Domain:
    """centre: (w,); axes: (w, k) principal axes, each divided by the square root of its standard deviation
    landmarks: (l, k) centres of clusters of training crystals; errors: (l,) mean ln of their errors, ln(eV/atom)
    threshold: the largest distance inside; crystals: (119,) how many training crystals held each element
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float32]
    landmarks: NDArray[np.float16]
    errors: NDArray[np.float16]
    crystals: NDArray[np.int32]
    threshold: float

    def __post_init__(self) -> None:
        """Raise ValueError for what no fit gives."""
        width, axes = self.axes.shape  # a ValueError too, unless it has two dimensions
        shapes = (self.centre.shape, self.landmarks.shape, self.crystals.shape)
        if shapes != ((width,), (len(self.errors), axes), (HEAVIEST + 1,)) or not len(self.errors):
            raise ValueError("its parts are of the wrong size")
        numbers = (self.centre, self.axes, self.landmarks, self.errors, np.array(self.threshold))
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
        landmarks = _landmarks((latent - centre) @ axes)
        near = cls(centre, axes, landmarks, np.zeros(len(landmarks), np.float16), crystals.astype(np.int32), 0.0)
        owner, _ = near.nearest(latent)
        counted = np.bincount(owner, minlength=len(landmarks))
        mean = (np.bincount(owner, sizes, len(landmarks)) + MEAN_WEIGHT * sizes.mean()) / (counted + MEAN_WEIGHT)
        threshold = float(np.quantile(near.nearest(held_out)[1], HELD_OUT_INSIDE)) * (1 + ROUNDING)
        return cls(centre, axes, landmarks, mean.astype(np.float16), near.crystals, threshold)

    def nearest(self, latent: Floats) -> tuple[NDArray[np.intp], Floats]:
        """(n, w) latent vectors -> (n,) nearest landmark, (n,) distance to it."""
        from scipy.spatial.distance import cdist

        landmarks = self.landmarks.astype(np.float64)
        indices, distances = np.zeros(len(latent), dtype=np.intp), np.zeros(len(latent))
        for start in range(0, len(latent), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found = cdist((latent[part] - self.centre) @ self.axes.astype(np.float64), landmarks)
            indices[part] = np.argmin(found, axis=1)
            distances[part] = np.take_along_axis(found, indices[part, None], axis=1)[:, 0]
        return indices, distances

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
    centre = latent.mean(axis=0)
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(latent.T, bias=True)))
    variance, axes = np.maximum(variance[::-1][:AXES], 0), axes[:, ::-1][:, :AXES]
    shrunk = np.maximum(variance, 1e-6 * max(variance[0], 1e-12)) ** -0.25 / max(variance[0], 1e-12) ** 0.25
    return centre.astype(np.float32), (axes * shrunk).astype(np.float32)


def _landmarks(points: Floats) -> NDArray[np.float16]:
    """Centres of clusters; the points themselves where they are few."""
    from scipy.cluster.vq import kmeans2

    if len(points) <= LANDMARKS:
        return points.astype(np.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster keeps the point that it began with
        centres, _ = kmeans2(points, LANDMARKS, iter=ITERATIONS, minit="points", rng=np.random.default_rng(0))
    return np.asarray(centres, dtype=np.float16)
