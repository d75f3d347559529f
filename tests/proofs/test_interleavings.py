"""Three callers over two probes, in every order of the lock's critical sections. Rules 5, 6 and 7 of the design.

The numbers of orders are asserted from below: a section that is no longer a step of its own would shrink them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
from predicted_counts import Policy
from predictor import End, Predictor, Seen, Settings
from stepping import Jobs, Search, SteppingLock

from breaker import CircuitBreaker, CircuitOpenError, ConsecutiveFailures, Permit, State
from breaker.testing import ManualClock

# Thousands of orders of the same few lines: measuring them doubles the time, and they prove no line covered.
pytestmark = pytest.mark.no_cover
RECOVERY, LEASE, PROBES = 10.0, 4.0, 2
OUTCOMES = {"succeed": "success", "fail": "failure", "release": "neutral"}
POLICIES: tuple[Policy, ...] = (ConsecutiveFailures(1),)


class World:
    """A breaker that is about to be half-open, its predictor, and what each caller does to both in one step."""

    def __init__(self, search: Search, locks_are_steps: bool, probes: int = PROBES) -> None:
        self.search, self.locks_are_steps = search, locks_are_steps
        self.clock = ManualClock(100.0)
        self.breaker = CircuitBreaker(
            "stepped",
            failure_threshold=1,
            recovery_timeout=RECOVERY,
            probe_timeout=LEASE,
            half_open_max_calls=probes,
            success_threshold=2,
            clock=self.clock,
        )
        if locks_are_steps:
            self.breaker._lock = SteppingLock(search)  # type: ignore[assignment]  # all that the breaker asks of it
        self.model = Predictor(Settings(POLICIES, RECOVERY, 2, PROBES, LEASE), self.clock.now)
        self.permits: list[Permit] = []
        self.stale = self.acquire()
        self.settle(self.acquire(), "fail")
        self.model.drawn(RECOVERY)
        self.clock.advance(RECOVERY)

    def acquire(self) -> tuple[Permit, object, object] | None:
        ticket = object()
        try:
            permit = self.breaker.acquire()
        except CircuitOpenError:
            self._tell_admission(ticket, False)
            return None
        self.permits.append(permit)
        stay = self._tell_admission(ticket, True)
        assert self.model.state is not State.HALF_OPEN or len(self.model.stay.running) <= PROBES
        return permit, ticket, stay

    def _tell_admission(self, ticket: object, let_in: bool) -> object:
        stay = self.model.admit(ticket, self.clock.now, let_in, self._seen())
        self._learn_the_period()
        return stay

    def settle(self, held: tuple[Permit, object, object] | None, outcome: str) -> None:
        if held is None:
            return
        permit, ticket, stay = held
        getattr(permit, outcome)()
        self.model.settle(ticket, stay, self.clock.now, End(OUTCOMES[outcome]), self._seen())
        self._learn_the_period()

    def _seen(self) -> Seen:
        return Seen(self.breaker.state, 0)

    def _learn_the_period(self) -> None:
        if self.model.state is State.OPEN and self.model.stay.until is None:
            self.model.drawn(RECOVERY)

    def call(self, outcome: str) -> None:
        held = self.acquire()
        if not self.locks_are_steps:
            self.search.current.end_step()
        self.settle(held, outcome)

    def settle_stale(self, outcome: str) -> None:
        self.settle(self.stale, outcome)

    def pass_time(self) -> None:
        self.clock.advance(LEASE)
        self.search.current.end_step()
        self.clock.advance(RECOVERY)

    def operate(self, verb: str) -> None:
        getattr(self.breaker, verb)()
        self.search.current.uncut = 1  # reading the history takes the lock too
        if self.model.state is State.OPEN and self.breaker.history[-1].old is State.HALF_OPEN:
            self.model.time_passed(self.clock.now)  # by a caller who has not yet got the probe it came for
        self.model.command(verb, self.clock.now)

    def release_all(self) -> None:
        for permit in self.permits:
            permit.release()

    def check(self) -> None:
        """At the end of an order: nothing lost, nothing counted that does not count, and a way out."""
        assert self.breaker.state is self.model.state
        assert [(change.old, change.new) for change in self.breaker.history] == self.model.moves
        statistics, totals = self.breaker.statistics(), self.model.totals
        for name in ("successes", "failures", "ignored", "rejected", "openings"):
            assert getattr(statistics, name) == totals[name], name
        if self.breaker.state is State.HALF_OPEN:
            permits = [self.breaker.acquire() for _ in range(PROBES)]
            for permit in permits:
                permit.release()
        if self.breaker.state is not State.FORCED_OPEN:
            self.clock.advance(RECOVERY + LEASE)
            self.breaker.call(int)
            self.breaker.call(int)
        else:
            self.breaker.reset()
        assert self.breaker.state is State.CLOSED


@pytest.fixture
def explore() -> Iterator[Callable[..., int]]:
    searches: list[Search] = []
    worlds: list[World] = []

    def explore(callers: int, jobs: Callable[[World], Jobs], *, locks_are_steps: bool = True, probes: int = 2) -> int:
        search = Search(callers)
        searches.append(search)

        def begin() -> Jobs:
            worlds[:] = [World(search, locks_are_steps, probes)]
            return jobs(worlds[0])

        orders = 0
        for _ in search.orders(begin):
            worlds[0].check()
            worlds[0].release_all()
            orders += 1
        return orders

    yield explore
    worlds[0].release_all()
    for search in searches:
        search.close()


def calls(world: World, outcomes: Sequence[str]) -> list[tuple[str, Callable[[], None]]]:
    return [("call", lambda outcome=outcome: world.call(outcome)) for outcome in outcomes]


THREE = [
    *itertools.product(("succeed", "fail"), repeat=3),
    ("release", "succeed", "succeed"),
    ("succeed", "release", "succeed"),
    ("succeed", "succeed", "release"),
    ("release", "release", "release"),
]
TWO = [*itertools.product(("succeed", "fail"), repeat=2), ("release", "succeed")]


@pytest.mark.parametrize("outcomes", THREE, ids="-".join)
def test_three_callers_agree_with_the_rules_in_every_order_of_their_critical_sections(explore, outcomes) -> None:
    assert explore(3, lambda world: calls(world, outcomes)) > 500


@pytest.mark.parametrize("late", OUTCOMES)
@pytest.mark.parametrize("outcomes", TWO, ids="-".join)
def test_a_result_from_before_the_outage_counts_in_no_order(explore, outcomes, late) -> None:
    orders = explore(3, lambda world: [*calls(world, outcomes), ("late", lambda: world.settle_stale(late))])
    assert orders > 100


@pytest.mark.parametrize("outcomes", TWO, ids="-".join)
def test_a_lease_that_runs_out_between_any_two_critical_sections_opens_the_circuit(explore, outcomes) -> None:
    assert explore(3, lambda world: [*calls(world, outcomes), ("clock", world.pass_time)]) > 100


@pytest.mark.parametrize("verb", ["reset", "force_open"])
@pytest.mark.parametrize("outcomes", TWO, ids="-".join)
def test_an_operator_between_any_two_critical_sections_has_the_last_word(explore, outcomes, verb) -> None:
    orders = explore(3, lambda world: [*calls(world, outcomes), ("operator", lambda: world.operate(verb))])
    assert orders > 100


def test_three_callers_and_the_clock_agree_with_the_rules_in_every_order_of_whole_steps(explore) -> None:
    orders = 0
    for outcomes in itertools.product(OUTCOMES, repeat=3):
        orders += explore(
            4,
            lambda world, outcomes=outcomes: [*calls(world, outcomes), ("clock", world.pass_time)],
            locks_are_steps=False,
        )
    assert orders > 5000


def test_the_search_sees_a_probe_too_many(explore) -> None:
    with pytest.raises(AssertionError, match="let in True"):
        explore(3, lambda world: calls(world, ("succeed",) * 3), probes=PROBES + 1)
