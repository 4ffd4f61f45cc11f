from __future__ import annotations

import io
import json
import uuid

import pytest
from django.core.management import CommandError, call_command

from gallery import pipeline, spaces
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
    answer = client.get("/api/v1/search", {"q": "two boats", "k": 2}).json()
    for each in (printed, answer):
        del each["took_ms"], each["plan"]["steps"]
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
        ([" "], "is empty"),
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
