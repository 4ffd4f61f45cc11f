"""The triggers fire in every session, also in one that replays or loads for a replica.

With `session_replication_role = replica`, as logical replication and some loading tools set it,
an ordinary trigger sleeps, and no reader would notice.
"""

from django.db import migrations

CREATE = r"""
-- Put the triggers on a vector table, unless all of them are there and awake.
CREATE OR REPLACE FUNCTION embeddings_watch(watched regclass, subject text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    name text := (SELECT relname FROM pg_class WHERE oid = watched);
    here text := (pg_control_system()).system_identifier::text;
    note text;
    event text;
    rows_of text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embeddings_watch'));
    -- After a restore into another server: the changes are of its history, not of ours.
    DELETE FROM embeddings_change c USING embeddings_feed f
    WHERE c.table_id = f.table_id AND f.table_name = name AND f.server <> here;
    UPDATE embeddings_feed SET server = here, pruned_to = '0', generation = gen_random_uuid()
    WHERE table_name = name AND server <> here;
    IF (SELECT count(*) FROM pg_trigger
        WHERE tgrelid = watched AND tgname LIKE 'embeddings\_note\_%' AND tgenabled = 'A') = 4
    THEN
        RETURN;
    END IF;
    -- What happened while there was no trigger is not in the feed: a new generation.
    INSERT INTO embeddings_feed (table_name) VALUES (name)
    ON CONFLICT (table_name) DO UPDATE SET generation = gen_random_uuid();
    note := format('FOR EACH STATEMENT EXECUTE FUNCTION embeddings_note_change(%s, %L)',
                   (SELECT table_id FROM embeddings_feed WHERE table_name = name), subject);
    FOR event, rows_of IN VALUES
        ('insert', 'REFERENCING NEW TABLE AS new_rows '),
        ('update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows '),
        ('delete', 'REFERENCING OLD TABLE AS old_rows '),
        ('truncate', '')
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER embeddings_note_%1$s AFTER %1$s ON %2$s ',
                       event, watched) || rows_of || note;
        EXECUTE format('ALTER TABLE %2$s ENABLE ALWAYS TRIGGER embeddings_note_%1$s',
                       event, watched);
    END LOOP;
    -- A vector of more than 2 kB stays beside its row too: pushed out to TOAST, an exact scan
    -- takes four times as long.
    EXECUTE format('ALTER TABLE %s ALTER COLUMN vector SET STORAGE MAIN', watched);
END $$;

-- Put the trigger on a table that filters read, unless it is there and awake.
CREATE OR REPLACE FUNCTION embeddings_watch_touches(watched regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embeddings_watch'));
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = watched
                   AND tgname = 'embeddings_touch' AND tgenabled = 'A')
    THEN
        EXECUTE format('DROP TRIGGER IF EXISTS embeddings_touch ON %s', watched);
        EXECUTE format('CREATE TRIGGER embeddings_touch '
                       'AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION embeddings_note_touch()', watched);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER embeddings_touch', watched);
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0004_filter_watch")]
    # Backwards, the older functions stay as they are here: they serve as well.
    operations = [migrations.RunSQL(CREATE, migrations.RunSQL.noop)]
