"""One function of each kind that a breaker wraps, all of which end with the arguments they were given."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from kit.steps import ok


def plain(*args: Any, during: Callable[[], object] = ok, **kwargs: Any) -> Any:
    during()
    return args, kwargs


async def coroutine(*args: Any, **kwargs: Any) -> Any:
    return plain(*args, **kwargs)


def awaitable(*args: Any, **kwargs: Any) -> Awaitable[Any]:
    return coroutine(*args, **kwargs)


def generator(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
    yield plain(*args, **kwargs)


async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
    yield plain(*args, **kwargs)


FUNCTIONS = [plain, coroutine, awaitable, generator, async_generator]


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
