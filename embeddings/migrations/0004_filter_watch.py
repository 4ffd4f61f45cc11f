"""Touches: which tables that filters read were written to, and by which transaction."""

from django.db import migrations

CREATE = """
CREATE TABLE embeddings_touch (
    table_oid oid NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_oid, xid)
);

-- Once a statement, whatever it wrote; of a transaction's further statements nothing is kept. The
-- number is that of the whole transaction, also within a savepoint; where the savepoint is rolled
-- back, the row goes with what it stood for.
CREATE FUNCTION embeddings_note_touch() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO embeddings_touch (table_oid) VALUES (TG_RELID) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- Put the trigger on a table that filters read, unless it is there.
CREATE FUNCTION embeddings_watch_touches(watched regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embeddings_watch'));
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = watched
                   AND tgname = 'embeddings_touch' AND tgenabled <> 'D')
    THEN
        EXECUTE format('DROP TRIGGER IF EXISTS embeddings_touch ON %s', watched);
        EXECUTE format('CREATE TRIGGER embeddings_touch '
                       'AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION embeddings_note_touch()', watched);
    END IF;
END $$;

-- Where some tables stand: whether all of them are watched, the snapshot of now, what they are, and
-- whether nothing was written to them since an older snapshot. A function, so that a session plans
-- it once; STABLE, so that all of it is of one snapshot.
CREATE FUNCTION embeddings_touch_position(
    tables text[], since pg_snapshot,
    OUT is_watched boolean, OUT here text, OUT identity text, OUT is_as_it_was boolean)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    oids oid[];
BEGIN
    here := pg_current_snapshot()::text;
    -- What is compared must mean the same: the server and its history, the last crash (which began
    -- the statistics anew, and gave some transactions' numbers to others), the database, and of each
    -- table the trigger as it was made or last changed (xmin) and the file of its rows. A table
    -- that was dropped, replaced, restored or unwatched for a while has another trigger, one whose
    -- column ALTER TABLE wrote anew another file. Of the session, what dates and texts are read by.
    -- Row security lets one filter mean different rows; what is written to a partition or an
    -- inheriting table does not wake the trigger of its parent.
    SELECT array_agg(t.tgrelid),
        concat_ws(':', (pg_control_system()).system_identifier,
            left(pg_walfile_name(pg_current_wal_lsn()), 8),
            extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()),
            (SELECT oid FROM pg_database WHERE datname = current_database()),
            current_setting('TimeZone'), current_setting('default_text_search_config'),
            string_agg(concat_ws('.', t.tgrelid, t.oid, t.xmin, c.relfilenode), ':'
                       ORDER BY t.tgrelid)),
        count(*) = cardinality(tables)
    INTO oids, identity, is_watched
    FROM unnest(tables) AS named (name)
    JOIN pg_trigger t ON t.tgrelid = to_regclass(quote_ident(named.name))
        AND t.tgname = 'embeddings_touch' AND t.tgenabled IN ('O', 'A')
    JOIN pg_class c ON c.oid = t.tgrelid AND c.relkind = 'r'
        AND NOT (c.relrowsecurity OR c.relhassubclass OR c.relispartition);
    -- Nothing was written that the older reader did not see, and it saw nothing that we do not
    -- see: a transaction may keep a snapshot from before.
    is_as_it_was := since IS NOT NULL
        AND pg_snapshot_xmax(since) <= pg_snapshot_xmax(pg_current_snapshot())
        AND NOT EXISTS (SELECT FROM pg_snapshot_xip(pg_current_snapshot()) AS running (xid)
            WHERE pg_visible_in_snapshot(running.xid, since))
        AND NOT EXISTS (SELECT FROM embeddings_touch
            WHERE table_oid = ANY (oids) AND xid >= pg_snapshot_xmin(since)
              AND NOT pg_visible_in_snapshot(xid, since));
END $$;
"""

DROP = """
DROP FUNCTION embeddings_touch_position;
DROP FUNCTION embeddings_watch_touches;
DROP FUNCTION embeddings_note_touch CASCADE;
DROP TABLE embeddings_touch;
"""


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0003_recall")]
    operations = [migrations.RunSQL(CREATE, DROP)]
