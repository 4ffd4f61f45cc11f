"""What a source lists, in the forms that tests ask for."""

from __future__ import annotations

from gallery import texts
from gallery.importers import Item, Skipped, Source
from gallery.imports.listing import row_of


def items(source: Source) -> list[Item]:
    """Return the items; a row that was left out fails the test with its reason."""
    listed = list(source.items())
    assert [one.reason for one in listed if isinstance(one, Skipped)] == []
    return [one for one in listed if isinstance(one, Item)]


def only(source: Source) -> Item:
    (item,) = items(source)
    return item


def keys(source: Source) -> list[str]:
    return [item.key for item in items(source)]


def reasons(source: Source) -> dict[str, str]:
    """Return why each row that was left out was left out, by its key."""
    return {one.key: one.reason for one in source.items() if isinstance(one, Skipped)}


def fits(one: Item | Skipped) -> None:
    """Fail where the ledger or an image's record would not take what was listed."""
    row = row_of(one)
    assert row.state != "failed", row.reason
    if isinstance(one, Skipped):
        assert row.key
        assert row.reason.endswith(".")
        return
    about = one.about
    texts.metadata(about.metadata)
    assert texts.tags(about.tags) == tuple(sorted(about.tags))
    texts.http_url(about.source_url, longest=2000)
    for text in (about.caption, *(text for _, text in about.captions)):
        texts.text(text, name="caption", longest=10_000)
