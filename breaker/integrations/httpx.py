"""Transports for httpx with one circuit breaker for each origin. Retries nothing, and reads no body ahead.

    client = httpx.Client(transport=CircuitBreakerTransport(failure_threshold=5, recovery_timeout=30))

A client that is given a transport leaves TLS, proxies and limits to it: give those to the
`httpx.HTTPTransport` that this one wraps.
"""

from __future__ import annotations

from breaker.integrations import missing
from breaker.integrations._httpx import AsyncBody, AsyncTransport, SyncBody, SyncTransport
from breaker.integrations.http import RejectedRequest

try:
    import httpx
except ImportError:
    raise missing(__name__, "httpx", "httpx") from None

__all__ = ["AsyncCircuitBreakerTransport", "CircuitBreakerTransport", "CircuitOpenTransportError"]

_MISTAKES = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class CircuitOpenTransportError(RejectedRequest, httpx.TransportError):
    """A request was rejected without being sent. `request` is that request."""


class _SyncBody(SyncBody, httpx.SyncByteStream):
    pass


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    pass


class CircuitBreakerTransport(SyncTransport, httpx.BaseTransport):
    """Wraps `transport`, or a new `HTTPTransport`.

    The breakers come from `registry`, or are made with `settings` (those of `CircuitBreaker`, `max_size` and
    `idle_timeout`); `key(request)` says which one judges a request. `failure_statuses` are the statuses that
    are failures.
    """

    rejected, mistakes, body, default = CircuitOpenTransportError, _MISTAKES, _SyncBody, httpx.HTTPTransport


class AsyncCircuitBreakerTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """The same for `AsyncClient`, on asyncio and on Trio."""

    rejected, mistakes, body, default = CircuitOpenTransportError, _MISTAKES, _AsyncBody, httpx.AsyncHTTPTransport
