CREATE VIEW analytics.hit_rate_per_round AS
SELECT round.id AS round_id, campaign.name AS campaign, round.number AS round, level.name AS level,
       round.started_at, round.finished_at,
       count(label.public_id) AS selected,
       count(*) FILTER (WHERE label.outcome = 'labelled') AS labelled,
       count(*) FILTER (WHERE label.outcome = 'failed') AS failed,
       count(*) FILTER (WHERE label.is_hit) AS hits,
       count(*) FILTER (WHERE label.is_hit)
         / nullif(count(*) FILTER (WHERE label.outcome = 'labelled'), 0)::float8 AS hit_rate,
       count(DISTINCT label.reduced_formula) FILTER (WHERE label.is_hit)
         / nullif(count(DISTINCT label.reduced_formula) FILTER (WHERE label.outcome = 'labelled'), 0)::float8
         AS composition_hit_rate,
       count(*) FILTER (WHERE label.is_hit AND label.is_stable) AS still_stable,
       avg(abs(label.predicted_formation_energy_per_atom - label.formation_energy_per_atom)) AS mean_absolute_error
FROM round
JOIN campaign ON campaign.id = round.campaign_id
JOIN level ON level.id = campaign.level_id
LEFT JOIN analytics.round_labels AS label ON label.round_id = round.id
GROUP BY round.id, campaign.id, level.id;

COMMENT ON VIEW analytics.hit_rate_per_round IS
'How many of the candidates that a round labelled turned out new and stable; one row for each round';
COMMENT ON COLUMN analytics.hit_rate_per_round.round_id IS
'id of the round, to join selection, funnel, lineage, validation';
COMMENT ON COLUMN analytics.hit_rate_per_round.campaign IS 'name of the campaign';
COMMENT ON COLUMN analytics.hit_rate_per_round.round IS 'number of the round within its campaign';
COMMENT ON COLUMN analytics.hit_rate_per_round.level IS 'level of theory of its labels';
COMMENT ON COLUMN analytics.hit_rate_per_round.started_at IS 'when the round was opened';
COMMENT ON COLUMN analytics.hit_rate_per_round.finished_at IS 'when it was closed; null: it runs, or was interrupted';
COMMENT ON COLUMN analytics.hit_rate_per_round.selected IS 'candidates picked for a label';
COMMENT ON COLUMN analytics.hit_rate_per_round.labelled IS 'of these: with a converged label';
COMMENT ON COLUMN analytics.hit_rate_per_round.failed IS 'of these: tried, and none of the attempts converged';
COMMENT ON COLUMN analytics.hit_rate_per_round.hits IS
'of the labelled: new crystals on the hull as it was at the end of the round, or when the label came if later';
COMMENT ON COLUMN analytics.hit_rate_per_round.hit_rate IS 'hits / labelled, 0 to 1; null: nothing is labelled';
COMMENT ON COLUMN analytics.hit_rate_per_round.composition_hit_rate IS
'compositions with a hit / compositions labelled, 0 to 1: rivals of one composition don''t lower it';
COMMENT ON COLUMN analytics.hit_rate_per_round.still_stable IS 'hits that are on the hull now';
COMMENT ON COLUMN analytics.hit_rate_per_round.mean_absolute_error IS
'mean of |predicted - labelled formation energy| over the placed labels, eV/atom';
