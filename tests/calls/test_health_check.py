"""The health check: a ping of the user's closes the circuit, with no user call spent on it.

The pinging thread is real, so these tests wait for it, on events with a deadline; what time it is, the clock says.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Make, fail, rejection, succeed

from breaker import CircuitBreaker, RampUp, State, StateChanged
from breaker.testing import ManualClock

DEADLINE = 10.0
INTERVAL = 0.002


class Ping:
    """A ping that answers as told, and can be waited for."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> Any:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer

    def wait_for(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= times, DEADLINE), f"{self.count} pings of {times}"


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "health of payments"]


def wait_for_no_watcher() -> None:
    for thread in watchers():
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    wait_for_no_watcher()


class Watched:
    """A breaker with a ping, and a way to wait for its state."""

    def __init__(self, make: Make, ping: Any, **settings: Any) -> None:
        self._moved = threading.Condition()
        self.breaker = make(
            health_check=ping, health_check_interval=INTERVAL, listeners=[self._note], name="payments", **settings
        )

    def _note(self, event: Any) -> None:
        with self._moved:
            self._moved.notify_all()

    def wait_for(self, reached: Callable[[CircuitBreaker], object]) -> None:
        with self._moved:
            assert self._moved.wait_for(lambda: reached(self.breaker), DEADLINE), repr(self.breaker)


def opened(make: Make, ping: Any, **settings: Any) -> Watched:
    watched = Watched(make, ping, **settings)
    fail(watched.breaker, THRESHOLD)
    return watched


def test_a_good_ping_closes_the_circuit_with_no_user_call(make: Make, clock: ManualClock) -> None:
    watched = opened(make, Ping())
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)
    moves = [change.new for change in watched.breaker.history]
    assert moves == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    assert watched.breaker.statistics().successes == 1


def test_it_pings_only_once_the_recovery_timeout_has_elapsed(make: Make, clock: ManualClock) -> None:
    ping = Ping(answer=False)
    rounds = threading.Semaphore(0)

    def counting_clock() -> float:
        if threading.current_thread().name == "health of payments":
            rounds.release()
        return clock()

    watched = opened(make, ping, clock=counting_clock)
    for _ in range(5):
        assert rounds.acquire(timeout=DEADLINE)  # it looks at the clock each round
    assert (ping.count, watched.breaker.state) == (0, State.OPEN)
    clock.advance(RECOVERY)
    ping.wait_for(1)
    watched.breaker.close()


def test_there_is_no_thread_while_the_circuit_is_closed(make: Make) -> None:
    watched = Watched(make, Ping())
    succeed(watched.breaker)
    fail(watched.breaker, THRESHOLD - 1)
    assert watchers() == []
    fail(watched.breaker)
    assert len(watchers()) == 1
    assert watchers()[0].daemon
    watched.breaker.reset()
    wait_for_no_watcher()


def test_with_a_health_check_no_user_call_is_the_guinea_pig(make: Make, clock: ManualClock) -> None:
    hold = threading.Event()
    ping = Ping(answer=lambda: hold.wait(DEADLINE))
    watched = opened(make, ping, half_open_max_calls=5)
    clock.advance(RECOVERY)
    ping.wait_for(1)
    assert rejection(watched.breaker).state is State.HALF_OPEN  # though places are free
    hold.set()
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)
    succeed(watched.breaker)


@pytest.mark.parametrize("answer", [ValueError("down"), False, SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_bad_ping_is_a_failed_probe_and_makes_no_noise(
    make: Make, clock: ManualClock, answer: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    ping = Ping(answer)
    watched = opened(make, ping)
    for openings in (2, 3):
        clock.advance(RECOVERY)
        watched.wait_for(lambda breaker, openings=openings: breaker.statistics().openings == openings)
    assert watched.breaker.last_trip is not None
    assert watched.breaker.last_trip.policy == "probe"
    ping.answer = True
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("good", [True, False])
def test_a_ping_may_be_a_coroutine_function(make: Make, clock: ManualClock, good: bool) -> None:
    loops: list[bool] = []

    async def ping() -> None:
        loops.append(asyncio.get_running_loop().is_running())
        await asyncio.sleep(0)
        if not good:
            raise ConnectionError

    watched = opened(make, ping)
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED or breaker.statistics().openings == 2)
    assert (watched.breaker.state, loops) == (State.CLOSED if good else State.OPEN, [True])
    watched.breaker.close()


def test_as_many_good_pings_are_needed_as_probes(make: Make, clock: ManualClock) -> None:
    ping = Ping()
    watched = opened(make, ping, success_threshold=3)
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)
    assert ping.count == 3


def test_a_good_ping_begins_the_ramp_where_there_is_one(make: Make, clock: ManualClock) -> None:
    watched = opened(make, Ping(), ramp=RampUp(60.0))
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.RAMPING)


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN])
def test_a_breaker_that_begins_open_is_pinged_too(make: Make, clock: ManualClock, state: State) -> None:
    watched = Watched(make, Ping(), initial_state=state)
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)


def test_the_thread_ends_when_the_breaker_is_dropped(make: Make, clock: ManualClock) -> None:
    ping = Ping(answer=False)
    looked = threading.Semaphore(0)

    def counting_clock() -> float:
        if threading.current_thread() is not threading.main_thread():
            looked.release()
        return clock()

    breaker = make(health_check=ping, health_check_interval=INTERVAL, clock=counting_clock)
    gone = weakref.ref(breaker)
    fail(breaker, THRESHOLD)
    (thread,) = watchers()
    assert looked.acquire(timeout=DEADLINE)  # it has begun, and waits for its next round
    assert looked.acquire(timeout=DEADLINE)
    del breaker
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert gone() is None


def test_close_ends_the_thread_and_callers_are_probes_again(make: Make, clock: ManualClock) -> None:
    ping = Ping(answer=False)
    watched = opened(make, ping)
    watched.breaker.close()
    wait_for_no_watcher()
    before = ping.count
    clock.advance(RECOVERY)
    succeed(watched.breaker)
    assert watched.breaker.state is State.CLOSED
    fail(watched.breaker, THRESHOLD)
    assert (watchers(), ping.count) == ([], before)
    watched.breaker.close()  # twice does no harm


def test_a_ping_that_ends_after_a_reset_decides_nothing(make: Make, clock: ManualClock) -> None:
    hold = threading.Event()
    ping = Ping(answer=lambda: not hold.wait(DEADLINE))
    watched = opened(make, ping)
    clock.advance(RECOVERY)
    ping.wait_for(1)
    watched.breaker.reset()
    hold.set()
    wait_for_no_watcher()
    assert (watched.breaker.state, watched.breaker.failure_count) == (State.CLOSED, 0)


def test_a_rejected_caller_is_told_to_come_back_after_the_next_ping(make: Make, clock: ManualClock) -> None:
    breaker = make(health_check=Ping(answer=False), health_check_interval=60.0)
    fail(breaker, THRESHOLD)
    assert rejection(breaker).retry_after == 60.0
    assert breaker.retry_after == 60.0
    breaker.close()


def in_child(report: Callable[[], bool]) -> int:
    """The exit status of a child process that runs `report`: 0 when it is true."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if report() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Python 3.12 and newer warn of a fork while threads run. That is what is tested here.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("hung", [False, True], ids=["between pings", "in a ping"])
def test_pinging_goes_on_in_a_forked_child(make: Make, clock: ManualClock, hung: bool) -> None:
    hold = threading.Event()
    parent = os.getpid()
    ping = Ping(answer=lambda: os.getpid() != parent or hold.wait(DEADLINE))
    watched = opened(make, ping)
    if hung:
        clock.advance(RECOVERY)
        ping.wait_for(1)

    def closes_in_silence() -> bool:
        noise: list[Any] = []
        threading.excepthook = noise.append
        closed = threading.Event()
        watched.breaker.subscribe(lambda change: closed.set() if change.new is State.CLOSED else None, StateChanged)
        # In the child of a hung ping nobody is there to settle that probe: its lease must run out first.
        for _ in range(100):
            if closed.wait(INTERVAL * 10):
                return not noise
            clock.advance(RECOVERY)
        return False

    status = in_child(closes_in_silence)
    hold.set()
    watched.breaker.close()
    assert status == 0


def test_a_ping_that_hangs_is_given_up_with_its_lease_and_another_thread_pings(make: Make, clock: ManualClock) -> None:
    hung, go_on = threading.Event(), threading.Event()
    good = Ping()

    def ping() -> Any:
        if not hung.is_set():
            hung.set()
            go_on.wait(DEADLINE)
            return None
        return good()

    watched = opened(make, ping, probe_timeout=5.0)
    clock.advance(RECOVERY)
    assert hung.wait(DEADLINE)
    clock.advance(5.0)
    rejection(watched.breaker)  # a caller finds that the lease ran out
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)
    assert good.count == 1
    go_on.set()


def test_a_clock_that_raises_once_does_not_end_the_pinging(make: Make, clock: ManualClock) -> None:
    raised = threading.Event()

    def shaky() -> float:
        if threading.current_thread().name == "health of payments" and not raised.is_set():
            raised.set()
            raise LookupError("the clock's own")
        return clock()

    watched = opened(make, Ping(), clock=shaky)
    assert raised.wait(DEADLINE)
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)


def test_when_no_thread_is_to_be_had_the_caller_is_not_troubled_and_a_later_rejection_tries_again(
    make: Make, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        watched = opened(make, Ping())
    assert watchers() == []
    rejection(watched.breaker)
    clock.advance(RECOVERY)
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)


def test_no_more_than_eight_pings_are_left_hanging(make: Make, clock: ManualClock) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        begun.release()
        go_on.wait(DEADLINE)

    watched = opened(make, hang, probe_timeout=5.0)
    for _ in range(9):  # eight are given up, the ninth is the last
        clock.advance(RECOVERY)
        assert begun.acquire(timeout=DEADLINE)
        clock.advance(5.0)
        rejection(watched.breaker)
    clock.advance(RECOVERY)
    rejection(watched.breaker)
    assert len(watchers()) == 9
    watched.breaker.close()
    go_on.set()


def test_a_closed_check_stays_closed_in_a_forked_child(make: Make, clock: ManualClock) -> None:
    watched = opened(make, Ping())
    health = watched.breaker._prober
    assert health is not None
    health.close()
    health.in_child_after_fork()
    health.ensure_running(watched.breaker)
    wait_for_no_watcher()


def test_a_second_ping_finds_no_place_beside_the_first(make: Make, clock: ManualClock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(DEADLINE)

    watched = opened(make, hang)
    clock.advance(RECOVERY)
    assert begun.wait(DEADLINE)
    assert watched.breaker._admit_prober() is None
    assert watched.breaker.state is State.HALF_OPEN
    go_on.set()
    watched.wait_for(lambda breaker: breaker.state is State.CLOSED)


def test_a_closed_circuit_has_no_place_for_a_ping(make: Make) -> None:
    assert make()._admit_prober() is None
