"""SUBSCRIBE and UNSUBSCRIBE: one bad filter refuses the whole packet."""

from __future__ import annotations

from tests import wire
from tests.hostile.refusals import HostileTest
from tests.hostile.test_connect import BAD_TEXT
from tests.wire import packet, properties, short, subscribe, text, unsubscribe

BAD_FILTERS = ("a/#/b", "sport+", "a+/b", "#a", "a/b#", "##", "+#", "#/a", "a/##", "a/+b", "++", "a/#/", "#/")

GOOD_FILTERS = ("#", "+", "a/#", "/#", "+/+", "/+", "+/a/#", "a/+/b", "/", "//", "$SYS/#", "a/+", " ", "$share")


class Subscribing(HostileTest):
    """M45-M51."""

    async def test_m45_cut_subscribe(self) -> None:
        for version in (3, 4, 5):
            none = properties(version, b"")
            await self.refused(
                {
                    "empty": packet(0x82),
                    "one byte": packet(0x82, b"\x00"),
                    "no filters": packet(0x82, short(1) + none),
                    "identifier 0": subscribe("a", packet_id=0, version=version),
                    "no options": packet(0x82, short(1) + none + text("a")),
                    "second filter without options": subscribe("a", version=version)[:1]
                    + wire.varint(2 + len(none) + 4 + 3)
                    + short(1)
                    + none
                    + text("a")
                    + b"\x00"
                    + text("b"),
                    "filter longer than the packet": packet(0x82, short(1) + none + b"\x00\x09ab\x00"),
                    "half a length": packet(0x82, short(1) + none + b"\x00"),
                },
                version=version,
                codes=[0x81, 0x82],
            )

    async def test_m45_exact_codes_v5(self) -> None:
        await self.refused(
            {"no filters": packet(0x82, short(1) + b"\x00"), "identifier 0": subscribe("a", packet_id=0, version=5)},
            version=5,
            codes=[0x82],
        )
        await self.refused(
            {"one byte": packet(0x82, b"\x00"), "no options": packet(0x82, short(1) + b"\x00" + text("a"))},
            version=5,
            codes=[0x81],
        )

    async def test_m46_bad_filter(self) -> None:
        for version in (3, 4, 5):
            cases = {one: subscribe(one, version=version) for one in BAD_FILTERS}
            cases |= {name: subscribe(raw, version=version) for name, raw in BAD_TEXT.items()}
            cases["empty"] = subscribe("", version=version)
            cases["one good, one bad"] = subscribe("good", "a/#/b", version=version)
            cases["one bad, one good"] = subscribe("a/#/b", "good", version=version)
            await self.refused(cases, version=version, codes=[0x81])

    async def test_m46_good_filters_pass(self) -> None:
        for version in (3, 4, 5):
            cases = {one: subscribe(one, version=version) for one in GOOD_FILTERS}
            cases["all"] = subscribe(*GOOD_FILTERS, version=version)
            await self.passed(cases, version=version)

    async def test_m47_bad_options(self) -> None:
        for version in (3, 4):
            bad = (3, 4, 8, 0x10, 0x40, 0x80, 0xFF)
            await self.refused(
                {f"{one:#x}": subscribe("a", options=one, version=version) for one in bad}, version=version
            )
        await self.refused(
            {
                f"{one:#x}": subscribe("a", options=one, version=5)
                for one in (0x03, 0x07, 0x30, 0x31, 0x40, 0x80, 0xC0, 0xFF)
            },
            version=5,
            codes=[0x81, 0x82],
        )

    async def test_m47_all_good_options_pass_v5(self) -> None:
        await self.passed(
            {
                f"{one:#x}": subscribe("a", options=one, version=5)
                for one in range(0x30)
                if one & 3 < 3 and one >> 4 < 3
            },
            version=5,
        )

    async def test_m48_subscription_identifier(self) -> None:
        await self.refused(
            {
                "0": subscribe("a", version=5, props=b"\x0b\x00"),
                "two": subscribe("a", version=5, props=b"\x0b\x01\x0b\x02"),
            },
            version=5,
            codes=[0x82],
        )
        await self.refused(
            {
                "five bytes": subscribe("a", version=5, props=b"\x0b\x80\x80\x80\x80\x01"),
                "overlong": subscribe("a", version=5, props=b"\x0b\x81\x00"),
                "cut": subscribe("a", version=5, props=b"\x0b"),
                "of PUBLISH": subscribe("a", version=5, props=b"\x01\x01"),
                "unknown": subscribe("a", version=5, props=b"\x7f\x01"),
            },
            version=5,
            codes=[0x81],
        )
        largest = subscribe("a", version=5, props=b"\x0b\xff\xff\xff\x7f")
        await self.passed({"largest": largest, "1": subscribe("a", version=5, props=b"\x0b\x01")}, version=5)

    async def test_m49_bad_shared_subscription(self) -> None:
        filters = ("$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a", "$share/+/a", "$share/g#/a")
        await self.refused({one: subscribe(one, version=5) for one in filters}, version=5, codes=[0x81, 0x82])

    async def test_m49_bad_filter_inside_a_shared_subscription(self) -> None:
        filters = ("$share/g/a/#/b", "$share/g/a+", "$share/g/##")
        for version in (3, 4, 5):
            cases = {one: subscribe(one, version=version) for one in filters}
            await self.refused(cases, version=version, codes=[0x81, 0x82])

    async def test_m49_shared_with_no_local(self) -> None:
        await self.refused({"No Local": subscribe("$share/g/a", options=4, version=5)}, version=5, codes=[0x82])

    async def test_m49_shared_is_authorised_as_its_filter(self) -> None:
        await self.pair()
        for version in (4, 5):
            self.watcher.asked.clear()
            await self.passed({"shared": subscribe("$share/g/x", "$share/g//x/#", version=version)}, version=version)
            self.assertEqual([one for one in self.watcher.asked if one[0] == "subscribe"], [("subscribe", "x", "/x/#")])

    async def test_m50_too_many_filters(self) -> None:
        for version in (3, 4, 5):
            cases = {
                str(count): subscribe(*(str(number) for number in range(count)), version=version)
                for count in (1025, 20_000)
            }
            await self.refused(cases, version=version, codes=[0x97])

    async def test_m50_of_the_limit_pass(self) -> None:
        for version in (3, 4, 5):
            many = [str(number) for number in range(1024)]
            await self.passed({"1024": subscribe(*many, version=version)}, version=version)

    async def test_m51_bad_unsubscribe(self) -> None:
        for version in (3, 4, 5):
            none = properties(version, b"")
            cases = {
                "empty": packet(0xA2),
                "one byte": packet(0xA2, b"\x00"),
                "no filters": packet(0xA2, short(1) + none),
                "identifier 0": unsubscribe("a", packet_id=0, version=version),
                "filter longer than the packet": packet(0xA2, short(1) + none + b"\x00\x09ab"),
                "half a length": packet(0xA2, short(1) + none + text("a") + b"\x00"),
                "empty filter": unsubscribe("", version=version),
                "one good, one bad": unsubscribe("good", "a/#/b", version=version),
            }
            cases |= {one: unsubscribe(one, version=version) for one in BAD_FILTERS}
            cases |= {name: unsubscribe(raw, version=version) for name, raw in BAD_TEXT.items()}
            await self.refused(cases, version=version, codes=[0x81, 0x82])

    async def test_m51_bad_properties_of_unsubscribe_v5(self) -> None:
        await self.refused(
            {
                "length beyond the packet": packet(0xA2, short(1) + b"\x7f" + text("a")),
                "Subscription Identifier": unsubscribe("a", version=5, props=b"\x0b\x01"),
            },
            version=5,
            codes=[0x81, 0x82],
        )

    async def test_m51_too_many_filters_to_unsubscribe(self) -> None:
        for version in (4, 5):
            many = [str(number) for number in range(1025)]
            await self.passed({"1024": unsubscribe(*many[:-1], version=version)}, version=version)
            await self.refused({"1025": unsubscribe(*many, version=version)}, version=version, codes=[0x97])
