"""Rule 7: a permit always comes back, exactly once, whatever happens."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Make, all_free, boom, counts, fail, ok, rejection, succeed

from breaker import (
    CircuitBreaker,
    CountWindow,
    Permit,
    SlowCallRate,
    State,
)
from breaker.testing import ManualClock

RUNNING = SlowCallRate(0.5, 5.0, CountWindow(10), minimum_calls=10, count_running=True)


@pytest.fixture(params=["closed", "half-open", "running"])
def admitting(request: pytest.FixtureRequest, make: Make) -> CircuitBreaker:
    """A breaker whose permits are plain, or are probes, or are calls watched while they run."""
    if request.param == "half-open":
        return make(initial_state=State.HALF_OPEN, success_threshold=1000)
    return make(failure_threshold=1000) if request.param == "closed" else make(trip=RUNNING)


ENDS: dict[str, tuple[Callable[[Permit], object], tuple[int, int, int]]] = {
    "succeed": (lambda permit: permit.succeed(), (1, 0, 0)),
    "succeed with a result": (lambda permit: permit.succeed("fine"), (1, 0, 0)),
    "fail": (lambda permit: permit.fail(), (0, 1, 0)),
    "fail with an exception": (lambda permit: permit.fail(Boom()), (0, 1, 0)),
    "fail with a cancellation": (lambda permit: permit.fail(KeyboardInterrupt()), (0, 0, 1)),
    "release": (lambda permit: permit.release(), (0, 0, 1)),
}
BOTH_ENDS = [(first, second) for first in ENDS for second in ENDS]


@pytest.mark.parametrize(("first", "second"), BOTH_ENDS)
def test_the_first_settlement_counts_and_later_ones_change_nothing(
    admitting: CircuitBreaker, first: str, second: str
) -> None:
    permit = admitting.acquire()
    ENDS[first][0](permit)
    state = admitting.state
    for _ in range(3):
        ENDS[second][0](permit)
    assert counts(admitting) == (*ENDS[first][1], 0)
    assert admitting.state is state


def test_a_permit_settled_twice_gives_back_one_place_not_two(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN, half_open_max_calls=2, success_threshold=100)
    one, two = breaker.acquire(), breaker.acquire()
    for _ in range(3):
        one.release()
    three = breaker.acquire()
    assert rejection(breaker)
    two.release(), three.release()


def test_a_permit_settled_inside_its_block_is_not_settled_again_by_the_block(make: Make) -> None:
    breaker = make()
    with breaker.acquire() as permit:
        permit.fail()
    with pytest.raises(Boom), breaker.acquire() as permit:
        permit.succeed()
        raise Boom
    assert counts(breaker) == (1, 1, 0, 0)


def test_of_two_threads_that_settle_at_once_one_counts(make: Make) -> None:
    breaker = make(failure_threshold=10_000)
    for _ in range(300):
        permit, start = breaker.acquire(), threading.Barrier(2)

        def settle(end: Callable[[], object], start: threading.Barrier = start) -> None:
            start.wait(10)
            end()

        threads = [threading.Thread(target=settle, args=(end,)) for end in (permit.fail, permit.succeed)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert breaker.statistics().calls == 300


def test_a_permit_may_be_settled_by_another_thread(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN)
    permit = breaker.acquire()
    other = threading.Thread(target=permit.succeed)
    other.start()
    other.join(10)
    assert breaker.state is State.CLOSED


def test_an_abandoned_permit_comes_back_with_a_warning_that_names_the_breaker(
    admitting: CircuitBreaker, clock: ManualClock
) -> None:
    with pytest.warns(ResourceWarning, match=r"permit of breaker 'payments' was dropped") as caught:
        admitting.acquire()
    assert len(caught) == 1
    assert (all_free(admitting), counts(admitting)) == (True, (0, 0, 0, 0))
    clock.advance(1000.0)
    assert admitting.statistics().window_calls == 0  # it is no call that still runs
    succeed(admitting)


def test_a_permit_abandoned_in_a_cycle_comes_back_when_the_cycle_is_collected(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN)
    gc.disable()
    try:
        cycle: list[Any] = [breaker.acquire()]
        cycle.append(cycle)
        del cycle
        assert rejection(breaker)
        with pytest.warns(ResourceWarning, match="payments"):
            gc.collect()
    finally:
        gc.enable()
    succeed(breaker)
    assert breaker.state is State.CLOSED


def test_a_settled_permit_is_dropped_in_silence(admitting: CircuitBreaker) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for end, _ in ENDS.values():
            if admitting.state is not State.OPEN:
                end(admitting.acquire())
        gc.collect()
    assert caught == []


def test_a_probe_collected_while_its_thread_holds_the_lock_comes_back(make: Make, clock: ManualClock) -> None:
    kept: list[Permit] = []

    def collecting_clock() -> float:
        kept.clear()  # as if the cyclic collector ran here, under the breaker's lock
        return clock()

    breaker = make(clock=collecting_clock, initial_state=State.HALF_OPEN, half_open_max_calls=2)
    permit = breaker.acquire()
    kept.append(permit)
    with pytest.warns(ResourceWarning, match="payments"):
        del permit
        other = breaker.acquire()
    extra = breaker.acquire()
    assert rejection(breaker)
    other.release(), extra.release()


def test_a_generator_collected_while_its_thread_holds_the_lock_settles(make: Make, clock: ManualClock) -> None:
    kept: list[Any] = []

    def collecting_clock() -> float:
        kept.clear()
        return clock()

    breaker = make(clock=collecting_clock, initial_state=State.HALF_OPEN, half_open_max_calls=2)

    @breaker
    def items() -> Any:
        yield 1

    one = items()
    next(one)
    kept.append(one)
    del one
    succeed(breaker)  # the generator is finalized in the middle of this admission, and closes the circuit
    assert (breaker.state, breaker.statistics().successes) == (State.CLOSED, 2)


def broken(_: object) -> Any:
    raise ZeroDivisionError("a bug of the user's")


@pytest.mark.parametrize(
    ("setting", "end"),
    [
        ("record_exceptions", boom),
        ("ignore_exceptions", boom),
        ("retry_after", boom),
        ("record_result", ok),
    ],
)
@pytest.mark.parametrize("two_step", [False, True])
def test_a_classifier_that_raises_is_a_failure_and_the_permit_comes_back(
    make: Make, clock: ManualClock, setting: str, end: Callable[[], Any], two_step: bool
) -> None:
    breaker = make(initial_state=State.HALF_OPEN, **{setting: broken})
    with pytest.raises(ZeroDivisionError) as caught:
        if not two_step:
            breaker.call(end)
        elif end is ok:
            breaker.acquire().succeed(ok())
        else:
            breaker.acquire().fail(Boom("down"))
    assert type(caught.value.__cause__) is (Boom if end is boom else type(None))
    assert (breaker.state, counts(breaker)) == (State.OPEN, (0, 1, 0, 0))
    clock.advance(RECOVERY)
    breaker.acquire().release()  # would be rejected if a place were missing


@pytest.mark.parametrize("answer", ["5", True, float("nan"), [], object()])
def test_a_retry_after_that_answers_nonsense_is_a_classifier_that_raises(make: Make, answer: object) -> None:
    breaker = make(failure_threshold=1, retry_after=lambda cause: answer)
    with pytest.raises(ValueError, match="retry_after") as caught:
        breaker.call(boom)
    assert repr(answer) in str(caught.value)
    assert isinstance(caught.value.__cause__, Boom)
    assert (breaker.state, breaker.retry_after) == (State.OPEN, RECOVERY)


def test_a_classifier_that_is_interrupted_is_neutral_and_the_permit_comes_back(make: Make) -> None:
    def interrupted(_: object) -> bool:
        raise KeyboardInterrupt

    breaker = make(initial_state=State.HALF_OPEN, record_exceptions=interrupted)
    with pytest.raises(KeyboardInterrupt):
        breaker.call(boom)
    assert (breaker.state, all_free(breaker), counts(breaker)) == (State.HALF_OPEN, True, (0, 0, 1, 0))


def test_a_listener_that_raises_keeps_no_permit(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    breaker = make(initial_state=State.HALF_OPEN, success_threshold=2, listeners=[broken])
    succeed(breaker, 2)
    fail(breaker, THRESHOLD)
    assert breaker.state is State.OPEN
    assert "ZeroDivisionError" in caplog.text


def test_a_clock_of_the_users_that_raises_keeps_no_permit(make: Make, clock: ManualClock) -> None:
    def stopped() -> None:
        stops.append(1)

    def faulty_clock() -> float:
        if stops:
            raise ZeroDivisionError
        return clock()

    stops: list[int] = []
    breaker = make(clock=faulty_clock, initial_state=State.HALF_OPEN)
    with pytest.raises(ZeroDivisionError):
        breaker.call(stopped)  # the probe cannot be measured
    stops.clear()
    succeed(breaker)
    assert breaker.state is State.CLOSED


def test_a_trip_policy_of_the_users_that_raises_keeps_no_permit(make: Make) -> None:
    class Faulty:
        def open(self, clock: Any) -> Faulty:
            return self

        def succeeded(self, duration: float | None) -> None:
            raise ZeroDivisionError

        def failed(self, kind: str, duration: float | None) -> None:
            raise ZeroDivisionError

        def tripped(self) -> bool:
            return False

    breaker = make(trip=Faulty())
    for end in (ok, boom):
        with pytest.raises(ZeroDivisionError):
            breaker.call(end)
    assert all_free(breaker)
    breaker.reset()
    assert breaker.state is State.CLOSED


def test_a_permit_shows_where_it_comes_from(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    assert repr(permit) == "<unsettled permit of breaker 'payments', admitted in CLOSED>"
    permit.succeed()
    assert repr(permit) == "<settled permit of breaker 'payments', admitted in CLOSED>"
