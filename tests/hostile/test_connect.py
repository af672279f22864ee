"""A CONNECT that breaks its protocol is answered as its version allows, and nobody is dialled for it."""

from __future__ import annotations

from tests import wire
from tests.hostile.refusals import HostileTest
from tests.wire import Will, connect, integer, packet, short, text, user_property

BAD_TEXT = {
    "cut sequence": b"ab\xe2\x82",
    "bad continuation": b"a\xc3\x28",
    "lone continuation": b"a\x80",
    "overlong slash": b"a\xc0\xaf",
    "overlong, three bytes": b"a\xe0\x80\xaf",
    "first surrogate": b"a\xed\xa0\x80",
    "last surrogate": b"a\xed\xbf\xbf",
    "surrogate pair": b"a\xed\xa0\xb4\xed\xb4\x9e",
    "above U+10FFFF": b"a\xf4\x90\x80\x80",
    "five byte form": b"a\xf8\x88\x80\x80\x80",
    "0xff": b"a\xff",
    "U+0000": b"a\x00b",
}
"""Not UTF-8 as MQTT has it [MQTT-1.5.4-1, -2]."""

GOOD_TEXT = {
    "BOM": b"\xef\xbb\xbfa",
    "U+2A6D4": b"A\xf0\xaa\x9b\x94",
    "NFD": "e\u0301".encode(),
    "U+FFFF": b"a\xef\xbf\xbf",
    "U+10FFFF": b"a\xf4\x8f\xbf\xbf",
    "around the surrogates": b"\xed\x9f\xbf\xee\x80\x80",
    "control characters": b"a\x01\x1f\x7f\xc2\x80b",
}
"""UTF-8 that looks odd and has to pass as it is [MQTT-1.5.4-3]."""


class Malformed(HostileTest):
    """Cases that are malformed in every version: closed in 3.1 and 3.1.1, CONNACK 0x81 in 5."""

    async def malformed(self, **fields: object) -> None:
        for version in (3, 4):
            await self.refused_at_connect({f"level {version}": connect(version=version, **fields)})  # type: ignore[arg-type]
        await self.refused_at_connect({"level 5": connect(version=5, **fields)}, version=5, codes=[0x81])  # type: ignore[arg-type]

    async def test_m10_cut_or_overlong_connect(self) -> None:
        await self.refused_at_connect({"empty": b"\x10\x00"})
        for version in (3, 4, 5):
            name = text("MQIsdp" if version == 3 else "MQTT")
            head = name + bytes([version, 2]) + short(0) + (b"\x00" if version == 5 else b"")
            cases = {
                "cut behind the flags": packet(0x10, name + bytes([version, 2])),
                "half a keep alive": packet(0x10, name + bytes([version, 2, 0])),
                "no client identifier": packet(0x10, head),
                "half a length of the client identifier": packet(0x10, head + b"\x00"),
                "client identifier longer than the packet": packet(0x10, head + b"\x00\x07device"),
                "trailing byte": packet(0x10, head + text("device") + b"\x00"),
                "trailing string": packet(0x10, head + text("device") + text("more")),
            }
            await self.refused_at_connect(cases, version=version, codes=[0x81] if version == 5 else [])

    async def test_m10_cut_inside_the_protocol_name(self) -> None:
        await self.refused_at_connect(
            {
                "no level": packet(0x10, text("MQTT")),
                "half a name": packet(0x10, b"\x00\x04MQ"),
                "half a length": packet(0x10, b"\x00"),
            }
        )

    async def test_m11_reserved_connect_flag(self) -> None:
        for flags in (0x01, 0x03):
            await self.refused_at_connect({f"flags {flags}": connect(flags=flags)})
            await self.refused_at_connect({f"flags {flags}": connect(version=5, flags=flags)}, version=5, codes=[0x81])

    async def test_m11_bits_that_31_does_not_use(self) -> None:
        for gateway in await self.pair():
            for data in (connect(version=3, flags=0x03), b"\x14" + connect(version=3)[1:]):
                device = await gateway.device()
                device.send(data)
                target = await gateway.target.accepted()
                self.assertEqual(await target.read_packet(), data)

    async def test_m11_flags_in_the_fixed_header(self) -> None:
        for flags in (1, 2, 4, 8, 15):
            for version in (4, 5):
                whole = connect(version=version)
                device = {f"flags {flags}": bytes([0x10 | flags]) + whole[1:]}
                if version == 4:
                    await self.refused_at_connect(device)
                else:
                    await self.refused_at_connect_or_closed(device)

    async def refused_at_connect_or_closed(self, cases: dict[str, bytes]) -> None:
        """In version 5 a CONNACK 0x81 is allowed, and so is a mere close: the level stands behind the broken header."""
        for gateway in await self.pair():
            for data in cases.values():
                device = await gateway.device()
                device.send(data)
                answer = await device.read_until_closed()
                if answer:
                    self.check_connack(answer, 5, [0x81])
                await gateway.released()
                self.assertEqual(gateway.counters.target_dials, 0)

    async def test_m12_will_flags_without_a_will(self) -> None:
        for flags in (0x0A, 0x12, 0x1A, 0x22, 0x2A):
            await self.malformed(flags=flags)

    async def test_m12_will_qos_3(self) -> None:
        await self.malformed(will=Will(qos=3))

    async def test_m12_will_fields_missing(self) -> None:
        await self.malformed(flags=0x06)
        for version in (3, 4, 5):
            whole = connect(version=version, will=Will("will/topic", b""))
            cut = {"no will payload": packet(0x10, whole[2:-2]), "half a length": packet(0x10, whole[2:-1])}
            await self.refused_at_connect(cut, version=version, codes=[0x81] if version == 5 else [])

    async def test_m12_will_topic_empty_or_wildcard(self) -> None:
        for topic in ("", "a/+/b", "#", "a/#", "a+", "a/b#"):
            await self.malformed(will=Will(topic))

    async def test_m12_will_topic_bad_utf8(self) -> None:
        for topic in BAD_TEXT.values():
            await self.malformed(will=Will(topic))

    async def test_m13_user_flag_without_field(self) -> None:
        await self.malformed(flags=0x82)
        await self.malformed(flags=0xC2, username=None, password=b"only one of two")

    async def test_m13_password_without_user(self) -> None:
        for version in (3, 4):
            await self.refused_at_connect({"password only": connect(version=version, password=b"secret")})

    async def test_m13_password_without_user_is_legal_in_v5(self) -> None:
        for gateway in await self.pair():
            device = await gateway.connected(version=5, password=b"secret")
            self.assertEqual(device.uplink.packets[0], connect(version=5, password=b"secret"))

    async def test_m14_client_identifier_bad_utf8(self) -> None:
        for bad in BAD_TEXT.values():
            await self.malformed(client_id=bad)

    async def test_m14_user_name_bad_utf8(self) -> None:
        for bad in BAD_TEXT.values():
            await self.malformed(username=bad)

    async def test_m14_odd_but_good_utf8_is_forwarded(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                for good in GOOD_TEXT.values():
                    device = await gateway.connected(version=version, client_id=good, username=good)
                    self.assertEqual(
                        device.uplink.packets[0], connect(good, version=version, username=good), "byte for byte"
                    )


class Names(HostileTest):
    """Protocol names, levels and client identifiers, which have answers of their own."""

    async def test_m03_second_connect(self) -> None:
        for version in (3, 4, 5):
            again = {
                "same": connect(version=version),
                "another user": connect(version=version, username="admin", password=b"x"),
                "another client identifier": connect("somebody", version=version),
                "malformed": packet(0x10, b"\x00"),
            }
            malformed = again.pop("malformed") if version == 5 else b""
            await self.refused(again, version=version, codes=[0x82])
            if malformed:
                await self.refused({"malformed": malformed}, version=5, codes=[0x81, 0x82])
        self.assertEqual(
            {one[1:] for one in self.watcher.asked if one[0] == "connect"}, {("device", None)}, "asked once each"
        )

    async def test_m03_second_connect_behind_the_first_before_connack(self) -> None:
        for version in (4, 5):
            first = connect(version=version)
            for gateway in await self.pair():
                device = await gateway.device()
                device.send(first + connect("other", version=version, username="admin"))
                device.uplink = await gateway.target.accepted()
                answer = await device.read_until_closed()
                await gateway.released()
                self.assertEqual(device.uplink.received, first)
                answers, rest = wire.packets(answer)
                self.assertEqual(rest, b"")
                if version == 5:
                    self.assertIn(answers[-1][0], (0x20, 0xE0))
                    self.assertEqual(answers[-1][3 if answers[-1][0] == 0x20 else 2], 0x82)

    async def test_m08_unknown_level(self) -> None:
        for level in (0, 1, 2, 0x83, 0x84):  # the last two: bridges
            await self.refused_at_connect({f"level {level}": connect(level=level)}, codes=[1])
        for level in (6, 7, 0x7F, 0x85, 0xFF):
            await self.refused_at_connect(
                {f"level {level}": connect(level=level), f"level {level} as 5": connect(version=5, level=level)},
                version=5,
                codes=[0x84],
            )

    async def test_m09_wrong_protocol_name(self) -> None:
        cases = {
            "MQIsdp at level 4": connect(name=b"MQIsdp"),
            "MQTT at level 3": connect(version=3, name=b"MQTT"),
            "lower case": connect(name=b"mqtt"),
            "lower case at level 3": connect(version=3, name=b"mqisdp"),
            "empty": connect(name=b""),
            "longer": connect(name=b"MQTTT"),
            "shorter": connect(name=b"MQT"),
            "65535 bytes": connect(name=b"M" * 65535),
            "bad UTF-8": connect(name=b"MQT\xff"),
            "NUL": connect(name=b"MQTT\x00"),
        }
        await self.refused_at_connect(cases)

    async def test_m09_wrong_protocol_name_v5(self) -> None:
        names = (b"MQIsdp", b"mqtt", b"", b"MQTTT", b"M" * 65535)
        for gateway in await self.pair():
            for name in names:
                device = await gateway.device()
                device.send(connect(version=5, name=name))
                answer = await device.read_until_closed()
                if answer:
                    self.check_connack(answer, 5, [0x84])
                await gateway.released()
                self.assertEqual(gateway.counters.target_dials, 0)

    async def test_m15_client_identifier_too_long(self) -> None:
        for version in (3, 4, 5):
            code = 0x85 if version == 5 else 2
            cases = {str(size): connect(b"c" * size, version=version) for size in (1025, 65535)}
            await self.refused_at_connect(cases, version=version, codes=[code])

    async def test_m15_client_identifier_of_the_limit(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version, client_id=b"c" * 1024)
                self.assertEqual(device.uplink.packets[0], connect(b"c" * 1024, version=version))

    async def test_m15_limit_counts_bytes(self) -> None:
        await self.refused_at_connect({"1026 bytes, 513 characters": connect("\u00e9" * 513)}, codes=[2])

    async def test_m16_empty_client_identifier(self) -> None:
        await self.refused_at_connect({"3.1.1, session kept": connect("", clean=False)}, codes=[2])
        cases = {f"3.1, clean {clean}": connect("", version=3, clean=clean) for clean in (True, False)}
        await self.refused_at_connect(cases, version=3, codes=[2])

    async def test_m16_empty_client_identifier_where_it_is_legal(self) -> None:
        """3.1.1 lets the target choose one if the session is not kept, 5 always [MQTT-3.1.3-6]."""
        for version, clean in ((4, True), (5, True), (5, False)):
            for gateway in await self.pair():
                device = await gateway.connected(version=version, client_id="", clean=clean)
                self.assertEqual(device.uplink.packets[0], connect("", version=version, clean=clean))

    async def test_m17_client_identifier_with_line_breaks_is_forwarded(self) -> None:
        name = b"a\r\nevent=connect client=admin\x1b[2J\x1b]0;x\x07"
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version, client_id=name, username=name)
                self.assertEqual(device.uplink.packets[0], connect(name, version=version, username=name))


class Properties(HostileTest):
    """Properties of CONNECT and of its will."""

    async def refused_props(self, cases: dict[str, bytes], code: int) -> None:
        await self.refused_at_connect(
            {name: connect(version=5, props=props) for name, props in cases.items()}, version=5, codes=[code]
        )

    async def test_m18_bad_value(self) -> None:
        await self.refused_props(
            {
                "Receive Maximum 0": b"\x21\x00\x00",
                "Maximum Packet Size 0": b"\x27" + integer(0),
                "Request Response Information 2": b"\x19\x02",
                "Request Problem Information 2": b"\x17\x02",
                "Request Problem Information 255": b"\x17\xff",
                "Authentication Data alone": b"\x16" + text("data"),
            },
            0x82,
        )

    async def test_m19_duplicate(self) -> None:
        single = {
            "Session Expiry Interval": b"\x11" + integer(1),
            "Receive Maximum": b"\x21\x00\x01",
            "Maximum Packet Size": b"\x27" + integer(1000),
            "Topic Alias Maximum": b"\x22\x00\x01",
            "Request Response Information": b"\x19\x01",
            "Request Problem Information": b"\x17\x01",
            "Authentication Method": b"\x15" + text("m"),
        }
        await self.refused_props({name: raw + raw for name, raw in single.items()}, 0x82)
        method = b"\x15" + text("m")
        await self.refused_props({"Authentication Data": method + (b"\x16" + text("d")) * 2}, 0x82)

    async def test_m20_wrong_unknown_or_cut(self) -> None:
        await self.refused_props(
            {
                "Topic Alias": b"\x23\x00\x01",
                "Payload Format Indicator": b"\x01\x01",
                "Reason String": b"\x1f" + text("r"),
                "Server Keep Alive": b"\x13\x00\x01",
                "Subscription Identifier": b"\x0b\x01",
                "identifier 0": b"\x00\x00",
                "identifier 4": b"\x04\x00",
                "identifier 0x7f": b"\x7f\x00",
                "identifier of two bytes": b"\x80\x01\x00",
                "overlong identifier": b"\x91\x00" + integer(1),
                "cut integer": b"\x11\x00\x00",
                "cut short": b"\x21\x00",
                "cut byte": b"\x17",
                "cut text": b"\x15\x00\x05abc",
                "cut pair": b"\x26" + text("key"),
                "bad UTF-8": b"\x15" + text(b"\xc0\xaf"),
                "U+0000": user_property("a\x00", "b"),
            },
            0x81,
        )

    async def test_m21_property_length(self) -> None:
        head = text("MQTT") + b"\x05\x02" + short(0)
        await self.refused_at_connect(
            {
                "beyond the packet": packet(0x10, head + b"\x7f" + text("device")),
                "far beyond the packet": packet(0x10, head + b"\xff\xff\xff\x7f" + text("device")),
                "five bytes": packet(0x10, head + b"\x80\x80\x80\x80\x01" + text("device")),
                "four that go on": packet(0x10, head + b"\xff\xff\xff\xff" + text("device")),
                "overlong": packet(0x10, head + b"\x80\x00" + text("device")),
                "absent": packet(0x10, head),
                "cut": packet(0x10, head + b"\x80"),
            },
            version=5,
            codes=[0x81],
        )

    async def test_m21_will_with_bad_property(self) -> None:
        cases = {
            "Session Expiry Interval": b"\x11" + integer(1),
            "Topic Alias": b"\x23\x00\x01",
            "unknown": b"\x7f\x00",
            "cut": b"\x18\x00",
            "Response Topic bad UTF-8": b"\x08" + text(b"\xff"),
        }
        await self.refused_at_connect(
            {name: connect(version=5, will=Will(properties=raw)) for name, raw in cases.items()},
            version=5,
            codes=[0x81],
        )

    async def test_m21_will_with_bad_value_or_duplicate(self) -> None:
        cases = {
            "Payload Format Indicator 2": b"\x01\x02",
            "two Will Delay Intervals": (b"\x18" + integer(1)) * 2,
            "two Content Types": (b"\x03" + text("a")) * 2,
        }
        await self.refused_at_connect(
            {name: connect(version=5, will=Will(properties=raw)) for name, raw in cases.items()},
            version=5,
            codes=[0x81, 0x82],
        )

    async def test_m22_too_many_user_properties(self) -> None:
        many = b"".join(user_property("k", str(number)) for number in range(3000))
        await self.refused_props({"3000": many}, 0x97)
        await self.refused_at_connect(
            {"3000 in the will": connect(version=5, will=Will(properties=many))}, version=5, codes=[0x97]
        )

    async def test_m22_ten_user_properties_pass_in_order(self) -> None:
        ten = b"".join(user_property("same", str(number % 3)) for number in range(10))
        for gateway in await self.pair():
            will = Will(properties=ten)
            device = await gateway.connected(version=5, props=ten, will=will)
            self.assertEqual(device.uplink.packets[0], connect(version=5, props=ten, will=will))
