CREATE VIEW analytics.coverage_by_elements AS
SELECT level.name AS level, composition.nelements,
       count(DISTINCT crystal.id) AS structures,
       count(DISTINCT crystal.id) FILTER (WHERE structure.origin = 'generated') AS generated,
       count(DISTINCT crystal.id) FILTER (WHERE calculation.id IS NOT NULL) AS labelled,
       count(DISTINCT crystal.id) FILTER (WHERE hull_state.is_stable) AS stable,
       count(DISTINCT crystal.id) FILTER (WHERE hull_state.is_stable AND structure.origin = 'generated')
         AS stable_generated
FROM structure
CROSS JOIN level
JOIN composition ON composition.id = structure.composition_id
LEFT JOIN duplicate ON duplicate.structure_id = structure.id
CROSS JOIN LATERAL (SELECT coalesce(duplicate.same_as_id, structure.id) AS id) AS crystal
LEFT JOIN calculation ON calculation.initial_structure_id = structure.id AND calculation.level_id = level.id
     AND calculation.state = 'converged'
LEFT JOIN hull_state ON hull_state.calculation_id = calculation.id AND hull_state.valid_to IS NULL
WHERE structure.origin <> 'relaxed'
GROUP BY level.id, composition.nelements;

COMMENT ON VIEW analytics.coverage_by_elements IS
'How many crystals of how many elements the registry holds, and how many of them a level has labelled and found stable';
COMMENT ON COLUMN analytics.coverage_by_elements.level IS 'level of theory of the labels';
COMMENT ON COLUMN analytics.coverage_by_elements.nelements IS 'number of different elements';
COMMENT ON COLUMN analytics.coverage_by_elements.structures IS
'crystals that were imported or proposed, duplicates counted once; the same at every level: never add up levels';
COMMENT ON COLUMN analytics.coverage_by_elements.generated IS 'of these: proposed by the search';
COMMENT ON COLUMN analytics.coverage_by_elements.labelled IS 'of these: with a converged label at the level';
COMMENT ON COLUMN analytics.coverage_by_elements.stable IS 'of these: on the level''s hull now';
COMMENT ON COLUMN analytics.coverage_by_elements.stable_generated IS
'of these: on the level''s hull now and proposed by the search';
