"""A `KeyboardInterrupt` at any bytecode of an admission leaves no probe that no deadline ends. Rule 7."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import breaker as package
from breaker import CircuitBreaker, SlowCallRate, State, TimeWindow
from breaker.testing import ManualClock

SOURCES = str(Path(package.__file__).parent)
FINALIZERS = {"__del__", "abandon", "abandoned"}  # Python swallows what interrupts them; the lease ends such a probe


def interrupted_call(breaker: CircuitBreaker, place: int) -> bool:
    """One successful call, interrupted at its `place`-th bytecode; False when it has no such place."""
    left = place

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(SOURCES) or frame.f_code.co_name in FINALIZERS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        breaker.call(int)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return left < 0


@pytest.mark.filterwarnings("ignore:a permit of breaker:ResourceWarning")  # an interrupted call drops its permit
@pytest.mark.parametrize("policy", ["in a row", "running calls"])
def test_half_open_is_not_held_for_ever_wherever_a_probe_is_interrupted(policy: str) -> None:
    for place in itertools.count():
        clock = ManualClock()
        trip = SlowCallRate(0.5, 1.0, TimeWindow(10.0), 2, count_running=True) if policy == "running calls" else None
        breaker = CircuitBreaker(
            "x", initial_state=State.HALF_OPEN, trip=trip, recovery_timeout=5.0, probe_timeout=5.0, clock=clock
        )
        reached = interrupted_call(breaker, place)
        for _ in range(3):
            clock.advance(5.0)
            with contextlib.suppress(package.CircuitOpenError):
                breaker.call(int)
        assert breaker.state is State.CLOSED, f"interrupted at bytecode {place}"
        if not reached:
            return


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_breaker_is_shared_not_copied(copied: Any) -> None:
    with pytest.raises(TypeError, match="shared, not copied or pickled: <CircuitBreaker 'x' CLOSED>"):
        copied(CircuitBreaker("x"))
