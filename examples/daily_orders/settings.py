"""What a deployment decides: read once from the environment, checked at the start.

Every instance must be given the same `ORDERS_SECRET`: it signs the links in the mails and opens
the door for the platform's own cron job. There is no default for it on purpose. Nothing here is
ever printed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

from duly.outbound.mail import Tls


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The environment of one instance. `attach_bytes`: a larger CSV is mailed as a link."""

    database: str  # a path of an SQLite file, or postgresql://
    smtp_host: str
    smtp_port: int
    smtp_tls: Tls
    mail_from: str
    mail_to: str
    link_base: str
    secret: str
    attach_bytes: int


def read_settings() -> Settings:
    """Read `ORDERS_…`; raises `SystemExit` with a sentence when the secret is missing."""
    env = os.environ
    secret = env.get("ORDERS_SECRET", "")
    if len(secret) < 16:
        raise SystemExit("expected ORDERS_SECRET to be at least 16 characters, for links and calls")
    return Settings(
        database=env.get("ORDERS_DB", "shop.db"),
        smtp_host=env.get("ORDERS_SMTP_HOST", "localhost"),
        smtp_port=int(env.get("ORDERS_SMTP_PORT", "587")),
        smtp_tls=cast(Tls, env.get("ORDERS_SMTP_TLS", "starttls")),
        mail_from=env.get("ORDERS_MAIL_FROM", "shop@example.com"),
        mail_to=env.get("ORDERS_MAIL_TO", "orders-department@example.com"),
        link_base=env.get("ORDERS_LINK_BASE", "http://localhost:8000"),
        secret=secret,
        attach_bytes=int(env.get("ORDERS_ATTACH_BYTES", str(5 * 2**20))),
    )
