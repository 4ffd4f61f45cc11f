from __future__ import annotations

import base64
import re

import pytest
from playwright.sync_api import FilePayload, Page, expect

from gallery import pipeline, spaces
from gallery.models import Image, State
from tests.gallery.uploads import picture, stored

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

WIDTHS = (390, 1440)


@pytest.fixture
def images(live_server):
    spaces.ensure()
    images = [
        stored(seed, caption=f"Image {seed}", tags=("even",) * (1 - seed % 2)) for seed in range(4)
    ]
    pipeline.embed_waiting()
    return images


def figures(page: Page):
    return page.locator("#results .figure")


def drop(page: Page, content: bytes, name: str = "dropped.png") -> None:
    transfer = page.evaluate_handle(
        """([bytes, name]) => {
            const transfer = new DataTransfer();
            const content = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
            transfer.items.add(new File([content], name, {type: "image/png"}));
            return transfer;
        }""",
        [base64.b64encode(content).decode(), name],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("body", event, {"dataTransfer": transfer})


def test_typing_a_query_shows_hits_and_the_back_button_leads_back(page: Page, images):
    page.goto("/")
    expect(page.get_by_role("heading", name="Newest images")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("two red boats")
    page.keyboard.press("Enter")
    expect(page.locator(".score")).to_have_count(4)
    expect(page).to_have_url(re.compile(r"/\?q=two\+red\+boats$"))
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", name="Newest images")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("")


def test_a_dropped_image_finds_its_like_and_words_and_filters_refine_it(page: Page, images):
    page.goto("/")
    drop(page, picture(2))
    expect(figures(page).first).to_contain_text("Image 2")
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Tag", exact=True).fill("even")
    page.get_by_role("button", name="Apply").click()
    expect(figures(page)).to_have_count(2)
    page.get_by_role("searchbox").fill("a boat")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/\?q=a\+boat&tag=even&by=image&search=[\w-]+&page=1$"))
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    page.locator(".chip", has_text="even").click()
    expect(figures(page)).to_have_count(4)
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    page.get_by_role("link", name="Search without this image").click()
    expect(page.get_by_alt_text("Your image")).to_have_count(0)
    page.get_by_role("searchbox").fill("a fish")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/\?q=a\+fish$"))
    expect(page.get_by_alt_text("Your image")).to_have_count(0)


def test_an_image_leads_to_its_like_and_to_its_page(page: Page, images):
    page.goto("/")
    figures(page).first.hover()
    figures(page).first.get_by_role("link", name="Similar").click()
    expect(page).to_have_url(re.compile(rf"/\?similar_to={images[3].uuid}$"))
    expect(figures(page)).to_have_count(3)
    page.goto(images[0].get_absolute_url())
    expect(page.locator(".similar-images .figure")).to_have_count(3)


def test_uploads_show_how_far_they_are_until_they_are_found(logged_in: Page, images):
    page = logged_in
    page.goto("/upload")
    page.locator("#images").set_input_files(
        [
            FilePayload(name="new.png", mimeType="image/png", buffer=picture(7)),
            FilePayload(name="again.png", mimeType="image/png", buffer=picture(0)),
            FilePayload(name="notes.png", mimeType="image/png", buffer=b"no image"),
        ]
    )
    expect(page.locator("#chosen")).to_contain_text("3 files")
    page.get_by_label("Caption").fill("Just uploaded")
    page.get_by_role("button", name="Upload", exact=True).click()
    files = page.locator("#files")
    expect(files.get_by_text("Already there")).to_be_visible()
    expect(files.get_by_text("not an image of a kind that is taken")).to_be_visible()
    progress = page.locator("#progress")
    expect(progress.get_by_role("heading", name="1 of 2 ready")).to_be_visible()
    assert Image.objects.get(caption="Just uploaded").state == State.WAITING
    pipeline.embed_waiting()
    expect(progress.get_by_role("heading", name="2 images ready")).to_be_visible()

    # The polling ended; a later file starts it again.
    drop(page, picture(8))
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(progress.get_by_role("heading", name="2 of 3 ready")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(logged_in: Page, images, width):
    page = logged_in
    page.set_viewport_size({"width": width, "height": 844})
    for address in (
        "/",
        "/?q=boat&tag=even",
        "/searches",
        images[0].get_absolute_url(),
        "/upload",
        "/login",
    ):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_pages_work_without_script(chromium, live_server, images):
    with chromium.new_context(base_url=live_server.url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        page.get_by_role("searchbox").fill("a boat")
        page.keyboard.press("Enter")
        expect(page.locator(".score")).to_have_count(4)
        page.goto("/")
        page.locator("#image").set_input_files(
            {"name": "a.png", "mimeType": "image/png", "buffer": picture(1)}
        )
        page.get_by_role("button", name="Search by the chosen image").click()
        expect(figures(page).first).to_contain_text("Image 1")
