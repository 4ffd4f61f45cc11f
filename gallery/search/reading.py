"""Images of a ranking, read back under the viewer's rights as they are now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db.models import Field
from django.db.models.expressions import RawSQL

from gallery.models import Image, Tag
from gallery.query import Hit
from gallery.search.bands import BANDS

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from gallery.search.rankings import Ranking

# Of each image in the same statement, and as plain SQL: a statement more, and a queryset an image,
# would cost a third of a search.
_TAGS = RawSQL(
    """ARRAY(SELECT json_build_object('id', tag.id, 'name', tag.name)
             FROM gallery_tag tag JOIN gallery_image_tags link ON link.tag_id = tag.id
             WHERE link.image_id = gallery_image.id ORDER BY tag.name)""",
    (),
    output_field=Field(),  # psycopg makes dicts of json by itself
)

# What a hit shows. The rest (metadata, colours, all texts once more) comes when it is asked for.
SHOWN = (
    *("uuid", "caption", "original_name", "width", "height", "state"),
    *("thumbnail_small", "visibility", "owner_id", "added_at", "taken_at"),
    *("video_id", "video_seconds"),
)


def hits(
    ranking: Ranking, viewer: AbstractBaseUser | AnonymousUser, *, first: int = 1
) -> tuple[Hit, ...]:
    """Return the hits of a piece of a ranking that begins at rank `first`, with their tags.

    Who is deleted or hidden by now leaves a gap: the others keep their rank.
    """
    image_by_id = (
        Image.objects.visible_to(viewer)
        .only(*SHOWN)
        .annotate(tag_rows=_TAGS)
        .in_bulk(ranking.ids.tolist())
    )
    _give_tags(image_by_id.values())
    found = zip(ranking.ids.tolist(), ranking.scores.tolist(), ranking.bands.tolist(), strict=True)
    return tuple(
        Hit(image_by_id[image_id], score, rank, BANDS[band])
        for rank, (image_id, score, band) in enumerate(found, start=first)
        if image_id in image_by_id
    )


def _give_tags(images: Iterable[Any]) -> None:
    """Put the tags where `image.tags.all()` finds them, as prefetch_related does."""
    for image in images:
        tags = Tag.objects.all()
        tags._result_cache = [Tag(**row) for row in image.tag_rows]
        image._prefetched_objects_cache = {"tags": tags}
