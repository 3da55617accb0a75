"""7net-0 as label engine, the default (predictors/potentials/sevennet.py)."""

from __future__ import annotations

from workers.engines.potential import PotentialEngine


class SevenNet(PotentialEngine):
    """PBE/PBE+U energies without corrections."""

    def __init__(self) -> None:
        super().__init__("7net-0")
