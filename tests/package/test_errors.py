"""Rule 15: a rejection carries its reason, in one readable line, and pickles whole."""

from __future__ import annotations

import copy
import pickle

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Make, boom, enter, fail, rejection

from breaker import BreakerError, CircuitBreaker, CircuitOpenError, RampUp, State
from breaker.testing import ManualClock

REJECTING = [State.OPEN, State.HALF_OPEN, State.RAMPING, State.FORCED_OPEN]


def rejected_in(make: Make, clock: ManualClock, state: State) -> CircuitOpenError:
    breaker = make(ramp=RampUp(30.0) if state is State.RAMPING else None)
    enter(breaker, state, clock.advance)
    if state is State.HALF_OPEN:
        with breaker.acquire():
            return rejection(breaker)
    return rejection(breaker)


def test_the_error_tree_has_one_root() -> None:
    assert issubclass(CircuitOpenError, BreakerError)
    assert BreakerError.__bases__ == (Exception,)


@pytest.mark.parametrize("state", REJECTING)
def test_a_rejection_tells_who_rejected_it_and_why(make: Make, clock: ManualClock, state: State) -> None:
    error = rejected_in(make, clock, state)
    assert (error.breaker_name, error.state) == ("payments", state)
    assert (error.retry_after is None) == (state is State.FORCED_OPEN)
    assert (error.report is None) == (state is State.FORCED_OPEN)


@pytest.mark.parametrize("state", REJECTING)
def test_its_message_is_one_readable_line(make: Make, clock: ManualClock, state: State) -> None:
    text = str(rejected_in(make, clock, state))
    assert "\n" not in text
    assert len(text) < 200
    assert "payments" in text
    assert state in text


def test_the_message_tells_the_time_left_and_the_reason(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY - 2.34)
    assert str(rejection(breaker)) == (
        "circuit 'payments' is OPEN, retry in 2.3 s (3 failures in a row (limit 3): 3 Boom)"
    )
    breaker.reset()
    breaker.force_open(for_seconds=60)
    assert "retry in 60.0 s" in str(rejection(breaker))


@pytest.mark.parametrize("name", ["two\nlines", "quote'd", "", "päyments ☂"])
def test_the_message_is_one_line_whatever_the_breaker_is_called(make: Make, name: str) -> None:
    breaker = make(name=name)
    breaker.force_open()
    assert "\n" not in str(rejection(breaker))


def test_the_message_is_one_line_whatever_the_dependency_said(make: Make) -> None:
    breaker = make(failure_threshold=1)
    with pytest.raises(Boom):
        breaker.call(boom, Boom("first line\nsecond line\r\n" + "long " * 1000))
    error = rejection(breaker)
    assert error.report is not None
    assert error.report.last_exception is not None
    for text in (str(error), error.report.last_exception, str(error.report)):
        assert len(text.splitlines()) == 1
        assert len(text) < 400


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("state", REJECTING)
def test_a_rejection_pickles_and_unpickles_whole(make: Make, clock: ManualClock, state: State, protocol: int) -> None:
    error = rejected_in(make, clock, state)
    error.add_note("seen in the worker")
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is CircuitOpenError
    assert (twin.breaker_name, twin.retry_after, twin.report) == (error.breaker_name, error.retry_after, error.report)
    assert twin.state is error.state
    assert (str(twin), repr(twin), twin.__notes__) == (str(error), repr(error), error.__notes__)
    assert str(copy.copy(error)) == str(copy.deepcopy(error)) == str(error)


def test_no_time_left_is_told_too() -> None:
    assert str(CircuitOpenError("payments", State.HALF_OPEN, 0.0, None)).endswith("is HALF_OPEN, retry in 0.0 s")
    assert str(CircuitOpenError("payments", State.FORCED_OPEN, None, None)).endswith("is FORCED_OPEN")


def test_each_rejection_is_an_error_of_its_own(breaker: CircuitBreaker) -> None:
    breaker.force_open()
    first, second = rejection(breaker), rejection(breaker)
    assert first is not second
    assert first.__traceback__ is not second.__traceback__


def test_a_rejection_while_handling_an_error_keeps_that_error_as_its_context(breaker: CircuitBreaker) -> None:
    breaker.force_open()
    with pytest.raises(CircuitOpenError) as caught:
        try:
            raise KeyError("cache miss")
        except KeyError:
            breaker.call(print)
    assert isinstance(caught.value.__context__, KeyError)
