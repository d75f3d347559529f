"""What goes wrong around the exchange itself: rejections, broken classifiers, settings that cannot work."""

from __future__ import annotations

import pytest
from clients import KITS, Kit, made
from fault_server import FaultServer, answer

from breaker import CircuitBreaker
from breaker.registry import Registry
from breaker.testing import ManualClock

pytestmark = pytest.mark.parametrize("kit", KITS, ids=repr)


def test_a_bad_status_is_a_failure_and_its_retry_after_heeded_whatever_the_breaker_was_told_to_record(
    kit: Kit, server: FaultServer, clock: ManualClock
) -> None:
    def make(key: str) -> CircuitBreaker:
        return CircuitBreaker(
            key, failure_threshold=1, record_exceptions=KeyError, retry_after=lambda failure: 1.0, clock=clock
        )

    registry = Registry(make)
    server.fault = answer(503, Retry_After=300)

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            await client.get(server.url)
            with pytest.raises(kit.rejected) as rejected:
                await client.get(server.url)
            assert rejected.value.retry_after == 300.0

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
