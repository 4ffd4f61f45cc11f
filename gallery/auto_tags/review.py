"""What a person sees of auto tags: how many images each has, how good it is, what to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Abs

from embeddings.models import Space
from gallery.auto_tags import ranking
from gallery.auto_tags.calibration import Precision, precision_of
from gallery.models import (
    AutoTag,
    AutoTagCalibration,
    Image,
    SuggestionState,
    TagMode,
    TagSuggestion,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import User

AT_ONCE = 24  # images a page
MOST_UNASKED = 5000

WAITING = "Its prompts wait to be encoded, and images to be compared with it."


class ReviewOrder(StrEnum):
    """Which images come first."""

    WORTH = "worth"  # those of which an answer tells most: at the border between yes and no
    BEST = "best"
    LATEST = "latest"


@dataclass(frozen=True)
class Told:
    """An auto tag with all that is known of it."""

    auto_tag: AutoTag
    calibration: AutoTagCalibration | None  # None: no image was compared with it yet
    precision: Precision | None  # of what it suggests, or of what it applies
    counts: Mapping[SuggestionState, int]  # of images

    @property
    def open(self) -> int:
        return self.counts[SuggestionState.OPEN]

    @property
    def applied(self) -> int:
        return self.counts[SuggestionState.APPLIED]

    @property
    def accepted(self) -> int:
        return self.counts[SuggestionState.ACCEPTED]

    @property
    def rejected(self) -> int:
        return self.counts[SuggestionState.REJECTED]

    @property
    def answered(self) -> int:
        return self.accepted + self.rejected

    @property
    def note(self) -> str:
        """What its owner should know."""
        if self.calibration is None:
            return WAITING
        return self.calibration.note


def tell(auto_tags: Iterable[AutoTag]) -> list[Told]:
    """Return auto tags with what is known of them, in three statements for any number."""
    listed = list(auto_tags)
    stored = AutoTagCalibration.objects.filter(
        auto_tag__in=listed, space__state=Space.State.ACTIVE, version__isnull=False
    ).defer("vectors")
    calibrations = {one.auto_tag_id: one for one in stored}
    counted = _shown(TagSuggestion.objects.filter(auto_tag__in=listed)).order_by()
    number_by = {
        (auto_tag, state): n
        for auto_tag, state, n in counted.values_list("auto_tag", "state").annotate(n=Count("pk"))
    }
    precisions = _precisions(listed)
    return [
        Told(
            auto_tag,
            calibrations.get(auto_tag.pk),
            precisions.get(auto_tag.pk),
            {state: number_by.get((auto_tag.pk, state), 0) for state in SuggestionState},
        )
        for auto_tag in listed
    ]


def suggestions(
    auto_tag: AutoTag, state: SuggestionState, order: ReviewOrder = ReviewOrder.WORTH
) -> QuerySet[TagSuggestion]:
    """Return the images of an auto tag in a state, with their rows."""
    rows = _shown(TagSuggestion.objects.filter(auto_tag=auto_tag, state=state))
    rows = rows.select_related("image").defer("image__full_text")
    if state in (SuggestionState.ACCEPTED, SuggestionState.REJECTED):
        return rows.order_by(F("answered_at").desc(nulls_last=True), "-pk")
    if order == ReviewOrder.LATEST:
        return rows.order_by("-image_id")
    border = _border(auto_tag) if order == ReviewOrder.WORTH else None
    if border is None:
        return rows.order_by(F("score").desc(nulls_last=True), "pk")
    return rows.order_by(Abs(F("score") - border).asc(nulls_last=True), "pk")


def unasked(auto_tag: AutoTag, *, skip: int, n: int) -> list[TagSuggestion]:
    """Return the best images that nobody is asked about, as suggestions that are not stored.

    Answers about them are what teaches an auto tag that fits most images, or none so far.
    """
    k = min(skip + n, MOST_UNASKED)
    found = ranking.unasked(auto_tag, k=k) if k > skip else None
    if found is None:
        return []
    score_by_id = dict(zip(found.ids[skip:].tolist(), found.scores[skip:].tolist(), strict=True))
    images = Image.objects.filter(pk__in=list(score_by_id)).defer("full_text").in_bulk()
    return [
        TagSuggestion(auto_tag=auto_tag, image=images[id_], score=score)
        for id_, score in score_by_id.items()
        if id_ in images
    ]


def of_image(image: Image, viewer: User) -> QuerySet[TagSuggestion]:
    """Return what waits for the viewer's answer about an image of theirs."""
    rows = TagSuggestion.objects.filter(
        image=image, auto_tag__owner=viewer.pk, image__owner=viewer.pk, state=SuggestionState.OPEN
    )
    return _shown(rows).select_related("auto_tag__tag").order_by("auto_tag__tag__name")


def _shown(rows: QuerySet[TagSuggestion]) -> QuerySet[TagSuggestion]:
    """Leave out what is nobody's to answer.

    Versions of other images; images that were given to somebody else; and where a person was faster
    and set the tag, or took it away, which counts as an answer from the next comparison on.
    """
    link = Image.tags.through.objects.filter(
        image_id=OuterRef("image_id"), tag_id=OuterRef("auto_tag__tag_id")
    )
    answered = Q(state__in=(SuggestionState.ACCEPTED, SuggestionState.REJECTED))
    return rows.filter(
        answered
        | Q(~Exists(link), state=SuggestionState.OPEN)
        | Q(Exists(link), state=SuggestionState.APPLIED),
        image__version_of=None,
        image__owner=F("auto_tag__owner"),
    )


def _precisions(auto_tags: list[AutoTag]) -> dict[int, Precision]:
    """Return the precision of each that has answers about what it suggests, or applies."""
    is_applied = Q(auto_tag__mode=TagMode.APPLY, auto_tag__calibrations__apply_at__isnull=False)
    is_suggested = Q(auto_tag__mode=TagMode.SUGGEST) | Q(
        auto_tag__calibrations__apply_at__isnull=True
    )
    above = (is_applied & Q(score__gte=F("auto_tag__calibrations__apply_at"))) | (
        is_suggested & Q(score__gte=F("auto_tag__calibrations__suggest_at"))
    )
    rows = (
        TagSuggestion.objects.filter(
            above,
            auto_tag__in=auto_tags,
            auto_tag__calibrations__space__state=Space.State.ACTIVE,
            auto_tag__calibrations__version__isnull=False,
        )
        .order_by()
        .values_list("auto_tag")
        .annotate(
            yes=Count("pk", filter=Q(state=SuggestionState.ACCEPTED)),
            no=Count("pk", filter=Q(state=SuggestionState.REJECTED)),
        )
    )
    found = {auto_tag: precision_of(yes, no) for auto_tag, yes, no in rows}
    return {auto_tag: precision for auto_tag, precision in found.items() if precision is not None}


def _border(auto_tag: AutoTag) -> float | None:
    stored = AutoTagCalibration.objects.filter(
        auto_tag=auto_tag, space__state=Space.State.ACTIVE, version__isnull=False
    )
    return stored.values_list("border", flat=True).first()
