from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from gallery.models import Album, Image
from gallery.removal import delete_images
from tests.rows import make_user


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("load_demo", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def admin(transactional_db):
    make_user("admin", is_superuser=True)


def records() -> list[tuple[object, ...]]:
    images = Image.objects.order_by("original_name")
    return list(images.values_list("original_name", "sha256", "caption", "taken_at"))


@pytest.mark.slow
def test_drawn_scenes_come_in_with_all_their_words_and_only_once():
    assert "6 new, 0 already there, 0 failed." in run("--count", "6")
    image = Image.objects.earliest("pk")
    assert (image.width, image.height) == (800, 600)
    assert image.caption
    assert image.tags.count() >= 4
    assert image.album == Album.objects.get(name="Demo")
    assert (image.category, image.licence) == ("demo", "MIT")
    assert image.attribution == "Semblance, drawn scenes"
    assert image.visibility == "public"
    assert len(set(Image.objects.values_list("taken_at", flat=True))) == 6
    boats = Image.objects.filter(tags__name="boat").filter(tags__name="red")
    assert boats.filter(tags__name="night").count() >= 3

    assert "0 new, 6 already there, 0 failed." in run("--count", "6")
    assert Image.objects.count() == 6


@pytest.mark.slow
def test_a_complete_demo_is_known_without_drawing_a_scene(monkeypatch):
    run("--count", "3")
    monkeypatch.delattr("scenes.draw")
    assert "0 new, 3 already there, 0 failed." in run("--count", "3")


@pytest.mark.slow
def test_a_run_that_was_broken_off_is_completed_with_the_same_scenes():
    run("--count", "6")
    whole = records()
    kept = Image.objects.order_by("pk").values_list("pk", flat=True)[:2]
    delete_images(Image.objects.exclude(pk__in=list(kept)))
    assert "4 new" in run("--count", "6")
    assert records() == whole


def test_a_negative_count_is_refused():
    with pytest.raises(CommandError, match="count: Input should be greater than or equal to 0"):
        run("--count", "-1")
