from django.db import migrations

# As in 0004, with one word more: a space whose encoder was not opened yet gets no jobs. Its row may
# be deleted at any moment, and whoever writes a caption then must not refer to it.
QUEUE = """
CREATE OR REPLACE FUNCTION gallery_caption_queue() RETURNS trigger
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
    CROSS JOIN embeddings_space s WHERE s.state <> 'retired' %s
    ORDER BY s.id, caption_id
    ON CONFLICT (caption_id, space_id) DO NOTHING;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("gallery", "0014_auto_tags"), ("embeddings", "0007_encoder_proof")]
    operations = [
        migrations.RunSQL(
            QUEUE.replace("%s", "AND s.dimensions > 0"),
            QUEUE.replace("%s", ""),
        ),
        migrations.RunSQL(
            "DELETE FROM gallery_captionembeddingjob j USING embeddings_space s "
            "WHERE s.id = j.space_id AND s.dimensions = 0",
            migrations.RunSQL.noop,
        ),
    ]
