"""Windows against a list that remembers every call: the same rates whatever is called, waited or read between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.steps import Boom

from breaker import CircuitBreaker, CountWindow, FailureRate, SlowCallRate, State, TimeWindow
from breaker.testing import ManualClock

SLOW = 0.5
# Quarters are exact in floating point, and a tenth of these windows is a whole number of them or a fraction of one.
PAUSES = st.sampled_from([0.0, 0.25, 0.25, 0.5, 1.0, 1.0, 2.25, 4.0, 9.0, 9.75, 10.0, 10.25, 11.0, 25.0, 1000.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.booleans(), st.sampled_from([0.0, 0.0, 0.25, SLOW, 1.25])),
        st.tuples(st.just("pause"), PAUSES, st.none()),
        st.tuples(st.just("read"), st.integers(1, 3), st.none()),
    ),
    max_size=60,
)


@dataclass
class Remembered:
    """Every completed call with its time, and what of them a window holds."""

    origin: float
    calls: list[tuple[float, bool, bool]] = field(default_factory=list)  # when, failed, slow

    def within(self, window: CountWindow | TimeWindow, now: float) -> list[tuple[float, bool, bool]]:
        if isinstance(window, CountWindow):
            return self.calls[-window.size :]
        tenth = window.seconds / 10
        oldest = (now - self.origin) // tenth - 9  # the current tenth and the nine before it
        return [call for call in self.calls if (call[0] - self.origin) // tenth >= oldest]

    def share(self, window: CountWindow | TimeWindow, now: float, which: int) -> tuple[int, int]:
        held = self.within(window, now)
        return sum(call[which] for call in held), len(held)


def rate(bad: int, calls: int) -> float | None:
    return bad / calls if calls else None


def make_call(breaker: CircuitBreaker, clock: ManualClock, failed: bool, duration: float) -> None:
    def take() -> None:
        clock.advance(duration)
        if failed:
            raise Boom

    if failed:
        with pytest.raises(Boom):
            breaker.call(take)
    else:
        breaker.call(take)


def replay(steps: list[Any], policy: Any, look: Callable[[CircuitBreaker, Remembered, float], None]) -> None:
    """Take the steps on a breaker that never opens and on a list, and `look` at both after each."""
    clock = ManualClock(1000.0)
    breaker = CircuitBreaker("payments", trip=policy, clock=clock)
    breaker.metrics_only()
    remembered = Remembered(clock())
    for kind, argument, duration in steps:
        if kind == "call":
            make_call(breaker, clock, argument, duration)
            remembered.calls.append((clock(), argument, duration >= SLOW))
        elif kind == "pause":
            clock.advance(argument)
        for _ in range(argument if kind == "read" else duration != 0.25):  # sometimes nobody looks
            look(breaker, remembered, clock())
    look(breaker, remembered, clock())


WINDOWS = [CountWindow(1), CountWindow(5), CountWindow(1000), TimeWindow(10.0), TimeWindow(2.5), TimeWindow(40.0)]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_the_failure_rate_is_that_of_the_calls_in_the_window(window: Any, steps: list[Any]) -> None:
    def look(breaker: CircuitBreaker, remembered: Remembered, now: float) -> None:
        bad, calls = remembered.share(window, now, which=1)
        seen = breaker.statistics()
        assert (seen.failure_rate, seen.window_calls, breaker.failure_count) == (rate(bad, calls), calls, bad)

    replay(steps, FailureRate(0.5, window, minimum_calls=1), look)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_the_slow_call_rate_is_that_of_the_calls_in_the_window(window: Any, steps: list[Any]) -> None:
    def look(breaker: CircuitBreaker, remembered: Remembered, now: float) -> None:
        slow, calls = remembered.share(window, now, which=2)
        seen = breaker.statistics()
        assert (seen.slow_call_rate, seen.window_calls) == (rate(slow, calls), calls)

    replay(steps, SlowCallRate(0.5, SLOW, window, minimum_calls=1), look)


@pytest.mark.parametrize("kinds", ["failed|slow", "slow|failed", "slow|slow", "failed|failed"])
@pytest.mark.parametrize(
    "windows",
    [(CountWindow(4), TimeWindow(10.0)), (TimeWindow(2.5), TimeWindow(10.0)), (CountWindow(3), CountWindow(9))],
    ids=["count|time", "time|time", "count|count"],
)
@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
def test_joined_windows_open_the_circuit_when_a_bad_outcome_finds_any_of_them_over_its_limit(
    windows: tuple[Any, Any], kinds: str, steps: list[Any]
) -> None:
    limits = list(zip(windows, (2 if kind == "slow" else 1 for kind in kinds.split("|")), strict=True))
    clock = ManualClock(1000.0)
    first, second = (
        SlowCallRate(0.6, SLOW, window, minimum_calls=3) if which == 2 else FailureRate(0.6, window, minimum_calls=3)
        for window, which in limits
    )
    breaker = CircuitBreaker("payments", trip=first | second, clock=clock)
    remembered = Remembered(clock())
    for kind, argument, duration in steps:
        if kind == "pause":
            clock.advance(argument)
        elif kind == "call":
            make_call(breaker, clock, argument, duration)
            remembered.calls.append((clock(), argument, duration >= SLOW))
            shares = [remembered.share(window, clock(), which) for window, which in limits]
            bad = argument or (duration >= SLOW and "slow" in kinds)
            due = bad and any(calls >= 3 and count / calls >= 0.6 for count, calls in shares)
            assert breaker.state is (State.OPEN if due else State.CLOSED)
            if due:
                breaker.reset()
                remembered = Remembered(clock())
        for _ in range(argument if kind == "read" else 0):  # else nobody looks: looking brings windows up to date
            held = [remembered.share(window, clock(), which=1) for window in windows]
            assert breaker.statistics().window_calls == max(calls for _, calls in held)


def test_an_hour_of_silence_empties_a_time_window_and_leaves_a_count_window() -> None:
    for window, left in ((TimeWindow(60.0), 0), (CountWindow(60), 5)):
        clock = ManualClock()
        breaker = CircuitBreaker("payments", trip=FailureRate(1.0, window), clock=clock)
        for _ in range(5):
            make_call(breaker, clock, True, 0.0)
        clock.advance(3600.0)
        assert (breaker.statistics().window_calls, breaker.failure_count) == (left, left)


@pytest.mark.parametrize(("age", "held"), [(0.0, True), (8.75, True), (9.0, True), (9.5, False), (10.0, False)])
def test_a_time_window_holds_the_current_tenth_and_the_nine_before_it(age: float, held: bool) -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("payments", trip=FailureRate(1.0, TimeWindow(10.0)), clock=clock)
    clock.advance(0.75)  # a call late in its tenth leaves up to a tenth early
    make_call(breaker, clock, True, 0.0)
    clock.advance(age)
    assert breaker.failure_count == held


@settings(deadline=None, max_examples=200)
@given(
    seconds=st.floats(0.001, 1e6),
    start=st.floats(0, 1e9),
    pauses=st.lists(st.floats(0, 0.4), min_size=1, max_size=40),
)
def test_a_time_window_of_any_length_holds_nothing_older_and_all_of_its_younger_nine_tenths(
    seconds: float, start: float, pauses: list[float]
) -> None:
    clock = ManualClock(start)
    breaker = CircuitBreaker("payments", trip=FailureRate(1.0, TimeWindow(seconds), minimum_calls=1000), clock=clock)
    ends: list[float] = []
    slack = 1e-9 * (seconds + start)  # the clock itself is no more exact than this
    for pause in pauses:
        clock.advance(pause * seconds)
        make_call(breaker, clock, True, 0.0)
        ends.append(clock())
        held, now = breaker.failure_count, clock()
        assert sum(now - end < 0.9 * seconds - slack for end in ends) <= held
        assert held <= sum(now - end <= seconds + slack for end in ends)
    assert breaker.state is State.CLOSED
