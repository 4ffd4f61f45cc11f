"""The address of a storage, written as one line: a folder, or `s3://bucket/prefix?options`.

The settings read it before Django is there, so this module knows nothing of Django.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_OPTIONS = ("endpoint", "region", "addressing", "public", "profile", "timeout", "attempts")
_MAX_SECONDS = 300
_MAX_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class FolderAddress:
    """A folder of this machine."""

    path: Path

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of the URLs that browsers are given: none, the server sends its files."""
        return ()

    def __str__(self) -> str:
        return str(self.path)

    def backend(self) -> dict[str, Any]:
        """Return the entry of Django's STORAGES."""
        return {
            "BACKEND": "gallery.storage.folder.FolderStorage",
            "OPTIONS": {"location": str(self.path)},
        }


@dataclass(frozen=True, kw_only=True)
class BucketAddress:
    """A bucket, or the part of it below a prefix. Who may open it, the environment says."""

    bucket: str
    prefix: str = ""  # without slashes at its ends
    endpoint: str = ""  # empty: Amazon's own
    region: str = ""
    addressing: str = ""  # path or virtual; empty: as the endpoint wants it
    public: str = ""  # the endpoint as browsers reach it; empty: as the server does
    profile: str = ""  # of the AWS configuration files; empty: the environment's keys
    timeout: float = 15.0  # seconds without an answer
    attempts: int = 4  # of one request

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def backend(self) -> dict[str, Any]:
        """Return the entry of Django's STORAGES."""
        return {"BACKEND": "gallery.storage.bucket.BucketStorage", "OPTIONS": {"address": self}}

    @property
    def style(self) -> str:
        """Whether the bucket is named in the path or in the host."""
        if self.addressing:
            return self.addressing
        # A dot in the bucket's name would not fit Amazon's certificate.
        return "path" if self.endpoint or "." in self.bucket else "virtual"

    @property
    def servers(self) -> set[str]:
        """The endpoints that it names: those that are asked, or that browsers are sent to."""
        return {self.endpoint, self.public} - {""}

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of the URLs that browsers are given, for the Content-Security-Policy."""
        endpoints = [self.public or self.endpoint]
        if not endpoints[0]:
            region = self.region or region_of_environment()
            names = [f"s3.{region}.amazonaws.com"] if region else []
            endpoints = [f"https://{name}" for name in [*names, "s3.amazonaws.com"]]
        parts = [urlsplit(endpoint) for endpoint in endpoints]
        host = f"{self.bucket}." if self.style == "virtual" else ""
        return tuple(f"{part.scheme}://{host}{part.netloc}" for part in parts)


Address = FolderAddress | BucketAddress


def region_of_environment() -> str:
    """Return the region that the environment names, "" for none or what is no region."""
    named = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or ""
    return named if _REGION.fullmatch(named) else ""


def parse(text: str, *, default: Path) -> Address:
    """Return what is written; "" is the default folder. Raise ValueError with half a sentence.

    What is raised never repeats the address: somebody may have written a key into it.
    """
    if not text:
        return FolderAddress(path=default)
    if text.startswith("s3://"):
        return parse_bucket(text)
    if "://" in text:
        raise ValueError("it must be a folder or begin with s3://")
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ValueError("a folder must be given by its full path")
    return FolderAddress(path=path)


def parse_bucket(text: str) -> BucketAddress:
    """Return the bucket of `s3://bucket/prefix?options`. Raise ValueError as `parse` does."""
    parts = _split(text)
    if parts.scheme != "s3":
        raise ValueError("it must begin with s3://")
    if "@" in parts.netloc:
        raise ValueError(
            "keys do not belong into it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError("it must name a bucket, as s3://bucket/prefix")
    prefix = parts.path.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ValueError("its prefix must not have empty parts, . or ..")
    return BucketAddress(bucket=parts.netloc, prefix=prefix, **_options(parts))


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        # Its sentence repeats what was written.
        raise ValueError("it is not written as an address is") from None


def _options(parts: SplitResult) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ValueError(f"it has an unknown option; there are {', '.join(_OPTIONS)}")
        if name in ("endpoint", "public"):
            value = endpoint(value, name=name)
        options[name] = value
    if not _REGION.fullmatch(options.get("region", "x")):
        raise ValueError("its region is no name such as eu-central-1")
    if options.get("addressing", "path") not in ("path", "virtual"):
        raise ValueError("its addressing must be path or virtual")
    if "timeout" in options:
        options["timeout"] = _number(float, options["timeout"], "timeout", _MAX_SECONDS)
    if "attempts" in options:
        options["attempts"] = _number(int, options["attempts"], "attempts", _MAX_ATTEMPTS)
    return options


def endpoint(value: str, *, name: str = "endpoint") -> str:
    """Return scheme, host and port of a server, as it is compared. Raise ValueError as `parse`."""
    parts = _split(value)
    is_plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    try:
        is_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        is_host = False
    if parts.scheme not in ("http", "https") or not is_host or not is_plain:
        raise ValueError(f"its {name} must be as https://host or https://host:port")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _number(kind: type[int] | type[float], value: str, name: str, most: int) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = kind(0)
    if not 0 < number <= most:
        raise ValueError(f"its {name} must be a number from 1 to {most}")
    return number
