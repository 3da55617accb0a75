"""GraphQL's types of single rows. Rows are dictionaries of columns."""
# mypy: disallow-subclassing-any=False
# (graphene has no types)

from __future__ import annotations

from typing import Any

import graphene
from graphene.types.generic import GenericScalar
from graphql import GraphQLResolveInfo as Info

from api.graphql import rows
from api.graphql.desk import Desk
from api.graphql.rows import Row
from registry.identity.composition import SYMBOLS
from registry.ingest import crystal_of
from registry.query.fields import FIELDS

SPACEGROUP = "1-230; of a pair that mirrors each other the lower, 152 for 152 and 154"


def desk(info: Info) -> Desk:
    """Where this request asks its questions."""
    found: Desk = info.context["desk"]
    return found


def ev_per_atom(description: str) -> graphene.Float:
    return graphene.Float(description=f"{description} (eV/atom)")


def listed(kind: Any) -> graphene.NonNull:
    """A list without holes."""
    return graphene.NonNull(graphene.List(graphene.NonNull(kind)))


async def structure_of(info: Info, structure_id: int | None) -> Row | None:
    """The row of a Structure by its database id."""
    if structure_id is None:
        return None
    found = await desk(info).nested(rows.structures, structure_id)
    return found[0]


class ExternalId(graphene.ObjectType):
    """A name that others gave to a structure."""

    scheme = graphene.NonNull(graphene.String)
    value = graphene.NonNull(graphene.String)


class Duplicate(graphene.ObjectType):
    """Another stored structure that is the same crystal."""

    id = graphene.NonNull(graphene.ID)
    rule = graphene.NonNull(graphene.String, description="how it was seen")


class Property(graphene.ObjectType):
    """What is known of a crystal beside its energies, by one method: a number with its unit, or words."""

    name = graphene.NonNull(graphene.String, description="band_gap, dimensionality, ...")
    value = graphene.Float()
    words = graphene.String()
    unit = graphene.NonNull(graphene.String, description="eV, angstrom^3, ...; 1 for counts and words")
    method = graphene.NonNull(graphene.String)
    source = graphene.NonNull(graphene.String)
    provenance = GenericScalar(description="settings, code, what else matters")
    created_at = graphene.NonNull(graphene.DateTime)


class Structure(graphene.ObjectType):
    """The arrays of a crystal."""

    id = graphene.NonNull(graphene.ID)
    reduced_formula = graphene.NonNull(graphene.String)
    origin = graphene.NonNull(graphene.String, description="imported, generated or relaxed")
    prototype = graphene.String(description="structure type of these arrays, in AFLOW's form")
    spacegroup_number = graphene.Int(description=SPACEGROUP)
    nsites = graphene.NonNull(graphene.Int, description=FIELDS["nsites"].explanation)
    volume = graphene.NonNull(graphene.Float, description=FIELDS["volume"].explanation)
    lattice = graphene.NonNull(graphene.List(graphene.List(graphene.Float)), description="vectors as rows, angstrom")
    species = graphene.NonNull(graphene.List(graphene.String), description="element of each site")
    frac_coords = graphene.NonNull(graphene.List(graphene.List(graphene.Float)), description="fractional coordinates")
    cif = graphene.NonNull(graphene.String, description="CIF in P1")

    @staticmethod
    def resolve_lattice(row: Row, _: Info) -> Any:
        return crystal_of(row["row"]).lattice.tolist()

    @staticmethod
    def resolve_species(row: Row, _: Info) -> list[str]:
        return [SYMBOLS[number] for number in row["row"].species]

    @staticmethod
    def resolve_frac_coords(row: Row, _: Info) -> Any:
        return crystal_of(row["row"]).frac_coords.tolist()

    @staticmethod
    async def resolve_cif(row: Row, info: Info) -> str:
        return await desk(info).ask(lambda _: str(crystal_of(row["row"]).to_pymatgen().to(fmt="cif")))


class Calculation(graphene.ObjectType):
    """One attempt at an energy. The raw energy and its correction stand side by side."""

    id = graphene.NonNull(graphene.ID)
    level = graphene.NonNull(graphene.String)
    task = graphene.NonNull(graphene.String)
    state = graphene.NonNull(graphene.String)
    energy = graphene.Float(description="raw (eV per cell)")
    correction = graphene.Float(description="added to the raw energy (eV per cell)")
    correction_parts = GenericScalar(description="what the correction is made of")
    corrected_energy = graphene.Float(description="raw + correction (eV per cell)")
    corrected_energy_per_atom = ev_per_atom("raw + correction")
    off_hull = graphene.String(description="why this energy may not stand on a hull")
    error_class = graphene.String()
    error = graphene.String()
    attempt = graphene.NonNull(graphene.Int)
    steps = graphene.Int(description="of the relaxation")
    settings = GenericScalar()
    engine_version = graphene.NonNull(graphene.String)
    node = graphene.NonNull(graphene.String)
    wall_seconds = graphene.Float()
    cpu_seconds = graphene.Float()
    finished_at = graphene.NonNull(graphene.DateTime)
    initial_structure = graphene.NonNull(Structure)
    final_structure = graphene.Field(Structure)

    @staticmethod
    async def resolve_initial_structure(row: Row, info: Info) -> Row | None:
        return await structure_of(info, row["initial_structure_id"])

    @staticmethod
    async def resolve_final_structure(row: Row, info: Info) -> Row | None:
        return await structure_of(info, row["final_structure_id"])


class Decomposition(graphene.ObjectType):
    """A phase that an entry falls apart into."""

    reduced_formula = graphene.NonNull(graphene.String)
    amount = graphene.NonNull(graphene.Float, description="share of the atoms")


class HullState(graphene.ObjectType):
    """The place of an entry on the hull of its level, while it lasted."""

    level = graphene.NonNull(graphene.String)
    calculation_id = graphene.NonNull(graphene.ID)
    formation_energy_per_atom = ev_per_atom(FIELDS["formation_energy_per_atom"].description)
    e_above_hull = ev_per_atom(FIELDS["e_above_hull"].description)
    decomposition_energy = ev_per_atom(FIELDS["decomposition_energy"].description)
    phase_separation_energy = ev_per_atom(FIELDS["phase_separation_energy"].description)
    is_stable = graphene.NonNull(graphene.Boolean, description=FIELDS["is_stable"].description)
    decomposition = listed(Decomposition)
    valid_from = graphene.NonNull(graphene.DateTime)
    valid_to = graphene.DateTime(description="null: still valid")


class TrainingSet(graphene.ObjectType):
    """What a model learnt from."""

    name = graphene.NonNull(graphene.String)
    sha256 = graphene.NonNull(graphene.String)
    rows = graphene.NonNull(graphene.Int)
    excluded_formulas = graphene.NonNull(graphene.List(graphene.String), description="left out on purpose")


class Model(graphene.ObjectType):
    """A trained ensemble at one level."""

    name = graphene.NonNull(graphene.String)
    level = graphene.NonNull(graphene.String)
    promoted = graphene.NonNull(graphene.Boolean, description="the one that scores now")
    members = graphene.NonNull(graphene.Int)
    metrics = GenericScalar()
    code_version = graphene.NonNull(graphene.String)
    checkpoint_sha256 = graphene.NonNull(graphene.String)
    created_at = graphene.NonNull(graphene.DateTime)
    training_set = graphene.NonNull(TrainingSet)

    @staticmethod
    def resolve_training_set(row: Row, _: Info) -> Row:
        return {**row, "name": row["set_name"]}


class Prediction(graphene.ObjectType):
    """What a model said."""

    level = graphene.NonNull(graphene.String)
    stage = graphene.NonNull(graphene.String, description="single: one member; ensemble: all, over the volume scan")
    formation_energy_per_atom = ev_per_atom("median over the members")
    spread = ev_per_atom("inter-quartile range over the members")
    members = graphene.NonNull(graphene.List(graphene.Float), description="what each member said (eV/atom)")
    volume_factor = graphene.NonNull(graphene.Float, description="volume of the minimum / volume of the structure")
    lower_90 = ev_per_atom("lower end of the calibrated 90 % interval; null: the model has no calibration")
    upper_90 = ev_per_atom("its upper end")
    out_of_domain = graphene.Boolean(
        description="whether the training set held nothing like it: not to be trusted; null: the model can't tell"
    )
    created_at = graphene.NonNull(graphene.DateTime)
    model = graphene.NonNull(Model)

    @staticmethod
    async def resolve_model(row: Row, info: Info) -> Row:
        found = await desk(info).nested(rows.models, row["model_id"])
        return found[0]


class Selection(graphene.ObjectType):
    """A pick of a round."""

    campaign = graphene.NonNull(graphene.String)
    round = graphene.NonNull(graphene.Int)
    level = graphene.NonNull(graphene.String)
    purpose = graphene.NonNull(graphene.String)
    rank = graphene.NonNull(graphene.Int)
    predicted_decomposition_energy = ev_per_atom("against the hull as it was then")
    created_at = graphene.NonNull(graphene.DateTime)
