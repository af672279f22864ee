"""Random devices, targets and handlers (Hypothesis): whatever they do, and in whatever order.

1. What no handler admitted is never forwarded; what was admitted is forwarded at once, in its order.
2. Each message of QoS 1 and 2 gets the handshake of its own QoS, once, whatever was made of it on the way.
3. A closed relay says nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred

from mgate.errors import Denied, TargetLost
from mgate.handler import Message
from mgate.outcome import Direction
from tests import wire
from tests.mqtt.relays import Connection, Sent, handler, opened

DIRECTIONS = tuple(Direction)
DECISIONS = ("admit", "rename", "lower", "lowest", "refuse", "fault", "nonsense")


class Peer:
    """A device or a target: sends numbered messages, answers those that it gets, and knows which answers are due.

    Attributes:
        got: the numbers of the messages that arrived. pings, heard: how many pings it sent and got.
        owed: packets that it has still to send.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.got: list[int] = []
        self.pings = self.heard = 0
        self.owed: list[bytes] = []
        self.sent: dict[int, str] = {}
        """By packet identifier, the answer that is due."""
        self.releases: dict[int, str] = {}
        """By packet identifier of a message of QoS 2 that came: ``due`` once PUBREC has left."""

    def publish(self, number: int, qos: int) -> bytes:
        packet_id = next(free for free in range(1, 99) if free not in self.sent)
        if qos:
            self.sent[packet_id] = ("PUBACK", "PUBREC")[qos - 1]
        return wire.publish("t", b"%d" % number, qos=qos, packet_id=packet_id, version=self.version)

    def pay(self, index: int, failing: bool) -> bytes:
        """Send one of the answers that are due; PUBACK and PUBREC of version 5 may say that it failed."""
        packet = self.owed.pop(index % len(self.owed))
        kind, packet_id = packet[0] >> 4, packet[3]
        if failing and self.version == 5 and kind in (4, 5):
            self.releases.pop(packet_id, None)
            return wire.puback(packet_id, 0x97) if kind == 4 else wire.pubrec(packet_id, 0x97)
        if kind == 5:
            self.releases[packet_id] = "due"
        if kind == 6:
            self.sent[packet_id] = "PUBCOMP"
        return packet

    def receive(self, data: bytes) -> None:
        packets, rest = wire.packets(data)
        assert not rest, "only whole packets"
        for packet in packets:
            self._receive(packet[0] >> 4, packet)

    def _receive(self, kind: int, packet: bytes) -> None:
        if kind == 3:
            self._message(packet)
        elif kind in (12, 13):
            self.heard += 1
        elif kind == 6:
            assert self.releases.pop(packet[3], "") == "due", "PUBREL of nothing"
            self.owed.append(wire.pubcomp(packet[3]))
        else:
            name = {4: "PUBACK", 5: "PUBREC", 7: "PUBCOMP"}[kind]
            assert self.sent.pop(packet[3], "") == name, f"{name} of nothing, or a second one"
            if kind == 5 and (len(packet) == 4 or packet[4] < 0x80):
                self.sent[packet[3]] = "nothing: PUBREL has to leave first"
                self.owed.append(wire.pubrel(packet[3]))

    def _message(self, packet: bytes) -> None:
        qos, pos, packet_id = packet[0] >> 1 & 3, 4 + packet[3], 0
        if qos:
            packet_id, pos = packet[pos + 1], pos + 2
        self.got.append(int(packet[pos + (self.version == 5) :]))
        if qos == 1:
            self.owed.append(wire.puback(packet_id))
        elif qos == 2:
            assert packet_id not in self.releases, "a second message with this identifier"
            self.releases[packet_id] = "not yet"
            self.owed.append(wire.pubrec(packet_id))


class RelayMachine(RuleBasedStateMachine):
    """A device, a relay and a target. Each message carries its number; its fate is drawn when it is sent."""

    over = True

    @initialize(version=st.sampled_from([3, 4, 5]), watched=st.booleans())
    def open(self, version: int, watched: bool) -> None:
        hooks: dict[str, Any] = {
            "auth_publish": partial(self.judge, Direction.UPLINK),
            "auth_deliver": partial(self.judge, Direction.DOWNLINK),
        }
        if watched:
            hooks["publish"] = self.tell
        self.connection: Connection = opened(handler(**hooks), version=version)
        self.watched = watched
        # Who sends in this direction: the device, the target.
        self.peers = {direction: Peer(version) for direction in DIRECTIONS}
        self.fates: list[tuple[str, bool, int]] = []
        self.numbers: dict[Direction, list[int]] = {direction: [] for direction in DIRECTIONS}
        self.judged: dict[Direction, list[int]] = {direction: [] for direction in DIRECTIONS}
        self.admitted: dict[Direction, list[int]] = {direction: [] for direction in DIRECTIONS}
        self.waiting: dict[Direction, tuple[int, Deferred[Any]]] = {}
        self.told: list[int] = []
        self.over = False

    # The handler.

    def judge(self, direction: Direction, session: Any, topic: str, payload: bytes) -> Any:
        number = int(payload)
        assert not self.over, "asked behind the end"
        assert direction not in self.waiting, "the one before it is not decided yet"
        self.judged[direction].append(number)
        if self.fates[number][1]:
            self.waiting[direction] = number, Deferred()
            return self.waiting[direction][1]
        return self.decide(direction, number)

    def decide(self, direction: Direction, number: int) -> Any:
        decision, _, qos = self.fates[number]
        if decision == "refuse":
            raise Denied("quota")
        if decision == "fault":
            raise ValueError("broken")
        if decision == "nonsense":
            return "yes"
        if not self.over:
            self.admitted[direction].append(number)
        if decision == "rename":
            return Message("another")
        if decision == "admit":
            return None
        return Message(qos=qos // 2 if decision == "lower" else 0)

    def tell(self, session: Any, topic: str, payload: bytes) -> None:
        self.told.append(int(payload))

    # The wire.

    def feed(self, direction: Direction, data: bytes, cut: int) -> None:
        feed = self.connection.up if direction is Direction.UPLINK else self.connection.down
        for piece in (data[:cut], data[cut:]):
            self.hand_on(feed(piece))

    def hand_on(self, sent: Sent) -> None:
        if self.over:
            assert sent == Sent(), sent
        self.peers[Direction.DOWNLINK].receive(sent.to_target)
        self.peers[Direction.UPLINK].receive(sent.to_device)

    directions = st.sampled_from(DIRECTIONS)
    cuts = st.integers(0, 12)
    fates = st.tuples(st.integers(0, 2), st.sampled_from(DECISIONS), st.booleans())

    @rule(direction=directions, messages=st.lists(fates, min_size=1, max_size=4), cut=cuts)
    def publish(self, direction: Direction, messages: list[tuple[int, str, bool]], cut: int) -> None:
        data = b""
        for qos, decision, later in messages:
            number = len(self.fates)
            self.fates.append((decision, later, qos))
            if not self.over:
                self.numbers[direction].append(number)
            data += self.peers[direction].publish(number, qos)
        self.feed(direction, data, cut)

    @precondition(lambda self: any(peer.owed for peer in self.peers.values()))
    @rule(count=st.integers(1, 6), index=st.integers(0, 20), failing=st.booleans(), cut=cuts)
    def acknowledge(self, count: int, index: int, failing: bool, cut: int) -> None:
        """Some of the answers that are due, of both sides."""
        for direction, peer in self.peers.items():
            for _ in range(min(count, len(peer.owed))):
                self.feed(direction, peer.pay(index, failing), cut)

    @rule(direction=directions)
    def ping(self, direction: Direction) -> None:
        peer = self.peers[direction]
        peer.pings += not self.over
        self.feed(direction, wire.PINGREQ if direction is Direction.UPLINK else wire.PINGRESP, 1)

    @precondition(lambda self: self.waiting)
    @rule(late=st.booleans())
    def answer(self, late: bool) -> None:
        direction, (number, question) = self.waiting.popitem()
        if late and not self.over:
            self.hand_on(self.connection.late(direction))
            return
        try:
            answer = self.decide(direction, number)
        except (Denied, ValueError) as error:
            question.errback(error)
        else:
            question.callback(answer)
        self.hand_on(self.connection.sent())

    @precondition(lambda self: len(self.fates) > 12)
    @rule(lost=st.booleans())
    def end(self, lost: bool) -> None:
        """The gateway gives up, or a side is gone."""
        if lost:
            self.connection.relay.closed("device_lost")
            self.waiting.clear()
        else:
            self.connection.relay.fail(TargetLost("gone"))
        self.over = True

    # What holds at any time.

    @invariant()
    def what_was_admitted_arrived_in_order(self) -> None:
        for direction, far in zip(DIRECTIONS, reversed(DIRECTIONS), strict=True):
            assert self.peers[far].got == self.admitted[direction], "neither more nor less"
            assert self.judged[direction] == self.numbers[direction][: len(self.judged[direction])], "in order"
            if direction not in self.waiting and not self.over:
                assert self.judged[direction] == self.numbers[direction], "nothing is left behind"
                assert self.peers[far].heard == self.peers[direction].pings
        assert self.over or self.connection.closing is None, "nobody broke the protocol"

    def teardown(self) -> None:
        """All questions are answered and all answers sent: every handshake is finished."""
        if self.over:
            return
        while self.waiting or any(peer.owed for peer in self.peers.values()):
            if self.waiting:
                self.answer(False)
            else:
                self.acknowledge(1, 0, False, 0)
        for peer in self.peers.values():
            assert (peer.sent, peer.releases) == ({}, {}), "an exchange that is never finished"
        if self.watched:
            assert len(self.told) == len(set(self.told)), "told once"
            assert set(self.told) <= set(self.admitted[Direction.UPLINK])
        self.what_was_admitted_arrived_in_order()


RelayTests = RelayMachine.TestCase
RelayTests.settings = settings(stateful_step_count=40)
