"""The two verbs at the bottom of every call: admit and settle.

`_admit` gives a permit or rejects; `_settle` takes the end of a call to the state that admitted it, which
decides what it means. Every way to call is a few lines around the two. Nothing here knows a state by name.
"""

from __future__ import annotations

from typing import NoReturn

from breaker.machine.model import CircuitState, Model
from breaker.observe.events import EVENT_OF, CallSucceeded
from breaker.outcome import FAILURE, IGNORED, NEUTRAL, SUCCEEDED, SUCCESS, Verdict, name_of, text_of
from breaker.permit import Permit


class CallPath(Model):
    """A model that calls can be led through."""

    __slots__ = ()

    def _admit(self, slow_after: float | None = None) -> Permit:
        """Leave to make a call now. Raises `CircuitOpenError`."""
        return self._state.admit(self, slow_after) or self._admit_after_move(slow_after)

    def _admit_after_move(self, slow_after: float | None) -> Permit:
        """The state that was asked is over: tell of the move before the call begins, and ask the next one."""
        self._after_lock()
        return self._admit(slow_after)

    def _admit_prober(self) -> Permit | None:
        """A permit for the prober, which is let in where callers are not; None when it is not time for one."""
        asked = self._state
        permit = asked.admit_prober(self)
        if permit is None and self._state is not asked:
            permit = self._state.admit_prober(self)
        self._after_lock()
        return permit

    def _cancel(self, permit: Permit) -> None:
        """The call was not made after all: as if the permit had never been given."""
        with self._lock:
            permit._state.release_locked(permit._key)
        permit._settled = True  # last: until then an interrupted one comes back when it is collected

    def _settle_plain_error(self, state: CircuitState, error: BaseException) -> None:
        """`_settle_error` for a call made without a permit: most failures move nothing and are told to nobody."""
        if state.failures_unheard and isinstance(error, Exception):
            with self._lock:
                if self._state is state and state.tally.try_count_failure(type(error).__name__):
                    state.count_success = state.tally.count_success
                    return
        self._settle_error(state, error)

    def _settle_error(self, state: CircuitState, error: BaseException, permit: Permit | None = None) -> None:
        """The call raised `error`. Raises what a classifier raised, chained to it, after counting a failure."""
        if not state.counts:
            self._settle(state, NEUTRAL, error, permit)
            return
        try:
            verdict = self._settings.classifier.of_error(error)
        except BaseException as broken:
            self._settle_broken(state, broken, error, permit)
        self._settle(state, verdict, error, permit)

    def _settle_result(self, state: CircuitState, result: object, permit: Permit | None = None) -> None:
        """The call returned `result`. Raises what a classifier raised, after counting a failure."""
        try:
            verdict = self._settings.classifier.of_result(result) if state.counts else SUCCEEDED
        except BaseException as broken:
            self._settle_broken(state, broken, None, permit)
        self._settle(state, verdict, None, permit)

    def _settle_broken(
        self, state: CircuitState, broken: BaseException, error: BaseException | None, permit: Permit | None
    ) -> NoReturn:
        """A classifier raised: a failure, unless it was interrupted."""
        outcome = FAILURE if isinstance(broken, Exception) else IGNORED
        self._settle(state, (outcome, None), error or broken, permit)
        try:
            if broken is error:
                raise broken
            raise broken from error
        finally:
            del broken, error  # its traceback holds this frame, which would hold it

    def _settle(
        self, state: CircuitState, verdict: Verdict, error: BaseException | None = None, permit: Permit | None = None
    ) -> None:
        """The call that `state` admitted ended with this verdict. The permit is back when this returns or raises."""
        key = duration = None
        slow = 0
        try:
            if permit is not None:
                permit._settled, key = True, permit._key
                if permit._started is not None:
                    duration = self._settings.clock() - permit._started
                    slow = state.tally.is_slow(duration, permit._slow_after)
            if verdict[0] is SUCCESS and not slow and (count_success := state.count_success) is not None:
                count_success()
                if state.counts:
                    self._tell_call(CallSucceeded, state, duration, error)
            elif state.counts:
                text: str | None = None
                while not self._decide(state, verdict, error, key, duration, slow, text):
                    text = text_of(error)
        except BaseException:
            if permit is not None:
                state.abandon(permit._key)
            raise
        self._after_lock()

    def _decide(
        self,
        state: CircuitState,
        verdict: Verdict,
        error: BaseException | None,
        key: int | None,
        duration: float | None,
        slow: int,
        text: str | None,
    ) -> bool:
        """Count the call and move if that is due. False: this may open the circuit, come back with a text."""
        outcome, retry_after = verdict
        with self._lock:
            current = self._state is state
            if outcome is FAILURE and current and error is not None and text is None and state.would_trip_locked():
                return False
            self._tell_call(EVENT_OF[outcome], state, duration, error)
            totals = self._totals_locked()
            if not current:
                totals.add_late(outcome, slow)
            elif outcome is IGNORED:
                totals.ignored += 1
                state.on_ignored(self, key)
            elif outcome is SUCCESS:
                totals.slow += slow > 0
                state.on_success(self, key, duration, slow)
            else:
                totals.slow += slow > 0
                totals.last_text = text
                self._note_retry_after_locked(retry_after)
                state.on_failure(self, key, name_of(error), duration, slow)
        return True

    def _note_retry_after_locked(self, retry_after: float | None) -> None:
        """The dependency asked to be left alone for so many seconds."""
        if retry_after is not None:
            totals, until = self._totals_locked(), self._settings.clock() + retry_after
            totals.not_before = until if totals.not_before is None else max(until, totals.not_before)
