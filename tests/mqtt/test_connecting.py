"""From the first byte to CONNACK: who may come in, as whom, with which will; and how it is told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mgate.errors import Denied, Kind, Malformed, TargetLost
from mgate.handler import Message
from mgate.limits import Limits
from mgate.mqtt.choices import Choices
from mgate.mqtt.connecting import OPEN
from mgate.mqtt.packets import Publish
from mgate.mqtt.properties import Properties, PropertyId
from mgate.session import Session
from tests import wire
from tests.mqtt.relays import Asking, Connection, RelayTest, Sent, handler, interceptor, opened
from tests.wire import DISCONNECT, PINGREQ, Will, auth, connack, connect, publish

VERSIONS = (3, 4, 5)
METHOD = b"\x15" + wire.text("SCRAM")
ASSIGNED = b"\x12" + wire.text("given")
DELAY = b"\x18" + wire.integer(30)


def reason(text: str) -> bytes:
    return b"\x1f" + wire.text(text)


def no(version: int, code3: int, code5: int, text: str = "") -> bytes:
    """A CONNACK that refuses."""
    if version < 5:
        return connack(code3)
    return connack(code5, version=5, props=reason(text) if text else b"")


def sets(**fields: Any) -> Any:
    """An `auth_connect` that changes the session."""

    def hook(session: Session) -> None:
        for name, value in fields.items():
            setattr(session, name, value)

    return hook


def refuse(*arguments: Any) -> Any:
    raise Denied("not authorised", "no")


class AdmittedTests(RelayTest):
    def test_as_it_came(self) -> None:
        for version in VERSIONS:
            for hooks in ({}, {"auth_connect": lambda *_: None}, {"auth_publish": lambda *_: True}):
                for fields in (
                    {}, {"username": "u", "password": b"\xff"}, {"clean": False, "keep_alive": 60},
                    {"will": Will("w", b"gone", 2, True, DELAY)},
                ):  # fmt: skip
                    packet = connect(version=version, **fields)
                    connection = Connection(handler(**hooks), version=version)
                    self.check(connection.up(packet), to_target=packet)

    def test_what_the_handler_sees(self) -> None:
        seen: list[Any] = []

        def look(session: Session) -> None:
            seen.append((session.version, session.id, session.username, session.password, session.clean_start,
                         session.keep_alive, session.will, session.properties, session.peer.host))  # fmt: skip

        for version in VERSIONS:
            connection = opened(
                handler(auth_connect=look, connect=look), version=version, client_id="d", username="u", password=b"p",
                clean=False, keep_alive=9, will=Will("w", b"gone", 1, True, DELAY), props=wire.user_property("k", "v"),
            )  # fmt: skip
            will_properties = Properties([(24, 30)]) if version == 5 else None
            properties = Properties([(38, ("k", "v"))]) if version == 5 else None
            will = Message("w", b"gone", 1, True, will_properties)
            row = (version, "d", "u", b"p", False, 9, will, properties, "192.0.2.1")
            self.assertEqual(seen, [row, row])
            self.assertEqual((connection.session.will, connection.session.properties), (None, None), "let go")
            seen.clear()

    def test_edits(self) -> None:
        for version in VERSIONS:
            for fields, went in (
                ({"id": "t/ü"}, {"client_id": "t/ü", "username": "u", "password": b"p"}),
                ({"username": "x"}, {"username": "x", "password": b"p"}),
                ({"password": b"\0"}, {"username": "u", "password": b"\0"}),
                ({"password": None}, {"username": "u"}),
                ({"password": None, "username": None}, {}),
                (
                    {"will": Message("w", b"x", 1, True)},
                    {"username": "u", "password": b"p", "will": Will("w", b"x", 1, True)},
                ),
            ):
                with self.subTest(fields, version=version):
                    connection = Connection(handler(auth_connect=sets(**fields)), version=version)
                    sent = connection.up(connect(version=version, username="u", password=b"p", props=b"\x17\1"))
                    self.check(sent, to_target=connect(version=version, props=b"\x17\1", **went))

    def test_each_handler_sees_the_edits_before_it(self) -> None:
        seen: list[str] = []
        connection = Connection(
            handler(auth_connect=sets(id="b")), handler(auth_connect=lambda session: seen.append(session.id))
        )
        self.check(connection.up(connect("a")), to_target=connect("b"))
        self.assertEqual(seen, ["b"])

    def test_edits_that_cannot_be_sent(self) -> None:
        rows: list[tuple[int, dict[str, Any]]] = [
            *((version, {"id": value}) for version in VERSIONS for value in ("\0", "\ud800", 5, None, "x" * 70_000)),
            *((version, {"username": value}) for version in VERSIONS for value in ("\0", b"u", 5)),
            *((version, {"password": value}) for version in VERSIONS for value in ("text", 5)),
            *((version, {"username": None}) for version in (3, 4)),
            (3, {"id": ""}), (4, {"id": "", "will": None}),
        ]  # fmt: skip
        for version, fields in rows:
            with self.subTest(repr(fields)[:40], version=version):
                connection = Connection(handler(auth_connect=sets(**fields)), version=version)
                sent = connection.up(connect(version=version, clean=False, username="u", password=b"p"))
                self.check(sent, to_device=no(version, 5, 0x83))
                self.check_refused(connection, "handler_fault", "auth_connect")


class DeniedTests(RelayTest):
    def test_nothing_goes_up(self) -> None:
        for version in VERSIONS:
            connection = Connection(handler(auth_connect=refuse), version=version)
            packets = connect(version=version), publish(version=version)
            self.check(connection.up(*packets), to_device=no(version, 5, 0x87, "no"))
            self.assertIsInstance(connection.closing, Denied)
            self.check(connection.up(*packets))
            self.check_refused(connection, "not_authorised", "auth_connect")

    def test_words_that_do_not_fit_are_left_out(self) -> None:
        """A Maximum Packet Size holds from the CONNECT on [MQTT-3.2.2-19] [MQTT-3.14.2-3]."""
        cut_off = Choices(denied_publish="disconnect")
        for size, told in ((10, "no"), (9, "")):
            props = b"\x27" + wire.integer(size)
            connection = Connection(handler(auth_connect=refuse), version=5)
            self.check(connection.up(connect(version=5, props=props)), to_device=no(5, 5, 0x87, told))
        for size, told in ((9, reason("no")), (8, None)):
            props = b"\x27" + wire.integer(size)
            connection = opened(handler(auth_publish=refuse), version=5, props=props, choices=cut_off)
            self.check(connection.up(publish(version=5)), to_device=wire.disconnect(0x87, told))

    def test_later(self) -> None:
        for version in VERSIONS:
            asking = Asking()
            connection = Connection(handler(auth_connect=asking), version=version)
            self.check(connection.up(connect(version=version)))
            self.check(connection.up(publish(version=version)))
            asking.refuse(Denied(Kind.BAD_CREDENTIALS))
            self.check(connection.sent(), to_device=no(version, 4, 0x86))

    def test_too_late(self) -> None:
        for version in VERSIONS:
            asking = Asking()
            connection = Connection(handler(auth_connect=asking), version=version)
            connection.up(connect(version=version))
            self.check(connection.late(), to_device=no(version, 5, 0x83))
            self.check_refused(connection, "handler_fault", "auth_connect")

    def test_a_forgotten_await(self) -> None:
        """The coroutine that was not awaited might have refused: its CONNECT is not admitted."""
        asking = Asking()

        async def check(session: Session) -> bool:
            await asking(session)
            return False

        async def hook(session: Session) -> Any:
            await asking(session)
            forgotten = check(session)
            self.addCleanup(forgotten.close)
            return forgotten

        connection = Connection(handler(auth_connect=hook))
        connection.up(connect())
        asking.admit()
        self.check(connection.sent(), to_device=connack(5))
        self.check_refused(connection, "handler_fault", "auth_connect")


class WillTests(RelayTest):
    """A will is a message of the device: it is judged when it is left, at CONNECT."""

    will = Will("w", b"gone", 1, True, DELAY)

    def connect(self, *plugins: Any, version: int = 4, choices: Choices | None = None, **fields: Any) -> Sent:
        self.connection = Connection(*plugins, version=version, **({"choices": choices} if choices else {}))
        return self.connection.up(connect(version=version, **({"will": self.will} | fields)))

    def test_denied(self) -> None:
        for version in VERSIONS:
            for answer in (refuse, lambda *_: False):
                text = "no" if answer is refuse else ""
                sent = self.connect(handler(auth_publish=answer), version=version)
                self.check(sent, to_device=no(version, 5, 0x87, text))
                self.check_refused(self.connection, "not_authorised", "auth_publish")

    def test_stripped(self) -> None:
        for version in VERSIONS:
            for hook in (refuse, lambda *_: 1):
                sent = self.connect(handler(auth_publish=hook), version=version, choices=Choices(denied_will="strip"))
                self.check(sent, to_target=connect(version=version))
                self.assertIsNone(self.connection.session.will)
                self.assertEqual(len(self.connection.notebook.refusals), 1)

    def test_rewritten(self) -> None:
        for version in VERSIONS:
            for message, will in (
                (Message("x"), self.will._replace(topic="x")), (Message(payload=b""), self.will._replace(payload=b"")),
                (Message(qos=0), self.will._replace(qos=0)), (Message(retain=False), self.will._replace(retain=False)),
                (Message(properties=Properties()), self.will._replace(properties=b"")), (Message(), self.will),
            ):  # fmt: skip
                sent = self.connect(handler(auth_publish=lambda *_, message=message: message), version=version)
                self.check(sent, to_target=connect(version=version, will=will))

    def test_later(self) -> None:
        asking = Asking()
        self.check(self.connect(handler(auth_publish=asking)))
        self.assertEqual(asking.asked, [("w", b"gone")])
        asking.admit(Message("x"))
        self.check(self.connection.sent(), to_target=connect(will=self.will._replace(topic="x")))

    def test_the_will_that_auth_connect_left_is_judged(self) -> None:
        asked: list[Any] = []
        will = Message("x", b"y")
        judge = handler(auth_connect=sets(will=will), auth_publish=lambda session, *message: asked.append(message))
        self.check(self.connect(judge), to_target=connect(will=Will("x", b"y")))
        self.assertEqual(asked, [("x", b"y")])

    def test_taken_away(self) -> None:
        self.check(self.connect(handler(auth_connect=sets(will=None), auth_publish=refuse)), to_target=connect())

    def test_changed_in_place(self) -> None:
        def move(session: Session) -> None:
            assert session.will is not None
            session.will.topic = f"t/{session.will.topic}"

        self.check(self.connect(handler(auth_connect=move)), to_target=connect(will=self.will._replace(topic="t/w")))

    def test_what_is_no_will(self) -> None:
        """A fault of `auth_connect`, whoever else is asked about wills."""
        wrong: list[Any] = [
            "w", b"w", ("w", b"gone"), Message(5), Message("w", "text"), Message(), Message(""), Message("a/#"),  # type: ignore[arg-type]
            Message("\0"), Message("w", qos=3), Message("w", qos="1"), Message("/" * 128), Will("w"),  # type: ignore[arg-type]
        ]  # fmt: skip
        for will in wrong:
            for rest in ([], [handler("Other", auth_publish=lambda *_: None)]):
                with self.subTest(repr(will)[:40], rest=len(rest)):
                    sent = self.connect(handler("Rules", auth_connect=sets(will=will)), *rest, version=5)
                    self.check(sent, to_device=connack(0x83, version=5))
                    self.assertEqual(self.connection.notebook.faults[0][0], "Rules")

    def test_what_cannot_be_made_of_it(self) -> None:
        for message in (
            Message(""), Message("a/#"), Message("\0"), Message("/" * 128), Message(qos=3), Message(qos="1"),  # type: ignore[arg-type]
            Message(properties=[(99, 1)]), Message(properties=5),
        ):  # fmt: skip
            with self.subTest(repr(message)[:40]):
                sent = self.connect(handler(auth_publish=lambda *_, message=message: message), version=5)
                self.check(sent, to_device=connack(0x83, version=5))
                self.check_refused(self.connection, "handler_fault", "auth_publish")

    def test_on_a_topic_that_controls_the_target(self) -> None:
        text = "the topic of the will controls the target"
        for version in VERSIONS:
            will = Will("$CONTROL/x")
            for hooks in ({}, {"auth_publish": lambda *_: None}, {"auth_publish": lambda *_: Message(payload=b"x")}):
                sent = self.connect(handler(**hooks), version=version, will=will)
                self.check(sent, to_device=no(version, 5, 0x87, text))
            allowed = handler(auth_publish=lambda *_: Message(topic="$CONTROL/x"))
            self.check(self.connect(allowed, version=version, will=will), to_target=connect(version=version, will=will))
            sent = self.connect(version=version, will=will, choices=Choices(denied_will="strip"))
            self.check(sent, to_target=connect(version=version))

    def test_limits(self) -> None:
        for will, code in ((Will("/" * 8), 0x81), (Will(properties=wire.user_property("k", "v") * 3), 0x97)):
            connection = Connection(version=5, limits=Limits(max_topic_levels=8, max_user_properties=2))
            sent = connection.up(connect(version=5, will=will))
            self.assertEqual((sent.to_target, sent.to_device[0], sent.to_device[3]), (b"", 0x20, code))


class FirstPacketTests(RelayTest):
    def test_anything_but_connect(self) -> None:
        for first in (
            publish(), PINGREQ, DISCONNECT, auth(), connack(), b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n",
            b"\0", b"\xff", b"\x11", b"\x1f\0",
        ):  # fmt: skip
            connection = Connection()
            self.check(connection.up(first + connect()))
            self.assertIsInstance(connection.closing, Malformed)
            self.check(connection.up(connect()))

    def test_a_broken_one(self) -> None:
        """Version 5 is told in a CONNACK, as soon as it is known that it is version 5."""
        for data, told in (
            (b"\x10\x00", b""), (connect(name=b"mqtt"), b""), (connect(flags=3), b""),
            (connect(version=3)[:-1] + b"x\0", b""), (connect(version=5, flags=3), b"\x20"),
            (connect(version=5, props=b"\x17\2"), b"\x20"),
        ):  # fmt: skip
            connection = Connection()
            sent = connection.up(wire.packet(0x10, data[2:]))
            self.assertEqual((sent.to_target, sent.to_device[:1]), (b"", told))
            self.assertEqual(connection.counters.rejects, {"malformed": 1})

    def test_levels(self) -> None:
        for level, told in (
            (0, connack(1)),
            (2, connack(1)),
            (6, None),
            (0x83, connack(1)),
            (0x84, connack(1)),
            (0x85, None),
        ):
            connection = Connection()
            sent = connection.up(connect(level=level))
            self.assertEqual(sent.to_target, b"")
            if told is None:
                self.assertEqual((sent.to_device[0], sent.to_device[2:4]), (0x20, b"\0\x84"))
            else:
                self.assertEqual(sent.to_device, told)
            self.assertEqual(connection.counters.rejects, {"unsupported_version": 1})

    def test_levels_that_are_not_served(self) -> None:
        for served in ({4}, {3, 4}, {5}, {3, 4, 5}):
            for version in VERSIONS:
                connection = Connection(version=version, choices=Choices(versions=frozenset(served)))
                sent = connection.up(connect(version=version))
                if version in served:
                    self.check(sent, to_target=connect(version=version))
                else:
                    self.check(sent, to_device=no(version, 1, 0x84))

    def test_client_identifiers(self) -> None:
        limits = Limits(max_clientid_len=10)
        for version in VERSIONS:
            for client_id, passes in (("x" * 10, True), ("x" * 11, False), ("ü" * 5, True), ("ü" * 6, False)):
                connection = Connection(version=version, limits=limits)
                packet = connect(client_id, version=version)
                if passes:
                    self.check(connection.up(packet), to_target=packet)
                else:
                    self.check(connection.up(packet), to_device=no(version, 2, 0x85))

    def test_no_client_identifier(self) -> None:
        for version, clean, passes in ((3, True, False), (4, False, False), (4, True, True), (5, False, True)):
            packet = connect("", version=version, clean=clean)
            sent = Connection(version=version).up(packet)
            self.check(sent, *((packet, b"") if passes else (b"", connack(2))))

    def test_size(self) -> None:
        limits = Limits(max_connect_size=100)
        fits = connect("x" * 86)
        self.assertEqual(len(fits), 100)
        self.check(Connection(limits=limits).up(fits), to_target=fits)
        for data in (connect("x" * 87), b"\x10\xff\xff\xff\x7f"):
            connection = Connection(limits=limits)
            self.check(connection.up(data))
            assert isinstance(connection.closing, Malformed)
            self.assertEqual(connection.closing.code, 0x95)

    def test_user_properties(self) -> None:
        one = wire.user_property("k", "v")
        for count, passes in ((2, True), (3, False)):
            connection = Connection(version=5, limits=Limits(max_user_properties=2))
            packet = connect(version=5, props=one * count)
            refused = connack(0x97, version=5)
            self.check(connection.up(packet), *((packet, b"") if passes else (b"", refused)))


class ConnackTests(RelayTest):
    def test_what_is_behind_connect_waits_for_it(self) -> None:
        asked: list[str] = []
        for version in VERSIONS:
            asked.clear()
            connection = Connection(handler(auth_publish=lambda s, topic, p: asked.append(topic)), version=version)
            packets = [publish(topic, version=version) for topic in "abc"]
            self.check(connection.up(connect(version=version), packets[0]), to_target=connect(version=version))
            self.check(connection.up(packets[1], packets[2][:3]))
            self.assertEqual(asked, [])
            told = connection.down(connack(version=version), packets[0])
            self.check(told, to_target=packets[0] + packets[1], to_device=connack(version=version) + packets[0])
            self.check(connection.up(packets[2][3:]), to_target=packets[2])
            self.assertEqual(connection.joined, 1)

    def test_goodbye_before_it(self) -> None:
        for version in VERSIONS:
            connection = Connection(version=version)
            connection.up(connect(version=version), DISCONNECT)
            self.check(
                connection.down(connack(version=version)), to_target=DISCONNECT, to_device=connack(version=version)
            )
            self.assertEqual(connection.relay.closed("device_lost"), "disconnect")

    def test_the_target_refuses(self) -> None:
        told: list[str] = []
        for version in VERSIONS:
            answer = no(version, 5, 0x87, "not you")
            connection = Connection(handler(connect=lambda session: told.append(session.id)), version=version)
            connection.up(connect(version=version), publish(version=version))
            self.check(connection.down(answer, publish(version=version)), to_device=answer)
            assert connection.closing is not None
            self.assertEqual((connection.closing.reason, connection.counters.sessions_total), ("target_refused", 0))
        self.assertEqual(told, [])

    def test_the_target_speaks_first_of_something_else(self) -> None:
        for version in VERSIONS:
            for first in (publish(version=version), wire.PINGRESP, b"HTTP/1.1", auth(), wire.DISCONNECT, b"\x20\x03"):
                connection = Connection(version=version)
                connection.up(connect(version=version))
                sent = connection.down(first + connack(version=version))
                self.assertEqual(sent.to_target, b"")
                self.assertEqual((sent.to_device[0], sent.to_device[3]), (0x20, 0x88 if version == 5 else 3))
                self.assertIsInstance(connection.closing, TargetLost)

    def test_a_second_one(self) -> None:
        for version in VERSIONS:
            connection = opened(version=version)
            sent = connection.down(connack(version=version))
            self.assertEqual(sent.to_device[:1], b"\xe0" if version == 5 else b"")
            self.assertIsInstance(connection.closing, TargetLost)

    def test_handlers_are_told(self) -> None:
        told: list[Any] = []
        connection = opened(handler(connect=lambda session: told.append((session.id, session.username))), username="u")
        self.assertEqual(told, [("device", "u")])
        self.assertEqual(connection.counters.sessions_total, 1)
        self.assertEqual(connection.notebook.events[0][0], "connect")
        self.assertEqual(connection.notebook.events[0][1]["client_id"], "device")

    def test_keep_alive(self) -> None:
        for props, expected in ((b"", 60), (b"\x13\0\x0a", 10), (b"\x13\0\0", 0)):
            connection = opened(version=5, keep_alive=60, connack_props=props)
            self.assertEqual((connection.relay.keep_alive, connection.session.keep_alive), (expected, expected))
        self.assertEqual(opened(keep_alive=7).relay.keep_alive, 7)

    def test_an_identifier_of_the_target(self) -> None:
        told: list[str] = []
        note = handler(connect=lambda session: told.append(session.id))
        opened(note, version=5, client_id="", connack_props=ASSIGNED)
        self.assertEqual(told, ["given"])

    def test_an_identifier_of_a_handler(self) -> None:
        """A device that sent none learns which one it got [MQTT-3.2.2-16]; who sent one is not told of another."""
        for version, client_id, told in ((5, "", b"\x12" + wire.text("made")), (5, "own", b""), (4, "", b"")):
            connection = Connection(handler(auth_connect=sets(id="made")), version=version)
            self.check(connection.up(connect(client_id, version=version)), to_target=connect("made", version=version))
            sent = connection.down(connack(version=version))
            self.check(sent, to_device=connack(version=version, props=told))
        connection = Connection(handler(auth_connect=sets(id="made")), version=5)
        connection.up(connect("", version=5))
        answer = connack(version=5, props=ASSIGNED)
        self.check(connection.down(answer), to_device=answer)

    def test_a_session_that_somebody_broke_meanwhile(self) -> None:
        connection = Connection(handler(auth_connect=sets(id="made")), version=5)
        connection.up(connect("", version=5))
        connection.session.id = "\0"
        self.check(connection.down(connack(version=5)), to_device=connack(0x80, version=5))
        self.check_refused(connection, "internal_fault")


class AuthTests(RelayTest):
    """Enhanced authentication of version 5 passes between device and target."""

    def connecting(self, *plugins: Any) -> Connection:
        connection = Connection(*plugins, version=5)
        packet = connect(version=5, props=METHOD)
        self.check(connection.up(packet), to_target=packet)
        return connection

    def test_exchange(self) -> None:
        step = auth(0x18, METHOD + b"\x16" + wire.text("data"))
        connection = self.connecting()
        for _ in range(2):
            self.check(connection.down(step), to_device=step)
            self.check(connection.up(step), to_target=step)
        self.check(connection.down(connack(version=5, props=METHOD)), to_device=connack(version=5, props=METHOD))
        again = auth(0x19, METHOD)
        self.check(connection.up(again), to_target=again)
        self.check(connection.down(auth(), auth(0, METHOD)), to_device=auth() + auth(0, METHOD))
        self.assertEqual(connection.relay.state, OPEN)

    def test_only_auth_and_disconnect_before_connack(self) -> None:
        connection = self.challenged()
        self.check(connection.up(DISCONNECT + publish(version=5)), to_target=DISCONNECT)
        for packet in (publish(version=5), PINGREQ, connect(version=5)):
            connection = self.challenged()
            self.check(connection.up(packet), to_device=connack(0x82, version=5))

    def challenged(self) -> Connection:
        """The target has sent AUTH, and waits for that of the device."""
        connection = self.connecting()
        connection.down(auth(0x18, METHOD))
        return connection

    def test_only_one_auth_for_each_of_the_target(self) -> None:
        """Section 4.12: the two speak in turn; what comes earlier waits, what comes behind is an error."""
        mine = auth(0x18, METHOD)
        connection = self.connecting()
        self.check(connection.up(mine))
        self.check(connection.down(mine), to_target=mine, to_device=mine)
        self.check(self.challenged().up(mine + mine), to_device=connack(0x82, version=5))

    def test_another_method(self) -> None:
        connection = self.challenged()
        other = auth(0x18, b"\x15" + wire.text("PLAIN"))
        self.check(connection.up(other), to_device=connack(0x82, version=5))
        connection = opened(version=5, props=METHOD)
        self.check(connection.up(other), to_device=wire.disconnect(0x82))

    def test_no_method(self) -> None:
        for feed in ("up", "down"):
            connection = opened(version=5)
            sent = getattr(connection, feed)(auth(0x18, METHOD))
            self.assertEqual((sent.to_target, sent.to_device[0]), (b"", 0xE0))
            self.assertEqual(sent.to_device[2], 0x82 if feed == "up" else 0x83)

    def test_below_version_5(self) -> None:
        for version in (3, 4):
            for feed in ("up", "down"):
                connection = opened(version=version)
                self.check(getattr(connection, feed)(auth(0x18, METHOD)))
                self.assertIsNotNone(connection.closing)


class GoodbyeTests(RelayTest):
    def test_a_session_that_ends_is_not_made_longer(self) -> None:
        """3.14.2.2.2: a session expiry of zero stays zero."""
        later = wire.disconnect(0, b"\x11" + wire.integer(60))
        for props, passes in ((b"", False), (b"\x11" + wire.integer(0), False), (b"\x11" + wire.integer(5), True)):
            connection = opened(version=5, props=props)
            sent = connection.up(later)
            self.assertEqual(sent.to_target, later if passes else b"")
            self.assertEqual(isinstance(connection.closing, Malformed), not passes)
        for bye in (DISCONNECT, wire.disconnect(4), wire.disconnect(0, b"\x11" + wire.integer(0))):
            self.check(opened(version=5).up(bye), to_target=bye)

    def test_interceptors_see_it(self) -> None:
        seen: list[Any] = []
        connection = opened(interceptor(after=lambda s, packet, d: seen.append(packet.type)))
        connection.up(publish(), DISCONNECT, publish())
        self.assertEqual(seen[2:], [3, 14])

    def test_one_that_waits(self) -> None:
        asking = Asking()
        connection = opened(interceptor(before=lambda s, packet, d: asking(s) if packet.type == 14 else None))
        self.check(connection.up(DISCONNECT, publish()))
        asking.admit()
        self.check(connection.sent(), to_target=DISCONNECT)
        self.assertTrue(connection.relay.said_goodbye)


class InterceptedTests(RelayTest):
    def test_what_goes_on_counts(self) -> None:
        """The terms of the connection are those of the CONNECT that the target received."""

        def change(session: Session, packet: Any, direction: Any) -> Any:
            if packet.type != 1:
                return None
            return replace(packet, keep_alive=5, properties=Properties([(PropertyId.TOPIC_ALIAS_MAXIMUM, 1)]))

        for moment in ("before", "after"):
            connection = Connection(interceptor(**{moment: change}), version=5)
            connection.up(connect(version=5, keep_alive=60))
            message = publish("a", version=5, props=b"\x23\0\1")
            connection.down(connack(version=5))
            self.check(connection.down(message), to_device=message)
            self.assertEqual(connection.relay.keep_alive, 5)

    def test_another_version_is_a_fault(self) -> None:
        for moment in ("before", "after"):
            plugin = interceptor(**{moment: lambda s, packet, d: replace(packet, version=4)})
            connection = Connection(plugin, version=3)
            self.check(connection.up(connect(version=3)), to_device=connack(5))
            self.check_refused(connection, "handler_fault", moment)

    def test_what_it_says_of_the_will_is_judged(self) -> None:
        plugin = interceptor(before=lambda s, packet, d: replace(packet, will=replace(packet.will, topic="no")))
        asked: list[Any] = []
        judge = handler(auth_publish=lambda session, topic, payload: asked.append((topic, session.packet)))
        connection = Connection(plugin, judge)
        self.check(connection.up(connect(will=Will("w"))), to_target=connect(will=Will("no")))
        self.assertEqual(asked, [("no", Publish("no", b"gone"))])
