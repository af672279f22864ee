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
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.python.failure import Failure

from mgate.addresses import ListenAddress
from mgate.config import Listener
from mgate.counters import Counters
from mgate.entrance import Entrance, Switch
from mgate.errors import ConfigError, GateError
from mgate.journal import Journal
from mgate.policy import Policy
from mgate.targets import target_endpoints
from mgate.tls.checkers import Checkers

__all__ = ["PROTOCOLS", "BindError", "StreamListener"]

BACKLOG = 1024  # devices come back all at once when a network does


class BindError(GateError):
    """A listener's address cannot be had."""

    reason = "bind"


class StreamListener:
    """One listener of a stream protocol.

    Args:
        name: of the listener.
        address: what to bind.
        factory: makes a protocol for each device, can `drain`, and has `counters`.
        entrance: what stands in front of the factory.
        reactor: to listen with.

    Attributes:
        factory: as given.
        notes: lines for the log.
        counters: what happened on it.
    """

    def __init__(self, name: str, address: ListenAddress, factory: Any, entrance: Entrance, reactor: Any) -> None:
        self.name = name
        self.address = address
        self.counters: Counters = factory.counters
        self.notes = entrance.notes
        self.factory = factory
        self._switch = Switch(entrance.around(factory))
        self._reactor = reactor
        self._endpoint: IStreamServerEndpoint | None = None
        self._sockets: list[socket.socket] = []
        self._ports: list[IListeningPort] = []

    def adopt(self, entrance: Entrance) -> None:
        """Let those who connect from now on come in this way."""
        self.notes = entrance.notes
        self._switch.current = entrance.around(self.factory)

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
            listening: Deferred[Any] = self._endpoint.listen(self._switch)
            return listening.addCallbacks(self._ports.append, self._not_listening)
        try:
            for bound in self._sockets:
                bound.listen(BACKLOG)
                self._ports.append(self._reactor.adoptStreamPort(bound.fileno(), bound.family, self._switch))
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
        drained: Deferred[None] = self.factory.drain()
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


class Prepared(Protocol):
    """A listener whose configuration was read and whose files were, before anything of it is put to use."""

    def listener(self) -> StreamListener:
        """A new listener, not bound yet."""

    def renew(self, listener: StreamListener) -> None:
        """Have a listener that serves already use it for those who connect from now on."""


class PreparedMqtt:
    """One MQTT listener.

    Args:
        name: of the listener.
        listener: its configuration.
        policy: who judges.
        reactor, journal: handed down.
        checkers: asked for the status of client certificates.
        counters: of the listener, which go on counting over a reload; new ones if left out.

    Raises:
        ConfigError: with every file that cannot be used.
    """

    def __init__(
        self,
        name: str,
        listener: Listener,
        policy: Policy,
        reactor: Any,
        journal: Journal,
        checkers: Checkers,
        counters: Counters | None = None,
    ) -> None:
        from mgate.mqtt.choices import Choices

        self._name = name
        self._listener = listener
        self._policy = policy
        self._reactor = reactor
        self._journal = journal
        self._counters = counters or Counters()
        self._choices = Choices(
            versions=frozenset(listener.versions),
            denied_publish=listener.denied_publish,
            denied_delivery=listener.denied_delivery,
            denied_subscribe_31=listener.denied_subscribe_31,
            denied_will=listener.denied_will,
        )
        problems: list[str] = []
        for part in (self._prepare_entrance, self._prepare_targets):
            try:
                part(checkers)
            except ConfigError as error:
                problems += [f'listener "{name}": {problem}' for problem in error.problems]
        if problems:
            raise ConfigError(problems)

    def _prepare_entrance(self, checkers: Checkers) -> None:
        self._entrance = Entrance(
            self._name, self._listener, [b"mqtt"], self._reactor, self._journal, self._counters, checkers
        )

    def _prepare_targets(self, _: Checkers) -> None:
        self._targets = target_endpoints(self._name, self._listener, self._reactor, self._journal)

    def listener(self) -> StreamListener:
        """A new listener, not bound yet."""
        from mgate.mqtt.protocol import MqttDeviceFactory

        factory = MqttDeviceFactory(
            self._reactor,
            self._targets,
            self._policy,
            limits=self._listener.limits,
            choices=self._choices,
            counters=self._counters,
            listener=self._name,
            journal=self._journal,
        )
        return StreamListener(self._name, self._listener.listen, factory, self._entrance, self._reactor)

    def renew(self, listener: StreamListener) -> None:
        """Have a listener that serves already use it for those who connect from now on."""
        listener.factory.adopt(self._targets, self._policy, self._listener.limits, self._choices)
        listener.adopt(self._entrance)


PROTOCOLS: dict[str, Callable[..., Prepared]] = {"mqtt": PreparedMqtt}
"""What prepares a listener of each protocol."""
