"""Duly for tasks that are plain functions: `from duly.sync import Context`.

    @app.task
    def publish_prices(ctx: Context) -> int:
        for price in ctx.each("prices", prices_after):
            ctx.publish("prices", price)

Such a task runs on a thread, and may block. Declare, enqueue and work as with coroutines.
"""

from duly.engine.synchronous import SyncChild as Child
from duly.engine.synchronous import SyncContext as Context

__all__ = ["Child", "Context"]
