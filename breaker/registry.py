"""`Registry`: one breaker for each key, made on first use, bounded without forgetting a circuit that is open.

It knows nothing of what its keys are, and does nothing to a breaker but make it and let go of it. Being
let go of ends nothing: a breaker that somebody still holds lives on, and is handed out again.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from breaker import checks
from breaker.circuit import CircuitBreaker
from breaker.observe import instances
from breaker.table import State

CLOSED = State.CLOSED


class Registry:
    """Named breakers: `registry[key]` makes one on first use, from `factory(key)` or from shared settings.

    Threads that race for a key get the same breaker. The factory runs outside the registry's lock, so a
    slow one keeps only those waiting who want the same key; if it raises, the next one who asks tries
    again. With settings instead, the breaker's name is `str(key)`, and a setting that cannot work is
    refused here, not at the first key.

    `max_size` breakers are kept, the least recently used ones go first; so do those not asked for in
    `idle_timeout` seconds (on the `clock` given, if any). Only CLOSED ones are let go of, so the registry
    may hold more than `max_size` while many circuits are open, or in an operator's state. One that was let
    go of while a call held it, and opens at the end of that call, is forgotten with it. Raises
    `ValueError` or `TypeError` for a setting that cannot work.
    """

    def __init__(
        self,
        factory: Callable[[Any], CircuitBreaker] | None = None,
        *,
        max_size: int | None = None,
        idle_timeout: float | None = None,
        **settings: Any,
    ) -> None:
        self._max_size = None if max_size is None else checks.count("max_size", max_size)
        self._idle_timeout = None if idle_timeout is None else checks.positive_seconds("idle_timeout", idle_timeout)
        self._bounded = max_size is not None or idle_timeout is not None
        # However many are open: were there no place for CLOSED ones, no new key's failures would ever add up.
        self._places = max(1, (self._max_size or 0) // 10)
        self._clock: Callable[[], float] = settings.get("clock", time.monotonic)
        if not callable(self._clock):
            raise TypeError(f"clock must be a function that returns seconds, got {self._clock!r}")
        self._factory = _from_settings(settings) if factory is None else _checked(factory, settings)
        self._lock = threading.RLock()
        self._making: dict[Hashable, threading.RLock] = {}
        self._breakers: OrderedDict[Hashable, CircuitBreaker] = OrderedDict()  # bounded: least recently used first
        self._used: dict[Hashable, float] = {}
        self._kept: OrderedDict[Hashable, CircuitBreaker] = OrderedDict()  # were to go, but were not CLOSED
        self._let_go: weakref.WeakValueDictionary[Hashable, CircuitBreaker] = weakref.WeakValueDictionary()
        instances.hold_too(self)

    def __getitem__(self, key: Hashable) -> CircuitBreaker:
        """The breaker for `key`, made now if there is none. Raises what the factory raises."""
        if self._bounded:
            with self._lock:
                breaker = self._use_locked(key)
        else:
            breaker = self._breakers.get(key)
        return self._make(key) if breaker is None else breaker

    def get(self, key: Hashable) -> CircuitBreaker | None:
        """The breaker for `key` if there is one. Makes none, and does not count as a use."""
        with self._lock:
            self._shrink_locked()
            breaker = self._breakers.get(key)
            return self._kept.get(key) if breaker is None else breaker

    def remove(self, key: Hashable) -> CircuitBreaker | None:
        """Forget the breaker for `key`, whatever its state, and return it; None if there is none."""
        with self._lock:
            self._used.pop(key, None)
            let_go = self._let_go.pop(key, None)
            return self._breakers.pop(key, None) or self._kept.pop(key, None) or let_go

    def items(self) -> list[tuple[Hashable, CircuitBreaker]]:
        """The keys and their breakers, as they are now."""
        with self._lock:
            self._shrink_locked()
            return [*self._breakers.items(), *self._kept.items()]

    def values(self) -> list[CircuitBreaker]:
        """The breakers, as they are now."""
        return [breaker for _, breaker in self.items()]

    def __iter__(self) -> Iterator[Hashable]:
        """The keys, as they are now."""
        return iter([key for key, _ in self.items()])

    def __contains__(self, key: Hashable) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        with self._lock:
            self._shrink_locked()
            return len(self._breakers) + len(self._kept)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} breakers>"

    # -- making -------------------------------------------------------------------------------------------

    def _make(self, key: Hashable) -> CircuitBreaker:
        with self._lock:
            turn = self._making.setdefault(key, threading.RLock())
        with turn:
            try:
                with self._lock:
                    breaker = self._use_locked(key) or self._let_go.pop(key, None)
                return self._add(key, breaker or self._factory(key))
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _add(self, key: Hashable, breaker: CircuitBreaker) -> CircuitBreaker:
        if not isinstance(breaker, CircuitBreaker):
            raise TypeError(f"the factory must return a CircuitBreaker, got {breaker!r} for {key!r}")
        with self._lock:
            # After a factory that raised, those who waited and one who came later may both have made one.
            present = self._use_locked(key)
            if present is None:
                self._breakers[key] = present = breaker
                self._used_now_locked(key)
                self._look_at_kept_locked()
                self._shrink_locked()
            return present

    # -- letting go ---------------------------------------------------------------------------------------

    def _use_locked(self, key: Hashable) -> CircuitBreaker | None:
        self._shrink_locked()
        breaker = self._breakers.get(key)
        if breaker is None:
            return self._kept.get(key)
        if self._bounded:
            self._breakers.move_to_end(key)
            self._used_now_locked(key)
        return breaker

    def _used_now_locked(self, key: Hashable) -> None:
        if self._idle_timeout is not None:
            self._used[key] = self._clock()

    def _shrink_locked(self) -> None:
        """Let go of what is too much or idle. Each step takes one breaker out of the row, for good or for long."""
        while self._breakers and (self._too_many_locked() or self._idle_locked()):
            key, breaker = self._breakers.popitem(last=False)
            self._used.pop(key, None)
            if breaker.state is CLOSED:
                self._let_go[key] = breaker
            else:
                self._kept[key] = breaker

    def _too_many_locked(self) -> bool:
        if self._max_size is None or len(self._breakers) <= self._places:
            return False
        return len(self._breakers) + len(self._kept) > self._max_size

    def _idle_locked(self) -> bool:
        """Whether the least recently used one is idle. The boundary instant counts as idle."""
        if self._idle_timeout is None:
            return False
        return self._clock() - self._used[next(iter(self._breakers))] >= self._idle_timeout

    def _look_at_kept_locked(self) -> None:
        """Put those that closed meanwhile back in the row. Two for each one made, so all get their turn."""
        for _ in range(min(2, len(self._kept))):
            key, breaker = self._kept.popitem(last=False)
            if breaker.state is CLOSED:
                self._breakers[key] = breaker
                self._used_now_locked(key)
            else:
                self._kept[key] = breaker

    # -- the process: as for breakers, no lock is inherited held ---------------------------------------------

    def _hold_for_fork(self) -> None:
        self._lock.acquire()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child_after_fork(self) -> None:
        self._making.clear()  # those whose turn it was are threads of the parent


def _from_settings(settings: dict[str, Any]) -> Callable[[Any], CircuitBreaker]:
    if "listeners" in settings:
        settings = {**settings, "listeners": tuple(settings["listeners"])}  # an iterator would serve one breaker
    CircuitBreaker("", **settings).close()
    return lambda key: CircuitBreaker(str(key), **settings)


def _checked(factory: Any, settings: dict[str, Any]) -> Callable[[Any], CircuitBreaker]:
    if not callable(factory):
        raise TypeError(f"factory must be a function of a key, got {factory!r}")
    others = ", ".join(sorted(settings.keys() - {"clock"}))
    if others:
        raise TypeError(f"give a factory or settings, not both: {others}")
    return factory  # type: ignore[no-any-return]  # what it returns is checked when it does
