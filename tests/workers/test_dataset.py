"""Training tables from the registry, and their queries asked again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from predictors.training_table import read_table
from registry.errors import FilterError, LevelMismatch, LodeError, NotFound
from registry.hull.store import place
from registry.models import Calculation, HullState, Level, Model, Structure, TrainingSet
from registry.training_rows import TrainingQuery, left_out, training_query, training_rows
from tests import factories as make
from tests.docs.salts import LEVEL, salts
from workers.dataset import as_json, check_model, write_dataset


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """The salts, placed."""
    with Session(engine) as session, session.begin():
        salts(session)
    return engine


def query(engine: Engine, text: str = "", as_of: datetime | None = None, *sources: str) -> TrainingQuery:
    with Session(engine) as session:
        return training_query(session, LEVEL, text, as_of, frozenset(sources))


def written(engine: Engine, asked: TrainingQuery, path: Path) -> Path:
    with Session(engine) as session:
        write_dataset(session, asked, path, lambda _: None)
    return path


def test_every_entry_is_a_row_with_its_relaxed_crystal(filled: Engine, tmp_path: Path):
    table = read_table(written(filled, query(filled), tmp_path / "t.parquet"))
    with Session(filled) as session:
        placed = session.execute(
            sa.select(Structure, HullState.formation_energy_per_atom)
            .join(Calculation, Calculation.final_structure_id == Structure.id)
            .join(HullState, HullState.calculation_id == Calculation.id)
            .where(HullState.valid_to.is_(None))
            .order_by(Calculation.initial_structure_id)
        ).all()
        rows = table.rows.to_pylist()
        assert [row["id"] for row in rows] == [one.Structure.public_id for one in placed]
        for row, (structure, energy) in zip(rows, placed, strict=True):
            assert row["target"] == pytest.approx(energy, abs=1e-12)
            assert (row["lattice"], row["numbers"]) == (structure.lattice, structure.species)
            assert np.array(row["frac_coords"]).tobytes() == structure.coords
    assert len(rows) == 17
    assert {"ClNa", "Cl2KNa"} <= {row["formula"] for row in rows}  # as all other training tables write them
    assert {row["prototype"] for row in rows} >= {"AB_cF8_225_a_b", None}
    assert all(datetime.fromisoformat(row["created_at"]).tzinfo for row in rows)


def test_the_same_query_gives_the_same_bytes(filled: Engine, tmp_path: Path):
    asked = query(filled, "nelements=2 AND e_above_hull<0.2")
    one, other = (written(filled, asked, tmp_path / name).read_bytes() for name in ("a.parquet", "b.parquet"))
    assert one == other
    assert 0 < read_table(tmp_path / "a.parquet").rows.num_rows < 17


def test_the_hull_is_asked_as_of_a_moment(filled: Engine, tmp_path: Path):
    asked = query(filled)
    with Session(filled) as session, session.begin():
        level = session.scalars(sa.select(Level).where(Level.name == LEVEL)).one()
        new = make.structure(session, "NaCl4")
        make.calculation(session, new, level, energy=-20.0)
        place(session, level.id)
    assert len(list_of(filled, asked)) == 17
    assert len(list_of(filled, query(filled))) == 18
    assert list_of(filled, query(filled, "", datetime(2001, 1, 1, tzinfo=UTC))) == []
    assert query(filled, 'AS OF "2001-01-01"').as_of == "2001-01-01T00:00:00+00:00"


def list_of(engine: Engine, asked: TrainingQuery) -> list[str]:
    with Session(engine) as session:
        return [row["id"] for row in training_rows(session, asked)]


def test_what_may_not_leave_and_what_has_no_place_is_counted(filled: Engine):
    with Session(filled) as session, session.begin():
        level = session.scalars(sa.select(Level).where(Level.name == LEVEL)).one()
        make.source(session, "shut", non_commercial=True)
        kept = make.structure(session, "NaCl5", source_name="shut")
        make.calculation(session, kept, level, energy=-20.0)
        place(session, level.id)
        make.calculation(session, make.structure(session, "NaCl6"), level, energy=-20.0)
    with Session(filled) as session:
        left = left_out(session, query(filled))
    assert (left.unplaced, left.by_source) == (1, {"shut": 1})
    assert len(list_of(filled, query(filled))) == 17
    assert len(list_of(filled, query(filled, "", None, "shut"))) == 18


@pytest.mark.parametrize(
    ("text", "as_of", "error", "reason"),
    [
        ("nelements<", None, FilterError, "nelements"),
        ('AS OF "2001-01-01"', datetime(2001, 1, 1, tzinfo=UTC), FilterError, "leave one of the two"),
        ('level="mp2020"', None, LevelMismatch, "asks for level 'mp2020', the targets are of level '7net-0'"),
        ("", datetime.now(UTC) + timedelta(days=9), FilterError, "yet to come"),
    ],
)
def test_what_cannot_be_asked_is_told(
    filled: Engine, text: str, as_of: datetime | None, error: type[Exception], reason: str
):
    with pytest.raises(error, match=reason):
        query(filled, text, as_of)
    with Session(filled) as session, pytest.raises(NotFound, match="no level 'nowhere'"):
        training_query(session, "nowhere", "")
    with pytest.raises(NotFound, match="no source 'nobody'"):
        query(filled, "", None, "nobody")


def test_a_table_without_rows_is_never_written(filled: Engine, tmp_path: Path):
    with pytest.raises(LodeError, match="no entry to learn from"):
        written(filled, query(filled, "nelements=7"), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def learnt(filled: Engine, tmp_path: Path) -> Path:
    """The table that the model of the salts is said to have learnt from, and a file beside it."""
    path = written(filled, query(filled, "nelements=2"), tmp_path / "t.parquet")
    file = {"name": "mine.parquet", "rows": 3, "sha256": "ab", "columns": {}, "level": None, "query": None}
    with Session(filled) as session, session.begin():
        training_set = session.scalars(sa.select(TrainingSet)).one()
        training_set.parts = [*(asdict(part) for part in read_table(path).parts), file]
    return path


def checked(engine: Engine):
    with Session(engine) as session:
        name = session.scalars(sa.select(Model.name)).one()
        return check_model(session, name, lambda _: None)


def test_a_model_s_query_is_asked_again(filled: Engine, learnt: Path):
    of_query, of_file = checked(filled)
    assert (of_query.same, of_query.rows_now) == (True, of_query.rows)
    assert str(of_query).startswith("t.parquet: the same")
    assert (of_file.same, "keep the file" in str(of_file)) == (None, True)
    assert as_json([of_query])["same"] is True
    assert as_json([of_query, of_file])["same"] is None


def test_what_changed_is_told(filled: Engine, learnt: Path):
    with Session(filled) as session, session.begin():
        victim = session.scalars(sa.select(HullState.calculation_id).where(HullState.nelements == 2)).first()
        its_states = HullState.calculation_id == victim
        session.execute(sa.update(HullState).where(its_states).values(formation_energy_per_atom=-0.123))
    found = checked(filled)[0]
    assert (found.same, found.changed) == (False, ("target",))
    assert str(found) == "t.parquet: other values in target"
    with Session(filled) as session, session.begin():
        session.execute(sa.delete(HullState).where(its_states))
    found = checked(filled)[0]
    assert (found.same, found.rows_now) == (False, found.rows - 1)
    assert "rows then" in str(found)
    assert as_json([found])["same"] is False
