"""Policies of the user's own, and several of them joined."""

from __future__ import annotations

import pytest
from kit.policies import Own
from kit.steps import Boom, Make, boom, fail

from breaker import (
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    SlowCallRate,
    State,
)
from breaker.testing import ManualClock


def test_two_limits_of_slowness_are_each_judged_by_their_own(make: Make, clock: ManualClock) -> None:
    window = CountWindow(10)
    often, very = SlowCallRate(0.9, 1.0, window), SlowCallRate(0.3, 10.0, window)
    breaker = make(trip=often | very)
    for call in range(10):
        breaker.call(clock.advance, 2.0 if call >= 6 else 0.1)
    assert breaker.state is State.CLOSED
    for _ in range(3):
        breaker.call(clock.advance, 10.0)
    report = breaker.last_trip
    assert report is not None
    assert (report.policy, report.slow_calls, report.slow_call_rate) == (repr(very), 3, 0.3)


@pytest.mark.parametrize(("timed", "duration"), [(True, 2.0), (False, None), (None, None)])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("state", [State.CLOSED, State.METRICS_ONLY])
def test_a_policy_of_ones_own_is_told_durations_if_it_is_timed(
    make: Make, clock: ManualClock, timed: bool | None, duration: float | None, joined: bool, state: State
) -> None:
    own = Own(timed)
    breaker = make(trip=ConsecutiveFailures(9) | own if joined else own, initial_state=state)
    started = clock()
    breaker.call(clock.advance, 2.0)
    for _ in range(2):
        with pytest.raises(Boom):
            breaker.call(lambda: (clock.advance(2.0), boom()))
    assert own.told == [started, duration, ("Boom", duration), ("Boom", duration)]
    report = breaker.history[-1].report
    assert report is not None
    assert (report.policy, report.reason) == ("Own()", "its policy said so")


def test_the_first_of_joined_policies_speaks_for_an_opening_that_none_admits_to(make: Make) -> None:
    class Fickle(Own):
        def tripped(self) -> bool:
            self.told.append("asked")
            return self.told.count("asked") in (1, 2)  # by the stay and by the machine, and then no more

    breaker = make(trip=ConsecutiveFailures(9) | Fickle(None))
    fail(breaker)
    report = breaker.last_trip
    assert report is not None
    assert report.policy == "ConsecutiveFailures(threshold=9)"


def test_joined_policies_are_printed_as_they_are_written() -> None:
    joined = ConsecutiveFailures(2) | FailureRate(0.5, CountWindow(10))
    assert repr(joined) == " | ".join(map(repr, joined.policies))
    assert "XX" not in repr(joined)


def test_a_share_of_one_call_is_said_as_it_is(make: Make) -> None:
    breaker = make(trip=FailureRate(0.5, CountWindow(10), minimum_calls=1))
    fail(breaker)
    report = breaker.last_trip
    assert report is not None
    assert report.reason == "1 of 1 calls failed of the last 10 calls (100%, limit 50%)"
