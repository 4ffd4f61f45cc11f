"""The admin: where images and all that belongs to them are managed."""

from __future__ import annotations

from django.contrib import admin

from gallery.admin import (
    albums,
    auto_tags,
    duplicates,
    images,
    imports,
    jobs,
    spaces,
    tokens,
    videos,
)

__all__ = [
    "albums",
    "auto_tags",
    "duplicates",
    "images",
    "imports",
    "jobs",
    "spaces",
    "tokens",
    "videos",
]

admin.site.site_title = "Semblance"
admin.site.site_header = "Semblance"
admin.site.index_title = "Manage the gallery"
