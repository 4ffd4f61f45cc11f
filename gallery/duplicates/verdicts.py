"""What was decided about two files of an owner: remembered by their sha256, not by their rows."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q, QuerySet

from gallery.models import DuplicateVerdict, Image, Verdict


def remember(
    owner_id: int,
    pairs: Iterable[tuple[str, str]],
    verdict: Verdict,
    *,
    kept: str = "",
    by: int | None,
) -> None:
    """Write down one verdict about pairs of sha256; what was said of them before is replaced."""
    in_order = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    DuplicateVerdict.objects.bulk_create(
        [
            DuplicateVerdict(
                owner_id=owner_id,
                first_sha256=first,
                second_sha256=second,
                verdict=verdict,
                kept_sha256=kept,
                decided_by_id=by,
            )
            for first, second in in_order
        ],
        update_conflicts=True,
        unique_fields=["owner", "first_sha256", "second_sha256"],
        update_fields=["verdict", "kept_sha256", "decided_by", "decided_at"],
    )


def told_apart(owner_id: int, sha256: str) -> set[str]:
    """Return the sha256 of the files of which somebody said that this one is no duplicate."""
    rows = _about(owner_id, sha256).filter(verdict=Verdict.DIFFERENT)
    pairs = rows.values_list("first_sha256", "second_sha256")
    return {other for pair in pairs for other in pair if other != sha256}


def replacement_of(owner_id: int, sha256: str) -> Image | None:
    """Return the image that took the place of a file of its owner's; None where there is none."""
    rows = _about(owner_id, sha256).filter(verdict=Verdict.REPLACED).exclude(kept_sha256=sha256)
    kept = list(rows.values_list("kept_sha256", flat=True))
    return Image.objects.filter(owner_id=owner_id, sha256__in=kept).first() if kept else None


def took_a_place() -> Q:
    """Return the condition on images that they took the place of a file of their owner's."""
    rows = DuplicateVerdict.objects.filter(
        owner=OuterRef("owner"), kept_sha256=OuterRef("sha256"), verdict=Verdict.REPLACED
    )
    return Q(Exists(rows))


def pass_on(owner_id: int, gone: Iterable[str], kept: str, *, by: int | None) -> None:
    """Let what files had replaced be replaced by `kept`, which has taken their own place."""
    rows = _kept_before(owner_id, Verdict.REPLACED, gone)
    pairs = [(one.left_sha256, kept) for one in rows]
    remember(owner_id, pairs, Verdict.REPLACED, kept=kept, by=by)


def pass_on_links(owner_id: int, gone: Iterable[str], kept: str, *, by: int | None) -> None:
    """Let what was linked to files be linked to `kept`, whose versions they are now.

    The links that there were are forgotten: each version has one, which can be taken back.
    """
    rows = list(_kept_before(owner_id, Verdict.LINKED, gone))
    DuplicateVerdict.objects.filter(pk__in=[one.pk for one in rows]).delete()
    pairs = [(one.left_sha256, kept) for one in rows]
    remember(owner_id, pairs, Verdict.LINKED, kept=kept, by=by)


def _kept_before(
    owner_id: int, verdict: Verdict, kept: Iterable[str]
) -> QuerySet[DuplicateVerdict]:
    return DuplicateVerdict.objects.filter(
        owner_id=owner_id, verdict=verdict, kept_sha256__in=set(kept)
    )


def _about(owner_id: int, sha256: str) -> QuerySet[DuplicateVerdict]:
    return DuplicateVerdict.objects.filter(
        Q(first_sha256=sha256) | Q(second_sha256=sha256), owner_id=owner_id
    )
