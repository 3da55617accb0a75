"""What is known of a crystal beside its energy. Importers bring it, exporters take it along; no database in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.terms import SourceTerms

BAND_GAP, DIMENSIONALITY = "band_gap", "dimensionality"

BOUNDS: dict[str, tuple[str, float, float]] = {BAND_GAP: ("eV", 0.0, 100.0), DIMENSIONALITY: ("1", 0.0, 3.0)}
"""Of what filters compare, whatever its method: the unit, the least and the largest value."""

LONGEST_NAME = 250
"""Characters of a name and of a method; the index over both holds no longer ones."""


@dataclass(frozen=True)
class CrystalProperty:
    """A number with its unit, or words.

    unit: "eV", "angstrom^3", ...; "1" for counts and words
    method: how it was found: "PBE", "Cheon 2017", ...
    provenance: settings, code, what else matters; JSON-ready
    terms: of its source, where that is another one than the crystal's
    """

    name: str
    value: float | str
    unit: str
    method: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    terms: SourceTerms | None = None

    def complaint(self) -> str | None:
        """Why it can't be kept, or None."""
        if not (self.name and self.unit and self.method):
            return f"its property {self.name[:40]!r} lacks a name, a unit or a method"
        if max(len(self.name), len(self.method)) > LONGEST_NAME:
            return f"the property {self.name[:40]!r}: name and method may have {LONGEST_NAME} characters"
        return None if isinstance(self.value, str) else self._complaint_of_number(self.value)

    def _complaint_of_number(self, value: float) -> str | None:
        if not math.isfinite(value):
            return f"its {self.name} is {value:g} {self.unit}: give a finite number"
        unit, least, most = BOUNDS.get(self.name, (self.unit, value, value))
        if self.unit != unit:
            return f"its {self.name} has the unit {self.unit[:40]!r}, not {unit!r}"
        whole = self.name != DIMENSIONALITY or value.is_integer()
        if not (least <= value <= most and whole):
            return f"its {self.name} is {value:g}: {least:g} to {most:g} are allowed{'' if whole else ', whole ones'}"
        return None
