"""How a state begins and when it is over: odd clocks, crossings, ramps."""

from __future__ import annotations

import pytest
from kit.steps import THRESHOLD, Make, fail, succeed

from breaker import (
    CircuitBreaker,
    CircuitOpenError,
    FailureRate,
    RampUp,
    State,
    TimeWindow,
)
from breaker.testing import ManualClock


def test_a_clock_that_says_nan_rejects_while_open_and_does_not_spin() -> None:
    now = [0.0]
    breaker = CircuitBreaker("x", initial_state=State.OPEN, clock=lambda: now[0])
    now[0] = float("nan")
    with pytest.raises(CircuitOpenError):
        breaker.call(int)
    now[0] = 30.0
    assert breaker.call(int) == 0


def test_a_ramp_that_is_over_admits_nobody_by_itself() -> None:
    breaker = CircuitBreaker("x", ramp=RampUp(10.0), initial_state=State.RAMPING)
    over = breaker._state
    breaker.reset()
    assert over.admit(breaker, None) is None
    assert breaker.call(int) == 0


def test_a_crossing_that_ended_unseen_is_told_when_it_comes_again(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=FailureRate(0.5, TimeWindow(6.0), 4), initial_state=State.METRICS_ONLY)
    fail(breaker, 4)
    assert len(breaker.history) == 1
    clock.advance(60.0)
    fail(breaker, 3)
    succeed(breaker)
    fail(breaker, 2)
    assert len(breaker.history) == 2


def test_a_breaker_made_open_has_last_failed_then(make: Make) -> None:
    breaker = make(initial_state=State.OPEN)
    assert breaker.last_failure_time == breaker.statistics().since


def test_metrics_only_tells_whose_limit_was_reached_and_when(make: Make) -> None:
    breaker = make(initial_state=State.METRICS_ONLY)
    fail(breaker, THRESHOLD)
    [told] = breaker.history
    assert told.report is not None
    assert (told.breaker_name, told.old, told.new) == ("payments", State.METRICS_ONLY, State.METRICS_ONLY)
    assert told.at == told.report.at
    assert told.report.open_for == 0.0
