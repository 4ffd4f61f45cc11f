from __future__ import annotations

import os
from pathlib import Path

import dj_database_url

SECRET_KEY = "only-for-tests"
INSTALLED_APPS = ["embeddings", "shop"]
DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
ENCODER = "bundled"
INDEX_DIR = Path(__file__).parent / "index"
