"""Every way to call, in every state that lets calls through: arguments, locks, limits of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kit.functions import FUNCTIONS, awaitable, coroutine, end, plain
from kit.steps import RECOVERY, Make, fail, ok, rejection

from breaker import (
    CircuitBreaker,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    RampUp,
    SlowCallRate,
    State,
    TimeWindow,
)
from breaker.testing import ManualClock


@pytest.mark.parametrize("method", [staticmethod, classmethod])
def test_the_breaker_goes_below_staticmethod_and_classmethod(method: Any) -> None:
    with pytest.raises(TypeError, match=f"put the breaker below @{method.__name__}"):
        CircuitBreaker("x")(method(print))


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


@pytest.mark.parametrize("state", LETS_THROUGH)
@pytest.mark.parametrize("way", CALLS)
def test_the_arguments_reach_the_function(make: Make, way: str, state: State) -> None:
    breaker = make(initial_state=state, ramp=RampUp(10.0, start=1.0))
    assert end(CALLS[way](breaker, 1, 2, key="word")) == ((1, 2), {"key": "word"})


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
