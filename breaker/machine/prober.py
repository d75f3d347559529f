"""Who else has a say in a breaker's moves: a `Prober`, and the `Cause` that a move may bring along.

The core knows a health check, and whatever comes to decide about probes in the callers' stead, by this alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from breaker.observe.events import TripReport
from breaker.table import State


class Cause(NamedTuple):
    """What whoever asks for a move knows of it: why the circuit opened, and for how many seconds."""

    report: TripReport | None = None
    seconds: float | None = None


UNTOLD = Cause()


class Prober(Protocol):
    """Decides about probes in the callers' stead. `breaker` is the `Model` that it was given to."""

    def may_probe(self, breaker: Any) -> bool:
        """Whether a caller's next call may be a probe. From memory: it is asked on every rejection."""
        ...

    def wait(self, breaker: Any) -> float:
        """Seconds until a call may be let through, when no caller may probe."""
        ...

    def moved_locked(self, state: State, trigger: str | None, report: TripReport | None) -> None:
        """The breaker is in another state now, or (no trigger) begins in this one."""

    def ensure_running(self, breaker: Any) -> None:
        """The breaker's lock was let go of, or a call was rejected: do what there is to do."""

    def close(self) -> None:
        """The breaker goes on without."""

    def in_child_after_fork(self) -> None:
        """Threads of the parent are gone, and its locks may be held for ever."""
