"""METRICS_ONLY: every call goes through and counts; each crossing of the limit is told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kit.steps import THRESHOLD, Make, counts, fail, succeed

from breaker import CircuitBreaker, CountWindow, FailureRate, SlowCallRate, State, StateChanged, TimeWindow
from breaker.testing import ManualClock


def watched(make: Make, **settings: Any) -> tuple[CircuitBreaker, Callable[[], int]]:
    """A breaker in METRICS_ONLY, and how often it has told that it would have opened."""
    breaker = make(**settings)
    breaker.metrics_only()
    heard: list[StateChanged] = []
    breaker.subscribe(heard.append, StateChanged)
    return breaker, lambda: len(heard)


def test_metrics_only_lets_everything_through_and_counts(make: Make) -> None:
    breaker, _ = watched(make)
    fail(breaker, THRESHOLD * 3)
    succeed(breaker)
    assert (breaker.state, breaker.retry_after) == (State.METRICS_ONLY, 0.0)
    assert counts(breaker) == (1, THRESHOLD * 3, 0, 0)
    assert (breaker.statistics().openings, breaker.last_failure_time) == (0, None)


def test_it_tells_once_for_each_crossing_that_it_would_have_opened(make: Make) -> None:
    breaker, told = watched(make)
    fail(breaker, THRESHOLD - 1)
    assert told() == 0
    fail(breaker)
    assert told() == 1
    fail(breaker, THRESHOLD * 3)
    assert told() == 1
    succeed(breaker)
    fail(breaker, THRESHOLD)
    assert told() == 2


def test_what_it_tells_is_a_change_to_itself_with_a_report(make: Make) -> None:
    breaker, _ = watched(make)
    fail(breaker, THRESHOLD)
    told = breaker.history[-1]
    assert (told.old, told.new, told.trigger) == (State.METRICS_ONLY, State.METRICS_ONLY, "trip")
    assert told.report is not None
    assert (told.report.failures, told.report.exceptions) == (THRESHOLD, {"Boom": THRESHOLD})


@pytest.mark.parametrize("successes_between", [1, 2, 10])
def test_successes_that_carry_the_rate_below_the_limit_end_a_crossing(make: Make, successes_between: int) -> None:
    breaker, told = watched(make, trip=FailureRate(0.5, CountWindow(4), minimum_calls=2))
    fail(breaker, 2)
    succeed(breaker, 2)  # 2 of 4: still at the limit
    assert told() == 1
    succeed(breaker, successes_between)
    fail(breaker, 2)  # 2 or 3 of 4: reached again, and below it in between
    assert told() == 2


def test_a_pause_that_empties_the_window_ends_a_crossing(make: Make, clock: ManualClock) -> None:
    breaker, told = watched(make, trip=FailureRate(0.5, TimeWindow(10.0), minimum_calls=1))
    fail(breaker)
    clock.advance(11.0)
    fail(breaker, 5)
    assert told() == 2


def test_slow_calls_are_told_too(make: Make, clock: ManualClock) -> None:
    breaker, told = watched(make, trip=SlowCallRate(1.0, 1.0, CountWindow(2), minimum_calls=2))
    for duration in (2.0, 0.5, 2.0, 2.0, 2.0):
        breaker.call(clock.advance, duration)
    assert told() == 1
    assert breaker.statistics().slow == 4


def test_reset_forgets_what_was_counted(make: Make) -> None:
    breaker, _ = watched(make)
    fail(breaker, THRESHOLD * 3)
    breaker.reset()
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, 0)
    fail(breaker, THRESHOLD)
    assert breaker.state is State.OPEN
