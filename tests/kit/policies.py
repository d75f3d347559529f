"""A trip policy as a user writes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Own:
    """A policy of a user's, which notes what it is told."""

    broken = False

    def __init__(self, timed: bool | None) -> None:
        self.told: list[Any] = []
        if timed is not None:
            self.timed = timed

    def open(self, clock: Callable[[], float]) -> Own:
        if self.broken:
            raise RuntimeError("no tally today")
        self.told.append(clock())
        return self

    def succeeded(self, duration: float | None) -> None:
        self.told.append(duration)

    def failed(self, kind: str, duration: float | None) -> None:
        self.told.append((kind, duration))

    def tripped(self) -> bool:
        return len(self.told) > 3

    def __repr__(self) -> str:
        return "Own()"
