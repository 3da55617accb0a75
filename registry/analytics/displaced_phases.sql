CREATE VIEW analytics.displaced_phases AS
SELECT level.name AS level, hull_event.at AS displaced_at, fallen.public_id, of_fallen.reduced_formula,
       of_fallen.chemsys, fallen.origin, hull_event.fell_by,
       rival.public_id AS displaced_by, of_rival.reduced_formula AS displaced_by_formula,
       rival.origin AS displaced_by_origin, present.e_above_hull, present.is_stable
FROM hull_event
JOIN level ON level.id = hull_event.level_id
JOIN calculation AS fell ON fell.id = hull_event.displaced_calculation_id
JOIN structure AS fallen ON fallen.id = fell.initial_structure_id
JOIN composition AS of_fallen ON of_fallen.id = fallen.composition_id
JOIN calculation AS came ON came.id = hull_event.calculation_id
JOIN structure AS rival ON rival.id = came.initial_structure_id
JOIN composition AS of_rival ON of_rival.id = rival.composition_id
LEFT JOIN hull_state AS present ON present.calculation_id = fell.id AND present.valid_to IS NULL;

COMMENT ON VIEW analytics.displaced_phases IS
'Phases that were on the hull until another one came; one row for each new phase that a displaced one decomposes to';
COMMENT ON COLUMN analytics.displaced_phases.level IS 'level of theory of the hull';
COMMENT ON COLUMN analytics.displaced_phases.displaced_at IS 'when it fell off the hull';
COMMENT ON COLUMN analytics.displaced_phases.public_id IS 'the displaced crystal, as it was imported or proposed';
COMMENT ON COLUMN analytics.displaced_phases.reduced_formula IS 'its reduced formula';
COMMENT ON COLUMN analytics.displaced_phases.chemsys IS 'its chemical system, elements in alphabetical order, Fe-Li-O';
COMMENT ON COLUMN analytics.displaced_phases.origin IS 'where it came from: imported or generated';
COMMENT ON COLUMN analytics.displaced_phases.fell_by IS 'how far above the hull it was left, eV/atom';
COMMENT ON COLUMN analytics.displaced_phases.displaced_by IS 'the crystal that took its place';
COMMENT ON COLUMN analytics.displaced_phases.displaced_by_formula IS 'reduced formula of that one';
COMMENT ON COLUMN analytics.displaced_phases.displaced_by_origin IS
'where that one came from: imported or generated';
COMMENT ON COLUMN analytics.displaced_phases.e_above_hull IS
'distance of the displaced phase to the hull now, eV/atom; null: it is no entry any more';
COMMENT ON COLUMN analytics.displaced_phases.is_stable IS 'whether the displaced phase is on the hull again';
