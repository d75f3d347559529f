"""The registry: one breaker for each key, bounded without forgetting an open circuit."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from breaker import CircuitBreaker, CircuitOpenError, State
from breaker.registry import Registry
from breaker.testing import ManualClock


def test_a_key_gets_a_breaker_on_first_use_and_the_same_one_after() -> None:
    registry = Registry(failure_threshold=2)
    breaker = registry["payments"]
    assert registry["payments"] is breaker
    assert (breaker.name, breaker.failure_threshold) == ("payments", 2)
    assert registry["search"] is not breaker
    assert registry["api", 443].name == "('api', 443)"


def test_a_factory_makes_breakers_from_their_keys() -> None:
    registry = Registry(lambda key: CircuitBreaker(f"to {key}"))
    assert registry[7].name == "to 7"


def test_looking_makes_nothing() -> None:
    registry = Registry()
    assert registry.get("payments") is None
    assert "payments" not in registry
    assert (len(registry), list(registry), registry.values()) == (0, [], [])
    breaker = registry["payments"]
    assert registry.get("payments") is breaker
    assert "payments" in registry
    assert (len(registry), list(registry), registry.values()) == (1, ["payments"], [breaker])
    assert registry.items() == [("payments", breaker)]
    assert repr(registry) == "<Registry of 1 breakers>"


def test_a_removed_breaker_is_forgotten_whatever_its_state() -> None:
    registry = Registry(max_size=1)
    breaker = registry["payments"]
    breaker.force_open()
    assert registry.remove("payments") is breaker
    assert registry.remove("payments") is None
    assert registry["payments"] is not breaker


def test_it_may_be_changed_while_it_is_iterated() -> None:
    registry = Registry()
    for key in "abc":
        registry[key]
    for key in registry:
        registry.remove(key)
    assert len(registry) == 0


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"failure_threshold": 0}, ValueError, "got 0"),
        ({"max_size": 0}, ValueError, "got 0"),
        ({"max_size": True}, ValueError, "got True"),
        ({"idle_timeout": -1}, ValueError, "got -1"),
        ({"clock": 3}, TypeError, "got 3"),
        ({"factory": "host"}, TypeError, "got 'host'"),
        ({"factory": CircuitBreaker, "failure_threshold": 3}, TypeError, "not both: failure_threshold"),
        ({"no_such_setting": 1}, TypeError, "no_such_setting"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(
    settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Registry(**settings)


def test_a_factory_that_returns_no_breaker_is_refused() -> None:
    with pytest.raises(TypeError, match="got None for 'payments'"):
        Registry(lambda key: None)["payments"]  # type: ignore[arg-type,return-value]  # the mistake tested


@pytest.mark.parametrize("bounds", [{}, {"max_size": 10}, {"idle_timeout": 60.0}])
def test_threads_that_race_for_a_key_get_the_same_breaker(bounds: dict[str, Any]) -> None:
    made: list[str] = []
    barrier = threading.Barrier(8)

    def slow(key: str) -> CircuitBreaker:
        made.append(key)
        while len(waiting) < 8:
            pass
        return CircuitBreaker(key)

    waiting: list[int] = []
    registry = Registry(slow, **bounds)

    def ask(number: int) -> CircuitBreaker:
        barrier.wait()
        waiting.append(number)
        return registry["payments"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert made == ["payments"]


def test_a_slow_factory_keeps_no_other_key_waiting() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def factory(key: str) -> CircuitBreaker:
        if key == "slow":
            begun.set()
            assert go_on.wait(10)
        return CircuitBreaker(key)

    registry = Registry(factory, max_size=10)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: registry["slow"])
        assert begun.wait(10)
        assert registry["quick"].name == "quick"
        assert list(registry) == ["quick"]
        go_on.set()
        assert slow.result() is registry["slow"]


def test_after_a_factory_that_raised_the_next_one_who_asks_tries_again() -> None:
    answers = iter([OSError("no settings yet"), CircuitBreaker("payments")])

    def factory(key: str) -> CircuitBreaker:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    registry = Registry(factory)
    with pytest.raises(OSError, match="no settings yet"):
        registry["payments"]
    assert len(registry) == 0
    assert registry["payments"].name == "payments"


def test_a_factory_may_use_the_registry() -> None:
    registry: Registry = Registry(lambda key: CircuitBreaker(key + (registry["base"].name if key != "base" else "")))
    assert registry["on "].name == "on base"


def test_the_least_recently_used_breakers_are_let_go_of() -> None:
    registry = Registry(max_size=2)
    registry["a"], registry["b"]
    registry["a"]
    registry.get("b")  # looking is no use
    registry["c"]
    assert list(registry) == ["a", "c"]


def test_one_that_is_let_go_of_while_somebody_holds_it_is_handed_out_again() -> None:
    registry = Registry(max_size=1, failure_threshold=2)
    held = registry["a"]
    permit = held.acquire()
    registry["b"]
    assert list(registry) == ["b"]
    permit.fail()
    assert registry["a"] is held
    assert registry["a"].failure_count == 1


def test_one_that_nobody_holds_is_freed() -> None:
    registry = Registry(max_size=1)
    gone = weakref.ref(registry["a"])
    registry["b"]
    gc.collect()
    assert gone() is None


def test_breakers_not_asked_for_in_the_idle_timeout_are_let_go_of() -> None:
    clock = ManualClock()
    registry = Registry(idle_timeout=60, clock=clock)
    registry["a"], registry["b"]
    clock.advance(59)
    registry["b"]
    clock.advance(1)
    assert list(registry) == ["b"]
    assert "a" not in registry
    clock.advance(58)
    assert len(registry) == 1
    clock.advance(1)
    assert len(registry) == 0


def test_the_idle_timeout_of_a_factory_s_registry_has_a_clock_too() -> None:
    clock = ManualClock()
    registry = Registry(CircuitBreaker, idle_timeout=60, clock=clock)
    registry["a"]
    clock.advance(60)
    assert len(registry) == 0


@pytest.mark.parametrize("move", ["force_open", "disable", "metrics_only"])
def test_what_is_not_closed_is_never_let_go_of(move: str) -> None:
    clock = ManualClock()
    registry = Registry(max_size=1, idle_timeout=60, clock=clock)
    breaker = registry["a"]
    getattr(breaker, move)()
    clock.advance(100)
    registry["b"], registry["c"]
    assert registry["a"] is breaker
    assert set(registry) == {"a", "c"}


def test_one_that_has_closed_meanwhile_is_let_go_of_in_its_turn() -> None:
    registry = Registry(max_size=2)
    registry["a"].force_open()
    for key in "bcd":
        registry[key]
    assert set(registry) == {"a", "d"}
    registry["a"].reset()
    for key in "efg":
        registry[key]
    assert set(registry) == {"f", "g"}


def test_of_a_thousand_hosts_through_a_hundred_places_the_open_ones_are_all_still_open() -> None:
    registry = Registry(max_size=100, failure_threshold=1, recovery_timeout=1e6)
    for number in range(1000):
        breaker = registry[f"https://host-{number}.example"]
        if number % 20 == 0:
            breaker.acquire().fail()
        else:
            breaker.call(str)
    assert len(registry) == 100
    for number in range(0, 1000, 20):
        with pytest.raises(CircuitOpenError):
            registry[f"https://host-{number}.example"].call(str)


def test_new_hosts_are_still_protected_while_more_are_open_than_there_are_places() -> None:
    registry = Registry(max_size=20, failure_threshold=2, recovery_timeout=1e6)
    for number in range(50):
        registry[number].force_open()
    for _ in range(2):
        for key in ("a", "b"):
            registry[key].acquire().fail()
    assert registry["a"].state is registry["b"].state is State.OPEN
    assert len(registry) == 52


def test_of_many_hosts_that_are_down_each_new_one_looks_at_a_few() -> None:
    looks = itertools.count()

    class Watched(CircuitBreaker):
        @property
        def state(self) -> State:
            next(looks)
            return super().state

    registry = Registry(lambda key: Watched(str(key), initial_state=State.OPEN), max_size=100)
    for number in range(10_000):
        registry[number]
    assert len(registry) == 10_000
    assert next(looks) < 4 * 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # that is what it is about
def test_a_fork_while_another_thread_makes_a_breaker_leaves_no_lock_held() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def factory(key: str) -> CircuitBreaker:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            go_on.wait(10)
        return CircuitBreaker(key)

    registry = Registry(factory, max_size=10)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: registry["a"])
        assert begun.wait(10)
        child = os.fork()
        if child == 0:
            os._exit(0 if registry["a"].name == "a" else 1)
        assert os.waitpid(child, 0)[1] == 0
        go_on.set()
