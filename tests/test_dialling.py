"""What is dialled for a target, in which order, and what is reported of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mgate.dialling import InTurn, Watched


@implementer(IStreamClientEndpoint)
class Answering:
    """An endpoint that answers as it is told."""

    def __init__(self, answer: Deferred[Any]) -> None:
        self.answer = answer
        self.dialled = False

    def connect(self, protocolFactory: object) -> Deferred[Any]:
        self.dialled = True
        return self.answer


class InTurnTest(SynchronousTestCase):
    def test_the_next_is_dialled_when_one_refuses(self) -> None:
        verifyObject(IStreamClientEndpoint, InTurn([]))
        answer = InTurn([Answering(fail(ConnectionRefusedError())), Answering(succeed("joined"))]).connect(Factory())
        self.assertEqual(self.successResultOf(answer), "joined")

    def test_the_first_failure_is_told(self) -> None:
        answer = InTurn([Answering(fail(ConnectionRefusedError("v4"))), Answering(fail(ConnectionRefusedError("v6")))])
        failure = self.failureResultOf(answer.connect(Factory()), ConnectionRefusedError)
        self.assertIn("v4", str(failure.value))

    def test_who_gives_up_does_not_want_the_next(self) -> None:
        second = Answering(succeed("joined"))
        answer = InTurn([Answering(Deferred()), second]).connect(Factory())
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertFalse(second.dialled)


class WatchedTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reports: list[str] = []

    def dial(self, answer: Deferred[Any]) -> Deferred[Any]:
        watched = Watched(Answering(answer), 5.0, self.clock, self.reports.append)
        verifyObject(IStreamClientEndpoint, watched)
        return watched.connect(Factory())

    def test_success_is_not_reported(self) -> None:
        self.assertEqual(self.successResultOf(self.dial(succeed("joined"))), "joined")
        self.assertEqual(self.reports, [])

    def test_a_failure_is_reported_and_goes_on(self) -> None:
        self.failureResultOf(self.dial(fail(DNSLookupError("no such host"))), DNSLookupError)
        self.assertEqual(self.reports, ["DNS lookup failed: no such host"])

    def test_a_device_that_leaves_is_no_failure_of_the_target(self) -> None:
        answer = self.dial(Deferred())
        self.clock.advance(4.9)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reports, [])

    def test_a_time_out_is_one_whatever_the_endpoint_makes_of_it(self) -> None:
        answer = self.dial(Deferred(lambda inner: inner.errback(DNSLookupError("cancelled"))))
        answer.addTimeout(5.0, self.clock)
        self.clock.advance(5.0)
        self.failureResultOf(answer)
        self.assertEqual(self.reports, ["no answer in 5 s"])
