"""Every caption of an image is a row of gallery_caption, the own one too, and gets a vector.

All of it is kept by Postgres: whoever writes an image or a caption, in whatever way, the own
caption is right, a caption's vector is of its present text, and a job waits for what has none.

Locks are taken in one order: image, caption, jobs, vectors. (Who changes further captions first
locks their image, or meets whoever deletes it.)
"""

import django.db.models.deletion
from django.db import migrations, models

# A further caption says where it is from. "" is the image's own now.
NAME_SOURCES = """
-- Or the changes of the tables, below, would find checks that are still to come.
SET CONSTRAINTS ALL IMMEDIATE;
DELETE FROM gallery_caption c USING gallery_caption named
WHERE c.source = '' AND named.source = 'unknown'
  AND named.image_id = c.image_id AND named.text = c.text;
UPDATE gallery_caption SET source = 'unknown' WHERE source = '';
"""

CREATE = r"""
-- As in migration 0002, with the own caption counted once.
CREATE OR REPLACE FUNCTION gallery_full_text(image gallery_image) RETURNS tsvector
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT setweight(to_tsvector('english', left(image.caption || ' ' || coalesce((
               SELECT string_agg(c.text, ' ' ORDER BY c.id)
               FROM gallery_caption c WHERE c.image_id = image.id AND c.source <> ''), ''),
               100000)), 'A')
        || setweight(to_tsvector('english', image.category || ' ' || coalesce((
               SELECT string_agg(t.name, ' ' ORDER BY t.name) FROM gallery_tag t
               JOIN gallery_image_tags it ON it.tag_id = t.id
               WHERE it.image_id = image.id), '')), 'B')
        || setweight(to_tsvector('simple',
               regexp_replace(image.original_name, '[^[:alnum:]]+', ' ', 'g')), 'C')
        || setweight(jsonb_to_tsvector('simple', image.metadata, '["string", "numeric"]'), 'D')
$$;

-- Further captions alone: an own caption comes from its image, whose row is right already, and
-- writing that a second time is dear.
CREATE FUNCTION gallery_caption_full_text() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    touched bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        touched := ARRAY(SELECT DISTINCT image_id FROM new_rows WHERE source <> '');
    ELSIF TG_OP = 'DELETE' THEN
        touched := ARRAY(SELECT DISTINCT image_id FROM old_rows WHERE source <> '');
    ELSE
        touched := ARRAY(SELECT image_id FROM old_rows WHERE source <> ''
                         UNION SELECT image_id FROM new_rows WHERE source <> '');
    END IF;
    IF touched <> '{}' THEN
        UPDATE gallery_image image SET full_text = gallery_full_text(image)
        WHERE image.id = ANY (touched);
    END IF;
    RETURN NULL;
END $$;

-- The names matter: triggers fire in their order, and the image comes before the jobs.
CREATE TRIGGER gallery_caption_a_inserted AFTER INSERT ON gallery_caption
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_caption_full_text();
CREATE TRIGGER gallery_caption_a_updated AFTER UPDATE ON gallery_caption
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_caption_full_text();
CREATE TRIGGER gallery_caption_a_deleted AFTER DELETE ON gallery_caption
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_caption_full_text();

-- A new caption waits for its vector in every space in use; a changed one loses its old vector at
-- once and waits anew. Jobs go first: a worker that is just writing a vector holds its job, and
-- the statement after sees what it wrote.
CREATE FUNCTION gallery_caption_queue() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    written bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        written := ARRAY(SELECT id FROM new_rows);
    ELSE
        written := ARRAY(SELECT n.id FROM new_rows n JOIN old_rows o USING (id)
                         WHERE n.text <> o.text);
        IF written = '{}' THEN
            RETURN NULL;
        END IF;
        DELETE FROM gallery_captionembeddingjob WHERE caption_id = ANY (written);
        DELETE FROM gallery_captionembedding WHERE caption_id = ANY (written);
    END IF;
    INSERT INTO gallery_captionembeddingjob (caption_id, space_id)
    SELECT caption_id, s.id FROM unnest(written) AS caption_id
    CROSS JOIN embeddings_space s WHERE s.state <> 'retired'
    ORDER BY s.id, caption_id
    ON CONFLICT (caption_id, space_id) DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER gallery_caption_b_inserted AFTER INSERT ON gallery_caption
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_caption_queue();
CREATE TRIGGER gallery_caption_b_updated AFTER UPDATE ON gallery_caption
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_caption_queue();

-- Not left to Django, which would delete jobs and vectors before it has locked the caption, and so
-- miss what is written in between.
CREATE FUNCTION gallery_caption_forget() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM gallery_captionembeddingjob WHERE caption_id = OLD.id;
    DELETE FROM gallery_captionembedding WHERE caption_id = OLD.id;
    RETURN OLD;
END $$;

CREATE TRIGGER gallery_caption_deleting BEFORE DELETE ON gallery_caption
FOR EACH ROW EXECUTE FUNCTION gallery_caption_forget();

-- Image.caption as a row of its own; a blank one has none.
CREATE FUNCTION gallery_own_captions() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO gallery_caption (image_id, source, text, added_at)
    SELECT id, '', caption, now() FROM new_rows WHERE caption ~ '\S';
    RETURN NULL;
END $$;

CREATE FUNCTION gallery_own_caption() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.caption ~ '\S' THEN
        INSERT INTO gallery_caption (image_id, source, text, added_at)
        VALUES (NEW.id, '', NEW.caption, now())
        ON CONFLICT (image_id) WHERE source = '' DO UPDATE SET text = excluded.text;
    ELSE
        DELETE FROM gallery_caption WHERE image_id = NEW.id AND source = '';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER gallery_image_own_captions AFTER INSERT ON gallery_image
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_own_captions();
CREATE TRIGGER gallery_image_own_caption AFTER UPDATE ON gallery_image
FOR EACH ROW WHEN (OLD.caption IS DISTINCT FROM NEW.caption)
EXECUTE FUNCTION gallery_own_caption();
"""

DROP_OLD = """
DROP TRIGGER gallery_caption_inserted ON gallery_caption;
DROP TRIGGER gallery_caption_updated ON gallery_caption;
DROP TRIGGER gallery_caption_deleted ON gallery_caption;
"""

# As they were in migration 0002.
CREATE_OLD = """
CREATE TRIGGER gallery_caption_inserted AFTER INSERT ON gallery_caption
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
CREATE TRIGGER gallery_caption_updated AFTER UPDATE ON gallery_caption
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
CREATE TRIGGER gallery_caption_deleted AFTER DELETE ON gallery_caption
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
"""

# The function of migration 0002 counts every caption; without own ones this one does the same.
DROP = """
SET CONSTRAINTS ALL IMMEDIATE;
DELETE FROM gallery_captionembeddingjob WHERE caption_id IN
    (SELECT id FROM gallery_caption WHERE source = '');
DELETE FROM gallery_captionembedding WHERE caption_id IN
    (SELECT id FROM gallery_caption WHERE source = '');
DELETE FROM gallery_caption WHERE source = '';
DROP FUNCTION gallery_own_caption CASCADE;
DROP FUNCTION gallery_own_captions CASCADE;
DROP FUNCTION gallery_caption_forget CASCADE;
DROP FUNCTION gallery_caption_queue CASCADE;
DROP FUNCTION gallery_caption_full_text CASCADE;
"""

FILL = r"""
INSERT INTO gallery_caption (image_id, source, text, added_at)
SELECT id, '', caption, now() FROM gallery_image WHERE caption ~ '\S' ORDER BY id;
"""


class Migration(migrations.Migration):
    dependencies = [("gallery", "0003_captions_and_saved_searches")]
    operations = [
        migrations.RunSQL(NAME_SOURCES, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "caption",
            models.UniqueConstraint(
                fields=["image"], condition=models.Q(source=""), name="caption_own_once"
            ),
        ),
        migrations.AlterField(
            "captionembedding",
            "caption",
            models.ForeignKey(
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="embeddings",
                to="gallery.caption",
            ),
        ),
        migrations.AlterField(
            "captionembeddingjob",
            "caption",
            models.ForeignKey(
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="jobs",
                to="gallery.caption",
            ),
        ),
        migrations.RunSQL(DROP_OLD, CREATE_OLD),
        migrations.RunSQL(CREATE, DROP),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
