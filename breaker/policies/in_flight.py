"""Calls in flight that have a deadline: probes with a lease, running calls that may turn out slow.

Everything needs the breaker's lock, except `abandon`: a permit may be collected in any thread at any
moment, also while that thread holds the lock, so an abandoned lease waits in a queue until the next
caller that holds the lock looks. The steps are in an order in which an interrupt (`KeyboardInterrupt`)
between any two may end a lease early but never leaves one that no deadline ends.
"""

from __future__ import annotations

import heapq
from collections import deque


class CallsInFlight:
    """Deadlines of the calls in flight, by key."""

    __slots__ = ("_abandoned", "_by_deadline", "_open", "_overdue", "ever_overdue")

    def __init__(self) -> None:
        self._open: dict[int, float] = {}
        self._by_deadline: list[tuple[float, int]] = []  # holds ended leases too, until they surface
        self._overdue: set[int] = set()
        self._abandoned: deque[int] = deque()
        self.ever_overdue = 0
        """How many calls were found overdue so far, those included that have ended since."""

    def grant(self, key: int, deadline: float) -> None:
        """A call began that is overdue from `deadline` on."""
        heapq.heappush(self._by_deadline, (deadline, key))
        self._open[key] = deadline
        if len(self._by_deadline) > 2 * len(self._open) + 16:
            now_open = self._open.copy()  # a finalizer may end a lease while this is listed
            by_deadline = [(due, key) for key, due in now_open.items() if key not in self._overdue]
            heapq.heapify(by_deadline)
            self._by_deadline = by_deadline

    def end(self, key: int) -> None:
        """The call ended, or had ended before."""
        self._open.pop(key, None)

    def abandon(self, key: int) -> None:
        """The permit of this call was collected, or could not be settled. Takes no lock."""
        self._abandoned.append(key)

    def in_flight(self) -> int:
        """How many calls have not ended; abandoned ones have."""
        while self._abandoned:
            self.end(self._abandoned.popleft())
        return len(self._open)

    def overdue(self, now: float) -> int:
        """How many calls in flight have reached their deadline. The boundary instant counts as reached."""
        if not self.in_flight():
            return 0
        while self._by_deadline and self._by_deadline[0][0] <= now:
            key = self._by_deadline[0][1]
            if key in self._open and key not in self._overdue:
                self._overdue.add(key)
                self.ever_overdue += 1
            heapq.heappop(self._by_deadline)
        self._overdue &= self._open.keys()
        return len(self._overdue)

    def next_deadline(self) -> float | None:
        """The earliest deadline of a call in flight."""
        self.in_flight()
        return min(self._open.values(), default=None)
