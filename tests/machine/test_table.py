"""The matrix: each trigger in each state, with and without a ramp, is a row of the table or a `MachineError`."""

from __future__ import annotations

from typing import Any

import pytest
import transitions

from breaker import CircuitBreaker, RampUp, State
from breaker.machine.machine import machine
from breaker.states import STATE_CLASSES
from breaker.table import RAMP_TABLE, TABLE, Move
from breaker.testing import ManualClock

TABLES = {False: TABLE, True: RAMP_TABLE}
GUARDS = {row.guard for row in RAMP_TABLE if row.guard}
TRIGGERS = sorted({row.trigger for row in RAMP_TABLE})
STATES = {ramping: [state for state in State if ramping or state is not State.RAMPING] for ramping in TABLES}
PAIRS = [
    pytest.param(ramping, state, trigger, id=f"{state}-{trigger}{'-ramp' * ramping}")
    for ramping, states in STATES.items()
    for state in states
    for trigger in TRIGGERS
    if any(row.trigger == trigger for row in TABLES[ramping])
]


def answering(answer: bool) -> type[CircuitBreaker]:
    """A breaker whose states give this answer for all of their guards."""
    guards = {guard: lambda self, breaker: answer for guard in GUARDS}
    classes = {name: type(state.__name__, (state,), guards) for name, state in STATE_CLASSES.items()}
    return type("Answering", (CircuitBreaker,), {"_state_classes": classes})


def standing_in(state: State, ramping: bool, guards: bool) -> Any:
    ramp = RampUp(60.0) if ramping else None
    return answering(guards)("payments", initial_state=state, ramp=ramp, clock=ManualClock())


def row_for(ramping: bool, state: State, trigger: str) -> Move | None:
    rows = [row for row in TABLES[ramping] if row.trigger == trigger and row.source in (state, None)]
    assert len(rows) <= 1, "two rows for one trigger in one state"
    return rows[0] if rows else None


@pytest.mark.parametrize(("ramping", "state", "trigger"), PAIRS)
def test_a_trigger_moves_the_breaker_along_its_row_or_is_refused(ramping: bool, state: State, trigger: str) -> None:
    breaker = standing_in(state, ramping, guards=True)
    row = row_for(ramping, state, trigger)
    if row is None:
        with pytest.raises(transitions.MachineError):
            machine(ramping=ramping).fire(trigger, breaker)
        assert breaker.state is state
        assert breaker.history == ()
    else:
        assert machine(ramping=ramping).fire(trigger, breaker)
        assert breaker.state is row.dest


@pytest.mark.parametrize(("ramping", "state", "trigger"), PAIRS)
def test_a_guard_that_says_no_holds_the_breaker_where_it_is(ramping: bool, state: State, trigger: str) -> None:
    row = row_for(ramping, state, trigger)
    if row is None:
        return  # refused whatever the guards say, as the test above has it
    breaker = standing_in(state, ramping, guards=False)
    moved = machine(ramping=ramping).fire(trigger, breaker)
    assert moved == (row.guard is None)
    assert breaker.state is (state if row.guard else row.dest)


@pytest.mark.parametrize("ramping", [False, True])
def test_the_table_is_the_one_of_the_design(ramping: bool) -> None:
    recovered = "RAMPING" if ramping else "CLOSED"
    expected = {
        ("CLOSED", "trip", "threshold_reached", "OPEN"),
        ("OPEN", "timeout_elapsed", "recovery_timeout_elapsed", "HALF_OPEN"),
        ("HALF_OPEN", "probe_succeeded", "enough_probes_succeeded", recovered),
        ("HALF_OPEN", "probe_failed", None, "OPEN"),
        ("HALF_OPEN", "probe_expired", "probe_lease_ran_out", "OPEN"),
        (None, "force_open", None, "FORCED_OPEN"),
        (None, "disable", None, "DISABLED"),
        (None, "metrics_only", None, "METRICS_ONLY"),
        (None, "reset", None, "CLOSED"),
    }
    if ramping:
        expected |= {
            ("RAMPING", "trip", "threshold_reached", "OPEN"),
            ("RAMPING", "ramp_over", "ramp_elapsed", "CLOSED"),
        }
    assert {(row.source, row.trigger, row.guard, row.dest) for row in TABLES[ramping]} == expected


@pytest.mark.parametrize("ramping", [False, True])
def test_the_machine_knows_the_tables_moves_and_no_others(ramping: bool) -> None:
    known = machine(ramping=ramping)
    assert set(known.states) == {state.value for state in STATES[ramping]}
    assert set(known.events) == {row.trigger for row in TABLES[ramping]}
    for trigger, event in known.events.items():
        for source, moves in event.transitions.items():
            row = row_for(ramping, State(source), trigger)
            assert row is not None
            assert [str(move.dest) for move in moves] == [row.dest.value]


@pytest.mark.parametrize("row", [row for row in RAMP_TABLE if row.guard], ids=lambda row: f"{row.source}-{row.trigger}")
def test_every_guard_is_a_documented_method_of_the_state_that_its_row_leaves(row: Move) -> None:
    assert row.source is not None
    assert row.guard is not None
    assert getattr(STATE_CLASSES[row.source], row.guard).__doc__
    assert not hasattr(CircuitBreaker, row.guard)


def test_one_machine_drives_all_breakers_and_keeps_none() -> None:
    before = machine(ramping=False)
    breaker = CircuitBreaker("payments")
    breaker.force_open()
    assert machine(ramping=False) is before
    assert before.models == []


def test_a_trigger_moves_only_the_breaker_it_is_fired_for() -> None:
    moved, other = CircuitBreaker("payments"), CircuitBreaker("stock")
    moved.force_open()
    assert (moved.state, other.state) == (State.FORCED_OPEN, State.CLOSED)


def test_each_move_is_in_the_history_with_its_trigger() -> None:
    breaker = CircuitBreaker("payments", clock=ManualClock())
    breaker.metrics_only()
    breaker.disable()
    breaker.force_open()
    breaker.reset()
    assert [(change.trigger, change.old, change.new) for change in breaker.history] == [
        ("metrics_only", State.CLOSED, State.METRICS_ONLY),
        ("disable", State.METRICS_ONLY, State.DISABLED),
        ("force_open", State.DISABLED, State.FORCED_OPEN),
        ("reset", State.FORCED_OPEN, State.CLOSED),
    ]
