"""Places in a video, as people write them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Return a time as players show it: 1:23, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
