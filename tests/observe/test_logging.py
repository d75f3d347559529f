"""`LoggingListener`: a handful of lines for an outage, through the standard library and through structlog."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from kit.steps import Boom, fail, rejection, succeed

from breaker import CallRejected, CircuitBreaker, CircuitOpenError, RampUp, State, StateChanged
from breaker.observe.events import subscribe_all
from breaker.observe.logging import LoggingListener
from breaker.testing import ManualClock, bring_to, open_circuit

Make = Callable[..., CircuitBreaker]
Lines = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Level and text of what was logged to "breaker"."""
    caplog.set_level(logging.DEBUG, "breaker")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.fixture
def breaker(make: Make) -> CircuitBreaker:
    return make(listeners=[LoggingListener()])


def reject(breaker: CircuitBreaker, times: int) -> None:
    call, made = breaker.call, CircuitOpenError
    for _ in range(times):
        with contextlib.suppress(made):
            call(str)


def test_each_change_is_a_line_with_its_reason(breaker: CircuitBreaker, clock: ManualClock, lines: Lines) -> None:
    fail(breaker, 3)
    clock.advance(10.0)
    succeed(breaker)
    breaker.force_open()
    breaker.reset()
    assert lines() == [
        (
            "WARNING",
            "circuit 'payments' went from CLOSED to OPEN: 3 failures in a row (limit 3): 3 Boom; last Boom: down; "
            "next try in 10.0 s",
        ),
        ("INFO", "circuit 'payments' went from OPEN to HALF_OPEN: timeout elapsed"),
        ("INFO", "circuit 'payments' went from HALF_OPEN to CLOSED: probe succeeded"),
        ("WARNING", "circuit 'payments' went from CLOSED to FORCED_OPEN: force open"),
        ("INFO", "circuit 'payments' went from FORCED_OPEN to CLOSED: reset"),
    ]


def test_an_open_period_tells_its_first_rejection_and_counts_the_rest(
    breaker: CircuitBreaker, clock: ManualClock, lines: Lines
) -> None:
    for _ in range(2):
        open_circuit(breaker)
        reject(breaker, 5)
        clock.advance(10.0)
        succeed(breaker)
    told = [line for line in lines() if "reject" in line[1]]
    assert told == 2 * [
        (
            "INFO",
            "first call rejected: circuit 'payments' is OPEN, retry in 10.0 s "
            "(3 failures in a row (limit 3): 3 bad result)",
        ),
        ("INFO", "circuit 'payments' rejected 4 more calls while OPEN"),
    ]


def test_the_count_comes_before_the_change_that_ends_the_period(breaker: CircuitBreaker, lines: Lines) -> None:
    breaker.force_open()
    reject(breaker, 3)
    breaker.reset()
    assert [text.partition(":")[0] for _, text in lines()] == [
        "circuit 'payments' went from CLOSED to FORCED_OPEN",
        "first call rejected",
        "circuit 'payments' rejected 2 more calls while FORCED_OPEN",
        "circuit 'payments' went from FORCED_OPEN to CLOSED",
    ]


@pytest.mark.parametrize("rejections", [0, 1])
def test_no_count_is_written_when_there_is_no_rest(breaker: CircuitBreaker, lines: Lines, rejections: int) -> None:
    open_circuit(breaker)
    reject(breaker, rejections)
    breaker.reset()
    assert len(lines()) == 2 + rejections


def test_rejections_while_probing_or_ramping_are_counted_without_a_line_for_the_first(
    make: Make, clock: ManualClock, lines: Lines
) -> None:
    breaker = make(listeners=[LoggingListener()], ramp=RampUp(10.0))
    open_circuit(breaker)
    clock.advance(10.0)
    probe = breaker.acquire()
    reject(breaker, 7)
    probe.succeed()
    reject(breaker, 1)
    breaker.reset()
    told = [text for _, text in lines() if "reject" in text]
    assert told[0] == "circuit 'payments' rejected 7 calls while HALF_OPEN"
    assert len(told) == 2 and told[1].endswith("while RAMPING")


def test_metrics_only_tells_that_it_would_have_opened(breaker: CircuitBreaker, lines: Lines) -> None:
    breaker.metrics_only()
    fail(breaker, 5)
    assert lines()[1:] == [
        ("WARNING", "circuit 'payments' would have opened: 3 failures in a row (limit 3): 3 Boom; last Boom: down")
    ]


def test_a_million_rejections_write_a_handful_of_lines(
    breaker: CircuitBreaker, clock: ManualClock, lines: Lines
) -> None:
    open_circuit(breaker)
    reject(breaker, 1_000_000)
    clock.advance(10.0)
    succeed(breaker)
    assert len(lines()) == 5
    assert any("rejected 999999 more calls" in text for _, text in lines())


def test_threads_that_are_rejected_at_once_write_one_first_line(breaker: CircuitBreaker, lines: Lines) -> None:
    breaker.force_open()
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait(10)
        reject(breaker, 100)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work) for _ in range(8)]:
            future.result()
    breaker.reset()
    assert [text.startswith("first") for _, text in lines()] == [False, True, False, False]
    assert "rejected 799 more calls" in lines()[2][1]


def test_the_closed_path_is_not_measured(breaker: CircuitBreaker) -> None:
    assert LoggingListener.event_types == (StateChanged, CallRejected)
    assert not breaker._state.needs_permit


def test_one_listener_logs_every_breaker_of_the_process(
    make: Make, lines: Lines, request: pytest.FixtureRequest
) -> None:
    first = make(name="first")
    end = subscribe_all(LoggingListener())
    request.addfinalizer(end)
    second = make(name="second")
    for breaker in (first, second):
        breaker.force_open()
        reject(breaker, 2)
        assert not breaker._calls_need_permits()
    first.reset()
    end()
    second.reset()
    assert [text for _, text in lines() if "more" in text] == ["circuit 'first' rejected 1 more call while FORCED_OPEN"]


def test_a_listener_that_comes_in_the_middle_of_an_outage_joins_it(make: Make, lines: Lines) -> None:
    breaker = make()
    breaker.force_open()
    breaker.subscribe(LoggingListener())
    reject(breaker, 3)
    breaker.reset()
    assert [text.partition(":")[0] for _, text in lines()] == [
        "first call rejected",
        "circuit 'payments' rejected 2 more calls while FORCED_OPEN",
        "circuit 'payments' went from FORCED_OPEN to CLOSED",
    ]


def test_breakers_dropped_while_open_leave_nothing_behind(lines: Lines) -> None:
    listener = LoggingListener(logging.getLogger("breaker.silent"))
    logging.getLogger("breaker.silent").setLevel(logging.CRITICAL)
    for number in range(1000):
        CircuitBreaker(f"short-lived {number}", listeners=[listener]).force_open()
    assert len(listener._spells) <= 250
    kept = CircuitBreaker("kept", listeners=[listener])
    kept.force_open()
    for number in range(1000):
        CircuitBreaker(f"again {number}", listeners=[listener]).force_open()
    assert "kept" in listener._spells
    gc.collect()


@pytest.mark.parametrize("state", State)
def test_every_state_is_entered_in_one_line_of_text(make: Make, lines: Lines, state: State) -> None:
    breaker = make(name="two\nlines", ramp=RampUp(10.0), listeners=[LoggingListener()])
    breaker.disable()
    bring_to(breaker, state)
    assert all("\n" not in text for _, text in lines())


# -- other loggers ------------------------------------------------------------------------------------------


@pytest.fixture
def structured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def outage(breaker: CircuitBreaker) -> None:
    fail(breaker, 3, Boom)
    for _ in range(3):
        rejection(breaker)
    breaker.reset()


def test_a_logger_of_your_own_is_written_to(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    outage(make(listeners=[LoggingListener(logging.getLogger("app.circuits"))]))
    assert {record.name for record in caplog.records} == {"app.circuits"}


def test_a_structlog_logger_does_as_well(make: Make, structured: None) -> None:
    out: Any = structlog.testing.LogCapture()
    positional = structlog.stdlib.PositionalArgumentsFormatter()
    for wrapper in (structlog.stdlib.BoundLogger, structlog.make_filtering_bound_logger(logging.INFO)):
        out.entries.clear()
        structlog.configure(
            processors=[positional, out], wrapper_class=wrapper, logger_factory=structlog.stdlib.LoggerFactory()
        )
        outage(make(listeners=[LoggingListener(structlog.get_logger("breaker"))]))
        assert [entry["log_level"] for entry in out.entries] == ["warning", "info", "info", "info"]
        assert out.entries[2]["event"] == "circuit 'payments' rejected 2 more calls while OPEN"


@pytest.mark.thread_unsafe(reason="all threads log to one logger")
def test_structlog_formats_what_goes_through_the_standard_library(make: Make) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.contextvars.merge_contextvars],
        )
    )
    logger = logging.getLogger("breaker.json")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with structlog.contextvars.bound_contextvars(request="r1"):
            outage(make(listeners=[LoggingListener(logger)]))
    finally:
        logger.removeHandler(handler)
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(entry["level"], entry["request"]) for entry in entries] == [
        ("warning", "r1"),
        ("info", "r1"),
        ("info", "r1"),
        ("info", "r1"),
    ]
    assert entries[2]["event"] == "circuit 'payments' rejected 2 more calls while OPEN"
