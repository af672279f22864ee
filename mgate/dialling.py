"""What stands between a link and the endpoints of its target: addresses of one name, and why one cannot be dialled.

`mgate.listeners` puts both around the endpoints of Twisted; a link sees one endpoint for each configured address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["InTurn", "Watched"]


@implementer(IStreamClientEndpoint)
class InTurn:
    """Dials the first of several endpoints, and the next as soon as one refuses.

    `HostnameEndpoint` goes on to its next address only after a delay, even if the first was refused at once.
    """

    def __init__(self, endpoints: Sequence[IStreamClientEndpoint]) -> None:
        self._endpoints = endpoints

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """IStreamClientEndpoint; fails as the first endpoint did if none can be dialled."""
        first: list[Failure] = []

        def missed(failure: Failure, index: int) -> Failure | Deferred[Any]:
            first.append(failure)
            if index == len(self._endpoints) or failure.check(ConnectError) is None:  # or whoever dials gave up
                return first[0]
            return dial(index)

        def dial(index: int) -> Deferred[Any]:
            dialled: Deferred[Any] = self._endpoints[index].connect(protocolFactory)
            return dialled.addErrback(missed, index + 1)

        return dial(0)


@implementer(IStreamClientEndpoint)
class Watched:
    """Dials an endpoint, and reports why it could not be reached.

    Args:
        endpoint: to dial.
        timeout: seconds after which whoever dials gives up by cancelling; sooner, a device went away, and that is
            no failure of the target.
        clock: IReactorTime.
        report: called with one short text for each failure.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, timeout: float, clock: Any, report: Callable[[str], None]
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._clock = clock
        self._report = report

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """IStreamClientEndpoint; what is cancelled fails with CancelledError, whatever the endpoint makes of it."""
        given_up = False
        latest = self._clock.seconds() + self._timeout

        def cancel(_: Deferred[Any]) -> None:
            nonlocal given_up
            given_up = True
            inner.cancel()

        def failed(failure: Failure) -> None:
            if not given_up:
                self._report(str(failure.value).rstrip("."))
            elif self._clock.seconds() >= latest:
                self._report(f"no answer in {self._timeout:g} s")
            outer.errback(CancelledError() if given_up else failure)

        outer: Deferred[Any] = Deferred(cancel)
        inner: Deferred[Any] = self.endpoint.connect(protocolFactory)
        inner.addCallbacks(outer.callback, failed)
        return outer
