"""What the lock is for: each race below holds its promise with the lock, and breaks it once the lock is out.

A thread switch is forced, not hoped for: one caller is stopped at each bytecode of the breaker in turn, and
the other runs to its end there. No switch is tried where the lock is held, because the other would wait.
Then the same promises under sixteen real threads that start at once. Rules 5, 7 and 13 of the design.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from transitions import MachineError

import breaker as package
from breaker import CircuitBreaker, CircuitOpenError, CountWindow, FailureRate, State, TimeWindow
from breaker.testing import ManualClock

SOURCES = str(Path(package.__file__).parent)
DEADLINE = 30.0


class WatchedLock:
    """The breaker's own lock, which knows whether it is held."""

    def __init__(self, real: Any) -> None:
        self._real, self.depth = real, 0

    def __enter__(self) -> None:
        self._real.__enter__()
        self.depth += 1

    def __exit__(self, *exc_info: Any) -> None:
        self.depth -= 1
        self._real.__exit__(*exc_info)

    def _is_owned(self) -> bool:
        return self.depth > 0


class NoLock:
    """What is left when the lock is taken out."""

    depth = 0

    def __init__(self, real: Any) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *exc_info: Any) -> None: ...

    def _is_owned(self) -> bool:
        return False


@dataclass(frozen=True)
class Race:
    """What two or more callers do at once to a new breaker, and what must be true when they are done."""

    prepare: Callable[[], Any]
    act: Callable[[Any], Any]
    promise: Callable[[Any, list[Any]], bool]
    other: Callable[[Any], Any] | None = None


def _breaker(**settings: Any) -> CircuitBreaker:
    return CircuitBreaker("raced", recovery_timeout=10.0, clock=ManualClock(), **settings)


def _half_open() -> CircuitBreaker:
    return _breaker(initial_state=State.HALF_OPEN)


def _call(breaker: CircuitBreaker, *call: Any) -> bool:
    """Whether the call was made."""
    try:
        breaker.call(*call)
    except CircuitOpenError:
        return False
    except ZeroDivisionError:
        pass
    return True


def _fail(breaker: CircuitBreaker) -> bool:
    return _call(breaker, divmod, 1, 0)


def _succeed(breaker: CircuitBreaker) -> bool:
    return _call(breaker, int)


def _permit() -> tuple[CircuitBreaker, Any]:
    breaker = _breaker(failure_threshold=100)
    return breaker, breaker.acquire()


def _acquire(breaker: CircuitBreaker) -> Any:
    try:
        return breaker.acquire()
    except CircuitOpenError:
        return None


def _one_probe(breaker: CircuitBreaker, permits: list[Any]) -> bool:
    probes = [permit for permit in permits if permit is not None]
    for probe in probes:
        probe.release()
    return len(probes) == 1


def _all_failures(breaker: CircuitBreaker, results: list[Any]) -> bool:
    return breaker.failure_count == breaker.statistics().failures == len(results)


RACES = {
    "one place takes one probe": Race(_half_open, _acquire, _one_probe),
    "failures in a row are all counted": Race(lambda: _breaker(failure_threshold=100), _fail, _all_failures),
    "failures in a window are all counted": Race(
        lambda: _breaker(trip=FailureRate(1.0, CountWindow(100), 100)),
        _fail,
        lambda breaker, results: _all_failures(breaker, results) and breaker.statistics().window_calls == len(results),
    ),
    "failures that trip together trip once": Race(
        lambda: _breaker(failure_threshold=1), _fail, lambda breaker, _: breaker.statistics().openings == 1
    ),
    "neutral ends are all counted": Race(
        lambda: _breaker(failure_threshold=100),
        lambda breaker: breaker.acquire().release(),
        lambda breaker, results: breaker.statistics().ignored == len(results),
    ),
}


def _success_beside_a_trip(**settings: Any) -> Race:
    return Race(
        lambda: _breaker(**settings),
        _succeed,
        lambda breaker, made: breaker.statistics().calls == sum(made) and breaker.statistics().openings == 1,
        other=_fail,
    )


LOCK_FREE = {
    "neutral ends are all counted": Race(
        lambda: _breaker(failure_threshold=100),
        lambda breaker: breaker.acquire().release(),
        lambda breaker, results: breaker.statistics().ignored == len(results),
    ),
}


def _success_beside_a_trip(**settings: Any) -> Race:
    return Race(
        lambda: _breaker(**settings),
        _succeed,
        lambda breaker, made: breaker.statistics().calls == sum(made) and breaker.statistics().openings == 1,
        other=_fail,
    )


LOCK_FREE = {
    "a permit settled by two counts once": Race(
        _permit,
        lambda both: both[1].fail(),
        lambda both, _: both[0].statistics().failures == 1,
    ),
    "a success beside a trip is counted once": _success_beside_a_trip(failure_threshold=1),
    "a success beside a trip is counted once, count window": _success_beside_a_trip(
        trip=FailureRate(0.5, CountWindow(10), 1)
    ),
    "a success beside a trip is counted once, time window": _success_beside_a_trip(
        trip=FailureRate(0.5, TimeWindow(10.0), 1)
    ),
}
"""Races that are decided without the lock, so there is nothing to take out. Every switch is tried."""


class Switch:
    """Runs `other` in the middle of what is traced: at its `place`-th bytecode where the lock is free."""

    def __init__(self, lock: Any, place: int, other: Callable[[], None]) -> None:
        self._lock, self._left, self._other = lock, place, other

    @property
    def reached(self) -> bool:
        return self._left < 0

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and self._lock.depth == 0 and not self.reached:
            self._left -= 1
            if self.reached:
                self._other()
        return self.trace


def _promise_kept(race: Race, lock_type: type, place: int) -> bool | None:
    """Whether the promise holds after a switch at `place`; None when there is no such place."""
    subject = race.prepare()
    breaker = subject[0] if isinstance(subject, tuple) else subject
    lock = breaker._lock = lock_type(breaker._lock)
    results: list[Any] = []
    switch = Switch(lock, place, lambda: results.append((race.other or race.act)(subject)))
    before = sys.gettrace()
    try:
        sys.settrace(switch.trace)
        results.append(race.act(subject))
    except MachineError:
        return False  # one caller left a state that the other cannot be in
    finally:
        sys.settrace(before)
    kept = race.promise(subject, results)
    return kept if switch.reached else None


def _verdicts(race: Race, lock_type: type) -> Iterator[bool]:
    _promise_kept(race, lock_type, sys.maxsize)  # CPython 3.12 tells of bytecodes from the second tracing on only
    for place in itertools.count():
        kept = _promise_kept(race, lock_type, place)
        if kept is None:
            return
        yield kept


@pytest.mark.parametrize("name", [*RACES, *LOCK_FREE])
def test_a_switch_at_any_bytecode_leaves_the_promise_whole(name: str) -> None:
    verdicts = list(_verdicts((RACES | LOCK_FREE)[name], WatchedLock))
    assert len(verdicts) > 10
    assert verdicts.count(False) == 0, f"broken by a switch at bytecode {verdicts.index(False)}"


@pytest.mark.parametrize("name", RACES)
def test_without_the_lock_a_switch_at_some_bytecode_breaks_the_promise(name: str) -> None:
    assert not all(_verdicts(RACES[name], NoLock))


@pytest.fixture
def eager_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _at_once(number: int, act: Callable[[], Any]) -> list[Any]:
    """What `act` returned, or the exception that it raised, in threads that start together."""
    start, results = threading.Barrier(number), []

    def run() -> None:
        start.wait(DEADLINE)
        try:
            results.append(act())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "a deadlock"
    return results


@pytest.mark.parametrize("name", [*RACES, "a permit settled by two counts once"])
def test_sixteen_threads_that_start_at_once_leave_the_promise_whole(name: str, eager_switching: None) -> None:
    race = (RACES | LOCK_FREE)[name]
    for _ in range(20):
        subject = race.prepare()
        results = _at_once(16, lambda subject=subject: race.act(subject))
        assert [result for result in results if isinstance(result, Exception)] == []
        assert race.promise(subject, results)
