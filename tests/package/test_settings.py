"""Rule 17: a setting that cannot work is refused when it is given, by an error that quotes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

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

WINDOW = CountWindow(10)
HUGE = 10**400
NO_NUMBERS = [True, False, None, "5", b"5", [5], object, math.nan, math.inf, -math.inf, -1, -0.5]
NO_COUNTS = [*NO_NUMBERS, 0, 0.0, 1.0, 2.5, 1e300]
NO_SECONDS = [*NO_NUMBERS, HUGE]
NO_POSITIVE_SECONDS = [*NO_SECONDS, 0, 0.0, -0.0]
NO_SHARES = [*NO_POSITIVE_SECONDS, 1.0000001, 2, 50, 100]


def setting(name: str, **others: Any) -> Callable[[Any], Any]:
    """Makes a breaker with this setting."""
    return lambda value: CircuitBreaker("payments", **{name: value}, **others)


def ping() -> None:
    """A health check that likes everything."""


REFUSED: dict[str, tuple[str, Callable[[Any], Any], list[Any]]] = {
    "failure_threshold": ("failure_threshold", setting("failure_threshold"), NO_COUNTS),
    "success_threshold": ("success_threshold", setting("success_threshold"), NO_COUNTS),
    "half_open_max_calls": ("half_open_max_calls", setting("half_open_max_calls"), NO_COUNTS),
    "recovery_timeout": ("recovery_timeout", setting("recovery_timeout"), NO_SECONDS),
    "probe_timeout": ("probe_timeout", setting("probe_timeout"), NO_POSITIVE_SECONDS),
    "health_check_interval": (
        "health_check_interval",
        setting("health_check_interval", health_check=ping),
        NO_POSITIVE_SECONDS,
    ),
    "health_check_interval without a check": (
        "health_check_interval",
        setting("health_check_interval"),
        NO_POSITIVE_SECONDS,
    ),
    "ConsecutiveFailures": ("threshold", ConsecutiveFailures, NO_COUNTS),
    "FailureRate threshold": ("threshold", lambda value: FailureRate(value, WINDOW), NO_SHARES),
    "FailureRate minimum_calls": ("minimum_calls", lambda value: FailureRate(0.5, WINDOW, value), NO_COUNTS),
    "FailureRate window": ("window", lambda value: FailureRate(0.5, value), [*NO_COUNTS, 10, CountWindow]),
    "SlowCallRate threshold": ("threshold", lambda value: SlowCallRate(value, 1.0, WINDOW), NO_SHARES),
    "SlowCallRate slower_than": (
        "slower_than",
        lambda value: SlowCallRate(0.5, value, WINDOW),
        NO_POSITIVE_SECONDS,
    ),
    "SlowCallRate minimum_calls": ("minimum_calls", lambda value: SlowCallRate(0.5, 1.0, WINDOW, value), NO_COUNTS),
    "SlowCallRate window": ("window", lambda value: SlowCallRate(0.5, 1.0, value), [*NO_COUNTS, 10, TimeWindow]),
    "SlowCallRate count_running": (
        "count_running",
        lambda value: SlowCallRate(0.5, 1.0, WINDOW, 10, value),
        [0, 1, -1, None, "5", math.nan, math.inf],
    ),
    "CountWindow": ("size", CountWindow, NO_COUNTS),
    "TimeWindow": ("seconds", TimeWindow, NO_POSITIVE_SECONDS),
    "Backoff initial": ("initial", Backoff, NO_POSITIVE_SECONDS),
    "Backoff factor": ("factor", lambda value: Backoff(1.0, factor=value), [*NO_SECONDS, 0, 0.999]),
    "Backoff maximum": (
        "maximum",
        lambda value: Backoff(1.0, maximum=value),
        [value for value in [*NO_SECONDS, 0, 0.5] if value is not None],
    ),
    "Backoff jitter": ("jitter", lambda value: Backoff(1.0, jitter=value), [*NO_SECONDS, 1.1, 20]),
    "RampUp seconds": ("seconds", RampUp, NO_POSITIVE_SECONDS),
    "RampUp start": ("start", lambda value: RampUp(1.0, start=value), NO_SHARES),
    "initial_state": ("initial_state", setting("initial_state"), [0, -1, True, None, "5", "CLOSED", math.nan, State]),
    "slow_after": (
        "slow_after",
        lambda value: CircuitBreaker("payments", trip=SlowCallRate(0.5, 1.0, WINDOW)).protect(slow_after=value),
        [value for value in NO_POSITIVE_SECONDS if value is not None],
    ),
}
DEFAULTED_BY_NONE = {"failure_threshold", "probe_timeout"}
CASES = [
    pytest.param(name, make, value, id=f"{case}-{'10**400' if value is HUGE else repr(value)}")
    for case, (name, make, values) in REFUSED.items()
    for value in values
    if not (value is None and case in DEFAULTED_BY_NONE)
]


@pytest.mark.parametrize(("name", "make", "value"), CASES)
def test_a_setting_that_cannot_work_is_a_value_error_that_quotes_it(
    name: str, make: Callable[[Any], Any], value: Any
) -> None:
    with pytest.raises(ValueError, match=rf"\b{name}\b") as caught:
        make(value)
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("policy", [FailureRate, lambda *args: SlowCallRate(args[0], 1.0, *args[1:])])
def test_a_window_smaller_than_minimum_calls_is_refused_and_told_what_would_have_to_change(policy: Any) -> None:
    with pytest.raises(ValueError, match=r"window of 5 calls .*minimum_calls=10.*enlarge the window or lower"):
        policy(0.5, CountWindow(5), 10)
    policy(0.5, CountWindow(10), 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trip", 5),
        ("trip", "FailureRate"),
        ("trip", FailureRate),
        ("trip", [ConsecutiveFailures(1)]),
        ("ramp", 30.0),
        ("ramp", RampUp),
        ("clock", 0.0),
        ("clock", None),
        ("record_exceptions", "Boom"),
        ("record_exceptions", [ValueError]),
        ("record_exceptions", int),
        ("record_exceptions", None),
        ("ignore_exceptions", (ValueError, "KeyError")),
        ("ignore_exceptions", 5),
        ("record_result", True),
        ("retry_after", 5.0),
        ("health_check", "ping"),
        ("health_check", 0),
    ],
)
def test_a_setting_of_the_wrong_kind_is_a_type_error_that_quotes_it(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"\b{name}\b") as caught:
        CircuitBreaker("payments", **{name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", [None, 5, b"payments", CircuitBreaker])
def test_a_name_that_is_no_string_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError, match="name must be a string") as caught:
        CircuitBreaker(name)
    assert repr(name) in str(caught.value)


def test_failure_threshold_and_trip_together_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="failure_threshold or trip, not both"):
        CircuitBreaker("payments", failure_threshold=5, trip=ConsecutiveFailures(5))


@pytest.mark.parametrize("setting_name", ["record_exceptions", "ignore_exceptions"])
@pytest.mark.parametrize("never", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_type_that_is_always_neutral_is_refused(setting_name: str, never: Any) -> None:
    with pytest.raises(ValueError, match=never.__name__):
        CircuitBreaker("payments", **{setting_name: (ValueError, never)})


def test_a_state_that_needs_a_ramp_needs_a_ramp() -> None:
    with pytest.raises(ValueError, match="RAMPING"):
        CircuitBreaker("payments", initial_state=State.RAMPING)


def test_slow_after_needs_a_slow_call_rate() -> None:
    with pytest.raises(ValueError, match=r"slow_after=2\.0 needs a SlowCallRate"):
        CircuitBreaker("payments").protect(slow_after=2.0)


def test_an_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="recovery_time"):
        CircuitBreaker("payments", recovery_time=5.0)  # type: ignore[call-arg]  # the mistake tested


def test_settings_are_by_keyword_alone() -> None:
    with pytest.raises(TypeError):
        CircuitBreaker("payments", 5)  # type: ignore[misc]  # the mistake tested


def test_what_can_be_set_can_be_read() -> None:
    breaker = CircuitBreaker("payments", failure_threshold=7, recovery_timeout=12)
    assert (breaker.name, breaker.failure_threshold, breaker.recovery_timeout) == ("payments", 7, 12.0)
    assert CircuitBreaker("payments").failure_threshold == 5
    assert CircuitBreaker("payments").recovery_timeout == 30.0
    backoff = Backoff(1.0)
    rates = CircuitBreaker("payments", trip=FailureRate(0.5, WINDOW), recovery_timeout=backoff)
    assert (rates.failure_threshold, rates.recovery_timeout) == (None, backoff)


@pytest.mark.parametrize("recipe", [ConsecutiveFailures(5), WINDOW, TimeWindow(1.0), Backoff(1.0), RampUp(1.0)])
def test_recipes_are_frozen_and_equal_by_value(recipe: Any) -> None:
    name = next(iter(recipe.__dataclass_fields__))
    with pytest.raises(AttributeError):
        setattr(recipe, name, 1)
    assert recipe == type(recipe)(getattr(recipe, name))
    assert hash(recipe) == hash(type(recipe)(getattr(recipe, name)))
