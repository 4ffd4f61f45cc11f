from __future__ import annotations

import io
import time
import urllib.error
import urllib.request
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from PIL import Image as PillowImage

from gallery.ingest import NewImage, add_image
from gallery.models import Image
from gallery.storage import links
from tests.gallery.storage import servers
from tests.gallery.uploads import picture, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db


def fetched(url, method="GET"):
    """Return what the bucket itself answers, without our server."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, b""


def read(response):
    """Return the answer read to its end, so that its file is closed."""
    response.getvalue()
    return response


def addresses(image):
    place = f"/images/{image.uuid}"
    return [f"{place}/file", f"{place}/thumbnail/256.webp", f"{place}/thumbnail/1024.webp"]


def changed(url, **parameters):
    parts = urlsplit(url)
    return parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | parameters)).geturl()


def test_the_bucket_sends_files_as_we_say(bucket, use, client):
    use(bucket)
    image = stored(original_name="page.html")
    original, small, large = (client.get(address) for address in addresses(image))
    status, headers, content = fetched(original.url)
    assert (status, content) == (200, picture())
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == 'inline; filename="page.png"'
    download = client.get(addresses(image)[0], {"download": ""})
    assert fetched(download.url)[1]["Content-Disposition"] == 'attachment; filename="page.png"'
    for thumbnail in (small, large):
        status, headers, content = fetched(thumbnail.url)
        assert headers["Content-Type"] == "image/webp"
        assert PillowImage.open(io.BytesIO(content)).size == (32, 24)


def test_a_private_image_has_an_address_for_its_owner_and_administrators_only(moto, use, client):
    use(servers.made(servers.address(moto, "rights-of-one")))
    image = stored(visibility="private")
    for user, status in (
        (None, 404),
        (make_user("bob"), 404),
        (make_user("ann"), 302),
        (make_user("root", is_superuser=True), 302),
    ):
        if user:
            client.force_login(user)
        for address in addresses(image):
            answer = client.get(address)
            assert answer.status_code == status
            assert ("Location" in answer.headers) == (status == 302)


def test_what_browsers_do_not_show_is_downloaded_from_the_bucket_too(moto, use, client):
    use(servers.made(servers.address(moto, "tiff-files")))
    file = io.BytesIO()
    PillowImage.new("RGB", (8, 8)).save(file, "TIFF")
    image, _ = add_image(NewImage(file=file, owner=make_user(), visibility="public"))
    url = client.get(f"/images/{image.uuid}/file").url
    assert fetched(url)[1]["Content-Disposition"].startswith("attachment")


@pytest.mark.slow
def test_an_address_that_was_changed_or_has_expired_opens_nothing(rclone, use, client, settings):
    settings.STORAGE_URL_SECONDS = 6
    bucket = use(servers.made(servers.address(rclone, "signatures")))
    image = stored(0)
    other = stored(1, owner="bob", visibility="private")
    url = client.get(addresses(image)[0]).url
    assert fetched(url)[0] == 200
    plain = url.partition("?")[0]
    for wrong in (
        plain,
        url.replace(image.file.name, other.file.name),
        changed(url, **{"response-content-type": "text/html"}),
        changed(url, **{"response-content-disposition": "inline"}),
        changed(url, **{"X-Amz-Expires": "604800"}),
        changed(url, **{"X-Amz-Signature": "0" * 64}),
    ):
        assert fetched(wrong)[0] in (400, 403), wrong
    assert fetched(url, "PUT")[0] in (400, 403)
    assert fetched(url, "DELETE")[0] in (400, 403)
    assert bucket.exists(image.file.name)
    time.sleep(7)
    assert fetched(url)[0] in (400, 403)
    assert fetched(client.get(addresses(image)[0]).url)[0] == 200


@pytest.mark.slow
def test_head_is_signed_as_head(rclone, use, client):
    use(servers.made(servers.address(rclone, "heads")))
    url = client.head(addresses(stored())[0]).url
    assert fetched(url, "HEAD")[0] == 200
    assert fetched(url, "GET")[0] == 403


def test_the_same_address_is_given_until_shortly_before_it_expires(moto, use, client, monkeypatch):
    use(servers.made(servers.address(moto, "given-again")))
    address = addresses(stored())[1]
    now = time.time()
    clock = {"ahead": 0.0}
    monkeypatch.setattr(links.time, "time", lambda: now + clock["ahead"])
    first = client.get(address)
    assert first.headers["Cache-Control"] == "private, max-age=3240"
    clock["ahead"] = 3200
    again = client.get(address)
    assert again.url == first.url
    assert again.headers["Cache-Control"] == "private, max-age=40"
    clock["ahead"] = 3300
    later = client.get(address)
    assert later.headers["Cache-Control"] == "private, max-age=3240"
    clock["ahead"] = -100_000  # the clock is set back: no address lives on for a day
    assert client.get(address).headers["Cache-Control"] == "private, max-age=3240"


def test_a_process_keeps_only_so_many_addresses(moto, monkeypatch):
    monkeypatch.setattr(links, "MOST", 3)
    bucket = servers.opened(servers.address(moto, "never-asked"))
    for n in range(5):
        assert links.link(bucket, links.Wanted(f"images/{n}", "image/png", "inline", "GET"))
    assert [key[1].name for key in links._links._links] == ["images/2", "images/3", "images/4"]


def test_with_a_life_of_zero_the_server_sends_the_files_itself(moto, use, client, settings):
    settings.STORAGE_URL_SECONDS = 0
    use(servers.made(servers.address(moto, "sent-by-us")))
    image = stored()
    answer = client.get(addresses(image)[0])
    assert answer.getvalue() == picture()
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    image.file.storage.delete(image.file.name)
    assert client.get(addresses(image)[0]).status_code == 404


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_503_and_no_page_breaks(
    shaky, proxy, use, client, settings
):
    settings.STORAGE_URL_SECONDS = 0
    use(shaky)
    image = stored()
    proxy.fail("busy")
    answer = client.get(addresses(image)[1])
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert answer.content == b"The file cannot be read now. Try again in a while."
    assert client.get(f"/images/{image.uuid}").status_code == 200


@pytest.fixture
def cdn(settings):
    settings.MEDIA_CDN_URL = "https://cdn.example.org"
    return settings.MEDIA_CDN_URL


def test_thumbnails_of_public_images_are_at_the_cdn_and_no_others(client, cdn):
    public, private = stored(0), stored(1, visibility="private")
    client.force_login(make_user("ann"))
    page = client.get(f"/images/{public.uuid}").content.decode()
    assert f'src="{cdn}/public/{public.uuid}/thumbnail/1024.webp"' in page
    assert client.get(f"/api/v1/images/{public.uuid}").json()["thumbnail_url"].startswith(cdn)
    page = client.get(f"/images/{private.uuid}").content.decode()
    assert cdn not in page
    assert f'src="/images/{private.uuid}/thumbnail/1024.webp"' in page


def test_a_cdn_gets_what_a_stranger_may_see(client, cdn, settings):
    public, private = stored(0), stored(1, visibility="private")
    client.force_login(make_user("ann"))  # whose cookie must not matter

    def answer(image, pixels=256):
        return read(client.get(f"/public/{image.uuid}/thumbnail/{pixels}.webp"))

    assert client.get(f"/public/{public.uuid}/thumbnail/256.webp").getvalue()[8:12] == b"WEBP"
    assert answer(public).headers["Cache-Control"] == "public, max-age=86400"
    assert "Cookie" not in answer(public).headers.get("Vary", "")
    assert answer(private).status_code == 404
    assert answer(public, 512).status_code == 404
    Image.objects.update(visibility="private")
    assert answer(public).status_code == 404
    Image.objects.update(visibility="public")
    settings.PUBLIC_SEARCH = False
    assert answer(public).status_code == 404
    page = client.get(f"/images/{public.uuid}").content.decode()
    assert cdn not in page


def test_a_cdn_is_sent_the_bytes_and_never_an_address_of_the_bucket(moto, use, client, cdn):
    use(servers.made(servers.address(moto, "behind-a-cdn")))
    answer = client.get(f"/public/{stored().uuid}/thumbnail/256.webp")
    assert answer.getvalue()[8:12] == b"WEBP"
