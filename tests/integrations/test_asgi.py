"""The ASGI middleware, on a real uvicorn, under Starlette, FastAPI and none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fastapi
import httpx
import pytest
import starlette.applications
import starlette.routing
import uvicorn

from breaker import CircuitBreaker, CircuitOpenError, State
from breaker.integrations.asgi import CircuitBreakerMiddleware
from breaker.testing import ManualClock

PROBLEM = {"type": "about:blank", "title": "Service Unavailable", "status": 503}


def opened() -> CircuitBreaker:
    return CircuitBreaker("secret", recovery_timeout=6.5, initial_state=State.OPEN, clock=ManualClock())


async def plain(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError  # an app without lifespan, which the middleware must not hide
    if scope["path"] == "/fine":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})
    elif scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        opened().call(str)
    elif scope["path"] == "/group":
        raise ExceptionGroup("fan-out", [ExceptionGroup("inner", [CircuitOpenError("a", State.OPEN, 6.5, None)])])
    elif scope["path"] == "/mixed":
        raise ExceptionGroup("fan-out", [CircuitOpenError("a", State.OPEN, 6.5, None), OSError()])
    elif scope["path"] == "/forced":
        raise CircuitOpenError("secret", State.FORCED_OPEN, None, None)
    else:
        opened().call(str)


async def receive_nothing() -> Any:
    raise AssertionError("nobody reads the request")


def in_starlette() -> Any:
    async def reject(request: Any) -> None:
        opened().call(str)

    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/", reject)])
    app.add_middleware(CircuitBreakerMiddleware)
    return app


def in_fastapi() -> Any:
    app = fastapi.FastAPI()
    app.add_middleware(CircuitBreakerMiddleware)

    @app.get("/")
    def reject() -> None:
        opened().call(str)

    return app


@contextmanager
def served(app: Any) -> Iterator[str]:
    """`app` on a real uvicorn, in a thread."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(app, log_level="critical", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert started.wait(10)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("make", [lambda: CircuitBreakerMiddleware(plain), in_starlette, in_fastapi])
def test_a_rejection_that_nobody_caught_is_a_503(make: Callable[[], Any]) -> None:
    with served(make()) as url:
        response = httpx.get(url)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "7"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == PROBLEM
    assert "secret" not in response.text + str(response.headers)


@pytest.mark.parametrize(("path", "status"), [("/group", 503), ("/mixed", 500)])
def test_a_group_of_nothing_but_rejections_is_one(path: str, status: int) -> None:
    with served(CircuitBreakerMiddleware(plain)) as url:
        assert httpx.get(f"{url}{path}").status_code == status


def test_without_a_time_there_is_no_retry_after() -> None:
    with served(CircuitBreakerMiddleware(plain)) as url:
        response = httpx.get(f"{url}/forced")
    assert response.status_code == 503
    assert "retry-after" not in response.headers


def test_what_is_fine_passes_through() -> None:
    with served(CircuitBreakerMiddleware(plain)) as url:
        assert httpx.get(f"{url}/fine").text == "fine"


def test_a_response_that_has_started_is_not_said_twice() -> None:
    said: list[str] = []

    async def send(message: Any) -> None:
        said.append(message["type"])

    coroutine = CircuitBreakerMiddleware(plain)({"type": "http", "path": "/late"}, receive_nothing, send)
    with pytest.raises(CircuitOpenError):
        coroutine.send(None)
    assert said == ["http.response.start", "http.response.body"]


def test_a_response_that_has_started_breaks_off() -> None:
    with served(CircuitBreakerMiddleware(plain)) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/late")


def test_a_websocket_is_left_alone() -> None:
    async def reject(scope: Any, receive: Any, send: Any) -> None:
        opened().call(str)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    coroutine = CircuitBreakerMiddleware(reject)({"type": "websocket"}, receive_nothing, send)
    with pytest.raises(CircuitOpenError):
        coroutine.send(None)
