"""What a function returns to be awaited: coroutines, other awaitables, and what only looks like one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import types
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import pytest
from kit.functions import awaitable, coroutine, end, generator, plain
from kit.steps import Boom, Make, boom

from breaker import (
    CircuitBreaker,
    CircuitOpenError,
    CountWindow,
    RampUp,
    SlowCallRate,
    State,
)
from breaker.testing import ManualClock


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN, State.METRICS_ONLY])
def test_call_async_with_a_function_that_is_not_async_is_a_type_error_and_counts_nothing(state: State) -> None:
    breaker = CircuitBreaker("x", failure_threshold=1, initial_state=state)
    for _ in range(3):
        with pytest.raises(TypeError, match="call_async needs an async function, got <class 'int'>"):
            asyncio.run(breaker.call_async(int))  # type: ignore[arg-type]  # that is what it is about
    assert (breaker.state, breaker.statistics().calls, breaker.statistics().ignored) == (state, 0, 0)


def test_a_type_error_of_an_async_function_is_counted() -> None:
    async def fails() -> None:
        raise TypeError("of its own")

    breaker = CircuitBreaker("x", failure_threshold=2)
    for _ in range(2):
        with pytest.raises(TypeError, match="of its own"):
            asyncio.run(breaker.call_async(fails))
    assert breaker.state is State.OPEN


class AnswersEverything:
    """A proxy, as of JSON or of remote calls, that has any attribute you ask it for."""

    def __getattr__(self, name: str) -> Any:
        return self


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_result_that_only_seems_awaitable_is_returned_as_it_is(state: State) -> None:
    breaker, proxy = CircuitBreaker("x", initial_state=state), AnswersEverything()
    assert breaker.call(lambda: proxy) is proxy
    assert breaker.protect(fallback=print)(lambda: proxy)() is proxy
    assert breaker(lambda: proxy)() is proxy
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_coroutines_of_the_old_kind_are_awaited_and_counted(state: State) -> None:
    @types.coroutine
    def old(error: Exception | None = None) -> Any:
        if error is not None:
            raise error
        yield from asyncio.sleep(0).__await__()
        return "done"

    breaker = CircuitBreaker("x", failure_threshold=1, initial_state=state)
    for drive in (breaker.call_async, breaker.call):
        assert asyncio.run(as_coroutine(drive(old))) == "done"
    assert asyncio.run(as_coroutine(breaker(old)())) == "done"
    with pytest.raises(ConnectionError):
        asyncio.run(as_coroutine(breaker.call_async(old, ConnectionError())))
    assert breaker.state is State.OPEN


async def as_coroutine(awaitable: Any) -> Any:
    return await awaitable


def test_what_a_probe_returned_to_be_awaited_holds_its_place_until_it_is(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN)
    begun = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = breaker.call(loop.run_in_executor, None, begun.append, 1)
        for _ in range(5):
            with pytest.raises(CircuitOpenError):
                breaker.call(loop.run_in_executor, None, begun.append, 1)
        await first

    asyncio.run(main())
    assert (len(begun), breaker.state) == (1, State.CLOSED)


def test_what_a_ramp_lets_through_to_be_awaited_has_used_one_share(make: Make) -> None:
    breaker = make(ramp=RampUp(100.0, start=0.5), initial_state=State.RAMPING)

    async def answer() -> int:
        return 1

    async def main() -> int:
        passed = 0
        for _ in range(100):
            with contextlib.suppress(CircuitOpenError):
                passed += await breaker.call(lambda: answer())
        return passed

    assert asyncio.run(main()) == 50


def test_an_async_generator_that_the_loop_closes_at_its_end_is_a_success(make: Make) -> None:
    breaker, kept, troubles = make(failure_threshold=1), [], []

    @breaker
    async def rows() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        kept.append(rows())
        await anext(kept[-1])

    for _ in range(3):
        asyncio.run(main())
    assert troubles == []
    assert (breaker.state, breaker.statistics().successes) == (State.CLOSED, 3)


SLOW = SlowCallRate(0.5, 10.0, CountWindow(10), 1)


def test_what_a_disabled_breaker_let_through_is_measured_if_it_is_awaited_after_a_reset(
    make: Make, clock: ManualClock
) -> None:
    breaker = make(trip=SLOW)
    breaker.disable()
    pending = breaker.protect(slow_after=3.0)(awaitable)(during=lambda: clock.advance(3.0))
    breaker.reset()
    end(pending)
    assert breaker.statistics().slow == 1


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_function_that_raises_before_it_makes_its_awaitable_has_failed(make: Make, state: State) -> None:
    breaker = make(initial_state=state, failure_threshold=1)
    with pytest.raises(Boom):
        end(breaker.call_async(boom))
    assert breaker.state is State.OPEN


def test_a_coroutine_that_is_rejected_is_closed(make: Make) -> None:
    breaker, made = make(), coroutine()
    pending = breaker.call(lambda: made)
    breaker.force_open()
    with pytest.raises(CircuitOpenError):
        end(pending)
    assert inspect.getcoroutinestate(made) == inspect.CORO_CLOSED


def test_what_a_probe_returned_to_be_awaited_decides_when_it_ends(make: Make) -> None:
    async def bad() -> str:
        return "bad"

    async def lost() -> None:
        raise Boom

    for made, reason in ((bad, {"bad result": 1}), (lost, {"Boom": 1})):
        breaker = make(initial_state=State.HALF_OPEN, record_result=lambda result: result == "bad")
        with contextlib.suppress(Boom):
            end(breaker.call(lambda made=made: made()))
        assert breaker.last_trip is not None
        assert breaker.last_trip.exceptions == reason


def test_an_object_that_is_called_to_make_a_coroutine_is_guarded_as_a_coroutine_function(make: Make) -> None:
    class Client:
        async def __call__(self) -> str:
            return "async"

    class Plain:
        def __call__(self) -> str:
            return "plain"

    breaker = make()
    for made in (Client(), functools.partial(coroutine), functools.wraps(coroutine)(Client())):
        assert inspect.iscoroutinefunction(breaker(made))
    for made in (Plain(), functools.partial(plain), functools.wraps(plain)(Plain())):
        assert not inspect.iscoroutinefunction(breaker(made))
    breaker.force_open()
    pending = breaker.call(Client())  # rejected when it is awaited, not before
    with pytest.raises(CircuitOpenError):
        end(pending)


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="needs Python 3.12")
def test_a_function_that_is_marked_as_a_coroutine_function_is_guarded_as_one(make: Make) -> None:
    @inspect.markcoroutinefunction
    def marked() -> Awaitable[Any]:
        return coroutine()

    breaker = make()
    breaker.force_open()
    pending = breaker.call(marked)  # rejected when it is awaited, not before
    with pytest.raises(CircuitOpenError):
        end(pending)


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_plain_generator_that_a_call_returns_is_nothing_to_await(make: Make, state: State) -> None:
    made = generator()
    assert make(initial_state=state).call(lambda: made) is made
    made.close()


class MadeByACall:
    """Calling the class makes an object; calling the object makes a coroutine."""

    async def __call__(self) -> None: ...


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN, State.METRICS_ONLY])
@pytest.mark.parametrize("measured", [False, True])
def test_a_class_is_called_at_once_even_if_its_objects_are_async(make: Make, state: State, measured: bool) -> None:
    breaker = make(initial_state=state, record_result=(lambda result: False) if measured else None)
    made: object = breaker.call(MadeByACall)
    assert isinstance(made, MadeByACall)
    assert breaker.statistics().successes == 1
