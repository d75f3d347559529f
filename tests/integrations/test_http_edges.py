"""What goes wrong around the exchange itself: rejections, broken classifiers, settings that cannot work."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import pytest
from clients import KITS, Kit, made
from fault_server import FaultServer, head

from breaker.registry import Registry
from breaker.testing import ManualClock

pytestmark = pytest.mark.parametrize("kit", KITS, ids=repr)


def test_a_classifier_that_raises_reaches_the_caller_and_leaves_no_connection_open(
    kit: Kit, server: FaultServer, clock: ManualClock
) -> None:
    def broken(failure: object) -> None:
        raise LookupError("classifier")

    def never_done(server: FaultServer, connection: Any) -> None:
        connection.sendall(head(503, 10))
        if not connection.recv(1):
            server.reached.set()  # the client hung up

    server.fault = never_done

    async def scenario() -> None:
        async with kit.client(retry_after=broken, failure_threshold=1, clock=clock) as client:
            with pytest.raises(LookupError, match="classifier"):
                await client.get(server.url)
            assert await anyio.to_thread.run_sync(server.reached.wait, 5)
            with pytest.raises(kit.rejected):
                await client.get(server.url)

    kit.run(scenario)


def test_a_rejection_leaves_nothing_for_the_collector(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    registry = made(clock)
    registry[server.origin].force_open()

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            caught = None
            try:
                await client.get(server.url)
            except kit.rejected as error:
                caught = error
            assert caught is not None
            frames = []
            trace = caught.__traceback__
            while trace is not None:
                frames.append(trace.tb_frame)
                trace = trace.tb_next
            ours = [frame for frame in frames if "breaker/integrations" in frame.f_code.co_filename]
            assert ours
            assert not any(value is caught for frame in ours for value in frame.f_locals.values())
            assert caught.__context__ is None or caught.__context__.__traceback__ is not caught.__traceback__
            del caught, frames, ours, trace

    kit.run(scenario)


def test_settings_and_a_registry_together_are_refused(kit: Kit) -> None:
    async def scenario() -> None:
        for settings, said in (
            ({"registry": Registry(), "failure_threshold": 3}, "not both: failure_threshold"),
            ({"registry": {}}, "must be a Registry, got {}"),
            ({"key": "host"}, "got 'host'"),
        ):
            with pytest.raises(TypeError, match=said):
                async with kit.client(**settings):
                    pass

    kit.run(scenario)


def test_settings_that_cannot_work_are_refused_when_the_client_is_made(kit: Kit) -> None:
    async def scenario() -> None:
        for settings, said in (({"failure_threshold": 0}, "got 0"), ({"failure_statuses": [5000]}, "got 5000")):
            with pytest.raises(ValueError, match=said):
                async with kit.client(**settings):
                    pass

    kit.run(scenario)
