"""An adapter for requests with one circuit breaker for each origin. Retries nothing of its own.

    session.mount("https://", CircuitBreakerAdapter(failure_threshold=5, recovery_timeout=30))

Retries that the adapter makes (`max_retries`) are one call to the breaker.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import urlsplit

from breaker import Registry
from breaker.integrations import missing
from breaker.integrations.http import FAILURE_STATUSES, Exchange, Gate, RejectedRequest, origin

try:
    import requests
    from requests.adapters import HTTPAdapter
except ImportError:
    raise missing(__name__, "requests", "requests") from None

__all__ = ["CircuitBreakerAdapter", "CircuitOpenConnectionError"]


def origin_of(request: requests.PreparedRequest) -> str:
    """The default key: the origin of the request's URL."""
    url = urlsplit(request.url or "")
    return origin(url.scheme, url.hostname or "", url.port)


class CircuitOpenConnectionError(RejectedRequest, requests.ConnectionError):
    """A request was rejected without being sent. `request` is that request."""


class CircuitBreakerAdapter(HTTPAdapter):
    """The adapter of requests, guarded. It takes the same arguments, by keyword, and these:

    The breakers come from `registry`, or are made with `settings` (those of `CircuitBreaker`, `max_size` and
    `idle_timeout`); `key(request)` says which one judges a request. `failure_statuses` are the statuses that
    are failures.
    """

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        key: Callable[[requests.PreparedRequest], Hashable] = origin_of,
        failure_statuses: Iterable[int] = FAILURE_STATUSES,
        pool_connections: int = 10,
        pool_maxsize: int = 10,
        max_retries: Any = 0,
        pool_block: bool = False,
        **settings: Any,
    ) -> None:
        # A ValueError is what requests raises for an URL, header or timeout that cannot be.
        self._gate = Gate(CircuitOpenConnectionError, (ValueError,), registry, key, failure_statuses, settings)
        super().__init__(pool_connections, pool_maxsize, max_retries, pool_block)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an adapter with breakers is shared, not pickled: mount one where the session is made")

    @property
    def registry(self) -> Registry:
        """The breakers, by key."""
        return self._gate.registry

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        exchange = self._gate.enter(request)
        try:
            response = super().send(request, stream, timeout, verify, cert, proxies)
        except BaseException as error:
            exchange.broke(error)
            raise
        try:
            if exchange.answered(response.status_code, response.headers.get("retry-after")):
                response.raw = _Body(response.raw, exchange)
                if not stream and not response.is_redirect:
                    # The session reads it next, but runs hooks before, and one that raises drops the response.
                    response.content  # noqa: B018  # a property that reads
        except BaseException:
            response.close()
            raise
        return response


class _Body:
    """urllib3's response, telling how its reading ended. Everything else is urllib3's own."""

    def __init__(self, raw: Any, exchange: Exchange) -> None:
        self._raw, self._exchange = raw, exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def _read(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            data = read(*args, **kwargs)
        except BaseException as error:
            self._exchange.broke(error)
            raise
        if self._raw.closed:  # urllib3 closes a body that has been read to its end
            self._exchange.closed()
        return data

    def read(self, *args: Any, **kwargs: Any) -> Any:
        return self._read(self._raw.read, *args, **kwargs)

    def read1(self, *args: Any, **kwargs: Any) -> Any:
        return self._read(self._raw.read1, *args, **kwargs)

    def readinto(self, buffer: Any) -> Any:
        return self._read(self._raw.readinto, buffer)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        with self._exchange:
            yield from self._raw.stream(*args, **kwargs)

    def read_chunked(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        with self._exchange:
            yield from self._raw.read_chunked(*args, **kwargs)

    def __iter__(self) -> Iterator[bytes]:
        with self._exchange:
            yield from self._raw

    def close(self) -> None:
        self._exchange.closed()
        self._raw.close()

    def release_conn(self) -> None:
        self._exchange.closed()
        self._raw.release_conn()

    def __enter__(self) -> _Body:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
