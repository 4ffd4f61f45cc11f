"""What must be true of the tests' own gallery after its images were embedded."""

from __future__ import annotations

from django.db import connection

from gallery.models import ImageEmbedding, ImageEmbeddingJob
from gallery.verification import disagreements


def assert_embedded_once(n: int) -> None:
    """Each image got one vector, and it was written once."""
    assert list(disagreements()) == []
    assert ImageEmbedding.objects.count() == n
    assert not ImageEmbeddingJob.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT subject_id) FROM embeddings_change"
            " JOIN embeddings_feed USING (table_id) WHERE table_name = %s"
            " AND subject_id IN (SELECT id FROM gallery_image)",
            [ImageEmbedding._meta.db_table],
        )
        assert cursor.fetchone() == (n, n)
