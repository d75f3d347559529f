"""The least, the most and the odd of windows, periods and ramps."""

from __future__ import annotations

import pytest
from kit.steps import Boom, Make, fail, lose, ok

from breaker import (
    Backoff,
    CircuitBreaker,
    FailureRate,
    RampUp,
    State,
    TimeWindow,
)
from breaker.testing import ManualClock


def test_a_window_that_no_clock_can_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="5e-324"):
        TimeWindow(5e-324)


def test_a_backoff_of_whole_numbers_does_not_overflow_either() -> None:
    assert Backoff(1, 2, maximum=60).period(5000) == 60.0


def test_at_its_maximum_a_backoff_is_still_spread() -> None:
    drawn = [Backoff(5.0, maximum=300.0, jitter=0.2).period(8) for _ in range(100)]
    assert 240.0 <= min(drawn) < max(drawn) <= 300.0
    assert len(set(drawn)) > 90


def test_a_clock_that_steps_back_a_hair_at_the_edge_of_a_tenth_moves_the_window_on(make: Make) -> None:
    # 0.1 * 3 is above 0.3: the instant of the third edge lies, when divided, in the tenth before it.
    clock = ManualClock()
    breaker = make(trip=FailureRate(1.0, TimeWindow(1.0), 100), clock=clock)
    for tenth in range(1, 100):
        clock.now = tenth * 0.1
        fail(breaker)
        assert breaker.statistics().window_calls == min(tenth, 10)


def test_an_open_period_that_cannot_be_is_refused_in_one_line(make: Make) -> None:
    class Forever:
        def period(self, reopenings: int) -> float:
            return float("inf")

    breaker = make(recovery_timeout=Forever(), failure_threshold=1)
    with pytest.raises(ValueError, match=r"^an open period must be a finite number of seconds, 0 or more, got inf$"):
        breaker.call(lose, Boom)
    assert breaker.state is State.CLOSED


def test_an_open_period_of_ones_own_lends_the_probes_its_beginning_only_if_that_is_a_number() -> None:
    class Lunar:
        initial = "the next full moon"

        def period(self, reopenings: int) -> float:
            return 30.0

    assert CircuitBreaker("x", recovery_timeout=Lunar(), initial_state=State.HALF_OPEN).call(ok) == "fine"


def test_a_ramp_lets_everything_through_when_it_is_over() -> None:
    assert RampUp(10.0, start=0.1).share(1000.0) == 1.0
