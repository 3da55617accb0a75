"""kill -9 in the middle of a fused generation; the same command again; the rows of one that nobody disturbed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from registry.database import engine_for
from registry.hull.level_rows import ensure_level
from tests.conftest import NewDatabase
from tests.flow.test_round import import_parents
from tests.workers.models import save_tiny_model
from tests.workers.standin import standin_level
from workers.train import promote, register

ROOT = Path(__file__).parents[2]
BATCH = 25
ROWS = {
    "structures": "SELECT public_id, origin, attributes FROM structure ORDER BY 1",
    "predictions": "SELECT public_id, stage FROM prediction JOIN structure ON structure.id = structure_id ORDER BY 1",
    "ways": """
        SELECT child.public_id, parent.public_id, operation, arguments, probability FROM lineage
        JOIN structure AS child ON child.id = child_id JOIN structure AS parent ON parent.id = parent_id
        ORDER BY 1, 2, 3, arguments::text""",
}
GENERATED = "SELECT count(*) FROM structure WHERE origin = 'generated'"
COUNTED = """
SELECT sum(candidates) FROM funnel
WHERE stage = 'generate: kept' AND round_id = (SELECT min(id) FROM round WHERE finished_at IS NULL)"""


def prepare(url: str, model: Path) -> int:
    engine = engine_for(url)
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, standin_level())
        import_parents(session)
        register(session, "tiny", model)
        promote(session, "tiny")
    engine.dispose()
    return level_id


def start(url: str, level_id: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.generating", url, str(level_id), str(BATCH)]
    return subprocess.Popen(command, cwd=ROOT)


def ask(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def written(url: str) -> int:
    return int(ask(url, GENERATED)[0][0])


def killed(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not when():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()


def test_killed_in_the_middle_of_a_fused_generation(new_database: NewDatabase, tmp_path: Path):
    model = save_tiny_model(tmp_path / "tiny")
    with new_database() as calm, new_database() as url:
        assert start(calm, prepare(calm, model)).wait() == 0
        level_id, total = prepare(url, model), written(calm)
        killed(start(url, level_id), lambda: written(url) >= 0.4 * total)
        assert 0 < written(url) < total
        assert ask(url, COUNTED)[0][0] >= written(url)  # what was written had been counted
        assert start(url, level_id).wait() == 0
        for name, query in ROWS.items():
            assert ask(url, query) == ask(calm, query), name
