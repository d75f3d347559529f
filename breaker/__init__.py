"""A circuit breaker: the fuse between a service and a dependency that can fail.

Read `breaker.circuit` for what you can call, `breaker.states` for what each state does, `breaker.table`
for when the circuit moves. Integrations are modules of their own under `breaker.integrations`.
"""

from breaker.backoff import Backoff, RampUp
from breaker.circuit import CircuitBreaker
from breaker.errors import BreakerError, CircuitOpenError
from breaker.events import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    StateChanged,
    Statistics,
    TripReport,
)
from breaker.listeners import LoggingListener
from breaker.outcome import Outcome
from breaker.permit import Permit
from breaker.registry import Registry
from breaker.table import State
from breaker.trip import ConsecutiveFailures, FailureRate, SlowCallRate
from breaker.windows import CountWindow, TimeWindow

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
]
