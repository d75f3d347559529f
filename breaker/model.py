"""The model that the machine drives: one breaker's lock, its present stay, its guards and its moves.

Only the machine calls `_begin_stay_locked`; everybody else asks for a move with `_fire_locked`. How calls
are admitted and settled is in `breaker.calls`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NoReturn

from transitions import MachineError

from breaker import checks, outbox, process
from breaker.backoff import RampUp
from breaker.calls import EVENT_OF
from breaker.events import (
    CallEvent,
    CallFailed,
    StateChanged,
    Statistics,
    TripReport,
)
from breaker.health import HealthCheck
from breaker.ledger import Ledger
from breaker.machine import machine
from breaker.outcome import DEFAULT
from breaker.permit import Permit
from breaker.settings import Settings
from breaker.states import STAYS, Closed, HalfOpen, Open, Ramping
from breaker.stay import Stay
from breaker.table import TIMEOUT_ELAPSED, TRIP, State


class Model:
    """What a breaker is made of."""

    __slots__ = ("__weakref__", "_health", "_ledger", "_lock", "_name", "_outbox", "_settings", "_stay")
    _stay: Stay

    def _set_up(
        self, name: str, settings: Settings, health: HealthCheck | None, listeners: Iterable[Callable[[Any], object]]
    ) -> None:
        """Begin the first stay."""
        self._name, self._settings, self._health = name, settings, health
        self._outbox = outbox.Outbox.of(listeners)
        self._lock = threading.RLock()
        self._ledger: Ledger | None = None
        state = settings.initial_state
        if state is not State.CLOSED:
            self._ledger = Ledger()
            self._stay = Stay(self)  # an initial OPEN asks the stay before it how many failures opened it: none
        self._stay = STAYS[state](self)
        if state is State.OPEN:
            self._ledger_locked().last_failure_time = self._stay.since
        process.join(self)
        if self._outbox is None and outbox.anybody_everywhere():
            self._heed_listeners()  # somebody subscribed to every breaker while this one was made
        if health is not None:
            health.look_after(self)  # a circuit that begins open is pinged, too

    @property
    def _ramp_up(self) -> RampUp:
        assert self._settings.ramp is not None  # RAMPING is in the table of breakers with a ramp alone
        return self._settings.ramp

    def _ledger_locked(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger()
        return self._ledger

    @property
    def name(self) -> str:
        """The name given to it: in events, errors, metrics and logs."""
        return self._name

    def _measures(self) -> bool:
        """Whether somebody needs to know of each success: then calls carry permits."""
        if self._settings.trip.timed or self._settings.classifier.judges_results:
            return True
        return self._outbox is not None and any(map(self._outbox.wants, EVENT_OF.values()))

    def _is_quiet(self) -> bool:
        """Whether a failure that moves nothing concerns nobody but the tally."""
        untold = self._outbox is None or not self._outbox.wants(CallFailed)
        return untold and self._settings.classifier is DEFAULT

    def _tell_call(
        self, kind: type[CallEvent], stay: Stay, duration: float | None, error: BaseException | None
    ) -> None:
        if self._outbox is not None and self._outbox.wants(kind):
            self._outbox.put(kind(self._name, time.time(), stay.state, duration, error))

    def _after_lock(self) -> None:
        """What the lock's holder left to do: events to deliver, a health check to start."""
        if self._lock._is_owned():  # type: ignore[attr-defined]  # a finalizer's frame: the one below it will do this
            return
        if self._outbox is not None:
            self._outbox.deliver()
        if self._health is not None:
            self._health.look_after(self)

    def _probe(self) -> Permit | None:
        """A permit for the health check; None when it is not time for one."""
        with self._lock:
            if isinstance(self._stay, Open) and self._stay.elapsed(self):
                self._fire_locked(self._stay, TIMEOUT_ELAPSED)
            stay = self._stay
        permit = stay.probe(self) if isinstance(stay, HalfOpen) else None
        self._after_lock()
        return permit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} {self._stay.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a breaker is shared, not copied or pickled: {self!r}")

    # -- moving -----------------------------------------------------------------------------------------

    def _fire_locked(self, stay: Stay, trigger: str) -> None:
        """Ask the machine for a move, unless `stay` is over: then the world has moved on."""
        if self._stay is not stay:
            return
        try:
            machine(ramping=self._settings.ramp is not None).fire(trigger, self)
        except MachineError:
            if self._stay is stay:  # else a signal handler or a finalizer came in between, and moved first
                raise

    def _begin_stay_locked(self, stay_class: type[Stay], trigger: str) -> None:
        """Called by the machine alone, on entering a state."""
        old, ledger = self._stay, self._ledger_locked()
        new = stay_class(self)  # runs the user's clock, policy and period: may raise, nothing moved yet
        report = self._report_locked(old, new.period) if isinstance(new, Open) else None
        change = StateChanged(self._name, new.since, old.state, new.state, trigger, report)
        if self._stay is not old:
            return  # a signal handler or a finalizer came in between, and moved first
        self._stay = new
        old.gated = True  # who still holds it must ask again
        if old.ticks is not None:
            ledger.retire(old.ticks)
        if report is not None:
            ledger.add_opening(report)
        elif isinstance(new, Closed):
            ledger.forget_openings()
        if new.state is not old.state:
            self._tell_change_locked(change)

    def _tell_change_locked(self, change: StateChanged) -> None:
        self._ledger_locked().history.append(change)
        if self._outbox is not None and self._outbox.wants(StateChanged):
            self._outbox.put(change)

    def _tell_would_open_locked(self, stay: Stay) -> None:
        """METRICS_ONLY reached the limit."""
        report = self._report_locked(stay, 0.0)
        state = stay.state
        self._tell_change_locked(StateChanged(self._name, report.at, state, state, TRIP, report))

    def _report_locked(self, stay: Stay, open_for: float) -> TripReport:
        """Why `stay` opens the circuit."""
        with nullcontext() if stay.ticks is None else stay.ticks.held_locked():
            why = stay.why_locked(self)
        return TripReport(
            breaker_name=self._name,
            at=time.time(),
            since=stay.since,
            last_exception=self._ledger_locked().last_text,
            open_for=open_for,
            **why,
        )

    def _open_period_locked(self, now: float) -> float:
        """Seconds that an opening at `now` (on the breaker's clock) lasts."""
        ledger, recovery = self._ledger_locked(), self._settings.recovery
        if isinstance(recovery, float):
            period = recovery
        else:
            period = checks.seconds("an open period", recovery.period(ledger.reopenings))
        if ledger.asked_until is not None:
            period = max(period, ledger.asked_until - now)
        maximum: float | None = getattr(recovery, "maximum", None)
        return period if maximum is None else min(period, maximum)

    def _statistics_locked(self) -> Statistics:
        ticks = self._stay.ticks
        with nullcontext() if ticks is None else ticks.held_locked():
            return self._statistics_held(self._stay, self._ledger or Ledger())

    def _statistics_held(self, stay: Stay, ledger: Ledger) -> Statistics:
        tally, (successes, failures) = stay.tally, ledger.totals(stay.ticks)
        return Statistics(
            breaker_name=self._name,
            state=stay.state,
            since=stay.since,
            calls=successes + failures,
            successes=successes,
            failures=failures,
            slow=ledger.slow,
            ignored=ledger.ignored,
            rejected=ledger.rejections.read_locked(),
            openings=ledger.openings,
            failure_rate=tally.failure_rate(),
            slow_call_rate=tally.slow_call_rate(),
            window_calls=tally.calls(),
        )

    # -- guards: asked by the machine, under the lock -----------------------------------------------------

    def threshold_reached(self) -> bool:
        """Whether the trip policy's limit is reached."""
        return self._stay.tally.tripped()

    def recovery_timeout_elapsed(self) -> bool:
        """Whether OPEN has lasted long enough. The boundary instant counts as elapsed."""
        return isinstance(self._stay, Open) and self._stay.elapsed(self)

    def enough_probes_succeeded(self) -> bool:
        """Whether `success_threshold` probes of this half-open stay have succeeded."""
        return isinstance(self._stay, HalfOpen) and self._stay.successes >= self._settings.success_threshold

    def probe_lease_ran_out(self) -> bool:
        """Whether a probe has been in flight for `probe_timeout` or longer."""
        return isinstance(self._stay, HalfOpen) and self._stay.expired(self)

    def ramp_elapsed(self) -> bool:
        """Whether the ramp is over. The boundary instant counts as over."""
        return isinstance(self._stay, Ramping) and self._stay.left(self) == 0.0

    # -- the process ------------------------------------------------------------------------------------

    def _heed_listeners(self) -> None:
        """Somebody subscribed or unsubscribed: begin or cease to measure calls."""
        with self._lock:
            if self._outbox is None and outbox.anybody_everywhere():
                self._outbox = outbox.Outbox()
            self._stay.measure_locked(self)

    def _rest(self) -> None:
        """Hold still: the process is about to fork."""
        self._lock.acquire()

    def _wake(self) -> None:
        self._lock.release()

    def _wake_in_child(self) -> None:
        """Threads of the parent are gone: nobody is delivering, nobody is checking health."""
        if self._outbox is not None:
            self._outbox.reset_after_fork()
        ledger = self._ledger
        for ticks in (self._stay.ticks, *(ledger.counters() if ledger is not None else ())):
            if ticks is not None:
                ticks.renew_lock()
        if self._health is not None:
            self._health.reset_after_fork()
            self._health.look_after(self)
