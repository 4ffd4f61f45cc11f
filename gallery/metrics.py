"""/metrics: figures for Prometheus, read from Postgres when they are asked for.

Nothing is counted in a process, so every web process gives the same answer. They are numbers about
the gallery as a whole: no name, caption or word of anybody is among them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from embeddings import counts, recall
from embeddings.feed import vector_tables
from embeddings.models import AbstractEmbeddingJob, Snapshot, Space
from embeddings.snapshots import newest_snapshot
from gallery import tokens, worker
from gallery.models import Image, State

log = logging.getLogger(__name__)

UNKNOWN = float("nan")  # of the worker, without Redis
LABELS = ("table", "space")

LOG_IN = "Send the API token of a superuser, as Authorization: Bearer TOKEN, or log in."
NO_SUPERUSER = "Only a superuser may read the metrics."
NO_DATABASE = "The database does not answer."


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format, for superusers: 401 or 403 with a sentence for others."""
    try:
        asking = _who_asks(request)
        if asking is None or not asking.is_authenticated:
            refused = _sentence(LOG_IN, 401)
            refused["WWW-Authenticate"] = 'Bearer realm="metrics"'
            return refused
        if not asking.is_superuser:
            return _sentence(NO_SUPERUSER, 403)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Gallery())
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    except (InterfaceError, OperationalError) as error:
        log.warning("Database: %s", error)
        return _sentence(NO_DATABASE, 503)


class Gallery(Collector):
    """What is measured; docs/metrics.md lists it."""

    def collect(self) -> Iterator[Metric]:
        spaces = list(Space.objects.order_by("pk"))
        yield _images()
        yield _spaces(spaces)
        yield _embeddings(spaces)
        yield _jobs(spaces)
        yield from _snapshots(spaces)
        yield from _feed()
        yield from _redis_and_worker()


def _images() -> Metric:
    family = GaugeMetricFamily("semblance_images", "Images by state.", labels=["state"])
    for state in State:
        of_state = Image.objects.filter(state=state).values("state")
        family.add_metric([state.value], counts.count(of_state))
    return family


def _spaces(spaces: Iterable[Space]) -> Metric:
    family = InfoMetricFamily("semblance_space", "Spaces and their encoders.", labels=["space"])
    for space in spaces:
        about = {
            "encoder": space.title,
            "revision": space.revision[:12],
            "dimensions": str(space.dimensions),
            "state": space.state,
        }
        family.add_metric([str(space.pk)], about)
    return family


def _embeddings(spaces: Iterable[Space]) -> Metric:
    family = GaugeMetricFamily("semblance_embeddings", "Stored vectors.", labels=LABELS)
    for model in vector_tables():
        for space in spaces:
            in_space = model._default_manager.filter(space=space).values("space_id")
            family.add_metric([model._meta.db_table, str(space.pk)], counts.count(in_space))
    return family


def _jobs(spaces: Iterable[Space]) -> Metric:
    family = GaugeMetricFamily(
        "semblance_jobs",
        "Subjects that wait for their vector, or are parked after too many failures.",
        labels=[*LABELS, "state"],
    )
    queues = [model for model in apps.get_models() if issubclass(model, AbstractEmbeddingJob)]
    for model in queues:
        for space in spaces:
            jobs = model._default_manager.filter(space=space).values("pk")
            # Who is parked was tried: this leaves the index only the few that were.
            parked = counts.count(jobs.filter(attempts__gt=0, failed_at__isnull=False))
            labels = [model._meta.db_table, str(space.pk)]
            family.add_metric([*labels, "parked"], parked)
            family.add_metric([*labels, "waiting"], max(0, counts.count(jobs) - parked))
    return family


@dataclass(frozen=True)
class _SnapshotFigures:
    """Gauges about the newest snapshot of each table and space."""

    labels: Sequence[str] = LABELS
    families: dict[str, GaugeMetricFamily] = field(default_factory=dict)

    def add(self, name: str, meaning: str, labels: Sequence[str], value: float | None) -> None:
        family = self.families.setdefault(
            name, GaugeMetricFamily(f"semblance_index_{name}", meaning, labels=self.labels)
        )
        if value is not None:
            family.add_metric(labels, value)

    def add_all(self, snapshot: Snapshot) -> None:
        labels = (snapshot.table, str(snapshot.space_id))
        now = timezone.now()
        lag = counts.lag_of(snapshot)
        measured = snapshot.measured_at
        for name, meaning, value in (
            ("vectors", "Vectors in the newest snapshot.", snapshot.vectors),
            ("bytes", "Size of its files.", snapshot.bytes),
            ("age_seconds", "Time since it was built.", _seconds(now - snapshot.built_at)),
            ("build_seconds", "Time it took to build.", snapshot.build_seconds),
            ("recall", "recall@10 when it was built.", snapshot.recall),
            ("recall_now", "recall@10 on recent queries.", snapshot.recall_now),
            (
                "recall_age_seconds",
                "Time since that was measured.",
                _seconds(now - measured) if measured else None,
            ),
            (
                "recall_decayed",
                "1 when recall_now is below INDEX_RECALL: build it anew.",
                int(bool(recall.warning(snapshot))),
            ),
            (
                "missed_changes",
                "Changes it does not hold; every process adds them from the feed.",
                lag.changes if lag else None,
            ),
            ("missed_seconds", "Age of the oldest of these.", lag.seconds if lag else None),
        ):
            self.add(name, meaning, labels, value)


def _snapshots(spaces: Iterable[Space]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "semblance_index_recall_wanted", "The setting INDEX_RECALL.", settings.INDEX_RECALL
    )
    figures = _SnapshotFigures()
    for model in vector_tables():
        for space in spaces:
            if (snapshot := newest_snapshot(model, space)) is not None:
                figures.add_all(snapshot)
    yield from figures.families.values()


def _feed() -> Iterator[Metric]:
    lag = counts.feed_lag()
    yield GaugeMetricFamily("semblance_feed_changes", "Rows of the change feed.", lag.changes)
    yield GaugeMetricFamily(
        "semblance_feed_age_seconds",
        "Age of its oldest row; pruning keeps it near FEED_KEEP_HOURS.",
        lag.seconds,
    )


def _redis_and_worker() -> Iterator[Metric]:
    try:
        is_up, is_alive = 1.0, float(worker.is_alive())
    except RedisError:
        is_up, is_alive = 0.0, UNKNOWN
    yield GaugeMetricFamily("semblance_redis_up", "1 when Redis answers.", is_up)
    yield GaugeMetricFamily(
        "semblance_worker_alive",
        "1 when a worker was heard of lately, NaN when Redis cannot tell.",
        is_alive,
    )


def _who_asks(request: HttpRequest) -> User | AnonymousUser | None:
    header = request.headers.get("Authorization", "")
    if not header:
        return request.user
    scheme, _, token = header.partition(" ")
    return tokens.user_of(token.strip()) if scheme.lower() == "bearer" else None


def _sentence(text: str, status: int) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")


def _seconds(age: timedelta) -> float:
    return max(0.0, age.total_seconds())
