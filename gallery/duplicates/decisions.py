"""What a person makes of a group: keep, link, replace, or no duplicates at all.

Each names the group's main image and the chosen others, and is whole or not at all. Two people who
decide about the same group at once wait for each other, and the second gets DuplicatesChanged.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Greatest, Least

from gallery import originals, removal
from gallery.auto_tags import answers
from gallery.duplicates import grouping, merging, verdicts
from gallery.errors import DuplicatesChanged, StorageUnavailable
from gallery.models import (
    DuplicateGroup,
    DuplicatePair,
    DuplicateVerdict,
    Image,
    State,
    Verdict,
    Visibility,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

CHANGED = (
    "This group has changed: somebody has decided about it, or its images are no longer the same. "
    "Nothing was done; look at what is there now."
)
NOT_READY = (
    "The main image is not ready to be found: it waits for its vector, or could not be embedded. "
    "Choose another one to keep. Nothing was done."
)
WOULD_HIDE = (
    "The main image is private and one of the others is public: linked, it would be found by "
    "nobody else. Choose a public main image, or change who may see them. Nothing was done."
)
WOULD_PUBLISH = (
    "The main image is public and one of the others is private: what is said of that one would be "
    "published. Choose a private main image, or change who may see them. Nothing was done."
)
FILE_MISSING = (
    "The file of the main image is not in the storage. Choose another one to keep. "
    "Nothing was done."
)
FILE_UNKNOWN = (
    "The storage does not say now whether the file of the main image is there. Nothing was done; "
    "try again later."
)
NONE_CHOSEN = "Choose at least one image beside the one to keep. Nothing was done."


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which group is meant, as the person saw it, and what of it is chosen."""

    group_id: int
    seen: frozenset[UUID]  # every image of the group
    main: UUID
    others: frozenset[UUID]


@dataclass(frozen=True)
class _Chosen:
    group: DuplicateGroup
    main: Image
    others: list[Image]
    rest: list[Image]  # of the group, neither main nor chosen


def keep(choice: Choice, viewer: User) -> int:
    """Leave the images as they are and never ask about them again; return how many others.

    Raise DuplicatesChanged, with nothing done, here and below.
    """
    with _decided(choice, viewer) as chosen:
        shas = [image.sha256 for image in (chosen.main, *chosen.others)]
        _remember(chosen, itertools.combinations(shas, 2), Verdict.KEPT, viewer)
    return len(choice.others)


def tell_apart(choice: Choice, viewer: User) -> int:
    """Remember that the others are no duplicates of any image of the group; return how many."""
    with _decided(choice, viewer) as chosen:
        all_ = [image.sha256 for image in (chosen.main, *chosen.others, *chosen.rest)]
        pairs = itertools.product((image.sha256 for image in chosen.others), all_)
        _remember(chosen, pairs, Verdict.DIFFERENT, viewer)
    return len(choice.others)


def link(choice: Choice, viewer: User) -> int:
    """Make the others versions of the main image, which searches show alone; return how many.

    Raise DuplicatesChanged where that would hide what others find now.
    """
    with _decided(choice, viewer) as chosen:
        _check_ready(chosen.main)
        if _is_shown_less(chosen.main, chosen.others):
            raise DuplicatesChanged(WOULD_HIDE)
        others = [image.pk for image in chosen.others]
        linked = [image.sha256 for image in chosen.others]
        verdicts.pass_on_links(chosen.group.owner_id, linked, chosen.main.sha256, by=viewer.pk)
        # A version of a version would be shown by nobody.
        Image.objects.filter(Q(pk__in=others) | Q(version_of__in=others)).update(
            version_of=chosen.main
        )
        _remember(chosen, _with_main(chosen), Verdict.LINKED, viewer)
    return len(choice.others)


def replace(choice: Choice, viewer: User) -> int:
    """Give the main image what is said of the others, and delete these; return how many.

    What is said twice is said by the main image: see `merging`. The files are gone for good. Their
    bytes are remembered: sent again, they give back the main image. Raise DuplicatesChanged where
    the main image is not whole itself, or where private text would become public, and
    StorageUnavailable where nobody can tell now whether it is whole.
    """
    _check_file(choice, viewer)
    with _decided(choice, viewer) as chosen:
        _check_ready(chosen.main)
        if any(_is_shown_less(image, [chosen.main]) for image in chosen.others):
            raise DuplicatesChanged(WOULD_PUBLISH)
        merging.merge(chosen.main, chosen.others)
        answers.pass_on([image.pk for image in chosen.others], chosen.main)
        gone = [image.sha256 for image in chosen.others]
        verdicts.pass_on(chosen.group.owner_id, gone, chosen.main.sha256, by=viewer.pk)
        verdicts.pass_on_links(chosen.group.owner_id, gone, chosen.main.sha256, by=viewer.pk)
        _remember(chosen, _with_main(chosen), Verdict.REPLACED, viewer)
        others = [image.pk for image in chosen.others]
        Image.objects.filter(version_of__in=others).update(version_of=chosen.main)
        removal.delete_images(Image.objects.filter(pk__in=others))
    return len(choice.others)


@transaction.atomic
def unlink(image: Image, *, by: int | None) -> None:
    """Let a version be an image of its own again, about which nobody is asked any more."""
    grouping.lock(image.owner_id)
    main = image.version_of
    Image.objects.filter(pk=image.pk).update(version_of=None)
    if main is not None:
        pair = [(image.sha256, main.sha256)]
        verdicts.remember(image.owner_id, pair, Verdict.KEPT, by=by)


@contextmanager
def _decided(choice: Choice, viewer: User) -> Iterator[_Chosen]:
    """Hold the group as it was seen; at the end, make groups anew of what is left of it."""
    owner_id = _owner_of(choice, viewer)
    with transaction.atomic():
        grouping.lock(owner_id)
        chosen = _chosen(choice, owner_id)
        yield chosen
        grouping.regroup(owner_id, [i.pk for i in (chosen.main, *chosen.others, *chosen.rest)])


def _owner_of(choice: Choice, viewer: User) -> int:
    """Return whose group it is, if the viewer may decide about it."""
    if not choice.others:
        raise DuplicatesChanged(NONE_CHOSEN)
    groups = DuplicateGroup.objects.filter(pk=choice.group_id)
    if not viewer.is_superuser:
        groups = groups.filter(owner=viewer.pk)
    owner_id = groups.values_list("owner_id", flat=True).first()
    if owner_id is None:
        raise DuplicatesChanged(CHANGED)
    return owner_id


def _members(choice: Choice, owner_id: int) -> QuerySet[Image]:
    return Image.objects.filter(duplicate_member__group=choice.group_id, owner=owner_id)


def _check_file(choice: Choice, viewer: User) -> None:
    """See whether the main image has its file. Before anything is locked: a storage may be slow."""
    members = originals.with_places(_members(choice, _owner_of(choice, viewer)))
    main = members.filter(uuid=choice.main).only(*originals.FIELDS).first()
    if main is None:
        raise DuplicatesChanged(CHANGED)
    try:
        is_there = originals.is_there(main)
    except OSError as error:
        log.warning("The original of image %d cannot be looked at now: %s", main.pk, error)
        raise StorageUnavailable(FILE_UNKNOWN) from error
    if not is_there:
        raise DuplicatesChanged(FILE_MISSING)


def _chosen(choice: Choice, owner_id: int) -> _Chosen:
    members = _members(choice, owner_id).order_by("pk")
    images = {
        image.uuid: image for image in members.select_for_update(of=("self",)).defer("full_text")
    }
    group = DuplicateGroup.objects.filter(pk=choice.group_id).first()
    is_as_seen = set(images) == choice.seen and choice.others | {choice.main} <= choice.seen
    if group is None or not is_as_seen or choice.main in choice.others:
        raise DuplicatesChanged(CHANGED)
    rest = choice.seen - choice.others - {choice.main}
    return _Chosen(
        group,
        images[choice.main],
        [image for uuid, image in images.items() if uuid in choice.others],
        [image for uuid, image in images.items() if uuid in rest],
    )


def _check_ready(main: Image) -> None:
    if main.state != State.READY:
        raise DuplicatesChanged(NOT_READY)


def _is_shown_less(image: Image, others: Iterable[Image]) -> bool:
    """Whether an image is private, and one of the others is not."""
    return image.visibility == Visibility.PRIVATE and any(
        other.visibility == Visibility.PUBLIC for other in others
    )


def _with_main(chosen: _Chosen) -> list[tuple[str, str]]:
    return [(chosen.main.sha256, image.sha256) for image in chosen.others]


def _remember(
    chosen: _Chosen, pairs: Iterable[tuple[str, str]], verdict: Verdict, viewer: User
) -> None:
    """Write the verdict down, and take what it is about from the pairs that wait for one."""
    is_ranked = verdict in (Verdict.LINKED, Verdict.REPLACED)
    kept = chosen.main.sha256 if is_ranked else ""
    verdicts.remember(chosen.group.owner_id, pairs, verdict, kept=kept, by=viewer.pk)
    images = [image.pk for image in (chosen.main, *chosen.others, *chosen.rest)]
    open_ = DuplicatePair.objects.filter(Q(first__in=images) | Q(second__in=images))
    if is_ranked:  # of versions, and of what is about to go, nothing is asked at all
        gone = [image.pk for image in chosen.others]
        open_.filter(Q(first__in=gone) | Q(second__in=gone)).delete()
    else:
        open_.filter(_is_decided(chosen.group.owner_id)).delete()


def _is_decided(owner_id: int) -> Q:
    # Of what was linked and is alone again, the question is open: one was deleted since.
    decided = DuplicateVerdict.objects.exclude(verdict=Verdict.LINKED).filter(
        owner=owner_id,
        first_sha256=Least(OuterRef("first__sha256"), OuterRef("second__sha256")),
        second_sha256=Greatest(OuterRef("first__sha256"), OuterRef("second__sha256")),
    )
    return Q(Exists(decided))
