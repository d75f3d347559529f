"""OPEN: every call is rejected at once, until the recovery timeout has elapsed."""

from __future__ import annotations

import time

import pytest
from kit.steps import RECOVERY, THRESHOLD, Make, counts, fail, ok, rejection, succeed

from breaker import CircuitBreaker, State
from breaker.testing import ManualClock


@pytest.fixture
def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    fail(breaker, THRESHOLD)
    assert breaker.state is State.OPEN
    return breaker


def test_open_rejects_without_calling_and_counts_the_rejection(opened: CircuitBreaker) -> None:
    error = rejection(opened)
    assert (error.breaker_name, error.state, error.retry_after) == ("payments", State.OPEN, RECOVERY)
    assert error.report is opened.last_trip is not None
    assert counts(opened) == (0, THRESHOLD, 0, 1)


def test_the_first_call_at_the_very_instant_of_the_timeout_is_a_probe(
    opened: CircuitBreaker, clock: ManualClock
) -> None:
    clock.advance(RECOVERY)
    states: list[State] = []
    opened.call(lambda: states.append(opened.state))
    assert states == [State.HALF_OPEN]
    assert opened.state is State.CLOSED


def test_a_call_just_before_the_timeout_is_rejected(opened: CircuitBreaker, clock: ManualClock) -> None:
    clock.advance(RECOVERY - 0.001)
    assert rejection(opened).retry_after == pytest.approx(0.001)
    assert opened.state is State.OPEN


def test_retry_after_counts_down_to_nothing(opened: CircuitBreaker, clock: ManualClock) -> None:
    left = []
    for _ in range(4):
        left.append(opened.retry_after)
        clock.advance(4.0)
    assert left == [10.0, 6.0, 2.0, 0.0]


def test_reading_moves_nothing(opened: CircuitBreaker, clock: ManualClock) -> None:
    clock.advance(RECOVERY * 100)
    opened.statistics(), opened.history, opened.retry_after, opened.failure_count, repr(opened)
    assert opened.state is State.OPEN
    assert len(opened.history) == 1


def test_failure_count_tells_the_failures_that_opened_the_circuit(opened: CircuitBreaker) -> None:
    assert opened.failure_count == THRESHOLD


@pytest.mark.parametrize("late", ["succeed", "fail", "release"])
def test_a_late_result_neither_closes_nor_lengthens_open(
    breaker: CircuitBreaker, clock: ManualClock, late: str
) -> None:
    old = breaker.acquire()
    fail(breaker, THRESHOLD)
    opened_at = breaker.last_failure_time
    clock.advance(RECOVERY - 1)
    getattr(old, late)()
    assert (breaker.state, breaker.retry_after, breaker.failure_count) == (State.OPEN, 1.0, THRESHOLD)
    assert breaker.last_failure_time == opened_at
    clock.advance(1)
    succeed(breaker)


def test_a_late_failure_that_asks_for_patience_does_not_lengthen_open(make: Make, clock: ManualClock) -> None:
    breaker = make(retry_after=lambda error: 500.0 if error.args == ("busy",) else None)
    old = breaker.acquire()
    fail(breaker, THRESHOLD)
    old.fail(ValueError("busy"))
    assert breaker.retry_after == RECOVERY
    clock.advance(RECOVERY)
    succeed(breaker)


def test_last_failure_time_is_the_unix_time_of_the_last_opening(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, THRESHOLD - 1)
    assert breaker.last_failure_time is None
    before = time.time()
    fail(breaker)
    first = breaker.last_failure_time
    assert first is not None
    assert before <= first <= time.time()
    clock.advance(RECOVERY)
    fail(breaker)
    assert breaker.last_failure_time is not None
    assert breaker.last_failure_time >= first
    assert breaker.statistics().openings == 2


def test_a_timeout_of_nothing_rejects_nobody(make: Make) -> None:
    breaker = make(recovery_timeout=0)
    fail(breaker, THRESHOLD)
    assert breaker.state is State.OPEN
    assert breaker.call(ok) == "fine"
    assert breaker.state is State.CLOSED


def test_a_breaker_may_begin_open(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.OPEN)
    assert rejection(breaker).report is None
    assert (breaker.retry_after, breaker.failure_count) == (RECOVERY, 0)
    clock.advance(RECOVERY)
    succeed(breaker)
    assert breaker.state is State.CLOSED


def test_reset_lets_calls_through_at_once(opened: CircuitBreaker) -> None:
    opened.reset()
    succeed(opened)
    assert (opened.state, opened.failure_count) == (State.CLOSED, 0)
