"""A connection with its link, between two fake transports, on a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate import limits as limits_module
from mgate.limits import Limits
from mgate.mqtt import choices as choices_module
from mgate.mqtt.choices import Choices
from mgate.mqtt.packets import Disconnect, Packet
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy
from mgate.testing.device import PEER, Probe, check_open
from mgate.testing.target import FakeTarget

__all__ = ["LinkProbe", "joined_link"]


class LinkProbe(Probe[None]):
    """One connection with its link, made by `joined_link`: both transports are fakes, and time stands still until
    `advance`.

    Attributes:
        clock: a `twisted.internet.task.Clock`.
        received: every packet that the device was sent.
        closed: both connections are closed.
    """

    def __init__(
        self, handlers: Sequence[Any], version: int, target: FakeTarget | None, raise_faults: bool, limits: Limits,
        choices: Choices,
    ) -> None:  # fmt: skip
        super().__init__(version, target, raise_faults)
        self.clock = Clock()
        self.received: list[Packet] = []
        self._factory = MqttDeviceFactory(
            self.clock, [_Dial(self)], Policy(handlers), limits=limits, choices=choices, counters=self.counters,
            listener="test", journal=self._notebook, now=self.clock.seconds,
        )  # fmt: skip
        protocol: Any = self._factory.buildProtocol(IPv4Address("TCP", *PEER))
        if protocol is None:
            raise AssertionError("a limit refused the connection")
        self.session = protocol.relay.session
        self._device = _Wire(self.clock, protocol, self._arrived)
        self._target: _Wire | None = None
        protocol.makeConnection(self._device)

    @property
    def closed(self) -> bool:
        return not self._factory.open

    def send(self, *packets: Packet) -> None:
        """The device sends packets, in one piece."""
        self._device.protocol.dataReceived(self._encoded(packets))
        self.advance(0)

    def from_target(self, *packets: Packet) -> None:
        """The target sends packets, in one piece.

        Raises:
            AssertionError: there is no target; it is dialled when the handlers have agreed to the CONNECT.
        """
        self._dialled().protocol.dataReceived(self._encoded(packets))
        self.advance(0)

    def lose_device(self) -> None:
        """The connection of the device is gone."""
        self._device.lose()
        self.advance(0)

    def lose_target(self) -> None:
        """The connection of the target is reset. Raises as `from_target`."""
        self._dialled().lose(ConnectionLost())
        self.advance(0)

    def close_target(self) -> None:
        """The target closes without a word. Raises as `from_target`."""
        self._dialled().lose()
        self.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due."""
        self.clock.advance(seconds)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
        self._told_faults()

    def join(self, factory: IProtocolFactory) -> None:
        """The target accepts; the endpoint calls this."""
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", "192.0.2.2", 1883))
        self._target = wire = _Wire(self.clock, protocol, self._reached)
        protocol.makeConnection(wire)

    def _dialled(self) -> _Wire:
        if self._target is None:
            raise AssertionError("the target was not dialled")
        return self._target

    def _arrived(self, data: bytes) -> None:
        self.received += self._received.receive(data)

    def _reached(self, data: bytes) -> None:
        wire = self._dialled()
        answers = self.target.receive(data)
        if answers:
            self.clock.callLater(0, wire.protocol.dataReceived, answers)
        if isinstance(self.target.packets[-1], Disconnect):
            self.clock.callLater(0, wire.lose)  # as brokers do


class _Wire(StringTransport):
    """One end of the link: hands on at once what is written, and closes in the next turn, as real transports do."""

    def __init__(self, clock: Clock, protocol: Any, arrived: Callable[[bytes], object]) -> None:
        super().__init__(lenient=True)  # type: ignore[no-untyped-call]
        self.protocol = protocol
        self._clock = clock
        self._arrived = arrived
        self._lost = False

    def write(self, data: bytes) -> None:
        self._arrived(bytes(data))

    def loseConnection(self) -> None:
        self._clock.callLater(0, self.lose)

    abortConnection = loseConnection

    def lose(self, why: Exception | None = None) -> None:
        """The connection is gone; once. It was closed in order if nothing says why."""
        if not self._lost:
            self._lost = True
            self.protocol.connectionLost(Failure(why or ConnectionDone()))


@implementer(IStreamClientEndpoint)
class _Dial:
    """Reaches the fake target in the next turn."""

    def __init__(self, probe: LinkProbe) -> None:
        self._probe = probe

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return deferLater(self._probe.clock, 0, self._probe.join, protocolFactory)


def joined_link(
    *handlers: Any,
    version: int = 5,
    opened: bool = True,
    target: FakeTarget | None = None,
    raise_faults: bool = True,
    limits: Limits = limits_module.DEFAULT,
    choices: Choices = choices_module.DEFAULT,
    **fields: Any,
) -> LinkProbe:
    """Join a device and a target through a link with handlers, on a clock that the test turns.

    Args and Raises: as `relay_with`.
    """
    probe = LinkProbe(handlers, version, target, raise_faults, limits, choices)
    if opened:
        probe.connect(**fields)
        check_open(probe.received, probe.refusals)
    return probe
