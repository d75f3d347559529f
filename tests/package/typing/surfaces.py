"""What type checkers make of each call surface. Checked, not run: see test_typing.py."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type

from breaker import CircuitBreaker, Permit, State, Statistics, TripReport

breaker = CircuitBreaker("typed")


def plain(item: str, *, count: int = 1) -> float:
    return float(len(item) * count)


async def coroutine(item: str) -> bytes:
    return item.encode()


assert_type(breaker.call(plain, "tea", count=2), float)
made: Coroutine[Any, Any, bytes] = breaker.call(coroutine, "tea")


@breaker
def decorated(item: str, count: int) -> float:
    return float(len(item) * count)


@breaker
async def decorated_coroutine(item: str) -> bytes:
    return item.encode()


@breaker
def generator(upto: int) -> Iterator[int]:
    yield from range(upto)


@breaker
async def async_generator(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


@breaker.protect()
def protected(item: str) -> int:
    return len(item)


def answer(error: Exception, item: str) -> None: ...


@breaker.protect(fallback=answer, fallback_on=TimeoutError)
def answered(item: str) -> int:
    return len(item)


async def answer_later(error: Exception, item: str) -> str:
    return item


@breaker.protect(fallback=answer_later)
async def answered_later(item: str) -> int:
    return len(item)


class Client:
    @breaker
    def method(self, item: str) -> int:
        return len(item)

    @staticmethod
    @breaker
    def static(item: str) -> int:
        return len(item)

    @classmethod
    @breaker
    def of_class(cls, item: str) -> int:
        return len(item)


assert_type(decorated("tea", 2), float)
assert_type(generator(3), Iterator[int])
assert_type(async_generator(3), AsyncIterator[int])
assert_type(protected("tea"), int)
assert_type(answered("tea"), int | None)
assert_type(Client().method("tea"), int)
assert_type(Client.static("tea"), int)
assert_type(Client.of_class("tea"), int)
assert_type(breaker.acquire(), Permit)
assert_type(breaker.state, State)
assert_type(breaker.last_trip, TripReport | None)
assert_type(breaker.statistics(), Statistics)
assert_type(breaker.subscribe(print), Callable[[], None])


async def awaiting() -> None:
    assert_type(await breaker.call_async(coroutine, "tea"), bytes)
    assert_type(await breaker.call(coroutine, "tea"), bytes)
    assert_type(await decorated_coroutine("tea"), bytes)
    assert_type(await answered_later("tea"), int | str)
    async with breaker.acquire() as permit:
        assert_type(permit, Permit)
