"""What the decorator makes of a function: the same function, guarded; one shape for each kind.

The plain and the async wrapper repeat the few lines of `CircuitBreaker.call` and `call_async`, because
one Python frame more would double the cost of a healthy call.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import FunctionType, GeneratorType
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from breaker import calls, checks
from breaker.errors import CircuitOpenError
from breaker.model import Model
from breaker.outcome import NEUTRAL, SUCCEEDED
from breaker.permit import Permit

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", covariant=True)
ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]
PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
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
    if type(fn) is FunctionType and (not fn.__dict__ or fn.__code__.co_flags & _MAKES_COROUTINES):
        return bool(fn.__code__.co_flags & _MAKES_COROUTINES)  # the common case, thirty times faster
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  # not whether it is callable


def guard(breaker: Model, fn: Callable[..., Any], slow_after: float | None = None) -> Callable[..., Any]:
    """`fn`, guarded by `breaker`; with a `slow_after`, calls made here are slow from that many seconds on."""
    if isinstance(fn, staticmethod | classmethod):
        raise TypeError(f"put the breaker below @{type(fn).__name__}, next to the function, got {fn!r}")
    if not callable(fn) or isinstance(fn, type):
        raise TypeError(f"a breaker guards functions, got {fn!r}")
    if inspect.isasyncgenfunction(fn):
        wrapper = _async_generator(breaker, fn, slow_after)
    elif is_async(fn):
        wrapper = _coroutine(breaker, fn, slow_after)
    elif inspect.isgeneratorfunction(fn):
        wrapper = _generator(breaker, fn, slow_after)
    else:
        wrapper = _function(breaker, fn, slow_after)
    return functools.wraps(fn)(wrapper)


def _function(breaker: Model, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        stay = breaker._stay
        if stay.gated:
            return call_gated(breaker, slow_after, fn, args, kwargs)
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            calls.settle_plain_error(breaker, stay, error)
            raise
        if type(result) not in PLAIN and is_awaitable(result):
            return await_guarded(breaker, slow_after, result)
        tick = stay.tick
        if tick is None:
            calls.settle(breaker, stay, SUCCEEDED)
        else:
            tick()
        return result

    return wrapper


def _coroutine(breaker: Model, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        stay = breaker._stay
        if stay.gated:
            return await await_gated(breaker, slow_after, fn, args, kwargs)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            calls.settle_plain_error(breaker, stay, error)
            raise
        tick = stay.tick
        if tick is None:
            calls.settle(breaker, stay, SUCCEEDED)
        else:
            tick()
        return result

    return wrapper


def call_gated(breaker: Model, slow_after: float | None, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """One call with a permit. What `fn` returns to be awaited is settled when it has been awaited."""
    if not callable(fn):
        raise TypeError(f"call needs a function, got {fn!r}")
    permit = breaker._stay.admit(breaker, slow_after) or calls.admit_after_move(breaker, slow_after)
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        calls.settle_error(breaker, permit._stay, error, permit)
        raise
    if type(result) not in PLAIN and is_awaitable(result):
        return _await_admitted(breaker, permit, result)
    calls.settle_result(breaker, permit._stay, result, permit)
    return result


async def _await_admitted(breaker: Model, permit: Permit, awaitable: Any) -> Any:
    """Await what an admitted call returned: what it stands for may be under way already."""
    try:
        result = await awaitable
    except BaseException as error:
        calls.settle_error(breaker, permit._stay, error, permit)
        raise
    calls.settle_result(breaker, permit._stay, result, permit)
    return result


async def await_now(breaker: Model, slow_after: float | None, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """`call` of a function known to be async: not even its coroutine is made before this is awaited."""
    return await await_gated(breaker, slow_after, fn, args, kwargs)


async def await_gated(breaker: Model, slow_after: float | None, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """One awaited call with a permit."""
    if not callable(fn):
        raise TypeError(f"call_async needs an async function, got {fn!r}")
    permit, pending = calls.admit(breaker, slow_after), NOT_MADE
    try:
        pending = fn(*args, **kwargs)
        result = await pending
    except BaseException as error:
        if not is_awaitable(pending):
            calls.take_back(breaker, permit)
            raise TypeError(f"call_async needs an async function, got {fn!r}") from None
        calls.settle_error(breaker, permit._stay, error, permit)
        raise
    calls.settle_result(breaker, permit._stay, result, permit)
    return result


async def await_guarded(breaker: Model, slow_after: float | None, awaitable: Any) -> Any:
    """Await what a call returned: admitted, and settled, when this is awaited."""
    try:
        return await await_gated(breaker, slow_after, lambda: awaitable, (), {})
    finally:
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # a rejected coroutine never began; a finished one does not mind


def _generator(breaker: Model, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        permit = calls.admit(breaker, slow_after)  # at the first next(): making a generator calls nothing yet
        try:
            result = yield from fn(*args, **kwargs)
        except GeneratorExit:
            calls.settle(breaker, permit._stay, SUCCEEDED, None, permit)  # only one that has yielded can be closed
            raise
        except BaseException as error:
            calls.settle_error(breaker, permit._stay, error, permit)
            raise
        calls.settle(breaker, permit._stay, SUCCEEDED, None, permit)
        return result

    return wrapper


def _async_generator(breaker: Model, fn: Callable[..., Any], slow_after: float | None) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        permit, closed = calls.admit(breaker, slow_after), NEUTRAL
        try:
            items = fn(*args, **kwargs)
            step = _first_step(items)
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
            calls.settle(breaker, permit._stay, closed, None, permit)
            raise
        except BaseException as error:
            step = None  # it holds what was thrown in, whose traceback holds this frame
            calls.settle_error(breaker, permit._stay, error, permit)
            raise
        calls.settle(breaker, permit._stay, SUCCEEDED, None, permit)

    return wrapper


def _first_step(items: AsyncGenerator[Any, Any]) -> Any:
    """`anext(items)`, unknown to the event loop, which would close this generator and its guard at the same time."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(items)
    finally:
        sys.set_asyncgen_hooks(*hooks)


class Fallback(Protocol[A]):
    """A decorator whose functions may also return what a plain fallback returns."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R | A]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R | A]: ...


def protector(
    breaker: Model, fallback: Callable[..., Any] | None, fallback_on: ErrorTypes, slow_after: float | None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`CircuitBreaker.protect`: a decorator with options, checked now."""
    if slow_after is not None:
        checks.positive_seconds("slow_after", slow_after)
        if not breaker._settings.trip.timed:
            raise ValueError(f"slow_after={slow_after!r} needs a SlowCallRate among the breaker's trip policies")
    kinds: tuple[Any, ...] = fallback_on if isinstance(fallback_on, tuple) else (fallback_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"fallback_on must be an exception type or a tuple of them, got {fallback_on!r}")
    if fallback is None and kinds:
        raise TypeError(f"fallback_on={fallback_on!r} needs a fallback")
    if fallback is not None and not callable(fallback):
        raise TypeError(f"fallback must be a function, got {fallback!r}")

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        guarded = guard(breaker, fn, slow_after)
        return guarded if fallback is None else _with_fallback(breaker, guarded, fallback, kinds)

    return decorate


def _with_fallback(
    breaker: Model,
    guarded: Callable[..., Any],
    fallback: Callable[..., Any],
    fallback_on: tuple[type[BaseException], ...],
) -> Callable[..., Any]:
    """`guarded`, with `fallback(error, *args, **kwargs)` answering rejections and errors in `fallback_on`."""
    answered: tuple[type[BaseException], ...] = (CircuitOpenError, *fallback_on)

    def answer_to(error: BaseException, args: Any, kwargs: Any) -> Any:
        foreign = isinstance(error, CircuitOpenError) and error.breaker_name != breaker.name
        if foreign and not isinstance(error, fallback_on):
            raise error  # another breaker rejected a call within this one: a failure like any other
        return fallback(error, *args, **kwargs)

    if inspect.isgeneratorfunction(guarded) or inspect.isasyncgenfunction(guarded):
        raise TypeError("a generator has no fallback: it may have yielded before it failed")

    async def later(awaitable: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await awaitable
        except answered as error:
            answer = answer_to(error, args, kwargs)
            return await answer if is_awaitable(answer) else answer

    @functools.wraps(guarded)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = guarded(*args, **kwargs)
        except answered as error:
            return answer_to(error, args, kwargs)
        return later(result, args, kwargs) if is_awaitable(result) else result

    @functools.wraps(guarded)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return await later(guarded(*args, **kwargs), args, kwargs)

    return call_async if is_async(guarded) else call
