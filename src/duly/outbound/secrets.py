"""Looks secrets up by name, right before they are sent: in the environment, else in a folder.

`secret:REPORTS` is the variable `DULY_SECRET_REPORTS`, else the file `REPORTS` in the folder that
`calls.secrets` names; one line break at a file's end is not part of the secret. Each look reads
anew, so that a secret that was replaced holds at once.

Never keeps a value, and never says one: neither in a message nor in `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from duly.outbound.base import Unsendable

PREFIX = "DULY_SECRET_"
LARGEST = 64 * 1024


class Secrets:
    """Secrets by name. `folder` may be missing."""

    def __init__(self, env: Mapping[str, str], folder: Path | None = None) -> None:
        self._env, self._folder = env, folder

    def __repr__(self) -> str:
        return "<Secrets>"

    def look_up(self, name: str) -> str:
        """Return the secret of a name; raises `Unsendable`, which says where it was looked for."""
        value = self._env.get(PREFIX + name) or self._filed(name)
        if value:
            return value
        place = "" if self._folder is None else f", or a file {name} in {self._folder}"
        raise Unsendable(f"expected the secret {name} to be set: {PREFIX}{name}{place}")

    def _filed(self, name: str) -> str:
        if self._folder is None:
            return ""
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError:
            return ""
        if len(data) > LARGEST:
            raise Unsendable(f"expected the secret {name} to have at most {LARGEST:,} bytes")
        return data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
