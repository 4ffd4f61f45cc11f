from __future__ import annotations

import hashlib
import io
import uuid

import pytest
from PIL import Image as PillowImage

from gallery.ingest import NewImage, add_image
from gallery.models import Image
from tests.gallery.uploads import picture, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db


def get(client, address, **headers):
    """Return the answer read to its end, so that its file is closed."""
    response = client.get(address, headers=headers)
    response.getvalue()
    return response


def addresses(image):
    place = f"/images/{image.uuid}"
    return [f"{place}/file", f"{place}/thumbnail/256.webp", f"{place}/thumbnail/1024.webp"]


def test_files_of_a_public_image_are_there_for_everybody(client):
    file, small, large = (client.get(address) for address in addresses(stored()))
    assert file.headers["Content-Type"] == "image/png"
    assert file.getvalue() == picture()
    for thumbnail in (small, large):
        assert thumbnail.headers["Content-Type"] == "image/webp"
        assert PillowImage.open(io.BytesIO(thumbnail.getvalue())).size == (32, 24)


def test_files_of_a_private_image_are_there_for_its_owner_and_administrators_only(client):
    image = stored(visibility="private")
    for user, status in (
        (None, 404),
        (make_user("bob"), 404),
        (make_user("ann"), 200),
        (make_user("root", is_superuser=True), 200),
    ):
        if user:
            client.force_login(user)
        for address in addresses(image):
            assert get(client, address).status_code == status


def test_without_public_search_visitors_get_no_file(client, settings):
    settings.PUBLIC_SEARCH = False
    assert [client.get(address).status_code for address in addresses(stored())] == [404] * 3


def test_what_is_not_there_is_404(client):
    assert client.get(f"/images/{uuid.uuid4()}/file").status_code == 404
    assert client.get(f"/images/{stored().uuid}/thumbnail/512.webp").status_code == 404
    assert client.get("/images/7/file").status_code == 404


def test_a_file_lost_from_the_storage_is_404(client):
    image = stored()
    image.file.storage.delete(image.file.name)
    assert client.get(f"/images/{image.uuid}/file").status_code == 404


def test_head_tells_the_same_without_the_bytes(client):
    for address in addresses(stored()):
        head, whole = client.head(address), get(client, address)
        assert head.getvalue() == b""
        for header in ("Content-Length", "Content-Type", "ETag", "Cache-Control"):
            assert head.headers[header] == whole.headers[header]


def test_files_are_only_read(client):
    answer = client.post(addresses(stored())[0])
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_a_browser_that_holds_a_file_is_not_sent_it_again(client):
    image = stored()
    for address in addresses(image):
        etag = get(client, address).headers["ETag"]
        assert image.sha256 in etag
        again = get(client, address, **{"If-None-Match": etag})
        assert again.status_code == 304
        assert again.headers["ETag"] == etag
        assert "private" in again.headers["Cache-Control"]
        assert get(client, address, **{"If-None-Match": '"other"'}).status_code == 200


def test_rights_go_before_what_the_browser_holds(client):
    image = stored(visibility="private")
    etag = f'"{hashlib.sha256(picture()).hexdigest()}"'
    address = addresses(image)[0]
    assert get(client, address, **{"If-None-Match": etag}).status_code == 404


def test_no_browser_runs_an_original_as_a_page(client):
    response = get(client, addresses(stored())[0])
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert response.headers["Content-Disposition"].startswith("inline")


def test_what_browsers_do_not_show_is_downloaded(client):
    file = io.BytesIO()
    PillowImage.new("RGB", (8, 8)).save(file, "TIFF")
    image, _ = add_image(NewImage(file=file, owner=make_user(), visibility="public"))
    response = get(client, f"/images/{image.uuid}/file")
    assert response.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("original_name", "name"),
    [
        ("boat.png", 'filename="boat.png"'),
        ("page.html", 'filename="page.png"'),
        ("archive.tar.gz", 'filename="archive.tar.png"'),
        ("../../etc/passwd", 'filename="passwd.png"'),
        ("a\r\nSet-Cookie: x=1", 'filename="a__Set-Cookie_ x=1.png"'),
        ('say "hi"', 'filename="say _hi_.png"'),
        ("böt.png", "filename*=utf-8''b%C3%B6t.png"),
        ("x" * 255, f'filename="{"x" * 150}.png"'),
    ],
)
def test_a_download_has_a_harmless_name(client, original_name, name):
    image = stored()
    Image.objects.update(original_name=original_name)
    response = get(client, addresses(image)[0])
    assert response.headers["Content-Disposition"] == f"inline; {name}"


def test_a_download_without_a_name_is_called_by_its_id(client):
    image = stored()
    Image.objects.update(original_name="")
    response = get(client, addresses(image)[0])
    assert f'"{image.uuid}.png"' in response.headers["Content-Disposition"]
