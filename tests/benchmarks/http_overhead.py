"""What each client integration costs over the bare client, on loopback: prints the ratio of medians.

Run it by hand: `python tests/benchmarks/http_overhead.py [rounds]`. Bare and guarded requests alternate in
one process, against a server in another, over one kept-alive connection each. It measures a healthy GET
of a small body; it judges nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import requests

import breaker.integrations.aiohttp as for_aiohttp
import breaker.integrations.httpx as for_httpx
import breaker.integrations.httpx2 as for_httpx2
import breaker.integrations.requests as for_requests

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 100
BLOCK = 10  # requests timed together


def serve(listener: socket.socket) -> None:
    """Answer every request on every connection; a request has no body."""

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.data = transport, b""

        def data_received(self, data: bytes) -> None:
            self.data += data
            while b"\r\n\r\n" in self.data:
                self.data = self.data.partition(b"\r\n\r\n")[2]
                self.transport.write(ANSWER)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
        await server.serve_forever()

    asyncio.run(main())


def blocking(bare: Callable[[], Any], guarded: Callable[[], Any], rounds: int) -> tuple[list[float], list[float]]:
    async def call(get: Callable[[], Any]) -> None:
        get()

    return asyncio.run(interleaved(lambda: call(bare), lambda: call(guarded), rounds))


async def interleaved(
    bare: Callable[[], Awaitable[Any]], guarded: Callable[[], Awaitable[Any]], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds a request, for each block of each; who goes first alternates."""
    times: dict[Any, list[float]] = {bare: [], guarded: []}
    for number in range(rounds):
        for get in (bare, guarded) if number % 2 else (guarded, bare):
            begun = time.perf_counter()
            for _ in range(BLOCK):
                await get()
            times[get].append((time.perf_counter() - begun) / BLOCK)
    return times[bare], times[guarded]


def with_httpx(library: Any, integration: Any, url: str, rounds: int) -> tuple[list[float], list[float]]:
    with (
        library.Client(transport=library.HTTPTransport()) as bare,
        library.Client(transport=integration.CircuitBreakerTransport()) as guarded,
    ):
        return blocking(lambda: bare.get(url), lambda: guarded.get(url), rounds)


def with_async_httpx(library: Any, integration: Any, url: str, rounds: int) -> tuple[list[float], list[float]]:
    async def main() -> tuple[list[float], list[float]]:
        async with (
            library.AsyncClient(transport=library.AsyncHTTPTransport()) as bare,
            library.AsyncClient(transport=integration.AsyncCircuitBreakerTransport()) as guarded,
        ):
            return await interleaved(lambda: bare.get(url), lambda: guarded.get(url), rounds)

    return asyncio.run(main())


def with_requests(url: str, rounds: int) -> tuple[list[float], list[float]]:
    with requests.Session() as bare, requests.Session() as guarded:
        guarded.mount("http://", for_requests.CircuitBreakerAdapter())
        return blocking(lambda: bare.get(url), lambda: guarded.get(url), rounds)


def with_aiohttp(url: str, rounds: int) -> tuple[list[float], list[float]]:
    async def read(session: aiohttp.ClientSession) -> None:
        async with session.get(url) as response:
            await response.read()

    async def main() -> tuple[list[float], list[float]]:
        middleware = for_aiohttp.circuit_breaker_middleware()
        async with aiohttp.ClientSession() as bare, aiohttp.ClientSession(middlewares=[middleware]) as guarded:
            return await interleaved(lambda: read(bare), lambda: read(guarded), rounds)

    return asyncio.run(main())


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server = multiprocessing.Process(target=serve, args=(listener,), daemon=True)
        server.start()
        for name, (bare, guarded) in {
            "httpx": with_httpx(httpx, for_httpx, url, rounds),
            "httpx async": with_async_httpx(httpx, for_httpx, url, rounds),
            "httpx2": with_httpx(httpx2, for_httpx2, url, rounds),
            "httpx2 async": with_async_httpx(httpx2, for_httpx2, url, rounds),
            "requests": with_requests(url, rounds),
            "aiohttp": with_aiohttp(url, rounds),
        }.items():
            before, after = statistics.median(bare), statistics.median(guarded)
            print(f"{name:14}{before * 1e6:8.0f} us bare{after * 1e6:8.0f} us guarded   ratio {after / before:.3f}")
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
