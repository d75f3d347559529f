"""FORCED_OPEN: an operator holds the circuit open, until `reset` or for a while."""

from __future__ import annotations

from breaker.machine.model import CircuitState, Model
from breaker.machine.prober import Cause
from breaker.permit import Permit
from breaker.table import RESET, State


class ForcedOpen(CircuitState):
    """Every call is rejected, until an operator says otherwise."""

    __slots__ = ("until",)
    name = State.FORCED_OPEN
    until: float | None
    """On the breaker's clock; None: until `reset`."""

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        self.until = None if cause.seconds is None else breaker._settings.clock() + cause.seconds

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        left = self.retry_after_locked(breaker)
        if left != 0.0:
            raise breaker._rejection(self, left)
        with breaker._lock:
            breaker._fire_locked(self, RESET)
        return None

    def retry_after_locked(self, breaker: Model) -> float | None:
        return None if self.until is None else max(self.until - breaker._settings.clock(), 0.0)
