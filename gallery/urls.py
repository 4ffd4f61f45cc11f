from __future__ import annotations

from django.urls import path

from gallery import health
from gallery.views import files, images, search, upload

urlpatterns = [
    path("", search.search_page, name="search"),
    path("images/<uuid:uuid>", images.image_page, name="image"),
    path("images/<uuid:uuid>/similar", images.similar, name="similar"),
    path("images/<uuid:uuid>/edit", images.edit, name="image-edit"),
    path("images/<uuid:uuid>/delete", images.delete, name="image-delete"),
    path("images/<uuid:uuid>/file", files.original, name="original"),
    path("images/<uuid:uuid>/thumbnail/<int:pixels>.webp", files.thumbnail, name="thumbnail"),
    path("upload", upload.upload_page, name="upload"),
    path("upload/progress", upload.progress, name="upload-progress"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
