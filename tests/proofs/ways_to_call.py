"""The ways to make one call, as functions of a breaker and what the call does; all alike to the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from breaker import CircuitBreaker

Body = Callable[[], Any]


class Boom(Exception):
    """A recorded failure, which may carry the seconds that the dependency asks for."""

    def __init__(self, asked: float | None = None) -> None:
        super().__init__("boom")
        self.asked = asked


class Ignored(Exception):
    """An exception that the breaker is told to ignore."""


class Cancelled(BaseException):
    """What asyncio, Trio and Ctrl-C raise: no `Exception`."""


def run(awaitable: Awaitable[Any]) -> Any:
    """Run an awaitable that never waits, with no event loop."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def as_coroutine_function(body: Body) -> Callable[[], Awaitable[Any]]:
    async def fn() -> Any:
        return body()

    return fn


def _block(breaker: CircuitBreaker, body: Body) -> Any:
    with breaker.acquire():
        return body()


def _async_block(breaker: CircuitBreaker, body: Body) -> Any:
    async def block() -> Any:
        async with breaker.acquire():
            return body()

    return run(block())


def _generator(breaker: CircuitBreaker, body: Body) -> Any:
    def items() -> Any:
        yield body()

    [item] = breaker(items)()
    return item


SURFACES: dict[str, Callable[[CircuitBreaker, Body], Any]] = {
    "call": lambda breaker, body: breaker.call(body),
    "decorator": lambda breaker, body: breaker(body)(),
    "with": _block,
    "call_async": lambda breaker, body: run(breaker.call_async(as_coroutine_function(body))),
    "call of an async function": lambda breaker, body: run(breaker.call(as_coroutine_function(body))),
    "async decorator": lambda breaker, body: run(breaker(as_coroutine_function(body))()),
    "async with": _async_block,
    "generator": _generator,
}
JUDGES_RESULTS = ("call", "decorator", "call_async", "call of an async function", "async decorator")
"""The surfaces that see what the call returned; blocks and generators have no one result."""
