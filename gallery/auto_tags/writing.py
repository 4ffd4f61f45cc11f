"""What limits make of scores, written to suggestions and tags.

Whoever writes suggestions holds the auto tag first and then the images, in order: an answer and a
comparison of the same image take turns, and the later one sees what the earlier one wrote. A yes
or a no is never overwritten here, and a tag that a person has set is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores
from gallery.auto_tags.calibration import Limits
from gallery.models import AutoTag, Image
from gallery.texts import MAX_TAGS

AT_ONCE = 2000  # scores a transaction

_SCORED = """
scored AS (SELECT * FROM unnest(%(auto_tag)s::bigint[], %(tag)s::bigint[], %(owner)s::bigint[],
    %(image)s::bigint[], %(score)s::float8[], %(suggest)s::float8[], %(apply)s::float8[])
    AS s (auto_tag_id, tag_id, owner_id, image_id, score, suggest, apply))
"""
_HELD = "held.auto_tag_id = scored.auto_tag_id AND held.image_id = scored.image_id"
_LINKED = "link.image_id = scored.image_id AND link.tag_id = scored.tag_id"

# Applied, and no longer good enough for it.
_WITHDRAW = f"""
WITH {_SCORED}, withdrawn AS (
    UPDATE gallery_tagsuggestion held SET state = 'open', is_linked = false
    FROM scored WHERE {_HELD} AND held.state = 'applied' AND scored.score < scored.apply
    RETURNING scored.image_id, scored.tag_id
)
DELETE FROM gallery_image_tags link USING withdrawn scored WHERE {_LINKED}
"""
_DROP = f"""
WITH {_SCORED}
DELETE FROM gallery_tagsuggestion held USING scored
WHERE {_HELD} AND held.state = 'open' AND scored.score < scored.suggest
"""
# Where the image has the tag already, nothing is inserted, and nothing applied. An image with as
# many tags as one may have could not be edited any more with another one.
_APPLY = f"""
WITH {_SCORED}, fitting AS (
    SELECT scored.*, row_number() OVER (PARTITION BY image_id ORDER BY score - apply DESC)
        + (SELECT count(*) FROM gallery_image_tags link WHERE link.image_id = scored.image_id)
        AS tags
    FROM scored JOIN gallery_image image
        ON image.id = scored.image_id AND image.owner_id = scored.owner_id
    WHERE scored.score >= scored.apply AND NOT EXISTS (
        SELECT FROM gallery_tagsuggestion held WHERE {_HELD} AND held.state <> 'open')
      AND NOT EXISTS (SELECT FROM gallery_image_tags link WHERE {_LINKED})
), linked AS (
    INSERT INTO gallery_image_tags (image_id, tag_id)
    SELECT image_id, tag_id FROM fitting WHERE tags <= {MAX_TAGS}
    ON CONFLICT DO NOTHING RETURNING image_id, tag_id
)
INSERT INTO gallery_tagsuggestion (auto_tag_id, image_id, state, score, is_linked)
SELECT fitting.auto_tag_id, image_id, 'applied', fitting.score, true
FROM linked JOIN fitting USING (image_id, tag_id)
ON CONFLICT (auto_tag_id, image_id) DO UPDATE SET state = 'applied', is_linked = true
"""
_SUGGEST = f"""
WITH {_SCORED}
INSERT INTO gallery_tagsuggestion (auto_tag_id, image_id, state, score, is_linked)
SELECT scored.auto_tag_id, image.id, 'open', scored.score, false FROM scored
JOIN gallery_image image ON image.id = scored.image_id AND image.owner_id = scored.owner_id
WHERE scored.score >= scored.suggest AND scored.score < scored.apply
  AND NOT EXISTS (SELECT FROM gallery_image_tags link WHERE {_LINKED})
ON CONFLICT DO NOTHING
"""
_SCORE = f"""
WITH {_SCORED}
UPDATE gallery_tagsuggestion held SET score = scored.score
FROM scored WHERE {_HELD} AND held.score IS DISTINCT FROM scored.score
"""
# A person has set the tag, or taken it away: that is an answer, too.
_SETTLE = """
UPDATE gallery_tagsuggestion own SET state = %(state)s, is_linked = false, answered_at = now(),
    answered_by_id = NULL
FROM gallery_autotag auto_tag
WHERE auto_tag.id = own.auto_tag_id AND own.auto_tag_id = ANY(%(auto_tags)s::bigint[])
  AND own.state = ANY(%(before)s) AND %(has_tag)s = EXISTS (
    SELECT FROM gallery_image_tags link
    WHERE link.image_id = own.image_id AND link.tag_id = auto_tag.tag_id)
"""
_SETTLED: tuple[dict[str, Any], ...] = (
    {"has_tag": True, "before": ["open", "rejected"], "state": "accepted"},
    {"has_tag": False, "before": ["applied", "accepted"], "state": "rejected"},
)
_FORGET_SCORES = """
UPDATE gallery_tagsuggestion own SET score = NULL
WHERE auto_tag_id = ANY(%(auto_tags)s::bigint[]) AND score IS NOT NULL AND NOT EXISTS (
    SELECT FROM unnest(%(auto_tag)s::bigint[], %(image)s::bigint[]) AS s (auto_tag_id, image_id)
    WHERE s.auto_tag_id = own.auto_tag_id AND s.image_id = own.image_id)
"""


@dataclass(frozen=True)
class Scored:
    """Images, what they score for an auto tag as it was read, and what that means."""

    auto_tag: AutoTag
    ids: Ids
    scores: Scores
    limits: Limits


class Written(NamedTuple):
    changed: int  # suggestions
    superseded: frozenset[int]  # auto tags that were changed or deleted meanwhile


def write(several: Sequence[Scored]) -> Written:
    """Suggest, apply and withdraw by the scores of images. May be repeated.

    Of an auto tag that was changed meanwhile some may be written, by what it was before.
    """
    columns = _columns(several)
    versions = {one.auto_tag.pk: one.auto_tag.version for one in several}
    changed = 0
    superseded: set[int] = set()
    for start in range(0, len(columns["image"]), AT_ONCE):
        some = {name: column[start : start + AT_ONCE] for name, column in columns.items()}
        written = _write(some, versions)
        changed += written.changed
        superseded |= written.superseded
    return Written(changed, frozenset(superseded))


def settle(auto_tags: Iterable[int]) -> None:
    """Take what people did to the tags themselves for answers."""
    ids = list(auto_tags)
    with connection.cursor() as cursor:
        for change in _SETTLED:
            cursor.execute(_SETTLE, {"auto_tags": ids, **change})


def forget_scores(but: Sequence[Scored]) -> None:
    """Let go of the scores of all other images of these auto tags.

    They are of another space, or the image has no vector any more.
    """
    columns = _columns(but)
    parameters = {
        "auto_tags": [one.auto_tag.pk for one in but],
        "auto_tag": columns["auto_tag"].tolist(),
        "image": columns["image"].tolist(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_SCORES, parameters)


def hold(ids: Iterable[int]) -> list[int]:
    """Keep everybody else from what hangs on these images; return those that are still there.

    For a transaction. Auto tags are held before.
    """
    images = Image.objects.filter(pk__in=list(ids)).order_by("pk")
    return list(images.select_for_update(no_key=True).values_list("pk", flat=True))


@transaction.atomic
def _write(columns: dict[str, NDArray[Any]], versions: dict[int, int]) -> Written:
    named = np.unique(columns["auto_tag"]).tolist()
    held = AutoTag.objects.filter(pk__in=named).order_by("pk").select_for_update(no_key=True)
    now = dict(held.values_list("pk", "version"))
    superseded = [pk for pk in named if now.get(pk) != versions[pk]]
    kept = ~np.isin(columns["auto_tag"], superseded)
    parameters = {name: column[kept].tolist() for name, column in columns.items()}
    hold(set(parameters["image"]))
    changed = 0
    with connection.cursor() as cursor:
        for statement in (_WITHDRAW, _DROP, _APPLY, _SUGGEST):
            cursor.execute(statement, parameters)
            changed += cursor.rowcount
        cursor.execute(_SCORE, parameters)
    return Written(changed, frozenset(superseded))


def _columns(several: Sequence[Scored]) -> dict[str, NDArray[Any]]:
    """Return a row for each score, by columns."""
    sizes = [len(one.ids) for one in several]
    tags = [one.auto_tag for one in several]
    limits = [one.limits for one in several]
    return {
        "auto_tag": np.repeat([tag.pk for tag in tags], sizes).astype(np.int64),
        "tag": np.repeat([tag.tag_id for tag in tags], sizes).astype(np.int64),
        "owner": np.repeat([tag.owner_id for tag in tags], sizes).astype(np.int64),
        "image": np.concatenate([np.empty(0, np.int64), *(one.ids for one in several)]),
        "score": np.concatenate([np.empty(0), *(one.scores.astype(float) for one in several)]),
        "suggest": np.repeat([limit.suggest for limit in limits], sizes).astype(float),
        "apply": np.repeat([limit.apply for limit in limits], sizes).astype(float),
    }
