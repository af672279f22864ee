"""What a handler's author imports: base classes that admit everything, and `plugin`, which gives a class its name.

::

    from mgate.handler import Denied, Handler, plugin

    class Rules(Handler):
        def auth_publish(self, session, topic, payload):
            if not topic.startswith(f"{session.username}/"):
                raise Denied("not authorised", "only your own topics")

    rules = plugin("rules", Rules)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zope.interface import implementer

from mgate.errors import Denied, Kind
from mgate.interfaces import IHandler, IHandlerMaker, IInterceptor
from mgate.outcome import Direction
from mgate.session import Filter, Message, Session

__all__ = [
    "Denied", "Direction", "Filter", "Handler", "HandlerMaker", "Interceptor", "Kind", "MakerContext", "Message",
    "Session", "plugin",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class MakerContext:
    """What a maker may need of the world: the reactor, the name of the listener, the folder of the configuration."""

    reactor: Any = None
    listener: str = ""
    directory: str = "."


@implementer(IHandler)
class Handler:
    """Admits everything and watches nothing. Override only what you need; see `IHandler` for every hook.

    Args:
        arguments: what stood behind the colon of ``handlers = ["name:arguments"]``.
        context: a `MakerContext`.
    """

    def __init__(self, arguments: str = "", context: MakerContext | None = None) -> None:
        self.arguments = arguments
        self.context = context or MakerContext()

    def auth_connect(self, session: Session) -> Any:
        return None

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        return None

    def auth_subscribe(self, session: Session, filters: list[str]) -> Any:
        return None

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Any:
        return None

    def connect(self, session: Session) -> Any:
        return None

    def publish(self, session: Session, topic: str, payload: bytes) -> Any:
        return None

    def subscribe(self, session: Session, granted: dict[str, int]) -> Any:
        return None

    def unsubscribe(self, session: Session, filters: list[str]) -> Any:
        return None

    def disconnect(self, session: Session, reason: str) -> Any:
        return None


@implementer(IInterceptor)
class Interceptor:
    """Leaves every packet as it is. Override `before`, `after` or both."""

    def __init__(self, arguments: str = "", context: MakerContext | None = None) -> None:
        self.arguments = arguments
        self.context = context or MakerContext()

    def before(self, session: Session, packet: Any, direction: Direction) -> Any:
        return None

    def after(self, session: Session, packet: Any, direction: Direction) -> Any:
        return None


@implementer(IHandlerMaker)
class HandlerMaker:
    """A name, and the class (or function) that makes the handler. Made by `plugin`."""

    def __init__(self, name: str, factory: Callable[[str, MakerContext], Any]) -> None:
        self.name = name
        self.factory = factory

    def make(self, arguments: str, context: MakerContext) -> Any:
        return self.factory(arguments, context)


def plugin(name: str, factory: Callable[[str, MakerContext], Any]) -> HandlerMaker:
    """Offer `factory` to the configuration under `name`. Assign the result to a name of your module, or it is not
    found.

    Args:
        name: what ``handlers = ["name"]`` says; no colon in it.
        factory: a `Handler` or `Interceptor` class, or any callable of (arguments, context).

    Raises:
        ValueError: the name is empty or holds a colon.
    """
    if not name or ":" in name:
        raise ValueError(f"a handler's name may not be empty or hold a colon: {name!r}")
    return HandlerMaker(name, factory)
