"""Mosquitto's clients, paho and ``openssl s_client`` over TLS, through the gateway to a mosquitto that demands TLS too.

Devices must have certificates, which are asked about. The target is one of the gateway's own, behind a wiretap.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import unittest
from pathlib import Path

from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connect, Disconnect, Pingreq, Publish
from tests.real.certificates import TLS_1_2, TLS_1_3, Certificates
from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto, command
from tests.real.needed import needed
from tests.real.paho_device import Device, Will, properties
from tests.real.wiretap import APPLICATION_DATA, Wiretap, records

METHODS = {"ocsp": ("ocsp",), "crl": ("crl",), "both": ("ocsp", "crl")}
CHOICES = [(version, tls) for version in (4, 5) for tls in (TLS_1_2, TLS_1_3)]
BAD = {
    "client-revoked": "tls_revoked",
    "client-on-hold": "tls_revoked",
    "client-of-revoked-ca": "tls_revoked",
    "client-of-unknown-ca": "tls_handshake",
    "client-expired": "tls_handshake",
    "client-server-only": "tls_handshake",
}
"""Certificates that are refused by each method, and the reason in the log."""
PATIENCE = 30


class TlsTest(unittest.TestCase):
    """A broker, a wiretap and a gateway with a listener for each of `METHODS`."""

    certificates: Certificates
    broker: Mosquitto
    wiretap: Wiretap
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        test = ForClass(cls)
        cls.certificates = Certificates(test)
        cls.broker = Mosquitto(test, certificates=cls.certificates)
        cls.wiretap = Wiretap(test, cls.broker.port)
        dialling = cls.certificates.dialling()
        listeners = {
            # Of a CRL that names the intermediate as revoked, only a look at the whole chain knows.
            name: {"tls": cls.certificates.serving(*methods, crl_depth=0), "target_tls": dialling}
            for name, methods in METHODS.items()
        }
        cls.gateway = Gateway(
            test,
            f"mqtts://localhost:{cls.wiretap.port}",
            **{name: Serve(["watcher"], keys=keys) for name, keys in listeners.items()},
        )

    def device(
        self,
        name: str = "device",
        version: int = 4,
        tls: ssl.TLSVersion | None = None,
        listener: str = "both",
        will: Will | None = None,
        clean: bool = True,
    ) -> Device:
        return Device(
            self,
            self.gateway.ports[listener],
            name,
            version=version,
            tls=self.certificates.context(version=tls),
            will=will,
            clean=clean,
            connect=properties("connect", SessionExpiryInterval=60) if version == 5 and not clean else None,
        )

    def witness(self, *filters: str) -> Device:
        """A device at the broker itself."""
        witness = Device(self, self.broker.port, "witness", tls=self.certificates.context())
        witness.subscribe(*filters)
        return witness


class MosquittoClientsTest(TlsTest):
    def test_messages(self) -> None:
        content = os.urandom(512 * 1024)
        file = Path(self.certificates.folder, "content")
        file.write_bytes(content)
        witness = self.witness("file/#")
        for listener, port in self.gateway.ports.items():
            for tls in ("tlsv1.2", "tlsv1.3"):
                for version in ("mqttv31", "mqttv311", "mqttv5"):
                    with self.subTest(listener, tls=tls, version=version):
                        common = ["-p", str(port), "-V", version, "--tls-version", tls, *self.certificates.options()]
                        topic = f"file/{listener}/{tls}/{version}"
                        done = command("mosquitto_pub", *common, "-q", "2", "-t", topic, "-f", str(file))
                        self.assertEqual((done.stderr, done.returncode), ("", 0))
                        self.assertEqual(witness.receive()[:3], (topic, content, 2))
                        witness.publish("kept", topic, 1, retain=True)
                        done = command("mosquitto_sub", *common, "-t", "kept", "-C", "1", "-W", "20")
                        self.assertEqual((done.stdout, done.stderr), (f"{topic}\n", ""))
        for said in self.wiretap.said:
            self.assertIn(APPLICATION_DATA, records(said))

    def test_the_will_of_one_that_is_killed(self) -> None:
        witness = self.witness("last/#")
        for tls in ("tlsv1.2", "tlsv1.3"):
            with self.subTest(tls):
                sleeper = subprocess.Popen(
                    [needed("mosquitto_sub", "apt install mosquitto-clients"), "-h", "127.0.0.1", "-p",
                     str(self.gateway.port), "--tls-version", tls, *self.certificates.options(), "-t", "awake",
                     "--will-topic", "last/will", "--will-payload", "gone", "--will-qos", "2"],
                    stdout=subprocess.PIPE,
                )  # fmt: skip
                try:
                    witness.publish("awake", b"there\n", qos=1, retain=True)
                    assert sleeper.stdout is not None
                    self.assertEqual(sleeper.stdout.readline(), b"there\n")
                finally:
                    sleeper.kill()
                    sleeper.communicate()
                self.assertEqual(witness.receive()[:3], ("last/will", b"gone", 2))

    def test_bad_certificates(self) -> None:
        """Nothing of them reaches the broker, which is not even dialled."""
        witness = self.witness("bad/#")
        before = len(self.wiretap.said)
        for listener, port in self.gateway.ports.items():
            for tls in ("tlsv1.2", "tlsv1.3"):
                for name, reason in BAD.items():
                    with self.subTest(listener, tls=tls, certificate=name):
                        options = ["-p", str(port), "--tls-version", tls, *self.certificates.options(name)]
                        done = command("mosquitto_pub", *options, "-t", "bad/one", "-m", "x", "-q", "1")
                        self.assertNotEqual(done.returncode, 0)
                        line = self.gateway.running.expect("event=reject")
                        self.assertIn(f"reason={reason}", line)
                        self.assertIn(f"listener={listener}", line)
        witness.publish("bad/marker", qos=2)
        self.assertEqual(witness.until_marker(), [])
        self.assertEqual(len(self.wiretap.said), before)

    def test_no_certificate(self) -> None:
        before = len(self.wiretap.said)
        options = ["-p", str(self.gateway.port), "--cafile", str(self.certificates.root)]
        done = command("mosquitto_pub", *options, "-t", "none", "-m", "x", "-q", "1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("reason=tls_handshake", self.gateway.running.expect("event=reject"))
        self.assertEqual(len(self.wiretap.said), before)


class PahoTest(TlsTest):
    def test_each_qos(self) -> None:
        for version, tls in CHOICES:
            with self.subTest(version=version, tls=tls):
                device = self.device(version=version, tls=tls)
                self.assertEqual(device.connack.code, 0)
                for qos in (0, 1, 2):
                    self.assertEqual(device.subscribe((f"qos/{qos}", qos)), [qos])
                    self.assertEqual(device.publish(f"qos/{qos}", b"x", qos), 0)
                    self.assertEqual(device.receive()[:3], (f"qos/{qos}", b"x", qos))
                device.disconnect()

    def test_what_is_retained(self) -> None:
        for version, tls in CHOICES:
            with self.subTest(version=version, tls=tls):
                device = self.device(version=version, tls=tls)
                device.publish("kept/one", b"kept", 1, retain=True)
                device.subscribe("kept/#")
                self.assertEqual(device.receive()[:4], ("kept/one", b"kept", 1, True))
                device.publish("kept/one", b"", 1, retain=True)
                device.drop()

    def test_wills(self) -> None:
        witness = self.witness("last/#")
        for version, tls in CHOICES:
            with self.subTest(version=version, tls=tls):
                self.device("mortal", version, tls, will=Will("last/goodbye", b"never", 1)).disconnect()
                self.device("mortal", version, tls, will=Will("last/will", b"gone", 2)).drop()
                self.assertEqual(witness.receive()[:3], ("last/will", b"gone", 2))

    def test_sessions_that_last(self) -> None:
        other = self.device("other")
        for version, tls in CHOICES:
            with self.subTest(version=version, tls=tls):
                name = f"lasting {version} {tls.name}"
                device = self.device(name, version, tls, clean=False)
                device.subscribe("lasting")
                device.drop()
                for number in range(20):
                    other.publish("lasting", f"{number}", 1 + number % 2)
                device = self.device(name, version, tls, clean=False)
                self.assertTrue(device.connack.session_present)
                came = sorted((int(message.payload), message.qos) for message in device.take(20))
                self.assertEqual(came, [(number, 1 + number % 2) for number in range(20)])
                device.disconnect()

    def test_the_largest_message(self) -> None:
        for version, tls in CHOICES:
            with self.subTest(version=version, tls=tls):
                largest = 1024 * 1024 - len(encode(version, Publish("large", b"", 1, packet_id=1))) - 2
                witness = self.witness("large")
                device = self.device(version=version, tls=tls)
                content = os.urandom(largest)
                self.assertEqual(device.publish("large", content, 1), 0)
                self.assertEqual(witness.receive().payload, content)
                device.subscribe("large")
                witness.publish("large", content, 2)
                self.assertEqual(device.receive().payload, content)
                device.client.publish("large", content + b"x", 1)
                self.assertEqual(device.lost(), 0x95 if version == 5 else 0x80)
                witness.drop()

    def test_bad_certificates(self) -> None:
        for tls in (TLS_1_2, TLS_1_3):
            for name in BAD:
                with self.subTest(tls, certificate=name):
                    # In TLS 1.3 a device may believe that it is connected before it reads the refusal.
                    with self.assertRaises(OSError):
                        connection = self.certificates.connection(self.gateway.port, name, tls)
                        self.addCleanup(connection.close)
                        connection.sendall(encode(4, Connect(4, "bad")))
                        if not connection.recv(1):
                            raise ConnectionError("closed without a word")


class OpensslTest(TlsTest):
    """Packets by hand, and alerts by name."""

    def s_client(self, name: str, tls: str, packets: bytes, listener: str = "both") -> tuple[bytes, str]:
        """What came back, and what OpenSSL says of the connection."""
        program = needed("openssl", "apt install openssl")
        pem, key = (self.certificates.file(name, suffix) for suffix in ("pem", "key"))
        done = subprocess.run(
            [program, "s_client", "-quiet", f"-{tls}", "-connect", f"127.0.0.1:{self.gateway.ports[listener]}",
             "-CAfile", str(self.certificates.root), "-verify_return_error", "-verify_ip", "127.0.0.1",
             "-alpn", "mqtt", "-cert", pem, "-cert_chain", pem, "-key", key],
            input=packets, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.stdout, done.stderr.decode()

    def test_a_session(self) -> None:
        for tls in ("tls1_2", "tls1_3"):
            for version in (3, 4, 5):
                with self.subTest(tls, version=version):
                    packets = [Connect(version, "by-hand"), Pingreq(), Disconnect()]
                    out, told = self.s_client("client-good", tls, b"".join(encode(version, each) for each in packets))
                    self.assertEqual((out[:1], out[3:4], out[-2:]), (b"\x20", b"\x00", b"\xd0\x00"), told)

    def test_alerts(self) -> None:
        """The second time, what is known of the certificate is in memory, and the alert says so in TLS 1.3 too."""
        for listener in METHODS:
            for tls, name, alert in (
                ("tls1_2", "client-revoked", "certificate revoked"),
                ("tls1_2", "client-of-revoked-ca", "certificate revoked"),
                ("tls1_2", "client-of-unknown-ca", "unknown ca"),
                ("tls1_2", "client-expired", "certificate expired"),
                ("tls1_3", "client-revoked", "certificate revoked"),
                ("tls1_3", "client-of-unknown-ca", "unknown ca"),
                ("tls1_3", "client-expired", "certificate expired"),
            ):
                with self.subTest(listener, tls=tls, certificate=name):
                    connect = encode(4, Connect(4, "by-hand"))
                    first, second = (self.s_client(name, tls, connect, listener) for _ in range(2))
                    self.assertEqual((first[0], second[0]), (b"", b""))
                    self.assertIn(f"alert {alert}", second[1])
                    if tls == "tls1_2":
                        self.assertIn(f"alert {alert}", first[1])
