"""From settings to channels: the one place that knows every kind of channel.

`make_channels` builds what the settings name, in their order, each with what was agreed for it.
A driver is imported by the kind that needs it; one that is missing is told with its extra. A URL
that stands in the settings is judged here, one that is a secret when it is used. Connects to
nothing, and looks no secret up: that is done right before each notice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from duly.config import ConfiguredChannel, Settings
from duly.config.notify import (
    AppriseSettings,
    EmailSettings,
    SlackSettings,
    WebhookSettings,
)
from duly.core.notices import ChannelPlan
from duly.errors import ConfigError, InvalidValue
from duly.outbound.base import Channel, Unsendable
from duly.outbound.secrets import Secrets

CALL_DEADLINE_S = 15.0
MAIL_TALK_S, MAIL_ANSWER_S = 10.0, 20.0
PREFIX = "secret:"


def make_channels(
    settings: Settings, *, secrets: Secrets, now: Callable[[], datetime]
) -> list[tuple[ChannelPlan, Channel]]:
    """Return every channel of the settings with its plan.

    Raises `UsageError` when an extra is not installed, `ConfigError` for a URL that may not be
    called.
    """
    return [
        (one.plan, make_channel(one, settings, secrets=secrets, now=now))
        for one in settings.notify.channels
    ]


def make_channel(
    one: ConfiguredChannel,
    settings: Settings,
    *,
    secrets: Secrets,
    now: Callable[[], datetime],
) -> Channel:
    """Return one channel; raises what `make_channels` does."""
    made = _Making(one.plan.name, settings, secrets, now)
    match one.way:
        case EmailSettings():
            return made.email(one.way)
        case SlackSettings():
            return made.slack(one.way)
        case WebhookSettings():
            return made.webhook(one.way)
        case AppriseSettings():
            return made.apprise(one.way)


class _Making:
    """Makes the channel of a name."""

    def __init__(
        self, name: str, settings: Settings, secrets: Secrets, now: Callable[[], datetime]
    ) -> None:
        self._name, self._settings, self._secrets, self._now = name, settings, secrets, now

    def email(self, way: EmailSettings) -> Channel:
        from duly.outbound.channels.mailing import Email
        from duly.outbound.mail import Mail

        def connect() -> Mail:
            password = None if way.password is None else self._resolved(way.password)
            return Mail(
                way.host,
                way.port,
                user=way.user,
                password=password,
                tls=way.tls,
                timeout_s=MAIL_TALK_S,
                answer_s=MAIL_ANSWER_S,
            )

        return Email(self._name, connect, sender=way.sender, sender_name=way.sender_name, to=way.to)

    def slack(self, way: SlackSettings) -> Channel:
        from duly.outbound.channels.slack import Slack
        from duly.outbound.guarded import Guard
        from duly.outbound.http import Http

        http = Http(guard=Guard(self._settings.calls.rules), deadline_s=CALL_DEADLINE_S)
        return Slack(self._name, http, url=lambda: self._url(way.url))

    def webhook(self, way: WebhookSettings) -> Channel:
        from duly.outbound.channels.webhook import Webhook
        from duly.outbound.guarded import Guard
        from duly.outbound.http import Http

        if not way.url.startswith(PREFIX):
            try:
                self._url(way.url)
            except InvalidValue as error:
                raise ConfigError(f"notify.channels.{self._name}.url: {error}") from None
        return Webhook(
            self._name,
            Http(guard=Guard(self._settings.calls.rules), deadline_s=CALL_DEADLINE_S),
            url=lambda: self._url(way.url),
            secrets=lambda: [self._resolved(one) for one in way.sign],
            now=self._now,
        )

    def apprise(self, way: AppriseSettings) -> Channel:
        from duly.outbound.channels.apprising import Apprise

        return Apprise(self._name, urls=lambda: [self._resolved(one) for one in way.urls])

    def _resolved(self, text: str) -> str:
        """Return a text, or what it names as `secret:NAME`."""
        named = text.startswith(PREFIX)
        return self._secrets.look_up(text.removeprefix(PREFIX)) if named else text

    def _url(self, text: str) -> str:
        """Return a URL that may be called, as far as it says; a secret one is never shown."""
        url = self._resolved(text).strip()
        try:
            self._settings.calls.rules.read(url)
        except InvalidValue:
            if not text.startswith(PREFIX):
                raise
            told = "a URL that may be called (https, or what calls.allow names)"
            raise Unsendable(f"expected {text} to be {told}") from None
        return url
