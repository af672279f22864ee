"""TLS for `mgate demo`: certificates that live as long as the demo, who says which are revoked, and what stands in
front of a listener.

All of it is made at the start: the certificates name the responder, whose port is known only then. Keys are in
a temporary folder that nobody else may read; a client needs them as files.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.interfaces import IProtocolFactory

from mgate.addresses import ListenAddress
from mgate.entrance import Entrance
from mgate.journal import Journal
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.tables import Listener, Targets
from mgate.testing.credential import replace_file
from mgate.testing.pki import Pki
from mgate.testing.responder import Responder
from mgate.tls.checkers import Checkers
from mgate.tls.settings import Revocation, ServerTls

__all__ = ["Encrypted"]

SINCE = timedelta(hours=-1)


class Encrypted:
    """Makes the certificates; `mgate.demo.stage` asks for one.

    Args:
        reactor: to listen with, and to fetch.
        journal: told of every device that TLS refuses.
        parts: closed when the demo ends; the folder is one of them.

    Attributes:
        folder: holds ``ca.pem``, and of alice and bob certificate and key; bob's certificate is revoked.
    """

    def __init__(self, reactor: Any, journal: Journal, parts: AsyncExitStack) -> None:
        self.folder = Path()
        self._reactor = reactor
        self._journal = journal
        self._parts = parts
        self._revocation = Revocation()
        self._checkers = Checkers(reactor, journal.revocation)

    async def start(self) -> None:
        """Start the responder, and write the files.

        Raises:
            OSError: there is no place for them.
        """
        responder = Responder(self._reactor)
        url = await responder.listen()
        self._parts.push_async_callback(responder.stop)
        pki = Pki.make(url)
        responder.authorities = pki.authorities
        self._revocation = Revocation(
            ("ocsp", "crl"), allowed_networks=("127.0.0.1",), allowed_ports=(urlsplit(url).port or 0,)
        )
        self._checkers.start()
        self._parts.callback(self._checkers.stop)
        people = {name: pki.intermediate.issue(name) for name in ("alice", "bob")}
        pki.intermediate.revoke(people["bob"], since=SINCE)
        self.folder = Path(self._parts.enter_context(TemporaryDirectory(prefix="mgate-", ignore_cleanup_errors=True)))
        replace_file(self.folder / "ca.pem", pki.root.credential.certificate.public_bytes(Encoding.PEM))
        for name, credential in {"server": pki.server, **people}.items():
            credential.write(self.folder, name)

    def around(self, factory: MqttDeviceFactory, *, mutual: bool) -> IProtocolFactory:
        """What to listen with, so that `factory` serves those who speak TLS; if `mutual`, with a certificate."""
        tls = ServerTls(
            str(self.folder / "server.pem"),
            str(self.folder / "server.key"),
            client_ca_file=str(self.folder / "ca.pem") if mutual else "",
            revocation=self._revocation if mutual else Revocation(),
        )
        listener = Listener(ListenAddress(factory.listener), Targets(), tls=tls)
        entrance = Entrance(
            factory.listener, listener, [b"mqtt"], self._reactor, self._journal, factory.counters, self._checkers
        )
        return entrance.around(factory)
