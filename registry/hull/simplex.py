"""Revised simplex over small compositions, compiled: one linear program per composition.

    minimise    sum_j x_j e_j        e_j: energy per atom of competing phase j
    subject to  sum_j x_j a_j = b    a_j, b: atomic fractions over the elements of b's chemical system
                x >= 0               x_j: share of b's atoms that goes into phase j

The pure elements are the first basis, so that no first phase is needed. The duals are the chemical potentials. Chemical
systems are solved from small to large: a phase that is not stable in its own system can't be part of a hull above it.

Of several optimal bases one is meant, whichever way led there. Amounts are b + delta v, with delta -> 0 and fixed
weights v of the elements, so that a mixture of few phases has one facet too. Where others cost nearly as much, the
columns near the optimum alone are solved again from the elements, and the basis where that ends is meant: columns
further off, which may have led another way, have no say in it. So a program's result depends on the phases that compete
and on nothing else, and one that a new phase can't enter needn't be solved again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from registry.compiled import inner
from registry.hull.phases import Flags, Floats, Ints

PRICE_TOLERANCE = 1e-12
PIVOT_TOLERANCE = 1e-10
SHARE_TOLERANCE = 1e-12
TIE = 1e-13
DANTZIG_STEPS = 200
STEP_LIMIT = 20_000

NEAR = 3.7e-10
"""eV/atom: columns priced no higher than this at the optimum are near it. Well above PRICE_TOLERANCE, within which ways
may end apart; below `living.REACH`, within which a phase that comes has programs solved again. No round number, so that
differences of round energies don't lie on it."""


class Simplex(NamedTuple):
    """One program's state: k elements, m phases.

    columns: (k, m); energies, weights, prices: (m,); allowed: (m,) to enter; basis: (k,) columns in the basis
    inverse: (k, k) of the basis; work: (k, k)
    tilt: (k,) the elements' weights; shares, tilted: (k,) of the amounts and of the tilt; potentials, direction: (k,)
    """

    columns: Floats
    energies: Floats
    weights: Floats
    prices: Floats
    allowed: Flags
    basis: Ints
    inverse: Floats
    work: Floats
    tilt: Floats
    shares: Floats
    tilted: Floats
    potentials: Floats
    direction: Floats


@inner
def start(lp: Simplex, target: Floats) -> None:
    for i in range(len(target)):
        lp.basis[i] = i
        for j in range(len(target)):
            lp.inverse[i, j] = 1.0 if i == j else 0.0
        lp.shares[i], lp.tilted[i] = target[i], lp.tilt[i]


@inner
def _price(lp: Simplex) -> None:
    k, m = lp.columns.shape
    for i in range(k):
        lp.potentials[i] = 0.0
        for j in range(k):
            lp.potentials[i] += lp.energies[lp.basis[j]] * lp.inverse[j, i]
    for j in range(m):
        lp.prices[j] = lp.energies[j]
    for i in range(k):
        potential = lp.potentials[i]
        for j in range(m):
            lp.prices[j] -= potential * lp.columns[i, j]


@inner
def _entering(lp: Simplex, banned: int, first: bool) -> int:
    """The column of the most negative price (Dantzig), or the first of a negative one (Bland); -1 at the optimum.

    Of equal ones that of the smaller weight: columns come in any order.
    """
    chosen, lowest = -1, -PRICE_TOLERANCE
    for j in range(len(lp.prices)):
        if lp.prices[j] > lowest or j == banned or not lp.allowed[j]:
            continue
        if lp.prices[j] < lowest or chosen < 0 or lp.weights[j] < lp.weights[chosen]:
            chosen, lowest = j, lp.prices[j]
            if first:
                break
    return chosen


@inner
def holds(values: Ints, value: int) -> bool:
    found = False
    for one in values:
        found = found or one == value
    return found


@inner
def _leaving(lp: Simplex, enter: int) -> int:
    """The row whose share runs out first; among equals the one whose share of the tilt does. That can't cycle."""
    k = len(lp.basis)
    chosen, shortest, soonest = -1, np.inf, np.inf
    for i in range(k):
        lp.direction[i] = 0.0
        for j in range(k):
            lp.direction[i] += lp.inverse[i, j] * lp.columns[j, enter]
        if lp.direction[i] <= PIVOT_TOLERANCE:
            continue
        length = (lp.shares[i] if lp.shares[i] > SHARE_TOLERANCE else 0.0) / lp.direction[i]
        tilted = lp.tilted[i] / lp.direction[i]
        if length < shortest - TIE or (length <= shortest + TIE and tilted < soonest):
            chosen, soonest = i, tilted
            shortest = min(length, shortest)
    return chosen


@inner
def _pivot(lp: Simplex, enter: int, leave: int) -> None:
    k = len(lp.basis)
    pivot = lp.direction[leave]
    step, tilted = max(lp.shares[leave], 0.0) / pivot, lp.tilted[leave] / pivot
    for j in range(k):
        lp.inverse[leave, j] /= pivot
    for i in range(k):
        if i != leave:
            lp.shares[i] = max(lp.shares[i] - step * lp.direction[i], 0.0)
            lp.tilted[i] -= tilted * lp.direction[i]
            for j in range(k):
                lp.inverse[i, j] -= lp.direction[i] * lp.inverse[leave, j]
    lp.shares[leave], lp.tilted[leave] = step, tilted
    lp.basis[leave] = enter


@inner
def minimise(lp: Simplex, target: Floats, banned: int) -> None:
    """Pivots to the optimum that is meant: where others cost nearly as much, with the columns near it from the start.

    A third turn takes in what those left out: nothing, unless a basis is all but singular.
    """
    for turn in range(3):
        _descend(lp, banned)
        if turn == 0:
            if not _is_tied(lp, banned):
                return
            _narrow(lp)
            start(lp, target)
        elif turn == 1:
            lp.allowed[:] = True


@inner
def _is_tied(lp: Simplex, banned: int) -> bool:
    """Whether columns outside the basis lie near it."""
    tied = False
    for j in range(len(lp.prices)):
        tied = tied or (lp.prices[j] <= NEAR and j != banned and not holds(lp.basis, j))
    return tied


@inner
def _narrow(lp: Simplex) -> None:
    for j in range(len(lp.prices)):
        lp.allowed[j] = lp.prices[j] <= NEAR


@inner
def _descend(lp: Simplex, banned: int) -> None:
    """Dantzig's rule, or the first column that helps if a program takes long."""
    for step in range(STEP_LIMIT):
        _price(lp)
        enter = _entering(lp, banned, step >= DANTZIG_STEPS)
        if enter < 0:
            return
        leave = _leaving(lp, enter)
        if leave < 0:
            raise ArithmeticError("a hull program is unbounded")
        _pivot(lp, enter, leave)
    raise ArithmeticError("a hull program doesn't settle")


@inner
def _invert(lp: Simplex) -> None:
    """Inverts the basis afresh: Gauss-Jordan with row pivoting (LAPACK's takes longer to call, and to compile)."""
    k, work = len(lp.basis), lp.work
    for i in range(k):
        for j in range(k):
            work[i, j] = lp.columns[i, lp.basis[j]]
            lp.inverse[i, j] = 1.0 if i == j else 0.0
    for i in range(k):
        top = i
        for row in range(i + 1, k):
            if abs(work[row, i]) > abs(work[top, i]):
                top = row
        pivot = work[top, i]
        for j in range(k):
            work[top, j], work[i, j] = work[i, j], work[top, j] / pivot
            lp.inverse[top, j], lp.inverse[i, j] = lp.inverse[i, j], lp.inverse[top, j] / pivot
        for row in range(k):
            factor = work[row, i]
            if row != i and factor != 0.0:
                for j in range(k):
                    work[row, j] -= factor * work[i, j]
                    lp.inverse[row, j] -= factor * lp.inverse[i, j]


@inner
def polish(lp: Simplex, target: Floats) -> float:
    """Solves the final basis afresh, in the order of its weights: the result depends on the basis, not on the way."""
    k = len(target)
    _sort_by_weight(lp)
    _invert(lp)
    energy = 0.0
    for i in range(k):
        share, tilted = 0.0, 0.0
        for j in range(k):
            share += lp.inverse[i, j] * target[j]
            tilted += lp.inverse[i, j] * lp.tilt[j]
        lp.shares[i] = share if share > SHARE_TOLERANCE else 0.0
        lp.tilted[i] = tilted
        energy += lp.shares[i] * lp.energies[lp.basis[i]]
    _price(lp)
    return energy


@inner
def _sort_by_weight(lp: Simplex) -> None:
    for i in range(1, len(lp.basis)):
        column, j = lp.basis[i], i
        while j > 0 and lp.weights[lp.basis[j - 1]] > lp.weights[column]:
            lp.basis[j] = lp.basis[j - 1]
            j -= 1
        lp.basis[j] = column


@inner
def add_itself(lp: Simplex, own: int, target: Floats) -> None:
    """Goes on from the competing facet to one of the hull that includes the composition itself."""
    _pivot(lp, own, _leaving(lp, own))
    minimise(lp, target, len(lp.prices))
    polish(lp, target)
