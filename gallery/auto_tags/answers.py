"""What people say about an auto tag's images: yes, no, or that they take it back.

Each holds the auto tag and its images, so two people who press at once take turns, and the last
word counts. An answer that is there already is given once more without effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from math import inf
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from embeddings.models import Space
from gallery.auto_tags import comparing, writing
from gallery.auto_tags.calibration import Limits
from gallery.errors import AutoTagInvalid
from gallery.models import AutoTag, AutoTagCalibration, Image
from gallery.texts import MAX_TAGS, printable

MOST_AT_ONCE = 1000
NEVER = Limits(inf, inf, inf)


class Answer(StrEnum):
    """What can be said; `undo` takes a yes or a no back."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNDO = "undo"


# Images that would get the tag by a yes, or by a no that is taken back, and have no room for it.
_FULL = """
SELECT image.caption, image.original_name FROM gallery_image image
WHERE image.id = ANY(%(ids)s::bigint[])
  AND (SELECT count(*) FROM gallery_image_tags link WHERE link.image_id = image.id) >= %(most)s
  AND NOT EXISTS (SELECT FROM gallery_image_tags link
      WHERE link.image_id = image.id AND link.tag_id = %(tag)s)
  AND (%(is_yes)s OR EXISTS (SELECT FROM gallery_tagsuggestion own
      WHERE own.auto_tag_id = %(auto_tag)s AND own.image_id = image.id
        AND own.state = 'rejected' AND (own.is_untagged OR own.score >= %(apply)s)))
ORDER BY image.id LIMIT 1
"""
# Where the image has the tag already, it is a person's: `is_linked` stays false.
_ACCEPT = """
WITH linked AS (
    INSERT INTO gallery_image_tags (image_id, tag_id)
    SELECT id, %(tag)s FROM unnest(%(ids)s::bigint[]) AS id
    ON CONFLICT DO NOTHING RETURNING image_id
)
INSERT INTO gallery_tagsuggestion AS own
    (auto_tag_id, image_id, state, is_linked, is_untagged, answered_by_id, answered_at)
SELECT %(auto_tag)s, id, 'accepted', EXISTS (SELECT FROM linked WHERE image_id = id), false,
    %(by)s, now()
FROM unnest(%(ids)s::bigint[]) AS id
ON CONFLICT (auto_tag_id, image_id) DO UPDATE SET state = 'accepted', is_untagged = false,
    is_linked = (own.is_linked OR EXCLUDED.is_linked) AND NOT own.is_untagged,
    answered_by_id = EXCLUDED.answered_by_id, answered_at = EXCLUDED.answered_at
WHERE own.state <> 'accepted' OR EXCLUDED.is_linked
"""
_REJECT = """
WITH unlinked AS (
    DELETE FROM gallery_image_tags
    WHERE image_id = ANY(%(ids)s::bigint[]) AND tag_id = %(tag)s RETURNING image_id
)
INSERT INTO gallery_tagsuggestion AS own
    (auto_tag_id, image_id, state, is_linked, is_untagged, answered_by_id, answered_at)
SELECT %(auto_tag)s, id, 'rejected', false, EXISTS (SELECT FROM unlinked WHERE image_id = id),
    %(by)s, now()
FROM unnest(%(ids)s::bigint[]) AS id
ON CONFLICT (auto_tag_id, image_id) DO UPDATE SET state = 'rejected', is_linked = false,
    is_untagged = EXCLUDED.is_untagged AND NOT own.is_linked,
    answered_by_id = EXCLUDED.answered_by_id, answered_at = EXCLUDED.answered_at
WHERE own.state <> 'rejected' OR EXCLUDED.is_untagged
"""
# Back to what the score says, as if nobody had been asked; a person's own tag comes back.
_UNDO = (
    """
WITH linked AS (
    INSERT INTO gallery_image_tags (image_id, tag_id)
    SELECT image_id, %(tag)s FROM gallery_tagsuggestion
    WHERE auto_tag_id = %(auto_tag)s AND image_id = ANY(%(ids)s::bigint[]) AND is_untagged
    ON CONFLICT DO NOTHING
)
DELETE FROM gallery_tagsuggestion
WHERE auto_tag_id = %(auto_tag)s AND image_id = ANY(%(ids)s::bigint[]) AND is_untagged
""",
    """
WITH unlinked AS (
    DELETE FROM gallery_image_tags link USING gallery_tagsuggestion own
    WHERE own.auto_tag_id = %(auto_tag)s AND own.image_id = ANY(%(ids)s::bigint[])
      AND own.state = 'accepted' AND own.is_linked AND own.score >= %(apply)s IS NOT TRUE
      AND link.image_id = own.image_id AND link.tag_id = %(tag)s
)
DELETE FROM gallery_tagsuggestion own
WHERE own.auto_tag_id = %(auto_tag)s AND own.image_id = ANY(%(ids)s::bigint[])
  AND own.state IN ('accepted', 'rejected')
  AND own.score >= least(%(suggest)s, %(apply)s) IS NOT TRUE
""",
    """
WITH linked AS (
    INSERT INTO gallery_image_tags (image_id, tag_id)
    SELECT image_id, %(tag)s FROM gallery_tagsuggestion
    WHERE auto_tag_id = %(auto_tag)s AND image_id = ANY(%(ids)s::bigint[])
      AND state = 'rejected' AND score >= %(apply)s
    ON CONFLICT DO NOTHING RETURNING image_id
)
UPDATE gallery_tagsuggestion own SET answered_by_id = NULL, answered_at = NULL,
    is_linked = applied, state = CASE WHEN applied THEN 'applied' ELSE 'open' END
FROM (SELECT id AS own_id, coalesce(score >= %(apply)s, false)
        AND (is_linked OR image_id IN (SELECT image_id FROM linked)) AS applied
      FROM gallery_tagsuggestion
      WHERE auto_tag_id = %(auto_tag)s AND image_id = ANY(%(ids)s::bigint[])
        AND state IN ('accepted', 'rejected')) AS before
WHERE before.own_id = own.id
""",
)
# For an image that has the tag by now, somebody has said yes. Auto tags are held, so that nobody
# deletes one before its row is there.
_PASS_ON = """
WITH held AS (
    SELECT id, tag_id FROM gallery_autotag WHERE id IN (
        SELECT auto_tag_id FROM gallery_tagsuggestion
        WHERE image_id = ANY(%(ids)s::bigint[]) AND state = 'rejected')
    ORDER BY id FOR KEY SHARE
)
INSERT INTO gallery_tagsuggestion AS own
    (auto_tag_id, image_id, state, is_linked, is_untagged, answered_by_id, answered_at)
SELECT DISTINCT ON (auto_tag_id) auto_tag_id, %(to)s, 'rejected', false, false, answered_by_id,
    answered_at
FROM gallery_tagsuggestion JOIN held ON held.id = auto_tag_id
WHERE image_id = ANY(%(ids)s::bigint[]) AND state = 'rejected' AND NOT EXISTS (
    SELECT FROM gallery_image_tags link
    WHERE link.image_id = %(to)s AND link.tag_id = held.tag_id)
ORDER BY auto_tag_id, answered_at DESC
ON CONFLICT (auto_tag_id, image_id) DO UPDATE SET state = 'rejected',
    answered_by_id = EXCLUDED.answered_by_id, answered_at = EXCLUDED.answered_at
WHERE own.state = 'open'
"""
_STATEMENTS = {Answer.ACCEPT: (_ACCEPT,), Answer.REJECT: (_REJECT,), Answer.UNDO: _UNDO}


def give(auto_tag: AutoTag, answer: Answer, images: Iterable[UUID], *, by: int | None) -> int:
    """Answer for some images of the auto tag's owner; return for how many that changed something.

    Others' images, and those that are gone, are passed over. An accepted image has the tag, a
    rejected one has not. Raise AutoTag.DoesNotExist where the auto tag was deleted, and
    AutoTagInvalid where an image has as many tags as one may have: then nothing has changed.
    """
    uuids = set(images)
    with transaction.atomic():
        held = AutoTag.objects.select_for_update(no_key=True).get(pk=auto_tag.pk)
        named = Image.objects.filter(uuid__in=uuids, owner=held.owner_id)
        ids = writing.hold(named.values_list("pk", flat=True))
        limits = limits_now(held)
        parameters: dict[str, Any] = {
            "auto_tag": held.pk,
            "tag": held.tag_id,
            "ids": ids,
            "by": by,
            "suggest": limits.suggest,
            "apply": limits.apply,
        }
        if answer != Answer.REJECT:
            _refuse_full(parameters | {"is_yes": answer == Answer.ACCEPT})
        changed = 0
        with connection.cursor() as cursor:
            for statement in _STATEMENTS[answer]:
                cursor.execute(statement, parameters)
                changed += cursor.rowcount
    return changed


def _refuse_full(parameters: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_FULL, parameters | {"most": MAX_TAGS})
        found = cursor.fetchone()
    if found is not None:
        name = printable(found[0])[:60] or found[1] or "An image"
        raise AutoTagInvalid(
            f"“{name}” has {MAX_TAGS} tags, as many as an image may have: take one away first."
        )


def pass_on(ids: Iterable[int], image: Image) -> None:
    """Let what was rejected for images that `image` takes the place of be rejected for it, too.

    The caller holds them all.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PASS_ON, {"ids": list(ids), "to": image.pk})


def limits_now(auto_tag: AutoTag) -> Limits:
    """Return the limits by which images were compared last; none fit where they were not."""
    rows = AutoTagCalibration.objects.filter(
        auto_tag=auto_tag.pk, space__state=Space.State.ACTIVE, version__isnull=False
    )
    stored = rows.select_related("auto_tag").first()
    return NEVER if stored is None else comparing.limits_in(stored)
