"""A connection without a link: each packet goes in, and what it led to comes out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from mgate import limits as limits_module
from mgate.errors import TimedOut
from mgate.limits import Limits
from mgate.mqtt import choices as choices_module
from mgate.mqtt.choices import Choices
from mgate.mqtt.packets import Packet, Publish
from mgate.mqtt.properties import Properties
from mgate.mqtt.relay import MqttRelay
from mgate.mqtt.topics import Topics
from mgate.outcome import Direction, Outcome, Question
from mgate.policy import Policy
from mgate.session import Session
from mgate.testing.device import PEER, Effect, Probe, check_open
from mgate.testing.target import FakeTarget

__all__ = ["RelayProbe", "relay_with"]

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK


class RelayProbe(Probe[Effect]):
    """One connection without a link, made by `relay_with`: every step returns what it led to.

    Attributes:
        relay: the `MqttRelay` itself.
    """

    def __init__(
        self, handlers: Sequence[Any], version: int, target: FakeTarget | None, raise_faults: bool, limits: Limits,
        choices: Choices,
    ) -> None:  # fmt: skip
        super().__init__(version, target, raise_faults)
        self.session = Session(connection_id="test-1", listener="test", peer=PEER)
        policy = Policy(handlers, self._notebook.fault)
        topics = Topics(limits.max_topic_levels)
        self.relay = MqttRelay(self.session, policy, limits, choices, self.counters, self._notebook, topics)
        self._questions: dict[Direction, tuple[Question, Effect]] = {}
        self._ended = False

    def send(self, *packets: Packet) -> Effect:
        """The device sends packets, in one piece."""
        return self._receive(UPLINK, packets)

    def from_target(self, *packets: Packet) -> Effect:
        """The target sends packets, in one piece."""
        return self._receive(DOWNLINK, packets)

    def deliver(
        self, topic: str, payload: bytes = b"", *, qos: int = 0, retain: bool = False,
        properties: Properties | None = None,
    ) -> Effect:  # fmt: skip
        """The target sends a message to the device."""
        packet_id = self._next_packet_id() if qos else 0
        return self.from_target(Publish(topic, payload, qos, retain, False, packet_id, properties))

    def time_out(self) -> None:
        """The handlers that think have used up `handler_timeout`."""
        for direction, (question, effect) in list(self._questions.items()):
            question.cancel()
            self._answered(direction, effect, TimedOut("no answer in time", "handler_timeout"))
        self._told_faults()

    def end(self, reason: str = "device_lost") -> None:
        """The connection is over, and the `disconnect` hook is told why. Happens by itself after DISCONNECT, and where
        the gateway closes."""
        if not self._ended:
            self._ended = True
            self._questions.clear()
            self.relay.closed(reason)
        self._told_faults()

    def _receive(self, direction: Direction, packets: Sequence[Packet]) -> Effect:
        effect = Effect()
        self._apply(direction, self.relay.receive(direction, self._encoded(packets)), effect)
        self._told_faults()
        return effect

    def _apply(self, direction: Direction, outcome: Outcome, effect: Effect) -> None:
        """Hand on what came out of the relay, as a link does."""
        to_target, to_device = outcome.forward, outcome.reply
        if direction is DOWNLINK:
            to_target, to_device = to_device, to_target
        effect.to_device += self._received.receive(to_device)
        known = len(self.target.packets)
        answers = self.target.receive(to_target)
        effect.to_target += self.target.packets[known:]
        if outcome.close is not None:
            effect.closed = outcome.close
            self.end(outcome.close.reason)
            return
        if outcome.question is not None:
            effect.waiting = True
            self._questions[direction] = outcome.question, effect
            outcome.question.listen(partial(self._answered, direction, effect))
        if answers:
            self._apply(DOWNLINK, self.relay.receive(DOWNLINK, answers), effect)
        if outcome.again:
            self._apply(direction, self.relay.go_on(direction), effect)
        if outcome.release:
            self._apply(UPLINK, self.relay.answer(UPLINK, None), effect)
        if self.relay.said_goodbye:
            self.end("disconnect")

    def _answered(self, direction: Direction, effect: Effect, answer: object) -> None:
        if not self._ended:
            self._questions.pop(direction, None)
            effect.waiting = False
            self._apply(direction, self.relay.answer(direction, answer), effect)


def relay_with(
    *handlers: Any,
    version: int = 5,
    opened: bool = True,
    target: FakeTarget | None = None,
    raise_faults: bool = True,
    limits: Limits = limits_module.DEFAULT,
    choices: Choices = choices_module.DEFAULT,
    **fields: Any,
) -> RelayProbe:
    """Put handlers into a connection without a link.

    Args:
        handlers: handlers and interceptors in the order in which they are asked; or pairs of a name and one of them.
        version: the protocol level of the device: 3 (MQTT 3.1), 4 (3.1.1) or 5.
        opened: connect at once; else the test calls `connect` and sees its effect.
        target: stands for the broker; one that agrees with everything if left out.
        raise_faults: raise what a handler raises that is not `Denied`.
        limits, choices: those of the listener.
        fields: of the CONNECT: ``client_id``, ``username``, ``password``, ``will`` ...

    Raises:
        AssertionError: the connection should be open, and is not.
    """
    probe = RelayProbe(handlers, version, target, raise_faults, limits, choices)
    if opened:
        effect = probe.connect(**fields)
        if effect.waiting:
            raise AssertionError("auth_connect has not answered yet: use opened=False, and connect()")
        check_open(effect.to_device, effect.closed)
    return probe
