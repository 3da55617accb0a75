"""A pretrained potential as label engine: relaxations by its calculator, energies as they stand in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from predictors.errors import PotentialMissing
from predictors.potentials.base import Potential, energy_of_atoms, raw_energies
from predictors.potentials.named import load_potential
from registry.crystal import Crystal
from registry.errors import LabelFailure, MissingExtra
from registry.identity.composition import SYMBOLS
from registry.states import ErrorClass
from workers.engines.base import Label, Relaxation, Trajectory
from workers.engines.relaxation import REMEDIES, relax_with, static_with


class PotentialEngine:
    """One thread. Raises LabelFailure as the relaxation does; unsupported_element for what the potential never saw."""

    remedies = REMEDIES

    def __init__(self, potential: str | Potential) -> None:
        """A potential, or the name of one. Raise MissingExtra where the package of that isn't installed."""
        self._potential = _loaded(potential) if isinstance(potential, str) else potential
        self.name, self.version = self._potential.name, self._potential.version

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        self._check_elements(crystal)
        return relax_with(self._potential.calculator, crystal, relaxation, trajectory, self._zero(crystal))

    def static(
        self,
        crystal: Crystal,
        trajectory: Trajectory | None = None,  # noqa: ARG002  (it's over in no time)
        changes: Mapping[str, object] | None = None,  # noqa: ARG002  (there is but one way)
    ) -> Label:
        self._check_elements(crystal)
        return static_with(self._potential.calculator, crystal, self._zero(crystal))

    def _check_elements(self, crystal: Crystal) -> None:
        if unknown := sorted(crystal.amounts.keys() - set(self._potential.elements)):
            symbols = ", ".join(SYMBOLS[number] for number in unknown)
            raise LabelFailure(ErrorClass.UNSUPPORTED_ELEMENT, f"{self.name} was not trained on {symbols}")

    def _zero(self, crystal: Crystal) -> float:
        return energy_of_atoms(self._potential.zero, crystal)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """NaN for crystals that the potential can say nothing of."""
        found: list[float] = raw_energies(self._potential, crystals)[0][:, 0].tolist()
        return found


def _loaded(name: str) -> Potential:
    try:
        return load_potential(name)
    except PotentialMissing as missing:
        raise MissingExtra(missing.package, "potentials") from missing
