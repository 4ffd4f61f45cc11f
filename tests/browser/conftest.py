"""A real Chromium in front of a real server."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Generator, Iterator

import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.test import Client
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    TimeoutError,
    expect,
    sync_playwright,
)

from tests.rows import make_user
from tests.workers import wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome")

# On a machine that is busy with something else, too, all comes in the end: nothing is asserted of
# how long it takes.
PATIENCE_SECONDS = 60
expect.set_options(timeout=PATIENCE_SECONDS * 1000)

# What Playwright says when the browser has not done what it was told to, or is gone.
NO_ANSWER = [TimeoutError, "^TargetClosedError: "]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try once more where the browser does not act; what it shows is judged the first time."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=NO_ANSWER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of a test that failed what its page shows."""
    report = yield
    page: Page | None = getattr(item, "funcargs", {}).get("page")
    if report.failed and call.when == "call" and page is not None:
        try:
            shown = page.locator("body").inner_text(timeout=5000)
        except Error as error:
            shown = f"It does not answer: {error}"
        report.sections.append(("the page", f"{page.url}\n{shown[:2000]}"))
    return report


def find_chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("There is no Chromium: install it, or set CHROMIUM to its path.")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread. Nothing of ours runs in it, but Django
        # cannot know that.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


# What sends a file, and the page of a session.
OF_UPLOADS = re.compile(r"/api/v1/upload(s|-sessions)\b|/upload/[0-9a-f-]{36}\b")
# What htmx says of a request that gave way to another; of one that failed it says more.
GIVEN_UP = ("htmx:afterRequest,", "htmx:sendAbort,")


def is_error(line: ConsoleMessage, statuses: set[int]) -> bool:
    """Whether a line of the console tells of an error: what is answered to uploads may be none."""
    if line.type != "error" or line.text.startswith(GIVEN_UP):
        return False
    if told_by_htmx := re.search(r"Error Code (\d+) from (\S+)", line.text):
        status, address = told_by_htmx.groups()
    elif answered := re.search(r"a status of (\d+)", line.text):
        status, address = answered[1], line.location.get("url", "")
    else:
        return True
    return not (OF_UPLOADS.search(address) and int(status) in statuses)


@pytest.fixture
def statuses() -> set[int]:
    """What may be answered to uploads; a test that makes them vanish adds 404 or 410."""
    return {422}


@pytest.fixture
def requests_end(live_server) -> Iterator[set[object]]:
    """Give what the server is at. Wait for it at the end: the next test has other settings."""
    under_way = set[object]()

    def begin(**_said: object) -> None:
        under_way.add(threading.current_thread())

    def end(**_said: object) -> None:
        under_way.discard(threading.current_thread())

    request_started.connect(begin)
    request_finished.connect(end)
    try:
        yield under_way
        wait_until(lambda: not under_way)
    finally:
        request_started.disconnect(begin)
        request_finished.disconnect(end)


@pytest.fixture
def page(
    chromium: Browser, live_server, requests_end: set[object], statuses: set[int]
) -> Iterator[Page]:
    """An empty tab; the test fails if its console shows an error."""
    with chromium.new_context(base_url=live_server.url) as context:
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        page = context.new_page()
        errors: list[str] = []
        page.on(
            "console", lambda line: errors.append(line.text) if is_error(line, statuses) else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert errors == []


@pytest.fixture
def logged_in(page: Page, live_server) -> Page:
    """The tab of ann, who is logged in."""
    client = Client()
    client.force_login(make_user())
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
    return page
