"""Auto tags: their prompts, what they suggest, and what is said of it. Each user's own."""

from __future__ import annotations

import uuid
from typing import Annotated

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from gallery.api.auth import writer
from gallery.api.schemas import ImageRecord, Problem
from gallery.auto_tags import answers, changes, review, wording
from gallery.auto_tags.answers import Answer
from gallery.auto_tags.changes import Setting
from gallery.auto_tags.review import ReviewOrder, Told
from gallery.models import AutoTag, Image, SuggestionState, TagMode

router = Router(tags=["auto tags"])

REFUSALS = dict.fromkeys((400, 401, 404), Problem)

Prompts = Annotated[list[str], Field(max_length=1000)]


class PrecisionRecord(Schema):
    """The share of yes among the answers about what lies above the limit, with a 95 % interval."""

    value: float
    low: float
    high: float
    answers: int


class AutoTagRecord(Schema):
    """An auto tag: what it looks for, how many images it has in each state, how good it is.

    `suggest_at` and `apply_at` are the least scores that are suggested and applied.
    """

    id: int
    tag: str
    prompts: list[str]
    templates: list[str]
    mode: TagMode
    wanted_precision: float
    open: int
    applied: int
    accepted: int
    rejected: int
    precision: PrecisionRecord | None
    is_compared: bool
    is_fitted: bool
    suggest_at: float | None
    apply_at: float | None
    note: str

    @classmethod
    def of(cls, told: Told) -> AutoTagRecord:
        auto_tag, stored = told.auto_tag, told.calibration
        precision = None
        if told.precision is not None:
            one = told.precision
            precision = PrecisionRecord(
                value=one.value, low=one.low, high=one.high, answers=one.answers
            )
        return cls(
            id=auto_tag.pk,
            tag=auto_tag.tag.name,
            mode=TagMode(auto_tag.mode),
            precision=precision,
            is_compared=stored is not None and stored.version == auto_tag.version,
            is_fitted=stored is not None and stored.is_fitted,
            suggest_at=stored.suggest_at if stored else None,
            apply_at=stored.apply_at if stored else None,
            note=told.note,
            open=told.open,
            applied=told.applied,
            accepted=told.accepted,
            rejected=told.rejected,
            **{name: getattr(auto_tag, name) for name in _SAID},
        )


_SAID = ("prompts", "templates", "wanted_precision")


class NewAutoTag(Schema):
    tag: str
    prompts: Prompts = Field([], description="Without any, the tag's name is the prompt.")
    templates: Prompts = Field([], description="Sentences with {}; without any, the usual ones.")
    mode: TagMode = TagMode.SUGGEST
    wanted_precision: float = 0.9


class AutoTagChanges(Schema):
    """What is left out stays as it is."""

    prompts: Prompts | None = None
    templates: Prompts | None = None
    mode: TagMode | None = None
    wanted_precision: float | None = None


class Deletion(Schema):
    """`leave_tags`: leave the tag where it was applied and nobody has answered."""

    leave_tags: bool = False


class SuggestionRecord(Schema):
    """An image of an auto tag. `score` is none until it was compared."""

    state: SuggestionState
    score: float | None
    image: ImageRecord


class SuggestionList(Schema):
    suggestions: list[SuggestionRecord]
    total: int


class AnswerFields(Schema):
    """Images, by what is said of them; `undo` takes a yes or a no back."""

    accept: list[uuid.UUID] = Field([], max_length=answers.MOST_AT_ONCE)
    reject: list[uuid.UUID] = Field([], max_length=answers.MOST_AT_ONCE)
    undo: list[uuid.UUID] = Field([], max_length=answers.MOST_AT_ONCE)


class Answered(Schema):
    """For how many images something has changed."""

    count: int


@router.get("/auto-tags", response={200: list[AutoTagRecord], **REFUSALS})
def list_auto_tags(request: HttpRequest) -> list[AutoTagRecord]:
    """List your auto tags by name."""
    own = writer(request).auto_tags.select_related("tag")
    return [AutoTagRecord.of(one) for one in review.tell(own)]


@router.post("/auto-tags", response={201: AutoTagRecord, 409: Problem, **REFUSALS})
def make_auto_tag(request: HttpRequest, new: NewAutoTag) -> Status[AutoTagRecord]:
    """Make an auto tag; images are compared with it in the background."""
    setting = Setting(
        wording=wording.read(new.prompts or [new.tag], new.templates),
        mode=new.mode,
        wanted_precision=new.wanted_precision,
    )
    return Status(201, _told(changes.make(writer(request), new.tag, setting)))


@router.get("/auto-tags/{int:id}", response={200: AutoTagRecord, **REFUSALS})
def get_auto_tag(request: HttpRequest, id: int) -> AutoTagRecord:
    """Return an auto tag of yours."""
    return _told(_own(request, id))


@router.patch("/auto-tags/{int:id}", response={200: AutoTagRecord, **REFUSALS})
def change_auto_tag(request: HttpRequest, id: int, fields: AutoTagChanges) -> AutoTagRecord:
    """Change an auto tag; images are compared with it anew, and answers stay."""
    auto_tag = _own(request, id)
    prompts = auto_tag.prompts if fields.prompts is None else fields.prompts
    templates = auto_tag.templates if fields.templates is None else fields.templates
    wanted = fields.wanted_precision
    changes.change(
        auto_tag,
        Setting(
            wording=wording.read(prompts, templates),
            mode=auto_tag.mode if fields.mode is None else fields.mode,
            wanted_precision=auto_tag.wanted_precision if wanted is None else wanted,
        ),
    )
    return _told(_own(request, id))


@router.delete("/auto-tags/{int:id}", response={204: None, **REFUSALS})
def delete_auto_tag(request: HttpRequest, id: int, deletion: Query[Deletion]) -> Status[None]:
    """Delete an auto tag. The tag stays where somebody has set or accepted it."""
    auto_tag = _own(request, id)
    if deletion.leave_tags:
        changes.delete_leaving_tags(auto_tag)
    else:
        changes.delete(auto_tag)
    return Status(204, None)


@router.get("/auto-tags/{int:id}/suggestions", response={200: SuggestionList, **REFUSALS})
def list_suggestions(
    request: HttpRequest,
    id: int,
    state: SuggestionState = SuggestionState.OPEN,
    order: ReviewOrder = ReviewOrder.WORTH,
    k: Annotated[int, Query(ge=1, le=200)] = 24,
    skip: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> SuggestionList:
    """List images of an auto tag in a state."""
    viewer = writer(request)
    rows = review.suggestions(_own(request, id), state, order)
    listed = list(rows[skip : skip + k])
    related = ("tags", "captions", "album", "owner")
    images = Image.objects.filter(pk__in=[one.image_id for one in listed])
    by_id = {image.pk: image for image in images.prefetch_related(*related).defer("full_text")}
    return SuggestionList(
        suggestions=[
            SuggestionRecord(
                state=SuggestionState(one.state),
                score=one.score,
                image=ImageRecord.of(by_id[one.image_id], viewer),
            )
            for one in listed
            if one.image_id in by_id
        ],
        total=rows.count(),
    )


@router.post("/auto-tags/{int:id}/answers", response={200: Answered, **REFUSALS})
def answer_suggestions(request: HttpRequest, id: int, fields: AnswerFields) -> Answered:
    """Answer for images of yours, whether they were suggested or not."""
    auto_tag = _own(request, id)
    by = writer(request).pk
    return Answered(
        count=sum(
            answers.give(auto_tag, answer, getattr(fields, answer.value), by=by)
            for answer in Answer
            if getattr(fields, answer.value)
        )
    )


def _own(request: HttpRequest, id: int) -> AutoTag:
    return get_object_or_404(writer(request).auto_tags.select_related("tag"), pk=id)


def _told(auto_tag: AutoTag) -> AutoTagRecord:
    (told,) = review.tell([auto_tag])
    return AutoTagRecord.of(told)
