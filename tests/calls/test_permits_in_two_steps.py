"""Permits that are settled by hand, in a second step."""

from __future__ import annotations

import re
from typing import Any

import pytest
from kit.steps import RECOVERY, Boom, Make, rejection

from breaker import (
    CallFailed,
    CircuitBreaker,
    Permit,
    State,
)
from breaker.testing import EventRecorder


@pytest.mark.parametrize("wrong", ["timeout", TimeoutError, 5])
def test_failing_a_permit_with_what_is_no_exception_is_a_type_error_and_settles_nothing(wrong: Any) -> None:
    breaker = CircuitBreaker("x", failure_threshold=1)
    permit = breaker.acquire()
    with pytest.raises(TypeError, match=re.escape(repr(wrong))):
        permit.fail(wrong)
    permit.fail()
    assert breaker.state is State.OPEN


def test_a_permit_that_an_interrupt_left_half_made_is_none() -> None:
    Permit.__new__(Permit).__del__()  # what the interpreter does with it; a warning would be an error here


def test_a_permit_of_a_disabled_breaker_is_like_any_other(make: Make) -> None:
    breaker = make(initial_state=State.DISABLED)
    permit = breaker._state.admit(breaker, None)  # as for a generator; `acquire` makes one of its own
    assert permit is not None
    permit.fail()
    assert repr(permit) == "<settled permit of breaker 'payments', admitted in DISABLED>"
    assert breaker.statistics().calls == 0


def test_a_result_given_to_a_permit_is_judged(make: Make) -> None:
    breaker = make(failure_threshold=1, record_result=lambda result: result == "bad")
    breaker.acquire().succeed("good")
    assert breaker.state is State.CLOSED
    breaker.acquire().succeed("bad")
    assert breaker.state is State.OPEN


def test_a_permit_that_fails_with_a_time_asked_for_lengthens_the_open_period(make: Make) -> None:
    heard = EventRecorder(CallFailed)
    breaker, error = make(failure_threshold=1, listeners=[heard], ignore_exceptions=Boom), Boom("busy")
    permit = breaker.acquire()
    with pytest.raises(ValueError, match=r"^retry_after must be a finite number of seconds, 0 or more, got -1.0$"):
        permit.fail(error, retry_after=-1.0)
    permit.fail(error, retry_after=3 * RECOVERY)
    assert rejection(breaker).retry_after == 3 * RECOVERY
    [event] = heard.events
    assert isinstance(event, CallFailed)
    assert event.exception is error
