"""`mgate demo`: a broker, the gateway in front of it with three example handlers, and what to type next.

Everything listens on the loopback interface and lives in memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner

from mgate.demo.broker import BrokerFactory
from mgate.demo.handlers import HANDLERS, Accounts
from mgate.demo.narration import HEADINGS, Narrator
from mgate.logs import line_observer
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy

__all__ = ["run"]

LOOPBACK = "127.0.0.1"
BROKER_PORT, GATEWAY_PORT = 1883, 1884

BANNER = """\
mgate demo - in memory, on this computer only, until you press Ctrl-C

    your clients  ->  mgate on {host}:{port}  ->  demo broker, not for production, on {host}:{broker}

Users: alice (password wonderland) and bob (password builder). The rules, in {handlers}:
    accounts     only these two may connect
    own-topics   publish and read below your own name; news/# is for reading only
    plant        what you publish below <name>/up/ reaches the broker below plant/
"""

STEPS = (
    ("Watch what reaches the broker, in a terminal of its own", "sub", "{broker}", "-t '#' -v", ""),
    ("A publish that is allowed", "pub", "{port}", "-u alice -P wonderland -q 1 -t alice/hello -m hi", ""),
    ("A publish that is refused", "pub", "{port}", "-u alice -P wonderland -q 1 -t bob/hello -m hi", ""),
    ("A topic that is rewritten", "pub", "{port}", "-u alice -P wonderland -q 1 -t alice/up/temperature -m 21", ""),
    ("Three filters, of which one is refused", "sub", "{port}",
     "-u alice -P wonderland -t 'alice/#' -t 'bob/#' -t 'news/#' -W 3", " -d"),
    ("A login that is refused", "pub", "{port}", "-u alice -P sesame -t alice/hello -m hi", ""),
)  # fmt: skip
"""What to type: title, command, at which port, the rest of the line, and what Mosquitto's client needs to tell all."""


def run(argv: Sequence[str] | None = None) -> int:
    """Start everything, and serve until Ctrl-C.

    Returns:
        0 after Ctrl-C or SIGTERM, 1 if the wanted port is taken. Wrong usage exits with 2.
    """
    parser = argparse.ArgumentParser(prog="mgate demo", description="A broker, mgate in front of it, example handlers.")
    parser.add_argument(
        "--port", type=_port, help=f"where mgate listens, 0 for any free port; default: {GATEWAY_PORT}, or a free one"
    )
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
    broker = BrokerFactory(reactor)
    broker_port = await _listen(reactor, broker, BROKER_PORT, 0)
    target = TCP4ClientEndpoint(reactor, LOOPBACK, broker_port.getHost().port)
    narrator = Narrator(_say, color)
    gateway = MqttDeviceFactory(reactor, [target], Policy(narrator.watch(HANDLERS)), journal=narrator.journal)
    try:
        port = await _listen(reactor, gateway, *((GATEWAY_PORT, 0) if wanted is None else (wanted,)))
    except CannotListenError as error:
        print(f"mgate demo: cannot listen on port {wanted}: {error.socketError.strerror}", file=sys.stderr)
        raise SystemExit(1) from None

    async def stop() -> None:
        await port.stopListening()
        await broker_port.stopListening()
        await broker.reset_all()
        _say("\nmgate demo: stopped")

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    _tell(port.getHost().port, broker_port.getHost().port, wanted)
    await Deferred()


async def _listen(reactor: Any, factory: Factory, *numbers: int) -> Any:
    """Listen on the first of these ports that is free.

    Raises:
        CannotListenError: none is.
    """
    for number in numbers[:-1]:
        try:
            return await TCP4ServerEndpoint(reactor, number, interface=LOOPBACK).listen(factory)
        except CannotListenError:
            continue
    return await TCP4ServerEndpoint(reactor, numbers[-1], interface=LOOPBACK).listen(factory)


def _tell(port: int, broker: int, wanted: int | None) -> None:
    handlers = sys.modules[Accounts.__module__].__file__ or ""
    _say(BANNER.format(host=LOOPBACK, port=port, broker=broker, handlers=_short(handlers)))
    for number, default, name in ((broker, BROKER_PORT, "the broker"), (port, wanted or GATEWAY_PORT, "mgate")):
        if number != default and wanted != 0:
            _say(f"Port {default} is taken, so {name} listens on {number}.\n")
    _say("Type these in a second terminal: of each pair the first line if you have Mosquitto's clients, or the second.")
    for number, (title, command, where, rest, verbosely) in enumerate(STEPS, 1):
        at = where.format(port=port, broker=broker)
        _say(f"\n{number}. {title}:")
        _say(f"    mosquitto_{command} -V mqttv5 -p {at} {rest}{verbosely}")
        _say(f"    {_client()} {command} -p {at} {rest}")
    _say(f"\nEvery decision, as it happens:\n\n{HEADINGS}")


def _client() -> str:
    """How this installation's client is started from the same folder, whether or not its commands are on the path."""
    beside = os.path.join(os.path.dirname(sys.executable), "mgate")
    if not os.path.exists(beside):
        return f"{_short(sys.executable)} -m mgate"
    found = shutil.which("mgate")
    return "mgate" if found is not None and os.path.samefile(found, beside) else _short(beside)


def _short(path: str) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Nobody reads any more, as behind `| head`: end as if they had pressed Ctrl-C.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGINT)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
