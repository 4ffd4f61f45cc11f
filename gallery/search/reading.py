"""Images of a ranking, read back under the viewer's rights as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Field
from django.db.models.expressions import RawSQL

from gallery.models import Image
from gallery.query import Hit
from gallery.search.bands import BANDS

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from gallery.search.rankings import Ranking

# The names of each image in the same statement, and as plain SQL: a statement more, and a queryset
# an image, would cost a third of a search.
_TAGS = RawSQL(
    """ARRAY(SELECT tag.name
             FROM gallery_tag tag JOIN gallery_image_tags link ON link.tag_id = tag.id
             WHERE link.image_id = gallery_image.id ORDER BY tag.name)""",
    (),
    output_field=Field(),  # psycopg makes a list by itself
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
        .annotate(tag_names=_TAGS)
        .order_by()  # the ranking has its own
        .in_bulk(ranking.ids.tolist())
    )
    found = zip(ranking.ids.tolist(), ranking.scores.tolist(), ranking.bands.tolist(), strict=True)
    return tuple(
        Hit(image, score, rank, BANDS[band], tuple(image.tag_names))  # type: ignore[attr-defined]
        for rank, (image_id, score, band) in enumerate(found, start=first)
        if (image := image_by_id.get(image_id)) is not None
    )
