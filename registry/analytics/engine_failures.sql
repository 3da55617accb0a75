CREATE VIEW analytics.engine_failures AS
SELECT found.level, found.engine, found.engine_version, found.error_class, found.failures, found.structures,
       found.recovered, tried.attempts, found.failures / tried.attempts::float8 AS failure_rate,
       found.first_at, latest.finished_at AS last_at, latest.node AS last_node, latest.error AS last_error
FROM (
    SELECT failed.level_id, level.name AS level, level.engine, failed.engine_version, failed.error_class,
           count(*) AS failures, count(DISTINCT failed.initial_structure_id) AS structures,
           count(DISTINCT label.initial_structure_id) AS recovered,
           min(failed.finished_at) AS first_at, max(failed.id) AS last_id
    FROM calculation AS failed
    JOIN level ON level.id = failed.level_id
    LEFT JOIN calculation AS label ON label.initial_structure_id = failed.initial_structure_id
         AND label.level_id = failed.level_id AND label.state = 'converged'
    WHERE failed.state = 'failed' AND failed.error_class <> 'walltime'  -- the daemon's end, not the engine's
    GROUP BY failed.level_id, level.id, failed.engine_version, failed.error_class) AS found
JOIN (
    SELECT calculation.level_id, calculation.engine_version, count(*) AS attempts
    FROM calculation
    GROUP BY calculation.level_id, calculation.engine_version) AS tried
  ON tried.level_id = found.level_id AND tried.engine_version = found.engine_version
JOIN calculation AS latest ON latest.id = found.last_id;

COMMENT ON VIEW analytics.engine_failures IS
'Attempts at a label that failed, by level, version of the engine and class of the error';
COMMENT ON COLUMN analytics.engine_failures.level IS 'level of theory that was tried';
COMMENT ON COLUMN analytics.engine_failures.engine IS 'the engine of that level';
COMMENT ON COLUMN analytics.engine_failures.engine_version IS
'version of the engine; "not loaded": it never came so far';
COMMENT ON COLUMN analytics.engine_failures.error_class IS 'class of the error, one of registry/states.py, ErrorClass';
COMMENT ON COLUMN analytics.engine_failures.failures IS 'attempts that failed so';
COMMENT ON COLUMN analytics.engine_failures.structures IS 'crystals that they were about';
COMMENT ON COLUMN analytics.engine_failures.recovered IS 'of these crystals: labelled at the level by another attempt';
COMMENT ON COLUMN analytics.engine_failures.attempts IS
'all attempts of this version at the level, converged ones included';
COMMENT ON COLUMN analytics.engine_failures.failure_rate IS 'failures / attempts, 0 to 1';
COMMENT ON COLUMN analytics.engine_failures.first_at IS 'when the first of them failed';
COMMENT ON COLUMN analytics.engine_failures.last_at IS 'when the last of them failed';
COMMENT ON COLUMN analytics.engine_failures.last_node IS 'the node where the last of them failed';
COMMENT ON COLUMN analytics.engine_failures.last_error IS 'what the last of them said';
