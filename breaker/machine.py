"""The shared state machines, built once from the table's rows; they own no breaker.

A machine is asked to `fire` a trigger for a breaker it has never seen: it reads the breaker's `state`,
looks for a row, asks that row's guard (a method of the breaker) and enters the row's destination, which
begins a new stay. Nothing else happens on a move; counting is the stays' business.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import transitions

from breaker.states import STAYS
from breaker.table import RAMP_TABLE, TABLE, State


class StateNode(transitions.State):
    """A state of the machine. Entering it begins a new stay and does nothing else."""

    def enter(self, event_data: Any) -> None:
        breaker = event_data.model
        if breaker._stay.state != event_data.transition.source:
            return  # a signal handler or a finalizer came in between, and moved first
        breaker._begin_stay_locked(STAYS[State(self.name)], event_data.event.name)

    def exit(self, event_data: transitions.EventData) -> None:
        """Nothing: the stay that ends is told by the one that begins."""


class BreakerMachine(transitions.Machine):
    """A machine that drives breakers it does not own."""

    state_cls = StateNode

    def set_state(self, state: Any, model: Any = None) -> None:
        """Nothing: a breaker's state is its stay's, which `StateNode.enter` replaces in one assignment."""

    def fire(self, trigger: str, breaker: Any) -> bool:
        """Move `breaker` by a row for `trigger` whose guard agrees. Whether it moved.

        Raises `transitions.MachineError` when its state has no row for this trigger.
        """
        moved: bool = self.events[trigger].trigger(breaker)
        return moved


@cache
def machine(*, ramping: bool) -> BreakerMachine:
    """The machine of breakers with, or without, a `RampUp`."""
    rows = RAMP_TABLE if ramping else TABLE
    return BreakerMachine(
        model=None,
        states=[state.value for state in State if ramping or state is not State.RAMPING],
        initial=None,
        transitions=[
            {"trigger": row.trigger, "source": row.source or "*", "dest": row.dest, "conditions": row.guard}
            for row in rows
        ],
        auto_transitions=False,
    )
