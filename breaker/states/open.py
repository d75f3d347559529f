"""OPEN: every call is rejected at once, until the open period is over; then the next one asks for a probe."""

from __future__ import annotations

from breaker.machine.model import CircuitState, Model
from breaker.machine.prober import Cause
from breaker.observe.events import TripReport
from breaker.permit import Permit
from breaker.table import TIMEOUT_ELAPSED, State


class Open(CircuitState):
    """Every call is rejected at once, until the open period is over."""

    __slots__ = ("_failures", "period", "report", "until")
    name = State.OPEN

    def __init__(self) -> None:
        super().__init__()
        self._failures = 0
        self.report: TripReport | None = None

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        opening, settings = breaker._state, breaker._settings
        self._failures = opening.failure_count_locked()
        now = settings.clock()
        self.period = breaker._open_period_locked(now) if cause.seconds is None else cause.seconds
        self.until = now + self.period
        if opening is not self:  # else the circuit begins open, and nobody opened it
            self.report = cause.report or breaker._report_locked(opening, self.period)

    def recovery_timeout_elapsed(self, breaker: Model) -> bool:
        """Whether OPEN has lasted long enough. The boundary instant counts as elapsed."""
        return breaker._settings.clock() >= self.until

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        left, prober = self.until - breaker._settings.clock(), breaker._prober
        # Not `left > 0`: a clock that says NaN never lets a call through.
        if not left <= 0 or (prober is not None and not prober.may_probe(breaker)):
            raise breaker._rejection(self, left if prober is None else self._wait(breaker, left))
        with breaker._lock:
            breaker._fire_locked(self, TIMEOUT_ELAPSED)
        return None

    def admit_prober(self, breaker: Model) -> Permit | None:
        with breaker._lock:
            if self.recovery_timeout_elapsed(breaker):
                breaker._fire_locked(self, TIMEOUT_ELAPSED)
        return None

    @staticmethod
    def _wait(breaker: Model, left: float) -> float:
        prober = breaker._prober
        return max(left, 0.0 if prober is None or prober.may_probe(breaker) else prober.wait(breaker))

    def retry_after_locked(self, breaker: Model) -> float | None:
        return self._wait(breaker, self.until - breaker._settings.clock())

    def failure_count_locked(self) -> int:
        """The failures that opened the circuit."""
        return self._failures
