"""Totals and the counters they are read from: of one moment, with and without the GIL."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

import pytest
from kit.steps import Make, fail, succeed

from breaker import (
    CircuitBreaker,
    CountWindow,
    FailureRate,
)
from breaker.machine import totals
from breaker.policies import counter as counters
from breaker.states import half_open, judging


def test_statistics_are_of_one_moment_while_calls_go_on() -> None:
    breaker = CircuitBreaker("x", trip=FailureRate(1.0, CountWindow(10**9), 10**9))
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            breaker.call(int)

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        torn = [now for now in (breaker.statistics() for _ in range(3000)) if now.window_calls != now.calls]
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
        sys.setswitchinterval(before)
    assert torn == []


@pytest.fixture
def without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (judging, half_open, totals):
        monkeypatch.setattr(module, "CallCounter", counters.LockedCounter)


@pytest.mark.usefixtures("without_the_gil")
def test_where_counting_is_no_atomic_step_a_lock_makes_it_one() -> None:
    breaker = CircuitBreaker("x", failure_threshold=10**6)

    def work() -> None:
        for _ in range(500):
            breaker.call(int)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert breaker.statistics().successes == 4000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # a thread of another test may be alive
@pytest.mark.usefixtures("without_the_gil")
def test_where_counting_takes_a_lock_no_child_inherits_it_held() -> None:
    breaker = CircuitBreaker("x")
    breaker.force_open()
    breaker.reset()
    with contextlib.ExitStack() as held:
        for counter in (breaker._state.counter, *breaker._totals_locked().counters()):
            assert isinstance(counter, counters.LockedCounter)
            held.enter_context(counter._lock)
        child = os.fork()
        if child == 0:
            os._exit(breaker.call(int) + breaker.statistics().failures)
    assert os.waitpid(child, 0)[1] == 0


def test_failures_far_from_the_limit_of_a_window_are_all_in_the_totals(make: Make) -> None:
    breaker = make(trip=FailureRate(1.0, CountWindow(10), 10))
    fail(breaker, 4)
    succeed(breaker, 3)
    now = breaker.statistics()
    assert (now.failures, now.successes, now.calls, now.window_calls) == (4, 3, 7, 7)


def test_statistics_say_since_when_the_state_has_lasted(make: Make) -> None:
    breaker = make()
    breaker.disable()
    assert breaker.statistics().since == breaker.history[-1].at
