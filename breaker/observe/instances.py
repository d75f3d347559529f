"""What the process knows of its breakers: which are alive, and that a fork must find them at rest.

Breakers are held weakly: none is kept alive by being here.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Held(Protocol):
    """What a thing with a lock lets the process do to it around a fork."""

    def _hold_for_fork(self) -> None: ...
    def _after_fork(self) -> None: ...
    def _in_child_after_fork(self) -> None: ...


class Member(Held, Protocol):
    """What a breaker lets the process do to it."""

    def _listeners_changed(self) -> None: ...


_members: list[weakref.ref[Member]] = []  # a WeakSet would cost each breaker 50 bytes and 1 µs more
_room = 64
_lock = threading.RLock()
_others: weakref.WeakSet[Held] = weakref.WeakSet()
_resting: list[Held] = []


def register(breaker: Member) -> None:
    """Make `breaker` known until it is collected."""
    global _room
    with _lock:
        if len(_members) >= _room:
            _members[:] = [member for member in _members if member() is not None]
            _room = max(64, 2 * len(_members))
        _members.append(weakref.ref(breaker))


def hold_too(thing: Held) -> None:
    """Let a fork find `thing`, which is no breaker, at rest too."""
    with _lock:
        _others.add(thing)


def breakers() -> list[Member]:
    """Every breaker that is alive now, oldest first."""
    with _lock:
        return [breaker for member in _members if (breaker := member()) is not None]


def _before_fork() -> None:
    # Forking while another thread is inside a breaker would leave the child a half-made move.
    _lock.acquire()
    for thing in (*breakers(), *_others):
        thing._hold_for_fork()
        _resting.append(thing)


def _after_fork_in_parent() -> None:
    while _resting:
        _resting.pop()._after_fork()
    _lock.release()


def _after_fork_in_child() -> None:
    resting = list(_resting)
    _after_fork_in_parent()
    for thing in resting:
        thing._in_child_after_fork()


_register: Callable[..., object] = getattr(os, "register_at_fork", dict)  # where there is no fork, nothing is to do
_register(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
