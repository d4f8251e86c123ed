"""Targets at the gate: whoever was called shows the token that went along with the call.

A token opens the two routes of its own run and nothing else. It is compared by its hash, in
constant time, and a wrong token, a wrong run and a run that awaits no word look the same from
outside. Who fails often is answered later: by run first, so that one caller's mistakes do not
keep others of the same address out, then by address. Nothing here reads a body.
"""

from __future__ import annotations

import re
from uuid import UUID

from starlette.types import Scope

from duly.server.api import bounds
from duly.server.api.allowance import Allowance
from duly.server.api.ports import Ground
from duly.server.api.problems import Problems, impatient

PREFIX = "/api/v1/calls/"
MOST_SAID = 16_384
"""Bytes of what a target says."""

HEADER = "Duly-Completion-Token"
_TOKEN = re.compile(r"[0-9a-f]{64}\Z")
_CHALLENGE = {"WWW-Authenticate": f'{HEADER} realm="duly"'}


class Targets:
    """Lets targets pass, or raises `Problems`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._by_run = Allowance()
        self._by_host = Allowance(at_once=240, per_minute=240)

    async def admit(self, scope: Scope, path: str) -> None:
        """Return when the token is that of the run which the path names."""
        host = (scope.get("client") or ("unknown", 0))[0]
        text = path.removeprefix(PREFIX).partition("/")[0][:36]
        now_s = self._ground.clock.monotonic()
        callers = ((self._by_run, f"{host} {text}"), (self._by_host, host))
        for allowance, who in callers:
            wait_s = allowance.spent(who, now_s)
            if wait_s:
                raise impatient(wait_s)
        if await self._known(text, bounds.header(scope, HEADER.lower().encode())):
            return
        for allowance, who in callers:
            allowance.failed(who, now_s)
        said = f"expected {HEADER}: the token that went along with the call"
        raise Problems(401, "unauthenticated", said, headers=_CHALLENGE)

    async def _known(self, text: str, token: str) -> bool:
        if not _TOKEN.match(token):
            return False
        try:
            run = UUID(text)
        except ValueError:
            return False
        return await self._ground.client().knows_call(run, token)
