"""Energy corrections of the Materials Project (Wang et al., Sci. Rep. 11, 15496, 2021), through pymatgen.

They hold for PBE and PBE+U runs with the U values and pseudopotentials of MPRelaxSet, and are refused for others.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from registry.crystal import Crystal

SCHEME = "MP2020"
PBE = "PBE/PBE+U"
RUN_TYPES = {"GGA": "GGA", "PBE": "GGA", "GGA+U": "GGA+U", "GGA_U": "GGA+U", "PBE+U": "GGA+U", "PBE_U": "GGA+U"}
"""As sources write them -> as pymatgen does."""

ALSO_TAKEN = {"W_sv": "W_pv", "Yb_3": "Yb_2"}
"""Of PBE_54, with which the Materials Project itself has computed since: as the set of 2020 names them."""


@dataclass(frozen=True)
class Correction:
    """What a scheme adds to one raw energy. `energy` in eV per cell; None with a reason where the scheme refuses."""

    energy: float | None
    parts: Mapping[str, float]
    reason: str | None = None


@dataclass(frozen=True)
class Run:
    """How an energy was computed.

    run_type: GGA or GGA+U; anything else is refused
    hubbards: element -> U in eV; those left out are 0
    pseudopotentials: symbols as VASP writes them ("PAW_PBE Fe_pv 06Sep2000"); none: not told, and not checked
    oxide_type: what the source says of the oxygen in it, "peroxide"; None: found from the distances
    """

    run_type: str
    hubbards: Mapping[str, float]
    pseudopotentials: Sequence[str] = ()
    oxide_type: str | None = None


def mp2020_correction(crystal: Crystal, energy: float, run: Run | None = None) -> Correction:
    """The correction of a raw `energy` (eV per cell).

    run: None takes the run type and U values that MPRelaxSet would have set for this composition
    """
    from pymatgen.analysis.compatibility import CompatibilityError
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    structure = crystal.to_pymatgen()
    run = run or mp_run(structure.composition.chemical_system)
    if (complaint := _other_pseudopotentials(run, [element.symbol for element in structure.composition])) is not None:
        return Correction(None, {}, complaint)
    entry = ComputedStructureEntry(structure, energy, parameters=_parameters(run))
    entry.data["oxidation_states"] = _oxidation_states(structure.composition.reduced_formula)
    if run.oxide_type is not None and run.oxide_type != "None":
        entry.data["oxide_type"] = run.oxide_type
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of each formula whose oxidation states it can't guess
            corrected = _mp2020().process_entry(entry, on_error="raise")
    except CompatibilityError as error:
        return Correction(None, {}, f"MaterialsProject2020Compatibility refuses it: {_reason(error)}")
    parts = {part.name: float(part.value) for part in corrected.energy_adjustments}
    return Correction(float(corrected.correction), parts)


@cache
def mp_run(chemsys: str) -> Run:
    """Run type and U values that MPRelaxSet sets in a chemical system such as Fe-O."""
    hubbards = hubbards_among(chemsys.split("-"), mp_hubbard_table())
    return Run("GGA+U" if hubbards else "GGA", hubbards)


def mp_hubbard_table() -> Mapping[str, Mapping[str, float]]:
    """Anion -> element -> U in eV of MPRelaxSet."""
    table: Mapping[str, Mapping[str, float]] = _mp_relax_set()["INCAR"]["LDAUU"]
    return table


def hubbards_among(elements: Sequence[str], table: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Element -> U in eV, none left out, by a table of anions that is read for the most electronegative element."""
    from pymatgen.core import Element

    anion = max(elements, key=lambda symbol: Element(symbol).X or 0.0)
    among = table.get(anion, {})
    return {symbol: float(among[symbol]) for symbol in elements if among.get(symbol)}


@cache
def mp_pseudopotentials() -> dict[str, str]:
    """Element -> symbol of MPRelaxSet's pseudopotential, Fe -> Fe_pv."""
    table = _mp_relax_set()["POTCAR"]
    return {str(element): str(one["symbol"] if isinstance(one, dict) else one) for element, one in table.items()}


def _mp_relax_set() -> Any:
    from pymatgen.io.vasp.sets import MPRelaxSet

    return MPRelaxSet.CONFIG


def symbol_of(pseudopotential: str) -> str:
    """Fe_pv of "PAW_PBE Fe_pv 06Sep2000"; of another functional than PBE with its name before it."""
    words = pseudopotential.split()[:2]
    return words[-1] if words and words[0] in ("PAW_PBE", "PBE") else " ".join(words)


def _other_pseudopotentials(run: Run, elements: Sequence[str]) -> str | None:
    """Pymatgen's own check takes neither symbols alone nor those that MP has computed with since PBE_54."""
    if not run.pseudopotentials:
        return None
    told = {ALSO_TAKEN.get(symbol, symbol) for symbol in map(symbol_of, run.pseudopotentials)}
    expected = {mp_pseudopotentials().get(element, element) for element in elements}
    if told == expected:
        return None
    return f"its pseudopotentials are {', '.join(sorted(told))}, {SCHEME} holds for {', '.join(sorted(expected))}"


def _parameters(run: Run) -> dict[str, object]:
    hubbards = dict(run.hubbards)
    return {"run_type": run.run_type, "hubbards": hubbards, "is_hubbard": bool(hubbards), "software": "vasp"}


def _reason(error: Exception) -> str:
    """What pymatgen says, without the whole entry behind it."""
    return " ".join(str(error).split(" for {")[0].replace("Entry None ", "").split()).removesuffix(" Discarding.")


@cache
def _mp2020() -> Any:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


@cache
def _oxidation_states(reduced_formula: str) -> dict[str, float]:
    """Pymatgen's own guess, once per formula (it is what process_entry would do for every entry)."""
    from pymatgen.core import Composition

    try:
        guesses = Composition(reduced_formula).oxi_state_guesses(max_sites=-20)
    except ValueError:  # more atoms in the formula than it tries: process_entry takes none then, too
        return {}
    return dict(guesses[0]) if guesses else {}
