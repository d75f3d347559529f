"""What a fallback answers, and what it does not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from kit.steps import Make, ok

from breaker import (
    CircuitBreaker,
    CircuitOpenError,
)


def test_a_fallback_does_not_answer_what_another_breaker_rejected() -> None:
    inner, outer = CircuitBreaker("inner"), CircuitBreaker("outer")
    inner.force_open()
    guarded = outer.protect(fallback=lambda error: "fallback")(lambda: inner.call(int))
    with pytest.raises(CircuitOpenError, match="inner"):
        guarded()
    assert outer.failure_count == 1
    outer.force_open()
    assert guarded() == "fallback"


def plain(*args: Any, during: Callable[[], object] = ok, **kwargs: Any) -> Any:
    during()
    return args, kwargs


async def coroutine(*args: Any, **kwargs: Any) -> Any:
    return plain(*args, **kwargs)


def generator(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
    yield plain(*args, **kwargs)


async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
    yield plain(*args, **kwargs)


def end(pending: Any) -> Any:
    """What a call of any kind ends with."""

    async def ended() -> Any:
        if inspect.isasyncgen(pending):
            [item] = [item async for item in pending]
            return item
        return await pending

    if inspect.isgenerator(pending):
        [item] = pending
        return item
    return asyncio.run(ended()) if inspect.isawaitable(pending) or inspect.isasyncgen(pending) else pending


def test_an_async_function_may_have_an_async_fallback_and_a_plain_one(make: Make) -> None:
    breaker = make()
    breaker.force_open()

    async def later(error: CircuitOpenError) -> str:
        return "later"

    assert end(breaker.protect(fallback=later)(coroutine)()) == "later"
    assert end(breaker.protect(fallback=lambda error: "now")(coroutine)()) == "now"
    assert inspect.iscoroutinefunction(breaker.protect(fallback=later)(coroutine))
    assert not inspect.iscoroutinefunction(breaker.protect(fallback=later)(plain))


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_with_a_fallback_is_refused_in_one_line(make: Make, function: Callable[..., Any]) -> None:
    line = "a generator has no fallback: it may have yielded before it failed"
    with pytest.raises(TypeError, match=f"^{line}$"):
        make().protect(fallback=ok)(function)
