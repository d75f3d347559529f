"""Rule 18: a breaker made before `os.fork()` works in the child, whatever other threads were doing."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Make, fail, lose, ok, rejection, succeed

from breaker import (
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    SlowCallRate,
    State,
    StateChanged,
    TimeWindow,
)
from breaker.events import subscribe_all
from breaker.testing import ManualClock

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    # Python 3.12 and newer warn of a fork while threads run. That is what is tested here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
    # Coverage has a lock of its own, which the child of a busy process may inherit held.
    pytest.mark.no_cover,
]
FORKS = 25
DEADLINE = 10.0


@pytest.fixture(autouse=True)
def unmeasured_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child here is killed and saves no coverage: beginning to measure it would only take time for each fork."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


def in_child(work: Callable[[], object]) -> bool:
    """Whether `work` ends well in a forked child, and in time; a child that hangs is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writing, b"1")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)  # nothing that the parent registered runs at this exit
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answered = bool(select.select([pipe], [], [], DEADLINE)[0]) and pipe.read(1) == b"1"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answered


@contextmanager
def hammering(work: Callable[[], object], threads: int = 2) -> Iterator[None]:
    """Other threads do `work` over and over meanwhile."""
    stop = threading.Event()
    started = threading.Barrier(threads + 1)

    def hammer() -> None:
        started.wait(DEADLINE)
        while not stop.is_set():
            with suppress(Boom, CircuitOpenError):
                work()

    hammers = [threading.Thread(target=hammer, daemon=True) for _ in range(threads)]
    for thread in hammers:
        thread.start()
    started.wait(DEADLINE)
    try:
        yield
    finally:
        stop.set()
        for thread in hammers:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def goes_round(breaker: CircuitBreaker, advance: Callable[[float], None]) -> None:
    """Everything a breaker does, once."""
    breaker.reset()
    breaker.call(ok)
    for _ in range(THRESHOLD):
        with suppress(Boom):
            breaker.call(lose, Boom)
    assert breaker.state is State.OPEN
    with suppress(CircuitOpenError):
        breaker.call(ok)
    advance(RECOVERY)
    breaker.call(ok)
    assert breaker.state is State.CLOSED
    breaker.statistics(), breaker.history, breaker.failure_count, breaker.retry_after


POLICIES: dict[str, Any] = {
    "in a row": ConsecutiveFailures(THRESHOLD),
    "joined": ConsecutiveFailures(THRESHOLD) | FailureRate(0.9, TimeWindow(1.0)) | FailureRate(0.9, CountWindow(50)),
    "running": ConsecutiveFailures(THRESHOLD) | SlowCallRate(0.9, 99.0, CountWindow(50), count_running=True),
}


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_breaker_works_in_the_child_though_threads_hammered_it_during_the_fork(
    make: Make, clock: ManualClock, policy: str, heard: bool
) -> None:
    breaker = make(trip=POLICIES[policy], listeners=[lambda event: None] if heard else ())
    with hammering(lambda: (breaker.call(ok), breaker.call(lose, Boom))):
        assert all(in_child(lambda: goes_round(breaker, clock.advance)) for _ in range(FORKS))
    goes_round(breaker, clock.advance)  # and in the parent all goes on


def test_a_health_check_works_in_the_child_though_it_was_being_started_during_the_fork(
    make: Make, clock: ManualClock
) -> None:
    breaker = make(failure_threshold=1, health_check=ok, health_check_interval=0.001)

    def open_and_close() -> None:
        breaker.reset()
        with suppress(Boom):
            breaker.call(lose, Boom)

    with hammering(open_and_close):
        assert all(in_child(open_and_close) for _ in range(FORKS))
    breaker.close()


def test_the_lock_may_be_held_by_another_thread_at_the_very_moment_of_the_fork(make: Make, clock: ManualClock) -> None:
    inside, leave = threading.Event(), threading.Event()

    def holding_clock() -> float:
        if threading.current_thread().name == "holder":
            inside.set()
            leave.wait(0.2)  # the fork waits for this: it must find nobody inside
        return clock()

    breaker = make(clock=holding_clock)
    holder = threading.Thread(target=breaker.force_open, args=(5.0,), name="holder")
    holder.start()
    assert inside.wait(DEADLINE)
    assert in_child(lambda: goes_round(breaker, clock.advance))
    leave.set()
    holder.join(DEADLINE)


def test_the_child_has_the_parents_state_and_its_own_future(make: Make, clock: ManualClock) -> None:
    breaker = make()
    fail(breaker, THRESHOLD)

    def child() -> None:
        assert rejection(breaker).retry_after == RECOVERY
        clock.advance(RECOVERY)
        succeed(breaker)
        assert breaker.statistics().calls == THRESHOLD + 1

    assert in_child(child)
    assert (breaker.state, breaker.statistics().calls) == (State.OPEN, THRESHOLD)


def test_a_fork_during_a_call_leaves_parent_and_child_a_permit_each(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN)
    permit = breaker.acquire()

    def child() -> None:
        permit.fail()
        assert breaker.state is State.OPEN

    assert in_child(child)
    permit.succeed()
    assert breaker.state is State.CLOSED


def test_a_fork_from_a_listener_or_from_under_a_call_works(make: Make, clock: ManualClock) -> None:
    results: list[bool] = []
    parent = os.getpid()
    breaker = make()

    def fork(_: object = None) -> None:
        if os.getpid() == parent and len(results) < 2:
            results.append(in_child(lambda: goes_round(breaker, clock.advance)))

    breaker.subscribe(fork, StateChanged)
    breaker.call(fork)
    fail(breaker, THRESHOLD)
    assert results == [True, True]


def test_events_are_delivered_in_the_child_though_the_parent_was_delivering(make: Make) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow_listener(event: StateChanged) -> None:
        if event.new is State.FORCED_OPEN:
            inside.set()
            leave.wait(DEADLINE)

    breaker = make()
    breaker.subscribe(slow_listener, StateChanged)
    deliverer = threading.Thread(target=breaker.force_open)
    deliverer.start()
    assert inside.wait(DEADLINE)

    def child() -> None:
        heard: list[StateChanged] = []
        breaker.subscribe(heard.append, StateChanged)
        breaker.reset()
        assert [event.new for event in heard][-1:] == [State.CLOSED]

    assert in_child(child)
    leave.set()
    deliverer.join(DEADLINE)


def test_breakers_may_be_made_and_listened_to_in_the_child_though_threads_did_so_during_the_fork(
    clock: ManualClock,
) -> None:
    def work() -> None:
        unsubscribe = subscribe_all(ok)
        breaker = CircuitBreaker("stock", clock=clock, failure_threshold=THRESHOLD, recovery_timeout=RECOVERY)
        breaker.subscribe(ok)()
        unsubscribe()

    with hammering(work):
        assert all(in_child(work) for _ in range(FORKS))


def test_a_forked_child_may_fork_again(make: Make, clock: ManualClock) -> None:
    breaker = make()
    assert in_child(lambda: in_child(lambda: goes_round(breaker, clock.advance)) or 1 / 0)


def test_many_breakers_are_all_at_rest_during_a_fork(make: Make, clock: ManualClock) -> None:
    breakers = [make(name=f"host-{number}") for number in range(20)]
    turn = iter(range(10**9))

    def touch() -> None:
        breakers[next(turn) % 20].call(lose, Boom)

    def child() -> None:
        for breaker in breakers:
            goes_round(breaker, clock.advance)

    with hammering(touch):
        assert all(in_child(child) for _ in range(10))
