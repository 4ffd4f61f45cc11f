"""Many files deleted, in as few requests as the storage takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.core.files.storage import Storage

from gallery.storage.bucket import BucketStorage
from gallery.storage.clients import BucketUnavailable

AT_ONCE = 1000  # the most that S3 takes


def delete_files(storage: Storage, names: Sequence[str]) -> list[str]:
    """Delete files; return the names of those that resisted. One that is not there does not.

    Never raises OSError: whatever happens, what can be deleted is.
    """
    resisted: list[str] = []
    for start in range(0, len(names), AT_ONCE):
        resisted += _delete(storage, names[start : start + AT_ONCE])
    return resisted


def _delete(storage: Storage, names: Sequence[str]) -> list[str]:
    if isinstance(storage, BucketStorage) and len(names) > 1:
        try:
            return storage.delete_many(names)
        except OSError as error:
            if isinstance(error, BucketUnavailable) and error.is_away:
                return list(names)
            # Not every server that speaks S3 knows this request, or its hashes; some answer as if
            # a file were asked for that is not there.
    return list(_resisting(storage, names))


def _resisting(storage: Storage, names: Sequence[str]) -> Iterator[str]:
    is_away = False
    for name in names:
        try:
            if not is_away:  # each would take the patience of a minute
                storage.delete(name)
                continue
        except BucketUnavailable as error:
            is_away = error.is_away
        except OSError:
            pass
        yield name
