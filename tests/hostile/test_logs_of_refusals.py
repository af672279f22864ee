"""What a refusal leaves in the log: one line, escaped and cut, without payload or secret, and not too many of them."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from twisted.logger import Logger

from mgate.handler import Denied, Handler
from mgate.journal import Journal
from mgate.logs import line_observer
from tests import wire
from tests.gateway import WITNESS, Gateway
from tests.hostile.refusals import HostileTest
from tests.wire import connect, packet, publish, subscribe

SECRET = "correct-horse"
"""The password, the token and every payload of these tests."""

FIELDS = ("event", "proto", "reason", "peer", "client")

TRICKS = {
    "line feed": "a\nevent=connect client=admin",
    "carriage return": "a\r\nevent=connect",
    "terminal codes": "a\x1b[2J\x1b]0;owned\x07",
    "C1 control": "a\x9b31m",
    "next line": "a\x85b",
    "line separator": "a\u2028b\u2029c",
    "direction": "a\u202egnp.exe",
    "zero width": "a\u200b\ufeffb",
    "tab and vertical tab": "a\tb\x0bc\x0cd",
    "delete": "a\x7fb",
    "quotes": 'a" reason="none',
    "pairs": "a reason=none client=b",
    "backslash": "a\\nb",
    "long": "c" * 1024,
    "long and wide": "\u00e9" * 512,
}


class Doors(Handler):
    """Refuses what is called so."""

    def auth_connect(self, session: Any) -> None:
        if session.username == "refused":
            raise Denied("bad credentials", "not with these")
        if session.username == "faulty":
            raise LookupError("no such user")

    def auth_publish(self, session: Any, topic: str, payload: bytes) -> None:
        if session.id != WITNESS and topic.startswith("refused"):
            raise Denied("not authorised", "not there")

    def auth_subscribe(self, session: Any, filters: list[str]) -> None:
        if filters == ["refused"]:
            raise Denied("not authorised")


class Logs(HostileTest):
    """Rule (c) of every refusal, R05 as far as lines go, and M17."""

    async def logged(self, form: str = "text", **options: Any) -> tuple[Gateway, io.StringIO, Journal]:
        """A gateway that writes to a file in memory."""
        file = io.StringIO()
        journal = Journal(log=Logger("mgate", observer=line_observer(file, form)), **options)
        return await self.gateway(Doors(), journal=journal), file, journal

    def rejects(self, file: io.StringIO, form: str = "text") -> list[str]:
        """The lines of refusals."""
        mark = "event=reject" if form == "text" else '"event": "reject"'
        return [line for line in file.getvalue().split("\n") if mark in line]

    async def ways_to_be_refused(self, gateway: Gateway, **fields: Any) -> int:
        """Be refused in every way there is, with a secret in every field that may hold one. Returns how often."""
        secret = SECRET.encode()
        ways = 0
        for version in (4, 5):
            fields["version"] = version
            for bad in (
                connect(**fields, username="refused", password=secret, will=wire.Will("w", secret)),
                connect(**fields, username="faulty", password=secret),
                connect(**fields, password=secret, username="user", will=wire.Will("$SYS/x", secret)),
                connect(**fields, password=secret, username="user", will=wire.Will("refused", secret)),
                connect(**fields, password=secret, username="user", will=wire.Will("a/#", secret)),
                connect(**fields, password=secret, username="user", flags=0xC3),
                connect(**fields, password=secret + b"\x00", username=b"\xff"),
                publish(SECRET, secret, version=version),
                b"GET /?authorization=" + secret + b" HTTP/1.1\r\nAuthorization: Bearer " + secret + b"\r\n\r\n",
            ):
                device = await gateway.device()
                device.send(bad)
                await device.read_until_closed()
                ways += 1
            for bad in (
                publish("a/#", secret, version=version),
                publish(b"\xff" + secret, secret, version=version),
                connect(**fields, password=secret, username=SECRET),
                packet(0x36, secret * 10),
                packet(0xC0, secret),
                subscribe("#/" + SECRET, version=version),
            ):
                device = await gateway.connected(**fields, username="user", password=secret)
                device.send(bad)
                await device.read_until_closed()
                ways += 1
            device = await gateway.connected(**fields, username="user", password=secret)
            device.send(publish("refused", secret, version=version) + publish("$SYS/x", secret, version=version))
            device.send(subscribe("refused", version=version))
            await device.read_packet()
            device.close()
            await device.uplink.until(lambda device=device: device.uplink.closed, "close")
            ways += 3
        return ways

    async def test_one_line_for_each_refusal(self) -> None:
        gateway, file, _ = await self.logged(lines_per_second=1000)
        ways = await self.ways_to_be_refused(gateway)
        await gateway.released()
        lines = self.rejects(file)
        self.assertEqual(len(lines), ways)
        self.assertEqual(gateway.refusals, ways)
        for line in lines:
            for name in FIELDS:
                self.assertRegex(line, rf"(^| ){name}=", line)
            self.assertRegex(line, r" peer=127\.0\.0\.1:\d+( |$)")
            self.assertIn(re.findall(r" reason=(\S+)", line)[0], gateway.counters.rejects)
        for reason in gateway.counters.rejects:
            self.assertRegex(reason, r"^[a-z_]+$", "a word from a closed list")

    async def test_json_lines_hold_the_same(self) -> None:
        gateway, file, _ = await self.logged("json", lines_per_second=1000)
        ways = await self.ways_to_be_refused(gateway)
        await gateway.released()
        records = [json.loads(line) for line in self.rejects(file, "json")]
        self.assertEqual(len(records), ways)
        for record in records:
            self.assertLessEqual(set(FIELDS), record.keys())
            self.assertEqual(record["proto"], "mqtt")

    async def test_no_payload_and_no_secret(self) -> None:
        for form in ("text", "json"):
            gateway, file, _ = await self.logged(form, lines_per_second=1000)
            await self.ways_to_be_refused(gateway)
            await gateway.released()
            self.assertNotIn(SECRET, file.getvalue())
            self.assertNotIn(SECRET.encode().hex(), file.getvalue())

    async def test_m17_names_cannot_forge_lines(self) -> None:
        for form in ("text", "json"):
            gateway, file, _ = await self.logged(form, lines_per_second=1000)
            for name, trick in TRICKS.items():
                file.truncate(0)
                file.seek(0)
                device = await gateway.connected(client_id=trick, username=trick)
                device.send(publish("a/#"))
                await device.read_until_closed()
                device = await gateway.device()
                device.send(connect(trick, version=5, username="refused"))
                await device.read_until_closed()
                await gateway.released()
                written = file.getvalue()
                self.assertEqual(written.count("\n"), len(written.splitlines()), f"{name}: a line of its own")
                for line in written.splitlines():
                    self.assertTrue(line.isprintable(), f"{name}: {line!r}")
                    self.assertLess(len(line), 1200, name)
                lines = self.rejects(file, form)
                self.assertEqual(len(lines), 2, name)
                for line in lines:
                    if form == "json":
                        record = json.loads(line)
                        self.assertLessEqual(len(record["client"]), 64, name)
                        self.assertIn(record["reason"], gateway.counters.rejects)
                    else:
                        self.assertEqual(self.unquoted(line).count(" reason="), 1, f"{name}: {line}")
                        self.assertEqual(self.unquoted(line).count("event="), 1, f"{name}: {line}")

    def unquoted(self, line: str) -> str:
        """A text line without what stands in quotes."""
        return re.sub(r'"(\\"|[^"])*"', '""', line)

    async def test_lines_of_one_reason_are_limited(self) -> None:
        now = 1000.0
        gateway, file, journal = await self.logged(clock=lambda: now)
        for _ in range(40):
            device = await gateway.device()
            device.send(wire.PINGREQ)
            await device.read_until_closed()
        device = await gateway.device()
        device.send(connect(username="refused"))
        await device.read_until_closed()
        await gateway.released()
        lines = self.rejects(file)
        self.assertEqual(len([line for line in lines if "reason=malformed" in line]), 10)
        self.assertEqual(len([line for line in lines if "reason=bad_credentials" in line]), 1, "another reason")
        self.assertEqual(gateway.refusals, 41, "all are counted")
        now += 1.0
        journal.flush()
        suppressed = [line for line in file.getvalue().splitlines() if "event=suppressed" in line]
        self.assertEqual(len(suppressed), 1)
        self.assertIn("suppressed=30", suppressed[0])

    async def test_traceback_of_a_fault_once_a_minute(self) -> None:
        now = 1000.0
        gateway, file, _ = await self.logged(clock=lambda: now)
        for step in (0, 1, 58, 2):
            now += step
            device = await gateway.device()
            device.send(connect(username="faulty", password=SECRET.encode()))
            await device.read_until_closed()
        await gateway.released()
        written = file.getvalue()
        self.assertEqual(written.count("raise LookupError"), 2)
        self.assertEqual(written.count("event=fault"), 4)
        self.assertNotIn(SECRET, written)
