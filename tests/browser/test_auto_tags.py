"""The review of an auto tag by keys, as somebody does it who answers hundreds."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from gallery import pipeline, spaces
from gallery.auto_tags import passes
from gallery.models import Image, SuggestionState, TagSuggestion
from tests.gallery.auto_tags.crowds import (
    auto_tag,
    begin_anew,
    compare,
    crowd,
    tagged,
    vectors_at,
)
from tests.gallery.uploads import stored
from tests.rows import make_user, store

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

N = 30


@pytest.fixture
def tag(live_server, monkeypatch):
    """An auto tag that fits 30 images, which have files to show."""
    begin_anew()
    space = spaces.ensure()
    images = [stored(seed, caption=f"Image {seed}") for seed in range(N)]
    pipeline.embed_waiting()
    store([image.pk for image in images], vectors_at(space, [0.6] * N), space)
    crowd(space, 600, owner=make_user("bob"))  # which have no files
    monkeypatch.setattr(passes, "ENOUGH_ANSWERS", 1000)
    tag = auto_tag()
    compare()
    return tag


def states():
    rows = TagSuggestion.objects.exclude(state=SuggestionState.OPEN)
    return sorted(rows.values_list("state", flat=True))


def test_keys_answer_and_turn_the_page_and_letters_can_be_turned_off(logged_in: Page, tag):
    page = logged_in
    page.goto(f"/auto-tags/{tag.pk}")
    tiles = page.locator(".review-image")
    expect(tiles).to_have_count(24)
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(0).locator("input")).to_be_focused()
    page.keyboard.press("a")
    expect(tiles.nth(0)).to_have_attribute("data-said", "accept")
    expect(tiles.nth(1).locator("input")).to_be_focused()
    page.keyboard.press("r")
    expect(page.locator("[data-count=rejected]")).to_have_text("1")
    expect(page.locator("[data-count=open]")).to_have_text("28")
    assert states() == ["accepted", "rejected"]
    page.keyboard.press("u")
    expect(tiles.nth(1)).not_to_have_attribute("data-said", "reject")
    expect(tiles.nth(1).locator("input")).to_be_focused()
    assert states() == ["accepted"]
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("a")
    expect(page.locator("[data-count=accepted]")).to_have_text("3")
    page.keyboard.press("n")
    # Three of the first 24 were answered: the page after them begins with the 22nd that is left.
    expect(page).to_have_url(f"{page.url.partition('?')[0]}?skip=21")
    expect(tiles).to_have_count(6)
    page.keyboard.press("u")  # on another page
    expect(page.locator("[data-count=accepted]")).to_have_text("1")
    page.keyboard.press("s")
    page.keyboard.press("r")
    expect(page.locator("[data-count=rejected]")).to_have_text("6")
    assert len(tagged(tag)) == 1
    before = states()
    page.goto(f"/auto-tags/{tag.pk}")
    page.get_by_label("Letters are keys").uncheck()
    page.reload()
    expect(page.get_by_label("Letters are keys")).not_to_be_checked()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(0).locator("input")).to_be_focused()
    page.keyboard.press("a")
    page.keyboard.press("r")
    expect(tiles.nth(0).locator("input")).to_be_focused()
    assert states() == before


def test_an_answer_that_does_not_arrive_is_said_and_not_shown(logged_in: Page, tag):
    page = logged_in
    page.goto(f"/auto-tags/{tag.pk}")
    tile = page.locator(".review-image").first
    tile.locator("input").focus()
    # As when the network is away, which the console would tell of, too.
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError()) }")
    page.keyboard.press("a")
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    expect(tile).not_to_have_attribute("data-said", "accept")
    assert states() == []


def test_the_preview_follows_what_is_written(logged_in: Page, tag):
    page = logged_in
    page.goto("/auto-tags/new")
    page.get_by_label("Tag", exact=True).fill("ship")
    preview = page.locator("#auto-tag-preview")
    expect(preview.get_by_role("heading", name="The best")).to_be_visible()
    page.get_by_label("Prompts").fill("a red boat")
    page.get_by_text("Templates and precision").click()
    page.get_by_label("Templates").fill("{}")
    expect(preview).to_contain_text("30 of your images fit")
    page.get_by_label("Templates").fill("nothing")
    expect(preview).to_contain_text("needs {} once")
    page.get_by_label("Templates").fill("{}")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="is kept")).to_be_visible()
    assert Image.objects.filter(tags__name="ship").count() == 0
