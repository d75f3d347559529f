"""The model that the machine drives: one breaker's lock, guards, moves, and the two verbs of every call.

`_admit` gives a permit or rejects; `_settle` takes the end of a call to the stay that admitted it. Every
call surface is a few lines around the two. The settings' validation is here, the surfaces are not.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn, cast

from breaker import checks, outbox, process
from breaker.backoff import OpenPeriod, RampUp
from breaker.errors import CircuitOpenError
from breaker.events import CallEvent, CallFailed, CallIgnored, CallRejected, CallSucceeded, StateChanged, Statistics, TripReport
from breaker.health import HealthCheck
from breaker.ledger import Ledger
from breaker.machine import machine
from breaker.outcome import FAILURE, IGNORED, SUCCESS, Classifier, Verdict, name_of, text_of
from breaker.permit import Permit
from breaker.states import STAYS, Closed, HalfOpen, Open, Ramping
from breaker.stay import Stay
from breaker.table import TIMEOUT_ELAPSED, State
from breaker.trip import Policy

_EVENT_OF = {SUCCESS: CallSucceeded, FAILURE: CallFailed, IGNORED: CallIgnored}
_DEFAULT_LEASE = 30.0


class Model:
    """What a breaker is made of. `CircuitBreaker` adds what its users call."""

    __slots__ = (
        "__weakref__",
        "_classifier",
        "_clock",
        "_half_open_max_calls",
        "_health",
        "_ledger",
        "_lock",
        "_name",
        "_outbox",
        "_probe_timeout",
        "_ramp",
        "_recovery",
        "_stay",
        "_success_threshold",
        "_trip",
    )
    _stay: Stay
    _clock: Callable[[], float]
    _classifier: Classifier
    _half_open_max_calls: int
    _success_threshold: int
    _health: HealthCheck | None
    _outbox: outbox.Outbox | None
    _name: str

    def _set_up(
        self,
        trip: Policy,
        recovery: float | OpenPeriod,
        probe_timeout: float | None,
        ramp: RampUp | None,
        initial_state: State,
    ) -> None:
        """Check what depends on more than one setting, and begin the first stay."""
        self._trip, self._recovery, self._ramp = trip, _checked_recovery(recovery), ramp
        if ramp is not None and not isinstance(ramp, RampUp):
            raise TypeError(f"ramp must be a RampUp or None, got {ramp!r}")
        if probe_timeout is None:
            # A lease of nothing would be over before its probe began.
            lease = recovery if isinstance(recovery, int | float) else getattr(recovery, "initial", _DEFAULT_LEASE)
            self._probe_timeout = float(lease) or _DEFAULT_LEASE
        else:
            self._probe_timeout = checks.positive_seconds("probe_timeout", probe_timeout)
        state = _checked_state(initial_state, ramp)
        self._lock = threading.RLock()
        self._ledger: Ledger | None = None
        if state is not State.CLOSED:
            self._ledger = Ledger()
        self._begin_first_stay(STAYS[state])
        process.join(self)

    def _begin_first_stay(self, first: type[Stay]) -> None:
        # An initial OPEN asks the stay before it how many failures opened it: none.
        self._stay = Stay(self)
        self._stay = first(self)
        if first is Open:
            self._ledger_locked().last_failure_time = time.time()

    @property
    def _ramp_up(self) -> RampUp:
        assert self._ramp is not None  # RAMPING is in the table of breakers with a ramp alone
        return self._ramp

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
        if self._trip.timed or self._classifier.judges_results:
            return True
        return self._outbox is not None and any(map(self._outbox.wants, _EVENT_OF.values()))

    # -- the two verbs ----------------------------------------------------------------------------------

    def _admit(self, slow_after: float | None = None) -> Permit:
        """Leave to make a call now. Raises `CircuitOpenError`."""
        while True:
            permit = self._stay.admit(self, slow_after)
            if permit is not None:
                return permit
            self._after_lock()

    def _probe(self) -> Permit | None:
        """A permit for the health check; None when it is not time for one."""
        with self._lock:
            if isinstance(self._stay, Open) and self._stay.elapsed(self):
                self._fire_locked(self._stay, TIMEOUT_ELAPSED)
            stay = self._stay
        self._after_lock()
        return stay.probe(self) if isinstance(stay, HalfOpen) else None

    def _take_back(self, permit: Permit) -> None:
        """The call was not made after all: as if the permit had never been given."""
        permit._settled = True
        with self._lock:
            permit._stay.release_locked(permit._key)

    def _rejection(self, stay: Stay, wait: float | None) -> CircuitOpenError:
        """The error for a call that `stay` does not let through, counted and told."""
        ledger = self._ledger
        assert ledger is not None  # every state that rejects has one
        ledger.rejections.advance()
        error = CircuitOpenError(self._name, stay.state, wait, ledger.last_trip)
        if self._outbox is not None:
            self._tell_call(CallRejected, stay, None, error)
            self._outbox.deliver()
        return error

    def _settle_error(self, stay: Stay, error: BaseException, permit: Permit | None = None) -> None:
        """The call raised `error`. Raises what a classifier raised, chained to it, after counting a failure."""
        if not stay.counts:
            self._settle(stay, (IGNORED, None), error, permit)
            return
        try:
            verdict = self._classifier.of_error(error)
        except BaseException as broken:
            self._settle_broken(stay, broken, error, permit)
        self._settle(stay, verdict, error, permit)

    def _settle_result(self, stay: Stay, result: object, permit: Permit | None = None) -> None:
        """The call returned `result`. Raises what a classifier raised, after counting a failure."""
        try:
            verdict = self._classifier.of_result(result) if stay.counts else (SUCCESS, None)
        except BaseException as broken:
            self._settle_broken(stay, broken, None, permit)
        self._settle(stay, verdict, None, permit)

    def _settle_broken(
        self, stay: Stay, broken: BaseException, error: BaseException | None, permit: Permit | None
    ) -> NoReturn:
        """A classifier raised: a failure, unless it was interrupted."""
        outcome = FAILURE if isinstance(broken, Exception) else IGNORED
        self._settle(stay, (outcome, None), error or broken, permit)
        raise broken from error

    def _settle(
        self, stay: Stay, verdict: Verdict, error: BaseException | None = None, permit: Permit | None = None
    ) -> None:
        """The call that `stay` admitted ended with this verdict. The permit is back when this returns or raises."""
        key = duration = None
        slow = False
        try:
            if permit is not None:
                permit._settled, key = True, permit._key
                if permit._started is not None:
                    duration = self._clock() - permit._started
                    slow = verdict[0] is not IGNORED and stay.tally.is_slow(duration, permit._slow_after)
            if verdict[0] is SUCCESS and not slow and (tick := stay.tick) is not None:
                tick()
                if stay.counts:
                    self._tell_call(CallSucceeded, stay, duration, error)
            elif stay.counts:
                text = None
                while not self._decide(stay, verdict, error, key, duration, slow, text):
                    text = text_of(error)
        except BaseException:
            stay.abandon(key)
            raise
        self._after_lock()

    def _decide(
        self,
        stay: Stay,
        verdict: Verdict,
        error: BaseException | None,
        key: int | None,
        duration: float | None,
        slow: bool,
        text: str | None,
    ) -> bool:
        """Count the call and move if that is due. False: this may open the circuit, come back with a text."""
        outcome, asked = verdict
        with self._lock:
            current = self._stay is stay
            if outcome is FAILURE and current and error is not None and text is None and stay.last_straw_locked():
                return False
            self._tell_call(_EVENT_OF[outcome], stay, duration, error)
            ledger = self._ledger_locked()
            if not current:
                ledger.add_late(outcome, slow)
            elif outcome is IGNORED:
                ledger.ignored += 1
                stay.ignore_locked(self, key)
            elif outcome is SUCCESS:
                ledger.slow += slow
                stay.succeed_locked(self, key, duration, slow)
            else:
                ledger.slow += slow
                ledger.failures += 1
                ledger.last_text = text
                self._note_asked_locked(asked)
                stay.fail_locked(self, key, name_of(error), duration, slow)
        return True

    def _note_asked_locked(self, asked: float | None) -> None:
        """The dependency asked to be left alone for `asked` seconds."""
        if asked is not None:
            ledger = self._ledger_locked()
            ledger.asked_until = max(self._clock() + asked, ledger.asked_until or 0.0)

    def _tell_call(self, kind: type[CallEvent], stay: Stay, duration: float | None, error: BaseException | None) -> None:
        if self._outbox is not None and self._outbox.wants(kind):
            self._outbox.put(kind(self._name, time.time(), stay.state, duration, error))

    def _after_lock(self) -> None:
        """What the lock's holder left to do: events to deliver, a health check to start."""
        if self._outbox is not None:
            self._outbox.deliver()
        if self._health is not None:
            self._health.look_after(self)

    # -- moving -----------------------------------------------------------------------------------------

    def _fire_locked(self, stay: Stay, trigger: str) -> None:
        """Ask the machine for a move, unless `stay` is over: then the world has moved on."""
        if self._stay is stay:
            machine(ramping=self._ramp is not None).fire(trigger, self)

    def _begin_stay_locked(self, stay_class: type[Stay], trigger: str) -> None:
        """Called by the machine alone, on entering a state."""
        old, ledger = self._stay, self._ledger_locked()
        new = stay_class(self)  # runs the user's clock, policy and period: may raise, nothing moved yet
        report = self._report_locked(old, new.until - self._clock()) if isinstance(new, Open) else None
        change = StateChanged(self._name, new.since, old.state, new.state, trigger, report)
        if self._stay is not old:
            return  # a signal handler or a finalizer came in between, and moved first
        self._stay = new
        ledger.successes += old.successes_locked()
        old.end_locked()
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
        self._tell_change_locked(StateChanged(self._name, report.at, state, state, "trip", report))

    def _report_locked(self, stay: Stay, open_for: float) -> TripReport:
        """Why `stay` opens the circuit."""
        policy, reason = stay.why_locked(self)
        tally = stay.tally
        return TripReport(
            breaker_name=self._name,
            at=time.time(),
            policy=policy,
            reason=reason,
            since=stay.since,
            calls=tally.calls() or stay.failure_count_locked(),
            failures=stay.failure_count_locked(),
            failure_rate=tally.failure_rate(),
            slow_calls=tally.slow_calls(),
            slow_call_rate=tally.slow_call_rate(),
            exceptions=dict(Counter(stay.kinds_locked()).most_common()),
            last_exception=self._ledger_locked().last_text,
            open_for=open_for,
        )

    def _open_period_locked(self, now: float) -> float:
        """Seconds that an opening at `now` (on the breaker's clock) lasts."""
        ledger, recovery = self._ledger_locked(), self._recovery
        if isinstance(recovery, float):
            period = recovery
        else:
            period = checks.seconds("an open period", recovery.period(ledger.reopenings))
        if ledger.asked_until is not None:
            period = max(period, ledger.asked_until - now)
        maximum: float | None = getattr(recovery, "maximum", None)
        return period if maximum is None else min(period, maximum)

    def _statistics_locked(self) -> Statistics:
        stay, ledger = self._stay, self._ledger or Ledger()
        tally, successes = stay.tally, ledger.successes + stay.successes_locked()
        return Statistics(
            breaker_name=self._name,
            state=stay.state,
            since=stay.since,
            calls=successes + ledger.failures,
            successes=successes,
            failures=ledger.failures,
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
        return cast(Open, self._stay).elapsed(self)

    def enough_probes_succeeded(self) -> bool:
        """Whether `success_threshold` probes of this half-open stay have succeeded."""
        return cast(HalfOpen, self._stay).successes >= self._success_threshold

    def probe_lease_ran_out(self) -> bool:
        """Whether a probe has been in flight for `probe_timeout` or longer."""
        return cast(HalfOpen, self._stay).expired(self)

    def ramp_elapsed(self) -> bool:
        """Whether the ramp is over. The boundary instant counts as over."""
        return cast(Ramping, self._stay).left(self) == 0.0

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
        if self._health is not None:
            self._health.reset_after_fork()
            self._health.look_after(self)


def _checked_recovery(recovery: Any) -> float | OpenPeriod:
    if isinstance(recovery, OpenPeriod) and not isinstance(recovery, type):
        return recovery
    return checks.seconds("recovery_timeout", recovery)


def _checked_state(state: Any, ramp: RampUp | None) -> State:
    if not isinstance(state, State):
        raise ValueError(f"initial_state must be a State, got {state!r}")
    if state is State.RAMPING and ramp is None:
        raise ValueError(f"initial_state {state.value!r} needs a ramp")
    return state
