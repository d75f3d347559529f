"""What the predictor and the breaker once disagreed on, each as the shortest life that shows it."""

from __future__ import annotations

import pytest
from ways_to_call import Cancelled

from breaker import CircuitBreaker, CircuitOpenError, CountWindow, SlowCallRate, State, StateChanged
from breaker.testing import ManualClock, open_circuit

LEASE = 5.0


@pytest.fixture
def half_open() -> tuple[CircuitBreaker, ManualClock]:
    clock = ManualClock()
    breaker = CircuitBreaker(
        "probed",
        recovery_timeout=1.0,
        half_open_max_calls=2,
        probe_timeout=LEASE,
        ignore_exceptions=KeyError,
        clock=clock,
    )
    open_circuit(breaker)
    clock.advance(1.0)
    return breaker, clock


def test_a_good_probe_closes_nothing_once_the_lease_of_another_has_run_out(half_open) -> None:
    breaker, clock = half_open
    hung = breaker.acquire()
    clock.advance(LEASE - 1.0)
    good = breaker.acquire()
    clock.advance(1.0)
    good.succeed()
    assert breaker.state is State.OPEN
    hung.release()


@pytest.mark.parametrize("error", [Cancelled(), KeyError()], ids=["cancelled", "ignored"])
def test_a_probe_that_ends_neutral_after_its_lease_has_failed(half_open, error) -> None:
    breaker, clock = half_open
    probe = breaker.acquire()
    clock.advance(LEASE)
    probe.fail(error)
    assert breaker.state is State.OPEN


def test_a_running_call_found_slow_is_judged_though_an_earlier_one_was_abandoned() -> None:
    clock = ManualClock()
    trip = SlowCallRate(0.5, 2.0, CountWindow(10), minimum_calls=2, count_running=True)
    breaker = CircuitBreaker("hanging", trip=trip, clock=clock)
    abandoned = breaker.acquire()
    clock.advance(2.0)
    hung = breaker.acquire()
    with pytest.warns(ResourceWarning):
        del abandoned
    breaker.call(int)
    clock.advance(2.0)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    hung.release()


def test_a_limit_reached_by_a_running_call_is_told_to_listeners_when_the_next_call_asks() -> None:
    clock, heard = ManualClock(), []
    trip = SlowCallRate(0.5, 2.0, CountWindow(10), minimum_calls=1, count_running=True)
    breaker = CircuitBreaker("watched", trip=trip, initial_state=State.METRICS_ONLY, clock=clock)
    breaker.subscribe(heard.append, StateChanged)
    hung = breaker.acquire()
    clock.advance(2.0)
    asking = breaker.acquire()
    assert [event.old for event in heard] == [State.METRICS_ONLY]
    hung.release()
    asking.release()
