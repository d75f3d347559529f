"""Rule 12, generators under the decorator: the permit is taken at the first `next`, one verdict at the end."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Boom, Cancelled, Make, all_free, counts, fail, rejection

from breaker import CircuitBreaker, CircuitOpenError, State
from breaker.testing import ManualClock


def numbers(breaker: CircuitBreaker, upto: int = 3, error: BaseException | None = None) -> Generator[Any, Any, str]:
    """A guarded generator of 0, 1, 2... that ends in `error` or returns "done"."""

    @breaker
    def numbers() -> Generator[Any, Any, str]:
        yield from range(upto)
        if error is not None:
            raise error
        return "done"

    return numbers()


def test_making_a_generator_calls_nothing_yet(wrapping: CircuitBreaker) -> None:
    made = numbers(wrapping)
    assert all_free(wrapping)
    made.close()
    numbers(wrapping)
    assert (counts(wrapping), all_free(wrapping)) == ((0, 0, 0, 0), True)


def test_the_permit_is_held_from_the_first_item_to_the_end(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN)
    items = numbers(breaker)
    assert next(items) == 0
    assert rejection(breaker).state is State.HALF_OPEN
    assert (next(items), breaker.state) == (1, State.HALF_OPEN)
    assert list(items) == [2]
    assert breaker.state is State.CLOSED


def test_an_exhausted_generator_is_one_success_and_keeps_its_return_value(wrapping: CircuitBreaker) -> None:
    def outer() -> Iterator[Any]:
        returned.append((yield from numbers(wrapping)))

    returned: list[str] = []
    assert list(outer()) == [0, 1, 2]
    assert (returned, counts(wrapping)) == (["done"], (1, 0, 0, 0))
    assert all_free(wrapping)


@pytest.mark.parametrize("upto", [0, 2])
def test_a_generator_that_raises_is_one_failure(wrapping: CircuitBreaker, upto: int) -> None:
    error = Boom()
    with pytest.raises(Boom) as caught:
        list(numbers(wrapping, upto, error))
    assert caught.value is error
    assert counts(wrapping) == (0, 1, 0, 0)


def test_a_generator_cancelled_from_inside_is_neutral(wrapping: CircuitBreaker) -> None:
    with pytest.raises(Cancelled):
        list(numbers(wrapping, 1, Cancelled()))
    assert (counts(wrapping), all_free(wrapping)) == ((0, 0, 1, 0), True)


def test_a_rejected_generator_is_rejected_at_its_first_item(make: Make) -> None:
    breaker = make(initial_state=State.OPEN)
    items = numbers(breaker)
    with pytest.raises(CircuitOpenError):
        next(items)
    assert counts(breaker) == (0, 0, 0, 1)


@pytest.mark.parametrize("abandon", [False, True], ids=["closed", "abandoned"])
def test_a_generator_closed_early_or_abandoned_after_an_item_is_a_success(
    wrapping: CircuitBreaker, abandon: bool
) -> None:
    items = numbers(wrapping)
    next(items)
    if not abandon:
        items.close()
    del items
    gc.collect()
    assert (counts(wrapping), all_free(wrapping)) == ((1, 0, 0, 0), True)


def test_a_generator_that_fails_while_it_is_closed_is_a_failure(wrapping: CircuitBreaker) -> None:
    @wrapping
    def messy() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise Boom

    items = messy()
    next(items)
    with pytest.raises(Boom):
        items.close()  # type: ignore[attr-defined]  # a generator, whatever its type says
    assert counts(wrapping) == (0, 1, 0, 0)


@pytest.mark.parametrize(
    ("thrown", "expected"), [(Boom(), (0, 1, 0, 0)), (Cancelled(), (0, 0, 1, 0)), (KeyboardInterrupt(), (0, 0, 1, 0))]
)
def test_what_is_thrown_in_and_not_caught_decides(
    wrapping: CircuitBreaker, thrown: BaseException, expected: tuple[int, ...]
) -> None:
    items = numbers(wrapping)
    next(items)
    with pytest.raises(type(thrown)) as caught:
        items.throw(thrown)
    assert caught.value is thrown
    assert counts(wrapping) == expected


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_send_and_throw_reach_the_generator(wrapping: CircuitBreaker, kind: str) -> None:
    def echo() -> Generator[Any, Any, None]:
        heard = yield "ready"
        while heard != "stop":
            try:
                heard = yield heard
            except Boom as error:
                heard = yield ("caught", error)

    async def async_echo() -> AsyncGenerator[Any, Any]:
        inner = echo()
        step: Callable[[], Any] = lambda: next(inner)  # noqa: E731  # called at once
        while True:
            try:
                item = step()
            except StopIteration:
                return
            try:
                sent = yield item
            except Boom as error:
                thrown = error
                step = lambda: inner.throw(thrown)  # noqa: B023, E731  # called at once
            else:
                step = lambda: inner.send(sent)  # noqa: B023, E731  # called at once

    async def talk() -> list[Any]:
        error = Boom()
        if kind == "sync":
            items = wrapping(echo)()
            said = [next(items), items.send(1), items.throw(error), items.send(2)]
            with pytest.raises(StopIteration):
                items.send("stop")
        else:
            later = wrapping(async_echo)()
            said = [await anext(later), await later.asend(1), await later.athrow(error), await later.asend(2)]
            with pytest.raises(StopAsyncIteration):
                await later.asend("stop")
        assert said[2][1] is error
        return [said[0], said[1], said[2][0], said[3]]

    assert asyncio.run(talk()) == ["ready", 1, "caught", 2]
    assert counts(wrapping) == (1, 0, 0, 0)


@pytest.mark.parametrize("end", ["exhausted", "raised", "closed"])
def test_a_generator_that_ends_in_a_later_stay_decides_nothing(make: Make, clock: ManualClock, end: str) -> None:
    breaker = make()
    items = numbers(breaker, 1, Boom() if end == "raised" else None)
    next(items)
    fail(breaker, THRESHOLD)
    clock.advance(1.0)
    if end == "raised":
        with pytest.raises(Boom):
            next(items)
    elif end == "closed":
        items.close()
    else:
        assert list(items) == []
    assert (breaker.state, breaker.retry_after) == (State.OPEN, RECOVERY - 1)


def test_a_decorated_generator_function_is_still_one(breaker: CircuitBreaker) -> None:
    def items() -> Iterator[int]:
        """Some items."""
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    assert inspect.isgeneratorfunction(breaker(items))
    assert inspect.isasyncgenfunction(breaker(later))
    assert (breaker(items).__name__, breaker(items).__doc__) == ("items", "Some items.")
