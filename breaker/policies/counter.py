"""How calls are numbered: the counter of one stay, whose step is all that a healthy call costs.

`next(counter)` counts one call, atomically and without a lock of the breaker's. Reading such a counter takes
a step, too: reads are counted and subtracted, so numbers stay exact however often somebody looks.

Methods ending in `_locked` need the breaker's lock. A counter knows nothing of failures but their number.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Reading:
    """How a counter is read: that costs a step, so reads are counted and subtracted."""

    __slots__ = ()
    _reads: int
    _frozen: int | None
    failed: int
    """How many of the counted calls failed; kept here by whoever counts one."""

    def count_locked(self) -> int:
        """Count one call and return its number."""
        number: int = next(self)  # type: ignore[call-overload]  # both subclasses are iterators
        return number - self._reads

    def read_locked(self) -> int:
        """How many calls were counted; the same number throughout a `frozen_locked` block."""
        if self._frozen is not None:
            return self._frozen
        counted = self.count_locked()
        self._reads += 1  # type: ignore[misc]  # both subclasses have the slot
        return counted

    def renew_lock(self) -> None:
        """In a child process: no lock may be inherited held."""

    @contextmanager
    def frozen_locked(self) -> Iterator[None]:
        """One moment for all readings within, while calls go on being counted."""
        frozen = self.read_locked()
        self._frozen = frozen  # type: ignore[misc]  # as above
        try:
            yield
        finally:
            self._frozen = None  # type: ignore[misc]  # as above


class _AtomicCounter(_Reading, itertools.count):  # type: ignore[type-arg]  # counts in int
    """One C call that runs no Python code: under the GIL no other thread can interrupt it."""

    __slots__ = ("_frozen", "_reads", "failed")

    def __init__(self) -> None:
        self._reads = self.failed = 0
        self._frozen = None


class LockedCounter(_Reading):
    """The same for builds without the GIL."""

    __slots__ = ("_frozen", "_lock", "_number", "_reads", "failed")

    def __init__(self) -> None:
        self._lock, self._number = threading.Lock(), -1
        self._reads = self.failed = 0
        self._frozen = None

    def renew_lock(self) -> None:
        self._lock = threading.Lock()

    def __next__(self) -> int:
        with self._lock:
            self._number += 1
            return self._number


_HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
CallCounter = _AtomicCounter if _HAS_GIL else LockedCounter
"""Numbers the completed calls of one stay, 0, 1, 2...: `counter.__next__` is atomic and needs no lock."""
AnyCounter = _AtomicCounter | LockedCounter
