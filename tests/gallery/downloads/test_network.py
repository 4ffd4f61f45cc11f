from __future__ import annotations

import ssl
import threading
import time
from ipaddress import IPv4Address

import pytest
import trustme

from gallery.downloads.errors import DownloadFailed, DownloadRefused
from gallery.downloads.limits import Rules
from gallery.downloads.network import VettedNetwork
from tests.gallery.downloads.conftest import IMPATIENT, SMALL

FILE = b"a file"


def well(asked):
    asked.answer(200, FILE)


@pytest.fixture
def authority(monkeypatch, tmp_path):
    """A certificate authority that this machine trusts for as long as the test runs."""
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return authority


def tls_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["192.0.0.192"],
        ["::1"],
        ["2606:4700::1111", "fe80::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a00:1"],
        ["2002:7f00:1::"],
    ],
)
def test_a_name_with_one_address_that_is_not_public_is_refused(
    serve, make_downloader, names, answer
):
    server = serve(well)
    names["images.example"] = [answer]
    with pytest.raises(DownloadRefused) as refusal:
        make_downloader(Rules()).fetch(f"http://images.example:{server.port}/", SMALL)
    # Which address it was is nobody's business.
    assert str(refusal.value) == (
        "images.example is not on the public internet, and so is not asked."
    )
    assert server.connections == 0


def test_a_name_that_is_answered_differently_twice_leads_where_it_was_vetted(
    serve, make_downloader, names
):
    public = serve(lambda asked: asked.answer(200, FILE, Connection="close"))
    # Were 127.0.0.1 public and 127.0.0.2 not. Both servers listen on the same port.
    names["rebinding.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    looked_up = names["rebinding.example"]
    downloader = make_downloader(
        network=VettedNetwork(lambda address: address == IPv4Address("127.0.0.1"))
    )
    url = f"http://rebinding.example:{public.port}/"
    with downloader.fetch(url, SMALL) as file:
        assert file.read() == FILE
    assert looked_up == [["127.0.0.2"]]  # one answer was used, and only one
    with pytest.raises(DownloadRefused):
        downloader.fetch(url, SMALL)
    assert public.connections == 1


def test_the_next_address_of_a_name_is_tried_when_one_is_dead(serve, fetch, names):
    server = serve(well)
    names["images.example"] = [["127.0.0.9", "127.0.0.8", "127.0.0.1"]]
    assert fetch(f"http://images.example:{server.port}/") == FILE
    assert server.asked[0].headers["host"] == f"images.example:{server.port}"


def test_ipv6_works(serve, fetch):
    server = serve(well, host="::1")
    assert fetch(server.url) == FILE
    assert server.asked[0].headers["host"] == f"[::1]:{server.port}"


def test_the_certificate_must_be_that_of_the_name(authority, serve, fetch, names):
    shown = []
    tls = tls_for(authority, "right.example")
    tls.sni_callback = lambda _socket, name, _context: shown.append(name)
    server = serve(well, tls=tls)
    for name in ("right.example", "right.example.", "wrong.example"):
        names[name] = [["127.0.0.1"]]
    assert fetch(f"https://right.example:{server.port}/") == FILE
    assert fetch(f"https://right.example.:{server.port}/") == FILE
    with pytest.raises(DownloadFailed) as failure:
        fetch(f"https://wrong.example:{server.port}/")
    assert str(failure.value) == "The certificate of wrong.example is not valid for it."
    assert not failure.value.may_pass
    # The name is told before the certificate is shown, although we connect to a number.
    assert shown == ["right.example", "right.example", "wrong.example"]


def test_a_certificate_that_nobody_vouches_for_is_refused(authority, serve, fetch, names):
    server = serve(well, tls=tls_for(trustme.CA(), "right.example"))
    names["right.example"] = [["127.0.0.1"]]
    with pytest.raises(DownloadFailed, match=r"The certificate of right\.example is not valid"):
        fetch(f"https://right.example:{server.port}/")
    assert server.asked == []


def test_a_certificate_of_a_number_counts_for_that_number(authority, serve, fetch):
    server = serve(well, tls=tls_for(authority, "127.0.0.1"))
    assert fetch(server.url) == FILE
    other = serve(well, tls=tls_for(authority, "localhost"))
    with pytest.raises(DownloadFailed, match="certificate"):
        fetch(other.url)


def test_looking_up_a_name_has_its_time(make_downloader, monkeypatch):
    # A name server that does not answer: the system's own look-up waits for half a minute.
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: over.wait(60) and [])
    began = time.monotonic()
    with pytest.raises(DownloadFailed, match="could not be looked up in time") as failure:
        make_downloader(**IMPATIENT).fetch("http://images.example/", SMALL)
    over.set()
    assert failure.value.may_pass
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "a." * 200])
def test_a_name_that_cannot_be_looked_up_is_a_sentence(fetch, host):
    with pytest.raises(DownloadFailed):
        fetch(f"http://{host}/")


def test_a_server_that_takes_its_time_over_tls_does_not_hold_us_up(serve, make_downloader):
    server = serve(well)  # speaks no TLS, and waits for a request
    began = time.monotonic()
    with pytest.raises(DownloadFailed):
        make_downloader(**IMPATIENT).fetch(server.url.replace("http", "https"), SMALL)
    assert time.monotonic() - began < 30
