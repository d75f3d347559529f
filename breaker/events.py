"""The public door to what breakers tell: the event types, the facts in them, and `subscribe_all`.

Nothing is defined here; see `breaker.observe`.
"""

from breaker.observe.events import (
    CallEvent,
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    Event,
    StateChanged,
    Statistics,
    TripReport,
    subscribe_all,
)

__all__ = [
    "CallEvent",
    "CallFailed",
    "CallIgnored",
    "CallRejected",
    "CallSucceeded",
    "Event",
    "StateChanged",
    "Statistics",
    "TripReport",
    "subscribe_all",
]
