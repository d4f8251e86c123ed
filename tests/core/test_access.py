"""Keys are told by form and checksum; roles and scopes deny whatever they do not allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core import access
from duly.core.access import ApiKey, Caller, Denied, Right, Role
from duly.errors import InvalidValue
from tests.stores.profiles import cases

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECRET = bytes(range(32))


@cases(200)
@given(secret=st.binary(min_size=32, max_size=32), environment=st.sampled_from(["", "prod", "t1"]))
def test_a_key_looks_right_and_no_typo_of_it_does(secret: bytes, environment: str) -> None:
    text = access.make_secret(secret, environment=environment)
    assert access.looks_right(text) and len(text) <= 80
    assert secret.hex() not in access.digest_of(text)
    body = text.rpartition("_")[0]
    for place in range(5, len(body)):
        if text[place] != "_":
            other = "x" if text[place] != "x" else "y"
            assert not access.looks_right(text[:place] + other + text[place + 1 :])
    assert not any(access.looks_right(one) for one in (text[:-1], text + "a", text.upper(), ""))


def test_all_bits_of_the_secret_are_in_the_key() -> None:
    keys = {access.make_secret(bytes(31) + bytes([n])) for n in range(256)}
    keys |= {access.make_secret(bytes([n]) + bytes(31)) for n in range(1, 256)}
    assert len(keys) == 511
    assert access.hint_of(access.make_secret(SECRET, environment="prod")).startswith("duly_prod_")
    assert len(access.hint_of(access.make_secret(SECRET))) == len("duly_") + 5


@pytest.mark.parametrize(
    ("scopes", "room", "name", "allowed"),
    [
        ((), "runs", None, True),
        (("runs",), "runs", None, True),
        (("runs",), "tasks", "t", False),
        (("tasks",), "tasks", "t", True),
        (("tasks:t",), "tasks", "t", True),
        (("tasks:t",), "tasks", "tt", False),
        (("tasks:t",), "tasks", None, False),
        (("tasks:t", "runs"), "runs", None, True),
    ],
)
def test_a_scope_covers_its_room_or_one_thing_of_it(
    scopes: tuple[str, ...], room: str, name: str | None, allowed: bool
) -> None:
    caller = Caller(key=None, name="k", role=Role.ADMIN, scopes=scopes)
    assert (access.denied(caller, Right.READ, room=room, name=name) is None) == allowed


def test_roles_grow_and_the_auditor_stands_beside_them() -> None:
    rights = [access.RIGHTS[role] for role in (Role.VIEWER, Role.OPERATOR, Role.EDITOR, Role.ADMIN)]
    assert all(less < more for less, more in pairwise(rights))
    assert access.RIGHTS[Role.AUDITOR] == {Right.READ, Right.AUDIT}
    viewer = Caller(key=None, name="k", role=Role.VIEWER)
    assert access.denied(viewer, Right.OPERATE, room="runs", name=None) is Denied.ROLE


def test_a_key_opens_nothing_from_its_end_on() -> None:
    def key(**how: object) -> ApiKey:
        return ApiKey(id=access.UUID(int=1), digest="", hint="", name="", role=Role.VIEWER, **how)  # type: ignore[arg-type]

    assert access.standing(key(), NOW) is None
    assert access.standing(key(expires_at=NOW), NOW) is Denied.EXPIRED
    assert access.standing(key(expires_at=NOW + timedelta(seconds=1)), NOW) is None
    assert access.standing(key(revoked_at=NOW), NOW) is Denied.REVOKED


@pytest.mark.parametrize(
    ("check", "given", "told"),
    [
        (access.check_role, "operater", "operator"),
        (access.check_scopes, ("task",), "tasks"),
        (access.check_scopes, ("runs:x",), "schedules or tasks"),
        (access.check_scopes, ("tasks:",), "schedules or tasks"),
        (access.check_tenant, "Not So", "lower-case"),
        (access.check_key_name, " ops", "printable"),
        (access.check_key_name, "", "1 to 100"),
    ],
)
def test_what_cannot_be_said_of_a_key_is_refused(check: object, given: object, told: str) -> None:
    assert callable(check)
    with pytest.raises(InvalidValue, match=told):
        check(given)
    with pytest.raises(InvalidValue, match="environment"):
        access.make_secret(SECRET, environment="Not so")
