"""The Prometheus collector, scraped from a real registry, and the dashboard built on its names."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import breaker.integrations
from breaker import CircuitBreaker, CountWindow, FailureRate, SlowCallRate, State
from breaker.events import CallSucceeded, StateChanged
from breaker.integrations.prometheus import BreakerCollector
from breaker.testing import ManualClock, bring_to, failing, inject, open_circuit, slow

DASHBOARD = Path(breaker.integrations.__file__).with_name("grafana-dashboard.json")


def name() -> str:
    """A name that no other test's breaker has."""
    return f"payments-{uuid.uuid4().hex}"


def scrape(collector: Any) -> dict[tuple[str, ...], float]:
    """What Prometheus reads: sample name and label values."""
    registry = CollectorRegistry()
    registry.register(collector)
    samples: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = sample.labels  # sorted in the exposition; here: the name, then the rest, "le" last
            key = (
                sample.name,
                *(labels[each] for each in sorted(labels, key=lambda label: (label == "le", label != "name", label))),
            )
            assert key not in samples, "a duplicate series is no valid exposition"
            samples[key] = sample.value
    return samples


def of(breakers: Any, series: str) -> dict[tuple[str, ...], float]:
    """The samples of one metric for these breakers, by label values without the name."""
    samples = scrape(BreakerCollector(breakers))
    return {(*key[2:],): value for key, value in samples.items() if key[0] == series}


def fail(breaker: CircuitBreaker, times: int) -> None:
    with inject(breaker, failing(times)):
        for _ in range(times):
            with pytest.raises(ConnectionError):
                breaker.call(str)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_calls_are_counted_by_outcome_without_anybody_listening(clock: ManualClock) -> None:
    payments = CircuitBreaker(name(), clock=clock, ignore_exceptions=KeyError)
    collector = BreakerCollector([payments])
    for _ in range(7):
        payments.call(str)
    fail(payments, 2)
    with pytest.raises(KeyError):
        payments.call({}.__getitem__, "absent")
    samples = scrape(collector)
    assert samples["breaker_calls_total", payments.name, "success"] == 7
    assert samples["breaker_calls_total", payments.name, "failure"] == 2
    assert samples["breaker_calls_total", payments.name, "ignored"] == 1
    assert payments._bus is None, "the collector costs the call path nothing"
    assert not payments._state.needs_permit


@pytest.mark.parametrize("state", State)
def test_exactly_the_present_state_is_one(state: State, clock: ManualClock) -> None:
    from breaker import RampUp

    payments = CircuitBreaker(name(), clock=clock, ramp=RampUp(10.0))
    bring_to(payments, state)
    states = of([payments], "breaker_state")
    assert states == {(each.lower(),): float(each is state) for each in State}


def test_an_outage_shows_in_rejections_openings_and_transitions(clock: ManualClock) -> None:
    payments = CircuitBreaker(name(), clock=clock, recovery_timeout=10.0)
    collector = BreakerCollector([payments])
    for round in (1, 2):
        open_circuit(payments)
        for _ in range(3):
            with pytest.raises(breaker.CircuitOpenError):
                payments.call(str)
        clock.advance(10.0)
        payments.call(str)
        samples = scrape(collector)
        assert samples["breaker_rejections_total", payments.name] == 3 * round
        assert samples["breaker_openings_total", payments.name] == round
        for move in (("closed", "open"), ("open", "half_open"), ("half_open", "closed")):
            assert samples["breaker_transitions_total", payments.name, *move] == round


def test_transitions_before_the_first_scrape_are_counted_and_none_is_counted_twice(clock: ManualClock) -> None:
    payments = CircuitBreaker(name(), clock=clock)
    for _ in range(30):
        payments.disable()
        payments.reset()
    collector = BreakerCollector([payments])
    scrape(collector)
    for _ in range(49):  # the history holds 100 and has turned over by now
        payments.disable()
        payments.reset()
    scrape(collector)
    assert scrape(collector)["breaker_transitions_total", payments.name, "closed", "disabled"] == 79


def test_would_have_opened_is_a_transition_of_metrics_only_to_itself(clock: ManualClock) -> None:
    payments = CircuitBreaker(name(), clock=clock)
    payments.metrics_only()
    fail(payments, 5)
    assert of([payments], "breaker_transitions_total")["metrics_only", "metrics_only"] == 1


def test_rates_are_absent_until_there_is_one(clock: ManualClock) -> None:
    window = CountWindow(10)
    trip = FailureRate(1.0, window) | SlowCallRate(1.0, 2.0, window)
    payments = CircuitBreaker(name(), clock=clock, trip=trip)
    assert of([payments], "breaker_failure_rate") == of([payments], "breaker_slow_call_rate") == {}
    payments.call(str)
    fail(payments, 3)
    with inject(payments, slow(2.0)):
        payments.call(str)
    assert of([payments], "breaker_failure_rate") == {(): 0.6}
    assert of([payments], "breaker_slow_call_rate") == {(): 0.2}
    assert of([payments], "breaker_slow_calls_total") == {(): 1}


def test_the_time_in_a_state_starts_over_with_each_state(monkeypatch: pytest.MonkeyPatch) -> None:
    payments = CircuitBreaker(name())
    now = payments.statistics().since
    monkeypatch.setattr("breaker.integrations.readings.time.time", lambda: now + 40.0)
    assert of([payments], "breaker_state_seconds") == {(): 40.0}
    payments.disable()
    assert of([payments], "breaker_state_seconds")[()] == 0.0


def test_breakers_of_one_name_are_summed_and_the_exposition_stays_valid(clock: ManualClock) -> None:
    trip = FailureRate(1.0, CountWindow(10))
    first, second = (CircuitBreaker("twin", clock=clock, trip=trip) for _ in range(2))
    fail(first, 1)
    for _ in range(3):
        second.call(str)
    second.disable()
    second.reset()
    second.call(str)
    second.disable()
    samples = scrape(BreakerCollector([first, second]))
    assert samples["breaker_calls_total", "twin", "success"] == 4
    assert samples["breaker_calls_total", "twin", "failure"] == 1
    assert samples["breaker_state", "twin", "closed"] == samples["breaker_state", "twin", "disabled"] == 1
    assert samples["breaker_failure_rate", "twin"] == 1.0  # DISABLED has no window
    second.reset()
    for _ in range(3):
        second.call(str)
    assert scrape(BreakerCollector([first, second]))["breaker_failure_rate", "twin"] == 0.25


def test_the_series_of_a_dropped_breaker_disappear() -> None:
    short_lived = CircuitBreaker(name())
    gone = short_lived.name
    collector = BreakerCollector(durations=True)
    short_lived.call(str)
    assert any(gone in key for key in scrape(collector))
    del short_lived
    gc.collect()
    try:
        assert not any(gone in key for key in scrape(collector))
    finally:
        collector.close()


def test_a_collector_of_a_list_keeps_no_breaker_alive() -> None:
    collector = BreakerCollector([CircuitBreaker(name())])
    gc.collect()
    assert not [key for key in scrape(collector) if len(key) > 1]


def test_any_other_iterable_or_mapping_is_asked_anew_at_each_scrape() -> None:
    held: dict[str, CircuitBreaker] = {}
    collector = BreakerCollector(held)
    assert scrape(collector) == {}
    held["late"] = CircuitBreaker(name())
    assert ("breaker_openings_total", held["late"].name) in scrape(collector)


def test_a_registry_shows_the_breakers_it_holds_at_the_scrape() -> None:
    from breaker.registry import Registry

    registry = Registry()
    collector, everything = BreakerCollector(registry), BreakerCollector()
    assert scrape(collector) == {}
    host = registry[name()]
    assert ("breaker_openings_total", host.name) in scrape(collector)
    assert ("breaker_openings_total", host.name) in scrape(everything)


def test_without_breakers_it_exports_those_made_later_too() -> None:
    collector = BreakerCollector()
    late = CircuitBreaker(name())
    assert ("breaker_openings_total", late.name) in scrape(collector)


@pytest.mark.parametrize("wrong", [3, ["payments"]])
def test_what_is_no_breaker_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(repr(3 if wrong == 3 else "payments"))):
        BreakerCollector(wrong)


@pytest.fixture
def measuring() -> Iterator[BreakerCollector]:
    collector = BreakerCollector(durations=(0.1, 1.0))
    yield collector
    collector.close()


def test_durations_are_measured_only_when_asked_for(measuring: BreakerCollector, clock: ManualClock) -> None:
    payments = CircuitBreaker(name(), clock=clock)
    with inject(payments, slow(0.5)):
        payments.call(str)
    with inject(payments, slow(0.05), failing(1)), pytest.raises(ConnectionError):
        payments.call(str)
    samples = scrape(measuring)
    assert samples["breaker_call_duration_seconds_sum", payments.name, "success"] == 0.5
    buckets = [samples["breaker_call_duration_seconds_bucket", payments.name, "success", le] for le in ("0.1", "1.0")]
    assert buckets == [0, 1]
    assert samples["breaker_call_duration_seconds_bucket", payments.name, "failure", "0.1"] == 1
    measuring.close()
    assert not payments._state.needs_permit, "nobody measures any more"


def test_names_and_types_hold_in_openmetrics_too(measuring: BreakerCollector) -> None:
    payments = CircuitBreaker('a "name"\nwith \\ all of it')
    payments.call(str)
    registry = CollectorRegistry()
    registry.register(measuring)
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

    families = {family.name: family.type for family in parse(generate_openmetrics(registry).decode())}
    assert families["breaker_calls"] == "counter"
    assert families["breaker_state"] == "gauge"
    assert families["breaker_call_duration_seconds"] == "histogram"
    del payments


def test_registering_reads_no_breaker_and_two_collectors_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry(auto_describe=True)
    monkeypatch.setattr(CircuitBreaker, "statistics", None)
    registry.register(BreakerCollector())
    with pytest.raises(ValueError, match="breaker_state"):
        registry.register(BreakerCollector())


def test_every_name_that_the_dashboard_queries_is_exported(measuring: BreakerCollector, clock: ManualClock) -> None:
    window = CountWindow(10)
    trip = FailureRate(1.0, window) | SlowCallRate(1.0, 2.0, window)
    payments = CircuitBreaker(name(), clock=clock, trip=trip)
    payments.call(str)
    payments.disable()
    payments.reset()
    payments.call(str)
    exported = {key[0] for key in scrape(measuring)}
    queried = set(re.findall(r"\bbreaker_\w+", DASHBOARD.read_text()))
    assert queried <= exported, f"the dashboard asks for {queried - exported}"
    shown = {re.sub(r"_(bucket|sum|count)$", "", each) for each in queried}
    assert {re.sub(r"_(bucket|sum|count|created)$", "", each) for each in exported} == shown, "each metric has a panel"


def test_every_label_that_the_dashboard_uses_is_exported(measuring: BreakerCollector) -> None:
    board = json.loads(DASHBOARD.read_text())
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    text = " ".join(target["expr"] + target["legendFormat"] for target in targets)
    used = {label for group in re.findall(r"by \(([^)]*)\)|{{(\w+)}}", text) for label in ", ".join(group).split(", ")}
    assert used - {""} == {"name", "outcome", "from_state", "to_state", "le"}
    states = {each for group in re.findall(r'state=~?"([^"]*)"', text) for each in group.split("|")}
    assert states <= {state.lower() for state in State}


def test_the_listener_free_collector_hears_no_events() -> None:
    payments = CircuitBreaker(name())
    BreakerCollector([payments])
    open_circuit(payments)
    assert payments._bus is None or not any(map(payments._bus.wants, (StateChanged, CallSucceeded)))


def test_without_its_library_the_import_names_the_extra() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import breaker.integrations.prometheus"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: breaker.integrations.prometheus needs prometheus-client" in done.stderr
    assert "pip install 'simple-breaker[prometheus]'" in done.stderr
