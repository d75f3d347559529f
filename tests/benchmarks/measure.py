"""How a call, a breaker, a crowd of threads and an import are measured. Knows no library."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from adapters import Case

SLICE = 0.004
"""Seconds that one measurement of a call should take: short, so that rounds interleave finely."""
BREAKERS = 10_000
THREADS, CALLS, SLEEP = 8, 25, 0.01

Loop = Callable[[int], float]
Order = Callable[[list[Hashable]], object]
"""Puts the loops of the next round in their order, in place."""


def compiled(case: Case, *, raises: bool | type[Exception] = False) -> Loop:
    """A loop that makes the call `n` times and returns the seconds it took.

    `raises` is what each call may raise, True for any exception; another one ends the measurement.
    """
    body = f"try: {case.code}\n        except Expected: pass" if raises else case.code
    source = (
        f"{'async ' if case.is_async else ''}def loop(n):\n"
        "    start = clock()\n"
        "    for _ in repeat(None, n):\n"
        f"        {body}\n"
        "    return clock() - start\n"
    )
    from itertools import repeat

    expected = Exception if raises is True else raises
    names = {"clock": time.perf_counter, "repeat": repeat, "Expected": expected, **case.names}
    exec(source, names)
    loop: Callable[[int], Any] = names["loop"]
    return (lambda n: asyncio.run(loop(n))) if case.is_async else loop


def _enough(loop: Loop) -> int:
    """How many calls fill one slice; also warms the loop up."""
    n = 16
    while (took := loop(n)) < SLICE / 2:
        n *= 2
    return max(int(n * SLICE / took), 1)


def interleaved(loops: dict[Hashable, Loop], rounds: int, reorder: Order | None = None) -> dict[Hashable, list[float]]:
    """Seconds for one call of each loop, in each round. Every round measures all, in a new order: a random one."""
    reorder = reorder or random.Random(7).shuffle
    numbers = {key: _enough(loop) for key, loop in loops.items()}
    times: dict[Hashable, list[float]] = {key: [] for key in loops}
    order = list(loops)
    for _ in range(rounds):
        reorder(order)
        for key in order:
            gc.collect()
            gc.disable()
            times[key].append(loops[key](numbers[key]) / numbers[key])
            gc.enable()
    return times


def ratios(times: list[float], base: list[float]) -> list[float]:
    """The ratio within each round: what slows a whole round cancels."""
    return [mine / other for mine, other in zip(times, base, strict=True)]


def ratio(times: list[float], bare: list[float]) -> float:
    """The median of the ratios over the rounds."""
    return statistics.median(ratios(times, bare))


def sleep() -> None:
    time.sleep(SLEEP)


def crowd(case: Case) -> float:
    """Seconds for 8 threads that start together and make 25 calls of 10 ms each."""
    loop, start = compiled(case), threading.Barrier(THREADS + 1)

    def work() -> None:
        start.wait()
        loop(CALLS)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def bytes_each(make: Callable[[], object]) -> float:
    """Bytes that one more breaker, made and used once, keeps."""
    make()
    gc.collect()
    tracemalloc.start()
    kept: list[object] = [None] * BREAKERS
    before = tracemalloc.get_traced_memory()[0]
    for place in range(BREAKERS):
        kept[place] = make()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / BREAKERS


def microseconds_each(make: Callable[[], object]) -> float:
    """To make one more breaker, while the others are kept."""
    kept: list[object] = [None] * BREAKERS
    gc.collect()
    began = time.perf_counter()
    for place in range(BREAKERS):
        kept[place] = make()
    return (time.perf_counter() - began) / BREAKERS * 1e6


def import_milliseconds(module: str, after: str = "sys", tree: Path | None = None) -> float:
    """To import `module` in a fresh interpreter that has imported `after`, from bytecode as an installed one is.

    The module is the one of `tree`, if that is given.
    """
    compiling = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    first = "" if tree is None else f"import sys; sys.path.insert(0, {str(tree)!r}); "
    code = (
        f"{first}import time, {after}; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1e3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=compiling)
    return float(done.stdout)
