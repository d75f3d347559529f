"""The two verbs at the bottom of every call: admit and settle.

`admit` gives a permit or rejects; `settle` takes the end of a call to the stay that admitted it, which
decides what it means. Every call surface is a few lines around the two. Nothing here knows a state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from breaker.errors import CircuitOpenError
from breaker.events import CallFailed, CallIgnored, CallRejected, CallSucceeded
from breaker.outcome import FAILURE, IGNORED, NEUTRAL, SUCCEEDED, SUCCESS, Verdict, name_of, text_of

if TYPE_CHECKING:
    from breaker.model import Model
    from breaker.permit import Permit
    from breaker.stay import Stay

EVENT_OF = {SUCCESS: CallSucceeded, FAILURE: CallFailed, IGNORED: CallIgnored}


def admit(breaker: Model, slow_after: float | None = None) -> Permit:
    """Leave to make a call now. Raises `CircuitOpenError`."""
    return breaker._stay.admit(breaker, slow_after) or admit_after_move(breaker, slow_after)


def admit_after_move(breaker: Model, slow_after: float | None) -> Permit:
    """The stay that was asked is over: tell of the move before the call begins, and ask the next one."""
    breaker._after_lock()
    return admit(breaker, slow_after)


def take_back(breaker: Model, permit: Permit) -> None:
    """The call was not made after all: as if the permit had never been given."""
    with breaker._lock:
        permit._stay.release_locked(permit._key)
    permit._settled = True  # last: until then an interrupted one comes back when it is collected


def rejection(breaker: Model, stay: Stay, wait: float | None) -> CircuitOpenError:
    """The error for a call that `stay` does not let through, counted and told."""
    ledger = breaker._ledger
    assert ledger is not None  # every state that rejects has one
    next(ledger.rejections)
    error = CircuitOpenError(breaker._name, stay.state, wait, ledger.last_trip)
    if breaker._outbox is not None:
        breaker._tell_call(CallRejected, stay, None, error)
        breaker._after_lock()
    elif breaker._health is not None:
        breaker._health.look_after(breaker)
    return error


def settle_plain_error(breaker: Model, stay: Stay, error: BaseException) -> None:
    """`settle_error` for a call made without a permit: most failures move nothing and are told to nobody."""
    if stay.quiet and isinstance(error, Exception):
        with breaker._lock:
            if breaker._stay is stay and stay.tally.fail_quietly(type(error).__name__):
                stay.tick = stay.tally.tick
                return
    settle_error(breaker, stay, error)


def settle_error(breaker: Model, stay: Stay, error: BaseException, permit: Permit | None = None) -> None:
    """The call raised `error`. Raises what a classifier raised, chained to it, after counting a failure."""
    if not stay.counts:
        settle(breaker, stay, NEUTRAL, error, permit)
        return
    try:
        verdict = breaker._settings.classifier.of_error(error)
    except BaseException as broken:
        _settle_broken(breaker, stay, broken, error, permit)
    settle(breaker, stay, verdict, error, permit)


def settle_result(breaker: Model, stay: Stay, result: object, permit: Permit | None = None) -> None:
    """The call returned `result`. Raises what a classifier raised, after counting a failure."""
    try:
        verdict = breaker._settings.classifier.of_result(result) if stay.counts else SUCCEEDED
    except BaseException as broken:
        _settle_broken(breaker, stay, broken, None, permit)
    settle(breaker, stay, verdict, None, permit)


def _settle_broken(
    breaker: Model, stay: Stay, broken: BaseException, error: BaseException | None, permit: Permit | None
) -> NoReturn:
    """A classifier raised: a failure, unless it was interrupted."""
    outcome = FAILURE if isinstance(broken, Exception) else IGNORED
    settle(breaker, stay, (outcome, None), error or broken, permit)
    try:
        if broken is error:
            raise broken
        raise broken from error
    finally:
        del broken, error  # its traceback holds this frame, which would hold it


def settle(
    breaker: Model, stay: Stay, verdict: Verdict, error: BaseException | None = None, permit: Permit | None = None
) -> None:
    """The call that `stay` admitted ended with this verdict. The permit is back when this returns or raises."""
    key = duration = None
    slow = 0
    try:
        if permit is not None:
            permit._settled, key = True, permit._key
            if permit._started is not None:
                duration = breaker._settings.clock() - permit._started
                slow = stay.tally.is_slow(duration, permit._slow_after)
        if verdict[0] is SUCCESS and not slow and (tick := stay.tick) is not None:
            tick()
            if stay.counts:
                breaker._tell_call(CallSucceeded, stay, duration, error)
        elif stay.counts:
            text: str | None = None
            while not _decide(breaker, stay, verdict, error, key, duration, slow, text):
                text = text_of(error)
    except BaseException:
        if permit is not None:
            stay.abandon(permit._key)
        raise
    breaker._after_lock()


def _decide(
    breaker: Model,
    stay: Stay,
    verdict: Verdict,
    error: BaseException | None,
    key: int | None,
    duration: float | None,
    slow: int,
    text: str | None,
) -> bool:
    """Count the call and move if that is due. False: this may open the circuit, come back with a text."""
    outcome, asked = verdict
    with breaker._lock:
        current = breaker._stay is stay
        if outcome is FAILURE and current and error is not None and text is None and stay.last_straw_locked():
            return False
        breaker._tell_call(EVENT_OF[outcome], stay, duration, error)
        ledger = breaker._ledger_locked()
        if not current:
            ledger.add_late(outcome, slow)
        elif outcome is IGNORED:
            ledger.ignored += 1
            stay.ignore_locked(breaker, key)
        elif outcome is SUCCESS:
            ledger.slow += slow > 0
            stay.succeed_locked(breaker, key, duration, slow)
        else:
            ledger.slow += slow > 0
            ledger.last_text = text
            _note_asked_locked(breaker, asked)
            stay.fail_locked(breaker, key, name_of(error), duration, slow)
    return True


def _note_asked_locked(breaker: Model, asked: float | None) -> None:
    """The dependency asked to be left alone for `asked` seconds."""
    if asked is not None:
        ledger, until = breaker._ledger_locked(), breaker._settings.clock() + asked
        ledger.asked_until = until if ledger.asked_until is None else max(until, ledger.asked_until)
