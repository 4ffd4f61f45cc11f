"""A storage by its address, as commands are given it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, default_storage

from gallery.errors import StorageUnavailable
from gallery.storage import addresses
from gallery.storage.addresses import BucketAddress
from gallery.storage.bucket import BucketStorage
from gallery.storage.clients import BucketUnavailable
from gallery.storage.folder import FolderStorage

LOCAL = "local"  # the folder that is used when STORAGE_URL is empty


class StorageMisconfigured(StorageUnavailable):
    """Waiting does not help: the address or the keys are wrong."""


def open_storage(text: str) -> Storage:
    """Return the storage of an address, of a folder, or of "local". Raise StorageUnavailable."""
    own = Path(settings.DATA_DIR) / "media"
    try:
        address = addresses.parse("" if text == LOCAL else text, default=own)
    except ValueError as error:
        raise StorageMisconfigured(f"The address of a storage is wrong: {error}.") from error
    if isinstance(address, BucketAddress):
        storage = BucketStorage(address=address)
        prove(storage)
        return storage
    return FolderStorage(location=address.path)


def place(storage: Storage) -> str:
    """Return where a storage is, the same for two of one place."""
    if isinstance(storage, BucketStorage):
        return f"{storage.address} {storage.address.endpoint}"
    if isinstance(storage, FileSystemStorage):
        return str(Path(storage.location).resolve())
    raise TypeError(f"Nobody knows where a {type(storage).__name__} is.")


def is_in_use(storage: Storage) -> bool:
    """Say whether it is the one that the settings name."""
    return place(storage) == place(default_storage)


def refuse_the_same(source: Storage, *others: Storage) -> None:
    """Raise StorageUnavailable when another storage is the source under another spelling.

    A file of the source is looked for in the others: an endpoint has many names, a disk many
    paths. Raise StorageUnavailable, too, for what does not take, look for or delete that file.
    """
    with told_as_unavailable("FROM takes no file, so nothing can be deleted from it"):
        name = source.save(f"probe-{uuid4()}", ContentFile(b"Written by move_storage."))
    try:
        with told_as_unavailable("TO, or the storage of STORAGE_URL, does not answer"):
            is_same = any(other.exists(name) for other in others)
    finally:
        with told_as_unavailable(f"Nothing can be deleted from FROM, {name} neither"):
            source.delete(name)
    if is_same:
        raise StorageUnavailable(
            "FROM is the same storage as TO, or as that of STORAGE_URL: nothing is deleted."
        )


def is_same_file(name: str, source: Storage, *others: Storage) -> bool:
    """Say whether a file of the source is that of another folder: links lead to it from both."""
    if not isinstance(source, FileSystemStorage):
        return False
    paths = [Path(one.path(name)) for one in others if isinstance(one, FileSystemStorage)]
    return any(path.exists() and path.samefile(source.path(name)) for path in paths)


@contextmanager
def told_as_unavailable(sentence: str) -> Iterator[None]:
    """Turn an OSError of the block into StorageUnavailable: what is not possible, and why."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"{sentence}: {error.strerror or error}.") from error


def prove(storage: Storage) -> None:
    """Ask a bucket whether it is there and opens.

    Raise StorageMisconfigured when it never will, StorageUnavailable when it does not now.
    """
    if not isinstance(storage, BucketStorage):
        return
    try:
        storage.probe()
    except FileNotFoundError as error:
        raise StorageMisconfigured(f"There is no bucket {storage.bucket_name}.") from error
    except OSError as error:
        sentence = f"{str(error)[:1].upper()}{str(error)[1:]}."
        if isinstance(error, BucketUnavailable) and error.is_settled:
            wrong = f"{sentence} Look at the keys and at STORAGE_URL."
            raise StorageMisconfigured(wrong) from error
        raise StorageUnavailable(f"{sentence} Try again later.") from error
