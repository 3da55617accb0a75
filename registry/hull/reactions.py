"""Equilibrium reaction energies: how far a stable phase lies below the other stable ones."""

from __future__ import annotations

import numpy as np

from registry.hull.geometry import HullSolution, compute_hull
from registry.hull.phases import Floats


def equilibrium_reaction_energies(solution: HullSolution, threads: int = 1) -> Floats:
    """(n,) a stable entry's energy minus the hull of the other stable entries, eV/atom; nan for all others.

    As pymatgen's `PhaseDiagram.get_equilibrium_reaction_energy`: zero or less (it is the inverse distance to the hull),
    0 for elements; an unstable entry, where pymatgen raises ValueError, is nan. On a tie line a phase counts as stable
    here (registry/hull/geometry.py), and so competes; pymatgen leaves it to qhull whether one does.

    It is never above the phase-separation energy. That one is against all entries of other compositions, also those
    that only this phase keeps off the hull, and the two differ where such an entry would come onto it. Among the stable
    entries alone the two are one, so they are solved as a hull of their own, which is small.

    It isn't stored with the hull states: a stable neighbour that comes or goes moves it even where it lies beyond the
    reach of every program of the entry, so that a hull that lives on would have to keep this second hull too.
    """
    energies = np.full(len(solution.table), np.nan)
    energies[solution.is_stable] = compute_hull(solution.stable_entries(), threads).phase_separation_energies
    return energies
