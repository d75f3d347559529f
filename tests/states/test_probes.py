"""Probes: why they open the circuit again, and whose place they hold."""

from __future__ import annotations

import pytest
from kit.steps import RECOVERY, Boom, Make, boom, fail, ok, rejection, succeed

from breaker import (
    CircuitBreaker,
    CountWindow,
    SlowCallRate,
    State,
)
from breaker.testing import ManualClock


def test_an_overdue_probe_is_not_the_reason_when_another_fails() -> None:
    now = [0.0]
    breaker = CircuitBreaker(
        "x", initial_state=State.HALF_OPEN, half_open_max_calls=2, probe_timeout=1.0, clock=lambda: now[0]
    )
    overdue, late = breaker.acquire(), breaker.acquire()
    now[0] = 1.0
    late.fail(ValueError("x"))
    report = breaker.last_trip
    assert report is not None
    assert (report.reason, report.exceptions) == ("a probe failed", {"ValueError": 1})
    assert report.open_for == 30.0
    overdue.release()


SLOW = SlowCallRate(0.5, 10.0, CountWindow(10), 1)


def opening(breaker: CircuitBreaker) -> tuple[str, int, int]:
    """Why the circuit opened, and of how many calls how many had failed."""
    report = breaker.last_trip
    assert report is not None
    assert breaker.failure_count == report.failures
    return report.reason, report.calls, report.failures


def test_the_report_of_probes_counts_those_that_had_succeeded(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN, success_threshold=9)
    succeed(breaker, 2)
    fail(breaker)
    assert opening(breaker) == ("a probe failed", 3, 1)


def test_the_report_of_a_slow_probe_says_so(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.HALF_OPEN, success_threshold=9, trip=SLOW)
    succeed(breaker)
    breaker.call(clock.advance, 10.0)
    assert opening(breaker) == ("a probe was slow", 2, 1)


@pytest.mark.parametrize("noticed_by", ["the next call", "another probe", "the probe itself"])
def test_the_report_of_an_overdue_probe_counts_it(make: Make, clock: ManualClock, noticed_by: str) -> None:
    breaker = make(initial_state=State.HALF_OPEN, success_threshold=9, half_open_max_calls=2, probe_timeout=5.0)
    succeed(breaker)
    overdue = breaker.acquire()
    clock.advance(1.0)
    other = breaker.acquire()
    clock.advance(4.0)
    if noticed_by == "the next call":
        rejection(breaker)
    elif noticed_by == "another probe":
        other.succeed()
    else:
        overdue.succeed()
    assert opening(breaker) == ("a probe had no answer within 5 s", 2, 1)
    overdue.release()
    other.release()


def test_a_breaker_with_a_health_check_lets_no_caller_probe(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN, health_check=ok, health_check_interval=1000.0)
    assert rejection(breaker).retry_after == 1000.0
    breaker.close()


def test_a_probe_is_overdue_however_many_have_come_and_gone(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.HALF_OPEN, half_open_max_calls=2, probe_timeout=5.0)
    overdue = breaker.acquire()
    for _ in range(100):
        breaker.acquire().release()
    clock.advance(5.0)
    rejection(breaker)
    assert opening(breaker) == ("a probe had no answer within 5 s", 1, 1)
    overdue.release()


def test_an_ignored_probe_leaves_its_place_and_an_overdue_one_opens(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.HALF_OPEN, ignore_exceptions=Boom, probe_timeout=RECOVERY)
    fail(breaker)
    assert breaker.state is State.HALF_OPEN
    with pytest.raises(Boom):
        breaker.call(lambda: (clock.advance(RECOVERY), boom()))
    assert breaker.history[-1].trigger == "probe_expired"
