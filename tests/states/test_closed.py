"""CLOSED: every call goes through, failures are counted, and the call that trips keeps its own exception."""

from __future__ import annotations

import threading

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Cancelled, Make, boom, counts, fail, ok, succeed

from breaker import CircuitBreaker, State
from breaker.testing import ManualClock


def test_closed_lets_every_call_through_with_its_arguments_and_its_result(breaker: CircuitBreaker) -> None:
    assert breaker.call(lambda *args, **kwargs: (args, kwargs), 1, 2, fn=3) == ((1, 2), {"fn": 3})
    assert (breaker.state, breaker.retry_after) == (State.CLOSED, 0.0)


def test_the_call_that_trips_the_circuit_raises_its_own_exception(breaker: CircuitBreaker) -> None:
    fail(breaker, THRESHOLD - 1)
    last = Boom("the last straw")
    with pytest.raises(Boom) as caught:
        breaker.call(boom, last)
    assert caught.value is last
    assert breaker.state is State.OPEN


def test_the_circuit_stays_closed_below_the_threshold(breaker: CircuitBreaker) -> None:
    fail(breaker, THRESHOLD - 1)
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, THRESHOLD - 1)


def test_failure_count_is_read_without_changing_it(breaker: CircuitBreaker) -> None:
    for expected in range(THRESHOLD):
        assert [breaker.failure_count, breaker.failure_count] == [expected, expected]
        fail(breaker)


def test_a_success_forgives_the_failures_before_it(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        fail(breaker, THRESHOLD - 1)
        succeed(breaker)
        assert (breaker.state, breaker.failure_count) == (State.CLOSED, 0)


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_that_is_no_exception_is_neutral(breaker: CircuitBreaker, error: type[BaseException]) -> None:
    fail(breaker, 1, error)
    assert breaker.failure_count == 0
    fail(breaker, THRESHOLD - 1)
    fail(breaker, 4, error)
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, THRESHOLD - 1)
    assert counts(breaker) == (0, THRESHOLD - 1, 5, 0)


def test_an_ignored_exception_neither_counts_nor_forgives(make: Make) -> None:
    breaker = make(ignore_exceptions=KeyError)
    fail(breaker, THRESHOLD - 1)
    fail(breaker, 5, KeyError)
    assert breaker.failure_count == THRESHOLD - 1
    fail(breaker)
    assert breaker.state is State.OPEN


def test_ignore_wins_over_record(make: Make) -> None:
    breaker = make(record_exceptions=(LookupError, Boom), ignore_exceptions=lambda error: isinstance(error, KeyError))
    fail(breaker, 5, KeyError)
    assert counts(breaker) == (0, 0, 5, 0)
    fail(breaker, 1, IndexError)
    assert counts(breaker) == (0, 1, 5, 0)


def test_an_exception_neither_recorded_nor_ignored_shows_that_the_dependency_answers(make: Make) -> None:
    breaker = make(record_exceptions=Boom)
    fail(breaker, THRESHOLD - 1)
    fail(breaker, 1, KeyError)
    assert (breaker.failure_count, counts(breaker)) == (0, (1, THRESHOLD - 1, 0, 0))


def test_a_result_may_be_a_failure(make: Make) -> None:
    breaker = make(record_result=lambda status: status >= 500)
    assert [breaker.call(ok, 503) for _ in range(THRESHOLD - 1)] == [503] * (THRESHOLD - 1)
    breaker.call(ok, 200)
    assert breaker.failure_count == 0
    for _ in range(THRESHOLD):
        assert breaker.call(ok, 503) == 503
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("late", ["succeed", "fail"])
def test_a_call_of_an_earlier_closed_decides_nothing_in_a_later_one(
    breaker: CircuitBreaker, clock: ManualClock, late: str
) -> None:
    old = [breaker.acquire() for _ in range(THRESHOLD)]
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    succeed(breaker)
    assert breaker.state is State.CLOSED
    fail(breaker, THRESHOLD - 1)
    for permit in old:
        getattr(permit, late)()
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, THRESHOLD - 1)


def test_a_late_result_is_still_in_the_totals(breaker: CircuitBreaker) -> None:
    won, lost, gone = (breaker.acquire() for _ in range(3))
    breaker.reset()
    won.succeed()
    lost.fail()
    gone.release()
    assert counts(breaker) == (1, 1, 1, 0)


def test_reset_begins_the_counting_afresh(breaker: CircuitBreaker) -> None:
    fail(breaker, THRESHOLD - 1)
    breaker.reset()
    assert breaker.failure_count == 0
    fail(breaker, THRESHOLD - 1)
    assert breaker.state is State.CLOSED


def test_a_call_may_call_through_the_same_breaker(breaker: CircuitBreaker) -> None:
    assert breaker.call(lambda: breaker.call(lambda: breaker.call(ok))) == "fine"
    assert counts(breaker) == (3, 0, 0, 0)


def test_a_call_in_progress_keeps_nobody_waiting(breaker: CircuitBreaker) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        assert leave.wait(10)

    hung = threading.Thread(target=breaker.call, args=(hang,))
    hung.start()
    assert inside.wait(10)
    fail(breaker, THRESHOLD)
    assert breaker.state is State.OPEN
    leave.set()
    hung.join(10)
    assert counts(breaker) == (1, THRESHOLD, 0, 0)
