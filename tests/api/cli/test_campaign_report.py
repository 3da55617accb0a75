"""lode campaign report: what a round picked out of its model's domain is counted and marked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from registry.database import engine_for
from tests import factories as make
from tests.conftest import NewDatabase


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """Three candidates that the ensemble looked at, two of them labelled; one of either lies out of the domain."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            level = make.level(session)
            model = make.model(session, level)
            turn = make.campaign_round(session, make.campaign(session, level))
            for rank, (formula, single, outside) in enumerate([("NaCl", True, True), ("KCl", False, False)], 1):
                row = make.structure(session, formula, origin="generated")
                make.prediction(session, row, model, -1.0, stage="single", spread=None, out_of_domain=single)
                make.prediction(session, row, model, -1.0, lower_90=-1.2, upper_90=-0.7, out_of_domain=outside)
                make.selection(session, row, turn, model, purpose="refine", rank=rank)
                make.selection(session, row, turn, model, rank=rank)
                make.hull_state(session, make.calculation(session, row, level), 0.01 * rank)
            other = make.structure(session, "LiCl", origin="generated")
            make.prediction(session, other, model, -1.0, stage="single", spread=None)
            make.selection(session, other, turn, model, purpose="refine", rank=3)
        engine.dispose()
        yield url


def test_what_lies_out_of_domain_is_counted_and_marked(lode: Any) -> None:
    report = json.loads(lode("campaign", "report", "--json").stdout)
    assert report["out_of_domain"] == {
        "refine": {"picked": 3, "judged": 2, "out_of_domain": 1},
        "label": {"picked": 2, "judged": 2, "out_of_domain": 1},
    }
    assert [(row["reduced_formula"], row["out_of_domain"]) for row in report["data"]] == [
        ("NaCl", True),
        ("KCl", False),
    ]
    printed = lode("campaign", "report").output
    assert "1 of 3 candidates picked to refine lie out of the model's domain" in printed
    assert "1 of 2 candidates picked to label lie out of the model's domain" in printed
    assert "True" in printed
