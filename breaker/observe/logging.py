"""`LoggingListener`: what operators read of a breaker. It decides nothing and measures no call."""

from __future__ import annotations

import itertools
import logging
from typing import Any, ClassVar, Protocol

from breaker.observe import instances
from breaker.observe.events import CallRejected, StateChanged
from breaker.table import State

_REJECTING = frozenset({State.OPEN, State.FORCED_OPEN, State.HALF_OPEN, State.RAMPING})
_SHUT = frozenset({State.OPEN, State.FORCED_OPEN})


class Logger(Protocol):
    """`logging.Logger`, or one of structlog's."""

    def log(self, level: int, msg: Any, /, *args: Any) -> object: ...


class LoggingListener:
    """Writes a handful of lines for an outage, however many calls are rejected in it.

    One line for each state change, with its reason; one for the first call that an open period rejects,
    and one count of the rest when it ends. Opening is a WARNING, everything else INFO.

        CircuitBreaker("payments", listeners=[LoggingListener()])     # one breaker
        breaker.subscribe_all(LoggingListener())                      # all of the process

    `logger`: the standard library's "breaker" by default; one of structlog's does as well. Breakers of one
    name share one count of rejections.
    """

    event_types: ClassVar = (StateChanged, CallRejected)

    def __init__(self, logger: Logger | None = None) -> None:
        self._logger: Logger = logging.getLogger("breaker") if logger is None else logger
        self._spells: dict[str, _Spell] = {}
        self._limit = 100

    def __call__(self, event: StateChanged | CallRejected) -> None:
        if isinstance(event, StateChanged):
            self._changed(event)
        else:
            self._rejected(event)

    def _changed(self, change: StateChanged) -> None:
        name = change.breaker_name
        if change.old is change.new:
            self._log(logging.WARNING, "circuit %r would have opened: %s", name, _reason(change))
            return
        ended = self._spells.pop(name, None)
        if ended is not None and (rest := ended.untold()):
            more = " more" if ended.state in _SHUT else ""
            text = "circuit %r rejected %d%s call%s while %s"
            self._log(logging.INFO, text, name, rest, more, "" if rest == 1 else "s", ended.state)
        if change.new in _REJECTING:
            self._begin(name, change.new)
        level = logging.WARNING if change.new in _SHUT else logging.INFO
        self._log(level, "circuit %r went from %s to %s: %s", name, change.old, change.new, _reason(change))

    def _rejected(self, rejection: CallRejected) -> None:
        name = rejection.breaker_name
        spell = self._spells.get(name) or self._begin(name, rejection.state)
        if spell.count() == 0 and spell.state in _SHUT:
            self._log(logging.INFO, "first call rejected: %s", rejection.exception)

    def _begin(self, name: str, state: State) -> _Spell:
        if len(self._spells) >= self._limit:
            self._forget_dropped_breakers()
        return self._spells.setdefault(name, _Spell(state))

    def _forget_dropped_breakers(self) -> None:
        """Whoever was dropped while open never tells of its end."""
        alive = {getattr(member, "name", None) for member in instances.breakers()}
        for name in list(self._spells):
            if name not in alive:
                self._spells.pop(name, None)
        self._limit = 2 * len(self._spells) + 100  # so that looking costs little for each breaker

    def _log(self, level: int, text: str, *args: object) -> None:
        self._logger.log(level, text, *args)


class _Spell:
    """One breaker's time in a state that rejects."""

    # No lock: several breakers of one name may be here at once, and a fork must find nothing held.
    __slots__ = ("count", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.count = itertools.count().__next__

    def untold(self) -> int:
        """Rejections that no line told of. Asked once, at the end."""
        return max(self.count() - (self.state in _SHUT), 0)


def _reason(change: StateChanged) -> str:
    if change.report is None:
        return change.trigger.replace("_", " ")
    report = change.report
    text = report.summary if report.last_exception is None else f"{report.summary}; last {report.last_exception}"
    return f"{text}; next try in {report.open_for:.1f} s" if change.old is not change.new else text
