"""The error tree. Nothing here decides anything.

    Exception
    └── BreakerError            whatever this package raises of its own
        └── CircuitOpenError    a call was rejected: the circuit did not let it through

A setting that cannot work is a plain `ValueError` or `TypeError`, and a move that the table does not
have is `transitions.MachineError`; neither is a `BreakerError`, because neither is news of a circuit.
"""

from __future__ import annotations

from typing import Any

from breaker.observe.events import TripReport
from breaker.table import State


class BreakerError(Exception):
    """The root of this package's own errors."""


class CircuitOpenError(BreakerError):
    """A call was rejected without being made.

    The facts are the exception's `args` and nothing else, so it pickles whole, and the rejection path
    (the hot path of an outage) runs no Python constructor.
    """

    @property
    def breaker_name(self) -> str:
        """Name of the breaker that rejected the call."""
        name: str = self._fact(0)
        return name

    @property
    def state(self) -> State:
        """The state that rejected the call."""
        state: State = self._fact(1)
        return state

    @property
    def retry_after(self) -> float | None:
        """Seconds until a call may be let through; None when only an operator can say."""
        seconds: float | None = self._fact(2)
        return seconds

    @property
    def report(self) -> TripReport | None:
        """Why the circuit last opened; None when it never tripped (an operator opened it)."""
        report: TripReport | None = self._fact(3)
        return report

    def _fact(self, place: int) -> Any:
        # Users' own mocks raise it with fewer.
        return self.args[place] if place < len(self.args) else None

    def __str__(self) -> str:
        text = f"circuit {self.breaker_name!r} is {self.state}"
        if self.retry_after is not None:
            text += f", retry in {self.retry_after:.1f} s"
        return f"{text} ({self.report.summary})" if self.report else text
