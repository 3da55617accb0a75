"""docs/filters.md is what `make docs` writes, and each of its examples finds something."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from registry.filters_page import EXAMPLES, ORDER, filters_page
from registry.query.fields import FIELDS, OPERATORS
from registry.query.filter import parse
from registry.query.materials import search
from tests import factories as make

PAGE = Path(__file__).parents[2] / "docs" / "filters.md"
ROCK_SALT, PEROVSKITE = "AB_cF8_225_a_b", "ABC3_cP5_221_a_b_c"
SPRING = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def registry(session: Session) -> Session:
    """A few salts, oxides and phosphates with all that the examples ask about."""
    level = make.level(session)
    make.source(session, "COD", licence="CC0-1.0")
    iron = make.material(session, "LiFePO4", 0.0, level, source_name="COD")
    for formula in ("LiFeO2", "Li2O", "Fe"):
        make.material(session, formula, 0.01, level)
    make.source(session, "GNoME", non_commercial=True)
    make.material(session, "PbF2", 0.01, level, source_name="GNoME", created_at=datetime(2020, 1, 1, tzinfo=UTC))
    salt = make.material(session, "NaCl", 0.0, level, label=ROCK_SALT, external_ids={"mp": "mp-22862"})
    make.duplicate(session, make.structure(session, "NaCl", label=ROCK_SALT), salt)
    make.material(session, "BaTiO3", 0.2, level, label=PEROVSKITE, created_at=SPRING)
    polymorph = make.calculation(session, make.structure(session, "LiFePO4"), level)
    make.hull_state(session, polymorph, 0.1, phase_separation_energy=-0.1)
    old = make.calculation(session, make.structure(session, "KCl"), level)
    make.hull_state(session, old, 0.0, valid_from=datetime(2026, 1, 1, tzinfo=UTC), valid_to=SPRING)
    make.hull_state(session, make.calculation(session, make.child(session, salt, "KBr"), level), 0.0)
    make.property_of(session, iron, "band_gap", 3.5, "PBE")
    make.property_of(session, iron, "dimensionality", 2, "Cheon 2017", unit="1")
    make.family_member(session, iron, "AB_cF4_225_a:(Li0.5Na0.5)")
    candidate, model = make.child(session, salt, "LiCl"), make.model(session, level)
    make.prediction(session, candidate, model, -1.5)
    turn = make.campaign_round(session, make.campaign(session, level))
    make.selection(session, candidate, turn, model)
    return session


@pytest.mark.parametrize("asked", EXAMPLES)
def test_an_example_finds_something_but_not_everything(registry: Session, asked: str) -> None:
    page = search(registry, asked, count_up_to=1_000)
    assert page.count is not None
    assert 0 < page.count.value < len(search(registry).data)


def test_what_the_head_writes_is_read() -> None:
    head = filters_page().partition("## Examples")[0]
    cells = re.findall(r"^\| (`.+?) \|", head, re.MULTILINE)
    written = [text for cell in cells for text in re.findall("`(.+?)`", cell) if text != "IS UNKNOWN"]
    assert len(written) == 14
    for text in written:
        parse(text.replace("NOT a AND b OR c", "NOT nsites=1 AND nsites=2 OR nsites=3").removeprefix("... "))


def test_polymorphs_and_orders_are_what_the_page_says(registry: Session) -> None:
    names = [
        search(registry, f'reduced_formula="{one}"', count_up_to=1_000).count
        for one in ("LiFePO4", "O4PFeLi", "Li2Fe2(PO4)2")
    ]
    assert names[0] == names[1] == names[2]
    assert {row["reduced_formula"] for row in search(registry, 'reduced_formula CONTAINS "PO4"').data} == {"LiFePO4"}


def test_every_field_and_operator_is_there() -> None:
    assert set(ORDER) == set().union(*OPERATORS.values())
    fields = filters_page().partition("## Fields")[2]
    assert re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE) == list(FIELDS)
    assert "| `e_above_hull` | float | eV/atom |" in fields


def test_the_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text() == filters_page(), "docs/filters.md is stale: run `make docs` and commit it"


def test_the_module_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    subprocess.run([sys.executable, "-m", "registry.filters_page", str(page)], check=True)
    assert page.read_text() == filters_page()
