"""Reads OCSP responses and CRLs from the network, whoever named the URL: bounded in time, size, number and addresses.

Rules:

1. A URL that a certificate names may lead to public addresses and `allowed_networks` only, and to `allowed_ports`. One
   that the operator configured is trusted with both. `mgate.tls.fetch_rules` has the rules.
2. `deadline` covers everything: the place in the queue, the name, the connection, TLS, and the last byte of the body.
3. A host gets at most `AT_ONCE` requests at a time, and `WAITING` more may wait. After `TIMEOUTS` of them in a row ran
   out of time, the host is left alone for `REST` seconds: requests fail at once, as those do that wait for it.
4. A request ends in a body or in a `FetchError`, and its connection ends with it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.python.failure import Failure
from twisted.web._newclient import ResponseFailed  # twisted.web.client has it too, but does not list it

from mgate.tls.fetch_connection import Exchange
from mgate.tls.fetch_rules import FetchError, parse_networks, parse_url

__all__ = ["FetchError", "Fetcher"]

AT_ONCE = 8
WAITING = 1024
HOSTS = 256
TIMEOUTS = 3
REST = 30.0


class Fetcher:
    """Reads URLs for the revocation methods of listeners with the same addresses and ports.

    Args:
        reactor: IReactorTCP and IReactorTime.
        allowed_networks: in CIDR notation, see `Revocation`.
        allowed_ports: see `Revocation`.
        resolver: IHostnameResolver; the reactor's own if left out.
        trust_root: who signs the certificates of https servers; the authorities of the machine if left out.

    Raises:
        ValueError: one of `allowed_networks` is none.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        allowed_networks: Iterable[str] = (),
        allowed_ports: Collection[int] = (80, 443),
        resolver: Any = None,
        trust_root: Any = None,
    ) -> None:
        self._reactor = reactor
        self._networks = parse_networks(allowed_networks)
        self._ports = frozenset(allowed_ports)
        self._resolver = resolver
        self._trust_root = trust_root
        self._hosts: OrderedDict[tuple[str, int], _Host] = OrderedDict()
        self._requests: set[_Request] = set()

    def fetch(
        self,
        method: str,
        url: str,
        *,
        data: bytes = b"",
        content_type: str = "",
        limit: int,
        deadline: float,
        trusted: bool = False,
    ) -> Deferred[bytes]:
        """Read one URL. To cancel it gives up its place in the queue, or its connection.

        Args:
            method: ``"GET"`` or ``"POST"``.
            url: http or https.
            data: the body of a POST.
            content_type: what `data` is.
            limit: bytes that the answer's body may have.
            deadline: seconds.
            trusted: the operator configured the URL.

        Returns:
            Fires with the body of an answer with status 200; else fails with `FetchError`, or CancelledError.
        """
        try:
            location = parse_url(url, None if trusted else self._ports)
            host = self._host((location.host, location.port))
        except FetchError as error:
            return fail(error)
        exchange = Exchange(
            self._reactor,
            self._resolver or self._reactor.nameResolver,
            location,
            networks=None if trusted else self._networks,
            limit=limit,
            deadline=deadline,
            trust_root=self._trust_root,
        )
        request = _Request(exchange, lambda: exchange.run(method, data, content_type), host, self._ended)
        self._requests.add(request)
        request.timer = self._reactor.callLater(deadline, request.late, deadline)
        if len(host.running) < AT_ONCE:
            request.begin()
        else:
            host.waiting.append(request)
        return request.result

    def stop(self) -> None:
        """Cancel every request; the service calls it when it stops."""
        for request in list(self._requests):
            request.result.cancel()

    def _host(self, name: tuple[str, int]) -> _Host:
        """What is known of a host; refuses where nothing more may be asked of it."""
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= HOSTS:
                idle = next((key for key, each in self._hosts.items() if not each.running), None)
                if idle is None:
                    raise FetchError("too many hosts are being asked")
                del self._hosts[idle]
            host = self._hosts[name] = _Host()
        self._hosts.move_to_end(name)
        if self._reactor.seconds() < host.rests_until:
            raise FetchError(f"{name[0]} did not answer {TIMEOUTS} times, and is left alone for a while")
        if len(host.waiting) >= WAITING:
            raise FetchError(f"{WAITING} requests wait for {name[0]}")
        return host

    def _ended(self, request: _Request, timed_out: bool | None) -> None:
        """A request has ended; `timed_out` is None where that says nothing about the host."""
        self._requests.discard(request)
        host = request.host
        if timed_out is not None:
            host.timeouts = host.timeouts + 1 if timed_out else 0
        if host.timeouts >= TIMEOUTS:
            host.timeouts = TIMEOUTS - 1  # when it has rested, one more is enough
            host.rests_until = self._reactor.seconds() + REST
            for waiting in list(host.waiting):
                waiting.end(FetchError("the host does not answer"))
        while host.waiting and len(host.running) < AT_ONCE:
            host.waiting.popleft().begin()


@dataclass(slots=True, eq=False)
class _Host:
    """What is being asked of a host, and how it has answered."""

    running: set[_Request] = field(default_factory=set)
    waiting: deque[_Request] = field(default_factory=deque)
    timeouts: int = 0
    rests_until: float = 0.0


class _Request:
    """One fetch, from the queue to its end."""

    def __init__(
        self,
        exchange: Exchange,
        run: Callable[[], Any],
        host: _Host,
        ended: Callable[[_Request, bool | None], None],
    ) -> None:
        self.host = host
        self.result: Deferred[bytes] = Deferred(lambda _: self.end(None))
        self.timer: Any = None
        self._exchange = exchange
        self._run = run
        self._ended = ended
        self._running: Deferred[bytes] | None = None
        self._over = False

    def begin(self) -> None:
        """Its turn has come."""
        self.host.running.add(self)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addCallbacks(self.end, self._failed)

    def late(self, deadline: float) -> None:
        """The deadline is over."""
        self.end(FetchError(f"no answer in {deadline:g} s"), timed_out=True if self._running is not None else None)

    def end(self, outcome: bytes | FetchError | None, timed_out: bool | None = None) -> None:
        """Tell the outcome, None if nobody waits for it any more, and let go of everything."""
        if self._over:
            return
        self._over = True
        if self.timer.active():
            self.timer.cancel()
        self._exchange.abort()
        if self._running is not None:
            self._running.cancel()
            self.host.running.discard(self)
        else:
            self.host.waiting.remove(self)
        self._ended(self, False if isinstance(outcome, bytes) else timed_out)
        if isinstance(outcome, bytes):
            self.result.callback(outcome)
        elif outcome is not None:
            self.result.errback(outcome)

    def _failed(self, failure: Failure) -> None:
        if self._over:
            return
        error = failure.value
        if isinstance(error, FetchError):
            self.end(error, timed_out=False)
        elif failure.check(ConnectTimedOut):
            self.end(FetchError("no connection"), timed_out=True)
        else:
            self.end(FetchError(_text(failure)), timed_out=False)


def _text(failure: Failure) -> str:
    """What Twisted says about a connection or an answer, short."""
    error = failure.value
    if isinstance(error, ResponseFailed) and error.reasons:
        error = error.reasons[0].value
    return f"{type(error).__name__}: {error}"[:200]
