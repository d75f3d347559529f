"""Tallies that look back through a window: the share of calls in it that failed, or were slow.

Only the bad calls are stored, by the number that the counter gave them; how many calls there were, the counter knows.
All of it runs under the breaker's lock, except `count_success`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from breaker.policies.counter import AnyCounter
from breaker.policies.in_flight import CallsInFlight
from breaker.policies.tally import Counts, Tally
from breaker.policies.windows import View


class RateTally(Tally):
    """The share of bad calls in a window. Only the bad ones are stored, by number and name."""

    __slots__ = ("_bad", "_counter", "_minimum_calls", "_threshold", "_view", "_window")

    def __init__(self, policy: Any, counter: AnyCounter, view: View) -> None:
        self._threshold, self._minimum_calls = policy.threshold, policy.minimum_calls
        self._window, self._view, self._counter = policy.window, view, counter
        self._bad: deque[tuple[int, str | None]] = deque()
        self.count_success = view.count_success

    def turn(self) -> None:
        self._view.turn()

    def try_count_failure(self, kind: str) -> bool:
        if self.tripped(extra_failures=1):
            return False
        counter = self._counter
        self.count(counter.count_locked(), kind, None, 0)
        counter.failed += 1
        return True

    def _now(self, extra_failures: int = 0) -> tuple[int, int]:
        """The bad calls and all calls that count now, or would after so many (0 or 1) more bad ones."""
        self.turn()
        counted = self._counter.read_locked()
        oldest = self._view.oldest_locked(counted)
        while self._bad and self._bad[0][0] < oldest:
            self._bad.popleft()
        oldest = self._view.oldest_locked(counted + extra_failures)
        leaving = bool(self._bad) and self._bad[0][0] < oldest  # pushed out by the one more
        return len(self._bad) - leaving + extra_failures, counted + extra_failures - oldest

    def tripped(self, extra_failures: int = 0) -> bool:
        bad, calls = self._now(extra_failures)
        # Divided, not multiplied: 7 of 100 is 0.07, but 0.07 * 100 is above 7.
        return bool(calls >= self._minimum_calls and bad / calls >= self._threshold)

    def kinds(self) -> Mapping[str, int]:
        self._now()
        return Counter(kind for _, kind in self._bad if kind is not None)

    def _reason(self, what: str) -> str:
        bad, calls = self._now()
        share = bad / max(calls, 1)
        return f"{bad} of {calls} calls {what} {self._window} ({share:.0%}, limit {self._threshold:.0%})"


class FailureRateTally(RateTally):
    """The share of failures."""

    __slots__ = ()

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if kind is not None:
            self._bad.append((number, kind))

    def counts(self) -> Counts:
        bad, calls = self._now()
        return Counts(failures=bad, calls=calls, failure_rate=bad / calls if calls else None)

    def reason(self) -> str:
        return self._reason("failed")


class SlowCallRateTally(RateTally):
    """The share of slow calls; with `running`, of those too that have not ended and are slow already."""

    __slots__ = ("_clock", "_noticed", "_running", "_slower_than")

    def __init__(self, policy: Any, counter: AnyCounter, view: View, clock: Callable[[], float]) -> None:
        super().__init__(policy, counter, view)
        self._slower_than, self._clock = policy.slower_than, clock
        self._running = CallsInFlight() if policy.count_running else None
        self._noticed = 0  # how many had ever been overdue when somebody last asked
        if self._running is not None:
            self.count_success = None  # each call's end must be noted

    def is_slow(self, duration: float, slow_after: float | None) -> int:
        return duration >= (self._slower_than if slow_after is None else slow_after)

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if slow:
            self._bad.append((number, kind))

    @property
    def tracks_running(self) -> bool:  # type: ignore[override]  # the recipe decides
        return self._running is not None

    def newly_overdue(self, now: float) -> bool:
        if self._running is None:
            return False
        self._running.overdue(now)
        before, self._noticed = self._noticed, self._running.ever_overdue
        return self._noticed > before

    def started(self, key: int, now: float, slow_after: float | None) -> None:
        if self._running is not None:
            self._running.grant(key, now + (self._slower_than if slow_after is None else slow_after))

    def ended(self, key: int) -> None:
        if self._running is not None:
            self._running.end(key)

    def abandoned(self, key: int) -> None:
        if self._running is not None:
            self._running.abandon(key)

    def _now(self, extra_failures: int = 0) -> tuple[int, int]:
        bad, calls = super()._now(extra_failures)
        overdue = self._running.overdue(self._clock()) if self._running is not None else 0
        return bad + overdue, calls + overdue

    def counts(self) -> Counts:
        bad, calls = self._now()
        return Counts(calls=calls, slow_calls=bad, slow_call_rate=bad / calls if calls else None)

    def reason(self) -> str:
        return self._reason("were slow")
