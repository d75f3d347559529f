"""This tree against another one of the project: `python tests/benchmarks/against.py OTHER_TREE`

For each path through the library it prints this/other, the median over many rounds that alternate between the two
trees in one process, so that a refactoring can be shown to keep speed and memory. Exit status 1 when a path is
worse by more than the limit in three rounds of four, so that noise alone does not fail it; 2 when a tree has no
package that can be imported.

It refuses to use anything but public names, because all others differ between trees; to hold the figures of two runs
against each other; and to judge a path that only one of the trees has, which it names instead.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import measure
from adapters import NEVER, Ask, Case, SimpleBreaker, guarded_async
from compare import BARE, PLAIN, TIME, WINDOW, Broken, async_ok, broken, ok
from measure import Loop, compiled

THIS = Path(__file__).resolve().parents[2]
SITTINGS = 8
"""Both trees are imported afresh so often: where their code and objects come to lie in memory is worth some percent."""
RECOVERY = 30.0


class Tree(SimpleBreaker):
    """One import of one tree's package. Its modules are the ones that `import` finds only while it is entered."""

    def __init__(self, root: Path) -> None:
        self.root, self.modules = root, dict[str, ModuleType]()
        with self:
            super().__init__()
            self.testing = importlib.import_module("breaker.testing")
        assert Path(self.package.__file__ or "").is_relative_to(root), f"{self.package.__file__} is not of {root}"

    def __enter__(self) -> None:
        sys.path.insert(0, str(self.root))
        sys.modules.update(self.modules)

    def __exit__(self, *_: object) -> None:
        ours = [name for name in sys.modules if name.partition(".")[0] == self.module]
        self.modules = {name: sys.modules.pop(name) for name in ours}
        sys.path.remove(str(self.root))

    def loop(self, make: Callable[[Tree], Loop]) -> Loop:
        """What `make` makes of this tree. Imports that the package makes only when it is called find this tree, too."""
        with self:
            loop = make(self)

        def run(n: int) -> float:
            with self:
                return loop(n)

        return run


def async_with(tree: Tree) -> Loop:
    code = "async with breaker.acquire(): await fn()"
    return compiled(Case(code, {"breaker": tree.make(PLAIN), "fn": async_ok}, is_async=True))


def rejection(tree: Tree) -> Loop:
    breaker = tree.package.CircuitBreaker("x", failure_threshold=1, recovery_timeout=NEVER)
    with contextlib.suppress(Broken):
        breaker.call(broken)
    return compiled(tree.decorator(breaker, broken), raises=tree.package.CircuitOpenError)


def slow_call_rate(tree: Tree) -> Loop:
    policy = tree.package.SlowCallRate(0.5, slower_than=60.0, window=tree.package.CountWindow(100))
    return compiled(tree.call(tree.package.CircuitBreaker("x", trip=policy), ok))


def heard(tree: Tree) -> Loop:
    breaker = tree.package.CircuitBreaker("x", listeners=[lambda event: None])
    return compiled(tree.call(breaker, ok))


def logged(tree: Tree) -> Loop:
    breaker = tree.package.CircuitBreaker("x", listeners=[tree.package.LoggingListener()])
    return compiled(tree.call(breaker, ok))


def outage(tree: Tree) -> Loop:
    """Failures that open the circuit, a rejection, the wait, the probe that closes it."""
    clock = tree.testing.ManualClock()
    breaker = tree.package.CircuitBreaker("x", failure_threshold=5, recovery_timeout=RECOVERY, clock=clock)
    failures = compiled(tree.call(breaker, broken), raises=Broken)
    rejections = compiled(tree.call(breaker, broken), raises=tree.package.CircuitOpenError)
    successes = compiled(tree.call(breaker, ok))

    def whole() -> None:
        failures(5)
        rejections(1)
        clock.advance(RECOVERY)
        successes(1)

    return compiled(Case("outage()", {"outage": whole}))


def reading(tree: Tree) -> Loop:
    breaker = tree.make(WINDOW)
    for _ in range(100):
        breaker.call(ok)
    return compiled(Case("statistics()", {"statistics": breaker.statistics}))


def making(tree: Tree) -> Loop:
    return compiled(Case("make('x')", {"make": tree.package.CircuitBreaker}))


def making_with_policy(tree: Tree) -> Loop:
    policy = tree.package.FailureRate(0.5, tree.package.CountWindow(100))
    return compiled(Case("make('x', trip=policy)", {"make": tree.package.CircuitBreaker, "policy": policy}))


PATHS: dict[str, tuple[str, Callable[[Tree], Loop]]] = {
    "call": ("bare", lambda tree: compiled(tree.call(tree.make(PLAIN), ok))),
    "decorator": ("bare", lambda tree: compiled(tree.decorator(tree.make(PLAIN), ok))),
    # The measuring begins with some hundred calls unmeasured, which fill the windows.
    "window of 100": ("bare", lambda tree: compiled(tree.call(tree.make(WINDOW), ok))),
    "time window": ("bare", lambda tree: compiled(tree.call(tree.make(TIME), ok))),
    "with": ("bare", lambda tree: compiled(tree.block(tree.make(PLAIN), ok))),
    "async with": ("bare async", async_with),
    "call_async": ("bare async", lambda tree: compiled(tree.asynchronous(tree.make(PLAIN), async_ok))),
    "async decorator": ("bare async", lambda tree: compiled(guarded_async(tree.make(PLAIN)(async_ok)))),
    "failure": ("bare failing", lambda tree: compiled(tree.call(tree.make(Ask(NEVER)), broken), raises=Broken)),
    "rejection": ("bare failing", rejection),
    "slow-call rate": ("bare", slow_call_rate),
    "listener": ("bare", heard),
    "logging listener": ("bare", logged),
    "outage": ("bare", outage),
    "statistics()": ("bare", reading),
    "making": ("bare", making),
    "making, with policy": ("bare", making_with_policy),
}
"""By name: the bare call that it is given in multiples of, and what makes the loop. A call that does not go as it
should, a success rejected or a rejection let through, raises what its loop does not expect, and ends the run."""


class Row(NamedTuple):
    """One path of both trees. The ratios are this/other."""

    path: str
    lower: float
    ratio: float
    upper: float
    this: float
    other: float
    unit: str

    @classmethod
    def of(cls, path: str, this: list[float], other: list[float], bare: list[float] | None, unit: str) -> Row:
        lower, middle, upper = statistics.quantiles(measure.ratios(this, other), n=4, method="inclusive")
        base = bare or [1.0] * len(this)
        return cls(path, lower, middle, upper, measure.ratio(this, base), measure.ratio(other, base), unit)


Times = dict[str, list[float]]


def sit(trees: dict[str, Tree], rounds: int, times: dict[str, Times]) -> None:
    """Measure each path and add that to its times. Each round reverses the one before it: ABBA."""
    for path, (base, make) in PATHS.items():
        try:
            loops: dict[Hashable, Loop] = {name: tree.loop(make) for name, tree in trees.items()}
        except AttributeError:  # a public name that one of them has not
            continue
        measured = measure.interleaved({"bare": BARE[base], **loops}, rounds, reorder=list.reverse)
        for name, found in measured.items():
            times.setdefault(path, {}).setdefault(str(name), []).extend(found)


def calls(roots: dict[str, Path], rounds: int) -> list[Row]:
    times: dict[str, Times] = {}
    for sitting in range(SITTINGS):
        order = sorted(roots, reverse=bool(sitting % 2))
        imported = {name: Tree(roots[name]) for name in order}
        gc.collect()
        gc.freeze()  # or each slice would be preceded by milliseconds of collecting
        sit({name: imported[name] for name in roots}, max(rounds // SITTINGS, 1), times)
    return [Row.of(path, found["this"], found["other"], found["bare"], "x bare") for path, found in times.items()]


def _made_and_used(tree: Tree) -> object:
    breaker = tree.make(PLAIN)
    breaker.call(ok)
    return breaker


def memory(roots: dict[str, Path]) -> Row:
    """Twice: the second time after the other tree, for what the first one to be measured pays."""
    found: Times = {name: [] for name in roots}
    for order in (list(roots), list(reversed(roots))):
        for name in order:
            tree = Tree(roots[name])
            with tree:
                found[name].append(measure.bytes_each(functools.partial(_made_and_used, tree)))
    return Row.of("memory", found["this"], found["other"], None, "bytes")


def imports(roots: dict[str, Path], rounds: int) -> Row:
    found: Times = {name: [] for name in roots}
    order = list(roots)
    for _ in range(rounds):
        order.reverse()
        for name in order:
            found[name].append(measure.import_milliseconds("breaker", after="transitions", tree=roots[name]))
    return Row.of("import", found["this"], found["other"], None, "ms")


def table(rows: list[Row], slower: list[str]) -> str:
    lines = [f"{'':20} {'this/other':>10}  {'quartiles':^15} {'this':>9} {'other':>9}"]
    for row in rows:
        spread = f"{row.lower:.3f} .. {row.upper:.3f}"
        figures = f"{row.ratio:10.3f}  {spread:15} {row.this:9,.2f} {row.other:9,.2f} {row.unit}"
        lines.append(f"{row.path:20} {figures}{'  SLOWER' if row.path in slower else ''}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="OTHER_TREE", help="the folder that holds the other `breaker`")
    parser.add_argument("--rounds", type=int, default=200, help="rounds for each path (200); 16 are enough for a look")
    parser.add_argument("--limit", type=float, default=3.0, help="percent that a path may be slower or larger (3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def unusable(root: Path) -> str | None:
    """Why nothing can be measured there."""
    if not (root / "breaker" / "__init__.py").is_file():
        return "no package `breaker` there"
    try:
        Tree(root)
    except Exception as error:  # whatever is wrong with it, it is not slow
        return f"its package `breaker` cannot be imported: {error!r}"
    return None


def main() -> int:
    asked = arguments()
    roots = {"this": THIS, "other": asked.other.resolve()}
    for root in roots.values():
        if problem := unusable(root):
            print(f"{root}: {problem}", file=sys.stderr)
            return 2
    rows = [memory(roots), *calls(roots, asked.rounds), imports(roots, max(asked.rounds // 8, 16))]
    slower = [row.path for row in rows if row.lower > 1 + asked.limit / 100]
    missing = [path for path in PATHS if path not in {row.path for row in rows}]
    if asked.json:
        found = {"rows": [row._asdict() for row in rows], "limit": asked.limit, "slower": slower, "missing": missing}
        print(json.dumps(found, indent=2))
        return 1 if slower else 0
    print(table(rows, slower))
    print(f"worse by more than {asked.limit:g} %: {', '.join(slower) or 'none'}")
    if missing:
        print(f"not in both trees: {', '.join(missing)}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
