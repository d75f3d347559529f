"""What users do that nobody would think of."""

from __future__ import annotations

import asyncio

import pytest

from breaker import CircuitBreaker, CircuitOpenError, State


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN, State.METRICS_ONLY])
def test_call_async_with_a_function_that_is_not_async_is_a_type_error_and_counts_nothing(state: State) -> None:
    breaker = CircuitBreaker("x", failure_threshold=1, initial_state=state)
    for _ in range(3):
        with pytest.raises(TypeError, match="call_async needs an async function, got <class 'int'>"):
            asyncio.run(breaker.call_async(int))  # type: ignore[arg-type]  # that is what it is about
    assert (breaker.state, breaker.statistics().calls, breaker.statistics().ignored) == (state, 0, 0)


def test_a_type_error_of_an_async_function_is_counted() -> None:
    async def fails() -> None:
        raise TypeError("of its own")

    breaker = CircuitBreaker("x", failure_threshold=2)
    for _ in range(2):
        with pytest.raises(TypeError, match="of its own"):
            asyncio.run(breaker.call_async(fails))
    assert breaker.state is State.OPEN


def test_a_clock_that_says_nan_rejects_while_open_and_does_not_spin() -> None:
    now = [0.0]
    breaker = CircuitBreaker("x", initial_state=State.OPEN, clock=lambda: now[0])
    now[0] = float("nan")
    with pytest.raises(CircuitOpenError):
        breaker.call(int)
    now[0] = 30.0
    assert breaker.call(int) == 0
