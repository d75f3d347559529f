"""The command `breaker`: draws pictures of the state machine.

A mistake on the command line is one line on stderr and status 2. It uses the public names alone, touches
no running breaker and overwrites no file before there is something to write.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import breaker
from breaker import BreakerError, CircuitBreaker, CircuitOpenError, State, StateChanged, diagram
from breaker.testing import ManualClock

_FORMAT_OF = {".mmd": "mermaid", ".mermaid": "mermaid", ".gv": "dot", **{f".{name}": name for name in diagram.FORMATS}}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse would print its usage too."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"simple-breaker {breaker.__version__}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. The exit status: 0, or 2 after one line that says what is wrong."""
    options = _parser().parse_args(arguments)
    try:
        _draw(options)
    except OSError as error:
        return _complain(f"cannot write {error.filename!r}: {error.strerror or error}")
    except (BreakerError, ValueError) as error:
        return _complain(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="breaker", description="Pictures of the circuit breaker's state machine.")
    parser.add_argument("--version", action=_Version, help="print the version of the package and exit")
    commands = parser.add_subparsers(metavar="command", required=True)
    command = commands.add_parser("diagram", help="draw the state machine", description="Draw the state machine.")
    formats = f"{', '.join(diagram.FORMATS)}; if not given, by FILE's ending, or mermaid"
    command.add_argument("--format", metavar="FORMAT", help=formats)
    command.add_argument("-o", "--output", metavar="FILE", help="write there, not to standard output")
    command.add_argument("--ramp", action="store_true", help="the machine of breakers with a RampUp")
    command.add_argument("--all", metavar="DIRECTORY", help="write every picture of the documentation into it")
    return parser


def _draw(options: argparse.Namespace) -> None:
    if options.all is not None:
        if options.format or options.output or options.ramp:
            raise ValueError("--all draws every picture: leave out --format, --output and --ramp")
        drawn: dict[str, str | bytes] = {**dict(texts()), **dict(images())}
        for name, content in drawn.items():
            Path(options.all, name).write_bytes(_bytes(content))
        return
    by_ending = _FORMAT_OF.get(Path(options.output or "").suffix.lower(), "mermaid")
    format = by_ending if options.format is None else options.format
    if format == "png" and options.output is None and sys.stdout is not None and sys.stdout.isatty():
        raise ValueError("a png is no text for a terminal: give -o FILE")
    picture = diagram.draw_machine(format, ramping=options.ramp)
    if options.output is None:
        _print(picture)
    else:
        Path(options.output).write_bytes(_bytes(picture))


def _print(drawn: str | bytes) -> None:
    if sys.stdout is None:
        raise ValueError("standard output is closed: give -o FILE")
    try:
        if isinstance(drawn, str):
            sys.stdout.write(drawn)
        else:
            sys.stdout.buffer.write(drawn)
        sys.stdout.flush()
    except OSError as error:
        # The interpreter would flush once more when it ends, and complain in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # then the reader has seen enough
            raise OSError(error.errno, error.strerror, "standard output") from error


def _complain(message: str) -> int:
    print(f"breaker: {' '.join(message.split())}", file=sys.stderr)
    return 2


# -- the pictures in the documentation ------------------------------------------------------------------------


def texts() -> Iterator[tuple[str, str]]:
    """The name and content of every text in `diagrams/`."""
    yield "state-machine.mmd", str(diagram.draw_machine("mermaid"))
    yield "state-machine-with-ramp.mmd", str(diagram.draw_machine("mermaid", ramping=True))
    yield "outage.mmd", outage()


def images() -> Iterator[tuple[str, bytes]]:
    """The name and content of every image in `diagrams/`. Raises `BreakerError` without Graphviz."""
    yield "state-machine.svg", _bytes(diagram.draw_machine("svg"))
    yield "state-machine-with-ramp.svg", _bytes(diagram.draw_machine("svg", ramping=True))
    yield "state-machine.png", _bytes(diagram.draw_machine("png"))


def _bytes(drawn: str | bytes) -> bytes:
    return drawn if isinstance(drawn, bytes) else drawn.encode()


def outage() -> str:
    """One outage as a Mermaid sequence diagram: what a breaker did while it was run through one."""
    clock = ManualClock()
    payments = CircuitBreaker("payments", failure_threshold=3, recovery_timeout=30.0, clock=clock)
    story = _Story(payments)
    story.ask()
    story.tell("the service goes down")
    story.down = True
    for _ in range(payments.failure_threshold or 0):
        story.ask()
    for seconds in (10.0, 20.0):
        clock.advance(seconds)
        story.tell(f"{seconds:g} s later")
        story.ask()
    clock.advance(30.0)
    story.down = False
    story.tell("30 s later, the service is up again")
    story.ask()
    story.ask()
    return story.text()


_HEAD = (
    "---",
    "title: One outage",
    "---",
    "sequenceDiagram",
    "    participant client",
    "    participant breaker",
    "    participant service",
)


class _Story:
    """Writes down what client, breaker and service tell each other, while they do."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.down = False
        self._breaker, self._lines = breaker, list(_HEAD)
        breaker.subscribe(self._changed, StateChanged)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _say(self, line: str) -> None:
        self._lines.append(f"    {line}")

    def tell(self, what: str) -> None:
        """Something that happens to all of them."""
        self._say(f"Note over client,service: {what}")

    def ask(self) -> None:
        """One call by the client."""
        closed = self._breaker.state is State.CLOSED
        self._say("client->>breaker: call")
        try:
            answer = self._breaker.call(self._serve)
        except CircuitOpenError as error:
            self._say(f"breaker--xclient: CircuitOpenError, retry in {error.retry_after:g} s")
        except ConnectionError as error:
            count = f", failure {self._breaker.failure_count} of {self._breaker.failure_threshold}" if closed else ""
            self._say(f"breaker--xclient: {type(error).__name__}{count}")
        else:
            self._say(f"breaker-->>client: {answer}")

    def _serve(self) -> str:
        self._say("breaker->>service: request")
        if self.down:
            self._say("service--xbreaker: no answer")
            raise ConnectionError
        self._say("service-->>breaker: answer")
        return "answer"

    def _changed(self, event: StateChanged) -> None:
        why = event.trigger.replace("_", " ")
        self._say(f"Note over breaker: {event.old} to {event.new}<br/>{why}")
