"""Spaces, to look at: how far a second encoder is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.errors import HttpError

from gallery.api.auth import writer
from gallery.api.schemas import Problem
from gallery.switching import records

router = Router(tags=["spaces"])


class CountRecord(Schema):
    """How many of a kind have their vector."""

    total: int
    embedded: int
    left: int
    failed: int
    per_second: float


class SpaceRecord(Schema):
    """An encoder at one revision, how far its space is filled, and what it costs."""

    number: int
    encoder: str
    revision: str
    dimensions: int
    state: str
    notice: str
    counts: dict[str, CountRecord]
    lacks: dict[str, int]
    seconds_left: int | None
    vector_bytes: int
    index_bytes: int
    filled_in_seconds: int | None
    filled_at: datetime | None
    active_until: datetime | None
    created_at: datetime


@router.get("/spaces", response={200: list[SpaceRecord], 401: Problem, 403: Problem})
def list_spaces(request: HttpRequest) -> list[dict[str, Any]]:
    """Tell which encoders the gallery has, and how far each is; for superusers."""
    if not writer(request).is_superuser:
        raise HttpError(403, "Only a superuser may see the spaces.")
    return [records.of_space(space) for space in records.all_spaces()]
