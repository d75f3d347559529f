"""How breakers stand, summed by name: what every metrics integration exports, read when it is asked for.

Nothing here listens: the call path does not know that somebody reads. Nothing here keeps a breaker alive,
so what is dropped is gone from the next reading, and a sum over breakers of one name may then fall. It
knows no metrics library.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from breaker import CircuitBreaker, State
from breaker.events import StateChanged, Statistics
from breaker.observe import instances

Move = tuple[State, State]


@dataclass(frozen=True, slots=True)
class Reading:
    """All breakers of one name: sums of their totals, and how they stand now."""

    name: str
    states: frozenset[State]
    """One state, unless several breakers of this name are in different ones."""
    seconds: float
    """Since the last move among them, or since the youngest was made."""
    outcomes: dict[str, int]
    slow: int
    rejected: int
    openings: int
    moves: dict[Move, int]
    """State changes; in METRICS_ONLY, from itself to itself: it would have opened."""
    failure_rate: float | None
    """The mean over breakers with a window, weighted by the calls in it."""
    slow_call_rate: float | None


class Readings:
    """Reads `breakers`, or every breaker of the process.

    A list, or another plain collection, is looked at once and its breakers are held weakly. Any other
    iterable, or mapping to breakers, such as a `Registry`, is asked anew at each reading.
    """

    def __init__(self, breakers: Any = None) -> None:
        self._breakers = _source(breakers)
        self._seen: weakref.WeakKeyDictionary[CircuitBreaker, _Moves] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()  # two scrapes at once would count one move twice

    def read(self) -> list[Reading]:
        """One reading for each name, by name."""
        groups: dict[str, list[tuple[Statistics, Counter[Move]]]] = {}
        with self._lock:
            for breaker in self._breakers():
                facts = (breaker.statistics(), self._moves(breaker))
                groups.setdefault(breaker.name, []).append(facts)
        return [_sum(name, groups[name]) for name in sorted(groups)]

    def _moves(self, breaker: CircuitBreaker) -> Counter[Move]:
        moves = self._seen.get(breaker)
        if moves is None:
            moves = self._seen[breaker] = _Moves()
        return moves.upto(breaker.history)


class _Moves:
    """The moves of one breaker, counted from its history: exact while fewer than 100 lie between readings."""

    __slots__ = ("_counts", "_last")

    def __init__(self) -> None:
        self._counts: Counter[Move] = Counter()
        self._last: StateChanged | None = None

    def upto(self, history: tuple[StateChanged, ...]) -> Counter[Move]:
        for change in reversed(history):
            if change is self._last:
                break
            self._counts[change.old, change.new] += 1
        self._last = history[-1] if history else None
        return Counter(self._counts)


def _source(breakers: Any) -> Callable[[], Iterable[CircuitBreaker]]:
    if breakers is None:
        return lambda: [member for member in instances.breakers() if isinstance(member, CircuitBreaker)]
    if isinstance(breakers, list | tuple | set | frozenset | Iterator):
        held = list(breakers)
        for breaker in held:
            if not isinstance(breaker, CircuitBreaker):
                raise TypeError(f"breakers must hold circuit breakers, got {breaker!r}")
        weak = weakref.WeakSet(held)
        return lambda: list(weak)
    if not isinstance(breakers, Iterable):
        raise TypeError(f"breakers must be an iterable of circuit breakers or a Registry, got {breakers!r}")
    return lambda: list(getattr(breakers, "values", breakers.__iter__)())


def _sum(name: str, facts: list[tuple[Statistics, Counter[Move]]]) -> Reading:
    all_stats = [statistics for statistics, _ in facts]
    return Reading(
        name=name,
        states=frozenset(statistics.state for statistics in all_stats),
        seconds=max(time.time() - max(statistics.since for statistics in all_stats), 0.0),
        outcomes={
            "success": sum(statistics.successes for statistics in all_stats),
            "failure": sum(statistics.failures for statistics in all_stats),
            "ignored": sum(statistics.ignored for statistics in all_stats),
        },
        slow=sum(statistics.slow for statistics in all_stats),
        rejected=sum(statistics.rejected for statistics in all_stats),
        openings=sum(statistics.openings for statistics in all_stats),
        moves=dict(sum((moves for _, moves in facts), Counter())),
        failure_rate=_mean([(each.failure_rate, each.window_calls) for each in all_stats]),
        slow_call_rate=_mean([(each.slow_call_rate, each.window_calls) for each in all_stats]),
    )


def _mean(rates: list[tuple[float | None, int]]) -> float | None:
    known = [(rate, calls) for rate, calls in rates if rate is not None]
    if len(known) < 2:
        return known[0][0] if known else None
    return sum(rate * calls for rate, calls in known) / sum(calls for _, calls in known)
