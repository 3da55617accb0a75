-- Each crystal is visited once, so that ways which lead in a circle end; imported crystals are where lineages begin.
CREATE FUNCTION analytics.ancestors(crystal text)
RETURNS TABLE (child text, child_formula text, operation text, arguments jsonb, probability float8, rule text,
               campaign text, round int, parent text, parent_formula text, parent_origin text)
LANGUAGE sql STABLE
BEGIN ATOMIC
WITH RECURSIVE way AS NOT MATERIALIZED (
    SELECT child_id, parent_id, operation, arguments, probability, rule, round_id FROM lineage
    UNION ALL
    SELECT final_structure_id, initial_structure_id, 'relaxation', jsonb_build_object('level', level.name), NULL, NULL,
           NULL
    FROM calculation
    JOIN level ON level.id = calculation.level_id
    WHERE calculation.state = 'converged' AND final_structure_id <> initial_structure_id
), ancestor AS (
    SELECT id, origin FROM structure WHERE public_id = crystal
    UNION
    SELECT structure.id, structure.origin
    FROM ancestor
    JOIN way ON way.child_id = ancestor.id
    JOIN structure ON structure.id = way.parent_id
    WHERE ancestor.origin <> 'imported'
)
SELECT child.public_id, of_child.reduced_formula, way.operation, way.arguments, way.probability, way.rule,
       campaign.name, round.number, parent.public_id, of_parent.reduced_formula, parent.origin
FROM ancestor
JOIN way ON way.child_id = ancestor.id
JOIN structure AS child ON child.id = way.child_id
JOIN composition AS of_child ON of_child.id = child.composition_id
LEFT JOIN structure AS parent ON parent.id = way.parent_id
LEFT JOIN composition AS of_parent ON of_parent.id = parent.composition_id
LEFT JOIN round ON round.id = way.round_id
LEFT JOIN campaign ON campaign.id = round.campaign_id
WHERE ancestor.origin <> 'imported'
ORDER BY child.id DESC, way.probability DESC NULLS LAST, parent.id;
END;

COMMENT ON FUNCTION analytics.ancestors IS
'Every step that led to a crystal, named by its public id, over all rounds and generations, back to imported crystals';
