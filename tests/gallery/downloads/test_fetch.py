from __future__ import annotations

import gzip
import os
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gallery.downloads.errors import DownloadFailed, DownloadRefused
from gallery.downloads.limits import Rules
from tests.gallery.downloads.conftest import IMPATIENT, SMALL
from tests.workers import wait_until

FILE = os.urandom(100_000)


def one_after_the_other(*answers):
    """Answer each request with the next of these, and all further ones with the last."""
    rest = list(answers)
    lock = threading.Lock()

    def answering(asked):
        with lock:
            answer = rest.pop(0) if len(rest) > 1 else rest[0]
        answer(asked)

    return answering


def well(asked):
    asked.answer(200, FILE)


def busy(asked):
    asked.answer(503)


def test_a_file_comes_back_whole_and_seekable(serve, make_downloader):
    server = serve(well)
    with make_downloader().fetch(f"{server.url}/a.jpg?size=large#top", SMALL) as file:
        assert file.read() == FILE
        assert file.seek(10) == 10
        assert file.read(5) == FILE[10:15]
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/a.jpg?size=large")
    assert asked.headers["host"] == server.url.removeprefix("http://")
    assert asked.headers["accept"] == "image/*"
    assert asked.headers["user-agent"].startswith("Semblance")
    assert not {"cookie", "authorization", "referer"} & asked.headers.keys()


def test_neither_proxies_nor_passwords_are_taken_from_the_environment(
    serve, fetch, monkeypatch, tmp_path
):
    server, proxy = serve(well), serve(well)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ann password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert fetch(server.url) == FILE
    assert proxy.connections == 0
    assert "authorization" not in server.asked[0].headers


def test_cookies_are_not_kept(serve, fetch):
    server = serve(lambda asked: asked.answer(200, FILE, Set_Cookie="who=ann; Path=/"))
    fetch(server.url)
    fetch(server.url)
    assert not any("cookie" in asked.headers for asked in server.asked)


def test_a_connection_is_used_again(serve, fetch):
    server = serve(lambda asked: asked.answer(200 if asked.path == "/" else 404, FILE[:100]))
    for _ in range(5):
        fetch(server.url)
    assert server.connections == 1


def test_a_redirect_is_followed_on_the_same_connection(serve, fetch):
    server = serve(
        lambda asked: (
            asked.answer(302, b"moved", Location="b/%C3%BC.jpg")
            if asked.path == "/a"
            else well(asked)
        )
    )
    assert fetch(f"{server.url}/a") == FILE
    assert server.paths == ["/a", "/b/%C3%BC.jpg"]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("http://10.0.0.1/", "10.0.0.1 is not on the public internet, and so is not asked."),
        ("http://[::1]/", "::1 is not on the public internet, and so is not asked."),
        ("http://2130706433/", "The host is written as a number in an unusual way."),
        ("//169.254.169.254/latest", "169.254.169.254 is not on the public internet"),
        ("file:///etc/passwd", "Only http and https addresses are fetched."),
        ("gopher://example.org/", "Only http and https addresses are fetched."),
        ("http://ann:secret@example.org/", "Addresses with a user name or password in them"),
        ("http://example.org:22/", "Port 22 is not asked"),
        ("http://internal.example/", "internal.example is not on the public internet"),
        ("http://1.2.3.999/", "The address leads on to what is none."),
    ],
)
def test_a_redirect_to_what_must_not_be_asked_is_refused(
    serve, make_downloader, names, location, sentence
):
    server = serve(lambda asked: asked.answer(302, Location=location))
    names["public.example"] = [["127.0.0.1"]]
    names["internal.example"] = [["127.0.0.2"]]
    # As on the internet, were 127.0.0.1 the one address that is public.
    downloader = make_downloader(Rules(), network=only_loopback())
    with pytest.raises(DownloadFailed, match=sentence):
        downloader.fetch(f"http://public.example:{server.port}/", SMALL)
    assert server.paths == ["/"]


def only_loopback():
    from ipaddress import IPv4Address

    from gallery.downloads.network import VettedNetwork

    return VettedNetwork(lambda address: address == IPv4Address("127.0.0.1"))


def lead_to_itself(asked):
    asked.answer(302, Location=asked.path)


def lead_to_and_fro(asked):
    asked.answer(302, Location="/b" if asked.path == "/a" else "/a")


def lead_on_for_ever(asked):
    asked.answer(307, Location=f"{asked.path}x")


@pytest.mark.parametrize(
    ("answering", "sentence", "times"),
    [
        (lead_to_itself, "leads in a circle", 1),
        (lead_to_and_fro, "leads in a circle", 2),
        (lead_on_for_ever, "leads on more than 5", 6),
    ],
)
def test_redirects_come_to_an_end(serve, fetch, answering, sentence, times):
    server = serve(answering)
    with pytest.raises(DownloadFailed, match=sentence):
        fetch(f"{server.url}/a")
    assert len(server.asked) == times


@pytest.mark.parametrize(
    "placeholder",
    [
        "/pw/images/en-us/photo_unavailable.png",
        "/images/en-us/photo_unavailable_l.png",
        "/photo_unavailable.gif",
    ],
)
def test_a_placeholder_is_no_image(serve, fetch, placeholder):
    server = serve(lambda asked: asked.answer(302, Location=placeholder))
    with pytest.raises(DownloadFailed, match="a placeholder: the image is gone") as failure:
        fetch(f"{server.url}/1_m.jpg")
    assert not failure.value.may_pass
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501])
def test_what_will_not_change_is_asked_once(serve, fetch, status):
    server = serve(lambda asked: asked.answer(status, b"<html>no</html>"))
    with pytest.raises(DownloadFailed, match=f"The server answers {status}") as failure:
        fetch(server.url)
    assert not failure.value.may_pass
    assert len(server.asked) == 1


def test_a_dead_link_is_a_sentence(serve, fetch):
    server = serve(lambda asked: asked.answer(404))
    with pytest.raises(DownloadFailed) as failure:
        fetch(server.url)
    assert str(failure.value) == "The server answers 404: the file is gone, or never was there."


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_what_may_pass_is_asked_again(serve, fetch, status):
    server = serve(one_after_the_other(lambda asked: asked.answer(status), well))
    assert fetch(server.url) == FILE
    assert len(server.asked) == 2


def test_it_is_asked_again_only_so_often(serve, fetch):
    server = serve(busy)
    with pytest.raises(DownloadFailed, match=r"503: it is overloaded or being mended\.") as failure:
        fetch(server.url)
    assert failure.value.may_pass
    assert len(server.asked) == 3


def seconds_as_a_date():
    return format_datetime(datetime.now(UTC) + timedelta(seconds=1.9), usegmt=True)


@pytest.mark.parametrize("write", [lambda: "1", seconds_as_a_date], ids=["seconds", "date"])
def test_the_time_that_a_server_asks_for_is_given_by_all(serve, make_downloader, write):
    asked_at = []

    def answering(asked):
        asked_at.append(time.monotonic())
        if len(asked_at) == 1:
            asked.answer(429, Retry_After=write())
        else:
            well(asked)

    server = serve(answering)
    # One at a time, so that nobody else has asked before the first answer is read.
    downloader = make_downloader(longest_wait_seconds=3, at_once_per_host=1)
    with ThreadPoolExecutor(4) as threads:
        fetched = [threads.submit(downloader.fetch, f"{server.url}/{n}", SMALL) for n in range(4)]
        for file in fetched:
            file.result().close()
    first, *others = asked_at
    assert len(others) == 4
    assert all(at - first > 0.8 for at in others)


def test_a_server_that_asks_for_too_long_is_left_alone(serve, fetch):
    server = serve(lambda asked: asked.answer(503, Retry_After=3600))
    with pytest.raises(DownloadFailed, match="503"):
        fetch(server.url)
    with pytest.raises(DownloadFailed, match="asked to be left alone for 3,600 seconds") as failure:
        fetch(server.url)
    assert failure.value.may_pass
    assert len(server.asked) == 1


@pytest.mark.parametrize("nonsense", ["", "soon", "-5", "1e9", "99999999999999999999999", "\xb2"])
def test_a_wait_that_makes_no_sense_does_no_harm(serve, fetch, nonsense):
    server = serve(one_after_the_other(lambda asked: asked.answer(500, Retry_After=nonsense), well))
    assert fetch(server.url) == FILE


def endless(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        asked.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")


def endless_without_length(asked):
    asked.send(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        asked.send(b"x" * 10_000)


def more_than_announced_and_allowed(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n" + b"x" * 200_001)


@pytest.mark.parametrize(
    "answering", [endless, endless_without_length, more_than_announced_and_allowed]
)
def test_what_is_too_large_is_left_where_it_is(serve, fetch, answering):
    server = serve(answering)
    with pytest.raises(DownloadFailed, match=r"The file is larger than 195\.3"):
        fetch(server.url)
    assert len(server.asked) == 1


def cut_off(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + FILE[:60_000])
    asked.hang_up()


def cut_off_in_chunks(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + FILE[:10_000])
    asked.hang_up()


def cut_off_in_the_head(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    asked.hang_up()


def hang_up(asked):
    asked.hang_up()


def zipped(asked, body, encoding="gzip"):
    asked.answer(200, body, Content_Encoding=encoding)


def cut_off_zipped(asked):
    zipped(asked, gzip.compress(FILE)[:-5000])


@pytest.mark.parametrize(
    "answering",
    [
        cut_off,
        cut_off_in_chunks,
        cut_off_in_the_head,
        hang_up,
        cut_off_zipped,
    ],
)
def test_a_part_of_a_file_is_never_taken_for_the_file(serve, fetch, answering):
    server = serve(answering)
    with pytest.raises(DownloadFailed) as failure:
        fetch(server.url)
    assert failure.value.may_pass
    assert len(server.asked) == 3
    server.answering = one_after_the_other(answering, well)
    assert fetch(server.url) == FILE


def test_more_bytes_than_announced_do_not_become_the_next_answer(serve, fetch):
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    def answering(asked):
        if asked.path == "/short":
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + evil)
        else:
            well(asked)

    server = serve(answering)
    assert fetch(f"{server.url}/short") == b"hello"
    assert fetch(f"{server.url}/other") == FILE


@pytest.mark.parametrize(
    "nonsense",
    ids=[
        *("TLS", "SSH", "two lengths", "negative length", "bad chunk", "huge header", "bad status"),
        *("bad version", "zeros"),
    ],
    argvalues=[
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"\x00" * 1000,
    ],
)
def test_what_is_not_http_is_a_failure(serve, fetch, nonsense):
    server = serve(lambda asked: (asked.send(nonsense), asked.hang_up()))
    with pytest.raises(DownloadFailed):
        fetch(server.url)


def test_an_empty_file_is_a_failure(serve, fetch):
    with pytest.raises(DownloadFailed, match="an empty file"):
        fetch(serve(lambda asked: asked.answer(200)).url)


@pytest.mark.parametrize(
    ("encoding", "body"),
    ids=["gzip", "gzip in two parts", "zlib", "none", "gzip that does not shrink"],
    argvalues=[
        ("gzip", gzip.compress(FILE)),
        ("x-gzip", gzip.compress(FILE[:50_000]) + gzip.compress(FILE[50_000:])),
        ("deflate", zlib.compress(FILE)),
        ("identity", FILE),
        ("GZIP", gzip.compress(FILE, 0)),
    ],
)
def test_a_body_that_was_compressed_unasked_is_unpacked(serve, fetch, encoding, body):
    server = serve(lambda asked: zipped(asked, body, encoding))
    assert fetch(server.url) == FILE
    assert server.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("encoding", "body", "sentence"),
    ids=["gzip", "zlib", "many gzips", "no gzip", "wrong sum", "brotli", "gzip in gzip"],
    argvalues=[
        ("gzip", gzip.compress(bytes(10**8)), "larger than"),
        ("deflate", zlib.compress(bytes(10**8)), "larger than"),
        ("gzip", b"".join(gzip.compress(bytes(50_000)) for _ in range(100)), "larger than"),
        ("gzip", b"no gzip at all", "compressed file that is broken"),
        ("gzip", gzip.compress(FILE)[:-8] + b"\0" * 8, "compressed file that is broken"),
        ("br", b"\x1b\x0f\x00", "in an encoding of its own: 'br'"),
        ("gzip, gzip", gzip.compress(gzip.compress(FILE)), "in an encoding of its own"),
    ],
)
def test_a_compressed_bomb_or_puzzle_is_not_unpacked(serve, fetch, encoding, body, sentence):
    server = serve(lambda asked: zipped(asked, body, encoding))
    with pytest.raises(DownloadFailed, match=sentence):
        fetch(server.url)
    assert len(server.asked) == 1


def drip(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    asked.send(*(b"x" for _ in range(1000)), every=0.05)


def drip_head(asked):
    asked.send(b"HTTP/1.1 200 OK\r\n", *(b"X-A: b\r\n" for _ in range(1000)), every=0.05)


def continue_for_ever(asked):
    asked.send(*(b"HTTP/1.1 100 Continue\r\n\r\n" for _ in range(1000)), every=0.05)


def fall_silent(asked):
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + FILE[:1000])
    time.sleep(5)


def say_nothing(asked):
    time.sleep(5)


@pytest.mark.parametrize(
    ("answering", "sentence"),
    [
        (drip, "The server sends too slowly"),
        (drip_head, "did not answer in time"),
        (continue_for_ever, "did not answer in time"),
        (fall_silent, "did not answer in time"),
        (say_nothing, "did not answer in time"),
    ],
)
def test_a_slow_server_does_not_hold_us_up(serve, make_downloader, answering, sentence):
    server = serve(answering)
    began = time.monotonic()
    with pytest.raises(DownloadFailed, match=sentence):
        make_downloader(**IMPATIENT).fetch(server.url, SMALL)
    assert time.monotonic() - began < 30  # these servers would go on for ever


def test_all_attempts_together_have_their_time(serve, make_downloader):
    server = serve(fall_silent)
    began = time.monotonic()
    with pytest.raises(DownloadFailed, match="took more than 2 seconds"):
        make_downloader(attempts=10, silence_seconds=0.5).fetch(
            server.url, replace(SMALL, seconds=2.4)
        )
    assert time.monotonic() - began < 30
    assert 2 <= len(server.asked) <= 5


def test_a_host_that_is_gone_costs_few_timeouts(serve, fetch):
    server = serve(well)
    server.close()
    failures = []
    for _ in range(10):
        with pytest.raises(DownloadFailed) as failure:
            fetch(server.url)
        failures.append(str(failure.value))
    assert failures[0] == "127.0.0.1 cannot be reached."
    assert failures[-1] == (
        f"127.0.0.1:{server.port} did not answer 5 times in a row; it is left alone for a while."
    )


def test_a_name_that_is_not_there_is_a_sentence(fetch, names):
    with pytest.raises(DownloadFailed, match=r"There is no host nobody\.example\.") as failure:
        fetch("http://nobody.example/")
    assert not failure.value.may_pass


def test_one_host_is_asked_by_few_at_once_and_not_too_fast(serve, make_downloader):
    under_way, most, began = set(), 0, []
    lock = threading.Lock()
    may_go_on = threading.Event()

    def answering(asked):
        nonlocal most
        with lock:
            began.append(time.monotonic())
            under_way.add(asked)
            most = max(most, len(under_way))
        may_go_on.wait(60)
        with lock:
            under_way.discard(asked)
        well(asked)

    server, other = serve(answering), serve(well)
    downloader = make_downloader(
        at_once_per_host=3, interval_seconds=0.02, answer_seconds=60, silence_seconds=60
    )
    with ThreadPoolExecutor(12) as threads:
        held_up = [threads.submit(downloader.fetch, server.url, SMALL) for _ in range(11)]
        threads.submit(downloader.fetch, other.url, SMALL).result(60).close()
        wait_until(lambda: most == 3)
        time.sleep(0.1)  # in which a fourth would come
        may_go_on.set()
        for fetched in held_up:
            fetched.result().close()
    assert most == 3
    assert max(began) - min(began) >= 0.02 * 10


def test_many_threads_get_each_their_own_file(serve, make_downloader):
    def answering(asked):
        if asked.path.startswith("/to"):
            asked.answer(302, Location=asked.path.removeprefix("/to"))
        elif asked.path.endswith("7"):
            asked.hang_up()
        else:
            asked.answer(200, asked.path.encode() * 1000)

    server = serve(answering)
    downloader = make_downloader(attempts=1, at_once_per_host=16)

    def fetched(n):
        try:
            with downloader.fetch(f"{server.url}/to/{n}", SMALL) as file:
                return file.read() == f"/{n}".encode() * 1000
        except DownloadFailed:
            return str(n).endswith("7")

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(fetched, range(300)))


def test_what_is_refused_is_refused_before_anybody_is_asked(serve, make_downloader):
    server = serve(well)
    with pytest.raises(DownloadRefused):
        make_downloader(Rules()).fetch(server.url, SMALL)
    assert server.connections == 0
