"""Schema v1: the system of record, its claims, the views that say what is missing, views for analysts, and roles.

Revision 0001, after nothing, 2026-11-22.

It runs registry/views/work.sql, registry/analytics/*.sql and registry/roles.sql as they are now. That holds until the
first release only: their text is copied in here then, and whoever changes one of them writes a revision that does it.

Daemons of the previous release run while this does: add columns as nullable or with a constant default, fill them in a
revision of its own, and drop what nobody reads any more one release later. Locks wait five seconds, then all is undone.
"""

from __future__ import annotations

from importlib import resources

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

# In this order: the hit rate reads the labels.
ANALYTICS = (
    "stable_materials",
    "round_labels",
    "hit_rate_per_round",
    "prediction_vs_label",
    "displaced_phases",
    "coverage_by_elements",
    "prototypes",
    "engine_failures",
    "composition_labels",
)

# Of table frame, by hash of the composition.
PARTITIONS = 8

# Roles stay: other databases of the server use them. What this one would grant on tables to come is taken back.
GRANT_NO_MORE = """
DO $$
DECLARE
    maker regrole;
BEGIN
    FOR maker IN
        SELECT defaclrole FROM pg_default_acl
        WHERE defaclnamespace = 'public'::regnamespace AND defaclobjtype = 'r' AND pg_has_role(defaclrole, 'USAGE')
          AND to_regrole('lode_worker') IS NOT NULL AND to_regrole('lode_reader') IS NOT NULL
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA public '
            'REVOKE SELECT ON TABLES FROM lode_worker, lode_reader', maker);
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "composition",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("reduced_formula", sa.Text(collation="C"), nullable=False),
        sa.Column("anonymous_formula", sa.Text(collation="C"), nullable=False),
        sa.Column("chemsys", sa.Text(collation="C"), nullable=False),
        sa.Column("elements", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("amounts", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("nelements", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("cardinality(elements) = cardinality(amounts)", name=op.f("ck_composition_amounts_match")),
        sa.CheckConstraint("nelements = cardinality(elements)", name=op.f("ck_composition_elements_counted")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_composition")),
        sa.UniqueConstraint("reduced_formula", name=op.f("uq_composition_reduced_formula")),
    )
    op.create_index(op.f("ix_composition_anonymous_formula"), "composition", ["anonymous_formula"], unique=False)
    op.create_index(op.f("ix_composition_chemsys"), "composition", ["chemsys"], unique=False)
    op.create_index(op.f("ix_composition_elements"), "composition", ["elements"], unique=False, postgresql_using="gin")
    op.create_table(
        "level",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("functional", sa.Text(), nullable=False),
        sa.Column("correction_scheme", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("references", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="element -> eV/atom"),
        sa.Column(
            "tabulated",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="elements whose reference is from the literature",
        ),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("settings_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_level")),
        sa.UniqueConstraint("name", name=op.f("uq_level_name")),
    )
    op.create_table(
        "prototype",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("label", sa.Text(collation="C"), nullable=False),
        sa.Column("spacegroup_number", sa.SmallInteger(), nullable=False),
        sa.Column("pearson_symbol", sa.Text(collation="C"), nullable=False),
        sa.CheckConstraint("spacegroup_number BETWEEN 1 AND 230", name=op.f("ck_prototype_spacegroup_exists")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prototype")),
        sa.UniqueConstraint("label", name=op.f("uq_prototype_label")),
    )
    op.create_index(op.f("ix_prototype_spacegroup_number"), "prototype", ["spacegroup_number"], unique=False)
    op.create_table(
        "source",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("citation", sa.Text(), nullable=False),
        sa.Column("non_commercial", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "unplaced",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("calculation_id", sa.BigInteger(), nullable=False, comment="may be gone, or no entry (any more)"),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unplaced")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_table(
        "campaign",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_campaign_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("name", name=op.f("uq_campaign_name")),
    )
    op.create_table(
        "family",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("composition_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "label",
            sa.Text(collation="C"),
            nullable=False,
            comment="structure type of the disordered crystal and what mixes where",
        ),
        sa.Column(
            "mixed", postgresql.ARRAY(sa.Text(collation="C")), nullable=False, comment="elements that share a site"
        ),
        sa.Column("spacegroup_number", sa.SmallInteger(), nullable=False, comment="of the disordered crystal"),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.CheckConstraint("spacegroup_number BETWEEN 1 AND 230", name=op.f("ck_family_spacegroup_exists")),
        sa.ForeignKeyConstraint(["composition_id"], ["composition.id"], name=op.f("fk_family_composition_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_family")),
        sa.UniqueConstraint("composition_id", "label", name=op.f("uq_family_composition_id_label")),
    )
    op.create_table(
        "import",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "records", sa.BigInteger(), nullable=False, comment="of the file, that have been read and stored or refused"
        ),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="read, imported, duplicates, refused",
        ),
        sa.Column(
            "complaints",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{record, reason}] of the first 1,000",
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "finished_at", sa.DateTime(timezone=True), nullable=True, comment="null: it was killed, or still runs"
        ),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_import_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import")),
        sa.UniqueConstraint(
            "sha256", "level_id", name=op.f("uq_import_sha256_level_id"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_table(
        "level_bridge",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("from_level_id", sa.BigInteger(), nullable=False),
        sa.Column("to_level_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "coefficients",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="{elements: {element: eV/atom of it}, anions: {anion: eV/atom of it where it is the anion}, crystals: {element: how many}, ridge}",
        ),
        sa.Column(
            "residuals",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="part of the crystals -> {n, mean, std, mae} in eV/atom: fitted, held_out, raw, and those of each anion",
        ),
        sa.Column("rows", sa.Integer(), nullable=False, comment="crystals that both levels have"),
        sa.Column("data_hash", sa.Text(), nullable=False, comment="SHA-256 over their formulas and energies"),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the bridge as a file"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("from_level_id <> to_level_id", name=op.f("ck_level_bridge_two_levels")),
        sa.ForeignKeyConstraint(["from_level_id"], ["level.id"], name=op.f("fk_level_bridge_from_level_id")),
        sa.ForeignKeyConstraint(["to_level_id"], ["level.id"], name=op.f("fk_level_bridge_to_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_level_bridge")),
        sa.UniqueConstraint(
            "from_level_id", "to_level_id", "sha256", name=op.f("uq_level_bridge_from_level_id_to_level_id_sha256")
        ),
    )
    op.create_index(
        op.f("ix_level_bridge_to_level_id_from_level_id_id"),
        "level_bridge",
        ["to_level_id", "from_level_id", "id"],
        unique=False,
    )
    op.create_table(
        "placement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "calculation_ids",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="entries that came, went or moved; null: the whole level was solved anew",
        ),
        sa.Column(
            "references",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="of a whole level: element -> eV/atom, what formation energies are against from now on",
        ),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            '(calculation_ids IS NULL) = ("references" IS NOT NULL)', name=op.f("ck_placement_whole_says_references")
        ),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_placement_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_placement")),
    )
    op.create_index(op.f("ix_placement_level_id_id"), "placement", ["level_id", "id"], unique=False)
    op.create_table(
        "reference_set",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False, comment="where they compete"),
        sa.Column("from_level_id", sa.BigInteger(), nullable=False, comment="the imported level that they are of"),
        sa.Column(
            "compared",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what was found to agree: functional, pseudopotentials, hubbards, correction_scheme, entries, apart",
        ),
        sa.Column("compared_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("level_id <> from_level_id", name=op.f("ck_reference_set_two_levels")),
        sa.ForeignKeyConstraint(["from_level_id"], ["level.id"], name=op.f("fk_reference_set_from_level_id")),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_reference_set_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference_set")),
        sa.UniqueConstraint("level_id", "from_level_id", name=op.f("uq_reference_set_level_id_from_level_id")),
    )
    op.create_table(
        "structure",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("public_id", sa.Text(collation="C"), nullable=False),
        sa.Column("composition_id", sa.BigInteger(), nullable=False),
        sa.Column("chemsys", sa.Text(collation="C"), nullable=False, comment="its composition's"),
        sa.Column("prototype_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "protostructure",
            sa.Text(collation="C"),
            nullable=True,
            comment="prototype label plus which element sits where",
        ),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("nsites", sa.SmallInteger(), nullable=False),
        sa.Column("lattice", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False, comment="rows, angstrom"),
        sa.Column("species", postgresql.ARRAY(sa.SmallInteger()), nullable=False, comment="atomic numbers"),
        sa.Column("coords", sa.LargeBinary(), nullable=False, comment="fractional, float64 little-endian, nsites x 3"),
        sa.Column("volume", sa.DOUBLE_PRECISION(), nullable=False, comment="cubic angstrom"),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="what the source said, flags",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("origin IN ('imported', 'generated', 'relaxed')", name=op.f("ck_structure_origin_known")),
        sa.CheckConstraint("volume > 0 AND volume < 'infinity'", name=op.f("ck_structure_volume_positive")),
        sa.CheckConstraint("cardinality(lattice) = 9", name=op.f("ck_structure_lattice_3x3")),
        sa.CheckConstraint("nsites = cardinality(species) AND nsites > 0", name=op.f("ck_structure_sites_counted")),
        sa.CheckConstraint("octet_length(coords) = 24 * nsites", name=op.f("ck_structure_coords_match")),
        sa.ForeignKeyConstraint(["composition_id"], ["composition.id"], name=op.f("fk_structure_composition_id")),
        sa.ForeignKeyConstraint(["prototype_id"], ["prototype.id"], name=op.f("fk_structure_prototype_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_structure_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_structure")),
        sa.UniqueConstraint("public_id", name=op.f("uq_structure_public_id")),
    )
    op.create_index(op.f("ix_structure_composition_id_id"), "structure", ["composition_id", "id"], unique=False)
    op.create_index(
        "ix_structure_generated", "structure", ["id"], unique=False, postgresql_where=sa.text("origin = 'generated'")
    )
    op.create_index(
        "ix_structure_material_chemsys",
        "structure",
        ["chemsys", "id"],
        unique=False,
        postgresql_where=sa.text("origin <> 'relaxed'"),
    )
    op.create_index(
        "ix_structure_material_created",
        "structure",
        ["created_at", "id"],
        unique=False,
        postgresql_where=sa.text("origin <> 'relaxed'"),
    )
    op.create_index(op.f("ix_structure_prototype_id_id"), "structure", ["prototype_id", "id"], unique=False)
    op.create_table(
        "training_set",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False, comment="without those of excluded formulas"),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("excluded_formulas", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "split",
            sa.Text(),
            nullable=False,
            comment="by what it was parted: formula, chemsys, prototype, time or given",
        ),
        sa.Column(
            "parts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{name, rows, sha256, columns, level, query}] of its tables; columns: column -> SHA-256; query: null, or {level, filter, as_of, sources, columns, code_version}",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_training_set_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_set")),
        sa.UniqueConstraint(
            "level_id",
            "sha256",
            "excluded_formulas",
            "split",
            name=op.f("uq_training_set_level_id_sha256_excluded_formulas_split"),
        ),
    )
    op.create_table(
        "work",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("worker_id", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "failed_on",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="hosts that lack what it takes: others go first",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'running') = (token IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_work_running_has_lease"),
        ),
        sa.CheckConstraint("kind IN ('search', 'score', 'refine', 'label', 'place')", name=op.f("ck_work_kind_known")),
        sa.CheckConstraint("state <> 'dead' OR error_class IS NOT NULL", name=op.f("ck_work_dead_says_why")),
        sa.CheckConstraint("state IN ('waiting', 'running', 'dead')", name=op.f("ck_work_state_known")),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_work_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work")),
        sa.UniqueConstraint("kind", "subject_id", "target_id", name=op.f("uq_work_kind_subject_id_target_id")),
    )
    op.create_index(
        "ix_work_running", "work", ["lease_until"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_index(
        "ix_work_waiting",
        "work",
        ["kind", "priority", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "calculation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False, comment="where the energy came from"),
        sa.Column(
            "reference_set_id",
            sa.BigInteger(),
            nullable=True,
            comment="the set that brought it to this level from where it was imported",
        ),
        sa.Column("initial_structure_id", sa.BigInteger(), nullable=False),
        sa.Column("final_structure_id", sa.BigInteger(), nullable=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("energy", sa.DOUBLE_PRECISION(), nullable=True, comment="eV per cell, raw"),
        sa.Column("correction", sa.DOUBLE_PRECISION(), nullable=True, comment="eV per cell, added to the raw energy"),
        sa.Column("correction_parts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("off_hull", sa.Text(), nullable=True, comment="why this energy may not stand on a hull"),
        sa.Column("forces", sa.LargeBinary(), nullable=True, comment="eV/angstrom, float64, nsites x 3, final frame"),
        sa.Column(
            "stress",
            postgresql.ARRAY(sa.DOUBLE_PRECISION()),
            nullable=True,
            comment="eV/angstrom^3, Voigt xx yy zz yz xz xy",
        ),
        sa.Column("steps", sa.Integer(), nullable=True),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("settings_hash", sa.Text(), sa.Computed("md5(settings::text)", persisted=True), nullable=False),
        sa.Column(
            "changes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="what this attempt did otherwise than the settings say",
        ),
        sa.Column("engine_version", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("wall_seconds", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("cpu_seconds", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column(
            "gap", sa.DOUBLE_PRECISION(), nullable=True, comment="band gap, eV; 0 of a metal; null: the engine has none"
        ),
        sa.Column(
            "convergence",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="how it is known to be converged: what was left, what was allowed",
        ),
        sa.Column(
            "datasets",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="element -> SHA-256 of its pseudopotential or dataset",
        ),
        sa.Column("signal", sa.Text(), nullable=True, comment="what ended a failed attempt's program, as SIGSEGV"),
        sa.Column("log_tail", sa.Text(), nullable=True, comment="the last words of a failed attempt's program"),
        sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'converged') = (energy IS NOT NULL AND final_structure_id IS NOT NULL)",
            name=op.f("ck_calculation_converged_has_result"),
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (error_class IS NOT NULL)", name=op.f("ck_calculation_failed_has_class")
        ),
        sa.CheckConstraint(
            "error_class IN ('not_converged_electronic', 'not_converged_ionic', 'geometry_exploded', 'overlapping_atoms', 'unphysical_energy', 'unphysical_volume', 'missing_engine', 'missing_dataset', 'missing_reference', 'unsupported_element', 'out_of_memory', 'disk_full', 'walltime', 'killed', 'no_structure', 'node_lost', 'bug')",
            name=op.f("ck_calculation_error_class_known"),
        ),
        sa.CheckConstraint("state IN ('converged', 'failed')", name=op.f("ck_calculation_state_known")),
        sa.CheckConstraint("task IN ('relax', 'static')", name=op.f("ck_calculation_task_known")),
        sa.CheckConstraint(
            "(energy IS NULL) OR (correction IS NOT NULL) OR (off_hull IS NOT NULL)",
            name=op.f("ck_calculation_off_hull_says_why"),
        ),
        sa.CheckConstraint("abs(correction) < 1e6", name=op.f("ck_calculation_correction_finite")),
        sa.CheckConstraint("attempt > 0", name=op.f("ck_calculation_attempt_counted")),
        sa.CheckConstraint("gap >= 0 AND gap < 100", name=op.f("ck_calculation_gap_plausible")),
        sa.CheckConstraint("cardinality(stress) = 6", name=op.f("ck_calculation_stress_voigt")),
        sa.CheckConstraint("energy = energy AND abs(energy) < 1e6", name=op.f("ck_calculation_energy_finite")),
        sa.CheckConstraint(
            "octet_length(forces) > 0 AND octet_length(forces) % 24 = 0", name=op.f("ck_calculation_forces_of_sites")
        ),
        sa.ForeignKeyConstraint(
            ["final_structure_id"], ["structure.id"], name=op.f("fk_calculation_final_structure_id")
        ),
        sa.ForeignKeyConstraint(
            ["initial_structure_id"], ["structure.id"], name=op.f("fk_calculation_initial_structure_id")
        ),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_calculation_level_id")),
        sa.ForeignKeyConstraint(
            ["reference_set_id"], ["reference_set.id"], name=op.f("fk_calculation_reference_set_id")
        ),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_calculation_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calculation")),
        sa.UniqueConstraint("id", "level_id", name=op.f("uq_calculation_id_level_id")),
    )
    op.create_index(
        "ix_calculation_failed",
        "calculation",
        ["initial_structure_id", "level_id"],
        unique=False,
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index(op.f("ix_calculation_final_structure_id"), "calculation", ["final_structure_id"], unique=False)
    op.create_index(op.f("ix_calculation_level_id_id"), "calculation", ["level_id", "id"], unique=False)
    op.create_index(
        op.f("ix_calculation_reference_set_id"),
        "calculation",
        ["reference_set_id"],
        unique=False,
        postgresql_where=sa.text("reference_set_id IS NOT NULL"),
    )
    op.create_index(
        "uq_calculation_result",
        "calculation",
        ["initial_structure_id", "level_id"],
        unique=True,
        postgresql_where=sa.text("state = 'converged'"),
        postgresql_include=["final_structure_id"],
    )
    op.create_table(
        "duplicate",
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("same_as_id", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("structure_id <> same_as_id", name=op.f("ck_duplicate_not_itself")),
        sa.ForeignKeyConstraint(["same_as_id"], ["structure.id"], name=op.f("fk_duplicate_same_as_id")),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_duplicate_structure_id")),
        sa.PrimaryKeyConstraint("structure_id", name=op.f("pk_duplicate")),
    )
    op.create_index(op.f("ix_duplicate_same_as_id"), "duplicate", ["same_as_id"], unique=False)
    op.create_table(
        "external_id",
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("scheme", sa.Text(collation="C"), nullable=False),
        sa.Column("value", sa.Text(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_external_id_structure_id")),
        sa.PrimaryKeyConstraint("structure_id", "scheme", "value", name=op.f("pk_external_id")),
    )
    op.create_index(op.f("ix_external_id_value"), "external_id", ["value"], unique=False)
    op.create_table(
        "family_member",
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("family_id", sa.BigInteger(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["family_id"], ["family.id"], name=op.f("fk_family_member_family_id")),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_family_member_structure_id")),
        sa.PrimaryKeyConstraint("structure_id", name=op.f("pk_family_member")),
    )
    op.create_index(op.f("ix_family_member_family_id"), "family_member", ["family_id"], unique=False)
    op.create_table(
        "model",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("training_set_id", sa.BigInteger(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column(
            "needs_structure",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="whether it predicts crystals; if not, formulas: their ground states",
        ),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("promoted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_model_level_id")),
        sa.ForeignKeyConstraint(["training_set_id"], ["training_set.id"], name=op.f("fk_model_training_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("id", "level_id", name=op.f("uq_model_id_level_id")),
        sa.UniqueConstraint("name", name=op.f("uq_model_name")),
    )
    op.create_index(
        "uq_model_promoted", "model", ["level_id", "needs_structure"], unique=True, postgresql_where=sa.text("promoted")
    )
    op.create_table(
        "round",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_round_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("campaign_id", "number", name=op.f("uq_round_campaign_id_number")),
    )
    op.create_table(
        "frame",
        sa.Column("composition_id", sa.BigInteger(), nullable=False),
        sa.Column("calculation_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("lattice", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False, comment="rows, angstrom"),
        sa.Column("coords", sa.LargeBinary(), nullable=False, comment="fractional, float64 little-endian, nsites x 3"),
        sa.Column("energy", sa.DOUBLE_PRECISION(), nullable=False, comment="eV per cell, raw"),
        sa.Column("forces", sa.LargeBinary(), nullable=False, comment="eV/angstrom, float64, nsites x 3"),
        sa.Column(
            "stress",
            postgresql.ARRAY(sa.DOUBLE_PRECISION()),
            nullable=False,
            comment="eV/angstrom^3, Voigt xx yy zz yz xz xy",
        ),
        sa.CheckConstraint("cardinality(lattice) = 9", name=op.f("ck_frame_lattice_3x3")),
        sa.CheckConstraint("cardinality(stress) = 6", name=op.f("ck_frame_stress_voigt")),
        sa.CheckConstraint("energy = energy AND abs(energy) < 1e6", name=op.f("ck_frame_energy_finite")),
        sa.CheckConstraint("octet_length(coords) = octet_length(forces)", name=op.f("ck_frame_forces_match")),
        sa.CheckConstraint(
            "octet_length(coords) > 0 AND octet_length(coords) % 24 = 0", name=op.f("ck_frame_coords_of_sites")
        ),
        sa.CheckConstraint("step >= 0", name=op.f("ck_frame_step_counted")),
        sa.ForeignKeyConstraint(["calculation_id"], ["calculation.id"], name=op.f("fk_frame_calculation_id")),
        sa.ForeignKeyConstraint(["composition_id"], ["composition.id"], name=op.f("fk_frame_composition_id")),
        sa.PrimaryKeyConstraint("composition_id", "calculation_id", "step", name=op.f("pk_frame")),
        postgresql_partition_by="HASH (composition_id)",
    )
    op.create_table(
        "funnel",
        sa.Column("round_id", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("candidates", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_funnel_round_id")),
        sa.PrimaryKeyConstraint("round_id", "stage", "rule", name=op.f("pk_funnel")),
    )
    op.create_table(
        "hull_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("calculation_id", sa.BigInteger(), nullable=False),
        sa.Column("displaced_calculation_id", sa.BigInteger(), nullable=False),
        sa.Column("fell_by", sa.DOUBLE_PRECISION(), nullable=False, comment="eV/atom"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("fell_by >= 0 AND fell_by < 'Infinity'", name=op.f("ck_hull_event_fell_by_finite")),
        sa.CheckConstraint("calculation_id <> displaced_calculation_id", name=op.f("ck_hull_event_two_entries")),
        sa.ForeignKeyConstraint(
            ["calculation_id", "level_id"],
            ["calculation.id", "calculation.level_id"],
            name=op.f("fk_hull_event_calculation_id_level_id"),
        ),
        sa.ForeignKeyConstraint(
            ["displaced_calculation_id", "level_id"],
            ["calculation.id", "calculation.level_id"],
            name=op.f("fk_hull_event_displaced_calculation_id_level_id"),
        ),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_hull_event_level_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hull_event")),
    )
    op.create_index(op.f("ix_hull_event_calculation_id"), "hull_event", ["calculation_id"], unique=False)
    op.create_index(
        op.f("ix_hull_event_displaced_calculation_id"), "hull_event", ["displaced_calculation_id"], unique=False
    )
    op.create_table(
        "hull_state",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("calculation_id", sa.BigInteger(), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False, comment="the calculation's initial structure"),
        sa.Column("composition_id", sa.BigInteger(), nullable=False),
        sa.Column("prototype_id", sa.BigInteger(), nullable=True, comment="of the relaxed crystal, where it has one"),
        sa.Column("chemsys", sa.Text(collation="C"), nullable=False, comment="its composition's"),
        sa.Column("nelements", sa.SmallInteger(), nullable=False),
        sa.Column(
            "light_elements",
            sa.BigInteger(),
            nullable=False,
            comment="bit Z - 1 is set for each element it holds of Z up to 60",
        ),
        sa.Column("heavy_elements", sa.BigInteger(), nullable=False, comment="bit Z - 61, for the others"),
        sa.Column("formation_energy_per_atom", sa.DOUBLE_PRECISION(), nullable=False, comment="eV/atom"),
        sa.Column("e_above_hull", sa.DOUBLE_PRECISION(), nullable=False, comment="eV/atom, hull with the entry"),
        sa.Column(
            "decomposition_energy",
            sa.DOUBLE_PRECISION(),
            nullable=True,
            comment="eV/atom, against all other entries; null where nothing else spans the composition",
        ),
        sa.Column(
            "phase_separation_energy",
            sa.DOUBLE_PRECISION(),
            nullable=True,
            comment="eV/atom, against the hull without its composition",
        ),
        sa.Column("is_stable", sa.Boolean(), nullable=False),
        sa.Column(
            "decomposition",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{calculation_id, reduced_formula, amount}]; amount = share of the atoms",
        ),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "abs(formation_energy_per_atom) < 'Infinity'", name=op.f("ck_hull_state_formation_energy_finite")
        ),
        sa.CheckConstraint("e_above_hull >= 0 AND e_above_hull < 'Infinity'", name=op.f("ck_hull_state_above_hull")),
        sa.CheckConstraint("NOT is_stable OR e_above_hull = 0", name=op.f("ck_hull_state_stable_on_hull")),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_hull_state_validity_ordered")),
        sa.ForeignKeyConstraint(
            ["calculation_id", "level_id"],
            ["calculation.id", "calculation.level_id"],
            name=op.f("fk_hull_state_calculation_id_level_id"),
        ),
        sa.ForeignKeyConstraint(["composition_id"], ["composition.id"], name=op.f("fk_hull_state_composition_id")),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_hull_state_level_id")),
        sa.ForeignKeyConstraint(["prototype_id"], ["prototype.id"], name=op.f("fk_hull_state_prototype_id")),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_hull_state_structure_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hull_state")),
    )
    op.create_index(
        op.f("ix_hull_state_calculation_id_valid_from"), "hull_state", ["calculation_id", "valid_from"], unique=False
    )
    op.create_index(
        "ix_hull_state_current_chemsys",
        "hull_state",
        ["chemsys", "level_id", "e_above_hull", "structure_id"],
        unique=False,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_index(
        "ix_hull_state_current_energy",
        "hull_state",
        ["level_id", "e_above_hull", "structure_id"],
        unique=False,
        postgresql_where=sa.text("valid_to IS NULL"),
        postgresql_include=["light_elements", "heavy_elements", "prototype_id", "nelements", "is_stable"],
    )
    op.create_index(
        "ix_hull_state_current_prototype",
        "hull_state",
        ["prototype_id", "level_id", "e_above_hull", "structure_id"],
        unique=False,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_index(
        op.f("ix_hull_state_structure_id_level_id_valid_from"),
        "hull_state",
        ["structure_id", "level_id", "valid_from"],
        unique=False,
    )
    op.create_index(
        "uq_hull_state_current",
        "hull_state",
        ["calculation_id"],
        unique=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "lineage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("child_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("probability", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column(
            "rule",
            sa.Text(),
            nullable=True,
            comment="set where the way led to a crystal that was there: how it was seen",
        ),
        sa.Column("round_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(parent_id IS NULL) = (operation = 'random_search')", name=op.f("ck_lineage_parent_unless_random")
        ),
        sa.CheckConstraint(
            "operation IN ('ionic_substitution', 'partial_substitution', 'random_search')",
            name=op.f("ck_lineage_operation_known"),
        ),
        sa.CheckConstraint("child_id <> parent_id", name=op.f("ck_lineage_not_itself")),
        sa.CheckConstraint("probability IS NULL OR probability >= 0", name=op.f("ck_lineage_probability_positive")),
        sa.ForeignKeyConstraint(["child_id"], ["structure.id"], name=op.f("fk_lineage_child_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["structure.id"], name=op.f("fk_lineage_parent_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_lineage_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lineage")),
    )
    op.create_index(op.f("ix_lineage_parent_id"), "lineage", ["parent_id"], unique=False)
    op.create_index(
        "uq_lineage_way",
        "lineage",
        ["child_id", "parent_id", "operation", sa.literal_column("md5(arguments::text)")],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "model_file",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("name IN ('model.json', 'model.safetensors')", name=op.f("ck_model_file_file_named")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_model_file_model_id")),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_model_file")),
    )
    op.create_table(
        "prediction",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("formation_energy_per_atom", sa.DOUBLE_PRECISION(), nullable=False, comment="eV/atom"),
        sa.Column(
            "spread", sa.DOUBLE_PRECISION(), nullable=True, comment="inter-quartile range over the members, eV/atom"
        ),
        sa.Column("members", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False, comment="eV/atom, one a member"),
        sa.Column(
            "volume_factor",
            sa.DOUBLE_PRECISION(),
            nullable=False,
            comment="volume of the minimum / volume of the structure",
        ),
        sa.Column(
            "lower_90",
            sa.DOUBLE_PRECISION(),
            nullable=True,
            comment="lower end of the calibrated 90 % interval, eV/atom; null: the model has no calibration",
        ),
        sa.Column("upper_90", sa.DOUBLE_PRECISION(), nullable=True, comment="its upper end, eV/atom"),
        sa.Column(
            "out_of_domain",
            sa.Boolean(),
            nullable=True,
            comment="whether the training set held nothing like it: not to be trusted; null: the model can't tell",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("abs(formation_energy_per_atom) < 'infinity'", name=op.f("ck_prediction_energy_finite")),
        sa.CheckConstraint("spread >= 0 AND spread < 'infinity'", name=op.f("ck_prediction_spread_positive")),
        sa.CheckConstraint("stage IN ('single', 'ensemble')", name=op.f("ck_prediction_stage_known")),
        sa.CheckConstraint(
            "upper_90 - lower_90 < 'infinity' AND formation_energy_per_atom BETWEEN lower_90 AND upper_90",
            name=op.f("ck_prediction_interval_around"),
        ),
        sa.CheckConstraint("cardinality(members) > 0", name=op.f("ck_prediction_members_counted")),
        sa.CheckConstraint("num_nonnulls(lower_90, upper_90) IN (0, 2)", name=op.f("ck_prediction_interval_whole")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_prediction_model_id")),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_prediction_structure_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction")),
        sa.UniqueConstraint(
            "structure_id", "model_id", "stage", name=op.f("uq_prediction_structure_id_model_id_stage")
        ),
    )
    op.create_index(
        op.f("ix_prediction_model_id_stage_structure_id"),
        "prediction",
        ["model_id", "stage", "structure_id"],
        unique=False,
    )
    op.create_table(
        "property",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False, comment="band_gap, dimensionality, ..."),
        sa.Column("value", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False, comment="eV, angstrom^3, ...; 1 where it is a count or a word"),
        sa.Column("method", sa.Text(), nullable=False, comment="PBE, Cheon 2017, ..."),
        sa.Column("calculation_id", sa.BigInteger(), nullable=True, comment="what it was read from"),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "provenance",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="settings, code, what else matters",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("value = value AND abs(value) < 'infinity'", name=op.f("ck_property_value_finite")),
        sa.CheckConstraint("(value IS NULL) <> (words IS NULL)", name=op.f("ck_property_number_or_words")),
        sa.ForeignKeyConstraint(["calculation_id"], ["calculation.id"], name=op.f("fk_property_calculation_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_property_source_id")),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_property_structure_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_property")),
        sa.UniqueConstraint("structure_id", "name", "method", name=op.f("uq_property_structure_id_name_method")),
    )
    op.create_index(
        op.f("ix_property_name_value_structure_id"), "property", ["name", "value", "structure_id"], unique=False
    )
    op.create_table(
        "search",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("composition_id", sa.BigInteger(), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("round_id", sa.BigInteger(), nullable=True, comment="that asked; null: by hand"),
        sa.Column("asked_by", sa.Text(), nullable=False, comment="account of the database"),
        sa.Column("structures", sa.Integer(), nullable=False, comment="how many are wanted"),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column(
            "settings",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what they are drawn from: workers/candidates/random_search",
        ),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="cells that were tried, by what came of them",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when its structures were stored; null: not yet",
        ),
        sa.CheckConstraint("structures > 0", name=op.f("ck_search_structures_wanted")),
        sa.ForeignKeyConstraint(["composition_id"], ["composition.id"], name=op.f("fk_search_composition_id")),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_search_level_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_search_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search")),
        sa.UniqueConstraint("composition_id", "level_id", "seed", name=op.f("uq_search_composition_id_level_id_seed")),
    )
    op.create_index(
        "ix_search_unfinished", "search", ["id"], unique=False, postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_table(
        "validation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("round_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("summary", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("rows", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_validation_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_validation")),
    )
    op.create_index(op.f("ix_validation_round_id"), "validation", ["round_id"], unique=False)
    op.create_table(
        "selection",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("round_id", sa.BigInteger(), nullable=True),
        sa.Column("search_id", sa.BigInteger(), nullable=True),
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("level_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column(
            "predicted_decomposition_energy",
            sa.DOUBLE_PRECISION(),
            nullable=True,
            comment="eV/atom, against the hull as it was when selected",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("abs(predicted_decomposition_energy) < 'infinity'", name=op.f("ck_selection_energy_finite")),
        sa.CheckConstraint(
            "purpose IN ('reference', 'refine', 'recheck', 'label')", name=op.f("ck_selection_purpose_known")
        ),
        sa.CheckConstraint("num_nonnulls(round_id, search_id) = 1", name=op.f("ck_selection_round_or_search")),
        sa.ForeignKeyConstraint(["level_id"], ["level.id"], name=op.f("fk_selection_level_id")),
        sa.ForeignKeyConstraint(
            ["model_id", "level_id"], ["model.id", "model.level_id"], name=op.f("fk_selection_model_id_level_id")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_selection_round_id")),
        sa.ForeignKeyConstraint(["search_id"], ["search.id"], name=op.f("fk_selection_search_id")),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_selection_structure_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_selection")),
        sa.UniqueConstraint(
            "structure_id", "level_id", "purpose", name=op.f("uq_selection_structure_id_level_id_purpose")
        ),
    )
    op.create_index(
        op.f("ix_selection_round_id_purpose_rank"), "selection", ["round_id", "purpose", "rank"], unique=False
    )
    op.create_index(
        op.f("ix_selection_search_id"),
        "selection",
        ["search_id"],
        unique=False,
        postgresql_where=sa.text("search_id IS NOT NULL"),
    )
    for number in range(PARTITIONS):
        op.execute(
            f"CREATE TABLE frame_{number} PARTITION OF frame FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        )
    op.execute(_text("views", "work.sql"))
    op.execute("CREATE SCHEMA analytics")
    for view in ANALYTICS:
        op.execute(_text("analytics", f"{view}.sql"))
    op.execute(_text("analytics", "ancestors.sql"))
    op.execute(_text("roles.sql"))


def _text(*path: str) -> str:
    return resources.files("registry").joinpath(*path).read_text()


def downgrade() -> None:
    op.execute("DROP FUNCTION analytics.ancestors")
    for view in reversed(ANALYTICS):
        op.execute(f"DROP VIEW analytics.{view}")
    op.execute("DROP SCHEMA analytics")
    op.execute(GRANT_NO_MORE)
    for view in ("material", "entry", "unlabelled", "unrefined", "unscored", "unsearched"):
        op.execute(f"DROP VIEW {view}")
    op.execute("DROP FUNCTION note_unplaced CASCADE")
    op.drop_index(
        op.f("ix_selection_search_id"), table_name="selection", postgresql_where=sa.text("search_id IS NOT NULL")
    )
    op.drop_index(op.f("ix_selection_round_id_purpose_rank"), table_name="selection")
    op.drop_table("selection")
    op.drop_index(op.f("ix_validation_round_id"), table_name="validation")
    op.drop_table("validation")
    op.drop_index("ix_search_unfinished", table_name="search", postgresql_where=sa.text("finished_at IS NULL"))
    op.drop_table("search")
    op.drop_index(op.f("ix_property_name_value_structure_id"), table_name="property")
    op.drop_table("property")
    op.drop_index(op.f("ix_prediction_model_id_stage_structure_id"), table_name="prediction")
    op.drop_table("prediction")
    op.drop_table("model_file")
    op.drop_index("uq_lineage_way", table_name="lineage", postgresql_nulls_not_distinct=True)
    op.drop_index(op.f("ix_lineage_parent_id"), table_name="lineage")
    op.drop_table("lineage")
    op.drop_index("uq_hull_state_current", table_name="hull_state", postgresql_where=sa.text("valid_to IS NULL"))
    op.drop_index(op.f("ix_hull_state_structure_id_level_id_valid_from"), table_name="hull_state")
    op.drop_index(
        "ix_hull_state_current_prototype", table_name="hull_state", postgresql_where=sa.text("valid_to IS NULL")
    )
    op.drop_index(
        "ix_hull_state_current_energy",
        table_name="hull_state",
        postgresql_where=sa.text("valid_to IS NULL"),
        postgresql_include=["light_elements", "heavy_elements", "prototype_id", "nelements", "is_stable"],
    )
    op.drop_index(
        "ix_hull_state_current_chemsys", table_name="hull_state", postgresql_where=sa.text("valid_to IS NULL")
    )
    op.drop_index(op.f("ix_hull_state_calculation_id_valid_from"), table_name="hull_state")
    op.drop_table("hull_state")
    op.drop_index(op.f("ix_hull_event_displaced_calculation_id"), table_name="hull_event")
    op.drop_index(op.f("ix_hull_event_calculation_id"), table_name="hull_event")
    op.drop_table("hull_event")
    op.drop_table("funnel")
    op.drop_table("frame")
    op.drop_table("round")
    op.drop_index("uq_model_promoted", table_name="model", postgresql_where=sa.text("promoted"))
    op.drop_table("model")
    op.drop_index(op.f("ix_family_member_family_id"), table_name="family_member")
    op.drop_table("family_member")
    op.drop_index(op.f("ix_external_id_value"), table_name="external_id")
    op.drop_table("external_id")
    op.drop_index(op.f("ix_duplicate_same_as_id"), table_name="duplicate")
    op.drop_table("duplicate")
    op.drop_index(
        "uq_calculation_result",
        table_name="calculation",
        postgresql_where=sa.text("state = 'converged'"),
        postgresql_include=["final_structure_id"],
    )
    op.drop_index(
        op.f("ix_calculation_reference_set_id"),
        table_name="calculation",
        postgresql_where=sa.text("reference_set_id IS NOT NULL"),
    )
    op.drop_index(op.f("ix_calculation_level_id_id"), table_name="calculation")
    op.drop_index(op.f("ix_calculation_final_structure_id"), table_name="calculation")
    op.drop_index("ix_calculation_failed", table_name="calculation", postgresql_where=sa.text("state = 'failed'"))
    op.drop_table("calculation")
    op.drop_index("ix_work_waiting", table_name="work", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_index("ix_work_running", table_name="work", postgresql_where=sa.text("state = 'running'"))
    op.drop_table("work")
    op.drop_table("training_set")
    op.drop_index(op.f("ix_structure_prototype_id_id"), table_name="structure")
    op.drop_index(
        "ix_structure_material_created", table_name="structure", postgresql_where=sa.text("origin <> 'relaxed'")
    )
    op.drop_index(
        "ix_structure_material_chemsys", table_name="structure", postgresql_where=sa.text("origin <> 'relaxed'")
    )
    op.drop_index("ix_structure_generated", table_name="structure", postgresql_where=sa.text("origin = 'generated'"))
    op.drop_index(op.f("ix_structure_composition_id_id"), table_name="structure")
    op.drop_table("structure")
    op.drop_table("reference_set")
    op.drop_index(op.f("ix_placement_level_id_id"), table_name="placement")
    op.drop_table("placement")
    op.drop_index(op.f("ix_level_bridge_to_level_id_from_level_id_id"), table_name="level_bridge")
    op.drop_table("level_bridge")
    op.drop_table("import")
    op.drop_table("family")
    op.drop_table("campaign")
    op.drop_table("worker")
    op.drop_table("unplaced")
    op.drop_table("source")
    op.drop_index(op.f("ix_prototype_spacegroup_number"), table_name="prototype")
    op.drop_table("prototype")
    op.drop_table("level")
    op.drop_index(op.f("ix_composition_elements"), table_name="composition", postgresql_using="gin")
    op.drop_index(op.f("ix_composition_chemsys"), table_name="composition")
    op.drop_index(op.f("ix_composition_anonymous_formula"), table_name="composition")
    op.drop_table("composition")
