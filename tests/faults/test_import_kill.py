"""kill -9 at any moment of an import; the same command again; the rows of an import that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from registry.identity.composition import SYMBOLS
from registry.imports import BATCH
from tests.conftest import NewDatabase

RECORDS = 1800
KILLS = 5
PAIRS = [(cation, anion) for cation in (3, 11, 19, 37, 47) for anion in (9, 17, 35, 53)]
ROWS = {
    "structures": """
        SELECT structure.public_id, reduced_formula, prototype.label, source.name, lattice, coords, attributes
        FROM structure JOIN composition ON composition.id = composition_id
        JOIN source ON source.id = source_id LEFT JOIN prototype ON prototype.id = prototype_id ORDER BY 1""",
    "names": """
        SELECT public_id, scheme, value FROM external_id JOIN structure ON structure.id = structure_id
        ORDER BY 1, 2, 3""",
    "duplicates": """
        SELECT one.public_id, other.public_id, rule FROM duplicate
        JOIN structure AS one ON one.id = structure_id JOIN structure AS other ON other.id = same_as_id ORDER BY 1""",
    "energies": """
        SELECT public_id, level.name, energy, correction, calculation.settings FROM calculation
        JOIN structure ON structure.id = initial_structure_id JOIN level ON level.id = level_id ORDER BY 1""",
    "imports": "SELECT name, sha256, records, counts, complaints, finished_at IS NULL FROM import ORDER BY 1",
}


def frames() -> Iterator[str]:
    """Rock salts of ever other lattice constants, every seventh in a doubled cell, every fiftieth with atoms on top."""
    for number in range(RECORDS):
        one, other = (SYMBOLS[z] for z in PAIRS[number % len(PAIRS)])
        edge = 5.0 + 0.001 * number
        atoms = [(one, 0.0, 0.0, 0.0), (other, edge / 2, edge / 2, 0.0 if number % 50 else -edge / 2)]
        atoms += [(one, edge / 2, edge / 2, edge / 2)] if number % 50 == 0 else []
        cell, count = [edge, 0, 0, 0, edge, 0, 0, 0, edge / 2], len(atoms)
        if number % 7 == 0:
            atoms += [(symbol, x, y, z + edge / 2) for symbol, x, y, z in atoms]
            cell, count = [*cell[:8], edge], 2 * count
        lattice = " ".join(map(str, cell))
        head = (
            f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 energy={-3.0 * count} mp_id="mp-{number}" pbc="T T T"'
        )
        yield "\n".join([str(count), head, *(f"{symbol} {x} {y} {z}" for symbol, x, y, z in atoms), ""])


def start(url: str, file: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "api.cli.main", "import", str(file), "--level", "theirs", "--json"]
    environment = {**os.environ, "LODE_DATABASE_URL": url, "LODE_HOME": str(home)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def content(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query).fetchall() for name, query in ROWS.items()}


def killed(process: subprocess.Popen[bytes], after: float) -> bytes | None:
    """What it said if it was quicker than the kill."""
    try:
        return process.communicate(timeout=after)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return None


def test_the_same_rows_as_undisturbed(new_database: NewDatabase, tmp_path: Path) -> None:
    file, rng = tmp_path / "salts.extxyz", random.Random(0)
    file.write_text("".join(frames()))
    with new_database() as calm, new_database() as disturbed:
        begun = time.monotonic()
        told = json.loads(start(calm, file, tmp_path).communicate()[0])
        seconds = time.monotonic() - begun
        assert (told["read"], bool(told["refused"]), told["duplicates"] > 0) == (RECORDS, True, True)
        said = [killed(start(disturbed, file, tmp_path), seconds * rng.uniform(0.2, 0.8)) for _ in range(KILLS)]
        assert None in said
        ended = [one for one in said if one is not None] or [start(disturbed, file, tmp_path).communicate()[0]]
        last = json.loads(ended[0])
        assert last.pop("resumed", 0) % BATCH == 0
        assert last == told
        assert content(disturbed) == content(calm)
