"""The client middleware for aiohttp, apart from what every HTTP client goes through."""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
import warnings
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from clients import half_open, made
from fault_server import BODY, FaultServer, answer, half_a_body, stall, stall_in_body

from breaker import CircuitOpenError, State
from breaker.integrations.aiohttp import CircuitOpenConnectionError, circuit_breaker_middleware
from breaker.registry import Registry
from breaker.testing import ManualClock


@pytest.fixture
def registry(clock: ManualClock) -> Registry:
    return made(clock)


def run(registry: Registry, scenario: Callable[[aiohttp.ClientSession], Any], **options: Any) -> None:
    async def main() -> None:
        middleware = circuit_breaker_middleware(registry=registry)
        async with asyncio.timeout(5), aiohttp.ClientSession(middlewares=[middleware], **options) as session:
            await scenario(session)

    asyncio.run(main())


def test_a_rejection_is_both_errors_and_keeps_its_facts_through_a_pickle(
    registry: Registry, server: FaultServer
) -> None:
    server.fault = answer(503, b"no")

    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.get(server.url):
            pass
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            await session.get(server.url)
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert isinstance(error, CircuitOpenError)
            assert isinstance(error, CircuitOpenConnectionError)
            assert (error.breaker_name, error.state, error.retry_after) == (server.origin, State.OPEN, 10)
            assert error.report is not None
            assert str(error).startswith(f"circuit '{server.origin}' is OPEN, retry in 10.0 s")

    run(registry, scenario)


@pytest.fixture
def silent_port() -> Any:
    """A port whose connections are never made: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for other in waiting:
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for other in waiting:
            other.close()


def test_a_host_that_never_lets_itself_be_connected_is_a_failure_under_a_total_timeout(
    registry: Registry, silent_port: int
) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        with pytest.raises(TimeoutError):
            await session.get(f"http://127.0.0.1:{silent_port}/")
        assert registry[f"http://127.0.0.1:{silent_port}"].state is State.OPEN

    run(registry, scenario, timeout=aiohttp.ClientTimeout(total=0.2))


@pytest.mark.parametrize("fault", [stall, stall_in_body])
def test_a_read_timeout_is_a_failure(fault: Any, registry: Registry, server: FaultServer) -> None:
    server.fault = fault

    async def scenario(session: aiohttp.ClientSession) -> None:
        with pytest.raises(aiohttp.SocketTimeoutError):
            await (await session.get(server.url)).read()
        assert registry[server.origin].state is State.OPEN

    run(registry, scenario, timeout=aiohttp.ClientTimeout(sock_read=0.2))


@pytest.mark.parametrize(
    "read",
    [
        lambda content: content.read(),
        lambda content: content.readexactly(len(BODY)),
        lambda content: collected(content.iter_any()),
        lambda content: collected(content.iter_chunked(100)),
        lambda content: collected(chunk async for chunk, _ in content.iter_chunks()),
    ],
)
def test_every_way_to_read_a_body_is_judged(read: Any, registry: Registry, server: FaultServer) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.get(server.url) as response:
            assert await read(response.content) == BODY
        assert registry[server.origin].statistics().successes == 1
        server.fault = half_a_body
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(server.url) as response:
                await read(response.content)
        assert registry[server.origin].state is State.OPEN

    run(registry, scenario)


async def collected(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def test_lines_can_be_read(registry: Registry, server: FaultServer) -> None:
    server.fault = answer(200, b"one\ntwo\n")

    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.get(server.url) as response:
            assert [line async for line in response.content] == [b"one\n", b"two\n"]

    run(registry, scenario)


def test_a_body_found_broken_when_the_response_is_closed_is_a_failure(registry: Registry, server: FaultServer) -> None:
    server.fault = stall_in_body

    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.get(server.url) as response:
            await response.content.readany()
            server.over.set()
            connection = response.connection
            assert connection is not None
            while connection.transport is not None:  # until the end is received, which nobody is reading
                await asyncio.sleep(0)
        assert registry[server.origin].state is State.OPEN

    run(registry, scenario)


def test_a_response_dropped_unread_gives_its_probe_back_when_its_connection_ends(
    registry: Registry, server: FaultServer, clock: ManualClock
) -> None:
    server.fault = stall_in_body

    async def scenario(session: aiohttp.ClientSession) -> None:
        half_open(registry[server.origin], clock)
        response = await session.get(server.url)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del response
            server.over.set()
            while not caught:
                await asyncio.sleep(0)
                gc.collect()
        assert "dropped without" in str(caught[0].message)
        server.fault = answer()
        async with session.get(server.url) as response:
            assert await response.read() == BODY
        assert registry[server.origin].state is State.CLOSED

    run(registry, scenario)


def test_raise_for_status_leaves_no_permit_behind(registry: Registry, server: FaultServer, clock: ManualClock) -> None:
    server.fault = answer(404)

    async def scenario(session: aiohttp.ClientSession) -> None:
        half_open(registry[server.origin], clock)
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(server.url)
        assert registry[server.origin].state is State.CLOSED

    run(registry, scenario, raise_for_status=True)
