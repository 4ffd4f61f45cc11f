from __future__ import annotations

from django.urls import path

from gallery import health, metrics
from gallery.views import (
    duplicates,
    files,
    images,
    imports,
    rankings,
    search,
    searches,
    upload,
    videos,
)

urlpatterns = [
    path("", search.search_page, name="search"),
    path("search/<slug:search_id>/totals", rankings.totals_part, name="search-totals"),
    path("search/<slug:search_id>/facets", rankings.facets_part, name="search-facets"),
    path("search/<slug:search_id>/why/<uuid:uuid>", rankings.why, name="search-why"),
    path("searches", searches.saved_searches, name="saved-searches"),
    path("searches/<int:pk>", searches.saved_search, name="saved-search"),
    path("searches/<int:pk>/rename", searches.rename, name="saved-search-rename"),
    path("searches/<int:pk>/delete", searches.delete, name="saved-search-delete"),
    path("images/<uuid:uuid>", images.image_page, name="image"),
    path("images/<uuid:uuid>/similar", images.similar, name="similar"),
    path("images/<uuid:uuid>/edit", images.edit, name="image-edit"),
    path("images/<uuid:uuid>/delete", images.delete, name="image-delete"),
    path("images/<uuid:uuid>/file", files.original, name="original"),
    path("images/<uuid:uuid>/thumbnail/<int:pixels>.webp", files.thumbnail, name="thumbnail"),
    path(
        "public/<uuid:uuid>/thumbnail/<int:pixels>.webp",
        files.public_thumbnail,
        name="public-thumbnail",
    ),
    path("videos/<uuid:uuid>", videos.video_page, name="video"),
    path("videos/<uuid:uuid>/file", videos.video_file, name="video-file"),
    path("videos/<uuid:uuid>/change", videos.change, name="video-change"),
    path("videos/<uuid:uuid>/delete", videos.delete, name="video-delete"),
    path("upload", upload.upload_page, name="upload"),
    path("upload/<uuid:uuid>", upload.session_page, name="upload-session"),
    path("upload/<uuid:uuid>/discard", upload.discard, name="upload-discard"),
    path("imports", imports.imports_page, name="imports"),
    path("imports/<uuid:uuid>", imports.import_page, name="import"),
    path("imports/<uuid:uuid>/progress", imports.progress, name="import-progress"),
    path("imports/<uuid:uuid>/<slug:doing>", imports.change, name="import-change"),
    path("duplicates", duplicates.duplicates_page, name="duplicates"),
    path("duplicates/decided", duplicates.verdicts_page, name="duplicate-verdicts"),
    path("duplicates/decided/<int:pk>/forget", duplicates.forget, name="duplicate-forget"),
    path("duplicates/<int:pk>", duplicates.decide, name="duplicate-decide"),
    path("images/<uuid:uuid>/unlink", duplicates.unlink, name="image-unlink"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
]
