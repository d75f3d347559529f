"""When a circuit opens: trip policies, frozen recipes that open a fresh tally for each stay.

`ConsecutiveFailures`, `FailureRate` and `SlowCallRate` are validated once and shared freely; joined with
`|`, any of them trips. A policy of your own is any object with `open(clock)`, which returns a fresh tally:

    class Tally:
        def succeeded(self, duration): ...        # one call ended well
        def failed(self, kind, duration): ...     # one call failed; `kind` names the exception's type
        def tripped(self) -> bool: ...            # open the circuit? asked after each failure

They run under the breaker's lock: return at once, never call the breaker. `duration` is in seconds, and
None unless the policy has an attribute `timed = True`. Policies count nothing and move nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from breaker import checks
from breaker.policies.counter import AnyCounter
from breaker.policies.rates import FailureRateTally, SlowCallRateTally
from breaker.policies.tally import ConsecutiveTally, CustomTally, JoinedTally, Tally
from breaker.policies.windows import Clock, CountWindow, Lock, TimeWindow, Window


class UserTally(Protocol):
    """What a user's own policy counts during one stay."""

    def succeeded(self, duration: float | None, /) -> object: ...
    def failed(self, kind: str, duration: float | None, /) -> object: ...
    def tripped(self) -> bool: ...


class UserPolicy(Protocol):
    """A user's own policy."""

    def open(self, clock: Clock, /) -> UserTally: ...


class _Joinable:
    __slots__ = ()

    def __or__(self, other: Any) -> AnyOf:
        return AnyOf((self, other))

    def __ror__(self, other: Any) -> AnyOf:
        return AnyOf((other, self))

    def parts(self, tally: Tally) -> Iterable[tuple[Any, Tally]]:
        """Each single policy with its own tally: joined ones would give one another's numbers."""
        return [(self, tally)]


@dataclass(frozen=True, slots=True)
class ConsecutiveFailures(_Joinable):
    """`threshold` failures with no success between them."""

    threshold: int = 5
    timed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.count("threshold", self.threshold)

    def begin(self, counter: AnyCounter, clock: Clock, lock: Lock) -> Tally:
        """A fresh tally that counts on `counter`."""
        return ConsecutiveTally(self.threshold, counter)


@dataclass(frozen=True, slots=True)
class FailureRate(_Joinable):
    """The share of failures in `window` is `threshold` or more, and it holds `minimum_calls` or more."""

    threshold: float
    window: Window
    minimum_calls: int = 10
    timed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_rate(self)

    def begin(self, counter: AnyCounter, clock: Clock, lock: Lock) -> Tally:
        """A fresh tally that counts on `counter`."""
        return FailureRateTally(self, counter, self.window.open(counter, clock, lock))


@dataclass(frozen=True, slots=True)
class SlowCallRate(_Joinable):
    """The share of calls lasting `slower_than` seconds or more, failed or not, is `threshold` or more.

    With `count_running`, a call still running past `slower_than` counts already, so a dependency that
    hangs opens the circuit before its first hung call returns. It is judged when the next call asks.
    """

    threshold: float
    slower_than: float
    window: Window
    minimum_calls: int = 10
    count_running: bool = False
    timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_rate(self)
        checks.positive_seconds("slower_than", self.slower_than)
        if not isinstance(self.count_running, bool):
            raise ValueError(f"count_running must be True or False, got {self.count_running!r}")

    def begin(self, counter: AnyCounter, clock: Clock, lock: Lock) -> Tally:
        """A fresh tally that counts on `counter`."""
        return SlowCallRateTally(self, counter, self.window.open(counter, clock, lock), clock)


def _check_rate(policy: FailureRate | SlowCallRate) -> None:
    checks.share("threshold", policy.threshold)
    checks.count("minimum_calls", policy.minimum_calls)
    window: object = policy.window
    if not isinstance(window, CountWindow | TimeWindow):
        raise ValueError(f"window must be a CountWindow or a TimeWindow, got {window!r}")
    if isinstance(window, CountWindow) and window.size < policy.minimum_calls:
        raise ValueError(
            f"a window of {window.size} calls never holds minimum_calls={policy.minimum_calls}, so it can never "
            "trip: enlarge the window or lower minimum_calls"
        )


class AnyOf(_Joinable):
    """Several policies, any of which trips. Made by `|`, not by hand."""

    __slots__ = ("policies", "timed")
    policies: tuple[Any, ...]

    def __init__(self, policies: Iterable[Any]) -> None:
        flat: list[Any] = []
        for policy in map(checked, policies):
            flat.extend(policy.policies if isinstance(policy, AnyOf) else (policy,))
        self.policies = tuple(flat)
        self.timed = any(policy.timed for policy in flat)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.policies))

    def begin(self, counter: AnyCounter, clock: Clock, lock: Lock) -> Tally:
        """A fresh tally that counts on `counter`."""
        return JoinedTally([policy.begin(counter, clock, lock) for policy in self.policies], counter)

    def parts(self, tally: Tally) -> Iterable[tuple[Any, Tally]]:
        assert isinstance(tally, JoinedTally)
        return zip(self.policies, tally.parts, strict=True)


class CustomPolicy(_Joinable):
    """A user's own policy, in the form that the states use."""

    __slots__ = ("_theirs", "timed")

    def __init__(self, theirs: UserPolicy) -> None:
        self._theirs = theirs
        self.timed = bool(getattr(theirs, "timed", False))

    def __repr__(self) -> str:
        return repr(self._theirs)

    def begin(self, counter: AnyCounter, clock: Clock, lock: Lock) -> Tally:
        """A fresh tally of theirs. Raises `TypeError` for what is none."""
        tally = self._theirs.open(clock)
        for method in ("succeeded", "failed", "tripped"):
            if not callable(getattr(tally, method, None)):
                raise TypeError(f"the tally of {self._theirs!r} must have a method {method!r}, got {tally!r}")
        return CustomTally(tally)


Policy = ConsecutiveFailures | FailureRate | SlowCallRate | AnyOf | CustomPolicy


def checked(policy: Any) -> Policy:
    """`policy` in the form that the states use. Raises `TypeError` for what is none."""
    if isinstance(policy, Policy):
        return policy
    if callable(getattr(policy, "open", None)) and not isinstance(policy, type):
        return CustomPolicy(policy)
    raise TypeError(f"trip must be a trip policy, such as ConsecutiveFailures(5), got {policy!r}")
