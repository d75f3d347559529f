"""What each state does with a call and its end: one class for each state, one object for each stay.

What a stay is, and what all of them share, is in `breaker.stay`; when the circuit moves is in
`breaker.table`. No state fires a trigger when it is entered.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from breaker.calls import rejection
from breaker.leases import Leases
from breaker.permit import Permit, next_key
from breaker.stay import Counting, Stay
from breaker.table import PROBE_EXPIRED, PROBE_FAILED, PROBE_SUCCEEDED, RAMP_OVER, RESET, TIMEOUT_ELAPSED, State
from breaker.windows import Ticks

if TYPE_CHECKING:
    from breaker.model import Model


class Closed(Counting):
    """Every call goes through; failures are counted."""

    __slots__ = ()
    state = State.CLOSED


class MetricsOnly(Counting):
    """Every call goes through and is counted; a limit reached is told, once for each crossing."""

    __slots__ = ("_told",)
    state = State.METRICS_ONLY

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self._told = False

    def measure_locked(self, breaker: Model) -> None:
        super().measure_locked(breaker)
        self.quiet = False  # each failure may end a crossing

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        permit = super().admit(breaker, slow_after)
        breaker._after_lock()  # a running call found slow may have been told just now
        return permit

    def _count_locked(self, key: int | None, kind: str | None, duration: float | None, slow: int) -> None:
        # Successes may have carried the rate below the limit unseen: that ends a crossing.
        self._told = self._told and self.tally.tripped()
        super()._count_locked(key, kind, duration, slow)

    def judge_locked(self, breaker: Model) -> None:
        reached = self.tally.tripped()
        if reached and not self._told:
            breaker._tell_would_open_locked(self)
        self._told = reached


class Ramping(Counting):
    """A growing share of calls goes through, evenly spread; a trip opens the circuit again."""

    __slots__ = ("_begun", "_credit")
    state = State.RAMPING

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self._begun, self._credit = breaker._settings.clock(), 0.0

    def measure_locked(self, breaker: Model) -> None:
        self.gated = True  # always: the ramp counts admissions

    def left(self, breaker: Model) -> float:
        """Seconds until the ramp is over."""
        return max(self._begun + breaker._ramp_up.seconds - breaker._settings.clock(), 0.0)

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        with breaker._lock:
            if breaker._stay is not self:
                return None
            left = self.left(breaker)
            if left == 0.0:
                breaker._fire_locked(self, RAMP_OVER)
                return None
            if self._next_passes_locked(breaker._ramp_up.share(breaker._ramp_up.seconds - left)):
                return self._admit_tracked_locked(breaker, slow_after)
        raise rejection(breaker, self, left)

    def _next_passes_locked(self, share: float) -> bool:
        """Each call brings its share; whenever that makes a whole one, a call passes."""
        self._credit += share
        if self._credit < 1 - 1e-9:  # ten tenths make one in floating point too
            return False
        self._credit -= 1
        return True


class Open(Stay):
    """Every call is rejected at once, until the open period is over."""

    __slots__ = ("_failures", "period", "until")
    state = State.OPEN

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self._failures = breaker._stay.failure_count_locked()
        now = breaker._settings.clock()
        self.period = breaker._open_period_locked(now)
        self.until = now + self.period

    def elapsed(self, breaker: Model) -> bool:
        """Whether the open period is over. The boundary instant counts as over."""
        return breaker._settings.clock() >= self.until

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        left = self.until - breaker._settings.clock()
        if not left <= 0 or breaker._health is not None:  # a clock that says NaN never lets a call through
            raise rejection(breaker, self, left if breaker._health is None else self._wait(breaker, left))
        with breaker._lock:
            breaker._fire_locked(self, TIMEOUT_ELAPSED)
        return None

    @staticmethod
    def _wait(breaker: Model, left: float) -> float:
        # With a health check, no caller is let in before a ping has succeeded.
        return max(left, 0.0 if breaker._health is None else breaker._health.interval)

    def retry_after_locked(self, breaker: Model) -> float | None:
        return self._wait(breaker, self.until - breaker._settings.clock())

    def failure_count_locked(self) -> int:
        """The failures that opened the circuit."""
        return self._failures


class HalfOpen(Stay):
    """A few probes at a time go through; they decide."""

    __slots__ = ("_failed", "_kind", "_leases", "_slow", "successes", "tally")
    state = State.HALF_OPEN

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self._leases, self._failed, self.successes = Leases(), 0, 0
        self._kind: str | None = None  # of the exception that failed a probe
        self._slow = False
        # Fresh, and only asked whether a duration is slow: a slow probe is a failed probe.
        self.tally = breaker._settings.trip.begin(Ticks(), breaker._settings.clock, breaker._lock)

    def why_locked(self, breaker: Model) -> dict[str, Any]:
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

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        return self._admit(breaker, slow_after, breaker._settings.half_open_max_calls if breaker._health is None else 0)

    def probe(self, breaker: Model) -> Permit | None:
        """A permit for the health check, which is let in where callers are not; None while others hold all places."""
        with breaker._lock:
            places = breaker._settings.half_open_max_calls
            if self._leases.in_flight() >= places and not self.expired(breaker):
                return None
            return self._admit(breaker, None, places)

    def _admit(self, breaker: Model, slow_after: float | None, places: int) -> Permit | None:
        with breaker._lock:
            if breaker._stay is not self:
                return None
            now = breaker._settings.clock()
            if self._leases.overdue(now):
                self._failed += 1
                breaker._fire_locked(self, PROBE_EXPIRED)
                return None
            if self._leases.in_flight() < places:
                key = next_key()
                permit = Permit(breaker, self, now, slow_after, key)
                self._leases.grant(key, now + breaker._settings.probe_timeout)
                return permit
            wait = self.retry_after_locked(breaker)
        raise rejection(breaker, self, wait)

    def expired(self, breaker: Model) -> bool:
        """Whether a probe's lease ran out. The boundary instant counts as run out."""
        return self._leases.overdue(breaker._settings.clock()) > 0

    def succeed_locked(self, breaker: Model, key: int | None, duration: float | None, slow: int) -> None:
        breaker._ledger_locked().successes += 1
        self._slow = slow > 0
        if slow:
            self._end_probe_locked(breaker, key, failed=True)
        elif self._end_probe_locked(breaker, key, failed=False):
            self.successes += 1
            breaker._fire_locked(self, PROBE_SUCCEEDED)

    def fail_locked(self, breaker: Model, key: int | None, kind: str, duration: float | None, slow: int) -> None:
        breaker._ledger_locked().failures += 1
        self._kind = kind
        self._end_probe_locked(breaker, key, failed=True)

    def _end_probe_locked(self, breaker: Model, key: int | None, *, failed: bool) -> bool:
        """Take the probe back, and open the circuit if it failed, or it or another came too late.

        True for a probe that counts as a success.
        """
        assert key is not None
        if not failed and self._leases.overdue(breaker._settings.clock()):
            self._failed += 1
            breaker._fire_locked(self, PROBE_EXPIRED)
            return False
        self._leases.end(key)
        if failed:
            self._failed += 1
            breaker._fire_locked(self, PROBE_FAILED)
        return not failed

    def ignore_locked(self, breaker: Model, key: int | None) -> None:
        self._end_probe_locked(breaker, key, failed=False)

    def release_locked(self, key: int | None) -> None:
        assert key is not None  # every permit of this stay has a lease
        self._leases.end(key)

    def abandon(self, key: int | None) -> None:
        assert key is not None
        self._leases.abandon(key)

    def last_straw_locked(self) -> bool:
        return True

    def failure_count_locked(self) -> int:
        return self._failed

    def probes_in_flight_locked(self) -> int:
        """Probes that have not ended."""
        return self._leases.in_flight()

    def retry_after_locked(self, breaker: Model) -> float | None:
        if breaker._health is not None:
            return breaker._health.interval
        if self._leases.in_flight() < breaker._settings.half_open_max_calls:
            return 0.0
        # A probe may end at any moment; at the end of the first lease there is news for certain.
        return max((self._leases.next_deadline() or 0.0) - breaker._settings.clock(), 0.0)


class ForcedOpen(Stay):
    """An operator holds the circuit open, until `reset` or for a while."""

    __slots__ = ("until",)
    state = State.FORCED_OPEN

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self.until: float | None = None  # on the breaker's clock; set by force_open(for_seconds=...)

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        left = self.retry_after_locked(breaker)
        if left != 0.0:
            raise rejection(breaker, self, left)
        with breaker._lock:
            breaker._fire_locked(self, RESET)
        return None

    def retry_after_locked(self, breaker: Model) -> float | None:
        return None if self.until is None else max(self.until - breaker._settings.clock(), 0.0)


class Disabled(Stay):
    """Every call goes through and nothing is counted."""

    __slots__ = ()
    state = State.DISABLED
    counts = False

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self.gated, self.tick = False, _UNCOUNTED

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        return Permit(breaker, self)


_UNCOUNTED = itertools.repeat(None).__next__

STAYS: dict[State, type[Stay]] = {
    stay.state: stay for stay in (Closed, Open, HalfOpen, Ramping, ForcedOpen, Disabled, MetricsOnly)
}
