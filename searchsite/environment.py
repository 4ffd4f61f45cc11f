"""Every setting, read from the environment once: name, type, default, meaning.

`docs/settings.md` lists the same names; a test keeps the two equal. A wrong value stops the start
with a sentence that names it; `setting_values` checks what is neither number nor choice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from django.core.exceptions import ImproperlyConfigured
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from searchsite.setting_values import (
    CDNAddress,
    CommaSeparated,
    DatabaseURL,
    DataFolder,
    Endpoints,
    Folders,
    Ports,
    RedisURL,
    StorageURL,
    TimeZone,
)


class Environment(BaseSettings):
    """The whole configuration. Field names are the names of the environment variables."""

    model_config = SettingsConfigDict(case_sensitive=True, frozen=True, extra="ignore")

    DATA_DIR: DataFolder = Field(
        default=Path("var"),
        description="Folder for everything the server writes; relative to the project's folder.",
    )
    DATABASE_URL: DatabaseURL = Field(
        default="",
        description="Postgres with pgvector, as `postgresql://user:password@host/name`; "
        "empty: the embedded server.",
    )
    REDIS_URL: RedisURL = Field(
        default="",
        description="Redis or Valkey for Celery, as `redis://host/0` or `unix:///path?db=0`; "
        "empty: the embedded server.",
    )
    SECRET_KEY: str = Field(
        default="",
        description="Signs sessions and forms; `bin/start` makes one and keeps it in `DATA_DIR`.",
    )
    DEBUG: bool = Field(
        default=False, description="Django's debug pages. Never on a reachable server."
    )
    ALLOWED_HOSTS: CommaSeparated = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        description="Host names the server answers to, separated by commas; add the machine's "
        "own for `bin/start --host 0.0.0.0`.",
    )
    CSRF_TRUSTED_ORIGINS: CommaSeparated = Field(
        default=(),
        description="Origins that may post forms, such as `https://images.example.org`.",
    )
    SECURE: bool = Field(
        default=False,
        description="The site is reached by HTTPS: secure cookies, redirect to HTTPS, HSTS.",
    )
    TIME_ZONE: TimeZone = Field(default="UTC", description="Time zone of pages and of EXIF times.")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="How much is logged."
    )

    REQUEST_STATEMENT_SECONDS: float = Field(
        default=20,
        ge=0,
        le=3600,
        description="Longest that Postgres works on one statement of a web request; 0: no limit.",
    )

    PUBLIC_SEARCH: bool = Field(
        default=True, description="Searching and seeing public images needs no login."
    )
    SEARCH_KEEP_SECONDS: int = Field(
        default=3600,
        ge=1,
        le=86_400,
        description="How long the ranking of a search is kept, so that its pages hold still.",
    )
    RECENT_QUERIES: int = Field(
        default=100,
        ge=0,
        le=1000,
        description="Texts of searches that are kept a day while there is a second space, to "
        "compare encoders by, without who asked; 0: none.",
    )
    DEFAULT_VISIBILITY: Literal["public", "private"] = Field(
        default="public", description="Visibility of a new image when its sender names none."
    )
    MAX_IMAGE_MEGABYTES: int = Field(
        default=50, ge=1, le=1000, description="Largest file that is taken as an image."
    )
    MAX_IMAGE_MEGAPIXELS: int = Field(
        default=50, ge=1, le=500, description="Most pixels an image may have, in millions."
    )
    MAX_IMAGE_FRAMES: int = Field(
        default=1000, ge=1, le=100_000, description="Most frames an animated file may have."
    )

    VIDEO_FRAMES: Literal["every", "scenes", "off"] = Field(
        default="every",
        description="Which frames of a video become images: one every `VIDEO_FRAME_SECONDS`, one "
        "of each scene, or none, and videos are not taken.",
    )
    VIDEO_FRAME_SECONDS: float = Field(
        default=10, ge=0.1, le=3600, description="Time between two frames that are taken."
    )
    VIDEO_MAX_FRAMES: int = Field(
        default=300,
        ge=1,
        le=5000,
        description="Most frames of one video; of a long one they are further apart.",
    )
    VIDEO_MAX_SECONDS: int = Field(
        default=3600, ge=1, le=86_400, description="Longest video that is taken."
    )
    VIDEO_MAX_MEGABYTES: int = Field(
        default=500, ge=1, le=100_000, description="Largest file that is taken as a video."
    )
    VIDEO_DECODE_SECONDS: int = Field(
        default=600,
        ge=1,
        le=3600,
        description="Longest that decoding the frames of a video may take before it is refused.",
    )

    UPLOAD_KEEP_HOURS: int = Field(
        default=24, ge=1, description="How long an upload may stand still before it is removed."
    )
    UPLOAD_UNFINISHED_MEGABYTES: int = Field(
        default=2000, ge=1, description="Most that the unfinished uploads of one user may have."
    )
    UPLOAD_UNFINISHED_FILES: int = Field(
        default=200, ge=1, description="Most uploads that one user may have unfinished."
    )
    UPLOAD_FREE_MEGABYTES: int = Field(
        default=500,
        ge=0,
        description="Room on the disk that uploads and trainings leave to all else, such as the "
        "database.",
    )

    ARCHIVE_MAX_MEMBERS: int = Field(
        default=200_000, ge=1, le=5_000_000, description="Most members of a zip or tar archive."
    )
    ARCHIVE_MAX_GIGABYTES: float = Field(
        default=100, gt=0, le=100_000, description="Most that an archive may unpack to."
    )
    ARCHIVE_MAX_RATIO: int = Field(
        default=250,
        ge=2,
        le=100_000,
        description="How many times its packed size a large member, or a packed tar, may have.",
    )
    IMPORT_UPLOAD_MEGABYTES: int = Field(
        default=2000, ge=1, description="Largest archive or list that may be sent for an import."
    )
    IMPORT_KEPT_MEGABYTES: int = Field(
        default=10_000,
        ge=1,
        description="Most that the archives and lists of one user have that are kept for imports.",
    )
    IMPORT_UPLOAD_ITEMS: int = Field(
        default=2_000_000, ge=1, description="Most entries of an archive or list that is sent."
    )

    DECODE_PROCESSES: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Images that a server process decodes at once, each in a process of its own; "
        "0: as many as the machine has processors, at most 8.",
    )
    DECODE_SECONDS: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="Longest that decoding an image may take before it is refused.",
    )

    DOWNLOAD_PRIVATE_ADDRESSES: bool = Field(
        default=False,
        description="Fetch from own networks and this machine too. Then whoever may import can "
        "read what only this server should reach.",
    )
    DOWNLOAD_PORTS: Ports = Field(
        default=("80", "443", "1024-65535"),
        description="Ports that URLs may name, as numbers and ranges.",
    )
    DOWNLOAD_SECONDS: float = Field(
        default=120,
        gt=0,
        le=3600,
        description="Longest a download may take, all its attempts together.",
    )
    DOWNLOAD_ATTEMPTS: int = Field(
        default=4, ge=1, le=10, description="Tries of a download whose failure may pass."
    )
    DOWNLOAD_TABLE_MEGABYTES: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Largest list of images (CSV, Parquet, ...) that is fetched.",
    )
    DOWNLOAD_HOST_CONCURRENCY: int = Field(
        default=6, ge=1, le=100, description="Downloads of a process from one host at once."
    )
    DOWNLOAD_HOST_INTERVAL_SECONDS: float = Field(
        default=0.02,
        ge=0,
        le=60,
        description="Time between two requests of a process to one host.",
    )

    STORAGE_URL: StorageURL = Field(
        default="",
        description="Where files of images are: a folder, or `s3://bucket/prefix?endpoint=...`; "
        "empty: `media` in `DATA_DIR`.",
    )
    STORAGE_URL_SECONDS: int = Field(
        default=3600,
        ge=0,
        le=604_800,
        description="Life of an address by which a browser fetches a file from the bucket; "
        "0: the server sends all files.",
    )
    REFERENCED_FOLDERS: Folders = Field(
        default=(),
        description="Folders, separated by commas, whose images may stay where they are "
        "(`folder --in-place`); the server shows no file outside of them.",
    )
    REFERENCED_ENDPOINTS: Endpoints = Field(
        default=(),
        description="Servers, as `https://minio.example.org:9000`, separated by commas, in whose "
        "buckets images may stay (`s3 --in-place`); Amazon's and that of `STORAGE_URL` always may.",
    )
    MEDIA_CDN_URL: CDNAddress = Field(
        default="",
        description="Address of a CDN that fetches from this site, as `https://cdn.example.org`; "
        "it gets the thumbnails of public images.",
    )

    ENCODER: str = Field(
        default="",
        description="Encoder of a new gallery: `bundled`, a folder, a hub id, or two as "
        "`TEXT+IMAGE`; `#letterbox` or `#crops` behind it says how images far from square are "
        "looked at, see docs/encoders.md; empty: `openai/clip-vit-base-patch32` where it can be "
        "had, else `bundled`.",
    )
    ENCODER_REVISION: str = Field(
        default="main",
        description="Git revision of a hub encoder, of a pair both with a + between; pin "
        "a commit in production.",
    )
    ENCODER_DEVICE: str = Field(
        default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`: where encoders run."
    )
    ENCODER_PRECISION: Literal["auto", "float32", "bfloat16", "int8", "int8-blocks"] = Field(
        default="auto",
        description="How exactly encoders compute; `auto`: of texts and of images, the fastest way "
        "that is proved to agree with float32 on the gallery's own.",
    )
    ENCODER_LEAST_COSINE: float = Field(
        default=0.999,
        gt=0,
        le=1,
        description="Mean cosine of a faster precision's vectors with those in float32 from which "
        "on it may serve.",
    )
    ENCODER_LEAST_OVERLAP: float = Field(
        default=0.97,
        gt=0,
        le=1,
        description="Share of the ten nearest in float32 that a faster precision must find, too.",
    )
    ENCODER_CACHE_DIR: str = Field(
        default="",
        description="Folder of encoders as they were exported for this processor, made anew when "
        "it is lost; empty: `encoders` in `DATA_DIR`.",
    )
    ENCODER_THREADS: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of one process that encodes images on the CPU; 0: one a core.",
    )
    ENCODER_BATCH: int = Field(
        default=32, ge=1, le=1024, description="Images encoded at once by a worker."
    )

    INDEX_POLL_SECONDS: float = Field(
        default=0.5, gt=0, le=60, description="How often a process looks for new vectors."
    )
    INDEX_KIND: Literal["auto", "flat", "hnsw", "hnsw8", "ivf8", "pq", "pq8", "rabitq", "gpu"] = (
        Field(
            default="auto",
            description="Kind of the index; `auto`: by number of vectors and `INDEX_MEMORY_MB`.",
        )
    )
    INDEX_MEMORY_MB: int = Field(
        default=0,
        ge=0,
        description="Memory that the index of a space may take; 0: a quarter of the machine's.",
    )
    INDEX_RECALL: float = Field(
        default=0.98,
        gt=0,
        le=1,
        description="Share of the true ten nearest that an index must find to be published.",
    )
    INDEX_STALE_SECONDS: float = Field(
        default=30.0,
        gt=0,
        description="Age of a process's index beyond which Postgres answers in its place.",
    )
    INDEX_DELTA_LIMIT: int = Field(
        default=5000,
        ge=1,
        description="Vectors newer than the snapshot before a new snapshot is built; "
        "of a large snapshot 1 % of its vectors.",
    )
    INDEX_DELTA_SECONDS: int = Field(
        default=3600,
        ge=1,
        description="Age of a snapshot that has missed changes before a new one is built.",
    )
    INDEX_NARROW_FILTER: int = Field(
        default=100,
        ge=0,
        description="A filter that leaves at most this many images is searched in Postgres.",
    )
    INDEX_FILTER_CACHE_MEGABYTES: int = Field(
        default=64,
        ge=0,
        description="Memory of a process for the ids that filters left; 0: none are kept.",
    )
    FEED_KEEP_HOURS: int = Field(
        default=24, ge=1, description="How long changes are kept for processes that were away."
    )

    JOB_LEASE_SECONDS: int = Field(
        default=30, ge=1, description="Time a worker has for a batch before others may take it."
    )
    JOB_MAX_ATTEMPTS: int = Field(
        default=3, ge=1, le=20, description="Tries of an image before its job is parked."
    )


def read() -> Environment:
    """Read and check the environment, or raise ImproperlyConfigured with a sentence a setting."""
    try:
        return Environment()
    except ValidationError as error:
        sentences = [
            f"{problem['loc'][0]} is wrong: {_sentence(problem['msg'])} "
            f"(it is {_without_password(str(problem['input']))!r})."
            for problem in error.errors()
        ]
        raise ImproperlyConfigured(" ".join([*sentences, "See docs/settings.md."])) from error


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _without_password(value: str) -> str:
    # Nor with what follows a question mark: somebody may have written a key there.
    return re.sub(r"\?.*", "?...", re.sub(r"://.*@", "://...@", value), flags=re.DOTALL)
