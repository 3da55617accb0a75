"""Clusters of an older PostgreSQL, filled, and what is in a registry."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from registry import embedded, models
from registry.backup import count_rows
from registry.database import engine_for
from registry.errors import DatabaseUnavailable
from registry.postgres_binaries import OLDEST, find_binaries, find_older
from registry.schema import upgrade
from tests import factories as make
from tests.docs.salts import salts


@contextmanager
def short_home(filled_by: Callable[[Path], Path]) -> Iterator[Path]:
    """A LODE_HOME in a short path: that of a unix socket must be."""
    with tempfile.TemporaryDirectory(prefix="lode-") as folder:
        Path(folder).chmod(0o755)
        yield filled_by(Path(folder) / "home")


def older_binaries() -> Path:
    """The oldest PostgreSQL here that is older than the wheel's, or the test is skipped."""
    newest = find_binaries().major()
    for major in range(OLDEST, newest):
        try:
            return find_older(major).folder
        except DatabaseUnavailable:
            continue
    pytest.skip(f"no PostgreSQL between {OLDEST} and {newest} here")


def fill(url: str) -> None:
    """A migrated registry with rows in every table."""
    engine = engine_for(url)
    upgrade(engine)
    with Session(engine) as session, session.begin():
        fill_every_table(session)
    engine.dispose()


def fill_every_table(session: Session) -> None:
    """The salts, and what they leave empty."""
    told = salts(session)
    make.work(session)
    make.worker(session)
    rock, label = told.rows["rock salt"], told.labels["rock salt"]
    make.property_of(session, rock, "band_gap", 5.0, "measured")
    make.family_member(session, rock, "family")
    make.lineage(session, make.structure(session, "KCl", origin="generated"), rock)
    make.structure(session, "LiF", external_ids={"mp": "mp-1"})
    make.level_bridge(session, make.level(session, "theirs"), told.level)
    turn = session.scalars(select(models.Round)).first()
    assert turn is not None
    for row in (
        models.Import(name="file", sha256="0" * 64, level_id=None, records=1, counts={"read": 1}, complaints=[]),
        models.ReferenceSet(
            level_id=told.level.id, from_level_id=make.level(session, "theirs").id, compared={"functional": "PBE"}
        ),
        models.Unplaced(level_id=label.level_id, calculation_id=label.id),
        models.Placement(level_id=label.level_id, calculation_ids=[label.id]),
        models.ModelFile(model_id=told.model.id, name="model.json", content=b"{}"),
        models.Validation(round_id=turn.id, name="textbook", summary={}, rows=[{"formula": "NaCl"}]),
        models.Frame(
            composition_id=rock.composition_id,
            calculation_id=label.id,
            step=0,
            lattice=rock.lattice,
            coords=rock.coords,
            energy=-6.0,
            forces=bytes(len(rock.coords)),
            stress=[0.0] * 6,
        ),
    ):
        make.added(session, row)
    empty = [
        name for name, count in count_rows(session.connection()).items() if not count and name != "alembic_version"
    ]
    assert not empty, f"give {empty} rows here"


def contents(url: str) -> dict[str, Any]:
    """Every row of every table, as text in order, and where the sequences stand."""
    engine = engine_for(url)
    with engine.connect() as connection:
        found: dict[str, Any] = {
            name: connection.scalars(text(f'SELECT t::text FROM "{name}" t ORDER BY 1')).all()
            for name in count_rows(connection)
        }
        sequences = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        found["sequences"] = [tuple(row) for row in connection.execute(text(sequences))]
    engine.dispose()
    return found


def old_home(home: Path) -> Path:
    """A filled cluster of the older PostgreSQL in `home`, not served."""
    fill(embedded.start(home, bin_dir=older_binaries(), durable=False))
    embedded.stop(home)
    return home


def copy_of(home: Path, place: Path) -> Path:
    """The same cluster at another place, its owner kept."""
    place.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(home), str(place)], check=True)
    return place
