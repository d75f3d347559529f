"""OpenTelemetry: breakers as metrics, and what happened to a call as events on its span. Needs the API alone.

    uninstrument = instrument()

Metrics, read when they are collected, each with the attribute `circuit_breaker.name`:

    circuit_breaker.state            1 for the state it is in, 0 for each other (`circuit_breaker.state`)
    circuit_breaker.state_duration   s, how long it has been in it
    circuit_breaker.calls            by `circuit_breaker.outcome`: success, failure or ignored
    circuit_breaker.slow_calls       those that a SlowCallRate found slow
    circuit_breaker.rejections       calls that were not made
    circuit_breaker.openings         how often it opened by itself
    circuit_breaker.transitions      by `circuit_breaker.state.from` and `.to`; counted as for Prometheus
    circuit_breaker.failure_rate, circuit_breaker.slow_call_rate  from 0 to 1; absent while there is none
    circuit_breaker.call.duration    s, a histogram, only with `durations`

Span events, on the span that is current for the call: `circuit_breaker.rejection` and
`circuit_breaker.state_change`. Breakers of one name are summed. To leave some out, use a View of your SDK.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from breaker import State
from breaker.events import CallFailed, CallIgnored, CallRejected, CallSucceeded, StateChanged, subscribe_all
from breaker.integrations import missing
from breaker.integrations.readings import Reading, Readings

try:
    from opentelemetry import trace
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter
except ImportError as error:
    raise missing(__name__, "opentelemetry-api", "opentelemetry") from error

_SCOPE = "breaker.integrations.opentelemetry"
_NAME = "circuit_breaker.name"
_STATE = "circuit_breaker.state"
_OUTCOME = "circuit_breaker.outcome"
_FROM, _TO = "circuit_breaker.state.from", "circuit_breaker.state.to"
_TRIGGER, _REASON = "circuit_breaker.trigger", "circuit_breaker.reason"
_RETRY_AFTER = "circuit_breaker.retry_after"
_OUTCOMES = {CallSucceeded: "success", CallFailed: "failure", CallIgnored: "ignored"}

Attributes = dict[str, str]
Look = Callable[[Reading], Iterable[tuple[float, Attributes]]]


def instrument(
    *, meter_provider: MeterProvider | None = None, durations: bool = False, span_events: bool = True
) -> Callable[[], None]:
    """Export every breaker of this process, those made later too; returns a function that ends it.

    `meter_provider`: the global one by default, which may be set later. `durations`: measure every call of
    every breaker; without it, calls cost what they did before. `span_events`: whether rejections and state
    changes go to the current span. Raises `ValueError` while the same provider is instrumented already.
    """
    board = _board(meter_provider)
    if board.readings is not None:
        raise ValueError("breakers are instrumented already: call what instrument() returned first")
    meter = get_meter(_SCOPE, meter_provider=meter_provider)
    board.install(meter)
    board.readings = Readings()
    endings = []
    if durations:
        endings.append(_measure(meter))
    if span_events:
        endings.append(subscribe_all(_tell_span, CallRejected, StateChanged))

    def uninstrument() -> None:
        board.readings = None
        while endings:
            endings.pop()()

    return uninstrument


class _Board:
    """The instruments of one provider. It keeps them for ever, so they are made once and switched."""

    def __init__(self) -> None:
        self.readings: Readings | None = None
        self._installed = False

    def install(self, meter: Meter) -> None:
        if self._installed:
            return
        self._installed = True
        counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
        up_down = meter.create_observable_up_down_counter
        up_down(_STATE, [self._by(_states)], "1", "Whether the circuit is in this state.")
        counter("circuit_breaker.calls", [self._by(_calls)], "{call}", "Calls that were made.")
        counter("circuit_breaker.slow_calls", [self._of("slow")], "{call}", "Calls found slow.")
        counter("circuit_breaker.rejections", [self._of("rejected")], "{call}", "Calls that were not made.")
        counter("circuit_breaker.openings", [self._of("openings")], "{opening}", "Openings by the circuit itself.")
        counter("circuit_breaker.transitions", [self._by(_transitions)], "{transition}", "State changes.")
        gauge("circuit_breaker.state_duration", [self._of("seconds")], "s", "Time since the last state change.")
        gauge("circuit_breaker.failure_rate", [self._of("failure_rate")], "1", "Share of failures in the window.")
        gauge("circuit_breaker.slow_call_rate", [self._of("slow_call_rate")], "1", "Share of slow calls likewise.")

    def _by(self, look: Look) -> Callable[[CallbackOptions], Iterator[Observation]]:
        """A callback for what `look` sees in each reading."""

        def observe(options: CallbackOptions) -> Iterator[Observation]:
            for reading in self.readings.read() if self.readings is not None else ():
                for value, attributes in look(reading):
                    yield Observation(value, {_NAME: reading.name, **attributes})

        return observe

    def _of(self, field: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        """A callback for one number of each reading; nothing where it is None."""

        def look(reading: Reading) -> Iterable[tuple[float, Attributes]]:
            value = getattr(reading, field)
            return () if value is None else ((value, {}),)

        return self._by(look)


_of_global = _Board()  # its provider may be a stand-in until the SDK is set, so it is no key
_boards: weakref.WeakKeyDictionary[MeterProvider, _Board] = weakref.WeakKeyDictionary()


def _board(provider: MeterProvider | None) -> _Board:
    return _of_global if provider is None else _boards.setdefault(provider, _Board())


def _states(reading: Reading) -> Iterator[tuple[float, Attributes]]:
    for state in State:
        yield int(state in reading.states), {_STATE: state.lower()}


def _calls(reading: Reading) -> Iterator[tuple[float, Attributes]]:
    for outcome, count in reading.outcomes.items():
        yield count, {_OUTCOME: outcome}


def _transitions(reading: Reading) -> Iterator[tuple[float, Attributes]]:
    for (old, new), count in reading.moves.items():
        yield count, {_FROM: old.lower(), _TO: new.lower()}


def _measure(meter: Meter) -> Callable[[], None]:
    histogram = meter.create_histogram("circuit_breaker.call.duration", "s", "How long calls took.")

    def record(event: Any) -> None:
        if event.duration is not None:
            histogram.record(event.duration, {_NAME: event.breaker_name, _OUTCOME: _OUTCOMES[type(event)]})

    return subscribe_all(record, *_OUTCOMES)


def _tell_span(event: Any) -> None:
    span = trace.get_current_span()
    if not span.is_recording():
        return
    facts: dict[str, str | float] = {_NAME: event.breaker_name}
    if isinstance(event, StateChanged):
        facts |= {_FROM: event.old.lower(), _TO: event.new.lower(), _TRIGGER: event.trigger}
        if event.report is not None:
            facts[_REASON] = event.report.summary
        span.add_event("circuit_breaker.state_change", facts, int(event.at * 1e9))
    else:
        facts[_STATE] = event.state.lower()
        if event.exception.retry_after is not None:
            facts[_RETRY_AFTER] = event.exception.retry_after
        span.add_event("circuit_breaker.rejection", facts, int(event.at * 1e9))
