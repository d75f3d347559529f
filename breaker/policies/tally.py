"""What one stay has counted: tallies, opened afresh by the trip policies.

All of it runs under the breaker's lock, except `count_success`. A tally decides whether its limit is reached; it
moves nothing and calls nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from breaker.policies.counter import AnyCounter


class Counts(NamedTuple):
    """What counts now, read from a tally at one moment."""

    failures: int = 0
    calls: int = 0
    """Calls in the window; 0 without one."""
    failure_rate: float | None = None
    """Share of failures in the window; None without a window, or when it is empty."""
    slow_calls: int = 0
    slow_call_rate: float | None = None
    """Share of slow calls in the window; None likewise."""


_NOTHING = Counts()


class Tally:
    """Counts nothing: the tally of a stay that judges no calls, and the parts that most tallies share.

    `count_success` is what a success costs: a callable that takes no lock, or None while this tally must be told
    of each success through `count`.
    """

    __slots__ = ("count_success",)
    count_success: Callable[[], object] | None
    tracks_running = False
    """Whether `started` and `ended` must be told of each call."""

    def turn(self) -> None:
        """Time may have passed: bring windows up to date before a call is numbered."""

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        """One call ended: `number` is its place, `kind` names its failure (None: it succeeded)."""

    def tripped(self, extra_failures: int = 0) -> bool:
        """Whether the limit is reached, or would be with so many bad calls on top."""
        raise NotImplementedError

    def try_count_failure(self, kind: str) -> bool:
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

    def counts(self) -> Counts:
        """What counts now."""
        return _NOTHING

    def kinds(self) -> Mapping[str, int]:
        """How many failures count now, by name."""
        return {}

    def reason(self) -> str:
        """Why the limit is reached, for a person."""
        return "its policy said so"


class ConsecutiveTally(Tally):
    """Failures with no success between them."""

    __slots__ = ("_counter", "_failures", "_kinds", "_threshold")

    def __init__(self, threshold: int, counter: AnyCounter) -> None:
        self._threshold, self._failures = threshold, 0
        self._counter, self.count_success = counter, counter.__next__
        self._kinds: dict[str, int] | None = None  # made at the first failure: most breakers never see one

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if kind is None:
            self._failures, self._kinds, self.count_success = 0, None, self._counter.__next__
            return
        self._failures += 1
        self.count_success = None  # the next success has something to forgive
        if (kinds := self._kinds) is None:
            kinds = self._kinds = {}
        kinds[kind] = kinds.get(kind, 0) + 1

    def try_count_failure(self, kind: str) -> bool:
        failures = self._failures + 1
        if failures >= self._threshold:
            return False
        counter = self._counter
        next(counter)
        counter.failed += 1
        self._failures = failures
        self.count_success = None
        if (kinds := self._kinds) is None:
            kinds = self._kinds = {}
        kinds[kind] = kinds.get(kind, 0) + 1
        return True

    def tripped(self, extra_failures: int = 0) -> bool:
        return self._failures + extra_failures >= self._threshold

    def counts(self) -> Counts:
        return Counts(self._failures)

    def kinds(self) -> Mapping[str, int]:
        return self._kinds or {}

    def reason(self) -> str:
        noun = "failure" if self._failures == 1 else "failures"
        return f"{self._failures} {noun} in a row (limit {self._threshold})"


class CustomTally(Tally):
    """A user's own tally, which is told of every call."""

    __slots__ = ("_theirs",)

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self.count_success = None

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        if kind is None:
            self._theirs.succeeded(duration)
        else:
            self._theirs.failed(kind, duration)

    def tripped(self, extra_failures: int = 0) -> bool:
        # Only the user knows what one more failure would do: assume that it would trip.
        return bool(extra_failures or self._theirs.tripped())


class JoinedTally(Tally):
    """Several tallies on the same counter. Any of them trips; the first that has done so gives the reason."""

    __slots__ = ("_counter", "parts")

    def __init__(self, tallies: Sequence[Tally], counter: AnyCounter) -> None:
        self.parts, self._counter = tallies, counter
        self._choose_count_success()

    def _choose_count_success(self) -> None:
        own = {tally.count_success for tally in self.parts}
        plain = all(count_success == self._counter.__next__ for count_success in own)
        self.count_success = None if None in own else self._counter.__next__ if plain else self._turn_and_advance

    def _turn_and_advance(self) -> None:
        self.turn()
        next(self._counter)

    def turn(self) -> None:
        for tally in self.parts:
            tally.turn()

    def count(self, number: int, kind: str | None, duration: float | None, slow: int) -> None:
        for place, tally in enumerate(self.parts):
            tally.count(number, kind, duration, slow >> place & 1)
        self._choose_count_success()

    def tripped(self, extra_failures: int = 0) -> bool:
        return any(tally.tripped(extra_failures) for tally in self.parts)

    def is_slow(self, duration: float, slow_after: float | None) -> int:
        return sum(tally.is_slow(duration, slow_after) << place for place, tally in enumerate(self.parts))

    @property
    def tracks_running(self) -> bool:  # type: ignore[override]  # the members decide
        return any(tally.tracks_running for tally in self.parts)

    def newly_overdue(self, now: float) -> bool:
        return max([tally.newly_overdue(now) for tally in self.parts])  # any() would stop asking

    def started(self, key: int, now: float, slow_after: float | None) -> None:
        for tally in self.parts:
            tally.started(key, now, slow_after)

    def ended(self, key: int) -> None:
        for tally in self.parts:
            tally.ended(key)

    def abandoned(self, key: int) -> None:
        for tally in self.parts:
            tally.abandoned(key)

    def counts(self) -> Counts:
        parts = [tally.counts() for tally in self.parts]
        return Counts(
            failures=max(part.failures for part in parts),
            calls=max(part.calls for part in parts),
            failure_rate=_first(part.failure_rate for part in parts),
            slow_calls=max(part.slow_calls for part in parts),
            slow_call_rate=_first(part.slow_call_rate for part in parts),
        )


def _first(rates: Iterable[float | None]) -> float | None:
    return next((rate for rate in rates if rate is not None), None)
