"""Rule 19: many breakers are cheap, none is kept alive, and a failure or rejection leaves nothing to collect."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import tracemalloc
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Cancelled, Make, enter, fail, lose, ok, succeed
from kit.surfaces import ASYNC, SYNC

from breaker import (
    Backoff,
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
from breaker.testing import ManualClock


@pytest.fixture(scope="module", autouse=True)
def little_to_look_through() -> Iterator[None]:
    """What other tests left alive is no concern of the collector here, and would cost it half a minute."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_cyclic_collector(little_to_look_through: None) -> Iterator[None]:
    """What is freed in these tests is freed by reference count alone."""
    gc.disable()
    yield
    gc.enable()


KINDS: dict[str, dict[str, Any]] = {
    "in a row": {},
    "rates": {
        "trip": FailureRate(0.1, TimeWindow(10.0), minimum_calls=3)
        | SlowCallRate(0.9, 5.0, CountWindow(10), count_running=True)
    },
    "heard": {"listeners": [lambda event: None]},
    "classified": {"record_exceptions": lambda error: True, "record_result": lambda result: False},
    "backoff": {"recovery_timeout": Backoff(RECOVERY)},
}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("kind", KINDS)
def test_dropping_the_last_reference_frees_a_breaker_in_every_state(
    make: Make, clock: ManualClock, kind: str, state: State
) -> None:
    breaker = make(ramp=RampUp(30.0) if state is State.RAMPING else None, **KINDS[kind])
    enter(breaker, state, clock.advance)
    with contextlib.suppress(CircuitOpenError, Boom):
        breaker.call(ok)
        breaker.call(lose, Boom)
    gone = weakref.ref(breaker)
    del breaker
    assert gone() is None


@pytest.mark.parametrize("use", ["decorated", "permit", "history", "statistics", "rejection", "unsubscribe", "diagram"])
def test_what_a_breaker_gave_away_makes_no_cycle_with_it(make: Make, use: str) -> None:
    breaker = make()
    breaker.force_open()
    kept: Any = None
    if use == "decorated":
        kept = breaker(ok)
    elif use == "permit":
        breaker.reset()
        kept = breaker.acquire()
        kept.succeed()
    elif use == "history":
        kept = breaker.history
    elif use == "statistics":
        kept = breaker.statistics()
    elif use == "rejection":
        try:
            breaker.call(ok)
        except CircuitOpenError as error:
            kept = error.with_traceback(None)
    elif use == "unsubscribe":
        kept = breaker.subscribe(print, StateChanged)
    else:
        kept = breaker.diagram("mermaid")
    gone = weakref.ref(breaker)
    del breaker
    if use not in {"decorated", "permit", "unsubscribe"}:
        assert gone() is None, "what is read keeps no breaker"
    del kept
    assert gone() is None


def leaves_nothing(work: Callable[[], Any]) -> bool:
    """Whether `work`, done again after a first time, leaves no garbage for the cyclic collector."""
    work()
    gc.collect()
    for _ in range(5):
        work()
    return gc.collect() == 0


def swallow(surface: Callable[..., Any], breaker: CircuitBreaker, work: Callable[[], Any]) -> None:
    with contextlib.suppress(Boom, Cancelled, CircuitOpenError, ZeroDivisionError):
        surface(breaker, work)


def cancelled() -> None:
    raise Cancelled


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("ending", [ok, lambda: lose(Boom), cancelled], ids=["success", "failure", "cancelled"])
@pytest.mark.parametrize("state", [State.CLOSED, State.OPEN, State.FORCED_OPEN, State.METRICS_ONLY, State.DISABLED])
@pytest.mark.parametrize("surface", SYNC)
def test_no_end_of_a_call_leaves_anything_to_collect(
    make: Make, surface: Callable[..., Any], state: State, ending: Callable[[], Any], heard: bool
) -> None:
    breaker = make(failure_threshold=10**6, initial_state=state, listeners=[ok] if heard else ())
    assert leaves_nothing(lambda: swallow(surface, breaker, ending))


def by_hand(coroutine: Any) -> None:
    """Run a coroutine that never waits, with no loop: loops make garbage of their own."""
    with contextlib.suppress(StopIteration):
        coroutine.send(None)


@pytest.mark.parametrize("ending", [ok, lambda: lose(Boom), cancelled], ids=["success", "failure", "cancelled"])
@pytest.mark.parametrize("state", [State.CLOSED, State.OPEN])
@pytest.mark.parametrize("surface", [surface for surface in ASYNC if surface.__name__ != "async_generator"])
def test_no_end_of_an_async_call_leaves_anything_to_collect(
    make: Make, surface: Callable[..., Any], state: State, ending: Callable[[], Any]
) -> None:
    breaker = make(failure_threshold=10**6, initial_state=state)

    async def work() -> Any:
        return ending()

    assert leaves_nothing(lambda: swallow(lambda *args: by_hand(surface(*args)), breaker, work))


@pytest.mark.parametrize("setting", ["record_exceptions", "ignore_exceptions", "retry_after", "record_result"])
def test_a_classifier_that_raises_leaves_nothing_to_collect(make: Make, setting: str) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    breaker = make(failure_threshold=10**6, **{setting: broken})
    ending = ok if setting == "record_result" else lambda: lose(Boom)
    assert leaves_nothing(lambda: swallow(SYNC[0], breaker, ending))


@pytest.mark.parametrize("fallback_on", [(), Boom])
def test_a_fallback_leaves_nothing_to_collect(make: Make, fallback_on: Any) -> None:
    breaker = make(failure_threshold=10**6, initial_state=State.CLOSED if fallback_on else State.OPEN)
    guarded = breaker.protect(fallback=lambda error, kind: "instead", fallback_on=fallback_on)(lose)
    assert guarded(Boom) == "instead"
    assert leaves_nothing(lambda: guarded(Boom))


def test_what_is_thrown_into_an_async_generator_leaves_nothing_to_collect(make: Make) -> None:
    breaker = make(failure_threshold=100)

    @breaker
    async def rows() -> AsyncGenerator[int, None]:
        yield 1

    async def throw() -> None:
        items = rows()
        await anext(items)
        with contextlib.suppress(Boom):
            await items.athrow(Boom())

    async def main() -> int:
        await throw()
        gc.collect()
        await throw()
        return gc.collect()

    assert asyncio.run(main()) == 0
    assert breaker.failure_count == 2


def test_a_whole_outage_leaves_nothing_to_collect(make: Make, clock: ManualClock) -> None:
    breaker = make(recovery_timeout=Backoff(RECOVERY, maximum=20.0))

    def outage() -> None:
        for _ in range(THRESHOLD):
            swallow(SYNC[0], breaker, lambda: lose(Boom))
        swallow(SYNC[0], breaker, ok)
        clock.advance(20.0)
        swallow(SYNC[0], breaker, lambda: lose(Boom))
        clock.advance(20.0)
        breaker.call(ok)

    assert leaves_nothing(outage)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("state", [State.OPEN, State.CLOSED])
def test_failures_and_rejections_retain_nothing(make: Make, state: State) -> None:
    breaker = make(failure_threshold=100, initial_state=state, trip=None)
    if state is State.CLOSED:
        breaker.metrics_only()

    def many() -> None:
        for _ in range(500):
            swallow(SYNC[0], breaker, lambda: lose(Boom))

    many()
    tracemalloc.start()
    many()
    before = tracemalloc.get_traced_memory()[0]
    many()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 2000


@pytest.mark.parametrize("window", [CountWindow(100), CountWindow(1_000_000), TimeWindow(60.0), TimeWindow(6e6)])
def test_healthy_calls_take_no_memory_whatever_the_window(make: Make, window: Any) -> None:
    breaker = make(trip=FailureRate(0.5, window))
    succeed(breaker, 100)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    succeed(breaker, 5000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 1000


@pytest.mark.parametrize("settings", [{}, {"failure_threshold": 7}, {"recovery_timeout": 5.0}], ids=str)
def test_ten_thousand_breakers_made_and_used_take_no_more_than_six_megabytes(settings: dict[str, Any]) -> None:
    names = [f"host-{number}" for number in range(10_000)]
    breakers: list[Any] = [None] * len(names)
    CircuitBreaker("first", **settings).call(ok)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number, name in enumerate(names):
        breakers[number] = breaker = CircuitBreaker(name, **settings)
        breaker.call(ok)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= 6_000_000
    assert {breaker.statistics().calls for breaker in breakers} == {1}


def test_dropped_breakers_give_all_of_it_back() -> None:
    def make_and_drop() -> None:
        for number in range(1000):
            breaker = CircuitBreaker(f"host-{number}", failure_threshold=1, trip=None)
            with contextlib.suppress(Boom):
                breaker.call(lose, Boom)

    for _ in range(25_000):  # more than were ever alive at once
        CircuitBreaker("payments")
    make_and_drop()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    make_and_drop()
    left = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert left < 50_000  # weak references are swept out now and then, not one by one; a breaker is 600 bytes


def test_settings_of_the_users_are_not_kept_alive() -> None:
    class Watched(float):
        pass

    def predicate(error: BaseException) -> bool:
        return True

    seconds, policy = Watched(5.0), ConsecutiveFailures(12345)
    gone = [weakref.ref(predicate), weakref.ref(seconds)]
    references = sys.getrefcount(policy)
    CircuitBreaker("payments", recovery_timeout=seconds, record_exceptions=predicate, trip=policy)
    assert sys.getrefcount(policy) == references
    del predicate, seconds
    assert [reference() for reference in gone] == [None, None]


def test_a_listener_is_dropped_with_its_breaker(make: Make) -> None:
    class Listener:
        def __call__(self, event: object) -> None: ...

    listener = Listener()
    gone = weakref.ref(listener)
    breaker = make(listeners=[listener])
    fail(breaker, THRESHOLD)
    del breaker, listener
    assert gone() is None


def test_an_awaited_failure_on_a_loop_keeps_no_breaker(make: Make) -> None:
    breaker = make(failure_threshold=100)

    async def work() -> None:
        raise Boom

    async def main(breaker: CircuitBreaker) -> None:
        with contextlib.suppress(Boom):
            await breaker.call_async(work)

    asyncio.run(main(breaker))
    gc.collect()  # the loop's own
    gone = weakref.ref(breaker)
    del breaker
    assert gone() is None
