"""What every template knows beside its own context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from gallery import spaces


@dataclass(frozen=True)
class Notice:
    """What a person should know of the encoder: the fact first, then what to do about it."""

    fact: str
    advice: str


def encoder_notice() -> Notice:
    fact, _, advice = spaces.notice().partition(". ")
    return Notice(fact, advice)


def site(request: HttpRequest) -> dict[str, Any]:
    return {
        "public_search": settings.PUBLIC_SEARCH,
        # The function, not its answer: only the pages that show the notice ask for it.
        "encoder_notice": encoder_notice,
    }
