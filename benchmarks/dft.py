"""Real DFT by GPAW as a user has it: crystals imported, labelled and placed by `lode` commands on a new registry.

    python -m benchmarks.dft [--quick] [--parts NAME,...]        needs `make dft`; about half an hour on one core

mg-si    Mg, Si and Mg2Si relaxed from cells 1.5 % too large each way: formation energy of Mg2Si (PBE: -0.12 to -0.20
         eV/atom), and the hull
mgo      MgO relaxed from a cell 2 % too large: a = 4.25 +- 0.02 angstrom (PBE; measured 4.21)
na-cl    Na, solid Cl2 and NaCl as they stand: formation energy of NaCl (measured at 298 K: -4.26 eV per formula unit)
r2scan   Mg, Si and Mg2Si at r2SCAN, as they stand after a relaxation at PBE by the same engine (a level of its own,
         whose settings say `task` and `prerelax`)

With --quick silicon alone, at 300 eV. Levels are gpaw-pbe and gpaw-r2scan as they ship, but for what is said above. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from registry.hull.levels import Level, load_level
from registry.threads import one_thread_each

LARGER = 1.015
MG_SI = {"Mg": ("hcp", {"a": 3.19 * LARGER, "c": 5.18 * LARGER}), "Si": ("diamond", {"a": 5.47 * LARGER})}
STABLE_MG2SI = (-0.20, -0.12)  # eV/atom
A_OF_MGO, SLACK = 4.25, 0.02  # angstrom, at PBE
SHOWN = ("reduced_formula", "formation_energy_per_atom", "e_above_hull", "is_stable")


class Registry:
    """`lode` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "LODE_HOME": str(folder / "home"), "LODE_DATABASE_URL": ""}

    def lode(self, *words: str) -> str:
        """What a command prints; its failure ends the benchmark with what it said."""
        command = [sys.executable, "-m", "api.cli.main", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"lode {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout

    def add(self, crystals: Mapping[str, Any]) -> None:
        """Import ASE's Atoms by the way of CIF files."""
        from ase.io import write

        files = [self._folder / f"{name}.cif" for name in crystals]
        for file, atoms in zip(files, crystals.values(), strict=True):
            write(file, atoms)
        self.lode("import", *map(str, files))

    def level(self, level: Level) -> None:
        file = self._folder / f"{level.name}.json"
        file.write_text(json.dumps({**asdict(level), "tabulated": list(level.tabulated)}, default=dict))
        self.lode("level", "add", str(file))

    def labelled(self, level: str, filter_: str) -> list[dict[str, Any]]:
        """Materials with their places, after everything that passes was labelled."""
        self.lode("label", "--level", level, "--filter", filter_)
        fields = ",".join(SHOWN)
        return json.loads(self.lode("query", filter_, "--level", level, "--fields", fields, "--json"))["data"]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows, as an analyst in psql has them."""
        import psycopg

        from registry import embedded

        with psycopg.connect(embedded.status(Path(self._environment["LODE_HOME"])).url) as connection:
            return connection.execute(statement).fetchall()


def mg2si(a: float = 6.36 * LARGER) -> Any:
    """The primitive cell of antifluorite."""
    from ase import Atoms

    half = a / 2
    cell = [[0, half, half], [half, 0, half], [half, half, 0]]
    return Atoms("SiMg2", cell=cell, scaled_positions=[[0, 0, 0], [0.25] * 3, [0.75] * 3], pbc=True)


def solid_chlorine() -> Any:
    """Cmce, a = 6.145, b = 4.395, c = 8.154 angstrom as measured at 22 K (Powell et al., J. Phys. Chem. 88, 3316): the
    primitive cell of four atoms."""
    from ase.spacegroup import crystal

    cell = [6.145, 4.395, 8.154, 90, 90, 90]
    return crystal("Cl", [(0.0, 0.1173, 0.1019)], spacegroup=64, cellpar=cell, primitive_cell=True)


def mg_si(registry: Registry) -> dict[str, Any]:
    rows = registry.labelled("gpaw-pbe", 'elements HAS ONLY "Mg","Si"')
    energy = energy_of(rows, "Mg2Si")
    return told(rows, {"formation_energy": energy, "aim": STABLE_MG2SI, "met": between(energy, *STABLE_MG2SI)})


def mgo(registry: Registry) -> dict[str, Any]:
    registry.lode("label", "--level", "gpaw-pbe", "--filter", 'reduced_formula="MgO"', "--ask-only")
    registry.lode("worker", "run", "label", "--drain")  # without oxygen at this level there is no place on a hull
    ((volume,),) = registry.sql(
        "SELECT relaxed.volume / relaxed.nsites FROM material JOIN structure AS relaxed"
        " ON relaxed.id = final_structure_id WHERE reduced_formula = 'MgO' AND level = 'gpaw-pbe'"
    )
    a = (8 * volume) ** (1 / 3)
    return {"a": round(a, 4), "aim": A_OF_MGO, "met": abs(a - A_OF_MGO) <= SLACK}


def na_cl(registry: Registry) -> dict[str, Any]:
    registry.level(variant("gpaw-pbe", "gpaw-pbe-static", {"task": "static"}))
    rows = registry.labelled("gpaw-pbe-static", 'elements HAS ONLY "Na","Cl"')
    return told(rows, {"formation_energy_per_formula": 2 * energy_of(rows, "NaCl")})


def r2scan(registry: Registry) -> dict[str, Any]:
    name = "gpaw-r2scan-static"
    registry.level(variant("gpaw-r2scan", name, {"task": "static", "prerelax": "gpaw-pbe"}))
    rows = registry.labelled(name, 'elements HAS ONLY "Mg","Si"')
    corrections = registry.sql(
        "SELECT count(*), count(*) FILTER (WHERE correction <> 0 OR correction_parts <> '{}')"
        f" FROM calculation JOIN level ON level.id = level_id WHERE level.name = '{name}' AND state = 'converged'"
    )
    return told(rows, {"formation_energy": energy_of(rows, "Mg2Si"), "labels_and_corrected": corrections[0]})


def silicon(registry: Registry) -> dict[str, Any]:
    registry.level(variant("gpaw-pbe", "coarse", {"cutoff": 300.0}))
    return told(registry.labelled("coarse", 'reduced_formula="Si"'), {})


def variant(name: str, new: str, settings: Mapping[str, Any]) -> Level:
    shipped = load_level(name)
    return replace(shipped, name=new, settings={**shipped.settings, **settings})


def energy_of(rows: list[dict[str, Any]], formula: str) -> float:
    return next(float(row["formation_energy_per_atom"]) for row in rows if row["reduced_formula"] == formula)


def between(value: float, low: float, high: float) -> bool:
    return low <= value <= high


def told(rows: list[dict[str, Any]], figures: Mapping[str, Any]) -> dict[str, Any]:
    return {**figures, "rows": [{name: row[name] for name in SHOWN} for row in rows]}


def crystals(quick: bool) -> dict[str, Any]:
    from ase.build import bulk

    elements = {name: bulk(name, kind, **cell) for name, (kind, cell) in MG_SI.items()}
    if quick:
        return {"Si": elements["Si"]}
    return {
        **elements,
        "Mg2Si": mg2si(),
        "MgO": bulk("MgO", "rocksalt", a=4.25 * 1.02),
        "Na": bulk("Na", "bcc", a=4.19),
        "NaCl": bulk("NaCl", "rocksalt", a=5.69),
        "Cl": solid_chlorine(),
    }


PARTS = {"mg-si": mg_si, "na-cl": na_cl, "r2scan": r2scan, "mgo": mgo}
COSTS = """
SELECT level.name, final.nsites, composition.reduced_formula, cpu_seconds, steps, gap, convergence->'kpoints'
FROM calculation JOIN level ON level.id = level_id JOIN structure AS final ON final.id = final_structure_id
JOIN composition ON composition.id = final.composition_id ORDER BY calculation.id"""


def main() -> None:
    one_thread_each()
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="within 60 s")
    arguments.add_argument("--parts", default=",".join(PARTS), metavar="NAME,...")
    asked = arguments.parse_args()
    parts = {"silicon": silicon} if asked.quick else {name: PARTS[name] for name in asked.parts.split(",")}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="lode-dft-") as scratch:
        Path(scratch).chmod(0o755)
        registry = Registry(Path(scratch))
        registry.lode("init")
        try:
            registry.add(crystals(asked.quick))
            for name, part in parts.items():
                began = time.monotonic()
                figures[name] = {**part(registry), "seconds": round(time.monotonic() - began)}
                print(f"{name}: {json.dumps(figures[name])}", flush=True)
            print("level, sites, formula, CPU s, steps, gap (eV), k-points")
            for row in registry.sql(COSTS):
                print(*row, sep="  ")
        finally:
            registry.lode("down")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
