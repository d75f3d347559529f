"""When a circuit opens: rules 2, 3, 16 and 17 of the trip policies."""

from __future__ import annotations

from typing import Any

import pytest
from kit.steps import Boom, Make, boom, fail, ok, succeed

from breaker import (
    CircuitBreaker,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    SlowCallRate,
    State,
    TimeWindow,
)
from breaker.testing import ManualClock


def play(breaker: CircuitBreaker, outcomes: str) -> str:
    """Make calls that end as told (`.` well, `x` badly) until the circuit opens; returns those made."""
    for number, outcome in enumerate(outcomes, start=1):
        (fail if outcome == "x" else succeed)(breaker)
        if breaker.state is State.OPEN:
            return outcomes[:number]
    return outcomes


@pytest.mark.parametrize(
    ("outcomes", "made"),
    [("xxx", "xxx"), ("xx.xx.xx", "xx.xx.xx"), ("xx.xxx.", "xx.xxx"), ("....xxx", "....xxx"), (".x.x.x.x", ".x.x.x.x")],
)
def test_consecutive_failures_trips_on_failures_with_no_success_between(make: Make, outcomes: str, made: str) -> None:
    breaker = make(trip=ConsecutiveFailures(3))
    assert play(breaker, outcomes) == made
    assert (breaker.state is State.OPEN) == made.endswith("xxx")


@pytest.mark.parametrize(
    ("threshold", "minimum", "outcomes", "made"),
    [
        (0.5, 4, "xxxx", "xxxx"),  # not before minimum_calls
        (0.5, 4, "x..x..", "x..x"),  # exactly the threshold is enough
        (0.51, 4, "x..x..", "x..x.."),
        (0.5, 1, ".x", ".x"),
        (1.0, 3, "xx.x", "xx.x"),
        (1.0, 3, "xx", "xx"),
        (0.01, 5, "x....x", "x....x"),  # a success at minimum_calls does not open it; the next failure does
        (0.5, 2, "......xxxx", "......xxxx"),  # the window of 8 forgets the first successes
    ],
)
def test_failure_rate_trips_at_the_threshold_from_minimum_calls_on(
    make: Make, threshold: float, minimum: int, outcomes: str, made: str
) -> None:
    breaker = make(trip=FailureRate(threshold, CountWindow(8), minimum_calls=minimum))
    assert play(breaker, outcomes) == made
    assert breaker.state is (State.CLOSED if outcomes in {"x..x..", "xx.x", "xx"} and made == outcomes else State.OPEN)


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_share_of_exactly_the_threshold_trips_whatever_its_digits(make: Make, percent: int) -> None:
    breaker = make(trip=FailureRate(percent / 100, CountWindow(100), minimum_calls=100))
    assert play(breaker, "." * (100 - percent) + "x" * (percent - 1)).count("x") == percent - 1
    assert breaker.state is State.CLOSED
    fail(breaker)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("window", [CountWindow(10), TimeWindow(10.0)])
def test_a_success_never_opens_a_circuit(make: Make, window: CountWindow | TimeWindow) -> None:
    breaker = make(trip=FailureRate(0.2, window, minimum_calls=5))
    fail(breaker, 4)
    succeed(breaker)  # 4 of 5: over the limit, and a good outcome
    assert breaker.state is State.CLOSED
    fail(breaker)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("error", [None, Boom("slow and down")])
@pytest.mark.parametrize(("duration", "opens"), [(0.75, False), (1.0, True), (5.0, True)])
def test_slow_call_rate_trips_on_calls_of_slower_than_or_more_failed_or_not(
    make: Make, clock: ManualClock, duration: float, opens: bool, error: Boom | None
) -> None:
    breaker = make(trip=SlowCallRate(0.5, slower_than=1.0, window=CountWindow(4), minimum_calls=2))

    def take() -> None:
        clock.advance(duration)
        if error:
            raise error

    for _ in range(2):
        assert breaker.state is State.CLOSED
        if error:
            with pytest.raises(Boom):
                breaker.call(take)
        else:
            breaker.call(take)
    assert (breaker.state is State.OPEN) == opens
    assert breaker.statistics().slow == 2 * opens


def test_fast_failures_are_not_slow_calls(make: Make) -> None:
    breaker = make(trip=SlowCallRate(0.1, 1.0, CountWindow(10), minimum_calls=1))
    fail(breaker, 50)
    assert breaker.state is State.CLOSED
    assert breaker.statistics().slow_call_rate == 0.0


def test_a_slow_success_opens_the_circuit_and_its_caller_gets_the_result(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=SlowCallRate(1.0, 1.0, CountWindow(1), minimum_calls=1))
    assert breaker.call(lambda: clock.advance(2.0) or "late but good") == "late but good"
    assert breaker.state is State.OPEN


def test_a_call_site_may_have_a_slow_threshold_of_its_own(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=SlowCallRate(1.0, 1.0, CountWindow(3), minimum_calls=3))
    patient, hasty = breaker.protect(slow_after=60.0)(clock.advance), breaker.protect(slow_after=0.125)(clock.advance)
    patient(59.0)
    hasty(0.125)
    breaker.call(clock.advance, 0.5)
    assert breaker.statistics().slow == 1


def test_calls_still_running_past_slower_than_count_already_when_asked_to(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=SlowCallRate(0.5, 1.0, CountWindow(10), minimum_calls=4, count_running=True))
    hung = [breaker.acquire() for _ in range(4)]
    clock.advance(0.75)
    succeed(breaker)
    clock.advance(0.25)
    assert breaker.state is State.CLOSED  # reading moves nothing
    with pytest.raises(Exception, match="is OPEN"):
        breaker.call(ok)
    assert breaker.last_trip is not None
    assert breaker.last_trip.slow_calls == 4
    for permit in hung:
        permit.release()


def test_running_calls_do_not_count_unless_asked_to(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=SlowCallRate(0.5, 1.0, CountWindow(10), minimum_calls=2))
    hung = [breaker.acquire() for _ in range(8)]
    clock.advance(100.0)
    succeed(breaker)
    assert breaker.state is State.CLOSED
    for permit in hung:
        permit.release()


@pytest.mark.parametrize("end", ["succeed", "fail", "release"])
def test_a_running_call_counts_once_however_it_ends(make: Make, clock: ManualClock, end: str) -> None:
    breaker = make(trip=SlowCallRate(1.0, 1.0, CountWindow(10), minimum_calls=10, count_running=True))
    permit = breaker.acquire()
    clock.advance(1.0)
    assert (breaker.statistics().slow_call_rate, breaker.statistics().window_calls) == (1.0, 1)
    other = breaker.acquire()  # runs on, and is not slow yet
    getattr(permit, end)()
    ended = breaker.statistics()
    expected = (None, 0, 0) if end == "release" else (1.0, 1, 1)
    assert (ended.slow_call_rate, ended.window_calls, ended.slow) == expected
    other.release()


JOINED = ConsecutiveFailures(3) | FailureRate(0.5, CountWindow(10), minimum_calls=10)


@pytest.mark.parametrize("outcomes", ["xxx", "x.x.x.x.x.x", "......xx.xxx"])
def test_joined_policies_trip_when_any_of_them_does(make: Make, outcomes: str) -> None:
    breaker = make(trip=JOINED)
    assert play(breaker, outcomes) == outcomes
    assert breaker.state is State.OPEN


def test_joined_policies_do_not_trip_when_none_does(make: Make) -> None:
    breaker = make(trip=JOINED)
    play(breaker, ".xx...." * 10)
    assert breaker.state is State.CLOSED


def test_joining_is_associative_and_takes_a_users_own_policy() -> None:
    one, two, three = ConsecutiveFailures(1), ConsecutiveFailures(2), ConsecutiveFailures(3)
    assert repr((one | two) | three) == repr(one | (two | three))
    own = EveryThird()
    assert repr(own | one | two).count("|") == repr(one | own).count("|") + 1 == 2


class EveryThird:
    """A user's own policy: every third failure, whatever happens between."""

    timed = True

    def open(self, clock: Any) -> EveryThirdTally:
        return EveryThirdTally()


class EveryThirdTally:
    def __init__(self) -> None:
        self.heard: list[tuple[str | None, float | None]] = []

    def succeeded(self, duration: float | None) -> None:
        self.heard.append((None, duration))

    def failed(self, kind: str, duration: float | None) -> None:
        self.heard.append((kind, duration))

    def tripped(self) -> bool:
        return [kind for kind, _ in self.heard].count("Boom") == 3


@pytest.mark.parametrize("join", [False, True])
def test_a_users_own_policy_hears_every_call_and_decides(make: Make, clock: ManualClock, join: bool) -> None:
    policy: Any = EveryThird() | FailureRate(1.0, CountWindow(50), minimum_calls=50) if join else EveryThird()
    breaker = make(trip=policy)
    assert play(breaker, "x..x...x") == "x..x...x"
    assert breaker.state is State.OPEN
    assert breaker.last_trip is not None
    assert breaker.last_trip.last_exception == "Boom: down"


@pytest.mark.parametrize("policy", [ConsecutiveFailures(2), JOINED, FailureRate(0.5, CountWindow(2), minimum_calls=2)])
def test_one_recipe_serves_many_breakers_and_stays(make: Make, clock: ManualClock, policy: Any) -> None:
    first, second = make(trip=policy), make(trip=policy)
    for _ in range(3):
        while first.state is not State.OPEN:
            fail(first)
        clock.advance(10.0)
        succeed(first)
        assert (first.failure_count, second.failure_count) == (0, 0)
    assert second.state is State.CLOSED


@pytest.mark.parametrize("window", [100, 1_000_000])
def test_a_window_stores_failures_alone(make: Make, window: int) -> None:
    breaker = make(trip=FailureRate(1.0, CountWindow(window), minimum_calls=10))
    with pytest.raises(Boom):
        breaker.call(boom)
    for _ in range(200):
        breaker.call(ok)
    assert breaker.statistics().window_calls == min(window, 201)
    assert breaker.failure_count == (0 if window == 100 else 1)
