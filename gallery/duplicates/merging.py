"""What is said of several images that show the same, said of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gallery import texts
from gallery.changes import change_record
from gallery.errors import ImageRefused
from gallery.ingest import MAX_CAPTIONS
from gallery.models import Caption, Image, SuggestionState, TagSuggestion

# The source of a further caption that was the own caption of an image that was replaced.
SOURCE = "duplicate"

_PLAIN = ("category", "source_url", "licence", "attribution", "camera", "taken_at")


def merge(main: Image, others: Sequence[Image]) -> None:
    """Add to the main image what the others, in their order, say and it does not.

    Tags and captions add up, as far as one image may have them; of all else the main image's own
    word goes first. Its visibility stays as it is.
    """
    captions = [image.caption for image in others if image.caption]
    caption = main.caption or next(iter(captions), "")
    album = next((image.album.name for image in (main, *others) if image.album), None)
    change_record(
        main,
        caption=caption if caption != main.caption else None,
        tags=_tags(main, others),
        album=None if main.album else album,
        metadata=_metadata((main, *others)),
    )
    _fill(main, others)
    further = [(SOURCE, text) for text in captions if text != caption]
    for image in others:
        further += image.captions.further().values_list("source", "text")
    _add_captions(main, further)


def _tags(main: Image, others: Iterable[Image]) -> list[str]:
    names = list(main.tags.values_list("name", flat=True))
    for image in others:
        # Nobody has said it of them; the main image has auto tags of its own score.
        applied = TagSuggestion.objects.filter(image=image, state=SuggestionState.APPLIED)
        said = image.tags.exclude(pk__in=applied.values("auto_tag__tag"))
        names += said.values_list("name", flat=True)
    return list(dict.fromkeys(names))[: texts.MAX_TAGS]


def _metadata(images: Sequence[Image]) -> dict[str, Any]:
    """Return the metadata of all; a key means what the first image says that has it."""
    merged = {key: value for image in reversed(images) for key, value in image.metadata.items()}
    try:
        return texts.metadata(merged)
    except ImageRefused:  # more than one image may have
        return dict(images[0].metadata)


def _fill(main: Image, others: Sequence[Image]) -> None:
    missing = {
        name: value
        for name in _PLAIN
        if not getattr(main, name)
        and (value := next((v for v in (getattr(one, name) for one in others) if v), None))
    }
    if main.latitude is None:
        placed = next((image for image in others if image.latitude is not None), None)
        if placed is not None:
            missing |= {"latitude": placed.latitude, "longitude": placed.longitude}
    if missing:
        Image.objects.filter(pk=main.pk).update(**missing)


def _add_captions(main: Image, further: Iterable[tuple[str, str]]) -> None:
    held = set(main.captions.further().values_list("source", "text"))
    room = MAX_CAPTIONS - len(held)
    news = [one for one in dict.fromkeys(further) if one not in held][: max(room, 0)]
    Caption.objects.bulk_create(
        [Caption(image=main, source=source, text=text) for source, text in news],
        ignore_conflicts=True,
    )
