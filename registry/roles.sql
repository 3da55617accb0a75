-- Who may do what. The migration runs this; it may be run again at any time, by the account that migrates:
--
--     psql "$LODE_DATABASE_URL" -f registry/roles.sql
--
-- Three group roles without login; CREATE USER ana IN ROLE lode_reader makes an account of one.
--
--     lode_owner    owns the tables and views, so that its members can migrate
--     lode_worker   reads all, and writes what the modules of workers/ write: new rows, and the columns that say whose
--                   turn it is; it changes no structure, energy or prediction, and deletes claims alone
--     lode_reader   reads all
--
-- Roles belong to the whole server, so registries on one server share them and nothing here ever drops one. Where the
-- account may not create them, a notice says so and the tables stay with it; once they are there, run this again.
-- A revision that makes a table adds it to the lists below and runs this again.

DO $$
DECLARE
    ours CONSTANT text[] := ARRAY[
        'public.alembic_version',
        'public.calculation', 'public.campaign', 'public.composition', 'public.duplicate', 'public.external_id',
        'public.family', 'public.family_member', 'public.frame', 'public.frame_0', 'public.frame_1', 'public.frame_2',
        'public.frame_3', 'public.frame_4', 'public.frame_5', 'public.frame_6', 'public.frame_7', 'public.funnel',
        'public.hull_event', 'public.hull_state', 'public.import', 'public.level', 'public.level_bridge',
        'public.lineage', 'public.model', 'public.model_file', 'public.placement', 'public.prediction', 'public.property', 'public.prototype',
        'public.reference_set', 'public.round', 'public.search', 'public.selection', 'public.source',
        'public.structure', 'public.training_set', 'public.unplaced', 'public.validation', 'public.work',
        'public.worker', 'public.entry', 'public.material', 'public.unlabelled', 'public.unrefined', 'public.unscored',
        'public.unsearched', 'analytics.composition_labels', 'analytics.coverage_by_elements', 'analytics.displaced_phases', 'analytics.engine_failures',
        'analytics.hit_rate_per_round', 'analytics.prediction_vs_label', 'analytics.prototypes',
        'analytics.round_labels', 'analytics.stable_materials'];
    filled CONSTANT text[] := ARRAY[
        'public.calculation', 'public.campaign', 'public.composition', 'public.duplicate', 'public.external_id',
        'public.family', 'public.family_member', 'public.frame', 'public.funnel', 'public.hull_event',
        'public.hull_state', 'public.level_bridge', 'public.lineage', 'public.model', 'public.model_file', 'public.placement',
        'public.prediction', 'public.property', 'public.prototype', 'public.round', 'public.search', 'public.selection',
        'public.source', 'public.structure', 'public.training_set', 'public.unplaced', 'public.validation',
        'public.work', 'public.worker'];
    roles CONSTANT text[] := ARRAY['lode_owner', 'lode_worker', 'lode_reader'];
    name text;
BEGIN
    FOREACH name IN ARRAY roles LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = name);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- a migration of another database on this server was quicker
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% may not create role %: have an administrator create it, then run registry/roles.sql again',
                    current_user, name;
        END;
    END LOOP;
    IF (SELECT count(*) FROM pg_roles WHERE rolname = ANY (roles)) < cardinality(roles) THEN
        RETURN;
    END IF;

    BEGIN
        IF NOT pg_has_role('lode_owner', 'USAGE') THEN
            GRANT lode_owner TO CURRENT_USER;
        END IF;
        IF NOT has_schema_privilege('lode_owner', 'public', 'CREATE') THEN
            GRANT CREATE ON SCHEMA public TO lode_owner;
        END IF;
        ALTER SCHEMA analytics OWNER TO lode_owner;
        FOREACH name IN ARRAY ours LOOP
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_class WHERE oid = name::regclass AND relowner = 'lode_owner'::regrole);
            EXECUTE format('ALTER TABLE %s OWNER TO lode_owner', name);
        END LOOP;
        ALTER FUNCTION note_unplaced() OWNER TO lode_owner;
        ALTER FUNCTION analytics.ancestors(text) OWNER TO lode_owner;
        ALTER DEFAULT PRIVILEGES FOR ROLE lode_owner IN SCHEMA public, analytics
            GRANT SELECT ON TABLES TO lode_worker, lode_reader;
    EXCEPTION WHEN insufficient_privilege OR unique_violation THEN
        RAISE NOTICE '% can''t hand its tables over to lode_owner and keeps them (%): GRANT lode_owner TO %, then run '
            'registry/roles.sql again', current_user, sqlerrm, current_user;
    END;

    ALTER DEFAULT PRIVILEGES IN SCHEMA public, analytics GRANT SELECT ON TABLES TO lode_worker, lode_reader;
    GRANT USAGE ON SCHEMA analytics TO lode_worker, lode_reader;
    FOREACH name IN ARRAY ours LOOP
        EXECUTE format('GRANT SELECT ON %s TO lode_worker, lode_reader', name);
    END LOOP;

    FOREACH name IN ARRAY filled LOOP
        EXECUTE format('GRANT INSERT ON %s TO lode_worker', name);
    END LOOP;
    GRANT UPDATE (valid_to) ON public.hull_state TO lode_worker;
    GRANT UPDATE (finished_at) ON public.round TO lode_worker;
    GRANT UPDATE (candidates) ON public.funnel TO lode_worker;
    GRANT UPDATE (structures, counts, finished_at) ON public.search TO lode_worker;
    GRANT UPDATE (promoted) ON public.model TO lode_worker;
    GRANT UPDATE (beat_at, stopped_at) ON public.worker TO lode_worker;
    GRANT UPDATE (state, token, worker_id, lease_until, attempts, run_after, error_class, error, failed_on)
        ON public.work TO lode_worker;
    GRANT DELETE ON public.work, public.unplaced TO lode_worker;
END $$;
