"""docs/api.md is held against the API itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from gallery.api import api
from gallery.api.answers import (
    ExplanationRecord,
    FacetCountRecord,
    FacetRecord,
    HitRecord,
    LegShareRecord,
    PlanRecord,
    SavedSearchRecord,
    SearchAnswer,
    TermShareRecord,
    TotalsRecord,
)
from gallery.api.schemas import ImageRecord, Stored
from gallery.api.spaces import CountRecord, SpaceRecord

DOCUMENT = (Path(settings.BASE_DIR) / "docs" / "api.md").read_text()
PATHS = api.get_openapi_schema()["paths"]
ADDRESSES = [
    f"{method.upper()} {path}" for path, operations in PATHS.items() for method in operations
]


def words_after(address):
    """The chapter of an address, up to the next one."""
    return DOCUMENT.partition(f"### `{address}`\n")[2].partition("\n### ")[0]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_has_its_chapter_with_an_example(address):
    assert "curl " in words_after(address)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_field_that_is_sent_is_explained(address):
    method, path = address.split()
    operation = PATHS[path][method.lower()]
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        names |= content["schema"].get("properties", {}).keys()
    for name in names - {"id"}:
        assert name in DOCUMENT


ANSWERS = (
    *(Stored, ImageRecord, HitRecord, PlanRecord, SearchAnswer, TotalsRecord, FacetRecord),
    *(FacetCountRecord, ExplanationRecord, TermShareRecord, LegShareRecord, SavedSearchRecord),
    *(SpaceRecord, CountRecord),
)


@pytest.mark.parametrize("schema", ANSWERS)
def test_every_field_that_is_answered_is_explained(schema):
    for name in schema.model_fields:
        assert name in DOCUMENT


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 422, 503])
def test_every_status_is_explained(status):
    assert f"| {status} |" in DOCUMENT


@pytest.mark.parametrize("address", ["GET /healthz", "GET /readyz"])
def test_the_health_addresses_are_explained(address):
    assert f"`{address}`" in DOCUMENT
