"""Work that is due, done. Once, whatever dies.

This is the public face of Duly. Whatever is listed in `__all__` is kept compatible between
minor versions; everything else is a room of the house and may move without notice.
"""

from duly.app import DeclaredTask, Duly
from duly.client import Backfill, Client, RunHandle
from duly.core.breakers import Breaker
from duly.core.effects import Address, EffectFilter
from duly.core.expect import Expect
from duly.core.restarts import RestartPolicy
from duly.core.runs import Answer, Origin, Reuse, RunView
from duly.core.states import BreakerState, EffectState, RunState, ScheduleState
from duly.core.verdicts import Verdict, VerdictRange
from duly.core.why import Cause, Explanation
from duly.engine import (
    Approval,
    Child,
    Context,
    Effect,
    Notice,
    Receipt,
    Supervisor,
    Window,
    beat,
)
from duly.errors import (
    BreakerOpen,
    ChildFailed,
    ConfigError,
    DulyError,
    EnvironmentFailure,
    InvalidValue,
    NotPerformed,
    Refused,
    StoreUnavailable,
    TooLate,
    UnknownName,
    UsageError,
    WorkCancelled,
    WorkFailed,
)

__version__ = "0.1.0"

__all__ = [
    "Address",
    "Answer",
    "Approval",
    "Backfill",
    "Breaker",
    "BreakerOpen",
    "BreakerState",
    "Cause",
    "Child",
    "ChildFailed",
    "Client",
    "ConfigError",
    "Context",
    "DeclaredTask",
    "Duly",
    "DulyError",
    "Effect",
    "EffectFilter",
    "EffectState",
    "EnvironmentFailure",
    "Expect",
    "Explanation",
    "InvalidValue",
    "NotPerformed",
    "Notice",
    "Origin",
    "Receipt",
    "Refused",
    "RestartPolicy",
    "Reuse",
    "RunHandle",
    "RunState",
    "RunView",
    "ScheduleState",
    "StoreUnavailable",
    "Supervisor",
    "TooLate",
    "UnknownName",
    "UsageError",
    "Verdict",
    "VerdictRange",
    "Window",
    "WorkCancelled",
    "WorkFailed",
    "__version__",
    "beat",
]
