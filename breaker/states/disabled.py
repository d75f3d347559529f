"""DISABLED: an operator lets every call through, and nothing is counted."""

from __future__ import annotations

import itertools

from breaker.machine.model import CircuitState, Model
from breaker.permit import Permit
from breaker.table import State


class Disabled(CircuitState):
    """Every call goes through and nothing is counted."""

    __slots__ = ()
    name = State.DISABLED
    counts = False

    def __init__(self) -> None:
        super().__init__()
        self.needs_permit, self.count_success = False, _UNCOUNTED

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        return Permit(breaker, self)


_UNCOUNTED = itertools.repeat(None).__next__
