"""What a sender says about a file: its path, and what goes into the record."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from gallery import texts
from gallery.descriptions import Description
from gallery.errors import ImageRefused
from gallery.ingest import MAX_CAPTION
from gallery.models import FolderUse, OnDuplicates, Visibility
from gallery.uploads.errors import UploadInvalid

MAX_PATH = 1000
MAX_METADATA = 20_000  # characters of the header; a server in front usually takes 8,000
MAX_FOLDER_TAG = 100
MAX_FOLDERS = 20


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """A file that somebody begins to send."""

    size: int  # bytes
    path: str = ""
    modified: str = ""  # its time of change as its sender writes it; never read as a time
    about: Description = field(default_factory=Description)
    duplicates: OnDuplicates = OnDuplicates.NOTE
    metadata: str = ""  # the header itself, which tus gives back

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.path, self.size, self.modified)


def fingerprint(path: str, size: int, modified: str) -> str:
    """Return by what a file is known again, or "" where its sender says too little."""
    if not path or not modified:
        return ""
    return hashlib.sha256(f"{size}:{modified}:{path}".encode()).hexdigest()


def clean_path(path: str) -> str:
    """Return a path to show; it opens nothing, so `..` only falls away.

    Of a path that is too long its last part is kept.
    """
    parts = (texts.printable(part) for part in path[-4 * MAX_PATH :].replace("\\", "/").split("/"))
    *folders, name = [part for part in parts if part not in {"", ".", ".."}] or [""]
    return "/".join([*folders, texts.file_name(name)])[-MAX_PATH:].lstrip("/")


def of_folders(path: str, use: str) -> Description:
    """Return what the folders of a path say about its file: its album is the innermost one."""
    folders = path.split("/")[:-1]
    if use == FolderUse.ALBUM and folders:
        return Description(album=folders[-1][:200])
    if use == FolderUse.TAGS:
        return Description(tags=tuple(name[:MAX_FOLDER_TAG] for name in folders[-MAX_FOLDERS:]))
    return Description()


def read_metadata(header: str) -> dict[str, str]:
    """Return the pairs of tus's Upload-Metadata, or raise UploadInvalid."""
    if len(header) > MAX_METADATA:
        raise UploadInvalid(f"Upload-Metadata has at most {MAX_METADATA:,} characters.")
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            pairs[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise UploadInvalid(
                f"Upload-Metadata is wrong: {texts.printable(key)[:50]!r} must be followed by "
                "a space and UTF-8 text in base64."
            ) from error
    return pairs


def of_metadata(pairs: dict[str, str], size: int) -> NewUpload:
    """Return what tus's metadata say; keys that we do not know are left aside."""
    path = pairs.get("relativePath") or pairs.get("filename") or pairs.get("name") or ""
    return NewUpload(
        size=size,
        path=clean_path(path),
        modified=clean_time(pairs.get("lastModified", "")),
        about=_about(pairs),
        duplicates=_on_duplicates(pairs.get("duplicates") or OnDuplicates.NOTE),
    )


def clean_time(modified: str) -> str:
    return texts.printable(modified[:40])


def _on_duplicates(written: str) -> OnDuplicates:
    if written not in OnDuplicates.values:
        raise UploadInvalid(f"duplicates must be one of: {', '.join(OnDuplicates.values)}.")
    return OnDuplicates(written)


def _about(pairs: dict[str, str]) -> Description:
    visibility = pairs.get("visibility", "")
    if visibility not in {"", *Visibility.values}:
        raise UploadInvalid("The visibility must be public or private.")
    try:
        return Description(
            caption=texts.text(pairs.get("caption", ""), name="caption", longest=MAX_CAPTION),
            tags=texts.tags(pairs.get("tags", "").split(",")),
            album=texts.line(pairs.get("album", ""), name="album's name", longest=200),
            visibility=visibility,
        )
    except ImageRefused as refusal:
        raise UploadInvalid(str(refusal)) from refusal
