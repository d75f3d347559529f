"""Events: frozen, in order, outside the lock, isolated; and nothing is built when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any
from unittest.mock import Mock

import pytest
import trio
from kit.steps import Boom, boom, fail, ok, rejection, succeed

from breaker import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    CircuitBreaker,
    CircuitOpenError,
    State,
    StateChanged,
)
from breaker.observe import bus
from breaker.observe.bus import EventBus
from breaker.observe.events import CallEvent, Event, subscribe_all
from breaker.testing import EventRecorder, ManualClock, inject, open_circuit, slow

Make = Callable[..., CircuitBreaker]
CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


@pytest.fixture
def heard() -> EventRecorder:
    return EventRecorder()


# -- what they tell -----------------------------------------------------------------------------------------


def test_call_events_tell_state_duration_and_exception(make: Make, heard: EventRecorder, clock: ManualClock) -> None:
    breaker = make(failure_threshold=1, ignore_exceptions=KeyError, listeners=[heard])
    with inject(breaker, slow(2.5)):
        breaker.call(ok)
    fail(breaker, error=KeyError)
    fail(breaker)
    error = rejection(breaker)
    succeeded, ignored, failed, _, rejected = heard.events
    assert isinstance(succeeded, CallSucceeded)
    assert (succeeded.state, succeeded.duration, succeeded.exception) == (CLOSED, 2.5, None)
    assert isinstance(ignored, CallIgnored)
    assert isinstance(ignored.exception, KeyError)
    assert isinstance(failed, CallFailed)
    assert (failed.state, failed.duration, type(failed.exception)) == (CLOSED, 0.0, Boom)
    assert isinstance(rejected, CallRejected)
    assert (rejected.state, rejected.duration, rejected.exception) == (OPEN, None, error)
    assert {event.breaker_name for event in heard.events} == {"payments"}
    assert all(abs(event.at - time.time()) < 60 for event in heard.events)


def test_a_state_change_tells_old_new_trigger_and_why_it_opened(
    make: Make, heard: EventRecorder, clock: ManualClock
) -> None:
    breaker = make(listeners=[heard])
    fail(breaker, 3)
    clock.advance(10.0)
    succeed(breaker)
    told = [(change.old, change.new, change.trigger) for change in heard.of(StateChanged)]
    assert told == [
        (CLOSED, OPEN, "trip"),
        (OPEN, HALF_OPEN, "timeout_elapsed"),
        (HALF_OPEN, CLOSED, "probe_succeeded"),
    ]
    opened, *others = heard.of(StateChanged)
    assert opened.report is breaker.last_trip is not None
    assert [change.report for change in others] == [None, None]


def test_the_call_that_opens_the_circuit_is_told_before_the_change(make: Make, heard: EventRecorder) -> None:
    breaker = make(failure_threshold=1, listeners=[heard])
    fail(breaker)
    assert [type(event) for event in heard.events] == [CallFailed, StateChanged]


def test_events_are_frozen(make: Make, heard: EventRecorder) -> None:
    breaker = make(failure_threshold=1, listeners=[heard])
    succeed(breaker)
    fail(breaker)
    for event in heard.events:
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.at = 0.0  # type: ignore[misc]  # that it cannot be assigned is the test


# -- who hears what -----------------------------------------------------------------------------------------


def test_a_listener_hears_the_types_it_asked_for_and_their_subtypes(make: Make) -> None:
    breaker = make(failure_threshold=1)
    changes, calls, both = EventRecorder(), EventRecorder(), EventRecorder()
    breaker.subscribe(changes, StateChanged)
    breaker.subscribe(calls, CallEvent)
    breaker.subscribe(both, CallRejected, StateChanged)
    succeed(breaker)
    fail(breaker)
    rejection(breaker)
    assert [type(event) for event in changes.events] == [StateChanged]
    assert [type(event) for event in calls.events] == [CallSucceeded, CallFailed, CallRejected]
    assert [type(event) for event in both.events] == [StateChanged, CallRejected]


@pytest.mark.thread_unsafe(reason="hears the breakers of all threads")
@pytest.mark.parametrize("way", ["listeners", "subscribe", "subscribe_all"])
def test_a_listener_may_name_its_types_itself_however_it_is_attached(make: Make, way: str) -> None:
    changes = EventRecorder(StateChanged)
    breaker = make(listeners=[changes] if way == "listeners" else ())
    attach: dict[str, Callable[[Any], Any]] = {"subscribe": breaker.subscribe, "subscribe_all": subscribe_all}
    end = attach[way](changes) if way in attach else lambda: None
    assert not breaker._state.needs_permit, "the closed path is not measured"
    fail(breaker, 3)
    end()
    assert [type(event) for event in changes.events] == [StateChanged]


def test_a_mock_is_a_listener_like_any_other(make: Make) -> None:
    mock = Mock()
    breaker = make(listeners=[mock])
    breaker.subscribe(mock, StateChanged)
    breaker.disable()
    assert mock.call_count == 2


def test_who_unsubscribed_hears_no_more_and_calls_are_not_measured_any_longer(make: Make, heard: EventRecorder) -> None:
    breaker = make()
    unsubscribe, again = breaker.subscribe(heard), breaker.subscribe(heard)
    succeed(breaker)
    assert len(heard.events) == 2, "subscribed twice, heard twice"
    unsubscribe()
    unsubscribe()
    succeed(breaker)
    assert len(heard.events) == 3
    again()
    succeed(breaker)
    assert len(heard.events) == 3
    assert not breaker._state.needs_permit


def test_one_listener_hears_every_breaker_alive_or_to_come(make: Make, heard: EventRecorder) -> None:
    before = make(name="before")
    end = subscribe_all(heard)
    after = make(name="after")
    succeed(before)
    succeed(after)
    end()
    succeed(before)
    succeed(make(name="later"))
    told = [event.breaker_name for event in heard.events]
    assert told == ["before", "after"]
    assert not before._state.needs_permit
    assert not after._state.needs_permit


@pytest.mark.parametrize("subscribe", [lambda b, *args: b.subscribe(*args), lambda b, *args: subscribe_all(*args)])
def test_what_is_no_callback_or_no_event_type_is_refused(make: Make, subscribe: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="must be callable, got 3"):
        subscribe(make(), 3)
    with pytest.raises(TypeError, match="got 'StateChanged'"):
        subscribe(make(), print, "StateChanged")


def test_nothing_is_built_when_nobody_listens(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    monkeypatch.setattr(EventBus, "publish", lambda self, event: built.append(event))
    deaf, half_deaf = make(), make(listeners=[EventRecorder(StateChanged)])
    for breaker in (deaf, half_deaf):
        succeed(breaker)
        fail(breaker, 3)
        rejection(breaker)
    assert deaf._bus is None
    assert [type(event) for event in built] == [StateChanged]


# -- in order, outside the lock, isolated -------------------------------------------------------------------


def test_listeners_see_changes_in_the_order_in_which_the_states_changed(make: Make, heard: EventRecorder) -> None:
    breaker, barrier = make(listeners=[heard]), threading.Barrier(6)
    verbs = [breaker.force_open, breaker.disable, breaker.metrics_only, breaker.reset]

    def operate(number: int) -> None:
        barrier.wait(10)
        for step in range(200):
            verbs[(number + step) % 4]()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(operate, range(6)))
    moves = heard.moves
    assert [new for _, new in moves[:-1]] == [old for old, _ in moves[1:]]
    assert moves[0][0] is CLOSED
    assert moves[-1][1] is breaker.state
    assert tuple(heard.of(StateChanged)[-100:]) == breaker.history


def test_no_event_is_lost_or_told_twice_under_threads(make: Make, heard: EventRecorder) -> None:
    breaker, barrier = make(failure_threshold=10_000, listeners=[heard]), threading.Barrier(6)

    def work(number: int) -> None:
        barrier.wait(10)
        for step in range(200):
            with contextlib.suppress(Boom):
                breaker.call(ok if (number + step) % 3 else boom)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    now = breaker.statistics()
    assert (len(heard.of(CallSucceeded)), len(heard.of(CallFailed))) == (now.successes, now.failures)
    assert len(heard.events) == now.calls == 1200


def test_an_event_put_when_the_deliverer_is_about_to_leave_is_not_left_behind(make: Make, heard: EventRecorder) -> None:
    breaker = make(listeners=[heard])
    box = breaker._bus
    assert box is not None

    class Busy:
        """A lock during whose first release another thread comes by, and finds it held."""

        lock, left = threading.RLock(), False
        acquire, _is_owned = lock.acquire, lock._is_owned  # type: ignore[attr-defined]  # as the bus asks it

        def release(self) -> None:
            if not self.left:
                self.left = True
                other = threading.Thread(target=breaker.disable)
                other.start()
                other.join(10)
            self.lock.release()

    box._busy = Busy()  # type: ignore[assignment]  # all of a lock that the bus uses
    succeed(breaker)
    assert [type(event) for event in heard.events] == [CallSucceeded, StateChanged]


def test_a_listener_runs_outside_the_lock(make: Make) -> None:
    breaker = make()
    states: list[State] = []

    def ask_in_another_thread(event: Event) -> None:
        thread = threading.Thread(target=lambda: states.append(breaker.statistics().state))
        thread.start()
        thread.join(10)

    breaker.subscribe(ask_in_another_thread, StateChanged, CallRejected)
    breaker.force_open()
    rejection(breaker)
    assert states == [State.FORCED_OPEN, State.FORCED_OPEN]


def test_a_listener_that_raises_is_logged_and_changes_nothing(
    make: Make, heard: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise LookupError("the listener's own")

    breaker = make(failure_threshold=1, listeners=[broken, heard])
    succeed(breaker)
    fail(breaker)
    rejection(breaker)
    assert [type(event) for event in heard.events] == [CallSucceeded, CallFailed, StateChanged, CallRejected]
    assert breaker.state is OPEN
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4
    assert "a listener of breaker 'payments' failed on CallSucceeded(" in caplog.text
    assert "LookupError: the listener's own" in caplog.text


def test_a_listener_that_moves_the_breaker_is_heard_after_what_it_heard(make: Make) -> None:
    breaker, seen = make(failure_threshold=1), EventRecorder(StateChanged)

    def reset_at_once(change: StateChanged) -> None:
        if change.new is OPEN:
            breaker.reset()

    breaker.subscribe(reset_at_once, StateChanged)
    breaker.subscribe(seen)
    fail(breaker, 2)
    assert breaker.state is CLOSED
    assert seen.moves == [(CLOSED, OPEN), (OPEN, CLOSED)] * 2


def test_a_listener_may_call_through_the_breaker_it_listens_to(make: Make, heard: EventRecorder) -> None:
    breaker = make()

    def call_again(event: CallSucceeded) -> None:
        if len(heard.events) < 5:
            breaker.call(ok)

    breaker.subscribe(heard)
    breaker.subscribe(call_again, CallSucceeded)
    breaker.call(ok)
    assert len(heard.events) == breaker.statistics().calls == 5


def test_listeners_may_come_and_go_during_a_delivery(make: Make, heard: EventRecorder) -> None:
    breaker = make()
    endings: list[Callable[[], None]] = []

    def once(event: Event) -> None:
        endings.pop()()
        breaker.subscribe(heard, StateChanged)

    endings.append(breaker.subscribe(once, StateChanged))
    breaker.disable()
    assert heard.events == [], "subscribed after the event"
    breaker.reset()
    breaker.force_open()
    assert heard.moves == [(State.DISABLED, CLOSED), (CLOSED, State.FORCED_OPEN)]


def test_a_listener_runs_in_the_context_of_the_call_even_when_another_thread_delivers(make: Make) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    breaker, told = make(), []
    delivering, queued = threading.Event(), threading.Event()

    def listener(event: Event) -> None:
        told.append((type(event), request.get(), threading.current_thread().name))
        if isinstance(event, StateChanged):
            delivering.set()
            assert queued.wait(10)

    breaker.subscribe(listener)

    def operate() -> None:
        request.set("operator's")
        breaker.force_open()

    thread = threading.Thread(target=operate, name="operator")
    thread.start()
    assert delivering.wait(10)
    request.set("user's")
    rejection(breaker)
    queued.set()
    thread.join(10)
    assert told == [(StateChanged, "operator's", "operator"), (CallRejected, "user's", "operator")]


@pytest.mark.thread_unsafe(reason="another thread that looks at all breakers holds them for a moment")
def test_listeners_and_events_keep_no_breaker_alive(make: Make) -> None:
    listener = EventRecorder()
    end = subscribe_all(listener)
    breaker = CircuitBreaker("short-lived")
    breaker.subscribe(listener)
    open_circuit(breaker)
    gone = weakref.ref(breaker)
    del breaker
    end()
    assert gone() is None, "freed by its last reference, without the cyclic collector"


# -- async listeners ----------------------------------------------------------------------------------------


class Later:
    """An async listener, and when it has heard enough."""

    def __init__(self, make_event: Callable[[], Any], wanted: int) -> None:
        self.events: list[Event] = []
        self.done, self._wanted = make_event(), wanted

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) == self._wanted:
            self.done.set()


async def _traffic(breaker: CircuitBreaker, later: Later) -> None:
    breaker.subscribe(later)
    await breaker.call_async(_fine)
    breaker.call(ok)
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        await breaker.call_async(_fine)
    await later.done.wait()


async def _fine() -> str:
    return "fine"


EXPECTED = [CallSucceeded, CallSucceeded, StateChanged, CallRejected]


def test_an_async_listener_hears_on_asyncio(make: Make) -> None:
    async def main() -> Later:
        later = Later(asyncio.Event, 4)
        await asyncio.wait_for(_traffic(make(), later), 10)
        return later

    assert [type(event) for event in asyncio.run(main()).events] == EXPECTED


def test_an_async_listener_hears_on_trio(make: Make) -> None:
    async def main() -> Later:
        later = Later(trio.Event, 4)
        with trio.fail_after(10):
            await _traffic(make(), later)
        return later

    # Trio starts tasks in an order of its own.
    assert sorted(type(event).__name__ for event in trio.run(main).events) == sorted(kind.__name__ for kind in EXPECTED)


@pytest.mark.parametrize("run", [lambda main: asyncio.run(main()), trio.run], ids=["asyncio", "Trio"])
def test_an_async_listener_that_raises_is_logged_and_changes_nothing(
    make: Make, run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    breaker = make()

    async def broken(event: Event) -> None:
        raise LookupError("the listener's own")

    async def main() -> None:
        breaker.subscribe(broken, StateChanged)
        breaker.disable()
        sleep = trio.lowlevel.checkpoint if run is trio.run else lambda: asyncio.sleep(0)
        while not caplog.records:
            await sleep()

    run(main)
    assert "LookupError: the listener's own" in caplog.text
    assert breaker.state is State.DISABLED


def test_an_async_listener_without_a_running_loop_is_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    breaker = make(listeners=[Later(threading.Event, 1)])
    breaker.disable()
    assert "an async listener needs a running event loop" in caplog.text
    gc.collect()  # a coroutine that was never awaited would warn here


# -- history ------------------------------------------------------------------------------------------------


def test_history_keeps_the_last_hundred_changes_with_their_reasons(make: Make, clock: ManualClock) -> None:
    breaker = make()
    assert breaker.history == ()
    for _ in range(40):
        fail(breaker, 3)
        clock.advance(10.0)
        succeed(breaker)
    assert len(breaker.history) == 100
    last = breaker.history[-3:]
    assert [(change.old, change.new) for change in last] == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]
    assert last[0].report is breaker.last_trip
    assert [change.at for change in breaker.history] == sorted(change.at for change in breaker.history)


def test_history_needs_no_listener_and_is_a_copy(make: Make) -> None:
    breaker = make()
    breaker.disable()
    before = breaker.history
    breaker.reset()
    assert (len(before), len(breaker.history)) == (1, 2)
    assert breaker._bus is None


# -- fork ---------------------------------------------------------------------------------------------------

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


def in_child(work: Callable[[], object]) -> object:
    """What `work` returns in a forked child, as text; the child ends with it."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads: the point
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


@forks
def test_a_breaker_delivers_after_a_fork_during_a_delivery(make: Make, heard: EventRecorder) -> None:
    breaker = make()
    delivering, forked = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        if not delivering.is_set():
            delivering.set()
            assert forked.wait(10)

    breaker.subscribe(hold, StateChanged)
    breaker.subscribe(heard, StateChanged)
    thread = threading.Thread(target=breaker.disable)
    thread.start()
    assert delivering.wait(10)
    breaker.force_open()  # queued behind the delivery: the parent's to deliver

    def work() -> list[str]:
        breaker.reset()
        return [str(change.new) for change in heard.of(StateChanged)]

    answer = in_child(work)
    forked.set()
    thread.join(10)
    assert answer == "['CLOSED']"
    assert [new for _, new in heard.moves] == [State.DISABLED, State.FORCED_OPEN]


@forks
def test_a_listener_may_fork(make: Make, heard: EventRecorder) -> None:
    breaker, parent = make(), os.getpid()
    reading, writing = os.pipe()

    def fork(event: StateChanged) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            os.fork()

    end = breaker.subscribe(fork, StateChanged)
    try:
        breaker.disable()  # returns in both processes
        end()
        breaker.subscribe(heard, StateChanged)
        breaker.reset()
        if os.getpid() != parent:
            os.write(writing, repr(heard.moves[0][1].value).encode())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "'CLOSED'"
    os.wait()


class Held:
    """Listeners that take their time to be listed, under the lock, until the process forks."""

    def __init__(self) -> None:
        self.listing, self.go = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Any]:
        self.listing.set()
        assert self.go.wait(10)
        return iter(())


@forks
def test_subscribing_to_all_works_in_a_child_forked_while_another_thread_subscribed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held()
    monkeypatch.setattr(bus, "_everywhere", held)
    os.register_at_fork(before=held.go.set)  # the last one registered runs first
    thread = threading.Thread(target=lambda: subscribe_all(print, StateChanged))
    thread.start()
    assert held.listing.wait(10)

    def work() -> object:
        signal.alarm(10)  # or a lock that is held for ever would hold the test, too
        return subscribe_all(print, StateChanged)()

    answer = in_child(work)
    thread.join(10)
    assert answer == "None"


def test_the_core_needs_no_async_library_to_deliver(
    make: Make, heard: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = make(listeners=[heard])
    monkeypatch.delitem(sys.modules, "asyncio")
    monkeypatch.delitem(sys.modules, "trio")
    breaker.disable()
    assert len(heard.events) == 1
