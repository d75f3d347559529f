"""The OpenTelemetry instruments and span events, read by the real SDK's in-memory reader and exporter."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from breaker import CircuitBreaker, CircuitOpenError, CountWindow, FailureRate, SlowCallRate, State
from breaker.integrations.opentelemetry import instrument
from breaker.integrations.prometheus import BreakerCollector
from breaker.testing import ManualClock, failing, half_open_circuit, inject, open_circuit, slow

Read = Callable[[], dict[tuple[str, ...], float]]
NAME = "circuit_breaker.name"


def name() -> str:
    return f"payments-{uuid.uuid4().hex}"


def reader_of(reader: InMemoryMetricReader) -> Read:
    """Reads metric name, breaker name and further attribute values (by attribute), to a value."""

    def read() -> dict[tuple[str, ...], float]:
        data: Any = reader.get_metrics_data()
        found: dict[tuple[str, ...], float] = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else ():
            for point in metric.data.data_points:
                others = [str(point.attributes[key]) for key in sorted(point.attributes) if key != NAME]
                value = point.sum if hasattr(point, "sum") else point.value
                found[(metric.name, point.attributes[NAME], *others)] = value
        return found

    return read


@pytest.fixture
def meters() -> Iterator[tuple[MeterProvider, Read]]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider, reader_of(reader)
    provider.shutdown()


@pytest.fixture
def read(meters: tuple[MeterProvider, Read]) -> Iterator[Read]:
    provider, read = meters
    uninstrument = instrument(meter_provider=provider)
    yield read
    uninstrument()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def payments(clock: ManualClock) -> CircuitBreaker:
    window = CountWindow(10)
    trip = FailureRate(0.5, window, minimum_calls=10) | SlowCallRate(1.0, 2.0, window)
    return CircuitBreaker(name(), clock=clock, trip=trip, recovery_timeout=10.0, ignore_exceptions=KeyError)


def traffic(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """Some of everything: it opens twice and is half-open in the end."""
    for _ in range(5):
        breaker.call(str)
    with inject(breaker, slow(3.0)):
        breaker.call(str)
    with pytest.raises(KeyError):
        breaker.call({}.__getitem__, "absent")
    open_circuit(breaker)
    for _ in range(4):
        with pytest.raises(CircuitOpenError):
            breaker.call(str)
    clock.advance(10.0)
    breaker.call(str)
    with inject(breaker, failing(1)), pytest.raises(ConnectionError):
        breaker.call(str)
    half_open_circuit(breaker)


SAME = {
    "circuit_breaker.state": "breaker_state",
    "circuit_breaker.calls": "breaker_calls_total",
    "circuit_breaker.slow_calls": "breaker_slow_calls_total",
    "circuit_breaker.rejections": "breaker_rejections_total",
    "circuit_breaker.openings": "breaker_openings_total",
    "circuit_breaker.transitions": "breaker_transitions_total",
    "circuit_breaker.failure_rate": "breaker_failure_rate",
    "circuit_breaker.slow_call_rate": "breaker_slow_call_rate",
    "circuit_breaker.state_duration": "breaker_state_seconds",
    "circuit_breaker.call.duration": "breaker_call_duration_seconds_sum",
}


def test_prometheus_and_opentelemetry_show_the_same_numbers_for_the_same_traffic(
    meters: tuple[MeterProvider, Read], payments: CircuitBreaker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, read = meters
    registry = CollectorRegistry()
    collector = BreakerCollector(durations=True)
    registry.register(collector)
    uninstrument = instrument(meter_provider=provider, durations=True)
    try:
        traffic(payments, clock)
        open_now = CircuitBreaker(name(), clock=clock, trip=FailureRate(1.0, CountWindow(10)))
        open_now.call(str)
        now = payments.statistics().since + 7.0
        monkeypatch.setattr("breaker.integrations.readings.time.time", lambda: now)
        names = {payments.name, open_now.name}  # other tests' breakers may be collected in between
        metered = {(SAME[key[0]], *key[1:]): value for key, value in read().items() if key[1] in names}
        scraped = {}
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                if sample.name in SAME.values() and sample.labels["name"] in names:
                    labels = dict(sample.labels)
                    scraped[(sample.name, labels.pop("name"), *(labels[each] for each in sorted(labels)))] = (
                        sample.value
                    )
    finally:
        uninstrument()
        collector.close()
    assert metered == scraped
    mine = {key[0]: value for key, value in metered.items() if key[1] == payments.name}
    assert mine["breaker_rejections_total"] == 4
    assert mine["breaker_openings_total"] == 2
    assert mine["breaker_state_seconds"] == 7.0
    assert set(mine) | {"breaker_failure_rate", "breaker_slow_call_rate"} == set(SAME.values())


def test_metrics_are_read_when_collected_and_calls_are_not_measured(read: Read, payments: CircuitBreaker) -> None:
    plain = CircuitBreaker(name())
    plain.call(str)
    assert not plain._state.needs_permit
    assert read()["circuit_breaker.calls", plain.name, "success"] == 1


def test_exactly_the_present_state_is_one(read: Read, payments: CircuitBreaker) -> None:
    payments.disable()
    seen = {key[2]: value for key, value in read().items() if key[:2] == ("circuit_breaker.state", payments.name)}
    assert seen == {state.lower(): int(state is State.DISABLED) for state in State}


def test_what_a_dropped_breaker_said_disappears(read: Read) -> None:
    short_lived = CircuitBreaker(name())
    gone = short_lived.name
    assert any(gone in key for key in read())
    del short_lived
    gc.collect()
    assert not any(gone in key for key in read())


def test_uninstrumented_breakers_are_read_no_more_and_can_be_instrumented_again(
    meters: tuple[MeterProvider, Read], payments: CircuitBreaker
) -> None:
    provider, read = meters
    for _ in range(2):
        uninstrument = instrument(meter_provider=provider, durations=True)
        with pytest.raises(ValueError, match="already"):
            instrument(meter_provider=provider)
        assert ("circuit_breaker.openings", payments.name) in read()
        uninstrument()
        uninstrument()
        assert not any(key[0] != "circuit_breaker.call.duration" for key in read())
    assert not CircuitBreaker(name())._state.needs_permit


def test_durations_are_recorded_only_when_asked_for(
    meters: tuple[MeterProvider, Read], payments: CircuitBreaker
) -> None:
    provider, read = meters
    uninstrument = instrument(meter_provider=provider, durations=True)
    with inject(payments, slow(0.5)):
        payments.call(str)
    uninstrument()
    payments.call(str)
    assert read()["circuit_breaker.call.duration", payments.name, "success"] == 0.5


# -- span events ------------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> tuple[Any, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), exporter


def events(exporter: InMemorySpanExporter) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    return {
        span.name: [(event.name, dict(event.attributes or {})) for event in span.events]
        for span in exporter.get_finished_spans()
    }


def test_a_rejection_and_a_state_change_are_events_of_the_current_span(
    read: Read, spans: Any, clock: ManualClock
) -> None:
    tracer, exporter = spans
    payments = CircuitBreaker(name(), clock=clock, failure_threshold=1, recovery_timeout=10.0)
    with tracer.start_as_current_span("pay"):
        with inject(payments, failing(1)), pytest.raises(ConnectionError):
            payments.call(str)
        with pytest.raises(CircuitOpenError):
            payments.call(str)
    (opened, facts), (rejected, why) = events(exporter)["pay"]
    assert opened == "circuit_breaker.state_change"
    assert facts == {
        NAME: payments.name,
        "circuit_breaker.state.from": "closed",
        "circuit_breaker.state.to": "open",
        "circuit_breaker.trigger": "trip",
        "circuit_breaker.reason": "1 failure in a row (limit 1): 1 ConnectionError",
    }
    assert rejected == "circuit_breaker.rejection"
    assert why == {NAME: payments.name, "circuit_breaker.state": "open", "circuit_breaker.retry_after": 10.0}


def test_no_event_is_written_for_a_healthy_call_or_outside_a_span(read: Read, spans: Any) -> None:
    tracer, exporter = spans
    payments = CircuitBreaker(name())
    payments.force_open()
    with pytest.raises(CircuitOpenError):
        payments.call(str)
    payments.reset()
    with tracer.start_as_current_span("pay"):
        payments.call(str)
    assert events(exporter) == {"pay": []}


def test_a_span_that_has_ended_is_left_alone(read: Read, spans: Any, caplog: pytest.LogCaptureFixture) -> None:
    payments = CircuitBreaker(name())
    span = spans[0].start_span("pay")
    span.end()
    with trace.use_span(span):
        payments.disable()
    assert caplog.records == []


def test_span_events_can_be_left_out(meters: tuple[MeterProvider, Read], spans: Any) -> None:
    tracer, exporter = spans
    uninstrument = instrument(meter_provider=meters[0], span_events=False)
    payments = CircuitBreaker(name())
    with tracer.start_as_current_span("pay"):
        payments.disable()
    uninstrument()
    assert events(exporter) == {"pay": []}


def test_a_rejection_is_told_to_its_own_span_even_when_another_thread_delivers_it(read: Read, spans: Any) -> None:
    tracer, exporter = spans
    payments = CircuitBreaker(name())
    delivering, queued = threading.Event(), threading.Event()

    def hold(event: Any) -> None:
        delivering.set()
        assert queued.wait(10)

    unsubscribe = payments.subscribe(hold)

    def operate() -> None:
        with tracer.start_as_current_span("operate"):
            payments.force_open()

    thread = threading.Thread(target=operate)
    thread.start()
    assert delivering.wait(10)
    with tracer.start_as_current_span("pay"):
        with pytest.raises(CircuitOpenError):
            payments.call(str)
        queued.set()
        thread.join(10)
    unsubscribe()
    told = events(exporter)
    assert [event for event, _ in told["operate"]] == ["circuit_breaker.state_change"]
    assert [event for event, _ in told["pay"]] == ["circuit_breaker.rejection"]


# -- the import -------------------------------------------------------------------------------------------


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_its_library_the_import_names_the_extra() -> None:
    done = run("import sys; sys.modules['opentelemetry'] = None; import breaker.integrations.opentelemetry")
    assert "ImportError: breaker.integrations.opentelemetry needs opentelemetry-api" in done.stderr
    assert "pip install 'simple-breaker[opentelemetry]'" in done.stderr


def test_the_api_alone_is_enough() -> None:
    done = run(
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from breaker.integrations.opentelemetry import instrument\n"
        "from breaker import CircuitBreaker\n"
        "undo = instrument(durations=True); b = CircuitBreaker('b'); b.call(str); b.force_open(); undo()"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_global_provider_that_is_set_later_is_served() -> None:
    done = run(
        "from breaker.integrations.opentelemetry import instrument\n"
        "from breaker import CircuitBreaker\n"
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "undo = instrument(); b = CircuitBreaker('late'); reader = InMemoryMetricReader()\n"
        "metrics.set_meter_provider(MeterProvider([reader]))\n"
        "undo(); instrument()\n"
        "print(reader.get_metrics_data().to_json())"
    )
    assert '"circuit_breaker.name": "late"' in done.stdout, done.stderr
