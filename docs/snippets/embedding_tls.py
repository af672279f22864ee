"""The same with TLS: python embedding_tls.py CERTIFICATE KEY AUTHORITIES, three PEM files."""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react
from twisted.protocols.tls import TLSMemoryBIOFactory

from mgate.journal import Journal
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy
from mgate.tls.checkers import Checkers
from mgate.tls.contexts import Reloadable, ServerContexts
from mgate.tls.settings import Revocation, ServerTls


async def main(reactor: Any, *files: str) -> None:
    certificate, key, authorities = (str(Path(file).absolute()) for file in files)
    asked = Revocation(methods=("ocsp",), allowed_networks=("127.0.0.0/8",), allowed_ports=(8889,))
    settings = ServerTls(certificate, key, client_ca_file=authorities, revocation=asked)
    checkers = Checkers(reactor, Journal().revocation)

    contexts = Reloadable(ServerContexts(settings, checkers.of(asked), [b"mqtt"], reactor))
    gateway = MqttDeviceFactory(reactor, [clientFromString(reactor, "tcp:127.0.0.1:1883")], Policy())
    await serverFromString(reactor, "tcp:8883").listen(TLSMemoryBIOFactory(contexts, False, gateway, reactor))
    checkers.start()
    print("listening", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
