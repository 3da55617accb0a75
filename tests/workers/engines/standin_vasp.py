"""Genuine outputs of VASP laid out for the stand-in, and potentials of our own writing."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS as SYMBOLS_OF
from workers.engines.base import Machine
from workers.engines.program import job_of
from workers.engines.vasp import DEFAULTS
from workers.engines.vasp_inputs import functional_of, potcar_files, potentials_of

POTCAR = """  PAW_PBE {symbol} 01Jan2000
   {valence:.8f}
 parameters from PSCTR are:
   VRHFIN ={element}: s
   LEXCH  = PE
   TITEL  = PAW_PBE {symbol} 01Jan2000
   LULTRA =        F    use ultrasoft PP ?
   LPAW   =        T    paw PP
   POMASS =   10.000; ZVAL   = {valence:8.3f}    mass and valenz
   ENMAX  =  245.000; ENMIN  =  184.000 eV
 END of PSCTR-controll parameters
   0.10000000   0.20000000   0.30000000
 End of Dataset
"""
SYMBOLS = {"Si": 4, "Lu_3": 9, "Li_sv": 3, "Fe_pv": 14, "P": 5, "O": 6, "Na_pv": 7, "Cl": 7}
PROJECTED = re.compile(rb"<projected>.*?</projected>|<partial>.*?</partial>", re.DOTALL)
BANDS = re.compile(rb"^ k-point +\d+ :.*\n  band No\..*\n(?: +\d+ +\S+ +\S+ *\n)+", re.MULTILINE)
FUNCTIONALS = ("POT_GGA_PAW_PBE", "POT_GGA_PAW_PBE_54")
SILICON, LUTETIUM, PHOSPHATE, OXIDE = "Si", "Lu", "Fe Li O P", "Fe O"
TYPES = """<rc><c>   1</c><c>Fe</c><c> 55.8</c><c> 14.0</c><c> PAW_PBE Fe_pv 06Sep2000 </c></rc>
    <rc><c>   1</c><c>O </c><c> 16.0</c><c> 6.0</c><c> PAW_PBE O 08Apr2002 </c></rc>"""


def data_folder() -> Path:
    """Skips where the genuine outputs aren't here."""
    if "LODE_TEST_DATA" not in os.environ:
        pytest.skip("LODE_TEST_DATA is unset: it names the folder of genuine outputs of VASP")
    return Path(os.environ["LODE_TEST_DATA"]) / "vasp_outputs"


def laid_out(folder: Path, short: bool = False) -> dict[str, str]:
    """Elements -> folder with vasprun.xml and OUTCAR. Iron oxide is silicon under other names.

    short: without the states on atoms and OUTCAR's tables of bands, nine tenths of it all: nobody makes use of them,
        but custodian reads them at every check
    """
    data = data_folder()
    scan = json.loads(gzip.decompress((data / "r2scan_relax.json.gz").read_bytes()))
    outcar = gzip.decompress((data / "emmet_OUTCAR.gz").read_bytes())
    files = {
        SILICON: (gzip.decompress((data / "emmet_vasprun.xml.gz").read_bytes()), outcar),
        LUTETIUM: tuple(gzip.decompress(bytes.fromhex(scan[f"{name}.gz"]["0"])) for name in ("vasprun.xml", "OUTCAR")),
        PHOSPHATE: (gzip.decompress((data / "vasprun.lifepo4.xml.gz").read_bytes()), outcar),
    }
    files[OXIDE] = (_as_oxide(files[SILICON][0].decode()).encode(), outcar)
    for elements, (vasprun, written) in files.items():
        of = folder / elements.replace(" ", "-")
        of.mkdir(parents=True)
        (of / "vasprun.xml").write_bytes(PROJECTED.sub(b"", vasprun) if short else vasprun)
        (of / "OUTCAR").write_bytes(BANDS.sub(b"", written) if short else written)
    return {elements: str(folder / elements.replace(" ", "-")) for elements in files}


def _as_oxide(vasprun: str) -> str:
    named = vasprun.replace("<c>Si</c><c>   1</c>", "<c>Fe</c><c>   1</c>", 1)
    named = named.replace("<c>Si</c><c>   1</c>", "<c>O </c><c>   2</c>", 1)
    return re.sub(r"<rc><c>   2</c><c>Si</c>.*?</rc>", TYPES, named)


def write_potcars(folder: Path, symbols: Sequence[str] = tuple(SYMBOLS)) -> None:
    for functional in FUNCTIONALS:
        (folder / functional).mkdir(parents=True)
        for symbol in symbols:
            text = POTCAR.format(symbol=symbol, element=symbol.split("_")[0], valence=SYMBOLS[symbol])
            (folder / functional / f"POTCAR.{symbol}").write_text(text)


@dataclass(frozen=True)
class StandInVasp:
    """A machine with the stand-in for VASP, and what it shall do."""

    folder: Path
    outputs: Mapping[str, str]

    @property
    def machine(self) -> Machine:
        return Machine(
            vasp=(str(self.folder / "vasp_std"),), scratch=self.folder / "scratch", potcars=self.folder / "psp"
        )

    def plan(self, faults: Mapping[str, str]) -> None:
        """Begin anew with these faults, by number of the start."""
        (self.folder / "starts").unlink(missing_ok=True)
        plan = {"outputs": dict(self.outputs), "starts": str(self.folder / "starts"), "faults": dict(faults)}
        (self.folder / "plan.json").write_text(json.dumps(plan))

    @property
    def starts(self) -> list[dict[str, Any]]:
        path = self.folder / "starts"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def stages(self) -> list[str]:
        return [start["stage"] for start in self.starts]

    def crystal(self, elements: str) -> Crystal:
        """What the genuine run began with."""
        return _beginning(Path(self.outputs[elements]) / "vasprun.xml")


@cache
def _beginning(path: Path) -> Crystal:
    from pymatgen.io.vasp.outputs import Vasprun

    run = Vasprun(path, parse_potcar_file=False, parse_dos=False, parse_eigen=False)
    return Crystal.from_pymatgen(run.initial_structure)


def standin_vasp(folder: Path, outputs: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> StandInVasp:
    write_program(folder, [str(Path(__file__).with_name("vasp_std.py"))])
    write_potcars(folder / "psp")
    monkeypatch.setenv("LODE_TEST_VASP", str(folder / "plan.json"))
    vasp = StandInVasp(folder, outputs)
    vasp.plan({})
    return vasp


def computing_vasp(folder: Path) -> Machine:
    """A machine with the stand-in that computes (tests/workers/engines/computing_vasp.py)."""
    ours = Path(__file__).parents[3]
    write_program(folder, ["-m", "tests.workers.engines.computing_vasp"], f"PYTHONPATH={shlex.quote(str(ours))} ")
    write_potcars(folder / "psp")
    return Machine(vasp=(str(folder / "vasp_std"),), scratch=folder / "scratch", potcars=folder / "psp")


def chain_of(
    machine: Machine, folder: Path, crystal: Crystal, task: str, settings: Mapping[str, Any], **other: Any
) -> Any:
    """The program itself, in this process: importing pymatgen once is enough. settings: over the engine's defaults."""
    from workers.engines.vasp_run import Chain

    settings = {**DEFAULTS, **settings}
    elements = [SYMBOLS_OF[number] for number in crystal.amounts]
    files = potcar_files(potentials_of(elements, settings), functional_of(settings), machine.potcars)
    folder.mkdir()
    more = {
        "changes": {},
        "machine_tags": {},
        "command": list(machine.vasp),
        "potcars": {element: str(path) for element, path in files.items()},
        "mesh_coords": crystal.frac_coords.tolist(),
        "resumed": False,
    }
    return Chain({**job_of(task, crystal, other.pop("start", None), settings), **more, **other}, folder)


def write_program(folder: Path, words: Sequence[str], environment: str = "") -> None:
    script = folder / "vasp_std"
    script.write_text(f"#!/bin/sh\n{environment}exec {shlex.join([sys.executable, *words])}\n")
    script.chmod(0o755)
