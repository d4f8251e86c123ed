"""Lines of the audit for what is changed by commands: who typed it, what, why, before and after.

The line is the same as the API's, and stands beside those of it in `GET /api/v1/audit`: `by` is who
`--by` says, no key goes with it, and it is the house's. Without the note nothing is tried, and
no change fails because the line could not be settled.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from duly.app import Duly
from duly.client.noting import Entry, noted, text_of
from duly.core.access import HOUSE, Change


def changing(
    app: Duly,
    action: str,
    subject: object,
    *,
    by: str,
    why: str = "",
    before: object = None,
    asked: object = None,
) -> AbstractAsyncContextManager[Entry]:
    """Note a change that a person typed, and settle it behind; the application's store is open."""
    line = Change(
        id=app.clock.new_id(),
        tenant=HOUSE,
        by=by,
        key=None,
        action=action,
        subject=str(subject),
        why=why,
        before=text_of(before),
        asked=text_of(asked),
    )
    return noted(app.store, line)
