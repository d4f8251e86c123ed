"""Signs and verifies webhooks by Standard Webhooks 1.0.0, with HMAC-SHA256 (`v1`).

What is signed is `id.timestamp.body`: the same id goes with every retry of one message, and a new
timestamp with each. Several secrets make several signatures, so that a secret can be replaced
while both sides still know the old one. A secret has 24 bytes at least, written `whsec_` and
base64. Verifying takes the same time whichever signature is wrong, and refuses what is older, or
newer, than five minutes.

Never keeps a secret where `repr` shows it. The asymmetric signatures of the standard (`v1a`) are
not made, and passed over when they come.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from duly.errors import InvalidValue, Refused

__all__ = ["Forged", "Secret", "message_id", "sign", "signer", "verify"]

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
WINDOW = timedelta(minutes=5)
MOST_SIGNATURES = 32

Signer = Callable[[str, bytes], Mapping[str, str]]
"""Returns the headers of a message, from its key and its body."""

_ID = re.compile(r"[!-\-/-~]{1,200}\Z")  # printable, without a dot
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")


class Forged(Refused):
    """A webhook's signature does not hold; the message says what is wrong, and no more."""


class Secret:
    """The shared secret of one endpoint. Shows nothing of itself."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if not LEAST_BYTES <= len(key) <= MOST_BYTES:
            raise InvalidValue(
                f"expected a webhook's secret to have {LEAST_BYTES} to {MOST_BYTES} bytes,"
                f" got {len(key)}"
            )
        self._key = key

    @classmethod
    def of(cls, text: str) -> Secret:
        """Read `whsec_` and base64; raises `InvalidValue`, which does not show the secret."""
        try:
            key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidValue(
                f"expected a webhook's secret to be {PREFIX} and base64, got something else"
            ) from None
        return cls(key)

    def __repr__(self) -> str:
        return "<webhook secret>"

    def signature(self, message: str, timestamp: int, body: bytes) -> str:
        """Return `v1,` and the signature of `id.timestamp.body`, in base64."""
        content = f"{message}.{timestamp}.".encode() + body
        digest = hmac.new(self._key, content, hashlib.sha256).digest()
        return "v1," + base64.b64encode(digest).decode()


def message_id(key: str) -> str:
    """Return the id of a message from an idempotency key: itself, or its hash if it cannot be."""
    return key if _ID.match(key) else "sha256-" + hashlib.sha256(key.encode()).hexdigest()


def sign(secrets: Sequence[Secret], message: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """Return the three headers of a message: its id, the timestamp, a signature per secret."""
    if not secrets:
        raise InvalidValue("expected at least one secret to sign with")
    if not _ID.match(message):
        raise InvalidValue.expected(
            "a webhook's id", "1 to 200 printable characters without a dot", message
        )
    timestamp = int(now.timestamp())
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(one.signature(message, timestamp, body) for one in secrets),
    }


def signer(secrets: Sequence[Secret], *, now: Callable[[], datetime]) -> Signer:
    """Return what signs requests; their id is made from the key, the same for every retry."""

    def headers(key: str, body: bytes) -> Mapping[str, str]:
        return sign(secrets, message_id(key), body, now=now())

    return headers


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Iterable[Secret], *, now: datetime
) -> str:
    """Return the id of a message that one of the secrets signed; raises `Forged` for any other.

    Whoever acts on messages keeps the ids it acted on: one that is sent again has the same.
    """
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in _NEEDED if not given.get(name)]
    if missing:
        raise Forged(f"expected the header {missing[0]}")
    message, stamp, signatures = (given[name] for name in _NEEDED)
    if not _ID.match(message) or not _TIMESTAMP.match(stamp):
        raise Forged("expected webhook-id without a dot, and webhook-timestamp in seconds")
    age = now.timestamp() - int(stamp)
    if abs(age) > WINDOW.total_seconds():
        raise Forged(f"the message is {'too old' if age > 0 else 'from the future'}")
    offered = [one.encode() for one in signatures.split(" ")[:MOST_SIGNATURES]]
    right = [one.signature(message, int(stamp), body).encode() for one in secrets]
    # Each pair is compared, whatever came before: the time tells nothing.
    held = [hmac.compare_digest(wanted, came) for wanted in right for came in offered]
    if not any(held):
        raise Forged("no signature of the message holds")
    return message


_NEEDED = ("webhook-id", "webhook-timestamp", "webhook-signature")
