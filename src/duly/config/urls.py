"""What the URL of a store means, and how it is shown without its secrets.

`sqlite:///duly.db` is a file relative to the working directory, `sqlite:////var/lib/duly.db` an
absolute one, `postgresql://user@host/database` (or `postgres://`) a server, `memory://` the model
that forgets everything at exit. What cannot be right is refused with `ConfigError`, and no
message ever shows a password. Nothing here looks whether the place exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from duly.errors import ConfigError, brief, nearest, one_line

HIDDEN = "***"
LONGEST_URL = 2_000
SHOWN = 200
"""Characters of a URL that a refusal shows."""

_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
# Greedy up to the last @: a password with an unescaped @ or / is hidden as a whole.
_USERINFO = re.compile(r"^([^:/?#]*://)([^:@/]*)(:.*)?@", re.DOTALL)
# A name ends at ? too, so that a text of many is read once and not once for each.
_PARAMETER = re.compile(r"([?&][^=&?]*=)[^&]*")
_SECRET_NAME = re.compile(r"(?i)password|secret|token")
_SHAPES = "sqlite:///duly.db, postgresql://user@host/database or memory://"
_NOT_YET = {"mysql": "MySQL", "mariadb": "MariaDB", "mongodb": "MongoDB"}


class StoreKind(StrEnum):
    """The databases Duly runs on."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"
    MEMORY = "memory"


_KINDS = {
    "sqlite": StoreKind.SQLITE,
    "postgresql": StoreKind.POSTGRES,
    "postgres": StoreKind.POSTGRES,
    "memory": StoreKind.MEMORY,
}


@dataclass(frozen=True)
class StoreUrl:
    """A store's URL, understood.

    `url` is the text as given, with its secrets, for the driver alone; `shown` is for people.
    `path` is there for SQLite only, `user` to `database` for PostgreSQL only, where the URL
    names them. Of several hosts with commas, `host` is the whole list and `port` is None.
    """

    kind: StoreKind
    shown: str
    url: str = field(repr=False)
    path: str | None = None
    user: str | None = None
    host: str | None = None
    port: int | None = None
    database: str | None = None


def parse_store_url(url: str, *, what: str = "store.url") -> StoreUrl:
    """Read a store's URL; `what` names the setting in the message of a refusal.

    Raises `ConfigError` for another shape, an unknown scheme (with the nearest known one), and
    for databases that are not supported yet.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme:
        # The text is not shown: what is no URL may well be a bare password.
        raise ConfigError(f"expected {what} to be a URL such as {_SHAPES}, got a text without ://")
    if len(url) > LONGEST_URL:
        raise ConfigError(f"expected {what} to be at most {LONGEST_URL:,} characters long")
    shown = mask_url(url)
    if _CONTROL.search(url):
        raise _expected(what, "free of spaces and control characters (write them as %20)", shown)
    kind = _kind_of(scheme.lower()[:40], what)
    if kind is StoreKind.MEMORY:
        if rest.strip("/"):
            raise _expected(what, "memory:// with nothing behind it", shown)
        return StoreUrl(kind, shown, url)
    try:
        parts = urlsplit(url)
        host, port = _place(parts)
    except ValueError:
        raise _expected(what, "a URL with a valid host and port", shown) from None
    if kind is StoreKind.SQLITE:
        return StoreUrl(kind, shown, url, path=_sqlite_path(parts, what, shown))
    return StoreUrl(
        kind,
        shown,
        url,
        user=unquote(parts.username) if parts.username else None,
        host=host,
        port=port,
        database=_database(parts, what, shown),
    )


def mask_url(url: str) -> str:
    """Return the URL with its password, and secrets among its parameters, as `***`."""
    bare = _USERINFO.sub(lambda m: f"{m[1]}{m[2]}{':' + HIDDEN if m[3] else ''}@", url)
    return _PARAMETER.sub(lambda m: m[1] + HIDDEN if _SECRET_NAME.search(m[1]) else m[0], bare)


def _kind_of(scheme: str, what: str) -> StoreKind:
    if kind := _KINDS.get(scheme):
        return kind
    family = scheme.partition("+")[0]
    if name := _NOT_YET.get(family):
        raise ConfigError(
            f"expected {what} to be {_SHAPES}, got {scheme!r}: {name} is not supported yet"
        )
    if family in _KINDS:
        raise ConfigError(
            f"expected {what} to begin with {family}://, got {scheme!r}: Duly picks the driver"
        )
    hint = nearest(scheme, _KINDS)
    raise ConfigError(f"expected {what} to be {_SHAPES}, got the scheme {scheme!r}{hint}")


def _place(parts: SplitResult) -> tuple[str | None, int | None]:
    places = parts.netloc.rpartition("@")[2]
    return (places, None) if "," in places else (parts.hostname, parts.port)


def _sqlite_path(parts: SplitResult, what: str, shown: str) -> str:
    if parts.netloc:
        # What stands before an @ may be a password, and would not be hidden behind three slashes.
        three = "" if "@" in shown else f" (sqlite:///{one_line(parts.netloc + parts.path)})"
        raise _expected(what, f"three slashes and a relative path{three}", shown)
    if parts.query or parts.fragment:
        raise _expected(what, "a file's path without ? and # (write them as %3F and %23)", shown)
    path = unquote(parts.path.removeprefix("/"))
    if path == ":memory:":
        raise _expected(what, "a file, or memory:// to keep nothing", shown)
    if not path or path.endswith("/") or "\0" in path:
        raise _expected(what, "sqlite:/// followed by a file's path", shown)
    return path


def _database(parts: SplitResult, what: str, shown: str) -> str:
    given = dict(parse_qsl(parts.query))
    name = unquote(parts.path.removeprefix("/")) or given.get("dbname") or given.get("database")
    if not name or parts.fragment:
        raise _expected(what, "postgresql://user@host/database, with a database", shown)
    return name


def _expected(what: str, to_be: str, shown: str) -> ConfigError:
    return ConfigError(f"expected {what} to be {to_be}, got {brief(shown, SHOWN)}")
