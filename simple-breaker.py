#!/usr/bin/env python3
"""A circuit breaker at work, on real HTTP requests to a small server on 127.0.0.1.

    python simple-breaker.py              the server goes away, comes back ill, recovers: about 8 seconds
    python simple-breaker.py --compare    the same traffic without and with a breaker, in numbers: about 17 seconds

Read `demonstrate` first: it is all that a user of the package writes. `compare` measures why one would.
Needs the standard library and `transitions`; sends nothing beyond the loopback interface.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, NoReturn

from breaker import CircuitBreaker, CircuitOpenError, State, StateChanged

Get = Callable[[str], int]
Step = tuple[str, Callable[[], None], Callable[[], bool]]

REQUEST_TIMEOUT = 5.0
PROBE_TIMEOUT = 2 * REQUEST_TIMEOUT  # a probe must not count as lost while its request may still be answered
MOST = 30  # requests in one step of the demonstration
COLOURS = {State.CLOSED: "32", State.OPEN: "31", State.HALF_OPEN: "33"}
HEALTHY, SICK = "/healthy", "/sick"
WORKERS, REQUESTS, FALLS_SICK_AT, GETS_WELL_AT = 8, 320, 40, 240
GAP, HANG = 0.025, 1.0  # seconds between two requests, and until the sick dependency answers


class CannotRunError(Exception):
    """The demo cannot start or go on, for a reason that one line tells."""


# -- the server that fails -----------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """The standard library's server, strict about its port and silent about clients that leave."""

    request_queue_size = 128  # a full queue costs a client a second, and that would be measured
    allow_reuse_address = os.name == "posix"  # elsewhere it takes a port away from its owner
    allow_reuse_port = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Dependency:
    """A server that goes away, answers what it is told to, hangs on one path and recovers."""

    def __init__(self, port: int) -> None:
        self.port, self.status, self.hang = port, 200, 0.0
        self.reached = self.hanging = 0  # requests for SICK while it is sick: in all, and now
        self._server: Server | None = None
        self._lock, self._well = threading.Lock(), threading.Event()
        self.get_well()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer_with(self, status: int) -> None:
        """From now on answer with `status`; listen, if it does not. Raises `CannotRunError` if the port is taken."""
        self.status = status
        if self._server is not None:
            return
        try:
            self._server = Server(("127.0.0.1", self.port), handler(self))
        except OSError as error:
            why = f"cannot listen on 127.0.0.1:{self.port}: {error.strerror}; --port 0 takes any free port"
            raise CannotRunError(why) from error
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Close the socket: from now on connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fall_sick(self, hang: float) -> None:
        """From now on a request for SICK gets no answer for `hang` seconds, then 503."""
        self.hang = hang
        self._well.clear()

    def get_well(self) -> None:
        self._well.set()

    def answer(self, path: str) -> int:
        """The status for a request, when the time for it has come."""
        if path != SICK or self._well.is_set():
            return self.status
        with self._lock:
            self.reached += 1
            self.hanging += 1
        recovered = self._well.wait(self.hang)
        with self._lock:
            self.hanging -= 1
        return self.status if recovered else 503


def handler(dependency: Dependency) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(dependency.answer(self.path))
            self.end_headers()

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    return Handler


# -- the client ----------------------------------------------------------------------------------------------


def make_get(client: str) -> Get:
    """A function that gets a URL: returns the status, raises for a 4xx, a 5xx and whatever else goes wrong.

    Proxies of the environment are ignored, or they would answer for the server that is gone.
    """
    if client == "httpx":
        try:
            http = importlib.import_module("httpx").Client(trust_env=False, timeout=REQUEST_TIMEOUT)
        except ImportError:
            raise CannotRunError("--client httpx needs httpx: pip install 'simple-breaker[httpx]'") from None
        return lambda url: int(http.get(url).raise_for_status().status_code)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str) -> int:
        with opener.open(url, timeout=REQUEST_TIMEOUT) as response:
            return int(response.status)

    return get


def ask(get: Get, url: str) -> str:
    """Make one request and tell in a word what happened."""
    try:
        return str(get(url))
    except CircuitOpenError as error:
        return f"blocked, {error.retry_after or 0.0:.1f} s left"
    except Exception as error:
        return reason(error)


def reason(error: BaseException) -> str:
    """Why a request failed: the status, "refused", or the name of the exception."""
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return str(status)
    cause: BaseException | None = error
    while cause is not None:  # both clients wrap the socket's own exception
        if isinstance(cause, ConnectionRefusedError):
            return "refused"
        cause = cause.__context__
    return type(error).__name__


# -- the demonstration ---------------------------------------------------------------------------------------


class Screen:
    """Where the lines go; in colour on a terminal that wants it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def say(self, text: str = "") -> None:
        print(text, flush=True)  # line by line, through a pipe too

    def request(self, before: State, happened: str, failures: int) -> None:
        state = self._paint(f"{before:<9}", COLOURS[before])
        self.say(f"{time.monotonic() - self._started:6.2f} s  {state}  {happened:<19}  failures {failures}")

    def change(self, event: StateChanged) -> None:
        why = event.report.summary if event.report else event.trigger.replace("_", " ")
        self.say(self._paint(f"    ===> {event.old} -> {event.new}: {why}", f"1;{COLOURS[event.new]}"))

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._coloured else text


def demonstrate(screen: Screen, port: int, get: Get, scale: float) -> None:
    """The server goes away, comes back ill and recovers; the breaker opens, probes, opens again and closes."""
    breaker = CircuitBreaker(
        "demo", failure_threshold=3, recovery_timeout=2.0 * scale, success_threshold=2, probe_timeout=PROBE_TIMEOUT
    )
    changes: list[StateChanged] = []
    breaker.subscribe(changes.append, StateChanged)
    guarded_get = breaker(get)

    screen.say(f"{'time':>8}  {'circuit':<9}  {'answer':<19}  afterwards")
    with closing(Dependency(port)) as server:
        for note, prepare, enough in script(server, breaker):
            prepare()
            screen.say(f"{note} ({server.url})")
            for _ in range(MOST):
                before = breaker.state
                screen.request(before, ask(guarded_get, server.url), breaker.failure_count)
                while changes:  # below the request that caused them
                    screen.change(changes.pop(0))
                time.sleep(0.4 * scale)
                if enough():
                    break
            screen.say()
    conclude(screen, breaker)


def script(server: Dependency, breaker: CircuitBreaker) -> list[Step]:
    """What happens to the server, and when the breaker has seen enough of it."""
    seen = breaker.statistics
    return [
        ("The server answers", lambda: server.answer_with(200), lambda: seen().successes == 3),
        ("The server goes away: its socket is closed", server.close, lambda: seen().openings == 1),
        ("The server is back and answers 500", lambda: server.answer_with(500), lambda: seen().openings == 2),
        ("The server has recovered", lambda: server.answer_with(200), lambda: seen().successes == 7),
    ]


def conclude(screen: Screen, breaker: CircuitBreaker) -> None:
    total = breaker.statistics()
    screen.say("called  failed  blocked  opened")
    screen.say(f"{total.calls:6}  {total.failures:6}  {total.rejected:7}  {total.openings:6}\n")
    screen.say("The circuit, as Mermaid draws it (or: python -m breaker diagram --format svg):")
    screen.say(str(breaker.diagram("mermaid")))


# -- the comparison ------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What one user of the service got."""

    path: str
    happened: str
    wait: float
    ended: float
    good: bool


class Trial:
    """One run of the traffic through a service: a pool of workers, and a dependency that hangs for a while."""

    def __init__(self, dependency: Dependency, get: Get, scale: float, *, guarded: bool) -> None:
        breaker = CircuitBreaker("sick", recovery_timeout=0.5 * scale, probe_timeout=PROBE_TIMEOUT)
        self._gets = {HEALTHY: get, SICK: breaker(get) if guarded else get}
        self._dependency, self._scale = dependency, scale
        self._workers = ThreadPoolExecutor(WORKERS)
        self._answers: list[Future[Answer]] = []
        self._stuck: list[int] = []
        self._well_at = 0.0

    def run(self) -> dict[str, str]:
        """Send the traffic and wait for the last answer; what was measured, by label."""
        try:
            self._send()
            return self._measured([answer.result() for answer in self._answers])
        finally:
            self._dependency.get_well()
            self._workers.shutdown(cancel_futures=True)

    def _send(self) -> None:
        start = time.monotonic()
        for number in range(REQUESTS):
            due = start + number * GAP * self._scale
            time.sleep(max(due - time.monotonic(), 0.0))
            if number == FALLS_SICK_AT:
                self._dependency.fall_sick(HANG * self._scale)
            if number == GETS_WELL_AT:
                self._dependency.get_well()
                self._well_at = time.monotonic()
            if FALLS_SICK_AT <= number < GETS_WELL_AT:
                self._stuck.append(self._dependency.hanging)
            self._answers.append(self._workers.submit(self._serve, (HEALTHY, SICK)[number % 2], due))

    def _serve(self, path: str, due: float) -> Answer:
        happened = ask(self._gets[path], self._dependency.url + path)
        ended = time.monotonic()
        wait = ended - due  # since it was due, not since a worker was free: users wait in the queue too
        return Answer(path, happened, wait, ended, happened == "200" and wait <= HANG * self._scale)

    def _measured(self, answers: list[Answer]) -> dict[str, str]:
        rows = {}
        for path in (HEALTHY, SICK):
            good = [answer.good for answer in answers if answer.path == path]
            waits = [answer.wait for answer in answers if answer.path == path]
            rows[f"{path}: answered in time"] = f"{sum(good)} of {len(good)}"
            rows[f"{path}: median wait"] = f"{statistics.median(waits):.3f} s"
            rows[f"{path}: worst wait"] = f"{max(waits):.3f} s"
        rows[f"{SICK}: blocked at once"] = str(sum(answer.happened.startswith("blocked") for answer in answers))
        rows["calls that reached the sick dependency"] = str(self._dependency.reached)
        rows[f"workers stuck, of {WORKERS}: most"] = str(max(self._stuck))
        rows[f"workers stuck, of {WORKERS}: on average"] = f"{statistics.mean(self._stuck):.1f}"
        last_bad = max((answer.ended for answer in answers if not answer.good), default=0.0)
        rows["all answered again, after it got well, in"] = f"{max(last_bad - self._well_at, 0.0):.3f} s"
        return rows


def compare(screen: Screen, port: int, get: Get, scale: float) -> None:
    """The same traffic twice: through a service without a breaker, and through one with it."""
    patience = f"{HANG * scale:g} s"
    gap = f"{1000 * GAP * scale:g} ms"
    screen.say(f"A service with {WORKERS} workers gets {REQUESTS} requests, one every {gap}, half of them")
    screen.say(f"for {SICK}, whose dependency hangs for {patience} from request {FALLS_SICK_AT} to {GETS_WELL_AT};")
    screen.say(f"then it answers all that waits. In time means within {patience}.\n")
    columns = []
    for guarded in (False, True):
        with closing(Dependency(port)) as dependency:
            dependency.answer_with(200)
            columns.append(Trial(dependency, get, scale, guarded=guarded).run())
    without, with_breaker = columns
    screen.say(f"{'':44}{'without':>12}{'with breaker':>16}")
    for label, value in without.items():
        screen.say(f"{label:<44}{value:>12}{with_breaker[label]:>16}")


# -- the command line ----------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help explains\n")


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description="A circuit breaker at work, on real HTTP requests to a small server on 127.0.0.1.")
    parser.add_argument("--compare", action="store_true", help="measure a service without and with a breaker")
    parser.add_argument("--fast", action="store_true", help="shorten the waits")
    parser.add_argument("--port", type=port_number, default=0, help="where the server listens (default: any free port)")
    parser.add_argument("--client", choices=("urllib", "httpx"), default="urllib", help="who makes the requests")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status: 0, 2 when it cannot run, 130 after Ctrl-C."""
    options = parse(arguments)
    run, fast = (compare, 0.4) if options.compare else (demonstrate, 0.2)
    try:
        run(Screen(), options.port, make_get(options.client), fast if options.fast else 1.0)
    except CannotRunError as error:
        print(f"simple-breaker.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("simple-breaker.py: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output is gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
