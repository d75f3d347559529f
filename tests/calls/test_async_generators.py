"""Rule 12, async generators under the decorator, on asyncio and Trio: one permit, one verdict, whoever iterates."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio
from kit.steps import Boom, Make, all_free, counts

from breaker import CircuitBreaker, CircuitOpenError, State


def numbers(breaker: CircuitBreaker, upto: int = 3, error: BaseException | None = None) -> AsyncGenerator[Any, Any]:
    """A guarded async generator of 0, 1, 2... that ends in `error`, if there is one."""

    @breaker
    async def numbers() -> AsyncIterator[int]:
        for number in range(upto):
            yield number
        if error is not None:
            raise error

    return numbers()  # type: ignore[return-value]  # typed as what its callers see


def test_an_async_generator_is_rejected_at_its_first_item(make: Make) -> None:
    breaker = make(initial_state=State.OPEN)
    items = numbers(breaker)
    assert counts(breaker) == (0, 0, 0, 0)
    with pytest.raises(CircuitOpenError):
        asyncio.run(anext(items))  # type: ignore[arg-type]  # typed as what its callers see
    assert counts(breaker) == (0, 0, 0, 1)


@pytest.mark.parametrize("run", [asyncio.run, lambda coroutine: trio.run(lambda: coroutine)], ids=["asyncio", "trio"])
@pytest.mark.parametrize(
    ("upto", "error", "taken", "expected"),
    [
        (3, None, 9, (1, 0, 0, 0)),
        (0, None, 9, (1, 0, 0, 0)),
        (2, Boom(), 9, (0, 1, 0, 0)),
        (0, Boom(), 9, (0, 1, 0, 0)),
        (3, None, 1, (1, 0, 0, 0)),
        (3, None, 0, (0, 0, 0, 0)),
    ],
    ids=["exhausted", "empty", "raises", "raises at once", "closed early", "closed before any"],
)
def test_an_async_generator_has_one_verdict(
    wrapping: CircuitBreaker, run: Any, upto: int, error: Any, taken: int, expected: tuple[int, ...]
) -> None:
    async def main() -> None:
        items = numbers(wrapping, upto, error)
        try:
            for _ in range(taken):
                await anext(items)
        except StopAsyncIteration:
            assert error is None
        except Boom as raised:
            assert raised is error
        await items.aclose()

    run(main())
    assert (counts(wrapping)) == expected
    assert wrapping.state is State.OPEN or all_free(wrapping)


def test_an_async_generator_abandoned_after_an_item_is_a_success(wrapping: CircuitBreaker) -> None:
    async def main() -> None:
        async for _ in numbers(wrapping):
            break
        gc.collect()
        await asyncio.sleep(0)  # the loop closes what was abandoned
        await asyncio.sleep(0)

    asyncio.run(main())
    assert (counts(wrapping), all_free(wrapping)) == ((1, 0, 0, 0), True)


def hanging(breaker: CircuitBreaker, wait: Callable[[], Any], after: int) -> AsyncGenerator[Any, Any]:
    @breaker
    async def items() -> AsyncIterator[int]:
        for number in range(after):
            yield number
        await wait()
        yield -1

    return items()  # type: ignore[return-value]  # typed as what its callers see


@pytest.mark.parametrize("after", [0, 1])
def test_a_task_cancelled_while_it_waits_for_an_item_is_neutral(wrapping: CircuitBreaker, after: int) -> None:
    async def consume() -> None:
        async for _ in hanging(wrapping, asyncio.Event().wait, after):
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert (counts(wrapping), all_free(wrapping)) == ((0, 0, 1, 0), True)


def test_an_async_generator_called_with_wrong_arguments_gives_its_permit_back(wrapping: CircuitBreaker) -> None:
    @wrapping
    async def items(needed: int) -> AsyncIterator[int]:
        yield needed

    with pytest.raises(TypeError, match="needed"):
        asyncio.run(anext(items()))  # type: ignore[arg-type, call-arg]  # typed as what its callers see
    assert counts(wrapping) == (0, 1, 0, 0)
    assert wrapping.state is State.OPEN or all_free(wrapping)


def test_a_consumer_dropped_while_it_waits_for_the_first_item_is_neutral(wrapping: CircuitBreaker) -> None:
    class Wait:
        def __await__(self) -> Iterator[None]:
            yield

    async def wait() -> None:
        await Wait()

    async def consume() -> None:
        async for _ in hanging(wrapping, wait, 0):
            pass

    consumer = consume()
    consumer.send(None)
    consumer.close()  # as a loop does with the tasks left when it is torn down
    assert (counts(wrapping), all_free(wrapping)) == ((0, 0, 1, 0), True)


def test_a_generator_may_be_made_in_one_task_and_iterated_in_others(wrapping: CircuitBreaker) -> None:
    async def main() -> list[int]:
        items = numbers(wrapping)
        return [await asyncio.create_task(anext(items)) for _ in range(3)] + [  # type: ignore[arg-type]  # typed as what its callers see
            await asyncio.create_task(anext(items, -1))  # type: ignore[arg-type]  # typed as what its callers see
        ]

    assert asyncio.run(main()) == [0, 1, 2, -1]
    assert (counts(wrapping), all_free(wrapping)) == ((1, 0, 0, 0), True)
