"""The pytest plugin: the fixture `circuit_breakers`, installed with the package.

An open circuit that one test leaves behind rejects the calls of the next. To have every breaker of the
process closed before and after each test of a suite, put this in its `conftest.py`:

    import pytest

    @pytest.fixture(autouse=True)
    def closed_circuits(circuit_breakers):
        pass

A test that takes the fixture also finds the breakers that the code under test has made, by name:

    from breaker.testing import failing, inject, open_circuit

    def test_checkout_works_without_recommendations(circuit_breakers):
        open_circuit(circuit_breakers["recommendations"])
        assert checkout().status == 200

    def test_checkout_gives_up_after_the_third_timeout(circuit_breakers):
        with inject(circuit_breakers["payments"], failing(3, TimeoutError)):
            assert checkout().status == 503

Totals and listeners stay as they are; no breaker is kept alive. This module imports nothing but the core.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from breaker import CircuitBreaker
from breaker.observe import instances


class CircuitBreakers:
    """The breakers of this process that are alive: iterable, and by name."""

    def __iter__(self) -> Iterator[CircuitBreaker]:
        return (member for member in instances.breakers() if isinstance(member, CircuitBreaker))

    def __getitem__(self, name: str) -> CircuitBreaker:
        """The one breaker of this name. Raises `LookupError` when there is none, or more than one."""
        found = [breaker for breaker in self if breaker.name == name]
        if len(found) != 1:
            names = sorted({breaker.name for breaker in self})
            raise LookupError(f"{len(found)} breakers are named {name!r}; there are {names}")
        return found[0]

    def reset(self) -> None:
        """Close every circuit and start counting afresh."""
        for breaker in self:
            breaker.reset()


@pytest.fixture
def circuit_breakers() -> Iterator[CircuitBreakers]:
    """Every breaker of the process, closed before and after the test."""
    breakers = CircuitBreakers()
    breakers.reset()
    yield breakers
    breakers.reset()
