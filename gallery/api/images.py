"""Images: add, list, read, change, delete."""

from __future__ import annotations

import uuid
from functools import partial

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, File, Form, Query, Router, Schema, Status, UploadedFile
from ninja.decorators import decorate_view
from ninja.errors import AuthorizationError
from pydantic import ConfigDict

from gallery import duplicates, removal
from gallery.api import paging
from gallery.api.auth import READERS, writer
from gallery.api.fields import AlbumName, Caption, Metadata, MetadataText, TagNames
from gallery.api.limits import at_most_files
from gallery.api.schemas import ImageList, ImageRecord, NoneStored, Problem, Refused, Stored
from gallery.api.searches import FilterFields, filter_of
from gallery.changes import change_record
from gallery.errors import ImageRefused
from gallery.ingest import NewImage
from gallery.models import Image, ImageQuerySet, OnDuplicates, Visibility
from gallery.query import filters
from gallery.videos.intake import add_sent_file

router = Router(tags=["images"])

READING = dict.fromkeys((400, 401, 404, 503), Problem)
WRITING = dict.fromkeys((400, 401, 403, 404, 503), Problem)


class NewRecord(Schema):
    """What is said about the files of one request; it goes into the record of each."""

    caption: Caption = ""
    tags: TagNames = Field([], description="Repeatable, or separated by commas.")
    album: AlbumName = ""
    metadata: MetadataText = Field(default_factory=dict)
    visibility: Visibility | None = Field(None, description="Default: DEFAULT_VISIBILITY.")
    duplicates: OnDuplicates = Field(
        OnDuplicates.NOTE,
        description="refuse: of pixels that you have already, store nothing; refuse-near: nor of "
        "what looks much like an image of yours.",
    )


class Changes(Schema):
    """What is not sent stays as it is; `album` null takes the image out of its album."""

    model_config = ConfigDict(extra="forbid")

    caption: Caption = ""
    tags: TagNames = []
    album: AlbumName | None = None
    visibility: Visibility = Visibility.PRIVATE
    metadata: Metadata = {}


class ListFields(FilterFields):
    k: int = Field(24, ge=1, le=200, description="How many.")
    after: str = Field("", description="`next` of the answer before.")


@router.post(
    "/images",
    response={
        201: list[Stored],
        207: list[Stored | Refused],
        413: Problem,
        422: NoneStored,
        **WRITING,
    },
)
@decorate_view(at_most_files())
def add_images(
    request: HttpRequest, file: File[list[UploadedFile]], record: Form[NewRecord]
) -> Status[list[Stored] | list[Stored | Refused] | NoneStored]:
    """Add one image or several.

    Each file is stored or refused by itself. 201: all are stored. 207: some were refused, and
    their entries say why. 422: none was stored.
    """
    results = [_add(request, one, record) for one in file]
    refused = [result for result in results if isinstance(result, Refused)]
    if not refused:
        return Status(201, results)
    if len(refused) < len(results):
        return Status(207, results)
    sentences = [f"{one.file_name}: {one.error}" for one in refused]
    detail = refused[0].error if len(refused) == 1 else " ".join(sentences)
    return Status(422, NoneStored(detail=detail, refused=refused))


def _add(request: HttpRequest, file: UploadedFile, record: NewRecord) -> Stored | Refused:
    new = NewImage(
        file=file,
        owner=writer(request),
        original_name=file.name or "",
        caption=record.caption,
        tags=tuple(record.tags),
        album=record.album,
        metadata=record.metadata,
        visibility=record.visibility or "",
    )
    try:
        check = partial(duplicates.check, wanted=record.duplicates)
        image, is_new = add_sent_file(new, note=check)
    except duplicates.LikeAnother as refusal:
        like = refusal.image.uuid
        return Refused(file_name=file.name or "", error=str(refusal), like=like)
    except ImageRefused as refusal:
        return Refused(file_name=file.name or "", error=str(refusal))
    alike = duplicates.like_image(image) if is_new else []
    return Stored.of(
        image,
        is_new=is_new,
        duplicates=[one.image.uuid for one in alike],
    )


@router.get("/images", auth=READERS, response={200: ImageList, **READING})
def list_images(request: HttpRequest, fields: Query[ListFields]) -> ImageList:
    """List images, newest first."""
    wanted = filter_of(request.GET, extra=("k", "after"))
    images = filters.apply(wanted, _visible(request), request.user)
    page, following = paging.page(images, k=fields.k, after=fields.after)
    return ImageList(images=[ImageRecord.of(image, request.user) for image in page], next=following)


@router.get("/images/{uuid:id}", auth=READERS, response={200: ImageRecord, **READING})
def get_image(request: HttpRequest, id: uuid.UUID) -> ImageRecord:
    """Tell all that is known about an image."""
    return ImageRecord.of(get_object_or_404(_visible(request), uuid=id), request.user)


@router.patch("/images/{uuid:id}", response={200: ImageRecord, **WRITING})
def change_image(request: HttpRequest, id: uuid.UUID, changes: Changes) -> ImageRecord:
    """Change what is said about an image; what is not sent stays as it is."""
    sent = changes.model_dump(exclude_unset=True)
    if "album" in sent:
        sent["album"] = sent["album"] or ""
    change_record(_own(request, id), **sent)
    return get_image(request, id)


@router.delete("/images/{uuid:id}", response={204: None, **WRITING})
def delete_image(request: HttpRequest, id: uuid.UUID) -> Status[None]:
    """Delete an image, its files and vectors."""
    image = _own(request, id)
    removal.delete_images(Image.objects.filter(pk=image.pk))
    return Status(204, None)


def _visible(request: HttpRequest) -> ImageQuerySet:
    images = Image.objects.visible_to(request.user).select_related("owner", "album")
    return images.prefetch_related("tags", "captions")


def _own(request: HttpRequest, id: uuid.UUID) -> Image:
    """Return an image that the user may change: his own; a superuser may change all."""
    image = get_object_or_404(_visible(request), uuid=id)
    if image.owner_id != request.user.pk and not request.user.is_superuser:
        raise AuthorizationError(message="Only its owner may change this image.")
    return image
