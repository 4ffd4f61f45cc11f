from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from psycopg.errors import QueryCanceled

from searchsite.patience import StatementTimeout

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(work):
    """Return what is returned or raised in a thread, whose connection is a new one."""
    found = []

    def run():
        try:
            found.append(work())
        except OperationalError as error:
            found.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return found[0]


def ask(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def in_a_request(statement):
    def view(request):
        return HttpResponse(str(ask(statement)))

    return StatementTimeout(view)(RequestFactory().get("/"))


def test_a_request_has_only_so_long_for_a_statement(settings):
    settings.REQUEST_STATEMENT_SECONDS = 0.2
    error = elsewhere(lambda: in_a_request("SELECT pg_sleep(10)"))
    assert isinstance(error.__cause__, QueryCanceled)


def test_whatever_is_no_request_has_all_the_time_it_needs(settings):
    settings.REQUEST_STATEMENT_SECONDS = 0.2
    assert elsewhere(lambda: ask("SHOW statement_timeout")) == "0"
    elsewhere(lambda: in_a_request("SELECT 1"))
    assert elsewhere(lambda: ask("SHOW statement_timeout")) == "0"


def test_without_the_setting_a_request_has_so_too(settings):
    settings.REQUEST_STATEMENT_SECONDS = 0
    answer = elsewhere(lambda: in_a_request("SHOW statement_timeout"))
    assert answer.content == b"0"


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/images?filter=tag:boat",
        "/api/v1/facets?field=tag",
        "/api/v1/search?q=boat&mode=keyword",
        "/?tag=boat",
        "/?q=boat&mode=keyword",
    ],
)
def test_what_takes_too_long_is_told_as_too_large_a_question(settings, address):
    settings.REQUEST_STATEMENT_SECONDS = 0.2
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE gallery_image IN ACCESS EXCLUSIVE MODE")
        answer = elsewhere(lambda: Client().get(address))
    assert answer.status_code == 400
    assert "too long" in answer.content.decode()


def test_the_page_does_without_names_that_take_too_long(settings):
    settings.REQUEST_STATEMENT_SECONDS = 0.2
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE gallery_tag IN ACCESS EXCLUSIVE MODE")
        assert elsewhere(lambda: Client().get("/names").status_code) == 204
    settings.REQUEST_STATEMENT_SECONDS = 60  # however busy the machine is
    assert elsewhere(lambda: Client().get("/names").status_code) == 200
