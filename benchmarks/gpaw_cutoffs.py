"""Which cutoff each element's dataset needs in GPAW: where a small cell has the stress that it has at a far higher one.

    python -m benchmarks.gpaw_cutoffs [--quick] [--elements Mg,O] [--out FILE]      needs `make dft`; an hour

One atom in a face-centred cell of its usual volume (workers/candidates/atomic_volumes.json), squeezed by a tenth, 3 x 3
x 3 k-points, smeared, without spin. A basis too small shows as a false stress, which lets cells shrink: allowed is
TOLERANCE of stress times volume, as much as a relaxation to 0.03 eV/angstrom leaves, and ENERGY_TOLERANCE: the stress
may be right by chance, on its way through zero.
Elements that were done are kept in FILE, a line of JSON each. The last line is JSON: cutoff -> elements.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from importlib import resources
from pathlib import Path
from typing import Any

from registry.threads import one_thread_each
from workers.engines.gpaw import elements

CUTOFFS = (400.0, 500.0, 600.0, 700.0, 800.0, 900.0)  # eV
REFERENCE = 1200.0
TOLERANCE = 0.03  # eV per atom: stress times volume
ENERGY_TOLERANCE = 0.025  # eV per atom; most of it is the same in a compound
SQUEEZED = 0.9
QUICK = ("Mg", "O")


def energy_and_virial(symbol: str, volume: float, cutoff: float) -> tuple[float, float]:
    """eV per atom, and stress times volume in eV per atom."""
    from ase.build import bulk
    from gpaw import GPAW, PW

    atoms = bulk(symbol, "fcc", a=(4 * volume) ** (1 / 3))
    atoms.calc = GPAW(
        mode=PW(cutoff),
        xc="PBE",
        kpts={"size": (3, 3, 3), "gamma": True},
        occupations={"name": "fermi-dirac", "width": 0.2},
        convergence={"energy": 1e-5, "density": 1e-4},
        txt=None,
    )
    return float(atoms.get_potential_energy()), float(atoms.get_stress()[:3].mean() * atoms.get_volume())


def judged(symbol: str, volume: float) -> dict[str, Any]:
    """The lowest of CUTOFFS that will do, and what each is off by."""
    reference = energy_and_virial(symbol, volume, REFERENCE)
    errors = {}
    for cutoff in CUTOFFS:
        found = energy_and_virial(symbol, volume, cutoff)
        errors[cutoff] = [round(one - other, 4) for one, other in zip(found, reference, strict=True)]
        if abs(errors[cutoff][0]) <= ENERGY_TOLERANCE and abs(errors[cutoff][1]) <= TOLERANCE:
            return {"element": symbol, "cutoff": cutoff, "errors": errors}
    return {"element": symbol, "cutoff": 1000.0, "errors": errors}


def main() -> None:
    one_thread_each()
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="two elements, within 60 s")
    arguments.add_argument("--elements", default="")
    arguments.add_argument("--out", type=Path)
    asked = arguments.parse_args()
    wanted = QUICK if asked.quick else [one for one in asked.elements.split(",") if one] or sorted(elements())
    lines = asked.out.read_text().splitlines() if asked.out and asked.out.exists() else []
    done = {one["element"]: one for one in map(json.loads, lines)}
    volumes = json.loads((resources.files("workers.candidates") / "atomic_volumes.json").read_text())["volumes"]
    for symbol in wanted:
        if symbol not in done:
            done[symbol] = judged(symbol, SQUEEZED * volumes.get(symbol, 20.0))
            print(json.dumps(done[symbol]), flush=True)
            if asked.out:
                with asked.out.open("a") as file:
                    file.write(json.dumps(done[symbol]) + "\n")
    table: defaultdict[float, list[str]] = defaultdict(list)
    for symbol in wanted:
        table[done[symbol]["cutoff"]].append(symbol)
    print(json.dumps({f"{cutoff:g}": table[cutoff] for cutoff in sorted(table)}))


if __name__ == "__main__":
    main()
