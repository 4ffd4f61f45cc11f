from __future__ import annotations

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.cache import cache
from django.test import Client, RequestFactory, override_settings

from gallery.logins import MAX_FAILURES

pytestmark = pytest.mark.django_db

RIGHT = {"username": "ann", "password": "a right password"}
WRONG = {"username": "ann", "password": "a wrong password"}


@pytest.fixture(autouse=True)
def _ann(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a quick one
    get_user_model().objects.create_user(**RIGHT, is_staff=True)


def log_in(client, fields, address="192.0.2.1", page="/login"):
    return client.post(page, fields, REMOTE_ADDR=address)


def fail(client, **options):
    for _ in range(MAX_FAILURES):
        answer = log_in(client, WRONG, **options)
        assert "The user name or the password is wrong." in answer.text


def test_the_right_password_opens_the_page_that_was_asked_for(client):
    assert "for people who are logged in" in client.get("/login?next=/upload").text
    assert log_in(client, RIGHT | {"next": "/upload"}).url == "/upload"
    assert log_in(client, RIGHT | {"next": "https://evil.example/"}).url == "/"


def test_after_too_many_wrong_passwords_even_the_right_one_must_wait(client):
    fail(client)
    answer = log_in(client, RIGHT)
    assert "Too many wrong passwords. Try again in 15 minutes." in answer.text
    assert not answer.wsgi_request.user.is_authenticated


def test_other_addresses_and_other_names_need_not_wait(client):
    fail(client)
    assert "is wrong" in log_in(client, {"username": "bob", "password": "x"}).text
    assert log_in(client, RIGHT, address="192.0.2.2").status_code == 302


def test_a_name_is_counted_in_any_case_and_whether_it_exists_or_not(client):
    for name in ("ann", "nobody"):
        for _ in range(MAX_FAILURES):
            log_in(client, {"username": name, "password": "x"})
        answer = log_in(client, {"username": name.upper(), "password": "x"})
        assert "Too many wrong passwords" in answer.text


def test_the_right_password_forgets_the_wrong_ones(client):
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            log_in(client, WRONG)
        assert log_in(Client(), RIGHT).status_code == 302


def test_the_wait_ends(client):
    fail(client)
    cache.clear()  # what the time does
    assert log_in(client, RIGHT).status_code == 302


def test_the_admin_waits_too(client):
    fail(client)
    log_in(client, RIGHT, page="/admin/login/")
    assert "_auth_user_id" not in client.session


def test_the_limit_holds_wherever_a_password_is_checked():
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.1")
    for _ in range(MAX_FAILURES):
        assert authenticate(request, **WRONG) is None
    assert authenticate(request, **RIGHT) is None


def test_a_part_that_needs_a_login_makes_htmx_load_the_page_anew(client):
    answer = client.get("/upload", headers={"HX-Request": "true"}, follow=True)
    assert answer.headers["HX-Refresh"] == "true"


def test_without_redis_the_page_says_that_nobody_can_log_in(settings):
    nowhere = settings.CACHES["default"] | {"LOCATION": "unix:///not/there.sock"}
    with override_settings(CACHES={"default": nowhere}):
        response = log_in(Client(), RIGHT)
    assert "Redis does not answer" in response.content.decode()
