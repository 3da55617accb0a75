-- 10 completed runs make a label: Merchant et al., Nature 624, 80 (2023).
CREATE VIEW analytics.composition_labels AS
SELECT level.name AS level, composition.reduced_formula, composition.chemsys, composition.nelements,
       asked.searches, asked.wanted, runs.stored, runs.completed, runs.failed,
       runs.stored - runs.completed - runs.failed AS waiting,
       lowest.formation_energy_per_atom AS lowest_formation_energy_per_atom, lowest.e_above_hull,
       lowest.public_id, lowest.prototype, lowest.spacegroup_number,
       CASE WHEN runs.completed >= 10 THEN lowest.formation_energy_per_atom END AS formation_energy_per_atom
FROM (
    SELECT composition_id, level_id, count(*) AS searches, sum(structures) AS wanted
    FROM search
    GROUP BY composition_id, level_id) AS asked
JOIN composition ON composition.id = asked.composition_id
JOIN level ON level.id = asked.level_id
CROSS JOIN LATERAL (
    SELECT count(*) AS stored, count(label.id) AS completed,
           count(*) FILTER (WHERE label.id IS NULL AND EXISTS (
             SELECT FROM calculation AS attempt
             WHERE attempt.initial_structure_id = selection.structure_id AND attempt.level_id = asked.level_id
               AND attempt.state = 'failed')) AS failed
    FROM search
    JOIN selection ON selection.search_id = search.id
    LEFT JOIN calculation AS label ON label.initial_structure_id = selection.structure_id
         AND label.level_id = asked.level_id AND label.state = 'converged'
    WHERE search.composition_id = asked.composition_id AND search.level_id = asked.level_id) AS runs
LEFT JOIN LATERAL (
    SELECT structure.public_id, prototype.label AS prototype, prototype.spacegroup_number,
           hull_state.formation_energy_per_atom, hull_state.e_above_hull
    FROM search
    JOIN selection ON selection.search_id = search.id
    JOIN entry ON entry.initial_structure_id = selection.structure_id AND entry.level_id = asked.level_id
    JOIN structure ON structure.id = selection.structure_id
    JOIN structure AS final ON final.id = entry.final_structure_id
    LEFT JOIN prototype ON prototype.id = final.prototype_id
    LEFT JOIN hull_state ON hull_state.calculation_id = entry.calculation_id AND hull_state.valid_to IS NULL
    WHERE search.composition_id = asked.composition_id AND search.level_id = asked.level_id
    ORDER BY entry.corrected_energy_per_atom, structure.id
    LIMIT 1) AS lowest ON true;

COMMENT ON VIEW analytics.composition_labels IS
'What random search found of each composition: its label is the lowest of at least 10 completed runs, of all its '
'searches at the level';
COMMENT ON COLUMN analytics.composition_labels.level IS 'level of theory of the runs';
COMMENT ON COLUMN analytics.composition_labels.reduced_formula IS 'reduced formula, LiFeO2';
COMMENT ON COLUMN analytics.composition_labels.chemsys IS 'chemical system, elements in alphabetical order, Fe-Li-O';
COMMENT ON COLUMN analytics.composition_labels.nelements IS 'number of different elements';
COMMENT ON COLUMN analytics.composition_labels.searches IS 'searches of the composition, by seed';
COMMENT ON COLUMN analytics.composition_labels.wanted IS 'random structures that they ask for';
COMMENT ON COLUMN analytics.composition_labels.stored IS 'of these: made';
COMMENT ON COLUMN analytics.composition_labels.completed IS 'of these: relaxed by the level''s engine';
COMMENT ON COLUMN analytics.composition_labels.failed IS 'of these: tried, and none of the attempts converged';
COMMENT ON COLUMN analytics.composition_labels.waiting IS 'of these: not tried yet';
COMMENT ON COLUMN analytics.composition_labels.lowest_formation_energy_per_atom IS
'of the lowest run so far, against the elements of its level, eV/atom; null until it is placed on the hull';
COMMENT ON COLUMN analytics.composition_labels.e_above_hull IS 'distance of that run to the hull now, eV/atom';
COMMENT ON COLUMN analytics.composition_labels.public_id IS 'the random structure that the lowest run began with';
COMMENT ON COLUMN analytics.composition_labels.prototype IS
'structure type in AFLOW''s form that it relaxed to; null: none was found';
COMMENT ON COLUMN analytics.composition_labels.spacegroup_number IS 'space group 1-230 of that structure type';
COMMENT ON COLUMN analytics.composition_labels.formation_energy_per_atom IS
'the label of the composition, eV/atom; null below 10 completed runs';
