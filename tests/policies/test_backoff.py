"""Rule 10: how long the circuit stays open, and what a dependency may ask for."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from kit.steps import THRESHOLD, Boom, Make, boom, fail, succeed

from breaker import Backoff, CircuitBreaker, State
from breaker.testing import ManualClock


def open_periods(breaker: CircuitBreaker, clock: ManualClock, openings: int) -> list[float]:
    """The periods of the first opening and of the re-openings after it."""
    fail(breaker, THRESHOLD)
    periods: list[float] = []
    while True:
        assert breaker.retry_after is not None
        periods.append(breaker.retry_after)
        if len(periods) == openings:
            return periods
        clock.advance(breaker.retry_after)
        fail(breaker)
        assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("recovery", "periods"),
    [
        (7, [7, 7, 7, 7]),
        (Backoff(1.0), [1, 2, 4, 8]),
        (Backoff(1.5, factor=3), [1.5, 4.5, 13.5, 40.5]),
        (Backoff(1.0, factor=10.0, maximum=50.0), [1, 10, 50, 50]),
        (Backoff(2.0, factor=1.0), [2, 2, 2, 2]),
    ],
    ids=str,
)
def test_the_open_period_grows_with_each_reopening(
    make: Make, clock: ManualClock, recovery: Any, periods: list[float]
) -> None:
    assert open_periods(make(recovery_timeout=recovery), clock, 4) == pytest.approx(periods)


def test_closing_starts_the_periods_over(make: Make, clock: ManualClock) -> None:
    breaker = make(recovery_timeout=Backoff(1.0))
    open_periods(breaker, clock, 5)
    clock.advance(16.0)
    succeed(breaker)
    assert breaker.state is State.CLOSED
    assert open_periods(breaker, clock, 3) == [1, 2, 4]
    breaker.reset()
    assert open_periods(breaker, clock, 3) == [1, 2, 4]


def test_a_good_probe_that_does_not_close_starts_nothing_over(make: Make, clock: ManualClock) -> None:
    breaker = make(recovery_timeout=Backoff(1.0), success_threshold=2)
    fail(breaker, THRESHOLD)
    clock.advance(1.0)
    succeed(breaker)
    fail(breaker)
    assert breaker.retry_after == 2.0


@pytest.mark.parametrize("number", [0, 1, 1023, 1024, 5000, 10**6])
@pytest.mark.parametrize(
    "backoff",
    [Backoff(1.0), Backoff(1e300, factor=1e10), Backoff(1.0, factor=3, maximum=60.0), Backoff(30, jitter=1.0)],
    ids=str,
)
def test_the_nth_period_never_overflows(backoff: Backoff, number: int) -> None:
    period = backoff.period(number)
    assert math.isfinite(period)
    assert 0 <= period <= (backoff.maximum or math.inf)


def test_a_breaker_that_reopens_for_ever_never_overflows(make: Make, clock: ManualClock) -> None:
    periods = open_periods(make(recovery_timeout=Backoff(1.0, factor=2.0, maximum=1e6)), clock, 1200)
    assert periods[-1] == pytest.approx(1e6)


def test_jitter_spreads_a_period_both_ways_and_no_further() -> None:
    random.seed(7)
    drawn = [Backoff(100.0, jitter=0.2).period(0) for _ in range(2000)]
    assert 80 <= min(drawn) < 85
    assert 115 < max(drawn) <= 120
    assert sum(drawn) / len(drawn) == pytest.approx(100, abs=2)


def test_jitter_never_exceeds_the_maximum() -> None:
    random.seed(7)
    assert max(Backoff(100.0, maximum=110.0, jitter=0.5).period(n % 3) for n in range(500)) <= 110.0


def test_jitter_is_drawn_once_for_each_opening(make: Make, clock: ManualClock) -> None:
    random.seed(7)
    breaker = make(recovery_timeout=Backoff(100.0, factor=1.0, jitter=0.5))
    fail(breaker, THRESHOLD)
    first = breaker.retry_after
    assert first is not None
    assert {breaker.retry_after for _ in range(20)} == {first}
    assert breaker.last_trip is not None
    assert breaker.last_trip.open_for == pytest.approx(first)
    clock.advance(first)
    fail(breaker)
    assert breaker.retry_after != first


ASKS = {"retry_after": lambda cause: getattr(cause, "asks", None)}


def asking(seconds: object) -> Boom:
    error = Boom("busy")
    error.asks = seconds  # type: ignore[attr-defined]  # as a library of users' does
    return error


def fail_asking(breaker: CircuitBreaker, seconds: object) -> None:
    with pytest.raises(Boom):
        breaker.call(boom, asking(seconds))


@pytest.mark.parametrize(
    ("recovery", "asked", "period"),
    [
        (10.0, 25.0, 25.0),
        (10.0, 5, 10.0),
        (10.0, 0, 10.0),
        (10.0, -3.0, 10.0),
        (10.0, None, 10.0),
        (Backoff(10.0, maximum=20.0), 500.0, 20.0),
        (Backoff(10.0), 500.0, 500.0),
    ],
    ids=str,
)
def test_what_the_dependency_asks_for_lengthens_the_period_and_never_shortens_it(
    make: Make, recovery: Any, asked: object, period: float
) -> None:
    breaker = make(recovery_timeout=recovery, **ASKS)
    fail(breaker, THRESHOLD - 1)
    fail_asking(breaker, asked)
    assert (breaker.state, breaker.retry_after) == (State.OPEN, period)


def test_a_failed_probe_may_ask_too(make: Make, clock: ManualClock) -> None:
    breaker = make(**ASKS)
    fail(breaker, THRESHOLD)
    clock.advance(10.0)
    fail_asking(breaker, 60.0)
    assert breaker.retry_after == 60.0
    clock.advance(60.0)
    fail(breaker)
    assert breaker.retry_after == 10.0  # what was asked for is over


def test_a_result_that_is_a_failure_may_ask_too(make: Make) -> None:
    breaker = make(failure_threshold=1, record_result=lambda status: status == 503, retry_after=lambda status: 60.0)
    breaker.call(lambda: 503)
    assert breaker.retry_after == 60.0


def test_what_was_asked_for_counts_from_when_it_was_asked(make: Make, clock: ManualClock) -> None:
    breaker = make(**ASKS)
    fail_asking(breaker, 60.0)
    clock.advance(20.0)
    fail(breaker, THRESHOLD - 1)
    assert breaker.retry_after == 40.0


@pytest.mark.parametrize("asked", [(60.0, 30.0), (30.0, 60.0), (60.0, None)])
def test_of_several_wishes_the_longest_counts(make: Make, asked: tuple[object, object]) -> None:
    breaker = make(failure_threshold=2, **ASKS)
    for seconds in asked:
        fail_asking(breaker, seconds)
    assert breaker.retry_after == 60.0


def test_closing_forgets_what_was_asked_for(make: Make, clock: ManualClock) -> None:
    breaker = make(**ASKS)
    fail_asking(breaker, 1000.0)
    breaker.reset()
    fail(breaker, THRESHOLD)
    assert breaker.retry_after == 10.0


def test_an_open_period_of_the_users_own_is_asked_with_the_number_of_reopenings(make: Make, clock: ManualClock) -> None:
    class Own:
        def period(self, reopenings: int) -> float:
            return 100.0 + reopenings

    breaker = make(recovery_timeout=Own())
    assert open_periods(breaker, clock, 3) == [100, 101, 102]


@pytest.mark.parametrize("period", [float("nan"), -1.0, True, None, "5", float("inf")])
def test_an_open_period_that_cannot_be_is_refused_and_the_permit_comes_back(make: Make, period: Any) -> None:
    class Own:
        def period(self, reopenings: int) -> float:
            return period  # type: ignore[no-any-return]  # as a library of users' does

    breaker = make(recovery_timeout=Own(), failure_threshold=1)
    with pytest.raises(ValueError, match="an open period") as caught:
        breaker.call(boom)
    assert repr(period) in str(caught.value)
    assert isinstance(caught.value.__context__, Boom)
    assert breaker.state is State.CLOSED
    succeed(breaker)
