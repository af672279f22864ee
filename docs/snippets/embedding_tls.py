"""The same with TLS: python embedding_tls.py CERTIFICATE KEY AUTHORITIES, three PEM files."""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react
from twisted.logger import globalLogBeginner

from mgate.addresses import ListenAddress
from mgate.entrance import Entrance
from mgate.journal import Journal
from mgate.logs import line_observer
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy
from mgate.tables import Listener, Targets
from mgate.tls.checkers import Checkers
from mgate.tls.settings import Revocation, ServerTls


async def main(reactor: Any, *files: str) -> None:
    globalLogBeginner.beginLoggingTo([line_observer(sys.stdout)], redirectStandardIO=False)
    certificate, key, authorities = (str(Path(file).absolute()) for file in files)
    asked = Revocation(methods=("ocsp",), allowed_networks=("127.0.0.0/8",), allowed_ports=(8889,))
    tls = ServerTls(certificate, key, client_ca_file=authorities, revocation=asked)

    journal = Journal()
    checkers = Checkers(reactor, journal.revocation)
    gateway = MqttDeviceFactory(
        reactor, [clientFromString(reactor, "tcp:127.0.0.1:1883")], Policy(), listener="fleet", journal=journal
    )
    settings = Listener(ListenAddress("fleet"), Targets(), tls=tls)
    entrance = Entrance("fleet", settings, [b"mqtt"], reactor, journal, gateway.counters, checkers)
    await serverFromString(reactor, "tcp:8883").listen(entrance.around(gateway))
    checkers.start()
    reactor.addSystemEventTrigger("before", "shutdown", gateway.drain)
    print("listening", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
