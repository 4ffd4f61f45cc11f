"""Imports: start one, see how far it is, steer it."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest
from ninja import Field, File, Form, Query, Router, Schema, Status, UploadedFile
from ninja.decorators import decorate_view
from ninja.errors import HttpError

from gallery.api.auth import writer
from gallery.api.fields import AlbumName, TagNames
from gallery.api.limits import at_most_bytes
from gallery.api.schemas import Problem
from gallery.descriptions import Description
from gallery.imports import ledger, paging, records, starting
from gallery.models import ImportRun, ItemState, RunState, Visibility

router = Router(tags=["imports"])

REFUSALS = dict.fromkeys((400, 401, 403, 404, 409, 413, 429, 503), Problem)


class NewImport(Schema):
    """What is said of all images of the import."""

    tags: TagNames = Field([], description="Repeatable, or separated by commas.")
    album: AlbumName = ""
    visibility: Visibility | None = Field(None, description="Default: DEFAULT_VISIBILITY.")
    dry_run: bool = Field(default=False, description="Open and check all, store nothing.")

    @property
    def defaults(self) -> Description:
        return Description(
            tags=tuple(self.tags), album=self.album, visibility=self.visibility or ""
        )


class NewImportOfUrls(NewImport):
    urls: list[str] = Field(description="Addresses of images, at most 100,000.", min_length=1)


class ImportRecord(Schema):
    """An import and how far it is; `counts` says how many items are in which state.

    `notice` says why nobody works on it, where that is so.
    """

    id: uuid.UUID
    number: int
    source: str
    title: str
    owner: str
    state: RunState
    failure: str
    notice: str
    is_dry_run: bool
    is_listed: bool
    counts: dict[str, int]
    total: int
    per_second: float
    seconds_left: float | None
    worked_seconds: float
    created_at: datetime
    finished_at: datetime | None
    url: str

    @classmethod
    def of(cls, run: ImportRun) -> ImportRecord:
        return cls(**records.of_run(run))


class ImportList(Schema):
    """Some imports, newest first; `next` goes into `before` for the following ones."""

    imports: list[ImportRecord]
    next: int | None


class ItemRecord(Schema):
    key: str
    name: str
    state: ItemState
    reason: str
    url: str
    image: uuid.UUID | None


class ItemList(Schema):
    """Some items in the order of their listing; `next` goes into `after` for the following ones."""

    items: list[ItemRecord]
    next: int | None


class ImportPage(Schema):
    k: int = Field(24, ge=1, le=200, description="How many.")
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="`next` of the answer before.")


class ItemPage(Schema):
    k: int = Field(100, ge=1, le=1000, description="How many.")
    after: int | None = Field(None, ge=1, le=2**63 - 1, description="`next` of the answer before.")
    state: ItemState | None = Field(None, description="Only items of this state.")


@router.post("/imports", response={201: ImportRecord, **REFUSALS})
def start_import(request: HttpRequest, new: NewImportOfUrls) -> Status[ImportRecord]:
    """Import images from URLs; the server fetches them."""
    run = starting.from_urls(
        new.urls, writer(request), defaults=new.defaults, is_dry_run=new.dry_run
    )
    return Status(201, ImportRecord.of(run))


@router.post("/imports/file", response={201: ImportRecord, **REFUSALS})
@decorate_view(at_most_bytes(lambda: int(settings.IMPORT_UPLOAD_BYTES)))
def start_import_of_file(
    request: HttpRequest, file: File[UploadedFile], new: Form[NewImport]
) -> Status[ImportRecord]:
    """Import an archive of images, a table with their URLs, or a list of URLs."""
    run = starting.from_file(
        file,
        file.name or "",
        writer(request),
        defaults=new.defaults,
        is_dry_run=new.dry_run,
    )
    return Status(201, ImportRecord.of(run))


@router.get("/imports", response={200: ImportList, **REFUSALS})
def list_imports(request: HttpRequest, page: Query[ImportPage]) -> ImportList:
    """List your imports, newest first; a superuser sees everybody's."""
    runs = ledger.visible_to(writer(request))
    found = list((runs.filter(pk__lt=page.before) if page.before else runs)[: page.k + 1])
    return ImportList(
        imports=[ImportRecord.of(run) for run in found[: page.k]],
        next=found[page.k - 1].pk if len(found) > page.k else None,
    )


@router.get("/imports/{uuid:id}", response={200: ImportRecord, **REFUSALS})
def get_import(request: HttpRequest, id: uuid.UUID) -> ImportRecord:
    """Tell how far an import is."""
    return ImportRecord.of(_own(request, id))


@router.get("/imports/{uuid:id}/items", response={200: ItemList, **REFUSALS})
def list_import_items(request: HttpRequest, id: uuid.UUID, page: Query[ItemPage]) -> ItemList:
    """List what an import has found, and what became of it."""
    found = paging.page(_own(request, id), state=page.state or "", after=page.after, k=page.k)
    return ItemList(
        items=[ItemRecord(**records.of_item(item)) for item in found.items], next=found.next
    )


@router.post("/imports/{uuid:id}/pause", response={200: ImportRecord, **REFUSALS})
def pause_import(request: HttpRequest, id: uuid.UUID) -> ImportRecord:
    """Let an import stop after the items in progress."""
    run = _own(request, id)
    ledger.pause(run)
    return ImportRecord.of(run)


@router.post("/imports/{uuid:id}/resume", response={200: ImportRecord, **REFUSALS})
def resume_import(request: HttpRequest, id: uuid.UUID) -> ImportRecord:
    """Let a paused or stopped import go on."""
    run = _own(request, id)
    ledger.resume(run, is_unattended=True)
    return ImportRecord.of(run)


@router.post("/imports/{uuid:id}/retry", response={200: ImportRecord, **REFUSALS})
def retry_import(request: HttpRequest, id: uuid.UUID) -> ImportRecord:
    """Try again what has failed, and nothing else."""
    run = _own(request, id)
    ledger.retry_failed(run, is_unattended=True)
    return ImportRecord.of(run)


@router.post("/imports/{uuid:id}/undo", response={200: ImportRecord, **REFUSALS})
def undo_import(request: HttpRequest, id: uuid.UUID) -> ImportRecord:
    """Remove all images that an import has brought, and nothing else."""
    run = _own(request, id)
    ledger.undo(run)
    return ImportRecord.of(run)


def _own(request: HttpRequest, id: uuid.UUID) -> ImportRun:
    run = ledger.visible_to(writer(request)).filter(uuid=id).first()
    if run is None:
        raise HttpError(404, "There is no such import here, or it is not yours")
    return run
