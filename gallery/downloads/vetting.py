"""Which URLs and which network addresses are asked at all.

A URL is sent by a stranger. What it names is only asked when every address it leads to is one of
the public internet, so that nobody can read through this server what only its own machine and
network should reach. Names are resolved, and their addresses vetted, in `network`.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from gallery.downloads.errors import DownloadRefused
from gallery.downloads.limits import Rules

Address = IPv4Address | IPv6Address

MOST_CHARACTERS = 4000
DEFAULT_PORTS = {"http": 80, "https": 443}

# Letters, digits, hyphens; and underscores, which names of the web should not have but some do.
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")
# What inet_aton and browsers read as (the last part of) a number: 127.1, 0x7f000001, 0177.0.0.1.
_NUMERIC = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")

# Not for the public internet, by IANA's registries of special-purpose addresses. `is_global` knows
# most of them, but not in every version of Python, and it calls multicast global.
_NEVER_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
# Unicast addresses of the public internet are all in here. What carries an IPv4 address inside
# (mapped, compatible, 64:ff9b::/96) and what is local lies outside, and these of it are neither:
# IETF protocols with Teredo and ORCHID, examples, 6to4, examples.
_GLOBAL_V6 = IPv6Network("2000::/3")
_NEVER_V6 = [
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # fe80::5efe:10.0.0.1: an IPv4 address inside

# What DOWNLOAD_PRIVATE_ADDRESSES adds: own machine and own networks.
_PRIVATE_V4 = [
    IPv4Network(network)
    for network in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
]
_PRIVATE_V6 = [IPv6Network("::1/128"), IPv6Network("fc00::/7")]
# Within these: where clouds give a machine its own passwords. Nobody keeps images there.
_METADATA = frozenset(
    {IPv4Address("100.100.100.200"), IPv6Address("fd00:ec2::254"), IPv6Address("fd20:ce::254")}
)


def read_url(url: str, rules: Rules) -> httpx.URL:
    """Return the URL, parsed and written in one way. Raise DownloadRefused, saying what is wrong.

    Names are not resolved here; addresses in place of names are vetted.
    """
    url = url.strip()
    if len(url) > MOST_CHARACTERS:
        raise DownloadRefused(f"The address has more than {MOST_CHARACTERS:,} characters.")
    try:
        parsed = httpx.URL(url).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadRefused("This is not an address of the web.") from error
    return vet(parsed, rules)


def vet(url: httpx.URL, rules: Rules) -> httpx.URL:
    """Return a parsed URL that may be asked, as far as it tells by itself."""
    if url.scheme not in DEFAULT_PORTS:
        raise DownloadRefused("Only http and https addresses are fetched.")
    if url.userinfo:
        raise DownloadRefused("Addresses with a user name or password in them are not fetched.")
    vet_host(url.raw_host.decode("ascii"), rules)
    if not any(port_of(url) in ports for ports in rules.ports):
        raise DownloadRefused(f"Port {port_of(url)} is not asked; DOWNLOAD_PORTS says which are.")
    return url


def port_of(url: httpx.URL) -> int:
    return url.port if url.port is not None else DEFAULT_PORTS[url.scheme]


def vet_host(host: str, rules: Rules) -> None:
    """Raise DownloadRefused for what is no host name, and for an address that is not allowed."""
    if ":" in host:
        address: Address | None = _literal(IPv6Address, host)
    elif _NUMERIC.fullmatch(host):
        # Only four plain decimal numbers: the other ways to write one are used to hide it.
        address = _literal(IPv4Address, host)
    elif _NAME.fullmatch(host):
        address = None
    else:
        raise DownloadRefused("The address names no host.")
    if address is not None and not is_allowed(address, rules):
        raise not_public(host)


def _literal(kind: type[IPv4Address] | type[IPv6Address], host: str) -> Address:
    try:
        return kind(host)
    except ValueError as error:
        raise DownloadRefused("The host is written as a number in an unusual way.") from error


def not_public(host: str) -> DownloadRefused:
    # Which address a name has is not told: it may be one of a network that nobody should learn of.
    return DownloadRefused(f"{host} is not on the public internet, and so is not asked.")


def is_allowed(address: Address, rules: Rules) -> bool:
    return is_public(address) or (rules.allows_private and is_private(address))


def is_public(address: Address) -> bool:
    """Say whether it is a unicast address of the public internet, and carries no other inside."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _NEVER_V4)
    return (
        address in _GLOBAL_V6
        and address.is_global
        and not any(address in network for network in _NEVER_V6)
        and int(address) >> 32 & 0xFFFF_FFFF not in _ISATAP
    )


def is_private(address: Address) -> bool:
    """Say whether it is this machine or of an own network, where files may well be kept."""
    networks = _PRIVATE_V4 if isinstance(address, IPv4Address) else _PRIVATE_V6
    return address not in _METADATA and any(address in network for network in networks)
