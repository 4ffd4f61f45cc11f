"""Snapshots: an index written to a folder, whole or not at all, with its row in the database.

The row is the pointer and is written last: a builder that dies at any line leaves the snapshot
before it in force, and at most a folder that nobody points to.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import connection, transaction

from embeddings import feed
from embeddings.errors import FeedLost, SnapshotBroken
from embeddings.feed import FeedPosition
from embeddings.indexes import faiss_flat
from embeddings.indexes.faiss_flat import FaissFlat
from embeddings.models import AbstractEmbedding, Snapshot, Space
from embeddings.recall import RecallProbe, probe_queries
from embeddings.streams import stream_vectors

log = logging.getLogger(__name__)

INDEX_FILE, IDS_FILE, META_FILE = "index.faiss", "ids.npy", "meta.json"
KEPT = 2  # the newest, and the one that a slow process may still be opening


@dataclass(frozen=True)
class Meta:
    """What the folder says of itself."""

    kind: str
    dimensions: int
    vectors: int
    sha256: dict[str, str]


def build(model: type[AbstractEmbedding], space: Space) -> Snapshot | None:
    """Build and publish a snapshot; None when another process is building this one.

    Raise SnapshotBroken when the new index does not find what exact search finds.
    """
    with transaction.atomic():
        if not _alone(f"{model._meta.db_table}:{space.pk}"):
            return None
        started = time.monotonic()
        # Before the vectors are read: what changes meanwhile is applied twice, never missed.
        position = feed.position(model)
        probe = RecallProbe(probe_queries(model, space))
        index = FaissFlat.build(probe.watch(stream_vectors(model, space)), space.dimensions)
        recall = probe.recall_of(index)
        if recall < 0.99:
            raise SnapshotBroken(f"The new index finds only {recall:.1%} of the true neighbours.")
        folder = write(index, space.dimensions, root_folder(model, space))
        snapshot = Snapshot.objects.create(
            table=model._meta.db_table,
            space=space,
            folder=str(folder.relative_to(settings.INDEX_DIR)),
            kind=faiss_flat.KIND,
            vectors=len(index),
            bytes=_bytes_of(folder),
            recall=recall,
            feed_identity=position.identity,
            feed_snapshot=position.snapshot,
            build_seconds=time.monotonic() - started,
        )
    remove_old(model, space)
    return snapshot


def is_due(model: type[AbstractEmbedding], space: Space) -> bool:
    """Whether the newest snapshot is missing, lost to the feed, or far behind it."""
    newest = newest_snapshot(model, space)
    if newest is None or _bytes_of(settings.INDEX_DIR / newest.folder) != newest.bytes:
        return model._default_manager.filter(space=space).exists()
    try:
        behind = feed.count_changes(model, space, position_of(newest))
    except FeedLost:
        return True
    return behind >= settings.INDEX_DELTA_LIMIT


def newest_snapshot(model: type[AbstractEmbedding], space: Space) -> Snapshot | None:
    return Snapshot.objects.filter(table=model._meta.db_table, space=space).first()


def position_of(snapshot: Snapshot) -> FeedPosition:
    return FeedPosition(snapshot.feed_identity, snapshot.feed_snapshot)


def open_snapshot(snapshot: Snapshot) -> FaissFlat:
    """Map a snapshot's index. Raise SnapshotBroken unless its files are as they were written."""
    folder = settings.INDEX_DIR / snapshot.folder
    try:
        meta = Meta(**json.loads((folder / META_FILE).read_text()))
        for name, sha256 in meta.sha256.items():
            if _sha256(folder / name) != sha256:
                raise SnapshotBroken(f"{folder / name} has changed since it was written.")
        ids = np.load(folder / IDS_FILE, allow_pickle=False)
        return FaissFlat.open(folder / INDEX_FILE, ids)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise SnapshotBroken(f"The snapshot in {folder} cannot be read: {error}") from error


def write(index: FaissFlat, dimensions: int, root: Path) -> Path:
    """Write an index to a new folder below root, which is there whole or not at all."""
    draft = root / f"draft-{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    folder = root / time.strftime(f"%Y%m%d-%H%M%S-{uuid.uuid4().hex[:8]}")
    try:
        _fill(draft, index, dimensions)
        draft.rename(folder)
    finally:
        # Gone by its name if all went well; else a full disk must not be filled again next time.
        shutil.rmtree(draft, ignore_errors=True)
    _sync(root)
    return folder


def _fill(folder: Path, index: FaissFlat, dimensions: int) -> None:
    index.write(folder / INDEX_FILE)
    np.save(folder / IDS_FILE, index.ids)
    sha256 = {name: _sha256(folder / name) for name in (INDEX_FILE, IDS_FILE)}
    meta = Meta(faiss_flat.KIND, dimensions, len(index), sha256)
    (folder / META_FILE).write_text(json.dumps(asdict(meta), indent=2))
    for file in folder.iterdir():
        _sync(file)


def remove_old(model: type[AbstractEmbedding], space: Space) -> None:
    """Remove all but the newest snapshots, and drafts of builders that died.

    A process that has an old one mapped keeps its pages until it lets go.
    """
    with transaction.atomic():
        if not _alone(f"{model._meta.db_table}:{space.pk}"):
            return  # a draft is in the making; who makes it comes by here afterwards
        rows = Snapshot.objects.filter(table=model._meta.db_table, space=space)
        keep = list(rows[:KEPT])
        rows.exclude(pk__in=[row.pk for row in keep]).delete()
        names = {Path(row.folder).name for row in keep}
        for folder in root_folder(model, space).iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)


def root_folder(model: type[AbstractEmbedding], space: Space) -> Path:
    folder: Path = settings.INDEX_DIR / model._meta.db_table / str(space.pk)
    return folder


def _alone(what: str) -> bool:
    """Take the builder's lock until the transaction ends; False if another has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7))", [what])
        return bool(cursor.fetchone()[0])


def _bytes_of(folder: Path) -> int:
    """Return the size of a snapshot's files together; 0 when it is not there."""
    return sum(file.stat().st_size for file in folder.glob("*"))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
