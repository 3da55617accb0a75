"""A pretrained potential as label engine: relaxations by its calculator, energies as they stand in batches."""

from __future__ import annotations

from collections.abc import Sequence

from predictors.errors import PotentialMissing
from predictors.potentials.base import Potential, raw_energies
from predictors.potentials.named import load_potential
from registry.crystal import Crystal
from registry.errors import MissingExtra
from workers.engines.base import Beat, Label, Relaxation
from workers.engines.relaxation import relax_with, static_with


class PotentialEngine:
    """One thread."""

    def __init__(self, name: str) -> None:
        """Raise MissingExtra where the potential's package isn't installed."""
        self._potential = _loaded(name)
        self.name, self.version = self._potential.name, self._potential.version

    def relax(self, crystal: Crystal, settings: Relaxation, beat: Beat) -> Label:
        return relax_with(self._potential.calculator, crystal, settings, beat)

    def static(self, crystal: Crystal) -> Label:
        return static_with(self._potential.calculator, crystal)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """NaN for crystals that the potential can say nothing of."""
        found: list[float] = raw_energies(self._potential, crystals)[0][:, 0].tolist()
        return found


def _loaded(name: str) -> Potential:
    try:
        return load_potential(name)
    except PotentialMissing as missing:
        raise MissingExtra(missing.package, "potentials") from missing
