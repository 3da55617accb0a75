"""Every statement of docs/analytics.md, run on a filled registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.schema_page import view_comments
from tests.docs.salts import salts

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.+?)```\n\nReturns (.+?):\s", PAGE, re.DOTALL)


@pytest.mark.parametrize(("statement", "returns"), STATEMENTS)
def test_a_statement_returns_rows_of_the_columns_that_the_page_says(
    session: Session, statement: str, returns: str
) -> None:
    salts(session)
    result = session.execute(text(statement))
    assert list(result.keys()) == re.findall(r"`(\w+)`", returns)
    assert result.all()


def test_every_statement_says_what_it_returns() -> None:
    assert len(STATEMENTS) == PAGE.count("```sql") > 0


def test_every_view_has_a_section_with_an_example() -> None:
    views = {name.removeprefix("analytics.") for name in view_comments() if name.startswith("analytics.")}
    sections = dict(re.findall(r"^## (\w+)\n(.+?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
    assert views <= sections.keys()
    for view in views:
        assert f"FROM analytics.{view}" in sections[view], view
