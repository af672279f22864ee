"""Reloads of a service in this process: what they change, for whom, and what a bad one leaves alone (S03)."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import weakref
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mgate.config import load
from mgate.counters import ServiceCounters
from mgate.journal import Journal
from mgate.service import GatewayService
from mgate.testing.credential import DAY, Credential
from mgate.testing.pki import SERVER, SERVER_NAMES, Pki
from mgate.testing.responder import Behaviour, Responder
from tests import wire
from tests.gateway import RawDevice, RecordingTarget, eventually
from tests.processes import busy_port, free_ports
from tests.tls.handshakes import TLS13, client_connection

reactor: Any = installed_reactor

TLS = {"cert_file": "server.pem", "key_file": "server.key"}
MUTUAL = {**TLS, "client_ca_file": "root.pem"}


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    def __init__(self, credential: Credential | None) -> None:
        self._credential = credential

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return client_connection(TLS13, self._credential)


def table(header: str, values: Mapping[str, Any]) -> str:
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), "", ""])


class ReloadTest(TestCase):
    timeout = 60

    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)
        self.file = self.folder / "mgate.toml"
        self.target = RecordingTarget()
        self.target.listen()
        self.addCleanup(self.target.stop)
        self.devices: list[RawDevice] = []
        self.lines: list[str] = []
        self.states: list[str] = []
        self.port, self.other_port = free_ports(2)

    def certificates(self, url: str = "http://127.0.0.1:9") -> None:
        self.pki = Pki.make(url)
        self.pki.write(self.folder)

    def write(self, *listeners: str) -> None:
        self.file.write_text("\n".join(listeners))

    def listener(self, name: str = "devices", port: int | None = None, *more: str, **keys: Any) -> str:
        """The tables of a listener; values that are tables are written behind it."""
        tables = {key: value for key, value in keys.items() if isinstance(value, dict)}
        plain = {key: value for key, value in keys.items() if key not in tables}
        values = {"name": name, "listen": f"127.0.0.1:{port or self.port}", "target": f"127.0.0.1:{self.target.port}"}
        text = table("[[listener]]", {**values, **plain})
        return text + "".join(table(f"[listener.{key}]", each) for key, each in tables.items()) + "".join(more)

    def start(self, *listeners: str) -> None:
        self.write(*(listeners or [self.listener()]))
        self.service = GatewayService(
            load(str(self.file), {}), reactor, Journal(), lambda: load(str(self.file), {}), {}
        )
        self.patch(self.service, "_tell_systemd", self.states.append)
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)
        self.service.bind()
        self.service.privilegedStartService()
        self.service.startService()
        self.addCleanup(self._stop)
        self.serving = self.service._serving

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == "mgate":
            self.lines.append(formatEvent(event))

    async def _stop(self) -> None:
        for device in self.devices:
            if not device.closed:
                device.reset()
        if self.service.running:
            await self.service.stopService()
        for side in self.target.sides:
            side.reset()
        await eventually(lambda: all(each.closed for each in self.target.sides), lambda: "sides stay open")

    def reload(self, *listeners: str) -> None:
        """Reload with other listeners, and demand that it succeeds."""
        if listeners:
            self.write(*listeners)
        self.lines.clear()
        self.assertTrue(self.service.reload(), self.lines)
        self.assertEqual(self.service.counters.last_reload_succeeded, 1)

    def refused(self, *listeners: str) -> list[str]:
        """Reload with what cannot be used; returns the lines that say why."""
        if listeners:
            self.write(*listeners)
        self.lines.clear()
        before, counters = dict(self.serving.listeners), self.service.counters
        failures, configuration = counters.reload_failures, self.serving.configuration
        bindings = [each.binding for each in before.values()]
        checkers = self.serving.checkers.all
        self.assertFalse(self.service.reload())
        self.assertEqual((counters.last_reload_succeeded, counters.reload_failures), (0, failures + 1))
        self.assertEqual(self.serving.listeners, before)
        self.assertEqual([each.binding for each in before.values()], bindings)
        self.assertIs(self.serving.configuration, configuration)
        self.assertEqual(self.serving.checkers.all, checkers)
        self.assertEqual(self.states[-2:], [self.states[-2], "READY=1"])
        self.assertRegex(self.states[-2], r"^RELOADING=1\nMONOTONIC_USEC=\d+$")
        self.assertEqual(self.lines.pop(), "not reloaded: the configuration stays as it was")
        return self.lines

    async def connected(
        self, port: int | None = None, *, tls: bool = False, credential: Credential | None = None, **fields: Any
    ) -> RawDevice:
        """A device that has its CONNACK 0."""
        device = RawDevice()
        self.devices.append(device)
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.port)
        if tls or credential:
            endpoint = wrapClientTLS(Creator(credential), endpoint)
        await connectProtocol(endpoint, device)
        device.send(wire.connect(**fields))
        device.uplink = await self.target.accepted()
        self.assertEqual(await device.read_packet(), wire.connack())
        return device

    async def assert_serves(self, *devices: RawDevice) -> None:
        """They still publish, and hear of it."""
        for device in devices:
            device.send(wire.publish("a/b", b"hello", qos=1, packet_id=7))
            self.assertEqual(await device.read_packet(), wire.puback(7))

    async def assert_closed(self, port: int) -> None:
        with self.assertRaises(ConnectionRefusedError):
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), RawDevice())

    def serial(self, device: RawDevice) -> int:
        """Of the certificate that the gateway showed."""
        return int(device.transport.getPeerCertificate().get_serial_number())


class Listeners(ReloadTest):
    async def test_counters(self) -> None:
        self.start()
        self.assertEqual(self.service.counters, ServiceCounters(0, 0, 1))
        self.reload()
        self.reload()
        self.refused("[")
        self.assertEqual(self.service.counters, ServiceCounters(2, 1, 0))
        self.reload(self.listener())
        self.assertEqual(self.service.counters, ServiceCounters(3, 1, 1))

    async def test_nothing_new_says_nothing_new(self) -> None:
        self.start()
        self.reload()
        self.assertEqual(self.lines, ["reloaded: 1 listening"])
        self.assertRegex("|".join(self.states), r"RELOADING=1\nMONOTONIC_USEC=\d+\|READY=1$")

    async def test_added_and_removed(self) -> None:
        self.start()
        device = await self.connected()
        self.reload(self.listener(), self.listener("more", self.other_port))
        self.assertRegex(self.lines[0], f"more: listening on 127.0.0.1:{self.other_port} -> target")
        another = await self.connected(self.other_port, client_id="another")
        self.reload(self.listener("more", self.other_port))
        self.assertIn(f"no longer listening on 127.0.0.1:{self.port}", self.lines)
        await self.assert_closed(self.port)
        await self.assert_serves(device, another)
        self.assertEqual(list(self.serving.listeners), ["more"])
        self.assertEqual(list(self.serving._retired), ["devices"])
        device.reset()
        await device.uplink.until(lambda: device.uplink.closed, "close")
        await eventually(lambda: not self.serving._retired, lambda: "a listener without connections is kept", 5)

    async def test_moved(self) -> None:
        self.start()
        device = await self.connected()
        factory = self.serving.listeners["devices"].factory
        self.reload(self.listener(port=self.other_port))
        await self.assert_closed(self.port)
        another = await self.connected(self.other_port, client_id="another")
        await self.assert_serves(device, another)
        self.assertIs(self.serving.listeners["devices"].factory, factory, "its numbers and limits go on")
        self.assertEqual(factory.counters.connections, 2)

    async def test_renamed(self) -> None:
        self.start()
        device = await self.connected()
        port = self.serving.listeners["devices"].binding.ports[0]
        self.reload(self.listener("renamed"))
        self.assertIs(self.serving.listeners["renamed"].binding.ports[0], port)
        another = await self.connected(client_id="another")
        self.assertEqual(self.serving.listeners["renamed"].counters.connections, 1)
        await self.assert_serves(device, another)
        self.reload(self.listener("devices"), self.listener("renamed", self.other_port))
        counters = self.serving.listeners["devices"].counters
        self.assertEqual(counters.connections, 1, "it was not gone yet, and goes on")
        third = await self.connected(client_id="third")
        self.assertEqual(counters.connections, 2)
        await self.assert_serves(device, another, third)

    async def test_exchanged(self) -> None:
        self.start(self.listener("one"), self.listener("two", self.other_port))
        self.reload(self.listener("two"), self.listener("one", self.other_port))
        await self.connected(self.port)
        self.assertEqual({name: each.counters.connections for name, each in self.serving.listeners.items()},
                         {"two": 1, "one": 0})  # fmt: skip

    async def test_another_spelling_of_an_address(self) -> None:
        self.start()
        port = self.serving.listeners["devices"].binding.ports[0]
        self.reload(self.listener(listen=f"localhost:{self.port}"))
        self.assertIs(self.serving.listeners["devices"].binding.ports[0], port)

    async def test_taken_addresses(self) -> None:
        self.start()
        device = await self.connected()
        busy = busy_port(self)
        for listen in (f"127.0.0.1:{busy}", f"tcp:{busy}:interface=127.0.0.1"):
            (line,) = self.refused(self.listener(port=self.other_port), self.listener("more", listen=listen))
            self.assertRegex(line, 'cannot reload: listener "more": cannot listen on .*: Address already in use$')
            await self.assert_closed(self.other_port)
        (line,) = self.refused(self.listener(listen=f":{self.port}"))
        self.assertRegex(line, f"the gateway itself listens on 127.0.0.1:{self.port}, which takes a restart$")
        (line,) = self.refused(self.listener(listen="unix:a:b:c:d"))
        self.assertRegex(line, "'unix:a:b:c:d' is no endpoint string")
        await self.assert_serves(device, await self.connected(client_id="another"))

    async def test_endpoint_strings(self) -> None:
        self.start()
        device = await self.connected()
        self.reload(self.listener(listen=f"tcp:{self.other_port}:interface=127.0.0.1"))
        another = await self.connected(self.other_port, client_id="another")
        await self.assert_closed(self.port)
        self.reload()
        await self.assert_serves(device, another)


class NewForThoseWhoConnect(ReloadTest):
    async def test_handlers(self) -> None:
        self.start()
        before = await self.connected()
        self.reload(self.listener(handlers=["deny:a/#"], denied_publish="disconnect"))
        self.assertRegex(self.lines[0], "handlers: deny$")
        after = await self.connected(client_id="after")
        await self.assert_serves(before)
        after.send(wire.publish("a/b", b"hello", qos=1, packet_id=7))
        self.assertEqual(await after.read_until_closed(), b"")
        self.reload(self.listener())
        await self.assert_serves(before, await self.connected(client_id="last"))

    async def test_limits_and_targets(self) -> None:
        self.start()
        before = await self.connected()
        other = RecordingTarget()
        other.listen()
        self.addCleanup(other.stop)
        first, self.target = self.target, other
        self.addCleanup(setattr, self, "target", first)
        self.reload(self.listener(limits={"max_packet_size": 256}))
        after = await self.connected(client_id="after")
        big = wire.publish("a/b", bytes(1000), qos=1, packet_id=9)
        before.send(big)
        self.assertEqual(await before.read_packet(), wire.puback(9))
        after.send(big)
        await after.read_until_closed()
        await after.uplink.until(lambda: after.uplink.closed, "close")

    async def test_plain_to_tls_and_back(self) -> None:
        self.certificates()
        self.start()
        plain = await self.connected()
        self.reload(self.listener(tls=TLS))
        self.assertRegex(self.lines[0], r"\(TLS\) -> target")
        encrypted = await self.connected(tls=True, client_id="encrypted")
        stranger = RawDevice()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), stranger)
        stranger.send(wire.connect(client_id="stranger"))
        self.assertNotIn(wire.connack(), await stranger.read_until_closed())
        self.reload(self.listener(tls=MUTUAL))
        mutual = await self.connected(credential=self.pki.clients["good"], client_id="mutual")
        self.reload(self.listener())
        await self.assert_serves(plain, encrypted, mutual, await self.connected(client_id="last"))

    async def test_certificates(self) -> None:
        self.certificates()
        self.start(self.listener(tls=TLS))
        before = await self.connected(tls=True)
        renewed = self.pki.intermediate.issue("server", names=SERVER_NAMES, usage=SERVER)
        renewed.write(self.folder, "server")
        unaware = await self.connected(tls=True, client_id="unaware")
        self.assertEqual(self.serial(unaware), self.pki.server.serial, "nothing is read before the reload")
        self.reload()
        after = await self.connected(tls=True, client_id="after")
        self.assertEqual(self.serial(after), renewed.serial)
        await self.assert_serves(before, unaware, after)

    async def test_a_proxy_in_the_middle_of_its_header(self) -> None:
        self.start(self.listener(trusted_proxies=["127.0.0.1"]))
        device = RawDevice()
        self.devices.append(device)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), device)
        device.send(b"PROXY TCP4 192.0.2.1")
        (entrance,) = self.serving.listeners["devices"]._entrances
        await eventually(lambda: not entrance.idle, lambda: "nobody came")
        self.reload(self.listener())
        device.send(b" 192.0.2.2 1 2\r\n" + wire.connect())
        device.uplink = await self.target.accepted()
        self.assertEqual(await device.read_packet(), wire.connack())
        await self.connected(client_id="plain")


class Refused(ReloadTest):
    async def test_files(self) -> None:
        self.certificates()
        tls = self.listener(tls=MUTUAL)
        self.start(tls)
        device = await self.connected(credential=self.pki.clients["good"])
        server_key = (self.folder / "server.key").read_bytes()

        def put(name: str, data: bytes) -> None:
            (self.folder / name).write_bytes(data)

        expired = self.pki.intermediate.issue("expired", usage=SERVER, not_before=-2 * DAY, not_after=-DAY)
        expired.write(self.folder, "expired")
        cases = {
            "junk certificate": (lambda: put("server.pem", b"\0junk" * 99), "server.pem: no certificate in PEM"),
            "junk key": (lambda: put("server.key", b"-----BEGIN PRIVATE KEY-----\nx"), "server.key: no private key"),
            "key of another": (
                lambda: put("server.key", (self.folder / "other-server.key").read_bytes()),
                "server.key: the certificate of this key is not in ",
            ),
            "no certificate": ((self.folder / "server.pem").unlink, "server.pem: No such file"),
            "world-readable key": (lambda: (self.folder / "server.key").chmod(0o644), "others may read this key"),
            "a folder": (lambda: self.write(self.listener(tls={**MUTUAL, "cert_file": "."})), "not a file"),
            "half a pair": (lambda: self.write(self.listener(tls={"cert_file": "server.pem"})), "key_file: missing"),
            "expired": (
                lambda: self.write(self.listener(tls={"cert_file": "expired.pem", "key_file": "expired.key"})),
                "expired.pem: the certificate has expired on ",
            ),
            "junk authorities": (lambda: put("root.pem", b"junk"), "root.pem: no certificate in PEM"),
            "bad TOML": (lambda: self.write("[[listener]\n"), "mgate.toml"),
            "no text": (lambda: put("mgate.toml", b"\xff\xfe\0"), "mgate.toml"),
            "no file": (self.file.unlink, "mgate.toml"),
            "no listener": (lambda: self.write(""), "no listener"),
            "bad handler": (lambda: self.write(self.listener(handlers=["lgo"])), "did you mean 'log'"),
            "bad arguments": (lambda: self.write(self.listener(handlers=["deny:#/#"])), "'#/#' is no topic filter"),
            "bad value": (lambda: self.write(self.listener(limits={"max_paket": 1})), "max_paket: unknown key"),
        }
        for case, (spoil, text) in cases.items():
            with self.subTest(case):
                spoil()
                (line,) = self.refused()
                self.assertIn(text, line)
                self.assertTrue(line.startswith("cannot reload: "), line)
                self.assertNotIn("Traceback", line)
                await self.assert_serves(device)
                self.pki.write(self.folder)
                self.assertEqual((self.folder / "server.key").read_bytes(), server_key)
                self.reload(tls)
        await self.assert_serves(device, await self.connected(credential=self.pki.clients["good"], client_id="last"))

    async def test_every_mistake_has_its_line(self) -> None:
        self.certificates()
        self.start()
        os.truncate(self.folder / "server.pem", 10)
        lines = self.refused(
            self.listener(tls=TLS, handlers=["deny:#/#"]),
            self.listener("b", self.other_port, tls={**MUTUAL, "key_file": "no.key", "client_ca_file": "no.pem"}),
        )
        for text in ("deny", "server.pem", "no.key", "no.pem"):
            self.assertTrue(any(text in line for line in lines), (text, lines))

    async def test_log_says_that_it_takes_a_restart(self) -> None:
        self.start()
        self.reload('[log]\nlevel = "debug"\n', self.listener())
        self.assertIn("log: what has changed there counts from the next start", self.lines)


class Statuses(ReloadTest):
    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.responder = Responder(reactor)
        self.addCleanup(self.responder.stop)
        self.certificates(await self.responder.listen())
        self.responder.authorities = self.pki.authorities

    def asking(self, tls: Mapping[str, Any] = MUTUAL, **revocation: Any) -> str:
        port = int(self.pki.url.rpartition(":")[2])
        values = {"allowed_networks": ["127.0.0.1/32"], "allowed_ports": [port], **revocation}
        return self.listener("devices", None, table("[listener.tls.revocation]", values), tls=dict(tls))

    async def test_sessions_of_before_are_still_cut(self) -> None:
        """By the checker that let them in, which is gone afterwards."""
        self.responder.behaviours["intermediate.crl"] = Behaviour(crl={"next_update": timedelta(seconds=4)})
        self.start(self.asking(methods=["crl"]))
        device = await self.connected(credential=self.pki.clients["good"])
        (checker,) = self.serving.checkers.all.values()
        self.reload(self.listener())
        self.assertEqual([*self.serving.checkers.all.values()], [checker])
        self.pki.intermediate.revoke(self.pki.clients["good"])
        await device.read_until_closed(20)
        self.assertEqual(checker.counters.cut, 1)
        await eventually(lambda: not self.serving.checkers.all, lambda: "a checker without sessions is kept", 5)
        self.assertEqual(len(self.serving.listeners["devices"]._entrances), 1)

    async def test_equal_settings_keep_the_checker(self) -> None:
        self.start(self.asking(methods=["ocsp"]))
        device = await self.connected(credential=self.pki.clients["good"])
        (checker,) = self.serving.checkers.all.values()
        self.reload()
        self.reload()
        self.assertEqual([*self.serving.checkers.all.values()], [checker])
        asked = len(self.responder.requests)
        await self.connected(credential=self.pki.clients["good"], client_id="again")
        self.assertEqual(len(self.responder.requests), asked, "what was known is known")
        device.reset()

    async def test_a_reload_that_fails_leaves_no_checker(self) -> None:
        self.start(self.asking(methods=["ocsp"]))
        for deadline in (1, 2):
            self.refused(self.asking({**MUTUAL, "cert_file": "no.pem"}, methods=["ocsp"], deadline=deadline))
            self.refused(
                self.asking(methods=["ocsp"], deadline=deadline),
                self.listener("more", listen=f"127.0.0.1:{busy_port(self)}"),
            )

    async def test_files_of_the_checker(self) -> None:
        file = self.folder / "offline.pem"
        file.write_bytes(self.pki.intermediate.crl().public_bytes(Encoding.PEM))
        settings = self.asking(methods=["crl"], offline_crl_file="offline.pem")
        self.start(settings)
        (checker,) = self.serving.checkers.all.values()
        self.reload()
        self.assertEqual([*self.serving.checkers.all.values()], [checker])
        file.write_bytes(b"junk")
        (line,) = self.refused()
        self.assertIn("offline.pem", line)
        file.write_bytes(self.pki.intermediate.crl().public_bytes(Encoding.PEM))
        self.reload()
        (another,) = self.serving.checkers.all.values()
        self.assertIsNot(another, checker)

    async def test_while_a_handshake_is_held(self) -> None:
        """Who is held is judged by the checker that was asked; who leaves, leaves nothing."""
        for leaves in (False, True):
            self.responder.behaviours["ocsp"] = Behaviour(delay=float("inf"))
            if not leaves:
                self.start(self.asking(methods=["ocsp"], ocsp_depth=1, deadline=2 if leaves else 30))
            self.reload(self.asking(methods=["ocsp"], ocsp_depth=1, deadline=2 if leaves else 30))
            client = self.pki.clients["on-hold" if leaves else "good"]
            device = RawDevice()
            self.devices.append(device)
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
            await connectProtocol(wrapClientTLS(Creator(client), endpoint), device)
            device.send(wire.connect(client_id="held"))
            (checker,) = self.serving.checkers.all.values()
            await self.held(checker)
            self.reload(self.listener())
            await self.connected(client_id="plain")
            await self.held(checker)
            self.assertFalse(device.closed)
            if not leaves:
                self.responder.release()
                device.uplink = await self.target.accepted()
                self.assertEqual(await device.read_packet(), wire.connack())
            device.reset()
            await eventually(lambda: not self.serving.checkers.all, lambda: "a checker that nobody needs is kept", 5)

    async def held(self, checker: Any) -> None:
        await eventually(lambda: checker.counters.pending == 1, lambda: f"{checker.counters.pending} are held")


class Ends(ReloadTest):
    async def test_while_stopping(self) -> None:
        self.start(self.listener(limits={"drain_timeout": 1}))
        device = await self.connected()
        stopped = self.service.stopService()
        self.assertFalse(self.service.reload())
        self.assertEqual(self.lines[-1], "not reloaded: the gateway is stopping")
        self.assertEqual(self.service.counters, ServiceCounters())
        await stopped
        await device.read_until_closed()
        await self.assert_closed(self.port)

    async def test_signals_come_together(self) -> None:
        self.start()
        for _ in range(5):
            self.service._hung_up()
        await eventually(lambda: self.service.counters.reloads > 0, lambda: "no reload")
        self.service._hung_up()
        await eventually(lambda: self.service.counters.reloads > 1, lambda: "no second reload")
        self.assertEqual(self.service.counters.reloads, 2)

    async def test_those_of_before_drain_too(self) -> None:
        self.start(self.listener(limits={"drain_timeout": 1}), self.listener("more", self.other_port))
        device = await self.connected()
        self.reload(self.listener("more", self.other_port))
        await self.service.stopService()
        await device.read_until_closed()
        await device.uplink.until(lambda: device.uplink.closed, "close")

    async def test_nothing_is_left_of_200_reloads(self) -> None:
        self.certificates()
        good, junk = self.listener(tls=MUTUAL), self.listener(tls={**MUTUAL, "key_file": "other-server.key"})
        self.start(good)
        device = await self.connected(credential=self.pki.clients["good"])
        made: list[weakref.ref[Any]] = []
        for number in range(100):
            self.refused(junk)
            self.reload(good)
            listener = self.serving.listeners["devices"]
            made += [weakref.ref(self.serving._generation), weakref.ref(listener._entrances[-1])]
            made.append(weakref.ref(listener.factory.policy))
            if not number % 20:
                another = await self.connected(credential=self.pki.clients["good"], client_id=f"another-{number}")
                await self.assert_serves(device, another)
                another.reset()
                await another.uplink.until(lambda other=another: other.uplink.closed, "close")  # type: ignore[misc]
        await eventually(lambda: len(listener._entrances) == 2, lambda: "entrances are kept", 5)
        gc.collect()
        self.assertLessEqual(sum(each() is not None for each in made), 4, "of those before, the device keeps one")
        await self.assert_serves(device)
