"""Scenarios that every HTTP client goes through, against a real server on real sockets."""

from __future__ import annotations

import gc
import time
import warnings
from contextlib import aclosing
from email.utils import formatdate
from typing import Any

import pytest
from clients import KITS, Kit, half_open, made, read
from fault_server import (
    BODY,
    Fault,
    FaultServer,
    answer,
    half_a_body,
    reset,
    reset_in_body,
    stall,
    stall_in_body,
)

from breaker import CircuitOpenError, State
from breaker.testing import ManualClock

pytestmark = pytest.mark.parametrize("kit", KITS, ids=repr)


def test_goes_through_a_whole_outage(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    async def scenario() -> None:
        async with kit.client(failure_threshold=3, recovery_timeout=10, clock=clock) as client:

            async def fails(error: Any) -> None:
                with pytest.raises(error) as caught:
                    await client.get(server.url)
                assert isinstance(caught.value, CircuitOpenError) is (error is kit.rejected)

            assert await client.get(server.url) == (200, BODY)
            assert server.requests == 1

            server.refuse()
            for _ in range(3):
                await fails(kit.transport_error)
            await fails(kit.rejected)
            server.recover()
            await fails(kit.rejected)
            assert server.requests == 1

            clock.advance(10)
            server.fault = answer(503, b"later", retry_after=60)
            assert await client.get(server.url) == (503, b"later")
            assert server.requests == 2
            clock.advance(59)
            await fails(kit.rejected)
            assert server.requests == 2

            clock.advance(1)
            server.fault = half_a_body
            await fails(kit.transport_error)
            await fails(kit.rejected)
            assert server.requests == 3

            clock.advance(10)
            server.fault = answer()
            for _ in range(2):
                assert await client.get(server.url) == (200, BODY)
            server.fault = half_a_body
            for _ in range(3):
                await fails(kit.transport_error)
            await fails(kit.rejected)
            assert server.requests == 8

            clock.advance(10)
            server.fault = answer()
            assert await client.get(server.url) == (200, BODY)
            assert server.requests == 9

    kit.run(scenario)


@pytest.mark.parametrize("fault", [stall, stall_in_body, reset, reset_in_body, half_a_body])
@pytest.mark.parametrize("way", ["get", "stream"])
def test_an_answer_that_stalls_or_breaks_off_is_a_failure(
    kit: Kit, way: str, fault: Fault, server: FaultServer, clock: ManualClock
) -> None:
    server.fault = fault
    registry = made(clock)

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            with pytest.raises(kit.transport_error):
                await (client.get if way == "get" else lambda url: read(client, url))(server.url)
        assert registry[server.origin].state is State.OPEN

    kit.run(scenario)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_these_statuses_are_failures(kit: Kit, status: int, server: FaultServer, clock: ManualClock) -> None:
    server.fault = answer(status, b"no")
    registry = made(clock)

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            assert await client.get(server.url) == (status, b"no")

    kit.run(scenario)
    report = registry[server.origin].last_trip
    assert report is not None
    assert f"HTTP {status}" in str(report.last_exception)


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 404, 501])
def test_other_statuses_are_successes(kit: Kit, status: int, server: FaultServer, clock: ManualClock) -> None:
    server.fault = answer(status, b"")
    registry = made(clock)

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            assert await client.get(server.url) == (status, b"")

    kit.run(scenario)
    assert registry[server.origin].statistics().successes == 1


def test_the_statuses_that_are_failures_can_be_chosen(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    registry = made(clock)

    async def scenario() -> None:
        async with kit.client(registry=registry, failure_statuses={404}) as client:
            server.fault = answer(503, b"no")
            await client.get(server.url)
            assert registry[server.origin].state is State.CLOSED
            server.fault = answer(404, b"no")
            await client.get(server.url)
            assert registry[server.origin].state is State.OPEN

    kit.run(scenario)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_as_a_date_lengthens_the_open_period(
    kit: Kit, status: int, server: FaultServer, clock: ManualClock
) -> None:
    registry = made(clock)

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            server.fault = answer(status, b"no", retry_after=formatdate(time.time() + 300, usegmt=True))
            await client.get(server.url)

    kit.run(scenario)
    wait = registry[server.origin].retry_after
    assert wait is not None
    assert 290 < wait <= 300


def test_retry_after_on_another_failure_is_not_heeded(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    server.fault = answer(500, b"no", retry_after=300)
    registry = made(clock)

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            await client.get(server.url)

    kit.run(scenario)
    assert registry[server.origin].retry_after == 10


def test_a_probe_holds_its_place_until_the_body_ends(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    registry = made(clock)
    server.fault = stall_in_body

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            half_open(registry[server.origin], clock)
            response = await client.begin(server.url)
            assert registry[server.origin].state is State.HALF_OPEN
            with pytest.raises(kit.rejected):
                await client.get(server.url)
            await client.end(response)
            assert registry[server.origin].state is State.CLOSED
        assert server.requests == 1

    kit.run(scenario)


# On Trio, httpx and httpcore leave their own generators unfinished when a stream is closed early, with any transport.
@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")
def test_a_stream_closed_early_by_its_reader_is_a_success(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    registry = made(clock)
    server.fault = stall_in_body  # were the body read ahead, this would time out

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            half_open(registry[server.origin], clock)
            async with aclosing(client.stream(server.url)) as chunks:
                assert await anext(chunks)
            assert registry[server.origin].state is State.CLOSED

    kit.run(scenario)


def test_a_redirect_to_another_host_is_judged_by_that_host_s_breaker(
    kit: Kit, server: FaultServer, other_server: FaultServer, clock: ManualClock
) -> None:
    registry = made(clock)
    server.fault = answer(302, b"there", location=other_server.url)
    other_server.fault = answer(500, b"no")

    async def scenario() -> None:
        async with kit.client(registry=registry) as client:
            assert await client.get(server.url) == (500, b"no")
            with pytest.raises(kit.rejected) as caught:
                await client.get(server.url)
            assert isinstance(caught.value, CircuitOpenError)
            assert caught.value.breaker_name == other_server.origin

    kit.run(scenario)
    assert registry[server.origin].statistics().successes == 2
    assert registry[other_server.origin].state is State.OPEN
    assert (server.requests, other_server.requests) == (2, 1)


def test_a_key_function_chooses_the_breaker(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    registry = made(clock)
    server.fault = answer(500, b"no")

    async def scenario() -> None:
        async with kit.client(registry=registry, key=lambda request: (request.method, "all")) as client:
            await client.get(server.url)

    kit.run(scenario)
    assert list(registry) == [("GET", "all")]
    assert registry["GET", "all"].state is State.OPEN


def test_no_warning_is_left_behind(kit: Kit, server: FaultServer, clock: ManualClock) -> None:
    async def scenario() -> None:
        async with kit.client() as client:
            for _ in range(3):
                assert await client.get(server.url) == (200, BODY)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kit.run(scenario)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
