"""The states, the triggers and the rows: every legal move of a breaker, as data.

The machine, the diagrams, the README's table and the tests read these rows; nothing else says which
moves there are. This module holds no behaviour.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a breaker stands. Each member is also its own name as a string."""

    # Values equal names because transitions looks an enum up by its name and a string by itself.
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    RAMPING = "RAMPING"
    FORCED_OPEN = "FORCED_OPEN"
    DISABLED = "DISABLED"
    METRICS_ONLY = "METRICS_ONLY"


TRIP = "trip"
TIMEOUT_ELAPSED = "timeout_elapsed"
PROBE_SUCCEEDED = "probe_succeeded"
PROBE_FAILED = "probe_failed"
PROBE_EXPIRED = "probe_expired"
RAMP_OVER = "ramp_over"
FORCE_OPEN = "force_open"
DISABLE = "disable"
METRICS_ONLY = "metrics_only"
RESET = "reset"


class Move(NamedTuple):
    """One row: in `source`, `trigger` leads to `dest` if the state's method named `guard` agrees."""

    trigger: str
    source: State | None  # None: from any state
    dest: State
    guard: str | None = None


_ANY = None

TABLE = (
    #    trigger          source           dest             guard, a method of the state it leaves
    Move(TRIP,            State.CLOSED,    State.OPEN,      "threshold_reached"),
    Move(TIMEOUT_ELAPSED, State.OPEN,      State.HALF_OPEN, "recovery_timeout_elapsed"),
    Move(PROBE_SUCCEEDED, State.HALF_OPEN, State.CLOSED,    "enough_probes_succeeded"),
    Move(PROBE_FAILED,    State.HALF_OPEN, State.OPEN),
    Move(PROBE_EXPIRED,   State.HALF_OPEN, State.OPEN,      "probe_lease_ran_out"),
    Move(FORCE_OPEN,      _ANY,            State.FORCED_OPEN),
    Move(DISABLE,         _ANY,            State.DISABLED),
    Move(METRICS_ONLY,    _ANY,            State.METRICS_ONLY),
    Move(RESET,           _ANY,            State.CLOSED),
)  # fmt: skip  # a table has columns
"""The moves of every breaker that has no ramp."""


def _ramped(move: Move) -> Move:
    """The same row, ending in RAMPING where it would have closed after the probes."""
    if move.trigger != PROBE_SUCCEEDED:
        return move
    return Move(move.trigger, move.source, State.RAMPING, move.guard)


RAMP_TABLE = (
    *map(_ramped, TABLE),
    Move(TRIP,            State.RAMPING,   State.OPEN,      "threshold_reached"),
    Move(RAMP_OVER,       State.RAMPING,   State.CLOSED,    "ramp_elapsed"),
)  # fmt: skip  # a table has columns
"""The moves of a breaker with a `RampUp`: traffic grows back before the circuit counts as closed."""
