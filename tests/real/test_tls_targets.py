"""Targets that cannot prove who they are, or that do not even speak TLS, are told nothing: devices hear that there is
no target, the log says why, and no byte but those of a handshake leaves the gateway.
"""

from __future__ import annotations

import signal
import unittest

from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connect
from tests.real.certificates import Certificates
from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.paho_device import Device
from tests.real.wiretap import APPLICATION_DATA, Wiretap, records

CLIENT_ID, USERNAME, PASSWORD = "a-client-id", "a-user-name", "a-password"


class BadTargetsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.certificates = Certificates(self)

    def refused(self, broker: Mosquitto, why: str, target_tls: dict[str, str] | None = None) -> Wiretap:
        """Devices of all versions connect to no avail."""
        wiretap = Wiretap(self, broker.port)
        keys = {
            "tls": self.certificates.serving(),
            "target_tls": target_tls or self.certificates.dialling(),
        }
        gateway = Gateway(self, f"mqtts://localhost:{wiretap.port}", secure=Serve(keys=keys))
        for version, code in ((3, 3), (4, 3), (5, 0x88)):
            with self.subTest(version=version):
                tls = self.certificates.context()
                device = Device(
                    self, gateway.port, CLIENT_ID, version=version, username=USERNAME, password=PASSWORD, tls=tls
                )
                self.assertEqual(device.connack.code, code)
                self.assertIn(why, gateway.running.expect("event=target_failed"))
        self.assertTrue(wiretap.said)
        for said in wiretap.said:
            records(said)
            for secret in (CLIENT_ID, USERNAME, PASSWORD, "MQTT", "MQIsdp"):
                self.assertNotIn(secret.encode(), said)
        broker.running.stop(signal.SIGTERM)
        broker.running.expect("terminating")
        self.assertNotIn("New client connected", "".join(broker.running.lines))
        return wiretap

    def test_the_wrong_name(self) -> None:
        broker = Mosquitto(self, certificates=self.certificates, name="other-server")
        self.refused(broker, "TLS handshake: its certificate is not for localhost")

    def test_another_name_than_was_configured(self) -> None:
        broker = Mosquitto(self, certificates=self.certificates)
        target_tls = self.certificates.dialling() | {"server_name": "broker.example"}
        self.refused(broker, "TLS handshake: its certificate is not for broker.example", target_tls)

    def test_an_expired_certificate(self) -> None:
        broker = Mosquitto(self, certificates=self.certificates, name="expired-server")
        self.refused(broker, "TLS handshake: its certificate has expired")

    def test_an_unknown_authority(self) -> None:
        broker = Mosquitto(self, certificates=self.certificates)
        target_tls = self.certificates.dialling() | {"ca_file": self.certificates.file("foreign", "pem")}
        self.refused(broker, "is of an unknown authority", target_tls)

    def test_a_certificate_for_clients(self) -> None:
        broker = Mosquitto(self, certificates=self.certificates, name="client-good")
        self.refused(broker, "TLS handshake: its certificate is not for", None)

    def test_no_tls_at_all(self) -> None:
        wiretap = self.refused(Mosquitto(self), "TLS handshake: ")
        for said in wiretap.said:
            self.assertNotIn(APPLICATION_DATA, records(said))


class OwnCertificateTest(unittest.TestCase):
    """A target that does not like the gateway's certificate. In TLS 1.3 it says so after the handshake, and as it was
    there, devices of 3.x are told no more than that the connection is over."""

    def test_refused(self) -> None:
        certificates = Certificates(self)
        broker = Mosquitto(self, certificates=certificates)
        listeners = {
            "none": {"ca_file": str(certificates.root)},
            "foreign": certificates.dialling("client-of-unknown-ca"),
        }
        gateway = Gateway(
            self,
            f"mqtts://localhost:{broker.port}",
            **{
                name: Serve(keys={"tls": certificates.serving(), "target_tls": dialling})
                for name, dialling in listeners.items()
            },
        )
        for name, port in gateway.ports.items():
            for version in (3, 4, 5):
                with self.subTest(name, version=version):
                    with certificates.connection(port) as device:
                        device.sendall(encode(version, Connect(version, CLIENT_ID)))
                        told = b"".join(iter(lambda: device.recv(100), b""))
                    self.assertEqual(told[:1] + told[3:4], b"\x20\x88" if version == 5 else b"")
                    line = gateway.running.expect("event=target_failed")
                    self.assertIn("TLS: ", line)
                    self.assertIn(f"listener={name}", line)
        broker.running.stop(signal.SIGTERM)
        broker.running.expect("terminating")
        self.assertNotIn("New client connected", "".join(broker.running.lines))
