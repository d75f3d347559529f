"""A second circuit breaker, written from DESIGN.md's rules alone, that predicts the first one.

It is slow, single-threaded and recounts everything. Where DESIGN leaves an answer open (a tenth of a time
window, which call of a ramp passes) every answer allowed is accepted, and what the breaker did is taken
over so that the next prediction starts from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from predicted_counts import Done, Policy, any_reached

from breaker import Backoff, RampUp, SlowCallRate, State

COUNTING = (State.CLOSED, State.RAMPING, State.METRICS_ONLY)
TOTALS = {"success": "successes", "failure": "failures", "neutral": "ignored"}


@dataclass(frozen=True)
class Settings:
    """What one breaker is made of, as the predictor reads it."""

    policies: tuple[Policy, ...]
    recovery: float | Backoff
    success_threshold: int = 1
    half_open_max_calls: int = 1
    probe_timeout: float | None = None
    ramp: RampUp | None = None
    initial_state: State = State.CLOSED


@dataclass(frozen=True)
class Seen:
    """What the breaker shows after a step."""

    state: State
    crossings: int
    """How often METRICS_ONLY has told that it would have opened."""


@dataclass(frozen=True)
class End:
    """How a call ended: `outcome` is success, failure or neutral; `asked` is the dependency's retry-after."""

    outcome: str
    asked: float | None = None


@dataclass(eq=False)
class CircuitState:
    """One stay in a state, and what is true only during it."""

    state: State
    began: float
    done: list[Done] = field(default_factory=list)
    running: dict[object, float] = field(default_factory=dict)
    noticed: set[object] = field(default_factory=set)
    successes: int = 0
    period: tuple[float, float] | None = None
    until: float | None = None
    shares: float = 0.0
    passed: int = 0
    crossed: bool = False
    dipped: bool = False


class Predictor:
    """Tell it each step and what the breaker did; it raises `AssertionError` when that cannot be."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.moves: list[tuple[State, State]] = []
        self.crossings = self.reopenings = 0
        self.asked_until = 0.0
        self.totals: Counter[str] = Counter()
        self.stay = CircuitState(settings.initial_state, now)
        recovery = settings.recovery
        self.lease = settings.probe_timeout or (recovery.initial if isinstance(recovery, Backoff) else recovery)
        if settings.initial_state is State.OPEN:
            self._set_period(now)

    @property
    def state(self) -> State:
        return self.stay.state

    # -- moving -------------------------------------------------------------------------------------------

    def _go(self, state: State, now: float) -> None:
        if state is not self.state:
            self.moves.append((self.state, state))
        self.stay = CircuitState(state, now)
        if state is State.CLOSED:
            self.reopenings, self.asked_until = 0, 0.0

    def _open(self, now: float) -> None:
        self._go(State.OPEN, now)
        self.totals["openings"] += 1
        self._set_period(now)
        self.reopenings += 1

    def _set_period(self, now: float) -> None:
        """Rule 10: the period grows, jitter spreads it, what was asked lengthens it, the maximum caps it."""
        recovery, asked = self.settings.recovery, self.asked_until - now
        if isinstance(recovery, Backoff):
            longest = float("inf") if recovery.maximum is None else recovery.maximum
            middle = min(recovery.initial * recovery.factor**self.reopenings, longest)
            spread = (middle * (1 - recovery.jitter), middle * (1 + recovery.jitter))
            low, high = (min(max(edge, asked), longest) for edge in spread)
        else:
            low = high = max(recovery, asked)
        self.stay.period = (low, high)

    def drawn(self, seconds: float) -> None:
        """The period that the breaker drew for the opening just made."""
        low, high = self.stay.period or (0.0, 0.0)
        assert low - 1e-9 <= seconds <= high + 1e-9, f"open for {seconds}, should be within {low} and {high}"
        self.stay.until = self.stay.began + seconds

    def command(self, verb: str, now: float, for_seconds: float | None = None) -> None:
        """An operator spoke."""
        states = {"force_open": State.FORCED_OPEN, "disable": State.DISABLED, "metrics_only": State.METRICS_ONLY}
        self._go(states.get(verb, State.CLOSED), now)
        if for_seconds is not None:
            self.stay.until = now + for_seconds

    # -- a call asks --------------------------------------------------------------------------------------

    def admit(self, ticket: object, now: float, let_in: bool, seen: Seen) -> CircuitState | None:
        """A call asked at `now`: what it is admitted in, None when it is rejected."""
        self.time_passed(now)
        may = self._answers(now)
        if self._has_news(now) and not (self.state is State.RAMPING and not let_in and seen.state is self.state):
            self._judge(now, seen)
            may = may if self.state in COUNTING else {False}
        assert let_in in may, f"{self.state}: let in {let_in}, should be one of {may}"
        if not let_in:
            self.totals["rejected"] += 1
            return None
        self.stay.passed += 1
        self.stay.running[ticket] = now
        return self.stay

    def time_passed(self, now: float) -> None:
        """Moves that are due, and that a call brings about."""
        stay = self.stay
        if self._lease_over(now):
            self._open(now)
        elif stay.until is not None and now >= stay.until:
            self._go(State.HALF_OPEN if self.state is State.OPEN else State.CLOSED, now)
        elif self.state is State.RAMPING and now - stay.began >= self.settings.ramp.seconds:
            self._go(State.CLOSED, now)

    def _answers(self, now: float) -> set[bool]:
        if self.state in (State.OPEN, State.FORCED_OPEN):
            return {False}
        if self.state is State.HALF_OPEN:
            return {len(self.stay.running) < self.settings.half_open_max_calls}
        return self._share_of(now) if self.state is State.RAMPING else {True}

    def _share_of(self, now: float) -> set[bool]:
        """A ramp lets through the sum of its shares, to within one call, whichever calls these are."""
        ramp, stay = self.settings.ramp, self.stay
        stay.shares += ramp.start + (1 - ramp.start) * min((now - stay.began) / ramp.seconds, 1.0)
        return {let_in for let_in in (True, False) if abs(stay.passed + let_in - stay.shares) <= 1 + 1e-9}

    def _lease_over(self, now: float) -> bool:
        """Rule 7: a probe that is unsettled when its lease is over has failed."""
        return self.state is State.HALF_OPEN and any(now - at >= self.lease for at in self.stay.running.values())

    # -- a limit is judged --------------------------------------------------------------------------------

    def overdue(self, now: float) -> dict[Policy, list[object]]:
        """For each policy that counts running calls, those of this stay that are slow already."""
        watching = [p for p in self.settings.policies if isinstance(p, SlowCallRate) and p.count_running]
        running = self.stay.running.items() if self.state in COUNTING else ()
        return {p: [ticket for ticket, at in running if now - at >= p.slower_than] for p in watching}

    def _has_news(self, now: float) -> bool:
        """Whether a running call was found slow since somebody last looked."""
        return any(not self.stay.noticed.issuperset(late) for late in self.overdue(now).values())

    def _reached(self, now: float) -> set[bool]:
        overdue = {policy: len(late) for policy, late in self.overdue(now).items()}
        return any_reached(self.settings.policies, self.stay.done, now, overdue)

    def _judge(self, now: float, seen: Seen) -> None:
        """A bad outcome arrived: open the circuit if a limit is reached."""
        reached = self._reached(now)
        self.stay.noticed.update(*self.overdue(now).values())
        if self.state is State.METRICS_ONLY:
            self._tell(reached, seen.crossings - self.crossings)
        elif reached == {True} or (True in reached and seen.state is State.OPEN):
            self._open(now)

    def _tell(self, reached: set[bool], told: int) -> None:
        """Rule 11: once for each crossing. One that nobody was there to see end may or may not be a new one."""
        may = {int(answer and not self.stay.crossed) for answer in reached}
        if self.stay.dipped and True in reached:
            may.add(1)
        assert told in may, f"told {told} times that it would have opened, should be one of {may}"
        self.crossings += told
        self.stay.crossed = reached == {True} or told == 1 or (self.stay.crossed and True in reached)
        self.stay.dipped = len(reached) == 2

    # -- a call ends --------------------------------------------------------------------------------------

    def settle(self, ticket: object, stay: CircuitState, now: float, end: End, seen: Seen) -> None:
        """The call of `ticket`, admitted in `stay`, ended."""
        if stay.state is State.DISABLED:
            return
        duration = now - stay.running[ticket]
        slow = any(isinstance(p, SlowCallRate) and duration >= p.slower_than for p in self.settings.policies)
        slow = slow and end.outcome != "neutral"
        self.totals[TOTALS[end.outcome]] += 1
        self.totals["slow"] += slow
        if stay is not self.stay:
            return
        failed = end.outcome == "failure"
        if failed and end.asked is not None:
            self.asked_until = max(self.asked_until, now + end.asked)
        if self.state is State.HALF_OPEN:
            self._probe_ended(ticket, now, failed or slow, end.outcome == "success")
            return
        before = self._reached(now)
        del stay.running[ticket]
        if end.outcome != "neutral":
            self._call_ended(Done(now, failed, slow, duration), before, seen)

    def drop(self, ticket: object, stay: CircuitState) -> None:
        """The call's permit was collected unsettled."""
        stay.running.pop(ticket, None)

    def _call_ended(self, done: Done, before: set[bool], seen: Seen) -> None:
        self.stay.crossed = self.stay.crossed and True in before
        self.stay.dipped |= False in before
        self.stay.done.append(done)
        if done.failed or done.slow:
            self._judge(done.at, seen)
        else:
            self.stay.dipped |= False in self._reached(done.at)

    def _probe_ended(self, ticket: object, now: float, failed: bool, succeeded: bool) -> None:
        if failed or self._lease_over(now):
            self._open(now)
            return
        del self.stay.running[ticket]
        self.stay.successes += succeeded
        if self.stay.successes >= self.settings.success_threshold:
            self._go(State.RAMPING if self.settings.ramp else State.CLOSED, now)
