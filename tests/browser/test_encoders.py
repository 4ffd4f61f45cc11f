from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect

from gallery import pipeline, spaces, tasks
from gallery.switching.tasks import prepare_spaces
from tests.encoders import make_encoder
from tests.gallery.uploads import stored
from tests.rows import make_user

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ENCODERS = "/admin/embeddings/space/"


@pytest.fixture
def admin(page: Page, live_server) -> Page:
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
    return page


def test_an_encoder_is_filled_compared_switched_to_left_and_retired_by_keyboard_and_mouse(
    admin: Page, live_server, tmp_path
):
    spaces.ensure()
    for seed in range(3):
        stored(seed, caption=f"Image {seed}")
    pipeline.embed_waiting()
    admin.set_viewport_size({"width": 390, "height": 800})
    admin.goto(ENCODERS)
    admin.get_by_label("A folder in Hugging Face layout").fill(
        str(make_encoder("clip", tmp_path / "other"))
    )
    admin.keyboard.press("Enter")
    expect(admin.get_by_role("status").filter(has_text="Opening")).to_be_visible()
    prepare_spaces()  # as workers do
    while tasks.embed_waiting():
        pass
    # The page asks how far it is, and has other buttons then.
    expect(admin.get_by_role("button", name="Switch to it")).to_be_visible()
    admin.get_by_role("link", name="Compare").click()
    expect(admin.locator(".compared").first.locator("img")).to_have_count(6)
    assert admin.evaluate("document.documentElement.scrollWidth") <= 390
    admin.go_back()
    admin.get_by_role("button", name="Switch to it").click()
    expect(admin.get_by_text("Searches use other")).to_be_visible()
    admin.get_by_role("button", name="Go back to it").click()
    expect(admin.get_by_text("Searches use bundled")).to_be_visible()
    admin.get_by_text("Retire …").focus()
    admin.keyboard.press("Enter")
    admin.get_by_role("button", name="Retire it").click()
    expect(admin.get_by_text("removed in the background")).to_be_visible()
    assert spaces.active().title == "bundled"
