"""What a breaker was told: every setting, checked once, frozen, and shared by breakers told the same.

Nothing here counts, moves or reads a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any

from breaker import checks
from breaker import trip as policies
from breaker.backoff import OpenPeriod, RampUp
from breaker.outcome import DEFAULT, Classifier, ExceptionSpec
from breaker.table import State

_DEFAULT_THRESHOLD, _DEFAULT_LEASE = 5, 30.0


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


Numbers = tuple[int | None, Any, int, int, float | None, State]
"""failure_threshold, recovery_timeout, success_threshold, half_open_max_calls, probe_timeout, initial_state."""
Classify = tuple[ExceptionSpec, ExceptionSpec, Callable[[Any], object] | None, Callable[[Any], Any] | None]
"""record_exceptions, ignore_exceptions, record_result, retry_after."""


def told(numbers: Numbers, trip: Any, classify: Classify, ramp: RampUp | None, clock: Callable[[], float]) -> Settings:
    """The constructor's arguments, checked. Raises `ValueError` or `TypeError` for what cannot work."""
    plain = all(type(number) in (int, float, NoneType, State) for number in numbers)
    if plain and trip is None and ramp is None and clock is time.monotonic and _is_default(classify):
        return _of_numbers(*numbers)
    return _of_objects(numbers, trip, classify, ramp, clock)


def _is_default(classify: Classify) -> bool:
    # By identity: objects of the user's may have an `==` of their own.
    record, ignore, result, after = classify
    return record is Exception and type(ignore) is tuple and not ignore and result is None and after is None


@lru_cache(maxsize=128, typed=True)  # typed: True and 1.0 must not pass for 1
def _of_numbers(
    failure_threshold: int | None,
    recovery_timeout: Any,
    success_threshold: int,
    half_open_max_calls: int,
    probe_timeout: float | None,
    initial_state: State,
) -> Settings:
    """The settings of a breaker that was told numbers alone. Cached: they hold nothing of the user's."""
    numbers = recovery_timeout, success_threshold, half_open_max_calls, probe_timeout, initial_state
    return _checked(_in_a_row(failure_threshold), *numbers)


def _of_objects(
    numbers: Numbers, trip: Any, classify: Classify, ramp: RampUp | None, clock: Callable[[], float]
) -> Settings:
    """The settings of a breaker that was told anything else as well."""
    if not callable(clock):
        raise TypeError(f"clock must be a function that returns seconds, got {clock!r}")
    now: object = clock()
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise TypeError(f"clock must return seconds as a number, got {now!r} from {clock!r}")
    if ramp is not None and not isinstance(ramp, RampUp):
        raise TypeError(f"ramp must be a RampUp or None, got {ramp!r}")
    threshold, recovery_timeout, success_threshold, half_open_max_calls, probe_timeout, initial_state = numbers
    if trip is not None and threshold is not None:
        raise TypeError("give failure_threshold or trip, not both: failure_threshold=5 is ConsecutiveFailures(5)")
    if trip is None:
        trip = _in_a_row(threshold)
    classifier = DEFAULT if _is_default(classify) else Classifier(*classify)
    others = recovery_timeout, success_threshold, half_open_max_calls, probe_timeout, initial_state
    return _checked(policies.checked(trip), *others, classifier, ramp, clock)


def _in_a_row(threshold: int | None) -> policies.ConsecutiveFailures:
    if threshold is None:
        threshold = _DEFAULT_THRESHOLD
    return policies.ConsecutiveFailures(checks.count("failure_threshold", threshold))


def _checked(
    trip: policies.Policy,
    recovery_timeout: Any,
    success_threshold: int,
    half_open_max_calls: int,
    probe_timeout: float | None,
    initial_state: Any,
    classifier: Classifier = DEFAULT,
    ramp: RampUp | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Settings:
    recovery = recovery_timeout
    if not isinstance(recovery, OpenPeriod) or isinstance(recovery, type):
        recovery = checks.seconds("recovery_timeout", recovery)
    if probe_timeout is None:
        # A lease of nothing would be over before its probe began.
        lease = recovery if isinstance(recovery, float) else getattr(recovery, "initial", None)
        probe_timeout = float(lease or _DEFAULT_LEASE) if isinstance(lease, int | float) else _DEFAULT_LEASE
    if not isinstance(initial_state, State):
        raise ValueError(f"initial_state must be a State, got {initial_state!r}")
    if initial_state is State.RAMPING and ramp is None:
        raise ValueError(f"initial_state {initial_state.value!r} needs a ramp")
    return Settings(
        trip,
        recovery,
        checks.count("success_threshold", success_threshold),
        checks.count("half_open_max_calls", half_open_max_calls),
        checks.positive_seconds("probe_timeout", probe_timeout),
        initial_state,
        classifier,
        ramp,
        clock,
    )
