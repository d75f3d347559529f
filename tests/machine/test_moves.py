"""Moves that something comes in between of, and what a move leaves behind."""

from __future__ import annotations

import itertools
import sys
from types import FrameType
from typing import Any

import pytest
from kit.policies import Own
from kit.steps import Make, ok
from transitions import MachineError

from breaker import (
    CircuitBreaker,
    State,
)
from breaker.machine import model
from breaker.table import PROBE_FAILED


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


def test_stays_that_are_over_leave_nothing_behind_but_their_totals(make: Make) -> None:
    breaker = make()
    for _ in range(50):
        breaker.call(ok)
        breaker.reset()
    assert breaker.statistics().successes == 50
    assert len(breaker._totals_locked()._ended) <= 2
