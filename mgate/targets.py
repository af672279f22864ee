"""What dials a target: addresses in turn, TLS and the PROXY header where the configuration says so, and a log line for
what cannot be dialled. `mgate.listeners` makes one endpoint for each configured address.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from mgate.addresses import TargetAddress
from mgate.config import Listener
from mgate.dialling import InTurn, Watched
from mgate.journal import Journal

__all__ = ["target_endpoint", "target_endpoints"]

ATTEMPT_DELAY = 0.1
"""Seconds until the next address of a host name is dialled beside the one before; RFC 8305, section 5, has no less."""


def target_endpoints(name: str, listener: Listener, reactor: Any, journal: Journal) -> list[IStreamClientEndpoint]:
    """What dials the target of a listener, by address in turn.

    Raises:
        ConfigError: a file of ``target_tls`` cannot be used.
    """
    return [_dialled(name, listener, target, reactor, journal) for target in listener.target]


def _dialled(
    name: str, listener: Listener, target: TargetAddress, reactor: Any, journal: Journal
) -> IStreamClientEndpoint:
    timeout = listener.limits.dial_timeout

    def report(error: str) -> None:
        journal.target_failed(target=str(target), error=error, listener=name)

    endpoint = target_endpoint(reactor, target, timeout)
    above = None
    if target.tls:
        from mgate.tls.client import TargetConnections, TargetEndpoint

        assert listener.target_tls is not None
        connections = TargetConnections(listener.target_tls, target.host)

        def above(below: IStreamClientEndpoint) -> IStreamClientEndpoint:
            return TargetEndpoint(connections, below, reactor, timeout=timeout, report=report)

    if listener.send_proxy_protocol:
        from mgate.proxyprotocol.outgoing import Introducing

        endpoint = Introducing(endpoint, above)
    elif above is not None:
        endpoint = above(endpoint)
    return Watched(endpoint, timeout, reactor, report)


def target_endpoint(reactor: Any, target: TargetAddress, timeout: float) -> IStreamClientEndpoint:
    """What connects to `target`. Only a host name takes the way through the resolver, and ``localhost`` is none: it is
    IPv4 first, because that is what brokers listen on."""
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
