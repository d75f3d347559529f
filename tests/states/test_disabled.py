"""DISABLED: every call goes through and nothing is counted."""

from __future__ import annotations

from typing import Any

import pytest
from kit.steps import THRESHOLD, Boom, Cancelled, Make, counts, fail, ok, succeed

from breaker import CircuitBreaker, CountWindow, SlowCallRate, State
from breaker.testing import ManualClock


@pytest.fixture
def disabled(breaker: CircuitBreaker) -> CircuitBreaker:
    breaker.disable()
    return breaker


def test_disabled_lets_everything_through_and_counts_nothing(disabled: CircuitBreaker) -> None:
    succeed(disabled, 2)
    fail(disabled, THRESHOLD * 10)
    fail(disabled, 2, Cancelled)
    disabled.acquire().succeed()
    disabled.acquire().fail(Boom("down"))
    assert (disabled.state, disabled.failure_count, disabled.retry_after) == (State.DISABLED, 0, 0.0)
    assert counts(disabled) == (0, 0, 0, 0)


def test_disabled_tells_listeners_of_no_call(make: Make) -> None:
    heard: list[Any] = []
    breaker = make(listeners=[heard.append])
    breaker.disable()
    heard.clear()
    succeed(breaker)
    fail(breaker)
    breaker.acquire().succeed()
    breaker.acquire().fail()
    breaker.acquire().release()
    assert heard == []


def test_disabled_asks_no_classifier(make: Make) -> None:
    asked: list[object] = []
    breaker = make(record_exceptions=asked.append, record_result=asked.append, retry_after=asked.append)
    breaker.disable()
    succeed(breaker)
    fail(breaker)
    assert asked == []


def test_disabled_measures_no_call(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=SlowCallRate(0.1, slower_than=1.0, window=CountWindow(2), minimum_calls=1))
    breaker.disable()
    breaker.call(clock.advance, 100.0)
    assert breaker.statistics().slow == 0


def test_what_was_admitted_while_disabled_ends_uncounted_after_it(disabled: CircuitBreaker) -> None:
    late = [disabled.acquire() for _ in range(THRESHOLD)]
    disabled.reset()
    for permit in late:
        permit.fail()
    assert (disabled.state, disabled.failure_count) == (State.CLOSED, 0)
    assert counts(disabled) == (0, 0, 0, 0)


def test_a_call_admitted_before_disable_decides_nothing(make: Make) -> None:
    breaker = make(failure_threshold=1)
    late = breaker.acquire()
    breaker.disable()
    late.fail()
    assert breaker.state is State.DISABLED


def test_reset_closes_the_circuit_and_counting_begins(disabled: CircuitBreaker) -> None:
    fail(disabled, THRESHOLD)
    disabled.reset()
    fail(disabled, THRESHOLD - 1)
    assert (disabled.state, disabled.failure_count) == (State.CLOSED, THRESHOLD - 1)
    fail(disabled)
    assert disabled.state is State.OPEN


def test_a_dropped_permit_of_disabled_leaves_the_breaker_working(disabled: CircuitBreaker) -> None:
    with pytest.warns(ResourceWarning, match="payments"):
        disabled.acquire()
    assert disabled.call(ok) == "fine"
