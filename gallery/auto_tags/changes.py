"""The one way to make, change and delete an auto tag; pages, API and commands go through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import IntegrityError, connection, transaction
from django.db.models import F

from gallery import texts
from gallery.auto_tags import waking, writing
from gallery.auto_tags.wording import Wording
from gallery.errors import AutoTagInvalid, ImageRefused, NameTaken
from gallery.models import AutoTag, SuggestionState, Tag, TagMode, TagSuggestion

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAX_AUTO_TAGS = 1000  # a person's
LEAST_PRECISION, MOST_PRECISION = 0.5, 0.99

_UNTAG = """
DELETE FROM gallery_image_tags link USING gallery_tagsuggestion own
WHERE own.auto_tag_id = %(auto_tag)s AND own.image_id = ANY(%(images)s::bigint[])
  AND own.state = 'applied' AND own.is_linked AND link.image_id = own.image_id
  AND link.tag_id = %(tag)s
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All that a person says of an auto tag beside its name."""

    wording: Wording
    mode: str = TagMode.SUGGEST
    wanted_precision: float = 0.9


def make(owner: User, name: str, setting: Setting) -> AutoTag:
    """Keep a new auto tag. Raise AutoTagInvalid for one that cannot be, NameTaken for a second."""
    _check(setting)
    if owner.auto_tags.count() >= MAX_AUTO_TAGS:
        raise AutoTagInvalid(f"You have {MAX_AUTO_TAGS} auto tags; delete one first.")
    tag, _ = Tag.objects.get_or_create(name=checked_name(name))
    try:
        with transaction.atomic():
            auto_tag = AutoTag.objects.create(owner=owner, tag=tag, **_columns(setting))
    except IntegrityError as error:
        raise NameTaken(f"You already have an auto tag “{tag.name}”.") from error
    transaction.on_commit(waking.wake)
    return auto_tag


def change(auto_tag: AutoTag, setting: Setting) -> None:
    """Change an auto tag; its images are compared anew. `auto_tag` itself stays stale.

    Raise AutoTagInvalid for what cannot be, and AutoTag.DoesNotExist where it was deleted.
    """
    _check(setting)
    changed = AutoTag.objects.filter(pk=auto_tag.pk).update(
        version=F("version") + 1, **_columns(setting)
    )
    if not changed:
        raise AutoTag.DoesNotExist
    transaction.on_commit(waking.wake)


@transaction.atomic
def delete(auto_tag: AutoTag) -> None:
    """Delete an auto tag, and its tag from the images that got it by nothing else.

    What a person has confirmed, or set, stays, and what was given to somebody else.
    """
    # Not the whole lock yet: who holds images may still name it, and is waited for.
    held = AutoTag.objects.filter(pk=auto_tag.pk).select_for_update(no_key=True)
    if not list(held.values_list("pk")):
        return
    applied = TagSuggestion.objects.filter(auto_tag=auto_tag, state=SuggestionState.APPLIED)
    tagged = applied.filter(image__owner=auto_tag.owner_id)
    images = writing.hold(tagged.values_list("image", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(_UNTAG, {"auto_tag": auto_tag.pk, "tag": auto_tag.tag_id, "images": images})
    delete_leaving_tags(auto_tag)


@transaction.atomic
def delete_leaving_tags(auto_tag: AutoTag) -> None:
    """Delete an auto tag, and leave its tag wherever it was applied."""
    held = AutoTag.objects.filter(pk=auto_tag.pk)
    # First of all: a suggestion that somebody is writing just now would be left behind.
    list(held.select_for_update().values_list("pk"))
    held.delete()


def checked_name(written: str) -> str:
    """Return the name of a tag. Raise AutoTagInvalid for what is none."""
    try:
        names = texts.tags([written])
    except ImageRefused as error:
        raise AutoTagInvalid(str(error)) from error
    if not names or "," in written:
        raise AutoTagInvalid("An auto tag needs the name of one tag, without a comma.")
    return names[0]


def _check(setting: Setting) -> None:
    if setting.mode not in TagMode.values:
        raise AutoTagInvalid(f"The mode must be {' or '.join(TagMode.values)}.")
    if not LEAST_PRECISION <= setting.wanted_precision <= MOST_PRECISION:
        raise AutoTagInvalid(
            f"The wanted precision must be from {LEAST_PRECISION} to {MOST_PRECISION}."
        )


def _columns(setting: Setting) -> dict[str, object]:
    return {
        "prompts": list(setting.wording.prompts),
        "templates": list(setting.wording.templates),
        "wording": setting.wording.sha256,
        "mode": setting.mode,
        "wanted_precision": setting.wanted_precision,
    }
