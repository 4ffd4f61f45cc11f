"""What limits make of scores, written to suggestions and tags.

Whoever writes suggestions holds the auto tag first and then the images, in order: an answer and a
comparison of the same image take turns, and the later one sees what the earlier one wrote. A yes
or a no is never overwritten here, and a tag that a person has set is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from django.db import connection, transaction

from embeddings.vectors import Ids, Scores
from gallery.auto_tags.calibration import Limits
from gallery.models import AutoTag, Image
from gallery.texts import MAX_TAGS

AT_ONCE = 500  # images a transaction

_SCORED = """
scored AS (SELECT * FROM unnest(%(ids)s::bigint[], %(scores)s::float8[]) AS s (image_id, score))
"""
_HELD = "held.auto_tag_id = %(auto_tag)s AND held.image_id = scored.image_id"

# Applied, and no longer good enough for it.
_WITHDRAW = f"""
WITH {_SCORED}, withdrawn AS (
    UPDATE gallery_tagsuggestion held SET state = 'open', is_linked = false
    FROM scored WHERE {_HELD} AND held.state = 'applied' AND scored.score < %(apply)s
    RETURNING held.image_id
)
DELETE FROM gallery_image_tags link USING withdrawn
WHERE link.image_id = withdrawn.image_id AND link.tag_id = %(tag)s
"""
_DROP = f"""
WITH {_SCORED}
DELETE FROM gallery_tagsuggestion held USING scored
WHERE {_HELD} AND held.state = 'open' AND scored.score < %(suggest)s
"""
# Where the image has the tag already, nothing is inserted, and nothing applied. An image with as
# many tags as one may have could not be edited any more with another one.
_APPLY = f"""
WITH {_SCORED}, linked AS (
    INSERT INTO gallery_image_tags (image_id, tag_id)
    SELECT image.id, %(tag)s FROM scored
    JOIN gallery_image image ON image.id = scored.image_id AND image.owner_id = %(owner)s
    WHERE scored.score >= %(apply)s AND NOT EXISTS (
        SELECT FROM gallery_tagsuggestion held WHERE {_HELD} AND held.state <> 'open')
      AND (SELECT count(*) FROM gallery_image_tags link WHERE link.image_id = image.id) < {MAX_TAGS}
    ON CONFLICT DO NOTHING RETURNING image_id
)
INSERT INTO gallery_tagsuggestion (auto_tag_id, image_id, state, score, is_linked)
SELECT %(auto_tag)s, image_id, 'applied', scored.score, true
FROM linked JOIN scored USING (image_id)
ON CONFLICT (auto_tag_id, image_id) DO UPDATE SET state = 'applied', is_linked = true
"""
_SUGGEST = f"""
WITH {_SCORED}
INSERT INTO gallery_tagsuggestion (auto_tag_id, image_id, state, score, is_linked)
SELECT %(auto_tag)s, image.id, 'open', scored.score, false FROM scored
JOIN gallery_image image ON image.id = scored.image_id AND image.owner_id = %(owner)s
WHERE scored.score >= %(suggest)s AND scored.score < %(apply)s AND NOT EXISTS (
    SELECT FROM gallery_image_tags link WHERE link.image_id = image.id AND link.tag_id = %(tag)s)
ON CONFLICT DO NOTHING
"""
_SCORE = f"""
WITH {_SCORED}
UPDATE gallery_tagsuggestion held SET score = scored.score
FROM scored WHERE {_HELD} AND held.score IS DISTINCT FROM scored.score
"""
# A person has set the tag, or taken it away: that is an answer, too.
_SETTLE_YES = """
UPDATE gallery_tagsuggestion own SET state = 'accepted', is_linked = false, answered_at = now(),
    answered_by_id = NULL
WHERE own.auto_tag_id = %(auto_tag)s AND own.state IN ('open', 'rejected') AND EXISTS (
    SELECT FROM gallery_image_tags link
    WHERE link.image_id = own.image_id AND link.tag_id = %(tag)s)
"""
_SETTLE_NO = """
UPDATE gallery_tagsuggestion own SET state = 'rejected', is_linked = false, answered_at = now(),
    answered_by_id = NULL
WHERE own.auto_tag_id = %(auto_tag)s AND own.state IN ('applied', 'accepted') AND NOT EXISTS (
    SELECT FROM gallery_image_tags link
    WHERE link.image_id = own.image_id AND link.tag_id = %(tag)s)
"""
_FORGET_SCORES = """
UPDATE gallery_tagsuggestion SET score = NULL
WHERE auto_tag_id = %(auto_tag)s AND score IS NOT NULL AND NOT image_id = ANY(%(ids)s::bigint[])
"""


class Superseded(Exception):
    """The auto tag was changed or deleted while images were compared with what it was."""


def write(auto_tag: AutoTag, ids: Ids, scores: Scores, limits: Limits) -> int:
    """Suggest, apply and withdraw by the scores of these images; return how many rows changed.

    May be repeated. Raise Superseded, with some of it written, where it was changed meanwhile.
    """
    changed = 0
    for start in range(0, len(ids), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        parameters = _parameters(auto_tag) | {
            "ids": ids[some].tolist(),
            "scores": scores[some].astype(float).tolist(),
            "suggest": limits.suggest,
            "apply": limits.apply,
        }
        changed += _write(auto_tag, parameters)
    return changed


def settle(auto_tag: AutoTag) -> int:
    """Take what people did to the tag itself for answers; return how many."""
    with connection.cursor() as cursor:
        return _changed_by(cursor, (_SETTLE_YES, _SETTLE_NO), _parameters(auto_tag))


def forget_scores(auto_tag: AutoTag, but: Ids) -> None:
    """Let go of the scores of other images: they are of another space, or the vector is gone."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_SCORES, _parameters(auto_tag) | {"ids": but.tolist()})


def hold(auto_tag: AutoTag, ids: Sequence[int]) -> list[int]:
    """Keep everybody else from what hangs on these images of the auto tag's owner.

    Return those that are still there. For a transaction; the auto tag is held before.
    """
    images = Image.objects.filter(pk__in=ids, owner=auto_tag.owner_id).order_by("pk")
    return list(images.select_for_update(no_key=True).values_list("pk", flat=True))


@transaction.atomic
def _write(auto_tag: AutoTag, parameters: dict[str, Any]) -> int:
    same = AutoTag.objects.filter(pk=auto_tag.pk, version=auto_tag.version)
    if not list(same.select_for_update(no_key=True).values_list("pk")):
        raise Superseded
    hold(auto_tag, parameters["ids"])
    statements = [_WITHDRAW, _DROP]
    if parameters["apply"] < inf:
        statements.append(_APPLY)
    if parameters["suggest"] < inf:
        statements.append(_SUGGEST)
    with connection.cursor() as cursor:
        changed = _changed_by(cursor, statements, parameters)
        cursor.execute(_SCORE, parameters)
    return changed


def _changed_by(cursor: Any, statements: Sequence[str], parameters: dict[str, Any]) -> int:
    changed = 0
    for statement in statements:
        cursor.execute(statement, parameters)
        changed += cursor.rowcount
    return changed


def _parameters(auto_tag: AutoTag) -> dict[str, Any]:
    return {"auto_tag": auto_tag.pk, "tag": auto_tag.tag_id, "owner": auto_tag.owner_id}
