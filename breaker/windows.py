"""Which of a stay's calls still count: the tick that numbers them, and the window that looks back.

A healthy call leaves one number and nothing else: it advances the tick. A window is only the answer to
"which number is the oldest that still counts?", so its cost and memory do not depend on its size, and
whoever judges a rate stores failures alone, by their number.

Methods ending in `_locked` need the breaker's lock. Windows know nothing of failures or rates.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from breaker import checks

Clock = Callable[[], float]
Lock = AbstractContextManager[Any]


class Ticks:
    """Numbers the completed calls of one stay: 0, 1, 2...

    `advance` is atomic and takes no lock. Reading costs a tick, so reads are counted and subtracted:
    numbers stay exact however often somebody looks.
    """

    __slots__ = ("_reads", "advance")

    def __init__(self) -> None:
        self.advance: Callable[[], object] = _atomic_counter()
        self._reads = 0

    def take_locked(self) -> int:
        """Count one call and return its number."""
        number: int = self.advance()  # type: ignore[assignment]  # object in the type: callers ignore it
        return number - self._reads

    def read_locked(self) -> int:
        """How many calls were counted."""
        counted = self.take_locked()
        self._reads += 1
        return counted


def _locking_counter() -> Callable[[], int]:
    """`itertools.count().__next__` for builds where that is no atomic step."""
    lock, numbers = threading.Lock(), itertools.count()

    def advance() -> int:
        with lock:
            return next(numbers)

    return advance


def _atomic_counter() -> Callable[[], int]:
    return itertools.count().__next__ if _COUNT_IS_ATOMIC else _locking_counter()


# Under the GIL, one C call that runs no Python code cannot be interrupted by another thread.
_COUNT_IS_ATOMIC = getattr(sys, "_is_gil_enabled", lambda: True)()


class View(Protocol):
    """An open window over the ticks of one stay."""

    @property
    def tick(self) -> Callable[[], object]:
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

    def open(self, ticks: Ticks, clock: Clock, lock: Lock) -> View:
        """A fresh view on `ticks`."""
        return _CountView(self.size, ticks)


class _CountView:
    __slots__ = ("_size", "tick")

    def __init__(self, size: int, ticks: Ticks) -> None:
        self._size = size
        self.tick = ticks.advance

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
        checks.positive_seconds("seconds", self.seconds)

    def __str__(self) -> str:
        return f"in the last {self.seconds:g} s"

    def open(self, ticks: Ticks, clock: Clock, lock: Lock) -> View:
        """A fresh view on `ticks`, which begins now."""
        return _TimeView(self.seconds / 10, ticks, clock, lock)


class _TimeView:
    """Marks say, for each tenth in which somebody was here, how many calls had been counted before it."""

    __slots__ = ("_advance", "_clock", "_edge", "_lock", "_marks", "_origin", "_tenth", "_ticks")

    def __init__(self, tenth: float, ticks: Ticks, clock: Clock, lock: Lock) -> None:
        self._tenth, self._ticks, self._clock, self._lock = tenth, ticks, clock, lock
        self._origin = clock()
        self._edge = self._origin + tenth
        self._marks = deque([(0, 0)])
        self._advance = ticks.advance

    def tick(self) -> None:
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
            self._marks.append((tenth, self._ticks.read_locked()))
            while self._marks[0][0] <= tenth - 10:
                self._marks.popleft()

    def oldest_locked(self, counted: int) -> int:
        return self._marks[0][1]


Window = CountWindow | TimeWindow
