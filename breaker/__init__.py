"""A circuit breaker: the fuse between a service and a dependency that can fail.

Read `breaker.circuit` for what you can call, `breaker.states` for what each state does, `breaker.table`
for when the circuit moves. Public are the names below, `breaker.events`, `breaker.testing` and the modules of
`breaker.integrations`; everything else may change.
"""

from breaker.circuit import CircuitBreaker
from breaker.errors import BreakerError, CircuitOpenError
from breaker.observe.events import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    StateChanged,
    Statistics,
    TripReport,
    subscribe_all,
)
from breaker.observe.logging import LoggingListener
from breaker.outcome import Outcome
from breaker.permit import Permit
from breaker.policies.backoff import Backoff, RampUp
from breaker.policies.trip import ConsecutiveFailures, FailureRate, SlowCallRate
from breaker.policies.windows import CountWindow, TimeWindow
from breaker.registry import Registry
from breaker.table import State

__all__ = [
    "Backoff",
    "BreakerError",
    "CallFailed",
    "CallIgnored",
    "CallRejected",
    "CallSucceeded",
    "CircuitBreaker",
    "CircuitOpenError",
    "ConsecutiveFailures",
    "CountWindow",
    "FailureRate",
    "LoggingListener",
    "Outcome",
    "Permit",
    "RampUp",
    "Registry",
    "SlowCallRate",
    "State",
    "StateChanged",
    "Statistics",
    "TimeWindow",
    "TripReport",
    "subscribe_all",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # by who asks: it costs as much as the rest of the import

        return version("simple-breaker")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
