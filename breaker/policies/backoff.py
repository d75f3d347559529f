"""How long the circuit stays open, and how traffic grows back: frozen recipes that hold no time.

An open period may also be the user's own: any object with `period(reopenings)`. It runs under the
breaker's lock, so it must return at once and must not call the breaker.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from breaker import checks


@runtime_checkable
class OpenPeriod(Protocol):
    """What `recovery_timeout` may be when it is not a number of seconds."""

    def period(self, reopenings: int) -> float:
        """Seconds to stay open, after `reopenings` earlier openings with no CLOSED between (0 at first)."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """An open period that grows with each re-opening.

    The n-th period is `initial * factor ** n` seconds, spread by `jitter` (0.2: up to 20 % either way,
    drawn once for each opening, so that a fleet does not probe in step), and never above `maximum`; a period
    that has grown to the maximum is spread below it. Raises `ValueError` for a setting that cannot work.
    """

    initial: float
    factor: float = 2.0
    maximum: float | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        checks.positive_seconds("initial", self.initial)
        checks.within("factor", self.factor, 1, sys.float_info.max, "at least 1, or the period would shrink")
        checks.within("jitter", self.jitter, 0, 1, "a share between 0 and 1")
        if self.maximum is not None and checks.seconds("maximum", self.maximum) < self.initial:
            raise ValueError(f"maximum must be at least initial ({self.initial!r}), got {self.maximum!r}")

    def period(self, reopenings: int) -> float:
        """Seconds for the opening after `reopenings` earlier ones; finite for any number of them."""
        import random  # by who needs it: the import costs more than the rest of the package's

        longest = sys.float_info.max if self.maximum is None else self.maximum
        try:
            seconds = float(self.initial) * float(self.factor) ** reopenings
        except OverflowError:
            seconds = longest
        seconds = min(seconds, longest)  # before it is spread, or a fleet whose period has grown would be in step
        return random.uniform(seconds * (1 - self.jitter), min(seconds * (1 + self.jitter), longest))


@dataclass(frozen=True, slots=True)
class RampUp:
    """Let traffic grow back over `seconds`, from the share `start` to all of it, in a straight line."""

    seconds: float
    start: float = 0.1

    def __post_init__(self) -> None:
        checks.positive_seconds("seconds", self.seconds)
        checks.share("start", self.start)

    def share(self, elapsed: float) -> float:
        """The share of calls to let through `elapsed` seconds into the ramp."""
        return self.start + (1 - self.start) * min(max(elapsed / self.seconds, 0.0), 1.0)
