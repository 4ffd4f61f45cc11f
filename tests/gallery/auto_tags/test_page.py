from __future__ import annotations

import re

import pytest

from gallery import spaces
from gallery.auto_tags import wording
from gallery.auto_tags.preview import preview
from gallery.models import AutoTag, Image, SuggestionState, TagMode, TagSuggestion
from tests.gallery.auto_tags.crowds import (
    PROMPT,
    auto_tag,
    begin_anew,
    compare,
    crowd,
    images_at,
    state_by_id,
    tagged,
)
from tests.rows import make_user

pytestmark = pytest.mark.django_db

BOATS = (0.6, 0.59, 0.58, 0.57)
FORM = {"name": "Boat", "prompts": PROMPT, "templates": "{}", "mode": "suggest",
        "wanted_precision": "90"}  # fmt: skip


@pytest.fixture
def space():
    begin_anew()
    return spaces.ensure()


@pytest.fixture
def boats(space):
    crowd(space)
    return images_at(space, BOATS)


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


def shown(page):
    return re.findall(r'name="image" value="([^"]+)"', page.text)


def test_the_pages_are_for_people_who_are_logged_in(client, boats):
    tag = auto_tag()
    for address in ("", "/new", f"/{tag.pk}", f"/{tag.pk}/edit"):
        assert client.get(f"/auto-tags{address}").status_code == 302


def test_without_any_the_page_says_what_they_are(ann):
    assert "New auto tag" in ann.get("/auto-tags").text


def test_the_form_makes_one_and_says_what_is_wrong(ann, boats):
    page = ann.post("/auto-tags/new", FORM, follow=True)
    assert "“boat” is kept" in page.text
    assert AutoTag.objects.get().prompts == [PROMPT]
    for wrong, sentence in (
        ({}, "You already have an auto tag"),
        ({"name": ""}, "required"),
        ({"name": "a, b"}, "name of one tag"),
        ({"name": "x", "templates": "a photo"}, "needs {} once"),
        ({"name": "x", "mode": "burn"}, "not one of the available choices"),
        ({"name": "x", "wanted_precision": "100"}, "less than or equal to 99"),
    ):
        page = ann.post("/auto-tags/new", FORM | wrong)
        assert (page.status_code, sentence in page.text) == (400, True)
    assert AutoTag.objects.count() == 1


def test_what_is_wrong_with_the_templates_is_said_where_they_are(ann, space):
    page = ann.post("/auto-tags/new", FORM | {"templates": "a photo"}).text
    assert page.index("needs {} once") > page.index("<summary>Templates and precision")
    assert "<details open>" in page


def test_without_prompts_the_name_is_the_prompt(ann, boats):
    ann.post("/auto-tags/new", FORM | {"prompts": " \n"})
    assert AutoTag.objects.get().prompts == ["boat"]


def test_an_auto_tag_is_edited_and_deleted(ann, boats):
    tag = auto_tag()
    assert PROMPT in ann.get(f"/auto-tags/{tag.pk}/edit").text
    ann.post(f"/auto-tags/{tag.pk}/edit", FORM | {"mode": "apply", "name": "other"})
    tag.refresh_from_db()
    assert (tag.mode, tag.version, tag.tag.name) == (TagMode.APPLY, 2, "boat")
    ann.post(f"/auto-tags/{tag.pk}/delete")
    assert not AutoTag.objects.exists()


def test_the_preview_shows_the_best_and_the_border_and_stores_nothing(ann, boats):
    page = ann.post("/auto-tags/preview", FORM)
    assert page.status_code == 200
    assert "<strong>4</strong> of your images fit." in re.sub(r"\s+", " ", page.text)
    assert "The best" in page.text
    assert "At the border" in page.text
    places = [page.text.index(str(Image.objects.get(pk=id_).uuid)) for id_ in boats]
    assert places == sorted(places)
    assert not AutoTag.objects.exists()
    assert "Preview" in ann.post("/auto-tags/new", FORM | {"preview": "1"}).text
    assert not AutoTag.objects.exists()


def test_the_preview_names_words_that_the_encoder_never_learned(ann, boats):
    assert "never learned “zeppelin”" in ann.post(
        "/auto-tags/preview", FORM | {"prompts": "a zeppelin"}
    ).text  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"prompts": "", "name": ""}, 200),
        ({"templates": "x"}, 200),
        ({"prompts": "x" * 1_000_000}, 200),
        ({"auto_tag": "99"}, 404),
        ({"auto_tag": "9" * 5000}, 200),
    ],
)
def test_a_preview_of_what_is_not_there_yet_is_no_error_of_the_server(ann, space, changes, status):
    assert ann.post("/auto-tags/preview", FORM | changes).status_code == status
    assert ann.post("/auto-tags/preview", FORM).status_code == 200  # without images


def test_a_preview_shows_own_images_only(ann, space):
    crowd(space)
    images_at(space, BOATS, owner=make_user("bob"), visibility="public")
    page = ann.post("/auto-tags/preview", FORM).text
    for image in Image.objects.filter(owner__username="bob"):
        assert str(image.uuid) not in page


def test_what_the_preview_counts_is_what_is_suggested(ann, boats):
    tag = auto_tag()
    compare()
    found = preview(make_user(), _setting())
    assert found.fitting == len(state_by_id(tag)) == 4


def test_buttons_answer_without_a_script_and_the_page_goes_on(ann, boats):
    tag = auto_tag()
    compare()
    page = ann.get(f"/auto-tags/{tag.pk}")
    images = shown(page)
    assert len(images) == 4
    for chosen, answer, sentence in (
        (images[:2], "accept", "2 images accepted"),
        (images[2:3], "reject", "1 image rejected"),
        (images[:1], "undo", "1 image taken back"),
    ):
        page = ann.post(
            f"/auto-tags/{tag.pk}/answer", {"image": chosen, "answer": answer}, follow=True
        )
        assert sentence in page.text
    assert set(shown(page)) == {images[0], images[3]}
    assert len(tagged(tag)) == 1
    rejected = ann.get(f"/auto-tags/{tag.pk}?state=rejected")
    assert shown(rejected) == [images[2]]


def test_images_that_are_not_suggested_are_shown_to_be_answered(ann, boats):
    tag = auto_tag()
    assert "Nothing was compared yet" in ann.get(f"/auto-tags/{tag.pk}").text
    compare()
    page = ann.get(f"/auto-tags/{tag.pk}?state=unasked")
    images = shown(page)
    assert len(images) == 24
    assert not set(images) & set(shown(ann.get(f"/auto-tags/{tag.pk}")))
    said = {"image": images[:3], "answer": "reject", "state": "unasked"}
    page = ann.post(f"/auto-tags/{tag.pk}/answer", said, follow=True)
    assert "3 images rejected" in page.text
    assert not set(shown(page)) & set(images[:3])


def test_an_answer_that_nobody_could_have_given_changes_nothing(ann, boats):
    tag = auto_tag()
    compare()
    (image,) = shown(ann.get(f"/auto-tags/{tag.pk}"))[:1]
    for said in (
        {"answer": "burn", "image": image},
        {"answer": "accept"},
        {"answer": "accept", "image": "x"},
        {"image": image},
    ):
        assert ann.post(f"/auto-tags/{tag.pk}/answer", said).status_code == 302
    assert set(state_by_id(tag).values()) == {SuggestionState.OPEN}
    for query in ("state=x", "order=x", "skip=-1", "skip=%D9%A3", "skip=99999999999", "skip=50"):
        assert ann.get(f"/auto-tags/{tag.pk}?{query}").status_code == 200


def test_nobody_sees_or_answers_anothers_auto_tag(ann, boats, client):
    tag = auto_tag("bob")
    assert "boat" not in ann.get("/auto-tags").text
    image = Image.objects.get(pk=boats[0])
    for address in ("", "/edit"):
        assert ann.get(f"/auto-tags/{tag.pk}{address}").status_code == 404
    for address in ("edit", "answer", "delete"):
        said = FORM | {"answer": "accept", "image": str(image.uuid)}
        assert ann.post(f"/auto-tags/{tag.pk}/{address}", said).status_code == 404
    assert ann.post("/auto-tags/preview", FORM | {"auto_tag": str(tag.pk)}).status_code == 404
    assert AutoTag.objects.filter(pk=tag.pk, version=1).exists()


def test_pages_follow_each_other(ann, space):
    crowd(space, 600)
    images_at(space, [0.6] * 30, seed=4)
    tag = auto_tag()
    compare()
    page = ann.get(f"/auto-tags/{tag.pk}")
    following = re.search(r'href="([^"]+)" rel="next"', page.text)[1]
    both = [*shown(page), *shown(ann.get(following))]
    assert len(both) == len(set(both)) == 30
    assert "the last one" in ann.get(f"/auto-tags/{tag.pk}?skip=48").text


def test_an_image_asks_its_owner_and_nobody_else(ann, boats, client):
    tag = auto_tag()
    compare()
    image = Image.objects.get(pk=boats[0])
    assert "boat?" in ann.get(image.get_absolute_url()).text
    said = {"answer": "accept", "image": str(image.uuid), "from": "image"}
    page = ann.post(f"/auto-tags/{tag.pk}/answer", said, follow=True)
    assert page.request["PATH_INFO"] == image.get_absolute_url()
    assert "boat?" not in page.text
    client.force_login(make_user("bob"))
    other = Image.objects.get(pk=boats[1])
    assert "boat?" not in client.get(other.get_absolute_url()).text
    client.logout()
    assert "boat?" not in client.get(other.get_absolute_url()).text


def test_names_and_prompts_are_text_and_no_markup(ann, boats):
    auto_tag(name="<b>boat</b>", wording=wording.read(["<script>alert(1)</script>"], ["{}"]))
    compare()
    tag = AutoTag.objects.get()
    for address in ("", f"/{tag.pk}", f"/{tag.pk}/edit"):
        page = ann.get(f"/auto-tags{address}").text
        assert "<script>alert" not in page
        assert "<b>boat" not in page


def test_the_admin_shows_them(client, boats):
    auto_tag()
    compare()
    client.force_login(make_user("root", is_superuser=True, is_staff=True))
    tag = AutoTag.objects.get()
    for address in ("autotag/", f"autotag/{tag.pk}/change/", "tagsuggestion/"):
        assert client.get(f"/admin/gallery/{address}").status_code == 200
    assert TagSuggestion.objects.count() == 4


def _setting():
    from gallery.auto_tags.changes import Setting

    return Setting(wording=wording.read([PROMPT], ["{}"]))
