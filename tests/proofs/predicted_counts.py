"""What a trip policy must say after a list of completed calls, by counting the list again each time.

Answers are sets of booleans: DESIGN gives a time window a tenth of its length as play, so between the two
edges both answers are right, and `{True, False}` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from breaker import ConsecutiveFailures, CountWindow, FailureRate, SlowCallRate

Policy = ConsecutiveFailures | FailureRate | SlowCallRate
PLAY = 0.1


@dataclass(frozen=True)
class Done:
    """A call that ended and counts."""

    at: float
    failed: bool
    slow: bool = False
    duration: float = 0.0


def in_a_row(done: list[Done]) -> int:
    """Failures since the last success."""
    row = 0
    for call in reversed(done):
        if not call.failed:
            break
        row += 1
    return row


def windows(policy: FailureRate | SlowCallRate, done: list[Done], now: float) -> Iterator[list[Done]]:
    """Every content that the window may have now."""
    window = policy.window
    if isinstance(window, CountWindow):
        yield done[-window.size :]
        return
    surely = sum(now - call.at >= window.seconds * (1 + PLAY) for call in done)
    perhaps = sum(now - call.at > window.seconds * (1 - PLAY) for call in done)
    for oldest in range(surely, max(surely, perhaps) + 1):
        yield done[oldest:]


def _reached(policy: FailureRate | SlowCallRate, held: list[Done], overdue: int) -> bool:
    if isinstance(policy, FailureRate):
        bad, calls = sum(call.failed for call in held), len(held)
    else:
        bad = sum(call.duration >= policy.slower_than for call in held) + overdue
        calls = len(held) + overdue
    return calls >= policy.minimum_calls and bad / calls >= policy.threshold


def reached(policy: Policy, done: list[Done], now: float, overdue: int = 0) -> set[bool]:
    """Whether the policy's limit is reached; `overdue` calls still run past the slow limit."""
    if isinstance(policy, ConsecutiveFailures):
        return {in_a_row(done) >= policy.threshold}
    return {_reached(policy, held, overdue) for held in windows(policy, done, now)}


def any_reached(policies: Iterable[Policy], done: list[Done], now: float, overdue: dict[Policy, int]) -> set[bool]:
    """Whether one of the policies says so: surely, surely not, or either."""
    answers = [reached(policy, done, now, overdue.get(policy, 0)) for policy in policies]
    if {True} in answers:
        return {True}
    return {False, True} if any(True in answer for answer in answers) else {False}
