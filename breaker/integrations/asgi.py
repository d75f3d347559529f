"""An ASGI middleware: a `CircuitOpenError` that nobody caught is answered as the standard says, with 503.

It must stand inside whatever turns exceptions into 500: in Starlette and FastAPI, add it with
`app.add_middleware(CircuitBreakerMiddleware)`. WebSockets and lifespan pass through untouched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from breaker import CircuitOpenError
from breaker.integrations.http import problem

__all__ = ["CircuitBreakerMiddleware"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class CircuitBreakerMiddleware:
    """Wraps `app`. An error that comes after the response has started passes through: it cannot be unsaid."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        async def watched(message: _Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (CircuitOpenError, ExceptionGroup) as error:
            rejected = _rejection_in(error)
            if started or rejected is None:
                raise
            body, status, headers = problem(rejected)
            encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": encoded})
            await send({"type": "http.response.body", "body": body})


def _rejection_in(error: Exception) -> CircuitOpenError | None:
    """The `CircuitOpenError` that this is, or the first of a group that holds nothing else."""
    if isinstance(error, CircuitOpenError):
        return error
    first: BaseException = error
    while isinstance(first, ExceptionGroup):
        if first.split(CircuitOpenError)[1] is not None:
            return None
        first = first.exceptions[0]
    return first if isinstance(first, CircuitOpenError) else None
