"""Rule 13 among threads: they agree on one trip and one probe, and no call is lost from the totals."""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Cancelled, Make, fail, ok, succeed

from breaker import (
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

DEADLINE = 30.0


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Let threads interrupt each other as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(number: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(n)` returned or raised, in `number` threads that start at once."""
    results: list[Any] = [None] * number
    start = threading.Barrier(number)

    def run(place: int) -> None:
        start.wait(DEADLINE)
        try:
            results[place] = work(place)
        except (Exception, Cancelled) as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "a deadlock"
    return results


@pytest.mark.parametrize("attempt", range(5))
def test_sixteen_threads_that_fail_at_once_trip_once(make: Make, attempt: int) -> None:
    heard: list[Any] = []
    breaker = make()
    breaker.subscribe(heard.append, StateChanged)
    inside = threading.Barrier(16)

    def fail_together(_: int) -> None:
        def lose() -> None:
            inside.wait(DEADLINE)
            raise Boom

        breaker.call(lose)

    results = together(16, fail_together)
    assert Counter(map(type, results)) == {Boom: 16}  # each got its own exception, none a rejection
    assert (breaker.state, breaker.statistics().openings) == (State.OPEN, 1)
    assert len(heard) == len(breaker.history) == 1
    assert breaker.statistics().failures == 16
    assert breaker.failure_count == THRESHOLD


@pytest.mark.thread_unsafe(reason="its threads share a clock")
@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("attempt", range(5))
def test_sixteen_threads_that_find_the_timeout_elapsed_probe_as_often_as_there_are_places(
    make: Make, clock: ManualClock, places: int, attempt: int
) -> None:
    breaker = make(half_open_max_calls=places, success_threshold=places)
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    made: list[int] = []
    rejected: list[State] = []
    all_rejected = threading.Event()

    def probe(place: int) -> str:
        made.append(place)
        assert all_rejected.wait(DEADLINE)
        return "probed"

    def attempt_call(place: int) -> Any:
        try:
            return breaker.call(probe, place)
        except CircuitOpenError as error:
            rejected.append(error.state)
            if len(rejected) == 16 - places:
                all_rejected.set()
            return error.state

    results = Counter(together(16, attempt_call))
    assert results == {"probed": places, State.HALF_OPEN: 16 - places}
    assert len(made) == places
    assert breaker.state is State.CLOSED
    assert [change.new for change in breaker.history] == [State.OPEN, State.HALF_OPEN, State.CLOSED]


@pytest.mark.thread_unsafe(reason="its threads share a clock")
def test_sixteen_threads_whose_probes_fail_at_once_open_once(make: Make, clock: ManualClock) -> None:
    breaker = make(half_open_max_calls=16)
    fail(breaker, THRESHOLD)
    clock.advance(RECOVERY)
    inside = threading.Barrier(16)

    def lose() -> None:
        inside.wait(DEADLINE)
        raise Boom

    assert Counter(map(type, together(16, lambda _: breaker.call(lose)))) == {Boom: 16}
    assert (breaker.state, breaker.statistics().openings) == (State.OPEN, 2)


POLICIES: dict[str, Any] = {
    "in a row": lambda: ConsecutiveFailures(3),
    "count window": lambda: FailureRate(0.5, CountWindow(20), minimum_calls=10),
    "time window": lambda: FailureRate(0.5, TimeWindow(10.0), minimum_calls=10),
    "slow calls": lambda: SlowCallRate(0.9, 1000.0, TimeWindow(10.0)),
    "running": lambda: SlowCallRate(0.9, 1000.0, CountWindow(10), count_running=True),
    "joined": lambda: ConsecutiveFailures(4) | FailureRate(0.5, TimeWindow(10.0)) | FailureRate(0.9, CountWindow(10)),
}


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_totals_of_two_hundred_threads_add_up_while_the_circuit_moves(
    make: Make, clock: ManualClock, policy: str, heard: bool
) -> None:
    events: list[Any] = []
    breaker = make(
        trip=POLICIES[policy](),
        ignore_exceptions=KeyError,
        recovery_timeout=1.0,
        half_open_max_calls=3,
        listeners=[events.append] if heard else (),
    )
    endings = [None, None, None, Boom, Boom, KeyError, Cancelled]
    tried = Counter[str]()
    count = threading.Lock()

    def end(ending: type[BaseException] | None) -> None:
        if ending is not None:
            raise ending

    def hammer(place: int) -> None:
        mine, dice = Counter[str](), random.Random(place)
        for _ in range(25):
            ending = dice.choice(endings)
            if dice.random() < 0.05:
                clock.advance(1.0)
            if dice.random() < 0.02:
                breaker.reset()
            try:
                breaker.call(end, ending)
            except CircuitOpenError:
                mine["rejected"] += 1
            except Boom:
                mine["failures"] += 1
            except (KeyError, Cancelled):
                mine["ignored"] += 1
            else:
                mine["successes"] += 1
        with count:
            tried.update(mine)

    assert together(200, hammer) == [None] * 200
    now = breaker.statistics()
    assert now.calls + now.ignored + now.rejected == 200 * 25
    assert {name: getattr(now, name) for name in tried} == dict(tried)
    if heard:
        moves = [event for event in events if isinstance(event, StateChanged)]
        assert len(events) - len(moves) == 200 * 25
        assert now.openings == sum(move.new is State.OPEN for move in moves)


def test_successes_counted_without_a_lock_are_all_counted(make: Make) -> None:
    breaker = make(trip=FailureRate(0.5, CountWindow(1_000_000), minimum_calls=10))

    def call_and_read(place: int) -> None:
        for _ in range(500):
            breaker.call(ok)
            if place == 0:
                breaker.statistics()

    together(16, call_and_read)
    assert breaker.statistics().successes == breaker.statistics().window_calls == 16 * 500


def test_statistics_are_never_torn(make: Make) -> None:
    breaker = make(failure_threshold=10**9)
    done = threading.Event()

    def work(place: int) -> Any:
        if place == 0:
            torn, last = [], 0
            while not done.is_set():
                now = breaker.statistics()
                if now.calls != now.successes + now.failures or now.calls < last:
                    torn.append(now)
                last = now.calls
            return torn
        for _ in range(400):
            succeed(breaker)
            with pytest.raises(Boom):
                breaker.call(lose)
        if place == 1:
            done.set()
        return []

    def lose() -> None:
        raise Boom

    assert together(4, work) == [[]] * 4
    assert breaker.statistics().calls == 3 * 800


def test_a_ramp_lets_the_same_share_through_however_many_ask(make: Make) -> None:
    breaker = make(ramp=RampUp(60.0, start=0.25), initial_state=State.RAMPING)

    def passed(_: int) -> int:
        return sum(not isinstance(result, CircuitOpenError) for result in map(attempt, range(100)))

    def attempt(_: int) -> Any:
        try:
            return breaker.call(ok)
        except CircuitOpenError as error:
            return error

    assert sum(together(16, passed)) == 16 * 100 / 4


def test_events_of_many_threads_arrive_in_the_order_in_which_the_states_changed(make: Make) -> None:
    heard: list[StateChanged] = []
    breaker: CircuitBreaker = make()
    breaker.subscribe(heard.append, StateChanged)
    verbs = [breaker.force_open, breaker.reset, breaker.disable, breaker.metrics_only]
    together(8, lambda place: [verbs[(place + turn) % 4]() for turn in range(50)])
    assert all(before.new is after.old for before, after in itertools.pairwise(heard))
    assert tuple(heard[-100:]) == breaker.history
