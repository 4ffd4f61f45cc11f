"""A tus client that is not ours sends through a real server."""

from __future__ import annotations

import io
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from django.core.files.storage import default_storage
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed

from gallery.models import ApiToken, Image, Upload
from tests.gallery.uploads import picture
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(live_server):
    token = ApiToken.issue(make_user(), "tus")
    return TusClient(
        f"{live_server.url}/api/v1/uploads", headers={"Authorization": f"Bearer {token}"}
    )


def test_a_tus_client_sends_a_file_in_parts(client):
    said = {"filename": "boat.png", "caption": "Ein Boot im Hafen, früh", "tags": "sea,red"}
    client.uploader(file_stream=io.BytesIO(picture(1)), chunk_size=700, metadata=said).upload()
    image = Image.objects.get()
    assert (image.original_name, image.caption) == ("boat.png", "Ein Boot im Hafen, früh")
    with default_storage.open(image.file.name) as file:
        assert file.read() == picture(1)


def test_a_tus_client_goes_on_where_it_stopped(client):
    first = client.uploader(file_stream=io.BytesIO(picture(1)), chunk_size=700)
    first.upload_chunk()
    second = client.uploader(file_stream=io.BytesIO(picture(1)), chunk_size=700, url=first.url)
    assert second.offset == 700
    second.upload()
    assert Image.objects.count() == 1
    with pytest.raises(TusUploadFailed):
        first.upload_chunk()  # it does not know of the rest
    assert Image.objects.count() == 1


def test_a_tus_client_is_told_why_a_file_is_refused(client):
    uploader = client.uploader(file_stream=io.BytesIO(b"no image at all" * 100), chunk_size=700)
    with pytest.raises(TusUploadFailed) as failure:
        uploader.upload()
    assert failure.value.status_code == 422
    assert b"not an image of a kind that is taken" in failure.value.response_content


def test_what_came_before_a_connection_broke_is_kept(client, live_server):
    content = picture(1)
    address = client.uploader(file_stream=io.BytesIO(content)).create_url()
    headers = client.headers | {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(content)),
    }
    server = urlsplit(live_server.url)
    connection = HTTPConnection(server.hostname, server.port, timeout=60)
    connection.request("PATCH", urlsplit(address).path, body=content[:900], headers=headers)
    connection.close()  # with the rest unsent
    wait_until(lambda: Upload.objects.get().received == 900)
    client.uploader(file_stream=io.BytesIO(content), url=address).upload()
    with default_storage.open(Image.objects.get().file.name) as file:
        assert file.read() == content
