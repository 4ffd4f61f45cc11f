"""Every setting, read from the environment once: name, type, default, meaning.

`docs/settings.md` lists the same names; a test keeps the two equal. A wrong value stops the start
with a sentence that names it.
"""

from __future__ import annotations

import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Literal

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent

SCHEMES = {
    "DATABASE_URL": ("postgresql://", "postgres://"),
    "REDIS_URL": ("redis://", "rediss://", "unix://"),
}

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Environment(BaseSettings):
    """The whole configuration. Field names are the names of the environment variables."""

    model_config = SettingsConfigDict(case_sensitive=True, frozen=True, extra="ignore")

    DATA_DIR: Path = Field(
        default=Path("var"),
        description="Folder for everything the server writes; relative to the project's folder.",
    )
    DATABASE_URL: str = Field(
        default="",
        description="Postgres with pgvector, as `postgresql://user:password@host/name`; "
        "empty: the embedded server.",
    )
    REDIS_URL: str = Field(
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
    TIME_ZONE: str = Field(default="UTC", description="Time zone of pages and of EXIF times.")
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

    ENCODER: str = Field(
        default="",
        description="Encoder of a new gallery: `bundled`, a folder, or a hub id; empty: "
        "`openai/clip-vit-base-patch32` where it can be had, else `bundled`.",
    )
    ENCODER_REVISION: str = Field(
        default="main", description="Git revision of a hub encoder; pin a commit in production."
    )
    ENCODER_DEVICE: str = Field(
        default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`: where encoders run."
    )
    ENCODER_PRECISION: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Precision of image encoding; `auto`: bfloat16 where the processor has it.",
    )
    ENCODER_BATCH: int = Field(
        default=16, ge=1, le=1024, description="Images encoded at once by a worker."
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

    @field_validator("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("TIME_ZONE")
    @classmethod
    def known_zone(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError("no such time zone")
        return value

    @field_validator("DATABASE_URL", "REDIS_URL")
    @classmethod
    def known_scheme(cls, value: str, info: ValidationInfo) -> str:
        schemes = SCHEMES[info.field_name or ""]
        if value and not value.startswith(schemes):
            raise ValueError(f"it must begin with {' or '.join(schemes)}")
        if value and info.field_name == "DATABASE_URL":
            dj_database_url.parse(value)  # raises ValueError, for a port that is none
        return value

    @field_validator("DATA_DIR")
    @classmethod
    def absolute(cls, value: Path) -> Path:
        return (BASE_DIR / value.expanduser()).resolve()


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
    return re.sub(r"://.*@", "://...@", value)


def celery_broker_url(redis_url: str) -> str:
    """Return REDIS_URL as kombu spells it: a unix socket is `redis+socket://` there."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, options = redis_url.removeprefix("unix://").partition("?")
    broker_options = f"?{options.replace('db=', 'virtual_host=')}" if options else ""
    return f"redis+socket://{path}{broker_options}"
