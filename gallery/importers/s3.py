"""Images in a bucket, of Amazon or of whatever speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePosixPath
from typing import IO, Any, ClassVar

from django.conf import settings
from pydantic import Field, ValidationInfo, field_validator

from gallery.importers import (
    Item,
    ItemUnreadable,
    Skipped,
    Source,
    SourceAway,
    SourceUnreadable,
)
from gallery.storage import addresses, clients, places
from gallery.storage.addresses import BucketAddress
from gallery.storage.clients import BucketUnavailable, told_as_os_errors
from gallery.storage.fetching import Wanted, fetch, version_of
from gallery.storage.originals import FileTooLarge, Original, OriginalReplaced
from gallery.trees import names
from gallery.videos import limits

# Bytes of these have to be asked for a day before.
_FROZEN = {"GLACIER", "DEEP_ARCHIVE"}
_MAX_ADDRESS = 1500


class Bucket(Source):
    """Image files of a bucket, without hidden ones. They are copied into the gallery, or stay."""

    kind: ClassVar[str] = "s3"
    opens_slowly: ClassVar[bool] = True

    url: str = Field(description="the bucket, as s3://bucket/prefix?endpoint=...&region=...")
    anonymous: bool = Field(default=False, description="ask without keys: the bucket is public")
    in_place: bool = Field(
        default=False, description="leave the originals there, and store thumbnails alone"
    )

    @field_validator("url")
    @classmethod
    def known(cls, value: str) -> str:
        if len(value) > _MAX_ADDRESS:
            raise ValueError("the address is too long")
        addresses.parse_bucket(value)  # raises ValueError
        return value

    @field_validator("in_place")
    @classmethod
    def is_allowed(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - by pydantic
        if value and "url" in info.data:
            try:
                places.refuse_strange(addresses.parse_bucket(info.data["url"]))
            except PermissionError as error:
                raise ValueError(f"name its server first: {error.strerror}") from error
        return value

    @property
    def title(self) -> str:
        return str(self._address)

    @property
    def place(self) -> str:
        return f"s3:{self._address.endpoint}:{self._address}"

    def items(self) -> Iterator[Item | Skipped]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._address.bucket, Prefix=self._start
        )
        try:
            with told_as_os_errors("list its files"):
                for page in pages:
                    for entry in page.get("Contents", ()):
                        if (item := self._item(entry)) is not None:
                            yield item
        except OSError as error:
            raise _source_unreadable(error, self.title) from error

    def open(self, key: str) -> IO[bytes]:
        most = limits.most_bytes(key)
        with self._told(most):
            return fetch(
                self._client, Wanted(self._address.bucket, f"{self._start}{key}", most=most)
            )

    def original(self, key: str, version: str) -> Original | None:
        if not self.in_place:
            return None
        return Original(address=self.url, key=key, version=version, is_anonymous=self.anonymous)

    def open_original(self, original: Original) -> IO[bytes]:
        most = settings.MAX_IMAGE_BYTES
        with self._told(most):
            return places.place_of(original).open(original.key, original.version, most=most)

    @contextmanager
    def _told(self, most: int) -> Iterator[None]:
        """Say whether one file, the bucket as it is set, or the network is at fault."""
        try:
            yield
        except FileTooLarge as error:
            raise ItemUnreadable(f"The file is larger than {most // 10**6} MB.") from error
        except OriginalReplaced as error:
            raise ItemUnreadable(
                "The file was replaced after it was listed: run the import again."
            ) from error
        except FileNotFoundError as error:
            raise ItemUnreadable("The bucket no longer has the file.") from error
        except BucketUnavailable as error:
            if error.is_refused:
                raise ItemUnreadable(f"{_sentence(error)}.") from error
            raise _source_unreadable(error, self.title) from error

    def _item(self, entry: dict[str, Any]) -> Item | Skipped | None:
        key = entry["Key"].removeprefix(self._start)
        path = PurePosixPath(key)
        is_hidden = any(part.startswith(".") for part in path.parts)
        if is_hidden or not names.is_taken(path.name):
            return None
        if "\0" in key:
            return Skipped(key=key.replace("\0", "?"), reason="No name may have a NUL in it.")
        if entry.get("StorageClass") in _FROZEN:
            return Skipped(key=key, reason="It lies in an archive: restore it in the bucket first.")
        return Item(key=key, name=path.name, version=version_of(entry))

    @property
    def _start(self) -> str:
        return f"{self._address.prefix}/" if self._address.prefix else ""

    @cached_property
    def _address(self) -> BucketAddress:
        return addresses.parse_bucket(self.url)

    @cached_property
    def _client(self) -> Any:
        try:
            return clients.connect(self._address, is_anonymous=self.anonymous)
        except OSError as error:
            raise _source_unreadable(error, self.title) from error


def _source_unreadable(error: OSError, title: str) -> SourceUnreadable:
    sentence = f"{title}: {_sentence(error)}."
    if not isinstance(error, BucketUnavailable) or error.is_away:
        return SourceAway(sentence)
    hint = "Look at the keys in the environment, or ask without them (anonymous)."
    return SourceUnreadable(f"{sentence} {hint}")


def _sentence(error: OSError) -> str:
    said = str(error.strerror or error)
    return f"{said[:1].upper()}{said[1:]}"
