CREATE VIEW analytics.stable_materials AS
SELECT material.public_id, material.reduced_formula, material.chemsys, material.elements, material.nelements,
       material.level, material.prototype, material.spacegroup_number, material.nsites,
       material.formation_energy_per_atom, material.decomposition_energy, material.phase_separation_energy,
       material.origin, material.source, material.licence, material.discovered_at,
       (SELECT max(since.valid_from) FROM hull_state AS since
        WHERE since.calculation_id = material.calculation_id AND since.is_stable
          AND NOT EXISTS (
            SELECT FROM hull_state AS before
            WHERE before.calculation_id = since.calculation_id AND before.is_stable
              AND before.valid_to = since.valid_from)) AS stable_since
FROM material
WHERE material.is_stable;

COMMENT ON VIEW analytics.stable_materials IS
'Materials on the convex hull of a level now, one row for each; the elements'' own crystals are among them';
COMMENT ON COLUMN analytics.stable_materials.public_id IS 'the crystal as it was imported or proposed';
COMMENT ON COLUMN analytics.stable_materials.reduced_formula IS 'reduced formula, LiFeO2';
COMMENT ON COLUMN analytics.stable_materials.chemsys IS 'chemical system, elements in alphabetical order, Fe-Li-O';
COMMENT ON COLUMN analytics.stable_materials.elements IS 'chemical elements in alphabetical order';
COMMENT ON COLUMN analytics.stable_materials.nelements IS 'number of different elements';
COMMENT ON COLUMN analytics.stable_materials.level IS 'level of theory of its energies';
COMMENT ON COLUMN analytics.stable_materials.prototype IS
'structure type in AFLOW''s form, of the relaxed crystal; null: none was found';
COMMENT ON COLUMN analytics.stable_materials.spacegroup_number IS 'space group 1-230 of that structure type';
COMMENT ON COLUMN analytics.stable_materials.nsites IS 'atoms in the stored cell';
COMMENT ON COLUMN analytics.stable_materials.formation_energy_per_atom IS
'energy against the elements of its level, eV/atom';
COMMENT ON COLUMN analytics.stable_materials.decomposition_energy IS
'energy against the hull of all other entries, polymorphs included, eV/atom; how stable it is: negative or zero; '
'null: nothing else spans its composition';
COMMENT ON COLUMN analytics.stable_materials.phase_separation_energy IS
'energy against the hull without any entry of its own composition, eV/atom';
COMMENT ON COLUMN analytics.stable_materials.origin IS 'imported or generated';
COMMENT ON COLUMN analytics.stable_materials.source IS 'where the crystal came from';
COMMENT ON COLUMN analytics.stable_materials.licence IS 'terms on which it may be passed on';
COMMENT ON COLUMN analytics.stable_materials.discovered_at IS 'when the crystal entered the registry';
COMMENT ON COLUMN analytics.stable_materials.stable_since IS 'since when it has been on the hull without a break';
