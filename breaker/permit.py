"""A permit: the right to make one call, which comes back exactly once whatever happens.

A permit only carries facts to the breaker that gave it; the state that admitted the call decides what its
end means.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from breaker import checks
from breaker.outcome import FAILURE, IGNORED, SUCCESS

_UNSAID: Any = object()
next_key = itertools.count().__next__


class Issuer(Protocol):
    """What a permit knows of the breaker that gave it."""

    @property
    def name(self) -> str: ...

    @property
    def _settle(self) -> Callable[..., None]: ...
    @property
    def _settle_error(self) -> Callable[..., None]: ...
    @property
    def _settle_result(self) -> Callable[..., None]: ...


class Permit:
    """Leave to make one call, from `CircuitBreaker.acquire()`.

    As a context manager, `with` or `async with`, it settles with what the block does. In two steps, call
    one of `succeed`, `fail` and `release` when the outcome is known, from any thread; the first one
    counts. A permit that is collected unsettled comes back by itself, with a `ResourceWarning`.
    """

    __slots__ = ("_breaker", "_key", "_settled", "_slow_after", "_started", "_state", "_unclaimed")

    def __init__(
        self,
        breaker: Issuer,
        state: Any,
        started: float | None = None,
        slow_after: float | None = None,
        key: int | None = None,
    ) -> None:
        self._breaker, self._state = breaker, state
        self._started, self._slow_after, self._key = started, slow_after, key
        self._unclaimed, self._settled = None, False  # last: a permit that an interrupt left half-made is none

    def succeed(self, result: Any = _UNSAID) -> None:
        """The call returned. A `result`, when given, is judged by the breaker's `record_result`."""
        if self._claim():
            if result is _UNSAID:
                self._breaker._settle(self._state, (SUCCESS, None), permit=self)
            else:
                self._breaker._settle_result(self._state, result, self)

    def fail(self, exc: BaseException | None = None, *, retry_after: float | None = None) -> None:
        """The call failed. An `exc`, when given, is judged like one that the call raised: it may be neutral.

        With a `retry_after`, the seconds that the dependency asked for or 0.0, the failure is certain: no
        classifier is asked. Raises `TypeError` for an `exc` that is no exception, and `ValueError` for
        seconds that cannot be; the permit is then still to be settled.
        """
        if exc is not None and not isinstance(exc, BaseException):
            raise TypeError(f"fail takes an exception or None, got {exc!r}")
        if retry_after is not None:
            checks.seconds("retry_after", retry_after)
        if not self._claim():
            return
        if exc is None or retry_after is not None:
            self._breaker._settle(self._state, (FAILURE, retry_after), exc, self)
        else:
            self._breaker._settle_error(self._state, exc, self)

    def release(self) -> None:
        """The call was not made, or tells nothing: neutral."""
        if self._claim():
            self._breaker._settle(self._state, (IGNORED, None), permit=self)

    def _claim(self) -> bool:
        """Whether this is the first settlement."""
        try:
            del self._unclaimed  # one atomic step: of two threads, one finds it gone
        except AttributeError:
            return False
        return True

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is None:
            self.succeed()
        else:
            self.fail(exc)

    async def __aenter__(self) -> Permit:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, exc, trace)

    def __del__(self) -> None:
        if not getattr(self, "_settled", True):
            self._settled = True
            self._state.abandon(self._key)
            warnings.warn(
                f"a permit of breaker {self._breaker.name!r} was dropped without succeed, fail or release",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        settled = "settled" if self._settled else "unsettled"
        return f"<{settled} permit of breaker {self._breaker.name!r}, admitted in {self._state.name}>"
