from __future__ import annotations

import uuid

import pytest
from django.test import override_settings
from django.urls import (
    NoReverseMatch,
    get_script_prefix,
    path,
    reverse,
    set_script_prefix,
    set_urlconf,
)

from gallery import addresses

ONE, OTHER = uuid.uuid4(), uuid.uuid4()


def view(request, image):
    raise AssertionError("Nobody asks for it.")


urlpatterns = [path("elsewhere/<uuid:image>/", view, name="image")]


@pytest.fixture
def script_prefix():
    before = get_script_prefix()
    yield set_script_prefix
    set_script_prefix(before)


def check_addresses():
    for image in (ONE, OTHER):
        assert addresses.of("image", image) == reverse("image", args=[image])


def test_addresses_are_those_of_reverse():
    check_addresses()
    for pixels in (256, 1024):
        expected = reverse("thumbnail", args=[ONE, pixels])
        assert addresses.of("thumbnail", ONE, pixels) == expected


def test_they_begin_with_the_prefix_that_the_server_is_mounted_at(script_prefix):
    check_addresses()
    script_prefix("/pictures/")
    assert addresses.of("image", ONE).startswith("/pictures/")
    check_addresses()


def test_they_follow_the_urls_in_use():
    check_addresses()
    with override_settings(ROOT_URLCONF=__name__):
        assert addresses.of("image", ONE) == f"/elsewhere/{ONE}/"
    check_addresses()
    set_urlconf(__name__)
    try:
        assert addresses.of("image", OTHER) == f"/elsewhere/{OTHER}/"
    finally:
        set_urlconf(None)
    check_addresses()


def test_there_is_none_of_what_has_no_view():
    with pytest.raises(NoReverseMatch):
        addresses.of("nothing", ONE)
