"""The queue of record of comparisons: every new image waits here until it was compared."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.db import connection
from django.db.models import F
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
RETURNING image.owner_id, image.id, attempts
"""


def compare_waiting(*, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Compare the images that wait and group them; return how many were compared."""
    compared = 0
    while goes_on() and (claimed := _claim()):
        for (owner_id, may_decode), image_ids in claimed.items():
            checks = DuplicateCheck.objects.filter(image__in=image_ids)
            if not goes_on():
                checks.update(lease_until=None, attempts=F("attempts") - 1)
                continue
            proofs = finding.Proofs(partial(_may_decode, image_ids, goes_on, is_wanted=may_decode))
            finding.compare(owner_id, image_ids, proofs=proofs)
            if proofs.is_cut_short and may_decode:
                # The try stays counted: a crowd that cannot be decoded in the time comes to an end.
                checks.update(lease_until=None)
            else:
                checks.delete()
                compared += len(image_ids)
    return compared


def _may_decode(image_ids: list[int], goes_on: Callable[[], bool], *, is_wanted: bool) -> bool:
    """Whether one more file may be decoded; if so, nobody else takes the images meanwhile."""
    if not is_wanted or not goes_on():
        return False
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    DuplicateCheck.objects.filter(image__in=image_ids).update(lease_until=until)
    return True


def is_due() -> bool:
    """Whether an image waits that could be compared now."""
    waiting = DuplicateCheck.objects.exclude(image__state="waiting")
    return waiting.filter(lease_until=None).exists()


def _claim() -> dict[tuple[int, bool], list[int]]:
    """Return images by their owner, and whether they may be decoded."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"lease": LEASE_SECONDS, "n": AT_ONCE})
        rows = cursor.fetchall()
    claimed: dict[tuple[int, bool], list[int]] = defaultdict(list)
    given_up = []
    for owner_id, image_id, attempts in rows:
        if attempts > MAX_ATTEMPTS:
            given_up.append(image_id)
        else:
            claimed[owner_id, attempts <= ATTEMPTS_WITH_DECODING].append(image_id)
    if given_up:
        log.warning("%d images could not be compared; find_duplicates tries again.", len(given_up))
        DuplicateCheck.objects.filter(image__in=given_up).delete()
    return claimed
