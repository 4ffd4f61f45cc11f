"""Places: buckets and folders of others, whose files the gallery shows where they lie.

Nothing is written or deleted there. A file counts only in the version in which it is known: what
is under its name in another one is another file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from django.conf import settings
from django.core.files.storage import default_storage

from gallery.importers import ItemUnreadable
from gallery.storage import addresses, clients
from gallery.storage.addresses import BucketAddress
from gallery.storage.bucket import BucketStorage
from gallery.storage.clients import BucketUnavailable, told_as_os_errors
from gallery.storage.fetching import Wanted as WantedObject
from gallery.storage.fetching import fetch, version_of, whole
from gallery.storage.flows import in_order
from gallery.storage.links import Link, Wanted
from gallery.storage.listings import objects
from gallery.storage.originals import FileTooLarge, Original, OriginalReplaced
from gallery.trees import names, roots
from gallery.trees.beneath import open_beneath

# An address is used at once, and its file may be replaced; clocks differ by some minutes.
LINK_SECONDS = 300
_MOST_PLACES = 64  # that a process keeps a client for


class Known(NamedTuple):
    """A file that the gallery knows of a place, with the primary key of its image."""

    id: int
    key: str
    version: str
    sha256: str


class Place(Protocol):
    """Where originals lie. All of it may raise BucketUnavailable or another OSError."""

    def open(self, key: str, version: str, *, most: int | None = None) -> IO[bytes]:
        """Return the file, seekable. Raise FileNotFoundError, OriginalReplaced, FileTooLarge."""
        ...

    def version(self, key: str) -> str:
        """Return in which version a file is there now. Raise FileNotFoundError."""
        ...

    def versions(self, known: Iterable[Known]) -> Iterator[tuple[Known, str]]:
        """Say of known files, in the order of their keys, in which version each is there now.

        "" is said of what is not there.
        """
        ...

    def link(self, key: str, version: str, wanted: Wanted) -> Link | None:
        """Return an address by which a browser fetches the file. None: the server has to send it.

        Raise FileNotFoundError, OriginalReplaced.
        """
        ...


class BucketPlace:
    """Objects of a bucket below a prefix. Their version is the ETag."""

    def __init__(self, address: BucketAddress, *, is_anonymous: bool) -> None:
        self.address, self._is_anonymous = address, is_anonymous

    def open(self, key: str, version: str, *, most: int | None = None) -> IO[bytes]:
        return fetch(self._client, WantedObject(self._bucket, self._start + key, version, most))

    def version(self, key: str) -> str:
        with told_as_os_errors("answer"):
            head = self._client.head_object(Bucket=self._bucket, Key=self._start + key)
            return version_of(whole(head))

    def versions(self, known: Iterable[Known]) -> Iterator[tuple[Known, str]]:
        # A thousand are listed by one request; to ask for each would take hours.
        listed = self._listed()
        entry = next(listed, None)
        for one in known:
            while entry is not None and in_order(entry[0]) < in_order(one.key):
                entry = next(listed, None)
            yield one, entry[1] if entry is not None and entry[0] == one.key else ""

    def link(self, key: str, version: str, wanted: Wanted) -> Link | None:
        # Of what is asked without keys no answer can be shaped; and browsers resolve dots.
        is_plain = not any(part in ("", ".", "..") for part in (self._start + key).split("/"))
        if self._is_anonymous or not is_plain or settings.STORAGE_URL_SECONDS == 0:
            return None
        if self.version(key) != version:
            raise OriginalReplaced
        name = {"Bucket": self._bucket, "Key": self._start + key}
        shown = {
            "ResponseContentType": wanted.content_type,
            "ResponseContentDisposition": wanted.disposition,
        }
        with told_as_os_errors("sign an address"):
            url = self._signer.generate_presigned_url(
                "get_object",
                Params=name | shown,
                ExpiresIn=min(LINK_SECONDS, settings.STORAGE_URL_SECONDS),
                HttpMethod=wanted.method,
            )
        return Link(str(url), 0)  # never kept: the next look may find another file there

    def _listed(self) -> Iterator[tuple[str, str]]:
        for entry in objects(self._client, self._bucket, self._start):
            yield entry["Key"].removeprefix(self._start), version_of(entry)

    @property
    def _bucket(self) -> str:
        return self.address.bucket

    @property
    def _start(self) -> str:
        return f"{self.address.prefix}/" if self.address.prefix else ""

    @cached_property
    def _client(self) -> Any:
        return clients.connect(self.address, is_anonymous=self._is_anonymous)

    @cached_property
    def _signer(self) -> Any:
        # The host is part of what is signed: browsers get an address of the host they reach.
        public = self.address.public
        return clients.connect(self.address, endpoint=public) if public else self._client


class FolderPlace:
    """Files below a folder that the settings allow. Their version is size and time."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, key: str, version: str, *, most: int | None = None) -> IO[bytes]:
        file = self._open(key)
        status = os.fstat(file.fileno())
        if version != _version(status):
            file.close()
            raise OriginalReplaced
        if most is not None and status.st_size > most:
            file.close()
            raise FileTooLarge
        return file

    def version(self, key: str) -> str:
        with self._open(key) as file:
            return _version(os.fstat(file.fileno()))

    def versions(self, known: Iterable[Known]) -> Iterator[tuple[Known, str]]:
        root = self._root()
        os.stat(root)  # noqa: PTH116 - a folder that is not there has not lost its files
        if _is_bare(root):
            raise _away()
        unread: PermissionError | None = None
        for one in known:
            try:
                version = self.version(one.key)
            except FileNotFoundError:
                version = ""
            except PermissionError as error:
                unread = error  # it says nothing of this one; the others are looked at all the same
                continue
            yield one, version
        if unread is not None:
            raise unread

    def link(self, key: str, version: str, wanted: Wanted) -> Link | None:
        return None

    def _root(self) -> str:
        root = os.path.realpath(self._path)
        if not is_allowed(root):
            raise PermissionError(
                errno.EACCES, "the folder of the originals is not in REFERENCED_FOLDERS"
            )
        return root

    def _open(self, key: str) -> IO[bytes]:
        root = self._root()
        try:
            return _plain_file(root, key)
        except FileNotFoundError as error:
            if _is_bare(root):
                raise _away() from error
            raise


def _plain_file(root: str, key: str) -> IO[bytes]:
    try:
        path = names.path_of(key)
        # `open_beneath` follows links within the folder. Here none is followed: what is named
        # is a file, and not what somebody lets a name lead to tomorrow.
        if os.path.realpath(f"{root}/{path}") != f"{root.rstrip('/')}/{path}":
            raise FileNotFoundError(errno.ENOENT, "it is a link, or below one")
        return open_beneath(root, path)
    except (ItemUnreadable, NotADirectoryError, ValueError) as error:
        raise FileNotFoundError(errno.ENOENT, "there is no plain file of that name") from error


def _is_bare(root: str) -> bool:
    """Whether a folder is not there or empty: most often its disk is not mounted."""
    try:
        return roots.is_bare(root)
    except (FileNotFoundError, NotADirectoryError):
        return True


def _away() -> OSError:
    # As of a network folder that is away: nobody knows anything of its files.
    return OSError(errno.ESTALE, "the folder of the originals is empty or not there")


def place_of(original: Original) -> Place:
    """Return the place where an original lies. Raise BucketUnavailable, or OSError."""
    place = _opened(original.address, original.is_anonymous)
    if isinstance(place, BucketPlace):
        # A row may have come with a stranger's backup, and this machine stand in a network that
        # is none of theirs.
        refuse_strange(place.address)
    return place


def refuse_strange(address: BucketAddress) -> None:
    """Raise PermissionError for a bucket at a server that the settings do not name."""
    own = default_storage.address.servers if isinstance(default_storage, BucketStorage) else set()
    strange = address.servers.difference(settings.REFERENCED_ENDPOINTS, own)
    if strange:
        raise PermissionError(
            errno.EACCES, f"{', '.join(sorted(strange))} is not in REFERENCED_ENDPOINTS"
        )


def is_allowed(path: str) -> bool:
    """Whether files below a folder, given by its real path, may be shown in place."""
    real = Path(path)
    return any(real.is_relative_to(os.path.realpath(one)) for one in settings.REFERENCED_FOLDERS)


@lru_cache(_MOST_PLACES)
def _opened(address: str, is_anonymous: bool) -> Place:  # noqa: FBT001 - a key of the cache
    if not address.startswith("s3://"):
        return FolderPlace(address)
    try:
        known = addresses.parse_bucket(address)
    except ValueError as error:
        # No import writes such a row; it came with a backup, or by hand.
        raise BucketUnavailable(f"its address is wrong: {error}", is_settled=True) from error
    return BucketPlace(known, is_anonymous=is_anonymous)


def _version(status: os.stat_result) -> str:
    """Return the version as the importers of folders write it."""
    return f"{status.st_size}:{status.st_mtime_ns}"
