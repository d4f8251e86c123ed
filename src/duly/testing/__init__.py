"""Tools for tests of services that use Duly: no waiting, no database, nothing left to chance."""

from duly.testing.clock import VirtualClock
from duly.testing.contract import ContractBroken, check_store
from duly.testing.hand import Captured, Hand, turned

__all__ = ["Captured", "ContractBroken", "Hand", "VirtualClock", "check_store", "turned"]
