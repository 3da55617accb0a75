"""What VASP has written: ionic steps of a vasprun.xml that is not finished, and results of one that is.

VASP's stress is in kB and positive where the cell pushes outward; ours, as ASE's, is in eV/cubic angstrom and negative
there.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from registry.crystal import Floats
from workers.engines.program import FRAMES

EV_PER_A3 = 0.1 / 160.21766208  # of one kB
VOIGT = [0, 4, 8, 5, 2, 1]  # xx yy zz yz xz xy
LOOK_SECONDS = 1.0
MISREAD = (ValueError, IndexError, KeyError, TypeError, AttributeError, OSError, SyntaxError)
"""What pymatgen lets escape where a file isn't as it should be."""

STEP = re.compile(
    rb"<structure>(?P<structure>.*?)</structure>\s*"
    rb'<varray name="forces" ?>(?P<forces>.*?)</varray>\s*'
    rb'<varray name="stress" ?>(?P<stress>.*?)</varray>\s*'
    rb"<energy>(?P<energy>.*?)</energy>",
    re.DOTALL,
)
BASIS = re.compile(rb'<varray name="basis" ?>(.*?)</varray>', re.DOTALL)
POSITIONS = re.compile(rb'<varray name="positions" ?>(.*?)</varray>', re.DOTALL)
ENERGIES = re.compile(rb"<energy>(.*?)</energy>", re.DOTALL)
ROW = re.compile(rb"<v>(.*?)</v>")
VALUE = re.compile(rb'<i[^>]* name="(\w+)" ?>\s*(\S+)\s*</i>')
BEGIN = re.compile(rb'<structure name="initialpos" ?>(.*?)</structure>', re.DOTALL)
ATOMS = re.compile(rb'<array name="atoms" ?>(.*?)</array>', re.DOTALL)
INCAR = re.compile(rb"<incar>(.*?)</incar>", re.DOTALL)
CALCULATION = b"<calculation>"
MOMENT_OF_CELL = re.compile(rb"number of electron\s+\S+ magnetization\s+(-?[\d.]+)")
MOMENT_OF_ATOM = re.compile(rb"^ *\d+((?: +-?\d+\.\d+){2,}) *$", re.MULTILINE)

BEGUN = {"INCAR": "begun.INCAR", "POSCAR": "begun.POSCAR"}
"""Copies of the inputs that a start began with; custodian changes the inputs themselves before the next."""

MISSPELT = {"X": "Xe", "r": "Zr"}
"""As some potentials have it, and VASP after them."""

SAME = 1e-4  # of lattice vectors in angstrom, and of fractional coordinates
COMPARED = ("NSW", "ENCUT", "ISMEAR", "IBRION", "ISIF", "EDIFF", "NELM", "SIGMA")
"""Tags by which a vasprun.xml is known to be of its INCAR; words VASP writes in its own way."""


def steps_in(text: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole ionic steps in a piece of vasprun.xml, each with the place where it ends.

    lattice (3, 3) angstrom, coords (n, 3), energy eV, forces (n, 3) eV/angstrom, stress (6,) eV/cubic angstrom; those
    with numbers too large for VASP to write are left out
    """
    start = 0
    for match in STEP.finditer(text):
        electronic = ENERGIES.findall(text, start, match.start())
        step = _step(match, electronic[-1] if electronic else b"")
        start = match.end()
        if step is not None:
            yield step, start


def _step(match: re.Match[bytes], electronic: bytes) -> dict[str, Any] | None:
    basis, positions = BASIS.search(match["structure"]), POSITIONS.search(match["structure"])
    if basis is None or positions is None:
        return None
    try:
        arrays = {
            "lattice": _rows(basis[1]),
            "coords": _rows(positions[1]) % 1.0,
            "forces": _rows(match["forces"]),
            "stress": stress_of(_rows(match["stress"])),
        }
        energy = energy_of(_values(match["energy"]), _values(electronic))
    except MISREAD:
        return None
    whole = np.isfinite(energy) and all(np.isfinite(array).all() for array in arrays.values())
    return {**arrays, "energy": energy} if whole else None


def energy_of(ionic: Mapping[str, float], electronic: Mapping[str, float]) -> float:
    """eV at zero broadening, as pymatgen's `final_energy`, which is what the Materials Project takes.

    In some versions of VASP the ionic step's own e_0_energy is another number: what the last electronic step has
    between it and the free energy holds.
    """
    if "e_0_energy" not in electronic or "e_fr_energy" not in electronic:
        return ionic["e_0_energy"]
    energy = round(electronic["e_0_energy"] - electronic["e_fr_energy"] + ionic["e_fr_energy"], 8)
    return energy if abs(ionic["e_0_energy"] - energy) > 1e-7 else ionic["e_0_energy"]


def stress_of(kilobar: Floats) -> Floats:
    """(6,) eV/cubic angstrom in Voigt order of VASP's (3, 3) in kB."""
    voigt: Floats = -EV_PER_A3 * np.asarray(kilobar, dtype=np.float64).reshape(9)[VOIGT]
    return voigt


def _rows(text: bytes) -> Floats:
    return np.array([[_number(word) for word in row.split()] for row in ROW.findall(text)]).reshape(-1, 3)


def _values(text: bytes) -> dict[str, float]:
    return {name.decode(): _number(value) for name, value in VALUE.findall(text)}


def _number(word: bytes) -> float:
    """NaN where VASP has written stars."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


def as_frame(step: Mapping[str, Any], order: Sequence[int], hand: int = 1) -> dict[str, Any]:
    """In plain lists, the atoms back in the order that they had before they were sorted, the cell by its own hand."""
    back = np.argsort(np.asarray(order))
    return {
        "lattice": (hand * np.asarray(step["lattice"])).ravel().tolist(),
        "coords": (hand * np.asarray(step["coords"])[back] % 1.0).ravel().tolist(),
        "energy": float(step["energy"]),
        "forces": np.asarray(step["forces"])[back].ravel().tolist(),
        "stress": np.asarray(step["stress"]).tolist(),
    }


class Notes:
    """Writes each ionic step into frames.jsonl as VASP finishes it, from a thread of its own: who is killed has them.

    `follow` names the vasprun.xml that is being written, None where its steps are not the level's.
    """

    def __init__(self, folder: Path, order: Sequence[int], hand: int = 1) -> None:
        self._frames, self._order, self._hand = folder / FRAMES, order, hand
        self._path: Path | None = None
        self._read = 0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="notes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    def follow(self, path: Path | None) -> None:
        """From its beginning; what is left of the one before is noted first."""
        self.look()
        with self._lock:
            self._path, self._read = path, 0

    def look(self) -> None:
        """Note what is new."""
        with self._lock:
            if self._path is None or not self._path.exists():
                return
            with self._path.open("rb") as file:
                file.seek(self._read)
                self._note(file.read())

    def _note(self, text: bytes) -> None:
        if self._path is None or (self._read == 0 and CALCULATION not in text):
            return
        if self._read == 0 and of_another_run(self._path) is not None:
            self._path = None
            return
        ends = 0
        with self._frames.open("a") as frames:
            for step, ends in steps_in(text):  # noqa: B007 -- read after the loop
                frames.write(json.dumps(as_frame(step, self._order, self._hand)) + "\n")
        if CALCULATION not in text[ends:]:  # eigenvalues and states follow the last step, by the gigabyte
            ends = max(ends, len(text) - len(CALCULATION))
        self._read += ends

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError):  # a full disk is told of by what writes the result
                self.look()


def of_another_run(path: Path) -> str | None:
    """In what a vasprun.xml, finished or not, differs from the inputs that its folder's last start began with."""
    incar, poscar = (path.with_name(name) for name in (BEGUN["INCAR"], BEGUN["POSCAR"]))
    if path.stat().st_mtime_ns < poscar.stat().st_mtime_ns:
        return "it is older"
    head = _head(path)
    try:
        return _other_structure(head, poscar) or _other_tags(head, incar)
    except MISREAD as error:
        return f"it can't be read ({type(error).__name__})"


def _head(path: Path) -> bytes:
    """What comes before the first step."""
    head = b""
    with path.open("rb") as file:
        for line in file:
            if CALCULATION in line:
                return head + line.partition(CALCULATION)[0]
            head += line
    return head


def _other_structure(head: bytes, poscar: Path) -> str | None:
    from pymatgen.io.vasp.inputs import Poscar

    ours, begin = Poscar.from_file(poscar).structure, BEGIN.findall(head)[-1]
    atoms = [symbol.decode() for symbol in re.findall(rb"<rc><c>\s*(\w+)\s*</c>", ATOMS.findall(head)[-1])]
    if [MISSPELT.get(symbol, symbol) for symbol in atoms] != [site.species_string for site in ours]:
        return "its atoms are other ones"
    away = _rows(BASIS.findall(begin)[0]) - ours.lattice.matrix
    apart = _rows(POSITIONS.findall(begin)[0]) - ours.frac_coords
    same = np.abs(away).max() < SAME and np.abs(apart - np.round(apart)).max() < SAME
    return None if same else "it begins with another structure"


def _other_tags(head: bytes, incar: Path) -> str | None:
    from pymatgen.io.vasp.inputs import Incar

    asked, told = Incar.from_file(incar), _values(INCAR.findall(head)[-1])
    both = [tag for tag in COMPARED if tag in asked and tag in told]
    other = [tag for tag in both if not np.isclose(float(asked[tag]), told[tag], rtol=1e-5, atol=1e-8)]
    return f"its {', '.join(other)} are other ones" if other else None


def magnetism_in(outcar: Path, atoms: int) -> tuple[float | None, list[float] | None]:
    """Of the cell and (n,) of its atoms in Bohr magnetons at the end, None where OUTCAR doesn't tell.

    Not by pymatgen's Outcar, which looks for all that there is in files of a hundred megabytes.
    """
    if not outcar.exists():
        return None, None
    text = outcar.read_bytes()
    cells = MOMENT_OF_CELL.findall(text, text.rfind(b"number of electron"))
    table = text[text.rfind(b"magnetization (x)") :] if b"magnetization (x)" in text else b""
    moments = [float(row[-1]) for row in map(bytes.split, MOMENT_OF_ATOM.findall(table))][:atoms]
    return (float(cells[-1]) if cells else None), (moments if len(moments) == atoms else None)


def gap_of(vasprun: Any, fermi: float | None = None) -> float | None:
    """eV, on the k-points of a pymatgen Vasprun; by its own Fermi energy, moved into the gap, where none is given."""
    try:
        return gap_at(vasprun.eigenvalues, vasprun.calculate_efermi() if fermi is None else fermi)
    except MISREAD:
        return None


def gap_at(eigenvalues: Mapping[Any, Floats], fermi: float) -> float:
    """eV between the bands below and above a Fermi energy in eV; 0 where one crosses it.

    eigenvalues: spin -> (k-points, bands, 2), energies first
    """
    bands = [(float(band.min()), float(band.max())) for spin in eigenvalues.values() for band in spin[..., 0].T]
    if any(low <= fermi < high for low, high in bands):
        return 0.0
    below, above = [high for _, high in bands if high <= fermi], [low for low, _ in bands if low > fermi]
    return min(above) - max(below) if above and below else 0.0
