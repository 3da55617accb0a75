"""docs/schema.md is what `make docs` writes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry.models import Base
from registry.schema_page import diagram, schema_page, view_comments

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"
TABLES = sorted(Base.metadata.tables)
BOX = re.compile(r"    (\w+) \{\n((?:        [a-z_]+ \w+ (?:(?:PK|FK|UK)(?:, )?)+\n)*)    \}\n")
LINE = re.compile(r'    (\w+) (?:\|\||\|o)--(?:o\{|o\|) (\w+) : "[\w, ]+"\n')


def test_the_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text() == schema_page(), "docs/schema.md is stale: run `make docs` and commit it"


def test_the_module_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    subprocess.run([sys.executable, "-m", "registry.schema_page", str(page)], check=True)
    assert page.read_text() == schema_page()


def test_the_diagram_is_mermaid_with_every_table_and_foreign_key() -> None:
    head, *_ = drawn = diagram().partition("erDiagram\n")
    assert head == "```mermaid\n"
    assert sorted(name for name, _ in BOX.findall(drawn[2])) == TABLES
    keys = [(key.referred_table.name, table.name) for table in Base.metadata.tables.values()
            for key in table.foreign_key_constraints]  # fmt: skip
    assert sorted(LINE.findall(drawn[2])) == sorted(keys)
    assert LINE.sub("", BOX.sub("", drawn[2])) == "```\n"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_its_columns_comments_and_checks(name: str) -> None:
    section = schema_page().split(f"\n### {name}\n")[1].split("\n### ")[0]
    table = Base.metadata.tables[name]
    for column in table.columns:
        assert f"\n| `{column.name}` | " in section
        assert (column.comment or "") in section
    for check in (one for one in table.constraints if hasattr(one, "sqltext")):
        assert f"\n- check `{check.sqltext}`" in section


def test_what_a_reader_would_stumble_over() -> None:
    page = schema_page()
    assert "| `stress` | double precision[] | yes | eV/angstrom^3, Voigt xx yy zz yz xz xy |" in page
    assert "| `final_structure_id` | bigint | yes | -> `structure.id` |" in page
    assert "- foreign key (model_id, level_id) -> model (id, level_id)" in page
    assert "- unique nulls not distinct (sha256, level_id)" in page
    assert "- unique index `(level_id, needs_structure) WHERE promoted`" in page
    assert "mean of \\|predicted - labelled formation energy\\|" in page


def test_comments_of_views_are_read_whole() -> None:
    comments = view_comments()
    assert comments["material"]["prototype"].startswith("structure type in AFLOW's form, of the relaxed")
    energy = comments["analytics.stable_materials"]["decomposition_energy"]
    assert energy.endswith("negative or zero; null: nothing else spans its composition")
