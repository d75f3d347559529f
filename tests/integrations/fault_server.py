"""A real HTTP server on loopback that misbehaves on demand: each request is met by the fault that is set now.

It counts the requests that reached it. A fault is a function of the connection; `refuse` and `recover`
close and open the port itself.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

Fault = Callable[["FaultServer", socket.socket], None]
BODY = b"x" * 60_000  # more than the client reads at once, so that a body ends later than its head


def answer(status: int = 200, body: bytes = BODY, **headers: Any) -> Fault:
    """A whole answer."""

    def send(server: FaultServer, connection: socket.socket) -> None:
        connection.sendall(head(status, len(body), **headers) + body)

    return send


def half_a_body(server: FaultServer, connection: socket.socket) -> None:
    """The head, half of what it promises, and the end of the connection."""
    connection.sendall(head(200, len(BODY)) + BODY[: len(BODY) // 2])


def stall(server: FaultServer, connection: socket.socket) -> None:
    """Nothing, until the test is over."""
    server.reached.set()
    server.over.wait()


def stall_in_body(server: FaultServer, connection: socket.socket) -> None:
    """The head, half of the body, and nothing more until the test is over."""
    half_a_body(server, connection)
    server.reached.set()
    server.over.wait()


def reset(server: FaultServer, connection: socket.socket) -> None:
    """A TCP reset instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_in_body(server: FaultServer, connection: socket.socket) -> None:
    """The head, half of the body, and a TCP reset."""
    half_a_body(server, connection)
    reset(server, connection)


def head(status: int, length: int, **headers: Any) -> bytes:
    lines = {"content-length": length, "connection": "close", **headers}
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Something\r\n{text}\r\n".encode()


class FaultServer:
    """Listens at once. `close` it: it waits for its threads."""

    def __init__(self) -> None:
        self.fault: Fault = answer()
        self.requests = 0
        self.reached, self.over = threading.Event(), threading.Event()
        self._port = 0
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.recover()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/path"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """From now on nobody listens at the port."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            self._listener.close()
            self._listener = None

    def recover(self) -> None:
        """Listen, at the same port as before."""
        self._listener = listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._start(self._accept, listener)

    def close(self) -> None:
        self.over.set()
        self.refuse()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            if _request(connection):
                self.requests += 1
                self.fault(self, connection)


def _request(connection: socket.socket) -> bytes:
    """One request, with its body if it has a Content-Length; nothing when the client went away."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    length = re.search(rb"(?i)content-length: *(\d+)", data)
    missing = data.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0) - len(data)
    while missing > 0:
        missing -= len(connection.recv(65536)) or missing
    return data
