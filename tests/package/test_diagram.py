"""Diagrams: what the texts say is what the table says, and what they show is how the breaker stands."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import sys
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from breaker import (
    Backoff,
    BreakerError,
    CircuitBreaker,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    RampUp,
    SlowCallRate,
    State,
    cli,
    diagram,
)
from breaker.table import RAMP_TABLE, TABLE, Move
from breaker.testing import ManualClock

COMMITTED = Path(__file__).parents[2] / "diagrams"
REGENERATE = "regenerate the committed diagrams with: python -m breaker diagram --all diagrams"
Make = Callable[..., CircuitBreaker]
HOSTILE = (
    'a "quoted" name',
    "two\nlines\r\nand \u2028 more",
    "CLOSED --> DISABLED : trip",
    "`ticks` and ```fences```",
    "日本 \N{PILE OF POO} é",
    "</script><script>alert(1)</script>",
    '<a href="x',
    "---\nstateDiagram-v2\n---",
    "%%{init: {'theme': 'dark'}}%% %% comment",
    "back\\slash \\N \\G \\",
    "&lt; &amp; #35; #quot;",
    ">]; CLOSED -> DISABLED [label=<x",
    "lone \ud800 surrogate, \x00 and \x1b[31m",
    "x" * 10_000,
    "",
)

needs_graphviz_pure = pytest.mark.skipif(
    not any(metadata.distributions(name="graphviz-pure")), reason="the committed files are drawn by graphviz-pure"
)


def in_mermaid(text: str) -> set[Move]:
    """The moves that a Mermaid text draws."""
    found = re.findall(r"^    (\w+) --> (\w+) : ([^<\n]+)(?:<br/>\[(.+)\])?$", text, re.MULTILINE)
    assert len(found) == text.split("\n---\n", 1)[1].count("-->")
    return {move(*parts) for parts in found}


def in_dot(text: str) -> set[Move]:
    """The moves that a DOT text draws."""
    label = r"\[label=<.*?<td>([^<]+)(?:<br/><font.*?>\[(.+)\]</font>)?</td>"
    found = re.findall(rf"^    (\w+) -> (\w+) {label}", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^    \w+ -> ", text, re.MULTILINE))
    return {move(*parts) for parts in found}


def move(source: str, dest: str, trigger: str, guard: str) -> Move:
    return Move(
        trigger.replace(" ", "_"),
        None if source == "ANY" else State(source),
        State(dest),
        guard.replace(" ", "_") or None,
    )


def shown(text: str) -> dict[State, list[str]]:
    """The lines in each state of a Mermaid text, and its name first."""
    found = re.findall(r'^ +state "(.+)" as (\w+)$', text, re.MULTILINE)
    return {State(state): lines.split("<br/>") for lines, state in found if state in State.__members__}


def drawn(breaker: CircuitBreaker, format: str = "mermaid") -> str:
    text = breaker.diagram(format)
    assert isinstance(text, str)
    return text


def now_in(breaker: CircuitBreaker) -> list[str]:
    return shown(drawn(breaker))[breaker.state][1:]


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    def down() -> None:
        raise ConnectionError

    for _ in range(times):
        with contextlib.suppress(ConnectionError):
            breaker.call(down)


# -- what the machine does -------------------------------------------------------------------------------


@pytest.mark.parametrize(("ramping", "rows"), [(False, TABLE), (True, RAMP_TABLE)])
@pytest.mark.parametrize(("format", "read"), [("mermaid", in_mermaid), ("dot", in_dot)])
def test_a_picture_has_an_arrow_for_each_row_of_the_table_and_no_other(
    format: str, read: Callable[[str], set[Move]], ramping: bool, rows: tuple[Move, ...]
) -> None:
    text = diagram.draw_machine(format, ramping=ramping)
    assert isinstance(text, str)
    assert read(text) == set(rows)
    assert len(re.findall(r"^    \w+ --?> ", text, re.MULTILINE)) == len(rows)


@pytest.mark.parametrize("format", ["mermaid", "dot"])
def test_only_a_breaker_with_a_ramp_has_ramping_in_its_picture(make: Make, format: str) -> None:
    assert "RAMPING" not in drawn(make(), format)
    assert "RAMPING" in drawn(make(ramp=RampUp(60.0)), format)


def test_the_operators_states_stand_apart_from_those_of_the_pattern() -> None:
    text = diagram.draw_machine("mermaid", ramping=True)
    assert isinstance(text, str)
    inside = text.split("as OPERATOR {")[1].split("}")[0]
    assert set(shown(inside)) == {State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY}


def test_states_of_unlike_meaning_have_unlike_colours() -> None:
    text = diagram.draw_machine("mermaid", ramping=True)
    assert isinstance(text, str)
    fills = re.findall(r"classDef (\w+) fill:(#\w+)", text)
    assert len({fill for _, fill in fills}) == len(fills) == len(State) + 1
    for state in State:
        assert f"    class {state} {state.lower()}\n" in text


# -- how the breaker stands ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_the_current_state_is_marked_and_no_other(make: Make, state: State) -> None:
    breaker = make(initial_state=state, ramp=RampUp(60.0))
    titles = [lines[0] for lines in shown(drawn(breaker)).values()]
    assert [title for title in titles if "now" in title] == [f"{state} (now)"]
    assert re.findall(r"classDef (\w+) .*stroke-width:5px", drawn(breaker)) == [state.lower()]
    assert re.findall(r"<b>(\w+) \(now\)</b>", drawn(breaker, "dot")) == [state]
    assert re.findall(r"^ +(\w+) \[.*penwidth=4", drawn(breaker, "dot"), re.MULTILINE) == [state]


@pytest.mark.parametrize("state", State)
def test_drawing_moves_nothing_even_when_a_move_is_due(make: Make, clock: ManualClock, state: State) -> None:
    breaker = make(initial_state=state, ramp=RampUp(60.0), probe_timeout=5.0)
    if state is State.FORCED_OPEN:
        breaker.force_open(for_seconds=1.0)
    if state is State.HALF_OPEN:
        permit = breaker.acquire()
    clock.advance(10_000.0)
    before = (breaker.state, breaker.history, breaker.statistics(), breaker.retry_after, breaker.failure_count)
    for format in diagram.FORMATS:
        breaker.diagram(format)
    assert (breaker.state, breaker.history, breaker.statistics(), breaker.retry_after, breaker.failure_count) == before
    if state is State.HALF_OPEN:
        permit.release()


def test_closed_shows_the_failures_in_a_row_and_their_limit(make: Make) -> None:
    breaker = make(failure_threshold=5)
    assert now_in(breaker) == ["failures 0 of 5"]
    fail(breaker, 3)
    assert now_in(breaker) == ["failures 3 of 5"]


def test_closed_shows_rates_and_the_calls_they_are_of(make: Make, clock: ManualClock) -> None:
    window = CountWindow(20)
    breaker = make(trip=FailureRate(0.5, window) | SlowCallRate(0.9, 2.0, window, minimum_calls=4))
    assert now_in(breaker)[0] == "failure rate none yet"
    for _ in range(2):
        breaker.call(int)
    breaker.call(clock.advance, 3.0)
    fail(breaker)
    assert now_in(breaker) == [
        "failure rate 25% of 50%",
        "window calls 4, minimum 10",
        "slow call rate 25% of 90%",
        "window calls 4, minimum 4",
    ]


def test_joined_policies_do_not_lend_each_other_their_numbers(make: Make) -> None:
    breaker = make(trip=ConsecutiveFailures(5) | FailureRate(0.9, CountWindow(20)))
    fail(breaker, 3)
    breaker.call(int)
    fail(breaker)
    assert now_in(breaker) == ["failures 1 of 5", "failure rate 80% of 90%", "window calls 5, minimum 10"]


def test_open_shows_what_opened_it_and_when_it_recovers(make: Make, clock: ManualClock) -> None:
    breaker = make(failure_threshold=2, recovery_timeout=30.0)
    fail(breaker, 2)
    clock.advance(17.6)
    assert now_in(breaker) == ["failures 2", "recovery in 12.4 s"]
    clock.advance(12.4)
    assert now_in(breaker) == ["failures 2", "recovery at the next call"]


def test_open_with_a_health_check_waits_for_a_ping(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.OPEN, recovery_timeout=30.0, health_check=int)
    try:
        assert now_in(breaker) == ["recovery in 30.0 s"]
        clock.advance(30.0)
        assert now_in(breaker) == ["recovery at the next ping"]
    finally:
        breaker.close()


def test_half_open_shows_its_probes(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN, half_open_max_calls=2, success_threshold=3)
    breaker.call(int)
    with breaker.acquire():
        assert now_in(breaker) == ["probes 1 of 2", "successes 1 of 3"]
    assert now_in(breaker) == ["probes 0 of 2", "successes 2 of 3"]


def test_ramping_shows_its_share_and_its_end(make: Make, clock: ManualClock) -> None:
    breaker = make(initial_state=State.RAMPING, ramp=RampUp(60.0), failure_threshold=3)
    clock.advance(20.0)
    assert now_in(breaker) == ["share 40%, closed in 40.0 s", "failures 0 of 3"]


def test_forced_open_shows_when_it_ends(make: Make, clock: ManualClock) -> None:
    breaker = make()
    breaker.force_open()
    assert now_in(breaker) == ["until reset"]
    breaker.force_open(for_seconds=60.0)
    clock.advance(15.0)
    assert now_in(breaker) == ["reset in 45.0 s"]


def test_metrics_only_shows_its_counts_and_disabled_that_it_has_none(make: Make) -> None:
    breaker = make(failure_threshold=3)
    breaker.metrics_only()
    fail(breaker, 4)
    assert now_in(breaker) == ["failures 4 of 3"]
    breaker.disable()
    fail(breaker)
    assert now_in(breaker) == ["nothing is counted"]


def test_the_other_states_show_the_settings_they_would_go_by(make: Make) -> None:
    breaker = make(
        trip=ConsecutiveFailures(7) | SlowCallRate(0.5, 2.0, CountWindow(20)),
        recovery_timeout=Backoff(1.5, maximum=60.0),
        half_open_max_calls=2,
        success_threshold=4,
        ramp=RampUp(90.0, start=0.05),
        initial_state=State.DISABLED,
    )
    lines = shown(drawn(breaker))
    assert lines[State.CLOSED] == ["CLOSED", "limit: 7 failures in a row", "limit: 50% slower than 2 s"]
    assert lines[State.OPEN] == ["OPEN", "for 1.5 s, growing to 60 s"]
    assert lines[State.HALF_OPEN] == ["HALF_OPEN", "probes at once: 2", "successes needed: 4"]
    assert lines[State.RAMPING] == ["RAMPING", "from 5% to all in 90 s"]


def test_a_policy_and_an_open_period_of_the_users_own_are_drawn_without_asking_them_for_words(
    make: Make,
) -> None:
    class Own:
        def open(self, clock: object) -> Own:
            return self

        def succeeded(self, duration: object) -> None: ...
        def failed(self, kind: str, duration: object) -> None: ...
        def tripped(self) -> bool:
            return False

        def period(self, reopenings: int) -> float:
            return 5.0

        def __repr__(self) -> str:
            raise AssertionError("nobody asked for a repr")

    lines = shown(drawn(make(trip=Own(), recovery_timeout=Own())))
    assert lines[State.CLOSED] == ["CLOSED (now)", "judged by its own policy"]
    assert lines[State.OPEN] == ["OPEN", "for its own period"]


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_add_to_a_mermaid_text(make: Make, name: str) -> None:
    text, plain = drawn(make(name=name)), drawn(make(name="plain"))
    lines, expected = text.split("\n"), plain.split("\n")
    assert lines[0:1] + lines[2:] == expected[0:1] + expected[2:]
    assert re.fullmatch(r'title: "(?:[^"\\<>&#;%{}`-]|`|\\.)*"', lines[1])
    assert json.loads(lines[1].removeprefix("title: ")).endswith(" is CLOSED")
    assert len(lines[1]) < 400
    text.encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_add_to_a_dot_text(make: Make, name: str) -> None:
    lines = drawn(make(name=name), "dot").split("\n")
    expected = drawn(make(name="plain"), "dot").split("\n")
    assert lines[0:4] + lines[5:] == expected[0:4] + expected[5:]
    assert re.fullmatch(r"    label=<<b>[^<>]* is CLOSED</b>>", lines[4])


@needs_graphviz_pure
@pytest.mark.parametrize("name", HOSTILE)
def test_a_drawn_svg_has_the_name_as_its_text_and_nothing_more(make: Make, name: str) -> None:
    svg = ElementTree.fromstring(drawn(make(name=name), "svg"))
    texts = ["".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert f"{diagram._shown(name)} is CLOSED".strip() in [text.replace("\xa0", " ").strip() for text in texts]
    assert not list(svg.iter("{http://www.w3.org/2000/svg}script"))


# -- formats ---------------------------------------------------------------------------------------------


def test_each_format_is_what_it_says(make: Make) -> None:
    breaker = make()
    assert drawn(breaker).split("\n---\n")[1].startswith("stateDiagram-v2\n")
    assert drawn(breaker, "dot").startswith("digraph ")
    assert ElementTree.fromstring(drawn(breaker, "svg")).tag.endswith("svg")
    png = breaker.diagram("png")
    assert isinstance(png, bytes)
    assert pixels(png)


@pytest.mark.parametrize("format", ["gif", "", "PNG", "mermaid\n"])
def test_an_unknown_format_is_refused_with_its_name(make: Make, format: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(format))):
        make().diagram(format)


@pytest.fixture
def no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    monkeypatch.setenv("PATH", "")


@pytest.mark.usefixtures("no_graphviz")
def test_without_graphviz_the_texts_are_drawn_and_the_rest_says_in_a_line_what_to_install(
    make: Make,
) -> None:
    breaker = make()
    drawn(breaker), drawn(breaker, "dot")
    for format in ("svg", "png"):
        with pytest.raises(BreakerError, match=r"^.*pip install 'simple-breaker\[diagrams\]'$"):
            breaker.diagram(format)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for dot is a shell script")
@pytest.mark.usefixtures("no_graphviz")
def test_without_the_extra_a_dot_on_the_path_draws(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dot = tmp_path / "dot"
    dot.write_text('#!/bin/sh\nread -r first\necho "$1 $first"\n')
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make().diagram("svg") == "-Tsvg digraph breaker {\n"
    dot.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    with pytest.raises(BreakerError, match=r"^Graphviz could not draw the diagram: status 3 no such luck$"):
        make().diagram("svg")


# -- the committed files ---------------------------------------------------------------------------------


def pixels(png: bytes) -> bytes:
    """What a PNG shows, however it is compressed: its header and its scan lines."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, header = 8, b"", b""
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        chunk, at = png[at + 8 : at + 8 + length], at + 12 + length
        if kind == b"IHDR":
            header = chunk
        elif kind == b"IDAT":
            data += chunk
    return header + zlib.decompress(data)


def test_the_committed_texts_are_what_the_code_draws() -> None:
    for name, text in cli.texts():
        assert (COMMITTED / name).read_text(encoding="utf-8") == text, f"{name}: {REGENERATE}"


@needs_graphviz_pure
def test_the_committed_images_are_what_the_code_draws() -> None:
    version = f"drawn here by graphviz-pure {metadata.version('graphviz-pure')}"
    for name, image in cli.images():
        committed = (COMMITTED / name).read_bytes()
        if name.endswith(".png"):
            committed, image = pixels(committed), pixels(image)
        assert (committed.replace(b"\r\n", b"\n") == image) or committed == image, f"{name}: {REGENERATE} ({version})"


def test_every_committed_file_is_one_that_the_code_draws() -> None:
    assert {file.name for file in COMMITTED.iterdir()} == {name for name, _ in [*cli.texts(), *cli.images()]}


def test_the_outage_tells_what_the_breaker_did() -> None:
    notes = re.findall(r"Note over breaker: (\w+) to (\w+)<br/>(.*)", cli.outage())
    rows = {(row.source, row.dest, row.trigger) for row in TABLE}
    assert {(State(old), State(new), why.replace(" ", "_")) for old, new, why in notes} <= rows
    assert [new for _, new, _ in notes] == ["OPEN", "HALF_OPEN", "OPEN", "HALF_OPEN", "CLOSED"]
    rejected = re.search(r"client->>breaker: call\n +breaker--xclient: CircuitOpenError, retry in 20 s", cli.outage())
    assert rejected, "a rejected call must not reach the service"


def test_a_graphviz_that_cannot_be_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagram, "_graphviz", lambda: str(tmp_path))
    with pytest.raises(BreakerError, match="Graphviz could not draw the diagram: "):
        CircuitBreaker("x").diagram("svg")
