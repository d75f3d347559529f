"""Pictures of the state machine, blank or of one live breaker: Mermaid, DOT, SVG, PNG.

The texts are written from the machine's own states and transitions, guards included, so a picture cannot
say what the machine does not do. This module moves no breaker it reads and lays nothing out: SVG and PNG
are the work of Graphviz, from the `diagrams` extra or a `dot` on the PATH.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from breaker.errors import BreakerError
from breaker.machine.machine import machine
from breaker.machine.model import Model
from breaker.policies.backoff import Backoff
from breaker.policies.tally import Tally
from breaker.policies.trip import ConsecutiveFailures, FailureRate, SlowCallRate
from breaker.states.forced_open import ForcedOpen
from breaker.states.half_open import HalfOpen
from breaker.states.judging import Judging
from breaker.states.open import Open
from breaker.states.ramping import Ramping
from breaker.table import Move, State

FORMATS = ("mermaid", "dot", "svg", "png")
INSTALL = "pip install 'simple-breaker[diagrams]'"

_LONGEST_NAME = 60
_LOOK_ALIKES = str.maketrans("<>&", "\u2039\u203a\uff06")
_GREY = "#5b6470"
# A label with space around it, which keeps the arrows off.
_AIRY = '<table border="0" cellborder="0" cellspacing="0" cellpadding="4"><tr><td>{}</td></tr></table>'
# One name, no list: the bundled Graphviz knows this font's widths, and takes a list for an unknown font.
_FONT = 'fontcolor="#1b1f24", fontname="Helvetica"'
# fill, line, meaning: green lets through, red rejects, amber tries, teal grows back, the rest look on.
_LOOKS = {
    State.CLOSED: ("#d7f2dd", "#1d7a3a", "calls go through"),
    State.OPEN: ("#fbd9d7", "#b3261e", "calls are rejected"),
    State.HALF_OPEN: ("#ffeac2", "#a86400", "a few probes decide"),
    State.RAMPING: ("#cdf0ee", "#0b7570", "traffic grows back"),
    State.FORCED_OPEN: ("#f3d3e0", "#96214f", "calls are rejected"),
    State.DISABLED: ("#e6e8eb", "#5b6470", "nothing is counted"),
    State.METRICS_ONLY: ("#e2dcf7", "#5a41a8", "counts, never opens"),
}
_MEANINGS = {state: (meaning,) for state, (_, _, meaning) in _LOOKS.items()}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows: the moves, a few lines in each state, and where the breaker stands (None: blank)."""

    title: str
    ramping: bool
    lines: dict[State, tuple[str, ...]]
    now: State | None = None

    def states(self) -> list[State]:
        """The machine's states, in its order."""
        return [State(name) for name in machine(ramping=self.ramping).states]

    def moves(self) -> list[Move]:
        """The machine's transitions; one that leaves all states alike is one move, from None."""
        found = []
        events: dict[str, Any] = machine(ramping=self.ramping).events
        for trigger, event in events.items():
            sources: dict[tuple[State, str | None], list[State]] = defaultdict(list)
            for transition in (each for group in event.transitions.values() for each in group):
                sources[State(transition.dest), _guard(transition)].append(State(transition.source))
            for (dest, guard), starts in sources.items():
                everywhere = set(starts) == set(self.states())
                found += [Move(trigger, start, dest, guard) for start in ([None] if everywhere else starts)]
        return found

    def operators(self) -> list[State]:
        """The states that only a move from anywhere enters: an operator's."""
        entered = {move.dest for move in self.moves() if move.source is not None}
        return [state for state in self.states() if state not in entered]


def _guard(transition: Any) -> str | None:
    asked = [("" if each.target else "not ") + each.func for each in transition.conditions]
    return " and ".join(asked) or None


def draw(breaker: Model, format: str) -> str | bytes:
    """A picture of `breaker` at one moment, its state marked: text, or bytes for "png".

    Raises `ValueError` for an unknown format, and `BreakerError` when nothing can lay out "svg" or "png".
    """
    with breaker._lock:
        now = breaker._state.name
        lines = _settings(breaker)
        lines[now] = tuple(_present_locked(breaker)) or lines[now]
    return _written(Scene(f"{_shown(breaker.name)} is {now}", breaker._settings.ramp is not None, lines, now), format)


def draw_machine(format: str, *, ramping: bool = False) -> str | bytes:
    """The picture of no breaker in particular. Raises like `draw`."""
    title = "Circuit breaker with a ramp" if ramping else "Circuit breaker"
    return _written(Scene(title, ramping, dict(_MEANINGS)), format)


def _shown(name: str) -> str:
    """A breaker's name on one short line of printable characters."""
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(name.split()))
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _settings(breaker: Model) -> dict[State, tuple[str, ...]]:
    """What the states that the breaker is not in would do."""
    settings, ramp = breaker._settings, breaker._settings.ramp
    lines: dict[State, tuple[str, ...]] = dict(_MEANINGS)
    lines[State.CLOSED] = tuple(map(_limit, getattr(settings.trip, "policies", (settings.trip,))))
    lines[State.OPEN] = (_open_period(settings.recovery),)
    probes, needed = settings.half_open_max_calls, settings.success_threshold
    lines[State.HALF_OPEN] = (f"probes at once: {probes}", f"successes needed: {needed}")
    if ramp is not None:
        lines[State.RAMPING] = (f"from {_percent(ramp.start)} to all in {ramp.seconds:g} s",)
    return lines


def _limit(policy: Any) -> str:
    match policy:
        case ConsecutiveFailures(threshold):
            return f"limit: {threshold} failures in a row"
        case FailureRate(threshold):
            return f"limit: {_percent(threshold)} failures"
        case SlowCallRate(threshold, seconds):
            return f"limit: {_percent(threshold)} slower than {seconds:g} s"
    return "limit: its own policy"


def _open_period(recovery: Any) -> str:
    match recovery:
        case int() | float():
            return f"for {recovery:g} s"
        case Backoff(initial, _, maximum):
            return f"for {initial:g} s, growing" + (f" to {maximum:g} s" if maximum else "")
    return "for its own period"


def _present_locked(breaker: Model) -> Iterator[str]:
    """The numbers of the state that the breaker is in."""
    state = breaker._state
    match state:
        case Open():
            if failures := state.failure_count_locked():
                yield f"failures {failures}"
            left, who = state.until - breaker._settings.clock(), "call" if breaker._callers_may_probe() else "ping"
            yield f"recovery in {left:.1f} s" if left > 0 else f"recovery at the next {who}"
        case HalfOpen():
            yield f"probes {state.probes_in_flight_locked()} of {breaker._settings.half_open_max_calls}"
            yield f"successes {state.successes} of {breaker._settings.success_threshold}"
        case Ramping():
            left = state.left(breaker)
            yield f"share {_percent(state.share(left))}, closed in {left:.1f} s"
        case ForcedOpen():
            wait = state.retry_after_locked(breaker)
            yield "until reset" if wait is None else f"reset in {wait:.1f} s"
    if isinstance(state, Judging):
        for policy, tally in breaker._settings.trip.parts(state.tally):
            yield from _counts(policy, tally)


def _counts(policy: Any, tally: Tally) -> Iterator[str]:
    counts = tally.counts()
    match policy:
        case ConsecutiveFailures():
            yield f"failures {counts.failures} of {policy.threshold}"
        case FailureRate() | SlowCallRate():
            slow = isinstance(policy, SlowCallRate)
            rate = counts.slow_call_rate if slow else counts.failure_rate
            known = "none yet" if rate is None else f"{_percent(rate)} of {_percent(policy.threshold)}"
            yield f"{'slow call' if slow else 'failure'} rate {known}"
            yield f"window calls {counts.calls}, minimum {policy.minimum_calls}"
        case _:
            yield "judged by its own policy"


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"


# -- how to write it -----------------------------------------------------------------------------------


def _written(scene: Scene, format: str) -> str | bytes:
    if format not in FORMATS:
        raise ValueError(f"unknown diagram format {format!r}: choose one of {', '.join(FORMATS)}")
    if format == "mermaid":
        return "\n".join(_mermaid(scene)) + "\n"
    dot = "\n".join(_dot(scene)) + "\n"
    return dot if format == "dot" else _laid_out(dot, format)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _mermaid(scene: Scene) -> Iterator[str]:
    yield from ("---", f"title: {_yaml(scene.title)}", "config:", "  state:", "    nodeSpacing: 70")
    yield from ("    rankSpacing: 70", "---", "stateDiagram-v2", "    direction LR")
    operators = scene.operators()
    yield from (f"    {_mermaid_state(scene, state)}" for state in scene.states() if state not in operators)
    yield '    state "by an operator" as OPERATOR {'
    yield from (f"        {_mermaid_state(scene, state)}" for state in operators)
    yield "    }"
    yield '    state "any state" as ANY'
    for move in scene.moves():
        guard = f"<br/>[{_words(move.guard)}]" if move.guard else ""
        yield f"    {move.source or 'ANY'} --> {move.dest} : {_words(move.trigger)}{guard}"
    for state in scene.states():
        fill, line, _ = _LOOKS[state]
        width = 5 if state is scene.now else 1
        yield f"    classDef {state.lower()} fill:{fill},stroke:{line},stroke-width:{width}px,color:#1b1f24"
        yield f"    class {state} {state.lower()}"
    yield f"    classDef group fill:#ffffff,stroke:{_GREY},stroke-dasharray:5 4,color:#1b1f24"
    yield from ("    class ANY group", "    class OPERATOR group")


def _mermaid_state(scene: Scene, state: State) -> str:
    mark = " (now)" if state is scene.now else ""
    return f'state "{"<br/>".join((state + mark, *scene.lines[state]))}" as {state}'


def _yaml(text: str) -> str:
    # Mermaid drops tags from a title and shows entities unresolved: look-alikes survive it. It also looks
    # for directives and comments before it reads the title: leave none to be found.
    quoted = json.dumps(text.translate(_LOOK_ALIKES), ensure_ascii=False)
    return "".join(f"\\u{ord(char):04x}" if char in "%{}#;-" else char for char in quoted)


def _dot(scene: Scene) -> Iterator[str]:
    yield "digraph breaker {"
    yield f"    graph [rankdir=LR, nodesep=0.5, ranksep=0.6, pad=0.3, bgcolor=white, labelloc=t, fontsize=18, {_FONT}]"
    yield f'    node [shape=box, style="rounded,filled", margin="0.2,0.12", fontsize=13, {_FONT}]'
    yield f'    edge [fontsize=11, color="{_GREY}", arrowsize=0.8, {_FONT}]'
    yield f"    label=<<b>{_html(scene.title)}</b>>"
    operators = scene.operators()
    yield from (f"    {_dot_state(scene, state)}" for state in scene.states() if state not in operators)
    yield "    subgraph cluster_operator {"
    yield f'        graph [label="by an operator", fontsize=12, style="rounded,dashed", color="{_GREY}", margin=14]'
    yield from (f"        {_dot_state(scene, state)}" for state in operators)
    yield "    }"
    yield f'    ANY [label="any state", fillcolor=white, color="{_GREY}", style="rounded,filled,dashed"]'
    for move in scene.moves():
        guard = f'<br/><font color="{_GREY}">[{_words(move.guard)}]</font>' if move.guard else ""
        yield f"    {move.source or 'ANY'} -> {move.dest} [label=<{_AIRY.format(_words(move.trigger) + guard)}>]"
    yield "}"


def _dot_state(scene: Scene, state: State) -> str:
    fill, line, _ = _LOOKS[state]
    mark, width = (" (now)", 4) if state is scene.now else ("", 1.2)
    small = (f'<font point-size="11">{_html(text)}</font>' for text in scene.lines[state])
    label = "<br/>".join((f"<b>{state}{mark}</b>", *small))
    return f'{state} [label=<{label}>, fillcolor="{fill}", color="{line}", penwidth={width}]'


def _html(text: str) -> str:
    return html.escape(text).replace("\\", "&#92;&#92;")  # once undone, \\G would be the graph's name


def _laid_out(dot: str, format: str) -> str | bytes:
    command = [_graphviz(), f"-T{format}", *(["-Gdpi=144"] if format == "png" else [])]
    try:
        drawn = subprocess.run(command, input=dot.encode(), capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BreakerError(f"Graphviz could not draw the diagram: {error}") from error
    if drawn.returncode:
        said = " ".join(drawn.stderr.decode(errors="replace").split())
        raise BreakerError(f"Graphviz could not draw the diagram: status {drawn.returncode} {said}")
    return drawn.stdout if format == "png" else drawn.stdout.decode()


def _graphviz() -> str:
    """The program that turns DOT into pictures. Raises `BreakerError` when there is none."""
    try:
        files = metadata.files("graphviz-pure") or []
    except metadata.PackageNotFoundError:
        files = []
    # The wheel holds a program alone, in a directory that need not be on the PATH.
    own = [str(file.locate()) for file in files if file.stem == "graphviz-pure"]
    for program in (*own, "graphviz-pure", "dot"):
        if found := shutil.which(program):
            return found
    raise BreakerError(f"svg and png diagrams need Graphviz: {INSTALL}")
