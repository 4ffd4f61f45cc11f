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
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from embeddings import feed, niceness
from embeddings.errors import FeedLost, SnapshotBroken
from embeddings.feed import FeedPosition
from embeddings.indexes import kinds
from embeddings.indexes.kinds import StoredIndex
from embeddings.indexes.spool import Spool
from embeddings.models import AbstractEmbedding, Snapshot, Space
from embeddings.recall import RecallProbe, Tuned, probe_queries, tune
from embeddings.streams import stream_vectors
from embeddings.vectors import Vectors

log = logging.getLogger(__name__)

INDEX_FILE, IDS_FILE, META_FILE = "index.faiss", "ids.npy", "meta.json"
BACKGROUND_FILE = "background.npy"
BACKGROUND = 2000  # vectors a query's scores are compared with
KEPT = 2  # the newest, and the one that a slow process may still be opening
DELTA_SHARE = 0.01  # of the snapshot's vectors: see delta_limit()
FAR_BEHIND = 10  # times the limit: as good as no snapshot


@dataclass(frozen=True)
class Meta:
    """What the folder says of itself."""

    kind: str
    effort: float | None
    dimensions: int
    vectors: int
    written: str  # unique, so that no two folders can have one name
    sha256: dict[str, str]


@dataclass(frozen=True)
class OpenSnapshot:
    """An index mapped from its files, and the fixed sample that lies beside it."""

    index: StoredIndex
    background: Vectors  # (n <= BACKGROUND, dimensions)


def build(
    model: type[AbstractEmbedding],
    space: Space,
    *,
    kind: str | None = None,
    wanted: str | None = None,
) -> Snapshot | None:
    """Build and publish a snapshot; None when another process is building this one.

    Without a kind, the one of INDEX_KIND is built. Where its recall on held-out queries stays
    below INDEX_RECALL a safer one is. `wanted` is what the row says the settings asked for, by
    default their choice now: as long as they ask for the same, no other kind is due. Raise
    SnapshotBroken when not even exact search over the new index finds what is there, ValueError
    for a kind that is not known.
    """
    if kind is not None and kind not in kinds.NAMES:
        raise ValueError(f"{kind!r} is no kind of index; there are {', '.join(kinds.NAMES)}.")
    with transaction.atomic():
        if not _alone(f"{model._meta.db_table}:{space.pk}"):
            return None
        started = time.monotonic()
        # Before the vectors are read: what changes meanwhile is applied twice, never missed.
        position = feed.position(model)
        root = root_folder(model, space)
        spool = Spool.fill(stream_vectors(model, space), space.dimensions, root)
        chosen = chosen_kind(len(spool), space)
        built, tuned = _built(kind or chosen, spool, probe_queries(space, spool))
        folder = write(tuned.index, built, spool, root)
        snapshot = Snapshot.objects.create(
            table=model._meta.db_table,
            space=space,
            folder=str(folder.relative_to(settings.INDEX_DIR)),
            kind=built,
            wanted=wanted or chosen,
            vectors=len(spool),
            bytes=_bytes_of(folder),
            recall=tuned.recall,
            effort=tuned.index.effort,
            curve=tuned.curve,
            feed_identity=position.identity,
            feed_snapshot=position.snapshot,
            build_seconds=time.monotonic() - started,
        )
    remove_old(model, space)
    return snapshot


def _built(first: str, spool: Spool, queries: Vectors) -> tuple[str, Tuned]:
    """Return the first kind whose recall suffices, of `first` and the safer ones, and its index."""
    probe = RecallProbe(queries, spool)
    for kind in (first, *kinds.PROFILES[first].safer):
        index = niceness.run(partial(kinds.build, kind, spool))
        tuned = niceness.run(partial(tune, index, probe, settings.INDEX_RECALL))
        if tuned.is_enough:
            # The file of "gpu" is a flat one; any other is flat where there is little to learn.
            return ("gpu" if kind == "gpu" else index.kind), tuned
        log.warning(
            "%s finds %.1f%% of the true neighbours at most; INDEX_RECALL asks for %.1f%%.",
            index.kind, 100 * tuned.recall, 100 * settings.INDEX_RECALL,
        )  # fmt: skip
    raise SnapshotBroken(f"The new index finds only {tuned.recall:.1%} of the true neighbours.")


def chosen_kind(n: int, space: Space) -> str:
    """Return the kind of INDEX_KIND for n vectors of a space."""
    budget = kinds.memory_bytes(settings.INDEX_MEMORY_MB)
    return kinds.choose(settings.INDEX_KIND, n, space.dimensions, budget)


def delta_limit(vectors: int) -> int:
    """Return how many changes a snapshot of so many vectors bears before it is built anew.

    The delta is compared with in full, about 0.15 ms a thousand vectors of 512 dimensions at each
    search, and a rebuild costs what the snapshot's size demands: a minute at a million.
    """
    return max(settings.INDEX_DELTA_LIMIT, int(DELTA_SHARE * vectors))


def due_kind(model: type[AbstractEmbedding], space: Space) -> str | None:
    """Return the kind to build now; None when the newest snapshot serves well.

    One is due when the newest is missing or harmed, lost to the feed, far behind it, or has missed
    some changes for INDEX_DELTA_SECONDS. Where nothing serves many vectors, the kind that is built
    in seconds comes first; it is then due for its better.
    """
    newest = newest_snapshot(model, space)
    if newest is None or not _is_whole(newest):
        return _first_kind(model, space)
    try:
        behind = feed.count_changes(model, space, position_of(newest))
    except FeedLost:
        return _first_kind(model, space) or chosen_kind(0, space)
    limit = delta_limit(newest.vectors)
    if behind >= FAR_BEHIND * limit:
        return _first_kind(model, space)
    # By the size it had: a number that hovers about a limit must not build again and again.
    chosen = chosen_kind(newest.vectors, space)
    is_old = timezone.now() - newest.built_at > timedelta(seconds=settings.INDEX_DELTA_SECONDS)
    if newest.wanted != chosen or behind >= limit or (behind and is_old):
        return chosen_kind(_count(model, space), space)
    return None


def is_due(model: type[AbstractEmbedding], space: Space) -> bool:
    """Whether a snapshot is to be built now, see due_kind()."""
    return due_kind(model, space) is not None


def _first_kind(model: type[AbstractEmbedding], space: Space) -> str | None:
    """Return what to build where nothing serves; None when there is nothing to build."""
    n = _count(model, space)
    chosen = chosen_kind(n, space)
    return (chosen if kinds.PROFILES[chosen].quick_too else kinds.QUICK) if n else None


def _count(model: type[AbstractEmbedding], space: Space) -> int:
    return model._default_manager.filter(space=space).count()


def newest_snapshot(model: type[AbstractEmbedding], space: Space) -> Snapshot | None:
    return Snapshot.objects.filter(table=model._meta.db_table, space=space).first()


def position_of(snapshot: Snapshot) -> FeedPosition:
    return FeedPosition(snapshot.feed_identity, snapshot.feed_snapshot)


def open_snapshot(snapshot: Snapshot) -> OpenSnapshot:
    """Map a snapshot's index. Raise SnapshotBroken unless its files are as they were written.

    Nothing of FAISS sees a byte before its sha256 is right: a file that lies about its sizes could
    end the process. 1.0 GB/s and more, so 528 MB in half a second, and the pages are warm then.
    """
    folder = settings.INDEX_DIR / snapshot.folder
    try:
        meta = _check(folder)
        ids = np.load(folder / IDS_FILE, allow_pickle=False)
        background = np.load(folder / BACKGROUND_FILE, allow_pickle=False).astype(np.float32)
        index = kinds.open_file(meta.kind, folder / INDEX_FILE, ids, effort=meta.effort)
        return OpenSnapshot(index, background)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise SnapshotBroken(f"The snapshot in {folder} cannot be read: {error}") from error


def _check(folder: Path) -> Meta:
    """Read the files' own account, and raise SnapshotBroken unless they hold what it says.

    The account's own sha256 is in the folder's name, which the database holds.
    """
    account = (folder / META_FILE).read_bytes()
    if not folder.name.endswith(_short(account)):
        raise SnapshotBroken(f"{folder / META_FILE} has changed since it was written.")
    meta = Meta(**json.loads(account))
    for name in (INDEX_FILE, IDS_FILE, BACKGROUND_FILE):
        if _sha256(folder / name) != meta.sha256.get(name):
            raise SnapshotBroken(f"{folder / name} has changed since it was written.")
    return meta


def write(index: StoredIndex, kind: str, spool: Spool, root: Path) -> Path:
    """Write an index to a new folder below root, which is there whole or not at all."""
    draft = root / f"draft-{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    try:
        account = _fill(draft, index, kind, spool)
        folder = root / time.strftime(f"%Y%m%d-%H%M%S-{_short(account)}")
        draft.rename(folder)
    finally:
        # Gone by its name if all went well; else a full disk must not be filled again next time.
        shutil.rmtree(draft, ignore_errors=True)
    _sync(root)
    return folder


def _fill(folder: Path, index: StoredIndex, kind: str, spool: Spool) -> bytes:
    """Write the files of a snapshot, and return their account as it is written."""
    index.write(folder / INDEX_FILE)
    np.save(folder / IDS_FILE, index.ids)
    np.save(folder / BACKGROUND_FILE, spool.sample(BACKGROUND).astype(np.float16))
    sha256 = {name: _sha256(folder / name) for name in (INDEX_FILE, IDS_FILE, BACKGROUND_FILE)}
    meta = Meta(kind, index.effort, spool.dimensions, len(spool), uuid.uuid4().hex, sha256)
    account = json.dumps(asdict(meta), indent=2).encode()
    (folder / META_FILE).write_bytes(account)
    for file in folder.iterdir():
        _sync(file)
    return account


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


def remove_all(model: type[AbstractEmbedding], space: Space) -> bool:
    """Remove every snapshot of a space; False while one is being built."""
    with transaction.atomic():
        if not _alone(f"{model._meta.db_table}:{space.pk}"):
            return False
        Snapshot.objects.filter(table=model._meta.db_table, space=space).delete()
        shutil.rmtree(root_folder(model, space), ignore_errors=True)
        return True


def remove_orphans() -> int:
    """Remove the folders of spaces that are no more. Return how many."""
    # Listed before the spaces are read: a space made meanwhile has no folder in the list.
    folders = [folder for folder in settings.INDEX_DIR.glob("*/*") if folder.is_dir()]
    there = {str(pk) for pk in Space.objects.values_list("pk", flat=True)}
    orphans = [folder for folder in folders if folder.name.isdigit() and folder.name not in there]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


def root_folder(model: type[AbstractEmbedding], space: Space) -> Path:
    folder: Path = settings.INDEX_DIR / model._meta.db_table / str(space.pk)
    return folder


def _alone(what: str) -> bool:
    """Take the builder's lock until the transaction ends; False if another has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7))", [what])
        return bool(cursor.fetchone()[0])


def _is_whole(snapshot: Snapshot) -> bool:
    """Whether the files of a snapshot are as they were written, read anew every hour."""
    folder = settings.INDEX_DIR / snapshot.folder
    if _bytes_of(folder) != snapshot.bytes:
        return False
    stamps = tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.iterdir()))
    return _is_as_written(folder, stamps, int(time.time() // 3600))


@lru_cache(maxsize=64)
def _is_as_written(folder: Path, stamps: tuple[tuple[str, int], ...], hour: int) -> bool:
    try:
        _check(folder)
    except (OSError, ValueError, TypeError, AttributeError, SnapshotBroken) as error:
        log.error("A snapshot is to be built anew: %s", error)
        return False
    return True


def _bytes_of(folder: Path) -> int:
    """Return the size of a snapshot's files together; 0 when it is not there."""
    return sum(file.stat().st_size for file in folder.glob("*"))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _short(account: bytes) -> str:
    return hashlib.sha256(account).hexdigest()[:16]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
