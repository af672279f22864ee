"""What stands between the port of a listener and its protocol: the PROXY header of proxies, then TLS.

`mgate.listeners` puts it around the factory of a protocol, and puts a new one there at a reload. The one before stays
for the connections that came through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from mgate.config import Listener
from mgate.counters import Counters
from mgate.errors import ConfigError
from mgate.journal import Journal
from mgate.proxyprotocol.wrapper import ProxiedFactory
from mgate.session import Peer
from mgate.tls.checkers import Checkers
from mgate.tls.contexts import ServerContexts
from mgate.tls.revocation import RevocationChecker
from mgate.tls.settings import ServerTls

__all__ = ["Entrance"]

NO_CALLBACKS = (
    "TLS needs memory that is writable and executable, which is forbidden here: "
    "leave MemoryDenyWriteExecute out of the unit"
)
"""OpenSSL calls us through libffi, which makes such memory."""


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
        self._checkers = checkers
        self._checker: RevocationChecker | None = None
        self._contexts: ServerContexts | None = None
        self._way_in: IProtocolFactory | None = None
        self._encrypted: TLSMemoryBIOFactory | None = None
        self._proxied: ProxiedFactory | None = None
        self.notes: tuple[str, ...] = ()
        if listener.tls is not None:
            self._prepare(listener.tls, alpn)

    def _prepare(self, settings: ServerTls, alpn: Sequence[bytes]) -> None:
        problems: list[str] = []
        try:
            self._checker = self._checkers.of(settings.revocation)
        except ConfigError as error:
            problems += error.problems
        try:
            self._contexts = ServerContexts(
                settings,
                self._checker,
                alpn,
                self._reactor,
                handshake=self._listener.limits.tls_handshake,
                refused=lambda connection, reason, text: self._refused(reason, Peer.of(connection.peer), text),
                failed=lambda error: self._journal.fault("", "tls", error),
            )
        except ConfigError as error:
            problems += error.problems
        except MemoryError:
            problems.append(NO_CALLBACKS)
        if self._contexts is None or problems:
            self.release()
            raise ConfigError(problems)
        self.notes = tuple(f'listener "{self._name}": {note}' for note in self._contexts.notes)

    def around(self, factory: IProtocolFactory) -> IProtocolFactory:
        """The factory for the port, which lets devices through to `factory`. Called once."""
        if self._contexts is not None:
            factory = self._encrypted = _TlsFactory(self._contexts, False, factory, self._reactor)
        if self._listener.trusted_proxies:
            factory = self._proxied = ProxiedFactory(
                factory,
                [ip_network(network) for network in self._listener.trusted_proxies],
                self._reactor,
                timeout=self._listener.limits.proxy_header,
                refused=self._not_let_in,
            )
        self._way_in = factory
        factory.doStart()
        return factory

    @property
    def idle(self) -> bool:
        """Whether nobody is connected who came through it. Only TLS and PROXY headers count, which need it."""
        encrypted = self._encrypted is not None and self._encrypted.protocols
        return not encrypted and not (self._proxied is not None and self._proxied.pending)

    def stop(self) -> None:
        """Let nobody in any more whose PROXY header has not come yet; called when the gateway stops."""
        if self._way_in is not None:
            self._way_in.doStop()

    def release(self) -> None:
        """Give back the checker, which is stopped if nobody else has it; called once nobody comes or came this way."""
        if self._checker is not None:
            self._checkers.release(self._checker)
            self._checker = None

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
