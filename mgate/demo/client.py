"""A small MQTT client for the terminal, so that the demo needs no other: `mgate pub`, `mgate sub`, or
``python -m mgate.demo.client``. It says in words why something was refused.

Rules:

1. Messages go to standard output, one line each; everything about the connection goes to standard error.
2. Text of other devices is escaped, so that no message can play with the terminal.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall, react
from twisted.python.failure import Failure

from mgate.demo.errands import DONE, LOST, MISSED, PACKET_ID, REFUSED, Errand, Publishing, Subscribing, reason_text
from mgate.demo.stream import PacketStream
from mgate.demo.way import Way, tls_options, tls_settings
from mgate.errors import ConfigError, Malformed
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connack, Connect, Disconnect, Packet, Pingreq, Publish
from mgate.outcome import Direction

__all__ = ["ClientProtocol", "main", "run"]

VERSIONS = {
    "3.1": 3, "31": 3, "mqttv31": 3, "3.1.1": 4, "311": 4, "mqttv311": 4, "5": 5, "5.0": 5, "mqttv5": 5,
}  # fmt: skip

KEEP_ALIVE = 60
"""Seconds."""


class ClientProtocol(Protocol):
    """One connection that runs one errand. It is the `Line` of that errand.

    Args:
        connect: the CONNECT to send.
        errand: what to do then.
        clock: for PINGREQ.

    Attributes:
        done: fires with the exit code.
    """

    transport: Any

    def __init__(self, connect: Connect, errand: Errand, clock: Any) -> None:
        self.version = connect.version
        self.done: Deferred[int] = Deferred()
        self._connect = connect
        self._errand = errand
        self._stream = PacketStream(Direction.DOWNLINK, connect.version, limit=256 * 1024 * 1024)
        self._accepted = False
        self._code: int | None = None
        self._ping = LoopingCall(lambda: self.send(Pingreq()))
        self._ping.clock = clock

    def connectionMade(self) -> None:
        self.send(self._connect)

    def dataReceived(self, data: bytes) -> None:
        try:
            for packet in self._stream.receive(data):
                if self._code is None:
                    self._received(packet)
        except Malformed as error:
            self.say(f"the other side broke the protocol: {error.text}")
            self.finish(LOST)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._ping.running:
            self._ping.stop()
        if self._code is None:
            self._code = LOST
            self.say("connection lost" if self._accepted else "connection closed before it was accepted")
        self.done.callback(self._code)

    def send(self, packet: Packet) -> None:
        self.transport.write(encode(self.version, packet))

    def finish(self, code: int) -> None:
        self._code = code
        if self._accepted:
            self.send(Disconnect())
        self.transport.loseConnection()

    def late(self) -> None:
        """The time is up; nothing happens if the errand is done."""
        if self._code is None:
            self.finish(self._errand.late())

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def show(self, text: str) -> None:
        print(text, flush=True)

    def _received(self, packet: Packet) -> None:
        if isinstance(packet, Disconnect):
            self.say(f"disconnected: {reason_text(packet.reason_code or 0, packet.properties)}")
            self._accepted = False
            self.finish(REFUSED)
        elif self._accepted:
            self._errand.received(self, packet)
        elif not isinstance(packet, Connack):
            raise Malformed("the first packet is not a CONNACK")
        elif packet.reason_code:
            self.say(f"connect refused: {reason_text(packet.reason_code, packet.properties, self.version)}")
            self.finish(REFUSED)
        else:
            self._accepted = True
            self._ping.start(KEEP_ALIVE * 0.75, now=False)
            self._errand.begin(self)


def _parser(program: str) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # -h is the host here, as in the clients that everybody knows.
    common.add_argument("--help", action="help", help="show this and exit")
    common.add_argument("-h", "--host", default="127.0.0.1", help="default: %(default)s")
    common.add_argument("-p", "--port", type=_port, default=1884, help="default: %(default)s")
    common.add_argument("-V", "--version", type=_version, default=5, metavar="3.1|3.1.1|5", help="default: %(default)s")
    common.add_argument("-u", "--username")
    common.add_argument("-P", "--password")
    common.add_argument("-i", "--id", help="client identifier; default: a random one")
    common.add_argument("-q", "--qos", type=int, choices=(0, 1, 2), default=1, help="default: %(default)s")
    common.add_argument("-W", "--timeout", type=float, metavar="SECONDS", help="give up after so long")
    tls_options(common)

    parser = argparse.ArgumentParser(prog=program, description="A small MQTT client that says why it was refused.")
    commands = parser.add_subparsers(dest="command", required=True)
    pub = commands.add_parser("pub", parents=[common], add_help=False, help="publish one message")
    pub.add_argument("-t", "--topic", required=True)
    payload = pub.add_mutually_exclusive_group(required=True)
    payload.add_argument("-m", "--message")
    payload.add_argument("-n", "--null-message", action="store_true", help="an empty message")
    pub.add_argument("-r", "--retain", action="store_true")
    sub = commands.add_parser("sub", parents=[common], add_help=False, help="subscribe, and print what comes")
    sub.add_argument("-t", "--topic", action="append", required=True, help="a topic filter; may be repeated")
    sub.add_argument("-C", "--count", type=_count, default=0, help="exit after so many messages")
    sub.add_argument("-v", "--verbose", action="store_true", help="print the topic before each message")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages")
    return int(text)


def _version(text: str) -> int:
    if text not in VERSIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of 3.1, 3.1.1 and 5")
    return VERSIONS[text]


def _packets(options: argparse.Namespace) -> tuple[Connect, Errand]:
    """The CONNECT and the errand that a command line asks for.

    Raises:
        ValueError: MQTT cannot carry it.
    """
    password = None if options.password is None else options.password.encode()
    client_id = options.id or f"mgate-{options.command}-{secrets.token_hex(3)}"
    connect = Connect(options.version, client_id, True, KEEP_ALIVE, options.username, password)
    errand: Errand
    if options.command == "pub":
        payload = (options.message or "").encode("utf-8", "surrogateescape")
        packet_id = PACKET_ID if options.qos else 0
        message = Publish(options.topic, payload, options.qos, options.retain, packet_id=packet_id)
        encode(options.version, message)
        errand = Publishing(message)
    else:
        errand = Subscribing(options.topic, options.qos, options.count, options.verbose)
        encode(options.version, errand.packet())
    encode(options.version, connect)
    return connect, errand


async def run(reactor: Any, way: Way, connect: Connect, errand: Errand, timeout: float | None) -> int:
    """Connect, do the errand, and return the exit code. `timeout` in seconds."""
    protocol = ClientProtocol(connect, errand, reactor)
    dialling = connectProtocol(way.endpoint(reactor, protocol.say), protocol)
    late = None if timeout is None else reactor.callLater(timeout, dialling.cancel)
    try:
        await dialling
    except (ConnectError, DNSLookupError, CancelledError, TimeoutError) as error:
        print(f"cannot connect to {way}: {str(error) or 'no answer in time'}", file=sys.stderr)
        return MISSED if late is not None and not late.active() else LOST
    finally:
        if late is not None and late.active():
            late.cancel()
    if late is not None:
        late = reactor.callLater(timeout, protocol.late)
    code = await protocol.done
    if late is not None and late.active():
        late.cancel()
    return code


def main(argv: Sequence[str] | None = None, program: str = "mgate") -> int:
    """Run `pub` or `sub`; called by the `mgate` command with what follows its name, which starts with one of them.

    Args:
        argv: the command line behind the name of the program.
        program: that name, for usage.

    Returns:
        0 done, 1 refused, 3 no connection or lost, 4 too late. Wrong usage exits with 2.
    """
    parser = _parser(program)
    options = parser.parse_args(argv)
    try:
        connect, errand = _packets(options)
        way = Way(options.host, options.port, tls_settings(options))
    except ValueError as error:
        parser.error(str(error))
    except ConfigError as error:
        parser.error("; ".join(error.problems))

    async def command(reactor: Any) -> None:
        code = await run(reactor, way, connect, errand, options.timeout)
        if code != DONE:
            raise SystemExit(code)

    try:
        react(lambda reactor: Deferred.fromCoroutine(command(reactor)))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else LOST
    return DONE


if __name__ == "__main__":
    sys.exit(main(program="python -m mgate.demo.client"))
