"""Which URLs may be called: a strict grammar, and rules with an explicit list of exceptions.

A URL is read by one grammar that leaves no two readings: printable ASCII, `http` or `https`, no
user, no fragment, a host of letters, digits and hyphens or a canonical address, a decimal port.
So no two parsers can take a different host from it. What the grammar cannot say is refused and
never repaired: `0x7f.1`, `127.1`, dots of other scripts, a backslash.

By default only `https`, ports 80 and 443, and addresses that `core.addresses` lets pass. The list
of exceptions names networks, hosts and ports; metadata services are refused whatever it says.
Pure: names are resolved elsewhere, and `Rules.why_not` judges what they resolve to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network

from duly.core.addresses import (
    METADATA,
    METADATA_NAMES,
    Address,
    Network,
    is_metadata,
    why_not,
)
from duly.errors import InvalidValue, brief, one_line

DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 2000
LONGEST_HOST = 253
MOST_ALLOWED = 1000
_TOLD = 2

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:\\%]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?][!-~]*)?\Z"
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_CANONICAL_V4 = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}\Z")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_ALLOWED = re.compile(
    r"(?P<place>\[[^\]]{1,100}\]|[^:\[\]]{0,253}|[0-9A-Fa-f:./]{2,100})"
    r"(?::(?P<port>[0-9]{1,5}|\*))?\Z"
)


@dataclass(frozen=True)
class Target:
    """Where a call goes. `host` is lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None  # what the host is, where it is an address already

    @property
    def url(self) -> str:
        """The URL, written anew: another parser finds this very host and port in it."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


@dataclass(frozen=True)
class Allowed:
    """One exception: a network or a host (None: any), and a port (None: the usual ones).

    A port of 0 stands for all ports.
    """

    place: Network | str | None
    port: int | None

    def opens(self, port: int) -> bool:
        """Whether the entry lets this port be called."""
        if self.port is None:
            return port in DEFAULT_PORTS.values()
        return self.port in (0, port)

    def covers(self, host: str, address: Address | None) -> bool:
        """Whether the entry is about this host, or this address."""
        if isinstance(self.place, str) or self.place is None:
            return self.place in (None, host)
        if address is None:
            return False
        # Only what is mapped is the same place; what is merely wrapped may arrive elsewhere.
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in self.place


@dataclass(frozen=True)
class Rules:
    """What may be called: the schemes, and the exceptions to the rule of public targets."""

    schemes: tuple[str, ...] = ("https",)
    exceptions: tuple[Allowed, ...] = field(default=())

    @classmethod
    def of(cls, allow: Iterable[str] = (), *, plain_http: bool = False) -> Rules:
        """Read a list of exceptions, such as `10.0.0.0/8`, `localhost:8080`, `:8443`.

        Raises `InvalidValue` that names the entries which cannot be right, the first of them where
        there are many.
        """
        entries, faults = [], []
        for text in allow:
            try:
                entries.append(read_allowed(text))
            except InvalidValue as error:
                faults.append(str(error))
        if len(entries) > MOST_ALLOWED:
            faults.append(f"expected at most {MOST_ALLOWED} allowed targets, got {len(entries)}")
        if faults:
            more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
            raise InvalidValue("; ".join(faults[:_TOLD]) + more)
        return cls(("https", "http") if plain_http else ("https",), tuple(entries))

    def read(self, url: object) -> Target:
        """Return where a URL leads, if it may be called as far as it says; else `InvalidValue`."""
        target = read_target(url)
        if target.scheme not in self.schemes:
            raise InvalidValue(
                f"expected the URL's scheme to be {' or '.join(self.schemes)},"
                f" got {target.scheme} (http is allowed by calls.plain_http)"
            )
        reason = self.why_not_host(target.host) or self._why_not_port(target)
        if reason is None and target.address is not None:
            reason = self.why_not(target.host, target.port, target.address)
        if reason is not None:
            raise InvalidValue(f"expected the URL to lead where calls may go, got {reason}")
        return target

    def why_not_host(self, host: str) -> str | None:
        """Return why a name may not even be asked for, or None."""
        return METADATA if host in METADATA_NAMES else None

    def why_not(self, host: str, port: int, address: Address) -> str | None:
        """Return why the host, which leads to this address, may not be called; or None."""
        if is_metadata(address):
            return f"{METADATA} ({address})"
        if any(
            one.place is not None and one.covers(host, address) and one.opens(port)
            for one in self.exceptions
        ):
            return None
        reason = why_not(address)
        return None if reason is None else f"{reason} ({address})"

    def _why_not_port(self, target: Target) -> str | None:
        if target.port in DEFAULT_PORTS.values():
            return None
        for one in self.exceptions:
            # A name may still lead into a network that opens this port: its address is judged.
            undecided = not isinstance(one.place, str | None) and target.address is None
            if one.opens(target.port) and (undecided or one.covers(target.host, target.address)):
                return None
        return f"the port {target.port}, which is neither 80 nor 443 nor allowed"

    def port_opens(self, host: str, port: int, address: Address) -> bool:
        """Whether the port may be called at the address a name led to."""
        return port in DEFAULT_PORTS.values() or any(
            one.covers(host, address) and one.opens(port) for one in self.exceptions
        )


def shown_url(url: str) -> str:
    """Return a URL as people are shown it: a query is where tokens stand that should not."""
    head, query, _ = url.partition("?")
    return head + ("?…" if query else "")


def read_target(url: object) -> Target:
    """Read a URL by the grammar; raises `InvalidValue` that says what is wrong with it."""
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL:
        raise InvalidValue(f"expected the URL to be a text of 1 to {LONGEST_URL} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidValue(
            "expected the URL to be printable ASCII without spaces; write a name in other letters"
            " as xn--…, and other characters of a path as %…"
        )
    if "\\" in url or "#" in url:
        raise InvalidValue("expected the URL to have no backslash and no fragment (#…)")
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0]
    if "@" in authority:
        raise InvalidValue("expected the URL to have no user or password; use a header")
    found = _URL.match(url)
    if found is None:
        raise InvalidValue(f"expected the URL to be {_SHAPE}, got another shape")
    port = DEFAULT_PORTS[found["scheme"]] if found["port"] is None else int(found["port"])
    if not 1 <= port <= 65_535 or (found["port"] or "1").startswith("0"):
        raise InvalidValue.expected("the URL's port", "from 1 to 65535", found["port"])
    host, address = _host(found["host"])
    path = found["path"] or "/"
    return Target(found["scheme"], host, port, path if path[0] == "/" else f"/{path}", address)


_SHAPE = "http(s)://host[:port]/path"


def _host(text: str) -> tuple[str, Address | None]:
    """Return a host in the one form that it has, and its address where it is one."""
    host = text.lower()
    if host.startswith("["):
        try:
            six = IPv6Address(host[1:-1])
        except ValueError:
            raise InvalidValue.expected("the URL's host", "an IPv6 address", text) from None
        return str(six), six
    if _CANONICAL_V4.match(host):
        try:
            return host, IPv4Address(host)
        except ValueError:
            raise InvalidValue.expected("the URL's host", "an IPv4 address", text) from None
    labels = host.split(".")
    if _NUMERIC.match(labels[-1]):
        raise InvalidValue.expected(
            "the URL's host", "a name, or an address in its usual form", text
        )
    if len(host) > LONGEST_HOST or not all(_LABEL.match(one) for one in labels):
        raise InvalidValue.expected(
            "the URL's host", "a name of letters, digits, hyphens and dots", text
        )
    return host, None


def read_allowed(text: object) -> Allowed:
    """Read one entry: `10.0.0.0/8`, `[fd00::/8]:8080`, `shop.internal:*`, `:8443`."""
    found = _ALLOWED.match(text.strip()) if isinstance(text, str) else None
    if found is None or not found.group():
        raise InvalidValue(f"expected an allowed target to be {_ENTRY}, got {brief(text)}")
    place = found["place"]
    port = None if found["port"] is None else 0 if found["port"] == "*" else int(found["port"])
    if port is not None and (port > 65_535 or (port == 0 and found["port"] != "*")):
        raise InvalidValue.expected("an allowed target's port", "from 1 to 65535, or *", text)
    if not place:
        if port in (None, 0):
            raise InvalidValue(f"expected an allowed target to be {_ENTRY}, got {brief(text)}")
        return Allowed(None, port)
    return Allowed(_place(place, text), port)


_ENTRY = (
    "a network (10.0.0.0/8), an address, or a host (shop.internal), each with :PORT or :* where"
    " it is not 80 or 443; or :PORT alone"
)


def _place(place: str, text: object) -> Network | str:
    bare = place.strip("[]")
    if "/" in bare or ":" in bare or _CANONICAL_V4.match(bare):
        try:
            return ip_network(bare)
        except ValueError as error:
            raise InvalidValue(
                f"expected the allowed network {brief(text)} to be whole: {one_line(error, 100)}"
            ) from None
    host, _ = _host(bare)
    return host
