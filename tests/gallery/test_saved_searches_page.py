from __future__ import annotations

import re

import pytest
from django.test import Client

from gallery import pipeline, spaces
from gallery.models import SavedSearch
from tests.gallery.uploads import stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

SEARCH = "q=a+red+boat&tag=sea&order=-taken"


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


def names(answer):
    assert answer.status_code == 200, answer.text
    return re.findall(r'class="saved-name" href="[^"]+">(.*?)</a>', answer.text)


def save(client, name="Boats", search=SEARCH):
    return client.post("/searches", {"name": name, "search": search})


def test_a_search_page_offers_to_save_its_search(ann):
    spaces.ensure()
    stored(0)
    pipeline.embed_waiting()
    page = ann.get("/", {"q": "boat", "band": "unlikely"})
    assert 'name="search" value="q=boat&amp;band=unlikely"' in page.text
    assert 'name="name" maxlength="100" required value="boat"' in page.text


def test_visitors_are_not_offered_to_save(client):
    spaces.ensure()
    stored(0)
    pipeline.embed_waiting()
    assert 'class="save"' not in client.get("/", {"q": "boat", "band": "unlikely"}).text
    assert client.get("/searches").url.startswith("/login")
    assert save(client).url.startswith("/login")


def test_a_saved_search_opens_as_it_was(ann):
    answer = save(ann)
    assert answer.status_code == 302
    opened = ann.get(answer.url)
    assert opened.url == f"/?{SEARCH}"
    page = ann.get("/searches")
    assert names(page) == ["Boats"]
    assert "“a red boat”, tag:sea" in page.text


def test_a_search_by_filter_and_examples_is_saved_whole(ann):
    image = stored(0)
    search = f"similar_to={image.uuid}&good={image.uuid}&filter=camera~nikon+OR+format%3Apng&k=48"
    opened = ann.get(save(ann, search=search).url)
    assert opened.url == (
        f"/?similar_to={image.uuid}&good={image.uuid}&filter=camera~nikon+OR+format%3Apng&k=48"
    )


def test_a_name_is_given_once_and_another_may_be_chosen(ann):
    save(ann)
    answer = save(ann, name=" Boats ", search="q=fish")
    assert answer.status_code == 400
    assert "You already have a saved search called “Boats”" in answer.text
    assert 'name="search" value="q=fish"' in answer.text
    assert SavedSearch.objects.count() == 1
    assert save(ann, name="Fish", search="q=fish").status_code == 302


def test_a_name_of_another_user_is_free(ann):
    save(ann)
    bob = Client()
    bob.force_login(make_user("bob"))
    assert save(bob).status_code == 302
    assert names(bob.get("/searches")) == ["Boats"]


@pytest.mark.parametrize(
    ("name", "search", "sentence"),
    [
        ("", SEARCH, "needs a name"),
        ("x" * 101, SEARCH, "100 are allowed"),
        ("a\0b", SEARCH, "control characters"),
        ("Boats", "", "Say what to look for"),
        ("Boats", "q=boat&by=image", "cannot be saved, because the image is not kept"),
        ("Boats", "q=boat&filter=tag:(", "cannot be read"),
    ],
)
def test_what_cannot_be_saved_is_refused_with_a_sentence(ann, name, search, sentence):
    answer = save(ann, name=name, search=search)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert not SavedSearch.objects.exists()


def test_a_saved_search_is_renamed(ann):
    save(ann)
    save(ann, name="Fish", search="q=fish")
    boats = SavedSearch.objects.get(name="Boats")
    taken = ann.post(f"/searches/{boats.pk}/rename", {"name": "Fish"})
    assert taken.status_code == 400
    assert "already have a saved search called “Fish”" in taken.text
    assert ann.post(f"/searches/{boats.pk}/rename", {"name": "Ships"}).status_code == 302
    assert names(ann.get("/searches")) == ["Fish", "Ships"]


def test_a_saved_search_is_deleted(ann):
    save(ann)
    boats = SavedSearch.objects.get()
    assert ann.get(f"/searches/{boats.pk}/delete").status_code == 405
    assert ann.post(f"/searches/{boats.pk}/delete").status_code == 302
    assert not SavedSearch.objects.exists()


def test_only_its_owner_sees_opens_or_changes_a_saved_search(ann):
    save(ann)
    boats = SavedSearch.objects.get()
    bob = Client()
    bob.force_login(make_user("bob", is_superuser=True))
    assert names(bob.get("/searches")) == []
    assert bob.get(f"/searches/{boats.pk}").status_code == 404
    assert bob.post(f"/searches/{boats.pk}/rename", {"name": "Mine"}).status_code == 404
    assert bob.post(f"/searches/{boats.pk}/delete").status_code == 404
    assert SavedSearch.objects.get().name == "Boats"


def test_a_form_from_elsewhere_saves_nothing():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert save(client).status_code == 403
    assert not SavedSearch.objects.exists()


def test_a_saved_search_that_can_no_longer_be_read_says_so(ann):
    SavedSearch.objects.create(owner=make_user(), name="Old", query={"version": 99})
    page = ann.get("/searches")
    assert "can no longer be read" in page.text
    opened = ann.get(f"/searches/{SavedSearch.objects.get().pk}")
    assert opened.status_code == 400
    assert "“Old”" in opened.text
