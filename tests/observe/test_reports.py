"""Rule 16: why a circuit opened, and statistics taken at one moment."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
import time
import weakref
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Cancelled, Make, boom, counts, fail, rejection, succeed

from breaker import (
    CircuitBreaker,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    SlowCallRate,
    State,
    TimeWindow,
    TripReport,
)
from breaker.testing import ManualClock

IN_A_ROW = ConsecutiveFailures(3)
SHORT = FailureRate(0.75, CountWindow(4), minimum_calls=4)
LONG = FailureRate(0.3, CountWindow(20), minimum_calls=10)
SLOW = SlowCallRate(0.5, 2.0, TimeWindow(60.0), minimum_calls=2)


def report_of(breaker: CircuitBreaker) -> TripReport:
    assert breaker.state is State.OPEN
    assert breaker.last_trip is not None
    return breaker.last_trip


def test_the_report_of_failures_in_a_row(make: Make) -> None:
    breaker = make(trip=IN_A_ROW)
    before = time.time()
    succeed(breaker, 4)
    fail(breaker, 1, TimeoutError)
    fail(breaker, 2)
    report = report_of(breaker)
    assert dataclasses.asdict(report) == {
        "breaker_name": "payments",
        "at": report.at,
        "policy": "ConsecutiveFailures(threshold=3)",
        "reason": "3 failures in a row (limit 3)",
        "since": report.since,
        "calls": 3,
        "failures": 3,
        "failure_rate": None,
        "slow_calls": 0,
        "slow_call_rate": None,
        "exceptions": {"Boom": 2, "TimeoutError": 1},
        "last_exception": "Boom: down",
        "open_for": RECOVERY,
    }
    assert before - 1 <= report.since <= report.at <= time.time()


def test_the_report_of_a_failure_rate(make: Make) -> None:
    breaker = make(trip=LONG)
    fail(breaker, 2, TimeoutError)
    succeed(breaker, 7)
    fail(breaker, 1, ConnectionError)
    report = report_of(breaker)
    assert (report.policy, report.calls, report.failures, report.failure_rate) == (repr(LONG), 10, 3, 0.3)
    assert report.exceptions == {"TimeoutError": 2, "ConnectionError": 1}
    assert report.reason == "3 of 10 calls failed of the last 20 calls (30%, limit 30%)"


def test_failures_that_have_left_the_window_are_not_in_the_report(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=FailureRate(0.5, TimeWindow(10.0), minimum_calls=2))
    fail(breaker, 1, KeyError)
    clock.advance(20.0)
    fail(breaker, 2)
    assert (report_of(breaker).failures, report_of(breaker).exceptions) == (2, {"Boom": 2})


def test_the_report_of_slow_calls(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=SLOW)
    breaker.call(clock.advance, 0.5)
    breaker.call(clock.advance, 2.0)
    report = report_of(breaker)
    assert (report.policy, report.calls, report.slow_calls, report.slow_call_rate) == (repr(SLOW), 2, 1, 0.5)
    assert (report.failures, report.exceptions, report.last_exception) == (0, {}, None)
    assert report.reason == "1 of 2 calls were slow in the last 60 s (50%, limit 50%)"


@pytest.mark.parametrize(
    ("outcomes", "tripped", "calls", "failures", "rate"),
    [
        ("xxx", IN_A_ROW, 3, 3, None),
        ("xx.x", SHORT, 4, 3, 0.75),
        ("..x..x..xx", LONG, 10, 4, 0.4),
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_joined_policies_report_the_one_that_tripped_by_its_own_counts(
    make: Make, order: tuple[int, int, int], outcomes: str, tripped: Any, calls: int, failures: int, rate: float | None
) -> None:
    first, second, third = ([IN_A_ROW, SHORT, LONG][place] for place in order)
    breaker = make(trip=first | second | third)
    for outcome in outcomes:
        (fail if outcome == "x" else succeed)(breaker)
    report = report_of(breaker)
    assert report.policy == repr(tripped)
    assert (report.failures, report.exceptions) == (failures, {"Boom": failures})
    if rate is not None:
        assert (report.calls, report.failure_rate) == (calls, rate)
        assert report.reason.startswith(f"{failures} of {calls} calls failed")


def test_the_report_of_a_failed_probe(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, THRESHOLD)
    first = report_of(breaker)
    clock.advance(RECOVERY)
    fail(breaker, 1, TimeoutError)
    report = report_of(breaker)
    assert report is not first
    assert (report.policy, report.reason) == ("probe", "a probe failed")
    assert (report.exceptions, report.last_exception) == ({"TimeoutError": 1}, "TimeoutError: down")


def test_the_report_of_a_probe_that_hung(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    hung = breaker.acquire()
    clock.advance(RECOVERY)
    rejection(breaker)
    report = report_of(breaker)
    assert (report.policy, report.reason) == ("probe", "a probe had no answer within 10 s")
    assert (report.exceptions, report.last_exception) == ({}, None)
    hung.release()


def test_a_report_is_one_line_for_a_person(make: Make) -> None:
    breaker = make(trip=LONG)
    fail(breaker, 2, TimeoutError)
    succeed(breaker, 7)
    fail(breaker, 1, ConnectionError)
    assert re.fullmatch(
        r"payments opened 0\.\d s ago: 3 of 10 calls failed of the last 20 calls \(30%, limit 30%\): "
        r"2 TimeoutError, 1 ConnectionError; next try in (10\.0|9\.\d) s",
        str(report_of(breaker)),
    )


def test_a_report_keeps_the_text_of_the_exception_and_not_the_exception(breaker: CircuitBreaker) -> None:
    class Held(Exception):
        """One that can be watched."""

    def lose() -> None:
        local = Held("with a frame full of data")
        watched.append(weakref.ref(local))
        raise local

    watched: list[weakref.ref[Held]] = []
    fail(breaker, THRESHOLD - 1)
    with contextlib.suppress(Held):
        breaker.call(lose)
    gc.collect()  # `lose` itself makes a cycle: its frame holds the exception that holds the frame
    assert [reference() for reference in watched] == [None]
    assert report_of(breaker).last_exception == "Held: with a frame full of data"


class Mute(Exception):
    """One whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_is_reported_by_its_type(make: Make) -> None:
    breaker = make(failure_threshold=1)
    fail(breaker, 1, Mute)
    assert report_of(breaker).last_exception == "Mute"


def test_the_last_trip_outlives_closing_and_each_opening_is_counted(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    for opening in (1, 2, 3):
        fail(breaker, THRESHOLD)
        report = report_of(breaker)
        clock.advance(RECOVERY)
        succeed(breaker)
        assert breaker.last_trip is report
        assert breaker.statistics().openings == opening
    assert [change.report for change in breaker.history][-3:] == [report, None, None]


def test_history_keeps_the_last_hundred_changes(breaker: CircuitBreaker) -> None:
    for _ in range(80):
        breaker.force_open()
        breaker.reset()
    assert len(breaker.history) == 100
    assert breaker.history[-1].new is State.CLOSED


def test_statistics_add_up_over_all_stays(make: Make, clock: ManualClock) -> None:
    breaker = make(ignore_exceptions=KeyError, trip=LONG | ConsecutiveFailures(THRESHOLD))
    succeed(breaker, 5)
    fail(breaker, THRESHOLD)
    rejection(breaker), rejection(breaker)
    clock.advance(RECOVERY)
    fail(breaker)
    clock.advance(RECOVERY)
    succeed(breaker)
    fail(breaker, 2, KeyError)
    fail(breaker, 1, Cancelled)
    succeed(breaker, 3)
    fail(breaker)
    now = breaker.statistics()
    assert dataclasses.asdict(now) == {
        "breaker_name": "payments",
        "state": State.CLOSED,
        "since": now.since,
        "calls": 14,
        "successes": 9,
        "failures": 5,
        "slow": 0,
        "ignored": 3,
        "rejected": 2,
        "openings": 2,
        "failure_rate": 0.25,
        "slow_call_rate": None,
        "window_calls": 4,
    }


@pytest.mark.parametrize("policy", [IN_A_ROW, SHORT, LONG, SLOW, SLOW | LONG, IN_A_ROW | SHORT], ids=repr)
def test_the_totals_do_not_depend_on_the_policy(make: Make, policy: Any) -> None:
    breaker = make(trip=policy)
    for expected in ((2, 1, 0, 0), (4, 2, 0, 0)):
        succeed(breaker)
        fail(breaker)
        succeed(breaker)
        assert counts(breaker) == expected
        breaker.reset()
        assert counts(breaker) == expected


def test_statistics_are_a_frozen_snapshot(breaker: CircuitBreaker) -> None:
    before = breaker.statistics()
    with pytest.raises(AttributeError):
        before.calls = 5  # type: ignore[misc]  # that it is frozen is the test
    succeed(breaker)
    with pytest.raises(Boom):
        breaker.call(boom)
    assert (before.calls, breaker.statistics().calls) == (0, 2)


def test_reading_statistics_counts_as_no_call(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        breaker.statistics()
        succeed(breaker)
    assert breaker.statistics().successes == breaker.statistics().calls == 10
