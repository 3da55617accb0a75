"""The reference server of optimade-python-tools in a process of its own, on this machine, filled by a test."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests
from pymatgen.core import Lattice, Structure

STARTING = 60.0
"""Seconds."""

DISORDERED = {"name": "NaK", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]}
FIELDS = {
    "structures": [
        {"name": "energy", "type": "float", "unit": "eV", "description": "total energy of the cell"},
        {"name": "band_gap", "type": "float", "unit": "eV", "description": "by some functional"},
        {"name": "note", "type": "string", "description": "a text"},
        {"name": "path", "type": "list", "description": "no plain value"},
    ]
}
"""Fields of the provider: the server puts `_exmpl_` before their names."""


def salt(index: int) -> Structure:
    """The index-th of 20 crystals of the CsCl type."""
    cation, anion = divmod(index, 4)
    symbols = [("Li", "Na", "K", "Rb", "Cs")[cation], ("F", "Cl", "Br", "I")[anion]]
    return Structure(Lattice.cubic(3.2 + 0.1 * index), symbols, [[0, 0, 0], [0.5, 0.5, 0.5]])


def entry(identity: str, structure: Structure, **changes: Any) -> dict[str, Any]:
    """An OPTIMADE entry of a binary crystal, with what the specification demands."""
    symbols = [site.specie.symbol for site in structure]
    elements = sorted(set(symbols))
    amounts = structure.composition.get_el_amt_dict()
    attributes = {
        "immutable_id": f"immutable-{identity}",
        "last_modified": "2026-01-02T03:04:05Z",
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [amounts[symbol] / len(symbols) for symbol in elements],
        "chemical_formula_descriptive": structure.composition.reduced_formula,
        "chemical_formula_reduced": "".join(elements),
        "chemical_formula_anonymous": "AB",
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": np.asarray(structure.lattice.matrix).tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "nsites": len(symbols),
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in elements],
        "species_at_sites": symbols,
        "structure_features": [],
    }
    return {"id": identity, "type": "structures", "attributes": attributes | changes}


def disordered(identity: str) -> dict[str, Any]:
    species = [DISORDERED, {"name": "F", "chemical_symbols": ["F"], "concentration": [1.0]}]
    features = ["disorder"]
    return entry(identity, salt(0), species=species, species_at_sites=["NaK", "F"], structure_features=features)


@contextlib.contextmanager
def serving(folder: Path, entries: Sequence[dict[str, Any]], **config: Any) -> Iterator[str]:
    """The base URL of a server that holds the entries, until the block ends."""
    (folder / "data.jsonl").write_text("\n".join(json.dumps(line) for line in [{"x-optimade": {"v": 1}}, *entries]))
    settings = {"insert_test_data": False, "insert_from_jsonl": str(folder / "data.jsonl"), "log_dir": str(folder)}
    (folder / "config.json").write_text(json.dumps(settings | config))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "uvicorn", "optimade.server.main:app", "--fd", str(listener.fileno())]
        environment = {**os.environ, "OPTIMADE_CONFIG_FILE": str(folder / "config.json"), "OPTIMADE_BASE_URL": url}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, pass_fds=[listener.fileno()], env=environment, cwd=folder, stdout=log, stderr=log
            )
    try:
        _wait(url, process, folder / "log")
        yield url
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"{url}/v1/info", timeout=5).ok:
                return
        time.sleep(0.1)
    raise AssertionError(f"the reference server doesn't answer:\n{log.read_text()[-2000:]}")
