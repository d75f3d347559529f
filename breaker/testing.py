"""The kit for tests of code that has a breaker in it. None of it waits, and none of it is for production.

    clock = ManualClock()
    payments = CircuitBreaker("payments", clock=clock)
    heard = EventRecorder()
    payments.subscribe(heard)

    with inject(payments, failing(5, ConnectionError)):   # the real dependency is not called
        for _ in range(5):
            pay()
    assert payments.state is State.OPEN
    clock.advance(30.0)
    pay()                                                 # the probe, to the real dependency
    assert heard.moves == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]

`open_circuit`, `half_open_circuit` and `bring_to` put a breaker in a state by the moves of its own table,
so its listeners hear of them and its totals count the calls that it took. The pytest fixture is in
`breaker.pytest_plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from breaker.circuit import CircuitBreaker
from breaker.machine.model import CircuitState, Model
from breaker.machine.prober import Cause
from breaker.observe.events import Event, StateChanged, subscribe_all
from breaker.permit import Permit
from breaker.states import STATE_CLASSES
from breaker.states.disabled import Disabled
from breaker.states.open import Open
from breaker.table import TIMEOUT_ELAPSED, State

E = TypeVar("E", bound=Event)
T = TypeVar("T")
Fault = Callable[[CircuitBreaker, Permit], object]
"""Called in place of the dependency, or before it. What it raises, the call raises, and the breaker judges."""

_ENOUGH_CALLS = 100_000


class ManualClock:
    """A clock for `CircuitBreaker(clock=...)` that stands still until it is moved."""

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds


class EventRecorder:
    """A listener that remembers: for `subscribe`, `listeners=` and `subscribe_all`.

    Of the given event types, or of all; a recorder of `StateChanged` alone leaves calls unmeasured.
    """

    def __init__(self, *event_types: type[Event]) -> None:
        self.event_types = event_types
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of this type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def moves(self) -> list[tuple[State, State]]:
        """The state changes as pairs of old and new."""
        return [(change.old, change.new) for change in self.of(StateChanged)]

    def clear(self) -> None:
        """Forget what was heard."""
        self.events.clear()

    @contextmanager
    def listening(self, *breakers: CircuitBreaker) -> Iterator[EventRecorder]:
        """Hear these breakers, or without any every breaker of the process, for a `with` block."""
        subscribe = [breaker.subscribe for breaker in breakers] or [subscribe_all]
        endings = [each(self) for each in subscribe]
        try:
            yield self
        finally:
            for end in endings:
                end()


# -- states -------------------------------------------------------------------------------------------------


def open_circuit(breaker: CircuitBreaker) -> None:
    """Open the circuit as failures would, from any state, for a whole open period from now.

    Raises `RuntimeError` when a policy of your own never trips.
    """
    breaker.reset()
    for _ in range(_ENOUGH_CALLS):
        state = breaker._state
        # Without the injected faults; slow from -1 s on, so that whatever the policy counts, this is it.
        permit = _plain(type(state)).admit(state, breaker, -1.0) or breaker._admit(-1.0)
        permit.fail()
        if breaker.state is State.OPEN:
            return
    raise RuntimeError(f"{_ENOUGH_CALLS} failures did not open {breaker!r}")


def half_open_circuit(breaker: CircuitBreaker) -> None:
    """Open the circuit and end its open period at once, whatever its clock says; no probe is in flight."""
    open_circuit(breaker)
    with breaker._lock:
        state = breaker._state
        assert isinstance(state, Open)
        state.until = breaker._settings.clock()
        breaker._fire_locked(state, TIMEOUT_ELAPSED)
    breaker._after_lock()


def bring_to(breaker: CircuitBreaker, state: State) -> None:
    """Put the breaker in `state`, freshly begun. Raises `ValueError` for RAMPING when it has no ramp."""
    if state is State.RAMPING and breaker._settings.ramp is None:
        raise ValueError(f"{breaker!r} has no ramp, so it is never {state}")
    _WAYS[state](breaker)


def _ramp_circuit(breaker: CircuitBreaker) -> None:
    half_open_circuit(breaker)
    while breaker.state is State.HALF_OPEN:
        permit = breaker._admit_prober()
        assert permit is not None, "another probe holds the place"
        permit.succeed()


_WAYS: dict[State, Callable[[CircuitBreaker], object]] = {
    State.CLOSED: CircuitBreaker.reset,
    State.OPEN: open_circuit,
    State.HALF_OPEN: half_open_circuit,
    State.RAMPING: _ramp_circuit,
    State.FORCED_OPEN: CircuitBreaker.force_open,
    State.DISABLED: CircuitBreaker.disable,
    State.METRICS_ONLY: CircuitBreaker.metrics_only,
}


# -- faults -------------------------------------------------------------------------------------------------


def failing(times: int | None, exc: BaseException | type[BaseException] = ConnectionError) -> Fault:
    """The next `times` calls that are let through (None: all) raise `exc`; later ones reach the dependency.

    Counted from here on, so make one for each `inject`. A rejected call uses none up.
    """
    left = repeat(exc) if times is None else repeat(exc, times)

    def fail(breaker: CircuitBreaker, permit: Permit) -> None:
        error = next(left, None)  # atomic: of many threads, `times` calls fail
        if error is not None:
            raise error

    return fail


def slow(seconds: float) -> Fault:
    """Every call lasts `seconds` longer, by the breaker's clock, and then reaches the dependency.

    Nothing waits. A `ManualClock` is advanced; with any other clock the call's duration alone grows, while
    the breaker's timeouts and its probes' leases see no time pass.
    """

    def delay(breaker: CircuitBreaker, permit: Permit) -> None:
        if isinstance(breaker._settings.clock, ManualClock):
            breaker._settings.clock.advance(seconds)
        elif permit._started is not None:
            permit._started -= seconds

    return delay


@contextmanager
def inject(breaker: CircuitBreaker, *faults: Fault) -> Iterator[None]:
    """Let `faults` strike each call that `breaker` lets through, in their order, within a `with` block.

    Whichever way the call is made: `call`, `acquire` (which then raises), decorated before or after. May
    be nested. `inject(breaker, slow(2.0), failing(3, TimeoutError))` makes three slow failures. A fault of
    your own is a function of the breaker and the permit; it may raise.
    """
    group = list(faults)
    with breaker._lock:
        if breaker not in _faults:
            # Of other classes for the time being, so that the core has no hook: not for others, not later.
            breaker.__class__ = _faulty_class(type(breaker))
            breaker._state.__class__ = _FAULTY[breaker._state.name]
        _faults.setdefault(breaker, []).append(group)
        breaker._state.needs_permit = True
    try:
        yield
    finally:
        with breaker._lock:
            _remove(breaker, group)


def _remove(breaker: CircuitBreaker, group: list[Fault]) -> None:
    groups = _faults[breaker]
    groups[:] = [other for other in groups if other is not group]
    if not groups:
        del _faults[breaker]
        state = breaker._state
        breaker.__class__, state.__class__ = _plain(type(breaker)), _plain(type(state))
        state.needs_permit = not isinstance(state, Disabled)
        state.choose_path_locked(breaker)


_faults: WeakKeyDictionary[Model, list[list[Fault]]] = WeakKeyDictionary()
_PLAIN = "_stands_in_for"


class _Faulty(CircuitState):
    """A state whose permits are struck by the breaker's faults before they are given. DISABLED has some, too."""

    __slots__ = ()

    def on_enter(self, breaker: Model, cause: Cause) -> None:
        super().on_enter(breaker, cause)
        self.needs_permit = True

    def choose_path_locked(self, breaker: Model) -> None:
        super().choose_path_locked(breaker)
        self.needs_permit = True

    def admit(self, breaker: Model, slow_after: float | None) -> Permit | None:
        permit = super().admit(breaker, slow_after)
        if permit is not None:
            try:
                for fault in [fault for group in _faults.get(breaker, ()) for fault in group]:
                    fault(cast(CircuitBreaker, breaker), permit)
            except BaseException as error:
                breaker._settle_error(permit._state, error, permit)
                raise
        return permit


_FAULTY: dict[str, type[CircuitState]] = {
    name: type(state.__name__, (_Faulty, state), {"__slots__": (), _PLAIN: state})
    for name, state in STATE_CLASSES.items()
}


def _faulty_class(plain: type[CircuitBreaker]) -> type[CircuitBreaker]:
    """A class of breakers whose states are faulty."""
    return type(plain.__name__, (plain,), {"__slots__": (), _PLAIN: plain, "_state_classes": _FAULTY})


def _plain(kind: type[T]) -> type[T]:
    """The class that a faulty one stands in for; another is its own."""
    return cast("type[T]", vars(kind).get(_PLAIN, kind))
