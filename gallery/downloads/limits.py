"""How far a download may go: values, read from the settings by the package itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which addresses may be asked."""

    allows_private: bool = False
    ports: tuple[range, ...] = (range(80, 81), range(443, 444), range(1024, 65536))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server may cost us, and we it."""

    attempts: int = 4
    redirects: int = 5
    connect_seconds: float = 10
    answer_seconds: float = 30  # until the head of an answer is there
    silence_seconds: float = 15  # between two pieces of a body
    slowest_bytes_per_second: float = 1000  # of a body that takes longer than silence_seconds
    first_wait_seconds: float = 1  # before the second attempt; doubled before each further one
    longest_wait_seconds: float = 60  # that a server may ask of us
    at_once_per_host: int = 6
    interval_seconds: float = 0.02  # between two requests to one host


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is fetched, and the most it may have."""

    accept: str
    most_bytes: int
    seconds: float  # of all attempts together, without waiting between them
