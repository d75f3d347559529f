"""How each library is used in the comparison: as its own documentation says, and why so.

A surface that a library does not document is not made up for it: the method is missing and the table shows a
dash. `make` takes what a scenario asks for and returns None when the library has nothing of the kind.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

NEVER = 10**9


class Ask(NamedTuple):
    """What a scenario wants of a breaker."""

    failures: int = 5
    """Failures that open it: 1 for the rejections, NEVER for the failures."""
    window: str | None = None
    """None for the library's plainest rule, else "count" or "time"."""
    size: int = 100
    """Calls or seconds that the window holds."""


class Case(NamedTuple):
    """One call, as source text and the names in it."""

    code: str
    names: dict[str, Any]
    is_async: bool = False


def by_call(call: Callable[..., Any], fn: Any) -> Case:
    return Case("call(fn)", {"call": call, "fn": fn})


def by_await(call: Callable[..., Any], fn: Any) -> Case:
    return Case("await call(fn)", {"call": call, "fn": fn}, is_async=True)


def guarded(fn: Any) -> Case:
    return Case("guarded()", {"guarded": fn})


def guarded_async(fn: Any) -> Case:
    return Case("await guarded()", {"guarded": fn}, is_async=True)


def block(enter: str, breaker: Any, fn: Any) -> Case:
    return Case(f"with {enter}: fn()", {"breaker": breaker, "fn": fn})


class Library:
    """What every adapter has: the module, and the surfaces that are there."""

    name: str
    module: str
    call: Callable[[Any, Any], Case] | None = None
    decorator: Callable[[Any, Any], Case] | None = None
    asynchronous: Callable[[Any, Any], Case] | None = None
    block: Callable[[Any, Any], Case] | None = None

    def __init__(self) -> None:
        self.package = importlib.import_module(self.module)

    def make(self, ask: Ask) -> Any:
        raise NotImplementedError

    def plainest(self, breaker: Any, fn: Any) -> Case | None:
        """The quickest synchronous surface to write; None for a library that is asynchronous alone."""
        surface = self.call or self.decorator
        return surface(breaker, fn) if surface else None


class SimpleBreaker(Library):
    name, module = "simple-breaker", "breaker"

    def make(self, ask: Ask) -> Any:
        p = self.package
        if ask.window is None:
            return p.CircuitBreaker("x", failure_threshold=ask.failures)
        window = p.CountWindow(ask.size) if ask.window == "count" else p.TimeWindow(ask.size)
        return p.CircuitBreaker("x", trip=p.FailureRate(0.5, window, 10))

    def call(self, breaker: Any, fn: Any) -> Case:
        return by_call(breaker.call, fn)

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return by_await(breaker.call_async, fn)

    def block(self, breaker: Any, fn: Any) -> Case:
        return block("breaker.acquire()", breaker, fn)


class PyBreaker(Library):
    name, module = "pybreaker", "pybreaker"

    def make(self, ask: Ask) -> Any:
        return None if ask.window else self.package.CircuitBreaker(fail_max=ask.failures)

    def call(self, breaker: Any, fn: Any) -> Case:
        return by_call(breaker.call, fn)

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    # Its call_async is for Tornado's coroutines, not for async functions: no asynchronous surface.

    def block(self, breaker: Any, fn: Any) -> Case:
        return block("breaker.calling()", breaker, fn)


class PlainCircuitBreaker(Library):
    name, module = "circuitbreaker", "circuitbreaker"

    def make(self, ask: Ask) -> Any:
        return None if ask.window else self.package.CircuitBreaker(failure_threshold=ask.failures)

    # Its documentation shows the decorator alone. `with breaker` works and would be cheap, but it lets every
    # call through an open circuit: only the decorator rejects.

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return guarded_async(breaker(fn))


class AioBreaker(Library):
    name, module = "aiobreaker", "aiobreaker"

    def make(self, ask: Ask) -> Any:
        # Seconds are a timedelta here.
        wait = timedelta(seconds=60)
        return None if ask.window else self.package.CircuitBreaker(fail_max=ask.failures, timeout_duration=wait)

    def call(self, breaker: Any, fn: Any) -> Case:
        return by_call(breaker.call, fn)

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return by_await(breaker.call_async, fn)


class Purgatory(Library):
    name, module = "purgatory", "purgatory"

    def make(self, ask: Ask) -> Any:
        # Breakers are kept by a factory and fetched by name at each use: that lookup is part of using it.
        return None if ask.window else self.package.SyncCircuitBreakerFactory(default_threshold=ask.failures)

    def decorator(self, factory: Any, fn: Any) -> Case:
        return guarded(factory("x")(fn))

    def asynchronous(self, factory: Any, fn: Any) -> Case:
        # Sync and async breakers come from different factories.
        return guarded_async(self.package.AsyncCircuitBreakerFactory()("x")(fn))

    def block(self, factory: Any, fn: Any) -> Case:
        return block("breaker.get_breaker('x')", factory, fn)


class Hyx(Library):
    name, module = "hyx", "hyx.circuitbreaker"

    def make(self, ask: Ask) -> Any:
        return None if ask.window else self.package.consecutive_breaker(failure_threshold=ask.failures)

    # Asynchronous alone.

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return guarded_async(breaker(fn))


class Interlock(Library):
    name, module = "interlock-cb", "interlock"

    def make(self, ask: Ask) -> Any:
        p = self.package
        # It always has a window: its default, of 100 calls, is its plainest rule. A minimum that the window cannot
        # hold keeps it closed through the failures.
        kind = p.WindowType.TIME_BASED if ask.window == "time" else p.WindowType.COUNT_BASED
        minimum = {1: 1, NEVER: NEVER}.get(ask.failures, 10)
        config = p.Config(window_type=kind, window_size=ask.size, minimum_number_of_calls=minimum)
        return p.CircuitBreaker(name="x", config=config)

    def call(self, breaker: Any, fn: Any) -> Case:
        return by_call(breaker.call, fn)

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return by_await(breaker.call_async, fn)

    def block(self, breaker: Any, fn: Any) -> Case:
        return block("breaker", breaker, fn)


class NoPanic(Library):
    name, module = "nopanic", "nopanic"

    def make(self, ask: Ask) -> Any:
        # It always has a time window: that is its plainest rule, and it has no window of calls.
        if ask.window == "count":
            return None
        minimum = 5 if ask.failures == 5 else ask.failures
        return self.package.circuit_breaker(min_calls=minimum, window=30.0 if ask.window is None else float(ask.size))

    def call(self, breaker: Any, fn: Any) -> Case:
        return by_call(breaker.call, fn)

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return by_await(breaker.acall, fn)

    def block(self, breaker: Any, fn: Any) -> Case:
        return block("breaker.guard()", breaker, fn)


class PyResilience(Library):
    name, module = "pyresilience", "pyresilience"

    def make(self, ask: Ask) -> Any:
        # A breaker exists only inside a decorated function: what is made here is the decorator.
        if ask.window == "time":
            return None
        size = ask.size if ask.window == "count" else 0
        config = self.package.CircuitBreakerConfig(
            failure_threshold=ask.failures, sliding_window_size=size, minimum_calls=10 if size else 0
        )
        return self.package.resilient(circuit_breaker=config)

    def decorator(self, resilient: Any, fn: Any) -> Case:
        return guarded(resilient(fn))

    def asynchronous(self, resilient: Any, fn: Any) -> Case:
        return guarded_async(resilient(fn))


class Resilix(Library):
    name, module = "resilix", "resilix"

    def make(self, ask: Ask) -> Any:
        # Its window counts failures over seconds; it has no window of calls.
        if ask.window == "count":
            return None
        return self.package.CircuitBreaker(failures=ask.failures, window=float(ask.size) if ask.window else None)

    # Besides the decorator it documents only allow/record by hand, which is no `with` block.

    def decorator(self, breaker: Any, fn: Any) -> Case:
        return guarded(breaker(fn))

    def asynchronous(self, breaker: Any, fn: Any) -> Case:
        return guarded_async(breaker(fn))


LIBRARIES: tuple[type[Library], ...] = (
    SimpleBreaker,
    PyBreaker,
    PlainCircuitBreaker,
    AioBreaker,
    Purgatory,
    Hyx,
    Interlock,
    NoPanic,
    PyResilience,
    Resilix,
)
