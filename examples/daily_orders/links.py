"""Links by which people fetch a day's CSV: signed, so that knowing one day opens no other.

A link is good for one day and says nothing but its name. Signatures are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from examples.daily_orders.settings import Settings


def signature(secret: str, day: str) -> str:
    """Return what proves that a link to this day came from us."""
    return hmac.new(secret.encode(), day.encode(), hashlib.sha256).hexdigest()


def link_to(settings: Settings, day: str) -> str:
    """Return the address of a day's CSV."""
    return (
        f"{settings.link_base}/days/{quote(day)}/orders.csv?sig={signature(settings.secret, day)}"
    )


def allowed(secret: str, day: str, given: str) -> bool:
    """Whether a signature is the one of this day."""
    return hmac.compare_digest(signature(secret, day).encode(), given.encode())
