"""What no test noticed when `mutmut` broke it: `tests/MUTATION.md` says how these were found."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Make, boom, fail, lose, ok, rejection, succeed

from breaker import (
    Backoff,
    CallFailed,
    CallSucceeded,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    Permit,
    RampUp,
    SlowCallRate,
    State,
    StateChanged,
    TimeWindow,
)
from breaker.events import subscribe_all
from breaker.outcome import text_of
from breaker.testing import EventRecorder, ManualClock

# -- every kind of function, in every state -----------------------------------------------------------------


def plain(*args: Any, during: Callable[[], object] = ok, **kwargs: Any) -> Any:
    during()
    return args, kwargs


async def coroutine(*args: Any, **kwargs: Any) -> Any:
    return plain(*args, **kwargs)


def awaitable(*args: Any, **kwargs: Any) -> Awaitable[Any]:
    return coroutine(*args, **kwargs)


def generator(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
    yield plain(*args, **kwargs)


async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
    yield plain(*args, **kwargs)


FUNCTIONS = [plain, coroutine, awaitable, generator, async_generator]
CALLS: dict[str, Callable[..., Any]] = {
    "call": lambda breaker, *args, **kwargs: breaker.call(plain, *args, **kwargs),
    "call of a coroutine": lambda breaker, *args, **kwargs: breaker.call(coroutine, *args, **kwargs),
    "call of an awaitable": lambda breaker, *args, **kwargs: breaker.call(awaitable, *args, **kwargs),
    "call_async": lambda breaker, *args, **kwargs: breaker.call_async(coroutine, *args, **kwargs),
    **{
        f"decorated {function.__name__}": lambda breaker, *args, function=function, **kwargs: breaker(function)(
            *args, **kwargs
        )
        for function in FUNCTIONS
    },
}
LETS_THROUGH = [State.CLOSED, State.HALF_OPEN, State.RAMPING, State.DISABLED, State.METRICS_ONLY]


def end(pending: Any) -> Any:
    """What a call of any kind ends with."""

    async def ended() -> Any:
        if inspect.isasyncgen(pending):
            [item] = [item async for item in pending]
            return item
        return await pending

    if inspect.isgenerator(pending):
        [item] = pending
        return item
    return asyncio.run(ended()) if inspect.isawaitable(pending) or inspect.isasyncgen(pending) else pending


@pytest.mark.parametrize("state", LETS_THROUGH)
@pytest.mark.parametrize("way", CALLS)
def test_the_arguments_reach_the_function(make: Make, way: str, state: State) -> None:
    breaker = make(initial_state=state, ramp=RampUp(10.0, start=1.0))
    assert end(CALLS[way](breaker, 1, 2, key="word")) == ((1, 2), {"key": "word"})


SLOW = SlowCallRate(0.5, 10.0, CountWindow(10), 1)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("state", [State.CLOSED, State.OPEN, State.HALF_OPEN, State.RAMPING, State.METRICS_ONLY])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_call_site_has_its_own_limit_of_slowness(
    make: Make, clock: ManualClock, function: Callable[..., Any], state: State, running: bool, joined: bool
) -> None:
    slow: Any = SlowCallRate(0.5, 10.0, CountWindow(10), 1, count_running=running)
    trip = ConsecutiveFailures(5) | slow if joined else slow
    breaker = make(initial_state=state, trip=trip, ramp=RampUp(100.0, start=1.0), success_threshold=9)
    guarded = breaker.protect(slow_after=3.0)(function)
    if state is State.OPEN:
        clock.advance(RECOVERY)  # so that the next call finds the circuit in one state and is admitted in another
    else:
        end(guarded(during=lambda: clock.advance(2.9)))
    assert breaker.statistics().slow == 0
    end(guarded(during=lambda: clock.advance(3.0)))
    assert breaker.statistics().slow == 1


@pytest.mark.parametrize("joined", [False, True])
def test_a_call_that_still_runs_is_slow_at_the_limit_of_its_own_call_site(
    make: Make, clock: ManualClock, joined: bool
) -> None:
    slow = SlowCallRate(0.5, 10.0, CountWindow(10), 1, count_running=True)
    breaker = make(trip=ConsecutiveFailures(5) | slow if joined else slow)

    def hang() -> None:
        clock.advance(3.0)
        assert rejection(breaker).report is not None

    breaker.protect(slow_after=3.0)(hang)()
    assert breaker.state is State.OPEN


def test_what_a_disabled_breaker_let_through_is_measured_if_it_is_awaited_after_a_reset(
    make: Make, clock: ManualClock
) -> None:
    breaker = make(trip=SLOW)
    breaker.disable()
    pending = breaker.protect(slow_after=3.0)(awaitable)(during=lambda: clock.advance(3.0))
    breaker.reset()
    end(pending)
    assert breaker.statistics().slow == 1


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_function_that_raises_before_it_makes_its_awaitable_has_failed(make: Make, state: State) -> None:
    breaker = make(initial_state=state, failure_threshold=1)
    with pytest.raises(Boom):
        end(breaker.call_async(boom))
    assert breaker.state is State.OPEN


def test_a_coroutine_that_is_rejected_is_closed(make: Make) -> None:
    breaker, made = make(), coroutine()
    pending = breaker.call(lambda: made)
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        end(pending)
    assert inspect.getcoroutinestate(made) == inspect.CORO_CLOSED


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


def test_an_async_function_may_have_an_async_fallback_and_a_plain_one(make: Make) -> None:
    breaker = make()
    breaker.force_open()

    async def later(error: CircuitOpenError) -> str:
        return "later"

    assert end(breaker.protect(fallback=later)(coroutine)()) == "later"
    assert end(breaker.protect(fallback=lambda error: "now")(coroutine)()) == "now"
    assert inspect.iscoroutinefunction(breaker.protect(fallback=later)(coroutine))
    assert not inspect.iscoroutinefunction(breaker.protect(fallback=later)(plain))


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_with_a_fallback_is_refused_in_one_line(make: Make, function: Callable[..., Any]) -> None:
    line = "a generator has no fallback: it may have yielded before it failed"
    with pytest.raises(TypeError, match=f"^{line}$"):
        make().protect(fallback=ok)(function)


def test_what_a_probe_returned_to_be_awaited_decides_when_it_ends(make: Make) -> None:
    async def bad() -> str:
        return "bad"

    async def lost() -> None:
        raise Boom

    for made, reason in ((bad, {"bad result": 1}), (lost, {"Boom": 1})):
        breaker = make(initial_state=State.HALF_OPEN, record_result=lambda result: result == "bad")
        with contextlib.suppress(Boom):
            end(breaker.call(lambda made=made: made()))
        assert breaker.last_trip is not None
        assert breaker.last_trip.exceptions == reason


def test_an_object_that_is_called_to_make_a_coroutine_is_guarded_as_a_coroutine_function(make: Make) -> None:
    class Client:
        async def __call__(self) -> str:
            return "async"

    class Plain:
        def __call__(self) -> str:
            return "plain"

    breaker = make()
    for made in (Client(), functools.partial(coroutine), functools.wraps(coroutine)(Client())):
        assert inspect.iscoroutinefunction(breaker(made))
    for made in (Plain(), functools.partial(plain), functools.wraps(plain)(Plain())):
        assert not inspect.iscoroutinefunction(breaker(made))
    breaker.force_open()
    pending = breaker.call(Client())  # rejected when it is awaited, not before
    with pytest.raises(CircuitOpenError):
        end(pending)


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="needs Python 3.12")
def test_a_function_that_is_marked_as_a_coroutine_function_is_guarded_as_one(make: Make) -> None:
    @inspect.markcoroutinefunction
    def marked() -> Awaitable[Any]:
        return coroutine()

    breaker = make()
    breaker.force_open()
    pending = breaker.call(marked)  # rejected when it is awaited, not before
    with pytest.raises(CircuitOpenError):
        end(pending)


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_plain_generator_that_a_call_returns_is_nothing_to_await(make: Make, state: State) -> None:
    made = generator()
    assert make(initial_state=state).call(lambda: made) is made
    made.close()


# -- the healthy path takes no lock -------------------------------------------------------------------------


class Locked(Exception):
    pass


class NoLock:
    def __enter__(self) -> None:
        raise Locked

    def __exit__(self, *_: object) -> None: ...


POLICIES: dict[str, Any] = {
    "in a row": ConsecutiveFailures(5),
    "count window": FailureRate(0.5, CountWindow(10), 2),
    "time window": FailureRate(0.5, TimeWindow(10.0), 2),
    "joined": ConsecutiveFailures(5) | FailureRate(0.5, CountWindow(10), 2),
    "joined over time": ConsecutiveFailures(5) | FailureRate(0.5, TimeWindow(10.0), 2),
}
LOCK_FREE = [way for way in CALLS if "generator" not in way and "awaitable" not in way and way != "call of a coroutine"]


@pytest.mark.parametrize("way", LOCK_FREE)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("state", [State.CLOSED, State.DISABLED])
def test_a_healthy_call_takes_no_lock_and_has_no_permit(make: Make, state: State, policy: str, way: str) -> None:
    breaker = make(trip=POLICIES[policy], initial_state=state)
    assert not breaker._state.needs_permit
    assert breaker._state.count_success is not None
    fail(breaker)
    has_to_forgive = state is State.CLOSED and ("in a row" in policy or "joined" in policy)
    assert (breaker._state.count_success is None) == has_to_forgive
    end(CALLS[way](breaker))  # which forgives the failure, if it is one in a row
    breaker._lock = NoLock()  # type: ignore[assignment]  # whoever takes it is found out
    end(CALLS[way](breaker))


def test_a_failure_in_a_row_is_forgiven_under_the_lock(make: Make) -> None:
    breaker = make()
    fail(breaker)
    real, breaker._lock = breaker._lock, NoLock()  # type: ignore[assignment]  # as above
    with pytest.raises(Locked):
        breaker.call(ok)
    breaker._lock = real


# -- probes -------------------------------------------------------------------------------------------------


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


def test_a_probe_whose_success_could_not_close_the_circuit_has_given_its_place_back(make: Make) -> None:
    own = Own(None)
    breaker = make(trip=own, initial_state=State.HALF_OPEN)
    own.broken = True
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^no tally today$"):
            breaker.call(ok)
    own.broken = False
    breaker.call(ok)
    assert breaker.state is State.CLOSED


# -- policies, windows and what they say --------------------------------------------------------------------


class Own:
    """A policy of a user's, which notes what it is told."""

    broken = False

    def __init__(self, timed: bool | None) -> None:
        self.told: list[Any] = []
        if timed is not None:
            self.timed = timed

    def open(self, clock: Callable[[], float]) -> Own:
        if self.broken:
            raise RuntimeError("no tally today")
        self.told.append(clock())
        return self

    def succeeded(self, duration: float | None) -> None:
        self.told.append(duration)

    def failed(self, kind: str, duration: float | None) -> None:
        self.told.append((kind, duration))

    def tripped(self) -> bool:
        return len(self.told) > 3

    def __repr__(self) -> str:
        return "Own()"


@pytest.mark.parametrize(("timed", "duration"), [(True, 2.0), (False, None), (None, None)])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("state", [State.CLOSED, State.METRICS_ONLY])
def test_a_policy_of_ones_own_is_told_durations_if_it_is_timed(
    make: Make, clock: ManualClock, timed: bool | None, duration: float | None, joined: bool, state: State
) -> None:
    own = Own(timed)
    breaker = make(trip=ConsecutiveFailures(9) | own if joined else own, initial_state=state)
    started = clock()
    breaker.call(clock.advance, 2.0)
    for _ in range(2):
        with pytest.raises(Boom):
            breaker.call(lambda: (clock.advance(2.0), boom()))
    assert own.told == [started, duration, ("Boom", duration), ("Boom", duration)]
    report = breaker.history[-1].report
    assert report is not None
    assert (report.policy, report.reason) == ("Own()", "its policy said so")


def test_the_first_of_joined_policies_speaks_for_an_opening_that_none_admits_to(make: Make) -> None:
    class Fickle(Own):
        def tripped(self) -> bool:
            self.told.append("asked")
            return self.told.count("asked") in (1, 2)  # by the stay and by the machine, and then no more

    breaker = make(trip=ConsecutiveFailures(9) | Fickle(None))
    fail(breaker)
    report = breaker.last_trip
    assert report is not None
    assert report.policy == "ConsecutiveFailures(threshold=9)"


def test_joined_policies_are_printed_as_they_are_written() -> None:
    joined = ConsecutiveFailures(2) | FailureRate(0.5, CountWindow(10))
    assert repr(joined) == " | ".join(map(repr, joined.policies))
    assert "XX" not in repr(joined)


def test_a_share_of_one_call_is_said_as_it_is(make: Make) -> None:
    breaker = make(trip=FailureRate(0.5, CountWindow(10), minimum_calls=1))
    fail(breaker)
    report = breaker.last_trip
    assert report is not None
    assert report.reason == "1 of 1 calls failed of the last 10 calls (100%, limit 50%)"


def test_failures_far_from_the_limit_of_a_window_are_all_in_the_totals(make: Make) -> None:
    breaker = make(trip=FailureRate(1.0, CountWindow(10), 10))
    fail(breaker, 4)
    succeed(breaker, 3)
    now = breaker.statistics()
    assert (now.failures, now.successes, now.calls, now.window_calls) == (4, 3, 7, 7)


def test_a_clock_that_steps_back_a_hair_at_the_edge_of_a_tenth_moves_the_window_on(make: Make) -> None:
    # 0.1 * 3 is above 0.3: the instant of the third edge lies, when divided, in the tenth before it.
    clock = ManualClock()
    breaker = make(trip=FailureRate(1.0, TimeWindow(1.0), 100), clock=clock)
    for tenth in range(1, 100):
        clock.now = tenth * 0.1
        fail(breaker)
        assert breaker.statistics().window_calls == min(tenth, 10)


def test_a_result_is_asked_how_long_to_wait(make: Make) -> None:
    breaker = make(failure_threshold=1, record_result=lambda result: True, retry_after=lambda result: result)
    breaker.call(ok, 3 * RECOVERY)
    assert rejection(breaker).retry_after == 3 * RECOVERY


def test_a_disabled_breaker_asks_no_classifier(make: Make) -> None:
    breaker = make(record_result=boom, record_exceptions=boom, initial_state=State.DISABLED)
    breaker.acquire().succeed("result")
    breaker.acquire().fail(Boom("error"))
    assert breaker.call(ok) == "fine"


def test_an_open_period_that_cannot_be_is_refused_in_one_line(make: Make) -> None:
    class Forever:
        def period(self, reopenings: int) -> float:
            return float("inf")

    breaker = make(recovery_timeout=Forever(), failure_threshold=1)
    with pytest.raises(ValueError, match=r"^an open period must be a finite number of seconds, 0 or more, got inf$"):
        breaker.call(lose, Boom)
    assert breaker.state is State.CLOSED


# -- settings, and the words in which they are refused ------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (lambda: CountWindow(0), "size must be a whole number of at least 1, got 0"),
        (lambda: Backoff(1.0, factor=0.9), "factor must be at least 1, or the period would shrink, got 0.9"),
        (lambda: Backoff(1.0, jitter=-0.5), "jitter must be a share between 0 and 1, got -0.5"),
        (lambda: RampUp(-1.0), "seconds must be a finite number of seconds above 0, got -1.0"),
        (lambda: TimeWindow(-1.0), "seconds must be a finite number of seconds above 0, got -1.0"),
        (lambda: RampUp(1.0, start=2.0), "start must be a share above 0 and at most 1, got 2.0"),
        (
            lambda: CircuitBreaker("x").force_open(for_seconds=-1.0),
            "for_seconds must be a finite number of seconds above 0, got -1.0",
        ),
        (
            lambda: FailureRate(0.5, CountWindow(3), 4),
            "a window of 3 calls never holds minimum_calls=4, so it can never trip: "
            "enlarge the window or lower minimum_calls",
        ),
    ],
)
def test_a_setting_is_refused_in_one_line(setting: Callable[[], object], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        setting()


def test_two_words_for_one_setting_are_refused_in_one_line() -> None:
    line = "give failure_threshold or trip, not both: failure_threshold=5 is ConsecutiveFailures(5)"
    with pytest.raises(TypeError, match=f"^{re.escape(line)}$"):
        CircuitBreaker("x", failure_threshold=5, trip=ConsecutiveFailures(5))


def test_a_health_check_is_made_every_five_seconds_if_nothing_else_is_said() -> None:
    assert inspect.signature(CircuitBreaker).parameters["health_check_interval"].default == 5.0


def test_an_open_period_of_ones_own_lends_the_probes_its_beginning_only_if_that_is_a_number() -> None:
    class Lunar:
        initial = "the next full moon"

        def period(self, reopenings: int) -> float:
            return 30.0

    assert CircuitBreaker("x", recovery_timeout=Lunar(), initial_state=State.HALF_OPEN).call(ok) == "fine"


def test_the_least_and_the_most_that_settings_may_be() -> None:
    assert CircuitBreaker("x", recovery_timeout=sys.float_info.max).recovery_timeout == sys.float_info.max
    assert Backoff(1.0, factor=1.0, jitter=1.0).jitter == 1.0
    assert Backoff(1.0, factor=sys.float_info.max, jitter=0.0).jitter == 0.0
    assert TimeWindow(1e-6).seconds == 1e-6


def test_a_ramp_lets_everything_through_when_it_is_over() -> None:
    assert RampUp(10.0, start=0.1).share(1000.0) == 1.0


@pytest.mark.parametrize("length", [200, 201, 5000])
def test_the_text_of_an_exception_is_two_hundred_characters_at_most(length: int) -> None:
    text = "Boom: " + "x" * (length - len("Boom: "))
    assert text_of(Boom(text.removeprefix("Boom: "))) == (text if length == 200 else text[:197] + "...")


def test_a_breaker_that_is_copied_says_in_one_line_why_not(make: Make) -> None:
    with pytest.raises(
        TypeError, match=r"^a breaker is shared, not copied or pickled: <CircuitBreaker 'payments' CLOSED>$"
    ):
        copy.deepcopy(make())


def test_stays_that_are_over_leave_nothing_behind_but_their_totals(make: Make) -> None:
    breaker = make()
    for _ in range(50):
        breaker.call(ok)
        breaker.reset()
    assert breaker.statistics().successes == 50
    assert len(breaker._totals_locked()._ended) <= 2


def test_statistics_say_since_when_the_state_has_lasted(make: Make) -> None:
    breaker = make()
    breaker.disable()
    assert breaker.statistics().since == breaker.history[-1].at


def test_a_diagram_is_mermaid_unless_something_else_is_asked_for(make: Make) -> None:
    assert make().diagram() == make().diagram("mermaid")


def test_a_breaker_of_a_subclass_says_so() -> None:
    class Fuse(CircuitBreaker):
        pass

    assert repr(Fuse("x")) == "<Fuse 'x' CLOSED>"


# -- what is told -------------------------------------------------------------------------------------------


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


def test_a_breaker_made_open_has_last_failed_then(make: Make) -> None:
    breaker = make(initial_state=State.OPEN)
    assert breaker.last_failure_time == breaker.statistics().since


@pytest.mark.thread_unsafe(reason="hears the breakers of all threads")
def test_a_breaker_made_while_somebody_listens_to_all_has_its_own_listeners_too(make: Make) -> None:
    own = EventRecorder(StateChanged)
    end_all = subscribe_all(ok, StateChanged)
    make(listeners=[own]).disable()
    end_all()
    assert len(own.events) == 1


def test_metrics_only_tells_whose_limit_was_reached_and_when(make: Make) -> None:
    breaker = make(initial_state=State.METRICS_ONLY)
    fail(breaker, THRESHOLD)
    [told] = breaker.history
    assert told.report is not None
    assert (told.breaker_name, told.old, told.new) == ("payments", State.METRICS_ONLY, State.METRICS_ONLY)
    assert told.at == told.report.at
    assert told.report.open_for == 0.0


@pytest.mark.thread_unsafe(reason="hears the breakers of all threads")
def test_who_listened_before_somebody_listens_to_all_goes_on_hearing(make: Make) -> None:
    own, everybodys = EventRecorder(StateChanged), EventRecorder(StateChanged)
    breaker = make(listeners=[own])
    end_all = subscribe_all(everybodys, StateChanged)
    breaker.disable()
    end_all()
    breaker.reset()
    assert [event.new for event in own.events if isinstance(event, StateChanged)] == [State.DISABLED, State.CLOSED]
    assert len(everybodys.events) == 1


def test_an_ignored_probe_leaves_its_place_and_an_overdue_one_opens(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.HALF_OPEN, ignore_exceptions=Boom, probe_timeout=RECOVERY)
    fail(breaker)
    assert breaker.state is State.HALF_OPEN
    with pytest.raises(Boom):
        breaker.call(lambda: (clock.advance(RECOVERY), boom()))
    assert breaker.history[-1].trigger == "probe_expired"
