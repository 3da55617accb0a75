"""The stored crystals nearest to one: real crystals, a real database, a number of statements that doesn't grow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pymatgen.core import Lattice
from pymatgen.core import Structure as PymatgenStructure
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from registry import ingest, models, nearest
from registry.crystal import Crystal
from registry.errors import NotFound
from registry.identity.duplicates import Identity
from registry.identity.isotypes import chemical_distances, orders, own_order, scaled
from registry.nearest import Neighbourhood, neighbourhoods
from registry.states import Origin
from registry.twins import find_twins
from tests import factories as make

LEVEL = "test-level"


def cubic(group: str, edge: float, sites: dict[str, tuple[float, float, float]]) -> Crystal:
    built = PymatgenStructure.from_spacegroup(group, Lattice.cubic(edge), list(sites), list(sites.values()))
    return Crystal.from_pymatgen(built)


def rock_salt(cation: str, anion: str, edge: float = 5.6) -> Crystal:
    return cubic("Fm-3m", edge, {cation: (0, 0, 0), anion: (0.5, 0.5, 0.5)})


def caesium_chloride(cation: str, anion: str, edge: float = 3.5) -> Crystal:
    return cubic("Pm-3m", edge, {cation: (0, 0, 0), anion: (0.5, 0.5, 0.5)})


def zinc_blende(cation: str, anion: str, edge: float) -> Crystal:
    return cubic("F-43m", edge, {cation: (0, 0, 0), anion: (0.25, 0.25, 0.25)})


def perovskite(a: str, b: str, x: str, edge: float = 4.0) -> Crystal:
    return cubic("Pm-3m", edge, {a: (0, 0, 0), b: (0.5, 0.5, 0.5), x: (0.5, 0.5, 0)})


def rutile(metal: str, anion: str, u: float, a: float = 4.6, c: float = 2.96) -> Crystal:
    lattice, sites = Lattice.tetragonal(a, c), [[0, 0, 0], [u, u, 0]]
    return Crystal.from_pymatgen(PymatgenStructure.from_spacegroup("P4_2/mnm", lattice, [metal, anion], sites))


def brought(session: Session, **crystals: Crystal) -> dict[str, int]:
    """Name -> id of crystals stored as an import does: linked to those that they equal, the name as their MP id."""
    source = make.source(session).id
    records = {
        name: ingest.NewStructure(Identity(crystal), Origin.IMPORTED, source, {"mp": f"mp-{name}"})
        for name, crystal in crystals.items()
    }
    stored = ingest.store(session, list(records.values()))
    ids = {name: place.id for name, place in zip(records, stored, strict=True)}
    identities = {ids[name]: record.identity for name, record in records.items()}
    for one, (twin, rule) in find_twins(session, identities).items():
        make.added(session, models.Duplicate(structure_id=one, same_as_id=twin, rule=rule))
    return ids


def labelled(session: Session, structure_id: int, e_above_hull: float = 0.0, **columns: object) -> models.Calculation:
    initial = session.get_one(models.Structure, structure_id)
    label = make.calculation(session, initial, make.level(session), **columns)
    make.hull_state(session, label, e_above_hull)
    return label


def near(session: Session, *crystals: Crystal) -> list[Neighbourhood]:
    make.level(session)
    return neighbourhoods(session, [Identity(crystal) for crystal in crystals], LEVEL)


def told(found: Neighbourhood) -> list[tuple[str, str]]:
    return [(row["relation"], row["external_ids"]["mp"].removeprefix("mp-")) for row in found.nearest]


def test_the_same_crystal_comes_first_then_polymorphs_then_the_prototype(session: Session):
    ids = brought(
        session,
        potash=rock_salt("K", "Br"),
        high_pressure=caesium_chloride("Na", "Cl"),
        halite=rock_salt("Na", "Cl"),
        magnesia=rock_salt("Mg", "O"),
    )
    labelled(session, ids["halite"], 0.012)
    halite = rock_salt("Cl", "Na", 5.7).to_pymatgen() * (2, 1, 1)
    (found,) = near(session, Crystal.from_pymatgen(halite))
    assert told(found) == [
        ("same crystal", "halite"), ("polymorph", "high_pressure"), ("same prototype", "potash"),
    ]  # fmt: skip
    same, polymorph, alike = found.nearest
    assert same["rule"] == "label+fingerprint"
    assert (same["reduced_formula"], same["spacegroup_number"], same["source"]) == ("NaCl", 225, "test")
    assert same["id"] == session.get_one(models.Structure, ids["halite"]).public_id
    assert [row["e_above_hull"] for row in found.nearest] == [0.012, None, None]
    assert same["distance"] < 1e-5 < 0.1 < polymorph["distance"]
    assert (alike["chemical_distance"], alike["distance"]) == (pytest.approx((1 + 1) / 2), pytest.approx(0, abs=1e-5))


def test_prototypes_go_by_their_elements_then_by_geometry(session: Session):
    """Na, K, Rb ... and F, Cl, Br ... are neighbours; who is on which site of a perovskite is no matter of choice."""
    brought(session, far=rock_salt("Th", "N"), near=rock_salt("Rb", "Cl"), nearer=rock_salt("K", "Cl"),
            oxide=rock_salt("Ca", "O"))  # fmt: skip
    brought(session, same_sites=perovskite("Ca", "Ti", "O"), other_sites=perovskite("Ti", "Ca", "O"))
    brought(session, tin=rutile("Sn", "O", 0.306), lead=rutile("Pb", "O", 0.29))
    salt, titanate, rutiles = near(
        session, rock_salt("Na", "Cl"), perovskite("Sr", "Ti", "O"), rutile("Ti", "O", 0.305)
    )
    assert [name for _, name in told(salt)] == ["nearer", "near", "oxide"]
    assert [name for _, name in told(titanate)] == ["same_sites", "other_sites"]
    assert titanate.nearest[0]["chemical_distance"] < 1 < titanate.nearest[1]["chemical_distance"]
    assert [row["distance"] > 0 for row in rutiles.nearest] == [True, True]


def test_a_crystal_like_nothing_has_no_neighbours_and_none_at_all_is_fine(session: Session):
    brought(session, halite=rock_salt("Na", "Cl"))
    assert near(session) == []
    (found,) = near(session, rutile("Ti", "O", 0.305))
    assert found == Neighbourhood([], frozenset())


def test_a_level_that_is_not_there_is_named(session: Session):
    with pytest.raises(NotFound, match="no level 'nowhere'"):
        neighbourhoods(session, [Identity(rock_salt("Na", "Cl"))], "nowhere")


def test_labels_of_linked_crystals_count_as_its_own(session: Session):
    """The one that came first has no label, its duplicate has; entries are those of the same crystal alone."""
    ids = brought(session, first=rock_salt("Na", "Cl"), again=rock_salt("Na", "Cl", 5.8))
    other = brought(session, high_pressure=caesium_chloride("Na", "Cl"))
    label = labelled(session, ids["again"], 0.03)
    labelled(session, other["high_pressure"], 0.2)
    (found,) = near(session, rock_salt("Na", "Cl", 5.5))
    assert told(found) == [("same crystal", "first"), ("polymorph", "high_pressure")]
    assert [row["e_above_hull"] for row in found.nearest] == [0.03, 0.2]
    assert found.nearest[0]["duplicates"] == [session.get_one(models.Structure, ids["again"]).public_id]
    assert found.entries == {label.id}


def test_what_a_crystal_relaxed_to_is_known_as_well(session: Session):
    """A candidate in the caesium chloride type that relaxed to zinc blende, and one that stayed as it was."""
    ids = brought(session, candidate=caesium_chloride("Na", "Cl"), halite=rock_salt("Na", "Cl"))
    final = make.structure(session, "NaCl", origin="relaxed", arrays=zinc_blende("Na", "Cl", 6.1))
    moved = labelled(session, ids["candidate"], 0.05, final=final)
    stayed = labelled(session, ids["halite"], 0.0, final=session.get_one(models.Structure, ids["halite"]))
    relaxed, before = near(session, zinc_blende("Na", "Cl", 6.0), caesium_chloride("Na", "Cl", 3.3))
    assert told(relaxed)[0] == told(before)[0] == ("same crystal", "candidate")
    assert relaxed.entries == before.entries == {moved.id}
    (halite,) = near(session, rock_salt("Na", "Cl", 5.5))
    assert halite.entries == {stayed.id}


def test_either_ion_of_rock_salt_may_come_first_but_no_site_of_a_perovskite():
    salt, oxide = Identity(rock_salt("Na", "Cl")).prototype, Identity(perovskite("Ca", "Ti", "O")).prototype
    assert salt is not None
    assert oxide is not None
    assert sorted(orders(salt)) == [("Cl", "Na"), ("Na", "Cl")]
    assert len(orders(oxide)) == 1
    stored = scaled([own_order(one, salt) for one in (("Br", "K"), ("N", "Th"))])
    near_one, far_one = chemical_distances(orders(salt), stored)[0]
    assert near_one == 1
    assert far_one > 10


@pytest.fixture
def statements(session: Session) -> Iterator[list[tuple[str, object]]]:
    seen: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_others: object) -> None:
        seen.append((statement, parameters))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    yield seen
    event.remove(connection, "before_cursor_execute", note)


def test_a_thousand_crystals_take_no_more_statements_than_one(session: Session, statements: list[tuple[str, object]]):
    brought(session, halite=rock_salt("Na", "Cl"), calcium=perovskite("Ca", "Ti", "O"), tin=rutile("Sn", "O", 0.306))
    make.level(session)
    many = [rock_salt("K", "Cl"), perovskite("Sr", "Ti", "O"), rutile("Ti", "O", 0.305), caesium_chloride("Na", "Cl")]
    counts = []
    for crystals in (many[:1], many * 5):
        statements.clear()
        neighbourhoods(session, [Identity(crystal) for crystal in crystals], LEVEL)
        counts.append(len([one for one in statements if "SAVEPOINT" not in one[0]]))
    assert counts == [6, 6]


CROWD = """
INSERT INTO composition (reduced_formula, anonymous_formula, chemsys, elements, amounts, nelements)
SELECT 'X' || i, 'AB', 'K-X' || i, ARRAY['K', 'X' || i], ARRAY[1, 1], 2 FROM generate_series(1, 800) i;
INSERT INTO prototype (label, spacegroup_number, pearson_symbol)
SELECT 'crowd_' || i, 1, 'aP2' FROM generate_series(1, 500) i;
INSERT INTO structure (public_id, composition_id, chemsys, prototype_id, protostructure, source_id, origin, nsites,
                       lattice, species, coords, volume)
SELECT 'x' || i, composition.id, composition.chemsys, prototype.id, prototype.label || chr(58) || 'K-Na', source.id,
       CASE WHEN i % 2 = 0 THEN 'imported' ELSE 'relaxed' END, 2, array_fill(1.0::float8, ARRAY[9]), ARRAY[19, 11],
       decode(repeat('00', 48), 'hex'), 40
FROM generate_series(1, 8000) i
JOIN composition ON composition.reduced_formula = 'X' || 1 + i % 800
JOIN prototype ON prototype.label = 'crowd_' || 1 + i % 500
JOIN source ON source.name = 'test';
INSERT INTO calculation (level_id, source_id, initial_structure_id, final_structure_id, task, state, energy, correction,
                         settings, engine_version, attempt, node)
SELECT level.id, structure.source_id, structure.id, structure.id - 1, 'relax', 'converged', -1, 0, '{}', '0', 1, 'here'
FROM structure, level WHERE structure.public_id LIKE 'x%' AND structure.origin = 'imported';
INSERT INTO hull_state (level_id, calculation_id, structure_id, composition_id, prototype_id, chemsys, nelements,
                        light_elements, heavy_elements, formation_energy_per_atom, e_above_hull, is_stable,
                        decomposition, valid_from)
SELECT level_id, calculation.id, initial_structure_id, composition_id, prototype_id, chemsys, 2, 1, 0, -1, 0.1, false,
       '[]', now() FROM calculation JOIN structure ON structure.id = calculation.initial_structure_id;
INSERT INTO duplicate (structure_id, same_as_id, rule)
SELECT id, id - 1000, 'test' FROM structure WHERE public_id LIKE 'x%' AND origin = 'imported' AND id % 5 = 0
ORDER BY id DESC LIMIT 600;
ANALYZE composition, prototype, structure, calculation, hull_state, duplicate
"""


def plan(connection: Connection, statement: str, parameters: object) -> str:
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)  # type: ignore[arg-type]
    return "\n".join(row[0] for row in rows)


def test_no_statement_reads_a_whole_table(session: Session, statements: list[tuple[str, object]]):
    brought(session, halite=rock_salt("Na", "Cl"), potash=rock_salt("K", "Br"))
    make.level(session)
    for statement in CROWD.strip().split(";\n"):
        session.execute(text(statement))
    statements.clear()
    (found,) = near(session, rock_salt("Na", "Cl"))
    assert len(told(found)) == 2
    asked = [(words, values) for words, values in statements if "FROM" in words and "SAVEPOINT" not in words]
    plans = [plan(session.connection(), words, values) for words, values in asked]
    for table in ("structure", "hull_state", "calculation", "composition", "duplicate"):
        assert not [one for one in plans if f"Seq Scan on {table}" in one]
    for index in ("ix_structure_composition_id", "ix_structure_prototype_id", "uq_calculation_result"):
        assert [one for one in plans if index in one]


def test_only_formulas_that_are_shown_are_read(session: Session, monkeypatch: pytest.MonkeyPatch):
    """Of a structure type with many crystals those nearest by their elements are read, and no more."""
    cations, anions = ("Li", "Na", "K", "Rb", "Mg", "Ca"), ("F", "Cl", "Br", "O", "S")
    brought(session, **{f"{a}{b}": rock_salt(a, b) for a in cations for b in anions})
    read: list[int] = []

    def noting(session: Session, ids: set[int]) -> dict[int, Crystal]:
        read.extend(ids)
        return ingest.crystals(session, ids)

    monkeypatch.setattr(nearest, "crystals", noting)
    (found,) = near(session, rock_salt("Cs", "I"))
    assert len(read) == nearest.SHORTLIST
    assert told(found)[0] == ("same prototype", "RbBr")
