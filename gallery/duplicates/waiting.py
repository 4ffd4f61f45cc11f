"""The queue of record of comparisons: every new image waits here until it was compared."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, QuerySet
from django.utils import timezone

from gallery.duplicates import finding
from gallery.models import DuplicateCheck

log = logging.getLogger(__name__)

AT_ONCE = 200
LEASE_SECONDS = 300
# A file that kills its decoder is looked at by its numbers alone from then on.
ATTEMPTS_WITH_DECODING = 2
MAX_ATTEMPTS = 5

# An image waits for its vector first: without one it is near to nothing. A lease from further ahead
# than leases go was given before the clock was set back.
_CLAIM = """
UPDATE gallery_duplicatecheck SET attempts = attempts + 1,
    lease_until = now() + make_interval(secs => %(lease)s)
FROM gallery_image image
WHERE image.id = gallery_duplicatecheck.image_id AND gallery_duplicatecheck.id IN (
    SELECT waiting.id FROM gallery_duplicatecheck waiting
    JOIN gallery_image ON gallery_image.id = waiting.image_id AND gallery_image.state <> 'waiting'
    WHERE waiting.lease_until IS NULL OR waiting.lease_until < now()
        OR waiting.lease_until > now() + make_interval(secs => 2 * %(lease)s)
    ORDER BY waiting.id LIMIT %(n)s FOR UPDATE OF waiting SKIP LOCKED)
RETURNING image.owner_id, image.id, attempts, lease_until
"""


@dataclass
class _Claim:
    """Images of one owner that this process compares now."""

    owner_id: int
    image_ids: list[int]
    may_decode: bool
    lease_until: datetime

    def held(self) -> QuerySet[DuplicateCheck]:
        """Return what is still ours. Of the others a verdict was forgotten, or we took too long."""
        return DuplicateCheck.objects.filter(image__in=self.image_ids, lease_until=self.lease_until)

    def extend(self) -> None:
        """Let nobody else take the images for as long again."""
        until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
        self.held().update(lease_until=until)
        self.lease_until = until


def compare_waiting(*, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Compare the images that wait and group them; return how many were compared."""
    compared = 0
    while goes_on() and (claims := _claim()):
        for claim in claims:
            if goes_on():
                compared += _compare(claim, goes_on)
            else:
                claim.held().update(lease_until=None, attempts=F("attempts") - 1)
    return compared


def _compare(claim: _Claim, goes_on: Callable[[], bool]) -> int:
    def may_decode() -> bool:
        if not claim.may_decode or not goes_on():
            return False
        claim.extend()
        return True

    proofs = finding.Proofs(may_decode)
    finding.compare(claim.owner_id, claim.image_ids, proofs=proofs)
    if proofs.is_storage_away:
        # The lease is the wait until the next look. Nothing was wrong with the images: no try is
        # lost, however long the outage.
        claim.held().update(attempts=F("attempts") - 1)
        return 0
    if proofs.is_cut_short and claim.may_decode:
        # The try stays counted: a crowd that cannot be decoded in the time comes to an end.
        claim.held().update(lease_until=None)
        return 0
    return claim.held().delete()[0]


def is_due() -> bool:
    """Whether an image waits that could be compared now."""
    waiting = DuplicateCheck.objects.exclude(image__state="waiting")
    return waiting.filter(lease_until=None).exists()


def _claim() -> list[_Claim]:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"lease": LEASE_SECONDS, "n": AT_ONCE})
        rows = cursor.fetchall()
    claimed: dict[tuple[int, bool, datetime], list[int]] = defaultdict(list)
    given_up = []
    for owner_id, image_id, attempts, until in rows:
        if attempts > MAX_ATTEMPTS:
            given_up.append(image_id)
        else:
            claimed[owner_id, attempts <= ATTEMPTS_WITH_DECODING, until].append(image_id)
    if given_up:
        log.warning("%d images could not be compared; find_duplicates tries again.", len(given_up))
        DuplicateCheck.objects.filter(image__in=given_up).delete()
    return [
        _Claim(owner_id, image_ids, may_decode, until)
        for (owner_id, may_decode, until), image_ids in claimed.items()
    ]
