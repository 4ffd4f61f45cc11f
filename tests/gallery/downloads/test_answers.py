from __future__ import annotations

import pytest

from gallery.downloads.answers import retry_after


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2027 00:00:00 +99999999999999999999",
        "Mon, 99999999999999999999 Jan 2027 00:00:00 GMT",
    ],
)
def test_a_time_that_is_none_says_nothing(value):
    assert retry_after(value) is None


def test_seconds_and_dates_are_read():
    assert retry_after("7") == 7
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0
