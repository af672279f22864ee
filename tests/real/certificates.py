"""A public key infrastructure in files, with the responder of examples/ answering for it in a process of its own."""

from __future__ import annotations

import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

from mgate.testing.credential import DAY
from mgate.testing.pki import SERVER, SERVER_NAMES, Pki
from tests.processes import PATIENCE, Running, free_port

__all__ = ["TLS_1_2", "TLS_1_3", "Certificates"]

RESPONDER = Path(__file__).parents[2] / "examples" / "ocsp_responder.py"
ATTEMPTS = 3
"""Somebody else may take a free port before the responder does."""

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Certificates:
    """What `mgate.testing.pki.Pki` makes, and besides ``gateway`` for targets that demand a certificate and
    ``expired-server``.

    Args:
        test: a test, or a `tests.real.gateway.ForClass`; files and responder are gone with it.

    Attributes:
        folder: where the files are. root: the trust anchor alone, so that whoever connects has to send its chain.
    """

    def __init__(self, test: Any) -> None:
        held = tempfile.TemporaryDirectory(prefix="mgate-pki-")
        test.addCleanup(held.cleanup)
        for attempt in range(ATTEMPTS):
            self._port = free_port()
            self.folder = Path(held.name, str(attempt))
            pki = Pki.make(f"http://127.0.0.1:{self._port}")
            issuer = pki.intermediate
            gateway = issuer.issue("gateway")
            expired = issuer.issue(
                "expired-server", names=SERVER_NAMES, usage=SERVER, not_before=-2 * DAY, not_after=-DAY
            )
            pki.write(self.folder)
            for name, credential in (("gateway", gateway), ("expired-server", expired)):
                credential.write(self.folder, name)
            self.running = Running(test, [sys.executable, str(RESPONDER), str(self.folder), str(self._port)])
            try:
                self.running.expect("answering on")
                break
            except AssertionError:
                if attempt + 1 == ATTEMPTS or "in use" not in "".join(self.running.lines):
                    raise
        self.root = self.folder / "root.pem"

    def file(self, name: str, suffix: str) -> str:
        """The path of a certificate with its chain (``pem``) or of its key (``key``)."""
        return str(self.folder / f"{name}.{suffix}")

    def serving(self, *methods: str, **keys: Any) -> dict[str, Any]:
        """``[listener.tls]`` of a listener whose devices must have certificates, with these methods of asking.

        Args:
            keys: of ``[listener.tls.revocation]``.
        """
        return {
            **self.without_devices(),
            "client_ca_file": str(self.root),
            "revocation": {
                "methods": methods,
                "allowed_networks": ["127.0.0.0/8"],
                "allowed_ports": [self._port],
                **keys,
            },
        }

    def without_devices(self) -> dict[str, Any]:
        """``[listener.tls]`` of a listener that asks nobody for a certificate."""
        return {"cert_file": self.file("server", "pem"), "key_file": self.file("server", "key")}

    def dialling(self, name: str = "gateway") -> dict[str, Any]:
        """``[listener.target_tls]`` with the certificate of this name."""
        return {"ca_file": str(self.root), "cert_file": self.file(name, "pem"), "key_file": self.file(name, "key")}

    def context(self, name: str = "client-good", version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """What a device connects with that has the certificate of this name, or none if that is empty."""
        context = ssl.create_default_context(cafile=self.root)
        if name:
            context.load_cert_chain(self.file(name, "pem"), self.file(name, "key"))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def connection(
        self, port: int, name: str = "client-good", version: ssl.TLSVersion | None = None
    ) -> ssl.SSLSocket:
        """A connection after its handshake.

        Raises:
            OSError: it was refused. In TLS 1.3 that may also turn out when something is read.
        """
        held = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            return self.context(name, version).wrap_socket(held, server_hostname="127.0.0.1")
        except OSError:
            held.close()
            raise

    def options(self, name: str = "client-good") -> list[str]:
        """The same for clients of Mosquitto."""
        return ["--cafile", str(self.root), "--cert", self.file(name, "pem"), "--key", self.file(name, "key")]
