"""What a backup says of itself. It is checked as a stranger's: types, ranges, names."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from embeddings.vectors import Vector
from gallery.backups.errors import BackupBroken

FORMAT: Literal[1] = 1
START, MANIFEST, END = "semblance-backup.json", "manifest.json", "end.json"
DATABASE, FILES, LISTS = "database", "files", "lists"

PART_BYTES = 32 * 2**20  # of a table; held in memory
LIST_FILES = 1000  # files, followed by a list of them
MAX_LIST_BYTES = 8 * 2**20
MAX_MANIFEST_BYTES = 64 * 2**20

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Record(BaseModel):
    """Part of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


R = TypeVar("R", bound="Record")


class FileChoice(StrEnum):
    """Which files of the gallery are in a backup."""

    ALL = "all"
    ORIGINALS = "originals"  # thumbnails are made anew
    LIST = "list"  # none, but what they must be


class Part(Record):
    """A member of the archive and its hash."""

    name: str
    bytes: Count
    sha256: Sha256


class Column(Record):
    name: Identifier
    type: str  # as Postgres writes it


class Table(Record):
    """The rows of a table, as COPY gave them, cut into parts."""

    name: Identifier
    format: Literal["text", "binary"]
    columns: list[Column]
    rows: Count
    parts: list[Part]


class Sequence(Record):
    """What a column's next number is made of."""

    table: Identifier
    column: Identifier
    value: Annotated[int, Field(ge=1, lt=2**63)]
    is_called: bool


class SpaceRecord(Record):
    """A space, for people and for the check of the encoder."""

    id: int
    name: str
    revision: str
    dimensions: Count
    state: str
    vectors_by_table: dict[str, Count]


class Answer(Record):
    """What a question found, best first."""

    ids: list[int]
    scores: list[FiniteFloat]

    @model_validator(mode="after")
    def _check(self) -> Answer:
        if len(self.ids) != len(self.scores):
            raise ValueError("as many scores as ids are due")
        return self


class VectorQuestion(Record):
    """A vector, and its nearest by exact search."""

    table: Identifier
    space: int
    origin: Literal["asked", "stored", "text"]
    text: str = ""  # that the encoder made the vector of
    vector: str  # float32, little-endian, in base64
    answer: Answer

    def as_vector(self) -> Vector:
        return np.frombuffer(base64.b64decode(self.vector), dtype="<f4").astype(np.float32)


class SearchQuestion(Record):
    """A whole search, with filter and rights, as a user asks it."""

    name: str
    user: int
    query: dict[str, object]
    answer: Answer


class Proof(Record):
    """Questions with their answers when the backup was made."""

    vectors: list[VectorQuestion]
    searches: list[SearchQuestion]
    left_out: list[str]  # sentences: what could not be asked


class FileCounts(Record):
    """How many files rows name, and what became of them."""

    named: Count
    kept: Count  # in the archive, or on its lists; the damaged ones too
    bytes: Count
    gone: Count  # deleted with their rows before they were read
    missing: Count
    damaged: Count


class Gone(Record):
    """What was deleted while the files were read, by primary key: it is not to come back."""

    images: frozenset[Count] = frozenset()
    videos: frozenset[Count] = frozenset()

    def has(self, entry: FileEntry) -> bool:
        """Whether a file is of one of these rows."""
        model = entry.field.partition(".")[0]
        gone = {"image": self.images, "video": self.videos}.get(model, frozenset())
        return entry.id in gone


class Manifest(Record):
    """All there is to know of a backup."""

    format: Literal[1]
    id: uuid.UUID
    made_at: datetime
    migrations: dict[str, str]  # the newest of each app
    postgres: str
    storage: str  # where the files were; holds no key
    precision: str  # in which the encoder worked
    files: FileChoice
    file_counts: FileCounts
    gone: Gone = Gone()
    spaces: list[SpaceRecord]
    tables: list[Table]
    sequences: list[Sequence]
    lists: list[Part]
    proof: Proof

    @property
    def active_space(self) -> SpaceRecord | None:
        return next((one for one in self.spaces if one.state == "active"), None)

    @property
    def images(self) -> int:
        """How many images are in the gallery that it makes."""
        return self.rows_of("gallery_image") - len(self.gone.images)

    @property
    def used_spaces(self) -> list[SpaceRecord]:
        """The spaces that get vectors, and whose encoders are known: the active one first."""
        used = [one for one in self.spaces if one.state != "retired" and one.dimensions]
        return sorted(used, key=lambda one: one.state != "active")

    def rows_of(self, table: str) -> int:
        return next((one.rows for one in self.tables if one.name == table), 0)


class Start(Record):
    """The first member: tells a backup from other tars."""

    format: int
    id: uuid.UUID
    made_at: datetime


class End(Record):
    """The last member, of one block: where the manifest is."""

    format: int
    manifest_at: Count
    manifest_sha256: Sha256


class FileEntry(Record):
    """A file that a row names."""

    name: str
    field: str  # "image.file"
    id: Count
    bytes: Count | None = None
    sha256: Sha256 | None = None  # None: on a list, of what can be made anew
    # gone: deleted before it was read. damaged: kept as it is.
    wrong: Literal["", "gone", "missing", "damaged"] = ""

    @property
    def is_kept(self) -> bool:
        """Whether its bytes are in the archive, or on a list."""
        return self.wrong in ("", "damaged")


def read(kind: type[R], content: bytes, *, of: str) -> R:
    """Return the record of JSON. Raise BackupBroken when it is none."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"]) or "it"
        raise BackupBroken(f"The {of} of the backup is wrong: {place}: {first['msg']}.") from error


def read_list(content: bytes) -> list[FileEntry]:
    """Return the files of a list, a JSON object a line. Raise BackupBroken."""
    return [read(FileEntry, line, of="list of files") for line in content.splitlines()]


def write_list(entries: list[FileEntry]) -> bytes:
    return b"".join(entry.model_dump_json().encode() + b"\n" for entry in entries)


def written(record: Record) -> bytes:
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1).encode()


def packed(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
