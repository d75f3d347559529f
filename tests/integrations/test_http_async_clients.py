"""Async HTTP clients: cancellation, on asyncio and on Trio, and registries shared with blocking clients."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest
from clients import ASYNC_KITS, KITS, Kit, half_open, made, read
from fault_server import BODY, Fault, FaultServer, answer, stall, stall_in_body

from breaker import State
from breaker.testing import ManualClock

pytestmark = pytest.mark.parametrize("kit", ASYNC_KITS, ids=repr)


@pytest.mark.parametrize(("fault", "way"), [(stall, "get"), (stall_in_body, "get"), (stall_in_body, "stream")])
def test_a_cancelled_probe_is_neutral_and_comes_back(
    kit: Kit, fault: Fault, way: str, server: FaultServer, clock: ManualClock
) -> None:
    registry = made(clock)
    server.fault = fault

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            half_open(registry[server.origin], clock)
            breaker = registry[server.origin]
            before = breaker.statistics()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get if way == "get" else lambda url: read(client, url), server.url)
                await anyio.to_thread.run_sync(server.reached.wait)
                tasks.cancel_scope.cancel()
            after = breaker.statistics()
            assert (after.calls, after.ignored, after.state) == (before.calls, before.ignored + 1, State.HALF_OPEN)
            server.fault = answer()
            assert await client.get(server.url) == (200, BODY)
            assert breaker.state is State.CLOSED

    kit.run(scenario)


def test_sync_and_async_clients_share_a_registry(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    registry = made(clock, threshold=len(KITS))
    server.fault = answer(500, b"no")

    for other in KITS:

        async def scenario(other: Kit = other) -> None:
            async with other.client(registry=registry) as client:
                await client.get(server.url)

        other.run(scenario)
    assert list(registry) == [server.origin]

    async def rejected() -> None:
        async with kit.client(registry=registry) as client:
            with pytest.raises(kit.rejected):
                await client.get(server.url)

    kit.run(rejected)
    assert server.requests == len(KITS)
