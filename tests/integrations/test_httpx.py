"""The transports for httpx and httpx2, apart from what every HTTP client goes through."""

from __future__ import annotations

import asyncio
import gc
import pickle
from typing import Any

import httpx
import httpx2
import pytest
import trio
from clients import half_open, made
from fault_server import BODY, FaultServer, answer, stall_in_body

import breaker.integrations.httpx as for_httpx
import breaker.integrations.httpx2 as for_httpx2
from breaker import CircuitBreaker, CircuitOpenError, State
from breaker.registry import Registry
from breaker.testing import ManualClock

pytestmark = pytest.mark.parametrize(
    ("library", "integration"), [(httpx, for_httpx), (httpx2, for_httpx2)], ids=["httpx", "httpx2"]
)


def test_a_rejection_is_both_errors_and_keeps_its_facts_through_a_pickle(
    library: Any, integration: Any, server: FaultServer, clock: ManualClock
) -> None:
    server.fault = answer(503, b"no")
    transport = integration.CircuitBreakerTransport(failure_threshold=1, recovery_timeout=10, clock=clock)
    with library.Client(transport=transport) as client:
        client.get(server.url)
        with pytest.raises(library.TransportError) as caught:
            client.get(server.url)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert isinstance(error, CircuitOpenError)
        assert isinstance(error, integration.CircuitOpenTransportError)
        assert (error.breaker_name, error.state, error.retry_after) == (server.origin, State.OPEN, 10)
        assert error.report is not None
        assert str(error.request.url) == server.url
        assert str(error).startswith(f"circuit '{server.origin}' is OPEN, retry in 10.0 s")


def test_a_request_that_cannot_be_sent_says_nothing_of_the_host(
    library: Any, integration: Any, server: FaultServer, clock: ManualClock
) -> None:
    registry = made(clock)
    with library.Client(transport=integration.CircuitBreakerTransport(registry=registry)) as client:
        with pytest.raises(library.LocalProtocolError):
            client.get(server.url, headers={"no header": "at all"})
        assert registry[server.origin].statistics().ignored == 1
        assert registry[server.origin].state is State.CLOSED


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_an_async_response_dropped_unread_gives_its_probe_back(
    library: Any, integration: Any, run: Any, server: FaultServer, clock: ManualClock
) -> None:
    registry = made(clock)

    async def scenario() -> None:
        transport = integration.AsyncCircuitBreakerTransport(registry=registry)
        async with library.AsyncClient(transport=transport) as client:
            server.fault = stall_in_body
            half_open(registry[server.origin], clock)
            response = await client.send(client.build_request("GET", server.url), stream=True)
            with pytest.warns(ResourceWarning, match="dropped without"):
                del response
                gc.collect()
            server.fault = answer()
            assert (await client.get(server.url)).content == BODY

    run(scenario) if run is trio.run else run(scenario())
    assert registry[server.origin].state is State.CLOSED


def test_a_response_dropped_unread_gives_its_probe_back(
    library: Any, integration: Any, server: FaultServer, clock: ManualClock
) -> None:
    registry = made(clock)
    with library.Client(transport=integration.CircuitBreakerTransport(registry=registry)) as client:
        server.fault = stall_in_body
        half_open(registry[server.origin], clock)
        response = client.send(client.build_request("GET", server.url), stream=True)
        with pytest.warns(ResourceWarning, match="dropped without"):
            del response
            gc.collect()
        server.fault = answer()
        assert client.get(server.url).content == BODY
    assert registry[server.origin].state is State.CLOSED


def test_wraps_any_transport_and_closes_it(library: Any, integration: Any) -> None:
    class Inner(library.BaseTransport):  # type: ignore[misc,name-defined]  # a base known at run time
        closed = False

        def handle_request(self, request: Any) -> Any:
            return library.Response(200, text="inner")

        def close(self) -> None:
            self.closed = True

    inner = Inner()
    transport = integration.CircuitBreakerTransport(inner)
    with library.Client(transport=transport) as client:
        assert client.get("HTTP://Example.COM:80/a").text == "inner"
        assert client.get("http://example.com/b").text == "inner"
        assert client.get("https://example.com:444/").text == "inner"
        assert client.get("http://[::1]/").text == "inner"
        assert client.get("https://bücher.example/").text == "inner"
    assert inner.closed
    assert list(transport.registry) == [
        "http://example.com",
        "https://example.com:444",
        "http://[::1]",
        "https://xn--bcher-kva.example",
    ]


def test_breakers_of_the_user_s_own_factory_are_used(
    library: Any, integration: Any, server: FaultServer, clock: ManualClock
) -> None:
    registry = Registry(lambda key: CircuitBreaker(f"to {key}", failure_threshold=1, clock=clock))
    server.fault = answer(503, b"no", retry_after=300)
    with library.Client(transport=integration.CircuitBreakerTransport(registry=registry)) as client:
        client.get(server.url)
        with pytest.raises(integration.CircuitOpenTransportError, match="to http://127"):
            client.get(server.url)
