"""Which tables a merge takes along, in what order, and by what a row is known in every registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from registry.models import Base

BATCH = 5_000
STAY_BEHIND = frozenset({"hull_event", "hull_state", "placement", "unplaced", "work", "worker"})
"""Claims belong to their registry, and where entries stand on the hull is derived: `lode place`."""


@dataclass(frozen=True)
class MergedTable:
    """How the rows of one table come in.

    refs: column -> the table whose id it holds
    same: SQL, true where `ours` (a stored row) and `it` (an arriving one, its ids translated) are one and the same
    values: column -> SQL to store instead of what `it` says
    refresh: SQL for what may have gone on in a row since it was merged first
    key: the integer column that batches are cut by
    """

    name: str
    same: str
    refs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    refresh: str = ""
    key: str = "id"
    batch: int = BATCH

    @property
    def table(self) -> sa.Table:
        return Base.metadata.tables[self.name]

    @property
    def columns(self) -> list[str]:
        """Everything that is read."""
        return [column.name for column in self.table.columns]

    @property
    def stored_columns(self) -> list[str]:
        """Everything but what the database gives itself: ids and computed columns."""
        return [one.name for one in self.table.columns if one.identity is None and one.computed is None]

    @property
    def has_id(self) -> bool:
        return "id" in self.columns


def _named(name: str, same: str, suffix: str, refs: Mapping[str, str], **more: str) -> MergedTable:
    """A table of unique names: a name that is taken by something else gets a suffix made from the row itself.

    A row is found again under either name, whichever of two registries gave the suffix.
    """
    ours, its = (suffix.format(row=row) for row in ("ours", "it"))
    found = f"{same} AND (ours.name = it.name OR ours.name = it.name || {its} OR it.name = ours.name || {ours})"
    taken = f"EXISTS (SELECT FROM {name} AS other WHERE other.name = it.name)"
    free_name = f"CASE WHEN {taken} THEN it.name || {its} ELSE it.name END"
    return MergedTable(name, found, refs, {"name": free_name, **more}, batch=1)


def _equal(*columns: str, or_null: str = "") -> str:
    """`or_null` may be null in both."""
    both = [f"ours.{one} = it.{one}" for one in columns]
    return " AND ".join([*both, f"ours.{or_null} IS NOT DISTINCT FROM it.{or_null}"] if or_null else both)


_STRUCTURE = {"structure_id": "structure"}
_TERMS = (
    "' (' || {row}.licence || CASE WHEN {row}.non_commercial THEN ', non-commercial' ELSE '' END"
    " || '; ' || {row}.citation || ')'"
)
_CHECKPOINT = "' (' || left({row}.checkpoint_sha256, 12) || ')'"
_BEGUN = "to_char({row}.created_at AT TIME ZONE 'UTC', '\" (begun \"YYYY-MM-DD HH24:MI:SS\")\"')"
_ROUND_NUMBER = """(SELECT CASE WHEN bool_or(other.number = it.number) THEN max(other.number) + 1 ELSE it.number END
FROM round AS other WHERE other.campaign_id = it.campaign_id)"""
# A material there may be what a calculation ended with here.
_ADOPTED = """UPDATE structure SET origin = it.origin FROM it
WHERE structure.public_id = it.public_id AND structure.origin = 'relaxed' AND it.origin <> 'relaxed'"""
_ATTEMPT = ("initial_structure_id", "level_id", "state", "task", "attempt", "settings_hash", "engine_version")

TABLES = (
    _named("source", _equal("licence", "citation", "non_commercial"), _TERMS, {}),
    MergedTable("composition", _equal("reduced_formula")),
    MergedTable("prototype", _equal("label")),
    MergedTable(
        "level",
        _equal("name"),
        refresh="UPDATE {table} AS ours SET functional = it.functional, settings_hash = it.settings_hash FROM it "
        "WHERE {same} AND ours.functional = 'as imported'",
    ),
    MergedTable(
        "reference_set",
        _equal("level_id", "from_level_id"),
        {"level_id": "level", "from_level_id": "level"},
    ),
    MergedTable(
        "structure",
        _equal("public_id"),
        {"composition_id": "composition", "prototype_id": "prototype", "source_id": "source"},
        refresh=_ADOPTED,
        batch=1_000,
    ),
    MergedTable("external_id", _equal("structure_id", "scheme", "value"), _STRUCTURE, key="structure_id"),
    MergedTable(
        "duplicate",
        _equal("structure_id"),
        {"structure_id": "structure", "same_as_id": "structure"},
        key="structure_id",
    ),
    MergedTable("family", _equal("composition_id", "label"), {"composition_id": "composition"}),
    MergedTable("family_member", _equal("structure_id"), {**_STRUCTURE, "family_id": "family"}, key="structure_id"),
    MergedTable(
        "calculation",
        _equal(*_ATTEMPT, "finished_at", or_null="energy"),
        {
            "level_id": "level",
            "source_id": "source",
            "reference_set_id": "reference_set",
            "initial_structure_id": "structure",
            "final_structure_id": "structure",
        },
    ),
    MergedTable(
        "frame",
        _equal("composition_id", "calculation_id", "step"),
        {"composition_id": "composition", "calculation_id": "calculation"},
        key="composition_id",
    ),
    MergedTable(
        "property",
        _equal("structure_id", "name", "method"),
        {**_STRUCTURE, "calculation_id": "calculation", "source_id": "source"},
    ),
    MergedTable(
        "level_bridge",
        _equal("from_level_id", "to_level_id", "sha256"),
        {"from_level_id": "level", "to_level_id": "level"},
    ),
    MergedTable("training_set", _equal("level_id", "sha256", "excluded_formulas", "split"), {"level_id": "level"}),
    _named(
        "model",
        _equal("checkpoint_sha256", "level_id"),
        _CHECKPOINT,
        {"level_id": "level", "training_set_id": "training_set"},
        promoted="false",
    ),
    MergedTable("model_file", _equal("model_id", "name"), {"model_id": "model"}, key="model_id", batch=1),
    MergedTable("prediction", _equal("structure_id", "model_id", "stage"), {**_STRUCTURE, "model_id": "model"}),
    _named("campaign", _equal("level_id", "created_at"), _BEGUN, {"level_id": "level"}),
    MergedTable(
        "round",
        _equal("campaign_id", "started_at"),
        {"campaign_id": "campaign"},
        {"number": _ROUND_NUMBER},
        "UPDATE {table} AS ours SET finished_at = it.finished_at FROM it WHERE {same} AND ours.finished_at IS NULL",
        batch=1,
    ),
    MergedTable(
        "search",
        _equal("composition_id", "level_id", "seed"),
        {"composition_id": "composition", "level_id": "level", "round_id": "round"},
        refresh="UPDATE {table} AS ours"
        " SET structures = it.structures, counts = it.counts, finished_at = it.finished_at FROM it WHERE {same}"
        " AND ours.settings = it.settings AND (ours.structures < it.structures"
        " OR ours.structures = it.structures AND ours.finished_at IS NULL)",
    ),
    MergedTable(
        "selection",
        _equal("structure_id", "level_id", "purpose"),
        {**_STRUCTURE, "round_id": "round", "search_id": "search", "level_id": "level", "model_id": "model"},
    ),
    MergedTable(
        "funnel",
        _equal("round_id", "stage", "rule"),
        {"round_id": "round"},
        refresh="UPDATE {table} AS ours SET candidates = it.candidates FROM it"
        " WHERE {same} AND ours.candidates < it.candidates",
        key="round_id",
    ),
    MergedTable("validation", _equal("round_id", "name", "created_at"), {"round_id": "round"}),
    MergedTable(
        "lineage",
        _equal("child_id", "operation", or_null="parent_id")
        + " AND md5(ours.arguments::text) = md5(it.arguments::text)",
        {"child_id": "structure", "parent_id": "structure", "round_id": "round"},
    ),
    MergedTable("import", _equal("sha256", or_null="level_id"), {"level_id": "level"}),
)
