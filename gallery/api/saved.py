"""Saved searches: a query under a name, for its owner alone."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import Field

from gallery import saved_searches
from gallery.api.answers import SavedSearchRecord
from gallery.api.auth import writer
from gallery.api.schemas import Problem
from gallery.query import forms

router = Router(tags=["saved searches"])

REFUSALS = dict.fromkeys((400, 401, 404, 409), Problem)


class NewSavedSearch(Schema):
    name: str
    query: dict[str, Any] = Field(description="As `POST /search` takes it in JSON.")


@router.get("/saved-searches", response={200: list[SavedSearchRecord], **REFUSALS})
def list_saved_searches(request: HttpRequest) -> list[SavedSearchRecord]:
    """List your saved searches by name."""
    return [SavedSearchRecord.of(one) for one in writer(request).saved_searches.all()]


@router.post("/saved-searches", response={201: SavedSearchRecord, **REFUSALS})
def save_search(request: HttpRequest, new: NewSavedSearch) -> Status[SavedSearchRecord]:
    """Keep a query under a name."""
    search = saved_searches.save(writer(request), new.name, forms.from_json(new.query))
    return Status(201, SavedSearchRecord.of(search))


@router.delete("/saved-searches/{int:id}", response={204: None, **REFUSALS})
def delete_saved_search(request: HttpRequest, id: int) -> Status[None]:
    """Delete a saved search of yours."""
    get_object_or_404(writer(request).saved_searches, pk=id).delete()
    return Status(204, None)
