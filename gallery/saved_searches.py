"""Saved searches: a query under a name, seen by its owner alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from gallery import texts
from gallery.errors import ImageRefused, NameTaken, QueryInvalid
from gallery.models import SavedSearch
from gallery.query import PixelsTerm, Query, forms

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAX_NAME = 100
MAX_SAVED = 1000  # a person's
NO_IMAGE = (
    "A search by an uploaded image cannot be saved, because the image is not kept. "
    "Upload it to the gallery and search by “Similar” instead."
)


def save(owner: User, name: str, query: Query) -> SavedSearch:
    """Keep a query under a name. Raise QueryInvalid for one that cannot be kept, and NameTaken."""
    if any(isinstance(term, PixelsTerm) for term in query.terms):
        raise QueryInvalid(NO_IMAGE)
    if owner.saved_searches.count() >= MAX_SAVED:
        raise QueryInvalid(f"You have {MAX_SAVED} saved searches; delete one first.")
    return _store(SavedSearch(owner=owner, name=_checked_name(name), query=forms.to_json(query)))


def rename(search: SavedSearch, name: str) -> SavedSearch:
    """Give a saved search another name. Raise QueryInvalid for none, and NameTaken."""
    search.name = _checked_name(name)
    return _store(search)


def query_of(search: SavedSearch) -> Query:
    """Return the query that was saved. Raise QueryInvalid when it can no longer be read."""
    try:
        return forms.from_json(search.query)
    except QueryInvalid as error:
        raise QueryInvalid(f"“{search.name}” can no longer be read: {error}") from error


def find(owner: User, name: str) -> SavedSearch:
    """Return the owner's saved search of that name. Raise QueryInvalid when there is none."""
    try:
        return owner.saved_searches.get(name=texts.printable(name))  # as it was stored
    except SavedSearch.DoesNotExist as error:
        raise QueryInvalid(f"You have no saved search called “{name[:MAX_NAME]}”.") from error


def _checked_name(written: str) -> str:
    try:
        name = texts.line(written, name="name", longest=MAX_NAME)
    except ImageRefused as error:
        raise QueryInvalid(str(error)) from error
    if not name:
        raise QueryInvalid("A saved search needs a name.")
    return name


def _store(search: SavedSearch) -> SavedSearch:
    try:
        with transaction.atomic():
            search.save()
    except IntegrityError as error:
        raise NameTaken(
            f"You already have a saved search called “{search.name}”. Choose another name."
        ) from error
    return search
