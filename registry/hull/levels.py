"""Levels of theory: which energies may stand beside each other, and what is added to them.

A level is a functional, settings, a correction scheme and element references. A correction is kept beside the raw
energy, never instead of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from registry.crystal import Crystal
from registry.errors import UNPRINTABLE, MissingReference, NotFound, SettingsError
from registry.hull.mp2020 import SCHEME, Correction, Run, mp2020_correction
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS

IMPORTED = "imported"
AS_IMPORTED = "as imported"
"""Functional and correction scheme of a level whose energies say it themselves."""

NO_SCHEME = "none"
FORMATION = "formation"
"""What the setting `energies` says where they are formation energies: elements at 0, total energies unknown."""

CORRECTED = {"PBE", "GGA", "U"}
"""The words for the functionals that MP2020's corrections were fitted to."""

OWN_POTENTIAL = "sevennet"
"""The engine of a level whose settings name the files of a potential: `model`, a folder, and their `sha256`."""

DFT_ENGINES = frozenset({"vasp", "gpaw", "quantum-espresso", "abinit", "cp2k", "castep", "fhi-aims", "siesta"})
DIATOMIC, NOBLE = ("H", "N", "O", "F", "Cl"), ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
GASES = {**{symbol: f"{symbol}2" for symbol in DIATOMIC}, **{symbol: symbol for symbol in NOBLE}}
"""Elements that are gases at 298 K and 1 atm: a crystal of them is no good reference."""

MOLECULAR = frozenset({*GASES, "S", "Br", "I"})
"""Elements of molecules, on which pretrained potentials fail. Of others their crystals are only somewhat too high."""


@dataclass(frozen=True)
class Level:
    """A level of theory.

    engine: "imported", a DFT code, or a potential
    references: element symbol -> eV/atom of the elemental reference at this level, corrections included; where none
        of them is the level's own, every other element takes its lowest entry
    tabulated: the elements whose reference is taken from elsewhere, as of gases and molecular crystals: the level's own
        entries of them stay off the hull; at the level of a potential only those of MOLECULAR ones do
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
    def kind(self) -> str:
        """imported, DFT or potential."""
        if self.engine == IMPORTED:
            return IMPORTED
        return "DFT" if self.engine.lower() in DFT_ENGINES else "potential"

    @property
    def of_formation_energies(self) -> bool:
        """Whether all that is known at this level are formation energies. No total energy may stand beside them."""
        return self.settings.get("energies") == FORMATION

    @property
    def settings_hash(self) -> str:
        """SHA-256 of everything that makes this level another one."""
        table = {**asdict(self), "settings": dict(self.settings), "references": dict(self.references)}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()

    def formation_energy(self, amounts: Mapping[int, int], corrected_energy: float) -> float:
        """Formation energy in eV/atom of a cell with `amounts` (atomic number -> atoms) and a corrected energy in eV.

        Raises MissingReference naming the elements without a reference.
        """
        symbols = {SYMBOLS[number]: count for number, count in amounts.items()}
        missing = [element for element in symbols if element not in self.references]
        if missing:
            raise MissingReference(missing)
        elements = sum(self.references[element] * count for element, count in symbols.items())
        return (corrected_energy - elements) / sum(symbols.values())

    def correct(self, crystal: Crystal, energy: float, run: Run | None = None) -> Correction:
        """What the level's scheme adds to the raw `energy` (eV per cell) of `crystal`.

        run: how it was computed; None: as MPRelaxSet would have it
        """
        return mp2020_correction(crystal, energy, run) if self.correction_scheme == SCHEME else Correction(0.0, {})

    def bars(self, amounts: Mapping[int, int]) -> str | None:
        """Why no entry of these atoms (atomic number -> count) may stand on the level's hull, or None."""
        elements = {SYMBOLS[number] for number in amounts}
        unreliable = set(self.tabulated) & (MOLECULAR if self.kind == "potential" else elements)
        if len(elements) == 1 and elements <= unreliable:
            return "the elemental reference of this level is tabulated: the engine is unreliable for this element"
        missing = sorted(elements - self.references.keys())
        own = self.references.keys() - set(self.tabulated)
        return f"no elemental reference for {', '.join(missing)} at this level" if missing and own else None


def read_level(path: Path) -> Level:
    """A level from a file of JSON. Raises SettingsError."""
    try:
        return level_of(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def level_of(table: Any) -> Level:
    """A level as a table of JSON says it. Raises SettingsError for what is wrong with it.

    Keys are the fields of Level; all but name, engine and functional may be left out.
    """
    defaults: dict[str, Any] = {
        "correction_scheme": NO_SCHEME, "settings": {}, "references": {}, "tabulated": [], "note": "",
    }  # fmt: skip
    needed = ("name", "engine", "functional")
    if not isinstance(table, dict):
        raise SettingsError("a level is one JSON object")
    if wrong := sorted(table.keys() - {*needed, *defaults}):
        raise SettingsError(f"a level has no {', '.join(wrong)}; it has {', '.join([*needed, *defaults])}")
    if lacking := [name for name in needed if not (isinstance(table.get(name), str) and table[name])]:
        raise SettingsError(f"a level needs {', '.join(lacking)}")
    whole = {**defaults, **table}
    _check_parts(whole)
    _check_words(whole)
    return Level(**{**whole, "tabulated": tuple(sorted(whole["tabulated"]))})


def _check_parts(table: Mapping[str, Any]) -> None:
    if table["correction_scheme"] not in (SCHEME, NO_SCHEME, AS_IMPORTED):
        raise SettingsError(f"correction_scheme is {SCHEME}, {NO_SCHEME} or {AS_IMPORTED!r}")
    if table["correction_scheme"] == SCHEME and not set(re.findall(r"\w+", table["functional"])) <= CORRECTED:
        raise SettingsError(f"{SCHEME} corrects PBE and PBE+U alone, and the functional is {table['functional']}")
    if not isinstance(table["settings"], dict) or not isinstance(table["references"], dict):
        raise SettingsError("settings and references are JSON objects")
    _check_task(table["settings"])
    _check_functional(table)
    own = [name for name in ("model", "sha256") if not isinstance(table["settings"].get(name), str)]
    if table["engine"] == OWN_POTENTIAL and own:
        raise SettingsError(f"the settings of a level of engine {OWN_POTENTIAL} say {', '.join(own)}")
    for element, energy in table["references"].items():
        number = isinstance(energy, int | float) and not isinstance(energy, bool) and math.isfinite(energy)
        if element not in ATOMIC_NUMBERS or not number:
            raise SettingsError(f"references are element -> eV/atom, not {element!r}: {energy!r:.40}")
    if table["settings"].get("energies") == FORMATION and any(table["references"].values()):
        raise SettingsError("where energies are formation energies, references are 0")
    tabulated = table["tabulated"]
    if not isinstance(tabulated, list) or any(str(one) not in table["references"] for one in tabulated):
        raise SettingsError("tabulated lists elements that stand in references")


def _check_functional(table: Mapping[str, Any]) -> None:
    """MP2020 was fitted to VASP's PBE(+U): nothing in a level that it corrects may compute another functional."""
    settings = table["settings"]
    incar = settings.get("incar", {})
    other = (
        table["engine"].endswith("r2scan")
        or table["engine"].lower() in DFT_ENGINES - {"vasp"}
        or settings.get("workflow", "mp") != "mp"
        or (isinstance(incar, dict) and bool({"METAGGA", "GGA", "LHFCALC"} & {str(tag).upper() for tag in incar}))
    )
    if table["correction_scheme"] == SCHEME and other:
        raise SettingsError(f"{SCHEME} corrects VASP's PBE and PBE+U alone, and this level computes something else")


def _check_task(settings: Mapping[str, Any]) -> None:
    """What label engines read of a level's settings."""
    if settings.get("task", "relax") not in ("relax", "static"):
        raise SettingsError("the setting task is relax or static")
    if (first := settings.get("prerelax")) is not None and first not in (known := _computed_levels()):
        raise SettingsError(f"the setting prerelax names one of {', '.join(known)}, not {first!r:.40}")
    for name, least, kind in (("force_tolerance", 1e-6, (int, float)), ("max_steps", 1, (int,))):
        value = settings.get(name, least if name == "force_tolerance" else 1)
        if not isinstance(value, kind) or isinstance(value, bool) or not least <= value < math.inf:
            whole = "number" if float in kind else "whole number"
            raise SettingsError(f"the setting {name} is a {whole} from {least:g}, not {value!r:.40}")


def _check_words(table: Mapping[str, Any]) -> None:
    """What no column could hold."""
    written = json.dumps(table, ensure_ascii=False, allow_nan=False)  # ValueError for NaN
    if not isinstance(table["note"], str) or UNPRINTABLE.search(written) or "\\u00" in written:
        raise SettingsError("the note is no text, or words hold control characters or half a character")


@cache
def _computed_levels() -> list[str]:
    return [name for name in shipped_levels() if load_level(name).kind != IMPORTED]


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
