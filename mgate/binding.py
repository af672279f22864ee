"""An address that is listened on, and who serves those who connect to it.

`mgate.listeners` points it at the factory of a listener, and `mgate.serving` opens it in two steps, because twistd
turns into a daemon between them: `Binding.bind` takes the address while the command can still fail, `Binding.start`
accepts. A reload puts something else behind the port, which itself stays open.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from mgate.addresses import ListenAddress
from mgate.errors import ConfigError, GateError

__all__ = ["BACKLOG", "BindError", "Binding", "Switch"]

BACKLOG = 1024  # devices come back all at once when a network does


class BindError(GateError):
    """A listener's address cannot be had."""

    reason = "bind"


class Switch(Factory):
    """The factory of a port. Whoever connects is served by `current`; nobody is, where that is None.

    It neither starts nor stops what is behind it: that may change, and what it was may serve on.
    """

    noisy = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.current: IProtocolFactory | None = None

    def buildProtocol(self, addr: Any) -> Any:
        """IProtocolFactory."""
        return None if self.current is None else self.current.buildProtocol(addr)

    def logPrefix(self) -> str:
        """ILoggingContext: Twisted writes it down when it opens and closes the port."""
        return self.name


class Binding:
    """One address.

    Args:
        name: of the listener.
        address: what to bind.
        reactor: to listen with.

    Attributes:
        address: as given.
        ports: what is open.
    """

    def __init__(self, name: str, address: ListenAddress, reactor: Any) -> None:
        self.address = address
        self.ports: list[IListeningPort] = []
        self._switch = Switch(name)
        self._reactor = reactor
        self._endpoint: IStreamServerEndpoint | None = None
        self._sockets: list[socket.socket] = []

    def serve(self, name: str, factory: IProtocolFactory) -> None:
        """Let `factory`, of the listener `name`, serve whoever connects from now on."""
        self._switch.name = name
        self._switch.current = factory

    def check(self) -> None:
        """Read the address as `bind` would, without taking it. What systemd hands over is only there at the start.

        Raises:
            ConfigError: the endpoint string cannot be read.
        """
        if self.address.endpoint:
            with suppress(BindError):
                self._parsed_endpoint()

    def bind(self) -> None:
        """Take the address, without accepting anybody yet. What an endpoint string names is taken by `start`.

        Raises:
            BindError: somebody else has it, or it is not ours to take.
            ConfigError: the endpoint string cannot be read.
        """
        if self.address.endpoint:
            self._endpoint = self._parsed_endpoint()
            return
        try:
            self._sockets = _bound(self.address.host, self.address.port)
        except OSError as error:
            raise self._bind_error(os.strerror(error.errno) if error.errno else str(error)) from error

    def start(self) -> Deferred[None]:
        """Accept devices.

        Returns:
            A Deferred that fires when all is open; fails with `BindError`.
        """
        if self._endpoint is not None:
            listening: Deferred[Any] = self._endpoint.listen(self._switch)
            return listening.addCallbacks(self.ports.append, self._not_listening)
        try:
            for bound in self._sockets:
                bound.listen(BACKLOG)
                self.ports.append(self._reactor.adoptStreamPort(bound.fileno(), bound.family, self._switch))
        except OSError as error:  # between bind and listen somebody else began to
            failed: Deferred[None] = Deferred()
            failed.errback(self._bind_error(os.strerror(error.errno or 0)))
            return failed
        finally:
            self._close_sockets()  # the reactor has its own descriptors now
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Accept nobody any more; the connections that exist go on."""
        self._close_sockets()
        ports, self.ports = self.ports, []
        return gatherResults(
            [maybeDeferred(port.stopListening) for port in ports], consumeErrors=True
        ).addCallback(lambda _: None)

    def __str__(self) -> str:
        everywhere = not self.address.host and not self.address.endpoint
        return f"{self.address} (all interfaces)" if everywhere else str(self.address)

    def _parsed_endpoint(self) -> IStreamServerEndpoint:
        text = self.address.endpoint
        try:
            return serverFromString(self._reactor, text)  # type: ignore[no-any-return]
        except (IndexError, KeyError) as error:
            if text.startswith("systemd:"):
                raise self._bind_error("systemd handed over no such socket (LISTEN_FDS, LISTEN_FDNAMES)") from error
            raise ConfigError([f"{self._key}: {text!r} is no endpoint string"]) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError([f"{self._key}: {text!r} is no endpoint string: {error}"]) from error

    @property
    def _key(self) -> str:
        return f'listener "{self._switch.name}".listen'

    def _not_listening(self, failure: Failure) -> Failure:
        cause = getattr(failure.value, "socketError", None) or failure.value
        text = getattr(cause, "strerror", None) or str(cause)
        return Failure(self._bind_error(text))

    def _bind_error(self, text: str) -> BindError:
        return BindError(f'listener "{self._switch.name}": cannot listen on {self.address}: {text}')

    def _close_sockets(self) -> None:
        for bound in self._sockets:
            bound.close()
        self._sockets = []


def _bound(host: str, port: int) -> list[socket.socket]:
    """Sockets on host and port; on every interface, IPv4 and IPv6 each get their own, so that peers keep their form."""
    if not host:
        families = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    else:
        families = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]
    bound: list[socket.socket] = []
    for family, address in families:
        try:
            bound.append(_bind(family, address, port))
        except OSError as error:
            if bound and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue  # a machine without IPv6
            for other in bound:
                other.close()
            raise
    return bound


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound
