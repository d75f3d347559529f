"""What the tests of the core are given: a clock that only they move, and breakers on it."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from kit.steps import RECOVERY, THRESHOLD, Make

from breaker import CircuitBreaker, State
from breaker.testing import ManualClock


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """In a worker pytest-cov begins to measure twice; the first would go on where a test is marked `no_cover`."""
    coverage = sys.modules.get("coverage")
    while hasattr(session.config, "workerinput") and coverage is not None and (begun := coverage.Coverage.current()):
        begun.stop()


class ClockOfEachThread(threading.local):
    """For `pytest --parallel-threads`, which gives all the threads that run one test the same fixtures."""

    def __init__(self) -> None:
        self.own = ManualClock(1000.0)

    def __call__(self) -> float:
        return self.own()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


@pytest.fixture
def clock(num_parallel_threads: int) -> Any:
    return ManualClock(1000.0) if num_parallel_threads == 1 else ClockOfEachThread()


@pytest.fixture
def make(clock: ManualClock) -> Make:
    """Makes a breaker that opens after three failures for ten seconds, unless told otherwise."""

    def make(**settings: Any) -> CircuitBreaker:
        if "trip" not in settings:
            settings.setdefault("failure_threshold", THRESHOLD)
        settings = {"recovery_timeout": RECOVERY, "clock": clock, **settings}
        return CircuitBreaker(settings.pop("name", "payments"), **settings)

    return make


@pytest.fixture
def breaker(make: Make) -> CircuitBreaker:
    return make()


@pytest.fixture(params=["closed", "half-open"])
def wrapping(request: pytest.FixtureRequest, make: Make, clock: ManualClock) -> CircuitBreaker:
    """A breaker that is healthy, or whose next call is the first of many probes."""
    if request.param == "closed":
        return make(failure_threshold=100)
    return make(initial_state=State.HALF_OPEN, success_threshold=100)
