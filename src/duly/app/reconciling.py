"""Reconciling with consequences: rows that nobody dealt with are an incident until they are.

The comparison is `duly.pipeline.reconcile`, one statement in the user's own database; what is told
is told in Duly's store. A task on a schedule does it: what is missing opens `rows.missing` for the
table, and the first look that finds nothing missing closes it. It never mends anything by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duly.core.fleet import Incident
from duly.errors import one_line
from duly.pipeline import Difference, reconcile

if TYPE_CHECKING:
    from duly.client import Client

MISSING = "rows.missing"
NAMED = 5


async def reconcile_and_tell(
    client: Client, conn: Any, table: str, *, owner: str, seen: str, **how: Any
) -> Difference:
    """Compare, then open or close the incident of the table; raises what `reconcile` does."""
    found = await reconcile(conn, table, seen=seen, **how)
    subject = f"{table} not in {seen}"
    if not found.missing:
        note = "every row is in it now"
        await client.close_incident(MISSING, subject, by="reconciliation", note=note)
        return found
    keys = one_line(", ".join(map(str, found.first[:NAMED])), 200)
    more = ", …" if found.missing > NAMED else ""
    await client.open_incident(
        Incident(
            kind=MISSING,
            subject=subject,
            severity="critical",
            owner=owner,
            summary=f"{found.missing:,} rows of {table} were not dealt with: {keys}{more}",
            evidence={
                "table": table,
                "seen": seen,
                "missing": str(found.missing),
                "first": keys,
                "what helps": "deal with the rows that are named;"
                " the next look that finds none closes it",
            },
        )
    )
    return found
