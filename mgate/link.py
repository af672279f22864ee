"""A link joins the two sides of one connection: it pumps bytes through the relay, dials, asks, drains and closes.

Rules:

1. One write for each chunk and side.
2. The target is dialled when the relay has something for it, and not before.
3. When one side ends, what the other side is still owed goes out first: held packets, then unsent bytes, then the end.
4. Every wait has an end: a handler, a dial, and the draining of a side that does not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from mgate.counters import Counters
from mgate.errors import Denied, GateError, Kind, TargetLost, TimedOut
from mgate.flow import CROWDED, READ, STOPPING, Side
from mgate.limits import Limits
from mgate.outcome import Direction, Outcome, Question
from mgate.proxyprotocol.outgoing import Device

__all__ = ["LINK_STATES", "Link", "LinkRelay"]

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK

LINGER = 2.0
"""Seconds that a device is given to close after it was told the last thing."""

LINK_STATES = {
    "accepted": {"dial": "dialling", "end": "draining", "lost": "closed"},
    "dialling": {"join": "relaying", "end": "draining", "lost": "closed"},
    "relaying": {"end": "draining", "lost": "closed"},
    "draining": {"lost": "closed"},
    "closed": {},
}
"""What happens next, by state and event. ``lost`` is when the last side is gone."""


class LinkRelay(Protocol):
    """What a link needs of a relay, beside `mgate.outcome.Relay`."""

    def receive(self, direction: Direction, data: bytes) -> Outcome: ...
    def answer(self, direction: Direction, answer: object) -> Outcome: ...
    def go_on(self, direction: Direction) -> Outcome: ...
    def crowded(self, direction: Direction) -> bool: ...
    def pending(self, direction: Direction) -> bool: ...
    def begun(self, direction: Direction) -> int: ...
    def fail(self, error: GateError) -> bytes: ...
    def closed(self, reason: str) -> str: ...


class LinkOwner(Protocol):
    """The protocol of the device, which keeps its time."""

    def joined(self) -> None:
        """The target is connected."""

    def opened(self) -> None:
        """The target has accepted the connection."""

    def introduced(self) -> Device:
        """What a target is told of the device, where it is told of devices."""

    def broken(self, error: BaseException) -> None:
        """The gateway has failed; to be written to the log."""

    def closed(self, reason: str) -> None:
        """Both sides are gone; called once, with a reason word."""


@implementer(IProtocolFactory)
class Link:
    """Both sides of one connection. The device's protocol makes it at accept. It is itself the factory of the target's
    protocol: an object for each connection less.

    Args:
        relay: the sans-IO core.
        targets: the addresses of the target, tried in turn.
        join: makes the protocol of the target side, given this link.
        limits: times and sizes.
        counters: those of the listener.
        clock: IReactorTime.
        owner: told when the connection is open and when it is over.
    """

    __slots__ = (
        "_attempt", "_clock", "_counters", "_deadline", "_gone", "_join", "_limits", "_owner", "_pending", "_reason",
        "_relay", "_stopping", "_targets", "_timers", "device", "state", "target",
    )  # fmt: skip

    def __init__(
        self,
        relay: LinkRelay,
        targets: Sequence[IStreamClientEndpoint],
        join: Callable[[Link], Any],
        limits: Limits,
        counters: Counters,
        clock: Any,
        owner: LinkOwner,
    ) -> None:
        self._relay = relay
        self._targets = targets
        self._join = join
        self._limits = limits
        self._counters = counters
        self._clock = clock
        self._owner = owner
        self._reason = ""
        self._gone = "target_lost"
        self._stopping: GateError | None = None
        self._pending: list[bytes] | None = None
        self._attempt: Any = None
        self._deadline: Any = None
        self._timers: dict[Direction, Any] | None = None
        self.state = "accepted"
        self.device = Side(limits.write_buffer_high)
        self.target = Side(limits.write_buffer_high)
        self.device.peer = self.target
        self.target.peer = self.device

    # Bytes.

    def pump(self, direction: Direction, data: bytes) -> None:
        """A side has read a chunk."""
        try:
            self._apply(direction, self._relay.receive(direction, data))
        except Exception as error:
            self._broken(error)
        if len(data) >= READ:
            (self.device if direction is UPLINK else self.target).expect(self._relay.begun(direction))

    def _apply(self, direction: Direction, outcome: Outcome) -> None:
        """Do what an outcome says."""
        size = sum(map(len, outcome.pieces))
        if direction is UPLINK:
            self._counters.bytes_uplink += size
            near, far = self.device, self.target
        else:
            self._counters.bytes_downlink += size
            near, far = self.target, self.device
        if size:
            if far.transport is None and far is self.target:
                self._queue(outcome.forward)
            else:
                far.write(outcome.pieces)
        if outcome.reply:
            near.answer(outcome.reply)
        if outcome.close is not None:
            self.end(outcome.close)
            return
        if outcome.question is not None:
            self._ask(direction, outcome.question)
        elif outcome.again:
            self._clock.callLater(0, self._go_on, direction)
        if self._relay.crowded(direction):
            near.shut(CROWDED)
        elif not near.reading:
            near.open(CROWDED)
        if direction is DOWNLINK and not self.device.reading and not self._relay.crowded(UPLINK):
            self.device.open(CROWDED)
        if self._stopping is not None and not self._relay.pending(UPLINK):
            self.fail(self._stopping)
            return
        if outcome.release:
            self._owner.opened()
            self._apply(UPLINK, self._relay.answer(UPLINK, None))
        elif near.transport is None and not self._relay.pending(direction):
            self._drained(direction)

    def _ask(self, direction: Direction, question: Question) -> None:
        """Wait for a handler, but not for ever."""
        timer = self._clock.callLater(self._limits.handler_timeout, self._late, direction, question)
        if self._timers is None:
            self._timers = {}
        self._timers[direction] = timer

        def answered(answer: object) -> None:
            if self._timers is not None and self._timers.pop(direction, None) is not None and timer.active():
                timer.cancel()
            if self.state != "closed":
                self._answer(direction, answer)

        question.listen(answered)

    def _late(self, direction: Direction, question: Question) -> None:
        question.cancel()
        if self._timers is not None:
            self._timers.pop(direction, None)
        self._answer(direction, TimedOut("no answer in time", "handler_timeout"))

    def _answer(self, direction: Direction, answer: object) -> None:
        try:
            self._apply(direction, self._relay.answer(direction, answer))
        except Exception as error:
            self._broken(error)

    def _go_on(self, direction: Direction) -> None:
        if self.state != "closed":
            try:
                self._apply(direction, self._relay.go_on(direction))
            except Exception as error:
                self._broken(error)

    def _broken(self, error: Exception) -> None:
        """A fault of the gateway itself: this link ends, nothing that is still held goes on, and others live."""
        self._owner.broken(error)
        self.fail(Denied(Kind.INTERNAL_FAULT))

    # The target.

    def _queue(self, data: bytes) -> None:
        """Keep bytes until the target is there; the first ones have it dialled."""
        if self._pending is not None:
            self._pending.append(data)
        elif self.state == "accepted":
            self._pending = [data]
            self._enter("dial")
            self._dial(0)

    def _dial(self, index: int) -> None:
        """Try the addresses in turn."""
        self._counters.target_dials += 1
        self._attempt = self._targets[index].connect(self)
        self._attempt.addTimeout(self._limits.dial_timeout, self._clock)
        self._attempt.addCallbacks(lambda protocol: None, self._missed, errbackArgs=(index,))

    def _missed(self, failure: Any, index: int) -> None:
        """One address did not answer."""
        self._counters.target_failures += 1
        if self.state != "dialling":
            return
        if index + 1 < len(self._targets):
            self._dial(index + 1)
        elif failure.check(ConnectError, DNSLookupError, OSError) and not failure.check(TimeoutError):
            self.fail(TargetLost("the target can not be reached", "target_down"))
        else:
            self.fail(TargetLost("the target does not answer", "target_slow"))

    def buildProtocol(self, addr: Any) -> Any:
        """IProtocolFactory: the protocol of the target side."""
        return self._join(self)

    def introduced(self) -> Device:
        """IntroducesDevice: asked by the endpoint of a target that wants a PROXY header."""
        return self._owner.introduced()

    def doStart(self) -> None:
        """IProtocolFactory."""

    def doStop(self) -> None:
        """IProtocolFactory."""

    def joined(self, transport: Any) -> None:
        """The target is connected; its protocol calls this."""
        self._attempt = None
        if self.state != "dialling":
            transport.abortConnection()
            return
        self._enter("join")
        self.target.attach(transport)
        pending, self._pending = self._pending, None
        if pending:
            self.target.write(pending)
        self._owner.joined()

    # The end.

    def device_lost(self, clean: bool) -> None:
        """The device is gone. If it closed in order, held packets still go out; then the target is closed.

        A packet that was not whole is dropped and counted: an attacker may have cut it (RFC 8446 section 6.1).
        """
        self.device.detach()
        if self.state != "draining" and self._relay.begun(UPLINK):
            self._counters.reject("truncated")
        self._note("device_lost")
        if clean and self._relay.pending(UPLINK) and self.state != "draining":
            self._bound(self._limits.drain_timeout)
        elif self.target.transport is None and self.state != "dialling":
            self._finished()
        else:
            self._drained(UPLINK)

    def target_lost(self, clean: bool) -> None:
        """The target is gone. Held packets are still delivered; then the device is closed.

        If the target closed in order without a word, that is its answer to the device, and the device gets it as such.
        """
        self.target.detach()
        self._gone = "target_closed" if clean else "target_lost"
        self._note(self._gone)
        if self.device.transport is None:
            self._finished()
        elif self.state == "draining":
            self._linger()
        elif not self._relay.pending(DOWNLINK):
            self._drained(DOWNLINK)
        else:
            self._bound(self._limits.drain_timeout)

    def _drained(self, direction: Direction) -> None:
        """Nothing is held any more of a side that is gone: the other side ends too."""
        if self.state == "draining":
            return
        if direction is DOWNLINK:
            self.fail(TargetLost("the connection to the target is gone", self._gone))
            return
        self._enter("end")
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self.target.transport is None:
            self._finished()
            return
        self.target.close()
        self._bound(self._limits.drain_timeout)

    def fail(self, error: GateError) -> None:
        """The gateway gives up: the device is told, and both sides end. Called for what no packet caused."""
        if self.state in ("draining", "closed"):
            return
        self.device.write([self._relay.fail(error)])
        self.end(error)

    def end(self, error: GateError) -> None:
        """Both sides end; what was written goes out. The target gets no DISCONNECT, so that a will is published."""
        if self.state in ("draining", "closed"):
            return
        self._enter("end")
        self._note(error.reason)
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        self.target.close()
        self.device.finish()
        if self.device.transport is None and self.target.transport is None:
            self._finished()
        else:
            self._linger()

    def stop(self, error: GateError) -> None:
        """The gateway shuts down: nothing more is read of the device, and once nothing is held the link ends."""
        self._stopping = error
        self.device.shut(STOPPING)
        if not self._relay.pending(UPLINK):
            self.fail(error)
        else:
            self._bound(self._limits.drain_timeout)

    def _note(self, reason: str) -> None:
        """The first reason is the one that is told."""
        self._reason = self._reason or reason

    def _linger(self) -> None:
        """Both sides were told the last thing. Who has been sent all of it is given a moment to close."""
        owed = self.device.owes or self.target.transport is not None
        self._bound(self._limits.drain_timeout if owed else min(LINGER, self._limits.drain_timeout))

    def _bound(self, seconds: float) -> None:
        """Whatever is left after `seconds` is cut off."""
        if self._deadline is None:
            self._deadline = self._clock.callLater(seconds, self._expired)
        elif self._deadline.getTime() - self._clock.seconds() > seconds:
            self._deadline.reset(seconds)

    def _expired(self) -> None:
        self._deadline = None
        self.device.abort()
        self.target.abort()
        if self.device.transport is None and self.target.transport is None:
            self._finished()

    def _enter(self, event: str) -> None:
        self.state = LINK_STATES[self.state][event]

    def _finished(self) -> None:
        """Both sides are gone."""
        if self.state == "closed":
            return
        self._enter("lost")
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        for timer in (self._timers or {}).values():
            timer.cancel()
        self._timers = None
        self._owner.closed(self._relay.closed(self._reason))
