"""Prometheus: a collector that reads the breakers when it is scraped, and costs their calls nothing.

    from prometheus_client import REGISTRY
    REGISTRY.register(BreakerCollector())

exports, for each breaker by `name`:

    breaker_state{state}                            1 for the state it is in, 0 for each other
    breaker_state_seconds                           how long it has been in it
    breaker_calls_total{outcome}                    success, failure or ignored
    breaker_slow_calls_total                        those that a SlowCallRate found slow
    breaker_rejections_total                        calls that were not made
    breaker_openings_total                          how often it opened by itself
    breaker_transitions_total{from_state,to_state}  state changes; see below
    breaker_failure_rate, breaker_slow_call_rate    shares from 0 to 1; absent while there is none
    breaker_call_duration_seconds{outcome}          a histogram, only with `durations`

Breakers of one name are summed; `breaker_state` is then 1 for each state that one of them is in. Transitions
are counted from each breaker's history, which holds 100: of more between two scrapes, 100 are counted. It
does not work in prometheus_client's multiprocess mode, which no custom collector does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from breaker import State
from breaker.events import CallEvent, CallFailed, CallIgnored, CallSucceeded, subscribe_all
from breaker.integrations import missing
from breaker.integrations.readings import Reading, Readings

try:
    from prometheus_client import Histogram
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise missing(__name__, "prometheus-client", "prometheus") from error

_OUTCOMES = {CallSucceeded: "success", CallFailed: "failure", CallIgnored: "ignored"}
_COUNTERS = {
    "slow": ("breaker_slow_calls", "Calls that a slow call rate found slow."),
    "rejected": ("breaker_rejections", "Calls that were rejected without being made."),
    "openings": ("breaker_openings", "How often the circuit opened by itself."),
}
_GAUGES = {
    "seconds": ("breaker_state_seconds", "Seconds since the circuit's last state change."),
    "failure_rate": ("breaker_failure_rate", "Share of failures in the window."),
    "slow_call_rate": ("breaker_slow_call_rate", "Share of slow calls in the window."),
}


class BreakerCollector(Collector):
    """A custom collector for `prometheus_client`.

    `breakers`: a collection of them, held weakly, or a `Registry`; every breaker of the process by default.
    `durations`: True, or the histogram's upper bounds in seconds. It is the one thing here that listens:
    every call of every breaker is then measured, until `close()`.
    """

    def __init__(self, breakers: Any = None, *, durations: bool | Iterable[float] = False) -> None:
        self._readings = Readings(breakers)
        self._durations = _Durations(durations) if durations else None

    def describe(self) -> Iterator[Metric]:
        """The families without samples: registering reads no breaker."""
        yield from self._families([])
        if self._durations is not None:
            yield self._durations.family()

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        readings = self._readings.read()
        yield from self._families(readings)
        if self._durations is not None:
            self._durations.forget_others({reading.name for reading in readings})
            yield self._durations.family()

    def close(self) -> None:
        """Measure calls no more. The rest goes on."""
        if self._durations is not None:
            self._durations.close()

    @staticmethod
    def _families(readings: list[Reading]) -> Iterator[Metric]:
        yield _states(readings)
        yield _calls(readings)
        yield _transitions(readings)
        for field, (name, text) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["name"])
            for reading in readings:
                counter.add_metric([reading.name], getattr(reading, field))
            yield counter
        for field, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["name"])
            for reading in readings:
                if (value := getattr(reading, field)) is not None:
                    gauge.add_metric([reading.name], value)
            yield gauge


def _states(readings: list[Reading]) -> Metric:
    family = GaugeMetricFamily("breaker_state", "Whether the circuit is in this state.", labels=["name", "state"])
    for reading in readings:
        for state in State:
            family.add_metric([reading.name, state.lower()], float(state in reading.states))
    return family


def _calls(readings: list[Reading]) -> Metric:
    family = CounterMetricFamily("breaker_calls", "Calls that were made, by outcome.", labels=["name", "outcome"])
    for reading in readings:
        for outcome, count in reading.outcomes.items():
            family.add_metric([reading.name, outcome], count)
    return family


def _transitions(readings: list[Reading]) -> Metric:
    labels = ["name", "from_state", "to_state"]
    family = CounterMetricFamily("breaker_transitions", "State changes of the circuit.", labels=labels)
    for reading in readings:
        for (old, new), count in reading.moves.items():
            family.add_metric([reading.name, old.lower(), new.lower()], count)
    return family


class _Durations:
    """The histogram, and the listener that feeds it."""

    def __init__(self, bounds: bool | Iterable[float]) -> None:
        self._histogram = Histogram(
            "breaker_call_duration_seconds",
            "How long calls took, by outcome.",
            ["name", "outcome"],
            registry=None,
            buckets=Histogram.DEFAULT_BUCKETS if isinstance(bounds, bool) else tuple(bounds),
        )
        self._names: set[str] = set()
        self.close = subscribe_all(self._observe, *_OUTCOMES)

    def _observe(self, event: Any) -> None:
        call: CallEvent = event
        if call.duration is not None:
            self._names.add(call.breaker_name)
            self._histogram.labels(call.breaker_name, _OUTCOMES[type(call)]).observe(call.duration)

    def forget_others(self, alive: set[str]) -> None:
        """Drop the series of breakers that are not alive."""
        for name in list(self._names - alive):
            self._names.discard(name)
            for outcome in _OUTCOMES.values():
                with contextlib.suppress(KeyError):  # no call of this outcome
                    self._histogram.remove(name, outcome)

    def family(self) -> Metric:
        """The histogram as it stands."""
        (family,) = self._histogram.collect()
        return family
