"""How the end of a call is classified: predicates, hints, and classifiers that raise."""

from __future__ import annotations

import pytest
from kit.steps import RECOVERY, Boom, Make, boom, fail, lose, ok, rejection

from breaker import (
    CallFailed,
    CallSucceeded,
    CircuitBreaker,
    State,
)
from breaker.outcome import text_of
from breaker.testing import EventRecorder


def test_an_async_predicate_which_would_always_be_true_is_refused() -> None:
    async def later(*args: object) -> bool:
        return True

    for name in ("record_exceptions", "ignore_exceptions", "record_result", "retry_after"):
        with pytest.raises(TypeError, match=f"{name} must not be async"):
            CircuitBreaker("x", **{name: later})


def test_a_predicate_that_raises_the_error_it_is_asked_about_makes_no_ring(make: Make) -> None:
    def judge(error: BaseException) -> bool:
        raise error

    breaker = make(record_exceptions=judge)
    with pytest.raises(Boom) as caught:
        breaker.call(lose, Boom)
    assert caught.value.__cause__ is None
    assert breaker.failure_count == 1


def test_a_result_is_asked_how_long_to_wait(make: Make) -> None:
    breaker = make(failure_threshold=1, record_result=lambda result: True, retry_after=lambda result: result)
    breaker.call(ok, 3 * RECOVERY)
    assert rejection(breaker).retry_after == 3 * RECOVERY


def test_a_disabled_breaker_asks_no_classifier(make: Make) -> None:
    breaker = make(record_result=boom, record_exceptions=boom, initial_state=State.DISABLED)
    breaker.acquire().succeed("result")
    breaker.acquire().fail(Boom("error"))
    assert breaker.call(ok) == "fine"


@pytest.mark.parametrize("length", [200, 201, 5000])
def test_the_text_of_an_exception_is_two_hundred_characters_at_most(length: int) -> None:
    text = "Boom: " + "x" * (length - len("Boom: "))
    assert text_of(Boom(text.removeprefix("Boom: "))) == (text if length == 200 else text[:197] + "...")


def test_a_classifier_that_raises_is_told_of_with_the_original_or_else_with_itself(make: Make) -> None:
    def broken(_: object) -> bool:
        raise LookupError("broken")

    heard = EventRecorder(CallFailed)
    on_error = make(record_exceptions=broken, failure_threshold=1, listeners=[heard])
    with pytest.raises(LookupError):
        on_error.call(boom)
    on_result = make(record_result=broken, failure_threshold=1, listeners=[heard])
    with pytest.raises(LookupError):
        on_result.call(ok)
    assert [type(event.exception) for event in heard.events if isinstance(event, CallFailed)] == [Boom, LookupError]
    for breaker, name in ((on_error, "Boom"), (on_result, "LookupError")):
        assert breaker.last_trip is not None
        assert breaker.last_trip.exceptions == {name: 1}


def test_an_exception_that_is_no_failure_is_told_with_the_success(make: Make) -> None:
    heard = EventRecorder(CallSucceeded)
    breaker = make(record_exceptions=OSError, listeners=[heard])
    fail(breaker)
    [event] = heard.events
    assert isinstance(event, CallSucceeded)
    assert isinstance(event.exception, Boom)
