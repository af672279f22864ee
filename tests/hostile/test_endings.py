"""How links end while something is still open: at a shutdown, when the device has left, when the gateway fails."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from mgate.handler import Denied, Handler
from mgate.limits import Limits
from mgate.mqtt import publishing
from tests.gateway import WITNESS, Gateway, eventually
from tests.hostile.refusals import HostileTest
from tests.wire import PINGREQ, connect, publish


class Thinking(Handler):
    """Decides about every hook that it is told to, when the test says so."""

    def __init__(self, *hooks: str) -> None:
        super().__init__()
        self.open: list[Deferred[Any]] = []
        self._hooks = hooks

    def auth_connect(self, session: Any) -> Any:
        return self._ask("auth_connect", session)

    def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
        return self._ask("auth_publish", session)

    def _ask(self, hook: str, session: Any) -> Any:
        if hook not in self._hooks or session.id == WITNESS:
            return None
        self.open.append(Deferred())
        return self.open[-1]

    async def asked(self, number: int = 1) -> None:
        await eventually(lambda: len(self.open) >= number, lambda: f"asked {len(self.open)} times")


class Endings(HostileTest):
    async def shut_down(self, gateway: Gateway) -> Deferred[None]:
        """The gateway was told to end; no more devices are served afterwards."""
        gateway.serve_another = mock.AsyncMock()  # type: ignore[method-assign]
        return gateway.factory.drain()  # type: ignore[no-any-return]

    async def test_shutdown_waits_for_a_decision_and_no_longer(self) -> None:
        for version in (4, 5):
            rules = Thinking("auth_publish")
            gateway = await self.gateway(rules)
            device = await gateway.connected(version=version)
            device.send(publish("a", version=version))
            await rules.asked()
            drained = await self.shut_down(gateway)
            self.assertFalse(drained.called)
            rules.open[0].callback(None)
            await device.uplink.expect(publish("a", version=version))
            told = await device.read_until_closed()
            self.assertEqual((told[:1], told[2:3]), (b"\xe0", b"\x8b") if version == 5 else (b"", b""))
            device.close()
            await drained

    async def test_shutdown_does_not_wait_for_ever(self) -> None:
        rules = Thinking("auth_publish")
        gateway = await self.gateway(rules, limits=Limits(drain_timeout=0.2))
        device = await gateway.connected()
        device.send(publish("a"))
        await rules.asked()
        await (await self.shut_down(gateway))
        self.assertEqual(device.uplink.packets[1:], [])

    async def test_what_a_device_said_before_it_left_is_judged_and_sent(self) -> None:
        """M59 holds with a handler that thinks about the CONNECT."""
        rules = Thinking("auth_connect")
        gateway = await self.gateway(rules)
        device = await gateway.device()
        device.send(connect() + publish("a"))
        device.fin()
        await rules.asked()
        rules.open[0].callback(None)
        side = await gateway.target.accepted()
        await side.expect(publish("a"))
        await side.until(lambda: side.closed, "close")

    async def test_a_refusal_that_quotes_anything(self) -> None:
        for text in ("a\0b", "\ud800"):
            rules = Thinking("auth_publish")
            gateway = await self.gateway(rules)
            device = await gateway.connected(version=5)
            device.send(publish("a", qos=1, packet_id=3, version=5) + publish("b", version=5) + PINGREQ)
            await rules.asked()
            rules.open[0].errback(Denied("not authorised", text))
            self.assertEqual((await device.read_packet())[2:5], b"\0\3\x87")
            await rules.asked(2)
            rules.open[1].callback(None)
            await device.uplink.expect(publish("b", version=5), PINGREQ)

    async def test_a_fault_of_the_gateway_ends_one_link(self) -> None:
        rules = Thinking("auth_publish")
        gateway = await self.gateway(rules)
        device = await gateway.connected(version=5)
        with mock.patch.object(publishing, "forwarded", side_effect=ZeroDivisionError("ours")):
            device.send(publish("a", props=b"\x01\x01", version=5) + publish("b", version=5))
            await rules.asked()
            rules.open[0].callback(None)
            told = await device.read_until_closed()
            self.assertEqual((told[:1], told[2:3]), (b"\xe0", b"\x80"))
        self.assertEqual([fault[0] for fault in gateway.journal.faults], [""])
