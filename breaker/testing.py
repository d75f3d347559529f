"""The kit for tests of code that has a breaker in it: a clock that only you move, and more to come."""

from __future__ import annotations


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
