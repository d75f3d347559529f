"""Generated lives of a breaker, each step of which the predictor foretells. Rules 1 to 11 of the design."""

from __future__ import annotations

import gc
import math
import warnings
from collections import Counter
from typing import Any, ClassVar

from choices import SLOW, Choice, Ending, choices, endings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from predicted_counts import in_a_row, windows
from predictor import COUNTING, CircuitState, End, Predictor, Seen
from ways_to_call import JUDGES_RESULTS, SURFACES, Boom, Cancelled, Ignored

from breaker import CircuitOpenError, ConsecutiveFailures, FailureRate, Permit, State, StateChanged
from breaker.testing import ManualClock

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 100.0)
BEGINNINGS = (State.RAMPING, State.HALF_OPEN, State.OPEN, State.CLOSED, State.RAMPING)
VERBS = ("reset", "force_open", "disable", "metrics_only")
ERRORS = {"ignored": Ignored, "unrecorded": KeyError, "cancelled": Cancelled}


class BreakerLife(RuleBasedStateMachine):
    """One breaker, used in every way, beside its predictor."""

    visited: ClassVar[Counter[State]] = Counter()
    lives: ClassVar[int] = 0

    @initialize(choice=choices, until=st.sampled_from(BEGINNINGS))
    def begin(self, choice: Choice, until: State) -> None:
        self.clock = ManualClock(1000.0)
        self.heard: list[Any] = []
        self.choice = choice
        self.breaker = choice.breaker(self.clock, self.heard.append)
        self.model = Predictor(choice.settings, self.clock.now)
        self.held: list[tuple[Permit, object, CircuitState]] = []
        self._learn_the_period()
        self._live_through(until)

    # -- what happens -------------------------------------------------------------------------------------

    @rule(surface=st.sampled_from(sorted(SURFACES)), ending=endings)
    def call(self, surface: str, ending: Ending) -> None:
        ticket, stays = object(), []

        def body() -> Any:
            stays.append(self._asked(ticket, True))
            self.clock.advance(ending.takes)
            return self._return_or_raise(ending)

        try:
            SURFACES[surface](self.breaker, body)
        except CircuitOpenError as error:
            self._rejected(ticket, error)
        except (Boom, Ignored, KeyError, Cancelled):
            pass
        if stays:
            self._settled(ticket, stays[0], ending, sees_result=surface in JUDGES_RESULTS)

    def _live_through(self, until: State) -> None:
        """Most lives are short: begin many of them in the midst of an outage."""
        if until is not State.CLOSED:
            self._command("reset", None)
            self.fail_until_rejected(Ending("boom", SLOW))
        if until in (State.HALF_OPEN, State.RAMPING):
            self.wait_until_a_call_may_pass(0.0)
            for _ in range(1 if until is State.HALF_OPEN else self.choice.settings.success_threshold):
                self.call("call", Ending("fine"))

    @rule(ending=endings)
    def fail_until_rejected(self, ending: Ending) -> None:
        for _ in range(6):
            self.call("call", Ending("boom", ending.takes, ending.asked))

    @rule(times=st.integers(2, 6), ending=endings)
    def call_many_times(self, times: int, ending: Ending) -> None:
        for _ in range(times):
            self.call("call", Ending("fine", ending.takes))

    @rule()
    def acquire(self) -> None:
        ticket = object()
        try:
            permit = self.breaker.acquire()
        except CircuitOpenError as error:
            self._rejected(ticket, error)
        else:
            self.held.append((permit, ticket, self._asked(ticket, True)))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99), ending=endings, twice=st.booleans())
    def settle_late(self, which: int, ending: Ending, twice: bool) -> None:
        permit, ticket, stay = self.held.pop(which % len(self.held))
        self._settle_permit(permit, ending)
        self._settled(ticket, stay, ending, sees_result=True)
        if twice:
            permit.fail()

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99))
    def abandon(self, which: int) -> None:
        permit, ticket, stay = self.held.pop(which % len(self.held))
        self.model.drop(ticket, stay)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del permit
            gc.collect(0)
        assert [warning.category for warning in caught] == [ResourceWarning]

    @rule(seconds=st.sampled_from(PAUSES))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.breaker.retry_after)
    @rule(short_of=st.sampled_from([0.0, 0.0, 0.125]))
    def wait_until_a_call_may_pass(self, short_of: float) -> None:
        # On a grid of eighths, so that no rounding decides on which side of an edge a call falls.
        edge = math.ceil((self.clock.now + (self.breaker.retry_after or 0.0)) * 8) / 8
        self.clock.now = max(self.clock.now, edge - short_of)

    @precondition(lambda self: self.model.state not in (State.HALF_OPEN, State.RAMPING))
    @rule(verb=st.sampled_from(VERBS), seconds=st.sampled_from([None, 5.0]))
    def operate(self, verb: str, seconds: float | None) -> None:
        self._command(verb, seconds if verb == "force_open" else None)

    @rule(verb=st.sampled_from(VERBS), rarely=st.integers(0, 4))
    def operate_at_any_time(self, verb: str, rarely: int) -> None:
        if rarely == 0:
            self._command(verb, None)

    # -- what it leads to ---------------------------------------------------------------------------------

    def _command(self, verb: str, seconds: float | None) -> None:
        getattr(self.breaker, verb)(*[] if seconds is None else [seconds])
        self.model.command(verb, self.clock.now, seconds)

    def _seen(self) -> Seen:
        crossings = sum(change.old is change.new for change in self.breaker.history)
        return Seen(self.breaker.state, crossings)

    def _asked(self, ticket: object, let_in: bool) -> Any:
        stay = self.model.admit(ticket, self.clock.now, let_in, self._seen())
        self._learn_the_period()
        return stay

    def _rejected(self, ticket: object, error: CircuitOpenError) -> None:
        self._asked(ticket, False)
        assert error.state is self.model.state
        assert error.state is State.RAMPING or error.retry_after == self.breaker.retry_after

    def _return_or_raise(self, ending: Ending) -> str:
        if ending.how in ERRORS:
            raise ERRORS[ending.how]
        if ending.how == "boom":
            raise Boom(ending.asked)
        return ending.how

    def _settle_permit(self, permit: Permit, ending: Ending) -> None:
        if ending.how in ERRORS or ending.how == "boom":
            permit.fail(ERRORS[ending.how]() if ending.how in ERRORS else Boom(ending.asked))
        else:
            permit.succeed(ending.how)

    def _settled(self, ticket: object, stay: CircuitState, ending: Ending, sees_result: bool) -> None:
        neutral, failed = ending.how in ("ignored", "cancelled"), ending.how == "boom"
        failed |= ending.how == "bad" and sees_result and self.choice.judges_results
        end = End(
            "neutral" if neutral else "failure" if failed else "success", ending.asked if ending.how == "boom" else None
        )
        self.model.settle(ticket, stay, self.clock.now, end, self._seen())
        self._learn_the_period()

    def _learn_the_period(self) -> None:
        if self.model.state is State.OPEN and self.model.stay.until is None:
            self.model.drawn(self.breaker.retry_after)

    # -- what must hold after each step -------------------------------------------------------------------

    @invariant()
    def the_state_is_the_predicted_one(self) -> None:
        assert self.breaker.state is self.model.state

    @invariant()
    def every_move_was_predicted(self) -> None:
        history = self.breaker.history
        moves = [(change.old, change.new) for change in history if change.old is not change.new]
        assert moves == (self.model.moves[-len(moves) :] if len(history) == 100 else self.model.moves)
        if self.choice.listens:
            changes = [event for event in self.heard if isinstance(event, StateChanged)]
            assert changes[-100:] == list(self.breaker.history)

    @invariant()
    def the_totals_add_up(self) -> None:
        statistics, totals = self.breaker.statistics(), self.model.totals
        names = ("successes", "failures", "slow", "ignored", "rejected", "openings")
        assert {name: getattr(statistics, name) for name in names} == {name: totals[name] for name in names}
        assert statistics.calls == statistics.successes + statistics.failures
        opened = totals["openings"] or self.choice.settings.initial_state is State.OPEN
        assert (self.breaker.last_failure_time is not None) == bool(opened)
        assert (self.breaker.last_trip is not None) == bool(totals["openings"])

    @invariant()
    def the_window_holds_what_was_predicted(self) -> None:
        policy, stay = self.choice.settings.policies[0], self.model.stay
        if len(self.choice.settings.policies) > 1 or stay.state not in COUNTING:
            return
        if isinstance(policy, ConsecutiveFailures):
            assert self.breaker.failure_count == in_a_row(stay.done)
            return
        overdue = len(self.model.overdue(self.clock.now).get(policy, ()))
        contents = windows(policy, stay.done, self.clock.now)
        held = [(len(calls) + overdue, sum(call.failed for call in calls)) for calls in contents]
        statistics = self.breaker.statistics()
        assert statistics.window_calls in [calls for calls, _ in held]
        if isinstance(policy, FailureRate):
            assert (statistics.window_calls, self.breaker.failure_count) in held

    @invariant()
    def the_time_to_wait_is_told(self) -> None:
        told, stay = self.breaker.retry_after, self.model.stay
        if stay.state is State.FORCED_OPEN and stay.until is None:
            assert told is None
        elif stay.state in (State.OPEN, State.FORCED_OPEN):
            assert math.isclose(told, max(stay.until - self.clock.now, 0.0), abs_tol=1e-9)
        elif stay.state is State.HALF_OPEN and len(stay.running) >= self.choice.settings.half_open_max_calls:
            assert told == max(min(stay.running.values()) + self.model.lease - self.clock.now, 0.0)
        else:
            assert told == 0.0

    def teardown(self) -> None:
        for permit, _, _ in getattr(self, "held", ()):
            permit.release()
        if hasattr(self, "model"):
            BreakerLife.visited.update({new for _, new in self.model.moves})
            BreakerLife.lives += 1


LIVES = settings(
    max_examples=200,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_every_step_of_generated_lives_is_the_predicted_one_and_they_reach_every_state() -> None:
    BreakerLife.visited.clear()
    BreakerLife.lives = 0
    run_state_machine_as_test(BreakerLife, settings=LIVES)
    share = {state: BreakerLife.visited[state] / BreakerLife.lives for state in State}
    assert share[State.HALF_OPEN] >= 0.5, share
    assert share[State.RAMPING] >= 0.3, share
    assert min(share.values()) >= 0.1, share
