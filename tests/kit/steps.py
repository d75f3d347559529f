"""Calls that end in a known way, and the shortest road into each state. The tests of the core share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from breaker import CircuitBreaker, CircuitOpenError, State

Make = Callable[..., CircuitBreaker]
"""The fixture `make`: a breaker with these settings, and defaults that suit a test."""
THRESHOLD = 3
RECOVERY = 10.0


class Boom(Exception):
    """What the dependency of these tests raises when it is down."""


class Cancelled(BaseException):
    """A cancellation that belongs to no async library."""


def ok(value: Any = "fine") -> Any:
    return value


def boom(error: BaseException | None = None) -> Any:
    raise Boom("down") if error is None else error


def lose(kind: type[BaseException]) -> Any:
    raise kind("down")  # held by no local name: the exception is freed with its traceback, by reference count


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.call(ok)


def fail(breaker: CircuitBreaker, times: int = 1, error: type[BaseException] = Boom) -> None:
    for _ in range(times):
        with pytest.raises(error):
            breaker.call(lose, error)


def rejection(breaker: CircuitBreaker) -> CircuitOpenError:
    """The error of a call that must be rejected, and must not be made."""
    made: list[int] = []
    with pytest.raises(CircuitOpenError) as caught:
        breaker.call(made.append, 1)
    assert made == []
    return caught.value


def passes(breaker: CircuitBreaker) -> bool:
    """Whether the circuit lets one call through now. The call succeeds."""
    try:
        return bool(breaker.call(lambda: True))
    except CircuitOpenError:
        return False


def all_free(breaker: CircuitBreaker) -> bool:
    """Whether no permit is missing: the next call goes through."""
    return breaker.retry_after == 0.0


def counts(breaker: CircuitBreaker) -> tuple[int, int, int, int]:
    """Successes, failures, ignored, rejected so far."""
    now = breaker.statistics()
    assert now.calls == now.successes + now.failures
    return now.successes, now.failures, now.ignored, now.rejected


def enter(breaker: CircuitBreaker, state: State, advance: Callable[[float], None]) -> None:
    """Bring a breaker of `THRESHOLD` and `RECOVERY` from CLOSED into `state`, by what users do."""
    if state is State.FORCED_OPEN:
        breaker.force_open()
    elif state is State.DISABLED:
        breaker.disable()
    elif state is State.METRICS_ONLY:
        breaker.metrics_only()
    elif state is not State.CLOSED:
        fail(breaker, THRESHOLD)
        if state is not State.OPEN:
            advance(RECOVERY)
            probe = breaker.acquire()
            if state is State.RAMPING:
                probe.succeed()
            else:
                probe.release()
    assert breaker.state is state
