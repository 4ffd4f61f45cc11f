"""Images in a bucket, of Amazon or of whatever speaks S3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import IO, Any, ClassVar, cast

from django.conf import settings
from pydantic import Field, field_validator

from gallery.importers import Item, ItemUnreadable, Skipped, Source, SourceUnreadable
from gallery.storage import addresses, clients
from gallery.storage.addresses import BucketAddress
from gallery.storage.clients import BucketUnavailable, told_as_os_errors
from gallery.trees import names

_MEMORY_BYTES = 8 * 2**20
# Bytes of these have to be asked for a day before.
_FROZEN = {"GLACIER", "DEEP_ARCHIVE"}


class Bucket(Source):
    """Image files of a bucket, without hidden ones. They are copied into the gallery."""

    kind: ClassVar[str] = "s3"
    opens_slowly: ClassVar[bool] = True

    url: str = Field(description="the bucket, as s3://bucket/prefix?endpoint=...&region=...")
    anonymous: bool = Field(default=False, description="ask without keys: the bucket is public")

    @field_validator("url")
    @classmethod
    def known(cls, value: str) -> str:
        addresses.parse_bucket(value)  # raises ValueError
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
        # Closed by whoever is given it.
        fetched = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115
        try:
            with told_as_os_errors("give a file"):
                self._fetch(key, cast("IO[bytes]", fetched))
        except BaseException as error:
            fetched.close()
            if isinstance(error, BucketUnavailable) and error.is_settled:
                raise ItemUnreadable(f"{_sentence(error)}.") from error
            if isinstance(error, FileNotFoundError):
                raise ItemUnreadable("The bucket no longer has the file.") from error
            raise
        fetched.seek(0)
        return cast("IO[bytes]", fetched)

    def _fetch(self, key: str, into: IO[bytes]) -> None:
        name = {"Bucket": self._address.bucket, "Key": f"{self._start}{key}"}
        most = settings.MAX_IMAGE_BYTES
        if self._client.head_object(**name)["ContentLength"] > most:
            raise ItemUnreadable(f"The file is larger than {most // 10**6} MB.")
        self._client.download_fileobj(*name.values(), into, Config=clients.TRANSFER)

    def _item(self, entry: dict[str, Any]) -> Item | Skipped | None:
        key = entry["Key"].removeprefix(self._start)
        path = PurePosixPath(key)
        is_hidden = any(part.startswith(".") for part in path.parts)
        if is_hidden or path.suffix.lower() not in names.IMAGE_SUFFIXES:
            return None
        if "\0" in key:
            return Skipped(key=key.replace("\0", "?"), reason="No name may have a NUL in it.")
        if entry.get("StorageClass") in _FROZEN:
            return Skipped(key=key, reason="It lies in an archive: restore it in the bucket first.")
        return Item(key=key, name=path.name, version=entry["ETag"].strip('"'))

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
    hint = (
        " Look at the keys in the environment, or ask without them (anonymous)."
        if isinstance(error, BucketUnavailable) and error.is_settled
        else " Try again later."
    )
    return SourceUnreadable(f"{title}: {_sentence(error)}.{hint}")


def _sentence(error: OSError) -> str:
    said = str(error.strerror or error)
    return f"{said[:1].upper()}{said[1:]}"
