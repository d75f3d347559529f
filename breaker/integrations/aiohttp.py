"""A client middleware for aiohttp with one circuit breaker for each origin. Retries nothing, reads no body ahead.

    session = aiohttp.ClientSession(middlewares=[circuit_breaker_middleware(failure_threshold=5)])

aiohttp sends an idempotent request again by itself when a kept-alive connection turns out to be dead; each
time is a call to the breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from breaker import Registry
from breaker.integrations import missing
from breaker.integrations.http import FAILURE_STATUSES, Exchange, Gate, RejectedRequest, origin

try:
    import aiohttp
except ImportError:
    raise missing(__name__, "aiohttp", "aiohttp") from None

__all__ = ["CircuitOpenConnectionError", "circuit_breaker_middleware"]

_READS = frozenset({"read", "readany", "readchunk", "readexactly", "readline", "readuntil", "wait_eof"})


def origin_of(request: aiohttp.ClientRequest) -> str:
    """The default key: the origin of the request's URL."""
    url = request.url
    return origin(url.scheme, url.raw_host or "", url.port)


class CircuitOpenConnectionError(RejectedRequest, aiohttp.ClientConnectionError):
    """A request was rejected without being sent."""

    carries_request = False  # a ClientRequest holds its event loop, and would not pickle


def circuit_breaker_middleware(
    *,
    registry: Registry | None = None,
    key: Callable[[aiohttp.ClientRequest], Hashable] = origin_of,
    failure_statuses: Iterable[int] = FAILURE_STATUSES,
    **settings: Any,
) -> aiohttp.ClientMiddlewareType:
    """A middleware for `ClientSession(middlewares=[...])`.

    The breakers come from `registry`, or are made with `settings` (those of `CircuitBreaker`, `max_size` and
    `idle_timeout`); `key(request)` says which one judges a request. `failure_statuses` are the statuses that
    are failures.
    """
    # A ValueError is what aiohttp raises for an URL, header or body that cannot be.
    gate = Gate(CircuitOpenConnectionError, (ValueError,), registry, key, failure_statuses, settings)

    async def circuit_breaker(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        exchange = gate.enter(request)
        try:
            response = await handler(request)
        except BaseException as error:
            exchange.broke(_cause(request, error))
            raise
        waits = exchange.answered(response.status, response.headers.get("retry-after"))
        if waits:
            _watch(response, exchange)
        return response

    return circuit_breaker


def _cause(request: aiohttp.ClientRequest, error: BaseException) -> BaseException:
    """What really ended the sending: the session's total timeout, or `error`."""
    # That timeout passes here as a bare cancellation, and only the request's timer knows that it was one.
    # Taken for the caller's own, it would leave a host that never answers neutral for ever.
    timer = getattr(request, "_timer", None)
    if isinstance(error, asyncio.CancelledError) and timer is not None:
        try:
            timer.assert_timeout()
        except TimeoutError as timeout:
            return timeout
    return error


def _watch(response: aiohttp.ClientResponse, exchange: Exchange) -> None:
    content = response.content
    if content.is_eof():
        exchange.closed()
    else:
        content.on_eof(exchange.closed)
        body: Any = _Body(content, exchange)
        response.content = body


class _Body:
    """A response's `StreamReader`, telling how its reading ended. Everything else is aiohttp's own."""

    def __init__(self, content: aiohttp.StreamReader, exchange: Exchange) -> None:
        self._content, self._exchange = content, exchange

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._content, name)
        return self._watched(value) if name in _READS else value

    def _watched(self, read: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return await read(*args, **kwargs)
            except BaseException as error:
                self._exchange.broke(error)
                raise

        return watched

    def exception(self) -> BaseException | None:
        """Asked when the response is closed: the body may have broken off between two reads."""
        error = self._content.exception()
        if error is not None:
            self._exchange.broke(error)
        return error

    def set_exception(self, *error: Any) -> None:
        """Called when the response is closed before its end; what breaks off is told to aiohttp's own reader."""
        self._exchange.closed()
        self._content.set_exception(*error)

    def __aiter__(self) -> Any:
        return aiohttp.StreamReader.__aiter__(self._self())

    def iter_chunked(self, n: int) -> Any:
        return aiohttp.StreamReader.iter_chunked(self._self(), n)

    def iter_any(self) -> Any:
        return aiohttp.StreamReader.iter_any(self._self())

    def iter_chunks(self) -> Any:
        return aiohttp.StreamReader.iter_chunks(self._self())

    def _self(self) -> Any:
        return self  # the iterators need nothing of their reader but its reads, and so they are watched
