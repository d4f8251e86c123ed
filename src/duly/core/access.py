"""Who may do what through the API: keys, roles, rights, scopes, tenants, and the audit's records.

A key is a text that is shown once: `duly_<env>_<random>_<checksum>`, the middle part optional. It
carries 256 random bits; its checksum lets a scanner, or a mistyped key, be told without asking the
store. What is kept is its SHA-256: a copy of the database holds no key that opens anything.

Everything is denied that is not allowed here. Roles are sets of rights; scopes narrow a key to
rooms of the API, or to one thing in a room; a tenant sees its own rows only. Pure: randomness and
`now` are arguments, and nothing here compares secrets (the store looks a key up by its hash).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from duly.errors import InvalidValue, nearest

SECRET_BYTES = 32
HOUSE = "default"
"""The tenant of whoever runs the house: its keys are for all tenants, and for the fleet."""

USED_EVERY_S = 60
"""The last use of a key is written at most this often."""

MOST_SCOPES = 50
LONGEST_NAME = 100
LONGEST_KEPT = 16_384
"""Characters of what a change found, or left behind, that the audit keeps."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECK = 43, 6  # characters that hold 256 and 32 bits
_KEY = re.compile(
    rf"(duly_(?:[a-z0-9]{{1,16}}_)?[0-9A-Za-z]{{{_RANDOM}}})_([0-9A-Za-z]{{{_CHECK}}})\Z", re.ASCII
)
_ENVIRONMENT = re.compile(r"[a-z0-9]{1,16}\Z", re.ASCII)
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z", re.ASCII)


class Right(StrEnum):
    """What a route asks of whoever calls it."""

    READ = "read"  # look
    OPERATE = "operate"  # ask for runs, stop them, hold schedules back, settle effects
    EDIT = "edit"  # make, change and retire schedules
    ADMINISTER = "administer"  # make and revoke keys
    AUDIT = "audit"  # read who changed what


class Role(StrEnum):
    """What a key may do. The first four grow; the auditor stands beside them."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    EDITOR = "editor"
    ADMIN = "admin"
    AUDITOR = "auditor"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.READ}),
    Role.OPERATOR: frozenset({Right.READ, Right.OPERATE}),
    Role.EDITOR: frozenset({Right.READ, Right.OPERATE, Right.EDIT}),
    Role.ADMIN: frozenset(Right),
    Role.AUDITOR: frozenset({Right.READ, Right.AUDIT}),
}

ROOMS = frozenset(
    "audit breakers effects events incidents instances keys metrics queues runs schedules tasks"
    " timers why".split()
)
"""The rooms of the API: the first word of a route's path."""

NARROWED = frozenset({"schedules", "tasks", "timers"})
"""Rooms whose routes name the thing in their path, so that a scope can name one."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept. A revoked or expired one stays, so that the audit can be read."""

    id: UUID
    digest: str  # SHA-256 of the text, in hexadecimal
    hint: str  # how it begins, for people who look for it
    name: str
    role: Role
    tenant: str = HOUSE
    scopes: tuple[str, ...] = ()
    made_at: datetime | None = None
    made_by: str = ""
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    revoked_why: str = ""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, as far as rights go."""

    key: UUID | None  # None: the token of the configuration
    name: str
    role: Role
    tenant: str = HOUSE
    scopes: tuple[str, ...] = ()

    @property
    def by(self) -> str:
        """The name that records of this caller's acts bear."""
        return f"key {self.name}" + (f" ({str(self.key)[-12:]})" if self.key else "")


class Denied(StrEnum):
    """Why a key opens nothing, or not this."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    ROLE = "role"
    SCOPE = "scope"
    TENANT = "tenant"  # of what belongs to the house, and to all of it


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit: who wanted what, when and why, what was there, what came of it.

    It is written before the change is tried; `outcome` and `after` are added once, behind it. A
    change without an outcome may have happened or not: whoever tried it died, or lost the store.
    """

    id: UUID
    tenant: str
    by: str
    key: UUID | None
    action: str  # such as "schedules.pause"
    subject: str
    why: str = ""
    before: str = "null"  # JSON
    asked: str = "null"  # JSON
    at: datetime | None = None
    outcome: str | None = None
    after: str | None = None  # JSON
    settled_at: datetime | None = None


class ChangeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of the audit: newest first, older than `before` if given, `limit` at most."""

    tenant: str = HOUSE
    subject: str | None = None
    by: str | None = None
    before: UUID | None = None
    limit: int = 50


# --- keys -------------------------------------------------------------------------------------


def make_secret(secret: bytes, *, environment: str = "") -> str:
    """Return the text of a key from at least 32 random bytes; raises `InvalidValue`."""
    assert len(secret) >= SECRET_BYTES, "a key has at least 256 random bits"
    if environment and not _ENVIRONMENT.match(environment):
        raise InvalidValue.expected(
            "the environment of a key", "1 to 16 lower-case letters and digits", environment
        )
    middle = f"{environment}_" if environment else ""
    body = f"duly_{middle}{_digits(int.from_bytes(secret[:SECRET_BYTES], 'big'), _RANDOM)}"
    return f"{body}_{_checksum(body)}"


def looks_right(text: str) -> bool:
    """Whether a text is a key by its form and checksum; says nothing about whether one exists."""
    found = _KEY.match(text)
    return found is not None and _checksum(found[1]) == found[2]


def digest_of(text: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def hint_of(text: str) -> str:
    """Return how a key begins: enough to recognise it by, and 232 bits short of it."""
    head, _, rest = text[: -_CHECK - 1].rpartition("_")
    return f"{head}_{rest[:4]}…"


def _digits(number: int, width: int) -> str:
    text = ""
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), _CHECK)


# --- what may be said of a key ------------------------------------------------------------------


def check_key_name(name: str) -> str:
    """Return the name of a key, or raise `InvalidValue`."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise InvalidValue.expected(
            "the name of a key", f"1 to {LONGEST_NAME} printable characters", name
        )
    return name


def check_tenant(tenant: str) -> str:
    """Return the name of a tenant, or raise `InvalidValue`."""
    if not _TENANT.match(tenant):
        raise InvalidValue.expected(
            "a tenant",
            "1 to 63 lower-case letters, digits and _ -, a letter or digit first",
            tenant,
        )
    return tenant


def on_rows(tenant: str) -> str:
    """Return a tenant as its rows bear it, or raise `InvalidValue`; rows of the house bear none."""
    return "" if check_tenant(tenant) == HOUSE else tenant


def check_role(role: str) -> Role:
    """Return a role by its name, or raise `InvalidValue` with the nearest."""
    try:
        return Role(role)
    except ValueError:
        names = [one.value for one in Role]
        expected = InvalidValue.expected("the role", f"one of {', '.join(names)}", role)
        raise InvalidValue(f"{expected}{nearest(role, names)}") from None


def check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return scopes without doubles, in order; raises `InvalidValue`."""
    if len(scopes) > MOST_SCOPES:
        raise InvalidValue.expected("the scopes of a key", f"{MOST_SCOPES} at most", len(scopes))
    for one in scopes:
        room, narrowed, name = one.partition(":")
        if room not in ROOMS:
            expected = InvalidValue.expected("a scope", "a room of the API, or ROOM:NAME", one)
            raise InvalidValue(f"{expected}{nearest(room, ROOMS)}")
        if narrowed and (room not in NARROWED or not name):
            rooms = " or ".join(sorted(NARROWED))
            raise InvalidValue.expected("a scope with a name", f"of {rooms}", one)
    return tuple(sorted(set(scopes)))


# --- who may what -----------------------------------------------------------------------------


def standing(key: ApiKey, now: datetime) -> Denied | None:
    """Return why a key opens nothing any more, or None."""
    if key.revoked_at is not None:
        return Denied.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return Denied.EXPIRED
    return None


def due_for_use(key: ApiKey, now: datetime) -> bool:
    """Whether the use of a key is to be written down again."""
    return key.used_at is None or (now - key.used_at).total_seconds() >= USED_EVERY_S


def denied(caller: Caller, right: Right, *, room: str, name: str | None) -> Denied | None:
    """Return why a caller may not use a route, or None when it may.

    `name` is the thing that the route's path names, for the rooms in `NARROWED`.
    """
    if right not in RIGHTS[caller.role]:
        return Denied.ROLE
    if caller.scopes and not any(_covers(one, room, name) for one in caller.scopes):
        return Denied.SCOPE
    return None


def owns(caller: Caller, tenant: str) -> bool:
    """Whether keys and lines of the audit of a tenant are the caller's own."""
    return caller.tenant == tenant


def reach(caller: Caller) -> str | None:
    """Return the tenant whose rows a caller sees; None for all rows, which the house's keys do.

    Such a caller's new rows bear that tenant; those of the house bear none.
    """
    return None if caller.tenant == HOUSE else caller.tenant


def scoped(key: str | None, tenant: str) -> str | None:
    """Return the key of a run as the store has it: nobody joins the run of another's key.

    What parts the two is printable in no key that anybody may give.
    """
    return key if key is None or not tenant else f"{tenant}\x1f{key}"


def unscoped(key: str | None, tenant: str) -> str | None:
    """Return the key of a run as its tenant gave it."""
    return key if key is None or not tenant else key.removeprefix(f"{tenant}\x1f")


def _covers(scope: str, room: str, name: str | None) -> bool:
    wanted, narrowed, only = scope.partition(":")
    return wanted == room and (not narrowed or only == name)


def caller_of(key: ApiKey) -> Caller:
    """Return who calls with a key."""
    return Caller(key=key.id, name=key.name, role=key.role, tenant=key.tenant, scopes=key.scopes)


def may_grant(caller: Caller, *, tenant: str) -> bool:
    """Whether a caller may make keys of a tenant: its own only, and not from a narrowed key."""
    return owns(caller, tenant) and not caller.scopes


def kept(document: str) -> str:
    """Return a JSON text as the audit keeps it: whole, or a word on its length."""
    if len(document) <= LONGEST_KEPT:
        return document
    return f'"{len(document)} characters, too long to be kept"'
