"""One implementation for httpx and httpx2, which have the same shape but share no class.

`breaker.integrations.httpx` and `.httpx2` join these classes with their library's own. Nothing is imported
from either here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator
from typing import Any, ClassVar, Self

from breaker import Registry
from breaker.integrations.http import FAILURE_STATUSES, Exchange, Gate, RejectedRequest, origin


def origin_of(request: Any) -> str:
    """The default key: the origin of the request's URL."""
    url = request.url
    return origin(url.scheme, url.raw_host.decode("ascii"), url.port)


class _Body:
    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream, self._exchange = stream, exchange


class SyncBody(_Body):
    """A response stream that tells how it ended."""

    def __iter__(self) -> Iterator[bytes]:
        with self._exchange:
            yield from self._stream

    def close(self) -> None:
        self._exchange.closed()
        self._stream.close()


class AsyncBody(_Body):
    """A response stream that tells how it ended."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        # No generator: one that is left unfinished, as httpx leaves them, makes Trio complain.
        self._chunks = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await anext(self._chunks)
        except StopAsyncIteration:
            self._exchange.closed()
            raise
        except BaseException as error:
            self._exchange.broke(error)
            raise
        return chunk

    async def aclose(self) -> None:
        self._exchange.closed()
        await self._stream.aclose()


class _Transport:
    rejected: ClassVar[type[RejectedRequest]]
    mistakes: ClassVar[tuple[type[BaseException], ...]]
    body: ClassVar[type[_Body]]
    default: ClassVar[type]

    def __init__(
        self,
        transport: Any = None,
        *,
        registry: Registry | None = None,
        key: Callable[[Any], Hashable] = origin_of,
        failure_statuses: Iterable[int] = FAILURE_STATUSES,
        **settings: Any,
    ) -> None:
        self._gate = Gate(self.rejected, self.mistakes, registry, key, failure_statuses, settings)
        self._inner = self.default() if transport is None else transport

    @property
    def registry(self) -> Registry:
        """The breakers, by key."""
        return self._gate.registry

    def _watched(self, response: Any, exchange: Exchange) -> Any:
        if response.is_closed:  # made with its content, as mock transports do: nobody will read or close it
            exchange.closed()
        else:
            response.stream = self.body(response.stream, exchange)
        return response


class SyncTransport(_Transport):
    """`handle_request`, guarded."""

    def handle_request(self, request: Any) -> Any:
        exchange = self._gate.enter(request)
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            exchange.broke(error)
            raise
        waits = exchange.answered(response.status_code, response.headers.get("retry-after"))
        return self._watched(response, exchange) if waits else response

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)

    def close(self) -> None:
        self._inner.close()


class AsyncTransport(_Transport):
    """`handle_async_request`, guarded."""

    async def handle_async_request(self, request: Any) -> Any:
        exchange = self._gate.enter(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            exchange.broke(error)
            raise
        waits = exchange.answered(response.status_code, response.headers.get("retry-after"))
        return self._watched(response, exchange) if waits else response

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._inner.__aexit__(*error)

    async def aclose(self) -> None:
        await self._inner.aclose()
