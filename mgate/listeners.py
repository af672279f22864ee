"""What listens: a configured listener, its policy and a reactor become something that is bound, started and stopped.

`PROTOCOLS` is the only place that knows every protocol. A listener opens in two steps, because twistd turns into a
daemon between them: `bind` takes the addresses while the command can still fail, `start` accepts devices.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure

from mgate.addresses import ListenAddress, TargetAddress
from mgate.config import Listener
from mgate.dialling import InTurn, Watched
from mgate.errors import ConfigError, GateError
from mgate.journal import Journal
from mgate.policy import Policy

__all__ = ["PROTOCOLS", "BindError", "StreamListener", "target_endpoint"]

ATTEMPT_DELAY = 0.1
"""Seconds until the next address of a host name is dialled beside the one before; RFC 8305, section 5, has no less."""

BACKLOG = 1024  # devices come back all at once when a network does


class BindError(GateError):
    """A listener's address cannot be had."""

    reason = "bind"


class StreamListener:
    """One listener of a stream protocol.

    Args:
        name: of the listener.
        address: what to bind.
        factory: makes a protocol for each device, and can `drain`.
        reactor: to listen with.
    """

    def __init__(self, name: str, address: ListenAddress, factory: Any, reactor: Any) -> None:
        self.name = name
        self.address = address
        self._factory = factory
        self._reactor = reactor
        self._endpoint: IStreamServerEndpoint | None = None
        self._sockets: list[socket.socket] = []
        self._ports: list[IListeningPort] = []

    def check(self) -> None:
        """Read the address as `bind` would, without taking it. What systemd hands over is only there at the start.

        Raises:
            ConfigError: the endpoint string cannot be read.
        """
        if self.address.endpoint:
            with suppress(BindError):
                self._parsed_endpoint()

    def bind(self) -> None:
        """Take the addresses, without accepting anybody yet. What an endpoint string names is taken by `start`.

        Raises:
            BindError: somebody else has one, or it is not ours to take.
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
            listening: Deferred[Any] = self._endpoint.listen(self._factory)
            return listening.addCallbacks(self._ports.append, self._not_listening)
        try:
            for bound in self._sockets:
                bound.listen(BACKLOG)
                self._ports.append(self._reactor.adoptStreamPort(bound.fileno(), bound.family, self._factory))
        except OSError as error:  # between bind and listen somebody else began to
            return self._failed(os.strerror(error.errno or 0))
        finally:
            self._close_sockets()  # the reactor has its own descriptors now
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Accept nobody any more; the links that exist go on."""
        self._close_sockets()
        ports, self._ports = self._ports, []
        return gatherResults(
            [maybeDeferred(port.stopListening) for port in ports], consumeErrors=True
        ).addCallback(lambda _: None)

    def drain(self) -> Deferred[None]:
        """Let the links of this listener come to their end; the factory knows how long that may take."""
        drained: Deferred[None] = self._factory.drain()
        return drained

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
        return f'listener "{self.name}".listen'

    def _not_listening(self, failure: Failure) -> Failure:
        cause = getattr(failure.value, "socketError", None) or failure.value
        text = getattr(cause, "strerror", None) or str(cause)
        return Failure(self._bind_error(text))

    def _failed(self, text: str) -> Deferred[None]:
        failed: Deferred[None] = Deferred()
        failed.errback(self._bind_error(text))
        return failed

    def _bind_error(self, text: str) -> BindError:
        return BindError(f'listener "{self.name}": cannot listen on {self.address}: {text}')

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


def target_endpoint(reactor: Any, target: TargetAddress, timeout: float) -> IStreamClientEndpoint:
    """What dials `target`. Only a host name takes the way through the resolver, and ``localhost`` is none: it is IPv4
    first, because that is what brokers listen on."""
    if target.path:
        return UNIXClientEndpoint(reactor, target.path, timeout)
    if target.host.lower() == "localhost":
        return InTurn([
            TCP4ClientEndpoint(reactor, "127.0.0.1", target.port, timeout),
            TCP6ClientEndpoint(reactor, "::1", target.port, timeout),
        ])  # fmt: skip
    try:
        socket.inet_aton(target.host) if ":" not in target.host else socket.inet_pton(socket.AF_INET6, target.host)
    except OSError:
        return HostnameEndpoint(reactor, target.host, target.port, timeout, attemptDelay=ATTEMPT_DELAY)
    endpoint = TCP6ClientEndpoint if ":" in target.host else TCP4ClientEndpoint
    return endpoint(reactor, target.host, target.port, timeout)


def _watched(
    name: str, target: TargetAddress, reactor: Any, timeout: float, journal: Journal
) -> IStreamClientEndpoint:
    """What dials `target` for a listener, and writes down why it cannot."""

    def report(error: str) -> None:
        journal.target_failed(target=str(target), error=error, listener=name)

    return Watched(target_endpoint(reactor, target, timeout), timeout, reactor, report)


def _mqtt(name: str, listener: Listener, policy: Policy, reactor: Any, journal: Journal) -> StreamListener:
    from mgate.mqtt.choices import Choices
    from mgate.mqtt.protocol import MqttDeviceFactory

    choices = Choices(
        versions=frozenset(listener.versions),
        denied_publish=listener.denied_publish,
        denied_delivery=listener.denied_delivery,
        denied_subscribe_31=listener.denied_subscribe_31,
        denied_will=listener.denied_will,
    )
    factory = MqttDeviceFactory(
        reactor,
        [_watched(name, target, reactor, listener.limits.dial_timeout, journal) for target in listener.target],
        policy,
        limits=listener.limits,
        choices=choices,
        listener=name,
        journal=journal,
    )
    return StreamListener(name, listener.listen, factory, reactor)


Opener = Callable[[str, Listener, Policy, Any, Journal], StreamListener]

PROTOCOLS: dict[str, Opener] = {"mqtt": _mqtt}
"""What makes a listener of each protocol."""

