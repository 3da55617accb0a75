-- Every statement that moves a row of `work`, by name. The states and who moves them:
--
--     (missing, by a view or noted) --enqueue--> waiting --claim--> running --finish--> gone
--                                          ^                 |
--                                          |---- fail -------|----> dead (last attempt) --retry--> waiting
--                                          |---- rescue -----|      (lease ran out)
--
-- A result and its `finish` are one commit. `finish` and `fail` name the token: a worker whose lease was rescued
-- touches no row, and drops its result.

-- name: enqueue_search
INSERT INTO work (kind, subject_id, target_id, priority)
SELECT 'search', subject_id, target_id, priority FROM unsearched LIMIT %(limit)s
ON CONFLICT (kind, subject_id, target_id) DO NOTHING;

-- name: enqueue_score
INSERT INTO work (kind, subject_id, target_id, priority)
SELECT 'score', subject_id, target_id, priority FROM unscored LIMIT %(limit)s
ON CONFLICT (kind, subject_id, target_id) DO NOTHING;

-- name: enqueue_refine
INSERT INTO work (kind, subject_id, target_id, priority)
SELECT 'refine', subject_id, target_id, priority FROM unrefined LIMIT %(limit)s
ON CONFLICT (kind, subject_id, target_id) DO NOTHING;

-- name: enqueue_label
INSERT INTO work (kind, subject_id, target_id, priority)
SELECT 'label', subject_id, target_id, priority FROM unlabelled LIMIT %(limit)s
ON CONFLICT (kind, subject_id, target_id) DO NOTHING;

-- name: enqueue_place
-- What was noted again while a worker held it is taken from that worker: it may have read the entry as it was before.
WITH noted AS (
    DELETE FROM unplaced WHERE id IN (SELECT id FROM unplaced ORDER BY id LIMIT %(limit)s)
    RETURNING calculation_id, level_id
)
INSERT INTO work (kind, subject_id, target_id, priority)
SELECT DISTINCT 'place', calculation_id, level_id, 0 FROM noted
ON CONFLICT (kind, subject_id, target_id) DO UPDATE
SET state = 'waiting', token = NULL, lease_until = NULL, worker_id = NULL, attempts = 0, run_after = now(),
    error_class = NULL, error = NULL;

-- name: claim
-- A row whose worker was lost is taken alone: what kills workers must not bury the rows beside it. One that failed for
-- something that its host lacked is left to other hosts, while there are any.
WITH found AS (
    SELECT id, priority, error_class IS NOT DISTINCT FROM 'node_lost' AS suspect FROM work
    WHERE kind = %(kind)s AND state = 'waiting' AND run_after <= now()
      AND (failed_on IS NULL OR %(host)s <> ALL(failed_on) OR NOT EXISTS (
        SELECT FROM worker
        WHERE host <> ALL(failed_on) AND stopped_at IS NULL AND beat_at > now() - interval '5 minutes'
          AND %(kind)s = ANY(kinds)))
    ORDER BY priority, id
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
), ranked AS (
    SELECT id, suspect, row_number() OVER turn AS place, first_value(suspect) OVER turn AS first_is_suspect
    FROM found WINDOW turn AS (ORDER BY priority, id)
), next AS (
    SELECT id FROM ranked WHERE CASE WHEN first_is_suspect THEN place = 1 ELSE NOT suspect END
)
UPDATE work SET state = 'running', token = %(token)s, worker_id = %(worker_id)s,
       lease_until = now() + make_interval(secs => %(lease_seconds)s), attempts = attempts + 1
FROM next WHERE work.id = next.id
RETURNING work.id, work.subject_id, work.target_id, work.attempts;

-- name: beat
WITH alive AS (UPDATE worker SET beat_at = now() WHERE id = %(worker_id)s)
UPDATE work SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
WHERE token = %(token)s AND state = 'running';

-- name: hold
-- The rows that are still ours, for the length of a transaction that settles several at once.
SELECT id FROM work WHERE id = ANY(%(ids)s) AND token = %(token)s AND state = 'running' ORDER BY id FOR UPDATE;

-- name: finish_held
DELETE FROM work WHERE id = ANY(%(ids)s);

-- name: finish
DELETE FROM work WHERE id = %(id)s AND token = %(token)s AND state = 'running';

-- name: give_back
UPDATE work SET state = 'waiting', token = NULL, lease_until = NULL, worker_id = NULL, attempts = attempts - 1
WHERE token = %(token)s AND state = 'running';

-- name: fail
UPDATE work SET state = CASE WHEN %(retry_after)s::float8 IS NULL THEN 'dead' ELSE 'waiting' END,
       token = NULL, lease_until = NULL, error_class = %(error_class)s, error = %(error)s,
       run_after = now() + make_interval(secs => coalesce(%(retry_after)s::float8, 0))
WHERE id = %(id)s AND token = %(token)s AND state = 'running';

-- name: pass_on
-- For what this host lacks. While a worker of the kind is alive on a host that hasn't failed so, it costs no attempt.
UPDATE work SET state = 'waiting', token = NULL, lease_until = NULL, error_class = %(error_class)s, error = %(error)s,
       failed_on = array_append(failed_on, %(host)s), run_after = now(), attempts = attempts - 1
WHERE id = %(id)s AND token = %(token)s AND state = 'running' AND EXISTS (
    SELECT FROM worker
    WHERE host <> ALL(array_append(work.failed_on, %(host)s)) AND stopped_at IS NULL
      AND beat_at > now() - interval '5 minutes' AND work.kind = ANY(kinds));

-- name: go_on
-- An attempt that was interrupted has come some way: the row waits for the next one, and has lost no attempt.
UPDATE work SET state = 'waiting', token = NULL, lease_until = NULL, worker_id = NULL, attempts = attempts - 1,
       error_class = %(error_class)s, error = %(error)s, run_after = now()
WHERE id = %(id)s AND token = %(token)s AND state = 'running';

-- name: alive
UPDATE worker SET beat_at = now() WHERE id = %(worker_id)s;

-- name: rescue
-- While the server was away nobody could beat: leases that ended meanwhile have a minute to be taken up again.
UPDATE work SET state = CASE WHEN attempts >= %(max_attempts)s THEN 'dead' ELSE 'waiting' END,
       token = NULL, lease_until = NULL, error_class = 'node_lost',
       error = 'the worker stopped beating before it finished'
WHERE id IN (
    SELECT id FROM work
    WHERE state = 'running' AND lease_until < now()
      AND (lease_until > pg_postmaster_start_time() OR now() > pg_postmaster_start_time() + interval '1 minute')
    LIMIT 1000 FOR UPDATE SKIP LOCKED
);

-- name: retry
UPDATE work SET state = 'waiting', attempts = 0, run_after = now(), failed_on = NULL
WHERE state = 'dead' AND (%(kind)s::text IS NULL OR kind = %(kind)s);

-- name: forget_level
-- The whole level is about to be placed. What a worker holds is its own to finish.
WITH noted AS (DELETE FROM unplaced WHERE level_id = %(level_id)s)
DELETE FROM work WHERE kind = 'place' AND state <> 'running' AND target_id = %(level_id)s;

-- name: bury_place
INSERT INTO work (kind, subject_id, target_id, priority, state, error_class, error)
VALUES ('place', %(calculation_id)s, %(level_id)s, 0, 'dead', %(error_class)s, %(error)s)
ON CONFLICT (kind, subject_id, target_id) DO NOTHING;

-- name: open_search
SELECT (SELECT count(*) FROM unsearched) + (SELECT count(*) FROM work WHERE kind = 'search' AND state <> 'dead');

-- name: open_score
SELECT (SELECT count(*) FROM unscored) + (SELECT count(*) FROM work WHERE kind = 'score' AND state <> 'dead');

-- name: open_refine
SELECT (SELECT count(*) FROM unrefined) + (SELECT count(*) FROM work WHERE kind = 'refine' AND state <> 'dead');

-- name: open_label
SELECT (SELECT count(*) FROM unlabelled) + (SELECT count(*) FROM work WHERE kind = 'label' AND state <> 'dead');

-- name: open_picks
-- What rounds wait for. Searches have thousands of labels of their own, which come after.
SELECT count(*) FROM selection
WHERE selection.round_id IS NOT NULL AND selection.purpose IN ('reference', 'label')
  AND NOT EXISTS (
    SELECT FROM calculation
    WHERE calculation.initial_structure_id = selection.structure_id AND calculation.level_id = selection.level_id
      AND calculation.state = 'converged')
  AND NOT EXISTS (
    SELECT FROM work
    WHERE work.kind = 'label' AND work.subject_id = selection.structure_id AND work.target_id = selection.level_id
      AND work.state = 'dead');

-- name: open_place
SELECT (SELECT count(*) FROM unplaced) + (SELECT count(*) FROM work WHERE kind = 'place' AND state <> 'dead');

-- name: summary
SELECT kind, state, sum(count)::bigint AS count
FROM (
    SELECT kind, state, count(*) FROM work GROUP BY kind, state
    UNION ALL SELECT 'search', 'waiting', count(*) FROM unsearched
    UNION ALL SELECT 'score', 'waiting', count(*) FROM unscored
    UNION ALL SELECT 'refine', 'waiting', count(*) FROM unrefined
    UNION ALL SELECT 'label', 'waiting', count(*) FROM unlabelled
    UNION ALL SELECT 'place', 'waiting', count(*) FROM unplaced
) AS found
GROUP BY kind, state
ORDER BY kind, state;
