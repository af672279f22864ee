"""Debian's HAProxy in front of a gateway, and behind one: it writes and reads headers as the field does."""

from __future__ import annotations

import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory

from mgate.proxyprotocol.header import Ssl, SslClient, read
from mgate.proxyprotocol.outgoing import Device, Introducing
from mgate.proxyprotocol.wrapper import ProxiedFactory
from mgate.session import Peer
from mgate.testing.pki import Pki
from mgate.tls.client import TargetConnections, TargetEndpoint
from mgate.tls.settings import TargetTls
from tests import wire
from tests.gateway import PATIENCE, Gateway, GatewayTest, RawDevice, RecordingTarget, Wire, eventually
from tests.processes import Running, free_port
from tests.proxyprotocol.test_wrapper import Sessions
from tests.real.needed import needed

reactor: Any = installed_reactor

CONFIGURATION = """
global
    maxconn 100
    stats socket {folder}/stats
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen gateway
    bind 127.0.0.1:{port}{bind}
    server one 127.0.0.1:{behind} {server}
"""


class HAProxyTest(GatewayTest):
    async def haproxy(self, behind: int, *, bind: str = "", server: str = "") -> int:
        """HAProxy in front of a port; returns the port that it listens on itself."""
        program = needed("haproxy", "apt install haproxy")
        folder = tempfile.TemporaryDirectory(prefix="mgate-haproxy-")
        self.addCleanup(folder.cleanup)
        port = free_port()
        file = Path(folder.name, "haproxy.cfg")
        file.write_text(
            CONFIGURATION.format(folder=folder.name, port=port, behind=behind, bind=bind and f" {bind}", server=server)
        )
        running = Running(self, [program, "-db", "-f", str(file)])
        stats = Path(folder.name, "stats")
        await eventually(
            lambda: stats.is_socket() or running.process.poll() is not None, lambda: "HAProxy does not listen", 20
        )
        self.assertIsNone(running.process.poll(), running.lines)
        return port

    async def proxied(self, gateway: Gateway, *, trusted: str = "127.0.0.0/8") -> int:
        self.refusals: list[str] = []
        factory = ProxiedFactory(
            gateway.factory, [ip_network(trusted)], reactor, timeout=3.0,
            refused=lambda reason, peer, text: self.refusals.append(reason),
        )  # fmt: skip
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: port.stopListening() or succeed(None))
        return int(port.getHost().port)

    async def device(self, gateway: Gateway, port: int) -> RawDevice:
        device = RawDevice()
        gateway.devices.append(device)
        # Another address than that of HAProxy, on the same machine.
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=("127.0.0.9", 0)), device)
        return device

    async def check_real_address(self, server: str) -> None:
        handler = Sessions()
        gateway = await self.gateway(handler)
        port = await self.haproxy(await self.proxied(gateway), server=server)
        device = await self.device(gateway, port)
        device.send(wire.connect(client_id="far"))
        self.assertEqual(await device.read_packet(), wire.connack())
        here = device.transport.getHost()
        self.assertEqual(handler.seen[0].peer, Peer("127.0.0.9", here.port))
        self.assertEqual(self.refusals, [])

    async def test_send_proxy(self) -> None:
        await self.check_real_address("send-proxy")

    async def test_send_proxy_v2(self) -> None:
        await self.check_real_address("send-proxy-v2")

    async def test_send_proxy_v2_with_a_checksum_and_a_unique_id(self) -> None:
        await self.check_real_address("send-proxy-v2 proxy-v2-options crc32c,unique-id")

    async def test_health_checks_are_nobody(self) -> None:
        """They come with a header that says LOCAL, or without any, and leave."""
        gateway = await self.gateway()
        port = await self.haproxy(await self.proxied(gateway), server="send-proxy-v2 check inter 20ms")
        device = await self.device(gateway, port)
        before = gateway.counters.connections_total
        await eventually(lambda: gateway.counters.connections_total > before + 2, lambda: "no checks")
        device.send(wire.connect())
        self.assertEqual(await device.read_packet(), wire.connack())
        self.assertEqual((self.refusals, gateway.journal.rejects), ([], []))

    async def test_without_a_header(self) -> None:
        gateway = await self.gateway()
        port = await self.haproxy(await self.proxied(gateway))
        device = await self.device(gateway, port)
        device.send(wire.connect())
        self.assertEqual(await device.read_until_closed(), b"")
        self.assertEqual(self.refusals, ["proxy_header"])
        self.assertEqual(gateway.target.sides, [])

    async def test_it_reads_what_we_write(self) -> None:
        """HAProxy as the target: it accepts our header, and hands it on to a listener that demands one."""
        handler = Sessions()
        gateway = await self.gateway(handler)
        port = await self.haproxy(await self.proxied(gateway), bind="accept-proxy", server="send-proxy-v2")
        target = RecordingTarget()
        front = await self.gateway(endpoints=[_Introduced(port)], target=target)
        device = await self.device(front, front.port)
        device.send(wire.connect(client_id="farther"))
        self.assertEqual(await device.read_packet(), wire.connack())
        self.assertEqual(handler.seen[0].peer, Peer("192.0.2.77", 7777))
        await device_gone(device, front)

    async def test_it_tells_of_tls(self) -> None:
        """HAProxy ends TLS with a client certificate; the header has the facts."""
        folder = tempfile.TemporaryDirectory(prefix="mgate-haproxy-")
        self.addCleanup(folder.cleanup)
        files = Path(folder.name)
        pki = Pki.make()
        good, root = pki.clients["good"], pki.root.credential
        for name, content in (
            ("both.pem", pki.server.pem + pki.server.key_pem), ("root.pem", root.pem), ("client.pem", good.pem),
            ("client.key", good.key_pem),
        ):  # fmt: skip
            (files / name).write_bytes(content)
            (files / name).chmod(0o600)
        target = RecordingTarget()
        target.listen()
        self.addCleanup(target.stop)
        port = await self.haproxy(
            target.port,
            bind=f"ssl crt {files}/both.pem ca-file {files}/root.pem verify required alpn mqtt",
            server="send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,authority",
        )
        settings = TargetTls(f"{files}/root.pem", f"{files}/client.pem", f"{files}/client.key", "localhost")
        endpoint = TargetEndpoint(
            TargetConnections(settings, ""), TCP4ClientEndpoint(reactor, "127.0.0.1", port), reactor,
            timeout=PATIENCE, report=self.fail,
        )  # fmt: skip
        device = Wire()
        await endpoint.connect(Factory.forProtocol(lambda: device))
        side = await target.accepted()
        await side.until(lambda: read(side.received) is not None, "header")
        found = read(side.received)
        assert found is not None and found.header.ssl is not None
        self.assertEqual(found.header.source, ("127.0.0.1", device.transport.getHost().port))
        self.assertEqual(found.header.authority, "localhost")
        client = SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS
        self.assertEqual(found.header.ssl, Ssl(client, 0, "TLSv1.3", good.name))
        device.reset()
        await side.until(lambda: side.closed, "close")


class _Introduced:
    """An endpoint that dials for one device, whatever link asks."""

    def __init__(self, port: int) -> None:
        self._endpoint = Introducing(TCP4ClientEndpoint(reactor, "127.0.0.1", port))

    def connect(self, protocolFactory: Any) -> Any:
        return self._endpoint.connect(_Named(protocolFactory))


class _Named:
    """A link that says who it is for."""

    def __init__(self, link: Any) -> None:
        self._link = link

    def introduced(self) -> Device:
        return Device(Peer("192.0.2.77", 7777), Peer("198.51.100.7", 8883), "TLSv1.3", "sensor", True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


async def device_gone(device: RawDevice, gateway: Gateway) -> None:
    """A front without a target of its own cannot serve a witness at the end."""
    device.reset()
    await eventually(lambda: gateway.counters.connections == 0, lambda: "the link does not end")
    gateway.target = None
