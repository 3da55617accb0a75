"""What crystals there are: sources, compositions, prototypes, structures, and how they are related."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Json, Now, SymbolText, one_of
from registry.states import Operation, Origin


class Source(Base):
    """Where rows come from, under which licence, and whom to cite."""

    __tablename__ = "source"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    licence: Mapped[str]
    citation: Mapped[str]
    non_commercial: Mapped[bool] = mapped_column(server_default=text("false"))


class Composition(Base):
    """A reduced formula."""

    __tablename__ = "composition"
    __table_args__ = (
        CheckConstraint("nelements = cardinality(elements)", name="elements_counted"),
        CheckConstraint("cardinality(elements) = cardinality(amounts)", name="amounts_match"),
        Index(None, "elements", postgresql_using="gin"),
    )

    id: Mapped[Id]
    reduced_formula: Mapped[SymbolText] = mapped_column(unique=True)
    anonymous_formula: Mapped[SymbolText] = mapped_column(index=True)
    chemsys: Mapped[SymbolText] = mapped_column(index=True)
    elements: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))
    amounts: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    nelements: Mapped[int] = mapped_column(SmallInteger)


class Prototype(Base):
    """A structure type: the AFLOW-style label without elements."""

    __tablename__ = "prototype"
    __table_args__ = (CheckConstraint("spacegroup_number BETWEEN 1 AND 230", name="spacegroup_exists"),)

    id: Mapped[Id]
    label: Mapped[SymbolText] = mapped_column(unique=True)
    spacegroup_number: Mapped[int] = mapped_column(SmallInteger, index=True)
    pearson_symbol: Mapped[SymbolText]


class Structure(Base):
    """One immutable crystal. `public_id` is derived from its content, so equal arrays have equal ids everywhere."""

    __tablename__ = "structure"
    __table_args__ = (
        CheckConstraint("cardinality(lattice) = 9", name="lattice_3x3"),
        CheckConstraint("nsites = cardinality(species) AND nsites > 0", name="sites_counted"),
        CheckConstraint("octet_length(coords) = 24 * nsites", name="coords_match"),
        CheckConstraint("volume > 0 AND volume < 'infinity'", name="volume_positive"),
        one_of("origin", Origin),
        Index(None, "composition_id", "id"),
        Index(None, "prototype_id", "id"),
        Index("ix_structure_material_created", "created_at", "id", postgresql_where=text("origin <> 'relaxed'")),
        Index("ix_structure_material_chemsys", "chemsys", "id", postgresql_where=text("origin <> 'relaxed'")),
        Index("ix_structure_generated", "id", postgresql_where=text("origin = 'generated'")),
    )

    id: Mapped[Id]
    public_id: Mapped[SymbolText] = mapped_column(unique=True)
    composition_id: Mapped[int] = mapped_column(ForeignKey("composition.id"))
    chemsys: Mapped[SymbolText] = mapped_column(comment="its composition's")
    prototype_id: Mapped[int | None] = mapped_column(ForeignKey("prototype.id"))
    protostructure: Mapped[SymbolText | None] = mapped_column(comment="prototype label plus which element sits where")
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    origin: Mapped[str]
    nsites: Mapped[int] = mapped_column(SmallInteger)
    lattice: Mapped[list[float]] = mapped_column(ARRAY(DOUBLE_PRECISION), comment="rows, angstrom")
    species: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), comment="atomic numbers")
    coords: Mapped[bytes] = mapped_column(LargeBinary, comment="fractional, float64 little-endian, nsites x 3")
    volume: Mapped[float] = mapped_column(DOUBLE_PRECISION, comment="cubic angstrom")
    attributes: Mapped[Json] = mapped_column(server_default=text("'{}'"), comment="what the source said, flags")
    created_at: Mapped[Now]


class ExternalId(Base):
    """A name that others gave to a structure (mp-149, an ICSD number, an AFLOW prototype, a file and line)."""

    __tablename__ = "external_id"
    __table_args__ = (Index(None, "value"),)

    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"), primary_key=True)
    scheme: Mapped[SymbolText] = mapped_column(primary_key=True)
    value: Mapped[SymbolText] = mapped_column(primary_key=True)


class Duplicate(Base):
    """Two stored structures that are one crystal, and the rule that says so. `same_as_id` came first."""

    __tablename__ = "duplicate"
    __table_args__ = (CheckConstraint("structure_id <> same_as_id", name="not_itself"), Index(None, "same_as_id"))

    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"), primary_key=True)
    same_as_id: Mapped[int] = mapped_column(ForeignKey("structure.id"))
    rule: Mapped[str]
    found_at: Mapped[Now]


class Property(Base):
    """What is known of a crystal beside its energy, by what method: a number with its unit, or a word."""

    __tablename__ = "property"
    __table_args__ = (
        CheckConstraint("(value IS NULL) <> (words IS NULL)", name="number_or_words"),
        CheckConstraint("value = value AND abs(value) < 'infinity'", name="value_finite"),
        UniqueConstraint("structure_id", "name", "method"),
        Index(None, "name", "value", "structure_id"),
    )

    id: Mapped[Id]
    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"))
    name: Mapped[SymbolText] = mapped_column(comment="band_gap, dimensionality, ...")
    value: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    words: Mapped[str | None]
    unit: Mapped[str] = mapped_column(comment="eV, angstrom^3, ...; 1 where it is a count or a word")
    method: Mapped[str] = mapped_column(comment="PBE, Cheon 2017, ...")
    calculation_id: Mapped[int | None] = mapped_column(ForeignKey("calculation.id"), comment="what it was read from")
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    provenance: Mapped[Json] = mapped_column(server_default=text("'{}'"), comment="settings, code, what else matters")
    created_at: Mapped[Now]


class Family(Base):
    """A disordered crystal, by its ordered approximants: the same atoms on the same sites but for who sits where."""

    __tablename__ = "family"
    __table_args__ = (
        CheckConstraint("spacegroup_number BETWEEN 1 AND 230", name="spacegroup_exists"),
        UniqueConstraint("composition_id", "label"),
    )

    id: Mapped[Id]
    composition_id: Mapped[int] = mapped_column(ForeignKey("composition.id"))
    label: Mapped[SymbolText] = mapped_column(comment="structure type of the disordered crystal and what mixes where")
    mixed: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")), comment="elements that share a site")
    spacegroup_number: Mapped[int] = mapped_column(SmallInteger, comment="of the disordered crystal")
    rule: Mapped[str]


class FamilyMember(Base):
    """A structure that is an ordered approximant of a disordered crystal, and so no material of its own for sure."""

    __tablename__ = "family_member"

    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"), primary_key=True)
    family_id: Mapped[int] = mapped_column(ForeignKey("family.id"), index=True)
    found_at: Mapped[Now]


class Lineage(Base):
    """A way in which a candidate was reached. One candidate reached by two ways is one structure and two rows here.

    What random search made has no parent.
    """

    __tablename__ = "lineage"
    __table_args__ = (
        one_of("operation", Operation),
        CheckConstraint("probability IS NULL OR probability >= 0", name="probability_positive"),
        CheckConstraint("(parent_id IS NULL) = (operation = 'random_search')", name="parent_unless_random"),
        Index(
            "uq_lineage_way",
            "child_id",
            "parent_id",
            "operation",
            text("md5(arguments::text)"),
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        Index(None, "parent_id"),
        CheckConstraint("child_id <> parent_id", name="not_itself"),
    )

    id: Mapped[Id]
    child_id: Mapped[int] = mapped_column(ForeignKey("structure.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("structure.id"))
    operation: Mapped[str]
    arguments: Mapped[Json]
    probability: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    rule: Mapped[str | None] = mapped_column(
        comment="set where the way led to a crystal that was there: how it was seen"
    )
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    created_at: Mapped[Now]


class Import(Base):
    """A file that was read, so that reading it twice is seen, and that a killed import goes on where it ended."""

    __tablename__ = "import"
    __table_args__ = (UniqueConstraint("sha256", "level_id", postgresql_nulls_not_distinct=True),)

    id: Mapped[Id]
    name: Mapped[str]
    sha256: Mapped[str]
    level_id: Mapped[int | None] = mapped_column(ForeignKey("level.id"))
    records: Mapped[int] = mapped_column(comment="of the file, that have been read and stored or refused")
    counts: Mapped[Json] = mapped_column(comment="read, imported, duplicates, refused")
    complaints: Mapped[list[dict[str, str]]] = mapped_column(JSONB, comment="[{record, reason}] of the first 1,000")
    started_at: Mapped[Now]
    finished_at: Mapped[datetime | None] = mapped_column(comment="null: it was killed, or still runs")
