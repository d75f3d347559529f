"""`CircuitBreaker.protect`: the decorator with options for one call site, and the fallback that answers for it.

A fallback answers the caller; the call itself is counted as if there were none.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from breaker import checks
from breaker.calls.settling import CallPath
from breaker.calls.wrappers import is_async, is_awaitable, wrap
from breaker.errors import CircuitOpenError

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", covariant=True)
ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]


class Fallback(Protocol[A]):
    """A decorator whose functions may also return what a plain fallback returns."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R | A]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R | A]: ...


def wrap_with_options(
    breaker: CallPath, fallback: Callable[..., Any] | None, fallback_on: ErrorTypes, slow_after: float | None
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
        wrapped = wrap(breaker, fn, slow_after)
        return wrapped if fallback is None else _with_fallback(breaker, wrapped, fallback, kinds)

    return decorate


def _with_fallback(
    breaker: CallPath,
    wrapped: Callable[..., Any],
    fallback: Callable[..., Any],
    fallback_on: tuple[type[BaseException], ...],
) -> Callable[..., Any]:
    """`wrapped`, with `fallback(error, *args, **kwargs)` answering rejections and errors in `fallback_on`."""
    answered: tuple[type[BaseException], ...] = (CircuitOpenError, *fallback_on)

    def answer_to(error: BaseException, args: Any, kwargs: Any) -> Any:
        foreign = isinstance(error, CircuitOpenError) and error.breaker_name != breaker.name
        if foreign and not isinstance(error, fallback_on):
            raise error  # another breaker rejected a call within this one: a failure like any other
        return fallback(error, *args, **kwargs)

    if inspect.isgeneratorfunction(wrapped) or inspect.isasyncgenfunction(wrapped):
        raise TypeError("a generator has no fallback: it may have yielded before it failed")

    async def later(awaitable: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await awaitable
        except answered as error:
            answer = answer_to(error, args, kwargs)
            return await answer if is_awaitable(answer) else answer

    @functools.wraps(wrapped)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = wrapped(*args, **kwargs)
        except answered as error:
            return answer_to(error, args, kwargs)
        return later(result, args, kwargs) if is_awaitable(result) else result

    @functools.wraps(wrapped)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return await later(wrapped(*args, **kwargs), args, kwargs)

    return call_async if is_async(wrapped) else call
