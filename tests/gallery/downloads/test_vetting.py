from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.downloads.errors import DownloadRefused
from gallery.downloads.limits import Rules
from gallery.downloads.vetting import is_allowed, is_private, is_public, read_url

PUBLIC_ONLY = Rules()
WITH_PRIVATE = Rules(allows_private=True)

# IANA's registries of special-purpose addresses, those that are not "globally reachable", and
# what carries an IPv4 address inside; with multicast.
SPECIAL_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "255.255.255.255/32",
    )
]  # fmt: skip
SPECIAL_V6 = [
    IPv6Network(network)
    for network in (
        "::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
        "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:2::/48", "2001:10::/28",
        "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
        "fec0::/10", "ff00::/8",
    )
]  # fmt: skip


def spelled(address: IPv4Address) -> set[str]:
    """Ways to write an address that inet_aton, curl or a browser understands."""
    a, b, c, d = address.packed
    number = int(address)
    return {
        str(number), f"0{number:o}", hex(number), f"0x{number:08X}", f"0x{'0' * 20}{number:x}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{b}.0{c:o}.{d}",
        f"{a}.{(b << 16) + (c << 8) + d}", f"{a}.{b}.{(c << 8) + d}",
        f"{a}.{b}.{c}.{d}.", f"{a:03}.{b:03}.{c:03}.{d:03}.", f"00{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d:#x}",
    }  # fmt: skip


def inside_v6(address: IPv4Address) -> set[IPv6Address]:
    """IPv6 addresses that lead to an IPv4 address, or carry it."""
    number = int(address)
    return {
        IPv6Address(f"::ffff:{address}"), IPv6Address(f"::{address}"),
        IPv6Address(f"64:ff9b::{address}"), IPv6Address((0x2002 << 112) | (number << 80) | 1),
        IPv6Address((0x2001_0000 << 96) | (number ^ 0xFFFF_FFFF)),
        IPv6Address(f"2606:4700::5efe:{address}"), IPv6Address(f"2606:4700::200:5efe:{address}"),
    }  # fmt: skip


def is_refused(url: str, rules: Rules = PUBLIC_ONLY) -> bool:
    try:
        read_url(url, rules)
    except DownloadRefused:
        return True
    return False


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://0/", "http://0.0.0.0/", "http://[::1]/",
        "http://[::]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://[2001:0:1:2:3:4:80ff:fffe]/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/",
        "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://192.0.0.192/",
        "http://100.100.100.200/", "http://224.0.0.1/", "http://255.255.255.255/",
        "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.1/",
        "http://0177.0.0.1/", "http://127.0.0.1./", "http://127.0.0.1.:80/", "http://1.1.1.256/",
        "http://134744072/", "http://8.8.2056/", "http://010.8.8.8/",
        "file:///etc/passwd", "gopher://example.org:70/_", "ftp://example.org/a.jpg",
        "javascript:alert(1)", "data:image/png;base64,AA==", "//example.org/a.jpg", "a.jpg", "",
        "http://", "http:///a.jpg", "https:example.org", "http://ann:secret@example.org/a.jpg",
        "http://ann@example.org/", "http://@127.0.0.1/", "http://example.org\\@127.0.0.1/",
        "http://example.org:25/", "http://example.org:22/", "http://example.org:0/",
        "http://example.org:99999/", "http://example.org:-1/", "http://example.org:80:80/",
        "http://exa mple.org/", "http://example.org\r\nX: y/", "http://example.org/\x00",
        "http://example.org/a\r\nHost: b", "http://exa%00mple.org/", "http://127.0.0.1%2f@a.org/",
        "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "http://①②⑦.0.0.1/", "http://[::1", "http://[example.org]/",
        "http://[v1.fe80::a]/", "http://.example.org/", "http://-/", "http://" + "a" * 5000,
        "http://\udcff.org/", "http://a.org/\udcff",
    ],
)  # fmt: skip
def test_what_must_never_be_asked_is_refused_without_looking_it_up(url, names):
    assert is_refused(url)


def test_private_addresses_are_reached_where_it_is_allowed_and_passwords_of_clouds_never():
    for address in ("127.0.0.1", "10.1.2.3", "192.168.1.9", "100.64.1.1", "[::1]", "[fd12::1]"):
        assert not is_refused(f"http://{address}/", WITH_PRIVATE)
    for address in (
        "169.254.169.254", "192.0.0.192", "100.100.100.200", "0.0.0.0", "224.0.0.1", "127.1",
        "[fe80::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[::ffff:127.0.0.1]", "[ff02::1]",
    ):  # fmt: skip
        assert is_refused(f"http://{address}/", WITH_PRIVATE)


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("HTTP://Example.ORG", "http://example.org"),
        (" https://example.org:443/a b?c=d#e ", "https://example.org/a%20b?c=d"),
        ("http://bücher.example/ä.jpg", "http://xn--bcher-kva.example/%C3%A4.jpg"),
        ("http://my_files.example.org/", "http://my_files.example.org/"),
        ("http://example.org./", "http://example.org./"),
        ("http://8.8.8.8:8080/", "http://8.8.8.8:8080/"),
        ("http://[2606:4700:4700::1111]/", "http://[2606:4700:4700::1111]/"),
    ],
)
def test_what_may_be_asked_is_written_in_one_way(url, written):
    assert str(read_url(url, PUBLIC_ONLY)) == written


@given(st.sampled_from(SPECIAL_V4), st.integers(0, 2**32 - 1))
def test_no_special_ipv4_address_is_public_however_it_is_written(network, offset):
    address = network[offset % network.num_addresses]
    assert not is_public(address)
    assert not any(map(is_public, inside_v6(address)))
    assert is_refused(f"http://{address}/")
    assert all(is_refused(f"http://{written}/") for written in spelled(address))
    assert all(is_refused(f"http://[{carrier}]/") for carrier in inside_v6(address))


@given(st.sampled_from(SPECIAL_V6), st.integers(0, 2**128 - 1))
def test_no_special_ipv6_address_is_public(network, offset):
    address = network[offset % network.num_addresses]
    assert not is_public(address)
    assert is_refused(f"http://[{address}]/")
    assert is_refused(f"http://[{address.exploded}]/")


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_every_ipv4_address_is_judged_as_the_registries_do(address):
    assert is_public(address) == (not any(address in network for network in SPECIAL_V4))
    # Of public ones too, the strange ways to write them are refused, and so are those inside IPv6.
    assert all(is_refused(f"http://{written}/") for written in spelled(address))
    assert not any(map(is_public, inside_v6(address)))


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_only_global_unicast_ipv6_addresses_are_public(address):
    if is_public(address):
        assert address in IPv6Network("2000::/3")
        assert not any(address in network for network in SPECIAL_V6)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_private_addresses_add_is_private(address):
    if is_allowed(address, WITH_PRIVATE):
        assert is_public(address) or (is_private(address) and not address.is_link_local)
    assert is_allowed(address, PUBLIC_ONLY) == is_public(address)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://", "http://[", "http://1."]))
def test_any_text_is_a_url_that_may_be_asked_or_refused(text, beginning):
    try:
        url = read_url(beginning + text, PUBLIC_ONLY)
    except DownloadRefused:
        return
    assert url.scheme in ("http", "https")
    assert not url.userinfo
    assert url.raw_host.decode().isascii()
    assert not set(url.raw_path) & set(b"\r\n \x00")
    try:
        address = ip_address(url.host)
    except ValueError:
        return  # a name
    assert is_public(address)
