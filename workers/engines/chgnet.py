"""CHGNet as label engine (predictors/potentials/chgnet.py)."""

from __future__ import annotations

from workers.engines.potential import PotentialEngine


class CHGNet(PotentialEngine):
    """PBE/PBE+U energies with the corrections of 2020 inside."""

    def __init__(self) -> None:
        super().__init__("chgnet")
