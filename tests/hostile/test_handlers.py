"""Handlers that raise, hang, answer nonsense or answer late: refused, nothing forwarded, and others are served.

`JUDGES` names every hook that admits; a test fails when `Handler` gains one that is not tested here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, fail, succeed

from mgate.handler import Denied, Filter, Handler, Message
from mgate.limits import Limits
from tests import wire
from tests.gateway import WITNESS, Flood, Gateway, eventually
from tests.hostile.refusals import HostileTest
from tests.wire import connack, connect, puback, pubcomp, publish, pubrec, pubrel, suback, subscribe

reactor: Any = installed_reactor

JUDGES = {"auth_connect", "auth_publish", "auth_subscribe", "auth_deliver"}
NOTICES = ("connect", "publish", "subscribe", "unsubscribe", "disconnect")

Behaviour = Callable[[], Any]


def handler(**hooks: Behaviour) -> Handler:
    """A handler whose `hooks` do the same for everybody but the witness."""

    def method(behaviour: Behaviour) -> Callable[..., Any]:
        return lambda self, session, *arguments: None if session.id == WITNESS else behaviour()

    return type("Faulty", (Handler,), {name: method(behaviour) for name, behaviour in hooks.items()})()  # type: ignore[no-any-return]


def raising(error: BaseException) -> Behaviour:
    def behave() -> Any:
        raise error

    return behave


async def _coroutine(answer: Any) -> Any:
    return answer


async def _raising_coroutine() -> Any:
    raise LookupError("from a coroutine")


RAISES: dict[str, Behaviour] = {
    "ValueError": raising(ValueError("broken handler")),
    "KeyError": raising(KeyError("missing")),
    "RecursionError": raising(RecursionError()),
    "StopIteration": raising(StopIteration()),
    "an error whose text raises": raising(type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})()),
    "coroutine": _raising_coroutine,
    "Deferred": lambda: fail(OSError("database is gone")),
}

WRONG: dict[str, Behaviour] = {
    "str": lambda: "yes",
    "1": lambda: 1,
    "0": lambda: 0,
    "bytes": lambda: b"ok",
    "dict": dict,
    "tuple": tuple,
    "object": object,
    "the exception class": lambda: Denied,
    "a function": lambda: raising,
    "coroutine of str": lambda: _coroutine("yes"),
    "coroutine of 1": lambda: _coroutine(1),
    "Deferred of str": lambda: succeed("yes"),
    "coroutine function": lambda: _coroutine,
}


class Faults(HostileTest):
    """X01, X02, X04 for every hook that admits."""

    async def refused_everywhere(self, behaviours: dict[str, Behaviour], limits: Limits | None = None) -> None:
        """Each behaviour, in each hook, is a fault: counted, reported, and nothing goes up."""
        problems = []
        for name, behaviour in behaviours.items():
            for hook in sorted(JUDGES):
                gateway = await self.gateway(handler(**{hook: behaviour}), limits=limits)
                for version in (3, 4, 5):
                    try:
                        await getattr(self, f"refused_by_{hook}")(gateway, version)
                    except AssertionError as error:
                        problems.append(f"{hook} {name} version {version}: {error}")
                        gateway.forget()
                    await gateway.settle()
        if problems:
            self.fail("\n".join(problems))

    async def refused_by_auth_connect(self, gateway: Gateway, version: int) -> None:
        faults, dials = gateway.counters.rejects.get("handler_fault", 0), gateway.counters.target_dials
        device = await gateway.device()
        device.send(connect(version=version) + publish("behind", version=version))
        self.check_connack(await device.read_until_closed(), version, [0x83 if version == 5 else 5])
        self.assertEqual(gateway.counters.target_dials, dials, "nobody is dialled")
        self.check_faults(gateway, faults + 1, "auth_connect")

    async def refused_by_auth_publish(self, gateway: Gateway, version: int) -> None:
        faults, dials = gateway.counters.rejects.get("handler_fault", 0), gateway.counters.target_dials
        device = await gateway.device()
        device.send(connect(version=version, will=wire.Will()))
        self.check_connack(await device.read_until_closed(), version, [0x83 if version == 5 else 5])
        self.assertEqual(gateway.counters.target_dials, dials, "a will that was not admitted dials nobody")
        device = await gateway.connected(version=version)
        device.send(publish("a", version=version) + publish("a", qos=1, packet_id=1, version=version))
        first = await device.read_packet()
        device.send(publish("a", qos=2, packet_id=2, version=version))
        second = await device.read_packet()
        if version == 5:
            self.assertEqual((first[0], first[2:5]), (0x40, b"\x00\x01\x83"))
            self.assertEqual((second[0], second[2:5]), (0x50, b"\x00\x02\x83"))
        else:
            self.assertEqual((first, second), (puback(1), pubrec(2)), "acknowledged and dropped")
            device.send(publish("a", qos=2, packet_id=2, dup=True, version=version) + pubrel(2))
            self.assertEqual(await device.read_packet(), pubrec(2), "again, the same")
            self.assertEqual(await device.read_packet(), pubcomp(2), "finished by the gateway")
        await self.check_nothing_went_up(device)
        self.assertGreaterEqual(gateway.counters.rejects.get("handler_fault", 0), faults + 4)

    async def refused_by_auth_subscribe(self, gateway: Gateway, version: int) -> None:
        faults = gateway.counters.rejects.get("handler_fault", 0)
        device = await gateway.connected(version=version)
        device.send(subscribe("a", "b", packet_id=5, version=version))
        if version == 3:
            self.assertEqual(await device.read_until_closed(), b"", "3.1 has no code for it")
        else:
            answer = await device.read_packet()
            code = b"\x83" if version == 5 else b"\x80"
            self.assertEqual((answer[0], answer[2:4], answer[-2:]), (0x90, b"\x00\x05", code * 2))
            await self.check_nothing_went_up(device)
        self.check_faults(gateway, faults + 1, "auth_subscribe")

    async def refused_by_auth_deliver(self, gateway: Gateway, version: int) -> None:
        faults = gateway.counters.rejects.get("handler_fault", 0)
        device = await gateway.connected(version=version)
        down = [publish("a", qos=qos, packet_id=40 + qos, version=version) for qos in (0, 1, 2)]
        device.uplink.send(b"".join(down))
        await device.uplink.expect(puback(41), pubrec(42), pubcomp(42))
        device.uplink.send(wire.PINGRESP)
        self.assertEqual(await device.read_packet(), wire.PINGRESP, "none of the messages was delivered")
        self.check_faults(gateway, faults + 3, "auth_deliver")

    def check_faults(self, gateway: Gateway, count: int, hook: str) -> None:
        self.assertEqual(gateway.counters.rejects.get("handler_fault", 0), count, "faults counted as refusals")
        self.assertGreaterEqual(gateway.counters.handler_faults, count)
        self.assertEqual({(one[0], one[1]) for one in gateway.journal.faults}, {("Faulty", hook)})

    def test_every_hook_that_admits_is_tried(self) -> None:
        self.assertEqual({name for name in vars(Handler) if name.startswith("auth_")}, JUDGES)
        self.assertEqual({name for name in vars(Handler) if not name.startswith(("_", "auth_"))}, set(NOTICES))
        for hook in JUDGES:
            self.assertTrue(hasattr(self, f"refused_by_{hook}"))

    async def test_x01_handler_raises(self) -> None:
        await self.refused_everywhere(RAISES)

    async def test_x01_handler_that_wants_to_stop_the_process(self) -> None:
        for error in (SystemExit(3), GeneratorExit(), KeyboardInterrupt()):
            gateway = await self.gateway(handler(auth_publish=raising(error)))
            for version in (3, 4, 5):
                device = await gateway.connected(version=version)
                device.send(publish("a", qos=1, version=version))
                await device.until(lambda device=device: device.closed or bool(device.unread), "answer or close")
                self.assertEqual(device.uplink.behind_connect, b"")
                await gateway.settle()
                self.flushLoggedErrors(type(error))

    async def test_x02_handler_hangs(self) -> None:
        cancelled: list[Any] = []
        await self.refused_everywhere(
            {"Deferred": lambda: Deferred(cancelled.append), "coroutine": lambda: _waiting(Deferred(cancelled.append))},
            Limits(handler_timeout=0.05),
        )
        self.assertGreaterEqual(len(cancelled), 2 * 4 * 3, "every Deferred was cancelled")

    async def test_x02_late_answer_is_ignored(self) -> None:
        asked: list[Deferred[Any]] = []

        def ask() -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        gateway = await self.gateway(handler(auth_publish=ask), limits=Limits(handler_timeout=0.05))
        for version in (4, 5):
            device = await gateway.connected(version=version)
            device.send(publish("late", qos=1, version=version))
            answer = await device.read_packet()
            self.assertEqual(answer[0], 0x40)
            late = asked.pop()
            self.assertTrue(late.called, "cancelled")
            late.callback(None)
            await self.check_nothing_went_up(device)

    async def test_x03_handler_blocks_the_thread(self) -> None:
        gateway = await self.gateway(handler(auth_publish=lambda: time.sleep(0.2)))
        for version in (4, 5):
            device = await gateway.connected(version=version)
            message = publish("a", qos=1, version=version)
            device.send(message)
            await device.uplink.expect(message)

    async def test_x04_wrong_type(self) -> None:
        await self.refused_everywhere(WRONG)

    async def test_x04_wrong_type_where_another_hook_may_answer_so(self) -> None:
        gateway = await self.gateway(handler(auth_connect=lambda: Message("a", b"b"), auth_publish=lambda: ["a"]))
        for version in (4, 5):
            await self.refused_by_auth_connect(gateway, version)
        for answer in ([], ["a"], ["a", "b", "c"], ["a", None], ["a", 1], [[], "b"], [b"a", b"b"], Message("a", b"b")):
            gateway = await self.gateway(handler(auth_subscribe=lambda answer=answer: answer))
            for version in (4, 5):
                await self.refused_by_auth_subscribe(gateway, version)

    async def test_x04_false_is_a_plain_refusal(self) -> None:
        gateway = await self.gateway(handler(auth_connect=lambda: False))
        for version in (3, 4, 5):
            device = await gateway.device()
            device.send(connect(version=version))
            self.check_connack(await device.read_until_closed(), version, [0x87 if version == 5 else 5])
        self.assertEqual(gateway.counters.rejects, {"not_authorised": 3})
        self.assertEqual(gateway.journal.faults, [])

    async def test_x04_none_and_true_admit(self) -> None:
        for behaviour in (lambda: None, lambda: True, lambda: _coroutine(None), lambda: succeed(True)):
            gateway = await self.gateway(handler(**dict.fromkeys(JUDGES, behaviour)))
            for version in (3, 4, 5):
                device = await gateway.connected(version=version, will=wire.Will())
                sent = [publish("a", qos=2, version=version), subscribe("a", version=version)]
                device.send(b"".join(sent))
                await device.uplink.expect(*sent)
                device.uplink.send(publish("down", version=version))
                await device.until(lambda device=device: b"down" in device.unread, "delivery")
            self.assertEqual(gateway.refusals, 0)

    async def test_x01_notifications_that_raise_change_nothing(self) -> None:
        for name, behaviour in (RAISES | {"str": lambda: "yes"}).items():
            gateway = await self.gateway(handler(**dict.fromkeys(NOTICES, behaviour)))
            for version in (3, 4, 5):
                device = await gateway.connected(version=version)
                device.send(publish("a", qos=1, version=version) + subscribe("a", packet_id=2, version=version))
                self.assertEqual(await device.read_packet(), puback(1), name)
                self.assertEqual(await device.read_packet(), suback(2, b"\x00", version=version))
                device.send(wire.unsubscribe("a", packet_id=3, version=version) + wire.DISCONNECT)
                await device.uplink.until(lambda device=device: device.uplink.closed, "close")
            self.assertEqual(gateway.refusals, 0)
            if name != "str":
                self.assertEqual({one[1] for one in gateway.journal.faults}, set(NOTICES), name)


async def _waiting(deferred: Deferred[Any]) -> Any:
    return await deferred


class Asking:
    """A hook whose answers the test gives: `questions` are the Deferreds that are open."""

    def __init__(self) -> None:
        self.questions: list[Deferred[Any]] = []

    def __call__(self) -> Deferred[Any]:
        self.questions.append(Deferred())
        return self.questions[-1]

    async def asked(self, count: int = 1) -> None:
        """Wait until the hook was called so often."""
        await eventually(lambda: len(self.questions) >= count, lambda: f"{len(self.questions)} of {count} questions")


class Waiting(HostileTest):
    """X05-X09: what happens around a handler that thinks."""

    async def test_x05_answer_after_the_device_left(self) -> None:
        for version in (4, 5):
            for leave in ("reset", "close"):
                asking = Asking()
                gateway = await self.gateway(handler(auth_connect=asking))
                device = await gateway.device()
                device.send(connect(version=version))
                await asking.asked()
                getattr(device, leave)()
                await gateway.released()
                self.assertTrue(asking.questions[0].called, "cancelled: nobody waits for it any more")
                asking.questions[0].callback(None)
                await self.turn()
                self.assertEqual(gateway.counters.target_dials, 0)

    async def test_x05_answer_to_a_publish_after_the_device_left(self) -> None:
        for version in (4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking))
            device = await gateway.connected(version=version)
            device.send(publish("a", version=version))
            await asking.asked()
            device.reset()
            await gateway.released()
            asking.questions[0].callback(None)
            await self.turn()
            self.assertEqual(device.uplink.behind_connect, b"")

    async def test_x05_answer_after_the_target_left(self) -> None:
        for version in (4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking))
            device = await gateway.connected(version=version)
            device.send(publish("a", qos=1, version=version))
            await asking.asked()
            device.uplink.reset()
            await gateway.released()
            asking.questions[0].callback(None)
            await self.turn()
            self.assertNotIn(b"\x40", device.received[4:5], "not acknowledged")

    async def test_x06_fires_twice(self) -> None:
        from twisted.internet.defer import AlreadyCalledError

        for version in (4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking))
            device = await gateway.connected(version=version)
            message = publish("a", version=version)
            device.send(message + message)
            await asking.asked()
            asking.questions[0].callback(None)
            self.assertRaises(AlreadyCalledError, asking.questions[0].callback, None)
            await device.uplink.expect(message)
            await asking.asked(2)
            self.assertEqual(device.uplink.packets[1:], [message], "the second waits for its own answer")
            asking.questions[1].callback(True)
            await device.uplink.expect(message, message)

    async def test_x07_order_is_kept_behind_a_slow_answer(self) -> None:
        for version in (3, 4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking))
            device = await gateway.connected(version=version)
            sent = [publish(f"t/{number}", qos=number % 3, packet_id=7, version=version) for number in range(3)]
            sent += [wire.PINGREQ, subscribe("a", version=version)]
            device.send(b"".join(sent))
            for number in range(3):
                await asking.asked(number + 1)
                await device.uplink.expect(*sent[:number])
                await self.turn()
                self.assertEqual(device.uplink.packets[1:], sent[:number], "nothing overtakes, not even a ping")
                asking.questions[number].callback(None)
            await device.uplink.expect(*sent)

    async def test_x07_order_is_kept_behind_a_slow_connect(self) -> None:
        for version in (3, 4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_connect=asking))
            device = await gateway.device()
            sent = [connect(version=version), publish("a", version=version), wire.PINGREQ]
            device.send(sent[0] + sent[1])
            await asking.asked()
            device.send(sent[2])
            await self.turn()
            self.assertEqual(gateway.counters.target_dials, 0)
            asking.questions[0].callback(None)
            side = await gateway.target.accepted()
            await side.expect(*sent[1:])
            self.assertEqual(side.packets[0], sent[0])

    async def test_x07_denied_after_a_while(self) -> None:
        for version in (4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking))
            device = await gateway.connected(version=version)
            device.send(publish("no", qos=1, version=version) + publish("yes", version=version))
            await asking.asked()
            asking.questions[0].errback(Denied("not authorised"))
            await asking.asked(2)
            asking.questions[1].callback(None)
            await device.uplink.expect(publish("yes", version=version))
            answer = await device.read_packet()
            self.assertEqual(answer[2:5], b"\x00\x01\x87" if version == 5 else b"\x00\x01")

    async def test_x07_reading_pauses(self) -> None:
        for version in (4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking), limits=Limits(handler_timeout=20))
            device = await gateway.connected(version=version)
            device.send(publish("slow", version=version))
            await asking.asked()
            await Flood(device, wire.unsubscribe(b"a" * 16_000, version=version), 8 << 20).stalled()
            self.assertEqual(device.uplink.packets[1:], [])
            asking.questions[0].callback(None)

    async def test_x07_keep_alive_stops_while_we_wait(self) -> None:
        asking = Asking()
        gateway = await self.gateway(handler(auth_publish=asking), limits=Limits(handler_timeout=20))
        device = await gateway.connected(keep_alive=1)
        device.send(publish("a", qos=1))
        await asking.asked()
        reactor.callLater(2.2, asking.questions[0].callback, None)
        await device.until(lambda: bool(device.unread) or device.closed, "answer", 4)
        self.assertEqual(await device.read_packet(), puback(1), "still open after two keep alives")

    async def test_x07_downlink_goes_on_while_the_uplink_waits(self) -> None:
        for version in (4, 5):
            asking = Asking()
            gateway = await self.gateway(handler(auth_publish=asking))
            device = await gateway.connected(version=version)
            device.send(publish("a", version=version))
            await asking.asked()
            down = publish("down", version=version)
            device.uplink.send(down)
            self.assertEqual(await device.read_packet(), down)
            asking.questions[0].callback(None)

    async def test_x08_changed_to_what_cannot_be_sent(self) -> None:
        edits = {
            "wildcard #": Message(topic="a/#"),
            "wildcard +": Message(topic="+"),
            "empty": Message(topic=""),
            "NUL": Message(topic="a\x00"),
            "surrogate": Message(topic="a\ud800"),
            "65,536 bytes": Message(topic="a" * 65536),
            "200 levels": Message(topic="a/" * 200),
            "topic of bytes": Message(topic=b"a"),  # type: ignore[arg-type]
            "payload of str": Message(payload="text"),  # type: ignore[arg-type]
            "payload over the limit": Message(payload=bytes(2 << 20)),
            "QoS 3": Message(qos=3),
            "QoS raised": Message(qos=2),
            "QoS of str": Message(qos="1"),  # type: ignore[arg-type]
        }
        problems = []
        for name, edit in edits.items():
            gateway = await self.gateway(handler(auth_publish=lambda edit=edit: edit))
            for version in (3, 4, 5):
                try:
                    await self.refused_edit(gateway, version)
                except AssertionError as error:
                    problems.append(f"{name}, version {version}: {str(error)[:200]}")
            await gateway.settle()
        self.assertEqual(problems, [])

    async def refused_edit(self, gateway: Gateway, version: int) -> None:
        before = gateway.refusals
        device = await gateway.connected(version=version)
        device.send(publish("a", qos=1, packet_id=3, version=version))
        answer = await device.read_packet()
        self.assertEqual((answer[0], answer[2:4]), (0x40, b"\x00\x03"))
        if version == 5:
            self.assertIn(answer[4] if len(answer) > 4 else 0, (0x83, 0x90, 0x97))
        await self.check_nothing_went_up(device)
        self.assertEqual(gateway.refusals - before, 1)

    async def test_x08_filter_changed_to_what_cannot_be_sent(self) -> None:
        edits: tuple[Any, ...] = ("a/#/b", "a+", "", "a\x00", "a\ud800", "a" * 65536)
        edits += (Filter("#a"), Filter("a", qos=3), Filter("a", qos=2))
        for edit in edits:
            gateway = await self.gateway(handler(auth_subscribe=lambda edit=edit: [edit, "fine"]))
            for version in (4, 5):
                device = await gateway.connected(version=version)
                device.send(subscribe("x", "y", packet_id=5, version=version, options=1))
                answer = await device.read_packet()
                self.assertEqual((answer[0], answer[2:4]), (0x90, b"\x00\x05"))
                self.assertGreaterEqual(answer[-2], 0x80, f"{edit!r:.20} was granted")
                for sent in device.uplink.packets[1:]:
                    self.assertEqual(sent, subscribe("fine", packet_id=5, version=version, options=1))

    async def test_x08_session_changed_to_what_cannot_be_sent(self) -> None:
        changes: dict[str, dict[str, Any]] = {
            "client identifier too long": {"id": "c" * 70_000},
            "client identifier with NUL": {"id": "a\x00"},
            "client identifier None": {"id": None},
            "user name with surrogate": {"username": "\ud800"},
            "user name of bytes": {"username": b"u"},
            "password of str": {"password": "secret"},
            "will topic with wildcard": {"will": Message("a/#", b"", 0, False)},
            "will topic empty": {"will": Message("", b"", 0, False)},
        }

        class Changing(Handler):
            change: dict[str, Any] = {}

            def auth_connect(self, session: Any) -> None:
                if session.id != WITNESS:
                    for name, value in self.change.items():
                        setattr(session, name, value)

        changing = Changing()
        gateway = await self.gateway(changing)
        for name, changing.change in changes.items():
            for version in (3, 4, 5):
                device = await gateway.device()
                device.send(connect(version=version))
                answer = await device.read_until_closed()
                self.assertEqual(answer[:1], b"\x20", name)
                self.assertNotEqual(answer[3], 0, name)
        await gateway.released()
        self.assertEqual([bytes(side.received) for side in gateway.target.sides], [], "nothing went up")

    async def test_x09_others_are_not_delayed(self) -> None:
        asking = Asking()
        slow = handler(auth_connect=asking, auth_publish=asking)
        gateway = await self.gateway(slow)
        waiting = await gateway.device()
        waiting.send(connect("slow"))
        await asking.asked()
        started = reactor.seconds()
        await gateway.serve_another()
        self.assertLess(reactor.seconds() - started, 1.0)
        self.assertEqual(waiting.received, b"")
        asking.questions[0].callback(None)
        self.assertEqual(await waiting.read_packet(), connack())
