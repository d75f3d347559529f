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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from breaker import checks

Clock = Callable[[], float]
Lock = AbstractContextManager[Any]


class _Reading:
    """How a counter is read: that costs a tick, so reads are counted and subtracted."""

    __slots__ = ()
    _reads: int
    _held: int | None
    failed: int
    """How many of the counted calls failed; kept here by whoever counts one."""

    def take_locked(self) -> int:
        """Count one call and return its number."""
        number: int = next(self)  # type: ignore[call-overload]  # both subclasses are iterators
        return number - self._reads

    def read_locked(self) -> int:
        """How many calls were counted; the same number throughout a `held` block."""
        if self._held is not None:
            return self._held
        counted = self.take_locked()
        self._reads += 1  # type: ignore[misc]  # both subclasses have the slot
        return counted

    def renew_lock(self) -> None:
        """In a child process: no lock may be inherited held."""

    @contextmanager
    def held_locked(self) -> Iterator[None]:
        """One moment for all readings within, while calls go on being counted."""
        held = self.read_locked()
        self._held = held  # type: ignore[misc]  # as above
        try:
            yield
        finally:
            self._held = None  # type: ignore[misc]  # as above


class _AtomicTicks(_Reading, itertools.count):  # type: ignore[type-arg]  # counts in int
    """One C call that runs no Python code: under the GIL no other thread can interrupt it."""

    __slots__ = ("_held", "_reads", "failed")

    def __init__(self) -> None:
        self._reads = self.failed = 0
        self._held = None


class LockedTicks(_Reading):
    """The same for builds without the GIL."""

    __slots__ = ("_held", "_lock", "_number", "_reads", "failed")

    def __init__(self) -> None:
        self._lock, self._number = threading.Lock(), -1
        self._reads = self.failed = 0
        self._held = None

    def renew_lock(self) -> None:
        self._lock = threading.Lock()

    def __next__(self) -> int:
        with self._lock:
            self._number += 1
            return self._number


_HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
Ticks = _AtomicTicks if _HAS_GIL else LockedTicks
"""Numbers the completed calls of one stay, 0, 1, 2...: `ticks.__next__` is atomic and needs no lock.

Numbers stay exact however often somebody looks.
"""
AnyTicks = _AtomicTicks | LockedTicks


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

    def open(self, ticks: AnyTicks, clock: Clock, lock: Lock) -> View:
        """A fresh view on `ticks`."""
        return _CountView(self.size, ticks)


class _CountView:
    __slots__ = ("_size", "tick")

    def __init__(self, size: int, ticks: AnyTicks) -> None:
        self._size = size
        self.tick = ticks.__next__

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

    def open(self, ticks: AnyTicks, clock: Clock, lock: Lock) -> View:
        """A fresh view on `ticks`, which begins now."""
        return _TimeView(self.seconds / 10, ticks, clock, lock)


class _TimeView:
    """Marks say, for each tenth in which somebody was here, how many calls had been counted before it."""

    __slots__ = ("_advance", "_clock", "_edge", "_lock", "_marks", "_origin", "_tenth", "_ticks")

    def __init__(self, tenth: float, ticks: AnyTicks, clock: Clock, lock: Lock) -> None:
        self._tenth, self._ticks, self._clock, self._lock = tenth, ticks, clock, lock
        self._origin = clock()
        self._edge = self._origin + tenth
        self._marks = deque([(0, 0)])
        self._advance = ticks.__next__

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
