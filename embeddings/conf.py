"""Settings of the plugin and their defaults: a project names only those it wants otherwise."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from django.conf import settings

# INDEX_DIR alone has no default: only the project knows where it may write.
REQUIRED = ("INDEX_DIR",)

DEFAULTS: MappingProxyType[str, Any] = MappingProxyType(
    {
        "ENCODER": "",
        "ENCODER_REVISION": "main",
        "ENCODER_DEVICE": "auto",
        "ENCODER_PRECISION": "auto",
        "ENCODER_LEAST_COSINE": 0.999,
        "ENCODER_LEAST_OVERLAP": 0.97,
        "ENCODER_CACHE_DIR": "",  # of exported encoders; empty: INDEX_DIR
        "ENCODER_THREADS": 0,
        "INDEX_POLL_SECONDS": 0.5,
        "INDEX_KIND": "auto",
        "INDEX_MEMORY_MB": 0,
        "INDEX_RECALL": 0.98,
        "INDEX_STALE_SECONDS": 30.0,
        "INDEX_DELTA_LIMIT": 5000,
        "INDEX_DELTA_SECONDS": 3600,
        "INDEX_NARROW_FILTER": 100,
        "INDEX_FILTER_CACHE_MEGABYTES": 64,
        "FEED_KEEP_HOURS": 24,
        "JOB_LEASE_SECONDS": 30,
        "JOB_MAX_ATTEMPTS": 3,
        "VECTOR_TABLE": "",  # "app.Model" that SemanticSearcher.from_settings() searches
    }
)


def set_defaults() -> None:
    """Give each setting that the project does not name its default. Called once, at the start."""
    for name, value in DEFAULTS.items():
        if not hasattr(settings, name):
            setattr(settings, name, value)
