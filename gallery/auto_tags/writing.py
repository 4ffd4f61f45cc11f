"""What limits make of scores, written to suggestions and tags.

Whoever writes suggestions holds the auto tag first and then the images, in order: an answer and a
comparison of the same image take turns, and the later one sees what the earlier one wrote. A yes
or a no is never overwritten here, and a tag that a person has set is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores
from gallery.auto_tags.calibration import Limits
from gallery.auto_tags.known import APPLIED, NEW, OPEN, Known
from gallery.models import AutoTag, Image
from gallery.texts import MAX_TAGS

AT_ONCE = 2000  # scores a transaction

_COLUMNS = ("auto_tag", "tag", "owner", "image", "score", "suggest", "apply")  # of the statements
_SCORED = """
scored AS (SELECT * FROM unnest(%(auto_tag)s::bigint[], %(tag)s::bigint[], %(owner)s::bigint[],
    %(image)s::bigint[], %(score)s::float8[], %(suggest)s::float8[], %(apply)s::float8[])
    AS s (auto_tag_id, tag_id, owner_id, image_id, score, suggest, apply))
"""
_HELD = "held.auto_tag_id = scored.auto_tag_id AND held.image_id = scored.image_id"
_LINKED = "link.image_id = scored.image_id AND link.tag_id = scored.tag_id"

# Applied, and no longer good enough for it. Where a person has taken the tag away, or set it, the
# row stays until that is settled: it is an answer.
_WITHDRAW = f"""
WITH {_SCORED}, withdrawn AS (
    UPDATE gallery_tagsuggestion held SET state = 'open', is_linked = false
    FROM scored WHERE {_HELD} AND held.state = 'applied' AND scored.score < scored.apply
      AND EXISTS (SELECT FROM gallery_image_tags link WHERE {_LINKED})
    RETURNING scored.image_id, scored.tag_id
)
DELETE FROM gallery_image_tags link USING withdrawn scored WHERE {_LINKED}
"""
_DROP = f"""
WITH {_SCORED}
DELETE FROM gallery_tagsuggestion held USING scored
WHERE {_HELD} AND held.state = 'open' AND scored.score < scored.suggest
  AND NOT EXISTS (SELECT FROM gallery_image_tags link WHERE {_LINKED})
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
INSERT INTO gallery_tagsuggestion (auto_tag_id, image_id, state, score, is_linked, is_untagged)
SELECT fitting.auto_tag_id, image_id, 'applied', fitting.score, true, false
FROM linked JOIN fitting USING (image_id, tag_id)
ON CONFLICT (auto_tag_id, image_id) DO UPDATE SET state = 'applied', is_linked = true
"""
_SUGGEST = f"""
WITH {_SCORED}
INSERT INTO gallery_tagsuggestion (auto_tag_id, image_id, state, score, is_linked, is_untagged)
SELECT scored.auto_tag_id, image.id, 'open', scored.score, false, false FROM scored
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
# The owner has set the tag, or taken it away: that is an answer, too. Of an image that was given
# to somebody else it is not theirs.
_UNSETTLED = """
SELECT own.auto_tag_id, own.image_id
FROM gallery_tagsuggestion own JOIN gallery_autotag auto_tag ON auto_tag.id = own.auto_tag_id
JOIN gallery_image image ON image.id = own.image_id AND image.owner_id = auto_tag.owner_id
WHERE own.auto_tag_id = ANY(%(auto_tags)s::bigint[]) AND EXISTS (
    SELECT FROM gallery_image_tags link
    WHERE link.image_id = own.image_id AND link.tag_id = auto_tag.tag_id
) = (own.state IN ('open', 'rejected'))
"""
_SETTLE = """
UPDATE gallery_tagsuggestion own SET state = %(state)s, is_linked = false, is_untagged = false,
    answered_at = now(), answered_by_id = NULL
FROM gallery_autotag auto_tag
WHERE auto_tag.id = own.auto_tag_id AND own.auto_tag_id = ANY(%(auto_tag)s::bigint[])
  AND own.image_id = ANY(%(image)s::bigint[])
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
FROM unnest(%(auto_tag)s::bigint[], %(image)s::bigint[]) AS s (auto_tag_id, image_id)
WHERE s.auto_tag_id = own.auto_tag_id AND s.image_id = own.image_id
"""


@dataclass(frozen=True)
class Scored:
    """Images, what they score for an auto tag as it was read, what that means, what is known."""

    auto_tag: AutoTag
    ids: Ids
    scores: Scores
    limits: Limits
    known: Known

    @property
    def unseen(self) -> Ids:
        """The images that have a score from before, and none now."""
        has_score = ~np.isnan(self.known.scores)
        return self.known.ids[has_score & ~np.isin(self.known.ids, self.ids)]


class Written(NamedTuple):
    changed: int  # suggestions
    superseded: frozenset[int]  # auto tags that were changed or deleted meanwhile


def write(several: Iterable[Scored]) -> Written:
    """Suggest, apply and withdraw by the scores of images. May be repeated.

    Of an auto tag that was changed meanwhile some may be written, by what it was before.
    """
    listed = list(several)
    columns = _to_write(listed)
    versions = {one.auto_tag.pk: one.auto_tag.version for one in listed}
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
    with connection.cursor() as cursor:
        cursor.execute(_UNSETTLED, {"auto_tags": list(auto_tags)})
        unsettled = cursor.fetchall()
    for auto_tag, image in _pieces(unsettled):
        with _held(auto_tag, image), connection.cursor() as cursor:
            for change in _SETTLED:
                cursor.execute(_SETTLE, {"auto_tag": auto_tag, "image": image, **change})


def forget_scores(several: Iterable[Scored]) -> None:
    """Let go of the scores of images that have no vector any more, or none in this space yet."""
    unseen = [(one.auto_tag.pk, id_) for one in several for id_ in one.unseen.tolist()]
    for auto_tag, image in _pieces(unseen):
        with _held(auto_tag, image), connection.cursor() as cursor:
            cursor.execute(_FORGET_SCORES, {"auto_tag": auto_tag, "image": image})


def hold(ids: Iterable[int]) -> list[int]:
    """Keep everybody else from what hangs on these images; return those that are still there.

    For a transaction. Auto tags are held before.
    """
    images = Image.objects.filter(pk__in=list(ids)).order_by("pk")
    return list(images.select_for_update(no_key=True).values_list("pk", flat=True))


@contextmanager
def _held(auto_tags: Iterable[int], images: Iterable[int]) -> Iterator[dict[int, int]]:
    """Hold auto tags and then images for a transaction; give the versions of the auto tags."""
    with transaction.atomic():
        tags = AutoTag.objects.filter(pk__in=set(auto_tags)).order_by("pk")
        versions = dict(tags.select_for_update(no_key=True).values_list("pk", "version"))
        hold(set(images))
        yield versions


def _pieces(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], list[int]]]:
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        yield [auto_tag for auto_tag, _ in some], [image for _, image in some]


def _write(columns: dict[str, NDArray[Any]], versions: dict[int, int]) -> Written:
    named = np.unique(columns["auto_tag"]).tolist()
    with _held(named, columns["image"].tolist()) as now, connection.cursor() as cursor:
        superseded = [pk for pk in named if now.get(pk) != versions[pk]]
        is_current = ~np.isin(columns["auto_tag"], superseded)
        changed = 0
        for statement, concerned in _steps(columns):
            if (chosen := concerned & is_current).any():
                cursor.execute(
                    statement, {name: columns[name][chosen].tolist() for name in _COLUMNS}
                )
                changed += cursor.rowcount if statement is not _SCORE else 0
    return Written(changed, frozenset(superseded))


def _steps(columns: dict[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield statements in their order with the rows that they are about.

    By what was known before anything was held: the statements look once more, and what somebody
    answered meanwhile brings the auto tag here again.
    """
    state, score = columns["state"], columns["score"]
    fits, is_sure = score >= columns["suggest"], score >= columns["apply"]
    is_withdrawn = (state == APPLIED) & ~is_sure
    yield _WITHDRAW, is_withdrawn
    yield _DROP, ((state == OPEN) | is_withdrawn) & ~fits
    yield _APPLY, (state <= OPEN) & is_sure
    yield _SUGGEST, (state == NEW) & fits & ~is_sure
    yield _SCORE, (state != NEW) & (score != columns["before"])


def _to_write(several: Sequence[Scored]) -> dict[str, NDArray[Any]]:
    """Return a row for each score that something follows from, by columns."""
    sizes = [len(one.ids) for one in several]
    tags = [one.auto_tag for one in several]
    limits = [one.limits for one in several]
    known = [one.known.of(one.ids) for one in several]
    columns: dict[str, NDArray[Any]] = {
        "auto_tag": np.repeat([tag.pk for tag in tags], sizes).astype(np.int64),
        "tag": np.repeat([tag.tag_id for tag in tags], sizes).astype(np.int64),
        "owner": np.repeat([tag.owner_id for tag in tags], sizes).astype(np.int64),
        "image": np.concatenate([np.empty(0, np.int64), *(one.ids for one in several)]),
        "score": np.concatenate([np.empty(0), *(one.scores.astype(float) for one in several)]),
        "suggest": np.repeat([limit.suggest for limit in limits], sizes).astype(float),
        "apply": np.repeat([limit.apply for limit in limits], sizes).astype(float),
        "state": np.concatenate([np.empty(0, np.int16), *(states for states, _ in known)]),
        "before": np.concatenate([np.empty(0), *(scores for _, scores in known)]),
    }
    concerned = np.any([rows for _, rows in _steps(columns)], axis=0)
    return {name: column[concerned] for name, column in columns.items()}
