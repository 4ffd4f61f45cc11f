"""Duplicates: what a file is like before it is sent, and groups to decide about."""

from __future__ import annotations

import hashlib
import uuid
from enum import StrEnum
from typing import Annotated

from django.http import HttpRequest
from ninja import Field, File, Form, Query, Router, Schema, UploadedFile
from ninja.decorators import decorate_view
from pydantic import StringConstraints

from gallery.api.auth import writer
from gallery.api.limits import at_most_one_image
from gallery.api.schemas import ImageRecord, Problem
from gallery.decoding import decoders
from gallery.digests import Digests
from gallery.duplicates import Likeness, decisions, like, review
from gallery.duplicates.decisions import Choice
from gallery.errors import QueryInvalid
from gallery.models import DuplicateKind, Image

router = Router(tags=["duplicates"])

MOST_AT_ONCE = 1000
REFUSALS = dict.fromkeys((400, 401), Problem)

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Held(Schema):
    """Whether you have a file already, by its bytes."""

    sha256: str
    id: uuid.UUID | None


class LikenessRecord(Schema):
    """An image of yours that a file is like; in `bits` of 64 their perceptual hashes differ."""

    id: uuid.UUID
    kind: DuplicateKind
    bits: int
    url: str

    @classmethod
    def of(cls, found: Likeness) -> LikenessRecord:
        return cls(
            id=found.image.uuid,
            kind=found.kind,
            bits=found.bits,
            url=found.image.get_absolute_url(),
        )


class Asked(Schema):
    sha256: list[Sha256] = Field([], max_length=MOST_AT_ONCE, description="Of files, repeatable.")


class CheckAnswer(Schema):
    held: list[Held]
    duplicates: list[LikenessRecord]


class GroupRecord(Schema):
    """Images that show the same, the one most worth keeping first."""

    id: int
    kind: DuplicateKind
    images: list[ImageRecord]


class GroupList(Schema):
    groups: list[GroupRecord]
    total: int
    next: int | None


class Decision(StrEnum):
    KEEP = "keep"
    LINK = "link"
    REPLACE = "replace"
    APART = "apart"


class DecisionFields(Schema):
    decision: Decision
    main: uuid.UUID = Field(description="The image to keep.")
    others: list[uuid.UUID] = Field(description="The images that are meant beside it.")
    seen: list[uuid.UUID] = Field(description="Every image of the group, as it was listed.")


class Decided(Schema):
    """How many images beside the main one were decided about."""

    count: int


DECISIONS = {
    Decision.KEEP: decisions.keep,
    Decision.LINK: decisions.link,
    Decision.REPLACE: decisions.replace,
    Decision.APART: decisions.tell_apart,
}


@router.post(
    "/duplicates/check", response={200: CheckAnswer, 413: Problem, 422: Problem, **REFUSALS}
)
@decorate_view(at_most_one_image())
def check_duplicates(
    request: HttpRequest, asked: Form[Asked], file: File[UploadedFile | None] = None
) -> CheckAnswer:
    """Tell which files you have already, by their sha256; and what one file is like.

    Nothing is stored, and nobody else's image is looked at.
    """
    owner = writer(request)
    found = Image.objects.filter(owner=owner, sha256__in=asked.sha256)
    uuid_by_sha = dict(found.values_list("sha256", "uuid"))
    return CheckAnswer(
        held=[Held(sha256=sha, id=uuid_by_sha.get(sha)) for sha in asked.sha256],
        duplicates=[LikenessRecord.of(one) for one in like(_digests(file), owner)] if file else [],
    )


@router.get("/duplicates", response={200: GroupList, **REFUSALS})
def list_duplicates(
    request: HttpRequest,
    k: Annotated[int, Query(ge=1, le=50)] = 10,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> GroupList:
    """List groups of images that show the same, the latest first."""
    groups = review.groups_of(writer(request))
    total = groups.count()
    if after:
        groups = groups.filter(pk__lt=after)
    listed = list(groups[: k + 1])
    return GroupList(
        groups=[
            GroupRecord(
                id=one.group.pk,
                kind=one.kind,
                images=[ImageRecord.of(each.image, writer(request)) for each in one.images],
            )
            for one in review.read(listed[:k])
        ],
        total=total,
        next=listed[k - 1].pk if len(listed) > k else None,
    )


@router.post(
    "/duplicates/{int:id}", response={200: Decided, 409: Problem, 503: Problem, **REFUSALS}
)
def decide_duplicates(request: HttpRequest, id: int, fields: DecisionFields) -> Decided:
    """Decide about a group. 409: it is no longer as you saw it, and nothing was done.

    503: the storage does not say whether the file to keep is there, and nothing was done.
    """
    if len(fields.seen) > 1000:
        raise QueryInvalid("No group has so many images.")
    choice = Choice(
        group_id=id,
        seen=frozenset(fields.seen),
        main=fields.main,
        others=frozenset(fields.others) - {fields.main},
    )
    return Decided(count=DECISIONS[fields.decision](choice, writer(request)))


def _digests(file: UploadedFile) -> Digests:
    """Return the digests of a file that was sent. Raise ImageRefused for what is no image."""
    studied = decoders.study(file)
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Digests(sha256, studied.pixel_sha256 or sha256, studied.perceptual_hash)
