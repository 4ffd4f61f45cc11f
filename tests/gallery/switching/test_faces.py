"""The command line, the admin's page and the API: the same functions."""

from __future__ import annotations

import io
import json

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client

from embeddings.models import Space
from gallery import spaces
from gallery.models import ImageEmbedding
from gallery.switching import filling, steps
from tests.gallery.switching.conftest import fill_all
from tests.rows import make_user

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/embeddings/space/"


def run(*arguments, **options):
    out = io.StringIO()
    call_command("space", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def root():
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


def do(client, space, doing, **fields):
    return client.post(f"{PAGE}{space.pk}/{doing}", fields, follow=True)


def said(answer):
    return [str(message) for message in answer.context["messages"]]


# The command line


def test_the_list_tells_state_counts_and_disk(new, old):
    told = json.loads(run("list", "--json"))
    assert [(one["number"], one["state"]) for one in told] == [
        (old.pk, "active"),
        (new.pk, "filled"),
    ]
    assert told[1]["counts"]["images"]["embedded"] == 5
    assert told[1]["lacks"] == {"images": 0, "captions": 0}
    assert told[1]["vector_bytes"] > 0
    assert "5 of 5" in run("list")


def test_without_a_terminal_a_space_is_one_line_of_the_list(new):
    name = "/srv/encoders/" + "-".join(["a-long-name"] * 8)
    Space.objects.filter(pk=new.pk).update(name=name)
    lines = run("list").splitlines()
    assert len(lines) == 3
    assert name.rpartition("/")[2] in lines[2]


def test_a_space_is_filled_compared_switched_to_left_and_retired(images, old, folder):
    make_user("root", is_superuser=True)
    assert "other: filling" in run("fill", str(folder))
    assert "paused" in run("pause")
    assert "filling" in run("resume")
    fill_all()
    assert "of the first 3 hits are the same" in run("compare", "a boat", "-k", "3")
    compared = json.loads(run("compare", "--of", "captions", "--json"))
    assert len(compared["queries"]) == 5
    assert f"{old} is kept up to date" in run("switch")
    assert spaces.active().title == "other"
    assert "Searches use bundled" in run("back")
    assert "being removed" in run("retire", "other")


def test_what_cannot_be_done_is_a_sentence(images, old, folder):
    make_user("root", is_superuser=True)
    for arguments, sentence in (
        (("switch",), "no space beside the active one"),
        (("back",), "no space to go back to"),
        (("retire", "bundled"), "Switch to another one first"),
        (("retire", "elsewhere"), "There is no space of “elsewhere”"),
        (("fill", "/not/there"), "no encoder folder /not/there"),
    ):
        with pytest.raises(CommandError, match=sentence):
            run(*arguments)
    steps.fill(str(folder))
    with pytest.raises(CommandError, match="5 images and 5 captions that are found now have no"):
        run("switch")
    assert "Searches use other" in run("switch", "--partly")


@pytest.mark.parametrize("command", [("space", "fill", "--wait"), ("switch_encoder",)])
def test_without_a_worker_waiting_ends_at_once(images, folder, command):
    with pytest.raises(CommandError, match="No worker was heard of lately"):
        call_command(*command, str(folder))
    assert spaces.active().name == "bundled"
    assert Space.objects.get(state=Space.State.FILLING).title == "other"


def test_waiting_ends_when_the_space_is_paused(images, folder, alive):
    steps.pause(steps.fill(str(folder)))
    with pytest.raises(CommandError, match="is paused now"):
        run("fill", str(folder), "--wait")


def test_an_encoder_is_measured_before_it_is_switched_to(new):
    make_user("root", is_superuser=True)
    out = io.StringIO()
    call_command("evaluate", "--space", "other", "--json", stdout=out)
    assert json.loads(out.getvalue())["encoder"] == "other"
    with pytest.raises(CommandError, match="only semantic mode can be measured"):
        call_command("evaluate", "--space", "other", "--mode", "hybrid", stdout=out)


# The page


def test_the_page_shows_every_space_and_what_can_be_done(root, new, old):
    answer = root.get(PAGE)
    shown = answer.content.decode()
    assert [one.space for one in answer.context["shown"]] == [old, new]
    assert f"{new.pk}/switch" in shown
    assert f"{new.pk}/pause" in shown
    assert f"space/{old.pk}/" not in shown


def test_an_empty_gallery_says_how_it_begins(root):
    assert "No encoder has been chosen yet" in root.get(PAGE).content.decode()


def test_spaces_are_steered_from_the_page(root, images, old, folder):
    answer = root.post(f"{PAGE}fill", {"encoder": str(folder)}, follow=True)
    assert "A worker opens other" in said(answer)[0]
    assert "Give it up" in answer.content.decode()
    assert "/switch" not in answer.content.decode()
    space = spaces.beside()
    Space.objects.filter(pk=space.pk).update(is_paused=True, trouble="It is damaged.")
    shown = root.get(PAGE).content.decode()
    assert "It is damaged." in shown
    assert "Try again" in shown
    steps.resume(space)
    assert filling.prepare_new() == 1
    assert "Paused" in said(do(root, space, "pause"))[0]
    assert "Resume" in root.get(PAGE).content.decode()
    assert "It goes on" in said(do(root, space, "resume"))[0]
    fill_all()
    assert "Searches use other" in said(do(root, space, "switch", seen=old.pk))[0]
    assert "Go back to it" in root.get(PAGE).content.decode()
    assert "Searches use bundled" in said(do(root, old, "switch", seen=space.pk))[0]
    assert "is retired" in said(do(root, space, "retire"))[0]


def test_a_page_that_is_out_of_date_switches_nothing(root, new, old):
    steps.switch(new, seen=old)
    answer = do(root, old, "switch", seen=old.pk)
    assert answer.status_code == 409
    assert "Somebody else has switched meanwhile" in answer.content.decode()
    for seen in ("", "nonsense", "9" * 5000):
        assert do(root, old, "switch", seen=seen).status_code == 409
    assert spaces.active() == new


def test_what_is_lacking_stands_beside_the_button(root, new, old):
    ImageEmbedding.objects.filter(space=new).first().delete()
    assert "1 image that is found now has no vector" in root.get(PAGE).content.decode()
    assert do(root, new, "switch", seen=old.pk).status_code == 409
    assert said(do(root, new, "switch", seen=old.pk, partly="1"))


def test_a_wrong_name_is_told_and_stays_in_the_field(root, old):
    answer = root.post(f"{PAGE}fill", {"encoder": "/not/there"})
    assert answer.status_code == 409
    assert "There is no encoder folder /not/there" in answer.content.decode()
    assert 'value="/not/there"' in answer.content.decode()
    assert root.post(f"{PAGE}fill", {}).status_code == 409


def test_progress_is_asked_for_until_nothing_moves(
    root, images, folder, django_assert_max_num_queries
):
    space = steps.fill(str(folder))
    address = f"{PAGE}{space.pk}/progress"
    with django_assert_max_num_queries(14):  # what it lacks is not counted, nor vectors twice
        answer = root.get(address)
    assert "0 of 5" in answer.content.decode()
    assert (answer.status_code, answer["HX-Refresh"]) == (200, "true")
    fill_all()
    assert root.get(address).status_code == 286
    space.delete()
    assert root.get(address)["HX-Refresh"] == "true"


def test_who_may_only_look_changes_nothing(new, old):
    user = make_user("bea", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_space"))
    client = Client()
    client.force_login(user)
    shown = client.get(PAGE).content.decode()
    assert "other" in shown
    assert "/switch" not in shown
    assert do(client, new, "switch", seen=old.pk).status_code == 403
    assert client.post(f"{PAGE}fill", {"encoder": "bundled"}).status_code == 403
    assert client.get(f"{PAGE}compare").status_code == 403
    user.user_permissions.clear()
    assert client.get(PAGE).status_code == 403


def test_a_change_needs_a_post(root, new):
    assert root.get(f"{PAGE}{new.pk}/retire").status_code == 405
    assert Space.objects.get(pk=new.pk).state == Space.State.FILLING


def test_both_are_shown_side_by_side(root, new):
    answer = root.get(f"{PAGE}compare", {"q": "a <b>boat</b>", "k": "4"})
    shown = answer.content.decode()
    assert shown.count('class="side"') == 2
    assert shown.count("/thumbnail/256.webp") == 8
    assert "a &lt;b&gt;boat" in shown
    answer = root.get(f"{PAGE}compare", {"of": "captions", "k": "nonsense"})
    assert len(answer.context["compared"].queries) == 5


def test_without_a_second_space_comparing_says_so(root, images):
    answer = root.get(f"{PAGE}compare")
    assert answer.status_code == 409
    assert "There is no second space" in answer.content.decode()


# The API


def test_the_api_tells_superusers_how_far_the_spaces_are(root, new, old):
    told = root.get("/api/v1/spaces").json()
    assert [(one["encoder"], one["state"]) for one in told] == [
        ("bundled", "active"),
        ("other", "filled"),
    ]
    assert told[1]["counts"]["captions"]["embedded"] == 5
    assert [one.keys() for one in told] == [one.keys() for one in json.loads(run("list", "--json"))]


def test_the_api_tells_nobody_else(new, client):
    assert client.get("/api/v1/spaces").status_code == 401
    client.force_login(make_user())
    answer = client.get("/api/v1/spaces")
    assert (answer.status_code, answer.json()) == (
        403,
        {"detail": "Only a superuser may see the spaces."},
    )
