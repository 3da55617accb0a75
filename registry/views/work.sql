-- What is missing, derived from the data. A row is (subject_id, target_id, priority); lower priority goes first.

CREATE VIEW unscored AS
SELECT structure.id AS subject_id, model.id AS target_id, 0 AS priority
FROM structure
CROSS JOIN model
WHERE structure.origin = 'generated' AND model.promoted
  AND NOT EXISTS (
    SELECT FROM prediction
    WHERE prediction.structure_id = structure.id AND prediction.model_id = model.id AND prediction.stage = 'single')
  AND NOT EXISTS (
    SELECT FROM work WHERE work.kind = 'score' AND work.subject_id = structure.id AND work.target_id = model.id);

CREATE VIEW unrefined AS
SELECT selection.structure_id AS subject_id, model.id AS target_id, selection.rank AS priority
FROM selection
JOIN model ON model.level_id = selection.level_id AND model.promoted
WHERE selection.purpose = 'refine'
  AND NOT EXISTS (
    SELECT FROM prediction
    WHERE prediction.structure_id = selection.structure_id AND prediction.model_id = model.id
      AND prediction.stage = 'ensemble')
  AND NOT EXISTS (
    SELECT FROM work
    WHERE work.kind = 'refine' AND work.subject_id = selection.structure_id AND work.target_id = model.id);

CREATE VIEW unlabelled AS
SELECT selection.structure_id AS subject_id, selection.level_id AS target_id,
       min(CASE selection.purpose WHEN 'reference' THEN 0 ELSE 1000000 END + selection.rank) AS priority
FROM selection
WHERE selection.purpose IN ('reference', 'label')
  AND NOT EXISTS (
    SELECT FROM calculation
    WHERE calculation.initial_structure_id = selection.structure_id AND calculation.level_id = selection.level_id
      AND calculation.state = 'converged')
  AND NOT EXISTS (
    SELECT FROM work
    WHERE work.kind = 'label' AND work.subject_id = selection.structure_id AND work.target_id = selection.level_id)
GROUP BY selection.structure_id, selection.level_id;

CREATE VIEW entry AS
SELECT calculation.id AS calculation_id, calculation.level_id, calculation.initial_structure_id,
       calculation.final_structure_id, structure.composition_id, structure.nsites,
       calculation.energy + calculation.correction AS corrected_energy,
       (calculation.energy + calculation.correction) / structure.nsites AS corrected_energy_per_atom
FROM calculation
JOIN structure ON structure.id = calculation.final_structure_id
WHERE calculation.state = 'converged' AND calculation.off_hull IS NULL;

CREATE VIEW unplaced AS
SELECT entry.calculation_id AS subject_id, entry.level_id AS target_id, 0 AS priority
FROM entry
WHERE NOT EXISTS (SELECT FROM hull_state WHERE hull_state.calculation_id = entry.calculation_id)
  AND NOT EXISTS (
    SELECT FROM work
    WHERE work.kind = 'place' AND work.subject_id = entry.calculation_id AND work.target_id = entry.level_id);

-- One row for each crystal that was imported or proposed and, where it has been labelled, its place at that level.
CREATE VIEW material AS
SELECT structure.id, structure.public_id, structure.origin, structure.created_at AS discovered_at,
       structure.nsites, structure.volume, structure.composition_id,
       composition.reduced_formula, composition.anonymous_formula, composition.chemsys, composition.elements,
       composition.nelements, source.name AS source, source.licence,
       coalesce(final_prototype.label, prototype.label) AS prototype,
       coalesce(final_prototype.spacegroup_number, prototype.spacegroup_number) AS spacegroup_number,
       level.name AS level, level.id AS level_id, calculation.id AS calculation_id, calculation.final_structure_id,
       hull_state.id AS hull_state_id, hull_state.formation_energy_per_atom, hull_state.e_above_hull,
       hull_state.decomposition_energy, hull_state.phase_separation_energy, hull_state.is_stable
FROM structure
JOIN composition ON composition.id = structure.composition_id
JOIN source ON source.id = structure.source_id
LEFT JOIN prototype ON prototype.id = structure.prototype_id
LEFT JOIN calculation ON calculation.initial_structure_id = structure.id AND calculation.state = 'converged'
LEFT JOIN level ON level.id = calculation.level_id
LEFT JOIN structure AS final_structure ON final_structure.id = calculation.final_structure_id
LEFT JOIN prototype AS final_prototype ON final_prototype.id = final_structure.prototype_id
LEFT JOIN hull_state ON hull_state.calculation_id = calculation.id AND hull_state.valid_to IS NULL
WHERE structure.origin <> 'relaxed';
