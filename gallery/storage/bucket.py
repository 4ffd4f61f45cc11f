"""A storage in a bucket: private, in whole files, with failures that are OSErrors."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import IO, Any, cast

from django.core.files.base import File
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from gallery.storage import clients
from gallery.storage.addresses import BucketAddress
from gallery.storage.clients import BucketUnavailable, told_as_os_errors
from gallery.storage.fetching import Wanted, fetch

PUT_BYTES = 4 * 2**20  # sent by one plain request; larger ones by boto3's transfer
# Every file has a name of its own and never changes.
_KEPT = "private, max-age=604800, immutable"


class BucketStorage(S3Storage):  # type: ignore[misc]  # django-storages has no types
    """django-storages' S3, for files that are read and written as a whole.

    A file is there whole or not at all: a bucket shows what has arrived to the last byte.
    """

    def __init__(self, *, address: BucketAddress) -> None:
        self.address = address
        self._opening = threading.RLock()
        self._resource: Any = None
        self._signer: Any = None
        super().__init__(
            bucket_name=address.bucket,
            location=address.prefix,
            endpoint_url=address.endpoint or None,
            client_config=clients.config(address),
            transfer_config=clients.TRANSFER,
            default_acl=None,
            file_overwrite=True,
            gzip=False,
            custom_domain=None,
            querystring_auth=True,
        )

    def __str__(self) -> str:
        return str(self.address)

    @property
    def connection(self) -> Any:
        """One for all threads: its client may be shared, and takes a tenth of a second to make."""
        if self._resource is None:
            with self._opening, told_as_os_errors("be opened"):
                if self._resource is None:
                    opened = clients.session(self.address)
                    self._resource = opened.resource(
                        "s3",
                        region_name=clients.region(self.address, opened),
                        endpoint_url=self.endpoint_url,
                        config=self.client_config,
                    )
        return self._resource

    @property
    def client(self) -> Any:
        return self.connection.meta.client

    def probe(self) -> None:
        """Ask for the bucket. Raise BucketUnavailable or FileNotFoundError when it is not there."""
        with told_as_os_errors("answer"):
            self.client.head_bucket(Bucket=self.bucket_name)

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """Return the file, all of it here: what is read from it then cannot break off."""
        if mode != "rb":
            raise ValueError("A file of a bucket is opened to read its bytes; save() writes one.")
        key = self._normalize_name(name)
        return File(fetch(self.client, Wanted(self.bucket_name, key)), name=name)

    def open_range(self, name: str, first: int, last: int) -> IO[bytes]:
        """Return a file from `first` on as it comes over the network, to `last` or further.

        A server may pass over which part is asked for, and give it all: raise BucketUnavailable
        where what comes does not begin at `first`.
        """
        with told_as_os_errors("give a file"):
            answer = self.client.get_object(
                Bucket=self.bucket_name,
                Key=self._normalize_name(clean_name(name)),
                Range=f"bytes={first}-{last}",
            )
        if not answer.get("ContentRange", "bytes 0-").startswith(f"bytes {first}-"):
            answer["Body"].close()
            raise BucketUnavailable("the bucket gave another part of a file", is_refused=True)
        return cast("IO[bytes]", answer["Body"])

    def _save(self, name: str, content: File[bytes]) -> str:
        with told_as_os_errors("take a file"):
            if content.size > PUT_BYTES:
                return str(super()._save(name, content))
            # For what has to be read, as which botocore takes bytes too, it would wait for a 100
            # Continue; a transfer would start threads.
            content.seek(0)
            self.client.put_object(
                Bucket=self.bucket_name,
                Key=self._normalize_name(clean_name(name)),
                Body=bytearray(content.read()),
                **self._get_write_parameters(name, content),
            )
            return str(clean_name(name))

    def delete(self, name: str) -> None:
        with told_as_os_errors("delete a file"):
            super().delete(name)

    def delete_many(self, names: Sequence[str]) -> list[str]:
        """Delete up to 1,000 files by one request; return the names of those that resisted.

        Raise OSError where that is not possible, and nothing is known to be deleted.
        """
        name_by_key = {self._normalize_name(clean_name(name)): name for name in names}
        wanted = {"Objects": [{"Key": key} for key in name_by_key], "Quiet": True}
        with told_as_os_errors("delete files"):
            answer = self.client.delete_objects(Bucket=self.bucket_name, Delete=wanted)
        errors = answer.get("Errors", ())
        resisted = {error.get("Key") for error in errors if error.get("Code") != "NoSuchKey"}
        # Of a server that names files in another way than we do nobody knows which it means.
        if not resisted <= name_by_key.keys():
            return list(names)
        return [name for key, name in name_by_key.items() if key in resisted]

    def exists(self, name: str) -> bool:
        with told_as_os_errors("answer"):
            return bool(super().exists(name))

    def size(self, name: str) -> int:
        with told_as_os_errors("answer"):
            return int(super().size(name))

    def get_modified_time(self, name: str) -> datetime:
        with told_as_os_errors("answer"):
            return cast(datetime, super().get_modified_time(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        with told_as_os_errors("list its files"):
            return cast("tuple[list[str], list[str]]", super().listdir(path))

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        """Say how a file is kept: should a bucket be opened by mistake, no browser runs one."""
        if name.endswith(".webp") and "thumbnails/" in name:
            return {"CacheControl": _KEPT, "ContentType": "image/webp"}
        return {"CacheControl": _KEPT, "ContentDisposition": "attachment"}

    def url(
        self,
        name: str,
        parameters: Mapping[str, str] | None = None,
        expire: int | None = None,
        http_method: str | None = None,
    ) -> str:
        """Return an address that opens this one file to everybody, for `expire` seconds.

        `parameters` are S3's own (ResponseContentType, ...), and are signed. No server is asked.
        """
        wanted = {**(parameters or {}), "Bucket": self.bucket_name}
        with told_as_os_errors("sign an address"):
            signed = self._signing_client().generate_presigned_url(
                "get_object",
                Params={**wanted, "Key": self._normalize_name(name)},
                ExpiresIn=expire or self.querystring_expire,
                HttpMethod=http_method,
            )
        return str(signed)

    def _signing_client(self) -> Any:
        if not self.address.public:
            return self.client
        if self._signer is None:
            # The host is part of what is signed: browsers get an address of the host they reach.
            self._signer = clients.connect(self.address, endpoint=self.address.public)
        return self._signer
