"""What the tests of the integrations are given: real servers that misbehave on demand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_server import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    server = FaultServer()
    yield server
    server.close()


@pytest.fixture
def other_server() -> Iterator[FaultServer]:
    server = FaultServer()
    yield server
    server.close()
