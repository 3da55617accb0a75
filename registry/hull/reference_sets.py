"""Reference sets: imported energies that compete at another level as well, where the two levels agree.

Functional, pseudopotentials, U values and corrections of every single entry are held against what the level says of
itself. The entries are stored at that level once more, with the source that they came from; those that it has
computed itself stay its own. A row of its own at each level is what keeps them apart: a calculation has one level, one
place on one hull, and one notice when it comes, goes or moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.errors import LevelMismatch
from registry.hull.level_rows import level_id as id_of_level
from registry.hull.level_rows import stored_level
from registry.hull.levels import IMPORTED, NO_SCHEME, Level
from registry.hull.mp2020 import (
    SCHEME,
    Run,
    hubbards_among,
    mp2020_correction,
    mp_hubbard_table,
    mp_pseudopotentials,
    symbol_of,
)
from registry.identity.composition import SYMBOLS
from registry.imported_levels import functional_of, run_from
from registry.ingest import crystal_of
from registry.models import Calculation, ReferenceSet, Structure
from registry.states import CalculationState

SAME_CORRECTION = 1e-6  # eV/atom
TOLD = 8
"""How many differences a refusal lists."""

COPY = """
INSERT INTO calculation (
    level_id, reference_set_id, off_hull, source_id, initial_structure_id, final_structure_id, task, state, energy,
    correction, correction_parts, settings, engine_version, attempt, node)
SELECT :level, :reference_set, said.reason, source_id, initial_structure_id, final_structure_id, task, state, energy,
       correction, correction_parts, settings, engine_version, attempt, node
FROM calculation JOIN unnest(CAST(:ids AS bigint[]), CAST(:barred AS text[])) AS said (id, reason) USING (id)
ON CONFLICT (initial_structure_id, level_id) WHERE state = 'converged' DO UPDATE
SET energy = excluded.energy, correction = excluded.correction, settings = excluded.settings,
    off_hull = excluded.off_hull, source_id = excluded.source_id
WHERE calculation.reference_set_id = excluded.reference_set_id
  AND (calculation.energy, calculation.correction, calculation.settings, calculation.off_hull, calculation.source_id)
    IS DISTINCT FROM (excluded.energy, excluded.correction, excluded.settings, excluded.off_hull, excluded.source_id)"""
OWN = """
SELECT count(*) FROM calculation AS own JOIN calculation AS theirs USING (initial_structure_id)
WHERE theirs.id = ANY(:ids) AND own.level_id = :level AND own.state = 'converged'
  AND own.reference_set_id IS DISTINCT FROM :reference_set"""
WITHDRAW = """
UPDATE calculation SET off_hull = :reason
WHERE reference_set_id = :reference_set AND off_hull IS NULL AND NOT EXISTS (
    SELECT FROM calculation AS imported
    WHERE imported.level_id = :from_level AND imported.initial_structure_id = calculation.initial_structure_id
      AND imported.state = 'converged' AND imported.off_hull IS NULL)"""


@dataclass(frozen=True)
class Theory:
    """What a level says of itself that another one must agree with.

    pseudopotentials: element -> symbol, or the name of a whole set
    hubbards: anion -> element -> U in eV, read for the most electronegative element of a compound
    """

    functional: str
    pseudopotentials: Mapping[str, str] | str
    hubbards: Mapping[str, Mapping[str, float]]
    scheme: str


@dataclass(frozen=True)
class Imported:
    """One entry of the other level. correction in eV per cell."""

    id: int
    structure: str
    crystal: Crystal
    energy: float
    correction: float
    settings: Mapping[str, Any]


@dataclass
class Comparison:
    """What agrees over all entries, and what doesn't: difference -> how many entries, and the first of them.

    apart: the largest difference of a correction to what the level's scheme gives, eV/atom
    """

    theory: Theory
    entries: int = 0
    pseudopotentials: dict[str, str] = field(default_factory=dict)
    hubbards: dict[str, float] = field(default_factory=dict)
    apart: float = 0.0
    differences: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, entry: Imported) -> None:
        self.entries += 1
        for difference in self._differences(entry):
            self.differences[difference] += 1
            self.examples.setdefault(difference, entry.structure)

    def _differences(self, entry: Imported) -> Iterator[str]:
        run, told = run_from(entry.settings), entry.settings.get("run_type")
        if not isinstance(told, str):
            yield "functional: not told"
        elif functional_of(told) != self.theory.functional:
            yield f"functional: {functional_of(told)}, the level's is {self.theory.functional}"
        if isinstance(run, str):
            yield f"U: {run}"
            return
        elements = [SYMBOLS[number] for number in entry.crystal.amounts]
        yield from self._other_pseudopotentials(elements, run)
        yield from self._other_hubbards(elements, run)
        yield from self._other_correction(entry, run)

    def _other_pseudopotentials(self, elements: Sequence[str], run: Run) -> Iterator[str]:
        symbols = {symbol.split("_")[0].split()[-1]: symbol for symbol in map(symbol_of, run.pseudopotentials)}
        for element in elements:
            expected = self.theory.pseudopotentials
            wanted = expected if isinstance(expected, str) else expected.get(element, "none")
            found = symbols.get(element, "not told")
            if found == wanted:
                self.pseudopotentials[element] = found
            else:
                yield f"pseudopotential of {element}: {found}, the level's is {wanted}"

    def _other_hubbards(self, elements: Sequence[str], run: Run) -> Iterator[str]:
        expected = hubbards_among(elements, self.theory.hubbards)
        for element in elements:
            found, wanted = run.hubbards.get(element, 0.0), expected.get(element, 0.0)
            if found != wanted:
                yield f"U of {element}: {found:g} eV, the level's is {wanted:g} eV"
            elif found:
                self.hubbards[element] = found

    def _other_correction(self, entry: Imported, run: Run) -> Iterator[str]:
        if self.theory.scheme == NO_SCHEME:
            wanted = 0.0
        elif (found := mp2020_correction(entry.crystal, entry.energy, run)).energy is not None:
            wanted = found.energy
        else:
            yield f"corrections: {found.reason}"
            return
        apart = abs(entry.correction - wanted) / entry.crystal.nsites
        self.apart = max(self.apart, apart)
        if apart > SAME_CORRECTION:
            yield f"corrections: other ones than {self.theory.scheme} gives"

    def complaint(self) -> str | None:
        """Everything that differs, in one line; None where nothing does."""
        if not self.differences:
            return None
        common = self.differences.most_common(TOLD)
        lines = [f"{what} ({count} entries, such as {self.examples[what]})" for what, count in common]
        more = len(self.differences) - len(common)
        return "; ".join([*lines, *([f"and {more} more differences"] if more else [])])

    def agreed(self) -> dict[str, object]:
        """As table `reference_set` keeps it."""
        return {
            "functional": self.theory.functional,
            "pseudopotentials": dict(sorted(self.pseudopotentials.items())),
            "hubbards": dict(sorted(self.hubbards.items())),
            "correction_scheme": self.theory.scheme,
            "entries": self.entries,
            "apart": self.apart,
        }


@dataclass(frozen=True)
class Added:
    """What a reference set brought. compared: what was found to agree; counts of entries."""

    level: str
    from_level: str
    compared: Mapping[str, Any]
    stored: int
    own: int
    withdrawn: int


def theory_of(level: Level) -> Theory:
    """Raises LevelMismatch for a level that doesn't say enough.

    settings["input_set"] = "MPRelaxSet", with settings["potcars"] for what is otherwise there, or
    settings["pseudopotentials"] and settings["hubbards"].
    """
    settings = level.settings
    if level.correction_scheme not in (SCHEME, NO_SCHEME):
        raise LevelMismatch(f"level '{level.name}' has no correction scheme of its own to compare with")
    if settings.get("input_set") == "MPRelaxSet":
        pseudopotentials: Any = {**mp_pseudopotentials(), **_potcars(settings)}
        table: Mapping[str, Any] = {"pseudopotentials": pseudopotentials, "hubbards": mp_hubbard_table()}
    else:
        table = settings
    if missing := [name for name in ("pseudopotentials", "hubbards") if name not in table]:
        raise LevelMismatch(
            f"the settings of level '{level.name}' don't tell its {' and '.join(missing)}: nothing can be compared"
        )
    pseudopotentials, hubbards = table["pseudopotentials"], table["hubbards"]
    by_anion = isinstance(hubbards, dict) and all(isinstance(one, dict) for one in hubbards.values())
    if not isinstance(pseudopotentials, dict | str) or not by_anion:
        raise LevelMismatch(
            f"the settings of level '{level.name}' tell pseudopotentials by element, and hubbards by anion and element"
        )
    return Theory(level.functional, pseudopotentials, hubbards, level.correction_scheme)


def _potcars(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """Element -> symbol, where the level has others than the set."""
    told = settings.get("potcars", {})
    return told if isinstance(told, dict) else {}


def add_reference_set(session: Session, name: str, from_name: str) -> Added:
    """Let the entries of the imported level `from_name` compete at level `name`; again, to follow what changed there.

    Raises NotFound, or LevelMismatch saying all that differs; nothing is stored then. Commit is the caller's.
    """
    level_id, from_id = id_of_level(session, name), id_of_level(session, from_name)
    level, other = stored_level(session, level_id), stored_level(session, from_id)
    _refuse_kinds(level, other)
    comparison = Comparison(theory_of(level))
    ids, barred = list[int](), list[str | None]()
    for entry in _entries(session, from_id):
        comparison.add(entry)
        ids.append(entry.id)
        barred.append(level.bars(entry.crystal.amounts))
    if not ids:
        raise LevelMismatch(f"level '{from_name}' has no entries that may stand on a hull")
    if (complaint := comparison.complaint()) is not None:
        raise LevelMismatch(f"the entries of level '{from_name}' can't compete at level '{name}': {complaint}")
    return _store(session, (level_id, name), (from_id, from_name), comparison.agreed(), ids, barred)


def _refuse_kinds(level: Level, other: Level) -> None:
    if level.kind == "potential":
        raise LevelMismatch(
            f"level '{level.name}' is that of the potential {level.engine}: foreign crystals enter it only relabelled "
            "by that potential"
        )
    if level.name == other.name or other.kind != IMPORTED:
        raise LevelMismatch(f"a reference set is a level of imported energies, '{other.name}' isn't another one")


def _entries(session: Session, level_id: int) -> Iterator[Imported]:
    query = (
        sa.select(Calculation, Structure)
        .join(Structure, Structure.id == Calculation.final_structure_id)
        .where(Calculation.level_id == level_id, Calculation.state == CalculationState.CONVERGED)
        .where(Calculation.off_hull.is_(None), Calculation.reference_set_id.is_(None))
        .order_by(Calculation.id)
    )
    for one, structure in session.execute(query.execution_options(yield_per=500)):
        crystal, energy, correction = crystal_of(structure), one.energy or 0.0, one.correction or 0.0
        yield Imported(one.id, structure.public_id, crystal, energy, correction, one.settings)


def _store(
    session: Session,
    level: tuple[int, str],
    other: tuple[int, str],
    compared: dict[str, object],
    ids: Sequence[int],
    barred: Sequence[str | None],
) -> Added:
    """Entries that the level hasn't computed itself come, those that came before follow what changed."""
    known = {"level": level[0], "reference_set": _set_of(session, level[0], other[0], compared), "ids": list(ids)}
    connection = session.connection()
    stored = connection.execute(sa.text(COPY), {**known, "barred": list(barred)}).rowcount
    gone = {**known, "from_level": other[0], "reason": f"no entry of level '{other[1]}' any more"}
    withdrawn = connection.execute(sa.text(WITHDRAW), gone).rowcount
    own = connection.execute(sa.text(OWN), known).scalar_one()
    return Added(level[1], other[1], compared, stored, own, withdrawn)


def _set_of(session: Session, level_id: int, from_id: int, compared: dict[str, object]) -> int:
    row = insert(ReferenceSet).values(level_id=level_id, from_level_id=from_id, compared=compared)
    renewed = {"compared": row.excluded.compared, "compared_at": sa.func.now()}
    done = row.on_conflict_do_update(index_elements=["level_id", "from_level_id"], set_=renewed)
    return int(session.execute(done.returning(ReferenceSet.id)).scalar_one())
