"""The gateway inside of a Twisted program of your own, in front of the broker on port 1883.

Usage: python examples/embedding.py [LISTEN [TARGET]], both as Twisted's endpoint strings.
"""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react
from twisted.logger import globalLogBeginner

from mgate.handler import Denied, Handler, Session
from mgate.logs import line_observer
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy


class Rules(Handler):
    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        if topic.startswith("plant/"):
            raise Denied("not authorised", "the plant listens to nobody")


async def main(reactor: Any, listen: str = "tcp:1884:interface=127.0.0.1", target: str = "tcp:127.0.0.1:1883") -> None:
    # begin
    globalLogBeginner.beginLoggingTo([line_observer(sys.stdout)], redirectStandardIO=False)
    gateway = MqttDeviceFactory(reactor, [clientFromString(reactor, target)], Policy([Rules()]))
    port = await serverFromString(reactor, listen).listen(gateway)
    reactor.addSystemEventTrigger("before", "shutdown", gateway.drain)
    print("listening on", port.getHost(), flush=True)
    await Deferred()
    # end


if __name__ == "__main__":
    react(main, sys.argv[1:])
