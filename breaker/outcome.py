"""What the end of a call means: Outcome, and the classifier that turns an exception or a result into one.

This module runs the user's predicates, so it is never called under a lock. It counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from inspect import iscoroutinefunction
from typing import Any

ExceptionSpec = type[BaseException] | tuple[type[BaseException], ...] | Callable[[Any], object]
"""Exceptions by type, by tuple of types, or by predicate."""


class Outcome(Enum):
    """What a finished call tells about the dependency."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"  # neutral: the permit comes back and nothing is counted


SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED
Verdict = tuple[Outcome, float | None]
"""An outcome, and the seconds the dependency asked to be left alone for, if it did."""

FAILED: Verdict = (FAILURE, None)
SUCCEEDED: Verdict = (SUCCESS, None)
NEUTRAL: Verdict = (IGNORED, None)


def _matcher(name: str, spec: ExceptionSpec) -> Callable[[BaseException], object]:
    """A test for `spec`. Raises `ValueError` for a type that can never count, `TypeError` for no spec at all."""
    kinds: tuple[Any, ...] = spec if isinstance(spec, tuple) else (spec,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        for kind in kinds:
            if not issubclass(kind, Exception) and kind is not BaseException:
                raise ValueError(f"{name} has {kind.__name__}, which is no Exception and is always neutral")
        return lambda error: isinstance(error, kinds)
    if callable(spec) and not isinstance(spec, type):
        predicate: Callable[[BaseException], object] = _plain_function(name, spec)
        return predicate
    raise TypeError(f"{name} must be an exception type, a tuple of them, or a predicate, got {spec!r}")


def _plain_function(name: str, function: Any) -> Any:
    """`function`, refused with `TypeError` if it cannot answer: the coroutine of an async one is always true."""
    if not callable(function):
        raise TypeError(f"{name} must be a function or None, got {function!r}")
    if iscoroutinefunction(function):
        raise TypeError(f"{name} must not be async, got {function!r}")
    return function


class Classifier:
    """The user's word on what counts. Shared by every call of one breaker; holds no state.

    A `BaseException` that is no `Exception` (cancellation, `KeyboardInterrupt`, `GeneratorExit`) is
    neutral before any predicate is asked. An exception neither recorded nor ignored is a success: the
    dependency answered (as in Resilience4j).
    """

    __slots__ = ("_ignored", "_record_result", "_recorded", "_retry_after", "judges_results")

    def __init__(
        self,
        record_exceptions: ExceptionSpec = Exception,
        ignore_exceptions: ExceptionSpec = (),
        record_result: Callable[[Any], object] | None = None,
        retry_after: Callable[[Any], float | None] | None = None,
    ) -> None:
        self._recorded = _matcher("record_exceptions", record_exceptions)
        self._ignored = _matcher("ignore_exceptions", ignore_exceptions)
        for name, function in (("record_result", record_result), ("retry_after", retry_after)):
            if function is not None:
                _plain_function(name, function)
        self._record_result = record_result
        self._retry_after = retry_after
        self.judges_results = record_result is not None

    def of_error(self, error: BaseException) -> Verdict:
        """The verdict on a raised exception. Whatever a predicate raises passes through."""
        if not isinstance(error, Exception) or self._ignored(error):
            return NEUTRAL
        return self._failure(error) if self._recorded(error) else SUCCEEDED

    def of_result(self, result: object) -> Verdict:
        """The verdict on a returned value. Whatever the predicate raises passes through."""
        if self._record_result is None or not self._record_result(result):
            return SUCCEEDED
        return self._failure(result)

    def _failure(self, cause: object) -> Verdict:
        if self._retry_after is None or (retry_after := self._retry_after(cause)) is None:
            return FAILED
        if isinstance(retry_after, bool) or not isinstance(retry_after, int | float) or not math.isfinite(retry_after):
            raise ValueError(f"retry_after must return a finite number of seconds or None, got {retry_after!r}")
        return FAILURE, float(retry_after)


DEFAULT = Classifier()
"""Every `Exception` is a failure, every result a success. One object for all breakers that ask no more."""


def name_of(error: BaseException | None) -> str:
    """What a failure is counted under in a report."""
    return "bad result" if error is None else type(error).__name__


def text_of(error: BaseException | None) -> str:
    """One short line on `error`; runs its `__str__`, so never under a lock."""
    try:
        text = " ".join(f"{type(error).__name__}: {error!s:.1000}".split())
    except Exception:  # a broken __str__ must not cost the caller the original error
        return type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
