"""What the admin does to many images at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.utils import model_ngettext
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from gallery import pipeline, tasks, texts
from gallery.errors import ImageRefused
from gallery.models import Album, Image, Tag, Visibility

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Images = QuerySet[Image]
    Action = Callable[[ModelAdmin[Image], HttpRequest, Images], None]


class ImageActionForm(ActionForm):
    name = forms.CharField(
        required=False,
        max_length=200,
        label="",
        widget=forms.TextInput(
            attrs={
                "placeholder": "tag or album",
                "aria-label": "Tag or album",
                "style": "width:9em;margin-left:4px",
            }
        ),
    )


@admin.action(description="Embed again", permissions=["change"])
def embed_again(modeladmin: ModelAdmin[Image], request: HttpRequest, images: Images) -> None:
    n = pipeline.reembed(images)
    transaction.on_commit(tasks.wake)
    _say(modeladmin, request, n, "waiting to be embedded again")


@admin.action(description="Make public", permissions=["change"])
def make_public(modeladmin: ModelAdmin[Image], request: HttpRequest, images: Images) -> None:
    _say(modeladmin, request, _show_to(images, Visibility.PUBLIC), "public now")


@admin.action(description="Make private", permissions=["change"])
def make_private(modeladmin: ModelAdmin[Image], request: HttpRequest, images: Images) -> None:
    _say(modeladmin, request, _show_to(images, Visibility.PRIVATE), "private now")


@admin.action(description="Add the tag …", permissions=["change"])
def add_tag(modeladmin: ModelAdmin[Image], request: HttpRequest, images: Images) -> None:
    if not (name := _tag_name(modeladmin, request)):
        return
    tag, _ = Tag.objects.get_or_create(name=name)
    through = Image.tags.through
    rows = [through(image_id=pk, tag_id=tag.pk) for pk in images.values_list("pk", flat=True)]
    through.objects.bulk_create(rows, batch_size=5000, ignore_conflicts=True)
    _say(modeladmin, request, len(rows), f"tagged “{name}”")


@admin.action(description="Remove the tag …", permissions=["change"])
def remove_tag(modeladmin: ModelAdmin[Image], request: HttpRequest, images: Images) -> None:
    if not (name := _tag_name(modeladmin, request)):
        return
    tagged = Image.tags.through.objects.filter(tag__name=name, image__in=images.order_by())
    removed, _ = tagged.delete()
    _say(modeladmin, request, removed, f"no longer tagged “{name}”")


@admin.action(description="Move to the album …", permissions=["change"])
def move_to_album(modeladmin: ModelAdmin[Image], request: HttpRequest, images: Images) -> None:
    """Move each image into the album of that name of its own owner; no name: out of albums."""
    name = texts.printable(request.POST.get("name", ""))[:200]
    now = timezone.now()
    moved = 0
    # The ids are read first: a filter by album would lose the images while they move.
    chosen = Image.objects.filter(pk__in=list(images.values_list("pk", flat=True)))
    for owner in set(chosen.order_by().values_list("owner", flat=True)):
        album = Album.objects.get_or_create(owner_id=owner, name=name)[0] if name else None
        moved += chosen.filter(owner=owner).update(album=album, changed_at=now)
    _say(modeladmin, request, moved, f"in the album “{name}”" if name else "in no album")


def _show_to(images: Images, visibility: Visibility) -> int:
    return images.order_by().update(visibility=visibility, changed_at=timezone.now())


def _tag_name(modeladmin: ModelAdmin[Image], request: HttpRequest) -> str:
    """Return the name that was typed beside the action, or say that there is none."""
    try:
        names = texts.tags([request.POST.get("name", "")])
    except ImageRefused as refusal:
        modeladmin.message_user(request, str(refusal), messages.ERROR)
        return ""
    if not names:
        sentence = "Type the tag into the field beside the action."
        modeladmin.message_user(request, sentence, messages.ERROR)
        return ""
    return names[0]


def _say(modeladmin: ModelAdmin[Image], request: HttpRequest, n: int, what: str) -> None:
    verb = "is" if n == 1 else "are"
    sentence = f"{n} {model_ngettext(modeladmin.opts, n)} {verb} {what}."
    modeladmin.message_user(request, sentence, messages.SUCCESS)


ACTIONS: list[Action] = [
    embed_again,
    add_tag,
    remove_tag,
    move_to_album,
    make_public,
    make_private,
]
