"""What a breaker remembers across its stays: totals, openings, history. Made when there is first something.

All of it under the breaker's lock, except counting a rejection. The ledger decides nothing.
"""

from __future__ import annotations

from collections import deque

from breaker.events import StateChanged, TripReport
from breaker.outcome import FAILURE, IGNORED, Outcome
from breaker.windows import Ticks


class Ledger:
    """Totals since the breaker was made, without those that the present stay still holds."""

    __slots__ = (
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
        self.reopenings = 0
        """Openings since the circuit was last closed."""
        self.asked_until: float | None = None
        """Until when (on the breaker's clock) the dependency asked to be left alone."""
        self.last_text: str | None = None
        """The exception that may open the circuit, as text."""
        self.last_failure_time: float | None = None
        self.last_trip: TripReport | None = None
        self.history: deque[StateChanged] = deque(maxlen=100)

    def add_opening(self, report: TripReport) -> None:
        """The circuit opened by itself."""
        self.openings += 1
        self.reopenings += 1
        self.last_trip, self.last_failure_time, self.last_text = report, report.at, None

    def forget_openings(self) -> None:
        """The circuit is closed: open periods start over."""
        self.reopenings, self.asked_until = 0, None

    def add_late(self, outcome: Outcome, slow: bool) -> None:
        """A call ended after the stay that admitted it: it decides nothing, but it was made."""
        if outcome is IGNORED:
            self.ignored += 1
            return
        if outcome is FAILURE:
            self.failures += 1
        else:
            self.successes += 1
        self.slow += slow
