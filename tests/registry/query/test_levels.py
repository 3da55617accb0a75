"""What a level says of itself and holds, and levels as files say them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch, NotFound, SettingsError
from registry.hull.level_rows import add_level, ensure_level, stored_level
from registry.hull.levels import level_of, load_level, read_level, shipped_levels
from registry.hull.store import place
from registry.query.levels import kept_off, level_facts, levels
from tests import factories as make

GASES: dict[str, Any] = {
    "name": "our-gpaw",
    "engine": "gpaw",
    "functional": "PBE",
    "references": {"O": -4.9, "N": -8.3, "Na": -1.2},
    "tabulated": ["O", "N"],
}


def test_references_say_where_they_are_from(session: Session):
    assert add_level(session, level_of(GASES))
    found = level_facts(session, "our-gpaw")
    assert (found["kind"], found["functional"], found["correction_scheme"]) == ("DFT", "PBE", "none")
    assert found["references"] == [
        {"element": "N", "energy_per_atom": -8.3, "from": "table", "gas": "N2"},
        {"element": "Na", "energy_per_atom": -1.2, "from": "engine", "gas": None},
        {"element": "O", "energy_per_atom": -4.9, "from": "table", "gas": "O2"},
    ]


def test_the_lowest_entries_stand_where_the_level_says_nothing(session: Session):
    level = make.level(session, "mp", engine="imported", references={"O": -4.9}, tabulated=["O"])
    for energy in (-1.0, -1.3):
        sodium = make.calculation(session, make.structure(session, "Na"), level, energy=energy)
    lowest = session.get_one(make.models.Structure, sodium.initial_structure_id)
    found = level_facts(session, "mp")["references"]
    assert found[0] == {"element": "Na", "energy_per_atom": -1.3, "from": "entry", "id": lowest.public_id, "gas": None}
    assert [one["element"] for one in found] == ["Na", "O"]


def test_counts_and_reasons(session: Session):
    level = make.level(session, "mp", engine="imported")
    for formula in ("Na", "Cl", "NaCl"):
        make.calculation(session, make.structure(session, formula), level)
    for reason in ("no U", "no U", "withdrawn"):
        make.calculation(session, make.structure(session, "FeO"), level, off_hull=reason)
    place(session, level.id)
    found = level_facts(session, "mp")
    assert {name: found[name] for name in ("entries", "from_reference_sets", "placed", "on_hull")} == {
        "entries": 3, "from_reference_sets": 0, "placed": 3, "on_hull": 3,
    }  # fmt: skip
    assert found["off_hull"] == [{"reason": "no U", "count": 2}, {"reason": "withdrawn", "count": 1}]
    assert [one["reason"] for one in kept_off(session, "mp")].count("no U") == 2
    assert {one["reduced_formula"] for one in kept_off(session, "mp")} == {"FeO"}
    make.level(session, "empty")
    assert [(one["name"], one["entries"], one["off_hull"]) for one in levels(session)] == [
        ("empty", 0, 0),
        ("mp", 3, 3),
    ]
    with pytest.raises(NotFound, match="there are: empty, mp"):
        level_facts(session, "nowhere")


@pytest.mark.parametrize("name", [name for name in shipped_levels() if load_level(name).kind == "potential"])
def test_a_shipped_level_as_it_is_shown(session: Session, name: str):
    level = load_level(name)
    ensure_level(session, level)
    found = level_facts(session, name)
    assert (found["kind"], found["correction_scheme"]) == (level.kind, level.correction_scheme)
    assert found["entries"] == 0
    origins = {one["element"]: one["from"] for one in found["references"]}
    assert (origins["O"], origins["Fe"]) == ("table", "table")
    assert {element for element, origin in origins.items() if origin == "engine"} == level.references.keys() - set(
        level.tabulated
    )


@pytest.mark.parametrize("name", shipped_levels())
def test_corrections_of_pbe_touch_no_level_of_another_functional(name: str):
    level = load_level(name)
    assert level.correction_scheme in ("none", "as imported") or level.functional == "PBE/PBE+U"
    assert level_of({**asdict(level), "tabulated": list(level.tabulated)}) == level


@pytest.mark.parametrize("name", ["mp2018", "oqmd"])
def test_a_level_of_formation_energies_has_its_elements_at_zero(session: Session, name: str):
    level = load_level(name)
    ensure_level(session, level)
    assert level.of_formation_energies
    assert level.formation_energy({11: 2, 17: 2}, -7.4) == pytest.approx(-1.85)
    found = level_facts(session, name)
    assert (found["kind"], found["settings"]["energies"]) == ("imported", "formation")
    assert {one["energy_per_atom"] for one in found["references"]} == {0.0}


def test_a_level_is_added_once_and_never_changed(session: Session):
    assert add_level(session, level_of(GASES))
    assert not add_level(session, level_of(GASES))
    assert stored_level(session, make.level(session, "our-gpaw").id) == level_of(GASES)
    with pytest.raises(LevelMismatch, match="another level 'our-gpaw' is there"):
        add_level(session, level_of({**GASES, "functional": "PBEsol"}))
    with pytest.raises(LevelMismatch, match="ships with Motherlode"):
        add_level(session, level_of({**GASES, "name": shipped_levels()[0]}))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"names": "x"}, "a level has no names"),
        ({"engine": ""}, "a level needs engine"),
        ({"correction_scheme": "MP2018"}, "correction_scheme is MP2020, none or"),
        ({"correction_scheme": "MP2020", "functional": "r2SCAN"}, "corrects PBE and PBE\\+U alone"),
        ({"correction_scheme": "MP2020", "functional": "PBEsol"}, "the functional is PBEsol"),
        ({"references": {"Xx": -1.0}}, "element -> eV/atom, not 'Xx'"),
        ({"references": {"O": "low"}}, "element -> eV/atom, not 'O'"),
        ({"references": {"O": float("nan")}}, "element -> eV/atom, not 'O'"),
        ({"settings": {"energies": "formation"}}, "where energies are formation energies, references are 0"),
        ({"tabulated": ["F"]}, "tabulated lists elements that stand in references"),
        ({"note": 5}, "the note is no text"),
        ({"settings": {"a": float("nan")}}, "not JSON compliant"),
        ({"tabulated": [{}]}, "tabulated lists elements"),
        ({"note": "half \ud800"}, "control characters or half a character"),
        ({"settings": {"a": "\0"}}, "control characters or half a character"),
        ({"settings": []}, "settings and references are JSON objects"),
    ],
)
def test_a_level_that_is_none_is_one_line(tmp_path: Path, wrong: dict[str, Any], reason: str):
    file = tmp_path / "level.json"
    file.write_text(json.dumps({**GASES, **wrong}))
    with pytest.raises(SettingsError, match=reason) as refusal:
        read_level(file)
    assert str(refusal.value).startswith(f"{file}: ")


@pytest.mark.parametrize("text", ["", "[]", "{", '"level"'])
def test_a_file_that_holds_no_level_is_one_line(tmp_path: Path, text: str):
    file = tmp_path / "level.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"level\.json"):
        read_level(file)
    with pytest.raises(SettingsError, match="No such file"):
        read_level(tmp_path / "gone.json")
