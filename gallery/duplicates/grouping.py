"""Makes groups of pairs. Being alike is not passed on: a burst must not become one long chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from django.db import connection, transaction

from gallery.models import DuplicateGroup, DuplicateMember

# Of more images nobody sees at once what they have in common. The others are the next group, when
# this one is decided about.
MOST = 50

_LOCK = 0x6475706C  # "dupl": the class of our advisory locks, one an owner

_REACHED = """
WITH RECURSIVE reached (id) AS (
    SELECT unnest(%s::bigint[])
    UNION
    SELECT CASE WHEN pair.first_id = reached.id THEN pair.second_id ELSE pair.first_id END
    FROM reached JOIN gallery_duplicatepair pair
        ON pair.first_id = reached.id OR pair.second_id = reached.id
)
SELECT image.id FROM gallery_image image JOIN reached USING (id)
WHERE image.owner_id = %s ORDER BY image.id FOR KEY SHARE OF image
"""

# Pairs that no group tells of: a group went away with its lead, or somebody died before grouping.
_LOOSE = """
SELECT pair.first_id, one.owner_id FROM gallery_duplicatepair pair
JOIN gallery_image one ON one.id = pair.first_id
JOIN gallery_image other ON other.id = pair.second_id AND other.owner_id = one.owner_id
LEFT JOIN gallery_duplicatemember member ON member.image_id IN (pair.first_id, pair.second_id)
WHERE member.id IS NULL LIMIT 1000
"""


def stars(pairs: Iterable[tuple[int, int]], *, most: int = MOST) -> dict[int, tuple[int, ...]]:
    """Return groups of ids by their lead, the lead first.

    Every image of a group is a pair with the lead, which has more pairs than any other that is not
    in a group yet (of equals, the lowest id). No image is in two groups, and of every pair at
    least one image is in a group.
    """
    neighbours: dict[int, set[int]] = defaultdict(set)
    for one, other in pairs:
        neighbours[one].add(other)
        neighbours[other].add(one)
    groups: dict[int, tuple[int, ...]] = {}
    taken: set[int] = set()
    for lead in sorted(neighbours, key=lambda id_: (-len(neighbours[id_]), id_)):
        members = [] if lead in taken else sorted(neighbours[lead] - taken)[: most - 1]
        if members:
            groups[lead] = (lead, *members)
            taken.update(groups[lead])
    return groups


def lock(owner_id: int) -> None:
    """Let nobody else change the groups of this owner until the transaction ends.

    It comes before any lock on images, and that before any on groups.
    """
    with connection.cursor() as cursor:
        # The key has 32 bits; two owners that share one wait for each other, no more.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, %s::bigint::bit(32)::int)", [_LOCK, owner_id]
        )


@transaction.atomic
def regroup(owner_id: int, image_ids: Sequence[int]) -> None:
    """Make the groups anew of these images and of all that pairs connect them with.

    A group that stays as it was keeps its row: somebody may be looking at it.
    """
    lock(owner_id)
    with connection.cursor() as cursor:
        cursor.execute(_REACHED, [list(image_ids), owner_id])
        reached = [id_ for (id_,) in cursor.fetchall()]
        cursor.execute(
            "SELECT first_id, second_id FROM gallery_duplicatepair "
            "WHERE first_id = ANY(%s) AND second_id = ANY(%s)",
            [reached, reached],
        )
        wanted = stars(cursor.fetchall())
        cursor.execute(
            "SELECT group_id, array_agg(image_id) FROM gallery_duplicatemember WHERE group_id IN "
            "(SELECT group_id FROM gallery_duplicatemember WHERE image_id = ANY(%s)) "
            "GROUP BY group_id",
            [reached],
        )
        standing = {frozenset(members): group for group, members in cursor.fetchall()}
    news = {lead: members for lead, members in wanted.items() if frozenset(members) not in standing}
    kept = {standing[frozenset(members)] for members in wanted.values() if members[0] not in news}
    DuplicateGroup.objects.filter(pk__in=set(standing.values()) - kept).delete()
    _create(owner_id, news)


def group_loose() -> int:
    """Group the pairs that no group tells of, some at once; return how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOSE)
        loose = cursor.fetchall()
    by_owner: dict[int, list[int]] = defaultdict(list)
    for image_id, owner_id in loose:
        by_owner[owner_id].append(image_id)
    for owner_id, image_ids in by_owner.items():
        regroup(owner_id, image_ids)
    return len(loose)


def _create(owner_id: int, members_by_lead: dict[int, tuple[int, ...]]) -> None:
    groups = DuplicateGroup.objects.bulk_create(
        [DuplicateGroup(owner_id=owner_id, lead_id=lead) for lead in members_by_lead]
    )
    DuplicateMember.objects.bulk_create(
        [
            DuplicateMember(group=group, image_id=image_id)
            for group in groups
            for image_id in members_by_lead[group.lead_id]
        ],
        batch_size=5000,
    )
