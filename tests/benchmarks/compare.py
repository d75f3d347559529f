"""This library and its peers, side by side in one run. `python tests/benchmarks/compare.py --help`

Calls are ratios to `bare`, a wrapper that only passes the call on (see DESIGN's numbers): how many times slower
a call gets by being guarded. Peers come with the extra `bench`; how each is used stands in adapters.py.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import measure
import report
from adapters import LIBRARIES, NEVER, Ask, Case, Library

Row = dict[str, float | None]

PLAIN, WINDOW, LONG_WINDOW, TIME = Ask(), Ask(window="count"), Ask(window="count", size=1_000_000), Ask(5, "time", 10)
LONGEST_FILL = 5.0
"""Seconds spent at most on filling a window before it is measured."""


class Broken(Exception):
    """What the failing calls raise, so that a rejection can be told from a failure."""


def ok() -> int:
    return 1


def broken() -> None:
    raise Broken


async def async_ok() -> int:
    return 1


async def async_broken() -> None:
    raise Broken


def bare(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


async def async_bare(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    return await fn(*args, **kwargs)


BARE = {
    "bare": measure.compiled(Case("call(fn)", {"call": bare, "fn": ok})),
    "bare async": measure.compiled(Case("await call(fn)", {"call": async_bare, "fn": async_ok}, True)),
    "bare failing": measure.compiled(Case("call(fn)", {"call": bare, "fn": broken}), raises=True),
    "bare failing async": measure.compiled(
        Case("await call(fn)", {"call": async_bare, "fn": async_broken}, True), raises=True
    ),
}
BASES = {"async": "bare async", "failure": "bare failing", "rejection": "bare failing"}


def _case(library: Library, surface: str, ask: Ask, fn: Any) -> Case | None:
    build: Callable[[Any, Any], Case | None] | None = getattr(library, surface)
    made = library.make(ask)
    return None if build is None or made is None else build(made, fn)


def _failing(library: Library, ask: Ask) -> Case | None:
    """A call that raises; asynchronous where a library has nothing else."""
    return _case(library, "plainest", ask, broken) or _case(library, "asynchronous", ask, async_broken)


def _rejecting(library: Library) -> Case | None:
    case = _failing(library, Ask(failures=1))
    if case is not None:
        measure.compiled(case, raises=True)(20)  # opens it
    return case


def _filled(library: Library, ask: Ask) -> Case | None:
    """A call through a window that is full already, or as full as a few seconds of calls make it."""
    case = _case(library, "plainest", ask, ok)
    if case is None:
        return None
    loop, spent, calls = measure.compiled(case), 0.0, 0
    while calls < ask.size and spent < LONGEST_FILL:
        spent += loop(10_000)
        calls += 10_000
    return case


def _check(library: Library, scenario: str, case: Case) -> None:
    """A breaker that opened by its failures, or one that lets calls through, would measure something else."""
    try:
        measure.compiled(case)(1)
    except Exception as error:
        made = isinstance(error, Broken)
    else:
        made = True
    wanted = scenario != "rejection"
    if made is not wanted:
        raise SystemExit(f"{library.name}: the call of scenario {scenario!r} was {'' if made else 'not '}made")


def cases_of(library: Library) -> dict[str, tuple[Case | None, bool]]:
    """The calls to measure, and whether they raise."""
    return {
        "call": (_case(library, "call", PLAIN, ok), False),
        "decorator": (_case(library, "decorator", PLAIN, ok), False),
        "async": (_case(library, "asynchronous", PLAIN, async_ok), False),
        "with": (_case(library, "block", PLAIN, ok), False),
        "failure": (_failing(library, Ask(failures=NEVER)), True),
        "rejection": (_rejecting(library), True),
        "window of 100": (_filled(library, WINDOW), False),
        "window of 1,000,000": (_filled(library, LONG_WINDOW), False),
        "time window": (_filled(library, TIME), False),
    }


def measure_calls(libraries: list[Library], rounds: int) -> dict[str, Row]:
    """Ratios to bare, for each library by scenario."""
    loops: dict[Hashable, measure.Loop] = dict(BARE)
    base_of: dict[tuple[str, str], str] = {}
    table: dict[str, Row] = {}
    checked: list[tuple[Library, str, Case]] = []
    for library in libraries:
        table[library.name] = row = {}
        for scenario, (case, raises) in cases_of(library).items():
            row[scenario] = None
            if case is not None:
                key = (library.name, scenario)
                checked.append((library, scenario, case))
                loops[key] = measure.compiled(case, raises=raises)
                base_of[key] = BASES.get(scenario, "bare") + (" async" if raises and case.is_async else "")
    times = measure.interleaved(loops, rounds)
    for library, scenario, case in checked:
        _check(library, scenario, case)
    for (name, scenario), base in base_of.items():
        table[name][scenario] = measure.ratio(times[name, scenario], times[base])
    return table


def measure_crowds(libraries: list[Library], rounds: int) -> Row:
    """8 threads of sleeping calls: the ratio to the same threads without a breaker."""
    cases = {library.name: _case(library, "plainest", PLAIN, measure.sleep) for library in libraries}
    bare_case = Case("call(fn)", {"call": bare, "fn": measure.sleep})
    ratios: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        base = measure.crowd(bare_case)
        for name, case in cases.items():
            if case is not None:
                ratios[name].append(measure.crowd(case) / base)
    return {name: statistics.median(found) if found else None for name, found in ratios.items()}


def _maker(library: Library, *, used: bool) -> Callable[[], object]:
    """Makes one breaker; `used` makes one call through it too."""

    def make() -> object:
        breaker = library.make(PLAIN)
        if not used:
            return breaker
        case = library.plainest(breaker, ok) or library.asynchronous(breaker, async_ok)
        outcome = eval(case.code.removeprefix("await "), case.names)
        if case.is_async:
            with contextlib.suppress(StopIteration):
                outcome.send(None)
        return breaker, case.names.get("guarded")

    return make


def measure_the_rest(libraries: list[Library], table: dict[str, Row], rounds: int) -> None:
    """Threads, memory, creation and import."""
    crowds = measure_crowds(libraries, max(rounds // 10, 1))
    for library in libraries:
        row, imports = table[library.name], range(max(rounds // 3, 3))
        row["8 threads"] = crowds[library.name]
        row["bytes"] = measure.bytes_each(_maker(library, used=True))
        row["µs to make"] = statistics.median(measure.microseconds_each(_maker(library, used=False)) for _ in range(3))
        row["ms to import"] = statistics.median(measure.import_milliseconds(library.module) for _ in imports)


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="interleaved rounds (60); 5 are enough for a look")
    parser.add_argument("--table", type=Path, default=here / "results.md", help="where the table goes")
    parser.add_argument("--picture", type=Path, default=here / "results.svg")
    arguments = parser.parse_args()
    libraries = [library() for library in LIBRARIES]
    table = measure_calls(libraries, arguments.rounds)
    measure_the_rest(libraries, table, arguments.rounds)
    over = statistics.median(measure.import_milliseconds("breaker", after="transitions") for _ in range(9))
    text = report.markdown(table, report.machine(), arguments.rounds, over)
    arguments.table.write_text(text)
    print(text)
    report.draw(table, report.machine(), arguments.picture)


if __name__ == "__main__":
    main()
