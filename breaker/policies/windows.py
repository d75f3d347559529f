"""Which of a stay's calls still count: windows that look back along its counter.

A healthy call leaves one number and nothing else: it is counted. A window is only the answer to "which
number is the oldest that still counts?", so its cost and memory do not depend on its size, and whoever
judges a rate stores failures alone, by their number.

Methods ending in `_locked` need the breaker's lock. Windows know nothing of failures or rates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from breaker import checks
from breaker.policies.counter import AnyCounter

Clock = Callable[[], float]
Lock = AbstractContextManager[Any]


class View(Protocol):
    """An open window over the counter of one stay."""

    @property
    def count_success(self) -> Callable[[], object]:
        """Counts one success; takes no lock, but for a window of time when a tenth of it is over."""
        ...

    def turn(self) -> None:
        """Forget what time has carried out of the window."""

    def oldest_locked(self, counted: int) -> int:
        """Number of the oldest call that still counts, when `counted` calls were made."""
        ...


@dataclass(frozen=True, slots=True)
class CountWindow:
    """The last `size` completed calls."""

    size: int

    def __post_init__(self) -> None:
        checks.count("size", self.size)

    def __str__(self) -> str:
        return f"of the last {self.size} calls"

    def open(self, counter: AnyCounter, clock: Clock, lock: Lock) -> View:
        """A fresh view on `counter`."""
        return _CountView(self.size, counter)


class _CountView:
    __slots__ = ("_size", "count_success")

    def __init__(self, size: int, counter: AnyCounter) -> None:
        self._size = size
        self.count_success = counter.__next__

    def turn(self) -> None:
        """Nothing: only calls move this window."""

    def oldest_locked(self, counted: int) -> int:
        return max(0, counted - self._size)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The calls completed in the last `seconds`, to a tenth of the window.

    Time is cut into tenths, counted from the start of the stay; the window holds the current tenth and
    the nine before it, so it never counts a call older than `seconds`.
    """

    seconds: float

    def __post_init__(self) -> None:
        if checks.positive_seconds("seconds", self.seconds) < 1e-6:
            raise ValueError(
                f"seconds must be a microsecond or more for a clock to tell its tenths, got {self.seconds!r}"
            )

    def __str__(self) -> str:
        return f"in the last {self.seconds:g} s"

    def open(self, counter: AnyCounter, clock: Clock, lock: Lock) -> View:
        """A fresh view on `counter`, which begins now."""
        return _TimeView(self.seconds / 10, counter, clock, lock)


class _TimeView:
    """Marks say, for each tenth in which somebody was here, how many calls had been counted before it."""

    __slots__ = ("_advance", "_clock", "_counter", "_edge", "_lock", "_marks", "_origin", "_tenth")

    def __init__(self, tenth: float, counter: AnyCounter, clock: Clock, lock: Lock) -> None:
        self._tenth, self._counter, self._clock, self._lock = tenth, counter, clock, lock
        self._origin = clock()
        self._edge = self._origin + tenth
        self._marks = deque([(0, 0)])
        self._advance = counter.__next__

    def count_success(self) -> None:
        """Count one call in the tenth in which it ends. Locks only when a new tenth begins."""
        if self._clock() >= self._edge:
            self.turn()
        self._advance()

    def turn(self) -> None:
        """Begin the tenth that the clock is in, and forget those that are ten or more behind it."""
        now = self._clock()
        if now < self._edge:
            return
        with self._lock:
            if now < self._edge:
                return  # another thread turned first
            # Rounding may place an instant on the edge into the tenth before it; the edge decides.
            tenth = max(int((now - self._origin) / self._tenth), self._marks[-1][0] + 1)
            self._edge = self._origin + (tenth + 1) * self._tenth
            self._marks.append((tenth, self._counter.read_locked()))
            while self._marks[0][0] <= tenth - 10:
                self._marks.popleft()

    def oldest_locked(self, counted: int) -> int:
        return self._marks[0][1]


Window = CountWindow | TimeWindow
