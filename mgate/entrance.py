"""What stands between the port of a listener and its protocol: the PROXY header of proxies, then TLS.

`mgate.listeners` puts it around the factory of a protocol, and puts a new one there at a reload.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from mgate.config import Listener
from mgate.counters import Counters
from mgate.journal import Journal
from mgate.proxyprotocol.wrapper import ProxiedFactory
from mgate.session import Peer
from mgate.tls.checkers import Checkers
from mgate.tls.contexts import ServerContexts

__all__ = ["Entrance", "Switch"]


class Entrance:
    """Everything that stands in front of one listener, out of files as they are now.

    Args:
        name: of the listener.
        listener: its configuration.
        alpn: what it speaks, for TLS (RFC 7301).
        reactor: IReactorTime.
        journal, counters: told of who is refused before the protocol sees anything.
        checkers: asked for the status of client certificates.

    Attributes:
        notes: lines for the log, as that a certificate expires soon.

    Raises:
        ConfigError: with every file that cannot be used.
    """

    def __init__(
        self,
        name: str,
        listener: Listener,
        alpn: Sequence[bytes],
        reactor: Any,
        journal: Journal,
        counters: Counters,
        checkers: Checkers,
    ) -> None:
        self._name = name
        self._listener = listener
        self._reactor = reactor
        self._journal = journal
        self._counters = counters
        self._contexts: ServerContexts | None = None
        self.notes: tuple[str, ...] = ()
        if listener.tls is not None:
            self._contexts = ServerContexts(
                listener.tls,
                checkers.of(listener.tls.revocation),
                alpn,
                reactor,
                handshake=listener.limits.tls_handshake,
                refused=lambda connection, reason, text: self._refused(reason, Peer.of(connection.peer), text),
                failed=lambda error: journal.fault("", "tls", error),
            )
            self.notes = tuple(f'listener "{name}": {note}' for note in self._contexts.notes)

    def around(self, factory: IProtocolFactory) -> IProtocolFactory:
        """The factory for the port, which lets devices through to `factory`."""
        if self._contexts is not None:
            factory = _TlsFactory(self._contexts, False, factory, self._reactor)
        if self._listener.trusted_proxies:
            factory = ProxiedFactory(
                factory,
                [ip_network(network) for network in self._listener.trusted_proxies],
                self._reactor,
                timeout=self._listener.limits.proxy_header,
                refused=self._not_let_in,
            )
        return factory

    def _not_let_in(self, reason: str, peer: Peer, text: str) -> None:
        self._counters.connections_refused += 1
        self._refused(reason, peer, text)

    def _refused(self, reason: str, peer: Peer, text: str) -> None:
        self._counters.reject(reason)
        self._journal.reject(reason, text=text, peer=peer, listener=self._name)


class _TlsFactory(TLSMemoryBIOFactory):
    """Serves nobody whom the factory inside does not serve, and has no buffer for small writes: links write once for
    each chunk."""

    protocol = TLSMemoryBIOProtocol
    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)  # type: ignore[no-untyped-call]


class Switch(Factory):
    """The factory of a port. Whoever connects is served by `current`; a reload assigns another."""

    noisy = False

    def __init__(self, current: IProtocolFactory) -> None:
        self.current = current

    def buildProtocol(self, addr: Any) -> Any:
        """IProtocolFactory."""
        return self.current.buildProtocol(addr)

    def startFactory(self) -> None:
        """Called with the first port."""
        self.current.doStart()

    def stopFactory(self) -> None:
        """Called with the last port."""
        self.current.doStop()
