"""A WSGI middleware: a `CircuitOpenError` that nobody caught is answered as the standard says, with 503.

Flask and Django turn exceptions into 500 before a middleware sees them. In Flask, let `problem` answer:
`app.register_error_handler(CircuitOpenError, problem)`; in Django, call it in `process_exception`. Where
they let exceptions out (`PROPAGATE_EXCEPTIONS`, `DEBUG_PROPAGATE_EXCEPTIONS`) this middleware does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from breaker import CircuitOpenError
from breaker.integrations.http import problem

__all__ = ["CircuitBreakerMiddleware", "problem"]

_StartResponse = Callable[..., Callable[[bytes], object]]
_App = Callable[[dict[str, Any], _StartResponse], Iterable[bytes]]


class CircuitBreakerMiddleware:
    """Wraps `app`. An error that comes after the first bytes were sent passes through: they cannot be unsaid."""

    def __init__(self, app: _App) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        answer = _Answer(start_response)
        try:
            body = self._app(environ, answer.start_response)
        except CircuitOpenError as error:
            return answer.replaced(error)
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
            return body  # a file; the server may have a short way to send it
        answer.body = body
        return answer


class _Answer:
    """A response whose headers the server still holds back until the first bytes of the body."""

    def __init__(self, start_response: _StartResponse) -> None:
        self._start_response, self._sent = start_response, False
        self.body: Iterable[bytes] = ()

    def start_response(self, *args: Any, **kwargs: Any) -> Callable[[bytes], object]:
        write = self._start_response(*args, **kwargs)

        def watched(data: bytes) -> None:
            self._sent = True
            write(data)

        return watched

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self.body:
                self._sent = self._sent or bool(chunk)
                yield chunk
        except CircuitOpenError as error:
            yield from self.replaced(error)

    def close(self) -> None:
        close = getattr(self.body, "close", None)
        if close is not None:
            close()

    def replaced(self, error: CircuitOpenError) -> Iterable[bytes]:
        """The problem instead of the response. Raises `error` when that has started."""
        if self._sent:
            raise error
        body, status, headers = problem(error)
        # exc_info is the leave to replace the headers of a response that was begun but not sent.
        self._start_response(f"{status} Service Unavailable", list(headers.items()), sys.exc_info())
        return [body]
