"""The JSON API, mounted at /api/v1/; docs/api.md explains it with examples."""

from __future__ import annotations

from gallery.api import (
    auto_tags,
    duplicates,
    images,
    imports,
    saved,
    searches,
    spaces,
    uploads,
    videos,
)
from gallery.api.auth import WRITERS
from gallery.api.errors import JsonAPI

api = JsonAPI(
    title="Semblance",
    version="1",
    urls_namespace="api",
    auth=WRITERS,  # what says nothing else is for users only
    description="Store images, and find them by words or by another image.",
)
api.add_router("", images.router)
api.add_router("", searches.router)
api.add_router("", saved.router)
api.add_router("", uploads.router)
api.add_router("", imports.router)
api.add_router("", duplicates.router)
api.add_router("", videos.router)
api.add_router("", auto_tags.router)
api.add_router("", spaces.router)
