"""Who may listen to what, and that nobody is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from kit.steps import Make, ok

from breaker import (
    CircuitBreaker,
    CircuitOpenError,
    FailureRate,
    State,
    StateChanged,
    Statistics,
    TimeWindow,
    TripReport,
)
from breaker.events import subscribe_all
from breaker.testing import EventRecorder


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


def test_listening_to_what_is_no_event_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="int"):
        CircuitBreaker("x").subscribe(print, int)  # type: ignore[type-var]  # that is what it is about


def test_a_report_is_one_line_whatever_the_name() -> None:
    breaker = CircuitBreaker("a\nb", failure_threshold=1)
    with pytest.raises(ValueError, match="invalid literal"):
        breaker.call(int, "x")
    assert str(breaker.last_trip).startswith("a b opened")
    assert "\n" not in str(breaker.last_trip)
    assert "1 failure in a row (limit 1)" in str(breaker.last_trip)


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


@pytest.mark.parametrize("kind", [CircuitOpenError, Statistics, TripReport, int, "StateChanged"])
def test_only_events_are_subscribed_to(make: Make, kind: Any) -> None:
    with pytest.raises(TypeError, match="subscribe to event types, such as StateChanged, got "):
        make().subscribe(print, kind)


@pytest.mark.thread_unsafe(reason="hears the breakers of all threads")
def test_a_breaker_made_while_somebody_listens_to_all_has_its_own_listeners_too(make: Make) -> None:
    own = EventRecorder(StateChanged)
    end_all = subscribe_all(ok, StateChanged)
    make(listeners=[own]).disable()
    end_all()
    assert len(own.events) == 1


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
