"""Every place where the relay asks a handler: if that raises, hangs, answers late or answers nonsense, nothing passes.

The places are read from the source, so that one which is added without a row in `PLACES` fails here.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import TestCase

from twisted.internet.defer import Deferred, fail, succeed

from mgate.errors import TimedOut
from mgate.handler import Message
from mgate.mqtt.packets import PacketType
from mgate.policy import Hook
from tests import wire
from tests.layers import LAYERS, ROOT, TRANSPORTS, layer_of
from tests.mqtt.relays import DOWNLINK, UPLINK, Connection, RelayTest, handler, interceptor
from tests.wire import connack, connect, publish, subscribe

ASKS = {"ask", "call"}
"""The methods of a `Hook` that run a handler."""

METHOD = b"\x15" + wire.text("m")


def places(root: Path) -> set[str]:
    """Where the relays below `root` ask a handler, as ``module.function``."""
    found = set()
    for path in sorted((root / "mgate").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        if module == "mgate.policy" or layer_of(module) >= TRANSPORTS:
            continue
        for function in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                if any(isinstance(node, ast.Attribute) and node.attr in ASKS for node in ast.walk(function)):
                    found.add(f"{module}.{function.name}")
    return found


class Try(NamedTuple):
    """One way to a place: a packet that is judged there. `hook` is whose answer is awaited, `kind` what it is asked
    about where it sees more than one."""

    hook: str
    packet: Callable[[int], bytes]
    kind: PacketType = PacketType.PUBLISH
    versions: tuple[int, ...] = (3, 4, 5)


def messages(hook: str, *qos: int) -> list[Try]:
    return [Try(hook, lambda version, qos=qos: publish(qos=qos, version=version)) for qos in qos]


def intercepted(hook: str) -> Iterator[Try]:
    """Every packet that there is, in each direction."""
    up: list[tuple[PacketType, Callable[[int], bytes]]] = [
        (PacketType.CONNECT, lambda version: connect(version=version)),
        (PacketType.PUBLISH, lambda version: publish(qos=1, version=version)),
        (PacketType.PUBACK, lambda version: wire.puback()),
        (PacketType.PUBREC, lambda version: wire.pubrec()),
        (PacketType.PUBREL, lambda version: wire.pubrel()),
        (PacketType.PUBCOMP, lambda version: wire.pubcomp()),
        (PacketType.SUBSCRIBE, lambda version: subscribe("a", version=version)),
        (PacketType.UNSUBSCRIBE, lambda version: wire.unsubscribe("a", version=version)),
        (PacketType.PINGREQ, lambda version: wire.PINGREQ),
        (PacketType.DISCONNECT, lambda version: wire.DISCONNECT),
    ]
    down: list[tuple[PacketType, Callable[[int], bytes]]] = [
        (PacketType.CONNACK, lambda version: connack(version=version)),
        (PacketType.SUBACK, lambda version: wire.suback(1, b"\0", version=version)),
        (PacketType.UNSUBACK, lambda version: wire.unsuback(1, b"\0", version=version)),
        (PacketType.PINGRESP, lambda version: wire.PINGRESP),
    ]
    for kind, packet in up:
        yield Try(f"{hook} up", packet, kind)
    for kind, packet in [*down, *up[1:6]]:
        yield Try(f"{hook} down", packet, kind)
    yield Try(f"{hook} down", lambda version: wire.disconnect(0x8B), PacketType.DISCONNECT, (5,))
    yield Try(f"{hook} up", lambda version: wire.auth(0x18, METHOD), PacketType.AUTH, (5,))
    yield Try(f"{hook} down", lambda version: wire.auth(0x18, METHOD), PacketType.AUTH, (5,))


PLACES: dict[str, list[Try]] = {
    "mgate.mqtt.connecting.judge_connect": [Try("auth_connect", lambda version: connect(version=version))],
    "mgate.mqtt.connecting._judge_will": [
        Try("auth_publish", lambda version: connect(version=version, will=wire.Will())),
    ],
    "mgate.mqtt.steps.publish": [*messages("auth_publish", 0, 1), *messages("auth_deliver", 0, 1)],
    "mgate.mqtt.publishing.judge": [*messages("auth_publish", 2), *messages("auth_deliver", 2)],
    "mgate.mqtt.subscribing.judge_subscribe": [
        Try("auth_subscribe", lambda version: subscribe("a", "b", version=version)),
    ],
    "mgate.mqtt.relay._intercepted": [*intercepted("before"), *intercepted("after")],
}


async def coroutine(answer: Any = None, error: Exception | None = None) -> Any:
    if error is not None:
        raise error
    return answer


def raises(error: Exception) -> Callable[[], Any]:
    def behave() -> Any:
        raise error

    return behave


FAULTS: dict[str, Callable[[], Any]] = {
    "raises": raises(ValueError("broken")),
    "raises StopIteration": raises(StopIteration()),
    "a coroutine that raises": lambda: coroutine(error=LookupError("broken")),
    "a Deferred that failed": lambda: fail(OSError("gone")),
    "str": lambda: "yes",
    "1": lambda: 1,
    "0": lambda: 0,
    "bytes": lambda: b"yes",
    "object": object,
    "the wrong kind of answer": lambda: [Message("a")],
    "a class": lambda: Message,
    "a coroutine of str": lambda: coroutine("yes"),
    "a Deferred of 1": lambda: succeed(1),
}


class Trial:
    """A connection that is about to send one packet through a place.

    Attributes:
        asked: how often the handler was asked about it.
        seen: the functions that were running then.
    """

    def __init__(self, one: Try, version: int, behave: Callable[[], Any]) -> None:
        self.asked = 0
        self.seen: set[str] = set()
        self.version = version
        self._behave = behave
        self._kind = one.kind
        name, _, direction = one.hook.partition(" ")
        self.direction = DOWNLINK if one.hook == "auth_deliver" or direction == "down" else UPLINK
        if direction:
            self.connection = Connection(interceptor(**{name: self._intercept}), version=version)
        else:
            self.connection = Connection(handler(**{name: lambda session, *_: self._ask()}), version=version)
        self.packet = one.packet(version)
        opening = self.packet[0] >> 4
        self._ready = False
        if opening != PacketType.CONNECT:
            self.connection.up(connect(version=version, props=METHOD))
            if opening != PacketType.CONNACK:
                self.connection.down(connack(version=version))
        self._ready = True

    def _intercept(self, session: Any, packet: Any, direction: Any) -> Any:
        return self._ask() if packet.type is self._kind and direction is self.direction else None

    def _ask(self) -> Any:
        if not self._ready:
            return None
        self.asked += 1
        frame = sys._getframe()
        while frame.f_back is not None:
            frame = frame.f_back
            self.seen.add(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")
        return self._behave()

    def run(self) -> bytes:
        """Send the packet. Returns what the far side got."""
        sent = self.connection.up(self.packet) if self.direction is UPLINK else self.connection.down(self.packet)
        return self.far(sent)

    def far(self, sent: Any) -> bytes:
        """What the far side got, but for what the gateway itself tells a device at the end."""
        if self.direction is UPLINK:
            return bytes(sent.to_target)
        own = [one for one in wire.packets(sent.to_device)[0] if self.connection.closing and one[0] in (0x20, 0xE0)]
        refusals = [one for one in own if one[0] == 0xE0 or one[3]]
        return b"".join(one for one in wire.packets(sent.to_device)[0] if one not in refusals)


def trials(behave: Callable[[], Any]) -> Iterator[tuple[str, Try, Trial]]:
    for place, tries in PLACES.items():
        for one in tries:
            for version in one.versions:
                yield place, one, Trial(one, version, behave)


HTTP_PLACES = {
    f"mgate.http.exchange.{name}"
    for name in ("authorise", "judge", "judge_answer", "_intercepted", "_intercepted_answer")
}
"""Where requests are judged; what becomes of faults there is tested in tests/http/test_exchange.py."""


class PlacesTests(TestCase):
    def test_each_has_its_rows(self) -> None:
        self.assertEqual(places(ROOT), set(PLACES) | HTTP_PLACES)

    def test_each_hook_that_admits_has_one(self) -> None:
        hooks = {one.hook.partition(" ")[0] for tries in PLACES.values() for one in tries}
        judges = {name for name in dir(handler()) if name.startswith("auth_")}
        self.assertEqual(hooks, judges | {"before", "after"})

    def test_what_asks_is_named_here(self) -> None:
        """A `Hook` has no other method that runs a handler."""
        public = {name for name in vars(Hook) if not name.startswith("_")}
        self.assertEqual(public, {"ask", "decide", "refusal", "late"}, "and the attribute call")

    def test_a_new_place_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mgate" / "mqtt" / "new.py"
            path.parent.mkdir(parents=True)
            path.write_text("class A:\n    def judge(self, hook):\n        ask = hook.call\n        return ask(1)\n")
            self.assertEqual(places(Path(folder)), {"mgate.mqtt.new.judge"})
            self.assertNotIn("mgate.mqtt.new", LAYERS)

    def test_the_rows_go_where_they_say(self) -> None:
        for place, one, trial in trials(lambda: None):
            with self.subTest(place, hook=one.hook, kind=one.kind, version=trial.version):
                self.assertEqual(trial.run(), trial.packet, "admitted, it passes")
                self.assertEqual(trial.asked, 1)
                self.assertIn(place, trial.seen)


class FaultTests(RelayTest):
    def check_closed(self, trial: Trial) -> None:
        self.assertEqual(trial.connection.counters.rejects, {"handler_fault": 1})
        self.assertEqual(trial.connection.counters.handler_faults, 1)
        self.assertEqual(len(trial.connection.notebook.faults), 1)

    def test_faults(self) -> None:
        for name, behave in FAULTS.items():
            for place, one, trial in trials(behave):
                with self.subTest(place, fault=name, hook=one.hook, kind=one.kind, version=trial.version):
                    self.assertEqual(trial.run(), b"")
                    self.assertEqual(trial.asked, 1)
                    self.check_closed(trial)

    def test_false_refuses_and_is_no_fault(self) -> None:
        for place, one, trial in trials(lambda: False):
            with self.subTest(place, hook=one.hook, kind=one.kind, version=trial.version):
                self.assertEqual(trial.run(), b"")
                self.assertEqual(trial.connection.counters.rejects, {"not_authorised": 1})

    def test_hangs(self) -> None:
        for place, one, trial in trials(Deferred):
            with self.subTest(place, hook=one.hook, kind=one.kind, version=trial.version):
                self.assertEqual(trial.run(), b"", "not before it has answered")
                self.assertEqual(trial.far(trial.connection.late(trial.direction)), b"")
                self.check_closed(trial)

    def test_fails_later(self) -> None:
        for name, error in (("raises", ValueError("broken")), ("times out by itself", TimedOut("slow"))):
            wait: list[Deferred[Any]] = []

            def ask(wait: list[Deferred[Any]] = wait) -> Deferred[Any]:
                wait.append(Deferred())
                return wait[-1]

            for place, one, trial in trials(ask):
                with self.subTest(place, fault=name, hook=one.hook, kind=one.kind, version=trial.version):
                    self.assertEqual(trial.run(), b"")
                    wait[-1].errback(error)
                    self.assertEqual(trial.far(trial.connection.sent()), b"")
                    self.check_closed(trial)

    def test_answers_too_late(self) -> None:
        """After the time was up, and after the connection was over."""
        for over in (False, True):
            wait: list[Deferred[Any]] = []

            def ask(wait: list[Deferred[Any]] = wait) -> Deferred[Any]:
                wait.append(Deferred(lambda deferred: deferred.callback(None)))
                return wait[-1]

            for place, one, trial in trials(ask):
                with self.subTest(place, over=over, hook=one.hook, kind=one.kind, version=trial.version):
                    trial.run()
                    if over:
                        trial.connection.relay.closed("device_lost")
                    else:
                        self.assertEqual(trial.far(trial.connection.late(trial.direction)), b"")
                    self.assertTrue(wait[-1].called)
                    self.assertEqual(trial.far(trial.connection.sent()), b"")
