"""What a breaker remembers across its stays: totals, openings, history. Made when there is first something.

All of it under the breaker's lock, except counting a rejection. The ledger decides nothing.
"""

from __future__ import annotations

from collections import deque
from sys import getrefcount

from breaker.events import StateChanged, TripReport
from breaker.outcome import FAILURE, IGNORED, Outcome
from breaker.windows import AnyTicks, Ticks


class Ledger:
    """Totals since the breaker was made, but for what is still counted on the ticks of its stays."""

    __slots__ = (
        "_ended",
        "asked_until",
        "failures",
        "history",
        "ignored",
        "last_failure_time",
        "last_text",
        "last_trip",
        "openings",
        "rejections",
        "reopenings",
        "slow",
        "successes",
    )

    def __init__(self) -> None:
        self.successes = self.failures = self.slow = self.ignored = self.openings = 0
        self.rejections = Ticks()
        self._ended: list[AnyTicks] = []
        self.reopenings = 0
        """Openings since the circuit was last closed."""
        self.asked_until: float | None = None
        """Until when (on the breaker's clock) the dependency asked to be left alone."""
        self.last_text: str | None = None
        """The exception that may open the circuit, as text."""
        self.last_failure_time: float | None = None
        self.last_trip: TripReport | None = None
        self.history: deque[StateChanged] = deque(maxlen=100)

    def retire(self, ticks: AnyTicks) -> None:
        """The stay that counted on `ticks` is over; calls that it admitted may still end, and tick."""
        ended, self._ended = self._ended, [ticks]
        for ticks in ended:
            if getrefcount(ticks) > _ALONE:
                self._ended.append(ticks)
            else:  # no call is left that could
                self.successes += ticks.read_locked() - ticks.failed
                self.failures += ticks.failed

    def counters(self) -> list[AnyTicks]:
        """All that count here."""
        return [self.rejections, *self._ended]

    def totals(self, present: AnyTicks | None) -> tuple[int, int]:
        """Successes and failures of all stays, the present one's included."""
        successes, failures = self.successes, self.failures
        for ticks in (*self._ended, *(() if present is None else (present,))):
            successes += ticks.read_locked() - ticks.failed
            failures += ticks.failed
        return successes, failures

    def add_opening(self, report: TripReport) -> None:
        """The circuit opened by itself."""
        self.openings += 1
        self.reopenings += 1
        self.last_trip, self.last_failure_time, self.last_text = report, report.at, None

    def forget_openings(self) -> None:
        """The circuit is closed: open periods start over."""
        self.reopenings, self.asked_until = 0, None

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
