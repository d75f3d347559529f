"""One suite, all surfaces: the same scenarios through every way to call, in plain code, asyncio and Trio.

Each runs on a breaker nobody listens to, whose healthy calls carry no permit, and on one with a listener.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Make, counts, fail, passes, rejection, succeed
from kit.surfaces import CANCEL, DRIVES, Raised

from breaker import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    CircuitBreaker,
    CircuitOpenError,
    CountWindow,
    FailureRate,
    RampUp,
    SlowCallRate,
    State,
    StateChanged,
)
from breaker.testing import ManualClock

Drive = Callable[..., Any]


@pytest.fixture(params=DRIVES.values(), ids=DRIVES)
def drive(request: pytest.FixtureRequest) -> Drive:
    """Makes one call that does `during()` and then ends as told; returns its result or what it `Raised`."""

    def drive(breaker: CircuitBreaker, ending: Any, during: Callable[[], Any] = lambda: None) -> Any:
        return request.param(breaker, ending, during)

    return drive


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture(params=[False, True], ids=["unheard", "heard"])
def build(request: pytest.FixtureRequest, make: Make, heard: list[Any]) -> Make:
    """Makes breakers with or without a listener."""
    return lambda **settings: make(**settings, listeners=[heard.append] if request.param else ())


def calls_heard(heard: list[Any]) -> list[type]:
    return [type(event) for event in heard if not isinstance(event, StateChanged)]


def half_open(breaker: CircuitBreaker, clock: ManualClock) -> CircuitBreaker:
    """`breaker`, with its next call the first probe."""
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    return breaker


def test_a_success_returns_its_result_and_forgives(build: Make, drive: Drive, heard: list[Any]) -> None:
    breaker = build()
    fail(breaker, THRESHOLD - 1)
    result = object()
    assert drive(breaker, result) is result
    assert (breaker.failure_count, counts(breaker)) == (0, (1, THRESHOLD - 1, 0, 0))
    assert calls_heard(heard)[-1:] in ([], [CallSucceeded])


def test_a_failure_raises_its_own_exception_and_counts(build: Make, drive: Drive, heard: list[Any]) -> None:
    breaker = build()
    for number in range(1, THRESHOLD + 1):
        error = Boom(number)
        assert drive(breaker, error).error is error
        assert counts(breaker) == (0, number, 0, 0)
    assert breaker.state is State.OPEN
    assert calls_heard(heard) in ([], [CallFailed] * THRESHOLD)


def test_an_ignored_exception_is_neutral(build: Make, drive: Drive, heard: list[Any]) -> None:
    breaker = build(ignore_exceptions=KeyError)
    fail(breaker, THRESHOLD - 1)
    error = KeyError("ours")
    assert drive(breaker, error).error is error
    assert (breaker.failure_count, counts(breaker)) == (THRESHOLD - 1, (0, THRESHOLD - 1, 1, 0))
    assert calls_heard(heard)[-1:] in ([], [CallIgnored])


@pytest.mark.parametrize("state", [State.CLOSED, State.METRICS_ONLY, State.RAMPING])
def test_a_cancelled_call_is_neutral(build: Make, drive: Drive, heard: list[Any], state: State) -> None:
    breaker = build(initial_state=state, ramp=RampUp(60.0, start=1.0))
    fail(breaker, THRESHOLD - 1)
    for _ in range(3):
        assert drive(breaker, CANCEL) == Raised(None)
    assert (breaker.state, breaker.failure_count) == (state, THRESHOLD - 1)
    assert counts(breaker) == (0, THRESHOLD - 1, 3, 0)
    assert calls_heard(heard)[-3:] in ([], [CallIgnored] * 3)


@pytest.mark.parametrize("state", [State.OPEN, State.FORCED_OPEN])
def test_a_rejected_call_is_not_made(build: Make, drive: Drive, heard: list[Any], state: State) -> None:
    breaker = build(initial_state=state)
    made: list[int] = []
    raised = drive(breaker, "fine", lambda: made.append(1))
    assert isinstance(raised.error, CircuitOpenError)
    assert raised.error.state is state
    assert (made, counts(breaker)) == ([], (0, 0, 0, 1))
    assert calls_heard(heard) in ([], [CallRejected])


def test_a_call_beside_a_probe_is_rejected(build: Make, drive: Drive, clock: ManualClock) -> None:
    breaker = half_open(build(), clock)
    with breaker.acquire():
        assert isinstance(drive(breaker, "fine").error, CircuitOpenError)
    assert breaker.state is State.CLOSED
    assert drive(breaker, "fine") == "fine"


def test_a_good_probe_closes(build: Make, drive: Drive, clock: ManualClock) -> None:
    breaker = half_open(build(), clock)
    during: list[State] = []
    assert drive(breaker, "fine", lambda: during.append(breaker.state)) == "fine"
    assert (during, breaker.state) == ([State.HALF_OPEN], State.CLOSED)


def test_a_failed_probe_opens(build: Make, drive: Drive, clock: ManualClock) -> None:
    breaker = half_open(build(), clock)
    assert drive(breaker, Boom()) != Raised(None)
    assert (breaker.state, breaker.retry_after) == (State.OPEN, RECOVERY)


@pytest.mark.parametrize("ending", [CANCEL, KeyError("ours")], ids=["cancelled", "ignored"])
def test_a_neutral_probe_gives_its_place_back(build: Make, drive: Drive, clock: ManualClock, ending: Any) -> None:
    breaker = half_open(build(ignore_exceptions=KeyError), clock)
    for _ in range(3):
        assert isinstance(drive(breaker, ending), Raised)
        assert (breaker.state, breaker.retry_after) == (State.HALF_OPEN, 0.0)
    assert drive(breaker, "fine") == "fine"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("ending", ["fine", Boom(), CANCEL], ids=["success", "failure", "cancelled"])
def test_a_hung_probe_has_failed_and_its_late_end_decides_nothing(
    build: Make, drive: Drive, clock: ManualClock, ending: Any
) -> None:
    breaker = half_open(build(probe_timeout=2.0), clock)

    def hang() -> None:
        clock.advance(2.0)
        assert rejection(breaker).state is State.OPEN

    drive(breaker, ending, hang)
    assert (breaker.state, breaker.retry_after) == (State.OPEN, RECOVERY)
    assert breaker.statistics().openings == 2
    clock.advance(RECOVERY)
    assert drive(breaker, "fine") == "fine"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("fine", (1, 3, 0)), (Boom(), (0, 4, 0)), (CANCEL, (0, 3, 1))],
    ids=["success", "failure", "cancelled"],
)
def test_a_late_result_decides_nothing_and_is_in_the_totals(
    build: Make, drive: Drive, clock: ManualClock, ending: Any, expected: tuple[int, int, int]
) -> None:
    breaker = build()

    def meanwhile() -> None:
        fail(breaker, THRESHOLD)
        clock.advance(1.0)

    drive(breaker, ending, meanwhile)
    assert (breaker.state, breaker.retry_after, breaker.failure_count) == (State.OPEN, RECOVERY - 1, THRESHOLD)
    assert counts(breaker) == (*expected, 0)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("fine", (1, 1, 0, 0)), (Boom(), (0, 2, 0, 0)), (CANCEL, (0, 1, 1, 0))],
    ids=["success", "failure", "cancelled"],
)
def test_a_call_admitted_in_an_earlier_closed_neither_counts_nor_forgives_in_this_one(
    build: Make, drive: Drive, ending: Any, expected: tuple[int, ...]
) -> None:
    breaker = build()
    drive(breaker, ending, lambda: (breaker.reset(), fail(breaker)))
    assert (breaker.state, breaker.failure_count, counts(breaker)) == (State.CLOSED, 1, expected)


@pytest.mark.parametrize("ending", ["fine", Boom()], ids=["success", "failure"])
def test_a_call_admitted_in_closed_that_ends_in_half_open_is_no_probe(
    build: Make, drive: Drive, clock: ManualClock, ending: Any
) -> None:
    breaker = build(success_threshold=2)

    def meanwhile() -> None:
        succeed(half_open(breaker, clock))
        assert breaker.state is State.HALF_OPEN

    drive(breaker, ending, meanwhile)
    assert breaker.state is State.HALF_OPEN
    succeed(breaker)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("ending", ["fine", Boom(), CANCEL], ids=["success", "failure", "cancelled"])
def test_disabled_counts_nothing(build: Make, drive: Drive, heard: list[Any], ending: Any) -> None:
    breaker = build(initial_state=State.DISABLED)
    for _ in range(THRESHOLD):
        drive(breaker, ending)
    assert (breaker.state, counts(breaker)) == (State.DISABLED, (0, 0, 0, 0))
    assert heard == []


def test_a_classifier_that_raises_is_a_failure_and_its_error_is_chained(
    build: Make, drive: Drive, clock: ManualClock
) -> None:
    broken = ZeroDivisionError("a bug in the predicate")

    def predicate(error: BaseException) -> bool:
        raise broken

    breaker = build(record_exceptions=predicate, initial_state=State.HALF_OPEN)
    original = Boom()
    assert drive(breaker, original).error is broken
    assert broken.__cause__ is original
    assert (breaker.state, counts(breaker)) == (State.OPEN, (0, 1, 0, 0))
    clock.advance(RECOVERY)
    assert drive(breaker, "fine") == "fine"


def test_a_slow_call_is_counted_slow(build: Make, drive: Drive, clock: ManualClock) -> None:
    breaker = build(trip=SlowCallRate(0.5, 1.0, CountWindow(4), minimum_calls=2))
    assert drive(breaker, "fine", lambda: clock.advance(0.5)) == "fine"
    assert drive(breaker, "fine", lambda: clock.advance(1.0)) == "fine"
    assert (breaker.statistics().slow, breaker.state) == (1, State.OPEN)


def test_a_failure_rate_counts_every_call(build: Make, drive: Drive) -> None:
    breaker = build(trip=FailureRate(0.5, CountWindow(4), minimum_calls=4))
    for ending in ("fine", Boom(), "fine", CANCEL, Boom()):
        assert breaker.state is State.CLOSED
        drive(breaker, ending)
    assert breaker.state is State.OPEN
    assert breaker.last_trip is not None
    assert (breaker.last_trip.calls, breaker.last_trip.failures) == (4, 2)


def test_a_call_may_operate_its_own_breaker(build: Make, drive: Drive) -> None:
    breaker = build()
    assert drive(breaker, "fine", lambda: (passes(breaker), breaker.reset(), breaker.force_open())) == "fine"
    assert (breaker.state, counts(breaker)) == (State.FORCED_OPEN, (2, 0, 0, 0))
