"""The search page as a person uses it: pages, filters, bands, thumbs, saved searches."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from embeddings.models import Space
from embeddings.vectors import normalise
from gallery import pipeline, spaces
from gallery.models import Image, SavedSearch
from gallery.search import text_vector
from tests.browser.test_pages import drop, figures
from tests.gallery.uploads import picture, stored
from tests.rows import make_vectors, store
from tests.workers import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

QUESTION = "a red boat"
LIKELY, MAYBE, ALL = 3, 5, 55


@pytest.fixture
def images(live_server):
    """55 images: 3 are likely what QUESTION asks for, 2 more maybe, the others unlikely."""
    spaces.ensure()
    images = [
        stored(seed, caption=f"Image {seed}", tags=("even",) * (1 - seed % 2))
        for seed in range(ALL)
    ]
    pipeline.embed_waiting()
    space = Space.objects.get(state=Space.State.ACTIVE)
    text = text_vector(space, QUESTION)
    others = make_vectors(ALL, dimensions=space.dimensions)
    others = normalise(others - np.outer(others @ text, text))
    cosines = np.concatenate([[0.9, 0.88, 0.86, 0.72, 0.7], np.linspace(0.1, -0.1, ALL - MAYBE)])
    vectors = cosines[:, None] * text + np.sqrt(1 - cosines[:, None] ** 2) * others
    ids = np.array(Image.objects.order_by("pk").values_list("pk", flat=True), dtype=np.int64)
    store(ids, normalise(vectors), space)
    return images


def heading(page: Page):
    return page.locator("#results-title")


def test_bands_are_divided_and_the_unlikely_are_shown_when_asked_for(page: Page, images):
    page.goto("/?q=a+red+boat")
    expect(heading(page)).to_contain_text("5 images: 3 likely, 2 maybe")
    expect(figures(page)).to_have_count(MAYBE)
    expect(page.locator(".divider")).to_have_count(1)
    expect(page.get_by_role("heading", name="Maybe", exact=True)).to_be_visible()
    page.get_by_role("link", name="50 more are unlikely: show them").click()
    expect(heading(page)).to_contain_text("55 images: 3 likely, 2 maybe, 50 unlikely")
    expect(page.get_by_role("heading", name="Unlikely", exact=True)).to_be_visible()
    expect(page.locator("#announcement")).to_contain_text("55 images")


def test_pages_are_turned_and_the_back_button_turns_back(page: Page, images):
    page.goto("/?q=a+red+boat&band=unlikely")
    first = figures(page).first.get_by_role("link").first.get_attribute("href")
    page.get_by_role("link", name="Next").click()
    expect(heading(page)).to_contain_text("page 2")
    expect(page).to_have_url(re.compile(r"/\?q=a\+red\+boat&band=unlikely&search=[\w-]+&page=2$"))
    expect(figures(page)).to_have_count(24)
    expect(page.locator("#results")).to_be_focused()
    page.get_by_role("link", name="Page 3").click()
    expect(figures(page)).to_have_count(7)
    page.go_back()
    expect(heading(page)).to_contain_text("page 2")
    page.go_back()
    expect(heading(page)).not_to_contain_text("page")
    expect(figures(page).first.get_by_role("link").first).to_have_attribute("href", first)


def test_more_hits_are_put_after_the_first(page: Page, images):
    page.goto("/?q=a+red+boat&band=unlikely")
    page.get_by_role("link", name="Show more").click()
    expect(figures(page)).to_have_count(48)
    page.get_by_role("link", name="Show more").click()
    expect(figures(page)).to_have_count(ALL)
    expect(page.locator(".divider")).to_have_count(2)
    expect(page.get_by_role("link", name="Show more")).to_have_count(0)
    addresses = {
        figure.get_by_role("link").first.get_attribute("href") for figure in figures(page).all()
    }
    assert len(addresses) == ALL


def search_whose_totals_are_held(page: Page) -> list[Route]:
    """Search, and return the requests for totals, the first of which has been sent."""
    held: list[Route] = []
    page.route(re.compile("/totals"), lambda route: held.append(route))
    page.goto("/?q=a+red+boat&band=unlikely")
    wait_until(lambda: page.evaluate("1") and held)
    return held


def test_totals_that_come_after_more_hits_were_asked_for_are_passed_over(page: Page, images):
    """Their place in the page has gone by then, and the next part asks for them anew."""
    held = search_whose_totals_are_held(page)
    page.get_by_role("link", name="Show more").click()
    expect(figures(page)).to_have_count(48)
    wait_until(lambda: page.evaluate("1") and len(held) == 2)
    for route in held:
        route.continue_()
    expect(heading(page)).to_contain_text("55 images")


def test_totals_come_though_somebody_asks_why_before_they_do(page: Page, images):
    held = search_whose_totals_are_held(page)
    figures(page).first.get_by_role("link", name="Why is").click()
    expect(page.get_by_role("heading", name="Why is this here?")).to_be_visible()
    held[0].continue_()
    expect(heading(page)).to_contain_text("55 images")


def test_totals_are_asked_for_again_where_what_they_gave_way_to_failed(page: Page, images):
    held = search_whose_totals_are_held(page)
    page.route(re.compile("after="), lambda route: route.fulfill(status=204))
    page.get_by_role("link", name="Show more").click()
    wait_until(lambda: page.evaluate("1") and len(held) == 2)
    held[1].continue_()
    expect(heading(page)).to_contain_text("55 images")


def test_a_filter_that_cannot_be_read_says_so_at_its_field(chromium, live_server, images):
    page = chromium.new_page(base_url=live_server.url)
    page.goto("/?q=a+red+boat")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_text("More filters").click()
    page.get_by_label("In the filter language").fill("tag:even OR")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#filter-problem")).to_contain_text("ends too early")
    expect(page.locator("#tag-names option")).to_have_count(1)  # though nobody opens what is open
    expect(page.get_by_label("In the filter language")).to_have_value("tag:even OR")
    page.close()


def test_a_chip_takes_its_filter_away(page: Page, images):
    page.goto("/?q=a+red+boat&band=unlikely")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_text("More filters").click()
    page.get_by_label("Orientation").select_option("Landscape")
    page.get_by_label("In the filter language").fill("tag:even")
    page.get_by_role("button", name="Apply").click()
    expect(heading(page)).to_contain_text("28 images")
    expect(page).to_have_url(re.compile(r"&tag=even&filter=orientation%3Alandscape&band="))
    page.locator(".chip", has_text="even").click()
    expect(heading(page)).to_contain_text("55 images")
    expect(page.locator(".chip", has_text="landscape")).to_be_visible()


def test_names_come_when_the_filters_are_opened(page: Page, images):
    page.goto("/?q=a+red+boat")
    names = page.locator("#tag-names option")
    expect(figures(page)).not_to_have_count(0)
    expect(names).to_have_count(0)
    page.get_by_text("Filters", exact=True).click()
    expect(names).to_have_count(1)
    expect(names).to_have_attribute("value", "even")


def test_facets_open_beside_the_images_and_narrow_the_search(page: Page, images):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto("/?q=a+red+boat")
    value = page.locator(".facet").get_by_role("link", name="even")
    expect(value).to_contain_text("3")
    value.click()
    expect(figures(page)).to_have_count(3)
    expect(page.locator(".chip", has_text="even")).to_be_visible()


def test_facets_are_folded_on_a_phone(page: Page, images):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/?q=a+red+boat")
    expect(figures(page)).to_have_count(MAYBE)
    expect(page.locator(".facet")).to_have_count(0)
    page.get_by_text("Narrow down").click()
    expect(page.locator(".facet").get_by_role("link", name="even")).to_be_visible()


def test_a_hit_says_why_it_is_there(page: Page, images):
    page.goto("/?q=a+red+boat&without=fish")
    figures(page).first.hover()
    figures(page).first.get_by_role("link", name="Why is").click()
    why = page.get_by_role("dialog")
    expect(why.get_by_role("heading", name="Why is this here?")).to_be_visible()
    expect(why.locator("meter")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(why).to_have_count(0)


def test_thumbs_refine_the_search_of_words(page: Page, images):
    page.goto("/?q=a+red+boat&band=unlikely")
    figures(page).nth(7).hover()
    figures(page).nth(7).get_by_role("link", name="More like").click()
    expect(page.locator(".chip.with-image", has_text="more like")).to_have_count(1)
    expect(figures(page)).to_have_count(24)
    expect(page).to_have_url(re.compile(r"&good=[0-9a-f-]{36}"))
    page.locator(".chip.with-image").click()
    expect(page).to_have_url(re.compile(r"/\?q=a\+red\+boat&band=unlikely$"))


def test_thumbs_and_pages_work_while_an_image_is_shown(page: Page, images):
    page.goto("/?band=unlikely")
    drop(page, picture(2))
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    expect(figures(page)).to_have_count(24)
    figures(page).nth(3).hover()
    figures(page).nth(3).get_by_role("link", name="Less like").click()
    expect(page.locator(".chip.with-image", has_text="less like")).to_have_count(1)
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    expect(heading(page)).to_contain_text("54 images")  # the links to pages come anew with it
    page.get_by_role("link", name="Next").click()
    expect(heading(page)).to_contain_text("page 2")
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    expect(page.locator(".chip.with-image", has_text="less like")).to_have_count(1)
    page.reload()
    expect(heading(page)).to_contain_text("page 2")


def test_a_search_is_saved_opened_and_deleted(logged_in: Page, images):
    page = logged_in
    page.goto("/?q=a+red+boat&tag=even")
    page.locator(".save > summary").click()
    page.get_by_label("Save this search as").fill("Even boats")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("“Even boats” is saved.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/\?q=a\+red\+boat&tag=even$"))
    page.get_by_role("link", name="Saved").click()
    page.get_by_role("link", name="Even boats").click()
    expect(heading(page)).to_contain_text("3 images")
    page.get_by_role("link", name="Saved").click()
    page.get_by_text("Change").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There is none yet")).to_be_visible()
    assert not SavedSearch.objects.exists()


def test_pages_chips_and_facets_work_without_script(chromium, live_server, images):
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/?q=a+red+boat&band=unlikely")
        expect(figures(page)).to_have_count(24)
        page.get_by_role("link", name="Next").click()
        expect(heading(page)).to_contain_text("Images 25 to 48")
        page.get_by_text("Narrow down").click()
        page.get_by_role("link", name="What these images have in common").click()
        page.get_by_role("link", name="even").click()
        expect(page.locator(".chip", has_text="even")).to_be_visible()
        figures(page).first.get_by_role("link", name="Why is").click()
        expect(page.get_by_role("heading", name="Why is this here?")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_results_are_never_wider_than_their_window(logged_in: Page, images, width):
    page = logged_in
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/?q=a+red+boat&band=unlikely&filter=tag:even+OR+NOT+camera~%22a%20long%20name%22")
    for panel in ("Filters", "More"):
        page.locator(".panel-of-ask > summary", has_text=panel).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".save > summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
