"""RAMPING: a growing share of calls goes through after the probes succeeded; a trip opens the circuit again."""

from __future__ import annotations

from breaker.machine.model import Model
from breaker.machine.prober import Cause
from breaker.permit import Permit
from breaker.policies.backoff import RampUp
from breaker.states.judging import Judging
from breaker.table import RAMP_OVER, State


class Ramping(Judging):
    """A growing share of calls goes through, evenly spread; the others are rejected."""

    __slots__ = ("_begun", "_credit", "_ramp")
    name = State.RAMPING

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        assert breaker._settings.ramp is not None  # RAMPING is in the table of breakers with a ramp alone
        self._ramp: RampUp = breaker._settings.ramp
        super().on_enter(breaker, cause)
        self._begun, self._credit = breaker._settings.clock(), 0.0

    def ramp_elapsed(self, breaker: Model) -> bool:
        """Whether the ramp is over. The boundary instant counts as over."""
        return self.left(breaker) == 0.0

    def left(self, breaker: Model) -> float:
        """Seconds until the ramp is over."""
        return max(self._begun + self._ramp.seconds - breaker._settings.clock(), 0.0)

    def share(self, left: float) -> float:
        """The share of calls that goes through, `left` seconds before the ramp is over."""
        return self._ramp.share(self._ramp.seconds - left)

    def choose_path_locked(self, breaker: Model) -> None:
        self.needs_permit = True  # always: the ramp counts admissions

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        with breaker._lock:
            if breaker._state is not self:
                return None
            left = self.left(breaker)
            if left == 0.0:
                breaker._fire_locked(self, RAMP_OVER)
                return None
            if self._next_passes_locked(self.share(left)):
                return self._admit_tracked_locked(breaker, slow_after)
        raise breaker._rejection(self, left)

    def _next_passes_locked(self, share: float) -> bool:
        """Each call brings its share; whenever that makes a whole one, a call passes."""
        self._credit += share
        if self._credit < 1 - 1e-9:  # ten tenths make one in floating point too
            return False
        self._credit -= 1
        return True
