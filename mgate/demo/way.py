"""How the bundled client reaches the other side: by TCP, or by TLS, with the options of Mosquitto's clients."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from mgate.tls.settings import TargetTls

__all__ = ["Way", "tls_options", "tls_settings"]

HANDSHAKE = 30
"""Seconds that TLS may take."""


def tls_options(parser: argparse.ArgumentParser) -> None:
    """Have a command line understand the options of TLS."""
    parser.add_argument("--tls", action="store_true", help="speak TLS; each of the next three implies it")
    parser.add_argument("--cafile", metavar="FILE", help="who signs servers (PEM); default: whom this computer trusts")
    parser.add_argument("--cert", metavar="FILE", help="own certificate, with those that lead to its root (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its key (PEM), which nobody else may read")


def tls_settings(options: argparse.Namespace) -> TargetTls | None:
    """The TLS that a command line asks for, if any.

    Raises:
        ValueError: a certificate without a key, or a key without a certificate.
    """
    if bool(options.cert) != bool(options.key):
        raise ValueError("--cert and --key go together")
    if not (options.tls or options.cafile or options.cert):
        return None
    return TargetTls(options.cafile or "", options.cert or "", options.key or "")


class Way:
    """How the other side is reached: by TCP, or by TLS on it, and then it must prove that it is this host.

    Args:
        host: a name or an address.
        port: its port.
        tls: files; None for no TLS.

    Raises:
        ConfigError: a file cannot be used, or no certificate can be for this host.
    """

    def __init__(self, host: str, port: int, tls: TargetTls | None = None) -> None:
        self._host = host
        self._port = port
        self._connections: Any = None
        if tls is not None:
            from mgate.tls.client import TargetConnections  # who speaks no TLS does not load OpenSSL

            self._connections = TargetConnections(tls, host)

    def endpoint(self, reactor: Any, say: Callable[[str], None]) -> IStreamClientEndpoint:
        """What to connect to; `say` is told if TLS breaks down later."""
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, self._host, self._port)
        if self._connections is None:
            return endpoint
        from mgate.tls.client import TargetEndpoint

        return TargetEndpoint(self._connections, endpoint, reactor, timeout=HANDSHAKE, report=say)

    def __str__(self) -> str:
        return f"{self._host} port {self._port}"
