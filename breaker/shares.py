"""Tallies that look back through a window: the share of calls in it that failed, or were slow.

Only the bad calls are stored, by the tick that numbers them; how many calls there were, the ticks know.
All of it runs under the breaker's lock, except `tick`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from breaker.leases import Leases
from breaker.tally import Tally
from breaker.windows import AnyTicks, View


class Share(Tally):
    """The share of bad calls in a window. Only the bad ones are stored, by number and name."""

    __slots__ = ("_bad", "_minimum_calls", "_threshold", "_ticks", "_view", "_window")

    def __init__(self, policy: Any, ticks: AnyTicks, view: View) -> None:
        self._threshold, self._minimum_calls = policy.threshold, policy.minimum_calls
        self._window, self._view, self._ticks = policy.window, view, ticks
        self._bad: deque[tuple[int, str | None]] = deque()
        self.tick = view.tick

    def turn(self) -> None:
        self._view.turn()

    def fail_quietly(self, kind: str) -> bool:
        if self.tripped(more=1):
            return False
        ticks = self._ticks
        self.count(ticks.take_locked(), kind, None, 0)
        ticks.failed += 1
        return True

    def _now(self, more: int = 0) -> tuple[int, int]:
        """The bad calls and all calls that count now, or would after `more` (0 or 1) bad ones."""
        self.turn()
        counted = self._ticks.read_locked()
        oldest = self._view.oldest_locked(counted)
        while self._bad and self._bad[0][0] < oldest:
            self._bad.popleft()
        oldest = self._view.oldest_locked(counted + more)
        leaving = bool(self._bad) and self._bad[0][0] < oldest  # pushed out by the one more
        return len(self._bad) - leaving + more, counted + more - oldest

    def tripped(self, more: int = 0) -> bool:
        bad, calls = self._now(more)
        # Divided, not multiplied: 7 of 100 is 0.07, but 0.07 * 100 is above 7.
        return bool(calls >= self._minimum_calls and bad / calls >= self._threshold)

    def calls(self) -> int:
        return self._now()[1]

    def _rate(self) -> float | None:
        bad, calls = self._now()
        return bad / calls if calls else None

    def kinds(self) -> Mapping[str, int]:
        self._now()
        return Counter(kind for _, kind in self._bad if kind is not None)

    def _reason(self, what: str) -> str:
        bad, calls = self._now()
        share = bad / max(calls, 1)
        return f"{bad} of {calls} calls {what} {self._window} ({share:.0%}, limit {self._threshold:.0%})"


class FailureShare(Share):
    """The share of failures."""

    __slots__ = ()

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if kind is not None:
            self._bad.append((number, kind))

    def failure_count(self) -> int:
        return self._now()[0]

    def failure_rate(self) -> float | None:
        return self._rate()

    def reason(self) -> str:
        return self._reason("failed")


class SlowShare(Share):
    """The share of slow calls; with `running`, of those too that have not ended and are slow already."""

    __slots__ = ("_clock", "_noticed", "_running", "_slower_than")

    def __init__(self, policy: Any, ticks: AnyTicks, view: View, clock: Callable[[], float]) -> None:
        super().__init__(policy, ticks, view)
        self._slower_than, self._clock = policy.slower_than, clock
        self._running = Leases() if policy.count_running else None
        self._noticed = 0  # how many had ever been overdue when somebody last asked
        if self._running is not None:
            self.tick = None  # each call's end must be noted

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

    def _now(self, more: int = 0) -> tuple[int, int]:
        bad, calls = super()._now(more)
        overdue = self._running.overdue(self._clock()) if self._running is not None else 0
        return bad + overdue, calls + overdue

    def slow_calls(self) -> int:
        return self._now()[0]

    def slow_call_rate(self) -> float | None:
        return self._rate()

    def reason(self) -> str:
        return self._reason("were slow")
