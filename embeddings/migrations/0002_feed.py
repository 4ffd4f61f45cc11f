"""The change feed: its two tables and the functions that fill it."""

from django.db import migrations

CREATE = """
CREATE TABLE embeddings_feed (
    table_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL UNIQUE,
    -- The server that numbered the transactions; on another one the numbers mean nothing.
    server text NOT NULL DEFAULT (pg_control_system()).system_identifier::text,
    -- A new generation tells every reader that the feed is not whole: read the table anew.
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    -- Changes of transactions before this one may be gone.
    pruned_to xid8 NOT NULL DEFAULT '0'
);

CREATE TABLE embeddings_change (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq bigint GENERATED ALWAYS AS IDENTITY,
    table_id int NOT NULL,
    space_id bigint NOT NULL,
    subject_id bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xid, seq)
);

-- Arguments of the trigger: the table's id in embeddings_feed, the column of its subject.
CREATE FUNCTION embeddings_note_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    changed text := CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT space_id, %1$I FROM new_rows'
        WHEN 'DELETE' THEN 'SELECT space_id, %1$I FROM old_rows'
        WHEN 'UPDATE' THEN 'SELECT space_id, %1$I FROM old_rows'
                           ' UNION SELECT space_id, %1$I FROM new_rows' END;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE embeddings_feed SET generation = gen_random_uuid()
        WHERE table_id = TG_ARGV[0]::int;
    ELSE
        EXECUTE format(
            'INSERT INTO embeddings_change (table_id, space_id, subject_id)'
            ' SELECT %2$s::int, c.* FROM (' || changed || ') c',
            TG_ARGV[1], TG_ARGV[0]);
    END IF;
    RETURN NULL;
END $$;

-- Put the triggers on a vector table, unless all of them are there.
CREATE FUNCTION embeddings_watch(watched regclass, subject text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    name text := (SELECT relname FROM pg_class WHERE oid = watched);
    here text := (pg_control_system()).system_identifier::text;
    note text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embeddings_watch'));
    -- After a restore into another server: the changes are of its history, not of ours.
    DELETE FROM embeddings_change c USING embeddings_feed f
    WHERE c.table_id = f.table_id AND f.table_name = name AND f.server <> here;
    UPDATE embeddings_feed SET server = here, pruned_to = '0', generation = gen_random_uuid()
    WHERE table_name = name AND server <> here;
    IF (SELECT count(*) FROM pg_trigger
        WHERE tgrelid = watched AND tgname LIKE 'embeddings\\_note\\_%' AND tgenabled <> 'D') = 4
    THEN
        RETURN;
    END IF;
    -- What happened while there was no trigger is not in the feed: a new generation.
    INSERT INTO embeddings_feed (table_name) VALUES (name)
    ON CONFLICT (table_name) DO UPDATE SET generation = gen_random_uuid();
    note := format('FOR EACH STATEMENT EXECUTE FUNCTION embeddings_note_change(%s, %L)',
                   (SELECT table_id FROM embeddings_feed WHERE table_name = name), subject);
    EXECUTE format('CREATE OR REPLACE TRIGGER embeddings_note_insert AFTER INSERT ON %s '
                   'REFERENCING NEW TABLE AS new_rows ', watched) || note;
    EXECUTE format('CREATE OR REPLACE TRIGGER embeddings_note_update AFTER UPDATE ON %s '
                   'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ', watched) || note;
    EXECUTE format('CREATE OR REPLACE TRIGGER embeddings_note_delete AFTER DELETE ON %s '
                   'REFERENCING OLD TABLE AS old_rows ', watched) || note;
    EXECUTE format('CREATE OR REPLACE TRIGGER embeddings_note_truncate AFTER TRUNCATE ON %s ',
                   watched) || note;
    -- A vector of more than 2 kB stays beside its row too: pushed out to TOAST, an exact scan
    -- takes four times as long.
    EXECUTE format('ALTER TABLE %s ALTER COLUMN vector SET STORAGE MAIN', watched);
END $$;
"""

DROP = """
DROP FUNCTION embeddings_watch;
DROP FUNCTION embeddings_note_change CASCADE;
DROP TABLE embeddings_change;
DROP TABLE embeddings_feed;
"""


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, DROP)]
