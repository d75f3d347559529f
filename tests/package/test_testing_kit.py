"""The kit for users' tests: the clock, the recorder, ways into each state, faults, and the pytest plugin."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio

from breaker import (
    CallFailed,
    CallRejected,
    CallSucceeded,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    RampUp,
    SlowCallRate,
    State,
    StateChanged,
    TimeWindow,
)
from breaker.table import RAMP_TABLE
from breaker.testing import (
    EventRecorder,
    ManualClock,
    bring_to,
    failing,
    half_open_circuit,
    inject,
    open_circuit,
    slow,
)

pytest_plugins = ["pytester"]
CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class Fussy:
    """A policy of a user's own that trips at the third failure of at least a second."""

    timed = True

    def __repr__(self) -> str:
        return "Fussy()"

    def open(self, clock: Callable[[], float]) -> Any:
        return FussyTally()


class FussyTally:
    failures = 0

    def succeeded(self, duration: float | None) -> None: ...

    def failed(self, kind: str, duration: float | None) -> None:
        self.failures += 1

    def tripped(self) -> bool:
        return self.failures >= 3


class Never(FussyTally):
    def tripped(self) -> bool:
        return False


WINDOW = CountWindow(100)
POLICIES = [
    ConsecutiveFailures(7),
    FailureRate(0.5, WINDOW, minimum_calls=20),
    FailureRate(1.0, TimeWindow(60.0), minimum_calls=20),
    SlowCallRate(1.0, 5.0, WINDOW),
    SlowCallRate(1.0, 5.0, WINDOW, count_running=True),
    ConsecutiveFailures(50) | SlowCallRate(1.0, 5.0, WINDOW),
    Fussy(),
]


# -- the clock and the recorder -------------------------------------------------------------------------------


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(2.5)
    assert clock() == 7.5


def test_a_recorder_remembers_events_in_order_and_by_type() -> None:
    heard = EventRecorder()
    payments = CircuitBreaker("payments", failure_threshold=2, listeners=[heard])
    payments.call(str)
    with inject(payments, failing(2)):
        for _ in range(2):
            with pytest.raises(ConnectionError):
                payments.call(str)
    with pytest.raises(CircuitOpenError):
        payments.call(str)
    assert [type(event) for event in heard.events] == [
        CallSucceeded,
        CallFailed,
        CallFailed,
        StateChanged,
        CallRejected,
    ]
    assert [type(event.exception) for event in heard.of(CallFailed)] == [ConnectionError, ConnectionError]
    assert heard.moves == [(CLOSED, OPEN)]
    heard.clear()
    assert heard.events == []


def test_a_recorder_of_state_changes_leaves_calls_unmeasured() -> None:
    heard = EventRecorder(StateChanged)
    payments = CircuitBreaker("payments", listeners=[heard])
    assert not payments._state.needs_permit
    open_circuit(payments)
    assert [type(event) for event in heard.events] == [StateChanged]


@pytest.mark.thread_unsafe(reason="hears the breakers of all threads")
def test_a_recorder_listens_for_a_block_to_some_breakers_or_to_all() -> None:
    heard, everything = EventRecorder(), EventRecorder()
    payments, other = CircuitBreaker("payments"), CircuitBreaker("other")
    with heard.listening(payments) as same, everything.listening():
        assert same is heard
        payments.disable()
        other.disable()
    payments.reset()
    assert heard.moves == [(CLOSED, State.DISABLED)]
    assert {event.breaker_name for event in everything.events} >= {"payments", "other"}
    assert not payments._state.needs_permit


# -- into each state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("clock", [ManualClock(), None], ids=["manual clock", "real clock"])
def test_a_breaker_is_brought_from_any_state_to_any_state_by_rows_of_the_table(
    policy: Any, start: State, clock: ManualClock | None
) -> None:
    rows = {(row.source, row.dest) for row in RAMP_TABLE}
    for state in State:
        heard = EventRecorder(StateChanged)
        settings: dict[str, Any] = {} if clock is None else {"clock": clock}
        payments = CircuitBreaker(
            "payments",
            trip=policy,
            ramp=RampUp(10.0),
            success_threshold=2,
            initial_state=start,
            listeners=[heard],
            **settings,
        )
        bring_to(payments, state)
        assert payments.state is state
        assert all(move in rows or (None, move[1]) in rows for move in heard.moves)


def test_an_opened_circuit_stays_open_for_a_whole_period_from_now() -> None:
    clock = ManualClock()
    payments = CircuitBreaker("payments", recovery_timeout=30.0, clock=clock)
    open_circuit(payments)
    clock.advance(29.0)
    open_circuit(payments)
    assert payments.retry_after == 30.0
    assert payments.last_trip is not None
    assert payments.statistics().openings == 2


def test_a_circuit_opens_whatever_its_classifier_ignores() -> None:
    payments = CircuitBreaker("payments", record_exceptions=KeyError, ignore_exceptions=Exception)
    open_circuit(payments)
    assert payments.state is OPEN


def test_a_half_open_circuit_has_a_probe_to_give() -> None:
    payments = CircuitBreaker("payments")
    half_open_circuit(payments)
    assert payments.call(lambda: payments.state) is HALF_OPEN
    assert payments.state is CLOSED


def test_a_breaker_with_a_health_check_is_brought_to_half_open_too() -> None:
    payments = CircuitBreaker("payments", health_check=lambda: True, health_check_interval=1000.0, ramp=RampUp(5.0))
    bring_to(payments, HALF_OPEN)
    assert payments.state is HALF_OPEN
    bring_to(payments, State.RAMPING)
    assert payments.state is State.RAMPING
    payments.close()


def test_a_breaker_without_a_ramp_is_never_ramping() -> None:
    payments = CircuitBreaker("payments")
    with pytest.raises(ValueError, match="no ramp"):
        bring_to(payments, State.RAMPING)
    assert payments.state is CLOSED


def test_a_policy_that_never_trips_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breaker.testing._ENOUGH_CALLS", 50)
    monkeypatch.setattr(Fussy, "open", lambda self, clock: Never())
    with pytest.raises(RuntimeError, match="50 failures did not open"):
        open_circuit(CircuitBreaker("payments", trip=Fussy()))


# -- faults: every call surface ---------------------------------------------------------------------------------


class Dependency:
    """Counts how often it is reached, in each shape that a breaker guards."""

    def __init__(self) -> None:
        self.reached = 0

    def plain(self) -> str:
        self.reached += 1
        return "fine"

    async def coroutine(self) -> str:
        self.reached += 1
        return "fine"

    def generator(self) -> Iterator[str]:
        self.reached += 1
        yield "fine"

    async def async_generator(self) -> AsyncIterator[str]:
        self.reached += 1
        yield "fine"


def _first_of(generate: Callable[[], Iterator[str]]) -> Callable[[], str]:
    return lambda: list(generate())[0]  # noqa: RUF015  # to the end: that is when a generator has succeeded


def _first_of_async(generate: Callable[[], AsyncIterator[str]]) -> Callable[[], Any]:
    return lambda: _all(generate())


async def _all(items: AsyncIterator[str]) -> str:
    found = [item async for item in items]
    return found[0]


async def _acquired(breaker: CircuitBreaker, dependency: Dependency) -> str:
    async with breaker.acquire():
        return await dependency.coroutine()


def _acquired_plainly(breaker: CircuitBreaker, dependency: Dependency) -> str:
    with breaker.acquire():
        return dependency.plain()


Surface = Callable[[CircuitBreaker, Dependency], Callable[[], Any]]
SYNC: dict[str, Surface] = {
    "call": lambda b, d: lambda: b.call(d.plain),
    "decorated": lambda b, d: b(d.plain),
    "protected": lambda b, d: b.protect()(d.plain),
    "generator": lambda b, d: _first_of(b(d.generator)),
    "with acquire": lambda b, d: lambda: _acquired_plainly(b, d),
}
ASYNC: dict[str, Surface] = {
    "call_async": lambda b, d: lambda: b.call_async(d.coroutine),
    "call of an async def": lambda b, d: lambda: b.call(d.coroutine),
    "call of what returns an awaitable": lambda b, d: lambda: b.call(lambda: d.coroutine()),
    "decorated async": lambda b, d: b(d.coroutine),
    "async generator": lambda b, d: _first_of_async(b(d.async_generator)),
    "async with acquire": lambda b, d: lambda: _acquired(b, d),
}


def outcomes(call: Callable[[], Any], times: int, run: Callable[..., Any] | None) -> list[str]:
    async def attempt() -> Any:
        return await call()

    ends = []
    for _ in range(times):
        try:
            ends.append(call() if run is None else run(attempt))
        except Exception as error:
            ends.append(type(error).__name__)
    return ends


RUNNERS: list[tuple[str, Surface, Callable[..., Any] | None]] = [
    *((name, surface, None) for name, surface in SYNC.items()),
    *((f"{name}, asyncio", surface, lambda fn: asyncio.run(fn())) for name, surface in ASYNC.items()),
    *((f"{name}, Trio", surface, trio.run) for name, surface in ASYNC.items()),
]
every_surface = pytest.mark.parametrize(
    ("surface", "run"), [row[1:] for row in RUNNERS], ids=[row[0] for row in RUNNERS]
)


@every_surface
def test_injected_failures_replace_the_dependency_on_every_surface(surface: Surface, run: Any) -> None:
    payments, dependency = CircuitBreaker("payments"), Dependency()
    call = surface(payments, dependency)  # made before the fault, as an application's are
    with inject(payments, failing(2, TimeoutError)):
        assert outcomes(call, 3, run) == ["TimeoutError", "TimeoutError", "fine"]
    assert dependency.reached == 1
    assert outcomes(call, 1, run) == ["fine"]
    assert (payments.statistics().failures, payments.statistics().successes) == (2, 2)


@every_surface
def test_injected_slowness_counts_by_the_breakers_clock_on_every_surface(surface: Surface, run: Any) -> None:
    for clock in (ManualClock(), None):
        settings: dict[str, Any] = {} if clock is None else {"clock": clock}
        trip = SlowCallRate(1.0, 500.0, CountWindow(3), minimum_calls=3)
        payments, dependency = CircuitBreaker("payments", trip=trip, **settings), Dependency()
        call = surface(payments, dependency)
        with inject(payments, slow(500.0)):
            assert outcomes(call, 4, run) == ["fine", "fine", "fine", "CircuitOpenError"]
        assert dependency.reached == payments.statistics().slow == 3
        assert clock is None or clock() >= 1500.0


@pytest.mark.parametrize("start", State)
def test_faults_strike_in_every_state_that_lets_a_call_through(start: State) -> None:
    clock = ManualClock()
    payments = CircuitBreaker("payments", ramp=RampUp(10.0, start=1.0), clock=clock)
    for before in (True, False):
        if before:
            bring_to(payments, start)
        with inject(payments, failing(1)):
            if not before:
                bring_to(payments, start)
            shut = start in (OPEN, State.FORCED_OPEN)
            with pytest.raises(CircuitOpenError if shut else ConnectionError):
                payments.call(str)
        bring_to(payments, start)
        if not shut:
            assert payments.call(str) == ""


def test_a_rejected_call_uses_no_fault_up() -> None:
    payments = CircuitBreaker("payments")
    with inject(payments, failing(1)):
        open_circuit(payments)
        with pytest.raises(CircuitOpenError):
            payments.call(str)
        payments.reset()
        with pytest.raises(ConnectionError):
            payments.call(str)
        assert payments.call(str) == ""


def test_faults_join_in_order_and_nest() -> None:
    clock, heard = ManualClock(), EventRecorder(CallFailed)
    payments = CircuitBreaker("payments", clock=clock, listeners=[heard])
    with inject(payments, slow(2.0), failing(1, TimeoutError)), inject(payments, slow(1.0), failing(None, KeyError)):
        for error in (TimeoutError, KeyError, KeyError):
            with pytest.raises(error):
                payments.call(str)
    assert [event.duration for event in heard.of(CallFailed)] == [2.0, 3.0, 3.0]
    assert payments.call(str) == ""


def test_an_instance_is_raised_itself_and_the_breaker_judges_it() -> None:
    error = KeyError("odd")
    payments = CircuitBreaker("payments", ignore_exceptions=KeyError)
    with inject(payments, failing(1, error)), pytest.raises(KeyError) as caught:
        payments.call(str)
    assert caught.value is error
    assert payments.statistics().ignored == 1


def test_a_fault_of_your_own_is_a_function() -> None:
    def every_second(breaker: CircuitBreaker, permit: Any) -> None:
        if breaker.statistics().calls % 2:
            raise OSError

    payments = CircuitBreaker("payments")
    with inject(payments, every_second):
        assert outcomes(lambda: payments.call(str), 4, None) == ["", "OSError", "", "OSError"]


@pytest.mark.parametrize("state", State)
def test_everything_is_as_before_after_an_injection_however_it_ends(state: State) -> None:
    payments = CircuitBreaker("payments", ramp=RampUp(10.0))
    bring_to(payments, state)
    needs_permit = payments._state.needs_permit
    with pytest.raises(LookupError), inject(payments, failing(None)):
        assert isinstance(payments, CircuitBreaker)
        assert type(payments).__name__ == "CircuitBreaker"
        raise LookupError
    assert type(payments) is CircuitBreaker
    assert payments._state.needs_permit is needs_permit
    bring_to(payments, CLOSED)
    assert not payments._state.needs_permit


def test_listeners_may_come_and_go_during_an_injection() -> None:
    payments = CircuitBreaker("payments")
    with inject(payments, failing(1)):
        payments.subscribe(EventRecorder())()
        with pytest.raises(ConnectionError):
            payments.call(str)


def test_injections_may_end_in_any_order() -> None:
    payments = CircuitBreaker("payments")
    first, second = inject(payments, failing(None, KeyError)), inject(payments, failing(None, OSError))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(OSError):
        payments.call(str)
    second.__exit__(None, None, None)
    assert payments.call(str) == ""
    assert type(payments) is CircuitBreaker


def test_a_breaker_whose_class_is_yours_is_struck_and_restored() -> None:
    class Audited(CircuitBreaker):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.note = "kept"

    payments = Audited("payments")
    with inject(payments, failing(1)), pytest.raises(ConnectionError):
        payments.call(str)
    assert type(payments) is Audited
    assert payments.note == "kept"


def test_other_breakers_are_not_struck() -> None:
    payments, other = CircuitBreaker("payments"), CircuitBreaker("other")
    with inject(payments, failing(None)):
        assert other.call(str) == ""
        assert not other._state.needs_permit


def test_of_many_threads_exactly_so_many_calls_fail() -> None:
    payments, barrier = CircuitBreaker("payments", failure_threshold=1000), threading.Barrier(8)

    def work() -> int:
        barrier.wait(10)
        return outcomes(lambda: payments.call(str), 50, None).count("ConnectionError")

    with inject(payments, failing(123)), ThreadPoolExecutor(8) as pool:
        assert sum(future.result() for future in [pool.submit(work) for _ in range(8)]) == 123


def test_an_injection_keeps_no_breaker_alive_and_loses_no_permit() -> None:
    payments = CircuitBreaker("payments")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with inject(payments, failing(1), slow(1.0)), pytest.raises(ConnectionError):
            payments.call(str)
        gone = weakref.ref(payments)
        del payments
        gc.collect()
    assert gone() is None


def test_outcomes_are_told_to_listeners_during_an_injection() -> None:
    heard = EventRecorder()
    payments = CircuitBreaker("payments", listeners=[heard])
    with inject(payments, failing(1)), pytest.raises(ConnectionError):
        payments.call(str)
    assert [type(event) for event in heard.events] == [CallFailed]


# -- the pytest plugin --------------------------------------------------------------------------------------


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    """A run with this plugin, whether or not its entry point is installed here."""
    return pytester.runpytest_inprocess("-p", "no:breaker", "-p", "breaker.pytest_plugin", "-p", "no:cacheprovider")


def test_the_fixture_closes_every_circuit_before_and_after_each_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def closed_circuits(circuit_breakers):
            pass
        """
    )
    pytester.makepyfile(
        """
        from breaker import CircuitBreaker, State
        payments = CircuitBreaker("payments of the plugin", initial_state=State.FORCED_OPEN)

        def test_first():
            assert payments.state is State.CLOSED
            payments.force_open()

        def test_second():
            assert payments.state is State.CLOSED
            payments.disable()

        def teardown_module():
            assert payments.state is State.CLOSED
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_the_fixture_finds_breakers_by_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from breaker import CircuitBreaker
        from breaker.registry import Registry
        registry = Registry()
        made = [CircuitBreaker(name) for name in ("found by name", "twice", "twice")]

        def test_found(circuit_breakers):
            assert circuit_breakers["found by name"] is made[0]
            assert set(made) <= set(circuit_breakers)
            with pytest.raises(LookupError, match="0 breakers are named 'nobody'.*'found by name'"):
                circuit_breakers["nobody"]
            with pytest.raises(LookupError, match="2 breakers are named 'twice'"):
                circuit_breakers["twice"]
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_but_the_core() -> None:
    code = (
        "import sys, transitions, pytest; before = set(sys.modules); import breaker.pytest_plugin;"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(new), 'asyncio' in set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["['breaker']", "False"]


def test_a_fault_strikes_the_probe_that_ends_an_open_period(clock: ManualClock) -> None:
    payments = CircuitBreaker("payments", initial_state=State.OPEN, recovery_timeout=1.0, clock=clock)
    clock.advance(1.0)
    with inject(payments, failing(1)), pytest.raises(ConnectionError):
        payments.call(str)
    assert payments.history[-1].trigger == "probe_failed"


def test_a_slow_fault_has_nothing_to_lengthen_in_disabled() -> None:
    payments = CircuitBreaker("payments")
    payments.disable()
    with inject(payments, slow(5.0)):
        assert payments.call(str) == ""
