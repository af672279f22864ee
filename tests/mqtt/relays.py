"""A relay between a device and a target that are only bytes, for tests that read like the wire.

`Connection` stands where the link stands: it feeds the relay, waits for its questions, and keeps what came out for
either side. `opened` makes one whose CONNECT and CONNACK are done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest import TestCase

from twisted.internet.defer import Deferred

from mgate import limits as limits_module
from mgate.counters import Counters
from mgate.errors import GateError, TimedOut
from mgate.handler import Handler, Interceptor
from mgate.journal import Journal
from mgate.limits import Limits
from mgate.mqtt import choices as choices_module
from mgate.mqtt.choices import Choices
from mgate.mqtt.relay import MqttRelay
from mgate.mqtt.topics import Topics
from mgate.outcome import Direction, Outcome, Question
from mgate.policy import Policy
from mgate.session import Peer, Session
from tests import wire

__all__ = [
    "DOWNLINK", "UPLINK", "Asking", "Connection", "Notebook", "RelayTest", "Sent", "handler", "interceptor", "opened",
]  # fmt: skip

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK


class Sent(NamedTuple):
    """What came out of the relay since the last look."""

    to_target: bytes = b""
    to_device: bytes = b""


class Notebook(Journal):
    """Keeps what would be logged: `refusals` as (reason, handler, hook, text), `faults` as (handler, hook, error)."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.refusals: list[tuple[str, str, str, str]] = []
        self.faults: list[tuple[str, str, BaseException]] = []

    def event(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    def reject(self, reason: str, *, handler: str = "", **fields: Any) -> None:
        self.refusals.append((reason, handler, fields.get("hook", ""), fields["text"]))

    def fault(self, handler: str, hook: str, failure: Any) -> None:
        self.faults.append((handler, hook, failure))


class Connection:
    """One device connection without transports.

    Attributes:
        relay, session, counters, notebook: the parts.
        closing: why the relay wants the link to end, or None.
        joined: how often the relay said that the target has accepted the connection.
        turns: how often it left the rest of what it had for another turn.
        questions: the open ones, by direction.
    """

    def __init__(
        self,
        *handlers: Any,
        version: int = 4,
        limits: Limits = limits_module.DEFAULT,
        choices: Choices = choices_module.DEFAULT,
    ) -> None:
        self.version = version
        self.counters = Counters()
        self.notebook = Notebook()
        self.session = Session(connection_id="c-1", listener="test", peer=Peer("192.0.2.1", 40000))
        policy = Policy(handlers, self.notebook.fault)
        topics = Topics(limits.max_topic_levels)
        self.relay = MqttRelay(self.session, policy, limits, choices, self.counters, self.notebook, topics)
        self.closing: GateError | None = None
        self.joined = 0
        self.turns = 0
        self.questions: dict[Direction, Question] = {}
        self._to_target = b""
        self._to_device = b""

    def up(self, *data: bytes) -> Sent:
        """The device sends, all in one chunk."""
        self._apply(UPLINK, self.relay.receive(UPLINK, b"".join(data)))
        return self.sent()

    def down(self, *data: bytes) -> Sent:
        """The target sends, all in one chunk."""
        self._apply(DOWNLINK, self.relay.receive(DOWNLINK, b"".join(data)))
        return self.sent()

    def late(self, direction: Direction = UPLINK) -> Sent:
        """The handler that thinks has used up its time; as `mgate.link` tells it."""
        self.questions.pop(direction).cancel()
        self._apply(direction, self.relay.answer(direction, TimedOut("no answer in time", "handler_timeout")))
        return self.sent()

    def sent(self) -> Sent:
        """What came out since the last look."""
        sent = Sent(self._to_target, self._to_device)
        self._to_target = self._to_device = b""
        return sent

    def _apply(self, direction: Direction, outcome: Outcome) -> None:
        to_target, to_device = outcome.forward, outcome.reply
        if direction is DOWNLINK:
            to_target, to_device = to_device, to_target
        self._to_target += to_target
        self._to_device += to_device
        if outcome.close is not None:
            self.closing = outcome.close
            return
        if outcome.question is not None:
            self.questions[direction] = outcome.question
            outcome.question.listen(partial(self._answered, direction))
        if outcome.again:
            self.turns += 1
            self._apply(direction, self.relay.go_on(direction))
        if outcome.release:
            self.joined += 1
            self._apply(UPLINK, self.relay.answer(UPLINK, None))

    def _answered(self, direction: Direction, answer: object) -> None:
        del self.questions[direction]
        self._apply(direction, self.relay.answer(direction, answer))


def opened(
    *handlers: Any,
    version: int = 4,
    limits: Limits = limits_module.DEFAULT,
    choices: Choices = choices_module.DEFAULT,
    connack_props: bytes = b"",
    **fields: Any,
) -> Connection:
    """A connection that the target has accepted. `fields` are those of `tests.wire.connect`."""
    connection = Connection(*handlers, version=version, limits=limits, choices=choices)
    connection.up(wire.connect(version=version, **fields))
    connection.down(wire.connack(version=version, props=connack_props))
    if not connection.joined:
        raise AssertionError(f"the connection is not open: {connection.closing!r}")
    return connection


def handler(name: str = "Rules", **hooks: Callable[..., Any]) -> Handler:
    """A handler whose hooks are these functions of (session, ...)."""
    return _plugin(name, Handler, hooks)  # type: ignore[no-any-return]


def interceptor(name: str = "Edits", **hooks: Callable[..., Any]) -> Interceptor:
    """An interceptor whose `before` and `after` are these functions of (session, packet, direction)."""
    return _plugin(name, Interceptor, hooks)  # type: ignore[no-any-return]


def _plugin(name: str, base: type, hooks: dict[str, Callable[..., Any]]) -> Any:
    def method(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *arguments: function(*arguments)

    return type(name, (base,), {hook: method(function) for hook, function in hooks.items()})()


class Asking:
    """A hook whose answers the test gives: `asked` is what it was called with, `open` the Deferreds not yet fired."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.open: list[Deferred[Any]] = []

    def __call__(self, session: Any, *arguments: Any) -> Deferred[Any]:
        self.asked.append(arguments)
        self.open.append(Deferred())
        return self.open[-1]

    def admit(self, edit: Any = None) -> None:
        """The first question is answered."""
        self.open.pop(0).callback(edit)

    def refuse(self, error: Exception) -> None:
        """The first question is answered with an exception."""
        self.open.pop(0).errback(error)


class RelayTest(TestCase):
    """Base of the tests of relays."""

    def check(self, sent: Sent, to_target: bytes = b"", to_device: bytes = b"") -> None:
        """Exactly this came out."""
        self.assertEqual((sent.to_target, sent.to_device), (to_target, to_device))

    def check_refused(self, connection: Connection, reason: str, hook: str = "") -> None:
        """Exactly one refusal was counted and written."""
        self.assertEqual(connection.counters.rejects, {reason: 1})
        (refusal,) = connection.notebook.refusals
        self.assertEqual((refusal[0], refusal[2]), (reason, hook))
