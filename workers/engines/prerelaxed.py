"""A relaxation by another, cheaper level before the engine of a level begins: by a potential, before DFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.states import ErrorClass
from workers.engines.base import Engine, Label, Relaxation, Remedies, Trajectory

OF_THE_CRYSTAL = frozenset(
    {
        ErrorClass.NOT_CONVERGED_ELECTRONIC,
        ErrorClass.NOT_CONVERGED_IONIC,
        ErrorClass.GEOMETRY_EXPLODED,
        ErrorClass.UNPHYSICAL_ENERGY,
        ErrorClass.UNPHYSICAL_VOLUME,
        ErrorClass.UNSUPPORTED_ELEMENT,
    }
)
"""Failures of the first engine that another host, or another time, would have too."""


@dataclass(frozen=True)
class Prerelaxed:
    """`first` relaxes as `relaxation` says; where it can't, `engine` relaxes from the crystal as it is.

    The steps of `first` are none of this level and are not kept. An attempt that goes on from an earlier one does the
    first part again: the k-mesh follows from where it ends.
    """

    engine: Engine
    first: Engine
    relaxation: Relaxation

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def version(self) -> str:
        return f"{self.engine.version}; before it {self.first.version}"

    @property
    def remedies(self) -> Remedies:
        return self.engine.remedies

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        try:
            begin, told = self._before(crystal, trajectory)
        except LabelFailure as failure:
            if failure.error_class not in OF_THE_CRYSTAL:
                raise
            begin, told = crystal, {"engine": self.first.name, "failed": str(failure.error_class)}
        return _with(self.engine.relax(begin, relaxation, trajectory), told)

    def static(
        self, crystal: Crystal, trajectory: Trajectory | None = None, changes: Mapping[str, object] | None = None
    ) -> Label:
        """Of what `first` makes of the crystal; where it makes nothing there is no label."""
        trajectory = trajectory or Trajectory()
        begin, told = self._before(crystal, trajectory)
        return _with(self.engine.static(begin, trajectory, changes), told)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """As they stand."""
        return self.engine.energies(crystals)

    def _before(self, crystal: Crystal, trajectory: Trajectory) -> tuple[Crystal, dict[str, object]]:
        """Raises LabelFailure."""
        label = self.first.relax(crystal, self.relaxation, Trajectory(trajectory.check))
        volume = label.crystal.volume / crystal.volume
        return label.crystal, {"engine": self.first.name, "steps": label.steps, "volume_ratio": round(volume, 4)}


def _with(label: Label, told: dict[str, object]) -> Label:
    return replace(label, convergence={**label.convergence, "prerelaxed": told})
