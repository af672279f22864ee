"""HAProxy in front of the gateway and behind it, with headers of the PROXY protocol; TLS passes through it."""

from __future__ import annotations

import json
import socket
import threading
import unittest
from typing import Any

from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connack, Connect
from mgate.proxyprotocol.encode import encode as encode_header
from mgate.proxyprotocol.header import Address, Header, SslClient, read
from tests.real.certificates import TLS_1_2, TLS_1_3, Certificates
from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.haproxy import Haproxy
from tests.real.mosquitto import Mosquitto, command
from tests.real.paho_device import Device
from tests.real.wiretap import Wiretap

DEVICE, OTHER = "127.0.0.2", "127.0.0.3"
PATIENCE = 20
PER_ADDRESS = 2


class InFrontTest(unittest.TestCase):
    """HAProxy is at 127.0.0.1, devices are elsewhere."""

    certificates: Certificates

    @classmethod
    def setUpClass(cls) -> None:
        cls.certificates = Certificates(ForClass(cls))

    def setUp(self) -> None:
        broker = Mosquitto(self, certificates=self.certificates)
        self.wiretap = Wiretap(self, broker.port)
        tls = {
            "tls": self.certificates.serving("ocsp", "crl"),
            "target_tls": self.certificates.dialling(),
        }
        few = {"limits": {"max_connections_per_address": PER_ADDRESS}}
        proxied = {"trusted_proxies": ["127.0.0.1"]}
        self.gateway = Gateway(
            self,
            f"mqtts://localhost:{self.wiretap.port}",
            secure=Serve(["teller"], keys=tls | proxied),
            few=Serve(["teller"], keys=tls | proxied | few),
            plain=Serve(["teller"], self.wiretap.port, keys=proxied),
            distant=Serve(["teller"], keys=tls | {"trusted_proxies": ["192.0.2.0/24"]}),
            without=Serve(["teller"], keys=tls),
        )

    def haproxy(self, listener: str, version: int = 2) -> Haproxy:
        return Haproxy(self, self.gateway.ports[listener], server="send-proxy" + ("-v2" if version == 2 else ""))

    def device(self, port: int, source: str, name: str = "client-good", **more: Any) -> Device:
        return Device(self, port, "", tls=self.certificates.context(name), source=source, **more)

    def test_the_handler_sees_who_connects(self) -> None:
        for version in (1, 2):
            port = self.haproxy("secure", version).port
            for source in (DEVICE, OTHER):
                for tls in (TLS_1_2, TLS_1_3):
                    with self.subTest(version=version, source=source, tls=tls):
                        device = Device(
                            self, port, "", tls=self.certificates.context(version=tls), source=source, version=5
                        )
                        device.subscribe("who")
                        device.publish("who", b"?", 1)
                        self.assertEqual(json.loads(device.receive().payload), {"host": source, "name": "good"})
                        device.disconnect()
                        line = self.gateway.running.expect("event=disconnect")
                        self.assertIn(f"peer={source}:", line)

    def test_mosquitto_clients(self) -> None:
        port = str(self.haproxy("secure").port)
        done = command(
            "mosquitto_pub", "-p", port, "-A", DEVICE, *self.certificates.options(), "-q", "1", "-t", "who", "-m", "?",
            "-r",
        )  # fmt: skip
        self.assertEqual((done.stderr, done.returncode), ("", 0))
        done = command("mosquitto_sub", "-p", port, *self.certificates.options(), "-t", "who", "-C", "1", "-W", "20")
        self.assertEqual(json.loads(done.stdout), {"host": DEVICE, "name": "good"})

    def test_limits_are_those_of_the_device(self) -> None:
        port = self.haproxy("few").port
        for source in (DEVICE, OTHER):
            with self.subTest(source):
                devices = [self.device(port, source) for _ in range(PER_ADDRESS)]
                self.assertEqual([device.connack.code for device in devices], [0] * PER_ADDRESS)
                with self.assertRaises(OSError):
                    self.device(port, source)
                line = self.gateway.running.expect("event=reject")
                self.assertIn("max_connections_per_address", line)
                self.assertIn(f"peer={source}:", line)
                devices[0].disconnect()
                self.gateway.running.expect("event=disconnect")
                self.assertEqual(self.device(port, source).connack.code, 0)

    def test_the_log_of_a_refusal(self) -> None:
        port = self.haproxy("secure").port
        before = len(self.wiretap.said)
        done = command(
            "mosquitto_pub", "-p", str(port), "-A", DEVICE, *self.certificates.options("client-revoked"), "-t", "x",
            "-m", "x",
        )  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        line = self.gateway.running.expect("event=reject")
        self.assertIn("reason=tls_revoked", line)
        self.assertIn(f"peer={DEVICE}:", line)
        self.assertEqual(len(self.wiretap.said), before)

    def closed(self, listener: str, said: bytes, source: str, reason: str) -> None:
        """Whoever says that is told nothing, and nobody is dialled."""
        before = len(self.wiretap.said)
        address = ("127.0.0.1", self.gateway.ports[listener])
        with socket.create_connection(address, PATIENCE, source_address=(source, 0)) as stranger:
            stranger.sendall(said)
            try:
                told = stranger.recv(100)
            except ConnectionResetError:
                told = b""
        self.assertNotIn(b"\x20", told[:1])
        line = self.gateway.running.expect("event=reject")
        self.assertIn(f"reason={reason}", line)
        self.assertIn(f"peer={source}:", line)
        self.assertIn(f"listener={listener}", line)
        self.assertEqual(len(self.wiretap.said), before)

    def test_a_stranger_with_a_header(self) -> None:
        """The address that it claims is nowhere believed."""
        claim = Header(Address("127.0.0.1", 1), Address("127.0.0.1", 2))
        packets = encode(4, Connect(4, "stranger"))
        for header in (encode_header(claim), b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"):
            self.closed("plain", header + packets, DEVICE, "proxy_untrusted")
            self.closed("secure", header + packets, DEVICE, "proxy_untrusted")
            self.closed("distant", header + packets, "127.0.0.1", "proxy_untrusted")
            # Where no proxy is trusted, a header is what it is to TLS: no ClientHello.
            self.closed("without", header + packets, DEVICE, "tls_handshake")

    def test_a_stranger_behind_haproxy(self) -> None:
        proxy = self.haproxy("distant")
        before = len(self.wiretap.said)
        with self.assertRaises(OSError):
            self.device(proxy.port, DEVICE)
        line = self.gateway.running.expect("event=reject")
        self.assertIn("reason=proxy_untrusted", line)
        self.assertIn("peer=127.0.0.1:", line)
        self.assertEqual(len(self.wiretap.said), before)

    def test_a_proxy_without_a_header(self) -> None:
        proxy = Haproxy(self, self.gateway.ports["secure"])
        before = len(self.wiretap.said)
        with self.assertRaises(OSError):
            self.device(proxy.port, DEVICE)
        self.assertIn("reason=proxy_header", self.gateway.running.expect("event=reject"))
        self.assertEqual(len(self.wiretap.said), before)


class BehindTest(unittest.TestCase):
    """The gateway tells who its devices are."""

    def setUp(self) -> None:
        self.certificates = Certificates(self)

    def serve(self, target: str, **keys: Any) -> Gateway:
        tls = self.certificates.serving("ocsp")
        return Gateway(self, target, secure=Serve(keys={"tls": tls, "send_proxy_protocol": True, **keys}))

    def test_through_two_proxies_to_a_broker_with_tls(self) -> None:
        """What is below TLS is told first, and what is above it reaches the broker unharmed."""
        broker = Mosquitto(self, certificates=self.certificates)
        behind = Haproxy(self, broker.port, bind="accept-proxy")
        gateway = self.serve(
            f"mqtts://localhost:{behind.port}",
            target_tls=self.certificates.dialling(),
            trusted_proxies=["127.0.0.1"],
        )
        front = Haproxy(self, gateway.port, server="send-proxy-v2")
        for source in (DEVICE, OTHER):
            for version in (3, 4, 5):
                with self.subTest(source, version=version):
                    device = Device(
                        self, front.port, "a", version=version, tls=self.certificates.context(), source=source
                    )
                    device.subscribe("a")
                    device.publish("a", bytes(200_000), 2)
                    self.assertEqual(device.receive().payload, bytes(200_000))
                    device.disconnect()
                    self.assertIn(f"from={source}:", behind.running.expect("from="))

    def test_what_is_told_of_tls(self) -> None:
        for tls, name in ((TLS_1_2, "TLSv1.2"), (TLS_1_3, "TLSv1.3")):
            with self.subTest(name):
                recorder = Recorder(self)
                gateway = self.serve(f"127.0.0.1:{recorder.port}")
                with self.certificates.connection(gateway.port, version=tls) as device:
                    device.sendall(encode(4, Connect(4, "told")))
                    self.assertEqual(device.recv(4), encode(4, Connack()))
                    near, far = device.getsockname(), device.getpeername()
                header = recorder.header()
                self.assertEqual((header.source, header.destination), (near, far))
                assert header.ssl is not None
                self.assertEqual(header.ssl.client, SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS)
                self.assertEqual((header.ssl.verify, header.ssl.version, header.ssl.common_name), (0, name, "good"))


class Recorder:
    """A target that reads a PROXY header and a CONNECT, and agrees."""

    def __init__(self, test: Any) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._header: Header | None = None
        test.addCleanup(self._listening.close)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def header(self) -> Header:
        """What was told, once the connection is over."""
        self._thread.join(PATIENCE)
        assert self._header is not None
        return self._header

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            data = b""
            while (found := read(data)) is None or len(data) == found.size:
                data += connection.recv(4096)
            self._header = found.header
            connection.sendall(encode(4, Connack()))
            while connection.recv(4096):
                pass
