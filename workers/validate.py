"""Hold a round against the textbook. Only here and in `validation.textbook` is that table read."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.errors import NotFound
from registry.ingest import crystals
from registry.models import Campaign, Round, Validation
from workers.validation.textbook import Candidate, Label, TextbookCompound, TextbookReport, judge, load_textbook

CANDIDATES = """
SELECT structure.id, structure.public_id, composition.reduced_formula,
       refined.predicted_decomposition_energy AS predicted, refined.rank, failed.error_class AS failure,
       (SELECT formation_energy_per_atom FROM prediction
        WHERE prediction.structure_id = structure.id AND prediction.stage = 'single'
        ORDER BY prediction.id DESC LIMIT 1) AS scored
FROM structure
JOIN composition ON composition.id = structure.composition_id
LEFT JOIN LATERAL (
    SELECT predicted_decomposition_energy, rank FROM selection
    WHERE selection.structure_id = structure.id AND selection.level_id = :level
      AND selection.purpose IN ('label', 'refine')
    ORDER BY selection.purpose = 'label' DESC LIMIT 1) AS refined ON true
LEFT JOIN LATERAL (
    SELECT error_class FROM calculation
    WHERE calculation.initial_structure_id = structure.id AND calculation.level_id = :level AND state = 'failed'
      AND NOT EXISTS (
        SELECT FROM calculation AS done
        WHERE done.initial_structure_id = structure.id AND done.level_id = :level AND done.state = 'converged')
    ORDER BY calculation.id DESC LIMIT 1) AS failed ON true
WHERE structure.origin = 'generated' AND composition.nelements > 1
  AND EXISTS (
    SELECT FROM lineage JOIN round ON round.id = lineage.round_id
    WHERE lineage.child_id = structure.id AND round.campaign_id = :campaign)
ORDER BY structure.id
"""
"""Compounds alone: elements are never selected, so chance doesn't draw them either."""

LABELS = """
SELECT structure.public_id, composition.reduced_formula, composition.chemsys, calculation.final_structure_id,
       entry.corrected_energy_per_atom, hull_state.e_above_hull
FROM entry
JOIN calculation ON calculation.id = entry.calculation_id
JOIN structure ON structure.id = entry.initial_structure_id
JOIN composition ON composition.id = structure.composition_id
JOIN hull_state ON hull_state.calculation_id = entry.calculation_id AND hull_state.valid_to IS NULL
WHERE entry.level_id = :level
ORDER BY calculation.id
"""

LAST_ROUND = """
SELECT round.id FROM round JOIN campaign ON campaign.id = campaign_id
WHERE CASE WHEN CAST(:name AS text) IS NULL
           THEN NOT jsonb_exists_any(round.settings, ARRAY['validated_level', 'asked_for']) ELSE name = :name END
ORDER BY round.id DESC LIMIT 1
"""
"""Without a name, none of those that only ask for labels (`workers.select_second`, `workers.ask_labels`)."""


def validate_textbook(session: Session, round_id: int) -> TextbookReport:
    """Judge the candidates and labels of a round's level, and keep the report. Commit is the caller's."""
    judged = session.get_one(Round, round_id)
    campaign = session.get_one(Campaign, judged.campaign_id)
    textbook = within(load_textbook(), judged.settings["family"])
    report = judge(textbook, _candidates(session, campaign, textbook), _labels(session, campaign.level_id))
    found = report.as_dict()
    rows = found.pop("rows")
    session.add(Validation(round_id=round_id, name="textbook", summary=found, rows=rows))
    return report


def within(textbook: Sequence[TextbookCompound], family: object) -> list[TextbookCompound]:
    """The compounds made of the family's elements alone."""
    assert isinstance(family, list)
    return [compound for compound in textbook if compound.elements <= set(family)]


def last_round(session: Session, campaign: str | None = None) -> int:
    """The newest round, of a campaign or of all that proposed candidates. Raises NotFound."""
    query = sa.text(LAST_ROUND)
    found = session.scalar(query, {"name": campaign})
    if found is None:
        raise NotFound(f"no campaign '{campaign}'" if campaign else "no campaign has run yet")
    return int(found)


def _candidates(session: Session, campaign: Campaign, textbook: Sequence[TextbookCompound]) -> list[Candidate]:
    """All of the campaign, since chance counts them all; crystals only where the textbook has the formula."""
    rows = session.execute(sa.text(CANDIDATES), {"level": campaign.level_id, "campaign": campaign.id}).all()
    asked = {compound.reduced_formula for compound in textbook}
    found = crystals(session, [row.id for row in rows if row.reduced_formula in asked])
    blank = next(iter(found.values()), None)
    return [
        Candidate(row.public_id, row.reduced_formula, crystal, row.predicted, row.rank, row.failure, row.scored)
        for row in rows
        if (crystal := found.get(row.id, blank)) is not None
    ]


def _labels(session: Session, level_id: int) -> list[Label]:
    rows = session.execute(sa.text(LABELS), {"level": level_id}).all()
    relaxed: dict[int, Crystal] = crystals(session, {row.final_structure_id for row in rows})
    compounds = {(row.chemsys, row.reduced_formula) for row in rows}
    return [
        Label(
            row.public_id,
            row.reduced_formula,
            relaxed[row.final_structure_id],
            row.corrected_energy_per_atom,
            row.e_above_hull,
            _has_competition(row.chemsys, row.reduced_formula, compounds),
        )
        for row in rows
    ]


def _has_competition(chemsys: str, formula: str, compounds: set[tuple[str, str]]) -> bool:
    """Whether a labelled compound other than this one lies within its chemical system."""
    elements = set(chemsys.split("-"))
    return any(
        other != formula and "-" in system and elements.issuperset(system.split("-")) for system, other in compounds
    )
