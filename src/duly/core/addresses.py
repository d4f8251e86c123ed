"""Which IP addresses may be called from inside: global unicast ones, and nothing that hides one.

An address is unwrapped first (IPv4 in IPv6 by mapping, compatibility, translation, 6to4, NAT64,
Teredo, ISATAP), because a packet to the wrapping may arrive at what is wrapped. Then it, and all
it wraps, is held against the special-purpose registries of IANA (RFC 6890 and its updates), kept
here as a table of our own: what the interpreter calls global differs between its versions.

Services that hand out credentials to whoever asks from inside (cloud metadata) are refused by
address and by name, whatever else is allowed. Pure: nothing is resolved here.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

from duly.errors import InvalidValue

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = "a metadata service"

METADATA_ADDRESSES: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.169.253",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Where clouds answer for credentials and settings of the machine that asks."""

METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.com",
        "metadata.azure.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
        "instance-data",
        "instance-data.ec2.internal",
        "rancher-metadata",
    }
)

V4: dict[IPv4Network, str] = {
    IPv4Network(text): why
    for text, why in (
        ("0.0.0.0/8", "this network (RFC 1122)"),
        ("10.0.0.0/8", "a private network (RFC 1918)"),
        ("100.64.0.0/10", "a carrier's shared network (RFC 6598)"),
        ("127.0.0.0/8", "loopback (RFC 1122)"),
        ("169.254.0.0/16", "link-local (RFC 3927)"),
        ("172.16.0.0/12", "a private network (RFC 1918)"),
        ("192.0.0.0/24", "protocol assignments (RFC 6890)"),
        ("192.0.2.0/24", "documentation (RFC 5737)"),
        ("192.31.196.0/24", "a sink for reverse lookups (RFC 7535)"),
        ("192.52.193.0/24", "multicast relays (RFC 7450)"),
        ("192.88.99.0/24", "6to4 relays (RFC 7526)"),
        ("192.168.0.0/16", "a private network (RFC 1918)"),
        ("192.175.48.0/24", "a sink for reverse lookups (RFC 7534)"),
        ("198.18.0.0/15", "a network for benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "documentation (RFC 5737)"),
        ("203.0.113.0/24", "documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
    )
}

V6: dict[IPv6Network, str] = {
    IPv6Network(text): why
    for text, why in (
        ("::/128", "no address at all (RFC 4291)"),
        ("::1/128", "loopback (RFC 4291)"),
        ("64:ff9b:1::/48", "a local translation (RFC 8215)"),
        ("100::/64", "discarded (RFC 6666)"),
        ("2001::/23", "protocol assignments (RFC 2928)"),
        ("2001:db8::/32", "documentation (RFC 3849)"),
        ("2620:4f:8000::/48", "a sink for reverse lookups (RFC 7534)"),
        ("3fff::/20", "documentation (RFC 9637)"),
        ("5f00::/16", "segment routing (RFC 9602)"),
        ("fc00::/7", "a private network (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "a site's own network (RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
    )
}

GLOBAL_V6 = IPv6Network("2000::/3")
"""All of IPv6 that is given out as global unicast (RFC 4291, 2.4); the rest is refused."""

_TEREDO = IPv6Network("2001::/32")
_SIXTOFOUR = IPv6Network("2002::/16")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # RFC 2765, 2.1
_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_CARRIERS = (_SIXTOFOUR, _NAT64, IPv6Network("::ffff:0:0/96"))
"""Wrappings that are judged by what they wrap alone."""


def read_address(text: str) -> Address:
    """Read an address as a resolver gives it; raises `InvalidValue`, also for a zone id."""
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidValue.expected("an address", "an IPv4 or IPv6 address", text) from None


def wrapped(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses that an IPv6 address carries, by any of the known wrappings."""
    number = int(address)
    if isinstance(address, IPv4Address) or number <= 1:  # ::1 is itself, and wraps nothing
        return
    low = IPv4Address(number & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address in _COMPATIBLE or address in _TRANSLATED or address in _NAT64:
        yield low
    elif address in _SIXTOFOUR:
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
    elif address in _TEREDO:
        yield IPv4Address(number >> 64 & 0xFFFF_FFFF)
        yield IPv4Address(number & 0xFFFF_FFFF ^ 0xFFFF_FFFF)
    if number >> 32 & 0xFDFF_FFFF == 0x5EFE:  # ISATAP (RFC 5214, 6.1)
        yield low


def faces(address: Address) -> tuple[Address, ...]:
    """Return an address and all that it wraps."""
    return (address, *wrapped(address))


def is_metadata(address: Address) -> bool:
    """Whether an address, or one that it wraps, is that of a metadata service."""
    return any(one in METADATA_ADDRESSES for one in faces(address))


def why_not(address: Address) -> str | None:
    """Return why an address may not be called, or None when it is global unicast.

    The reason begins with what it is, as in `loopback (RFC 1122)`.
    """
    if is_metadata(address):
        return METADATA
    inner = tuple(wrapped(address))
    for one in inner:
        reason = _registered(one)
        if reason is not None:
            return f"{reason}, wrapped in IPv6"
    if inner and any(address in carrier for carrier in _CARRIERS):
        return None
    return _registered(address)


def _registered(address: Address) -> str | None:
    """Return what the registries say of an address as it stands, or None."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in V4.items() if address in network), None)
    if getattr(address, "scope_id", None):
        return "link-local (it names an interface)"
    known = next((why for network, why in V6.items() if address in network), None)
    if known is None and address not in GLOBAL_V6:
        return "not global unicast (RFC 4291)"
    return known
