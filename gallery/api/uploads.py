"""Uploads in parts, by the tus protocol; and the sessions in which the upload page sends."""

from __future__ import annotations

import uuid
from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from ninja import Body, Field, Router, Schema, Status
from ninja.decorators import decorate_view

from gallery.api import tus
from gallery.api.auth import writer
from gallery.api.errors import answer
from gallery.api.fields import AlbumName, Caption, Metadata, TagNames
from gallery.api.limits import at_most_bytes
from gallery.api.schemas import Problem
from gallery.descriptions import Description
from gallery.models import FolderUse, Upload, UploadSession, UploadState, Visibility
from gallery.uploads import descriptions, finishing, receiving, sessions
from gallery.uploads.errors import UploadGone, UploadInvalid
from gallery.videos.limits import most_bytes_of_any

router = Router(tags=["uploads"])

MAX_KNOWN = 1000
_at_most_one = at_most_bytes(most_bytes_of_any)
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 429, 503), Problem)


class NewSession(Schema):
    """What is said of all files of a session."""

    caption: Caption = ""
    tags: TagNames = []
    album: AlbumName = ""
    metadata: Metadata = {}
    visibility: Visibility | None = Field(None, description="Default: DEFAULT_VISIBILITY.")
    folders: FolderUse = Field(FolderUse.NOTHING, description="What a file's folders become.")
    files: int = Field(0, ge=0, le=10**6, description="How many will be sent.")


class Announcement(Schema):
    files: int = Field(ge=0, le=10**6, description="How many further files will be sent.")


class SessionRecord(Schema):
    """Where the files of a session stand."""

    id: uuid.UUID
    url: str
    expected: int
    unsent: int
    arriving: int
    new: int
    held: int
    refused: int
    alike: int
    expired: int
    waiting: int
    ready: int
    failed: int

    @classmethod
    def of(cls, session: UploadSession) -> SessionRecord:
        counts = sessions.counts(session)
        names = cls.model_fields.keys() - {"id", "url"}
        return cls(
            id=session.uuid,
            url=session.get_absolute_url(),
            **{name: getattr(counts, name) for name in names},
        )


class UploadRecord(Schema):
    """One upload: `state` is arriving, new, held, refused or expired; `reason` says why.

    `like`: the image of yours that it shows, by the note in `reason`.
    """

    id: uuid.UUID
    state: UploadState
    reason: str
    path: str
    bytes: int
    received: int
    image: uuid.UUID | None
    image_url: str
    like: uuid.UUID | None
    like_url: str

    @classmethod
    def of(cls, upload: Upload) -> UploadRecord:
        return cls(
            id=upload.uuid,
            image=upload.image.uuid if upload.image else None,
            image_url=upload.image.get_absolute_url() if upload.image else "",
            like=upload.like.uuid if upload.like else None,
            like_url=upload.like.get_absolute_url() if upload.like else "",
            **{name: getattr(upload, name) for name in ("state", "reason", "path", "bytes")},
            received=upload.received,
        )


class LocalFile(Schema):
    """A file as its sender sees it."""

    path: str = Field(max_length=100_000)
    bytes: int = Field(ge=0, le=2**53)
    modified: str = Field(max_length=40, description="As `lastModified` of Upload-Metadata.")


class LocalFiles(Schema):
    files: list[LocalFile] = Field(max_length=MAX_KNOWN)
    session: uuid.UUID | None = Field(None, description="In which they are sent; default: in none.")


@router.post("/upload-sessions", response={201: SessionRecord, **REFUSALS})
def add_upload_session(request: HttpRequest, new: Body[NewSession]) -> Status[SessionRecord]:
    """Begin a session: files that are sent together, and what is said of them all."""
    about = Description(
        caption=new.caption,
        tags=tuple(new.tags),
        album=new.album,
        metadata=new.metadata,
        visibility=new.visibility or "",
    )
    session = sessions.start(writer(request), about, folders=new.folders, files=new.files)
    return Status(201, SessionRecord.of(session))


@router.get("/upload-sessions/{uuid:id}", response={200: SessionRecord, **REFUSALS})
def get_upload_session(request: HttpRequest, id: uuid.UUID) -> SessionRecord:
    """Tell where the files of a session stand."""
    return SessionRecord.of(sessions.find(writer(request), id))


@router.patch("/upload-sessions/{uuid:id}", response={200: SessionRecord, **REFUSALS})
def announce_uploads(
    request: HttpRequest, id: uuid.UUID, further: Body[Announcement]
) -> SessionRecord:
    """Say how many further files will be sent, so that the session knows which are missing."""
    session = sessions.find(writer(request), id)
    sessions.announce(session, further.files)
    return SessionRecord.of(session)


@router.post("/uploads/known", response={200: list[UploadRecord | None], **REFUSALS})
def known_uploads(request: HttpRequest, local: Body[LocalFiles]) -> list[UploadRecord | None]:
    """Tell which files of a session need not be sent, or not from their beginning.

    The answer has an entry for each file, in the same order: its upload, or null.
    """
    prints = [
        descriptions.fingerprint(
            descriptions.clean_path(file.path),
            file.bytes,
            descriptions.clean_time(file.modified),
        )
        for file in local.files
    ]
    owner = writer(request)
    session = sessions.find(owner, local.session) if local.session else None
    found = sessions.known(owner, prints, session)
    return [UploadRecord.of(found[one]) if one in found else None for one in prints]


@router.api_operation(["OPTIONS"], "/uploads", auth=None, response={204: None})
def describe_tus(request: HttpRequest) -> HttpResponse:
    """Say what of the tus protocol is spoken here."""
    return tus.options()


@router.post("/uploads", response={201: None, **REFUSALS})
@decorate_view(_at_most_one, tus.speaks_tus)
def begin_upload(request: HttpRequest) -> HttpResponse:
    """Begin to send a file, with its first part or without.

    Headers: Upload-Length, and Upload-Metadata with any of filename, relativePath, lastModified,
    session, caption, tags, album, visibility, duplicates.
    """
    owner = writer(request)
    if request.headers.get("Upload-Defer-Length"):
        raise UploadInvalid("Upload-Length must be known at the beginning.")
    header = request.headers.get("Upload-Metadata", "")
    pairs = descriptions.read_metadata(header)
    new = descriptions.of_metadata(pairs, tus.number(request, "Upload-Length"))
    if header.isascii() and header.isprintable():
        new = replace(new, metadata=header)
    length = tus.part_length(request)
    if length and not tus.has_part(request):
        return answer(415, f"A part must come as {tus.PART_TYPE}.")
    upload = receiving.begin(owner, new, _session(request, pairs))
    receiving.receive(upload, request, offset=0, length=length)
    response = _answer(upload, status=201)
    # Without host and scheme: a proxy may change both, and every client completes it.
    response["Location"] = f"{request.path}/{upload.uuid}"
    return response


@router.api_operation(["HEAD"], "/uploads/{uuid:id}", response={200: None, **REFUSALS})
@decorate_view(tus.speaks_tus)
def get_upload_offset(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Tell in Upload-Offset how many bytes are here."""
    upload = receiving.find(writer(request), id)
    response = tus.state_of(upload, status=200)
    if upload.metadata:
        response["Upload-Metadata"] = upload.metadata
    return response


@router.get("/uploads/{uuid:id}", response={200: UploadRecord, **REFUSALS})
def get_upload(request: HttpRequest, id: uuid.UUID) -> UploadRecord:
    """Tell what became of a file that was sent."""
    return UploadRecord.of(receiving.find(writer(request), id))


@router.patch("/uploads/{uuid:id}", response={204: None, **REFUSALS})
@decorate_view(_at_most_one, tus.speaks_tus)
def send_part(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Send the next part, from Upload-Offset on. The last one makes the image.

    422: all of it arrived, and it is not taken as an image.
    """
    upload = receiving.find(writer(request), id)
    if not tus.has_part(request):
        return answer(415, f"A part must come as {tus.PART_TYPE}.")
    offset, length = tus.number(request, "Upload-Offset"), tus.part_length(request)
    receiving.receive(upload, request, offset=offset, length=length)
    return _answer(upload, status=204)


@router.delete("/uploads/{uuid:id}", response={204: None, **REFUSALS})
@decorate_view(tus.speaks_tus)
def cancel_upload(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Forget an upload and what has arrived of it. An image that was made of it stays."""
    receiving.cancel(receiving.find(writer(request), id))
    return HttpResponse(status=204)


@router.post("/uploads/{uuid:id}", include_in_schema=False)
@decorate_view(_at_most_one, tus.speaks_tus)
def overridden(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """What tus allows where a PATCH or DELETE does not get through."""
    views = {"PATCH": send_part, "DELETE": cancel_upload, "HEAD": get_upload_offset}
    view = views.get(request.headers.get("X-HTTP-Method-Override", ""))
    if view is None:
        return answer(405, "This address does not take POST without X-HTTP-Method-Override.")
    return view(request, id)


def _answer(upload: Upload, *, status: int) -> HttpResponse:
    """Finish what is complete, and say what became of it."""
    if upload.is_complete:
        finishing.finish(upload)
    if upload.state == UploadState.EXPIRED:
        raise UploadGone(upload.reason)
    if upload.state != UploadState.REFUSED:
        return tus.state_of(upload, status=status)
    refusal = answer(422, upload.reason)
    refusal["Upload-Offset"] = str(upload.received)
    if upload.like is not None:
        refusal["Upload-Like"] = upload.like.get_absolute_url()
    return refusal


def _session(request: HttpRequest, pairs: dict[str, str]) -> UploadSession | None:
    if "session" not in pairs:
        return None
    try:
        id_ = uuid.UUID(pairs["session"])
    except ValueError as error:
        raise UploadInvalid("The session of Upload-Metadata is not an id.") from error
    return sessions.find(writer(request), id_)
