"""The adapter for requests, apart from what every HTTP client goes through."""

from __future__ import annotations

import gc
import io
import pickle
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from clients import TIMEOUT, half_open, made
from fault_server import BODY, Fault, FaultServer, answer, half_a_body, stall_in_body
from requests.adapters import HTTPAdapter

from breaker import CircuitOpenError, State
from breaker.integrations.requests import CircuitBreakerAdapter, CircuitOpenConnectionError
from breaker.registry import Registry
from breaker.testing import ManualClock


@pytest.fixture
def registry(clock: ManualClock) -> Registry:
    return made(clock)


@pytest.fixture
def session(registry: Registry) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("http://", CircuitBreakerAdapter(registry=registry))
        yield session


def test_a_rejection_is_both_errors_and_keeps_its_facts_through_a_pickle(
    session: requests.Session, registry: Registry, server: FaultServer
) -> None:
    server.fault = answer(503, b"no")
    session.get(server.url)
    with pytest.raises(requests.ConnectionError) as caught:
        session.get(server.url)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert isinstance(error, CircuitOpenError)
        assert isinstance(error, CircuitOpenConnectionError)
        assert (error.breaker_name, error.state, error.retry_after) == (server.origin, State.OPEN, 10)
        assert error.report is not None
        assert error.request is not None
        assert error.request.url == server.url
        assert str(error).startswith(f"circuit '{server.origin}' is OPEN, retry in 10.0 s")


def copied(raw: Any) -> bytes:
    file = io.BytesIO()
    shutil.copyfileobj(raw, file, 4096)
    return file.getvalue()


def read_into(raw: Any) -> bytes:
    return io.BufferedReader(raw).read()


WAYS: list[Callable[[Any], bytes]] = [copied, read_into, b"".join, lambda raw: b"".join(raw.stream(4096))]


@pytest.mark.parametrize("way", WAYS)
def test_the_raw_body_is_judged_too(
    way: Callable[[Any], bytes], session: requests.Session, registry: Registry, server: FaultServer, clock: ManualClock
) -> None:
    half_open(registry[server.origin], clock)
    response = session.get(server.url, stream=True, timeout=TIMEOUT)
    assert registry[server.origin].state is State.HALF_OPEN
    assert way(response.raw) == BODY
    assert registry[server.origin].state is State.CLOSED


@pytest.mark.parametrize("fault", [half_a_body, stall_in_body])
@pytest.mark.parametrize("way", WAYS)
def test_a_raw_body_that_breaks_off_is_a_failure(
    way: Callable[[Any], bytes], fault: Fault, session: requests.Session, registry: Registry, server: FaultServer
) -> None:
    server.fault = fault
    with session.get(server.url, stream=True, timeout=TIMEOUT) as response, pytest.raises(Exception, match=r"."):
        way(response.raw)
    assert registry[server.origin].state is State.OPEN


def test_a_chunked_body_that_breaks_off_is_a_failure(
    session: requests.Session, registry: Registry, server: FaultServer
) -> None:
    def half_a_chunk(server: FaultServer, connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe")

    server.fault = half_a_chunk
    with session.get(server.url, stream=True) as response, pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(response.iter_content(5))
    assert registry[server.origin].state is State.OPEN


def test_a_hook_that_raises_leaves_no_permit_behind(
    session: requests.Session, registry: Registry, server: FaultServer, clock: ManualClock
) -> None:
    def raise_for_status(response: requests.Response, **kwargs: Any) -> None:
        response.raise_for_status()

    half_open(registry[server.origin], clock)
    server.fault = answer(404)
    with pytest.raises(requests.HTTPError) as caught:
        session.get(server.url, hooks={"response": raise_for_status})
    assert registry[server.origin].state is State.CLOSED
    del caught


def test_a_response_dropped_unread_gives_its_probe_back(
    session: requests.Session, registry: Registry, server: FaultServer, clock: ManualClock
) -> None:
    server.fault = stall_in_body
    half_open(registry[server.origin], clock)
    response = session.get(server.url, stream=True)
    with pytest.warns(ResourceWarning, match="dropped without"):
        del response
        gc.collect()
    server.fault = answer()
    assert session.get(server.url).content == BODY
    assert registry[server.origin].state is State.CLOSED


def test_is_an_adapter_with_all_its_arguments(server: FaultServer) -> None:
    adapter = CircuitBreakerAdapter(pool_connections=3, pool_maxsize=2, max_retries=2, pool_block=True)
    assert isinstance(adapter, HTTPAdapter)
    assert adapter.max_retries.total == 2
    adapter.close()
    assert list(adapter.registry) == []


def test_retries_of_the_adapter_are_one_call(server: FaultServer) -> None:
    adapter = CircuitBreakerAdapter(max_retries=2, failure_threshold=2)
    server.refuse()
    with requests.Session() as session:
        session.mount("http://", adapter)
        with pytest.raises(requests.ConnectionError):
            session.get(server.url)
    assert adapter.registry[server.origin].failure_count == 1


def test_a_session_with_breakers_is_not_pickled_into_one_that_cannot_send() -> None:
    with requests.Session() as session:
        session.mount("http://", CircuitBreakerAdapter())
        with pytest.raises(TypeError, match="shared, not pickled"):
            pickle.dumps(session)


def test_a_setting_that_is_never_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="record_result is never asked here"):
        CircuitBreakerAdapter(record_result=bool)
