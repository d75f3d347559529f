"""The health check: a ping of the user's that closes the circuit with no user call spent on it.

A daemon thread pings only while the circuit is OPEN past its recovery timeout, or HALF_OPEN, and ends as
soon as it is neither, or the breaker is dropped or told to `close()`. It is the breaker's prober: a ping is a
probe like any other, through the same two verbs; nothing it raises reaches the terminal. A ping that hangs
is given up with its probe's lease, and another thread pings; at most eight are left hanging.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

from breaker import checks
from breaker.calls.settling import CallPath
from breaker.observe.events import TripReport
from breaker.outcome import FAILED, SUCCEEDED
from breaker.table import State

_MOST_HUNG = 8
logger = logging.getLogger("breaker")


class HealthCheck:
    """A ping and how often to try it: a `Prober`. Raises `TypeError` or `ValueError` for one that cannot work."""

    __slots__ = ("_closed", "_due", "_hung", "_interval", "_lock", "_ping", "_pinged", "_thread")

    def __init__(self, ping: Callable[[], Any], interval: float) -> None:
        if not callable(ping):
            raise TypeError(f"health_check must be a function, got {ping!r}")
        self._ping = ping
        self._interval = checks.positive_seconds("health_check_interval", interval)
        self._closed = threading.Event()
        self._due = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pinged: object = None  # the state whose probe the ping under way is
        self._hung: list[threading.Thread] = []

    def may_probe(self, breaker: CallPath) -> bool:
        """Never: no caller is let in before a ping has succeeded."""
        return False

    def wait(self, breaker: CallPath) -> float:
        """Seconds between pings."""
        return self._interval

    def moved_locked(self, state: State, trigger: str | None, report: TripReport | None) -> None:
        """Ping while the circuit is on its way back."""
        self._due = state in (State.OPEN, State.HALF_OPEN)

    def close(self) -> None:
        """Ping no more."""
        self._closed.set()

    def ensure_running(self, breaker: CallPath) -> None:
        """Start the thread if `breaker` needs it and none runs (after a fork, none does)."""
        if self._closed.is_set() or not self._due:
            return
        with self._lock:
            if self._has_thread_locked(breaker):
                return
            thread = threading.Thread(
                target=_run, args=(self, weakref.ref(breaker)), name=f"health of {breaker.name}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                return  # no thread is to be had now; the next rejected call tries again
            self._thread, self._pinged = thread, None

    def _has_thread_locked(self, breaker: CallPath) -> bool:
        """Whether somebody pings, or nobody may. A ping whose probe was given up is replaced: it may hang for ever."""
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        if self._thread is None or not self._thread.is_alive():
            return False
        if self._pinged is None or self._pinged is breaker._state:
            return True
        if len(self._hung) == _MOST_HUNG:
            return True
        self._hung.append(self._thread)
        return False

    def in_child_after_fork(self) -> None:
        """In a child process the thread is gone, and its locks may be held for ever."""
        closed, self._closed = self._closed.is_set(), threading.Event()
        if closed:
            self._closed.set()
        self._lock, self._thread, self._pinged, self._hung = threading.Lock(), None, None, []

    def _is_over(self, breaker: CallPath | None) -> bool:
        """Whether the thread may end; if so, it counts as gone from now on."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return True  # it hung, and another took its place
            over = breaker is None or self._closed.is_set() or not self._due
            if over:
                self._thread = None
        return over

    def _try(self, breaker: CallPath) -> None:
        """Ping once, if it is time. A ping that raises, or returns False, is a failed probe."""
        permit = breaker._admit_prober()
        if permit is None:
            return
        self._pinged = permit._state
        try:
            answer = self._ping()
            if hasattr(type(answer), "__await__"):
                import asyncio  # in the thread that needs it: the core runs without

                answer = asyncio.run(_awaited(answer))
        except BaseException as error:
            breaker._settle(permit._state, FAILED, error, permit)
        else:
            breaker._settle(permit._state, FAILED if answer is False else SUCCEEDED, None, permit)
        finally:
            if self._thread is threading.current_thread():
                self._pinged = None


async def _awaited(answer: Any) -> Any:
    return await answer


def _run(check: HealthCheck, breaker: weakref.ref[CallPath]) -> None:
    while True:
        check._closed.wait(min(check._interval, threading.TIMEOUT_MAX))
        alive = breaker()
        if check._is_over(alive) or alive is None:
            return
        try:
            check._try(alive)
        except BaseException as error:  # of the user's clock, policy or listener: the pinging must go on
            logger.error("the health check of breaker %r failed: %r", alive.name, error)
        del alive  # or this thread would keep the breaker while it waits
