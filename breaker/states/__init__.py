"""What each state does with a call and its end: one file and one class a state, one object for each stay in it.

What all states have in common is `breaker.machine.model.CircuitState`; when the circuit moves is in
`breaker.table`. No state fires a trigger when it is entered.
"""

from breaker.machine.model import CircuitState
from breaker.states.closed import Closed
from breaker.states.disabled import Disabled
from breaker.states.forced_open import ForcedOpen
from breaker.states.half_open import HalfOpen
from breaker.states.metrics_only import MetricsOnly
from breaker.states.open import Open
from breaker.states.ramping import Ramping

STATE_CLASSES: dict[str, type[CircuitState]] = {
    state.name: state for state in (Closed, Open, HalfOpen, Ramping, ForcedOpen, Disabled, MetricsOnly)
}
"""The class of each state, by its name, which a `State` is, too."""
