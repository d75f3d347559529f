"""CLOSED: every call goes through, failures are counted, and the trip policy opens the circuit."""

from __future__ import annotations

from breaker.states.judging import Judging
from breaker.table import State


class Closed(Judging):
    """Every call goes through; failures are counted. All of it is what judging states share."""

    __slots__ = ()
    name = State.CLOSED
