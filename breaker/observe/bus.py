"""How events reach listeners: in order, outside every lock, isolated from each other and from the call.

An event is published while the breaker's lock is held and delivered after it, by whichever thread comes by;
one thread delivers at a time, so the order of the queue is the order that listeners see. Whoever delivers,
a listener runs in the context (`contextvars`) of the call that the event is about: its trace, its log
fields. This module knows nothing of what the events say.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from typing import Any, NamedTuple

from breaker.observe import instances

logger = logging.getLogger("breaker")


class Message:
    """What listeners may be told: the events are of this type."""

    __slots__ = ()


class Subscription(NamedTuple):
    """Who wants which events."""

    callback: Callable[[Any], object]
    types: tuple[type, ...]  # empty: all

    @classmethod
    def checked(cls, callback: Any, types: tuple[Any, ...]) -> Subscription:
        """A subscription to `types`, or to those that the listener names in an attribute `event_types`.

        Raises `TypeError` quoting what is no callback or no event type.
        """
        if not callable(callback):
            raise TypeError(f"a listener must be callable, got {callback!r}")
        own = getattr(callback, "event_types", ())
        types = types or (own if isinstance(own, tuple) else ())  # a mock has any attribute you ask for
        for kind in types:
            if not isinstance(kind, type) or not issubclass(kind, Message):
                raise TypeError(f"subscribe to event types, such as StateChanged, got {kind!r}")
        return cls(callback, types)


_everywhere: tuple[Subscription, ...] = ()
_lock = instances._lock  # a fork waits for it, so that no child inherits it held


def subscribe_everywhere(subscription: Subscription) -> Callable[[], None]:
    """Add `subscription` to every breaker, alive or to come; returns its undoing."""

    def unsubscribe() -> None:
        global _everywhere
        with _lock:
            _everywhere = tuple(other for other in _everywhere if other is not subscription)
        _tell_breakers()

    global _everywhere
    with _lock:
        _everywhere = (*_everywhere, subscription)
    _tell_breakers()
    return unsubscribe


def _tell_breakers() -> None:
    for breaker in instances.breakers():
        breaker._listeners_changed()


def anybody_everywhere() -> bool:
    """Whether somebody listens to every breaker."""
    return bool(_everywhere)


class EventBus:
    """One breaker's listeners and the events on their way to them."""

    __slots__ = ("_busy", "_queue", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions: tuple[Subscription, ...] = ()
        self._queue: deque[tuple[Any, Context]] = deque()
        self._busy = threading.RLock()

    @classmethod
    def of(cls, listeners: Iterable[Any]) -> EventBus | None:
        """A bus for a new breaker's listeners, or None when nobody listens to it."""
        if listeners == () and not _everywhere:
            return None
        bus = cls()
        if not isinstance(listeners, Iterable):
            raise TypeError(f"listeners must be a list of functions, got {listeners!r}")
        bus.subscriptions = tuple(Subscription.checked(listener, ()) for listener in listeners)
        return bus

    def wants(self, kind: type) -> bool:
        """Whether somebody listens to events of this type."""
        listeners = self.subscriptions + _everywhere
        return any(not types or issubclass(kind, types) for _, types in listeners)

    def publish(self, event: Any) -> None:
        """Queue an event. The breaker's lock makes the order."""
        self._queue.append((event, copy_context()))

    def deliver(self) -> None:
        """Hand over what is queued, unless somebody is at it: then that thread, or frame, goes on with it."""
        busy = self._busy  # a listener may fork, and the child gets another lock
        if busy._is_owned():  # type: ignore[attr-defined]  # a listener called the breaker: its frame goes on with it
            return
        try:  # around the acquire, too: an interrupt right after it must find the way to the release
            # Asked again after the release: an event published in between would find nobody.
            while self._queue and busy.acquire(blocking=False):
                while self._queue:
                    event, context = self._queue.popleft()
                    context.run(self._hand_over, event)
                busy.release()
        finally:
            if busy._is_owned():  # type: ignore[attr-defined]  # as above
                busy.release()

    def _hand_over(self, event: Any) -> None:
        for callback, types in self.subscriptions + _everywhere:
            if types and not isinstance(event, types):
                continue
            try:
                answer = callback(event)
                if hasattr(type(answer), "__await__"):
                    _run_in_loop(answer)
            except Exception:
                logger.exception("a listener of breaker %r failed on %r", event.breaker_name, event)

    def reset_after_fork(self) -> None:
        """In a child process: nobody else is delivering any more, and what was under way is the parent's."""
        self._busy = threading.RLock()
        self._queue.clear()


_tasks: set[Any] = set()


async def _logged(answer: Coroutine[Any, Any, object]) -> None:
    try:
        await answer
    except Exception:
        logger.exception("an async listener failed")


def _run_in_loop(answer: Any) -> None:
    """Start an async listener's coroutine in the loop that runs now, of asyncio or Trio."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.get_running_loop().create_task(_logged(answer))
        _tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(_tasks.discard)
    elif trio is not None and trio.lowlevel.in_trio_run():
        trio.lowlevel.spawn_system_task(_logged, answer)
    else:
        getattr(answer, "close", lambda: None)()
        raise RuntimeError("an async listener needs a running event loop")
