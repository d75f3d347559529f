"""HALF_OPEN: a few probes at a time, each on a lease; they decide."""

from __future__ import annotations

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Cancelled, Make, boom, counts, fail, ok, rejection, succeed

from breaker import CircuitBreaker, CircuitOpenError, CountWindow, Permit, SlowCallRate, State
from breaker.testing import ManualClock


def recovering(breaker: CircuitBreaker, clock: ManualClock) -> CircuitBreaker:
    """`breaker`, opened, with its timeout elapsed."""
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    return breaker


def probes(breaker: CircuitBreaker, number: int) -> list[Permit]:
    permits = [breaker.acquire() for _ in range(number)]
    assert breaker.state is State.HALF_OPEN
    return permits


def test_a_good_probe_closes_the_circuit(breaker: CircuitBreaker, clock: ManualClock) -> None:
    succeed(recovering(breaker, clock))
    assert (breaker.state, breaker.failure_count, breaker.retry_after) == (State.CLOSED, 0, 0.0)


def test_a_failed_probe_opens_the_circuit_and_raises_its_own_exception(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    recovering(breaker, clock)
    lost = Boom("still down")
    with pytest.raises(Boom) as caught:
        breaker.call(boom, lost)
    assert caught.value is lost
    assert (breaker.state, breaker.retry_after) == (State.OPEN, RECOVERY)
    assert breaker.last_trip is not None
    assert breaker.last_trip.last_exception == "Boom: still down"


@pytest.mark.parametrize("places", [1, 3])
def test_at_most_half_open_max_calls_probes_are_in_flight_and_the_rest_are_rejected(
    make: Make, clock: ManualClock, places: int
) -> None:
    breaker = recovering(make(half_open_max_calls=places, success_threshold=10), clock)
    out = probes(breaker, places)
    assert rejection(breaker).state is State.HALF_OPEN
    out[0].succeed()
    succeed(breaker)
    assert breaker.acquire().release() is None
    assert (breaker.state, counts(breaker)[3]) == (State.HALF_OPEN, 1)
    for permit in out:
        permit.release()


@pytest.mark.parametrize("needed", [1, 2, 5])
def test_success_threshold_good_probes_close_the_circuit(make: Make, clock: ManualClock, needed: int) -> None:
    breaker = recovering(make(success_threshold=needed), clock)
    for _ in range(needed):
        assert breaker.state is not State.CLOSED
        succeed(breaker)
    assert breaker.state is State.CLOSED


def test_one_failure_opens_the_circuit_whatever_succeeded_before(make: Make, clock: ManualClock) -> None:
    breaker = recovering(make(success_threshold=3), clock)
    succeed(breaker, 2)
    fail(breaker)
    assert breaker.state is State.OPEN
    clock.advance(RECOVERY)
    succeed(breaker, 2)
    assert breaker.state is State.HALF_OPEN  # the earlier two are forgotten
    succeed(breaker)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, KeyError])
def test_a_neutral_probe_gives_its_place_back_and_decides_nothing(
    make: Make, clock: ManualClock, error: type[BaseException]
) -> None:
    breaker = recovering(make(ignore_exceptions=KeyError), clock)
    fail(breaker, 10, error)
    assert breaker.state is State.HALF_OPEN
    assert breaker.retry_after == 0.0
    succeed(breaker)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(("settings", "lease"), [({}, RECOVERY), ({"probe_timeout": 2.0}, 2.0)])
def test_a_probe_whose_lease_ran_out_has_failed(
    make: Make, clock: ManualClock, settings: dict[str, float], lease: float
) -> None:
    breaker = recovering(make(**settings), clock)
    (hung,) = probes(breaker, 1)
    clock.advance(lease - 0.5)
    assert rejection(breaker).retry_after == 0.5
    clock.advance(0.5)  # the very instant counts as run out
    assert rejection(breaker).state is State.OPEN
    assert breaker.retry_after == RECOVERY
    hung.succeed()
    assert breaker.state is State.OPEN
    clock.advance(RECOVERY)
    succeed(breaker)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("end", ["succeed", "fail", "release"])
def test_a_probe_that_ends_after_its_lease_has_failed_though_nobody_asked_meanwhile(
    make: Make, clock: ManualClock, end: str
) -> None:
    breaker = recovering(make(probe_timeout=2.0), clock)
    (slow,) = probes(breaker, 1)
    clock.advance(2.0)
    getattr(slow, end)()
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("end", ["succeed", "fail", "release"])
def test_a_probe_of_an_earlier_half_open_decides_nothing_in_a_later_one(
    make: Make, clock: ManualClock, end: str
) -> None:
    breaker = recovering(make(half_open_max_calls=2), clock)
    early, other = probes(breaker, 2)
    other.fail()
    clock.advance(RECOVERY)
    now = probes(breaker, 2)
    getattr(early, end)()
    assert (breaker.state, breaker.failure_count) == (State.HALF_OPEN, 0)
    assert rejection(breaker)  # both places are taken still: the late result gave none back
    for permit in now:
        permit.release()


@pytest.mark.parametrize("end", ["succeed", "fail"])
def test_a_call_admitted_in_closed_that_ends_in_half_open_decides_nothing(
    breaker: CircuitBreaker, clock: ManualClock, end: str
) -> None:
    early = breaker.acquire()
    recovering(breaker, clock)
    (probe,) = probes(breaker, 1)
    getattr(early, end)()
    assert breaker.state is State.HALF_OPEN
    assert rejection(breaker)  # and it is no probe, so no place was given back
    probe.succeed()
    assert breaker.state is State.CLOSED


def test_a_slow_probe_is_a_failed_probe(make: Make, clock: ManualClock) -> None:
    policy = SlowCallRate(0.5, slower_than=1.0, window=CountWindow(10), minimum_calls=1)
    breaker = make(trip=policy, initial_state=State.HALF_OPEN)
    breaker.call(clock.advance, 1.0)
    assert breaker.state is State.OPEN
    clock.advance(RECOVERY)
    breaker.call(clock.advance, 0.999)
    assert breaker.state is State.CLOSED


def test_a_result_that_is_a_failure_fails_the_probe(make: Make, clock: ManualClock) -> None:
    breaker = make(record_result=lambda status: status >= 500, initial_state=State.HALF_OPEN)
    assert breaker.call(ok, 500) == 500
    assert breaker.state is State.OPEN
    assert breaker.last_trip is not None
    assert breaker.last_trip.exceptions == {"bad result": 1}


def test_a_probe_may_call_through_the_same_breaker_and_is_rejected_not_hung(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    def nested() -> str:
        with pytest.raises(CircuitOpenError):
            breaker.call(ok)
        return "fine"

    assert recovering(breaker, clock).call(nested) == "fine"
    assert breaker.state is State.CLOSED


def test_a_probe_hung_for_ever_does_not_hold_half_open_for_ever(make: Make, clock: ManualClock) -> None:
    breaker = recovering(make(half_open_max_calls=2, probe_timeout=5.0), clock)
    hung = probes(breaker, 2)
    for _ in range(3):
        clock.advance(5.0)
        rejection(breaker)
        assert breaker.state is State.OPEN
        clock.advance(RECOVERY)
        hung += probes(breaker, 2)
    for permit in hung:
        permit.release()
