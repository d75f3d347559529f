"""FORCED_OPEN: an operator holds the circuit open."""

from __future__ import annotations

import pytest
from kit.steps import RECOVERY, THRESHOLD, Make, counts, enter, fail, rejection, succeed

from breaker import CircuitBreaker, RampUp, State
from breaker.testing import ManualClock


def test_forced_open_rejects_until_reset_however_long_it_takes(breaker: CircuitBreaker, clock: ManualClock) -> None:
    breaker.force_open()
    clock.advance(RECOVERY * 1e6)
    error = rejection(breaker)
    assert (error.state, error.retry_after, error.report) == (State.FORCED_OPEN, None, None)
    assert (breaker.retry_after, counts(breaker)) == (None, (0, 0, 0, 1))
    breaker.reset()
    succeed(breaker)
    assert breaker.state is State.CLOSED


def test_forced_open_for_a_while_ends_by_itself_in_closed(breaker: CircuitBreaker, clock: ManualClock) -> None:
    breaker.force_open(for_seconds=60)
    assert breaker.retry_after == 60.0
    clock.advance(59.5)
    assert rejection(breaker).retry_after == 0.5
    clock.advance(0.5)  # the very instant counts as over
    assert (breaker.state, breaker.retry_after) == (State.FORCED_OPEN, 0.0)
    succeed(breaker)
    assert breaker.state is State.CLOSED


def test_the_last_word_of_the_operator_counts(breaker: CircuitBreaker, clock: ManualClock) -> None:
    breaker.force_open(for_seconds=5)
    breaker.force_open()
    clock.advance(100)
    assert rejection(breaker).retry_after is None
    breaker.force_open(for_seconds=50)
    assert breaker.retry_after == 50.0


@pytest.mark.parametrize("end", ["succeed", "fail", "release"])
def test_a_call_that_ends_while_forced_open_decides_nothing(make: Make, clock: ManualClock, end: str) -> None:
    breaker = make(failure_threshold=1)
    late = breaker.acquire()
    breaker.force_open()
    getattr(late, end)()
    assert breaker.state is State.FORCED_OPEN
    breaker.reset()
    assert breaker.failure_count == 0


@pytest.mark.parametrize("state", list(State))
def test_an_operator_may_force_open_and_reset_from_every_state(make: Make, clock: ManualClock, state: State) -> None:
    breaker = make(ramp=RampUp(30.0) if state is State.RAMPING else None)
    enter(breaker, state, clock.advance)
    breaker.force_open()
    assert rejection(breaker).state is State.FORCED_OPEN
    breaker.reset()
    assert (breaker.state, breaker.failure_count, breaker.retry_after) == (State.CLOSED, 0, 0.0)
    succeed(breaker)


def test_an_operator_is_no_trip(breaker: CircuitBreaker) -> None:
    breaker.force_open()
    assert (breaker.statistics().openings, breaker.last_trip, breaker.last_failure_time) == (0, None, None)


def test_a_rejection_while_forced_open_still_tells_of_the_last_trip(breaker: CircuitBreaker) -> None:
    fail(breaker, THRESHOLD)
    breaker.force_open()
    assert rejection(breaker).report is breaker.last_trip is not None


@pytest.mark.parametrize("hostile", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_while_that_cannot_be_is_refused_and_moves_nothing(breaker: CircuitBreaker, hostile: object) -> None:
    with pytest.raises(ValueError, match="for_seconds") as caught:
        breaker.force_open(for_seconds=hostile)  # type: ignore[arg-type]  # the mistake tested
    assert repr(hostile) in str(caught.value)
    assert breaker.state is State.CLOSED
