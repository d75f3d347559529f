"""Rules 7 and 8 in numbers: of very many tasks, many cancelled, no permit goes missing and the counts add up."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from typing import Any

import pytest
import trio
import trio.testing
from kit.steps import Boom, Make, rejection

from breaker import CircuitBreaker, CountWindow, SlowCallRate, State
from breaker.testing import ManualClock


async def storm(breaker: CircuitBreaker, tasks: int, dice: random.Random) -> Counter[str]:
    """How many of `tasks` concurrent calls ended in which way; a fifth of them were cancelled."""
    loop = asyncio.get_running_loop()
    waiting = [loop.create_future() for _ in range(tasks)]

    async def work(place: int) -> None:
        await waiting[place]

    running = [loop.create_task(breaker.call_async(work, place)) for place in range(tasks)]
    await asyncio.sleep(0)  # now each waits inside the breaker
    doomed = set(dice.sample(range(tasks), tasks // 5))
    for place in dice.sample(range(tasks), tasks):
        if place not in doomed or dice.random() < 0.1:  # some have their answer already when they are cancelled
            waiting[place].set_exception(Boom()) if dice.random() < 0.3 else waiting[place].set_result(None)
        if place in doomed:
            running[place].cancel()
        if dice.random() < 0.001:
            await asyncio.sleep(0)
    results = await asyncio.gather(*running, return_exceptions=True)
    for future in waiting:
        if future.done() and not future.cancelled():
            future.exception()  # seen: asyncio need not complain of those whose task was cancelled first
    return Counter(type(result).__name__ for result in results)


def settings_of(kind: str, tasks: int) -> dict[str, Any]:
    if kind == "probes":
        return {
            "initial_state": State.HALF_OPEN,
            "half_open_max_calls": tasks,
            "success_threshold": tasks,
            "record_exceptions": (),
        }
    if kind == "running":
        return {"trip": SlowCallRate(1.0, 1.0, CountWindow(tasks), minimum_calls=tasks, count_running=True)}
    return {"failure_threshold": tasks}


@pytest.mark.parametrize(("kind", "tasks"), [("probes", 100_000), ("running", 10_000), ("plain", 10_000)])
def test_of_a_hundred_thousand_concurrent_tasks_no_permit_goes_missing(
    make: Make, clock: ManualClock, kind: str, tasks: int
) -> None:
    breaker = make(**settings_of(kind, tasks))
    gc.disable()  # nothing here is garbage, and looking for it among a million objects takes seconds
    try:
        ended = asyncio.run(storm(breaker, tasks, random.Random(20_240_607)))
    finally:
        gc.enable()
    assert set(ended) == {"NoneType", "Boom", "CancelledError"}
    assert ended["CancelledError"] == pytest.approx(tasks / 5, rel=0.02)
    now = breaker.statistics()
    assert (now.ignored, now.rejected) == (ended["CancelledError"], 0)
    assert now.calls == ended["NoneType"] + ended["Boom"] == tasks - now.ignored
    assert now.failures == (0 if kind == "probes" else ended["Boom"])
    if kind == "running":
        clock.advance(1000.0)  # a call that still counted as running would be slow by now
        assert breaker.statistics().slow_call_rate == 0.0
    elif kind == "probes":
        everywhere = [breaker.acquire() for _ in range(tasks)]
        assert rejection(breaker).state is State.HALF_OPEN
        for permit in everywhere:
            permit.release()


def test_of_many_trio_tasks_no_permit_goes_missing(make: Make) -> None:
    tasks, dice = 2000, random.Random(7)
    breaker = make(
        initial_state=State.HALF_OPEN, half_open_max_calls=tasks, success_threshold=tasks, record_exceptions=()
    )
    cancelled: list[int] = []

    async def one(place: int, scope: trio.CancelScope) -> None:
        with scope:
            async with breaker.acquire():
                await answers.wait()
        if scope.cancelled_caught:
            cancelled.append(place)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(tasks)]
            for place, scope in enumerate(scopes):
                nursery.start_soon(one, place, scope)
            await trio.testing.wait_all_tasks_blocked()
            for scope in dice.sample(scopes, tasks // 5):
                scope.cancel()
            answers.set()

    answers = trio.Event()
    trio.run(main)
    now = breaker.statistics()
    assert (now.ignored, now.calls) == (len(cancelled), tasks - len(cancelled))
    assert len(cancelled) == tasks // 5
    everywhere = [breaker.acquire() for _ in range(tasks)]
    assert rejection(breaker)
    for permit in everywhere:
        permit.release()


@pytest.mark.parametrize("around", [False, True], ids=["inside", "around"])
def test_a_timeout_inside_the_call_is_a_failure_and_one_around_it_is_neutral(make: Make, around: bool) -> None:
    breaker = make()

    async def hang() -> None:
        async with asyncio.timeout(None if around else 0):
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with asyncio.timeout(0 if around else None):
            await breaker.call_async(hang)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    now = breaker.statistics()
    assert (now.failures, now.ignored) == ((0, 1) if around else (1, 0))


@pytest.mark.thread_unsafe(reason="a collection in another thread may hold the tasks for a while")
def test_tasks_torn_down_with_their_loop_give_their_permits_back(make: Make) -> None:
    breaker = make(initial_state=State.HALF_OPEN, half_open_max_calls=50)

    async def main() -> None:
        async def hang() -> None:
            await asyncio.get_running_loop().create_future()

        left = [asyncio.ensure_future(breaker.call_async(hang)) for _ in range(50)]
        await asyncio.sleep(0)
        assert rejection(breaker)
        assert len(left) == 50

    asyncio.run(main())  # which cancels what is left
    assert (breaker.state, breaker.retry_after, breaker.statistics().ignored) == (State.HALF_OPEN, 0.0, 50)
