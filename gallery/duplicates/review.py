"""Groups of duplicates as a person sees them: what differs, and the best one first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.template.defaultfilters import date, filesizeformat
from django.utils.timezone import localtime

from gallery.models import DuplicateGroup, DuplicateKind, DuplicateMember, DuplicatePair, Image

if TYPE_CHECKING:
    from django.contrib.auth.models import User

AT_ONCE = 10  # groups a page


@dataclass(frozen=True)
class Fact:
    """One thing that is known of an image; `differs` from what is known of the best one."""

    name: str
    value: str
    differs: bool


@dataclass(frozen=True)
class Reviewed:
    """An image of a group, and how it is a pair with the lead, where that is still known."""

    image: Image
    facts: tuple[Fact, ...]
    is_best: bool
    pair: DuplicatePair | None


@dataclass(frozen=True)
class ReviewedGroup:
    """A group, the best image first; `kind` is the strongest word that is true of all of it."""

    group: DuplicateGroup
    images: tuple[Reviewed, ...]
    kind: DuplicateKind


def groups_of(viewer: User) -> QuerySet[DuplicateGroup]:
    """Return the groups that the viewer may decide about, the latest first; a superuser: all."""
    beside_lead = DuplicateMember.objects.filter(group=OuterRef("pk")).exclude(
        image=OuterRef("lead")
    )
    # The others may have been deleted: a lead alone is no group.
    groups = DuplicateGroup.objects.filter(Exists(beside_lead)).order_by("-pk")
    return groups if viewer.is_superuser else groups.filter(owner=viewer.pk)


def read(groups: Iterable[DuplicateGroup]) -> list[ReviewedGroup]:
    """Return groups with all that is needed to show them, in six statements for any number."""
    listed = list(groups)
    members = (
        Image.objects.filter(duplicate_member__group__in=listed)
        .annotate(group_id=F("duplicate_member__group"))
        .select_related("album", "owner")
        .prefetch_related("tags", "captions")
        .defer("full_text")
    )
    images: dict[int, list[Image]] = defaultdict(list)
    for image in members:
        images[getattr(image, "group_id")].append(image)  # noqa: B009  # of annotate()
    leads = {group.lead_id: group.pk for group in listed}
    pairs: dict[int, dict[int, DuplicatePair]] = defaultdict(dict)
    for pair in DuplicatePair.objects.filter(Q(first__in=leads) | Q(second__in=leads)):
        for lead, other in ((pair.first_id, pair.second_id), (pair.second_id, pair.first_id)):
            if lead in leads:
                pairs[leads[lead]][other] = pair
    return [
        _reviewed(group, images[group.pk], pairs[group.pk])
        for group in listed
        if len(images[group.pk]) > 1
    ]


def best_first(images: Iterable[Image]) -> list[Image]:
    """Return images in the order in which they are worth keeping.

    Most pixels; then one that a camera wrote; then the largest file, which lost least to
    compression; then the oldest here.
    """
    return sorted(
        images,
        key=lambda image: (
            -image.width * image.height,
            not (image.camera or image.taken_at),
            -image.bytes,
            image.added_at,
            image.pk,
        ),
    )


def _reviewed(
    group: DuplicateGroup, images: list[Image], pairs: dict[int, DuplicatePair]
) -> ReviewedGroup:
    ordered = best_first(images)
    known_of_best = _facts(ordered[0])
    is_same = all(
        pairs[image.pk].kind == DuplicateKind.PIXELS
        for image in images
        if image.pk != group.lead_id and image.pk in pairs
    )
    return ReviewedGroup(
        group,
        tuple(
            Reviewed(
                image,
                tuple(
                    Fact(name, value, differs=value != known_of_best[name])
                    for name, value in _facts(image).items()
                ),
                is_best=place == 0,
                pair=pairs.get(image.pk),
            )
            for place, image in enumerate(ordered)
        ),
        DuplicateKind.PIXELS if is_same else DuplicateKind.NEAR,
    )


def _facts(image: Image) -> dict[str, str]:
    taken = date(localtime(image.taken_at), "j M Y, H:i") if image.taken_at else ""
    return {
        "File": image.original_name,
        "Pixels": f"{image.width} x {image.height}",
        "Size": f"{filesizeformat(image.bytes)}, {image.mime_type.partition('/')[2]}",
        "Taken": taken,
        "Camera": image.camera,
        "Added": date(localtime(image.added_at), "j M Y, H:i"),
        "Album": image.album.name if image.album else "",
        "Tags": ", ".join(sorted(tag.name for tag in image.tags.all())),
        "Caption": image.caption[:300],
        "Shown": image.get_visibility_display(),
    }
