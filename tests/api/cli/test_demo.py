"""The last line of the demo: each of its counts is one statement on the registry."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from api.cli.demo import SUMMARY
from tests import factories as make


def test_the_counts_of_the_summary(session: Session) -> None:
    level = make.level(session)
    model = make.model(session, level)
    turn = make.campaign_round(session, make.campaign(session, level))
    known = make.material(session, "NaCl", 0.0, level)
    found, above, failed = (make.structure(session, one, origin="generated") for one in ("KCl", "KBr", "LiF"))
    for candidate in (found, above, failed):
        make.prediction(session, candidate, model)
        make.selection(session, candidate, turn, model)
    make.hull_state(session, make.calculation(session, found, level), 0.0)
    make.hull_state(session, make.calculation(session, above, level), 0.1)
    make.failure(session, failed, level)
    make.duplicate(session, make.structure(session, "NaCl"), known)
    counts = {name: session.scalar(text(query), {"round": turn.id}) for name, query in SUMMARY.items()}
    assert counts == {"known": 1, "generated": 3, "scored": 3, "labelled": 2, "failed": 1, "on_hull": 1}
