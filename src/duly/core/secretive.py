"""Where secrets may stand in a call, and where they may not: judged by names and forms alone.

A header whose name says that it carries a secret must name one, as `secret:NAME`: written out it
would stand in the store. Anywhere else a reference would be sent as it is written, and the other
side would get its name; so it is refused there.

Guarantees nothing about what does not look like a secret: a value under a harmless name is kept and
shown. Pure: no secret is ever looked up here.
"""

from __future__ import annotations

import re

from duly.errors import InvalidValue

_REFERENCE = re.compile(r"secret:[A-Z][A-Z0-9_]*\b")

_SECRET_WORD = re.compile(
    r"(?:.*(?:tokens?|secrets?|passwords?|passwd|credentials?|apikey|accesskey|authkey)|key"
    r"|authorization|cookie)\Z"
)
_PLAIN_KEYS = frozenset(
    {"cache", "dedup", "deduplication", "group", "idempotency", "message", "object", "ordering",
     "partition", "public", "request", "routing", "sort", "surrogate"}
)  # fmt: skip
"""Words before `key` that make it the name of a thing, and no secret."""

_ABOUT = frozenset({"count", "expires", "expiry", "id", "name", "type", "version"})
"""Words after which a header tells of a secret, and does not carry it: `X-Key-Id`."""

_COUNTED = frozenset({"max", "min"})
"""Words before tokens that are counted: `X-Max-Tokens`."""


def is_secretive(header: str) -> bool:
    """Whether a header carries a secret, going by its name."""
    words = re.split(r"[^a-z0-9]+", header.lower())
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        named = word == "key" and before in _PLAIN_KEYS
        counted = word == "tokens" and before in _COUNTED
        if _SECRET_WORD.match(word) and not (named or counted or after in _ABOUT):
            return True
    return False


def refuse_reference(what: str, text: str) -> None:
    """Raise `InvalidValue` where a text refers to a secret that nobody would look up."""
    found = _REFERENCE.search(text)
    if found is not None:
        raise InvalidValue(
            f"expected {what} to name no secret, got {found[0]}: a secret is looked up in headers"
            " and in sign, and would be sent as it is written here"
        )
