"""Do database, files, vectors, jobs, imports and index agree? Each check says what does not.

One statement a question, so a gallery in use is seen as of one moment; nothing is changed. Memory
grows with nothing but the ids of one space's vectors, eight bytes each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from django.core.files.storage import default_storage
from django.db.models import Exists, F, Func, IntegerField, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from embeddings.errors import EmbeddingsError
from embeddings.live import LiveIndex, View
from embeddings.models import Space
from embeddings.streams import read_ids
from embeddings.vectors import Ids
from gallery import spaces, subjects
from gallery.models import (
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    ImportItem,
    ImportRun,
    ItemState,
    RunState,
    State,
    Video,
)
from gallery.storage.checking import Check
from gallery.subjects import Subjects

EXAMPLES = 5
_TRIES = 3  # of comparing an index that others write to
_BETWEEN = timedelta(minutes=10)  # two turns of a run that the worker does, at most


@dataclass(frozen=True)
class Disagreement:
    """Two things that do not say the same, and what to do about it."""

    part: str  # files, vectors, states, jobs, index, imports or videos
    sentence: str
    advice: str
    file: str = ""  # that it is about, where it is about one
    wrong: str = ""  # with that file, as `Wrong` says

    def __str__(self) -> str:
        return f"{self.sentence} {self.advice}".strip()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def disagreements(*, hashes: bool = False) -> Iterator[Disagreement]:
    """Look at everything and yield what does not agree, as it is found.

    With `hashes` every original is read. Raise StorageUnavailable when the storage cannot be, and
    PlacesUnread at the very end when a place of others cannot.
    """
    yield from of_states()
    for kind in subjects.ALL:
        yield from of_jobs(kind)
        for space in spaces.current():
            yield from of_vectors(kind, space)
            yield from of_index(kind, space)
    yield from of_items()
    yield from of_runs()
    yield from of_videos()
    yield from of_files(hashes=hashes)


def of_files(*, hashes: bool) -> Iterator[Disagreement]:
    """Every row has its files, every file its row."""
    yield from _some(
        "files",
        Image.objects.filter(file="", reference=None),
        "have no original, neither here nor in a place of others",
        "Delete them, and import them again.",
    )
    check = Check(storage=default_storage, hashes=hashes)
    for findings in check.run():
        for finding in findings:
            row = f" ({finding.field} of {finding.id})" if finding.id else ""
            yield Disagreement(
                "files",
                f"The file {finding.name}{row} is {finding.wrong}: {finding.reason}",
                "" if finding.is_outside else "Run manage.py check_storage --repair.",
                file=finding.name,
                wrong=finding.wrong,
            )


def of_vectors(kind: Subjects, space: Space) -> Iterator[Disagreement]:
    """Every subject has its vector in a space, or a job that will give it one or says why not.

    That none has two is held by Postgres itself.
    """
    field = kind.queue.jobs.subject_field()
    name, model = field.name, field.related_model
    of_space = kind.queue.vectors._default_manager.filter(space=space)
    queued = kind.queue.jobs._default_manager.filter(space=space, **{name: OuterRef("pk")})
    forgotten = model._default_manager.filter(
        ~Exists(of_space.filter(**{name: OuterRef("pk")})), ~Exists(queued)
    )
    yield from _some(
        "vectors",
        forgotten,
        f"have neither a vector in {space} nor a job that gives them one",
        "The worker queues them within a minute: see that bin/start, or a worker and beat, runs.",
    )
    subject = model._default_manager.filter(pk=OuterRef(field.attname))
    yield from _some(
        "vectors",
        of_space.filter(~Exists(subject)),
        f"of {space} are of {name}s that are gone",
        "Delete them, and run manage.py build_index.",
    )
    width = Func(F("vector"), function="vector_dims", output_field=IntegerField())
    yield from _some(
        "vectors",
        of_space.annotate(width=width).exclude(width=space.dimensions),
        f"of {space} have not {space.dimensions} dimensions",
        "Delete them: the worker embeds their subjects anew.",
    )


def of_videos() -> Iterator[Disagreement]:
    """Every video has a frame by which it is found, and its frames lie within it.

    That a frame has a video, and a time of its own in it, is held by Postgres itself.
    """
    yield from _some(
        "videos",
        Video.objects.filter(frames=None),
        "have no frame, so that nothing leads to them",
        "Delete them from the admin, and import them again.",
    )
    behind = Image.objects.filter(video_seconds__gt=F("video__seconds"))
    yield from _some(
        "videos",
        behind,
        "lie behind the end of their video",
        "Delete the video, and import it again.",
    )


def of_states() -> Iterator[Disagreement]:
    """What an image's record says of its vector is so."""
    active = Space.objects.filter(state=Space.State.ACTIVE)
    vector = Exists(ImageEmbedding.objects.filter(image=OuterRef("pk"), space__in=active))
    job = ImageEmbeddingJob.objects.filter(image=OuterRef("pk"), space__in=active)
    advice = "The worker mends it within a minute, or embed them again from the admin."
    if not active.exists():
        return
    for wrong, sentence in (
        (Q(state=State.READY) & ~vector, "are said to be ready and have no vector"),
        (Q(state=State.WAITING) & vector & ~Exists(job), "are said to wait and have their vector"),
        (Q(state=State.FAILED, failure=""), "have failed without a reason"),
        (
            Q(state=State.FAILED) & ~Exists(job.filter(failed_at__isnull=False)),
            "are said to have failed, and no job of theirs is parked",
        ),
    ):
        yield from _some("states", Image.objects.filter(wrong), sentence, advice)


def of_jobs(kind: Subjects) -> Iterator[Disagreement]:
    """Every job can be worked on, or says why it is not."""
    jobs = kind.queue.jobs._default_manager.all()
    for wrong, sentence, advice in (
        (
            Q(failed_at__isnull=False, last_error=""),
            "are parked without a reason",
            "Retry them from the admin.",
        ),
        (
            Q(space__state=Space.State.RETIRED),
            "are of spaces that are no longer in use",
            "The worker removes them within a minute: see that it runs.",
        ),
        (
            Q(lease_token__isnull=True) & Q(lease_until__isnull=False)
            | Q(lease_token__isnull=False, lease_until__isnull=True),
            "are held by nobody until some time, or by somebody for ever",
            "Retry them from the admin.",
        ),
    ):
        yield from _some("jobs", jobs.filter(wrong), sentence, advice)


def of_items() -> Iterator[Disagreement]:
    """The ledger says of every item what became of it.

    A new item without an image is no disagreement: the image may have been deleted since.
    """
    items = ImportItem.objects.all()
    over = Q(run__state__in=[RunState.DONE, RunState.UNDONE])
    for wrong, sentence, advice in (
        (
            Q(state__in=[ItemState.FAILED, ItemState.SKIPPED], reason=""),
            "were not taken and no reason is written",
            "Retry what failed of their runs.",
        ),
        (
            over & Q(state=ItemState.WAITING),
            "wait in a run that is done",
            "Run the same import again.",
        ),
        (
            Q(run__state=RunState.UNDONE, state=ItemState.NEW),
            "are of a run that was undone, and still have their image",
            "Undo the run again.",
        ),
        (
            Q(run__is_dry_run=True, image__isnull=False, state=ItemState.NEW),
            "of a dry run have brought an image",
            "Delete these images if they are not wanted.",
        ),
    ):
        yield from _some("imports", items.filter(wrong), sentence, advice)


def of_runs() -> Iterator[Disagreement]:
    """An import that is done has read its source, and one that is under way is worked on."""
    # The worker does its runs in turns, and others' in between. All that is undone is its.
    runs = ImportRun.objects.annotate(worked_at=Coalesce("lease_until", "created_at"))
    has_died = Q(worked_at__lt=Now(), is_unattended=False)
    is_left = Q(worked_at__lt=Now() - _BETWEEN)
    for wrong, sentence, advice in (
        (
            Q(state=RunState.DONE, is_listed=False),
            "are done and have not read their source to its end",
            "Run the same import again.",
        ),
        (
            Q(state=RunState.RUNNING) & (has_died | is_left),
            "are said to run, and nobody works on them",
            "Resume or undo them.",
        ),
        (
            Q(state=RunState.UNDOING) & is_left,
            "are being undone, and nobody works on them",
            "The worker goes on within a minute: see that bin/start, or a worker and beat, runs.",
        ),
    ):
        yield from _some("imports", runs.filter(wrong), sentence, advice)


def of_index(kind: Subjects, space: Space) -> Iterator[Disagreement]:
    """The index of a space, brought up to date, has the ids that Postgres has."""
    model = kind.queue.vectors
    column = model.subject_field().column
    what = f"The index of {model._meta.verbose_name_plural} in {space}"
    index = LiveIndex(model, space)
    missing = surplus = np.empty(0, np.int64)
    for _ in range(_TRIES):  # between two readings, vectors may come
        try:
            view = index.refresh()
        except EmbeddingsError as error:
            yield Disagreement(
                "index", f"{what} cannot be read: {error}", "Then run manage.py build_index."
            )
            return
        if view is None:
            yield Disagreement(
                "index", f"{what} is not built.", "Run manage.py build_index; Postgres answers."
            )
            return
        stored = read_ids(model._default_manager.filter(space=space), column)
        indexed = _ids_of(view)
        missing, surplus = np.setdiff1d(stored, indexed), np.setdiff1d(indexed, stored)
        if not len(missing) and not len(surplus):
            return
    yield Disagreement(
        "index",
        f"{what} lacks {len(missing):,} vectors and has {len(surplus):,} that are gone, such as "
        f"{', '.join(str(id_) for id_ in [*missing, *surplus][:EXAMPLES])}.",
        "Run manage.py build_index.",
    )


def _ids_of(view: View) -> Ids:
    base = view.base.ids if view.alive is None else view.base.ids[view.alive]
    return np.union1d(base, view.delta.ids)


def _some(part: str, wrong: QuerySet[Any], sentence: str, advice: str) -> Iterator[Disagreement]:
    """Yield one disagreement for all rows of a queryset, with their number and some of them."""
    n = wrong.count()
    if not n:
        return
    examples = list(wrong.order_by("pk").values_list("pk", flat=True)[:EXAMPLES])
    name = str(wrong.model._meta.verbose_name_plural)
    such = ", ".join(str(id_) for id_ in examples)
    yield Disagreement(
        part, f"{n:,} {name} {sentence}: {such}{', ...' if n > EXAMPLES else ''}.", advice
    )
