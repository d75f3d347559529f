"""The demo, run as its reader runs it: a process of its own, real requests, what it prints."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

DEMO = Path(__file__).parents[2] / "simple-breaker.py"
LIMIT = 120  # seconds after which a run is taken for hung; nothing here depends on how long one takes
ESCAPE = "\033["
REQUEST = re.compile(
    r" *\d+\.\d\d s  (?P<before>\w+) +(?P<happened>\w+)(, \d+\.\d s left)? +failures (?P<failures>\d+)"
)
CHANGE = re.compile(r" +===> (?P<old>\w+) -> (?P<new>\w+): (?P<why>.+)")


class Request(NamedTuple):
    before: str
    happened: str
    failures: int


class Change(NamedTuple):
    old: str
    new: str
    why: str


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return {**kept, "TERM": "xterm", **extra}


def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment(**extra))


def parsed(output: str) -> list[Request | Change]:
    """The requests and the changes of state, in the order in which they were printed."""
    lines: list[Request | Change] = []
    for line in output.splitlines():
        if found := REQUEST.fullmatch(line):
            lines.append(Request(found["before"], found["happened"], int(found["failures"])))
        elif found := CHANGE.fullmatch(line):
            lines.append(Change(found["old"], found["new"], found["why"]))
    return lines


def states(lines: list[Request | Change]) -> list[str]:
    """Every state in order, the first included; each change must start where the one before it ended."""
    changes = [line for line in lines if isinstance(line, Change)]
    assert [change.old for change in changes[1:]] == [change.new for change in changes[:-1]]
    return [changes[0].old, *(change.new for change in changes)]


STORY = ["CLOSED", "OPEN", "HALF_OPEN", "OPEN", "HALF_OPEN", "CLOSED"]


@pytest.fixture(scope="module")
def output() -> str:
    """What one run prints."""
    done = run("--fast")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def lines(output: str) -> list[Request | Change]:
    return parsed(output)


@pytest.fixture(scope="module")
def requests(lines: list[Request | Change]) -> list[Request]:
    return [line for line in lines if isinstance(line, Request)]


# -- the four things to observe --------------------------------------------------------------------------------


def test_failures_accumulate_until_the_circuit_opens(lines: list[Request | Change]) -> None:
    before_opening = lines[: next(i for i, line in enumerate(lines) if isinstance(line, Change))]
    assert before_opening == [
        *[Request("CLOSED", "200", 0)] * 3,
        Request("CLOSED", "refused", 1),
        Request("CLOSED", "refused", 2),
        Request("CLOSED", "refused", 3),
    ]


def test_the_states_change_in_the_order_of_the_story(lines: list[Request | Change]) -> None:
    assert states(lines) == STORY


def test_a_change_of_state_tells_why(lines: list[Request | Change]) -> None:
    reasons = [line.why for line in lines if isinstance(line, Change)]
    assert reasons[0].startswith("3 failures in a row")
    assert "timeout elapsed" in reasons[1]
    assert "probe failed" in reasons[2]
    assert "probe succeeded" in reasons[4]


def test_requests_are_blocked_while_open_and_only_then(requests: list[Request]) -> None:
    blocked = [request for request in requests if request.happened == "blocked"]
    assert {request.before for request in blocked} == {"OPEN"}


def test_recovery_is_tried_with_a_request_that_fails_and_later_with_one_that_succeeds(
    lines: list[Request | Change],
) -> None:
    probes = [
        request.happened
        for request, change in pairwise(lines)
        if isinstance(request, Request) and isinstance(change, Change) and change.new == "HALF_OPEN"
    ]
    assert probes == ["500", "200"]


def test_requests_get_through_again_at_the_end(requests: list[Request]) -> None:
    assert requests[-1] == Request("CLOSED", "200", 0)


# -- the end ---------------------------------------------------------------------------------------------------


def test_the_summary_agrees_with_the_lines_above_it(
    output: str, lines: list[Request | Change], requests: list[Request]
) -> None:
    heading, figures = output[output.index("called ") :].splitlines()[:2]
    assert heading.split() == ["called", "failed", "blocked", "opened"]
    assert [int(figure) for figure in figures.split()] == [
        sum(request.happened != "blocked" for request in requests),
        sum(request.happened in ("refused", "500") for request in requests),
        sum(request.happened == "blocked" for request in requests),
        sum(line.new == "OPEN" for line in lines if isinstance(line, Change)),
    ]


def test_the_mermaid_text_marks_the_last_state(output: str) -> None:
    diagram = output[output.index("called ") :]
    assert "stateDiagram-v2" in diagram
    assert re.findall(r"(\w+) \(now\)", diagram) == ["CLOSED"]


# -- where it runs ---------------------------------------------------------------------------------------------


def test_the_demo_imports_nothing_but_the_standard_library_and_breaker() -> None:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(DEMO.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").partition(".")[0])
    assert roots - sys.stdlib_module_names == {"breaker"}


def test_a_proxy_of_the_environment_changes_nothing() -> None:
    nowhere = "http://127.0.0.1:9"
    done = run("--fast", http_proxy=nowhere, HTTP_PROXY=nowhere, no_proxy="")
    assert states(parsed(done.stdout)) == STORY


def test_httpx_makes_the_same_requests() -> None:
    pytest.importorskip("httpx", reason="the client that is asked for is an extra")
    done = run("--fast", "--client", "httpx")
    assert (done.returncode, done.stderr) == (0, "")
    lines = parsed(done.stdout)
    assert states(lines) == STORY
    assert {line.happened for line in lines if isinstance(line, Request)} == {"200", "refused", "500", "blocked"}


def test_without_httpx_one_line_tells_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise ImportError('not here')\n")
    done = run("--fast", "--client", "httpx", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr).endswith("pip install 'simple-breaker[httpx]'")


# -- colour ----------------------------------------------------------------------------------------------------


def on_a_terminal(**extra: str) -> str:
    """What the demo writes to a pseudo-terminal."""
    pty = pytest.importorskip("pty", reason="needs a POSIX system for a pseudo-terminal")
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, str(DEMO), "--fast"], stdout=theirs, env=environment(**extra)) as process:
        os.close(theirs)
        written = b"".join(until_hung_up(ours))
        os.close(ours)
    assert process.returncode == 0
    return written.decode()


def until_hung_up(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how Linux tells that the other end is closed
            return
        if not chunk:  # how others do
            return
        yield chunk


def test_a_pipe_gets_no_colour(output: str) -> None:
    assert ESCAPE not in output


def test_a_terminal_gets_colour() -> None:
    assert ESCAPE in on_a_terminal()


@pytest.mark.parametrize("extra", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_gets_none(extra: dict[str, str]) -> None:
    written = on_a_terminal(**extra)
    assert ESCAPE not in written
    assert states(parsed(written)) == STORY


# -- the command line ------------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    assert "Traceback" not in line
    return line


def test_help_explains_every_option() -> None:
    done = run("--help")
    assert done.returncode == 0
    for option in ("--compare", "--fast", "--port", "--client"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (["--faster"], "--faster"),
        (["--port", "many"], "'many'"),
        (["--port", "65536"], "'65536'"),
        (["--client", "curl"], "'curl'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_that_quotes_it(arguments: list[str], quoted: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert quoted in one_line(done.stderr)


@pytest.mark.parametrize("mode", [[], ["--compare"]])
def test_a_taken_port_is_one_line(mode: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        done = run("--fast", "--port", str(port), *mode)
    assert done.returncode == 2
    message = one_line(done.stderr)
    assert f"127.0.0.1:{port}" in message
    assert "--port" in message


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A child inherits an *ignored* SIGINT, as a background job of a shell has it, but never a handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("mode", [[], ["--compare"]])
def test_ctrl_c_ends_it_with_one_line(mode: list[str]) -> None:
    command = [sys.executable, str(DEMO), *mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "Ctrl-C" in one_line(errors)


def test_a_reader_that_leaves_ends_it_without_a_traceback() -> None:
    command = [sys.executable, str(DEMO), "--fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# -- the comparison --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison() -> dict[str, list[str]]:
    """The table that --compare prints: by label, the columns without and with the breaker."""
    done = run("--compare", "--fast")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = done.stdout[done.stdout.index("  without") :].splitlines()
    assert re.split(r"  +", heading.strip()) == ["without", "with breaker"]
    return {label: columns for label, *columns in (re.split(r"  +", row) for row in rows)}


def figures(comparison: dict[str, list[str]], label: str) -> tuple[float, float]:
    """The first number of each column."""
    without, with_breaker = (float(column.split()[0]) for column in comparison[label])
    return without, with_breaker


def test_the_comparison_has_a_row_for_each_thing_that_matters(comparison: dict[str, list[str]]) -> None:
    for word in ("answered in time", "median wait", "worst wait", "stuck", "reached the sick", "after it got well"):
        assert any(word in label for label in comparison), word
    assert all(len(columns) == 2 for columns in comparison.values())


def test_with_the_breaker_more_requests_to_the_healthy_endpoint_are_answered(
    comparison: dict[str, list[str]],
) -> None:
    without, with_breaker = figures(comparison, "/healthy: answered in time")
    assert without < with_breaker


def test_with_the_breaker_fewer_calls_reach_the_sick_dependency(comparison: dict[str, list[str]]) -> None:
    without, with_breaker = figures(comparison, "calls that reached the sick dependency")
    assert 0 < with_breaker < without


def test_only_the_breaker_blocks(comparison: dict[str, list[str]]) -> None:
    without, with_breaker = figures(comparison, "/sick: blocked at once")
    assert without == 0 < with_breaker
