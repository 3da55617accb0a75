"""lode campaign run | list | report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import DEFAULT_LEVEL, open_registry
from api.cli.output import as_json, print_json, print_table, progress

if TYPE_CHECKING:
    from workers.campaign import CampaignSettings, Outcome

REPORT = """
SELECT final_prototype.spacegroup_number, composition.reduced_formula, structure.public_id AS id,
       hull_state.e_above_hull, hull_state.decomposition_energy, hull_state.decomposition,
       hull_state.is_stable, parent_composition.reduced_formula AS parent, way.operation,
       prediction.formation_energy_per_atom AS predicted, hull_state.formation_energy_per_atom AS labelled,
       prediction.spread, prediction.out_of_domain, composition.chemsys
FROM selection
JOIN structure ON structure.id = selection.structure_id
JOIN composition ON composition.id = structure.composition_id
JOIN calculation ON calculation.initial_structure_id = structure.id AND calculation.level_id = selection.level_id
     AND calculation.state = 'converged'
JOIN structure AS final ON final.id = calculation.final_structure_id
LEFT JOIN prototype AS final_prototype ON final_prototype.id = final.prototype_id
JOIN hull_state ON hull_state.calculation_id = calculation.id AND hull_state.valid_to IS NULL
LEFT JOIN prediction ON prediction.structure_id = structure.id AND prediction.model_id = selection.model_id
     AND prediction.stage = 'ensemble'
LEFT JOIN LATERAL (
    SELECT parent_id, operation FROM lineage
    WHERE lineage.child_id = structure.id ORDER BY probability DESC NULLS LAST, lineage.id LIMIT 1) AS way ON true
LEFT JOIN structure AS parent ON parent.id = way.parent_id
LEFT JOIN composition AS parent_composition ON parent_composition.id = parent.composition_id
WHERE selection.purpose = 'label' AND selection.round_id = :round
ORDER BY hull_state.e_above_hull, hull_state.decomposition_energy, structure.id
"""

OUTSIDE = """
SELECT selection.purpose, count(*) AS picked, count(prediction.out_of_domain) AS judged,
       count(*) FILTER (WHERE prediction.out_of_domain) AS out_of_domain
FROM selection
LEFT JOIN prediction ON prediction.structure_id = selection.structure_id AND prediction.model_id = selection.model_id
     AND prediction.stage = CASE selection.purpose WHEN 'refine' THEN 'single' ELSE 'ensemble' END
WHERE selection.round_id = :round AND selection.purpose IN ('refine', 'label')
GROUP BY selection.purpose ORDER BY selection.purpose DESC
"""


@click.group()
def campaign() -> None:
    """Discovery campaigns."""


@campaign.command()
@click.argument("name")
@click.option("--family", required=True, help="Elements of the candidates: Li,Na,O or groups: all,-radioactive,-noble.")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option("--labels", default=450, show_default=True, type=click.IntRange(1))
@click.option(
    "--batches", default=6, show_default=True, type=click.IntRange(1), help="Later picks know earlier labels."
)
@click.option(
    "--second",
    metavar="MODEL",
    help="A model or potential (7net-0) that looks again at the candidates that the ensemble finds best, and picks.",
)
@click.option("--rechecks", default=500, show_default=True, type=click.IntRange(1), help="At how many it looks again.")
@click.option("--simple-anions", is_flag=True, help="Elements of groups 15 to 17 only as anions.")
@click.option("--fused", is_flag=True, help="Score while generating, and write only what is predicted to be promising.")
@click.option(
    "--workers", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(0), help="Local daemons."
)
@as_json
def run(
    name: str,
    family: str,
    level: str,
    labels: int,
    batches: int,
    second: str | None,
    rechecks: int,
    simple_anions: bool,
    fused: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Run one round of campaign NAME: candidates, scores, selection, labels, hull."""
    from api.cli.work import parse_family
    from workers.campaign import CampaignSettings
    from workers.candidates.generation import Settings
    from workers.fused import Fused

    candidates = Settings(simple_anions=simple_anions)
    settings = CampaignSettings(
        name,
        parse_family(family),
        labels=labels,
        batches=batches,
        second=second,
        rechecks=rechecks,
        candidates=candidates,
        fused=Fused() if fused else None,
    )
    outcome = run_with_daemons(settings, level, workers)
    _print_round(outcome.round_id, as_json)


@campaign.command()
@click.argument("name", required=False)
@as_json
def report(name: str | None, as_json: bool) -> None:
    """What the last round of a campaign labelled, lowest above the hull first, and what its rules dropped."""
    from sqlalchemy.orm import Session

    from workers.validate import last_round

    with Session(open_registry()) as session:
        round_id = last_round(session, name)
    _print_round(round_id, as_json)


@campaign.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Campaigns and their rounds."""
    import sqlalchemy as sa

    query = sa.text(
        "SELECT campaign.name, level.name AS level, count(round.id) AS rounds, max(round.finished_at) AS finished_at"
        " FROM campaign JOIN level ON level.id = level_id LEFT JOIN round ON campaign_id = campaign.id"
        " GROUP BY campaign.id, campaign.name, level.name ORDER BY campaign.id"
    )
    with open_registry().connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    print_json(rows) if as_json else print_table(rows, ["name", "level", "rounds", "finished_at"])


def run_with_daemons(settings: CampaignSettings, level: str, workers: int) -> Outcome:
    """A round with local daemons; with none the daemons of other machines do the work."""
    from sqlalchemy.orm import Session

    from api.cli.daemons import LocalDaemons
    from registry.hull.level_rows import level_id
    from registry.settings import load_settings
    from workers.campaign import run_round

    engine = open_registry("lode campaign")
    with Session(engine) as session:
        at = level_id(session, level)
    folder = load_settings().home / "logs"
    with LocalDaemons(("score", "refine", "label", "place"), workers, folder) as daemons, progress() as advance:
        return run_round(engine, at, settings, advance, daemons.check if workers else lambda: None)


def round_rows(round_id: int) -> list[dict[str, Any]]:
    """The labels of a round, from one SQL statement."""
    import sqlalchemy as sa

    with open_registry().connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(REPORT), {"round": round_id}).mappings()]


def round_funnel(round_id: int) -> dict[str, dict[str, int]]:
    """Stage ("generate: rejected") -> rule -> number of candidates of a round, the largest first."""
    import sqlalchemy as sa

    query = sa.text("SELECT stage, rule, candidates FROM funnel WHERE round_id = :round ORDER BY candidates DESC, rule")
    found: dict[str, dict[str, int]] = {}
    with open_registry().connect() as connection:
        for stage, rule, candidates in connection.execute(query, {"round": round_id}).tuples():
            found.setdefault(stage, {})[rule] = candidates
    return found


def round_outside(round_id: int) -> dict[str, dict[str, int]]:
    """Purpose of a round's picks ("refine", "label") -> how many, how many of them the model knows whether they lie in
    its domain, and how many of these don't."""
    import sqlalchemy as sa

    with open_registry().connect() as connection:
        rows = connection.execute(sa.text(OUTSIDE), {"round": round_id}).mappings().all()
    counted = ("picked", "judged", "out_of_domain")
    return {row["purpose"]: {name: row[name] for name in counted} for row in rows}


def print_outside(outside: Mapping[str, Mapping[str, int]]) -> None:
    """One line for each purpose, where the model can tell."""
    for purpose, counts in outside.items():
        if counts["judged"]:
            click.echo(
                f"{counts['out_of_domain']} of {counts['picked']} candidates picked to {purpose} lie out of the model's"
                " domain: their predictions aren't to be trusted"
            )


def print_funnel(funnel: Mapping[str, Mapping[str, int]]) -> None:
    """A table of what each rule of each stage counted."""
    rows = [
        {"stage": stage, "rule": rule, "candidates": f"{count:,}"}
        for stage, rules in funnel.items()
        for rule, count in rules.items()
    ]
    if rows:
        print_table(rows, ["stage", "rule", "candidates"], "What became of parents and candidates")


def _print_round(round_id: int, as_json: bool) -> None:
    rows, funnel, outside = round_rows(round_id), round_funnel(round_id), round_outside(round_id)
    if as_json:
        print_json({"round": round_id, "data": rows, "funnel": funnel, "out_of_domain": outside})
        return
    print_rows(rows)
    print_outside(outside)
    print_funnel(funnel)


def print_rows(rows: list[dict[str, Any]], most: int = 40) -> None:
    """A table of the lowest rows."""
    shown = [{**row, "decomposes_to": _decomposition(row)} for row in rows[:most]]
    columns = [
        "reduced_formula", "spacegroup_number", "e_above_hull", "decomposition_energy", "decomposes_to", "parent",
        "predicted", "labelled", "spread", "out_of_domain", "id",
    ]  # fmt: skip
    print_table(shown, columns, f"the lowest {len(shown)} of {len(rows)} labelled candidates (eV/atom)")


def _decomposition(row: dict[str, Any]) -> str:
    if row["is_stable"]:
        return "stable"
    return " + ".join(f"{share['amount']:.2f} {share['reduced_formula']}" for share in row["decomposition"])
