from __future__ import annotations

import io
import re
import uuid
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from embeddings.models import Space
from gallery import pipeline, spaces
from gallery.models import Image
from gallery.templatetags.figures import RATIOS
from gallery.views import search as search_view
from scenes import compose, draw
from tests.gallery.uploads import picture, png, stored
from tests.rows import make_images, make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def images():
    """Three embedded images of ann's: two public, the last hers alone."""
    spaces.ensure()
    images = [
        stored(0, caption="A red boat", tags=("sea",), album="Harbour"),
        stored(1, caption="A blue fish"),
        stored(2, caption="A secret", visibility="private", tags=("hidden",)),
    ]
    pipeline.embed_waiting()
    return images


def captions(answer):
    found = re.findall(r'<span class="caption">(.*?)</span>', answer.text)
    assert answer.status_code == 200, answer.text
    return found


# The newest images


def test_without_a_query_the_newest_images_come_first(client, images):
    assert captions(client.get("/")) == ["A blue fish", "A red boat"]


def test_an_owner_sees_her_private_images_too(client, images):
    client.force_login(make_user())
    assert captions(client.get("/")) == ["A secret", "A blue fish", "A red boat"]


def test_the_newest_images_are_filtered(client, images):
    assert captions(client.get("/", {"tag": "Sea"})) == ["A red boat"]
    assert captions(client.get("/", {"album": "Harbour"})) == ["A red boat"]


def test_show_more_goes_on_where_the_page_ended(client, monkeypatch):
    monkeypatch.setattr(search_view, "PAGE", 2)
    make_images(5)
    address, seen = "/", []
    while address:
        page = client.get(address)
        seen += re.findall(r'class="picture" href="/images/([^"]+)"', page.text)
        more = re.search(r'href="(/\?before=[^"]+)"', page.text)
        address = more[1] if more else ""
    assert seen == [str(image.uuid) for image in Image.objects.order_by("-added_at", "-id")]


def test_show_more_asks_htmx_only_for_further_images(client, monkeypatch):
    monkeypatch.setattr(search_view, "PAGE", 2)
    make_images(3)
    last = Image.objects.all()[1]
    more = client.get("/", {"before": last.uuid}, headers=HTMX)
    assert more.text.count('class="figure') == 1
    assert "<form" not in more.text
    assert "HX-Push-Url" not in more.headers


def test_an_empty_gallery_says_what_to_do(client):
    assert "no public image" in client.get("/").text
    client.force_login(make_user())
    assert reverse("upload") in client.get("/").text


# A query


def test_words_find_images_with_scores_and_say_how(client, images):
    answer = client.get("/", {"q": "a red boat"})
    assert sorted(captions(answer)) == ["A blue fish", "A red boat"]
    assert len(re.findall(r'<data class="score" value="-?0\.\d+"', answer.text)) == 2
    assert "Candidates" in answer.text
    assert spaces.active().name in answer.text


def test_htmx_gets_the_part_and_the_address_bar_a_short_address(client, images):
    query = {"q": "boat", "tag": ["", "sea"], "album": "", "taken_after": "", "k": ""}
    part = client.get("/", query, headers=HTMX)
    assert "<html" not in part.text
    assert 'id="search-page"' in part.text
    assert part.headers["HX-Push-Url"] == "/?q=boat&tag=sea"
    assert "HX-Request" in part.headers["Vary"]
    assert "<html" in client.get("/", query).text


def test_the_title_is_that_of_the_search(client, images):
    for headers in ({}, HTMX):
        page = client.get("/", {"q": "a red boat"}, headers=headers)
        title = re.search(r"<title>(.*?)</title>", page.text, re.DOTALL)
        assert " ".join(title[1].split()) == "a red boat · Semblance"


def test_a_filter_in_force_can_be_taken_away(client, images):
    page = client.get("/", {"q": "boat", "tag": "sea", "album": "Harbour"})
    assert 'href="/?q=boat&amp;album=Harbour"' in page.text
    assert 'href="/?q=boat&amp;tag=sea"' in page.text


def test_show_more_doubles_k_while_there_may_be_more(client, images):
    assert 'href="/?q=boat&amp;k=2"' in client.get("/", {"q": "boat", "k": 1}).text
    assert "Show more" not in client.get("/", {"q": "boat", "k": 3}).text


def test_an_empty_answer_helps_on(client, images):
    page = client.get("/", {"q": "boat", "tag": "nothing-has-this"})
    assert captions(page) == []
    assert "no image passes the filters" in page.text


def test_words_that_the_encoder_does_not_know_are_named(client, images):
    assert "<q>xylophone</q>" in client.get("/", {"q": "a red xylophone"}).text


def test_the_bundled_encoder_is_said_to_know_drawn_scenes_only(client, images):
    assert "drawn scenes only" in client.get("/").text


# An image as the query


def test_a_shown_image_finds_its_like_and_is_not_kept(client, images):
    answer = client.post("/", {"image": png(1)})
    assert captions(answer)[0] == "A blue fish"
    assert "data:image/webp;base64," in answer.text
    assert Image.objects.count() == 3


def test_a_shown_image_is_searched_under_the_filters(client, images):
    assert captions(client.post("/", {"image": png(1), "tag": "sea"})) == ["A red boat"]


def test_a_large_photo_may_be_shown(client, images):
    file = io.BytesIO()
    draw(compose(7), (1600, 1200)).save(file, "JPEG")
    answer = client.post("/", {"image": SimpleUploadedFile("photo.jpg", file.getvalue())})
    assert len(captions(answer)) == 2


def test_an_image_of_the_gallery_finds_the_others(client, images):
    answer = client.get("/", {"similar_to": images[0].uuid})
    assert captions(answer) == ["A blue fish"]
    assert f'name="similar_to" value="{images[0].uuid}"' in answer.text


def test_a_hidden_image_cannot_be_compared_with(client, images):
    assert client.get("/", {"similar_to": images[2].uuid}).status_code == 404
    assert client.get("/", {"similar_to": uuid.uuid4()}).status_code == 404
    client.force_login(make_user())
    assert client.get("/", {"similar_to": images[2].uuid}).status_code == 200


@pytest.mark.parametrize("content", [b"", b"no image", picture()[:200]])
def test_a_file_that_is_no_image_is_refused_with_a_sentence(client, images, content):
    answer = client.post("/", {"image": SimpleUploadedFile("a.png", content)}, headers=HTMX)
    assert answer.status_code == 400
    assert "The file is" in answer.text


def test_a_form_from_elsewhere_is_refused(images):
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/", {"image": png(1)})
    assert answer.status_code == 403
    assert "out of date" in answer.text


# What cannot be answered


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"q": "x" * 1001}, "at most 1000 characters"),
        ({"q": "a\0b"}, "Null characters are not allowed."),
        ({"similar_to": "7"}, "must be the id of an image"),
        ({"before": "7"}, "must be the id of an image"),
        ({"taken_after": "yesterday"}, "must be a date such as 2026-05-31"),
        ({"taken_after": "2026-02-02", "taken_before": "2026-02-01"}, "must not be later"),
        ({"visibility": "secret"}, "must be public or private"),
        ({"q": "boat", "k": "0"}, "k must be from 1"),
        ({"q": "boat", "k": "many"}, "must be a whole number"),
        ({"tag": [f"tag{n}" for n in range(11)]}, "at most 10 tags"),
        ({"tag": "x" * 101}, "100 are allowed"),
    ],
)
def test_a_wrong_query_gets_a_sentence(client, images, query, sentence):
    answer = client.get("/", query)
    assert answer.status_code == 400
    assert sentence in answer.text


def test_a_search_that_cannot_answer_never_looks_like_no_results(client, images):
    Space.objects.update(state=Space.State.RETIRED)
    answer = client.get("/", {"q": "boat"})
    assert answer.status_code == 503
    assert "Search is not available" in answer.text
    assert "no image" not in answer.text.lower()


def test_a_failure_of_ours_has_a_page_too(client, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(search_view, "newest", fail)
    client.raise_request_exception = False
    answer = client.get("/")
    assert answer.status_code == 500
    assert "Something failed on the server" in answer.text


# Who may see what


def test_without_public_search_visitors_are_asked_to_log_in(client, images, settings):
    settings.PUBLIC_SEARCH = False
    answer = client.get("/", {"q": "boat"})
    assert answer.status_code == 302
    assert answer.url.startswith("/login?next=")


def test_names_that_only_hidden_images_bear_are_not_suggested(client, images):
    assert '<option value="hidden">' not in client.get("/").text
    assert '<option value="sea">' in client.get("/").text
    client.force_login(make_user())
    assert '<option value="hidden">' in client.get("/").text


# How the pages are written


def test_no_page_needs_inline_script_or_style(client, images):
    client.force_login(make_user())
    for address in ("/", "/?q=boat", f"/images/{images[0].uuid}", "/upload", "/nowhere"):
        page = client.get(address).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)


def test_every_shape_of_an_image_has_its_rule():
    stylesheet = Path(finders.find("semblance.css")).read_text()
    rules = set(re.findall(r"\.ratio-(\d+) \{", stylesheet))
    assert rules == {str(ratio) for ratio in RATIOS}
