"""Is the server alive, and can it do its work? Asked by whatever watches over it."""

from __future__ import annotations

import logging

from django.db import Error as AnyDatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from embeddings import live
from gallery import spaces, worker
from gallery.models import ImageEmbedding

log = logging.getLogger(__name__)


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. It asks nobody else: a dead database is no reason to restart us."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """503 with reasons until all that searching and uploading need is there."""
    reason_by_part = _redis_and_worker() | _database_and_index()
    reasons = [reason for reason in reason_by_part.values() if reason]
    parts = {part: not reason for part, reason in reason_by_part.items()}
    answer = {
        "ready": not reasons,
        "reasons": reasons,
        "parts": parts,
        "notice": "" if reason_by_part["database"] else spaces.notice(),
    }
    return JsonResponse(answer, status=503 if reasons else 200)


# Both return "" or a reason for each part. A reason names what is missing and no more, because
# anybody may ask; the log has the rest.


def _redis_and_worker() -> dict[str, str]:
    try:
        is_alive = worker.is_alive()
    except RedisError as error:
        log.warning("Redis: %s", error)
        return {"redis": "Redis does not answer.", "worker": "A worker needs Redis."}
    return {"redis": "", "worker": "" if is_alive else "No worker was heard of lately."}


def _database_and_index() -> dict[str, str]:
    try:
        ImageEmbedding.objects.exists()
        # Of the space that searches of this process use: after a switch that is the one before,
        # until the new one is loaded.
        space = spaces.active_lately()
        index = live.status(ImageEmbedding, space) if space else "There is no active space."
    except AnyDatabaseError as error:
        log.warning("Database: %s", error)
        return {
            "database": "The database does not answer, or is not migrated.",
            "index": "The index needs the database.",
        }
    return {"database": "", "index": index}
