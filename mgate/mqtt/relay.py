"""The sans-IO core of an MQTT connection. START READING HERE: `MqttRelay.receive` is the path of every packet.

Rules:

1. Bytes in, an `Outcome` out. The relay never calls out to I/O, and knows no reactor, transport or configuration.
2. For each packet, in order: before, authorise, after, forward, notify. Only the write is batched.
3. What nobody watches leaves as the same slice that it came in; but no packet leaves that was not checked.
4. While a handler thinks, everything behind that packet waits in its direction, and nothing in the other.
5. Fail closed: what breaks the protocol, and what a handler did not admit, is not forwarded.

Every packet takes one step (`mgate.mqtt.steps`), which checks it where it lies. Where somebody watches it, the step
hands back a `journey` that takes it out of the stream and has it judged by `publishing`, `subscribing` or `connecting`.
"""

from __future__ import annotations

from collections.abc import Generator
from operator import length_hint
from typing import Any

from mgate.counters import Counters
from mgate.errors import Denied, GateError, Kind, Malformed, TargetLost, TimedOut
from mgate.journal import Journal
from mgate.limits import Limits
from mgate.mqtt import connecting, ending, publishing, report, steps, subscribing
from mgate.mqtt.choices import Choices
from mgate.mqtt.connecting import ASKING, CLOSED, NEW, OPEN
from mgate.mqtt.decode import decode
from mgate.mqtt.encode import encode
from mgate.mqtt.exchanges import Exchanges
from mgate.mqtt.framing import Span, split
from mgate.mqtt.judges import JUDGES
from mgate.mqtt.lane import NOTHING, Journey, Lane
from mgate.mqtt.packets import Connack, Packet, PacketType, Publish, Subscribe
from mgate.mqtt.properties import Properties, PropertyId
from mgate.mqtt.publishing import UNASKED
from mgate.mqtt.refusal import ROOMY
from mgate.mqtt.subscribing import Request
from mgate.mqtt.topics import Topics
from mgate.outcome import Direction, Outcome
from mgate.policy import Hook, Pending, Policy
from mgate.session import Session

__all__ = ["MqttRelay"]

HELD_MOST = 64 * 1024
"""Bytes held behind a question, from which on no more should be read."""
ASKED_WINDOW = 256
"""Bytes to look ahead while handlers think about packets: what is behind the next question is looked at again."""
TURN = 64
"""Packets that somebody watches which one connection may have judged in a turn of the reactor: a chunk of 64 KiB may
hold 30,000, each of which can cost 100 us."""
AWAITED_MOST = 256 * 1024
"""Bytes kept for notifications until the target acknowledges, from which on no more should be read."""

class MqttRelay:
    """One device connection. `mgate.mqtt.protocol` makes it at accept; the link feeds it.

    Args:
        session: filled in by CONNECT.
        policy, limits, choices, counters, journal, topics: those of the listener.

    Attributes:
        state: `NEW`, `ASKING`, `CONNECTING`, `OPEN` or `CLOSED`.
        connected: the handlers were told that the target has accepted the connection, and not yet that it is over.
        heard: a whole packet of the device came; whoever keeps its time sets it back.
        keep_alive: seconds that the device may be silent, as the target agreed; 0 for ever.
    """

    __slots__ = (
        "_active", "_data", "_exchanges", "_inspected", "_released", "_releasing", "choices", "closing", "connected",
        "counters", "down", "heard", "journal", "judged", "keep_alive", "limits", "policy", "requested", "said_goodbye",
        "session", "state", "terms", "topics", "up", "version",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        policy: Policy,
        limits: Limits,
        choices: Choices,
        counters: Counters,
        journal: Journal,
        topics: Topics,
    ) -> None:
        self.session = session
        self.policy = policy
        self.limits = limits
        self.choices = choices
        self.counters = counters
        self.journal = journal
        self.topics = topics
        self.up = Lane(Direction.UPLINK, policy.auth_publish, policy.publish, counters.packets_uplink)
        self.down = Lane(Direction.DOWNLINK, policy.auth_deliver, None, counters.packets_downlink)
        self.state = NEW
        self.version = 0
        self.keep_alive = 0
        self.heard = False
        self.judged: Any = None
        self.closing: GateError | None = None
        self.terms = connecting.NO_TERMS
        self.said_goodbye = False
        self._active = self.up
        self._data = b""
        self._inspected = policy.before is not None or policy.after is not None
        self._released = False
        self._releasing = False
        self.connected = False
        self.requested: Request | None = None
        self._exchanges: Exchanges | None = None
        session._reader = self

    @property
    def exchanges(self) -> Exchanges:
        """What the target has not answered yet; made at first use."""
        if self._exchanges is None:
            self._exchanges = Exchanges(self.limits.max_filters)
        return self._exchanges

    @property
    def room(self) -> int:
        """The largest acknowledgement with a Reason String that the device takes, in bytes; 0 if it wants none."""
        return (self.terms.device_maximum or ROOMY) if self.terms.explains else 0

    def crowded(self, direction: Direction) -> bool:
        """Does so much wait that the side which `direction` starts from should not be read for a while?"""
        if direction is Direction.DOWNLINK:
            return len(self.down.held) > HELD_MOST
        return len(self.up.held) > HELD_MOST or self.up.waiting_size > AWAITED_MOST

    def pending(self, direction: Direction) -> bool:
        """Is there something of this direction that was read and not yet decided?"""
        lane = self.up if direction is Direction.UPLINK else self.down
        return bool(lane.held) or (lane.journey is not None and self.state != ASKING)

    def begun(self, direction: Direction) -> int:
        """The size in bytes of a packet of this direction that is not whole yet; 0 if there is none."""
        return self.up.begun if direction is Direction.UPLINK else self.down.begun

    # The path of a chunk.

    def receive(self, direction: Direction, data: bytes) -> Outcome:
        """Bytes came in: from the device if `direction` is UPLINK, else from the target."""
        lane = self.up if direction is Direction.UPLINK else self.down
        if lane.blocked or lane.held:
            lane.hold(data)
            return Outcome()
        outer = self._active, self._data, self.judged
        start = 0
        if lane.unfinished:
            whole, start = lane.take(data)
            if not whole:
                return Outcome()
            lane.out, lane.reply = [], []
            self._walk(lane, whole, 0)
        else:
            lane.out, lane.reply = [], []
        if start < len(data):
            self._walk(lane, data, start)
        # A hook may have had this happen while it ran: what it looks at is still its own packet.
        self._active, self._data, self.judged = outer
        return self._outcome(lane)

    def go_on(self, direction: Direction) -> Outcome:
        """The others had their turn; see `Outcome.again`."""
        lane = self.up if direction is Direction.UPLINK else self.down
        if not lane.resting or lane.journey is not None or self.state == CLOSED:
            return Outcome()
        return self.answer(direction, None)

    def answer(self, direction: Direction, answer: object) -> Outcome:
        """The question of this direction was decided (`TimedOut`: it was not), or the other direction released it."""
        lane = self.up if direction is Direction.UPLINK else self.down
        if self.state == CLOSED:
            return Outcome(close=self.closing)
        if self._releasing and lane is self.up:
            self._releasing = False
            if lane.journey is not None:
                return Outcome()  # it was not held: nobody but its own handler answers it
        outer = self._active, self._data, self.judged
        self._active = lane
        lane.out, lane.reply = [], []
        lane.blocked, lane.resting = lane.ended, False
        if lane.journey is not None:
            journey, lane.journey, lane.question = lane.journey, None, None
            try:
                self.run(lane, journey, answer)
            except Malformed as error:
                ending.broken(self, lane, error)
        if lane.held and not lane.blocked:
            held, lane.held = lane.held, b""
            self._walk(lane, held, 0)
        self._active, self._data, self.judged = outer
        return self._outcome(lane)

    def _walk(self, lane: Lane, data: bytes, start: int) -> None:
        """Take one chunk apart from `start` on, packet by packet; what stays as it came leaves as one slice."""
        if lane.blocked:
            lane.hold(data[start:])
            return
        self._active = lane
        clean = end = start
        need, error = 0, None
        judged = 0
        spans: list[Span] = []
        try:
            if self.state != OPEN:
                data = connecting.opening(self, lane, data[start:])
                if not data:
                    return
                clean = end = start = 0
            self._data = data
            table = steps.INSPECTED if self._inspected else steps.PLAIN
            counts = lane.counts
            while end < len(data) and not need and error is None:
                window = ASKED_WINDOW if lane.asked else len(data)
                runs, end, need, error = split(data, self.limits.max_packet_size, end, window)
                self.heard = self.heard or (bool(runs) and lane is self.up)
                for head, spans in runs:
                    step, rest = table[head >> 4], iter(spans)
                    counts[head >> 4] += len(spans)
                    while True:
                        journey = step(self, lane, data, head, rest)
                        if journey is None:
                            break
                        position, _, stop = spans[-1 - length_hint(rest)]
                        if position > clean:
                            lane.out.append(memoryview(data)[clean:position])
                        clean = stop
                        self.run(lane, journey)
                        judged += 1
                        if judged >= TURN and not lane.blocked and clean < len(data):
                            lane.rest()
                        if lane.blocked:
                            counts[head >> 4] -= length_hint(rest)
                            lane.hold(data[clean:])
                            return
            lane.asked = False
        except Malformed as broken:
            error, need, end = broken, 0, start
            if spans:
                counts[head >> 4] -= length_hint(rest)
                end = spans[-1 - length_hint(rest)][0]
        finally:
            self._data, self.judged = b"", None
        if end > clean:
            lane.out.append(memoryview(data)[clean:end] if clean or end < len(data) else data)
        if error is not None:
            ending.broken(self, lane, error)
        elif need:
            lane.keep(data, end, need)

    def run(self, lane: Lane, journey: Journey, answer: Any = None) -> None:
        """Let a packet travel until it has arrived, or a handler must think."""
        try:
            lane.question = journey.send(answer)
        except StopIteration:
            return
        lane.journey = journey
        lane.blocked = lane.asked = True
        self.judged = None
        self.counters.questions += 1

    def journey(self, lane: Lane, packet: Any, whole: bytes, decision: Any = UNASKED) -> Journey:
        """The way of one packet that somebody watches: before, authorise, after, forward, notify.

        Args:
            packet: as decoded. whole: its bytes. decision: what the handlers answered, if they were asked already.
        """
        came = packet
        try:
            if self.policy.before is not None:
                packet = yield from self._intercepted(self.policy.before, lane, packet)
            self.judged = packet
            judged, judge = packet, JUDGES[lane.direction].get(packet.type)
            if judge is not None:
                judged = yield from judge(self, lane, packet, decision)
            if judged is not None and self.policy.after is not None:
                judged = yield from self._intercepted(self.policy.after, lane, judged)
            if judged is None or self.state == CLOSED:
                return
            if judged is not came or self._inspected:
                whole = self._fitting(lane, judged, whole)
            if self.requested is not None:
                request, self.requested = self.requested, None
                self.exchanges.asked(judged.packet_id, request)
            lane.out.append(whole)
            if packet.type is PacketType.PUBLISH:
                publishing.forwarded(self, lane, packet, judged)
            elif packet.type is PacketType.CONNECT:
                connecting.forwarded(self, lane, packet, judged)
            elif packet.type is PacketType.CONNACK:
                self._answered(judged)
        except Denied as denied:
            self._refuse(lane, packet, denied)

    def _intercepted(self, hook: Hook, lane: Lane, packet: Any) -> Generator[Any, Any, Any]:
        self.judged = packet
        try:
            edit = yield from self.decided(hook, hook.ask(self.session, packet, lane.direction))
            if edit is None:
                return packet
            try:
                self.encode(edit)
            except ValueError as error:
                raise self.fault(hook, error) from error
            return edit
        except Denied as denied:
            if denied.kind is Kind.HANDLER_FAULT:
                self.end(denied)
            raise

    def decided(self, hook: Hook, decision: Any) -> Generator[Any, Any, Any]:
        """Wait for a decision if it is a Question. Returns None or the edit; raises Denied."""
        if isinstance(decision, Pending):
            decision = yield decision
            if isinstance(decision, TimedOut):
                decision = hook.late()
        if isinstance(decision, Denied):
            raise decision
        return decision

    def _outcome(self, lane: Lane) -> Outcome:
        """What has gathered since the last one."""
        outcome = Outcome(lane.out, b"".join(lane.reply), lane.question, self.closing, self._released, lane.resting)
        lane.out = lane.reply = NOTHING
        self._releasing, self._released = self._released, False
        return outcome

    # How it ends.

    def end(self, error: GateError) -> None:
        """The gateway ends this connection: the device is told in its own version, then both sides close."""
        if self.state != CLOSED:
            told = ending.farewell(self, error)
            (self.up.reply if self._active is self.up else self.down.out).append(told)
            ending.close(self, error)

    def fail(self, error: GateError) -> bytes:
        """The link ends the connection: a side was lost, or a time ran out. Returns what the device is told."""
        return ending.fail(self, error)

    def closed(self, reason: str) -> str:
        """Both sides are gone; called once. Handlers that were told of the connection are told of its end.

        Returns: the reason, which is ``"disconnect"`` if the device has said so, whoever closed first.
        """
        return ending.closed(self, reason)

    def release(self) -> None:
        """What the device sends need not wait for the target any longer."""
        self._released = True

    def _answered(self, packet: Connack) -> None:
        """CONNACK was forwarded: if the target agreed, the handlers are told of the connection as it is now."""
        if packet.reason_code:
            ending.close(self, TargetLost("the target refused the connection", "target_refused"))
            return
        self.state = OPEN
        self.connected = True
        self.release()
        self.counters.sessions_total += 1
        report.connected(self)
        if self.policy.connect is not None:
            self.policy.connect.tell(self.session)
        self.session.will = self.session.properties = None

    def _refuse(self, lane: Lane, packet: Packet, denied: Denied) -> None:
        report.denied(self, denied)
        self.requested = None
        if self.state == CLOSED:
            return
        if isinstance(packet, Publish):
            publishing.refuse(self, lane, packet, denied)
        elif isinstance(packet, Subscribe):
            subscribing.refuse(self, lane, packet, denied)
        else:
            self.end(denied)

    def read_judged(self) -> Any:
        """The packet that a hook is asked about; `Session.packet` calls this."""
        if isinstance(self.judged, tuple):
            self.judged = self.decode(self._active, self._data, *self.judged)
        return self.judged

    def fault(self, hook: Hook | None, error: BaseException) -> Denied:
        """The refusal for an edit that cannot go on the wire."""
        return hook.refusal(error) if hook is not None else Denied(Kind.INTERNAL_FAULT)

    # What the judges ask of the relay.

    def other(self, lane: Lane) -> Lane:
        """The lane of the opposite direction."""
        return self.down if lane is self.up else self.up

    def decode(self, lane: Lane, data: bytes, head: int, span: Span) -> Any:
        """The packet at `span`, whose first byte is `head`. Raises Malformed."""
        return decode(self.version, lane.direction, head, data, span[1], span[2])

    def encode(self, packet: Packet) -> bytes:
        """The bytes of `packet`. Raises ValueError if it cannot be encoded."""
        return encode(self.version, packet)

    def _fitting(self, lane: Lane, packet: Packet, came: bytes) -> bytes:
        """The bytes of a packet that may have been changed, if the far side takes as many [MQTT-3.1.2-24].

        Interceptors may change a packet in place: what they saw last is what goes on, whatever they returned.
        """
        try:
            whole = self.encode(packet)
        except ValueError as error:
            raise self.fault(lane.hook, error) from error
        if whole == came:
            return came
        maximum = self.terms.target_maximum if lane is self.up else self.terms.device_maximum
        if len(whole) > (maximum or self.limits.max_packet_size):
            raise Denied(Kind.TOO_LARGE, "the changed packet is larger than the receiver takes")
        return whole

    def check_user_properties(self, properties: Properties | None) -> None:
        """Raises Malformed if there are more User Properties than the limit."""
        if properties and len(properties.all(PropertyId.USER_PROPERTY)) > self.limits.max_user_properties:
            raise Malformed("more user properties than allowed", 0x97, self.version)

    def check_filters(self, filters: list[str]) -> None:
        """Raises Malformed if there are more filters than the limit, or one has too many levels."""
        if len(filters) > self.limits.max_filters:
            raise Malformed("more topic filters than allowed", 0x97)
        for name in filters:
            self.topics.check_levels(name)
