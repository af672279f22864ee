"""SUBSCRIBE and UNSUBSCRIBE: whatever becomes of its filters, a device gets one code for each that it sent."""

from __future__ import annotations

from typing import Any

from mgate.errors import Denied, Malformed, TargetLost
from mgate.handler import Filter
from mgate.limits import Limits
from mgate.mqtt.choices import Choices
from mgate.mqtt.packets import Subscribe
from tests import wire
from tests.mqtt.relays import Connection, RelayTest, handler, interceptor, opened
from tests.wire import suback, subscribe, unsuback, unsubscribe

NO = b"\x1f" + wire.text("no")
UNEXPLAINED = b"\x17\0"


def refuse(*arguments: Any) -> Any:
    raise Denied("not authorised", "no")


def answers(*slots: Any) -> Any:
    """An `auth_subscribe` that says the same to each request."""
    return lambda session, filters: list(slots)


def entries(*filters: tuple[str, int], packet_id: int = 1, version: int = 4) -> bytes:
    """A SUBSCRIBE with an options byte for each filter."""
    body = b"".join(wire.text(name) + bytes([options]) for name, options in filters)
    return wire.packet(0x82, wire.short(packet_id) + wire.properties(version, b"") + body)


class PlainTests(RelayTest):
    def test_admitted_as_it_came(self) -> None:
        for version in (3, 4, 5):
            for hooks in ({}, {"auth_subscribe": lambda *_: None}, {"auth_subscribe": lambda *_: True}):
                connection = opened(handler(**hooks), version=version)
                packet = entries(("a", 0), ("$share/g/b", 1), ("#", 2), version=version)
                self.check(connection.up(packet), to_target=packet)
                answer = suback(1, b"\0\1\x80", version=version)
                self.check(connection.down(answer), to_device=answer)

    def test_the_handler_is_asked_about_inner_filters(self) -> None:
        asked: list[list[str]] = []
        connection = opened(handler(auth_subscribe=lambda session, filters: asked.append(filters)))
        connection.up(subscribe("a/+", "$share/g/b/#", "$queue/c", "$exclusive/d", "$SYS/#"))
        self.assertEqual(asked, [["a/+", "b/#", "c", "d", "$SYS/#"]])

    def test_a_handler_that_changes_its_list_in_place(self) -> None:
        packet = subscribe("a", "b")
        connection = opened(handler(auth_subscribe=lambda session, filters: filters.clear()))
        self.check(connection.up(packet), to_target=packet)
        connection = opened(handler(auth_subscribe=lambda session, filters: filters.pop() and filters))
        self.check(connection.up(packet), to_device=suback(1, b"\x80\x80"))
        self.check_refused(connection, "handler_fault", "auth_subscribe")

    def test_limits(self) -> None:
        limits = Limits(max_filters=2, max_topic_levels=3, max_user_properties=1)
        for make in (subscribe, unsubscribe):
            for filters, props, passes in (
                (("a", "b"), b"", True), (("a", "b", "c"), b"", False), (("a/b/c",), b"", True),
                (("a", "a/b/c/d"), b"", False), (("a",), wire.user_property("k", "v"), True),
                (("a",), wire.user_property("k", "v") * 2, False),
            ):  # fmt: skip
                connection = opened(version=5, limits=limits)
                packet = make(*filters, version=5, props=props)
                self.assertEqual(connection.up(packet).to_target, packet if passes else b"")
                self.assertEqual(isinstance(connection.closing, Malformed), not passes)


class RefusedTests(RelayTest):
    def test_all_by_raising(self) -> None:
        connection = opened(handler(auth_subscribe=refuse))
        self.check(connection.up(subscribe("a", "b", packet_id=7)), to_device=suback(7, b"\x80\x80"))
        self.check_refused(connection, "not_authorised", "auth_subscribe")
        for props, reason in ((b"", NO), (UNEXPLAINED, b""), (b"\x27" + wire.integer(11), b"")):
            connection = opened(handler(auth_subscribe=refuse), version=5, props=props)
            sent = connection.up(subscribe("a", "b", packet_id=7, version=5))
            self.check(sent, to_device=suback(7, b"\x87\x87", version=5, props=reason))

    def test_all_one_by_one(self) -> None:
        slots = (Denied("quota", "no"), Denied("bad topic", "really"))
        for version, codes, props in ((4, b"\x80\x80", b""), (5, b"\x97\x8f", NO)):
            connection = opened(handler("Acl", auth_subscribe=answers(*slots)), version=version)
            sent = connection.up(subscribe("a", "b", version=version))
            self.check(sent, to_device=suback(1, codes, version=version, props=props))
            self.assertEqual(connection.notebook.refusals, [
                ("quota", "Acl", "auth_subscribe", "no"), ("bad_topic", "Acl", "auth_subscribe", "really"),
            ])  # fmt: skip

    def test_some(self) -> None:
        no = Denied("not authorised")
        for version, refused in ((4, b"\x80"), (5, b"\x87")):
            connection = opened(handler(auth_subscribe=answers("a", no, "c", no)), version=version)
            sent = connection.up(entries(("a", 1), ("b", 1), ("c", 2), ("d", 0), version=version))
            self.check(sent, to_target=entries(("a", 1), ("c", 2), version=version))
            told = suback(1, b"\1" + refused + b"\2" + refused, version=version)
            self.check(connection.down(suback(1, b"\1\2", version=version)), to_device=told)
            again = suback(1, b"\1\2", version=version)
            self.check(connection.down(again), to_device=again)

    def test_the_answer_of_the_target_keeps_its_properties(self) -> None:
        connection = opened(handler(auth_subscribe=answers("a", Denied())), version=5)
        connection.up(subscribe("a", "b", version=5))
        told = connection.down(suback(1, b"\x97", version=5, props=NO))
        self.check(told, to_device=suback(1, b"\x97\x87", version=5, props=NO))

    def test_mqtt_31_has_no_code_for_it(self) -> None:
        """The connection ends, or the device is told that it got what it asked for."""
        for hook in (refuse, answers("a", Denied())):
            connection = opened(handler(auth_subscribe=hook), version=3)
            self.check(connection.up(subscribe("a", "b", version=3)))
            self.assertIsInstance(connection.closing, Denied)
        grant = Choices(denied_subscribe_31="grant")
        packet = entries(("a", 1), ("b", 2), version=3)
        connection = opened(handler(auth_subscribe=refuse), version=3, choices=grant)
        self.check(connection.up(packet), to_device=suback(1, b"\1\2", version=3))
        connection = opened(handler(auth_subscribe=answers(Denied(), Denied())), version=3, choices=grant)
        self.check(connection.up(packet), to_device=suback(1, b"\1\2", version=3))
        connection = opened(handler(auth_subscribe=answers("a", Denied())), version=3, choices=grant)
        self.check(connection.up(packet), to_target=entries(("a", 1), version=3))
        self.check(connection.down(suback(1, b"\0", version=3)), to_device=suback(1, b"\0\2", version=3))

    def test_what_cannot_be_subscribed_to(self) -> None:
        for slot in ("", "a/#/b", "a+", "\0", "\ud800", "$share/g/x", Filter("a", 2), Filter("a", 3), Filter("a", "0"),
                     Filter("a", retain_handling=3), Filter("a", retain_handling="x"), "a" * 70_000):  # type: ignore[arg-type]  # fmt: skip
            for version, code in ((4, b"\x80"), (5, b"\x83")):
                with self.subTest(repr(slot)[:40], version=version):
                    connection = opened(handler(auth_subscribe=answers(slot)), version=version)
                    sent = connection.up(subscribe("$share/g/x", version=version, options=1))
                    self.check(sent, to_device=suback(1, code, version=version))
                    self.check_refused(connection, "handler_fault", "auth_subscribe")

    def test_no_local_of_a_shared_subscription(self) -> None:
        connection = opened(handler(auth_subscribe=answers(Filter(no_local=True))), version=5)
        self.check(connection.up(subscribe("$share/g/a", version=5)), to_device=suback(1, b"\x83", version=5))


class RewrittenTests(RelayTest):
    def test_filter_and_options(self) -> None:
        for slot, sent in (
            ("x", ("x", 0b101110)), (Filter("x", 1), ("x", 0b101101)), (Filter(no_local=False), ("a", 0b101010)),
            (Filter(retain_as_published=False), ("a", 0b100110)), (Filter(retain_handling=0), ("a", 0b001110)),
        ):  # fmt: skip
            connection = opened(handler(auth_subscribe=answers(slot)), version=5)
            packet = entries(("a", 0b101110), version=5)
            self.check(connection.up(packet), to_target=entries(sent, version=5))
            self.check(connection.down(suback(1, b"\1", version=5)), to_device=suback(1, b"\1", version=5))

    def test_as_it_was(self) -> None:
        packet = subscribe("a", "b")
        connection = opened(handler(auth_subscribe=answers("a", Filter("b", 0))))
        self.check(connection.up(packet), to_target=packet)

    def test_a_share_keeps_its_group(self) -> None:
        connection = opened(handler(auth_subscribe=lambda session, filters: [f"t/{one}" for one in filters]))
        sent = connection.up(subscribe("$share/g/a", "$queue/b"))
        self.check(sent, to_target=subscribe("$share/g/t/a", "$queue/t/b"))

    def test_one_to_many(self) -> None:
        """Of several filters that stand for one, the worst code is told."""
        for codes, told in (
            (b"\2\1\0", b"\1\0"), (b"\0\2\2", b"\0\2"), (b"\2\x80\1", b"\x80\1"), (b"\x80\2\2", b"\x80\2"),
        ):  # fmt: skip
            connection = opened(handler(auth_subscribe=answers(["x", Filter("y", 1)], "b")))
            sent = connection.up(subscribe("a", "b", options=2))
            self.check(sent, to_target=entries(("x", 2), ("y", 1), ("b", 2)))
            self.check(connection.down(suback(1, codes)), to_device=suback(1, told))

    def test_to_the_same(self) -> None:
        connection = opened(handler(auth_subscribe=answers("x", "x", ["x", "x"])))
        self.check(connection.up(subscribe("a", "b", "c")), to_target=subscribe("x", "x", "x", "x"))
        self.check(connection.down(suback(1, b"\0\1\2\1")), to_device=suback(1, b"\0\1\1"))

    def test_several_handlers(self) -> None:
        connection = opened(
            handler("Mount", auth_subscribe=lambda session, filters: [f"t/{one}" for one in filters]),
            handler("Acl", auth_subscribe=lambda session, filters: [
                Denied("not authorised") if one.endswith("secret") else Filter(one, 0) for one in filters]),
        )  # fmt: skip
        self.check(connection.up(subscribe("a", "secret", "b", options=2)), to_target=entries(("t/a", 0), ("t/b", 0)))
        self.assertEqual(connection.notebook.refusals, [("not_authorised", "Acl", "auth_subscribe", "")])
        self.check(connection.down(suback(1, b"\0\0")), to_device=suback(1, b"\0\x80\0"))

    def test_too_large_after_it(self) -> None:
        for version, code in ((4, b"\x80"), (5, b"\x97")):
            connection = opened(
                handler(auth_subscribe=lambda session, filters: ["x" * 200] if len(filters) == 1 else None),
                version=version, limits=Limits(max_packet_size=200),
            )  # fmt: skip
            sent = connection.up(subscribe("a", version=version))
            self.assertEqual((sent.to_target, sent.to_device[:1], sent.to_device[-1:]), (b"", b"\x90", code))
            two = subscribe("a", "b", version=version)
            self.check(connection.up(two), to_target=two)
            answer = suback(1, b"\0\0", version=version)
            self.check(connection.down(answer), to_device=answer)
            self.assertIsNone(connection.closing)

    def test_refused_behind_its_judgement(self) -> None:
        """An interceptor refused what would have been forwarded: no answer of the target belongs to it."""
        refused = iter([False, None])
        connection = opened(
            handler(auth_subscribe=lambda session, filters: ["x"] if len(filters) == 1 else None),
            interceptor(after=lambda s, packet, d: next(refused) if isinstance(packet, Subscribe) else None),
        )
        self.check(connection.up(subscribe("a")), to_device=suback(1, b"\x80"))
        two = subscribe("a", "b")
        self.check(connection.up(two), to_target=two)
        self.check(connection.down(suback(1, b"\0\0")), to_device=suback(1, b"\0\0"))

    def test_more_than_may_be_remembered(self) -> None:
        connection = opened(handler(auth_subscribe=lambda session, filters: [f"t/{one}" for one in filters]),
                            limits=Limits(max_filters=2))  # fmt: skip
        self.check(connection.up(subscribe("a", "b")), to_target=subscribe("t/a", "t/b"))
        self.check(connection.up(subscribe("c", packet_id=2)), to_device=suback(2, b"\x80"))
        self.check_refused(connection, "quota")
        connection.up(unsubscribe("a", packet_id=3))
        self.check(connection.up(subscribe("c", packet_id=4)), to_target=subscribe("t/c", packet_id=4))


class UnsubscribeTests(RelayTest):
    def opened(self, version: int = 4, **slots: Any) -> Connection:
        """A device that has subscribed to each of `slots`, which became what stands there."""
        hook = handler(auth_subscribe=lambda session, filters: [slots.get(one, one) for one in filters])
        connection = opened(hook, version=version)
        connection.up(subscribe(*slots, version=version))
        sent = sum(len(one) if isinstance(one, list) else 1 for one in slots.values())
        connection.down(suback(1, bytes(sent), version=version))
        return connection

    def test_of_what_was_not_rewritten(self) -> None:
        for version in (3, 4, 5):
            connection = self.opened(a="a", version=version)
            packet = unsubscribe("a", "never", version=version)
            self.check(connection.up(packet), to_target=packet)
            answer = unsuback(1, b"\0\x11", version=version)
            self.check(connection.down(answer), to_device=answer)

    def test_of_what_was_rewritten(self) -> None:
        for version in (3, 4, 5):
            connection = self.opened(a="x", b=["y", "z"], c="c", version=version)
            sent = connection.up(unsubscribe("c", "b", "a", version=version))
            self.check(sent, to_target=unsubscribe("c", "y", "z", "x", version=version))
            told = connection.down(unsuback(1, b"\0\x11\x87\0", version=version))
            self.check(told, to_device=unsuback(1, b"\0\x87\0", version=version))
            packet = unsubscribe("a", packet_id=2, version=version)
            self.check(connection.up(packet), to_target=packet)

    def test_of_a_share(self) -> None:
        connection = opened(handler(auth_subscribe=answers("t/a")))
        connection.up(subscribe("$share/g/a"))
        self.check(connection.up(unsubscribe("a", "$share/g/a")), to_target=unsubscribe("a", "$share/g/t/a"))

    def test_subscribed_again(self) -> None:
        answer = iter((["x"], ["y"]))
        connection = opened(handler(auth_subscribe=lambda session, filters: next(answer)))
        connection.up(subscribe("a"), subscribe("a", packet_id=2))
        self.check(connection.up(unsubscribe("a", packet_id=3)), to_target=unsubscribe("y", packet_id=3))

    def test_needs_no_permission(self) -> None:
        connection = opened(handler(auth_subscribe=refuse))
        self.check(connection.up(unsubscribe("a")), to_target=unsubscribe("a"))


class ToldTests(RelayTest):
    def opened(self, version: int, **hooks: Any) -> Connection:
        self.told: list[Any] = []
        note = handler("Told", subscribe=lambda session, granted: self.told.append(granted),
                       unsubscribe=lambda session, filters: self.told.append(filters))  # fmt: skip
        return opened(handler(**hooks), note, version=version)

    def test_what_was_granted(self) -> None:
        for version in (3, 4, 5):
            connection = self.opened(version)
            packet = subscribe("a", "b", "c", version=version)
            self.check(connection.up(packet), to_target=packet)
            self.assertEqual(self.told, [])
            connection.down(suback(1, b"\2\x80\0", version=version))
            self.assertEqual(self.told, [{"a": 2, "c": 0}])

    def test_nothing_was(self) -> None:
        connection = self.opened(5)
        connection.up(subscribe("a", version=5))
        connection.down(suback(1, b"\x87", version=5), suback(2, b"\0", version=5))
        self.assertEqual(self.told, [])

    def test_as_the_target_knows_it(self) -> None:
        connection = self.opened(4, auth_subscribe=answers(["x", "y"], Denied()))
        connection.up(subscribe("a", "b"))
        connection.down(suback(1, b"\1\0"))
        self.assertEqual(self.told, [{"x": 1, "y": 0}])

    def test_what_is_gone(self) -> None:
        for version, gone in ((3, ["a", "b"]), (4, ["a", "b"]), (5, ["b"])):
            connection = self.opened(version)
            connection.up(unsubscribe("a", "b", version=version))
            self.check(connection.down(unsuback(1, b"\x87\x11", version=version)),
                       to_device=unsuback(1, b"\x87\x11", version=version))  # fmt: skip
            self.assertEqual(self.told, [gone])

    def test_nothing_is_gone(self) -> None:
        connection = self.opened(5)
        connection.up(unsubscribe("a", version=5))
        connection.down(unsuback(1, b"\x87", version=5), unsuback(2, b"\0", version=5))
        self.assertEqual(self.told, [])


class WrongAnswerTests(RelayTest):
    def test_another_number_of_codes(self) -> None:
        """Whoever is told of it, or gets the merged codes, would be told something wrong: the connection ends."""
        for request, answer in (
            (subscribe("a", "b", version=5), suback(1, b"\0", version=5)),
            (subscribe("a", "b", version=5), suback(1, b"\0\0\0", version=5)),
            (unsubscribe("a", "b", version=5), unsuback(1, b"\0", version=5)),
        ):
            told: list[Any] = []
            connection = opened(handler(subscribe=told.append, unsubscribe=told.append), version=5)
            connection.up(request)
            sent = connection.down(answer)
            self.assertEqual((sent.to_target, sent.to_device[:1], told), (b"", b"\xe0", []))
            self.assertIsInstance(connection.closing, TargetLost)

    def test_a_target_that_never_answers(self) -> None:
        connection = opened(handler(subscribe=lambda *_: None))
        filters = [f"{number}/" + "a" * 60_000 for number in range(4)]
        for packet_id in range(1, 4):
            self.assertNotEqual(connection.up(subscribe(*filters, packet_id=packet_id)).to_target, b"")
        self.check(connection.up(subscribe(*filters, packet_id=4)), to_device=suback(4, b"\x80" * 4))
        self.check_refused(connection, "quota")
