from __future__ import annotations

import io
import json
import time
import uuid

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from PIL import Image as PillowImage

from gallery import contact_sheet, pipeline, spaces
from gallery.models import Image
from gallery.query import Band, Hit
from gallery.search import kept
from tests.gallery.uploads import picture, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def images():
    spaces.ensure()
    images = [stored(seed, caption=f"Boat {seed}", tags=(f"tag{seed}",)) for seed in range(3)]
    images.append(stored(3, caption="Hidden [bold]", visibility="private"))
    pipeline.embed_waiting()
    make_user("root", is_superuser=True)
    return images


def run(*arguments):
    printed = io.StringIO()
    if "--saved" not in arguments:
        # Noise is unlike any words: without this hardly an image would come.
        arguments = (*arguments, "--band", "unlikely")
    call_command("search", *arguments, stdout=printed)
    return printed.getvalue()


def hits(*arguments):
    return json.loads(run(*arguments, "--json"))["hits"]


def test_it_prints_a_table(images, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    printed = run("two boats")
    assert "rank" in printed
    for image in images:
        assert str(image.uuid) in printed
        assert image.caption in printed
        assert image.original_name in printed
    assert "4 hits in" in printed


def test_json_is_what_the_api_answers(images, client):
    make_user("bob")
    printed = json.loads(run("two boats", "-k", "2", "--as", "bob", "--json"))
    query = {"q": "two boats", "k": 2, "band": "unlikely"}
    answer = client.get("/api/v1/search", query).json()
    for each in (printed, answer):
        del each["took_ms"], each["plans"][0]["steps"], each["search_id"]
    assert printed == answer


def test_a_file_finds_its_like(images, tmp_path):
    file = tmp_path / "boat.png"
    file.write_bytes(picture(1))
    assert hits("--image", str(file))[0]["id"] == str(images[1].uuid)


def test_an_image_of_the_gallery_finds_its_like(images):
    found = {hit["id"] for hit in hits("--similar-to", str(images[0].uuid))}
    assert found == {str(image.uuid) for image in images[1:]}


def test_it_is_filtered(images):
    assert [hit["caption"] for hit in hits("boat", "--tag", "tag1")] == ["Boat 1"]
    assert hits("boat", "--album", "Nowhere") == []


def test_the_operator_sees_everything_and_a_user_what_he_may(images):
    make_user("bob")
    assert len(hits("boat")) == 4
    assert len(hits("boat", "--as", "bob")) == 3
    assert len(hits("boat", "--as", "ann")) == 4


def test_no_hits_are_told(images):
    assert "No image was found." in run("boat", "--tag", "nothing")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to look for"),
        ([" "], "Say what to look for"),
        (["boat", "--filter", "tga:sea"], "tga"),
        (["boat", "--order", "password"], "“order” must be one of"),
        (["boat", "--page", "9"], "The last page of this search is 1."),
        (["--saved", "Boats"], "You have no saved search called “Boats”."),
        (["boat", "--saved", "Boats"], "nothing else can be asked beside it"),
        (["--saved", "Boats", "-k", "3"], "nothing else can be asked beside it"),
        (["--saved", "Boats", "--image", __file__], "nothing else can be asked beside it"),
        (["boat", "--image-weight", "2"], "more --image-weight than --image"),
        (["--image", __file__, "--image-weight", "much"], "--image-weight must be a number"),
        (["boat", "--contact-sheet", "/nowhere/x.png"], "cannot be written: No such file"),
        (["boat", "-k", "0"], "k must be from 1"),
        (["boat", "--as", "nobody"], "There is no active user nobody."),
        (["--image", "/nowhere.png"], "/nowhere.png cannot be read: No such file or directory."),
        (["--image", __file__], "The file is not an image"),
        (["--similar-to", str(uuid.uuid4())], "There is no such image"),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(images, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        run(*arguments)


def test_a_gallery_without_a_superuser_says_what_to_do(db):
    with pytest.raises(CommandError, match="There is no superuser yet"):
        run("boat")


def test_a_later_page_goes_on_where_the_first_ended(images):
    first, second = hits("boat", "-k", "3"), hits("boat", "-k", "3", "--page", "2")
    assert [hit["rank"] for hit in first + second] == [1, 2, 3, 4]
    assert len({hit["id"] for hit in first + second}) == 4


@pytest.mark.parametrize("asked", [("--page", "2"), ("--totals",), ("--why",), ("--facet", "tag")])
def test_what_needs_a_kept_search_says_that_redis_is_silent(images, asked):
    nowhere = settings.CACHES["default"] | {"LOCATION": "unix:///nowhere/redis.sock"}
    kept._failed_at = -kept.RETRY_SECONDS
    with override_settings(CACHES={"default": nowhere}):
        assert len(hits("boat", "-k", "2")) == 2
        with pytest.raises(CommandError, match=r"Redis\) does not answer"):
            run("boat", "-k", "2", *asked)
    kept._failed_at = -kept.RETRY_SECONDS


def test_files_have_weights_in_their_order(images, tmp_path):
    files = [tmp_path / f"{seed}.png" for seed in (1, 2)]
    for seed, file in zip((1, 2), files, strict=True):
        file.write_bytes(picture(seed))
    both = ("--image", str(files[0]), "--image", str(files[1]))
    assert hits(*both, "--image-weight", "1", "--image-weight", "9")[0]["caption"] == "Boat 2"
    assert hits(*both, "--image-weight", "9")[0]["caption"] == "Boat 1"


def test_it_carries_the_whole_query(images):
    found = hits(
        *("boat", "sea", "--weight", "1", "--weight", "0.5", "--without", "people"),
        *("--filter", "tag in (tag0, tag2)", "--order=-name", "--diversity", "0.5"),
        *("--bad", str(images[1].uuid), "--aggregate", "mean"),
    )
    assert [hit["caption"] for hit in found] == ["Boat 2", "Boat 0"]


def test_words_of_the_caption_are_found_by_keyword(images):
    assert [hit["caption"] for hit in hits("hidden", "--mode", "keyword")] == ["Hidden [bold]"]


def test_totals_facets_and_reasons_are_printed(images, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    printed = run("boat", "--totals", "--facet", "tag", "--why")
    assert "4 hits;" in printed
    assert "tag: tag0 1, tag1 1, tag2 1" in printed
    assert "1: boat +" in printed
    answer = json.loads(run("boat", "--totals", "--facet", "tag", "--why", "--json"))
    assert answer["totals"]["total"] == 4
    assert answer["facets"][0]["field"] == "tag"
    assert len(answer["why"]) == 4


def test_a_search_is_saved_and_asked_again(images):
    first = hits("boat", "--tag", "tag1", "--save", "Boats")
    assert hits("--saved", "Boats") == first
    with pytest.raises(CommandError, match="already have a saved search"):
        run("boat", "--save", "Boats")


def test_a_contact_sheet_shows_the_hits(images, tmp_path):
    sheet = tmp_path / "sheet.png"
    run("boat", "--contact-sheet", str(sheet))
    with PillowImage.open(sheet) as picture_:
        assert picture_.format == "PNG"
        assert picture_.width > 4 * 256
        # The second cell's middle is not paper: a thumbnail is there.
        assert picture_.convert("RGB").getpixel((16 + 272 + 128, 50 + 128)) != (255, 255, 255)


def test_a_contact_sheet_cuts_a_caption_where_its_column_ends(images, tmp_path):
    Image.objects.update(caption="many words " * 900)
    started = time.process_time()
    hits = [Hit(images[0], 1.0, rank, Band.MAYBE, ()) for rank in range(1, 3)]
    hits[0].image.refresh_from_db()
    sheet = contact_sheet.draw(hits * 20, "boats").crop((0, 0, 560, 400))
    assert time.process_time() - started < 5  # letter by letter it takes some 12
    under = 34 + 16 + 256 + 2  # the frame of a thumbnail
    gap = sheet.crop((16 + 256, under, 32 + 256, under + 52))
    assert gap.getextrema() == ((255, 255),) * 3


def test_a_contact_sheet_says_what_it_can_when_files_are_lost(images, tmp_path):
    images[0].thumbnail_small.delete(save=False)
    run("boat", "--contact-sheet", str(tmp_path / "sheet.png"))
    assert (tmp_path / "sheet.png").stat().st_size > 1000
