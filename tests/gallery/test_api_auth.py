from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from gallery.models import ApiToken
from tests.gallery.uploads import as_user, png, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

IMAGES = "/api/v1/images"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_visitor_sees_public_images(client):
    stored()
    assert len(client.get(IMAGES).json()["images"]) == 1


def test_without_public_search_a_visitor_is_told_to_log_in(client, settings):
    settings.PUBLIC_SEARCH = False
    answer = client.get(IMAGES)
    assert answer.status_code == 401
    assert "API token" in answer.json()["detail"]
    assert answer["WWW-Authenticate"] == "Bearer"


def test_without_public_search_a_token_still_opens(settings):
    settings.PUBLIC_SEARCH = False
    assert as_user().get(IMAGES).status_code == 200


@pytest.mark.parametrize("public_search", [True, False])
def test_writing_needs_a_user(client, settings, public_search):
    settings.PUBLIC_SEARCH = public_search
    answer = client.post(IMAGES, {"file": png()})
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith("Log in")


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Bearer", "Bearer \x00", "Bearer é", "Basic YTpi", "x"]
)
def test_a_wrong_token_is_refused_even_where_none_is_needed(client, header):
    answer = client.get(IMAGES, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["detail"].endswith(".")


def test_the_token_of_an_inactive_user_is_refused(client):
    token = ApiToken.issue(make_user("gone", is_active=False), "test")
    assert client.get(IMAGES, headers=bearer(token)).status_code == 401


def test_a_revoked_token_is_refused(client):
    token = ApiToken.issue(make_user(), "test")
    ApiToken.objects.all().delete()
    assert client.get(IMAGES, headers=bearer(token)).status_code == 401


def test_the_sha256_of_a_token_is_no_token(client):
    token = ApiToken.issue(make_user(), "test")
    assert client.get(IMAGES, headers=bearer(ApiToken.sha256_of(token))).status_code == 401


def test_the_use_of_a_token_is_noted_once_a_minute(django_assert_num_queries):
    client = as_user()
    client.get(IMAGES)
    token = ApiToken.objects.get()
    assert timezone.now() - token.last_used_at < timedelta(seconds=10)

    client.get(IMAGES)
    assert ApiToken.objects.get().last_used_at == token.last_used_at

    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    client.get(IMAGES)
    assert ApiToken.objects.get().last_used_at > token.last_used_at


def test_a_session_writes_with_its_csrf_token_only():
    user = User.objects.create_user("ann", password="pass-word-1")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    refused = client.post(IMAGES, {"file": png()})
    assert refused.status_code == 403
    assert "X-CSRFToken" in refused.json()["detail"]

    client.cookies["csrftoken"] = "a" * 32
    taken = client.post(IMAGES, {"file": png()}, headers={"X-CSRFToken": "a" * 32})
    assert taken.status_code == 201


def test_a_session_reads_without_a_csrf_token(settings):
    settings.PUBLIC_SEARCH = False
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert client.get(IMAGES).status_code == 200


def test_a_visitor_may_post_a_search_without_a_csrf_token():
    answer = Client(enforce_csrf_checks=True).post("/api/v1/search", {"k": "0", "q": "boat"})
    assert answer.status_code == 400  # for its k


def test_a_token_writes_whatever_session_comes_along():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("bob"))
    token = ApiToken.issue(make_user("ann"), "test")
    answer = client.post(IMAGES, {"file": png()}, headers=bearer(token))
    assert answer.status_code == 201
    assert make_user("ann").images.count() == 1
