"""The two halves of the State pattern: `CircuitState`, one breaker's time in one state, and `Model`, which has one.

The machine moves a model between states by `Model._change_state_locked`, the one place where a breaker's
state changes; everybody else asks for a move with `Model._fire_locked`. What each state does is in
`breaker.states`, how calls are admitted and settled in `breaker.calls`. Nothing here knows a state by name
but CLOSED and OPEN, in which a breaker may begin and which open periods are counted by.

Methods ending in `_locked` need the breaker's lock; `on_...` callbacks and guards of states always do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, NoReturn

from transitions import MachineError

from breaker import checks
from breaker.errors import CircuitOpenError
from breaker.machine.machine import machine
from breaker.machine.prober import UNTOLD, Cause, Prober
from breaker.machine.totals import Totals
from breaker.observe import instances
from breaker.observe.bus import EventBus, anybody_everywhere
from breaker.observe.events import (
    EVENT_OF,
    CallEvent,
    CallFailed,
    CallRejected,
    StateChanged,
    Statistics,
    TripReport,
)
from breaker.outcome import DEFAULT
from breaker.permit import Permit
from breaker.policies.counter import AnyCounter
from breaker.policies.tally import Tally
from breaker.settings import Settings
from breaker.table import TRIP, State

_NO_TALLY = Tally()


class CircuitState:
    """One breaker's time in one state: the facts that are true only during it, and what calls do to them.

    Its identity is the generation: a result counts only in the state object that admitted the call. It never
    refers to its breaker, which would make a cycle, but is handed it.

    `needs_permit`: a call must ask `admit`; otherwise it may just be made. `count_success`: what a success
    costs, without the lock; None when the state must be told of it under the lock. `failures_unheard`: a
    failure that moves nothing need only be counted.
    """

    __slots__ = ("count_success", "failures_unheard", "needs_permit", "since")
    name: ClassVar[State]
    counts: ClassVar[bool] = True
    needs_permit: bool
    failures_unheard: bool
    count_success: Callable[[], object] | None
    tally: Tally = _NO_TALLY
    counter: AnyCounter | None = None
    report: TripReport | None = None
    """Why the circuit opened; only OPEN has one."""

    def __init__(self) -> None:
        self.since = time.time()
        self.needs_permit, self.failures_unheard, self.count_success = True, False, None

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        """The state begins; `breaker` still has the old one. Runs the user's clock and policy: may raise."""

    def on_exit(self, breaker: Model) -> None:
        """The state is over. Must not raise: `breaker` has its next state already."""

    def on_success(self, breaker: Model, key: int | None, duration: float | None, slow: int) -> None:
        """A call that this state admitted ended well."""

    def on_failure(self, breaker: Model, key: int | None, kind: str, duration: float | None, slow: int) -> None:
        """A call that this state admitted failed."""

    def on_ignored(self, breaker: Model, key: int | None) -> None:
        """A call that this state admitted ended neutral."""
        self.release_locked(key)

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        """A permit, or None when the circuit moved meanwhile: ask again. Raises `CircuitOpenError`."""
        raise NotImplementedError

    def admit_prober(self, breaker: Model) -> Permit | None:
        """A permit for the prober, which is let in where callers are not; None when it is not time for one."""
        return None

    def release_locked(self, key: int | None) -> None:
        """A permit of this state comes back."""

    def abandon(self, key: int | None) -> None:
        """A permit was collected unsettled. Takes no lock."""

    def retry_after_locked(self, breaker: Model) -> float | None:
        """Seconds until a call may be let through; None when only an operator can say."""
        return 0.0

    def would_trip_locked(self) -> bool:
        """Whether one more failure would open the circuit (or may: only the user's policy knows)."""
        raise NotImplementedError

    def failure_count_locked(self) -> int:
        """Failures counted now."""
        return self.tally.counts().failures

    def report_fields_locked(self, breaker: Model) -> dict[str, Any]:
        """What opens the circuit from here, and the counts behind it: fields of a `TripReport`."""
        raise NotImplementedError

    def choose_path_locked(self, breaker: Model) -> None:
        """Listeners came or went: see whether calls must carry permits."""


class Model:
    """What a breaker is made of, and what the machine moves."""

    __slots__ = ("__weakref__", "_bus", "_lock", "_name", "_prober", "_settings", "_state", "_totals")
    _state: CircuitState
    _state_classes: ClassVar[Mapping[str, type[CircuitState]]]
    # What `breaker.calls` adds to it, and the states' permits ask of it.
    _settle: Callable[..., None]
    _settle_error: Callable[..., None]
    _settle_result: Callable[..., None]

    def _set_up(
        self, name: str, settings: Settings, prober: Prober | None, listeners: Iterable[Callable[[Any], object]]
    ) -> None:
        """Enter the first state."""
        self._name, self._settings, self._prober = name, settings, prober
        self._bus = EventBus.of(listeners)
        self._lock = threading.RLock()
        self._totals: Totals | None = None
        self._state = state = self._state_classes[settings.initial_state]()
        state.on_enter(self, UNTOLD)
        if state.name is not State.CLOSED:
            totals = self._totals_locked()
            totals.last_failure_time = state.since if state.name is State.OPEN else None
        instances.register(self)
        if self._bus is None and anybody_everywhere():
            self._listeners_changed()  # somebody subscribed to every breaker while this one was made
        if prober is not None:
            prober.moved_locked(state.name, None, None)
            prober.ensure_running(self)  # a circuit that begins open is probed, too

    def _totals_locked(self) -> Totals:
        if self._totals is None:
            self._totals = Totals()
        return self._totals

    @property
    def name(self) -> str:
        """The name given to it: in events, errors, metrics and logs."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} {self._state.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a breaker is shared, not copied or pickled: {self!r}")

    # -- moving -------------------------------------------------------------------------------------------

    def _fire_locked(self, state: CircuitState, trigger: str, cause: Cause = UNTOLD) -> None:
        """Ask the machine for a move, unless `state` is over: then the world has moved on."""
        if self._state is not state:
            return
        try:
            machine(ramping=self._settings.ramp is not None).fire(trigger, self, cause)
        except MachineError:
            if self._state is state:  # else a signal handler or a finalizer came in between, and moved first
                raise

    def _change_state_locked(self, name: str, trigger: str, cause: Cause = UNTOLD) -> None:
        """Leave the present state and enter another: the one place where that happens. For the machine alone."""
        old, totals = self._state, self._totals_locked()
        new = self._state_classes[name]()
        new.on_enter(self, cause)
        change = StateChanged(self._name, new.since, old.name, new.name, trigger, new.report)
        if self._state is not old:
            return  # a signal handler or a finalizer came in between, and moved first
        self._state = new
        old.needs_permit = True  # who still holds it must ask again
        old.on_exit(self)
        if new.report is not None:
            totals.add_opening(new.report)
        elif new.name is State.CLOSED:
            totals.forget_openings()
        if new.name is not old.name:
            self._tell_change_locked(change)
        if self._prober is not None:
            self._prober.moved_locked(new.name, trigger, new.report)

    # -- telling ------------------------------------------------------------------------------------------

    def _tell_change_locked(self, change: StateChanged) -> None:
        self._totals_locked().history.append(change)
        if self._bus is not None and self._bus.wants(StateChanged):
            self._bus.publish(change)

    def _tell_would_open_locked(self, state: CircuitState) -> None:
        """METRICS_ONLY reached the limit."""
        report = self._report_locked(state, 0.0)
        self._tell_change_locked(StateChanged(self._name, report.at, state.name, state.name, TRIP, report))

    def _tell_call(
        self, kind: type[CallEvent], state: CircuitState, duration: float | None, error: BaseException | None
    ) -> None:
        if self._bus is not None and self._bus.wants(kind):
            self._bus.publish(kind(self._name, time.time(), state.name, duration, error))

    def _report_locked(self, state: CircuitState, open_for: float) -> TripReport:
        """Why `state` opens the circuit."""
        with nullcontext() if state.counter is None else state.counter.frozen_locked():
            fields = state.report_fields_locked(self)
        return TripReport(
            breaker_name=self._name,
            at=time.time(),
            since=state.since,
            last_exception=self._totals_locked().last_text,
            open_for=open_for,
            **fields,
        )

    def _rejection(self, state: CircuitState, wait: float | None) -> CircuitOpenError:
        """The error for a call that `state` does not let through, counted and told."""
        totals = self._totals
        assert totals is not None  # every state that rejects has them
        next(totals.rejections)
        error = CircuitOpenError(self._name, state.name, wait, totals.last_trip)
        if self._bus is not None:
            self._tell_call(CallRejected, state, None, error)
            self._after_lock()
        elif self._prober is not None:
            self._prober.ensure_running(self)
        return error

    def _after_lock(self) -> None:
        """What the lock's holder left to do: events to deliver, a prober to wake."""
        if self._lock._is_owned():  # type: ignore[attr-defined]  # a finalizer's frame: the one below it will do this
            return
        if self._bus is not None:
            self._bus.deliver()
        if self._prober is not None:
            self._prober.ensure_running(self)

    def _statistics_locked(self) -> Statistics:
        state, totals = self._state, self._totals or Totals()
        with nullcontext() if state.counter is None else state.counter.frozen_locked():
            return totals.statistics(self._name, state.name, state.since, state.counter, state.tally.counts())

    # -- what states ask of it ----------------------------------------------------------------------------

    def _calls_need_permits(self) -> bool:
        """Whether somebody needs to know of each success."""
        if self._settings.trip.timed or self._settings.classifier.judges_results:
            return True
        return self._bus is not None and any(map(self._bus.wants, EVENT_OF.values()))

    def _failures_unheard(self) -> bool:
        """Whether a failure that moves nothing concerns nobody but the tally."""
        untold = self._bus is None or not self._bus.wants(CallFailed)
        return untold and self._settings.classifier is DEFAULT

    def _callers_may_probe(self) -> bool:
        return self._prober is None or self._prober.may_probe(self)

    def _open_period_locked(self, now: float) -> float:
        """Seconds that an opening at `now` (on the breaker's clock) lasts."""
        totals, recovery = self._totals_locked(), self._settings.recovery
        if isinstance(recovery, float):
            period = recovery
        else:
            period = checks.seconds("an open period", recovery.period(totals.reopenings))
        if totals.not_before is not None:
            period = max(period, totals.not_before - now)
        maximum: float | None = getattr(recovery, "maximum", None)
        return period if maximum is None else min(period, maximum)

    # -- the process --------------------------------------------------------------------------------------

    def _listeners_changed(self) -> None:
        """Somebody subscribed or unsubscribed: begin or cease to measure calls."""
        with self._lock:
            if self._bus is None and anybody_everywhere():
                self._bus = EventBus()
            self._state.choose_path_locked(self)

    def _hold_for_fork(self) -> None:
        """Hold still: the process is about to fork."""
        self._lock.acquire()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child_after_fork(self) -> None:
        """Threads of the parent are gone: nobody is delivering, nobody is probing."""
        if self._bus is not None:
            self._bus.reset_after_fork()
        totals = self._totals
        for counter in (self._state.counter, *(totals.counters() if totals is not None else ())):
            if counter is not None:
                counter.renew_lock()
        if self._prober is not None:
            self._prober.in_child_after_fork()
            self._prober.ensure_running(self)
