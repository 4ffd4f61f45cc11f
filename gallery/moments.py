"""Times of capture: which years are taken for one."""

from __future__ import annotations

from datetime import datetime

_FIRST_PHOTOGRAPH, _FAR_FUTURE = 1826, 2200


def is_of_photograph(moment: datetime) -> bool:
    """Whether something may have been photographed then; a clock that was never set is no proof."""
    return _FIRST_PHOTOGRAPH <= moment.year <= _FAR_FUTURE
