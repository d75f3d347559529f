"""What a fallback answers, and what it does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from kit.functions import async_generator, coroutine, end, generator, plain
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
