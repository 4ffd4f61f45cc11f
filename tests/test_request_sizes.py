from __future__ import annotations

import pytest
from django.test import Client

from tests.rows import make_user

pytestmark = pytest.mark.django_db

CSRF = "a" * 32
FORM = "multipart/form-data; boundary=x"


class Body:
    """A body that has no end, and knows how much of it was read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        self.read_bytes += max(size, 0)
        if self.read_bytes > 10**8:
            raise AssertionError("It reads on and on.")
        return b"x" * max(size, 0)

    readline = read


@pytest.fixture
def visitor():
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = CSRF
    return client


@pytest.fixture
def ann(visitor):
    visitor.force_login(make_user())
    return visitor


def post(client, path, *, megabytes, **environ):
    """Post a form of which only the length is true. Return the answer, and what was read of it."""
    body = Body()
    environ = {"CONTENT_LENGTH": str(megabytes * 10**6), "CONTENT_TYPE": FORM, **environ}
    answer = client.generic("POST", path, b"", FORM, **environ, **{"wsgi.input": body})
    return answer, body.read_bytes


@pytest.mark.parametrize(
    "path", ["/upload", "/imports", "/login", "/duplicates/1", "/admin/login/"]
)
def test_nothing_is_read_of_what_a_visitor_sends_too_much_of(visitor, path):
    answer, read = post(visitor, path, megabytes=300)
    assert (answer.status_code, read) == (413, 0)


@pytest.mark.parametrize("path", ["/upload", "/imports"])
def test_a_visitor_is_told_to_log_in_where_a_user_may_send_it(visitor, path):
    answer, _ = post(visitor, path, megabytes=300)
    assert "Log in first: a request of a visitor has at most 5 MB here." in answer.text


@pytest.mark.parametrize(("path", "most"), [("/upload", 1001), ("/imports", 2001), ("/", 51)])
def test_nothing_is_read_of_a_form_that_is_larger_than_its_page_takes(ann, path, most):
    answer, read = post(ann, path, megabytes=most + 1)
    assert (answer.status_code, read) == (413, 0)
    assert f"at most {most:,} MB" in answer.text
    answer, read = post(ann, path, megabytes=most)
    assert answer.status_code == 400  # it was read, and is no form
    assert read > 0


def test_who_may_not_search_shows_no_image(visitor, settings):
    settings.PUBLIC_SEARCH = False
    answer, read = post(visitor, "/", megabytes=40)
    assert (answer.status_code, read) == (413, 0)
    assert "Log in first" in answer.text


def test_a_page_that_takes_no_files_takes_no_more_than_a_form(ann):
    assert post(ann, "/searches/1/rename", megabytes=6)[0].status_code == 413
    assert post(ann, "/searches/1/rename", megabytes=0)[0].status_code == 403


def test_a_form_that_does_not_say_its_length_is_refused(ann):
    answer, read = post(
        ann, "/upload", megabytes=0, HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH=""
    )
    assert (answer.status_code, read) == (411, 0)
    assert "Content-Length" in answer.text


@pytest.mark.parametrize("path", ["/api/v1/duplicates/1", "/api/v1/imports", "/api/v1/nowhere"])
def test_of_the_api_too_nothing_is_read_to_find_a_csrf_token(ann, path):
    answer, read = post(ann, path, megabytes=2002)
    assert (answer.status_code, read) == (413, 0)
    assert answer.json() == {"detail": "A request here has at most 2,001 MB."}


def test_what_a_page_takes_comes_through(client):
    client.force_login(make_user())
    fields = {"urls": "https://example.org/a.jpg", "visibility": "public"}
    assert client.post("/imports", fields).status_code == 302
