"""What is true of every refusal, as assertions: nothing of the packet goes up, the target sees no DISCONNECT, the
device gets the exact answer, and one refusal is counted and reported.

Every case is tried on two gateways: one without handlers, which passes packets as slices without decoding them, and one
whose handler watches everything. Both must refuse the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater

from mgate.handler import Handler
from mgate.limits import Limits
from tests import wire
from tests.gateway import Gateway, GatewayTest, RawDevice, Script

__all__ = ["Cases", "HostileTest", "Watcher"]

reactor: Any = installed_reactor

Cases = Mapping[str, bytes]
"""What is sent, by a name for the report."""


class Watcher(Handler):
    """Admits everything, overrides every hook, and remembers what it was asked and told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []
        self.told: list[tuple[Any, ...]] = []

    def auth_connect(self, session: Any) -> Any:
        self.asked.append(("connect", session.id, session.username))

    def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
        self.asked.append(("publish", topic, payload))

    def auth_subscribe(self, session: Any, filters: list[str]) -> Any:
        self.asked.append(("subscribe", *filters))

    def auth_deliver(self, session: Any, topic: str, payload: bytes) -> Any:
        self.asked.append(("deliver", topic, payload))

    def connect(self, session: Any) -> None:
        self.told.append(("connect", session.id))

    def publish(self, session: Any, topic: str, payload: bytes) -> None:
        self.told.append(("publish", topic, payload))

    def subscribe(self, session: Any, granted: dict[str, int]) -> None:
        self.told.append(("subscribe", granted))

    def unsubscribe(self, session: Any, filters: list[str]) -> None:
        self.told.append(("unsubscribe", filters))

    def disconnect(self, session: Any, reason: str) -> None:
        self.told.append(("disconnect", session.id, reason))


class HostileTest(GatewayTest):
    """Base of the tests of this folder."""

    _pair: tuple[Gateway, Gateway] | None = None

    async def pair(self, limits: Limits | None = None) -> tuple[Gateway, Gateway]:
        """A gateway without handlers and one with a `Watcher`, made once for each test."""
        if self._pair is None:
            self.watcher = Watcher()
            self._pair = (await self.gateway(limits=limits), await self.gateway(self.watcher, limits=limits))
        return self._pair

    async def turn(self) -> None:
        """Let the reactor turn, so that what was written goes out by itself."""
        await deferLater(reactor, 0)

    async def refused_at_connect(self, cases: Cases, *, version: int = 4, codes: Iterable[int] = ()) -> None:
        """Each case, sent by a device that is not connected yet, is refused without a dial.

        Args:
            cases: bytes that begin a connection.
            version: the form of the CONNACK.
            codes: of which the CONNACK carries one; none means that the device gets no byte at all.
        """
        await self._each(cases, self._check_at_connect, version, tuple(codes))

    async def refused(
        self,
        cases: Cases,
        *,
        version: int,
        codes: Iterable[int] = (),
        good: Iterable[bytes] = (),
        script: Script | None = None,
        **fields: Any,
    ) -> None:
        """Each case, sent by a connected device, ends the connection.

        Args:
            cases: what is sent behind the CONNACK.
            version: in 3 and 4 the device gets no packet; in 5 it gets a DISCONNECT.
            codes: of which the DISCONNECT carries one.
            good: packets that are sent in front of each case in one piece with it, and that go up.
            script: what the target does.
            fields: for `tests.wire.connect`.
        """
        await self._each(cases, self._check_connected, version, tuple(codes), tuple(good), script, fields)

    async def passed(self, cases: Cases, *, version: int, script: Script | None = None, **fields: Any) -> None:
        """Each case is a packet of a connected device that reaches the target byte for byte, and nothing is closed."""
        await self._each(cases, self._check_passed, version, script, fields)

    async def _each(self, cases: Cases, check: Any, *arguments: Any) -> None:
        """Run `check` for all cases on both gateways, and report all that failed."""
        problems = []
        for title, gateway in zip(("unwatched", "watched"), await self.pair(), strict=True):
            for name, data in cases.items():
                try:
                    await check(gateway, data, *arguments)
                except AssertionError as error:
                    problems.append(f"{name} ({title}, {data[:40].hex(' ')}): {error}")
                    await gateway.settle()
                    gateway.forget()
        if problems:
            self.fail("\n".join([f"{len(problems)} failed", *problems]))

    async def _check_at_connect(self, gateway: Gateway, data: bytes, version: int, codes: tuple[int, ...]) -> None:
        before, dials = gateway.refusals, gateway.counters.target_dials
        device = await gateway.device()
        device.send(data)
        self.check_connack(await device.read_until_closed(), version, codes)
        await gateway.released()
        self.assertEqual(gateway.counters.target_dials, dials, "the target was dialled")
        self.check_counted(gateway, before)

    async def _check_connected(
        self,
        gateway: Gateway,
        data: bytes,
        version: int,
        codes: tuple[int, ...],
        good: tuple[bytes, ...],
        script: Script | None,
        fields: dict[str, Any],
    ) -> None:
        before = gateway.refusals
        device = await gateway.connected(version=version, script=script, **fields)
        device.send(b"".join(good) + data)
        await self.check_ended(device, version, codes, b"".join(good))
        await gateway.released()
        self.check_counted(gateway, before)

    async def _check_passed(
        self, gateway: Gateway, data: bytes, version: int, script: Script | None, fields: dict[str, Any]
    ) -> None:
        before = gateway.refusals
        device = await gateway.connected(version=version, script=script, **fields)
        device.send(data)
        await device.uplink.until(lambda: len(device.uplink.behind_connect) >= len(data), "packet")
        self.assertEqual(device.uplink.behind_connect, data, "not what was sent")
        device.send(wire.PINGREQ)
        answer = await device.read_packet()
        while answer != wire.PINGRESP:
            answer = await device.read_packet()
        self.assertEqual(gateway.refusals, before, "it was counted as a refusal")
        device.reset()
        await gateway.released()

    async def check_ended(
        self, device: RawDevice, version: int, codes: Iterable[int] = (), good: bytes = b""
    ) -> list[bytes]:
        """The connection ends as a refusal does: the device gets a DISCONNECT with one of `codes` (in version 5 only),
        and the target sees `good`, no DISCONNECT, and a close.

        Returns: the packets that the device got before its DISCONNECT.
        """
        answers, rest = wire.packets(await device.read_until_closed())
        self.assertEqual(rest, b"", "half a packet came back")
        if version == 5 and codes:
            self.assertTrue(answers, "no DISCONNECT before the close")
            last = answers.pop()
            self.assertEqual(last[0], 0xE0, f"no DISCONNECT but {last[:40].hex(' ')}")
            self.assertIn(last[2] if len(last) > 2 else 0, tuple(codes), "reason code of the DISCONNECT")
        self.assertNotIn(0xE0, [one[0] for one in answers], "a DISCONNECT that does not belong here")
        await device.uplink.until(lambda: device.uplink.closed, "close of the target's side")
        self.assertEqual(device.uplink.behind_connect, good, "what the target received")
        return answers

    async def check_nothing_went_up(self, device: RawDevice) -> None:
        """The device is still served, and the target has seen nothing of what it sent before."""
        device.send(wire.PINGREQ)
        self.assertEqual(await device.read_packet(), wire.PINGRESP)
        self.assertEqual(device.uplink.packets[1:], [wire.PINGREQ], "nothing but the ping goes up")

    def check_connack(self, answer: bytes, version: int, codes: Iterable[int]) -> None:
        """`answer` is one CONNACK with one of `codes` and no session present; or nothing where there are no codes."""
        if not tuple(codes):
            self.assertEqual(answer, b"", "closed without a packet was expected")
            return
        found, rest = wire.packets(answer)
        self.assertEqual((len(found), rest), (1, b""), f"one CONNACK was expected, not {answer[:40].hex(' ')}")
        self.assertEqual(found[0][:1] + found[0][2:3], b"\x20\x00", "CONNACK without session present")
        self.assertIn(found[0][3], tuple(codes), "reason code of the CONNACK")
        self.assertEqual(len(found[0]) > 4, version == 5, "properties belong to version 5 only")

    def check_counted(self, gateway: Gateway, before: int) -> None:
        """Exactly one refusal was counted and reported since `before`."""
        self.assertEqual(gateway.refusals - before, 1, f"refusals counted: {gateway.counters.rejects}")
        self.assertEqual(len(gateway.journal.rejects), gateway.refusals, "refusals in the journal")
