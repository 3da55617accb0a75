"""Levels of theory: which energies may stand beside each other, and what is added to them.

A level is a functional, settings, a correction scheme and element references. A correction is kept beside the raw
energy, never instead of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources

from registry.crystal import Crystal
from registry.errors import MissingReference, NotFound


@dataclass(frozen=True)
class Correction:
    """What a scheme adds to one raw energy. `energy` in eV per cell; None with a reason where the scheme refuses."""

    energy: float | None
    parts: Mapping[str, float]
    reason: str | None = None


@dataclass(frozen=True)
class Level:
    """A level of theory.

    references: element symbol -> eV/atom of the elemental reference at this level, corrections included
    tabulated: the elements whose reference is taken from the literature since the engine is unreliable for them
    """

    name: str
    engine: str
    functional: str
    correction_scheme: str
    settings: Mapping[str, object]
    references: Mapping[str, float]
    tabulated: tuple[str, ...]
    note: str

    @property
    def settings_hash(self) -> str:
        """SHA-256 of everything that makes this level another one."""
        table = {**asdict(self), "settings": dict(self.settings), "references": dict(self.references)}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()

    def formation_energy(self, amounts: Mapping[int, int], corrected_energy: float) -> float:
        """Formation energy in eV/atom of a cell with `amounts` (atomic number -> atoms) and a corrected energy in eV.

        Raises MissingReference naming the elements without a reference.
        """
        from registry.identity.composition import SYMBOLS

        symbols = {SYMBOLS[number]: count for number, count in amounts.items()}
        missing = [element for element in symbols if element not in self.references]
        if missing:
            raise MissingReference(missing)
        elements = sum(self.references[element] * count for element, count in symbols.items())
        return (corrected_energy - elements) / sum(symbols.values())

    def correct(self, crystal: Crystal, energy: float) -> Correction:
        """What the level's scheme adds to the raw `energy` (eV per cell) of `crystal`."""
        return mp2020_correction(crystal, energy) if self.correction_scheme == "MP2020" else Correction(0.0, {})


@cache
def load_level(name: str) -> Level:
    """A level that ships with the project. Raises NotFound."""
    path = resources.files("registry.hull") / "level_tables" / f"{name}.json"
    if not path.is_file():
        raise NotFound(f"no level '{name}' ships with Motherlode; there are: {', '.join(shipped_levels())}")
    table = json.loads(path.read_text())
    return Level(**{**table, "tabulated": tuple(table["tabulated"])})


def shipped_levels() -> list[str]:
    """Names of the levels that ship with the project."""
    folder = resources.files("registry.hull") / "level_tables"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def mp2020_correction(crystal: Crystal, energy: float) -> Correction:
    """MaterialsProject2020Compatibility (Wang et al., Sci. Rep. 11, 15496, 2021) through pymatgen.

    Run type and U values are those that MPRelaxSet would have set for this composition.
    """
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    structure = crystal.to_pymatgen()
    entry = ComputedStructureEntry(structure, energy, parameters=_parameters(structure.composition.chemical_system))
    entry.data["oxidation_states"] = _oxidation_states(structure.composition.reduced_formula)
    corrected = _mp2020().process_entry(entry, clean=True, inplace=False)
    if corrected is None:
        return Correction(None, {}, "refused by MaterialsProject2020Compatibility")
    parts = {part.name: float(part.value) for part in corrected.energy_adjustments}
    return Correction(float(corrected.correction), parts)


@cache
def _mp2020():  # type: ignore[no-untyped-def]  # pymatgen has no annotations here
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


@cache
def _oxidation_states(reduced_formula: str) -> dict[str, float]:
    """Pymatgen's own guess, once per formula (it is what process_entry would do for every entry)."""
    from pymatgen.core import Composition

    guesses = Composition(reduced_formula).oxi_state_guesses(max_sites=-20)
    return dict(guesses[0]) if guesses else {}


@cache
def _parameters(chemsys: str) -> dict[str, object]:
    from pymatgen.core import Element
    from pymatgen.io.vasp.sets import MPRelaxSet

    elements = chemsys.split("-")
    anion = max(elements, key=lambda symbol: Element(symbol).X or 0.0)
    table = MPRelaxSet.CONFIG["INCAR"]["LDAUU"].get(anion, {})
    hubbards = {symbol: table[symbol] for symbol in elements if table.get(symbol)}
    run_type = "GGA+U" if hubbards else "GGA"
    return {"run_type": run_type, "hubbards": hubbards, "is_hubbard": bool(hubbards), "software": "vasp"}
