"""Image.full_text, kept by Postgres: whoever writes a row, a tag or a caption, it is right.

Not a generated column, because captions and tags are rows of other tables.
"""

from django.db import migrations

CREATE = """
-- Weights: A what people wrote of the image, B its tags and category, C its file name, D metadata.
CREATE FUNCTION gallery_full_text(image gallery_image) RETURNS tsvector
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT setweight(to_tsvector('english', left(image.caption || ' ' || coalesce((
               SELECT string_agg(c.text, ' ' ORDER BY c.id)
               FROM gallery_caption c WHERE c.image_id = image.id), ''), 100000)), 'A')
        || setweight(to_tsvector('english', image.category || ' ' || coalesce((
               SELECT string_agg(t.name, ' ' ORDER BY t.name) FROM gallery_tag t
               JOIN gallery_image_tags it ON it.tag_id = t.id
               WHERE it.image_id = image.id), '')), 'B')
        || setweight(to_tsvector('simple',
               regexp_replace(image.original_name, '[^[:alnum:]]+', ' ', 'g')), 'C')
        || setweight(jsonb_to_tsvector('simple', image.metadata, '["string", "numeric"]'), 'D')
$$;

CREATE FUNCTION gallery_image_full_text() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.full_text := gallery_full_text(NEW);
    RETURN NEW;
END $$;

CREATE TRIGGER gallery_image_full_text
BEFORE INSERT OR UPDATE OF caption, category, original_name, metadata ON gallery_image
FOR EACH ROW EXECUTE FUNCTION gallery_image_full_text();

-- Captions, and the links between images and tags: once a statement for all images it touched.
CREATE FUNCTION gallery_linked_full_text() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    touched bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        touched := ARRAY(SELECT DISTINCT image_id FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        touched := ARRAY(SELECT DISTINCT image_id FROM old_rows);
    ELSE
        touched := ARRAY(SELECT image_id FROM old_rows UNION SELECT image_id FROM new_rows);
    END IF;
    UPDATE gallery_image image SET full_text = gallery_full_text(image)
    WHERE image.id = ANY (touched);
    RETURN NULL;
END $$;

CREATE TRIGGER gallery_caption_inserted AFTER INSERT ON gallery_caption
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
CREATE TRIGGER gallery_caption_updated AFTER UPDATE ON gallery_caption
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
CREATE TRIGGER gallery_caption_deleted AFTER DELETE ON gallery_caption
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();

CREATE TRIGGER gallery_image_tagged AFTER INSERT ON gallery_image_tags
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
CREATE TRIGGER gallery_image_retagged AFTER UPDATE ON gallery_image_tags
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();
CREATE TRIGGER gallery_image_untagged AFTER DELETE ON gallery_image_tags
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION gallery_linked_full_text();

CREATE FUNCTION gallery_tag_full_text() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE gallery_image image SET full_text = gallery_full_text(image)
    WHERE image.id IN (SELECT image_id FROM gallery_image_tags WHERE tag_id = NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER gallery_tag_renamed AFTER UPDATE OF name ON gallery_tag
FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION gallery_tag_full_text();
"""

DROP = """
DROP FUNCTION gallery_tag_full_text CASCADE;
DROP FUNCTION gallery_linked_full_text CASCADE;
DROP FUNCTION gallery_image_full_text CASCADE;
DROP FUNCTION gallery_full_text;
"""


class Migration(migrations.Migration):
    dependencies = [("gallery", "0001_initial"), ("embeddings", "0002_feed")]
    operations = [migrations.RunSQL(CREATE, DROP)]
