"""Properties of PUBLISH in version 5 (3.3.2.3); those of CONNECT are with `test_connect`."""

from __future__ import annotations

from tests.gateway import Script
from tests.hostile.refusals import HostileTest
from tests.wire import connack, integer, packet, publish, short, text, user_property


def message(props: bytes, qos: int = 1) -> bytes:
    """A PUBLISH with these raw properties."""
    return publish("a/b", b"payload", qos=qos, version=5, props=props)


class PublishProperties(HostileTest):
    """M38-M41."""

    async def test_m38_duplicate(self) -> None:
        single = {
            "Payload Format Indicator": b"\x01\x00",
            "Content Type": b"\x03" + text("text/plain"),
            "Message Expiry Interval": b"\x02" + integer(1),
            "Response Topic": b"\x08" + text("r"),
            "Correlation Data": b"\x09" + text("c"),
        }
        cases = {name: message(raw + raw) for name, raw in single.items()}
        cases |= {f"{name}, apart": message(raw + user_property("k", "v") + raw) for name, raw in single.items()}
        await self.refused(cases, version=5, codes=[0x82])
        alias = Script(connack=connack(version=5, props=b"\x22\x00\x05"))
        await self.refused({"Topic Alias": message(b"\x23\x00\x01" * 2)}, version=5, codes=[0x82], script=alias)

    async def test_m39_bad_value(self) -> None:
        await self.refused(
            {
                "Payload Format Indicator 2": message(b"\x01\x02"),
                "Payload Format Indicator 255": message(b"\x01\xff", 0),
                "Subscription Identifier": message(b"\x0b\x01"),
                "Response Topic +": message(b"\x08" + text("a/+")),
                "Response Topic #": message(b"\x08" + text("#"), 2),
            },
            version=5,
            codes=[0x82],
        )

    async def test_m40_wrong_unknown_or_cut(self) -> None:
        start = text("a/b")
        await self.refused(
            {
                "of CONNECT": message(b"\x11" + integer(1)),
                "of CONNACK": message(b"\x13\x00\x01"),
                "of acknowledgements": message(b"\x1f" + text("r")),
                "unknown": message(b"\x7f\x00"),
                "identifier 0": message(b"\x00\x00"),
                "identifier of two bytes": message(b"\x81\x00\x00"),
                "bad UTF-8 key": message(user_property(b"\xc3\x28", "v")),
                "bad UTF-8 value": message(user_property("k", b"\xed\xa0\x80")),
                "U+0000 in Content Type": message(b"\x03" + text("a\x00")),
                "bad UTF-8 Response Topic": message(b"\x08" + text(b"\xff")),
                "cut integer": message(b"\x02\x00\x00"),
                "cut text": message(b"\x03\x00\x05abc"),
                "cut pair": message(b"\x26" + text("k")),
                "length beyond the packet": packet(0x30, start + b"\x7fpayload"),
                "length far beyond the packet": packet(0x30, start + b"\xff\xff\xff\x7fpayload"),
                "length of five bytes": packet(0x30, start + b"\x80\x80\x80\x80\x01payload"),
                "overlong length": packet(0x30, start + b"\x80\x00payload"),
                "length cuts a property": packet(0x32, start + short(1) + b"\x02\x03\x00payload"),
            },
            version=5,
            codes=[0x81],
        )

    async def test_m41_all_legal_properties_pass(self) -> None:
        everything = (
            b"\x01\x01"
            + (b"\x02" + integer(4294967295))
            + (b"\x08" + text("reply/to"))
            + (b"\x09" + text(bytes(range(256))))
            + user_property("k", "v")
            + (b"\x03" + text("application/json"))
            + user_property("", "")
        )
        await self.passed({f"QoS {qos}": message(everything, qos) for qos in (0, 1, 2)}, version=5)

    async def test_m41_ten_user_properties_with_equal_keys_pass_in_order(self) -> None:
        ten = b"".join(user_property("same", str(number % 3)) for number in range(10))
        await self.passed({"ten": message(ten)}, version=5)
