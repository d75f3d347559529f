"""HALF_OPEN: a few probes at a time go through, and they decide; a probe without an answer loses its lease."""

from __future__ import annotations

from typing import Any

from breaker.machine.model import CircuitState, Model
from breaker.machine.prober import Cause
from breaker.permit import Permit, next_key
from breaker.policies.counter import CallCounter
from breaker.policies.in_flight import CallsInFlight
from breaker.table import PROBE_EXPIRED, PROBE_FAILED, PROBE_SUCCEEDED, State


class HalfOpen(CircuitState):
    """A few probes at a time go through; they decide."""

    __slots__ = ("_failed", "_kind", "_probes", "_slow", "successes", "tally")
    name = State.HALF_OPEN

    def __init__(self) -> None:
        super().__init__()
        self._probes, self._failed, self.successes = CallsInFlight(), 0, 0
        self._kind: str | None = None  # of the exception that failed a probe
        self._slow = False

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        # Fresh, and only asked whether a duration is slow: a slow probe is a failed probe.
        self.tally = breaker._settings.trip.begin(CallCounter(), breaker._settings.clock, breaker._lock)

    def enough_probes_succeeded(self, breaker: Model) -> bool:
        """Whether `success_threshold` probes of this half-open stay have succeeded."""
        return self.successes >= breaker._settings.success_threshold

    def probe_lease_ran_out(self, breaker: Model) -> bool:
        """Whether a probe has been in flight for `probe_timeout` or longer. The boundary instant counts."""
        return self._probes.overdue(breaker._settings.clock()) > 0

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        prober, places = breaker._prober, breaker._settings.half_open_max_calls
        return self._admit(breaker, slow_after, places if prober is None or prober.may_probe(breaker) else 0)

    def admit_prober(self, breaker: Model) -> Permit | None:
        with breaker._lock:
            places = breaker._settings.half_open_max_calls
            if self._probes.in_flight() >= places and not self.probe_lease_ran_out(breaker):
                return None
            return self._admit(breaker, None, places)

    def _admit(self, breaker: Model, slow_after: float | None, places: int) -> Permit | None:
        with breaker._lock:
            if breaker._state is not self:
                return None
            now = breaker._settings.clock()
            if self._probes.overdue(now):
                self._failed += 1
                breaker._fire_locked(self, PROBE_EXPIRED)
                return None
            if self._probes.in_flight() < places:
                key = next_key()
                permit = Permit(breaker, self, now, slow_after, key)
                self._probes.grant(key, now + breaker._settings.probe_timeout)
                return permit
            wait = self.retry_after_locked(breaker)
        raise breaker._rejection(self, wait)

    def on_success(self, breaker: Model, key: int | None, duration: float | None, slow: int) -> None:
        breaker._totals_locked().successes += 1
        self._slow = slow > 0
        if slow:
            self._end_probe_locked(breaker, key, failed=True)
        elif self._end_probe_locked(breaker, key, failed=False):
            self.successes += 1
            breaker._fire_locked(self, PROBE_SUCCEEDED)

    def on_failure(self, breaker: Model, key: int | None, kind: str, duration: float | None, slow: int) -> None:
        breaker._totals_locked().failures += 1
        self._kind = kind
        self._end_probe_locked(breaker, key, failed=True)

    def on_ignored(self, breaker: Model, key: int | None) -> None:
        self._end_probe_locked(breaker, key, failed=False)

    def _end_probe_locked(self, breaker: Model, key: int | None, *, failed: bool) -> bool:
        """Take the probe back, and open the circuit if it failed, or it or another came too late.

        True for a probe that counts as a success.
        """
        assert key is not None
        if not failed and self._probes.overdue(breaker._settings.clock()):
            self._failed += 1
            breaker._fire_locked(self, PROBE_EXPIRED)
            return False
        self._probes.end(key)
        if failed:
            self._failed += 1
            breaker._fire_locked(self, PROBE_FAILED)
        return not failed

    def release_locked(self, key: int | None) -> None:
        assert key is not None  # every permit of this state has a lease
        self._probes.end(key)

    def abandon(self, key: int | None) -> None:
        assert key is not None
        self._probes.abandon(key)

    def would_trip_locked(self) -> bool:
        return True

    def failure_count_locked(self) -> int:
        return self._failed

    def probes_in_flight_locked(self) -> int:
        """Probes that have not ended."""
        return self._probes.in_flight()

    def retry_after_locked(self, breaker: Model) -> float | None:
        prober = breaker._prober
        if prober is not None and not prober.may_probe(breaker):
            return prober.wait(breaker)
        if self._probes.in_flight() < breaker._settings.half_open_max_calls:
            return 0.0
        # A probe may end at any moment; at the end of the first lease there is news for certain.
        return max((self._probes.next_deadline() or 0.0) - breaker._settings.clock(), 0.0)

    def report_fields_locked(self, breaker: Model) -> dict[str, Any]:
        unanswered = f"a probe had no answer within {breaker._settings.probe_timeout:g} s"
        reason = "a probe failed" if self._kind else "a probe was slow" if self._slow else unanswered
        return {
            "policy": "probe",
            "reason": reason,
            "calls": self.successes + self._failed,
            "failures": self._failed,
            "failure_rate": None,
            "slow_calls": int(self._slow),
            "slow_call_rate": None,
            "exceptions": {self._kind: 1} if self._kind else {},
        }
