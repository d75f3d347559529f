"""`CircuitBreaker`: what its users call.

The ways to call, the operators' verbs and the readings are here; the model that the machine moves is in
`breaker.machine`, how calls are admitted and settled in `breaker.calls`, what each state does in
`breaker.states`, when it moves in `breaker.table`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar, overload

from breaker import checks
from breaker.calls.fallback import ErrorTypes, Fallback, wrap_with_options
from breaker.calls.health_check import HealthCheck
from breaker.calls.settling import CallPath
from breaker.calls.wrappers import (
    NEVER_AWAITABLE,
    NOT_MADE,
    await_function,
    await_result,
    await_with_permit,
    call_with_permit,
    is_async,
    is_awaitable,
    wrap,
)
from breaker.machine.prober import UNTOLD, Cause
from breaker.observe.bus import EventBus, Subscription
from breaker.observe.events import Event, StateChanged, Statistics, TripReport
from breaker.outcome import SUCCEEDED, ExceptionSpec
from breaker.permit import Permit
from breaker.policies.backoff import OpenPeriod, RampUp
from breaker.policies.trip import ConsecutiveFailures, Policy, UserPolicy
from breaker.settings import checked
from breaker.states import STATE_CLASSES
from breaker.table import DISABLE, FORCE_OPEN, METRICS_ONLY, RESET, State

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


class CircuitBreaker(CallPath):
    """The fuse between a service and a dependency that can fail.

    `name` is for people: errors, events, metrics. Every other argument is by keyword and has a default
    that works; the README lists them with their units. Raises `ValueError`, quoting it, for a setting that
    cannot work, and `TypeError` for one of the wrong kind.

    One breaker is shared by all callers of one dependency: threads, tasks, sync and async alike. `clock`,
    and a trip policy or open period of your own, run under its lock: they must return at once and must not
    call the breaker. Nothing else of yours does.
    """

    __slots__ = ()
    _state_classes = STATE_CLASSES

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int | None = None,
        recovery_timeout: float | OpenPeriod = 30.0,
        trip: Policy | UserPolicy | None = None,
        success_threshold: int = 1,
        half_open_max_calls: int = 1,
        probe_timeout: float | None = None,
        record_exceptions: ExceptionSpec = Exception,
        ignore_exceptions: ExceptionSpec = (),
        record_result: Callable[[Any], object] | None = None,
        retry_after: Callable[[Any], float | None] | None = None,
        ramp: RampUp | None = None,
        health_check: Callable[[], Any] | None = None,
        health_check_interval: float = 5.0,
        initial_state: State = State.CLOSED,
        clock: Callable[[], float] = time.monotonic,
        listeners: Iterable[Callable[[Any], object]] = (),
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        settings = checked(
            (failure_threshold, recovery_timeout, success_threshold, half_open_max_calls, probe_timeout, initial_state),
            trip,
            (record_exceptions, ignore_exceptions, record_result, retry_after),
            ramp,
            clock,
        )
        checks.positive_seconds("health_check_interval", health_check_interval)
        health = None if health_check is None else HealthCheck(health_check, health_check_interval)
        self._set_up(name, settings, health, listeners)

    # -- calling ------------------------------------------------------------------------------------------

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `fn` and return what it returns, or raise what it raises.

        An awaitable is settled when it is awaited; one of an `async def` is admitted then, too. Raises
        `CircuitOpenError` without calling `fn` when the circuit does not let it through, and `TypeError`
        when `fn` is not callable.
        """
        state = self._state
        if state.needs_permit:
            with_permit: Callable[..., Any] = await_function if is_async(fn) else call_with_permit
            return with_permit(self, None, fn, args, kwargs)  # type: ignore[no-any-return]  # R, by construction
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            if not callable(fn):
                raise TypeError(f"call needs a function, got {fn!r}") from None
            self._settle_plain_error(state, error)
            raise
        if type(result) not in NEVER_AWAITABLE and is_awaitable(result):
            return await_result(self, None, result)  # type: ignore[return-value]  # R is an awaitable here
        count_success = state.count_success
        if count_success is None:
            self._settle(state, SUCCEEDED)
        else:
            count_success()
        return result

    async def call_async(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Await `fn(...)`. Otherwise like `call`. Raises `TypeError`, and counts nothing, when that is no awaitable."""
        state = self._state
        if state.needs_permit:
            return await await_with_permit(self, None, fn, args, kwargs)  # type: ignore[no-any-return]  # R, as above
        pending: Any = NOT_MADE
        try:
            pending = fn(*args, **kwargs)
            result: R = await pending
        except BaseException as error:
            if not callable(fn) or not is_awaitable(pending):
                raise TypeError(f"call_async needs an async function, got {fn!r}") from None
            self._settle_plain_error(state, error)
            raise
        count_success = state.count_success
        if count_success is None:
            self._settle(state, SUCCEEDED)
        else:
            count_success()
        return result

    def acquire(self) -> Permit:
        """Leave to make one call now: a context manager, or settled in a second step.

        Raises `CircuitOpenError` when the circuit does not let a call through.
        """
        state = self._state
        return self._admit() if state.needs_permit else Permit(self, state)

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a function, an async function, a generator function or an async generator function."""
        return wrap(self, fn)

    @overload
    def protect(self, *, slow_after: float | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    @overload
    def protect(  # type: ignore[overload-overlap]  # an async fallback is a callable too: the first match wins
        self,
        *,
        fallback: Callable[..., Coroutine[Any, Any, A]],
        fallback_on: ErrorTypes = (),
        slow_after: float | None = None,
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R | A]]]: ...
    @overload
    def protect(
        self, *, fallback: Callable[..., A], fallback_on: ErrorTypes = (), slow_after: float | None = None
    ) -> Fallback[A]: ...

    def protect(
        self,
        *,
        fallback: Callable[..., Any] | None = None,
        fallback_on: ErrorTypes = (),
        slow_after: float | None = None,
    ) -> Any:
        """The decorator with options for this call site.

        `fallback(error, *args, **kwargs)` answers rejected calls, and those that raise an exception of a type
        in `fallback_on` (counted all the same). `slow_after`, in seconds, replaces the `slower_than` of the
        breaker's `SlowCallRate` here. Raises `ValueError` or `TypeError` for options that cannot work.
        """
        return wrap_with_options(self, fallback, fallback_on, slow_after)

    # -- operating ----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Close the circuit and start counting afresh."""
        self._operate(RESET)

    def force_open(self, for_seconds: float | None = None) -> None:
        """Reject every call until `reset`, or for `for_seconds`; then the circuit is closed."""
        if for_seconds is not None:
            checks.positive_seconds("for_seconds", for_seconds)
        self._operate(FORCE_OPEN, Cause(seconds=for_seconds))

    def disable(self) -> None:
        """Let every call through and count nothing, until `reset`."""
        self._operate(DISABLE)

    def metrics_only(self) -> None:
        """Let every call through and count; tell when the circuit would have opened, until `reset`."""
        self._operate(METRICS_ONLY)

    def _operate(self, trigger: str, cause: Cause = UNTOLD) -> None:
        with self._lock:
            self._fire_locked(self._state, trigger, cause)
        self._after_lock()

    def close(self) -> None:
        """Stop the health check, if there is one. The breaker goes on working without it."""
        if self._prober is not None:
            self._prober.close()
            self._prober = None

    def subscribe(self, callback: Callable[[Any], object], *event_types: type[Event]) -> Callable[[], None]:
        """Hear this breaker's events, of the given types or all; returns a function that unsubscribes.

        `callback(event)` runs outside the lock, in the order in which things happened; what it raises is
        logged and changes nothing. It may be `async def` when the breaker is used from a running event loop.
        Raises `TypeError` for what is no callback or no event type.
        """
        subscription = Subscription.checked(callback, event_types)
        with self._lock:
            bus = self._bus = self._bus or EventBus()
            bus.subscriptions = (*bus.subscriptions, subscription)
        self._listeners_changed()

        def unsubscribe() -> None:
            with self._lock:
                bus.subscriptions = tuple(other for other in bus.subscriptions if other is not subscription)
            self._listeners_changed()

        return unsubscribe

    # -- reading: moves nothing ---------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state now. An OPEN whose timeout has elapsed stays OPEN until a call asks."""
        return self._state.name

    @property
    def failure_threshold(self) -> int | None:
        """Failures in a row that open the circuit; None when the trip policy counts none."""
        for policy in getattr(self._settings.trip, "policies", (self._settings.trip,)):
            if isinstance(policy, ConsecutiveFailures):
                return policy.threshold
        return None

    @property
    def failure_count(self) -> int:
        """Failures counted now: in a row, or in the window; while OPEN, those that opened it."""
        with self._lock:
            return self._state.failure_count_locked()

    @property
    def recovery_timeout(self) -> float | OpenPeriod:
        """Seconds in OPEN before a probe, or the recipe for them."""
        return self._settings.recovery

    @property
    def last_failure_time(self) -> float | None:
        """Unix time at which the circuit last opened, or None."""
        return None if self._totals is None else self._totals.last_failure_time

    @property
    def retry_after(self) -> float | None:
        """Seconds until a call may be let through, 0.0 when one may be now, None when only an operator can say."""
        with self._lock:
            return self._state.retry_after_locked(self)

    @property
    def last_trip(self) -> TripReport | None:
        """Why the circuit last opened, or None."""
        return None if self._totals is None else self._totals.last_trip

    @property
    def history(self) -> tuple[StateChanged, ...]:
        """The last 100 state changes, oldest first."""
        with self._lock:
            return () if self._totals is None else tuple(self._totals.history)

    def statistics(self) -> Statistics:
        """Totals and the present, read at one moment."""
        with self._lock:
            return self._statistics_locked()

    def diagram(self, format: str = "mermaid") -> str | bytes:
        """The state machine with the current state marked: "mermaid", "dot" or "svg" text, or "png" bytes.

        Raises `ValueError` for another format, and `BreakerError` when "svg" or "png" lack their extra.
        """
        from breaker.diagram import draw  # only who draws pays for it

        return draw(self, format)
