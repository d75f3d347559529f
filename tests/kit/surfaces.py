"""Every way to call through a breaker, in one shape, so that one suite can run the same scenarios through all."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import trio
from kit.steps import Cancelled

from breaker import CircuitBreaker

CANCEL = object()
"""As an ending: the call is cancelled, in whatever way its world cancels."""


def call(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    return breaker.call(work)


def decorator(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    return breaker(work)()


def protect(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    return breaker.protect()(work)()


def generator(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    @breaker
    def items() -> Iterator[Any]:
        yield "first"
        yield work()

    return list(items())[-1]


def block(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    with breaker.acquire():
        return work()


def two_step(breaker: CircuitBreaker, work: Callable[[], Any]) -> Any:
    permit = breaker.acquire()
    try:
        result = work()
    except BaseException as error:
        permit.fail(error)
        raise
    permit.succeed(result)
    return result


async def call_async(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.call_async(work)


async def call_coroutine_function(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.call(work)


async def call_lambda(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.call(lambda: work())


async def call_partial(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.call(functools.partial(work))


class Worker:
    """An object whose call, and a method of which, is async."""

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        self._work = work

    async def __call__(self) -> Any:
        return await self._work()

    async def method(self) -> Any:
        return await self._work()


async def call_object(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.call(Worker(work))


async def call_method(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.call(Worker(work).method)


async def decorator_async(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker(work)()


async def decorator_lambda(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker(lambda: work())()


async def protect_async(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.protect()(work)()


async def async_generator(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    @breaker
    async def items() -> AsyncIterator[Any]:
        yield "first"
        yield await work()

    return [item async for item in items()][-1]


async def async_block(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    async with breaker.acquire():
        return await work()


async def plain_block_in_async(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    with breaker.acquire():
        return await work()


async def two_step_async(breaker: CircuitBreaker, work: Callable[[], Awaitable[Any]]) -> Any:
    permit = breaker.acquire()
    try:
        result = await work()
    except BaseException as error:
        permit.fail(error)
        raise
    permit.succeed(result)
    return result


SYNC = (call, decorator, protect, generator, block, two_step)
ASYNC = (
    call_async,
    call_coroutine_function,
    call_lambda,
    call_partial,
    call_object,
    call_method,
    decorator_async,
    decorator_lambda,
    protect_async,
    async_generator,
    async_block,
    plain_block_in_async,
    two_step_async,
)


@dataclass(frozen=True)
class Raised:
    """What a call raised; None for a cancellation, which belongs to the loop."""

    error: BaseException | None


def _end(ending: Any) -> Any:
    if isinstance(ending, BaseException):
        raise ending
    return ending


def drive_sync(surface: Callable[..., Any], breaker: CircuitBreaker, ending: Any, during: Callable[[], Any]) -> Any:
    def work() -> Any:
        during()
        return _end(Cancelled() if ending is CANCEL else ending)

    try:
        return surface(breaker, work)
    except Cancelled:
        return Raised(None)
    except Exception as error:
        return Raised(error)


def drive_asyncio(surface: Callable[..., Any], breaker: CircuitBreaker, ending: Any, during: Callable[[], Any]) -> Any:
    async def work() -> Any:
        during()
        if ending is CANCEL:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
        return _end(ending)

    async def main() -> Any:
        task = asyncio.create_task(surface(breaker, work))
        await asyncio.wait([task])
        if task.cancelled():
            return Raised(None)
        return Raised(task.exception()) if task.exception() else task.result()

    return asyncio.run(main())


def drive_trio(surface: Callable[..., Any], breaker: CircuitBreaker, ending: Any, during: Callable[[], Any]) -> Any:
    async def main() -> Any:
        scope = trio.CancelScope()

        async def work() -> Any:
            during()
            if ending is CANCEL:
                scope.cancel()
            await trio.lowlevel.checkpoint()
            return _end(ending)

        with scope:
            try:
                return await surface(breaker, work)
            except Exception as error:
                return Raised(error)
        return Raised(None)

    return trio.run(main)


DRIVES: dict[str, Callable[..., Any]] = {
    f"{surface.__name__}-{drive.__name__.removeprefix('drive_')}": functools.partial(drive, surface)
    for drive, surfaces in ((drive_sync, SYNC), (drive_asyncio, ASYNC), (drive_trio, ASYNC))
    for surface in surfaces
}
