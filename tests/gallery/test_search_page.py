from __future__ import annotations

import html
import io
import re
import uuid
from pathlib import Path

import numpy as np
import pytest
from django.contrib.staticfiles import finders
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from embeddings.models import Space
from embeddings.vectors import normalise
from gallery import pipeline, spaces
from gallery.decoding import decoders
from gallery.decoding.processes import DecodersUnavailable
from gallery.models import Image, ImageEmbedding
from gallery.search import text_vector
from gallery.templatetags.figures import RATIOS
from gallery.views import search as search_view
from scenes import compose, draw
from tests.gallery.uploads import picture, png, stored
from tests.rows import make_images, make_user, make_vectors, store

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


def test_an_empty_answer_helps_on(client, images):
    page = client.get("/", {"q": "boat", "tag": "nothing-has-this"})
    assert captions(page) == []
    assert "no image passes the filters" in page.text
    assert "Search without “tag nothing-has-this”" in page.text


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


def test_decoders_that_are_away_are_told_as_a_search_that_is(client, images, monkeypatch):
    def away(*args, **options):
        raise DecodersUnavailable("Too many images are being looked at. Try again soon.")

    monkeypatch.setattr(decoders, "open_new", away)
    answer = client.post("/", {"image": SimpleUploadedFile("a.png", picture())}, headers=HTMX)
    assert answer.status_code == 503
    assert "Try again soon." in answer.text


def test_a_form_from_elsewhere_is_refused(images):
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/", {"image": png(1)})
    assert answer.status_code == 403
    assert "out of date" in answer.text


def test_a_shown_image_is_turned_and_refined_without_sending_its_address(client, images):
    """Its later pages come by the search's id; a refining link takes the image along by POST."""
    for seed in range(10, 34):
        stored(seed)
    pipeline.embed_waiting()
    answer = client.post("/?band=unlikely&by=image", {"image": png(1), "band": "likely"})
    assert len(captions(answer)) == 24
    address = answer.headers["HX-Push-Url"]
    assert re.fullmatch(r"/\?band=unlikely&by=image&search=[\w-]+&page=1", address)
    following = client.get(address.replace("page=1", "page=2"))
    assert len(captions(following)) == 2
    assert 'aria-label="Your image"' in following.text
    expired = client.get("/?band=unlikely&by=image&search=gone&page=2")
    assert expired.status_code == 410
    assert "Choose it again" in expired.text


def test_an_address_without_the_image_it_was_searched_by_says_so(client, images):
    page = client.get("/", {"q": "boat", "by": "image"})
    assert "The image you had shown is not kept" in page.text
    assert sorted(captions(page)) == ["A blue fish", "A red boat"]
    assert "is not kept" in client.get("/", {"by": "image"}).text


def test_posting_no_image_and_no_words_is_answered_with_a_sentence(client, images):
    answer = client.post("/", {})
    assert answer.status_code == 400
    assert "Say what to look for" in answer.text


# Bands, pages and counts


QUESTION = "a red boat"


@pytest.fixture
def banded():
    """Of 80 images 3 are likely what QUESTION asks for, 2 maybe, 75 unlikely."""
    spaces.ensure()
    space = spaces.active()
    text = text_vector(space, QUESTION)
    others = make_vectors(80, dimensions=space.dimensions)
    others = normalise(others - np.outer(others @ text, text))
    cosines = np.concatenate([[0.9, 0.88, 0.86, 0.72, 0.7], np.linspace(-0.1, 0.1, 75)])
    vectors = cosines[:, None] * text + np.sqrt(1 - cosines[:, None] ** 2) * others
    ids = make_images(80)
    store(ids, vectors, space)
    return [str(uuid) for uuid in Image.objects.order_by("pk").values_list("uuid", flat=True)]


def shown(answer):
    assert answer.status_code == 200, answer.text
    return re.findall(r'class="picture" href="/images/([^"]+)"', answer.text)


def link(answer, text):
    """Return the address of the link with this text."""
    found = re.findall(rf'<a [^>]*?href="([^"]+)"[^>]*>(?:<svg.*?</svg>)?{text}', answer.text)
    assert len(found) == 1, found
    return html.unescape(found[0])


def part_of(answer, name):
    """Return the address of a part that the page asks for afterwards."""
    return html.unescape(re.search(rf'hx-get="(/search/[\w-]+/{name}[^"]*)"', answer.text)[1])


def test_likely_hits_come_first_and_maybes_below_a_heading(client, banded):
    page = client.get("/", {"q": QUESTION})
    assert shown(page) == banded[:5]
    assert "5 images: 3 likely, 2 maybe" in page.text
    assert re.findall(r"<h3>(\w+)</h3>", page.text) == ["Maybe"]
    assert page.text.index(banded[2]) < page.text.index("<h3>Maybe") < page.text.index(banded[3])


def test_what_is_unlikely_is_counted_and_shown_when_asked_for(client, banded):
    page = client.get("/", {"q": QUESTION})
    counted = client.get(part_of(page, "totals"), headers=HTMX)
    wider = link(counted, "75 more are unlikely: show them")
    assert wider == "/?q=a+red+boat&band=unlikely"
    page = client.get(wider)
    assert shown(page)[:5] == banded[:5]
    assert re.findall(r"<h3>(\w+)</h3>", page.text) == ["Maybe", "Unlikely"]
    counted = client.get(part_of(page, "totals"), headers=HTMX)
    assert "80 images: 3 likely, 2 maybe, 75 unlikely" in counted.text
    assert "unlikely: show" not in counted.text


def test_only_likely_hits_are_shown_when_asked_for(client, banded):
    page = client.get("/", {"q": QUESTION, "band": "likely"})
    assert shown(page) == banded[:3]
    counted = client.get(part_of(page, "totals"), headers=HTMX)
    assert link(counted, "2 more are only maybe") == "/?q=a+red+boat"


def test_pages_show_every_hit_once_and_hold_still_while_images_come(client, banded):
    page, seen = client.get("/", {"q": QUESTION, "band": "unlikely"}), []
    make_images(3)
    seen += shown(page)
    while ">Next<" in page.text:
        page = client.get(link(page, "Next"))
        seen += shown(page)
    assert len(seen) == 80
    assert set(seen) == set(banded)
    assert "Images 73 to 80" in page.text
    back = client.get(link(page, "Previous"))
    assert shown(back) == seen[48:72]


def test_a_page_whose_images_are_gone_says_so_and_leads_on(client, banded):
    page = client.get("/", {"q": QUESTION, "k": 2, "band": "unlikely"})
    following = link(page, "Next")
    gone = shown(client.get(following))
    ImageEmbedding.objects.filter(image__uuid__in=gone).delete()
    Image.objects.filter(uuid__in=gone).delete()
    page = client.get(following)
    assert "The images of this page are gone" in page.text
    assert len(shown(client.get(link(page, "To the next page")))) == 2
    assert shown(client.get(link(page, "To the first page"))) == banded[:2]


def test_the_last_page_is_a_link_once_the_hits_are_counted(client, banded):
    page = client.get("/", {"q": QUESTION, "band": "unlikely", "k": 2})
    assert 'aria-label="Page 40"' not in page.text
    counted = client.get(part_of(page, "totals"), headers=HTMX)
    last = html.unescape(re.search(r'href="([^"]+)"[^>]*aria-label="Page 40"', counted.text)[1])
    assert len(shown(client.get(last))) == 2


def test_show_more_asks_htmx_only_for_the_next_hits_and_repeats_no_heading(client, banded):
    page = client.get("/", {"q": QUESTION, "k": 4})
    more = html.unescape(re.search(r'hx-get="([^"]+)"[^>]*>Show more<', page.text)[1])
    further = client.get(more, headers=HTMX)
    assert shown(further) == banded[4:5]
    assert "<form" not in further.text
    assert "<h3>" not in further.text
    assert 'hx-swap-oob="beforeend:#hits"' in further.text
    assert "HX-Push-Url" not in further.headers
    assert shown(client.get(link(page, "Show more"))) == banded[4:5]  # without script


def test_a_page_grows_ten_times_and_is_turned_then(client, banded):
    address = {"q": QUESTION, "band": "unlikely", "k": 2}
    assert "Show more" in client.get("/", {**address, "page": 9}).text
    assert "Show more" not in client.get("/", {**address, "page": 10}).text


def test_an_expired_search_is_made_anew_and_says_so(client, banded):
    page = client.get("/", {"q": QUESTION, "band": "unlikely", "search": "gone", "page": 2})
    assert len(shown(page)) == 24
    assert "had expired" in page.text
    # Asked for to be put after others, it takes the place of them all.
    further = client.get(
        "/", {"q": QUESTION, "k": 4, "search": "gone", "page": 2, "after": "likely"}, headers=HTMX
    )
    assert further.headers["HX-Retarget"] == "#search-page"
    assert "had expired" in further.text


def test_an_expired_search_without_words_is_gone(client, banded):
    answer = client.get("/", {"search": "gone", "page": 2})
    assert answer.status_code == 410
    assert "have expired" in answer.text
    assert client.get("/search/gone/totals", headers=HTMX).status_code == 204
    assert client.get("/search/gone/facets", headers=HTMX).status_code == 410
    assert client.get(f"/search/gone/why/{banded[0]}", headers=HTMX).status_code == 410


def test_nobody_turns_the_search_of_another(client, banded):
    search_id = re.search(r"/search/([\w-]+)/totals", client.get("/", {"q": QUESTION}).text)[1]
    client.force_login(make_user("bob"))
    assert client.get("/", {"search": search_id, "page": 1}).status_code == 410


def test_nothing_likely_is_said_with_what_there_is(client, banded):
    page = client.get("/", {"q": QUESTION, "filter": f"id in ({banded[20]}, {banded[21]})"})
    assert shown(page) == []
    assert "Nothing found" in page.text
    wider = client.get(link(page, "2 more are unlikely: show them"))
    assert sorted(shown(wider)) == sorted(banded[20:22])


def test_in_another_order_each_hit_says_its_band(client, banded):
    Image.objects.filter(uuid=banded[3]).update(taken_at="2024-05-05T12:00Z")
    page = client.get("/", {"q": QUESTION, "order": "-taken"})
    assert shown(page)[0] == banded[3]
    assert len(shown(page)) == 5
    assert "<h3>" not in page.text
    assert re.findall(r'<span class="band">(\w+)<', page.text).count("maybe") == 2
    assert "newest first" in page.text


def test_where_rankings_are_fused_each_hit_says_its_band(client, banded):
    page = client.get("/", {"q": QUESTION, "mode": "hybrid"})
    assert sorted(shown(page)) == sorted(banded[:5])
    assert "<h3>" not in page.text
    bands = re.findall(r'<span class="band">(\w+)<', page.text)
    assert [bands.count(band) for band in ("likely", "maybe")] == [3, 2]
    assert "best first" in page.text
    assert "the sum of weight / (60 + rank)" in page.text


def test_a_search_page_asks_postgres_little(client, banded, django_assert_max_num_queries):
    client.get("/", {"q": QUESTION})
    with django_assert_max_num_queries(16):
        client.get("/", {"q": QUESTION, "band": "unlikely"})


# What it can do more


def test_words_to_be_without_push_images_down(client, images):
    first = captions(client.get("/", {"q": "boat", "similar_to": images[0].uuid}))
    assert first == ["A blue fish"]
    page = client.get("/", {"q": "boat", "without": ["fish", ""]})
    assert 'name="without" value="fish"' in page.text
    assert link_of_chip(page, "without fish") == "/?q=boat"


def link_of_chip(answer, text):
    chips = re.findall(r'<a class="chip[^"]*" href="([^"]+)".*?>(.*?)</a>', answer.text, re.DOTALL)
    found = {
        " ".join(re.sub(r"<[^>]+>", " ", label).replace(", remove", "").split()): address
        for address, label in chips
    }
    assert text in found, found
    return html.unescape(found[text])


def test_keywords_are_looked_for_in_captions_and_tags(client, images):
    page = client.get("/", {"q": "blue", "mode": "keyword"})
    assert captions(page) == ["A blue fish"]
    assert link_of_chip(page, "look in Words in captions and tags") == "/?q=blue"
    nothing = client.get("/", {"q": "zebra", "mode": "keyword"})
    assert "No caption, tag or file name has these words" in nothing.text


def test_both_ways_of_looking_are_fused(client, images):
    page = client.get("/", {"q": "blue", "mode": "hybrid"})
    assert captions(page)[0] == "A blue fish"
    assert "best first" in page.text


def test_usual_choices_leave_no_trace(client, images):
    query = {"q": "boat", "mode": "semantic", "order": "relevance", "band": "maybe"}
    query |= {"diversity": "0", "min_score": "", "without": "", "colour": "", "format": ""}
    page = client.get("/", query, headers=HTMX)
    assert page.headers["HX-Push-Url"] == "/?q=boat"
    assert 'class="chip' not in page.text
    assert '<option value="maybe" selected>' in page.text


def test_all_options_are_kept_from_form_to_address_to_chips(client, images):
    query = {"q": "boat", "order": "-taken", "band": "unlikely", "diversity": "0.3"}
    page = client.get("/", {**query, "min_score": "-0.9"}, headers=HTMX)
    assert page.headers["HX-Push-Url"] == (
        "/?q=boat&order=-taken&band=unlikely&diversity=0.3&min_score=-0.9"
    )
    assert link_of_chip(page, "variety 0.3") == "/?q=boat&order=-taken&band=unlikely&min_score=-0.9"
    assert '<option value="-taken" selected>' in page.text


# Filters


def test_the_plain_fields_become_conditions_and_come_back(client, images):
    query = {"q": "boat", "format": "png", "orientation": "landscape", "filter": "NOT tag:night"}
    page = client.get("/", query, headers=HTMX)
    assert sorted(captions(page)) == ["A blue fish", "A red boat"]
    address = page.headers["HX-Push-Url"]
    assert address == (
        "/?q=boat&filter=format%3Apng+AND+orientation%3Alandscape+AND+NOT+tag%3Anight"
    )
    again = client.get(address)
    assert '<option value="png" selected>' in again.text
    assert 'name="filter" id="filter" maxlength="2000" value="NOT tag:night"' in again.text
    assert link_of_chip(again, "format png") == (
        "/?q=boat&filter=orientation%3Alandscape+AND+NOT+tag%3Anight"
    )


def test_a_filter_that_cannot_be_read_says_so_at_its_field(client, images):
    page = client.get("/", {"q": "boat", "filter": "tag:("})
    assert page.status_code == 400
    problem = re.search(r'<p class="error" id="filter-problem"[^>]*>(.*?)</p>', page.text)[1]
    assert "cannot be read at character" in problem
    assert 'value="tag:("' in page.text
    assert 'aria-invalid="true"' in page.text
    assert '<details class="panel-of-ask" name="ask" open>' in page.text


def test_an_unknown_field_is_named(client, images):
    page = client.get("/", {"q": "boat", "filter": "speed>3"})
    assert page.status_code == 400
    assert "There is no field “speed”" in page.text


def test_a_filter_holds_for_the_newest_images_too(client, images):
    assert captions(client.get("/", {"filter": 'caption~"fish"'})) == ["A blue fish"]


def test_only_who_is_logged_in_is_offered_what_visitors_may_not_ask(client, images):
    assert 'name="near"' not in client.get("/").text
    client.force_login(make_user())
    assert 'name="near"' in client.get("/").text


# Facets


def test_facets_count_the_hits_and_narrow_the_search(client, images):
    page = client.get("/", {"q": "boat", "filter": "format:png"})
    facets = client.get(part_of(page, "facets"), headers=HTMX)
    assert re.findall(r"<h3>(.*?)</h3>", facets.text)[:2] == ["Tag", "Album"]
    assert ">hidden<" not in facets.text
    narrowed = link(facets, '<span class="value">sea</span>')
    assert narrowed == "/?q=boat&tag=sea&filter=format%3Apng"
    assert captions(client.get(narrowed)) == ["A red boat"]


def test_what_all_hits_have_in_common_is_no_facet(client, images):
    facets = client.get(part_of(client.get("/", {"q": "boat"}), "facets"), headers=HTMX)
    assert "Format" not in facets.text  # all are png
    assert 'value="2"' not in facets.text


def test_facets_are_a_page_without_script(client, images):
    address = part_of(client.get("/", {"q": "boat"}), "facets")
    page = client.get(address)
    assert "<html" in page.text
    assert link(page, "Back to the images").startswith("/?q=boat&search=")


# Why


def test_a_hit_says_why_it_is_there(client, images):
    page = client.get("/", {"q": "boat", "without": "fish", "tag": "sea"})
    address = part_of(page, "why")
    part = client.get(address, headers=HTMX)
    assert "<html" not in part.text
    shares = re.findall(r'<meter class="(\w+)" min="0" max="[\d.]+" value="[\d.]+">', part.text)
    assert len(shares) == 2
    assert re.search(r'<th scope="row">boat', part.text)
    assert re.search(r'<th scope="row">fish', part.text)
    assert "tag:sea" in part.text
    assert spaces.active().name in part.text
    assert "<html" in client.get(address).text


def test_why_is_asked_of_hits_alone(client, images):
    search_id = re.search(r"/search/([\w-]+)/totals", client.get("/?q=boat&tag=sea").text)[1]
    assert client.get(f"/search/{search_id}/why/{images[1].uuid}").status_code == 400
    assert client.get(f"/search/{search_id}/why/{images[2].uuid}").status_code == 404


# Relevance feedback


def test_a_thumb_refines_the_search_and_can_be_taken_back(client, images):
    fish = images[1].uuid
    page = client.get("/", {"q": "boat"})
    for kind in ("good", "bad"):
        assert f'href="/?q=boat&amp;{kind}={fish}"' in page.text
    page = client.get("/", {"q": "boat", "good": fish})
    assert f'<img src="/images/{fish}/thumbnail/256.webp"' in page.text
    assert f'name="good" value="{fish}"' in page.text
    assert link_of_chip(page, "more like an image") == "/?q=boat"


def test_the_other_thumb_takes_the_place_of_the_first(client, images):
    boat, fish = images[0].uuid, images[1].uuid
    page = client.get("/", {"q": "boat", "good": boat, "band": "unlikely"})
    assert f"good={boat}&amp;band=unlikely&amp;bad={fish}" in page.text
    assert f"good={fish}" in page.text


def test_good_images_alone_are_a_search(client, images):
    assert captions(client.get("/", {"good": images[0].uuid})) == ["A blue fish"]


def test_a_hidden_image_is_no_example(client, images):
    answer = client.get("/", {"q": "boat", "good": images[2].uuid})
    assert answer.status_code == 400
    assert "may not see it" in answer.text


# What cannot be answered


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"q": "x" * 1001}, "at most 1000 characters"),
        ({"q": "a\0b"}, "a character that is no text"),
        ({"similar_to": "7"}, "must be the id of an image"),
        ({"before": "7"}, "must be the id of an image"),
        ({"taken_after": "yesterday"}, "must be a day such as"),
        ({"taken_after": "2026-02-02", "taken_before": "2026-02-01"}, "must not be later"),
        ({"visibility": "secret"}, "must be public or private"),
        ({"q": "boat", "k": "0"}, "k must be from 1"),
        ({"q": "boat", "k": "many"}, "must be a whole number"),
        ({"tag": [f"tag{n}" for n in range(11)]}, "at most 10 tags"),
        ({"tag": "x" * 101}, "a tag of 1 to 100 characters"),
        ({"q": "boat", "mode": "telepathy"}, "must be one of semantic, keyword, hybrid"),
        ({"q": "boat", "band": "surely"}, "must be one of likely, maybe, unlikely"),
        ({"q": "boat", "diversity": "2"}, "diversity must be from 0 to 1"),
        ({"q": "boat", "min_score": "nan"}, "must be a number"),
        ({"q": "boat", "page": "0"}, "must be a whole number from 1"),
        ({"q": "boat", "page": "99"}, "The last page of this search is 1."),
        ({"q": "boat", "good": "7"}, "must be the id of an image"),
        ({"near": "here"}, "must be latitude, longitude and distance"),
        ({"colour": "octarine"}, "must be #336699"),
        ({"filter": ["tag:a", "tag:b"]}, "write AND between"),
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
    assert '<option value="hidden">' not in client.get("/names").text
    assert '<option value="sea">' in client.get("/names").text
    client.force_login(make_user())
    assert '<option value="hidden">' in client.get("/names").text


def test_without_public_search_visitors_are_told_no_names(client, images, settings):
    settings.PUBLIC_SEARCH = False
    assert client.get("/names").status_code == 302


def test_no_page_looks_for_names_that_nobody_asks_for(client, images):
    """It is a look at all images and their tags."""
    with CaptureQueriesContext(connection) as asked:
        client.get("/", {"q": "boat"})
        client.get("/")
    assert not [row for row in asked.captured_queries if 'FROM "gallery_tag"' in row["sql"]]


# How the pages are written


def test_no_page_needs_inline_script_or_style(client, images):
    client.force_login(make_user())
    for address in (
        "/",
        "/?q=boat&tag=sea",
        "/searches",
        f"/images/{images[0].uuid}",
        "/upload",
        "/nowhere",
    ):
        page = client.get(address).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)


def test_every_shape_of_an_image_has_its_rule():
    stylesheet = Path(finders.find("semblance.css")).read_text()
    rules = set(re.findall(r"\.ratio-(\d+) \{", stylesheet))
    assert rules == {str(ratio) for ratio in RATIOS}
