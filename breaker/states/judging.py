"""What CLOSED, RAMPING and METRICS_ONLY share: calls go through, and the trip policy judges how they end."""

from __future__ import annotations

from typing import Any

from breaker.machine.model import CircuitState, Model
from breaker.machine.prober import Cause
from breaker.permit import Permit, next_key
from breaker.policies.counter import AnyCounter, CallCounter
from breaker.table import TRIP


class Judging(CircuitState):
    """A state that lets calls through and judges them by the trip policy."""

    __slots__ = ("counter", "tally")
    counter: AnyCounter

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        self.counter = CallCounter()
        self.tally = breaker._settings.trip.begin(self.counter, breaker._settings.clock, breaker._lock)
        self.count_success = self.tally.count_success
        self.choose_path_locked(breaker)

    def on_exit(self, breaker: Model) -> None:
        breaker._totals_locked().close_counter(self.counter)

    def threshold_reached(self, breaker: Model) -> bool:
        """Whether the trip policy's limit is reached."""
        return self.tally.tripped()

    def choose_path_locked(self, breaker: Model) -> None:
        self.needs_permit = breaker._calls_need_permits()
        self.failures_unheard = breaker._failures_unheard()

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        if not self.tally.tracks_running:
            timed = self.needs_permit or slow_after
            return Permit(breaker, self, breaker._settings.clock() if timed else None, slow_after)
        with breaker._lock:
            return self._admit_tracked_locked(breaker, slow_after) if breaker._state is self else None

    def _admit_tracked_locked(self, breaker: Model, slow_after: float | None) -> Permit | None:
        now = breaker._settings.clock()
        if self.tally.newly_overdue(now):
            self.judge_locked(breaker)
            if breaker._state is not self:
                return None
        key = next_key()
        permit = Permit(breaker, self, now, slow_after, key)
        self.tally.started(key, now, slow_after)
        return permit

    def on_success(self, breaker: Model, key: int | None, duration: float | None, slow: int) -> None:
        self._count_locked(key, None, duration, slow)
        if slow:
            self.judge_locked(breaker)

    def on_failure(self, breaker: Model, key: int | None, kind: str, duration: float | None, slow: int) -> None:
        self.counter.failed += 1
        self._count_locked(key, kind, duration, slow)
        self.judge_locked(breaker)

    def _count_locked(self, key: int | None, kind: str | None, duration: float | None, slow: int) -> None:
        self.release_locked(key)
        tally = self.tally
        tally.turn()
        tally.count(self.counter.count_locked(), kind, duration, slow)
        self.count_success = tally.count_success

    def judge_locked(self, breaker: Model) -> None:
        """A bad outcome arrived: open the circuit if that reached the limit."""
        if self.threshold_reached(breaker):
            breaker._fire_locked(self, TRIP)

    def release_locked(self, key: int | None) -> None:
        if key is not None:
            self.tally.ended(key)

    def abandon(self, key: int | None) -> None:
        if key is not None:
            self.tally.abandoned(key)

    def would_trip_locked(self) -> bool:
        return self.tally.tripped(extra_failures=1)

    def report_fields_locked(self, breaker: Model) -> dict[str, Any]:
        parts = list(breaker._settings.trip.parts(self.tally))
        policy, tally = next((part for part in parts if part[1].tripped()), parts[0])
        counts = tally.counts()
        return {
            "policy": repr(policy),
            "reason": tally.reason(),
            "calls": counts.calls or counts.failures,
            "failures": counts.failures,
            "failure_rate": counts.failure_rate,
            "slow_calls": counts.slow_calls,
            "slow_call_rate": counts.slow_call_rate,
            "exceptions": dict(sorted(tally.kinds().items(), key=lambda kind: -kind[1])),
        }
