"""What a breaker was told: every setting, checked once, frozen, and shared by breakers told the same.

Nothing here counts, moves or reads a clock, but to see that it is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from types import NoneType
from typing import Any

from breaker import checks
from breaker.outcome import DEFAULT, Classifier
from breaker.policies import trip as policies
from breaker.policies.backoff import OpenPeriod, RampUp
from breaker.table import State

_DEFAULT_THRESHOLD, _DEFAULT_LEASE = 5, 30.0
_PLAIN = frozenset({int, float, NoneType, State})


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """The constructor's arguments in the form that the model uses."""

    trip: policies.Policy
    recovery: float | OpenPeriod
    success_threshold: int
    half_open_max_calls: int
    probe_timeout: float
    initial_state: State
    classifier: Classifier = DEFAULT
    ramp: RampUp | None = None
    clock: Callable[[], float] = time.monotonic


def checked(
    numbers: tuple[Any, ...], trip: Any, classify: tuple[Any, ...], ramp: RampUp | None, clock: Callable[[], float]
) -> Settings:
    """The constructor's arguments, checked. Raises `ValueError` or `TypeError` for what cannot work.

    `numbers` are the six of `_of_numbers`, `classify` the four of `Classifier`.
    """
    # Cached for plain numbers alone: nothing of the user's is kept alive.
    settings = (_of_numbers if _PLAIN.issuperset(map(type, numbers)) else _of_numbers.__wrapped__)(*numbers)
    record, ignore, *others = classify
    # By identity: objects of the user's may have an `==` of their own.
    default = record is Exception and type(ignore) is tuple and not ignore and others[0] is None and others[1] is None
    if settings.initial_state is State.RAMPING and ramp is None:
        raise ValueError(f"initial_state {settings.initial_state.value!r} needs a ramp")
    if trip is None and ramp is None and clock is time.monotonic and default:
        return settings
    if ramp is not None and not isinstance(ramp, RampUp):
        raise TypeError(f"ramp must be a RampUp or None, got {ramp!r}")
    if trip is not None and numbers[0] is not None:
        raise TypeError("give failure_threshold or trip, not both: failure_threshold=5 is ConsecutiveFailures(5)")
    return replace(
        settings,
        trip=settings.trip if trip is None else policies.checked(trip),
        classifier=DEFAULT if default else Classifier(*classify),
        ramp=ramp,
        clock=_checked_clock(clock),
    )


@lru_cache(maxsize=128, typed=True)  # typed: True and 1.0 must not pass for 1
def _of_numbers(
    failure_threshold: int | None,
    recovery_timeout: Any,
    success_threshold: int,
    half_open_max_calls: int,
    probe_timeout: float | None,
    initial_state: State,
) -> Settings:
    """The settings of a breaker that was told nothing else."""
    threshold = _DEFAULT_THRESHOLD if failure_threshold is None else failure_threshold
    trip = policies.ConsecutiveFailures(checks.count("failure_threshold", threshold))
    recovery = recovery_timeout
    if not isinstance(recovery, OpenPeriod) or isinstance(recovery, type):
        recovery = checks.seconds("recovery_timeout", recovery)
    if probe_timeout is None:
        # A lease of nothing would be over before its probe began.
        lease = recovery if isinstance(recovery, float) else getattr(recovery, "initial", None)
        probe_timeout = float(lease or _DEFAULT_LEASE) if isinstance(lease, int | float) else _DEFAULT_LEASE
    if not isinstance(initial_state, State):
        raise ValueError(f"initial_state must be a State, got {initial_state!r}")
    return Settings(
        trip,
        recovery,
        checks.count("success_threshold", success_threshold),
        checks.count("half_open_max_calls", half_open_max_calls),
        checks.positive_seconds("probe_timeout", probe_timeout),
        initial_state,
    )


def _checked_clock(clock: Any) -> Callable[[], float]:
    if not callable(clock):
        raise TypeError(f"clock must be a function that returns seconds, got {clock!r}")
    now: object = clock()
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise TypeError(f"clock must return seconds as a number, got {now!r} from {clock!r}")
    return clock  # type: ignore[no-any-return]  # what it returns was looked at once
