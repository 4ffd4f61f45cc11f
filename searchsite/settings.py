"""Django's settings, each from `environment.py` or fixed here because nobody should change it."""

from __future__ import annotations

from typing import Any

import dj_database_url
import django_stubs_ext
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from gallery.storage import addresses
from searchsite import environment
from searchsite.setting_values import BASE_DIR, celery_broker_url, origin, port_ranges

django_stubs_ext.monkeypatch()

ENVIRONMENT = environment.read()

DATA_DIR = ENVIRONMENT.DATA_DIR
DEBUG = ENVIRONMENT.DEBUG
ALLOWED_HOSTS = list(ENVIRONMENT.ALLOWED_HOSTS)
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.CSRF_TRUSTED_ORIGINS)

for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL"):
    if not getattr(ENVIRONMENT, name):
        raise ImproperlyConfigured(
            f"{name} is not set. Start with bin/start, which sets it, or see docs/settings.md."
        )

SECRET_KEY = ENVIRONMENT.SECRET_KEY

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "ninja",  # the API's interactive pages, from its own files
    "embeddings",
    "gallery",
]

MIDDLEWARE = [
    "searchsite.patience.StatementTimeout",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "searchsite.request_sizes.RequestSize",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "searchsite.urls"
WSGI_APPLICATION = "searchsite.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "gallery.context.site",
            ],
        },
    },
]

DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(
        ENVIRONMENT.DATABASE_URL,
        # Django's own development server makes a thread, and so a connection, a request.
        conn_max_age=0 if DEBUG else 600,
        conn_health_checks=True,
    )
}
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 5,
    **DATABASES["default"].get("OPTIONS", {}),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = ["gallery.logins.LimitedBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "search"
LOGOUT_REDIRECT_URL = "search"

LANGUAGE_CODE = "en"
TIME_ZONE = ENVIRONMENT.TIME_ZONE
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGE = addresses.parse(ENVIRONMENT.STORAGE_URL, default=DATA_DIR / "media")
STORAGE_URL_SECONDS = ENVIRONMENT.STORAGE_URL_SECONDS
REFERENCED_FOLDERS = ENVIRONMENT.REFERENCED_FOLDERS
REFERENCED_ENDPOINTS = ENVIRONMENT.REFERENCED_ENDPOINTS
MEDIA_CDN_URL = ENVIRONMENT.MEDIA_CDN_URL
MEDIA_ROOT = STORAGE.path if isinstance(STORAGE, addresses.FolderAddress) else DATA_DIR / "media"
STORAGES = {
    "default": STORAGE.backend(),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_TEMP_DIR = None
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20
DATA_UPLOAD_MAX_NUMBER_FILES = 200
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    # Pages that are not ours and bring inline scripts; they show nothing that a stranger wrote
    # without escaping it.
    "EXCLUDE_URL_PREFIXES": ["/admin/", "/api/v1/docs"],
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [
            *(SELF, "blob:", "data:"),
            *(STORAGE.origins if STORAGE_URL_SECONDS else ()),
            *([origin(MEDIA_CDN_URL)] if MEDIA_CDN_URL else []),
        ],
        "media-src": [SELF, *(STORAGE.origins if STORAGE_URL_SECONDS else ())],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
if ENVIRONMENT.SECURE:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000  # of this host alone: others of the domain are not ours
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

REDIS_URL = ENVIRONMENT.REDIS_URL
CACHES = {
    "default": {
        "BACKEND": "searchsite.cache.KeptRedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "serializer": "searchsite.cache.SignedSerializer",
            "socket_connect_timeout": 2,
            "socket_timeout": 2,
        },
    }
}

CELERY_BROKER_URL = celery_broker_url(REDIS_URL)
CELERY_IMPORTS = [
    f"gallery.{room}.tasks"
    for room in ("imports", "uploads", "duplicates", "switching", "auto_tags", "tuning")
]
CELERY_TASK_DEFAULT_QUEUE = "semblance"  # a Redis may have other tenants
# What takes minutes has a queue of its own: a new image does not wait for an index to be built.
# A worker that is told no queue serves both.
UPKEEP_QUEUE = "semblance-upkeep"
CELERY_TASK_QUEUES = [Queue(CELERY_TASK_DEFAULT_QUEUE), Queue(UPKEEP_QUEUE)]
CELERY_TASK_ROUTES = {
    pattern: {"queue": UPKEEP_QUEUE}
    for pattern in (
        "embeddings.tasks.*",
        "gallery.imports.tasks.*",
        "gallery.uploads.tasks.*",
        "gallery.duplicates.tasks.*",
        "gallery.switching.tasks.*",
        "gallery.tuning.tasks.*",
        # Prompts are encoded where the encoder is loaded anyway; to compare needs none.
        "gallery.auto_tags.tasks.suggest_tags",
    )
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Longer than the longest task (a snapshot of millions), else it would run twice.
    "visibility_timeout": 3600,
    # A message that a killed worker had taken comes back in seconds instead of 90.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # A dead Redis must not hold up the request that wants to wake a worker.
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "searchsite.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    name: {"task": task, "schedule": seconds, "options": {"expires": seconds}}
    # A message that waited until the next one came is of no use: it expires.
    for name, task, seconds in (
        ("embed what waits", "gallery.tasks.embed_waiting", 30),
        ("open new encoders", "gallery.switching.tasks.prepare_spaces", 30),
        ("find what was missed", "gallery.tasks.reconcile", 60),
        ("compare new images", "gallery.duplicates.tasks.compare_waiting", 30),
        ("group loose duplicates", "gallery.duplicates.tasks.group_loose", 3600),
        ("encode prompts of auto tags", "gallery.auto_tags.tasks.encode_prompts", 30),
        ("suggest tags", "gallery.auto_tags.tasks.suggest_tags", 30),
        ("tend uploads", "gallery.uploads.tasks.tend_uploads", 60),
        ("work on imports", "gallery.imports.tasks.work_on_waiting", 30),
        ("remove sent sources", "gallery.imports.tasks.remove_sent", 3600),
        ("build due snapshots", "embeddings.tasks.build_due_snapshots", 60),
        ("remove retired spaces", "embeddings.tasks.remove_retired", 60),
        ("prune the change feed", "embeddings.tasks.prune_feed", 3600),
        ("measure recall", "embeddings.tasks.measure_recall", 86_400),
        ("prove precisions", "gallery.tuning.tasks.tune_due", 60),
    )
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": ENVIRONMENT.LOG_LEVEL},
    "loggers": {
        # What the libraries tell at INFO (every HTTP call, every loaded weight) is noise here.
        name: {"level": "WARNING"}
        for name in (
            "httpx",
            "httpcore",
            "urllib3",
            "transformers",
            "huggingface_hub",
            "boto3",
            "botocore",
            "s3transfer",
            "faiss",
        )
    },
}

REQUEST_STATEMENT_SECONDS = ENVIRONMENT.REQUEST_STATEMENT_SECONDS
PUBLIC_SEARCH = ENVIRONMENT.PUBLIC_SEARCH
SEARCH_KEEP_SECONDS = ENVIRONMENT.SEARCH_KEEP_SECONDS
RECENT_QUERIES = ENVIRONMENT.RECENT_QUERIES
DEFAULT_VISIBILITY = ENVIRONMENT.DEFAULT_VISIBILITY
MAX_IMAGE_BYTES = ENVIRONMENT.MAX_IMAGE_MEGABYTES * 10**6
MAX_IMAGE_PIXELS = ENVIRONMENT.MAX_IMAGE_MEGAPIXELS * 10**6
MAX_IMAGE_FRAMES = ENVIRONMENT.MAX_IMAGE_FRAMES
VIDEO_FRAMES = ENVIRONMENT.VIDEO_FRAMES
VIDEO_FRAME_SECONDS = ENVIRONMENT.VIDEO_FRAME_SECONDS
VIDEO_MAX_FRAMES = ENVIRONMENT.VIDEO_MAX_FRAMES
VIDEO_MAX_SECONDS = ENVIRONMENT.VIDEO_MAX_SECONDS
VIDEO_MAX_BYTES = ENVIRONMENT.VIDEO_MAX_MEGABYTES * 10**6
VIDEO_DECODE_SECONDS = ENVIRONMENT.VIDEO_DECODE_SECONDS
UPLOAD_DIR = DATA_DIR / "uploads"
UPLOAD_KEEP_HOURS = ENVIRONMENT.UPLOAD_KEEP_HOURS
UPLOAD_UNFINISHED_BYTES = ENVIRONMENT.UPLOAD_UNFINISHED_MEGABYTES * 10**6
UPLOAD_UNFINISHED_FILES = ENVIRONMENT.UPLOAD_UNFINISHED_FILES
UPLOAD_FREE_BYTES = ENVIRONMENT.UPLOAD_FREE_MEGABYTES * 10**6
ARCHIVE_MAX_MEMBERS = ENVIRONMENT.ARCHIVE_MAX_MEMBERS
ARCHIVE_MAX_BYTES = int(ENVIRONMENT.ARCHIVE_MAX_GIGABYTES * 10**9)
ARCHIVE_MAX_RATIO = ENVIRONMENT.ARCHIVE_MAX_RATIO
IMPORT_DIR = DATA_DIR / "imports"  # sources that were sent: archives and lists
IMPORT_UPLOAD_BYTES = ENVIRONMENT.IMPORT_UPLOAD_MEGABYTES * 10**6
IMPORT_KEPT_BYTES = ENVIRONMENT.IMPORT_KEPT_MEGABYTES * 10**6
IMPORT_UPLOAD_ITEMS = ENVIRONMENT.IMPORT_UPLOAD_ITEMS
DECODE_PROCESSES = ENVIRONMENT.DECODE_PROCESSES
DECODE_SECONDS = ENVIRONMENT.DECODE_SECONDS

DOWNLOAD_PRIVATE_ADDRESSES = ENVIRONMENT.DOWNLOAD_PRIVATE_ADDRESSES
DOWNLOAD_PORTS = port_ranges(ENVIRONMENT.DOWNLOAD_PORTS)
DOWNLOAD_SECONDS = ENVIRONMENT.DOWNLOAD_SECONDS
DOWNLOAD_ATTEMPTS = ENVIRONMENT.DOWNLOAD_ATTEMPTS
DOWNLOAD_TABLE_BYTES = ENVIRONMENT.DOWNLOAD_TABLE_MEGABYTES * 10**6
DOWNLOAD_HOST_CONCURRENCY = ENVIRONMENT.DOWNLOAD_HOST_CONCURRENCY
DOWNLOAD_HOST_INTERVAL_SECONDS = ENVIRONMENT.DOWNLOAD_HOST_INTERVAL_SECONDS

ENCODER = ENVIRONMENT.ENCODER
ENCODER_REVISION = ENVIRONMENT.ENCODER_REVISION
ENCODER_DEVICE = ENVIRONMENT.ENCODER_DEVICE
ENCODER_PRECISION = ENVIRONMENT.ENCODER_PRECISION
ENCODER_LEAST_COSINE = ENVIRONMENT.ENCODER_LEAST_COSINE
ENCODER_LEAST_OVERLAP = ENVIRONMENT.ENCODER_LEAST_OVERLAP
ENCODER_CACHE_DIR = ENVIRONMENT.ENCODER_CACHE_DIR or DATA_DIR / "encoders"
ENCODER_THREADS = ENVIRONMENT.ENCODER_THREADS
ENCODER_BATCH = ENVIRONMENT.ENCODER_BATCH

VECTOR_TABLE = "gallery.ImageEmbedding"  # what SemanticSearcher.from_settings() searches
INDEX_DIR = DATA_DIR / "index"
INDEX_POLL_SECONDS = ENVIRONMENT.INDEX_POLL_SECONDS
INDEX_KIND = ENVIRONMENT.INDEX_KIND
INDEX_MEMORY_MB = ENVIRONMENT.INDEX_MEMORY_MB
INDEX_RECALL = ENVIRONMENT.INDEX_RECALL
INDEX_STALE_SECONDS = ENVIRONMENT.INDEX_STALE_SECONDS
INDEX_DELTA_LIMIT = ENVIRONMENT.INDEX_DELTA_LIMIT
INDEX_DELTA_SECONDS = ENVIRONMENT.INDEX_DELTA_SECONDS
INDEX_NARROW_FILTER = ENVIRONMENT.INDEX_NARROW_FILTER
INDEX_FILTER_CACHE_MEGABYTES = ENVIRONMENT.INDEX_FILTER_CACHE_MEGABYTES
FEED_KEEP_HOURS = ENVIRONMENT.FEED_KEEP_HOURS

JOB_LEASE_SECONDS = ENVIRONMENT.JOB_LEASE_SECONDS
JOB_MAX_ATTEMPTS = ENVIRONMENT.JOB_MAX_ATTEMPTS
