"""Frozen facts: what happened to a circuit, why it opened, how it stands.

Events are written under the breaker's lock and delivered after it by `breaker.observe.bus`. All times named
`at` or `since` are Unix time in seconds; durations are seconds. Facts keep names and texts of
exceptions, except that a call event carries its exception for as long as the event itself lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from breaker.observe import bus
from breaker.outcome import FAILURE, IGNORED, SUCCESS
from breaker.table import State


@dataclass(frozen=True, slots=True)
class TripReport:
    """Why a circuit opened: one policy's counts at that moment. `str()` is a line for a person."""

    breaker_name: str
    at: float
    policy: str
    """The policy that tripped, or the probe's fate that opened the circuit again."""
    reason: str
    """The limit that was reached, in words."""
    since: float
    """When the counts began: the start of the stay that ended here."""
    calls: int
    failures: int
    failure_rate: float | None
    slow_calls: int
    slow_call_rate: float | None
    exceptions: dict[str, int] = field(hash=False)
    """How often each type of exception counts among the failures, most frequent first."""
    last_exception: str | None
    """The last exception as text; the object is not kept, its frames would stay alive with it."""
    open_for: float
    """Seconds that the circuit opened for."""

    @property
    def summary(self) -> str:
        """What happened, without names and times."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.exceptions.items())
        return f"{self.reason}: {kinds}" if kinds else self.reason

    def __str__(self) -> str:
        now = time.time()
        opened, left = max(now - self.at, 0.0), max(self.at + self.open_for - now, 0.0)
        name = " ".join(self.breaker_name.split())
        return f"{name} opened {opened:.1f} s ago: {self.summary}; next try in {left:.1f} s"


@dataclass(frozen=True, slots=True)
class Statistics:
    """One consistent look at a breaker: totals since it was made, and how it stands now."""

    breaker_name: str
    state: State
    since: float
    """When this state began."""
    calls: int
    """Calls that succeeded or failed."""
    successes: int
    failures: int
    slow: int
    """Calls, successful or not, that a `SlowCallRate` found slow."""
    ignored: int
    """Calls that ended neutral: an ignored exception, a cancellation."""
    rejected: int
    openings: int
    """How often the circuit opened by itself; operators are not counted."""
    failure_rate: float | None
    """Share of failures in the window now; None without a window, or when it is empty."""
    slow_call_rate: float | None
    window_calls: int
    """Calls in the window now; 0 without a window."""


@dataclass(frozen=True, slots=True)
class Event(bus.Message):
    """What every event tells."""

    breaker_name: str
    at: float


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """The circuit moved. In METRICS_ONLY, with `old` and `new` the same: it would have opened."""

    old: State
    new: State
    trigger: str
    """The trigger of the table's row."""
    report: TripReport | None
    """Why it opened; None for any other move."""


@dataclass(frozen=True, slots=True)
class CallEvent(Event):
    """What every event of a call tells."""

    state: State
    """The state that admitted or rejected the call."""
    duration: float | None = None
    """Seconds the call took, None if it was not measured."""
    exception: BaseException | None = None


class CallSucceeded(CallEvent):
    """A call ended well. `exception` is one that is neither recorded nor ignored, or None."""

    __slots__ = ()


class CallFailed(CallEvent):
    """A call failed: it raised `exception`, or (None) its result was a failure. An expired lease is no such event."""

    __slots__ = ()


class CallIgnored(CallEvent):
    """A call ended neutral: with an ignored exception, or cancelled."""

    __slots__ = ()


class CallRejected(CallEvent):
    """A call was not made. `exception` is the `CircuitOpenError` its caller got."""

    __slots__ = ()


EVENT_OF = {SUCCESS: CallSucceeded, FAILURE: CallFailed, IGNORED: CallIgnored}
"""Which event tells of which outcome."""


def subscribe_all(callback: Callable[[Event], object], *event_types: type[Event]) -> Callable[[], None]:
    """Hear the events of every breaker of this process, those made later too.

    Returns a function that unsubscribes. Without `event_types`, every event is delivered. Rules as for
    `CircuitBreaker.subscribe`.
    """
    return bus.subscribe_everywhere(bus.Subscription.checked(callback, event_types))
