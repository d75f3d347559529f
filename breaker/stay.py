"""What all stays have in common: the questions a breaker asks them, and how calls are judged by a policy.

A stay owns the facts that are true only during one breaker's time in one state, so nothing stale can be
read, and its identity is the generation: a result counts only in the stay that admitted the call. Stays
never refer to their breaker, which would make a cycle; they are handed it. They fire triggers, but only
the machine moves the breaker. The classes of the states themselves are in `breaker.states`.

Methods ending in `_locked` need the breaker's lock. `admit` takes it where it must.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from breaker.permit import Permit, next_key
from breaker.table import TRIP, State
from breaker.tally import Tally
from breaker.windows import AnyTicks, Ticks

if TYPE_CHECKING:
    from breaker.model import Model

_NO_TALLY = Tally()


class Stay:
    """One breaker's time in one state.

    `gated`: a call must ask `admit`; otherwise it may just be made. `tick`: what a success costs, without
    the lock; None when the stay must be told of it under the lock. `quiet`: a failure that moves nothing
    need only be counted.
    """

    __slots__ = ("gated", "quiet", "since", "tick")
    state: ClassVar[State]
    counts: ClassVar[bool] = True
    gated: bool
    quiet: bool
    tick: Callable[[], object] | None
    tally: Tally = _NO_TALLY
    ticks: AnyTicks | None = None

    def __init__(self, breaker: Model) -> None:
        self.since = time.time()
        self.gated, self.quiet, self.tick = True, False, None

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        """A permit, or None when the circuit moved meanwhile: ask again. Raises `CircuitOpenError`."""
        raise NotImplementedError

    def retry_after_locked(self, breaker: Model) -> float | None:
        """Seconds until a call may be let through; None when only an operator can say."""
        return 0.0

    def succeed_locked(self, breaker: Model, key: int | None, duration: float | None, slow: int) -> None:
        """A call that this stay admitted ended well."""

    def fail_locked(self, breaker: Model, key: int | None, kind: str, duration: float | None, slow: int) -> None:
        """A call that this stay admitted failed."""

    def ignore_locked(self, breaker: Model, key: int | None) -> None:
        """A call that this stay admitted ended neutral."""
        self.release_locked(key)

    def release_locked(self, key: int | None) -> None:
        """A permit of this stay comes back."""

    def abandon(self, key: int | None) -> None:
        """A permit was collected unsettled. Takes no lock."""

    def last_straw_locked(self) -> bool:
        """Whether one more failure would open the circuit (or may: only the user's policy knows)."""
        raise NotImplementedError

    def failure_count_locked(self) -> int:
        """Failures counted now."""
        return self.tally.failure_count()

    def why_locked(self, breaker: Model) -> dict[str, Any]:
        """What opens the circuit from here, and the counts behind it: fields of a `TripReport`."""
        raise NotImplementedError

    def measure_locked(self, breaker: Model) -> None:
        """Listeners came or went: see whether calls must carry permits."""


class Counting(Stay):
    """A stay that lets calls through and judges them by the trip policy."""

    __slots__ = ("tally", "ticks")

    def __init__(self, breaker: Model) -> None:
        super().__init__(breaker)
        self.ticks: AnyTicks = Ticks()
        self.tally = breaker._settings.trip.begin(self.ticks, breaker._settings.clock, breaker._lock)
        self.tick = self.tally.tick
        self.measure_locked(breaker)

    def measure_locked(self, breaker: Model) -> None:
        self.gated = breaker._measures()
        self.quiet = breaker._is_quiet()

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        if not self.tally.tracks_running:
            return Permit(breaker, self, breaker._settings.clock() if self.gated or slow_after else None, slow_after)
        with breaker._lock:
            return self._admit_tracked_locked(breaker, slow_after) if breaker._stay is self else None

    def _admit_tracked_locked(self, breaker: Model, slow_after: float | None) -> Permit | None:
        now = breaker._settings.clock()
        if self.tally.newly_overdue(now):
            self.judge_locked(breaker)
            if breaker._stay is not self:
                return None
        key = next_key()
        permit = Permit(breaker, self, now, slow_after, key)
        self.tally.started(key, now, slow_after)
        return permit

    def judge_locked(self, breaker: Model) -> None:
        """A bad outcome arrived: open the circuit if that reached the limit."""
        if self.tally.tripped():
            breaker._fire_locked(self, TRIP)

    def why_locked(self, breaker: Model) -> dict[str, Any]:
        policy, tally = breaker._settings.trip.speaker(self.tally)
        return {
            "policy": repr(policy),
            "reason": tally.reason(),
            "calls": tally.calls() or tally.failure_count(),
            "failures": tally.failure_count(),
            "failure_rate": tally.failure_rate(),
            "slow_calls": tally.slow_calls(),
            "slow_call_rate": tally.slow_call_rate(),
            "exceptions": dict(sorted(tally.kinds().items(), key=lambda kind: -kind[1])),
        }

    def succeed_locked(self, breaker: Model, key: int | None, duration: float | None, slow: int) -> None:
        self._count_locked(key, None, duration, slow)
        if slow:
            self.judge_locked(breaker)

    def fail_locked(self, breaker: Model, key: int | None, kind: str, duration: float | None, slow: int) -> None:
        self.ticks.failed += 1
        self._count_locked(key, kind, duration, slow)
        self.judge_locked(breaker)

    def _count_locked(self, key: int | None, kind: str | None, duration: float | None, slow: int) -> None:
        self.release_locked(key)
        tally = self.tally
        tally.turn()
        tally.count(self.ticks.take_locked(), kind, duration, slow)
        self.tick = tally.tick

    def release_locked(self, key: int | None) -> None:
        if key is not None:
            self.tally.ended(key)

    def abandon(self, key: int | None) -> None:
        if key is not None:
            self.tally.abandoned(key)

    def last_straw_locked(self) -> bool:
        return self.tally.tripped(more=1)
