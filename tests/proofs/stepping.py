"""Every order in which callers can pass the breaker's lock: a small explicit search over the real code.

One caller runs at a time. Entering the breaker's lock ends its step, so a step is one critical section and
what is read without the lock before the next. The search replays the callers from the start for each order.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections.abc import Callable, Iterator, Sequence

Job = Callable[[], None]
Jobs = Sequence[tuple[str, Job]]
"""Jobs with their kinds. Jobs of one kind must be alike until their first critical section."""


class Caller:
    """A thread that runs a job step by step, only while the search waits for it."""

    def __init__(self) -> None:
        self._go, self._back = allocate_lock(), allocate_lock()
        self._go.acquire()
        self._back.acquire()
        self._job: Job | None = None
        self.kind = ""
        self.done, self.error, self.started, self.uncut = True, None, False, 0
        threading.Thread(target=self._live, daemon=True).start()

    def begin(self, kind: str, job: Job | None) -> None:
        self.kind, self._job, self.done, self.error, self.started, self.uncut = kind, job, False, None, False, 0

    def step(self) -> None:
        """Let it run to its next critical section, or to its end."""
        self.started = True
        self._go.release()
        self._back.acquire()
        if self.error is not None:
            raise self.error

    def end_step(self) -> None:
        """A critical section is next, or whatever else is to be a step of its own."""
        if self.uncut:
            self.uncut -= 1
        else:
            self._pause()

    def _pause(self) -> None:
        self._back.release()
        self._go.acquire()

    def _live(self) -> None:
        self._go.acquire()
        while self._job is not None:
            try:
                self._job()
            except BaseException as error:
                self.error = error
            self.done = True
            self._pause()
        self._back.release()


class SteppingLock:
    """Stands in for a breaker's lock. No step ends inside it, so it excludes as the real one does."""

    def __init__(self, search: Search) -> None:
        self._search, self._depth = search, 0

    def __enter__(self) -> None:
        if self._depth == 0 and self._search.current is not None:
            self._search.current.end_step()
        self._depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self._depth -= 1

    def _is_owned(self) -> bool:
        return self._depth > 0

    def acquire(self) -> None:
        """For a fork, which takes the locks of all breakers that are alive."""
        self._depth += 1

    def release(self) -> None:
        self._depth -= 1


class Search:
    """The callers and the order in which they take their steps."""

    def __init__(self, callers: int) -> None:
        self.callers = [Caller() for _ in range(callers)]
        self.current: Caller | None = None

    def orders(self, begin: Callable[[], Jobs]) -> Iterator[None]:
        """Run the jobs that `begin` makes in every order; yields after each, so that the end can be checked."""
        order: list[int] = []
        while True:
            taken = self._run(begin(), order)
            yield
            while taken and taken[-1][0] + 1 == taken[-1][1]:
                taken.pop()
            if not taken:
                return
            order = [choice for choice, _ in taken]
            order[-1] += 1

    def _run(self, jobs: Jobs, order: list[int]) -> list[tuple[int, int]]:
        """One run in this order, then as they come. Returns each choice and among how many it was."""
        for caller, (kind, job) in zip(self.callers, jobs, strict=True):
            caller.begin(kind, job)
        taken: list[tuple[int, int]] = []
        while ready := self._ready():
            choice = order[len(taken)] if len(taken) < len(order) else 0
            taken.append((choice, len(ready)))
            self.current = ready[choice]
            try:
                self.current.step()
            finally:
                self.current = None
        return taken

    def _ready(self) -> list[Caller]:
        """Who can take the next step. Those of one kind are alike until they begin, so the first begins first."""
        begun = [caller for caller in self.callers if caller.started and not caller.done]
        first = {caller.kind: caller for caller in reversed(self.callers) if not caller.started}
        return begun + list(first.values())

    def close(self) -> None:
        """End the threads; one that a failed run left inside its job is left to the end of the process."""
        for caller in self.callers:
            if caller.done:
                caller.begin("", None)
                caller.step()
