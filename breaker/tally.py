"""What one stay has counted: tallies, opened afresh by the trip policies.

All of it runs under the breaker's lock, except `tick`. A tally decides whether its limit is reached; it
moves nothing and calls nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from breaker.windows import AnyTicks


class Tally:
    """Counts nothing: the tally of a stay that judges no calls, and the parts that most tallies share.

    `tick` is what a success costs: a callable that takes no lock, or None while this tally must be told
    of each success through `count`.
    """

    __slots__ = ("tick",)
    tick: Callable[[], object] | None
    tracks_running = False
    """Whether `started` and `ended` must be told of each call."""

    def turn(self) -> None:
        """Time may have passed: bring windows up to date before a call is numbered."""

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        """One call ended: `number` is its tick, `kind` names its failure (None: it succeeded)."""

    def tripped(self, more: int = 0) -> bool:
        """Whether the limit is reached, or would be with `more` bad calls on top."""
        raise NotImplementedError

    def fail_quietly(self, kind: str) -> bool:
        """Count a failure that cannot reach the limit. False, and nothing counted, for one that may."""
        return False

    def is_slow(self, duration: float, slow_after: float | None) -> int:
        """Whether a call of `duration` seconds is slow here; `slow_after` is the call site's own limit.

        0 if not; else, for tallies that count together, a bit for each that finds it slow.
        """
        return 0

    def newly_overdue(self, now: float) -> bool:
        """Whether calls still running have become slow since this was last asked."""
        return False

    def started(self, key: int, now: float, slow_after: float | None) -> None:
        """A call began."""

    def ended(self, key: int) -> None:
        """That call ended, in whatever way."""

    def abandoned(self, key: int) -> None:
        """The permit of that call was collected. Takes no lock."""

    def failure_count(self) -> int:
        """Failures that count now."""
        return 0

    def calls(self) -> int:
        """Calls in the window; 0 without one."""
        return 0

    def failure_rate(self) -> float | None:
        """Share of failures in the window; None without a window, or when it is empty."""
        return None

    def slow_calls(self) -> int:
        """Slow calls that count now."""
        return 0

    def slow_call_rate(self) -> float | None:
        """Share of slow calls in the window; None likewise."""
        return None

    def kinds(self) -> Mapping[str, int]:
        """How many failures count now, by name."""
        return {}

    def reason(self) -> str:
        """Why the limit is reached, for a person."""
        return "its policy said so"


class InARow(Tally):
    """Failures with no success between them."""

    __slots__ = ("_failures", "_kinds", "_threshold", "_ticks")

    def __init__(self, threshold: int, ticks: AnyTicks) -> None:
        self._threshold, self._failures = threshold, 0
        self._ticks, self.tick = ticks, ticks.__next__
        self._kinds: dict[str, int] | None = None  # made at the first failure: most breakers never see one

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if kind is None:
            self._failures, self._kinds, self.tick = 0, None, self._ticks.__next__
            return
        self._failures += 1
        self.tick = None  # the next success has something to forgive
        if (kinds := self._kinds) is None:
            kinds = self._kinds = {}
        kinds[kind] = kinds.get(kind, 0) + 1

    def fail_quietly(self, kind: str) -> bool:
        failures = self._failures + 1
        if failures >= self._threshold:
            return False
        ticks = self._ticks
        next(ticks)
        ticks.failed += 1
        self._failures = failures
        self.tick = None
        if (kinds := self._kinds) is None:
            kinds = self._kinds = {}
        kinds[kind] = kinds.get(kind, 0) + 1
        return True

    def tripped(self, more: int = 0) -> bool:
        return self._failures + more >= self._threshold

    def failure_count(self) -> int:
        return self._failures

    def kinds(self) -> Mapping[str, int]:
        return self._kinds or {}

    def reason(self) -> str:
        noun = "failure" if self._failures == 1 else "failures"
        return f"{self._failures} {noun} in a row (limit {self._threshold})"


class OfUser(Tally):
    """A user's own tally, which is told of every call."""

    __slots__ = ("_theirs",)

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self.tick = None

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if kind is None:
            self._theirs.succeeded(duration)
        else:
            self._theirs.failed(kind, duration)

    def tripped(self, more: int = 0) -> bool:
        # Only the user knows what one more failure would do: assume that it would trip.
        return bool(more or self._theirs.tripped())


class Together(Tally):
    """Several tallies on the same ticks. Any of them trips; the first that has done so gives the reason."""

    __slots__ = ("_all", "_ticks")

    def __init__(self, tallies: Sequence[Tally], ticks: AnyTicks) -> None:
        self._all, self._ticks = tallies, ticks
        self._join_ticks()

    def _join_ticks(self) -> None:
        own = {tally.tick for tally in self._all}
        plain = all(tick == self._ticks.__next__ for tick in own)
        self.tick = None if None in own else self._ticks.__next__ if plain else self._turn_and_advance

    def _turn_and_advance(self) -> None:
        self.turn()
        next(self._ticks)

    def turn(self) -> None:
        for tally in self._all:
            tally.turn()

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        for place, tally in enumerate(self._all):
            tally.count(number, kind, duration, slow >> place & 1)
        self._join_ticks()

    def tripped(self, more: int = 0) -> bool:
        return any(tally.tripped(more) for tally in self._all)

    def is_slow(self, duration: float, slow_after: float | None) -> int:
        return sum(tally.is_slow(duration, slow_after) << place for place, tally in enumerate(self._all))

    @property
    def tracks_running(self) -> bool:  # type: ignore[override]  # the members decide
        return any(tally.tracks_running for tally in self._all)

    def newly_overdue(self, now: float) -> bool:
        return max([tally.newly_overdue(now) for tally in self._all])  # any() would stop asking

    def started(self, key: int, now: float, slow_after: float | None) -> None:
        for tally in self._all:
            tally.started(key, now, slow_after)

    def ended(self, key: int) -> None:
        for tally in self._all:
            tally.ended(key)

    def abandoned(self, key: int) -> None:
        for tally in self._all:
            tally.abandoned(key)

    def failure_count(self) -> int:
        return max(tally.failure_count() for tally in self._all)

    def calls(self) -> int:
        return max(tally.calls() for tally in self._all)

    def failure_rate(self) -> float | None:
        return self._first(tally.failure_rate() for tally in self._all)

    def slow_call_rate(self) -> float | None:
        return self._first(tally.slow_call_rate() for tally in self._all)

    @staticmethod
    def _first(rates: Iterable[float | None]) -> float | None:
        return next((rate for rate in rates if rate is not None), None)

    def speaker(self) -> int:
        """Place of the first tally that has tripped, or of the first."""
        return next((place for place, tally in enumerate(self._all) if tally.tripped()), 0)

    def part(self, place: int) -> Tally:
        """The tally at this place."""
        return self._all[place]
