from __future__ import annotations

import re

import pytest
from django.urls import reverse

from gallery import originals
from gallery.duplicates import forgetting, grouping, review, verdicts, waiting
from gallery.models import DuplicateGroup, DuplicatePair, DuplicateVerdict, Image, Verdict
from gallery.storage.originals import Original
from tests.gallery.duplicates.pictures import encoded, half, scene, stored
from tests.rows import make_images, make_user

pytestmark = pytest.mark.django_db

KINDS = ("PNG", "BMP")


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


def a_group(seed: int = 1, owner: str = "ann") -> list[Image]:
    images = [
        stored(encoded(scene(seed), kind), owner, original_name=f"{seed}.{kind.lower()}")
        for kind in KINDS
    ]
    waiting.compare_waiting()
    return images


def form(page, **changes):
    """Return what a browser would send of the first form of a page."""
    text = page.text[page.text.index('<form class="duplicate-group"') :]
    text = text[: text.index("</form>")]
    fields = {
        "seen": re.findall(r'name="seen" value="([^"]+)"', text),
        "main": re.findall(r'name="main" value="([^"]+)" checked', text),
        "other": re.findall(r'name="other" value="([^"]+)" checked', text),
    }
    return re.search(r'action="([^"]+)"', text)[1], fields | changes


def test_the_page_is_for_people_who_are_logged_in(client):
    for address in (reverse("duplicates"), reverse("duplicate-verdicts")):
        assert client.get(address).status_code == 302


def test_without_duplicates_it_says_so(ann):
    assert "No two of your images show the same" in ann.get("/duplicates").text
    assert "Nothing was decided yet" in ann.get("/duplicates/decided").text


def test_a_group_shows_what_differs_and_suggests_the_best(ann):
    _, bmp = a_group()
    page = ann.get("/duplicates").text
    assert "2 images, the same pixels" in page
    # The larger file comes first and is suggested; its own name cannot differ from itself.
    assert page.index("1.bmp") < page.index("1.png")
    assert f'value="{bmp.uuid}" checked> Main' in page
    assert '<dd class="differs">1.png</dd>' in page
    assert "<dd>1.bmp</dd>" in page
    assert "<dd>640 x 480</dd>" in page


@pytest.mark.parametrize(
    ("decision", "left", "sentence"),
    [
        ("keep", 2, "stay as they are"),
        ("link", 2, "Searches show one image now"),
        ("apart", 2, "told apart"),
        ("replace", 1, "One image stays"),
    ],
)
def test_a_button_does_what_it_says_without_a_script(ann, decision, left, sentence):
    a_group()
    address, fields = form(ann.get("/duplicates"), decision=decision)
    page = ann.post(address, fields, follow=True)
    assert sentence in page.text
    assert Image.objects.count() == left
    assert not DuplicateGroup.objects.exists()
    assert DuplicateVerdict.objects.get().decided_by == make_user()


def test_who_comes_second_gets_a_sentence_and_changes_nothing(ann):
    a_group()
    address, fields = form(ann.get("/duplicates"), decision="replace")
    ann.post(address, fields | {"decision": "keep"})
    late = ann.post(address, fields)
    assert late.status_code == 409
    assert "This group has changed" in late.text
    assert Image.objects.count() == 2


def test_while_the_storage_is_away_replacing_is_put_off_with_a_sentence(ann, tmp_path):
    a_group()
    address, fields = form(ann.get("/duplicates"), decision="replace")
    main = Image.objects.get(uuid=fields["main"][0])
    originals.refer(main, Original(address=str(tmp_path / "away"), key="1.png", version="1:1"))
    page = ann.post(address, fields)
    assert page.status_code == 503
    assert "Nothing was done; try again later." in page.text
    assert Image.objects.count() == 2


def test_a_form_that_nobody_could_have_filled_in_is_refused(ann):
    a_group()
    address, fields = form(ann.get("/duplicates"), decision="keep")
    for changes, status in (
        ({"decision": "burn"}, 400),
        ({"main": "x"}, 409),
        ({"main": ""}, 409),
        ({"seen": ["x"]}, 409),
        ({"other": []}, 409),
        ({"other": fields["main"]}, 409),
    ):
        assert ann.post(address, fields | changes).status_code == status
    assert ann.post("/duplicates/99999999999999999999", fields).status_code in (404, 409)
    assert not DuplicateVerdict.objects.exists()


def test_nobody_sees_or_decides_about_anothers_groups_but_a_superuser(ann, client):
    a_group(owner="bob")
    assert "No two of your images" in ann.get("/duplicates").text
    group = DuplicateGroup.objects.get()
    seen = [str(image.uuid) for image in Image.objects.all()]
    fields = {"seen": seen, "main": seen[0], "other": seen[1:], "decision": "replace"}
    assert ann.post(f"/duplicates/{group.pk}", fields).status_code == 409
    assert Image.objects.count() == 2
    client.force_login(make_user("root", is_superuser=True))
    assert "of bob" in client.get("/duplicates").text


def test_a_version_says_whose_and_can_be_shown_by_itself_again(ann):
    png, bmp = a_group()
    address, fields = form(ann.get("/duplicates"), decision="link")
    ann.post(address, fields)
    assert "This is a version of" in ann.get(png.get_absolute_url()).text
    assert "Versions</h2>" in ann.get(bmp.get_absolute_url()).text
    page = ann.post(f"/images/{png.uuid}/unlink", follow=True)
    assert "by itself again" in page.text
    assert "This is a version of" not in page.text


def test_a_decision_is_listed_and_can_be_forgotten(ann):
    a_group()
    address, fields = form(ann.get("/duplicates"), decision="apart")
    ann.post(address, fields)
    assert "Not duplicates" in ann.get("/duplicates/decided").text
    verdict = DuplicateVerdict.objects.get()
    page = ann.post(f"/duplicates/decided/{verdict.pk}/forget", follow=True)
    assert "compared again" in page.text
    waiting.compare_waiting()
    assert DuplicateGroup.objects.count() == 1


def test_images_of_a_group_that_were_deleted_are_no_group_any_more(ann):
    png, _ = a_group()
    Image.objects.filter(pk=png.pk).delete()
    assert "No two of your images" in ann.get("/duplicates").text


def test_pages_follow_each_other_and_hold_every_group_once(ann):
    ids = make_images(50).tolist()
    DuplicatePair.objects.bulk_create(
        DuplicatePair(first_id=one, second_id=other, kind="near", bits=0)
        for one, other in zip(ids[::2], ids[1::2], strict=True)
    )
    grouping.regroup(make_user().pk, ids)
    seen = []
    address = "/duplicates"
    while address:
        page = ann.get(address).text
        seen += re.findall(r'id="group-(\d+)"', page)
        more = re.search(r'href="(/duplicates\?after=\d+)" rel="next"', page)
        address = more and more[1]
    assert len(seen) == len(set(seen)) == 25
    assert ann.get("/duplicates?after=x").status_code == 200


def test_a_page_takes_the_same_few_statements_for_any_number_of_groups(
    ann, django_assert_max_num_queries
):
    for seed in range(3):
        a_group(seed)
    with django_assert_max_num_queries(8):
        assert len(review.read(review.groups_of(make_user()))) == 3


def test_the_best_has_most_pixels_then_a_camera_then_most_bytes_then_age():
    small = stored(encoded(half(scene(1)), "BMP"))
    light, heavy = stored(encoded(scene(1), "PNG")), stored(encoded(scene(1), "BMP"))
    shot = stored(encoded(scene(1), quality=50), camera="A camera")
    images = [Image.objects.get(pk=one.pk) for one in (small, light, heavy, shot)]
    assert [image.pk for image in review.best_first(images)] == [
        image.pk for image in (shot, heavy, light, small)
    ]


def test_decisions_come_in_pages_that_hold_each_once_while_some_are_forgotten(ann):
    pairs = [(f"{n:064x}", f"{n + 1:064x}") for n in range(0, 300, 2)]
    for some in (pairs[:70], pairs[70:]):  # decided about in two goes, each at one moment
        verdicts.remember(make_user().pk, some, Verdict.KEPT, by=make_user().pk)
    seen: list[int] = []
    address = reverse("duplicate-verdicts")
    while address:
        page = ann.get(address).text
        listed = [int(pk) for pk in re.findall(r"/duplicates/decided/(\d+)/forget", page)]
        assert len(listed) <= forgetting.AT_ONCE
        seen += listed
        following = re.search(r'href="([^"]+)" rel="next"', page)
        after = re.search(r'name="after" value="([^"]+)"', page)
        if len(seen) == 2 * forgetting.AT_ONCE:  # of the page that is looked at, the last one
            answer = ann.post(f"/duplicates/decided/{seen[-1]}/forget", {"after": after[1]})
            assert answer.url == address
        address = following and following[1]
    assert len(seen) == len(set(seen)) == 150
    assert DuplicateVerdict.objects.count() == 149


@pytest.mark.parametrize("after", ["x", "1", "1-", "9" * 30 + "-1", "1-1%00", "\u0663-\u0661"])
def test_a_place_among_decisions_that_is_none_is_the_beginning(ann, after):
    verdicts.remember(make_user().pk, [("a", "b")], Verdict.KEPT, by=None)
    assert "Both kept" in ann.get(f"/duplicates/decided?after={after}").text


def test_what_only_a_version_bears_is_suggested_nowhere_and_listed_by_the_api(ann):
    images = [
        stored(
            encoded(scene(1), kind), tags=(f"of {kind}",), album=f"Of {kind}", visibility="public"
        )
        for kind in KINDS
    ]
    waiting.compare_waiting()
    address, fields = form(ann.get("/duplicates"), decision="link")
    ann.post(address, fields)
    main = Image.objects.get(versions__isnull=False)
    version = Image.objects.exclude(pk=main.pk).get()
    page = ann.get("/names").text
    for shown, hidden in ((main.tags.get().name, version.tags.get().name),
                          (main.album.name, version.album.name)):  # fmt: skip
        assert f'<option value="{shown}">' in page
        assert f'<option value="{hidden}">' not in page
    assert "No image" in ann.get("/", {"tag": version.tags.get().name}).text
    assert len(ann.get("/api/v1/images").json()["images"]) == len(images)
