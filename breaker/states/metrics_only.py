"""METRICS_ONLY: every call goes through and is counted; a limit reached is told, and opens nothing."""

from __future__ import annotations

from breaker.machine.model import Model
from breaker.permit import Permit
from breaker.states.judging import Judging
from breaker.table import State


class MetricsOnly(Judging):
    """A limit reached is told once for each crossing."""

    __slots__ = ("_told",)
    name = State.METRICS_ONLY

    def __init__(self) -> None:
        super().__init__()
        self._told = False

    def choose_path_locked(self, breaker: Model) -> None:
        super().choose_path_locked(breaker)
        self.failures_unheard = False  # each failure may end a crossing

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        permit = super().admit(breaker, slow_after)
        breaker._after_lock()  # a running call found slow may have been told just now
        return permit

    def _count_locked(self, key: int | None, kind: str | None, duration: float | None, slow: int) -> None:
        # Successes may have carried the rate below the limit unseen: that ends a crossing.
        self._told = self._told and self.tally.tripped()
        super()._count_locked(key, kind, duration, slow)

    def judge_locked(self, breaker: Model) -> None:
        reached = self.tally.tripped()
        if reached and not self._told:
            breaker._tell_would_open_locked(self)
        self._told = reached
