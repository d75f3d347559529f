"""Every HTTP client behind one shape, so that a scenario is written once and run over all of them.

A scenario is an `async def`; the kits of blocking clients block in it, which is no matter, because the
server has threads of its own. A reading is `async for chunk in client.stream(url)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import requests
import trio

import breaker.integrations.aiohttp as for_aiohttp
import breaker.integrations.httpx as for_httpx
import breaker.integrations.httpx2 as for_httpx2
import breaker.integrations.requests as for_requests
from breaker import CircuitBreaker
from breaker.registry import Registry
from breaker.testing import ManualClock

TIMEOUT = 0.25  # of the clients, in seconds: how long a stall costs a test


def _run_in_trio(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario)


def _run_in_asyncio(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


class Kit:
    """One client library. `transport_error` is what its users catch already."""

    name: str
    rejected: type[Exception]
    transport_error: type[Exception]
    run = staticmethod(_run_in_asyncio)

    def client(self, **settings: Any) -> Any:
        """An async context manager that gives a client with `get`, `stream` and `begin`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.name


class HttpxKit(Kit):
    def __init__(self, library: Any, integration: Any) -> None:
        self.name, self.library, self.integration = library.__name__, library, integration
        self.rejected = integration.CircuitOpenTransportError
        self.transport_error = library.TransportError

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator[Any]:
        transport = self.integration.CircuitBreakerTransport(**settings)
        with self.library.Client(transport=transport, timeout=TIMEOUT, follow_redirects=True) as client:
            yield _Httpx(client)


class _Httpx:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def get(self, url: str) -> tuple[int, bytes]:
        response = self.client.get(url)
        return response.status_code, response.content

    async def stream(self, url: str) -> AsyncIterator[bytes]:
        with self.client.stream("GET", url) as response:
            for chunk in response.iter_bytes():
                yield chunk

    async def begin(self, url: str) -> Any:
        return self.client.send(self.client.build_request("GET", url), stream=True)

    async def end(self, response: Any) -> None:
        response.close()


class AsyncHttpxKit(HttpxKit):
    def __init__(self, library: Any, integration: Any, run: Any) -> None:
        super().__init__(library, integration)
        self.run = run
        self.name += "-trio" if run is _run_in_trio else "-asyncio"

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator[Any]:
        transport = self.integration.AsyncCircuitBreakerTransport(**settings)
        async with self.library.AsyncClient(transport=transport, timeout=TIMEOUT, follow_redirects=True) as client:
            yield _AsyncHttpx(client)


class _AsyncHttpx:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def get(self, url: str) -> tuple[int, bytes]:
        response = await self.client.get(url)
        return response.status_code, response.content

    async def stream(self, url: str) -> AsyncIterator[bytes]:
        async with self.client.stream("GET", url) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    async def begin(self, url: str) -> Any:
        return await self.client.send(self.client.build_request("GET", url), stream=True)

    async def end(self, response: Any) -> None:
        await response.aclose()


class RequestsKit(Kit):
    name = "requests"
    rejected = for_requests.CircuitOpenConnectionError
    transport_error = requests.RequestException

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator[Any]:
        with requests.Session() as session:
            session.mount("http://", for_requests.CircuitBreakerAdapter(**settings))
            yield _Requests(session)


class _Requests:
    def __init__(self, session: requests.Session) -> None:
        self.client = session

    async def get(self, url: str) -> tuple[int, bytes]:
        response = self.client.get(url, timeout=TIMEOUT)
        return response.status_code, response.content

    async def stream(self, url: str) -> AsyncIterator[bytes]:
        with self.client.get(url, timeout=TIMEOUT, stream=True) as response:
            for chunk in response.iter_content(4096):
                yield chunk

    async def begin(self, url: str) -> Any:
        return self.client.get(url, timeout=TIMEOUT, stream=True)

    async def end(self, response: Any) -> None:
        response.close()


class AiohttpKit(Kit):
    name = "aiohttp"
    rejected = for_aiohttp.CircuitOpenConnectionError
    transport_error = (aiohttp.ClientError, TimeoutError)  # type: ignore[assignment]  # its timeouts are no ClientError

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator[Any]:
        middleware = for_aiohttp.circuit_breaker_middleware(**settings)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        # A small buffer: the whole body must not have arrived before the reader asks for it.
        async with aiohttp.ClientSession(middlewares=[middleware], timeout=timeout, read_bufsize=1024) as session:
            yield _Aiohttp(session)


class _Aiohttp:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.client = session

    async def get(self, url: str) -> tuple[int, bytes]:
        async with self.client.get(url) as response:
            return response.status, await response.read()

    async def stream(self, url: str) -> AsyncIterator[bytes]:
        async with self.client.get(url) as response:
            async for chunk in response.content.iter_chunked(4096):
                yield chunk

    async def begin(self, url: str) -> Any:
        return await self.client.get(url)

    async def end(self, response: Any) -> None:
        response.release()


ASYNC_KITS: list[Kit] = [
    AsyncHttpxKit(library, integration, run)
    for library, integration in ((httpx, for_httpx), (httpx2, for_httpx2))
    for run in (_run_in_asyncio, _run_in_trio)
]
ASYNC_KITS.append(AiohttpKit())
KITS: list[Kit] = [HttpxKit(httpx, for_httpx), HttpxKit(httpx2, for_httpx2), RequestsKit(), *ASYNC_KITS]


def made(clock: ManualClock, threshold: int = 1) -> Registry:
    """A registry of breakers that have no setting for HTTP but the one that heeds Retry-After."""
    return Registry(failure_threshold=threshold, recovery_timeout=10, clock=clock)


async def read(client: Any, url: str) -> int:
    return sum([len(chunk) async for chunk in client.stream(url)])


def half_open(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """The next request is a probe."""
    breaker.acquire().fail()
    clock.advance(10)
