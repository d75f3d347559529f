"""How a generator is guarded: a permit at its first item, one verdict when it ends.

Exhausted is a success, raised a failure; closed early is a success, but neutral before any item. Nothing
here looks at the items.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from breaker.calls.settling import CallPath
from breaker.outcome import NEUTRAL, SUCCEEDED


def wrap_generator(breaker: CallPath, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    """`fn`, with one verdict on all that it yields."""

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        permit = breaker._admit(slow_after)  # at the first next(): making a generator calls nothing yet
        try:
            result = yield from fn(*args, **kwargs)
        except GeneratorExit:
            breaker._settle(permit._state, SUCCEEDED, None, permit)  # only one that has yielded can be closed
            raise
        except BaseException as error:
            breaker._settle_error(permit._state, error, permit)
            raise
        breaker._settle(permit._state, SUCCEEDED, None, permit)
        return result

    return wrapper


def wrap_async_generator(breaker: CallPath, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    """`fn`, with one verdict on all that it yields."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        permit, closed = breaker._admit(slow_after), NEUTRAL
        try:
            step = _first_step(items := fn(*args, **kwargs))
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    break
                closed = SUCCEEDED  # closed before its first item, as by a loop torn down, it tells nothing
                try:
                    step = items.asend((yield item))
                except GeneratorExit:
                    await items.aclose()
                    raise
                except BaseException as thrown:
                    step = items.athrow(thrown)
        except GeneratorExit:
            breaker._settle(permit._state, closed, None, permit)
            raise
        except BaseException as error:
            step = None  # it holds what was thrown in, whose traceback holds this frame
            breaker._settle_error(permit._state, error, permit)
            raise
        breaker._settle(permit._state, SUCCEEDED, None, permit)

    return wrapper


def _first_step(items: AsyncGenerator[Any, Any]) -> Any:
    """`anext(items)`, unknown to the event loop, which would close this generator and its wrapper at the same time."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(items)
    finally:
        sys.set_asyncgen_hooks(*hooks)
