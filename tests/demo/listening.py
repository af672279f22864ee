"""A demo broker on a port of its own, for tests with clients that are other processes."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase

from mgate.demo.broker import BrokerFactory

reactor: Any = installed_reactor


class ListeningTest(TestCase):
    """A demo broker on a free port of the loopback interface."""

    timeout = 30

    async def setUp(self) -> None:
        self.factory = BrokerFactory(reactor)
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.number = str(self.port.getHost().port)

    async def tearDown(self) -> None:
        await maybeDeferred(self.port.stopListening)
        await self.factory.reset_all()

    async def command(self, *arguments: str) -> tuple[str, str, int]:
        """Run a command to its end; (output, errors, exit code)."""
        path = shutil.which(arguments[0])
        if path is None:
            raise SkipTest(f"{arguments[0]} is not installed")
        out, err, code = await getProcessOutputAndValue(path, arguments[1:], env={"PYTHONPATH": ":".join(sys.path)})
        return out.decode(), err.decode(), code
