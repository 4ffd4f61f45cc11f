"""Objects of a bucket, fetched whole: what is read from one then cannot break off."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, closing
from typing import IO, Any, NamedTuple, cast

from botocore.exceptions import BotoCoreError, IncompleteReadError
from urllib3.exceptions import HTTPError

from gallery.storage import clients
from gallery.storage.clients import told_as_os_errors
from gallery.storage.originals import FileTooLarge, OriginalReplaced

MEMORY_BYTES = 8 * 2**20  # of an open file; a larger one lies on the disk meanwhile
_TRIES = 3  # of a body that breaks off; to be answered at all, the client has tries of its own
_PIECE_BYTES = 2**20


class Wanted(NamedTuple):
    """An object; in one version only, and no larger than `most` bytes, where that is said."""

    bucket: str
    key: str
    version: str = ""
    most: int | None = None


def fetch(client: Any, wanted: Wanted) -> IO[bytes]:
    """Return the bytes of an object, all of them here.

    Raise FileNotFoundError, OriginalReplaced where it has another version, FileTooLarge,
    BucketUnavailable.
    """
    with ExitStack() as undo, told_as_os_errors("give a file"):
        # Closed by whoever is given it.
        here = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        undo.callback(here.close)
        for tries_left in reversed(range(_TRIES)):
            try:
                _fetch(client, wanted, cast("IO[bytes]", here))
                break
            except (BotoCoreError, HTTPError):
                if not tries_left:
                    raise
                here.seek(0)
                here.truncate()
        undo.pop_all()
    here.seek(0)
    return cast("IO[bytes]", here)


def version_of(answer: dict[str, Any]) -> str:
    """Return the version that an answer, or an entry of a list, says of its object."""
    return str(answer.get("ETag", "")).strip('"')


def whole(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer. Raise IncompleteReadError where the connection was lost in its headers.

    Python takes what has come of them for all; then a body would have no end, or no version.
    """
    if "ContentLength" not in answer or "ETag" not in answer:
        raise IncompleteReadError(actual_bytes=0, expected_bytes=1)
    return answer


def _fetch(client: Any, wanted: Wanted, here: IO[bytes]) -> None:
    name = {"Bucket": wanted.bucket, "Key": wanted.key}
    answer = client.get_object(**name)
    with closing(answer["Body"]) as body:
        _check(whole(answer), wanted)
        if answer["ContentLength"] < clients.TRANSFER.multipart_threshold:
            shutil.copyfileobj(body, here, _PIECE_BYTES)
            return
    # In parts, several at once. Each may be of another version than the one before.
    client.download_fileobj(*name.values(), here, Config=clients.TRANSFER)
    if wanted.version:
        _check(whole(client.head_object(**name)), wanted)


def _check(answer: dict[str, Any], wanted: Wanted) -> None:
    if wanted.version and version_of(answer) != wanted.version:
        raise OriginalReplaced
    if wanted.most is not None and answer["ContentLength"] > wanted.most:
        raise FileTooLarge
