"""Kinds of input that the API takes. What is wrong with one is told as a sentence.

The rules are those of `gallery.texts`, the same for every way in; here they only get their words
for the API. Above all they stop what Postgres cannot hold: NUL, half characters, NaN.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from gallery import texts
from gallery.errors import ImageRefused
from gallery.ingest import MAX_CAPTION


def _wrong(sentence: str) -> PydanticCustomError:
    # The first argument after the type is a template, where a brace would start a field.
    return PydanticCustomError("wrong", "{sentence}", {"sentence": sentence})


def _text(name: str, longest: int) -> AfterValidator:
    return _checked_by(lambda value: texts.text(value, name=name, longest=longest))


def _checked_by(rule: Callable[[Any], Any]) -> AfterValidator:
    def check(value: Any) -> Any:
        try:
            return rule(value)
        except ImageRefused as refusal:
            raise _wrong(str(refusal)) from refusal

    return AfterValidator(check)


def _split(tags: object) -> object:
    """Tags come repeated, or in one text with commas, or both."""
    if isinstance(tags, str):
        return tags.split(",")
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        return [part for tag in tags for part in tag.split(",")]
    return tags


def _parse_json(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise _wrong("It is not JSON.") from None


Caption = Annotated[str, _text("caption", longest=MAX_CAPTION)]
AlbumName = Annotated[str, _text("album", longest=200)]
TagNames = Annotated[
    list[str], BeforeValidator(_split), _checked_by(lambda names: list(texts.tags(names)))
]
Metadata = Annotated[dict[str, Any], _checked_by(texts.metadata)]
MetadataText = Annotated[
    Metadata,
    BeforeValidator(_parse_json),
    WithJsonSchema({"type": "string", "description": "A JSON object, as text."}),
]
