-- `judged` is the hull state at the end of the round, or the first one where the label came later: what a later round
-- displaces stays a hit of its round. `cells` are the stored cells of the crystal that the candidate relaxed to.
CREATE VIEW analytics.round_labels AS
SELECT round.id AS round_id, campaign.name AS campaign, round.number AS round, level.name AS level,
       structure.public_id, composition.reduced_formula, composition.chemsys, selection.rank, model.name AS model,
       selection.predicted_decomposition_energy,
       prediction.formation_energy_per_atom AS predicted_formation_energy_per_atom, prediction.spread,
       prediction.out_of_domain,
       CASE WHEN calculation.id IS NOT NULL THEN 'labelled'
            WHEN EXISTS (
              SELECT FROM calculation AS attempt
              WHERE attempt.initial_structure_id = structure.id AND attempt.level_id = selection.level_id
                AND attempt.state = 'failed') THEN 'failed'
            ELSE 'waiting' END AS outcome,
       judged.formation_energy_per_atom, judged.e_above_hull, judged.decomposition_energy,
       CASE WHEN calculation.id IS NOT NULL THEN NOT met.before END AS is_new,
       coalesce(judged.is_stable AND NOT met.before, false) AS is_hit,
       present.is_stable
FROM selection
JOIN round ON round.id = selection.round_id
JOIN campaign ON campaign.id = round.campaign_id
JOIN level ON level.id = selection.level_id
JOIN structure ON structure.id = selection.structure_id
JOIN composition ON composition.id = structure.composition_id
LEFT JOIN model ON model.id = selection.model_id
LEFT JOIN prediction ON prediction.structure_id = structure.id AND prediction.model_id = selection.model_id
     AND prediction.stage = 'ensemble'
LEFT JOIN calculation ON calculation.initial_structure_id = structure.id AND calculation.level_id = selection.level_id
     AND calculation.state = 'converged'
LEFT JOIN hull_state AS present ON present.calculation_id = calculation.id AND present.valid_to IS NULL
LEFT JOIN LATERAL (
    SELECT hull_state.formation_energy_per_atom, hull_state.e_above_hull, hull_state.decomposition_energy,
           hull_state.is_stable
    FROM hull_state
    WHERE hull_state.calculation_id = calculation.id
    ORDER BY CASE WHEN hull_state.valid_from <= coalesce(round.finished_at, 'infinity') THEN hull_state.valid_from END
             DESC NULLS LAST, hull_state.valid_from
    LIMIT 1) AS judged ON true
LEFT JOIN duplicate AS own ON own.structure_id = calculation.final_structure_id
CROSS JOIN LATERAL (
    SELECT EXISTS (
      SELECT FROM (
        SELECT coalesce(own.same_as_id, calculation.final_structure_id)
        UNION ALL
        SELECT twin.structure_id FROM duplicate AS twin
        WHERE twin.same_as_id = coalesce(own.same_as_id, calculation.final_structure_id)) AS cells (structure_id)
      JOIN calculation AS earlier ON earlier.final_structure_id = cells.structure_id
      WHERE earlier.level_id = selection.level_id AND earlier.state = 'converged' AND earlier.id < calculation.id
        AND NOT EXISTS (
          SELECT FROM selection AS beside
          WHERE beside.structure_id = earlier.initial_structure_id AND beside.level_id = selection.level_id
            AND beside.round_id = selection.round_id AND beside.purpose = 'label')) AS before) AS met
WHERE selection.purpose = 'label';

COMMENT ON VIEW analytics.round_labels IS
'What became of each candidate that a round picked for a label; competing known phases are not among them';
COMMENT ON COLUMN analytics.round_labels.round_id IS 'id of the round, to join selection, funnel, lineage, validation';
COMMENT ON COLUMN analytics.round_labels.campaign IS 'name of the campaign';
COMMENT ON COLUMN analytics.round_labels.round IS 'number of the round within its campaign';
COMMENT ON COLUMN analytics.round_labels.level IS 'level of theory of prediction and label';
COMMENT ON COLUMN analytics.round_labels.public_id IS 'the candidate, as it was proposed';
COMMENT ON COLUMN analytics.round_labels.reduced_formula IS 'reduced formula, LiFeO2';
COMMENT ON COLUMN analytics.round_labels.chemsys IS 'chemical system, elements in alphabetical order, Fe-Li-O';
COMMENT ON COLUMN analytics.round_labels.rank IS 'place in the order of its batch of labels, best first';
COMMENT ON COLUMN analytics.round_labels.model IS 'the model that it was picked by';
COMMENT ON COLUMN analytics.round_labels.predicted_decomposition_energy IS
'predicted energy against the hull as it was when picked, eV/atom';
COMMENT ON COLUMN analytics.round_labels.predicted_formation_energy_per_atom IS
'median of that model''s ensemble, eV/atom';
COMMENT ON COLUMN analytics.round_labels.spread IS 'inter-quartile range of the ensemble''s members, eV/atom';
COMMENT ON COLUMN analytics.round_labels.out_of_domain IS
'whether that prediction lay out of the model''s domain; null: the model can''t tell';
COMMENT ON COLUMN analytics.round_labels.outcome IS
'labelled; failed: attempts were made, none converged; waiting: not tried yet';
COMMENT ON COLUMN analytics.round_labels.formation_energy_per_atom IS
'the label: energy against the elements of its level, eV/atom; null until it is placed on the hull';
COMMENT ON COLUMN analytics.round_labels.e_above_hull IS
'distance to the hull as it was at the end of the round, or when the label came if later, eV/atom';
COMMENT ON COLUMN analytics.round_labels.decomposition_energy IS
'energy against the hull of all other entries at that moment, eV/atom; negative: stable';
COMMENT ON COLUMN analytics.round_labels.is_new IS
'whether it relaxed to a crystal that nothing but this round''s picks had come to before; null: not labelled';
COMMENT ON COLUMN analytics.round_labels.is_hit IS 'whether it is new and was on the hull at that moment';
COMMENT ON COLUMN analytics.round_labels.is_stable IS 'whether it is on the hull now; null: not placed';
