"""What someone says about an image: one value from any source, form or API call to its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Self

from gallery import texts


@dataclass(frozen=True, kw_only=True)
class Description:
    """Every field may be left empty. `ingest` checks them; until then they are what was sent."""

    caption: str = ""
    tags: tuple[str, ...] = ()
    album: str = ""
    category: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source_url: str = ""
    licence: str = ""
    attribution: str = ""
    visibility: str = ""  # empty: DEFAULT_VISIBILITY
    taken_at: datetime | None = None  # None: what EXIF says
    camera: str = ""  # empty: what EXIF says
    latitude: float | None = None  # both or none of the two; None: what EXIF says
    longitude: float | None = None
    captions: tuple[tuple[str, str], ...] = ()  # further ones, as (source, text)

    def over(self, defaults: Description) -> Description:
        """Return this with what it does not say taken from defaults; tags and captions add up.

        Tags beyond those that an image may have go into the metadata, those of defaults last.
        """
        tags, more_tags = _within(*defaults.tags, *self.tags)
        metadata = {**defaults.metadata, **self.metadata}
        if more_tags:
            before = metadata.get("more_tags", [])
            before = before if isinstance(before, list) else [before]
            metadata["more_tags"] = [*before, *more_tags]
        missing = {
            one.name: getattr(defaults, one.name)
            for one in fields(Description)
            if getattr(self, one.name) in ("", None)
        }
        return replace(
            self,
            **missing,
            tags=tags,
            captions=(*self.captions, *defaults.captions),
            metadata=metadata,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what is said, as JSON can hold it."""
        said: dict[str, Any] = {}
        for one in fields(Description):
            value = getattr(self, one.name)
            if isinstance(value, datetime):
                said[one.name] = value.isoformat()
            elif value not in ("", None) and value != () and value != {}:
                said[one.name] = dict(value) if one.name == "metadata" else value
        return said

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote down."""
        values = dict(said)
        if "taken_at" in values:
            values["taken_at"] = datetime.fromisoformat(values["taken_at"])
        values["tags"] = tuple(values.get("tags", ()))
        values["captions"] = tuple((source, text) for source, text in values.get("captions", ()))
        return cls(**values)


def _within(*tags: str) -> tuple[tuple[str, ...], list[str]]:
    """Return as many tags as an image may have, and the rest."""
    # As `ingest` will have them: two that differ in case are one.
    tag_by_name: dict[str, str] = {}
    for tag in tags:
        tag_by_name.setdefault(texts.printable(tag).lower(), tag)
    unique = [tag for name, tag in tag_by_name.items() if name]
    return tuple(unique[: texts.MAX_TAGS]), unique[texts.MAX_TAGS :]
