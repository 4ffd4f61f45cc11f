"""What a source lists, in the forms that tests ask for."""

from __future__ import annotations

from gallery.importers import Item, Skipped, Source


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
