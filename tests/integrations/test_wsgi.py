"""The WSGI middleware, on a real server, plain and under Flask and Django."""

from __future__ import annotations

import io
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.util import FileWrapper

import django.conf
import django.core.wsgi
import django.http
import django.urls
import flask
import httpx
import pytest

from breaker import CircuitBreaker, CircuitOpenError, State
from breaker.integrations.wsgi import CircuitBreakerMiddleware, problem
from breaker.testing import ManualClock

PROBLEM = {"type": "about:blank", "title": "Service Unavailable", "status": 503}


def reject(*_: Any) -> Any:
    CircuitBreaker("secret", recovery_timeout=6.5, initial_state=State.OPEN, clock=ManualClock()).call(str)


def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return reject()  # type: ignore[no-any-return]  # it raises


def begun(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Raises after it has said 200, but before the first byte: the server has sent nothing."""
    start_response("200 OK", [])
    yield reject()


class InDjango:
    """What the module's text advises for Django."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_exception(self, request: Any, error: Exception) -> Any:
        if not isinstance(error, CircuitOpenError):
            return None
        body, status, headers = problem(error)
        return django.http.HttpResponse(body, status=status, headers=headers)


urlpatterns = [django.urls.path("", reject)]


@pytest.fixture(scope="module", autouse=True)
def django_settings() -> None:
    if not django.conf.settings.configured:
        django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="-", LOGGING_CONFIG=None)


def in_flask(propagate: bool) -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/", view_func=reject)
    if propagate:
        app.config["PROPAGATE_EXCEPTIONS"] = True
        app.wsgi_app = CircuitBreakerMiddleware(app.wsgi_app)  # type: ignore[method-assign]  # as Flask advises
    else:
        app.register_error_handler(CircuitOpenError, problem)
    return app


def in_django(propagate: bool) -> Any:
    django.conf.settings.DEBUG_PROPAGATE_EXCEPTIONS = propagate
    django.conf.settings.MIDDLEWARE = [] if propagate else [f"{__name__}.InDjango"]
    app = django.core.wsgi.get_wsgi_application()
    return CircuitBreakerMiddleware(app) if propagate else app


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(app: Any) -> Iterator[str]:
    with wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CircuitBreakerMiddleware(plain),
        lambda: CircuitBreakerMiddleware(begun),
        lambda: in_flask(propagate=True),
        lambda: in_flask(propagate=False),
        lambda: in_django(propagate=True),
        lambda: in_django(propagate=False),
    ],
    ids=["plain", "begun", "flask", "flask-handler", "django", "django-handler"],
)
def test_a_rejection_that_nobody_caught_is_a_503(make: Callable[[], Any]) -> None:
    with served(make()) as url:
        response = httpx.get(url)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "7"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == PROBLEM
    assert "secret" not in response.text + str(response.headers)


class Server:
    """The server's side of WSGI, as much as a test needs."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.written: list[bytes] = []

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        self.said.append(status)
        return self.written.append


@pytest.mark.parametrize("with_write", [False, True])
def test_a_response_that_has_started_is_not_said_twice(with_write: bool) -> None:
    def late(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        if with_write:
            write(b"half")
        else:
            yield b"half"
        reject()

    server = Server()
    with pytest.raises(CircuitOpenError):
        list(CircuitBreakerMiddleware(late)({}, server.start_response))
    assert server.said == ["200 OK"]


def test_the_app_s_body_is_closed_and_passes_as_it_is() -> None:
    class Body(list[bytes]):
        closed = False

        def close(self) -> None:
            self.closed = True

    body = Body([b"a", b"b"])
    answer: Any = CircuitBreakerMiddleware(lambda environ, start_response: body)({}, Server().start_response)
    assert list(answer) == [b"a", b"b"]
    answer.close()
    assert body.closed


def test_a_file_stays_one_that_the_server_can_send_its_own_way() -> None:
    file = FileWrapper(io.BytesIO(b"file"))
    app = CircuitBreakerMiddleware(lambda environ, start_response: file)
    assert app({"wsgi.file_wrapper": FileWrapper}, Server().start_response) is file
