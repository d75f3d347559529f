"""What a breaker remembers across its stays: totals, openings, history. Made when there is first something.

All of it under the breaker's lock, except counting a rejection. It decides nothing.
"""

from __future__ import annotations

from collections import deque
from sys import getrefcount

from breaker.observe.events import StateChanged, Statistics, TripReport
from breaker.outcome import FAILURE, IGNORED, Outcome
from breaker.policies.counter import AnyCounter, CallCounter
from breaker.policies.tally import Counts
from breaker.table import State


class Totals:
    """Totals since the breaker was made, but for what the counters of its last stays still hold."""

    __slots__ = (
        "_ended",
        "failures",
        "history",
        "ignored",
        "last_failure_time",
        "last_text",
        "last_trip",
        "not_before",
        "openings",
        "rejections",
        "reopenings",
        "slow",
        "successes",
    )

    def __init__(self) -> None:
        self.successes = self.failures = self.slow = self.ignored = self.openings = 0
        self.rejections = CallCounter()
        self._ended: list[AnyCounter] = []
        self.reopenings = 0
        """Openings since the circuit was last closed."""
        self.not_before: float | None = None
        """Until when (on the breaker's clock) the dependency asked to be left alone."""
        self.last_text: str | None = None
        """The exception that may open the circuit, as text."""
        self.last_failure_time: float | None = None
        self.last_trip: TripReport | None = None
        self.history: deque[StateChanged] = deque(maxlen=100)

    def close_counter(self, counter: AnyCounter) -> None:
        """The stay that counted on `counter` is over; calls that it admitted may still end, and be counted."""
        ended, self._ended = self._ended, [counter]
        for counter in ended:
            if getrefcount(counter) > _ALONE:
                self._ended.append(counter)
            else:  # no call is left that could
                self.successes += counter.read_locked() - counter.failed
                self.failures += counter.failed

    def counters(self) -> list[AnyCounter]:
        """All that count here."""
        return [self.rejections, *self._ended]

    def totals(self, present: AnyCounter | None) -> tuple[int, int]:
        """Successes and failures of all stays, the present one's included."""
        successes, failures = self.successes, self.failures
        for counter in (*self._ended, *(() if present is None else (present,))):
            successes += counter.read_locked() - counter.failed
            failures += counter.failed
        return successes, failures

    def statistics(
        self, name: str, state: State, since: float, present: AnyCounter | None, counts: Counts
    ) -> Statistics:
        """These totals with what the breaker's present state has counted."""
        successes, failures = self.totals(present)
        return Statistics(
            breaker_name=name,
            state=state,
            since=since,
            calls=successes + failures,
            successes=successes,
            failures=failures,
            slow=self.slow,
            ignored=self.ignored,
            rejected=self.rejections.read_locked(),
            openings=self.openings,
            failure_rate=counts.failure_rate,
            slow_call_rate=counts.slow_call_rate,
            window_calls=counts.calls,
        )

    def add_opening(self, report: TripReport) -> None:
        """The circuit opened by itself."""
        self.openings += 1
        self.reopenings += 1
        self.last_trip, self.last_failure_time, self.last_text = report, report.at, None

    def forget_openings(self) -> None:
        """The circuit is closed: open periods start over."""
        self.reopenings, self.not_before = 0, None

    def add_late(self, outcome: Outcome, slow: int) -> None:
        """A call ended after the stay that admitted it: it decides nothing, but it was made."""
        if outcome is IGNORED:
            self.ignored += 1
            return
        if outcome is FAILURE:
            self.failures += 1
        else:
            self.successes += 1
        self.slow += slow > 0


def _count_alone() -> int:
    """What `getrefcount` says, in this version of Python, of a thing that only a list and a loop over it know."""
    count = 0
    for thing in [object()]:
        count = getrefcount(thing)
    return count


_ALONE = _count_alone()
