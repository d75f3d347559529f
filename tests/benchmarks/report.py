"""The comparison as a table in Markdown and as a picture. Measures nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

OURS = "simple-breaker"
CALLS = ("call", "decorator", "async", "with", "failure", "rejection")
WINDOWS = ("window of 100", "window of 1,000,000", "time window", "8 threads")
REST = ("bytes", "µs to make", "ms to import")
TIE = 0.98
"""Two that are within 2 % of each other are told apart by noise alone."""
Row = dict[str, float | None]
Table = dict[str, Row]


def machine() -> str:
    """The processor, its cores and the interpreter; nothing that names the host."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0] if models else model
    return f"{model}, {os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}"


def _cell(value: float | None, best: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"**{text}**" if value == best else text


def _best(table: Table, column: str) -> float | None:
    return min((row[column] for row in table.values() if row[column] is not None), default=None)


def _grid(table: Table, columns: tuple[str, ...]) -> list[str]:
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for name, row in table.items():
        shown = f"**{name}**" if name == OURS else name
        lines.append(f"| {shown} | " + " | ".join(_cell(row[c], _best(table, c)) for c in columns) + " |")
    return lines


def _not_first(table: Table) -> list[str]:
    """Where another library is better, and which."""
    lines = []
    for column in (*CALLS, *WINDOWS, *REST):
        best, ours = _best(table, column), table[OURS][column]
        if ours is not None and best is not None and best < ours * TIE:
            winner = next(name for name, row in table.items() if row[column] == best)
            lines.append(f"- {column}: {winner} has {_cell(best, None)}, this library {_cell(ours, None)}")
    return lines or ["- nowhere in this run"]


def markdown(table: Table, where: str, rounds: int, import_over_transitions: float) -> str:
    """The whole of results.md."""
    versions = ", ".join(f"{name} {version(name)}" for name in table if name != OURS)
    return "\n".join(
        [
            "<!-- Written by compare.py. -->",
            "",
            f"{where}; the median of {rounds} interleaved rounds. The best of each column is bold; a dash is what",
            "a library does not have. Calls and threads are times `bare`, a wrapper that only passes the call on.",
            "",
            *_grid(table, CALLS),
            "",
            "A closed circuit with a full window, by the plainest surface; 8 threads that make 25 calls of 10 ms each.",
            "",
            *_grid(table, WINDOWS),
            "",
            "One breaker of 10,000, made and used once; making one; importing the package in a fresh interpreter.",
            f"Of this library's import, {import_over_transitions:.1f} ms are its own and the rest is `transitions`.",
            "",
            *_grid(table, REST),
            "",
            "Where this library is not first, nor within 2 % of it:",
            "",
            *_not_first(table),
            "",
            f"Peers: {versions}.",
            "",
        ]
    )


def draw(table: Table, where: str, target: Path) -> None:
    """Bars for each kind of call, the quickest on top."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "breaker", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot

    columns = (*CALLS, *WINDOWS[:3])
    figure, places = pyplot.subplots(3, 3, figsize=(11, 8.5), layout="constrained")
    for column, axes in zip(columns, places.flat, strict=True):
        found = sorted(((row[column], name) for name, row in table.items() if row[column] is not None), reverse=True)
        bars = axes.barh(
            [name for _, name in found],
            [value for value, _ in found],
            color=["#d1495b" if name == OURS else "#9fb3c8" for _, name in found],
        )
        axes.bar_label(bars, labels=[_cell(value, None) for value, _ in found], padding=2)
        axes.set_xscale("log")
        axes.set_xlim(1, max(value for value, _ in found) * 2.5)
        axes.set_title(column, loc="left", fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Cost of a guarded call, times a bare wrapper (log scale, shorter is better)\n{where}", fontsize=10
    )
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
