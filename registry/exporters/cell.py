"""A cell by its lengths and angles, as the formats without vectors tell it."""

from __future__ import annotations

import numpy as np

from registry.crystal import Crystal, Floats

PARAMETERS = ("a", "b", "c", "alpha", "beta", "gamma")


def cell_parameters(lattice: Floats) -> dict[str, float]:
    """a, b, c in angstrom, alpha, beta, gamma in degrees."""
    lengths = np.linalg.norm(lattice, axis=1)
    unit = lattice / lengths[:, None]
    cosines = [unit[one] @ unit[other] for one, other in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return dict(zip(PARAMETERS, (*lengths.tolist(), *angles.tolist()), strict=True))


def right_handed(crystal: Crystal) -> Crystal:
    """The same crystal: lengths and angles can't say that a cell is left-handed, they'd give its mirror image."""
    if np.linalg.det(crystal.lattice) > 0:
        return crystal
    return Crystal(-crystal.lattice, crystal.numbers, -crystal.frac_coords)
