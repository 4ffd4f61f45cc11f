"""What was decided about two files of an owner: remembered by their sha256, not by their rows."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet

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


def pass_on(owner_id: int, gone: Iterable[str], kept: str, *, by: int | None) -> None:
    """Let what files had replaced be replaced by `kept`, which has taken their own place."""
    rows = DuplicateVerdict.objects.filter(
        owner_id=owner_id, verdict=Verdict.REPLACED, kept_sha256__in=set(gone)
    )
    before = [
        first if first != kept_before else second
        for first, second, kept_before in rows.values_list(
            "first_sha256", "second_sha256", "kept_sha256"
        )
    ]
    remember(owner_id, [(one, kept) for one in before], Verdict.REPLACED, kept=kept, by=by)


def _about(owner_id: int, sha256: str) -> QuerySet[DuplicateVerdict]:
    return DuplicateVerdict.objects.filter(
        Q(first_sha256=sha256) | Q(second_sha256=sha256), owner_id=owner_id
    )
