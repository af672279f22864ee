"""`mgate demo`: a broker, the gateway in front of it with three example handlers, and what to type next.

Everything listens on the loopback interface and lives in memory, but for the certificates: see `mgate.demo.encrypted`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner

from mgate.demo.broker import BrokerFactory
from mgate.demo.encrypted import Encrypted
from mgate.demo.handlers import CERTIFIED, HANDLERS
from mgate.demo.narration import Narrator
from mgate.demo.script import HOST, PORTS, Place, lines
from mgate.handler import Handler
from mgate.logs import line_observer
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy

__all__ = ["run"]


def run(argv: Sequence[str] | None = None) -> int:
    """Start everything, and serve until Ctrl-C.

    Returns:
        0 after Ctrl-C or SIGTERM, 1 if the wanted port is taken or certificates cannot be written. Wrong usage exits
        with 2.
    """
    parser = argparse.ArgumentParser(
        prog="mgate demo",
        description="A broker, mgate in front of it with example handlers, and what to type to see them judge. There "
        f"is TLS on port {PORTS['TLS']} and mutual TLS on port {PORTS['mutual TLS']} too, or on free ones, with "
        "certificates that are made for the demo and removed at its end.",
    )
    parser.add_argument(
        "--port", type=_port,
        help=f"where mgate listens without TLS; default: {PORTS['mgate']}, or a free one; 0: free ones, with TLS too",
    )  # fmt: skip
    parser.add_argument("--no-color", action="store_true", help="no colours, not even on a terminal")
    options = parser.parse_args(argv)
    color = sys.stdout.isatty() and not options.no_color and "NO_COLOR" not in os.environ
    globalLogBeginner.beginLoggingTo([line_observer(sys.stderr, level="error")], redirectStandardIO=False)
    try:
        react(_serve, (options.port, color))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


async def _serve(reactor: Any, wanted: int | None, color: bool) -> None:
    """Listen, tell what to type, and wait for ever."""
    await deferLater(reactor, 0)  # from here on the reactor runs and hears Ctrl-C
    _hear_hangups()
    parts = AsyncExitStack()
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(parts.aclose()))
    narrator = Narrator(_say, color)
    broker = BrokerFactory(reactor)
    parts.push_async_callback(broker.reset_all)
    ports = {"broker": await _listen(reactor, parts, broker, PORTS["broker"], 0)}
    target = TCP4ClientEndpoint(reactor, HOST, ports["broker"])

    def gateway(name: str, handlers: Sequence[tuple[str, Handler]]) -> MqttDeviceFactory:
        policy = Policy(narrator.watch(handlers))
        return MqttDeviceFactory(reactor, [target], policy, listener=name, journal=narrator.journal)

    plain = gateway("mqtt", HANDLERS)
    try:
        numbers = (PORTS["mgate"], 0) if wanted is None else (wanted,)
        ports["mgate"] = await _listen(reactor, parts, plain, *numbers)
    except CannotListenError as error:
        raise _failed(f"cannot listen on port {wanted}: {error.socketError.strerror}") from None
    encrypted = Encrypted(reactor, narrator.journal, parts)
    try:
        await encrypted.start()
    except OSError as error:
        raise _failed(f"cannot write certificates: {error}") from None
    for name, handlers, mutual in (("TLS", HANDLERS, False), ("mutual TLS", CERTIFIED, True)):
        factory = encrypted.around(gateway(name, handlers), mutual=mutual)
        numbers = (0,) if wanted == 0 else (PORTS[name], 0)
        ports[name] = await _listen(reactor, parts, factory, *numbers)
    for text in lines(Place(ports, encrypted.folder, wanted)):
        _say(text)
    reactor.addSystemEventTrigger("after", "shutdown", _say, "\nmgate demo: stopped")
    await Deferred()


def _failed(text: str) -> SystemExit:
    """What ends the command, after telling why."""
    print(f"mgate demo: {text}", file=sys.stderr)
    return SystemExit(1)


async def _listen(reactor: Any, parts: AsyncExitStack, factory: Any, *numbers: int) -> int:
    """Listen on the first of these ports that is free, until the demo ends, and return it.

    Raises:
        CannotListenError: none is.
    """
    for number in numbers:
        try:
            port = await TCP4ServerEndpoint(reactor, number, interface=HOST).listen(factory)
        except CannotListenError:
            if number == numbers[-1]:
                raise
        else:
            break
    parts.push_async_callback(maybeDeferred, port.stopListening)
    return int(port.getHost().port)


def _hear_hangups() -> None:
    """A terminal that is closed ends the demo as SIGTERM does, or the keys would stay; nohup goes on meaning nohup."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, signal.getsignal(signal.SIGTERM))


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError:
        # Nobody reads any more, as behind `| head` or in a window that was closed: end as if they had pressed Ctrl-C.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGINT)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
