"""Pages of a run's items by key: the thousandth page costs what the first one does."""

from __future__ import annotations

from dataclasses import dataclass

from gallery.models import ImportItem, ImportRun

SHOWN = 100


@dataclass(frozen=True)
class Page:
    items: list[ImportItem]
    previous: int | None  # goes into `before` for the page before this one; None: there is none
    next: int | None  # goes into `after` for the following one


def page(
    run: ImportRun,
    *,
    state: str = "",
    after: int | None = None,
    before: int | None = None,
    k: int = SHOWN,
) -> Page:
    """Return k items of the run in the order of their listing, of one state or of all."""
    items = run.items.select_related("image").order_by("pk")
    if state:
        items = items.filter(state=state)
    if before is not None:
        found = list(items.filter(pk__lt=before).order_by("-pk")[: k + 1])
        shown = found[:k][::-1]
        if not shown:
            return Page([], None, None)
        return Page(shown, shown[0].pk if len(found) > k else None, shown[-1].pk)
    found = list(items.filter(pk__gt=after)[: k + 1] if after else items[: k + 1])
    shown = found[:k]
    has_previous = bool(after and shown)
    return Page(
        shown,
        shown[0].pk if has_previous else None,
        shown[-1].pk if len(found) > k else None,
    )
