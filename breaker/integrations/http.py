"""What all HTTP integrations share: which breaker judges a request, which answers are failures, for how long.

The verdict on an exchange covers its body: the permit is taken when the request is sent and comes back
when the body has ended, so a probe holds its place until then (a download longer than `probe_timeout`
is a failed probe). No HTTP library is imported here, and no body is read.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Hashable, Iterable
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, ClassVar, NoReturn

from breaker import CircuitOpenError, Permit, Registry

FAILURE_STATUSES = frozenset({429, 500, 502, 503, 504})
"""Answers that say the dependency is in trouble. Other statuses say that it works."""

LONGEST_RETRY_AFTER = 86400.0
"""Seconds. A server that asks for more is heeded for a day: one bad header must not lose a dependency for years."""

_ASKING = frozenset({429, 503})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SWITCHING_PROTOCOLS = 101


class BadStatus(Exception):
    """An answer whose status is a failure, as a breaker's listeners are told of it. Never raised."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(status, retry_after)
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"HTTP {self.status}"


def retry_after_seconds(value: str | None) -> float | None:
    """Seconds from now that a `Retry-After` header asks for, in either form; None when it says nothing sound.

    A date that has passed is 0.0; a date without a zone is in UTC.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return LONGEST_RETRY_AFTER if len(text) > 9 else min(float(text), LONGEST_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


@functools.lru_cache(1024)
def origin(scheme: str, host: str, port: int | None) -> str:
    """`https://example.org`, `http://[::1]:8080`: lower case, without the scheme's default port."""
    scheme, host = scheme.lower(), host.lower()
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


class RejectedRequest(CircuitOpenError):
    """A `CircuitOpenError` that has a library's own error as its second parent, whose constructor it calls."""

    carries_request: ClassVar[bool] = True

    def __init__(self, *facts: Any) -> None:
        super().__init__("")
        self.args = facts


class Gate:
    """Where one client's requests meet their breakers.

    `mistakes` are errors that the caller made, not the dependency: neutral. Raises `TypeError` when given
    both a registry and settings for one, and `ValueError` for a status that is none.
    """

    def __init__(
        self,
        rejected: type[RejectedRequest],
        mistakes: tuple[type[BaseException], ...],
        registry: Registry | None,
        key: Callable[[Any], Hashable],
        failure_statuses: Iterable[int],
        settings: dict[str, Any],
    ) -> None:
        if registry is not None and settings:
            raise TypeError(f"give a registry or settings, not both: {', '.join(sorted(settings))}")
        if "record_result" in settings:
            raise ValueError("record_result is never asked here: the status and the body decide; see failure_statuses")
        if registry is None:
            registry = Registry(**settings)
        elif not isinstance(registry, Registry):
            raise TypeError(f"registry must be a Registry, got {registry!r}")
        if not callable(key):
            raise TypeError(f"key must be a function of a request, got {key!r}")
        self.registry = registry
        self._rejected, self._key = rejected, key
        self.mistakes = mistakes
        self.statuses = frozenset(map(_checked_status, failure_statuses))

    def enter(self, request: Any) -> Exchange:
        """Leave to send `request`. Raises the library's own kind of `CircuitOpenError`."""
        try:
            permit = self.registry[self._key(request)].acquire()
        except CircuitOpenError as error:
            self._reject(error, request)
        return Exchange(permit, self)

    def _reject(self, error: CircuitOpenError, request: Any) -> NoReturn:
        rejected: Any = self._rejected(*error.args)
        try:
            if self._rejected.carries_request:
                rejected.request = request
            raise rejected from None
        finally:
            del rejected  # this frame is in its traceback: a cycle otherwise


class Exchange:
    """One request and its answer: brings the permit back with the first verdict there is.

    As a context manager it surrounds the reading of the body.
    """

    __slots__ = ("_gate", "_permit")

    def __init__(self, permit: Permit, gate: Gate) -> None:
        self._permit, self._gate = permit, gate

    def answered(self, status: int, asked: str | None) -> bool:
        """The head of the answer is here, with this `Retry-After`. Whether the verdict now waits for the body."""
        if status in self._gate.statuses:
            seconds = retry_after_seconds(asked) if status in _ASKING else None
            self._permit.fail(BadStatus(status, seconds), retry_after=seconds or 0.0)
            return False
        if status == _SWITCHING_PROTOCOLS:
            self._permit.succeed()  # what follows is no body, and may last for days
            return False
        return True

    def broke(self, error: BaseException) -> None:
        """Sending, or reading the body, raised `error`. Cancellation is neutral, as everywhere."""
        if isinstance(error, self._gate.mistakes):
            self._permit.release()
        elif not isinstance(error, GeneratorExit):  # a reader that stops early closes the response, too
            self._permit.fail(error)

    def closed(self) -> None:
        """The body ended, or its reader had enough of it."""
        self._permit.succeed()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.closed()
        else:
            self.broke(error)


def _checked_status(status: Any) -> int:
    if type(status) is not int or not 100 <= status <= 599:
        raise ValueError(f"failure_statuses must hold HTTP statuses, got {status!r}")
    return status


def problem(error: CircuitOpenError) -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers of a server's answer (RFC 9457) while a circuit is open.

    It says when to come back and nothing of the inside. Flask takes it as it is from an error handler.
    """
    body = json.dumps({"type": "about:blank", "title": "Service Unavailable", "status": 503}).encode()
    headers = {"Content-Type": "application/problem+json", "Content-Length": str(len(body))}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return body, 503, headers
