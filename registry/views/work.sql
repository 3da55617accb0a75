-- What is missing, derived from the data. A row is (subject_id, target_id, priority); lower priority goes first.

CREATE VIEW unsearched AS
SELECT search.id AS subject_id, search.level_id AS target_id, 0 AS priority
FROM search
WHERE search.finished_at IS NULL
  AND NOT EXISTS (
    SELECT FROM work
    WHERE work.kind = 'search' AND work.subject_id = search.id AND work.target_id = search.level_id);

-- Random structures go to the label engine as they are: a model has nothing to say before they are relaxed.
CREATE VIEW unscored AS
SELECT structure.id AS subject_id, model.id AS target_id, 0 AS priority
FROM structure
CROSS JOIN model
WHERE structure.origin = 'generated' AND model.promoted AND model.needs_structure
  AND NOT EXISTS (
    SELECT FROM prediction
    WHERE prediction.structure_id = structure.id AND prediction.model_id = model.id AND prediction.stage = 'single')
  AND NOT EXISTS (SELECT FROM lineage WHERE lineage.child_id = structure.id AND lineage.parent_id IS NULL)
  AND NOT EXISTS (
    SELECT FROM work WHERE work.kind = 'score' AND work.subject_id = structure.id AND work.target_id = model.id);

-- By the promoted model, whichever it is by now; rechecked by the model that was picked for.
CREATE VIEW unrefined AS
SELECT selection.structure_id AS subject_id, model.id AS target_id, selection.rank AS priority
FROM selection
JOIN model ON model.level_id = selection.level_id
    AND CASE selection.purpose
        WHEN 'refine' THEN model.promoted AND model.needs_structure ELSE model.id = selection.model_id END
WHERE selection.purpose IN ('refine', 'recheck')
  AND NOT EXISTS (
    SELECT FROM prediction
    WHERE prediction.structure_id = selection.structure_id AND prediction.model_id = model.id
      AND prediction.stage = 'ensemble')
  AND NOT EXISTS (
    SELECT FROM work
    WHERE work.kind = 'refine' AND work.subject_id = selection.structure_id AND work.target_id = model.id);

CREATE VIEW unlabelled AS
SELECT selection.structure_id AS subject_id, selection.level_id AS target_id,
       min(CASE WHEN selection.search_id IS NOT NULL THEN 2000000 WHEN selection.purpose = 'reference' THEN 0
                ELSE 1000000 END + selection.rank) AS priority
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

-- An entry that comes, goes or moves is noted for the hull of its level, whoever writes the row.
CREATE FUNCTION note_unplaced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unplaced (calculation_id, level_id)
        SELECT id, level_id FROM came WHERE state = 'converged' AND off_hull IS NULL;
    ELSE
        INSERT INTO unplaced (calculation_id, level_id)
        SELECT id, came.level_id
        FROM came JOIN went USING (id)
        WHERE (came.state, came.off_hull, came.energy, came.correction, came.final_structure_id)
            IS DISTINCT FROM (went.state, went.off_hull, went.energy, went.correction, went.final_structure_id);
    END IF;
    IF FOUND THEN
        NOTIFY lode_work;  -- wakes idle daemons at the commit
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER note_came AFTER INSERT ON calculation
REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION note_unplaced();
CREATE TRIGGER note_moved AFTER UPDATE ON calculation
REFERENCING OLD TABLE AS went NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION note_unplaced();

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

COMMENT ON VIEW unsearched IS 'Searches whose random structures aren''t stored: search, level, priority';
COMMENT ON VIEW unscored IS 'Candidates with a parent that the promoted model of a level has not scored: structure, model, priority';
COMMENT ON VIEW unrefined IS 'Picked candidates that the whole ensemble, or a second model, has not looked at: structure, model, priority';
COMMENT ON VIEW unlabelled IS 'Picked crystals without a label at the level: structure, level, priority';

COMMENT ON VIEW entry IS 'Energies that may stand on the hull of their level: converged, and nothing speaks against it';
COMMENT ON COLUMN entry.calculation_id IS 'the calculation';
COMMENT ON COLUMN entry.level_id IS 'its level of theory';
COMMENT ON COLUMN entry.initial_structure_id IS 'the crystal as it was imported or proposed';
COMMENT ON COLUMN entry.final_structure_id IS 'the crystal that it relaxed to';
COMMENT ON COLUMN entry.composition_id IS 'composition of the relaxed crystal';
COMMENT ON COLUMN entry.nsites IS 'atoms in the relaxed cell';
COMMENT ON COLUMN entry.corrected_energy IS 'raw energy plus correction, eV per cell';
COMMENT ON COLUMN entry.corrected_energy_per_atom IS 'raw energy plus correction, eV/atom';

COMMENT ON VIEW material IS
'Crystals that were imported or proposed, with their place at each level that has labelled them; one row without level '
'where none has';
COMMENT ON COLUMN material.id IS 'structure.id, this registry''s own';
COMMENT ON COLUMN material.public_id IS 'public id of the structure; the same arrays have it everywhere';
COMMENT ON COLUMN material.origin IS 'imported or generated';
COMMENT ON COLUMN material.discovered_at IS 'when it entered the registry';
COMMENT ON COLUMN material.nsites IS 'atoms in the stored cell';
COMMENT ON COLUMN material.volume IS 'volume of the stored cell, angstrom^3';
COMMENT ON COLUMN material.composition_id IS 'its composition';
COMMENT ON COLUMN material.reduced_formula IS 'reduced formula, LiFeO2';
COMMENT ON COLUMN material.anonymous_formula IS 'amounts without elements, ABC2';
COMMENT ON COLUMN material.chemsys IS 'chemical system, elements in alphabetical order, Fe-Li-O';
COMMENT ON COLUMN material.elements IS 'chemical elements in alphabetical order';
COMMENT ON COLUMN material.nelements IS 'number of different elements';
COMMENT ON COLUMN material.source IS 'where the structure came from';
COMMENT ON COLUMN material.licence IS 'terms on which it may be passed on';
COMMENT ON COLUMN material.prototype IS 'structure type in AFLOW''s form, of the relaxed crystal where there is one';
COMMENT ON COLUMN material.spacegroup_number IS
'space group 1-230, of the relaxed crystal where there is one; of a mirrored pair the lower (152 for 154)';
COMMENT ON COLUMN material.level IS 'level of theory of its energies; null: not labelled';
COMMENT ON COLUMN material.level_id IS 'id of that level';
COMMENT ON COLUMN material.calculation_id IS 'its converged calculation at the level';
COMMENT ON COLUMN material.final_structure_id IS 'the structure that it relaxed to';
COMMENT ON COLUMN material.hull_state_id IS 'its present place on the hull';
COMMENT ON COLUMN material.formation_energy_per_atom IS 'energy against the elements of its level, eV/atom';
COMMENT ON COLUMN material.e_above_hull IS 'distance to the hull that includes the entry, eV/atom; 0 = on it';
COMMENT ON COLUMN material.decomposition_energy IS
'energy against the hull of all other entries, polymorphs included, eV/atom; negative: stable, by how much';
COMMENT ON COLUMN material.phase_separation_energy IS
'energy against the hull without any entry of its own composition, eV/atom';
COMMENT ON COLUMN material.is_stable IS 'whether it is on the hull; null: not placed';
