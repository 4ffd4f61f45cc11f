from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from gallery.storage.bucket import BucketStorage
from gallery.storage.links import _links
from tests.gallery.storage import servers
from tests.gallery.storage.proxy import Proxy, before


@pytest.fixture(autouse=True)
def keys(monkeypatch) -> None:
    for name, value in servers.KEYS.items():
        monkeypatch.setenv(name, value)
    # No machine's own files or role.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    _links.forget()


@pytest.fixture(scope="session")
def moto(tmp_path_factory) -> Iterator[str]:
    with servers.moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def rclone(tmp_path_factory) -> Iterator[str]:
    with servers.rclone(tmp_path_factory.mktemp("rclone")) as endpoint:
        yield endpoint


@pytest.fixture(params=["moto", "rclone"])
def endpoint(request) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def url(endpoint) -> str:
    return servers.address(endpoint, f"b{uuid4().hex}")


@pytest.fixture
def bucket(url) -> BucketStorage:
    return servers.made(url)


@pytest.fixture
def proxy(rclone) -> Iterator[Proxy]:
    with before(rclone) as one:
        yield one


@pytest.fixture
def shaky(rclone, proxy) -> BucketStorage:
    """A bucket behind the proxy."""
    name = f"b{uuid4().hex}"
    servers.made(servers.address(rclone, name))
    return servers.opened(servers.address(proxy.endpoint, name, timeout=3))


@pytest.fixture
def use(settings):
    """Return a function that makes a bucket the gallery's storage."""

    def use(storage: BucketStorage) -> BucketStorage:
        settings.STORAGES = settings.STORAGES | {"default": storage.address.backend()}
        return storage

    return use
