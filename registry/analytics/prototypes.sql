CREATE VIEW analytics.prototypes AS
SELECT level.name AS level, prototype.label AS prototype, prototype.spacegroup_number, prototype.pearson_symbol,
       count(DISTINCT crystal.id) AS materials,
       count(DISTINCT crystal.id) FILTER (WHERE calculation.id IS NOT NULL) AS labelled,
       count(DISTINCT crystal.id) FILTER (WHERE hull_state.is_stable) AS stable,
       min(hull_state.e_above_hull) AS lowest_e_above_hull,
       EXISTS (
         SELECT FROM structure AS known
         WHERE known.prototype_id = prototype.id AND known.origin = 'imported') AS is_known
FROM structure
CROSS JOIN level
LEFT JOIN duplicate ON duplicate.structure_id = structure.id
CROSS JOIN LATERAL (SELECT coalesce(duplicate.same_as_id, structure.id) AS id) AS crystal
LEFT JOIN calculation ON calculation.initial_structure_id = structure.id AND calculation.level_id = level.id
     AND calculation.state = 'converged'
LEFT JOIN structure AS final ON final.id = calculation.final_structure_id
LEFT JOIN hull_state ON hull_state.calculation_id = calculation.id AND hull_state.valid_to IS NULL
JOIN prototype ON prototype.id = coalesce(final.prototype_id, structure.prototype_id)
WHERE structure.origin <> 'relaxed'
GROUP BY level.id, prototype.id;

COMMENT ON VIEW analytics.prototypes IS
'How many materials each structure type has, and how many of them are stable at a level';
COMMENT ON COLUMN analytics.prototypes.level IS 'level of theory of the labels';
COMMENT ON COLUMN analytics.prototypes.prototype IS
'structure type in AFLOW''s form: as relaxed where the level has labelled the crystal, else as imported or proposed';
COMMENT ON COLUMN analytics.prototypes.spacegroup_number IS 'space group 1-230; of a mirrored pair the lower';
COMMENT ON COLUMN analytics.prototypes.pearson_symbol IS 'Pearson symbol in AFLOW''s form';
COMMENT ON COLUMN analytics.prototypes.materials IS
'crystals of this type that were imported or proposed, labelled or not, duplicates counted once';
COMMENT ON COLUMN analytics.prototypes.labelled IS 'of these: with a converged label at the level';
COMMENT ON COLUMN analytics.prototypes.stable IS 'of these: on the level''s hull now';
COMMENT ON COLUMN analytics.prototypes.lowest_e_above_hull IS
'smallest distance to the hull among them, eV/atom; null: none is placed';
COMMENT ON COLUMN analytics.prototypes.is_known IS
'whether an imported crystal has this type as it was imported; false: a new type';
