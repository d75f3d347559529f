"""The decorator: the same function, guarded. Its kind, its name, its place in a class and its pickle are kept."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import pickle
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from kit.steps import THRESHOLD, Boom, Make, boom, counts, enter, fail, lose, ok, rejection

from breaker import CircuitBreaker, CircuitOpenError, CountWindow, FailureRate, RampUp, SlowCallRate, State
from breaker.testing import ManualClock

MODULE_BREAKER = CircuitBreaker("module")


@MODULE_BREAKER
def double(number: int, *, plus: int = 0) -> int:
    """Twice the number."""
    return 2 * number + plus


@MODULE_BREAKER.protect()
async def double_async(number: int) -> int:
    """Twice the number, later."""
    return 2 * number


def test_a_decorated_function_keeps_its_name_its_words_and_its_signature() -> None:
    assert (double.__name__, double.__doc__, double.__module__) == ("double", "Twice the number.", __name__)
    assert str(inspect.signature(double)) == "(number: 'int', *, plus: 'int' = 0) -> 'int'"
    assert double(2, plus=1) == 5


def test_a_decorated_async_function_is_still_one() -> None:
    assert inspect.iscoroutinefunction(double_async)
    assert not inspect.iscoroutinefunction(double)
    assert asyncio.run(double_async(2)) == 4


@pytest.mark.parametrize("function", [double, double_async])
def test_a_decorated_module_function_pickles(function: Callable[..., Any]) -> None:
    assert pickle.loads(pickle.dumps(function)) is function


def test_methods_of_every_kind_are_guarded(breaker: CircuitBreaker) -> None:
    class Client:
        def __init__(self, base: int) -> None:
            self.base = base

        @breaker
        def add(self, number: int) -> int:
            return self.base + number

        @breaker
        async def add_async(self, number: int) -> int:
            return self.base + number

        @classmethod
        @breaker
        def named(cls) -> str:
            return cls.__name__

        @staticmethod
        @breaker
        def constant() -> int:
            return 7

    client = Client(10)
    assert [client.add(1), asyncio.run(client.add_async(2)), client.named(), client.constant()] == [11, 12, "Client", 7]
    assert counts(breaker) == (4, 0, 0, 0)
    breaker.force_open()
    for call in (lambda: client.add(1), lambda: asyncio.run(client.add_async(1)), client.named, client.constant):
        with pytest.raises(CircuitOpenError):
            call()


def test_one_breaker_may_guard_many_functions(breaker: CircuitBreaker) -> None:
    one, two = breaker(ok), breaker(boom)
    for _ in range(THRESHOLD):
        with pytest.raises(Boom):
            two()
    with pytest.raises(CircuitOpenError):
        one()


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("bad", [None, 5, "ok", object()], ids=["None", "number", "string", "object"])
def test_what_is_no_function_is_a_type_error_before_any_counting(
    make: Make, clock: ManualClock, bad: Any, state: State
) -> None:
    breaker = make(ramp=RampUp(60.0, start=1.0) if state is State.RAMPING else None)
    enter(breaker, state, clock.advance)
    before = counts(breaker)
    for call in (
        lambda: breaker.call(bad),
        lambda: asyncio.run(breaker.call_async(bad)),
        lambda: breaker(bad),
        lambda: breaker.protect()(bad),
    ):
        with pytest.raises(TypeError, match="function") as caught:
            call()
        assert repr(bad) in str(caught.value)
    assert (breaker.state, counts(breaker)) == (state, before)


# Python warns of coroutines that are thrown away, as it does without a breaker.
@pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning")
def test_making_a_coroutine_and_throwing_it_away_counts_nothing(breaker: CircuitBreaker) -> None:
    async def work() -> str:
        return "fine"

    for made in (breaker.call(work), breaker(work)(), breaker.call_async(work), breaker.call(lambda: work())):
        with contextlib.closing(made):  # type: ignore[type-var]  # made by an async call: it can be closed
            assert counts(breaker) == (0, 0, 0, 0)
        del made
        gc.collect()
    assert counts(breaker) == (0, 0, 0, 0)


def test_any_awaitable_is_guarded_when_it_is_awaited(breaker: CircuitBreaker) -> None:
    class Later:
        def __init__(self, error: BaseException | None = None) -> None:
            self.error = error

        def __await__(self) -> Iterator[None]:
            yield from asyncio.sleep(0).__await__()
            if self.error is not None:
                raise self.error

    async def main() -> None:
        await breaker.call(Later)
        pending = breaker.call(Later, Boom())
        assert counts(breaker) == (1, 0, 0, 0)
        with pytest.raises(Boom):
            await pending

    asyncio.run(main())
    assert counts(breaker) == (1, 1, 0, 0)


def test_a_fallback_answers_rejected_calls_with_the_error_and_the_arguments(breaker: CircuitBreaker) -> None:
    @breaker.protect(fallback=lambda error, *args, **kwargs: (error, args, kwargs))
    def work(*args: Any, **kwargs: Any) -> Any:
        return "fine"

    assert work() == "fine"
    breaker.force_open()
    error, args, kwargs = work(1, two=3)
    assert isinstance(error, CircuitOpenError)
    assert (args, kwargs) == ((1,), {"two": 3})


def by_lambda(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    return lambda *args: function(*args)


FORMS: dict[str, Callable[[Any], Any]] = {
    "sync": lambda function: function,
    "async": lambda function: _as_async(function),
    "lambda": lambda function: by_lambda(_as_async(function)),
    "partial": lambda function: functools.partial(_as_async(function)),
}


def _as_async(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def later(*args: Any) -> Any:
        return function(*args)

    return later


def answer_of(value: Any) -> Any:
    async def wait() -> Any:
        return await value

    return asyncio.run(wait()) if inspect.isawaitable(value) else value


@pytest.mark.parametrize("later", [False, True], ids=["fallback", "async fallback"])
@pytest.mark.parametrize("form", FORMS)
def test_a_fallback_answers_chosen_failures_too_and_they_count(make: Make, form: str, later: bool) -> None:
    if form == "sync" and later:
        later = False  # a plain function has no use for a coroutine
    breaker = make(failure_threshold=2)
    fallback = FORMS["async" if later else "sync"](lambda error, kind: type(error).__name__)
    work = breaker.protect(fallback=fallback, fallback_on=(Boom, KeyError))(FORMS[form](lose))
    assert answer_of(work(Boom)) == "Boom"
    with pytest.raises(IndexError):
        answer_of(work(IndexError))
    assert (breaker.state, counts(breaker)) == (State.OPEN, (0, 2, 0, 0))
    assert answer_of(work(Boom)) == "CircuitOpenError"
    assert counts(breaker) == (0, 2, 0, 1)


def test_what_a_fallback_raises_reaches_the_caller_and_counts_nothing(breaker: CircuitBreaker) -> None:
    breaker.force_open()
    with pytest.raises(ZeroDivisionError) as caught:
        breaker.protect(fallback=lambda error: 1 / 0)(ok)()
    assert isinstance(caught.value.__context__, CircuitOpenError)
    assert counts(breaker) == (0, 0, 0, 1)


def test_fallback_options_that_cannot_work_are_refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(TypeError, match=r"fallback_on=.* needs a fallback"):
        breaker.protect(fallback_on=Boom)  # type: ignore[call-overload]  # the mistake tested
    with pytest.raises(TypeError, match="a generator has no fallback"):

        @breaker.protect(fallback=ok)
        def items() -> Iterator[int]:
            yield 1

    for bad in (5, "instead"):
        with pytest.raises(TypeError, match="fallback") as caught:
            breaker.protect(fallback=bad)  # type: ignore[call-overload]  # the mistake tested
        assert repr(bad) in str(caught.value)
    with pytest.raises(TypeError, match="fallback_on"):
        breaker.protect(fallback=ok, fallback_on="TimeoutError")  # type: ignore[call-overload]  # the mistake tested


@pytest.mark.parametrize("kind", ["sync", "async", "generator"])
def test_slow_after_holds_for_its_call_site_alone(make: Make, clock: ManualClock, kind: str) -> None:
    breaker = make(trip=SlowCallRate(1.0, 10.0, CountWindow(50), minimum_calls=50) | FailureRate(1.0, CountWindow(50)))

    def work(seconds: float) -> None:
        clock.advance(seconds)

    def items(seconds: float) -> Iterator[None]:
        yield work(seconds)

    form = {"sync": work, "async": _as_async(work), "generator": items}[kind]
    guarded = breaker.protect(slow_after=2.0)(form)
    plain = breaker(form)
    for function, seconds in ((guarded, 1.5), (guarded, 2.0), (plain, 2.0), (plain, 10.0)):
        made = function(seconds)
        list(made) if kind == "generator" else answer_of(made)
    assert breaker.statistics().slow == 2


def test_a_listener_may_call_and_operate_its_breaker(make: Make) -> None:
    def listener(event: object) -> None:
        if len(heard) < 5:
            heard.append(event)
            breaker.call(ok) if breaker.retry_after == 0.0 else rejection(breaker)
            breaker.statistics()
            breaker.reset()

    heard: list[object] = []
    breaker = make(listeners=[listener])
    fail(breaker, THRESHOLD)
    assert len(heard) == 5
