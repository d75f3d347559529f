"""Settings at the edge of what can work, and what is said of those that cannot."""

from __future__ import annotations

import copy
import inspect
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kit.steps import Make

from breaker import (
    Backoff,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    RampUp,
    Registry,
    State,
    TimeWindow,
)


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


def test_an_error_made_by_hand_can_be_printed() -> None:
    assert str(CircuitOpenError()) == "circuit None is None"
    assert str(CircuitOpenError("x")) == "circuit 'x' is None"


def test_every_breaker_of_a_registry_has_the_listeners_of_its_settings() -> None:
    heard: list[Any] = []
    registry = Registry(listeners=iter([heard.append]))
    registry["a"].disable()
    registry["b"].disable()
    assert [event.breaker_name for event in heard] == ["a", "b"]


@pytest.mark.thread_unsafe(reason="sees the pinging threads of all, those too that are just being started")
def test_a_registry_pings_nobody_before_it_is_asked_for_a_key() -> None:
    Registry(initial_state=State.OPEN, recovery_timeout=0.0, health_check=int, health_check_interval=1000.0)
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("health of")]:
        thread.join(10)
        assert not thread.is_alive()


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


def test_the_least_and_the_most_that_settings_may_be() -> None:
    assert CircuitBreaker("x", recovery_timeout=sys.float_info.max).recovery_timeout == sys.float_info.max
    assert Backoff(1.0, factor=1.0, jitter=1.0).jitter == 1.0
    assert Backoff(1.0, factor=sys.float_info.max, jitter=0.0).jitter == 0.0
    assert TimeWindow(1e-6).seconds == 1e-6


def test_a_breaker_that_is_copied_says_in_one_line_why_not(make: Make) -> None:
    with pytest.raises(
        TypeError, match=r"^a breaker is shared, not copied or pickled: <CircuitBreaker 'payments' CLOSED>$"
    ):
        copy.deepcopy(make())


def test_a_diagram_is_mermaid_unless_something_else_is_asked_for(make: Make) -> None:
    assert make().diagram() == make().diagram("mermaid")


def test_a_breaker_of_a_subclass_says_so() -> None:
    class Fuse(CircuitBreaker):
        pass

    assert repr(Fuse("x")) == "<Fuse 'x' CLOSED>"
