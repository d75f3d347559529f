"""What users do that nobody would think of."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import sys
import threading
import types
from collections.abc import AsyncGenerator
from types import FrameType
from typing import Any

import pytest
from kit.steps import Boom, Make, fail, lose, succeed
from transitions import MachineError

from breaker import (
    Backoff,
    CircuitBreaker,
    CircuitOpenError,
    CountWindow,
    FailureRate,
    RampUp,
    Registry,
    SlowCallRate,
    State,
    StateChanged,
    Statistics,
    TimeWindow,
    TripReport,
)
from breaker.events import subscribe_all
from breaker.machine import model, totals
from breaker.policies import counter as counters
from breaker.states import half_open, judging
from breaker.table import PROBE_FAILED
from breaker.testing import ManualClock


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN, State.METRICS_ONLY])
def test_call_async_with_a_function_that_is_not_async_is_a_type_error_and_counts_nothing(state: State) -> None:
    breaker = CircuitBreaker("x", failure_threshold=1, initial_state=state)
    for _ in range(3):
        with pytest.raises(TypeError, match="call_async needs an async function, got <class 'int'>"):
            asyncio.run(breaker.call_async(int))  # type: ignore[arg-type]  # that is what it is about
    assert (breaker.state, breaker.statistics().calls, breaker.statistics().ignored) == (state, 0, 0)


def test_a_type_error_of_an_async_function_is_counted() -> None:
    async def fails() -> None:
        raise TypeError("of its own")

    breaker = CircuitBreaker("x", failure_threshold=2)
    for _ in range(2):
        with pytest.raises(TypeError, match="of its own"):
            asyncio.run(breaker.call_async(fails))
    assert breaker.state is State.OPEN


def test_a_clock_that_says_nan_rejects_while_open_and_does_not_spin() -> None:
    now = [0.0]
    breaker = CircuitBreaker("x", initial_state=State.OPEN, clock=lambda: now[0])
    now[0] = float("nan")
    with pytest.raises(CircuitOpenError):
        breaker.call(int)
    now[0] = 30.0
    assert breaker.call(int) == 0


class AnswersEverything:
    """A proxy, as of JSON or of remote calls, that has any attribute you ask it for."""

    def __getattr__(self, name: str) -> Any:
        return self


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_result_that_only_seems_awaitable_is_returned_as_it_is(state: State) -> None:
    breaker, proxy = CircuitBreaker("x", initial_state=state), AnswersEverything()
    assert breaker.call(lambda: proxy) is proxy
    assert breaker.protect(fallback=print)(lambda: proxy)() is proxy
    assert breaker(lambda: proxy)() is proxy
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_coroutines_of_the_old_kind_are_awaited_and_counted(state: State) -> None:
    @types.coroutine
    def old(error: Exception | None = None) -> Any:
        if error is not None:
            raise error
        yield from asyncio.sleep(0).__await__()
        return "done"

    breaker = CircuitBreaker("x", failure_threshold=1, initial_state=state)
    for drive in (breaker.call_async, breaker.call):
        assert asyncio.run(as_coroutine(drive(old))) == "done"
    assert asyncio.run(as_coroutine(breaker(old)())) == "done"
    with pytest.raises(ConnectionError):
        asyncio.run(as_coroutine(breaker.call_async(old, ConnectionError())))
    assert breaker.state is State.OPEN


async def as_coroutine(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.parametrize("wrong", ["timeout", TimeoutError, 5])
def test_failing_a_permit_with_what_is_no_exception_is_a_type_error_and_settles_nothing(wrong: Any) -> None:
    breaker = CircuitBreaker("x", failure_threshold=1)
    permit = breaker.acquire()
    with pytest.raises(TypeError, match=re.escape(repr(wrong))):
        permit.fail(wrong)
    permit.fail()
    assert breaker.state is State.OPEN


def test_objects_with_an_equality_of_their_own_are_settings_like_any_other() -> None:
    class EqualToAll:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

        def __call__(self, result: object) -> bool:
            return True

    breaker = CircuitBreaker("x", failure_threshold=1, record_result=EqualToAll())
    breaker.call(int)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("method", [staticmethod, classmethod])
def test_the_breaker_goes_below_staticmethod_and_classmethod(method: Any) -> None:
    with pytest.raises(TypeError, match=f"put the breaker below @{method.__name__}"):
        CircuitBreaker("x")(method(print))


def test_a_signal_handler_that_moves_the_circuit_amid_a_move_does_not_break_the_call() -> None:
    """At each bytecode of the call that trips, a handler resets the circuit. The caller gets its own error."""
    for place in itertools.count():
        breaker, left = CircuitBreaker("x", failure_threshold=1), place

        def trace(frame: FrameType, event: str, arg: Any, breaker: CircuitBreaker = breaker) -> Any:
            nonlocal left
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left == -1:
                    sys.settrace(None)
                    breaker.reset()
            return trace

        before = sys.gettrace()
        try:
            sys.settrace(trace)
            breaker.call(int, "x")
        except ValueError:
            pass
        finally:
            sys.settrace(before)
        assert breaker.state in (State.CLOSED, State.OPEN), place
        if left >= 0:
            return


def test_an_interrupt_while_delivering_does_not_silence_the_bus() -> None:
    heard: list[object] = []
    breaker = CircuitBreaker("x", listeners=[heard.append])

    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    unsubscribe = breaker.subscribe(interrupt, StateChanged)
    with pytest.raises(KeyboardInterrupt):
        breaker.disable()
    unsubscribe()
    breaker.reset()
    assert [event.new for event in heard if isinstance(event, StateChanged)] == [State.DISABLED, State.CLOSED]


def test_statistics_are_of_one_moment_while_calls_go_on() -> None:
    breaker = CircuitBreaker("x", trip=FailureRate(1.0, CountWindow(10**9), 10**9))
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            breaker.call(int)

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        torn = [now for now in (breaker.statistics() for _ in range(3000)) if now.window_calls != now.calls]
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
        sys.setswitchinterval(before)
    assert torn == []


def test_a_fallback_does_not_answer_what_another_breaker_rejected() -> None:
    inner, outer = CircuitBreaker("inner"), CircuitBreaker("outer")
    inner.force_open()
    guarded = outer.protect(fallback=lambda error: "fallback")(lambda: inner.call(int))
    with pytest.raises(CircuitOpenError, match="inner"):
        guarded()
    assert outer.failure_count == 1
    outer.force_open()
    assert guarded() == "fallback"


def test_an_async_predicate_which_would_always_be_true_is_refused() -> None:
    async def later(*args: object) -> bool:
        return True

    for name in ("record_exceptions", "ignore_exceptions", "record_result", "retry_after"):
        with pytest.raises(TypeError, match=f"{name} must not be async"):
            CircuitBreaker("x", **{name: later})


class Dull:
    """A trip policy whose tally is none."""

    def open(self, clock: object) -> object:
        return object()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"trip": Dull()}, "must have a method 'succeeded'"),
        ({"clock": lambda: "noon"}, "clock must return seconds as a number, got 'noon'"),
        ({"clock": lambda: None}, "clock must return seconds as a number, got None"),
        ({"listeners": print}, "listeners must be a list of functions"),
    ],
)
def test_what_would_fail_at_the_first_trip_is_refused_at_once(settings: Any, error: str) -> None:
    with pytest.raises(TypeError, match=error):
        CircuitBreaker("x", **settings)


def test_a_window_that_no_clock_can_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="5e-324"):
        TimeWindow(5e-324)


def test_a_backoff_of_whole_numbers_does_not_overflow_either() -> None:
    assert Backoff(1, 2, maximum=60).period(5000) == 60.0


def test_listening_to_what_is_no_event_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="int"):
        CircuitBreaker("x").subscribe(print, int)  # type: ignore[type-var]  # that is what it is about


def test_an_error_made_by_hand_can_be_printed() -> None:
    assert str(CircuitOpenError()) == "circuit None is None"
    assert str(CircuitOpenError("x")) == "circuit 'x' is None"


def test_a_report_is_one_line_whatever_the_name() -> None:
    breaker = CircuitBreaker("a\nb", failure_threshold=1)
    with pytest.raises(ValueError, match="invalid literal"):
        breaker.call(int, "x")
    assert str(breaker.last_trip).startswith("a b opened")
    assert "\n" not in str(breaker.last_trip)
    assert "1 failure in a row (limit 1)" in str(breaker.last_trip)


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


def test_a_policy_that_moves_the_circuit_when_its_guard_is_asked_is_not_followed() -> None:
    class Meddler:
        asked = 0

        def open(self, clock: object) -> Meddler:
            return self

        def succeeded(self, duration: float | None) -> None: ...
        def failed(self, kind: str, duration: float | None) -> None: ...

        def tripped(self) -> bool:
            self.asked += 1
            if self.asked == 2:  # the first time the stay asks, the second time the machine
                breaker.disable()
            return True

    breaker = CircuitBreaker("x", trip=Meddler())
    with pytest.raises(ValueError, match="invalid literal"):
        breaker.call(int, "x")
    assert breaker.state is State.DISABLED


def test_a_clock_that_moves_the_circuit_amid_a_move_is_not_followed() -> None:
    class Meddler:
        def __call__(self) -> float:
            if armed:
                armed.clear()
                breaker.disable()
            return 0.0

    armed: list[bool] = []
    breaker = CircuitBreaker("x", failure_threshold=1, clock=Meddler())
    armed.append(True)
    with pytest.raises(ValueError, match="invalid literal"):
        breaker.call(int, "x")
    assert breaker.state is State.DISABLED


def test_a_move_that_comes_too_late_is_no_error_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker, real = CircuitBreaker("x", failure_threshold=1), model.machine

    class Late:
        def fire(self, trigger: str, late: CircuitBreaker, *cause: object) -> bool:
            monkeypatch.undo()
            late.disable()  # what a signal handler may do just here
            return real(ramping=False).fire(trigger, late)

    monkeypatch.setattr(model, "machine", lambda *, ramping: Late())
    with pytest.raises(ValueError, match="invalid literal"):
        breaker.call(int, "x")
    assert breaker.state is State.DISABLED


def test_a_move_that_the_table_does_not_have_is_an_error() -> None:
    breaker = CircuitBreaker("x")
    with breaker._lock, pytest.raises(MachineError, match="Can't trigger event probe_failed from state CLOSED"):
        breaker._fire_locked(breaker._state, PROBE_FAILED)
    assert breaker.state is State.CLOSED


@pytest.mark.thread_unsafe(reason="hears the breakers of all threads")
def test_a_breaker_made_while_somebody_subscribes_to_all_is_not_deaf() -> None:
    heard: list[Any] = []
    reads: list[Any] = []

    def clock() -> float:
        reads.append(None)
        if len(reads) == 2:  # the first is of the settings, the second of the window's beginning
            reads.append(subscribe_all(heard.append, StateChanged))
        return 0.0

    breaker = CircuitBreaker("late", clock=clock, trip=FailureRate(0.5, TimeWindow(10.0)))
    breaker.disable()
    reads[2]()
    assert [event.breaker_name for event in heard] == ["late"]


def test_a_ramp_that_is_over_admits_nobody_by_itself() -> None:
    breaker = CircuitBreaker("x", ramp=RampUp(10.0), initial_state=State.RAMPING)
    over = breaker._state
    breaker.reset()
    assert over.admit(breaker, None) is None
    assert breaker.call(int) == 0


@pytest.fixture
def without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (judging, half_open, totals):
        monkeypatch.setattr(module, "CallCounter", counters.LockedCounter)


@pytest.mark.usefixtures("without_the_gil")
def test_where_counting_is_no_atomic_step_a_lock_makes_it_one() -> None:
    breaker = CircuitBreaker("x", failure_threshold=10**6)

    def work() -> None:
        for _ in range(500):
            breaker.call(int)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert breaker.statistics().successes == 4000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # a thread of another test may be alive
@pytest.mark.usefixtures("without_the_gil")
def test_where_counting_takes_a_lock_no_child_inherits_it_held() -> None:
    breaker = CircuitBreaker("x")
    breaker.force_open()
    breaker.reset()
    with contextlib.ExitStack() as held:
        for counter in (breaker._state.counter, *breaker._totals_locked().counters()):
            assert isinstance(counter, counters.LockedCounter)
            held.enter_context(counter._lock)
        child = os.fork()
        if child == 0:
            os._exit(breaker.call(int) + breaker.statistics().failures)
    assert os.waitpid(child, 0)[1] == 0


def test_two_limits_of_slowness_are_each_judged_by_their_own(make: Make, clock: ManualClock) -> None:
    window = CountWindow(10)
    often, very = SlowCallRate(0.9, 1.0, window), SlowCallRate(0.3, 10.0, window)
    breaker = make(trip=often | very)
    for call in range(10):
        breaker.call(clock.advance, 2.0 if call >= 6 else 0.1)
    assert breaker.state is State.CLOSED
    for _ in range(3):
        breaker.call(clock.advance, 10.0)
    report = breaker.last_trip
    assert report is not None
    assert (report.policy, report.slow_calls, report.slow_call_rate) == (repr(very), 3, 0.3)


def test_a_crossing_that_ended_unseen_is_told_when_it_comes_again(make: Make, clock: ManualClock) -> None:
    breaker = make(trip=FailureRate(0.5, TimeWindow(6.0), 4), initial_state=State.METRICS_ONLY)
    fail(breaker, 4)
    assert len(breaker.history) == 1
    clock.advance(60.0)
    fail(breaker, 3)
    succeed(breaker)
    fail(breaker, 2)
    assert len(breaker.history) == 2


def test_what_a_probe_returned_to_be_awaited_holds_its_place_until_it_is(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN)
    begun = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = breaker.call(loop.run_in_executor, None, begun.append, 1)
        for _ in range(5):
            with pytest.raises(CircuitOpenError):
                breaker.call(loop.run_in_executor, None, begun.append, 1)
        await first

    asyncio.run(main())
    assert (len(begun), breaker.state) == (1, State.CLOSED)


def test_what_a_ramp_lets_through_to_be_awaited_has_used_one_share(make: Make) -> None:
    breaker = make(ramp=RampUp(100.0, start=0.5), initial_state=State.RAMPING)

    async def answer() -> int:
        return 1

    async def main() -> int:
        passed = 0
        for _ in range(100):
            with contextlib.suppress(CircuitOpenError):
                passed += await breaker.call(lambda: answer())
        return passed

    assert asyncio.run(main()) == 50


def test_an_async_generator_that_the_loop_closes_at_its_end_is_a_success(make: Make) -> None:
    breaker, kept, troubles = make(failure_threshold=1), [], []

    @breaker
    async def rows() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        kept.append(rows())
        await anext(kept[-1])

    for _ in range(3):
        asyncio.run(main())
    assert troubles == []
    assert (breaker.state, breaker.statistics().successes) == (State.CLOSED, 3)


def test_a_predicate_that_raises_the_error_it_is_asked_about_makes_no_ring(make: Make) -> None:
    def judge(error: BaseException) -> bool:
        raise error

    breaker = make(record_exceptions=judge)
    with pytest.raises(Boom) as caught:
        breaker.call(lose, Boom)
    assert caught.value.__cause__ is None
    assert breaker.failure_count == 1


def test_at_its_maximum_a_backoff_is_still_spread() -> None:
    drawn = [Backoff(5.0, maximum=300.0, jitter=0.2).period(8) for _ in range(100)]
    assert 240.0 <= min(drawn) < max(drawn) <= 300.0
    assert len(set(drawn)) > 90


@pytest.mark.parametrize("kind", [CircuitOpenError, Statistics, TripReport, int, "StateChanged"])
def test_only_events_are_subscribed_to(make: Make, kind: Any) -> None:
    with pytest.raises(TypeError, match="subscribe to event types, such as StateChanged, got "):
        make().subscribe(print, kind)


def test_every_breaker_of_a_registry_has_the_listeners_of_its_settings() -> None:
    heard: list[Any] = []
    registry = Registry(listeners=iter([heard.append]))
    registry["a"].disable()
    registry["b"].disable()
    assert [event.breaker_name for event in heard] == ["a", "b"]


def test_a_registry_pings_nobody_before_it_is_asked_for_a_key() -> None:
    Registry(initial_state=State.OPEN, recovery_timeout=0.0, health_check=int, health_check_interval=1000.0)
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("health of")]:
        thread.join(10)
        assert not thread.is_alive()
