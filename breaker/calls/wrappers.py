"""What the decorator makes of a function: the same function behind the breaker; one wrapper for each kind.

The plain and the async wrapper repeat the few lines of `CircuitBreaker.call` and `call_async`, because
one Python frame more would double the cost of a healthy call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, GeneratorType
from typing import Any

from breaker.calls.settling import CallPath
from breaker.calls.streams import wrap_async_generator, wrap_generator
from breaker.outcome import SUCCEEDED
from breaker.permit import Permit

NEVER_AWAITABLE = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""Types of results that are certainly not awaitable, so that most calls are spared the look."""


class _NotMade:
    __await__ = None


NOT_MADE: Any = _NotMade()
"""Stands for the awaitable that a call has not made yet."""


_MAKES_COROUTINES = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE  # the second: `types.coroutine`


def is_awaitable(thing: Any) -> bool:
    """Whether `await` takes it. Asks the type, as `await` does: a proxy answers for any attribute."""
    if type(thing) is GeneratorType:
        return bool(thing.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return hasattr(type(thing), "__await__")


def is_async(fn: Any) -> bool:
    """Whether calling `fn` makes a coroutine: async functions, and objects whose `__call__` is one."""
    if isinstance(fn, type):
        return False  # a call makes an object of the class, whatever calling that would make
    if type(fn) is FunctionType and (not fn.__dict__ or fn.__code__.co_flags & _MAKES_COROUTINES):
        return bool(fn.__code__.co_flags & _MAKES_COROUTINES)  # the common case, thirty times faster
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  # not whether it is callable


def wrap(breaker: CallPath, fn: Callable[..., Any], slow_after: float | None = None) -> Callable[..., Any]:
    """`fn` behind `breaker`; with a `slow_after`, calls made here are slow from that many seconds on."""
    if isinstance(fn, staticmethod | classmethod):
        raise TypeError(f"put the breaker below @{type(fn).__name__}, next to the function, got {fn!r}")
    if not callable(fn) or isinstance(fn, type):
        raise TypeError(f"a breaker guards functions, got {fn!r}")
    if inspect.isasyncgenfunction(fn):
        wrapper = wrap_async_generator(breaker, fn, slow_after)
    elif is_async(fn):
        wrapper = _coroutine(breaker, fn, slow_after)
    elif inspect.isgeneratorfunction(fn):
        wrapper = wrap_generator(breaker, fn, slow_after)
    else:
        wrapper = _function(breaker, fn, slow_after)
    return functools.wraps(fn)(wrapper)


def _function(breaker: CallPath, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        state = breaker._state
        if state.needs_permit:
            return call_with_permit(breaker, slow_after, fn, args, kwargs)
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            breaker._settle_plain_error(state, error)
            raise
        if type(result) not in NEVER_AWAITABLE and is_awaitable(result):
            return await_result(breaker, slow_after, result)
        count_success = state.count_success
        if count_success is None:
            breaker._settle(state, SUCCEEDED)
        else:
            count_success()
        return result

    return wrapper


def _coroutine(breaker: CallPath, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        state = breaker._state
        if state.needs_permit:
            return await await_with_permit(breaker, slow_after, fn, args, kwargs)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            breaker._settle_plain_error(state, error)
            raise
        count_success = state.count_success
        if count_success is None:
            breaker._settle(state, SUCCEEDED)
        else:
            count_success()
        return result

    return wrapper


def call_with_permit(
    breaker: CallPath, slow_after: float | None, fn: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """One call with a permit. What `fn` returns to be awaited is settled when it has been awaited."""
    if not callable(fn):
        raise TypeError(f"call needs a function, got {fn!r}")
    permit = breaker._state.admit(breaker, slow_after) or breaker._admit_after_move(slow_after)
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        breaker._settle_error(permit._state, error, permit)
        raise
    if type(result) not in NEVER_AWAITABLE and is_awaitable(result):
        return _await_admitted(breaker, permit, result)
    breaker._settle_result(permit._state, result, permit)
    return result


async def _await_admitted(breaker: CallPath, permit: Permit, awaitable: Any) -> Any:
    """Await what an admitted call returned: what it stands for may be under way already."""
    try:
        result = await awaitable
    except BaseException as error:
        breaker._settle_error(permit._state, error, permit)
        raise
    breaker._settle_result(permit._state, result, permit)
    return result


async def await_function(
    breaker: CallPath, slow_after: float | None, fn: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """`call` of a function known to be async: not even its coroutine is made before this is awaited."""
    return await await_with_permit(breaker, slow_after, fn, args, kwargs)


async def await_with_permit(
    breaker: CallPath, slow_after: float | None, fn: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """One awaited call with a permit."""
    if not callable(fn):
        raise TypeError(f"call_async needs an async function, got {fn!r}")
    permit, pending = breaker._admit(slow_after), NOT_MADE
    try:
        pending = fn(*args, **kwargs)
        result = await pending
    except BaseException as error:
        if not is_awaitable(pending):
            breaker._cancel(permit)
            raise TypeError(f"call_async needs an async function, got {fn!r}") from None
        breaker._settle_error(permit._state, error, permit)
        raise
    breaker._settle_result(permit._state, result, permit)
    return result


async def await_result(breaker: CallPath, slow_after: float | None, awaitable: Any) -> Any:
    """Await what a call returned: admitted, and settled, when this is awaited."""
    try:
        return await await_with_permit(breaker, slow_after, lambda: awaitable, (), {})
    finally:
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # a rejected coroutine never began; a finished one does not mind
