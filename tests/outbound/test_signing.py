"""A webhook is signed as Standard Webhooks 1.0.0 says; a forged, late or foreign one is refused.

The vector is the one that the libraries of the standard share.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from duly.errors import InvalidValue
from duly.outbound.http import Http
from duly.outbound.signing import Forged, Secret, message_id, sign, signer, verify
from tests.outbound.peers import HOST, Effect, Http1, served
from tests.outbound.test_http import answering

TEXT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = Secret.of(TEXT)
OTHER = Secret(b"o" * 24)
MESSAGE, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
NOW = datetime.fromtimestamp(1614265330, UTC)
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_standard_holds() -> None:
    headers = sign([SECRET], MESSAGE, BODY, now=NOW)
    assert headers == {
        "webhook-id": MESSAGE,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }
    assert verify(headers, BODY, [SECRET], now=NOW) == MESSAGE
    shouting = {name.upper(): value for name, value in headers.items()}
    assert verify(shouting, BODY, [SECRET], now=NOW) == MESSAGE


def given(**changed: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    return sign([SECRET], MESSAGE, BODY, now=NOW) | named


FORGED: list[tuple[dict[str, str], bytes, timedelta, str]] = [
    (given(), BODY + b" ", timedelta(0), "no signature"),
    (given(), b"", timedelta(0), "no signature"),
    (given(webhook_id="msg_other"), BODY, timedelta(0), "no signature"),
    (given(webhook_timestamp="1614265331"), BODY, timedelta(0), "no signature"),
    (given(webhook_signature="v1,AAAA"), BODY, timedelta(0), "no signature"),
    (given(webhook_signature=SIGNATURE[3:]), BODY, timedelta(0), "no signature"),
    (given(webhook_signature=SIGNATURE.replace("v1,", "v2,")), BODY, timedelta(0), "no signature"),
    (given(webhook_signature="v1a,c2ln"), BODY, timedelta(0), "no signature"),
    (given(webhook_signature="é"), BODY, timedelta(0), "no signature"),
    (given(webhook_signature=" ".join(["v1,x"] * 40 + [SIGNATURE])), BODY, timedelta(0), "no sig"),
    (given(webhook_signature=""), BODY, timedelta(0), "webhook-signature"),
    (given(webhook_id=""), BODY, timedelta(0), "webhook-id"),
    (given(webhook_id="a.b"), BODY, timedelta(0), "without a dot"),
    (given(webhook_timestamp="soon"), BODY, timedelta(0), "in seconds"),
    (given(webhook_timestamp="-1"), BODY, timedelta(0), "in seconds"),
    (given(webhook_timestamp="9" * 30), BODY, timedelta(0), "in seconds"),
    (given(), BODY, timedelta(minutes=5, seconds=1), "too old"),
    (given(), BODY, -timedelta(minutes=5, seconds=1), "from the future"),
]


@pytest.mark.parametrize(("headers", "body", "later", "words"), FORGED)
def test_a_tampered_or_late_message_is_refused(
    headers: dict[str, str], body: bytes, later: timedelta, words: str
) -> None:
    with pytest.raises(Forged) as told:
        verify(headers, body, [SECRET], now=NOW + later)
    assert words in str(told.value)
    assert SIGNATURE[3:] not in str(told.value) and TEXT[6:] not in str(told.value)


ROTATED: list[tuple[list[Secret], list[Secret], bool]] = [
    ([SECRET], [SECRET], True),
    ([SECRET, OTHER], [SECRET], True),
    ([OTHER, SECRET], [SECRET], True),
    ([SECRET], [OTHER, SECRET], True),
    ([OTHER], [SECRET], False),
    ([SECRET], [], False),
]


@pytest.mark.parametrize(("signing", "knowing", "holds"), ROTATED)
def test_a_secret_is_replaced_while_both_hold(
    signing: list[Secret], knowing: list[Secret], holds: bool
) -> None:
    headers = sign(signing, MESSAGE, BODY, now=NOW)
    assert headers["webhook-signature"].count("v1,") == len(signing)
    for later in (timedelta(0), timedelta(minutes=5), -timedelta(minutes=5)):
        try:
            verify(headers, BODY, knowing, now=NOW + later)
            held = True
        except Forged:
            held = False
        assert held is holds


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_!!!", "whsec_" + base64.b64encode(b"x" * 23).decode(),
     "whsec_" + base64.b64encode(b"x" * 65).decode(), "ü"],
)  # fmt: skip
def test_a_weak_or_broken_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidValue) as told:
        Secret.of(text)
    assert len(text) < 8 or text[6:] not in str(told.value)
    assert "MfKQ" not in repr(SECRET)


def test_an_id_has_no_dot_and_no_space_and_is_stable() -> None:
    assert message_id("bill-42") == "bill-42"
    odd = ["bill.42", "mail orders 1", "ü", "x" * 201, ""]
    assert len({message_id(key) for key in odd}) == len(odd)
    for key in odd:
        assert message_id(key) == message_id(key) and "." not in message_id(key)
        sign([SECRET], message_id(key), b"", now=NOW)
    with pytest.raises(InvalidValue):
        sign([SECRET], "a.b", b"", now=NOW)
    with pytest.raises(InvalidValue):
        sign([], MESSAGE, b"", now=NOW)


async def test_each_retry_has_the_same_id_and_a_signature_that_holds() -> None:
    peer, clock = Http1(answering()), iter([NOW, NOW + timedelta(minutes=30)])
    async with served(peer):
        made = signer([SECRET], now=lambda: next(clock))
        for _ in range(2):
            url = f"http://{HOST}:{peer.port}/"
            await Http().send(Effect("bill.42"), "POST", url, body=BODY, sign=made)
    first, second = peer.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert verify(first.headers, first.body, [SECRET], now=NOW)
    assert verify(second.headers, second.body, [SECRET], now=NOW + timedelta(minutes=30))
