"""What Hypothesis may choose for a breaker: every policy and option, in sizes that a short run can exhaust."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from predictor import Settings
from ways_to_call import Boom, Ignored

from breaker import (
    Backoff,
    CircuitBreaker,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    RampUp,
    SlowCallRate,
    State,
    TimeWindow,
)

SLOW = 2.0
_windows = st.sampled_from([CountWindow(3), CountWindow(4), CountWindow(20), TimeWindow(4.0), TimeWindow(20.0)])
_shares = st.sampled_from([0.25, 0.5, 0.75, 1.0])


def _slow(limits: list[float]) -> Any:
    return st.builds(SlowCallRate, _shares, st.sampled_from(limits), _windows, st.integers(1, 3), st.booleans())


_policy = st.one_of(
    st.builds(ConsecutiveFailures, st.integers(1, 3)),
    st.builds(FailureRate, _shares, _windows, st.integers(1, 3)),
    _slow([SLOW]),
)
_policies = st.one_of(st.lists(_policy, min_size=1, max_size=2), st.tuples(_slow([SLOW]), _slow([2 * SLOW])))
_recoveries = st.one_of(
    st.sampled_from([1.0, 5.0]),
    st.builds(
        Backoff,
        st.sampled_from([1.0, 4.0]),
        factor=st.sampled_from([1.0, 2.0]),
        maximum=st.sampled_from([None, 4.0, 10.0]),
        jitter=st.sampled_from([0.0, 0.25]),
    ),
)
_ramp = st.builds(RampUp, st.sampled_from([2.0, 10.0]), st.sampled_from([0.1, 0.25, 0.5, 1.0]))


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    ramp = draw(_ramp) if draw(st.sampled_from((True, True, True, False))) else None
    first = [State.CLOSED] * 6 + [state for state in State if ramp or state is not State.RAMPING]
    return Settings(
        policies=tuple(draw(_policies)),
        recovery=draw(_recoveries),
        success_threshold=draw(st.integers(1, 3)),
        half_open_max_calls=draw(st.integers(1, 3)),
        probe_timeout=draw(st.sampled_from([None, 0.5, 3.0, 100.0])),
        ramp=ramp,
        initial_state=draw(st.sampled_from(first)),
    )


@dataclass(frozen=True)
class Choice:
    """The settings that move the circuit, and the options that choose among the breaker's own code paths."""

    settings: Settings
    judges_results: bool
    listens: bool

    def breaker(self, clock: Any, listener: Any) -> CircuitBreaker:
        """The breaker under test."""
        settings = self.settings
        return CircuitBreaker(
            "modelled",
            trip=functools.reduce(operator.or_, settings.policies),
            recovery_timeout=settings.recovery,
            success_threshold=settings.success_threshold,
            half_open_max_calls=settings.half_open_max_calls,
            probe_timeout=settings.probe_timeout,
            ramp=settings.ramp,
            initial_state=settings.initial_state,
            record_exceptions=Boom,
            ignore_exceptions=Ignored,
            record_result=(lambda result: result == "bad") if self.judges_results else None,
            retry_after=lambda cause: getattr(cause, "asked", None),
            clock=clock,
            listeners=(listener,) if self.listens else (),
        )


choices = st.builds(Choice, _settings(), st.booleans(), st.booleans())


@dataclass(frozen=True)
class Ending:
    """How a call is to end, and how long it takes."""

    how: str
    takes: float = 0.0
    asked: float | None = None


endings = st.builds(
    Ending,
    st.sampled_from(["fine", "fine", "boom", "boom", "bad", "ignored", "unrecorded", "cancelled"]),
    st.sampled_from([0.0, 0.0, 0.25, SLOW - 0.25, SLOW, 5.0]),
    st.sampled_from([None, None, 0.25, 6.0, 50.0]),
)
