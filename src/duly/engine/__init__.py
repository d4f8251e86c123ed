"""What happens next: firing, claiming, leases, attempts, and noticing who died."""

from duly.core.clock import Clock
from duly.engine.breaking import Gate
from duly.engine.clock import SystemClock, draw_secret
from duly.engine.context import Child, Context, Window
from duly.engine.durable.performing import Effect, Receipt
from duly.engine.durable.work import Approval
from duly.engine.guarding import Guard
from duly.engine.instance import Engine
from duly.engine.keeper import ThreadKeeper
from duly.engine.lookout import Lookout
from duly.engine.plan import Plan
from duly.engine.ports import Keeper, Ports, Processes
from duly.engine.processes import HostProcesses
from duly.engine.pulse import beat
from duly.engine.supervising import Notice
from duly.engine.supervisor import Supervisor

__all__ = [
    "Approval",
    "Child",
    "Clock",
    "Context",
    "Effect",
    "Engine",
    "Gate",
    "Guard",
    "HostProcesses",
    "Keeper",
    "Lookout",
    "Notice",
    "Plan",
    "Ports",
    "Processes",
    "Receipt",
    "Supervisor",
    "SystemClock",
    "ThreadKeeper",
    "Window",
    "beat",
    "draw_secret",
]
