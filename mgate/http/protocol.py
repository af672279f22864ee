"""HTTP on Twisted: the factory that a listener serves with. `mgate.http.device` is the connection of one device,
`mgate.http.pool` those to the target.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import ServerFactory

from mgate import limits as limits_module
from mgate.counters import Counters
from mgate.http import choices as choices_module
from mgate.http.choices import Choices
from mgate.http.connection import DeviceConnection
from mgate.http.device import Handover, HttpDeviceProtocol
from mgate.http.pool import Pool
from mgate.http.rules import Rules
from mgate.journal import Journal
from mgate.limits import Limits
from mgate.policy import Policy
from mgate.session import Peer

__all__ = ["Handover", "HttpDeviceFactory", "HttpDeviceProtocol", "Upgrade"]

Upgrade = Callable[[Handover], Any]
"""Takes a WebSocket handshake over: returns the protocol that gets the transport and all bytes from then on. It may
raise a `GateError`, or call `Handover.device.refuse`, to answer in HTTP instead, before it writes to the transport."""

TICK = 0.5
"""Seconds between two looks at what is due, at most."""


class HttpDeviceFactory(ServerFactory):
    """Serves one HTTP listener: requests of devices are judged, and sent on to the target.

    Listen with it on any stream endpoint::

        endpoint.listen(HttpDeviceFactory(reactor, [target_endpoint], Policy([Rules()])))

    Args:
        reactor: IReactorTime; and what the endpoints need.
        targets: where the target is; several are tried in turn for each connection.
        policy: the handlers.
        limits: sizes and times; `mgate.limits.DEFAULT` if left out.
        choices: `mgate.http.choices.DEFAULT` if left out.
        counters: what is counted; read them at any time.
        listener: its name, for logs and `Session.listener`.
        journal: where refusals are written.
        upgrade: takes WebSockets over; without one they are refused.
        shared: a connection to the target may carry requests of several devices; to be False where the target is told
            of the device by the PROXY protocol.
        now: seconds that only grow.

    Raises:
        ValueError: no target, or choices that can not be used.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        targets: Sequence[IStreamClientEndpoint],
        policy: Policy,
        *,
        limits: Limits = limits_module.DEFAULT,
        choices: Choices = choices_module.DEFAULT,
        counters: Counters | None = None,
        listener: str = "http",
        journal: Journal | None = None,
        upgrade: Upgrade | None = None,
        shared: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not targets:
            raise ValueError("a gateway needs at least one target")
        self.clock = reactor
        self.counters = counters if counters is not None else Counters()
        self.listener = listener
        self.journal = journal if journal is not None else Journal()
        self.now = now
        self.open: set[DeviceConnection] = set()
        self._numbers = itertools.count(1)
        self._by_host: dict[str, int] = {}
        self._second = 0.0
        self._accepted = 0
        self._drained: Deferred[None] | None = None
        self._cut_off: Any = None
        self._tick: Any = None
        self._pools: list[Pool] = []
        self.adopt(targets, policy, limits, choices, upgrade=upgrade, shared=shared)

    def adopt(
        self,
        targets: Sequence[IStreamClientEndpoint],
        policy: Policy,
        limits: Limits,
        choices: Choices,
        *,
        upgrade: Upgrade | None = None,
        shared: bool = True,
    ) -> None:
        """Serve who connects from now on with these; the connections that exist keep what they began with."""
        self.rules = Rules(choices, limits)
        self.policy = policy
        self.limits = limits
        self.choices = choices
        self.upgrade = upgrade
        self.pool = Pool(targets, limits, self.counters, self.clock, self.now, shared)
        for pool in self._pools:
            pool.close()
        self._pools = [self.pool]
        policy.report = self._report

    def buildProtocol(self, addr: IAddress | None) -> HttpDeviceProtocol | None:  # type: ignore[override]
        """Accept a connection, unless a limit closes it at once."""
        peer = Peer.of(addr)
        reason = self._over_limit(peer)
        if reason:
            self.counters.connections_refused += 1
            self.counters.reject(reason)
            self.journal.reject(reason, protocol="http", peer=peer, listener=self.listener)
            return None
        protocol = HttpDeviceProtocol(self, peer, f"{self.listener}-{next(self._numbers)}")
        self.open.add(protocol)
        self._by_host[peer.host] = self._by_host.get(peer.host, 0) + 1
        self.counters.connections += 1
        self.counters.connections_total += 1
        self._keep_time()
        return protocol

    def _over_limit(self, peer: Peer) -> str:
        """The word for the limit that a new connection would break, or ""."""
        if self._drained is not None:
            return "shutdown"
        if len(self.open) >= self.limits.max_connections:
            return "max_connections"
        if self._by_host.get(peer.host, 0) >= self.limits.max_connections_per_address:
            return "max_connections_per_address"
        now = self.now()
        if now - self._second >= 1.0:
            self._second = now
            self._accepted = 0
        self._accepted += 1
        return "connection_rate" if self._accepted > self.limits.max_connection_rate else ""

    def gone(self, protocol: DeviceConnection) -> None:
        """A connection has ended."""
        self.open.discard(protocol)
        self.counters.connections -= 1
        host = protocol.peer.host
        left = self._by_host.get(host, 0) - 1
        if left > 0:
            self._by_host[host] = left
        else:
            self._by_host.pop(host, None)
        if self._drained is not None and not self.open:
            self._finish()

    def _keep_time(self) -> None:
        if self._tick is None and (self.open or not self.pool.empty):
            limits = self.limits
            soonest = min(
                limits.http_head_timeout, limits.http_body_timeout, limits.http_keep_alive, limits.http_answer_timeout
            )
            self._tick = self.clock.callLater(min(TICK, soonest / 4), self._look)

    def _look(self) -> None:
        """Tell every connection whose time is over, and close unused connections to the target."""
        self._tick = None
        now = self.now()
        for protocol in [one for one in self.open if one.due <= now]:
            protocol.look(now)
        self.pool.sweep(now)
        self._keep_time()

    def stopFactory(self) -> None:
        """Called by Twisted with the last port: what is kept for later is closed, the devices that are here stay."""
        if not self.open:
            self._rest()

    def _rest(self) -> None:
        self.pool.close()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def drain(self) -> Deferred[None]:
        """End all connections: no new ones, requests in hand are answered with ``Connection: close``.

        Returns: fires when the last one is gone, after `Limits.drain_timeout` at the latest.
        """
        done: Deferred[None] = Deferred()
        if not self.open:
            self._rest()
            done.callback(None)
            return done
        self._drained = done
        self._cut_off = self.clock.callLater(self.limits.drain_timeout, self._too_late)
        for protocol in list(self.open):
            protocol.stop()
        return done

    def _too_late(self) -> None:
        self._cut_off = None
        for protocol in list(self.open):
            protocol.cut_off()

    def _finish(self) -> None:
        drained, self._drained = self._drained, None
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None
        self._rest()
        if drained is not None:
            drained.callback(None)

    def _report(self, handler: str, hook: str, error: BaseException) -> None:
        self.counters.handler_faults += 1
        self.journal.fault(handler, hook, error)
