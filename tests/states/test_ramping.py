"""RAMPING: after the last good probe a growing share of calls goes through, evenly spread, without chance."""

from __future__ import annotations

import pytest
from kit.steps import RECOVERY, THRESHOLD, Make, counts, fail, passes, rejection, succeed

from breaker import Backoff, CircuitBreaker, FailureRate, RampUp, State, TimeWindow
from breaker.testing import ManualClock

SECONDS = 30.0


@pytest.fixture
def ramping(make: Make, clock: ManualClock) -> CircuitBreaker:
    """A breaker whose probe has just succeeded: an eighth of the calls pass, growing to all in 35 seconds."""
    breaker = make(ramp=RampUp(35.0, start=0.125))
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    succeed(breaker)
    assert breaker.state is State.RAMPING
    return breaker


@pytest.mark.parametrize(("elapsed", "every"), [(0.0, 8), (5.0, 4), (15.0, 2)])
def test_the_calls_that_pass_are_evenly_spread(
    ramping: CircuitBreaker, clock: ManualClock, elapsed: float, every: int
) -> None:
    clock.advance(elapsed)
    pattern = [passes(ramping) for _ in range(every * 5)]
    assert pattern == ([False] * (every - 1) + [True]) * 5


@pytest.mark.parametrize("every", [3, 7, 10, 100])
def test_shares_that_are_no_binary_fractions_are_evenly_spread_too(make: Make, every: int) -> None:
    breaker = make(ramp=RampUp(SECONDS, start=1 / every), initial_state=State.RAMPING)
    pattern = [passes(breaker) for _ in range(every * 50)]
    assert pattern == ([False] * (every - 1) + [True]) * 50


def test_the_share_grows_from_second_to_second(ramping: CircuitBreaker, clock: ManualClock) -> None:
    shares = []
    for _ in range(7):
        shares.append(sum(passes(ramping) for _ in range(1000)) / 1000)
        clock.advance(5.0)
    assert shares == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875], abs=0.0015)


@pytest.mark.parametrize("start", [0.1, 0.3, 0.7, 1 / 3])
def test_no_share_loses_calls_to_rounding(make: Make, start: float) -> None:
    breaker = make(ramp=RampUp(SECONDS, start=start), initial_state=State.RAMPING)
    passed = sum(passes(breaker) for _ in range(30_000))
    assert passed == pytest.approx(30_000 * start, abs=1)


def test_a_share_of_one_rejects_nobody(make: Make) -> None:
    breaker = make(ramp=RampUp(SECONDS, start=1.0), initial_state=State.RAMPING)
    assert all(passes(breaker) for _ in range(100))
    assert breaker.state is State.RAMPING


def test_a_rejection_says_how_long_the_ramp_will_last(ramping: CircuitBreaker, clock: ManualClock) -> None:
    clock.advance(5.0)
    error = rejection(ramping)
    assert error.state is State.RAMPING
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 30.0
    assert counts(ramping)[3] == 1


def test_the_ramp_ends_in_closed_at_the_first_call_of_its_last_instant(
    ramping: CircuitBreaker, clock: ManualClock
) -> None:
    clock.advance(34.75)
    assert ramping.state is State.RAMPING
    assert not all(passes(ramping) for _ in range(1000))
    assert ramping.state is State.RAMPING
    clock.advance(0.25)
    assert ramping.state is State.RAMPING  # reading moves nothing
    assert ramping.call(lambda: ramping.state) is State.CLOSED
    assert all(passes(ramping) for _ in range(100))


def test_a_trip_while_ramping_opens_the_circuit_for_the_next_open_period(make: Make, clock: ManualClock) -> None:
    breaker = make(ramp=RampUp(SECONDS, start=1.0), recovery_timeout=Backoff(10.0, factor=3.0))
    fail(breaker, THRESHOLD)
    for period in (10.0, 30.0, 90.0):
        assert breaker.retry_after == period
        clock.advance(period)
        succeed(breaker)
        assert breaker.state is State.RAMPING
        fail(breaker, THRESHOLD - 1)
        assert breaker.state is State.RAMPING
        fail(breaker)
        assert breaker.state is State.OPEN
    clock.advance(270.0)
    succeed(breaker)
    clock.advance(SECONDS)
    succeed(breaker)
    assert breaker.state is State.CLOSED
    fail(breaker, THRESHOLD)
    assert breaker.retry_after == 10.0


def test_any_policy_trips_while_ramping_on_the_counts_of_the_ramp_alone(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=FailureRate(0.5, TimeWindow(60.0), minimum_calls=4), ramp=RampUp(SECONDS, start=1.0))
    fail(breaker, 4)
    clock.advance(RECOVERY)
    succeed(breaker)
    fail(breaker, 3)
    assert breaker.state is State.RAMPING
    fail(breaker)
    assert breaker.state is State.OPEN
    assert breaker.last_trip is not None
    assert (breaker.last_trip.calls, breaker.last_trip.failures) == (4, 4)


@pytest.mark.parametrize("end", ["succeed", "fail", "release"])
def test_a_call_admitted_while_ramping_decides_nothing_once_the_ramp_is_over(
    make: Make, clock: ManualClock, end: str
) -> None:
    breaker = make(ramp=RampUp(SECONDS, start=1.0), initial_state=State.RAMPING)
    late = [breaker.acquire() for _ in range(THRESHOLD)]
    clock.advance(SECONDS)
    fail(breaker)
    assert breaker.state is State.CLOSED
    for permit in late:
        getattr(permit, end)()
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, 1)


def test_without_a_ramp_nobody_ramps(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    succeed(breaker)
    assert [change.new for change in breaker.history] == [State.OPEN, State.HALF_OPEN, State.CLOSED]
