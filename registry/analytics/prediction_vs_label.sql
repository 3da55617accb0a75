CREATE VIEW analytics.prediction_vs_label AS
SELECT structure.public_id, composition.reduced_formula, composition.chemsys, composition.nelements, structure.origin,
       level.name AS level, model.name AS model, prediction.stage,
       prediction.formation_energy_per_atom AS predicted_formation_energy_per_atom,
       hull_state.formation_energy_per_atom,
       prediction.formation_energy_per_atom - hull_state.formation_energy_per_atom AS error,
       prediction.spread, prediction.lower_90, prediction.upper_90, prediction.out_of_domain, hull_state.e_above_hull, hull_state.is_stable,
       prediction.created_at < calculation.finished_at AS predicted_first
FROM prediction
JOIN model ON model.id = prediction.model_id
JOIN level ON level.id = model.level_id
JOIN structure ON structure.id = prediction.structure_id
JOIN composition ON composition.id = structure.composition_id
JOIN calculation ON calculation.initial_structure_id = structure.id AND calculation.level_id = model.level_id
     AND calculation.state = 'converged'
JOIN hull_state ON hull_state.calculation_id = calculation.id AND hull_state.valid_to IS NULL;

COMMENT ON VIEW analytics.prediction_vs_label IS
'Every prediction of a crystal beside its label at the model''s level; predicted as proposed, labelled as relaxed';
COMMENT ON COLUMN analytics.prediction_vs_label.public_id IS 'the crystal that was predicted';
COMMENT ON COLUMN analytics.prediction_vs_label.reduced_formula IS 'reduced formula, LiFeO2';
COMMENT ON COLUMN analytics.prediction_vs_label.chemsys IS 'chemical system, elements in alphabetical order, Fe-Li-O';
COMMENT ON COLUMN analytics.prediction_vs_label.nelements IS 'number of different elements';
COMMENT ON COLUMN analytics.prediction_vs_label.origin IS 'imported or generated';
COMMENT ON COLUMN analytics.prediction_vs_label.level IS 'level of theory of both energies';
COMMENT ON COLUMN analytics.prediction_vs_label.model IS 'name of the model';
COMMENT ON COLUMN analytics.prediction_vs_label.stage IS
'single: one member, the crystal as it stands; ensemble: all members, lowest over the volume scan';
COMMENT ON COLUMN analytics.prediction_vs_label.predicted_formation_energy_per_atom IS
'what the model said, eV/atom';
COMMENT ON COLUMN analytics.prediction_vs_label.formation_energy_per_atom IS
'what the label says: energy of the relaxed crystal against the elements of its level, eV/atom';
COMMENT ON COLUMN analytics.prediction_vs_label.error IS 'predicted - labelled, eV/atom';
COMMENT ON COLUMN analytics.prediction_vs_label.spread IS
'inter-quartile range of the ensemble''s members, eV/atom; null where one member spoke';
COMMENT ON COLUMN analytics.prediction_vs_label.lower_90 IS
'lower end of the calibrated 90 % interval, eV/atom; null: the model has no calibration';
COMMENT ON COLUMN analytics.prediction_vs_label.upper_90 IS 'upper end of the calibrated 90 % interval, eV/atom';
COMMENT ON COLUMN analytics.prediction_vs_label.out_of_domain IS
'whether the training set held nothing like it: not to be trusted; null: the model can''t tell';
COMMENT ON COLUMN analytics.prediction_vs_label.e_above_hull IS 'distance of the label to the hull now, eV/atom';
COMMENT ON COLUMN analytics.prediction_vs_label.is_stable IS 'whether the label is on the hull now';
COMMENT ON COLUMN analytics.prediction_vs_label.predicted_first IS
'whether the prediction was made before the label was known: only these test a model';
